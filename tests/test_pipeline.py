"""The whole pipeline on a tiny sample, and the guard of its leak-free protocol."""

import errno
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from meiju.cli import parse_config
from meiju.config import CorpusConfig
from meiju.data import submission
from meiju.data.corpus import read_corpus
from meiju.data.labels import EMOTIONS, INTENTS
from meiju.report import build, diagnostics
from meiju.report.page import Picture
from meiju.run import Run
from meiju.sample import corpus as sample_corpus
from meiju.training import regression
from meiju.utils import files, provenance
from toy_run import SCRIPTS, STEPS, TINY, run_step

STREAMS = ("text=tfidf-svd", "audio=smart-turn", "visual=face-geometry")


def run_of(home: Path, root: Path, *flags: str) -> Run:
    return Run(parse_config("", ["sample", "--home", str(home), "--corpus.root", str(root), *TINY, *flags]))


def last_pseudo_labels(home: Path, root: Path, *flags: str) -> pd.DataFrame:
    return pd.read_csv(run_of(home, root, *flags).result("pseudo") / "pseudo_labels.csv", dtype=str)


def test_a_run_ends_with_a_valid_submission_scores_and_a_report(home, root):
    out = home / "submissions" / "sample"
    names = read_corpus(CorpusConfig(root), needs_media=True).part("testing").name
    assert submission.check(out / "submission.zip", names=list(names), emotions=EMOTIONS, intents=INTENTS) == []
    scores = pd.read_csv(out / "scores.csv")
    assert set(scores.stage) == {"stage 1", "stage 2"}
    assert set(scores.heads) == {"all", "1", "2"}
    assert scores.JRBM.between(0, 1).all()
    report = (out / "report.html").read_text(encoding="utf-8")
    for part in ("made-up sample", "Gates", "What members share"):
        assert part in report
    assert len(pd.read_csv(out / "disagreement.csv"))
    assert set(pd.read_csv(out / "errors.csv").task) == {"emotion", "intent"}
    probabilities = pd.read_csv(out / "probabilities.csv", index_col="name")
    assert set(probabilities.index) == set(names)
    for task in ("emotion", "intent"):
        np.testing.assert_allclose(probabilities.filter(like=f"{task}_").sum(axis=1), 1, atol=1e-3)


def results(home: Path) -> dict[str, object]:
    """All files of a run that are results, by path; of settings, what decides them."""
    found = {}
    for path in (*home.glob("folds/*"), *home.glob("submissions/**/*"), *home.glob("work/**/*")):
        no_result = path.name in (".lock", "known-files.json") or path.suffix == ".html" or path.parent.name == "log"
        if path.is_file() and not no_result:
            content = path.read_bytes()
            if path.suffix == ".json" and b'"cache key"' in content:
                content = json.loads(content)["cache key"]
            found[str(path.relative_to(home))] = content
    return found


def assert_all_found_in(wanted: dict[str, object], found: dict[str, object]) -> None:
    assert [path for path, content in found.items() if content != wanted.get(path)] == []


def test_a_dask_cluster_gives_the_same_bytes(home, root, tmp_path):
    distributed = pytest.importorskip("distributed")
    for folder in ("folds", "work/sample/transcripts", "work/sample/features", "work/_shared"):
        shutil.copytree(home / folder, tmp_path / folder)
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as cluster:
        flags = ("--compute.backend", "dask", "--compute.address", cluster.scheduler_address)
        run_step("05_train_stage1", tmp_path, root, *flags)
    assert len(list(tmp_path.glob("work/sample/stage1/*/*.npz"))) == 12
    assert_all_found_in(results(home), results(tmp_path))


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
    assert_all_found_in(results(home), results(tmp_path))
    assert not list(tmp_path.rglob("*.part"))


def test_step_08_says_over_what_its_intervals_are_and_what_out_of_fold_is_worth(home, root, capsys, monkeypatch):
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


def test_a_bad_corpus_stops_every_step_before_it_works(tmp_path, root):
    bad = tmp_path / "corpus"
    shutil.copytree(root, bad)
    table = bad / "Annotation" / "Training_transcription.csv"
    table.write_text(table.read_text(encoding="utf-8-sig").replace("happy", "hapy", 1), encoding="utf-8")
    with pytest.raises(SystemExit, match="did you mean happy"):
        run_step("03_extract_features", tmp_path, bad)
    assert not (tmp_path / "work").exists()


