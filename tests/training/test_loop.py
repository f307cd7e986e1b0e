import dataclasses

import numpy as np
import pytest
import torch

from meiju.config import ModelConfig, TrainConfig
from meiju.data.labels import TASKS
from meiju.models.fusion import FUSIONS
from meiju.training import regression
from meiju.training.batches import MAX_FRAMES, Frames, MemberData, Rows, class_weight, hard_rows, n_pseudo
from meiju.training.loop import predict, train_members
from toy_corpus import make_store

CLASSES = {"emotion": 3, "intent": 2}
MODEL = ModelConfig(heads=(2,), width=16)
CONFIG = TrainConfig(epochs=3, batch_size=8, average_epochs=2)
N_CLIPS = 90
NAMES = [f"clip_{k:02}" for k in range(N_CLIPS)]
NUMBERS = np.arange(N_CLIPS)
LABELS = {"emotion": NUMBERS % 3, "intent": NUMBERS // 3 % 2}


@pytest.fixture(scope="module")
def stores():
    # Emotion shows in the text's one frame, intent in some frames of sound. One clip has no sound.
    rng = np.random.default_rng(0)
    text, audio = {}, {}
    for k, name in enumerate(NAMES):
        text[name] = rng.normal(size=(1, 5)) + 3 * np.eye(5)[LABELS["emotion"][k]]
        audio[name] = rng.normal(size=(0 if k == 7 else rng.integers(1, 6), 4)) + 3 * np.eye(4)[LABELS["intent"][k]]
    return {"text": make_store(text), "audio": make_store(audio)}


@pytest.fixture(scope="module")
def frames(stores):
    return Frames(stores, NAMES)


def rows_of(clips):
    return hard_rows(clips, {task: LABELS[task][clips] for task in TASKS}, CLASSES, 0.5)


def pseudo_of(clips):
    rows = rows_of(clips)
    return Rows(clips, rows.targets, {"emotion": 0.5 * rows.weight["emotion"], "intent": rows.weight["intent"] * 0})


def three_members(pseudo):
    # Members differ in rows, in how many of them there are, and in seed.
    parts = [(NUMBERS[:40], NUMBERS[40:61], 5), (NUMBERS[10:50], NUMBERS[50:80], 6), (NUMBERS[2:38], NUMBERS[50:70], 7)]
    return [MemberData(rows_of(own), pseudo_of(more) if pseudo else None, seed) for own, more, seed in parts]


def train(frames, data, config=CONFIG, model=MODEL):
    return train_members(frames, data, model, config, heads=2, pseudo_ratio=0.5)


def assert_same_weights(first, second, **tolerance):
    torch.testing.assert_close(dict(first.state_dict()), dict(second.state_dict()), **tolerance)


def differ(first, second):
    return any(not torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


@pytest.mark.parametrize("fusion", FUSIONS)
def test_members_learn_the_same_together_and_alone(frames, fusion):
    model = dataclasses.replace(MODEL, fusion=fusion)
    together = train(frames, three_members(True), model=model)
    predicted = predict(together, frames, NUMBERS)
    for e, one in enumerate(three_members(True)):
        alone = train(frames, [one], model=model)
        for (name, both), one in zip(together.state_dict().items(), alone.state_dict().values(), strict=True):
            # A softmax cancels these biases, so that their gradients are rounding errors, which AdamW blows up.
            if not name.endswith(("score.bias", "key_value.bias")):
                np.testing.assert_allclose(both[e], one[0], atol=2e-4, err_msg=name)
        for task, logits in predict(alone, frames, NUMBERS).items():
            np.testing.assert_allclose(predicted[task][e], logits[0], atol=1e-3)
    assert not np.allclose(predicted["emotion"][0], predicted["emotion"][1], atol=1e-2)


def test_batches_padded_to_one_length_teach_the_same(frames, stores):
    """As on a GPU: all batches are as long as the longest clip."""
    padded = Frames(stores, NAMES)
    padded.one_length = True
    assert padded.batch(torch.tensor([[7]])).mask["audio"].shape[-1] == frames.longest["audio"]
    first, second = (predict(train(place, three_members(True)), place, NUMBERS) for place in (frames, padded))
    for task in TASKS:
        np.testing.assert_allclose(first[task], second[task], atol=1e-3)


def test_of_a_large_pool_a_logistic_regression_head_learns_from_clips_drawn_at_random(monkeypatch):
    """The same for all members, and its labelled rows come first."""
    first, second, _ = three_members(True)
    second = dataclasses.replace(second, pseudo=first.pseudo)
    monkeypatch.setattr(regression, "REGRESSION_ROWS", 6)
    (labelled, drawn), (_, others) = (regression._rows_of_regression(one, N_CLIPS, 1.0) for one in (first, second))
    assert labelled is first.labelled
    assert len(drawn) == 6
    np.testing.assert_array_equal(drawn.clips, others.clips)
    place = np.searchsorted(first.pseudo.clips, drawn.clips)
    np.testing.assert_array_equal(drawn.targets["intent"], first.pseudo.targets["intent"][place])


@pytest.mark.parametrize("ratio", [0.1, 4])
def test_in_the_head_pseudo_labelled_clips_weigh_as_much_as_in_the_batches(ratio):
    """A large pool must not swamp a head that learns from all of it: --stage2.ratio holds for both parts."""
    labelled, pseudo = rows_of(NUMBERS[:40]), rows_of(NUMBERS[40:])
    own, others = regression._rows_of_regression(MemberData(labelled, pseudo, 0), N_CLIPS, ratio)
    batch = 1000  # so large that rounding to whole clips does not show
    in_batches = n_pseudo(MemberData(labelled, pseudo, 0), batch, ratio) / batch
    for task in TASKS:
        in_head = (others.weight[task].sum() / pseudo.weight[task].mean()) / len(own)
        assert in_head == pytest.approx(in_batches, rel=0.01)


def test_a_task_gets_most_of_the_stream_that_tells_of_it(frames):
    one, _, _ = three_members(True)
    weights = train(frames, [one]).fusion.tokens.stream_weight[0]  # (tasks, streams)
    text_for_emotion, audio_for_emotion = weights[0]
    text_for_intent, audio_for_intent = weights[1]
    assert text_for_emotion == audio_for_intent == 1
    assert max(audio_for_emotion, text_for_intent) < 0.7
    alone = train(frames, [dataclasses.replace(one, pseudo=None)]).fusion.tokens.stream_weight[0]
    assert torch.equal(alone, weights)  # pseudo-labels do not decide
    alike = train(frames, [one], model=dataclasses.replace(MODEL, weigh_streams=False))
    assert (alike.fusion.tokens.stream_weight == 1).all()


@pytest.mark.parametrize("fusion", ["interactive", "concat"])
def test_only_classifiers_before_the_interaction_add_to_the_loss(frames, fusion):
    """Without such classifiers, the loss is the main one alone, whatever weight they would have."""
    model = dataclasses.replace(MODEL, fusion=fusion)
    first, second = (
        train(frames, three_members(False)[:1], dataclasses.replace(CONFIG, auxiliary=weight), model)
        for weight in (0, 5)
    )
    assert differ(first, second) == (fusion == "interactive")


def test_training_learns_what_can_be_learnt(frames):
    model = ModelConfig(heads=(2,), width=32, input_dropout=0.1, dropout=0.1)
    config = TrainConfig(epochs=20, batch_size=16)
    network = train(frames, [MemberData(rows_of(NUMBERS[:60]), None, seed) for seed in (0, 1)], config, model)
    predicted = predict(network, frames, NUMBERS[60:])
    for task in TASKS:
        right = predicted[task].argmax(axis=-1) == LABELS[task][60:]
        assert right.mean(axis=1).min() > 0.85, task


def test_a_seed_repeats_exactly_and_another_differs(frames):
    one = three_members(False)[0]
    assert_same_weights(train(frames, [one]), train(frames, [one]), rtol=0, atol=0)
    assert differ(train(frames, [one]), train(frames, [dataclasses.replace(one, seed=99)]))


def test_weights_are_the_mean_over_the_ends_of_the_last_epochs(frames, monkeypatch):
    ends = []
    original = torch.optim.swa_utils.AveragedModel.update_parameters

    def note(average, network):
        ends.append([p.detach().clone() for p in network.parameters()])
        original(average, network)

    monkeypatch.setattr(torch.optim.swa_utils.AveragedModel, "update_parameters", note)
    network = train(frames, three_members(False)[:1])
    for parameter, first, second in zip(network.parameters(), *ends, strict=True):
        torch.testing.assert_close(parameter.detach(), (first + second) / 2)


@pytest.mark.parametrize("power", [0, 0.5, 1])
def test_class_weights_have_mean_1_over_rows_and_an_unknown_label_none(power):
    labels, counts = np.repeat([0, 1, 3], [30, 6, 1]), np.array([30, 6, 1])
    weight = class_weight(labels, 4, power)
    assert weight[labels].mean() == pytest.approx(1)
    np.testing.assert_allclose(weight[[0, 1, 3]] * counts**power, weight[3], rtol=1e-6)
    rows = hard_rows(np.arange(4), {"emotion": np.array([0, -1, 2, 0]), "intent": np.array([1, 1, -1, -1])}, CLASSES, 1)
    np.testing.assert_array_equal(rows.targets["emotion"], [[1, 0, 0], [0, 0, 0], [0, 0, 1], [1, 0, 0]])
    np.testing.assert_allclose(rows.weight["emotion"], [0.75, 0, 1.5, 0.75])
    np.testing.assert_allclose(rows.weight["intent"], [1, 1, 0, 0])


@pytest.mark.parametrize("kind", ["labelled", "pseudo"])
@pytest.mark.parametrize("weight", [0.0, 1.0])
def test_targets_of_weight_0_have_no_influence(frames, kind, weight):
    def one(turned):
        labelled, pseudo = rows_of(NUMBERS[:24]), rows_of(NUMBERS[24:36])
        rows = labelled if kind == "labelled" else pseudo
        for task in TASKS:
            rows.weight[task][:4] = weight
            if turned:
                rows.targets[task][:4] = rows.targets[task][:4, ::-1].copy()
        return MemberData(labelled, pseudo, 3)

    assert differ(train(frames, [one(False)]), train(frames, [one(True)])) == (weight > 0)


@pytest.mark.parametrize(("n", "ratio", "expected"), [(40, 0.5, 4), (10, 1, 2), (1, 1, 1)])
def test_pseudo_labelled_clips_come_no_more_often_than_labelled_ones(n, ratio, expected):
    one = MemberData(rows_of(NUMBERS[:40]), pseudo_of(np.resize(NUMBERS, n)), 0)
    assert n_pseudo(one, 8, ratio) == expected
    assert n_pseudo(dataclasses.replace(one, pseudo=None), 8, ratio) == 0


def test_predictions_do_not_depend_on_the_rest_of_the_batch(frames, monkeypatch):
    network = train(frames, three_members(False))
    before = predict(network, frames, NUMBERS)
    assert before["emotion"].shape == (3, N_CLIPS, 3)
    assert before["intent"].shape == (3, N_CLIPS, 2)
    order = np.random.default_rng(1).permutation(N_CLIPS)
    monkeypatch.setattr("meiju.training.loop.PREDICT_BATCH", 4)
    after = predict(network, frames, order)
    alone = predict(network, frames, NUMBERS[7:8])
    for task in TASKS:
        np.testing.assert_allclose(after[task], before[task][:, order], atol=1e-5)
        np.testing.assert_allclose(alone[task], before[task][:, 7:8], atol=1e-5)


LENGTHS = {"long": MAX_FRAMES * 2 + 5, "none": 0, "short": 3, "full": MAX_FRAMES}


def gather(*names, lengths=LENGTHS):
    rng = np.random.default_rng(0)
    clips = {name: rng.normal(size=(n, 2)).astype(np.float16) for name, n in lengths.items()}
    chosen = torch.tensor([[list(lengths).index(name) for name in names]])
    batch = Frames({"audio": make_store(clips)}, list(lengths)).batch(chosen)
    return clips, batch.frames["audio"][0].numpy(), batch.mask["audio"][0].numpy()


def test_frames_come_in_order_padded_with_zeros_and_of_a_long_clip_evenly_spaced():
    for lengths in (LENGTHS, dict.fromkeys(LENGTHS, 0)):  # whether other clips have some or not
        _, frames, mask = gather("none", lengths=lengths)
        assert (frames.tolist(), mask.tolist()) == ([[[0, 0]]], [[False]])
    clips, frames, mask = gather("none", "short", "full")
    assert mask.sum(axis=1).tolist() == [0, 3, MAX_FRAMES]
    assert frames.dtype == np.float32
    for k, name in enumerate(["none", "short", "full"]):
        np.testing.assert_array_equal(frames[k, mask[k]], clips[name])
    assert (frames[~mask] == 0).all()
    # Of a long clip, evenly spaced ones.
    clips, frames, mask = gather("short", "long")
    assert mask[1].all()
    assert mask.shape[1] == MAX_FRAMES
    found = [int(np.flatnonzero((clips["long"] == frame).all(axis=1))[0]) for frame in frames[1]]
    assert found[0] == 0
    assert set(np.diff(found)) <= {2, 3}
    assert LENGTHS["long"] - found[-1] <= 3


@pytest.mark.parametrize(("size", "n_frames"), [(1e-3, 1), (1.0, 3)])
def test_dimensions_that_do_not_vary_leave_the_others_their_size(size, n_frames):
    """As what face-geometry describes of scenes, which is 0 where every clip to learn from shows a face."""
    rng = np.random.default_rng(0)
    dead = np.array([0.3, 0, 7e-4, -2, 5]) * size
    clips = {name: np.hstack([size * rng.normal(size=(n_frames, 20)), [dead] * n_frames]) for name in NAMES}
    place = Frames({"a": make_store(clips)}, NAMES)
    network = train(place, [MemberData(rows_of(NUMBERS), None, 0)])
    batch = place.batch(torch.from_numpy(NUMBERS)[None])
    tokens = network.fusion.tokens
    scaled = (batch.frames["a"] - tokens.mean_a) * tokens.scale_a
    assert scaled[..., :20].square().mean().item() == pytest.approx(1, rel=1e-3)
    head = network.regression
    pooled = (head.pool(batch)[0] - head.centre) * head.scale
    assert pooled.square().sum(dim=-1).mean().item() == pytest.approx(1, rel=1e-3)


@pytest.mark.parametrize("fusion", FUSIONS)
def test_a_stream_that_a_member_never_saw_does_not_move_it(fusion):
    """What no clip to learn from has would reach classifiers through weights as they were drawn."""
    rng = np.random.default_rng(2)
    rare = {name: rng.normal(size=(3 if k >= 60 else 0, 4)) for k, name in enumerate(NAMES)}
    nowhere = {name: np.empty((0, 4)) for name in NAMES}
    text = {name: rng.normal(size=(1, 5)) for name in NAMES}
    places = [Frames({"text": make_store(text), "rare": make_store(clips)}, NAMES) for clips in (rare, nowhere)]
    data = [MemberData(rows_of(NUMBERS[:60]), None, 3)]
    network = train(places[0], data, model=dataclasses.replace(MODEL, fusion=fusion))
    with_it, without = (predict(network, place, NUMBERS[60:]) for place in places)
    for task in TASKS:
        np.testing.assert_allclose(with_it[task], without[task], atol=1e-5)


def test_training_can_start_from_given_weights(frames):
    network = dataclasses.replace(MODEL, linear=0.0)  # the head is fitted to the end, wherever it starts
    first = train(frames, three_members(pseudo=False), model=network)
    start = {key: value.clone() for key, value in first.state_dict().items()}
    slow = dataclasses.replace(CONFIG, lr=1e-9, weight_decay=0.0)
    warm = train_members(frames, three_members(pseudo=True), network, slow, heads=2, pseudo_ratio=0.5, start=start)
    assert_same_weights(warm, first, atol=1e-6, rtol=0)
    assert differ(warm, train(frames, three_members(pseudo=True), slow, network))
