import re
from html.parser import HTMLParser

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
        ("stage 2", "mean over heads", "out-of-fold", 2294, 0.56, 0.53, 0.54459, "14 speakers", 0.011),
        ("stage 2", "mean over heads", "validation", 324, 0.55, 0.5, 0.52381, "clips", NAN),
    ],
    columns=["stage", "system", "part", "n_clips", "E", "I", "JRBM", "over", "fold_std"],
).assign(**HALF)
MISTAKES = Table(
    "Mistakes",
    "Clips judged wrongly.",
    pd.DataFrame({"sentence": ["你好", "再见"], "share": [17.1, 3.0], "confidence": [0.98765, NAN]}),
    formats={"share": "{:.1f}"},
    tags={1: "submission"},
    strong=frozenset({0}),
    file="errors.csv",
    full=pd.DataFrame({"sentence": ["=1+1"], "share": [1 / 3]}),
)
CONFUSION = Picture("Confusion", "Clips of each emotion.", PIXEL)


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
        "intro": ["Clips: 2."],
        "sections": [
            Section("Errors", ["What went wrong."], [MISTAKES, CONFUSION], link=("The ablation", "ablation-1/a.md")),
            Section("Settings", [], [Table("All", "", pd.DataFrame({"setting": ["train.lr"]}))], folded=True),
        ],
        "made_with": {"torch": "2.9.0"},
    }
    return page.render(**content | changes)


def test_score_table_is_aligned_and_fits_a_terminal():
    header, rule, first, *_, last = lines = page.score_table(SCORES).splitlines()[:-1]
    assert len(lines) == 5
    assert max(map(len, lines)) <= 120
    cells = ["stage 1", "8 heads", "out-of-fold", "2294", "0.5400", "0.5200", "0.5298", "0.0200", "2.5000", "0.1000"]
    cells.append("0.0123")
    assert re.split(r" {2,}", first) == cells
    assert last.endswith(" –")
    caption = page.score_table(SCORES).splitlines()[-1]
    assert "over 14 speakers (out-of-fold) and over clips (validation)" in caption
    for name in ("clips", "JRBM ±", "log-loss", "fold sd"):
        end = header.index(name) + len(name)
        assert all(line[end : end + 2].strip() == "" for line in lines)
        assert all(line[end - 1] not in " " for line in (first, last, rule))


def test_all_content_reaches_the_page_in_its_order():
    page = Page(render())
    assert [image["src"] for image in page.all("img")] == [PIXEL]
    parts = ["A run", "Clips: 2.", "What went wrong.", "The ablation", "Clips judged wrongly.", "你好", "0.9877"]
    parts += ["submission", "errors.csv", "Clips of each emotion.", "train.lr", "torch 2.9.0"]
    places = [page.text.rindex(part) for part in parts]
    assert places == sorted(places)
    assert [attrs.get("class") for attrs in page.all("tr")][:3] == [None, "strong", "tagged"]


def test_text_is_shown_and_never_run():
    evil = "<script>alert('x')</script>\"><img src=x onerror=alert(1)>"
    table = Table(evil, evil, pd.DataFrame({evil: [evil]}), formats={evil: "{}"}, tags={0: evil}, file=evil)
    picture = Picture(evil, evil, PIXEL + '"onload="alert(1)')
    section = Section(evil, [evil], [table, picture], link=(evil, "a" + evil))
    page = Page(render(title=evil, intro=[evil], sections=[section], made_with={evil: evil}))
    assert not page.all("script")
    assert [set(image) for image in page.all("img")] == [{"src", "alt"}]
    assert not any(name.startswith("on") for _, attrs in page.tags for name in attrs)
    assert page.text.count(evil) >= 12


def test_the_page_fetches_nothing_and_links_to_itself_and_what_lies_beside_it():
    html = render()
    assert not re.search(r"(src|href)\s*=\s*[\"']?\s*(https?:)?//|@import|url\(|<link|<script", html, re.IGNORECASE)
    assert "default-src 'none'" in html
    page = Page(html)
    targets = {"#" + attrs["id"] for _, attrs in page.tags if "id" in attrs}
    links = {link["href"] for link in page.all("a")}
    assert links - targets == {"errors.csv", "ablation-1/a.md"}
    assert {"#section-1", "#section-1-2", "#section-2"} <= links


def test_a_picture_must_be_inside_the_page():
    with pytest.raises(ValueError, match="Confusion"):
        Picture("Confusion", "", "https://example.org/a.png")


@pytest.mark.parametrize("address", ["https://example.org", "javascript:alert(1)", "/etc/passwd", "a/../../b", "//x"])
def test_a_link_leads_to_what_lies_beside_the_report(address):
    with pytest.raises(ValueError, match="beside the report"):
        Section("", link=("", address))


def test_an_empty_report_is_a_page():
    nothing = Table("Nothing", "", pd.DataFrame({"a": pd.Series(dtype=float)}))
    page = Page(render(intro=[], sections=[Section("Empty", [], [nothing])], made_with={}))
    assert "no rows" in page.text
    assert Page(render(sections=[])).all("section") == []


def test_cells_of_a_table():
    frame = pd.DataFrame(
        {
            "share": [0.5, NAN],
            "percent": [17.1, 3.0],
            "clips": pd.array([3, None], dtype="Int64"),
            "kept": [True, False],
            "label": ["sad", None],
            "time": ["3 s", "4 s"],
        }
    )
    table = Table("", "", frame, formats={"percent": "{:.1f}", "time": "{}"})
    assert table.rows == [["0.5000", "17.1", "3", "True", "sad", "3 s"], ["–", "3.0", "–", "False", "–", "4 s"]]
    assert table.numeric == [True, True, True, False, False, True]


def test_what_is_kept_beside_the_page():
    kept = page.kept_tables([Section("", [], [MISTAKES, CONFUSION, Table("", "", MISTAKES.frame)])])
    assert kept == {"errors.csv": "sentence,share\n'=1+1,0.33333\n"}


def test_settings_are_named_as_on_the_command_line():
    flat = page.flat_settings({"run": "sample", "train": {"lr": 2e-4, "heads": (1, 8)}, "extra": {}})
    assert flat == {"run": "sample", "train.lr": "0.0002", "train.heads": "(1, 8)", "extra": "{}"}


@pytest.mark.parametrize("low", [0.51, NAN])
def test_a_score_without_an_interval_says_why(low):
    """As of two speakers."""
    assert ("–: too few for an interval" in page.explain(SCORES.assign(JRBM_low=low))) == (low != 0.51)
