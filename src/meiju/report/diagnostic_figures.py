"""Figures of what the parts are worth, of how far pseudo-labels can be trusted, and of what heads do."""

import numpy as np
import pandas as pd
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from meiju.evaluation import ALONE, OUT_OF_FOLD, VALIDATION
from meiju.report.style import (
    BLUE,
    DASHED,
    GREY,
    INK,
    MUTED,
    RUST,
    SHADES,
    WIDTH,
    colour_bar,
    headline,
    heatmap,
    readable,
    style,
)

FAR = 0.1  # of JRBM
PART_LOOKS = {OUT_OF_FOLD: (BLUE, "o", -0.14), VALIDATION: (GREY, "s", 0.2)}  # colour, marker, shift
FAR_LOOKS = {OUT_OF_FOLD: (BLUE, 0.01), VALIDATION: (MUTED, 0.13)}  # colour, place across the axes


@style()
def differences(found: pd.DataFrame, *, title: str) -> Figure:
    """Every variant's JRBM less that of the full run, with 95 % intervals, by group; low-resource has its own figure.

    found: columns variant, group, part, d_JRBM, d_JRBM_low, d_JRBM_high, interval, same (see
    `meiju.analysis.ablation.table`).
    Markers are hollow where the interval is over clips (or speakers, or dialogues) alone.
    What is further than FAR below the full run is written at the edge, so that the rest can be told apart.
    """
    found = found[~found.group.isin(["full", "low-resource"])]
    names = found[["group", "variant"]].drop_duplicates()
    place, top, marks = {}, 0.0, []
    for group, own in names.groupby("group", sort=False):
        marks.append((top, group))
        place |= {name: top + 1 + k for k, name in enumerate(own.variant)}
        top += len(own) + 1.4
    figure = Figure(figsize=(WIDTH + 0.6, 1.5 + 0.21 * top))
    axes = figure.subplots()
    axes.axvline(0, color=MUTED, linewidth=0.9)
    for part, (colour, marker, shift) in PART_LOOKS.items():
        rows = found[found.part == part]
        far = rows[rows.d_JRBM < -FAR]
        ink, x = FAR_LOOKS[part]
        for y, difference in zip(far.variant.map(place) + shift, far.d_JRBM, strict=True):
            text = f"◂ {difference:.3f}"
            axes.text(x, y, text, transform=axes.get_yaxis_transform(), va="center", fontsize=8, color=ink)
        rows = rows.drop(far.index)
        for covers, own in rows.groupby("interval", sort=False):
            y = own.variant.map(place) + shift
            reach = np.stack([own.d_JRBM - own.d_JRBM_low, own.d_JRBM_high - own.d_JRBM]).clip(min=0)
            looks = {"color": colour, "marker": marker, "markersize": 4.5, "elinewidth": 1.3, "linestyle": "none"}
            looks |= {"markerfacecolor": "white"} if covers.endswith(ALONE) else {}
            axes.errorbar(own.d_JRBM, y, xerr=reach, label=f"{part} (95 % interval {covers})", **looks)
    same = set(found.variant[found.same])
    axes.set_yticks(list(place.values()), [f"{name} (as is)" if name in same else name for name in place])
    for y, group in marks:
        axes.text(-0.01, y, group, transform=axes.get_yaxis_transform(), ha="right", va="center", fontweight="bold")
    axes.set(ylim=(max(place.values(), default=0) + 0.8, -0.6), xlabel="JRBM less that of the full run")
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x")
    figure.legend(loc="outside lower center", ncols=2)
    headline(figure, title)
    return figure


@style()
def low_resource(curve: pd.DataFrame, *, title: str) -> Figure:
    """JRBM against the share of labelled clips, with and without pseudo-labels, one panel per part.

    curve: see `meiju.analysis.ablation.low_resource`.
    """
    parts = [part for part in PART_LOOKS if (curve.part == part).any()]
    figure = Figure(figsize=(4.7 * len(parts), 3.8))
    panels = figure.subplots(1, len(parts), sharey=True, squeeze=False)[0]
    looks = {True: (BLUE, "o", "with pseudo-labels"), False: (GREY, "s", "labelled clips only")}
    for axes, part in zip(panels, parts, strict=True):
        for pseudo, (colour, marker, label) in looks.items():
            rows = curve[(curve.part == part) & (curve.pseudo == pseudo)]
            axes.plot(100 * rows.share, rows.JRBM, color=colour, marker=marker, markersize=5, label=label)
            axes.fill_between(100 * rows.share, rows.JRBM_low, rows.JRBM_high, color=colour, alpha=0.16, linewidth=0)
        over = "".join(curve.over[curve.part == part].unique())
        axes.set(title=f"{part} (shaded: 95 % over {over})", xlabel="labelled clips learnt from (%)", xlim=(0, 103))
        axes.grid()
    panels[0].set_ylabel("JRBM (0 to 1)")
    panels[0].legend(loc="lower right")
    headline(figure, title)
    return figure


