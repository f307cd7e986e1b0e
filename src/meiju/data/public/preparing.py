"""What public corpora have in common: clips are linked, parts drawn, and tables written in the official layout.

The folder holds Annotation/ and NoAnnotation/ with the tables, clips/ with the clips of all parts, features/ where a
corpus comes as ready-made features, and a README.md. The labels of Testing and NoAnnotation stand outside it, in
<folder>-truth.csv. Tables are written last and replace older ones: the same clips can be drawn anew.
"""

import os
import shutil
import zipfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Literal

import numpy as np
import pandas as pd
from tqdm import tqdm

from meiju.config import require
from meiju.data.labels import TASKS
from meiju.features.media import read_seconds
from meiju.features.tracks import MediaError
from meiju.utils import files
from meiju.utils.clip_files import examples

TABLES = {
    "training": "Annotation/Training_transcription.csv",
    "validation": "Annotation/Validation_transcription.csv",
    "testing": "Annotation/Testing_transcription.csv",
    "unlabelled": "NoAnnotation/transcription.csv",
}
MARK = ".corpus"  # names the corpus in a folder that was begun; hidden, so that nobody takes it for one of its files

Media = Path | zipfile.Path


@dataclass(frozen=True)
class Prepared:
    """What an adapter has read from the owners' files.

    clips: one row per clip, with columns name, part (training, validation, testing), emotion, intent and, where the
    corpus has them, sentence, dialogue, speaker, media (where the clip lies, None if it is not there), why (the reason
    to leave it out, or "") and fold (of training clips, where published); where clips are pieces of long films, start
    and end in seconds as well. notes: what is to be known of the corpus. arrays: by stream, the ready-made frames of
    each clip.
    """

    clips: pd.DataFrame
    notes: list[str]
    arrays: dict[str, Mapping[str, np.ndarray]] = field(default_factory=dict)


def prepare(
    name: str,
    corpus: ModuleType,
    source: Path,
    out: Path,
    truth: Path,
    *,
    labelled: int | None = None,
    mix: Literal["balanced", "natural"] = "balanced",
    seed: int = 0,
    published: bool = False,
) -> str:
    """Bring a corpus into the official layout in the folder `out`; returns what its README.md says of it.

    truth: the csv file for the labels of Testing and NoAnnotation, outside of `out`. labelled: how many training clips
    keep their labels (None: all), drawn by mix and seed as `draw_labelled` does. What an interrupted call has linked is
    kept. Raises ConfigError before anything is written.
    """
    _check_places(name, source, out, truth)
    found = corpus.read(source, published)
    unknown = {"sentence": "", "dialogue": "", "speaker": "", "why": "", "media": None}
    clips = found.clips.reset_index(drop=True).assign(**{c: v for c, v in unknown.items() if c not in found.clips})
    _leave_out(clips, source, corpus)

    def with_pool(clips: pd.DataFrame) -> pd.DataFrame:
        """The clips, those of Training that are not drawn as unlabelled ones."""
        training = _kept(clips, "training")
        drawn = draw_labelled(training, labelled, mix=mix, seed=seed) if labelled is not None else {*training.name}
        return clips.assign(part=clips.part.mask(clips.name.isin({*training.name} - drawn), "unlabelled"))

    with_pool(clips)  # refused now rather than after all clips are linked
    files.write_text(out / MARK, name)
    files.sweep(out)
    _place(clips, out)
    for stream, arrays in found.arrays.items():
        _write_arrays(out / "features" / f"{stream}.zip", arrays, list(clips.name[clips.why == ""]))
    clips = with_pool(clips)
    for task in TASKS:  # no model could know of the classes that no labelled training clip has
        unseen = (clips.part == "validation") & ~clips[task].isin(_kept(clips, "training")[task])
        clips.loc[unseen & (clips.why == ""), "why"] = f"{task} that Training lacks"
    for path in set((out / "clips").glob("*")) - {out / file for file in clips.file[clips.why == ""]}:
        path.unlink()  # left out, or of an earlier call: a clip that no row names is an error
    _write_tables(clips, out, truth)
    notes = ["Parts as published."] if published else []
    notes += found.notes
    notes += ["No clips were found: sentences alone."] if clips.media.isna().all() and not found.arrays else []
    if labelled is not None:
        notes.append(f"{labelled} training clips have labels, drawn in a {mix} mix with seed {seed}.")
    text = _readme(f"{name}: {corpus.WHAT}", corpus, clips, notes, truth)
    files.write_text(out / "README.md", text)
    return text


