import io
import pickle
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer
from threadpoolctl import threadpool_limits

from meiju.config import EMBEDDED_STREAMS, Config, ConfigError
from meiju.features.arrays import NpyFrames
from meiju.features.base import Clip, NoFrames
from meiju.features.frame_store import checked
from meiju.features.media import write_clip
from meiju.features.registry import make_encoder
from meiju.features.text import TfidfSvd
from meiju.utils import files

CONFIG = Config("run")
SENTENCES = [
    "你想吃什么？",
    "你想喝什么？",
    "我不想去。",
    "祝你生日快乐！",
    "祝你一路平安！",
    "what do you want?",
    "I do not",
]


def spoken(*sentences: str) -> list[Clip]:
    return [Clip("clip", sentence, "") for sentence in sentences]


def reason(encoder, clip: Clip) -> str:
    (frames,) = encoder.encode([clip])
    assert isinstance(frames, NoFrames)
    return str(frames)


# Text


@pytest.fixture(scope="module")
def tfidf() -> TfidfSvd:
    encoder = TfidfSvd(dim=5, ngrams=(1, 3))
    encoder.fit(spoken(*SENTENCES, "", " "), seed=0)
    return encoder


def test_sentences_are_one_frame_of_length_one_and_similar_ones_lie_closer(tfidf):
    frames = tfidf.encode(spoken(*SENTENCES, "\U0001f600"))
    assert all(f.shape == (1, tfidf.dim) and f.dtype == np.float32 for f in frames)
    assert np.isfinite(frames[-1]).all()  # of unknown characters alone
    together = np.concatenate(frames[:-1])
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, rtol=1e-5)
    eat, drink, wish = together[[0, 1, 3]]
    assert eat @ drink > eat @ wish + 0.2


def test_tfidf_svd_is_saved_and_loaded_without_pickles(tfidf, tmp_path):
    tfidf.save(tmp_path)
    loaded = TfidfSvd(dim=5, ngrams=(1, 3))
    loaded.load(tmp_path)
    clips = spoken(*SENTENCES, "你好吗")
    assert loaded.dim == tfidf.dim == 5
    np.testing.assert_array_equal(loaded.encode(clips), tfidf.encode(clips))
    for path in tmp_path.glob("*.npz"):
        with np.load(path, allow_pickle=False) as arrays:
            assert not any(arrays[name].dtype.hasobject for name in arrays.files)


@pytest.mark.parametrize(
    ("sentences", "spaced"),
    [
        (["Really  not\tsure, don't ask", "sure -- Really!", "not now ... not now", "STRASSE straße"], True),
        (["정말 몰라요", "정말 좋아요", "안 좋아요"], True),
        (["你  吃饭了吗", "我不想吃饭，OK？", "生日快乐！！", "好 好 好"], False),
        (["ほんとうに", "わからない OK", "カメラ"], False),
    ],
)
def test_frames_are_those_of_scikit_learn_with_words_where_spaces_stand_between_them(sentences, spaced):
    encoder = TfidfSvd(dim=384, ngrams=(1, 3))
    encoder.fit(spoken(*sentences), seed=0)
    assert encoder.dim < len(sentences)  # no more than there are
    vectorizers = [TfidfVectorizer(analyzer="char", ngram_range=(1, 3), sublinear_tf=True, use_idf=False)]
    if spaced:
        pattern = r"[\w']+|[^\w\s]"
        vectorizers.append(TfidfVectorizer(token_pattern=pattern, ngram_range=(1, 2), sublinear_tf=True, use_idf=False))
    asked = [*sentences, "ok not 吃", "ß"]
    marked, asked_marked = ([f"\x02{text}\x03" for text in texts] for texts in (sentences, asked))
    weights = np.hstack([v.fit(marked).transform(asked_marked).toarray() for v in vectorizers])
    expected = weights @ encoder.components.T
    expected /= np.maximum(np.linalg.norm(expected, axis=1, keepdims=True), 1e-6)
    frames = np.concatenate(encoder.encode(spoken(*asked)))
    np.testing.assert_allclose(frames, expected, atol=1e-5)


