import pytest

from meiju.utils.terminal import aligned, width


@pytest.mark.parametrize(("text", "columns"), [("abc", 3), ("高兴", 4), ("ｱｲ", 2), ("？", 2), ("e\u0301", 1), ("", 0)])
def test_width_is_that_of_the_terminal(text, columns):
    assert width(text) == columns


def test_columns_with_chinese_labels_are_aligned():
    assert aligned([["label", "n"], ["高兴", "1"], ["x", ""]]) == ["label  n", "高兴   1", "x"]
