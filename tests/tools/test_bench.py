import os
import re
from dataclasses import replace

import numpy as np
import pytest
import torch

import measuring as bench
from meiju.config import ModelConfig
from meiju.layers import Batch, Noise, Shape
from meiju.network import MemberNetwork
from toy_run import run_script
from twin import Twin

# Smaller than --quick: five steps of training, of which the first three are left out.
TINY = replace(
    bench.QUICK,
    turns=1,
    labelled=160,
    together=(1, 2),
    pools=(10, 20),
    asked=20,
    widths=(8, 16),
    width_pool=10,
    sentences=20,
    drawn=2,
)


def test_every_part_has_its_rows_and_finite_ratios(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(bench, "QUICK", TINY)
    monkeypatch.setattr(bench, "run_apart", bench.measure)  # a process a part takes seconds to start
    run_script("bench.py", "--quick", "--output", str(tmp_path / "out"), "--device", "cpu", "--parts", *bench.PARTS)
    text = (tmp_path / "out" / "bench.md").read_text()
    assert capsys.readouterr().out == text
    assert re.match(rf".+, {os.cpu_count()} cores, 1 torch threads, networks on CPU", text)
    rows = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| ")]
    by_part = {part: [row for row in rows if row[0] == part and len(row) == 6] for part in bench.PARTS}
    assert {part: len(rows) for part, rows in by_part.items()} == {
        "members": 3,
        "clips": 8,
        "steps": 6,
        "widths": 4,
        "extraction": 7,
        "pretrained": 3,
    }
    for part, its_rows in by_part.items():
        ratios = [float(row[4]) for row in its_rows]
        assert np.isfinite(ratios).all()
        # The first case of each thing is what the others are compared to.
        firsts = [
            ratio
            for ratio, row, before in zip(ratios, its_rows, [None, *its_rows], strict=False)
            if not before or before[1] != row[1]
        ]
        assert set(firsts) == {1.0}, part
    peaks = {row[0]: row[1] for row in rows if len(row) == 2 and row[0] in bench.PARTS}
    assert all(int(peaks[part].removesuffix(" MB").replace(",", "")) > 50 for part in bench.PARTS)


def test_a_part_runs_in_a_process_of_its_own():
    table = bench.run_apart("members", TINY, "cpu")
    assert set(table.part) == {"members"}
    assert np.isfinite(table.ratio).all()


def test_ratios_are_taken_within_a_turn(monkeypatch):
    """A machine that is ten times slower in one turn leaves them alone."""
    turns = iter([{("step", "base"): 1, ("step", "other"): 3}, {("step", "base"): 10, ("step", "other"): 30}])
    monkeypatch.setitem(bench.PARTS, "made-up", bench.Part(lambda *_: lambda: next(turns), "ms", "base"))
    table = bench.measure("made-up", replace(bench.QUICK, turns=2), "cpu")
    assert dict(zip(table.case, table.ratio, strict=True)) == {"base": 1, "other": 3}
    assert table["median"].tolist() == [5.5, 16.5]


def test_the_twin_computes_what_a_member_does():
    shape = Shape({"text": 6, "audio": 4, "visual": 5}, frozenset({"text"}), {"emotion": 7, "intent": 3})
    config = ModelConfig(heads=(2,), width=8)
    member = MemberNetwork(shape, config, heads=2, noise=Noise([1])).eval().fusion
    twin = Twin(shape, config, 2).eval()
    linear = {"project": member.tokens.project, "score": {k: p.score for k, p in member.tokens.pool.items()}}
    linear |= {"gate": {t: b.gate for t, b in member.between.items()}, "auxiliary": member.auxiliary}
    with torch.no_grad():
        for name, layers in linear.items():
            for key, layer in layers.items():
                _copy(getattr(twin, name)[key], layer)
        for task in shape.classes:
            _copy(twin.classify[task][0], member.classify[task].hidden)
            _copy(twin.classify[task][3], member.classify[task].output)
            for where in ("within", "between"):
                stacked, layer = getattr(member, where)[task].attention, getattr(twin, where)[task]
                weights = (stacked.query.weight[0].T, stacked.key_value.weight[0].T)
                layer.in_proj_weight.copy_(torch.cat(weights))
                layer.in_proj_bias.copy_(torch.cat([stacked.query.bias[0, 0], stacked.key_value.bias[0, 0]]))
                _copy(layer.out_proj, stacked.output)
        frames = {s: torch.randn(4, 1 if s == "text" else 3, d) for s, d in shape.streams.items()}
        mask = {s: torch.ones(f.shape[:-1], dtype=torch.bool) for s, f in frames.items()}
        mask["audio"][0] = False
        mask["visual"][1, 2] = False
        outputs = member(Batch({s: f[None] for s, f in frames.items()}, {s: m[None] for s, m in mask.items()}))
        main, auxiliary = twin.forward(Batch(frames, mask))
    for task in shape.classes:
        torch.testing.assert_close(main[task], outputs.main[task][0], atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(auxiliary[task], outputs.auxiliary[task][0], atol=1e-5, rtol=1e-4)


def _copy(layer, stacked):
    layer.weight.copy_(stacked.weight[0].T)
    layer.bias.copy_(stacked.bias[0, 0])


@pytest.mark.parametrize(
    ("flags", "message"), [(["--parts"], "--parts needs"), (["--threads", "0"], "--threads is at least 1")]
)
def test_bad_flags_end_in_a_line(flags, message):
    with pytest.raises(SystemExit, match=message):
        run_script("bench.py", "--quick", *flags)
