"""Memory does not grow with the length of a film, and its frames are those of a clip."""

import weakref
from types import SimpleNamespace

import numpy as np
import pytest

from meiju import pipeline
from meiju.features import material, media
from meiju.features.base import Clip, mean_over_time
from meiju.features.face_geometry import FaceGeometry
from meiju.features.media import Pieces, write_clip
from meiju.features.pictures import read_pictures
from meiju.features.smart_turn import SmartTurn
from meiju.sample.drawing import draw_face, draw_speaker
from meiju.utils import files
from toy_corpus import make_corpus
from whole_clips import read_audio

RATE = 16_000
SECONDS = 9  # more than the window of smart-turn


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> Clip:
    path = tmp_path_factory.mktemp("film") / "film.mp4"
    rng, speech = np.random.default_rng(0), np.zeros(SECONDS, np.float32)
    faces = draw_face(draw_speaker(rng), "happy", "neutral", speech=speech, rng=rng)
    t = np.arange(SECONDS * RATE) / RATE
    tone = 0.4 * np.sin(2 * np.pi * (200 + 20 * t) * t)
    write_clip(path, faces, tone.astype(np.float32), fps=1)
    return Clip("film", "", str(path))


def fitted(encoder, clip: Clip):
    encoder.fit([clip], seed=0)
    return encoder


ENCODERS = {
    "smart-turn": lambda clip: SmartTurn(max_frames=5),
    "smart-turn, all frames": lambda clip: SmartTurn(max_frames=0),
    "face-geometry": lambda clip: fitted(FaceGeometry(fps=1), clip),
}


def frames_of(encoded) -> np.ndarray:
    return encoded if isinstance(encoded, np.ndarray) else encoded.frames


@pytest.mark.parametrize("name", list(ENCODERS))
def test_a_film_has_the_frames_of_a_clip(clip, monkeypatch, name):
    encoder = ENCODERS[name](clip)
    (whole,) = encoder.encode([clip])
    monkeypatch.setattr(media, "KEPT_PICTURES", 2)
    monkeypatch.setattr(media, "KEPT_SECONDS", 0)
    (film,) = encoder.encode([clip])
    assert len(frames_of(film)) > 1
    np.testing.assert_allclose(frames_of(film), frames_of(whole), atol=1e-5)


@pytest.mark.parametrize("crop", ["frame", "auto"])
def test_a_film_has_the_squares_of_a_clip(clip, monkeypatch, crop):
    (whole,) = read_pictures([clip], fps=1, size=16, crop=crop)
    squares = np.stack(list(whole.frames))
    monkeypatch.setattr(media, "KEPT_PICTURES", 2)
    (film,) = read_pictures([clip], fps=1, size=16, crop=crop)
    assert not isinstance(film.frames, list)
    np.testing.assert_array_equal(np.stack(list(film.frames)), squares)


@pytest.mark.parametrize(("n", "n_decoded"), [(3, 3), (4, 12), (100, 300)])
def test_pieces_of_a_film_are_decoded_each_time_and_those_of_a_clip_once(n, n_decoded):
    decoded, notes, most = [], [], 0

    def decode(*, notes: list[str]):
        for k in range(n):
            array = np.full(3, k)
            decoded.append(weakref.ref(array))
            yield array
        notes.append("damaged")

    pieces = Pieces(decode, 3, notes)
    for _ in range(3):
        for k, array in enumerate(pieces):
            assert array[0] == k
            most = max(most, sum(piece() is not None for piece in decoded[-n:]))
        assert k == n - 1
    assert len(decoded) == n_decoded
    assert pieces.is_short == (n == 3)
    assert notes == ["damaged"]
    assert most <= 4  # in memory at once


@pytest.mark.parametrize(("block", "n_blocks"), [(RATE, SECONDS), (4000, 4 * SECONDS), (10**6, 1)])
def test_sound_comes_in_blocks_of_the_whole(clip, block, n_blocks):
    blocks = list(media.sound(clip.path, rate=RATE, block=block, notes=[]))
    assert {len(one) for one in blocks[:-1]} <= {block}
    assert n_blocks <= len(blocks) <= n_blocks + 1  # the coder fills its last block up
    np.testing.assert_array_equal(np.concatenate(blocks), read_audio(clip.path))


@pytest.mark.parametrize("most", [0, 1, 3, 7, 16, 17])
@pytest.mark.parametrize("size", [1, 5, 16])
def test_means_over_time_are_those_of_equal_parts(most, size):
    frames = np.random.default_rng(0).normal(size=(16, 2)).astype(np.float32)
    blocks = np.split(frames, range(size, 16, size))
    wanted = [part.mean(axis=0) for part in np.array_split(frames, most)] if 0 < most < 16 else frames
    np.testing.assert_allclose(mean_over_time(iter(blocks), 16, most), wanted, atol=1e-6)


@pytest.mark.parametrize(("seconds", "longest", "far"), [(60.1, 6.0, True), (60.0, 6.0, False), (60.0, 0.0, False)])
def test_a_clip_far_longer_than_any_that_was_learnt_from_is_noted(seconds, longest, far):
    note = "it plays 60 seconds, and the longest clip that was learnt from plays 6.0"
    assert material.far_longer(seconds, longest) == (note if far else "")


def test_step_03_names_which_clips_are_far_longer_than_those_it_learns_from(tmp_path, monkeypatch, capsys):
    corpus = make_corpus()
    seconds = dict.fromkeys(corpus.clips.name, 3.0) | {"testing_01": 31.0, "training_00": 3.1, "unlabelled_02": 30.9}
    monkeypatch.setattr(material, "lengths", lambda clips, n_jobs: seconds)
    run = SimpleNamespace(corpus=corpus, config=SimpleNamespace(n_jobs=1), folder=lambda step: tmp_path)
    path = pipeline._note_lengths(run, [])
    assert files.read_json(path)["longest"] == 3.1
    assert capsys.readouterr().out == ""
    seconds |= {"testing_01": 32.0}
    pipeline._note_lengths(run, [])
    assert "1 testing clips are far longer" in capsys.readouterr().out


def test_clips_that_cannot_be_read_have_no_length(clip, tmp_path):
    (tmp_path / "bad.mp4").write_bytes(b"x")
    others = {"none": "", "bad": str(tmp_path / "bad.mp4"), "no": str(tmp_path / "no.mp4")}
    lengths = material.lengths([clip, *(Clip(name, "", path) for name, path in others.items())], n_jobs=1)
    assert lengths.pop("film") == pytest.approx(SECONDS, abs=0.2)
    assert set(lengths.values()) == {0.0}
