"""Restores marks with a pretrained transformer that classifies tokens, one made for it or one fine-tuned here.

What such a model reads: every Chinese character is a word of its own, and so is every run of other letters and digits;
a word's mark is read off its last piece. Long sentences are read in windows that overlap by half, and each place is
decided in the window that shows most on both sides of it.

A space beside a Chinese character stands for a mark, most likely. Models fitted here see it as a token of its own;
others cannot, and there a mark only needs to be a tenth as likely as none.
"""

import itertools
import re
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import transformers
from torch.nn.utils.rnn import pad_sequence
from tqdm import tqdm

from meiju.config import ConfigError
from meiju.text.punctuation.base import (
    MARKS,
    Parsed,
    Restorer,
    evaluate,
    hold_out,
    is_hint,
    is_letter,
    parse,
    report,
    versions,
)
from meiju.utils import hub

LABELS = ("O", *MARKS)  # of the models that are fitted here
GAP = "[GAP]"  # their token for such a space
GAP_ODDS = 0.1  # for other models: a mark is set at such a space if it is this likely, compared with none

WINDOW = 256  # pieces that are read at once, at most
BATCH = 64  # windows
TRIED = 500  # sentences on which it is measured whether a model wants special tokens

# What label names say, and the mark for it. Marks that are none of our four become the nearest one.
NAMES = (
    ("？", r"[?？]|question|问号"),
    ("！", r"[!！]|exc?lamation|感叹号"),
    ("。", r"[.。]|period|full_?-?stop|句号"),
    ("，", r"[,，、;；:：]|comma|dunhao|colon|逗号|顿号|分号|冒号"),
)


def marks_of_labels(names: Sequence[str]) -> list[str]:
    """The mark that each label of a model stands for, or "" for none. Raises ConfigError if no label does for any.

    Understood are marks themselves, full-width or ASCII, and their English or Chinese names, with any prefix or suffix:
    'S-，', 'COMMA', 'B-？', '.U'. A label beginning with 'I-' is a place inside a clause, which no mark follows.
    """
    marks = []
    for name in names:
        label = "" if name.startswith("I-") else name.lower()
        marks.append(next((mark for mark, pattern in NAMES if re.search(pattern, label)), ""))
    if not any(marks):
        raise ConfigError(f"--punctuation: none of the model's labels names a mark; they are {', '.join(names)}")
    if all(marks):
        raise ConfigError(f"--punctuation: the model has no label for no mark; its labels are {', '.join(names)}")
    return marks


def marks_of_model(model: str) -> list[str]:
    """The mark that each output of a model stands for. Raises MissingModel, and ConfigError if none stands for any."""
    names = hub.load(transformers.AutoConfig, model).id2label
    return marks_of_labels([names[k] for k in sorted(names)])


class TokenRestorer(Restorer):
    """A token classification model as restorer."""

    def __init__(self, model: str, *, device: torch.device, special_tokens: bool = True):
        """special_tokens: whether the model wants [CLS] and [SEP], or their like, around a sentence.

        Raises MissingModel, and ConfigError where its labels name no marks.
        """
        self.device, self.special_tokens = device, special_tokens
        marks = marks_of_model(model)
        dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
        self.network = hub.load(transformers.AutoModelForTokenClassification, model, dtype=dtype).to(device).eval()
        self.reader = Reader(hub.load_tokenizer(model), self.network.config)
        # [labels, 1 + marks]: adds up the labels that stand for the same mark; the first column is none
        self.sums = torch.tensor([[mark == kind for kind in ("", *MARKS)] for mark in marks], dtype=torch.float32)

    def marks(self, parsed: Parsed) -> list[str]:
        return self.marks_of([parsed])[0]

    def marks_of(self, sentences: Sequence[Parsed]) -> list[list[str]]:
        """The likeliest mark after each character, where it is likelier than none."""
        read = [self.reader.read(parsed) for parsed in sentences]
        probs = self._probs([ids for ids, _ in read])
        return [self._marks(parsed, last, p) for parsed, (_, last), p in zip(sentences, read, probs, strict=True)]

    def _marks(self, parsed: Parsed, last: list[int], probs: np.ndarray) -> list[str]:
        chosen = [""] * len(parsed.characters)
        for i, (none, *likelihoods) in zip(last, probs, strict=True):
            hinted = i >= 0 and is_hint(parsed, i) and self.reader.gap is None
            best = int(np.argmax(likelihoods))
            if i >= 0 and likelihoods[best] > (GAP_ODDS if hinted else 1) * none:
                chosen[i] = MARKS[best]
        return chosen

    def _probs(self, rows: Sequence[list[int]]) -> list[np.ndarray]:
        """Probabilities [pieces, 1 + marks] of every sentence; windows of like length are read together."""
        around = self.reader.around if self.special_tokens else ([], [])
        windows = [(k, *window) for k, ids in enumerate(rows) for window in windows_of(len(ids), self.reader.width)]
        windows.sort(key=lambda window: window[2] - window[1])
        probs = [np.zeros((len(ids), 1 + len(MARKS)), np.float32) for ids in rows]
        batches = [windows[b : b + BATCH] for b in range(0, len(windows), BATCH)]
        for batch in tqdm(batches, desc="punctuation", unit="batch", disable=True if len(batches) < 2 else None):
            read = self._read([rows[k][start:stop] for k, start, stop, _, _ in batch], *around)
            for (k, start, _, first, end), p in zip(batch, read, strict=True):
                probs[k][first:end] = p[first - start : end - start]
        return probs

    @torch.inference_mode()
    def _read(self, rows: list[list[int]], before: list[int], after: list[int]) -> list[np.ndarray]:
        """Probabilities [pieces, 1 + marks] of each row of pieces, all read as one batch."""
        whole = [torch.tensor([*before, *ids, *after]) for ids in rows]
        pad = self.reader.pad
        ids = torch.nn.utils.rnn.pad_sequence(whole, batch_first=True, padding_value=pad)  # [B, T]
        mask = torch.nn.utils.rnn.pad_sequence([torch.ones_like(row) for row in whole], batch_first=True)  # [B, T]
        logits = self.network(input_ids=ids.to(self.device), attention_mask=mask.to(self.device)).logits
        probs = logits.float().softmax(-1).cpu() @ self.sums  # [B, T, 1 + marks]
        return [p[len(before) : len(before) + len(row)].numpy() for p, row in zip(probs, rows, strict=True)]


