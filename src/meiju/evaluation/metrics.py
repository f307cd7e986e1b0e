"""The challenge's scores, log-loss after temperature scaling, and their confidence intervals.

E and I are the F1 of emotion and intent, averaged over classes by support in Track 1 and micro-averaged in Track 2.
JRBM, the joint score that ranks the leaderboard, is their harmonic mean.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from meiju.data.units import Units

SCORES = ("E", "I", "JRBM")
LOG_LOSSES = ("log_loss_emotion", "log_loss_intent", "log_loss")  # the last is the sum of both
ByTask = dict[str, np.ndarray]  # by 'emotion' and 'intent': class numbers or log-losses [N]


def f1(truth: np.ndarray, prediction: np.ndarray, draws: np.ndarray, average: str) -> np.ndarray:
    """F1 of class numbers [N] under each row of clip counts [n_draws, N]; a class that is never predicted counts as 0.

    As scikit-learn's f1_score, by one matrix product instead of a call per draw. Clips without a label, whose number is
    below 0, are left out.
    """
    known = truth >= 0
    truth, prediction, draws = truth[known], prediction[known], draws[:, known]
    n_classes = int(max(truth.max(), prediction.max())) + 1
    is_true, is_predicted = np.eye(n_classes)[truth], np.eye(n_classes)[prediction]  # [N, K]
    hits, support, predicted = draws @ (is_true * is_predicted), draws @ is_true, draws @ is_predicted
    if average == "micro":
        return hits.sum(axis=1) / support.sum(axis=1)
    per_class = 2 * hits / np.maximum(support + predicted, 1)
    return (per_class * support).sum(axis=1) / support.sum(axis=1)


def jrbm(emotion_f1: np.ndarray, intent_f1: np.ndarray) -> np.ndarray:
    """Joint Recognition Balance Metric, 2EI/(E+I), of numbers or arrays; 0 where both are 0.

    The official baseline adds 1e-6 to the denominator instead of treating 0/0, which changes the sixth decimal.
    """
    return 2 * emotion_f1 * intent_f1 / np.maximum(emotion_f1 + intent_f1, 1e-12)


def joint_score(truth: ByTask, prediction: ByTask, average: str) -> dict[str, float]:
    """E, I and JRBM of class numbers."""
    once = np.ones((1, len(truth["emotion"])))
    e, i = (float(f1(truth[task], prediction[task], once, average)[0]) for task in ("emotion", "intent"))
    return {"E": e, "I": i, "JRBM": float(jrbm(e, i))}


def per_class(truth: np.ndarray, prediction: np.ndarray, n_classes: int) -> pd.DataFrame:
    """Columns support (clips of the class), precision, recall and F1 of each class; class numbers [N] go in.

    A class without true and predicted clips scores 0, as in the official scorer.
    """
    from sklearn.metrics import precision_recall_fscore_support  # takes a second; only the report asks for it

    columns = precision_recall_fscore_support(truth, prediction, labels=range(n_classes), zero_division=0)
    return pd.DataFrame(dict(zip(("precision", "recall", "F1", "support"), columns, strict=True)))


def calibrate(probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """Probabilities [N, K] with their logarithms divided by the temperature.

    Temperature scaling: Guo et al. 2017, arXiv 1706.04599, section 4.2.
    """
    from scipy.special import softmax

    return softmax(np.log(np.maximum(probabilities, 1e-12)) / temperature, axis=1)


def log_losses(probabilities: np.ndarray, labels: np.ndarray, temperature: float) -> np.ndarray:
    """The log-loss [N] of each row of probabilities [N, K] with labels [N], after the temperature; lower is better."""
    calibrated = calibrate(probabilities, temperature)
    return -np.log(np.maximum(calibrated[np.arange(len(labels)), labels], 1e-12))


def fit_temperature(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """The temperature [0.1, 10] with the least log-loss on probabilities [N, K] of held-out rows with labels [N]."""
    from scipy.optimize import minimize_scalar

    def loss(log_temperature: float) -> float:
        return log_losses(probabilities, labels, np.exp(log_temperature)).mean()

    return float(np.exp(minimize_scalar(loss, bounds=(np.log(0.1), np.log(10)), method="bounded").x))


def bootstrap(
    truth: ByTask, predictions: Sequence[ByTask], average: str, units: Units, losses: Sequence = (), n_draws: int = 1000
) -> dict[str, np.ndarray]:
    """E, I and JRBM of several systems on the same resampled units, each [systems, n_draws] (a paired bootstrap).

    predictions: class numbers [N] of each task. losses: of each system the log-loss [N] of each task; with them, the
    LOG_LOSSES are in the result too. The systems share every draw, so the difference of two rows is the distribution of
    their difference. Clips of one speaker or dialogue are right and wrong together, and an interval over clips is too
    narrow then; so whole groups are drawn (Davison and Hinkley 1997, Bootstrap Methods, section 3.8).
    """
    draws = units.draw(n_draws, 0)
    e, i = (
        np.stack([f1(truth[task], prediction[task], draws, average) for prediction in predictions])
        for task in ("emotion", "intent")
    )
    drawn = {"E": e, "I": i, "JRBM": jrbm(e, i)}
    if losses:
        of_tasks = [np.stack([loss[task] for loss in losses]) @ draws.T for task in ("emotion", "intent")]
        drawn |= dict(zip(LOG_LOSSES, [total / draws.sum(axis=1) for total in (*of_tasks, sum(of_tasks))], strict=True))
    return drawn


def variance(draws: np.ndarray, units: Units) -> float:
    """The variance of an estimate over units, from its bootstrap draws [n_draws]; NaN for fewer than two units.

    Draws from n units vary too little, by the factor (n - 1) / n, which counts where there are few.
    """
    return float(np.var(draws, ddof=1)) * units.n / (units.n - 1) if units.n > 1 else float("nan")


def interval(estimate: float, draws: np.ndarray, units: Units) -> tuple[float, float]:
    """The 95 % interval of an estimate from its bootstrap draws; see `variance` and `t_interval`.

    Not the quantiles of the draws, which say too little of a handful of speakers (Hesterberg 2015, What teachers should
    know about the bootstrap, The American Statistician 69, 371-386).
    """
    return t_interval(estimate, np.sqrt(variance(draws, units)), units.n - 1)


def t_interval(estimate: float, deviation: float, freedom: int) -> tuple[float, float]:
    """The estimate -/+ its standard deviation times Student's t with `freedom` degrees of freedom.

    NaN with fewer than two: between two speakers, it would reach from below 0 to above 1.
    """
    if freedom < 2:
        return float("nan"), float("nan")
    from scipy.special import stdtrit  # takes less time than scipy.stats

    half = float(stdtrit(freedom, 0.975)) * deviation
    return estimate - half, estimate + half
