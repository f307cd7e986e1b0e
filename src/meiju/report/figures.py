"""The report's figures: each a pure function from numbers to a matplotlib Figure, without pyplot and its state."""

import base64
from collections.abc import Sequence
from itertools import cycle

import numpy as np
import pandas as pd
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle
from matplotlib.ticker import MaxNLocator

from meiju.evaluation.metrics import confidence_bins, expected_calibration_error
from meiju.evaluation.scores import ALL_HEADS
from meiju.report.style import (
    BLUE,
    DASHED,
    GREY,
    HATCH,
    MUTED,
    RUST,
    STAGE_LOOKS,
    WIDTH,
    colour_bar,
    headline,
    heatmap,
    readable,
    style,
    to_png,
)


@style()
def confusion(
    truth: Sequence[str], prediction: Sequence[str], classes: Sequence[str], *, title: str, task: str = "class"
) -> Figure:
    """How the clips of each true class were predicted: shade in % of the row, number of clips in the cell.

    truth, prediction: the label name of each clip, (N,). task: what the axes call a class, such as "emotion".
    """
    unknown = sorted({*truth, *prediction} - set(classes))
    if unknown:
        raise ValueError(f"labels outside the classes: {unknown[:5]}; leave out clips without a label")
    pairs = pd.crosstab(pd.Categorical(truth, classes), pd.Categorical(prediction, classes), dropna=False)
    counts = pairs.reindex(index=list(classes), columns=list(classes), fill_value=0).to_numpy()
    per_class = counts.sum(axis=1, keepdims=True)
    percent = 100 * counts / np.maximum(per_class, 1)

    size = len(classes)
    figure = Figure(figsize=(max(WIDTH, 2.6 + 0.46 * size), 1.9 + max(1.6, 0.4 * size)))
    axes = figure.subplots()
    names = readable(classes)
    rows = [f"{name}  ({clips})" for name, clips in zip(names, per_class[:, 0], strict=True)]
    image = heatmap(axes, percent, counts, rows, names, Normalize(0, 100))
    axes.set(xlabel=f"predicted {task}", ylabel=f"true {task} (clips)")
    colour_bar(figure, image, axes, "% of the true class's clips")
    headline(figure, title)
    return figure


@style()
def reliability(
    confidence_before: np.ndarray, confidence_after: np.ndarray, correct: np.ndarray, *, title: str
) -> Figure:
    """Accuracy by confidence, before and after the temperature is fitted, above the clips in each bin.

    confidence_before, confidence_after: (N,) in [0, 1]; correct: (N,) bool, the same for both, because a
    temperature does not change which class is the surest.
    """
    figure = Figure(figsize=(WIDTH, 5.2))
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[3.2, 1])
    upper.plot([0, 1], [0, 1], color=MUTED, linewidth=0.9, linestyle=DASHED, label="confidence = accuracy")

    n_bins = 10
    left = np.arange(n_bins) / n_bins
    series = [("before", confidence_before, GREY, "s", 0.008), ("after", confidence_after, BLUE, "o", 0.05)]
    for name, confidence, colour, marker, offset in series:
        count, mean_confidence, accuracy = confidence_bins(confidence, correct, n_bins)
        error = expected_calibration_error(confidence, correct, n_bins)
        label = f"{name} temperature: ECE {100 * error:.1f} %" if len(correct) else f"{name}: no clips"
        filled = count > 0
        upper.plot(mean_confidence[filled], accuracy[filled], color=colour, marker=marker, markersize=5, label=label)
        lower.bar(left + offset, count, width=0.042, align="edge", color=colour)

    upper.set(ylim=(-0.03, 1.03), ylabel="accuracy (share correct)")  # room for markers at 0 and 1
    upper.legend(loc="upper left")
    upper.grid()
    lower.set(xlabel="confidence (probability of the predicted class)", ylabel="clips", xticks=np.arange(11) / 10)
    lower.set(xlim=(-0.01, 1.01), ylim=(0, max(1, lower.get_ylim()[1])))
    lower.yaxis.set_major_locator(MaxNLocator(3, integer=True))
    lower.grid(axis="y")
    headline(figure, title)
    return figure


@style()
def accepted(accepted_counts: pd.Series, training_counts: pd.Series, *, title: str) -> Figure:
    """Share of each class among accepted pseudo-labels, beside its share among training labels; clips on the bars.

    Both are indexed by label name; a class that one of them lacks counts zero there.
    """
    classes = list(dict.fromkeys([*training_counts.index, *accepted_counts.index]))
    figure = Figure(figsize=(WIDTH, 1.5 + 0.46 * len(classes)))
    axes = figure.subplots()
    place = np.arange(len(classes))
    series = [("training labels", training_counts, GREY, -0.2), ("accepted pseudo-labels", accepted_counts, BLUE, 0.2)]
    for name, counts, colour, offset in series:
        counts = counts.reindex(classes, fill_value=0)
        total = int(counts.sum())
        percent = 100 * counts / max(total, 1)
        bars = axes.barh(place + offset, percent, height=0.36, color=colour, label=f"{name} ({total} clips)")
        axes.bar_label(bars, [f"{int(count)}" for count in counts], padding=3, fontsize=8.5)

    axes.set(
        xlabel="share among the labels of its kind (%); number on the bar: clips", xlim=(0, axes.get_xlim()[1] * 1.06)
    )
    axes.set_yticks(place, readable(classes))
    axes.invert_yaxis()  # the first class at the top
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x")
    if not accepted_counts.sum():
        axes.text(0.98, 0.03, "no pseudo-label was accepted", transform=axes.transAxes, ha="right", color=RUST)
    figure.legend(loc="outside lower center", ncols=2)
    headline(figure, title)
    return figure


