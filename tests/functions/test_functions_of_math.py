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
from fastprop.activations import ACTIVATION_SOURCE, ACTIVATIONS
from fastprop.functions.function import compiled
from fastprop.functions.symbolic import COMPOSED, FUNCTIONS, Lines, trace
from fastprop.kernels import elementwise, functions, simd
from fastprop.kernels.elementwise import ACTIVATION
from fastprop.kernels.simd import LANES, load, store
from fastprop.losses import LOSSES as BUILT_IN

FLOAT32_MAX, FLOAT64_MAX = (float(np.finfo(dtype).max) for dtype in (np.float32, np.float64))
TINY, TINY_64 = (float(np.finfo(dtype).tiny) for dtype in (np.float32, np.float64))
INF, NAN = math.inf, math.nan
DTYPES = (np.float32, np.float64)
# Every so-manieth bit pattern is evaluated: 500,000 of each sign of float32, 50,000 of float64.
STEPS = {np.float32: 4001, np.float64: 180_000_000_000_001}
BITS = {np.float32: np.int32, np.float64: np.int64}
# What is exact for float64: 64 bits or more where long double has them. Else float64, whose functions are within 1 ulp.
WIDER = {np.float32: np.float64, np.float64: np.longdouble}
IS_WIDER = np.finfo(np.longdouble).nmant > 60


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
OF_THE_LIBRARY = ("gamma", "lgamma")  # in float64
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


