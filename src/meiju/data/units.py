"""What is independent of what, so that intervals resample it as a whole: clips, speakers or dialogues."""

import re
from dataclasses import dataclass

import numpy as np
import pandas as pd

from meiju.data.tables import GROUPS


@dataclass(frozen=True)
class Units:
    """What an interval resamples: clips, or whole groups of clips that are not independent of each other.

    group: number of each clip's group, [N], from 0 and without gaps. what: the groups in words, such as '14 speakers'.
    """

    group: np.ndarray
    what: str

    @classmethod
    def clips(cls, n: int) -> "Units":
        """Each of n clips by itself."""
        return cls(np.arange(n), "clips")

    @property
    def n(self) -> int:
        """How many there are to draw from."""
        return int(self.group.max(initial=-1)) + 1

    def draw(self, n_draws: int, seed: int) -> np.ndarray:
        """How often each clip is drawn, [n_draws, N]; all clips of a group together."""
        drawn = np.random.default_rng(seed).multinomial(self.n, np.full(self.n, 1 / self.n), size=n_draws)
        return drawn.astype(float)[:, self.group]  # floats, whose matrix products are fast


def units_of(clips: pd.DataFrame, by: str) -> Units:
    """What intervals over some clips resample.

    by: see `meiju.data.folds.group`. A pattern in clips' names, if it is one; else the speakers where several are
    known, or else the dialogues: what makes a speaker's clips right or wrong together does not end with a dialogue. A
    clip without a group is one by itself; so are all where there are not two groups.
    """
    if by in ("auto", "none", *GROUPS):
        column = next((column for column in ("speaker", "dialogue") if len({*clips[column]} - {""}) > 1), None)
        what, groups = f"{column}s", clips[column] if column else pd.Series("", clips.index)
    else:
        found = [re.search(by, name) for name in clips.name]
        what, groups = "groups of names", pd.Series([match.group() if match else "" for match in found])
    number = pd.factorize(groups.replace("", None))[0]  # -1 for those without one
    n, alone = number.max(initial=-1) + 1, number < 0
    if n < 2:
        return Units.clips(len(clips))
    number[alone] = n + np.arange(alone.sum())
    return Units(number, f"{n} {what}" + (f" and {alone.sum()} clips without one" if alone.any() else ""))
