import numpy as np
import pandas as pd
import pytest
from matplotlib.patches import Rectangle
from matplotlib.text import Text

from meiju.report import figures

EMOTIONS = ["happy", "sad", "neutral"]


def test_confusion_shades_rows_and_writes_counts():
    figure = figures.confusion([0, 0, 0, 0, 1], [0, 1, 1, 1, 1], EMOTIONS, title="A title", task="emotion")
    shade = figure.axes[0].images[0].get_array()
    assert shade.tolist() == [[25, 75, 0], [0, 100, 0], [0, 0, 0]]
    written = {text.get_text() for text in figure.findobj(Text)}
    assert {"A title", "true emotion (clips)", "predicted emotion", "happy  (4)", "neutral  (0)"} <= written
    assert [text.get_text() for text in figure.axes[0].texts] == ["1", "3", "1"]  # row by row, no zeros


def test_accepted_pairs_marks_what_training_never_shows():
    training = pd.DataFrame([[3, 0], [1, 2]], index=["happy", "sad"], columns=["questioning", "wishing"])
    for accepted, cells, title in (
        (training.assign(wishing=[4, 0]), ["3", "4", "1"], "accepted pseudo-labels: 8 clips, 4 hatched"),
        (0 * training, [], "accepted pseudo-labels: 0 clips, 0 hatched"),
    ):
        figure = figures.accepted_pairs(accepted, training, title="A title")
        for axes, own in zip(figure.axes[:2], (["3", "1", "2"], cells), strict=True):
            assert [text.get_text() for text in axes.texts] == own
            hatched = [patch for patch in axes.patches if isinstance(patch, Rectangle) and patch.get_hatch()]
            assert [patch.get_xy() for patch in hatched] == [(0.5, -0.5)]  # happy and wishing
        assert figure.axes[1].get_title(loc="left") == title


def test_reliability_draws_accuracy_by_confidence():
    right = np.arange(100) % 4 > 0
    sure = np.linspace(0.5, 1, 100)
    lines = figures.reliability({"before": sure, "after": sure**2}, right, title="A title").axes[0].lines
    assert [line.get_label() for line in lines[1:]] == ["before the temperature", "after the temperature"]
    assert np.average(lines[1].get_ydata()) == pytest.approx(0.75, abs=0.02)
    assert lines[1].get_xdata()[[0, -1]] == pytest.approx([0.52, 0.98], abs=0.01)


def test_differences_from_the_full_run_are_drawn_with_their_intervals():
    rows = [("full", 0.0), ("late", -0.02), ("heads-8", 0.01)]
    found = pd.DataFrame([(v, part, d) for part in ("out-of-fold", "validation") for v, d in rows])
    found = found.set_axis(["variant", "part", "d_JRBM"], axis=1)
    found = found.assign(d_JRBM_low=found.d_JRBM - 0.03, d_JRBM_high=found.d_JRBM + 0.03)
    axes = figures.differences(found, title="A title").axes[0]
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["late", "heads-8"]
    for bars in axes.containers:
        points, _, (reach,) = bars
        assert points.get_xdata().tolist() == [-0.02, 0.01]
        assert reach.get_segments()[0][:, 0] == pytest.approx([-0.05, 0.01])


def test_any_label_can_be_drawn_and_the_same_figure_gives_the_same_bytes():
    labels = ["高兴", "$x^$", "_hidden", "a\nb\tc", "", "\x00\u2028", "😀", "word " * 30, "\\frac{", "ab"]
    first, second = (figures.confusion(range(10), range(10), labels, title="高兴 $", task="emotion") for _ in range(2))
    png = figures.to_png(first)
    assert png.startswith(b"\x89PNG")
    assert png == figures.to_png(second)
    names = [tick.get_text().removesuffix("  (1)") for tick in first.axes[0].get_yticklabels()]
    assert names[1:4] == ["$x^$", "_hidden", "a b c"]
    assert names[7] == "word word word…"
