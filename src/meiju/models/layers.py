"""Layers with a member axis: E networks of one shape that train side by side as one.

Each weight is [E, in, out], each activation [E, ..., width], and members never mix, so a member computes what its
torch.nn twin would compute alone; a GPU just sees one large kernel instead of many small ones (torch.func's
`stack_module_state` has the same aim, but its transforms refuse data-dependent code and per-member dropout).

Axes: E members, B clips, T frames, S tokens, D width, K classes.
"""

import json
import math
from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

# The score of what is not there. Finite, so that a clip with nothing there at all stays finite too.
MASKED = -1e4
GOLDEN = -0x61C8864680B583EB  # 2^64 / golden ratio as int64, the step of SplitMix64's state


@dataclass(frozen=True)
class InputSpec:
    """What the data asks of a network.

    streams: frame width by stream; single: the streams with one frame per clip; classes: number of classes by task.
    """

    streams: dict[str, int]
    single: list[str]
    classes: dict[str, int]

    def to_json(self) -> str:
        """As a line of text, for `from_json`; the order of streams is kept, as it is that of the network's tokens."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "InputSpec":
        """What `to_json` wrote."""
        return cls(**json.loads(text))


@dataclass
class Batch:
    """Clips of E members. frames[stream] (E, B, T, dim); mask[stream] (E, B, T) is True where there is a frame."""

    frames: dict[str, Tensor]
    mask: dict[str, Tensor]


class MemberRandom:
    """One random stream per member, so that what a member draws does not depend on its neighbours or the device.

    Draw n of a member is a hash of its seed and of n: SplitMix64 (Steele, Lea and Flood 2014, "Fast splittable
    pseudorandom number generators", figure 17), all members at once, four draws of 16 bits from each hash.
    """

    CHUNK = 2**14  # hashes of a member at once: their memory stays in a processor's cache

    def __init__(self, seeds: list[int], device: torch.device | str = "cpu"):
        self.n_members, self.device = len(seeds), torch.device(device)
        self.keys = splitmix64(torch.tensor(seeds, device=self.device))[:, None]
        self.n_hashed = 0
        self.waiting = torch.empty(self.n_members, 0, dtype=torch.int16, device=self.device)

    def uniform(self, *shape: int) -> Tensor:
        """Uniform draws in [0, 1), multiples of 2^-16: [E, *shape]."""
        return (self._draw(*shape).float() + 2**15) / 2**16

    def kept(self, rate: float, *shape: int) -> Tensor:
        """Which of `shape` dropout keeps, each with a probability of 1 - rate (to 2^-16): [E, *shape] bool."""
        return self._draw(*shape) >= min(round(rate * 2**16) - 2**15, 2**15 - 1)

    def _draw(self, *shape: int) -> Tensor:
        """Uniform draws of int16: [E, *shape]."""
        n = math.prod(shape)
        if n > self.waiting.shape[1]:
            n_new = max(self.CHUNK, n // 4 + 1)
            places = torch.arange(self.n_hashed + 1, self.n_hashed + n_new + 1, device=self.device)
            drawn = splitmix64(self.keys + places * GOLDEN).view(torch.int16)
            self.waiting, self.n_hashed = torch.cat([self.waiting, drawn], dim=1), self.n_hashed + n_new
        draws, self.waiting = self.waiting.split([n, self.waiting.shape[1] - n], dim=1)
        return draws.view(self.n_members, *shape)


def splitmix64(state: Tensor) -> Tensor:
    """The output function of SplitMix64: int64 to int64, each bit of which depends on all bits of the other."""
    state = state.clone()
    # On tensors >> copies the sign, which a mask takes away; products overflow, as they should.
    for shift, factor in ((30, -0x40A7B892E31B1A47), (27, -0x6B2FB644ECCEEE15), (31, 1)):
        state ^= (state >> shift) & (2 ** (64 - shift) - 1)
        state *= factor
    return state


class Linear(nn.Module):
    """E linear layers; initialised as torch.nn.Linear is (Kaiming uniform, which is U(±1/sqrt(in)))."""

    def __init__(self, members: int, d_in: int, d_out: int):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(members, d_in, d_out))
        self.bias = nn.Parameter(torch.empty(members, 1, d_out))

    def reset(self, random: MemberRandom) -> None:
        """Draw each member's weights from its own stream."""
        bound = 1 / math.sqrt(self.weight.shape[1])
        for parameter in (self.weight, self.bias):
            parameter.data = (2 * random.uniform(*parameter.shape[1:]) - 1) * bound

    def forward(self, x: Tensor) -> Tensor:
        # x: (E, ..., in) -> (E, ..., out)
        flat = x.reshape(x.shape[0], -1, x.shape[-1])  # (E, N, in)
        y = torch.baddbmm(self.bias, flat, self.weight)  # (E, N, out)
        return y.view(*x.shape[:-1], -1)


class LayerNorm(nn.Module):
    """E layer normalisations over the last axis."""

    def __init__(self, members: int, width: int):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(members, width))
        self.bias = nn.Parameter(torch.zeros(members, width))

    def forward(self, x: Tensor) -> Tensor:
        # x: (E, ..., D)
        shape = (x.shape[0], *[1] * (x.dim() - 2), x.shape[-1])
        normal = functional.layer_norm(x, x.shape[-1:])
        return normal * self.weight.view(shape) + self.bias.view(shape)


