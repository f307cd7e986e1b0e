"""Embedded audio encoder: how a clip is spoken, in one frame a clip.

What the field measures of emotion in a voice: descriptors of eGeMAPS (Eyben et al. 2016, IEEE Transactions on Affective
Computing 7(2)) every 10 ms - loudness, spectral balance, slopes and flux, four cepstral coefficients, and in voiced
frames pitch, the harmonics-to-noise ratio, harmonic differences and three formants - and their statistics over the
clip, with how much and how fast it is spoken. Jitter and shimmer are left out: here they told nothing, and took a third
of the time. Pitch is that of a network that hears it more surely than the sums of harmonics of eGeMAPS do, in half the
time, and its melody is described once more by itself (meiju.encoders.intonation).
"""

import importlib.metadata
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from unittest import mock

import numpy as np

from meiju.config import ConfigError
from meiju.encoders.base import Clip, Encoded, Encoder, NoFrames, Noted, read_media, require_finite
from meiju.encoders.intonation import hear_pitch, intonation, mean, pitch_at, slope
from meiju.encoders.media import read_audio

if TYPE_CHECKING:
    from swift_f0 import PitchResult

RATE = 16000  # samples per second
HOP = 0.01  # seconds between descriptors
LONG = 0.06  # seconds of the frames that descriptors of the voice are taken from
SHORTEST = 0.1  # seconds; shorter sound is padded with silence, since there is no pitch in it
BLOCK = 60  # seconds that are analysed at once, so that memory does not grow with the length of a clip
LIMIT = 5.0  # standard deviations; a failed pitch or formant lies far outside
PERCENTILES = (10, 50, 90)
LOUDNESS, PITCH, JITTER, SHIMMER = 0, 10, 11, 12  # numbers of these descriptors in EGEMAPS_LLD_NAMES of afx-audio
ALWAYS = PITCH  # descriptors before pitch are defined in every frame, the others in voiced frames alone


class Prosody(Encoder):
    """Statistics of eGeMAPS descriptors, each with mean 0 and deviation 1 over clips, cut off at LIMIT."""

    source = "media"
    track = "audio"
    in_workers = True
    learns_from = 200  # more change them little

    def __init__(self):
        self.mean = self.scale = None

    def fit(self, clips: Sequence[Clip], *, seed: int) -> None:
        read = [one for one in self.read_to_fit(_read, clips) if isinstance(one, Noted)]
        if len(read) < 2:
            raise ConfigError("--streams: prosody needs sound, and the clips to fit it on have none")
        values = np.stack([one.frames for one in read])
        there = np.isfinite(values)
        n = np.maximum(there.sum(axis=0), 1)
        self.mean = np.where(there, values, 0).sum(axis=0) / n
        self.scale = np.sqrt((np.where(there, values - self.mean, 0) ** 2).sum(axis=0) / n)
        self.dim = len(self.mean)

    def encode(self, clips: Sequence[Clip]) -> Encoded:
        return [
            one if isinstance(one, NoFrames) else Noted(self.frame(one.frames), one.note) for one in map(_read, clips)
        ]

    def save(self, folder: Path) -> None:
        np.savez(folder / "prosody.npz", mean=self.mean, scale=self.scale)

    def load(self, folder: Path) -> None:
        with np.load(folder / "prosody.npz") as arrays:
            self.mean, self.scale = arrays["mean"], arrays["scale"]
        for array in (self.mean, self.scale):
            require_finite(array, [len(self.mean)])
        self.dim = len(self.mean)

    def fingerprint(self) -> dict:
        packages = ("afx-audio", "swift-f0", "onnxruntime")
        return {"encoder": "prosody", **{package: importlib.metadata.version(package) for package in packages}}

    def frame(self, values: np.ndarray) -> np.ndarray:
        """Statistics [P] of a clip as one standardised frame [1, P]; at the mean where there is no statistic."""
        differs = self.scale > 1e-9  # where no clip differs from another, there is nothing to tell
        z = np.where(differs & np.isfinite(values), values - self.mean, 0) / np.where(differs, self.scale, 1)
        return z.clip(-LIMIT, LIMIT)[None].astype(np.float32)


