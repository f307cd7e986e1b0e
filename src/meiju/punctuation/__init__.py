"""Restorers of ，。？！ in transcripts that lost them."""

from meiju.punctuation.base import (
    MARKS,
    MIN_SENTENCES,
    Restorer,
    TooFewSentences,
    evaluate,
    is_punctuated,
    read_sentences,
)
from meiju.punctuation.crf import CrfRestorer, fit_and_report

__all__ = [
    "MARKS",
    "MIN_SENTENCES",
    "CrfRestorer",
    "Restorer",
    "TooFewSentences",
    "evaluate",
    "fit_and_report",
    "is_punctuated",
    "read_sentences",
]
