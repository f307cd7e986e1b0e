"""What goes to the leaderboard: submission.csv with one line per clip, alone at the root of a zip."""

import codecs
import csv
import difflib
import io
import re
import struct
import zipfile
import zlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path, PurePosixPath

import pandas as pd

from meiju.utils import files

HEADER = ("filename", "emo_pred", "int_pred")
CSV_NAME = "submission.csv"
ZIP_NAME = "submission.zip"
SCORES_NAME = "scores.csv"

SIZE_LIMIT = 64 * 2**20  # bytes; 643 clips need about 30 kB, so anything near this is a mistake or a zip bomb
COMPRESSION = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # what every unzip program knows
# All that zipfile raises on a damaged or encrypted archive.
ZIP_ERRORS = (zipfile.BadZipFile, zlib.error, struct.error, OSError, EOFError, RuntimeError, ValueError, OverflowError)
SHOWN = 3  # examples named in one message
CLASS_NUMBER = re.compile(r"\s*-?\d+(\.0*)?\s*", re.ASCII)

Cells = list[tuple[int, str]]  # (line, text) of one column; the line as an editor counts it


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
        raise ValueError(f"clips predicted twice: {twice}; keep one row per clip")

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
        return [f"{path.name}: larger than {SIZE_LIMIT >> 20} MiB, so not read; a submission has one line per clip"]
    match path.suffix.lower():
        case ".csv":
            where, data, problems = path.name, path.read_bytes(), []
        case ".zip":
            where, (data, problems) = f"{path.name}/{CSV_NAME}", _unzip(path)
        case _:
            return [f"{path.name}: neither .csv nor .zip; hand in the zip"]
    return problems + ([] if data is None else _csv_problems(where, data, set(names), emotions, intents))


def compare_with_reference(folder: Path, reference: Path) -> str:
    """How a run's submission.csv and scores.csv differ from those of a reference folder, in one line.

    Other processors and versions of libraries change last digits, and through training some labels.
    """
    lost = [path for path in (reference / CSV_NAME, reference / SCORES_NAME) if not path.exists()]
    if lost:
        return f"no reference to compare with ({lost[0]} is not there)"
    if all((folder / name).read_bytes() == (reference / name).read_bytes() for name in (CSV_NAME, SCORES_NAME)):
        return "the same as the reference"
    labels, wanted = (pd.read_csv(place / CSV_NAME, index_col=0, dtype=str) for place in (folder, reference))
    scores, expected = (pd.read_csv(place / SCORES_NAME) for place in (folder, reference))
    key = ["stage", "system", "part"]
    both = scores.merge(expected, on=key, suffixes=("", "_reference"))
    if len(both) < max(len(scores), len(expected)) or set(labels.index) != set(wanted.index):
        return "other clips or other systems than in the reference"
    far = (both.JRBM - both.JRBM_reference).abs().max()
    n_other = int((labels.loc[wanted.index] != wanted).any(axis=1).sum())
    return (
        f"differs from the reference: a JRBM by up to {far:.4f}, the labels of {n_other} of {len(wanted)} test clips "
        "(other processors and versions of libraries change last digits)"
    )


def _cell(text: str) -> str:
    # Before Python 3.13 the csv module does not quote a lone carriage return, and readers take it for a line end.
    return '"' + text.replace('"', '""') + '"' if re.search(r'[",\r\n]', text) else text


def _zipped(data: bytes) -> bytes:
    entry = zipfile.ZipInfo(CSV_NAME, date_time=(1980, 1, 1, 0, 0, 0))  # fixed: the same content, the same bytes
    entry.create_system = 3  # Unix, on every system
    entry.external_attr = 0o644 << 16
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(entry, data)  # not compressed: compressed bytes would differ between versions of zlib
    return buffer.getvalue()


def _unzip(path: Path) -> tuple[bytes | None, list[str]]:
    """The bytes of submission.csv in a zip (None if they cannot be read), and what is wrong with the zip."""
    problems = []
    try:
        with zipfile.ZipFile(path) as archive:
            found = [entry.filename for entry in archive.infolist()]
            if found != [CSV_NAME]:
                entries = f"{len(found)} entries ({_examples(found)})" if found else "nothing"
                problems.append(f"{path.name}: holds {entries}; zip {CSV_NAME} alone, at the root of the zip")
            # One in a folder is read too, so that one check names every problem.
            tables = [entry for entry in archive.infolist() if PurePosixPath(entry.filename).name == CSV_NAME]
            if not tables:
                return None, problems
            table = min(tables, key=lambda entry: len(entry.filename))
            if table.file_size > SIZE_LIMIT:
                return None, [
                    *problems,
                    f"{path.name}: {CSV_NAME} unpacks to more than {SIZE_LIMIT >> 20} MiB; not read",
                ]
            if table.compress_type not in COMPRESSION:
                return None, [*problems, f"{path.name}: compressed by an unusual method; use deflate, the usual one"]
            return archive.read(table), problems
    except ZIP_ERRORS as error:
        reason = str(error) or "cut short"
        return None, [f"{path.name}: not a readable zip ({reason}); zip {CSV_NAME} again, without a password"]


