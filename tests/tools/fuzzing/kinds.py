"""What can be bad: one function a kind of input, which makes one, reads it, and checks what comes of it.

Each says in a word how its input ended. An error of the package's own kinds is a good end, see `runner.REFUSALS`; a
result must be right, as far as that can be told without the program that made it. Anything else raises.
"""

import csv
import io
import json
import os
import re
import shutil
import unicodedata
import zipfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import lru_cache
from html.parser import HTMLParser
from pathlib import Path
from unittest import mock

import numpy as np
import pandas as pd
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save

from fuzzing import clips as clip_kinds
from fuzzing import corpora, mutations
from fuzzing.bench import REFUSED, RIGHT, STAGE2, TABLES, TRANSCRIPTS, Bench, Case, expect
from fuzzing.mutations import bad_csv, bad_npy, bad_npz, bad_zip, to_npy
from meiju.cli import parse_config
from meiju.config import ConfigError, CorpusConfig, as_settings, from_settings
from meiju.data import folds, submission
from meiju.data.corpus import LABELLED, read_corpus
from meiju.data.labels import OFFICIAL, TASKS
from meiju.evaluation import ensemble
from meiju.features import frame_store, media, tracks
from meiju.features.arrays import NpyFrames
from meiju.features.base import Clip, NoFrames, read_media
from meiju.features.registry import make_encoder
from meiju.pseudo import teachers
from meiju.report import figures
from meiju.report import page as report_page
from meiju.run import Run
from meiju.serving import outputs
from meiju.serving.inputs import find_clips, problem_of
from meiju.serving.predictor import Predictor
from meiju.text import refine, transcription
from meiju.training import members, workers
from meiju.utils import files, hub, system
from whole_clips import read_audio, read_frames


def corpus_table(case: Case) -> str:
    """A corpus with a bad table, or bad ones alone, or a bad clip's name."""
    rng, root = case.rng, case.folder / "corpus"
    shutil.copytree(case.bench.root, root, copy_function=os.link)
    for part in sorted(TABLES) if rng.random() < 0.1 else [rng.choice(sorted(TABLES))]:
        data = (root / TABLES[part]).read_bytes()
        (root / TABLES[part]).unlink()
        (root / TABLES[part]).write_bytes(bad_csv(data, rng) if rng.random() < 0.9 else b"")
    name = f"{mutations.text(rng)}.mp4"
    if rng.random() < 0.1 and "/" not in name and not any("\ud800" <= c < "\udc80" for c in name):
        with suppress(OSError, ValueError):  # too long, or no name that this system knows
            (root / "clips" / name).write_bytes(b"x")
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
    return _submit(case, pd.DataFrame(predictions, index=names), corpus.labels)


def corpus_folder(case: Case) -> str:
    """A corpus as spreadsheets, other systems and hurried people leave it: the same clips, or a clear refusal."""
    rng, root = case.rng, case.folder / "corpus"
    shutil.copytree(case.bench.root, root, copy_function=os.link)
    for change in rng.sample(corpora.CHANGES, k=rng.choice((1, 1, 2, 3))):
        change(root, rng)
    labels = rng.choice(("official", "training-file"))
    corpus = read_corpus(CorpusConfig(root, labels=labels), needs_media=rng.random() < 0.8)
    read, whole = (clips[["name", "part", "sentence", *TASKS]] for clips in (corpus.clips, case.bench.run.corpus.clips))
    same = read[TASKS[0]].str.casefold(), read[TASKS[1]].str.casefold()  # most clips decide how a label is spelt
    read = read.assign(**dict(zip(TASKS, same, strict=True)))
    if any("Pool/" in remark for remark in corpus.remarks):  # no name of a pool: it is passed over and named
        whole = whole[whole.part != "unlabelled"].reset_index(drop=True)
    expect(read.equals(whole), "other clips than those of the corpus")
    expect(all(remark.strip() for remark in corpus.remarks), "a remark that says nothing")
    return RIGHT


