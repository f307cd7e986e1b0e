"""Embedded visual encoder: principal components of a clip's pictures."""

from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

from meiju.config import ConfigError
from meiju.encoders.base import Clip, Encoded, Encoder, NoFrames, Noted, require_finite
from meiju.encoders.pictures import Pictures, crop_settings, read_pictures, require_models


class PixelsPca(Encoder):
    """Grey pixels of each frame, reduced by principal components (eigenfaces, Turk and Pentland 1991)."""

    source = "media"
    track = "video"
    in_workers = True
    learns_from = 300  # more change them little and need memory

    def __init__(self, *, fps: float, size: int, dim: int, crop: str = "frame"):
        self.fps, self.size, self.wanted_dim, self.crop = fps, size, dim, crop
        self.mean = self.components = None
        require_models(crop)

    def fit(self, clips: Sequence[Clip], *, seed: int) -> None:
        from sklearn.decomposition import PCA  # takes a second, and a finished step needs none of it

        read = self.read_to_fit(self._read_one, clips)
        pixels = [_grey(pictures) for pictures in read if isinstance(pictures, Pictures)]
        if sum(map(len, pixels)) < 2:
            raise ConfigError("--streams: pixels-pca needs pictures, and the clips to fit it on have none")
        pixels = np.concatenate(pixels)  # [frames, size * size]
        with threadpool_limits(1):  # the last digits of a sum depend on the number of threads
            pca = PCA(min(self.wanted_dim, *pixels.shape), svd_solver="randomized", random_state=seed).fit(pixels)
        self.mean = pca.mean_.astype(np.float32)
        self.components = pca.components_.astype(np.float32)
        self.dim = len(self.components)

    def encode(self, clips: Sequence[Clip]) -> Encoded:
        return [self._project(read) if isinstance(read, Pictures) else read for read in self._read(clips)]

    def save(self, folder: Path) -> None:
        np.savez(folder / "pixels_pca.npz", mean=self.mean, components=self.components)

    def load(self, folder: Path) -> None:
        with (folder / "pixels_pca.npz").open("rb") as file, np.load(file) as arrays:
            self.mean, self.components = arrays["mean"], arrays["components"]
        require_finite(self.mean, [self.size**2])
        require_finite(self.components, [len(self.components), self.size**2])
        self.dim = len(self.components)

    def fingerprint(self) -> dict:
        settings = {"fps": self.fps, "size": self.size, "dim": self.wanted_dim, **crop_settings(self.crop)}
        return {"encoder": "pixels-pca", **settings, "scikit-learn": version("scikit-learn")}

    def _read_one(self, clip: Clip) -> Pictures | NoFrames:
        return self._read([clip])[0]

    def _read(self, clips: Sequence[Clip]) -> list[Pictures | NoFrames]:
        return read_pictures(clips, fps=self.fps, size=self.size, crop=self.crop)

    def _project(self, pictures: Pictures) -> Noted:
        return Noted((_grey(pictures) - self.mean) @ self.components.T, pictures.note)


def _grey(pictures: Pictures) -> np.ndarray:
    """Grey pixels [frames, size * size] in [0, 1]."""
    return np.stack([square.mean(axis=2, dtype=np.float32).ravel() for square in pictures.each]) / 255
