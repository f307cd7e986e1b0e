"""Every setting of a run: typed, checked when it is made, and saved with what it produced.

`parse_config` turns `<preset> --group.field value` into a `Config`. The presets differ in values only: nothing else in
the package asks which preset it runs.
"""

import dataclasses
import importlib.util
import os
import re
import sys
import types
import typing
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NoReturn, TypeVar

import tyro

REPOSITORY = Path(__file__).resolve().parents[2]
SCRIPTS = ".venv/bin/python scripts"  # how messages name a script, to be given in the repository's folder

# How a stream is named whose encoder learns from labels, and so differs from fold to fold.
TUNED = "tuned:"

# A sub-configuration is a group of flags (--train.lr), never a choice between classes.
Flags = tyro.conf.AvoidSubcommands


class ConfigError(Exception):
    """A setting that cannot work; the message names the flag and what it takes.

    No ValueError: tyro would catch it and put the names of our classes in front of the message.
    """


def require(ok: bool, message: str) -> None:
    """Refuse a setting unless `ok`."""
    if not ok:
        raise ConfigError(message)


def require_pretrained(group: str, settings: object, *, batch: str) -> None:
    """Check the settings of hf: encoders that the groups text, audio and visual share."""
    require(settings.layer != 0, f"--{group}.layer counts from 1, or from -1 backwards; got 0")
    require(settings.max_frames >= 0, f"--{group}.max-frames is not negative; got {settings.max_frames}")
    size = getattr(settings, batch)
    require(size >= 1, f"--{group}.{batch.replace('_', '-')} is at least 1; got {size}")


@dataclass(frozen=True)
class CorpusConfig:
    """Where the clips are, and how predictions are scored."""

    root: Path | None = None
    """Folder of the corpus in the official layout, e.g. .../Track1/Mandarin."""
    labels: Literal["official", "training-file"] = "official"
    """The challenge's label names, or whatever names the training file holds."""
    average: Literal["weighted", "micro"] = "weighted"
    """How F1 is averaged over classes: weighted by support (Track 1) or micro (Track 2)."""
    follow_links: bool = False
    """Follow links that lead out of the corpus' folder."""


@dataclass(frozen=True)
class TextConfig:
    """Settings of text encoders."""

    dim: int = 384
    """Dimensions kept by tfidf-svd."""
    ngrams: tuple[int, int] = (1, 3)
    """Shortest and longest character n-gram of tfidf-svd."""
    idf: bool = False
    """Weigh n-grams of tfidf-svd by their rarity; the common ones, though, tell a question from a statement."""
    layer: int | None = None
    """Hidden layer taken from hf: encoders, -1 is the last; None is the mean of the last four."""
    max_frames: int = 0
    """Pool the tokens of hf: encoders to at most this many frames; 0 keeps them all."""
    prefix: str = ""
    """Put before each sentence for hf: encoders, e.g. 'query: ' for the E5 family."""
    batch_tokens: int = 8192
    """Tokens of a batch of hf: encoders, padding included."""

    def __post_init__(self):
        require_pretrained("text", self, batch="batch_tokens")
        require(self.dim >= 1, f"--text.dim is at least 1; got {self.dim}")
        low, high = self.ngrams
        require(1 <= low <= high, f"--text.ngrams are two lengths, 1 <= shortest <= longest; got {self.ngrams}")


@dataclass(frozen=True)
class TuneConfig:
    """How the networks of tuned: streams are fine-tuned on the labels."""

    epochs: int = 4
    """Passes over the labelled sentences."""
    lr: float = 3e-5
    """Peak learning rate."""
    batch_size: int = 32
    """Sentences a step."""

    def __post_init__(self):
        for name in ("epochs", "batch_size"):
            value = getattr(self, name)
            require(value >= 1, f"--tune.{name.replace('_', '-')} is at least 1; got {value}")
        require(self.lr > 0, f"--tune.lr is above 0; got {self.lr}")