def run_table(case: Case) -> str:
    """A table that a run reads back, or that holds the sentences of clips."""
    own, clips = case.home(), case.bench.run.corpus.clips
    run, training = own.run, case.bench.run.corpus.part("training")
    transcripts, stream = run.folder(TRANSCRIPTS), run.stream_folder("audio")
    (case.folder / "texts.csv").write_text("name,sentence\ntesting0,好\nother,走吧\n", encoding="utf-8")
    clips[["name"]].assign(sentence="好", reason="").to_csv(case.folder / "transcription.csv", index=False)
    gates = pd.DataFrame([[k, t, 1.0, 0.5, 0.9] for k in range(3) for t in TASKS])
    gates.columns = ["fold", "task", "temperature", "threshold", "precision"]
    pool = pd.DataFrame([(name, k) for k in range(3) for name in run.corpus.part("unlabelled").name])
    pool.columns = ["name", "fold"]
    for task in TASKS:
        pool = pool.assign(**{task: "neutral", f"{task}_confidence": 0.5, f"{task}_accepted": True})
    teachers.write(case.folder, pool, gates)

    def read_sentences() -> None:
        _check_sentences(clips, refine.as_clips(clips, transcripts))
        _check_sentences(clips, list(transcription.fill(clips.assign(sentence=""), case.folder).itertuples()))

    def read_folds() -> None:
        read = folds.read(own.config.folds_path, training, n_folds=own.config.folds)
        expect(list(read.name) == sorted(training.name) and read.fold.dtype.kind == "i", "no folds of these clips")
        expect(set(read.fold) <= set(range(len(training))), "a fold that cannot be")

    def read_pseudo_labels() -> None:
        read, _ = teachers.read(case.folder)
        expect(all(read[f"{t}_confidence"].between(0, 1).all() for t in TASKS), "a confidence that is no probability")

    def read_texts() -> None:
        found, *_ = find_clips([own.root / "clips" / "testing0.mp4"], texts=case.folder / "texts.csv")
        expect([clip.name for clip in found] == ["testing0"], "another clip than the one asked about")

    readers = {
        transcripts / "transcripts.csv": read_sentences,
        case.folder / "transcription.csv": read_sentences,
        own.config.folds_path: read_folds,
        case.folder / "pseudo_labels.csv": read_pseudo_labels,
        case.folder / "gates.csv": read_pseudo_labels,
        case.folder / "texts.csv": read_texts,
    }
    readers |= {stream / "index.csv": lambda: _check_store(stream)}
    path = case.rng.choice([*readers])
    path.write_bytes(bad_csv(path.read_bytes(), case.rng))
    readers[path]()
    return RIGHT


def _check_sentences(clips: pd.DataFrame, read: list) -> None:
    expect([clip.name for clip in read] == list(clips.name), "other clips than the corpus has")
    expect(all(isinstance(clip.sentence, str) for clip in read), "a sentence that is no text")


def npy(case: Case) -> str:
    """Ready-made frames, one .npy a clip in a folder; and the frames of a store."""
    if case.rng.random() < 0.3:
        path = case.home().run.stream_folder("audio") / "frames.npy"
        path.write_bytes(bad_npy(np.load(path), case))
        _check_store(path.parent)
        return RIGHT
    (case.folder / "frames").mkdir()
    for name, data in _ready_frames(case).items():
        (case.folder / "frames" / name).write_bytes(data)
    return _read_frames(case.folder / "frames", case)


def zip_features(case: Case) -> str:
    """The same in a zip."""
    (case.folder / "frames.zip").write_bytes(bad_zip(_ready_frames(case), case, like=".npy"))
    return _read_frames(case.folder / "frames.zip", case)


def _ready_frames(case: Case) -> dict[str, bytes]:
    """Frames of clips a, b and c, about half of them bad."""
    frames = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
    return {f"{k}.npy": to_npy(frames) if case.rng.random() < 0.5 else bad_npy(frames, case) for k in "abc"}


def _read_frames(place: Path, case: Case) -> str:
    encoder = make_encoder(f"npy:{place}", case.bench.config)
    encoder.fingerprint()
    clips = [Clip(name, "", "") for name in "abc"]
    encoder.fit(clips, seed=0)
    expect(encoder.dim > 0, "frames without a width")
    for encoded in encoder.encode(clips):
        frames, _ = frame_store.checked(encoded, encoder.dim)
        expect(frames.shape[1:] == (encoder.dim,) and bool(np.isfinite(frames).all()), "frames of another form")
    return RIGHT


