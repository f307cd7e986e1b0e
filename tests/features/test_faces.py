import dataclasses

import cv2
import numpy as np
import pytest

from meiju.config import Config, ConfigError
from meiju.features.base import Clip, NoFrames
from meiju.features.faces import N_BLENDSHAPES, N_FEATURES, describe, find_faces
from meiju.features.media import write_clip
from meiju.features.pictures import NO_FACE, read_squares
from meiju.features.registry import make_encoder
from meiju.utils import packaged
from toy_clips import draw_pictures

SIDE = 240  # of a drawn face, enlarged


def draw(emotion: str = "neutral") -> np.ndarray:
    """A drawn face [SIDE, SIDE, 3] at the height of its expression."""
    return cv2.resize(draw_pictures(emotion)[-1], (SIDE, SIDE))


@pytest.fixture(scope="module")
def face() -> np.ndarray:
    return draw()


def scene(face: np.ndarray | None, *, top: int = 0, left: int = 0) -> np.ndarray:
    """A grey room of 360 by 640 pixels, with or without somebody in it."""
    picture = np.full((360, 640, 3), 90, np.uint8)
    if face is not None:
        picture[top : top + len(face), left : left + len(face)] = face
    return picture


def turned(picture: np.ndarray, degrees: float) -> np.ndarray:
    height, width = picture.shape[:2]
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), -degrees, 1)  # clockwise, as y points down
    return cv2.warpAffine(picture, turn, (width, height), borderValue=(90, 90, 90))


@pytest.mark.parametrize(("top", "left"), [(10, 20), (100, 380)])
def test_a_face_is_found_where_it_is_and_none_in_an_empty_room(face, top, left):
    assert find_faces(scene(None)) == []
    (small,) = find_faces(scene(cv2.resize(face, (70, 70), interpolation=cv2.INTER_AREA), top=top, left=left))
    np.testing.assert_allclose(small.centre, [left + 35, top + 35], atol=12)
    (found,) = find_faces(scene(face, top=top, left=left))
    np.testing.assert_allclose(found.centre, [left + SIDE / 2, top + SIDE / 2], atol=30)
    assert SIDE / 2 < found.side < SIDE


@pytest.mark.parametrize("degrees", [-25, 25])
def test_the_angle_is_that_of_the_eyes(face, degrees):
    (found,) = find_faces(turned(scene(face, top=60, left=200), degrees))
    assert np.degrees(found.angle) == pytest.approx(degrees, abs=8)


def test_a_face_that_leans_is_described_as_when_upright(face):
    upright, leaning = scene(face, top=60, left=200), turned(scene(face, top=60, left=200), 15)
    (described, _), (found,) = describe(upright, find_faces(upright)[0]), find_faces(leaning)
    assert described.shape == (N_FEATURES,)
    as_it_is = np.linalg.norm(described - describe(leaning, dataclasses.replace(found, angle=0.0))[0])
    assert np.linalg.norm(described - describe(leaning, found)[0]) < 0.5 * as_it_is


def test_blendshapes_tell_the_expression():
    inner_brows, frown, smile = [3], [30, 31], [44, 45]  # as MediaPipe numbers them
    drawn = [draw(emotion) for emotion in ("happy", "sad", "anger")]
    happy, sad, anger = (describe(picture, find_faces(picture)[0])[1] for picture in drawn)
    assert happy.shape == (N_BLENDSHAPES,)
    assert happy[smile].min() > 0.4 > 0.1 > max(happy[frown].max(), sad[smile].max(), anger[smile].max())
    assert sad[inner_brows] > 0.5 > 0.1 > anger[inner_brows]
    assert anger[frown].min() > 0.4


@pytest.fixture(scope="module")
def clips(face, tmp_path_factory) -> list[Clip]:
    folder = tmp_path_factory.mktemp("clips")
    for name, picture in (("somebody", scene(face, top=60, left=60)), ("nobody", scene(None))):
        write_clip(folder / f"{name}.mp4", np.stack([picture] * 3), None, fps=3)
    return [Clip(name, "", str(folder / f"{name}.mp4")) for name in ("somebody", "nobody")]


def test_a_clip_without_a_face_is_encoded_whole_or_not_at_all(clips):
    def read(clip: Clip, crop: str) -> tuple[np.ndarray, list[str]]:
        notes = []
        return np.stack(list(read_squares(clip.path, fps=2, size=32, crop=crop, notes=notes))).astype(int), notes

    somebody, nobody = clips
    assert read(somebody, "auto")[1] == read(nobody, "frame")[1] == []
    squares, notes = read(nobody, "auto")
    assert notes == [NO_FACE]
    assert np.abs(squares - 90).max() < 6
    with pytest.raises(NoFrames, match="no face found"):
        read(nobody, "face")


def test_missing_models_are_reported_before_any_work(tmp_path, monkeypatch):
    monkeypatch.setattr(packaged, "FOLDER", tmp_path)
    for name in ("face-geometry", "e5-small", "smart-turn"):
        with pytest.raises(ConfigError, match=r"is missing in .*: \.venv/bin/python -m meiju\.utils\.packaged"):
            make_encoder(name, Config("run"))
