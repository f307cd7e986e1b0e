"""Run all steps of a run, 00 to 09, in one process: from clips to submission.zip and report.html.

Without arguments, it runs the sample and compares the result with the reference in the repository. run_all.sh sets up
.venv and calls this.

Reads   what the steps read
Writes  what the steps write
Run     ./scripts/run_all.sh track1-mandarin --corpus.root /data/Track1/Mandarin
"""

import runpy
import sys
from pathlib import Path

from meiju.cli import help_text, parse_config, plain_end
from meiju.data.submission import compare_with_reference
from meiju.presets import PRESETS

SCRIPTS = Path(__file__).resolve().parent


def run_all(arguments: list[str]) -> None:
    """Run the numbered scripts one after the other, each as from the command line."""
    steps = sorted(path for path in SCRIPTS.glob("0[0-9]_*.py"))
    for step in steps if arguments[0] == "sample" else steps[1:]:
        print(f"\n== {step.stem}", flush=True)
        sys.argv = [str(step), *arguments]
        runpy.run_path(str(step), run_name="__main__")


if __name__ == "__main__":
    arguments = sys.argv[1:] or ["sample"]
    with plain_end():
        # A mistake on the command line is named before the first step.
        parse_config(help_text(__doc__), arguments, program="./scripts/run_all.sh")
        run_all(arguments)
        if arguments == ["sample"]:
            folder = PRESETS["sample"][1].submission_dir
            print(f"\nsample: {compare_with_reference(folder, folder / 'reference')}")
