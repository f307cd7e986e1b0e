from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.special import softmax
from sklearn import metrics

from meiju.config import Config, ModelConfig, TrainConfig
from meiju.data.labels import TASKS
from meiju.data.units import Units
from meiju.evaluation import ensemble, scores
from meiju.evaluation.ensemble import FoldPredictions
from meiju.evaluation.metrics import LOG_LOSSES, joint_score
from meiju.evaluation.scores import ALL_HEADS, OUT_OF_FOLD, VALIDATION, Part, System
from meiju.training import members
from toy_corpus import LABELS, N_FOLDS, PARTS, draw_members, make_corpus, make_folds

CLASSES = {"emotion": 7, "intent": 8}
OVER_CLIPS, OVER_SEEDS = "over clips alone", "over clips and seeds"
AS_THEY_ARE = dict.fromkeys(TASKS, 1.0)


def clips(rng, n):
    """Clips, and what every member knows of them: logits [n, K] by task."""
    truth = {task: rng.integers(0, k, n) for task, k in CLASSES.items()}
    known = {task: rng.normal(size=(n, k)) + 1.2 * np.eye(k)[truth[task]] for task, k in CLASSES.items()}
    return Part(OUT_OF_FOLD, np.arange(n), truth, "weighted", Units.clips(n)), known


def trained(rng, part, known, *, n_folds=3, n_seeds=2, bias=1.5, lift=0.0):
    """A system of one head count: each member has a random bias to each class, which is the same at all clips.

    lift: what its logits of the true classes are higher.
    """
    fold = np.arange(len(known["emotion"])) % n_folds
    groups = []
    for k in range(n_folds):
        rows = np.flatnonzero(fold == k)
        probabilities = {}
        for task, n_classes in CLASSES.items():
            better = lift * np.eye(n_classes)[part.truth[task][rows]]
            noise = bias * rng.normal(size=(1, n_seeds, 1, n_classes))
            probabilities[task] = softmax(known[task][rows] + better + noise, axis=-1).astype(np.float32)
        groups.append(FoldPredictions(rows, np.array([1]), probabilities))
    return System(part, ensemble.mean_of(groups), AS_THEY_ARE, groups)


def leaves_out_zero(systems):
    """In JRBM, and in the log-loss."""
    row = scores.differences(systems, n_draws=100).iloc[1]
    return [bool(row[f"d_{name}_low"] > 0 or row[f"d_{name}_high"] < 0) for name in ("JRBM", "log_loss")]


def test_systems_that_differ_by_seeds_alone_are_hardly_ever_distinguished():
    rng = np.random.default_rng(0)
    over_seeds, over_clips = [], []
    for _ in range(120):
        drawn = clips(rng, 200)
        systems = [trained(rng, *drawn), trained(rng, *drawn)]
        over_seeds.append(leaves_out_zero(systems))
        over_clips.append(leaves_out_zero([replace(system, groups=[]) for system in systems]))
    assert (np.mean(over_seeds, axis=0) <= 0.05).all()
    assert (np.mean(over_clips, axis=0) > 0.12).all()  # what a bootstrap over clips alone makes of chance


def test_a_real_difference_is_found():
    rng = np.random.default_rng(0)
    found = []
    for _ in range(10):
        drawn = clips(rng, 400)
        found.append(leaves_out_zero([trained(rng, *drawn, bias=0.5, lift=lift) for lift in (0.0, 1.0)]))
    assert (np.mean(found, axis=0) >= 0.9).all()


def test_an_interval_says_what_it_covers():
    rng = np.random.default_rng(0)
    drawn = clips(rng, 60)
    one, two, three = (trained(rng, *drawn, n_seeds=n) for n in (1, 2, 3))
    table = scores.differences([two, one, three], n_draws=20)
    assert table.interval.tolist() == [OVER_SEEDS, OVER_CLIPS, OVER_SEEDS]
    assert set(scores.differences([one, two], n_draws=20).interval) == {OVER_CLIPS}
    assert not scores.is_beyond_chance(0.1, 0.2, OVER_CLIPS)
    assert scores.is_beyond_chance(0.1, 0.2, OVER_SEEDS)
    assert not scores.is_beyond_chance(-0.1, 0.2, OVER_SEEDS)
    first = table.iloc[0]
    assert (first[["d_E", "d_E_low", "d_JRBM_low", "d_JRBM_high", "d_log_loss", "d_log_loss_high"]] == 0).all()


