"""Reads a corpus in the official layout into one table of clips, or says everything that is wrong with it.

How tables are read: meiju.data.tables. Folders and tables are known by their names in any case; clips are found by
their names, in one Unicode form. What cannot be accepted is collected, so that one run names every problem of a corpus
before any long work starts. What is passed over is named.
"""

import difflib
import hashlib
import math
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Container
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from meiju.config import CorpusConfig
from meiju.data.clip_media import Media, locate, part_of_words
from meiju.data.labels import OFFICIAL, TASKS, LabelSet, clean_label
from meiju.data.tables import GROUPS, TEXTS, CorpusError, Problem, Table, name_problems, names_clips, read_table
from meiju.utils import files
from meiju.utils.clip_files import MEDIA_SUFFIXES, Tree, describe_endings, examples, split_excerpt, walk

PARTS = ("training", "validation", "testing", "unlabelled")
LABELLED = ("training", "validation")
OPTIONAL = ("validation", "unlabelled")
# What encoders and the punctuation restorer may learn from, without labels: never the parts that are scored.
UNSCORED_PARTS = ("training", "unlabelled")

LOOKED_AT = 50  # clips that are opened to see whether they are clips
SEPARATED = re.compile(r"[;,/|+&；，、]")
TABLE_SUFFIXES = (".csv", ".tsv")
SPREADSHEETS = (".xlsx", ".xls", ".ods")


@dataclass(frozen=True)
class Corpus:
    """The clips of a corpus.

    clips: one row per clip, sorted by name, with columns name, part, sentence, emotion, intent, dialogue, speaker
    (empty where unknown) and path (of the media file, empty where there is none). remarks: what was passed over,
    read in another spelling, or lost.
    """

    clips: pd.DataFrame
    labels: LabelSet
    warnings: list[Problem]
    remarks: tuple[str, ...] = ()

    def part(self, part: str) -> pd.DataFrame:
        """The clips of one part, sorted by name."""
        return self.clips[self.clips.part == part].reset_index(drop=True)

    def describe(self) -> str:
        """One line per part: how many clips it has, and how many of them with a file, a sentence and labels."""
        lines = []
        for part in PARTS:
            clips = self.part(part)
            labelled = (clips[list(TASKS)] != "").all(axis=1)
            counts = [(clips.path != "").sum(), (clips.sentence.str.strip() != "").sum(), labelled.sum()]
            has = ", ".join(f"{n} with {what}" for n, what in zip(counts, ("file", "sentence", "labels"), strict=True))
            lines.append(f"{part}: {len(clips)} clips" + (f", {has}" if len(clips) else ""))
        return "\n".join(lines)

    def fingerprint(self, *columns: str) -> str:
        """Hash of the given columns of all clips; the order of rows in the files makes no difference to it."""
        rows = self.clips[list(columns)].itertuples(index=False)
        return hashlib.sha256("\x1e".join("\x1f".join(row) for row in rows).encode()).hexdigest()

    def media_hashes(self, known: Path) -> dict[str, str]:
        """By name, a hash of each clip's media, of the file and the excerpt where it is one.

        known: where hashes of files are cached (see `files.content_hashes`).
        """
        with_media = self.clips[self.clips.path != ""]
        places = [split_excerpt(path) for path in with_media.path]
        paths = list(dict.fromkeys(Path(path) for path, *_ in places))
        hashes = dict(zip(paths, files.content_hashes(paths, known, label="clips"), strict=True))
        return {
            name: hashes[Path(path)] if stop == math.inf else files.digest([hashes[Path(path)], start, stop])
            for name, (path, start, stop) in zip(with_media.name, places, strict=True)
        }


