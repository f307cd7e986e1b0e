"""A script that is ended by a signal says so and takes its workers with it, whoever gets the signal."""

import os
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from functools import partial

import psutil
import pytest

from toy_run import SCRIPTS

# Two workers say who they are, and would work for minutes.
TOY = """
import os, sys, time
from pathlib import Path
sys.argv = [{script!r}]
from meiju.config import ComputeConfig
from meiju.cli import plain_end
from meiju.utils.compute import map_in_workers, run_jobs

def work(folder, k=0):
    (folder / str(os.getpid())).touch()
    time.sleep(120)

folder = Path({folder!r})
with plain_end():
    if {map}:
        list(map_in_workers(work, [folder] * 2, n_jobs=2))
    list(run_jobs(ComputeConfig(), work, [(folder, k) for k in range(2)], n_jobs=2, folder=folder))
"""


@pytest.fixture
def toy(tmp_path):
    """Starts a script with two workers, in a session of its own; gives it and its workers when these are at work."""
    with ExitStack() as ends:

        def start(in_a_map: bool = False) -> tuple[subprocess.Popen, list[psutil.Process]]:
            code = TOY.format(script=str(SCRIPTS / "05_train_stage1.py"), folder=str(tmp_path), map=in_a_map)
            # As from a terminal, though these tests may run under nohup.
            as_usual = partial(signal.signal, signal.SIGHUP, signal.SIG_DFL)
            options = {"stderr": subprocess.PIPE, "text": True, "start_new_session": True, "preexec_fn": as_usual}
            main = ends.enter_context(subprocess.Popen([sys.executable, "-c", code], **options))
            ends.callback(main.kill)
            while len(list(tmp_path.iterdir())) < 2:
                assert main.poll() is None
                time.sleep(0.05)
            return main, [psutil.Process(int(path.name)) for path in tmp_path.iterdir()]

        yield start


# A terminal that is closed signals to the whole group.
@pytest.mark.parametrize(("send", "number"), [(os.kill, signal.SIGTERM), (os.killpg, signal.SIGHUP)])
def test_a_signal_ends_the_script_and_its_workers_in_one_line(toy, send, number):
    main, workers = toy()
    send(main.pid, number)
    _, output = main.communicate(timeout=60)
    assert output == "interrupted; the same command continues from here\n"
    assert main.returncode == 1
    assert psutil.wait_procs(workers, timeout=20)[1] == []


@pytest.mark.parametrize("in_a_map", [False, True])
def test_workers_do_not_outlive_a_script_that_is_killed(toy, in_a_map):
    main, workers = toy(in_a_map)
    main.kill()
    main.wait()
    psutil.wait_procs(workers, timeout=20)
    assert not any(worker.is_running() and worker.status() != psutil.STATUS_ZOMBIE for worker in workers)


def test_nohup_is_respected():
    code = f"import sys; sys.argv = [{str(SCRIPTS / 'x.py')!r}]; import meiju, signal, os; os.kill(os.getpid(), 1)"
    script = ["sh", "-c", 'trap "" HUP; exec "$@"', "sh", sys.executable, "-c", f"{code}; print('went on')"]
    assert subprocess.run(script, capture_output=True, text=True, check=True).stdout == "went on\n"


def test_other_programs_keep_their_signals():
    code = "import signal, meiju; print(signal.getsignal(signal.SIGTERM) is signal.SIG_DFL)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "True\n"
