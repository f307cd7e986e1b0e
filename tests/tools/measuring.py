"""What the parts of a run cost, each beside something known, so that the ratios hold on other machines too.

Every part measures its cases in turn, several times over, and a case's ratio is taken within one turn: what else runs
on the machine then disturbs a case and its baseline alike. A part runs in a process of its own (see `run_apart`), whose
peak of memory is the part's. All data is made up.
"""

import shutil
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import av
import numpy as np
import pandas as pd
import torch
import transformers
from threadpoolctl import threadpool_limits

from meiju.config import Config, ModelConfig, PseudoConfig, TrainConfig, VisualConfig
from meiju.data.corpus import Corpus
from meiju.data.labels import EMOTIONS, INTENTS, TASKS, LabelSet
from meiju.evaluation import ensemble, scores
from meiju.features import frame_store, media
from meiju.features.base import Clip
from meiju.features.registry import make_encoder
from meiju.models.layers import InputSpec, MemberRandom
from meiju.models.network import MemberNetwork
from meiju.pseudo import teachers
from meiju.sample import corpus as sample_corpus
from meiju.training import members, workers
from meiju.training.batches import PREDICT_BATCH, Frames, MemberData, Rows, hard_rows
from meiju.training.loop import predict, train_members
from meiju.training.regression import fit_to_pooled_frames
from meiju.training.workers import StageData
from meiju.utils import hub
from meiju.utils.compute import pick_device
from meiju.utils.log import peak_memory
from toy_corpus import draw_members

CLASSES = dict(zip(TASKS, (len(EMOTIONS), len(INTENTS)), strict=True))
HEADS = 4
# Audio and visual frames of a clip, as short clips have them: 15 and 9 on average.
N_FRAMES = {"audio": (8, 22), "visual": (5, 13)}
STEPS_LEFT_OUT = 3  # at the start of a training: memory is taken, and a GPU warms up
MODEL = ModelConfig(linear=0.0)  # the logistic-regression head is timed by itself
ONE_EPOCH = TrainConfig(epochs=1, average_epochs=1)


@dataclass(frozen=True)
class Size:
    """How much is measured."""

    turns: int = 3
    labelled: int = 1835  # clips, those of 4 folds of the challenge's 2,294
    beside_pool: int = 512  # labelled clips where pools are measured
    together: tuple[int, ...] = (1, 5, 20, 40)  # members
    pools: tuple[int, ...] = (2_000, 20_000, 200_000)  # unlabelled clips
    asked: int = 4_000  # clips predicted at most, evenly spaced over the pool
    widths: tuple[int, ...] = (32, 128, 512, 1024, 2048)
    width_pool: int = 1_000
    sentences: int = 2_000
    drawn: int = 32  # clips
    side: int = 384  # pixels of a drawn clip's frames
    fps: int = 24
    pretrained: tuple[int, int, int, int] = (1024, 24, 16, 4096)  # width, layers, heads and inner width: a large model


QUICK = Size(
    turns=2, labelled=192, beside_pool=192, together=(1, 5), pools=(50, 100), asked=100, widths=(32, 64),
    width_pool=50, sentences=60, drawn=4, side=96, fps=8, pretrained=(32, 2, 2, 64),
)  # fmt: skip

Case = tuple[str, str]  # what is measured, and of which size
Measured = dict[Case, float]  # one turn; of each thing, the first case is the baseline of the others


@dataclass(frozen=True)
class Part:
    """measure(size, device, folder) prepares, and gives a function that measures one turn."""

    measure: Callable[[Size, torch.device, Path], Callable[[], Measured]]
    unit: str
    to: str  # what ratios are taken to


