"""A text encoder fine-tuned on the labels, inside the folds: streams tuned:MODEL.

A network is too sure of the labels of clips it was trained on, so a member must see every clip through a network that
was not trained on it: otherwise it would trust this stream in training and be let down by it later. Let H be the folds
that a member holds out. Its frames of a clip of another fold j come from the network trained without H and j; those of
every other clip are the mean over such networks (stacked generalisation, Wolpert 1992). So nothing about H reaches what
a member of H sees, and no clip is seen by a network that knew its label.

A frame is the log-probabilities of both tasks side by side: unlike hidden states, they mean the same in every network.
"""

import itertools
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from meiju.config import TuneConfig
from meiju.data.labels import TASKS
from meiju.features import frame_store
from meiju.features.base import Clip, Encoded, NoFrames, batches
from meiju.utils import files, hub

ASKED = 2  # folds that a network was trained without which is asked about new clips
BATCH_TOKENS = 8192  # of a batch of sentences that are only read

Folds = tuple[int, ...]


@dataclass(frozen=True)
class Lines:
    """What the networks read and learn.

    clips: all clips [N]; fold [N]: of each, -1 where it has none; labels[task] [N]: class numbers; classes: how many.
    """

    clips: Sequence[Clip]
    fold: np.ndarray
    labels: dict[str, np.ndarray]
    classes: dict[str, int]

    @property
    def n_folds(self) -> int:
        """Number of folds."""
        return int(self.fold.max()) + 1


def store_of(folder: Path, held_out: Folds) -> Path:
    """Where the frames lie that members see which hold out these folds."""
    return folder / f"without-{_name(held_out)}"


def network_of(folder: Path, left_out: Folds) -> Path:
    """Where the network lies that was trained without these folds."""
    return folder / f"network-{_name(left_out)}"


def needed_files(n_folds: int) -> list[str]:
    """The files without which new clips cannot be encoded, beside each of which the rest of a network lies."""
    return [f"{network_of(Path(), folds)}/config.json" for folds in _choose(n_folds, ASKED)]


def extract(model: str, config: TuneConfig, lines: Lines, folder: Path, *, seed: int, device: torch.device) -> None:
    """Train a network for every two and every three folds left out, and write a store for every one and two.

    What lies in `folder` already is kept, network by network; one that is lost is trained again.
    """
    folder.mkdir(parents=True, exist_ok=True)
    left_out = [*_choose(lines.n_folds, ASKED), *_choose(lines.n_folds, 3)]
    for folds in tqdm(left_out, desc=f"fine-tuning {Path(model).name}", unit="network", disable=None):
        is_asked = len(folds) == ASKED
        lost = is_asked and not hub.has_weights(network_of(folder, folds))
        if lost or not (folder / f"predictions-{_name(folds)}.npz").exists():
            tuner = Tuner.train(model, config, lines, folds, seed=seed, device=device)
            if is_asked:
                tuner.save(network_of(folder, folds))
            # Last: a network whose answers lie there is whole.
            with files.aside(folder / f"predictions-{_name(folds)}.npz") as path, path.open("wb") as file:
                np.savez(file, frames=tuner.log_probabilities([clip.sentence for clip in lines.clips]))
    for held_out in (*_choose(lines.n_folds, 1), *_choose(lines.n_folds, 2)):
        _write_store(lines, folder, held_out)