def evaluate(name, *arrays, dtype=np.float32):
    """Return the compiled function in a dtype, and the exact one in a wider one."""
    arrays = [np.asarray(a, dtype) for a in arrays]
    size = len(arrays[0])
    whole = [np.resize(a, -(-size // LANES) * LANES) for a in arrays]
    out = np.full_like(whole[0], NAN)
    COMPILED[name](out, *whole)
    with np.errstate(all="ignore"):
        exact = (EXACT | EXACT_OF_TWO)[name](*(a.astype(WIDER[dtype]) for a in arrays))
    return out[:size], exact


def slack(name, dtype):
    """Return the error of the exact value in ulp."""
    if dtype == np.float32:
        return 0.0
    if name in OF_THE_LIBRARY:
        return 12.0  # Python has functions of its own
    return 0.0 if IS_WIDER and name != "erfc" else 1.0


def rounded(exact, dtype):
    with np.errstate(over="ignore"):
        return exact.astype(dtype)


def ulps(actual, exact):
    """Return the distances in units in the last place of the number of actual's dtype nearest to the exact value."""
    wider = WIDER[actual.dtype.type]
    with np.errstate(invalid="ignore"):
        distance = np.abs(actual.astype(wider) - exact)
        return (distance / np.spacing(np.abs(rounded(exact, actual.dtype)))).astype(np.float64)


def agree(actual, exact, most=0.0):
    """Return where two arrays agree within ulps, with the signs of zeros and the places of infinities and of NaN."""
    expected = rounded(exact, actual.dtype)
    close = (actual == expected) | (ulps(actual, exact) <= most)
    return np.isnan(actual) & np.isnan(expected) | close & (np.signbit(actual) == np.signbit(expected))


def every_so_many(low, high, dtype=np.float32, step=None):
    """Return numbers from low to high, evenly in their bits, so that every power of two is met as often; both ends."""
    first, last = (int(dtype(abs(end)).view(BITS[dtype])) for end in (low, high))
    magnitudes = np.append(np.arange(first, last, step or STEPS[dtype]), last).astype(BITS[dtype]).view(dtype)
    return np.copysign(magnitudes, dtype(-1.0 if np.signbit(low) else 1.0))


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


BOUNDS_64 = [
    ("sin", 0.0, 1e5, 1.7),
    ("sin", -1e5, -4.2e8, 1.7),
    ("cos", 0.0, 1e5, 1.7),
    ("cos", -1e5, -4.2e8, 1.7),
    ("tan", 0.0, 1e5, 4.0),
    ("tan", -1e5, -4.2e8, 4.0),
    ("atan", 0.0, FLOAT64_MAX, 2.1),
    ("atan", -0.0, -4.0, 2.1),
    ("asin", 0.0, 1.0, 2.6),
    ("acos", 0.0, 1.0, 1.3),
    ("acos", -0.0, -1.0, 1.3),
    ("sinh", 0.0, 710.47, 2.6),
    ("sinh", -0.0, -3.0, 2.6),
    ("cosh", 0.0, 710.47, 1.8),
    ("cosh", -0.0, -3.0, 1.8),
    ("asinh", 0.0, FLOAT64_MAX, 3.1),
    ("asinh", -0.0, -5.0, 3.1),
    ("acosh", 1.0, FLOAT64_MAX, 3.5),
    ("acosh", 1.0, 3.0, 3.5),
    ("atanh", 0.0, 0.9999999999999999, 3.5),
    ("exp2", 0.0, 1023.9999999999999, 1.1),
    ("exp2", -0.0, -1022.0, 1.1),
    ("exp2", -1022.0, -1074.0, 1.1),  # results are denormal
    ("log2", 5e-324, TINY_64, 0.6),
    ("log2", TINY_64, FLOAT64_MAX, 3.2),
    ("log2", 0.5, 2.0, 3.2),
    ("log10", 5e-324, TINY_64, 0.6),
    ("log10", TINY_64, FLOAT64_MAX, 3.5),
    ("log10", 0.5, 2.0, 3.5),
    ("cbrt", 0.0, FLOAT64_MAX, 0.67),
    ("cbrt", -0.0, -8.0, 0.67),
    ("erfc", 0.0, 26.5, 4.2),
    ("erfc", 26.5, 27.2, 3.0),  # results are denormal
    ("erfc", -0.0, -FLOAT64_MAX, 1.6),
]
EVERY_BOUND = [(dtype, *bound) for dtype, bounds in zip(DTYPES, (BOUNDS, BOUNDS_64), strict=True) for bound in bounds]


@pytest.mark.slow
@pytest.mark.parametrize(("dtype", "name", "low", "high", "most"), EVERY_BOUND)
def test_error_over_the_whole_range(dtype, name, low, high, most):
    x = every_so_many(low, high, dtype)
    if dtype == np.float64:  # half of them uniform
        x = np.concatenate([x, np.random.default_rng(0).uniform(*sorted((low, high)), len(x))])
    if name in ("gamma", "lgamma") and low < 0:
        x = x[x != np.floor(x)]  # the poles
    actual, exact = evaluate(name, x, dtype=dtype)
    errors = ulps(actual, exact)
    worst = int(errors.argmax())
    assert errors[worst] <= most + slack(name, dtype), f"{name}({x[worst]!r}) is off by {errors[worst]:.2f} ulp"


def test_every_function_has_a_bound():
    whole = {"floor", "ceil", "trunc", "nearest"}
    assert {name for name, *_ in BOUNDS} | whole == set(EXACT)
    assert {name for name, *_ in BOUNDS_64} | whole | {*OF_THE_LIBRARY} == set(EXACT)
    elsewhere = {*vars(elementwise), "sqrt", "absolute"}  # tests of elementwise.py; instructions
    assert set(FUNCTIONS.values()) - elsewhere <= {*EXACT, *EXACT_OF_TWO}


def pairs(dtype, size=1 << 18):
    """Return pairs of any bits, and pairs of ordinary numbers whose ratios span many powers of two."""
    rng = np.random.default_rng(0)
    size = size if dtype == np.float32 else size // 8
    ordinary = rng.normal(0, 1, (2, size)) * np.exp(rng.normal(0, 3, (2, size)))
    bits = {np.float32: np.uint32, np.float64: np.uint64}[dtype]
    any_bits = rng.integers(0, np.iinfo(bits).max, (2, size), dtype=bits, endpoint=True).view(dtype)
    return np.hstack([any_bits, ordinary.astype(dtype)])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("name", "most", "most_64"), [("atan2", 2.1, 2.1), ("hypot", 0.51, 1.3), ("copysign", 0.0, 0.0)]
)
def test_error_of_functions_of_two(name, most, most_64, dtype):
    x, y = pairs(dtype)
    actual, exact = evaluate(name, x, y, dtype=dtype)
    assert agree(actual, exact, most if dtype == np.float32 else most_64 and most_64 + slack(name, dtype)).all()


def test_fmod_is_exact_up_to_2_to_the_29th():
    x, y = pairs(np.float32)
    actual, exact = evaluate("fmod", x, y)
    with np.errstate(all="ignore"):
        near = ~(np.abs(x.astype(float) / y) >= 2**29) | (y == 0)
    assert near.sum() > len(x) // 2
    assert same(actual[near], exact[near])
    assert (actual[~near & np.isfinite(x)] == 0).all()


def test_fmod_of_float64_is_exact():
    x, y = pairs(np.float64)
    with np.errstate(all="ignore"):
        assert same(evaluate("fmod", x, y, dtype=np.float64)[0], np.fmod(x, y))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["floor", "ceil", "trunc", "nearest"])
def test_whole_numbers_are_exact(name, dtype):
    x = np.concatenate(
        [every_so_many(0.0, INF, dtype), every_so_many(-0.0, -INF, dtype), np.arange(-9, 9, 0.25), [NAN]]
    )
    actual, exact = evaluate(name, x, dtype=dtype)
    assert same(actual, exact)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["sin", "cos"])
