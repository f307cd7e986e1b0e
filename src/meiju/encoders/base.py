"""What every encoder is: a way from clips to frames [frames, dim].

An encoder may first be fitted on clips without their labels (`fit`). What it learnt is kept as arrays and JSON
(`save`, `load`), never as a pickle, so a run's encoders can be passed on.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np


@dataclass(frozen=True)
class Clip:
    """What an encoder may look at: never a label."""

    name: str
    sentence: str
    path: str  # of the media file; empty where there is none


class NoFrames(Exception):
    """A clip gives an encoder nothing to look at; the message says why."""


Encoded = list[np.ndarray | NoFrames]


class Encoder(Protocol):
    """One stream's way from clips to frames."""

    source: str
    """What of a clip is read: 'sentence', 'media' or 'files' (features that lie ready)."""
    in_workers: bool
    """Whether worker processes should share the clips; False where a single process is as fast."""
    dim: int
    """Width of a frame; known once the encoder is fitted or loaded."""

    def fit(self, clips: Sequence[Clip], *, seed: int) -> None:
        """Learn from clips of the training and unlabelled parts, without labels."""

    def encode(self, clips: Sequence[Clip]) -> Encoded:
        """For each clip its frames [frames, dim], float32 or float16, or NoFrames with the reason."""

    def save(self, folder: Path) -> None:
        """Write what was learnt into `folder`."""

    def load(self, folder: Path) -> None:
        """Read what `save` wrote."""

    def fingerprint(self) -> dict:
        """Everything that decides the frames besides the clips: name, settings, versions, hashes of files read."""
