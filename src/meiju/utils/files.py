"""Atomic files: written under a temporary name, then renamed. And locks on folders: one process writes at a time."""

import errno
import fcntl
import hashlib
import json
import os
import platform
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

import psutil
from tqdm import tqdm

from meiju.utils import system

WITHOUT_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP}  # what a drive says that has none
LFS_POINTER = "is a Git LFS pointer: git lfs pull"
LFS_WHY = "the file itself was not fetched"
LFS_START = b"version https://git-lfs.github.com/spec/"


class Damaged(RuntimeError):
    """A result that cannot be read; the message says what is wrong with which file, and what to do."""


class Busy(RuntimeError):
    """Another process is writing to the same folder."""


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A temporary path to write to; it is renamed to `path` if the block succeeds, and removed if it does not."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # The suffix .part comes last, so that what a killed process leaves is never taken for a clip, a table or a result.
    # Host and process are part of the name, because several machines may write to a shared folder.
    part = path.with_name(f"{path.name}.{platform.node()}.{os.getpid()}.part")
    try:
        yield part
        with part.open("rb") as file:  # or a power failure could leave an empty file under the final name
            os.fsync(file.fileno())
        os.replace(part, path)
    except OSError as error:
        error.filename = error.filename or str(path)  # such as that of a full disk, which names none
        raise
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def atomic_folder(folder: Path) -> Iterator[Path]:
    """A temporary folder to fill; it takes the place of `folder` if the block succeeds, and is removed if not."""
    part = folder.with_name(f".{folder.name}.part")  # hidden, so that nobody has a folder of that name
    shutil.rmtree(part, ignore_errors=True)  # what a killed process has left
    part.mkdir(parents=True)
    try:
        yield part
        shutil.rmtree(folder, ignore_errors=True)
        part.rename(folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def sweep(folder: Path) -> None:
    """Remove temporary files anywhere below a folder: those of processes of this machine that have ended."""
    for part in folder.rglob(f"*.{platform.node()}.*.part"):
        pid = part.stem.rpartition(".")[2]
        if pid.isdecimal() and not _is_running(int(pid)):
            part.unlink(missing_ok=True)


@contextmanager
def reserved(folder: Path) -> Iterator[None]:
    """Lock `folder` and sweep it, so that no other process writes to it. Raises Busy if another one has the lock.

    The system releases the lock when its process ends, even if it is killed. Some network drives have no locks: then a
    warning is printed, and nothing is locked.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("a+", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            raise Busy(
                f"another run is writing to {folder} ({lock.read().strip() or 'it has just started'}); wait for it, "
                "or end it: it can be continued"
            ) from None
        except OSError as error:
            if error.errno not in WITHOUT_LOCKS:
                raise
            _warn_of_no_locks(error.strerror)
        lock.truncate(0)
        lock.write(f"process {os.getpid()} on {platform.node()}")
        lock.flush()
        sweep(folder)
        yield


@cache
def _warn_of_no_locks(reason: str) -> None:  # once
    remedy = "start no second run of this name before this one has ended"
    print(f"warning: files cannot be locked here ({reason}); {remedy}", file=sys.stderr)


@contextmanager
def reading(path: Path, *, delete: Path | None = None) -> Iterator[None]:
    """Raise Damaged if a result cannot be read, whatever the reason; it (or the folder `delete`) is to be deleted.

    A missing file says nothing about the contents, and stays a FileNotFoundError, except where a folder is to be
    deleted that should hold it. Nor does an error of the system, which becomes Unreadable.
    """
    try:
        with system.reading(path):
            yield
    except (Damaged, system.Unreadable):
        raise
    except Exception as error:  # numpy, pandas, zipfile and json raise a dozen kinds for damaged data
        if is_lfs_pointer(path):
            raise Damaged(f"{path} {LFS_POINTER}; {LFS_WHY}") from error
        # A damaged archive can lead its reader to a position before its start, which is an "invalid argument".
        is_lost = delete is not None and isinstance(error, FileNotFoundError)
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL) and not is_lost:
            raise
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise Damaged(
            f"{path} is damaged or was not written by this run ({reason}); "
            f"delete {delete or 'it'} and give the same commands again: only what is missing is computed again",
        ) from error


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file atomically."""
    with atomic_path(path) as part:
        part.write_bytes(data)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text with \\n line ends."""
    write_bytes(path, text.encode("utf-8"))


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
    """All files anywhere below a folder, sorted, without locks and markers of begun or finished steps."""
    paths = [path for path in folder.rglob("*") if path.is_file()]
    return sorted(path for path in paths if not path.name.startswith((".", "done")))


def digest(value: object) -> str:
    """Short hash of plain JSON values."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:12]


def file_digest(path: Path) -> str:
    """Short hash of a file's contents. Raises Unreadable."""
    with system.reading(path), path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:12]


def content_hashes(paths: Sequence[Path], known: Path, *, label: str) -> list[str]:
    """Short hash of each file's contents, in order.

    known: a JSON file that caches the hashes with the sizes and times of the files. A file is read again only if its
    size or times differ. One of them is the time of the last change of any kind, which no program can set back.
    """
    cached: dict[str, list] = {}
    with suppress(Damaged, FileNotFoundError):  # then all are read again
        cached = read_json(known)
    stats = {str(path): path.stat() for path in map(Path.absolute, paths)}
    times = {path: [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns] for path, stat in stats.items()}
    hashes = {path: cached[path] for path in times if cached.get(path, [])[:-1] == times[path]}
    changed = [path for path in times if path not in hashes]
    try:
        for path in tqdm(changed, desc=f"reading {label}", unit="file", disable=None if changed else True):
            hashes[path] = [*times[path], file_digest(Path(path))]
    finally:  # hashes computed before an interruption are kept
        if changed:
            write_json(known, cached | hashes)
    return [hashes[str(path.absolute())][-1] for path in paths]


def is_lfs_pointer(path: Path) -> bool:
    """Whether a file is only the pointer that Git leaves where Git LFS has not fetched the file itself."""
    with suppress(OSError):
        if not path.is_file():  # opening a named pipe would wait
            return False
        with path.open("rb") as file:
            return file.read(len(LFS_START)) == LFS_START
    return False


def _is_running(pid: int) -> bool:
    """Whether a process works on; in a container, one that was killed may stay as a zombie."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
