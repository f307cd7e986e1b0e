"""Runs independent jobs on worker processes of this machine, or of a Dask or Ray cluster, by joblib's backends.

A job writes its result to a file, in a folder that all workers see, and returns nothing. So finished jobs survive when
a worker or the main process is killed, and a job that was lost is done again.
"""

import logging
import os
import signal
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import joblib
from threadpoolctl import threadpool_limits

if TYPE_CHECKING:
    import torch

from meiju.config import ComputeConfig, ConfigError
from meiju.utils.log import logger, peak_memory

ATTEMPTS = 3  # in a row without a single finished job; then the jobs themselves kill the workers
LOST = {"TerminatedWorkerError", "KilledWorker", "RayActorError", "ActorDiedError", "WorkerCrashedError"}
CONNECTION_SECONDS = 20
WATCH_SECONDS = 0.5  # between two looks of a worker at its parent
INTERRUPTIONS = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}


def pick_device(wanted: str) -> "torch.device":
    """The device for 'cpu', 'cuda' or 'auto' (CUDA where there is one). Raises ConfigError where there is no CUDA."""
    import torch  # takes seconds, and most workers need none of it

    if wanted == "cuda" and not torch.cuda.is_available():
        raise ConfigError("--device cuda: torch finds no CUDA device here; use --device auto")
    return torch.device("cuda" if wanted != "cpu" and torch.cuda.is_available() else "cpu")


def device_type(wanted: str) -> str:
    """'cpu' or 'cuda', as `pick_device` decides; torch is imported only where it may have CUDA."""
    without_cuda = wanted == "cpu" or (wanted == "auto" and version("torch").endswith("+cpu"))
    return "cpu" if without_cuda else pick_device(wanted).type


class WorkersLost(RuntimeError):
    """Worker processes keep ending before their jobs do."""


def run_jobs(
    config: ComputeConfig, function: Callable[..., None], jobs: Sequence[tuple], *, n_jobs: int, folder: Path
) -> Iterator[int]:
    """Call function(*job) for each job, `n_jobs` at once; yields the number of each job as it ends, in any order.

    Jobs write to `folder`. On a cluster with an address, its own size decides instead of n_jobs. A job whose worker
    is lost is done again, so it must cope with files of an earlier attempt. Raises ConfigError if the cluster cannot
    be reached or does not see the folder, and WorkersLost.
    """
    _ignore_warnings_of_joblib()
    started, peak = time.perf_counter(), 0
    todo = dict(enumerate(jobs))
    attempts = ATTEMPTS
    with ExitStack() as stack:
        cluster = stack.enter_context(BACKENDS[config.backend](config, n_jobs, folder)) if todo else None
        while todo:
            n_before = len(todo)
            try:
                with _without_interrupts():
                    ends = cluster([joblib.delayed(_do)(function, k, job) for k, job in todo.items()])
                # Closed at once on an error: closed later, it would end the workers of the next call.
                with closing(ends):
                    for number, memory in ends:
                        del todo[number]
                        peak = max(peak, memory)
                        yield number
            except Exception as error:
                if not _is_lost_worker(error):
                    raise
                attempts = ATTEMPTS if len(todo) < n_before else attempts - 1
                logger.warning("a worker was lost, %d jobs are left: %s", len(todo), error)
                if not attempts:
                    raise WorkersLost(
                        "worker processes keep being killed, most likely because of too little memory; give the same "
                        "command with fewer --jobs: it continues where this one stopped"
                    ) from error
    logger.info(
        "%d jobs in %.1f s on %s, at most %d MB in one worker",
        len(jobs), time.perf_counter() - started, config.backend, peak >> 20,
    )  # fmt: skip


def map_in_workers(function: Callable, items: Sequence, *, n_jobs: int) -> Iterator:
    """function(item) of each in order, by processes of this machine, a few items ahead. Raises WorkersLost."""
    _ignore_warnings_of_joblib()
    with _without_interrupts():
        parallel = joblib.Parallel(
            n_jobs=n_jobs, return_as="generator", pre_dispatch="2 * n_jobs", max_nbytes=None, **_followers()
        )
        results = parallel(joblib.delayed(function)(item) for item in items)
    with closing(results):
        try:
            yield from results
        except Exception as error:
            if not _is_lost_worker(error):
                raise
            raise WorkersLost(
                "a worker process was killed, most likely because of too little memory, or of a damaged file that no "
                "decoder survives"
            ) from error


def _is_lost_worker(error: Exception) -> bool:
    return bool(LOST & {kind.__name__ for kind in type(error).__mro__})


def _ignore_warnings_of_joblib() -> None:
    # On an error or interruption, remaining jobs are dropped; the error itself is reported elsewhere.
    warnings.filterwarnings("ignore", r"\d+ tasks (which were still being|have been successfully)", UserWarning)
    # Joblib restarts a worker that has grown by 300 MB, as importing torch does, and warns about it.
    warnings.filterwarnings("ignore", "A worker stopped while some jobs were given", UserWarning)
    _ignore_dropped_jobs()


@cache
def _ignore_dropped_jobs() -> None:
    """Print no traceback of joblib's own thread, which may look for a job just when an interruption has dropped it."""
    report = threading.excepthook

    def unless_dropped(error: threading.ExceptHookArgs) -> None:
        if not (error.exc_type is KeyError and type(error.thread).__name__ == "_ExecutorManagerThread"):
            report(error)

    threading.excepthook = unless_dropped


