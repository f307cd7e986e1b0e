"""Which members there are, and that damaged predictions are named."""

import numpy as np
import pytest

from meiju.config import Config, ModelConfig, TrainConfig
from meiju.training import members
from meiju.training.members import Member
from meiju.utils import files

CONFIG = Config("toy", folds=3, model=ModelConfig(heads=(1, 2)), train=TrainConfig(seeds=2))


@pytest.mark.parametrize(("calibration", "held_out"), [(False, [1, 1, 1]), (True, [1, 1, 1, 2, 2, 2])])
def test_a_plan_has_every_head_count_seed_and_choice_of_folds_once(calibration, held_out):
    plan = members.plan(CONFIG, calibration=calibration)
    assert len({m.stem for m in plan}) == len(plan) == 2 * 2 * len(held_out)
    assert {(m.heads, m.seed) for m in plan} == {(h, s) for h in (1, 2) for s in (0, 1)}
    assert [len(m.held_out) for m in plan if (m.heads, m.seed) == (2, 1)] == held_out


GOOD = {"emotion": np.log(np.full((2, 3), 1 / 3)), "intent": np.log(np.full((2, 2), 1 / 2))}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"names": np.array(["a", "a"])}, "a clip stands twice"),
        ({"names": np.arange(2)}, "names are no texts"),
        ({"names": np.array(["a"])}, "not the logarithms .* for its emotion"),
        ({"intent": np.zeros(2)}, "not the logarithms"),
        ({"emotion": np.full((2, 3), np.nan)}, "not the logarithms"),
        ({"emotion": np.ones((2, 3))}, "not the logarithms"),
        (None, ""),
    ],
)
def test_predictions_that_are_not_whole_are_named(tmp_path, change, reason):
    one = Member(1, 0, (0,))
    path = tmp_path / f"{one.stem}.npz"
    np.savez(path, **({"names": np.array(["a", "b"]), "trained_on": np.array(["c"])} | GOOD | (change or {})))
    if change is None:
        path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(files.Damaged, match=rf"{one.stem}\.npz is damaged .*{reason}.*; delete it"):
        members.trained_on(tmp_path, one)
