import math
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from meiju.config import ComputeConfig, ConfigError
from meiju.utils import compute
from meiju.utils.compute import WorkersLost, map_in_workers, run_jobs

N_JOBS = 8


def square(folder: Path, k: int) -> None:
    """Job 3 takes its worker down with it the first time, after it was begun and before it is done."""
    begun = folder / f"begun-{k}"
    if k == 3 and not begun.exists():
        begun.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    (folder / f"{k}.txt").write_text(str(k * k))


def interrupted(folder: Path, k: int) -> None:
    """As by Ctrl+C, which reaches all processes of a terminal."""
    os.kill(os.getpid(), signal.SIGINT)


def nothing(folder: Path, k: int) -> None: ...


def always_killed(*_) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def fails(folder: Path, k: int) -> None:
    raise ConfigError("a job cannot be done")


def run(function, folder: Path, backend: str = "loky", n_jobs: int = 2, **options) -> list[int]:
    jobs = [(folder, k) for k in range(N_JOBS)]
    return list(run_jobs(ComputeConfig(backend, **options), function, jobs, n_jobs=n_jobs, folder=folder))


@pytest.mark.parametrize("backend", ["loky", "dask"])
def test_jobs_of_a_killed_worker_are_done_by_another(tmp_path, backend):
    assert sorted(run(square, tmp_path, backend)) == list(range(N_JOBS))
    assert (tmp_path / "begun-3").exists()
    assert [(tmp_path / f"{k}.txt").read_text() for k in range(N_JOBS)] == [str(k * k) for k in range(N_JOBS)]


def test_workers_leave_an_interruption_to_the_main_process(tmp_path):
    assert sorted(run(interrupted, tmp_path)) == list(range(N_JOBS))
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == set()


def test_the_device_is_known_without_torch_where_that_has_no_cuda(monkeypatch):
    for torch_version in ("2.13.0", "2.13.0+cpu"):
        monkeypatch.setattr(compute, "version", lambda _, named=torch_version: named)
        assert compute.device_type("auto") == compute.pick_device("auto").type


def test_jobs_that_kill_every_worker_end_in_a_remedy(tmp_path):
    with pytest.raises(WorkersLost, match="fewer --jobs"):
        run(always_killed, tmp_path)


def test_the_error_of_a_job_is_reported_as_it_is_and_no_jobs_are_no_error(tmp_path):
    with pytest.raises(ConfigError, match="a job cannot be done"):
        run(fails, tmp_path)
    assert list(run_jobs(ComputeConfig("dask"), square, [], n_jobs=0, folder=tmp_path)) == []


def test_one_thread_a_job_whatever_the_number_of_workers(tmp_path):
    from threadpoolctl import threadpool_info

    def threads(folder: Path, k: int) -> None:
        (folder / f"{k}.txt").write_text(str(max((pool["num_threads"] for pool in threadpool_info()), default=1)))

    for n_jobs in (1, 2):
        run(threads, tmp_path, n_jobs=n_jobs)
        assert {(tmp_path / f"{k}.txt").read_text() for k in range(N_JOBS)} == {"1"}


def test_blas_that_is_loaded_within_a_job_has_one_thread():
    job = "def job():\n  import scipy.linalg\n  print({pool['num_threads'] for pool in threadpool_info()})"
    code = f"from threadpoolctl import threadpool_info\nfrom meiju.utils.compute import _do\n{job}\n_do(job, 0, ())"
    environment = {key: value for key, value in os.environ.items() if not key.endswith("_NUM_THREADS")}
    end = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert end.stdout == "{1}\n"


def test_a_scheduler_that_is_not_there_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(compute, "CONNECTION_SECONDS", 0.5)
    with pytest.raises(ConfigError, match=r"no Dask scheduler at tcp://127\.0\.0\.1:9"):
        run(square, tmp_path, "dask", address="tcp://127.0.0.1:9")


def test_workers_that_do_not_see_the_folder_are_named(tmp_path):
    with pytest.raises(ConfigError, match="does not see"):
        run(square, tmp_path / "elsewhere", "dask", n_jobs=1)


def test_an_address_belongs_to_a_cluster_whose_package_is_there(monkeypatch):
    with pytest.raises(ConfigError, match=r"--compute\.backend dask"):
        ComputeConfig(address="tcp://127.0.0.1:8786")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install 'dask\[distributed\]'"):
        ComputeConfig("dask")


def test_a_cluster_of_one_core_is_waited_for(tmp_path, capsys):
    options = {"n_workers": 1, "threads_per_worker": 1, "processes": False, "dashboard_address": ":0"}
    with pytest.importorskip("distributed").LocalCluster(**options) as cluster:
        threading.Timer(0.5, cluster.scale, [2]).start()
        assert len(run(nothing, tmp_path, "dask", address=cluster.scheduler_address)) == N_JOBS
    assert "has 2 cores" in capsys.readouterr().out


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_a_map_in_workers_is_in_order_and_can_be_left_early(n_jobs):
    results = map_in_workers(math.sqrt, [k * k for k in range(1000)], n_jobs=n_jobs)
    assert [next(results) for _ in range(50)] == list(range(50))
    results.close()
    with pytest.raises(ValueError, match=r"domain|nonnegative"):
        list(map_in_workers(math.sqrt, [1, -1], n_jobs=n_jobs))


def test_a_worker_that_is_killed_in_a_map_is_reported():
    with pytest.raises(WorkersLost, match="was killed"):
        list(map_in_workers(always_killed, range(4), n_jobs=2))
    assert list(map_in_workers(math.sqrt, [4, 9], n_jobs=2)) == [2, 3]
