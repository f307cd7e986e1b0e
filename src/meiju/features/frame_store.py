"""The feature store: the frames of one stream for every clip, memory-mapped on disk.

frames.npy   [total frames, dim], the clips' frames one after another in the order of index.csv
index.csv    name, start, stop, input: whose frames are whose, and a hash of what they were made from; a clip without
             the stream has none (start = stop)
missing.csv  name, reason: the clips without the stream
notes.csv    name, note: a remark of the encoder on a clip, such as that no face was found
meta.json    the encoder with its settings and versions, its code, and a hash of what it learnt from
encoder/     what the encoder learnt

Frames are written clip by clip, so memory does not grow with the number of clips, and an extraction that was cut off
goes on after the last clip whose frames are whole. What workers finish before its turn waits in parts/. Where some
clips have changed, the frames of the others are taken over from an earlier store.
"""

import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm import tqdm

from meiju.config import ComputeConfig
from meiju.features.base import Clip, Encoded, Encoder, NoFrames, Noted
from meiju.utils import files
from meiju.utils.compute import map_in_workers, run_jobs

FILES = ("frames.npy", "index.csv", "missing.csv", "notes.csv", "meta.json")
MOST = 0.5  # of a part's clips: without more of them, a stream is not what it was taken for
SHOWN_REASONS = 3
NUMBER = re.compile(r"\d+")
SHOWN = 10  # missing clips named in the terminal; the file names all


@dataclass(frozen=True)
class Store:
    """Frames of one stream. `frames` [total, dim] is memory-mapped; `spans` maps a clip's name to (start, stop)."""

    frames: np.ndarray
    index: pd.DataFrame
    missing: pd.DataFrame
    meta: dict
    notes: pd.DataFrame = field(default_factory=pd.DataFrame)
    folder: Path | None = None

    @property
    def dim(self) -> int:
        """Width of a frame."""
        return self.frames.shape[1]

    @cached_property
    def inputs(self) -> dict[str, str]:
        """By clip name, the hash of what its frames were made from."""
        return self.index.input.to_dict()

    def spans(self, names: Sequence[str]) -> np.ndarray:
        """Rows of `frames` of each clip, [N, 2] (start, stop), in the order of `names`."""
        return self.index.loc[list(names), ["start", "stop"]].to_numpy(copy=True)

    def encoded(self, name: str) -> tuple[np.ndarray, str]:
        """Frames [frames, dim] of a clip and the note on it; where there are none, why."""
        start, stop = self.index.loc[name, ["start", "stop"]]
        table, column = (self.notes, "note") if stop > start else (self.missing, "reason")
        note = table.loc[table.name == name, column]
        return self.frames[start:stop], note.item() if len(note) else ""


def load(folder: Path) -> Store:
    """Open a finished store. Raises Damaged if its files are not whole, or not of one store."""
    with files.reading(folder / "index.csv", delete=folder):
        types = {"name": str, "input": str}
        index = pd.read_csv(folder / "index.csv", dtype=types, keep_default_na=False).set_index("name")
        if list(index) != ["start", "stop", "input"]:
            raise ValueError("has other columns than name, start, stop and input")
        if index.start.tolist() != [0, *index.stop[:-1]] or (index.start > index.stop).any():
            raise ValueError("no list of clips, one after another")
    with files.reading(folder / "missing.csv", delete=folder):
        missing = pd.read_csv(folder / "missing.csv", dtype=str, keep_default_na=False)
        if list(missing) != ["name", "reason"] or list(index.index[index.start == index.stop]) != list(missing.name):
            raise ValueError("names other clips than those without frames in index.csv")
    with files.reading(folder / "notes.csv", delete=folder):
        notes = pd.read_csv(folder / "notes.csv", dtype=str, keep_default_na=False)
        if list(notes) != ["name", "note"]:
            raise ValueError("has other columns than name and note")
    with files.reading(folder / "meta.json", delete=folder):
        meta = files.read_json(folder / "meta.json")
    with files.reading(folder / "frames.npy", delete=folder):
        # Copy-on-write, because torch warns of arrays that it could not write to.
        frames = np.load(folder / "frames.npy", mmap_mode="c", allow_pickle=False)
        wanted = (int(index.stop.max()), meta["dim"])
        if frames.shape != wanted or frames.dtype != np.float16:
            raise ValueError(f"holds {frames.dtype} {list(frames.shape)} where float16 {list(wanted)} is wanted")
    return Store(frames, index, missing, meta, notes, folder)


