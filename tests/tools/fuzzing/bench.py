"""A tiny finished run, whose files are there to be damaged, and one bad input made of them."""

import io
import random
import shutil
from contextlib import redirect_stdout
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import toy_run
from fuzzing.mutations import Payload
from meiju.cli import parse_config
from meiju.config import Config
from meiju.run import Run

STAGE2, TRANSCRIPTS = "stage2", "transcripts"
RIGHT, REFUSED = "right", "refused"  # how an input ends


@dataclass(frozen=True)
class Bench:
    """A corpus and a run of all steps on it."""

    root: Path
    home: Path

    @cached_property
    def config(self) -> Config:
        return parse_config("", ["sample", "--home", str(self.home), "--corpus.root", str(self.root), *toy_run.TINY])

    @cached_property
    def run(self) -> Run:
        return Run(self.config, quiet=True)

    @property
    def model(self) -> Path:
        """The folder of model.json."""
        return self.run.config.submission_dir

    @property
    def clip(self) -> Path:
        """A clip with sound and pictures."""
        return min(self.root.rglob("*.mp4"))

    def files(self) -> set[tuple]:
        """Path, size and time of all that lies here."""
        paths = (path for folder in (self.root, self.home) for path in folder.rglob("*") if path.is_file())
        return {(path, path.stat().st_size, path.stat().st_mtime_ns) for path in paths}


def make(folder: Path) -> Bench:
    """Make the corpus and the run, in half a minute."""
    bench = Bench(folder / "corpus", folder / "home")
    with redirect_stdout(io.StringIO()):
        toy_run.make_corpus(bench.root)
        toy_run.make_run(bench.home, bench.root)
    return bench


@dataclass(frozen=True)
class Case:
    """One input: what it is made from, where it may be written, and what decides it."""

    bench: Bench
    folder: Path
    rng: random.Random

    @property
    def payload(self) -> Payload:
        """An object whose pickle, if it is ever loaded, leaves a file beside the folder."""
        return Payload(self.folder.parent / "unpickled")

    def home(self) -> Bench:
        """The bench with a run of its own, to be changed at will."""
        own = Bench(self.bench.root, self.folder / "home")
        shutil.copytree(self.bench.home, own.home)
        own.__dict__["run"] = Run(own.config, quiet=True, corpus=self.bench.run.corpus)
        return own


def expect(ok: bool, what: str) -> None:
    """Raise AssertionError unless a result is as it must be."""
    if not ok:
        raise AssertionError(what)