def test_sine_and_cosine_of_huge_numbers_stay_within_one(name):
    """Beyond 4.2e8, where neighbouring float32 are 32 apart, they are not accurate, but never out of range."""
    actual, _ = evaluate(name, every_so_many(1e8, FLOAT32_MAX, step=101))
    assert (np.abs(actual) <= 1).all()
    actual, _ = evaluate(name, every_so_many(1e8, FLOAT64_MAX, np.float64), dtype=np.float64)
    assert (np.abs(actual) <= 1).all()


@pytest.mark.skipif(not IS_WIDER, reason="needs a long double of more bits than float64")
@pytest.mark.parametrize("name", ["sin", "cos", "tan"])
def test_trigonometry_beside_multiples_of_half_pi(name):
    """The float64 next to n·π/2, whose sines or cosines are as small as 1e-16: the reduction has parts enough."""
    n = np.arange(-3000, 3000, dtype=np.int64)
    n = np.concatenate([n, n * 89_107])
    x = n * (math.pi / 2)
    x = np.concatenate([np.nextafter(x, -INF), x, np.nextafter(x, INF)])
    # π/2 in three parts, of 33, 33 and 53 bits; n times the first two are exact in long double
    half = [np.longdouble(part) for part in (1.5707963267341256, 6.077100506303966e-11, 2.0222662487959506e-21)]
    n = np.tile(n, 3).astype(np.longdouble)
    rest = ((x - n * half[0]) - n * half[1]) - n * half[2]
    sine, cosine = np.sin(rest), np.cos(rest)
    quarter = (n % 4).astype(int)
    sines, cosines = (np.choose((quarter + k) % 4, [sine, cosine, -sine, -cosine]) for k in (0, 1))
    exact = {"sin": sines, "cos": cosines, "tan": sines / cosines}[name]
    actual, _ = evaluate(name, x, dtype=np.float64)
    near = x != 0
    assert ulps(actual, exact)[near].max() <= (1.6 if name != "tan" else 3.6)


def test_lgamma_beside_its_zeros():
    """Relative to 1e-6, also where log |Γ| is 1e-7."""
    zeros = [1.0, 2.0, -2.4570247, -2.7476826, -3.1435808, -3.9552942, -4.0393610, -4.9915643, -5.0082183, -5.9986010]
    bits = np.array(zeros, np.float32).view(np.int32)
    x = (bits[:, None] + np.arange(-200, 201)).ravel().astype(np.int32).view(np.float32)
    actual, exact = evaluate("lgamma", x)
    np.testing.assert_allclose(actual, exact, rtol=1e-6, atol=1e-13)


@pytest.mark.parametrize("name", OF_THE_LIBRARY)
def test_gamma_and_lgamma_of_float64_are_those_of_the_library(name):
    """The same bits as Numba's function of one number, and near those of Python, which has functions of its own."""
    scalar = getattr(math, name)

    @numba.njit
    def one_by_one(out, x):
        for i in range(len(x)):
            out[i] = scalar(x[i])

    ordinary = np.random.default_rng(0).uniform(-170, 171, 20_000)
    x = np.concatenate([ordinary, every_so_many(5.6e-309, 171, np.float64), every_so_many(-1e-300, -1e-5, np.float64)])
    actual, exact = evaluate(name, x, dtype=np.float64)
    np.testing.assert_allclose(actual, exact, rtol=4e-15, atol=4e-15 if name == "lgamma" else 0)
    expected = np.empty_like(x)
    one_by_one(expected, x)
    assert same(actual, expected)


