"""Functions of :mod:`math` on vectors, for custom activations and losses; `elementwise.py` has exp, log, tanh, erf.

Every function is computed in registers, without tables and without calls. NaN gives NaN, and infinities give what NumPy
gives. Odd functions are odd bit for bit, and keep the sign of zero. A step that needs more than 24 bits is taken in
float64, as two fused multiply-adds would not help on a processor without them.

A docstring gives the largest error in ulp against float64, with fused multiply-adds (over every 17th float32; erfc,
gamma and lgamma: every 101st) and without (every 101st). Where no range is given, it is that of the function.
Polynomials are minimax fits of the relative error.
"""

import numpy as np

from .elementwise import SMALLEST_NORMAL, erf_near_zero, exp, expm1_near_zero, expm1_of_rest, log, log1p, log_ratio
from .jit import inlined
from .simd import (
    absolute,
    copysign,
    exponent,
    floor,
    fma,
    mantissa,
    narrow,
    nearest,
    power_of_two,
    splat,
    sqrt,
    trunc,
    where,
    wide,
)

MOST = np.finfo(np.float32).max
PI = np.float32(3.14159274)
PI_REST = np.float32(-8.7422777e-08)  # π − PI
HALF_PI = np.float32(1.57079637)
HALF_PI_REST = np.float32(-4.3711388e-08)
QUARTER_PI = np.float32(0.785398185)
QUARTER_PI_REST = np.float32(-2.1855694e-08)
TWO_OVER_PI = 0.6366197723675814
HALF_PI_25_BITS = 1.570796310901641846  # n·HALF_PI_25_BITS is exact in float64 for n < 2²⁸
HALF_PI_BEYOND = 1.589325477352819669e-08
LN2 = np.float32(0.6931471805599453)
LOG2_E_HIGH = np.float32(1.44269502)
LOG2_E_LOW = np.float32(1.92596303e-08)
LOG10_2_HIGH = np.float32(0.30078125)  # 8 bits: e·LOG10_2_HIGH is exact
LOG10_2_LOW = np.float32(2.48745664e-04)
LOG10_E_HIGH = np.float32(0.434294492)
LOG10_E_LOW = np.float32(-1.01000227e-08)
NO_SQUARE = np.float32(2.4e-4)  # below, x²/6 is less than half an ulp of 1


# ---- trigonometry ------------------------------------------------------------------------------------------------


@inlined
def _quarter_turns(x):
    """Return n modulo 4 and r of x = n·π/2 + r, |r| ≤ π/4: Cody and Waite's reduction by two parts of π/2, in float64.

    r is limited to ±π/4, which matters from |x| = 4.2e8 on, where n has more than 28 bits.
    """
    n = nearest(wide(x) * TWO_OVER_PI)
    r = narrow(x, wide(x) - n * HALF_PI_25_BITS - n * HALF_PI_BEYOND)
    r = where(r > QUARTER_PI, QUARTER_PI, r)
    r = where(r < -QUARTER_PI, -QUARTER_PI, r)
    return narrow(x, n - floor(n * 0.25) * 4.0), r


@inlined
def _sin_of_rest(r):
    """Return sin r for |r| ≤ π/4: an odd minimax polynomial of degree 7."""
    z = r * r
    p = fma(z, -1.9515218e-4, 8.3321603e-3)
    p = fma(p, z, -1.6666655e-1)
    return fma(p * z, r, r)


@inlined
def _cos_of_rest(r):
    """Return cos r for |r| ≤ π/4: an even minimax polynomial of degree 8."""
    z = r * r
    p = fma(z, 2.4433083e-5, -1.3887316e-3)
    p = fma(p, z, 4.1666646e-2)
    return fma(p * z, z, fma(z, -0.5, 1.0))


@inlined
def sin(x):
    """Return the sine: 1.55 ulp, 1.55 without, for |x| ≤ 4.2e8; beyond, a number in [−1, 1]."""
    n, r = _quarter_turns(x)
    s = _sin_of_rest(r)
    c = _cos_of_rest(r)
    y = where(n < 0.5, s, where(n < 1.5, c, where(n < 2.5, 0.0 - s, 0.0 - c)))
    return where(absolute(x) < NO_SQUARE, x, y)