def run_apart(name: str, size: Size, device: str, *, threads: int = 1) -> pd.DataFrame:
    """`measure` in a new process, whose peak of memory is then the part's."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as executor:
        return executor.submit(measure, name, size, device, threads=threads).result()


def measure(name: str, size: Size, device: str, *, threads: int = 1) -> pd.DataFrame:
    """Measure one part: columns part, what, case, median (over turns), unit, ratio, to, peak (MB, of this process)."""
    part = PARTS[name]
    torch.set_num_threads(threads)
    with tempfile.TemporaryDirectory(prefix="bench-") as folder, threadpool_limits(threads):
        one_turn = part.measure(size, pick_device(device), Path(folder))
        turns = pd.DataFrame([one_turn() for _ in range(size.turns)])
    turns.columns = pd.MultiIndex.from_tuples(turns.columns, names=["what", "case"])
    first = {what: next(case for w, case in turns.columns if w == what) for what, _ in turns.columns}
    ratios = turns.apply(lambda column: column / turns[column.name[0], first[column.name[0]]])
    table = pd.DataFrame({"median": turns.median(), "ratio": ratios.median()}).reset_index()
    return table.assign(part=name, unit=part.unit, to=part.to, peak=peak_memory() / 1e6)


class Watched(Frames):
    """Frames that note when each batch is asked for, which is once a step of training."""

    def __init__(self, *given, **named):
        super().__init__(*given, **named)
        self.asked: list[float] = []

    def batch(self, *given, **named):
        self.asked.append(_now(self.device))
        return super().batch(*given, **named)

    def step_ms(self) -> float:
        """Median time between two steps, in milliseconds; forgets them."""
        took = np.diff(self.asked)[STEPS_LEFT_OUT:]
        self.asked.clear()
        return float(np.median(took)) * 1000


def members_together(size: Size, device: torch.device, folder: Path) -> Callable[[], Measured]:
    """A training step of stacked members, by how many there are."""
    frames, labelled = _frames(folder, size.labelled, device), _rows(0, size.labelled)

    def turn() -> Measured:
        took: Measured = {}
        for n in size.together:
            data = [MemberData(labelled, None, seed) for seed in range(n)]
            train_members(frames, data, MODEL, ONE_EPOCH, heads=HEADS, pseudo_ratio=1.0)
            took["training step per member", f"{n} together"] = frames.step_ms() / n
        return took

    return turn


def _cases(cases: dict[str, tuple[int, int]], size: Size, device: torch.device, folder: Path) -> Callable[[], Measured]:
    """What stage 2 and prediction cost, by case: the number of unlabelled clips, the width of sound and pictures."""

    def stores(n: int, width: int) -> Watched:
        return _frames(folder / f"{n}-{width}", size.beside_pool + n, device, width=width)

    for case in cases.values():
        stores(*case)  # writes them

    def turn() -> Measured:
        took: Measured = {}
        for case, (n, width) in cases.items():
            started = time.perf_counter()
            frames = stores(n, width)
            took["opening the stores, a clip", case] = _ms(started) / n
            took["stage 2: training step per member", case] = _train(frames, size, n)
            took["stage 2: logistic-regression head, a clip", case] = _fit_regression(frames, size, n)
            took["prediction, a clip", case] = _predict(frames, size, n)
        return took

    return turn


def clips_of_the_pool(size: Size, device: torch.device, folder: Path) -> Callable[[], Measured]:
    return _cases({f"{n:,} clips": (n, 32) for n in size.pools}, size, device, folder)


def widths_of_a_stream(size: Size, device: torch.device, folder: Path) -> Callable[[], Measured]:
    return _cases({f"width {w}": (size.width_pool, w) for w in size.widths}, size, device, folder)


def steps_of_a_pool(size: Size, device: torch.device, folder: Path) -> Callable[[], Measured]:
    """Steps 06 to 08, by the number of unlabelled clips: all of them pseudo-labelled, one head count, one epoch.

    Steps by themselves train in other processes; here members train in this one, so that its memory is that of both.
    """
    gate = PseudoConfig(gate="paper", threshold=1e-3)
    config = Config("bench", device=device.type, model=ModelConfig(heads=(HEADS,)), train=ONE_EPOCH, pseudo=gate)
    corpora = {n: _corpus(size, n) for n in size.pools}
    for n, (corpus, folds) in corpora.items():
        _frames(folder / str(n), len(corpus.clips), device)
        (folder / str(n) / "stage1").mkdir()
        draw_members(folder / str(n) / "stage1", members.plan(config, calibration=True), corpus, folds, knows=0.0)

    def turn() -> Measured:
        took: Measured = {}
        for n, (corpus, folds) in corpora.items():
            home, case, started = folder / str(n), f"{n:,} clips", time.perf_counter()
            teachers.write(home, *teachers.label_pool(config, corpus, folds, home / "stage1"))
            took["06, a clip", case], started = _ms(started) / n, time.perf_counter()
            stores = {stream: home / stream for stream in ("text", *N_FRAMES)}
            pseudo, stage2 = teachers.accepted(teachers.read(home)[0]), Path(tempfile.mkdtemp(dir=home))
            data = StageData(corpus.clips, corpus.labels, folds, stores, pseudo=pseudo)
            plan = members.plan(config, calibration=False)
            for group in workers.group_members(config, data, plan, 2, device.type):
                workers.train_group(config, data, group, stage2, device.type, 0)
            took["07, a clip", case], started = _ms(started) / n, time.perf_counter()
            places = {"stage 1": home / "stage1", "stage 2": stage2}
            stages = [scores.read_stage(name, config, corpus, folds, place) for name, place in places.items()]
            scores.table(stages, config, corpus, folds)
            ensemble.soft_vote(stage2, config, list(corpus.part("testing").name))
            took["08, a clip", case] = _ms(started) / n
            shutil.rmtree(stage2)
        return took

    return turn


def _corpus(size: Size, n_pool: int) -> tuple[Corpus, pd.DataFrame]:
    """Clips without files, with labels at random, and their folds; named as those of `_frames`."""
    rng, few = np.random.default_rng(0), size.beside_pool
    parts = {"training": few, "validation": few // 4, "testing": few // 4, "unlabelled": n_pool}
    clips = pd.DataFrame({"part": np.repeat(list(parts), list(parts.values()))})
    clips["name"] = _names(len(clips))
    for task, classes in zip(TASKS, (EMOTIONS, INTENTS), strict=True):
        clips[task] = np.where(clips.part.isin(["training", "validation"]), rng.choice(classes, len(clips)), "")
    clips[["sentence", "path", "dialogue", "speaker"]] = ""
    names = clips.name[clips.part == "training"]
    folds = pd.DataFrame({"name": names, "fold": np.arange(len(names)) % Config("bench").folds})
    return Corpus(clips, LabelSet(EMOTIONS, INTENTS), []), folds


def extraction(size: Size, device: torch.device, folder: Path) -> Callable[[], Measured]:
    """Clips a second that the embedded encoders and the decoder alone get through, in one process."""
    clips = [_clip(clip, size, folder) for clip in sample_corpus.plan(0, {"training": size.drawn}).itertuples()]
    sentences = [Clip(c.name, c.sentence, "") for c in sample_corpus.plan(0, {"training": size.sentences}).itertuples()]
    read = {"tfidf-svd": sentences, "e5-small": sentences, "smart-turn": clips, "face-geometry": clips}
    encoders = {name: make_encoder(name, Config("bench")) for name in read}
    for name in ("tfidf-svd", "face-geometry"):
        encoders[name].fit(read[name], seed=0)

    def speed(name: str) -> float:
        encoder, given, started = encoders[name], read[name], time.perf_counter()
        for k in range(0, len(given), encoder.chunk):
            encoder.encode(given[k : k + encoder.chunk])
        return len(given) / (time.perf_counter() - started)

    def decoding(kind: str) -> float:
        started = time.perf_counter()
        for clip in clips:
            with av.open(clip.path) as container:
                track = getattr(container.streams, kind)[0]
                track.codec_context.thread_count = 1
                for _ in container.decode(track):
                    pass
        return len(clips) / (time.perf_counter() - started)

    def turn() -> Measured:
        sound, pictures = decoding("audio"), decoding("video")
        return {
            ("sound", "plain decoding"): sound,
            ("sound", "smart-turn"): speed("smart-turn"),
            ("pictures", "plain decoding"): pictures,
            ("pictures", "face-geometry"): speed("face-geometry"),
            ("text", "plain decoding of sound and pictures"): 1 / (1 / sound + 1 / pictures),
            ("text", "tfidf-svd"): speed("tfidf-svd"),
            ("text", "e5-small"): speed("e5-small"),
        }

    return turn


def _clip(planned, size: Size, folder: Path) -> Clip:
    """A clip of the made-up corpus, enlarged and with more frames a second, so that it decodes as real ones do."""
    frames, samples = sample_corpus.draw_clip(planned, 0)
    by, path = size.side // frames.shape[1], folder / f"{planned.name}.mp4"
    frames = frames.repeat(size.fps // sample_corpus.FPS, axis=0).repeat(by, axis=1).repeat(by, axis=2)
    media.write_clip(path, frames, samples, fps=size.fps, rate=sample_corpus.RATE)
    return Clip(planned.name, planned.sentence, str(path))


def pretrained(size: Size, device: torch.device, folder: Path) -> Callable[[], Measured]:
    """Seconds a clip of 3 s takes hf: encoders of the presets' architectures, with random weights."""
    config = Config("bench", visual=VisualConfig(fps=2.0), device=device.type)
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 256, (15, size.side // 4, size.side // 4, 3), dtype=np.uint8)
    pictures = pictures.repeat(5, axis=0).repeat(4, axis=1).repeat(4, axis=2)
    path = folder / "clip.mp4"
    samples = rng.normal(0, 0.1, 3 * sample_corpus.RATE).astype(np.float32)
    media.write_clip(path, pictures, samples, fps=25, rate=sample_corpus.RATE)
    clips = [Clip(f"clip{k}", "".join(map(chr, rng.integers(0x4E00, 0x9000, 15))), str(path)) for k in range(2)]
    names = ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")
    with hub.quietly():
        _save_pretrained(dict(zip(names, size.pretrained, strict=True)), folder)
    cases = {"text": "BERT, 15 characters", "audio": "HuBERT", "visual": "CLIP ViT/14, 6 pictures, faces searched for"}

    def turn() -> Measured:
        took: Measured = {}
        for stream, case in cases.items():
            encoder = make_encoder(f"hf:{folder / stream}", config)
            encoder.encode(clips[:1])  # loads it
            started = _now(device)
            encoder.encode(clips)
            took["a clip of 3 s", case] = (_now(device) - started) / len(clips)
            encoder.close()
        return took

    return turn


def _save_pretrained(sizes: dict[str, int], folder: Path) -> None:
    """Models with random weights, and what prepares their input, as folders that hf: encoders read."""
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *map(chr, range(0x4E00, 0xA000))]
    norms = {"do_stable_layer_norm": True, "feat_extract_norm": "layer", "conv_bias": True}
    pictures = {"image_size": 224, "patch_size": 14, "projection_dim": 768}
    transformers.BertTokenizer(vocab={word: k for k, word in enumerate(words)}).save_pretrained(folder / "text")
    transformers.Wav2Vec2FeatureExtractor(return_attention_mask=True).save_pretrained(folder / "audio")
    transformers.CLIPImageProcessor().save_pretrained(folder / "visual")
    for stream, kind, config in (
        ("text", transformers.BertModel, transformers.BertConfig(vocab_size=len(words), **sizes)),
        ("audio", transformers.HubertModel, transformers.HubertConfig(**norms, **sizes)),
        ("visual", transformers.CLIPVisionModelWithProjection, transformers.CLIPVisionConfig(**pictures, **sizes)),
    ):
        kind(config).save_pretrained(folder / stream)


