"""Pseudo-labels: what the second stage learns from predictions on the unlabelled pool.

The paper keeps predictions above 0.99 (arXiv 2501.06215), which is the number for a network's own softmax: the gate
called paper. By default (the gate called soft) the second stage learns from the whole pool, with the teachers'
probabilities as targets, calibrated by a temperature (Guo et al. 2017). Other gates accept the likeliest class, for
each task by itself: above a confidence that is shown to reach a precision, or a fixed one; and a clip whose predicted
pair never occurs among the labelled clips can be left out.
Everything is done once per fold, by teachers and on scores that never saw the fold's held-out rows: one set of
pseudo-labels made by all folds' models would lift cross-validation and nothing else.
"""

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from meiju.config import PseudoConfig
from meiju.labels import TASKS, LabelSet, probability_column

MIN_ACCEPTED = 20  # a precision estimated on fewer clips says too little
RISK = 0.05  # how often the precision gate may open at a threshold that does not reach the precision asked for
COVERAGES = np.arange(1, 41) / 40  # shares of the held-out rows that the thresholds it tries accept
STARTS = np.array([0.05, 0.1, 0.2, 0.4])  # coverages from which it tries; others are reached from these alone


class LeakError(AssertionError):
    """A teacher, or what its gate was fitted on, has seen rows that its fold holds out."""


@dataclass(frozen=True)
class Gate:
    """What a prediction of one task must pass: `threshold` on the confidence after `temperature`."""

    temperature: float
    threshold: float  # infinite where no threshold is known to reach the wanted precision
    precision: float  # seen among the held-out rows that pass; NaN if none of them does


def assert_unseen(trained_on: np.ndarray, held_out: np.ndarray) -> None:
    """Raise LeakError if any held-out name is among the names trained on."""
    seen = np.intersect1d(trained_on, held_out)
    if len(seen):
        raise LeakError(f"{len(seen)} held-out clips were trained on, the first: {', '.join(seen[:3])}")


