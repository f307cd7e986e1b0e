"""What members learn from: frames, rows with targets and weights, and the batches of a step.

Axes as in meiju.models.layers: E members, B clips, T frames, K classes.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from meiju.config import TrainConfig
from meiju.data.labels import TASKS, UNKNOWN
from meiju.features.frame_store import Store
from meiju.models.layers import Batch

CONSTANT = 1e-6  # a deviation below this share of the mean, or of the largest deviation of the stream, is rounding
MAX_FRAMES = 64  # of a clip and stream; of a longer one, this many evenly spaced frames are taken
PREDICT_BATCH = 256  # clips at once


class Frames:
    """The frames of all streams of given clips, gathered into batches by clip number.

    dims: width of a frame by stream; longest: frames of the longest clip by stream; single: the streams that have at
    most one frame per clip.

    On a CPU, frames are read from memory-mapped files, and each batch is padded to its longest clip. On a GPU they lie
    in its memory if half of what is free holds them all, and in pinned memory of the host otherwise; all batches are
    padded to the longest clip there is (one_length: fixed shapes, and no need to wait for the length of a batch).
    """

    def __init__(self, stores: dict[str, Store], names: list[str], device: torch.device | str = "cpu"):
        self.device = torch.device(device)
        self.one_length = self.device.type != "cpu"
        spans = {stream: torch.from_numpy(store.spans(names)) for stream, store in stores.items()}
        self.longest = {stream: int((span[:, 1] - span[:, 0]).max()) for stream, span in spans.items()}
        self.single = sorted(stream for stream, length in self.longest.items() if length <= 1)
        self.dims = {stream: store.dim for stream, store in stores.items()}
        # Torch warns of a read-only array, hence mode 'c' of memory-mapping.
        frames = {stream: torch.from_numpy(store.frames) for stream, store in stores.items()}
        self.kept_on = self.device
        if self.device.type == "cuda":
            size = sum(array.numel() * array.element_size() for array in frames.values())
            if size > torch.cuda.mem_get_info(self.device)[0] / 2:
                self.kept_on = torch.device("cpu")
                frames = {stream: array.pin_memory() for stream, array in frames.items()}
        self.spans = {stream: span.to(self.kept_on) for stream, span in spans.items()}
        self.frames = {stream: array.to(self.kept_on) for stream, array in frames.items()}

    def __len__(self) -> int:
        """Number of clips."""
        return len(next(iter(self.spans.values())))

    def batch(self, clips: Tensor) -> Batch:
        """Frames of clip numbers (E, B), padded to the longest clip among them (and to 1 frame at least)."""
        gathered = {stream: self._gather(stream, clips) for stream in self.frames}
        return Batch(*({stream: both[k] for stream, both in gathered.items()} for k in (0, 1)))

    def _gather(self, stream: str, clips: Tensor) -> tuple[Tensor, Tensor]:
        frames = self.frames[stream]
        start, stop = self.spans[stream][clips.to(self.kept_on)].unbind(-1)  # (E, B)
        n_frames = stop - start
        n_taken = n_frames.clamp(max=MAX_FRAMES)
        longest = min(self.longest[stream], MAX_FRAMES) if self.one_length else int(n_taken.max())
        t = torch.arange(max(longest, 1), device=self.kept_on)
        # Frame t of `n_taken` lies at t * n / n_taken: every frame of a short clip, evenly spaced ones of a long clip.
        offset = t * n_frames[..., None] // n_taken.clamp(min=1)[..., None]  # (E, B, T)
        mask = t < n_taken[..., None]
        if len(frames) == 0:  # a stream that no clip has
            return torch.zeros(*mask.shape, frames.shape[1], device=self.device), mask.to(self.device)
        rows = torch.where(mask, start[..., None] + offset, 0)
        # Frames may be kept as float16: fewer bytes are copied if they are widened afterwards.
        picked = self._to_device(frames[rows]).float()
        mask = self._to_device(mask)
        return picked * mask[..., None], mask

    def _to_device(self, x: Tensor) -> Tensor:
        if self.kept_on == self.device:
            return x
        return x.pin_memory().to(self.device, non_blocking=True)

    def moments(self, stream: str, clips: np.ndarray) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation (dim,) over the frames of some clips; infinite if none.

        The deviation of a dimension that does not vary is exactly 0, whatever rounding leaves of it.
        """
        total, squares, n = 0.0, 0.0, 0
        for chunk in torch.from_numpy(clips).split(PREDICT_BATCH):
            frames, mask = self._gather(stream, chunk[None])
            total = total + frames.double().sum(dim=(0, 1, 2))
            squares = squares + frames.double().square().sum(dim=(0, 1, 2))
            n += int(mask.sum())
        if n == 0:
            dim = self.dims[stream]
            return torch.zeros(dim), torch.full((dim,), torch.inf)
        mean = total / n
        std = (squares / n - mean.square()).clamp(min=0).sqrt()
        varies = std > CONSTANT * torch.maximum(mean.abs(), std.max())
        return mean.float(), torch.where(varies, std, 0.0).float()


