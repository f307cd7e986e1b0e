"""A tiny MC-EIU, in the files that its owners' loader reads."""

import sys
import types

import numpy as np
import pytest

from meiju.config import ConfigError
from meiju.features.arrays import NpyFrames
from meiju.features.base import Clip
from owners_files import as_corpus, prepared
from toy_tables import write_files

NAMES = {"trn": [f"07_{d}_{t}" for d in range(6) for t in range(3)], "val": ["08_0_0", "08_0_1"], "tst": ["09_0_0"]}


@pytest.fixture
def source(tmp_path):
    source = tmp_path / "source"
    write_files(source, "A/wav2vec.h5", "V/manet.h5", "L/roberta.h5", "Speaker/speaker.h5")
    for cv in ("1", "2"):
        target = source / "target" / cv
        target.mkdir(parents=True)
        for s, names in NAMES.items():
            k = np.arange(len(names))
            np.save(target / f"{s}_emotion_label.npy", np.eye(7)[k % 3])
            np.save(target / f"{s}_intent_label.npy", np.eye(9)[k % 2])
            np.save(target / f"{s}_int2name.npy", np.array(names if cv == "1" else names[:1], dtype=bytes))
    return source


@pytest.fixture
def h5py(monkeypatch):
    """Stands in for h5py: each file holds every utterance but one."""
    names = [name for part in NAMES.values() for name in part]
    speakers = {name: np.array(k % 2) for k, name in enumerate(names)}
    frames = {name: np.full((2, 5), k, dtype=np.float32) for k, name in enumerate(names) if name != "07_5_2"}
    module = types.SimpleNamespace(File=lambda path, mode: speakers if path.name == "speaker.h5" else frames)
    monkeypatch.setitem(sys.modules, "h5py", module)


def test_features_become_streams(source, h5py, tmp_path):
    text, truth = prepared("mc-eiu", source, tmp_path / "out")
    corpus = as_corpus(tmp_path / "out", needs_media=False)
    assert corpus.clips.part.value_counts().to_dict() == {"training": 17, "validation": 2, "testing": 1}
    assert corpus.labels.emotion == ("emotion-0", "emotion-1", "emotion-2")
    clip = corpus.clips.set_index("name").loc["07_1_1"]
    assert tuple(clip[["emotion", "intent", "dialogue", "speaker"]]) == ("emotion-1", "intent-0", "07_1", "07_0")
    assert truth.loc["09_0_0"].emotion == "emotion-0"
    assert "- no features: 1 (07_5_2)" in text
    zips = {path.name for path in (tmp_path / "out" / "features").iterdir()}
    assert zips == {"A-wav2vec.zip", "V-manet.zip", "L-roberta.zip"}
    (frames,) = NpyFrames(str(tmp_path / "out" / "features" / "A-wav2vec.zip")).encode([Clip("07_1_1", "", None)])
    assert np.array_equal(frames, np.full((2, 5), 4))


def test_without_h5py_the_remedy_is_reported(source, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(ConfigError, match="pip install h5py"):
        prepared("mc-eiu", source, tmp_path / "out")


def test_two_languages_are_not_one_corpus(source, h5py, tmp_path):
    (source / "English" / "target" / "1").mkdir(parents=True)
    np.save(source / "English" / "target" / "1" / "trn_int2name.npy", np.array(["1_1_1"]))
    with pytest.raises(ConfigError, match="has several corpora"):
        prepared("mc-eiu", source, tmp_path / "out")