@dataclass(frozen=True)
class AudioConfig:
    """Settings of audio encoders."""

    layer: int | None = None
    """Hidden layer taken from hf: encoders, -1 is the last; None is the means of the lower and the middle third."""
    max_frames: int = 32
    """Pool the frames of hf: encoders (50 a second as a rule) to at most this many; 0 keeps them all."""
    block: float = 20.0
    """Longer sound is cut into blocks of this many seconds for hf: encoders (Whisper's are its own 30)."""
    batch_seconds: float = 120.0
    """Seconds of sound of a batch of hf: encoders, padding included."""

    def __post_init__(self):
        require_pretrained("audio", self, batch="batch_seconds")
        require(self.block >= 1, f"--audio.block is at least 1 second; got {self.block}")


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
    max_frames: int = 0
    """Pool the frames of hf: encoders to at most this many; 0 keeps them all."""
    batch_frames: int = 64
    """Pictures of a batch of hf: encoders."""

    def __post_init__(self):
        require_pretrained("visual", self, batch="batch_frames")
        require(0 < self.fps <= 60, f"--visual.fps is above 0 and at most 60 frames per second; got {self.fps}")


@dataclass(frozen=True)
class SpeechConfig:
    """Speech recognition for clips without a sentence."""

    model: str = "none"
    """Speech recognition model that hears clips without a sentence: a folder, a Hugging Face id, or none."""
    language: str = "auto"
    """Language that is spoken, e.g. zh; auto lets the model find out."""
    batch_size: int = 16
    """Clips that are heard at once, where the model's window has a fixed length (Whisper)."""
    prompt: str = "auto"
    """Text that Whisper takes for what was said before, and whose style it follows; auto is one for the language where
    one is known to help (zh), '' is none."""
    simplified: bool = True
    """Write what is heard in simplified Chinese characters, where the language is zh."""

    def __post_init__(self):
        require(self.model != "", "--speech.model is a folder, a Hugging Face id, or none")
        require(
            re.fullmatch(r"[a-z]+", self.language) is not None,
            f"--speech.language is a language such as zh or en, or auto; got {self.language!r}",
        )
        require(self.batch_size >= 1, f"--speech.batch-size is at least 1; got {self.batch_size}")


@dataclass(frozen=True)
class ModelConfig:
    """The network of one member."""

    fusion: Literal["interactive", "attention", "late", "concat"] = "interactive"
    """How streams and tasks are fused; see meiju.fusion."""
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
    """Give each task of each stream as much as the stream tells of it; see meiju.stream_weights."""
    linear: float = 0.5
    """Weight of the logistic-regression head, on pooled frames, in a member's probabilities; 0 is no head."""

    def __post_init__(self):
        require(len(self.heads) > 0, "--model.heads needs at least one number")
        require(len(set(self.heads)) == len(self.heads), f"--model.heads are all different; got {self.heads}")
        for heads in self.heads:
            require(
                heads >= 1 and self.width % heads == 0,
                f"--model.heads must divide --model.width {self.width}; got {heads}",
            )
        for name in ("input_dropout", "dropout", "branch_dropout", "modality_dropout"):
            rate = getattr(self, name)
            require(0 <= rate < 1, f"--model.{name.replace('_', '-')} is a share in [0, 1); got {rate}")
        require(0 <= self.linear < 1, f"--model.linear is a share in [0, 1); got {self.linear}")


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
    clip: float = 1.0
    """Largest norm of one member's gradient."""
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
    labelled_share: float = 1.0
    """Share of the labelled clips to train on, drawn from every fold; all are scored (low-resource curve)."""

    def __post_init__(self):
        for name in ("seeds", "epochs", "batch_size", "together", "average_epochs"):
            value = getattr(self, name)
            require(value is None or value >= 1, f"--train.{name.replace('_', '-')} is at least 1; got {value}")
        require(self.average_epochs <= self.epochs, "--train.average-epochs is at most --train.epochs")
        require(self.lr > 0, f"--train.lr is above 0; got {self.lr}")
        require(0 <= self.warmup < 1, f"--train.warmup is a share of all steps, in [0, 1); got {self.warmup}")
        require(self.weight_decay >= 0, f"--train.weight-decay is not negative; got {self.weight_decay}")
        require(self.clip > 0, f"--train.clip is above 0; got {self.clip}")
        require(0 <= self.label_smoothing < 1, f"--train.label-smoothing is in [0, 1); got {self.label_smoothing}")
        require(0 <= self.class_weights <= 1, f"--train.class-weights is in [0, 1]; got {self.class_weights}")
        require(self.auxiliary >= 0, f"--train.auxiliary is not negative; got {self.auxiliary}")
        require(0 < self.labelled_share <= 1, f"--train.labelled-share is in (0, 1]; got {self.labelled_share}")


