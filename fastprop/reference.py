"""The derivation in plain NumPy, line by line, in any float dtype: the oracle of every test.

Samples are columns, as in the source: X is (n_0, m), W⁽ˡ⁾ (n_l, n_{l-1}), b⁽ˡ⁾ (n_l, 1). Parameters, cache and
gradients are dictionaries: ``parameters["W1"]``, ``cache["A0"]``, ``grads["dZ2"]``.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

Arrays = dict[str, np.ndarray]


def relu(Z: np.ndarray, deriv: bool = False) -> np.ndarray:
    """max(Z, 0), or with `deriv` its derivative, which at 0 is taken to be 0."""
    return (Z > 0).astype(Z.dtype) if deriv else np.maximum(Z, 0)


def sigmoid(Z: np.ndarray, deriv: bool = False) -> np.ndarray:
    """1/(1 + e⁻ᶻ), or its derivative. Written with e^(−|Z|), which cannot overflow."""
    small = np.exp(-np.abs(Z))
    A = np.where(Z < 0, small, 1) / (1 + small)
    return A * (1 - A) if deriv else A


def tanh(Z: np.ndarray, deriv: bool = False) -> np.ndarray:
    """tanh Z, or its derivative."""
    A = np.tanh(Z)
    return 1 - A * A if deriv else A


def identity(Z: np.ndarray, deriv: bool = False) -> np.ndarray:
    """Z, or its derivative."""
    return np.ones_like(Z) if deriv else Z


def softmax(Z: np.ndarray) -> np.ndarray:
    """e^Z / Σ e^Z over each column, the maximum subtracted first."""
    E = np.exp(Z - Z.max(axis=0, keepdims=True))
    return E / E.sum(axis=0, keepdims=True)


HIDDEN = {"relu": relu, "sigmoid": sigmoid, "tanh": tanh, "identity": identity}
OUTPUT = {"identity": identity, "sigmoid": sigmoid, "softmax": softmax}


def _hidden(hidden: str | Sequence[str], L: int) -> list[Any]:
    names = [hidden] * (L - 1) if isinstance(hidden, str) else list(hidden)
    return [HIDDEN[name] for name in names]


def initialise_parameters(sizes: Sequence[int], rng: Any = None) -> Arrays:
    """W⁽ˡ⁾ normal with variance 2/n_{l-1} (He et al. 2015), b⁽ˡ⁾ zero; float64."""
    rng = np.random.default_rng(rng)
    parameters = {}
    for l in range(1, len(sizes)):
        parameters["W" + str(l)] = rng.standard_normal((sizes[l], sizes[l - 1])) * np.sqrt(2 / sizes[l - 1])
        parameters["b" + str(l)] = np.zeros((sizes[l], 1))
    return parameters


def forward_propagation(X: np.ndarray, parameters: Mapping[str, np.ndarray], output: str = "softmax",
                        hidden: str | Sequence[str] = "relu") -> Arrays:  # fmt: skip
    """The cache {"A0": X, "Z1", "A1", …, "ZL", "AL"}: Z = W·A_prev + b, A = g(Z)."""
    L = len(parameters) // 2
    g = [*_hidden(hidden, L), OUTPUT[output]]
    cache = {"A0": X}
    for l in range(1, L + 1):
        cache["Z" + str(l)] = np.dot(parameters["W" + str(l)], cache["A" + str(l - 1)]) + parameters["b" + str(l)]
        cache["A" + str(l)] = g[l - 1](cache["Z" + str(l)])
    return cache


def compute_cost(cache: Mapping[str, np.ndarray], Y: np.ndarray, output: str = "softmax") -> float:
    """The mean over the batch of the loss that is paired with the output, from Z, so that it never overflows.

    identity: ½ Σ (ŷ − y)². sigmoid: −Σ y log ŷ + (1 − y) log(1 − ŷ). softmax: −Σ y log ŷ.
    """
    L = (len(cache) - 1) // 2
    Z, m = cache["Z" + str(L)], Y.shape[1]
    if output == "identity":
        losses = (Z - Y) ** 2 / 2
    elif output == "sigmoid":
        losses = np.maximum(Z, 0) - Z * Y + np.log1p(np.exp(-np.abs(Z)))
    else:
        shifted = Z - Z.max(axis=0, keepdims=True)
        losses = Y * (np.log(np.exp(shifted).sum(axis=0, keepdims=True)) - shifted)
    return float(np.sum(losses) / m)


def backpropagation(cache: Mapping[str, np.ndarray], Y: np.ndarray, parameters: Mapping[str, np.ndarray],
                    hidden: str | Sequence[str] = "relu") -> Arrays:  # fmt: skip
    """The four equations: {"dZL", "dWL", "dbL", "dA(L-1)", "dZ(L-1)", …, "dW1", "db1"}."""
    L = len(parameters) // 2
    m = Y.shape[1]
    g = _hidden(hidden, L)
    grads = {}
    grads["dZ" + str(L)] = cache["A" + str(L)] - Y
    grads["dW" + str(L)] = (1 / m) * np.dot(grads["dZ" + str(L)], cache["A" + str(L - 1)].T)
    grads["db" + str(L)] = (1 / m) * np.sum(grads["dZ" + str(L)], axis=1, keepdims=True)
    for l in range(L - 1, 0, -1):
        grads["dA" + str(l)] = np.dot(parameters["W" + str(l + 1)].T, grads["dZ" + str(l + 1)])
        grads["dZ" + str(l)] = np.multiply(grads["dA" + str(l)], g[l - 1](cache["Z" + str(l)], deriv=True))
        grads["dW" + str(l)] = (1 / m) * np.dot(grads["dZ" + str(l)], cache["A" + str(l - 1)].T)
        grads["db" + str(l)] = (1 / m) * np.sum(grads["dZ" + str(l)], axis=1, keepdims=True)
    return grads


def update_parameters(parameters: Mapping[str, np.ndarray], grads: Mapping[str, np.ndarray],
                      learning_rate: float) -> Arrays:  # fmt: skip
    """Gradient descent: W − learning_rate·dW, b − learning_rate·db, as new arrays."""
    return {name: theta - learning_rate * grads["d" + name] for name, theta in parameters.items()}