PARTS = {
    "members": Part(members_together, "ms", "the fewest"),
    "clips": Part(clips_of_the_pool, "ms", "the smallest pool"),
    "steps": Part(steps_of_a_pool, "ms", "the smallest pool"),
    "widths": Part(widths_of_a_stream, "ms", "the narrowest frames"),
    "extraction": Part(extraction, "clips/s", "plain decoding"),
    "pretrained": Part(pretrained, "s", "BERT"),
}


def _now(device: torch.device) -> float:
    """The time, once the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def _ms(started: float) -> float:
    return (time.perf_counter() - started) * 1000


def _frames(folder: Path, n_clips: int, device: torch.device, width: int = 32) -> Watched:
    """Random frames of clips from memory-mapped stores, which are written if they are not there."""
    names, rng, stores = _names(n_clips), np.random.default_rng(0), {}
    for stream, (low, high) in ({"text": (1, 1)} | N_FRAMES).items():
        if not (folder / stream).exists():
            dim = 384 if stream == "text" else width
            # A thousand clips again and again: as many bytes on disk, and little to draw.
            drawn = [rng.normal(size=(n, dim)).astype(np.float16) for n in rng.integers(low, high + 1, size=1000)]
            rows = [(name, drawn[k % len(drawn)], "", "") for k, name in enumerate(names)]
            frame_store.write(folder / stream, rows, dim=dim, meta={})
        stores[stream] = frame_store.load(folder / stream)
    return Watched(stores, names, device)


def _names(n_clips: int) -> list[str]:
    return [f"clip_{k:07}" for k in range(n_clips)]


def _rows(start: int, stop: int) -> Rows:
    """Clips `start` to `stop` with labels at random."""
    rng, clips = np.random.default_rng(start), np.arange(start, stop)
    return hard_rows(clips, {t: rng.integers(0, k, len(clips)) for t, k in CLASSES.items()}, CLASSES, 0.5)


def _data(size: Size, n_pool: int, seed: int) -> MemberData:
    few = size.beside_pool
    return MemberData(_rows(0, few), _rows(few, few + n_pool), seed)


def _train(frames: Watched, size: Size, n_pool: int) -> float:
    """Milliseconds a step of stage 2 takes one of five members."""
    # Half as many pseudo-labelled clips as labelled ones a step, whatever the pool, so that steps are alike.
    ratio = min(0.5, min(size.pools[0], size.width_pool) / size.beside_pool)
    data = [_data(size, n_pool, seed) for seed in range(5)]
    train_members(frames, data, MODEL, ONE_EPOCH, heads=HEADS, pseudo_ratio=ratio)
    return frames.step_ms() / 5


def _network(frames: Watched) -> MemberNetwork:
    shape = InputSpec(frames.dims, frames.single, CLASSES)
    return MemberNetwork(shape, ModelConfig(), heads=HEADS, random=MemberRandom([0], frames.device))


def _fit_regression(frames: Watched, size: Size, n_pool: int) -> float:
    """Milliseconds a clip of all that fitting the head of one member to the pool takes."""
    network, data, started = _network(frames), [_data(size, n_pool, 0)], _now(frames.device)
    fit_to_pooled_frames(network, frames, data, weigh_streams=False, pseudo_ratio=1.0)
    frames.asked.clear()
    return (_now(frames.device) - started) * 1000 / n_pool


def _predict(frames: Watched, size: Size, n_pool: int) -> float:
    """Milliseconds a clip of the predictions of one member, its logistic-regression head included."""
    network, few = _network(frames), size.beside_pool
    asked = np.linspace(few, few + n_pool - 1, min(n_pool, size.asked)).astype(int)
    predict(network, frames, asked[:PREDICT_BATCH])
    started = _now(frames.device)
    predict(network, frames, asked)
    frames.asked.clear()
    return (_now(frames.device) - started) * 1000 / len(asked)
