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
    labels = _find_labels(paths, source)
    speakers = next((_open(path) for path in paths if path.name == "speaker.h5"), {})
    streams = {
        f"{p.parent.name}-{p.stem}": _open(p) for p in paths if p.suffix == ".h5" and p.parent.name in ("A", "V", "L")
    }
    require(bool(streams), f"{source} has no A/*.h5, V/*.h5, L/*.h5; needed: {NEEDS}")
    tables = []
    for s, part in SETS.items():
        emotion, intent, names = (_load(labels[s, kind]) for kind in LABELS)  # the first two are one-hot
        table = pd.DataFrame({"name": _texts(names), "part": part})
        table["emotion"] = [f"emotion-{k}" for k in emotion.argmax(axis=1)]
        tables.append(table.assign(intent=[f"intent-{k}" for k in intent.argmax(axis=1)]))
    clips = pd.concat(tables, ignore_index=True)
    clips["dialogue"] = clips.name.str.split("_").str[:2].str.join("_")
    clips["speaker"] = [
        f"{name.split('_')[0]}_{_texts(speakers[name])[0]}" if name in speakers else "" for name in clips.name
    ]
    in_none = [not any(name in arrays for arrays in streams.values()) for name in clips.name]
    clips["why"] = np.where(in_none, "no features", "")
    return Prepared(clips, NOTES, arrays=streams)


def _texts(values: np.ndarray) -> list[str]:
    return [value.decode() if isinstance(value, bytes) else str(value) for value in np.ravel(values)]


def _load(path: Path) -> np.ndarray:
    try:
        return np.load(path)
    except (ValueError, EOFError) as error:
        raise ConfigError(f"{path} cannot be read as .npy: {error}; get it again from its owners") from None


def _find_labels(paths: list[Path], source: Path) -> dict[tuple[str, str], Path]:
    """The label files of the first cross-validation of the only corpus below the source."""
    folders = sorted({path.parent for path in paths if path.name == "trn_int2name.npy"}, key=lambda f: (len(f.name), f))
    found = "several corpora" if folders else "no target/<cv>/trn_int2name.npy"
    is_one = len({folder.parent for folder in folders}) == 1
    require(is_one, f"{source} has {found}; give the folder of one language; needed: {NEEDS}")
    wanted = {(s, kind): folders[0] / f"{s}_{kind}.npy" for s in SETS for kind in LABELS}
    missing = ", ".join(str(path) for path in wanted.values() if path not in set(paths))
    require(not missing, f"missing: {missing}; get them again from the owners")
    return wanted


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
