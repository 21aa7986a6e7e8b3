"""The same training in plain NumPy: the steps of `Network.fit`, with the functions of fastprop.reference."""

from collections.abc import Callable, Sequence

import numpy as np

from fastprop import reference
from fastprop.reference import Arrays

Update = Callable[[Arrays, Arrays], Arrays]


def sgd(lr: float) -> Update:
    """Return the update θ ← θ − lr·dθ."""
    return lambda parameters, grads: reference.update_parameters(parameters, grads, lr)


def momentum(lr: float, mu: float = 0.9) -> Update:
    """v ← mu·v + dθ;  θ ← θ − lr·v."""
    v: Arrays = {}

    def update(parameters: Arrays, grads: Arrays) -> Arrays:
        for name in parameters:
            v[name] = mu * v.get(name, 0) + grads["d" + name]
        return {name: theta - lr * v[name] for name, theta in parameters.items()}

    return update


def adam(lr: float, beta_1: float = 0.9, beta_2: float = 0.999, epsilon: float = 1e-8) -> Update:
    """m ← β₁m + (1 − β₁)dθ;  v ← β₂v + (1 − β₂)dθ²;  θ ← θ − lr·m̂/(√v̂ + ε)."""
    m: Arrays = {}
    v: Arrays = {}
    t = 0

    def update(parameters: Arrays, grads: Arrays) -> Arrays:
        nonlocal t
        t += 1
        updated = {}
        for name, theta in parameters.items():
            g = grads["d" + name]
            m[name] = beta_1 * m.get(name, 0) + (1 - beta_1) * g
            v[name] = beta_2 * v.get(name, 0) + (1 - beta_2) * g * g
            root = np.sqrt(v[name] / (1 - beta_2**t)) + epsilon
            updated[name] = theta - lr / (1 - beta_1**t) * m[name] / root
        return updated

    return update


def fit(parameters: Arrays, X: np.ndarray, Y: np.ndarray, *, output: str, epochs: int, batch_size: int,
        update: Update, rng: np.random.Generator | None = None,
        hidden: str | Sequence[str] = "relu") -> tuple[Arrays, list[float]]:  # fmt: skip
    """Train for some epochs.

    Parameters
    ----------
    parameters : dict
        {"W1": (n_1, n_0), "b1": (n_1, 1), …}. Everything is computed in their dtype and that of X and Y.
    X, Y : ndarray of shape (m, n_0), (m, n_L)
        Samples are rows; classes are one-hot.
    output, epochs, batch_size, hidden
        See :class:`fastprop.Network` and its `fit`.
    update : callable
        (parameters, gradients) → parameters.
    rng : Generator or None
        Draws the shuffles; None keeps the rows in their order.

    Returns
    -------
    parameters : dict
    costs : list of float
        The mean cost of each epoch.
    """
    costs = []
    for _ in range(epochs):
        order = np.arange(len(X)) if rng is None else rng.permutation(len(X))
        cost = 0.0
        for rows in (order[i : i + batch_size] for i in range(0, len(X), batch_size)):
            X_batch, Y_batch = X[rows].T, Y[rows].T
            cache = reference.forward_propagation(X_batch, parameters, output, hidden)
            cost += reference.compute_cost(cache, Y_batch, output) * len(rows)
            parameters = update(parameters, reference.backpropagation(cache, Y_batch, parameters, hidden))
        costs.append(cost / len(X))
    return parameters, costs
