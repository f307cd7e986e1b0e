"""What is drawn depends on names, labels and the seed alone, and groups stay whole."""

import pandas as pd
import pytest

from meiju.config import ConfigError
from meiju.data.public.parts import draw_groups, draw_labelled

TRAINING = pd.DataFrame(
    {
        "name": [f"clip{k:03}" for k in range(100)],
        "emotion": ["neutral"] * 80 + ["happy"] * 15 + ["fear"] * 5,
        "intent": (["ask"] * 9 + ["wish"]) * 10,
        "dialogue": [f"dialogue{k // 4}" for k in range(100)],
    }
)


def test_a_balanced_draw_has_as_many_of_each_emotion_as_there_are_and_a_natural_one_the_natural_mix():
    balanced, natural = (
        TRAINING[TRAINING.name.isin(draw_labelled(TRAINING, 30, mix=mix, seed=0))].emotion.value_counts()
        for mix in ("balanced", "natural")
    )
    assert balanced.fear == 5
    assert abs(balanced.happy - balanced.neutral) <= 1
    assert balanced.sum() == 30
    assert natural.neutral > 18


@pytest.mark.parametrize("mix", ["balanced", "natural"])
def test_a_draw_does_not_depend_on_the_order_of_rows_and_a_smaller_one_is_part_of_it(mix):
    drawn = draw_labelled(TRAINING, 20, mix=mix, seed=3)
    assert draw_labelled(TRAINING[::-1], 20, mix=mix, seed=3) == drawn
    assert draw_labelled(TRAINING, 10, mix=mix, seed=3) < drawn
    assert draw_labelled(TRAINING, 20, mix=mix, seed=4) != drawn


@pytest.mark.parametrize("mix", ["balanced", "natural"])
def test_even_the_smallest_draw_shows_each_class(mix):
    rows = TRAINING[TRAINING.name.isin(draw_labelled(TRAINING, 4, mix=mix, seed=1))]
    assert set(rows.emotion) == {"neutral", "happy", "fear"}
    assert set(rows.intent) == {"ask", "wish"}


def test_a_draw_that_cannot_show_each_class_is_refused():
    with pytest.raises(ConfigError, match="one of each class"):
        draw_labelled(TRAINING, 1, mix="natural", seed=0)


def test_groups_stay_whole_and_each_part_gets_its_share():
    part = draw_groups(TRAINING, "dialogue", {"validation": 0.1, "testing": 0.2}, seed=0)
    assert part.groupby(TRAINING.dialogue).nunique().eq(1).all()
    assert part.value_counts().to_dict() == {"training": 68, "testing": 20, "validation": 12}
    again = draw_groups(TRAINING[::-1], "dialogue", {"validation": 0.1, "testing": 0.2}, seed=0)
    assert again.sort_index().equals(part)
