"""A finished run, ready to say what any clip carries.

model.json, beside the submission, names the settings, the classes and where the weights, the encoders and the
punctuation restorer lie, relative to itself; so the folders can be moved together, and no corpus is needed. Clips take
the same way as in training, rounding included: a test clip gets the probabilities that it has in the submission.
"""

import math
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.special import softmax
from tqdm import tqdm

from meiju import ensemble, features, files, members, transcripts
from meiju.config import Config, ConfigError, as_settings, from_settings, require
from meiju.devices import pick_device
from meiju.encoders import Clip, Encoder, NoFrames, make_encoder
from meiju.labels import TASKS, LabelSet
from meiju.training import Frames, predict
from meiju.tuning import TunedText

MODEL = "model.json"
FORMAT = 3  # of model.json
REMEDY = "run scripts/08_ensemble.py again, with the run's arguments"


@dataclass(frozen=True)
class Prediction:
    """What a run says of one clip.

    probabilities[task]: by label, in the order of the classes; none where nothing of the clip could be read.
    missing: why a stream of the run is not used, by stream; `streams` are the others.
    """

    clip: Clip
    probabilities: dict[str, dict[str, float]]
    streams: tuple[str, ...]
    missing: dict[str, str]

    def label(self, task: str) -> str:
        """The likeliest label, or "" where there is no prediction."""
        said = self.probabilities[task]
        return max(said, key=said.get) if said else ""

    @property
    def problem(self) -> str:
        """Why there is no prediction, or "" where there is one."""
        reasons = "; ".join(f"{stream}: {reason}" for stream, reason in self.missing.items())
        return "" if self.streams else f"nothing to go by ({reasons})"


def write_model(
    folder: Path,
    config: Config,
    labels: LabelSet,
    *,
    encoders: dict[str, Path],
    transcripts: Path,
    stage2: Path,
    weights: dict[str, np.ndarray] | None,
) -> None:
    """Write model.json into `folder`.

    encoders: the folder of each stream's encoder; transcripts, stage2: the folders of these steps; weights: of the
    head counts by task, or None for the plain mean.
    """

    def place(path: Path) -> str:
        return Path(os.path.relpath(path, folder)).as_posix()

    # Neither the corpus nor the home is needed, and a run that is passed on shall not tell where they lay.
    settings = as_settings(replace(config, corpus=replace(config.corpus, root=None)))
    del settings["home"]
    model = {
        "format": FORMAT,
        "settings": settings,
        "classes": {task: list(labels[task]) for task in TASKS},
        "encoders": {stream: place(path) for stream, path in encoders.items()},
        "transcripts": place(transcripts),
        "stage2": place(stage2),
        "weights": weights and {task: weight.tolist() for task, weight in weights.items()},
    }
    files.write_json(folder / MODEL, model)


def export(folder: Path, target: Path) -> None:
    """Copy what `Predictor` reads of a run into a new folder that can be passed on: no clip, no transcript, no frames.

    Raises ConfigError if there is something at `target`, or the run has lost a folder.
    """
    require(not target.exists(), f"--export: {target} exists; name a new folder")
    model = _read_model(folder)
    for stream, encoder in model["encoders"].items():
        # Of a tuned: stream, the networks alone: the rest says something of each clip.
        leave = shutil.ignore_patterns("said-*", "without-*")
        shutil.copytree(_there(folder / encoder), target / "encoders" / stream, ignore=leave)
    for place, pattern in (
        ("stage2", "*.safetensors"),
        ("transcripts", "restorer*"),
        ("transcripts", "punctuation.json"),
    ):
        (target / place).mkdir(exist_ok=True)
        for path in _there(folder / model[place]).glob(pattern):
            (shutil.copytree if path.is_dir() else shutil.copy2)(path, target / place / path.name)
    moved = {stream: f"encoders/{stream}" for stream in model["encoders"]}
    # Last: it says that the rest is whole.
    files.write_json(target / MODEL, model | {"encoders": moved, "stage2": "stage2", "transcripts": "transcripts"})


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