def _csv_problems(
    where: str, data: bytes, names: set[str], emotions: Sequence[str], intents: Sequence[str]
) -> list[str]:
    problems, rows, line, wanted = [], [], 1, ",".join(HEADER)
    if data.startswith(codecs.BOM_UTF8):
        problems.append(f"{where}, line 1: begins with a byte-order mark; save as UTF-8 without BOM")
        data = data.removeprefix(codecs.BOM_UTF8)
    try:
        reader = csv.reader(io.StringIO(data.decode("utf-8"), newline=""), strict=True)
        for cells in reader:
            rows.append((line, cells))
            line = reader.line_num + 1  # where the next row begins: a quoted cell may hold line breaks
    except UnicodeDecodeError as error:
        line = len(re.findall(rb"\r\n|\r|\n", data[: error.start])) + 1
        return [*problems, f"{where}, line {line}: not UTF-8 (byte 0x{data[error.start]:02x}); save as UTF-8"]
    except csv.Error as error:
        reason = f"in the row that begins on line {line}: {error}"
        return [*problems, f"{where}: not a comma-separated table ({reason}); write it with a csv library"]
    if not rows:
        return [*problems, f"{where}: empty; the first line must be {wanted}"]
    (line, header), *rows = rows
    if header[:1] and header[0] in names:
        return [*problems, f"{where}, line {line}: no header; add {wanted} above it"]
    if tuple(header) != HEADER:
        shown = _quote(",".join(header))
        return [*problems, f"{where}, line {line}: the header is {shown}; keep three columns, {wanted}, and no index"]

    by_width = defaultdict(list)
    for line, cells in rows:
        by_width[len(cells)].append((line, cells))
    whole = by_width.pop(len(HEADER), [])
    for n, some in sorted(by_width.items()):
        problem = f"{n} cells in place of {len(HEADER)}; quote a cell that holds a comma" if n else "empty; delete it"
        problems += _at(where, some, problem)
    columns = [[(line, cells[k]) for line, cells in whole] for k in range(len(HEADER))]
    problems += _name_problems(where, columns[0], names)
    problems += _label_problems(where, HEADER[1], columns[1], emotions)
    return problems + _label_problems(where, HEADER[2], columns[2], intents)


def _name_problems(where: str, cells: Cells, names: set[str]) -> list[str]:
    clips = [(line, cell if cell in names else PurePosixPath(cell).stem) for line, cell in cells]
    n_lines = Counter(clip for _, clip in clips)
    missing, named = sorted(names - n_lines.keys()), list(zip(cells, clips, strict=True))
    longer = [(cell, clip) for cell, clip in named if cell != clip and clip[1] in names]
    bare = [clip for _, clip in longer]
    unknown = [cell for cell, clip in named if clip[1] not in names]
    repeated = [clip for clip in clips if clip[1] in names and n_lines[clip[1]] > 1]
    suffixes = " and ".join(
        dict.fromkeys(PurePosixPath(cell).suffix or "the folder" for (_, cell), _ in longer[:SHOWN])
    )
    count = "1 clip is missing" if len(missing) == 1 else f"{len(missing)} clips are missing"
    return [
        *_at(where, bare, f"a clip's name with its extension or folder ({_texts(bare)}); cut {suffixes}"),
        *_at(where, unknown, f"not a clip to predict ({_texts(unknown)}); delete or correct it"),
        *_at(where, repeated, f"{_texts(repeated)} more than once; keep one line per clip"),
        *([f"{where}: {count} ({_examples(missing)}); add a line for each"] if missing else []),
    ]


def _label_problems(where: str, column: str, cells: Cells, classes: Sequence[str]) -> list[str]:
    spelling, allowed = {name.casefold(): name for name in classes}, ", ".join(classes)

    def with_hint(label: str) -> str:
        close = difflib.get_close_matches(label[:100].strip().casefold(), spelling, n=1)
        return _quote(label) + (f" (did you mean {_quote(spelling[close[0]])}?)" if close else "")

    wrong = [(line, label) for line, label in cells if label not in classes]
    empty = [(line, label) for line, label in wrong if not label.strip()]
    numbers = [(line, label) for line, label in wrong if CLASS_NUMBER.fullmatch(label)]
    unknown = [(line, label) for line, label in wrong if label.strip() and not CLASS_NUMBER.fullmatch(label)]
    return [
        *_at(where, empty, f"{column} is empty; write one of {allowed}"),
        *_at(where, numbers, f"{column} is a class number ({_texts(numbers)}); write the name: {allowed}"),
        *_at(where, unknown, f"unknown {column} {_texts(unknown, with_hint)}; write one of {allowed}"),
    ]


def _at(where: str, rows: Sequence[tuple], problem: str) -> list[str]:
    """One message for all rows with the same problem; none without rows."""
    lines = _examples([line for line, _ in rows], str)
    return [f"{where}, line{'s' * (len(rows) > 1)} {lines}: {problem}"] if rows else []


def _texts(cells: Cells, show: Callable[..., str] | None = None) -> str:
    return _examples([text for _, text in cells], show or _quote)


def _quote(text: str) -> str:
    """A cell as one short line: quotes around it, line breaks and control characters spelled out."""
    return repr(text if len(text) <= 60 else text[:59] + "…")


def _examples(values: Iterable, show: Callable[..., str] = _quote) -> str:
    """The first few different values, and how many more there are."""
    distinct = list(dict.fromkeys(values))
    more = f" and {len(distinct) - SHOWN} more" if len(distinct) > SHOWN else ""
    return ", ".join(map(show, distinct[:SHOWN])) + more
