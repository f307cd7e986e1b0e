from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.special import softmax

from meiju.analysis import pseudo_quality
from meiju.config import Config, PseudoConfig
from meiju.corpus import Corpus
from meiju.labels import TASKS, LabelSet
from meiju.report import diagnostic_figures
from meiju.report.style import to_png

LABELS = LabelSet(("joy", "rage", "calm"), ("ask", "wish"))
CONFIG = Config("run", folds=3, pseudo=PseudoConfig(gate="precision", precision=0.7, cap=0.001))
N, POOL = 300, 120


@pytest.fixture(scope="module")
def corpus():
    rng = np.random.default_rng(0)
    labels = {task: rng.choice(LABELS[task], N + POOL) for task in TASKS}
    labels["intent"][(labels["emotion"] == "calm") & (labels["intent"] == "ask")] = "wish"
    clips = pd.DataFrame({"name": [f"clip_{k:03}" for k in range(N + POOL)], "speaker": "", "dialogue": "", **labels})
    return Corpus(clips.assign(part=["training"] * N + ["unlabelled"] * POOL, sentence="", path=""), LABELS, ())


@pytest.fixture(scope="module")
def folds(corpus):
    return pd.DataFrame({"name": corpus.part("training").name, "fold": np.arange(N) % 3})


@pytest.fixture(scope="module")
def ask(corpus):
    """Teachers who know each clip's labels with some noise, and that nobody asks calmly."""
    rng = np.random.default_rng(1)
    table = corpus.clips.set_index("name")
    noisy = {
        t: 1.5 * rng.normal(size=(len(table), len(LABELS[t])))
        + 2.5 * np.eye(len(LABELS[t]))[LABELS.encode(t, table[t])]
        for t in TASKS
    }
    joint = softmax(noisy["emotion"], axis=1)[:, :, None] * softmax(noisy["intent"], axis=1)[:, None]
    joint[:, 2, 0] *= 0.02
    joint /= joint.sum(axis=(1, 2), keepdims=True)
    said = {"emotion": joint.sum(axis=2), "intent": joint.sum(axis=1)}
    return lambda fold, names: {t: said[t][table.index.get_indexer(list(names))] for t in TASKS}


@pytest.fixture(scope="module")
def gates():
    return pd.DataFrame(
        [(k, task, 1.2, 0.6 + 0.1 * k, 0.8 - 0.1 * k) for k in range(3) for task in TASKS],
        columns=["fold", "task", "temperature", "threshold", "precision"],
    )


@pytest.fixture(scope="module")
def held_out(corpus, folds, gates, ask):
    return pseudo_quality.label_held_out(CONFIG, corpus, folds, gates, ask)


def test_every_held_out_row_is_labelled_through_its_own_folds_gate(held_out, folds):
    table = held_out
    assert sorted(table.name) == sorted(folds.name)
    for fold, own in table.groupby("fold"):
        accepted = own[own.emotion_accepted]
        assert accepted.emotion_confidence.min() >= 0.6 + 0.1 * fold
    # The cap, which would leave none, is one on the pool; the filter of pairs holds.
    assert table.emotion_accepted.sum() > 50
    impossible = (table.emotion == "calm") & (table.intent == "ask")
    assert impossible.any()
    assert not table[impossible].emotion_accepted.any()


def test_what_was_promised_beside_what_was_reached(held_out, gates):
    summary = pseudo_quality.summary(CONFIG, held_out, gates).set_index("task")
    own = held_out[held_out.emotion_accepted]
    row = summary.loc["emotion"]
    assert row.reached == pytest.approx((own.emotion == own.emotion_true).mean())
    assert row.reached_low < row.reached < row.reached_high
    assert row.promised == pytest.approx((0.8 - 0.1 * own.fold).mean())
    assert (row.asked, row.accepted, row.coverage) == (0.7, len(own), pytest.approx(len(own) / N))
    assert row.ece_before != row.ece_after


def test_the_curve_counts_what_is_above_a_threshold(held_out):
    curve = pseudo_quality.curve(held_out, "intent")
    assert curve.threshold.is_monotonic_increasing
    assert curve.coverage.iloc[0] == 1
    row = curve.iloc[len(curve) // 2]
    above = held_out[held_out.intent_confidence >= row.threshold]
    assert row.coverage == pytest.approx(len(above) / N)
    assert row.precision == pytest.approx((above.intent == above.intent_true).mean())


def test_nothing_accepted_is_said_and_not_guessed(corpus, folds, gates, ask):
    shut = gates.assign(threshold=np.inf, precision=np.nan)
    none = pseudo_quality.label_held_out(CONFIG, corpus, folds, shut, ask)
    summary = pseudo_quality.summary(CONFIG, none, shut)
    assert summary.accepted.eq(0).all()
    assert summary[["reached", "reached_low", "promised"]].isna().all(axis=None)
    curves = {task: pseudo_quality.curve(none, task) for task in TASKS}
    figure = diagnostic_figures.precision_curves(curves, summary, shut, title="A title")
    assert to_png(figure).startswith(b"\x89PNG")


@pytest.mark.parametrize(("hits", "n", "expected"), [(0, 10, (0, 0.2775)), (5, 10, (0.2366, 0.7634))])
def test_interval_of_a_share(hits, n, expected):
    assert pseudo_quality.share_interval(np.arange(n) < hits, np.arange(n)) == pytest.approx(expected, abs=1e-3)


def test_where_speakers_are_right_together_the_interval_of_a_share_counts_speakers():
    rng, group = np.random.default_rng(0), np.repeat(np.arange(20), 10)
    covered = []
    for _ in range(300):
        right = rng.random(200) < rng.beta(3, 1, 20)[group]  # .75 in the mean
        intervals = [pseudo_quality.share_interval(right, of) for of in (group, np.arange(200))]
        covered.append([low <= 0.75 <= high for low, high in intervals])
    over_speakers, over_clips = np.mean(covered, axis=0)
    assert over_clips < 0.9
    assert 0.92 <= over_speakers <= 0.98
    assert pseudo_quality.share_interval(np.ones(9, dtype=bool), np.zeros(9)) == (0, 1)
    low, high = pseudo_quality.share_interval(np.ones(90, dtype=bool), np.arange(90) % 3)
    assert low < 0.5 < high <= 1


def test_the_report_of_precision_says_over_what_its_interval_is(corpus, folds, gates, ask):
    clips = corpus.clips.assign(speaker=[f"s{k % 7}" for k in range(len(corpus.clips))])
    known = replace(corpus, clips=clips)
    held_out = pseudo_quality.label_held_out(CONFIG, known, folds, gates, ask)
    assert set(pseudo_quality.summary(CONFIG, held_out, gates).over) == {"7 speakers"}