def read_corpus(config: CorpusConfig, *, needs_media: bool) -> Corpus:
    """Read and check the corpus at `config.root`. Raises CorpusError with every problem found.

    needs_media: whether a clip without a media file is an error, or only a warning (its features are read elsewhere).
    """
    root = _find_root(config.root)
    tree = walk(root, follow=config.follow_links)
    problems = _link_problems(tree, root)
    refused = any(not problem.warning for problem in problems)
    csv_files = _find_tables(tree, root, problems)
    media = Media(tree, root)
    tables: dict[str, Table] = {}
    for part, path in csv_files.items():
        needed = ("name", "sentence", *TASKS) if part in LABELLED else ("name", "sentence")
        file, optional = str(path.relative_to(root)), part == "unlabelled"
        tables[part] = read_table(path, file, part, problems, needed=needed, may_be_empty=optional)
    pool = [] if "unlabelled" in tables else [_pool_without_table(tree, root, media)]
    clips = pd.concat([*(table.rows for table in tables.values()), *pool], ignore_index=True)
    labels, remarks = _spell_labels(config, clips)
    problems += _label_problems(clips, labels)
    unusable = set().union(*(table.unusable or () for table in tables.values()))
    located = locate(clips, media, unusable, missing_is_warning=not needs_media)
    clips = located.clips
    problems += located.problems + name_problems(clips[~clips.name.isin(located.ambiguous)])
    if needs_media:
        problems += _pointer_problems(clips, root)
    # One cause is told without its consequences: who knows what an unread table or a refused link holds?
    unread = {part for part in PARTS if part not in OPTIONAL and part not in tables}
    unread |= {part for part, table in tables.items() if table.unusable is None}
    problems += [] if refused else located.missing
    problems += [] if unread else located.without_row
    absent = _no_table(root, "testing", needed=False)
    if absent in problems and unread == {"testing"} and located.without_row:  # whose clips are these?
        problems[problems.index(absent)] = _no_table(root, "testing", needed=True)
    if any(not problem.warning for problem in problems):
        raise CorpusError(problems)
    clips = clips[["name", "part", "sentence", *TASKS, *GROUPS, "path"]].sort_values("name", ignore_index=True)
    remarks = [*_passed_over(tree, root, [*csv_files.values()]), *_unread(tables), *located.remarks, *remarks]
    return Corpus(clips, labels, problems, (*remarks, *_unsaid(tables), *_lost_characters(clips)))


def _unread(tables: dict[str, Table]) -> list[str]:
    """A remark on columns whose meaning is not known."""
    heads = list(dict.fromkeys(head for table in tables.values() for head in table.unread))
    return [f"columns that are not read: {', '.join(map(repr, heads))}"] if heads else []


def _unsaid(tables: dict[str, Table]) -> list[str]:
    """A remark on sentences that only say what is heard besides words."""
    n = sum(table.n_unsaid for table in tables.values())
    return [f"{n} sentences hold no words but ♪ or a remark in brackets, and count as none"] if n else []


def _lost_characters(clips: pd.DataFrame) -> list[str]:
    """A remark where sentences hold the mark that programs set for what they cannot decode."""
    lost = clips.name[clips.sentence.str.contains("\ufffd")]
    why = "characters were lost when the table was converted; save it as UTF-8 from its source"
    return [f"{len(lost)} sentences hold \ufffd (the first is that of {lost.iloc[0]}): {why}"] if len(lost) else []


def rare_classes(corpus: Corpus, n_folds: int) -> list[str]:
    """A remark on each task with classes that have fewer training clips than there are folds."""
    remarks, training = [], corpus.part("training")
    for task in TASKS:
        counts = {label: int((training[task] == label).sum()) for label in corpus.labels[task]}
        rare = [f"{label!r} ({n})" for label, n in counts.items() if n < n_folds]
        if rare:
            what = f"{task}: classes with fewer training clips than there are folds ({n_folds}): {', '.join(rare)}"
            remarks.append(f"{what}; members of some folds never see them (a misspelt label?)")
    return remarks


def _find_root(root: Path | None) -> Path:
    """The folder that holds Annotation/: `root` itself, or the only such folder below it."""
    if root is None:
        problem = Problem("--corpus.root", None, "is missing", "give the corpus' folder, e.g. .../Track1/Mandarin")
        raise CorpusError([problem])
    if not root.is_dir():
        raise CorpusError([Problem(str(root), None, "is not a folder", "check --corpus.root")])
    if _has_annotation(root):
        return root
    folders = [path for path in sorted(root.glob("*/")) + sorted(root.glob("*/*/")) if path.is_dir()]
    below = [path for path in folders if _has_annotation(path)]
    if len(below) > 1:
        names = ", ".join(str(path) for path in below)
        raise CorpusError([Problem(str(root), None, "holds several corpora", f"give one of {names} as --corpus.root")])
    return below[0] if below else root


