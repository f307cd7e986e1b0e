import pytest
import torch

from meiju.config import ModelConfig
from meiju.data.labels import TASKS
from meiju.models.fusion import FUSIONS
from meiju.models.layers import InputSpec, MemberRandom, reset
from toy_batches import make_batch

SHAPE = InputSpec({"text": 6, "audio": 4, "visual": 5}, ["text"], {"emotion": 7, "intent": 3})
E, B = 2, 5

fusions = pytest.mark.parametrize("fusion", FUSIONS)


def make(fusion, **settings):
    random = MemberRandom([1, 2])
    network = FUSIONS[fusion](E, SHAPE, ModelConfig(fusion=fusion, heads=(2,), width=8, **settings), 2, random)
    reset(network, random)
    return network


def batch_of(n_clips=B):
    return make_batch(n_clips=n_clips, n_members=E, spec=SHAPE)


def outputs(logits):
    return [values[task] for values in (logits.main, logits.auxiliary) for task in values]


@fusions
@pytest.mark.parametrize("missing", SHAPE.streams)
def test_what_lies_in_a_missing_stream_has_no_influence(fusion, missing):
    network, batch = make(fusion).eval(), batch_of()
    before = outputs(network(batch))
    batch.mask[missing][:, 1] = False
    without = outputs(network(batch))
    batch.frames[missing][:, 1] = 100 * torch.randn(batch.frames[missing][:, 1].shape)
    for full, lacking, noisy in zip(before, without, outputs(network(batch)), strict=True):
        torch.testing.assert_close(noisy, lacking)
        assert not torch.allclose(full[:, 1], lacking[:, 1])
        others = [0, 2, 3, 4]
        torch.testing.assert_close(full[:, others], lacking[:, others])


@fusions
def test_a_clip_without_any_stream_stays_finite(fusion):
    network, batch = make(fusion), batch_of()
    for mask in batch.mask.values():
        mask[:, 0] = False
    assert all(values.isfinite().all() for values in outputs(network.eval()(batch)))
    sum(values.square().sum() for values in outputs(network.train()(batch))).backward()
    assert all(p.grad.isfinite().all() for p in network.parameters())


@pytest.mark.parametrize(("task", "other"), [TASKS, TASKS[::-1]])
@pytest.mark.parametrize("fusion", ["interactive", "attention"])
def test_only_the_interaction_lets_a_task_see_the_other(fusion, task, other):
    network, batch = make(fusion).eval(), batch_of()
    before = network(batch)
    network.within[other].attention.output.bias.data += 1
    after = network(batch)
    assert torch.equal(before.main[task], after.main[task]) == (fusion == "attention")
    if fusion == "interactive":
        assert torch.equal(before.auxiliary[task], after.auxiliary[task])
    assert not torch.equal(before.main[other], after.main[other])


def test_a_missing_stream_has_no_vote():
    network, batch = make("late").eval(), batch_of()
    batch.mask["audio"][:, 1] = False
    before = network(batch).main
    for task in TASKS:
        network.classify[f"{task}_audio"].output.bias.data += 3
    for task, after in network(batch).main.items():
        torch.testing.assert_close(after[:, 1], before[task][:, 1])
        torch.testing.assert_close(after[:, 0], before[task][:, 0] + 1)  # one vote of three


def test_modality_dropout_never_hides_the_last_stream():
    network, batch = make("concat", modality_dropout=0.7).train(), batch_of(300)
    batch.mask["audio"][:, :200] = False
    batch.mask["visual"][:, :100] = False
    batch.mask["text"][:, 290:] = False
    there = torch.stack([batch.mask[stream].any(dim=2) for stream in SHAPE.streams], dim=-1)
    _, present = network.tokens(batch)
    assert present.any(dim=-1).all()
    assert not (present & ~there).any()
    assert torch.equal(present[:, :100], there[:, :100])  # only text is there
    hidden = 1 - present[:, 200:290].float().mean().item()
    # Each of three is hidden with 0.7, except where all of them would be.
    assert hidden == pytest.approx(0.7 - 0.7**3, abs=0.07)
    _, present = network.eval().tokens(batch)
    assert torch.equal(present, there)
