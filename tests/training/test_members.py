"""Which members there are, and that damaged predictions are named."""

import numpy as np
import pytest

from meiju.config import Config, ModelConfig, TrainConfig
from meiju.training import members
from meiju.training.members import Member
from meiju.utils import files
from toy_corpus import N_FOLDS

CONFIG = Config("toy", folds=N_FOLDS, model=ModelConfig(heads=(1, 2), width=4), train=TrainConfig(seeds=2))


@pytest.mark.parametrize(("calibration", "held_out"), [(False, [1, 1, 1]), (True, [1, 1, 1, 2, 2, 2])])
def test_a_plan_has_every_head_count_seed_and_choice_of_folds_once(calibration, held_out):
    plan = members.plan(CONFIG, calibration=calibration)
    assert len(set(plan)) == len(plan) == 2 * 2 * len(held_out)
    assert {(m.heads, m.seed) for m in plan} == {(h, s) for h in (1, 2) for s in (0, 1)}
    assert [len(m.held_out) for m in plan if (m.heads, m.seed) == (2, 1)] == held_out
    assert len({m.stem for m in plan}) == len(plan)


ONE = Member(1, 0, (0,))
GOOD = {"emotion": np.log(np.full((2, 3), 1 / 3)), "intent": np.log(np.full((2, 2), 1 / 2))}


@pytest.mark.parametrize(
    ("names", "predictions", "reason"),
    [
        (["a", "a"], GOOD, "a clip stands twice"),
        (["a"], GOOD, "not the logarithms .* for its emotion"),
        (["a", "b"], GOOD | {"intent": np.zeros(2)}, "not the logarithms"),
        (["a", "b"], GOOD | {"emotion": np.full((2, 3), np.nan)}, "not the logarithms"),
        (["a", "b"], GOOD | {"emotion": np.ones((2, 3))}, "not the logarithms"),
    ],
)
def test_predictions_that_are_not_whole_are_named(tmp_path, names, predictions, reason):
    np.savez(tmp_path / f"{ONE.stem}.npz", names=np.array(names), trained_on=np.array(["c"]), **predictions)
    with pytest.raises(files.Damaged, match=rf"{ONE.stem}\.npz is damaged .*{reason}.*; delete it"):
        members.probabilities(tmp_path, ONE, ["a"])


def test_predictions_that_are_cut_or_of_another_kind_are_named(tmp_path):
    path = tmp_path / f"{ONE.stem}.npz"
    np.savez(path, names=np.arange(2), trained_on=np.array(["c"]), **GOOD)
    with pytest.raises(files.Damaged, match="names are no texts"):
        members.trained_on(tmp_path, ONE)
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(files.Damaged, match="delete it"):
        members.trained_on(tmp_path, ONE)
