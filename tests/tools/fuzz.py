"""Read many bad inputs, and check that each ends in a clear error or in a correct result.

Tables, arrays, archives, clips, weights, JSON, settings and sentences of a tiny run are damaged in ways that the seed
and the input's number decide. None may end in an error of another kind than the package's own, a crash, a hang, a
wrong submission, or a file outside its folder.

Reads   nothing
Writes  a temporary folder, which is removed
Run     .venv/bin/python tests/tools/fuzz.py --n 10000 --seed 0
"""

import io
import multiprocessing
import random
import shutil
import sys
import tempfile
import traceback
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import tyro
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from fuzzing.bench import REFUSED, Bench, Case, make
from fuzzing.kinds import KINDS
from meiju.cli import help_text
from meiju.config import ConfigError
from meiju.features.media import MediaError
from meiju.run import NotYet
from meiju.utils.files import Damaged

REFUSALS = (ConfigError, Damaged, MediaError, NotYet)
SECONDS = 20.0  # that one input may take; on two cores at work most take a hundredth
STARTING = 120.0  # seconds more for the first of a process, which imports what it needs


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
    before = bench.files()
    try:
        # By both, so that each can be repeated alone.
        end = End(number, kind, _try(KINDS[kind], Case(bench, folder, random.Random(f"{seed}-{number}"))))
    except Exception as error:
        end = End(number, kind, type(error).__name__, "".join(traceback.format_exception(error)))
    written = [str(p) for p in arena.rglob("*") if p != folder.parent and not p.is_relative_to(folder)]
    written += [str(entry) for entry in bench.files() ^ before]
    shutil.rmtree(arena)
    arena.mkdir()
    return End(number, kind, "written outside", f"files outside the input's folder: {written}") if written else end


def run_all(bench: Bench, arena: Path, seed: int, numbers: range) -> Iterator[End]:
    """All numbers, in order. After one that hangs or crashes, a new process goes on with the next."""
    pool, limit = None, 0.0
    for number in numbers:
        if pool is None:
            shutil.rmtree(arena, ignore_errors=True)  # what a process left that was ended
            arena.mkdir()
            pool, limit = multiprocessing.get_context("spawn").Pool(1), STARTING
        try:
            yield pool.apply_async(_work, (bench.root, bench.home, arena, seed, number)).get(SECONDS + limit)
            limit = 0.0
        except multiprocessing.TimeoutError:  # as after a crash, of which the pool gives no sign
            pool.terminate()
            pool = None
            yield End(number, kind_of(number), "hang or crash", f"no end after {SECONDS + limit:.0f} seconds")
    if pool:
        pool.terminate()


def _work(root: Path, home: Path, arena: Path, seed: int, number: int) -> End:
    return run_one(_opened(root, home), arena, seed, number)


@cache
def _opened(root: Path, home: Path) -> Bench:
    """The bench with its corpus, read once."""
    bench = Bench(root, home)
    _ = bench.run.corpus
    return bench


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


def fuzz(n: int = 10_000, seed: int = 0, first: int = 0) -> None:
    """Try `n` inputs from number `first` on; what ends badly is printed, with the command that repeats it."""
    ends: Counter[str] = Counter()
    n_wrong = 0
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        made = make(Path(folder) / "bench")
        results = run_all(made, Path(folder) / "arena", seed, range(first, first + n))
        for end in tqdm(results, total=n, desc="bad inputs", unit="input", disable=None):
            ends[f"{end.kind}: {end.how}"] += 1
            if end.wrong:
                n_wrong += 1
                again = f".venv/bin/python tests/tools/fuzz.py --n 1 --seed {seed} --first {end.number}"
                tqdm.write(f"{end.kind}: {end.how}\n{end.wrong.rstrip()}\nagain: {again}\n")
    print("\n".join(f"{count:6} {end}" for end, count in sorted(ends.items())))
    print(f"{n} bad inputs, {n_wrong} ended badly")
    if n_wrong:
        raise SystemExit(1)


if __name__ == "__main__":
    tyro.cli(fuzz, description=help_text(__doc__))