@dataclass(frozen=True)
class PseudoConfig:
    """Which predictions on the unlabelled pool become pseudo-labels."""

    gate: Literal["soft", "precision", "fixed", "paper"] = "soft"
    """The whole pool, with calibrated probabilities as targets ('soft'); or the likeliest classes above a confidence:
    the lowest that is shown to reach a precision, one calibrated confidence for all, or one as the networks give it
    ('paper')."""
    threshold: float = 0.99
    """Confidence asked for by the gates 'fixed' and 'paper'; 0.99 is the paper's, of its own networks' softmax."""
    precision: float = 0.75
    """Precision asked for by the precision gate: its lower 95 % bound on rows the estimating models never saw."""
    cap: float | None = None
    """Per class, accept at most this many times its labelled clips, the surest first; None is no cap."""
    plausible_pairs: bool = True
    """Drop a clip whose likeliest emotion-intent pair never occurs among the fold's labelled clips; not with 'soft'."""
    joint_gate: bool = False
    """One gate for both tasks: a clip is accepted where the less sure of its two labels passes, or not at all."""
    rounds: int = 1
    """Rounds of labelling and second training; the second-stage members of a fold are its teachers in the next."""

    def __post_init__(self):
        require(0 < self.threshold <= 1, f"--pseudo.threshold is in (0, 1]; got {self.threshold}")
        require(0 < self.precision < 1, f"--pseudo.precision is in (0, 1): no rows can show 1; got {self.precision}")
        require(self.cap is None or self.cap > 0, f"--pseudo.cap is above 0, or None; got {self.cap}")
        require(1 <= self.rounds <= 9, f"--pseudo.rounds is between 1 and 9; got {self.rounds}")


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
        require(self.weight >= 0, f"--stage2.weight is not negative; got {self.weight}")
        require(0 < self.ratio <= 16, f"--stage2.ratio is above 0 and at most 16; got {self.ratio}")


