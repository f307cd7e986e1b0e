import numpy as np
import pandas as pd
import pytest

from meiju.config import ConfigError
from meiju.data import folds
from meiju.data.corpus import Corpus
from meiju.data.labels import EMOTIONS, INTENTS, OFFICIAL, TASKS
from meiju.data.units import units_of
from meiju.utils import files

N_FOLDS = 5


def make_corpus(n=300, sentences=None, seed=0):
    rng = np.random.default_rng(seed)
    table = pd.DataFrame(
        {
            "name": [f"clip_{k:04}" for k in range(n)],
            "part": "training",
            "sentence": [f"this is sentence {k}" for k in range(n)] if sentences is None else sentences,
            "emotion": rng.choice(EMOTIONS, n, p=[0.2, 0.1, 0.1, 0.06, 0.15, 0.04, 0.35]),
            "intent": rng.choice(INTENTS, n, p=[0.3, 0.05, 0.1, 0.05, 0.05, 0.1, 0.05, 0.3]),
            "dialogue": "",
            "speaker": "",
            "path": "",
        }
    )
    others = table.head(4).assign(name=[f"other_{k}" for k in range(4)], part=["validation", "testing"] * 2)
    return Corpus(pd.concat([table, others], ignore_index=True), OFFICIAL, [])


def draw(corpus, seed=7, by="auto"):
    return folds.draw(corpus, n_folds=N_FOLDS, by=by, seed=seed)


def fold_of(corpus):
    return corpus.part("training").merge(draw(corpus), on="name", validate="1:1").fold


def test_every_training_clip_is_in_one_fold_whatever_the_order_of_rows_and_the_seed_decides():
    corpus = make_corpus()
    drawn = draw(corpus)
    assert drawn.name.tolist() == sorted(corpus.part("training").name)
    assert set(drawn.fold) == set(range(N_FOLDS))
    shuffled = Corpus(corpus.clips.sample(frac=1, random_state=3, ignore_index=True), OFFICIAL, [])
    pd.testing.assert_frame_equal(draw(shuffled), drawn)
    assert not draw(corpus, seed=8).equals(drawn)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_every_class_is_spread_evenly(seed):
    corpus = make_corpus(seed=seed)
    training, fold = corpus.part("training"), fold_of(corpus)
    for task in TASKS:
        counts = pd.crosstab(training[task], fold)
        worst = counts.sub(counts.sum(axis=1) / N_FOLDS, axis=0).abs().max(axis=1)
        assert worst.max() < 3, worst
        reported = folds.deviations(draw(corpus), training).query("kind == @task").set_index("what").worst
        pd.testing.assert_series_equal(reported.sort_index(), worst.sort_index(), check_names=False)