# ---- ends and special values -------------------------------------------------------------------------------------

SPECIAL = [
    0, -0.0, 1, -1, 0.5, -0.5, 2, -2, INF, -INF, NAN, 1e-45, -1e-45, TINY, -TINY, 40, -40, -45, -43, 88.8, 1e10, 3e38,
    -3e38,
]  # fmt: skip
SPECIAL_64 = [
    *SPECIAL, 5e-324, -5e-324, TINY_64, -TINY_64, 1e-160, 1e160, -1e160, 171.5, 171.7, -180.5, -200.5, 26.6, 27.3,
    709.8, -745.2, 710.4, 710.6, -1074, -1075.5, 1023.5, 1024, 1e308, -1e308,
]  # fmt: skip


def special(dtype):
    return np.array(SPECIAL if dtype == np.float32 else SPECIAL_64, dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", slow_but(["sin", "cbrt"], EXACT))
def test_special_values(name, dtype):
    """Zeros with their sign, infinities, NaN and the ends of the domain, as NumPy has them."""
    x = special(dtype)
    if name in ("sin", "cos", "tan"):
        x = x[np.abs(x) < 1e8]
    actual, exact = evaluate(name, x, dtype=dtype)
    if name == "gamma":
        overflows = np.abs(x) < 1 / np.finfo(dtype).max
        exact[overflows] = np.copysign(INF, x[overflows])
    elif name == "lgamma":
        exact[(x <= 0) & (x == np.floor(x))] = INF
    wrong = ~agree(actual, exact, 4 + slack(name, dtype))
    assert not wrong.any(), [*zip(x[wrong], actual[wrong], exact[wrong], strict=True)]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["sin", "cos", "tan"])
def test_trigonometry_of_infinity_is_nan(name, dtype):
    assert np.isnan(evaluate(name, [INF, -INF, NAN], dtype=dtype)[0]).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", EXACT_OF_TWO)
def test_special_pairs(name, dtype):
    x, y = (a.ravel() for a in np.meshgrid(special(dtype), special(dtype)))
    actual, exact = evaluate(name, x, y, dtype=dtype)
    if name == "fmod" and dtype == np.float32:
        with np.errstate(all="ignore"):
            far = np.isfinite(exact) & (np.abs(x.astype(float) / y) >= 2**29)
        exact[far] = np.copysign(0, x[far])
    wrong = ~agree(actual, exact, 2 + slack(name, dtype))
    assert not wrong.any(), [*zip(x[wrong], y[wrong], actual[wrong], exact[wrong], strict=True)]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ODD)
def test_odd_functions_are_odd_bit_for_bit(name, dtype):
    x = every_so_many(0.0, 1.0 if name in ("asin", "atanh") else 80.0, dtype, 10 * STEPS[dtype])
    assert same(-evaluate(name, x, dtype=dtype)[0], evaluate(name, -x, dtype=dtype)[0])


@pytest.mark.parametrize(
    ("dtype", "least", "most", "root", "factorials"),
    [(np.float32, -149, 127, 256, 13), (np.float64, -1074, 1023, 9999, 23)],
)
def test_exact_results(dtype, least, most, root, factorials):
    """2ⁿ of whole n, log₂ of powers of 2, cube roots of cubes, whole numbers' factorials and triples of Pythagoras."""

    def of(name, *arrays):
        return evaluate(name, *arrays, dtype=dtype)[0]

    n = np.arange(least, most + 1)
    powers = np.ldexp(dtype(1), n).astype(dtype)
    assert same(of("exp2", n), powers)
    assert same(of("log2", powers), n.astype(dtype))
    roots = np.arange(-root, root + 1, dtype=dtype)
    assert same(of("cbrt", roots**3), roots)
    whole = np.arange(1, factorials + 1)
    exact = np.array([math.factorial(int(k) - 1) for k in whole], dtype)
    assert agree(of("gamma", whole), exact, 0 if dtype == np.float32 else 6).all()
    assert same(of("lgamma", [1, 2]), np.zeros(2, dtype))
    assert same(of("hypot", [3, 5, 3e38], [4, 12, 0]), np.array([5, 13, 3e38], dtype))
    assert same(of("acos", [1, -1]), np.array([0, math.pi], dtype))


# ---- float64 within functions of float32 -------------------------------------------------------------------------


