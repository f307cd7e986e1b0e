"""For every kind of run, predict.py says of the test clips what their probabilities.csv says."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from meiju.config import CorpusConfig
from meiju.data.corpus import read_corpus
from toy_models import write_bert, write_whisper
from toy_run import STEPS, run_script, run_step

FOUR_DIGITS = 6e-5  # as probabilities.csv is written


@pytest.fixture
def own(home, tmp_path) -> Path:
    """A home with the features of the run that several tests share, for a run with other settings."""
    shutil.copytree(home / "work", tmp_path / "home" / "work")
    return tmp_path / "home"


@pytest.fixture(scope="module")
def bert(root, tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("bert")
    write_bert(folder, sorted(set("".join(read_corpus(CorpusConfig(root), needs_media=False).clips.sentence))))
    return str(folder)


def run_all(home: Path, root: Path, *flags: str, first: tuple[str, ...] = ()) -> None:
    for step in (*first, *STEPS[:-1]):
        run_step(step, home, root, *flags)


def ask(home: Path, root: Path, folder: Path) -> pd.DataFrame:
    """What predict.py says of the test clips, given their sentences as the corpus has them; as was submitted."""
    clips = read_corpus(CorpusConfig(root), needs_media=True).part("testing")
    clips[["name", "sentence"]].to_csv(folder / "texts.csv", index=False)
    out, submitted = folder / "answers.json", home / "submissions" / "sample"
    flags = ["--texts", str(folder / "texts.csv"), "--format", "json", "--output", str(out), "--device", "cpu"]
    run_script("predict.py", "sample", *clips.path, "--home", str(home), *flags)
    records = json.loads(out.read_text(encoding="utf-8"))
    answers = pd.DataFrame(records, index=[Path(record["clip"]).stem for record in records])
    labels = pd.read_csv(submitted / "submission.csv", index_col="filename").loc[answers.index]
    assert (labels.to_numpy() == answers[["emotion", "intent"]].to_numpy()).all()
    table = pd.read_csv(submitted / "probabilities.csv", index_col="name").loc[answers.index]
    asked = [{f"{t}_{label}": p for t, of in row.items() for label, p in of.items()} for row in answers.probabilities]
    np.testing.assert_allclose(pd.DataFrame(asked, answers.index)[table.columns], table, atol=FOUR_DIGITS)
    return answers


def test_the_run_that_several_tests_share(home, root, tmp_path):
    assert set(map(tuple, ask(home, root, tmp_path).streams)) == {("text", "audio", "visual")}


@pytest.mark.parametrize("flags", [("--punctuation", "stripped"), ("--submit", "stage1", "--model.heads", "2")])
def test_embedded_encoders(own, root, tmp_path, flags):
    run_all(own, root, *flags)
    ask(own, root, tmp_path)
    model = json.loads((own / "submissions/sample/model.json").read_text(encoding="utf-8"))
    assert ("/stage1/" in model["parts"]["members"]["folder"]) == ("stage1" in flags)


def test_a_pretrained_encoder_and_frames_made_elsewhere(own, root, bert, tmp_path):
    frames, rng = tmp_path / "frames", np.random.default_rng(0)
    frames.mkdir()
    for name in read_corpus(CorpusConfig(root), needs_media=False).clips.name:
        np.save(frames / f"{name}.npy", rng.normal(size=(3, 8)).astype(np.float32))
    model = shutil.copytree(bert, tmp_path / "bert")
    run_all(own, root, "--streams", f"text=hf:{model}", f"made=npy:{frames}", "audio=smart-turn", "--model.heads", "2")
    assert set(map(tuple, ask(own, root, tmp_path).streams)) == {("text", "made", "audio")}
    write_bert(model, "甲")
    with pytest.raises(SystemExit, match=f"{model} is another model than the run used"):
        ask(own, root, tmp_path)


def test_clips_that_are_transcribed(own, root, tmp_path):
    speech, silent = tmp_path / "whisper", tmp_path / "corpus"
    write_whisper(speech)
    shutil.copytree(root, silent)
    table = next(silent.rglob("*esting*.csv"))
    lines = pd.read_csv(table, dtype=str, keep_default_na=False)
    lines.iloc[::2, lines.columns.get_indexer(lines.columns.intersection(["Subtitle", "sentence"]))] = ""
    lines.to_csv(table, index=False)
    flags = ("--speech.model", str(speech), "--speech.language", "zh", "--model.heads", "2")
    run_all(own, silent, *flags, first=("01_transcribe",))
    answers = ask(own, silent, tmp_path)
    assert answers.transcribed.sum() == 4
    assert (answers.sentence != "").all()
