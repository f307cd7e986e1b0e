"""A tiny finished run whose files are there to be damaged: made in a second or two, because nothing is trained."""

import csv
import random
import shutil
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from safetensors.torch import save_file

from fuzzing.mutations import Payload
from meiju.config import AudioConfig, Config, CorpusConfig, ModelConfig, TextConfig
from meiju.data import folds
from meiju.data.corpus import UNSCORED_PARTS
from meiju.data.labels import OFFICIAL, TASKS
from meiju.features import frame_store, media
from meiju.models.layers import InputSpec, MemberRandom
from meiju.models.network import MemberNetwork
from meiju.run import Run
from meiju.serving import bundle
from meiju.text import refine
from meiju.training import members
from meiju.utils import files
from toy_corpus import draw_members

TABLES = {
    "training": "Annotation/Training_transcription.csv",
    "validation": "Annotation/Validation_transcription.csv",
    "testing": "Annotation/Testing_files.csv",
    "unlabelled": "NoAnnotation/transcription.csv",
}
SIZES = {"training": 9, "validation": 3, "testing": 4, "unlabelled": 3}
STAGE2, TRANSCRIPTS = "stage2", "transcripts"
RIGHT, REFUSED = "right", "refused"  # how an input ends


@dataclass(frozen=True)
class Bench:
    """A corpus and a run in one folder."""

    folder: Path

    @property
    def root(self) -> Path:
        return self.folder / "corpus"

    @property
    def config(self) -> Config:
        return Config(
            "fuzz",
            home=self.folder / "home",
            folds=3,
            device="cpu",
            jobs=1,
            punctuation_texts=(self.folder / "sentences.txt",),
            corpus=CorpusConfig(root=self.root),
            model=ModelConfig(heads=(1,), width=8),
            text=TextConfig(dim=8),
            audio=AudioConfig(max_frames=4),
        )

    @cached_property
    def run(self) -> Run:
        return Run(self.config, quiet=True)

    @property
    def model(self) -> Path:
        """The folder of model.json."""
        return self.config.submission_dir

    @property
    def clip(self) -> Path:
        """A clip with sound and pictures."""
        return self.root / "clips" / "testing0.mp4"

    def write_model(self) -> None:
        """Write model.json, which lists the run's files as they are now."""
        encoders = {stream: self.run.encoder_folder(stream) for stream in self.config.encoders}
        folders = {"transcripts": self.run.folder(TRANSCRIPTS), "stage": self.run.folder(STAGE2)}
        bundle.write_model(self.model, self.config, OFFICIAL, encoders=encoders, **folders)


def make(folder: Path) -> Bench:
    """Make the corpus and the run."""
    bench = Bench(folder)
    _write_corpus(bench)
    run, config = bench.run, bench.config
    clips = run.corpus.clips
    training = run.corpus.part("training")
    folds.write(training[["name"]].assign(fold=np.arange(len(training)) % config.folds), config.folds_path)
    refine.refine(config, clips, run.folder(TRANSCRIPTS), transcribed=clips)
    run.finish(TRANSCRIPTS, files.files_in(run.folder(TRANSCRIPTS)))
    given = refine.as_clips(clips, run.result(TRANSCRIPTS))
    learnt = [clip for clip, part in zip(given, clips.part, strict=True) if part in UNSCORED_PARTS]
    stores = {}
    for stream, encoder in run.encoders.items():
        path = run.stream_folder(stream)
        stores[stream] = frame_store.extract(encoder, given, learnt, path, meta={}, seed=0, n_jobs=1, label=stream)
    _write_members(bench, stores)
    bench.write_model()
    return bench


def _write_corpus(bench: Bench) -> None:
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 255, (6, 32, 48, 3), dtype=np.uint8)
    (bench.root / "clips").mkdir(parents=True)
    source = bench.folder / "clip.mp4"
    media.write_clip(source, pictures, rng.normal(0, 0.1, 8000), fps=6)
    who, what, end = "我你他她", ("去上班", "没吃饭", "喜欢这个", "要回家", "不知道"), "。？！"
    lines = [
        f"{a}今天{b}，明天{c}{end[(k + j) % 3]}"
        for k, a in enumerate(who)
        for j, b in enumerate(what)
        for c in what[:3]
    ]
    (bench.folder / "sentences.txt").write_text("\n".join(lines), encoding="utf-8")
    for part, table in TABLES.items():
        labelled = part in ("training", "validation")
        rows = [["FileName", "Subtitle", *(TASKS if labelled else ())]]
        for k in range(SIZES[part]):
            labels = [OFFICIAL[task][k % len(OFFICIAL[task])] for task in TASKS] if labelled else []
            rows.append([f"{part}{k}.mp4", lines[k * 5].rstrip(end), *labels])
            shutil.copy2(source, bench.root / "clips" / f"{part}{k}.mp4")
        (bench.root / table).parent.mkdir(exist_ok=True)
        with (bench.root / table).open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows(rows)


def _write_members(bench: Bench, stores: dict[str, frame_store.Store]) -> None:
    """Networks as they are before training, and predictions that are drawn."""
    run, config = bench.run, bench.config
    plan = members.plan(config, calibration=False)
    noise = MemberRandom(list(range(len(plan))), "cpu")
    classes = {task: len(OFFICIAL[task]) for task in TASKS}
    spec = InputSpec({stream: store.dim for stream, store in stores.items()}, frozenset(["text"]), classes)
    network = MemberNetwork(spec, config.model, heads=1, random=noise)
    state, shape = network.weights(), {"shape": network.spec.to_json()}
    folder = run.folder(STAGE2)
    folder.mkdir(parents=True)
    draw_members(folder, plan, run.corpus, run.folds, knows=0.0)
    for e, member in enumerate(plan):
        own = {key: value[e].contiguous().clone() for key, value in state.items()}
        save_file(own, folder / members.weights_name(member), shape)
    files.write_json(folder / "done.json", {"cache key": run.cache_key(STAGE2), "files": {}})


@dataclass(frozen=True)
class Case:
    """One input: what it is made from, where it may be written, and what decides it."""

    bench: Bench
    folder: Path
    rng: random.Random

    @property
    def payload(self) -> Payload:
        """An object whose pickle, if it is ever loaded, leaves a file beside the folder."""
        return Payload(self.folder.parent / "unpickled")

    def home(self) -> Bench:
        """The bench with a run of its own, to be changed at will."""
        shutil.copytree(self.bench.config.home, self.folder / "home")
        for name in ("corpus", "sentences.txt"):
            (self.folder / name).symlink_to(self.bench.folder / name)
        own = Bench(self.folder)
        own.run.__dict__["corpus"] = self.bench.run.corpus
        return own


def expect(ok: bool, what: str) -> None:
    """Raise AssertionError unless a result is as it must be."""
    if not ok:
        raise AssertionError(what)
