"""Runs the numbered scripts on a tiny sample."""

import runpy
import sys
from pathlib import Path

from meiju.sample import corpus as sample_corpus

SCRIPTS = Path(__file__).parents[1] / "scripts"
TOOLS = Path(__file__).parent / "tools"
STEPS = (
    "02_refine_punctuation",
    "03_extract_features",
    "04_make_folds",
    "05_train_stage1",
    "06_pseudo_label",
    "07_train_stage2",
    "08_ensemble",
    "09_report",
)
# Without e5-small, which is the slowest.
FLAGS = """--jobs 1 --device cpu --folds 3 --model.heads 1 2 --model.width 8 --train.epochs 2 --train.average-epochs 1
    --text.dim 16 --streams text=tfidf-svd audio=smart-turn visual=face-geometry --audio.max-frames 4 --visual.fps 1
    --pseudo.gate paper --pseudo.threshold 0.05"""
TINY = FLAGS.split()


def make_corpus(root: Path) -> None:
    sample_corpus.make_sample(root, sizes={"training": 60, "validation": 8, "testing": 8, "unlabelled": 16}, n_jobs=1)


def make_run(home: Path, root: Path) -> None:
    for step in STEPS:
        run_step(step, home, root)


def run_step(step: str, home: Path, root: Path, *flags: str) -> None:
    """Run a numbered script with the tiny settings."""
    run_script(f"{step}.py", "sample", "--home", str(home), "--corpus.root", str(root), *TINY, *flags)


def run_script(script: str, *arguments: str) -> None:
    """Run a script or tool as from the command line; what ends it is raised as SystemExit."""
    (path,) = (folder / script for folder in (SCRIPTS, TOOLS) if (folder / script).exists())
    argv = sys.argv
    sys.argv = [script, *arguments]
    try:
        runpy.run_path(str(path), run_name="__main__")
    finally:
        sys.argv = argv
