import json
import logging

import pytest

from meiju.utils import log


def read(folder) -> str:
    (path,) = folder.glob("*.log")
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


def write(folder, *costs):
    keys = ("step", "seconds", "megabytes", "settings")
    lines = [json.dumps(dict(zip(keys, cost, strict=True))) for cost in costs]
    (folder / log.COSTS).write_text("\n".join(lines) + "\n", encoding="utf-8")


def test_costs_are_added_up_by_step_for_the_same_settings(tmp_path):
    write(
        tmp_path,
        ("features", 12.5, 300, {"run": "a"}),
        ("stage1", 7.5, 400, {"run": "a"}),
        ("stage1", 12.5, 300, {"run": "a"}),
        ("stage1", 12.5, 300, {"run": "b"}),
        ("stage2", 12.5, 300, {"run": "b"}),
    )
    costs = log.read_costs(tmp_path, {"run": "a", "jobs": 1})
    assert costs.to_numpy().tolist() == [
        ["features", 12.5, 300, log.SAME],
        ["stage1", 20.0, 400, log.SAME],
        ["stage2", 12.5, 300, log.OTHER],
    ]


def test_costs_are_kept_with_the_settings_that_decide_results(tmp_path):
    settings = {"run": "例", "model": {"heads": (1, 2)}}
    for jobs in (1, 8):
        with log.kept(tmp_path, "stage1", settings | {"jobs": jobs}):
            pass
    ((step, seconds, megabytes, whose),) = log.read_costs(tmp_path, settings).to_numpy().tolist()
    assert (step, whose) == ("stage1", log.SAME)
    assert 0 <= seconds < 60
    assert megabytes > 10
    assert len(log.read_costs(tmp_path / "missing", settings)) == 0
