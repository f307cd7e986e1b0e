"""What decides the results of each step, where they lie, and when a step is done."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from meiju.cli import parse_config
from meiju.config import EMBEDDED_STREAMS, Config, ConfigError
from meiju.data.labels import LabelSet
from meiju.run import NotYet, Run
from meiju.utils import files
from toy_corpus import N_FOLDS, make_corpus, make_folds

CORPUS = make_corpus()
FOLDS = make_folds(CORPUS)
STREAMS = ("--streams", "text=tfidf-svd", "audio=smart-turn", "visual=face-geometry")
# In the order in which they depend on each other; transcription has nothing to do here, as every clip has a sentence.
ORDER = ["transcripts", "features", "stage1", "pseudo", "stage2", "submission", "report"]


def make(home: Path, *flags: str, corpus=CORPUS, folds=FOLDS) -> Run:
    given = ["sample", "--home", str(home), "--folds", str(N_FOLDS), "--device", "cpu", *STREAMS, *flags]
    return Run(parse_config("", given), corpus=corpus, folds=folds)


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    """Nothing is written there."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def usual(home) -> Run:
    return make(home)


def first_changed(usual: Run, run: Run) -> str | None:
    """The first step whose results another run decides otherwise, with all that follow; None if there is none."""
    changed = [step for step in ORDER if run.cache_key(step) != usual.cache_key(step)]
    assert changed == ORDER[len(ORDER) - len(changed) :]
    return changed[0] if changed else None


@pytest.mark.parametrize(
    ("flags", "first"),
    [
        ("--seed 1", "transcripts"),
        ("--audio.max-frames 8", "features"),
        ("--visual.fps 3", "features"),
        ("--streams text=tfidf-svd audio=smart-turn", "features"),
        ("--streams audio=smart-turn visual=face-geometry text=tfidf-svd", "stage1"),  # the order of tokens
        ("--model.linear 0", "stage1"),
        ("--train.lr 1e-4", "stage1"),
        ("--train.together 2", "stage1"),  # rounding
        ("--model.heads 1 2", "pseudo"),  # members of all head counts and seeds lie side by side
        ("--train.seeds 2", "pseudo"),
        ("--pseudo.threshold 0.8", "pseudo"),
        ("--stage2.weight 0.7", "stage2"),
        ("--stage2.warm-start", "stage2"),
        ("--corpus.average micro", "submission"),
        ("--submit stage1", "submission"),
        ("--folds-by none", "submission"),  # whose clips are alike, for the intervals; folds are drawn before
    ],
)
def test_a_setting_decides_its_step_and_those_that_depend_on_it(home, usual, flags, first):
    assert first_changed(usual, make(home, *flags.split())) == first


@pytest.mark.parametrize("flags", ["--jobs 3", "--compute.backend dask", "--speech.language zh"])
def test_a_setting_that_decides_nothing_here_changes_nothing(home, usual, flags):
    assert first_changed(usual, make(home, *flags.split())) is None


def corpus_with(column: str, value: str, part: str):
    """The corpus with another entry of the first clip of a part."""
    clips = CORPUS.clips.copy()
    clips.loc[clips.index[clips.part == part][0], column] = value
    return dataclasses.replace(CORPUS, clips=clips)


@pytest.mark.parametrize(
    ("column", "value", "part", "first"),
    [
        ("sentence", "Other words.", "testing", "transcripts"),
        ("part", "validation", "testing", "transcripts"),
        ("emotion", "calm", "training", "stage1"),
        ("intent", "wish", "validation", "stage1"),
        ("speaker", "Wang", "training", "submission"),
    ],
)
def test_what_the_corpus_says_decides_who_reads_it(home, usual, column, value, part, first):
    assert first_changed(usual, make(home, corpus=corpus_with(column, value, part))) == first


