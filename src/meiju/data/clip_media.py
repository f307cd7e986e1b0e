"""Which media file each row of a corpus' tables means, and what the clips are called.

A name given with a folder, as train/dia0_utt0.mp4, is a file in such a folder, and the clip is train_dia0_utt0: clips'
names become names of files and stand in the submission, so they hold no folder. Where the tables of several parts use
one name for several files, each means the one in its part's folder (train_splits, dev), and all clips are named so.
"""

import math
import re
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from meiju.data.tables import Problem
from meiju.utils.clip_files import MEDIA_SUFFIXES, VIDEO_SUFFIXES, Tree, clip_name, examples, excerpt, loose

# How the name of a table or folder tells its part: by one of its words, such as Training_transcription.csv or val.csv.
PART_WORDS = {
    "training": r"train\w*",
    "validation": r"val|valid\w*|dev",
    "testing": r"test\w*",
    "unlabelled": r"unlabell?ed|noannotation",
}


def part_of_words(name: str) -> set[str]:
    """The parts that a file's or folder's name speaks of."""
    words = re.findall(r"[a-z]+", name.casefold().replace("no_", "no").replace("no-", "no").replace("no ", "no"))
    return {part for part, pattern in PART_WORDS.items() if any(re.fullmatch(pattern, word) for word in words)}


class Media:
    """The media files below a corpus' folder, each of them once, whatever links lead to it."""

    def __init__(self, tree: Tree, root: Path):
        self.tree, self.root = tree, root
        by_name: dict[str, dict[Path, Path]] = defaultdict(dict)
        for path, real in tree.files.items():
            if path.suffix.lower() in MEDIA_SUFFIXES:
                by_name[clip_name(path.name)].setdefault(real, path)
        self.by_name = {name: list(by_real.values()) for name, by_real in by_name.items()}

    def speaks(self, path: Path) -> tuple[str, str]:
        """The outermost folder around a file that speaks of one part alone, and the part; both "" without one."""
        for folder in path.relative_to(self.root).parts[:-1]:
            if len(parts := part_of_words(folder)) == 1:
                return folder, *parts
        return "", ""

    def part_folder(self, path: Path, part: str) -> str:
        """The folder that speaks of a file's part, if it is this one; else ""."""
        folder, its = self.speaks(path)
        return folder if its == part else ""

    def meant(self, name: str) -> list[Path]:
        """The files that a name, perhaps with folders before it, can mean."""
        *folders, name = name.split("/")
        ending = "/" + "/".join([*folders, ""]).casefold()
        paths = self.by_name.get(name, [])
        return [p for p in paths if f"/{p.parent.relative_to(self.root)}/".casefold().endswith(ending)]


def best(paths: list[Path]) -> list[Path]:
    """Of the files of a clip, its videos or, where there are none, its sounds (the baseline extracts these)."""
    return [path for path in paths if path.suffix.lower() in VIDEO_SUFFIXES] or paths


@dataclass(frozen=True)
class Located:
    """What `locate` finds.

    clips: the rows with the clips' names and a column path: a file, an excerpt of one, or "". problems: names that mean
    several files. missing: rows without a file. without_row: files that no row names. ambiguous: names of clips that
    the problems speak of already. remarks: how names were changed.
    """

    clips: pd.DataFrame
    problems: list[Problem]
    missing: list[Problem]
    without_row: list[Problem]
    ambiguous: set[str]
    remarks: list[str]


