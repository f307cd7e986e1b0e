import numpy as np
import pytest

from meiju.features.faces import Face
from meiju.features.pictures import follow_main_face


def face(x: float, y: float = 100, side: float = 60, angle: float = 0, score: float = 0.9) -> Face:
    return Face(np.array([x, y], dtype=float), side, angle, score)


def xs(track) -> list[float]:
    return [float(f.centre[0]) for f in track]


def found(track) -> list[bool]:
    return [f.score > 0 for f in track]


def test_a_face_that_no_picture_is_sure_of_is_none():
    assert follow_main_face([[], [], []]) == []
    doubtful = face(100, score=0.55)
    assert follow_main_face([[doubtful]] * 3) == []
    assert len(follow_main_face([[doubtful], [face(100, score=0.7)], [doubtful]])) == 3


def test_a_bystander_who_is_larger_in_one_picture_is_not_followed():
    detected = [[face(100), face(300, side=40)] for _ in range(5)]
    detected[2] = [face(300, side=75), face(100)]
    track = follow_main_face(detected)
    assert xs(track) == [100] * 5
    assert all(found(track))


def test_a_face_that_moves_is_followed_whatever_the_order_of_the_detections():
    rng = np.random.default_rng(0)
    detected = [[face(100 + 40 * k), face(400, side=50), face(200, 20, side=30)] for k in range(6)]
    shuffled = [[faces[k] for k in rng.permutation(3)] for faces in detected]
    assert xs(follow_main_face(shuffled)) == xs(follow_main_face(detected))
    assert xs(follow_main_face(detected))[1:-1] == pytest.approx([140, 180, 220, 260])


def test_where_the_main_face_is_lost_it_lies_between_its_neighbours():
    detected = [[face(100)], [face(400, side=30)], [], [face(160)]]
    track = follow_main_face(detected)
    assert found(track) == [True, False, False, True]
    assert xs(track)[1:3] == pytest.approx([120, 140])


def test_a_turn_through_half_a_circle_is_smoothed_the_short_way():
    track = follow_main_face([[face(100, angle=angle)] for angle in (3.1, -3.1, 3.1)])
    assert np.allclose(np.cos([f.angle for f in track]), -1, atol=0.01)


def test_sizes_that_differ_too_much_are_different_people():
    track = follow_main_face([[face(100, side=40)], [face(100, side=100)], [face(100, side=100)]])
    assert found(track) == [False, True, True]
