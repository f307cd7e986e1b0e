"""What every restorer of ，。？！ shares: how a sentence is taken apart, put together again, and scored."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from meiju.config import ConfigError
from meiju.utils import spreadsheets

MARKS = "，。？！"
RANK = "，。！？"  # of several marks in a row, the one furthest right counts: '？！' is a question

FIRST_WITHOUT_SPACES = 0x2E80  # where Chinese and Japanese characters, which part no words by spaces, begin in Unicode


@dataclass(frozen=True)
class Parsed:
    """A sentence without marks and spaces: its characters, where each stood, what follows it.

    position[i]: of character i in the sentence; gap[i]: whether a space follows; mark[i]: the mark that does, or "".
    """

    characters: list[str]
    position: list[int]
    gap: list[bool]
    mark: list[str]


def is_punctuated(sentence: str) -> bool:
    """Whether a sentence holds a mark, full-width or ASCII."""
    return any(c in MARKS for c in full_width(sentence))


def as_subtitle(sentence: str) -> str:
    """A sentence without its marks, as subtitles give it: a space for one inside it, nothing for one at its end."""
    bare = (" " if mark in MARKS else c for c, mark in zip(sentence, full_width(sentence), strict=True))
    return " ".join("".join(bare).split())


def read_sentences(path: Path) -> list[str]:
    """The lines of a UTF-8 text file, blank ones left out. Raises ConfigError naming a line that is not UTF-8."""
    try:
        text = spreadsheets.read_text(path)
    except spreadsheets.TableError as error:
        raise ConfigError(f"{path}{f', line {error.row}' if error.row else ''}: {error}") from None
    return [line.strip() for line in text.splitlines() if line.strip()]


class Restorer:
    """Sets marks; what it learnt of them is up to its subclasses, which say after which characters they belong."""

    drops_marks = False  # whether marks that are there are dropped first, so that all sentences look alike

    def marks_of(self, sentences: Sequence[Parsed]) -> list[list[str]]:
        """The mark after each character of each sentence, or "". Marks that are there already are not looked at."""
        raise NotImplementedError

    def restore_all(self, sentences: Sequence[str]) -> list[str]:
        """The sentences with marks added; nothing else about them changes.

        Marks that are there stay, unless `drops_marks`. A sentence that has some was punctuated by somebody: there,
        marks are only added at spaces and at the end.
        """
        sentences = [as_subtitle(sentence) for sentence in sentences] if self.drops_marks else sentences
        parsed = [parse(sentence) for sentence in sentences]
        wanted = iter(self.marks_of([one for one in parsed if one.characters]))
        both = zip(sentences, parsed, strict=True)
        return [_put(sentence, one, next(wanted)) if one.characters else sentence for sentence, one in both]


def evaluate(restorer: Restorer, sentences: Sequence[str], *, spaces: bool) -> pd.DataFrame:
    """Precision, recall, F1 and support of each mark, restored after the marks were stripped.

    A mark counts as right in the right place only; places without a mark count in no average. Rows are the marks,
    micro (all marks together) and macro (mean over marks).
    """
    from sklearn.metrics import precision_recall_fscore_support  # takes a second; only the step asks for it

    whole = [parsed for parsed in map(parse, sentences) if parsed.characters]
    bare = [replace(p, gap=hinted(p) if spaces else _unhinted(p), mark=[""] * len(p.mark)) for p in whole]
    true = [mark for parsed in whole for mark in parsed.mark]
    restored = [mark for marks in restorer.marks_of(bare) for mark in marks]
    options = {"labels": list(MARKS), "zero_division": 0}
    scores = np.transpose(precision_recall_fscore_support(true, restored, **options))
    table = pd.DataFrame(scores, list(MARKS), ["precision", "recall", "f1", "support"])
    for average in ("micro", "macro"):
        *scores, _ = precision_recall_fscore_support(true, restored, average=average, **options)
        table.loc[average] = [*scores, table.support[list(MARKS)].sum()]
    return table.astype({"support": int})


def report(restorer: Restorer, sentences: Sequence[str]) -> pd.DataFrame:
    """`evaluate` of sentences that were not learnt from: a block of rows without hints, and one with spaces."""
    hints = {"no spaces": False, "spaces at inner marks": True}
    scores = {name: evaluate(restorer, sentences, spaces=spaces) for name, spaces in hints.items()}
    return pd.concat(scores, names=["hints", "mark"])


def full_width(sentence: str) -> str:
    """ASCII marks as full-width ones, character by character; points and commas within numbers and words stay."""
    sentence = re.sub(r"(?<!\d),|,(?!\d)", "，", sentence).replace("?", "？").replace("!", "！")
    return re.sub(r"(?<![.A-Za-z0-9])\.(?![.A-Za-z0-9])|(?<=[A-Za-z])\.(?=\s|$)", "。", sentence)


def parse(sentence: str) -> Parsed:
    """A sentence without its marks and spaces, and where they were."""
    parsed = Parsed([], [], [], [])
    for k, c in enumerate(full_width(sentence)):
        if c in MARKS:
            if parsed.mark and (not parsed.mark[-1] or RANK.index(c) > RANK.index(parsed.mark[-1])):
                parsed.mark[-1] = c
        elif c.isspace():
            if parsed.gap:
                parsed.gap[-1] = True
        else:
            # A lone half of a surrogate pair is no character that the tagger could read.
            parsed.characters.append("\ufffd" if "\ud800" <= c <= "\udfff" else c)
            parsed.position.append(k)
            parsed.gap.append(False)
            parsed.mark.append("")
    if parsed.gap:
        parsed.gap[-1] = False  # a space at the end says nothing
    return parsed


def hinted(parsed: Parsed) -> list[bool]:
    """Spaces at the inner marks, besides those that are there: how subtitles show clauses."""
    return [bool(mark) or gap for mark, gap in zip(parsed.mark[:-1], parsed.gap[:-1], strict=True)] + [False]


def is_hint(parsed: Parsed, i: int) -> bool:
    """Whether the space after character i, if there is one, is more than what parts two words, as in English."""
    return parsed.gap[i] and not (is_letter(parsed.characters[i]) and is_letter(parsed.characters[i + 1]))


def is_letter(c: str) -> bool:
    """Whether a character is one of several that make up a word; Chinese and Japanese ones are not."""
    return ord(c) < FIRST_WITHOUT_SPACES and (c.isalnum() or c in "'’")


def _unhinted(parsed: Parsed) -> list[bool]:
    """No spaces at all, except where a whole sentence is in a script that parts its words by them, as in English."""
    if any(ord(c) >= FIRST_WITHOUT_SPACES for c in parsed.characters):
        return [False] * len(parsed.gap)
    return [gap and not is_hint(parsed, i) for i, gap in enumerate(parsed.gap)]


def _put(sentence: str, parsed: Parsed, marks: list[str]) -> str:
    """The sentence with those of the marks that it is open to."""
    some, last, put = is_punctuated(sentence), len(marks) - 1, list(sentence)
    for i, mark in enumerate(marks):
        if not parsed.mark[i] and (not some or parsed.gap[i] or i == last):
            put[parsed.position[i]] += mark
    return "".join(put)
