"""Each kernel of `fastprop.kernels.equations` by itself, on flat arrays, against the formula in float64.

The errors are held to the bound that rounding has, element by element; every output has guards around it.
"""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numba import from_dtype
from panels import (
    LANES,
    Guarded,
    assert_within,
    bound,
    outside,
    pack,
    pack_W,
    padded,
    panel_stride,
    row_stride,
    transposed_blocks,
    unpack,
    unpack_W,
)

from fastprop.kernels import elementwise, equations, plan
from fastprop.kernels.simd import TILE_ROWS, vectors_at_once

WIDTHS = (1, 3, 6, 10, 16, 17, 33, 100)
widths = st.sampled_from(WIDTHS)
samples = st.integers(1, 9 * LANES)  # 1 to 9 panels, the last one mostly ragged
DTYPES = (np.float32, np.float64)
dtypes = st.sampled_from(DTYPES)
NO_FLOOR = -np.inf


def normal(dtype, *shape, seed=0):
    return np.random.default_rng([seed, *shape]).standard_normal(shape).astype(dtype)


def panels_of(m):
    return -(-m // LANES)


def test_the_layout_is_the_one_these_tests_pack():
    """The strides of plan.py, in compiled code and in Python, are those of the NumPy helpers here."""
    for n in (*range(1, 300), 784, 1024, 4096):
        for mine, theirs in (
            (padded, plan.padded),
            (row_stride, plan.row_stride),
            (panel_stride, plan.panel_stride),
        ):
            assert mine(n) == theirs(n) == theirs.py_func(n)


@given(dtype=dtypes, n=widths, n_prev=widths, m=samples)
def test_forward_is_W_A_prev_plus_b(dtype, n, n_prev, m):
    W, A_prev, b = normal(dtype, n, n_prev), normal(dtype, m, n_prev, seed=1), normal(dtype, n, seed=2)
    Z = Guarded(np.zeros(panels_of(m) * panel_stride(n), dtype))
    equations.forward(Z.array, pack_W(W), pack(A_prev), b, n, n_prev, panels_of(m), NO_FLOOR)
    exact = A_prev.astype(np.float64) @ W.T.astype(np.float64) + b
    sizes = np.abs(A_prev).astype(np.float64) @ np.abs(W).T + np.abs(b)
    assert_within(unpack(Z.check(), m, n), exact, bound(n_prev + 1, sizes, dtype))
    assert (Z.array.reshape(-1, padded(n), LANES)[:, n:] == 0).all(), "features beyond n must stay zero"


@given(dtype=dtypes, n=widths, m=samples, floor=st.sampled_from([0.0, -0.5, 2.0]))
def test_forward_takes_the_larger_of_Z_and_the_floor(dtype, n, m, floor):
    """Bit for bit: the floor picks, and rounds nothing."""
    W, A_prev, b, shape = (
        normal(dtype, n, 17),
        normal(dtype, m, 17, seed=1),
        normal(dtype, n, seed=2),
        panels_of(m) * panel_stride(n),
    )
    Z, clipped = np.zeros(shape, dtype), np.zeros(shape, dtype)
    equations.forward(Z, pack_W(W), pack(A_prev), b, n, 17, panels_of(m), NO_FLOOR)
    equations.forward(clipped, pack_W(W), pack(A_prev), b, n, 17, panels_of(m), dtype(floor))
    np.testing.assert_array_equal(unpack(clipped, m, n), np.maximum(unpack(Z, m, n), dtype(floor)))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("floor", [0.0, -np.inf])
def test_forward_lets_nan_through(dtype, floor):
    """A NaN of one sample reaches that sample's every Z, past the floor, and no other sample's."""
    A_prev = normal(dtype, 20, 5)
    A_prev[18, 2] = np.nan
    Z = np.zeros(2 * panel_stride(7), dtype)
    equations.forward(Z, pack_W(normal(dtype, 7, 5)), pack(A_prev), normal(dtype, 7), 7, 5, 2, dtype(floor))
    found = np.isnan(unpack(Z, 20, 7))
    assert found[18].all()
    assert not np.delete(found, 18, axis=0).any()


ACTIVATIONS = {
    "relu": (elementwise.relu_activation, elementwise.relu_derivative, lambda Z: np.maximum(Z, 0), lambda A: A > 0),
    "sigmoid": (
        elementwise.sigmoid_activation,
        elementwise.sigmoid_derivative,
        lambda Z: 1 / (1 + np.exp(-Z)),
        lambda A: A * (1 - A),
    ),
    "tanh": (elementwise.tanh_activation, elementwise.tanh_derivative, np.tanh, lambda A: 1 - A * A),
}


@pytest.mark.parametrize("name", ACTIVATIONS)
@given(dtype=dtypes, n=widths, m=samples)
def test_activate_is_g_of_every_Z(dtype, name, n, m):
    routine, _, g, _ = ACTIVATIONS[name]
    Z = 3 * normal(dtype, m, n)
    A = Guarded(np.zeros(panels_of(m) * panel_stride(n), dtype))
    equations.activate(A.array, pack(Z), routine.address(dtype), n, panels_of(m))
    exact = g(Z.astype(np.float64))
    assert_within(unpack(A.check(), m, n), exact, 5.0 * np.finfo(dtype).eps * np.abs(exact) + 1e-37)
    assert (A.array.reshape(-1, padded(n), LANES)[:, n:] == 0).all(), "features beyond n must stay zero"


@pytest.mark.parametrize("name", ACTIVATIONS)
@given(dtype=dtypes, n=widths, m=samples)
def test_dZ_is_dA_times_g_prime(dtype, name, n, m):
    """Equation 1, on whatever A the activation gave."""
    activation, derivative, _, g_prime = ACTIVATIONS[name]
    Z, dA = pack(3 * normal(dtype, m, n)), normal(dtype, m, n, seed=1)
    A = np.zeros_like(Z)
    equations.activate(A, Z, activation.address(dtype), n, panels_of(m))
    out = Guarded(np.zeros_like(Z))
    equations.dZ(out.array, pack(dA), Z, A, derivative.address(dtype), n, panels_of(m))
    exact = dA * g_prime(unpack(A, m, n))
    # A − A² and 1 − A² cancel near A = 1: the error is one of A² ≤ 1, not of the difference
    assert_within(unpack(out.check(), m, n), exact, 2.5 * np.finfo(dtype).eps * np.abs(dA))
    assert not outside(out.array, m, n).any(), "dZ beyond n and beyond the batch must stay zero"


@pytest.mark.parametrize("dtype", DTYPES)
def test_dZ_of_relu_is_zero_at_zero(dtype):
    """g′(0) = 0, as the source takes it; and of −0 too."""
    Z = np.array([[0.0, -0.0, 1e-45, -1e-45]], dtype)
    A, dZ = np.zeros(256, dtype), np.zeros(256, dtype)
    equations.activate(A, pack(Z), elementwise.relu_activation.address(dtype), 4, 1)
    equations.dZ(dZ, pack(np.ones((1, 4), dtype)), pack(Z), A, elementwise.relu_derivative.address(dtype), 4, 1)
    np.testing.assert_array_equal(unpack(dZ, 1, 4), [[0, 0, 1, 0]])


def run_dW(dZ, A_prev, out, alpha, beta, first=0, last=None):
    """equations.dW on rows of samples; the guarded flat output."""
    (m, n), n_prev = dZ.shape, A_prev.shape[1]
    panels = pack(A_prev)
    last = padded(n_prev) // LANES if last is None else last
    equations.dW(out.array, pack(dZ), panels, transposed_blocks(panels, n_prev), n, n_prev, panels_of(m),
                 dZ.dtype.type(alpha), dZ.dtype.type(beta), first, last)  # fmt: skip
    return out.check()


def exact_dW(dZ, A_prev):
    """dZ·A_prevᵀ in float64, and the sum of the sizes of its terms."""
    dZ, A_prev = dZ.astype(np.float64), A_prev.astype(np.float64)
    return dZ.T @ A_prev, np.abs(dZ).T @ np.abs(A_prev)


@given(dtype=dtypes, n=widths, n_prev=widths, m=samples)
def test_dW_is_the_scaled_product_and_does_not_read_what_was_there(dtype, n, n_prev, m):
    """Equation 2. With beta = 0, a NaN that was there is overwritten, and the padding of the rows becomes zero."""
    dZ, A_prev = normal(dtype, m, n), normal(dtype, m, n_prev, seed=1)
    out = Guarded(np.full(n * row_stride(n_prev), np.nan, dtype))
    rows = out.array.reshape(n, -1)
    rows[:, n_prev:] = 0  # what the layout promises of the padding
    run_dW(dZ, A_prev, out, 1 / m, 0)
    exact, sizes = exact_dW(dZ, A_prev)
    assert_within(unpack_W(out.array, n, n_prev), exact / m, bound(m, sizes, dtype) / m)
    assert not rows[:, n_prev:].any(), "the padding of W's rows must stay zero"


@given(
    dtype=dtypes,
    n=widths,
    n_prev=widths,
    m=samples,
    alpha=st.sampled_from([-0.3, 2.0]),
    beta=st.sampled_from([1.0, 0.5]),
)
def test_dW_adds_to_what_it_keeps(dtype, n, n_prev, m, alpha, beta):
    """beta·dW + alpha·dZ·A_prevᵀ: with beta = 1 and alpha = −lr/m the step of gradient descent itself."""
    dZ, A_prev, before = normal(dtype, m, n), normal(dtype, m, n_prev, seed=1), normal(dtype, n, n_prev, seed=2)
    out = Guarded(pack_W(before))
    run_dW(dZ, A_prev, out, alpha, beta)
    product, sizes = exact_dW(dZ, A_prev)
    exact = dtype(beta) * before.astype(np.float64) + np.float64(dtype(alpha)) * product
    limit = bound(m, abs(alpha) * sizes + beta * np.abs(before), dtype)
    assert_within(unpack_W(out.array, n, n_prev), exact, limit)
    assert not out.array.reshape(n, -1)[:, n_prev:].any(), "the padding of W's rows must stay zero"


@given(
    dtype=dtypes,
    n=st.sampled_from([1, 6, 17, 33]),
    n_prev=st.sampled_from([17, 33, 100]),
    m=samples,
    cut=st.integers(0, 7),
)
def test_dW_of_two_shares_of_columns_is_dW(dtype, n, n_prev, m, cut):
    """The blocks first…last are all that is written, with the bits that the whole has: what threads rely on."""
    dZ, A_prev = normal(dtype, m, n), normal(dtype, m, n_prev, seed=1)
    blocks = padded(n_prev) // LANES
    cut = min(cut, blocks)
    whole, parts = Guarded(np.zeros(n * row_stride(n_prev), dtype)), Guarded(np.zeros(n * row_stride(n_prev), dtype))
    run_dW(dZ, A_prev, whole, 0.25, 0)
    run_dW(dZ, A_prev, parts, 0.25, 0, 0, cut)
    assert not parts.array.reshape(n, -1)[:, cut * LANES :].any(), "columns of the other share were written"
    run_dW(dZ, A_prev, parts, 0.25, 0, cut, blocks)
    np.testing.assert_array_equal(parts.array, whole.array)


@given(dtype=dtypes, n=widths, m=samples, beta=st.sampled_from([0.0, 1.0, 0.5]))
def test_db_is_the_scaled_sum_over_samples(dtype, n, m, beta):
    """Equation 3, on n places and no more; with beta = 0 a NaN that was there is not read."""
    dZ, before = normal(dtype, m, n), normal(dtype, n, seed=1) if beta else np.full(n, np.nan, dtype)
    out = Guarded(before)
    equations.db(out.array, pack(dZ), n, panels_of(m), dtype(1 / m), dtype(beta))
    sizes = np.abs(dZ).astype(np.float64).sum(axis=0) / m
    exact = dZ.astype(np.float64).sum(axis=0) / m
    if beta:
        exact, sizes = exact + beta * before.astype(np.float64), sizes + beta * np.abs(before)
    assert_within(out.check().astype(np.float64), exact, bound(m, sizes, dtype))


@given(dtype=dtypes, n=widths, n_prev=widths, m=samples)
def test_dA_is_W_transposed_times_dZ(dtype, n, n_prev, m):
    """Equation 4. Without the mask, A_prev is not looked at: it may be NaN."""
    W, dZ = normal(dtype, n, n_prev), normal(dtype, m, n, seed=1)
    out = Guarded(np.zeros(panels_of(m) * panel_stride(n_prev), dtype))
    nothing = np.full_like(out.array, np.nan)
    equations.dA(out.array, pack_W(W), pack(dZ), nothing, n, n_prev, panels_of(m), 0)
    exact = dZ.astype(np.float64) @ W.astype(np.float64)
    assert_within(unpack(out.check(), m, n_prev), exact, bound(n, np.abs(dZ).astype(np.float64) @ np.abs(W), dtype))
    assert not outside(out.array, m, n_prev).any(), "dA beyond n_prev and beyond the batch must stay zero"


@given(dtype=dtypes, n=widths, n_prev=widths, m=samples)
def test_dA_with_relu_is_dA_where_A_prev_is_above_zero(dtype, n, n_prev, m):
    """Bit for bit: the mask picks. An A_prev of 0, or of −0, passes nothing."""
    W, dZ, A_prev = (
        normal(dtype, n, n_prev),
        normal(dtype, m, n, seed=1),
        np.maximum(normal(dtype, m, n_prev, seed=2), 0),
    )
    A_prev[::3, 0] = -0.0
    shape = panels_of(m) * panel_stride(n_prev)
    plain, masked = np.zeros(shape, dtype), Guarded(np.zeros(shape, dtype))
    equations.dA(plain, pack_W(W), pack(dZ), pack(A_prev), n, n_prev, panels_of(m), 0)
    equations.dA(masked.array, pack_W(W), pack(dZ), pack(A_prev), n, n_prev, panels_of(m), 1)
    expected = np.where(A_prev > 0, unpack(plain, m, n_prev), 0)
    np.testing.assert_array_equal(unpack(masked.check(), m, n_prev), expected)
    in_place = Guarded(pack(A_prev))
    equations.dA(in_place.array, pack_W(W), pack(dZ), in_place.array, n, n_prev, panels_of(m), 1)
    np.testing.assert_array_equal(unpack(in_place.check(), m, n_prev), expected)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", [plan.ROW_BLOCK - 1, plan.ROW_BLOCK, plan.ROW_BLOCK + 1, 2 * plan.ROW_BLOCK + 3])
@pytest.mark.parametrize("relu", [0, 1])
@pytest.mark.parametrize("m", [37, 5 * LANES + 1])
def test_dA_takes_the_rows_of_W_in_blocks(dtype, n, relu, m):
    """More rows than a block: the blocks add up, and the mask comes last; with W itself, and with copies of columns."""
    n_prev = 19
    W, dZ, A_prev = (
        normal(dtype, n, n_prev),
        normal(dtype, m, n, seed=1),
        np.maximum(normal(dtype, m, n_prev, seed=2), 0),
    )
    out = Guarded(np.full(panels_of(m) * panel_stride(n_prev), np.nan, dtype))
    equations.dA(out.array, pack_W(W), pack(dZ), pack(A_prev), n, n_prev, panels_of(m), relu)
    exact = dZ.astype(np.float64) @ W.astype(np.float64)
    sizes = np.abs(dZ).astype(np.float64) @ np.abs(W)
    if relu:
        exact, sizes = exact * (A_prev > 0), sizes * (A_prev > 0)
    assert_within(unpack(out.check(), m, n_prev), exact, bound(n, sizes, dtype))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", [plan.PACKED_ROWS, plan.ROW_BLOCK + 1])
@pytest.mark.parametrize("n_prev", WIDTHS)
def test_dA_has_the_same_bits_with_copies_of_columns(dtype, n, n_prev):
    """Few panels read W itself, many a copy."""
    few, many = plan.PACKED_PANELS - 1, plan.PACKED_PANELS
    W, dZ = pack_W(normal(dtype, n, n_prev)), pack(normal(dtype, many * LANES, n, seed=1))
    element = from_dtype(np.dtype(dtype))
    width = TILE_ROWS * vectors_at_once(element) * np.dtype(dtype).itemsize
    assert [plan.packs_columns(n, panels, width) for panels in (few, many)] == [False, width < plan.LINE]
    read, copied = (np.zeros(panels * panel_stride(n_prev), dtype) for panels in (few, many))
    equations.dA(read, W, dZ, read, n, n_prev, few, 0)
    equations.dA(copied, W, dZ, copied, n, n_prev, many, 0)
    np.testing.assert_array_equal(copied[: len(read)], read)


@given(dtype=dtypes, n=widths, m=samples)
def test_transpose_turns_every_block(dtype, n, m):
    A = pack(normal(dtype, m, n))
    A_T = Guarded(np.zeros_like(A))
    equations.transpose(A_T.array, A, n, panels_of(m))
    np.testing.assert_array_equal(A_T.check(), transposed_blocks(A, n))


@given(dtype=dtypes, n=widths, n_prev=widths, panels=st.integers(2, 9))
def test_panels_do_not_see_each_other(dtype, n, n_prev, panels):
    """Any run of panels by itself gives the bits that it has among the others: what chunks and threads rely on."""
    m = panels * LANES
    W, b, A_prev, dZ = (
        pack_W(normal(dtype, n, n_prev)),
        normal(dtype, n, seed=1),
        normal(dtype, m, n_prev, seed=2),
        normal(dtype, m, n, seed=3),
    )
    Z, dA = np.zeros(panels * panel_stride(n), dtype), np.zeros(panels * panel_stride(n_prev), dtype)
    equations.forward(Z, W, pack(A_prev), b, n, n_prev, panels, NO_FLOOR)
    equations.dA(dA, W, pack(dZ), pack(A_prev), n, n_prev, panels, 1)
    cut = panels // 2 * LANES
    for rows in (slice(0, cut), slice(cut, m)):
        count = panels_of(rows.stop - rows.start)
        part_Z = np.zeros(count * panel_stride(n), dtype)
        part_dA = np.zeros(count * panel_stride(n_prev), dtype)
        equations.forward(part_Z, W, pack(A_prev[rows]), b, n, n_prev, count, NO_FLOOR)
        equations.dA(part_dA, W, pack(dZ[rows]), pack(A_prev[rows]), n, n_prev, count, 1)
        np.testing.assert_array_equal(part_Z, Z[rows.start * padded(n) : rows.stop * padded(n)])
        np.testing.assert_array_equal(part_dA, dA[rows.start * padded(n_prev) : rows.stop * padded(n_prev)])
