"""Runs independent jobs on worker processes of this machine, or of a Dask cluster, by joblib's backends.

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
from contextlib import ExitStack, closing, contextmanager
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import joblib
from threadpoolctl import threadpool_limits

if TYPE_CHECKING:
    import distributed
    import torch

from meiju.config import ComputeConfig, ConfigError
from meiju.utils.log import logger, peak_memory

ATTEMPTS = 3  # in a row without a single finished job; then the jobs themselves kill the workers
LOST = {"TerminatedWorkerError", "KilledWorker"}
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
        is_remote = todo and config.backend == "dask"
        client = stack.enter_context(_dask(config.address, n_jobs, folder)) if is_remote else None
        while todo:
            n_before = len(todo)
            try:
                with _without_interrupts():
                    calls = [joblib.delayed(_do)(function, k, job) for k, job in todo.items()]
                    ends = _parallel(client, n_jobs)(calls)
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
    seconds, most = time.perf_counter() - started, peak >> 20
    logger.info("%d jobs in %.1f s on %s, at most %d MB in one worker", len(jobs), seconds, config.backend, most)


def map_in_workers(function: Callable, items: Sequence, *, n_jobs: int) -> Iterator:
    """function(item) of each in order, by processes of this machine, a few items ahead. Raises WorkersLost."""
    _ignore_warnings_of_joblib()
    with _without_interrupts():
        parallel = _processes(n_jobs, return_as="generator", pre_dispatch="2 * n_jobs")
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


def _processes(n_jobs: int, **options) -> joblib.Parallel:
    """Workers of this machine, which end when this process does, even where it is killed.

    No memory-mapped arguments: a killed run would leave them in /dev/shm, and jobs have no large arrays.
    """
    return joblib.Parallel(n_jobs=n_jobs, max_nbytes=None, initializer=_follow, initargs=(os.getpid(),), **options)


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
    import scipy.linalg  # noqa: F401 - its BLAS is not numpy's, and a limit holds what is loaded by then

    with threadpool_limits(1):
        function(*job)
    return number, peak_memory()


def _parallel(client: "distributed.Client | None", n_jobs: int) -> joblib.Parallel:
    """What runs calls of `_do`; a new one each time, as an interrupted one may still return old results."""
    options = {"return_as": "generator_unordered", "batch_size": 1}
    if client is None:
        return _processes(n_jobs, **options)
    with joblib.parallel_config("dask", client=client):
        # Far more jobs than workers are submitted, so that workers that join later get some.
        return joblib.Parallel(n_jobs=-1, pre_dispatch=1000, **options)


@contextmanager
def _dask(address: str | None, n_jobs: int, folder: Path) -> Iterator["distributed.Client"]:
    """All workers of a Dask cluster, also those that join later; of one on this machine if there is no address."""
    from distributed import Client, LocalCluster

    # Any free port: two runs may have a cluster at once.
    options = {"memory_limit": None, "dashboard_address": ":0", "silence_logs": logging.ERROR}
    with ExitStack() as stack:
        wanted = 0 if address is None else 2  # cores; joblib would do the jobs of a cluster of one in this process
        if address is None:
            local = LocalCluster(n_workers=n_jobs, threads_per_worker=1, **options)
            address = stack.enter_context(local).scheduler_address
        try:
            client = stack.enter_context(Client(address, timeout=CONNECTION_SECONDS, set_as_default=False))
        except (OSError, ValueError) as error:
            raise ConfigError(f"--compute.address: no Dask scheduler at {address} ({error})") from None
        if sum(client.ncores().values()) < wanted:
            print(f"waiting until the Dask cluster at {address} has {wanted} cores")
        while sum(client.ncores().values()) < wanted:
            time.sleep(WATCH_SECONDS)
        blind = [worker for worker, sees in client.run(Path.is_dir, folder).items() if not sees]
        if blind:
            remedy = "give a folder that all machines share, under one path"
            raise ConfigError(f"--home: worker {blind[0]} does not see {folder}; {remedy}")
        yield client
