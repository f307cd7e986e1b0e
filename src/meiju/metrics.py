"""The challenge's scores, and how sure one can be of them.

E and I are the F1 of emotion and intent, averaged over classes by support in Track 1 and micro-averaged in Track 2.
JRBM, the joint score that ranks the leaderboard, is their harmonic mean.
"""

from dataclasses import dataclass

import numpy as np
from sklearn.metrics import f1_score


@dataclass(frozen=True)
class Score:
    """Scores of one set of predictions, each in [0, 1]."""

    E: float
    I: float  # noqa: E741 - the challenge's own letter
    JRBM: float


def f1(truth: np.ndarray, prediction: np.ndarray, average: str) -> float:
    """F1 of class numbers [N]; a class that is never predicted counts as 0, as in the official scorer."""
    return float(f1_score(truth, prediction, average=average, zero_division=0))


def jrbm(emotion_f1: float, intent_f1: float) -> float:
    """Joint Recognition Balance Metric, 2EI/(E+I); 0 where both are 0.

    The official baseline adds 1e-6 to the denominator instead of treating 0/0, which changes the sixth decimal.
    """
    total = emotion_f1 + intent_f1
    return 2 * emotion_f1 * intent_f1 / total if total else 0.0


def joint_score(truth: dict[str, np.ndarray], prediction: dict[str, np.ndarray], average: str) -> Score:
    """Score class numbers [N] of both tasks, keyed by 'emotion' and 'intent'."""
    e, i = (f1(truth[task], prediction[task], average) for task in ("emotion", "intent"))
    return Score(e, i, jrbm(e, i))


def bootstrap(
    truth: dict[str, np.ndarray],
    predictions: list[dict[str, np.ndarray]],
    average: str,
    *,
    n_draws: int = 1000,
    seed: int = 0,
) -> dict[str, np.ndarray]:
    """E, I and JRBM of several systems on the same resampled clips, each [systems, n_draws] (Efron's paired bootstrap).

    The systems share every draw, so the difference of two rows is the distribution of their difference.
    """
    rng = np.random.default_rng(seed)
    n = len(truth["emotion"])
    draws = rng.multinomial(n, np.full(n, 1 / n), size=n_draws)  # how often each clip is drawn
    e, i = (
        np.stack([_resampled_f1(truth[task], prediction[task], draws, average) for prediction in predictions])
        for task in ("emotion", "intent")
    )
    return {"E": e, "I": i, "JRBM": _harmonic(e, i)}


def interval(draws: np.ndarray, level: float = 0.95) -> tuple[float, float]:
    """The central interval of bootstrap draws that holds `level` of them."""
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _resampled_f1(truth: np.ndarray, prediction: np.ndarray, draws: np.ndarray, average: str) -> np.ndarray:
    """F1 under each row of clip counts [n_draws, N]: one matrix product instead of a scikit-learn call per draw."""
    n_classes = int(max(truth.max(), prediction.max())) + 1
    is_true, is_predicted = np.eye(n_classes)[truth], np.eye(n_classes)[prediction]  # [N, K]
    hits = draws @ (is_true * is_predicted)  # [n_draws, K]
    support, predicted = draws @ is_true, draws @ is_predicted
    if average == "micro":
        return hits.sum(1) / draws.sum(1)
    per_class = 2 * hits / np.maximum(support + predicted, 1)
    return (per_class * support).sum(1) / support.sum(1)


def _harmonic(e: np.ndarray, i: np.ndarray) -> np.ndarray:
    return 2 * e * i / np.maximum(e + i, 1e-12)
