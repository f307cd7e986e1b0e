import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import softmax
from scipy.stats import beta, binomtest

from meiju.config import PseudoConfig
from meiju.labels import TASKS, LabelSet, probability_column
from meiju.pseudo import (
    COVERAGES,
    MIN_ACCEPTED,
    RISK,
    STARTS,
    Gate,
    LeakError,
    assert_unseen,
    calibrate,
    carry_gate,
    chance_of,
    fit_gates,
    fit_temperature,
    label_pool,
    precision_threshold,
)

LABELS = LabelSet(("joy", "rage"), ("ask", "wish"))


def draw_labelled(temperature, n=20_000):
    """Probabilities that are too sure (or unsure) by `temperature`, and labels drawn from the right ones."""
    rng = np.random.default_rng(0)
    logits = rng.normal(scale=2, size=(n, 4))
    labels = (softmax(logits, axis=-1).cumsum(axis=1) > rng.random((n, 1))).argmax(axis=1)
    return softmax(logits * temperature, axis=-1), labels


@pytest.mark.parametrize("temperature", [0.5, 1, 3])
def test_the_temperature_is_found(temperature):
    assert fit_temperature(*draw_labelled(temperature)) == pytest.approx(temperature, rel=0.05)


def test_calibrating_undoes_the_temperature():
    sharp, _ = draw_labelled(3, n=50)
    right, _ = draw_labelled(1, n=50)
    np.testing.assert_allclose(calibrate(sharp, 3), right, atol=1e-9)


@pytest.mark.parametrize("temperature", [0.1, 0.7, 1, 10])
def test_calibrating_keeps_the_likeliest_class(temperature):
    probabilities = np.random.default_rng(1).dirichlet(np.full(5, 0.5), size=300)
    calibrated = calibrate(probabilities, temperature)
    np.testing.assert_array_equal(calibrated.argmax(axis=1), probabilities.argmax(axis=1))
    np.testing.assert_allclose(calibrated.sum(axis=1), 1)


def test_a_certain_prediction_can_be_calibrated():
    calibrated = calibrate(np.array([[1.0, 0.0, 0.0]]), 10)
    assert np.isfinite(calibrated).all()
    assert calibrated.argmax() == 0


def lower_bound(right, n, risk):
    """Of Clopper and Pearson, in their own words: the precision at which `right` or more have the chance `risk`."""
    return beta.ppf(risk, right, n - right + 1) if right else 0.0


def threshold_by_hand(confidence, correct, target):
    """The same gate step by step, one threshold at a time."""
    ranked, found, budget, seen = np.sort(confidence)[::-1], np.inf, 0.0, 0
    starts = list(STARTS * len(ranked))
    for coverage in COVERAGES:
        threshold = ranked[int(np.ceil(coverage * len(ranked))) - 1]
        kept = correct[confidence >= threshold]
        if len(kept) < MIN_ACCEPTED or len(kept) == seen:
            continue
        seen = len(kept)
        while starts and starts[0] <= len(kept):
            budget += RISK / len(STARTS)
            starts.pop(0)
        if budget and lower_bound(kept.sum(), len(kept), budget) >= target:
            found = threshold
        else:
            budget = 0.0
    return found


@settings(max_examples=200, deadline=None)
@given(
    rows=st.lists(st.tuples(st.integers(0, 60), st.integers(0, 99)), min_size=1, max_size=400),
    target=st.sampled_from([0.25, 0.5, 0.6, 0.75]),
)
def test_the_threshold_is_the_lowest_that_is_shown_to_reach_the_precision(rows, target):
    # The surer, the likelier right.
    confidence, correct = np.array([c / 60 for c, _ in rows]), np.array([luck < 100 * c / 60 for c, luck in rows])
    assert precision_threshold(confidence, correct, target) == threshold_by_hand(confidence, correct, target)


@pytest.mark.parametrize(
    ("confidence", "correct", "target", "expected"),
    [
        ([0.9] * 100 + [0.5] * 300, [1] * 100 + [0] * 300, 0.9, 0.9),
        ([0.9] * 19 + [0.5] * 300, [1] * 19 + [0] * 300, 0.5, np.inf),  # too few to tell
        ([0.9] * 100, [0] * 100, 0.5, np.inf),  # never right
        ([0.9] * 100, [1] * 70 + [0] * 30, 0.75, np.inf),
        ([0.9] * 100, [1] * 78 + [0] * 22, 0.75, np.inf),  # reached, and perhaps by chance
        ([0.9] * 400 + [0.5] * 400, [1] * 380 + [0] * 420, 0.75, 0.9),
        ([0.9] * 400 + [0.5] * 400, [1] * 380 + [0] * 420, 0.4, 0.5),
        ([0.9] * 40 + [0.5] * 400, [0] * 40 + [1] * 400, 0.75, 0.5),  # the surest fail, and others are tried yet
        ([0.9] * 400, [1] * 200 + [0] * 200, 0.75, np.inf),  # what ties is accepted together
    ],
)
def test_precision_threshold(confidence, correct, target, expected):
    for order in (1, -1):
        found = precision_threshold(np.array(confidence)[::order], np.array(correct, dtype=bool)[::order], target)
        assert found == expected


