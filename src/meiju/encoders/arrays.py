"""Features that were extracted before: one .npy per clip, in a folder or a zip, as the baseline's extraction writes."""

import io
import zipfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from meiju.config import ConfigError
from meiju.encoders.base import Clip, Encoded, Encoder, NoFrames
from meiju.utils import files

FITTED_CLIPS = 50  # enough to find the usual width of a frame
SIZE_LIMIT = 256 * 2**20  # bytes of one clip's frames; an hour has less, so more is a mistake or a zip bomb


class NpyFrames(Encoder):
    """Reads <name>.npy from anywhere below a folder, or from a .zip; arrays are [frames, dim] or [dim]."""

    source = "files"
    learns = False  # `fit` only finds the width of a frame

    def __init__(self, place: str):
        self.place = Path(place).expanduser()
        if not self.place.exists():
            raise ConfigError(f"--streams: no folder or zip file {self.place}")
        if self.place.is_file():
            try:
                zipfile.ZipFile(self.place).close()
            except Exception as error:  # zipfile raises several kinds for damaged data
                raise ConfigError(f"--streams: {self.place} is neither a folder nor a zip file ({error})") from None
        self._archive: zipfile.ZipFile | None = None
        self._entries: dict[str, str] | None = None

    def fit(self, clips: Sequence[Clip], *, seed: int) -> None:
        """Find the width of a frame: the most common among the first clips."""
        arrays = self.encode(clips[:FITTED_CLIPS])
        widths = Counter(
            array.shape[1] for array in arrays if isinstance(array, np.ndarray) and array.ndim == 2 and array.size
        )
        if not widths:
            problem = next(iter(arrays), "the training part is empty")
            raise ConfigError(f"--streams: {self.place} gives no frames for any of the first clips ({problem})")
        self.dim = widths.most_common(1)[0][0]

    def encode(self, clips: Sequence[Clip]) -> Encoded:
        return [self._read(clip.name) for clip in clips]

    def fingerprint(self) -> dict:
        return {"encoder": "npy"}

    def contents(self, known: Path) -> dict[str, str]:
        """By clip name, a hash of its frames: the zip's own checksum, or that of the file (see `content_hashes`)."""
        names = self._names()
        if self._archive:
            entries = {name: self._archive.getinfo(entry) for name, entry in names.items()}
            return {name: f"{entry.file_size}-{entry.CRC:08x}" for name, entry in entries.items()}
        hashes = files.content_hashes([self.place / entry for entry in names.values()], known, label=str(self.place))
        return dict(zip(names, hashes, strict=True))

    def _names(self) -> dict[str, str]:
        """Entry of the zip, or path below the folder, by clip name. Entries are looked up and never written out."""
        if self._entries is None:
            if self.place.is_file():
                self._archive = zipfile.ZipFile(self.place)
                entries = self._archive.namelist()
            else:
                entries = sorted(str(path.relative_to(self.place)) for path in self.place.rglob("*.npy"))
            self._entries = {PurePosixPath(e).stem: e for e in reversed(entries) if e.endswith(".npy")}
        return self._entries

    def _read(self, name: str) -> np.ndarray | NoFrames:
        entry = self._names().get(name)
        if entry is None:
            return NoFrames(f"no {name}.npy in {self.place}")
        size = self._archive.getinfo(entry).file_size if self._archive else (self.place / entry).stat().st_size
        if size > SIZE_LIMIT:
            return NoFrames(f"{entry} has more than {SIZE_LIMIT >> 20} MiB")
        try:
            data = self._archive.read(entry) if self._archive else (self.place / entry).read_bytes()
            array = np.load(io.BytesIO(data), allow_pickle=False)
        except Exception as error:  # numpy and zipfile raise a dozen kinds for damaged data, TypeError among them
            return NoFrames(f"{entry} cannot be read: {error}")
        if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiu":
            return NoFrames(f"{entry} holds no numbers")
        array = array[None] if array.ndim == 1 else array
        with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, and is reported as that
            return array if array.dtype in (np.float16, np.float32) else array.astype(np.float32)
