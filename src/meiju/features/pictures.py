"""The input of visual encoders: square crops of a clip's pictures, of their centre or of its main face."""

from collections.abc import Iterable, Iterator, Sequence
from functools import partial

import cv2
import numpy as np

from meiju.features import faces
from meiju.features.base import NoFrames
from meiju.features.media import Pieces, pictures
from meiju.features.tracking import follow_main_face

SEARCHED = 360  # pixels: shorter side of the pictures in which faces are searched
MARGIN = 1.3  # side of the crop, relative to the detected face, which reaches from brows to chin only
MISSING_FACE = "no face found"
NO_FACE = "no face found, so the whole picture is seen"


def read_squares(path: str, *, fps: float, size: int, crop: str, notes: list[str]) -> Iterable[np.ndarray]:
    """The pictures of a clip as squares [size, size, 3] uint8 RGB, `fps` per second; those of a film are not kept.

    crop: 'auto', 'face' or 'frame'. Raises NoFrames where no face is found and crop is 'face', and MediaError.
    """
    if crop != "frame":
        whole = pictures(path, fps=fps, size=max(size, SEARCHED), notes=notes)
        track = follow_main_face([faces.find_faces(picture) for picture in whole])
        if track:
            of_face = Pieces(partial(_around, track, whole, size), 0, [])
            return list(of_face) if whole.is_short else of_face
        if crop == "face":
            raise NoFrames(MISSING_FACE)
        notes[:] = [NO_FACE]  # what is lost of the pictures is noted again
    middle = pictures(path, fps=fps, size=size, square=True, notes=notes)
    for _ in middle:  # to know what is lost
        pass
    return middle


def _around(track: Sequence[faces.Face], whole: Iterable[np.ndarray], size: int, **_) -> Iterator[np.ndarray]:
    """Squares of that size around the face in each picture, turned until its eyes are level."""
    for picture, face in zip(whole, track, strict=True):
        side = max(1, round(MARGIN * face.side))
        turn = faces.turn_upright(face.centre, MARGIN * face.side, face.angle, side)
        # What lies outside the picture repeats its edge.
        square = cv2.warpAffine(picture, turn, (side, side), borderMode=cv2.BORDER_REPLICATE)
        yield cv2.resize(square, (size, size), interpolation=cv2.INTER_AREA)
