"""The members of a run: which there are, and what lies on disk of each.

A member is one trained network, named by its number of heads, its seed and the folds it has not seen. Members that
hold out one fold are the ones that count: they give out-of-fold predictions, teach, and are averaged. Calibration
models hold out two folds (stage 1 only). They tell how far a teacher can be trusted: scored on fold j, the members
without {j, k} stand in for the teacher of fold k, and neither they nor the score ever saw fold k.
"""

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from meiju.config import Config
from meiju.data.labels import TASKS
from meiju.utils import files


@dataclass(frozen=True, order=True)
class Member:
    """One trained network; `held_out` are the folds it never saw."""

    heads: int
    seed: int
    held_out: tuple[int, ...]

    @property
    def stem(self) -> str:
        """Name of its files, e.g. heads2-seed0-fold3."""
        return f"heads{self.heads}-seed{self.seed}-fold{'+'.join(map(str, self.held_out))}"


def plan(config: Config, *, calibration: bool) -> list[Member]:
    """The members of a stage; with `calibration`, also those that hold out two folds."""
    held_out = [(k,) for k in range(config.folds)]
    if calibration:
        held_out += list(itertools.combinations(range(config.folds), 2))
    return [
        Member(heads, seed, folds)
        for heads in config.model.heads
        for seed in range(config.train.seeds)
        for folds in held_out
    ]


def probabilities(folder: Path, member: Member, names: Sequence[str]) -> dict[str, np.ndarray]:
    """A member's probabilities of clips, by task [N, K] in the order of `names`.

    Raises KeyError for one it trained on, and Damaged if it has lost one.
    """
    arrays = _read(folder, member)
    rows = pd.Index(arrays["names"]).get_indexer(list(names))
    if (rows < 0).any():
        lost = names[int(np.argmin(rows))]
        with files.reading(folder / f"{member.stem}.npz"):
            if lost not in arrays["trained_on"]:
                raise ValueError(f"has no prediction of {lost}")
        raise KeyError(f"{member.stem} has no prediction of {lost}: it trained on it")
    return {task: np.exp(arrays[task][rows].astype(np.float64)) for task in TASKS}


def trained_on(folder: Path, member: Member) -> np.ndarray:
    """Names of the clips that a member trained on."""
    return _read(folder, member)["trained_on"]


def _read(folder: Path, member: Member) -> dict[str, np.ndarray]:
    """The arrays of a member's .npz. Raises Damaged if they are not whole."""
    path = folder / f"{member.stem}.npz"
    with files.reading(path), path.open("rb") as file, np.load(file, allow_pickle=False) as npz:
        arrays = {key: npz[key] for key in ("names", "trained_on", *TASKS)}
        names = arrays["names"]
        if any(arrays[key].dtype.kind != "U" or arrays[key].ndim != 1 for key in ("names", "trained_on")):
            raise ValueError("the clips' names are no texts")
        if len(set(names)) < len(names):
            raise ValueError("a clip stands twice")
        for task in TASKS:
            log = arrays[task]
            rows = log.dtype.kind == "f" and log.ndim == 2 and len(log) == len(names)
            if not rows or not np.isfinite(log).all() or (np.abs(np.logaddexp.reduce(log, axis=1)) > 1e-3).any():
                raise ValueError(f"not the logarithms of one row of probabilities a clip for its {task}")
        return arrays


def weights_name(member: Member) -> str:
    """The file of a member's weights."""
    return f"{member.stem}.safetensors"


def paths(members: Iterable[Member], folder: Path) -> list[Path]:
    """The files of members: their predictions and, of those that count, their weights."""
    return [
        folder / name
        for member in members
        for name in (f"{member.stem}.npz", *([weights_name(member)] if len(member.held_out) == 1 else []))
    ]
