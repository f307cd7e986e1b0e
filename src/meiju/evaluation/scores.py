"""Scores of a run's systems, and differences between systems: out of fold and on Validation."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from meiju.config import Config
from meiju.data.corpus import Corpus
from meiju.data.labels import TASKS
from meiju.data.units import Units, units_of
from meiju.evaluation import ensemble
from meiju.evaluation.calibration import calibrate, fit_temperature
from meiju.evaluation.ensemble import FoldPredictions, Probabilities
from meiju.evaluation.metrics import LOG_LOSSES, SCORES, bootstrap, interval, joint_score, t_interval, variance

OUT_OF_FOLD, VALIDATION = "out-of-fold", "validation"
ALL_HEADS = "all"  # in the column `heads` of a table: the members of all head counts together
AND_SEEDS, ALONE = "and seeds", "alone"  # how the text ends that says what the interval of a difference covers


@dataclass(frozen=True)
class System:
    """Predictions for one part, to be compared with others: probabilities by task [N, K], and the members, if known.

    temperature[task] is the one that suits the system out of fold.
    """

    probabilities: Probabilities
    temperature: dict[str, float]
    groups: list[FoldPredictions] = field(default_factory=list)

    @property
    def predicted(self) -> dict[str, np.ndarray]:
        """The likeliest class numbers [N] of each task."""
        return {task: self.probabilities[task].argmax(axis=1) for task in TASKS}

    def losses(self, truth: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The log-loss of each clip by task [N], after the temperature.

        Lower is better. F1 of a thousand clips is largely chance, as a clip near the border counts as one far from it;
        this is less so. The temperature, so that members that are only surer, or less sure, do not differ.
        """
        return {
            task: -np.log(np.maximum(calibrate(p, self.temperature[task])[np.arange(len(p)), truth[task]], 1e-12))
            for task, p in self.probabilities.items()
        }

    @property
    def freedom(self) -> int:
        """Degrees of freedom of the variance over seeds: seeds less one, over all cells. With one seed none."""
        return sum((group.n_seeds - 1) * len(group.heads) for group in self.groups)


@dataclass(frozen=True)
class Stage:
    """The predictions of the members of a stage, by part (OUT_OF_FOLD and, where the corpus has it, VALIDATION).

    systems[heads][part]: the members of one head count, or with ALL_HEADS all of them. Clips are in the order of
    `folds` and of the validation part.
    """

    name: str
    systems: dict[int | str, dict[str, System]]

    def system(self, part: str) -> System:
        """All members together, for one part."""
        return self.systems[ALL_HEADS][part]


def read_stage(name: str, config: Config, corpus: Corpus, folds: pd.DataFrame, folder: Path) -> Stage:
    """Gather the predictions of a finished stage."""
    groups = {OUT_OF_FOLD: ensemble.out_of_fold(folder, config, folds)}
    if len(corpus.part("validation")):
        groups[VALIDATION] = ensemble.other_parts(folder, config, list(corpus.part("validation").name))
    truth, systems = truth_of(corpus, "training", folds.name), {}
    for heads in (*config.model.heads, ALL_HEADS):
        means = {part: ensemble.mean_of(own, None if heads == ALL_HEADS else heads) for part, own in groups.items()}
        temperature = temperatures(truth, means[OUT_OF_FOLD])
        systems[heads] = {part: System(mean, temperature, groups[part]) for part, mean in means.items()}
    return Stage(name, systems)


def table(stages: Iterable[Stage], config: Config, corpus: Corpus, folds: pd.DataFrame) -> pd.DataFrame:
    """One row per part, stage and head count, and one (heads ALL_HEADS) for all head counts together.

    Columns stage, system, heads, part, and those of `score_rows`.
    """
    names = {heads: f"{heads} head{'s' * (heads > 1)}" for heads in config.model.heads} | {ALL_HEADS: "all heads, mean"}
    systems = [
        ({"stage": stage.name, "system": names[heads], "heads": heads}, by_part)
        for stage in stages
        for heads, by_part in stage.systems.items()
    ]
    return score_systems(systems, config, corpus, folds)


