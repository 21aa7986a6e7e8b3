"""The softmax activation and the paired losses with their dZ on one panel against float64, also for extreme Z."""

import ctypes

import numpy as np
import pytest
from panels import LANES

from fastprop import reference
from fastprop.kernels import elementwise

DTYPES = (np.float32, np.float64)
POINTER, INT = ctypes.c_void_p, ctypes.c_int64
LOSSES = {
    "identity": elementwise.identity_mse,
    "sigmoid": elementwise.sigmoid_binary_crossentropy,
    "softmax": elementwise.softmax_cross_entropy,
}


def tolerance(single, dtype):
    """The tolerance of float32, or for float64 that many times less as its numbers are closer."""
    return single if dtype == np.float32 else single * 2.0**-29


def softmax(Z, dtype=np.float32):
    """The activation routine on a panel (n, 16)."""
    A = np.full(Z.shape, np.nan, dtype)
    routine = ctypes.CFUNCTYPE(None, POINTER, POINTER, INT)(elementwise.softmax_activation.address(np.dtype(dtype)))
    routine(A.ctypes.data, np.ascontiguousarray(Z, dtype).ctypes.data, len(Z))
    return A


def loss(output, Z, Y, weight=None, dtype=np.float32):
    """The weighted sum of the costs of a panel (n, 16), and its dZ."""
    Z, Y = np.ascontiguousarray(Z, dtype), np.ascontiguousarray(Y, dtype)
    weight = np.ones(LANES, dtype) if weight is None else np.asarray(weight, dtype)
    dZ = np.full(Z.shape, np.nan, dtype)
    address = LOSSES[output].address(np.dtype(dtype))
    routine = ctypes.CFUNCTYPE(ctypes.c_double, POINTER, POINTER, POINTER, POINTER, INT, INT)(address)
    cost = routine(dZ.ctypes.data, Z.ctypes.data, Y.ctypes.data, weight.ctypes.data, len(Z), 0)
    return cost, dZ


def exact_loss(output, Z, Y):
    """Cost of each sample and dZ in float64 by the reference."""
    Z, Y = np.asarray(Z, np.float64), np.asarray(Y, np.float64)
    costs = [reference.compute_cost({"A0": None, "Z1": Z[:, [s]], "A1": None}, Y[:, [s]], output) for s in range(LANES)]
    return np.array(costs), reference.OUTPUT[output](Z) - Y


def targets(output, n, rng):
    if output == "identity":
        return rng.standard_normal((n, LANES))
    if output == "sigmoid":
        return rng.integers(2, size=(n, LANES))
    return np.eye(n)[rng.integers(n, size=LANES)].T


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", [2, 3, 10, 17, 100])
@pytest.mark.parametrize("scale", [1, 30, 1e4])
def test_softmax_columns_sum_to_one(n, scale, dtype):
    Z = (scale * np.random.default_rng(n).standard_normal((n, LANES))).astype(dtype)
    A = softmax(Z, dtype)
    assert (A >= 0).all()
    assert np.abs(A.sum(axis=0, dtype=np.float64) - 1).max() < tolerance(1e-6, dtype)
    exact, shifted = reference.softmax(Z.astype(np.float64)), Z.astype(np.float64) - Z.max(axis=0)
    # Z − max Z is rounded before it becomes an exponent: half an ulp of it is a relative error of the result
    relative = tolerance(2e-6, dtype) + tolerance(6e-8, dtype) * np.abs(shifted)
    assert (np.abs(A - exact) <= exact * relative + 2 * float(np.finfo(dtype).smallest_subnormal)).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_softmax_does_not_see_a_shift(dtype):
    """The bits are the same if the shift rounds nothing, since only differences from the maximum enter."""
    Z = np.random.default_rng(0).integers(-64, 64, (10, LANES)) / 8
    for shift in (64.0, -1000.0, 4096.0):
        np.testing.assert_array_equal(softmax(Z + shift, dtype), softmax(Z, dtype))


@pytest.mark.parametrize("dtype", DTYPES)
def test_softmax_of_extremes_is_a_choice(dtype):
    """At ±1e4 nothing overflows: the largest Z gets probability 1, and equal ones share it."""
    Z = np.full((4, LANES), -1e4)
    np.testing.assert_array_equal(softmax(Z, dtype), np.full_like(Z, 0.25))
    Z[2] = 1e4
    np.testing.assert_array_equal(softmax(Z, dtype), np.eye(4)[2][:, None] * np.ones(LANES))
    Z[0] = 1e4
    np.testing.assert_array_equal(softmax(Z, dtype)[[0, 2]], np.full((2, LANES), 0.5))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("row", [0, 1, 3])
def test_softmax_of_nan_is_nan_in_that_sample_alone(row, dtype):
    Z = np.zeros((4, LANES), dtype)
    Z[row, 5] = np.nan
    found = np.isnan(softmax(Z, dtype))
    assert found[:, 5].all()
    assert not np.delete(found, 5, axis=1).any()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("output", LOSSES)
