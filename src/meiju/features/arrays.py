"""Features that were extracted before: one .npy per clip, in a folder or a zip, as the baseline's extraction writes."""

import io
import math
import sys
import zipfile
from collections import Counter
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path, PurePosixPath

import numpy as np

from meiju.config import ConfigError
from meiju.features.base import Clip, Encoded, Encoder, NoFrames
from meiju.utils import files, system
from meiju.utils.clip_files import clip_name, walk

WANTED = "one file <clip's name>.npy per clip, [frames, dim] or [dim], in a folder or a zip"
FITTED_CLIPS = 50  # enough to find the usual width of a frame, and the size of its values
USUAL = (2.0**-6, 2.0**12)  # the largest value of a stream that float16 keeps well, with room for larger ones to come


class NpyFrames(Encoder):
    """Reads <name>.npy from anywhere below a folder, or from a .zip: [frames, dim], [1, frames, dim] or [dim].

    unit: frames are given in this unit, a power of two and the same for all clips. It is 1 unless the values are so
    large or small that float16, in which frames are kept, cannot hold them.
    """

    source = "files"

    def __init__(self, place: str):
        self.place, self.unit = Path(place).expanduser(), 1.0
        if not self.place.exists():
            raise ConfigError(f"--streams: no folder or zip file {self.place}")
        self._archive = _open_zip(self.place) if self.place.is_file() else None

    def fit(self, clips: Sequence[Clip], *, seed: int) -> None:
        """Find the width of a frame, the most common among the first clips, and the unit of these clips' values."""
        read = [self._read(clip.name) for clip in clips[:FITTED_CLIPS]]
        arrays = [array for array in read if isinstance(array, np.ndarray)]
        widths = Counter(array.shape[1] for array in arrays if array.ndim == 2 and array.size)
        if not widths:
            why = next(iter(read), "the training part is empty")
            raise ConfigError(f"--streams: {self.place} gives no frames for any of the first clips ({why}); {WANTED}")
        self.dim = widths.most_common(1)[0][0]
        self.unit = _unit(arrays)

    def encode(self, clips: Sequence[Clip]) -> Encoded:
        return [self._in_unit(self._read(clip.name)) for clip in clips]

    def save(self, folder: Path) -> None:
        files.write_json(folder / "unit.json", {"unit": self.unit})

    def load(self, folder: Path) -> None:
        self.unit = float(files.read_json(folder / "unit.json")["unit"])

    def missing_input(self, clips: Sequence[Clip]) -> str:
        """As for all encoders; raises as `require_one_each`."""
        names = [clip.name for clip in clips]
        self.require_one_each(names)
        return "" if any(name in self._entries for name in names) else f"has a .npy in {self.place}"

    def require_one_each(self, names: Sequence[str]) -> None:
        """Raise ConfigError if several files have the name of one of these clips: nobody says which is meant."""
        twice = [self._entries[name] for name in names if len(self._entries.get(name, [])) > 1]
        if twice:
            what = f"--streams: {self.place} has several files for {len(twice)} clips"
            raise ConfigError(f"{what} ({' and '.join(twice[0])}); name the folder of one corpus")

    def fingerprint(self) -> dict:
        return {"encoder": "npy"}

    def contents(self, known: Path) -> dict[str, str]:
        """By clip name, a hash of its frames: the zip's own checksum, or that of the file (see `content_hashes`)."""
        names = {name: entries[0] for name, entries in self._entries.items()}
        if self._archive:
            entries = {name: self._archive.getinfo(entry) for name, entry in names.items()}
            return {name: f"{entry.file_size}-{entry.CRC:08x}" for name, entry in entries.items()}
        hashes = files.content_hashes([self.place / entry for entry in names.values()], known, label=str(self.place))
        return dict(zip(names, hashes, strict=True))

    @cached_property
    def _entries(self) -> dict[str, list[str]]:
        """Entries of the zip, or paths below the folder, by clip name. Entries are looked up and never written out."""
        if self._archive:
            entries = self._archive.namelist()
        else:
            tree = walk(self.place)
            for path, why in tree.closed.items():
                print(f"--streams: passed over: {path} ({why}; make it readable)", file=sys.stderr)
            entries = [str(path.relative_to(self.place)) for path in tree.files]
        by_name: dict[str, list[str]] = {}
        for entry in entries:
            if entry.endswith(".npy"):
                by_name.setdefault(clip_name(PurePosixPath(entry).stem), []).append(entry)
        for entry in [entry for of_name in by_name.values() for entry in of_name]:
            # train/dia0_utt0.npy can be that of a clip train_dia0_utt0 too (see meiju.data.clip_media).
            *folders, name = PurePosixPath(entry).with_suffix("").parts
            for k in range(len(folders)):
                by_name.setdefault(clip_name("_".join([*folders[k:], name])), [entry])
        return by_name

    def _read(self, name: str) -> np.ndarray | NoFrames:
        """The array as it lies there, but for a single frame or a batch of one: [frames, dim]."""
        entries = self._entries.get(name)
        if entries is None:
            return NoFrames(f"no {name}.npy in {self.place}")
        self.require_one_each([name])
        entry, data = entries[0], b""
        try:
            with system.reading(self.place if self._archive else self.place / entry):
                data = self._archive.read(entry) if self._archive else (self.place / entry).read_bytes()
                array = np.load(io.BytesIO(data), allow_pickle=False)
        except system.Unreadable:
            raise
        except Exception as error:  # numpy and zipfile raise a dozen kinds for damaged data, TypeError among them
            if data.startswith(files.LFS_START):
                return NoFrames(f"{entry} {files.LFS_POINTER}")
            return NoFrames(f"{entry} cannot be read: {error}")
        if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiu":
            return NoFrames(f"{entry} holds no numbers")
        if array.ndim == 3 and len(array) == 1:
            return array[0]
        return array[None] if array.ndim == 1 else array

    def _in_unit(self, array: np.ndarray | NoFrames) -> np.ndarray | NoFrames:
        if isinstance(array, NoFrames) or (self.unit == 1 and array.dtype in (np.float16, np.float32)):
            return array
        with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, and is reported as that
            return (array / np.float64(self.unit)).astype(np.float32)


def _open_zip(path: Path) -> zipfile.ZipFile:
    try:
        with system.reading(path):
            return zipfile.ZipFile(path)
    except system.Unreadable:
        raise
    except Exception as error:  # zipfile raises several kinds for damaged data
        if files.is_lfs_pointer(path):
            raise ConfigError(f"--streams: {path} {files.LFS_POINTER}") from None
        raise ConfigError(f"--streams: {path} is neither a folder nor a zip file ({error}); {WANTED}") from None


def _unit(arrays: Sequence[np.ndarray]) -> float:
    """The unit in which the largest value of some arrays is about 1,000; 1 where that is not needed."""
    sizes = [np.abs(array[np.isfinite(array)].astype(np.float64)).max(initial=0) for array in arrays]
    largest = float(max(sizes))
    if largest == 0 or USUAL[0] <= largest <= USUAL[1]:
        return 1.0
    return 2.0 ** (math.floor(math.log2(largest)) - 10)