def score_systems(
    systems: Sequence[tuple[dict, dict[str, System]]], config: Config, corpus: Corpus, folds: pd.DataFrame
) -> pd.DataFrame:
    """The scores of systems, a row per part and system. systems: the columns that name each, and itself by part."""
    tables, units = [], units_by_part(config, corpus, folds)
    for part, truth, fold in parts(corpus, folds):
        named = pd.DataFrame([columns | {"part": part} for columns, _ in systems])
        own = [by_part[part] for _, by_part in systems]
        tables.append(pd.concat([named, score_rows(truth, own, config.corpus.average, units[part], fold)], axis=1))
    return pd.concat(tables, ignore_index=True)


def summary(table: pd.DataFrame, config: Config, corpus: Corpus, folds: pd.DataFrame) -> pd.DataFrame:
    """The rows of `table` for all head counts together, and the score of the commonest class beside them."""
    together = table[table.heads == ALL_HEADS]
    return pd.concat([together, majority(config, corpus, folds)])


def majority(config: Config, corpus: Corpus, folds: pd.DataFrame) -> pd.DataFrame:
    """The score of always taking the commonest class of the training part, as a yardstick: two rows as of `table`.

    Its probabilities are the shares of the classes in the training part.
    """
    training = truth_of(corpus, "training", folds.name)
    shares = {task: np.bincount(training[task], minlength=len(corpus.labels[task])) / len(folds) for task in TASKS}
    name = "always " + ", ".join(corpus.labels[task][share.argmax()] for task, share in shares.items())
    always = {
        part: System({t: np.tile(share, (len(truth[t]), 1)) for t, share in shares.items()}, dict.fromkeys(TASKS, 1.0))
        for part, truth, _ in parts(corpus, folds)
    }
    return score_systems([({"stage": "majority", "system": name, "heads": ""}, always)], config, corpus, folds)


def score_rows(
    truth: dict[str, np.ndarray], systems: Sequence[System], average: str, units: Units, fold: np.ndarray | None = None
) -> pd.DataFrame:
    """The scores of some systems, a row each. truth: class numbers [N] by task; fold: of each clip [N], where known.

    Columns n_clips, E, I, JRBM, JRBM_low and JRBM_high, log_loss_emotion, log_loss_intent, log_loss (their sum),
    log_loss_low and log_loss_high, over (what these 95 % intervals resample, in words), fold_std (standard deviation of
    JRBM over folds; NaN without folds, on Validation).
    """
    drawn = _bootstrap(truth, systems, average, units)
    rows = []
    for k, system in enumerate(systems):
        row: dict[str, float | int | str] = {"n_clips": len(truth[TASKS[0]])}
        for name, value in _values(truth, system, average).items():
            row[name] = value
            if name in ("JRBM", "log_loss"):
                row[f"{name}_low"], row[f"{name}_high"] = interval(value, drawn[name][k], units)
        by_fold = [] if fold is None else [row["JRBM"] for row in scores_by_fold(truth, system, fold, average)]
        rows.append(row | {"over": units.what, "fold_std": np.std(by_fold, ddof=1) if by_fold else np.nan})
    return pd.DataFrame(rows)


def scores_by_fold(truth: dict[str, np.ndarray], system: System, fold: np.ndarray, average: str) -> list[dict]:
    """A row per fold: fold, clips, E, I and JRBM of the clips that it holds out. fold: of each clip [N]."""
    predicted, rows = system.predicted, []
    for k in np.unique(fold):
        own = [{task: of[task][fold == k] for task in TASKS} for of in (truth, predicted)]
        rows.append({"fold": str(k), "clips": (fold == k).sum(), **joint_score(*own, average)})
    return rows


def temperatures(truth: dict[str, np.ndarray], probabilities: Probabilities) -> dict[str, float]:
    """The temperature of each task that suits a system's out-of-fold probabilities best."""
    return {task: fit_temperature(probabilities[task], truth[task]) for task in TASKS}


