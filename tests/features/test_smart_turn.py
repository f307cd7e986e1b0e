import numpy as np
import pytest
from transformers import WhisperFeatureExtractor

from meiju.config import AudioConfig, Config
from meiju.features.base import Clip, NoFrames
from meiju.features.media import write_clip
from meiju.features.registry import make_encoder
from meiju.features.smart_turn import RATE, STEP, WINDOW, log_mel, states
from whole_clips import read_audio


def glide(seconds: float, first: float = 120, last: float = 220) -> np.ndarray:
    """A harmonic tone whose pitch glides, in noise."""
    phase = 2 * np.pi * np.cumsum(np.geomspace(first, last, round(seconds * RATE))) / RATE
    noise = np.random.default_rng(0).normal(0, 0.003, len(phase))
    return (sum(0.1 * np.sin(k * phase) / k for k in range(1, 9)) + noise).astype(np.float32)


@pytest.mark.parametrize("sound", [glide(8), np.zeros(WINDOW), np.pad(glide(2), (6 * RATE, 0))])
def test_log_mel_is_that_of_transformers(sound):
    extractor = WhisperFeatureExtractor(chunk_length=8)
    wanted = extractor(sound, sampling_rate=RATE, return_tensors="np", do_normalize=True).input_features[0]
    np.testing.assert_allclose(log_mel(sound.astype(float)), wanted, atol=1e-3)


def test_level_and_silence_before_change_little_and_melody_much():
    rising, softer, falling = states(glide(2)), states(0.3 * glide(2)), states(glide(2, 220, 120))
    assert np.linalg.norm(rising - softer) < 0.3 * np.linalg.norm(rising - falling)
    padded = states(np.pad(glide(2), (3 * RATE, 0)))
    np.testing.assert_array_equal(padded[3 * RATE // STEP :], rising)


def test_long_sound_is_encoded_window_by_window(tmp_path):
    write_clip(tmp_path / "long.mp4", None, glide(9.5), fps=8)
    (encoded,) = make_encoder("smart-turn", Config("run", audio=AudioConfig(max_frames=0))).encode(
        [Clip("long", "", str(tmp_path / "long.mp4"))]
    )
    sound = read_audio(tmp_path / "long.mp4")
    np.testing.assert_array_equal(encoded.frames, np.concatenate([states(sound[:WINDOW]), states(sound[WINDOW:])]))


@pytest.fixture(scope="module")
def clips(tmp_path_factory) -> list[Clip]:
    folder = tmp_path_factory.mktemp("clips")
    write_clip(folder / "voice.mp4", None, glide(1.6), fps=8)
    write_clip(folder / "pictures.mp4", np.zeros((4, 48, 48, 3), np.uint8), None, fps=4)
    return [Clip(name, "", str(folder / f"{name}.mp4")) for name in ("voice", "pictures")]


@pytest.mark.parametrize(("max_frames", "n"), [(32, 32), (500, 80), (0, 80)])
def test_frames_are_pooled_over_time(clips, max_frames, n):
    encoder = make_encoder("smart-turn", Config("run", audio=AudioConfig(max_frames=max_frames)))
    voice, silent = encoder.encode(clips)
    assert voice.frames.shape[1] == encoder.dim
    assert abs(len(voice.frames) - n) <= 5  # the codec adds a moment
    assert isinstance(silent, NoFrames)


def test_pooling_keeps_the_mean_and_decides_the_fingerprint(clips):
    few, all_ = (make_encoder("smart-turn", Config("run", audio=AudioConfig(max_frames=n))) for n in (1, 0))
    np.testing.assert_allclose(few.encode(clips)[0].frames[0], all_.encode(clips)[0].frames.mean(axis=0), atol=1e-5)
    assert few.fingerprint() != all_.fingerprint()
