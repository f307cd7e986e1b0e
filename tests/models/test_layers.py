import math

import numpy as np
import pytest
import torch
from scipy.stats import kstest
from torch import nn

from meiju.models.layers import (
    GOLDEN,
    Attention,
    AttentionPool,
    Dropout,
    LayerNorm,
    Linear,
    MemberRandom,
    clip_gradients,
    reset,
    splitmix64,
)

SEEDS = [11, 12, 13]
E = len(SEEDS)


def made(layer):
    reset(layer, MemberRandom(SEEDS))
    return layer


def normal(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def copy_linear(stacked, member, twin):
    twin.weight.data = stacked.weight[member].detach().T.clone()
    twin.bias.data = stacked.bias[member, 0].detach().clone()
    return twin


@pytest.mark.parametrize("shape", [(4,), (4, 3), (4, 3, 2)])
def test_linear_is_torch_linear_of_each_member(shape):
    layer, x = made(Linear(E, 5, 6)), normal(E, *shape, 5)
    y = layer(x)
    assert y.shape == (E, *shape, 6)
    for e in range(E):
        torch.testing.assert_close(y[e], copy_linear(layer, e, nn.Linear(5, 6))(x[e]))


def test_linear_starts_as_torch_linear_does():
    layer = made(Linear(E, 64, 100))
    bound = 1 / math.sqrt(64)
    for parameter in (layer.weight, layer.bias):
        assert parameter.abs().max() <= bound
        assert parameter.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.1)


def test_a_members_start_does_not_depend_on_its_neighbours():
    alone = Linear(1, 5, 6)
    reset(alone, MemberRandom(SEEDS[2:]))
    together = made(Linear(E, 5, 6))
    assert torch.equal(alone.weight[0], together.weight[2])
    assert not torch.equal(together.weight[0], together.weight[2])


def test_layer_norm_is_torch_layer_norm_of_each_member():
    layer, x = LayerNorm(E, 5), 3 * normal(E, 4, 2, 5) + 1
    layer.weight.data, layer.bias.data = normal(E, 5, seed=1), normal(E, 5, seed=2)
    for e in range(E):
        twin = nn.LayerNorm(5)
        twin.weight.data, twin.bias.data = layer.weight[e].detach(), layer.bias[e].detach()
        torch.testing.assert_close(layer(x)[e], twin(x[e]))


@pytest.mark.parametrize("heads", [1, 2, 4])
def test_attention_is_torch_attention_of_each_member(heads):
    layer = made(Attention(E, 8, heads))
    x, context = normal(E, 6, 3, 8), normal(E, 6, 5, 8, seed=1)
    present = normal(E, 6, 5, seed=2) > 0
    present[..., 0] = True
    assert not present.all()
    assert layer(x, context, torch.zeros_like(present)).isfinite().all()  # attention to nothing
    y = layer(x, context, present)
    for e in range(E):
        twin = nn.MultiheadAttention(8, heads, batch_first=True)
        copy_linear(layer.output, e, twin.out_proj)
        twin.in_proj_weight.data = torch.cat([layer.query.weight[e].T, layer.key_value.weight[e].T]).detach()
        twin.in_proj_bias.data = torch.cat([layer.query.bias[e, 0], layer.key_value.bias[e, 0]]).detach()
        expected, _ = twin(x[e], context[e], context[e], key_padding_mask=~present[e])
        torch.testing.assert_close(y[e], expected, atol=1e-5, rtol=1e-4)


def test_pooling_is_a_softmax_over_the_frames_of_the_clip():
    pool, x = made(AttentionPool(E, 8, 2)), normal(E, 4, 6, 8)
    mask = torch.arange(6) < torch.tensor([6, 3, 1, 0])[:, None]
    pooled = pool(x, mask.expand(E, -1, -1))
    assert pooled.shape == (E, 4, 2, 8)
    for e in range(E):
        for clip, n in enumerate([6, 3, 1]):
            frames = x[e, clip, :n]
            weight = (frames @ pool.score.weight[e] + pool.score.bias[e]).softmax(dim=0)  # (n, tasks)
            torch.testing.assert_close(pooled[e, clip], weight.T @ frames)
    assert (pooled[:, 3] == 0).all()
    noisy = torch.where(mask[..., None], x, 100 * normal(E, 4, 6, 8, seed=1))  # padding has no influence
    torch.testing.assert_close(pool(noisy, mask.expand(E, -1, -1)), pooled)
    torch.testing.assert_close(pool(x[:, 1:, :3], mask[1:, :3].expand(E, -1, -1)), pooled[:, 1:])