@inlined
def cos(x):
    """Return the cosine: 1.55 ulp, 1.56 without, for |x| ≤ 4.2e8; beyond, a number in [−1, 1]."""
    n, r = _quarter_turns(x)
    s = _sin_of_rest(r)
    c = _cos_of_rest(r)
    return where(n < 0.5, c, where(n < 1.5, 0.0 - s, where(n < 2.5, 0.0 - c, s)))


@inlined
def tan(x):
    """Return the tangent: sin r/cos r, or −cos r/sin r after an odd number of quarter turns.

    3.57 ulp, 3.60 without, for |x| ≤ 4.2e8; beyond, any number.
    """
    n, r = _quarter_turns(x)
    s = _sin_of_rest(r)
    c = _cos_of_rest(r)
    odd = absolute(absolute(n - 2.0) - 1.0) < 0.5
    return where(absolute(x) < NO_SQUARE, x, where(odd, 0.0 - c, s) / where(odd, s, c))


@inlined
def _arc(y, x):
    """Return atan(y/x) for y, x ≥ 0, of which one is positive, and neither y + x nor x/3 leaves the normal numbers.

    The angle is 0, π/4 or π/2 plus atan t with |t| ≤ tan π/8: an odd minimax polynomial of degree 11.
    """
    steep = y > x * 2.41421356
    middle = y > x * 0.414213562
    t = where(steep, 0.0 - x, where(middle, y - x, y)) / where(steep, y, where(middle, y + x, x))
    z = t * t
    p = fma(z, -6.0777606e-2, 1.059364e-1)
    p = fma(p, z, -1.4243511e-1)
    p = fma(p, z, 1.999847e-1)
    p = fma(p, z, -3.3333315e-1)
    rest = where(steep, HALF_PI_REST, where(middle, QUARTER_PI_REST, 0.0))
    return fma(p * z, t, rest) + t + where(steep, HALF_PI, where(middle, QUARTER_PI, 0.0))


@inlined
def atan(x):
    """Return the arc tangent: 1.86 ulp, 1.80 without."""
    return copysign(_arc(absolute(x), splat(x, 1.0)), x)


@inlined
def atan2(y, x):
    """Return the angle of the point (x, y), in [−π, π]; a zero counts with its sign.

    1.81 ulp, 1.83 without, over two million pairs.
    """
    a = absolute(y)
    b = absolute(x)
    both = where(a > MOST, b, 0.0) > MOST  # both infinite: the diagonal
    a = where(both, 1.0, a)
    b = where(both, 1.0, b)
    larger = where(a > b, a, b)
    scale = where(larger > 8.5e37, 0.25, where(larger < 1e-30, 1.2676506e30, 1.0))
    b = where(larger <= 0.0, 1.0, b * scale)
    angle = _arc(a * scale, b)
    return copysign(where(copysign(splat(x, 1.0), x) < 0.0, PI - (angle - PI_REST), angle), y)


@inlined
def _asin_or_its_rest(a, far):
    """Return asin a, and where `far` (a > ½) asin √((1 − a)/2) = π/4 − ½·asin a: an odd polynomial of degree 11."""
    z = where(far, (1.0 - a) * 0.5, a * a)
    t = where(far, sqrt(z), a)
    p = fma(z, 4.2178228e-2, 2.4172953e-2)
    p = fma(p, z, 4.5471607e-2)
    p = fma(p, z, 7.4952887e-2)
    p = fma(p, z, 1.6666753e-1)
    return fma(p * z, t, t)


@inlined
def asin(x):
    """Return the arc sine; NaN beyond ±1: 2.27 ulp, 2.31 without."""
    a = absolute(x)
    far = a > 0.5
    y = _asin_or_its_rest(a, far)
    return copysign(where(far, HALF_PI - (y + y - HALF_PI_REST), y), x)