def share_right(correct):
    """Of one task, whether it is right; of two [2, N], which share of a clip."""
    return correct[0] if len(correct) == 1 else correct.mean(axis=0)


@pytest.mark.parametrize(("precision", "tasks"), [(0.6, 1), (0.74, 1), (0.749, 1), (0.74, 2)])
@pytest.mark.parametrize("n", [150, 1800])
def test_on_confidences_that_say_nothing_the_gate_opens_in_one_draw_of_twenty_at_most(precision, tasks, n):
    opened = 0
    for seed in range(300):
        rng = np.random.default_rng(seed)
        correct = share_right(rng.random((tasks, n)) < precision)
        opened += precision_threshold(rng.random(n), correct, 0.75) < np.inf
    # The rest is the luck of 300 draws.
    assert binomtest(opened, 300, RISK, alternative="greater").pvalue > 0.01


def draw_groups(rng, n_groups, size, precision, correlation):
    """Which clips are right, and whose they are; the precision of a group is drawn, so that its clips are alike."""
    groups = np.repeat(np.arange(n_groups), size)
    spread = (1 - correlation) / correlation
    precisions = rng.beta(precision * spread, (1 - precision) * spread, n_groups)
    return rng.random(n_groups * size) < precisions[groups], groups


@pytest.mark.parametrize("correlation", [0.1, 0.2, 0.4])
@pytest.mark.parametrize(("n_groups", "size"), [(180, 10), (14, 30)])
def test_on_speakers_whose_clips_are_alike_the_gate_opens_in_one_draw_of_twenty_at_most(n_groups, size, correlation):
    opened = {True: 0, False: 0}
    for seed in range(150):
        rng = np.random.default_rng(seed)
        correct, groups = draw_groups(rng, n_groups, size, 0.74, correlation)
        own = rng.normal(size=(2, n_groups))[0][groups] + rng.normal(size=len(groups))  # a speaker's confidence as well
        for known in opened:
            opened[known] += precision_threshold(own, correct, 0.75, groups if known else None) < np.inf
    assert binomtest(opened[True], 150, RISK, alternative="greater").pvalue > 0.01
    if correlation == 0.4:  # and the draws are such that it matters
        assert binomtest(opened[False], 150, RISK, alternative="greater").pvalue < 0.01


@pytest.mark.parametrize(("n_groups", "size"), [(180, 10), (14, 100)])
def test_speakers_that_are_right_often_enough_open_the_gate(n_groups, size):
    thresholds = []
    for seed in range(10):
        rng = np.random.default_rng(seed)
        correct, groups = draw_groups(rng, n_groups, size, 0.9, 0.05)
        thresholds.append(precision_threshold(rng.random(len(groups)), correct, 0.75, groups))
    assert np.median(thresholds) < 0.1


def test_one_speaker_shows_nothing_of_others():
    confidence, right = np.linspace(0, 1, 500), np.ones(500, dtype=bool)
    assert precision_threshold(confidence, right, 0.75) < np.inf
    assert precision_threshold(confidence, right, 0.75, np.zeros(500)) == np.inf


@pytest.mark.parametrize("tasks", [1, 2])
def test_where_confidences_tell_the_gate_opens_nearly_as_far_as_it_may(tasks):
    thresholds = []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        confidence = rng.uniform(0.3, 1, 1800)
        correct = share_right(rng.random((tasks, 1800)) < confidence)
        thresholds.append(precision_threshold(confidence, correct, 0.75))
    # From 0.5 on, three in four are right.
    assert 0.5 <= np.median(thresholds) < 0.6
    assert np.mean(np.array(thresholds) < 0.5) <= 0.1


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("n", [20, 300])
def test_the_chance_is_never_understated(whole, n):
    rng, target = np.random.default_rng(0), 0.7
    # As many right rows as such a precision gives, by the rows of one task or of two.
    right = (rng.random((4000, 1 if whole else 2, n)) < target).mean(axis=1).sum(axis=1)
    chances = chance_of(right, np.full(4000, n), target, whole=whole)
    for risk in (0.01, 0.05, 0.2):
        assert (chances <= risk).mean() <= risk + 3 * np.sqrt(risk / 4000)


def fit(config, probabilities, labels):
    """The gate of a task."""
    gates = fit_gates(config, dict.fromkeys(TASKS, probabilities), dict.fromkeys(TASKS, labels))
    assert gates["emotion"] == gates["intent"] or np.isnan(gates["emotion"].precision)
    return gates["emotion"]


