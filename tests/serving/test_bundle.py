import errno
import json
import re
import shutil
from pathlib import Path

import pytest

from meiju.config import ConfigError
from meiju.serving import bundle
from meiju.serving.bundle import export, find_run
from meiju.serving.predictor import Predictor
from meiju.utils import files
from toy_run import run_script


@pytest.fixture(scope="module")
def exported(home, tmp_path_factory) -> Path:
    """An export, to be copied before it is changed."""
    target = tmp_path_factory.mktemp("exports") / "model"
    export(find_run("sample", home), target)
    return target


@pytest.fixture
def copy(exported, tmp_path) -> Path:
    return Path(shutil.copytree(exported, tmp_path / "model"))


def read_plain(folder: Path) -> dict:
    return json.loads((folder / "model.json").read_text(encoding="utf-8"))


def test_an_export_that_is_not_whole_is_refused_by_name(copy):
    for path in sorted(path for path in copy.rglob("*") if path.is_file() and path.name != "model.json"):
        whole = path.read_bytes()
        for says, data in (("is missing", None), ("has changed", whole[:-1] + bytes([whole[-1] ^ 1]))):
            path.unlink() if data is None else path.write_bytes(data)
            with pytest.raises(ConfigError, match=f"not whole: {path} {says}; .*ask whoever made it"):
                Predictor(copy, device="cpu")
        path.write_bytes(whole)


def test_a_run_that_has_lost_a_file_is_neither_read_nor_copied(home, tmp_path):
    shutil.copytree(home, tmp_path / "moved")
    (lost,) = (tmp_path / "moved" / "work").rglob("transcripts/*/punctuation.json")
    lost.unlink()
    with pytest.raises(ConfigError, match=r"punctuation\.json is missing; run scripts/run_all\.sh again"):
        Predictor(find_run("sample", tmp_path / "moved"), device="cpu")
    with pytest.raises(ConfigError, match=r"punctuation\.json is missing"):
        export(find_run("sample", tmp_path / "moved"), tmp_path / "target")
    assert [path.name for path in tmp_path.iterdir()] == ["moved"]


def test_a_model_json_that_is_damaged_or_does_not_fit_the_files_is_refused(copy):
    def refused(text: str, message: str) -> None:
        (copy / "model.json").write_text(text)
        with pytest.raises(ConfigError, match=message):
            Predictor(copy, device="cpu")

    whole, parts = read_plain(copy), read_plain(copy)["parts"]
    for text in ("", '{"format": 99}'):
        refused(text, r"model\.json (cannot be read|has format 99 where .*); run scripts/run_all\.sh")
    for key, value in (("parts", {}), ("settings", None), ("classes", {"emotion": ["sad"]})):
        refused(json.dumps(whole | {key: value}), r"model\.json is damaged .*run_all\.sh")
    for settings, message in (
        ({"magic": 1}, r"damaged \(.*magic"),
        ({"model": whole["settings"]["model"] | {"width": 10**9}}, "cannot be loaded"),
        ({"folds": 10**9}, r"damaged \(lists 6 members where its settings ask for 2000000000\)"),
    ):
        refused(json.dumps(whole | {"settings": whole["settings"] | settings}), message)
    for part, name, message in (
        ("transcripts", "punctuation.json", "does not list transcripts/punctuation.json"),
        ("encoders/audio", "fitted.json", "does not list encoders/audio/fitted.json"),
    ):
        listed = {file: known for file, known in parts[part]["files"].items() if file != name}
        change = {part: parts[part] | {"files": listed}}
        refused(json.dumps(whole | {"parts": parts | change}), rf"damaged \({re.escape(message)}\)")


@pytest.mark.parametrize("name", ["../secret", "/etc/hostname"])
def test_files_outside_of_their_folder_are_refused(copy, name):
    model = read_plain(copy)
    model["parts"]["members"]["files"][name] = ""
    (copy / "model.json").write_text(json.dumps(model))
    with pytest.raises(ConfigError, match="outside of its folder"):
        export(copy, copy.with_name("other"))


def test_a_failed_export_leaves_nothing_and_can_be_repeated(home, tmp_path, monkeypatch):
    copied, copyfile = [], shutil.copyfile

    def fail(source, target):
        copied.append(source)
        if len(copied) == 5:
            raise OSError("no room")
        return copyfile(source, target)

    monkeypatch.setattr(bundle.shutil, "copyfile", fail)
    with pytest.raises(ConfigError, match="--export: no room"):
        export(find_run("sample", home), tmp_path / "model")
    assert list(tmp_path.iterdir()) == []
    export(find_run("sample", home), tmp_path / "model")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    export(tmp_path / "model", tmp_path / "new" / "again")
    assert read_plain(tmp_path / "new" / "again") == read_plain(tmp_path / "model")
    with pytest.raises(SystemExit, match=r"error: --export: .* exists; name a new folder"):
        run_script("predict.py", "sample", "--home", str(home), "--export", str(tmp_path))


def test_an_answer_that_cannot_be_written_is_printed(home, tmp_path, monkeypatch, capsys):
    def full(path, text):
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(files, "write_text", full)
    asked = ["sample", "--text", "好", "--home", str(home), "--format", "json", "--output", str(tmp_path / "a.json")]
    with pytest.raises(SystemExit, match=r"error: --output: No space left on device: .*a\.json"):
        run_script("predict.py", *asked)
    (record,) = json.loads(capsys.readouterr().out)
    assert record["emotion"]
