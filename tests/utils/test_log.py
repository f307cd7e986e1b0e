import logging

import pytest

from meiju.utils import log


def read(folder) -> str:
    (path,) = folder.iterdir()
    assert path.name.endswith("-stage1.log")
    return path.read_text(encoding="utf-8")


def test_a_log_says_with_what_a_step_was_run_and_what_it_cost(tmp_path):
    with log.kept(tmp_path, "stage1", {"run": "例", "train": {"lr": 0.1}}):
        log.logger.info("5 jobs")
    text = read(tmp_path)
    parts = ("command: ", "torch 2", '{"run": "例", "train": {"lr": 0.1}}', "5 jobs", "stage1 is done", "MB of memory")
    assert [part for part in parts if part not in text] == []
    assert log.logger.handlers == [handler for handler in log.logger.handlers if type(handler) is logging.NullHandler]


def test_a_log_holds_the_traceback_of_what_broke_off(tmp_path):
    with pytest.raises(KeyError), log.kept(tmp_path, "stage1", {}):
        raise KeyError("fold 7")
    text = read(tmp_path)
    assert "stage1 broke off: 'fold 7'" in text
    assert "Traceback" in text


def test_nothing_is_logged_to_the_terminal(tmp_path, capfd):
    with log.kept(tmp_path, "stage1", {}):
        log.logger.warning("a worker was lost")
    log.logger.warning("nobody keeps this")
    assert capfd.readouterr() == ("", "")


def test_peak_memory_is_in_bytes():
    assert 10 * 2**20 < log.peak_memory() < 2**40


COST = "INFO 12.5 s, at most 300 MB of memory in this process"


def write(folder, name, settings, last=COST):
    lines = [f"2026-01-01 10:00:00,000 INFO settings: {settings}", f"2026-01-01 10:00:12,500 {last}"]
    (folder / name).write_text("\n".join(lines) + "\n", encoding="utf-8")


def test_costs_are_added_up_by_step_for_the_same_settings(tmp_path):
    write(tmp_path, "20260101-100000-features.log", '{"run": "a", "jobs": 8}')
    other = "INFO 7.5 s, at most 400 MB of memory in this process"
    write(tmp_path, "20260101-100100-stage1.log", '{"run": "a"}', other)
    write(tmp_path, "20260101-100200-stage1.log", '{"run": "a"}')
    write(tmp_path, "20260101-100300-stage1.log", '{"run": "b"}')
    write(tmp_path, "20260101-100400-stage2.log", '{"run": "b"}')
    costs = log.read_costs(tmp_path, {"run": "a", "jobs": 1})
    assert costs.to_numpy().tolist() == [
        ["features", 12.5, 300, log.SAME],
        ["stage1", 20.0, 400, log.SAME],
        ["stage2", 12.5, 300, log.OTHER],
    ]


def test_logs_that_are_not_whole_do_not_count(tmp_path):
    write(tmp_path, "20260101-100000-stage1.log", '{"run": "a"}', "INFO 5 jobs")
    write(tmp_path, "20260101-100001-stage2.log", '{"run": ')
    write(tmp_path, "other.log", '{"run": "a"}')
    (tmp_path / "20260101-100002-report.log").write_bytes(b"\xff\xfe")
    assert len(log.read_costs(tmp_path, {"run": "a"})) == 0
    assert len(log.read_costs(tmp_path / "missing", {"run": "a"})) == 0
