"""A tiny RAVDESS, in names as its owners give them."""

import shutil
import zipfile

import pandas as pd
import pytest

from meiju.data.public.ravdess import FOLDS
from owners_files import as_corpus, prepared, toy_clip

TAKES = ("03-01-01-01", "03-02-02-02", "01-01-01-01")  # emotion, intensity, sentence, repetition


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """Three takes of each actor, as extracted archives of films."""
    source = tmp_path_factory.mktemp("ravdess")
    clip = toy_clip(source / "clip.mp4")
    for actor in range(1, 25):
        for take in TAKES:
            path = source / f"Video_Speech_Actor_{actor:02}" / f"Actor_{actor:02}" / f"01-01-{take}-{actor:02}.mp4"
            path.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(clip, path)
    clip.unlink()
    return source


def test_films_become_a_corpus_whose_parts_share_no_actor(source, tmp_path):
    text, truth = prepared("ravdess", source, tmp_path / "out")
    corpus = as_corpus(tmp_path / "out", needs_media=True)
    assert corpus.clips.part.value_counts().to_dict() == {"training": 48, "testing": 18, "validation": 6}
    assert corpus.clips.groupby("speaker").part.nunique().max() == 1
    clip = corpus.clips.set_index("name").loc["01-01-03-02-02-02-05"]
    labels = tuple(clip[["emotion", "intent", "sentence", "speaker"]])
    assert labels == ("happy", "strong", "Dogs are sitting by the door", "actor05")
    assert tuple(truth.loc["01-01-03-02-02-02-20", ["emotion", "intent", "speaker"]]) == ("happy", "strong", "actor20")
    assert set(truth.index) == set(corpus.part("testing").name)
    assert "CC BY-NC-SA" in text


def test_zips_are_read_as_they_are_and_films_are_preferred_to_their_sounds(source, tmp_path):
    packed = tmp_path / "packed"
    packed.mkdir()
    for folder in source.iterdir():
        with zipfile.ZipFile(packed / f"{folder.name}.zip", "w") as archive:
            for clip in folder.rglob("*.mp4"):
                archive.write(clip, f"{clip.parent.name}/{clip.name}")
                archive.write(clip, f"{clip.parent.name}/02{clip.name[2:]}")  # the same film without sound
    with zipfile.ZipFile(packed / "Audio_Speech_Actors_01-24.zip", "w") as archive:
        sound = toy_clip(tmp_path / "sound.m4a")
        archive.write(sound, f"Actor_01/03-01-{TAKES[0]}-01.wav")
        archive.write(sound, "Actor_01/03-01-05-01-01-01-01.wav")  # a take without a film
        archive.write(sound, "Actor_01/03-02-05-01-01-01-01.wav")
    text, _ = prepared("ravdess", packed, tmp_path / "out")
    names = set(as_corpus(tmp_path / "out", needs_media=True).clips.name)
    assert len(names) == 73
    assert {f"01-01-{TAKES[0]}-01", "03-01-05-01-01-01-01"} <= names
    assert "- a song: 1 (03-02-05-01-01-01-01)" in text


def test_published_folds_hold_out_five_groups_of_actors(source, tmp_path):
    prepared("ravdess", source, tmp_path / "out", published=True)
    training = pd.read_csv(tmp_path / "out" / "Annotation" / "Training_transcription.csv")
    folds = pd.read_csv(tmp_path / "out" / "folds.csv")
    assert set(folds.name) == {name.removesuffix(".mp4") for name in training.FileName}
    assert sorted(actor for actors in FOLDS for actor in actors) == list(range(1, 25))
    for k, actors in enumerate(FOLDS):
        assert {int(name[-2:]) for name in folds.name[folds.fold == k]} == set(actors)
    prepared("ravdess", source, tmp_path / "out")
    assert not (tmp_path / "out" / "folds.csv").exists()


def test_the_clips_that_are_not_drawn_are_the_pool_and_keep_their_labels_outside(source, tmp_path):
    _, truth = prepared("ravdess", source, tmp_path / "out", labelled=12)
    corpus = as_corpus(tmp_path / "out", needs_media=True)
    sizes = {"unlabelled": 36, "testing": 18, "training": 12, "validation": 6}
    assert corpus.clips.part.value_counts().to_dict() == sizes
    assert set(truth.index[truth.part == "unlabelled"]) == set(corpus.part("unlabelled").name)
    assert (truth.emotion != "").all()
    # Another draw of the same clips, in the same folder.
    prepared("ravdess", source, tmp_path / "out")
    assert len(as_corpus(tmp_path / "out", needs_media=True).part("unlabelled")) == 0
