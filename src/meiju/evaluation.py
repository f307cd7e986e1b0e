"""Scores of a run's systems, and differences between systems: out of fold and on Validation."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from meiju import ensemble
from meiju.config import Config
from meiju.corpus import Corpus
from meiju.ensemble import Group, Probabilities
from meiju.labels import TASKS
from meiju.metrics import bootstrap, interval, joint_score, score_draws, t_interval

OUT_OF_FOLD, VALIDATION = "out-of-fold", "validation"
ALL_HEADS = "all"  # in the column `heads` of a table: the members of all head counts together
SCORES = ("E", "I", "JRBM")
OVER_SEEDS, OVER_CLIPS = "over clips and seeds", "over clips alone"  # what the interval of a difference covers


@dataclass(frozen=True)
class Stage:
    """The predictions of the members of a stage, by part (OUT_OF_FOLD and, where the corpus has it, VALIDATION).

    groups[part]: the members' probabilities. by_heads[part][heads]: their mean over the members of one head count.
    together[part]: over all of them. Clips are in the order of `folds` and of the validation part. weights[task]: of
    the head counts in the mean, or None for the plain mean.
    """

    name: str
    groups: dict[str, list[Group]]
    by_heads: dict[str, dict[int, Probabilities]]
    together: dict[str, Probabilities]
    weights: dict[str, np.ndarray] | None

    def system(self, part: str) -> "System":
        """All members together, for one part."""
        return System(decide(self.together[part]), self.groups[part])


@dataclass(frozen=True)
class System:
    """Predictions for one part, to be compared with others: class numbers by task [N], and the members."""

    predicted: dict[str, np.ndarray]
    groups: list[Group]

    @property
    def has_seeds(self) -> bool:
        """Whether every cell has several seeds, so that the variance over seeds can be estimated."""
        return all(group.n_seeds > 1 for group in self.groups)

    @property
    def freedom(self) -> int:
        """Degrees of freedom of the variance over seeds: seeds less one, over all cells."""
        return sum((group.n_seeds - 1) * len(group.heads) for group in self.groups)

    def is_same(self, other: "System") -> bool:
        """Whether both are the very same members."""
        if len(self.groups) != len(other.groups):
            return False
        return all(
            np.array_equal(getattr(a, what)[task], getattr(b, what)[task])
            for a, b in zip(self.groups, other.groups, strict=True)
            for task in TASKS
            for what in ("probabilities", "share")
        )


def read_stage(name: str, config: Config, corpus: Corpus, folds: pd.DataFrame, folder: Path) -> Stage:
    """Gather the predictions of a finished stage."""
    heads = config.model.heads
    groups = {OUT_OF_FOLD: ensemble.out_of_fold(folder, config, folds)}
    if len(corpus.part("validation")):
        groups[VALIDATION] = ensemble.other_parts(folder, config, list(corpus.part("validation").name))
    by_heads = {part: ensemble.by_heads(of_part, heads) for part, of_part in groups.items()}
    weights = None
    if config.ensemble != "mean":
        truth = truth_of(corpus, "training", folds.name)
        weights = ensemble.fit_weights(by_heads[OUT_OF_FOLD], truth)
        groups = {part: [group.weighted(weights, heads) for group in of_part] for part, of_part in groups.items()}
        groups[OUT_OF_FOLD] = ensemble.weigh_out_of_fold(groups[OUT_OF_FOLD], by_heads[OUT_OF_FOLD], truth)
    together = {part: ensemble.mean_of(of_part) for part, of_part in groups.items()}
    return Stage(name, groups, by_heads, together, weights)


def table(stages: Sequence[Stage], config: Config, corpus: Corpus, folds: pd.DataFrame) -> pd.DataFrame:
    """One row per part, stage and head count, and one (heads ALL_HEADS) for all head counts together.

    Columns stage, system, heads, part, n_clips, E, I, JRBM, JRBM_low and JRBM_high (95 % bootstrap interval over clips
    alone), fold_std (standard deviation of JRBM over folds; NaN on Validation).
    """
    tables = []
    for part, truth, fold in parts(corpus, folds):
        named, predictions = [], []
        for stage in stages:
            for heads, probabilities in [*stage.by_heads[part].items(), (ALL_HEADS, stage.together[part])]:
                named.append({"stage": stage.name, "system": _system(heads, stage), "heads": heads, "part": part})
                predictions.append(decide(probabilities))
        scored = _scored(truth, predictions, fold, config.corpus.average)
        tables.append(pd.DataFrame([name | numbers for name, numbers in zip(named, scored, strict=True)]))
    return pd.concat(tables, ignore_index=True)


def summary(table: pd.DataFrame, config: Config, corpus: Corpus, folds: pd.DataFrame) -> pd.DataFrame:
    """The rows of `table` for all head counts together, and the score of the commonest class beside them."""
    together = table[table.heads == ALL_HEADS]
    return pd.concat([together, majority(config, corpus, folds)])


def majority(config: Config, corpus: Corpus, folds: pd.DataFrame) -> pd.DataFrame:
    """The score of always taking the commonest class of the training part, as a yardstick: two rows as of `table`."""
    training = truth_of(corpus, "training", folds.name)
    commonest = {task: np.bincount(training[task]).argmax() for task in TASKS}
    name = "always " + ", ".join(corpus.labels[task][k] for task, k in commonest.items())
    rows = []
    for part, truth, fold in parts(corpus, folds):
        predicted = {task: np.full(len(truth[task]), commonest[task]) for task in TASKS}
        named = {"stage": "majority", "system": name, "heads": "", "part": part}
        rows += [named | numbers for numbers in _scored(truth, [predicted], fold, config.corpus.average)]
    return pd.DataFrame(rows)


def by_fold(stages: Sequence[Stage], config: Config, corpus: Corpus, folds: pd.DataFrame) -> pd.DataFrame:
    """Out-of-fold scores of each fold's clips, all head counts together: columns fold, clips, and E, I, JRBM by stage.

    Columns of scores are named after score and stage, such as `JRBM, stage 2`.
    """
    _, truth, fold = next(parts(corpus, folds))
    rows = []
    for k in np.unique(fold):
        row = {"fold": k, "clips": int((fold == k).sum())}
        for stage in stages:
            score = _score_rows(truth, decide(stage.together[OUT_OF_FOLD]), fold == k, config.corpus.average)
            row |= {f"{name}, {stage.name}": value for name, value in vars(score).items()}
        rows.append(row)
    return pd.DataFrame(rows)


def gains(before: Stage, after: Stage, config: Config, corpus: Corpus, folds: pd.DataFrame) -> pd.DataFrame:
    """JRBM of `after` less that of `before`, all head counts together: columns part, gain, low, high, interval.

    low and high: 95 % interval; interval: what it covers, OVER_SEEDS or OVER_CLIPS (see `differences`).
    """
    rows = []
    for part, truth, _ in parts(corpus, folds):
        row = differences(truth, [before.system(part), after.system(part)], config.corpus.average).iloc[1]
        gain = {"gain": row.d_JRBM, "low": row.d_JRBM_low, "high": row.d_JRBM_high}
        rows.append({"part": part} | gain | {"interval": row.interval})
    return pd.DataFrame(rows)


def differences(
    truth: dict[str, np.ndarray],
    systems: Sequence[System],
    average: str,
    *,
    n_draws: int = 1000,
    seed: int = 0,
) -> pd.DataFrame:
    """Scores of each system less those of the first, with 95 % intervals: columns d_E, d_E_low, d_E_high and so on.

    The column `interval` says what they cover. OVER_CLIPS: the clips are a sample, the trained members are as they are
    (Efron's paired bootstrap over clips). Two systems that differ only in their seeds fall outside it far too
    often. OVER_SEEDS, where every cell (head count and fold) of both systems has two seeds or more: the seeds are a
    sample too, resampled in each cell and independently in both systems (see `meiju.ensemble.resample_seeds`). The
    variances over clips and over seeds are added, and the interval is the difference -/+ the root of
    their sum times Student's t, with the degrees of freedom that the seeds of the smaller system allow. That the chance
    of training belongs in a comparison: Bouthillier et al. 2021, Accounting for variance in machine learning
    benchmarks, MLSys 3.

    Chance that differs from clip to clip counts in both variances (Owen 2007, The pigeonhole bootstrap, Annals of
    Applied Statistics 1, 386-411), so the interval is rather too wide, by a factor of up to 1.4. Left out is what all
    members of a fold share: its training clips and its pseudo-labels; so are the split into folds and the corpus.
    """
    over_clips = bootstrap(truth, [system.predicted for system in systems], average, n_draws=n_draws, seed=seed)
    over_seeds = [_over_seeds(truth, system, average, n_draws, [seed, k]) for k, system in enumerate(systems)]
    base = joint_score(truth, systems[0].predicted, average)
    rows = []
    for k, system in enumerate(systems):
        score = joint_score(truth, system.predicted, average)
        has_seeds = systems[0].has_seeds and system.has_seeds
        row = {"interval": OVER_SEEDS if has_seeds else OVER_CLIPS}
        for name in SCORES:
            difference = getattr(score, name) - getattr(base, name)
            by_clips = over_clips[name][k] - over_clips[name][0]
            if has_seeds and not system.is_same(systems[0]):
                variance = sum(np.var(drawn, ddof=1) for drawn in (by_clips, over_seeds[k][name] - over_seeds[0][name]))
                low, high = t_interval(difference, np.sqrt(variance), min(system.freedom, systems[0].freedom))
            else:
                low, high = interval(by_clips)
            row |= {f"d_{name}": difference, f"d_{name}_low": low, f"d_{name}_high": high}
        rows.append(row)
    return pd.DataFrame(rows)


def is_beyond_chance(low: float, high: float, covers: str) -> bool:
    """Whether a difference may be called one: its interval leaves out 0, and covers the chance of training."""
    return covers == OVER_SEEDS and (low > 0 or high < 0)


def best_heads(scores: pd.DataFrame) -> dict[str, int]:
    """The number of heads with the best out-of-fold F1 of each task, in the last stage of the table."""
    last = scores[(scores.stage == scores.stage.iloc[-1]) & (scores.part == OUT_OF_FOLD) & (scores.heads != ALL_HEADS)]
    return {task: int(last.loc[last[column].idxmax(), "heads"]) for task, column in zip(TASKS, ("E", "I"), strict=True)}


def decide(probabilities: Probabilities) -> dict[str, np.ndarray]:
    """The likeliest class numbers [N] of each task."""
    return {task: probabilities[task].argmax(axis=1) for task in TASKS}


def parts(corpus: Corpus, folds: pd.DataFrame) -> Iterator[tuple[str, dict[str, np.ndarray], np.ndarray | None]]:
    """The parts that are scored: name, true class numbers by task [N], fold of each clip [N] (None on Validation).

    A corpus without Validation is scored out of fold alone.
    """
    yield OUT_OF_FOLD, truth_of(corpus, "training", folds.name), folds.fold.to_numpy()
    if len(corpus.part("validation")):
        yield VALIDATION, truth_of(corpus, "validation", corpus.part("validation").name), None


def truth_of(corpus: Corpus, part: str, names: Sequence[str]) -> dict[str, np.ndarray]:
    """True class numbers [N] of each task, in the order of `names`."""
    clips = corpus.part(part).set_index("name").loc[list(names)]
    return {task: corpus.labels.encode(task, clips[task]) for task in TASKS}


def _over_seeds(truth, system: System, average: str, n_draws: int, seed: list[int]) -> dict[str, np.ndarray] | None:
    """E, I and JRBM [n_draws] of a system under resampled seeds; None where it has one seed."""
    if not system.has_seeds:
        return None
    rng = np.random.default_rng(seed)
    return score_draws(truth, ensemble.resample_seeds(system.groups, n_draws=n_draws, rng=rng), average)


def _scored(truth: dict, predictions: Sequence[dict], fold: np.ndarray | None, average: str) -> Iterator[dict]:
    """The columns of `table` that are numbers, for each of some systems' predictions."""
    for predicted, drawn in zip(predictions, bootstrap(truth, predictions, average)["JRBM"], strict=True):
        low, high = interval(drawn)
        score = joint_score(truth, predicted, average)
        bounds = {"JRBM_low": low, "JRBM_high": high}
        over_folds = {"fold_std": _fold_sd(truth, predicted, fold, average)}
        yield {"n_clips": len(truth[TASKS[0]])} | vars(score) | bounds | over_folds


def _system(heads: int | str, stage: Stage) -> str:
    if heads == ALL_HEADS:
        return "all heads, mean" if stage.weights is None else "all heads, weighted"
    return f"{heads} head{'s' * (heads > 1)}"


def _fold_sd(truth: dict, predicted: dict, fold: np.ndarray | None, average: str) -> float:
    """Standard deviation of JRBM over folds; NaN where the clips have none."""
    if fold is None:
        return float("nan")
    return float(np.std([_score_rows(truth, predicted, fold == k, average).JRBM for k in np.unique(fold)], ddof=1))


def _score_rows(truth: dict, predicted: dict, rows: np.ndarray, average: str):
    return joint_score({t: truth[t][rows] for t in TASKS}, {t: predicted[t][rows] for t in TASKS}, average)
