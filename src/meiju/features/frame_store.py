"""The feature store: the frames of one stream for every clip, memory-mapped on disk.

frames.npy   [total frames, dim], the clips' frames one after another in the order of index.csv
index.csv    name, start, stop, input, note: whose frames are whose, a hash of what they were made from, and a remark on
             them, such as that no face was found; of a clip without the stream (start = stop), why it has none
meta.json    the encoder with its settings and versions, its code, and a hash of what it learnt from
encoder/     what the encoder learnt

Clips are encoded in chunks. Each waits in a file in parts/ until all are done, so memory does not grow with the number
of clips, and an extraction that was cut off goes on with the chunks that are not there. Where some clips have changed,
the frames of the others are taken over from an earlier store.
"""

import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm import tqdm

from meiju.config import ComputeConfig
from meiju.features.base import Clip, Encoded, Encoder, NoFrames, Noted
from meiju.utils import files
from meiju.utils.compute import map_in_workers, run_jobs

COLUMNS = ["start", "stop", "input", "note"]
MOST = 0.5  # of a part's clips: without more of them, a stream is not what it was taken for
SHOWN = 10  # missing clips named in the terminal; the file names all
# How reasons begin where a clip has nothing to make frames of, rather than something that was lost; of the pool, for
# which ready-made frames may never have been made, all that begin with "no ".
ABSENT = ("no sentence", "there is no ", "there is neither ")


@dataclass(frozen=True)
class Store:
    """Frames of one stream: `frames` [total, dim], memory-mapped, and the table of clips in index.csv, by name."""

    frames: np.ndarray
    index: pd.DataFrame
    meta: dict
    folder: Path | None = None

    @property
    def dim(self) -> int:
        """Width of a frame."""
        return self.frames.shape[1]

    @property
    def missing(self) -> pd.Series:
        """Why a clip lacks the stream, by the name of each such clip."""
        return self.index.note[self.index.start == self.index.stop]

    def spans(self, names: Sequence[str]) -> np.ndarray:
        """Rows of `frames` of each clip, [N, 2] (start, stop), in the order of `names`."""
        return self.index.loc[list(names), ["start", "stop"]].to_numpy(copy=True)

    def encoded(self, name: str) -> tuple[np.ndarray, str]:
        """Frames [frames, dim] of a clip and the note on it; where there are none, why."""
        clip = self.index.loc[name]
        return self.frames[clip.start : clip.stop], clip.note


def load(folder: Path) -> Store:
    """Open a finished store. Raises Damaged if its files are not whole, or not of one store."""
    with files.reading(folder / "index.csv", delete=folder):
        types = {"name": str, "input": str, "note": str}
        index = pd.read_csv(folder / "index.csv", dtype=types, keep_default_na=False).set_index("name")[COLUMNS]
        if index.start.tolist() != [0, *index.stop[:-1]] or (index.start > index.stop).any():
            raise ValueError("no list of clips, one after another")
    with files.reading(folder / "meta.json", delete=folder):
        meta = files.read_json(folder / "meta.json")
    with files.reading(folder / "frames.npy", delete=folder):
        # Copy-on-write, because torch warns of arrays that it could not write to.
        frames = np.load(folder / "frames.npy", mmap_mode="c", allow_pickle=False)
        wanted = (int(index.stop.max()), meta["dim"])
        if frames.shape != wanted or frames.dtype != np.float16:
            raise ValueError(f"holds {frames.dtype} {list(frames.shape)} where float16 {list(wanted)} is wanted")
    return Store(frames, index, meta, folder)


def describe(stream: str, store: Store, folder: Path) -> str:
    """What a store holds, and the clips that lack the stream: the first few by name, all of them in index.csv."""
    lines = [f"{stream}: {len(store.frames)} frames of width {store.dim} from {len(store.index)} clips"]
    missing = store.missing
    notes = store.index.note.drop(missing.index)
    counts = notes[notes != ""].value_counts().head(SHOWN)
    lines += [f"  {note}: {n} of {len(notes)} clips ({n / len(notes):.1%})" for note, n in counts.items()]
    lines += [f"  missing: {name}, {reason}" for name, reason in missing.head(SHOWN).items()]
    if len(missing) > SHOWN:
        lines.append(f"  and {len(missing) - SHOWN} more, see {folder / 'index.csv'}")
    return "\n".join(lines)


