"""The report as a page: sections of tables and pictures in one HTML file, and the score table for the terminal."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import jinja2
import pandas as pd
from pandas.api.types import is_float_dtype, is_numeric_dtype

from meiju.evaluation.metrics import SCORES

MISSING = "–"


@dataclass(frozen=True)
class Table:
    """A table of the report.

    heading: a few words for the contents. formats: how numbers of a column are written, such as "{:.1f}"; without one a
    number with decimals has four of them. strong: places of rows in bold.
    """

    heading: str
    caption: str
    frame: pd.DataFrame
    formats: dict[str, str] = field(default_factory=dict)
    strong: frozenset[int] = frozenset()

    @property
    def numeric(self) -> list[bool]:
        """Which columns are set flush right."""
        return [is_numeric_dtype(column) for _, column in self.frame.items()]

    @property
    def rows(self) -> list[list[str]]:
        """The cells as text, with a dash for what is missing."""
        columns = []
        for name, column in self.frame.items():
            form = self.formats.get(name, "{:.4f}" if is_float_dtype(column) else "{}").format
            columns.append([MISSING if gap else form(cell) for cell, gap in zip(column, column.isna(), strict=True)])
        return [list(row) for row in zip(*columns, strict=True)]


@dataclass(frozen=True)
class Picture:
    """A picture of the report; uri: see `meiju.report.figures.to_data_uri`."""

    heading: str
    caption: str
    uri: str


@dataclass(frozen=True)
class Section:
    """A section of the report: paragraphs, then tables and pictures in their order.

    link: text and address, relative to the report, of what belongs to it.
    """

    heading: str
    text: Sequence[str] = ()
    items: Sequence[Table | Picture] = ()
    link: tuple[str, str] | None = None


def score_table(scores: pd.DataFrame) -> str:
    """The scores as text for the terminal, about 110 columns wide. scores: see `meiju.evaluation.scores.table`."""
    text = score_frame(scores).to_string(index=False, na_rep=MISSING, float_format="{:.4f}".format)
    return f"{text}\n{explain(scores)}"


def explain(scores: pd.DataFrame) -> str:
    """What the columns of `score_frame` mean that do not say it, and what the intervals are over."""
    over = scores[["part", "over"]].drop_duplicates()
    parts = " and ".join(f"over {row.over} ({row.part})" for row in over.itertuples())
    none = " (–: too few for an interval)" if scores["JRBM_low"].isna().any() else ""
    return (
        f"±: half of the 95 % interval, a bootstrap {parts}{none}. Log-loss: of emotion and intent, added; lower is "
        "better. Fold sd: standard deviation of JRBM over folds."
    )


def score_frame(scores: pd.DataFrame) -> pd.DataFrame:
    """The scores as they are shown: stage, system, part, clips, E, I, JRBM, log-loss, half their intervals, fold sd."""
    halves = {f"{name} ±": (scores[f"{name}_high"] - scores[f"{name}_low"]) / 2 for name in ("JRBM", "log_loss")}
    columns = ["stage", "system", "part", "n_clips", *SCORES, "JRBM ±", "log_loss", "log_loss ±", "fold_std"]
    heads = {"n_clips": "clips", "log_loss": "log-loss", "log_loss ±": "log-loss ±", "fold_std": "fold sd"}
    return scores.assign(**halves)[columns].rename(columns=heads).reset_index(drop=True)


def render(*, title: str, intro: Sequence[str], sections: Sequence[Section], made_with: dict[str, str]) -> str:
    """The report as one HTML page, without scripts and with nothing to fetch.

    intro: what to know before reading, a paragraph each. made_with: version by package. All text is escaped: a label or
    a transcript is shown, never run.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("meiju.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = environment.get_template("report.html").render(
        title=title, intro=intro, sections=sections, made_with=made_with
    )
    # A folder's name need not be valid UTF-8, and then it is no text that can be written.
    return page.encode("utf-8", "replace").decode("utf-8")
