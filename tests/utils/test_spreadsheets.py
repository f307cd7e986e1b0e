import csv
import io

import pandas as pd
import pytest

from meiju.utils import spreadsheets


def cells(text: str) -> list[list[str]]:
    return list(csv.reader(io.StringIO(text, newline=""), strict=True))


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "＝1"])
def test_a_text_that_begins_as_a_formula_does_is_shown(text):
    table = pd.DataFrame({text: [text]}, index=pd.Index([text], name="name"))
    head, row = cells(spreadsheets.as_csv(table, index=True))
    assert all(cell[0] == "'" for cell in (head[1], *row))
    assert row[0] == "'" + text.replace("\t", " ").replace("\r", " ")


@pytest.mark.parametrize("text", ["a=1", "走吧", "1+1", "'=1", "clips/a.mp4", ""])
def test_other_texts_stay_as_they_are(text):
    assert cells(spreadsheets.as_csv(pd.DataFrame({"clip": [text], "n": [1]})))[1] == [text, "1"]


def test_numbers_stay_numbers_and_gaps_stay_empty():
    table = pd.DataFrame({"gain": [-0.5, float("nan")], "n": [-1, 2], "label": ["sad", None]})
    assert cells(spreadsheets.as_csv(table))[1:] == [["-0.5", "-1", "sad"], ["", "2", ""]]


def test_a_cell_is_one_line_of_utf8():
    text = spreadsheets.as_csv(pd.DataFrame({"clip": ["a\nb\rc\x00d\x1b[2Je\udcff\x9bf\u202eg"]}))
    assert text.encode() == b"clip\na b c d [2Je? f g\n"