def test_other_folds_another_order_of_the_classes_and_a_gpu_decide_stage_1(home, usual, monkeypatch):
    turned = LabelSet(CORPUS.labels.emotion[::-1], CORPUS.labels.intent)
    assert first_changed(usual, make(home, folds=FOLDS.assign(fold=(FOLDS.fold + 1) % N_FOLDS))) == "stage1"
    assert first_changed(usual, make(home, corpus=dataclasses.replace(CORPUS, labels=turned))) == "stage1"
    monkeypatch.setattr("meiju.steps.device_type", lambda device: "cuda")
    assert first_changed(usual, make(home)) == "stage1"


def test_the_parts_that_may_be_learnt_from_decide_frames_and_what_is_made_of_them(home, usual, monkeypatch):
    before = usual.stream_folder("visual")
    monkeypatch.setattr("meiju.steps.UNSCORED_PARTS", ("training", "unlabelled", "validation"))
    assert first_changed(usual, make(home)) == ORDER[0]
    assert make(home).stream_folder("visual") != before


def test_a_clip_without_a_sentence_is_transcribed_where_there_is_a_model(home):
    silent = corpus_with("sentence", "", "testing")
    silent.clips.loc[silent.clips.sentence == "", "path"] = "a.mp4"
    assert not make(home, corpus=silent).transcribes
    assert not make(home, "--speech.model", "whisper").transcribes
    assert make(home, "--speech.model", "whisper", corpus=silent).transcribes


def test_the_ablation_of_a_run_decides_its_report_and_lies_by_its_second_stage(tmp_path):
    before = make(tmp_path)
    folder = before.ablation_folder
    assert first_changed(before, make(tmp_path)) is None
    files.write_text(folder / "ablation.csv", "a\n")
    assert first_changed(before, make(tmp_path)) == "report"
    assert make(tmp_path, "--submit", "stage1").ablation_folder == folder
    assert make(tmp_path, "--stage2.weight", "0.7").ablation_folder != folder
    assert make(tmp_path, "--train.seeds", "2").ablation_folder != folder


def finish(run: Run, step: str, **contents: str) -> list[Path]:
    """Do a step as scripts do: what is there is kept. Returns its files."""
    paths = [run.folder(step) / name for name in contents]
    if run.needs_run(step):
        for path, content in zip(paths, contents.values(), strict=True):
            path.parent.mkdir(parents=True, exist_ok=True)
            if not path.exists():
                path.write_text(content)
        run.finish(step, paths)
    return paths


def test_a_step_is_to_be_done_until_it_is_finished(tmp_path, capsys):
    run = make(tmp_path)
    with pytest.raises(NotYet, match=r"^02\w+\.py has not been run .*; run .*/02\w+\.py with the same arguments"):
        run.result("transcripts")
    assert run.needs_run("transcripts")
    run.under_way.close()  # broken off
    with pytest.raises(NotYet):
        run.result("transcripts")
    finish(run, "transcripts", a="abc")
    assert run.result("transcripts") == run.folder("transcripts")
    assert not make(tmp_path).needs_run("transcripts")
    assert "transcripts: done before with these settings" in capsys.readouterr().out
    other = make(tmp_path, "--punctuation", "none")
    assert other.needs_run("transcripts")
    assert "transcripts: 1 results of other settings, inputs or code are not used" in capsys.readouterr().out
    assert run.variant(dataclasses.replace(other.config, seed=1)).needs_run("transcripts")
    assert capsys.readouterr().out == ""  # of an ablation's variants, others are no news


def test_a_step_that_is_under_way_is_reserved_and_logged(tmp_path):
    run = make(tmp_path)
    with run.under_way:
        assert run.needs_run("stage1")
        with pytest.raises(files.Busy):
            make(tmp_path).needs_run("stage1")
    (log,) = (tmp_path / "work" / "sample" / "log").glob("*-stage1.log")
    assert "settings" in log.read_text(encoding="utf-8")
    with (again := make(tmp_path)).under_way:
        assert again.needs_run("stage1")


