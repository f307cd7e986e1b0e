"""Finds faces and crops pictures to them, as the challenge's baseline does.

The detector is OpenCV's cascade of Haar features (Viola and Jones 2001); its model is part of the package.
"""

import functools

import cv2
import numpy as np

MODEL = "haarcascade_frontalface_alt2.xml"
SMALLEST = 0.1  # side of the smallest face looked for, as a share of the picture's shorter side
MARGIN = 1.3  # side of the crop, relative to the detected face, which reaches from brows to chin only

Box = tuple[int, int, int]  # top, left, side


def crop_to_faces(pictures: list[np.ndarray], size: int) -> tuple[np.ndarray, int]:
    """Squares [T, size, size, 3] uint8 around the largest face of each RGB picture [H, W, 3], and how many had one.

    A picture without a face is cropped like the nearest one in time that has one; without any face, to its centre.
    """
    boxes = [find_face(picture) for picture in pictures]
    with_face = np.flatnonzero([box is not None for box in boxes])
    squares = []
    for k, picture in enumerate(pictures):
        box = boxes[with_face[np.abs(with_face - k).argmin()]] if len(with_face) else _centre(picture)
        squares.append(_cut(picture, box, size))
    return np.stack(squares), len(with_face)


def find_face(picture: np.ndarray) -> Box | None:
    """The square around the largest face of an RGB picture [H, W, 3] uint8, with a margin, or None."""
    grey = cv2.equalizeHist(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY))
    smallest = max(20, round(SMALLEST * min(grey.shape)))
    faces = _cascade().detectMultiScale(grey, scaleFactor=1.1, minNeighbors=4, minSize=(smallest, smallest))
    if len(faces) == 0:
        return None
    left, top, width, height = max(faces.tolist(), key=lambda face: (face[2] * face[3], face))
    side = min(round(MARGIN * max(width, height)), *grey.shape)
    return _within(top + (height - side) // 2, left + (width - side) // 2, side, grey.shape)


@functools.cache
def _cascade() -> cv2.CascadeClassifier:
    cv2.setNumThreads(1)  # clips are read in parallel, one per process
    return cv2.CascadeClassifier(cv2.data.haarcascades + MODEL)


def _centre(picture: np.ndarray) -> Box:
    height, width = picture.shape[:2]
    side = min(height, width)
    return (height - side) // 2, (width - side) // 2, side


def _within(top: int, left: int, side: int, shape: tuple[int, ...]) -> Box:
    """The square moved into the picture."""
    return max(0, min(top, shape[0] - side)), max(0, min(left, shape[1] - side)), side


def _cut(picture: np.ndarray, box: Box, size: int) -> np.ndarray:
    top, left, side = box
    return cv2.resize(picture[top : top + side, left : left + side], (size, size), interpolation=cv2.INTER_AREA)