@pytest.mark.parametrize(("gate", "expected"), [("fixed", 0.8), ("paper", 0.8), ("precision", None)])
def test_a_gate_tells_the_precision_of_what_it_accepts(gate, expected):
    probabilities, labels = draw_labelled(2, n=4000)
    found = fit(PseudoConfig(gate=gate, threshold=0.8, precision=0.9), probabilities, labels)
    calibrated = calibrate(probabilities, found.temperature)
    passed = calibrated.max(axis=1) >= found.threshold
    assert found.precision == pytest.approx((calibrated.argmax(axis=1) == labels)[passed].mean())
    assert 0 < passed.mean() < 1
    if expected is None:
        assert found.precision >= 0.9
    else:
        assert found.threshold == expected


def test_the_papers_gate_takes_confidences_as_they_come():
    probabilities, labels = draw_labelled(2, n=4000)
    paper, fixed = (fit(PseudoConfig(gate=gate, threshold=0.99), probabilities, labels) for gate in ("paper", "fixed"))
    assert (paper.temperature, paper.threshold) == (1.0, 0.99)
    assert fixed.temperature == pytest.approx(2, rel=0.1)
    assert paper.precision < fixed.precision  # too sure by twice, they pass too often
    # In a second round as well.
    config = PseudoConfig(gate="paper")
    assert carry_gate(config, paper, probabilities, 0.6) == paper


def test_a_gate_that_accepts_nothing():
    rng = np.random.default_rng(0)
    probabilities = rng.dirichlet(np.ones(4), size=200)
    gate = fit(PseudoConfig(gate="precision", precision=0.9), probabilities, rng.integers(0, 4, 200))
    assert gate.threshold == np.inf
    assert np.isnan(gate.precision)


# By clip: the probability of joy and of ask.
POOL = {
    "a": (0.95, 0.9),
    "b": (0.9, 0.4),
    "c": (0.8, 0.05),
    "d": (0.3, 0.7),
    "e": (0.05, 0.1),
    "f": (0.9, 0.95),
}
# Of the pairs, rage + ask (clip d) is unknown.
TRAINING = pd.DataFrame(
    [("joy", "ask"), ("joy", "wish"), ("rage", "wish"), ("rage", "wish")], columns=["emotion", "intent"]
)


def label(temperature=1.0, threshold=(0.7, 0.7), training=TRAINING, **settings):
    first = np.array(list(POOL.values()))
    probabilities = {
        task: np.stack([first[:, k], 1 - first[:, k]], axis=1) for k, task in enumerate(("emotion", "intent"))
    }
    gates = {task: Gate(temperature, t, 0.9) for task, t in zip(("emotion", "intent"), threshold, strict=True)}
    return label_pool(
        PseudoConfig(**{"gate": "precision"} | settings), np.array(list(POOL)), probabilities, gates, training, LABELS
    )


def accepted(table):
    return tuple("".join(table.name[table[f"{task}_accepted"]]) for task in ("emotion", "intent"))


def test_every_clip_of_the_pool_gets_labels_and_confidences():
    table = label()
    assert table.name.tolist() == list(POOL)
    assert table.emotion.tolist() == ["joy", "joy", "joy", "rage", "rage", "joy"]
    assert table.intent.tolist() == ["ask", "wish", "wish", "ask", "wish", "ask"]
    np.testing.assert_allclose(table.emotion_confidence, [0.95, 0.9, 0.8, 0.7, 0.95, 0.9])
    np.testing.assert_allclose(table.intent_confidence, [0.9, 0.6, 0.95, 0.7, 0.9, 0.95])


def test_confidences_are_calibrated():
    odds = np.sqrt(0.95 / 0.05)
    assert label(temperature=2.0).emotion_confidence[0] == pytest.approx(odds / (1 + odds), abs=1e-6)


@pytest.mark.parametrize(
    ("threshold", "settings", "expected"),
    [
        ((0.7, 0.7), {"plausible_pairs": False}, ("abcdef", "acdef")),
        ((0.7, 0.7), {}, ("abcef", "acef")),
        ((0.85, 0.92), {}, ("abef", "cf")),
        ((np.inf, 0.7), {}, ("", "acef")),
        # Joy and rage have 2 labelled clips each, ask 1 and wish 3. Ties go by name.
        ((0.7, 0.7), {"cap": 1.0}, ("abe", "cef")),
        ((0.7, 0.7), {"cap": 0.5, "training": pd.concat([TRAINING, TRAINING])}, ("abe", "cef")),
        ((0.7, 0.7), {"cap": 9.0}, ("abcef", "acef")),
        ((np.inf, np.inf), {"cap": 1.0}, ("", "")),
    ],
)
def test_which_clips_are_accepted(threshold, settings, expected):
    assert accepted(label(threshold=threshold, **settings)) == expected


