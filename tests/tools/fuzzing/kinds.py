"""What can be bad: one function a kind of input, which makes one, reads it, and checks what comes of it.

Each says in a word how its input ended. An error of the package's own kinds is a good end, see `fuzz.REFUSALS`; a
result must be right, as far as that can be told without the program that made it. Anything else raises.
"""

import csv
import io
import json
import os
import re
import shutil
import zipfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
from transformers import AutoModel  # now, as importing it takes seconds

from fuzzing import corpora, mutations
from fuzzing.bench import REFUSED, RIGHT, STAGE2, TRANSCRIPTS, Bench, Case, expect
from meiju.cli import parse_config
from meiju.config import CorpusConfig, as_settings, from_settings
from meiju.data import folds, submission
from meiju.data.corpus import LABELLED, read_corpus
from meiju.data.labels import OFFICIAL, TASKS, LabelSet
from meiju.evaluation import ensemble
from meiju.features import frame_store, media
from meiju.features.base import Clip, NoFrames
from meiju.features.registry import make_encoder
from meiju.pseudo import teachers
from meiju.run import Run
from meiju.serving import outputs
from meiju.serving.inputs import find_clips, problem_of
from meiju.serving.predictor import Predictor
from meiju.text import refine, transcription
from meiju.training import members, workers
from meiju.utils import hub
from toy_models import write_bert
from whole_clips import read_audio


def corpus_table(case: Case) -> str:
    """A corpus with a bad table, or bad ones alone, or a bad clip's name."""
    rng, root = case.rng, case.folder / "corpus"
    shutil.copytree(case.bench.root, root, copy_function=os.link)
    tables = corpora.tables(root)
    for path in tables if rng.random() < 0.1 else [rng.choice(tables)]:
        data = path.read_bytes()
        path.unlink()  # it is the bench's own, by a hard link
        path.write_bytes(mutations.spoil(data, ".csv", case))
    name = f"{mutations.text(rng)}.mp4"
    if rng.random() < 0.1 and "/" not in name and not any("\ud800" <= c < "\udc80" for c in name):
        with suppress(OSError, ValueError):  # too long, or no name that this system knows
            (root / "Annotation" / name).write_bytes(b"x")
    labels = rng.choice(("official", "training-file"))
    corpus = read_corpus(CorpusConfig(root, labels=labels), needs_media=rng.random() < 0.5)
    clips = corpus.clips
    plain = clips.name.str.fullmatch(r"[^./\\:\x00-\x1f][^/\\:\x00-\x1f]{0,199}").all()
    expect(clips.name.is_unique and plain, "a clip's name is not plain or stands twice")
    for task in TASKS:
        expect(set(clips[task][clips.part.isin(LABELLED)]) <= set(corpus.labels[task]), "a label that is none")
    expect(all(not p or Path(p).resolve().is_relative_to(root) for p in clips.path), "a clip outside the corpus")
    corpus.fingerprint("name", "part", "sentence", *TASKS)
    refine.refine(replace(case.bench.config, punctuation="none"), clips, case.folder, transcribed=clips)
    given = refine.as_clips(clips, case.folder)
    expect([clip.sentence for clip in given] == list(clips.sentence), "a sentence is not read back as it was")
    names = list(corpus.part("testing").name)
    predictions = {t: rng.choices(corpus.labels[t], k=len(names)) for t in TASKS}
    _check_submission(case.folder, pd.DataFrame(predictions, index=names), corpus.labels)
    return RIGHT


def corpus_folder(case: Case) -> str:
    """A corpus as spreadsheets, other systems and hurried people leave it: the same clips, or a clear refusal."""
    rng, root = case.rng, case.folder / "corpus"
    shutil.copytree(case.bench.root, root, copy_function=os.link)
    for change in rng.sample(corpora.CHANGES, k=rng.choice((1, 1, 2, 3))):
        change(root, rng)
    labels = rng.choice(("official", "training-file"))
    corpus = read_corpus(CorpusConfig(root, labels=labels), needs_media=rng.random() < 0.8)
    read, whole = (clips[["name", "part", "sentence", *TASKS]] for clips in (corpus.clips, case.bench.run.corpus.clips))
    read = read.assign(**{task: read[task].str.casefold() for task in TASKS})  # most clips decide how a label is spelt
    if any("Pool/" in remark for remark in corpus.remarks):  # no name of a pool: it is passed over and named
        whole = whole[whole.part != "unlabelled"].reset_index(drop=True)
    expect(read.equals(whole), "other clips than those of the corpus")
    expect(all(remark.strip() for remark in corpus.remarks), "a remark that says nothing")
    return RIGHT


