"""What people and their programs do to a corpus' folder without meaning ill; each change is of one kind."""

import codecs
import csv
import io
import random
import shutil
from collections.abc import Callable
from pathlib import Path

from fuzzing.bench import TABLES

Rows = list[list[str]]


def other_separator(root: Path, rng: random.Random) -> None:
    """A table saved with semicolons, tabs or bars, with or without Excel's first line."""
    mark = rng.choice(";\t,|")
    _rewrite(root, rng, delimiter=mark, before=rng.choice(("", f"sep={mark}\n")))


def other_encoding(root: Path, rng: random.Random) -> None:
    """A table saved in the encoding of a country or of another program."""
    _rewrite(root, rng, encoding=rng.choice(("gb18030", "utf-8-sig", "utf-16")))


def second_column(root: Path, rng: random.Random) -> None:
    """A column that means what another one means, and says the same or not."""
    column, head = rng.choice(((0, "name"), (1, "sentence")))
    same = rng.random() < 0.5

    def add(rows: Rows) -> Rows:
        return [
            [*row, head if k == 0 else row[column] if same and column < len(row) else "x"] for k, row in enumerate(rows)
        ]

    _rewrite(root, rng, add)


def stray_quotes(root: Path, rng: random.Random) -> None:
    """Quotation marks before one sentence and behind the same or a later one, or none behind."""
    path = rng.choice(_tables(root))
    lines = _read(path).splitlines()
    mark = next(mark for mark in "\t;|," if mark in lines[-1])  # an earlier change may have set another separator
    a, b = sorted(rng.randrange(1, len(lines)) for _ in range(2))
    lines[a] = lines[a].replace(mark, f'{mark}"', 1)
    if rng.random() < 0.7:
        first, _, rest = lines[b].rpartition(mark)
        lines[b] = f'{first}"{mark}{rest}' if lines[b].count(mark) > 1 and a != b else f'{lines[b]}"'
    path.unlink()  # it may be the bench's own, by a hard link
    path.write_bytes("\n".join(lines).encode())


def invisible(root: Path, rng: random.Random) -> None:
    """Capitals, full-width letters and invisible characters in labels; the latter in names."""
    odd = rng.choice((str.upper, str.title, lambda text: f"{text}\u200b", lambda text: f" {text} ", _full_width))

    def change(rows: Rows) -> Rows:
        chosen = [rng.random() < 0.3 for _ in rows]
        return [
            [f"\ufeff{row[0]}", row[1], *map(odd, row[2:])] if k and len(row) > 1 and chosen[k] else row
            for k, row in enumerate(rows)
        ]

    _rewrite(root, rng, change)


def renamed(root: Path, rng: random.Random) -> None:
    """The pool's folder or table under another name."""
    if rng.random() < 0.5:
        (root / "NoAnnotation").rename(root / rng.choice(("noannotation", "No_Annotation", "unlabeled", "Pool")))
    else:
        (root / TABLES["unlabelled"]).rename(root / rng.choice(("Unlabeled_transcription.csv", "UNLABELLED.tsv")))


def linked(root: Path, rng: random.Random) -> None:
    """Clips, their folder or a table as links, out of the corpus or within it, and circles of links."""
    place = rng.choice((root / "store", root.parent / "store"))
    place.mkdir(exist_ok=True)
    what = rng.choice([root / "clips", *_tables(root), *sorted((root / "clips").glob("*"))])
    target = place / f"{what.stem}{rng.choice((what.suffix, '.bin'))}"
    if not target.exists() and not what.is_symlink():
        what.rename(target)
        what.symlink_to(target)
    if rng.random() < 0.3:
        (root / "round").symlink_to(root)


def other_endings(root: Path, rng: random.Random) -> None:
    """A clip in another container, or with an ending that nobody knows."""
    clip = rng.choice(sorted((root / "clips").glob("*")))
    clip.rename(clip.with_suffix(rng.choice((".mkv", ".TS", ".3gp", ".ogg", ".xyz", ""))))


def left_overs(root: Path, rng: random.Random) -> None:
    """Files that other programs leave: tables of single clips, notes, sound beside a clip."""
    for name in rng.sample(("Training_1.csv", "testing_2.csv", "notes.txt", "test.csv", "training0.wav"), k=2):
        path = root / rng.choice(("Annotation", "NoAnnotation", "clips/deep")) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("frame, face_id\n1, 0\n")


CHANGES: tuple[Callable[[Path, random.Random], None], ...] = (
    *(other_separator, other_encoding, second_column, stray_quotes, invisible),
    *(renamed, linked, other_endings, left_overs),
)


def _full_width(text: str) -> str:
    return "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c for c in text)


def _tables(root: Path) -> list[Path]:
    names = {Path(table).name for table in TABLES.values()}
    return [path for path in sorted(root.rglob("*.csv")) if path.name in names]


def _rewrite(
    root: Path,
    rng: random.Random,
    change: Callable[[Rows], Rows] = lambda rows: rows,
    *,
    before: str = "",
    encoding: str = "utf-8",
    **dialect,
) -> None:
    path = rng.choice(_tables(root))
    rows = list(csv.reader(io.StringIO(_read(path), newline="")))  # a cell keeps its line breaks
    part = path.with_name(f"{path.name}.part")
    with part.open("w", encoding=encoding, newline="") as file:
        file.write(before)
        csv.writer(file, **dialect).writerows(change(rows))
    shutil.move(part, path)  # the file there may be the bench's own, by a hard link


def _read(path: Path) -> str:
    """A table's text, in whichever encoding an earlier change has left it."""
    data = path.read_bytes()
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return data.decode("utf-16")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("gb18030")
