from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.special import softmax

from meiju import ensemble, evaluation, members
from meiju.config import Config, ModelConfig, TrainConfig
from meiju.ensemble import Group
from meiju.evaluation import ALL_HEADS, OUT_OF_FOLD, OVER_CLIPS, OVER_SEEDS, VALIDATION, System, decide
from meiju.labels import TASKS
from meiju.metrics import joint_score
from toy_corpus import LABELS, N_FOLDS, PARTS, draw_members, make_corpus, make_folds

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
        probabilities = {}
        for task, n_classes in CLASSES.items():
            better = 0.0 if truth is None else lift * np.eye(n_classes)[truth[task][rows]]
            noise = bias * rng.normal(size=(1, n_seeds, 1, n_classes))
            probabilities[task] = softmax(known[task][rows] + better + noise, axis=-1).astype(np.float32)
        groups.append(Group(rows, np.array([1]), probabilities, dict.fromkeys(TASKS, np.ones(1))))
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


CONFIG = Config("toy", folds=N_FOLDS, model=ModelConfig(heads=(1, 2)), train=TrainConfig(seeds=2))
TOY = make_corpus()
FOLDS = make_folds(TOY).sample(frac=1, random_state=0, ignore_index=True)  # an order of their own, which is to be kept


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Members of two stages, of which the second knows more."""
    made = {"stage 1": 0.3, "stage 2": 3.0}
    for name, knows in made.items():
        made[name] = tmp_path_factory.mktemp("stage")
        draw_members(made[name], members.plan(CONFIG, nested=False), TOY, FOLDS, knows=knows)
    return made


def read(folders, config=CONFIG):
    return [evaluation.read_stage(name, config, TOY, FOLDS, folder) for name, folder in folders.items()]


@pytest.fixture(scope="module")
def stages(folders):
    return read(folders)


def test_out_of_fold_every_clip_is_judged_by_the_members_that_held_it_out(folders, stages):
    for k, (name, fold) in enumerate(zip(FOLDS.name, FOLDS.fold, strict=True)):
        chosen = [m for m in members.plan(CONFIG, nested=False) if m.held_out == (fold,)]
        mean = ensemble.mean_over(folders["stage 2"], chosen, [name])
        for task in TASKS:
            np.testing.assert_allclose(stages[1].together[OUT_OF_FOLD][task][k], mean[task][0], rtol=1e-6)


def test_on_validation_every_clip_is_judged_by_all_members(folders, stages):
    names = list(TOY.part("validation").name)
    mean = ensemble.mean_over(folders["stage 1"], members.plan(CONFIG, nested=False), names)
    for task in TASKS:
        np.testing.assert_allclose(stages[0].together[VALIDATION][task], mean[task], rtol=1e-6)


def test_truth_is_in_the_order_of_the_folds():
    truth = evaluation.truth_of(TOY, "training", FOLDS.name)
    labels = TOY.clips.set_index("name").loc[list(FOLDS.name)]
    assert LABELS.decode("intent", truth["intent"]) == list(labels.intent)
    (_, oof, fold), (_, validation, none) = evaluation.parts(TOY, FOLDS)
    assert np.array_equal(oof["emotion"], truth["emotion"])
    assert (list(fold), none) == (list(FOLDS.fold), None)
    assert len(validation["emotion"]) == PARTS["validation"]


def test_the_table_has_a_row_per_part_stage_and_head_count_and_one_for_all(stages):
    table = evaluation.table(stages, CONFIG, TOY, FOLDS)
    expected = [(p, s, h) for p in (OUT_OF_FOLD, VALIDATION) for s in ("stage 1", "stage 2") for h in (1, 2, ALL_HEADS)]
    assert list(zip(table.part, table.stage, table.heads, strict=True)) == expected
    assert list(table.system[:3]) == ["1 head", "2 heads", "all heads, mean"]
    assert list(table.n_clips) == [PARTS["training"]] * 6 + [PARTS["validation"]] * 6
    last = table.iloc[5]
    truth = evaluation.truth_of(TOY, "training", FOLDS.name)
    score = joint_score(truth, decide(stages[1].together[OUT_OF_FOLD]), CONFIG.corpus.average)
    assert (last.E, last.I, last.JRBM) == (score.E, score.I, score.JRBM)
    assert (table.JRBM_low <= table.JRBM).all()
    assert (table.JRBM_high >= table.JRBM).all()


def test_the_standard_deviation_over_folds_is_that_of_the_folds_scores(stages):
    table = evaluation.table(stages, CONFIG, TOY, FOLDS)
    by_fold = evaluation.by_fold(stages, CONFIG, TOY, FOLDS)
    assert by_fold.clips.sum() == PARTS["training"]
    for stage in ("stage 1", "stage 2"):
        row = table[(table.part == OUT_OF_FOLD) & (table.stage == stage) & (table.heads == ALL_HEADS)].iloc[0]
        assert row.fold_std == pytest.approx(by_fold[f"JRBM, {stage}"].std())
    assert table[table.part == VALIDATION].fold_std.isna().all()


def test_what_the_second_stage_gains_is_the_difference_of_the_scores(stages):
    table = evaluation.table(stages, CONFIG, TOY, FOLDS).query("heads == 'all'").set_index(["part", "stage"])
    gains = evaluation.gains(*stages, CONFIG, TOY, FOLDS).set_index("part")
    for part in (OUT_OF_FOLD, VALIDATION):
        expected = table.JRBM[part, "stage 2"] - table.JRBM[part, "stage 1"]
        assert gains.gain[part] == pytest.approx(expected)
        assert gains.low[part] <= gains.gain[part] <= gains.high[part]
    assert gains.gain[OUT_OF_FOLD] > 0
    assert set(gains.interval) == {OVER_SEEDS}


def test_the_majority_takes_the_commonest_training_class_everywhere():
    clips = TOY.clips.copy()
    clips.loc[clips.part == "training", "emotion"] = ["rage"] * 13 + ["calm"] * 11
    corpus = replace(TOY, clips=clips)
    table = evaluation.majority(CONFIG, corpus, FOLDS)
    assert list(table.part) == [OUT_OF_FOLD, VALIDATION]
    assert set(table.system) == {"always rage, ask"}
    truth = evaluation.truth_of(corpus, "validation", corpus.part("validation").name)
    always = {"emotion": np.full(PARTS["validation"], 1), "intent": np.full(PARTS["validation"], 0)}
    assert table.JRBM[1] == joint_score(truth, always, CONFIG.corpus.average).JRBM


def test_weights_of_head_counts_are_fitted_out_of_fold_and_used_on_validation(folders):
    config = replace(CONFIG, ensemble="out-of-fold")
    (plain, _), (weighted, _) = read(folders), read(folders, config)
    assert plain.weights is None
    truth = evaluation.truth_of(TOY, "training", FOLDS.name)
    for task in TASKS:
        assert weighted.weights[task].sum() == pytest.approx(1)
        expected = ensemble.combine(plain.by_heads[VALIDATION], weighted.weights)[task]
        np.testing.assert_allclose(weighted.together[VALIDATION][task], expected, rtol=1e-6)
        np.testing.assert_allclose(
            weighted.weights[task], ensemble.fit_weights(plain.by_heads[OUT_OF_FOLD], truth)[task], rtol=1e-6
        )
    assert "weighted" in evaluation.table([weighted], config, TOY, FOLDS).system.iloc[2]