def test_wide_vectors_compute_in_float64():
    """Arithmetic, comparisons and roundings of 16 float64, with numbers on either side, rounded to float32 once."""

    @numba.njit
    def apply(out, x, y):
        a, b = simd.wide(load(x, 0)), simd.wide(load(y, 0))
        c = simd.where(a < b, (a + 1e9) - 1e9, 2.0 - a * b) / 3.0 + simd.sqrt(simd.absolute(a))
        c = simd.where(a > 1.0, c, simd.floor(a) + simd.trunc(b) * 0.5)
        store(out, 0, simd.narrow(out, simd.where(a <= -1.0, simd.nearest(a * 3.0), simd.where(b >= 0.0, c, 1.0 - c))))

    x, y = np.random.default_rng(0).normal(0, 2, (2, LANES)).astype(np.float32)
    out, a, b = np.zeros_like(x), x.astype(float), y.astype(float)
    apply(out, x, y)
    c = np.where(a < b, (a + 1e9) - 1e9, 2 - a * b) / 3 + np.sqrt(abs(a))
    c = np.where(a > 1, c, np.floor(a) + np.trunc(b) * 0.5)
    expected = np.where(a <= -1, np.rint(a * 3), np.where(b >= 0, c, 1 - c)).astype(np.float32)
    np.testing.assert_array_equal(out, expected)


# ---- from functions to compiled code -----------------------------------------------------------------------------