CHUNK = 32  # clips that are encoded and judged together


class Predictor:
    """A run's restorer, encoders and stage-2 members, read from the folder of its model.json.

    Raises ConfigError where something of the run is missing or of another version.
    """

    def __init__(self, folder: Path, *, device: str = "auto"):
        model = _read_model(folder)
        self.device = pick_device(device)
        self.config = replace(from_settings(model["settings"]), device=self.device.type)
        self.labels = LabelSet(**{task: tuple(model["classes"][task]) for task in TASKS})
        if set(self.config.encoders) != set(model["encoders"]):
            raise ConfigError(f"{folder / MODEL} describes other streams than its settings name; {REMEDY}")
        heads = len(self.config.model.heads)
        if model["weights"] and any(len(weights) != heads for weights in model["weights"].values()):
            raise ConfigError(f"{folder / MODEL} weighs other head counts than its settings name; {REMEDY}")
        self.weights = model["weights"] and {task: np.array(model["weights"][task]) for task in TASKS}
        self._restorer = transcripts.load_restorer(self.config, _there(folder / model["transcripts"]))
        self.encoders: dict[str, Encoder] = {}
        self.unusable: dict[str, str] = {}  # reason by stream
        for stream, encoder in model["encoders"].items():
            self._load_encoder(stream, _there(folder / encoder))
        self._networks = self._load_members(_there(folder / model["stage2"]))
        self._widths = next(iter(self._networks.values())).shape.streams

    def predict(self, clips: Sequence[Clip]) -> list[Prediction]:
        """What is likely of each clip, in order, from whatever of it can be read."""
        predictions = []
        disable = True if len(clips) == 1 else None
        with tqdm(total=len(clips), desc="predicting", unit="clip", disable=disable) as bar:
            for k in range(0, len(clips), CHUNK):
                chunk = clips[k : k + CHUNK]
                predictions += self._predict(chunk)
                bar.update(len(chunk))
        return predictions

    def _load_encoder(self, stream: str, folder: Path) -> None:
        name = self.config.encoders[stream]
        if stream in self.config.tuned:
            self.encoders[stream] = TunedText({task: len(self.labels[task]) for task in TASKS}, self.device)
            self.encoders[stream].load(folder)
            return
        try:
            encoder = make_encoder(name, self.config)
        except ConfigError as error:
            # Ready-made frames cover the corpus they were made of; elsewhere a clip can do without them.
            if not name.startswith("npy:"):
                raise
            self.unusable[stream] = str(error)
            return
        _there(folder / "fitted.json")
        features.load_fitted(encoder, folder)
        self.encoders[stream] = encoder

    def _load_members(self, folder: Path) -> dict:
        by_heads = {}
        for heads in self.config.model.heads:
            chosen = [member for member in members.plan(self.config, checks=False) if member.heads == heads]
            for member in chosen:
                _there(folder / members.weights_name(member))
            try:
                by_heads[heads] = members.load_network(folder, chosen, self.config.model, self.device)
            except files.Damaged as error:  # or of another shape than the settings say
                raise ConfigError(f"the weights in {folder} cannot be loaded: {error}") from None
        return by_heads

    def _predict(self, clips: Sequence[Clip]) -> list[Prediction]:
        clips = [replace(clip, sentence=self._sentence(clip)) for clip in clips]
        encoded = {stream: self._encode(stream, clips) for stream in self._widths}
        names = [str(k) for k in range(len(clips))]  # clips' own may stand twice
        stores = {stream: _store([frames for frames, _ in of_clips], names) for stream, of_clips in encoded.items()}
        said = self._vote(Frames(stores, names, self.device), len(clips))
        return [self._prediction(k, clip, encoded, said) for k, clip in enumerate(clips)]

    def _sentence(self, clip: Clip) -> str:
        """What the text encoders read: the clip's sentence, refined as the run's transcripts were."""
        return self._restorer.restore(clip.sentence) if self._restorer else clip.sentence

    def _encode(self, stream: str, clips: Sequence[Clip]) -> list[tuple[np.ndarray, str]]:
        """Frames as the feature store keeps them and, where there are none, the reason."""
        if stream in self.unusable:
            given = [NoFrames(self.unusable[stream])] * len(clips)
        else:
            given = self.encoders[stream].encode(clips)
        return [features.checked(frames, self._widths[stream]) for frames in given]

    def _vote(self, frames: Frames, n_clips: int) -> ensemble.Probabilities:
        """The mean over folds and seeds, then over head counts, as for the submission."""
        by_heads = {}
        for heads, network in self._networks.items():
            logits = predict(network, frames, np.arange(n_clips))
            if not all(np.isfinite(logits[task]).all() for task in TASKS):
                raise ConfigError(f"the run's weights for {heads} heads are damaged: they give no finite numbers")
            by_heads[heads] = {task: softmax(logits[task].astype(np.float64), axis=-1).mean(axis=0) for task in TASKS}
        return ensemble.combine(by_heads, self.weights)

    def _prediction(self, k: int, clip: Clip, encoded: dict, said: ensemble.Probabilities) -> Prediction:
        """Clip k of a chunk; where no stream of it could be read, the networks' guess at nothing is dropped."""
        missing = {stream: of_clips[k][1] for stream, of_clips in encoded.items() if len(of_clips[k][0]) == 0}
        used = tuple(stream for stream in encoded if stream not in missing)
        probabilities = {
            task: dict(zip(self.labels[task], said[task][k].tolist(), strict=True)) if used else {} for task in TASKS
        }
        return Prediction(clip, probabilities, used, missing)


