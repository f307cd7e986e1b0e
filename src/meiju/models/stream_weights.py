"""How much each stream tells of each task, from a member's own labelled clips.

On real clips a voice tells the emotion and next to nothing of the intent, and a stream that tells nothing is not
harmless: a regression or a network on a thousand clips learns its noise. So each task has a weight per stream: the
prior variance that a ridge regression with one variance per stream needs to predict the labels of left-out clips
("banded ridge regression", Nunez-Elizalde, Huth and Gallant 2019, NeuroImage 197; Dupre la Tour et al. 2022,
NeuroImage 264).
"""

from collections.abc import Sequence

import numpy as np
from threadpoolctl import threadpool_limits

ROWS = 800  # clips that the variances are chosen on: time grows with their third power
LOWEST, HIGHEST = 1e-3, 10.0  # bounds of a variance
ITERATIONS = 15  # of the optimiser; the decisions of members no longer change after some ten
POWER = 0.75  # of a variance's ratio to the largest; by measurement (docs/experiments.md, weights of streams)


def stream_variances(streams: Sequence[np.ndarray], targets: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """The prior variance of each stream's coefficients [S]: those of the least error on left-out clips, drawn together.

    streams: per stream values [N, P] of a mean squared length of about 1; targets [N, K]; weight [N] of each clip. The
    error is squared, and the ratio of a variance to the largest is raised to POWER. A stream that no clip of a weight
    above 0 has gets 0; all others 1 where there are no two classes to tell apart.
    """
    from scipy import optimize  # takes a fifth of a second, and predictions need none of it

    rows = np.flatnonzero(weight > 0)
    rows = np.random.default_rng(0).permutation(rows)[:ROWS]
    there = np.array([bool(x[rows].any()) for x in streams])
    variances = there.astype(float)
    if there.any() and np.count_nonzero(targets[rows].any(axis=0)) > 1:
        root = np.sqrt(weight[rows].astype(float))[:, None]
        x = [root * values[rows] for values, kept in zip(streams, there, strict=True) if kept]
        centred = targets[rows] - np.average(targets[rows], axis=0, weights=weight[rows])
        with threadpool_limits(1):  # the last digits of a sum depend on the number of threads
            kernels = np.stack([values @ values.T for values in x]).astype(float)  # (S, N, N)
            settings = {"method": "L-BFGS-B", "jac": True, "options": {"maxiter": ITERATIONS}}
            settings["bounds"] = [(np.log(LOWEST), np.log(HIGHEST))] * len(x)
            found = optimize.minimize(left_out_error, np.zeros(len(x)), (kernels, root * centred), **settings)
            chosen = np.exp(found.x)
        variances[there] = chosen.max() * (chosen / chosen.max()) ** POWER
    return variances


def left_out_error(log_variances: np.ndarray, kernels: np.ndarray, y: np.ndarray) -> tuple[float, np.ndarray]:
    """Mean squared error of kernel ridge regression on each clip left out in turn, and its gradient [S].

    kernels [S, N, N], y [N, K]. With A = 1 + sum of v_s K_s, the residual of a left-out clip i is
    (A^-1 y)_i / (A^-1)_ii (Rasmussen and Williams 2006, section 5.4.2).
    """
    from scipy import linalg

    variances = np.exp(log_variances)
    a = np.tensordot(variances, kernels, axes=1)
    a[np.diag_indices_from(a)] += 1
    inverse = linalg.lapack.dpotri(linalg.cholesky(a, lower=True), lower=1)[0]
    inverse = np.tril(inverse) + np.tril(inverse, -1).T
    b, d = inverse @ y, inverse.diagonal()[:, None]  # (N, K), (N, 1)
    residual = b / d
    # The error's derivative with respect to b and d, carried to A through dA^-1 = -A^-1 dA A^-1.
    by_b, by_d = 2 * residual / d, -2 * (residual**2 / d).sum(axis=1)
    by_a = -(inverse @ by_b) @ b.T - (inverse * by_d) @ inverse
    return (residual**2).mean(), variances * np.tensordot(kernels, by_a, axes=2) / residual.size
