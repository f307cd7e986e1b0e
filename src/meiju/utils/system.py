"""Whose error it is: a file's, which is missing or damaged, or the system's, which passes.

A file that is not there or cannot be decoded stays so, and a run goes on without it. What a drive, a network, a full
disk or a permission refuses says nothing about a file: nothing is stored of it, and the same command goes on later.
"""

import errno
import math
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil


def _numbers(*names: str) -> frozenset[int]:
    """Numbers of the errors that this system knows; macOS lacks some of Linux'."""
    return frozenset(getattr(errno, name) for name in names if hasattr(errno, name))


ROOM = _numbers("ENOSPC", "EDQUOT", "EFBIG")
ACCESS = _numbers("EACCES", "EPERM", "EROFS")
_FILES = _numbers("EMFILE", "ENFILE")
_MEMORY = _numbers("ENOMEM", "ENOBUFS")
NETWORK = _numbers(
    *("ENOTCONN", "ETIMEDOUT", "EHOSTDOWN", "EHOSTUNREACH", "ENETDOWN", "ENETUNREACH", "ENETRESET", "ENONET"),
    *("ECONNRESET", "ECONNABORTED", "ECONNREFUSED", "ESHUTDOWN"),
)
_DRIVE = NETWORK | _numbers(
    *("EIO", "ESTALE", "ENODEV", "ENXIO", "ENOMEDIUM", "EREMOTEIO", "EREMCHG", "ECOMM", "EBUSY", "ENOLCK", "EPROTO"),
    *("ENOLINK", "EKEYEXPIRED", "ENOKEY", "ETXTBSY", "EUCLEAN"),
)
SYSTEM = ROOM | ACCESS | _FILES | _MEMORY | _DRIVE

# How libraries name the number where they raise errors of their own: Python's text, that of Rust, that of ONNX Runtime.
_NAMED = re.compile(r"\[Errno (\d+)\]|\(os error (\d+)\)|system error number (\d+)")
_KINDS = ((PermissionError, errno.EACCES), (TimeoutError, errno.ETIMEDOUT), (ConnectionError, errno.ENOTCONN))
_CV2_NO_MEMORY = -4
AGAIN = "give the same command again"
GOES_ON = f"{AGAIN}: it goes on where this one stopped"


class Unreadable(RuntimeError):
    """A file that the system does not let read now; nothing is known of its contents. The message names the remedy."""


def is_system_error(error: BaseException) -> bool:
    """Whether an error is the system's, or comes from such a one, whatever library wraps it."""
    return errno_of(error) is not None


def errno_of(error: BaseException | None) -> int | None:
    """The number of the system's error that an error is or comes from; None where there is none."""
    seen = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        number = _own_errno(error)
        if number in SYSTEM:
            return number
        error = error.__cause__ or error.__context__
    return None


@contextmanager
def reading(path: str | Path) -> Iterator[None]:
    """Raise Unreadable where the system does not let a file be read; other errors stay as they are."""
    try:
        yield
    except Unreadable:
        raise
    except Exception as error:
        if is_system_error(error):
            raise unreadable(path, error) from error
        raise


def unreadable(path: str | Path, error: BaseException) -> Unreadable:
    """What to raise in place of a system error that came up while a file was read."""
    number = errno_of(error)
    return Unreadable(f"cannot read {path}: {os.strerror(number)}; {remedy(number, reads=True)}")


def told(error: BaseException) -> str:
    """An error of the system, or of a file that it names, in one line: what, where, and what helps."""
    number, path = errno_of(error) or _own_errno(error), getattr(error, "filename", None)
    if number in _MEMORY:
        return f"{os.strerror(number)}; {remedy(number)}"
    reads = number in ACCESS and path is not None and os.path.isfile(path) and not os.access(path, os.R_OK)
    return f"{os.strerror(number)}: {path or 'no file is named'}; {remedy(number, reads=reads)}"


def remedy(number: int, *, reads: bool = False) -> str:
    """What helps against a system error. reads: whether a file was only to be read."""
    if number in ROOM:
        return f"make room and {GOES_ON}"
    if number in ACCESS:
        return f"make it readable, and {AGAIN}" if reads else "make it writable, or name another folder with --home"
    if number in _FILES:
        return f"allow more open files (ulimit -n 4096), and {GOES_ON}"
    if number in _MEMORY:
        on_gpu = (
            "on a GPU, --train.together 5, or half of --text.batch-tokens, --audio.batch-seconds, --visual.batch-frames"
        )
        return f"close other programs or give fewer --jobs ({on_gpu}), and {GOES_ON}"
    if number in _DRIVE:
        return f"see that its drive or network is connected, and {GOES_ON}"
    return f"see to that path, and {AGAIN}"  # gone, too long, a file where a folder is wanted


def _own_errno(error: BaseException) -> int | None:
    number = getattr(error, "errno", None)
    if isinstance(number, int):
        return number
    if isinstance(error, MemoryError):
        return None if _is_beyond_memory(error) else errno.ENOMEM
    if getattr(error, "code", None) == _CV2_NO_MEMORY and type(error).__module__ == "cv2":
        return errno.ENOMEM
    if type(error).__name__ == "OutOfMemoryError":  # PyTorch's, of a GPU
        return errno.ENOMEM
    named = _NAMED.search(str(error))
    if named:
        return int(next(filter(None, named.groups())))
    return next((number for kind, number in _KINDS if isinstance(error, kind)), None)


def _is_beyond_memory(error: MemoryError) -> bool:
    """Whether numpy was to make an array that this machine could never hold: then its header is damaged."""
    shape, dtype = getattr(error, "shape", None), getattr(error, "dtype", None)
    if shape is None or dtype is None:
        return False
    return math.prod(shape) * dtype.itemsize > psutil.virtual_memory().total
