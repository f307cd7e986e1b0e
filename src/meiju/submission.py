"""What goes to the leaderboard: one line a clip in submission.csv, alone at the root of a zip."""

import csv
import difflib
import io
import re
import struct
import zipfile
import zlib
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import pandas as pd

from meiju.utils import files

HEADER = ("filename", "emo_pred", "int_pred")
CSV_NAME = "submission.csv"
ZIP_NAME = "submission.zip"

SIZE_LIMIT = 64 * 2**20  # bytes; 643 clips need about 30 kB, so anything near this is a mistake or a zip bomb
COMPRESSION = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # what every unzip program knows
# All that zipfile raises on a damaged or encrypted archive.
ZIP_ERRORS = (zipfile.BadZipFile, zlib.error, struct.error, OSError, EOFError, RuntimeError, ValueError, OverflowError)
SHOWN = 3  # examples named in one message
BOM = b"\xef\xbb\xbf"
CLASS_NUMBER = re.compile(r"\s*-?\d+(\.0*)?\s*", re.ASCII)

Rows = list[tuple[int, list[str]]]  # (line number, cells), the line number as an editor shows it


def write(predictions: pd.DataFrame, folder: Path) -> Path:
    """Write `folder`/submission.csv and .zip, and return the path of the zip.

    predictions: indexed by the clip's name without extension, columns `emotion` and `intent` (label names).
    The same predictions give the same bytes. Raises ValueError on a clip named twice, or without a name or a label.
    """
    table = predictions[["emotion", "intent"]]
    rows = list(table.itertuples(name=None))
    for row in rows:
        if not all(isinstance(cell, str) and cell for cell in row):
            raise ValueError(f"a clip needs a name, an emotion and an intent, all as text; got {row}")
    if not table.index.is_unique:
        twice = _examples(table.index[table.index.duplicated()])
        raise ValueError(f"clips predicted twice: {twice}; keep one row a clip")

    data = "".join(",".join(map(_cell, row)) + "\n" for row in [HEADER, *sorted(rows)]).encode("utf-8")
    for name, content in ((CSV_NAME, data), (ZIP_NAME, _zipped(data))):
        files.write_bytes(folder / name, content)
    return folder / ZIP_NAME


def check(path: Path, *, names: Sequence[str], emotions: Sequence[str], intents: Sequence[str]) -> list[str]:
    """All that is wrong with a .csv or .zip submission, each with file, line and remedy; empty if it is valid.

    names: the clips to predict, without extension. emotions, intents: the label names allowed.
    """
    if not path.is_file():
        return [f"{path}: no such file; write the submission first"]
    if path.stat().st_size > SIZE_LIMIT:
        return [f"{path.name}: larger than {SIZE_LIMIT >> 20} MiB, so not read; a submission has one short line a clip"]
    match path.suffix.lower():
        case ".csv":
            return _check_csv(path.name, path.read_bytes(), names, emotions, intents)
        case ".zip":
            data, problems = _unzip(path)
            where = f"{path.name}/{CSV_NAME}"
            return problems + ([] if data is None else _check_csv(where, data, names, emotions, intents))
    return [f"{path.name}: neither .csv nor .zip; hand in the zip"]


def _cell(text: str) -> str:
    # The csv module leaves a lone carriage return unquoted before Python 3.13, and readers take it for a line's end.
    return '"' + text.replace('"', '""') + '"' if re.search(r'[",\r\n]', text) else text


def _zipped(data: bytes) -> bytes:
    entry = zipfile.ZipInfo(CSV_NAME, date_time=(1980, 1, 1, 0, 0, 0))  # fixed: the same content, the same bytes
    entry.create_system = 3  # Unix, on every system
    entry.external_attr = 0o644 << 16
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(entry, data)  # stored: compressed bytes would differ between versions of zlib
    return buffer.getvalue()


def _unzip(path: Path) -> tuple[bytes | None, list[str]]:
    """The bytes of submission.csv in a zip (None if they cannot be had), and what is wrong with the zip."""
    try:
        with zipfile.ZipFile(path) as archive:
            entry, problems = _find_entry(path.name, archive.infolist())
            return archive.read(entry) if entry else None, problems
    except ZIP_ERRORS as error:
        reason = str(error) or "cut short"
        return None, [f"{path.name}: not a zip that can be read ({reason}); zip {CSV_NAME} anew, without a password"]