def test_the_number_of_threads_changes_no_byte_of_tfidf_svd():
    rng = np.random.default_rng(0)
    clips = spoken(*("".join(rng.choice([*"你我他不想吃喝去来生日快乐平安"], 12)) for _ in range(3000)))
    fitted = []
    for n_threads in (1, 2):
        with threadpool_limits(n_threads):
            encoder = TfidfSvd(dim=64, ngrams=(1, 3))
            encoder.fit(clips, seed=0)
        fitted.append(encoder.components)
    np.testing.assert_array_equal(*fitted)


def test_tfidf_svd_without_sentences(tfidf):
    assert reason(tfidf, *spoken("\u3000")) == "no sentence"
    with pytest.raises(ConfigError, match="tfidf-svd needs sentences"):
        TfidfSvd(dim=4, ngrams=(1, 2)).fit(spoken("", "好"), seed=0)


# Ready-made frames

ARRAYS = {
    "two": np.arange(6, dtype=np.float32).reshape(2, 3),
    "half": np.ones((4, 3), np.float16),
    "one": np.array([1.0, 2.0, 3.0]),
    "whole": np.array([[1, 2, 3]]),
    "batch": np.arange(6, dtype=np.float32).reshape(1, 2, 3),
}


class Bomb:
    """Unpickling it would be noticed."""

    def __reduce__(self):
        return warnings.warn, ("unpickled",)


def npy(array: np.ndarray) -> bytes:
    np.save(buffer := io.BytesIO(), array)
    return buffer.getvalue()