@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_text("ab")], ids=["lost", "cut"])
def test_what_is_lost_or_cut_is_noticed_and_made_anew(tmp_path, damage, capsys):
    run = make(tmp_path)
    whole, damaged = finish(run, "pseudo", whole="kept", damaged="abc")
    damage(damaged)
    with pytest.raises(NotYet, match=rf"{damaged} is missing or truncated; run .*06_pseudo_label\.py "):
        run.result("pseudo")
    finish(run, "pseudo", whole="other", damaged="abc")
    assert f"{damaged} missing or truncated: computed again" in capsys.readouterr().out
    assert run.result("pseudo") == damaged.parent
    assert (whole.read_text(), damaged.read_text()) == ("kept", "abc")


def test_stage_1_is_done_for_the_head_counts_and_seeds_asked_for(tmp_path):
    both, one, seeds = (make(tmp_path, "--model.heads", *flags.split()) for flags in ("1 2", "1", "1 --train.seeds 2"))
    finish(both, "stage1", a="a")
    assert both.folder("stage1") == one.folder("stage1") == seeds.folder("stage1")
    assert both.result("stage1")
    for other in (one, seeds):
        with pytest.raises(NotYet):
            other.result("stage1")


def test_a_submission_of_other_settings_is_replaced_with_its_report(tmp_path, capsys):
    first, second = make(tmp_path), make(tmp_path, "--submit", "stage1")
    old = [*finish(first, "submission", csv="a"), *finish(first, "report", html="b")]
    kept = first.folder("submission") / "a note.txt"
    kept.write_text("people may put files there")
    new = finish(second, "submission", zip="c")
    assert "submission: replaces that of other settings" in capsys.readouterr().out
    assert not any(path.exists() for path in old)
    assert kept.exists()
    assert second.result("submission") == new[0].parent
    for step in ("submission", "report"):
        with pytest.raises(NotYet):
            first.result(step)


def test_stores_come_in_the_settings_order_and_only_when_they_are_there(tmp_path):
    run = make(tmp_path, "--streams", "visual=face-geometry", "text=tfidf-svd")
    with pytest.raises(NotYet, match="03_extract_features"):
        _ = run.stores
    with pytest.raises(NotYet, match="04_make_folds"):
        _ = Run(Config("toy", home=tmp_path), corpus=CORPUS).folds
    finish(run, "features", a="a")
    assert list(run.stores) == ["visual", "text"]
    assert run.stores["text"] == make(tmp_path, "--run", "second").stream_folder("text")


def test_streams_that_have_nothing_to_read_are_reported_before_any_work(tmp_path):
    np.save(tmp_path / "training_00.npy", np.ones(3))
    clips = CORPUS.clips.assign(sentence="")
    corpus = dataclasses.replace(CORPUS, clips=clips)
    run = make(tmp_path, "--streams", "text=tfidf-svd", "audio=smart-turn", f"own=npy:{tmp_path}", corpus=corpus)
    with pytest.raises(ConfigError) as caught:
        run.needs_run("transcripts")
    text, own, remedy = str(caught.value).splitlines()
    assert text.startswith("--streams: text has nothing to read: no training clip has a sentence, no validation clip")
    assert own.startswith(
        f"--streams: own has nothing to read: no validation clip has a .npy in {tmp_path}, no testing"
    )
    assert remedy == "leave it out with --streams audio=smart-turn"
    assert not (tmp_path / "work").exists()


def test_missing_models_are_named_together_with_what_runs_without_them(home, monkeypatch):
    monkeypatch.setattr("huggingface_hub.is_offline_mode", lambda: True)
    given = ["--streams", "text=hf:some/encoder", "sound=hf:some/other"]
    with pytest.raises(ConfigError) as error:
        make(home, *given).encoders  # noqa: B018
    first, second, remedy = str(error.value).splitlines()
    assert "some/encoder" in first
    assert "some/other" in second
    with_remedy = make(home, *given, *remedy.partition("downloads: ")[2].split())
    assert len(with_remedy.encoders) == len(EMBEDDED_STREAMS)
    assert with_remedy.config.speech.model == "none"
