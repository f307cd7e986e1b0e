"""Kill a small run again and again, and check that what it leaves in the end is what an undisturbed run leaves.

A run of all steps is killed with all its workers (SIGKILL) after a time drawn from 0 to as long as a whole one takes,
and started again, until it comes to its end; then the next one begins anew. All results must be the same, byte for
byte: features, weights, predictions, pseudo-labels, scores, submission and report.

Reads   nothing
Writes  the folder HOME (a temporary one by default)
Run     .venv/bin/python tests/tools/endure.py --kills 30 --seed 0
"""

import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import tyro

from meiju.cli import help_text

RUN_ALL = Path(__file__).resolve().parents[2] / "scripts" / "run_all.py"
SMALL = """--folds 3 --model.heads 1 2 --model.width 16 --train.epochs 4 --train.average-epochs 2 --train.together 2
    --text.dim 32 --visual.fps 1 --pseudo.gate paper --pseudo.threshold 0.1 --jobs 2 --device cpu"""
PASSING = {".lock", ".log", ".part"}  # suffixes and names of what is no result


def run(home: Path, flags: tuple[str, ...], seconds: float | None = None) -> bool:
    """Start a run, and kill all its processes after some seconds; whether it came to its end."""
    log = (home.parent / f"{home.name}.txt").open("a")
    command = [sys.executable, str(RUN_ALL), "sample", "--home", str(home), "--corpus.root", str(home / "corpus")]
    command += [*SMALL.split(), *flags]
    process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
    try:
        if process.wait(seconds):
            raise SystemExit(f"a run ended with status {process.returncode}; see {home}.txt")
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return False
    return True


def results(home: Path) -> dict[str, bytes]:
    """Every file of a run that is a result, by its path, without what tells one run's clips from another's.

    That is the folder, the run time in the report and, as a drawn clip's time of change counts, the fingerprints.
    """
    contents = {}
    for path in home.rglob("*"):
        if path.is_file() and not PASSING & {path.suffix, path.name}:
            content = path.read_bytes().replace(str(home).encode(), b"")
            if path.suffix == ".json":
                content = re.sub(rb"[0-9a-f]{12,}", b"#", content)
            if path.stem == "report":
                content = re.sub(rb'<h2>Run time.*?</section>|(?<=report.html": )\d+', b"", content, flags=re.DOTALL)
            contents[re.sub("[0-9a-f]{12}", "#", str(path.relative_to(home)))] = content
    return contents


def endure(home: Path | None = None, kills: int = 30, seed: int = 0, flags: tuple[str, ...] = ()) -> None:
    """Kill a small run `kills` times. flags: more settings of it, such as --flags=--compute.backend=dask."""
    home = home or Path(tempfile.mkdtemp(prefix="endure-"))
    whole, broken = home / "whole", home / "broken"
    whole.mkdir(parents=True)
    started = time.perf_counter()
    run(whole, flags)
    seconds = time.perf_counter() - started
    print(f"undisturbed: {seconds:.0f} s, {len(results(whole))} files; see {home}")
    rng, n_killed, n_runs = random.Random(seed), 0, 0
    while n_killed < kills or broken.exists():
        broken.mkdir(exist_ok=True)
        if not run(broken, flags, rng.uniform(0, seconds) if n_killed < kills else None):
            n_killed += 1
            continue
        n_runs += 1
        a, b = results(whole), results(broken)
        wrong = sorted(path for path in a.keys() | b.keys() if a.get(path) != b.get(path))
        parts = [path.name for path in broken.rglob("*.part")]
        print(f"run {n_runs}: {n_killed} kills, {len(wrong)} files differ, {len(parts)} unfinished files left")
        if wrong:
            raise SystemExit("\n".join(wrong))
        shutil.rmtree(broken)
    print(f"killed {kills} times in {n_runs} runs; all results are the same")


if __name__ == "__main__":
    tyro.cli(endure, description=help_text(__doc__))