class Reader:
    """Turns sentences into pieces that a model knows by number."""

    def __init__(self, tokenizer: transformers.PreTrainedTokenizerBase, config: transformers.PreTrainedConfig):
        self.tokenizer = tokenizer
        self.gap: int | None = tokenizer.get_vocab().get(GAP)
        self.pad = tokenizer.pad_token_id or 0
        self.around = self._around()
        # RoBERTa counts positions from 2.
        positions = getattr(config, "max_position_embeddings", None) or WINDOW
        self.width = max(2, min(WINDOW, positions - 2) - sum(map(len, self.around)))
        self._known: dict[str, list[int]] = {}

    def read(self, parsed: Parsed) -> tuple[list[int], list[int]]:
        """Pieces of a sentence, and the character that each one's mark follows; -1 where none can."""
        ids, last = [], []
        for word, i in _words(parsed):
            pieces = self._pieces(word)
            ids += pieces
            last += [*[-1] * (len(pieces) - 1), i] if pieces else []
            if self.gap is not None and is_hint(parsed, i):
                ids.append(self.gap)
                last.append(-1)
        return ids, last

    def _pieces(self, word: str) -> list[int]:
        if word not in self._known:
            self._known[word] = self.tokenizer(word, add_special_tokens=False)["input_ids"]
        return self._known[word]

    def _around(self) -> tuple[list[int], list[int]]:
        """The special tokens before and after a sentence."""
        inner, whole = (self.tokenizer("a", add_special_tokens=special)["input_ids"] for special in (False, True))
        starts = range(len(whole) - len(inner) + 1)
        start = next((k for k in starts if whole[k : k + len(inner)] == inner), 0)
        return whole[:start], whole[start + len(inner) :]


