"""Trains stacked members side by side, and predicts with them.

Axes as in meiju.models.layers: E members, B clips, T frames, K classes.
"""

import math

import numpy as np
import torch
from torch import Tensor, nn

from meiju.config import ModelConfig, TrainConfig
from meiju.data.labels import TASKS
from meiju.models.fusion import Logits
from meiju.models.layers import InputSpec, MemberRandom, clip_gradients
from meiju.models.network import MemberNetwork
from meiju.training.batches import PREDICT_BATCH, BatchSampler, Frames, MemberData, n_pseudo, n_steps
from meiju.training.regression import fit_to_pooled_frames

GRADIENT_NORM = 1.0  # the largest norm of one member's gradient


def train_members(
    frames: Frames,
    data: list[MemberData],
    model: ModelConfig,
    config: TrainConfig,
    *,
    heads: int,
    pseudo_ratio: float,
    start: dict[str, Tensor] | None = None,
) -> MemberNetwork:
    """Train one member for each of `data`, side by side; all ask for batches of one shape, and as many.

    pseudo_ratio: see `n_pseudo`. start: stacked weights to start from instead of random ones. Returns the stacked
    network with its weights averaged over the ends of the last epochs (Izmailov et al. 2018, section 3).
    """
    shapes = {(n_steps(config, len(one.labelled)), n_pseudo(one, config.batch_size, pseudo_ratio)) for one in data}
    ((total, n_pseudo_per_step),) = shapes
    random = MemberRandom([one.seed for one in data], frames.device)
    classes = {task: data[0].labelled.targets[task].shape[1] for task in TASKS}
    network = MemberNetwork(InputSpec(frames.dims, frames.single, classes), model, heads=heads, random=random)
    _standardise(network, frames, data)
    if start is not None:
        network.load_state_dict(start)
    fit_to_pooled_frames(network, frames, data, weigh_streams=model.weigh_streams, pseudo_ratio=pseudo_ratio)
    draw = BatchSampler(data, config.batch_size, n_pseudo_per_step, frames.device)
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
        clip_gradients(parameters, GRADIENT_NORM)
        optimizer.step()
        schedule.step()
        if step % epoch_steps == 0 and step > total - config.average_epochs * epoch_steps:
            average.update_parameters(network)
    return average.module.eval()


@torch.inference_mode()
def predict(network: MemberNetwork, frames: Frames, clips: np.ndarray) -> dict[str, np.ndarray]:
    """Log-probabilities of every member (see MemberNetwork) for clip numbers [N]: by task, [E, N, K] float32."""
    network.eval()
    predicted: dict[str, list[np.ndarray]] = {task: [] for task in TASKS}
    for chunk in torch.from_numpy(clips).split(PREDICT_BATCH):
        batch, n = frames.batch(chunk[None]), network.n_members  # gathered once for all
        batch.frames = {stream: x.expand(n, -1, -1, -1) for stream, x in batch.frames.items()}
        batch.mask = {stream: mask.expand(n, -1, -1) for stream, mask in batch.mask.items()}
        log_probabilities = network.log_probabilities(batch)
        for task in TASKS:
            predicted[task].append(log_probabilities[task].cpu().numpy())
    return {task: np.concatenate(parts, axis=1) for task, parts in predicted.items()}


def _standardise(network: MemberNetwork, frames: Frames, data: list[MemberData]) -> None:
    """Give each member the mean of its own labelled rows' frames, and one scale for the whole stream.

    A scale of its own for each dimension would blow up the last components of tfidf-svd, which are mostly random. It is
    that of the dimensions that vary: those that do not say nothing, and shall not make the others small. Where a member
    has no such frames to learn from, the scale is 0, by which its network knows to leave the stream out.
    """
    for stream in frames.dims:
        moments = [frames.moments(stream, one.labelled.clips) for one in data]
        mean, std = (torch.stack(m)[:, None, None].to(frames.device) for m in zip(*moments, strict=True))
        network.fusion.tokens.get_buffer(f"mean_{stream}").copy_(mean)
        n_varying = (std > 0).sum(dim=-1, keepdim=True)
        scale = (std.square().sum(dim=-1, keepdim=True) / n_varying).rsqrt()
        network.fusion.tokens.get_buffer(f"scale_{stream}").copy_(torch.where(n_varying > 0, scale, 1.0).expand_as(std))


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