def test_a_members_dropout_does_not_depend_on_its_neighbours():
    x = torch.ones(1, 50, 40)
    alone = [Dropout(0.3, MemberRandom([seed]))(x)[0] for seed in SEEDS]
    together = Dropout(0.3, MemberRandom(SEEDS))(x.expand(E, -1, -1))
    for e in range(E):
        assert torch.equal(together[e], alone[e])
    assert not torch.equal(together[0], together[1])


def test_draws_are_those_of_splitmix64():
    """Against the first values of its published C code from the state 1234567, as signed numbers."""
    drawn = splitmix64(1234567 + torch.arange(1, 4) * GOLDEN)
    assert drawn.tolist() == [6457827717110365317, 3203168211198807973, 9817491932198370423 - 2**64]


def test_draws_do_not_depend_on_how_they_are_asked_for():
    whole = MemberRandom(SEEDS).uniform(3 * MemberRandom.CHUNK)
    noise = MemberRandom(SEEDS)
    parts = [noise.uniform(5, 7), noise.uniform(), noise.uniform(2 * MemberRandom.CHUNK), noise.uniform(3)]
    parts = torch.cat([part.reshape(len(SEEDS), -1) for part in parts], dim=1)
    assert torch.equal(parts, whole[:, : parts.shape[1]])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_draws_do_not_depend_on_the_device():
    assert torch.equal(MemberRandom(SEEDS, "cuda").kept(0.3, 100, 100).cpu(), MemberRandom(SEEDS).kept(0.3, 100, 100))


def test_draws_are_uniform_and_members_unlike():
    draws = MemberRandom([0, 1, 2**32 - 1]).uniform(100_000).numpy()
    for own in draws:
        assert own.min() >= 0
        assert own.max() < 1
        assert kstest(own, "uniform").pvalue > 1e-4
    between = np.corrcoef([*draws, *np.roll(draws, 1, axis=1)])
    assert np.abs(between - np.eye(len(between))).max() < 0.02


@pytest.mark.parametrize("rate", [0.0, 0.25, 0.999, 1.0])
def test_kept_is_as_often_as_asked(rate):
    assert MemberRandom([3]).kept(rate, 100_000).float().mean().item() == pytest.approx(1 - rate, abs=0.005)


def test_dropout_keeps_the_mean_and_rests_outside_training():
    dropout, x = Dropout(0.3, MemberRandom([0])), torch.ones(1, 100, 100)
    y = dropout(x)
    assert (y == 0).float().mean().item() == pytest.approx(0.3, abs=0.02)
    torch.testing.assert_close(y[y > 0], torch.full_like(y[y > 0], 1 / 0.7))
    assert not torch.equal(dropout(x), y)
    assert torch.equal(dropout.eval()(x), x)


def test_gradients_are_clipped_for_each_member():
    sizes = torch.tensor([0.01, 1.0, 50.0])
    shapes = [(E, 5, 6), (E, 1, 6), (E, 6)]
    gradients = [normal(*s, seed=k) * sizes.view(-1, *[1] * (len(s) - 1)) for k, s in enumerate(shapes)]
    stacked = [nn.Parameter(torch.zeros(s)) for s in shapes]
    for parameter, gradient in zip(stacked, gradients, strict=True):
        parameter.grad = gradient.clone()
    clip_gradients(stacked, 1.0)
    for e in range(E):
        alone = [nn.Parameter(torch.zeros(s[1:])) for s in shapes]
        for parameter, gradient in zip(alone, gradients, strict=True):
            parameter.grad = gradient[e].clone()
        nn.utils.clip_grad_norm_(alone, 1.0)
        for ours, theirs in zip(stacked, alone, strict=True):
            torch.testing.assert_close(ours.grad[e], theirs.grad)
    assert torch.equal(stacked[0].grad[0], gradients[0][0])  # a small one stays as it is
