import itertools

import numpy as np
import pandas as pd
import pytest
from scipy.special import log_softmax

from meiju.config import Config, ModelConfig, TrainConfig
from meiju.data.labels import OFFICIAL, TASKS, LabelSet
from meiju.evaluation import ensemble
from meiju.training import members
from meiju.training.members import Member
from meiju.utils import files

CLASSES = {"emotion": 3, "intent": 2}
NAMES = [f"clip_{k}" for k in range(9)]
CONFIG = Config("test", folds=3, model=ModelConfig(heads=(1, 2)), train=TrainConfig(seeds=2))
# In an order of its own, which is to be kept.
FOLDS = pd.DataFrame({"name": NAMES[::-1], "fold": [0, 2, 1, 1, 0, 2, 2, 0, 1]})


def write_member(folder, member, names):
    """Predictions that differ by member, clip and class; returns the probabilities by clip."""
    rng = np.random.default_rng([member.heads, member.seed, *member.held_out])
    predictions = {task: log_softmax(rng.normal(size=(len(names), n)), axis=-1) for task, n in CLASSES.items()}
    np.savez(
        folder / f"{member.stem}.npz",
        names=np.array(names),
        trained_on=np.array(["other", *set(NAMES) - set(names)]),
        **predictions,
    )
    return {name: {task: np.exp(predictions[task][k]) for task in TASKS} for k, name in enumerate(names)}


def write_members(folder):
    """All members of CONFIG, each of which knows all clips; their predictions by heads, seed and fold."""
    keys = itertools.product((1, 2), range(2), range(3))
    return {(h, seed, fold): write_member(folder, Member(h, seed, (fold,)), NAMES) for h, seed, fold in keys}


def test_mean_over_members_in_the_order_asked_for(tmp_path):
    chosen = [Member(1, 0, (0,)), Member(2, 1, (0,))]
    predictions = [write_member(tmp_path, chosen[0], NAMES), write_member(tmp_path, chosen[1], NAMES[::-1])]
    asked = ["clip_5", "clip_0", "clip_8"]
    found = ensemble.mean_over(tmp_path, chosen, asked)
    for task in TASKS:
        expected = [(predictions[0][name][task] + predictions[1][name][task]) / 2 for name in asked]
        np.testing.assert_allclose(found[task], expected)


def test_out_of_fold_asks_only_the_members_that_held_the_clip_out(tmp_path):
    # All members know all clips here, so that asking a wrong one would go unnoticed but for its numbers.
    predictions = write_members(tmp_path)
    groups = ensemble.out_of_fold(tmp_path, CONFIG, FOLDS)
    of_two_heads, together = ensemble.mean_of(groups, 2), ensemble.mean_of(groups)
    for task in TASKS:
        rows = list(zip(FOLDS.name, FOLDS.fold, strict=True))
        expected = [
            [(predictions[h, 0, k][n][task] + predictions[h, 1, k][n][task]) / 2 for n, k in rows] for h in (1, 2)
        ]
        np.testing.assert_allclose(of_two_heads[task], expected[1], rtol=1e-6)
        np.testing.assert_allclose(together[task], np.mean(expected, axis=0), rtol=1e-6)


def test_other_parts_are_predicted_by_all_members(tmp_path):
    predictions = write_members(tmp_path)
    groups = ensemble.other_parts(tmp_path, CONFIG, NAMES)
    plan = members.plan(CONFIG, calibration=False)
    found, vote = ensemble.mean_of(groups), ensemble.mean_over(tmp_path, plan, NAMES)
    assert groups[0].n_seeds == 2
    for task in TASKS:
        expected = np.array([[one[name][task] for name in NAMES] for one in predictions.values()]).mean(axis=0)
        np.testing.assert_allclose(found[task], expected, rtol=1e-6)
        np.testing.assert_allclose(vote[task], expected)
    of_nothing = ensemble.mean_over(tmp_path, plan, [])  # a corpus without a Testing part has nothing to hand in
    assert {task: p.shape for task, p in of_nothing.items()} == {"emotion": (0, 3), "intent": (0, 2)}


def test_labels_and_tables_name_classes_in_their_order():
    labels = LabelSet(("joy", "rage", "calm"), ("ask", "wish"))
    predictions = {
        "emotion": np.array([[0.1, 0.2, 0.7], [0.5, 0.4, 0.1]]),
        "intent": np.array([[0.4, 0.6], [0.9, 0.1]]),
    }
    decided = ensemble.as_labels(predictions, ["a", "b"], labels)
    assert decided.loc[["a", "b"], ["emotion", "intent"]].to_numpy().tolist() == [["calm", "wish"], ["joy", "ask"]]
    names = ["emotion_joy", "emotion_rage", "emotion_calm", "intent_ask", "intent_wish"]
    row = ensemble.as_table(predictions, ["a", "b"], labels).loc["a"].to_dict()
    assert row == dict(zip(names, (0.1, 0.2, 0.7, 0.4, 0.6), strict=True))


def test_members_of_other_classes_are_refused(tmp_path):
    chosen = [Member(1, 0, (0,)), Member(1, 0, (1,))]
    for member, n in zip(chosen, (7, 1), strict=True):
        logits = {t: np.full((1, k), -np.log(k), np.float32) for t, k in {"emotion": n, "intent": 8}.items()}
        np.savez(tmp_path / f"{member.stem}.npz", names=np.array(["a"]), trained_on=np.array(["b"]), **logits)
    with pytest.raises(files.Damaged, match="same shape"):
        ensemble.mean_over(tmp_path, chosen, ["a"])
    with pytest.raises(files.Damaged, match="1 emotion classes, the corpus 7"):
        ensemble.as_labels(ensemble.mean_over(tmp_path, chosen[1:], ["a"]), ["a"], OFFICIAL)
