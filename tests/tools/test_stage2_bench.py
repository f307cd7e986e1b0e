from types import SimpleNamespace

import numpy as np
import pytest

import stage2_bench
from meiju.data.labels import TASKS
from stage2_bench import WAYS, Teachers, draw, shortened
from toy_corpus import make_corpus, make_store


@pytest.fixture(autouse=True)
def two_folds(monkeypatch):
    monkeypatch.setattr(stage2_bench, "N_FOLDS", 2)


def toy_run(speakers):
    corpus = make_corpus()
    corpus.clips["speaker"] = (
        np.where(corpus.clips.part == "training", corpus.clips.name.str[-1], "") if speakers else ""
    )
    return SimpleNamespace(corpus=corpus, config=SimpleNamespace(folds_by="auto"))


@pytest.mark.parametrize("speakers", [True, False])
def test_no_speaker_of_the_test_clips_is_learnt_from(speakers):
    run = toy_run(speakers)
    split = draw(run, 12, seed=0, with_pool=True)
    clips = run.corpus.clips
    parts = [split.labelled, split.pool, split.test]
    assert len(np.unique(np.concatenate(parts))) == sum(map(len, parts))
    assert set(clips.part[split.labelled]) == set(clips.part[split.test]) == {"training"}
    assert (clips.part[split.pool] == "unlabelled").sum() == 8
    if speakers:
        assert not set(clips.speaker[split.test]) & set(clips.speaker[np.concatenate([split.labelled, split.pool])])
    assert not np.array_equal(split.test, draw(run, 12, seed=1, with_pool=True).test)


def test_every_way_gives_targets_and_weights_of_the_whole_pool():
    split = draw(toy_run(True), 12, seed=0, with_pool=True)
    rng = np.random.default_rng(0)
    drawn = {task: rng.dirichlet(np.full(k, 0.5), len(split.pool)) for task, k in split.classes.items()}
    teachers = Teachers([drawn] * 2, [dict.fromkeys(TASKS, 2.0)] * 2, drawn, drawn)
    for name, way in WAYS.items():
        targets, weight = way.targets(teachers, 0, split)
        for task in TASKS:
            np.testing.assert_allclose(targets[task].sum(axis=1), 1, err_msg=name)
            assert (weight[task] >= 0).all()
            assert (weight[task] > 0).all() == (name not in ("paper", "FreeMatch")), name


def test_frames_are_shortened_to_means_of_stretches():
    store = make_store({"a": np.arange(6.0)[:, None], "none": np.empty((0, 1)), "b": np.array([[7.0]])})
    short = shortened(store, 2)
    assert short.frames[:, 0].tolist() == [1, 4, 7]
    assert short.index.loc["a", ["start", "stop"]].tolist() == [0, 2]
    assert short.index.loc["none", ["start", "stop"]].tolist() == [2, 2]
