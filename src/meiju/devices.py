"""Where networks run, and in which precision."""

import torch

from meiju.config import ConfigError


def pick_device(wanted: str) -> torch.device:
    """The device for 'cpu', 'cuda' or 'auto' (CUDA where there is one). Raises ConfigError where there is no CUDA."""
    if wanted == "cuda" and not torch.cuda.is_available():
        raise ConfigError("--device cuda: torch finds no CUDA device here; use --device auto")
    return torch.device("cuda" if wanted != "cpu" and torch.cuda.is_available() else "cpu")
