from types import SimpleNamespace

import numpy as np
import pytest

import stage2_bench
from meiju.data.labels import TASKS
from toy_corpus import make_corpus, make_store


@pytest.mark.parametrize("speakers", [True, False])
def test_no_speaker_of_the_test_clips_is_learnt_from(monkeypatch, speakers):
    monkeypatch.setattr(stage2_bench, "N_FOLDS", 2)
    corpus = make_corpus()
    clips = corpus.clips
    clips["speaker"] = np.where(clips.part == "training", clips.name.str[-1], "") if speakers else ""
    run = SimpleNamespace(corpus=corpus, config=SimpleNamespace(folds_by="auto"))
    split, other = (stage2_bench.draw(run, 12, seed, with_pool=True) for seed in (0, 1))
    parts = [split.labelled, split.pool, split.test]
    assert len(np.unique(np.concatenate(parts))) == sum(map(len, parts))
    assert set(clips.part[split.labelled]) == set(clips.part[split.test]) == {"training"}
    assert (clips.part[split.pool] == "unlabelled").sum() == 8
    if speakers:
        assert not set(clips.speaker[split.test]) & set(clips.speaker[np.concatenate([split.labelled, split.pool])])
    assert not np.array_equal(split.test, other.test)


def test_soft_targets_are_calibrated_and_the_papers_are_the_surest_classes():
    p, temperature = dict.fromkeys(TASKS, np.array([[0.999, 0.001], [0.2, 0.8]])), dict.fromkeys(TASKS, 2.0)
    targets, weight = stage2_bench.soft(p, temperature)
    np.testing.assert_allclose(targets["emotion"][1], [1 / 3, 2 / 3])
    assert weight["intent"].tolist() == [1, 1]
    targets, weight = stage2_bench.paper(p, temperature)
    assert targets["emotion"].tolist() == [[1, 0], [0, 1]]
    assert weight["intent"].tolist() == [1, 0]


def test_frames_are_shortened_to_means_of_stretches():
    store = make_store({"a": np.arange(6.0)[:, None], "none": np.empty((0, 1)), "b": np.array([[7.0]])})
    short = stage2_bench.shortened(store, 2)
    assert short.frames[:, 0].tolist() == [1, 4, 7]
    assert short.index[["start", "stop"]].to_numpy().tolist() == [[0, 2], [2, 2], [2, 3]]