@dataclass(frozen=True)
class Rows:
    """Clips to learn from: clip numbers [N], targets[task] [N, K] (rows sum to 1), weight[task] [N] in the loss."""

    clips: np.ndarray
    targets: dict[str, np.ndarray]
    weight: dict[str, np.ndarray]

    def __len__(self) -> int:
        return len(self.clips)

    def take(self, rows: np.ndarray) -> "Rows":
        """Some of the rows, by number."""
        return Rows(
            self.clips[rows],
            {task: targets[rows] for task, targets in self.targets.items()},
            {task: weight[rows] for task, weight in self.weight.items()},
        )


@dataclass(frozen=True)
class MemberData:
    """What one member learns from, and the seed of its random streams."""

    labelled: Rows
    pseudo: Rows | None
    seed: int

    @property
    def rows(self) -> tuple[Rows, ...]:
        """All it learns from."""
        return (self.labelled,) if self.pseudo is None else (self.labelled, self.pseudo)


def n_steps(config: TrainConfig, n_labelled: int) -> int:
    """Optimiser steps of a member with so many labelled rows."""
    return config.epochs * math.ceil(n_labelled / config.batch_size)


def n_pseudo(data: MemberData, batch_size: int, ratio: float) -> int:
    """Pseudo-labelled clips per step: `ratio` times the labelled ones, but no clip more often than a labelled one."""
    if data.pseudo is None:
        return 0
    share = min(ratio, len(data.pseudo) / len(data.labelled))
    return max(1, round(batch_size * share))


def hard_rows(clips: np.ndarray, labels: dict[str, np.ndarray], classes: dict[str, int], power: float) -> Rows:
    """Rows of class numbers labels[task] [N], UNKNOWN ones have weight 0; see `class_weight` for `power`."""
    targets, weight = {}, {}
    for task in TASKS:
        known = labels[task] != UNKNOWN
        targets[task] = np.eye(classes[task], dtype=np.float32)[labels[task]] * known[:, None]
        per_class = class_weight(labels[task][known], classes[task], power)
        weight[task] = np.where(known, per_class[labels[task]], 0).astype(np.float32)
    return Rows(clips, targets, weight)


def class_weight(labels: np.ndarray, n_classes: int, power: float) -> np.ndarray:
    """Weight per class [K]: inverse frequency to the given power, with a mean of 1 over the rows."""
    counts = np.bincount(labels, minlength=n_classes).astype(np.float64)
    weight = np.maximum(counts, 1) ** -power
    mean = (weight * counts).sum() / max(counts.sum(), 1)
    return (weight / mean if mean else weight).astype(np.float32)


class BatchSampler:
    """Endless shuffled batches: each member walks through its own rows in its own random order.

    All rows' targets and weights lie on the device, so that a step copies row numbers alone.
    """

    def __init__(self, data: list[MemberData], n_labelled: int, n_pseudo: int, device: torch.device):
        self.walks = []
        for one in data:
            for_labelled, for_pseudo = np.random.SeedSequence(one.seed).spawn(2)
            walks = [_walk(0, len(one.labelled), n_labelled, for_labelled)]
            if n_pseudo:
                walks.append(_walk(len(one.labelled), len(one.pseudo), n_pseudo, for_pseudo))
            self.walks.append(walks)
        self.members = torch.arange(len(data))[:, None]
        self.members_there = self.members.to(device)
        self.clips = _stacked(data, lambda rows: rows.clips)
        self.targets = {task: _stacked(data, lambda rows, t=task: rows.targets[t]).to(device) for task in TASKS}
        self.weights = {task: _stacked(data, lambda rows, t=task: rows.weight[t]).to(device) for task in TASKS}

    def step(self) -> tuple[Tensor, dict[str, Tensor], dict[str, Tensor]]:
        """Clip numbers (E, B), targets by task (E, B, K), weights by task (E, B)."""
        rows = torch.from_numpy(np.stack([np.concatenate([next(walk) for walk in walks]) for walks in self.walks]))
        picked = self.members_there, rows.to(self.members_there.device)
        targets = {task: self.targets[task][picked] for task in TASKS}
        weights = {task: self.weights[task][picked] for task in TASKS}
        return self.clips[self.members, rows], targets, weights


def _stacked(data: list[MemberData], of: Callable[[Rows], np.ndarray]) -> Tensor:
    """Something of every member's rows, [E, N, ...]; N is that of the member with most rows, others end in zeros."""
    return pad_sequence([torch.from_numpy(np.concatenate([of(rows) for rows in one.rows])) for one in data], True)


def _walk(first: int, n_rows: int, size: int, seed: np.random.SeedSequence) -> Iterator[np.ndarray]:
    """Yields row numbers [size], counted from `first`, without end: one random order of all rows after another."""
    rng = np.random.default_rng(seed)
    waiting = np.empty(0, dtype=np.int64)
    while True:
        while len(waiting) < size:
            waiting = np.concatenate([waiting, first + rng.permutation(n_rows)])
        yield waiting[:size]
        waiting = waiting[size:]
