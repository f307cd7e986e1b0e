"""The report's figures: each a pure function from numbers to a matplotlib Figure, without pyplot and its state."""

import base64
import io
import unicodedata
import warnings
from collections.abc import Sequence
from contextlib import contextmanager, suppress
from functools import cache
from itertools import cycle

import matplotlib
import numpy as np
import pandas as pd
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle
from matplotlib.ticker import MaxNLocator

DPI = 110
WIDTH = 7.4  # inches, the width of the report's column at this resolution
INK, MUTED, RULE = "#22262b", "#6b7280", "#d9dce1"
BLUE, GREY, RUST = "#1f5582", "#a3a9b3", "#b4441f"
STAGE_LOOKS = ((GREY, "s"), (BLUE, "o"), (RUST, "D"))  # colour and marker of the first stage, the second, ...
DASHED = (0, (5, 3))
HATCH = "#dfb0a0"
SHADES = LinearSegmentedColormap.from_list("shades", ["#f7f9fb", "#a9c6de", "#3f7cac", "#123b5d"])

# The first of these that is installed draws what DejaVu Sans has no glyph for.
CHINESE_FONTS = (
    "Noto Sans CJK SC",
    "Noto Sans SC",
    "Noto Sans CJK JP",  # the name under which matplotlib finds the collection of all Noto CJK fonts
    "Source Han Sans SC",
    "Source Han Sans CN",
    "WenQuanYi Micro Hei",
    "WenQuanYi Zen Hei",
    "Droid Sans Fallback",
    "Microsoft YaHei",
    "SimHei",
    "PingFang SC",
    "PingFang HK",
    "Hiragino Sans GB",
    "Heiti TC",
    "Arial Unicode MS",
)
LABEL_WIDTH = 18  # columns of text; a Chinese character takes two


@cache
def _families() -> list[str]:
    fonts = font_manager.fontManager
    if not set(CHINESE_FONTS) & set(fonts.get_font_names()):
        # matplotlib caches its list of fonts for good, so that one installed since is not on it.
        for path in set(font_manager.findSystemFonts()) - {font.fname for font in fonts.ttflist}:
            with suppress(RuntimeError):  # a file that FreeType cannot read
                fonts.addfont(path)
    installed = set(fonts.get_font_names())
    return ["DejaVu Sans", *(family for family in CHINESE_FONTS if family in installed)][:2]


@contextmanager
def _style():
    """The look of every figure, for as long as one is drawn."""
    settings = {
        "font.family": _families(),
        "font.size": 9.5,
        "axes.titlesize": 9.5,
        "axes.titlelocation": "left",
        "axes.edgecolor": MUTED,
        "axes.linewidth": 0.7,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.axisbelow": True,
        "grid.color": RULE,
        "grid.linewidth": 0.6,
        "hatch.linewidth": 0.7,
        "legend.frameon": False,
        "legend.fontsize": 9,
        "text.color": INK,
        "axes.labelcolor": INK,
        "xtick.color": INK,
        "ytick.color": INK,
        "xtick.labelsize": 9,
        "ytick.labelsize": 9,
        "text.parse_math": False,  # a label may hold dollar signs
        "figure.constrained_layout.use": True,
        "figure.constrained_layout.w_pad": 0.08,
        "figure.constrained_layout.h_pad": 0.06,
    }
    with matplotlib.rc_context(settings), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # drawn as a box
        yield


def expected_calibration_error(confidence: np.ndarray, correct: np.ndarray, n_bins: int = 10) -> float:
    """Mean distance between confidence and accuracy over equally wide bins, weighted by their clips; 0 to 1.

    confidence: (N,) in [0, 1]; correct: (N,) bool. NaN without clips.
    """
    confidence, correct = np.asarray(confidence, dtype=float), np.asarray(correct, dtype=float)
    count, mean_confidence, accuracy = _bins(confidence, correct, n_bins)
    filled = count > 0
    if not filled.any():
        return float("nan")
    return float(np.average(np.abs(mean_confidence - accuracy)[filled], weights=count[filled]))


