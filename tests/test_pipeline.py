"""The whole pipeline on a tiny sample, and the guard of its leak-free protocol."""

import runpy
import shutil
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.special import softmax

from meiju import members, sample, stages, submission, training
from meiju.config import Config, CorpusConfig, parse_config
from meiju.corpus import read_corpus
from meiju.labels import EMOTIONS, INTENTS
from meiju.steps import Run

SCRIPTS = Path(__file__).parents[1] / "scripts"
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
TINY = [
    "--jobs",
    "1",
    "--folds",
    "3",
    "--model.heads",
    "1",
    "2",
    "--model.width",
    "8",
    "--train.epochs",
    "2",
    "--train.average-epochs",
    "1",
    "--text.dim",
    "16",
    "--visual.size",
    "16",
    "--visual.dim",
    "8",
    "--pseudo.gate",
    "fixed",
    "--pseudo.threshold",
    "0.05",
    "--device",
    "cpu",
]


def run_step(step: str, home: Path, root: Path, *flags: str) -> None:
    argv = sys.argv
    sys.argv = [f"{step}.py", "sample", "--home", str(home), "--corpus.root", str(root), *TINY, *flags]
    try:
        runpy.run_path(str(SCRIPTS / f"{step}.py"), run_name="__main__")
    finally:
        sys.argv = argv


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("corpus")
    sample.make_sample(root, n_training=60, n_validation=8, n_test=8, n_unlabelled=16, n_jobs=1, show_progress=False)
    return root


@pytest.fixture(scope="module")
def home(root, tmp_path_factory) -> Path:
    home = tmp_path_factory.mktemp("home")
    for step in STEPS:
        run_step(step, home, root)
    return home


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
    assert set(scores.heads) == {0, 1, 2}
    assert scores.JRBM.between(0, 1).all()
    assert "made-up sample" in (out / "report.html").read_text(encoding="utf-8")


def test_probabilities_are_of_every_test_clip_and_sum_to_one_per_task(home):
    table = pd.read_csv(home / "submissions" / "sample" / "probabilities.csv", index_col="name")
    assert len(table) == 8
    for task in ("emotion", "intent"):
        np.testing.assert_allclose(table.filter(like=f"{task}_").sum(axis=1), 1, atol=1e-3)


def test_a_second_run_does_nothing_again_and_says_so(home, root, capsys):
    before = {path: path.stat().st_mtime_ns for path in (home / "work").rglob("*") if path.is_file()}
    for step in STEPS:
        run_step(step, home, root)
    after = {path: path.stat().st_mtime_ns for path in (home / "work").rglob("*") if path.is_file()}
    assert after == before
    assert capsys.readouterr().out.count("done before with these settings") == len(STEPS)


def test_other_settings_are_redone_with_what_depends_on_them_and_kept_apart(home, root):
    first = {path.name for path in (home / "work/sample/stage1").iterdir()}
    run_step("05_train_stage1", home, root, "--train.lr", "1e-4")
    with pytest.raises(SystemExit, match="06_pseudo_label"):
        run_step("07_train_stage2", home, root, "--train.lr", "1e-4")
    assert first < {path.name for path in (home / "work/sample/stage1").iterdir()}
    assert len(list((home / "work/sample/features").glob("text-*"))) == 1


def test_a_step_without_its_inputs_names_the_script_that_makes_them(tmp_path, root):
    with pytest.raises(SystemExit, match="04_make_folds"):
        run_step("05_train_stage1", tmp_path, root)


def test_a_bad_corpus_stops_every_step_before_it_works(tmp_path, root):
    bad = tmp_path / "corpus"
    shutil.copytree(root, bad)
    table = bad / "Annotation" / "Training_transcription.csv"
    table.write_text(table.read_text(encoding="utf-8-sig").replace("happy", "hapy", 1), encoding="utf-8")
    with pytest.raises(SystemExit, match="did you mean happy"):
        run_step("03_extract_features", tmp_path, bad)
    assert not (tmp_path / "work").exists()


LEAK_STEPS = ("02_refine_punctuation", "03_extract_features", "05_train_stage1", "06_pseudo_label")
# Two rounds also train the first round's second stage, from the weights of stage 1.
INTRICATE = [
    *("--pseudo.soft", "--pseudo.joint-gate", "--pseudo.rounds", "2", "--stage2.warm-start"),
    *("--train.labelled-share", "0.6", "--model.heads", "1"),
]


@pytest.mark.parametrize("flags", [[], INTRICATE], ids=["as usual", "two rounds, soft, joint gate, warm start, share"])
def test_held_out_labels_never_reach_their_folds_pseudo_labels(home, root, tmp_path, flags):
    """The canary: with fold 0's labels shuffled, fold 0's pseudo-labels stay the same bit for bit; others change."""
    folds = pd.read_csv(home / "folds" / "sample.csv")
    held_out = set(folds.name[folds.fold == 0])
    shuffled = tmp_path / "corpus"
    shutil.copytree(root, shuffled)
    path = shuffled / "Annotation" / "Training_transcription.csv"
    table = pd.read_csv(path, encoding="utf-8-sig", dtype=str, keep_default_na=False)
    own = table.FileName.str.removesuffix(".mp4").isin(held_out)
    table.loc[own, ["emotion", "intent"]] = table.loc[own, ["emotion", "intent"]].to_numpy()[::-1]
    table.to_csv(path, index=False, encoding="utf-8")
    (tmp_path / "folds").mkdir()
    shutil.copy(home / "folds" / "sample.csv", tmp_path / "folds")
    known = set((home / "work/sample/pseudo").glob("*"))
    for step in LEAK_STEPS:
        run_step(step, tmp_path, shuffled, *flags)
        if flags:
            run_step(step, home, root, *flags)
    if flags:
        assert len(set((home / "work/sample/pseudo").glob("*")) - known) == 2  # of both rounds
    before, after = last_pseudo_labels(home, root, *flags), last_pseudo_labels(tmp_path, shuffled, *flags)
    assert before[before.fold == "0"].filter(like="accepted").eq("True").any(axis=None)
    pd.testing.assert_frame_equal(after[after.fold == "0"], before[before.fold == "0"])
    assert not after[after.fold != "0"].equals(before[before.fold != "0"])