@pytest.fixture
def own_home(home, tmp_path) -> Path:
    """A copy of the run that a test may add to."""
    return shutil.copytree(home, tmp_path / "own")


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
    before, after = last_pseudo_labels(home, root, *flags), last_pseudo_labels(tmp_path, shuffled, *flags)
    assert before[before.fold == "0"].filter(like="accepted").eq("True").any(axis=None)
    pd.testing.assert_frame_equal(after[after.fold == "0"], before[before.fold == "0"])
    assert not after[after.fold != "0"].equals(before[before.fold != "0"])


def test_ablations_train_what_is_missing_once_and_compare_it_with_the_run(own_home, root, capsys, monkeypatch):
    home = own_home
    variants = ["supervised", "gate-soft", "only-text", "punctuation-given", "heads-mean"]
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
    notes = table.note["out-of-fold"]
    assert (notes["full"], notes["supervised"], notes["heads-mean"]) == ("all reused", "all reused", "is the full run")
    assert notes["gate-soft"].startswith("6 members in")
    assert notes["only-text"].startswith("18 members in")
    assert "gate-soft" in (out / "ablation.md").read_text(encoding="utf-8")
    assert (out / "ablation.png").read_bytes().startswith(b"\x89PNG")
    monkeypatch.setattr("meiju.report.style.to_png", lambda figure: b"")  # painting takes seconds, and was done once
    capsys.readouterr()
    before = times(home)
    run_step("10_ablate", home, root, "--variants", *variants)
    assert times(home) == before
    # What it took is still known, whichever variants are asked for.
    run_step("10_ablate", home, root, "--variants", "gate-soft")
    again = pd.read_csv(out / "ablation.csv").set_index(["part", "variant"])
    assert again.note["out-of-fold", "gate-soft"] == notes["gate-soft"]
    # A run with fewer head counts finds its members among those of more.
    run_step("10_ablate", home, root, "--variants", "supervised", "--model.heads", "2")
    (other,) = set(out.parent.glob("ablation-*")) - {out}
    fewer = pd.read_csv(other / "ablation.csv").set_index(["part", "variant"])
    assert fewer.note["out-of-fold", "supervised"] == "all reused"
    assert fewer.note["out-of-fold", "full"].startswith("3 members in")
    run_step("10_ablate", home, root, "--variants", *variants)
    pd.testing.assert_frame_equal(pd.read_csv(out / "ablation.csv").set_index(["part", "variant"]), table)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def files_that_steps_read(home: Path) -> list[Path]:
    """All files of a finished run but locks, logs, caches and the marks of finished steps."""
    found = [*home.glob("folds/*"), *home.glob("submissions/sample/**/*"), *home.glob("work/*/*/**/*")]
    no_results = (".", "done", "submission.json", "report.json")
    existing = (path for path in found if path.is_file() and path.parent.name != "log")
    return sorted(path for path in existing if not path.name.startswith(no_results))


def bytes_of(home: Path) -> dict[str, bytes]:
    return {str(path.relative_to(home)): path.read_bytes() for path in files_that_steps_read(home)}


@pytest.fixture
def unpainted(monkeypatch) -> None:
    """A report's figures are not painted, which takes most of its time."""
    for module in (build, diagnostics):
        monkeypatch.setattr(module, "picture", lambda heading, caption, _: Picture(heading, caption, "data:image/"))


@pytest.mark.usefixtures("unpainted")
def test_every_file_that_is_lost_or_cut_is_made_anew_to_the_same_bytes(own_home, root):
    """First that each is missing or truncated; then all are damaged, so that the steps run but once."""
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


# What is damaged without another size, by what it is named, and the step that reads it when its own mark is gone.
DAMAGES = [
    ("pseudo/*/pseudo_labels.csv", "stage2/*/done.json", "07_train_stage2"),
    ("stage1/*/heads2-seed0-fold1+2.npz", "pseudo/*/done.json", "06_pseudo_label"),
    ("features/text-*/index.csv", "stage1/*/heads1*.npz", "05_train_stage1"),
    ("features/audio-*/frames.npy", "stage1/*/heads1*.npz", "05_train_stage1"),
    ("transcripts/*/transcripts.csv", "features/*/done.json", "03_extract_features"),
]


def test_other_damage_is_named_and_deleting_what_is_named_mends_it(own_home, root):
    before, to_delete = bytes_of(own_home), set()
    for file, missing, step in DAMAGES:
        (damaged,) = own_home.glob(f"work/*/{file}")
        changed = [damaged, *own_home.glob(f"work/sample/{missing}")]
        contents = [path.read_bytes() for path in changed]
        damaged.write_bytes(b"\xff" * len(contents[0]))
        for path in changed[1:]:
            path.unlink()
        with pytest.raises(SystemExit) as caught:
            run_step(step, own_home, root)
        assert str(caught.value).count("\n") == 0
        assert str(damaged) in str(caught.value)
        remedy = re.search(r"delete (\S+) and give the same commands", str(caught.value))[1]
        to_delete.add(damaged if remedy == "it" else Path(remedy))
        for path, content in zip(changed, contents, strict=True):
            path.write_bytes(content)
    for path in to_delete:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    for step in STEPS[:-1]:
        run_step(step, own_home, root)
    assert_all_found_in(before, bytes_of(own_home))


