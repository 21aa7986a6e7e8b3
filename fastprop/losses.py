"""Losses: what is averaged over the batch to the cost J, built in or one's own.

=======================  ==================================  ======================  ======================
name                     of a sample, Σ over its outputs     ∂/∂ŷ                    paired output
=======================  ==================================  ======================  ======================
``mse``                  ½ (ŷ − y)²                          ŷ − y                   ``identity``
``mae``                  |ŷ − y|                            sign(ŷ − y)
``huber``                ½ (ŷ − y)²; |ŷ − y| − ½ beyond 1   ŷ − y, at most ±1
``binary_crossentropy``  −y log ŷ − (1 − y) log(1 − ŷ)       (ŷ − y)/(ŷ(1 − ŷ))      ``sigmoid``
``cross_entropy``        −y log ŷ                            −y/ŷ                    ``softmax``
``poisson``              e^ŷ − y·ŷ: ŷ is the log of a rate   e^ŷ − y
=======================  ==================================  ======================  ======================

The cost of a paired output is computed from Z, and its dZ is Ŷ − Y: neither can overflow. Any other pair takes the
general way, dZ = ∂J/∂Ŷ ∗ g′(Z), with a softmax dZ = Ŷ ∗ (dŶ − Σ Ŷ·dŶ); there the logarithms' arguments are kept
between 1e-7 and 1 − 1e-7, and the derivative is 0 beyond.
"""

import math
from functools import lru_cache
from typing import ClassVar

from .activations import ACTIVATIONS, Activation
from .functions import Function, compiled, indented
from .kernels import elementwise
from .kernels.elementwise import LOSS
from .kernels.jit import Routine
from .symbolic import Lines

LEAST = 1e-7  # of a probability whose logarithm is taken


class Loss(Function):
    """A loss of one's own, compiled into the kernels like those that are built in.

    Parameters
    ----------
    name : str
    f, df : callable (y_hat: float, y: float) → float
        The loss of one output, which is summed over a sample's outputs, and its derivative by y_hat; of what
        :class:`fastprop.Activation` may be made of.

    Attributes
    ----------
    value, slope : Expression
        What f and df do, as it is compiled (:mod:`fastprop.symbolic`).

    Raises
    ------
    TypeError, ValueError
        If f or df does anything else, or df is not the derivative of f: it is held against central differences at 50
        points in [−4, 4], with y = 0, 0.3 and 1.

    Examples
    --------
    >>> logcosh = Loss(
    ...     "logcosh",
    ...     lambda y_hat, y: abs(y_hat - y) + math.log1p(math.exp(-2 * abs(y_hat - y))) - math.log(2),
    ...     lambda y_hat, y: math.tanh(y_hat - y),
    ... )
    >>> Network((8, 32, 1), loss=logcosh)
    Network((8, 32, 1), hidden='relu', output='identity', loss=Loss('logcosh')): 321 parameters
    """

    arguments, others, example = ("y_hat", "y"), ((0.0,), (0.3,), (1.0,)), "logcosh"
    built_in: ClassVar[dict[str, "Loss"]] = {}


LOSSES = Loss.built_in


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
Loss.add("binary_crossentropy", _binary_crossentropy, _binary_crossentropy_slope)
Loss.add(
    "cross_entropy",
    lambda y_hat, y: -y * math.log(max(y_hat, LEAST)),
    lambda y_hat, y: 0.0 if y_hat <= LEAST else -y / y_hat,
)
Loss.add("poisson", lambda y_hat, y: math.exp(y_hat) - y * y_hat, lambda y_hat, y: math.exp(y_hat) - y)
PAIRS = {"identity": "mse", "sigmoid": "binary_crossentropy", "softmax": "cross_entropy"}
_PAIRED_ROUTINES = {
    "identity": elementwise.identity_mse,
    "sigmoid": elementwise.sigmoid_binary_crossentropy,
    "softmax": elementwise.softmax_cross_entropy,
}


def is_paired(output: Activation, loss: Loss) -> bool:
    """Whether dZ = Ŷ − Y."""
    return isinstance(output.label, str) and loss.label == PAIRS.get(output.label)


def default_for(output: Activation) -> Loss:
    """The loss paired with an output; of another output the mean squared error."""
    return LOSSES[PAIRS.get(output.label, "mse") if isinstance(output.label, str) else "mse"]


@lru_cache(maxsize=256)
def routine_of(output: Activation, loss: Loss) -> Routine:
    """The compiled cost and dZ, for one panel, of an output with a loss."""
    if is_paired(output, loss):
        return _PAIRED_ROUTINES[output.name]
    source = _of_softmax(loss) if output is ACTIVATIONS["softmax"] else _of_each(output, loss)
    return compiled(f"{output.name}_{loss.name}", LOSS, source)


def _of_each(output: Activation, loss: Loss) -> str:
    """dZ = ∂J/∂ŷ · g′(z)"""
    lines = Lines(z="z", y="y")
    lines.let("y_hat", lines.name_of(output.value))
    cost, dA, slope = (lines.name_of(e) for e in (loss.value, loss.slope, output.slope))
    return (
        "def NAME(dZ, Z, Y, weight, n):\n"
        "    w, cost = load(weight, 0), splat(0.0)\n"
        "    for i in range(n):\n"
        "        z, y = load(Z, LANES * i), load(Y, LANES * i)\n"
        f"{indented(lines.lines, 2)}"
        f"        cost = cost + {cost}\n"
        f"        store(dZ, LANES * i, _counted({dA} * {slope}, w))\n"
        "    return _weighted(cost, weight)\n"
    )


def _of_softmax(loss: Loss) -> str:
    """dZ = Ŷ ∗ (dŶ − Σ Ŷ·dŶ): the Jacobian of softmax, diag(Ŷ) − Ŷ·Ŷᵀ, times dŶ"""
    first, second = Lines(y_hat="y_hat", y="y"), Lines(y_hat="y_hat", y="y")
    cost, dA, again = first.name_of(loss.value), first.name_of(loss.slope), second.name_of(loss.slope)
    return (
        "def NAME(dZ, Z, Y, weight, n):\n"
        "    w, cost, product = load(weight, 0), splat(0.0), splat(0.0)\n"
        "    softmax_of_panel(dZ, Z, n)\n"
        "    for i in range(n):\n"
        "        y_hat, y = load(dZ, LANES * i), load(Y, LANES * i)\n"
        f"{indented(first.lines, 2)}"
        f"        cost, product = cost + {cost}, fma(y_hat, {dA}, product)\n"
        "    for i in range(n):\n"
        "        y_hat, y = load(dZ, LANES * i), load(Y, LANES * i)\n"
        f"{indented(second.lines, 2)}"
        f"        store(dZ, LANES * i, _counted(y_hat * ({again} - product), w))\n"
        "    return _weighted(cost, weight)\n"
    )
