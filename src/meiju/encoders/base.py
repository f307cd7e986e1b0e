"""What every encoder is: a way from clips to frames [frames, dim].

An encoder may first be fitted on clips without their labels (`fit`). What it learnt is kept as arrays and JSON
(`save`, `load`), never as a pickle, so a run's encoders can be passed on.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from meiju.encoders.media import MediaError


@dataclass(frozen=True)
class Clip:
    """What an encoder may look at: never a label."""

    name: str
    sentence: str
    path: str  # of the media file; empty where there is none


class NoFrames(Exception):
    """A clip gives an encoder nothing to look at; the message says why."""


class Noted(NamedTuple):
    """Frames [frames, dim] of a clip about which there is something to say, such as that no face was found."""

    frames: np.ndarray
    note: str


Encoded = list[np.ndarray | Noted | NoFrames]


class Encoder(ABC):
    """One stream's way from clips to frames.

    Clips are encoded in chunks. `reader` is what worker processes do with a chunk, `finish` what the main process does
    with what they hand over; a light encoder does everything in the first, one with a large network the least.
    """

    source: str
    """What of a clip is read: 'sentence', 'media' or 'files' (features that lie ready)."""
    in_workers: bool = False
    """Whether worker processes should share the clips; False where a single process is as fast."""
    light: bool = True
    """Whether each worker process encodes on its own; False where a large network is best run by one process."""
    chunk: int = 32
    """Clips that are encoded together."""
    dim: int = 0
    """Width of a frame; known once the encoder is fitted or loaded."""

    @property
    def learns(self) -> bool:
        """Whether frames depend on the clips that `fit` was given."""
        return type(self).fit is not Encoder.fit

    def fit(self, clips: Sequence[Clip], *, seed: int) -> None:  # noqa: B027
        """Learn from clips of the training and unlabelled parts, without labels; by default nothing."""

    @abstractmethod
    def encode(self, clips: Sequence[Clip]) -> Encoded:
        """For each clip its frames, float32 or float16, or NoFrames with the reason."""

    def reader(self) -> Callable[[Sequence[Clip]], Any]:
        """What a worker process does with a chunk of clips; by default all of the encoding."""
        return self.encode

    def finish(self, read: Any) -> Encoded:
        """Frames from what the reader gave; by default these are the frames."""
        return read

    def close(self) -> None:  # noqa: B027
        """Free what encoding took much memory for; by default nothing."""

    def save(self, folder: Path) -> None:  # noqa: B027
        """Write what was learnt into `folder`; by default nothing."""

    def load(self, folder: Path) -> None:  # noqa: B027
        """Read what `save` wrote."""

    @abstractmethod
    def fingerprint(self) -> dict:
        """Everything that decides the frames besides the clips: name, settings, versions, hashes of files read."""


def require_finite(array: np.ndarray, shape: list[int]) -> None:
    """Raise ValueError unless an array that was read back holds finite numbers and has the shape."""
    if array.dtype.kind != "f" or list(array.shape) != shape or not np.isfinite(array).all():
        raise ValueError(f"{array.dtype} {list(array.shape)} where finite numbers {shape} are wanted")


def read_media(clip: Clip, read: Callable[[str], Any]) -> Any | NoFrames:
    """`read(path)` of a clip's media file, or NoFrames where there is none or it cannot be decoded."""
    if not clip.path:
        return NoFrames("no media file")
    try:
        return read(clip.path)
    except MediaError as error:
        return NoFrames(str(error))
    except FileNotFoundError:
        return NoFrames(f"{clip.path} is gone")
