"""Scores of a run's systems, and differences between systems: out of fold and on Validation."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from meiju.config import Config
from meiju.data.corpus import Corpus
from meiju.data.labels import TASKS, LabelSet
from meiju.data.units import Units, units_of
from meiju.evaluation import ensemble, metrics
from meiju.evaluation.ensemble import FoldPredictions, Probabilities
from meiju.evaluation.metrics import LOG_LOSSES, SCORES

OUT_OF_FOLD, VALIDATION = "out-of-fold", "validation"
ALL_HEADS = "all"  # in the column `heads` of a table: the members of all head counts together
AND_SEEDS, ALONE = "and seeds", "alone"  # how the text ends that says what the interval of a difference covers


@dataclass(frozen=True)
class Part:
    """Clips with known labels, and how they are scored.

    names [N]; truth: class numbers [N] by task; average: of F1 over classes; units: what intervals resample; fold: of
    each clip [N], None on Validation.
    """

    name: str
    names: np.ndarray
    truth: dict[str, np.ndarray]
    average: str
    units: Units
    fold: np.ndarray | None = None


@dataclass(frozen=True)
class System:
    """Predictions for one part, to be compared with others: probabilities by task [N, K], and the members, if known.

    temperature[task] is the one that suits the system out of fold.
    """

    part: Part
    probabilities: Probabilities
    temperature: dict[str, float]
    groups: list[FoldPredictions] = field(default_factory=list)

    @cached_property
    def predicted(self) -> dict[str, np.ndarray]:
        """The likeliest class numbers [N] of each task."""
        return {task: self.probabilities[task].argmax(axis=1) for task in TASKS}

    @cached_property
    def losses(self) -> dict[str, np.ndarray]:
        """The log-loss of each clip by task [N], after the temperature.

        F1 of a thousand clips is largely chance, as a clip near the border counts as one far from it; this is less so.
        The temperature, so that members that are only surer, or less sure, do not differ.
        """
        truth, by_task = self.part.truth, self.probabilities.items()
        return {task: metrics.log_losses(p, truth[task], self.temperature[task]) for task, p in by_task}

    @cached_property
    def scores(self) -> dict[str, float]:
        """E, I, JRBM and the LOG_LOSSES."""
        means = [float(self.losses[task].mean()) for task in TASKS]
        found = metrics.joint_score(self.part.truth, self.predicted, self.part.average)
        return found | dict(zip(LOG_LOSSES, (*means, sum(means)), strict=True))

    @property
    def freedom(self) -> int:
        """Degrees of freedom of the variance over seeds: seeds less one, over all cells. With one seed none."""
        return sum((group.n_seeds - 1) * len(group.heads) for group in self.groups)


@dataclass(frozen=True)
class Stage:
    """The predictions of the members of a stage.

    systems[heads][part]: the members of one head count, or with ALL_HEADS all of them, on OUT_OF_FOLD and, where the
    corpus has it, VALIDATION.
    """

    name: str
    systems: dict[int | str, dict[str, System]]

    @property
    def together(self) -> dict[str, System]:
        """All members together, by part."""
        return self.systems[ALL_HEADS]


def parts(config: Config, corpus: Corpus, folds: pd.DataFrame) -> list[Part]:
    """What is scored: the training clips, in the order of `folds`, and Validation where the corpus has it."""
    training = corpus.part("training").set_index("name").loc[list(folds.name)].reset_index()
    clips = {OUT_OF_FOLD: (training, folds.fold.to_numpy()), VALIDATION: (corpus.part("validation"), None)}
    found = []
    for name, (own, fold) in clips.items():
        truth = {task: corpus.labels.encode(task, own[task]) for task in TASKS}
        units = units_of(own, config.folds_by)
        found.append(Part(name, own.name.to_numpy(), truth, config.corpus.average, units, fold))
    return [part for part in found if len(part.names)]


def read_stage(name: str, config: Config, corpus: Corpus, folds: pd.DataFrame, folder: Path) -> Stage:
    """Gather the predictions of a finished stage."""
    scored, systems = parts(config, corpus, folds), {}
    groups = [ensemble.gather(folder, config, part.names, part.fold) for part in scored]
    for heads in (*config.model.heads, ALL_HEADS):
        means = [ensemble.mean_of(own, None if heads == ALL_HEADS else heads) for own in groups]
        temperature = temperatures(scored[0].truth, means[0])
        found = zip(scored, means, groups, strict=True)
        systems[heads] = {part.name: System(part, mean, temperature, own) for part, mean, own in found}
    return Stage(name, systems)


def table(stages: Iterable[Stage]) -> pd.DataFrame:
    """One row per part, stage and head count, and one (heads ALL_HEADS) for all head counts together.

    Columns stage, system, heads, and those of `score_rows`.
    """
    rows = []
    for stage in stages:
        for heads, by_part in stage.systems.items():
            system = "all heads, mean" if heads == ALL_HEADS else f"{heads} head{'s' * (heads > 1)}"
            rows.append(({"stage": stage.name, "system": system, "heads": heads}, by_part))
    return score_systems(rows)


def score_systems(systems: Sequence[tuple[dict, dict[str, System]]]) -> pd.DataFrame:
    """The scores of systems, a row per part and system. systems: the columns that name each, and itself by part."""
    named = pd.DataFrame([columns for columns, _ in systems])
    tables = [pd.concat([named, score_rows([own[part] for _, own in systems])], axis=1) for part in systems[0][1]]
    return pd.concat(tables, ignore_index=True)


def summary(stages: Iterable[Stage], labels: LabelSet) -> pd.DataFrame:
    """The rows of `table` for all head counts together; beside them, as a yardstick, the commonest training class.

    The probabilities of this stage 'majority' are the shares of the classes in the training part.
    """
    first, *others = stages
    training = first.together[OUT_OF_FOLD].part.truth
    shares = {task: np.bincount(training[task], minlength=len(labels[task])) / len(training[task]) for task in TASKS}
    name = "always " + ", ".join(labels[task][share.argmax()] for task, share in shares.items())
    always = {}
    for part, system in first.together.items():
        tiled = {task: np.tile(share, (len(system.part.names), 1)) for task, share in shares.items()}
        always[part] = System(system.part, tiled, dict.fromkeys(TASKS, 1.0))
    majority = score_systems([({"stage": "majority", "system": name, "heads": ""}, always)])
    return pd.concat(
        [table([replace(stage, systems={ALL_HEADS: stage.together}) for stage in (first, *others)]), majority]
    )


def score_rows(systems: Sequence[System]) -> pd.DataFrame:
    """The scores of some systems on one part, a row each.

    Columns part, n_clips, E, I, JRBM, JRBM_low and JRBM_high, log_loss_emotion, log_loss_intent, log_loss (their sum),
    log_loss_low and log_loss_high, over (what these 95 % intervals resample, in words), fold_std (standard deviation of
    JRBM over folds; NaN without folds, on Validation).
    """
    part, drawn, rows = systems[0].part, _bootstrap(systems), []
    for k, system in enumerate(systems):
        row: dict[str, float | int | str] = {"part": part.name, "n_clips": len(part.names)}
        for name, value in system.scores.items():
            row[name] = value
            if name in ("JRBM", "log_loss"):
                row[f"{name}_low"], row[f"{name}_high"] = metrics.interval(value, drawn[name][k], part.units)
        by_fold = [] if part.fold is None else [row["JRBM"] for row in scores_by_fold(system)]
        rows.append(row | {"over": part.units.what, "fold_std": np.std(by_fold, ddof=1) if by_fold else np.nan})
    return pd.DataFrame(rows)


def scores_by_fold(system: System) -> list[dict]:
    """A row per fold: fold, clips, E, I and JRBM of the clips that it holds out."""
    rows = []
    for k in np.unique(system.part.fold):
        held_out = system.part.fold == k
        own = [{task: of[task][held_out] for task in TASKS} for of in (system.part.truth, system.predicted)]
        rows.append({"fold": str(k), "clips": held_out.sum(), **metrics.joint_score(*own, system.part.average)})
    return rows


def temperatures(truth: dict[str, np.ndarray], probabilities: Probabilities) -> dict[str, float]:
    """The temperature of each task that suits a system's out-of-fold probabilities best."""
    return {task: metrics.fit_temperature(probabilities[task], truth[task]) for task in TASKS}


