"""Measure what training, prediction and extraction cost here, as ratios to something known.

members     a training step of 1 to 40 members side by side, to one alone
clips       stage 2 and prediction with 2,000 to 200,000 unlabelled clips, a clip, to the fewest
steps       steps 06 to 08 with as many, a clip, to the fewest
widths      the same with frames 32 to 1,024 wide, to the narrowest
extraction  the embedded encoders, to decoding alone
pretrained  hf: encoders as large as the presets', with random weights (only where it is asked for)

All data is made up and lies in a temporary folder (0.6 GB at most; 4 GB for pretrained). On CPUs figures are of one
process with --threads threads, as members are trained and clips encoded.

Reads   nothing
Writes  bench.md in --output, and the same to the terminal
Run     .venv/bin/python tests/tools/bench.py --quick
Run     .venv/bin/python tests/tools/bench.py --parts members extraction --output work/bench
"""

import os
import platform
import sys
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Literal

import pandas as pd
import torch
import tyro
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import measuring
from meiju.cli import help_text
from meiju.config import REPOSITORY, ConfigError, require
from meiju.utils import files
from meiju.utils.compute import pick_device

USUAL = tuple(part for part in measuring.PARTS if part != "pretrained")


def machine(device: torch.device, threads: int) -> str:
    """Cores, threads and device in a line."""
    where = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or platform.machine()
    return f"{os.cpu_count()} cores, {threads} torch threads, networks on {where}, torch {torch.__version__}"


def markdown(measured: pd.DataFrame, about: str) -> str:
    """All figures as one table, and the peak of memory by part."""
    lines = [about, "", "| part | what | case | median | ratio | to |", "|---|---|---|---|---|---|"]
    for row in measured.itertuples():
        figure = f"{row.median:.3g}" if row.median < 1000 else f"{row.median:,.0f}"
        lines.append(f"| {row.part} | {row.what} | {row.case} | {figure} {row.unit} | {row.ratio:.2f} | {row.to} |")
    lines += ["", "| part | peak memory, mapped frames included |", "|---|---|"]
    lines += [f"| {part} | {peak:,.0f} MB |" for part, peak in measured.groupby("part", sort=False).peak.max().items()]
    return "\n".join(lines) + "\n"


def bench(
    parts: tuple[Literal["members", "clips", "steps", "widths", "extraction", "pretrained"], ...] = USUAL,
    quick: bool = False,
    output: Path = REPOSITORY / "work" / "bench",
    device: Literal["auto", "cpu", "cuda"] = "auto",
    threads: int = 1,
) -> None:
    """Measure parts. quick: sizes that take seconds, does it work at all; threads: of torch and of linear algebra."""
    require(len(parts) > 0, "--parts needs at least one name")
    require(threads >= 1, f"--threads is at least 1; got {threads}")
    output.mkdir(parents=True, exist_ok=True)
    size = measuring.QUICK if quick else measuring.Size()
    progress = tqdm(parts, "measuring", unit="part", disable=None)
    tables = [measuring.run_apart(part, size, device, threads=threads) for part in progress]
    text = markdown(pd.concat(tables, ignore_index=True), machine(pick_device(device), threads))
    files.write_text(output / "bench.md", text)
    print(text, end="")


if __name__ == "__main__":
    try:
        tyro.cli(bench, description=help_text(__doc__))
    except (ConfigError, OSError) as error:
        raise SystemExit(f"error: {error}") from None
    except BrokenProcessPool:
        raise SystemExit("error: a part's process was killed; is there memory enough? --quick takes little") from None
    except KeyboardInterrupt:
        raise SystemExit("interrupted") from None
