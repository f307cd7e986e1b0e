"""What a finished run is made of: model.json, and the files that it lists with their hashes.

model.json lies beside the submission. It holds the settings, the classes, and the parts that prediction reads: each
stream's encoder, the punctuation restorer, the members of the stage that is handed in. A part is a folder, written
relative to model.json, and a list of files in it; other files there are not read. So the folders can be moved together,
`export` copies what is listed, and a copy that is not whole is refused by name.
"""

import os
import shutil
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from meiju.config import ComputeConfig, Config, ConfigError, as_settings, from_settings, require
from meiju.data.labels import TASKS, LabelSet
from meiju.text import punctuation
from meiju.training import members
from meiju.utils import files, hub, system

MODEL = "model.json"
FORMAT = 9  # of model.json
TRANSCRIPTS, MEMBERS = "transcripts", "members"  # parts
REMEDY = (
    "run scripts/run_all.sh again, with the run's arguments: what is there is kept; of an exported folder, ask whoever "
    "made it for a whole copy"
)
MADE_UP = (
    "This run has learnt from the sample corpus: drawn faces and made-up voices. Its answers show that everything "
    "works, and tell nothing about real clips."
)


class Part(NamedTuple):
    """Some files of one folder: their hashes by path relative to it."""

    folder: Path
    hashes: dict[str, str]


@dataclass(frozen=True)
class Bundle:
    """What a model.json says.

    parts: by name, see `encoder_part`; models: by name, the `meiju.utils.hub.identity` of the pretrained models that
    the run used as they are; longest: seconds of the longest clip that it has learnt from, 0 where it reads none;
    made_up: whether it has learnt from the sample corpus. Raises ConfigError where these do not fit each other.
    """

    config: Config
    labels: LabelSet
    parts: dict[str, Part]
    models: dict[str, dict]
    longest: float
    made_up: bool

    def __post_init__(self):
        # Before the members are listed one by one: settings that ask for a billion of them must not.
        n_members = len(self.config.model.heads) * self.config.train.seeds * self.config.folds
        n_listed = len(self.parts[MEMBERS].hashes)
        require(n_members == n_listed, f"lists {n_listed} members where its settings ask for {n_members}")
        needed = {MEMBERS: _members(self.config)} | {encoder_part(s): ["fitted.json"] for s in self.config.encoders}
        needed[TRANSCRIPTS] = [] if self.config.punctuation in punctuation.UNRESTORED else [punctuation.RECORD]
        for part, names in needed.items():
            lost = [name for name in names if name not in self.parts[part].hashes]
            require(not lost, f"does not list {part}/{', '.join(lost)}")

    def check(self) -> None:
        """Raise ConfigError naming a file that is missing or changed, and the remedy."""
        for part in self.parts.values():
            for name, known in part.hashes.items():
                path = part.folder / name
                with system.reading(path):
                    require(path.is_file(), f"the run is not whole: {path} is missing; {REMEDY}")
                    require(not files.is_lfs_pointer(path), f"{path} {files.LFS_POINTER}")
                    is_same = files.file_digest(path) == known
                    require(is_same, f"the run is not whole: {path} has changed; {REMEDY}")

    def check_model(self, model: str) -> None:
        """Raise ConfigError where a pretrained model is not at hand, or not the one that the run used."""
        if model in self.models:
            known = hub.identity(model) == self.models[model]
            require(known, f"{model} is another model than the run used, which was {self.models[model]}")


def encoder_part(stream: str) -> str:
    """The part that holds the encoder of a stream."""
    return f"encoders/{stream}"


def write_model(
    folder: Path, config: Config, labels: LabelSet, folders: dict[str, Path], *, longest: float, made_up: bool
) -> None:
    """Write model.json into `folder`, with the hashes of all files that prediction reads.

    folders: where each part lies; longest, made_up: see `Bundle`.
    """
    parts = {}
    for part, place in folders.items():
        if part == MEMBERS:
            paths = [place / name for name in _members(config)]
        elif part == TRANSCRIPTS:
            paths = punctuation.restorer_files(config, place)
        else:
            paths = [path for path in place.rglob("*") if path.is_file() and path.suffix != ".part"]
        parts[part] = Part(place, {p.relative_to(place).as_posix(): files.file_digest(p) for p in sorted(paths)})
    _write(folder, Bundle(config, labels, parts, _identities(config), longest, made_up))


