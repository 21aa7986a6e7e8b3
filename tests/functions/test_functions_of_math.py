"""Functions of math and NumPy in custom activations and losses: errors in ulps, ends of ranges, and whole networks."""

import ctypes
import math
import platform
import re

import numba
import numpy as np
import pytest
from marks import slow_but

from fastprop import SGD, Activation, Loss, Network
from fastprop.activations import ACTIVATION_SOURCE
from fastprop.functions.function import compiled
from fastprop.functions.symbolic import COMPOSED, FUNCTIONS, Lines, trace
from fastprop.kernels import elementwise, functions, simd
from fastprop.kernels.elementwise import ACTIVATION
from fastprop.kernels.simd import LANES, load, store

FLOAT32_MAX = float(np.finfo(np.float32).max)
TINY = float(np.finfo(np.float32).tiny)
INF, NAN = math.inf, math.nan
STEP = 4001  # every STEP-th bit pattern is evaluated: 500,000 of each sign


def of_arrays(function):
    """Make a function of math one of arrays."""

    def of(x):
        try:
            return function(x)
        except OverflowError:
            return INF
        except ValueError:
            return NAN

    return np.vectorize(of, otypes=[float])


EXACT = {
    "sin": np.sin, "cos": np.cos, "tan": np.tan, "asin": np.arcsin, "acos": np.arccos, "atan": np.arctan,
    "sinh": np.sinh, "cosh": np.cosh, "asinh": np.arcsinh, "acosh": np.arccosh, "atanh": np.arctanh, "exp2": np.exp2,
    "log2": np.log2, "log10": np.log10, "cbrt": np.cbrt, "erfc": of_arrays(math.erfc), "gamma": of_arrays(math.gamma),
    "lgamma": of_arrays(math.lgamma), "floor": np.floor, "ceil": np.ceil, "trunc": np.trunc, "nearest": np.rint,
}  # fmt: skip
EXACT_OF_TWO = {"atan2": np.arctan2, "hypot": np.hypot, "fmod": np.fmod, "copysign": np.copysign}
ODD = ("sin", "tan", "asin", "atan", "sinh", "asinh", "atanh", "cbrt")


def in_vectors(name):
    """Compile a function of vectors into one of an array whose length is a multiple of 16."""
    function = getattr(functions, name, None) or getattr(simd, name)
    if name in EXACT_OF_TWO:

        @numba.njit
        def apply(out, x, y):
            for i in range(0, len(x), LANES):
                store(out, i, function(load(x, i), load(y, i)))
    else:

        @numba.njit
        def apply(out, x):
            for i in range(0, len(x), LANES):
                store(out, i, function(load(x, i)))

    return apply


COMPILED = {name: in_vectors(name) for name in (*EXACT, *EXACT_OF_TWO)}


