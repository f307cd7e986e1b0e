import shutil
from pathlib import Path

import numpy as np
import pytest

from meiju import features
from meiju.config import ConfigError
from meiju.encoders import Clip, NoFrames
from meiju.encoders.audio import LogMel
from meiju.media import write_clip

DIM = 3
NAMES = [f"片段{k:03d}" for k in range(70)]  # three chunks
CLIPS = [Clip(name, "", "") for name in NAMES]
STORE = ["frames.npy", "index.csv", "missing.csv", "meta.json"]


def frames_of(k: int) -> np.ndarray:
    """Frames of clip k: one to five of them, with fractions that float16 must round."""
    return np.random.default_rng(k).normal(size=(1 + k % 5, DIM)).astype(np.float32)


BAD = {
    NAMES[2]: (NoFrames("没有\u2028“声音”,\nnone"), "没有\u2028“声音”,\nnone"),
    NAMES[5]: (np.full((2, DIM), np.nan, np.float32), "has 6 values that are not finite"),
    NAMES[6]: (np.array([[np.inf, 0, 0]], np.float32), "has 1 values that are not finite"),
    NAMES[7]: (np.zeros((2, DIM + 1), np.float32), "has shape [2, 4] where [frames, 3] is wanted"),
    NAMES[8]: (np.zeros(DIM, np.float32), "has shape [3] where [frames, 3] is wanted"),
    NAMES[40]: (np.zeros((0, DIM), np.float32), "is empty: it has no frames"),
}


class Fake:
    """Known frames for every clip; breaks off once `patience` clips are encoded."""

    source = "files"
    in_workers = False

    def __init__(self, patience: int = 10**9, bad=BAD):
        self.dim, self.patience, self.bad = 0, patience, bad
        self.fitted, self.encoded = 0, []

    def fit(self, clips, *, seed):
        self.fitted += 1

    def save(self, folder):
        (folder / "width").write_text(str(DIM))

    def load(self, folder):
        self.dim = int((folder / "width").read_text())

    def fingerprint(self):
        return {}

    def encode(self, clips):
        return [self._encode(clip) for clip in clips]

    def _encode(self, clip):
        if len(self.encoded) == self.patience:
            raise KeyboardInterrupt
        self.encoded.append(clip.name)
        return self.bad[clip.name][0] if clip.name in self.bad else frames_of(NAMES.index(clip.name))


class FittedWidth(Fake):
    """Its width is known once it is fitted."""

    def fit(self, clips, *, seed):
        super().fit(clips, seed=seed)
        self.dim = DIM

    def save(self, folder):
        (folder / "width").write_text(str(self.dim))


def extract(encoder, folder: Path, clips=CLIPS, *, n_jobs: int = 1) -> features.Store:
    return features.extract(
        FittedWidthOf(encoder) if False else encoder,
        clips,
        clips[:3],
        folder,
        meta={"encoder": "fake"},
        seed=0,
        n_jobs=n_jobs,
        label="fake",
    )
