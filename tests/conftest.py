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

from toy_run import make_corpus, make_run

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
    made = once(shared / "home", lambda home: make_run(home, root))
    return shutil.copytree(made, tmp_path_factory.mktemp("home"), dirs_exist_ok=True)


def once(folder: Path, make: Callable[[Path], None]) -> Path:
    """The folder, made by the first test process that asks for it; the others wait."""
    with FileLock(f"{folder}.lock"):
        if not folder.exists():
            part = folder.with_name(f"{folder.name}.part")
            make(part)
            part.rename(folder)
    return folder
