from pathlib import Path

import pandas as pd
import pytest

from meiju.config import Config, ConfigError
from meiju.text import refine
from meiju.text.refine import without_marks


@pytest.mark.parametrize(
    ("sentence", "bare"),
    [
        ("你好，世界！", "你好世界"),
        ("你 嗯 你可能对", "你嗯你可能对"),  # a space stands for a mark
        ("Hello, world -- I don't know 3.5!", "Hello world I don't know 3.5"),
        ("我是 Joey，OK？", "我是Joey OK"),
        ("？！", ""),
        ("", ""),
    ],
)
def test_marks_and_what_stands_for_them_are_stripped(sentence, bare):
    assert without_marks(sentence) == bare


def test_sentences_are_read_back_as_they_were(tmp_path):
    sentences = ["a\rb", "=1+1", "-好", '"', "a\nb", "a,b", "", " ", "<b>", "NaN"]
    clips = pd.DataFrame({"name": [f"clip{k}" for k in range(len(sentences))], "sentence": sentences, "path": ""})
    refine.refine(Config("sample", punctuation="none"), clips, tmp_path, heard=clips)
    assert [clip.sentence for clip in refine.as_clips(clips, tmp_path)] == sentences


def test_new_sentences_are_read_as_the_runs_own():
    stripped = Config("sample", punctuation="stripped")
    assert refine.load_restorer(stripped, Path("nowhere")) is None
    assert refine.as_read(stripped, None, ["你好，世界！", ""]) == ["你好世界", ""]
    assert refine.as_read(Config("sample", punctuation="none"), None, ["你好，世界！"]) == ["你好，世界！"]


def test_a_restorer_that_is_lost_is_not_taken_for_none(tmp_path, capsys):
    config, clips = (
        Config("sample", device="cpu"),
        pd.DataFrame({"name": ["a"], "sentence": ["好"], "part": "training"}),
    )
    refine.refine(config, clips, tmp_path, heard=clips)
    assert "left as it is" in capsys.readouterr().out
    assert refine.load_restorer(config, tmp_path) is None
    (tmp_path / "punctuation.json").unlink()
    with pytest.raises(ConfigError, match=r"has lost .*punctuation\.json"):
        refine.load_restorer(config, tmp_path)