def locate(clips: pd.DataFrame, media: Media, unusable: set[str], *, missing_is_warning: bool) -> Located:
    """Find the file of each row (see `meiju.data.tables.Table`), and give each clip a name without a folder.

    unusable: names of which nothing can be said. missing_is_warning: whether files are needed for nothing.
    """
    clips = clips.assign(name=clips.name.map(_plain), film=clips.film.map(_plain))
    clips = clips.assign(given=clips.film.where(clips.film != "", clips.name).astype(str))
    folders, ambiguous = _split_folders(clips, media)
    problems = []
    if ambiguous:
        first = next(row for row in clips.itertuples() if row.name in ambiguous)
        what = (
            f"{len(ambiguous)} names stand in the tables of several parts and are those of several files, the first "
            f"{first.name} ({examples([p.relative_to(media.root) for p in media.by_name[first.film or first.name]])})"
        )
        problems.append(Problem(first.file, None, what, "give names with their folder, such as train/dia0_utt0.mp4"))
    names, paths, found_files, second = [], [], set(), {}
    for row in clips.itertuples():
        found = media.meant(row.given)
        if folders and "/" not in row.given:
            found = [path for path in found if media.part_folder(path, row.part)]
            folder = media.part_folder(found[0], row.part) if found else folders.get(row.part)
            names.append(f"{folder}_{row.name}" if folder else row.name)
        else:
            names.append(row.name.replace("/", "_") if _is_plain(row.name) else row.name)
        found_files |= {media.tree.files[path] for path in found}
        if len(best(found)) > 1 and row.name not in ambiguous:
            second.setdefault(names[-1], best(found))
        cut = excerpt if row.stop < math.inf else lambda path, *_: str(path)
        paths.append(cut(best(found)[0].absolute(), row.start, row.stop) if found else "")
    for name, (one, other, *_) in second.items():
        what = f"clip {name} has a second file, {other.relative_to(media.root)}"
        file, remedy = str(one.relative_to(media.root)), "remove or rename one of them"
        problems.append(Problem(file, None, what, remedy, kind="a clip has a second file"))
    remarks = []
    if folders:
        changed = [f"{a} is {b}" for a, b in zip(clips.name, names, strict=True) if a != b]
        remarks = [f"names that several parts use are taken with their part's folder: {examples(changed)}"]
    clips = clips.assign(name=names, path=paths)
    missing, without_row = [], []
    if media.by_name or not missing_is_warning:  # a corpus of features that were extracted before has no clips at all
        nameless = _nameless(media, found_files, {given.rpartition("/")[2] for given in clips.given}, unusable)
        missing = _missing(clips[~clips.given.isin(ambiguous)], media, nameless, missing_is_warning=missing_is_warning)
        remedy = "add a row to its part's csv file, or remove the file"
        what, kind = "no row names this clip", "a media file that no row names"
        where = [str(path.relative_to(media.root)) for path in nameless]
        without_row = [Problem(file, None, what, remedy, missing_is_warning, kind) for file in where]
    return Located(clips, problems, missing, without_row, ambiguous, remarks)


def _plain(name: str) -> str:
    return name.replace("\\", "/").removeprefix("./")


def _is_plain(name: str) -> bool:
    """Whether a name's folders lead down from where the corpus is."""
    return all(part not in ("", ".", "..") for part in name.split("/"))


def _split_folders(clips: pd.DataFrame, media: Media) -> tuple[dict[str, str], set[str]]:
    """The folder of each part, where names need it, and names that mean several files even so.

    They need it where the tables of several parts use one name, and there are several files of it.
    """
    uses = clips[~clips.given.str.contains("/") & clips.row.notna()]
    n_parts = uses.groupby("name").part.transform("nunique")
    shared = uses[(n_parts > 1) & uses.given.map(lambda name: len(best(media.by_name.get(name, []))) > 1).astype(bool)]
    if len(shared) == 0:
        return {}, set()
    folders: dict[str, Counter] = defaultdict(Counter)
    ambiguous = set()
    for row in shared.itertuples():
        paths = best(media.by_name[row.given])
        own = [path for path in paths if media.part_folder(path, row.part)]
        if len(own) > 1 or not all(media.speaks(path)[0] for path in paths):
            ambiguous.add(row.name)
        folders[row.part].update(media.part_folder(path, row.part) for path in own)
    if ambiguous:
        return {}, ambiguous
    return {part: of_part.most_common(1)[0][0] for part, of_part in folders.items() if of_part}, set()


def _nameless(media: Media, found: set[Path], names: set[str], unusable: set[str]) -> list[Path]:
    """The files that no row means; a sound that was extracted from a clip's video counts as meant."""
    skipped = {name.rpartition("/")[2] for name in unusable}
    return [
        path
        for name, paths in sorted(media.by_name.items())
        for path in (best(paths) if name not in names else paths)
        if name not in skipped
        and media.tree.files[path] not in found
        and (name not in names or path.suffix.lower() in VIDEO_SUFFIXES)
    ]


def _missing(clips: pd.DataFrame, media: Media, nameless: list[Path], *, missing_is_warning: bool) -> list[Problem]:
    """The rows without a file. Test clips have to be submitted, so without a few of their files a run goes on."""
    lost = clips[clips.path == ""]
    few = 2 * (lost.part == "testing").sum() < (clips.part == "testing").sum()
    alike = {loose(clip_name(path.name)): path for path in nameless} if len(lost) else {}
    if len(lost):
        others = (path for path in media.tree.files if path.suffix.lower() not in MEDIA_SUFFIXES)
        alike |= {loose(path.stem): path for path in others}
    problems = []
    for (_, given), rows in lost.groupby(["part", "given"], sort=False):
        clip, spared = next(rows.itertuples()), few and rows.part.iloc[0] == "testing"
        name, otherwise = given.rpartition("/")[2], ", or remove the row"
        if spared:
            otherwise = "; without it, its sentence or nothing is judged"
        remedy = f"put {given}.mp4 anywhere below {media.root}{otherwise}"
        if loose(name) in alike:
            there = alike[loose(name)].relative_to(media.root)
            remedy = f"there is {there}: give it the clip's name and a known ending"
        what, kind = f"no media file for {given}", "no media file for a row"
        if clip.film:
            what = f"no media file for {given}, of which {len(rows)} clips are parts"
        problems.append(Problem(clip.file, clip.row, what, remedy, missing_is_warning or spared, kind))
    return problems
