"""Scripts work whatever the environment says of Python, of the terminal, of the home folder and of locks."""

import errno
import fcntl
import json
import os
import subprocess
import sys

import httpx2
import pytest

from meiju.cli import help_text
from meiju.utils import files
from toy_run import SCRIPTS


def python(code: str, redirected: str = "", **environment: str) -> subprocess.CompletedProcess:
    """Run code as a script of the repository would, by a shell that redirects its output."""
    code = f"import sys; sys.argv = [{str(SCRIPTS / 'predict.py')!r}]\n{code}"
    command = ["sh", "-c", f'"$@" {redirected}', "sh", sys.executable, "-c", code]
    return subprocess.run(command, capture_output=True, env=os.environ | environment, check=False)


@pytest.mark.parametrize("encoding", ["gbk", "ascii", "gbk:strict"])
def test_no_answer_is_lost_for_the_encoding_of_the_terminal(encoding):
    answer = {"sentence": "你好😀", "clip": "\udcff.mp4"}
    code = f"import meiju; text = {json.dumps(answer, ensure_ascii=False)!r}; print(text); print(text, file=sys.stderr)"
    end = python(code, PYTHONIOENCODING=encoding)
    assert end.returncode == 0
    for output in (end.stdout, end.stderr):
        assert json.loads(output.decode(encoding.partition(":")[0])) == answer


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-"])
def test_a_terminal_that_is_closed_harms_nothing(closed):
    code = "with plain_end(): print('x'); print('y', file=sys.stderr); raise SystemExit(7)"
    assert python(f"from meiju.cli import plain_end\n{code}", closed).returncode == 7


def test_a_deleted_folder_to_start_in_is_named_in_one_line(tmp_path):
    code = f"import sys; sys.argv = [{str(SCRIPTS / 'predict.py')!r}]; import meiju"
    command = ["sh", "-c", 'rmdir "$PWD"; exec "$@"', "sh", sys.executable, "-c", code]
    end = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert end.stderr == "error: the current folder was deleted; give the command again in another one\n"


def test_help_without_docstrings():
    assert help_text(None) == ""
    script = [sys.executable, SCRIPTS / "check_submission.py", "--help"]
    end = subprocess.run(script, env=os.environ | {"PYTHONOPTIMIZE": "2"}, capture_output=True, text=True, check=True)
    assert end.stderr == ""
    assert "--home" in end.stdout


def test_figures_and_sound_need_no_home():
    code = "import meiju.report.figures, meiju.features.smart_turn, onnxruntime, matplotlib.pyplot"
    end = python(code, HOME="/dev/null", XDG_CACHE_HOME="/dev/null/cache", MPLBACKEND="agg")
    assert (end.returncode, end.stdout, end.stderr) == (0, b"", b"")


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_where_there_are_no_locks_a_warning_is_printed_once(tmp_path, monkeypatch, capsys, number):
    def refuse(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)
    files._warn_of_no_locks.cache_clear()
    for _ in range(2):
        with files.reserved(tmp_path):
            pass
    printed = capsys.readouterr().err
    assert printed.startswith(f"warning: files cannot be locked here ({os.strerror(number)})")
    assert len(printed.splitlines()) == 1
    number = errno.EIO  # other refusals are not hidden
    with pytest.raises(OSError, match="Input/output error"), files.reserved(tmp_path):
        pass


def test_the_client_of_the_hub_knows_socks(monkeypatch):
    monkeypatch.setenv("ALL_PROXY", "socks5://127.0.0.1:1")
    with httpx2.Client() as client, pytest.raises(httpx2.ConnectError):
        client.get("http://hub.invalid/")
