import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from meiju.config import ConfigError
from meiju.features import frame_store
from meiju.features.base import Clip, Encoder, NoFrames, Noted
from meiju.utils import files

DIM, CHUNK = 3, Encoder.chunk
NAMES = [f"片段{k:03d}" for k in range(70)]  # three chunks
CLIPS = [Clip(name, "", "") for name in NAMES]
STORE = ["frames.npy", "index.csv", "meta.json"]


def frames_of(k: int) -> np.ndarray:
    """Frames of clip k: one to five of them, with fractions that float16 must round."""
    return np.random.default_rng(k).normal(size=(1 + k % 5, DIM)).astype(np.float32)


BAD = {
    NAMES[2]: (NoFrames("没有\u2028“声音”,\nnone"), "没有\u2028“声音”,\nnone"),
    NAMES[6]: (np.array([[1e6, 0, 0]], np.float32), "has values that are not finite as float16"),
    NAMES[9]: (np.full((2, DIM), 1e-9, np.float32), "has no value that float16 tells from zero"),
    NAMES[7]: (np.zeros((2, DIM + 1), np.float32), "has shape [2, 4] where [frames, 3] is wanted"),
    NAMES[8]: (np.zeros(DIM, np.float32), "has shape [3] where [frames, 3] is wanted"),
    NAMES[40]: (np.zeros((0, DIM), np.float32), "has shape [0, 3] where [frames, 3] is wanted"),
}


class Fake(Encoder):
    """Known frames for every clip; breaks off once `patience` clips are encoded. options: attributes of an Encoder."""

    def __init__(self, patience: int = 10**9, bad=BAD, **options):
        vars(self).update({"dim": 0, "patience": patience, "bad": bad, "fitted_on": [], "encoded": []} | options)

    def fit(self, clips, *, seed):
        if not clips:
            raise ConfigError("nothing to learn from")
        self.fitted_on = [clip.name for clip in clips]
        self.dim = DIM

    def save(self, folder):
        (folder / "width").write_text(str(self.dim))

    def load(self, folder):
        self.dim = int((folder / "width").read_text())

    def fingerprint(self):
        return {}

    def encode(self, clips):
        return [self._encode(clip) for clip in clips]

    def _encode(self, clip):
        if len(self.encoded) == self.patience:
            raise KeyboardInterrupt
        self.encoded.append(clip.name)
        return self.bad[clip.name][0] if clip.name in self.bad else frames_of(NAMES.index(clip.name))


def extract(encoder, folder: Path, clips=CLIPS, to_fit=CLIPS[:3], **options) -> frame_store.Store:
    usual = {"meta": {"encoder": "fake"}, "seed": 0, "n_jobs": 1, "label": "fake"}
    return frame_store.extract(encoder, clips, to_fit, folder, **usual | options)


def contents(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in STORE}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("undisturbed") / "store"
    extract(Fake(), folder)
    return contents(folder)


def test_store_holds_every_clips_frames_in_order(tmp_path):
    store = extract(Fake(), tmp_path / "store")
    wanted = {name: frames_of(k).astype(np.float16) for k, name in enumerate(NAMES) if name not in BAD}
    assert (store.frames.dtype, store.dim) == (np.float16, DIM)
    np.testing.assert_array_equal(store.frames, np.concatenate(list(wanted.values())))
    assert store.index.index.tolist() == NAMES
    for name, (start, stop) in zip(NAMES, store.spans(NAMES), strict=True):
        np.testing.assert_array_equal(store.frames[start:stop], wanted.get(name, np.empty((0, DIM))))
    np.testing.assert_array_equal(store.spans(NAMES[::-1]), store.spans(NAMES)[::-1])
    assert {"encoder": "fake", "dim": DIM}.items() <= store.meta.items()