@dataclass(frozen=True)
class ComputeConfig:
    """Where chunks of clips are encoded and groups of members are trained; results do not depend on it."""

    backend: Literal["loky", "dask", "ray"] = "loky"
    """Worker processes of this machine, or a Dask or Ray cluster."""
    address: str | None = None
    """Where the cluster is, e.g. tcp://host:8786; None starts one on this machine for as long as it is needed."""

    def __post_init__(self):
        require(
            self.address is None or self.backend != "loky",
            "--compute.address is a cluster's; say which kind with --compute.backend dask or ray",
        )
        for backend, module, package in (("dask", "distributed", "dask[distributed]"), ("ray", "ray", "ray")):
            require(
                self.backend != backend or importlib.util.find_spec(module) is not None,
                f"--compute.backend {backend} needs: .venv/bin/python -m pip install '{package}'",
            )


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
    classification model whose labels name marks; with fit:ENCODER, fine-tuned; leave them as they are with none; or
    strip them of all marks, and of spaces beside Chinese characters, with stripped (to see what marks are worth)."""
    punctuation_texts: tuple[Path, ...] = ()
    """Text files of punctuated sentences, one per line, to learn from besides those of the corpus."""
    punctuation_epochs: int = 3
    """Passes over the sentences that fit:ENCODER learns from."""
    punctuation_lr: float = 5e-5
    """Peak learning rate of fit:ENCODER."""
    folds: int = 5
    """Number of cross-validation folds."""
    folds_by: str = "auto"
    """Kept together: 'dialogue' or 'speaker' (columns), the one there is (auto), none, or a pattern in clips' names."""
    ensemble: Literal["mean", "out-of-fold"] = "mean"
    """Weights of the head counts: all alike, or fitted on out-of-fold predictions."""
    submit: Literal["stage1", "stage2"] = "stage2"
    """The stage whose members make the submission and answer predict.py."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where networks run; auto uses CUDA if available."""
    jobs: int = 0
    """Worker processes; 0 is one per CPU core. Results do not depend on it."""
    corpus: Flags[CorpusConfig] = field(default_factory=CorpusConfig)
    speech: Flags[SpeechConfig] = field(default_factory=SpeechConfig)
    text: Flags[TextConfig] = field(default_factory=TextConfig)
    tune: Flags[TuneConfig] = field(default_factory=TuneConfig)
    audio: Flags[AudioConfig] = field(default_factory=AudioConfig)
    visual: Flags[VisualConfig] = field(default_factory=VisualConfig)
    model: Flags[ModelConfig] = field(default_factory=ModelConfig)
    train: Flags[TrainConfig] = field(default_factory=TrainConfig)
    pseudo: Flags[PseudoConfig] = field(default_factory=PseudoConfig)
    stage2: Flags[Stage2Config] = field(default_factory=Stage2Config)
    compute: Flags[ComputeConfig] = field(default_factory=ComputeConfig)

    def __post_init__(self):
        require(
            re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}", self.run) is not None,
            f"--run is a folder's name of letters, digits, '_', '-' and '.'; got {self.run!r}",
        )
        require(self.folds >= 3, f"--folds is at least 3, so that a fold's teacher can be checked; got {self.folds}")
        require(
            re.fullmatch(r"crf|none|stripped|(hf|fit):.+", self.punctuation) is not None,
            "--punctuation is crf, none, stripped, hf:MODEL or fit:ENCODER, with a folder or Hugging Face id; "
            f"got {self.punctuation!r}",
        )
        require(self.punctuation_epochs >= 1, f"--punctuation-epochs is at least 1; got {self.punctuation_epochs}")
        require(self.punctuation_lr > 0, f"--punctuation-lr is above 0; got {self.punctuation_lr}")
        try:
            re.compile(self.folds_by)
        except re.error as error:
            raise ConfigError(f"--folds-by is no regular expression: {error}; got {self.folds_by!r}") from None
        require(self.jobs >= 0, f"--jobs is not negative; got {self.jobs}")
        require(self.seed >= 0, f"--seed is not negative; got {self.seed}")
        require(len(self.encoders) == len(self.streams), "--streams name a stream twice; each needs a name of its own")
        require(
            not self.tuned or self.folds >= 4,
            f"--folds is at least 4 with tuned: streams, whose networks leave out three folds; got {self.folds}",
        )
        require(
            not self.tuned or self.train.labelled_share == 1,
            "--train.labelled-share: tuned: streams learn from all labels; leave them out",
        )
        require(
            self.train.labelled_share == 1 or self.ensemble == "mean",
            "--ensemble out-of-fold fits weights on all labelled clips; with --train.labelled-share take mean",
        )

    @property
    def encoders(self) -> dict[str, str]:
        """Encoder by stream name, e.g. {'text': 'tfidf-svd'}."""
        require(len(self.streams) > 0, "--streams needs at least one name=encoder")
        for stream in self.streams:
            require(
                re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]{0,63}=.+", stream) is not None,
                f"--streams are written name=encoder, e.g. text=tfidf-svd; got {stream!r}",
            )
        return dict(stream.split("=", 1) for stream in self.streams)

    @property
    def tuned(self) -> dict[str, str]:
        """Pretrained model by stream, of the streams that are fine-tuned on labels (see meiju.text_tuning)."""
        return {stream: name[len(TUNED) :] for stream, name in self.encoders.items() if name.startswith(TUNED)}

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