def _read_model(folder: Path) -> dict:
    path = _there(folder / MODEL)
    try:
        model = files.read_json(path)
    except files.Damaged:
        raise ConfigError(f"{path} cannot be read; {REMEDY}") from None
    require(isinstance(model, dict) and "format" in model, f"{path} describes no run; {REMEDY}")
    require(model["format"] == FORMAT, f"{path} has format {model['format']} where {FORMAT} is wanted; {REMEDY}")
    lost = [key for key in ("settings", "classes", "encoders", "transcripts", "stage2", "weights") if key not in model]
    require(not lost, f"{path} has lost {', '.join(lost)}; {REMEDY}")
    require(
        _is_whole(model), f"{path} is damaged: it does not describe classes, encoders, folders and weights; {REMEDY}"
    )
    return model


def _is_whole(model: dict) -> bool:
    """Whether all but the settings, which are checked as they are read, is of the form that `write_model` gives it."""

    def by_task(value: object, fits: Callable[[list], bool]) -> bool:
        return (
            isinstance(value, dict)
            and set(value) == set(TASKS)
            and all(isinstance(v, list) and v and fits(v) for v in value.values())
        )

    def are_names(value: list) -> bool:
        return all(isinstance(v, str) and v for v in value) and len(set(value)) == len(value)

    def are_weights(value: list) -> bool:
        numbers = all(type(v) in (int, float) and 0 <= v <= 1 for v in value)
        return numbers and math.isclose(sum(value), 1, abs_tol=1e-6)

    encoders, weights = model["encoders"], model["weights"]
    return (
        by_task(model["classes"], are_names)
        and isinstance(encoders, dict)
        and all(
            isinstance(place, str) and "\0" not in place
            for place in (*encoders.values(), model["transcripts"], model["stage2"])
        )
        and (weights is None or by_task(weights, are_weights))
    )


def _there(path: Path) -> Path:
    """The path, if it exists. Raises ConfigError naming the remedy."""
    if not path.exists():
        raise ConfigError(f"the run has lost {path}; run scripts/run_all.sh again, with the run's arguments")
    return path


def _store(frames: list[np.ndarray], names: list[str]) -> features.Store:
    """Frames of some clips, each [frames, dim], as a feature store in memory."""
    stop = np.cumsum([len(f) for f in frames])
    index = pd.DataFrame({"start": stop - [len(f) for f in frames], "stop": stop}, pd.Index(names))
    return features.Store(np.concatenate(frames), index, missing=pd.DataFrame(), meta={})