def test_clips_without_frames_are_named_with_the_reason_the_first_on_the_terminal(tmp_path):
    folder = tmp_path / "store"
    store = extract(Fake(), folder)
    assert store.missing.to_dict() == {n: why for n, (_, why) in BAD.items()}
    text = frame_store.describe("audio", store, folder)
    assert all(f"missing: {name}, " in text for name in BAD)
    silent = extract(Fake(bad=dict.fromkeys(NAMES, (NoFrames("silent"), ""))), tmp_path / "silent")
    assert silent.frames.shape == (0, DIM)
    assert frame_store.checked(np.zeros((1, DIM)), DIM)[1] == ""  # which is zero to begin with
    assert "and 60 more" in frame_store.describe("audio", silent, tmp_path)


INFINITE = np.full((1, DIM), np.inf, np.float32)
SILENT = NoFrames("there is no audio track")


@pytest.mark.parametrize(
    ("bad", "parts"),
    [
        ({0: INFINITE, 1: INFINITE}, []),  # half of a part of four is not most of it
        ({0: INFINITE, 1: INFINITE, 2: np.zeros((1, DIM + 1))}, ["audio: 3 of 4 training clips", f"{NAMES[0]}: has"]),
        (dict.fromkeys(range(3), SILENT), []),
        (dict.fromkeys(range(4), SILENT), ["audio: 4 of 4 training clips", "audio track)"]),
        ({k: NoFrames("no sentence") for k in range(4, 8)}, []),  # a pool may come without transcripts
        ({k: NoFrames(f"no {NAMES[k]}.npy in x") for k in range(4, 8)}, []),
        ({4: NoFrames("no sentence"), 5: INFINITE, 6: INFINITE}, ["3 of 4 unlabelled"]),
    ],
)
def test_too_little_of_a_part_is_reported(tmp_path, bad, parts):
    store = extract(Fake(bad={NAMES[k]: (what, "") for k, what in bad.items()}), tmp_path / "store", CLIPS[:8])
    line = frame_store.shortage("audio", store, {"training": NAMES[:4], "unlabelled": NAMES[4:8], "testing": []})
    assert bool(line) == bool(parts)
    assert all(part in line for part in parts)
    assert len(line.splitlines()) <= 1


def test_notes_on_clips_are_kept_and_counted(tmp_path):
    bad = {NAMES[k]: (Noted(frames_of(k), "no face"), None) for k in (3, 50)} | {NAMES[0]: (NoFrames("silent"), "")}
    store = extract(Fake(bad=bad), tmp_path / "store")
    assert store.index.index[store.index.note != ""].tolist() == [NAMES[k] for k in (0, 3, 50)]
    assert "no face: 2 of 69 clips (2.9%)" in frame_store.describe("visual", store, tmp_path)
    np.testing.assert_array_equal(store.encoded(NAMES[50])[0], frames_of(50).astype(np.float16))


@pytest.mark.parametrize("after", [(0,), (32,), (40, 35)])
def test_interrupted_extraction_goes_on_to_the_same_bytes(tmp_path, undisturbed, after):
    folder, n_kept = tmp_path / "store", 0
    for patience in after:
        with pytest.raises(KeyboardInterrupt):
            extract(Fake(patience=patience), folder)
        assert not (folder / "meta.json").exists()
        n_kept += patience // CHUNK * CHUNK
    encoder = Fake()
    extract(encoder, folder)
    assert contents(folder) == undisturbed
    assert (encoder.encoded, encoder.fitted_on) == (NAMES[n_kept:], [])
    assert sorted(path.name for path in folder.iterdir()) == sorted([*STORE, "encoder", ".lock"])


def test_fitting_that_failed_or_was_cut_off_is_done_anew_and_a_finished_store_left(tmp_path, undisturbed):
    folder = tmp_path / "store"
    with pytest.raises(ConfigError):
        extract(Fake(), folder, to_fit=[])
    assert not (folder / "meta.json").exists()
    (folder / "encoder").mkdir(exist_ok=True)
    (folder / "encoder" / "width").write_text("99")
    for fitted_on, encoded in ((NAMES[:3], NAMES), ([], [])):
        encoder = Fake()
        extract(encoder, folder)
        assert (encoder.fitted_on, encoder.encoded) == (fitted_on, encoded)
        assert contents(folder) == undisturbed


