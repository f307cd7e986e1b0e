"""Every setting of a run: typed, checked when it is made, and saved with what it produced.

meiju.presets holds the values of each preset, meiju.cli reads flags.
"""

import dataclasses
import importlib.util
import json
import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import tyro

REPOSITORY = Path(__file__).resolve().parents[2]
SCRIPTS = ".venv/bin/python scripts"  # how messages name a script, to be given in the repository's folder

# A sub-configuration is a group of flags (--train.lr), never a choice between classes.
Flags = tyro.conf.AvoidSubcommands


class ConfigError(Exception):
    """A setting that cannot work; the message names the flag and what it takes.

    No ValueError: tyro would catch it and put the names of our classes in front of the message.
    """


def require(ok: object, message: str) -> None:
    """Refuse a setting unless `ok`."""
    if not ok:
        raise ConfigError(message)


POSITIVE, AT_LEAST_1, LAYER = "above 0", "at least 1", "counted from 1, or from -1 backwards"
NOT_NEGATIVE, SHARE, SHARE_OR_1 = "not negative", "a share in [0, 1)", "a share in [0, 1]"
RANGES: dict[str, Callable[[float], bool]] = {
    POSITIVE: lambda value: value > 0,
    AT_LEAST_1: lambda value: value >= 1,
    LAYER: lambda value: value != 0,
    NOT_NEGATIVE: lambda value: value >= 0,
    SHARE: lambda value: 0 <= value < 1,
    SHARE_OR_1: lambda value: 0 <= value <= 1,
}


def require_within(settings: object, group: str = "", /, **ranges: str) -> None:
    """Refuse a setting of a group outside its range, one of RANGES; what is None is not looked at."""
    for name, range_ in ranges.items():
        value, flag = getattr(settings, name), f"--{group}{name.replace('_', '-')}"
        require(value is None or RANGES[range_](value), f"{flag} is {range_}; got {value}")


@dataclass(frozen=True)
class CorpusConfig:
    """Where the clips are, and how predictions are scored."""

    root: Path | None = None
    """Folder of the corpus in the official layout, e.g. .../Track1/Mandarin."""
    labels: Literal["official", "training-file"] = "official"
    """The challenge's label names, or whatever names the training file holds."""
    average: Literal["weighted", "micro"] = "weighted"
    """How F1 is averaged over classes: weighted by support (Track 1) or micro (Track 2)."""


@dataclass(frozen=True)
class TextConfig:
    """Settings of text encoders."""

    dim: int = 384
    """Dimensions kept by tfidf-svd."""
    ngrams: tuple[int, int] = (1, 3)
    """Shortest and longest character n-gram of tfidf-svd."""
    layer: int | None = None
    """Hidden layer taken from hf: encoders, -1 is the last; None is the mean of the last four."""
    max_frames: int = 0
    """Pool the tokens of hf: encoders to at most this many frames; 0 keeps them all."""
    prefix: str = ""
    """Put before each sentence for hf: encoders, e.g. 'query: ' for the E5 family."""
    batch_tokens: int = 8192
    """Tokens of a batch of hf: encoders, padding included."""

    def __post_init__(self):
        require_within(self, "text.", layer=LAYER, dim=AT_LEAST_1, max_frames=NOT_NEGATIVE, batch_tokens=AT_LEAST_1)
        low, high = self.ngrams
        require(1 <= low <= high, f"--text.ngrams are two lengths, 1 <= shortest <= longest; got {self.ngrams}")


@dataclass(frozen=True)
class AudioConfig:
    """Settings of audio encoders."""

    layer: int | None = None
    """Hidden layer taken from hf: encoders, -1 is the last; None is the means of the lower and the middle third."""
    max_frames: int = 32
    """Pool the frames of hf: encoders (50 a second as a rule) to at most this many; 0 keeps them all."""
    batch_seconds: float = 120.0
    """Seconds of sound of a batch of hf: encoders, padding included."""

    def __post_init__(self):
        require_within(self, "audio.", layer=LAYER, max_frames=NOT_NEGATIVE, batch_seconds=AT_LEAST_1)


