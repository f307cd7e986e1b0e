"""tuned: streams, with a tiny random BERT."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from meiju.config import Config, ConfigError, TuneConfig
from meiju.data.labels import TASKS
from meiju.features import frame_store
from meiju.features.base import Clip
from meiju.training import text_tuning
from meiju.training.text_tuning import Lines, TunedText, network_of, store_of
from toy_models import write_bert

N_FOLDS = 4
CLASSES = dict(zip(TASKS, (2, 3), strict=True))
CHARACTERS = "甲乙丙丁戊己"
CPU = torch.device("cpu")
CONFIG = TuneConfig(epochs=4, lr=0.02, batch_size=4)


@pytest.fixture(scope="module")
def bert(tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("bert")
    write_bert(folder, CHARACTERS)
    return str(folder)


def make_lines() -> Lines:
    """28 clips in four folds and 6 in none; the first character tells the emotion, the second the intent."""
    rng = np.random.default_rng(0)
    emotion, intent = rng.integers(0, 2, 34), rng.integers(0, 3, 34)
    text = [f"{CHARACTERS[e]}{CHARACTERS[2 + i]}" for e, i in zip(emotion, intent, strict=True)]
    clips = [Clip(f"c{k:02d}", "" if k == 33 else line, "") for k, line in enumerate(text)]
    fold = np.where(np.arange(34) < 28, np.arange(34) % N_FOLDS, -1)
    return Lines(clips, fold, {"emotion": emotion, "intent": intent}, CLASSES)


@pytest.fixture(scope="module")
def tuned(bert, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("tuned")
    text_tuning.extract(bert, CONFIG, make_lines(), folder, seed=0, device=CPU)
    return folder


def frames_of(folder: Path, held_out: tuple[int, ...]) -> np.ndarray:
    return np.array(frame_store.load(store_of(folder, held_out)).frames)


def test_frames_are_log_probabilities_of_both_tasks(tuned):
    store = frame_store.load(store_of(tuned, (1,)))
    assert store.missing.name.tolist() == ["c33"]
    assert store.dim == 5
    emotion, intent = np.exp(store.frames[:, :2].astype(float)), np.exp(store.frames[:, 2:].astype(float))
    own = make_lines().fold[:33] != 1  # elsewhere they are means over networks
    np.testing.assert_allclose(emotion.sum(axis=1)[own & (make_lines().fold[:33] >= 0)], 1, atol=0.01)
    np.testing.assert_allclose(intent.sum(axis=1)[own & (make_lines().fold[:33] >= 0)], 1, atol=0.01)


def test_networks_learn(tuned):
    lines = make_lines()
    unseen = lines.fold[:33] == 2
    guess = frames_of(tuned, (2,))[unseen, :2].argmax(axis=1)
    assert (guess == lines.labels["emotion"][:33][unseen]).mean() > 0.8


def test_labels_that_are_held_out_reach_nothing(bert, tuned, tmp_path):
    """The members of a fold see the same, bit for bit, when its labels change, and so they see a fold's own clips."""
    lines, shuffled = make_lines(), 2
    labels = {task: own.copy() for task, own in lines.labels.items()}
    for task in TASKS:
        labels[task][lines.fold == shuffled] = (labels[task][lines.fold == shuffled] + 1) % CLASSES[task]
    text_tuning.extract(bert, CONFIG, replace(lines, labels=labels), tmp_path, seed=0, device=CPU)
    other = next(k for k in range(N_FOLDS) if k != shuffled)
    for held_out in ((shuffled,), (shuffled, other)):
        np.testing.assert_array_equal(frames_of(tmp_path, held_out), frames_of(tuned, held_out))
    own = lines.fold[:33] == shuffled
    changed, before = frames_of(tmp_path, (other,)), frames_of(tuned, (other,))
    np.testing.assert_array_equal(changed[own], before[own])
    assert (changed[~own] != before[~own]).any()


def test_an_interrupted_tuning_goes_on_to_the_same_frames(bert, tuned, tmp_path, monkeypatch):
    train, calls = text_tuning.Tuner.train, []

    def break_off(*arguments, **options):
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return train(*arguments, **options)

    monkeypatch.setattr(text_tuning.Tuner, "train", break_off)
    for _ in range(2):
        try:
            text_tuning.extract(bert, CONFIG, make_lines(), tmp_path, seed=0, device=CPU)
        except KeyboardInterrupt:
            assert len(list(tmp_path.glob("predictions-*"))) == 3
    assert len(calls) == 1 + 6 + 4  # pairs and triples of four folds, and the one that broke off
    np.testing.assert_array_equal(frames_of(tmp_path, (0,)), frames_of(tuned, (0,)))


def test_members_see_a_new_clip_as_they_saw_those_without_a_fold(tuned):
    lines = make_lines()
    seen = TunedText(tuned, N_FOLDS, CLASSES, CPU).encode_by_fold(lines.clips[28:])
    assert list(seen) == [0, 1, 2, 3]
    for fold, frames in seen.items():
        assert str(frames[-1]) == "no sentence"
        np.testing.assert_array_equal(np.concatenate(frames[:-1]).astype(np.float16), frames_of(tuned, (fold,))[28:])
    assert (seen[0][0] != seen[1][0]).any()


def test_a_network_that_is_lost_is_trained_again(bert, tuned, tmp_path):
    shutil.copytree(tuned, tmp_path / "tuned")
    lost = network_of(tmp_path / "tuned", (1, 3)) / "model.safetensors"
    before = lost.read_bytes()
    lost.unlink()
    text_tuning.extract(bert, CONFIG, make_lines(), tmp_path / "tuned", seed=0, device=CPU)
    assert lost.read_bytes() == before


def test_three_folds_are_too_few():
    with pytest.raises(ConfigError, match="--folds is at least 4"):
        Config("run", streams=("a=tuned:some/model",), folds=3)
