"""All steps on a corpus as people have it: clips of one film, no Validation, a test clip that was never delivered."""

import numpy as np
import pandas as pd
import pytest

from meiju.config import SHARED
from meiju.features.media import write_clip
from toy_run import STEPS, TINY, run_script
from toy_tables import write_tables

FLAGS = [*TINY, "--model.heads", "1", "--text.dim", "8", "--streams", "text=tfidf-svd", "audio=smart-turn"]
WORDS = ["好吧", "我走了", "你怎么来了", "谢谢你", "真的吗"]


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """The home of the finished run."""
    root, home = tmp_path_factory.mktemp("corpus"), tmp_path_factory.mktemp("home")
    noise = np.random.default_rng(0).normal(0, 0.1, 16000 * 12).astype(np.float32)
    write_clip(root / "ep01.mp4", None, noise, fps=8)
    for k in (0, 1, 2):
        write_clip(root / f"x{k}.mp4", None, noise[: 8000 + k], fps=8)
    spans = [["ep01.mp4", k / 2, k / 2 + 0.5, WORDS[k % 5] * (1 + k % 3)] for k in range(24)]
    training = [[*span, ("joy", "rage")[k % 2], ("ask", "tell")[k // 2 % 2]] for k, span in enumerate(spans)]
    tables = {
        "Training": [["FileName", "start", "end", "Subtitle", "emotion", "intent"], *training],
        "Testing": [["FileName", "Subtitle"], *([f"x{k}.mp4", "" if k == 3 else WORDS[k]] for k in range(4))],
    }
    write_tables(root, **tables)
    for step in STEPS:
        run_script(f"{step}.py", "custom", "--home", str(home), "--corpus.root", str(root), *FLAGS)
    arguments = ["custom", "--home", str(home), "--corpus.root", str(root)]
    run_script("check_submission.py", str(home / "submissions" / "custom" / "submission.zip"), *arguments)
    return home


def test_scores_are_out_of_fold_alone(done):
    folder = done / "submissions" / "custom"
    assert set(pd.read_csv(folder / "scores.csv").part) == {"out-of-fold"}
    assert set(pd.read_csv(folder / "errors.csv").part) == {"out-of-fold"}
    report = (folder / "report.html").read_text(encoding="utf-8")
    assert "The corpus has no Validation part." in report
    assert "Validation F1" not in report


def test_a_test_clip_without_anything_stands_in_the_submission(done):
    submitted = pd.read_csv(done / "submissions" / "custom" / "submission.csv")
    assert submitted.filename.tolist() == ["x0", "x1", "x2", "x3"]
    assert submitted.notna().all(axis=None)
    assert np.isfinite(pd.read_csv(done / "submissions" / "custom" / "probabilities.csv", index_col=0)).all(axis=None)


def test_every_part_of_the_film_has_its_own_frames(done):
    (index,) = (done / "work" / SHARED / "features").glob("audio-*/index.csv")
    clips = pd.read_csv(index).set_index("name")
    n_frames = clips.stop - clips.start
    assert n_frames.filter(like="ep01_").between(1, n_frames["x0"] + 1).all()
    assert clips.input.filter(like="ep01_").is_unique
    assert n_frames["x3"] == 0
