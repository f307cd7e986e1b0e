"""Embedded visual encoder: what the main face of a clip looks like, and its shape.

Appearance: histograms of oriented gradients (Dalal and Triggs 2005) of the face, turned upright. Shape: the points of
the face mesh, aligned to their mean by generalised Procrustes analysis (Gower 1975). Both are reduced by principal
components.
"""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import sklearn
from sklearn.decomposition import PCA
from threadpoolctl import threadpool_limits

from meiju.config import ConfigError
from meiju.encoders import faces
from meiju.encoders.base import Clip, Encoded, Encoder, NoFrames, Noted, read_media, require_finite
from meiju.encoders.media import read_whole_frames
from meiju.encoders.pictures import NO_FACE, SEARCHED
from meiju.encoders.tracking import follow_main_face

FITTED_CLIPS = 400  # clips that the components are fitted on; more change them little and need memory
SQUARE = 64  # pixels: side of the upright face
MARGIN = 1.15  # side of the square, relative to the extent of the points
SCENE = 24  # pixels: side of a whole picture
DIMS = {"appearance": 64, "shape": 32, "scene": 16}  # components kept of each part of a frame

Parts = dict[str, np.ndarray]  # by part, its values [T, n] float32 in T pictures


class FaceGeometry(Encoder):
    """Appearance and shape of the main face, for each picture that shows it.

    A clip without a face has the components of its whole pictures in their place, which are 0 for all others.
    """

    source = "media"
    track = "video"
    in_workers = True

    def __init__(self, *, fps: float, crop: str = "auto"):
        if crop == "frame":
            raise ConfigError("--visual.crop: face-geometry looks at faces; take auto or face, or visual=pixels-pca")
        faces.require_models()
        self.fps, self.crop = fps, crop
        self.mean_shape = np.zeros((0, 2), np.float32)  # [points, 2]
        self.centres: Parts = {}  # [n] each
        self.bases: Parts = {}  # [components, n] each

    def fit(self, clips: Sequence[Clip], *, seed: int) -> None:
        order = np.random.default_rng(seed).permutation(len(clips))[:FITTED_CLIPS]
        seen = [read for k in order if not isinstance(read := self._see(clips[k]), NoFrames)]
        if not seen:
            raise ConfigError("--streams: face-geometry needs pictures, and the clips to fit it on have none")
        parts = {name: np.concatenate([of_clip[name] for of_clip in seen]) for name in DIMS}
        with threadpool_limits(1):  # the last digits of a sum depend on the number of threads
            self.mean_shape = mean_shape(_as_points(parts["shape"]))
            parts["shape"] = align(parts["shape"], self.mean_shape)
            for name, values in parts.items():
                self.centres[name], self.bases[name] = _principal(values, DIMS[name], seed)
        self.dim = sum(map(len, self.bases.values()))

    def encode(self, clips: Sequence[Clip]) -> Encoded:
        return [read if isinstance(read := self._see(clip), NoFrames) else self._frames(read) for clip in clips]

    def save(self, folder: Path) -> None:
        arrays = {f"{kind}_{name}": of[name] for kind, of in self._learnt() for name in DIMS}
        np.savez(folder / "face_geometry.npz", mean_shape=self.mean_shape, **arrays)

    def load(self, folder: Path) -> None:
        with np.load(folder / "face_geometry.npz") as arrays:
            self.mean_shape = arrays["mean_shape"]
            for kind, of in self._learnt():
                of.update({name: arrays[f"{kind}_{name}"] for name in DIMS})
        require_finite(self.mean_shape, [len(self.mean_shape), 2])
        for name, basis in self.bases.items():
            require_finite(self.centres[name], list(basis.shape[1:]))
            require_finite(basis, list(basis.shape))
        self.dim = sum(map(len, self.bases.values()))

    def fingerprint(self) -> dict:
        settings = {"fps": self.fps, "crop": self.crop, "dims": DIMS}
        return {
            "encoder": "face-geometry",
            **settings,
            **faces.fingerprint(),
            "scikit-learn": sklearn.__version__,
        }

    def _learnt(self) -> list[tuple[str, Parts]]:
        return [("centre", self.centres), ("basis", self.bases)]

    def _see(self, clip: Clip) -> Parts | NoFrames:
        return read_media(clip, lambda path: see(read_whole_frames(path, fps=self.fps, shorter=SEARCHED)))

    def _frames(self, parts: Parts) -> Noted | NoFrames:
        with_face = len(parts["appearance"]) > 0 and len(self.mean_shape) > 0
        if not with_face and self.crop == "face":
            return NoFrames("no face found")
        parts = parts | {"shape": align(parts["shape"], self.mean_shape)}
        n = len(parts["appearance" if with_face else "scene"])
        columns = [
            (parts[name] - self.centres[name]) @ basis.T
            if (name != "scene") == with_face
            else np.zeros((n, len(basis)), np.float32)
            for name, basis in self.bases.items()
        ]
        return Noted(np.concatenate(columns, axis=1), "" if with_face else NO_FACE)


