import numpy as np
import pytest
from scipy.special import softmax

from meiju.config import PseudoConfig
from meiju.data.labels import TASKS, LabelSet, probability_column
from meiju.evaluation.metrics import calibrate, fit_temperature
from meiju.pseudo.teachers import Gate, fit_gate, label_fold

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


def test_calibrating_divides_logits():
    (sharp, _), (right, _) = draw_labelled(3, n=50), draw_labelled(1, n=50)
    np.testing.assert_allclose(calibrate(sharp, 3), right, atol=1e-9)
    assert calibrate(np.array([[1.0, 0.0]]), 10)[0].argmax() == 0  # certain


def test_the_soft_gate_takes_all_calibrated_and_knows_how_many_are_right():
    probabilities, labels = draw_labelled(2, n=4000)
    gate = fit_gate(PseudoConfig(), probabilities, labels)
    assert gate.threshold == 0
    assert gate.temperature == pytest.approx(2, rel=0.1)
    assert gate.precision == pytest.approx((probabilities.argmax(axis=1) == labels).mean())


def test_the_papers_gate_takes_confidences_as_they_come():
    probabilities, labels = draw_labelled(2, n=4000)
    gate = fit_gate(PseudoConfig(gate="paper", threshold=0.8), probabilities, labels)
    assert (gate.temperature, gate.threshold) == (1.0, 0.8)
    passed = probabilities.max(axis=1) >= 0.8
    assert 0 < passed.mean() < 1
    assert gate.precision == pytest.approx((probabilities.argmax(axis=1) == labels)[passed].mean())
    nothing = fit_gate(PseudoConfig(gate="paper", threshold=1.0), *draw_labelled(0.5, n=200))
    assert np.isnan(nothing.precision)


# By clip: the probability of joy and of ask.
POOL = {"a": (0.95, 0.9), "b": (0.9, 0.4), "c": (0.8, 0.05), "d": (0.3, 0.7)}


def label(temperature=1.0, threshold=(0.7, 0.7)):
    first = np.array(list(POOL.values()))
    probabilities = {task: np.stack([first[:, k], 1 - first[:, k]], axis=1) for k, task in enumerate(TASKS)}
    gates = {task: Gate(temperature, t, 0.9) for task, t in zip(TASKS, threshold, strict=True)}
    return label_fold(np.array(list(POOL)), probabilities, gates, LABELS)


def test_every_clip_of_the_pool_gets_labels_and_calibrated_confidences():
    table = label()
    assert table.name.tolist() == list(POOL)
    assert table.emotion.tolist() == ["joy", "joy", "joy", "rage"]
    assert table.intent.tolist() == ["ask", "wish", "wish", "ask"]
    np.testing.assert_allclose(table.emotion_confidence, [0.95, 0.9, 0.8, 0.7])
    odds, table = np.sqrt(0.95 / 0.05), label(temperature=2.0)
    assert table.emotion_confidence[0] == pytest.approx(odds / (1 + odds), abs=1e-6)
    of_all = table[[probability_column("emotion", name) for name in LABELS.emotion]]
    np.testing.assert_allclose(of_all.sum(axis=1), 1, atol=2e-6)
    np.testing.assert_allclose(of_all.max(axis=1), table.emotion_confidence)


def test_each_task_is_accepted_by_itself():
    table = label(threshold=(0.85, 0.92))
    assert ["".join(table.name[table[f"{task}_accepted"]]) for task in TASKS] == ["ab", "c"]
