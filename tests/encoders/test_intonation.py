import numpy as np
import pytest

from meiju.encoders import intonation as module
from meiju.encoders.intonation import N_VALUES, hear_pitch, pitch_at

RATE = 16_000
# Places of some values, in the order of `intonation`.
VOICED, MEAN, LOW, HIGH, RISE, FALL, TREND, START, END, PIECES, DURATION = 0, 3, 5, 9, 12, 13, 17, 18, 19, 20, 21
LEVEL, LEVEL_WITH_PITCH, PAUSES = 25, 27, 28


def voice(*pieces: tuple[float, float, float]) -> np.ndarray:
    """Harmonic tones that glide, of (seconds, Hz at the start, Hz at the end) each; 0 Hz is a pause."""
    sound = []
    for seconds, first, last in pieces:
        hertz = np.geomspace(max(first, 1), max(last, 1), round(seconds * RATE))
        phase = 2 * np.pi * np.cumsum(hertz) / RATE
        tone = sum(np.sin(k * phase) / k for k in range(1, 9))
        sound.append(0.1 * tone * (first > 0))
    rng = np.random.default_rng(0)
    return (np.concatenate(sound) + 1e-3 * rng.normal(size=sum(map(len, sound)))).astype(np.float32)


def intonation(samples: np.ndarray, rate: int) -> np.ndarray:
    return module.intonation(hear_pitch(samples, rate))


def test_pitch_is_in_semitones():
    low, high = (intonation(voice((1, hertz, hertz)), RATE) for hertz in (110, 220))
    assert low[MEAN] == pytest.approx(12 * np.log2(1.1), abs=0.3)
    assert high[MEAN] - low[MEAN] == pytest.approx(12, abs=0.3)
    assert low[VOICED] > 0.9
    assert low[HIGH] - low[LOW] < 0.5


def test_a_glide_of_an_octave_a_second():
    rising, falling = (intonation(voice((1, first, 300 - first)), RATE) for first in (100, 200))
    for values, sign in ((rising, 1), (falling, -1)):
        assert values[TREND] == pytest.approx(12 * sign, abs=1.5)
        assert values[START] * sign < -4
        assert values[END] * sign > 4
        assert values[HIGH] - values[LOW] > 9
    assert rising[RISE] > 5
    assert falling[FALL] < -5


def test_pieces_are_counted_and_their_duration_is_in_seconds():
    values = intonation(voice((0.4, 150, 150), (0.3, 0, 0), (0.4, 150, 150), (0.3, 0, 0), (0.6, 150, 150)), RATE)
    assert values[PIECES] * 2.0 == pytest.approx(3, abs=0.1)
    assert values[DURATION] == pytest.approx(1.4 / 3, abs=0.05)
    assert values[VOICED] == pytest.approx(1.4 / 2.0, abs=0.05)
    assert values[PAUSES] < -20  # decibels below the voice


def test_level_is_in_decibels():
    sound = voice((1, 150, 150))
    soft, loud = intonation(sound, RATE), intonation(4 * sound, RATE)
    assert loud[LEVEL] - soft[LEVEL] == pytest.approx(20 * np.log10(4), abs=0.1)
    rising = intonation(voice((1, 100, 200)) * np.linspace(0.2, 1, RATE, dtype=np.float32), RATE)
    assert rising[LEVEL_WITH_PITCH] > 0.8


def test_pitch_at_times_that_lie_between_frames():
    said = hear_pitch(voice((0.5, 150, 150), (0.5, 0, 0), (1, 200, 200)), RATE)
    heard = pitch_at(said, np.array([0.21, 0.3, 0.75, 1.5, 1.905]))
    assert heard == pytest.approx([150, 150, 0, 200, 200], rel=0.02)
    glide = pitch_at(hear_pitch(voice((1, 100, 200)), RATE), np.arange(0.2, 0.8, 0.001))
    assert (np.diff(glide) > -0.1).all()
    assert np.diff(glide).max() < 1  # no steps from frame to frame
    assert (pitch_at(hear_pitch(np.zeros(RATE, np.float32), RATE), np.arange(3)) == 0).all()


@pytest.mark.parametrize("samples", [np.zeros(1600), np.zeros(RATE), np.random.default_rng(0).normal(0, 0.01, RATE)])
def test_without_a_voice_there_is_nothing_but_its_share(samples):
    values = intonation(samples.astype(np.float32), RATE)
    assert values.shape == (N_VALUES,)
    assert values[VOICED] < 0.1
    assert np.isnan(values[MEAN:]).all()


def test_sound_repeats_exactly():
    sound = voice((0.5, 120, 180))
    first = intonation(sound, RATE)
    module._detector.cache_clear()
    np.testing.assert_array_equal(intonation(sound, RATE), first)
