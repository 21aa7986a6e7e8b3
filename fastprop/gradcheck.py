"""The check of the four equations: gradients against central differences of the cost.

dJ/dθ ≈ (J(θ + ε) − J(θ − ε))/2ε, whose error falls with ε². The reference computes the differences in float64, from
the same parameters. Where J has a kink within ε, as at Z = 0 of a relu, it has no derivative there: the differences to
the left and to the right disagree, and the parameter is left out.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from . import reference
from .checks import number, whole
from .core.model import Model
from .kernels.plan import FLOAT32, FLOAT64

KINK: dict[np.dtype, float] = {FLOAT32: 1e-4, FLOAT64: 1e-8}  # relative difference of the one-sided differences
# Gradients in float32 are right to about 1e-5. In float64, smooth costs of up to 1,000 rows never differ by 1e-8.
CLOSER = 10  # a second look at one-sided differences is this much closer: a curvature shrinks with ε, a kink does not
ROUNDING = 4 * np.finfo(np.float64).eps  # of the difference of two costs, relative to the cost
SMALL = 1000  # gradients are compared with at least the largest of the same W or b over this


class GradientCheck(float):
    """The result of :func:`gradient_check`: the largest relative error, which compares and formats as a float.

    Attributes
    ----------
    worst : str or None
        The parameter with the largest error, such as ``"W2[0, 3]"`` or ``"b1[5]"``; None if all were left out.
    numerical, analytic : float
        Its central difference, and its gradient by the four equations.
    skipped : tuple of str
        The parameters that were left out, because the cost has a kink within ε.
    """

    worst: str | None
    numerical: float
    analytic: float
    skipped: tuple[str, ...]

    def __new__(
        cls, error: float, worst: str | None, numerical: float, analytic: float, skipped: tuple[str, ...]
    ) -> "GradientCheck":
        self = super().__new__(cls, error)
        self.worst, self.numerical, self.analytic, self.skipped = worst, numerical, analytic, skipped
        return self

    def __getnewargs__(self) -> tuple[Any, ...]:
        return float(self), self.worst, self.numerical, self.analytic, self.skipped

    def __repr__(self) -> str:
        return (
            f"GradientCheck({float(self):.3g}, worst={self.worst!r}, numerical={self.numerical:.6g}, "
            f"analytic={self.analytic:.6g}, skipped={len(self.skipped)})"
        )


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
    weights: np.ndarray | None = None,
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
    weights : ndarray of shape (m,) or (n_L, m), optional
        See :func:`fastprop.reference.general_cost`.

    Returns
    -------
    dict
        {"dW1": …, "db1": …}
    """
    differences, _ = _differences(parameters, X, Y, output, hidden, loss, l2, epsilon, indices, weights, KINK[FLOAT32])
    return {name: central for name, (central, _) in differences.items()}


def _differences(
    parameters: reference.Arrays, X: np.ndarray, Y: np.ndarray, output: Any, hidden: Any, loss: Any, l2: float,
    epsilon: float, indices: dict[str, np.ndarray] | None, weights: np.ndarray | None, kink: float,
) -> tuple[dict[str, tuple[np.ndarray, np.ndarray]], float]:  # fmt: skip
    """Return the central differences with the jumps of the slope at kinks (0 without one), and their rounding error."""
    loss = reference.PAIRS[output] if loss is None else loss
    parameters = {name: np.array(value, dtype=np.float64) for name, value in parameters.items()}

    def cost() -> float:
        cache = reference.forward_propagation(X, parameters, output, hidden)
        return reference.general_cost(cache, Y, output, loss, weights) + reference.penalty(parameters, l2)

    here, found = cost(), {}
    for name, theta in parameters.items():
        flat = theta.reshape(-1)
        central, kinks = np.full(theta.size, np.nan), np.zeros(theta.size)
        for i in range(theta.size) if indices is None else indices[name]:
            central[i], kinks[i] = _difference(cost, here, flat, i, epsilon, kink)
        found["d" + name] = central.reshape(theta.shape), kinks.reshape(theta.shape)
    return found, ROUNDING * abs(here) / epsilon


def _difference(
    cost: Callable[[], float], here: float, flat: np.ndarray, i: int, epsilon: float, kink: float
) -> tuple[float, float]:
    """Return the central difference by one parameter, and the jump of the slope at a kink that it crosses, or 0.

    One-sided differences of a smooth cost disagree by ε·J″, and by a tenth of it at ε/10. At a kink in θ itself they
    disagree as much at ε/10 as at ε; at a kink elsewhere within ε by more or less than a tenth.
    """
    value = flat[i]

    def sides(step: float) -> tuple[float, float]:
        flat[i] = value + step
        above = cost()
        flat[i] = value - step
        below = cost()
        flat[i] = value
        return (above - here) / step, (here - below) / step

    right, left = sides(epsilon)
    central, apart = (right + left) / 2, right - left
    if abs(apart) <= kink * abs(central):
        return central, 0.0
    right, left = sides(epsilon / CLOSER)
    jump = abs(right - left - apart / CLOSER)
    return central, jump if jump > ROUNDING * abs(here) * CLOSER / epsilon else 0.0


