"""Activations: A = g(Z) and equation 1's g′, built in or one's own.

==============  =====================================================================================
name            g(z)
==============  =====================================================================================
``identity``    z
``relu``        max(z, 0); g′(0) = 0
``leaky_relu``  z above 0, 0.01·z below (Maas et al. 2013)
``elu``         z above 0, eᶻ − 1 below (Clevert et al. 2016)
``selu``        1.0507·(z above 0, 1.6733·(eᶻ − 1) below) (Klambauer et al. 2017)
``sigmoid``     1/(1 + e⁻ᶻ)
``tanh``        tanh z
``softplus``    log(1 + eᶻ)
``silu``        z/(1 + e⁻ᶻ) (Elfwing et al. 2018)
``gelu``        z·Φ(z), Φ the normal distribution's: z/2·(1 + erf(z/√2)) (Hendrycks and Gimpel 2016)
``gelu_tanh``   z/2·(1 + tanh(√(2/π)·(z + 0.044715·z³))), the same, approximately
``softmax``     e^z / Σ e^z over the layer's units; an output alone
==============  =====================================================================================
"""

import math
from collections.abc import Callable
from functools import cached_property
from typing import Any

import numpy as np

from .functions import check_derivative, compiled, expression_of, indented
from .kernels import elementwise
from .kernels.elementwise import ACTIVATION, DERIVATIVE
from .kernels.jit import Routine
from .kernels.plan import LayerKind
from .symbolic import Expression, Lines


class Activation:
    """An activation of one's own, compiled into the kernels like those that are built in.

    Parameters
    ----------
    name : str
    f, df : callable (z: float) → float
        The activation and its derivative: arithmetic, comparisons, and ``exp``, ``expm1``, ``log``, ``log1p``,
        ``tanh``, ``sqrt``, ``erf``, ``abs``, ``min`` and ``max``, of :mod:`math` or of NumPy.

    Attributes
    ----------
    g, slope : Expression
        What f and df do, as it is compiled (:mod:`fastprop.symbolic`).

    Raises
    ------
    TypeError, ValueError
        If f or df does anything else, or df is not the derivative of f: it is held against central differences at 50
        points in [−4, 4].

    Examples
    --------
    >>> mish = Activation(
    ...     "mish",
    ...     lambda z: z * math.tanh(math.log1p(math.exp(z))),
    ...     lambda z: math.tanh(math.log1p(math.exp(z)))
    ...     + z * (1 - math.tanh(math.log1p(math.exp(z))) ** 2) / (1 + math.exp(-z)),
    ... )
    >>> Network((8, 32, 1), hidden=mish)
    Network((8, 32, 1), hidden=Activation('mish'), output='identity', loss='mse'): 321 parameters
    """

    def __init__(self, name: str, f: Callable[[float], float], df: Callable[[float], float]):
        if not isinstance(name, str) or not name.isidentifier():
            raise ValueError(f"name is {name!r}; it must be a name as Python's are, such as 'mish'.")
        if name in ACTIVATIONS:
            raise ValueError(f"name is {name!r}, which is built in. Choose another.")
        self.name, self.f, self.df = name, f, df
        self.g, self.slope  # noqa: B018 (that both can be compiled)
        check_derivative(name, f, df)

    @cached_property
    def g(self) -> Expression:
        """f as an expression of z."""
        return expression_of(f"f of {self.name}", self.f, ("z",))

    @cached_property
    def slope(self) -> Expression:
        """df as an expression of z."""
        return expression_of(f"df of {self.name}", self.df, ("z",))

    def __call__(self, Z: np.ndarray, deriv: bool = False) -> np.ndarray:
        """g(Z), or with `deriv` g′(Z), in NumPy and any float dtype."""
        expression = self.slope if deriv else self.g
        return np.broadcast_to(expression.evaluate(z=Z), np.shape(Z)).astype(np.asarray(Z).dtype)

    @cached_property
    def _routines(self) -> tuple[Routine, Routine]:
        lines, slope = Lines(z="z"), Lines(z="z")
        g, d = lines.name_of(self.g), slope.name_of(self.slope)
        activation = (
            "def NAME(A, Z, n):\n"
            "    for i in range(n):\n"
            "        z = load(Z, LANES * i)\n"
            f"{indented(lines.lines, 2)}"
            f"        store(A, LANES * i, {g} + splat(0.0))\n"
        )
        derivative = (
            "def NAME(dZ, dA, Z, A, n):\n"
            "    for i in range(n):\n"
            "        z = load(Z, LANES * i)\n"
            f"{indented(slope.lines, 2)}"
            f"        store(dZ, LANES * i, load(dA, LANES * i) * {d})\n"
        )
        return (
            compiled(f"{self.name}_activation", ACTIVATION, activation),
            compiled(f"{self.name}_derivative", DERIVATIVE, derivative),
        )

    def kind(self, from_Z: bool = False) -> LayerKind:
        """What the plan needs to know, where g′ may be computed from Z only, if asked; compiles the routines."""
        activation, derivative = self._routines
        return LayerKind(activation.address, derivative.address, from_Z=True)

    def __repr__(self) -> str:
        return f"Activation({self.name!r})"

    def __deepcopy__(self, memo: Any) -> "Activation":
        return self  # nothing in it changes

    def __reduce__(self) -> Any:
        return Activation, (self.name, self.f, self.df)


