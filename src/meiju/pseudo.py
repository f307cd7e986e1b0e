"""Pseudo-labels: which predictions on the unlabelled pool become labels of the second stage.

The paper keeps predictions above 0.99 (arXiv 2501.06215). Here confidences are first calibrated by a temperature (Guo
et al. 2017), each task has a gate of its own, and a clip whose predicted pair never occurs among the labelled clips
can be left out. Everything is done once per fold, by teachers and on scores that never saw the fold's held-out rows:
one set of pseudo-labels made by all folds' models would lift cross-validation and nothing else.
"""

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from scipy.optimize import brentq, minimize_scalar
from scipy.special import softmax

from meiju.config import PseudoConfig
from meiju.labels import TASKS, LabelSet, probability_column

MIN_ACCEPTED = 20  # a precision estimated on fewer clips says too little


class LeakError(AssertionError):
    """A teacher, or what its gate was fitted on, has seen rows that its fold holds out."""


@dataclass(frozen=True)
class Gate:
    """What a prediction of one task must pass: `threshold` on the confidence after `temperature`."""

    temperature: float
    threshold: float  # infinite where no threshold reaches the wanted precision
    precision: float  # expected of what is accepted, from held-out rows; NaN if none of them is


def assert_unseen(trained_on: np.ndarray, held_out: np.ndarray) -> None:
    """Raise LeakError if any held-out name is among the names trained on."""
    seen = np.intersect1d(trained_on, held_out)
    if len(seen):
        raise LeakError(f"{len(seen)} held-out clips were trained on, the first: {', '.join(seen[:3])}")


def fit_temperature(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """The temperature [0.1, 10] with the least log-loss on probabilities [N, K] of held-out rows with labels [N]."""
    log = np.log(np.maximum(probabilities, 1e-12))

    def loss(log_temperature: float) -> float:
        return -np.log(
            np.maximum(softmax(log / np.exp(log_temperature), axis=1)[np.arange(len(labels)), labels], 1e-12)
        ).mean()

    return float(np.exp(minimize_scalar(loss, bounds=(np.log(0.1), np.log(10)), method="bounded").x))


def calibrate(probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """Probabilities [N, K] with their logarithms divided by the temperature."""
    return softmax(np.log(np.maximum(probabilities, 1e-12)) / temperature, axis=1)


def precision_threshold(confidence: np.ndarray, correct: np.ndarray, target: float) -> float:
    """The lowest threshold at which the share of `correct` among confidence [N] >= threshold is at least `target`.

    Infinite if there is none that accepts MIN_ACCEPTED rows or more.
    """
    order = np.argsort(-confidence, kind="stable")
    precision = np.cumsum(correct[order]) / np.arange(1, len(order) + 1)
    # A threshold accepts all rows of one confidence or none: look only where the next confidence is lower.
    confidence = confidence[order]
    last_of_its_value = np.append(confidence[1:] < confidence[:-1], True)
    good = last_of_its_value & (precision >= target) & (np.arange(1, len(order) + 1) >= MIN_ACCEPTED)
    return float(confidence[good][-1]) if good.any() else np.inf


def fit_gate(config: PseudoConfig, probabilities: np.ndarray, labels: np.ndarray) -> Gate:
    """The gate of one task, from what stand-ins of the teacher say [N, K] of rows they never saw, with labels [N]."""
    temperature = fit_temperature(probabilities, labels)
    calibrated = calibrate(probabilities, temperature)
    confidence, correct = calibrated.max(axis=1), calibrated.argmax(axis=1) == labels
    threshold = (
        config.threshold if config.gate == "fixed" else precision_threshold(confidence, correct, config.precision)
    )
    return Gate(temperature, threshold, _share(correct[confidence >= threshold]))


def fit_gates(
    config: PseudoConfig, probabilities: dict[str, np.ndarray], labels: dict[str, np.ndarray]
) -> dict[str, Gate]:
    """The gate of each task (see `fit_gate`); with `joint_gate`, one threshold on the less sure of a clip's two labels.

    That one is the lowest at which the labels of both tasks taken together reach the wanted precision.
    """
    gates = {task: fit_gate(config, probabilities[task], labels[task]) for task in TASKS}
    if not config.joint_gate:
        return gates
    calibrated = {task: calibrate(probabilities[task], gates[task].temperature) for task in TASKS}
    correct = {task: calibrated[task].argmax(axis=1) == labels[task] for task in TASKS}
    least = np.minimum(*(calibrated[task].max(axis=1) for task in TASKS))
    threshold = config.threshold
    if config.gate == "precision":
        both = np.concatenate([correct[task] for task in TASKS])
        threshold = precision_threshold(np.tile(least, len(TASKS)), both, config.precision)
    passed = least >= threshold
    return {task: Gate(gates[task].temperature, threshold, _share(correct[task][passed])) for task in TASKS}


def carry_gate(gate: Gate, probabilities: np.ndarray, mean_confidence: float) -> Gate:
    """The gate of a teacher that no held-out row can check any more: a student that now teaches in its turn.

    Its temperature makes its mean confidence on the pool [N, K] what its own teacher's was, and the threshold stays:
    without evidence, a student is taken to know as much as its teacher and no more. The precision is the old one.
    """

    def excess(log_temperature: float) -> float:
        return float(calibrate(probabilities, np.exp(log_temperature)).max(axis=1).mean() - mean_confidence)

    low, high = np.log(0.1), np.log(10)
    if len(probabilities) == 0 or not np.isfinite(mean_confidence) or excess(low) * excess(high) > 0:
        return gate
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
    Soft labels have a column a class besides, with its calibrated probability.
    """
    table = pd.DataFrame({"name": names})
    for task in TASKS:
        calibrated = calibrate(probabilities[task], gates[task].temperature)
        table[task] = labels.decode(task, calibrated.argmax(axis=1))
        confidence = calibrated.max(axis=1)
        table[f"{task}_confidence"] = confidence.round(6)
        table[f"{task}_accepted"] = confidence >= gates[task].threshold
        if config.soft:
            for k, label in enumerate(labels[task]):
                table[probability_column(task, label)] = calibrated[:, k].round(6)
    if config.joint_gate:
        both = table.emotion_accepted & table.intent_accepted
        table = table.assign(emotion_accepted=both, intent_accepted=both)
    if config.plausible_pairs:
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
