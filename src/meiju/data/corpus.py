"""Reads a corpus in the official layout into one table of clips, or says everything that is wrong with it.

How tables are read: meiju.data.tables. Folders and tables are known by their names in any case; clips are found by
their names, in one Unicode form. What cannot be accepted is collected, so that one run names every problem of a corpus
before any long work starts. What is passed over is named.
"""

import difflib
import hashlib
import math
import re
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from meiju.config import CorpusConfig, require
from meiju.data.clip_media import Media, locate
from meiju.data.labels import OFFICIAL, TASKS, LabelSet, clean_label, spelled
from meiju.data.tables import GROUPS, TEXTS, Problem, format_problems, names_clips, read_table
from meiju.utils import files
from meiju.utils.clip_files import MEDIA_SUFFIXES, Tree, describe_endings, examples, split_excerpt, walk

PARTS = ("training", "validation", "testing", "unlabelled")
LABELLED = ("training", "validation")
# What encoders and the punctuation restorer may learn from, without labels: never the parts that are scored.
UNSCORED_PARTS = ("training", "unlabelled")

# Parts that a corpus may lack, and what then lacks in a run.
WITHOUT = {"validation": "scores are out of fold alone", "testing": "there is nothing to hand in"}
LOOKED_AT = 50  # clips that are opened to see whether they are clips
# How the name of a table or folder tells its part: by one of its words, such as Training_transcription.csv or val.csv.
PART_WORDS = {
    "training": r"train\w*",
    "validation": r"val|valid\w*|dev",
    "testing": r"test\w*",
    "unlabelled": r"unlabell?ed|noannotation",
}
TABLE_SUFFIXES = (".csv", ".tsv")


@dataclass(frozen=True)
class Corpus:
    """The clips of a corpus.

    clips: one row per clip, sorted by name, with columns name, part, sentence, emotion, intent, dialogue, speaker
    (empty where unknown) and path (of the media file, empty where there is none). remarks: warnings, and what
    was passed over or read in another spelling.
    """

    clips: pd.DataFrame
    labels: LabelSet
    remarks: list[str]

    def part(self, part: str) -> pd.DataFrame:
        """The clips of one part, sorted by name."""
        return self.clips[self.clips.part == part].reset_index(drop=True)

    def describe(self) -> str:
        """One line per part: how many clips it has, and how many of them with a file, a sentence and labels."""
        lines = []
        for part in PARTS:
            clips = self.part(part)
            has = {"file": clips.path != "", "sentence": clips.sentence.str.strip() != ""}
            has["labels"] = (clips[list(TASKS)] != "").all(axis=1)
            counts = [f", {found.sum()} with {what}" for what, found in has.items() if len(clips)]
            lines.append(f"{part}: {len(clips)} clips{''.join(counts)}")
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
    """Read and check the corpus at `config.root`. Raises ConfigError with every problem found.

    needs_media: whether a clip without a media file is an error, or only a warning (its features are read elsewhere).
    """
    root = config.root
    what = "is missing" if root is None else f"{root} is not a folder"
    is_there = root is not None and root.is_dir()
    require(is_there, f"--corpus.root {what}; give the corpus' folder, e.g. .../Track1/Mandarin")
    tree = walk(root)
    problems = [
        Problem(str(path.relative_to(root)), None, f"is passed over: {why}", "make it readable", True)
        for path, why in tree.closed.items()
    ]
    pool_files = _pool_files(tree, root)
    csv_files = _find_tables(tree, root, pool_files, problems)
    media = Media(tree, root)
    tables, unread = [], {}
    for part, path in csv_files.items():
        needed = ("name", "sentence", *(TASKS if part in LABELLED else ()))
        rows, heads = read_table(path, str(path.relative_to(root)), part, problems, needed=needed)
        tables.append(rows)
        unread |= dict.fromkeys(map(repr, heads))
    # One cause is reported without its consequences: rows that cannot be read may name any file.
    all_rows = all(problem.warning for problem in problems)
    pool = [] if "unlabelled" in csv_files else [_pool_without_table(media, pool_files)]
    clips = pd.concat([*tables, *pool], ignore_index=True)
    labels, respelled = _spell_labels(config, clips)
    problems += _label_problems(clips, labels)
    clips, found = locate(clips, media, all_rows=all_rows, needs_media=needs_media)
    problems += found
    problems += _pointer_problems(clips, root) if needs_media else []
    remarks = format_problems(problems)
    n = len(problems)
    is_sound = all(problem.warning for problem in problems)
    require(is_sound, "\n  ".join([f"the corpus has {n} problem{'s' * (n != 1)}:", *remarks]))
    clips = clips[["name", "part", "sentence", *TASKS, *GROUPS, "path"]].sort_values("name", ignore_index=True)
    used = {tree.files[path] for path in csv_files.values()}
    rest = [p for p, real in tree.files.items() if p.suffix.lower() not in MEDIA_SUFFIXES and real not in used]
    remarks += [f"passed over in {root}: {describe_endings(rest, below=root)}"] if rest else []
    remarks += [f"columns that are not read: {', '.join(unread)}"] if unread else []
    return Corpus(clips, labels, remarks + respelled)


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


