"""Pseudo-labels: what the second stage learns from predictions on the unlabelled pool.

By default (--pseudo.gate soft) that is the whole pool, with the teachers' probabilities as targets, calibrated by a
temperature. The paper accepts, for each task by itself, the likeliest class where the networks' own softmax is above
0.99 (arXiv 2501.06215): the gate `paper`.
Everything is done once per fold, by teachers and on scores that never saw the fold's held-out rows: one set of
pseudo-labels made by all folds' models would lift cross-validation and nothing else.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from meiju.config import PseudoConfig
from meiju.data.labels import TASKS, LabelSet, probability_column
from meiju.evaluation.calibration import calibrate, fit_temperature


@dataclass(frozen=True)
class Gate:
    """What a prediction of one task must pass: `threshold` on the confidence after `temperature`."""

    temperature: float
    threshold: float
    precision: float  # of the held-out rows that pass; NaN if none of them does


def fit_gates(
    config: PseudoConfig, probabilities: dict[str, np.ndarray], labels: dict[str, np.ndarray]
) -> dict[str, Gate]:
    """The gate of each task, from probabilities [N, K] by calibration models of rows they never saw, with labels [N].

    The paper takes confidences as they come; otherwise the temperature suits these rows, and everything passes.
    """
    gates = {}
    for task in TASKS:
        paper = config.gate == "paper"
        temperature = 1.0 if paper else fit_temperature(probabilities[task], labels[task])
        calibrated = calibrate(probabilities[task], temperature)
        threshold = config.threshold if paper else 0.0
        correct = (calibrated.argmax(axis=1) == labels[task])[calibrated.max(axis=1) >= threshold]
        gates[task] = Gate(temperature, threshold, float(correct.mean()) if len(correct) else float("nan"))
    return gates


def label_fold(
    names: np.ndarray, probabilities: dict[str, np.ndarray], gates: dict[str, Gate], labels: LabelSet
) -> pd.DataFrame:
    """Pseudo-labels of one fold: by task its label, confidence, whether it is accepted, and each class' probability.

    names [N] and probabilities[task] [N, K] are the teachers' on the pool; the confidence is calibrated.
    """
    table = pd.DataFrame({"name": names})
    for task in TASKS:
        calibrated = calibrate(probabilities[task], gates[task].temperature)
        confidence = calibrated.max(axis=1)
        table[task] = labels.decode(task, calibrated.argmax(axis=1))
        table[f"{task}_confidence"] = confidence.round(6)
        table[f"{task}_accepted"] = confidence >= gates[task].threshold
        for k, label in enumerate(labels[task]):
            table[probability_column(task, label)] = calibrated[:, k].round(6)
    return table
