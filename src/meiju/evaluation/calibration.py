"""Temperature scaling (Guo et al. 2017, arXiv 1706.04599, section 4.2)."""

import numpy as np


def fit_temperature(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """The temperature [0.1, 10] with the least log-loss on probabilities [N, K] of held-out rows with labels [N]."""
    from scipy.optimize import minimize_scalar

    def loss(log_temperature: float) -> float:
        calibrated = calibrate(probabilities, np.exp(log_temperature))
        return -np.log(np.maximum(calibrated[np.arange(len(labels)), labels], 1e-12)).mean()

    return float(np.exp(minimize_scalar(loss, bounds=(np.log(0.1), np.log(10)), method="bounded").x))


def calibrate(probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """Probabilities [N, K] with their logarithms divided by the temperature."""
    from scipy.special import softmax

    return softmax(np.log(np.maximum(probabilities, 1e-12)) / temperature, axis=1)