def add(place: Path, name: str, data: bytes) -> None:
    """One more file in a folder or zip of arrays."""
    if place.suffix == ".zip":
        with zipfile.ZipFile(place, "a", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(f"{name}.npy", data)
    else:
        files.write_bytes(place / f"{name}.npy", data)


WHOLE = npy(np.ones((9, 3), np.float32))
BROKEN = {
    "objects": npy(np.array([Bomb()], dtype=object)),
    "pickle": pickle.dumps(Bomb()),
    "truncated": WHOLE[:-5],
    "huge": WHOLE.replace(b"(9, 3)", b"(9999999999999, 3)"),
    "odd": WHOLE.replace(b"(9, 3)", b"(9, 3("),
    "empty": b"",
    "text": npy(np.array(["a", "b"])),
    "width": npy(np.ones((2, 0), np.float32)),
}


@pytest.fixture(params=["folder", "zip"])
def place(request, tmp_path) -> Path:
    """ARRAYS and BROKEN, below a folder or in a zip."""
    place = tmp_path / ("features.zip" if request.param == "zip" else "features")
    for name, data in ({name: npy(array) for name, array in ARRAYS.items()} | BROKEN).items():
        add(place, f"deep/{name}", data)
    return place


def named(*names: str) -> list[Clip]:
    return [Clip(name, "", "") for name in names]


def test_npy_gives_the_arrays(place):
    encoder = NpyFrames(str(place))
    encoder.fit(named(*ARRAYS, "missing", "objects"), seed=0)
    assert (encoder.dim, encoder.unit) == (3, 1)
    for name, frames in zip(ARRAYS, encoder.encode(named(*ARRAYS)), strict=True):
        assert frames.dtype in (np.float16, np.float32)
        np.testing.assert_array_equal(frames, ARRAYS[name].reshape(-1, 3))


@pytest.mark.parametrize("name", sorted(BROKEN.keys() - {"width"}))
def test_npy_that_holds_no_frames(place, name):
    assert reason(NpyFrames(str(place)), *named(name)).startswith(str(Path("deep", f"{name}.npy")))


@pytest.mark.parametrize("factor", [1e5, 1e-9, 1e30])
def test_npy_of_any_size_is_kept_as_well(tmp_path, factor):
    frames = np.random.default_rng(0).normal(size=(9, 3))
    np.save(tmp_path / "a.npy", factor * frames)
    encoder, loaded = NpyFrames(str(tmp_path)), NpyFrames(str(tmp_path))
    encoder.fit(named("a"), seed=0)
    encoder.save(tmp_path)
    loaded.load(tmp_path)
    kept, _ = checked(loaded.encode(named("a"))[0], 3)
    np.testing.assert_allclose(kept.astype(float) * loaded.unit, factor * frames, rtol=1e-3)
    np.testing.assert_array_equal(kept, encoder.encode(named("a"))[0].astype(np.float16))


def test_two_files_of_one_name_are_no_choice_to_make(place):
    add(place, "two", npy(np.ones(3)))
    encoder = NpyFrames(str(place))
    with pytest.raises(ConfigError, match=r"several files for 1 clips \(.*two.npy and .*two.npy\)"):
        encoder.require_one_each(["half", "two"])
    with pytest.raises(ConfigError, match="several files"):
        encoder.encode(named("two"))


@pytest.mark.parametrize("names", [("missing", "objects"), ("width",)])
def test_npy_without_any_frames_is_refused(place, names):
    with pytest.raises(ConfigError, match="gives no frames"):
        NpyFrames(str(place)).fit(named(*names), seed=0)


def test_what_lies_ready_is_known_by_its_contents(place, tmp_path):
    known = tmp_path / "known.json"
    before = NpyFrames(str(place)).contents(known)
    assert NpyFrames(str(place)).contents(known) == before
    add(place, "more", npy(np.ones(3)))
    after = NpyFrames(str(place)).contents(known)
    assert before == {name: contents for name, contents in after.items() if name != "more"} != after


# What clips hold


@pytest.mark.parametrize(
    ("name", "clip", "lack"),
    [
        ("smart-turn", "both", ""),
        ("smart-turn", "pictures", "has sound"),
        ("face-geometry", "sound", "has pictures"),
        ("face-geometry", "damaged", ""),  # it cannot be opened: that is another problem
    ],
)
def test_clips_without_a_track_are_named_before_they_are_decoded(tmp_path, name, clip, lack):
    pictures, sound = np.zeros((2, 32, 48, 3), np.uint8), np.zeros(4000, np.float32)
    for k, tracks in {"both": (pictures, sound), "pictures": (pictures, None), "sound": (None, sound)}.items():
        write_clip(tmp_path / k, *tracks, fps=8)
    (tmp_path / "damaged").write_bytes(b"no mp4 at all")
    encoder = make_encoder(name, CONFIG)
    one, both = (Clip(k, "", str(tmp_path / k)) for k in (clip, "both"))
    assert encoder.missing_input([one]) == lack
    assert encoder.missing_input([one, both]) == ""


def test_sentences_and_arrays_that_no_clip_has_are_named(tmp_path):
    np.save(tmp_path / "a.npy", np.ones(3))
    assert make_encoder("tfidf-svd", CONFIG).missing_input(spoken(" ", "")) == "has a sentence"
    assert NpyFrames(str(tmp_path)).missing_input(named("b", "c")) == f"has a .npy in {tmp_path}"
    assert NpyFrames(str(tmp_path)).missing_input(named("b", "a")) == ""


def test_npy_in_the_folders_of_the_parts(tmp_path):
    for k, folder in enumerate(("train", "dev")):
        add(tmp_path, f"deep/{folder}/dia0", npy(np.full(3, k, np.float32)))
    encoder = NpyFrames(str(tmp_path))
    encoder.require_one_each(["train_dia0", "deep_dev_dia0"])
    one, other = encoder.encode(named("train_dia0", "deep_dev_dia0"))
    assert (one[0, 0], other[0, 0]) == (0, 1)


# The registry


def test_encoders_by_name():
    made = {name: make_encoder(name, CONFIG) for _, _, name in (stream.partition("=") for stream in EMBEDDED_STREAMS)}
    assert {name: encoder.fingerprint()["encoder"] for name, encoder in made.items()} == {name: name for name in made}
    assert all(bool(encoder.track) == (encoder.source == "media") for encoder in made.values())


def test_unknown_encoders_and_places_that_are_neither_folder_nor_zip_are_refused(tmp_path):
    for name in ("word2vec", "npy:", "hf:", "tfidf-svd:x"):
        with pytest.raises(ConfigError, match="unknown encoder"):
            make_encoder(name, CONFIG)
    with pytest.raises(ConfigError, match="no folder or zip file"):
        make_encoder(f"npy:{tmp_path / 'nowhere'}", CONFIG)
    (tmp_path / "features.zip").write_bytes(b"no zip")
    with pytest.raises(ConfigError, match="neither a folder nor a zip"):
        make_encoder(f"npy:{tmp_path / 'features.zip'}", CONFIG)
