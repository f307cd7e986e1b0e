import itertools

import numpy as np
import pandas as pd
import pytest

from meiju.config import Config, ModelConfig, TrainConfig
from meiju.data.labels import OFFICIAL, TASKS
from meiju.evaluation import ensemble
from meiju.training import members
from meiju.training.members import Member
from meiju.utils import files
from toy_corpus import LABELS, write_member

NAMES = [f"clip_{k}" for k in range(9)]
CONFIG = Config("test", folds=3, model=ModelConfig(heads=(1, 2)), train=TrainConfig(seeds=2))
# In an order of its own, which is to be kept.
FOLDS = pd.DataFrame({"name": NAMES[::-1], "fold": [0, 2, 1, 1, 0, 2, 2, 0, 1]})


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """A folder of all members of CONFIG, each of which knows all clips; their predictions by heads, seed, fold."""
    folder, predictions = tmp_path_factory.mktemp("members"), {}
    for heads, seed, fold in itertools.product((1, 2), range(2), range(3)):
        rng, names = np.random.default_rng([heads, seed, fold]), np.roll(NAMES, heads + seed + fold)
        p = {task: rng.dirichlet(np.ones(n), size=len(names)) for task, n in (("emotion", 3), ("intent", 2))}
        write_member(folder, Member(heads, seed, (fold,)), names, ["other"], {task: np.log(p[task]) for task in TASKS})
        predictions[heads, seed, fold] = {name: {t: p[t][k] for t in TASKS} for k, name in enumerate(names)}
    return folder, predictions


def test_out_of_fold_asks_only_the_members_that_held_the_clip_out(drawn):
    # All members know all clips here, so that asking a wrong one would go unnoticed but for its numbers.
    folder, predictions = drawn
    groups = ensemble.gather(folder, CONFIG, FOLDS.name, FOLDS.fold)
    of_two_heads, together = ensemble.mean_of(groups, 2), ensemble.mean_of(groups)
    for task in TASKS:
        rows = list(zip(FOLDS.name, FOLDS.fold, strict=True))
        expected = [
            [(predictions[h, 0, k][n][task] + predictions[h, 1, k][n][task]) / 2 for n, k in rows] for h in (1, 2)
        ]
        np.testing.assert_allclose(of_two_heads[task], expected[1], rtol=1e-6)
        np.testing.assert_allclose(together[task], np.mean(expected, axis=0), rtol=1e-6)


def test_other_parts_are_predicted_by_all_members(drawn):
    folder, predictions = drawn
    plan = members.plan(CONFIG, calibration=False)
    found = ensemble.mean_of(ensemble.gather(folder, CONFIG, NAMES, None))
    vote = ensemble.mean_over(folder, plan, NAMES)
    for task in TASKS:
        expected = np.array([[one[name][task] for name in NAMES] for one in predictions.values()]).mean(axis=0)
        np.testing.assert_allclose(found[task], expected, rtol=1e-6)
        np.testing.assert_allclose(vote[task], expected, rtol=1e-6)
    of_nothing = ensemble.mean_over(folder, plan, [])  # a corpus without a Testing part has nothing to hand in
    assert {task: p.shape for task, p in of_nothing.items()} == {"emotion": (0, 3), "intent": (0, 2)}


def test_labels_and_tables_name_classes_in_their_order():
    predictions = {
        "emotion": np.array([[0.1, 0.2, 0.7], [0.5, 0.4, 0.1]]),
        "intent": np.array([[0.4, 0.6], [0.9, 0.1]]),
    }
    decided = ensemble.as_labels(predictions, ["a", "b"], LABELS)
    assert decided.loc[["a", "b"], ["emotion", "intent"]].to_numpy().tolist() == [["calm", "wish"], ["joy", "ask"]]
    names = ["emotion_joy", "emotion_rage", "emotion_calm", "intent_ask", "intent_wish"]
    row = ensemble.as_table(predictions, ["a", "b"], LABELS).loc["a"].to_dict()
    assert row == dict(zip(names, (0.1, 0.2, 0.7, 0.4, 0.6), strict=True))


def test_members_of_other_classes_are_refused(tmp_path):
    chosen = [Member(1, 0, (0,)), Member(1, 0, (1,))]
    for member, n in zip(chosen, (7, 1), strict=True):
        write_member(tmp_path, member, ["a"], ["b"], {"emotion": np.zeros((1, n)), "intent": np.zeros((1, 8))})
    with pytest.raises(files.Damaged, match="same shape"):
        ensemble.mean_over(tmp_path, chosen, ["a"])
    with pytest.raises(files.Damaged, match="1 emotion classes, the corpus 7"):
        ensemble.as_labels(ensemble.mean_over(tmp_path, chosen[1:], ["a"]), ["a"], OFFICIAL)
