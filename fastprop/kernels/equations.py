"""One layer of the derivation: the forward step and the four equations, each a kernel of its own name.

All memory is flat float32, arrays or pointers. Activations and their derivatives stand in panels of 16 samples,
[panel][feature, padded to 16][16], the stride of a panel being ``panel_stride(n)``; `A_prev_T` holds the same blocks
of 16 × 16 transposed, samples down and features along. W stands in rows of ``row_stride(n_prev)`` floats. Places
beyond n and beyond the batch hold zeros. Outputs come first, sizes last; nothing is checked.
"""

import numpy as np

from .prefetch import prefetch_next
from .jit import kernel
from .plan import PANEL_BLOCK, ROW_BLOCK, ROWS_TOGETHER, SMALL_WEIGHTS, panel_stride, row_stride
from .simd import LANES, at, block_on_stack, call, get, prefetch, put, splat, store
from .tiles import DOT_ROWS, dA_tile, dot_tile, dW_tile, forward_tile, half_tile, next_rows, transpose_tile

NO_FLOOR = np.float32(-np.inf)
ONE = np.float32(1.0)


@kernel
def forward(Z, W, A_prev, b, n, n_prev, panels, floor):
    """Z = W·A_prev + b, and max(Z, floor): a floor of 0 makes it A = relu(Z), one of −∞ leaves Z as it is.

    Z [panels][n][16], W (n, n_prev), A_prev [panels][n_prev][16], b (n,)
    """
    ld = row_stride(n_prev)
    i = 0
    while i < n:
        rows = next_rows(n - i)
        forward_tile(rows, (at(Z, LANES * i), at(W, i * ld), A_prev, at(b, i), floor, ld, n_prev, panels,
                            panel_stride(n), panel_stride(n_prev)))  # fmt: skip
        i += rows


@kernel
def activate(A, Z, activation, n, panels):
    """A = g(Z), g being the activation routine at an address.

    A, Z [panels][n][16]
    """
    for p in range(panels):
        shift = p * panel_stride(n)
        call(activation, (at(A, shift), at(Z, shift), n))


@kernel
def dZ(dZ, dA, Z, A, derivative, n, panels):
    """Equation 1: dZ = dA ∗ g′(Z), g′ being the derivative routine at an address.

    all [panels][n][16]
    """
    for p in range(panels):
        shift = p * panel_stride(n)
        call(derivative, (at(dZ, shift), at(dA, shift), at(Z, shift), at(A, shift), n))


@kernel
def dW(dW, dZ, A_prev, A_prev_T, n, n_prev, panels, alpha, beta, first, last, rows_ahead=0):
    """Equation 2: dW = beta·dW + alpha·dZ·A_prevᵀ, for the blocks first…last of 16 columns; alpha is 1/m.

    dW (n, n_prev), dZ [panels][n][16], A_prev [panels][n_prev][16], A_prev_T its transposed blocks. With beta = 0,
    dW is not read. With beta = 1 and alpha = −lr/m, dW being W, it is the step of gradient descent itself. Which of
    A_prev and A_prev_T is read, `plan.by_dot` tells. `rows_ahead` is what is asked of the memory between the tiles.
    """
    ld, dZ_stride, A_stride = row_stride(n_prev), panel_stride(n), panel_stride(n_prev)
    if n == 1:
        k, end = first * LANES, min(last * LANES, n_prev)
        _rows_dot(at(dW, k), 1, at(A_prev, LANES * k), dZ, end - k, panels, A_stride, dZ_stride, alpha, beta)
        return
    left = n_prev - (last - 1) * LANES  # columns of the last block
    whole = last if left > LANES // 2 else max(first, last - 1)
    far, end = n * ld > SMALL_WEIGHTS, 0
    while end < n:
        begin, end = end, end_of_rows(end, n)
        for p in range(0, panels, PANEL_BLOCK):
            some, beta_here = min(PANEL_BLOCK, panels - p), beta if p == 0 else ONE
            for block in range(first, last if left > 1 else whole):
                here, A_T = at(dW, block * LANES), at(A_prev_T, block * LANES * LANES + p * A_stride)
                i = begin
                while i < end:
                    prefetch_next(rows_ahead)
                    rows = next_rows(n - i)
                    out, samples = at(here, i * ld), at(dZ, LANES * i + p * dZ_stride)
                    for r in range(rows if far else 0):  # asked for here, they are there once the sums are: wide
                        prefetch(out, r * ld, 1)  # and xl 2% faster
                    if block == whole:
                        half_tile(rows, (out, samples, A_T, alpha, beta_here, ld, some, dZ_stride, A_stride))
                    else:
                        dW_tile(rows, (out, samples, A_T, alpha, beta_here, ld, some, dZ_stride, A_stride))
                    i += rows
    if whole < last and left == 1:
        k = n_prev - 1
        _rows_dot(at(dW, k), ld, dZ, at(A_prev, LANES * k), n, panels, dZ_stride, A_stride, alpha, beta)


