"""Read many bad inputs, and check that each ends in a clear error or in a correct result.

Tables, arrays, archives, clips, weights, JSON, settings and sentences of a tiny run are damaged in ways that the seed
and the input's number decide. None may end in an error of another kind than the package's own, a crash, a hang, a
wrong submission, or a file outside its folder.

Reads   nothing
Writes  a temporary folder, which is removed
Run     .venv/bin/python tests/tools/fuzz.py --n 10000 --seed 0
"""

import sys
import tempfile
from collections import Counter
from pathlib import Path

import tyro
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from fuzzing import bench, runner
from meiju.cli import help_text


def fuzz(n: int = 10_000, seed: int = 0, first: int = 0) -> None:
    """Try `n` inputs from number `first` on; what ends badly is printed, with the command that repeats it."""
    ends: Counter[str] = Counter()
    n_wrong = 0
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        made = bench.make(Path(folder) / "bench")
        results = runner.run_all(made, Path(folder) / "arena", seed, range(first, first + n))
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
