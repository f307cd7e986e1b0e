from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.special import softmax

from meiju import ensemble, evaluation
from meiju.ensemble import Group
from meiju.evaluation import OVER_CLIPS, OVER_SEEDS, System, decide
from meiju.labels import TASKS

CLASSES = {"emotion": 7, "intent": 8}


def clips(rng, n):
    """True classes, and what every member knows of them: logits [n, K] by task."""
    truth = {task: rng.integers(0, k, n) for task, k in CLASSES.items()}
    known = {task: rng.normal(size=(n, k)) + 1.2 * np.eye(k)[truth[task]] for task, k in CLASSES.items()}
    return truth, known


def trained(rng, known, *, n_folds=3, n_seeds=2, bias=1.5, lift=0.0, truth=None):
    """A system of one head count: each member has a random bias to each class, which is the same at all clips.

    lift: what its logits of the true classes are higher.
    """
    fold = np.arange(len(known["emotion"])) % n_folds
    groups = []
    for k in range(n_folds):
        rows = np.flatnonzero(fold == k)
        said = {}
        for task, n_classes in CLASSES.items():
            better = 0.0 if truth is None else lift * np.eye(n_classes)[truth[task][rows]]
            noise = bias * rng.normal(size=(1, n_seeds, 1, n_classes))
            said[task] = softmax(known[task][rows] + better + noise, axis=-1).astype(np.float32)
        groups.append(Group(rows, np.array([1]), said, dict.fromkeys(TASKS, np.ones(1))))
    return System(decide(ensemble.mean_of(groups)), groups)


def first_seed(system):
    """The same system for someone who knows of one seed alone."""
    groups = [replace(g, probabilities={t: p[:, :1] for t, p in g.probabilities.items()}) for g in system.groups]
    return System(system.predicted, groups)


def leaves_out_zero(truth, systems):
    row = evaluation.differences(truth, systems, "weighted", n_draws=100).iloc[1]
    return bool(row.d_JRBM_low > 0 or row.d_JRBM_high < 0)


def test_systems_that_differ_by_seeds_alone_are_hardly_ever_told_apart():
    rng = np.random.default_rng(0)
    over_seeds, over_clips = [], []
    for _ in range(120):
        truth, known = clips(rng, 200)
        systems = [trained(rng, known), trained(rng, known)]
        over_seeds.append(leaves_out_zero(truth, systems))
        over_clips.append(leaves_out_zero(truth, [first_seed(system) for system in systems]))
    assert np.mean(over_seeds) <= 0.05
    assert np.mean(over_clips) > 0.12  # what a bootstrap over clips alone makes of chance


def test_a_real_difference_is_found():
    rng = np.random.default_rng(0)
    found = []
    for _ in range(10):
        truth, known = clips(rng, 400)
        systems = [trained(rng, known, bias=0.5), trained(rng, known, bias=0.5, lift=1.0, truth=truth)]
        found.append(leaves_out_zero(truth, systems))
    assert np.mean(found) >= 0.9


def test_an_interval_says_what_it_covers():
    rng = np.random.default_rng(0)
    truth, known = clips(rng, 60)
    one, two, three = (trained(rng, known, n_seeds=n) for n in (1, 2, 3))
    table = evaluation.differences(truth, [two, one, three], "weighted", n_draws=20)
    assert table.interval.tolist() == [OVER_SEEDS, OVER_CLIPS, OVER_SEEDS]
    assert set(evaluation.differences(truth, [one, two], "weighted", n_draws=20).interval) == {OVER_CLIPS}
    assert not evaluation.is_beyond_chance(0.1, 0.2, OVER_CLIPS)
    assert evaluation.is_beyond_chance(0.1, 0.2, OVER_SEEDS)
    assert not evaluation.is_beyond_chance(-0.1, 0.2, OVER_SEEDS)


def test_the_same_members_do_not_differ():
    rng = np.random.default_rng(0)
    truth, known = clips(rng, 60)
    system = trained(rng, known)
    row = evaluation.differences(truth, [system, system], "weighted", n_draws=20).iloc[1]
    assert (row[["d_E", "d_E_low", "d_JRBM_low", "d_JRBM_high"]] == 0).all()


def test_the_best_heads_are_those_of_the_last_stage_out_of_fold():
    rows = [
        ("stage 1", "out-of-fold", 1, 0.9, 0.9),
        ("stage 2", "out-of-fold", 1, 0.5, 0.4),
        ("stage 2", "out-of-fold", 2, 0.4, 0.5),
        ("stage 2", "out-of-fold", evaluation.ALL_HEADS, 0.8, 0.8),
        ("stage 2", "validation", 2, 0.9, 0.1),
    ]
    table = pd.DataFrame(rows, columns=["stage", "part", "heads", "E", "I"])
    assert evaluation.best_heads(table) == {"emotion": 1, "intent": 2}


@pytest.mark.parametrize("n_seeds", [2, 5])
def test_the_draws_over_seeds_spread_as_the_mean_over_seeds_does(n_seeds):
    """A probability that is not cut to a class: the variance of the drawn means is that of a mean of S seeds."""
    rng = np.random.default_rng(1)
    values = rng.normal(size=n_seeds)
    drawn = rng.multinomial(n_seeds, np.full(n_seeds, 1 / n_seeds), size=20000) / n_seeds
    weight = ensemble.rescaled(drawn)
    assert np.var(weight @ values) == pytest.approx(np.var(values, ddof=1) / n_seeds, rel=0.05)