def _part_of_words(name: str) -> set[str]:
    """The parts that a file's or folder's name speaks of."""
    words = re.findall(r"[a-z]+", re.sub("no[_ -]", "no", name.casefold()))
    return {part for part, pattern in PART_WORDS.items() if any(re.fullmatch(pattern, word) for word in words)}


def _pool_files(tree: Tree, root: Path) -> set[Path]:
    """Where the files in folders of unlabelled clips, NoAnnotation as the organisers call it, really are."""
    named = [path for path in tree.folders if path != root and _part_of_words(path.name) == {"unlabelled"}]
    pools = {*named, *(tree.folders[path] for path in named)}
    return {real for path, real in tree.files.items() if not pools.isdisjoint([*path.parents, *real.parents])}


def _find_tables(tree: Tree, root: Path, pool_files: set[Path], problems: list[Problem]) -> dict[str, Path]:
    """The csv file of each part, found by its name; of several, the one that has a column of clips' names."""
    candidates = defaultdict(dict)
    for path, real in tree.files.items():
        if path.suffix.lower() in TABLE_SUFFIXES:
            parts = {"unlabelled"} if real in pool_files else _part_of_words(path.stem)
            if len(parts) == 1:
                candidates[parts.pop()].setdefault(real, path)
    tables = {}
    for part in PARTS:
        paths = [*candidates[part].values()]
        if len(paths) > 1:  # feature extraction leaves others, such as one csv per clip's faces
            of_clips = [path for path in paths if names_clips(path)]
            paths = of_clips or [path for path in paths if len(path.relative_to(root).parts) <= 2]
        if len(paths) > 1:
            names = examples([path.relative_to(root) for path in paths])
            remedy = "give the folder of one corpus, or leave one of them"
            problems.append(Problem(str(root), None, f"several tables for {part}: {names}", remedy))
        elif paths:
            tables[part] = paths[0]
        elif part != "unlabelled":
            remedy = f"put a csv file named like {part.capitalize()}_transcription.csv into {root / 'Annotation'}"
            remedy = WITHOUT.get(part, remedy)
            problems.append(Problem(str(root), None, f"no table of {part} clips", remedy, warning=part in WITHOUT))
    return tables


def _pool_without_table(media: Media, pool_files: set[Path]) -> pd.DataFrame:
    """The unlabelled pool as the organisers distribute it: clips in NoAnnotation, and no transcripts."""
    files_of = media.tree.files
    names = [name for name, paths in media.by_name.items() if any(files_of[path] in pool_files for path in paths)]
    pool = pd.DataFrame({"name": names}, dtype=str).reindex(columns=TEXTS, fill_value="")
    return pool.assign(start=0.0, stop=math.inf, row=None, part="unlabelled", file="NoAnnotation")


def _spell_labels(config: CorpusConfig, clips: pd.DataFrame) -> tuple[LabelSet, list[str]]:
    """The label names, and what was read in another spelling; all labels of `clips` get the spelling of these names.

    The names are the official ones, or those that the training part uses, in alphabetical order. Labels that differ by
    case, width or invisible characters are one; of several spellings, most training clips decide.
    """
    names, remarks = [], []
    for task in TASKS:
        given, known = clips[task].str.strip(), OFFICIAL[task]
        if config.labels != "official":
            counts = Counter(map(clean_label, given[clips.part == "training"]))
            used = sorted({*counts} - {""}, key=lambda label: (-counts[label], label), reverse=True)
            known = tuple(sorted({*spelled(used, used)}))
        clips[task] = spelled(given, known)
        changed = Counter((a, b) for a, b in zip(given, clips[task], strict=True) if a != b)
        remarks += [f"{task} {a!r} is read as {b!r} ({n} clips)" for (a, b), n in sorted(changed.items())]
        names.append(known)
    return LabelSet(*names), remarks


def _label_problems(clips: pd.DataFrame, labels: LabelSet) -> list[Problem]:
    problems = []
    for task in TASKS:
        # No labels at all: the table is reported already.
        unknown = clips[clips.part.isin(LABELLED) & ~clips[task].isin(labels[task])] if labels[task] else clips[:0]
        for file, row, label in zip(unknown.file, unknown.row, unknown[task], strict=True):
            close = difflib.get_close_matches(label.lower(), labels[task], n=1)
            remedy = f"did you mean {close[0]}?" if close else f"one of {', '.join(labels[task])}"
            what, remedy = (f"unknown {task} {label!r}", remedy) if label else (f"no {task}", f"give {remedy}")
            problems.append(Problem(file, row, what, remedy))
        if len(labels[task]) == 1:
            what = f"every training clip has the {task} {labels[task][0]!r}"
            problems.append(Problem("training part", None, what, "a task needs two classes or more"))
    return problems


def _pointer_problems(clips: pd.DataFrame, root: Path) -> list[Problem]:
    """Files of which only the pointers are there, as git clones them without Git LFS: all of them, or whole folders."""
    paths = sorted({Path(split_excerpt(path)[0]) for path in clips.path if path})
    looked_at = paths[:: max(1, len(paths) // LOOKED_AT)]
    pointers = [str(path.relative_to(root.absolute())) for path in looked_at if files.is_lfs_pointer(path)]
    return [Problem(file, None, files.LFS_POINTER, files.LFS_WHY) for file in pointers]
