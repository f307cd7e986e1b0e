"""The report's figures: each a pure function from numbers to a matplotlib Figure, without pyplot and its state."""

import base64
import io
import textwrap
import warnings
from collections.abc import Sequence
from contextlib import contextmanager

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle
from matplotlib.ticker import MaxNLocator
from sklearn.calibration import calibration_curve
from sklearn.metrics import confusion_matrix

DPI = 110
WIDTH = 7.4  # inches, the width of the report's column at this resolution
INK, MUTED, HATCH = "#22262b", "#6b7280", "#dfb0a0"
BLUE, GREY = "#1f5582", "#a3a9b3"
SHADES = LinearSegmentedColormap.from_list("shades", ["#f7f9fb", "#a9c6de", "#3f7cac", "#123b5d"])
LABEL_WIDTH = 18  # characters
# matplotlib draws what DejaVu Sans has no glyph for with the first of the others that is installed and has it.
FONTS = ["DejaVu Sans", "Noto Sans CJK SC", "Noto Sans CJK JP", "Source Han Sans SC", "WenQuanYi Micro Hei"]
FONTS += ["Droid Sans Fallback", "Microsoft YaHei", "SimHei", "PingFang SC", "Arial Unicode MS"]
STYLE = {
    "font.family": FONTS,
    "font.size": 9.5,
    "axes.titlesize": 9.5,
    "axes.titlelocation": "left",
    "text.color": INK,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "hatch.linewidth": 0.7,
    "legend.frameon": False,
    "text.parse_math": False,  # a label may hold dollar signs
    "figure.constrained_layout.use": True,
}


@contextmanager
def style():
    """The look of every figure, for as long as one is made or painted."""
    with matplotlib.rc_context(STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # drawn as a box
        yield


@style()
def confusion(truth: np.ndarray, prediction: np.ndarray, classes: Sequence[str], *, title: str, task: str) -> Figure:
    """How the clips of each true class were predicted: shade in % of the row, number of clips in the cell.

    truth, prediction: the class number of each clip, (N,). task: what the axes call a class, such as "emotion".
    """
    size, names = len(classes), [readable(name) for name in classes]
    counts = confusion_matrix(truth, prediction, labels=range(size))
    per_class = counts.sum(axis=1, keepdims=True)
    figure = _figure(max(WIDTH, 2.6 + 0.46 * size), 1.9 + max(1.6, 0.4 * size), title)
    axes = figure.subplots()
    rows = [f"{name}  ({clips})" for name, clips in zip(names, per_class[:, 0], strict=True)]
    shade, bar = 100 * counts / np.maximum(per_class, 1), {"label": "% of the true class's clips"}
    _heatmap(axes, shade, pd.DataFrame(counts, rows, names), Normalize(0, 100), bar)
    axes.set(xlabel=f"predicted {task}", ylabel=f"true {task} (clips)")
    return figure


@style()
def accepted_pairs(accepted: pd.DataFrame, training: pd.DataFrame, *, title: str) -> Figure:
    """Clips of each emotion-intent pair, accepted beside training; hatched where training has no such clip.

    Both count clips, the same emotions in rows and intents in columns.
    """
    figure = _figure(max(9.4, 2.4 + 0.62 * training.shape[1]), 3.1 + 0.36 * len(training), title)
    unseen = training.to_numpy() == 0
    panels = {"training labels": training, "accepted pseudo-labels": accepted}
    for axes, (name, table) in zip(figure.subplots(1, 2, sharey=True), panels.items(), strict=True):
        counts, named = table.to_numpy(dtype=int), table.rename(index=readable, columns=readable)
        # Each panel has its own scale: the pool is often many times as large as the training part.
        scale = Normalize(0, max(counts.max(initial=0), 1))
        bar = {"label": "clips", "orientation": "horizontal"}
        _heatmap(axes, counts, named, scale, bar)
        for row, column in np.argwhere(unseen):
            corner = (column - 0.5, row - 0.5)
            axes.add_patch(Rectangle(corner, 1, 1, fill=False, hatch="////", edgecolor=HATCH, linewidth=0))
        axes.set_title(f"{name}: {counts.sum()} clips, {counts[unseen].sum()} hatched")
        axes.set_xlabel("intent")
        axes.label_outer()
    figure.axes[0].set_ylabel("emotion")
    hatched = Patch(fill=False, hatch="////", edgecolor=HATCH, linewidth=0, label="pair never seen in training")
    figure.legend(handles=[hatched], loc="outside lower center")
    return figure


@style()
def reliability(confidence: dict[str, np.ndarray], right: np.ndarray, *, title: str) -> Figure:
    """Accuracy by confidence, in ten groups of equally many clips.

    confidence: by name, of each clip (N,) in [0, 1]; right: whether its likeliest class is the true one, (N,).
    """
    figure = _figure(WIDTH, 4.2, title)
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color=MUTED, linewidth=0.9, linestyle="--", label="confidence = accuracy")
    for (name, of_clips), colour in zip(confidence.items(), (GREY, BLUE), strict=True):
        share, mean = calibration_curve(right, of_clips.clip(0, 1), n_bins=10, strategy="quantile")
        axes.plot(mean, share, color=colour, marker="o", markersize=5, label=f"{name} the temperature")
    axes.set(xlim=(0, 1), ylim=(-0.03, 1.03), xlabel="confidence (probability of the predicted class)")
    axes.set_ylabel("accuracy (share of clips that are right)")
    axes.legend(loc="upper left")
    return figure


