"""What runs share: it is made once, whatever they are called, and stays as long as one of them needs it."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from meiju import pipeline, stores
from meiju.cli import parse_config
from meiju.features import frame_store
from meiju.features.arrays import NpyFrames
from meiju.run import Run
from meiju.utils import files
from toy_corpus import N_FOLDS, make_corpus, make_folds
from toy_run import run_script

CORPUS = make_corpus()
NAMES = list(CORPUS.clips.name)
CHUNK = 8  # clips that are encoded together


@pytest.fixture
def arrays(tmp_path) -> Path:
    """Ready-made frames of every clip."""
    folder = tmp_path / "arrays"
    folder.mkdir()
    for k, name in enumerate(NAMES):
        np.save(folder / f"{name}.npy", np.full((2, 4), k + 1, np.float32))
    return folder


@pytest.fixture
def encoded(monkeypatch) -> list[str]:
    """The clips that were encoded, in order."""
    names, encode = [], NpyFrames.encode

    def listen(encoder, clips):
        names.extend(clip.name for clip in clips)
        return encode(encoder, clips)

    monkeypatch.setattr(NpyFrames, "encode", listen)
    monkeypatch.setattr(NpyFrames, "chunk", CHUNK)
    return names


def make(home: Path, name: str, arrays: Path, *flags: str) -> Run:
    given = ["custom", "--run", name, "--home", str(home), "--folds", str(N_FOLDS), "--device", "cpu", "--jobs", "1"]
    given += ["--punctuation", "none", "--streams", f"own=npy:{arrays}", *flags]
    return Run(parse_config("", given), corpus=CORPUS, folds=make_folds(CORPUS))


def extract(run: Run) -> Path:
    """Steps 02 and 03; the store."""
    with run.under_way:
        pipeline.refine_transcripts(run)
        pipeline.extract_features(run)
    return run.stream_folder("own")


def change(arrays: Path, name: str) -> None:
    np.save(arrays / f"{name}.npy", np.full((3, 4), -1, np.float32))


def test_a_run_of_another_name_finds_what_the_first_encoded(tmp_path, arrays, encoded, capsys):
    first = extract(make(tmp_path, "first", arrays))
    assert encoded == NAMES
    before = {path: path.stat().st_mtime_ns for path in first.rglob("*")}
    run = make(tmp_path, "second", arrays)
    assert extract(run) == first == run.stores["own"]
    assert encoded == NAMES
    assert {path: path.stat().st_mtime_ns for path in first.rglob("*")} == before
    assert f"features of own: encoded before, see {first}" in capsys.readouterr().out


def test_of_changed_clips_only_these_are_encoded_again_by_any_run(tmp_path, arrays, encoded):
    first = extract(make(tmp_path, "first", arrays))
    change(arrays, "testing_01")
    encoded.clear()
    second = extract(make(tmp_path, "second", arrays))
    assert second != first
    assert encoded == ["testing_01"]
    (span,) = frame_store.load(second).spans(["testing_01"])
    assert span[1] - span[0] == 3


def test_a_run_goes_on_where_another_was_interrupted(tmp_path, arrays, encoded, monkeypatch):
    listen = NpyFrames.encode

    def interrupted(encoder, clips):
        if len(encoded) >= 2 * CHUNK:
            raise KeyboardInterrupt
        return listen(encoder, clips)

    with monkeypatch.context() as patch:
        patch.setattr(NpyFrames, "encode", interrupted)
        with pytest.raises(KeyboardInterrupt):
            extract(make(tmp_path, "first", arrays))
    assert encoded == NAMES[: 2 * CHUNK]
    assert list(stores.users(tmp_path).values()) == [{"first"}]  # though it has finished nothing
    extract(make(tmp_path, "second", arrays))
    assert encoded == NAMES


def test_of_two_runs_at_once_one_encodes_and_the_other_is_refused(tmp_path, arrays, encoded, monkeypatch):
    listen, refused = NpyFrames.encode, []

    def meanwhile(encoder, clips):
        if not refused:
            with pytest.raises(files.Busy) as caught:
                extract(make(tmp_path, "second", arrays))
            refused.append(str(caught.value))
        return listen(encoder, clips)

    monkeypatch.setattr(NpyFrames, "encode", meanwhile)
    store = extract(make(tmp_path, "first", arrays))
    assert refused[0].startswith(f"another run is writing to {store} (process ")
    with files.reserved(store):  # of a whole store, nothing is written
        extract(make(tmp_path, "second", arrays))
        assert encoded == NAMES
        (store / "frames.npy").unlink()
        with pytest.raises(files.Busy):  # nor is a damaged one removed
            extract(make(tmp_path, "first", arrays))
    assert (store / "encoder" / "fitted.json").exists()


def remove_unused(home: Path, capsys, flag: str = "--remove-unused") -> dict[str, str]:
    """What the script prints of each store, by its folder."""
    capsys.readouterr()
    run_script("stores.py", "--home", str(home), flag)
    return dict(line.split(": ", 1) for line in capsys.readouterr().out.splitlines())


def test_what_no_run_uses_is_removed_and_nothing_else(tmp_path, arrays, encoded, capsys):
    store = extract(make(tmp_path, "first", arrays))
    extract(make(tmp_path, "second", arrays))
    name = str(store.relative_to(tmp_path))
    shutil.rmtree(tmp_path / "work" / "first")
    assert remove_unused(tmp_path, capsys) == {name: "0.0 MB, used by second"}
    shutil.rmtree(tmp_path / "work" / "second")
    assert remove_unused(tmp_path, capsys, "--no-remove-unused") == {name: "0.0 MB, unused"}
    with files.reserved(store):
        assert "0.0 MB, kept: another run is writing" in remove_unused(tmp_path, capsys)[name]
    assert frame_store.load(store)
    assert remove_unused(tmp_path, capsys) == {name: "0.0 MB, removed"}
    assert list(store.parent.iterdir()) == []


def test_a_store_is_used_by_every_result_and_submission_made_from_it(tmp_path, arrays, encoded):
    first = make(tmp_path, "run", arrays)
    usual = extract(first)
    with first.under_way:
        assert first.needs_run("submission")
        first.finish("submission", [])
    change(arrays, "testing_01")
    today = extract(make(tmp_path, "run", arrays))
    assert stores.users(tmp_path) == {usual: {"run"}, today: {"run"}}
    shutil.rmtree(tmp_path / "work" / "run")
    assert stores.users(tmp_path) == {usual: {"run"}}  # predict.py reads the encoders of the submission


def test_a_store_is_kept_that_a_step_has_only_begun_to_use(tmp_path, arrays, encoded, capsys):
    store = extract(make(tmp_path, "first", arrays))
    shutil.rmtree(tmp_path / "work" / "first")
    run = make(tmp_path, "second", arrays)
    with run.under_way:
        pipeline.refine_transcripts(run)
        assert run.needs_run("features")
        assert "used by second" in remove_unused(tmp_path, capsys)[str(store.relative_to(tmp_path))]
        with pytest.raises(files.Busy, match="a run uses"):  # as if it had begun a moment ago
            stores.remove(store, tmp_path)


def test_a_removal_that_was_cut_off_is_completed(tmp_path, arrays, encoded, monkeypatch, capsys):
    store = extract(make(tmp_path, "first", arrays))
    shutil.rmtree(tmp_path / "work" / "first")
    with monkeypatch.context() as patch:
        patch.setattr("meiju.stores.shutil.rmtree", lambda path: None)
        remove_unused(tmp_path, capsys)
    extract(make(tmp_path, "second", arrays))  # finds no half of a store
    assert encoded == NAMES * 2
    remove_unused(tmp_path, capsys)
    assert list(store.parent.iterdir()) == [store]


def test_a_marker_that_cannot_be_read_removes_nothing(tmp_path, arrays, encoded):
    run = make(tmp_path, "first", arrays)
    store = extract(run)
    (run.folder("features") / "done.json").write_text("{}")
    with pytest.raises(SystemExit, match=r"done\.json is damaged"):
        run_script("stores.py", "--home", str(tmp_path), "--remove-unused")
    assert store.exists()


def test_a_transcription_is_used_by_what_was_made_of_it(tmp_path):
    speech = {"step": "transcription", "media": "abc"}
    streams = {"text": {"source": {"step": "transcripts", "transcription": speech}}}
    marker = tmp_path / "work" / "run" / "stage2" / "f" / "done.json"
    files.write_json(marker, {"cache key": {"stage1": {"features": {"streams": streams}}}})
    assert tmp_path / "work" / "_shared" / stores.name_of("transcription", speech) in stores.users(tmp_path)
