import pytest

from meiju import files


def test_a_written_file_replaces_the_old_one_and_leaves_nothing_else(tmp_path):
    path = tmp_path / "new" / "report.html"
    files.write_text(path, "old")
    files.write_text(path, "高兴\n")
    assert path.read_bytes() == "高兴\n".encode()
    assert list(path.parent.iterdir()) == [path]


def test_a_write_that_fails_leaves_the_old_file(tmp_path):
    path = tmp_path / "table.csv"
    files.write_text(path, "old")

    def interrupted():
        with files.aside(path) as part:
            part.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_json_is_read_back_and_its_digest_ignores_the_order_of_keys(tmp_path):
    value = {"b": [1, None, "高兴"], "a": {"c": 0.5}}
    files.write_json(tmp_path / "x.json", value)
    assert files.read_json(tmp_path / "x.json") == value
    assert files.digest(value) == files.digest({"a": {"c": 0.5}, "b": [1, None, "高兴"]})
    assert files.digest(value) != files.digest({**value, "a": {"c": 0.6}})
