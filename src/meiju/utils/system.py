"""Whose error it is: a file's, which is missing or damaged, or the system's, which passes.

A file that is not there or cannot be decoded stays so, and a run goes on without it. What a drive, a network, a full
disk or a permission refuses says nothing about a file: nothing is stored of it, and the same command goes on later.
"""

import errno
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from errno import EACCES, EDQUOT, EIO, EMFILE, ENFILE, ENODEV, ENOMEM, ENOSPC, ENOTCONN, ENXIO, EPERM, EROFS, ESTALE
from pathlib import Path

import psutil

AGAIN = "give the same command again"
GOES_ON = f"{AGAIN}: it goes on where this one stopped"
ROOM = {ENOSPC, EDQUOT, errno.EFBIG}
ACCESS = {EACCES, EPERM, EROFS}
_NETWORK = {errno.ETIMEDOUT, errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.ENETDOWN, errno.ENETUNREACH, errno.ECONNRESET}
_ON_GPU = "on a GPU, --train.together 5, or half of --text.batch-tokens, --audio.batch-seconds, --visual.batch-frames"
REMEDIES = {
    **dict.fromkeys(ROOM, f"make room and {GOES_ON}"),
    **dict.fromkeys(ACCESS, f"make it readable, and {AGAIN}"),
    **dict.fromkeys((EMFILE, ENFILE), f"allow more open files (ulimit -n 4096), and {GOES_ON}"),
    ENOMEM: f"close other programs or give fewer --jobs ({_ON_GPU}), and {GOES_ON}",
    **dict.fromkeys(
        {EIO, ENODEV, ENOTCONN, ENXIO, ESTALE} | _NETWORK, f"see that its drive or network is connected, and {GOES_ON}"
    ),
}


class Unreadable(RuntimeError):
    """A file that the system does not let read now; nothing is known of its contents. The message names the remedy."""


def errno_of(error: BaseException | None) -> int | None:
    """The number of the system's error that an error is or comes from, whatever library wraps it; else None."""
    while error is not None:
        number = ENOMEM if _lacks_memory(error) else getattr(error, "errno", None)
        if number in REMEDIES:
            return number
        error = error.__cause__ or error.__context__
    return None


def _lacks_memory(error: BaseException) -> bool:
    if type(error).__name__ == "OutOfMemoryError":  # PyTorch's, of a GPU
        return True
    # Where numpy was to make an array that this machine could never hold, its header is damaged.
    return isinstance(error, MemoryError) and math.prod(getattr(error, "shape", ())) < psutil.virtual_memory().total


@contextmanager
def reading(path: str | Path) -> Iterator[None]:
    """Raise Unreadable where the system does not let a file be read; other errors stay as they are."""
    try:
        yield
    except Exception as error:
        raise_unreadable(path, error)
        raise


def raise_unreadable(path: str | Path, error: BaseException) -> None:
    """Raise Unreadable where an error that came up while a file was read is the system's."""
    number = None if isinstance(error, Unreadable) else errno_of(error)
    if number:
        raise Unreadable(f"cannot read {path}: {os.strerror(number)}; {REMEDIES[number]}") from error


def describe(error: BaseException) -> str:
    """An error of the system, or of a path that cannot be one, in one line: what, where, and what helps."""
    number = errno_of(error) or error.errno
    remedy = REMEDIES.get(number, f"see to that path, and {AGAIN}")  # gone, too long, a file where a folder is wanted
    if number in ACCESS:
        remedy = "make it readable and writable, or name another folder with --home"
    path = getattr(error, "filename", None)
    return f"{os.strerror(number)}{f': {path}' if path else ''}; {remedy}"
