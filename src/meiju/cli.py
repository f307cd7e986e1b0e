"""The command line: `<preset> --group.field value`, its help, and how a script ends."""

import gc
import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import pandas as pd
import tyro

from meiju.config import Config, ConfigError, require
from meiju.data.corpus import CorpusError
from meiju.presets import PRESETS
from meiju.run import NotYet, Run
from meiju.utils import files, system
from meiju.utils.compute import WorkersLost
from meiju.utils.terminal import end_if_unread


def parse_config(description: str | None, arguments: list[str] | None = None) -> Config:
    """Read `<preset> --flag value ...` from the command line; an unknown flag or a bad value ends the program."""
    arguments = sys.argv[1:] if arguments is None else arguments
    program = Path(sys.argv[0]).name
    if asks_for_help(arguments):
        show_help(program, description or "", arguments)
    preset = arguments[0] if arguments else "nothing"
    require(preset in PRESETS, f"the first argument is a preset, one of these; got {preset}\n{_list_of_presets()}")
    return tyro.cli(Config, prog=f"{program} {preset}", default=PRESETS[preset][1], args=arguments[1:])


def asks_for_help(arguments: Sequence[str]) -> bool:
    """Whether a command line asks for help."""
    return not {"-h", "--help"}.isdisjoint(arguments)


def show_help(program: str, description: str, arguments: Sequence[str] = ()) -> NoReturn:
    """Print how a program is called and the settings that it takes, with their values in a preset; then end.

    arguments: the command line, which may name the preset.
    """
    preset = next((name for name in arguments if name in PRESETS), "custom")
    presets = f"  PRESET sets what no flag gives (the defaults below are those of {preset}):\n{_list_of_presets()}"
    text, default = f"{description.rstrip()}\n{presets}", PRESETS[preset][1]
    with end_if_unread():
        tyro.cli(Config, prog=f"{program} PRESET", description=text, default=default, args=["--help"])
    raise SystemExit  # tyro has ended the program


def _list_of_presets() -> str:
    return "\n".join(f"    {name:<15}  {text}" for name, (text, _) in PRESETS.items())


def main(step: Callable[[Run], None], docstring: str | None) -> None:
    """Run one numbered script: `step(Run)`, with the script's docstring as help and plain words for bad input."""
    if gc.get_freeze_count() == 0:
        gc.freeze()  # or Python looks through all that was imported again and again: a sixth of a finished step
    with plain_end():
        run = Run(parse_config(help_text(docstring)))
        pd.set_option("display.unicode.east_asian_width", True)  # aligns tables with Chinese labels
        with run.under_way:
            step(run)


@contextmanager
def plain_end(interrupted: str = "interrupted; the same command continues from here") -> Iterator[None]:
    """End the program with one line instead of a traceback on bad input, refusals of the system, and Ctrl+C."""
    with end_if_unread():
        try:
            yield
        except (ConfigError, CorpusError, NotYet, WorkersLost, files.Busy, files.Damaged, system.Unreadable) as error:
            raise SystemExit(f"error: {error}") from None
        except Exception as error:
            # A path that someone named, such as a --home below a file.
            names_file = isinstance(error, OSError) and None not in (error.errno, error.filename)
            if not (names_file or system.is_system_error(error)):
                raise
            raise SystemExit(f"error: {system.told(error)}") from None
        except KeyboardInterrupt:
            raise SystemExit(interrupted) from None


def help_text(docstring: str | None) -> str:
    """A script's docstring with its Reads, Writes and Run indented, which is how they keep their own lines.

    Empty where Python was told to drop docstrings (PYTHONOPTIMIZE=2).
    """
    prose, heading, table = (docstring or "").partition("\nReads ")
    return prose.rstrip() + textwrap.indent(heading + table.rstrip(), "  ")
