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
from collections import Counter, defaultdict
from pathlib import Path

import tyro
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from fuzzing import bench, runner
from meiju.cli import help_text


def fuzz(n: int = 10_000, seed: int = 0, first: int = 0, shown: int = 20) -> None:
    """Try `n` inputs from number `first` on; of those that end badly, the first `shown` are told in full."""
    ends: dict[str, Counter] = defaultdict(Counter)
    failed = []
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        made = bench.make(Path(folder) / "bench")
        numbers = range(first, first + n)
        results = runner.run_all(made, Path(folder) / "arena", seed, numbers)
        for end in tqdm(results, total=n, desc="bad inputs", unit="input", disable=None):
            ends[end.kind][end.how] += 1
            if end.wrong:
                failed.append(end)
                if len(failed) <= shown:
                    again = f".venv/bin/python tests/tools/fuzz.py --n 1 --seed {seed} --first {end.number}"
                    tqdm.write(f"{end.kind}: {end.how}\n{end.wrong.rstrip()}\nagain: {again}\n")
    for kind, counts in sorted(ends.items()):
        print(f"{kind}: {counts.total()} inputs; " + ", ".join(f"{n} {how}" for how, n in counts.most_common()))
    print(f"{n} bad inputs, {len(failed)} ended badly")
    if failed:
        raise SystemExit(1)


if __name__ == "__main__":
    tyro.cli(fuzz, description=help_text(__doc__))