def npy_folder(case: Case) -> str:
    """Frames that are whole, but of any size, in a batch of one, or there twice: kept as they are, or refused."""
    rng, place = case.rng, case.folder / "frames"
    factor, double = rng.choice((1e-30, 1e-9, 1e-4, 1.0, 1e5, 1e30)), rng.random() < 0.2
    clips = [Clip(name, "", "") for name in ("a", "b", "café")]
    given = [factor * np.random.default_rng(k).normal(size=(3, 4)) for k in range(3)]
    for clip, frames in zip(clips, given, strict=True):
        path = place / clip.name / f"{unicodedata.normalize(rng.choice(('NFC', 'NFD')), clip.name)}.npy"
        path.parent.mkdir(parents=True)
        np.save(path, frames[None] if rng.random() < 0.3 else frames)
    if double:
        np.save(place / "a.npy", given[0])
    encoder = make_encoder(f"npy:{place}", case.bench.config)
    encoder.fit(clips, seed=0)
    for frames, encoded in zip(given, encoder.encode(clips), strict=True):
        kept, why = frame_store.checked(encoded, 4)
        expect(len(kept) == 3 and not double, f"frames that are lost, or chosen from two files: {why}")
        expect(np.allclose(kept * np.float64(encoder.unit), frames, rtol=2e-3, atol=1e-6 * factor), "other frames")
    return RIGHT


def npz(case: Case) -> str:
    """The predictions of a member, or what an encoder has learnt."""
    rng, own = case.rng, case.home()
    run, config = own.run, own.config
    if rng.random() < 0.5:
        member = rng.choice(members.plan(config, calibration=False))
        path = run.folder(STAGE2) / f"{member.stem}.npz"
        path.write_bytes(bad_npz(path, case))
        names = list(run.corpus.part("testing").name)
        probabilities = ensemble.soft_vote(path.parent, config, names)
        for task in TASKS:
            _check_probabilities(probabilities[task], len(OFFICIAL[task]))
        members.trained_on(path.parent, member)
        return _submit(case, ensemble.as_labels(probabilities, names, OFFICIAL), OFFICIAL)
    stream, name = rng.choice((("text", "tfidf_svd.npz"), ("visual", "face_geometry.npz")))
    path = run.encoder_folder(stream) / name
    path.write_bytes(bad_npz(path, case))
    return _predict(own)


def zip_submission(case: Case) -> str:
    """A submission, as csv or zip."""
    rng = case.rng
    names = [f"clip{k}" for k in range(5)]
    rows = [submission.HEADER, *((n, rng.choice(OFFICIAL.emotion), rng.choice(OFFICIAL.intent)) for n in names)]
    data = "".join(",".join(row) + "\n" for row in rows).encode()
    if rng.random() < 0.6:
        data = bad_csv(data, rng)
    path = case.folder / rng.choice(("submission.zip", "submission.csv"))
    path.write_bytes(data if path.suffix == ".csv" else bad_zip({submission.CSV_NAME: data}, case, like=".csv"))
    problems = submission.check(path, names=names, emotions=OFFICIAL.emotion, intents=OFFICIAL.intent)
    expect(all(problem.isprintable() for problem in problems), "a problem that is not one line")
    if problems:
        return f"{REFUSED}: list of problems"
    if path.suffix == ".zip":
        with zipfile.ZipFile(path) as archive:
            expect(archive.namelist() == [submission.CSV_NAME], "more than the table is in the zip")
            data = archive.read(submission.CSV_NAME)
    table = pd.read_csv(io.BytesIO(data), dtype=str, keep_default_na=False)
    expect(tuple(table) == submission.HEADER and sorted(table.filename) == names, "not one row a clip")
    expect(set(table.emo_pred) <= set(OFFICIAL.emotion) and set(table.int_pred) <= set(OFFICIAL.intent), "no label")
    return RIGHT


def mp4(case: Case) -> str:
    """A damaged clip."""
    path = case.folder / "a.mp4"
    path.write_bytes(mutations.damage(case.bench.clip.read_bytes(), case.rng))
    problem_of(path)
    if case.rng.random() < 0.2:
        predictor = Predictor(case.bench.model, device="cpu")
        return _check_predictions(predictor, predictor.predict([Clip("a", "好吗", str(path))]))
    match case.rng.randrange(3):
        case 0:
            pictures = read_frames(path, fps=2, size=16)
            expect(pictures.shape[1:] == (16, 16, 3) and pictures.dtype == np.uint8, "pictures of another form")
        case 1:
            samples = read_audio(path)
            expect(samples.ndim == 1 and samples.dtype == np.float32, "sound of another form")
        case 2:
            expect(media.read_seconds(path) >= 0, "a clip of less than no seconds")
    return RIGHT


