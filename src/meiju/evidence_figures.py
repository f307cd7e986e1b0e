"""Figures of what the parts are worth, of how far pseudo-labels can be trusted, and of what heads do."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from meiju.look import BLUE, GREY, MUTED, WIDTH, headline, style
from meiju.scores import OUT_OF_FOLD, VALIDATION

PART_LOOKS = {OUT_OF_FOLD: (BLUE, "o", -0.14), VALIDATION: (GREY, "s", 0.2)}  # colour, marker, shift


@style()
def differences(found: pd.DataFrame, *, title: str) -> Figure:
    """Every variant's JRBM less that of the full run, with 95 % intervals, by group.

    found: columns variant, group, part, d_JRBM, d_JRBM_low, d_JRBM_high (see `meiju.ablation.table`).
    """
    found = found[found.group != "full"]
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
        y = rows.variant.map(place) + shift
        reach = np.stack([rows.d_JRBM - rows.d_JRBM_low, rows.d_JRBM_high - rows.d_JRBM]).clip(min=0)
        looks = {"color": colour, "marker": marker, "markersize": 4.5, "elinewidth": 1.3, "linestyle": "none"}
        axes.errorbar(rows.d_JRBM, y, xerr=reach, label=f"{part} (95 % interval)", **looks)
    axes.set_yticks(list(place.values()), list(place))
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
    """JRBM against the share of labelled clips, with and without pseudo-labels, a panel a part.

    curve: see `meiju.ablation.low_resource`.
    """
    figure = Figure(figsize=(9.4, 3.8))
    panels = figure.subplots(1, 2, sharey=True)
    looks = {True: (BLUE, "o", "with pseudo-labels"), False: (GREY, "s", "labelled clips only")}
    for axes, part in zip(panels, PART_LOOKS, strict=True):
        for pseudo, (colour, marker, label) in looks.items():
            rows = curve[(curve.part == part) & (curve.pseudo == pseudo)]
            axes.plot(100 * rows.share, rows.JRBM, color=colour, marker=marker, markersize=5, label=label)
            axes.fill_between(100 * rows.share, rows.JRBM_low, rows.JRBM_high, color=colour, alpha=0.16, linewidth=0)
        axes.set(title=f"{part} (shaded: 95 % interval)", xlabel="labelled clips learnt from (%)", xlim=(0, 103))
        axes.grid()
    panels[0].set_ylabel("JRBM (0 to 1)")
    panels[0].legend(loc="lower right")
    headline(figure, title)
    return figure
