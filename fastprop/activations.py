"""Activations: A = g(Z) and the g′ of equation 1, built in or custom.

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
``gelu``        z·Φ(z) = z/2·(1 + erf(z/√2)), Φ being the normal distribution (Hendrycks and Gimpel 2016)
``gelu_tanh``   z/2·(1 + tanh(√(2/π)·(z + 0.044715·z³))), an approximation of gelu
``softmax``     e^z / Σ e^z over the layer's units; for the output layer only
==============  =====================================================================================

:func:`leaky_relu` makes one with another slope below 0, which is also known by its name: ``"leaky_relu(0.2)"``.
"""

import math
from functools import cache, cached_property
from typing import Any, ClassVar

import numpy as np

from .checks import number
from .functions.function import Function, compiled
from .functions.symbolic import Lines
from .kernels import elementwise
from .kernels.elementwise import ACTIVATION, DERIVATIVE
from .kernels.jit import Routine
from .kernels.plan import LayerKind

ACTIVATION_SOURCE = """
def NAME(A, Z, n):
    for i in range(n):
        z = load(Z, LANES * i)
        LINES
        store(A, LANES * i, RESULT + splat(Z, 0.0))
"""
DERIVATIVE_SOURCE = """
def NAME(dZ, dA, Z, A, n):
    for i in range(n):
        z = load(Z, LANES * i)
        LINES
        store(dZ, LANES * i, load(dA, LANES * i) * RESULT)
"""


class Activation(Function):
    """A custom activation, compiled into the kernels like the built-in ones.

    Parameters
    ----------
    name : str
    f : callable (z: float) → float
        The activation. It may use arithmetic with ``//`` and ``%``, comparisons, ``abs``, ``min``,
        ``max`` and ``round``, and the functions listed in the notes, of :mod:`math` or of NumPy.
    df : callable (z: float) → float, optional
        Its derivative, with the same functions. Without it, f is differentiated symbolically.

    Attributes
    ----------
    value, slope : Expression
        f and df as they are compiled (:mod:`fastprop.functions.symbolic`).
    init : str
        The default initializer of a layer with this activation, a name of :mod:`fastprop.initializers`.
    span : (float, float) or None
        The range of A, if both its ends are approached where the slope vanishes.
    torch : (str, dict) or None
        The class in ``torch.nn``, and for each of its settings the accepted values, the first of which is written.
    onnx : tuple or None
        The ONNX operators, line by line: each is an operator and its arguments, which are Z, the RESULT of the line
        before, and numbers.

    Raises
    ------
    TypeError, ValueError
        If f or df does anything else, or if df is not the derivative of f: it is compared with central differences at
        50 points in [−4, 4]. If f has no derivative that can be compiled, or one that overflows.

    Notes
    -----
    Every function of :mod:`math` that has a derivative almost everywhere is compiled into vector instructions, as are
    NumPy's functions of the same meaning under NumPy's names (``np.arctan``, ``np.power``, ``np.remainder``, …):

    - ``exp``, ``expm1``, ``exp2``, ``log`` (with any base), ``log1p``, ``log2``, ``log10``, ``pow``, ``sqrt``,
      ``cbrt``, ``hypot``, ``dist``, ``ldexp``;
    - ``sin``, ``cos``, ``tan``, ``asin``, ``acos``, ``atan``, ``atan2``, ``degrees``, ``radians``;
    - ``sinh``, ``cosh``, ``tanh``, ``asinh``, ``acosh``, ``atanh``;
    - ``erf``, ``erfc``, ``gamma``, ``lgamma``;
    - ``floor``, ``ceil``, ``trunc``, ``rint``, ``modf``, ``fmod``, ``remainder``, ``fabs``, ``copysign``;
    - ``fsum``, ``prod``, ``sumprod``, ``fma``;
    - ``isnan``, ``isinf`` and ``isfinite`` in conditions;
    - of NumPy also ``where``, ``clip``, ``maximum``, ``minimum``, ``sign``, ``heaviside``, ``logaddexp``, ``sinc``,
      ``floor_divide``, ``divmod``, ``signbit``, ``logical_and``, ``logical_or`` and ``logical_not``.

    Each of these functions is within 4.2 ulp of the exact value, in float32 and in float64, but tanh of float32 within
    6.5, and gamma of float64, which is the C library's, within about 6. Powers that are neither whole nor ½ are
    computed as exp(b·log a). The sine, cosine and tangent hold this up to ±4.2e8. Beyond, neighbouring float32 are 32
    apart, and no more is promised than that sines and cosines stay in [−1, 1]. In float32 ``fmod`` and the remainders
    are exact up to quotients of 2²⁹. The functions of whole numbers (``factorial``, ``gcd``, …) and of a
    number's representation (``frexp``, ``nextafter``, ``ulp``) are refused, as is ``isclose``.

    Examples
    --------
    >>> mish = Activation("mish", lambda z: z * math.tanh(math.log1p(math.exp(z))))
    >>> Network((8, 32, 1), hidden=mish)
    Network((8, 32, 1), hidden=Activation('mish'), output='identity', loss='mse'): 321 parameters
    """

    arguments: tuple[str, ...] = ("z",)
    others: ClassVar[tuple[tuple[float, ...], ...]] = ((),)
    example: ClassVar[str] = "mish"
    built_in: ClassVar[dict[str, "Activation"]] = {}
    families: ClassVar[dict[str, Any]] = {}
    init: str = "glorot"
    span: tuple[float, float] | None = None
    torch: tuple[str, dict[str, tuple[Any, ...]]] | None = None
    onnx: tuple[tuple[Any, ...], ...] | None = None
    by_hand: tuple[Routine | None, Routine | None] | None = None  # handwritten routines of some built-in activations

    @cached_property
    def generated(self) -> tuple[Routine, Routine]:
        """The routines of the activation and of equation 1, generated from f and df."""
        lines, slope = Lines(z="z"), Lines(z="z")
        g, d = lines.name_of(self.value), slope.name_of(self.slope)
        return (
            compiled(f"{self.name}_activation", ACTIVATION, ACTIVATION_SOURCE, LINES=lines.lines, RESULT=g),
            compiled(f"{self.name}_derivative", DERIVATIVE, DERIVATIVE_SOURCE, LINES=slope.lines, RESULT=d),
        )

    def kind(self, dtype: np.dtype, from_Z: bool = False) -> LayerKind:
        """Compile the routines, and return what the plan needs to know; with `from_Z`, g′ must not read A."""
        relu = self is ACTIVATIONS["relu"]
        if self.by_hand is None or (from_Z and self.by_hand[1] and not relu):
            activation, derivative = self.generated
            return LayerKind(activation.address(dtype), derivative.address(dtype), from_Z=True)
        activation_by_hand, derivative_by_hand = self.by_hand
        return LayerKind(
            activation_by_hand.address(dtype) if activation_by_hand else 0,
            derivative_by_hand.address(dtype) if derivative_by_hand else 0,
            relu,
        )


