"""exp, expm1, log, log1p, erf, tanh and sigmoid over all of float32 and float64: how many ulp they are off, at most."""

import math

import numba
import numpy as np
import pytest

from fastprop.kernels import elementwise
from fastprop.kernels.simd import LANES, load, store

FLOAT32_MAX, FLOAT64_MAX = (float(np.finfo(dtype).max) for dtype in (np.float32, np.float64))
SMALLEST_NORMAL, SMALLEST_NORMAL_64 = (float(np.finfo(dtype).tiny) for dtype in (np.float32, np.float64))
DTYPES = (np.float32, np.float64)
# Of the bit patterns, every so-manieth is looked at: two million a sign of float32, 60,000 of float64.
STEPS = {np.float32: 1009, np.float64: 154_618_822_657_009}
BITS = {np.float32: np.int32, np.float64: np.int64}
# What is exact for float64: 64 bits or more where long double has them. Else float64, whose functions are within 1 ulp.
WIDER = {np.float32: np.float64, np.float64: np.longdouble}
SLACK = 0.0 if np.finfo(np.longdouble).nmant > 60 else 1.0


def compiled(function):
    """A vector function over an array whose length is whole vectors."""

    @numba.njit
    def apply(out, x):
        for i in range(0, len(x), LANES):
            store(out, i, function(load(x, i)))

    return apply


def exact_sigmoid(x):
    small = np.exp(-np.abs(x))
    return np.where(x < 0, small, 1) / (1 + small)


FUNCTIONS = {
    name: (compiled(getattr(elementwise, name)), exact)
    for name, exact in (
        ("exp", np.exp), ("expm1", np.expm1), ("log", np.log), ("log1p", np.log1p), ("tanh", np.tanh),
        ("sigmoid", exact_sigmoid), ("erf", np.vectorize(math.erf, otypes=[float])),
    )
}  # fmt: skip


