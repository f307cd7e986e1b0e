"""The log of a step, work/<run>/log/<time>-<step>.log: command, settings, versions, duration and memory."""

import json
import logging
import platform
import re
import resource
import shlex
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

import pandas as pd

PACKAGES = ("meiju", "torch", "transformers", "scikit-learn", "numpy", "pandas", "joblib", "av", "python-crfsuite")
KILOBYTE = 1024 if sys.platform != "darwin" else 1  # bytes in the unit in which the system reports peak memory

logger = logging.getLogger("meiju")
logger.setLevel(logging.INFO)
logger.addHandler(logging.NullHandler())  # without a log file, messages are dropped, not printed


@contextmanager
def kept(folder: Path, step: str, settings: dict) -> Iterator[None]:
    """Write what is logged in the block to a new file in `folder`, with the command, settings, duration and memory."""
    folder.mkdir(parents=True, exist_ok=True)
    started = time.perf_counter()
    path = folder / f"{time.strftime('%Y%m%d-%H%M%S')}-{step}.log"
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logger.addHandler(handler)
    try:
        logger.info("command: %s", shlex.join(sys.argv))
        logger.info("Python %s on %s (%s)", platform.python_version(), platform.node(), platform.platform())
        logger.info("with %s", ", ".join(f"{package} {version(package)}" for package in PACKAGES))
        logger.info("settings: %s", json.dumps(settings, ensure_ascii=False))
        yield
        logger.info("%s is done", step)
    except BaseException as error:
        logger.error("%s broke off: %s", step, str(error) or type(error).__name__, exc_info=True)
        raise
    finally:
        megabytes = peak_memory() >> 20
        logger.info("%.1f s, at most %d MB of memory in this process", time.perf_counter() - started, megabytes)
        logger.removeHandler(handler)
        handler.close()


def peak_memory() -> int:
    """The most memory that this process has held so far, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * KILOBYTE


SAME, OTHER = "this run's", "another run's"
_FREE = ("home", "jobs", "compute", "variants")  # settings that decide no result
_COST = re.compile(r"INFO (\d+\.\d) s, at most (\d+) MB of memory in this process\s*$")
_SETTINGS = re.compile(r"^\S+ \S+ INFO settings: (.*)$", re.MULTILINE)


def read_costs(folder: Path, settings: dict) -> pd.DataFrame:
    """Time and memory of a run's steps, from the logs in `folder`: columns step, seconds, megabytes, settings.

    All attempts of a step with these settings are added up, and its settings are SAME. A step without such an attempt
    is described by its last log, and its settings are OTHER. Incomplete logs are ignored. Steps are in the order of
    their first log; no rows without logs.
    """
    logs = [log for path in sorted(folder.glob("*.log")) if (log := _read(path))]
    rows = []
    for step in dict.fromkeys(log["step"] for log in logs):
        of_step = [log for log in logs if log["step"] == step]
        same = [log for log in of_step if log["settings"] == _deciding(settings)]
        counted = same or of_step[-1:]
        rows.append(
            {
                "step": step,
                "seconds": sum(log["seconds"] for log in counted),
                "megabytes": max(log["megabytes"] for log in counted),
                "settings": SAME if same else OTHER,
            }
        )
    return pd.DataFrame(rows, columns=["step", "seconds", "megabytes", "settings"])


def _read(path: Path) -> dict | None:
    """One log: its step, settings, seconds and megabytes; None if it lacks one of them."""
    text = path.read_text(encoding="utf-8", errors="replace")
    cost, settings = _COST.search(text.rstrip().rpartition("\n")[2]), _SETTINGS.search(text)
    step = path.stem.partition("-")[2].partition("-")[2]  # after date and time
    if not (cost and settings and step):
        return None
    try:
        cache_key = _deciding(json.loads(settings[1]))
    except (ValueError, AttributeError):
        return None
    return {"step": step, "settings": cache_key, "seconds": float(cost[1]), "megabytes": int(cost[2])}


def _deciding(settings: dict) -> dict:
    return {key: value for key, value in settings.items() if key not in _FREE}
