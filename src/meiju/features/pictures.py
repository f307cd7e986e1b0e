"""The main face of a clip, followed over its pictures, and the squares of them that visual encoders read."""

from collections.abc import Iterable, Iterator, Sequence
from functools import partial

import cv2
import numpy as np

from meiju.features.base import NoFrames
from meiju.features.faces import Face, find_faces, turn_upright
from meiju.features.media import Pieces, pictures

SEARCHED = 360  # pixels: shorter side of the pictures in which faces are searched
MARGIN = 1.3  # side of the crop, relative to the detected face, which reaches from brows to chin only
MISSING_FACE = "no face found"
NO_FACE = "no face found, so the whole picture is seen"
BELIEVED = 0.6  # score that the detector must reach in one picture at least: noise looks like a face now and then
REACH = 1.0  # distance that a face may move from one picture to the next, relative to its side
GROWTH = 2.0  # factor by which its side may change


def read_squares(path: str, *, fps: float, size: int, crop: str, notes: list[str]) -> Iterable[np.ndarray]:
    """The pictures of a clip as squares [size, size, 3] uint8 RGB, `fps` per second; those of a film are not kept.

    crop: 'auto', 'face' or 'frame'. Raises NoFrames where no face is found and crop is 'face', and MediaError.
    """
    if crop != "frame":
        whole = pictures(path, fps=fps, size=max(size, SEARCHED), notes=notes)
        track = follow_main_face([find_faces(picture) for picture in whole])
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


def _around(track: Sequence[Face], whole: Iterable[np.ndarray], size: int, **_) -> Iterator[np.ndarray]:
    """Squares of that size around the face in each picture, turned until its eyes are level."""
    for picture, face in zip(whole, track, strict=True):
        side = max(1, round(MARGIN * face.side))
        turn = turn_upright(face.centre, MARGIN * face.side, face.angle, side)
        # What lies outside the picture repeats its edge.
        square = cv2.warpAffine(picture, turn, (side, side), borderMode=cv2.BORDER_REPLICATE)
        yield cv2.resize(square, (size, size), interpolation=cv2.INTER_AREA)


def follow_main_face(detected: Sequence[Sequence[Face]]) -> list[Face]:
    """The main face of a clip in each picture, of those detected there; none at all if nobody has one.

    That is the face with the largest sum of sides, weighted by scores, over all pictures: somebody else may be larger
    in some of them. Where it was not detected, it lies between those before and after, with a score of 0.
    """
    tracks = [t for t in _link(detected) if max(face.score for face in t.values()) >= BELIEVED]
    if not tracks:
        return []
    main = max(tracks, key=lambda track: sum(face.side * face.score for face in track.values()))
    return _smooth(main, len(detected))


def _link(detected: Sequence[Sequence[Face]]) -> list[dict[int, Face]]:
    """Faces of one person each, by number of the picture: the pairs that have moved least are linked first."""
    tracks: list[dict[int, Face]] = []
    for k, faces in enumerate(detected):
        last = [track[max(track)] for track in tracks]
        pairs = [(_distance(a, b), i, j) for i, a in enumerate(last) for j, b in enumerate(faces)]
        linked, taken = set(), set()
        for distance, i, j in sorted(pairs):
            if distance <= REACH and i not in taken and j not in linked:
                tracks[i][k] = faces[j]
                taken.add(i)
                linked.add(j)
        tracks += [{k: face} for j, face in enumerate(faces) if j not in linked]
    return tracks


def _distance(a: Face, b: Face) -> float:
    """How far apart two faces are, relative to the larger one; infinite if their sizes differ too much."""
    small, large = sorted((a.side, b.side))
    return float(np.linalg.norm(a.centre - b.centre) / large) if large <= GROWTH * small else np.inf


def _smooth(track: dict[int, Face], n_pictures: int) -> list[Face]:
    """A face for each picture, in gaps between its neighbours in time.

    Side and angle are averaged with the neighbours (weights 1, 2, 1). The centre is not: a head that nods moves from
    one picture to the next.
    """
    numbers = sorted(track)
    values = np.array([[*track[k].centre, np.log(track[k].side), track[k].angle] for k in numbers])
    values[:, 3] = np.unwrap(values[:, 3])
    dense = np.column_stack([np.interp(range(n_pictures), numbers, column) for column in values.T])
    padded = np.pad(dense[:, 2:], ((1, 1), (0, 0)), mode="edge")
    dense[:, 2:] = (padded[:-2] + 2 * padded[1:-1] + padded[2:]) / 4
    scores = [track[k].score if k in track else 0.0 for k in range(n_pictures)]
    return [Face(row[:2], float(np.exp(row[2])), float(row[3]), s) for row, s in zip(dense, scores, strict=True)]
