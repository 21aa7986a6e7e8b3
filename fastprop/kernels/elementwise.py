"""Functions of one vector, and the activations and paired losses built on them.

The functions here are those of the built-in activations and losses; `functions.py` has the others of :mod:`math`.

For the n rows of one panel, an *activation* routine computes A = g(Z), and a *derivative* routine computes equation 1,
dZ = dA ∗ g′(Z). A *loss* routine computes the cost of one panel from Z (never from Ŷ, so that it cannot overflow) and
the output's dZ = Ŷ − Y of the paired loss. The routines are called by address, so that a new one compiles nothing but
itself.

A panel is n rows of 16 samples; `weight` holds 16 sample weights, 0 where the batch has no sample.
"""

from typing import Any

import numba.core.types as types
import numpy as np

from .jit import inlined, kernel, routine
from .simd import (
    LANES,
    absolute,
    by_element,
    copysign,
    exponent,
    fma,
    load,
    mantissa,
    nearest,
    polynomial,
    power_of_two,
    splat,
    store,
    total,
    typed,
    where,
)


def ACTIVATION(element: types.Float) -> Any:
    """Return the signature of an activation routine: (A, Z, n)."""
    return types.void(*[types.CPointer(element)] * 2, types.int64)


def DERIVATIVE(element: types.Float) -> Any:
    """Return the signature of a derivative routine: (dZ, dA, Z, A, n)."""
    return types.void(*[types.CPointer(element)] * 4, types.int64)


def LOSS(element: types.Float) -> Any:
    """Return the signature of a loss routine: (dZ, Z, Y, weight, n, first), n outputs from the index `first` on."""
    return types.float64(*[types.CPointer(element)] * 4, *[types.int64] * 2)


LOG2_E = 1.4426950408889634
LN2_HIGH = typed(0.693359375, 0.6931471803691238)  # 9 bits, 33 bits: n·LN2_HIGH is exact
LN2_LOW = typed(-2.12194440e-4, 1.9082149292705877e-10)
SMALLEST_NORMAL = typed(float(np.finfo(np.float32).tiny), float(np.finfo(np.float64).tiny))
DENORMAL_BITS = typed(24.0, 54.0)
DENORMAL_SCALE = typed(2.0**24, 2.0**54)  # denormal numbers times this are normal
EXP_OVERFLOWS = typed(89.0, 710.0)  # eˣ is infinity from here on
EXP_VANISHES = typed(-104.0, -746.0)  # eˣ is 0 from here down
EXPM1_IS_MINUS_ONE = typed(-18.0, -38.0)  # eˣ − 1 rounds to −1 from here down
ERF_IS_ONE = typed(4.0, 6.0)
TANH_LIMIT = 9.0  # beyond it, 1 is the nearest float32, or is off by at most 0.52 ulp