@style()
def differences(found: pd.DataFrame, *, title: str) -> Figure:
    """Every variant's JRBM less that of the full run, with its 95 % interval, by part.

    found: columns variant, part, d_JRBM, d_JRBM_low, d_JRBM_high, the full run first (see
    `meiju.analysis.ablation.table`).
    """
    names = list(dict.fromkeys(found.variant))[1:]
    figure = _figure(WIDTH, 1.6 + 0.3 * len(names), title)
    axes = figure.subplots()
    axes.axvline(0, color=MUTED, linewidth=0.9)
    for k, (part, rows) in enumerate(found.groupby("part", sort=False)):  # two at most
        colour, shift, own = (BLUE, GREY)[k], (-0.14, 0.14)[k], rows.set_index("variant").loc[names]
        reach = np.stack([own.d_JRBM - own.d_JRBM_low, own.d_JRBM_high - own.d_JRBM])
        place = np.arange(len(names)) + shift
        axes.errorbar(own.d_JRBM, place, xerr=reach, fmt="o", color=colour, markersize=4.5, elinewidth=1.3, label=part)
    axes.set_yticks(range(len(names)), names)
    axes.set(ylim=(len(names) - 0.4, -0.6), xlabel="JRBM less that of the full run, with 95 % intervals")
    figure.legend(loc="outside lower center", ncols=2)
    return figure


@style()
def to_png(figure: Figure) -> bytes:
    """The figure as a PNG; the same figure gives the same bytes."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI, metadata={"Software": None})  # no version, no date
    return buffer.getvalue()


def to_data_uri(figure: Figure) -> str:
    """The figure as a PNG within a data: URI."""
    return "data:image/png;base64," + base64.b64encode(to_png(figure)).decode("ascii")


def readable(label: str) -> str:
    """A label as a figure has room for it."""
    return textwrap.shorten(label, LABEL_WIDTH, placeholder="…")


def _figure(width: float, height: float, title: str) -> Figure:
    """A figure of so many inches with a title at its upper left."""
    figure = Figure(figsize=(width, height))
    figure.suptitle(title, x=0.012, ha="left", fontsize=11, fontweight="bold")
    return figure


def _heatmap(axes: Axes, shade: np.ndarray, table: pd.DataFrame, scale: Normalize, bar: dict[str, str]) -> None:
    """Draw `shade` (R, C) as colours with the counts of a table in the cells, but for zeros; bar: its text."""
    counts, rows, columns = table.to_numpy(dtype=int), table.index, table.columns
    image = axes.imshow(shade, cmap=SHADES, norm=scale, aspect="auto")
    axes.set_xticks(range(len(columns)), columns, rotation=40, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(rows)), rows)
    axes.spines[:].set_visible(False)
    axes.set_xticks(np.arange(len(columns) + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(len(rows) + 1) - 0.5, minor=True)
    axes.grid(which="minor", color="white", linewidth=1)
    axes.tick_params(which="both", length=0)
    for row, column in np.argwhere(counts):
        colour = "white" if scale(shade[row, column]) > 0.55 else INK
        axes.text(column, row, f"{counts[row, column]}", ha="center", va="center", fontsize=8.5, color=colour)
    colours = axes.figure.colorbar(image, ax=axes, aspect=30, pad=0.02, ticks=MaxNLocator(5, integer=True), **bar)
    colours.outline.set_visible(False)
    colours.ax.tick_params(length=0)
