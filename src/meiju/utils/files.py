"""Files that appear whole or not at all: written aside, then renamed. And folders that one process at a time writes."""

import errno
import fcntl
import hashlib
import json
import os
import platform
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
from tqdm import tqdm

OLD = 24 * 3600  # seconds after which another machine is not writing a file any more


class Damaged(RuntimeError):
    """A result that cannot be read; the message names it and what to delete."""


class Busy(RuntimeError):
    """Another process is writing where this one would."""


@contextmanager
def aside(path: Path) -> Iterator[Path]:
    """A path to write to, which takes the place of `path` if the block ends well and is removed if it does not."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # The suffix comes last, so that what a killed process leaves is never taken for a clip, a table or a result. Host
    # and process are named, because several machines may write to a shared folder.
    part = path.with_name(f"{path.name}.{platform.node()}.{os.getpid()}.part")
    try:
        with named(path):
            yield part
            _sync(part)  # or a power failure could leave an empty file under the final name
            os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def named(path: Path) -> Iterator[None]:
    """Name the file in what the system refuses; of a full disk, it is told without."""
    try:
        yield
    except OSError as error:
        if error.filename is None:
            error.filename = str(path)
        raise


def sweep(folder: Path, pattern: str = "*") -> None:
    """Remove what `aside` left anywhere below a folder: of processes that are gone and, on other machines, old ones."""
    for part in folder.rglob(f"{pattern}.*.part"):
        name, _, pid = part.stem.rpartition(".")
        if not pid.isdecimal():
            continue  # not one of ours
        if name.endswith(f".{platform.node()}"):
            left = not _is_running(int(pid))
        else:
            left = time.time() - part.stat().st_mtime > OLD
        if left:
            part.unlink(missing_ok=True)


@contextmanager
def reserved(folder: Path) -> Iterator[None]:
    """Keep other processes from writing to `folder`. Raises Busy where another one does.

    The system opens the lock when its process ends, however that happens: a killed run is in nobody's way.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("a+", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            raise Busy(
                f"another run is writing to {folder} ({lock.read().strip() or 'it has only just begun'}); wait for it, "
                "or end it: it can be continued"
            ) from None
        lock.truncate(0)
        lock.write(f"process {os.getpid()} on {platform.node()}")
        lock.flush()
        yield


@contextmanager
def reading(path: Path, *, delete: Path | None = None) -> Iterator[None]:
    """Say of a result that cannot be read, whatever the reason, that it (or the folder `delete`) is to be deleted."""
    try:
        yield
    except Damaged:
        raise
    except Exception as error:  # numpy, pandas, zipfile and json refuse damaged data with a dozen kinds
        # Not there, or not ours to read: that says nothing about its contents. A damaged archive sends its reader to
        # places before its start, which is an invalid argument.
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
            raise
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise Damaged(
            f"{path} is damaged or was not written by this run ({reason}); delete {delete or 'it'} and give the same "
            "commands again: only what is missing is done anew"
        ) from error


def write_bytes(path: Path, data: bytes) -> None:
    """Write bytes: a file that appears whole or not at all."""
    with aside(path) as part:
        part.write_bytes(data)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text with \\n line ends."""
    with aside(path) as part:
        part.write_text(text, encoding="utf-8", newline="\n")


def write_json(path: Path, value: object) -> None:
    """Write JSON that a person can read."""
    write_text(path, json.dumps(value, ensure_ascii=False, indent=1, sort_keys=True) + "\n")


def read_json(path: Path) -> dict:
    """Read what `write_json` wrote. Raises Damaged if it is anything else."""
    with reading(path):
        value = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(value, dict):
            raise ValueError("no JSON object")
        return value


def files_in(folder: Path) -> list[Path]:
    """All files anywhere below a folder, sorted; locks and marks of finished steps are none."""
    found = [path for path in folder.rglob("*") if path.is_file()]
    return sorted(path for path in found if not (path.name == ".lock" or path.name.startswith("done")))


def digest(value: object) -> str:
    """Short hash of plain JSON values."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:12]


def file_digest(path: Path) -> str:
    """Short hash of a file's contents."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:12]


def content_hashes(paths: Sequence[Path], known: Path, *, label: str) -> list[str]:
    """Short hash of each file's contents, in order.

    A file is read where its size or times are not those that `known` (a JSON file that is kept up to date here) gives
    with its hash. One of the times is that of the last change of any kind, which no program can set back.
    """
    before: dict[str, list] = {}
    with suppress(Damaged, FileNotFoundError):  # then all are read again
        before = read_json(known)
    stats = {str(path): path.stat() for path in map(Path.absolute, paths)}
    times = {path: [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns] for path, stat in stats.items()}
    hashes = {path: before[path] for path in times if before.get(path, [])[:-1] == times[path]}
    changed = [path for path in times if path not in hashes]
    try:
        for path in tqdm(changed, desc=f"reading {label}", unit="file", disable=None if changed else True):
            hashes[path] = [*times[path], file_digest(Path(path))]
    finally:  # what was read before an interruption need not be read again
        if changed:
            write_json(known, before | hashes)
    return [hashes[str(path.absolute())][-1] for path in paths]


def _is_running(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _sync(path: Path) -> None:
    file = os.open(path, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)
