"""Csv tables from people and for people, who make and open them in spreadsheets.

A spreadsheet would run a cell that begins with '=' as a formula: what is written for people gets an apostrophe in front
of such a cell, as OWASP advises (owasp.org/www-community/attacks/CSV_Injection). Tables that programs read back are not
written by these functions: there, names must not change.
"""

import codecs
import csv
import io
import re
import unicodedata
from collections.abc import Container
from pathlib import Path

import pandas as pd

from meiju.utils import files, system
from meiju.utils.clip_files import visible

FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")  # some locales accept the full-width ones
SEPARATORS = ",;\t|"
UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)  # "Unicode text", as Excel saves it


class TableError(ValueError):
    """A file that is no table; `row` is the line where the cause lies, counted from 1 as an editor shows it."""

    def __init__(self, row: int | None, what: str, remedy: str):
        super().__init__(f"{what} ({remedy})")
        self.row, self.what, self.remedy = row, what, remedy


def read_rows(path: Path, *, columns: Container[str]) -> list[tuple[int, list[str]]]:
    """The rows of a csv file that are not blank, each with the line where it begins; the first is the header.

    The separator is what a first line `sep=;` names, as Excel writes it, or of SEPARATORS the one that finds most of
    `columns` in the header (see `column_name`). Raises TableError, Unreadable.
    """
    rows = parse(*_opening(read_text(path), columns))
    rows = [(row, cells) for row, cells in rows if any(cell.strip() for cell in cells)]
    if not rows:
        raise TableError(None, "is empty", "add a header line and one row per clip")
    return rows


def parse(text: str, separator: str = ",") -> list[tuple[int, list[str]]]:
    """The rows of a csv text, each with the line where it begins. Raises TableError."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    rows, row = [], 1
    try:
        for cells in reader:
            rows.append((row, cells))
            row = reader.line_num + 1
    except csv.Error as error:
        remedy = 'double a quotation mark that belongs to the text ("") and put the text into quotes'
        if str(error).startswith(("unexpected end of data", "field larger than")):
            raise TableError(row, "a quote is opened here and not closed", f"close it, or {remedy}") from None
        raise TableError(row, f"cannot be read as csv: {error}", f"check its quotes: {remedy}") from None
    return rows


def read_text(path: Path) -> str:
    """A file of UTF-8 text, with or without a byte order mark, or of UTF-16 with one. Raises TableError, Unreadable."""
    with system.reading(path):
        data = path.read_bytes()
    if files.is_lfs_pointer(path):
        raise TableError(None, files.LFS_POINTER, files.LFS_WHY)
    return decode(data, _encoding(data))


def decode(data: bytes, encoding: str = "utf-8") -> str:
    """The text. Raises TableError."""
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        row = len(re.findall(rb"\r\n|\r|\n", data[: error.start])) + 1
        raise TableError(row, "is not UTF-8", "save it as csv in the encoding UTF-8") from None


def _encoding(data: bytes) -> str:
    return "utf-16" if data.startswith(UTF16) else "utf-8-sig"


def column_name(cell: str) -> str:
    """How the head of a column is compared: without case, width, spaces, - and _, and characters that nobody sees."""
    return re.sub(r"[\s_-]", "", visible(cell, "NFKC")).casefold()


def read_header(path: Path, *, columns: Container[str]) -> list[str]:
    """The heads of a csv file's columns as `column_name` gives them; of a file that is no table, anything."""
    with system.reading(path), path.open("rb") as file:
        data = file.read(1 << 16)
    text, separator = _opening(data.decode(_encoding(data), "replace"), columns)
    return [column_name(cell) for cell in _split(_first_line(text), separator)]


def _opening(text: str, columns: Container[str]) -> tuple[str, str]:
    """The table, with an empty line in place of `sep=;`, and its separator."""
    first, _, rest = text.partition("\n")
    if named := re.fullmatch(r"sep=(.)", first.strip("\r \"'"), re.IGNORECASE):
        return f"\n{rest}", named[1]
    header = _first_line(text)
    return text, max(SEPARATORS, key=lambda mark: sum(column_name(c) in columns for c in _split(header, mark)))


def _first_line(text: str) -> str:
    return next((line for line in text.splitlines() if line.strip()), "")


def _split(line: str, separator: str) -> list[str]:
    """The cells of one line; of one that is no csv, none."""
    try:
        return next(csv.reader([line], delimiter=separator), [])
    except csv.Error:
        return []


def as_csv(table: pd.DataFrame, **options) -> str:
    """The table as csv, one line per row, without formulas; options are those of `to_csv`."""
    table = table.rename(index=_plain, columns=_plain)
    return table.map(_plain).to_csv(**{"index": False} | options)


def _plain(cell: object) -> object:
    """A text on one line that is not a formula; anything else unchanged."""
    return one_line("'" + cell if cell.startswith(FORMULA) else cell) if isinstance(cell, str) else cell


def one_line(text: str) -> str:
    """The text in valid UTF-8, with spaces in place of line breaks and of characters that control a terminal."""
    text = text.encode("utf-8", "replace").decode("utf-8")
    return "".join(" " if unicodedata.category(c) in ("Cc", "Zl", "Zp") or c in BIDI else c for c in text)


BIDI = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"  # turn the text after them around