def fit_temperature(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """The temperature [0.1, 10] with the least log-loss on probabilities [N, K] of held-out rows with labels [N]."""
    from scipy.optimize import minimize_scalar
    from scipy.special import softmax

    log = np.log(np.maximum(probabilities, 1e-12))

    def loss(log_temperature: float) -> float:
        return -np.log(
            np.maximum(softmax(log / np.exp(log_temperature), axis=1)[np.arange(len(labels)), labels], 1e-12)
        ).mean()

    return float(np.exp(minimize_scalar(loss, bounds=(np.log(0.1), np.log(10)), method="bounded").x))


def calibrate(probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """Probabilities [N, K] with their logarithms divided by the temperature."""
    from scipy.special import softmax

    return softmax(np.log(np.maximum(probabilities, 1e-12)) / temperature, axis=1)


def precision_threshold(
    confidence: np.ndarray, correct: np.ndarray, target: float, groups: np.ndarray | None = None
) -> float:
    """A threshold above which the share of `correct` is at least `target`, with a chance of at most RISK to be wrong.

    confidence [N], correct [N]: bool, or in [0, 1] the share of a clip's labels that is right; groups [N]: the speaker
    or dialogue of each clip, where they are known. Returns the lowest such threshold on a fixed grid of coverages, or
    infinity if there is none.

    The lowest threshold whose rows happen to reach the target would be the luckiest of hundreds: on confidences that
    say nothing it opens again and again. So this is a multiple test (Angelopoulos et al. 2021, "Learn then Test", arXiv
    2110.01052): each threshold's hypothesis is that its precision lies below the target, and what is refuted holds for
    all at once. They are tried in a fixed order, the surest rows first. Of RISK, every one of STARTS is given an equal
    part; where a threshold is shown to reach the target, all it was tested at passes on to the next, and where not, it
    is spent (the fallback procedure of Wiens 2003). So one failure among the few surest does not end the search.

    What is proven: with that chance, the precision of *these* models on clips like these, drawn independently, is below
    the target. With groups, clips of one group may be alike, and the test of each threshold is one of large samples of
    groups (see `chance_of_groups`). What is heuristic: the models are nested ones, which learnt from one fold less than
    the teachers whose labels pass this threshold; the pool may have another mix of labels; and pairs that no labelled
    clip shows are dropped afterwards.
    """
    order = np.argsort(-confidence, kind="stable")
    ranked, right = confidence[order], np.cumsum(correct[order])
    n_asked = np.ceil(COVERAGES * len(ranked)).astype(int)
    # A threshold accepts all rows of one confidence or none.
    n_accepted = np.unique(np.searchsorted(-ranked, -ranked[n_asked - 1], side="right"))
    n_accepted = n_accepted[n_accepted >= MIN_ACCEPTED]
    risk = np.zeros(len(n_accepted) + 1)
    np.add.at(risk, np.searchsorted(n_accepted, STARTS * len(ranked)), RISK / len(STARTS))
    chances = chance_of(right[n_accepted - 1], n_accepted, target, whole=correct.dtype == bool)
    if groups is not None:
        in_groups = [chance_of_groups(correct[order[:n]], groups[order[:n]], target) for n in n_accepted]
        chances = np.maximum(chances, in_groups)
    threshold, inherited = np.inf, 0.0
    for n, chance, its_risk in zip(n_accepted, chances, risk, strict=False):
        shown = chance <= its_risk + inherited
        threshold = float(ranked[n - 1]) if shown else threshold
        inherited = its_risk + inherited if shown else 0.0
    return threshold


def chance_of(right: np.ndarray, n: np.ndarray, target: float, *, whole: bool) -> np.ndarray:
    """How probable it is at most that `right` or more of `n` rows are right where less than `target` are expected.

    right, n [M]; whole: each row is right or wrong, and the test is the exact binomial one (its bound on the precision
    is that of Clopper and Pearson 1934), which also holds where rows differ (Hoeffding 1956). Where a row may be right
    in part, the bound is that of Hoeffding and Bentkus for means of values in [0, 1] (arXiv 2110.01052, section 2.2).
    """
    from scipy.special import rel_entr
    from scipy.stats import binom  # takes a second, and a finished step needs none of it

    wrong, limit = n - right, 1 - target
    binomial = binom.cdf(np.ceil(wrong), n, limit)
    if whole:
        return binomial
    share = np.minimum(wrong / n, limit)
    hoeffding = np.exp(-n * (rel_entr(share, limit) + rel_entr(1 - share, 1 - limit)))
    return np.minimum(hoeffding, np.e * binomial)


def chance_of_groups(correct: np.ndarray, groups: np.ndarray, target: float) -> float:
    """How probable it is that this share or more of clips is right where less than `target` are expected, by groups.

    correct [N] in [0, 1], groups [N]. Clips of one speaker or dialogue are right or wrong together more often than
    chance has it, so groups are what counts: Student's t, with the variance between groups around the target (the score
    test of Rotnitzky and Jewell 1990, Biometrika 77, 485-497; around the mean that was seen, precisions that are skewed
    open too often), and one degree of freedom less than there are groups. 1 for a single group.
    """
    from scipy.stats import t as student

    excess = np.bincount(np.unique(groups, return_inverse=True)[1], weights=correct - target)  # by group
    n_groups = len(excess)
    if n_groups == 1 or not excess.any():
        return 1.0
    error = np.sqrt(n_groups / (n_groups - 1) * np.square(excess).sum())
    return float(student.sf(excess.sum() / error, n_groups - 1))


def fit_gates(
    config: PseudoConfig,
    probabilities: dict[str, np.ndarray],
    labels: dict[str, np.ndarray],
    groups: np.ndarray | None = None,
) -> dict[str, Gate]:
    """The gate of each task, from probabilities [N, K] by nested members of rows they never saw, with labels [N].

    groups [N]: the speaker or dialogue of each row, where they are known (see `precision_threshold`).
    With `joint_gate`, one threshold on the less sure of a clip's two labels; a clip with one of them right counts half.
    """
    temperature = {t: 1.0 if config.gate == "paper" else fit_temperature(probabilities[t], labels[t]) for t in TASKS}
    calibrated = {t: calibrate(probabilities[t], temperature[t]) for t in TASKS}
    confidence = {t: calibrated[t].max(axis=1) for t in TASKS}
    correct = {t: calibrated[t].argmax(axis=1) == labels[t] for t in TASKS}
    if config.joint_gate:
        confidence = dict.fromkeys(TASKS, np.minimum(*confidence.values()))
        threshold = dict.fromkeys(
            TASKS, _threshold(config, confidence[TASKS[0]], np.mean(list(correct.values()), axis=0), groups)
        )
    else:
        threshold = {t: _threshold(config, confidence[t], correct[t], groups) for t in TASKS}
    passed = {t: confidence[t] >= threshold[t] for t in TASKS}
    return {t: Gate(temperature[t], threshold[t], _share(correct[t][passed[t]])) for t in TASKS}


def _threshold(config: PseudoConfig, confidence: np.ndarray, correct: np.ndarray, groups: np.ndarray | None) -> float:
    if config.gate == "precision":
        return precision_threshold(confidence, correct, config.precision, groups)
    return 0.0 if config.gate == "soft" else config.threshold


def carry_gate(config: PseudoConfig, gate: Gate, probabilities: np.ndarray, mean_confidence: float) -> Gate:
    """The gate of a student that becomes a teacher, and that no held-out row can check any more.

    Its temperature makes its mean confidence on the pool [N, K] what its own teacher's was, and the threshold stays:
    without evidence, a student is taken to know as much as its teacher and no more. The precision is the old one. The
    paper's gate takes confidences as they come, a student's as well.
    """

    def excess(log_temperature: float) -> float:
        return float(calibrate(probabilities, np.exp(log_temperature)).max(axis=1).mean() - mean_confidence)

    low, high = np.log(0.1), np.log(10)
    if (
        config.gate == "paper"
        or len(probabilities) == 0
        or not np.isfinite(mean_confidence)
        or excess(low) * excess(high) > 0
    ):
        return gate
    from scipy.optimize import brentq

    return replace(gate, temperature=float(np.exp(brentq(excess, low, high))))


def label_pool(
    config: PseudoConfig,
    names: np.ndarray,
    probabilities: dict[str, np.ndarray],
    gates: dict[str, Gate],
    training: pd.DataFrame,
    labels: LabelSet,
) -> pd.DataFrame:
    """Pseudo-labels of one fold: by task its label, confidence and whether it is accepted.

    names [N] and probabilities[task] [N, K] are the teacher's on the pool; training are the fold's own labelled rows.
    With the gate 'soft' all are accepted, and there is one column per class with its calibrated probability.
    """
    table = pd.DataFrame({"name": names})
    for task in TASKS:
        calibrated = calibrate(probabilities[task], gates[task].temperature)
        table[task] = labels.decode(task, calibrated.argmax(axis=1))
        confidence = calibrated.max(axis=1)
        table[f"{task}_confidence"] = confidence.round(6)
        table[f"{task}_accepted"] = confidence >= gates[task].threshold
        if config.gate == "soft":
            for k, label in enumerate(labels[task]):
                table[probability_column(task, label)] = calibrated[:, k].round(6)
    if config.joint_gate:
        both = table.emotion_accepted & table.intent_accepted
        table = table.assign(emotion_accepted=both, intent_accepted=both)
    if config.plausible_pairs and config.gate != "soft":
        known = set(zip(training.emotion, training.intent, strict=True))
        plausible = np.array([pair in known for pair in zip(table.emotion, table.intent, strict=True)], dtype=bool)
        for task in TASKS:
            table[f"{task}_accepted"] &= plausible
    if config.cap is not None:
        for task in TASKS:
            table[f"{task}_accepted"] = _within_cap(table, task, config.cap * training[task].value_counts())
    return table


def _share(correct: np.ndarray) -> float:
    return float(correct.mean()) if len(correct) else float("nan")


def _within_cap(table: pd.DataFrame, task: str, cap: pd.Series) -> pd.Series:
    """Of each class, accept at most `cap` clips: the surest, by name where they tie."""
    accepted = table[table[f"{task}_accepted"]].sort_values([f"{task}_confidence", "name"], ascending=[False, True])
    rank = accepted.groupby(task).cumcount()
    kept = accepted.index[rank + 1 <= accepted[task].map(cap).fillna(0)]
    return pd.Series(table.index.isin(kept), index=table.index)
