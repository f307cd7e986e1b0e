"""What runs share: frames and transcriptions, which take longest and which no run's name decides.

They lie in work/_shared/<kind>/, in a folder named by a hash of all that decides them, so that any run finds them. A
store is used where the marker of a step names it, below work/<run>/ or in submissions/<run>/; what was made for older
settings, code or clips is used until the run's folders are deleted.
"""

import shutil
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from meiju.config import SHARED
from meiju.utils import files

BEGUN = ".begun.json"  # the marker of a step that was begun: what it has made so far is used, though it may be cut off


def name_of(kind: str, cache_key: dict, stream: str = "") -> str:
    """Where a store lies, relative to work/_shared."""
    return f"{kind}/{'-'.join(filter(None, [stream, files.digest(cache_key)]))}"


def others(folder: Path) -> list[Path]:
    """The stores of the same kind and stream made from other clips, or with other settings or code."""
    stream = folder.name.rpartition("-")[0]
    return sorted(other for other in folder.parent.glob(f"{stream}-*" if stream else "[!.]*") if other != folder)


def users(home: Path) -> dict[Path, set[str]]:
    """By folder of a store, the runs that use it. Raises Damaged if a marker cannot be read."""
    home, by_store = home.absolute(), defaultdict(set)
    for pattern in (f"work/[!_]*/*/*/{BEGUN}", "work/[!_]*/*/*/done*.json", "submissions/*/submission.json"):
        for marker in home.glob(pattern):
            content = files.read_json(marker)
            with files.reading(marker):
                for name in _named_by(content["cache key"]):
                    by_store[home / "work" / SHARED / name].add(marker.relative_to(home).parts[1])
    return by_store


def remove(folder: Path, home: Path) -> None:
    """Remove a store that no run uses. Raises Busy if a run has come to use it, or is writing to it."""
    with files.reserved(folder):
        if folder in users(home):  # looked at once more, now that nobody can begin to write there
            raise files.Busy(f"a run uses {folder} by now")
        shutil.rmtree(folder.rename(folder.with_name(f".{folder.name}.removed")))  # or it would be found half removed


def _named_by(cache_key: object) -> Iterator[str]:
    """The names of all stores that a result was made of, at every depth."""
    if isinstance(cache_key, dict):
        if cache_key.get("step") == "transcription":
            yield name_of("transcription", cache_key)
        if isinstance(streams := cache_key.get("streams"), dict):
            yield from (name_of("features", value, stream) for stream, value in streams.items())
        for value in cache_key.values():
            yield from _named_by(value)
