"""What goes to the leaderboard: submission.csv with one line per clip, alone at the root of a zip."""

import codecs
import io
import zipfile
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd

from meiju.utils import files, spreadsheets, system
from meiju.utils.clip_files import examples

HEADER = ("filename", "emo_pred", "int_pred")
CSV_NAME = "submission.csv"
ZIP_NAME = "submission.zip"
SCORES_NAME = "scores.csv"

SIZE_LIMIT = 64 * 2**20  # bytes; 643 clips need about 30 kB, so anything near this is a mistake or a zip bomb


def write(predictions: pd.DataFrame, folder: Path) -> Path:
    """Write `folder`/submission.csv and .zip, and return the path of the zip.

    predictions: indexed by the clip's name without extension, columns `emotion` and `intent` (label names).
    The same predictions give the same bytes.
    """
    table = predictions[["emotion", "intent"]].set_axis(HEADER[1:], axis=1).sort_index()
    data = table.to_csv(index_label=HEADER[0], lineterminator="\n").encode("utf-8")
    for name, content in ((CSV_NAME, data), (ZIP_NAME, _zipped(data))):
        files.write_bytes(folder / name, content)
    return folder / ZIP_NAME


def check(
    path: Path,
    *,
    names: Iterable[str],
    emotions: Sequence[str],
    intents: Sequence[str],
    others: Iterable[str] = (),
) -> list[str]:
    """All that is wrong with a .csv or .zip submission, each with file, line and remedy; empty if it is valid.

    names: the clips to predict, without extension; others: clips that may have a row too. emotions, intents: the label
    names allowed; where there are none, any label is.
    """
    where, data, problems = _contents(path)
    if data is None:
        return problems
    rows, wrong = _rows(where, data)
    if rows is not None:
        classes = dict(zip(HEADER[1:], (emotions, intents), strict=True))
        wrong += _row_problems(where, rows, set(names), {*names, *others}, classes)
    return problems + wrong


def read(path: Path) -> pd.DataFrame:
    """The labels of a submission that `check` finds valid: columns emotion and intent, indexed by the clip's name."""
    _, *rows = [cells for _, cells in spreadsheets.parse(spreadsheets.decode(_contents(path)[1]))]
    return pd.DataFrame(rows, columns=["name", "emotion", "intent"], dtype=str).set_index("name")


def compare_with_reference(folder: Path, reference: Path) -> str:
    """How a run's submission.csv and scores.csv differ from those of a reference folder, in one line.

    Other processors and versions of libraries change last digits, and through training some labels.
    """
    if not all((reference / name).exists() for name in (CSV_NAME, SCORES_NAME)):
        return f"no reference to compare with in {reference}"
    if all((folder / name).read_bytes() == (reference / name).read_bytes() for name in (CSV_NAME, SCORES_NAME)):
        return "the same as the reference"
    labels, wanted = (pd.read_csv(place / CSV_NAME, index_col=0, dtype=str) for place in (folder, reference))
    scores, expected = (pd.read_csv(place / SCORES_NAME).JRBM for place in (folder, reference))
    far, n_other = (scores - expected).abs().max(), int((labels.reindex(wanted.index) != wanted).any(axis=1).sum())
    return (
        f"differs from the reference: a JRBM by up to {far:.4f}, the labels of {n_other} of {len(wanted)} test clips "
        "(other processors and versions of libraries change last digits)"
    )


def _zipped(data: bytes) -> bytes:
    entry = zipfile.ZipInfo(CSV_NAME, date_time=(1980, 1, 1, 0, 0, 0))  # fixed: the same content, the same bytes
    entry.create_system = 3  # Unix, on every system
    entry.external_attr = 0o644 << 16
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(entry, data)  # not compressed: compressed bytes would differ between versions of zlib
    return buffer.getvalue()


def _contents(path: Path) -> tuple[str, bytes | None, list[str]]:
    """How messages name the csv file, its bytes (None where it cannot be read), and what is wrong so far."""
    if not path.is_file():
        return "", None, [f"{path}: no such file; write the submission first"]
    if files.is_lfs_pointer(path):
        return "", None, [f"{path.name}: {files.LFS_POINTER}"]
    if path.suffix.lower() == ".zip":
        return f"{path.name}/{CSV_NAME}", *_unzip(path)
    if path.suffix.lower() != ".csv":
        return "", None, [f"{path.name}: neither .csv nor .zip; hand in the zip"]
    with system.reading(path):
        return path.name, path.read_bytes(), []


