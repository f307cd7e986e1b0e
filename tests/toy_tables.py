"""Tables and files of a corpus in the official layout."""

import csv
from pathlib import Path

import pytest

from meiju.config import ConfigError, CorpusConfig
from meiju.data.corpus import Corpus, read_corpus

TABLES = TRAINING, VALIDATION, TESTING = [f"Annotation/{part}.csv" for part in ("training", "validation", "testing")]
HEADERS = {part: ["FileName", "Subtitle", "emotion", "intent"] for part in ("training", "validation")}
HEADERS["testing"] = ["FileName", "Subtitle"]
ROWS = {
    "training": [["t1.mp4", "走吧", "happy", "suggesting"], ["t2.mp4", "", "sad", "neutral"]],
    "validation": [["v1.mp4", "yes, of course", "anger", "agreeing"]],
    "testing": [["x1.mp4", "why?"]],
}
NAMES = ["t1", "t2", "v1", "x1"]
LABELLED = ["t1", "t2", "v1"]


def write_tables(root: Path, *, encoding: str = "utf-8", form: dict | None = None, **parts: list[list]) -> Path:
    """Annotation/<part>.csv of each part, its header first; form: options of `csv.writer`. Returns the root."""
    (root / "Annotation").mkdir(parents=True, exist_ok=True)
    for part, rows in parts.items():
        with (root / "Annotation" / f"{part}.csv").open("w", newline="", encoding=encoding) as file:
            csv.writer(file, **(form or {})).writerows(rows)
    return root


def write_files(root: Path, *names: str) -> None:
    """Files that hold their own names."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)


def write_corpus(root: Path, *, rows=None, headers=None, media=NAMES, **options) -> Path:
    """A corpus in the official layout. rows, headers: what differs from ROWS, HEADERS; a part of None has no table."""
    rows, headers = ROWS | (rows or {}), HEADERS | (headers or {})
    write_files(root, *(f"Training/{name}.mp4" for name in media))
    parts = {part: [headers[part], *rows[part]] for part in ROWS if rows[part] is not None}
    return write_tables(root, **options, **parts)


def open_corpus(root: Path, *, needs_media: bool = True, **settings) -> Corpus:
    return read_corpus(CorpusConfig(root=root, **settings), needs_media=needs_media)


def problems_of(root: Path, **options) -> list[str]:
    """All that is wrong, without the warnings."""
    with pytest.raises(ConfigError, match=r"^the corpus has ") as caught:
        open_corpus(root, **options)
    _, *lines = str(caught.value).split("\n  ")
    assert all(line.endswith(")") for line in lines), "a problem without a remedy"
    return [line for line in lines if not line.startswith("warning: ")]
