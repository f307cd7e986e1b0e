"""Reads a corpus in the official layout into one table of clips, or says everything that is wrong with it.

The quirks of the official files are accepted: `FileName` with an extension or `name` without, `Subtitle` or
`sentence`, a byte-order mark, a nameless index column, empty subtitles. What cannot be accepted is collected, so that
one run names every problem of a corpus before any long work starts.
"""

import csv
import difflib
import hashlib
import io
import re
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from meiju.config import CorpusConfig
from meiju.labels import OFFICIAL, TASKS, LabelSet
from meiju.utils import files

PARTS = ("training", "validation", "testing", "unlabelled")
LABELLED = ("training", "validation")
# What encoders and the punctuation restorer may learn from, without labels: never the parts that are scored.
UNSCORED_PARTS = ("training", "unlabelled")

# The file types of clips. If a clip has several files (the baseline extracts its sound), the first type here is read.
MEDIA_SUFFIXES = (".mp4", ".mkv", ".mov", ".avi", ".webm", ".flv", ".m4a", ".wav", ".flac", ".mp3")

COLUMN_NAMES = {
    "filename": "name",
    "name": "name",
    "subtitle": "sentence",
    "sentence": "sentence",
    "emotion": "emotion",
    "intent": "intent",
}


@dataclass(frozen=True)
class Problem:
    """Something wrong with a corpus; `row` is the line of the file, counted from 1 as an editor shows it."""

    file: str
    row: int | None
    what: str
    remedy: str
    warning: bool = False

    def __str__(self) -> str:
        place = self.file if self.row is None else f"{self.file}, row {self.row}"
        return f"{'warning: ' if self.warning else ''}{place}: {self.what} ({self.remedy})"


class CorpusError(ValueError):
    """A corpus that cannot be used; the message lists all its problems."""

    def __init__(self, problems: list[Problem]):
        self.problems = problems
        lines = "\n".join(f"  {problem}" for problem in problems)
        super().__init__(f"the corpus has {len(problems)} problem{'s' * (len(problems) != 1)}:\n{lines}")


@dataclass(frozen=True)
class Corpus:
    """The clips of a corpus.

    clips: one row per clip, sorted by name, with columns name, part, sentence, emotion, intent (empty where unknown)
    and path (of the media file, empty where there is none).
    """

    clips: pd.DataFrame
    labels: LabelSet
    warnings: list[Problem]

    def part(self, part: str) -> pd.DataFrame:
        """The clips of one part, sorted by name."""
        return self.clips[self.clips.part == part].reset_index(drop=True)

    def fingerprint(self, *columns: str) -> str:
        """Hash of the given columns of all clips; the order of rows in the files makes no difference to it."""
        rows = self.clips[list(columns)].itertuples(index=False)
        return hashlib.sha256("\x1e".join("\x1f".join(row) for row in rows).encode()).hexdigest()

    def media_hashes(self, known: Path) -> dict[str, str]:
        """By name, a hash of each clip's media file; known: where hashes are cached (see `files.content_hashes`)."""
        with_media = self.clips[self.clips.path != ""]
        hashes = files.content_hashes(list(map(Path, with_media.path)), known, label="clips")
        return dict(zip(with_media.name, hashes, strict=True))


def read_corpus(config: CorpusConfig, *, needs_media: bool) -> Corpus:
    """Read and check the corpus at `config.root`. Raises CorpusError with every problem found.

    needs_media: whether a clip without a media file is an error, or only a warning (its features are read elsewhere).
    """
    root = _find_root(config.root)
    problems: list[Problem] = []
    csv_files = _find_tables(root, problems)
    media = _find_media(root, problems)
    tables = [_read_table(file, root, part, problems) for part, file in csv_files.items()]
    if "unlabelled" not in csv_files:
        tables.append(_pool_without_table(root, media))
    clips = pd.concat(tables, ignore_index=True)
    labels = _labels(config, clips)
    problems += _label_problems(clips, labels)
    problems += _name_problems(clips)
    problems += _media_problems(clips, media, root, missing_is_warning=not needs_media)
    if any(not problem.warning for problem in problems):
        raise CorpusError(problems)
    clips["path"] = [str(media[name].absolute()) if name in media else "" for name in clips.name]
    clips = clips[["name", "part", "sentence", *TASKS, "path"]].sort_values("name", ignore_index=True)
    return Corpus(clips, labels, problems)


def read_sentences(path: Path) -> dict[str, str]:
    """Sentence by clip name, from a table with these two columns. Raises CorpusError with every problem found."""
    if not path.is_file():
        raise CorpusError([Problem(str(path), None, "is not a file", "give a csv file of names and sentences")])
    problems: list[Problem] = []
    table = _read_table(path, path.parent, "sentences", problems)
    problems += _name_problems(table)
    if problems:
        raise CorpusError(problems)
    return dict(zip(table.name, table.sentence, strict=True))


