"""The network of one member as one would write it with torch.nn, trained by a plain loop.

What the stacked layers are measured against (measuring.py): the same layers, rates, loss and optimiser for one member
at a time. It takes the same batches and gives no results that a run would use.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from meiju.config import ModelConfig, TrainConfig
from meiju.labels import TASKS
from meiju.layers import Batch, Shape
from meiju.training import Frames, Rows


class Twin(nn.Module):
    """One member of meiju.fusion.Interactive."""

    def __init__(self, shape: Shape, config: ModelConfig, heads: int):
        super().__init__()
        width, flat, self.config, self.single = config.width, len(shape.streams) * config.width, config, shape.single
        self.project = nn.ModuleDict({name: nn.Linear(dim, width) for name, dim in shape.streams.items()})
        self.norm = nn.ModuleDict({name: nn.LayerNorm(width) for name in shape.streams})
        self.score = nn.ModuleDict({name: nn.Linear(width, len(TASKS)) for name in shape.streams})
        self.input_dropout, self.dropout = nn.Dropout(config.input_dropout), nn.Dropout(config.dropout)
        self.before = nn.ModuleDict({task: nn.LayerNorm(width) for task in TASKS})
        self.within = nn.ModuleDict({t: nn.MultiheadAttention(width, heads, batch_first=True) for t in TASKS})
        self.between = nn.ModuleDict({t: nn.MultiheadAttention(width, heads, batch_first=True) for t in TASKS})
        self.gate = nn.ModuleDict({task: nn.Linear(2 * width, width) for task in TASKS})
        self.auxiliary = nn.ModuleDict({task: nn.Linear(flat, shape.classes[task]) for task in TASKS})
        self.classify = nn.ModuleDict(
            {
                t: nn.Sequential(
                    nn.Linear(flat, width), nn.GELU(), nn.Dropout(config.dropout), nn.Linear(width, shape.classes[t])
                )
                for t in TASKS
            }
        )

    def forward(self, batch: Batch) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        # batch: of one member, without the member axis
        tokens, present = [], []
        for name in self.project:
            x = self.input_dropout(batch.frames[name]) if name in self.single else batch.frames[name]
            x = functional.gelu(self.norm[name](self.project[name](x)))  # (B, T, D)
            weight = self.score[name](x).masked_fill(~batch.mask[name][..., None], -1e4).softmax(dim=1)
            tokens.append(weight.transpose(1, 2) @ x)  # (B, tasks, D)
            present.append(batch.mask[name].any(dim=1))
        there = torch.stack(present, dim=-1)  # (B, S)
        if self.training:
            kept = there & (torch.rand(there.shape, device=there.device) >= self.config.modality_dropout)
            there = torch.where(kept.any(dim=-1, keepdim=True), kept, there)
        tokens = self.dropout(torch.stack(tokens, dim=2) * there[:, None, :, None])  # (B, tasks, S, D)
        attended = {}
        for k, task in enumerate(TASKS):
            x = self.before[task](tokens[:, k])
            seen, _ = self.within[task](x, x, x, key_padding_mask=~there, need_weights=False)
            attended[task] = tokens[:, k] + self._branch(seen)
        main = {}
        for task, other in zip(TASKS, reversed(TASKS), strict=True):
            x = attended[other]
            seen, _ = self.between[task](attended[task], x, x, key_padding_mask=~there, need_weights=False)
            seen = self._branch(seen)
            x = attended[task] + self.gate[task](torch.cat([attended[task], seen], dim=-1)).sigmoid() * seen
            main[task] = self.classify[task]((x * there[..., None]).flatten(start_dim=1))
        return main, {task: self.auxiliary[task]((x * there[..., None]).flatten(1)) for task, x in attended.items()}

    def _branch(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        rate = self.config.branch_dropout
        return self.dropout(x) * (torch.rand(len(x), 1, 1, device=x.device) >= rate) / (1 - rate)


def train_twin(
    frames: Frames, rows: Rows, model: ModelConfig, config: TrainConfig, *, heads: int, classes: dict[str, int]
) -> None:
    """One epoch of one twin."""
    network = Twin(Shape(frames.dims, frames.single, classes), model, heads).to(frames.device).train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=config.lr, weight_decay=config.weight_decay, fused=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, len(rows))
    for chosen in torch.randperm(len(rows)).split(config.batch_size):
        batch = frames.batch(torch.from_numpy(rows.clips)[chosen][None])
        batch = Batch({s: f[0] for s, f in batch.frames.items()}, {s: m[0] for s, m in batch.mask.items()})
        with torch.autocast(frames.device.type, torch.bfloat16, enabled=frames.device.type == "cuda"):
            outputs = network(batch)
        loss = torch.zeros((), device=frames.device)
        for logits, share in zip(outputs, (1.0, config.auxiliary), strict=True):
            for task in TASKS:
                target, weight = (torch.from_numpy(of[task])[chosen] for of in (rows.targets, rows.weight))
                per_clip = functional.cross_entropy(
                    logits[task].float(),
                    target.to(frames.device),
                    reduction="none",
                    label_smoothing=config.label_smoothing,
                )
                loss = loss + share * (per_clip * weight.to(frames.device)).sum() / config.batch_size
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), config.clip)
        optimizer.step()
        schedule.step()
