import numpy as np
import pytest

from meiju.config import Config, VisualConfig
from meiju.encoders.base import Clip
from meiju.encoders.faces import crop_to_faces, find_face
from meiju.encoders.media import write_clip
from meiju.encoders.pictures import NO_FACE
from meiju.encoders.registry import make_encoder
from meiju.sample.drawing import draw_face, draw_speaker

SIDE = 240  # of a drawn face, enlarged


@pytest.fixture(scope="module")
def face() -> np.ndarray:
    rng = np.random.default_rng(0)
    small = draw_face(draw_speaker(rng), "neutral", "neutral", speech=np.zeros(3, np.float32), rng=rng)[0]
    return small.repeat(SIDE // len(small) + 1, axis=0).repeat(SIDE // len(small) + 1, axis=1)[:SIDE, :SIDE]


def scene(face: np.ndarray | None, *, top: int = 0, left: int = 0) -> np.ndarray:
    """A grey room of 360 by 640 pixels, with or without somebody in it."""
    picture = np.full((360, 640, 3), 90, np.uint8)
    if face is not None:
        picture[top : top + SIDE, left : left + SIDE] = face
    return picture


@pytest.mark.parametrize(("top", "left"), [(10, 20), (100, 380), (110, 30)])
def test_a_face_is_found_where_it_is(face, top, left):
    found_top, found_left, side = find_face(scene(face, top=top, left=left))
    centre = np.array([found_top, found_left]) + side / 2
    np.testing.assert_allclose(centre, [top + SIDE / 2, left + SIDE / 2], atol=40)
    assert SIDE / 2 < side < 1.3 * SIDE
    assert found_top >= 0
    assert found_top + side <= 360
    assert found_left >= 0


def test_an_empty_room_has_no_face():
    assert find_face(scene(None)) is None


def test_pictures_are_cut_to_their_faces(face):
    pictures = [scene(face, top=20, left=30), scene(face, top=20, left=380)]
    squares, n_found = crop_to_faces(pictures, 64)
    assert squares.shape == (2, 64, 64, 3)
    assert n_found == 2
    # Skin is redder than it is blue, and the room is grey.
    redness = squares[..., 0].mean(axis=(1, 2)) - squares[..., 2].mean(axis=(1, 2))
    assert (redness > 2 * (pictures[0][..., 0].mean() - pictures[0][..., 2].mean())).all()


def test_a_picture_without_a_face_is_cut_where_its_neighbour_has_one(face):
    marked = scene(None)
    marked[:, 400:] = 200
    squares, n_found = crop_to_faces([scene(face, left=390), marked], 32)
    assert n_found == 1
    assert squares[1].mean() > 190  # the right side, where the face was


def test_the_centre_is_kept_where_no_picture_has_a_face():
    picture = scene(None)
    picture[:, 140:500] = 200
    squares, n_found = crop_to_faces([picture], 32)
    assert n_found == 0
    assert (squares == 200).all()


def test_encoders_see_faces_and_note_clips_without_one(face, tmp_path):
    for name, picture in (("somebody", scene(face, top=60, left=60)), ("nobody", scene(None))):
        write_clip(tmp_path / f"{name}.mp4", np.stack([picture] * 4), None, fps=4)
    clips = [Clip(name, "", str(tmp_path / f"{name}.mp4")) for name in ("somebody", "nobody")]
    encoders = {
        crop: make_encoder("pixels-pca", Config("run", visual=VisualConfig(crop=crop, dim=3)))
        for crop in ("frame", "face")
    }
    encoders["face"].fit(clips, seed=0)
    somebody, nobody = encoders["face"].encode(clips)
    assert (somebody.note, nobody.note) == ("", NO_FACE)
    assert encoders["face"].fingerprint() != encoders["frame"].fingerprint()