def run_file(case: Case, ending: str) -> str:
    """A file that a run reads back, or of which predict.py makes predictions."""
    own, clips = case.home(), case.bench.run.corpus.clips
    (own.home / "texts.csv").write_text("name,sentence\na,好\nother,走吧\n", encoding="utf-8")
    clips[["name"]].assign(sentence="好", reason="").to_csv(own.home / "transcription.csv", index=False)
    pattern = case.rng.choice([pattern for pattern in READERS if pattern.endswith(ending)])
    path = case.rng.choice(sorted(own.home.glob(pattern)))
    path.write_bytes(mutations.spoil(path.read_bytes(), ending, case))
    READERS[pattern](own, path)
    return RIGHT


def _sentences(own: Bench, path: Path) -> None:
    clips = own.run.corpus.clips
    if path.name == "transcripts.csv":
        read = refine.as_clips(clips, path.parent)
    else:
        read = list(transcription.fill(clips.assign(sentence=""), path.parent).itertuples())
    expect([clip.name for clip in read] == list(clips.name), "other clips than the corpus has")
    expect(all(isinstance(clip.sentence, str) for clip in read), "a sentence that is no text")


def _texts(own: Bench, path: Path) -> None:
    found, *_ = find_clips([own.clip], texts=path)
    expect([clip.name for clip in found] == [own.clip.stem], "another clip than the one asked about")


def _folds(own: Bench, path: Path) -> None:
    training = own.run.corpus.part("training")
    read = folds.read(path, training, n_folds=own.config.folds)
    expect(list(read.name) == sorted(training.name) and read.fold.dtype.kind == "i", "no folds of these clips")
    expect(set(read.fold) <= set(range(len(training))), "a fold that cannot be")


def _store(own: Bench, path: Path) -> None:
    store = frame_store.load(path.parent)
    spans = store.spans(list(store.index.index))
    expect(bool((spans >= 0).all() and (spans <= len(store.frames)).all()), "clips with frames that are not there")
    expect(bool((spans[:, 0] <= spans[:, 1]).all()), "a clip that ends before it begins")
    expect(store.index.index.is_unique, "a clip that stands twice")
    frame_store.describe("audio", store, Path("features"))


def _members(own: Bench, path: Path) -> None:
    names, labels = list(own.run.corpus.part("testing").name), own.run.corpus.labels
    folder = own.run.folder(STAGE2)
    plan = members.plan(own.config, calibration=False)
    probabilities = ensemble.mean_over(folder, plan, names)
    for task in TASKS:
        _check_probabilities(probabilities[task], len(labels[task]))
    for member in plan:
        members.trained_on(folder, member)
    _check_submission(own.home, ensemble.as_labels(probabilities, names, labels), labels)


def _weights(own: Bench, path: Path) -> None:
    alike = [member for member in members.plan(own.config, calibration=False) if member.heads == 1]
    network = workers.load_network(own.run.folder(STAGE2), alike, own.config.model)
    expect(all(p.isfinite().all() for p in network.parameters()), "weights that are not finite")


def _predict(own: Bench, path: Path) -> None:
    predictor = Predictor(own.model, device="cpu")
    clips = [Clip("a", "你今天去哪里了呢", str(own.clip)), Clip("b", "好", ""), Clip("c", "", "")]
    _check_predictions(predictor, predictor.predict(clips))


# By pattern of the path below --home: how a file is read, with the checks of what comes of it.
STEPS, STREAMS = "work/sample", "work/_shared/features"
READERS: dict[str, Callable[[Bench, Path], None]] = {
    "texts.csv": _texts,
    "transcription.csv": _sentences,
    f"{STEPS}/transcripts/*/transcripts.csv": _sentences,
    f"{STEPS}/transcripts/*/done.json": lambda own, path: own.run.result(TRANSCRIPTS),
    f"{STEPS}/transcripts/*/[pr]*.json": _predict,
    f"{STEPS}/transcripts/*/*.npz": _predict,
    f"{STEPS}/pseudo/*/*.csv": lambda own, path: teachers.read(path.parent),
    f"{STEPS}/stage2/*/*.npz": _members,
    f"{STEPS}/stage2/*/heads1-*.safetensors": _weights,
    f"{STEPS}/stage2/*/*.safetensors": _predict,
    f"{STREAMS}/*/index.csv": _store,
    f"{STREAMS}/*/meta.json": _store,
    f"{STREAMS}/*/frames.npy": _store,
    f"{STREAMS}/*/encoder/*.json": _predict,
    f"{STREAMS}/*/encoder/*.npz": _predict,
    "folds/*.csv": _folds,
    "submissions/*/model.json": _predict,
}


