"""What a network is given: the shape of the data, and batches of it."""

import json
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

    def to_json(self) -> str:
        """As a line of text, for `from_json`; the order of streams is kept, as it is that of the network's tokens."""
        return json.dumps({"streams": self.streams, "single": sorted(self.single), "classes": self.classes})

    @classmethod
    def from_json(cls, text: str) -> "Shape":
        """What `to_json` wrote. Raises ValueError for anything else."""
        read = json.loads(text)
        try:
            streams, single, classes = read["streams"], frozenset(read["single"]), read["classes"]
            sizes = [*streams.values(), *classes.values()]
        except (TypeError, KeyError, AttributeError):
            raise ValueError("no streams and classes") from None
        if not all(type(size) is int and size > 0 for size in sizes) or not single <= set(streams):
            raise ValueError("streams and classes of no size")
        return cls(streams, single, classes)


@dataclass
class Batch:
    """Clips of E members. frames[stream] (E, B, T, dim); mask[stream] (E, B, T) is True where there is a frame."""

    frames: dict[str, Tensor]
    mask: dict[str, Tensor]
