"""Averages members: over folds, seeds and head counts."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from meiju.config import Config
from meiju.data.labels import TASKS, LabelSet
from meiju.training import members
from meiju.training.members import Member
from meiju.utils import files

Probabilities = dict[str, np.ndarray]  # by task, [N, K], rows in the order of the names asked for


def mean_over(folder: Path, chosen: Sequence[Member], names: Sequence[str]) -> Probabilities:
    """Mean probabilities of some members for clips that none of them trained on. Raises KeyError for one that was."""
    return {task: stacked.mean(axis=0) for task, stacked in _stacked(folder, chosen, names).items()}


def _stacked(folder: Path, chosen: Sequence[Member], names: Sequence[str]) -> Probabilities:
    """Probabilities of members, by task [members, N, K]. Raises Damaged where they know different classes."""
    found = [members.probabilities(folder, member, names) for member in chosen]
    with files.reading(folder):
        return {task: np.stack([one[task] for one in found]) for task in TASKS}


@dataclass(frozen=True)
class FoldPredictions:
    """The members that predict the same clips: some cells (a head count and a fold each), each with the same seeds.

    rows: [n] numbers of the clips. heads: [C] head count of each cell. probabilities[task]: [C, S, n, K], 32 bits.
    """

    rows: np.ndarray
    heads: np.ndarray
    probabilities: Probabilities

    @property
    def n_seeds(self) -> int:
        """S, the number of members of a cell."""
        return self.probabilities[TASKS[0]].shape[1]


def gather(folder: Path, config: Config, names: Sequence[str], fold: np.ndarray | None) -> list[FoldPredictions]:
    """Predictions of some clips: a group per fold, by the members that held it out; without folds one group, by all.

    fold: which one holds out each clip, [N].
    """
    groups = []
    for folds in [range(config.folds)] if fold is None else [[k] for k in range(config.folds)]:
        rows = np.arange(len(names)) if fold is None else np.flatnonzero(np.isin(fold, folds))
        cells = [(heads, k) for heads in config.model.heads for k in folds]
        chosen = [Member(heads, seed, (k,)) for heads, k in cells for seed in range(config.train.seeds)]
        by_cell = {
            task: stacked.astype(np.float32).reshape(len(cells), config.train.seeds, *stacked.shape[1:])
            for task, stacked in _stacked(folder, chosen, np.asarray(names)[rows]).items()
        }
        groups.append(FoldPredictions(rows, np.array([heads for heads, _ in cells]), by_cell))
    return groups


def mean_of(groups: Sequence[FoldPredictions], heads: int | None = None) -> Probabilities:
    """The mean over the members of one head count, or over all, for the clips of all groups, by task [N, K]."""
    n_clips = sum(len(group.rows) for group in groups)
    means = {task: np.full((n_clips, groups[0].probabilities[task].shape[-1]), np.nan) for task in TASKS}
    for group in groups:
        cells = slice(None) if heads is None else group.heads == heads
        for task in TASKS:
            means[task][group.rows] = group.probabilities[task][cells].mean(axis=(0, 1), dtype=np.float64)
    return means


def resample_seeds(groups: Sequence[FoldPredictions], n_draws: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Predictions of the members under resampled seeds: class numbers [n_draws, N] of each task.

    In each draw and cell (head count and fold), S of the cell's S seeds are drawn with replacement and weighted as
    `rescaled` says. Needs S of at least 2.
    """
    n_clips = sum(len(group.rows) for group in groups)
    decided = {task: np.full((n_draws, n_clips), -1, dtype=np.int8) for task in TASKS}
    for group in groups:
        equal = np.full(group.n_seeds, 1 / group.n_seeds)
        weight = rescaled(rng.multinomial(group.n_seeds, equal, size=(n_draws, len(group.heads))) / group.n_seeds)
        by_member = (weight / len(group.heads)).reshape(n_draws, -1).astype(np.float32)  # [B, C * S]
        for task in TASKS:
            probabilities = group.probabilities[task]  # [C, S, n, K]
            mean = by_member @ probabilities.reshape(by_member.shape[1], -1)  # [B, n * K]
            decided[task][:, group.rows] = mean.reshape(n_draws, *probabilities.shape[2:]).argmax(axis=2)
    return decided


def rescaled(drawn: np.ndarray) -> np.ndarray:
    """Weights of S seeds [..., S] from how often each was drawn, as shares [..., S]; both sum to 1.

    The mean of S draws from S values varies too little, by the factor (S - 1) / S. So it is moved away from the mean of
    all of them by the factor sqrt(S / (S - 1)): Rao and Wu 1988, Resampling inference with complex survey data, JASA
    83, 231-241, with as many draws as values.
    """
    n_seeds = drawn.shape[-1]
    return 1 / n_seeds + np.sqrt(n_seeds / (n_seeds - 1)) * (drawn - 1 / n_seeds)


def as_labels(probabilities: Probabilities, names: Sequence[str], labels: LabelSet) -> pd.DataFrame:
    """The likeliest labels: columns emotion and intent, indexed by clip name."""
    for task in TASKS:
        n_classes = probabilities[task].shape[1]
        if n_classes != len(labels[task]):
            what = f"the predictions know {n_classes} {task} classes, the corpus {len(labels[task])}"
            raise files.Damaged(f"{what}; delete the run's folder in work/ and give the same commands again")
    decided = {task: labels.decode(task, probabilities[task].argmax(axis=1)) for task in TASKS}
    return pd.DataFrame(decided, index=pd.Index(names, name="name"))


def as_table(probabilities: Probabilities, names: Sequence[str], labels: LabelSet) -> pd.DataFrame:
    """Probabilities of both tasks side by side, columns such as emotion_happy, indexed by clip name."""
    columns = [f"{task}_{label}" for task in TASKS for label in labels[task]]
    side_by_side = np.concatenate([probabilities[task] for task in TASKS], axis=1)
    return pd.DataFrame(side_by_side, pd.Index(names, name="name"), columns)