@style()
def accepted_pairs(
    accepted: pd.DataFrame,
    training: pd.DataFrame,
    *,
    title: str,
) -> Figure:
    """Clips of each emotion-intent pair, accepted beside training; hatched where training has no such clip.

    Both count clips, emotions in rows and intents in columns; what one of them lacks counts zero there.
    """
    emotions = list(dict.fromkeys([*training.index, *accepted.index]))
    intents = list(dict.fromkeys([*training.columns, *accepted.columns]))
    tables = [
        table.reindex(index=emotions, columns=intents, fill_value=0).to_numpy(dtype=int)
        for table in (training, accepted)
    ]
    unseen = tables[0] == 0
    names = ("training labels", "accepted pseudo-labels")
    figure = Figure(figsize=(max(9.4, 2.4 + 0.62 * len(intents)), 3.1 + 0.36 * len(emotions)))
    for axes, name, counts in zip(figure.subplots(1, 2, sharey=True), names, tables, strict=True):
        # Each panel has its own scale: the pool is often many times as large as the training part.
        scale = Normalize(0, max(counts.max(initial=0), 1))
        image = heatmap(axes, counts, counts, readable(emotions), readable(intents), scale)
        for row, column in np.argwhere(unseen):
            corner = (column - 0.5, row - 0.5)
            axes.add_patch(Rectangle(corner, 1, 1, fill=False, hatch="////", edgecolor=HATCH, linewidth=0))
        never_seen = int(counts[unseen].sum())
        note = f"{name}: {counts.sum()} clips" + (f", {never_seen} hatched" if never_seen else "")
        axes.set_title(note if counts.any() else f"{name}: none")
        axes.set_xlabel("intent")
        axes.label_outer()
        colour_bar(figure, image, axes, "clips", orientation="horizontal")
    figure.axes[0].set_ylabel("emotion")
    hatched = Patch(fill=False, hatch="////", edgecolor=HATCH, linewidth=0, label="pair never seen in training")
    figure.legend(handles=[hatched], loc="outside lower center")
    headline(figure, title)
    return figure


@style()
def score_by_heads(scores: pd.DataFrame, *, title: str) -> Figure:
    """E, I and JRBM by the number of attention heads, for both stages, with the mean over head counts as a line.

    scores: columns stage, heads, E, I, JRBM; a row whose `heads` is ALL_HEADS scores the mean over head counts.
    """
    figure = Figure(figsize=(9.4, 3.7))
    heads = sorted(set(scores["heads"]) - {ALL_HEADS})
    panels = {"E": "E: emotion", "I": "I: intent", "JRBM": "JRBM: 2EI / (E + I)"}
    ranges = scores[list(panels)].agg(["min", "max"])
    half = max(0.005, 0.6 * (ranges.loc["max"] - ranges.loc["min"]).max())  # one span, so that slopes compare
    for axes, (column, heading) in zip(figure.subplots(1, 3), panels.items(), strict=True):
        for (stage, rows), (colour, marker) in zip(scores.groupby("stage"), cycle(STAGE_LOOKS)):
            single = rows[rows["heads"] != ALL_HEADS].sort_values("heads")
            place = [heads.index(count) for count in single["heads"]]
            label = f"{stage}, one head count"
            axes.plot(place, single[column], color=colour, marker=marker, markersize=5, label=label)
            label = f"{stage}, mean over head counts"
            for mean in rows.loc[rows["heads"] == ALL_HEADS, column]:
                axes.axhline(mean, color=colour, linestyle=DASHED, linewidth=1.4, label=label)
        middle = ranges[column].mean()
        axes.set(title=heading, xlabel="attention heads", ylim=(middle - half, middle + half))
        axes.set(xlim=(-0.4, max(len(heads), 1) - 0.6))
        axes.set_xticks(range(len(heads)), [str(count) for count in heads])
        axes.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
        axes.grid(axis="y")
    figure.axes[0].set_ylabel("F1 (0 to 1)")
    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    headline(figure, title)
    return figure


def to_data_uri(figure: Figure) -> str:
    """The figure as a PNG within a data: URI; the same figure gives the same bytes."""
    return "data:image/png;base64," + base64.b64encode(to_png(figure)).decode("ascii")
