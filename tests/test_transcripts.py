import pytest

from meiju.transcripts import without_marks


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
