"""How many of the accepted pseudo-labels are right, estimated without the pool's labels.

The pool has another mix of labels than the labelled clips, so the precision on held-out rows is not that on the pool.
For each task:

1. Bias-corrected temperature scaling on held-out rows (Alexandari et al. 2020, arXiv 1901.06852): a temperature alone
   leaves each class's mean probability off its share, which label-shift estimates suffer from most.
2. The shares of labels in the pool, by expectation-maximisation (Saerens et al. 2002).
3. The precision in two ways, of which the mean errs least: the mean probability, under these shares, of the labels
   accepted in the pool; and the share that is right among accepted held-out rows, each weighted by how much commoner
   its label is in the pool.

This rests on clips of a label looking alike in pool and labelled part, which those of pairs of emotion and intent that
no labelled clip shows need not; scripts/simulate_pools.py says what that costs.
"""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize
from scipy.special import softmax

# Root mean square error of the estimate in pools of known labels (scripts/simulate_pools.py).
MODEL_ERROR = 0.02
RIDGE = 2.0  # keeps the biases of rare classes small
TINY = 1e-12


@dataclass(frozen=True)
class Calibration:
    """Probabilities become softmax(sharpness * log p + bias)."""

    sharpness: float
    bias: np.ndarray

    def __call__(self, probabilities: np.ndarray) -> np.ndarray:
        return softmax(np.log(np.maximum(probabilities, TINY)) * self.sharpness + self.bias, axis=1)


@dataclass(frozen=True)
class Labelled:
    """Pseudo-labels of one task: class numbers label [N], and whether each is accepted [N]."""

    label: np.ndarray
    accepted: np.ndarray


@dataclass(frozen=True)
class Shift:
    """What a pool is like in one task.

    shares [K]: of its labels; ratio [K]: how much commoner each is than among labelled clips; right [N, K]: the
    probability of every label of its clips, under these shares.
    """

    shares: np.ndarray
    ratio: np.ndarray
    right: np.ndarray


def fit_calibration(probabilities: np.ndarray, labels: np.ndarray) -> Calibration:
    """Fit on probabilities [N, K] of held-out rows with class numbers labels [N]; least log-loss, with a ridge."""
    log = np.log(np.maximum(probabilities, TINY))
    own = np.arange(len(labels)), labels

    def loss(x: np.ndarray) -> tuple[float, np.ndarray]:
        said = softmax(log * np.exp(x[0]) + x[1:], axis=1)
        value = -np.log(np.maximum(said[own], TINY)).sum() + RIDGE * np.square(x).sum()
        said[own] -= 1
        gradient = np.append((said * log).sum() * np.exp(x[0]), said.sum(axis=0))
        return value, gradient + 2 * RIDGE * x

    found = minimize(loss, np.zeros(1 + probabilities.shape[1]), jac=True, method="L-BFGS-B").x
    return Calibration(float(np.exp(found[0])), found[1:])


def find_shift(hidden: np.ndarray, truth: np.ndarray, pool: np.ndarray, n_rounds: int = 100) -> Shift:
    """What a pool is like, of which teachers say pool [N, K], and hidden [M, K] of rows with labels truth [M]."""
    calibration = fit_calibration(hidden, truth)
    said, labelled = calibration(pool), calibration(hidden).mean(axis=0)
    shares = labelled
    for _ in range(n_rounds):
        shares = _under(said, shares / labelled).mean(axis=0)
    return Shift(shares, shares / labelled, _under(said, shares / labelled))


def precision(shift: Shift, pool: Labelled, hidden: Labelled, truth: np.ndarray) -> float:
    """The share of right labels among the accepted ones of the pool; NaN if none is, there or among held-out rows.

    pool, hidden: what teachers made of the pool's clips and of held-out rows; truth [M]: class numbers of the latter.
    """
    if not pool.accepted.any() or not hidden.accepted.any():
        return float("nan")
    by_probability = shift.right[np.arange(len(pool.label)), pool.label][pool.accepted].mean()
    by_held_out_rows = np.average(hidden.label == truth, weights=shift.ratio[truth] * hidden.accepted)
    return float((by_probability + by_held_out_rows) / 2)


def _under(said: np.ndarray, ratio: np.ndarray) -> np.ndarray:
    """Probabilities [N, K] where labels are `ratio` [K] times as common."""
    weighted = said * ratio
    return weighted / np.maximum(weighted.sum(axis=1, keepdims=True), TINY)
