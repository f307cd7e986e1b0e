"""Csv tables for people, safe to open in a spreadsheet, which would run a cell that begins with '=' as a formula.

Such a cell gets an apostrophe in front, as OWASP advises (owasp.org/www-community/attacks/CSV_Injection). Tables that
programs read back are not written by these functions: there, names must not change.
"""

import pandas as pd

FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")  # some locales accept the full-width ones


def as_csv(table: pd.DataFrame, **options) -> str:
    """The table as csv, one line per row, without formulas; options are those of `to_csv`."""
    table = table.rename(index=_plain, columns=_plain)
    return table.map(_plain).to_csv(**{"index": False} | options)


def _plain(cell: object) -> object:
    """A text on one line that is not a formula; anything else unchanged."""
    return one_line("'" + cell if cell.startswith(FORMULA) else cell) if isinstance(cell, str) else cell


def one_line(text: str) -> str:
    """The text in valid UTF-8, with spaces in place of line breaks and control characters."""
    text = text.encode("utf-8", "replace").decode("utf-8")
    return "".join(" " if c < " " or c in "\x7f\x85\u2028\u2029" else c for c in text)
