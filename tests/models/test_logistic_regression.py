import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from meiju.data.labels import TASKS
from meiju.models.logistic_regression import PRIOR, LogisticRegressionHead
from toy_batches import SPEC, make_batch

N, P = 40, 6 + 2 * 4
VARIANCES = {"emotion": np.array([0.5, 0.1]), "intent": np.array([0.2, 0.2])}  # of text and audio


def deviation(task):
    """Of the coefficients' prior, [P]."""
    return np.sqrt(PRIOR * np.repeat(VARIANCES[task], [6, 8]))


def fitted(labels, weight=None, batch=None):
    linear = LogisticRegressionHead(1, SPEC)
    pooled, there = (values[0].numpy() for values in linear.pool(batch or make_batch()))
    weight = weight or {task: np.ones(len(pooled)) for task in TASKS}
    targets = {t: np.eye(SPEC.classes[t])[y] if y.ndim == 1 else y for t, y in labels.items()}
    linear.set_moments(0, pooled, there)
    linear.fit(0, linear.standardise(0, pooled, there), targets, weight, VARIANCES)
    return linear


def draw_labels():
    rng = np.random.default_rng(0)
    return {task: rng.integers(SPEC.classes[task], size=N) for task in TASKS}


def test_frames_are_pooled_to_their_mean_and_spread_and_a_single_frame_to_itself():
    batch = make_batch()
    pooled, there = LogisticRegressionHead(1, SPEC).pool(batch)
    assert pooled.shape == there.shape == (1, N, P)
    assert there.all()
    for clip in range(3):
        own = batch.frames["audio"][0, clip, batch.mask["audio"][0, clip]].numpy()
        expected = [batch.frames["text"][0, clip, 0].numpy(), own.mean(axis=0), own.std(axis=0)]
        np.testing.assert_allclose(pooled[0, clip], np.concatenate(expected), atol=1e-5)


def test_it_is_scikit_learns_regression_with_a_prior_variance_per_stream():
    labels, batch = draw_labels(), make_batch()
    linear = fitted(labels, batch=batch)
    x = ((linear.pool(batch)[0] - linear.centre) * linear.scale)[0].double()
    for own in (x[:, :6], x[:, 6:]):
        torch.testing.assert_close(own.square().sum(dim=1).mean().item(), 1.0, rtol=1e-4, atol=0)
        torch.testing.assert_close(own.mean(dim=0), torch.zeros(own.shape[1], dtype=torch.float64), rtol=0, atol=1e-5)
    for task, logits in linear(batch).items():
        wider = x.numpy() * deviation(task)
        model = LogisticRegression(C=1, max_iter=1000).fit(wider, labels[task])
        np.testing.assert_allclose(logits[0].softmax(dim=-1), model.predict_proba(wider), atol=1e-3)


def test_soft_targets_are_learnt_as_they_are():
    """At the minimum of the weighted cross-entropy and of the prior's penalty, its gradient is 0."""
    rng, batch = np.random.default_rng(0), make_batch()
    drawn = {task: rng.dirichlet(np.full(n, 0.7), size=N).round(2) for task, n in SPEC.classes.items()}  # some are 0
    targets = {task: p / p.sum(axis=1, keepdims=True) for task, p in drawn.items()}
    weight = {task: rng.uniform(0, 2, N) for task in TASKS}
    linear = fitted(targets, weight)
    x = ((linear.pool(batch)[0] - linear.centre) * linear.scale)[0].double().numpy() * deviation("emotion")
    p = linear(batch)["emotion"][0].softmax(dim=-1).numpy()
    coefficients = linear.weight_emotion[0].numpy() / deviation("emotion")[:, None]
    gradient = x.T @ (weight["emotion"][:, None] * (p - targets["emotion"])) + coefficients
    np.testing.assert_allclose(gradient, 0, atol=0.01)


def test_clips_of_weight_zero_teach_nothing():
    labels, weight = draw_labels(), {task: np.arange(N) < N // 2 for task in TASKS}
    others = {task: np.where(weight[task], labels[task], 0) for task in TASKS}
    first, second = (fitted(given, {t: w.astype(float) for t, w in weight.items()}) for given in (labels, others))
    for task, logits in first(make_batch(1)).items():
        torch.testing.assert_close(second(make_batch(1))[task], logits, rtol=0, atol=0)


@pytest.mark.parametrize("known", [[], [2], [1, 3]])
def test_classes_without_a_clip_are_never_predicted(known):
    labels = draw_labels() | {"emotion": np.resize(known or [0], N)}
    weight = {"emotion": np.full(N, float(bool(known))), "intent": np.ones(N)}
    probabilities = fitted(labels, weight)(make_batch(1))["emotion"][0].softmax(dim=-1)
    if known:
        assert probabilities[:, known].sum(dim=1).min() > 0.99
        assert set(probabilities.argmax(dim=1).tolist()) <= set(known)
    else:
        torch.testing.assert_close(probabilities, torch.full_like(probabilities, 1 / 4))


def test_a_missing_stream_decides_nothing():
    linear, batch = fitted(draw_labels()), make_batch(1)
    batch.mask["audio"] = torch.zeros_like(batch.mask["audio"])
    before = linear(batch)
    batch.frames["audio"] = batch.frames["audio"] + 7
    for task, logits in linear(batch).items():
        torch.testing.assert_close(logits, before[task], rtol=0, atol=0)
    never = fitted(draw_labels(), batch=batch)  # no clip to learn from has it
    assert all(logits.isfinite().all() for logits in never(make_batch(1)).values())
