"""The four ways in which streams and tasks meet, behind one interface.

interactive  tokens of a task attend to each other, then the two tasks attend to each other through learnt gates
             (the modality and task interaction of arXiv 2501.06215)
attention    the same without the interaction of tasks
concat       the streams' tokens side by side into one hidden layer per task
late         one classifier per stream and task, their logits averaged over the streams that are there

A forward pass takes what a batch holds and gives logits; see `Batch` and `Logits`. Axes as in meiju.models.layers.
"""

from dataclasses import dataclass, field
from itertools import product

import torch
from torch import Tensor, nn

from meiju.config import ModelConfig
from meiju.data.labels import TASKS
from meiju.models.layers import Attention, AttentionPool, Batch, Dropout, InputSpec, LayerNorm, Linear, MemberRandom

CLOSED_GATE = -2.0  # sigmoid(-2) = 0.12


@dataclass
class Logits:
    """main[task] (E, B, K), and auxiliary[task] from before the tasks interact (the same K).

    Where tasks do not interact, there is no before: auxiliary is empty.
    """

    main: dict[str, Tensor]
    auxiliary: dict[str, Tensor] = field(default_factory=dict)


class Tokens(nn.Module):
    """From frames to one token per stream and task."""

    def __init__(self, members: int, spec: InputSpec, config: ModelConfig, random: MemberRandom):
        super().__init__()
        self.names = tuple(spec.streams)
        self.random = random
        self.modality_dropout = config.modality_dropout
        for name, dim in spec.streams.items():
            # Standardises frames by the member's own training rows; set by training, saved with the weights. A scale
            # of 0: none of these rows has the stream, so the member never learns to read it and must not be shown it.
            self.register_buffer(f"mean_{name}", torch.zeros(members, 1, 1, dim))
            self.register_buffer(f"scale_{name}", torch.ones(members, 1, 1, dim))
        # How much of each stream each task gets, in [0, 1]: set by training (meiju.models.stream_weights).
        self.register_buffer("stream_weight", torch.ones(members, len(TASKS), len(spec.streams)))
        self.project = nn.ModuleDict({name: Linear(members, dim, config.width) for name, dim in spec.streams.items()})
        self.norm = nn.ModuleDict({name: LayerNorm(members, config.width) for name in spec.streams})
        self.pool = nn.ModuleDict({name: AttentionPool(members, config.width, len(TASKS)) for name in spec.streams})
        # A sequence is its own remedy against memorising; a single frame needs its dimensions dropped.
        self.single = spec.single
        self.input_dropout = Dropout(config.input_dropout, random)
        self.dropout = Dropout(config.dropout, random)

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        # -> tokens (E, B, tasks, S, D), present (E, B, S)
        tokens, present = [], []
        for name in self.names:
            scale = getattr(self, f"scale_{name}")  # (E, 1, 1, dim)
            x = (batch.frames[name] - getattr(self, f"mean_{name}")) * scale
            x = self.input_dropout(x) if name in self.single else x
            x = nn.functional.gelu(self.norm[name](self.project[name](x)))  # (E, B, T, D)
            tokens.append(self.pool[name](x, batch.mask[name]))  # (E, B, tasks, D)
            present.append(batch.mask[name].any(dim=2) & (scale != 0).any(dim=-1).squeeze(-1))  # (E, B)
        present = self._hide(torch.stack(present, dim=-1))
        tokens = torch.stack(tokens, dim=3) * present[:, :, None, :, None] * self.stream_weight[:, None, :, :, None]
        return self.dropout(tokens), present

    def _hide(self, present: Tensor) -> Tensor:
        """Hide streams of some clips while training, never the last one of a clip (modality dropout)."""
        if not self.training or self.modality_dropout == 0:
            return present
        kept = present & self.random.kept(self.modality_dropout, *present.shape[1:])
        return torch.where(kept.any(dim=-1, keepdim=True), kept, present)


class Classifier(nn.Module):
    """A hidden layer and the classes of one task."""

    def __init__(self, members: int, d_in: int, classes: int, config: ModelConfig, random: MemberRandom):
        super().__init__()
        self.hidden = Linear(members, d_in, config.width)
        self.dropout = Dropout(config.dropout, random)
        self.output = Linear(members, config.width, classes)

    def forward(self, x: Tensor) -> Tensor:
        # (E, B, in) -> (E, B, K)
        return self.output(self.dropout(nn.functional.gelu(self.hidden(x))))


