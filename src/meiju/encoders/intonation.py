"""The melody of a clip's speech: statistics of its pitch, as a small network hears it.

SwiftF0 (Nieradzik 2025, arXiv 2508.18440; its weights lie in the package swift-f0) says every 16 ms how high the voice
is and how sure it is that there is one. It finds pitch under noise and music, where sums of harmonics lose it.
"""

import functools
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from swift_f0 import PitchResult, SwiftF0

LOWEST, HIGHEST = 60, 700  # Hz of a voice
VOICED = 0.5  # confidence from which a frame is voiced, as the package has it
SHORTEST = 4  # voiced frames one after another whose slope and range are looked at
EDGE = 5  # voiced frames at the start and the end of a clip
PERCENTILES = (5, 20, 50, 80, 95)
REFERENCE = 100  # Hz of 0 semitones
N_VALUES = 29


def hear_pitch(samples: np.ndarray, rate: int) -> "PitchResult":
    """Pitch in sound [N], every FRAME_PERIOD of the package."""
    return _detector().detect(samples, rate, LOWEST, HIGHEST)


def pitch_at(said: "PitchResult", times: np.ndarray) -> np.ndarray:
    """Pitch in Hz at times [T] in seconds, 0 where the voice is not heard."""
    from swift_f0 import FRAME_PERIOD

    voiced = said.confidence >= VOICED
    if not voiced.any():
        return np.zeros(len(times))
    nearest = np.round(times / FRAME_PERIOD).astype(int).clip(0, len(voiced) - 1)
    return np.where(voiced[nearest], np.interp(times, said.timestamps[voiced], said.pitch_hz[voiced]), 0)


def intonation(said: "PitchResult") -> np.ndarray:
    """Statistics [N_VALUES] of a clip's pitch; NaN where there is too little voice to take one from."""
    from swift_f0 import FRAME_PERIOD  # onnxruntime takes a moment, and a finished step needs none of it

    voiced, seconds = said.confidence >= VOICED, len(said.confidence) * FRAME_PERIOD
    values = np.full(N_VALUES, np.nan)
    values[:3] = voiced.mean(), said.confidence.mean(), said.confidence.std()
    if voiced.sum() < SHORTEST:
        return values
    pitch = 12 * np.log2(said.pitch_hz / REFERENCE)
    spoken, level, times = pitch[voiced], said.loudness_db[voiced], np.flatnonzero(voiced) * FRAME_PERIOD
    change, bend = _differences(pitch, voiced, 1) / FRAME_PERIOD, _differences(pitch, voiced, 2)
    low, lower, median, higher, high = np.percentile(spoken, PERCENTILES)
    starts = np.flatnonzero(np.diff(voiced, prepend=False, append=False)).reshape(-1, 2)
    pieces = [pitch[start:stop] for start, stop in starts if stop - start >= SHORTEST]
    slopes = np.array([slope(np.arange(len(piece)) * FRAME_PERIOD, piece) for piece in pieces])
    values[3:] = [
        *(spoken.mean(), spoken.std(), low, lower, median, higher, high, high - low, higher - lower),
        *(mean(change[change > 0]), mean(change[change < 0]), mean(abs(change)), _std(change), mean(abs(bend))),
        *(slope(times, spoken), spoken[:EDGE].mean() - spoken.mean(), spoken[-EDGE:].mean() - spoken.mean()),
        *(len(pieces) / seconds, mean(np.array([len(piece) * FRAME_PERIOD for piece in pieces]))),
        *(mean(slopes), _std(slopes), mean(np.array([np.ptp(piece) for piece in pieces]))),
        *(level.mean(), level.std(), _correlation(spoken, level)),
        mean(said.loudness_db[~voiced]) - level.mean(),
    ]
    return values


@functools.cache
def _detector() -> "SwiftF0":
    from swift_f0 import SwiftF0

    return SwiftF0(threads=1, spin=False)  # clips are read in parallel, one per process


def _differences(pitch: np.ndarray, voiced: np.ndarray, order: int) -> np.ndarray:
    """Differences of that order between frames that are voiced, and all frames between them too."""
    whole = np.lib.stride_tricks.sliding_window_view(voiced, order + 1).all(axis=1)
    return np.diff(pitch, order)[whole]


def slope(times: np.ndarray, values: np.ndarray) -> float:
    """Of the straight line through values at these times."""
    return float(np.polyfit(times, values, 1)[0])


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.corrcoef(a, b)[0, 1]) if a.std() > 0 and b.std() > 0 else np.nan


def mean(values: np.ndarray) -> float:
    """The mean; NaN of no values."""
    return float(values.mean()) if len(values) else np.nan


def _std(values: np.ndarray) -> float:
    return float(values.std()) if len(values) else np.nan