def shortage(stream: str, store: Store, parts: Mapping[str, Sequence[str]]) -> str:
    """What to report where too few clips of a part have frames of the stream, with an example; else "".

    parts: the names of the clips of each part. Too few are half of those that have what the stream reads, and none at
    all. A clip without sound or sentence has nothing that could be lost; a pool may lack it in every clip.
    """
    lines = []
    for part, names in parts.items():
        without = store.missing.reindex(names).dropna()
        absent = ("no ", *ABSENT) if part == "unlabelled" else ABSENT
        n_able = len(names) - sum(reason.startswith(absent) for reason in without)
        n_lost = len(without) - (len(names) - n_able)
        if n_lost > MOST * n_able or (n_able == 0 < len(names) and part != "unlabelled"):
            example = f"such as {without.index[0]}: {without.iloc[0]}"
            lines.append(f"{stream}: {len(without)} of {len(names)} {part} clips have no frames ({example})")
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
    inputs: Mapping[str, str] | None = None,
    earlier: Sequence[Path] = (),
    compute: ComputeConfig | None = None,
) -> Store:
    """Write the store of one stream, or finish one that was cut off; one that is whole is opened as it is.

    clips: all clips, sorted by name; fit_clips: those the encoder may learn from. inputs: by clip name, a hash of what
    its frames are made from; meta: whatever else decides them. earlier: folders of other stores of the stream, from
    which frames are taken over where meta and input are the same. Raises Busy where another process extracts the same.
    """
    fitted, parts = folder / "encoder", folder / "parts"
    if _is_whole(folder):  # perhaps other processes are here too
        print(f"{label}: encoded before, see {folder}")
        load_fitted(encoder, fitted)
        return load(folder)
    inputs = inputs or {}
    encoder.n_jobs = n_jobs
    if encoder.learns_from is not None:  # by a random rank that a name alone decides: one more clip changes one at most
        fit_clips = sorted(fit_clips, key=lambda clip: files.digest([seed, clip.name]))[: encoder.learns_from]
    with files.reserved(folder):
        (folder / "meta.json").unlink(missing_ok=True)
        if type(encoder).fit is not Encoder.fit:
            meta = meta | {"learnt from": files.digest([[clip.name, inputs.get(clip.name)] for clip in fit_clips])}
        known = _find_earlier(earlier, meta) if inputs else None
        if not (fitted / "fitted.json").exists():  # as it does where an earlier extraction was cut off
            with files.atomic_folder(fitted) as part:
                if known:
                    shutil.copytree(known.folder / "encoder", part, dirs_exist_ok=True)
                else:
                    encoder.fit(fit_clips, seed=seed)
                    encoder.save(part)
                    files.write_json(part / "fitted.json", {"dim": encoder.dim})
        load_fitted(encoder, fitted)
        new = list(clips)
        if known:
            new = _changed(encoder, clips, inputs, known)
            print(f"{label}: {len(clips) - len(new)} of {len(clips)} clips are as they were in {known.folder.name}")
        chunks = [new[a : a + encoder.chunk] for a in range(0, len(new), encoder.chunk)]
        todo = [chunk for chunk in chunks if not _part(parts, chunk).exists()]
        n_done = len(clips) - sum(map(len, todo))
        with tqdm(total=len(clips), initial=n_done, desc=label, unit="clip", disable=None) as bar:
            for k in _encode(encoder, todo, parts, compute or ComputeConfig(), n_jobs):
                bar.update(len(todo[k]))
        names, encoded = {clip.name for clip in new}, _encoded(chunks, parts)
        of_clips = (next(encoded) if clip.name in names else known.encoded(clip.name) for clip in clips)
        rows = ((c.name, *of_clip, inputs.get(c.name, "")) for c, of_clip in zip(clips, of_clips, strict=True))
        write(folder, rows, dim=encoder.dim, meta=meta)
        shutil.rmtree(parts, ignore_errors=True)
        encoder.close()
    return load(folder)


def _is_whole(folder: Path) -> bool:
    return all((folder / name).exists() for name in ("frames.npy", "index.csv", "meta.json", "encoder/fitted.json"))


def write(folder: Path, clips: Iterable[tuple[str, np.ndarray, str, str]], *, dim: int, meta: dict) -> None:
    """Write a store of clips: name, frames and note as `checked` gives them, input. meta.json comes last."""
    rows, n, header = [], 0, {"descr": "<f2", "fortran_order": False}
    with files.atomic_path(folder / "frames.npy") as part, part.open("wb") as file:
        # numpy pads the header, so that the number of frames, known at the end, fits in place.
        np.lib.format.write_array_header_1_0(file, header | {"shape": (0, dim)})
        for name, frames, note, source in clips:
            file.write(frames.tobytes())
            rows.append((name, n, n + len(frames), source, note))
            n += len(frames)
        file.seek(0)
        np.lib.format.write_array_header_1_0(file, header | {"shape": (n, dim)})
    table = pd.DataFrame(rows, columns=["name", *COLUMNS])
    files.write_text(folder / "index.csv", table.to_csv(index=False))
    files.write_json(folder / "meta.json", meta | {"dim": dim})