# (eʳ − 1 − r)/r² for |r| ≤ ½·ln 2
EXPM1_REST = polynomial(
    single=(1.3814613e-3, 8.3687100e-3, 4.1668387e-2, 1.6666521e-1, 4.9999993e-1),
    double=(
        2.09146873519521e-09, 2.5105217542266557e-08, 2.7557273642187974e-07, 2.7557255398914854e-06,
        2.4801587325548468e-05, 1.9841269874821643e-04, 1.3888888888883748e-03, 8.333333333326134e-03,
        4.166666666666667e-02, 1.666666666666667e-01, 0.5,
    ),
)  # fmt: skip
# (log((1 + s)/(1 − s)) − 2s)/s³ of z = s² for |s| ≤ 1/3
LOG_RATIO_REST = polynomial(
    single=(2.4289564e-1, 2.1430739e-1, 2.8616597e-1, 3.9998888e-1, 6.6666676e-1),
    double=(
        0.16164938169471338, 0.08800317650868773, 0.12001155182857778, 0.13314135550881162, 0.15385570592912243,
        0.18181789417326447, 0.22222222717801782, 0.2857142856710506, 0.40000000000014596, 0.6666666666666666,
    ),
)  # fmt: skip
# erf x/x of z = x² for |x| ≤ 1
ERF_NEAR_ZERO = polynomial(
    single=(7.853943e-05, -8.0102205e-04, 5.188331e-03, -2.6853815e-02, 1.1283585e-01, -3.7612627e-01, 1.1283791),
    double=(
        5.957176147748911e-11, -1.1372848856791674e-09, 1.4659775274047436e-08, -1.6350312701054695e-07,
        1.6461000484121368e-06, -1.4925595266831182e-05, 1.205533111164271e-04, -8.54832698083379e-04,
        5.2239776248180145e-03, -2.6866170645076792e-02, 0.11283791670954879, -0.3761263890318375, 1.1283791670955126,
    ),
)  # fmt: skip
# −log(1 − erf x) for 1 ≤ x ≤ ERF_IS_ONE
ERF_BEYOND_ONE = polynomial(
    single=(
        -1.8557446e-04, 2.9396117e-03, -2.1805337e-02, 1.0303741e-01, 6.3822562e-01, 1.12704, 3.5371295e-04,
    ),
    double=(
        -1.0391046999531667e-12, 4.751955507827513e-11, -1.0170987000906033e-09, 1.3522878643989032e-08,
        -1.2483647547649253e-07, 8.452282642036024e-07, -4.301947361598583e-06, 1.642209094920269e-05,
        -4.477164558637616e-05, 6.975431275051727e-05, 4.5949048968546506e-05, -6.428238815444204e-04,
        1.7709143047010126e-03, -2.822187344832023e-04, -1.907696217248479e-02, 0.10274664610024364,
        0.636628702485083, 1.128377282670603, 1.8435736054246602e-07,
    ),
)  # fmt: skip


@inlined
def expm1_near_zero(r):
    """Return eʳ − 1 for |r| ≤ ½·ln 2: a minimax polynomial of degree 6, in float64 of degree 12."""
    return fma(EXPM1_REST(r) * r, r, r)


@inlined
def expm1_of_rest(x, n):
    """Return eʳ − 1 for r = x − n·ln 2, n the integer nearest to x/ln 2."""
    return expm1_near_zero(fma(n, -LN2_LOW(x), fma(n, -LN2_HIGH(x), x)))


@inlined
def exp(x):
    """Return eˣ = 2ⁿ·eʳ with x = n·ln 2 + r; 2ⁿ is applied in two halves, so that results may be denormal.

    NaN stays NaN: the limits are selects, not min and max.
    """
    x = where(x > EXP_OVERFLOWS(x), EXP_OVERFLOWS(x), x)
    x = where(x < EXP_VANISHES(x), EXP_VANISHES(x), x)
    n = nearest(x * LOG2_E)
    p = expm1_of_rest(x, n) + 1.0
    half = nearest(n * 0.5)
    return p * power_of_two(half) * power_of_two(n - half)


@inlined
def log_ratio(s):
    """Return log((1+s)/(1−s)) for 0 ≤ |s| ≤ 1/3: an odd minimax polynomial."""
    z = s * s
    return fma(LOG_RATIO_REST(z) * z, s, s + s)


@inlined
def expm1(x):
    """Return eˣ − 1 to full relative accuracy: like exp, with 2ⁿ·p + (2ⁿ − 1)."""
    y = where(x > EXP_OVERFLOWS(x), EXP_OVERFLOWS(x), x)
    y = where(y < EXPM1_IS_MINUS_ONE(x), EXPM1_IS_MINUS_ONE(x), y)
    n = nearest(y * LOG2_E)
    power = power_of_two(n - 1.0)  # n − 1, since 2¹²⁸ is not a float32, nor 2¹⁰²⁴ a float64
    return fma(power, expm1_of_rest(y, n), power - 0.5) * 2.0


@inlined
def log(x):
    """Return the natural logarithm; −∞ for 0, NaN below 0."""
    small = x < SMALLEST_NORMAL(x)
    y = where(small, x * DENORMAL_SCALE(x), x)
    e = exponent(y)
    m = mantissa(y)
    e = where(small, e - DENORMAL_BITS(x), e)
    y = fma(e, LN2_HIGH(x), fma(e, LN2_LOW(x), log_ratio((m - 1.0) / (m + 1.0))))
    y = where(x < np.inf, y, x)
    return where(x > 0.0, y, where(x < 0.0, np.nan, where(x <= 0.0, -np.inf, x)))