def _has_annotation(folder: Path) -> bool:
    with suppress(PermissionError):  # another user's lost+found
        return any(path.name.casefold() == "annotation" and path.is_dir() for path in folder.iterdir())
    return False


def _link_problems(tree: Tree, root: Path) -> list[Problem]:
    """What may not be looked into, links that lead to nothing, and those that are not followed."""
    problems = []
    for path in tree.broken:
        file, remedy = str(path.relative_to(root)), "mend or remove it"
        problems.append(Problem(file, None, "is a link to nothing", remedy, warning=True, kind="a link to nothing"))
    for path, why in tree.closed.items():
        file, what = str(path.relative_to(root)), f"is passed over: {why}"
        problems.append(Problem(file, None, what, "make it readable", warning=True, kind="may not be read"))
    for path, target in sorted(tree.links_out.items()):
        if target.is_dir() or path.suffix.lower() in (*MEDIA_SUFFIXES, *TABLE_SUFFIXES):
            what, kind = f"is a link out of the corpus, to {target}", "a link out of the corpus"
            remedy = "give --corpus.follow-links to follow such links"
            problems.append(Problem(str(path.relative_to(root)), None, what, remedy, kind=kind))
    return problems


def _pool_folders(tree: Tree, root: Path) -> list[Path]:
    """The folders of unlabelled clips, NoAnnotation as the organisers call it, each by its path and its real one."""
    named = [path for path in tree.folders if path.parent == root and part_of_words(path.name) == {"unlabelled"}]
    return named + [tree.folders[path] for path in named]


def _find_tables(tree: Tree, root: Path, problems: list[Problem]) -> dict[str, Path]:
    """The csv file of each part, found by its name; of several, the one that has a column of clips' names."""
    pools, candidates = _pool_folders(tree, root), defaultdict(dict)
    for path, real in tree.files.items():
        if path.suffix.lower() in TABLE_SUFFIXES:
            parts = {"unlabelled"} if _is_below(pools, path, real) else part_of_words(path.stem)
            if len(parts) == 1:
                candidates[parts.pop()].setdefault(real, path)
    tables = {}
    for part in PARTS:
        paths = _likely([*candidates[part].values()], root)
        if len(paths) > 1:
            names = examples([path.relative_to(root) for path in paths])
            problems.append(Problem(str(root), None, f"several tables for {part}: {names}", "leave one of them"))
        elif paths:
            tables[part] = paths[0]
        elif part != "unlabelled":
            problems.append(_no_table(root, part, needed=part == "training"))
            sheets = [p for p in tree.files if p.suffix.lower() in SPREADSHEETS and part in part_of_words(p.stem)]
            remedy = "save it as csv in the encoding UTF-8"
            problems += [Problem(str(sheet.relative_to(root)), None, "is not read", remedy) for sheet in sheets]
    return tables


def _no_table(root: Path, part: str, *, needed: bool) -> Problem:
    """A part without a table: an error where it is needed, else a warning that says what will lack."""
    remedy = f"put a csv file named like {part.capitalize()}_transcription.csv into {root / 'Annotation'}"
    lacks = {"validation": "scores are out of fold alone", "testing": "there is nothing to hand in"}
    return Problem(str(root), None, f"no table of {part} clips", remedy if needed else lacks[part], not needed)


def _likely(paths: list[Path], root: Path) -> list[Path]:
    """Of tables of one part, those of clips: feature extraction leaves others, such as one csv per clip's faces."""
    if len(paths) > 1:
        of_clips = [path for path in paths if names_clips(path)]
        paths = of_clips or [path for path in paths if len(path.relative_to(root).parts) <= 2]
    return paths


def _is_below(folders: list[Path], *paths: Path) -> bool:
    return any(path.is_relative_to(folder) for path in paths for folder in folders)


def _pool_without_table(tree: Tree, root: Path, media: Media) -> pd.DataFrame:
    """The unlabelled pool as the organisers distribute it: clips in NoAnnotation, and no transcripts."""
    pools = _pool_folders(tree, root)
    names = [
        name for name, paths in media.by_name.items() if any(_is_below(pools, path, tree.files[path]) for path in paths)
    ]
    pool = pd.DataFrame({"name": names}, dtype=str).reindex(columns=TEXTS, fill_value="")
    return pool.assign(start=0.0, stop=math.inf, row=None, part="unlabelled", file="NoAnnotation")