@style()
def precision_curves(
    curves: dict[str, pd.DataFrame], quality: pd.DataFrame, gates: pd.DataFrame, *, title: str
) -> Figure:
    """Precision and coverage against the confidence asked for, one panel per task, with the gates.

    curves[task]: see `meiju.analysis.pseudo_quality.curve`; quality: its `summary`; gates: fold, task, threshold.
    """
    figure = Figure(figsize=(9.4, 4.2))
    panels = figure.subplots(1, len(curves), sharey=True)
    for axes, (task, curve) in zip(panels, curves.items(), strict=True):
        row = quality[quality.task == task].iloc[0]
        axes.plot(curve.threshold, curve.coverage, color=GREY, label="share of rows that get a label")
        axes.plot(curve.threshold, curve.precision, color=BLUE, label="share of labels that are right (precision)")
        if np.isfinite(row.asked):
            axes.axhline(row.asked, color=MUTED, linewidth=0.9, linestyle=DASHED, label="precision asked of the gate")
        own = gates[(gates.task == task) & np.isfinite(gates.threshold)]
        if len(own) and np.isfinite(row.reached):
            low, high = row.reached - row.reached_low, row.reached_high - row.reached
            looks = {"color": BLUE, "marker": "o", "markerfacecolor": "white", "markersize": 7, "linestyle": "none"}
            label = "accepted held-out rows (with the filter of pairs)"
            axes.errorbar(own.threshold.mean(), row.reached, yerr=[[low], [high]], label=label, zorder=3, **looks)
        axes.set(title=task, xlabel="confidence asked for", ylim=(0, 1.02))
        axes.grid()
    panels[0].set_ylabel("share (0 to 1)")
    handles = {
        label: handle for axes in panels for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=2)
    headline(figure, title)
    return figure


@style()
def disagreement(by_heads: dict[str, pd.DataFrame], *, title: str) -> Figure:
    """Disagreement in % by both head counts, one panel per task (see `meiju.analysis.heads.disagreement_by_heads`)."""
    figure = Figure(figsize=(WIDTH, 1.7 + 0.42 * max((len(table) for table in by_heads.values()), default=1)))
    panels = np.atleast_1d(figure.subplots(1, max(1, len(by_heads))))
    every = np.concatenate([table.to_numpy().ravel() for table in by_heads.values()] or [np.zeros(1)])
    scale = Normalize(100 * np.nanmin(every) - 2, 100 * np.nanmax(every) + 2)
    for axes, (task, table) in zip(panels, by_heads.items(), strict=True):
        percent = 100 * table.to_numpy()
        names = [f"{heads}" for heads in table.index]
        image = heatmap(axes, percent, np.round(percent, 1), names, names, scale)
        axes.set(title=task, xlabel="heads of one member", ylabel="heads of the other")
        if axes is panels[-1]:
            colour_bar(figure, image, axes, "% of clips")
    headline(figure, title)
    return figure


@style()
def heads(look: pd.DataFrame, gate: pd.DataFrame, *, closed: float, title: str) -> Figure:
    """Where every head looks, in its own task and in the other one, and what the gates let in; one column per task.

    look: columns heads, task, where, stream, attention; gate: heads, task, stream, openness, added (or no rows); see
    `meiju.analysis.heads.attention`. closed: how far gates are open before training.
    """
    tasks, streams = list(look.task.unique()), list(look.stream.unique())
    counts, places = sorted(look.heads.unique()), list(look["where"].unique())
    n_rows = len(places) + ("openness" in gate)
    figure = Figure(figsize=(9.4, 0.9 + n_rows * (1.0 + 0.2 * len(streams) + 0.17 * len(counts) * len(streams))))
    panels = figure.subplots(n_rows, len(tasks), squeeze=False, sharey="row")
    colours = dict(zip(counts, [SHADES(x) for x in np.linspace(0.35, 1, len(counts))], strict=True))
    for row, where in enumerate(places):
        for axes, task in zip(panels[row], tasks, strict=True):
            own = look[(look.task == task) & (look["where"] == where)]
            _dots(axes, own, "attention", streams, colours)
            axes.axvline(1 / len(streams), color=MUTED, linewidth=0.9, linestyle=DASHED)
            source = task if where == "own task" else next(other for other in tasks if other != task)
            axes.set(title=f"{task} looks at {source} tokens of …", xlim=(0, 1), xlabel="share of a head's attention")
    if "openness" in gate:
        for axes, task in zip(panels[-1], tasks, strict=True):
            own = gate[gate.task == task]
            axes.axvline(closed, color=MUTED, linewidth=0.9, linestyle=":")
            _dots(axes, own, "openness", streams, colours)
            _dots(axes, own, "added", streams, colours, hollow=True)
            axes.set(
                title=f"what {task} lets in of the other task",
                xlim=(0, 1.08 * max(closed, *gate.openness, *gate.added)),
            )
            axes.set_xlabel("● gate open (0 to 1)    ○ norm of what is added, relative")
    marks = [Line2D([], [], marker="o", linestyle="none", color=colours[c], label=f"{c}") for c in counts]
    even = Line2D([], [], color=MUTED, linewidth=0.9, linestyle=DASHED, label="attention spread evenly")
    figure.legend(handles=[*marks, even], title="heads of the member", loc="outside lower center", ncols=len(marks) + 1)
    headline(figure, title)
    return figure


def _dots(axes, own: pd.DataFrame, column: str, streams: list[str], colours: dict, hollow: bool = False) -> None:
    """One dot per row at its value, by stream and number of heads, and a bar at the mean."""
    step = 0.8 / len(colours)
    for k, (count, colour) in enumerate(colours.items()):
        y = np.arange(len(streams)) - 0.4 + (k + 0.5) * step
        rows = own[own.heads == count]
        place = y[[streams.index(stream) for stream in rows.stream]] if len(rows) else np.empty(0)
        look = {"facecolors": "none", "edgecolors": [colour]} if hollow else {"color": [colour], "linewidths": 0}
        axes.scatter(rows[column], place, s=15, alpha=0.65, **look)
        mean = rows.groupby("stream")[column].mean().reindex(streams)
        axes.scatter(mean, y, marker="|", s=90, color=INK if not hollow else RUST, linewidths=1.6, zorder=3)
    axes.set_yticks(range(len(streams)), readable(streams))
    axes.set_ylim(len(streams) - 0.45, -0.55)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x")
