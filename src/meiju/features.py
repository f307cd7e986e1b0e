"""The feature store: the frames of one stream for every clip, memory-mapped on disk.

frames.npy   [total frames, dim], the clips' frames one after another in the order of index.csv
index.csv    name, start, stop: whose frames are whose; a clip without the stream has none (start = stop)
missing.csv  name, reason: the clips without the stream
notes.csv    name, note: what the encoder says of a clip, such as that no face was found
meta.json    the encoder with its settings and versions, and the hash of what it read

Frames are written clip by clip, so memory does not grow with the number of clips, and an extraction that was cut off
goes on after the last clip whose frames are whole.
"""

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
from tqdm import tqdm

from meiju import files
from meiju.encoders import Clip, Encoded, Encoder, NoFrames, Noted

SHOWN = 10  # missing clips named in the terminal; the file names all


@dataclass(frozen=True)
class Store:
    """Frames of one stream. `frames` [total, dim] is memory-mapped; `spans` maps a clip's name to (start, stop)."""

    frames: np.ndarray
    index: pd.DataFrame
    missing: pd.DataFrame
    meta: dict
    notes: pd.DataFrame = field(default_factory=pd.DataFrame)

    @property
    def dim(self) -> int:
        """Width of a frame."""
        return self.frames.shape[1]

    def spans(self, names: Sequence[str]) -> np.ndarray:
        """Rows of `frames` of each clip, [N, 2] (start, stop), in the order of `names`."""
        return self.index.loc[list(names), ["start", "stop"]].to_numpy(copy=True)


def load(folder: Path) -> Store:
    """Open a finished store."""
    index = pd.read_csv(folder / "index.csv", dtype={"name": str}, keep_default_na=False).set_index("name")
    missing, notes = (pd.read_csv(folder / f"{t}.csv", dtype=str, keep_default_na=False) for t in ("missing", "notes"))
    # Copy-on-write, because torch warns of arrays that it could not write to.
    frames = np.load(folder / "frames.npy", mmap_mode="c")
    return Store(frames, index, missing, files.read_json(folder / "meta.json"), notes)


def describe(stream: str, store: Store, folder: Path) -> str:
    """What a store holds, and the clips that lack the stream: the first few by name, all of them in missing.csv."""
    lines = [f"{stream}: {len(store.frames)} frames of width {store.dim} from {len(store.index)} clips"]
    n_there = len(store.index) - len(store.missing)
    lines += [
        f"  {note}: {n} of {n_there} clips ({n / n_there:.1%})" for note, n in store.notes.note.value_counts().items()
    ]
    lines += [f"  missing: {clip.name}, {clip.reason}" for clip in store.missing.head(SHOWN).itertuples()]
    if len(store.missing) > SHOWN:
        lines.append(f"  and {len(store.missing) - SHOWN} more, see {folder / 'missing.csv'}")
    return "\n".join(lines)


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
) -> Store:
    """Write the store of one stream, or finish one that was cut off; one that is whole is opened as it is.

    clips: all clips, sorted by name; fit_clips: those the encoder may learn from. meta is kept in meta.json. label
    names the stream in the progress bar.
    """
    if (folder / "meta.json").exists():
        return load(folder)
    folder.mkdir(parents=True, exist_ok=True)
    _fit_or_load(encoder, fit_clips, folder / "encoder", seed=seed)
    with _Writer(folder, encoder.dim, whole=encoder.chunk) as writer:
        todo = clips[len(writer.spans) :]
        with tqdm(total=len(clips), initial=len(writer.spans), desc=label, unit="clip", disable=None) as bar:
            for chunk, encoded in _encode(encoder, todo, n_jobs=n_jobs):
                for clip, frames in zip(chunk, encoded, strict=True):
                    writer.add(clip.name, *checked(frames, encoder.dim))
                writer.flush()
                bar.update(len(chunk))
        writer.finish(meta | {"dim": encoder.dim})
    return load(folder)