@inlined
def acos(x):
    """Return the arc cosine; NaN beyond ±1: 1.12 ulp, 1.16 without."""
    a = absolute(x)
    far = a > 0.5
    y = _asin_or_its_rest(a, far)
    beyond = where(x > 0.0, y + y, PI - (y + y - PI_REST))
    return where(far, beyond, HALF_PI - (copysign(y, x) - HALF_PI_REST))


# ---- hyperbolic functions ----------------------------------------------------------------------------------------


@inlined
def _halves(a):
    """Return P, M, u and v for 0 ≤ a ≤ 89.42, where eᵃ/4 = P·(1 + u) and e⁻ᵃ/4 = M·(1 − v).

    a = n·ln 2 + r, P = 2ⁿ⁻², M = 2⁻ⁿ⁻², u = eʳ − 1, v = u/(1 + u) = 1 − e⁻ʳ.
    """
    a = where(a > 89.5, 89.5, a)
    n = nearest(a * np.float32(1.4426950408889634))
    u = expm1_of_rest(a, n)
    return power_of_two(n - 2.0), power_of_two(0.0 - where(n > 100.0, 100.0, n) - 2.0), u, u / (u + 1.0)


@inlined
def sinh(x):
    """Return (eˣ − e⁻ˣ)/2, without cancellation near 0 and without overflow before the result's.

    2.27 ulp, 2.34 without.
    """
    a = absolute(x)
    P, M, u, v = _halves(a)
    y = (P - M + fma(P, u, M * v)) * 2.0
    return where(a < NO_SQUARE, x, copysign(where(a > 89.5, np.inf, y), x))


@inlined
def cosh(x):
    """Return (eˣ + e⁻ˣ)/2, without overflow before the result's: 1.64 ulp, 1.63 without."""
    a = absolute(x)
    P, M, u, v = _halves(a)
    return where(a > 89.5, np.inf, (P + M + fma(P, u, 0.0 - M * v)) * 2.0)


@inlined
def _log1p_of_sum(a, rest):
    """Return log(1 + rest), where rest = a + √(a² ± 1) − 1; log 2a where the square may overflow."""
    large = a > 1e9
    return log1p(where(large, a, rest)) + where(large, LN2, 0.0)


@inlined
def asinh(x):
    """Return log(x + √(x² + 1)) = log(1 + x + x²/(1 + √(x² + 1))): 2.71 ulp, 2.81 without."""
    a = absolute(x)
    z = a * a
    return where(a < NO_SQUARE, x, copysign(_log1p_of_sum(a, a + z / (sqrt(z + 1.0) + 1.0)), x))


@inlined
def acosh(x):
    """Return log(x + √(x² − 1)) = log(1 + t + √(t² + 2t)), t = x − 1; NaN below 1: 2.73 ulp, 2.77 without."""
    t = x - 1.0
    return where(x < 1.0, np.nan, _log1p_of_sum(x, t + sqrt(fma(t, t, t + t))))


@inlined
def atanh(x):
    """Return ½·log((1 + x)/(1 − x)); NaN beyond ±1: 3.19 ulp, 3.11 without."""
    a = absolute(x)
    return copysign(where(a < 0.33, log_ratio(a), log((a + 1.0) / (1.0 - a))) * 0.5, x)


# ---- exponentials, logarithms and roots --------------------------------------------------------------------------


@inlined
def exp2(x):
    """Return 2ˣ = 2ⁿ·eʳ, r = (x − n)·ln 2; exact for integers: 1.02 ulp, 0.99 without."""
    x = where(x > 129.0, 129.0, x)
    x = where(x < -151.0, -151.0, x)
    n = nearest(x)
    p = expm1_near_zero((x - n) * LN2) + 1.0
    half = nearest(n * 0.5)
    return p * power_of_two(half) * power_of_two(n - half)


