"""A tiny MELD with EMOTyDA's acts, in the files and with the quirks of their owners."""

import shutil

import pandas as pd
import pytest

from meiju.config import ConfigError
from owners_files import as_corpus, prepared, toy_clip, write_rows

EMOTIONS, ACTS = ("neutral", "joy", "anger"), ("q", "s", "ag")
N_DIALOGUES, N_UTTERANCES = 20, 3
FOLDER = {"train": "train_splits", "dev": "dev_splits_complete", "test": "output_repeated_splits_test"}


def utterances(n_dialogues: int) -> list[dict]:
    return [
        {
            "Sr No.": d * N_UTTERANCES + u + 1,
            "Utterance": f"It\x92s line {u} of {d}, isn't it?" if d == 0 else f"Line {u} of {d}",
            "Speaker": ("Joey", "Mrs. Green")[u % 2],
            "Emotion": EMOTIONS[(d + u) % 3],
            "Sentiment": "neutral",
            "Dialogue_ID": d,
            "Utterance_ID": u,
        }
        for d in range(n_dialogues)
        for u in range(N_UTTERANCES)
    ]


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    """The tables alone: a clone of EMOTyDA beside MELD's."""
    source = tmp_path_factory.mktemp("meld")
    write_rows(source / "train_sent_emo.csv", utterances(N_DIALOGUES), encoding="latin-1")
    write_rows(source / "dev_sent_emo.csv", utterances(2))
    write_rows(source / "test_sent_emo.csv", utterances(3))
    acts = pd.DataFrame(utterances(N_DIALOGUES)).drop(columns="Sentiment")
    acts["Dialogue Act"] = [ACTS[k // 2 % 3] for k in range(len(acts))]
    (source / "EMOTyDA").mkdir()
    acts = acts.drop(index=4)  # train_dia1_utt1 has no act
    (source / "EMOTyDA" / "MELD.csv").write_text(acts.to_csv(index=False), encoding="latin-1")
    return source


def test_the_training_part_with_acts_is_divided_by_dialogues(tables, tmp_path):
    text, truth = prepared("meld", tables, tmp_path / "out")
    corpus = as_corpus(tmp_path / "out", needs_media=False)
    assert len(corpus.clips) == N_DIALOGUES * N_UTTERANCES - 1
    assert set(corpus.clips.part) == {"training", "validation", "testing"}
    assert corpus.clips.groupby("dialogue").part.nunique().max() == 1
    assert corpus.labels.intent == ("agreement", "question", "statement-non-opinion")
    assert set(truth.intent) <= set(corpus.labels.intent)
    clips = corpus.clips.set_index("name")
    assert clips.loc["train_dia0_utt0"].sentence == "It’s line 0 of 0, isn't it?"
    assert clips.loc["train_dia0_utt1"].speaker == "Mrs. Green"
    assert "- no dialogue act in EMOTyDA: 16 (train_dia1_utt1" in text
    assert "sentences alone" in text


def test_the_parts_do_not_depend_on_the_seed_of_the_labelled_clips(tables, tmp_path):
    drawn = []
    for seed in (1, 2):
        prepared("meld", tables, tmp_path / f"out{seed}", labelled=12, seed=seed)
        drawn.append(as_corpus(tmp_path / f"out{seed}", needs_media=False))
    assert drawn[0].part("testing").equals(drawn[1].part("testing"))
    assert set(drawn[0].part("training").name) != set(drawn[1].part("training").name)


def test_clips_of_three_splits_are_distinguished(tables, tmp_path):
    source = shutil.copytree(tables, tmp_path / "source")
    for split, n in {"train": N_DIALOGUES, "dev": 2, "test": 3}.items():
        for k in range(n * N_UTTERANCES):
            toy_clip(source / FOLDER[split] / f"dia{k // 3}_utt{k % 3}.mp4")
    (source / FOLDER["train"] / "dia2_utt0.mp4").unlink()
    (source / FOLDER["train"] / "dia2_utt1.mp4").write_bytes(b"damaged")
    (source / FOLDER["train"] / "._dia2_utt2.mp4").write_bytes(b"of macOS")
    toy_clip(source / FOLDER["test"] / "final_videos_testdia3_utt0.mp4")
    text, truth = prepared("meld", source, tmp_path / "out", published=True)
    corpus = as_corpus(tmp_path / "out", needs_media=True)
    assert set(corpus.part("testing").name) == {f"test_dia{d}_utt{u}" for d in range(3) for u in range(3)}
    assert (truth.emotion != "").all()
    assert (truth.intent == "").all()
    assert "- no clip of this name: 1 (train_dia2_utt0)" in text
    assert "- damaged: not decodable" in text
    assert "train_dia2_utt2" in set(corpus.clips.name)


def test_everything_that_misses_is_reported_at_once(tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    with pytest.raises(ConfigError) as error:
        prepared("meld", source, tmp_path / "out")
    for name in ("train_sent_emo.csv", "dev_sent_emo.csv", "test_sent_emo.csv", "MELD.csv"):
        assert name in str(error.value)
    assert "git clone https://github.com/sahatulika15/EMOTyDA" in str(error.value)


def test_packed_clips_are_not_taken_for_sentences_alone(tables, tmp_path):
    source = shutil.copytree(tables, tmp_path / "source")
    (source / "train.tar.gz").write_bytes(b"")
    with pytest.raises(ConfigError, match="packed, and no clips lie beside it"):
        prepared("meld", source, tmp_path / "out")