def passing_error(case: Case) -> str:
    """A clip on a drive that fails once: reported, or not met; read again, all of it is there."""
    number, at, n_read = case.rng.choice(sorted(system.REMEDIES)), case.rng.randrange(1, 4), 0
    real = tracks._Reader.read

    def failing(file: tracks._Reader, size: int = -1) -> bytes:
        nonlocal n_read
        n_read += 1
        if n_read == at:
            raise OSError(number, os.strerror(number))
        return real(file, size)

    clip = Clip("a", "", str(case.bench.clip))
    whole = read_media(clip, read_audio)
    with mock.patch.object(tracks._Reader, "read", failing):
        try:
            read = read_media(clip, read_audio)
        except system.Unreadable:
            return "reported"
    same = n_read < at and np.array_equal(read.frames, whole.frames)
    expect(same, "an error of the drive is taken for one of the clip")
    return RIGHT


def lfs_pointer(case: Case) -> str:
    """What git leaves in place of a clip, frames, a model, a table or a result that Git LFS has not fetched."""
    folder, digest = case.folder, f"{case.rng.getrandbits(256):064x}"
    readers = {
        "a.mp4": lambda: problem_of(folder / "a.mp4"),
        "a.npy": lambda: NpyFrames(str(folder)).encode([Clip("a", "", "")])[0],
        "a.zip": lambda: NpyFrames(str(folder / "a.zip")),
        "a.csv": lambda: find_clips([case.bench.clip], texts=folder / "a.csv"),
        "a.json": lambda: files.read_json(folder / "a.json"),
        "model.safetensors": lambda: hub.locate(str(folder)),
    }
    name = case.rng.choice([*readers])
    (folder / name).write_text(f"version https://git-lfs.github.com/spec/v1\noid sha256:{digest}\nsize 9\n")
    (folder / "config.json").write_text("{}")
    try:
        message = str(readers[name]())
    except (ConfigError, files.Damaged) as error:
        message = str(error)
    expect(files.LFS_POINTER in message, "a Git LFS pointer is called something else")
    return f"named {name}"


def safetensors(case: Case) -> str:
    """A member's weights."""
    rng, own = case.rng, case.home()
    plan = members.plan(own.config, calibration=False)
    folder = own.run.folder(STAGE2)
    path = folder / members.weights_name(rng.choice(plan))
    if rng.random() < 0.5:
        path.write_bytes(mutations.damage(path.read_bytes(), rng))
    else:
        with safe_open(path, "pt") as file:
            metadata = file.metadata()
        state = load_file(path)
        key = rng.choice(sorted(state))
        changed = mutations.array(rng, state[key].numpy(), None)
        if rng.random() < 0.2:
            del state[key]
        elif changed.dtype.kind in "fiub" and changed.dtype.isnative and not changed.dtype.fields:
            state[key if rng.random() < 0.8 else "other"] = torch.from_numpy(changed.copy())
        path.write_bytes(save(state, metadata))
    if rng.random() < 0.5:
        network = workers.load_network(folder, plan, own.config.model)
        expect(all(p.isfinite().all() for p in network.parameters()), "weights that are not finite")
        return RIGHT
    return _predict(own)


def json_file(case: Case) -> str:
    """A run's model.json, done.json, meta.json and the other files of its kind."""
    rng, own = case.rng, case.home()
    run, text = own.run, own.run.encoder_folder("text")
    model = own.model / "model.json"
    restorer = [run.folder(TRANSCRIPTS) / name for name in ("restorer.json", "punctuation.json")]
    others = [text / "fitted.json", text / "vocabulary.json", *restorer]
    done, meta = run.folder(TRANSCRIPTS) / "done.json", run.stream_folder("audio") / "meta.json"
    path = rng.choice([model, model, model, done, meta, *others])
    if rng.random() < 0.4:
        path.write_bytes(mutations.damage(path.read_bytes(), rng))
    else:
        changed = mutations.change(json.loads(path.read_text(encoding="utf-8")), rng)
        path.write_text(json.dumps(changed, ensure_ascii=rng.random() < 0.5), encoding="utf-8")
    if path == done:
        expect(run.result(TRANSCRIPTS).is_dir(), "a step that is not done")
        return RIGHT
    if path == meta:
        _check_store(path.parent)
        return RIGHT
    return _predict(own)


