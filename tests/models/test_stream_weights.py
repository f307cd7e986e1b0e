import numpy as np
import pytest
from scipy.optimize import check_grad
from sklearn.kernel_ridge import KernelRidge
from sklearn.model_selection import LeaveOneOut, cross_val_predict

from meiju.models.stream_weights import POWER, left_out_error, stream_variances


def draw(n=80, seed=0):
    """Three streams [n, 5] of a mean squared length of 1, and one-hot labels [n, 3] that the first decides."""
    rng = np.random.default_rng(seed)
    streams = [rng.normal(size=(n, 5)) / np.sqrt(5) for _ in range(3)]
    first = streams[0]
    labels = (first[:, 0] > 0).astype(int) + (first[:, 1] > 0.3)
    return streams, np.eye(3)[labels]


def test_the_error_is_that_of_clips_left_out_in_turn_and_the_gradient_is_its_own():
    streams, targets = draw(n=30)
    kernels, y = np.stack([x @ x.T for x in streams]), targets - targets.mean(axis=0)
    log_variances = np.array([0.3, -1.0, 0.5])
    kernel = np.tensordot(np.exp(log_variances), kernels, axes=1)
    left_out = cross_val_predict(KernelRidge(alpha=1, kernel="precomputed"), kernel, y, cv=LeaveOneOut())
    error, _ = left_out_error(log_variances, kernels, y)
    assert error == pytest.approx(np.mean((y - left_out) ** 2))
    value, gradient = (lambda v, k=k: left_out_error(v, kernels, y)[k] for k in (0, 1))
    assert check_grad(value, gradient, log_variances) < 1e-6


def test_the_variances_of_least_error_are_drawn_together():
    streams, _ = draw(n=400)
    target = streams[0][:, 0] + streams[1][:, 0] / 2 + np.random.default_rng(1).normal(size=400) / 2
    targets = np.eye(2)[(target > 0).astype(int)]
    variances = stream_variances(streams[:2], targets, np.ones(len(targets)))
    chosen = variances.max() * (variances / variances.max()) ** (1 / POWER)
    kernels, y = np.stack([x @ x.T for x in streams[:2]]), targets - targets.mean(axis=0)
    least = left_out_error(np.log(chosen), kernels, y)[0]
    assert least < left_out_error(np.log(variances), kernels, y)[0]
    for change in np.vstack([np.eye(2), -np.eye(2)]):
        assert least < left_out_error(np.log(chosen) + 0.2 * change, kernels, y)[0]


def test_clips_of_weight_zero_decide_nothing():
    streams, targets = draw()
    weight = np.arange(len(targets)) % 2.0
    others = np.where(weight[:, None], targets, targets[::-1])
    first, second = (stream_variances(streams, labels, weight) for labels in (targets, others))
    np.testing.assert_array_equal(first, second)


def test_a_stream_that_no_clip_has_gets_nothing():
    streams, targets = draw()
    assert stream_variances([streams[0], 0 * streams[1]], targets, np.ones(len(targets)))[1] == 0


@pytest.mark.parametrize("weight", [0.0, 1.0])
def test_without_classes_to_tell_apart_all_streams_weigh_alike(weight):
    streams, targets = draw()
    one_class = np.zeros_like(targets)
    one_class[:, 1] = 1
    variances = stream_variances(streams, one_class, np.full(len(targets), weight))
    np.testing.assert_array_equal(variances, np.full(3, weight))