def gains(before: Stage, after: Stage) -> pd.DataFrame:
    """What a stage gains, all head counts together: JRBM (more is better) and log-losses (less is better).

    Columns part, score (JRBM or one of LOG_LOSSES), the names of both stages, difference, low, high (its 95 % interval)
    and interval (what that covers, see `differences`).
    """
    rows = []
    for part in before.together:
        both = [stage.together[part] for stage in (before, after)]
        found, values = differences(both).iloc[1], [system.scores for system in both]
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


def differences(systems: Sequence[System], n_draws: int = 1000) -> pd.DataFrame:
    """Scores of each system less those of the first, with 95 % intervals: columns d_E, d_E_low, d_E_high and so on.

    Of SCORES and LOG_LOSSES, on one part. The column `interval` says what they cover. 'over ... alone': clips, speakers
    or dialogues are a sample, the trained members are as they are (a paired bootstrap of units). 'over ... and seeds',
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
    units, drawn = systems[0].part.units, _bootstrap(systems, n_draws)
    over_seeds = [_over_seeds(system, n_draws, [0, k]) for k, system in enumerate(systems)]
    values, rows = [system.scores for system in systems], []
    for k, system in enumerate(systems):
        has_seeds = min(systems[0].freedom, system.freedom) > 0
        row = {"interval": f"over {units.what} {AND_SEEDS if has_seeds else ALONE}"}
        for name in (*SCORES, *LOG_LOSSES):
            difference, freedom = values[k][name] - values[0][name], units.n - 1
            spread = metrics.variance(drawn[name][k] - drawn[name][0], units)
            if has_seeds and k > 0:
                spread += over_seeds[k][name] + over_seeds[0][name]
                freedom = min(system.freedom, systems[0].freedom, freedom)
            low, high = metrics.t_interval(difference, np.sqrt(spread), freedom)
            row |= {f"d_{name}": difference, f"d_{name}_low": low, f"d_{name}_high": high}
        rows.append(row)
    return pd.DataFrame(rows)


def is_beyond_chance(low: float, high: float, covers: str) -> bool:
    """Whether a difference may be called one: its interval leaves out 0, and covers the chance of training."""
    return covers.endswith(AND_SEEDS) and (low > 0 or high < 0)


def _over_seeds(system: System, n_draws: int, seed: list[int]) -> dict[str, float] | None:
    """The variance of each score of a system over seeds; None where it has one seed."""
    if system.freedom == 0:
        return None
    decided = ensemble.resample_seeds(system.groups, n_draws, np.random.default_rng(seed))
    one_by_one = [{task: decided[task][k] for task in TASKS} for k in range(n_draws)]
    drawn = [metrics.joint_score(system.part.truth, predicted, system.part.average) for predicted in one_by_one]
    found = {name: float(np.var([scored[name] for scored in drawn], ddof=1)) for name in SCORES}
    return found | dict(zip(LOG_LOSSES, _log_loss_over_seeds(system), strict=True))


def _log_loss_over_seeds(system: System) -> tuple[float, float, float]:
    """The variance of the log-losses over seeds: of emotion, of intent, and of their sum.

    By the first derivative of the log-loss in each member's probabilities (the delta method): it is smooth in them, as
    F1 is not, and draws of few seeds could make a probability negative.
    """
    truth, variances = system.part.truth, np.zeros(3)
    for group in system.groups:
        by_seed = []  # of each task: [C, S], what a member adds to the mean over clips, up to a constant
        for task in TASKS:
            mean, temperature = system.probabilities[task][group.rows], system.temperature[task]
            slope = metrics.calibrate(mean, temperature)
            slope[np.arange(len(mean)), truth[task][group.rows]] -= 1
            slope /= temperature * np.maximum(mean, 1e-12) * len(truth[task])
            by_seed.append(np.einsum("nk,csnk->cs", slope, group.probabilities[task]) / len(group.heads))
        for k, added in enumerate((*by_seed, sum(by_seed))):
            variances[k] += (np.var(added, axis=1, ddof=1) / group.n_seeds).sum()
    return tuple(variances)


def _bootstrap(systems: Sequence[System], n_draws: int = 1000) -> dict[str, np.ndarray]:
    """Of each score the draws [systems, n_draws]; see `metrics.bootstrap`."""
    part, predictions = systems[0].part, [system.predicted for system in systems]
    losses = [system.losses for system in systems]
    return metrics.bootstrap(part.truth, predictions, part.average, part.units, losses, n_draws)
