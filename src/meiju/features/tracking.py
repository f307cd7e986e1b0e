"""Follows the main face of a clip over its pictures."""

from collections.abc import Sequence

import numpy as np

from meiju.features.faces import Face

BELIEVED = 0.6  # score that the detector must reach in one picture at least: noise looks like a face now and then
REACH = 1.0  # distance that a face may move from one picture to the next, relative to its side
GROWTH = 2.0  # factor by which its side may change


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
