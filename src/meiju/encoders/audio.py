"""Embedded audio encoder: log-mel spectrogram of a clip's sound."""

from collections.abc import Sequence
from importlib.metadata import version

import numpy as np

from meiju.encoders.base import Clip, Encoded, Encoder, Noted, noted, read_media
from meiju.encoders.media import read_audio

RATE = 16000  # samples per second
FLOOR = 1e-5  # quieter than this is silence


class LogMel(Encoder):
    """Log-mel spectrogram: windows twice as long as the hop, natural logarithm of the mel energies."""

    source = "media"
    track = "audio"
    in_workers = True

    def __init__(self, *, mels: int, fps: float):
        self.dim, self.fps = mels, fps
        self.hop = round(RATE / fps)
        self.n_fft = 1 << (2 * self.hop - 1).bit_length()

    def encode(self, clips: Sequence[Clip]) -> Encoded:
        from transformers.audio_utils import mel_filter_bank  # takes a second, and a finished step needs none of it

        filters = mel_filter_bank(
            num_frequency_bins=self.n_fft // 2 + 1,
            num_mel_filters=self.dim,
            min_frequency=20.0,
            max_frequency=RATE / 2,
            sampling_rate=RATE,
            norm="slaney",
            mel_scale="slaney",
        )
        return [read_media(clip, lambda path: self._frames(path, filters)) for clip in clips]

    def fingerprint(self) -> dict:
        return {"encoder": "logmel", "mels": self.dim, "fps": self.fps, "transformers": version("transformers")}

    def _frames(self, path: str, filters: np.ndarray) -> np.ndarray | Noted:
        from transformers.audio_utils import spectrogram, window_function

        notes: list[str] = []
        samples = read_audio(path, rate=RATE, notes=notes)
        samples = np.pad(
            samples, (0, max(0, self.n_fft - len(samples)))
        )  # shorter than one window: padded with silence
        mel = spectrogram(
            samples,
            window_function(2 * self.hop, "hann"),
            frame_length=2 * self.hop,
            hop_length=self.hop,
            fft_length=self.n_fft,
            power=2.0,
            mel_filters=filters,
            mel_floor=FLOOR,
            log_mel="log",
        )  # [mels, frames]
        return noted(mel.T.astype(np.float32), *notes)
