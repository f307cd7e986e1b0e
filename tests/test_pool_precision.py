import numpy as np
import pytest
from scipy.special import softmax

from meiju import pool_precision
from meiju.labels import TASKS

PAIRS = np.array([[0.0, 0.3, 0.1], [0.2, 0.1, 0.1], [0.2, 0.0, 0.0]])  # of the labelled clips; some never occur


def draw(pairs, n, seed):
    """Labels drawn from pair shares [E, I], and log-likelihoods of each task's classes for every clip."""
    rng = np.random.default_rng(seed)
    flat = rng.choice(pairs.size, n, p=pairs.ravel())
    truth = dict(zip(TASKS, np.unravel_index(flat, pairs.shape), strict=True))
    evidence = {t: rng.normal(size=(n, 3)) + 2.0 * np.eye(3)[truth[t]] for t in TASKS}
    return truth, {t: 2.0 * evidence[t] for t in TASKS}


def teach(evidence):
    """What a teacher that knows the labelled pairs says: margins of the posterior over pairs, overconfident."""
    e, i = evidence["emotion"], evidence["intent"]
    joint = np.exp(e - e.max(1, keepdims=True))[:, :, None] * np.exp(i - i.max(1, keepdims=True))[:, None] * PAIRS
    joint /= joint.sum(axis=(1, 2), keepdims=True)
    return {t: softmax(1.5 * np.log(joint.sum(axis=3 - k - 1) + 1e-9), axis=1) for k, t in enumerate(TASKS)}


@pytest.mark.parametrize(
    ("pool", "tolerance"),
    [
        (PAIRS, 0.03),
        (np.array([[0.0, 0.1, 0.6], [0.1, 0.1, 0.05], [0.05, 0.0, 0.0]]), 0.03),
        # Pairs never seen fill two fifths: part of the error is left, as nothing labelled tells of them.
        (np.array([[0.2, 0.15, 0.15], [0.1, 0.1, 0.1], [0.1, 0.05, 0.05]]), 0.07),
    ],
    ids=["same mix", "other mix", "unseen pairs"],
)
def test_precision_in_a_pool_of_another_mix(pool, tolerance):
    truth, evidence = draw(PAIRS, 2000, 0)
    pool_truth, pool_evidence = draw(pool, 4000, 1)
    hidden, said = teach(evidence), teach(pool_evidence)
    right, shares = pool_precision.probability_right(hidden, truth, said)
    assert shares.sum() == pytest.approx(1)
    errors, on_held_out_rows = [], []
    for task in TASKS:
        label, kept = said[task].argmax(axis=1), said[task].max(axis=1) > 0.8
        actual = (label == pool_truth[task])[kept].mean()
        errors.append(abs(right[task][kept, label[kept]].mean() - actual))
        own, sure = hidden[task].argmax(axis=1) == truth[task], hidden[task].max(axis=1) > 0.8
        on_held_out_rows.append(abs(own[sure].mean() - actual))
    assert max(errors) < tolerance
    if pool is not PAIRS:
        assert max(on_held_out_rows) > 0.03
        assert max(errors) < 0.65 * max(on_held_out_rows)


def test_calibration_finds_bias_and_sharpness():
    rng = np.random.default_rng(0)
    log = rng.normal(size=(8000, 3))
    bias = np.array([0.8, -0.5, -0.3])
    right = softmax(2 * log + bias, axis=1)
    labels = (right.cumsum(axis=1) > rng.random((8000, 1))).argmax(axis=1)
    found = pool_precision.fit_calibration(softmax(log, axis=1), labels)
    np.testing.assert_allclose(found(softmax(log, axis=1)), right, atol=0.03)


def test_likelihoods_have_the_teachers_probabilities_as_margins():
    said = teach(draw(PAIRS, 50, 2)[1])
    shares = pool_precision.pair_shares({t: np.arange(200) % 3 for t in TASKS}, 3, 3)
    f, g = pool_precision.likelihoods(said, shares, n_rounds=500)
    joint = f[:, :, None] * g[:, None] * shares
    np.testing.assert_allclose(joint.sum(axis=2), said["emotion"], atol=1e-2)
    np.testing.assert_allclose(joint.sum(axis=1), said["intent"], atol=1e-2)
