"""What goes to the terminal."""

import os
import sys
import unicodedata
from collections.abc import Iterator, Sequence
from contextlib import contextmanager


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows of cells as lines of aligned columns."""
    widths = [max(map(width, column)) for column in zip(*rows, strict=True)]
    padded = [[c + " " * (size - width(c)) for c, size in zip(row, widths, strict=True)] for row in rows]
    return ["  ".join(cells).rstrip() for cells in padded]


def width(text: str) -> int:
    """Columns that a text takes in a terminal: two for a wide character, such as a Chinese one, none for an accent."""
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else not unicodedata.combining(c) for c in text)


@contextmanager
def end_if_unread() -> Iterator[None]:
    """End the program without a traceback where nobody reads its output any more, as in `--help | head`."""
    try:
        try:
            yield
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # at the end, Python flushes once more
        raise SystemExit(1) from None