def evaluate(name, *arrays):
    """Return the compiled function in float32, and the exact one in float64."""
    arrays = [np.asarray(a, np.float32) for a in arrays]
    size = len(arrays[0])
    whole = [np.resize(a, -(-size // LANES) * LANES) for a in arrays]
    out = np.full_like(whole[0], NAN)
    COMPILED[name](out, *whole)
    with np.errstate(all="ignore"):
        exact = (EXACT | EXACT_OF_TWO)[name](*(a.astype(np.float64) for a in arrays))
    return out[:size], exact


def rounded(exact):
    with np.errstate(over="ignore"):
        return exact.astype(np.float32)


def ulps(actual, exact):
    """Return the distances in units in the last place of the float32 nearest to the exact value."""
    with np.errstate(invalid="ignore"):
        return np.abs(actual - exact) / np.spacing(np.abs(rounded(exact))).astype(np.float64)


def agree(actual, exact, most=0.0):
    """Return where two arrays agree within ulps, with the signs of zeros and the places of infinities and of NaN."""
    expected = rounded(exact)
    close = (actual == expected) | (ulps(actual, exact) <= most)
    return np.isnan(actual) & np.isnan(expected) | close & (np.signbit(actual) == np.signbit(expected))


def every_so_many(low, high, step=STEP):
    """Return float32 from low to high, evenly in their bits, so that every power of two is met as often; both ends."""
    first, last = (int(np.float32(abs(end)).view(np.int32)) for end in (low, high))
    magnitudes = np.append(np.arange(first, last, step), last).astype(np.int32).view(np.float32)
    return np.copysign(magnitudes, np.float32(-1.0 if np.signbit(low) else 1.0))


def same(actual, expected):
    """Whether values, signs of zeros and places of NaN agree."""
    return bool(agree(actual, expected).all())


# ---- errors ------------------------------------------------------------------------------------------------------

# Bounds in ulp; the measured maxima are in the docstrings of fastprop/kernels/functions.py.
BOUNDS = [
    ("sin", 0.0, 1e5, 1.7),
    ("sin", -1e5, -4.2e8, 1.7),
    ("cos", 0.0, 1e5, 1.7),
    ("cos", -1e5, -4.2e8, 1.7),
    ("tan", 0.0, 1e5, 4.0),
    ("tan", -1e5, -4.2e8, 4.0),
    ("atan", 0.0, FLOAT32_MAX, 2.1),
    ("asin", 0.0, 1.0, 2.6),
    ("acos", 0.0, 1.0, 1.3),
    ("acos", -0.0, -1.0, 1.3),
    ("sinh", 0.0, 89.41, 2.6),
    ("cosh", 0.0, 89.41, 1.8),
    ("cosh", -0.0, -89.41, 1.8),
    ("asinh", 0.0, FLOAT32_MAX, 3.1),
    ("acosh", 1.0, FLOAT32_MAX, 3.1),
    ("atanh", 0.0, 0.99999994, 3.5),
    ("exp2", 0.0, 127.99999, 1.1),
    ("exp2", -0.0, -126.0, 1.1),
    ("exp2", -126.0, -149.0, 1.1),  # results are denormal
    ("log2", 1e-45, TINY, 0.6),
    ("log2", TINY, FLOAT32_MAX, 3.2),
    ("log10", 1e-45, TINY, 0.6),
    ("log10", TINY, FLOAT32_MAX, 3.5),
    ("cbrt", 0.0, FLOAT32_MAX, 0.51),
    ("erfc", 0.0, 9.19, 4.2),
    ("erfc", 9.19, 10.05, 1.6),  # results are denormal
    ("erfc", -0.0, -FLOAT32_MAX, 1.6),
    ("gamma", 2.94e-39, 35.04, 0.51),
    ("gamma", -2.94e-39, -36.0, 0.51),
    ("gamma", -36.0, -43.0, 0.51),
    ("lgamma", 1e-45, 4e36, 2.9),
    ("lgamma", -1e-45, -30.0, 2.9),
    ("lgamma", -30.0, -8388607.5, 2.9),
]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "low", "high", "most"), BOUNDS)
def test_error_over_the_whole_range(name, low, high, most):
    x = every_so_many(low, high)
    if name in ("gamma", "lgamma") and low < 0:
        x = x[x != np.floor(x)]  # the poles
    actual, exact = evaluate(name, x)
    errors = ulps(actual, exact)
    worst = int(errors.argmax())
    assert errors[worst] <= most, f"{name}({x[worst]!r}) is off by {errors[worst]:.2f} ulp"


def test_every_function_has_a_bound():
    whole = {"floor", "ceil", "trunc", "nearest"}
    assert {name for name, *_ in BOUNDS} | whole == set(EXACT)
    elsewhere = {*vars(elementwise), "sqrt", "absolute"}  # tests of elementwise.py; instructions
    assert set(FUNCTIONS.values()) - elsewhere <= {*EXACT, *EXACT_OF_TWO}


def pairs(size=1 << 18):
    """Return pairs of any bits, and pairs of ordinary numbers whose ratios span many powers of two."""
    rng = np.random.default_rng(0)
    ordinary = rng.normal(0, 1, (2, size)) * np.exp(rng.normal(0, 3, (2, size)))
    return np.hstack([rng.integers(0, 2**32, (2, size), dtype=np.uint32).view(np.float32), ordinary.astype(np.float32)])


@pytest.mark.parametrize(("name", "most"), [("atan2", 2.1), ("hypot", 0.51), ("copysign", 0.0)])
def test_error_of_functions_of_two(name, most):
    x, y = pairs()
    actual, exact = evaluate(name, x, y)
    assert agree(actual, exact, most).all()


def test_fmod_is_exact_up_to_2_to_the_29th():
    x, y = pairs()
    actual, exact = evaluate("fmod", x, y)
    with np.errstate(all="ignore"):
        near = ~(np.abs(x.astype(float) / y) >= 2**29) | (y == 0)
    assert near.sum() > len(x) // 2
    assert same(actual[near], exact[near])
    assert (actual[~near & np.isfinite(x)] == 0).all()


@pytest.mark.parametrize("name", ["floor", "ceil", "trunc", "nearest"])
def test_whole_numbers_are_exact(name):
    x = np.concatenate([every_so_many(0.0, INF), every_so_many(-0.0, -INF), np.arange(-9, 9, 0.25), [NAN]])
    actual, exact = evaluate(name, x)
    assert same(actual, exact)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["sin", "cos"])