def _spell_labels(config: CorpusConfig, clips: pd.DataFrame) -> tuple[LabelSet, list[str]]:
    """The label names, and what was read in another spelling; all labels of `clips` get the spelling of these names.

    The names are the official ones, or those that the training part uses, in alphabetical order. Labels that differ by
    case, width or invisible characters are one; of several spellings, most training clips decide.
    """
    names, remarks = [], []
    for task in TASKS:
        given = clips[task].str.strip()
        cleaned = given.map(clean_label)
        used = OFFICIAL[task]
        if config.labels != "official":
            counts = Counter(cleaned[clips.part == "training"])
            used = sorted(set(counts) - {""}, key=lambda label: (-counts[label], label))
        spelling: dict[str, str] = {}
        for label in used:
            spelling.setdefault(label.casefold(), label)
        clips[task] = [spelling.get(label.casefold(), label) for label in cleaned]
        changed = Counter((a, b) for a, b in zip(given, clips[task], strict=True) if a != b)
        remarks += [f"{task} {a!r} is read as {b!r} ({n} clips)" for (a, b), n in sorted(changed.items())]
        remarks += [
            f"{task} {label!r} ({(clips[task] == label).sum()} clips) is a class of its own; where several labels are "
            "meant, keep one of them in each cell"
            for label in spelling.values()
            if _holds_several(label, spelling)
        ]
        names.append(OFFICIAL[task] if config.labels == "official" else tuple(sorted(spelling.values())))
    return LabelSet(*names), remarks


def _holds_several(cell: str, known: Container[str]) -> bool:
    """Whether a cell holds several labels, one of which at least is known, as sad;anger does."""
    pieces = [piece.strip().casefold() for piece in SEPARATED.split(cell)]
    return len(pieces) > 1 and any(piece in known for piece in pieces)


def _label_problems(clips: pd.DataFrame, labels: LabelSet) -> list[Problem]:
    problems = []
    for clip in clips[clips.part.isin(LABELLED)].itertuples():
        for task in TASKS:
            label = getattr(clip, task)
            if any(unicodedata.category(c) == "Cc" for c in label):
                what, remedy = f"the {task} {label!r} holds a control character", "write it in plain letters"
                problems.append(Problem(clip.file, clip.row, what, remedy, kind=f"{task} with a control character"))
            elif labels[task] and label not in labels[task]:  # no labels at all: the table is reported already
                close = difflib.get_close_matches(label.lower(), labels[task], n=1)
                remedy = f"did you mean {close[0]}?" if close else f"one of {', '.join(labels[task])}"
                if _holds_several(label, {known.casefold() for known in labels[task]}):
                    remedy = "these are several labels: keep one of them"
                what = f"unknown {task} {label!r}" if label else f"no {task}"
                kind = f"unknown {task}" if label else f"no {task}"
                problems.append(Problem(clip.file, clip.row, what, remedy, kind=kind))
    for task in TASKS:
        if len(labels[task]) == 1:
            what = f"every training clip has the {task} {labels[task][0]!r}"
            problems.append(Problem("training part", None, what, "a task needs two classes or more"))
    return problems


def _pointer_problems(clips: pd.DataFrame, root: Path) -> list[Problem]:
    """Files of which only the pointers are there, as git clones them without Git LFS: all of them, or whole folders."""
    paths = sorted({Path(split_excerpt(path)[0]) for path in clips.path if path})
    if not any(map(files.is_lfs_pointer, paths[:: max(1, len(paths) // LOOKED_AT)])):
        return []
    pointers = [str(path.relative_to(root.absolute())) for path in paths if files.is_lfs_pointer(path)]
    what, remedy, kind = files.LFS_POINTER, files.LFS_WHY, "a Git LFS pointer"
    return [Problem(file, None, what, remedy, kind=kind) for file in pointers]


def _passed_over(tree: Tree, root: Path, tables: list[Path]) -> list[str]:
    """The files that are neither clips nor the tables of a part, in one line."""
    used = {tree.files[path] for path in tables}
    rest = [p for p, real in tree.files.items() if p.suffix.lower() not in MEDIA_SUFFIXES and real not in used]
    return [f"passed over in {root}: {describe_endings(rest, below=root)}"] if rest else []
