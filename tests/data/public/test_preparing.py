"""Clips are linked and never lost, a call can be given again, nothing is written over; draws can be drawn again."""

import os
import re
from types import SimpleNamespace

import pandas as pd
import pytest

from meiju.config import ConfigError
from meiju.data.public import CORPORA, preparing
from meiju.data.public.preparing import Prepared, draw_groups, draw_labelled, link, prepare
from meiju.features.tracks import MediaError
from owners_files import as_corpus, prepared, toy_clip
from toy_run import run_script


def toy_corpus(clips: pd.DataFrame) -> SimpleNamespace:
    says = dict.fromkeys(("WHAT", "LICENCE", "SOURCE", "NEEDS"), "toys")
    return SimpleNamespace(**says, read=lambda *_: Prepared(clips.copy(), []))


@pytest.fixture
def source(tmp_path):
    (tmp_path / "source").mkdir()
    return tmp_path / "source"


@pytest.fixture
def clips(source):
    """Ten labelled clips, three of them not for training."""
    rows = [
        {
            "name": f"clip{k}",
            "part": {7: "validation", 8: "validation", 9: "testing"}.get(k, "training"),
            "sentence": "a, b",
            "emotion": ("joy", "rage")[k % 2],
            "intent": ("ask", "wish")[k // 2 % 2],
            "media": toy_clip(source / f"clip{k}.mp4"),
        }
        for k in range(10)
    ]
    return pd.DataFrame(rows)


def prepare_toy(clips: pd.DataFrame, source, out, **settings) -> str:
    return prepare("toy", toy_corpus(clips), source, out, out.parent / "truth.csv", **settings)


def test_clips_are_linked_and_a_second_call_keeps_them(clips, source, tmp_path):
    out = tmp_path / "out"
    first = prepare_toy(clips, source, out)
    files = {path: path.stat() for path in (out / "clips").iterdir()}
    assert len(files) == 10
    assert all(stat.st_nlink == 2 for stat in files.values())
    assert prepare_toy(clips, source, out) == first
    assert {path: path.stat().st_ino for path in files} == {path: stat.st_ino for path, stat in files.items()}


def test_where_the_disk_cannot_link_clips_are_copied(clips, source, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "link", lambda *_: (_ for _ in ()).throw(OSError(18, "Invalid cross-device link")))
    prepare_toy(clips, source, tmp_path / "out")
    copy = tmp_path / "out" / "clips" / "clip3.mp4"
    assert copy.stat().st_nlink == 1
    assert copy.read_bytes() == (source / "clip3.mp4").read_bytes()
    assert len(as_corpus(tmp_path / "out", needs_media=True).clips) == 10


def test_an_interrupted_call_goes_on(clips, source, tmp_path, monkeypatch):
    def interrupted(media, target):
        if media.name == "clip5.mp4":
            raise KeyboardInterrupt
        return link(media, target)

    monkeypatch.setattr(preparing, "link", interrupted)
    with pytest.raises(KeyboardInterrupt):
        prepare_toy(clips, source, tmp_path / "out")
    assert not (tmp_path / "out" / "Annotation").exists()
    monkeypatch.setattr(preparing, "link", link)
    prepare_toy(clips, source, tmp_path / "out")
    assert len(as_corpus(tmp_path / "out", needs_media=True).clips) == 10


def test_what_cannot_be_used_is_left_out_with_its_reason(clips, source, tmp_path):
    (source / "clip0.mp4").write_bytes(b"damaged")
    clips.loc[1, "media"] = None
    clips.loc[2, "intent"] = ""
    clips.loc[7, "intent"] = "a class that no training clip has"
    clips = pd.concat([clips, clips.iloc[[3]]], ignore_index=True)
    text = prepare_toy(clips, source, tmp_path / "out")
    for line in (
        r"- damaged: not decodable.*: 1 \(clip0\)",
        r"- no clip of this name: 1 \(clip1\)",
        r"- no intent: 1 \(clip2\)",
        r"- intent that Training lacks: 1 \(clip7\)",
        r"- a second row of the same clip: 1 \(clip3\)",
    ):
        assert re.search(line, text)
    assert len(as_corpus(tmp_path / "out", needs_media=True).clips) == 6
    with pytest.raises(MediaError):
        link(source / "clip0.mp4", tmp_path / "clips" / "clip0.mp4")
    assert list((tmp_path / "clips").iterdir()) == []


def test_draws_and_places_that_cannot_be_are_refused_before_anything_is_written(clips, source, tmp_path):
    out = tmp_path / "out"
    with pytest.raises(ConfigError, match="--labelled 8: there are 7 training clips"):
        prepare_toy(clips, source, out, labelled=8)
    with pytest.raises(ConfigError, match="one within the other"):
        prepare_toy(clips, source, source / "out")
    with pytest.raises(ConfigError, match="--truth"):
        prepare("toy", toy_corpus(clips), source, out, out / "truth.csv")
    (tmp_path / "nothing").mkdir()
    for corpus in CORPORA:  # an empty folder is none of them
        with pytest.raises(ConfigError):
            prepared(corpus, tmp_path / "nothing", out)
    assert not out.exists()
    out.mkdir()
    (out / "thesis.txt").write_text("mine")
    with pytest.raises(ConfigError, match="was not written for toy"):
        prepare_toy(clips, source, out)
    (out / "thesis.txt").unlink()
    prepare_toy(clips, source, out)
    with pytest.raises(ConfigError, match="was not written for ravdess"):
        prepared("ravdess", source, out)


def test_the_script_tells_of_each_corpus_and_of_problems_in_one_line(tmp_path, capsys):
    with pytest.raises(SystemExit):
        run_script("prepare_corpus.py", "--help")
    text = capsys.readouterr().out
    assert all(f"  {name}: {corpus.WHAT}" in text and corpus.LICENCE in text for name, corpus in CORPORA.items())
    with pytest.raises(SystemExit, match=r"error: .*missing is not a folder; give the folder"):
        run_script("prepare_corpus.py", "ravdess", str(tmp_path / "missing"), "--out", str(tmp_path / "out"))


# Draws

TRAINING = pd.DataFrame(
    {
        "name": [f"clip{k:03}" for k in range(100)],
        "emotion": ["neutral"] * 80 + ["happy"] * 15 + ["fear"] * 5,
        "intent": (["ask"] * 9 + ["wish"]) * 10,
        "dialogue": [f"dialogue{k // 4}" for k in range(100)],
    }
)


def test_a_balanced_draw_has_as_many_of_each_emotion_as_there_are_and_a_natural_one_the_natural_mix():
    balanced, natural = (
        TRAINING[TRAINING.name.isin(draw_labelled(TRAINING, 30, mix=mix, seed=0))].emotion.value_counts()
        for mix in ("balanced", "natural")
    )
    assert balanced.fear == 5
    assert abs(balanced.happy - balanced.neutral) <= 1
    assert balanced.sum() == 30
    assert natural.neutral > 18


@pytest.mark.parametrize("mix", ["balanced", "natural"])
def test_a_draw_does_not_depend_on_the_order_of_rows_and_a_smaller_one_is_part_of_it(mix):
    drawn = draw_labelled(TRAINING, 20, mix=mix, seed=3)
    assert draw_labelled(TRAINING[::-1], 20, mix=mix, seed=3) == drawn
    assert draw_labelled(TRAINING, 10, mix=mix, seed=3) < drawn
    assert draw_labelled(TRAINING, 20, mix=mix, seed=4) != drawn


@pytest.mark.parametrize("mix", ["balanced", "natural"])
def test_even_the_smallest_draw_shows_each_class(mix):
    rows = TRAINING[TRAINING.name.isin(draw_labelled(TRAINING, 4, mix=mix, seed=1))]
    assert set(rows.emotion) == {"neutral", "happy", "fear"}
    assert set(rows.intent) == {"ask", "wish"}
    with pytest.raises(ConfigError, match="one of each class"):
        draw_labelled(TRAINING, 1, mix=mix, seed=1)


def test_groups_stay_whole_and_each_part_gets_its_share():
    part = draw_groups(TRAINING, "dialogue", {"validation": 0.1, "testing": 0.2}, seed=0)
    assert part.groupby(TRAINING.dialogue).nunique().eq(1).all()
    assert part.value_counts().to_dict() == {"training": 68, "testing": 20, "validation": 12}
    again = draw_groups(TRAINING[::-1], "dialogue", {"validation": 0.1, "testing": 0.2}, seed=0)
    assert again.sort_index().equals(part)
