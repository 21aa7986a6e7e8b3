"""The forward step and the four equations of one layer, each as a kernel with the derivation's name.

:mod:`fastprop.reference` has the same equations in plain NumPy and is the oracle that the tests compare with. Two of
its lines are not in this module:

- The output's dZ = Ŷ − Y is computed by the loss routine (``identity_mse``, ``sigmoid_binary_crossentropy`` or
  ``softmax_cross_entropy`` in ``elementwise.py``), together with the cost.
- Equation 1 of the default relu is fused into the tile of equation 4: :func:`dA` with ``relu=1``. :func:`dZ` is for
  all other activations.

All memory is flat, arrays or pointers, all of float32 or all of float64. Activations and their derivatives are stored
in panels of 16 samples, [panel][feature, padded to 16][16], with ``panel_stride(n)`` numbers from one panel to the
next. `A_prev_T` holds the same blocks of 16 × 16 transposed: samples down, features along. W is stored in rows of
``row_stride(n_prev)`` numbers. Places beyond n and beyond the batch hold zeros. The parameters of a kernel are its
outputs, then its inputs, then sizes. The kernels check nothing.

The comments number the loops as BLIS does, from the outermost down to loop 1, the first one around the micro-kernel.
``README.md`` in this folder shows all of them, with block sizes and caches.
"""

import numpy as np

from .jit import Array, Real, kernel, public_kernel
from .plan import (
    PACKED,
    PACKED_STRIDE,
    PANEL_BLOCK,
    ROWS_TOGETHER,
    SMALL_WEIGHTS,
    packs_columns,
    panel_stride,
    row_block,
    row_stride,
)
from .prefetch import prefetch_next
from .simd import (
    LANES,
    TILE_ROWS,
    at,
    at_once,
    call,
    dot_rows,
    get,
    most_rows,
    on_stack,
    prefetch,
    put,
    real,
    size_of,
    splat,
    store,
)
from .tiles import (
    dA_tile,
    dot_tile,
    dW_tile,
    forward_tile,
    half_tile,
    next_rows,
    pack_tile,
    transpose_tile,
)

NO_FLOOR = -np.inf


@public_kernel
def forward(Z: Array, W: Array, A_prev: Array, b: Array, n: int, n_prev: int, panels: int,
            floor: Real) -> None:  # fmt: skip
    """Compute Z = W·A_prev + b, or max(Z, floor): a floor of 0 gives A = relu(Z), a floor of −∞ gives Z.

    Z [panels][n][16], W (n, n_prev), A_prev [panels][n_prev][16], b (n,)
    """
    ld = row_stride(n_prev)
    Z_stride = panel_stride(n)
    A_stride = panel_stride(n_prev)
    i = 0
    while i < n:  # loop 2: tiles of rows of W; loop 1, over the panels, is inside the tile
        rows = next_rows(n - i, most_rows(W))
        out, w = at(Z, LANES * i), at(W, i * ld)
        forward_tile(rows, (out, w, A_prev, at(b, i), floor, ld, n_prev, panels, Z_stride, A_stride))
        i += rows


@public_kernel
def activate(A: Array, Z: Array, activation: int, n: int, panels: int) -> None:
    """Compute A = g(Z), where g is the activation routine at the address `activation`.

    A, Z [panels][n][16]
    """
    for p in range(panels):
        shift = p * panel_stride(n)
        call(activation, (at(A, shift), at(Z, shift), n))


@public_kernel
def dZ(dZ: Array, dA: Array, Z: Array, A: Array, derivative: int, n: int, panels: int) -> None:
    """Compute dZ = dA ∗ g′(Z) (equation 1), where g′ is the derivative routine at the address `derivative`.

    all [panels][n][16]
    """
    for p in range(panels):
        shift = p * panel_stride(n)
        call(derivative, (at(dZ, shift), at(dA, shift), at(Z, shift), at(A, shift), n))