def describe(stream: str, store: Store, folder: Path) -> str:
    """What a store holds, and the clips that lack the stream: the first few by name, all of them in missing.csv."""
    lines = [f"{stream}: {len(store.frames)} frames of width {store.dim} from {len(store.index)} clips"]
    n_there = len(store.index) - len(store.missing)
    lines += [
        f"  {note}: {n} of {n_there} clips ({n / n_there:.1%})"
        for note, n in store.notes.note.value_counts().head(SHOWN).items()
    ]
    lines += [f"  missing: {clip.name}, {clip.reason}" for clip in store.missing.head(SHOWN).itertuples()]
    if len(store.missing) > SHOWN:
        lines.append(f"  and {len(store.missing) - SHOWN} more, see {folder / 'missing.csv'}")
    return "\n".join(lines)


def shortage(stream: str, store: Store, parts: Mapping[str, Sequence[str]]) -> str:
    """What to tell where too few clips of a part have frames of the stream: how many have none, and why; else "".

    parts: the names of the clips of each part. Too few are half of those that have what the stream reads, and none at
    all. A clip without sound or sentence has nothing that could be lost; a pool may lack it in every clip.
    """
    lines, reasons = [], store.missing.set_index("name").reason
    for part, names in parts.items():
        without = reasons.reindex(names).dropna()
        lost = without[[not _is_absence(reason, part) for reason in without]]
        n_able = len(names) - len(without) + len(lost)
        if len(lost) > MOST * n_able or (n_able == 0 < len(names) and part != "unlabelled"):
            alike = [NUMBER.sub("#", reason.replace(name, "")) for name, reason in without.items()]
            groups = without.groupby(np.array(alike), sort=False).agg(["size", "first"]).nlargest(SHOWN_REASONS, "size")
            why = "; ".join(f"{n}: {reason}" for n, reason in groups.itertuples(index=False))
            lines.append(f"{stream}: {len(without)} of {len(names)} {part} clips have no frames ({why})")
    return "\n".join(lines)


def _is_absence(reason: str, part: str) -> bool:
    """Whether a clip has nothing to make frames of, rather than something that was lost.

    Files of ready-made frames are made for all clips, except perhaps for those of the pool.
    """
    return reason.startswith(("no sentence", "there is no ", "there is neither ")) or (
        part == "unlabelled" and reason.startswith("no ")
    )


def extract(
    encoder: Encoder,
    clips: Sequence[Clip],
    fit_clips: Sequence[Clip],
    folder: Path,
    *,
    meta: dict,
    seed: int,
    n_jobs: int,
    label: str,
    inputs: Mapping[str, str] | None = None,
    earlier: Sequence[Path] = (),
    compute: ComputeConfig | None = None,
) -> Store:
    """Write the store of one stream, or finish one that was cut off; one that is whole is opened as it is.

    clips: all clips, sorted by name; fit_clips: those the encoder may learn from; of
    them it is given as many as it wants. inputs: by clip name, a hash of what
    its frames are made from. meta is kept in meta.json, and names whatever decides the frames besides the clips.
    earlier: folders of other stores of the stream: where their meta is the same, frames of clips with the same input
    are taken over. label names the stream in the progress bar. n_jobs and compute: see meiju.utils.compute. Raises Busy
    where another process extracts the same.
    """
    if is_whole(folder) and (folder / "encoder" / "fitted.json").exists():  # perhaps other processes are here too
        print(f"{label}: encoded before, see {folder}")
        load_fitted(encoder, folder / "encoder")
        return load(folder)
    inputs = inputs or {}
    fit_clips, encoder.n_jobs = _drawn(fit_clips, encoder.learns_from, seed), n_jobs
    with files.reserved(folder):
        if is_whole(folder):
            _fit_or_load(encoder, fit_clips, folder / "encoder", seed=seed)  # its folder has been lost
            return load(folder)
        (folder / "meta.json").unlink(missing_ok=True)
        files.sweep(folder)
        if encoder.learns:
            meta = meta | {"learnt from": files.digest([[clip.name, inputs.get(clip.name)] for clip in fit_clips])}
        known = _find_earlier(earlier, meta) if inputs else None
        if known and not (folder / "encoder").exists():
            _copy_folder(known.folder / "encoder", folder / "encoder")
        _fit_or_load(encoder, fit_clips, folder / "encoder", seed=seed)
        with files.named(folder / "frames.part.npy"), _Writer(folder, encoder.dim, whole=encoder.chunk) as writer:
            start = len(writer.spans)
            plan = _plan(encoder, clips, start, inputs, known)
            if known:
                n_new = sum(len(new) for _, new in plan)
                print(f"{label}: {len(clips) - n_new} of {len(clips)} clips are as they were in {known.folder.name}")
            chunks = _encode(encoder, plan, known, folder / "parts", compute or ComputeConfig(), n_jobs)
            with tqdm(total=len(clips), initial=start, desc=label, unit="clip", disable=None) as bar:
                for chunk, encoded in chunks:
                    for clip, (frames, note) in zip(chunk, encoded, strict=True):
                        writer.add(clip.name, frames, note, inputs.get(clip.name, ""))
                    writer.flush()
                    bar.update(len(chunk))
            writer.finish(meta | {"dim": encoder.dim})
        encoder.close()
    return load(folder)


