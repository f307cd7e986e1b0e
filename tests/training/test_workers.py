"""What each member learns from, and that what is kept of it is read as it was written."""

import dataclasses
import shutil
import types

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file, save_file

from meiju.config import Config, ModelConfig, PseudoConfig, Stage2Config, TrainConfig
from meiju.features import frame_store
from meiju.training import members, workers
from meiju.training.members import Member
from meiju.training.workers import StageData
from meiju.utils import files
from toy_corpus import LABELS, N_FOLDS, make_corpus, make_folds

MODEL, TRAIN = ModelConfig(heads=(1, 2), width=4), TrainConfig(seeds=2, epochs=1, average_epochs=1, together=2)
CONFIG = Config("toy", folds=N_FOLDS, jobs=1, device="cpu", model=MODEL, train=TRAIN)
ONE_HEAD = dataclasses.replace(
    CONFIG, model=ModelConfig(heads=(1,), width=4), train=TrainConfig(1, 1, average_epochs=1)
)
CORPUS = make_corpus()
FOLDS = make_folds(CORPUS)
NAMES = list(CORPUS.clips.name)


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> StageData:
    """Two streams of random frames; a clip has no frame of the second."""
    rng, folder = np.random.default_rng(0), tmp_path_factory.mktemp("stores")
    frames = {"text": [rng.normal(size=(1, 5)) for _ in NAMES], "audio": [rng.normal(size=(3, 4)) for _ in NAMES]}
    frames["audio"][2] = frame_store.NoFrames("silent")
    for stream, encoded in frames.items():
        dim = {"text": 5, "audio": 4}[stream]
        clips = [(name, *frame_store.checked(f, dim), "") for name, f in zip(NAMES, encoded, strict=True)]
        frame_store.write(folder / stream, clips, dim=dim, meta={})
    return StageData(CORPUS.clips, LABELS, FOLDS, {stream: folder / stream for stream in frames})


@pytest.fixture(scope="module")
def trained(data, tmp_path_factory):
    """A folder of the members of CONFIG with one head, calibration models included."""
    folder = tmp_path_factory.mktemp("members")
    workers.train(ONE_HEAD, data, members.plan(ONE_HEAD, calibration=True), folder)
    return folder


def test_a_member_learns_from_the_folds_it_does_not_hold_out(data):
    for member in members.plan(CONFIG, calibration=True):
        rows = workers._member_data(CONFIG, data, member).labelled
        expected = FOLDS.name[~FOLDS.fold.isin(member.held_out)]
        assert [NAMES[k] for k in rows.clips] == sorted(expected)
        truth = CORPUS.clips.set_index("name").emotion[sorted(expected)]
        assert LABELS.decode("emotion", rows.targets["emotion"].argmax(axis=1)) == list(truth)


def test_members_differ_in_their_random_streams_and_stages_too(data):
    second, other = dataclasses.replace(data, pseudo=pseudo_labels()), dataclasses.replace(CONFIG, seed=1)
    seeds = [workers._member_data(CONFIG, data, member).seed for member in members.plan(CONFIG, calibration=True)]
    for config, of_stage in ((CONFIG, second), (other, data)):
        plan = members.plan(config, calibration=False)
        seeds += [workers._member_data(config, of_stage, member).seed for member in plan]
    assert len(set(seeds)) == len(seeds)


def pseudo_labels():
    """Of each fold other labels of two unlabelled clips; the intent of the second is not accepted."""
    rows = []
    for fold in range(N_FOLDS):
        for k in range(2):
            rows.append({"name": f"unlabelled_0{k}", "fold": fold, "emotion": LABELS.emotion[fold], "intent": "wish"})
            rows[-1] |= {"emotion_accepted": True, "intent_accepted": k == 0}
            rows[-1] |= {f"emotion_probability_{label}": 0.2 + 0.4 * (label == "calm") for label in LABELS.emotion}
            rows[-1] |= {f"intent_probability_{label}": 0.5 for label in LABELS.intent}
    return pd.DataFrame(rows)


@pytest.mark.parametrize("soft", [False, True])
def test_a_member_learns_from_the_pseudo_labels_of_its_own_fold(data, soft):
    config = dataclasses.replace(
        CONFIG, pseudo=PseudoConfig(gate="soft" if soft else "paper"), stage2=Stage2Config(weight=0.25)
    )
    with_pseudo = dataclasses.replace(data, pseudo=pseudo_labels())
    for fold in range(N_FOLDS):
        rows = workers._member_data(config, with_pseudo, Member(1, 0, (fold,))).pseudo
        assert [NAMES[k] for k in rows.clips] == ["unlabelled_00", "unlabelled_01"]
        np.testing.assert_allclose(rows.weight["emotion"], 0.25)
        np.testing.assert_allclose(rows.weight["intent"], [0.25, 0])
        expected = [0.2, 0.2, 0.6] if soft else np.eye(3)[fold]
        np.testing.assert_allclose(rows.targets["emotion"], [expected] * 2, rtol=1e-6)
        assert not rows.targets["intent"][1].any()
    table = pseudo_labels()
    with_pseudo = dataclasses.replace(data, pseudo=table[table.fold != 1])
    for fold in (1, 2):  # without labels of its fold, a member has none
        rows = workers._member_data(config, with_pseudo, Member(1, 0, (fold,))).pseudo
        assert (rows is None) == (fold == 1)


