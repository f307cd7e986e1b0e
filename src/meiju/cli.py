"""The command line: `<preset> --group.field value`, its help, and how a script ends."""

import dataclasses
import gc
import os
import sys
import textwrap
import typing
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import pandas as pd
import tyro

from meiju.config import Config, ConfigError, Flags, require
from meiju.presets import PRESETS
from meiju.run import NotYet, Run
from meiju.utils import files, system
from meiju.utils.compute import WorkersLost

# What a script's --help shows besides ALWAYS_SHOWN: the settings that decide its step, a whole group or group.setting.
COMPUTING = ("seed", "device", "jobs", "compute")
SHOWN_BY_HELP: dict[str, tuple[str, ...]] = {
    "00_make_sample": ("seed", "jobs"),
    "01_transcribe": ("device", "speech"),
    "02_refine_punctuation": ("seed", "device", "jobs", "punctuation", "punctuation_texts"),
    "03_extract_features": (*COMPUTING, "streams", "text", "audio", "visual"),
    "04_make_folds": ("seed", "folds", "folds_by", "corpus.labels"),
    "05_train_stage1": (*COMPUTING, "streams", "model", "train"),
    "06_pseudo_label": ("pseudo",),
    "07_train_stage2": (*COMPUTING, "model", "train", "stage2"),
    "08_ensemble": ("submit", "corpus.average"),
    "09_report": (),
    "10_ablate": (*COMPUTING, "variants", "model.heads", "train.seeds"),
    "baseline": ("jobs", "streams", "folds", "corpus.average"),
    "check_submission": ("corpus.labels",),
}
ALWAYS_SHOWN = ("run", "home", "corpus.root")


def parse_config(description: str, arguments: list[str] | None = None, *, program: str = "") -> Config:
    """Read `<preset> --flag value ...` from the command line; an unknown flag or a bad value ends the program.

    --help shows the settings that decide the script's step, --help-all every one. program: the script's name if empty.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    program = program or Path(sys.argv[0]).name
    if asks_for_help(arguments):
        show_help(program, description, arguments)
    preset = arguments[0] if arguments else "nothing"
    require(preset in PRESETS, f"the first argument is a preset, one of these; got {preset}\n{_list_of_presets()}")
    return tyro.cli(Config, prog=f"{program} {preset}", default=PRESETS[preset][1], args=arguments[1:])


def asks_for_help(arguments: Sequence[str]) -> bool:
    """Whether a command line asks for help."""
    return not {"-h", "--help", "--help-all"}.isdisjoint(arguments)


def show_help(program: str, description: str, arguments: Sequence[str] = ()) -> NoReturn:
    """Print how a program is called and the settings that it takes, with their values in a preset; then end.

    arguments: the command line, which may name the preset.
    """
    preset = next((name for name in arguments if name in PRESETS), "custom")
    presets = f"  PRESET sets what no flag gives (the defaults below are those of {preset}):\n{_list_of_presets()}"
    text, settings = f"{description.rstrip()}\n{presets}", PRESETS[preset][1]
    shown = SHOWN_BY_HELP.get(Path(program.split()[0]).stem)
    if shown is not None and "--help-all" not in arguments:
        settings = _showing(settings, (*ALWAYS_SHOWN, *shown))
        text += "\n  Below are the settings of this step; those of other steps are taken too (--help-all)."
    with end_if_unread():
        tyro.cli(type(settings), prog=f"{program} PRESET", description=text, default=settings, args=["--help"])
    raise SystemExit  # tyro has ended the program


def _showing(settings: Config, names: Sequence[str]) -> Config:
    """The same settings, of a kind of their own of which --help shows only those named."""
    kind, fields, values = type(settings), [], {}
    for name, hint in typing.get_type_hints(kind, include_extras=True).items():
        value = getattr(settings, name)
        within = [other.removeprefix(f"{name}.") for other in names if other.startswith(f"{name}.")]
        if name not in names and within:
            value = _showing(value, within)
            hint = Flags[type(value)]
        elif name not in names:
            hint = tyro.conf.Suppress[hint]
        values[name] = value
        fields.append((name, hint, dataclasses.field(default=None)))
    shown = dataclasses.make_dataclass(kind.__name__, fields, bases=(kind,), frozen=True)
    shown.__doc__ = kind.__doc__
    return shown(**values)


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
        except (ConfigError, NotYet, WorkersLost, files.Busy, files.Damaged, system.Unreadable) as error:
            raise SystemExit(f"error: {error}") from None
        except Exception as error:
            # A path that someone named, such as a --home below a file.
            names_file = isinstance(error, OSError) and None not in (error.errno, error.filename)
            if not (names_file or system.errno_of(error)):
                raise
            raise SystemExit(f"error: {system.describe(error)}") from None
        except KeyboardInterrupt:
            raise SystemExit(interrupted) from None


@contextmanager
def end_if_unread() -> Iterator[None]:
    """End the program without a traceback where nobody reads its output any more, as in `--help | head`."""
    try:
        try:
            yield
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # at the end, Python flushes once more
        raise SystemExit(1) from None


def help_text(docstring: str | None) -> str:
    """A script's docstring with its Reads, Writes and Run indented, which is how they keep their own lines.

    Empty where Python drops docstrings (PYTHONOPTIMIZE=2).
    """
    prose, heading, table = (docstring or "").partition("\nReads ")
    return prose.rstrip() + textwrap.indent(heading + table.rstrip(), "  ")
