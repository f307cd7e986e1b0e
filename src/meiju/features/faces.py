"""Finds faces and describes them.

Detector: BlazeFace (Bazarevsky et al. 2019, arXiv 1907.05047), first the model for faces that are near, and where it
finds none the finer and slower one. Description: two networks of MediaPipe's Face Landmarker. One finds 478 points of a
face's surface (Grishchenko et al. 2020, arXiv 2006.10962); the other gives, from these points, the 52 blendshapes of a
face (Grishchenko et al. 2023, arXiv 2309.05782): how strongly it smiles, raises a brow and so on. The files, under the
Apache licence 2.0, come out of two packages (see meiju.utils.packaged); OpenCV runs them.
"""

import functools
import zipfile
from dataclasses import dataclass

import cv2
import numpy as np

from meiju.utils import files
from meiju.utils.packaged import packaged_file

DETECTORS = {"face_detection_short_range.tflite": 128, "face_detection_back.tflite": 256}  # side of the input, pixels
SURE = 0.5  # score above which something is a face, as in MediaPipe
SAME = 0.3  # intersection over union above which two boxes are of the same face, as in MediaPipe
LANDMARKER = "face_landmarker.task"  # a zip that holds the two networks
FILES = (*DETECTORS, LANDMARKER)
MESH, BLENDSHAPES = "face_landmarks_detector.tflite", "face_blendshapes.tflite"
MESH_SIDE = 256  # pixels: the input of the mesh
MESH_MARGIN = 1.5  # side of the square that the mesh sees, relative to the detected box, as in MediaPipe
MESH_LAYER = "p_re_lu_184"  # the last one of 4 x 4 places
N_FEATURES = 128 * 4 * 4
N_POINTS, N_BLENDSHAPES = 478, 52
# The points that the second network reads: kLandmarksSubsetIdxs of MediaPipe's face_blendshapes_graph.cc.
# fmt: off
BLENDSHAPE_POINTS = [
    0, 1, 4, 5, 6, 7, 8, 10, 13, 14, 17, 21, 33, 37, 39, 40, 46, 52, 53, 54, 55, 58, 61, 63, 65, 66, 67, 70, 78, 80, 81,
    82, 84, 87, 88, 91, 93, 95, 103, 105, 107, 109, 127, 132, 133, 136, 144, 145, 146, 148, 149, 150, 152, 153, 154,
    155, 157, 158, 159, 160, 161, 162, 163, 168, 172, 173, 176, 178, 181, 185, 191, 195, 197, 234, 246, 249, 251, 263,
    267, 269, 270, 276, 282, 283, 284, 285, 288, 291, 293, 295, 296, 297, 300, 308, 310, 311, 312, 314, 317, 318, 321,
    323, 324, 332, 334, 336, 338, 356, 361, 362, 365, 373, 374, 375, 377, 378, 379, 380, 381, 382, 384, 385, 386, 387,
    388, 389, 390, 397, 398, 400, 402, 405, 409, 415, 454, 466, *range(468, 478),
]
# fmt: on


@dataclass(frozen=True)
class Face:
    """A face in a picture: a square of that centre [2] (x, y) and side in pixels, turned by `angle` with the eyes.

    angle: of the line through the eyes, in radians, positive where the eye on the right of the picture is the lower.
    score: how sure the detector is, in 0 to 1.
    """

    centre: np.ndarray
    side: float
    angle: float
    score: float


def find_faces(picture: np.ndarray) -> list[Face]:
    """The faces in an RGB picture [H, W, 3] uint8, the surest first."""
    side = max(picture.shape[:2])
    bottom, right = (side - length for length in picture.shape[:2])
    square = cv2.copyMakeBorder(picture, 0, bottom, 0, right, cv2.BORDER_CONSTANT)
    for name in DETECTORS:
        faces = _detect(name, square)
        if faces:
            return faces
    return []


