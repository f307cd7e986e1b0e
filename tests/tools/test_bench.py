import os
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

import measuring as bench
from toy_run import run_script

# Smaller than --quick: five steps of training, of which the first three are left out.
TINY = replace(
    bench.QUICK, turns=1, labelled=160, beside_pool=160, together=(1, 2), pools=(10, 20), asked=20, widths=(8, 16),
    width_pool=10, sentences=20, drawn=2,
)  # fmt: skip
N_ROWS = {"members": 2, "clips": 8, "steps": 6, "widths": 8, "extraction": 7, "pretrained": 3}


def test_every_part_has_its_rows_and_finite_ratios_to_its_first_case(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(bench, "QUICK", TINY)
    monkeypatch.setattr(bench, "run_apart", bench.measure)  # a process a part takes seconds to start
    run_script("bench.py", "--quick", "--output", str(tmp_path / "out"), "--device", "cpu", "--parts", *bench.PARTS)
    text = (tmp_path / "out" / "bench.md").read_text()
    assert capsys.readouterr().out == text
    assert text.startswith(f"{os.cpu_count()} cores, 1 torch threads, networks on ")
    rows = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| ")]
    table = pd.DataFrame([row for row in rows if len(row) == 6 and row[0] in bench.PARTS])
    assert table[0].value_counts().to_dict() == N_ROWS
    assert np.isfinite(table[4].astype(float)).all()
    assert set(table.groupby([0, 1], sort=False)[4].first()) == {"1.00"}
    peaks = {row[0]: row[1] for row in rows if len(row) == 2 and row[0] in bench.PARTS}
    assert all(int(peaks[part].removesuffix(" MB").replace(",", "")) > 50 for part in bench.PARTS)


def test_ratios_are_taken_within_a_turn(monkeypatch):
    """A machine that is ten times slower in one turn leaves them alone."""
    turns = iter([{("step", "base"): 1, ("step", "other"): 3}, {("step", "base"): 10, ("step", "other"): 30}])
    monkeypatch.setitem(bench.PARTS, "made-up", bench.Part(lambda *_: lambda: next(turns), "ms", "base"))
    table = bench.measure("made-up", replace(bench.QUICK, turns=2), "cpu")
    assert dict(zip(table.case, table.ratio, strict=True)) == {"base": 1, "other": 3}
    assert table["median"].tolist() == [5.5, 16.5]


@pytest.mark.parametrize(
    ("flags", "message"), [(["--parts"], "--parts needs"), (["--threads", "0"], "--threads is at least 1")]
)
def test_bad_flags_end_in_a_line(flags, message):
    with pytest.raises(SystemExit, match=message):
        run_script("bench.py", "--quick", *flags)