@inlined
def log1p(u):
    """Return log(1 + u) for u > −1, to full relative accuracy."""
    return where(absolute(u - 0.25) <= 0.75, log_ratio(u / (u + 2.0)), log(u + 1.0))


@inlined
def erf_near_zero(x):
    """Return erf x for |x| ≤ 1: x·P(x²), a minimax fit."""
    return ERF_NEAR_ZERO(x * x) * x


@inlined
def erf(x):
    """Return 2/√π ∫₀ˣ e^(−t²) dt: x·P(x²) for |x| up to 1, ±(1 − e^(−Q(|x|))) beyond; minimax fits."""
    t = absolute(x)
    p = erf_near_zero(x)
    t = where(t > ERF_IS_ONE(x), ERF_IS_ONE(x), t)
    q = 1.0 - exp(0.0 - ERF_BEYOND_ONE(t))
    return where(absolute(x) <= 1.0, p, where(x < 0.0, 0.0 - q, q))


@inlined
def _tanh_of_float32(x):
    """Return x·P(x²)/Q(x²), a minimax fit on [−9, 9], and ±1 beyond."""
    z = x * x
    p = fma(z, -8.4886557e-14, 5.2779262e-11)
    p = fma(p, z, -2.0225178e-08)
    p = fma(p, z, 1.1154296e-05)
    p = fma(p, z, 3.1039551e-03)
    p = fma(p, z, 1.3084009e-01)
    p = fma(p, z, 9.9999999e-01)
    q = fma(z, 2.5461436e-04, 2.4495174e-02)
    q = fma(q, z, 4.6417336e-01)
    q = fma(q, z, 1.0)
    t = x * p / q
    t = where(t > 1.0, 1.0, t)
    t = where(t < -1.0, -1.0, t)
    t = where(x > TANH_LIMIT, 1.0, t)
    return where(x < -TANH_LIMIT, -1.0, t)


@inlined
def _tanh_of_float64(x):
    """Return ±(1 − e^(−2|x|))/(1 + e^(−2|x|)), in which e^(−2|x|) − 1 has full relative accuracy."""
    a = absolute(x)
    u = expm1(0.0 - (a + a))
    return copysign(u / (u + 2.0), x)


tanh: Any = by_element(
    _tanh_of_float32, _tanh_of_float64, "Return the hyperbolic tangent; odd bit for bit, and never beyond ±1."
)


@inlined
def sigmoid(x):
    """Return 1/(1 + e⁻ˣ)."""
    return 1.0 / (exp(0.0 - x) + 1.0)


# ---- activations and their derivatives ---------------------------------------------------------------------------


@routine(ACTIVATION)
def relu_activation(A, Z, n):
    """A = max(Z, 0)"""
    for i in range(n):
        z = load(Z, LANES * i)
        store(A, LANES * i, where(z < 0.0, 0.0, z))


@routine(DERIVATIVE)
def relu_derivative(dZ, dA, Z, A, n):
    """dZ = 0 where A ≤ 0 (so g′(0) = 0), else dA: NaN stays NaN"""
    for i in range(n):
        store(dZ, LANES * i, where(load(A, LANES * i) <= 0.0, 0.0, load(dA, LANES * i)))


@routine(ACTIVATION)
def sigmoid_activation(A, Z, n):
    """A = 1/(1 + e⁻ᶻ)"""
    for i in range(n):
        store(A, LANES * i, sigmoid(load(Z, LANES * i)))


@routine(DERIVATIVE)
def sigmoid_derivative(dZ, dA, Z, A, n):
    """dZ = dA·A·(1 − A)"""
    for i in range(n):
        a = load(A, LANES * i)
        store(dZ, LANES * i, load(dA, LANES * i) * (a - a * a))


@routine(ACTIVATION)
def tanh_activation(A, Z, n):
    """A = tanh Z"""
    for i in range(n):
        store(A, LANES * i, tanh(load(Z, LANES * i)))


@routine(DERIVATIVE)
def tanh_derivative(dZ, dA, Z, A, n):
    """dZ = dA·(1 − A²)"""
    for i in range(n):
        a = load(A, LANES * i)
        store(dZ, LANES * i, load(dA, LANES * i) * (1.0 - a * a))


