from meiju.utils.terminal import aligned


def test_columns_with_wide_characters_and_accents_are_aligned():
    lines = ["label  n", "高兴   1", "e\u0301      2", "x"]
    assert aligned([["label", "n"], ["高兴", "1"], ["e\u0301", "2"], ["x", ""]]) == lines