@dataclass(frozen=True)
class VisualConfig:
    """Settings of visual encoders."""

    fps: float = 2.0
    """Frames taken from a clip per second."""
    crop: Literal["auto", "face", "frame"] = "auto"
    """See the main face of a clip, and of a clip without a face the whole pictures (auto) or nothing (face); or see
    the whole pictures of all clips (frame)."""
    layer: int | None = -1
    """Hidden layer taken from hf: encoders, -1 is the last (CLIP's projected); None is the mean of the last four."""
    batch_frames: int = 64
    """Pictures of a batch of hf: encoders."""

    def __post_init__(self):
        require_within(self, "visual.", layer=LAYER, batch_frames=AT_LEAST_1)
        require(0 < self.fps <= 60, f"--visual.fps is above 0 and at most 60 frames per second; got {self.fps}")


@dataclass(frozen=True)
class SpeechConfig:
    """Speech recognition for clips without a sentence."""

    model: str = "none"
    """Speech recognition model that transcribes clips without a sentence: a folder, a Hugging Face id, or none."""
    language: str = "auto"
    """Language that is spoken, e.g. zh; auto lets the model find out."""
    batch_size: int = 4
    """Clips that are transcribed at once, where the model's window has a fixed length (Whisper)."""
    prompt: str = "auto"
    """Text that Whisper takes for what was said before, and whose style it follows; auto is one for the language where
    one is known to help (zh), '' is none."""
    simplified: bool = True
    """Write transcripts in simplified Chinese characters, where the language is zh."""

    def __post_init__(self):
        require(self.model != "", "--speech.model is a folder, a Hugging Face id, or none")
        is_language = re.fullmatch(r"[a-z]+", self.language)
        require(is_language, f"--speech.language is a language such as zh or en, or auto; got {self.language!r}")
        require_within(self, "speech.", batch_size=AT_LEAST_1)


@dataclass(frozen=True)
class ModelConfig:
    """The network of one member."""

    fusion: Literal["interactive", "attention", "late", "concat"] = "interactive"
    """How streams and tasks are fused; see meiju.models.fusion."""
    heads: tuple[int, ...] = (1, 2, 4, 8)
    """Attention heads: one set of members is trained for each number, and they are averaged."""
    width: int = 128
    """Width of tokens and hidden layers."""
    input_dropout: float = 0.5
    """Share of the dimensions dropped in training of streams with one frame per clip, such as tfidf-svd."""
    dropout: float = 0.4
    """Share of token and hidden units dropped in training."""
    branch_dropout: float = 0.5
    """Probability that a clip skips an attention block in training (stochastic depth)."""
    modality_dropout: float = 0.2
    """Probability that a stream of a clip is hidden in training."""
    weigh_streams: bool = True
    """Give each task of each stream as much as the stream tells of it; see meiju.models.stream_weights."""
    linear: float = 0.5
    """Weight of the logistic-regression head, on pooled frames, in a member's probabilities; 0 is no head."""

    def __post_init__(self):
        different = 0 < len(set(self.heads)) == len(self.heads)
        require(different, f"--model.heads are one number or several, all different; got {self.heads}")
        divide = all(heads >= 1 and self.width % heads == 0 for heads in self.heads)
        require(divide, f"--model.heads must divide --model.width {self.width}; got {self.heads}")
        shares = ("input_dropout", "dropout", "branch_dropout", "modality_dropout", "linear")
        require_within(self, "model.", **dict.fromkeys(shares, SHARE))


@dataclass(frozen=True)
class TrainConfig:
    """How a member is trained; the number of epochs is fixed, so no held-out row ever chooses it."""

    seeds: int = 1
    """Members per fold and head count; they differ in their random stream."""
    epochs: int = 16
    """Passes over a fold's labelled training rows."""
    batch_size: int = 32
    """Labelled clips per step."""
    lr: float = 2e-3
    """Peak learning rate, reached after warm-up."""
    warmup: float = 0.1
    """Share of all steps in which the rate rises; then it falls to zero along a cosine."""
    weight_decay: float = 0.5
    """AdamW's decoupled decay."""
    label_smoothing: float = 0.1
    """Share of the target that is divided evenly among the classes."""
    class_weights: float = 0.5
    """Exponent on inverse class frequency in the loss: 0 is none, 1 is fully balanced."""
    auxiliary: float = 0.3
    """Weight of the classifiers before the tasks interact."""
    together: int | None = None
    """Members trained side by side as one stacked network, with the same results up to rounding; None is 5 on a CPU,
    and on a GPU as many as fit."""
    average_epochs: int = 5
    """Average the weights at the ends of this many last epochs; 1 uses the last epoch alone."""

    def __post_init__(self):
        counts = ("seeds", "epochs", "batch_size", "together", "average_epochs")
        require_within(self, "train.", **dict.fromkeys(counts, AT_LEAST_1), lr=POSITIVE, class_weights=SHARE_OR_1)
        require_within(self, "train.", warmup=SHARE, label_smoothing=SHARE)
        require_within(self, "train.", weight_decay=NOT_NEGATIVE, auxiliary=NOT_NEGATIVE)
        require(self.average_epochs <= self.epochs, "--train.average-epochs is at most --train.epochs")