def statistics(samples: np.ndarray) -> np.ndarray:
    """Statistics [P] of sound [N] at RATE; NaN where a clip has no frame to take one from."""
    samples = np.pad(samples, (0, max(0, round(SHORTEST * RATE) - len(samples))))
    said = hear_pitch(samples, RATE)
    blocks = np.array_split(samples, -(-len(samples) // (BLOCK * RATE)))
    starts = np.cumsum([0, *map(len, blocks)])[:-1] / RATE
    rows = np.hstack([descriptors(block, said, start) for block, start in zip(blocks, starts, strict=True)])  # [23, T]
    always, voiced = rows[:ALWAYS], ~np.isnan(rows[PITCH])
    return np.concatenate(
        [
            *(_moments(row) for row in rows),
            _means(always, voiced),
            _means(always, ~voiced),
            _changes(rows[LOUDNESS]),
            _changes(rows[PITCH]),
            _speech(rows[LOUDNESS], voiced),
            intonation(said),
        ]
    )


def descriptors(samples: np.ndarray, said: "PitchResult", start: float = 0.0) -> np.ndarray:
    """The descriptors of eGeMAPS but jitter and shimmer, of sound [N] at RATE: [23, T], NaN where not defined.

    said: the pitch of the clip; `start` is the second of it at which the sound begins.
    """
    from afx_audio.extractors import egemaps  # takes a second; a finished step needs none of it

    def pitch(sound: np.ndarray, rate: int, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Pitch [n] in Hz of long frames, their magnitude spectra [n, F] and the frequencies [F]."""
        length = round(LONG * rate)
        n_fft = egemaps._next_pow2(length)
        windowed = egemaps._frames(sound, length, round(HOP * rate), n) * egemaps._gauss(length)
        heard = pitch_at(said, start + LONG / 2 + HOP * np.arange(n))
        return heard, np.abs(np.fft.rfft(windowed, n_fft)), np.fft.rfftfreq(n_fft, 1 / rate)

    def nothing(sound: np.ndarray, rate: int, pitch: np.ndarray) -> np.ndarray:
        return np.zeros((2, len(pitch)))

    # The package has no switch for these.
    with mock.patch.multiple(egemaps, _pitch=pitch, _jitter_shimmer=nothing):
        rows = egemaps.extract_egemaps_lld(samples, RATE)["egemaps_lld"]
    return np.delete(rows, [JITTER, SHIMMER], axis=0)


def _read(clip: Clip) -> Noted | NoFrames:
    return read_media(clip, _statistics_of_file)


def _statistics_of_file(path: str) -> Noted:
    notes: list[str] = []
    return Noted(statistics(read_audio(path, rate=RATE, notes=notes)), "; ".join(notes))


def _moments(row: np.ndarray) -> np.ndarray:
    """Mean, deviation and percentiles of the values of a row that are defined."""
    row = row[np.isfinite(row)]
    if len(row) == 0:
        return np.full(2 + len(PERCENTILES), np.nan)
    return np.array([row.mean(), row.std(), *np.percentile(row, PERCENTILES)])


def _means(rows: np.ndarray, frames: np.ndarray) -> np.ndarray:
    """Mean of each row over the frames where `frames` is true."""
    return rows[:, frames].mean(axis=1) if frames.any() else np.full(len(rows), np.nan)


def _changes(row: np.ndarray) -> np.ndarray:
    """Mean rise and mean fall from frame to frame, and the trend over the whole clip, per second."""
    change = np.diff(row) / HOP
    times, defined = np.arange(len(row)) * HOP, np.isfinite(row)
    trend = slope(times[defined], row[defined]) if defined.sum() > 2 else np.nan
    return np.array([mean(change[change > 0]), mean(change[change < 0]), trend])


def _speech(loudness: np.ndarray, voiced: np.ndarray) -> np.ndarray:
    """How much is voiced, how often and how long at a time; loudness peaks (syllables) and seconds of the clip."""
    from afx_audio.extractors import egemaps

    seconds = len(voiced) * HOP
    starts = np.flatnonzero(np.diff(voiced.astype(int), prepend=0) == 1)
    n, n_peaks = len(starts), len(egemaps._peaks(loudness))
    return np.array(
        [voiced.mean(), n / seconds, voiced.sum() * HOP / n if n else np.nan, n_peaks / seconds, np.log(seconds)]
    )
