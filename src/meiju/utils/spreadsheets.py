"""Tables that people open in a spreadsheet, which takes a cell that begins with '=' for a formula and runs it.

Such a cell gets an apostrophe in front, as OWASP advises (owasp.org/www-community/attacks/CSV_Injection). Tables that
programs read back are written as they are: there a changed name would be another one.
"""

import pandas as pd

FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")  # full-width ones are taken for them in places


def as_csv(table: pd.DataFrame, **options) -> str:
    """The table as csv, one line a row, with texts that no spreadsheet takes for a formula; options as of to_csv."""
    table = table.rename(index=_shown, columns=_shown)
    return table.apply(lambda column: column.map(_shown)).to_csv(**{"index": False} | options)


def _shown(cell: object) -> object:
    """A text on one line, which is no formula; anything else as it is."""
    if not isinstance(cell, str):
        return cell
    cell = "'" + cell if cell.startswith(FORMULA) else cell
    return one_line(cell)


def one_line(text: str) -> str:
    """The text with spaces for line breaks and control characters, and in characters that UTF-8 can hold."""
    text = text.encode("utf-8", "replace").decode("utf-8")
    return "".join(" " if c < " " or c in "\x7f\x85\u2028\u2029" else c for c in text)