def read(folder: Path) -> Bundle:
    """What the model.json of a folder says; its files are not looked at. Raises ConfigError naming the remedy."""
    path = folder / MODEL
    try:
        model = files.read_json(path)
    except files.Damaged:
        pointer = files.is_lfs_pointer(path)
        raise ConfigError(f"{path} {files.LFS_POINTER}" if pointer else f"{path} cannot be read; {REMEDY}") from None
    known = model.get("format")
    require(known == FORMAT, f"{path} has format {known} where {FORMAT} is wanted; {REMEDY}")
    try:
        return Bundle(
            from_settings(model["settings"]),
            LabelSet(**{task: tuple(model["classes"][task]) for task in TASKS}),
            {name: _read_part(folder, part) for name, part in model["parts"].items()},
            dict(model["models"]),
            float(model["longest"]),
            model["made up"] is True,
        )
    except (AttributeError, KeyError, TypeError, ValueError, ConfigError) as error:
        raise ConfigError(f"{path} is damaged ({str(error) or type(error).__name__}); {REMEDY}") from None


def export(folder: Path, target: Path) -> Bundle:
    """Copy what prediction reads of a run into a new folder that can be passed on: no clip, no transcript, no frames.

    The folder appears whole or not at all. Returns what was copied. Raises ConfigError if there is something at
    `target`, the run is not whole, or the system refuses the copy.
    """
    require(not target.exists(), f"--export: {target} exists; name a new folder")
    bundle = read(folder)
    bundle.check()
    try:
        with files.atomic_folder(target) as folder:
            for name, part in bundle.parts.items():
                for file in part.hashes:
                    (folder / name / file).parent.mkdir(parents=True, exist_ok=True)
                    shutil.copyfile(part.folder / file, folder / name / file)
            parts = {name: part._replace(folder=folder / name) for name, part in bundle.parts.items()}
            _write(folder, replace(bundle, parts=parts))
            require(not target.exists(), f"--export: {target} exists by now; name a new folder")
    except OSError as error:
        raise ConfigError(f"--export: {error}") from None
    return bundle


def find_run(run: str, home: Path) -> Path:
    """The folder with the model.json of a run's name, or of a folder given in its place. Raises ConfigError."""
    for folder in (home / "submissions" / run, Path(run).expanduser()):
        if (folder / MODEL).is_file():
            return folder
    if Path(run).name == run and any((home / place / run).is_dir() for place in ("submissions", "work")):
        raise ConfigError(f"the run {run} is not finished; run scripts/08_ensemble.py first, with the run's arguments")
    known = sorted(path.parent.name for path in home.glob(f"submissions/*/{MODEL}"))
    there = f"there are {', '.join(known)}" if known else "none is finished there; scripts/run_all.sh makes one"
    raise ConfigError(f"there is no run {run} in {home / 'submissions'}, and no such folder with a {MODEL} ({there})")


def _identities(config: Config) -> dict[str, dict]:
    """What the pretrained models are that a run uses as they are; one that is no longer at hand is left out."""
    names = [*config.encoders.values(), config.punctuation]
    used = [name.removeprefix("hf:") for name in names if name.startswith("hf:")]
    used += [config.speech.model] if config.speech.model != "none" else []
    return {model: hub.identity(model) for model in used if hub.is_at_hand(model)}


def _members(config: Config) -> list[str]:
    return [members.weights_name(member) for member in members.plan(config, calibration=False)]


def _write(folder: Path, bundle: Bundle) -> None:
    # Prediction needs none of these, and a run that is passed on shall not tell where they lay.
    without = {"corpus": replace(bundle.config.corpus, root=None), "punctuation_texts": (), "compute": ComputeConfig()}
    settings = as_settings(replace(bundle.config, **without))
    del settings["home"]
    model = {
        "format": FORMAT,
        "longest": bundle.longest,
        "made up": bundle.made_up,
        "settings": settings,
        "classes": {task: list(bundle.labels[task]) for task in TASKS},
        "models": bundle.models,
        "parts": {
            name: {"folder": Path(os.path.relpath(part.folder, folder)).as_posix(), "files": part.hashes}
            for name, part in bundle.parts.items()
        },
    }
    files.write_json(folder / MODEL, model)


def _read_part(folder: Path, part: dict) -> Part:
    outside = [name for name in part["files"] if ".." in PurePosixPath(name).parts or PurePosixPath(name).is_absolute()]
    require(not outside, f"lists {', '.join(outside)} outside of its folder")
    return Part(Path(os.path.normpath(folder / part["folder"])), dict(part["files"]))
