"""The whole pipeline on a tiny sample, and the guard of its leak-free protocol."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from meiju.cli import parse_config
from meiju.config import CorpusConfig
from meiju.data import submission
from meiju.data.corpus import read_corpus
from meiju.data.labels import EMOTIONS, INTENTS
from meiju.run import Run
from toy_run import SCRIPTS, STEPS, TINY, run_step


def run_of(home: Path, root: Path, *flags: str) -> Run:
    return Run(parse_config("", ["sample", "--home", str(home), "--corpus.root", str(root), *TINY, *flags]))


@pytest.fixture
def own_home(home, tmp_path) -> Path:
    """A copy of the run that a test may add to."""
    return shutil.copytree(home, tmp_path / "own")


def test_a_run_ends_with_a_valid_submission_scores_and_a_report(home, root):
    out = home / "submissions" / "sample"
    names = read_corpus(CorpusConfig(root), needs_media=True).part("testing").name
    assert submission.check(out / "submission.zip", names=list(names), emotions=EMOTIONS, intents=INTENTS) == []
    scores = pd.read_csv(out / "scores.csv")
    assert set(scores.stage) == {"stage 1", "stage 2"}
    assert set(scores.heads) == {"all", "1", "2"}
    assert scores.JRBM.between(0, 1).all()
    report = (out / "report.html").read_text(encoding="utf-8")
    assert "made-up sample" in report
    assert set(pd.read_csv(out / "errors.csv").task) == {"emotion", "intent"}
    probabilities = pd.read_csv(out / "probabilities.csv", index_col="name")
    assert set(probabilities.index) == set(names)
    for task in ("emotion", "intent"):
        np.testing.assert_allclose(probabilities.filter(like=f"{task}_").sum(axis=1), 1, atol=1e-3)


def files_that_steps_read(home: Path) -> list[Path]:
    """All files of a run but locks, logs, caches and the markers of begun and finished steps."""
    found = [*home.glob("folds/*"), *home.glob("submissions/sample/**/*"), *home.glob("work/*/*/**/*")]
    no_results = (".", "done", "submission.json", "report.json")
    existing = (path for path in found if path.is_file() and path.parent.name != "log")
    return sorted(path for path in existing if not path.name.startswith(no_results))


def bytes_of(home: Path) -> dict[str, bytes]:
    return {str(path.relative_to(home)): path.read_bytes() for path in files_that_steps_read(home)}


def kill_when_there(pattern: str, step: str, home: Path, root: Path) -> None:
    """Start a step in a process of its own, and kill it with its workers as soon as a file of this pattern is there."""
    command = [sys.executable, SCRIPTS / f"{step}.py", "sample", "--home", home, "--corpus.root", root, *TINY]
    with subprocess.Popen([*map(str, command), "--jobs", "2"], start_new_session=True) as process:
        while process.poll() is None and not list(home.glob(pattern)):
            time.sleep(0.005)
        os.killpg(process.pid, signal.SIGKILL)


def test_training_by_two_workers_that_is_killed_goes_on_to_the_same_bytes(home, root, tmp_path):
    for folder in ("folds", "work/sample/transcripts", "work/sample/features", "work/_shared"):
        shutil.copytree(home / folder, tmp_path / folder)
    kill_when_there("work/sample/stage1/*/*.safetensors", "05_train_stage1", tmp_path, root)
    assert not list(tmp_path.glob("work/sample/stage1/*/done-*.json"))
    run_step("05_train_stage1", tmp_path, root)
    assert bytes_of(tmp_path).items() <= bytes_of(home).items()
    assert not list(tmp_path.rglob("*.part"))


def test_step_08_prints_over_what_its_intervals_are_and_what_out_of_fold_is_worth(home, root, capsys, monkeypatch):
    monkeypatch.setattr("meiju.evaluation.scores.warn_of_loss", lambda gains: "Worse: --submit stage1.")
    run_step("08_ensemble", home, root)
    out = capsys.readouterr().out
    parts = ["log-loss ±", "over clips (out-of-fold)", "Too high for people who are new", "Too low", "log_loss_intent"]
    parts += ["*** Worse: --submit stage1. ***", "(stage 2, 8 clips, checked)"]
    assert [part for part in parts if part not in out] == []


def test_a_finished_step_says_so_at_once(home, root):
    """Imports are nearly all of its time, and these libraries take a second each."""
    heavy = {"torch", "transformers", "sklearn", "scipy.stats", "matplotlib", "onnxruntime"}
    code = f"""if True:
        import runpy, sys
        arguments = sys.argv[1:]
        for step in ("05_train_stage1", "09_report"):
            sys.argv = [f"{SCRIPTS}/{{step}}.py", *arguments]
            runpy.run_path(sys.argv[0], run_name="__main__")
            print(step, "imports", sorted({heavy} & set(sys.modules)), file=sys.stderr)
        """
    arguments = ["sample", "--home", str(home), "--corpus.root", str(root), *TINY]
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True)
    assert done.stdout.count("done before with these settings") == 2
    message = [line for line in done.stderr.splitlines() if not line.startswith("passed over ")]
    assert message == ["05_train_stage1 imports []", "09_report imports []"]


def test_a_bad_corpus_stops_a_step_before_it_works(tmp_path, root):
    bad = shutil.copytree(root, tmp_path / "corpus")
    table = bad / "Annotation" / "Training_transcription.csv"
    table.write_text(table.read_text(encoding="utf-8-sig").replace("happy", "hapy", 1), encoding="utf-8")
    with pytest.raises(SystemExit, match="did you mean happy"):
        run_step("03_extract_features", tmp_path, bad)
    assert not (tmp_path / "work").exists()


@pytest.mark.parametrize("flags", [[], ["--pseudo.gate", "soft"]], ids=["above a confidence", "the whole pool"])
def test_held_out_labels_never_reach_their_folds_pseudo_labels(own_home, root, tmp_path, flags):
    """The canary: with fold 0's labels shuffled, fold 0's pseudo-labels stay the same bit for bit; others change."""
    home = own_home
    folds = pd.read_csv(home / "folds" / "sample.csv")
    held_out = set(folds.name[folds.fold == 0])
    shuffled = tmp_path / "corpus"
    shutil.copytree(root, shuffled)
    path = shuffled / "Annotation" / "Training_transcription.csv"
    table = pd.read_csv(path, encoding="utf-8-sig", dtype=str, keep_default_na=False)
    own = table.FileName.str.removesuffix(".mp4").isin(held_out)
    table.loc[own, ["emotion", "intent"]] = table.loc[own, ["emotion", "intent"]].to_numpy()[::-1]
    table.to_csv(path, index=False, encoding="utf-8")
    shutil.copytree(home / "folds", tmp_path / "folds")
    if flags:  # they change nothing before stage 1
        for folder in ("sample/transcripts", "sample/features", "_shared"):
            shutil.copytree(home / "work" / folder, tmp_path / "work" / folder)
    else:
        for folder in home.glob("work/_shared/features/[!t]*"):  # sound and pictures, which take longest
            shutil.copytree(folder, tmp_path / folder.relative_to(home))
        for step in ("02_refine_punctuation", "03_extract_features"):
            run_step(step, tmp_path, shuffled)
    for step in ("05_train_stage1", "06_pseudo_label"):
        run_step(step, tmp_path, shuffled, *flags)
        if flags:
            run_step(step, home, root, *flags)
    runs = (run_of(home, root, *flags), run_of(tmp_path, shuffled, *flags))
    before, after = (pd.read_csv(run.result("pseudo") / "pseudo_labels.csv", dtype=str) for run in runs)
    assert before[before.fold == "0"].filter(like="accepted").eq("True").any(axis=None)
    pd.testing.assert_frame_equal(after[after.fold == "0"], before[before.fold == "0"])
    assert not after[after.fold != "0"].equals(before[before.fold != "0"])


def test_ablations_train_what_is_missing_once_and_compare_it_with_the_run(own_home, root):
    home = own_home
    variants = ["supervised", "gate-soft", "only-text"]
    run_step("10_ablate", home, root, "--variants", *variants)
    (out,) = (home / "submissions" / "sample").glob("ablation-*")
    table = pd.read_csv(out / "ablation.csv").set_index(["part", "variant"])
    assert set(table.index.get_level_values("variant")) == {"full", *variants}
    scores = pd.read_csv(out.parent / "scores.csv").query("heads == 'all'").set_index(["part", "stage"])
    for part in ("out-of-fold", "validation"):
        assert table.JRBM[part, "full"] == pytest.approx(scores.JRBM[part, "stage 2"], abs=1e-4)
        assert table.JRBM[part, "supervised"] == pytest.approx(scores.JRBM[part, "stage 1"], abs=1e-4)
        row = table.loc[(part, "gate-soft")]
        assert row.d_E == pytest.approx(row.E - table.E[part, "full"], abs=1e-4)
        assert row.d_JRBM_low <= row.d_JRBM <= row.d_JRBM_high
    assert "gate-soft" in (out / "ablation.md").read_text(encoding="utf-8")
    before = times(home)
    run_step("10_ablate", home, root, "--variants", *variants)
    assert times(home) == before


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def test_every_file_that_is_lost_or_cut_is_made_anew_to_the_same_bytes(own_home, root, monkeypatch):
    """First that each is missing or truncated; then all are damaged, so that the steps run but once."""
    monkeypatch.setattr("meiju.report.figures.to_data_uri", lambda figure: "data:image/")  # painting takes long
    before, run = bytes_of(own_home), run_of(own_home, root)
    steps = ("transcripts", "features", "stage1", "pseudo", "stage2", "submission", "report")
    files_read = sorted(set(files_that_steps_read(own_home)) - {own_home / "folds" / "sample.csv"})  # that one is kept
    for damage in (Path.unlink, cut):
        for path in files_read:
            content = path.read_bytes()
            damage(path)
            assert any(run._lost(step) for step in steps), f"nobody misses {path}"
            path.write_bytes(content)
    for k, path in enumerate(files_read):
        (Path.unlink, cut)[k % 2](path)
    for step in STEPS:
        run_step(step, own_home, root)
    after = bytes_of(own_home)
    assert after.keys() == before.keys()
    assert [path for path in before if after[path] != before[path] and not path.endswith("report.html")] == []


def test_a_copied_home_touched_clips_and_rows_in_another_order_are_known_again(home, root, tmp_path, capsys):
    corpus = shutil.copytree(root, tmp_path / "corpus", copy_function=shutil.copyfile)
    for path in corpus.rglob("*.csv"):  # and the rows in another order
        header, *rows = path.read_text(encoding="utf-8").splitlines(keepends=True)
        order = np.random.default_rng(3).permutation(len(rows))
        path.write_text("".join([header, *(rows[k] for k in order)]), encoding="utf-8")
    copy = shutil.copytree(home, tmp_path / "home", copy_function=shutil.copyfile)
    before = times(copy)
    for step in STEPS:
        run_step(step, copy, corpus)
    assert capsys.readouterr().out.count("done before with these settings") == len(STEPS) - 1  # folds are kept
    written = {path.name for path, time in times(copy).items() if time != before.get(path)}
    assert written <= {"known-files.json", ".lock"}


def times(home: Path) -> dict[Path, int]:
    """When each file below work/ was last written."""
    return {path: path.stat().st_mtime_ns for path in (home / "work").rglob("*") if path.is_file()}