def describe(picture: np.ndarray, face: Face) -> tuple[np.ndarray, np.ndarray]:
    """A face of an RGB picture, turned upright, as the networks see it.

    A hidden layer of the mesh's network, [N_FEATURES] float32, and the blendshapes, [N_BLENDSHAPES] float32 in 0 to 1,
    in the order of kBlendshapeNames in MediaPipe's face_blendshapes_graph.cc.
    """
    turn = turn_upright(face.centre, MESH_MARGIN * face.side, face.angle, MESH_SIDE)
    square = cv2.warpAffine(picture, turn, (MESH_SIDE, MESH_SIDE), borderMode=cv2.BORDER_REPLICATE)
    mesh, blendshapes = _network(MESH), _network(BLENDSHAPES)
    mesh.setInput(cv2.dnn.blobFromImage(square, 1 / 255))
    (layer,) = [name for name in mesh.getLayerNames() if f"/{MESH_LAYER}/" in name]
    hidden, points = mesh.forward([layer, "Identity"])
    blendshapes.setInput(points.reshape(N_POINTS, 3)[None, BLENDSHAPE_POINTS, :2])
    return hidden.ravel(), blendshapes.forward().ravel()


def turn_upright(centre: np.ndarray, side: float, angle: float, size: int) -> np.ndarray:
    """The affine map [2, 3] from a picture onto `size` x `size` pixels.

    It takes the square of that centre (x, y) and side, turned clockwise by `angle` radians, upright.
    """
    scale = size / side
    cos, sin = scale * np.cos(angle), scale * np.sin(angle)
    turn = np.array([[cos, sin], [-sin, cos]])
    return np.column_stack([turn, size / 2 - turn @ centre])


def require_models() -> None:
    """Raise ConfigError unless all models are there."""
    for name in FILES:
        packaged_file(name)


def fingerprint() -> dict:
    """What decides which faces are found."""
    return {"opencv": cv2.__version__, **{name: files.file_digest(packaged_file(name)) for name in FILES}}


def _detect(name: str, square: np.ndarray) -> list[Face]:
    """Faces in a square picture by one BlazeFace model, the surest first. Its outputs are offsets from anchors."""
    network, size = _network(name), DETECTORS[name]
    small = cv2.resize(square, (size, size), interpolation=cv2.INTER_AREA)
    network.setInput(cv2.dnn.blobFromImage(small, 1 / 127.5, mean=(127.5, 127.5, 127.5)))
    raw = {output.shape[-1]: output[0] for output in network.forward(["classificators", "regressors"])}
    scores = 1 / (1 + np.exp(-raw[1][:, 0].clip(-80, 80)))
    sure = scores > SURE
    scores = scores[sure]
    pairs = raw[16][sure].reshape(-1, 8, 2) / size  # centre, width and height, and six points
    pairs[:, [0, *range(2, 8)]] += _anchors()[sure][:, None]
    return [_face(pairs[same] * len(square), scores[same]) for same in _same(pairs, scores)]


@functools.cache
def _anchors() -> np.ndarray:
    """Centres [896, 2] (x, y) in 0 to 1 of the cells of two grids, row by row, each as often as a cell has anchors."""
    lines = [(np.arange(n) + 0.5) / n for n in (16, 8)]
    fine, coarse = (np.stack(np.meshgrid(line, line), axis=-1).reshape(-1, 2) for line in lines)
    return np.concatenate([fine.repeat(2, axis=0), coarse.repeat(6, axis=0)])


def _same(pairs: np.ndarray, scores: np.ndarray) -> list[np.ndarray]:
    """Which boxes are of the same face, the surest first: those that overlap with the surest that is left."""
    low, high = pairs[:, 0] - pairs[:, 1] / 2, pairs[:, 0] + pairs[:, 1] / 2
    left, groups = np.argsort(-scores, kind="stable"), []
    while len(left):
        shared = np.clip(np.minimum(high[left], high[left[0]]) - np.maximum(low[left], low[left[0]]), 0, None).prod(1)
        union = pairs[left, 1].prod(1) + pairs[left[0], 1].prod() - shared
        same = shared > SAME * union
        same[0] = True
        groups.append(left[same])
        left = left[~same]
    return groups


def _face(pairs: np.ndarray, scores: np.ndarray) -> Face:
    """The mean of boxes of one face, by their scores; the first two points are the eyes."""
    centre, lengths, eye, other_eye = np.average(pairs, axis=0, weights=scores)[:4]
    across = other_eye - eye
    return Face(centre, float(lengths.max()), float(np.arctan2(across[1], across[0])), float(scores.max()))


@functools.cache
def _network(name: str) -> cv2.dnn.Net:
    cv2.setNumThreads(1)  # clips are read in parallel, one per process
    path = packaged_file(name if name in DETECTORS else LANDMARKER)
    with files.reading(path):
        data = (path if name in DETECTORS else zipfile.Path(path, name)).read_bytes()
        return cv2.dnn.readNetFromTFLite(np.frombuffer(data, np.uint8))
