"""Runs bad inputs by their numbers, in a separate process: one that hangs or crashes is reported and skipped."""

import io
import multiprocessing
import random
import shutil
import traceback
import warnings
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from fuzzing.bench import REFUSED, Bench, Case
from fuzzing.kinds import KINDS
from meiju.config import ConfigError
from meiju.data.corpus import CorpusError
from meiju.features.media import MediaError
from meiju.run import NotYet
from meiju.utils.files import Damaged

REFUSALS = (ConfigError, CorpusError, Damaged, MediaError, NotYet)
SECONDS = 20.0  # that one input may take; on two cores at work most take a hundredth
STARTING = 120.0  # seconds until a process has imported what it needs


@dataclass(frozen=True)
class End:
    """How one input ended; `wrong` tells what should not be, or is empty."""

    number: int
    kind: str
    how: str
    wrong: str = ""


def kind_of(number: int) -> str:
    """The kinds take turns."""
    return list(KINDS)[number % len(KINDS)]


def run_one(bench: Bench, arena: Path, seed: int, number: int) -> End:
    """Make the input of a number, read it, and say how that ended. `arena` is an empty folder, left empty."""
    kind, folder = kind_of(number), arena / "inner" / "input"
    folder.mkdir(parents=True)
    before = _listing(bench.folder)
    try:
        # By both, so that each can be repeated alone.
        end = End(number, kind, _try(KINDS[kind], Case(bench, folder, random.Random(f"{seed}-{number}"))))
    except Exception as error:
        end = End(number, kind, type(error).__name__, "".join(traceback.format_exception(error)))
    written = [str(p) for p in arena.rglob("*") if p != folder.parent and not p.is_relative_to(folder)]
    written += sorted(map(str, _listing(bench.folder) ^ before))
    shutil.rmtree(arena)
    arena.mkdir()
    return End(number, kind, "written outside", f"files outside the input's folder: {written}") if written else end


def run_all(bench: Bench, arena: Path, seed: int, numbers: range) -> Iterator[End]:
    """All numbers, in order. After one that hangs or crashes, a new process goes on with the next."""
    context = multiprocessing.get_context("spawn")
    while numbers:
        ours, theirs = context.Pipe(duplex=False)
        process = context.Process(target=_work, args=(bench.folder, arena, seed, numbers, theirs), daemon=True)
        process.start()
        theirs.close()
        limit = STARTING
        try:
            while numbers:
                if not ours.poll(limit):
                    yield _lost(numbers[0], "hang", f"no end after {limit:.0f} seconds")
                    numbers = numbers[1:]
                    break
                try:
                    end = ours.recv()
                except EOFError:
                    process.join()
                    yield _lost(numbers[0], "crash", f"the process ended with {process.exitcode}")
                    numbers = numbers[1:]
                    break
                limit = SECONDS
                if end is not None:
                    yield end
                    numbers = numbers[1:]
        finally:
            process.kill()
            process.join()
            ours.close()


def _lost(number: int, how: str, wrong: str) -> End:
    return End(number, kind_of(number), how, wrong)


def _work(bench: Path, arena: Path, seed: int, numbers: range, ends: Connection) -> None:
    own = Bench(bench)
    shutil.rmtree(arena, ignore_errors=True)  # what a process left that was killed
    arena.mkdir()
    _ = own.run.corpus
    ends.send(None)  # ready
    for number in numbers:
        ends.send(run_one(own, arena, seed, number))


def _try(make, case: Case) -> str:
    silent = io.StringIO()
    with warnings.catch_warnings(), redirect_stdout(silent), redirect_stderr(silent):
        warnings.simplefilter("ignore")
        try:
            return make(case)
        except REFUSALS as error:
            if not str(error).strip():
                raise AssertionError("an error that says nothing") from error
            return f"{REFUSED}: {type(error).__name__}"
        except SystemExit as error:
            if error.code != 2:  # what a command line that is wrong ends with
                raise AssertionError(f"the program ended with {error.code!r}") from error
            return f"{REFUSED}: by the command line"


def _listing(folder: Path) -> set[tuple]:
    return {(path, path.stat().st_size, path.stat().st_mtime_ns) for path in folder.rglob("*") if path.is_file()}