def test_sine_and_cosine_of_huge_numbers_stay_within_one(name):
    """Beyond 4.2e8, where neighbouring float32 are 32 apart, they are not accurate, but never out of range."""
    actual, _ = evaluate(name, every_so_many(1e8, FLOAT32_MAX, 101))
    assert (np.abs(actual) <= 1).all()


def test_lgamma_beside_its_zeros():
    """Relative to 1e-6, also where log |Γ| is 1e-7."""
    zeros = [1.0, 2.0, -2.4570247, -2.7476826, -3.1435808, -3.9552942, -4.0393610, -4.9915643, -5.0082183, -5.9986010]
    bits = np.array(zeros, np.float32).view(np.int32)
    x = (bits[:, None] + np.arange(-200, 201)).ravel().astype(np.int32).view(np.float32)
    actual, exact = evaluate("lgamma", x)
    np.testing.assert_allclose(actual, exact, rtol=1e-6, atol=1e-13)


# ---- ends and special values -------------------------------------------------------------------------------------

SPECIAL = np.array([
    0, -0.0, 1, -1, 0.5, -0.5, 2, -2, INF, -INF, NAN, 1e-45, -1e-45, TINY, -TINY, 40, -40, -45, -43, 88.8, 1e10, 3e38,
    -3e38,
], np.float32)  # fmt: skip


@pytest.mark.parametrize("name", slow_but(["sin", "cbrt"], EXACT))
def test_special_values(name):
    """Zeros with their sign, infinities, NaN and the ends of the domain, as NumPy has them."""
    x = SPECIAL[np.abs(SPECIAL) < 1e9] if name in ("sin", "cos", "tan") else SPECIAL
    actual, exact = evaluate(name, x)
    if name == "gamma":
        exact[x == 0] = [INF, -INF]
    elif name == "lgamma":
        exact[(x <= 0) & (x == np.floor(x))] = INF
    wrong = ~agree(actual, exact, 4)
    assert not wrong.any(), [*zip(x[wrong], actual[wrong], exact[wrong], strict=True)]


@pytest.mark.parametrize("name", ["sin", "cos", "tan"])
def test_trigonometry_of_infinity_is_nan(name):
    assert np.isnan(evaluate(name, [INF, -INF, NAN])[0]).all()


@pytest.mark.parametrize("name", EXACT_OF_TWO)
def test_special_pairs(name):
    x, y = (a.ravel() for a in np.meshgrid(SPECIAL, SPECIAL))
    actual, exact = evaluate(name, x, y)
    if name == "fmod":
        with np.errstate(all="ignore"):
            far = np.isfinite(exact) & (np.abs(x.astype(float) / y) >= 2**29)
        exact[far] = np.copysign(0, x[far])
    wrong = ~agree(actual, exact, 2)
    assert not wrong.any(), [*zip(x[wrong], y[wrong], actual[wrong], exact[wrong], strict=True)]


@pytest.mark.parametrize("name", ODD)
def test_odd_functions_are_odd_bit_for_bit(name):
    x = every_so_many(0.0, 1.0 if name in ("asin", "atanh") else 80.0, 40_009)
    assert same(-evaluate(name, x)[0], evaluate(name, -x)[0])


