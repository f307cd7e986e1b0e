import pickle

import numpy as np
import pytest

from meiju.config import Config, ConfigError, VisualConfig
from meiju.features.base import Clip, NoFrames
from meiju.features.face_geometry import FaceGeometry
from meiju.features.media import write_clip
from meiju.features.pictures import NO_FACE
from meiju.features.registry import make_encoder
from toy_clips import draw_pictures

PICTURES = 4  # of a clip, two a second


NAMES = [f"{emotion}-{person}" for person in range(2) for emotion in ("happy", "sad", "surprise")]


@pytest.fixture(scope="module")
def clips(tmp_path_factory) -> dict[str, Clip]:
    """Two people with three expressions each, an empty room, somebody who enters late, and no video."""
    folder = tmp_path_factory.mktemp("clips")
    shown = {name: draw_pictures(name[:-2], n=PICTURES, seed=int(name[-1])) for name in NAMES}
    room = np.linspace(40, 200, 96 * 96, dtype=np.uint8).reshape(96, 96)[..., None].repeat(3, axis=-1)
    shown["nobody"] = np.stack([room] * PICTURES)
    shown["late"] = np.concatenate([shown["nobody"][:2], shown[NAMES[-1]][2:]])
    for name, frames in {**shown, "sound": None}.items():
        write_clip(folder / name, frames, np.zeros(16_000, np.float32) if name == "sound" else None, fps=2)
    return {name: Clip(name, "", str(folder / name)) for name in (*shown, "sound")}


@pytest.fixture(scope="module")
def encoder(clips) -> FaceGeometry:
    encoder = make_encoder("face-geometry", Config("run"))
    encoder.fit(list(clips.values()), seed=0)
    return encoder


def test_every_second_picture_with_the_face_is_a_frame(encoder, clips):
    happy, late = encoder.encode([clips["happy-0"], clips["late"]])
    assert (happy.frames.shape, happy.frames.dtype) == ((PICTURES / 2, encoder.dim), np.float32)
    assert len(late.frames) == 1  # it begins without a face
    assert happy.note == late.note == ""


def test_the_same_expression_of_somebody_else_lies_nearest(encoder, clips):
    n_face = len(encoder.bases["face"])
    last = np.array([encoded.frames[-1, :n_face] for encoded in encoder.encode([clips[name] for name in NAMES])])
    distances = np.linalg.norm(last[:3, None] - last[None, 3:], axis=-1)
    assert distances.argmin(axis=1).tolist() == [0, 1, 2]


def test_a_clip_without_a_face_is_noted_and_keeps_its_pictures(encoder, clips):
    never = make_encoder("face-geometry", Config("run"))  # of a corpus without any face
    never.fit([clips["nobody"]], seed=0)
    encoded = never.encode([clips["nobody"], clips["happy-0"]])
    assert [e.frames.shape for e in encoded] == [(PICTURES, never.dim)] * 2
    (nobody,) = encoder.encode([clips["nobody"]])
    assert nobody.note == NO_FACE
    assert nobody.frames.shape == (PICTURES, encoder.dim)
    n_scene = len(encoder.bases["scene"])
    assert np.abs(nobody.frames[:, -n_scene:]).max() > 0.1
    assert (nobody.frames[:, :-n_scene] == 0).all()


def test_a_clip_without_a_face_is_missing_if_faces_are_asked_for(encoder, clips, tmp_path):
    strict = make_encoder("face-geometry", Config("run", visual=VisualConfig(crop="face")))
    encoder.save(tmp_path)
    strict.load(tmp_path)
    nobody, silent = strict.encode([clips["nobody"], clips["sound"]])
    assert isinstance(nobody, NoFrames)
    assert (str(nobody), str(silent)) == ("no face found", "there is no video track")


def test_fitting_needs_pictures_and_more_than_whole_ones(clips):
    with pytest.raises(ConfigError, match="face-geometry needs pictures"):
        make_encoder("face-geometry", Config("run")).fit([clips["sound"]], seed=0)
    with pytest.raises(ConfigError, match=r"--visual\.crop"):
        make_encoder("face-geometry", Config("run", visual=VisualConfig(crop="frame")))


def test_what_was_learnt_is_saved_as_arrays_and_workers_get_a_copy(encoder, clips, tmp_path):
    encoder.save(tmp_path)
    loaded = make_encoder("face-geometry", Config("run"))
    loaded.load(tmp_path)
    again = make_encoder("face-geometry", Config("run"))
    again.fit(list(clips.values()), seed=0)
    chosen = [clips["happy-0"], clips["nobody"]]
    wanted = encoder.encode(chosen)
    for other in (loaded, again, pickle.loads(pickle.dumps(encoder))):
        assert other.dim == encoder.dim
        for a, b in zip(other.encode(chosen), wanted, strict=True):
            np.testing.assert_array_equal(a.frames, b.frames)
