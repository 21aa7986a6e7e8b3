"""The check of the four equations: gradients against central differences of the cost.

dJ/dθ ≈ (J(θ + ε) − J(θ − ε))/2ε, whose error falls with ε². The reference computes the differences in float64, from
the same float32 parameters.
"""

from dataclasses import replace
from typing import Any

import numpy as np

from . import reference
from .checks import number, whole
from .core.model import Model


def numerical_gradients(
    parameters: reference.Arrays,
    X: np.ndarray,
    Y: np.ndarray,
    *,
    output: Any,
    hidden: Any,
    loss: Any = None,
    l2: float = 0.0,
    epsilon: float = 1e-6,
    indices: dict[str, np.ndarray] | None = None,
) -> reference.Arrays:
    """Compute central differences of the cost by each parameter.

    Parameters
    ----------
    parameters : dict
        The derivation's, in float64.
    X, Y : ndarray of shape (n_0, m), (n_L, m)
    output, hidden, loss
        See :func:`fastprop.reference.forward_propagation` and `general_cost`; None takes the loss that is paired with
        the output.
    l2 : float
        The factor of the penalty.
    epsilon : float
        The change of each parameter.
    indices : dict of ndarray, optional
        The flat indices to compute, by name of the parameter; None computes all. Elsewhere the result is NaN.

    Returns
    -------
    dict
        {"dW1": …, "db1": …}
    """
    loss = reference.PAIRS[output] if loss is None else loss
    parameters = {name: np.array(value, dtype=np.float64) for name, value in parameters.items()}
    differences = {}
    for name, theta in parameters.items():
        flat, result = theta.reshape(-1), np.full(theta.size, np.nan)
        for i in range(theta.size) if indices is None else indices[name]:
            value, costs = flat[i], []
            for changed in (value + epsilon, value - epsilon):
                flat[i] = changed
                cache = reference.forward_propagation(X, parameters, output, hidden)
                costs.append(reference.general_cost(cache, Y, output, loss) + reference.penalty(parameters, l2))
            flat[i] = value
            result[i] = (costs[0] - costs[1]) / (2 * epsilon)
        differences["d" + name] = result.reshape(theta.shape)
    return differences


def gradient_check(model: Model, X: Any, Y: Any, *, epsilon: float = 1e-6, most: int | None = None) -> float:
    """Return the largest relative error between a network's gradients and central differences.

    Parameters
    ----------
    model : Network
    X, Y
        See `Network.forward` and `Network.backward`, which this calls.
    epsilon : float
        The change of each parameter.
    most : int, optional
        The largest number of parameters of each W and b to check, drawn at random; None checks all of them.

    Returns
    -------
    float
        max |dθ − dθ_numerical| / max(|dθ|, |dθ_numerical|, s), s being the largest gradient of the same W or b over
        1000, so that a gradient that is small beside its neighbours is compared with them. About 1e-5 in float32 if
        the gradients are right. A relu unit whose Z lies within ε of 0 has no derivative there, and may stand out.

    Raises
    ------
    ValueError, TypeError
        If X, Y, epsilon or most do not fit.
    """
    epsilon = number("epsilon", epsilon, above=0)
    most = None if most is None else whole("most", most)
    X, Y = replace(model.architecture, check_finite=True).check_batch(X, Y)
    model.forward(X)
    model.backward(Y)
    dense = Y if Y.ndim == 2 else np.eye(model.sizes[-1])[Y]
    gradients = {}
    for l, layer in enumerate(model.layers, start=1):
        gradients[f"dW{l}"] = layer.dW
        gradients[f"db{l}"] = layer.db[:, None]
    rng = np.random.default_rng(0)
    indices = {
        name[1:]: rng.choice(g.size, min(g.size, most or g.size), replace=False) for name, g in gradients.items()
    }
    numerical = numerical_gradients(
        model.to_dict(),
        X.T.astype(np.float64) * model.scale,
        dense.T.astype(np.float64),
        output=model.output,
        hidden=model.hidden,
        loss=model.architecture.loss.label,
        l2=model.l2,
        epsilon=epsilon,
        indices=indices,
    )
    return max(_relative_error(gradient, numerical[name], indices[name[1:]]) for name, gradient in gradients.items())


def _relative_error(gradient: np.ndarray, numerical: np.ndarray, indices: np.ndarray) -> float:
    """Return the largest relative error of one array's gradients at some flat indices."""
    a, n = gradient.reshape(-1)[indices].astype(np.float64), numerical.reshape(-1)[indices]
    scale = np.maximum(np.maximum(np.abs(a), np.abs(n)), np.abs(gradient).max() / 1000)
    return float(np.max(np.abs(a - n) / np.where(scale == 0, 1, scale)))