class Late(nn.Module):
    """Each stream decides alone; a clip without any stream gets the mean of each classifier's guess at nothing."""

    def __init__(self, members: int, spec: InputSpec, config: ModelConfig, heads: int, random: MemberRandom):
        super().__init__()
        self.tokens = Tokens(members, spec, config, random)
        classifiers = {}
        for task, stream in product(TASKS, spec.streams):
            classifiers[f"{task}_{stream}"] = Classifier(members, config.width, spec.classes[task], config, random)
        self.classify = nn.ModuleDict(classifiers)

    def forward(self, batch: Batch) -> Logits:
        tokens, present = self.tokens(batch)
        weight = torch.where(present.any(dim=-1, keepdim=True), present, True).float()  # (E, B, S)
        weight = (weight / weight.sum(dim=-1, keepdim=True)).unsqueeze(-1)  # (E, B, S, 1)
        main = {}
        for k, task in enumerate(TASKS):
            votes = [self.classify[f"{task}_{s}"](tokens[:, :, k, m]) for m, s in enumerate(self.tokens.names)]
            main[task] = (torch.stack(votes, dim=2) * weight).sum(dim=2)
        return Logits(main)


class ModalityAttention(nn.Module):
    """Tokens of one task attend to each other; what they learn is added to what was there."""

    def __init__(self, members: int, config: ModelConfig, heads: int, random: MemberRandom):
        super().__init__()
        self.norm = LayerNorm(members, config.width)
        self.attention = Attention(members, config.width, heads)
        self.drop = branch_dropout(config, random)

    def forward(self, tokens: Tensor, present: Tensor) -> Tensor:
        # tokens: (E, B, S, D), present: (E, B, S)
        x = self.norm(tokens)
        return tokens + self.drop(self.attention(x, x, present))


class TaskInteraction(nn.Module):
    """Tokens of one task look at the other task's; a gate decides how much of it is added."""

    def __init__(self, members: int, config: ModelConfig, heads: int, random: MemberRandom):
        super().__init__()
        self.attention = Attention(members, config.width, heads)
        self.gate = Linear(members, 2 * config.width, config.width)
        self.drop = branch_dropout(config, random)

    def reset(self, random: MemberRandom) -> None:
        """Start nearly closed: a task learns from its own tokens first (as the gates of highway networks do)."""
        self.gate.bias.data.fill_(CLOSED_GATE)

    def forward(self, own: Tensor, other: Tensor, present: Tensor) -> Tensor:
        # own, other: (E, B, S, D), present: (E, B, S)
        attended = self.drop(self.attention(own, other, present))
        return own + self.gate(torch.cat([own, attended], dim=-1)).sigmoid() * attended


def branch_dropout(config: ModelConfig, random: MemberRandom) -> nn.Sequential:
    """Dropout of units and, for some clips, of the whole branch (stochastic depth, Huang et al. 2016).

    Without the latter, attention over three tokens overfits a few thousand clips and ends below plain concatenation.
    """
    return nn.Sequential(Dropout(config.dropout, random), Dropout(config.branch_dropout, random, of_clips=True))


class Interactive(nn.Module):
    """Attention over streams, then gated attention between the tasks; the classes below do without one or both."""

    attend = interact = True

    def __init__(self, members: int, spec: InputSpec, config: ModelConfig, heads: int, random: MemberRandom):
        super().__init__()
        d_flat = len(spec.streams) * config.width
        self.tokens = Tokens(members, spec, config, random)
        if self.attend:
            self.within = nn.ModuleDict({t: ModalityAttention(members, config, heads, random) for t in TASKS})
        self.classify = nn.ModuleDict({t: Classifier(members, d_flat, spec.classes[t], config, random) for t in TASKS})
        if self.interact:
            self.between = nn.ModuleDict({t: TaskInteraction(members, config, heads, random) for t in TASKS})
            self.auxiliary = nn.ModuleDict({t: Linear(members, d_flat, spec.classes[t]) for t in TASKS})

    def forward(self, batch: Batch) -> Logits:
        tokens, present = self.tokens(batch)  # (E, B, tasks, S, D), (E, B, S)
        own = fused = {task: tokens[:, :, k] for k, task in enumerate(TASKS)}
        if self.attend:
            own = fused = {task: self.within[task](x, present) for task, x in own.items()}
        if self.interact:
            other = dict(zip(TASKS, TASKS[::-1], strict=True))
            fused = {task: self.between[task](x, own[other[task]], present) for task, x in own.items()}

        def side_by_side(x: Tensor) -> Tensor:
            # Zeros for streams that are not there. Each keeps its place, which serves better than the tokens' mean.
            return (x * present[..., None]).flatten(start_dim=2)

        main = {task: self.classify[task](side_by_side(x)) for task, x in fused.items()}
        auxiliary = {task: self.auxiliary[task](side_by_side(own[task])) for task in TASKS if self.interact}
        return Logits(main, auxiliary)


class Attentive(Interactive):
    """Attention over streams, and each task by itself."""

    interact = False


class Concat(Interactive):
    """Tokens of all streams side by side."""

    attend = interact = False


FUSIONS = {"interactive": Interactive, "attention": Attentive, "late": Late, "concat": Concat}