@pytest.mark.parametrize("lost", [*STORE, "encoder"])
def test_what_a_store_has_lost_is_made_anew(tmp_path, undisturbed, lost):
    folder = tmp_path / "store"
    extract(Fake(), folder)
    shutil.rmtree(folder / lost) if lost == "encoder" else (folder / lost).unlink()
    extract(Fake(), folder)
    assert contents(folder) == undisturbed
    assert (folder / "encoder" / "width").read_text() == str(DIM)


INPUTS = {name: f"hash of {name}" for name in NAMES}


def extract_changed(encoder, folder: Path, changed: str = "", **options) -> frame_store.Store:
    """As `extract`, beside the store named first; one clip may have changed."""
    inputs = INPUTS | ({changed: "another hash"} if changed else {})
    return extract(encoder, folder, inputs=inputs, earlier=[folder.with_name("first")], **options)


@pytest.mark.parametrize(
    ("light", "changed", "meta", "encoded"),
    [
        (True, NAMES[40], {}, [NAMES[40]]),
        (False, NAMES[40], {}, NAMES[32:64]),  # what a network encodes together is decided by chunks
        (True, NAMES[1], {}, NAMES),  # it was fitted on that one
        (True, NAMES[40], {"code": "older"}, NAMES),
    ],
)
def test_only_clips_that_have_changed_are_encoded_again(tmp_path, undisturbed, light, changed, meta, encoded):
    extract_changed(Fake(light=light), tmp_path / "first", meta={"encoder": "fake"} | meta)
    encoder = Fake(light=light)
    store = extract_changed(encoder, tmp_path / "second", changed)
    assert encoder.encoded == encoded
    assert store.index.input[changed] == "another hash"
    assert contents(tmp_path / "second").keys() == undisturbed.keys()
    assert (tmp_path / "second" / "frames.npy").read_bytes() == undisturbed["frames.npy"]
    first = frame_store.load(tmp_path / "first")
    pd.testing.assert_frame_equal(store.index.drop(columns="input"), first.index.drop(columns="input"))


def test_a_chunk_that_a_network_read_with_one_more_clip_is_encoded_again(tmp_path):
    extract_changed(Fake(light=False), tmp_path / "first")
    encoder = Fake(light=False)
    extract_changed(encoder, tmp_path / "second", clips=CLIPS[:-1])
    assert encoder.encoded == NAMES[64:-1]


def test_a_changed_clip_that_was_not_drawn_to_learn_from_changes_no_other(tmp_path):
    def extract_all(folder, changed="", clips=CLIPS):
        encoder = Fake(learns_from=5)
        extract_changed(encoder, tmp_path / folder, changed, clips=clips, to_fit=clips)
        return encoder

    drawn = extract_all("first").fitted_on
    assert len(set(drawn)) == 5
    assert sorted(drawn) != NAMES[:5]
    other = next(name for name in NAMES if name not in drawn)
    assert extract_all("second", changed=other).encoded == [other]
    assert extract_all("third", changed=drawn[0]).encoded == NAMES
    # One clip less moves one clip of the draw at most.
    fewer = extract_all("fourth", clips=[clip for clip in CLIPS if clip.name != drawn[0]]).fitted_on
    assert set(drawn) - set(fewer) == {drawn[0]}


def test_parts_of_several_workers_make_the_same_store(tmp_path, undisturbed):
    extract(Fake(track="audio"), tmp_path / "store", n_jobs=2)
    assert contents(tmp_path / "store") == undisturbed
    assert not (tmp_path / "store" / "parts").exists()


BEFORE_THE_FIRST = "name,start,stop,input,note\na,-1,1,,\n"


@pytest.mark.parametrize("name", STORE)
@pytest.mark.parametrize("text", ["name\na\n", BEFORE_THE_FIRST, None])
def test_a_store_that_is_damaged_or_has_lost_a_file_is_named_in_one_line(tmp_path, name, text):
    extract(Fake(), tmp_path / "store")
    path = tmp_path / "store" / name
    path.unlink() if text is None else path.write_text(text)
    with pytest.raises(files.Damaged, match=rf"{name} is damaged .*; delete (it|{tmp_path / 'store'}) and"):
        frame_store.load(tmp_path / "store")