def clip_name(file_name: str) -> str:
    """The clip's name of an entry such as 'Track1_Training_00001.mp4': without the extension of a media file."""
    stem, dot, suffix = file_name.strip().rpartition(".")
    return stem if dot and f".{suffix.lower()}" in MEDIA_SUFFIXES else file_name.strip()


def _find_root(root: Path | None) -> Path:
    """The folder that holds Annotation/: `root` itself, or the only such folder below it."""
    if root is None:
        problem = Problem("--corpus.root", None, "is missing", "give the corpus' folder, e.g. .../Track1/Mandarin")
        raise CorpusError([problem])
    if not root.is_dir():
        raise CorpusError([Problem(str(root), None, "is not a folder", "check --corpus.root")])
    below = sorted(path.parent for path in root.glob("*/*/Annotation")) + sorted(
        path.parent for path in root.glob("*/Annotation")
    )
    if not (root / "Annotation").is_dir() and len(below) > 1:
        names = ", ".join(str(path) for path in below)
        raise CorpusError([Problem(str(root), None, "holds several corpora", f"give one of {names} as --corpus.root")])
    return below[0] if not (root / "Annotation").is_dir() and below else root


def _find_tables(root: Path, problems: list[Problem]) -> dict[str, Path]:
    """The csv file of each part, found by its name."""
    tables = defaultdict(list)
    for path in _files(root, (".csv",)):
        part = _part_of(path.relative_to(root))
        if part:
            tables[part].append(path)
    for part in PARTS:
        if len(tables[part]) > 1:
            names = ", ".join(str(path.relative_to(root)) for path in tables[part])
            problems.append(Problem(str(root), None, f"several tables for {part}: {names}", "leave one of them"))
        elif not tables[part] and part != "unlabelled":
            remedy = f"put a csv file named like {part.capitalize()}_transcription.csv into {root / 'Annotation'}"
            problems.append(Problem(str(root), None, f"no table of {part} clips", remedy))
    return {part: tables[part][0] for part in PARTS if tables[part]}


def _files(root: Path, suffixes: tuple[str, ...]) -> list[Path]:
    """Files below the corpus' folder with one of the suffixes, sorted.

    Hidden files, such as the ._x.csv that macOS puts into zips, and links out of the folder are ignored.
    """
    inside = root.resolve()
    return [
        path
        for path in sorted(root.rglob("*"))
        if path.suffix.lower() in suffixes
        and not path.name.startswith(".")
        and path.is_file()
        and path.resolve().is_relative_to(inside)
    ]


def _part_of(path: Path) -> str | None:
    """Which part a csv file describes, from its path below the corpus' folder."""
    if path.parts[0] == "NoAnnotation":
        return "unlabelled"
    for part, pattern in (("training", "train"), ("validation", "valid"), ("testing", "test")):
        if path.name.lower().startswith(pattern) or f"_{pattern}" in path.name.lower():
            return part
    return None


def _read_table(path: Path, root: Path, part: str, problems: list[Problem]) -> pd.DataFrame:
    """Rows of one csv file: name, sentence, emotion, intent, and where they come from (file, row)."""
    file = str(path.relative_to(root))
    needed = ("name", "sentence", *TASKS) if part in LABELLED else ("name", "sentence")
    header, rows = _read_csv(path, file, problems)
    columns = {
        COLUMN_NAMES[cell.strip().lower()]: k for k, cell in enumerate(header) if cell.strip().lower() in COLUMN_NAMES
    }
    missing = [column for column in needed if column not in columns]
    if header and missing:
        accepted = ", ".join(f"{c} ({' or '.join(k for k, v in COLUMN_NAMES.items() if v == c)})" for c in missing)
        problems.append(Problem(file, 1, f"no column for {accepted}", "add it to the header line and the rows"))
    elif header and not rows:
        problems.append(Problem(file, None, f"the {part} part is empty", "add its clips, one per row"))
    good = []
    for number, cells in rows:
        if len(cells) != len(header):
            what = f"{len(cells)} cells where the header has {len(header)}"
            problems.append(Problem(file, number, what, "quote a sentence that holds a comma"))
        elif not missing:
            good.append({column: cells[columns[column]] for column in needed} | {"row": number})
    table = pd.DataFrame(good, columns=[*needed, "row"]).reindex(
        columns=["name", "sentence", *TASKS, "row"], fill_value=""
    )
    table["name"] = [clip_name(name) for name in table.name]
    for task in TASKS:
        table[task] = table[task].str.strip()
    return table.assign(part=part, file=file)