def draw_groups(clips: pd.DataFrame, column: str, shares: Mapping[str, float], *, seed: int) -> pd.Series:
    """The part of each clip: whole groups (dialogues, speakers) are drawn for each part until it has its share.

    Clips of all other groups are training. It depends on the groups' names and sizes and on the seed alone.
    """
    sizes = clips[column].value_counts().sort_index()
    order = iter(np.random.default_rng(seed).permutation(len(sizes)))
    part_of = dict.fromkeys(sizes.index, "training")
    for part, share in shares.items():
        n_drawn = 0
        while n_drawn < share * len(clips) and (k := next(order, None)) is not None:
            part_of[sizes.index[k]] = part
            n_drawn += sizes.iloc[k]
    return clips[column].map(part_of)


def draw_labelled(training: pd.DataFrame, n: int, *, mix: str, seed: int) -> set[str]:
    """The names of n training clips that keep their labels; a smaller draw is part of a larger one.

    mix: 'natural' draws clips as they come, 'balanced' the same number of each emotion while there are clips of it.
    Each class of both tasks has one clip at least. It depends on names, labels and the seed alone. Raises ConfigError
    where there are not so many clips, or fewer are asked for than it takes to show each class.
    """
    require(n <= len(training), f"--labelled {n}: there are {len(training)} training clips")
    rows = training.sort_values("name", ignore_index=True)
    rows = rows.iloc[np.random.default_rng(seed).permutation(len(rows))]
    if mix == "balanced":
        rows = rows.iloc[np.argsort(rows.groupby("emotion").cumcount().to_numpy(), kind="stable")]
    is_first = ~rows.duplicated("emotion") | ~rows.duplicated("intent")
    require(n >= is_first.sum(), f"--labelled {n}: it takes {is_first.sum()} clips to have one of each class")
    return set(pd.concat([rows[is_first], rows[~is_first]]).name[:n])


def _check_places(name: str, source: Path, out: Path, truth: Path) -> None:
    mark, here, there = out / MARK, out.resolve(), source.resolve()
    is_ours = mark.is_file() and mark.read_text(encoding="utf-8") == name
    is_free = is_ours or not out.exists() or (out.is_dir() and not any(out.iterdir()))
    require(is_free, f"--out: {out} is there, and was not written for {name}; name another folder")
    apart = not here.is_relative_to(there) and not there.is_relative_to(here)
    require(apart, f"--out: {out} and {source} lie one within the other; name another folder")
    require(not truth.resolve().is_relative_to(here), f"--truth: {truth} would lie in the corpus; keep it outside")


def _kept(clips: pd.DataFrame, part: str) -> pd.DataFrame:
    return clips[(clips.part == part) & (clips.why == "")].sort_values("name", ignore_index=True)


def _leave_out(clips: pd.DataFrame, source: Path, corpus: ModuleType) -> None:
    """Add a reason to the rows that cannot be used. A test clip with one of its two labels is used: for that task."""
    rules = {
        "a second row of the same clip": clips.duplicated("name"),
        **{f"no {task}": (clips[task] == "") & (clips.part != "testing") for task in TASKS},
        "no label": (clips[list(TASKS)] == "").all(axis=1),
        "no clip of this name": clips.media.isna() & clips.media.notna().any(),  # without any, sentences are the corpus
    }
    for reason, holds in rules.items():
        clips.loc[holds & (clips.why == ""), "why"] = reason
    reasons = "; ".join(_reasons(clips)) or "no clips are listed"
    require((clips.why == "").any(), f"{source}: no clip can be used: {reasons}; needed: {corpus.NEEDS}")


def _place(clips: pd.DataFrame, out: Path) -> None:
    """Link each clip into clips/ and add the column `file`; what is damaged gets a reason."""
    wanted = clips[(clips.why == "") & clips.media.notna()]
    stems = [Path(media.name).stem for media in wanted.media] if "start" in clips else wanted.name
    names = [f"clips/{s}{Path(m.name).suffix.lower()}" for s, m in zip(stems, wanted.media, strict=True)]
    clips["file"] = pd.Series(names, wanted.index, dtype=object).reindex(clips.index, fill_value="")
    sources = dict(zip(names, wanted.media, strict=True))
    damaged = {}
    for file, media in tqdm(sources.items(), desc="clips", unit="clip", disable=None if sources else True):
        try:
            link(media, out / file)
        except MediaError as error:
            damaged[file] = f"damaged: {error}"
    clips["why"] = clips.why.mask(clips.file.isin(damaged), clips.file.map(damaged))


