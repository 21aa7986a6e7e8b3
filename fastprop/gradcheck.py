"""The check of the four equations: gradients against the nudge of every parameter.

dJ/dθ ≈ (J(θ + ε) − J(θ − ε))/2ε, central differences, whose error falls with ε². They are taken in float64 by the
reference, from the same float32 parameters.
"""

from typing import TYPE_CHECKING, Any

import numpy as np

from . import inputs, reference

if TYPE_CHECKING:
    from .network import Network


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
    """Central differences of the cost by each parameter.

    Parameters
    ----------
    parameters : dict
        The source's, float64.
    X, Y : ndarray of shape (n_0, m), (n_L, m)
    output, hidden, loss
        As of :func:`fastprop.reference.forward_propagation` and `general_cost`; None: the loss paired with the output.
    l2 : float
        Of the penalty.
    epsilon : float
        The nudge.
    indices : dict of ndarray, optional
        Flat indices to look at, by name of the parameter; all if None. Elsewhere the result is NaN.

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
            kept, costs = flat[i], []
            for nudged in (kept + epsilon, kept - epsilon):
                flat[i] = nudged
                cache = reference.forward_propagation(X, parameters, output, hidden)
                costs.append(reference.general_cost(cache, Y, output, loss) + reference.penalty(parameters, l2))
            flat[i] = kept
            result[i] = (costs[0] - costs[1]) / (2 * epsilon)
        differences["d" + name] = result.reshape(theta.shape)
    return differences


def gradient_check(network: "Network", X: Any, Y: Any, *, epsilon: float = 1e-6, most: int | None = None) -> float:
    """Largest relative error between a network's gradients and central differences.

    Parameters
    ----------
    X, Y
        As of `Network.forward` and `Network.backward`, which this calls.
    epsilon : float
        The nudge.
    most : int, optional
        Look at no more than so many parameters of each W and b, drawn at random; None looks at all of them.

    Returns
    -------
    float
        max |dθ − dθ_numerical| / max(|dθ|, |dθ_numerical|, s), s being the largest gradient of the same W or b over
        1000: a gradient that small beside its neighbours is compared with them. About 1e-5 in float32 where all is
        well. A unit of relu whose Z lies within ε of 0 has no derivative there, and may show.

    Raises
    ------
    ValueError, TypeError
        If X, Y, epsilon or most do not fit.
    """
    epsilon = inputs.number("epsilon", epsilon, above=0)
    most = None if most is None else inputs.whole("most", most)
    X = inputs.features(X, network.sizes[0])
    targets = inputs.targets(Y, len(X), *network._ends[1:3])
    network.forward(X)
    network.backward(targets)
    dense = targets if targets.ndim == 2 else np.eye(network.sizes[-1])[targets]
    gradients = {}
    for l, layer in enumerate(network.layers, start=1):
        gradients[f"dW{l}"], gradients[f"db{l}"] = layer.dW, layer.db[:, None]
    rng = np.random.default_rng(0)
    indices = {
        name[1:]: rng.choice(g.size, min(g.size, most or g.size), replace=False) for name, g in gradients.items()
    }
    numerical = numerical_gradients(
        network.to_dict(), X.T.astype(np.float64) * network.scale, dense.T.astype(np.float64), output=network.output,
        hidden=network.hidden, loss=network._loss.label, l2=network.l2, epsilon=epsilon, indices=indices,
    )  # fmt: skip
    worst = 0.0
    for name, gradient in gradients.items():
        at = indices[name[1:]]
        a, n = gradient.reshape(-1)[at].astype(np.float64), numerical[name].reshape(-1)[at]
        scale = np.maximum(np.maximum(np.abs(a), np.abs(n)), np.abs(gradient).max() / 1000)
        worst = max(worst, float(np.max(np.abs(a - n) / np.where(scale == 0, 1, scale))))
    return worst
