"""What a finished run is made of: model.json, and the files that it lists with their sizes and hashes.

model.json lies beside the submission. It holds the settings, the classes, and the parts that prediction reads: each
stream's encoder, the punctuation restorer, the members of the stage that is handed in. A part is a folder, written
relative to model.json, and a list of files in it; other files there are not read. So the folders can be moved together,
`export` copies what is listed, and a copy that is not whole is refused by name.
"""

import hashlib
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from meiju.config import ComputeConfig, Config, ConfigError, as_settings, from_settings, require
from meiju.data.labels import TASKS, LabelSet
from meiju.text import punctuation
from meiju.training import members
from meiju.utils import files, hub, system

MODEL = "model.json"
FORMAT = 7  # of model.json
TRANSCRIPTS, MEMBERS = "transcripts", "members"  # parts
AGAIN = "run scripts/08_ensemble.py again, with the run's arguments"
ALL_AGAIN = "run scripts/run_all.sh again, with the run's arguments: what is there is kept"
WHOLE_COPY = "ask whoever made the export for a whole copy, or export the run again"
REMEDY = f"{AGAIN}; of an exported folder, {WHOLE_COPY}"
MADE_UP = (
    "This run has learnt from the sample corpus: drawn faces and made-up voices. Its answers show that everything "
    "works, and tell nothing about real clips."
)
SHOWN = 3  # files named in an error


@dataclass(frozen=True)
class Stamp:
    """How a file is known again."""

    bytes: int
    sha256: str

    @classmethod
    def of(cls, path: Path) -> "Stamp":
        """The stamp of a file as it is now."""
        with path.open("rb") as file:
            return cls(path.stat().st_size, hashlib.file_digest(file, "sha256").hexdigest())


@dataclass(frozen=True)
class Part:
    """Some files of one folder: their stamps by path relative to it."""

    folder: Path
    files: dict[str, Stamp]

    def problems(self) -> Iterator[str]:
        """What is wrong with the files, one by one."""
        for name, stamp in self.files.items():
            path = self.folder / name
            with system.reading(path):
                if not path.is_file():
                    yield f"{path} is missing"
                elif files.is_lfs_pointer(path):
                    yield f"{path} {files.LFS_POINTER}"
                elif path.stat().st_size != stamp.bytes:
                    yield f"{path} has {path.stat().st_size} bytes in place of {stamp.bytes}"
                elif Stamp.of(path) != stamp:
                    yield f"{path} has changed"


@dataclass(frozen=True)
class Bundle:
    """What a model.json says.

    parts: by name, see `encoder_part`; models: what
    the pretrained models were that the run used as they are, by name, see `meiju.utils.hub.identity`; exported: whether
    the files are a copy of those of a run; made_up: whether it has learnt from the sample corpus; longest: seconds
    of the longest clip that it has learnt from, None where it reads none. Raises ConfigError where these do not fit
    each other.
    """

    config: Config
    labels: LabelSet
    parts: dict[str, Part]
    models: dict[str, dict]
    exported: bool = False
    made_up: bool = False
    longest: float | None = None

    def __post_init__(self):
        for task in TASKS:
            names = self.labels[task]
            named = all(isinstance(name, str) and name for name in names)
            require(named and 0 < len(set(names)) == len(names), f"the classes of {task} are no different names")
        # Before the members are listed one by one: settings that ask for a billion of them must not.
        n_members = len(self.config.model.heads) * self.config.train.seeds * self.config.folds
        n_listed = len(self.parts[MEMBERS].files) if MEMBERS in self.parts else 0
        require(n_members == n_listed, f"lists {n_listed} members where its settings ask for {n_members}")
        needed = _needed(self.config)
        require(set(self.parts) == set(needed), "describes other streams than its settings name")
        lost = [
            f"{part}/{name}" for part, names in needed.items() for name in names if name not in self.parts[part].files
        ]
        require(not lost, f"does not list {', '.join(lost[:SHOWN])}")

    def check(self) -> None:
        """Raise ConfigError naming the files that are missing, cut or changed, and the remedy."""
        wrong = [problem for part in self.parts.values() for problem in part.problems()]
        more = f"; and {len(wrong) - SHOWN} more" if len(wrong) > SHOWN else ""
        remedy = WHOLE_COPY if self.exported else ALL_AGAIN
        require(not wrong, f"the run is not whole: {'; '.join(wrong[:SHOWN])}{more}; {remedy}")

    def check_model(self, model: str) -> None:
        """Raise ConfigError where a pretrained model is not at hand, or not the one that the run used."""
        if model in self.models:
            known = hub.identity(model) == self.models[model]
            require(known, f"{model} is another model than the run used, which was {self.models[model]}")


def encoder_part(stream: str) -> str:
    """The part that holds the encoder of a stream."""
    return f"encoders/{stream}"


def write_model(
    folder: Path,
    config: Config,
    labels: LabelSet,
    *,
    encoders: dict[str, Path],
    transcripts: Path,
    stage: Path,
    longest: float | None = None,
    made_up: bool = False,
) -> None:
    """Write model.json into `folder`, with the stamps of all files that prediction reads.

    encoders: the folder of each stream's encoder; transcripts, stage: the folders of these steps; longest:
    seconds of the longest training clip, if any stream reads clips; made_up: whether the corpus is the sample. Raises
    ConfigError where the run has lost a file.
    """
    folders = {TRANSCRIPTS: transcripts, MEMBERS: stage} | {encoder_part(s): path for s, path in encoders.items()}
    listed = {part: _list(config, part, folders[part], names) for part, names in _needed(config).items()}
    lost = [str(path) for paths in listed.values() for path in paths if not path.is_file()]
    require(not lost, f"the run has lost {', '.join(lost[:SHOWN])}; run scripts/run_all.sh again, with its arguments")
    parts = {
        part: Part(folders[part], {path.relative_to(folders[part]).as_posix(): Stamp.of(path) for path in paths})
        for part, paths in listed.items()
    }
    _write(folder, Bundle(config, labels, parts, _identities(config), made_up=made_up, longest=longest))