def _unzip(path: Path) -> tuple[bytes | None, list[str]]:
    """The bytes of submission.csv in a zip (None if it cannot or must not be read), and what is wrong with the zip."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            if CSV_NAME in names and archive.getinfo(CSV_NAME).file_size > SIZE_LIMIT:
                return None, [f"{path.name}: {CSV_NAME} unpacks to more than {SIZE_LIMIT >> 20} MiB; it was not read"]
            data = archive.read(CSV_NAME) if CSV_NAME in names else None
    except Exception as error:  # zipfile raises half a dozen kinds for a damaged or encrypted archive
        system.raise_unreadable(path, error)
        reason = str(error) or "cut short"
        return None, [f"{path.name}: not a readable zip ({reason}); zip {CSV_NAME} again, without a password"]
    held = _quoted(names) if names else "nothing"
    alone = f"{path.name}: holds {held}; zip {CSV_NAME} alone, at the root of the zip"
    return data, [] if names == [CSV_NAME] else [alone]


def _rows(where: str, data: bytes) -> tuple[list[tuple[int, list[str]]] | None, list[str]]:
    """The rows below the header of a csv file, each with its line, and what is wrong; None if it is no table."""
    problems = []
    if data.startswith(codecs.BOM_UTF8):
        problems.append(f"{where}, line 1: begins with a byte-order mark; save as UTF-8 without BOM")
    try:
        rows = spreadsheets.parse(spreadsheets.decode(data.removeprefix(codecs.BOM_UTF8)))
    except spreadsheets.TableError as error:
        return None, [*problems, f"{where}, line {error.row}: {error.what}; {error.remedy}"]
    header = rows[0][1] if rows else []
    if tuple(header) != HEADER:
        remedy = f"the first line must be {','.join(HEADER)}, and there is no index"
        return None, [*problems, f"{where}, line 1: the header is {','.join(header)[:60]!r}; {remedy}"]
    return rows[1:], problems


def _row_problems(
    where: str, rows: list[tuple[int, list[str]]], names: set[str], known: set[str], classes: dict[str, Sequence[str]]
) -> list[str]:
    """What is wrong with the rows below the header: one message for each kind of problem.

    names: the clips that need a row; known: those that may have one; classes: the label names allowed in each column.
    """
    found: dict[str, list[tuple[int, str]]] = defaultdict(list)  # by problem and remedy: lines, and what stands there
    lines_of: dict[str, list[int]] = defaultdict(list)
    for line, cells in rows:
        if len(cells) != len(HEADER):
            found[f"not {len(HEADER)} cells; quote a cell that holds a comma"].append((line, ",".join(cells)))
            continue
        name, *labels = cells
        lines_of[name].append(line)
        if name not in known:
            found["not a clip to predict; names are without folder and extension"].append((line, name))
        for (column, allowed), label in zip(classes.items(), labels, strict=True):
            if label not in allowed and (allowed or not label.strip()):
                remedy = f"one of {', '.join(allowed)}" if allowed else "a label"
                found[f"unknown {column}; write {remedy}"].append((line, label))
    for name, lines in lines_of.items():
        if len(lines) > 1:
            found["more than once; keep one line per clip"] += [(line, name) for line in lines]
    problems = []
    for problem, cells in found.items():
        lines, texts = zip(*sorted(cells), strict=True)
        what, _, remedy = problem.partition("; ")
        problems.append(f"{where}, line {examples(list(dict.fromkeys(lines)))}: {what} ({_quoted(texts)}); {remedy}")
    missing = sorted(names - lines_of.keys())
    if missing:
        problems.append(f"{where}: no line for {len(missing)} of {len(names)} clips ({_quoted(missing)}); add them")
    return problems


def _quoted(texts: Iterable[str]) -> str:
    """The first different cells, each as one short line: in quotes, with control characters spelled out."""
    return examples([repr(text[:60]) for text in dict.fromkeys(texts)])
