import numpy as np
import pytest
from transformers import WhisperFeatureExtractor

from meiju.config import AudioConfig, Config
from meiju.features.base import Clip
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


def test_frames_are_pooled_over_time_which_keeps_the_mean_and_decides_the_fingerprint(tmp_path):
    write_clip(tmp_path / "voice.mp4", None, glide(1.6), fps=8)
    made = [make_encoder("smart-turn", Config("run", audio=AudioConfig(max_frames=n))) for n in (0, 500, 32, 1)]
    every, *pooled = (encoder.encode([Clip("voice", "", str(tmp_path / "voice.mp4"))])[0].frames for encoder in made)
    assert every.shape[1] == made[0].dim
    assert abs(len(every) - 80) <= 5  # the codec adds a moment
    assert [len(frames) for frames in pooled] == [len(every), 32, 1]
    np.testing.assert_allclose(pooled[-1][0], every.mean(axis=0), atol=1e-5)
    assert len({str(encoder.fingerprint()) for encoder in made}) == len(made)
