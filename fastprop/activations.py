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
from functools import cached_property
from typing import ClassVar

from .functions import Function, compiled, indented
from .kernels import elementwise
from .kernels.elementwise import ACTIVATION, DERIVATIVE
from .kernels.jit import Routine
from .kernels.plan import LayerKind
from .symbolic import Lines


class Activation(Function):
    """An activation of one's own, compiled into the kernels like those that are built in.

    Parameters
    ----------
    name : str
    f, df : callable (z: float) → float
        The activation and its derivative: arithmetic, comparisons, and ``exp``, ``expm1``, ``log``, ``log1p``,
        ``tanh``, ``sqrt``, ``erf``, ``abs``, ``min`` and ``max``, of :mod:`math` or of NumPy.

    Attributes
    ----------
    value, slope : Expression
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

    arguments, others, example = ("z",), ((),), "mish"
    built_in: ClassVar[dict[str, "Activation"]] = {}
    _by_hand: tuple[Routine | None, Routine | None] | None = None  # the routines of some that are built in

    @cached_property
    def _routines(self) -> tuple[Routine, Routine]:
        lines, slope = Lines(z="z"), Lines(z="z")
        g, d = lines.name_of(self.value), slope.name_of(self.slope)
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
        relu = self is ACTIVATIONS["relu"]
        if self._by_hand is None or (from_Z and self._by_hand[1] and not relu):
            traced = self._routines
            return LayerKind(traced[0].address, traced[1].address, from_Z=True)
        activation, derivative = self._by_hand
        return LayerKind(activation.address if activation else 0, derivative.address if derivative else 0, relu)


ACTIVATIONS = Activation.built_in


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


Activation.add("identity", lambda z: z, lambda z: 1.0)
Activation.add("relu", lambda z: z if z > 0 else 0.0, lambda z: 1.0 if z > 0 else 0.0)
Activation.add("leaky_relu", lambda z: z if z > 0 else 0.01 * z, lambda z: 1.0 if z > 0 else 0.01)
Activation.add("elu", lambda z: z if z > 0 else math.expm1(z), lambda z: 1.0 if z > 0 else math.exp(z))
Activation.add(
    "selu",
    lambda z: SELU_SCALE * (z if z > 0 else SELU_ALPHA * math.expm1(z)),
    lambda z: SELU_SCALE * (1.0 if z > 0 else SELU_ALPHA * math.exp(z)),
)
Activation.add("sigmoid", _sigmoid, lambda z: _sigmoid(z) * (1 - _sigmoid(z)))
Activation.add("tanh", math.tanh, lambda z: 1 - math.tanh(z) ** 2)
Activation.add("softplus", lambda z: max(z, 0.0) + math.log1p(math.exp(-abs(z))), _sigmoid)
Activation.add("silu", lambda z: z * _sigmoid(z), lambda z: _sigmoid(z) * (1 + z * (1 - _sigmoid(z))))
Activation.add("gelu", lambda z: 0.5 * z * (1 + math.erf(z / math.sqrt(2))), _gelu_slope)
Activation.add("gelu_tanh", lambda z: 0.5 * z * (1 + _inner(z)), _gelu_tanh_slope)
Activation.add("softmax", None, None)
ACTIVATIONS["identity"]._by_hand = (None, None)
ACTIVATIONS["relu"]._by_hand = (elementwise.relu_activation, elementwise.relu_derivative)
ACTIVATIONS["sigmoid"]._by_hand = (elementwise.sigmoid_activation, elementwise.sigmoid_derivative)
ACTIVATIONS["tanh"]._by_hand = (elementwise.tanh_activation, elementwise.tanh_derivative)
ACTIVATIONS["softmax"]._by_hand = (elementwise.softmax_activation, None)
HIDDEN = tuple(name for name in ACTIVATIONS if name != "softmax")
