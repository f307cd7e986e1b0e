"""The numbered scripts tell what they do, and what decides their step."""

import os
import re
import subprocess
import sys

import pytest

from meiju import cli
from meiju.cli import parse_config
from meiju.config import Config, as_settings
from meiju.presets import PRESETS
from meiju.run import STEPS
from toy_run import SCRIPTS, run_script

NUMBERED = sorted(path.name for path in SCRIPTS.glob("[01]*.py"))


def help_of(script: str, *arguments: str, capsys) -> str:
    with pytest.raises(SystemExit) as end:
        run_script(script, *arguments)
    assert end.value.code == 0
    return capsys.readouterr().out


@pytest.mark.parametrize(
    ("script", "shown", "hidden"),
    [
        ("04_make_folds.py", ["--folds", "--seed", "--corpus.root"], ["--train.lr", "--pseudo.gate"]),
        ("05_train_stage1.py", ["--train.lr", "--model.heads"], ["--pseudo.gate", "--visual.fps"]),
        ("06_pseudo_label.py", ["--pseudo.gate"], ["--train.lr"]),
        ("10_ablate.py", ["--variants", "--model.heads"], ["--visual.fps", "--model.width"]),
        ("check_submission.py", ["--corpus.root", "check_submission.py FILE PRESET"], ["--train.lr"]),
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
    assert {step.script.removesuffix(".py") for step in STEPS.values()} < set(cli.SHOWN_BY_HELP)
    assert {script.removesuffix(".py") for script in NUMBERED} < set(cli.SHOWN_BY_HELP)
    known = as_settings(PRESETS["custom"][1]) | {"variants": None}
    for name in {name for names in cli.SHOWN_BY_HELP.values() for name in names}:
        group, _, setting = name.partition(".")
        assert group in known
        assert setting == "" or setting in known[group]


@pytest.mark.parametrize("script", [*NUMBERED, "baseline.py", "check_submission.py"])
def test_help_lists_the_presets_one_by_one_and_shows_what_decides_the_step(script, capsys):
    text = help_of(script, "--help", capsys=capsys)
    for preset, (meaning, _) in PRESETS.items():
        assert re.search(rf"^ +{preset} +{re.escape(meaning)}$", text, re.MULTILINE)
    for name in cli.SHOWN_BY_HELP[script.removesuffix(".py")]:
        assert f"--{name.replace('_', '-')}" in text
    for heading in ("Reads", "Writes", "Run"):
        assert re.search(rf"^  {heading} ", text, re.MULTILINE)


def test_help_shows_the_defaults_of_the_preset_that_is_named(capsys):
    text = help_of("run_all.py", "track2-english", "--help", capsys=capsys)
    assert "./scripts/run_all.sh PRESET" in text
    assert "Run all steps" in text
    assert re.search(r"--corpus.average[^-]*default:\W+micro\)", text)


@pytest.mark.parametrize("script", NUMBERED)
def test_every_script_takes_the_command_line_of_all(script, monkeypatch):
    monkeypatch.setattr("sys.argv", [script])
    flags = "--speech.language zh --visual.fps 2 --train.lr 0.5 --pseudo.gate paper --folds 4 --submit stage1"
    parsed = parse_config("", ["custom", *flags.split()])
    assert (parsed.speech.language, parsed.visual.fps, parsed.train.lr) == ("zh", 2, 0.5)
    assert (parsed.pseudo.gate, parsed.folds, parsed.submit, type(parsed)) == ("paper", 4, "stage1", Config)


@pytest.mark.parametrize("arguments", [[], ["samples"], ["--seed", "1"]])
def test_without_a_preset_those_that_there_are_are_listed(arguments):
    with pytest.raises(SystemExit, match="error: the first argument is a preset") as end:
        run_script("04_make_folds.py", *arguments)
    assert all(preset in end.value.code for preset in PRESETS)


def test_run_all_names_a_mistake_before_the_first_step(capsys):
    with pytest.raises(SystemExit, match=r"error: --train\.lr is above 0"):
        run_script("run_all.py", "sample", "--train.lr", "0")
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("script", "ends"), [("scripts/04_make_folds.py", "interrupted\n"), ("elsewhere.py", "KeyboardInterrupt\n")]
)
def test_an_interruption_while_a_script_imports_prints_no_traceback(script, ends):
    code = f"import sys; sys.argv = [{str(SCRIPTS.parent / script)!r}]; import meiju; raise KeyboardInterrupt"
    stderr = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False).stderr
    assert stderr.endswith(ends)
    assert ("Traceback" in stderr) == (script == "elsewhere.py")


def test_output_that_nobody_reads_ends_a_program_without_a_traceback():
    """As in `04_make_folds.py --help | head -1`."""
    code = (
        "from meiju.utils.terminal import end_if_unread\nwith end_if_unread():\n    print('help')\n    raise SystemExit"
    )
    read, write = os.pipe()
    os.close(read)
    end = subprocess.run([sys.executable, "-c", code], stdout=write, stderr=subprocess.PIPE, text=True, check=False)
    os.close(write)
    assert (end.stderr, end.returncode) == ("", 1)