def link(media: Media, target: Path) -> None:
    """Link a clip, by a hard link, or copy it where the file system cannot link or it lies in a zip.

    A file that is there already, with as many bytes, is kept. Raises MediaError where the clip is damaged, and leaves
    nothing.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    size = media.stat().st_size if isinstance(media, Path) else media.root.getinfo(media.at).file_size
    if not target.exists() or target.stat().st_size != size:
        target.unlink(missing_ok=True)
        with suppress(OSError):  # on another file system, on one without hard links, or of another user's file
            if isinstance(media, Path):
                os.link(media.resolve(), target)
        if not target.exists():
            with files.atomic_path(target) as part, media.open("rb") as reader, part.open("wb") as writer:
                shutil.copyfileobj(reader, writer)
    try:
        if read_seconds(target) <= 0:
            raise MediaError("it lasts no time")
    except MediaError:
        target.unlink()
        raise


def _write_arrays(path: Path, arrays: Mapping[str, np.ndarray], names: list[str]) -> None:
    """Write a zip of <name>.npy, as npy: streams read it."""
    wanted = {f"{name}.npy": name for name in sorted(names) if name in arrays}
    with files.atomic_path(path) as part, zipfile.ZipFile(part, "w") as archive:
        for entry, name in tqdm(wanted.items(), desc=path.stem, unit="clip", disable=None):
            with archive.open(entry, "w", force_zip64=True) as file:
                np.save(file, np.asarray(arrays[name]), allow_pickle=False)


def _write_tables(clips: pd.DataFrame, out: Path, truth: Path) -> None:
    """Write the table of each part, the labels that these are not to show, and the published folds."""
    groups, spans = ["speaker", "dialogue"], ["file", "start", "end"] if "start" in clips else []
    tables = {truth: pd.concat([_kept(clips, "testing"), _kept(clips, "unlabelled")])}
    tables[truth] = tables[truth][["name", "part", *TASKS, *groups]].rename(columns={"name": "filename"})
    for part, file in TABLES.items():
        rows, labels = _kept(clips, part), TASKS if part in ("training", "validation") else ()
        table = rows[["sentence", *labels, *groups, *spans]].rename(columns={"sentence": "Subtitle"})
        table.insert(0, "FileName", rows.name if spans else rows.name + rows.file.map(lambda f: Path(f).suffix))
        tables[out / file] = table
    tables[out / "folds.csv"] = _kept(clips, "training").reindex(columns=["name", "fold"]).dropna()
    for path, table in tables.items():
        if len(table) or path == truth:
            files.write_text(path, table.to_csv(index=False))
        else:
            path.unlink(missing_ok=True)  # of an earlier call


def _reasons(clips: pd.DataFrame) -> list[str]:
    """How many clips are left out for each reason, with examples."""
    return [f"{reason}: {len(rows)} ({examples(list(rows.name))})" for reason, rows in clips.groupby("why") if reason]


def _readme(title: str, corpus: ModuleType, clips: pd.DataFrame, notes: list[str], truth: Path) -> str:
    lines = [f"# {title}", "", f"Source: {corpus.SOURCE}", f"Licence: {corpus.LICENCE}", *notes, "", "## Clips", ""]
    for part in TABLES:
        rows = _kept(clips, part)
        groups = [f"{rows[c].nunique()} {c}s" for c in ("speaker", "dialogue") if (rows[c] != "").any()]
        lines.append(f"- {part}: " + ", ".join([f"{len(rows)} clips", *groups]))
    for task in TASKS:
        counts = _kept(clips, "training")[task].value_counts()
        lines.append(f"- {task} of training clips: " + ", ".join(f"{label} {n}" for label, n in counts.items()))
    lines += ["", f"Labels of testing and unlabelled clips: {truth.name}, beside this folder."]
    lines += ["", "## Left out", "", *([f"- {line}" for line in _reasons(clips)] or ["nothing"])]
    return "\n".join(lines) + "\n"
