"""The log of a step, work/<run>/log/<time>-<step>.log: command, settings, versions, duration and memory.

costs.jsonl beside the logs has a line for each of them with the step's settings, duration and memory.
"""

import json
import logging
import platform
import resource
import shlex
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import version
from pathlib import Path

import pandas as pd

from meiju.utils import files

PACKAGES = ("meiju", "torch", "transformers", "scikit-learn", "numpy", "pandas", "joblib", "av", "python-crfsuite")
COSTS = "costs.jsonl"
FREE = ("home", "jobs", "compute", "variants")  # settings that decide no result
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
        seconds, megabytes = round(time.perf_counter() - started, 1), peak_memory() >> 20
        logger.info("%.1f s, at most %d MB of memory in this process", seconds, megabytes)
        cost = {"step": step, "seconds": seconds, "megabytes": megabytes, "settings": _deciding(settings)}
        with suppress(OSError), (folder / COSTS).open("a", encoding="utf-8") as file:  # a full disk is told elsewhere
            file.write(json.dumps(cost) + "\n")
        logger.removeHandler(handler)
        handler.close()


def peak_memory() -> int:
    """The most memory that this process has held so far, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * KILOBYTE


SAME, OTHER = "this run's", "another run's"


def read_costs(folder: Path, settings: dict) -> pd.DataFrame:
    """Time and memory of a run's steps, as `kept` wrote them to `folder`: columns step, seconds, megabytes, settings.

    All attempts of a step with these settings are added up, and its settings are SAME. A step without such an attempt
    is described by its last one, and its settings are OTHER. Steps are in the order of their first attempt.
    """
    attempts, rows = [], []
    if (folder / COSTS).exists():
        with files.reading(folder / COSTS):
            attempts = [json.loads(line) for line in (folder / COSTS).read_text(encoding="utf-8").splitlines()]
    for step in dict.fromkeys(attempt["step"] for attempt in attempts):
        of_step = [attempt for attempt in attempts if attempt["step"] == step]
        same = [attempt for attempt in of_step if attempt["settings"] == _deciding(settings)]
        counted = same or of_step[-1:]
        seconds, megabytes = ([attempt[key] for attempt in counted] for key in ("seconds", "megabytes"))
        rows.append([step, sum(seconds), max(megabytes), SAME if same else OTHER])
    return pd.DataFrame(rows, columns=["step", "seconds", "megabytes", "settings"])


def _deciding(settings: dict) -> dict:
    """The settings that may decide a result, as JSON gives them back."""
    return json.loads(json.dumps({key: value for key, value in settings.items() if key not in FREE}))
