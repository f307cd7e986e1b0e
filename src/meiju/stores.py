"""What runs share: frames and transcriptions, which take longest and which no run's name decides.

They lie in work/_shared/<kind>/, in a folder named by a hash of all that decides them, so that any run finds them. A
run uses what the markers of its steps name, below work/<run>/ and in submissions/<run>/: of each set of settings the
last one that was finished or found finished, and what was begun since; not the results of older code, or of clips
that have changed.
"""

import os
import shutil
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from meiju.config import SHARED
from meiju.utils import files

BEGUN = ".begun.json"  # the marker of a step that was begun: what it has made so far is used, though it may be cut off
STREAMS = "streams"  # where a marker lists what decides each stream
# Settings that decide nothing of what is shared.
OTHER_SETTINGS = ("run", "home", "jobs", "compute", "model", "train", "pseudo", "stage2", "submit")


def name_of(kind: str, cache_key: dict, stream: str = "") -> str:
    """Where a store lies, relative to work/_shared."""
    return f"{kind}/{'-'.join(filter(None, [stream, files.digest(cache_key)]))}"


def others(folder: Path) -> list[Path]:
    """The stores of the same kind and stream made from other clips, or with other settings or code."""
    stream = folder.name.rpartition("-")[0]
    return sorted(other for other in folder.parent.glob(f"{stream}-*" if stream else "[!.]*") if other != folder)


def found(home: Path) -> list[Path]:
    """The folders of all stores, sorted; also of those that were being removed when something came between."""
    folders = (home.absolute() / "work" / SHARED).glob("*/*")
    return sorted(folder for folder in folders if folder.is_dir())


def users(home: Path) -> dict[Path, list[str]]:
    """By folder of a store, the runs that use it, sorted. Raises Damaged if a marker cannot be read."""
    work, by_store = home.absolute() / "work", defaultdict(set)
    for run in sorted(path for path in work.glob("*") if path.is_dir() and path.name != SHARED):
        for cache_key in _current(run, home / "submissions" / run.name / "submission.json"):
            for name in _named_by(cache_key):
                by_store[work / SHARED / name].add(run.name)
    return {folder: sorted(runs) for folder, runs in by_store.items()}


def renew(marker: Path) -> None:
    """Let a finished step count again that was found as it is, where one of other code or clips was finished since."""
    own_at, own_settings, _ = _read(marker)
    for path in marker.parent.parent.glob("*/done*.json"):
        with suppress(files.Damaged, FileNotFoundError):
            at, settings, _ = _read(path)
            if at > own_at and settings == own_settings:
                files.write_json(marker, files.read_json(marker) | {"at": time.time_ns()})
                return


def size(folder: Path) -> int:
    """Bytes of all files in a folder."""
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            with suppress(FileNotFoundError):  # another run is at work
                total += os.stat(Path(place, name)).st_size
    return total


def remove(folder: Path, home: Path) -> None:
    """Remove a store that no run uses. Raises Busy if a run has come to use it, or is writing to it."""
    with files.reserved(folder):
        if folder in users(home):  # looked at once more, now that nobody can begin to write there
            raise files.Busy(f"a run uses {folder} by now")
        aside = folder.with_name(f".{folder.name}.removed")  # or it would be found half removed
        folder.rename(aside)
        shutil.rmtree(aside)


def _current(run: Path, submission: Path) -> Iterator[dict]:
    """What decides the results of a run that count, step by step."""
    markers = [(*_read(path), path) for name in (BEGUN, "done*.json") for path in run.glob(f"*/*/{name}")]
    superseded = set()
    for _, settings, cache_key, path in sorted(markers, key=lambda marker: marker[0], reverse=True):
        kind = (path.parent.parent.name, settings)
        if kind not in superseded:
            yield cache_key
        if path.name != BEGUN:
            superseded.add(kind)
    if submission.exists():
        yield files.read_json(submission).get("cache key")


def _read(marker: Path) -> tuple[int, str, object]:
    """When a step was begun or finished (ns), a hash of the settings that matter here, and what decided the result."""
    content = files.read_json(marker)
    with files.reading(marker):
        settings = {name: value for name, value in content["settings"].items() if name not in OTHER_SETTINGS}
        return int(content.get("at", 0)), files.digest(settings), content["cache key"]


def _named_by(cache_key: object) -> Iterator[str]:
    """The names of all stores that a result was made of, at every depth."""
    if isinstance(cache_key, dict):
        if cache_key.get("step") == "transcription":
            yield name_of("transcription", cache_key)
        if isinstance(streams := cache_key.get(STREAMS), dict):
            yield from (name_of("features", value, stream) for stream, value in streams.items())
        for value in cache_key.values():
            yield from _named_by(value)
