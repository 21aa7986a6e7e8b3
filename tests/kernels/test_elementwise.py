"""exp, log, log1p, tanh and sigmoid over all of float32: how many units in the last place they are off, at most."""

import math

import numba
import numpy as np
import pytest

from fastprop.kernels import elementwise
from fastprop.kernels.simd import LANES, load, store

FLOAT32_MAX = float(np.finfo(np.float32).max)
SMALLEST_NORMAL = float(np.finfo(np.float32).tiny)
STEP = 1009  # of the bit patterns, every so-manieth is looked at: two million a sign


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
    """The compiled function, in float32, and its exact value in float64."""
    function, exact = FUNCTIONS[name]
    whole = np.zeros(-(-len(x) // LANES) * LANES, np.float32)
    whole[: len(x)] = x
    out = np.full_like(whole, np.nan)
    function(out, whole)
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        return out[: len(x)], exact(x.astype(np.float64))


def every_so_many(low, high):
    """float32 from low to high, evenly in their bits, so that every power of two is met as often; both ends too."""
    first, last = (int(np.float32(abs(end)).view(np.int32)) for end in (low, high))
    magnitudes = np.append(np.arange(first, last, STEP), last).astype(np.int32).view(np.float32)
    return np.copysign(magnitudes, np.float32(-1.0 if np.signbit(low) else 1.0))


def ulps(actual, exact):
    """Distance in units in the last place of the float32 nearest to the exact value."""
    return np.abs(actual.astype(np.float64) - exact) / np.spacing(np.abs(exact.astype(np.float32))).astype(np.float64)


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
    x = every_so_many(low, high)
    actual, exact = evaluate(name, x)
    errors = ulps(actual, exact)
    worst = int(errors.argmax())
    assert errors[worst] <= most, f"{name}({x[worst]!r}) is off by {errors[worst]:.2f} ulp"


@pytest.mark.parametrize(("name", "most"), [("exp", 1.1), ("log", 2.1), ("log1p", 2.1), ("tanh", 6.5)])
def test_error_where_the_work_is(name, most):
    """Denser between 1/16 and 16 (log1p: 1), where a polynomial's error and the reduction's are largest."""
    x = np.linspace(1 / 16, 1 if name == "log1p" else 16, 1_000_003, dtype=np.float32)
    errors = ulps(*evaluate(name, x))
    assert errors.max() <= most, f"{name}({x[errors.argmax()]!r}) is off by {errors.max():.2f} ulp"


def test_the_far_tail_of_sigmoid_is_zero_to_within_a_denormal():
    """Below −87.3 the true value is no normal float32; what comes is no further from it than 3e-39."""
    actual, exact = evaluate("sigmoid", every_so_many(-87.3, -FLOAT32_MAX))
    assert np.abs(actual - exact).max() < 3e-39


@pytest.mark.parametrize("name", ["exp", "expm1", "log", "log1p", "tanh", "sigmoid", "erf"])
def test_nan_stays_nan(name):
    x = np.array([np.nan, -np.nan, 1.0], np.float32)
    actual, _ = evaluate(name, x)
    assert np.isnan(actual).tolist() == [True, True, False]


def test_exp_at_its_ends():
    x = np.array([-np.inf, -1e4, -104.0, 88.73, 1e4, np.inf, 0.0, -0.0], np.float32)
    actual, _ = evaluate("exp", x)
    np.testing.assert_array_equal(actual, np.array([0, 0, 0, np.inf, np.inf, np.inf, 1, 1], np.float32))


def test_expm1_log_and_erf_at_their_ends():
    x = np.array([-np.inf, -1.0, -0.0, 0.0, np.inf], np.float32)
    for name, expected in (
        ("expm1", [-1, np.expm1(-1.0), 0, 0, np.inf]),
        ("log", [np.nan, np.nan, -np.inf, -np.inf, np.inf]),
        ("log1p", [np.nan, -np.inf, 0, 0, np.inf]),
        ("erf", [-1, math.erf(-1), 0, 0, 1]),
    ):
        np.testing.assert_allclose(evaluate(name, x)[0], np.float32(expected), rtol=1e-6, err_msg=name)


def test_sigmoid_at_its_ends():
    x = np.array([-np.inf, -1e4, 1e4, np.inf, 0.0, -0.0], np.float32)
    actual, _ = evaluate("sigmoid", x)
    np.testing.assert_array_equal(actual, np.array([0, 0, 1, 1, 0.5, 0.5], np.float32))


def test_tanh_at_its_ends():
    """Never beyond ±1, odd bit for bit, and both zeros keep their sign."""
    x = np.array([0.0, 1e-45, 1e-30, 0.5, 8.9, 9.0, 9.1, 1e4, FLOAT32_MAX, np.inf], np.float32)
    up, exact = evaluate("tanh", x)
    down, _ = evaluate("tanh", -x)
    assert np.signbit(down).all()
    np.testing.assert_array_equal(-down, up)
    assert (up <= 1).all()
    assert ulps(up, exact).max() <= 6.5


def test_log_of_what_is_no_number_is_itself():
    actual, _ = evaluate("log", np.array([np.nan, np.inf], np.float32))
    np.testing.assert_array_equal(actual, np.array([np.nan, np.inf], np.float32))


def test_tanh_saturates_to_one():
    """So that its derivative 1 − A² is 0 far out, as it is in float64."""
    actual, _ = evaluate("tanh", np.array([9.1, -9.1, np.inf, -np.inf, FLOAT32_MAX], np.float32))
    np.testing.assert_array_equal(actual, np.array([1, -1, 1, -1, 1], np.float32))


def test_log_is_exact_at_one_and_log1p_at_zero():
    assert evaluate("log", np.ones(1, np.float32))[0] == 0
    zeros, _ = evaluate("log1p", np.array([0.0, -0.0], np.float32))
    assert zeros.tolist() == [0, 0]
    assert np.signbit(zeros).tolist() == [False, True]


def test_the_functions_never_fall_where_they_should_rise():
    """exp, tanh and sigmoid over neighbouring floats: no step down by more than their own error."""
    x = np.sort(np.concatenate([every_so_many(-1e-3, -60.0), every_so_many(1e-3, 60.0)]))
    for name, units in (("exp", 2), ("tanh", 12), ("sigmoid", 4)):
        actual, _ = evaluate(name, x)
        drop = np.maximum.accumulate(actual) - actual
        assert (drop <= units * np.spacing(np.abs(actual))).all(), name