def ready_frames(case: Case) -> str:
    """Ready-made frames, one .npy a clip, in a folder or a zip; about half of them are bad."""
    rng, whole = case.rng, np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
    entries = {f"{k}.npy": mutations.to_npy(whole) for k in "abc"}
    if rng.random() < 0.5:
        place = case.folder / "frames.zip"
        place.write_bytes(mutations.spoil(mutations.to_zip(entries), ".zip", case))
    else:
        place = case.folder / "frames"
        place.mkdir()
        for name, data in entries.items():
            (place / name).write_bytes(data if rng.random() < 0.5 else mutations.spoil(data, ".npy", case))
    encoder = make_encoder(f"npy:{place}", case.bench.config)
    encoder.fingerprint()
    clips = [Clip(name, "", "") for name in "abc"]
    encoder.fit(clips, seed=0)
    expect(encoder.dim > 0, "frames without a width")
    for encoded in encoder.encode(clips):
        frames, _ = frame_store.checked(encoded, encoder.dim)
        expect(frames.shape[1:] == (encoder.dim,) and bool(np.isfinite(frames).all()), "frames of another form")
    return RIGHT


def any_submission(case: Case) -> str:
    """A submission, as csv or zip."""
    rng, names = case.rng, [f"clip{k}" for k in range(5)]
    rows = [submission.HEADER, *((n, rng.choice(OFFICIAL.emotion), rng.choice(OFFICIAL.intent)) for n in names)]
    data = "".join(",".join(row) + "\n" for row in rows).encode()
    path = case.folder / rng.choice(("submission.zip", "submission.csv"))
    data = data if path.suffix == ".csv" else mutations.to_zip({submission.CSV_NAME: data})
    path.write_bytes(mutations.spoil(data, path.suffix, case) if rng.random() < 0.8 else data)
    problems = submission.check(path, names=names, emotions=OFFICIAL.emotion, intents=OFFICIAL.intent)
    expect(all(problem.isprintable() for problem in problems), "a problem that is not one line")
    if problems:
        return f"{REFUSED}: list of problems"
    (header, *rows), known = _rows(path), ([*names], [*OFFICIAL.emotion], [*OFFICIAL.intent])
    expect(tuple(header) == submission.HEADER and sorted(name for name, *_ in rows) == names, "not one row a clip")
    expect(all(cell in of for row in rows for cell, of in zip(row, known, strict=True)), "no label")
    return RIGHT


def clip(case: Case) -> str:
    """A clip that is damaged, or whose container says odd things."""
    path, notes = mutations.odd_clip(case), []
    problem_of(path)
    match case.rng.randrange(4):
        case 0:
            predictor = Predictor(case.bench.model, device="cpu")
            _check_predictions(predictor, predictor.predict([Clip("a", "好吗", str(path))]))
        case 1:
            pictures = [*media.pictures(path, fps=4, size=24, notes=notes)]
            pictures += media.pictures(path, fps=2, size=16, square=True, notes=notes)
            expect(all(image.ndim == 3 and image.dtype == np.uint8 for image in pictures), "pictures of another form")
        case 2:
            samples = read_audio(path, notes=notes)
            expect(samples.ndim == 1 and bool(np.isfinite(samples).all()), "sound of another form")
        case 3:
            seconds = media.read_seconds(path)
            expect(0 <= seconds < 1e6, "a clip of no time, or of days")
            expect(seconds < 10 or not path.read_bytes().startswith(b"ffconcat"), "a playlist was opened")
    expect(all(note.isprintable() for note in notes), "a note that is not one line")
    return "right, with a note" if notes else RIGHT


def pretrained_model(case: Case) -> str:
    """A pretrained model whose configuration, weights or vocabulary are bad."""
    rng, folder = case.rng, case.folder / "model"
    write_bert(folder, "你好")
    path = folder / rng.choice(("config.json", "model.safetensors", "tokenizer.json"))
    data = path.read_bytes()
    if path.name == "config.json":  # without the numbers that decide how much memory a network takes
        data = json.dumps({key: v for key, v in json.loads(data).items() if type(v) is not int}).encode()
    path.write_bytes(mutations.spoil(data, path.suffix, case))
    hub.load_tokenizer(str(folder))
    hub.load(AutoModel, str(folder))
    return RIGHT


