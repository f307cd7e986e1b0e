"""Embedded audio encoder: log-mel spectrogram of a clip's sound."""

from collections.abc import Iterable, Iterator, Sequence
from importlib.metadata import version

import numpy as np

from meiju.encoders.base import Clip, Encoded, Encoder, Noted, noted, read_media
from meiju.encoders.media import sound

RATE = 16000  # samples per second
BLOCK = 60  # seconds that are analysed at once
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
        blocks = sound(path, rate=RATE, block=BLOCK * RATE, notes=notes)
        mel = [
            spectrogram(
                samples,
                window_function(2 * self.hop, "hann"),
                frame_length=2 * self.hop,
                hop_length=self.hop,
                fft_length=self.n_fft,
                power=2.0,
                mel_filters=filters,
                mel_floor=FLOOR,
                log_mel="log",
                center=False,
            ).T.astype(np.float32)  # [frames, mels]
            for samples in overlapping(blocks, self.hop, self.n_fft)
        ]
        return noted(np.concatenate(mel), *notes)


def overlapping(blocks: Iterable[np.ndarray], hop: int, shortest: int) -> Iterator[np.ndarray]:
    """Blocks of sound [N] that overlap so that windows of two hops have their middles at each hop of the whole.

    Sound is reflected at its ends; where there are fewer than `shortest` samples, silence is put behind them.
    """
    waiting, begun = np.empty(0, np.float32), False
    for block in blocks:
        waiting = np.concatenate([waiting, block])
        if not begun and len(waiting) > max(hop, shortest):
            waiting, begun = np.concatenate([waiting[hop:0:-1], waiting]), True
        n = len(waiting) // hop - 3  # windows that are whole, and something is left to be reflected at the end
        if begun and n > 0:
            yield waiting[: (n + 1) * hop]
            waiting = waiting[n * hop :]
    if not begun:
        waiting = np.pad(waiting, (0, max(0, max(shortest, hop + 1) - len(waiting))))
        waiting = np.concatenate([waiting[hop:0:-1], waiting])
    yield np.concatenate([waiting, waiting[-2 : -hop - 2 : -1]])
