import re

import pandas as pd
import pytest

from meiju.report import page
from meiju.report.page import Picture, Section, Table

PIXEL = "data:image/png;base64,iVBORw0KGgo="
NAN = float("nan")
HALF = {"JRBM_low": 0.51, "JRBM_high": 0.55, "log_loss": 2.5, "log_loss_low": 2.4, "log_loss_high": 2.6}
SCORES = pd.DataFrame(
    [
        ("stage 1", "8 heads", "out-of-fold", 2294, 0.54, 0.52, 0.52981, "14 speakers", 0.01234),
        ("stage 2", "all heads, mean", "validation", 324, 0.55, 0.5, 0.52381, "clips", NAN),
    ],
    columns=["stage", "system", "part", "n_clips", "E", "I", "JRBM", "over", "fold_std"],
).assign(**HALF)


def render(text, address="errors.csv"):
    """A page with one text everywhere."""
    frame = pd.DataFrame({text: [text, "再见"], "share": [0.98765, NAN]})
    table, picture = Table(text, text, frame, strong=frozenset({1})), Picture(text, text, PIXEL)
    section = Section(text, [text], [table, picture], link=(text, address))
    return page.render(title=text, intro=[text], sections=[section], made_with={"torch": text})


@pytest.mark.parametrize("low", [0.51, NAN])
def test_the_score_table_fits_a_terminal_and_says_what_intervals_are_over(low):
    header, first, last, caption = page.score_table(SCORES.assign(JRBM_low=low)).splitlines()
    assert len(header) == len(first) <= 120
    assert first.split()[-8:-5] == ["2294", "0.5400", "0.5200"]
    assert last.endswith(" –")
    assert "over 14 speakers (out-of-fold) and over clips (validation)" in caption
    assert ("–: too few for an interval" in caption) == (low != 0.51)


def test_text_is_shown_and_never_run():
    evil = "<script>alert('x')</script>\"><img src=x onerror=alert(1)>"
    html = render(evil, "a" + evil)
    assert html.count("&lt;script&gt;alert(") >= 10
    assert "<script" not in html
    assert re.findall(r"<img (\w+)=\"[^\"]*\" (\w+)=\"[^\"]*\">", html) == [("src", "alt")]
    assert re.findall("<tr(.*?)>", html) == ["", "", ' class="strong"']


def test_the_page_fetches_nothing_and_links_to_itself_and_what_lies_beside_it():
    html = render("a")
    assert not re.search(r"(src|href)\s*=\s*[\"']?\s*(https?:)?//|@import|url\(|<link|<script", html, re.IGNORECASE)
    assert "default-src 'none'" in html
    assert set(re.findall('href="(.*?)"', html)) == {"#section-1", "errors.csv"}


def test_cells_of_a_table():
    frame = pd.DataFrame(
        {
            "share": [0.5, NAN],
            "percent": [17.1, 3.0],
            "clips": pd.array([3, None], dtype="Int64"),
            "label": ["sad", None],
        }
    )
    table = Table("", "", frame, formats={"percent": "{:.1f}"})
    assert table.rows == [["0.5000", "17.1", "3", "sad"], ["–", "3.0", "–", "–"]]
    assert table.numeric == [True, True, True, False]
