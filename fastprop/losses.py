"""Losses: the function whose mean over the batch is the cost J, built in or custom.

=======================  ==================================  ===================  ============  =====================
name                     of a sample, Σ over its outputs     ∂/∂ŷ                 pair          outputs
=======================  ==================================  ===================  ============  =====================
``mse``                  ½ (ŷ − y)²                          ŷ − y                ``identity``  any
``mae``                  ``|ŷ − y|``                         sign(ŷ − y)                        any
``huber``                ½ (ŷ − y)²; ``|ŷ − y| − ½`` beyond  ŷ − y, at most ±1                  any
``binary_crossentropy``  −y log ŷ − (1 − y) log(1 − ŷ)       (ŷ − y)/(ŷ(1 − ŷ))   ``sigmoid``   sigmoid, softmax
``cross_entropy``        −y log ŷ                            −y/ŷ                 ``softmax``   softmax
``poisson``              e^ŷ − y·ŷ: ŷ is the log of a rate   e^ŷ − y                            any
=======================  ==================================  ===================  ============  =====================

The losses of probabilities are also accepted with a custom activation, whose range is not known; any other combination
is refused, since it has no minimum (``cross_entropy`` of an identity falls to −∞ as ŷ grows).

If the loss is paired with the output, the cost is computed from Z, and dZ is Ŷ − Y: neither can overflow. Any other
combination takes the general path, dZ = ∂J/∂Ŷ ∗ g′(Z), with a softmax dZ = Ŷ ∗ (dŶ − Σ Ŷ·dŶ). On this path the
arguments of logarithms are clipped to [1e-7, 1 − 1e-7], and the derivative beyond is 0.

:func:`quantile` makes the loss of quantiles, one for each output.
"""

import math
from collections.abc import Callable, Sequence
from functools import cache, lru_cache, partial
from typing import Any, ClassVar

import numpy as np

from .activations import ACTIVATIONS, Activation
from .checks import flag, number
from .functions.function import POINTS, Function, compiled
from .functions.symbolic import Lines
from .kernels import elementwise
from .kernels.elementwise import LOSS
from .kernels.jit import Routine

PROBABILITIES = POINTS[(POINTS > 0) & (POINTS < 1)]
LEAST = 1e-7  # the least probability of which the logarithm is taken


class Loss(Function):
    """A custom loss, compiled into the kernels like the built-in ones.

    Parameters
    ----------
    name : str
    f : callable (y_hat: float, y: float) → float
        The loss of one output, which is summed over a sample's outputs. It may use the functions that that of an
        :class:`fastprop.Activation` may use.
    df : callable (y_hat: float, y: float) → float, optional
        Its derivative by y_hat. Without it, f is differentiated symbolically.
    probabilities : bool
        Whether ŷ is a probability: f is then looked at in (0, 1) only, and the outputs may be a sigmoid, a softmax or a
        custom activation.

    Attributes
    ----------
    value, slope : Expression
        f and df as they are compiled (:mod:`fastprop.functions.symbolic`).
    targets : (float, float)
        The range of the targets.
    outputs : tuple of str or None
        The built-in outputs that the loss makes sense with; None for all.
    levels : tuple of float
        The quantile of each output, for the losses that :func:`quantile` makes.

    Raises
    ------
    TypeError, ValueError
        If f or df does anything else, or if df is not the derivative of f: it is compared with central differences at
        50 points in [−4, 4], with y = 0, 0.3 and 1. If f has no derivative that can be compiled, or one that overflows.

    Examples
    --------
    >>> logcosh = Loss(
    ...     "logcosh",
    ...     lambda y_hat, y: abs(y_hat - y) + math.log1p(math.exp(-2 * abs(y_hat - y))) - math.log(2),
    ... )
    >>> Network((8, 32, 1), loss=logcosh)
    Network((8, 32, 1), hidden='relu', output='identity', loss=Loss('logcosh')): 321 parameters
    """

    arguments: tuple[str, ...] = ("y_hat", "y")
    others: ClassVar[tuple[tuple[float, ...], ...]] = ((0.0,), (0.3,), (1.0,))
    example: ClassVar[str] = "logcosh"
    built_in: ClassVar[dict[str, "Loss"]] = {}
    families: ClassVar[dict[str, Any]] = {}
    targets: tuple[float, float] = (-math.inf, math.inf)
    outputs: tuple[str, ...] | None = None
    levels: tuple[float, ...] = ()  # the third argument of f and df for each output, if they take one

    def __init__(
        self,
        name: str,
        f: Callable[[float, float], float],
        df: Callable[[float, float], float] | None = None,
        *,
        probabilities: bool = False,
    ):
        if flag("probabilities", probabilities):
            vars(self).update(points=PROBABILITIES, far=PROBABILITIES[:0], outputs=("sigmoid", "softmax"))
        super().__init__(name, f, df)

    def __reduce__(self) -> Any:
        make, arguments = super().__reduce__()
        return (partial(make, probabilities=True) if self.points is PROBABILITIES else make), arguments

    def __call__(self, *arrays: np.ndarray, deriv: bool = False) -> np.ndarray:
        """Evaluate the loss of outputs (…, n_L) and targets of the same shape, or with `deriv` its derivative."""
        more = (np.asarray(self.levels, np.asarray(arrays[0]).dtype),) if self.levels else ()
        return super().__call__(*arrays, *more, deriv=deriv)

    def level_of(self, output: str) -> str:
        """Return the code for the third argument of f, as a vector, given the code for the index of an output."""
        return f"splat(Z, {self.levels!r}[{output if len(self.levels) > 1 else 0}])"

    def accepts(self, output: Activation) -> bool:
        """Return whether the loss makes sense with an output; the range of a custom activation is not known."""
        return self.outputs is None or output.label is output or output.name in self.outputs