def _read_csv(path: Path, file: str, problems: list[Problem]) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """Header and numbered rows of a csv file; both empty where it cannot be read."""
    data = path.read_bytes()
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        row = data[: error.start].count(b"\n") + 1
        problems.append(Problem(file, row, "is not UTF-8", "save the file in the encoding UTF-8"))
        return [], []
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    rows = []
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells):
                rows.append((reader.line_num, cells))
    except csv.Error as error:
        problems.append(Problem(file, reader.line_num, f"cannot be read as csv: {error}", "check its quotes"))
        return [], []
    if not rows:
        problems.append(Problem(file, None, "is empty", "add a header line and one row per clip"))
        return [], []
    return rows[0][1], rows[1:]


def _find_media(root: Path, problems: list[Problem]) -> dict[str, Path]:
    """Media file by clip name, from anywhere below the corpus' folder."""
    files_of: dict[str, list[Path]] = defaultdict(list)
    for path in _files(root, MEDIA_SUFFIXES):
        files_of[path.stem].append(path)
    media = {}
    for name, paths in files_of.items():
        ranks = [MEDIA_SUFFIXES.index(path.suffix.lower()) for path in paths]
        best = [path for path, rank in zip(paths, ranks, strict=True) if rank == min(ranks)]
        media[name] = best[0]
        if len(best) > 1:
            other = best[1].relative_to(root)
            what = f"clip {name} has a second file, {other}"
            problems.append(Problem(str(best[0].relative_to(root)), None, what, "remove or rename one of them"))
    return media


def _pool_without_table(root: Path, media: dict[str, Path]) -> pd.DataFrame:
    """The unlabelled pool as the organisers distribute it: clips in NoAnnotation, and no transcripts."""
    names = [name for name, path in media.items() if path.relative_to(root).parts[0] == "NoAnnotation"]
    pool = pd.DataFrame({"name": names}, dtype=str).reindex(columns=["name", "sentence", *TASKS], fill_value="")
    return pool.assign(row=None, part="unlabelled", file="NoAnnotation")


def _labels(config: CorpusConfig, clips: pd.DataFrame) -> LabelSet:
    """The official label names, or those that the training part uses, in alphabetical order."""
    if config.labels == "official":
        return OFFICIAL
    training = clips[clips.part == "training"]
    return LabelSet(*(tuple(sorted(set(training[task]) - {""})) for task in TASKS))


def _label_problems(clips: pd.DataFrame, labels: LabelSet) -> list[Problem]:
    problems = []
    for clip in clips[clips.part.isin(LABELLED)].itertuples():
        for task in TASKS:
            label = getattr(clip, task)
            if labels[task] and label not in labels[task]:  # no labels at all: the training table is reported already
                close = difflib.get_close_matches(label.lower(), labels[task], n=1)
                remedy = f"did you mean {close[0]}?" if close else f"one of {', '.join(labels[task])}"
                what = f"unknown {task} {label!r}" if label else f"no {task}"
                problems.append(Problem(clip.file, clip.row, what, remedy))
    for task in TASKS:
        if len(labels[task]) == 1:
            what = f"every training clip has the {task} {labels[task][0]!r}"
            problems.append(Problem("training part", None, what, "a task needs two classes or more"))
    return problems


def _name_problems(clips: pd.DataFrame) -> list[Problem]:
    """Names that are not plain, or occur twice."""
    problems = []
    first: dict[str, object] = {}
    for clip in clips.itertuples():
        if not re.fullmatch(r"[^\x00-\x1f/\\:\ud800-\udfff]{1,200}", clip.name) or clip.name.startswith("."):
            remedy = "use a name in UTF-8 without a folder, a control character or a leading dot"
            problems.append(Problem(clip.file, clip.row, f"{clip.name[:80]!r} cannot name a clip", remedy))
        elif clip.name in first:
            other = first[clip.name]
            if other.part == clip.part:
                what, remedy = f"{clip.name} is in row {other.row} already", "keep one of the rows"
            else:
                what = f"{clip.name} is in the {other.part} part too ({other.file}, row {other.row})"
                remedy = "keep it in one part"
            problems.append(Problem(clip.file, clip.row, what, remedy))
        else:
            first[clip.name] = clip
    return problems


def _media_problems(
    clips: pd.DataFrame, media: dict[str, Path], root: Path, *, missing_is_warning: bool
) -> list[Problem]:
    problems = []
    if missing_is_warning and not media:
        return problems  # a corpus of features that were extracted before has no clips at all
    for clip in clips[~clips.name.isin(media)].itertuples():
        remedy = f"put {clip.name}.mp4 anywhere below {root}, or remove the row"
        problems.append(Problem(clip.file, clip.row, f"no media file for {clip.name}", remedy, missing_is_warning))
    for name in sorted(set(media) - set(clips.name)):
        file = str(media[name].relative_to(root))
        remedy = "add a row to its part's csv file, or remove the file"
        problems.append(Problem(file, None, "no row names this clip", remedy, missing_is_warning))
    return problems