def _find_entry(where: str, entries: list[zipfile.ZipInfo]) -> tuple[zipfile.ZipInfo | None, list[str]]:
    """The entry to read as submission.csv (None if there is none or it is unsafe), and what is wrong."""
    # At the root first; one in a folder is found too, so that its content is checked in the same go.
    found = sorted((e for e in entries if PurePosixPath(e.filename).name == CSV_NAME), key=lambda e: len(e.filename))
    if not found:
        inside = _examples([e.filename for e in entries]) if entries else "nothing"
        return None, [f"{where}: no {CSV_NAME} at its root (it holds {inside}); zip the file itself, under that name"]

    entry, problems = found[0], []
    if entry.filename != CSV_NAME:
        problems.append(f"{where}: {CSV_NAME} lies at {_quote(entry.filename)}; put it at the root of the zip")
    others = [e.filename for e in entries if e is not entry]
    if others:
        problems.append(f"{where}: other entries ({_examples(others)}); zip {CSV_NAME} alone, without folders")
    if entry.file_size > SIZE_LIMIT:
        problems.append(f"{where}: {CSV_NAME} unpacks to more than {SIZE_LIMIT >> 20} MiB, so it was not read")
        return None, problems
    if entry.compress_type not in COMPRESSION:
        problems.append(f"{where}: {CSV_NAME} is packed by an unusual method; zip it with ordinary compression")
        return None, problems
    return entry, problems


def _check_csv(
    where: str, data: bytes, names: Sequence[str], emotions: Sequence[str], intents: Sequence[str]
) -> list[str]:
    problems = []
    if data.startswith(BOM):
        problems.append(f"{where}, line 1: begins with a byte-order mark; save as UTF-8 without BOM")
        data = data.removeprefix(BOM)
    try:
        rows = _parse(data.decode("utf-8"))
    except UnicodeDecodeError as error:
        line = _line_of(data, error.start)
        return [*problems, f"{where}, line {line}: not UTF-8 (byte 0x{data[error.start]:02x}); save as UTF-8"]
    except csv.Error as error:
        return [*problems, f"{where}: not a comma-separated table ({error}); write it with a csv library"]
    if not rows:
        return [*problems, f"{where}: empty; the first line must be {','.join(HEADER)}"]

    header_problems, columns, width, rows = _read_header(where, rows, set(names))
    whole = [(line, [cells[c] for c in columns]) for line, cells in rows if len(cells) == width]
    return [
        *problems,
        *header_problems,
        *_check_width(where, rows, width),
        *_check_names(where, [(line, cells[0]) for line, cells in whole], names),
        *_check_labels(where, HEADER[1], [(line, cells[1]) for line, cells in whole], emotions),
        *_check_labels(where, HEADER[2], [(line, cells[2]) for line, cells in whole], intents),
    ]