LOSSES = Loss.built_in

# ---- the built-in losses -----------------------------------------------------------------------------------------


def _sign(x: float) -> float:
    return 1.0 if x > 0 else -1.0 if x < 0 else x  # 0, or NaN


def _probability(y_hat: float) -> float:
    return min(max(y_hat, LEAST), 1 - LEAST)


def _huber(y_hat: float, y: float) -> float:
    size = abs(y_hat - y)
    return 0.5 * size * size if size <= 1 else size - 0.5


def _binary_crossentropy(y_hat: float, y: float) -> float:
    p = _probability(y_hat)
    return -y * math.log(p) - (1 - y) * math.log(1 - p)


def _binary_crossentropy_slope(y_hat: float, y: float) -> float:
    p = _probability(y_hat)
    return 0.0 if y_hat < LEAST or y_hat > 1 - LEAST else (p - y) / (p * (1 - p))


Loss.add("mse", lambda y_hat, y: 0.5 * (y_hat - y) ** 2, lambda y_hat, y: y_hat - y)
Loss.add("mae", lambda y_hat, y: abs(y_hat - y), lambda y_hat, y: _sign(y_hat - y))
Loss.add("huber", _huber, lambda y_hat, y: min(max(y_hat - y, -1.0), 1.0))
Loss.add(
    "binary_crossentropy",
    _binary_crossentropy,
    _binary_crossentropy_slope,
    targets=(0.0, 1.0),
    outputs=("sigmoid", "softmax"),
)
Loss.add(
    "cross_entropy",
    lambda y_hat, y: -y * math.log(max(y_hat, LEAST)),
    lambda y_hat, y: 0.0 if y_hat <= LEAST else -y / y_hat,
    outputs=("softmax",),
)
Loss.add(
    "poisson",
    lambda y_hat, y: math.exp(y_hat) - y * y_hat,
    lambda y_hat, y: math.exp(y_hat) - y,
    targets=(0.0, math.inf),
)


def quantile(quantiles: float | Sequence[float]) -> Loss:
    """Return the loss whose minima are quantiles of the targets, one for each output: the pinball loss.

    max(q·(y − ŷ), (q − 1)·(y − ŷ)) for the output of the quantile q (Koenker and Bassett 1978). The mean over many
    samples is least if a share q of the targets lies below ŷ.

    Parameters
    ----------
    quantiles : float or sequence of float
        Between 0 and 1; one for each output, or one for all outputs. Several quantiles of one number take Y of shape
        (m,) or (m, 1), which is the target of each output.

    Returns
    -------
    Loss
        Built in: files and :mod:`fastprop.reference` know it by its name, such as ``"quantile(0.1, 0.9)"``, which a
        network takes too.

    Raises
    ------
    ValueError, TypeError
        If there is none, or one is not between 0 and 1.

    Examples
    --------
    >>> Network((8, 32, 3), loss=quantile([0.1, 0.5, 0.9]))
    Network((8, 32, 3), hidden='relu', output='identity', loss='quantile(0.1, 0.5, 0.9)'): 387 parameters
    """
    given: Any = quantiles if isinstance(quantiles, Sequence | np.ndarray) and np.ndim(quantiles) == 1 else [quantiles]
    levels = tuple(number(f"quantiles[{i}]", q, above=0, below=1) for i, q in enumerate(given))
    if not levels:
        raise ValueError("quantiles is empty; give one for each output, such as [0.1, 0.5, 0.9].")
    return _quantile(levels)