def test_members_train_with_their_like_whatever_other_heads_and_seeds_there_are(data):
    def groups(heads, seeds):
        train = dataclasses.replace(CONFIG.train, seeds=seeds)
        config = dataclasses.replace(CONFIG, train=train, model=ModelConfig(heads=heads))
        plan = members.plan(config, calibration=True)
        made = workers.group_members(config, data, plan, device="cpu")
        assert sorted(member for group in made for member, _ in group) == sorted(plan)
        for group in made:
            assert len(group) <= CONFIG.train.together
            assert len({(m.heads, m.seed, len(m.held_out), len(d.labelled) > 8) for m, d in group}) == 1
        return {tuple(member for member, _ in group) for group in made}

    assert groups((2,), 1) < groups((1, 2), 1) < groups((1, 2), 3)


@pytest.mark.parametrize(("gigabytes", "largest"), [(8, 8), (1e-4, 1)])
def test_on_gpus_members_that_train_together_are_as_many_as_fit(data, monkeypatch, gigabytes, largest):
    """Of 15 members alike, which two GPUs share."""
    config = dataclasses.replace(CONFIG, train=dataclasses.replace(CONFIG.train, seeds=1, together=None))
    properties = types.SimpleNamespace(total_memory=gigabytes * 1e9)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: properties)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    plan = 5 * [member for member in members.plan(config, calibration=False) if member.heads == 1]
    groups = workers.group_members(config, data, plan, device="cuda")
    assert max(map(len, groups)) == largest
    assert sum(map(len, groups)) == len(plan) == 15
    assert max(map(len, workers.group_members(config, data, plan, device="cpu"))) == 5


def test_calibration_models_keep_no_weights_and_predict_labelled_clips_alone(trained):
    model = Member(1, 0, (0, 2))
    assert [path.name for path in members.paths([model], trained)] == ["heads1-seed0-fold0+2.npz"]
    assert not (trained / members.weights_name(model)).exists()
    held_out = list(FOLDS.name[FOLDS.fold != 1])
    assert members.probabilities(trained, model, held_out)["emotion"].shape == (len(held_out), 3)
    assert set(members.trained_on(trained, model)) == set(FOLDS.name[FOLDS.fold == 1])
    with pytest.raises(files.Damaged, match="has no prediction of testing_00"):
        members.probabilities(trained, model, ["testing_00"])
    with pytest.raises(KeyError, match="heads1-seed0-fold0 has no prediction of training_02: it trained on it"):
        members.probabilities(trained, ONE, ["training_00", "training_02"])


ONE = Member(1, 0, (0,))


DAMAGES = {
    "no finite numbers": lambda weights, _: weights["regression.centre"].fill_(torch.nan),
    "size mismatch|stack expects": lambda w, _: w.update({"regression.centre": torch.zeros(1, 3)}),
    "regression.centre": lambda weights, _: weights.pop("regression.centre"),
    "other streams or classes": lambda _, metadata: metadata.update(
        shape='{"streams": {"text": 5}, "single": ["text"], "classes": {"emotion": 3, "intent": 2}}'
    ),
    "other names or sizes": lambda _, metadata: metadata.update(
        shape=metadata["shape"].replace('"audio": 4', '"audio": 1000000000')
    ),
    "shape": lambda _, metadata: metadata.clear(),
}


@pytest.mark.parametrize("reason", DAMAGES)
def test_weights_that_do_not_belong_are_named(trained, tmp_path, reason):
    folder = shutil.copytree(trained, tmp_path / "members")
    path = folder / "heads1-seed0-fold1.safetensors"
    weights, metadata = load_file(path), {"shape": workers.read_weights(folder, [ONE])[0].to_json()}
    DAMAGES[reason](weights, metadata)
    save_file(weights, path, metadata)
    if reason == "other names or sizes":  # in all files: refused before memory is taken for huge streams
        for path in folder.glob("*.safetensors"):
            save_file(load_file(path), path, metadata)
    with pytest.raises(files.Damaged, match=f"is damaged .*({reason})"):
        workers.load_network(folder, members.plan(ONE_HEAD, calibration=False), ONE_HEAD.model)