def is_whole(folder: Path) -> bool:
    """Whether all files of a store are there; what the encoder learnt is not looked at."""
    return all((folder / name).exists() for name in FILES)


def write(folder: Path, names: Sequence[str], encoded: Encoded, *, dim: int) -> None:
    """Write a store of frames that are at hand; one that is whole stays as it is."""
    if is_whole(folder):
        return
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "meta.json").unlink(missing_ok=True)
    with _Writer(folder, dim, whole=1) as writer:
        done = len(writer.spans)
        for name, frames in zip(names[done:], encoded[done:], strict=True):
            writer.add(name, *checked(frames, dim), "")
        writer.finish({"dim": dim})


def _drawn(clips: Sequence[Clip], n: int | None, seed: int) -> list[Clip]:
    """At most `n` of the clips, by a lot that depends on each clip's name alone: one more clip changes one at most."""
    return list(clips) if n is None else sorted(clips, key=lambda clip: files.digest([seed, clip.name]))[:n]


def _copy_folder(source: Path, target: Path) -> None:
    """Copy a folder: it appears whole or not at all."""
    aside = target.with_name(f"{target.name}.copy")
    shutil.rmtree(aside, ignore_errors=True)
    shutil.copytree(source, aside)
    aside.rename(target)


def _fit_or_load(encoder: Encoder, clips: Sequence[Clip], folder: Path, *, seed: int) -> None:
    """Fit the encoder, unless an earlier, cut-off extraction did."""
    if not (folder / "fitted.json").exists():
        folder.mkdir(exist_ok=True)
        encoder.fit(clips, seed=seed)
        encoder.save(folder)
        # Written last: without it, what lies there may be incomplete.
        files.write_json(folder / "fitted.json", {"dim": encoder.dim})
    load_fitted(encoder, folder)


def load_fitted(encoder: Encoder, folder: Path) -> None:
    """Give an encoder what was learnt, from the folder `encoder` of a store."""
    with files.reading(folder, delete=folder.parent):
        encoder.load(folder)
        dim = files.read_json(folder / "fitted.json")["dim"]
        if type(dim) is not int or dim < 1 or encoder.dim not in (0, dim):
            raise ValueError(f"frames of width {dim!r} where {encoder.dim or 'a number'} is wanted")
        encoder.dim = dim


Checked = list[tuple[np.ndarray, str]]  # of each clip its frames and a note, or why there are none
Plan = list[tuple[Sequence[Clip], Sequence[Clip]]]  # chunks of clips, and those of a chunk that are to be encoded


def _find_earlier(folders: Sequence[Path], meta: dict) -> Store | None:
    """The newest whole store that was made by the same encoder, settings and code."""
    whole = [folder for folder in folders if is_whole(folder) and (folder / "encoder" / "fitted.json").exists()]
    for folder in sorted(whole, key=lambda folder: (folder / "meta.json").stat().st_mtime_ns, reverse=True):
        with suppress(files.Damaged):
            store = load(folder)
            if {key: value for key, value in store.meta.items() if key != "dim"} == meta:
                return store
    return None


