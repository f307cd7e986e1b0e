"""Draws parts of a corpus: whole groups for Validation and Testing, and the clips that keep their labels."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from meiju.config import require


def draw_groups(clips: pd.DataFrame, column: str, shares: Mapping[str, float], *, seed: int) -> pd.Series:
    """The part of each clip: whole groups (dialogues, speakers) are drawn for each part until it has its share.

    Clips of all other groups are training. It depends on the groups' names and sizes and on the seed alone.
    """
    sizes = clips[column].value_counts().sort_index()
    order = iter(np.random.default_rng(seed).permutation(len(sizes)))
    part_of = dict.fromkeys(sizes.index, "training")
    for part, share in shares.items():
        n_drawn = 0
        while n_drawn < share * len(clips) and (k := next(order, None)) is not None:
            part_of[sizes.index[k]] = part
            n_drawn += sizes.iloc[k]
    return clips[column].map(part_of)


def draw_labelled(training: pd.DataFrame, n: int, *, mix: str, seed: int) -> set[str]:
    """The names of n training clips that keep their labels; a smaller draw is part of a larger one.

    mix: 'natural' draws clips as they come, 'balanced' the same number of each emotion while there are clips of it.
    Each class of both tasks has one clip at least. It depends on names, labels and the seed alone. Raises ConfigError
    where there are not so many clips, or fewer are asked for than it takes to show each class.
    """
    require(n <= len(training), f"--labelled {n}: there are {len(training)} training clips")
    rows = training.sort_values("name", ignore_index=True)
    rows = rows.iloc[np.random.default_rng(seed).permutation(len(rows))]
    if mix == "balanced":
        rows = rows.iloc[np.argsort(rows.groupby("emotion").cumcount().to_numpy(), kind="stable")]
    is_first = ~rows.duplicated("emotion") | ~rows.duplicated("intent")
    require(n >= is_first.sum(), f"--labelled {n}: it takes {is_first.sum()} clips to have one of each class")
    return set(pd.concat([rows[is_first], rows[~is_first]]).name[:n])
