"""Memory does not grow with the length of a film, and its frames are those of a clip."""

from functools import partial

import numpy as np
import pytest

from meiju.features import media
from meiju.features.base import Clip, mean_over_time
from meiju.features.face_geometry import FaceGeometry
from meiju.features.media import write_clip
from meiju.features.pictures import read_squares
from meiju.features.smart_turn import SmartTurn
from toy_clips import draw_pictures

RATE = 16_000
SECONDS = 9  # more than the window of smart-turn


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> Clip:
    path = tmp_path_factory.mktemp("film") / "film.mp4"
    t = np.arange(SECONDS * RATE) / RATE
    tone = 0.4 * np.sin(2 * np.pi * (200 + 20 * t) * t)
    write_clip(path, draw_pictures("happy", n=SECONDS), tone.astype(np.float32), fps=1)
    return Clip("film", "", str(path))


@pytest.mark.parametrize("make", [partial(SmartTurn, max_frames=5), partial(FaceGeometry, fps=1)])
def test_a_film_has_the_frames_of_a_clip(clip, monkeypatch, make):
    encoder = make()
    encoder.fit([clip], seed=0)
    (whole,) = encoder.encode([clip])
    monkeypatch.setattr(media, "KEPT_PICTURES", 2)
    monkeypatch.setattr(media, "KEPT_SECONDS", 0)
    (film,) = encoder.encode([clip])
    assert len(film.frames) > 1
    np.testing.assert_allclose(film.frames, whole.frames, atol=1e-5)


@pytest.mark.parametrize("crop", ["frame", "auto"])
def test_a_film_has_the_squares_of_a_clip(clip, monkeypatch, crop):
    squares = np.stack(list(read_squares(clip.path, fps=1, size=16, crop=crop, notes=[])))
    monkeypatch.setattr(media, "KEPT_PICTURES", 2)
    film = read_squares(clip.path, fps=1, size=16, crop=crop, notes=[])
    assert not isinstance(film, list)
    np.testing.assert_array_equal(np.stack(list(film)), squares)


@pytest.mark.parametrize("most", [0, 3, 16, 17])
@pytest.mark.parametrize("size", [1, 5])
def test_means_over_time_are_those_of_equal_parts(most, size):
    frames = np.random.default_rng(0).normal(size=(16, 2)).astype(np.float32)
    blocks = np.split(frames, range(size, 16, size))
    wanted = [part.mean(axis=0) for part in np.array_split(frames, most)] if 0 < most < 16 else frames
    np.testing.assert_allclose(mean_over_time(iter(blocks), 16, most), wanted, atol=1e-6)