@inlined
def _exponent_and_log(x):
    """Return e and log m of x = m·2ᵉ with m in [√½, √2)."""
    small = x < SMALLEST_NORMAL
    y = where(small, x * 16777216.0, x)
    m = mantissa(y)
    return exponent(y) - where(small, 24.0, 0.0), log_ratio((m - 1.0) / (m + 1.0))


@inlined
def _with_ends_of_log(x, y):
    """Return y, a logarithm of x; −∞ for 0, NaN below 0, infinity and NaN of themselves."""
    y = where(x < np.inf, y, x)
    return where(x > 0.0, y, where(x < 0.0, np.nan, where(x <= 0.0, -np.inf, x)))


@inlined
def log2(x):
    """Return the logarithm to base 2, e + log m·log₂ e; exact for powers of 2: 2.74 ulp, 2.95 without."""
    e, l = _exponent_and_log(x)
    return _with_ends_of_log(x, fma(l, LOG2_E_HIGH, fma(l, LOG2_E_LOW, e)))


@inlined
def log10(x):
    """Return the logarithm to base 10, e·log₁₀ 2 + log m·log₁₀ e: 3.03 ulp, 3.28 without."""
    e, l = _exponent_and_log(x)
    y = fma(e, LOG10_2_LOW, fma(l, LOG10_E_HIGH, l * LOG10_E_LOW))
    return _with_ends_of_log(x, fma(e, LOG10_2_HIGH, y))


@inlined
def cbrt(x):
    """Return ∛x: a polynomial of degree 4 in the mantissa, and one Newton step with the residual t³ − v in float64.

    0.51 ulp, 0.51 without.
    """
    a = absolute(x)
    small = a < SMALLEST_NORMAL
    y = where(small, a * 16777216.0, a)
    e = exponent(y)
    m = mantissa(y)
    k = nearest(e * 0.333333333)
    j = e - k * 3.0
    up = j > 0.5
    down = j < -0.5
    p = fma(m, -3.7786135e-2, 2.1693125e-1)
    p = fma(p, m, -5.3562449e-1)
    p = fma(p, m, 9.0481692e-1)
    t = fma(p, m, 4.516667e-1) * where(up, 1.25992105, where(down, 0.793700526, 1.0))
    v = m * where(up, 2.0, where(down, 0.5, 1.0))
    residual = narrow(t, wide(t) * wide(t) * wide(t) - wide(v))
    t = t - residual / (t * t * 3.0)
    y = t * power_of_two(where(small, k - 8.0, k))
    return copysign(where(a <= 0.0, a, where(a < np.inf, y, a)), x)


@inlined
def hypot(x, y):
    """Return √(x² + y²), in float64, so that no square leaves the range; infinity if one is, even beside NaN.

    0.51 ulp, 0.51 without, over two million pairs.
    """
    a = absolute(x)
    b = absolute(y)
    root = narrow(x, sqrt(wide(x) * wide(x) + wide(y) * wide(y)))
    return where(a > MOST, a, where(b > MOST, b, root))


# ---- erfc, gamma, lgamma -----------------------------------------------------------------------------------------


@inlined
def erfc(x):
    """Return 1 − erf x, from x = ½ on as e^(−x²)·P((x − 2)/(x + 2))/(1 + 2x) (after Shepherd and Laframboise 1981).

    x² is taken in float64 and its exponential in two parts, since an error in it is one of the same size in the result.
    3.88 ulp, 3.89 without.
    """
    a = absolute(x)
    a = where(a > 11.0, 11.0, a)
    square = wide(a) * wide(a)
    high = narrow(a, square)
    low = narrow(a, square - wide(high))
    e = exp(0.0 - high)
    e = fma(e, 0.0 - low, e)
    t = (a - 2.0) / (a + 2.0)
    p = fma(t, -3.9832462e-4, -1.2260909e-3)
    p = fma(p, t, 1.3130763e-3)
    p = fma(p, t, 8.62851e-3)
    p = fma(p, t, -8.0603999e-3)
    p = fma(p, t, -5.4203465e-2)
    p = fma(p, t, 1.640555e-1)
    p = fma(p, t, -1.660315e-1)
    p = fma(p, t, -9.2763989e-2)
    p = fma(p, t, 1.2769784)
    y = e * (p / fma(a, 2.0, 1.0))
    return where(absolute(x) <= 0.5, 1.0 - erf_near_zero(x), where(x < 0.0, 2.0 - y, y))


