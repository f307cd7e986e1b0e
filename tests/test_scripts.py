"""The numbered scripts tell what they do, and take the command line of all."""

import os
import re
import subprocess
import sys

import pytest

from meiju import cli
from meiju.presets import PRESETS
from toy_run import SCRIPTS, run_script

NUMBERED = sorted(path.name for path in SCRIPTS.glob("[01]*.py"))


def help_of(script: str, *arguments: str, capsys) -> str:
    with pytest.raises(SystemExit) as end:
        run_script(script, *arguments)
    assert end.value.code == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("script", [*NUMBERED, "baseline.py", "check_submission.py"])
def test_help_lists_the_presets_and_shows_what_decides_the_step(script, capsys):
    text = help_of(script, "--help", capsys=capsys)
    for preset, (meaning, _) in PRESETS.items():
        assert re.search(rf"^ +{preset} +{re.escape(meaning)}$", text, re.MULTILINE)
    for name in cli.SHOWN_BY_HELP[script.removesuffix(".py")]:
        assert f"--{name.replace('_', '-')}" in text
    for heading in ("Reads", "Writes", "Run"):
        assert re.search(rf"^  {heading} ", text, re.MULTILINE)


def test_help_of_a_step_fits_a_screen_and_help_all_shows_every_setting(capsys):
    text = help_of("04_make_folds.py", "--help", capsys=capsys)
    assert "--train.lr" not in text
    assert len(text.splitlines()) <= 40
    text = help_of("04_make_folds.py", "sample", "--help-all", capsys=capsys)
    assert all(flag in text for flag in ("--train.lr", "--pseudo.gate", "--visual.fps", "--folds"))


def test_help_shows_the_defaults_of_the_preset_that_is_named(capsys):
    text = help_of("run_all.py", "track2-english", "--help", capsys=capsys)
    assert "./scripts/run_all.sh PRESET" in text
    assert "Run all steps" in text
    assert re.search(r"--corpus.average[^-]*default:\W+micro\)", text)


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
    code = "from meiju.cli import end_if_unread\nwith end_if_unread():\n    print('help')\n    raise SystemExit"
    read, write = os.pipe()
    os.close(read)
    end = subprocess.run([sys.executable, "-c", code], stdout=write, stderr=subprocess.PIPE, text=True, check=False)
    os.close(write)
    assert (end.stderr, end.returncode) == ("", 1)