@pytest.mark.parametrize("n", [2, 3, 10, 33])
@pytest.mark.parametrize("scale", [0.1, 1, 10, 100])
def test_cost_and_dZ(output, n, scale, dtype):
    rng = np.random.default_rng(n)
    Z, Y = (scale * rng.standard_normal((n, LANES))).astype(dtype), targets(output, n, rng)
    cost, dZ = loss(output, Z, Y, dtype=dtype)
    costs, exact_dZ = exact_loss(output, Z, Y)
    assert cost == pytest.approx(costs.sum(), rel=tolerance(2e-6, dtype), abs=0)
    atol = tolerance(3e-7, dtype) * np.abs(exact_dZ).max()
    np.testing.assert_allclose(dZ, exact_dZ, rtol=tolerance(1e-6, dtype), atol=atol)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("output", LOSSES)
@pytest.mark.parametrize("target", [0, 1])
@pytest.mark.parametrize("z", [1e4, -1e4])
def test_nothing_overflows_at_extreme_Z(output, z, target, dtype):
    """Z = ±1e4 for one class: the cost is the 1e4 (or 0) that float64 gives, and dZ is −1, 0 or 1, not NaN."""
    Z, Y = np.zeros((3, LANES)), np.zeros((3, LANES))
    Z[1], Y[1 if target else 2] = z, 1
    cost, dZ = loss(output, Z, Y, dtype=dtype)
    costs, exact_dZ = exact_loss(output, Z, Y)
    close = tolerance(1e-6, dtype)
    assert cost == pytest.approx(costs.sum(), rel=close, abs=close)
    np.testing.assert_allclose(dZ, exact_dZ, rtol=close, atol=close / 10)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("z", "y"), [(20.0, 1), (-20.0, 0), (60.0, 1), (-87.0, 0)])
def test_a_small_binary_crossentropy_keeps_its_digits(z, y, dtype):
    """A confident and right answer costs e^(−|z|), not 0: log(1 + u) is taken with all its digits."""
    cost, _ = loss("sigmoid", np.full((1, LANES), z), np.full((1, LANES), y), dtype=dtype)
    assert cost == pytest.approx(LANES * np.log1p(np.exp(-abs(z))), rel=tolerance(1e-6, dtype), abs=0)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("output", LOSSES)
def test_weights_multiply_cost_and_dZ(output, dtype):
    rng = np.random.default_rng(1)
    Z, Y, weight = rng.standard_normal((5, LANES)), targets(output, 5, rng), rng.uniform(0.1, 4, LANES)
    cost, dZ = loss(output, Z, Y, weight, dtype)
    costs, exact_dZ = exact_loss(output, Z, Y)
    assert cost == pytest.approx(weight @ costs, rel=tolerance(2e-6, dtype))
    np.testing.assert_allclose(dZ, weight * exact_dZ, rtol=tolerance(1e-5, dtype), atol=tolerance(1e-6, dtype))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("output", LOSSES)
@pytest.mark.parametrize("junk", [np.nan, np.inf, -np.inf, 3e38])
def test_what_stands_where_there_is_no_sample_does_not_count(output, junk, dtype):
    """A sample of weight 0 adds nothing to the cost for any Z, and does not change the dZ of others."""
    rng = np.random.default_rng(2)
    Z, Y = rng.standard_normal((4, LANES)), targets(output, 4, rng)
    weight = np.ones(LANES)
    weight[[3, 15]] = 0
    there = weight > 0
    expected, expected_dZ = loss(output, Z, Y, weight, dtype)
    Z[:, ~there] = junk
    cost, dZ = loss(output, Z, Y, weight, dtype)
    assert cost == expected
    np.testing.assert_array_equal(dZ[:, there], expected_dZ[:, there])
    np.testing.assert_array_equal(expected_dZ[:, ~there], 0)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("output", LOSSES)
@pytest.mark.parametrize("junk", [np.nan, np.inf])
def test_no_gradient_where_there_is_no_sample(output, junk, dtype):
    """dZ of a sample of weight 0 is 0 even if its Z is not finite: one NaN would fill all of dW."""
    Z, weight = np.zeros((4, LANES)), np.ones(LANES)
    Z[:, 7], weight[7] = junk, 0
    _, dZ = loss(output, Z, np.eye(4)[:, [0] * LANES], weight, dtype)
    np.testing.assert_array_equal(dZ[:, 7], 0)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("output", LOSSES)
def test_nan_in_a_sample_shows_in_the_cost(output, dtype):
    """A network that diverged must not look as if it had a cost."""
    for row in range(3):
        Z = np.zeros((3, LANES))
        Z[row, 4] = np.nan
        cost, dZ = loss(output, Z, np.eye(3)[:, [0] * LANES], dtype=dtype)
        assert np.isnan(cost)
        assert np.isnan(dZ[row, 4])
