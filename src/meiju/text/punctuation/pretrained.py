"""Restores marks with a pretrained transformer that classifies tokens and was made for it.

What such a model reads: every Chinese character is a word of its own, and so is every run of other letters and digits;
a word's mark is read off its last piece. Long sentences are read in windows that overlap by half, and each place is
decided in the window that shows most on both sides of it.
"""

import itertools
import re
from collections.abc import Iterator, Sequence

import numpy as np
import torch
import transformers
from torch.nn.utils.rnn import pad_sequence
from tqdm import tqdm

from meiju.config import require
from meiju.text.punctuation.base import MARKS, Parsed, Restorer, evaluate, is_hint, is_letter
from meiju.utils import hub

# A space beside a Chinese character most likely stands for a mark, and such models do not see it: there, a mark is set
# if it is this likely, compared with none.
GAP_ODDS = 0.1
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
    """The mark that each label of a model stands for, or "" for none. Raises ConfigError where all or none do.

    Understood are marks themselves, full-width or ASCII, and their English or Chinese names, with any prefix or suffix:
    'S-，', 'COMMA', 'B-？', '.U'. A label beginning with 'I-' is a place inside a clause, which no mark follows.
    """
    marks = []
    for name in names:
        label = "" if name.startswith("I-") else name.lower()
        marks.append(next((mark for mark, pattern in NAMES if re.search(pattern, label)), ""))
    for is_amiss, what in ((not any(marks), "a mark"), (all(marks), "no mark")):
        require(not is_amiss, f"--punctuation: none of the model's labels names {what}; they are {', '.join(names)}")
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
        self.tokenizer = hub.load_tokenizer(model)
        inner, whole = (self.tokenizer("a", add_special_tokens=special)["input_ids"] for special in (False, True))
        start = next((k for k in range(len(whole)) if whole[k : k + len(inner)] == inner), 0)
        self.before, self.after = whole[:start], whole[start + len(inner) :]
        # RoBERTa counts positions from 2.
        positions = getattr(self.network.config, "max_position_embeddings", None) or WINDOW
        self.width = max(2, min(WINDOW, positions - 2) - (len(whole) - len(inner)))
        # [labels, 1 + marks]: adds up the labels that stand for the same mark; the first column is none
        self.sums = torch.tensor([[mark == kind for kind in ("", *MARKS)] for mark in marks], dtype=torch.float32)

    def marks_of(self, sentences: Sequence[Parsed]) -> list[list[str]]:
        """The likeliest mark after each character, where it is likelier than none."""
        pieces = [self._pieces(parsed) for parsed in sentences]
        chosen = [[""] * len(parsed.characters) for parsed in sentences]
        probs = self._probs([[piece for piece, _ in of_sentence] for of_sentence in pieces])
        for parsed, of_sentence, p, marks in zip(sentences, pieces, probs, chosen, strict=True):
            for (_, i), (none, *likelihoods) in zip(of_sentence, p, strict=True):
                best = int(np.argmax(likelihoods))
                if i is not None and likelihoods[best] > (GAP_ODDS if is_hint(parsed, i) else 1) * none:
                    marks[i] = MARKS[best]
        return chosen

    def _pieces(self, parsed: Parsed) -> list[tuple[int, int | None]]:
        """Pieces of a sentence by number, each with the character that its mark follows; None where none can."""
        words, ends = zip(*_words(parsed), strict=True)
        ids = self.tokenizer(list(words), add_special_tokens=False)["input_ids"]
        pieces: list[tuple[int, int | None]] = []
        for of_word, end in zip(ids, ends, strict=True):
            pieces += [(piece, end if k == len(of_word) else None) for k, piece in enumerate(of_word, 1)]
        return pieces

    def _probs(self, rows: Sequence[list[int]]) -> list[np.ndarray]:
        """Probabilities [pieces, 1 + marks] of every sentence; windows of like length are read together."""
        windows = [(k, *window) for k, ids in enumerate(rows) for window in windows_of(len(ids), self.width)]
        windows.sort(key=lambda window: window[2] - window[1])
        probs = [np.zeros((len(ids), 1 + len(MARKS)), np.float32) for ids in rows]
        batches = [windows[b : b + BATCH] for b in range(0, len(windows), BATCH)]
        for batch in tqdm(batches, desc="punctuation", unit="batch", disable=True if len(batches) < 2 else None):
            read = self._read([rows[k][start:stop] for k, start, stop, _, _ in batch])
            for (k, start, _, first, end), p in zip(batch, read, strict=True):
                probs[k][first:end] = p[first - start : end - start]
        return probs

    @torch.inference_mode()
    def _read(self, rows: list[list[int]]) -> list[np.ndarray]:
        """Probabilities [pieces, 1 + marks] of each row of pieces, all read as one batch."""
        before, after = (self.before, self.after) if self.special_tokens else ([], [])
        whole = [torch.tensor([*before, *ids, *after]) for ids in rows]
        ids = pad_sequence(whole, batch_first=True, padding_value=self.tokenizer.pad_token_id or 0)  # [B, T]
        mask = pad_sequence([torch.ones_like(row) for row in whole], batch_first=True)  # [B, T]
        logits = self.network(input_ids=ids.to(self.device), attention_mask=mask.to(self.device)).logits
        probs = logits.float().softmax(-1).cpu() @ self.sums  # [B, T, 1 + marks]
        return [p[len(before) : len(before) + len(row)].numpy() for p, row in zip(probs, rows, strict=True)]


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
    tried = [punctuated[k] for k in np.random.default_rng(0).permutation(len(punctuated))[:TRIED]]
    if tried:
        f1 = {}
        for special_tokens in (True, False):
            restorer.special_tokens = special_tokens
            f1[special_tokens] = evaluate(restorer, tried, spaces=False).loc["micro", "f1"]
        restorer.special_tokens = bool(f1[True] >= f1[False])
    return restorer


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
