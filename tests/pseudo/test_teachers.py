"""Who teaches which fold and what it may know, on members that are drawn; test_pipeline.py has it on whole runs."""

import dataclasses
import re

import numpy as np
import pandas as pd
import pytest

from meiju.config import Config, ModelConfig, PseudoConfig, TrainConfig
from meiju.data.corpus import Corpus
from meiju.data.labels import TASKS
from meiju.evaluation import ensemble
from meiju.pseudo import teachers
from meiju.training import members
from meiju.training.members import Member
from meiju.utils import files
from toy_corpus import N_FOLDS, draw_members, make_corpus, make_folds

CONFIG = Config(
    "toy",
    folds=N_FOLDS,
    model=ModelConfig(heads=(1, 2)),
    train=TrainConfig(seeds=2),
    pseudo=PseudoConfig(gate="paper", threshold=0.6),
)
TOY = make_corpus()
FOLDS = make_folds(TOY)
POOL = list(TOY.part("unlabelled").name)


@pytest.fixture(scope="module")
def stage1(tmp_path_factory):
    """A folder of stage-1 members, calibration models included, whose predictions lean to the true classes."""
    folder = tmp_path_factory.mktemp("stage1")
    draw_members(folder, members.plan(CONFIG, calibration=True), TOY, FOLDS, knows=1.0)
    return folder


@pytest.fixture(scope="module")
def labelled(stage1):
    """Pseudo-labels and gates of TOY."""
    return teachers.label_pool(CONFIG, TOY, FOLDS, stage1)


def with_shuffled_labels(corpus: Corpus, fold: int) -> Corpus:
    """The same corpus, the labels of one fold's clips in the opposite order."""
    clips = corpus.clips.copy()
    rows = clips.name.isin(FOLDS.name[FOLDS.fold == fold])
    clips.loc[rows, list(TASKS)] = clips.loc[rows, list(TASKS)].to_numpy()[::-1]
    assert not clips.equals(corpus.clips)
    return dataclasses.replace(corpus, clips=clips)


@pytest.mark.parametrize("fold", range(N_FOLDS))
def test_calibration_rows_come_from_the_members_that_held_out_both_folds(stage1, fold):
    rows, probabilities = teachers.calibration_out_of_fold(CONFIG, FOLDS, stage1, fold)
    assert set(rows.name) == set(FOLDS.name[FOLDS.fold != fold])
    for other in set(range(N_FOLDS)) - {fold}:
        pair = tuple(sorted((fold, other)))
        chosen = [Member(heads, seed, pair) for heads in (1, 2) for seed in (0, 1)]
        for member in chosen:
            assert not set(members.trained_on(stage1, member)) & set(FOLDS.name[FOLDS.fold.isin(pair)])
        there = (rows.fold == other).to_numpy()
        expected = ensemble.mean_over(stage1, chosen, list(rows.name[there]))
        for task in TASKS:
            np.testing.assert_array_equal(probabilities[task][there], expected[task])


@pytest.mark.parametrize("leaky", [Member(2, 1, (0, 1)), Member(1, 0, (1,))], ids=["calibration", "teacher"])
def test_a_member_that_trained_on_a_held_out_clip_stops_the_labelling(tmp_path, leaky):
    draw_members(tmp_path, members.plan(CONFIG, calibration=True), TOY, FOLDS, knows=1.0)
    teachers.label_pool(CONFIG, TOY, FOLDS, tmp_path)
    (first, *_) = FOLDS.name[FOLDS.fold == 1]
    path = tmp_path / f"{leaky.stem}.npz"
    with np.load(path) as arrays:
        changed = dict(arrays) | {"trained_on": np.append(arrays["trained_on"], first)}
    np.savez(path, **changed)
    with pytest.raises(teachers.LeakError, match=f"1 held-out clips were trained on, the first: {first}"):
        teachers.label_pool(CONFIG, TOY, FOLDS, tmp_path)


