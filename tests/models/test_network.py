import pytest
import torch

from meiju.config import ModelConfig
from meiju.data.labels import TASKS
from meiju.models.fusion import FUSIONS
from meiju.models.layers import Batch, InputSpec, MemberRandom
from meiju.models.network import MemberNetwork

SHAPE = InputSpec({"text": 6, "audio": 4}, frozenset({"text"}), {"emotion": 4, "intent": 2})


def make(seeds=(1, 2), **settings):
    """Networks whose logistic-regression heads, if any, hold made-up weights."""
    config = ModelConfig(**{"heads": (2,), "width": 8, **settings})
    network = MemberNetwork(SHAPE, config, heads=2, random=MemberRandom(list(seeds))).eval()
    if network.regression is not None:
        draw = torch.Generator().manual_seed(0)
        for buffer in network.regression.buffers():
            buffer.copy_(torch.rand(buffer.shape, generator=draw))
    return network


def make_batch(n_members=2, n_clips=5):
    draw = torch.Generator().manual_seed(1)
    frames = {
        "text": torch.randn(1, n_clips, 1, 6, generator=draw),
        "audio": torch.randn(1, n_clips, 3, 4, generator=draw),
    }
    frames = {stream: x.expand(n_members, -1, -1, -1) for stream, x in frames.items()}
    return Batch(frames, {s: torch.ones(x.shape[:-1], dtype=torch.bool) for s, x in frames.items()})


@pytest.mark.parametrize("fusion", FUSIONS)
def test_a_member_predicts_the_mean_of_its_fusion_network_and_its_head(fusion):
    network, batch = make(fusion=fusion, linear=0.25), make_batch()
    main, regression = network(batch).main, network.regression(batch)
    for task, predicted in network.log_probabilities(batch).items():
        expected = 0.75 * main[task].softmax(dim=-1) + 0.25 * regression[task].softmax(dim=-1)
        torch.testing.assert_close(predicted.exp(), expected)
        assert not torch.allclose(predicted.exp(), main[task].softmax(dim=-1), atol=1e-3)


def test_gradient_steps_do_not_reach_the_head_and_there_may_be_none():
    without, batch = make(linear=0), make_batch()
    assert not any(name.startswith("regression") for name in without.state_dict())
    for task, predicted in without.log_probabilities(batch).items():
        torch.testing.assert_close(predicted, without(batch).main[task].log_softmax(dim=-1))
    network = make(linear=0.5)
    assert list(network.regression.parameters()) == []
    logits = network(make_batch())
    network.regression.centre += 1
    for task in TASKS:
        torch.testing.assert_close(network(make_batch()).main[task], logits.main[task])


@pytest.mark.parametrize("linear", [0.0, 0.5])
def test_weights_that_are_loaded_predict_the_same(linear):
    first, second, batch = make(linear=linear), make(seeds=(3, 4), linear=linear), make_batch()
    assert not torch.equal(first.log_probabilities(batch)["emotion"], second.log_probabilities(batch)["emotion"])
    second.load_state_dict({name: weight.clone() for name, weight in first.state_dict().items()})
    for task in TASKS:
        assert torch.equal(first.log_probabilities(batch)[task], second.log_probabilities(batch)[task])
