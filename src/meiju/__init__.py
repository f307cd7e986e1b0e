"""Joint emotion and intent recognition in short clips: a solution to ICASSP MEIJU@2025."""

import sys
from pathlib import Path


def _show_error(kind: type[BaseException], error: BaseException, traceback: object) -> None:
    if issubclass(kind, KeyboardInterrupt):
        print("interrupted", file=sys.stderr)
    else:
        sys.__excepthook__(kind, error, traceback)


# For Ctrl+C while a script still imports; from then on, meiju.run.plain_end reports it. Other programs are left alone.
if Path(*sys.argv[:1]).resolve().parent == Path(__file__).resolve().parents[2] / "scripts":
    sys.excepthook = _show_error
