import re
from html.parser import HTMLParser

import pandas as pd
import pytest

from meiju import report

PIXEL = "data:image/png;base64,iVBORw0KGgo="
NAN = float("nan")
SCORES = pd.DataFrame(
    [
        ("stage 1", "8 heads", "out-of-fold", 2294, 0.54, 0.52, 0.52981, 0.51, 0.55, 0.01234),
        ("stage 2", "mean over heads", "out-of-fold", 2294, 0.56, 0.53, 0.54459, 0.52, 0.57, 0.011),
        ("stage 2", "mean over heads", "validation", 324, 0.55, 0.5, 0.52381, 0.47, 0.58, NAN),
    ],
    columns=["stage", "system", "part", "n_clips", "E", "I", "JRBM", "JRBM_low", "JRBM_high", "fold_spread"],
)


class Page(HTMLParser):
    """What a browser would make of the page: its tags and its text."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.text = [], ""
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data

    def all(self, wanted):
        return [attrs for tag, attrs in self.tags if tag == wanted]


def render(**changes):
    content = {
        "title": "A run",
        "notes": ["Validation is scored only."],
        "settings": {"run": "sample", "train": {"lr": 2e-4, "heads": (1, 8)}, "extra": {}},
        "scores": SCORES,
        "tables": {"Mistakes": pd.DataFrame({"sentence": ["你好"], "confidence": [0.98765]})},
        "figures": {"Confusion": (PIXEL, "Clips of each emotion."), "Heads": (PIXEL + "AA", "Scores by heads.")},
        "made_with": {"torch": "2.9.0"},
    }
    return report.render(**content | changes)


def test_score_table_is_aligned_and_fits_a_terminal():
    header, rule, first, *_, last = lines = report.score_table(SCORES).splitlines()
    assert len(lines) == 5
    assert max(map(len, lines)) <= 100
    cells = ["stage 1", "8 heads", "out-of-fold", "2294", "0.5400", "0.5200", "0.5298", "0.5100–0.5500", "0.0123"]
    assert re.split(r" {2,}", first) == cells
    assert last.endswith(" –")
    for name in ("clips", "JRBM", "95 % interval", "fold sd"):
        end = header.index(name) + len(name)
        assert all(line[end : end + 2].strip() == "" for line in lines)
        assert all(line[end - 1] not in " " for line in (first, last, rule))


def test_all_content_reaches_the_page():
    page = Page(render())
    assert [image["src"] for image in page.all("img")] == [PIXEL, PIXEL + "AA"]
    for part in [
        "Clips of each emotion.",
        "Scores by heads.",
        "Validation is scored only.",
        "你好",
        "0.9877",
        "torch 2.9.0",
    ]:
        assert part in page.text
    for part in ["0.5298", "0.5100–0.5500", "train.lr", "0.0002", "(1, 8)", "extra", "{}"]:
        assert part in page.text


def test_text_is_shown_and_never_run():
    evil = "<script>alert('x')</script>\"><img src=x onerror=alert(1)>"
    table = pd.DataFrame({evil: [evil]}, index=pd.Index([evil], name=evil))
    page = Page(
        render(
            title=evil,
            notes=[evil],
            settings={evil: {evil: evil}},
            scores=SCORES.assign(system=evil),
            tables={evil: table},
            figures={evil: (PIXEL + '"onload="alert(1)', evil)},
            made_with={evil: evil},
        )
    )
    assert not page.all("script")
    assert [set(image) for image in page.all("img")] == [{"src", "alt"}]
    assert page.text.count(evil) >= 12


def test_the_page_needs_nothing_beside_itself():
    html = render()
    assert not re.search(r"(src|href)\s*=\s*[\"']?\s*(https?:)?//|@import|url\(|<link|<script", html, re.IGNORECASE)
    page = Page(html)
    targets = {attrs["id"] for _, attrs in page.tags if "id" in attrs}
    links = [link["href"] for link in page.all("a")]
    assert {link.removeprefix("#") for link in links} <= targets
    assert {"#notes", "#scores", "#figure-2", "#table-1", "#settings"} <= set(links)


def test_a_figure_must_be_inside_the_page():
    with pytest.raises(ValueError, match="Confusion"):
        render(figures={"Confusion": ("https://example.org/a.png", "")})


def test_the_best_score_of_each_part_stands_out():
    rows = [attrs.get("class") for attrs in Page(render(tables={})).all("tr")]
    assert rows[1:4] == [None, "best", "best"]


def test_an_empty_report_is_a_page():
    page = Page(render(notes=[], settings={}, scores=SCORES[:0], tables={}, figures={}, made_with={}))
    assert "no rows" in page.text
    assert "#figures" not in [link["href"] for link in page.all("a")]


def test_cells_of_a_table():
    table = pd.DataFrame(
        {"share": [0.5, NAN], "clips": [3.0, NAN], "kept": [True, False], "label": ["sad", None], "n": [10, 2]},
        index=pd.Index(["a", "b"], name="class"),
    )
    grid = report._grid(table)
    assert grid.headers == ["class", "share", "clips", "kept", "label", "n"]
    assert grid.rows == [["a", "0.5000", "3", "True", "sad", "10"], ["b", "–", "–", "False", "–", "2"]]
    assert grid.numeric == [False, True, True, False, False, True]
    assert report._grid(table.reset_index(drop=True)).headers[0] == "share"


def test_a_folders_name_that_is_not_utf8_does_not_spoil_the_page():
    assert "corpus?" in render(settings={"root": "corpus\udcff"}).encode("utf-8").decode("utf-8")