def windows_of(n: int, width: int) -> Iterator[tuple[int, int, int, int]]:
    """Windows over n pieces: start and stop of what is read, first and end of what is decided there."""
    starts = [0] if n <= width else [*range(0, n - width, max(1, width // 2)), n - width]
    # Of two neighbours, each decides up to the middle of what they share.
    bounds = [0, *((a + width + b) // 2 for a, b in itertools.pairwise(starts)), n]
    for start, first, end in zip(starts, bounds, bounds[1:], strict=False):
        yield start, min(n, start + width), first, end


def open_pretrained(model: str, punctuated: Sequence[str], *, device: torch.device) -> TokenRestorer:
    """A model with or without special tokens, whichever restores sentences better; with them where there are none.

    Some models were trained without them (p208p2002/zh-wiki-punctuation-restore), and nothing in a model says so.
    """
    restorer = TokenRestorer(model, device=device)
    tried = sorted(set(punctuated))
    tried = [tried[k] for k in np.random.default_rng(0).permutation(len(tried))[:TRIED]]
    if tried:
        f1 = {}
        for special_tokens in (True, False):
            restorer.special_tokens = special_tokens
            f1[special_tokens] = evaluate(restorer, tried, spaces=False).loc["micro", "f1"]
        restorer.special_tokens = bool(f1[True] >= f1[False])
    return restorer


def fit(
    encoder: str, sentences: Sequence[str], folder: Path, *, epochs: int, lr: float, seed: int, device: torch.device
) -> TokenRestorer:
    """Fine-tune an encoder on punctuated sentences and save it in `folder`; one that lies there is opened.

    Each sentence is seen with the spaces it has and, if it has inner marks, with spaces there as well.
    """
    if not (folder / "config.json").exists():
        from meiju.encoders.fine_tuning import fine_tune

        transformers.set_seed(seed)  # the new head's weights
        labels = {"id2label": dict(enumerate(LABELS)), "label2id": {label: k for k, label in enumerate(LABELS)}}
        network = hub.load(
            transformers.AutoModelForTokenClassification,
            encoder,
            dtype=torch.float32,
            ignore_mismatched_sizes=True,
            **labels,
        )
        tokenizer = hub.load_tokenizer(encoder)
        if GAP not in tokenizer.get_vocab():
            tokenizer.add_special_tokens({"additional_special_tokens": [GAP]})
            with hub.quietly():
                network.resize_token_embeddings(len(tokenizer))
        reader = Reader(tokenizer, network.config)
        lessons = [lesson for s in sorted(set(sentences)) for lesson in _lessons(parse(s), reader)]
        collate = partial(_collate, pad=reader.pad)
        fine_tune(network, lessons, collate, epochs=epochs, lr=lr, seed=seed, device=device)
        part = folder.with_name(f"{folder.name}.part")
        shutil.rmtree(part, ignore_errors=True)
        with hub.quietly():
            network.save_pretrained(part)
            tokenizer.save_pretrained(part)
        part.rename(folder)
    return TokenRestorer(str(folder), device=device)


def _collate(batch: Sequence[dict[str, list[int]]], *, pad: int) -> dict[str, torch.Tensor]:
    """A batch of input_ids and labels; a label of -100 is left out of the loss."""
    ids, labels = ([torch.tensor(lesson[key]) for lesson in batch] for key in ("input_ids", "labels"))
    return {
        "input_ids": pad_sequence(ids, batch_first=True, padding_value=pad),  # [B, T]
        "attention_mask": pad_sequence([torch.ones_like(row) for row in ids], batch_first=True),
        "labels": pad_sequence(labels, batch_first=True, padding_value=-100),
    }


def fit_and_report(
    encoder: str, punctuated: Sequence[str], folder: Path, *, epochs: int, lr: float, seed: int, device: torch.device
) -> tuple[TokenRestorer, pd.DataFrame]:
    """A model fine-tuned on all the sentences, and how well one tuned on nine tenths restores the rest.

    Each is kept in the folder when it is done, so that an interrupted call goes on. Raises TooFewSentences.
    """
    held_out, others = hold_out(punctuated, seed=seed)
    options = {"epochs": epochs, "lr": lr, "seed": seed, "device": device}
    folder.mkdir(parents=True, exist_ok=True)
    scores = report(fit(encoder, others, folder / "trial", **options), held_out)
    restorer = fit(encoder, [*held_out, *others], folder / "restorer", **options)
    shutil.rmtree(folder / "trial")
    return restorer, scores


def _lessons(parsed: Parsed, reader: Reader) -> Iterator[dict[str, list[int]]]:
    """Pieces with their labels; -100 is a piece that the loss ignores."""
    for gaps in versions(parsed):
        ids, last = reader.read(replace(parsed, gap=gaps))
        labels = [LABELS.index(parsed.mark[i] or "O") if i >= 0 else -100 for i in last]
        before, after = reader.around
        for start, stop, first, end in windows_of(len(ids), reader.width):
            judged = [label if first <= j < end else -100 for j, label in enumerate(labels)][start:stop]
            yield {
                "input_ids": [*before, *ids[start:stop], *after],
                "labels": [*[-100] * len(before), *judged, *[-100] * len(after)],
            }


def _words(parsed: Parsed) -> list[tuple[str, int]]:
    """Words and where their last character stands. A word after a space keeps it, as some tokenizers look for it."""
    words: list[tuple[str, int]] = []
    for i, c in enumerate(parsed.characters):
        after_gap = i > 0 and parsed.gap[i - 1]
        if i > 0 and not after_gap and is_letter(c) and is_letter(parsed.characters[i - 1]):
            words[-1] = (words[-1][0] + c, i)
        else:
            words.append((f" {c}" if after_gap and is_letter(c) else c, i))
    return words
