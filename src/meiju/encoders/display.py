"""How a player shows a decoded picture: in which proportions, turned by how much.

A file may store pictures squeezed or lying on their side and say beside them how to show them: by the aspect ratio of
a pixel, and by a display matrix, as phones write it.
"""

import av
import numpy as np

ODD_ASPECT = 8  # a pixel that is longer than this, in either direction, is taken for a square one, as a wrong entry


def shown_size(width: int, height: int, aspect: float) -> tuple[float, float]:
    """Width and height of a stored picture where its pixels, `aspect` times as wide as high, become square.

    The short sides of its pixels are made longer, so no detail is lost.
    """
    if not 1 / ODD_ASPECT <= aspect <= ODD_ASPECT:
        aspect = 1.0
    return width * max(1.0, aspect), height * max(1.0, 1 / aspect)


def display_matrix(frame: av.VideoFrame) -> np.ndarray | None:
    """The linear part [2, 2] of a frame's display matrix, or None if it has none."""
    side_data = frame.side_data.get("DISPLAYMATRIX")
    if side_data is None:
        return None
    return np.frombuffer(bytes(side_data), np.int32)[:9].reshape(3, 3)[:2, :2]


def turned(image: np.ndarray, matrix: np.ndarray | None) -> np.ndarray:
    """An image [height, width, 3] turned and mirrored as a display matrix says, to the nearest right angle.

    A matrix [[a, b], [c, d]] shows the pixel at (x, y) at (a x + c y, b x + d y); x points right and y down.
    """
    if matrix is None:
        return image
    (a, b), (c, d) = matrix.tolist()
    if abs(b) + abs(c) > abs(a) + abs(d):
        image, (a, d) = image.swapaxes(0, 1), (c, b)
    return image[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1]


def centre_square(image: np.ndarray, size: int) -> np.ndarray:
    """The middle [size, size, 3] of an image that is no smaller."""
    top, left = (image.shape[0] - size) // 2, (image.shape[1] - size) // 2
    return image[top : top + size, left : left + size]
