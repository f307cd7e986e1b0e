"""Clips that are parts of a longer file: what is decoded of them, and how much is decoded for it."""

from fractions import Fraction

import av
import numpy as np
import pytest

from meiju.features import tracks
from meiju.features.media import MediaError
from meiju.utils.clip_files import excerpt
from whole_clips import read_audio, read_frames

RATE, FPS, SECONDS = 16000, 8, 40
SPANS = [(0, 1), (12.5, 14), (17.111, 19.7), (39, 40)]


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    """A film in several formats, with a key picture every two seconds: ever lighter, and noise is heard."""
    folder = tmp_path_factory.mktemp("films")
    noise = np.random.default_rng(0).normal(0, 0.1, SECONDS * RATE).astype(np.float32)
    for name in ("film.mp4", "film.mkv", "film.ts"):
        with av.open(str(folder / name), "w") as container:
            pictures = container.add_stream("libx264", rate=FPS, options={"g": "16", "bf": "2", "crf": "10"})
            pictures.width = pictures.height = 16
            pictures.pix_fmt = "yuv420p"
            sound = container.add_stream("aac", rate=RATE, layout="mono")
            for k in range(SECONDS * FPS):
                level = np.full((16, 16, 3), 16 + k * 220 // (SECONDS * FPS), np.uint8)
                container.mux(pictures.encode(av.VideoFrame.from_ndarray(level, format="rgb24")))
                piece = noise[k * RATE // FPS :][: RATE // FPS]
                samples = av.AudioFrame.from_ndarray(piece[None], format="fltp", layout="mono")
                samples.sample_rate, samples.pts, samples.time_base = RATE, k * RATE // FPS, Fraction(1, RATE)
                container.mux(sound.encode(samples))
            container.mux(pictures.encode(None))
            container.mux(sound.encode(None))
    return folder


@pytest.mark.parametrize("name", ["film.mp4", "film.mkv", "film.ts"])
@pytest.mark.parametrize(("start", "stop"), SPANS)
def test_an_excerpt_is_what_the_whole_film_holds_then(films, name, start, stop):
    pictures, sound = read_frames(films / name, fps=FPS, size=16), read_audio(films / name)
    shown = read_frames(excerpt(films / name, start, stop), fps=FPS, size=16)
    first, last = (int(np.ceil(seconds * FPS)) for seconds in (start, stop))
    np.testing.assert_array_equal(shown, pictures[first:last])
    with av.open(str(films / name)) as container:  # sound begins before the film in a transport stream
        delay = (container.start_time or 0) / av.time_base - next(container.decode(audio=0)).time
    samples, delay = read_audio(excerpt(films / name, start, stop)), round(RATE * delay)
    np.testing.assert_allclose(samples, sound[round(start * RATE) + delay :][: len(samples)], atol=1e-3)
    assert len(samples) == pytest.approx((stop - start) * RATE, abs=2048 if stop == SECONDS else 1)


def test_a_moment_between_two_pictures_has_the_one_that_is_shown(films):
    (shown,) = read_frames(excerpt(films / "film.mp4", 10.02, 10.1), fps=FPS, size=16)
    np.testing.assert_array_equal(shown, read_frames(films / "film.mp4", fps=FPS, size=16)[10 * FPS])


@pytest.mark.parametrize("name", ["film.mp4", "film.mkv", "film.ts"])
@pytest.mark.parametrize("read", [read_audio, lambda path: read_frames(path, fps=FPS, size=16)])
def test_little_more_than_the_excerpt_is_decoded(films, name, read, monkeypatch):
    seconds = []
    timed = tracks.Track._timed

    def counting(track, begin):
        for frame in timed(track, begin):
            seconds.append(frame[1] - frame[0])
            yield frame

    monkeypatch.setattr(tracks.Track, "_timed", counting)
    read(excerpt(films / name, 34, 36))
    assert sum(seconds) < 8  # of 40: the second before it, and what lies between two key pictures


def test_what_lies_behind_the_end_is_missing_with_the_reason(films):
    path = excerpt(films / "film.mp4", 50, 52)
    with pytest.raises(MediaError, match=r"nothing in the video track from 50\.0 to 52\.0 s"):
        read_frames(path, fps=FPS, size=16)