def test_a_class_without_labelled_clips_is_capped_at_none():
    joyful = TRAINING[TRAINING.emotion == "joy"]
    table = label(training=joyful, cap=9.0, plausible_pairs=False)
    assert accepted(table)[0] == "abcf"


def test_no_teacher_has_seen_held_out_clips():
    assert_unseen(np.array(["a", "b"]), np.array(["c"]))
    with pytest.raises(LeakError, match=r"^2 held-out .*clip_2, clip_3$"):
        assert_unseen(np.array(["clip_1", "clip_3", "clip_2"]), np.array(["clip_2", "clip_3", "clip_4"]))


def two_tasks(n=4000):
    """Emotion easy, intent hard: probabilities and labels of both tasks."""
    (easy, first), (hard, second) = draw_labelled(2, n), draw_labelled(1, n)
    rng = np.random.default_rng(3)
    lost = rng.random(n) < 0.4  # intents that nothing tells
    return {"emotion": easy, "intent": hard}, {
        "emotion": first,
        "intent": np.where(lost, rng.integers(0, 4, n), second),
    }


def test_a_joint_gate_has_one_threshold_that_reaches_the_precision_over_both_tasks():
    probabilities, labels = two_tasks()
    gates = fit_gates(PseudoConfig(gate="precision", precision=0.7, joint_gate=True), probabilities, labels)
    assert gates["emotion"].threshold == gates["intent"].threshold
    calibrated = {t: calibrate(probabilities[t], gates[t].temperature) for t in gates}
    passed = np.minimum(*(p.max(axis=1) for p in calibrated.values())) >= gates["emotion"].threshold
    right = {t: (calibrated[t].argmax(axis=1) == labels[t])[passed].mean() for t in gates}
    assert gates["intent"].precision == pytest.approx(right["intent"])
    assert 0.7 <= np.mean(list(right.values())) < 0.74
    separate = fit_gates(PseudoConfig(gate="precision", precision=0.7), probabilities, labels)
    assert separate["emotion"].threshold != separate["intent"].threshold
    fixed = fit_gates(PseudoConfig(gate="fixed", threshold=0.8, joint_gate=True), probabilities, labels)
    assert fixed["emotion"].threshold == 0.8


@pytest.mark.parametrize(("n", "opens"), [(MIN_ACCEPTED // 2, False), (2 * MIN_ACCEPTED, True)])
def test_a_joint_gate_counts_clips_not_labels(n, opens):
    probabilities = {task: np.tile([0.9, 0.1], (n, 1)) for task in TASKS}
    right = dict.fromkeys(TASKS, np.zeros(n, dtype=int))
    gates = fit_gates(PseudoConfig(gate="precision", precision=0.5, joint_gate=True), probabilities, right)
    assert np.isfinite(gates["emotion"].threshold) == opens


def test_with_a_joint_gate_a_clip_is_accepted_for_both_tasks_or_none():
    settings = {"joint_gate": True, "plausible_pairs": False}
    assert accepted(label(threshold=(0.7, 0.7), **settings)) == ("acdef",) * 2
    assert accepted(label(threshold=(0.85, 0.85), **settings)) == ("aef",) * 2


def test_soft_labels_keep_the_calibrated_probabilities():
    table = label(temperature=2.0, threshold=(0.0, 0.0), gate="soft")
    assert accepted(table) == ("abcdef", "abcdef")  # pairs that no labelled clip shows as well
    columns = [probability_column("emotion", name) for name in ("joy", "rage")]
    np.testing.assert_allclose(table[columns].sum(axis=1), 1, atol=2e-6)
    np.testing.assert_allclose(table[columns].max(axis=1), table.emotion_confidence)
    assert not any("probability" in column for column in label(temperature=2.0))


def test_the_soft_gate_takes_all_and_knows_how_many_are_right():
    probabilities, labels = draw_labelled(2, n=4000)
    gate = fit(PseudoConfig(), probabilities, labels)
    assert gate.threshold == 0
    assert gate.temperature == pytest.approx(2, rel=0.1)
    assert gate.precision == pytest.approx((probabilities.argmax(axis=1) == labels).mean())


def test_a_student_teaches_with_no_more_confidence_than_its_teacher():
    probabilities, _ = draw_labelled(3, n=500)
    gate = carry_gate(PseudoConfig(), Gate(1.0, 0.8, 0.75), probabilities, 0.6)
    assert calibrate(probabilities, gate.temperature).max(axis=1).mean() == pytest.approx(0.6, abs=1e-3)
    assert (gate.threshold, gate.precision) == (0.8, 0.75)
    assert carry_gate(PseudoConfig(), Gate(1.3, 0.8, 0.75), np.empty((0, 4)), np.nan) == Gate(1.3, 0.8, 0.75)