def setting(case: Case) -> str:
    """Flags of the command line, and settings that are read back."""
    rng = case.rng
    plain = as_settings(case.bench.config)
    if rng.random() < 0.5:
        config = from_settings(mutations.change(json.loads(json.dumps(plain)), rng))
    else:
        flags = []
        for name, value in rng.sample(
            sorted(pd.json_normalize(plain).iloc[0].map(str).items()), k=rng.choice((1, 1, 2, 4))
        ):
            odd = str(mutations.value(rng)) if rng.random() < 0.6 else mutations.text(rng)
            given = [odd] if rng.random() < 0.7 else [value, odd]
            flags += [mutations.text(rng) if rng.random() < 0.05 else f"--{name.replace('_', '-')}", *given]
        config = parse_config("", [rng.choice(("sample", "custom", "track1-mandarin")), *flags])
    expect(from_settings(json.loads(json.dumps(as_settings(config)))) == config, "settings that do not read back")
    for stream in config.encoders.values():
        if not stream.startswith("hf:"):
            make_encoder(stream, config)
    Run(replace(config, home=case.folder))
    return RIGHT


def sentence(case: Case) -> str:
    """Any text as a sentence, a clip's name or a label: restored, encoded, predicted and answered."""
    rng = case.rng
    text, name = mutations.text(rng), mutations.text(rng)
    predictor = Predictor(case.bench.model, device="cpu")
    predictions = predictor.predict([Clip(name, text, "")])
    restored, given = ("".join(filter(str.isalnum, one)) for one in (predictions[0].clip.sentence, text))
    expect(restored == given, "more than marks was changed")
    encoded = predictor.encoders["text"].encode([Clip(name, text, "")])[0]
    expect(isinstance(encoded, NoFrames) == (not text.strip()), "a sentence without frames")
    records = outputs.as_records(predictions, {mutations.text(rng): mutations.text(rng)})
    for form, write in outputs.FORMATS.items():
        written = write(records)
        written.encode("utf-8")
        if form == "json":
            expect(len(json.loads(written)) == len(records), "not one record a clip")
        if form == "csv":
            table = list(csv.reader(io.StringIO(written, newline=""), strict=True))
            expect({len(row) for row in table} == {len(table[0])}, "rows of other lengths")
            cells = [cell for row in table for cell in row if not re.fullmatch(r"[-+]?[\d.]+(e[-+]?\d+)?", cell)]
            expect(not any(cell.startswith(tuple("=+-@\t\r")) for cell in cells), "a formula")
    _check_predictions(predictor, predictions)
    return RIGHT


def _check_probabilities(p: np.ndarray, n_classes: int) -> None:
    expect(p.shape[1] == n_classes, "not one probability a class")
    expect(bool(np.isfinite(p).all() and np.allclose(p.sum(axis=1), 1, atol=1e-4)), "no probabilities")


def _check_predictions(predictor: Predictor, predictions: list) -> None:
    for prediction, task in product(predictions, TASKS):
        found = prediction.probabilities[task]
        expect(bool(found) == bool(prediction.streams), "a prediction of nothing")
        if found:
            _check_probabilities(np.array([list(found.values())]), len(predictor.labels[task]))


def _check_submission(folder: Path, predictions: pd.DataFrame, labels: LabelSet) -> None:
    path = submission.write(predictions, folder / "out")
    names = list(predictions.index)
    problems = submission.check(path, names=names, emotions=labels.emotion, intents=labels.intent)
    expect(not problems, f"a submission with problems: {problems}")
    read = [tuple(row) for row in _rows(path)[1:]]
    expect(sorted(read) == sorted(predictions.itertuples(name=None)), "a submission of other predictions")


def _rows(path: Path) -> list[list[str]]:
    """The rows of a submission, the header first."""
    data = path.read_bytes()
    if path.suffix == ".zip":
        with zipfile.ZipFile(path) as archive:
            expect(archive.namelist() == [submission.CSV_NAME], "more than the table is in the zip")
            data = archive.read(submission.CSV_NAME)
    return list(csv.reader(io.StringIO(data.decode(), newline=""), strict=True))


# By name, in the order in which they take turns.
KINDS: dict[str, Callable[[Case], str]] = {
    make.__name__.replace("_", " "): make
    for make in (corpus_table, corpus_folder, ready_frames, any_submission, clip, pretrained_model, setting, sentence)
}
KINDS |= {
    f"{ending} of a run": partial(run_file, ending=ending) for ending in sorted({Path(p).suffix for p in READERS})
}
