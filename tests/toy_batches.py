"""Batches of made-up frames, for networks that are not trained."""

import torch

from meiju.models.layers import Batch, InputSpec

SPEC = InputSpec({"text": 6, "audio": 4}, ["text"], {"emotion": 4, "intent": 2})
N_FRAMES = 5  # of a clip at most, in streams with several


def make_batch(seed: int = 0, n_clips: int = 40, *, n_members: int = 1, spec: InputSpec = SPEC) -> Batch:
    """Clips of every stream, each of one to N_FRAMES frames."""
    draw, frames, mask = torch.Generator().manual_seed(seed), {}, {}
    for stream, dim in spec.streams.items():
        n = 1 if stream in spec.single else N_FRAMES
        mask[stream] = torch.arange(n) < torch.randint(1, n + 1, (n_members, n_clips, 1), generator=draw)
        drawn = 3 + 2 * torch.randn(n_members, n_clips, n, dim, generator=draw)
        frames[stream] = drawn * mask[stream][..., None]
    return Batch(frames, mask)