@public_kernel
def dW(
    dW: Array, dZ: Array, A_prev: Array, A_prev_T: Array, n: int, n_prev: int, panels: int, alpha: Real, beta: Real,
    first: int, last: int, prefetch_record: int = 0,
) -> None:  # fmt: skip
    """Compute dW = β·dW + α·dZ·A_prevᵀ (equation 2) for the blocks first…last of 16 columns; α is 1/m.

    dW (n, n_prev), dZ [panels][n][16], A_prev [panels][n_prev][16], A_prev_T its transposed blocks. With β = 0, dW is
    not read. With β = 1, α = −lr/m and W as dW, it is the step of gradient descent itself. :func:`.plan.by_dot` tells
    whether A_prev is read in addition to A_prev_T. The rows of `prefetch_record`, the address of a record of
    :mod:`.prefetch` or 0, are prefetched between the tiles.
    """
    if n == 1:
        _dW_of_one_unit(dW, dZ, A_prev, n_prev, panels, alpha, beta, first, last)
        return
    ld = row_stride(n_prev)
    dZ_stride = panel_stride(n)
    A_stride = panel_stride(n_prev)
    # The edge: if at most 8 columns are left for the last block, it is a block of 8, or a single column by itself.
    columns = n_prev - (last - 1) * LANES
    n_whole = last if columns > LANES // 2 else max(first, last - 1)
    n_blocks = last if columns > 1 else n_whole
    panel_block = PANEL_BLOCK * 4 // size_of(dW)
    far = n * ld * size_of(dW) > SMALL_WEIGHTS  # W does not fit the cache
    end = 0
    while end < n:  # loop 4: rows of dW, `ROWS_TOGETHER` at once
        begin = end
        end = end_of_rows(begin, n, most_rows(dW))
        for p in range(0, panels, panel_block):  # loop 3: samples, `panel_block` panels at once
            some = min(panel_block, panels - p)
            beta_here = beta if p == 0 else real(dW, 1.0)
            block = first
            while block < n_blocks:  # loop 2: columns of dW, one or two blocks of 16 at once
                blocks = 1 if block == n_whole else min(at_once(dW), n_whole - block)
                here = at(dW, block * LANES)
                A_T = at(A_prev_T, block * LANES * LANES + p * A_stride)
                i = begin
                while i < end:  # loop 1: tiles of rows of dW
                    prefetch_next(prefetch_record)
                    rows = next_rows(n - i, most_rows(dW))
                    out = at(here, i * ld)
                    samples = at(dZ, LANES * i + p * dZ_stride)
                    # Prefetched here, the rows of dW are there when the sums are complete: wide and xl 2% faster.
                    for r in range(rows if far else 0):
                        for c in range(blocks):
                            prefetch(out, r * ld + c * LANES, 1)
                    if block == n_whole:
                        half_tile(rows, (out, samples, A_T, alpha, beta_here, ld, some, dZ_stride, A_stride, blocks))
                    else:
                        dW_tile(rows, (out, samples, A_T, alpha, beta_here, ld, some, dZ_stride, A_stride, blocks))
                    i += rows
                block += blocks
    if n_whole < last and columns == 1:
        _dW_of_last_column(dW, dZ, A_prev, n, n_prev, panels, alpha, beta)


@kernel
def _dW_of_one_unit(dW, dZ, A_prev, n_prev, panels, alpha, beta, first, last):
    """Compute the columns of the blocks first…last of dW (1, n_prev), each as a dot product of rows of panels."""
    k = first * LANES
    end = min(last * LANES, n_prev)
    A_stride, dZ_stride = panel_stride(n_prev), panel_stride(1)
    _rows_dot(at(dW, k), 1, at(A_prev, LANES * k), dZ, end - k, panels, A_stride, dZ_stride, alpha, beta)


