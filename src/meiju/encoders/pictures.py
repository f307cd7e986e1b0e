"""The input of visual encoders: square crops of a clip's pictures, of their centre or of the faces."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import cv2
import numpy as np

from meiju.encoders.base import Clip, NoFrames, read_media
from meiju.encoders.faces import crop_to_faces
from meiju.encoders.media import read_frames, read_whole_frames

SEARCHED = 360  # pixels: shorter side of the pictures in which faces are detected
NO_FACE = "no face found, so the whole picture is seen"


@dataclass(frozen=True)
class Pictures:
    """Squares [T, size, size, 3] uint8 RGB of a clip, and a note for the user."""

    squares: np.ndarray
    note: str = ""


def read_pictures(clips: Sequence[Clip], *, fps: float, size: int, crop: str) -> list[Pictures | NoFrames]:
    """The pictures of each clip, `fps` per second; crop: 'face' or 'frame'."""
    return [read_media(clip, partial(_read, fps=fps, size=size, crop=crop)) for clip in clips]


def crop_settings(crop: str) -> dict:
    """What a crop contributes to an encoder's fingerprint."""
    return {"crop": crop, "opencv": cv2.__version__} if crop == "face" else {}


def _read(path: str, *, fps: float, size: int, crop: str) -> Pictures:
    notes: list[str] = []
    if crop == "frame":
        squares = read_frames(path, fps=fps, size=size, notes=notes)
    else:
        whole = read_whole_frames(path, fps=fps, shorter=max(size, SEARCHED), notes=notes)
        squares, n_faces = crop_to_faces(whole, size)
        notes += [] if n_faces else [NO_FACE]
    return Pictures(squares, "; ".join(notes))