def test_clips_of_the_same_words_and_labels_stay_together():
    marks = ["Where are we going {}?", "where are we going, {} !", "“WHERE are we going” {}。"]
    corpus = make_corpus(sentences=[marks[k // 100].format(k % 100) for k in range(300)])
    for task in TASKS:  # the three clips of a sentence share their labels
        corpus.clips.loc[:299, task] = np.tile(corpus.clips[task][:100], 3)
    assert (fold_of(corpus).groupby(np.arange(300) % 100).nunique() == 1).all()


def test_short_lines_are_common_speech_and_spread():
    corpus = make_corpus(sentences=["好的"] * 300)
    assert fold_of(corpus).value_counts().between(55, 65).all()


def test_what_is_written_is_read_and_folds_of_other_clips_or_another_number_are_refused(tmp_path):
    corpus, path = make_corpus(n=40), tmp_path / "folds.csv"
    corpus.clips.loc[:2, "name"] = ["0012", "NA", '片段, "1"']  # names that pandas would read as something else
    drawn = draw(corpus)

    def read(table, n_folds=N_FOLDS):
        folds.write(table, path)
        return folds.read(path, corpus.part("training"), n_folds=n_folds)

    pd.testing.assert_frame_equal(read(drawn), drawn)
    for changed in (drawn.replace({"name": {"clip_0003": "clip_9999"}}), pd.concat([drawn, drawn[:1]])):
        with pytest.raises(ConfigError, match="not of this corpus' training clips"):
            read(changed)
    with pytest.raises(ConfigError, match=r"folds\.csv holds 5 folds where 3 are asked for; give --folds 5, or delete"):
        read(drawn, 3)
    with pytest.raises(files.Damaged, match="not numbered from 0"):
        read(drawn.replace({"fold": {1: 7}}))


def grouped(column, n_groups=20, n=300):
    """A corpus whose training clips have a value in `column`, clip k that of group k % n_groups."""
    corpus = make_corpus(n)
    clips = corpus.clips.assign(**{column: [f"{column}{k % n_groups}" for k in range(len(corpus.clips))]})
    return Corpus(clips, OFFICIAL, [])


@pytest.mark.parametrize("column", ["speaker", "dialogue"])
def test_clips_of_one_speaker_or_dialogue_stay_together_and_classes_even(column):
    corpus = grouped(column)
    training, fold = corpus.part("training"), fold_of(corpus)
    assert (fold.groupby(training[column]).nunique() == 1).all()
    assert set(fold) == set(range(N_FOLDS))
    commonest = pd.crosstab(training.emotion, fold).loc["neutral"]
    assert commonest.max() <= 2 * commonest.min()
    described = folds.describe(draw(corpus), training, "auto")
    assert f"clips of a {column} (20 of them) are kept together" in described


def test_a_group_can_be_read_from_names_or_ignored():
    corpus = grouped("speaker")
    training = corpus.part("training")
    by_name = training.merge(draw(corpus, by=r"^clip_..."), on="name").fold
    assert (by_name.groupby(training.name.str[:8]).nunique() == 1).all()
    pd.testing.assert_frame_equal(draw(corpus, by="none"), draw(make_corpus()))
    assert (training.merge(draw(corpus, by="none"), on="name").fold.groupby(training.speaker).nunique() > 1).any()


@pytest.mark.parametrize(
    ("n", "by", "message"),
    [
        (4, "auto", "4 different clips or groups of them .* cannot fill 5 folds"),
        (300, "speaker", "300 training clips have no speaker, such as clip_0000"),
        (300, "^clip", "1 different clips or groups of them .* cannot fill 5 folds"),
    ],
)
def test_groups_that_cannot_be_folds_are_refused(n, by, message):
    with pytest.raises(ConfigError, match=message):
        draw(make_corpus(n), by=by)


def clips_with(**columns):
    """Six clips, some of which have a value in a column."""
    return pd.DataFrame({"name": [f"a_{k // 2}_{k}" for k in range(6)], "speaker": "", "dialogue": ""} | columns)


@pytest.mark.parametrize(
    ("columns", "by", "group", "what"),
    [
        ({}, "auto", [0, 1, 2, 3, 4, 5], "clips"),
        ({"dialogue": list("xxyyzz")}, "auto", [0, 0, 1, 1, 2, 2], "3 dialogues"),
        ({"dialogue": list("xxyyzz"), "speaker": list("ababab")}, "auto", [0, 1, 0, 1, 0, 1], "2 speakers"),
        ({"speaker": ["a", "", "b", "a", "", "b"]}, "auto", [0, 2, 1, 0, 3, 1], "2 speakers and 2 clips without one"),
        ({"speaker": list("aaaaaa"), "dialogue": list("xxyyzz")}, "auto", [0, 0, 1, 1, 2, 2], "3 dialogues"),
        ({"speaker": list("ababab")}, r"^a_\d", [0, 0, 1, 1, 2, 2], "3 groups of names"),
    ],
)
def test_intervals_resample_the_coarsest_groups_that_are_known(columns, by, group, what):
    units = units_of(clips_with(**columns), by)
    assert (list(units.group), units.what, units.n) == (group, what, max(group) + 1)


@pytest.mark.parametrize(
    ("columns", "by", "expected"),
    [
        ({}, "auto", ["no speakers or dialogues are known", "Too low"]),
        ({"dialogue": list("xxyyzz")}, "auto", ["only dialogues are known", "Too low"]),
        ({"speaker": list("aabbcc")}, "auto", ["Too low"]),
        ({"speaker": list("abbbcc")}, "none", ["1 of 3 speakers have clips in several folds", "Too low"]),
        ({}, r"^a_\d", ["Too low"]),
    ],
)
def test_what_makes_a_score_out_of_fold_too_high_or_too_low(columns, by, expected):
    training = clips_with(**columns)
    lines = folds.forecast(pd.DataFrame({"name": training.name, "fold": [0, 0, 1, 1, 2, 2]}), training, by)
    assert all(part in line for part, line in zip(expected, lines, strict=True))
    assert "67 % of the training clips" in lines[-1]