@dataclass(frozen=True)
class PseudoConfig:
    """Which predictions on the unlabelled pool become pseudo-labels."""

    gate: Literal["soft", "paper"] = "soft"
    """The whole pool, with calibrated probabilities as targets ('soft'); or the likeliest classes above a confidence as
    the networks give it ('paper')."""
    threshold: float = 0.99
    """Confidence asked for by the gate 'paper'."""

    def __post_init__(self):
        require(0 < self.threshold <= 1, f"--pseudo.threshold is in (0, 1]; got {self.threshold}")


@dataclass(frozen=True)
class Stage2Config:
    """How pseudo-labelled clips enter the second training."""

    weight: float = 0.5
    """Weight of a pseudo-labelled clip in the loss, beside 1 for a labelled one."""
    ratio: float = 1.0
    """Pseudo-labelled clips per labelled clip in every batch; fewer where few were accepted."""
    warm_start: bool = False
    """Start from the weights of the stage-1 member of the same fold, heads and seed instead of from scratch."""

    def __post_init__(self):
        require_within(self, "stage2.", weight=NOT_NEGATIVE)
        require(0 < self.ratio <= 16, f"--stage2.ratio is above 0 and at most 16; got {self.ratio}")


@dataclass(frozen=True)
class ComputeConfig:
    """Where chunks of clips are encoded and groups of members are trained; results do not depend on it."""

    backend: Literal["loky", "dask"] = "loky"
    """Worker processes of this machine, or a Dask cluster."""
    address: str | None = None
    """Where the cluster is, e.g. tcp://host:8786; None starts one on this machine for as long as it is needed."""

    def __post_init__(self):
        has_cluster = self.address is None or self.backend == "dask"
        require(has_cluster, "--compute.address is a cluster's; give --compute.backend dask too")
        installed = self.backend != "dask" or importlib.util.find_spec("distributed")
        require(installed, "--compute.backend dask needs: .venv/bin/python -m pip install 'dask[distributed]'")


SHARED = "_shared"
EMBEDDED_STREAMS = ("text=tfidf-svd", "sentence=e5-small", "audio=smart-turn", "visual=face-geometry")


