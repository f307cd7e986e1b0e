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
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Arguments:
    """What is measured, and where."""

    parts: tuple[Literal["members", "clips", "steps", "widths", "extraction", "pretrained"], ...] = USUAL
    """Which parts; pretrained only where it is named."""
    quick: bool = False
    """Sizes that take seconds: does it work at all."""
    output: Path = REPOSITORY / "work" / "bench"
    """Folder of bench.md."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where networks run; auto takes CUDA where there is one."""
    threads: int = 1
    """Threads of torch and of linear algebra."""

    def __post_init__(self):
        require(len(self.parts) > 0, "--parts needs at least one name")
        require(self.threads >= 1, f"--threads is at least 1; got {self.threads}")
        require(not self.output.is_file(), f"--output: {self.output} is a file; name a folder")


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


def main(arguments: Arguments) -> None:
    device = pick_device(arguments.device)
    arguments.output.mkdir(parents=True, exist_ok=True)
    size = measuring.QUICK if arguments.quick else measuring.Size()
    tables = [
        measuring.run_apart(part, size, arguments.device, threads=arguments.threads)
        for part in tqdm(arguments.parts, "measuring", unit="part", disable=None)
    ]
    text = markdown(pd.concat(tables, ignore_index=True), machine(device, arguments.threads))
    files.write_text(arguments.output / "bench.md", text)
    print(text, end="")


if __name__ == "__main__":
    try:
        main(tyro.cli(Arguments, description=help_text(__doc__)))
    except (ConfigError, OSError) as error:
        raise SystemExit(f"error: {error}") from None
    except BrokenProcessPool:
        raise SystemExit("error: a part's process was killed; is there memory enough? --quick takes little") from None
    except KeyboardInterrupt:
        raise SystemExit("interrupted") from None
