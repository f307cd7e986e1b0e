"""List what runs share (frames, transcriptions): how large it is, and which runs use it.

A run that is no longer wanted is deleted as work/<run>/; what it alone used is then unused.

Reads   work/_shared/, and which steps of which runs were begun and finished
Writes  nothing; --remove-unused removes from work/_shared/ what no run uses
Run     .venv/bin/python scripts/stores.py --remove-unused
"""

from dataclasses import dataclass
from pathlib import Path

import tyro

from meiju import stores
from meiju.cli import help_text, plain_end
from meiju.config import REPOSITORY
from meiju.utils import files


@dataclass(frozen=True)
class Arguments:
    """What to do."""

    home: Path = REPOSITORY
    """Folder that holds submissions/ and work/."""
    remove_unused: bool = False
    """Remove what no run uses."""


def main(arguments: Arguments) -> None:
    home = arguments.home.absolute()
    users, sizes = stores.users(home), {folder: stores.size(folder) for folder in stores.found(home)}
    for folder, size in sizes.items():
        runs = users.get(folder, [])
        use = f"used by {', '.join(runs)}" if runs else "unused"
        if arguments.remove_unused and not runs:
            try:
                stores.remove(folder, home)
                use = "removed"
            except files.Busy as error:
                use = f"kept: {error}"
        print(f"{folder.relative_to(home)}: {_megabytes(size)}, {use}")
    unused = sum(size for folder, size in sizes.items() if folder not in users)
    print(f"in all: {_megabytes(sum(sizes.values()))}, of which unused {_megabytes(unused)}")


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.1f} MB"


if __name__ == "__main__":
    with plain_end():
        main(tyro.cli(Arguments, description=help_text(__doc__)))
