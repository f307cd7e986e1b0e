"""The run's report: its scores for the terminal, and one HTML page that needs nothing beside itself."""

from dataclasses import dataclass

import jinja2
import pandas as pd
from pandas.api.types import is_bool_dtype, is_float_dtype, is_numeric_dtype

MISSING = "–"


@dataclass(frozen=True)
class Grid:
    """A table ready to be printed."""

    headers: list[str]
    numeric: list[bool]  # per column: set flush right
    rows: list[list[str]]


def score_table(scores: pd.DataFrame) -> str:
    """The scores as a text table for the terminal, about 95 columns wide.

    scores: columns stage, system, part, n_clips, E, I, JRBM, JRBM_low, JRBM_high (95 % interval, bootstrap over
    clips) and fold_spread (standard deviation of JRBM over folds; NaN where there are no folds).
    """
    grid = _score_grid(scores)
    widths = [max(map(len, column)) for column in zip(grid.headers, *grid.rows, strict=True)]

    def line(cells: list[str]) -> str:
        columns = zip(cells, widths, grid.numeric, strict=True)
        return "  ".join(cell.rjust(width) if right else cell.ljust(width) for cell, width, right in columns).rstrip()

    rule = "  ".join("-" * width for width in widths)
    return "\n".join([line(grid.headers), rule, *map(line, grid.rows)])


def render(
    *,
    title: str,
    notes: list[str],
    settings: dict,
    scores: pd.DataFrame,
    tables: dict[str, pd.DataFrame],
    figures: dict[str, tuple[str, str]],
    made_with: dict[str, str],
) -> str:
    """The report as one HTML page, without scripts and with nothing to fetch.

    notes: what to know before reading the numbers, a paragraph each. settings: nested, shown under dotted names.
    scores: as for `score_table`. tables: by caption. figures: (data URI, caption) by heading. made_with: version by
    package. All text is escaped: a label or a transcript is shown, never run.
    """
    for heading, (uri, _) in figures.items():
        if not uri.startswith("data:image/"):
            raise ValueError(f"figure {heading!r} is not a data:image/ URI; make it with figures.to_data_uri")
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("meiju"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = environment.get_template("report.html").render(
        title=title,
        notes=notes,
        settings=_flatten(settings),
        scores=_score_grid(scores),
        best=list(scores["JRBM"] == scores.groupby("part")["JRBM"].transform("max")),
        tables={caption: _grid(table) for caption, table in tables.items()},
        figures=figures,
        made_with=made_with,
    )
    return page.encode("utf-8", "replace").decode("utf-8")  # a folder's name among the settings need not be UTF-8


def _score_grid(scores: pd.DataFrame) -> Grid:
    texts = ["stage", "system", "part"]
    interval = [
        f"{_score(low)}–{_score(high)}" for low, high in zip(scores["JRBM_low"], scores["JRBM_high"], strict=True)
    ]
    columns = {
        **{name: scores[name].astype(str) for name in texts},
        "clips": scores["n_clips"].map("{:.0f}".format),
        **{name: scores[name].map(_score) for name in ("E", "I", "JRBM")},
        "95 % interval": interval,
        "fold sd": scores["fold_spread"].map(_score),
    }
    rows = [list(cells) for cells in zip(*columns.values(), strict=True)]
    return Grid(list(columns), [name not in texts for name in columns], rows)


def _score(value: float) -> str:
    return MISSING if pd.isna(value) else f"{value:.4f}"


def _grid(table: pd.DataFrame) -> Grid:
    """Any table as text; its index comes first, unless it only counts the rows."""
    columns = [(str(name), table.iloc[:, k].infer_objects()) for k, name in enumerate(table.columns)]
    if not isinstance(table.index, pd.RangeIndex):
        index = table.index.to_frame(index=False)
        names = ["" if name is None else str(name) for name in table.index.names]
        columns = [*((name, index.iloc[:, k]) for k, name in enumerate(names)), *columns]
    texts = [_column_text(column) for _, column in columns]
    return Grid(
        headers=[name for name, _ in columns],
        numeric=[is_numeric_dtype(column) and not is_bool_dtype(column) for _, column in columns],
        rows=[[text[k] for text in texts] for k in range(len(table))],
    )


def _column_text(column: pd.Series) -> list[str]:
    """Cells as text: four decimals, unless the column only counts; a dash for what is missing."""
    form = "{}"
    if is_float_dtype(column):
        form = "{:.0f}" if (column.dropna() % 1 == 0).all() else "{:.4f}"
    return [MISSING if gap else form.format(value) for value, gap in zip(column, column.isna(), strict=True)]


def _flatten(settings: dict, prefix: str = "") -> dict[str, str]:
    """Nested settings as dotted names, the way the command line spells them: {"train.lr": "0.0002"}."""
    flat = {}
    for key, value in settings.items():
        if isinstance(value, dict) and value:
            flat |= _flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = str(value)
    return flat
