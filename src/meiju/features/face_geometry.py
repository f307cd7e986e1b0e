"""Embedded visual encoder: the expression and the movement of a clip's main face."""

from collections.abc import Sequence
from functools import partial
from importlib.metadata import version
from pathlib import Path

import cv2
import numpy as np
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from meiju.config import ConfigError
from meiju.features import faces
from meiju.features.base import Clip, Encoded, Encoder, NoFrames, Noted, read_each, read_media
from meiju.features.media import pictures
from meiju.features.pictures import MISSING_FACE, NO_FACE, SEARCHED, follow_main_face
from meiju.utils.compute import map_in_workers

SCENE = 24  # pixels: side of a whole picture
EVERY = 2  # of so many pictures with the face, one is described: describing all takes longest and adds nothing
# Parts of a frame: how many principal components are kept of each, and their mean length. Movement weighs less: where
# it says nothing, a length of 1 costs .02 of the weighted F1 of emotion, and a gesture shows all the same.
DIMS = {"face": 64, "blendshapes": 32, "movement": 4, "scene": 16}
LENGTHS = {"face": 1.0, "blendshapes": 1.0, "movement": 0.3, "scene": 1.0}

Parts = dict[str, np.ndarray]  # by part, its values [T, n] float32 in T pictures


class FaceGeometry(Encoder):
    """What the network of a face mesh sees in the main face, its blendshapes and its movement, in every second picture.

    Each part is reduced to its principal components and scaled to a mean length. A clip without a face has the
    components of its whole pictures in place of these parts, which are 0 for all others.
    """

    track = "video"
    learns_from = 300  # more change them little and need memory

    def __init__(self, *, fps: float, crop: str = "auto"):
        if crop == "frame":
            raise ConfigError("--visual.crop: face-geometry looks at faces; take auto or face")
        faces.require_models()
        self.fps, self.crop = fps, crop
        self.centres: Parts = {}  # [n] each
        self.bases: Parts = {}  # [components, n] each; none of a part that no clip to learn from showed

    def fit(self, clips: Sequence[Clip], *, seed: int) -> None:
        read = map_in_workers(partial(read_media, read=self._parts), clips, n_jobs=self.n_jobs)
        bar = tqdm(read, "face-geometry learns", total=len(clips), unit="clip", disable=None, leave=False)
        parts = [of_clip.frames for of_clip in bar if isinstance(of_clip, Noted)]
        if not parts:
            raise ConfigError("--streams: face-geometry needs pictures, and the clips to fit it on have none")
        for name, n in DIMS.items():
            self.centres[name], basis = _principal(np.concatenate([of_clip[name] for of_clip in parts]), n, seed)
            self.bases[name] = LENGTHS[name] * basis
        self.dim = sum(map(len, self.bases.values()))

    def encode(self, clips: Sequence[Clip]) -> Encoded:
        return [self._frames(*r) if isinstance(r, Noted) else r for r in read_each(self._parts, clips)]

    def save(self, folder: Path) -> None:
        arrays = {f"centre_{name}": centre for name, centre in self.centres.items()}
        arrays |= {f"basis_{name}": basis for name, basis in self.bases.items()}
        np.savez(folder / "face_geometry.npz", **arrays)

    def load(self, folder: Path) -> None:
        with np.load(folder / "face_geometry.npz") as arrays:
            for name in DIMS:
                self.centres[name], self.bases[name] = arrays[f"centre_{name}"], arrays[f"basis_{name}"]
        self.dim = sum(map(len, self.bases.values()))

    def fingerprint(self) -> dict:
        settings = {"fps": self.fps, "crop": self.crop, "dims": DIMS, "lengths": LENGTHS, **faces.fingerprint()}
        return {"encoder": "face-geometry", **settings, "scikit-learn": version("scikit-learn")}

    def _parts(self, path: str, notes: list[str]) -> Parts:
        """What a clip's pictures show: the main face and its movement; scenes."""
        found, small = [], []
        read = pictures(path, fps=self.fps, size=SEARCHED, notes=notes)
        for picture in read:
            found.append(faces.find_faces(picture))
            small.append(cv2.resize(picture, (SCENE, SCENE), interpolation=cv2.INTER_AREA))
        track = follow_main_face(found)
        seen = [k for k, face in enumerate(track) if face.score > 0]
        chosen = {*seen[::EVERY]}
        described = [faces.describe(picture, track[k]) for k, picture in enumerate(read) if k in chosen]
        looks, strengths = zip(*described, strict=True) if described else ([], [])
        return {
            "face": np.array(looks, np.float32).reshape(-1, faces.N_FEATURES),
            "blendshapes": np.array(strengths, np.float32).reshape(-1, faces.N_BLENDSHAPES),
            "movement": _movement([track[k] for k in seen])[::EVERY] if track else np.zeros((0, 4), np.float32),
            "scene": np.array(small).mean(axis=-1, dtype=np.float32).reshape(len(small), -1) / 255,
        }

    def _frames(self, parts: Parts, notes: str) -> Noted | NoFrames:
        with_face = len(parts["face"]) > 0 and len(self.bases["face"]) > 0
        if not with_face and self.crop == "face":
            return NoFrames(MISSING_FACE)
        shown = ("face", "blendshapes", "movement") if with_face else ("scene",)
        n = len(parts[shown[0]])
        columns = {name: np.zeros((n, len(basis)), np.float32) for name, basis in self.bases.items()}
        columns |= {name: (parts[name] - self.centres[name]) @ self.bases[name].T for name in shown}
        note = notes if with_face else "; ".join(filter(None, [notes, NO_FACE]))
        return Noted(np.concatenate(list(columns.values()), axis=1), note)


def _movement(track: Sequence[faces.Face]) -> np.ndarray:
    """How far right, down and nearer than at first a face is, in its own sides, and its angle in radians: [T, 4]."""
    centre, side = np.array([face.centre for face in track]), np.array([[face.side] for face in track])
    place = np.hstack([centre / side.mean(), np.log(side)])
    angle = np.array([[face.angle] for face in track])
    return np.hstack([place - place[0], angle]).astype(np.float32)


def _principal(values: np.ndarray, n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Centre [D] of values [N, D] and the basis [n, D] of their principal components, scaled to a mean length of 1."""
    if len(values) < 2:
        return np.zeros(values.shape[1], np.float32), np.zeros((0, values.shape[1]), np.float32)
    # It takes a second, and a finished step needs none of it; but it is loaded before the limit, to be held by it.
    from sklearn.decomposition import PCA

    with threadpool_limits(1):  # the last digits of a sum depend on the number of threads
        pca = PCA(min(n, *values.shape), svd_solver="randomized", random_state=seed).fit(values)
    length = np.sqrt(pca.explained_variance_.sum()) or 1.0  # pictures that are all alike have none
    return pca.mean_.astype(np.float32), (pca.components_ / length).astype(np.float32)