@kernel
def _dW_of_last_column(dW, dZ, A_prev, n, n_prev, panels, alpha, beta):
    """Compute the last column of dW, one dot product for each row: it is alone in its block of 16 columns."""
    ld = row_stride(n_prev)
    k = n_prev - 1
    A_stride, dZ_stride = panel_stride(n_prev), panel_stride(n)
    _rows_dot(at(dW, k), ld, dZ, at(A_prev, LANES * k), n, panels, dZ_stride, A_stride, alpha, beta)


@kernel
def end_of_rows(i, n, most):
    """Return where the rows from row i on end whose tiles follow each other: `ROWS_TOGETHER` rows, or a few more.

    `most` is the number of rows of a full tile.
    """
    end = min(i + ROWS_TOGETHER, n)
    while i < end:
        i += next_rows(n - i, most)
    return i


@public_kernel
def db(db: Array, dZ: Array, n: int, panels: int, alpha: Real, beta: Real) -> None:
    """Compute db = β·db + α·Σ_samples dZ (equation 3); α is 1/m. With β = 0, db is not read.

    db (n,), dZ [panels][n][16]
    """
    ones = on_stack(dZ, LANES)
    store(ones, 0, splat(dZ, 1.0))
    _rows_dot(db, 1, dZ, ones, n, panels, panel_stride(n), 0, alpha, beta)


@kernel
def _rows_dot(out, stride, rows, a, n, panels, row_stride, a_stride, alpha, beta):
    """out[stride·r] = β·out[stride·r] + α·Σ_{p, s} rows[p][r][s]·a[p][s], for n rows"""
    column = on_stack(rows, LANES)
    most = dot_rows(rows)
    for i in range(0, n, most):
        count = min(n - i, most)
        here = at(rows, LANES * i)
        if stride == 1:
            dot_tile(most, (at(out, i), here, a, alpha, beta, count, LANES, panels, row_stride, a_stride))
        else:
            for r in range(count):
                put(column, r, get(out, (i + r) * stride))
            dot_tile(most, (column, here, a, alpha, beta, count, LANES, panels, row_stride, a_stride))
            for r in range(count):
                put(out, (i + r) * stride, get(column, r))


@public_kernel
def dA(dA_prev: Array, W: Array, dZ: Array, A_prev: Array, n: int, n_prev: int, panels: int, relu: int) -> None:
    """Compute dA_prev = Wᵀ·dZ (equation 4); with relu = 1 also equation 1 of a relu below, 0 where not A_prev > 0.

    dA_prev, A_prev [panels][n_prev][16], W (n, n_prev), dZ [panels][n][16]. dA_prev may be A_prev itself if n is at
    most ``plan.row_block``.
    """
    ld = row_stride(n_prev)
    A_stride = panel_stride(n_prev)
    dZ_stride = panel_stride(n)
    packs = packs_columns(n, panels, TILE_ROWS * at_once(W) * size_of(W))
    packed = on_stack(W, PACKED)
    block = row_block(size_of(W))
    for i in range(0, n, block):  # loop 3: rows of W, `block` at once
        some = min(block, n - i)
        masks = relu if i + block >= n else 0
        dz = at(dZ, LANES * i)
        k = 0
        while k < n_prev:  # loop 2: tiles of columns of W; loop 1, over the panels, is inside the tile
            rows = next_rows(n_prev - k, TILE_ROWS)
            out, w, a = at(dA_prev, LANES * k), at(W, i * ld + k), at(A_prev, LANES * k)
            if packs:
                pack_tile(rows, (packed, w, ld, PACKED_STRIDE, some))
                dA_tile(rows, (out, packed, dz, a, masks, i, PACKED_STRIDE, some, panels, A_stride, dZ_stride))
            else:
                dA_tile(rows, (out, w, dz, a, masks, i, ld, some, panels, A_stride, dZ_stride))
            k += rows


@public_kernel
def transpose(A_T: Array, A: Array, n: int, panels: int) -> None:
    """Transpose each block of 16 × 16 of A [panels][n][16]: the form that equation 2 reads."""
    blocks = panels * panel_stride(n) // (LANES * LANES)
    transpose_tile(LANES, (A_T, A, blocks))