def test_exact_results():
    """2ⁿ of whole n, log₂ of powers of 2, cube roots of cubes, whole numbers' factorials and triples of Pythagoras."""
    n = np.arange(-149, 128, dtype=np.float32)
    powers = np.ldexp(np.float32(1), n.astype(int)).astype(np.float32)
    assert same(evaluate("exp2", n)[0], powers)
    assert same(evaluate("log2", powers)[0], n)
    roots = np.arange(-256, 257, dtype=np.float32)
    assert same(evaluate("cbrt", roots**3)[0], roots)
    whole = np.arange(1, 14, dtype=np.float32)
    assert same(evaluate("gamma", whole)[0], np.float32([math.factorial(int(k) - 1) for k in whole]))
    assert same(evaluate("lgamma", np.float32([1, 2]))[0], np.float32([0, 0]))
    assert same(evaluate("hypot", np.float32([3, 5, 3e38]), np.float32([4, 12, 0]))[0], np.float32([5, 13, 3e38]))
    assert same(evaluate("acos", np.float32([1, -1]))[0], np.float32([0, math.pi]))


# ---- vectors of float64 ------------------------------------------------------------------------------------------


def test_wide_vectors_compute_in_float64():
    """Arithmetic, comparisons and roundings of 16 float64, with numbers on either side, rounded to float32 once."""

    @numba.njit
    def apply(out, x, y):
        a, b = simd.wide(load(x, 0)), simd.wide(load(y, 0))
        c = simd.where(a < b, (a + 1e9) - 1e9, 2.0 - a * b) / 3.0 + simd.sqrt(simd.absolute(a))
        c = simd.where(a > 1.0, c, simd.floor(a) + simd.trunc(b) * 0.5)
        store(out, 0, simd.narrow(simd.where(a <= -1.0, simd.nearest(a * 3.0), simd.where(b >= 0.0, c, 1.0 - c))))

    x, y = np.random.default_rng(0).normal(0, 2, (2, LANES)).astype(np.float32)
    out, a, b = np.zeros_like(x), x.astype(float), y.astype(float)
    apply(out, x, y)
    c = np.where(a < b, (a + 1e9) - 1e9, 2 - a * b) / 3 + np.sqrt(abs(a))
    c = np.where(a > 1, c, np.floor(a) + np.trunc(b) * 0.5)
    expected = np.where(a <= -1, np.rint(a * 3), np.where(b >= 0, c, 1 - c)).astype(np.float32)
    np.testing.assert_array_equal(out, expected)


# ---- from functions to compiled code -----------------------------------------------------------------------------