def evaluate(name, x):
    """The compiled function, in the dtype of x, and its exact value in a wider one."""
    function, exact = FUNCTIONS[name]
    whole = np.zeros(-(-len(x) // LANES) * LANES, x.dtype)
    whole[: len(x)] = x
    out = np.full_like(whole, np.nan)
    function(out, whole)
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        return out[: len(x)], exact(x.astype(WIDER[x.dtype.type]))


def every_so_many(low, high, dtype=np.float32):
    """Numbers from low to high, evenly in their bits, so that every power of two is met as often; both ends too."""
    first, last = (int(dtype(abs(end)).view(BITS[dtype])) for end in (low, high))
    magnitudes = np.append(np.arange(first, last, STEPS[dtype]), last).astype(BITS[dtype]).view(dtype)
    return np.copysign(magnitudes, dtype(-1.0 if np.signbit(low) else 1.0))


def ulps(actual, exact):
    """Distance in units in the last place of the number of actual's dtype that is nearest to the exact value."""
    distance = np.abs(actual.astype(WIDER[actual.dtype.type]) - exact)
    return (distance / np.spacing(np.abs(exact.astype(actual.dtype)))).astype(np.float64)


def check(name, x, most):
    errors = ulps(*evaluate(name, x))
    worst = int(errors.argmax())
    assert errors[worst] <= most, f"{name}({x[worst]!r}) is off by {errors[worst]:.2f} ulp"


# Bounds in ulp; behind each, what a scan of every 17th float32 of the range gave, on processors with a fused
# multiply-add and on those without.
@pytest.mark.parametrize(
    ("name", "low", "high", "most"),
    [
        ("exp", 0.0, 88.722, 1.1),  # 1.01, 0.98
        ("exp", -0.0, -87.33, 1.1),  # 1.01, 0.97
        ("exp", -87.33, -104.5, 1.1),  # 0.75; results are denormal
        ("expm1", 0.0, 88.722, 1.6),  # 1.40
        ("expm1", -0.0, -1000.0, 1.6),  # 0.92
        ("erf", 0.0, FLOAT32_MAX, 3.0),  # 2.41
        ("erf", -0.0, -FLOAT32_MAX, 3.0),  # 2.41
        ("log", 1e-45, SMALLEST_NORMAL, 0.6),  # 0.50
        ("log", SMALLEST_NORMAL, FLOAT32_MAX, 2.1),  # 1.92, 1.92
        ("log1p", 0.0, 1.0, 2.1),  # 1.95, 1.96; from the smallest denormal on
        ("log1p", 1.0, FLOAT32_MAX, 2.1),  # 1.77
        ("log1p", -0.0, -0.9999999, 2.1),  # 1.50
        ("tanh", 0.0, FLOAT32_MAX, 6.5),  # 5.43, 6.11
        ("tanh", -0.0, -FLOAT32_MAX, 6.5),  # 5.43, 6.11
        ("sigmoid", 0.0, FLOAT32_MAX, 1.6),  # 1.50, 1.49
        ("sigmoid", -0.0, -87.3, 2.6),  # 2.43, 2.32
    ],
)
def test_error_over_the_whole_range(name, low, high, most):
    check(name, every_so_many(low, high), most)


# Behind a bound, the largest error of a hundred thousand random numbers against 140 bits, with fused multiply-adds and
# without. The exact values of erf are those of math, which are within 1 ulp.
@pytest.mark.parametrize(
    ("name", "low", "high", "most"),
    [
        ("exp", 0.0, 709.78, 1.1),  # 0.95, 0.92
        ("exp", -0.0, -708.39, 1.1),
        ("exp", -708.39, -745.5, 1.1),  # results are denormal
        ("expm1", 0.0, 709.78, 2.2),  # 1.79, 1.92
        ("expm1", -0.0, -1000.0, 2.2),
        ("erf", 0.0, FLOAT64_MAX, 2.8),  # 1.39, 1.45
        ("erf", -0.0, -FLOAT64_MAX, 2.8),
        ("log", 5e-324, SMALLEST_NORMAL_64, 0.6),
        ("log", SMALLEST_NORMAL_64, FLOAT64_MAX, 2.1),  # 1.93, 1.93
        ("log1p", 0.0, 1.0, 2.1),  # 1.85, 1.85
        ("log1p", 1.0, FLOAT64_MAX, 2.1),
        ("log1p", -0.0, -0.9999999999999999, 2.1),
        ("tanh", 0.0, FLOAT64_MAX, 2.8),  # 2.46, 2.46
        ("tanh", -0.0, -FLOAT64_MAX, 2.8),
        ("sigmoid", 0.0, FLOAT64_MAX, 1.8),
        ("sigmoid", -0.0, -708.3, 2.8),  # 1.91, 1.91
    ],
)
def test_error_of_float64_over_the_whole_range(name, low, high, most):
    check(name, every_so_many(low, high, np.float64), most + SLACK)


MOST = {"exp": (1.1, 1.1), "expm1": (1.6, 2.2), "log": (2.1, 2.1), "log1p": (2.1, 2.1), "tanh": (6.5, 2.8)}
MOST |= {"erf": (3.0, 2.8), "sigmoid": (1.6, 1.8)}


@pytest.mark.parametrize("name", MOST)
def test_error_where_the_work_is(name):
    """Denser between 1/16 and 16 (log1p: 1), where a polynomial's error and the reduction's are largest."""
    end = 1 if name == "log1p" else 16
    check(name, np.linspace(1 / 16, end, 1_000_003, dtype=np.float32), MOST[name][0])
    x = np.linspace(1 / 16, end, 100_003)
    check(name, x, MOST[name][1] + SLACK)
    if name not in ("log", "log1p"):
        check(name, -x, (2.8 if name == "sigmoid" else MOST[name][1]) + SLACK)


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_far_tail_of_sigmoid_is_zero_to_within_a_denormal(dtype):
    """Below −87.3 (−708.3) the true value is no normal number; what comes is no further from it than 3e-39 (6e-309)."""
    start, most = (-87.3, 3e-39) if dtype == np.float32 else (-708.3, 6e-309)
    actual, exact = evaluate("sigmoid", every_so_many(start, -np.finfo(dtype).max, dtype))
    assert np.abs(actual - exact).max() < most


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_nan_stays_nan(name, dtype):
    x = np.array([np.nan, -np.nan, 1.0], dtype)
    actual, _ = evaluate(name, x)
    assert np.isnan(actual).tolist() == [True, True, False]


@pytest.mark.parametrize(("dtype", "low", "high"), [(np.float32, -104.0, 88.73), (np.float64, -745.5, 709.79)])
def test_exp_at_its_ends(dtype, low, high):
    x = np.array([-np.inf, -1e4, low, high, 1e4, np.inf, 0.0, -0.0], dtype)
    actual, _ = evaluate("exp", x)
    np.testing.assert_array_equal(actual, np.array([0, 0, 0, np.inf, np.inf, np.inf, 1, 1], dtype))


def test_the_last_finite_and_the_last_positive_exp_of_float64():
    actual, _ = evaluate("exp", np.array([709.782712893384, -745.1332191019411]))
    np.testing.assert_allclose(actual[0], 1.797693134862273e308, rtol=1e-15)
    assert actual[1] == 5e-324


@pytest.mark.parametrize("dtype", DTYPES)
def test_expm1_log_and_erf_at_their_ends(dtype):
    x = np.array([-np.inf, -1.0, -0.0, 0.0, np.inf], dtype)
    for name, expected in (
        ("expm1", [-1, np.expm1(-1.0), 0, 0, np.inf]),
        ("log", [np.nan, np.nan, -np.inf, -np.inf, np.inf]),
        ("log1p", [np.nan, -np.inf, 0, 0, np.inf]),
        ("erf", [-1, math.erf(-1), 0, 0, 1]),
    ):
        rtol = 8 * np.finfo(dtype).eps
        np.testing.assert_allclose(evaluate(name, x)[0], np.array(expected, dtype), rtol=rtol, err_msg=name)


@pytest.mark.parametrize("dtype", DTYPES)
def test_sigmoid_at_its_ends(dtype):
    x = np.array([-np.inf, -1e4, 1e4, np.inf, 0.0, -0.0], dtype)
    actual, _ = evaluate("sigmoid", x)
    np.testing.assert_array_equal(actual, np.array([0, 0, 1, 1, 0.5, 0.5], dtype))


@pytest.mark.parametrize("dtype", DTYPES)
def test_tanh_at_its_ends(dtype):
    """Never beyond ±1, odd bit for bit, and both zeros keep their sign."""
    finfo = np.finfo(dtype)
    x = np.array(
        [0.0, finfo.smallest_subnormal, 1e-30, 1e-9, 0.1, 0.5, 8.9, 9.0, 9.1, 18, 19, 1e4, finfo.max, np.inf], dtype
    )
    up, exact = evaluate("tanh", x)
    down, _ = evaluate("tanh", -x)
    assert np.signbit(down).all()
    np.testing.assert_array_equal(-down, up)
    assert (up <= 1).all()
    assert ulps(up, exact).max() <= (6.5 if dtype == np.float32 else 2.8)


@pytest.mark.parametrize("dtype", DTYPES)
def test_log_of_what_is_no_number_is_itself(dtype):
    actual, _ = evaluate("log", np.array([np.nan, np.inf], dtype))
    np.testing.assert_array_equal(actual, np.array([np.nan, np.inf], dtype))


@pytest.mark.parametrize(("dtype", "far"), [(np.float32, 9.1), (np.float64, 19.1)])
def test_tanh_saturates_to_one(dtype, far):
    """So that its derivative 1 − A² is 0 far out, as it is in NumPy."""
    actual, _ = evaluate("tanh", np.array([far, -far, np.inf, -np.inf, np.finfo(dtype).max], dtype))
    np.testing.assert_array_equal(actual, np.array([1, -1, 1, -1, 1], dtype))


@pytest.mark.parametrize("dtype", DTYPES)
def test_log_is_exact_at_one_and_log1p_at_zero(dtype):
    assert evaluate("log", np.ones(1, dtype))[0] == 0
    zeros, _ = evaluate("log1p", np.array([0.0, -0.0], dtype))
    assert zeros.tolist() == [0, 0]
    assert np.signbit(zeros).tolist() == [False, True]


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_functions_never_fall_where_they_should_rise(dtype):
    """exp, tanh and sigmoid over neighbouring numbers: no step down by more than their own error."""
    x = np.sort(np.concatenate([every_so_many(-1e-3, -60.0, dtype), every_so_many(1e-3, 60.0, dtype)]))
    for name, units in (("exp", 2), ("tanh", 12), ("sigmoid", 4)):
        actual, _ = evaluate(name, x)
        drop = np.maximum.accumulate(actual) - actual
        assert (drop <= units * np.spacing(np.abs(actual))).all(), name