class Tuner:
    """A network with a classifier of both tasks on top."""

    def __init__(self, network: nn.Module, tokenizer, classes: dict[str, int], device: torch.device):
        self.network, self.tokenizer, self.classes, self.device = network.to(device).eval(), tokenizer, classes, device

    @classmethod
    def train(
        cls, model: str, config: TuneConfig, lines: Lines, without: Folds, *, seed: int, device: torch.device
    ) -> "Tuner":
        """Fine-tune a pretrained model on the labelled sentences of the folds that are not left out."""
        import transformers  # takes a second or two, and only runs with tuned: streams need it

        from meiju.features.fine_tuning import fine_tune
        from meiju.features.pretrained_text import load_tokenizer, tokenize

        transformers.set_seed(seed)
        classes = lines.classes
        tokenizer = load_tokenizer(model)
        kind = transformers.AutoModelForSequenceClassification
        network = hub.load(kind, model, num_labels=sum(classes.values()), dtype=torch.float32)
        network.config.pad_token_id = tokenizer.pad_token_id
        has_words = np.array([bool(clip.sentence.strip()) for clip in lines.clips])
        rows = np.flatnonzero((lines.fold >= 0) & ~np.isin(lines.fold, without) & has_words)
        tokens = tokenize(tokenizer, network.config, [lines.clips[k].sentence.strip() for k in rows])
        labels = np.stack([lines.labels[task][rows] for task in TASKS], axis=1)
        data = [{"input_ids": ids, "labels": row.tolist()} for ids, row in zip(tokens, labels, strict=True)]
        fine_tune(
            network,
            data,
            transformers.DataCollatorWithPadding(tokenizer),
            epochs=config.epochs,
            lr=config.lr,
            batch_size=config.batch_size,
            seed=seed,
            device=device,
            loss=lambda outputs, labels: _loss(outputs.logits, labels, classes),
            show_progress=False,
        )
        return cls(network, tokenizer, classes, device)

    def save(self, folder: Path) -> None:
        """Write the network, as safetensors, and its tokenizer, into a folder that appears whole or not at all."""
        aside = folder.with_name(f"{folder.name}.new")
        shutil.rmtree(aside, ignore_errors=True)
        with hub.quietly():
            self.network.save_pretrained(aside)
            self.tokenizer.save_pretrained(aside)
        shutil.rmtree(folder, ignore_errors=True)
        aside.rename(folder)

    @classmethod
    def load(cls, folder: Path, classes: dict[str, int], device: torch.device) -> "Tuner":
        """Read what `save` wrote."""
        import transformers

        from meiju.features.pretrained_text import load_tokenizer

        network = hub.load(transformers.AutoModelForSequenceClassification, str(folder), dtype=torch.float32)
        return cls(network, load_tokenizer(str(folder)), classes, device)

    @torch.inference_mode()
    def log_probabilities(self, sentences: Sequence[str]) -> np.ndarray:
        """Log-probabilities of emotion and intent side by side, [N, classes] float32; zeros for an empty sentence."""
        from meiju.features.pretrained_text import tokenize

        frames = np.zeros((len(sentences), sum(self.classes.values())), np.float32)
        with_words = [k for k, sentence in enumerate(sentences) if sentence.strip()]
        tokens = tokenize(self.tokenizer, self.network.config, [sentences[k].strip() for k in with_words])
        for batch in batches([len(ids) for ids in tokens], BATCH_TOKENS):
            inputs = self.tokenizer.pad({"input_ids": [tokens[k] for k in batch]}, return_tensors="pt").to(self.device)
            logits = self.network(**inputs).logits.float().cpu()
            by_task = [part.log_softmax(dim=-1) for part in logits.split(list(self.classes.values()), dim=-1)]
            frames[[with_words[k] for k in batch]] = torch.cat(by_task, dim=-1).numpy()
        return frames


class TunedText:
    """The networks of a finished run on new clips, whose labels none of them knows.

    A member sees such a clip as it saw those without a fold: by the mean over the networks that were trained without
    the fold it holds out and one more.
    """

    def __init__(self, folder: Path, n_folds: int, classes: dict[str, int], device: torch.device):
        self.n_folds = n_folds
        self.tuners = {
            folds: Tuner.load(network_of(folder, folds), classes, device) for folds in _choose(n_folds, ASKED)
        }

    def encode_by_fold(self, clips: Sequence[Clip]) -> dict[int, Encoded]:
        """By fold, what members that hold it out see of each clip: frames [1, classes], or NoFrames."""
        sentences = [clip.sentence for clip in clips]
        by_network = {folds: tuner.log_probabilities(sentences) for folds, tuner in self.tuners.items()}
        return {
            held_out: _as_frames(clips, np.mean([p for folds, p in by_network.items() if held_out in folds], axis=0))
            for held_out in range(self.n_folds)
        }


def _write_store(lines: Lines, folder: Path, held_out: Folds) -> None:
    """The frames of all clips as members see them that hold out these folds."""
    others = [fold for fold in range(lines.n_folds) if fold not in held_out]
    without = {}  # of each other fold, the frames by the network that was trained without it too
    for fold in others:
        with np.load(folder / f"predictions-{_name((*held_out, fold))}.npz", allow_pickle=False) as arrays:
            without[fold] = arrays["frames"]
    frames = np.mean(list(without.values()), axis=0)
    for fold in others:
        frames[lines.fold == fold] = without[fold][lines.fold == fold]
    encoded = _as_frames(lines.clips, frames)
    frame_store.write(store_of(folder, held_out), [clip.name for clip in lines.clips], encoded, dim=frames.shape[1])


def _as_frames(clips: Sequence[Clip], rows: np.ndarray) -> Encoded:
    """Rows [N, classes] as one frame per clip; none where there is no sentence."""
    return [
        row[None] if clip.sentence.strip() else NoFrames("no sentence") for clip, row in zip(clips, rows, strict=True)
    ]


def _loss(logits: Tensor, labels: Tensor, classes: dict[str, int]) -> Tensor:
    """Cross-entropy of both tasks; logits (B, all classes), labels (B, tasks)."""
    parts = logits.split(list(classes.values()), dim=-1)
    return sum(
        nn.functional.cross_entropy(part, label) for part, label in zip(parts, labels.unbind(dim=-1), strict=True)
    )


def _choose(n_folds: int, n: int) -> Iterator[Folds]:
    return itertools.combinations(range(n_folds), n)


def _name(folds: Folds) -> str:
    return "+".join(map(str, sorted(folds)))
