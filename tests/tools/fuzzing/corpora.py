"""What people and their programs do to a corpus' folder without meaning ill; each change is of one kind."""

import codecs
import csv
import io
import random
from collections.abc import Callable
from pathlib import Path

POOL = "NoAnnotation/transcription.csv"
TABLES = {"Training_transcription.csv", "Validation_transcription.csv", "Mandarin_Testing_files.csv", Path(POOL).name}


def tables(root: Path) -> list[Path]:
    return [path for path in sorted(root.rglob("*.csv")) if path.name in TABLES]


def other_separator(root: Path, rng: random.Random) -> None:
    """A table saved with semicolons, tabs or bars, with or without Excel's first line."""
    mark = rng.choice(";\t,|")
    _rewrite(root, rng, delimiter=mark, before=rng.choice(("", f"sep={mark}\n")))


def other_encoding(root: Path, rng: random.Random) -> None:
    """A table saved in the encoding of a country or of another program."""
    _rewrite(root, rng, encoding=rng.choice(("gb18030", "utf-8-sig", "utf-16")))


def second_column(root: Path, rng: random.Random) -> None:
    """A column that means what another one means, and says the same or not."""
    column, other = rng.choice((("FileName", "name"), ("Subtitle", "sentence"), ("name", "FileName")))
    same = rng.random() < 0.5
    _rewrite(root, rng, lambda row: {other: row.get(column, "x") if same else "x"} | row)


def invisible(root: Path, rng: random.Random) -> None:
    """Capitals, full-width letters and invisible characters in labels; the latter in names."""
    odd = rng.choice((str.upper, str.title, "{}\u200b".format, " {} ".format, _full_width))

    def change(row: dict[str, str]) -> dict[str, str]:
        odd_cells = {key: odd(row[key]) for key in ("emotion", "intent") if key in row}
        odd_cells |= {key: f"\ufeff{row[key]}" for key in ("FileName", "name") if key in row}
        return row | odd_cells if rng.random() < 0.3 else row

    _rewrite(root, rng, change)


def stray_quotes(root: Path, rng: random.Random) -> None:
    """Quotation marks before one cell and behind a cell of the same or a later row, or none behind."""
    path = rng.choice(tables(root))
    lines = _read(path).splitlines()
    mark = next(mark for mark in "\t;|," if mark in lines[-1])  # an earlier change may have set another separator
    a, b = sorted(rng.randrange(1, len(lines)) for _ in range(2))
    lines[a] = lines[a].replace(mark, f'{mark}"', 1)
    if rng.random() < 0.7:
        first, _, rest = lines[b].rpartition(mark)
        lines[b] = f'{first}"{mark}{rest}' if lines[b].count(mark) > 1 and a != b else f'{lines[b]}"'
    _replace(path, "\n".join(lines).encode())


def renamed(root: Path, rng: random.Random) -> None:
    """The pool's folder or table under another name."""
    if rng.random() < 0.5:
        (root / "NoAnnotation").rename(root / rng.choice(("noannotation", "No_Annotation", "unlabeled", "Pool")))
    else:
        (root / POOL).rename(root / rng.choice(("Unlabeled_transcription.csv", "UNLABELLED.tsv")))


def linked(root: Path, rng: random.Random) -> None:
    """Clips, their folder or a table as links, out of the corpus or within it, and circles of links."""
    place = rng.choice((root / "store", root.parent / "store"))
    place.mkdir(exist_ok=True)
    what = rng.choice([root / "Annotation" / "Training", *tables(root), *sorted(root.rglob("*.mp4"))])
    target = place / f"{what.stem}{rng.choice((what.suffix, '.bin'))}"
    if not target.exists() and not what.is_symlink():
        what.rename(target)
        what.symlink_to(target)
    if rng.random() < 0.3:
        (root / "round").symlink_to(root)


def other_endings(root: Path, rng: random.Random) -> None:
    """A clip in another container, or with an ending that nobody knows."""
    clip = rng.choice(sorted(root.rglob("*.mp4")))
    clip.rename(clip.with_suffix(rng.choice((".mkv", ".TS", ".3gp", ".ogg", ".xyz", ""))))


def left_overs(root: Path, rng: random.Random) -> None:
    """Files that other programs leave: tables of single clips, notes, sound beside a clip."""
    for name in rng.sample(
        ("Training_1.csv", "testing_2.csv", "notes.txt", "test.csv", "Sample_Training_00001.wav"), k=2
    ):
        path = root / rng.choice(("Annotation", "NoAnnotation", "Annotation/Training/deep")) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("frame, face_id\n1, 0\n")


CHANGES: tuple[Callable[[Path, random.Random], None], ...] = (
    *(other_separator, other_encoding, second_column, stray_quotes, invisible),
    *(renamed, linked, other_endings, left_overs),
)


def _full_width(text: str) -> str:
    return "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c for c in text)


def _rewrite(root: Path, rng: random.Random, change=dict, *, before="", encoding="utf-8", delimiter=",") -> None:
    """Change each row of a table, by column, and save it in another way."""
    path, text = rng.choice(tables(root)), io.StringIO(newline="")
    content = _read(path)
    if content.startswith("sep="):
        content = content.partition("\n")[2]
    mark = max("\t;|,", key=content.partition("\n")[0].count)  # an earlier change may have set another one
    rows = [change(row) for row in csv.DictReader(io.StringIO(content, newline=""), delimiter=mark)]
    writer = csv.DictWriter(text, list(rows[0]), delimiter=delimiter)
    writer.writeheader()
    writer.writerows(rows)
    _replace(path, (before + text.getvalue()).encode(encoding))


def _read(path: Path) -> str:
    """A table's text, in whichever encoding an earlier change has left it."""
    data = path.read_bytes()
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return data.decode("utf-16")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("gb18030")


def _replace(path: Path, data: bytes) -> None:
    path.unlink()  # it may be the bench's own, by a hard link
    path.write_bytes(data)