def setting(case: Case) -> str:
    """Flags of the command line, and settings that are read back."""
    rng = case.rng
    plain = as_settings(case.bench.config)
    if rng.random() < 0.5:
        config = from_settings(mutations.change(json.loads(json.dumps(plain)), rng))
    else:
        flags = []
        for name, value in rng.sample(sorted(report_page.flat_settings(plain).items()), k=rng.choice((1, 1, 2, 4))):
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
    """Any text as a sentence, a clip's name or a label: restored, encoded, predicted, answered and reported."""
    rng = case.rng
    text, name = mutations.text(rng), mutations.text(rng)
    predictor = Predictor(case.bench.model, device="cpu")
    predictions = predictor.predict([Clip(name, text, "")])
    restored, no_marks = predictions[0].clip.sentence, str.maketrans("", "", "，。？！")
    expect(restored.translate(no_marks) == text.translate(no_marks), "more than marks was changed")
    encoded = predictor.encoders["text"].encode([Clip(name, text, "")])[0]
    expect(isinstance(encoded, NoFrames) == (not restored.strip()), "a sentence without frames")
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
            expect(not any(cell.startswith(("=", "+", "-", "@", "\t", "\r")) for cell in cells), "a formula")
    expect(_tags(text, name) == _tags("a", "b"), "a text has become part of the page")
    if rng.random() < 0.03:  # drawing takes long
        labels = [mutations.utf8(text), mutations.utf8(name) + "2"]  # tables are UTF-8, and labels come from them
        figures.to_png(figures.confusion(labels, labels[::-1], labels, title="title"))
    return _check_predictions(predictor, predictions)


# By name, in the order in which they take turns.
KINDS: dict[str, Callable[[Case], str]] = {
    make.__name__.replace("_", " "): make
    for make in (
        *(corpus_table, corpus_folder, run_table, npy, npy_folder, npz, zip_features, zip_submission, mp4),
        *(clip_kinds.container, clip_kinds.model, passing_error, lfs_pointer),
        *(safetensors, json_file, setting, sentence),
    )
}


def _check_store(folder: Path) -> None:
    store = frame_store.load(folder)
    spans = store.spans(list(store.index.index))
    expect(bool((spans >= 0).all() and (spans <= len(store.frames)).all()), "clips with frames that are not there")
    expect(bool((spans[:, 0] <= spans[:, 1]).all()), "a clip that ends before it begins")
    expect(store.index.index.is_unique, "a clip that stands twice")
    frame_store.describe("audio", store, Path("features"))


def _check_probabilities(p: np.ndarray, n_classes: int) -> None:
    expect(p.shape[1] == n_classes, "not one probability a class")
    expect(bool(np.isfinite(p).all() and np.allclose(p.sum(axis=1), 1, atol=1e-4)), "no probabilities")


def _predict(own: Bench) -> str:
    predictor = Predictor(own.model, device="cpu")
    clips = [Clip("a", "你今天去哪里了呢", str(own.clip)), Clip("b", "好", ""), Clip("c", "", "")]
    return _check_predictions(predictor, predictor.predict(clips))


def _check_predictions(predictor: Predictor, predictions: list) -> str:
    for prediction in predictions:
        for task in TASKS:
            expect(bool(prediction.probabilities[task]) == bool(prediction.streams), "a prediction of nothing")
            if prediction.streams:
                probabilities = np.array([list(prediction.probabilities[task].values())])
                _check_probabilities(probabilities, len(predictor.labels[task]))
    return RIGHT


def _submit(case: Case, predictions: pd.DataFrame, labels) -> str:
    path = submission.write(predictions, case.folder / "out")
    names = list(predictions.index)
    problems = submission.check(path, names=names, emotions=labels.emotion, intents=labels.intent)
    expect(not problems, f"a submission with problems: {problems}")
    with zipfile.ZipFile(path) as archive, archive.open(submission.CSV_NAME) as file:
        read = list(csv.reader(io.TextIOWrapper(file, "utf-8", newline=""), strict=True))[1:]
    expect(sorted(map(tuple, read)) == sorted(predictions.itertuples(name=None)), "a submission of other predictions")
    return RIGHT


@lru_cache(maxsize=100)
def _tags(text: str, other: str) -> list[tuple]:
    """The tags of a page with these texts."""
    table = report_page.Table(text, other, pd.DataFrame({other: [text]}))
    picture = report_page.Picture(other, text, "data:image/png;base64,AA")
    section = report_page.Section(text, [other], [table, picture], link=(text, "ablation.md"))
    html = report_page.render(title=text, intro=[text], sections=[section], made_with={text: other})
    html.encode("utf-8")
    tags, parser = [], HTMLParser()
    parser.handle_starttag = lambda tag, attrs: tags.append((tag, tuple(name for name, _ in attrs)))
    parser.feed(html)
    return tags
