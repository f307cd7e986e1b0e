import pytest
import torch

from meiju.config import ModelConfig
from meiju.data.labels import TASKS
from meiju.models.fusion import FUSIONS
from meiju.models.layers import MemberRandom
from meiju.models.network import MemberNetwork
from toy_batches import SPEC, make_batch


def make(**settings):
    """Networks whose logistic-regression heads, if any, hold made-up weights."""
    config = ModelConfig(**{"heads": (2,), "width": 8, **settings})
    network = MemberNetwork(SPEC, config, heads=2, random=MemberRandom([1, 2])).eval()
    if network.regression is not None:
        draw = torch.Generator().manual_seed(0)
        for buffer in network.regression.buffers():
            buffer.copy_(torch.rand(buffer.shape, generator=draw))
    return network


@pytest.mark.parametrize("fusion", FUSIONS)
def test_a_member_predicts_the_mean_of_its_fusion_network_and_its_head(fusion):
    network, batch = make(fusion=fusion, linear=0.25), make_batch(n_members=2)
    main, regression = network(batch).main, network.regression(batch)
    for task, predicted in network.log_probabilities(batch).items():
        expected = 0.75 * main[task].softmax(dim=-1) + 0.25 * regression[task].softmax(dim=-1)
        torch.testing.assert_close(predicted.exp(), expected)
        assert not torch.allclose(predicted.exp(), main[task].softmax(dim=-1), atol=1e-3)


def test_gradient_steps_do_not_reach_the_head_and_there_may_be_none():
    without, batch = make(linear=0), make_batch(n_members=2)
    assert not any(name.startswith("regression") for name in without.state_dict())
    for task, predicted in without.log_probabilities(batch).items():
        torch.testing.assert_close(predicted, without(batch).main[task].log_softmax(dim=-1))
    network = make(linear=0.5)
    assert list(network.regression.parameters()) == []
    logits = network(make_batch(n_members=2))
    network.regression.centre += 1
    for task in TASKS:
        torch.testing.assert_close(network(make_batch(n_members=2)).main[task], logits.main[task])
