import logging

import pytest

from meiju.utils import log


def read(folder) -> str:
    (path,) = folder.glob("*.log")
    assert path.name.endswith("-stage1.log")
    return path.read_text(encoding="utf-8")


def test_a_log_says_with_what_a_step_was_run_and_what_it_cost_and_the_terminal_nothing(tmp_path, capfd):
    with log.kept(tmp_path, "stage1", {"run": "例", "train": {"lr": 0.1}}):
        log.logger.info("5 jobs")
    log.logger.warning("nobody keeps this")
    assert capfd.readouterr() == ("", "")
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


def test_the_cost_of_a_step_is_that_of_its_last_run(tmp_path):
    for time, step, cost in (
        ("1-1", "stage1", "INFO 12.5 s, at most 300 MB of memory in this process\n"),
        ("1-2", "stage1", "INFO 7.0 s, at most 400 MB of memory in this process\n"),
        ("1-3", "stage2", "INFO command: a step that is under way\n"),
    ):
        (tmp_path / f"{time}-{step}.log").write_text(cost, encoding="utf-8")
    with log.kept(tmp_path, "report", {}):
        pass
    report, stage1 = log.costs(tmp_path).sort_values("step").to_numpy().tolist()
    assert stage1 == ["stage1", 7.0, 400]
    assert report[0] == "report"
    assert report[2] > 10
