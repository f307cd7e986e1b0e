"""The numbered scripts tell what they do, and what decides their step."""

import ast
import re

import pytest

from meiju import config
from meiju.config import Config, parse_config
from meiju.run import STEPS
from toy_run import SCRIPTS, run_script

NUMBERED = sorted(path.name for path in SCRIPTS.glob("[01]*.py"))


def help_of(script: str, *arguments: str, capsys) -> str:
    with pytest.raises(SystemExit) as end:
        run_script(script, *arguments)
    assert end.value.code == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("script", NUMBERED)
def test_a_script_says_what_it_reads_and_writes_and_how_it_is_run(script):
    text = ast.get_docstring(ast.parse((SCRIPTS / script).read_text(encoding="utf-8")))
    assert re.match(r"\d\d - .*\.", text)
    for heading in ("Reads", "Writes", "Run"):
        assert re.search(rf"^{heading} ", text, re.MULTILINE)
    assert f"scripts/{script}" in text


@pytest.mark.parametrize(
    ("script", "shown", "hidden"),
    [
        ("04_make_folds.py", ["--folds", "--seed", "--corpus.root"], ["--train.lr", "--pseudo.gate"]),
        ("05_train_stage1.py", ["--train.lr", "--model.heads"], ["--pseudo.gate", "--visual.fps"]),
        ("06_pseudo_label.py", ["--pseudo.gate"], ["--train.lr"]),
        ("10_ablate.py", ["--variants"], ["--visual.fps"]),
        ("check_submission.py", ["--corpus.root"], ["--train.lr"]),
    ],
)
def test_help_shows_the_settings_that_decide_the_step(script, shown, hidden, capsys):
    text = help_of(script, "--help", capsys=capsys)
    assert [flag for flag in shown if flag not in text] == []
    assert [flag for flag in hidden if flag in text] == []
    assert "--help-all" in text
    assert "track1-mandarin" in text
    if script == "04_make_folds.py":
        assert len(text.splitlines()) <= 40


def test_help_all_shows_every_setting(capsys):
    text = help_of("04_make_folds.py", "sample", "--help-all", capsys=capsys)
    assert all(flag in text for flag in ("--train.lr", "--pseudo.gate", "--visual.fps", "--folds"))
    assert re.search(r"default:\W+sample\)", text)


def test_help_leaves_out_no_step_and_names_no_setting_that_is_not_there():
    assert {step.script.removesuffix(".py") for step in STEPS.values()} < set(config.SHOWN_BY_HELP)
    assert {script.removesuffix(".py") for script in NUMBERED} < set(config.SHOWN_BY_HELP)
    known = set(Config.__dataclass_fields__)
    assert {name for names in config.SHOWN_BY_HELP.values() for name in names} <= known


def test_a_setting_that_help_does_not_show_is_taken_all_the_same(monkeypatch):
    monkeypatch.setattr("sys.argv", ["04_make_folds.py"])
    assert parse_config("", ["sample", "--train.lr", "0.5"]).train.lr == 0.5