def kernel_of(function, dtype=np.float32):
    """Return a function of an array that runs the code generated for an activation."""
    lines = Lines(z="z")
    result = lines.name_of(trace(function, ("z",)))
    routine = compiled("test_activation", ACTIVATION, ACTIVATION_SOURCE, LINES=lines.lines, RESULT=result)
    call = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64)(routine.address(np.dtype(dtype)))

    def apply(z):
        whole = np.resize(np.asarray(z, dtype), -(-len(z) // LANES) * LANES)
        out = np.full_like(whole, NAN)
        call(out.ctypes.data, whole.ctypes.data, len(whole) // LANES)
        return out[: len(z)]

    return apply


TRACED = {
    "exponentials": lambda z: math.exp(z) + math.expm1(z) - math.log(3 + z) * math.tanh(z) + math.log1p(z * z),
    "roots and areas": lambda z: math.sqrt(3 + z) + math.erf(z),
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
    np.testing.assert_allclose(kernel_of(function, np.float64)(z), expected, rtol=1e-13, atol=1e-14)


def test_conditions_on_nan_and_infinity():
    given = [NAN, INF, -INF, 1.0, 0.0]
    for function, expected in (
        (lambda z: np.where(np.isnan(z), 7.0, z), [7, INF, -INF, 1, 0]),
        (lambda z: z if math.isfinite(z) else 0.0, [0, 0, 0, 1, 0]),
        (lambda z: 1.0 if math.isinf(z) else 0.0, [0, 1, 1, 0, 0]),
    ):
        for dtype in DTYPES:
            np.testing.assert_array_equal(kernel_of(function, dtype)(given), np.array(expected, dtype))
            np.testing.assert_array_equal(trace(function, ("z",)).evaluate(z=np.array(given, dtype)), expected)


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


def samples(dtype, m=53):
    rng = np.random.default_rng(0)
    return rng.standard_normal((m, 5)).astype(dtype), rng.uniform(0.05, 0.95, (m, 4)).astype(dtype)


def forward(net, X):
    """Return the output of a network of activations other than softmax, in float64."""
    A = X.astype(np.float64)
    for layer, g in zip(net.layers, (net.architecture.hidden[0], net.architecture.output), strict=True):
        A = g(A @ layer.W.T.astype(np.float64) + layer.b.astype(np.float64))
    return A


TOLERANCE = {np.float32: {"rtol": 1e-5, "atol": 3e-6}, np.float64: {"rtol": 1e-13, "atol": 1e-14}}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", OWN)
def test_networks_of_custom_activations(name, dtype):
    """The output against NumPy in float64, the gradients against central differences, and the cost falls."""
    g = Activation(name, *OWN[name])
    net, (X, Y) = Network((5, 17, 4), g, "identity", rng=1, dtype=np.dtype(dtype).name), samples(dtype)
    np.testing.assert_allclose(net.forward(X), forward(net, X), **TOLERANCE[dtype])
    assert net.gradient_check(X[:9], Y[:9]) < 1e-3
    before = net.loss(X, Y)
    for _ in range(20):
        net.train_step(X, Y, SGD(0.01))
    assert net.loss(X, Y) < before


@pytest.mark.parametrize("name", [name for name in ACTIVATIONS if name != "softmax"])
def test_networks_of_built_in_activations_in_float64(name):
    net, (X, _) = Network((5, 17, 4), name, "identity", rng=1, dtype="float64"), samples(np.float64)
    np.testing.assert_allclose(net.forward(X), forward(net, X), **TOLERANCE[np.float64])
    Z = forward(net, X)
    for output, A in (("sigmoid", 1 / (1 + np.exp(-Z))), ("softmax", np.exp(Z) / np.exp(Z).sum(axis=1, keepdims=True))):
        other = Network((5, 17, 4), name, output, rng=1, dtype="float64")
        np.testing.assert_allclose(other.forward(X), A, **TOLERANCE[np.float64])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", LOSSES)
def test_networks_of_custom_losses(name, dtype):
    loss = Loss(name, *LOSSES[name])
    net, (X, Y) = Network((5, 17, 4), "tanh", "identity", loss, rng=1, dtype=np.dtype(dtype).name), samples(dtype)
    expected = loss(forward(net, X), Y.astype(np.float64)).sum(axis=1).mean()
    assert net.loss(X, Y) == pytest.approx(expected, rel=TOLERANCE[dtype]["rtol"])
    assert net.gradient_check(X[:9], Y[:9]) < 1e-3
    for _ in range(20):
        net.train_step(X, Y, SGD(0.05))
    assert net.loss(X, Y) < expected


@pytest.mark.parametrize(
    ("output", "loss"), [(output, loss) for output in ("identity", "sigmoid") for loss in BUILT_IN]
)
def test_built_in_losses_in_float64(output, loss):
    if not BUILT_IN[loss].accepts(ACTIVATIONS[output]):
        pytest.skip("a loss without a minimum")
    net, (X, Y) = Network((5, 17, 4), "tanh", output, loss, rng=1, dtype="float64"), samples(np.float64)
    expected = BUILT_IN[loss](forward(net, X), Y).sum(axis=1).mean()
    assert net.loss(X, Y) == pytest.approx(expected, rel=1e-13)


def test_every_function_is_used_in_a_traced_one():
    used = {node.op for function in TRACED.values() for node in trace(function, ("z",)).nodes()}
    assert set(FUNCTIONS) <= used


# ---- machine code ------------------------------------------------------------------------------------------------

LIBM = re.compile(rf"\b_?((?:{'|'.join([*EXACT, *EXACT_OF_TWO, 'exp', 'log', 'rint', 'round', 'fma'])})f?|__svml\w+)\b")


def called(function, arguments, dtype):
    """Return the functions of the C library that the machine code of a vector function names."""
    names = [f"load(Z, LANES * (i + {k}))" for k in range(arguments)]
    source = f"def f(A, Z, n):\n    for i in range(n):\n        store(A, LANES * i, function({', '.join(names)}))\n"
    namespace = {"load": load, "store": store, "LANES": LANES, "function": function}
    exec(source, namespace)
    assembly = numba.cfunc(ACTIVATION(numba.from_dtype(np.dtype(dtype))), nogil=True, error_model="numpy")(
        namespace["f"]
    )._library.get_asm_str()
    code = [line.split("#")[0] for line in assembly.splitlines()]
    return {name for line in code if not re.match(r"\s*\.|\w+:", line) for name in LIBM.findall(line)}


@pytest.mark.slow
@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="reads the assembly of x86-64")
@pytest.mark.parametrize("name", [*EXACT, *EXACT_OF_TWO])
def test_compiled_code_calls_no_libm(name):
    function = getattr(functions, name, None) or getattr(simd, name)
    assert called(function, 1 + (name in EXACT_OF_TWO), np.float32) == set()
    assert called(function, 1 + (name in EXACT_OF_TWO), np.float64) == ({"fmod"} if name == "fmod" else set())


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="reads the assembly of x86-64")
def test_that_test_would_see_a_sine():
    from numba.core import types

    def sine(x):
        return math.sin(x)

    assembly = numba.cfunc(types.float32(types.float32))(sine)._library.get_asm_str()
    assert LIBM.search(assembly)
