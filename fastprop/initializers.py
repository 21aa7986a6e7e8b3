"""Initial weights; biases start at zero.

An initializer is a callable (n, n_prev, rng) → W of shape (n, n_prev): ``"he"``, ``"he_uniform"``, ``"glorot"``,
``"glorot_normal"``, ``"lecun"``, ``"orthogonal"``, ``"zeros"``, or a custom one. Each activation names its default
(:attr:`fastprop.Activation.init`): He for relu and its relatives, LeCun for selu, Glorot for all others.
"""

from collections.abc import Callable

import numpy as np

Initializer = Callable[[int, int, np.random.Generator], np.ndarray]


def he(n: int, n_prev: int, rng: np.random.Generator) -> np.ndarray:
    """Normal, variance 2/n_prev: preserves the variance of Z through relu layers (He et al. 2015)."""
    return rng.standard_normal((n, n_prev)) * np.sqrt(2 / n_prev)


def glorot(n: int, n_prev: int, rng: np.random.Generator) -> np.ndarray:
    """Uniform on ±√(6/(n_prev + n)): variance 2/(n_prev + n) (Glorot and Bengio 2010)."""
    limit = np.sqrt(6 / (n_prev + n))
    return rng.uniform(-limit, limit, (n, n_prev))


def he_uniform(n: int, n_prev: int, rng: np.random.Generator) -> np.ndarray:
    """Uniform on ±√(6/n_prev): the variance of `he`."""
    limit = np.sqrt(6 / n_prev)
    return rng.uniform(-limit, limit, (n, n_prev))


def glorot_normal(n: int, n_prev: int, rng: np.random.Generator) -> np.ndarray:
    """Normal, variance 2/(n_prev + n): that of `glorot`."""
    return rng.standard_normal((n, n_prev)) * np.sqrt(2 / (n_prev + n))


def lecun(n: int, n_prev: int, rng: np.random.Generator) -> np.ndarray:
    """Normal, variance 1/n_prev (LeCun et al. 1998); the initializer that selu is designed for."""
    return rng.standard_normal((n, n_prev)) * np.sqrt(1 / n_prev)


def orthogonal(n: int, n_prev: int, rng: np.random.Generator) -> np.ndarray:
    """Orthonormal rows, or columns if W has fewer columns, uniformly distributed (Saxe et al. 2014)."""
    Q, R = np.linalg.qr(rng.standard_normal((max(n, n_prev), min(n, n_prev))))
    Q *= np.sign(np.diag(R))  # otherwise Q would depend on the signs that the factorization happens to choose
    return Q if n >= n_prev else Q.T


def zeros(n: int, n_prev: int, rng: np.random.Generator) -> np.ndarray:
    """All zeros, for a network whose parameters are set afterwards."""
    return np.zeros((n, n_prev))


INITIALIZERS: dict[str, Initializer] = {
    function.__name__: function for function in (he, he_uniform, glorot, glorot_normal, lecun, orthogonal, zeros)
}