@dataclass(frozen=True)
class Config:
    """All settings of a run."""

    run: str
    """Name of its folders; with other settings, submissions/<run> is replaced."""
    home: Path = REPOSITORY
    """Folder of work/, folds/ and submissions/."""
    seed: int = 0
    """Seed of all random draws."""
    streams: tuple[str, ...] = EMBEDDED_STREAMS
    """Input streams of a clip, each written name=encoder."""
    punctuation: str = "crf"
    """Restore punctuation in unpunctuated transcripts with crf, a character tagger; with hf:MODEL, a token
    classification model whose labels name marks; leave them as they are with none; or strip them of all marks, and of
    spaces beside Chinese characters, with stripped (to see what marks are worth)."""
    punctuation_texts: tuple[Path, ...] = ()
    """Text files of punctuated sentences, one per line, to learn from besides those of the corpus."""
    folds: int = 5
    """Number of cross-validation folds."""
    folds_by: str = "auto"
    """Kept together: 'dialogue' or 'speaker' (columns), the one there is (auto), none, or a pattern in clips' names."""
    submit: Literal["stage1", "stage2"] = "stage2"
    """The stage whose members make the submission and answer predict.py."""
    variants: tuple[str, ...] = ("all",)
    """What step 10 compares with the run: names of variants, groups of them (see meiju.analysis.ablation), or all."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where networks run; auto uses CUDA if available."""
    jobs: int = 0
    """Worker processes; 0 is one per CPU core. Results do not depend on it."""
    corpus: Flags[CorpusConfig] = field(default_factory=CorpusConfig)
    speech: Flags[SpeechConfig] = field(default_factory=SpeechConfig)
    text: Flags[TextConfig] = field(default_factory=TextConfig)
    audio: Flags[AudioConfig] = field(default_factory=AudioConfig)
    visual: Flags[VisualConfig] = field(default_factory=VisualConfig)
    model: Flags[ModelConfig] = field(default_factory=ModelConfig)
    train: Flags[TrainConfig] = field(default_factory=TrainConfig)
    pseudo: Flags[PseudoConfig] = field(default_factory=PseudoConfig)
    stage2: Flags[Stage2Config] = field(default_factory=Stage2Config)
    compute: Flags[ComputeConfig] = field(default_factory=ComputeConfig)

    def __post_init__(self):
        is_name = re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}", self.run)
        require(is_name, f"--run is a folder's name of letters, digits, '_', '-' and '.'; got {self.run!r}")
        require(self.folds >= 3, f"--folds is at least 3, so that a fold's teacher can be checked; got {self.folds}")
        known = "crf, none, stripped or hf:MODEL, with a folder or Hugging Face id"
        is_known = re.fullmatch(r"crf|none|stripped|hf:.+", self.punctuation)
        require(is_known, f"--punctuation is {known}; got {self.punctuation!r}")
        try:
            re.compile(self.folds_by)
        except re.error as error:
            raise ConfigError(f"--folds-by is no regular expression: {error}; got {self.folds_by!r}") from None
        require(len(self.variants) > 0, "--variants needs at least one name, or all")
        require_within(self, jobs=NOT_NEGATIVE, seed=NOT_NEGATIVE)
        require(len(self.encoders) == len(self.streams), "--streams name a stream twice; each needs a name of its own")

    @property
    def encoders(self) -> dict[str, str]:
        """Encoder by stream name, e.g. {'text': 'tfidf-svd'}."""
        require(len(self.streams) > 0, "--streams needs at least one name=encoder")
        for stream in self.streams:
            is_pair = re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]{0,63}=.+", stream)
            require(is_pair, f"--streams are written name=encoder, e.g. text=tfidf-svd; got {stream!r}")
        return dict(stream.split("=", 1) for stream in self.streams)

    @property
    def n_jobs(self) -> int:
        """Worker processes to start."""
        return self.jobs or os.cpu_count() or 1

    @property
    def work(self) -> Path:
        """Folder of the run's intermediate results."""
        return self.home.absolute() / "work" / self.run  # workers may start elsewhere

    @property
    def shared(self) -> Path:
        """Folder of the results that all runs below `home` share; no run's name begins with '_'."""
        return self.home.absolute() / "work" / SHARED

    @property
    def folds_path(self) -> Path:
        """Table of the run's folds."""
        return self.home / "folds" / f"{self.run}.csv"

    @property
    def submission_dir(self) -> Path:
        """Folder of the run's submission and report."""
        return self.home / "submissions" / self.run


def as_settings(settings: object) -> dict:
    """A configuration, or a group of it, as plain JSON values; paths become strings."""
    return json.loads(json.dumps(dataclasses.asdict(settings), default=str))


def from_settings(settings: object) -> Config:
    """The configuration that `as_settings` turned into plain values; a setting that is not named has its default.

    Raises ConfigError naming each one that there is not, or that cannot be what it is.
    """
    import pydantic  # takes half a second, and only what reads settings back needs it

    try:
        # As JSON, which knows no tuples and no paths: there, a list and a text will do for them, and nothing else.
        return pydantic.TypeAdapter(Config).validate_json(json.dumps(settings), strict=True, extra="forbid")
    except pydantic.ValidationError as error:
        wrong = [(".".join(map(str, one["loc"])), one) for one in error.errors()]
        lines = [f"the setting {name} cannot be {one['input']!r}: {one['msg']}" for name, one in wrong]
        raise ConfigError("; ".join(lines)) from None
