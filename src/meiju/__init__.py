"""Joint emotion and intent recognition in short clips: a solution to ICASSP MEIJU@2025."""

import codecs
import io
import json
import os
import signal
import sys
from multiprocessing import parent_process
from pathlib import Path


def _show_error(kind: type[BaseException], error: BaseException, traceback: object) -> None:
    if issubclass(kind, KeyboardInterrupt):
        print("interrupted", file=sys.stderr)
    else:
        sys.__excepthook__(kind, error, traceback)


def _as_escape(error: UnicodeEncodeError) -> tuple[str, int]:
    r"""Characters that an encoding lacks as \uXXXX, which JSON understands too."""
    return json.dumps(error.object[error.start : error.end])[1:-1], error.end


def _prepare_script() -> None:
    try:
        os.getcwd()
    except FileNotFoundError:  # PyTorch would end the process without a word
        raise SystemExit("error: the current folder was deleted; give the command again in another one") from None
    # Where one was closed, as some schedulers do.
    sys.stdout = sys.stdout or io.TextIOWrapper(io.FileIO(os.devnull, "w"))
    sys.stderr = sys.stderr or io.TextIOWrapper(io.FileIO(os.devnull, "w"))
    # For Ctrl+C while a script still imports; from then on, meiju.cli.plain_end reports it.
    sys.excepthook = _show_error
    # The system that shuts down, a cluster's scheduler and a terminal that is closed end a script as Ctrl+C does. Where
    # nohup has the signal ignored, it stays so.
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, signal.default_int_handler)
    # An answer is not lost for a character that the terminal's encoding lacks.
    codecs.register_error("as_escape", _as_escape)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="as_escape")


# Other programs are left alone, and so are processes that a script starts.
if Path(*sys.argv[:1]).resolve().parent == Path(__file__).resolve().parents[2] / "scripts" and not parent_process():
    _prepare_script()
