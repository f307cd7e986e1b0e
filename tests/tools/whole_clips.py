"""All that a clip shows and says at once, where encoders take it piece by piece."""

import numpy as np

from meiju.features import media


def read_frames(path, *, fps: float, size: int, notes: list[str] | None = None) -> np.ndarray:
    """Squares [T, size, size, 3] of the pictures' centres."""
    return np.stack(list(media.pictures(path, fps=fps, size=size, square=True, notes=[] if notes is None else notes)))


def read_whole_frames(path, *, fps: float, shorter: int) -> list[np.ndarray]:
    return list(media.pictures(path, fps=fps, size=shorter, notes=[]))


def read_audio(path, *, notes: list[str] | None = None) -> np.ndarray:
    """Samples [N] at 16 kHz."""
    return np.concatenate(list(media.sound(path, rate=16_000, block=16_000, notes=[] if notes is None else notes)))
