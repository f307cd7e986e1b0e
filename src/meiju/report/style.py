"""The look that all figures share: colours, fonts, headlines, heat maps, and how labels are made to fit."""

import io
import unicodedata
import warnings
from collections.abc import Sequence
from contextlib import contextmanager, suppress
from functools import cache

import matplotlib
import numpy as np
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure
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
def style():
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


@style()
def to_png(figure: Figure) -> bytes:
    """The figure as a PNG; the same figure gives the same bytes."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI, metadata={"Software": None})  # no version, no date
    return buffer.getvalue()


def headline(figure: Figure, title: str) -> None:
    """Put a title at the upper left of the whole figure."""
    figure.suptitle(title, x=0.012, ha="left", fontsize=11, fontweight="bold")


def heatmap(
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


def colour_bar(figure: Figure, image, axes: Axes, unit: str, orientation: str = "vertical") -> None:
    """A thin scale beside a heat map."""
    thin = {"aspect": 28, "pad": 0.02} if orientation == "vertical" else {"aspect": 40, "pad": 0.03}
    bar = figure.colorbar(image, ax=axes, label=unit, orientation=orientation, **thin)
    bar.outline.set_visible(False)
    bar.locator = MaxNLocator(5, integer=True)
    bar.ax.tick_params(length=0)


def readable(names: Sequence[str]) -> list[str]:
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
