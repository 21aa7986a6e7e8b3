"""How weights start; biases start at zero.

An initialiser is a callable (n, n_prev, rng) → W of shape (n, n_prev).
"""

from collections.abc import Callable

import numpy as np

Initializer = Callable[[int, int, np.random.Generator], np.ndarray]


def he(n: int, n_prev: int, rng: np.random.Generator) -> np.ndarray:
    """Normal, variance 2/n_prev: keeps the variance of Z through relu layers (He et al. 2015)."""
    return rng.standard_normal((n, n_prev)) * np.sqrt(2 / n_prev)


def glorot(n: int, n_prev: int, rng: np.random.Generator) -> np.ndarray:
    """Uniform on ±√(6/(n_prev + n)): variance 2/(n_prev + n) (Glorot and Bengio 2010)."""
    limit = np.sqrt(6 / (n_prev + n))
    return rng.uniform(-limit, limit, (n, n_prev))


def zeros(n: int, n_prev: int, rng: np.random.Generator) -> np.ndarray:
    """All zero: for a network whose parameters are set afterwards."""
    return np.zeros((n, n_prev))


INITIALIZERS: dict[str, Initializer] = {"he": he, "glorot": glorot, "zeros": zeros}


def default_for(activation: str) -> Initializer:
    """He for relu, Glorot for all others."""
    return he if activation == "relu" else glorot
