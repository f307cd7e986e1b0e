import shutil

import numpy as np
import pandas as pd
import pytest

from meiju.analysis import baseline
from meiju.analysis.baseline import out_of_fold, predict
from meiju.config import CorpusConfig
from meiju.data import submission
from meiju.data.corpus import read_corpus
from toy_run import run_step

OPTIONS = {"n_classes": 4, "average": "weighted", "n_jobs": 1}


@pytest.fixture(autouse=True)
def two_strengths(monkeypatch):
    monkeypatch.setattr(baseline, "STRENGTHS", [0.01, 1.0])  # in place of six, for the time


def toy(seed=0):
    """Classes 0 to 2 of 4 that show in three values, and folds."""
    rng = np.random.default_rng(seed)
    labels, fold = np.arange(90) % 3, np.arange(90) // 3 % 3
    return np.eye(3)[labels] + rng.normal(0, 0.1, (90, 3)), labels, fold


def test_labels_that_show_are_predicted_and_those_that_do_not_are_not():
    x, labels, fold = toy()
    predictions = out_of_fold(x, labels, fold, **OPTIONS)
    np.testing.assert_allclose(predictions.sum(axis=1), 1)
    assert (predictions[:, 3] == 0).all()  # a class that no clip has
    assert (predictions.argmax(axis=1) == labels).mean() > 0.95
    noise = np.random.default_rng(1).normal(size=(90, 3))
    assert (out_of_fold(noise, labels, fold, **OPTIONS).argmax(axis=1) == labels).mean() < 0.6


def test_labels_of_a_fold_do_not_decide_what_is_predicted_for_it():
    x, labels, fold = toy()
    other = np.where(fold == 1, (labels + 1) % 3, labels)
    before, after = (out_of_fold(x, own, fold, **OPTIONS) for own in (labels, other))
    np.testing.assert_array_equal(before[fold == 1], after[fold == 1])
    assert not np.allclose(before[fold != 1], after[fold != 1])


def test_what_a_clip_lacks_is_the_mean_of_the_clips_that_are_learnt_from():
    x, labels, fold = toy()
    lacking = np.full((1, 3), np.nan)
    mean = x.mean(axis=0, keepdims=True)
    predictions = predict(x, labels, fold, np.concatenate([lacking, mean, 9 + x]), **OPTIONS)
    np.testing.assert_allclose(predictions[0], predictions[1], atol=1e-6)


def test_the_script_writes_scores_and_a_submission(home, root, tmp_path, capsys):
    home = shutil.copytree(home, tmp_path / "own")  # others look at all that a run has written
    run_step("baseline", home, root)
    out = home / "submissions" / "sample"
    scores = pd.read_csv(out / "baseline.csv")
    assert list(scores.part) == ["out-of-fold", "validation"]
    assert scores[["E", "I", "JRBM", "log_loss"]].notna().all(axis=None)
    assert (scores.JRBM_low < scores.JRBM).all()
    corpus = read_corpus(CorpusConfig(root), needs_media=False)
    names = list(corpus.part("testing").name)
    for file in ("submission.csv", "submission.zip"):
        allowed = {"emotions": corpus.labels.emotion, "intents": corpus.labels.intent}
        assert submission.check(out / "baseline" / file, names=names, **allowed) == []
    assert "logistic regression" in capsys.readouterr().out
