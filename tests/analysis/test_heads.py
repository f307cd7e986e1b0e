from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest
import torch

from meiju import training
from meiju.analysis import heads
from meiju.config import ModelConfig
from meiju.fusion import CLOSED_GATE
from meiju.labels import TASKS
from meiju.layers import Batch, Noise, Shape
from meiju.members import Member
from meiju.network import MemberNetwork
from meiju.report import diagnostic_figures
from meiju.report.style import to_png

SHAPE = Shape({"text": 6, "audio": 4, "visual": 5}, frozenset({"text"}), {"emotion": 7, "intent": 3})
N = 12


@dataclass
class MadeUpFrames:
    """Frames of N clips; the last of them has no sound."""

    shared = True

    def batch(self, clips):
        draw = torch.Generator().manual_seed(0)
        every = {s: torch.randn(1, N, 3, dim, generator=draw) for s, dim in SHAPE.streams.items()}
        mask = {s: torch.ones(1, N, 3, dtype=torch.bool) for s in SHAPE.streams}
        mask["audio"][:, -1] = False
        return Batch({s: x[:, clips[0]] for s, x in every.items()}, {s: m[:, clips[0]] for s, m in mask.items()})


def make(fusion="interactive"):
    config = ModelConfig(fusion=fusion, heads=(2,), width=8)
    return MemberNetwork(SHAPE, config, heads=2, noise=Noise([1, 2, 3])).eval()


def look(network, clips=None):
    return heads.attention(network, MadeUpFrames(), np.arange(N) if clips is None else clips)


def test_every_heads_attention_is_shares_of_the_streams():
    table, _ = look(make())
    by_head = table.groupby(["member", "head", "task", "where"])
    assert len(by_head) == 3 * 2 * 2 * 2
    np.testing.assert_allclose(by_head.attention.sum(), 1, atol=1e-5)
    assert table.evenness.between(0, 1 + 1e-6).all()


def test_attention_is_what_the_network_weighs_by():
    network = make()
    # Keys that do not depend on their tokens leave nothing to choose by.
    for task in TASKS:
        network.fusion.within[task].attention.query.weight.data.zero_()
        network.fusion.within[task].attention.query.bias.data.zero_()
    table, _ = look(network)
    within = table[table["where"] == heads.WITHIN]
    np.testing.assert_allclose(within.attention, 1 / 3, atol=1e-5)
    np.testing.assert_allclose(within.evenness, 1, atol=1e-5)
    assert table[table["where"] == heads.BETWEEN].attention.std() > 1e-3


def test_clips_that_lack_a_stream_do_not_count_and_batches_do_not_matter(monkeypatch):
    network = make()
    whole = look(network)
    without = look(network, np.arange(N - 1))
    monkeypatch.setattr(heads, "BATCH", 5)
    for other in (without, look(network)):
        for a, b in zip(whole, other, strict=True):
            pd.testing.assert_frame_equal(a, b, rtol=1e-4)


def test_a_gate_that_is_shut_lets_nothing_in():
    network = make()
    _, before = look(network)
    for task in TASKS:
        network.fusion.between[task].gate.weight.data.zero_()
        network.fusion.between[task].gate.bias.data.fill_(-30.0)
    _, after = look(network)
    assert (before.added > 1e-3).all()
    assert after.openness.max() < 1e-9
    assert after.added.max() < 1e-9
    assert len(after) == 3 * 2 * 3


def test_looking_changes_nothing():
    network, batch = make(), training.batch_for_all(MadeUpFrames(), torch.arange(N), 3)
    before = network(batch).main["emotion"]
    look(network)
    assert torch.equal(network(batch).main["emotion"], before)
    assert not any(module._forward_pre_hooks for module in network.modules())


@pytest.mark.parametrize(("fusion", "expected"), [("concat", (0, 0)), ("late", (0, 0)), ("attention", (36, 0))])
def test_other_fusions_have_less_to_look_at(fusion, expected):
    assert tuple(map(len, look(make(fusion)))) == expected


@pytest.fixture
def disagreement(monkeypatch):
    decided = {(1, 0): [0, 0, 0, 0], (1, 1): [0, 0, 0, 1], (2, 0): [0, 0, 1, 1], (2, 1): [1, 1, 1, 1]}

    def said(folder, member, names):
        return dict.fromkeys(TASKS, np.eye(2)[decided[member.heads, member.held_out[0]]])

    monkeypatch.setattr(heads.members, "probabilities", said)
    return heads.disagreement(None, [Member(h, 0, (k,)) for h in (1, 2) for k in (0, 1)], list("abcd"))


def test_disagreement_of_heads_beside_that_of_folds(disagreement):
    matrix = heads.disagreement_by_heads(disagreement)["emotion"]
    # Members of different folds throughout: 1 and 2 heads differ on all 4 clips or on 1.
    np.testing.assert_allclose(matrix, [[0.25, (1 + 0.25) / 2], [(1 + 0.25) / 2, 0.5]])
    by_kind = heads.disagreement_by_kind(disagreement).set_index(["task", "members with"]).disagreement
    assert by_kind["intent", "different heads, same fold"] == pytest.approx((0.5 + 0.75) / 2)
    assert by_kind["intent", "the same heads, different folds"] == pytest.approx((0.25 + 0.5) / 2)


def test_figures_of_heads_can_be_drawn(disagreement):
    table, gates = look(make())
    table, gates = table.assign(heads=2), gates.assign(heads=2)
    figure = diagnostic_figures.heads(table, gates, closed=CLOSED_GATE, title="A title")
    assert len(figure.axes) == 6
    assert to_png(figure).startswith(b"\x89PNG")
    assert len(diagnostic_figures.heads(table, pd.DataFrame(), closed=0.1, title="A title").axes) == 4
    by_heads = heads.disagreement_by_heads(disagreement)
    assert to_png(diagnostic_figures.disagreement(by_heads, title="A title")).startswith(b"\x89PNG")
