import numpy as np
import pytest
from scipy.special import softmax

from meiju import pool_precision
from meiju.pool_precision import Labelled

LABELLED = np.array([0.3, 0.4, 0.3])
CLARITY = np.array([2.5, 2.0, 0.5])  # how far what is seen of a label lies from the noise, in its deviations


def draw(shares, n, seed):
    """Labels drawn from their shares [K], and what an overconfident teacher that knows LABELLED says of the clips."""
    rng = np.random.default_rng(seed)
    truth = rng.choice(3, n, p=shares)
    seen = rng.normal(size=(n, 3)) + CLARITY * np.eye(3)[truth]
    log_likelihood = seen * CLARITY - CLARITY**2 / 2
    return truth, softmax(1.5 * (log_likelihood + np.log(LABELLED)), axis=1)


def labelled(said):
    return Labelled(said.argmax(axis=1), said.max(axis=1) > 0.8)


@pytest.mark.parametrize("shares", [LABELLED, np.array([0.05, 0.15, 0.8]), np.array([0.0, 0.9, 0.1])])
def test_precision_in_a_pool_of_another_mix(shares):
    truth, hidden = draw(LABELLED, 2000, 0)
    pool_truth, said = draw(shares, 4000, 1)
    shift = pool_precision.find_shift(hidden, truth, said)
    np.testing.assert_allclose(shift.shares, shares, atol=0.03)
    np.testing.assert_allclose(shift.right.sum(axis=1), 1)
    pool, held_out = labelled(said), labelled(hidden)
    actual = (pool.label == pool_truth)[pool.accepted].mean()
    error = abs(pool_precision.precision(shift, pool, held_out, truth) - actual)
    assert error < 0.015
    if shares is not LABELLED:
        on_held_out_rows = (held_out.label == truth)[held_out.accepted].mean()
        assert error < 0.5 * abs(on_held_out_rows - actual)


@pytest.mark.parametrize("where", ["pool", "held out"])
def test_nothing_accepted_has_no_precision(where):
    truth, hidden = draw(LABELLED, 100, 0)
    shift = pool_precision.find_shift(hidden, truth, hidden)
    some, none = labelled(hidden), Labelled(hidden.argmax(axis=1), np.zeros(100, dtype=bool))
    pool, held_out = (none, some) if where == "pool" else (some, none)
    assert np.isnan(pool_precision.precision(shift, pool, held_out, truth))


def test_a_label_that_no_clip_has_breaks_nothing():
    truth, hidden = draw(np.array([0.5, 0.5, 0.0]), 500, 0)
    shift = pool_precision.find_shift(hidden, truth, draw(LABELLED, 500, 1)[1])
    assert np.isfinite(shift.ratio).all()
    assert np.isfinite(shift.right).all()


def test_calibration_finds_bias_and_sharpness():
    rng = np.random.default_rng(0)
    log = rng.normal(size=(8000, 3))
    bias = np.array([0.8, -0.5, -0.3])
    right = softmax(2 * log + bias, axis=1)
    labels = (right.cumsum(axis=1) > rng.random((8000, 1))).argmax(axis=1)
    found = pool_precision.fit_calibration(softmax(log, axis=1), labels)
    np.testing.assert_allclose(found(softmax(log, axis=1)), right, atol=0.03)
