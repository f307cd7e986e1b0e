"""What several test files share: a tiny sample corpus, and the run of all steps on it.

What lies there may be added to, never changed.
"""

import os
from pathlib import Path

# Toy networks are slower on several threads; before torch is imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest

from meiju.sample import corpus as sample_corpus
from toy_run import STEPS, run_step


@pytest.fixture(scope="session")
def root(tmp_path_factory) -> Path:
    """The corpus."""
    root = tmp_path_factory.mktemp("corpus")
    sample_corpus.make_sample(
        root, n_training=60, n_validation=8, n_test=8, n_unlabelled=16, n_jobs=1, show_progress=False
    )
    return root


@pytest.fixture(scope="session")
def home(root, tmp_path_factory) -> Path:
    """The folder with the run's work/, folds/ and submissions/."""
    home = tmp_path_factory.mktemp("home")
    for step in STEPS:
        run_step(step, home, root)
    return home