def gradient_check(model: Model, X: Any, Y: Any, *, epsilon: float = 1e-6, most: int | None = None) -> GradientCheck:
    """Compare a network's gradients with central differences, and return the largest relative error.

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
    GradientCheck
        A float: ``max |dθ − dθ_numerical| / max(|dθ|, |dθ_numerical|, s)``, s being the largest gradient of the same W
        or b over 1000, so that a gradient that is small beside its neighbours is compared with them. The rounding error
        of the central differences, 4·2⁻⁵²·J/ε, is not counted. If the gradients are right, the result is about 1e-5 in
        float32, and mostly 0 in float64; it is NaN if a gradient is NaN, or if all parameters are left out.

        Its attributes name the worst parameter, and those that are left out because the cost has no derivative there,
        for example because ±ε moves Z of a relu through 0.

    Raises
    ------
    ValueError, TypeError
        If X, Y, epsilon or most do not fit.

    Examples
    --------
    >>> X = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
    >>> found = gradient_check(Network((2, 16, 1), output="sigmoid", rng=0), X, X[:, 0] ^ X[:, 1])
    >>> found < 1e-3, len(found.skipped)  # b = 0, and with the first row each Z = b is at the kink of its relu
    (True, 16)
    """
    epsilon = number("epsilon", epsilon, above=0)
    most = None if most is None else whole("most", most)
    X, Y = replace(model.architecture, check_finite=True).check_batch(X, Y)
    weights = model.architecture.check_weights(None, Y)
    model.forward(X)
    model.backward(Y)
    dense = Y if Y.ndim == 2 else np.eye(model.sizes[-1])[Y]
    gradients = {}
    for l, layer in enumerate(model.layers, start=1):
        gradients[f"W{l}"] = layer.dW
        gradients[f"b{l}"] = layer.db[:, None]
    rng = np.random.default_rng(0)
    indices = {
        name: np.sort(rng.choice(g.size, min(g.size, most or g.size), replace=False)) for name, g in gradients.items()
    }
    numerical, rounding = _differences(
        model.to_dict(), X.T.astype(np.float64) * model.scale, dense.T.astype(np.float64), model.output, model.hidden,
        model.architecture.loss.label, model.l2, epsilon, indices, None if weights is None else weights.values.T,
        KINK[model.dtype],
    )  # fmt: skip
    return _compared(gradients, numerical, indices, rounding, KINK[model.dtype])


def _compared(
    gradients: reference.Arrays,
    numerical: dict[str, tuple[np.ndarray, np.ndarray]],
    indices: dict[str, np.ndarray],
    rounding: float,
    kink: float,
) -> GradientCheck:
    """Return the worst of the gradients at some flat indices; NaN is worse than any number."""
    checked: list[tuple[float, str, float, float]] = []
    skipped: list[str] = []
    for name, gradient in gradients.items():
        at = indices[name]
        a = gradient.reshape(-1)[at].astype(np.float64)
        n, jumps = (values.reshape(-1)[at] for values in numerical["d" + name])
        least = np.abs(gradient[np.isfinite(gradient)]).max(initial=0.0) / SMALL
        at_kink = np.isfinite(a) & (jumps > kink * np.maximum(np.abs(n), least))
        scale = np.maximum(np.maximum(np.abs(a), np.abs(n)), least)
        errors = np.maximum(np.abs(a - n) - rounding, 0) / np.where(scale == 0, 1, scale)
        places = [_named(name, i, gradient.shape) for i in at.tolist()]
        found = zip(errors.tolist(), places, n.tolist(), a.tolist(), strict=True)
        checked += [each for each, left_out in zip(found, at_kink) if not left_out]
        skipped += [place for place, left_out in zip(places, at_kink) if left_out]
    if not checked:
        return GradientCheck(np.nan, None, np.nan, np.nan, tuple(skipped))
    worst = int(np.argmax([error for error, *_ in checked]))  # the first NaN, if there is one
    return GradientCheck(*checked[worst], tuple(skipped))


def _named(name: str, i: int, shape: tuple[int, ...]) -> str:
    """Return the name of a parameter at a flat index, such as ``"W2[0, 3]"`` or ``"b1[5]"``."""
    row, column = divmod(i, shape[1])
    return f"{name}[{row}, {column}]" if name.startswith("W") else f"{name}[{row}]"