@contextmanager
def edited(module: str, old: str, new: str):
    """The package's source with one line changed, as far as provenance reads it; it is not imported again."""
    source = provenance.PACKAGE / f"{module}.py"
    text = source.read_text(encoding="utf-8")
    assert old in text
    caches = [f for f in vars(provenance).values() if hasattr(f, "cache_clear")]
    try:
        with pytest.MonkeyPatch.context() as patch:
            read = Path.read_bytes
            changed = text.replace(old, new).encode()
            patch.setattr(Path, "read_bytes", lambda path: changed if path == source else read(path))
            for function in caches:
                function.cache_clear()
            yield
    finally:
        for function in caches:
            function.cache_clear()


def test_results_of_older_code_are_left_aside_and_reported(own_home, root, capsys):
    before = {path.name for path in own_home.glob("work/sample/stage1/*")}
    with edited("models/fusion", "return own + gate * attended", "return own"):
        run_step("03_extract_features", own_home, root)
        assert "features: done before" in capsys.readouterr().out
        run_step("05_train_stage1", own_home, root)
    out = capsys.readouterr().out
    assert "stage1: results of older code are not used" in out
    assert "(changed: meiju.models.fusion)" in out
    assert len({path.name for path in own_home.glob("work/sample/stage1/*")} - before) == 1


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


def test_a_head_that_learns_from_a_part_of_a_large_pool_says_so(own_home, root, monkeypatch, capsys):
    monkeypatch.setattr(regression, "REGRESSION_ROWS", 3)
    run_step("07_train_stage2", own_home, root, "--stage2.weight", "0.4")
    (table,) = [pd.read_csv(path) for path in own_home.glob("work/sample/pseudo/*/pseudo_labels.csv")]
    most = (table.emotion_accepted | table.intent_accepted).groupby(table.fold).sum().max()
    assert f"learn from 3 of up to {most} pseudo-labelled clips" in capsys.readouterr().out


def test_of_changed_clips_only_these_are_encoded_again(tmp_path, capsys):
    corpus, home = tmp_path / "corpus", tmp_path / "home"
    sizes = {"training": 3, "validation": 1, "testing": 2, "unlabelled": 2}
    sample_corpus.make_sample(corpus, sizes=sizes, n_jobs=1)
    clips = {part: sorted((corpus / "Annotation" / part).glob("*.mp4")) for part in ("Testing", "Training")}
    flags = ("--punctuation", "none", "--streams", "audio=smart-turn", "visual=face-geometry")
    run_step("02_refine_punctuation", home, corpus, *flags)
    run_step("03_extract_features", home, corpus, *flags)
    shutil.copy(clips["Testing"][0], clips["Testing"][1])
    capsys.readouterr()
    run_step("03_extract_features", home, corpus, *flags)
    out = capsys.readouterr().out
    for stream in ("audio", "visual"):
        assert f"features of {stream}: 7 of 8 clips are as they were" in out
    shutil.copy(clips["Training"][0], clips["Training"][1])  # face-geometry learns from it
    run_step("03_extract_features", home, corpus, *flags)
    out = capsys.readouterr().out
    assert "features of audio: 7 of 8 clips are as they were" in out
    assert "features of visual: 7 of" not in out


@pytest.mark.parametrize(
    ("number", "remedy"), [(errno.ENOSPC, "make room"), (errno.EROFS, "--home"), (errno.EACCES, "--home")]
)
def test_what_the_system_refuses_ends_in_one_line_with_the_file(home, root, tmp_path, monkeypatch, number, remedy):
    write = files.write_text

    def refused(path, text):
        if path.name != "transcripts.csv":
            return write(path, text)
        raise OSError(number, os.strerror(number), str(path))

    monkeypatch.setattr("meiju.utils.files.write_text", refused)
    with pytest.raises(SystemExit, match=rf"error: {os.strerror(number)}: .*transcripts\.csv; .*{remedy}"):
        run_step("02_refine_punctuation", tmp_path, root, "--punctuation", "none")
    (log,) = tmp_path.glob("work/sample/log/*-transcripts.log")
    assert "Traceback" in log.read_text(encoding="utf-8")