def test_the_log_loss_is_that_of_scikit_learn_at_the_best_temperature():
    rng = np.random.default_rng(0)
    part, known = clips(rng, 400)

    def at_scale(scale):
        return {task: softmax(scale * known[task], axis=1) for task in TASKS}

    def mean(probabilities, temperature):
        return System(part, probabilities, temperature).scores["log_loss"]

    def of_sklearn(probabilities):
        return {t: metrics.log_loss(part.truth[t], p, labels=range(CLASSES[t])) for t, p in probabilities.items()}

    tried = pd.DataFrame([of_sklearn(at_scale(scale)) for scale in np.linspace(0.3, 3, 271)])
    for scale in (0.5, 1, 2):  # members that are only surer know as much
        best = mean(at_scale(scale), scores.temperatures(part.truth, at_scale(scale)))
        assert best == pytest.approx(tried.min().sum(), abs=1e-3)
    assert mean(at_scale(2), dict.fromkeys(TASKS, 2.0)) == pytest.approx(sum(of_sklearn(at_scale(1)).values()))


def test_the_log_loss_varies_over_seeds_as_that_of_other_seeds_does():
    """The variance that the delta method finds in 4 seeds, against that over many systems of other seeds."""
    drawn = clips(np.random.default_rng(0), 300)
    systems = [trained(np.random.default_rng(seed), *drawn, n_seeds=4, bias=0.5) for seed in range(60)]
    expected = np.var([[system.scores[name] for name in LOG_LOSSES] for system in systems], axis=0, ddof=1)
    found = np.mean([scores._log_loss_over_seeds(system) for system in systems], axis=0)
    np.testing.assert_allclose(found, expected, rtol=0.5)


@pytest.mark.parametrize(
    ("bounds", "interval", "expected"),
    [
        ((-0.01, 0.01), OVER_CLIPS, ["--submit stage1", "JRBM -0.0200", "one seed"]),
        ((-0.01, 0.01), OVER_SEEDS, ["--submit stage1", OVER_SEEDS]),
        ((0.001, 0.01), OVER_CLIPS, []),
        ((-0.01, -0.001), OVER_CLIPS, []),
    ],
)
def test_a_second_stage_that_is_worse_by_both_scores_is_named_with_the_remedy(bounds, interval, expected):
    """bounds: the upper one of JRBM, the lower one of the log-loss."""
    rows = [("JRBM", -0.02, -0.03, bounds[0]), ("log_loss", 0.02, bounds[1], 0.03)]
    gains = pd.DataFrame(rows, columns=["score", "difference", "low", "high"])
    warning = scores.warn_of_loss(gains.assign(part=OUT_OF_FOLD, interval=interval))
    assert bool(warning) == bool(expected)
    assert all(part in warning for part in expected)
    assert ("one seed" in warning) == ("one seed" in expected)


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
    made = {name: tmp_path_factory.mktemp("stage") for name in ("stage 1", "stage 2")}
    for folder, knows in zip(made.values(), (0.3, 3.0), strict=True):
        draw_members(folder, members.plan(CONFIG, calibration=False), TOY, FOLDS, knows=knows)
    return made


@pytest.fixture(scope="module")
def stages(folders):
    return [scores.read_stage(name, CONFIG, TOY, FOLDS, folder) for name, folder in folders.items()]


def test_truth_is_in_the_order_of_the_folds():
    out_of_fold, validation = scores.parts(CONFIG, TOY, FOLDS)
    labels = TOY.clips.set_index("name").loc[list(FOLDS.name)]
    assert LABELS.decode("intent", out_of_fold.truth["intent"]) == list(labels.intent)
    assert list(out_of_fold.fold) == list(FOLDS.fold)
    assert (validation.fold, len(validation.truth["emotion"])) == (None, PARTS["validation"])


