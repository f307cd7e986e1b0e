"""Reads the csv tables of clips, and tells what is wrong with them: all problems of a kind together.

The quirks of the official files are accepted: `FileName` with an extension or `name` without, `Subtitle` or
`sentence`, a byte-order mark, a nameless index column, empty subtitles; and what spreadsheets make of tables:
semicolons, tabs or bars as separators, UTF-16, a first line `sep=;`. Columns `start` and `end` cut clips out of the
file that `file` or `video` names or, where there is no such column, `FileName`.
"""

import math
import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from meiju.config import require
from meiju.data.labels import TASKS
from meiju.utils import spreadsheets
from meiju.utils.clip_files import SHOWN, clip_name, visible

# What the known heads of columns mean, as `column_name` compares them.
COLUMN_NAMES = {
    head: meaning
    for meaning, heads in {
        "name": "filename name",
        "sentence": "subtitle sentence utterance transcript",
        "emotion": "emotion",
        "intent": "intent dialogueact dialogact da",
        "speaker": "speaker speakerid",
        "dialogue": "dialogue dialog dialogueid dialogid diaid",
        "film": "file video",
        "start": "start",
        "end": "end",
        "part": "part",
    }.items()
    for head in heads.split()
}
GROUPS = ("dialogue", "speaker")  # columns that a table may have or not: what folds keep together
EXCERPT = ("film", "start", "end")  # those of a table whose clips are parts of longer files
TEXTS, SPAN = ("name", "sentence", *TASKS, *GROUPS, "film"), ("start", "stop")
NAMELESS = re.compile(r"(unnamed:?\d*|index|\d*)")  # columns that programs add
TIME = re.compile(r"(?:(?:(\d+):)?(\d+):)?(\d+(?:[.,]\d+)?)")
# Marks of music and remarks in brackets, which subtitles give for other sounds than words.
NO_WORDS = re.compile(r"[♩♪♫♬🎵🎶]+|\([^()]*\)|（[^（）]*）|\[[^\[\]]*\]|［[^［］]*］|【[^【】]*】")


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
        return spreadsheets.one_line(f"{'warning: ' if self.warning else ''}{place}: {self.what} ({self.remedy})")


def format_problems(problems: Iterable[Problem]) -> list[str]:
    """The problems, one per line; of many with one remedy in one file, the first few and how many more there are."""
    groups: dict[tuple, list[Problem]] = defaultdict(list)
    for problem in problems:
        groups[problem.warning, problem.file if problem.row is not None else "", problem.remedy].append(problem)
    lines = []
    for group in groups.values():
        is_cut = len(group) > SHOWN + 1  # in place of a line about one more, that one
        lines += map(str, group[:SHOWN] if is_cut else group)
        if is_cut:
            lines.append(str(replace(group[0], row=None, what=f"and {len(group) - SHOWN} more of this kind")))
    return lines