def _built_in(name: str) -> Activation:
    return ACTIVATIONS[name]


class _BuiltIn(Activation):
    """An activation that is found by its name; some have routines that were written by hand."""

    def __init__(self, name: str, f: Any, df: Any, activation: Routine | None = None,
                 derivative: Routine | None = None, relu: bool = False, by_hand: bool = False):  # fmt: skip
        self.name, self.f, self.df = name, f, df
        self._activation, self._derivative, self._relu, self._by_hand = activation, derivative, relu, by_hand

    def kind(self, from_Z: bool = False) -> LayerKind:
        if not self._by_hand or (from_Z and self._derivative and not self._relu):
            return super().kind()
        activation, derivative = (r.address if r else 0 for r in (self._activation, self._derivative))
        return LayerKind(activation, derivative, relu=self._relu)

    def __reduce__(self) -> Any:
        return _built_in, (self.name,)


def _sigmoid(z: float) -> float:
    return 1 / (1 + math.exp(-z))


SELU_SCALE, SELU_ALPHA = 1.0507009873554805, 1.6732632423543772
_ROOT = math.sqrt(2 / math.pi)


def _gelu_slope(z: float) -> float:
    return 0.5 * (1 + math.erf(z / math.sqrt(2))) + z * math.exp(-z * z / 2) / math.sqrt(2 * math.pi)


def _inner(z: float) -> float:
    return math.tanh(_ROOT * (z + 0.044715 * z**3))


def _gelu_tanh_slope(z: float) -> float:
    t = _inner(z)
    return 0.5 * (1 + t) + 0.5 * z * (1 - t * t) * _ROOT * (1 + 3 * 0.044715 * z * z)


ACTIVATIONS: dict[str, Activation] = {}
ACTIVATIONS |= {
    a.name: a
    for a in (
        _BuiltIn("identity", lambda z: z, lambda z: 1.0, by_hand=True),
        _BuiltIn(
            "relu", lambda z: z if z > 0 else 0.0, lambda z: 1.0 if z > 0 else 0.0,
            elementwise.relu_activation, elementwise.relu_derivative, relu=True, by_hand=True,
        ),
        _BuiltIn("leaky_relu", lambda z: z if z > 0 else 0.01 * z, lambda z: 1.0 if z > 0 else 0.01),
        _BuiltIn("elu", lambda z: z if z > 0 else math.expm1(z), lambda z: 1.0 if z > 0 else math.exp(z)),
        _BuiltIn(
            "selu", lambda z: SELU_SCALE * (z if z > 0 else SELU_ALPHA * math.expm1(z)),
            lambda z: SELU_SCALE * (1.0 if z > 0 else SELU_ALPHA * math.exp(z)),
        ),
        _BuiltIn(
            "sigmoid", _sigmoid, lambda z: _sigmoid(z) * (1 - _sigmoid(z)),
            elementwise.sigmoid_activation, elementwise.sigmoid_derivative, by_hand=True,
        ),
        _BuiltIn(
            "tanh", math.tanh, lambda z: 1 - math.tanh(z) ** 2,
            elementwise.tanh_activation, elementwise.tanh_derivative, by_hand=True,
        ),
        _BuiltIn("softplus", lambda z: max(z, 0.0) + math.log1p(math.exp(-abs(z))), _sigmoid),
        _BuiltIn("silu", lambda z: z * _sigmoid(z), lambda z: _sigmoid(z) * (1 + z * (1 - _sigmoid(z)))),
        _BuiltIn("gelu", lambda z: 0.5 * z * (1 + math.erf(z / math.sqrt(2))), _gelu_slope),
        _BuiltIn("gelu_tanh", lambda z: 0.5 * z * (1 + _inner(z)), _gelu_tanh_slope),
        _BuiltIn("softmax", None, None, elementwise.softmax_activation, by_hand=True),
    )
}  # fmt: skip
HIDDEN = tuple(name for name in ACTIVATIONS if name != "softmax")


def named(activation: Activation) -> str | Activation:
    """The name of one that is built in; another itself."""
    return activation.name if ACTIVATIONS.get(activation.name) is activation else activation