@cache
def _quantile(levels: tuple[float, ...]) -> Loss:
    return Loss.member("quantile", levels, _pinball, _pinball_slope, levels=levels, arguments=("y_hat", "y", "q"))


def _pinball(y_hat: float, y: float, q: float) -> float:
    error = y_hat - y
    return (1 - q) * error if error > 0 else -q * error


def _pinball_slope(y_hat: float, y: float, q: float) -> float:
    error = y_hat - y
    return 1 - q if error > 0 else -q if error < 0 else error  # 0, or NaN


Loss.families["quantile"] = lambda *levels: quantile(levels)

# Not registered: ∂/∂ŷ of its sum is y, so that a backward pass with this loss goes back from any ∂J/∂Ŷ given as Y.
INNER_PRODUCT = Loss.unchecked("inner_product", lambda y_hat, y: y_hat * y, lambda y_hat, y: y)

# ---- the compiled cost and dZ of an output with a loss -----------------------------------------------------------

PAIRS = {"identity": "mse", "sigmoid": "binary_crossentropy", "softmax": "cross_entropy"}
PAIRED_ROUTINES = {
    "identity": elementwise.identity_mse,
    "sigmoid": elementwise.sigmoid_binary_crossentropy,
    "softmax": elementwise.softmax_cross_entropy,
}

# dZ = ∂J/∂ŷ · g′(z)
ELEMENTWISE_SOURCE = """
def NAME(dZ, Z, Y, weight, n, first):
    w, cost = load(weight, 0), splat(Z, 0.0)
    for i in range(n):
        z, y = load(Z, LANES * i), load(Y, LANES * i)
        LINES
        cost = cost + COST
        store(dZ, LANES * i, weighted_dZ(SLOPE * DERIVATIVE, w))
    return weighted_cost(cost, weight)
"""
# dZ = Ŷ ∗ (dŶ − Σ Ŷ·dŶ): the Jacobian of softmax, diag(Ŷ) − Ŷ·Ŷᵀ, times dŶ
SOFTMAX_SOURCE = """
def NAME(dZ, Z, Y, weight, n, first):
    w, cost, product = load(weight, 0), splat(Z, 0.0), splat(Z, 0.0)
    softmax_of_panel(dZ, Z, n)
    for i in range(n):
        y_hat, y = load(dZ, LANES * i), load(Y, LANES * i)
        LINES
        cost, product = cost + COST, fma(y_hat, SLOPE, product)
    for i in range(n):
        y_hat, y = load(dZ, LANES * i), load(Y, LANES * i)
        AGAIN
        store(dZ, LANES * i, weighted_dZ(y_hat * (DERIVATIVE - product), w))
    return weighted_cost(cost, weight)
"""


def is_paired(output: Activation, loss: Loss) -> bool:
    """Return whether dZ of the output layer is Ŷ − Y."""
    return isinstance(output.label, str) and loss.label == PAIRS.get(output.label)


def default_for(output: Activation) -> Loss:
    """Return the loss that is paired with an output; for an output without one the mean squared error."""
    return LOSSES[PAIRS.get(output.label, "mse") if isinstance(output.label, str) else "mse"]


@lru_cache(maxsize=256)
def loss_routine(output: Activation, loss: Loss) -> Routine:
    """Return the routine that computes the cost and dZ of one panel, for an output with a loss."""
    if is_paired(output, loss):
        return PAIRED_ROUTINES[output.name]
    name = f"{output.name}_{loss.name}"
    level = {"q": loss.level_of("first + i")} if loss.levels else {}
    if output is ACTIVATIONS["softmax"]:
        lines, again = Lines(y_hat="y_hat", y="y", **level), Lines(y_hat="y_hat", y="y", **level)
        cost, slope, derivative = lines.name_of(loss.value), lines.name_of(loss.slope), again.name_of(loss.slope)
        return compiled(
            name,
            LOSS,
            SOFTMAX_SOURCE,
            LINES=lines.lines,
            COST=cost,
            SLOPE=slope,
            AGAIN=again.lines,
            DERIVATIVE=derivative,
        )
    lines = Lines(z="z", y="y", **level)
    lines.let("y_hat", lines.name_of(output.value))
    cost, slope, derivative = (lines.name_of(e) for e in (loss.value, loss.slope, output.slope))
    return compiled(name, LOSS, ELEMENTWISE_SOURCE, LINES=lines.lines, COST=cost, SLOPE=slope, DERIVATIVE=derivative)
