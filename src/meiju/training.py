"""Trains stacked members, and predicts with them.

Axes as in meiju.layers: E members, B clips, T frames, K classes.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from meiju.config import ModelConfig, TrainConfig
from meiju.features import MemberStore
from meiju.fusion import Logits
from meiju.labels import TASKS, UNKNOWN
from meiju.layers import Batch, Noise, Shape, clip_gradients
from meiju.linear import PLAIN_VARIANCE, LogisticRegressionHead
from meiju.network import MemberNetwork
from meiju.stream_weights import LOWEST, stream_variances

PREDICT_BATCH = 256  # clips at once
CONSTANT = 1e-6  # a deviation below this share of the mean, or of the largest deviation of the stream, is rounding
REGRESSION_ROWS = 20_000  # pseudo-labelled clips that a logistic-regression head learns from at most
MAX_FRAMES = 64  # of a clip and stream; of a longer one, this many evenly spaced frames are seen


class Frames:
    """The frames of all streams of given clips, gathered into batches by clip number.

    Where members see a clip differently, a stream's store has spans of each of them. On a CPU, frames are read from
    memory-mapped files, a batch at a time. On a GPU they lie in its memory if half of what is free holds them all, and
    in pinned memory of the host otherwise, from where batches are copied.

    one_length: pad all batches alike, to the longest clip there is, as a GPU wants it (fixed shapes, and no need to
    wait for the length of a batch); on a CPU, each batch is padded to its longest clip.
    """

    def __init__(
        self,
        stores: dict[str, MemberStore],
        names: list[str],
        device: torch.device | str = "cpu",
        *,
        one_length: bool | None = None,
    ):
        self.device = torch.device(device)
        self.one_length = self.device.type != "cpu" if one_length is None else one_length
        spans = {stream: torch.from_numpy(store.spans(names)) for stream, store in stores.items()}
        self.longest = {stream: int((span[..., 1] - span[..., 0]).max()) for stream, span in spans.items()}
        # Torch warns of a read-only array, hence mode 'c' of memory-mapping.
        frames = {stream: torch.from_numpy(store.frames) for stream, store in stores.items()}
        self.kept_on = self.device
        if self.device.type == "cuda":
            size = sum(array.numel() * array.element_size() for array in frames.values())
            if size > torch.cuda.mem_get_info(self.device)[0] / 2:
                self.kept_on = torch.device("cpu")
                frames = {stream: array.pin_memory() for stream, array in frames.items()}
        # (E, N, 2) start and stop, or (1, N, 2) where all members see the same.
        self.spans = {stream: span.to(self.kept_on) for stream, span in spans.items()}
        self.frames = {stream: array.to(self.kept_on) for stream, array in frames.items()}

    def __len__(self) -> int:
        """Number of clips."""
        return next(iter(self.spans.values())).shape[1]

    @property
    def dims(self) -> dict[str, int]:
        """Width of a frame by stream."""
        return {stream: frames.shape[1] for stream, frames in self.frames.items()}

    @property
    def single(self) -> frozenset[str]:
        """The streams that have at most one frame per clip."""
        return frozenset(stream for stream, length in self.longest.items() if length <= 1)

    @property
    def shared(self) -> bool:
        """Whether all members see the same frames of a clip."""
        return all(len(span) == 1 for span in self.spans.values())

    def batch(self, clips: Tensor, members: Tensor | None = None) -> Batch:
        """Frames of clip numbers (E, B), padded to the longest clip among them (and to 1 frame at least).

        members (E,): who sees them, where members see a clip differently; all in their order by default.
        """
        members = torch.arange(len(clips)) if members is None else members
        gathered = {stream: self._gather(stream, clips, members) for stream in self.frames}
        return Batch({s: frames for s, (frames, _) in gathered.items()}, {s: mask for s, (_, mask) in gathered.items()})

    def _gather(self, stream: str, clips: Tensor, members: Tensor) -> tuple[Tensor, Tensor]:
        spans, frames = self.spans[stream], self.frames[stream]
        clips, members = clips.to(self.kept_on), members.to(self.kept_on)
        seen_by = members[:, None] if len(spans) > 1 else 0
        start, stop = spans[seen_by, clips].unbind(-1)  # (E, B)
        n_frames = stop - start
        seen = n_frames.clamp(max=MAX_FRAMES)
        longest = min(self.longest[stream], MAX_FRAMES) if self.one_length else int(seen.max())
        t = torch.arange(max(longest, 1), device=self.kept_on)
        # Frame t of `seen` lies at t * n / seen: every frame of a short clip, evenly spaced ones of a long clip.
        offset = t * n_frames[..., None] // seen.clamp(min=1)[..., None]  # (E, B, T)
        mask = t < seen[..., None]
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

    def moments(self, stream: str, clips: np.ndarray, member: int = 0) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation (dim,) over the frames of some clips as a member sees them; infinite if none.

        The deviation of a dimension that does not vary is exactly 0, whatever rounding leaves of it.
        """
        total, squares, n = 0.0, 0.0, 0
        for chunk in torch.from_numpy(clips).split(PREDICT_BATCH):
            frames, mask = self._gather(stream, chunk[None], torch.tensor([member]))
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


