import pandas as pd

from meiju.analysis import ablation

OVER_CLIPS, OVER_SEEDS = "over clips alone", "over 14 speakers and seeds"


def row(variant, part, shift):
    score = dict.fromkeys(("E", "I", "JRBM"), 0.5 + shift)
    ends = (("", 0), ("_low", -0.01), ("_high", 0.01))
    differences = {f"d_{name}{end}": shift + by for name in (*score, "log_loss") for end, by in ends}
    fixed = {"what": "a|b", "n_clips": 100, "log_loss": 2.5, "interval": OVER_SEEDS}
    return {"variant": variant, "part": part} | score | differences | fixed


def test_the_markdown_marks_what_is_beyond_noise_and_nothing_over_clips_alone():
    shifts = {"full": 0.0, "supervised": -0.03, "soft": 0.005}
    found = pd.DataFrame([row(name, part, by) for part in ("out-of-fold", "validation") for name, by in shifts.items()])
    lines = ablation.as_markdown(found).splitlines()
    supervised, soft = (next(line for line in lines if line.startswith(f"| {name}")) for name in ("supervised", "soft"))
    assert supervised.count("**-0.0300 (-0.0400 to -0.0200)**") == 4
    assert "**" not in soft
    assert "a/b" in soft  # a bar would end the cell
    assert OVER_SEEDS in soft
    assert {line.count("|") for line in lines if line.startswith("|")} == {12}
    alone = found.assign(interval=OVER_CLIPS)
    rows = [line for line in ablation.as_markdown(alone).splitlines() if line.startswith(("| supervised", "| soft"))]
    assert len(rows) == 4
    assert all(OVER_CLIPS in line and "**" not in line for line in rows)
    assert OVER_CLIPS in ablation.for_terminal(alone)
