"""The files of clips: which endings they have, what names they give, and how they are found below a folder."""

import math
import os
import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from meiju.utils import system

# fmt: off
VIDEO_SUFFIXES = (
    ".mp4", ".mkv", ".mov", ".m4v", ".avi", ".webm", ".wmv", ".asf", ".flv", ".f4v", ".ts", ".m2ts", ".mts", ".mpg",
    ".mpeg", ".vob", ".3gp", ".3g2", ".ogv", ".mxf", ".rm", ".rmvb",
)
SOUND_SUFFIXES = (
    ".m4a", ".wav", ".flac", ".mp3", ".aac", ".ogg", ".oga", ".opus", ".wma", ".aif", ".aiff", ".aifc", ".amr", ".ac3",
    ".mka", ".au", ".caf",
)
# fmt: on
MEDIA_SUFFIXES = VIDEO_SUFFIXES + SOUND_SUFFIXES  # what ffmpeg's libraries read and people keep clips in

SHOWN = 3  # examples named in one line
EXCERPT = re.compile(r"#t=(\d+\.\d{3}),(\d+\.\d{3})$")  # no clip's file has such an ending


@dataclass
class Tree:
    """What lies below a folder: its files, sorted, and its folders, each with the place that it is really at.

    closed: what cannot be looked into, such as another user's lost+found or a link to nothing, and why.
    """

    files: dict[Path, Path] = field(default_factory=dict)
    folders: dict[Path, Path] = field(default_factory=dict)
    closed: dict[Path, str] = field(default_factory=dict)


def walk(root: Path) -> Tree:
    """Look through a folder, also where links lead to; each real folder once, so circles of links do no harm.

    Hidden files, such as the ._x.csv that macOS puts into zips, are left out. Raises Unreadable where the system lets
    nothing be read.
    """
    tree, visited = Tree(), set()

    def note(error: OSError) -> None:
        path = Path(error.filename)
        if path == root or not isinstance(error, PermissionError):
            system.raise_unreadable(path, error)
            raise error
        tree.closed[path] = error.strerror

    for folder, subfolders, names in os.walk(root, onerror=note, followlinks=True):
        real = tree.folders[Path(folder)] = Path(os.path.realpath(folder))
        subfolders[:] = sorted(name for name in subfolders if not name.startswith(".")) if real not in visited else []
        for path in [Path(folder, name) for name in names if not name.startswith(".") and real not in visited]:
            try:
                if path.is_file():
                    tree.files[path] = Path(os.path.realpath(path)) if path.is_symlink() else real / path.name
                elif not path.exists():
                    tree.closed[path] = "a link to nothing"
            except OSError as error:
                note(error)
        visited.add(real)
    tree.files = dict(sorted(tree.files.items()))
    return tree


def without_sound_beside_video(paths: Iterable[Path]) -> list[Path]:
    """The files without those of sound that lie beside a video of the same name: extraction leaves them there."""
    paths = list(paths)
    videos = {path.with_suffix("") for path in paths if path.suffix.lower() in VIDEO_SUFFIXES}
    return [path for path in paths if path.suffix.lower() in VIDEO_SUFFIXES or path.with_suffix("") not in videos]


def clip_name(file_name: str) -> str:
    """The clip's name of an entry such as 'Track1_Training_00001.mp4': without the extension of a media file.

    In one Unicode form (NFC), since macOS writes another one than tables hold, and without invisible characters.
    """
    name = visible(file_name).strip()
    stem, dot, suffix = name.rpartition(".")
    return stem if dot and f".{suffix.lower()}" in MEDIA_SUFFIXES else name


def excerpt(path: str | Path, start: float, stop: float) -> str:
    """The part of a film between two times in seconds, as a path: film.mp4#t=12.500,14.000 (W3C Media Fragments)."""
    return f"{path}#t={start:.3f},{stop:.3f}"


def split_excerpt(path: str | Path) -> tuple[str, float, float]:
    """The file of a clip, and the seconds at which it starts and stops there: 0 and infinity for a whole file."""
    found = EXCERPT.search(str(path))
    return (str(path)[: found.start()], float(found[1]), float(found[2])) if found else (str(path), 0.0, math.inf)


def visible(text: str, form: Literal["NFC", "NFKC"] = "NFC") -> str:
    """The text in a Unicode form, without invisible characters such as zero-width spaces."""
    return "".join(c for c in unicodedata.normalize(form, text) if unicodedata.category(c) != "Cf")


def examples(items: Sequence[object], *, shown: int = SHOWN) -> str:
    """The first few, and how many more there are."""
    more = f" and {len(items) - shown} more" if len(items) > shown else ""
    return ", ".join(map(str, items[:shown])) + more


def describe_endings(paths: Sequence[Path], *, below: Path) -> str:
    """Files by ending, the commonest first: how many, and the first of them."""
    by_ending: dict[str, list[Path]] = {}
    for path in paths:
        by_ending.setdefault(path.suffix.lower() or "no ending", []).append(path.relative_to(below))
    kinds = sorted(by_ending.items(), key=lambda kind: -len(kind[1]))
    return examples([f"{len(found)} {ending} ({examples(found)})" for ending, found in kinds], shown=6)