@inlined
def _gamma(x):
    """Return Γ(x) in float64 for −43 ≤ x ≤ 36, by Γ(x + 1) = x·Γ(x) from Γ(y) = 1 + (y − 1)·(y − 2)·R(y), 1 ≤ y ≤ 2."""
    y = wide(x)
    y = where(y < -43.0, -43.0, y)
    y = where(y > 36.0, 36.0, y)
    above = where(y < np.inf, 1.0, y)
    below = above
    for _ in range(44):
        up = y < 1.0
        down = y > 2.0
        below = where(up, below * y, below)
        y = where(up, y + 1.0, where(down, y - 1.0, y))
        above = where(down, above * y, above)
    t = y - 1.5
    p = t * 0.0008309957179965568 - 0.0012464595952854476
    p = p * t + 0.0009866715926988819
    p = p * t - 0.0014798311359875997
    p = p * t + 0.0026055927720300518
    p = p * t - 0.003907261762439512
    p = p * t + 0.0057685472883876755
    p = p * t - 0.00864528541544172
    p = p * t + 0.012966314689721304
    p = p * t - 0.01938625815520573
    p = p * t + 0.029079072466171054
    p = p * t - 0.042848331102320295
    p = p * t + 0.0658800761122167
    p = p * t - 0.0882351413431189
    p = p * t + 0.1611153780012052
    p = p * t - 0.12935358979334724
    p = p * t + 0.45509229818896796
    return ((y - 1.0) * (y - 2.0) * p + 1.0) * above / below


@inlined
def gamma(x):
    """Return Γ(x); ±∞ for ±0, NaN for negative integers: 0.51 ulp, 0.51 without."""
    y = narrow(x, _gamma(x))
    y = where(x < -42.5, 0.0, y)  # the next normal numbers are far away
    return where(x < 0.0, where(floor(x) < x, y, np.nan), where(absolute(x) <= 0.0, 1.0 / x, y))


@inlined
def lgamma(x):
    """Return log |Γ(x)|; infinity for 0, −1, −2, … and for ±∞.

    Up to |x| = 30, Γ(x) and its distance from 1 are taken in float64, so that the result is accurate beside its zeros
    too. Beyond, Stirling's series, with Γ(−a)·Γ(a) = −π/(a·sin πa) below 0. 2.60 ulp, 2.60 without.
    """
    a = absolute(x)
    far = a > 30.0
    near = _gamma(where(far, 30.0, x))
    near = where(near < 0.0, 0.0 - near, near)
    d = narrow(a, near - 1.0)
    tiny = a < 1e-10  # Γ(x) = 1/x, which may overflow
    l = log(where(far, a, where(tiny, a, narrow(a, near))))
    inner = where(tiny, 0.0 - l, where(absolute(d - 0.25) <= 0.75, log_ratio(d / (d + 2.0)), l))
    outer = fma(a - 0.5, l - 1.0, 1.0 / (a * 12.0) + 0.418938533)
    reflected = 1.14472989 - log(a * sin(absolute(x - nearest(x)) * PI)) - outer
    outer = where(x < 0.0, where(a < 8388608.0, reflected, np.inf), outer)
    return where(far, outer, inner)


@inlined
def fmod(x, y):
    """Return x − y·trunc(x/y), exact for |x/y| < 2²⁹; 0 beyond, where neighbouring x are more than 32 y apart."""
    a = wide(absolute(x))
    b = wide(absolute(y))
    b = where(b > MOST, 1e300, b)
    q = trunc(a / b)
    r = a - q * b
    r = where(r < 0.0, r + b, r)
    return copysign(narrow(x, where(q > 536870912.0, r * 0.0, r)), x)