def see(pictures: Sequence[np.ndarray]) -> Parts:
    """What RGB pictures [H, W, 3] uint8 of a clip show: appearance and shape of the main face where it is, and scenes.

    shape: points one after another, x and y of each, in pixels.
    """
    track = follow_main_face([faces.find_faces(picture) for picture in pictures])
    appearance, shape = [], []
    for k in np.flatnonzero(track.found) if track else ():
        points = faces.find_points(pictures[k], track.faces[k])
        if points is not None:
            appearance.append(_oriented_gradients(upright(pictures[k], points)))
            shape.append(points[:, :2].ravel())
    scenes = [cv2.resize(_grey(picture), (SCENE, SCENE), interpolation=cv2.INTER_AREA) for picture in pictures]
    return {
        "appearance": np.array(appearance, np.float32).reshape(len(appearance), HOG.getDescriptorSize()),
        "shape": np.array(shape, np.float32).reshape(len(shape), 2 * faces.N_POINTS),
        "scene": np.array(scenes, np.float32).reshape(len(pictures), -1) / 255,
    }


def upright(picture: np.ndarray, points: np.ndarray) -> np.ndarray:
    """The face of those points [P, 3] in an RGB picture, [SQUARE, SQUARE] uint8 grey: its eyes level, its grey even."""
    left, right = (points[list(eye), :2].mean(axis=0) for eye in (faces.LEFT_EYE, faces.RIGHT_EYE))
    angle = np.arctan2(*(right - left)[::-1])
    axes = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])  # of the face, as columns
    turned = points[:, :2] @ axes
    low, high = turned.min(axis=0), turned.max(axis=0)
    centre = axes @ (low + high) / 2
    turn = faces.turn_upright(centre, MARGIN * float((high - low).max()), angle, SQUARE)
    square = cv2.warpAffine(_grey(picture), turn, (SQUARE, SQUARE), borderMode=cv2.BORDER_REPLICATE)
    return cv2.equalizeHist(square)


def mean_shape(shapes: np.ndarray) -> np.ndarray:
    """Mean [P, 2] of shapes [N, P, 2] that are aligned to it, of length 1; empty if there are none."""
    if len(shapes) == 0:
        return np.zeros((0, 2), np.float32)
    mean = _unit(shapes[:1])[0]
    for _ in range(5):  # it has settled by then
        mean = _unit(_turned(_unit(shapes), mean).mean(axis=0, keepdims=True))[0]
    return mean.astype(np.float32)


def align(shapes: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """Shapes [N, 2 * P], moved, scaled and turned onto a mean [P, 2]; as they are if it is empty."""
    if len(shapes) == 0 or len(mean) == 0:
        return shapes
    return _turned(_unit(_as_points(shapes)), mean).reshape(len(shapes), -1)


def _as_points(shapes: np.ndarray) -> np.ndarray:
    return shapes.reshape(len(shapes), shapes.shape[1] // 2, 2)


def _unit(shapes: np.ndarray) -> np.ndarray:
    """Shapes [N, P, 2] with their centre at 0 and length 1."""
    centred = shapes - shapes.mean(axis=1, keepdims=True)
    return centred / np.linalg.norm(centred, axis=(1, 2), keepdims=True)


def _turned(shapes: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """Shapes [N, P, 2] turned such that they lie nearest to the mean [P, 2]."""
    as_complex, target = shapes[..., 0] + 1j * shapes[..., 1], mean[:, 0] + 1j * mean[:, 1]
    turn = (as_complex.conj() * target).sum(axis=1, keepdims=True)  # its direction is the best turn in the plane
    turned = as_complex * (turn / np.abs(turn))
    return np.stack([turned.real, turned.imag], axis=-1).astype(np.float32)


def _principal(values: np.ndarray, n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Centre [D] of values [N, D] and the basis [n, D] of their principal components, scaled to a mean length of 1."""
    if len(values) < 2:
        return np.zeros(values.shape[1], np.float32), np.zeros((0, values.shape[1]), np.float32)
    pca = PCA(min(n, *values.shape), svd_solver="randomized", random_state=seed).fit(values)
    length = np.sqrt(pca.explained_variance_.sum()) or 1.0
    return pca.mean_.astype(np.float32), (pca.components_ / length).astype(np.float32)


def _grey(picture: np.ndarray) -> np.ndarray:
    return cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)


# Cells of 8 pixels with 9 directions each, normalised in blocks of 2 x 2 cells.
HOG = cv2.HOGDescriptor((SQUARE, SQUARE), (16, 16), (8, 8), (8, 8), 9)


def _oriented_gradients(square: np.ndarray) -> np.ndarray:
    return HOG.compute(square).ravel()
