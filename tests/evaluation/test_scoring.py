import zipfile

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import f1_score

from meiju.config import ConfigError
from meiju.data import submission
from meiju.data.labels import EMOTIONS, INTENTS
from meiju.evaluation import scoring
from meiju.utils import files
from toy_run import run_script

N = 40


def true_labels(n=N, seed=0):
    rng = np.random.default_rng(seed)
    names = [f"clip_{k:02}" for k in range(n)]
    return pd.DataFrame({"name": names, "emotion": rng.choice(EMOTIONS, n), "intent": rng.choice(INTENTS, n)})


def predicted(truth, seed, share=0.6):
    """A submission of which about a share of the labels is right."""
    rng = np.random.default_rng(seed)
    guesses = {"emotion": rng.choice(EMOTIONS, len(truth)), "intent": rng.choice(INTENTS, len(truth))}
    kept = {task: np.where(rng.random(len(truth)) < share, truth[task], guess) for task, guess in guesses.items()}
    return pd.DataFrame(kept, index=pd.Index(truth.name, name="name"))


TRUTH = true_labels()
PREDICTED = predicted(TRUTH, 1)


def write_truth(folder, table, **options):
    folder.mkdir(exist_ok=True)
    path = folder / "truth.csv"
    table.to_csv(path, index=False, **options)
    return path


def score(folder, table, *tables):
    paths = [submission.write(one, folder / f"run{k}") for k, one in enumerate(tables)]
    return scoring.read(write_truth(folder, table), paths)


def test_scores_are_those_of_scikit_learn_and_intervals_hold_them(tmp_path):
    table = scoring.table(score(tmp_path, TRUTH, PREDICTED)).set_index(["average", "score"])
    for average in ("weighted", "micro"):
        e, i = (f1_score(TRUTH[t], PREDICTED[t], average=average, zero_division=0) for t in ("emotion", "intent"))
        assert list(table.value[average]) == pytest.approx([e, i, 2 * e * i / (e + i)])
    assert (table.low < table.value).all()
    assert (table.high > table.value).all()
    assert list(table.columns) == ["value", "low", "high"]


def test_each_class_has_its_support_precision_and_recall(tmp_path):
    found = scoring.classes(score(tmp_path, TRUTH, PREDICTED)).set_index(["task", "class"])
    assert list(found.loc["emotion"].index) == list(EMOTIONS)
    happy, of_happy = found.loc["emotion", "happy"], (TRUTH.emotion == "happy").to_numpy()
    right = (of_happy & (PREDICTED.emotion == "happy").to_numpy()).sum()
    assert (happy.support, happy.recall) == (of_happy.sum(), right / of_happy.sum())
    assert happy.precision == right / (PREDICTED.emotion == "happy").sum()


def test_of_two_submissions_the_difference_has_an_interval_of_its_own(tmp_path):
    better, worse = predicted(TRUTH, 1, share=0.9), predicted(TRUTH, 2, share=0.2)
    table = scoring.table(score(tmp_path, TRUTH, better, worse))
    assert table.difference.to_list() == pytest.approx((table.value - table.beside).to_list())
    assert (table.difference_low > 0).all()
    same = scoring.table(score(tmp_path, TRUTH, better, better))
    assert (same[["difference", "difference_low", "difference_high"]] == 0).all(axis=None)


def test_a_truth_in_the_fields_usual_forms_is_read(tmp_path):
    """Names with an ending, other heads of columns, labels in other spellings, semicolons."""
    columns = {"FileName": TRUTH.name + ".mp4", "Emotion": TRUTH.emotion.str.capitalize() + " "}
    other = pd.DataFrame(columns | {"Intent": TRUTH.intent.str.upper()})
    zipped = submission.write(PREDICTED, tmp_path / "run")
    path = write_truth(tmp_path, other, sep=";", encoding="utf-8-sig")
    expected = scoring.table(score(tmp_path / "run", TRUTH, PREDICTED))
    for file in (zipped, zipped.with_suffix(".csv")):
        pd.testing.assert_frame_equal(scoring.table(scoring.read(path, [file])), expected)


def test_the_interval_of_a_score_stays_between_0_and_1(tmp_path):
    truth = true_labels().assign(speaker=[f"s{k % 4}" for k in range(N)])
    all_right = predicted(truth, 1, share=1)
    wrong_for_one = all_right.assign(emotion=all_right.emotion.where((truth.speaker != "s0").to_numpy(), "sad"))
    table = scoring.table(score(tmp_path, truth, wrong_for_one))
    assert table.low.between(0, 1).all()
    assert table.high.max() == 1


def test_rows_of_other_parts_are_left_out(tmp_path):
    expected = scoring.table(score(tmp_path, TRUTH, PREDICTED))
    pool = true_labels(10, seed=5).assign(part="unlabelled", name=[f"pool_{k}" for k in range(10)])
    for part in ("testing", ""):  # without a part, the submission decides
        scored = score(tmp_path, pd.concat([TRUTH.assign(part=part), pool]), PREDICTED)
        pd.testing.assert_frame_equal(scoring.table(scored), expected)
        assert len(scored.clips) == N + 10
    with pytest.raises(ConfigError, match=r"run1.submission\.zip: lacks 10 clips of .*run0.submission\.zip"):
        score(tmp_path, TRUTH, PREDICTED, predicted(TRUTH.head(30), 1))