class Dropout(nn.Module):
    """Dropout of units or of whole clips, whose masks come from each member's own stream."""

    def __init__(self, rate: float, random: MemberRandom, *, of_clips: bool = False):
        super().__init__()
        self.rate, self.random, self.of_clips = rate, random, of_clips

    def forward(self, x: Tensor) -> Tensor:
        # x: (E, B, ...)
        if not self.training or self.rate == 0:
            return x
        shape = (x.shape[1], *[1] * (x.dim() - 2)) if self.of_clips else x.shape[1:]
        return x * self.random.kept(self.rate, *shape) / (1 - self.rate)


class Attention(nn.Module):
    """E multi-head attentions (Vaswani et al. 2017, section 3.2) from query tokens to the present key tokens."""

    def __init__(self, members: int, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.query = Linear(members, width, width)
        self.key_value = Linear(members, width, 2 * width)
        self.output = Linear(members, width, width)

    def forward(self, x: Tensor, context: Tensor, present: Tensor) -> Tensor:
        # x: (E, B, S, D), context: (E, B, C, D), present: (E, B, C) bool -> (E, B, S, D)
        query = self._split(self.query(x))  # (E, B, H, S, D/H)
        key, value = (self._split(half) for half in self.key_value(context).chunk(2, dim=-1))
        # Written out rather than F.scaled_dot_product_attention: over a handful of tokens its kernels cost more.
        score = query @ key.transpose(-1, -2) / math.sqrt(key.shape[-1])  # (E, B, H, S, C)
        score = score.masked_fill(~present[:, :, None, None], MASKED)
        mixed = score.softmax(dim=-1) @ value  # (E, B, H, S, D/H)
        return self.output(mixed.transpose(2, 3).flatten(start_dim=3))

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, -1)).transpose(2, 3)


class AttentionPool(nn.Module):
    """Pools frames into one token per task: a learnt score per frame and task, softmax over the clip's own frames."""

    def __init__(self, members: int, width: int, tasks: int):
        super().__init__()
        self.score = Linear(members, width, tasks)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        # x: (E, B, T, D), mask: (E, B, T) bool -> (E, B, tasks, D); a clip without frames gives zeros
        score = self.score(x).masked_fill(~mask[..., None], MASKED)
        weight = score.softmax(dim=2) * mask[..., None]  # (E, B, T, tasks)
        return weight.transpose(2, 3) @ x


def reset(module: nn.Module, random: MemberRandom) -> None:
    """Initialise every layer of a stacked network, each member from its own stream."""
    # Children first: a block may adjust what its layers drew.
    for layer in reversed(list(module.modules())):
        if hasattr(layer, "reset"):
            layer.reset(random)


def clip_gradients(parameters: list[nn.Parameter], limit: float) -> None:
    """Scale each member's gradient to a norm of at most `limit` (all parameters lead with the member axis)."""
    squares = torch.stack([p.grad.flatten(start_dim=1).square().sum(dim=1) for p in parameters])  # (parameters, E)
    scale = (limit / (squares.sum(dim=0).sqrt() + 1e-6)).clamp(max=1.0)  # (E,)
    for p in parameters:
        p.grad.mul_(scale.view(-1, *[1] * (p.dim() - 1)))
