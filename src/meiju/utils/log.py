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
COST = re.compile(r"([\d.]+) s, at most (\d+) MB of memory in this process$")
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
        seconds = time.perf_counter() - started
        logger.info("%.1f s, at most %d MB of memory in this process", seconds, peak_memory() >> 20)
        logger.removeHandler(handler)
        handler.close()


def peak_memory() -> int:
    """The most memory that this process has held so far, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * KILOBYTE


def costs(folder: Path) -> pd.DataFrame:
    """What the last run of each step took, by the logs in a folder: columns step, seconds, MB (most memory)."""
    rows = {}
    for path in sorted(folder.glob("*.log")):  # their names begin with the time
        cost = COST.search(path.read_text(encoding="utf-8").rstrip())
        if cost:
            rows[path.stem.split("-", 2)[2]] = (float(cost[1]), int(cost[2]))
    return pd.DataFrame([(step, *cost) for step, cost in rows.items()], columns=["step", "seconds", "MB"])