def load_fitted(encoder: Encoder, folder: Path) -> None:
    """Give an encoder what was learnt, from the folder `encoder` of a store."""
    with files.reading(folder, delete=folder.parent):
        encoder.load(folder)
        dim = files.read_json(folder / "fitted.json")["dim"]
        if type(dim) is not int or dim < 1 or encoder.dim not in (0, dim):
            raise ValueError(f"frames of width {dim!r}")
        encoder.dim = dim


Checked = tuple[np.ndarray, str]  # of a clip, its frames and the note on them, or why there are none


def _find_earlier(folders: Sequence[Path], meta: dict) -> Store | None:
    """The newest whole store that was made by the same encoder, settings and code."""
    whole = filter(_is_whole, folders)
    for folder in sorted(whole, key=lambda folder: (folder / "meta.json").stat().st_mtime_ns, reverse=True):
        with suppress(files.Damaged):
            store = load(folder)
            if {key: value for key, value in store.meta.items() if key != "dim"} == meta:
                return store
    return None


def _changed(encoder: Encoder, clips: Sequence[Clip], inputs: Mapping[str, str], known: Store) -> list[Clip]:
    """The clips that are not in an earlier store as they are now.

    A network reads a chunk as one batch, which decides the last digits: there, a chunk is taken over as a whole, from
    a store in which it was one, or not at all.
    """
    changed, before = [], known.index.input.to_dict()
    for a in range(0, len(clips), encoder.chunk):
        chunk = clips[a : a + encoder.chunk]
        new = [clip for clip in chunk if before.get(clip.name) != inputs[clip.name]]
        if not encoder.light:
            same_batch = list(known.index.index[a : a + encoder.chunk]) == [clip.name for clip in chunk]
            new = chunk if new or not same_batch else []
        changed += new
    return changed


def _encode(
    encoder: Encoder, todo: Sequence[Sequence[Clip]], parts: Path, compute: ComputeConfig, n_jobs: int
) -> Iterator[int]:
    """Encode chunks of clips, each into a file of its own; yields the number of each as it ends.

    A large network runs in this process, which a GPU belongs to, while workers read ahead.
    """
    parts.mkdir(exist_ok=True)
    n_jobs = min(n_jobs if encoder.track else 1, len(todo))
    if encoder.track and (encoder.light or compute.backend != "loky"):
        jobs = [(encoder, clips, parts) for clips in todo]
        yield from run_jobs(compute, _write_part, jobs, n_jobs=n_jobs, folder=parts)
    elif todo:
        for k, read in enumerate(map_in_workers(encoder.reader(), todo, n_jobs=n_jobs)):
            _write_part(encoder, todo[k], parts, encoder.finish(read))
            yield k


def _write_part(encoder: Encoder, clips: Sequence[Clip], parts: Path, encoded: Encoded | None = None) -> None:
    """Keep a chunk that was encoded, or encode it here, in a worker process."""
    frames, notes = zip(*(checked(of_clip, encoder.dim) for of_clip in encoded or encoder.encode(clips)), strict=True)
    # One file: three of a store would take longer than the encoding of sentences.
    with files.atomic_path(_part(parts, clips)) as part, part.open("wb") as file:
        np.savez(file, frames=np.concatenate(frames), n=[len(f) for f in frames], notes=notes)


def _part(parts: Path, clips: Sequence[Clip]) -> Path:
    """Where the frames of exactly these clips wait."""
    return parts / f"{files.digest([clip.name for clip in clips])}.npz"


def _encoded(chunks: Iterable[Sequence[Clip]], parts: Path) -> Iterator[Checked]:
    """What waits of the clips of these chunks, in order."""
    for chunk in chunks:
        path = _part(parts, chunk)
        with files.reading(path), np.load(path, allow_pickle=False) as arrays:
            frames = np.split(arrays["frames"], np.cumsum(arrays["n"])[:-1])
            encoded = list(zip(frames, arrays["notes"].tolist(), strict=True))
        yield from encoded


def checked(encoded: np.ndarray | Noted | NoFrames, dim: int) -> Checked:
    """Frames [frames, dim] float16 to keep, and what there is to say of them; where there are none, why."""
    nothing = np.empty((0, dim), np.float16)
    if isinstance(encoded, NoFrames):
        return nothing, str(encoded)
    frames, note = encoded if isinstance(encoded, Noted) else (encoded, "")
    if frames.ndim != 2 or frames.shape[1] != dim or len(frames) == 0:
        return nothing, f"has shape {list(frames.shape)} where [frames, {dim}] is wanted"
    with np.errstate(over="ignore"):  # what float16 cannot hold becomes infinite
        kept = frames.astype(np.float16)
    if not np.isfinite(kept).all():
        return nothing, "has values that are not finite as float16"
    if frames.any() and not kept.any():
        return nothing, "has no value that float16 tells from zero"
    return kept, note
