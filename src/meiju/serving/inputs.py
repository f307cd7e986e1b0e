"""What is asked of a run: clips named one by one or by their folder, and their sentences."""

from collections.abc import Sequence
from pathlib import Path

from meiju.config import require
from meiju.data.tables import read_alone, spoken
from meiju.features.base import Clip
from meiju.features.media import MediaError, read_seconds
from meiju.utils.clip_files import (
    MEDIA_SUFFIXES,
    clip_name,
    describe_endings,
    examples,
    walk,
    without_sound_beside_video,
)
from meiju.utils.system import Unreadable

KNOWN = ", ".join(MEDIA_SUFFIXES)


def find_clips(
    places: Sequence[Path], *, text: str | None = None, texts: Path | None = None
) -> tuple[list[Clip], dict[str, str], list[str]]:
    """The clips at some files and folders, what is wrong by the place where it is, and remarks on what is not used.

    text: the sentence of the only clip, which needs no file then; texts: a table of names and sentences. A damaged
    clip is named among the problems and given all the same: its sentence may do. Raises ConfigError where the
    sentences cannot be used.
    """
    require(text is None or texts is None, "--text and --texts exclude each other")
    text = text and spoken(text)
    table = read_alone(texts, ("name", "sentence")) if texts else None
    sentences = {} if table is None else dict(zip(table.name, table.sentence, strict=True))
    clips: dict[Path, Clip] = {}
    problems: dict[str, str] = {}
    remarks: list[str] = []
    for path in [path for place in places for path in _files(place, problems, remarks)]:
        try:
            problem = problem_of(path)
        except Unreadable as error:  # who knows what it holds; the others are predicted
            problems[str(path)] = str(error)
            continue
        if problem:
            problems[str(path)] = problem
        if path.is_file() and _is_media(path):
            name = clip_name(path.name)
            clips[path] = Clip(name, sentences.get(name, ""), str(path))
    if text is not None:
        one = len(places) <= 1 and len(clips) <= 1
        require(one, "--text is the sentence of one clip; for several, use --texts FILE")
        if not places:
            return [Clip("text", text, "")], {}, []
        return [Clip(clip.name, text, clip.path) for clip in clips.values()], problems, remarks
    if texts is not None and clips:
        rows = sorted(sentences.keys() - {clip.name for clip in clips.values()})
        found = f"--texts: {texts} names none of the clips; names are the files' without folder and extension"
        require(len(rows) < len(sentences), found)
        remarks += [f"--texts: {len(rows)} rows name none of the clips ({examples(rows)})"] if rows else []
    return list(clips.values()), problems, remarks


def problem_of(path: Path) -> str:
    """What makes a file no clip, or "". Raises Unreadable."""
    if not path.is_file():
        return "there is no such file"
    if not _is_media(path):
        return f"is no clip by its ending; known are {KNOWN}"
    if path.stat().st_size == 0:
        return "is empty: it has 0 bytes"
    try:
        read_seconds(path)
    except MediaError as error:
        return f"cannot be read: {error}"
    return ""


def _is_media(path: Path) -> bool:
    return path.suffix.lower() in MEDIA_SUFFIXES


def _files(place: Path, problems: dict[str, str], remarks: list[str]) -> list[Path]:
    """The clips in a folder, sorted; a file itself."""
    if not place.is_dir():
        return [place]
    tree = walk(place)
    remarks += [f"passed over: {path} ({why}; make it readable)" for path, why in tree.closed.items()]
    if others := [path for path in tree.files if not _is_media(path)]:
        remarks.append(f"passed over in {place}: {describe_endings(others, below=place)}")
    found = without_sound_beside_video(filter(_is_media, tree.files))
    if not found:
        problems[str(place)] = f"the folder holds no clips; known endings are {KNOWN}"
    return found
