"""What is said of pseudo-labels; that they are leak-free is tested in test_pipeline.py, on whole runs."""

import numpy as np
import pandas as pd
import pytest

from meiju import teachers
from meiju.config import PseudoConfig
from meiju.corpus import Corpus
from meiju.labels import LabelSet

TRAINING = pd.DataFrame(
    [("t1", "joy", "ask"), ("t2", "joy", "wish"), ("t3", "rage", "wish")], columns=["name", "emotion", "intent"]
).assign(part="training")
CORPUS = Corpus(TRAINING, LabelSet(("joy", "rage"), ("ask", "wish")), [])
# By clip and fold: emotion, intent, and how sure of both.
SAID = {
    ("a", 0): ("joy", "ask", 0.6126, 0.9),
    ("b", 0): ("rage", "ask", 0.95, 0.97),  # no labelled clip is both
    ("a", 1): ("joy", "wish", 0.7, 0.5),
    ("b", 1): ("rage", "wish", 0.65, 0.8),
}


def pseudo_labels(emotion=0.99, intent=0.85, precision=0.8):
    """A table and gates of two folds with a threshold a task."""
    rows = [(*key, *values) for key, values in SAID.items()]
    columns = ["name", "fold", "emotion", "intent", "emotion_confidence", "intent_confidence"]
    table = pd.DataFrame(rows, columns=columns)
    thresholds = {"emotion": emotion, "intent": intent}
    for task, threshold in thresholds.items():
        table[f"{task}_accepted"] = table[f"{task}_confidence"] >= threshold
    gates = pd.DataFrame(
        [(fold, task, 1.0, t, precision) for fold in (0, 1) for task, t in thresholds.items()],
        columns=["fold", "task", "temperature", "threshold", "precision"],
    )
    return table, gates


def said(table, gates, **settings):
    return teachers.describe(PseudoConfig(**settings), table, gates, CORPUS)


def test_what_is_accepted_is_told_by_class():
    text = said(*pseudo_labels(emotion=0.6))
    assert "emotion: 2 accepted (temperature 1.00, at a confidence of 0.600 or more; of held-out rows that" in text
    assert "0.800 are right" in text


@pytest.mark.parametrize(
    ("settings", "flags"),
    [
        ({}, "--pseudo.gate fixed --pseudo.threshold 0.612"),
        ({"gate": "paper"}, "--pseudo.gate paper --pseudo.threshold 0.612"),
        ({"plausible_pairs": False}, "--pseudo.gate fixed --pseudo.threshold 0.700"),
        ({"joint_gate": True}, "--pseudo.gate fixed --pseudo.threshold 0.612"),
    ],
)
def test_where_nothing_is_accepted_a_threshold_is_named_that_lets_a_clip_in(settings, flags):
    table, gates = pseudo_labels(precision=np.nan)
    text = said(table, gates, **settings)
    assert f"no emotion is accepted; with {flags} every fold would accept at least one clip" in text
    assert "no held-out row passes" in text
    assert "nan" not in text
    assert "no intent is accepted" not in text


def test_a_shut_gate_is_said_to_be_shut():
    text = said(*pseudo_labels(emotion=np.inf, precision=np.nan))
    assert "no confidence is known to reach the precision" in text
    assert "nan" not in text
    assert "inf" not in text
    table, gates = pseudo_labels(emotion=0.6)
    gates.loc[(gates.task == "emotion") & (gates.fold == 1), ["threshold", "precision"]] = np.inf, np.nan
    text = said(table, gates)
    assert "a confidence of 0.600 or more in 1 of 2 folds, in the others none; of held-out rows that pass, 0.8" in text


def test_where_no_clip_is_of_a_known_pair_no_threshold_helps():
    table, gates = pseudo_labels()
    table["emotion"], table["intent"] = "rage", "ask"
    assert "no emotion is accepted: in some fold, no clip's two labels" in said(table, gates)


def test_an_empty_pool_is_said_to_be_empty():
    table, gates = pseudo_labels()
    assert said(table[:0], gates).startswith("there are no unlabelled clips")
    assert "as there are no unlabelled clips" in teachers.too_few(table[:0], 3, 2)


# In all folds, a clip is accepted for a task at least: 2 of 4 rows, or 1 a fold.
@pytest.mark.parametrize(("n_labelled", "few"), [(3, False), (20, False), (21, True)])
def test_few_pseudo_labels_are_no_second_stage(n_labelled, few):
    table, _ = pseudo_labels()
    assert teachers.accepted(table).name.tolist() == ["a", "b"]
    sentence = teachers.too_few(table, n_labelled, 2)
    assert bool(sentence) == few
    if few:
        assert sentence.startswith("Stage 2 is hardly more than stage 1: beside 21 labelled clips, a fold has 1.0 ")


def test_no_pseudo_label_at_all():
    table, _ = pseudo_labels(1.0, 1.0)
    assert "a fold has no pseudo-labelled clip;" in teachers.too_few(table, 3, 2)
