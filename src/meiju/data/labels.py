"""The two label sets, and the one place that knows the order of their classes.

The spelling and the order are the official baseline's (AI-S2-Lab/MEIJU2025-baseline).
"""

import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from meiju.utils.clip_files import visible

EMOTIONS = ("happy", "surprise", "sad", "disgust", "anger", "fear", "neutral")
INTENTS = ("questioning", "agreeing", "acknowledging", "encouraging", "consoling", "suggesting", "wishing", "neutral")

TASKS = ("emotion", "intent")

UNKNOWN = -1  # the class number of a clip without a label


@dataclass(frozen=True)
class LabelSet:
    """The class names of both tasks, in the order of every probability column."""

    emotion: tuple[str, ...] = EMOTIONS
    intent: tuple[str, ...] = INTENTS

    def __getitem__(self, task: str) -> tuple[str, ...]:
        return getattr(self, task)

    def encode(self, task: str, names: Sequence[str]) -> np.ndarray:
        """Class numbers [N] int64 of label names; UNKNOWN where a clip has no label (an empty name)."""
        number = {name: k for k, name in enumerate(self[task])} | {"": UNKNOWN}
        return np.array([number[name] for name in names], dtype=np.int64)

    def decode(self, task: str, numbers: Sequence[int]) -> list[str]:
        """Label names of class numbers, the inverse of `encode`."""
        names = [*self[task], ""]  # the last entry is for UNKNOWN, -1
        return [names[k] for k in numbers]


def clean_label(text: str) -> str:
    """A label as tables may hold it, without invisible characters, full-width forms and needless spaces."""
    return " ".join(visible("".join(" " if unicodedata.category(c) == "Cc" else c for c in text), "NFKC").split())


def spelled(labels: Iterable[str], known: Sequence[str]) -> list[str]:
    """Labels, cleaned, in the spelling of those that are known, whatever their case; of several spellings, the last."""
    spelling = {label.casefold(): label for label in known}
    return [spelling.get(label.casefold(), label) for label in map(clean_label, labels)]


def probability_column(task: str, label: str) -> str:
    """The column of a soft label's probability."""
    return f"{task}_probability_{label}"


OFFICIAL = LabelSet()