def gains(before: Stage, after: Stage, config: Config, corpus: Corpus, folds: pd.DataFrame) -> pd.DataFrame:
    """What a stage gains, all head counts together: JRBM (more is better) and log-losses (less is better).

    Columns part, score (JRBM or one of LOG_LOSSES), the names of both stages, difference, low, high (its 95 % interval)
    and interval (what that covers, see `differences`).
    """
    rows, units = [], units_by_part(config, corpus, folds)
    for part, truth, _ in parts(corpus, folds):
        both = [stage.system(part) for stage in (before, after)]
        found = differences(truth, both, config.corpus.average, units=units[part]).iloc[1]
        values = [_values(truth, system, config.corpus.average) for system in both]
        for name in ("JRBM", *LOG_LOSSES):
            row = {"part": part, "score": name, before.name: values[0][name], after.name: values[1][name]}
            row |= {"difference": found[f"d_{name}"], "low": found[f"d_{name}_low"], "high": found[f"d_{name}_high"]}
            rows.append(row | {"interval": found.interval})
    return pd.DataFrame(rows)


def warn_of_loss(gains: pd.DataFrame) -> str:
    """What to do where stage 2 is worse than stage 1 out of fold in JRBM and in log-loss; "" where it is not.

    gains: see `gains`. Worse is what its interval says is worse, whatever that covers.
    """
    rows = gains[gains.part == OUT_OF_FOLD].set_index("score")
    if not (rows.high["JRBM"] < 0 and rows.low["log_loss"] > 0):
        return ""
    covers = rows.interval["JRBM"]
    unsure = "" if covers.endswith(AND_SEEDS) else "; with one seed it may still be chance: --train.seeds 2 tells"
    return (
        f"Stage 2 is worse than stage 1 out of fold: JRBM {rows.difference['JRBM']:+.4f}, log-loss "
        f"{rows.difference['log_loss']:+.4f}, and both 95 % intervals ({covers}) leave out 0{unsure}. "
        "To hand in stage 1, give --submit stage1."
    )


def differences(
    truth: dict[str, np.ndarray], systems: Sequence[System], average: str, units: Units, n_draws: int = 1000
) -> pd.DataFrame:
    """Scores of each system less those of the first, with 95 % intervals: columns d_E, d_E_low, d_E_high and so on.

    Of SCORES and LOG_LOSSES. The column `interval` says what they cover. 'over ... alone': the clips, speakers or
    dialogues are a sample, the trained members are as they are (a paired bootstrap over `units`). 'over ... and seeds',
    where every cell (head count and fold) of both systems has two seeds or more: the seeds are a sample too, resampled
    in each cell and independently in both systems (see `ensemble.resample_seeds`; of the log-loss, see
    `_log_loss_over_seeds`), as Bouthillier et al. 2021 ask for (Accounting for variance in machine learning benchmarks,
    MLSys 3). The variances over units and over seeds are added, and the interval is the difference -/+ the root of
    their sum times Student's t, with the degrees of freedom that the seeds of the smaller system allow, or the units
    where they are fewer.

    Chance that differs from clip to clip counts in both variances (Owen 2007, The pigeonhole bootstrap, Annals of
    Applied Statistics 1, 386-411), so the interval is rather too wide, by a factor of up to 1.4. Left out is what all
    members of a fold share: its training clips and its pseudo-labels; so are the split into folds and the corpus.
    """
    drawn = _bootstrap(truth, systems, average, units, n_draws)
    over_seeds = [_over_seeds(truth, system, average, n_draws, [0, k]) for k, system in enumerate(systems)]
    values = [_values(truth, system, average) for system in systems]
    rows = []
    for k, system in enumerate(systems):
        has_seeds = min(systems[0].freedom, system.freedom) > 0
        row = {"interval": f"over {units.what} {AND_SEEDS if has_seeds else ALONE}"}
        for name in (*SCORES, *LOG_LOSSES):
            difference, freedom = values[k][name] - values[0][name], units.n - 1
            spread = variance(drawn[name][k] - drawn[name][0], units)
            if has_seeds and k > 0:
                spread += over_seeds[k][name] + over_seeds[0][name]
                freedom = min(system.freedom, systems[0].freedom, freedom)
            low, high = t_interval(difference, np.sqrt(spread), freedom)
            row |= {f"d_{name}": difference, f"d_{name}_low": low, f"d_{name}_high": high}
        rows.append(row)
    return pd.DataFrame(rows)