ACTIVATIONS = Activation.built_in

# ---- the built-in activations ------------------------------------------------------------------------------------

SELU_SCALE, SELU_ALPHA = 1.0507009873554805, 1.6732632423543772
Z, RESULT = "Z", "result"  # arguments of ONNX operators
_ROOT = math.sqrt(2 / math.pi)


def _sigmoid(z: float) -> float:
    return 1 / (1 + math.exp(-z))


def _gelu_slope(z: float) -> float:
    return 0.5 * (1 + math.erf(z / math.sqrt(2))) + z * math.exp(-z * z / 2) / math.sqrt(2 * math.pi)


def _inner(z: float) -> float:
    return math.tanh(_ROOT * (z + 0.044715 * z**3))


def _gelu_tanh_slope(z: float) -> float:
    t = _inner(z)
    return 0.5 * (1 + t) + 0.5 * z * (1 - t * t) * _ROOT * (1 + 3 * 0.044715 * z * z)


Activation.add("identity", lambda z: z, lambda z: 1.0, onnx=(), by_hand=(None, None))
Activation.add(
    "relu",
    lambda z: z if z > 0 else 0.0,
    lambda z: 1.0 if z > 0 else 0.0,
    init="he",
    torch=("ReLU", {}),
    onnx=(("Relu", Z),),
    by_hand=(elementwise.relu_activation, elementwise.relu_derivative),
)
Activation.add(
    "leaky_relu",
    lambda z: z if z > 0 else 0.01 * z,
    lambda z: 1.0 if z > 0 else 0.01,
    init="he",
    torch=("LeakyReLU", {"negative_slope": (0.01,)}),
    onnx=(("LeakyRelu", Z),),
)
Activation.add(
    "elu",
    lambda z: z if z > 0 else math.expm1(z),
    lambda z: 1.0 if z > 0 else math.exp(z),
    init="he",
    torch=("ELU", {"alpha": (1.0,)}),
    onnx=(("Elu", Z),),
)
Activation.add(
    "selu",
    lambda z: SELU_SCALE * (z if z > 0 else SELU_ALPHA * math.expm1(z)),
    lambda z: SELU_SCALE * (1.0 if z > 0 else SELU_ALPHA * math.exp(z)),
    init="lecun",
    torch=("SELU", {}),
    onnx=(("Selu", Z),),
)
Activation.add(
    "sigmoid",
    _sigmoid,
    lambda z: _sigmoid(z) * (1 - _sigmoid(z)),
    span=(0.0, 1.0),
    torch=("Sigmoid", {}),
    onnx=(("Sigmoid", Z),),
    by_hand=(elementwise.sigmoid_activation, elementwise.sigmoid_derivative),
)
Activation.add(
    "tanh",
    math.tanh,
    lambda z: 1 - math.tanh(z) ** 2,
    span=(-1.0, 1.0),
    torch=("Tanh", {}),
    onnx=(("Tanh", Z),),
    by_hand=(elementwise.tanh_activation, elementwise.tanh_derivative),
)
Activation.add(
    "softplus",
    lambda z: max(z, 0.0) + math.log1p(math.exp(-abs(z))),
    _sigmoid,
    torch=("Softplus", {"beta": (1.0,), "threshold": (20.0, 40.0)}),  # beyond, z is the nearest float32, float64
    onnx=(("Softplus", Z),),
)
Activation.add(
    "silu",
    lambda z: z * _sigmoid(z),
    lambda z: _sigmoid(z) * (1 + z * (1 - _sigmoid(z))),
    init="he",
    torch=("SiLU", {}),
    onnx=(("Sigmoid", Z), ("Mul", Z, RESULT)),
)
# gelu is written as PyTorch exports it, a pattern that ONNX runtimes recognise and compute in one operator.
Activation.add(
    "gelu",
    lambda z: 0.5 * z * (1 + math.erf(z / math.sqrt(2))),
    _gelu_slope,
    init="he",
    torch=("GELU", {"approximate": ("none",)}),
    onnx=(
        ("Div", Z, math.sqrt(2)),
        ("Erf", RESULT),
        ("Add", RESULT, 1.0),
        ("Mul", Z, RESULT),
        ("Mul", RESULT, 0.5),
    ),
)
Activation.add(
    "gelu_tanh",
    lambda z: 0.5 * z * (1 + _inner(z)),
    _gelu_tanh_slope,
    init="he",
    torch=("GELU", {"approximate": ("tanh",)}),
    onnx=(
        ("Mul", Z, Z),
        ("Mul", RESULT, 0.044715),
        ("Add", RESULT, 1.0),
        ("Mul", Z, RESULT),
        ("Mul", RESULT, math.sqrt(2 / math.pi)),
        ("Tanh", RESULT),
        ("Add", RESULT, 1.0),
        ("Mul", Z, RESULT),
        ("Mul", RESULT, 0.5),
    ),
)
Activation.add(
    "softmax",
    None,
    None,
    span=(0.0, 1.0),
    torch=("Softmax", {"dim": (1, -1, None)}),
    onnx=(("Softmax", Z),),
    by_hand=(elementwise.softmax_activation, None),
)
HIDDEN = tuple(name for name in ACTIVATIONS if name != "softmax")


