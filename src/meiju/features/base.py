"""The interface of all encoders: from clips to frames [frames, dim].

An encoder may first be fitted on clips without their labels (`fit`). What it learnt is stored as arrays and JSON
(`save`, `load`), never as a pickle, so that others can load a run's encoders safely.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from meiju.features.tracks import MediaError, kinds

LOOKED_AT = 20  # media files of a part that are opened; a corpus without sound or pictures has them in none
CONTENT = {"audio": "sound", "video": "pictures"}  # of a track


@dataclass(frozen=True)
class Clip:
    """What an encoder may read of a clip: never a label."""

    name: str
    sentence: str
    path: str  # of the media file, or of an excerpt of one (see `excerpt`); empty where there is none


class NoFrames(Exception):
    """An encoder gets no frames from a clip; the message says why."""


class Noted(NamedTuple):
    """Frames [frames, dim] of a clip with a note for the user, such as that no face was found."""

    frames: np.ndarray
    note: str


Encoded = list[np.ndarray | Noted | NoFrames]


def noted_if_cut(frames: np.ndarray, n_tokens: int, most: int) -> np.ndarray | Noted:
    """The frames of a sentence; with a note where it has as many tokens as a network reads, as it was cut then."""
    return Noted(frames, f"of the sentence, the first {most} tokens are read") if n_tokens == most else frames


class Encoder(ABC):
    """Turns the clips of one stream into frames.

    Clips are encoded in chunks. Worker processes call `reader` on a chunk, and the main process calls `finish` on the
    result. A light encoder does everything in `reader`; one with a large network runs it in `finish`.
    """

    source: str = "media"  # what of a clip is read; or 'sentence', or 'files' (features that were extracted before)
    track: str = ""  # of a clip's media, 'audio' or 'video', where workers share the clips; "" where one process does
    light: bool = True  # whether workers do all of the encoding; False if one process should run a large network
    chunk: int = 32  # clips that are encoded together
    learns_from: int | None = None  # how many clips `fit` is given at most; None is all there are to learn from
    n_jobs: int = 1  # worker processes that `fit` may read clips with
    dim: int = 0  # width of a frame; known after fitting or loading

    def missing_input(self, clips: Sequence[Clip]) -> str:
        """What none of these clips has, as far as is seen without decoding them; "" where some may have frames."""
        if self.source == "sentence":
            return "" if any(clip.sentence.strip() for clip in clips) else "has a sentence"
        paths = [clip.path for clip in clips if clip.path]
        found = set().union(*map(kinds, paths[:: max(1, len(paths) // LOOKED_AT)]))
        return f"has {CONTENT[self.track]}" if found and self.track not in found else ""

    def fit(self, clips: Sequence[Clip], *, seed: int) -> None:  # noqa: B027
        """Learn from clips of the training and unlabelled parts, without labels; by default nothing."""

    @abstractmethod
    def encode(self, clips: Sequence[Clip]) -> Encoded:
        """For each clip its frames, float32 or float16, or NoFrames with the reason."""

    def reader(self) -> Callable[[Sequence[Clip]], Any]:
        """What a worker process does with a chunk of clips; by default all of the encoding."""
        return self.encode

    def finish(self, read: Any) -> Encoded:
        """Frames from what the reader returned; by default the same."""
        return read

    def close(self) -> None:  # noqa: B027
        """Free the memory of a large network; by default nothing."""

    def save(self, folder: Path) -> None:  # noqa: B027
        """Write what was learnt into `folder`; by default nothing."""

    def load(self, folder: Path) -> None:  # noqa: B027
        """Read what `save` wrote."""

    @abstractmethod
    def fingerprint(self) -> dict:
        """Everything that decides the frames besides the clips: name, settings, versions, hashes of files read."""


def mean_over_time(blocks: Iterable[np.ndarray], n: int, most: int) -> np.ndarray:
    """Frames [T, dim] float32 of blocks [t, dim] of `n` frames in all, averaged over `most` parts of equal length.

    Where most is 0, or there are no more frames, they stay as they are. Only the averages are in memory at once.
    """
    if not 0 < most < n:
        return np.concatenate(list(blocks))
    ends = np.cumsum([n // most + (k < n % most) for k in range(most)])  # as np.array_split cuts
    sums, start = None, 0
    for block in blocks:
        part = np.searchsorted(ends, np.arange(start, start + len(block)), side="right")
        first = np.flatnonzero(np.diff(part, prepend=-1))
        sums = np.zeros((most, block.shape[1])) if sums is None else sums
        sums[part[first]] += np.add.reduceat(block, first, axis=0, dtype=np.float64)
        start += len(block)
    return (sums / np.diff(ends, prepend=0)[:, None]).astype(np.float32)


def read_each(read: Callable[..., Any], clips: Sequence[Clip]) -> list[Noted | NoFrames]:
    """`read_media` of each clip; a reader, once `read` is bound to it."""
    return [read_media(clip, read) for clip in clips]


def batches(lengths: Sequence[int], budget: int, *, equal: bool = False) -> Iterator[list[int]]:
    """Item numbers of each batch, longest first: padded, it has at most the size `budget`; or items of equal length."""
    batch: list[int] = []
    for k in sorted(range(len(lengths)), key=lambda k: -lengths[k]):
        full = batch and lengths[batch[0]] * (len(batch) + 1) > budget
        if full or (equal and batch and lengths[batch[0]] != lengths[k]):
            yield batch
            batch = []
        batch.append(k)
    if batch:
        yield batch


def read_media(clip: Clip, read: Callable[..., Any]) -> Noted | NoFrames:
    """What `read(path, notes=...)` gives of a clip's media file, with the notes; NoFrames where it cannot be decoded.

    Raises Unreadable where the system is at fault: nothing of a clip is known then.
    """
    if not clip.path:
        return NoFrames("no media file")
    notes: list[str] = []
    try:
        return Noted(read(clip.path, notes=notes), "; ".join(notes))
    except (NoFrames, MediaError) as reason:
        return NoFrames(str(reason))
    except FileNotFoundError:
        return NoFrames(f"{clip.path} is gone")
