import numpy as np
import pandas as pd
import pytest

from meiju.analysis import ablation
from meiju.report import ablation_figure
from meiju.report.style import to_png

OVER_CLIPS, OVER_SEEDS = "over clips alone", "over 14 speakers and seeds"


def row(variant, group, part="out-of-fold", shift=0.0, **more):
    score = dict.fromkeys(("E", "I", "JRBM"), 0.5 + shift)
    ends = (("", 0), ("_low", -0.01), ("_high", 0.01))
    differences = {f"d_{name}{end}": shift + by for name in (*score, "log_loss") for end, by in ends}
    fixed = {"what": "a|b", "n_clips": 100, "log_loss": 2.5, "over": "14 speakers", "note": "all reused", "same": False}
    fixed |= {"JRBM_low": 0.4 + shift, "JRBM_high": 0.6 + shift}
    fixed |= {"interval": OVER_SEEDS, "share": np.nan, "pseudo": True}
    return {"variant": variant, "group": group, "part": part} | score | differences | fixed | more


@pytest.fixture
def found():
    variants = [("full", "full", 0.0), ("supervised", "pseudo", -0.03), ("soft", "pseudo", 0.005)]
    parts = ("out-of-fold", "validation")
    return pd.DataFrame([row(name, group, part, by) for part in parts for name, group, by in variants])


def test_the_markdown_marks_what_is_beyond_noise(found):
    lines = ablation.as_markdown(found).splitlines()
    supervised = next(line for line in lines if line.startswith("| supervised"))
    assert supervised.count("**-0.0300 (-0.0400 to -0.0200)**") == 4
    soft = next(line for line in lines if line.startswith("| soft"))
    assert "**" not in soft
    assert "a/b" in soft  # a bar would end the cell
    assert OVER_SEEDS in soft
    assert {line.count("|") for line in lines if line.startswith("|")} == {13}


def test_over_clips_alone_nothing_is_bold(found):
    text = ablation.as_markdown(found.assign(interval=OVER_CLIPS))
    rows = [line for line in text.splitlines() if line.startswith(("| supervised", "| soft"))]
    assert len(rows) == 4
    assert all(OVER_CLIPS in line and "**" not in line for line in rows)
    assert OVER_CLIPS in ablation.for_terminal(found.assign(interval=OVER_CLIPS))


def test_figures_show_every_variant(found):
    others = [row("hard", "pseudo", same=True), row("only-audio", "streams", shift=-0.3)]
    others[0]["interval"] = OVER_CLIPS
    found = pd.concat([found, pd.DataFrame(others)], ignore_index=True)
    figure = ablation_figure.differences(found, title="A title")
    shown = [tick.get_text() for tick in figure.axes[0].get_yticklabels()]
    assert shown == ["supervised", "soft", "hard (as is)", "only-audio"]
    assert "◂ -0.300" in [text.get_text() for text in figure.axes[0].texts]
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert "out-of-fold (95 % interval over 14 speakers and seeds)" in legend
    assert "out-of-fold (95 % interval over clips alone)" in legend
    assert figure.axes[0].get_xlim()[0] > -0.11
    assert to_png(figure).startswith(b"\x89PNG")