def leaky_relu(slope: float) -> Activation:
    """Return the activation that is z above 0 and slope·z below.

    Parameters
    ----------
    slope : float
        Of 0.01, the result is ``"leaky_relu"`` itself.

    Returns
    -------
    Activation
        Built in: files, :mod:`fastprop.convert` and :mod:`fastprop.reference` know it by its name, such as
        ``"leaky_relu(0.2)"``, which a network takes too.

    Raises
    ------
    ValueError, TypeError
        If the slope is no finite number of float32.

    Examples
    --------
    >>> Network((8, 32, 1), hidden=leaky_relu(0.2))
    Network((8, 32, 1), hidden='leaky_relu(0.2)', output='identity', loss='mse'): 321 parameters
    """
    return _leaky_relu(number("slope", slope) + 0.0)  # no -0.0


@cache
def _leaky_relu(slope: float) -> Activation:
    if slope == 0.01:
        return ACTIVATIONS["leaky_relu"]
    return Activation.member(
        "leaky_relu",
        (slope,),
        lambda z: z if z > 0 else slope * z,
        lambda z: 1.0 if z > 0 else slope,
        init="he",
        torch=("LeakyReLU", {"negative_slope": (slope,)}),
        onnx=(("Max" if slope <= 1 else "Min", Z, ("Mul", Z, slope)),),
    )


Activation.families["leaky_relu"] = leaky_relu