def read_table(
    path: Path, file: str, part: str, problems: list[Problem], *, needed: tuple[str, ...]
) -> tuple[pd.DataFrame, list[str]]:
    """The rows of one csv file, and the heads of columns that have no known meaning. Adds what is wrong to `problems`.

    Rows have the columns name, sentence, emotion, intent, dialogue, speaker ("" where the file does not have them or
    they are not needed), film (the name of the file that the clip is cut from; "" where it has a file of its own),
    start and stop (seconds in that file; 0 and infinity), row, part and file. file: how problems name the table; part:
    that of all rows, or "" where a column `part` may tell it; needed: the columns to read.
    """
    header, rows = [], []
    try:
        (_, header), *rows = spreadsheets.read_rows(path, columns=COLUMN_NAMES)
    except spreadsheets.TableError as error:
        problems.append(Problem(file, error.row, error.what, error.remedy))
    optional = GROUPS if part else (*GROUPS, "part")
    columns = _columns(header, needed, optional, file, problems)
    if header and not rows and part != "unlabelled":
        problems.append(Problem(file, None, f"the {part or 'only'} part is empty", "add its clips, one per row"))
    good = []
    for row, cells in rows:
        if len(cells) != len(header):
            what = f"{len(cells)} cells where the header has {len(header)}"
            problems.append(Problem(file, row, what, "quote a sentence that holds a comma"))
        elif columns:
            given = {column: cells[k].strip() if column in optional else cells[k] for column, k in columns.items()}
            given = dict.fromkeys(TEXTS, "") | {"row": row, "part": part} | given
            good.append(given | _clip_of(given, columns, file, problems))
    if columns:
        _report_swallowed(rows, columns["name"], file, problems)
    unread = [] if not columns else [cell.strip() for k, cell in enumerate(header) if not _is_known(k, cell, columns)]
    table = pd.DataFrame(good, columns=[*TEXTS, *SPAN, "row", "part"]).astype(dict.fromkeys(SPAN, float))
    sentences = table.sentence.map(spoken).astype(str)
    n_wordless = ((sentences == "") & (table.sentence.str.strip() != "")).sum()
    if n_wordless:
        what = f"{n_wordless} sentences hold no words but ♪ or a remark in brackets"
        problems.append(Problem(file, None, what, "they count as none", warning=True))
    return table.assign(file=file, sentence=sentences), unread


def spoken(sentence: str) -> str:
    """A sentence, or "" where it holds nothing but marks of music or a remark in brackets, as ♪♪ or (laughs) do."""
    rest, n = NO_WORDS.subn("", sentence)
    return "" if n and not re.search(r"\w", rest) else sentence


def seconds(time: str) -> float | None:
    """A time such as 12.5, 1:02.5 or 00:01:02,500 in seconds; None of anything else."""
    found = TIME.fullmatch(visible(time, "NFKC").strip())
    if found is None:
        return None
    hours, minutes, rest = (float((part or "0").replace(",", ".")) for part in found.groups())
    return 3600 * hours + 60 * minutes + rest


def names_clips(path: Path) -> bool:
    """Whether a csv file has a column of clips' names, by its header alone."""
    header = spreadsheets.read_header(path, columns=COLUMN_NAMES)
    return any(COLUMN_NAMES.get(cell) in ("name", "film") for cell in header)


def read_alone(path: Path, needed: tuple[str, ...]) -> pd.DataFrame:
    """The rows of a table that belongs to no corpus (see `read_table`). Raises ConfigError with every problem found."""
    require(path.is_file(), f"{path}: no such file; give a csv file with columns for {', '.join(needed)}")
    problems: list[Problem] = []
    table, _ = read_table(path, path.name, "", problems, needed=needed)
    problems = [problem for problem in problems if not problem.warning] + name_problems(table)
    require(not problems, "\n".join(format_problems(problems)))
    return table


def name_problems(clips: pd.DataFrame) -> list[Problem]:
    """Names that are not plain, or occur twice."""
    problems = []
    first: dict[str, object] = {}
    for clip in clips.itertuples():
        if not re.fullmatch(r"[^\x00-\x1f/\\:\ud800-\udfff]{1,200}", clip.name) or clip.name.startswith("."):
            remedy = "use a name in UTF-8 without a folder, a control character or a leading dot"
            what = f"{clip.name[:80]!r} cannot name a clip"
            problems.append(Problem(clip.file, clip.row, what, remedy))
        elif clip.name in first:
            place = f"{first[clip.name].file}, row {first[clip.name].row}"
            problems.append(Problem(clip.file, clip.row, f"{clip.name} is in {place} already", "keep one of the rows"))
        else:
            first[clip.name] = clip
    return problems