def step_bytes(frames: Frames, n_clips: int, width: int) -> int:
    """About how much memory a training step of one member takes, with batches of so many clips and tokens so wide.

    Nearly all of it is one float32 per value of a frame, for the frames as they are, standardised and masked and for a
    gradient, and per unit of a frame, for what the layers before the pooling keep for theirs.
    """
    lengths = {stream: min(longest, MAX_FRAMES) for stream, longest in frames.longest.items()}
    return 4 * n_clips * sum(lengths[stream] * (4 * dim + 10 * width) for stream, dim in frames.dims.items())


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


def train_members(
    frames: Frames,
    data: list[MemberData],
    model: ModelConfig,
    config: TrainConfig,
    *,
    heads: int,
    pseudo_ratio: float,
) -> MemberNetwork:
    """Train one member for each of `data`, side by side; all ask for batches of one shape, and as many.

    pseudo_ratio: see `n_pseudo`. Returns the stacked network with its weights averaged over the ends of the last
    epochs (Izmailov et al. 2018, section 3).
    """
    shapes = {(n_steps(config, len(one.labelled)), n_pseudo(one, config.batch_size, pseudo_ratio)) for one in data}
    if len(shapes) != 1:
        raise ValueError(f"members that train together need the same number of steps and batches; got {shapes}")
    total, n_pseudo_per_step = shapes.pop()
    noise = Noise([one.seed for one in data], frames.device)
    classes = {task: data[0].labelled.targets[task].shape[1] for task in TASKS}
    network = MemberNetwork(Shape(frames.dims, frames.single, classes), model, heads=heads, noise=noise)
    _standardise(network, frames, data)
    fit_to_pooled_frames(network, frames, data, weigh_streams=model.weigh_streams, pseudo_ratio=pseudo_ratio)
    draw = _Draw(data, config.batch_size, n_pseudo_per_step, frames.device)
    optimizer = _optimizer(network, config)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step, total, config.warmup))
    average = torch.optim.swa_utils.AveragedModel(network)
    parameters = [p for p in network.parameters() if p.requires_grad]
    epoch_steps = total // config.epochs
    network.train()
    for step in range(1, total + 1):
        clips, targets, weights = draw.step()
        with torch.autocast(frames.device.type, torch.bfloat16, enabled=frames.device.type == "cuda"):
            logits = network(frames.batch(clips))
        optimizer.zero_grad(set_to_none=True)
        _loss(logits, targets, weights, config).backward()
        clip_gradients(parameters, config.clip)
        optimizer.step()
        schedule.step()
        if step % epoch_steps == 0 and step > total - config.average_epochs * epoch_steps:
            average.update_parameters(network)
    return average.module.eval()


@torch.inference_mode()
def predict(network: MemberNetwork, frames: Frames, clips: np.ndarray) -> dict[str, np.ndarray]:
    """Log-probabilities of every member (see MemberNetwork) for clip numbers [N]: by task, [E, N, K] float32."""
    network.eval()
    said: dict[str, list[np.ndarray]] = {task: [] for task in TASKS}
    for chunk in torch.from_numpy(clips).split(PREDICT_BATCH):
        batch = batch_for_all(frames, chunk, network.n_members)
        log_probabilities = network.log_probabilities(batch)
        for task in TASKS:
            said[task].append(log_probabilities[task].cpu().numpy())
    return {task: np.concatenate(parts, axis=1) for task, parts in said.items()}


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


class _Draw:
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


def _standardise(network: MemberNetwork, frames: Frames, data: list[MemberData]) -> None:
    """Give each member the mean of its own labelled rows' frames, and one scale for the whole stream.

    A scale of its own for each dimension would blow up the last components of tfidf-svd, which are mostly noise. It is
    that of the dimensions that vary: those that do not say nothing, and shall not make the others small. Where a member
    has no such frames to learn from, the scale is 0, by which its network knows to leave the stream out.
    """
    for stream in frames.dims:
        moments = [frames.moments(stream, one.labelled.clips, e) for e, one in enumerate(data)]
        mean, std = (torch.stack(m)[:, None, None].to(frames.device) for m in zip(*moments, strict=True))
        network.fusion.tokens.get_buffer(f"mean_{stream}").copy_(mean)
        n_varying = (std > 0).sum(dim=-1, keepdim=True)
        scale = (std.square().sum(dim=-1, keepdim=True) / n_varying).rsqrt()
        network.fusion.tokens.get_buffer(f"scale_{stream}").copy_(torch.where(n_varying > 0, scale, 1.0).expand_as(std))