def is_beyond_chance(low: float, high: float, covers: str) -> bool:
    """Whether a difference may be called one: its interval leaves out 0, and covers the chance of training."""
    return covers.endswith(AND_SEEDS) and (low > 0 or high < 0)


def parts(corpus: Corpus, folds: pd.DataFrame) -> Iterator[tuple[str, dict[str, np.ndarray], np.ndarray | None]]:
    """The parts that are scored: name, true class numbers by task [N], fold of each clip [N] (None on Validation).

    A corpus without Validation is scored out of fold alone.
    """
    yield OUT_OF_FOLD, truth_of(corpus, "training", folds.name), folds.fold.to_numpy()
    if len(corpus.part("validation")):
        yield VALIDATION, truth_of(corpus, "validation", corpus.part("validation").name), None


def units_by_part(config: Config, corpus: Corpus, folds: pd.DataFrame) -> dict[str, Units]:
    """What intervals resample, by part; see `meiju.data.folds.units_of`."""
    training = corpus.part("training").set_index("name").loc[list(folds.name)].reset_index()
    clips = {OUT_OF_FOLD: training, VALIDATION: corpus.part("validation")}
    return {part: units_of(own, config.folds_by) for part, own in clips.items()}


def truth_of(corpus: Corpus, part: str, names: Sequence[str]) -> dict[str, np.ndarray]:
    """True class numbers [N] of each task, in the order of `names`."""
    clips = corpus.part(part).set_index("name").loc[list(names)]
    return {task: corpus.labels.encode(task, clips[task]) for task in TASKS}


def _over_seeds(truth: dict, system: System, average: str, n_draws: int, seed: list[int]) -> dict[str, float] | None:
    """The variance of each score of a system over seeds; None where it has one seed."""
    if system.freedom == 0:
        return None
    decided = ensemble.resample_seeds(system.groups, n_draws, np.random.default_rng(seed))
    drawn = [joint_score(truth, {task: decided[task][k] for task in TASKS}, average) for k in range(n_draws)]
    found = {name: float(np.var([scored[name] for scored in drawn], ddof=1)) for name in SCORES}
    return found | dict(zip(LOG_LOSSES, _log_loss_over_seeds(truth, system), strict=True))


def _log_loss_over_seeds(truth: dict, system: System) -> tuple[float, float, float]:
    """The variance of the log-losses over seeds: of emotion, of intent, and of their sum.

    By the first derivative of the log-loss in each member's probabilities (the delta method): it is smooth in them, as
    F1 is not, and draws of few seeds could make a probability negative.
    """
    variances = np.zeros(3)
    for group in system.groups:
        by_seed = []  # of each task: [C, S], what a member adds to the mean over clips, up to a constant
        for task in TASKS:
            mean, temperature = system.probabilities[task][group.rows], system.temperature[task]
            slope = calibrate(mean, temperature)
            slope[np.arange(len(mean)), truth[task][group.rows]] -= 1
            slope /= temperature * np.maximum(mean, 1e-12) * len(truth[task])
            by_seed.append(np.einsum("nk,csnk->cs", slope, group.probabilities[task]) / len(group.heads))
        for k, added in enumerate((*by_seed, sum(by_seed))):
            variances[k] += (np.var(added, axis=1, ddof=1) / group.n_seeds).sum()
    return tuple(variances)


def _bootstrap(truth: dict, systems: Sequence[System], average: str, units: Units, n_draws=1000) -> dict:
    """Of each score the draws [systems, n_draws]; see `bootstrap`."""
    return bootstrap(truth, [s.predicted for s in systems], average, units, [s.losses(truth) for s in systems], n_draws)


def _values(truth: dict, system: System, average: str) -> dict[str, float]:
    """E, I, JRBM and the LOG_LOSSES."""
    losses = system.losses(truth)
    means = [float(losses[task].mean()) for task in TASKS]
    return joint_score(truth, system.predicted, average) | dict(zip(LOG_LOSSES, (*means, sum(means)), strict=True))
