"""Scores of a run's systems: out of fold, with the spread over folds, and on Validation."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from meiju import ensemble
from meiju.config import Config
from meiju.corpus import Corpus
from meiju.ensemble import Probabilities
from meiju.labels import TASKS
from meiju.metrics import bootstrap, interval, joint_score

OUT_OF_FOLD, VALIDATION = "out-of-fold", "validation"
MEAN = 0  # stands for all head counts together, where a table has a column of them


@dataclass(frozen=True)
class Stage:
    """What a stage's members say, by number of heads and for all together (key MEAN), of each part that has labels.

    out_of_fold and validation: by heads, probabilities in the order of `folds` and of the validation part.
    weights[task]: of the head counts in the mean, or None for the plain mean.
    """

    name: str
    out_of_fold: dict[int, Probabilities]
    validation: dict[int, Probabilities]
    weights: dict[str, np.ndarray] | None


def read_stage(name: str, config: Config, corpus: Corpus, folds: pd.DataFrame, folder: Path) -> Stage:
    """Gather the predictions of a finished stage."""
    validation_names = list(corpus.part("validation").name)
    out_of_fold = {h: ensemble.out_of_fold(folder, config, h, folds) for h in config.model.heads}
    validation = {h: ensemble.all_folds(folder, config, h, validation_names) for h in config.model.heads}
    if config.ensemble == "mean":
        weights, mean = None, ensemble.combine(out_of_fold)
    else:
        truth = _truth(corpus, "training", folds.name)
        weights = ensemble.fit_weights(out_of_fold, truth)
        mean = ensemble.combine_out_of_fold(out_of_fold, truth, folds.fold.to_numpy())
    return Stage(
        name,
        out_of_fold | {MEAN: mean},
        validation | {MEAN: ensemble.combine(validation, weights)},
        weights,
    )


def table(stages: list[Stage], config: Config, corpus: Corpus, folds: pd.DataFrame) -> pd.DataFrame:
    """One row per stage, head count and part.

    Columns stage, system, heads, part, n_clips, E, I, JRBM, JRBM_low and JRBM_high (95 % bootstrap interval over
    clips), fold_spread (standard deviation of JRBM over folds; NaN on Validation).
    """
    average = config.corpus.average
    rows = []
    for part, names, fold in _parts(corpus, folds):
        truth = _truth(corpus, "training" if part == OUT_OF_FOLD else "validation", names)
        for stage in stages:
            said = stage.out_of_fold if part == OUT_OF_FOLD else stage.validation
            for heads, probabilities in said.items():
                predicted = decide(probabilities)
                score = joint_score(truth, predicted, average)
                low, high = interval(bootstrap(truth, [predicted], average)["JRBM"][0])
                rows.append(
                    {
                        "stage": stage.name,
                        "system": _system(heads, stage),
                        "heads": heads,
                        "part": part,
                        "n_clips": len(names),
                        **vars(score),
                        "JRBM_low": low,
                        "JRBM_high": high,
                        "fold_spread": _spread(truth, predicted, fold, average),
                    }
                )
    return pd.DataFrame(rows)


def gains(before: Stage, after: Stage, config: Config, corpus: Corpus, folds: pd.DataFrame) -> pd.DataFrame:
    """JRBM of `after` less that of `before`, all head counts together, with its 95 % interval (paired bootstrap)."""
    rows = []
    for part, names, _ in _parts(corpus, folds):
        truth = _truth(corpus, "training" if part == OUT_OF_FOLD else "validation", names)
        said = [decide((s.out_of_fold if part == OUT_OF_FOLD else s.validation)[MEAN]) for s in (before, after)]
        first, second = (joint_score(truth, predicted, config.corpus.average).JRBM for predicted in said)
        draws = bootstrap(truth, said, config.corpus.average)["JRBM"]
        low, high = interval(draws[1] - draws[0])
        rows.append({"part": part, "gain in JRBM": second - first, "low": low, "high": high})
    return pd.DataFrame(rows)


def best_heads(scores: pd.DataFrame) -> dict[str, int]:
    """The number of heads with the best out-of-fold F1 of each task, in the last stage of the table."""
    last = scores[(scores.stage == scores.stage.iloc[-1]) & (scores.part == OUT_OF_FOLD) & (scores.heads != MEAN)]
    return {task: int(last.loc[last[column].idxmax(), "heads"]) for task, column in zip(TASKS, ("E", "I"), strict=True)}


def decide(probabilities: Probabilities) -> dict[str, np.ndarray]:
    """The likeliest class numbers [N] of each task."""
    return {task: probabilities[task].argmax(axis=1) for task in TASKS}


def _parts(corpus: Corpus, folds: pd.DataFrame):
    yield OUT_OF_FOLD, list(folds.name), folds.fold.to_numpy()
    yield VALIDATION, list(corpus.part("validation").name), None


def _truth(corpus: Corpus, part: str, names) -> dict[str, np.ndarray]:
    clips = corpus.part(part).set_index("name").loc[list(names)]
    return {task: corpus.labels.encode(task, clips[task]) for task in TASKS}


def _system(heads: int, stage: Stage) -> str:
    if heads == MEAN:
        return "all heads, mean" if stage.weights is None else "all heads, weighted"
    return f"{heads} head{'s' * (heads > 1)}"


def _spread(truth: dict, predicted: dict, fold: np.ndarray | None, average: str) -> float:
    if fold is None:
        return float("nan")
    scores = []
    for k in np.unique(fold):
        own = fold == k
        scores.append(
            joint_score({t: truth[t][own] for t in TASKS}, {t: predicted[t][own] for t in TASKS}, average).JRBM
        )
    return float(np.std(scores, ddof=1))