def _columns(
    header: list[str], needed: tuple[str, ...], optional: tuple[str, ...], file: str, problems: list[Problem]
) -> dict[str, int]:
    """Which cell of a row holds each column; none at all where one that is needed is missing, or two mean the same."""
    if not header:
        return {}
    found: dict[str, list[int]] = defaultdict(list)
    for k, cell in enumerate(header):
        if spreadsheets.column_name(cell) in COLUMN_NAMES:
            found[COLUMN_NAMES[spreadsheets.column_name(cell)]].append(k)
    if "film" in found and "name" not in found:
        found["name"] = found["film"]
    before = len(problems)
    missing = [column for column in needed if column not in found]
    if missing:
        accepted = ", ".join(f"{c} ({' or '.join(k for k, v in COLUMN_NAMES.items() if v == c)})" for c in missing)
        problems.append(Problem(file, 1, f"no column for {accepted}", "add it to the header line and the rows"))
    cut = ("start", "end", "film") if "start" in found and "end" in found else ()
    wanted = [column for column in (*needed, *optional, *cut) if column in found]
    for column in wanted:
        if len(found[column]) > 1:
            names = " and ".join(repr(header[k].strip()) for k in found[column])
            problems.append(Problem(file, 1, f"several columns for {column}: {names}", "rename or delete all but one"))
    return {} if len(problems) > before else {column: found[column][0] for column in wanted}


def _is_known(k: int, cell: str, columns: dict[str, int]) -> bool:
    """Whether column k of a header is read, or has a meaning that is not needed in this table, or holds nothing."""
    head = spreadsheets.column_name(cell)
    meaning = COLUMN_NAMES.get(head, "")
    return k in columns.values() or bool(meaning not in ("", "part", *EXCERPT) or NAMELESS.fullmatch(head))


def _clip_of(cells: dict, columns: dict[str, int], file: str, problems: list[Problem]) -> dict:
    """Name, film, start and stop of a clip; cells: those of its row by column.

    A clip that is cut from a film and has no name of its own is named after the film and the time in milliseconds:
    ep01_00012500-00014000. So its name is the same whatever other rows the table has.
    """
    whole = {"name": clip_name(cells["name"]), "film": "", "start": 0.0, "stop": math.inf}
    if "start" not in columns:
        return whole
    film = clip_name(cells["film" if "film" in columns else "name"])
    is_named = columns["name"] != columns.get("film", columns["name"])
    given = cells["start"].strip(), cells["end"].strip()
    if given == ("", ""):
        return whole | {"film": film if is_named else ""}
    start, stop = map(seconds, given)
    if start is None or stop is None or stop <= start:
        what = f"no clip lies between start {given[0]!r} and end {given[1]!r}"
        remedy = "give seconds such as 12.5, or hh:mm:ss,ms, the end after the start"
        problems.append(Problem(file, cells["row"], what, remedy))
        return whole | {"film": film}
    name = whole["name"] if is_named else f"{film}_{round(1000 * start):08}-{round(1000 * stop):08}"
    return {"name": name, "film": film, "start": start, "stop": stop}


def _report_swallowed(rows: list[tuple[int, list[str]]], name: int, file: str, problems: list[Problem]) -> None:
    """Find rows that a quote has swallowed: lines within a cell that name a clip as the rows of this table do.

    A quote that is not closed takes in all rows up to the next one, and the table is valid csv all the same.
    """
    known = {_pattern(cells[name]) for _, cells in rows if name < len(cells)} - {""}

    def names_clip(text: str) -> bool:
        return _pattern(text) in known or clip_name(text) != visible(text)

    for row, cells in rows:
        lines = [re.split(f"[{spreadsheets.SEPARATORS}]", line) for cell in cells for line in cell.splitlines()[1:]]
        names = [piece for line in lines if len(line) > 1 for piece in line if names_clip(piece.strip())]
        if names:
            what = f"a quote opened here takes in the rows after it, the first of them that of {names[0].strip()[:40]}"
            remedy = 'close the quote; a quotation mark inside a quoted sentence is doubled ("")'
            problems.append(Problem(file, row, what, remedy))


def _pattern(name: str) -> str:
    """A clip's name with its numbers left out: what the names of a table have in common."""
    return re.sub(r"\d+", "0", clip_name(name))