def as_settings(value: object) -> object:
    """A configuration as plain JSON values; paths become strings."""
    if dataclasses.is_dataclass(value):
        return {f.name: as_settings(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, tuple | list):
        return [as_settings(v) for v in value]
    return str(value) if isinstance(value, Path) else value


def from_settings(settings: dict, kind: type = Config) -> Config:
    """The configuration that `as_settings` turned into plain values; a setting that is not named has its default.

    Raises ConfigError for one that `kind` does not have, or that cannot work.
    """
    require(isinstance(settings, dict), f"settings of {kind.__name__} are named values; got {settings!r}")
    hints = typing.get_type_hints(kind)
    unknown = sorted(set(settings) - {f.name for f in dataclasses.fields(kind)})
    require(not unknown, f"no such settings: {', '.join(unknown)}; were they made by another version?")
    lost = [f.name for f in dataclasses.fields(kind) if f.name not in settings and _has_no_default(f)]
    require(not lost, f"settings of {kind.__name__} have lost {', '.join(lost)}")
    typed = {name: _as_typed(value, hints[name]) for name, value in settings.items()}
    for name, value in typed.items():
        require(_is_a(value, hints[name]), f"the setting {name} of {kind.__name__} cannot be {settings[name]!r}")
    return kind(**typed)


def _as_typed(value: object, hint: object) -> object:
    """A plain value as what a field of type `hint` holds: JSON knows no tuples, paths or nested configurations."""
    if dataclasses.is_dataclass(hint):
        return from_settings(value, hint)
    kinds = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    if isinstance(value, list):
        items = [typing.get_args(kind)[0] for kind in kinds if typing.get_origin(kind) is tuple]
        if not items:
            return value
        (item,) = items
        return tuple(_as_typed(v, item) for v in value)  # all items of our tuples have one type
    return Path(value) if isinstance(value, str) and Path in kinds else value


def _has_no_default(field: dataclasses.Field) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def _is_a(value: object, hint: object) -> bool:
    """Whether a value is what a field of type `hint` holds; a whole number will do for a float, a truth for neither."""
    if isinstance(hint, types.UnionType):
        return any(_is_a(value, kind) for kind in typing.get_args(hint))
    if typing.get_origin(hint) is Literal:
        return isinstance(value, str) and value in typing.get_args(hint)
    if typing.get_origin(hint) is tuple:
        items = typing.get_args(hint)
        if not isinstance(value, tuple) or (items[-1] is not ... and len(value) != len(items)):
            return False
        return all(_is_a(v, items[0]) for v in value)
    if hint in (int, float):
        return type(value) in ((int,) if hint is int else (int, float))
    return isinstance(value, typing.get_origin(hint) or hint)


# What wins on clips of this kind: HuBERT and CLIP lead the rankings of MERBench and the MER challenges, RoBERTa and
# MacBERT change places from year to year, so both are in.
MANDARIN_STREAMS = (
    "roberta=hf:hfl/chinese-roberta-wwm-ext-large",
    "macbert=hf:hfl/chinese-macbert-large",
    "audio=hf:TencentGameMate/chinese-hubert-large",
    "visual=hf:openai/clip-vit-large-patch14",
)
ENGLISH_STREAMS = (
    "text=hf:FacebookAI/roberta-large",
    "audio=hf:facebook/hubert-large-ll60k",
    "visual=hf:openai/clip-vit-large-patch14",
)


def _challenge(run: str, average: Literal["weighted", "micro"], language: str) -> Config:
    return Config(
        run,
        streams=MANDARIN_STREAMS if language == "zh" else ENGLISH_STREAMS,
        corpus=CorpusConfig(average=average),
        # The unlabelled pool comes without transcripts.
        speech=SpeechConfig(model="openai/whisper-large-v3", language=language),
        # Faces, as in the features that those rankings are of.
        visual=VisualConfig(crop="auto", fps=2.0),
    )


SAMPLE_ROOT = REPOSITORY / "work" / "sample-corpus"

PRESETS: dict[str, tuple[str, Config]] = {
    # Two numbers of heads, so that a first run takes four minutes at most.
    "sample": (
        "The embedded, made-up sample corpus.",
        Config("sample", corpus=CorpusConfig(root=SAMPLE_ROOT), model=ModelConfig(heads=(2, 8))),
    ),
    "track1-mandarin": ("MEIJU@2025 Track 1, Mandarin.", _challenge("track1-mandarin", "weighted", "zh")),
    "track1-english": ("MEIJU@2025 Track 1, English.", _challenge("track1-english", "weighted", "en")),
    "track2-mandarin": ("MEIJU@2025 Track 2, Mandarin.", _challenge("track2-mandarin", "micro", "zh")),
    "track2-english": ("MEIJU@2025 Track 2, English.", _challenge("track2-english", "micro", "en")),
    "custom": (
        "Any corpus in the official layout, with label names of its own.",
        Config("custom", corpus=CorpusConfig(labels="training-file")),
    ),
    "small": (
        "As custom, with the small speech encoder of Whisper base: for a laptop, after a download of 0.3 GB.",
        Config(
            "small",
            corpus=CorpusConfig(labels="training-file"),
            streams=(*EMBEDDED_STREAMS, "sound=hf:openai/whisper-base"),
            speech=SpeechConfig(model="openai/whisper-base"),
        ),
    ),
}


@dataclass(frozen=True)
class AblationConfig(Config):
    """A run, and which of its variants are wanted."""

    variants: tuple[str, ...] = ("all",)
    """Names of variants or of groups of them (see meiju.analysis.ablation), or all."""

    def __post_init__(self):
        super().__post_init__()
        require(len(self.variants) > 0, "--variants needs at least one name, or all")


C = TypeVar("C", bound=Config)


# What a script's --help shows besides ALWAYS_SHOWN: the settings that decide its step, a whole group or group.setting.
PUNCTUATION = ("punctuation", "punctuation_texts", "punctuation_epochs", "punctuation_lr")
COMPUTING = ("seed", "device", "jobs", "compute")
SHOWN_BY_HELP: dict[str, tuple[str, ...]] = {
    "00_make_sample": ("seed", "jobs"),
    "01_transcribe": ("device", "speech"),
    "02_refine_punctuation": ("seed", "device", "jobs", *PUNCTUATION),
    "03_extract_features": (*COMPUTING, "streams", "text", "audio", "visual"),
    "04_make_folds": ("seed", "folds", "folds_by", "corpus.labels"),
    "05_train_stage1": (*COMPUTING, "streams", "tune", "model", "train"),
    "06_pseudo_label": ("pseudo",),
    "07_train_stage2": (*COMPUTING, "model", "train", "stage2"),
    "08_ensemble": ("ensemble", "submit", "corpus.average"),
    "09_report": (),
    "10_ablate": (*COMPUTING, "variants", "model.heads", "train.seeds"),
    "baseline": ("jobs", "streams", "folds", "corpus.average"),
    "check_submission": ("corpus.labels",),
}
ALWAYS_SHOWN = ("run", "home", "corpus.root")


def parse_config(description: str | None, arguments: list[str] | None = None, kind: type[C] = Config) -> C:
    """Read `<preset> --flag value ...` from the command line; an unknown flag or a bad value ends the program.

    --help shows the settings that decide the script's step, --help-all every one. kind: Config, or a subclass whose own
    settings have defaults and become flags of their own.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    script = Path(sys.argv[0])
    asked = {"-h", "--help", "--help-all"} & set(arguments)
    if asked:
        shown = None if "--help-all" in asked else SHOWN_BY_HELP.get(script.stem)
        show_help(script.name, description or "", arguments, kind=kind, shown=shown)
    preset = arguments[0] if arguments else "nothing"
    require(preset in PRESETS, f"the first argument is a preset, one of these; got {preset}\n{_list_of_presets()}")
    default = _as_kind(PRESETS[preset][1], kind)
    return tyro.cli(kind, prog=f"{script.name} {preset}", default=default, args=arguments[1:])


def show_help(
    program: str,
    description: str,
    arguments: Sequence[str] = (),
    *,
    kind: type[Config] = Config,
    shown: Sequence[str] | None = None,
) -> NoReturn:
    """Print how a program is called and the settings that it takes, with their values in a preset; then end.

    arguments: the command line, which may name the preset. shown: the settings, groups or single settings of groups
    (group.setting) to show; all by default.
    """
    preset = next((name for name in arguments if name in PRESETS), "custom")
    lines = [f"  PRESET sets what no flag gives (the defaults below are those of {preset}):", _list_of_presets()]
    settings = _as_kind(PRESETS[preset][1], kind)
    if shown is not None:
        settings = _showing(settings, (*ALWAYS_SHOWN, *shown))
        lines.append("  Below are the settings of this step; those of other steps are taken too (--help-all).")
    text = "\n".join([description.rstrip(), *lines])
    with end_if_unread():
        tyro.cli(type(settings), prog=f"{program} PRESET", description=text, default=settings, args=["--help"])
    raise SystemExit  # tyro has ended the program


@contextmanager
def end_if_unread() -> Iterator[None]:
    """End the program without a traceback where nobody reads its output any more, as in `--help | head`."""
    try:
        try:
            yield
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # at the end, Python flushes once more
        raise SystemExit(1) from None


def _list_of_presets() -> str:
    return "\n".join(f"    {name:<15}  {text}" for name, (text, _) in PRESETS.items())


def _showing(settings: C, names: Sequence[str]) -> C:
    """The same settings, of a kind of their own of which --help shows only those named."""
    kind, fields, values = type(settings), [], {}
    for name, hint in typing.get_type_hints(kind, include_extras=True).items():
        value = getattr(settings, name)
        within = [other.removeprefix(f"{name}.") for other in names if other.startswith(f"{name}.")]
        if name not in names and within:
            value = _showing(value, within)
            hint = Flags[type(value)]
        elif name not in names:
            hint = tyro.conf.Suppress[hint]
        values[name] = value
        fields.append((name, hint, field(default=None)))
    shown = dataclasses.make_dataclass(kind.__name__, fields, bases=(kind,), frozen=True)
    shown.__doc__ = kind.__doc__
    return shown(**values)


def _as_kind(config: Config, kind: type[C]) -> C:
    """The same settings as a Config of this kind."""
    return kind(**{f.name: getattr(config, f.name) for f in dataclasses.fields(Config)})