def kernel_of(function):
    """Return a function of an array that runs the code generated for an activation."""
    lines = Lines(z="z")
    result = lines.name_of(trace(function, ("z",)))
    routine = compiled("test_activation", ACTIVATION, ACTIVATION_SOURCE, LINES=lines.lines, RESULT=result)
    call = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64)(routine.address)

    def apply(z):
        whole = np.resize(np.asarray(z, np.float32), -(-len(z) // LANES) * LANES)
        out = np.full_like(whole, NAN)
        call(out.ctypes.data, whole.ctypes.data, len(whole) // LANES)
        return out[: len(z)]

    return apply


TRACED = {
    "trigonometry": lambda z: math.sin(z) + 2 * math.cos(z) - math.tan(z / 3) + math.atan(z) * math.asin(z / 9),
    "inverse": lambda z: math.acos(z / 8) + math.atan2(z, 2) + math.atan2(1, z) + math.atanh(z / 7) + math.asinh(z),
    "hyperbolic": lambda z: math.sinh(z) - math.cosh(z) / 3 + math.acosh(1 + z * z),
    "powers": lambda z: math.exp2(z) + math.cbrt(z) + math.log2(3 + z * z) + math.log10(2 + abs(z)) + math.ldexp(z, 3),
    "lengths": lambda z: math.hypot(z, 2) + math.hypot(z, 1, z) + math.hypot(z) + math.dist([z, 1], [2, z]),
    "probability": lambda z: math.erfc(z) + math.gamma(z) + math.lgamma(z) * 0.1,
    "whole numbers": lambda z: math.floor(z) + 2 * math.ceil(z) + 4 * math.trunc(z) + 8 * round(z) + math.modf(z)[0],
    "remainders": lambda z: z % 0.7 + 3 * (z % -1.25) + math.fmod(z, 0.9) + 5 * math.remainder(z, 0.6) + z // 0.3,
    "divmod": lambda z: divmod(z, 0.75)[0] + 0.1 * divmod(z, 0.75)[1],
    "angles": lambda z: math.degrees(z) / 90 + math.radians(z) + math.copysign(2.0, z) + math.copysign(z, -1),
    "sums": lambda z: math.fsum([z, 1.0, z * z]) + math.prod([z, 2, z]) + math.fsum(z * i for i in range(3)),
    "bases": lambda z: math.log(2 + z * z, 3) + math.log(5, 2 + abs(z)),
    "conditions": lambda z: 1.0 if math.isnan(z) or math.isinf(z) else 2.0 if math.isfinite(z) and z > 0 else 3.0,
    "NumPy": lambda z: np.arctan(z) + np.arcsin(z / 9) * np.arccos(z / 9) - np.arctan2(z, 2.0) + np.arcsinh(z),
    "more of NumPy": lambda z: np.sinh(z) + np.exp2(z) + np.cbrt(z) + np.log2(3 + z * z) + np.arctanh(z / 7),
    "steps of NumPy": lambda z: np.floor(z) + np.rint(z) + np.trunc(z) + np.round(z) + np.ceil(z) + np.heaviside(z, 1),
    "NumPy's remainders": lambda z: np.remainder(z, 0.7) + np.fmod(z, 0.9) + np.mod(z, -0.4) + np.floor_divide(z, 0.3),
    "NumPy's angles": lambda z: np.degrees(z) / 90 + np.deg2rad(z) + np.rad2deg(z) / 99 + np.hypot(z, 1) + np.sinc(z),
    "NumPy's conditions": lambda z: np.where(np.isfinite(z) & ~np.signbit(z) | (z < -2), 1.0, np.isnan(z)),
    "NumPy's limits": lambda z: np.clip(z, -0.5, 1.5) + np.logaddexp(z, 0.3) + np.copysign(0.5, z),
    "comparisons as numbers": lambda z: (z > 0) * z + 0.1 * z * (z <= 0) + (z > 1),
    "logic": lambda z: np.where(np.logical_or(z < -1, np.logical_and(z > 0, z < 1)), 1.0, np.logical_not(z > 2) * 2.0),
}  # fmt: skip


@pytest.mark.parametrize("name", TRACED)
def test_a_traced_function_is_the_function(name):
    """In NumPy's float64, and as it is compiled, at points on both sides of every kink."""
    function = TRACED[name]
    z = np.array([-2.6, -1.9, -1.45, -0.6, -0.35, 0.2, 0.45, 0.85, 1.35, 1.7, 2.95, 5.2])
    expected = np.array([float(function(x)) for x in z.tolist()])
    np.testing.assert_allclose(trace(function, ("z",)).evaluate(z=z) * np.ones(len(z)), expected, rtol=1e-12)
    np.testing.assert_allclose(kernel_of(function)(z), expected, rtol=3e-6, atol=3e-6)


def test_conditions_on_nan_and_infinity():
    given = np.array([NAN, INF, -INF, 1.0, 0.0], np.float32)
    for function, expected in (
        (lambda z: np.where(np.isnan(z), 7.0, z), [7, INF, -INF, 1, 0]),
        (lambda z: z if math.isfinite(z) else 0.0, [0, 0, 0, 1, 0]),
        (lambda z: 1.0 if math.isinf(z) else 0.0, [0, 1, 1, 0, 0]),
    ):
        np.testing.assert_array_equal(kernel_of(function)(given), np.float32(expected))
        np.testing.assert_array_equal(trace(function, ("z",)).evaluate(z=given), expected)


def test_python_3_12_and_3_13_functions_are_traced_as_sums_and_products():
    z = trace(lambda z: z, ("z",))
    assert COMPOSED["sumprod"]([z, 2.0], [z, 3.0]).evaluate(z=5.0) == 31
    assert COMPOSED["fma"](z, z, 1.0).evaluate(z=5.0) == 26


def with_default(z, g=math.sin, *, h=math.cosh):
    return g(z) + h(z)


def test_functions_of_math_as_defaults_and_by_name():
    from math import cbrt, dist, isfinite, pow

    def by_name(z):
        return cbrt(z) + dist([z], [1.0]) + pow(z, 2) if isfinite(z) else 0.0

    z = np.array([-1.5, 0.5, 2.0])
    for function in (with_default, by_name):
        np.testing.assert_allclose(trace(function, ("z",)).evaluate(z=z), [function(x) for x in z.tolist()], rtol=1e-12)


REFUSED = {
    "ceil of digits": (lambda z: round(z, 2), "round was called with a number of digits"),
    "ulp": (lambda z: math.ulp(z), r"math\.ulp is not supported"),
    "frexp": (lambda z: math.frexp(z)[0], r"math\.frexp is not supported"),
    "factorial": (lambda z: math.factorial(z), r"math\.factorial is not supported"),
    "nextafter": (lambda z: math.nextafter(z, 1.0), r"math\.nextafter is not supported"),
    "isclose": (lambda z: 1.0 if math.isclose(z, 1.0) else 0.0, r"math\.isclose is not supported"),
    "NumPy's spacing": (lambda z: np.spacing(z), r"np\.spacing was called in a way that is not supported"),
    "NumPy's interp": (lambda z: np.interp(z, [0, 1], [0, 1]), r"np\.interp was called in a way"),
    "a whole number": (lambda z: [1.0, 2.0][int(z)], "a symbol was passed to a function that does not take one"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused_is_named_with_what_is_not(name):
    function, message = REFUSED[name]
    with pytest.raises(TypeError, match=message) as error:
        Activation("g", function, lambda z: 1.0)
    for supported in (*FUNCTIONS, *COMPOSED):
        assert supported in str(error.value)


def test_every_function_of_math_is_supported_or_refused_for_a_reason():
    whole = {"comb", "factorial", "gcd", "isqrt", "lcm", "perm"}  # functions of whole numbers
    bits = {"frexp", "nextafter", "ulp"}  # functions of a number's representation
    every = {name for name in dir(math) if callable(getattr(math, name)) and not name.startswith("_")}
    assert every - whole - bits - {"isclose"} <= {*FUNCTIONS, *COMPOSED}


def test_the_documentation_names_every_function():
    for name in (*FUNCTIONS, *COMPOSED):
        assert f"``{name}``" in Activation.__doc__


# ---- whole networks ----------------------------------------------------------------------------------------------


def mish_slope(z):
    t = math.tanh(math.log1p(math.exp(z)))
    return t + z * (1 - t * t) / (1 + math.exp(-z))


OWN = {
    "snake": (lambda z: z + math.sin(z) ** 2, lambda z: 1 + math.sin(2 * z)),
    "arctan": (math.atan, lambda z: 1 / (1 + z * z)),
    "softsign": (lambda z: z / (1 + abs(z)), lambda z: 1 / (1 + abs(z)) ** 2),
    "mish": (lambda z: z * math.tanh(math.log1p(math.exp(z))), mish_slope),
    "sine": (lambda z: np.sin(3 * z), lambda z: 3 * np.cos(3 * z)),
    "arcsinh": (np.arcsinh, lambda z: 1 / np.hypot(z, 1)),
    "gudermannian": (lambda z: math.atan(math.sinh(z)), lambda z: 1 / math.cosh(z)),
    "gaussian_tail": (lambda z: math.erfc(z), lambda z: -2 / math.sqrt(math.pi) * math.exp(-z * z)),
    "sawtooth": (lambda z: z - math.floor(z), lambda z: 1.0),
    "root": (lambda z: math.copysign(math.sqrt(1 + abs(z)) - 1, z), lambda z: 0.5 / math.sqrt(1 + abs(z))),
}
LOSSES = {
    "angle": (lambda y_hat, y: 1 - math.cos(y_hat - y), lambda y_hat, y: math.sin(y_hat - y)),
    "logcosh": (lambda y_hat, y: math.log(math.cosh(y_hat - y)), lambda y_hat, y: math.tanh(y_hat - y)),
    "poisson_likelihood": (
        lambda y_hat, y: math.exp(y_hat) - y * y_hat + math.lgamma(y + 1),
        lambda y_hat, y: math.exp(y_hat) - y,
    ),
    "cauchy": (
        lambda y_hat, y: math.log1p((y_hat - y) ** 2),
        lambda y_hat, y: 2 * (y_hat - y) / math.hypot(1, y_hat - y) ** 2,
    ),
}  # fmt: skip


def samples(m=53):
    rng = np.random.default_rng(0)
    return rng.standard_normal((m, 5)).astype(np.float32), rng.uniform(0.05, 0.95, (m, 4)).astype(np.float32)


def forward(net, X):
    """Return the output of a network of custom activations, in float64."""
    A = X.astype(np.float64)
    for layer, g in zip(net.layers, (net.architecture.hidden[0], net.architecture.output), strict=True):
        A = g(A @ layer.W.T.astype(np.float64) + layer.b.astype(np.float64))
    return A


@pytest.mark.parametrize("name", OWN)
def test_networks_of_custom_activations(name):
    """The output against float64, the gradients against central differences, and the cost falls."""
    g = Activation(name, *OWN[name])
    net, (X, Y) = Network((5, 17, 4), g, "identity", rng=1), samples()
    np.testing.assert_allclose(net.forward(X), forward(net, X), rtol=1e-5, atol=3e-6)
    assert net.gradient_check(X[:9], Y[:9]) < 1e-3
    before = net.loss(X, Y)
    for _ in range(20):
        net.train_step(X, Y, SGD(0.01))
    assert net.loss(X, Y) < before


@pytest.mark.parametrize("name", LOSSES)
def test_networks_of_custom_losses(name):
    loss = Loss(name, *LOSSES[name])
    net, (X, Y) = Network((5, 17, 4), "tanh", "identity", loss, rng=1), samples()
    expected = loss(forward(net, X), Y.astype(np.float64)).sum(axis=1).mean()
    assert net.loss(X, Y) == pytest.approx(expected, rel=1e-5)
    assert net.gradient_check(X[:9], Y[:9]) < 1e-3
    for _ in range(20):
        net.train_step(X, Y, SGD(0.05))
    assert net.loss(X, Y) < expected


# ---- machine code ------------------------------------------------------------------------------------------------

LIBM = re.compile(rf"\b_?((?:{'|'.join([*EXACT, *EXACT_OF_TWO, 'exp', 'log', 'rint', 'round', 'fma'])})f?|__svml\w+)\b")


def called(function, arguments):
    """Return the functions of the C library that the machine code of a vector function names."""
    names = [f"load(Z, LANES * (i + {k}))" for k in range(arguments)]
    source = f"def f(A, Z, n):\n    for i in range(n):\n        store(A, LANES * i, function({', '.join(names)}))\n"
    namespace = {"load": load, "store": store, "LANES": LANES, "function": function}
    exec(source, namespace)
    assembly = numba.cfunc(ACTIVATION, nogil=True, error_model="numpy")(namespace["f"])._library.get_asm_str()
    code = [line.split("#")[0] for line in assembly.splitlines()]
    return {name for line in code if not re.match(r"\s*\.|\w+:", line) for name in LIBM.findall(line)}


@pytest.mark.slow
@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="reads the assembly of x86-64")
@pytest.mark.parametrize("name", [*EXACT, *EXACT_OF_TWO])
def test_compiled_code_calls_no_libm(name):
    function = getattr(functions, name, None) or getattr(simd, name)
    assert called(function, 1 + (name in EXACT_OF_TWO)) == set()


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="reads the assembly of x86-64")
def test_that_test_would_see_a_sine():
    from numba.core import types

    def sine(x):
        return math.sin(x)

    assembly = numba.cfunc(types.float32(types.float32))(sine)._library.get_asm_str()
    assert LIBM.search(assembly)
