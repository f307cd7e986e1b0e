"""Averages members: over seeds and folds, then over head counts, separately for each task.

Emotion and intent do best at different numbers of heads, so the average over head counts (arXiv 2501.06215, multi-head
voting) can also be weighted, with weights fitted on out-of-fold predictions.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from meiju import files, members
from meiju.config import Config
from meiju.labels import TASKS, LabelSet
from meiju.members import Member

Probabilities = dict[str, np.ndarray]  # by task, [N, K], rows in the order of the names asked for


def mean_over(folder: Path, chosen: Sequence[Member], names: Sequence[str]) -> Probabilities:
    """Mean probabilities of some members for clips that none of them trained on. Raises KeyError for one that was."""
    total = dict.fromkeys(TASKS, 0.0)
    for member in chosen:
        said = members.probabilities(folder, member, names)
        for task in TASKS:
            if member != chosen[0] and said[task].shape != total[task].shape:
                what = f"{member.stem}.npz knows another number of {task} classes than {chosen[0].stem}.npz"
                raise files.Damaged(f"{folder}: {what}; delete both and give the same commands again")
            total[task] = total[task] + said[task]
    return {task: total[task] / len(chosen) for task in TASKS}


def out_of_fold(folder: Path, config: Config, heads: int, folds: pd.DataFrame) -> Probabilities:
    """Each training clip as seen by the members that held its fold out, in the order of `folds`."""
    parts = {}
    for fold in range(config.folds):
        chosen = [Member(heads, seed, (fold,)) for seed in range(config.train.seeds)]
        parts[fold] = mean_over(folder, chosen, list(folds.name[folds.fold == fold]))
    result = {}
    for task in TASKS:
        result[task] = np.empty((len(folds), parts[0][task].shape[1]))
        for fold, part in parts.items():
            result[task][(folds.fold == fold).to_numpy()] = part[task]
    return result


def all_folds(folder: Path, config: Config, heads: int, names: Sequence[str]) -> Probabilities:
    """Clips of other parts as seen by the members of all folds and seeds."""
    chosen = [Member(heads, seed, (fold,)) for seed in range(config.train.seeds) for fold in range(config.folds)]
    return mean_over(folder, chosen, names)


def combine(by_heads: dict[int, Probabilities], weights: dict[str, np.ndarray] | None = None) -> Probabilities:
    """The (weighted) mean over head counts; weights[task] [number of head counts] sum to 1."""
    return {
        task: np.average([said[task] for said in by_heads.values()], axis=0, weights=weights and weights[task])
        for task in TASKS
    }


def vote(
    folder: Path, config: Config, names: Sequence[str], weights: dict[str, np.ndarray] | None = None
) -> Probabilities:
    """What all members of a stage say of clips that none of them trained on."""
    return combine({heads: all_folds(folder, config, heads, names) for heads in config.model.heads}, weights)


def as_labels(said: Probabilities, names: Sequence[str], labels: LabelSet) -> pd.DataFrame:
    """The likeliest labels: columns emotion and intent, indexed by clip name."""
    wrong = [task for task in TASKS if said[task].shape[1] != len(labels[task])]
    if wrong:
        what = f"the predictions know {said[wrong[0]].shape[1]} {wrong[0]} classes, the corpus {len(labels[wrong[0]])}"
        raise files.Damaged(f"{what}; delete the run's folder in work/ and give the same commands again")
    decided = {task: labels.decode(task, said[task].argmax(axis=1)) for task in TASKS}
    return pd.DataFrame(decided, index=pd.Index(names, name="name"))


def as_table(said: Probabilities, names: Sequence[str], labels: LabelSet) -> pd.DataFrame:
    """Probabilities of both tasks side by side, columns such as emotion_happy, indexed by clip name."""
    columns = [f"{task}_{label}" for task in TASKS for label in labels[task]]
    return pd.DataFrame(np.concatenate([said[task] for task in TASKS], axis=1), pd.Index(names, name="name"), columns)


def describe_weights(weights: dict[str, np.ndarray], heads: Sequence[int]) -> str:
    """One line with the weight of each head count by task."""
    return "; ".join(
        f"{task} " + ", ".join(f"{h}: {w:.2f}" for h, w in zip(heads, weight, strict=True))
        for task, weight in weights.items()
    )


def fit_weights(by_heads: dict[int, Probabilities], labels: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Weights of the head counts with the least log-loss on out-of-fold rows with class numbers labels[task] [N].

    The weights of a mixture of fixed distributions; expectation-maximisation finds their only optimum.
    """
    weights = {}
    for task in TASKS:
        truth = labels[task]
        likelihood = np.stack([said[task][np.arange(len(truth)), truth] for said in by_heads.values()])  # [heads, N]
        weight = np.full(len(likelihood), 1 / len(likelihood))
        for _ in range(200):
            share = weight[:, None] * likelihood
            weight = (share / share.sum(axis=0)).mean(axis=1)
        weights[task] = weight
    return weights


def combine_out_of_fold(
    by_heads: dict[int, Probabilities], labels: dict[str, np.ndarray], fold: np.ndarray
) -> Probabilities:
    """Weighted out-of-fold predictions where each fold's weights are fitted on the other folds' rows."""
    result = combine(by_heads)
    for k in np.unique(fold):
        own = fold == k
        others = {heads: {t: p[t][~own] for t in TASKS} for heads, p in by_heads.items()}
        weights = fit_weights(others, {task: labels[task][~own] for task in TASKS})
        held_out = combine({heads: {t: p[t][own] for t in TASKS} for heads, p in by_heads.items()}, weights)
        for task in TASKS:
            result[task][own] = held_out[task]
    return result