def test_the_table_has_a_row_per_part_stage_and_head_count_and_one_for_all(stages):
    table = scores.table(stages)
    expected = [(p, s, h) for p in (OUT_OF_FOLD, VALIDATION) for s in ("stage 1", "stage 2") for h in (1, 2, ALL_HEADS)]
    assert list(zip(table.part, table.stage, table.heads, strict=True)) == expected
    assert list(table.system[:3]) == ["1 head", "2 heads", "all heads, mean"]
    assert list(table.n_clips) == [PARTS["training"]] * 6 + [PARTS["validation"]] * 6
    last, together = table.iloc[5], stages[1].together[OUT_OF_FOLD]
    truth = together.part.truth
    score = joint_score(truth, together.predicted, CONFIG.corpus.average)
    assert tuple(score.values()) == (last.E, last.I, last.JRBM)
    for name in ("JRBM", "log_loss"):
        assert table[name].between(table[f"{name}_low"], table[f"{name}_high"]).all()
    assert set(table.over) == {"clips"}
    assert last.log_loss_emotion == pytest.approx(together.losses["emotion"].mean())
    assert last.log_loss == pytest.approx(last.log_loss_emotion + last.log_loss_intent)
    fold, predicted = FOLDS.fold.to_numpy(), together.predicted
    by_fold = pd.DataFrame(scores.scores_by_fold(together))
    for k in range(N_FOLDS):
        own = ({task: of[task][fold == k] for task in TASKS} for of in (truth, predicted))
        assert by_fold.JRBM[k] == joint_score(*own, "weighted")["JRBM"]
    assert last.fold_std == pytest.approx(by_fold.JRBM.std())
    assert table[table.part == VALIDATION].fold_std.isna().all()


def test_where_speakers_are_known_intervals_are_over_them_in_every_table(folders):
    speakers = {"training": 6, "validation": 3}
    clips = TOY.clips.assign(speaker=[f"{p}{k % speakers.get(p, 1)}" for k, p in enumerate(TOY.clips.part)])
    corpus = replace(TOY, clips=clips)
    expected = ["6 speakers", "3 speakers"]
    stages = [scores.read_stage(name, CONFIG, corpus, FOLDS, folder) for name, folder in folders.items()]
    assert list(scores.summary(stages, LABELS).over.unique()) == expected
    gains = scores.gains(*stages)
    assert list(gains.interval.unique()) == [f"over {what} and seeds" for what in expected]


def test_validation_is_calibrated_by_what_suits_out_of_fold(folders, stages):
    """Other labels on Validation change its log-loss by themselves, not the temperature."""
    clips = TOY.clips.copy()
    clips.loc[clips.part == "validation", "emotion"] = "calm"
    other = scores.read_stage("stage 2", CONFIG, replace(TOY, clips=clips), FOLDS, folders["stage 2"])
    assert other.together[VALIDATION].temperature == stages[1].together[VALIDATION].temperature


def test_what_the_second_stage_gains_is_the_difference_of_the_scores(stages):
    table = scores.table(stages).query("heads == 'all'").set_index(["part", "stage"])
    gains = scores.gains(*stages)
    for row in gains.itertuples():
        stage1, stage2 = table[row.score][row.part, "stage 1"], table[row.score][row.part, "stage 2"]
        assert row.difference == pytest.approx(stage2 - stage1)
        assert row.low <= row.difference <= row.high
    assert set(gains.score) == {"JRBM", *LOG_LOSSES}
    better = gains[gains.part == OUT_OF_FOLD].set_index("score").difference
    assert better["JRBM"] > 0 > better["log_loss"]
    assert set(gains.interval) == {OVER_SEEDS}


def test_the_majority_takes_the_commonest_training_class_everywhere(folders):
    clips = TOY.clips.copy()
    clips.loc[clips.part == "training", "emotion"] = ["rage"] * 13 + ["calm"] * 11
    corpus = replace(TOY, clips=clips)
    stage = scores.read_stage("stage 1", CONFIG, corpus, FOLDS, folders["stage 1"])
    table = scores.summary([stage], LABELS).query("stage == 'majority'")
    assert list(table.part) == [OUT_OF_FOLD, VALIDATION]
    assert set(table.system) == {"always rage, ask"}
    truth = stage.together[VALIDATION].part.truth
    always = {"emotion": np.full(PARTS["validation"], 1), "intent": np.full(PARTS["validation"], 0)}
    assert table.JRBM[1] == joint_score(truth, always, CONFIG.corpus.average)["JRBM"]
    shares = {"emotion": {1: 13 / 24, 2: 11 / 24}, "intent": {0: 0.5, 1: 0.5}}
    expected = [-np.log([max(shares[t].get(k, 0), 1e-12) for k in truth[t]]).mean() for t in TASKS]
    assert [table.log_loss_emotion[1], table.log_loss_intent[1]] == pytest.approx(expected)