def fit_to_pooled_frames(
    network: MemberNetwork, frames: Frames, data: list[MemberData], *, weigh_streams: bool, pseudo_ratio: float
) -> None:
    """Set each member's weights of streams by its labelled rows, and fit its logistic-regression head.

    The fusion network gets a stream's token times the cube root of its variance, beside that of the best stream. The
    head learns from the labelled rows and, so that its time and memory end somewhere, REGRESSION_ROWS of the others,
    which together weigh no more than in the network's batches.
    """
    head = network.regression or LogisticRegressionHead(network.n_members, network.shape)
    rows_of_members = [
        [one.labelled] if network.regression is None else _rows_of_regression(one, len(frames), pseudo_ratio)
        for one in data
    ]
    clips = np.unique(np.concatenate([rows.clips for parts in rows_of_members for rows in parts]))
    pooled, there = _pooled(head, frames, clips, member=0)
    for e, parts in enumerate(rows_of_members):
        if e and not frames.shared:
            pooled, there = _pooled(head, frames, clips, member=e)
        labelled, place = parts[0], np.searchsorted(clips, np.concatenate([rows.clips for rows in parts]))
        n = len(labelled)
        head.set_moments(e, pooled[place[:n]], there[place[:n]])
        x = head.standardise(e, pooled[place], there[place])
        variances = {task: np.full(len(frames.dims), PLAIN_VARIANCE) for task in TASKS}
        if weigh_streams:
            by_stream = head.by_stream(x[:n])
            for k, task in enumerate(TASKS):
                variances[task] = stream_variances(by_stream, labelled.targets[task], labelled.weight[task])
                share = np.cbrt(variances[task] / max(variances[task].max(), LOWEST))
                network.fusion.tokens.stream_weight[e, k] = torch.from_numpy(share)
        if network.regression is not None:
            targets = {t: np.concatenate([rows.targets[t] for rows in parts]) for t in TASKS}
            weight = {t: np.concatenate([rows.weight[t] for rows in parts]) for t in TASKS}
            head.fit(e, x, targets, weight, variances)


def _rows_of_regression(data: MemberData, n_clips: int, ratio: float) -> list[Rows]:
    """Its labelled rows, and its pseudo-labelled ones; of more than REGRESSION_ROWS those of clips drawn by lot.

    The lot is the same for all members, so that what they share is pooled once. As in the network's batches (see
    `n_pseudo`), there are at most `ratio` times as many pseudo-labelled clips as labelled ones: where there are more,
    each weighs less.
    """
    if data.pseudo is None:
        return [data.labelled]
    lot = np.random.default_rng(0).permutation(n_clips)[data.pseudo.clips]
    pseudo = data.pseudo.take(np.sort(np.argsort(lot)[:REGRESSION_ROWS]))
    share = np.float32(min(1.0, ratio * len(data.labelled) / len(pseudo)))
    return [data.labelled, replace(pseudo, weight={task: share * weight for task, weight in pseudo.weight.items()})]


def _pooled(
    head: LogisticRegressionHead, frames: Frames, clips: np.ndarray, *, member: int
) -> tuple[np.ndarray, np.ndarray]:
    """Pooled values of clips as a member sees them, and which are there: both [N, P]."""
    chunks = torch.from_numpy(clips).split(PREDICT_BATCH)
    parts = [head.pool(frames.batch(chunk[None], torch.tensor([member]))) for chunk in chunks]
    return tuple(torch.cat(part, dim=1)[0].cpu().numpy() for part in zip(*parts, strict=True))


def _optimizer(network: nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    """AdamW; as is usual, biases and normalisations do not decay."""
    decay = [p for name, p in network.named_parameters() if name.endswith("weight") and p.dim() == 3]
    rest = [p for name, p in network.named_parameters() if not (name.endswith("weight") and p.dim() == 3)]
    groups = [{"params": decay, "weight_decay": config.weight_decay}, {"params": rest, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=config.lr, fused=True)


def _rate(step: int, total: int, warmup: float) -> float:
    """Share of the peak learning rate: a linear rise, then a cosine down to zero."""
    rise = max(1, round(warmup * total))
    if step < rise:
        return (step + 1) / rise
    return 0.5 * (1 + math.cos(math.pi * (step - rise) / max(1, total - rise)))


def _loss(logits: Logits, targets: dict[str, Tensor], weights: dict[str, Tensor], config: TrainConfig) -> Tensor:
    """Sum over members of the weighted cross-entropy of both tasks, main and auxiliary classifiers if any.

    Divided by the number of labelled clips alone, so that pseudo-labelled ones come on top and take nothing away.
    """
    total = 0.0
    for task in TASKS:
        target, weight = targets[task], weights[task]
        smooth = target * (1 - config.label_smoothing) + config.label_smoothing / target.shape[-1]
        outputs = [(logits.main, 1.0)] + ([(logits.auxiliary, config.auxiliary)] if logits.auxiliary else [])
        for output, share in outputs:
            per_clip = -(smooth * output[task].float().log_softmax(dim=-1)).sum(dim=-1)  # (E, B)
            # A sum over members: each one's gradient is what it would be alone.
            total = total + share * (per_clip * weight).sum() / config.batch_size
    return total


def batch_for_all(frames: Frames, clips: Tensor, members: int) -> Batch:
    """The frames of clip numbers (B,) for every one of `members` members; gathered once where all see the same."""
    if not frames.shared:
        return frames.batch(clips.expand(members, -1))
    batch = frames.batch(clips[None])
    expand = {s: f.expand(members, -1, -1, -1) for s, f in batch.frames.items()}
    return Batch(expand, {s: m.expand(members, -1, -1) for s, m in batch.mask.items()})