def write(folder: Path, names: Sequence[str], encoded: Encoded, *, dim: int) -> None:
    """Write a store of frames that are at hand; one that is whole stays as it is."""
    if (folder / "meta.json").exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    with _Writer(folder, dim, whole=1) as writer:
        done = len(writer.spans)
        for name, frames in zip(names[done:], encoded[done:], strict=True):
            writer.add(name, *checked(frames, dim))
        writer.finish({"dim": dim})


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
    encoder.load(folder)
    encoder.dim = files.read_json(folder / "fitted.json")["dim"]


def _encode(encoder: Encoder, clips: Sequence[Clip], *, n_jobs: int) -> Iterator[tuple[Sequence[Clip], list]]:
    """Chunks of clips with their frames, in order whatever the number of workers.

    Workers read ahead while this process finishes what they read.
    """
    chunks = [clips[k : k + encoder.chunk] for k in range(0, len(clips), encoder.chunk)]
    workers = n_jobs if encoder.in_workers and len(chunks) > 1 else 1
    parallel = joblib.Parallel(n_jobs=workers, return_as="generator", pre_dispatch="2 * n_jobs")
    read = encoder.reader()
    for chunk, inputs in zip(chunks, parallel(joblib.delayed(read)(chunk) for chunk in chunks), strict=True):
        yield chunk, encoder.finish(inputs)


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
        frames = frames.astype(np.float16)
    if not np.isfinite(frames).all():
        return nothing, f"has {int((~np.isfinite(frames)).sum())} values that are not finite as float16"
    return frames, note


class _Writer:
    """Appends clips to frames.part.npy and to a journal beside it; both take their final names in `finish`."""

    def __init__(self, folder: Path, dim: int, *, whole: int):
        self.folder, self.dim, self.whole = folder, dim, whole
        self.spans: list[tuple[str, int, str]] = []  # name, number of frames, the note or why there are none

    def __enter__(self):
        part, journal = self.folder / "frames.part.npy", self.folder / "journal.jsonl"
        for path in (part, journal):
            path.touch()
        self._frames, self._journal = part.open("r+b"), journal.open("r+", encoding="utf-8")
        self._header(0)
        self._resume()
        return self

    def __exit__(self, *_):
        self._frames.close()
        self._journal.close()

    def add(self, name: str, frames: np.ndarray, note: str) -> None:
        self._frames.write(np.ascontiguousarray(frames, dtype=np.float16).tobytes())
        # In ASCII, so that a line that is cut off anywhere, or holds a character that splits lines, is still read.
        self._journal.write(json.dumps([name, len(frames), note]) + "\n")
        self.spans.append((name, len(frames), note))

    def flush(self) -> None:
        """Frames first: a journal line must never promise frames that are not there."""
        self._frames.flush()
        self._journal.flush()

    def finish(self, meta: dict) -> None:
        """Give the store its final form. meta.json comes last and says that the rest is whole."""
        self.flush()
        self._header(sum(n for _, n, _ in self.spans))
        self._frames.flush()
        os.fsync(self._frames.fileno())
        os.replace(self.folder / "frames.part.npy", self.folder / "frames.npy")
        table = pd.DataFrame(self.spans, columns=["name", "n", "note"])
        table["stop"] = table.n.cumsum()
        table["start"] = table.stop - table.n
        files.write_text(self.folder / "index.csv", table[["name", "start", "stop"]].to_csv(index=False))
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
                name, n_frames, note = json.loads(line)
            except ValueError:
                break
            if not line.endswith("\n") or used + n_frames > room:
                break
            used += n_frames
            lines.append(line)
            self.spans.append((name, n_frames, note))
        n_whole = len(lines) // self.whole * self.whole
        del lines[n_whole:], self.spans[n_whole:]
        self._journal.seek(0)
        self._journal.truncate()
        self._journal.writelines(lines)
        self._frames.truncate(self._start + sum(n for _, n, _ in self.spans) * 2 * self.dim)
        self._frames.seek(0, os.SEEK_END)
