import base64
import re
import struct

import numpy as np
import pandas as pd
import pytest
from matplotlib.patches import Rectangle
from matplotlib.text import Text

from meiju.evaluation.scores import ALL_HEADS
from meiju.report import figures, style

EMOTIONS = ["happy", "sad", "neutral"]
INTENTS = ["questioning", "wishing"]


def texts(figure):
    return [text.get_text() for text in figure.findobj(Text) if text.get_text()]


def png(figure):
    head, _, data = figures.to_data_uri(figure).partition(",")
    assert head == "data:image/png;base64"
    return base64.b64decode(data, validate=True)


def test_confusion_shades_rows_and_writes_counts():
    truth, prediction = ["happy", "happy", "happy", "happy", "sad"], ["happy", "sad", "sad", "sad", "sad"]
    figure = figures.confusion(truth, prediction, EMOTIONS, title="A title", task="emotion")
    shade = figure.axes[0].images[0].get_array()
    assert shade.tolist() == [[25, 75, 0], [0, 100, 0], [0, 0, 0]]
    written = texts(figure)
    assert {"A title", "true emotion (clips)", "predicted emotion", "% of the true class's clips"} <= set(written)
    assert {"happy  (4)", "sad  (1)", "neutral  (0)"} <= set(written)
    cells = [text.get_text() for text in figure.axes[0].texts]
    assert cells == ["1", "3", "1"]  # row by row, no zeros
    with pytest.raises(ValueError, match="joy"):  # no class
        figures.confusion(["joy"], ["happy"], EMOTIONS, title="")


def test_reliability_tells_both_errors_and_counts_all_clips():
    correct = np.array([True, True, True, False])
    figure = figures.reliability(np.full(4, 0.95), np.full(4, 0.75), correct, title="A title")
    assert [text.get_text() for text in figure.axes[0].get_legend().get_texts()] == [
        "confidence = accuracy",
        "before temperature: ECE 20.0 %",
        "after temperature: ECE 0.0 %",
    ]
    clips = [sum(bar.get_height() for bar in bars) for bars in figure.axes[1].containers]
    assert clips == [4, 4]


def test_accepted_shows_shares_and_counts():
    counts, training = pd.Series({"sad": 30, "happy": 10}), pd.Series({"happy": 5, "sad": 5, "neutral": 10})
    figure = figures.accepted(counts, training, title="A title")
    train_bars, accepted_bars = figure.axes[0].containers
    assert [bar.get_width() for bar in train_bars] == [25, 25, 50]
    assert [bar.get_width() for bar in accepted_bars] == [25, 75, 0]
    assert [text.get_text() for text in figure.axes[0].texts] == ["5", "5", "10", "10", "30", "0"]


def test_accepted_pairs_marks_what_training_never_shows():
    training = pd.DataFrame([[3, 0], [1, 2]], index=["happy", "sad"], columns=INTENTS)
    accepted = pd.DataFrame([[7, 4]], index=["happy"], columns=INTENTS)
    figure = figures.accepted_pairs(accepted, training, title="A title")
    for axes, cells in zip(figure.axes[:2], (["3", "1", "2"], ["7", "4"]), strict=True):
        assert [text.get_text() for text in axes.texts] == cells
        hatched = [patch for patch in axes.patches if isinstance(patch, Rectangle) and patch.get_hatch()]
        assert [patch.get_xy() for patch in hatched] == [(0.5, -0.5)]  # happy and wishing
    assert "accepted pseudo-labels: 11 clips, 4 hatched" in texts(figure)


def test_nothing_accepted_is_reported():
    training, pairs = pd.Series({"happy": 5, "sad": 5}), pd.DataFrame([[3, 0]], index=["happy"], columns=INTENTS)
    assert "no pseudo-label was accepted" in texts(figures.accepted(training * 0, training, title=""))
    assert "no pseudo-label was accepted" not in texts(figures.accepted(training, training, title=""))
    assert "accepted pseudo-labels: none" in texts(figures.accepted_pairs(pairs * 0, pairs, title=""))


def test_score_by_heads_draws_members_and_their_mean():
    rows = [(f"stage {s}", heads, 0.5, 0.4, 0.44 + s / 100) for s in (1, 2) for heads in (8, ALL_HEADS, 2)]
    figure = figures.score_by_heads(pd.DataFrame(rows, columns=["stage", "heads", "E", "I", "JRBM"]), title="")
    lines = {line.get_label(): line for line in figure.axes[2].lines}
    assert lines["stage 2, one head count"].get_ydata() == pytest.approx([0.46, 0.46])
    assert lines["stage 1, mean over head counts"].get_ydata() == pytest.approx([0.45, 0.45])
    assert [tick.get_text() for tick in figure.axes[2].get_xticklabels()] == ["2", "8"]
    assert len({round(np.ptp(axes.get_ylim()), 9) for axes in figure.axes}) == 1


def test_the_same_figure_gives_the_same_bytes_and_no_trace_of_when():
    first, second = (png(figures.confusion(["sad"], ["sad"], EMOTIONS, title="")) for _ in range(2))
    assert first == second
    kinds, position = [], 8
    while position < len(first):
        size, kind = struct.unpack(">I4s", first[position : position + 8])
        kinds.append(kind)
        position += size + 12
    assert not {b"tEXt", b"iTXt", b"tIME"} & set(kinds)


# Filterwarnings turns a missing glyph into an error, so drawing is the test.
@pytest.mark.parametrize("families", [["DejaVu Sans"], None], ids=["without a Chinese font", "as installed"])
def test_any_label_can_be_drawn(monkeypatch, families):
    if families:
        monkeypatch.setattr(style, "_families", lambda: families)
    labels = ["高兴", "$x^$", "_hidden", "a\nb\tc", "", "\x00\u2028", "😀", "word " * 30, "\\frac{", "ab"]
    figure = figures.confusion(labels, labels, labels, title="高兴 $")
    assert png(figure).startswith(b"\x89PNG")
    names = [re.sub(r" +\(1\)$", "", tick.get_text()) for tick in figure.axes[0].get_yticklabels()]
    assert names[1:4] == ["$x^$", "_hidden", "a b c"]
    assert names[4:6] == ["class 5", "class 6"]
    assert names[7] == "word word…ord word"
    if families:
        assert names[0] == "class 1"