@kernel
def end_of_rows(i, n):
    """Where the rows end, from row i on, whose tiles follow each other: after `ROWS_TOGETHER`, or a few more."""
    end = min(i + ROWS_TOGETHER, n)
    while i < end:
        i += next_rows(n - i)
    return i


@kernel
def db(db, dZ, n, panels, alpha, beta):
    """Equation 3: db = beta·db + alpha·Σ_samples dZ; alpha is 1/m.

    db (n,), dZ [panels][n][16]
    """
    ones = block_on_stack()
    store(ones, 0, splat(1.0))
    _rows_dot(db, 1, dZ, ones, n, panels, panel_stride(n), 0, alpha, beta)


@kernel
def _rows_dot(out, stride, rows, a, n, panels, row_stride, a_stride, alpha, beta):
    """out[stride·r] = beta·out[stride·r] + alpha·Σ_{p, s} rows[p][r][s]·a[p][s], for n rows"""
    column = block_on_stack()
    for i in range(0, n, DOT_ROWS):
        count = min(n - i, DOT_ROWS)
        if stride == 1:
            dot_tile(DOT_ROWS, (at(out, i), at(rows, LANES * i), a, alpha, beta, count, LANES, panels, row_stride,
                                a_stride))  # fmt: skip
        else:
            for r in range(count):
                put(column, r, get(out, (i + r) * stride))
            dot_tile(DOT_ROWS, (column, at(rows, LANES * i), a, alpha, beta, count, LANES, panels, row_stride,
                                a_stride))  # fmt: skip
            for r in range(count):
                put(out, (i + r) * stride, get(column, r))


@kernel
def dA(dA_prev, W, dZ, A_prev, n, n_prev, panels, relu):
    """Equation 4: dA_prev = Wᵀ·dZ; with relu, equation 1 of the layer below too: only where A_prev > 0.

    dA_prev, A_prev [panels][n_prev][16], W (n, n_prev), dZ [panels][n][16]; dA_prev may be A_prev itself where n is
    at most `plan.ROW_BLOCK`.
    """
    ld = row_stride(n_prev)
    for i in range(0, n, ROW_BLOCK):
        masks = relu if i + ROW_BLOCK >= n else 0
        k = 0
        while k < n_prev:
            rows = next_rows(n_prev - k)
            here, A = at(dA_prev, LANES * k), at(A_prev, LANES * k)
            dA_tile(rows, (here, at(W, i * ld + k), at(dZ, LANES * i), A, masks, i, ld, min(ROW_BLOCK, n - i), panels,
                           panel_stride(n_prev), panel_stride(n)))  # fmt: skip
            k += rows


@kernel
def transpose(A_T, A, n, panels):
    """The blocks of 16 × 16 of A [panels][n][16], each transposed: what equation 2 reads."""
    blocks = panels * panel_stride(n) // (LANES * LANES)
    transpose_tile(LANES, (A_T, A, blocks))
