"""What a network is given: the shape of the data, and batches of it."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Shape:
    """What the data asks of a network.

    streams: frame width by stream; single: the streams with one frame a clip; classes: number of classes by task.
    """

    streams: dict[str, int]
    single: frozenset[str]
    classes: dict[str, int]


@dataclass
class Batch:
    """Clips of E members. frames[stream] (E, B, T, dim); mask[stream] (E, B, T) is True where there is a frame."""

    frames: dict[str, Tensor]
    mask: dict[str, Tensor]
