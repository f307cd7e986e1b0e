"""MC-EIU: ready-made features of sound, pictures and text; 7 emotions, 9 intents; English or Mandarin.

Follows the loader of github MC-EIU/MC-EIU, data/multimodal_history_dataset.py at commit 2c1d578: A/<type>.h5,
V/<type>.h5, L/<type>.h5 with one array per utterance, Speaker/speaker.h5, and target/<cv>/ with one-hot labels and
names, <series>_<dialogue>_<turn>. Of several cross-validations, the first is taken. The files do not say how the
classes are called, so they are numbered. Written from the loader alone: never run on the owners' files.

The challenge's clips come from this corpus: whoever trains on both may train on test labels of the challenge.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from meiju.config import ConfigError, require
from meiju.data.public.preparing import Prepared
from meiju.data.public.sources import files_below

WHAT = "ready-made features of dialogues, English or Mandarin, 7 emotions, 9 intents"
LICENCE = "CC BY-NC 4.0, not to be passed on"
SOURCE = "https://huggingface.co/datasets/YulangZhuo/MC-EIU and https://github.com/MC-EIU/MC-EIU"
NEEDS = "one language's A/*.h5, V/*.h5, L/*.h5, Speaker/speaker.h5 and target/<cv>/*.npy; and the package h5py"
SETS = {"trn": "training", "val": "validation", "tst": "testing"}
LABELS = ("emotion_label", "intent_label", "int2name")
NOTES = [
    "Classes are numbered as in the owners' files, which do not name them. There are no sentences and no clips.",
    "Never mix it with the challenge's data, which comes from it: its labels may be the challenge's test labels.",
    "Its frames are streams, such as --streams audio=npy:DIR/features/A-<type>.zip visual=... text=...",
]


def read(source: Path, published: bool) -> Prepared:
    """The utterances of the first cross-validation's three sets, with all feature files that are there."""
    paths = files_below(source)
    target = _find_labels(paths, source)
    speakers = next((_open(path) for path in paths if path.name == "speaker.h5"), {})
    arrays = [path for path in paths if path.suffix == ".h5" and path.parent.name in ("A", "V", "L")]
    streams = {f"{path.parent.name}-{path.stem}": _open(path) for path in arrays}
    require(bool(streams), f"{source} has no A/*.h5, V/*.h5, L/*.h5; needed: {NEEDS}")
    tables = []
    for s, part in SETS.items():
        emotion, intent, names = (_load(target / f"{s}_{kind}.npy") for kind in LABELS)  # the first two are one-hot
        table = pd.DataFrame({"name": _texts(names), "part": part})
        table["emotion"] = [f"emotion-{k}" for k in emotion.argmax(axis=1)]
        tables.append(table.assign(intent=[f"intent-{k}" for k in intent.argmax(axis=1)]))
    clips = pd.concat(tables, ignore_index=True)
    clips["dialogue"] = clips.name.str.split("_").str[:2].str.join("_")
    number = [_texts(speakers[name])[0] if name in speakers else "" for name in clips.name]
    series = clips.name.str.partition("_")[0]
    clips["speaker"] = (series + "_" + number).where(pd.Series(number) != "", "")
    clips["why"] = ["" if any(name in arrays for arrays in streams.values()) else "no features" for name in clips.name]
    return Prepared(clips, NOTES, arrays=streams)


def _texts(values: np.ndarray) -> list[str]:
    return [value.decode() if isinstance(value, bytes) else str(value) for value in np.ravel(values)]


def _load(path: Path) -> np.ndarray:
    try:
        return np.load(path)
    except (FileNotFoundError, ValueError, EOFError) as error:
        raise ConfigError(f"{path} cannot be read as .npy: {error}; get it again from its owners") from None


def _find_labels(paths: list[Path], source: Path) -> Path:
    """The folder with the labels of the first cross-validation of the only corpus below the source."""
    folders = sorted({path.parent for path in paths if path.name == "trn_int2name.npy"}, key=lambda f: (len(f.name), f))
    found = "several corpora" if folders else "no target/<cv>/trn_int2name.npy"
    is_one = len({folder.parent for folder in folders}) == 1
    require(is_one, f"{source} has {found}; give the folder of one language; needed: {NEEDS}")
    return folders[0]


def _open(path: Path) -> Mapping[str, np.ndarray]:
    """An HDF5 file: its arrays by name, each read when it is asked for."""
    try:
        import h5py  # no part of requirements.txt: nothing else needs it
    except ImportError:
        raise ConfigError("mc-eiu comes as HDF5; give .venv/bin/pip install h5py, then this again") from None
    try:
        return h5py.File(path, "r")
    except OSError as error:
        raise ConfigError(f"{path} cannot be read as HDF5: {error}; get it again from its owners") from None
