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
from meiju.config import REPOSITORY, SHARED
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
    users = stores.users(home)
    # Also those that were being removed when something came between.
    for folder in sorted(path for path in (home / "work" / SHARED).glob("*/*") if path.is_dir()):
        size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        use = f"used by {', '.join(sorted(users[folder]))}" if folder in users else "unused"
        if arguments.remove_unused and folder not in users:
            try:
                stores.remove(folder, home)
                use = "removed"
            except files.Busy as error:
                use = f"kept: {error}"
        print(f"{folder.relative_to(home)}: {size / 1e6:,.1f} MB, {use}")


if __name__ == "__main__":
    with plain_end():
        main(tyro.cli(Arguments, description=help_text(__doc__)))
