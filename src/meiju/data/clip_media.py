"""Which media file each row of a corpus' tables means, and what the clips are called.

A name given with a folder, as train/dia0_utt0.mp4, is a file in such a folder, and the clip is train_dia0_utt0: clips'
names become names of files and stand in the submission, so they hold no folder.
"""

import math
from collections import defaultdict
from itertools import chain
from pathlib import Path

import pandas as pd

from meiju.data.tables import Problem, name_problems
from meiju.utils.clip_files import MEDIA_SUFFIXES, VIDEO_SUFFIXES, Tree, clip_name, examples, excerpt


class Media:
    """The media files below a corpus' folder, each of them once, whatever links lead to it."""

    def __init__(self, tree: Tree, root: Path):
        self.tree, self.root = tree, root
        by_name: dict[str, dict[Path, Path]] = defaultdict(dict)
        for path, real in tree.files.items():
            if path.suffix.lower() in MEDIA_SUFFIXES:
                by_name[clip_name(path.name)].setdefault(real, path)
        self.by_name = {name: list(by_real.values()) for name, by_real in by_name.items()}

    def meant(self, name: str) -> list[Path]:
        """The files that a name, perhaps with folders before it, can mean."""
        *folders, name = name.split("/")
        ending = "/" + "/".join([*folders, ""]).casefold()
        paths = self.by_name.get(name, [])
        return [p for p in paths if f"/{p.parent.relative_to(self.root)}/".casefold().endswith(ending)]


def best(paths: list[Path]) -> list[Path]:
    """Of the files of a clip, its videos or, where there are none, its sounds (the baseline extracts these)."""
    return [path for path in paths if path.suffix.lower() in VIDEO_SUFFIXES] or paths


def locate(
    clips: pd.DataFrame, media: Media, *, all_rows: bool, needs_media: bool
) -> tuple[pd.DataFrame, list[Problem]]:
    """Find the file of each row (see `meiju.data.tables.read_table`), and give each clip a name without a folder.

    Returns the rows with the clips' names and a column path (a file, an excerpt of one, or ""), and all that is wrong
    with names and files. all_rows: whether a file that no row means is one; else, rows could not be read.
    needs_media: whether a file that lacks is an error.
    """
    clips = clips.assign(**{c: clips[c].str.replace("\\", "/").str.removeprefix("./") for c in ("name", "film")})
    clips["given"] = clips.film.where(clips.film != "", clips.name).astype(str)
    problems, ambiguous = _used_by_several_parts(clips, media)
    paths, found_files = [], set()
    for row in clips.itertuples():
        found = media.meant(row.given)
        found_files |= {media.tree.files[path] for path in found}
        one, *others = best(found) or [None]
        if others and row.name not in ambiguous:
            what = f"clip {row.name} has a second file, {others[0].relative_to(media.root)}"
            file, remedy = str(one.relative_to(media.root)), "remove or rename one of them"
            problems.append(Problem(file, None, what, remedy))
        path = str(one.absolute()) if one else ""
        paths.append(excerpt(path, row.start, row.stop) if one and row.stop < math.inf else path)
    # A name whose folders do not lead down, such as ../x, stays as it is, and is refused.
    leads_elsewhere = clips.name.str.contains(r"(?:^|/)\.{0,2}(?:/|$)").astype(bool)
    clips = clips.assign(name=clips.name.where(leads_elsewhere, clips.name.str.replace("/", "_")), path=paths)
    unambiguous = clips[~clips.name.isin(ambiguous)]
    problems += name_problems(unambiguous)
    if media.by_name or needs_media:  # a corpus of features that were extracted before has no clips at all
        problems += _missing(unambiguous, media.root, needs_media=needs_media)
        what, remedy = "no row names this clip", "add a row to its part's csv file, or remove the file"
        # A sound that was extracted from a clip's video needs no row.
        for path in chain.from_iterable(best(media.by_name[name]) for name in sorted(media.by_name)):
            if all_rows and media.tree.files[path] not in found_files:
                problems.append(Problem(str(path.relative_to(media.root)), None, what, remedy, not needs_media))
    return clips, [*dict.fromkeys(problems)]  # of a name in two rows, a second file is one problem


def _used_by_several_parts(clips: pd.DataFrame, media: Media) -> tuple[list[Problem], set[str]]:
    """Names without a folder that stand in the tables of several parts, where there are several files of them."""
    uses = clips[~clips.given.str.contains("/") & clips.row.notna()]
    several = uses.groupby("name").part.transform("nunique") > 1
    shared = uses[several & (uses.given.map(lambda name: len(best(media.by_name.get(name, [])))) > 1)]
    if len(shared) == 0:
        return [], set()
    first = shared.iloc[0]
    places = examples([path.relative_to(media.root) for path in media.by_name[first.given]])
    what = f"{shared.name.nunique()} names stand in the tables of several parts and are those of several files"
    remedy = "give names with their folder, such as train/dia0_utt0.mp4"
    return [Problem(first.file, None, f"{what}, the first {first['name']} ({places})", remedy)], set(shared.name)


def _missing(clips: pd.DataFrame, root: Path, *, needs_media: bool) -> list[Problem]:
    """The rows without a file. Test clips have to be submitted, so without a few of their files a run goes on."""
    lost = clips[clips.path == ""]
    few = 2 * (lost.part == "testing").sum() < (clips.part == "testing").sum()
    problems = []
    for clip in lost.drop_duplicates(["part", "given"]).itertuples():  # a film is one for many rows
        spared = few and clip.part == "testing"
        otherwise = "; without it, its sentence or nothing is judged" if spared else ", or remove its rows"
        what, remedy = f"no media file for {clip.given}", f"put one of this name anywhere below {root}{otherwise}"
        problems.append(Problem(clip.file, clip.row, what, remedy, not needs_media or spared))
    return problems
