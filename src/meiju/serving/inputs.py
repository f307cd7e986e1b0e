"""What is asked of a run: clips named one by one or by their folder, and their sentences."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from meiju.config import ConfigError, require
from meiju.corpus import MEDIA_SUFFIXES, CorpusError, read_sentences
from meiju.encoders.base import Clip
from meiju.encoders.media import MediaError, read_seconds

KNOWN = ", ".join(MEDIA_SUFFIXES)


def find_clips(
    places: Sequence[Path], *, text: str | None = None, texts: Path | None = None
) -> tuple[list[Clip], dict[str, str]]:
    """The clips at some files and folders, and what is wrong by the place where it is.

    text: the sentence of the only clip, which needs no file then; texts: a table of names and sentences. A damaged
    clip is named among the problems and given all the same: its sentence may do. Raises ConfigError where the
    sentences cannot be used.
    """
    require(text is None or texts is None, "--text and --texts exclude each other")
    sentences = _read(texts)
    clips: dict[Path, Clip] = {}
    problems: dict[str, str] = {}
    for path in _files(places, problems):
        if path not in clips:
            clips[path] = Clip(path.stem, sentences.get(path.stem, ""), str(path))
            problems |= {str(path): problem for problem in [problem_of(path)] if problem}
    if text is not None:
        require(
            len(places) <= 1 and len(clips) <= 1, "--text is the sentence of one clip; for several, use --texts FILE"
        )
        if not places:
            return [Clip("text", text, "")], {}
        return [Clip(clip.name, text, clip.path) for clip in clips.values()], problems
    if texts is not None and clips:
        found = any(clip.name in sentences for clip in clips.values())
        require(found, f"--texts: {texts} names none of the clips; names are the files' without folder and extension")
    return list(clips.values()), problems


def problem_of(path: Path) -> str:
    """What makes a file no clip, or ""."""
    if not path.is_file():
        return "there is no such file"
    if path.suffix.lower() not in MEDIA_SUFFIXES:
        return f"is no clip by its ending; known are {KNOWN}"
    if path.stat().st_size == 0:
        return "is empty: it has 0 bytes"
    try:
        read_seconds(path)
    except MediaError as error:
        return f"cannot be read: {error}"
    return ""


def _read(texts: Path | None) -> dict[str, str]:
    if texts is None:
        return {}
    try:
        return read_sentences(texts)
    except CorpusError as error:
        raise ConfigError("--texts: " + "; ".join(map(str, error.problems))) from None


def _files(places: Sequence[Path], problems: dict[str, str]) -> Iterator[Path]:
    """The files that may be clips, in the order of the places and sorted within a folder."""
    for place in places:
        if place.is_dir():
            found = _in_folder(place)
            if not found:
                problems[str(place)] = f"the folder holds no clips; known endings are {KNOWN}"
            yield from found
        elif place.is_file() and place.suffix.lower() in MEDIA_SUFFIXES:
            yield place
        else:
            problems[str(place)] = problem_of(place)


def _in_folder(folder: Path) -> list[Path]:
    """Clips anywhere below a folder; of one with several files, such as its sound beside it, the first kind counts."""
    best: dict[Path, Path] = {}
    for path in sorted(folder.rglob("*")):
        suffix = path.suffix.lower()
        if suffix in MEDIA_SUFFIXES and path.is_file() and not path.name.startswith("."):
            other = best.get(path.with_suffix(""))
            if other is None or MEDIA_SUFFIXES.index(suffix) < MEDIA_SUFFIXES.index(other.suffix.lower()):
                best[path.with_suffix("")] = path
    return list(best.values())
