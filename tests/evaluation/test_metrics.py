import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import f1_score

from meiju.data.units import Units
from meiju.evaluation.metrics import LOG_LOSSES, bootstrap, f1, interval, jrbm

AVERAGES = ("weighted", "micro")


def systems(n=60):
    # Class 5 is never predicted, class 6 never true.
    rng = np.random.default_rng(0)
    truth = {task: rng.integers(0, 6, n) for task in ("emotion", "intent")}
    predictions = [
        {t: np.where(rng.random(n) < 0.5, np.minimum(truth[t], 4), rng.choice([0, 1, 2, 3, 4, 6], n)) for t in truth}
        for _ in range(2)
    ]
    return truth, predictions


@pytest.mark.parametrize("average", AVERAGES)
@settings(max_examples=40, deadline=None)
@given(rows=st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=1, max_size=40))
def test_f1_is_that_of_sklearn(average, rows):
    truth, prediction = np.array(rows).T
    expected = f1_score(truth, prediction, average=average, zero_division=0)
    assert f1(truth, prediction, np.ones((1, len(rows))), average) == pytest.approx(expected)


@pytest.mark.parametrize(("e", "i", "expected"), [(0, 0, 0), (0, 1, 0), (0.6, 0.3, 0.4)])
def test_jrbm(e, i, expected):
    assert jrbm(e, i) == pytest.approx(expected)


@pytest.mark.parametrize("average", AVERAGES)
def test_bootstrap_draws_are_scores_of_resampled_clips(average):
    n = 10
    truth, predictions = systems(n=n)
    predictions[1] = dict.fromkeys(truth, np.full(n, 6))  # always wrong
    draws = bootstrap(truth, predictions, average, units=Units.clips(n), n_draws=25)["JRBM"]
    assert draws.shape == (2, 25)
    counts = np.random.default_rng(0).multinomial(n, np.full(n, 1 / n), size=25)
    for k, prediction in enumerate(predictions):
        for draw, count in zip(draws[k], counts, strict=True):
            rows = np.repeat(np.arange(n), count)
            e, i = (
                f1_score(truth[t][rows], prediction[t][rows], average=average, zero_division=0)
                for t in ("emotion", "intent")
            )
            assert draw == pytest.approx(2 * e * i / (e + i) if e + i else 0)


def test_groups_are_drawn_as_a_whole_and_log_losses_with_the_same_draws():
    truth, predictions = systems()
    group = np.arange(60) // 6
    losses = [{task: np.arange(60) / (k + 1) for k, task in enumerate(truth)}]
    draws = bootstrap(truth, predictions[:1], "micro", units=Units(group, "10 speakers"), losses=losses, n_draws=20)
    counts = np.random.default_rng(0).multinomial(10, np.full(10, 0.1), size=20)
    for draw, count in enumerate(counts):
        rows = np.concatenate([np.tile(np.flatnonzero(group == k), times) for k, times in enumerate(count)]).astype(int)
        assert draws["E"][0, draw] == pytest.approx((truth["emotion"] == predictions[0]["emotion"])[rows].mean())
        means = [losses[0][task][rows].mean() for task in truth]
        assert [draws[name][0, draw] for name in LOG_LOSSES] == pytest.approx([*means, sum(means)])


def test_of_speakers_whose_clips_are_right_together_only_an_interval_over_speakers_covers_the_truth():
    """Accuracies of the speakers are drawn around .6; the interval shall hold .6 in 95 % of draws."""
    rng = np.random.default_rng(0)
    n_speakers, covered = 8, []
    n = 10 * n_speakers
    group = np.repeat(np.arange(n_speakers), 10)
    for _ in range(300):
        right = rng.random(n) < rng.beta(3, 2, n_speakers)[group]
        truth = {task: np.zeros(n, dtype=int) for task in ("emotion", "intent")}
        predictions = dict.fromkeys(truth, 1 - right)
        row = []
        for units in (Units.clips(n), Units(group, "speakers")):
            drawn = bootstrap(truth, [predictions], "micro", units=units, n_draws=200)["E"][0]
            low, high = interval(right.mean(), drawn, units)
            row.append(low <= 0.6 <= high)
        covered.append(row)
    over_clips, over_speakers = np.mean(covered, axis=0)
    assert over_clips < 0.85
    assert 0.92 <= over_speakers <= 0.98


def test_the_interval_of_a_mean_is_that_of_students_t():
    values = np.random.default_rng(0).normal(size=6)
    units = Units.clips(6)
    drawn = units.draw(50000, 0) @ values / 6
    half = stats.t.ppf(0.975, 5) * values.std(ddof=1) / np.sqrt(6)
    assert interval(values.mean(), drawn, units) == pytest.approx(
        (values.mean() - half, values.mean() + half), rel=0.02
    )


def test_between_one_or_two_speakers_there_is_no_interval():
    assert np.isnan(interval(0.5, np.full(9, 0.5), Units(np.zeros(4, dtype=int), "1 speaker"))).all()
    assert np.isnan(interval(0.8, np.array([0.7, 0.9]), Units(np.array([0, 0, 1, 1]), "2 speakers"))).all()
    assert np.isfinite(interval(0.8, np.array([0.7, 0.9]), Units(np.array([0, 1, 1, 2]), "3 speakers"))).all()