@pytest.mark.parametrize("gate", ["soft", "paper"])
def test_a_folds_own_labels_decide_nothing_of_its_pseudo_labels_and_gates(stage1, gate):
    config = dataclasses.replace(CONFIG, pseudo=PseudoConfig(gate=gate, threshold=0.6))
    for fold in range(N_FOLDS):
        other = with_shuffled_labels(TOY, fold)
        (table, gates), (table_after, gates_after) = (
            teachers.label_pool(config, corpus, FOLDS, stage1) for corpus in (TOY, other)
        )
        own, own_gates = table.fold == fold, gates.fold == fold
        pd.testing.assert_frame_equal(table_after[own], table[own])
        pd.testing.assert_frame_equal(gates_after[own_gates], gates[own_gates])
        assert not gates_after[~own_gates].equals(gates[~own_gates])


def test_the_pool_is_labelled_once_per_fold_by_the_folds_teachers(stage1, labelled):
    table, gates = labelled
    assert list(zip(table.fold, table.name, strict=True)) == [(k, name) for k in range(N_FOLDS) for name in POOL]
    assert len(gates) == N_FOLDS * len(TASKS)
    for fold in range(N_FOLDS):
        chosen = [Member(heads, seed, (fold,)) for heads in (1, 2) for seed in (0, 1)]
        mean = ensemble.mean_over(stage1, chosen, POOL)
        for task in TASKS:
            likeliest = TOY.labels.decode(task, mean[task].argmax(axis=1))
            assert list(table[table.fold == fold][task]) == likeliest
    assert 0 < len(teachers.accepted(table)) < len(table)


def test_pseudo_labels_and_gates_are_read_as_they_were_written(labelled, tmp_path):
    table, gates = labelled
    assert [path.name for path in teachers.write(tmp_path, table, gates)] == ["pseudo_labels.csv", "gates.csv"]
    read, gates_read = teachers.read(tmp_path)
    pd.testing.assert_frame_equal(read, table, check_dtype=False)
    pd.testing.assert_frame_equal(gates_read, gates)


@pytest.mark.parametrize(
    ("change", "file", "reason"),
    [
        (lambda table, gates: (table.drop(columns="intent_accepted"), gates), "pseudo_labels", "intent_accepted"),
        (lambda table, gates: (table.iloc[1:], gates), "pseudo_labels", "not all folds have the same clips"),
        (lambda table, gates: (table.assign(intent_confidence=1.5), gates), "pseudo_labels", "no probability"),
        (lambda table, gates: (table, gates.assign(threshold="high")), "gates", "high"),
    ],
)
def test_pseudo_labels_and_gates_that_are_not_whole_are_named(labelled, tmp_path, change, file, reason):
    teachers.write(tmp_path, *change(*labelled))
    with pytest.raises(files.Damaged, match=rf"{file}\.csv is damaged .*{reason}"):
        teachers.read(tmp_path)


def test_what_is_accepted_is_reported_and_where_nothing_is_a_threshold_that_lets_a_clip_in(labelled):
    table, gates = labelled
    text = teachers.describe(table, gates.assign(precision=0.8), TOY)
    n = table.emotion_accepted.sum() / N_FOLDS
    assert f"emotion: {n:.0f} accepted, at a confidence of 0.600 or more (temperature 1.00; of held-out" in text
    text = teachers.describe(table.assign(emotion_accepted=False), gates.assign(precision=np.nan), TOY)
    threshold = float(re.search(r"with --pseudo.threshold ([\d.]+) every fold would accept", text)[1])
    assert threshold <= table.groupby("fold").emotion_confidence.max().min() < threshold + 0.001
    assert "of held-out rows, none passes" in text
    assert teachers.describe(table[:0], gates, TOY).startswith("there are no unlabelled clips")


def test_few_pseudo_labels_are_no_second_stage(labelled):
    table, _ = labelled
    accepted = teachers.accepted(table)
    assert set(accepted.index) == set(table.index[table.emotion_accepted | table.intent_accepted])
    enough = int(20 * len(accepted) / N_FOLDS)
    assert teachers.too_few(table, enough, N_FOLDS) == ""
    assert teachers.too_few(table, enough + 1, N_FOLDS).startswith("Stage 2 is nearly stage 1 again: for ")