def test_ablations_train_what_is_missing_once_and_compare_it_with_the_run(home, root, capsys):
    variants = ["supervised", "soft", "only-text", "punctuation-given", "rounds-1", "labelled-50-supervised"]
    run_step("10_ablate", home, root, "--variants", *variants)
    out = home / "submissions" / "sample"
    table = pd.read_csv(out / "ablation.csv").set_index(["part", "variant"])
    assert set(table.index.get_level_values("variant")) == {"full", *variants}
    scores = pd.read_csv(out / "scores.csv").query("heads == 0").set_index(["part", "stage"])
    for part in ("out-of-fold", "validation"):
        assert table.JRBM[part, "full"] == pytest.approx(scores.JRBM[part, "stage 2"], abs=1e-4)
        assert table.JRBM[part, "supervised"] == pytest.approx(scores.JRBM[part, "stage 1"], abs=1e-4)
        row = table.loc[(part, "soft")]
        assert row.d_E == pytest.approx(row.E - table.E[part, "full"], abs=1e-4)
        assert row.d_JRBM_low <= row.d_JRBM <= row.d_JRBM_high
    notes = table.note["out-of-fold"]
    assert (notes["full"], notes["supervised"], notes["rounds-1"]) == ("all reused", "all reused", "is the full run")
    assert notes["soft"].startswith("6 members in")
    assert notes["only-text"].startswith("18 members in")
    assert "soft" in (out / "ablation.md").read_text(encoding="utf-8")
    assert (out / "low_resource.png").read_bytes().startswith(b"\x89PNG")
    capsys.readouterr()
    before = {path: path.stat().st_mtime_ns for path in (home / "work").rglob("*") if path.is_file()}
    run_step("10_ablate", home, root, "--variants", *variants)
    assert {path: path.stat().st_mtime_ns for path in (home / "work").rglob("*") if path.is_file()} == before
    # What it took is still known, whichever variants are asked for.
    run_step("10_ablate", home, root, "--variants", "soft")
    assert pd.read_csv(out / "ablation.csv").set_index(["part", "variant"]).note["out-of-fold", "soft"] == notes["soft"]
    # A run with fewer head counts finds its members among those of more.
    run_step("10_ablate", home, root, "--variants", "supervised", "--model.heads", "2")
    fewer = pd.read_csv(out / "ablation.csv").set_index(["part", "variant"])
    assert fewer.note["out-of-fold", "supervised"] == "all reused"
    assert fewer.note["out-of-fold", "full"].startswith("3 members in")
    run_step("10_ablate", home, root, "--variants", *variants)
    pd.testing.assert_frame_equal(pd.read_csv(out / "ablation.csv").set_index(["part", "variant"]), table)


def test_a_variant_nobody_knows_is_refused_before_anything_is_read(tmp_path, root):
    with pytest.raises(SystemExit, match="did you mean soft"):
        run_step("10_ablate", tmp_path, root, "--variants", "sof")


def test_loaded_networks_say_what_members_said_when_they_were_trained(home, root):
    run = run_of(home, root)
    names = list(run.corpus.part("validation").name)
    chosen = [m for m in members.plan(run.config, checks=False) if m.heads == 2]
    frames = stages.load_frames(run, names)
    network = stages.networks(run, "stage2", chosen, frames)[2]
    logits = training.predict(network, frames, np.arange(len(names)))
    for e, member in enumerate(chosen):
        said = members.probabilities(run.result("stage2"), member, names)
        np.testing.assert_allclose(softmax(logits["emotion"][e], axis=1), said["emotion"], atol=1e-6)


def test_the_report_judges_pseudo_labels_and_heads(home):
    out = home / "submissions" / "sample"
    page = (out / "report.html").read_text(encoding="utf-8")
    for heading in ("Precision of pseudo-labels", "What heads look at", "Disagreement between members"):
        assert heading in page
    assert pd.read_csv(out / "pool_precision.csv").estimate.between(0, 1).all()
    assert set(pd.read_csv(out / "heads.csv").heads) == {1, 2}


def test_members_are_kept_apart_by_the_order_of_the_classes(home, root):
    def folder(labels):
        return Run(Config("sample", home=home, folds=3, corpus=CorpusConfig(root, labels=labels))).folder("stage1")

    assert folder("official") != folder("training-file")


def test_a_text_file_that_cannot_be_read_is_named_with_its_line(tmp_path, root):
    path = tmp_path / "lines.txt"
    path.write_bytes("你好。\n".encode() + b"\xff\xfe\n")
    with pytest.raises(SystemExit, match=r"lines\.txt, line 2"):
        run_step("02_refine_punctuation", tmp_path, root, "--punctuation-texts", str(path))