def test_what_is_wrong_with_a_submission_is_reported_as_check_submission_does(tmp_path):
    truth = true_labels().assign(part="test")
    path = tmp_path / "submission.csv"
    path.write_text("filename,emo_pred,int_pred\nclip_00,hapy,wishing\nclip_01.mp4,sad,wishing\nclip_99,sad,wishing\n")
    with pytest.raises(ConfigError) as error:
        scoring.read(write_truth(tmp_path, truth), [path, tmp_path / "none.zip"])
    *problems, missing = str(error.value).splitlines()
    assert problems == submission.check(path, names=list(truth.name), emotions=EMOTIONS, intents=INTENTS)
    assert len(problems) == 3
    assert missing.startswith(f"{tmp_path / 'none.zip'}: no such file")


def test_all_that_is_wrong_with_a_truth_is_reported(tmp_path):
    for wrong, message in (
        (TRUTH[["name"]], r"no column for emotion .*, intent"),
        (pd.concat([TRUTH, TRUTH.head(1)]), r"truth.csv, row 42: clip_00 is in truth.csv, row 2 already"),
        (TRUTH.assign(emotion=""), r"truth\.csv: no clip to score has its emotion"),
    ):
        with pytest.raises(ConfigError, match=message):
            score(tmp_path, wrong, PREDICTED)
    with pytest.raises(ConfigError, match="no such file"):
        scoring.read(tmp_path / "none.csv", [])


def test_a_clip_with_one_label_is_scored_for_that_task(tmp_path):
    half = TRUTH.assign(intent=TRUTH.intent.where(TRUTH.index >= 10, ""))
    scored = score(tmp_path, half, PREDICTED)
    others = (score(tmp_path / "rest", TRUTH[10:], PREDICTED[10:]), score(tmp_path / "whole", TRUTH, PREDICTED))
    table, rest, whole = (scoring.table(one).iloc[:3].set_index("score") for one in (scored, *others))
    assert (table.value["E"], table.value["I"]) == pytest.approx((whole.value["E"], rest.value["I"]))
    assert table.low["I"] < table.value["I"] < table.high["I"]
    of_intent = scoring.classes(scored).query("task == 'intent'")
    assert of_intent.support.sum() == 30


def test_labels_of_an_own_corpus_need_not_be_the_challenges(tmp_path):
    own = TRUTH.replace({"emotion": {"happy": "joy"}})
    predictions = PREDICTED.replace({"emotion": {"happy": "Joy", "sad": "bored"}})
    scored = score(tmp_path, own, predictions)
    e = f1_score(own.emotion, predictions.emotion.replace({"Joy": "joy"}), average="weighted", zero_division=0)
    assert scoring.table(scored).value[0] == pytest.approx(e)


def test_the_script_prints_all_of_it_and_ends_with_plain_words(tmp_path, capsys):
    first, second = (submission.write(predicted(TRUTH, k), tmp_path / str(k)) for k in (1, 2))
    path = write_truth(tmp_path, TRUTH)
    run_script("score.py", str(first), str(path), "--beside", str(second))
    out = capsys.readouterr().out
    parts = ("40 of 40 clips in", "95 % intervals over clips", "JRBM", "difference_low", "questioning")
    assert [part for part in parts if part not in out] == []
    with zipfile.ZipFile(first, "w"):
        pass
    with pytest.raises(SystemExit, match=r"error: submission\.zip: holds nothing"):
        run_script("score.py", str(first), str(path))


def pseudo_labels(truth, n_folds=3):
    """Labels of a pool: in fold k, emotions of the first 4 + k clips are accepted, and all but k of them are right."""
    tables = []
    for fold in range(n_folds):
        table = truth[["name", "emotion", "intent"]].assign(fold=fold, intent_accepted=False)
        table["emotion_accepted"] = np.arange(len(table)) < 4 + fold
        wrong = np.arange(len(table)) < fold
        table.loc[wrong, "emotion"] = np.where(table.emotion[wrong] == "happy", "sad", "happy")
        tables.append(table)
    return pd.concat(tables, ignore_index=True)


def test_the_precision_of_accepted_pseudo_labels_in_the_pool(tmp_path):
    truth = true_labels().assign(speaker=[f"s{k % 5}" for k in range(N)])
    path = tmp_path / "pseudo_labels.csv"
    pseudo_labels(truth).to_csv(path, index=False)
    tasks, classes, over = scoring.pool_precision(path, scoring.read_truth(write_truth(tmp_path, truth.head(30))))
    emotion, intent = tasks.itertuples(index=False)
    assert (emotion.accepted, emotion.precision) == pytest.approx((5, 12 / 15))
    assert emotion.low < emotion.precision < emotion.high
    assert intent.accepted == 0
    assert np.isnan(intent.precision)
    assert over == "5 speakers"
    assert set(classes.task) == {"emotion"}
    assert np.average(classes.precision, weights=classes.accepted) == pytest.approx(12 / 15)


def test_a_file_without_pseudo_labels_of_these_clips_is_refused(tmp_path):
    path = tmp_path / "pseudo_labels.csv"
    pseudo_labels(true_labels()).to_csv(path, index=False)
    truth = scoring.read_truth(write_truth(tmp_path, true_labels().replace({"name": {"clip": "other"}}, regex=True)))
    with pytest.raises(ConfigError, match="none of its clips is in"):
        scoring.pool_precision(path, truth)
    with pytest.raises(ConfigError, match="step 06 writes"):
        scoring.pool_precision(tmp_path / "none.csv", truth)
    path.write_text("name,fold\n")
    with pytest.raises(files.Damaged):
        scoring.pool_precision(path, truth)