def _plan(encoder: Encoder, clips: Sequence[Clip], start: int, inputs: Mapping[str, str], known: Store | None) -> Plan:
    """The chunks from clip `start` on, each with its clips that no earlier store knows.

    Chunks begin at the same clips wherever an extraction was cut off, so that parts of them are found again. A network
    sees a chunk as one batch, which decides the last digits: there, a chunk is taken over as a whole or not at all.
    """
    plan = []
    for a in range(start // encoder.chunk * encoder.chunk, len(clips), encoder.chunk):
        chunk = clips[a : a + encoder.chunk]
        new = chunk if known is None else [clip for clip in chunk if known.inputs.get(clip.name) != inputs[clip.name]]
        same_batch = known is not None and list(known.index.index[a : a + len(chunk)]) == [c.name for c in chunk]
        if new and not encoder.light:
            new = chunk
        plan.append((chunk, new if encoder.light or same_batch else chunk))
    return plan


def _encode(
    encoder: Encoder, plan: Plan, known: Store | None, parts: Path, compute: ComputeConfig, n_jobs: int
) -> Iterator[tuple[Sequence[Clip], Checked]]:
    """Chunks with their frames, in order whatever the number of workers; what is not new is taken from `known`."""
    todo = [new for _, new in plan if new]
    if encoder.track and (encoder.light or compute.backend != "loky"):
        fresh = _encode_in_workers(encoder, todo, parts, compute, n_jobs)
    else:
        fresh = _encode_here(encoder, todo, n_jobs if encoder.track else 1)
    for chunk, new in plan:
        encoded = dict(zip([clip.name for clip in new], next(fresh), strict=True)) if new else {}
        yield chunk, [encoded[clip.name] if clip.name in encoded else known.encoded(clip.name) for clip in chunk]
    next(fresh, None)  # lets the workers go


def _encode_here(encoder: Encoder, todo: Sequence[Sequence[Clip]], n_jobs: int) -> Iterator[Checked]:
    """Encode in this process, which a GPU belongs to, while workers read ahead."""
    if not todo:
        return
    for of_chunk in map_in_workers(encoder.reader(), todo, n_jobs=min(n_jobs, len(todo))):
        yield [checked(encoded, encoder.dim) for encoded in encoder.finish(of_chunk)]


def _encode_in_workers(
    encoder: Encoder, todo: Sequence[Sequence[Clip]], parts: Path, compute: ComputeConfig, n_jobs: int
) -> Iterator[Checked]:
    paths = [_part(parts, clips) for clips in todo]
    finished = {path for path in paths if path.exists()}
    left = [k for k, path in enumerate(paths) if path not in finished]
    parts.mkdir(exist_ok=True)
    jobs = [(encoder, todo[k], paths[k]) for k in left]
    ends = run_jobs(compute, _encode_part, jobs, n_jobs=min(n_jobs, len(jobs)), folder=parts)
    for path in paths:
        while path not in finished:
            finished.add(paths[left[next(ends)]])
        yield _read_part(path)
        path.unlink()
    next(ends, None)
    shutil.rmtree(parts)


def _part(parts: Path, clips: Sequence[Clip]) -> Path:
    """Where the frames of exactly these clips wait."""
    return parts / f"{files.digest([clip.name for clip in clips])}.npz"


def _encode_part(encoder: Encoder, clips: Sequence[Clip], path: Path) -> None:
    """Encode one chunk and keep it; runs in a worker process."""
    encoded = [checked(frames, encoder.dim) for frames in encoder.encode(clips)]
    frames, notes = zip(*encoded, strict=True)
    with files.atomic_path(path) as part, part.open("wb") as file:
        np.savez(file, frames=np.concatenate(frames), n=[len(f) for f in frames], notes=json.dumps(notes))


def _read_part(path: Path) -> Checked:
    with files.reading(path), path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
        frames = np.split(arrays["frames"], np.cumsum(arrays["n"])[:-1])
        return list(zip(frames, json.loads(str(arrays["notes"])), strict=True))


def checked(encoded: np.ndarray | Noted | NoFrames, dim: int) -> tuple[np.ndarray, str]:
    """Frames [frames, dim] float16 to keep, and what there is to say of them; where there are none, why."""
    nothing = np.empty((0, dim), np.float16)
    if isinstance(encoded, NoFrames):
        return nothing, str(encoded)
    frames, note = encoded if isinstance(encoded, Noted) else (encoded, "")
    if frames.ndim != 2 or frames.shape[1] != dim:
        return nothing, f"has shape {list(frames.shape)} where [frames, {dim}] is wanted"
    if len(frames) == 0:
        return nothing, "is empty: it has no frames"
    with np.errstate(over="ignore"):  # what float16 cannot hold becomes infinite
        kept = frames.astype(np.float16)
    if not np.isfinite(kept).all():
        return nothing, f"has {int((~np.isfinite(kept)).sum())} values that are not finite as float16"
    if frames.any() and not kept.any():
        return nothing, f"has no value that float16 tells from zero; the largest is {np.abs(frames).max():.1e}"
    return kept, note


class _Writer:
    """Appends clips to frames.part.npy and to a journal beside it; both take their final names in `finish`."""

    def __init__(self, folder: Path, dim: int, *, whole: int):
        self.folder, self.dim, self.whole = folder, dim, whole
        # Name, number of frames, the note or why there are none, and the hash of what they were made from.
        self.spans: list[tuple[str, int, str, str]] = []

    def __enter__(self):
        part, journal = self.folder / "frames.part.npy", self.folder / "journal.jsonl"
        for path in (part, journal):
            path.touch()
        self._frames, self._journal = part.open("r+b"), journal.open("r+", encoding="utf-8")
        self._header(0)
        self._resume()
        return self

    def __exit__(self, *_):
        try:
            self._frames.close()
        finally:  # on a full disk, closing fails too
            self._journal.close()

    def add(self, name: str, frames: np.ndarray, note: str, source: str) -> None:
        self._frames.write(np.ascontiguousarray(frames, dtype=np.float16).tobytes())
        # In ASCII, so that a line that is cut off anywhere, or holds a character that splits lines, is still read.
        self._journal.write(json.dumps([name, len(frames), note, source]) + "\n")
        self.spans.append((name, len(frames), note, source))

    def flush(self) -> None:
        """Frames first: a journal line must never promise frames that are not there."""
        self._frames.flush()
        self._journal.flush()

    def finish(self, meta: dict) -> None:
        """Give the store its final form. meta.json comes last and says that the rest is whole."""
        self.flush()
        self._header(sum(n for _, n, *_ in self.spans))
        self._frames.flush()
        os.fsync(self._frames.fileno())
        os.replace(self.folder / "frames.part.npy", self.folder / "frames.npy")
        table = pd.DataFrame(self.spans, columns=["name", "n", "note", "input"])
        table["stop"] = table.n.cumsum()
        table["start"] = table.stop - table.n
        files.write_text(self.folder / "index.csv", table[["name", "start", "stop", "input"]].to_csv(index=False))
        missing = table.loc[table.n == 0, ["name", "note"]].rename(columns={"note": "reason"})
        files.write_text(self.folder / "missing.csv", missing.to_csv(index=False))
        notes = table.loc[(table.n > 0) & (table.note != ""), ["name", "note"]]
        files.write_text(self.folder / "notes.csv", notes.to_csv(index=False))
        files.write_json(self.folder / "meta.json", meta)
        (self.folder / "journal.jsonl").unlink()

    def _header(self, n_frames: int) -> None:
        """The .npy header at the start of the file; numpy pads it so that a later, larger count fits in place."""
        description = {"descr": "<f2", "fortran_order": False, "shape": (n_frames, self.dim)}
        self._frames.seek(0)
        np.lib.format.write_array_header_1_0(self._frames, description)
        self._start = self._frames.tell()
        self._frames.seek(0, os.SEEK_END)

    def _resume(self) -> None:
        """Keep the clips whose journal line and frames are both whole, in whole chunks; cut off the rest.

        Whole chunks, because clips that a network sees in one batch get frames that depend on it by a rounding.
        """
        room = (self._frames.tell() - self._start) // (2 * self.dim)
        lines, used = [], 0
        for line in self._journal.read().splitlines(keepends=True):
            try:
                name, n_frames, note, source = json.loads(line)
            except ValueError:
                break
            if not line.endswith("\n") or used + n_frames > room:
                break
            used += n_frames
            lines.append(line)
            self.spans.append((name, n_frames, note, source))
        n_whole = len(lines) // self.whole * self.whole
        del lines[n_whole:], self.spans[n_whole:]
        self._journal.seek(0)
        self._journal.truncate()
        self._journal.writelines(lines)
        self._frames.truncate(self._start + sum(n for _, n, *_ in self.spans) * 2 * self.dim)
        self._frames.seek(0, os.SEEK_END)
