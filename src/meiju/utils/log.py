"""The log of a step, work/<run>/log/<time>-<step>.log: with what it was run, how long it took, how much memory."""

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
KILOBYTE = 1024 if sys.platform != "darwin" else 1  # what the system counts peak memory in, in bytes

logger = logging.getLogger("meiju")
logger.setLevel(logging.INFO)
logger.addHandler(logging.NullHandler())  # what is logged before a log begins goes nowhere, not to the terminal


@contextmanager
def kept(folder: Path, step: str, settings: dict) -> Iterator[None]:
    """Write what is logged meanwhile to a new file in `folder`, from what was asked for to what it cost."""
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
    """What the steps of a run cost, from the logs in `folder`: columns step, seconds, megabytes, settings.

    Attempts of one step with these settings are added up, and the settings are SAME; where there is none, the last log
    of the step stands for it, and they are OTHER. Logs that are not whole do not count. Steps in the order of their
    first log; no rows without logs.
    """
    logs = [found for path in sorted(folder.glob("*.log")) if (found := _read(path))]
    rows = []
    for step in dict.fromkeys(found["step"] for found in logs):
        of_step = [found for found in logs if found["step"] == step]
        same = [found for found in of_step if found["settings"] == _deciding(settings)]
        counted = same or of_step[-1:]
        rows.append(
            {
                "step": step,
                "seconds": sum(found["seconds"] for found in counted),
                "megabytes": max(found["megabytes"] for found in counted),
                "settings": SAME if same else OTHER,
            }
        )
    return pd.DataFrame(rows, columns=["step", "seconds", "megabytes", "settings"])


def _read(path: Path) -> dict | None:
    """One log: its step, settings, seconds and megabytes; None where it does not say them."""
    text = path.read_text(encoding="utf-8", errors="replace")
    cost, settings = _COST.search(text.rstrip().rpartition("\n")[2]), _SETTINGS.search(text)
    step = path.stem.partition("-")[2].partition("-")[2]  # after date and time
    if not (cost and settings and step):
        return None
    try:
        decided_by = _deciding(json.loads(settings[1]))
    except (ValueError, AttributeError):
        return None
    return {"step": step, "settings": decided_by, "seconds": float(cost[1]), "megabytes": int(cost[2])}


def _deciding(settings: dict) -> dict:
    return {key: value for key, value in settings.items() if key not in _FREE}
