"""Visual encoders: from a clip's pictures to frames."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import sklearn
from sklearn.decomposition import PCA

from meiju.config import ConfigError
from meiju.encoders.base import Clip, Encoded, NoFrames
from meiju.media import MediaError, read_frames

FITTED_CLIPS = 300  # clips that the components are learnt from; more change them little and cost memory


class PixelsPca:
    """Grey pixels of each frame, reduced by principal components (eigenfaces, Turk and Pentland 1991)."""

    source = "media"
    in_workers = True

    def __init__(self, *, fps: float, size: int, dim: int):
        self.fps, self.size, self.wanted_dim = fps, size, dim
        self.dim = 0
        self.mean = self.components = None

    def fit(self, clips: Sequence[Clip], *, seed: int) -> None:
        order = np.random.default_rng(seed).permutation(len(clips))
        seen = [self._pixels(clips[k]) for k in order[:FITTED_CLIPS]]
        pixels = [frames for frames in seen if isinstance(frames, np.ndarray)]
        if sum(map(len, pixels)) < 2:
            raise ConfigError("--streams: pixels-pca: none of the clips it learns from has pictures")
        pixels = np.concatenate(pixels)  # [frames, size * size]
        pca = PCA(min(self.wanted_dim, *pixels.shape), svd_solver="randomized", random_state=seed).fit(pixels)
        self.mean = pca.mean_.astype(np.float32)
        self.components = pca.components_.astype(np.float32)
        self.dim = len(self.components)

    def encode(self, clips: Sequence[Clip]) -> Encoded:
        seen = [self._pixels(clip) for clip in clips]
        return [(s - self.mean) @ self.components.T if isinstance(s, np.ndarray) else s for s in seen]

    def save(self, folder: Path) -> None:
        np.savez(folder / "pixels_pca.npz", mean=self.mean, components=self.components)

    def load(self, folder: Path) -> None:
        with np.load(folder / "pixels_pca.npz") as arrays:
            self.mean, self.components = arrays["mean"], arrays["components"]
        self.dim = len(self.components)

    def fingerprint(self) -> dict:
        settings = {"fps": self.fps, "size": self.size, "dim": self.wanted_dim}
        return {"encoder": "pixels-pca", **settings, "scikit-learn": sklearn.__version__}

    def _pixels(self, clip: Clip) -> np.ndarray | NoFrames:
        """Grey pixels [frames, size * size] in [0, 1]."""
        if not clip.path:
            return NoFrames("no media file")
        try:
            frames = read_frames(clip.path, fps=self.fps, size=self.size)
        except MediaError as error:
            return NoFrames(str(error))
        return frames.mean(axis=3, dtype=np.float32).reshape(len(frames), -1) / 255
