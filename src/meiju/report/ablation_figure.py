"""The figure of what the parts are worth."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from meiju.evaluation.scores import ALONE, OUT_OF_FOLD, VALIDATION
from meiju.report.style import BLUE, GREY, MUTED, WIDTH, headline, style

FAR = 0.1  # of JRBM
PART_LOOKS = {OUT_OF_FOLD: (BLUE, "o", -0.14), VALIDATION: (GREY, "s", 0.2)}  # colour, marker, shift
FAR_LOOKS = {OUT_OF_FOLD: (BLUE, 0.01), VALIDATION: (MUTED, 0.13)}  # colour, place across the axes


@style()
def differences(found: pd.DataFrame, *, title: str) -> Figure:
    """Every variant's JRBM less that of the full run, with 95 % intervals, by group.

    found: columns variant, group, part, d_JRBM, d_JRBM_low, d_JRBM_high, interval, same (see
    `meiju.analysis.ablation.table`).
    Markers are hollow where the interval is over clips (or speakers, or dialogues) alone.
    What is further than FAR below the full run is written at the edge, so that the rest can be told apart.
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
            what = "no interval" if np.isnan(reach).all() else "95 % interval"
            axes.errorbar(own.d_JRBM, y, xerr=reach, label=f"{part} ({what} {covers})", **looks)
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
