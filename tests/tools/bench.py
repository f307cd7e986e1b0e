"""Times what takes longest, each beside something known in the same run, so that ratios hold on other machines too.

A training step of members that are stacked in one network, beside one member's alone; and each embedded encoder, beside
plain decoding of the same clips. All data is made up, and all of it runs on one core.

Writes  nothing: the table goes to the terminal
Run     .venv/bin/python tests/tools/bench.py --turns 3
"""

import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import av
import numpy as np
import pandas as pd
import torch
import tyro
from threadpoolctl import threadpool_limits

from meiju.cli import help_text
from meiju.config import Config, ModelConfig, TrainConfig
from meiju.data.labels import EMOTIONS, INTENTS, TASKS
from meiju.features import frame_store, media
from meiju.features.base import Clip
from meiju.features.registry import make_encoder
from meiju.sample import corpus as sample_corpus
from meiju.training.batches import Frames, MemberData, hard_rows
from meiju.training.loop import train_members

N_FRAMES = {"text": (1, 2), "audio": (8, 22), "visual": (5, 13)}  # of a clip: at least, below
WIDTH = 128  # of a frame
TOGETHER = (1, 5, 20)  # members
SIDE, FPS = 384, 24  # of drawn clips: pixels and frames per second, so that they decode as real ones do


def seconds(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def training(folder: Path, n_clips: int) -> dict[str, float]:
    """Seconds of an epoch per member, by how many train together."""
    rng, names = np.random.default_rng(0), [f"clip{k:05}" for k in range(n_clips)]
    stores = {}
    for stream, lengths in N_FRAMES.items():
        clips = ((name, rng.normal(size=(rng.integers(*lengths), WIDTH)).astype(np.float16), "", "") for name in names)
        frame_store.write(folder / stream, clips, dim=WIDTH, meta={})
        stores[stream] = frame_store.load(folder / stream)
    classes = dict(zip(TASKS, (len(EMOTIONS), len(INTENTS)), strict=True))
    labels = {task: rng.integers(0, n, n_clips) for task, n in classes.items()}
    rows, frames = hard_rows(np.arange(n_clips), labels, classes, 0.5), Frames(stores, names)
    train, model = TrainConfig(epochs=1, average_epochs=1), ModelConfig(linear=0.0)

    def epoch(n: int) -> None:
        data = [MemberData(rows, None, seed) for seed in range(n)]
        train_members(frames, data, model, train, heads=4, pseudo_ratio=1.0)

    epoch(1)  # loads what PyTorch needs for it
    return {f"{n} together": seconds(partial(epoch, n)) / n for n in TOGETHER}


def encoding(folder: Path, n_clips: int) -> dict[str, float]:
    """Seconds a clip: plain decoding of sound and pictures, and each embedded encoder."""
    clips = [_clip(clip, folder) for clip in sample_corpus.plan(0, {"training": n_clips}).itertuples()]

    def decode() -> None:
        for clip in clips:
            with av.open(clip.path) as container:
                for _ in container.decode():
                    pass

    took = {"plain decoding": seconds(decode)}
    for name in ("smart-turn", "face-geometry", "tfidf-svd", "e5-small"):
        encoder = make_encoder(name, Config("bench"))
        encoder.fit(clips, seed=0)
        encoder.encode(clips[:1])  # loads its network
        took[name] = seconds(partial(encoder.encode, clips))
    return {what: value / n_clips for what, value in took.items()}


def _clip(planned, folder: Path) -> Clip:
    """A clip of the sample, enlarged and with more frames a second."""
    frames, samples = sample_corpus.draw_clip(planned, 0)
    by, path = SIDE // frames.shape[1], folder / f"{planned.name}.mp4"
    frames = frames.repeat(FPS // sample_corpus.FPS, axis=0).repeat(by, axis=1).repeat(by, axis=2)
    media.write_clip(path, frames, samples, fps=FPS, rate=sample_corpus.RATE)
    return Clip(planned.name, planned.sentence, str(path))


def bench(turns: int = 3, labelled: int = 1835, clips: int = 16) -> pd.DataFrame:
    """Columns what, seconds (median over turns), ratio (to the first row of its kind).

    labelled: clips of a training epoch (4 folds of 2,294); clips: to encode.
    """
    torch.set_num_threads(1)
    tables = []
    with tempfile.TemporaryDirectory() as folder, threadpool_limits(1):
        for kind, measure, n in (("training", training, labelled), ("encoding", encoding, clips)):
            took = pd.DataFrame([measure(Path(folder), n) for _ in range(turns)])
            ratios = took.div(took.iloc[:, 0], axis=0)  # within a turn, which other work slows as a whole
            tables.append(pd.DataFrame({"kind": kind, "seconds": took.median(), "ratio": ratios.median()}))
    return pd.concat(tables).rename_axis("what").reset_index()


if __name__ == "__main__":
    print(tyro.cli(bench, description=help_text(__doc__)).round(5).to_string(index=False))
