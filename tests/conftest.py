"""What several test files share: a tiny sample corpus, and the run of all steps on it.

What lies there may be added to, never changed.
"""

import gc
import os
import shutil
from collections.abc import Callable
from pathlib import Path

# Toy networks are slower on several threads; before torch is imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
from filelock import FileLock

from meiju.sample import corpus as sample_corpus
from toy_run import STEPS, run_step

# What test files import are a million objects: garbage is looked for in none of them, neither now nor later.
gc.disable()


def pytest_collection_finish():
    gc.freeze()
    gc.enable()


def pytest_collection_modifyitems(items):
    """Tests that need the run come last: while one process makes it, the others have something to do."""
    items.sort(key=lambda item: "home" in item.fixturenames)


@pytest.fixture(scope="session")
def shared(tmp_path_factory) -> Path:
    """A folder that all test processes see."""
    folder = tmp_path_factory.getbasetemp()
    return folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder


@pytest.fixture(scope="session")
def root(shared) -> Path:
    """The corpus."""
    return once(shared / "corpus", make_corpus)


@pytest.fixture(scope="session")
def home(root, shared, tmp_path_factory) -> Path:
    """The folder with the run's work/, folds/ and submissions/: each test process has its own copy."""

    def make_run(home: Path) -> None:
        for step in STEPS:
            run_step(step, home, root)

    made = once(shared / "home", make_run)
    return shutil.copytree(made, tmp_path_factory.mktemp("home"), dirs_exist_ok=True)


def make_corpus(root: Path) -> None:
    sample_corpus.make_sample(root, sizes={"training": 60, "validation": 8, "testing": 8, "unlabelled": 16}, n_jobs=1)


def once(folder: Path, make: Callable[[Path], None]) -> Path:
    """The folder, made by the first test process that asks for it; the others wait."""
    with FileLock(f"{folder}.lock"):
        if not folder.exists():
            part = folder.with_name(f"{folder.name}.part")
            make(part)
            part.rename(folder)
    return folder