def _bins(confidence: np.ndarray, correct: np.ndarray, n_bins: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Clips, mean confidence and accuracy of each bin, (n_bins,) each; NaN means where a bin is empty."""
    if confidence.shape != correct.shape:
        raise ValueError(f"one confidence a clip is needed; got {confidence.shape} for {correct.shape} clips")
    if not ((confidence >= 0) & (confidence <= 1)).all():
        raise ValueError("confidences are probabilities, in [0, 1], and never NaN")
    place = np.minimum((confidence * n_bins).astype(int), n_bins - 1)  # a confidence of 1 falls in the last bin
    count = np.bincount(place, minlength=n_bins)
    total = np.where(count, count, np.nan)
    return (
        count,
        np.bincount(place, weights=confidence, minlength=n_bins) / total,
        np.bincount(place, weights=correct, minlength=n_bins) / total,
    )


@_style()
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
    names = _readable(classes)
    rows = [f"{name}  ({clips})" for name, clips in zip(names, per_class[:, 0], strict=True)]
    image = _heatmap(axes, percent, counts, rows, names, Normalize(0, 100))
    axes.set(xlabel=f"predicted {task}", ylabel=f"true {task} (clips)")
    _colour_bar(figure, image, axes, "% of the true class's clips")
    _headline(figure, title)
    return figure


@_style()
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
        confidence, hits = np.asarray(confidence, dtype=float), np.asarray(correct, dtype=float)
        count, mean_confidence, accuracy = _bins(confidence, hits, n_bins)
        error = expected_calibration_error(confidence, hits, n_bins)
        label = f"{name} temperature: ECE {100 * error:.1f} %" if len(hits) else f"{name}: no clips"
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
    _headline(figure, title)
    return figure


@_style()
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
    axes.set_yticks(place, _readable(classes))
    axes.invert_yaxis()  # the first class at the top
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x")
    if not accepted_counts.sum():
        axes.text(0.98, 0.03, "no pseudo-label was accepted", transform=axes.transAxes, ha="right", color=RUST)
    figure.legend(loc="outside lower center", ncols=2)
    _headline(figure, title)
    return figure


@_style()
def accepted_pairs(accepted: pd.DataFrame, training: pd.DataFrame, *, title: str) -> Figure:
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
    figure = Figure(figsize=(max(9.4, 2.4 + 0.62 * len(intents)), 3.1 + 0.36 * len(emotions)))
    names = ["training labels", "accepted pseudo-labels"]
    for axes, name, counts in zip(figure.subplots(1, 2, sharey=True), names, tables, strict=True):
        # Each panel has its own scale: the pool is often many times as large as the training part.
        scale = Normalize(0, max(counts.max(initial=0), 1))
        image = _heatmap(axes, counts, counts, _readable(emotions), _readable(intents), scale)
        for row, column in np.argwhere(unseen):
            corner = (column - 0.5, row - 0.5)
            axes.add_patch(Rectangle(corner, 1, 1, fill=False, hatch="////", edgecolor=HATCH, linewidth=0))
        never_seen = int(counts[unseen].sum())
        note = f"{name}: {counts.sum()} clips" + (f", {never_seen} hatched" if never_seen else "")
        axes.set_title(note if counts.any() else f"{name}: none")
        axes.set_xlabel("intent")
        axes.label_outer()
        _colour_bar(figure, image, axes, "clips", orientation="horizontal")
    figure.axes[0].set_ylabel("emotion")
    hatched = Patch(fill=False, hatch="////", edgecolor=HATCH, linewidth=0, label="pair never seen in training")
    figure.legend(handles=[hatched], loc="outside lower center")
    _headline(figure, title)
    return figure


@_style()
def score_by_heads(scores: pd.DataFrame, *, title: str) -> Figure:
    """E, I and JRBM by the number of attention heads, for both stages, with the mean over head counts as a line.

    scores: columns stage, heads, E, I, JRBM; a row whose `heads` is 0 scores the mean over head counts.
    """
    figure = Figure(figsize=(9.4, 3.7))
    heads = sorted(set(scores["heads"]) - {0})
    panels = {"E": "E: emotion", "I": "I: intent", "JRBM": "JRBM: 2EI / (E + I)"}
    ranges = scores[list(panels)].agg(["min", "max"])
    half = max(0.005, 0.6 * (ranges.loc["max"] - ranges.loc["min"]).max())  # one span, so that slopes compare
    for axes, (column, heading) in zip(figure.subplots(1, 3), panels.items(), strict=True):
        for (stage, rows), (colour, marker) in zip(scores.groupby("stage"), cycle(STAGE_LOOKS)):
            single = rows[rows["heads"] > 0].sort_values("heads")
            place = [heads.index(count) for count in single["heads"]]
            label = f"{stage}, one head count"
            axes.plot(place, single[column], color=colour, marker=marker, markersize=5, label=label)
            label = f"{stage}, mean over head counts"
            for mean in rows.loc[rows["heads"] == 0, column]:
                axes.axhline(mean, color=colour, linestyle=DASHED, linewidth=1.4, label=label)
        middle = ranges[column].mean()
        axes.set(title=heading, xlabel="attention heads", ylim=(middle - half, middle + half))
        axes.set(xlim=(-0.4, max(len(heads), 1) - 0.6))
        axes.set_xticks(range(len(heads)), [str(count) for count in heads])
        axes.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
        axes.grid(axis="y")
    figure.axes[0].set_ylabel("F1 (0 to 1)")
    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    _headline(figure, title)
    return figure


@_style()
def to_data_uri(figure: Figure) -> str:
    """The figure as a PNG within a data: URI; the same figure gives the same bytes."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI, metadata={"Software": None})  # no version, no date
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def _headline(figure: Figure, title: str) -> None:
    figure.suptitle(title, x=0.012, ha="left", fontsize=11, fontweight="bold")


def _heatmap(
    axes: Axes, shade: np.ndarray, counts: np.ndarray, rows: Sequence[str], columns: Sequence[str], scale: Normalize
):
    """Draw `shade` (R, C) as colours with `counts` (R, C) written in the cells, zeros left out."""
    image = axes.imshow(shade, cmap=SHADES, norm=scale, aspect="auto")
    slanted = max(map(_text_width, columns), default=0) > 4
    turned = {"rotation": 40, "ha": "right", "rotation_mode": "anchor"} if slanted else {}
    axes.set_xticks(range(len(columns)), columns, **turned)
    axes.set_yticks(range(len(rows)), rows)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set_xticks(np.arange(len(columns) + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(len(rows) + 1) - 0.5, minor=True)
    axes.grid(which="minor", color="white", linewidth=1)
    axes.tick_params(which="minor", length=0)
    for row, column in np.argwhere(counts):
        colour = "white" if scale(shade[row, column]) > 0.55 else INK
        axes.text(column, row, f"{counts[row, column]}", ha="center", va="center", fontsize=8.5, color=colour)
    return image


def _colour_bar(figure: Figure, image, axes: Axes, unit: str, orientation: str = "vertical") -> None:
    thin = {"aspect": 28, "pad": 0.02} if orientation == "vertical" else {"aspect": 40, "pad": 0.03}
    bar = figure.colorbar(image, ax=axes, label=unit, orientation=orientation, **thin)
    bar.outline.set_visible(False)
    bar.locator = MaxNLocator(5, integer=True)
    bar.ax.tick_params(length=0)


def _readable(names: Sequence[str]) -> list[str]:
    """Label names as a figure can show them: on one line, short, and drawn by a font at hand.

    A name without glyphs becomes its place among the classes, `class 3`, because a row of boxes tells nothing.
    """
    lines = [" ".join(name.split()) for name in names]
    return [_shorten(line) if _can_draw(line) else f"class {k}" for k, line in enumerate(lines, start=1)]


def _can_draw(text: str) -> bool:
    fonts = [font_manager.get_font(font_manager.findfont(family)) for family in _families()]
    return bool(text) and all(any(font.get_char_index(ord(char)) for font in fonts) for char in text)


def _text_width(text: str) -> int:
    return sum(2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text)


def _shorten(text: str) -> str:
    if _text_width(text) <= LABEL_WIDTH:
        return text
    half = LABEL_WIDTH // 2
    return _cut(text, half) + "…" + _cut(text[::-1], half - 1)[::-1]  # classes often differ at the end


def _cut(text: str, width: int) -> str:
    while _text_width(text) > width:
        text = text[:-1]
    return text
