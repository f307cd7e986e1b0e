import io
import json
from dataclasses import replace

import pandas as pd
import pytest

from meiju.features.base import Clip
from meiju.serving import outputs
from meiju.serving.predictor import Prediction

GOOD = Prediction(
    Clip("a", "好", "clips/a.mp4"),
    {"emotion": {"happy": 0.25, "sad": 0.75}, "intent": {"wishing": 0.6, "agreeing": 0.4}},
    ("text", "audio"),
    {"visual": "there is no video track"},
)
NOTHING = Prediction(Clip("b", "", "b.mp4"), {"emotion": {}, "intent": {}}, (), {"text": "no sentence"})


@pytest.fixture
def records():
    return outputs.as_records([GOOD, NOTHING], {"c.mp4": "there is no such file"})


def test_each_clip_and_each_place_with_a_problem_is_one_record(records):
    assert [record["clip"] for record in records] == ["clips/a.mp4", "b.mp4", "c.mp4"]
    assert [record["emotion"] for record in records] == ["sad", None, None]
    assert [record["intent"] for record in records] == ["wishing", None, None]
    problems = [None, "nothing to go by (text: no sentence)", "there is no such file"]
    assert [record["problem"] for record in records] == problems
    (record,) = outputs.as_records([GOOD], {"clips/a.mp4": "cannot be read"})  # damaged, judged by its sentence
    assert (record["emotion"], record["problem"]) == ("sad", "cannot be read")


@pytest.mark.parametrize("form", list(outputs.FORMATS))
def test_odd_names_of_clips_spoil_no_form(form):
    text = outputs.FORMATS[form](outputs.as_records([], {"a\udcff.mp4": "gone", "a\nb\x1b[2J.mp4": "gone"}))
    assert text.encode("utf-8").count(b"gone") == 2
    if form == "table":
        assert text.splitlines()[2].startswith("a b [2J.mp4")


def test_json_and_csv_read_back(records):
    back = json.loads(outputs.as_json(records))
    assert back == records
    assert list(back[0]["probabilities"]["intent"]) == ["wishing", "agreeing"]  # in the order of the classes
    table = pd.read_csv(io.StringIO(outputs.as_csv(records)))
    assert list(table["clip"]) == ["clips/a.mp4", "b.mp4", "c.mp4"]
    assert table.loc[0, ["emotion_happy", "emotion_sad", "intent_agreeing"]].tolist() == [0.25, 0.75, 0.4]
    assert table.emotion_happy.isna().tolist() == [False, True, True]
    assert (table.streams[0], table.missing[0]) == ("text+audio", "visual: there is no video track")


def test_the_table_is_aligned_and_tells_what_is_not_used_and_what_was_transcribed(records):
    head, first, second, third = outputs.as_table(records).splitlines()
    assert first.index("sad 0.75") == second.index("–") == third.index("–") == head.index("emotion")
    assert first.endswith("visual: there is no video track")
    assert third.endswith("there is no such file")
    wide = Clip("a", "好", "高兴e\u0301.mp4")  # nine columns of eight characters
    head, first = outputs.as_table(outputs.as_records([replace(GOOD, clip=wide, transcribed=True)], {})).splitlines()
    assert (head.index("emotion"), first.index("sad")) == (11, 10)
    assert first.endswith("transcribed: 好; visual: there is no video track")