@kernel
def _largest(Z, n):
    """Return the largest of the n values of each sample."""
    m = load(Z, 0)
    for i in range(1, n):
        z = load(Z, LANES * i)
        m = where(z > m, z, m)
    return m


@kernel
def softmax_of_panel(A, Z, n):
    """A = e^(Z − max Z) / Σ e^(Z − max Z), over the n rows"""
    m = _largest(Z, n)
    s = splat(Z, 0.0)
    for i in range(n):
        e = exp(load(Z, LANES * i) - m)
        store(A, LANES * i, e)
        s = s + e
    inverse = 1.0 / s
    for i in range(n):
        store(A, LANES * i, load(A, LANES * i) * inverse)


@routine(ACTIVATION)
def softmax_activation(A, Z, n):
    """A = softmax Z"""
    softmax_of_panel(A, Z, n)


# ---- outputs with their paired losses ----------------------------------------------------------------------------


@inlined
def weighted_dZ(dZ, weight):
    """Return weight·dZ, and 0 where the weight is 0, even if dZ is NaN there."""
    return where(weight > 0.0, weight * dZ, 0.0)


@inlined
def weighted_cost(cost, weight):
    """Return Σ weight·cost over the panel's samples; a place of weight 0 does not count, even if it holds NaN."""
    w = load(weight, 0)
    return np.float64(total(where(w > 0.0, w * cost, 0.0)))


@routine(LOSS)
def identity_mse(dZ, Z, Y, weight, n, first):
    """cost = ½ Σ (ŷ − y)², ŷ = z; dZ = weight·(Ŷ − Y)"""
    w = load(weight, 0)
    cost = splat(Z, 0.0)
    for i in range(n):
        error = load(Z, LANES * i) - load(Y, LANES * i)
        cost = fma(error * 0.5, error, cost)
        store(dZ, LANES * i, weighted_dZ(error, w))
    return weighted_cost(cost, weight)


@routine(LOSS)
def sigmoid_binary_crossentropy(dZ, Z, Y, weight, n, first):
    """cost = Σ max(z, 0) − z·y + log(1 + e^(−|z|)), ŷ = sigmoid z; dZ = weight·(Ŷ − Y)"""
    w = load(weight, 0)
    cost = splat(Z, 0.0)
    for i in range(n):
        z = load(Z, LANES * i)
        y = load(Y, LANES * i)
        small = exp(0.0 - absolute(z))
        # max(z, 0) − z·y without cancellation: z·(1 − y) above 0, −z·y below
        cost = cost + fma(z, where(z > 0.0, 1.0 - y, 0.0 - y), log1p(small))
        store(dZ, LANES * i, weighted_dZ(where(z < 0.0, small, 1.0) / (small + 1.0) - y, w))
    return weighted_cost(cost, weight)


@routine(LOSS)
def softmax_cross_entropy(dZ, Z, Y, weight, n, first):
    """cost = Σ y·(log Σ e^z − z), ŷ = softmax z, where Σ y = 1; dZ = weight·(Ŷ − Y)"""
    w = load(weight, 0)
    m = _largest(Z, n)
    # Σ e^(z − m) is `ones` + `rest`: if one unit is far above the others, the cost is `rest`, but 1 + rest rounds to 1.
    ones = splat(Z, 0.0)
    rest = splat(Z, 0.0)
    for i in range(n):
        e = exp(load(Z, LANES * i) - m)
        store(dZ, LANES * i, e)
        ones = ones + where(e < 1.0, 0.0, 1.0)
        rest = rest + where(e < 1.0, e, e - 1.0)  # NaN stays NaN
    log_s = log1p(rest + (ones - 1.0))
    inverse = 1.0 / (rest + ones)
    cost = splat(Z, 0.0)
    for i in range(n):
        y = load(Y, LANES * i)
        cost = fma(y, log_s - (load(Z, LANES * i) - m), cost)
        store(dZ, LANES * i, weighted_dZ(fma(load(dZ, LANES * i), inverse, 0.0 - y), w))
    return weighted_cost(cost, weight)