@contextmanager
def _without_interrupts() -> Iterator[None]:
    """Hold Ctrl+C and the like back while workers are started; they, and those started in their place, never see it.

    It goes to all processes of a terminal, and each worker would print a traceback. The main process ends them anyway.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, INTERRUPTIONS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _followers() -> dict:
    """Options of joblib for workers of this machine that end when this process does, even where it is killed."""
    return {"initializer": _follow, "initargs": (os.getpid(),)}


def _follow(parent: int) -> None:
    """In a worker: end it as soon as its parent has ended. Otherwise it would finish its job and wait for minutes."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(WATCH_SECONDS)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _do(function: Callable[..., None], number: int, job: tuple) -> tuple[int, int]:
    """Do one job, in a worker; its number, and the worker's peak memory in bytes.

    One thread each: as many workers as cores are the fastest on a CPU, and sums of floats depend on how many threads
    share them. The job is one argument: joblib would distribute several over a Dask cluster, where they can get lost.
    """
    with threadpool_limits(1):
        function(*job)
    return number, peak_memory()


# Runs delayed calls of `_do`; each time by a new Parallel, as an interrupted one may still return old results.
Cluster = Callable[[list], Iterator[tuple[int, int]]]
OPTIONS = {"return_as": "generator_unordered", "batch_size": 1}


@contextmanager
def _loky(config: ComputeConfig, n_jobs: int, folder: Path) -> Iterator[Cluster]:
    # No memory-mapped arguments: a killed run would leave them in /dev/shm, and jobs have no large arrays.
    yield lambda calls: joblib.Parallel(n_jobs=n_jobs, max_nbytes=None, **OPTIONS, **_followers())(calls)


@contextmanager
def _dask(config: ComputeConfig, n_jobs: int, folder: Path) -> Iterator[Cluster]:
    """All workers of a cluster, also those that join later; or a cluster of `n_jobs` processes on this machine."""
    from distributed import Client, LocalCluster

    with ExitStack() as stack:
        address = config.address
        if address is None:
            options = {
                "threads_per_worker": 1,
                "memory_limit": None,
                "dashboard_address": ":0",  # any free port: two runs may have a cluster at once
                "silence_logs": logging.ERROR,
            }
            address = stack.enter_context(LocalCluster(n_workers=n_jobs, **options)).scheduler_address
        try:
            client = stack.enter_context(Client(address, timeout=CONNECTION_SECONDS, set_as_default=False))
        except (OSError, ValueError) as error:
            raise ConfigError(f"--compute.address: no Dask scheduler at {address} ({error})") from None
        if not client.scheduler_info()["workers"]:
            print(f"waiting for a worker of the Dask cluster at {address}")
            client.wait_for_workers(1)
        if config.address is not None and sum(client.ncores().values()) < 2:
            with suppress(TimeoutError):  # others may be on their way
                client.wait_for_workers(2, timeout=CONNECTION_SECONDS)
        _require_shared(folder, client.run(Path.is_dir, folder))
        _require_two_cores(config, sum(client.ncores().values()))
        # Far more jobs than workers are submitted, so that workers that join later get some.

        def do(calls: list) -> Iterator[tuple[int, int]]:
            with joblib.parallel_config("dask", client=client):
                parallel = joblib.Parallel(n_jobs=-1, pre_dispatch=1000, **OPTIONS)
            return parallel(calls)

        yield do


@contextmanager
def _ray(config: ComputeConfig, n_jobs: int, folder: Path) -> Iterator[Cluster]:
    """A Ray cluster's cores; or `n_jobs` of this machine's."""
    import ray
    from ray.util.joblib import register_ray

    size = {"num_cpus": n_jobs, "include_dashboard": False} if config.address is None else {}
    try:
        ray.init(address=config.address or "local", log_to_driver=False, logging_level="error", **size)
    except (ConnectionError, ValueError) as error:
        raise ConfigError(f"--compute.address: no Ray cluster at {config.address} ({error})") from None
    try:
        register_ray()
        n_workers = int(ray.cluster_resources()["CPU"])
        _require_shared(folder, dict(enumerate(ray.get([ray.remote(Path.is_dir).remote(folder)]))))
        _require_two_cores(config, n_workers)

        def do(calls: list) -> Iterator[tuple[int, int]]:
            # Ray returns results when all of them are finished, so only a few are submitted at a time.
            with joblib.Parallel(n_jobs=n_workers, backend="ray", batch_size=1) as parallel:
                for k in range(0, len(calls), 2 * n_workers):
                    yield from parallel(calls[k : k + 2 * n_workers])

        yield do
    finally:
        ray.shutdown()


BACKENDS = {"loky": _loky, "dask": _dask, "ray": _ray}


def _require_two_cores(config: ComputeConfig, n_cores: int) -> None:
    if config.address is not None and n_cores < 2:
        raise ConfigError(
            f"--compute.address: the cluster at {config.address} has one core, and joblib would do all jobs in this "
            "process instead; give it two workers or more, or run without a cluster on its machine"
        )


def _require_shared(folder: Path, is_visible: dict) -> None:
    without = [str(worker) for worker, visible in is_visible.items() if not visible]
    if without:
        raise ConfigError(
            f"--home: worker {without[0]} does not see {folder}; give a folder that all machines share, under one path"
        )