def _parse(text: str) -> Rows:
    """Rows of a csv text; raises csv.Error, naming the line, where quotes do not match."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    rows, line = [], 1
    try:
        for cells in reader:
            rows.append((line, cells))
            line = reader.line_num + 1  # where the next row begins: a quoted cell may hold line breaks
    except csv.Error as error:
        raise csv.Error(f"in the row that begins on line {line}: {error}") from None
    return rows


def _line_of(data: bytes, position: int) -> int:
    return len(re.findall(rb"\r\n|\r|\n", data[:position])) + 1


def _read_header(where: str, rows: Rows, names: set[str]) -> tuple[list[str], list[int], int, Rows]:
    """What is wrong with the header, where the three columns lie, the width of a row, and the rows below it."""
    (line, header), *below = rows
    if tuple(header) == HEADER:
        return [], [0, 1, 2], 3, below
    wanted = ",".join(HEADER)
    if header and header[0] in names:
        return [f"{where}, line {line}: no header; add {wanted} above it"], [0, 1, 2], 3, rows
    shown = _quote(",".join(header))
    if set(HEADER) <= set(header):
        problem = f"{where}, line {line}: the header is {shown}; keep three columns, {wanted}, and no index"
        return [problem], [header.index(column) for column in HEADER], len(header), below
    return [f"{where}, line {line}: the header is {shown}; it must be {wanted}"], [0, 1, 2], 3, below


def _check_width(where: str, rows: Rows, width: int) -> list[str]:
    lines_of = defaultdict(list)
    for line, cells in rows:
        if len(cells) != width:
            lines_of[len(cells)].append(line)
    return [
        f"{where}, {_lines(lines)}: "
        + (f"{count} cells in place of {width}; quote a cell that holds a comma" if count else "empty; delete it")
        for count, lines in sorted(lines_of.items())
    ]


def _check_names(where: str, cells: list[tuple[int, str]], names: Sequence[str]) -> list[str]:
    known = set(names)
    lines_of, with_extension, unknown = defaultdict(list), [], []
    for line, name in cells:
        stem = name if name in known else PurePosixPath(name).stem
        if stem not in known:
            unknown.append((line, name))
            continue
        lines_of[stem].append(line)
        if name != stem:
            with_extension.append((line, name))

    problems = []
    if with_extension:
        lines, found = zip(*with_extension, strict=True)
        example = PurePosixPath(found[0])
        remedy = f"cut {example.suffix or 'the folder'}, so that {_quote(found[0])} becomes {_quote(example.stem)}"
        problems.append(f"{where}, {_lines(lines)}: the clip's name with its extension or folder; {remedy}")
    if unknown:
        lines, found = zip(*unknown, strict=True)
        problems.append(f"{where}, {_lines(lines)}: not a clip to predict ({_examples(found)}); delete or correct it")
    repeated = [name for name, lines in lines_of.items() if len(lines) > 1]
    if repeated:
        lines = sorted(line for name in repeated for line in lines_of[name])
        problems.append(f"{where}, {_lines(lines)}: {_examples(repeated)} more than once; keep one line a clip")
    missing = sorted(known - lines_of.keys())
    if missing:
        count = "1 clip is missing" if len(missing) == 1 else f"{len(missing)} clips are missing"
        problems.append(f"{where}: {count} ({_examples(missing)}); add a line for each")
    return problems


def _check_labels(where: str, column: str, cells: list[tuple[int, str]], classes: Sequence[str]) -> list[str]:
    known = set(classes)
    wrong = [(line, label) for line, label in cells if label not in known]
    empty = [line for line, label in wrong if not label.strip()]
    numbers = [(line, label) for line, label in wrong if CLASS_NUMBER.fullmatch(label)]
    unknown = [(line, label) for line, label in wrong if label.strip() and not CLASS_NUMBER.fullmatch(label)]

    allowed = ", ".join(classes)
    problems = []
    if empty:
        problems.append(f"{where}, {_lines(empty)}: {column} is empty; write one of {allowed}")
    if numbers:
        lines, found = zip(*numbers, strict=True)
        example = _quote(found[0])
        problems.append(f"{where}, {_lines(lines)}: {column} is a class number ({example}); write the name: {allowed}")
    if unknown:
        lines, found = zip(*unknown, strict=True)
        distinct = list(dict.fromkeys(found))
        hinted = [_quote(label) + _hint(label, classes) for label in distinct[:SHOWN]]
        more = f" and {len(distinct) - SHOWN} more" if len(distinct) > SHOWN else ""
        labels = ", ".join(hinted) + more
        problems.append(f"{where}, {_lines(lines)}: unknown {column} {labels}; write one of {allowed}")
    return problems


def _hint(label: str, classes: Sequence[str]) -> str:
    spelling = {name.casefold(): name for name in classes}
    close = difflib.get_close_matches(label[:100].strip().casefold(), spelling, n=1)
    return f" (did you mean {_quote(spelling[close[0]])}?)" if close else ""


def _lines(lines: Sequence[int]) -> str:
    listed = ", ".join(str(line) for line in lines[:SHOWN])
    more = f" and {len(lines) - SHOWN} more" if len(lines) > SHOWN else ""
    return f"line{'s' * (len(lines) > 1)} {listed}{more}"


def _examples(texts: Sequence[str]) -> str:
    listed = ", ".join(_quote(text) for text in texts[:SHOWN])
    return f"{listed} and {len(texts) - SHOWN} more" if len(texts) > SHOWN else listed


def _quote(text: str) -> str:
    """A cell as one short line: quotes around it, line breaks and control characters spelled out."""
    return repr(text if len(text) <= 60 else text[:59] + "…")