def read(folder: Path) -> Bundle:
    """What the model.json of a folder says; its files are not looked at. Raises ConfigError naming the remedy."""
    path = folder / MODEL
    try:
        model = files.read_json(path)
    except files.Damaged:
        pointer = files.is_lfs_pointer(path)
        raise ConfigError(f"{path} {files.LFS_POINTER}" if pointer else f"{path} cannot be read; {REMEDY}") from None
    require("format" in model, f"{path} describes no run; {REMEDY}")
    require(model["format"] == FORMAT, f"{path} has format {model['format']} where {FORMAT} is wanted; {REMEDY}")
    try:
        return Bundle(
            from_settings(model["settings"]),
            LabelSet(**{task: tuple(model["classes"][task]) for task in TASKS}),
            {name: _read_part(folder, part) for name, part in model["parts"].items()},
            dict(model["models"]),
            model["exported"] is True,
            model["made up"] is True,
            None if model.get("longest") is None else float(model["longest"]),
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
    aside = target.with_name(f"{target.name}.{os.getpid()}.part")
    try:
        for name, part in bundle.parts.items():
            for file in part.files:
                (aside / name / file).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(part.folder / file, aside / name / file)
        parts = {name: replace(part, folder=aside / name) for name, part in bundle.parts.items()}
        _write(aside, replace(bundle, parts=parts, exported=True))
        aside.rename(target)
    except OSError as error:
        raise ConfigError(f"--export: {error}") from None
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return bundle


def find_run(run: str, home: Path) -> Path:
    """The folder with the model.json of a run's name, or of a folder given in its place. Raises ConfigError."""
    by_path = Path(run).expanduser()
    is_name = by_path.name == run
    if is_name and (home / "submissions" / run / MODEL).is_file():
        return home / "submissions" / run
    if (by_path / MODEL).is_file():
        return by_path
    if is_name and any((home / place / run).is_dir() for place in ("submissions", "work")):
        raise ConfigError(f"the run {run} is not finished; run scripts/08_ensemble.py first, with the run's arguments")
    if by_path.is_dir():
        raise ConfigError(f"{by_path} has no {MODEL}; name a folder such as submissions/<run> of a finished run")
    known = sorted(path.parent.name for path in home.glob(f"submissions/*/{MODEL}"))
    there = f"there are {', '.join(known)}" if known else "none is finished there; scripts/run_all.sh makes one"
    raise ConfigError(f"there is no run {run} in {home / 'submissions'}, and no such folder ({there})")


def _identities(config: Config) -> dict[str, dict]:
    """What the pretrained models are that a run uses as they are; one that is no longer at hand is left out."""
    kind, _, restorer = config.punctuation.partition(":")
    used = [name.removeprefix("hf:") for name in config.encoders.values() if name.startswith("hf:")]
    used += [restorer] if kind == "hf" else []
    used += [config.speech.model] if config.speech.model != "none" else []
    return {model: hub.identity(model) for model in used if hub.is_at_hand(model)}


def _needed(config: Config) -> dict[str, list[str]]:
    """The parts of a run, and the files without which each is nothing."""
    needed = {
        TRANSCRIPTS: [] if config.punctuation in punctuation.UNRESTORED else [punctuation.RECORD],
        MEMBERS: [members.weights_name(member) for member in members.plan(config, calibration=False)],
    }
    for stream in config.encoders:
        needed[encoder_part(stream)] = ["fitted.json"]
    return needed


def _list(config: Config, part: str, folder: Path, needed: list[str]) -> list[Path]:
    """The files of a part that prediction reads: what it needs, and what lies beside that."""
    paths = {folder / name for name in needed}
    if part == TRANSCRIPTS:
        paths |= set(punctuation.restorer_files(config, folder))
    elif part != MEMBERS:
        within = {path.parent for path in paths}
        paths |= {path for place in within for path in place.rglob("*") if path.is_file() and path.suffix != ".part"}
    return sorted(paths)


def _write(folder: Path, bundle: Bundle) -> None:
    # Prediction needs none of these, and a run that is passed on shall not tell where they lay.
    without = {"corpus": replace(bundle.config.corpus, root=None), "punctuation_texts": (), "compute": ComputeConfig()}
    settings = as_settings(replace(bundle.config, **without))
    del settings["home"]
    model = {
        "format": FORMAT,
        "exported": bundle.exported,
        "made up": bundle.made_up,
        "longest": bundle.longest,
        "settings": settings,
        "classes": {task: list(bundle.labels[task]) for task in TASKS},
        "models": bundle.models,
        "parts": {
            name: {
                "folder": Path(os.path.relpath(part.folder, folder)).as_posix(),
                "files": {file: vars(stamp) for file, stamp in part.files.items()},
            }
            for name, part in bundle.parts.items()
        },
    }
    files.write_json(folder / MODEL, model)


def _read_part(folder: Path, part: dict) -> Part:
    stamps = {name: Stamp(**stamp) for name, stamp in part["files"].items()}
    outside = [name for name in stamps if ".." in PurePosixPath(name).parts or PurePosixPath(name).is_absolute()]
    require(not outside, f"lists {', '.join(outside)} outside of its folder")
    return Part(Path(os.path.normpath(folder / part["folder"])), stamps)
