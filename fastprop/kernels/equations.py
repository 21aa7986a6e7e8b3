"""One layer of the derivation: the forward step and the four equations, each a kernel of its own name.

All memory is flat float32, arrays or pointers. Activations and their derivatives stand in panels of 16 samples,
[panel][feature, padded to 16][16], the stride of a panel being ``panel_stride(n)``; `A_prev_T` holds the same blocks
of 16 × 16 transposed, samples down and features along. W stands in rows of ``row_stride(n_prev)`` floats. Places
beyond n and beyond the batch hold zeros. Outputs come first, sizes last; nothing is checked.
"""

import numpy as np

from .jit import kernel
from .plan import by_dot, panel_stride, row_stride
from .simd import LANES, TILE_ROWS, at, call, get, lanes_on_stack, put, transpose_block
from .tiles import dA_tile, dot_tile, dW_tile, forward_tile

NO_FLOOR = np.float32(-np.inf)


@kernel
def forward(Z, W, A_prev, b, n, n_prev, panels, floor):
    """Z = W·A_prev + b, and max(Z, floor): a floor of 0 makes it A = relu(Z), one of −∞ leaves Z as it is.

    Z [panels][n][16], W (n, n_prev), A_prev [panels][n_prev][16], b (n,)
    """
    ld = row_stride(n_prev)
    tiles = (n + TILE_ROWS - 1) // TILE_ROWS
    i = 0
    for t in range(tiles):
        rows = n // tiles + (1 if t < n % tiles else 0)
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
def dW(dW, dZ, A_prev, A_prev_T, n, n_prev, panels, scale, keep, first, last):
    """Equation 2: dW = keep·dW + scale·dZ·A_prevᵀ, for the blocks first…last of 16 columns; scale is 1/m.

    dW (n, n_prev), dZ [panels][n][16], A_prev [panels][n_prev][16], A_prev_T its transposed blocks. With keep = 0,
    dW is not read. With keep = 1 and scale = −lr/m, dW being W, it is the step of gradient descent itself.
    """
    ld = row_stride(n_prev)
    whole = last
    if last * LANES > n_prev and by_dot(n_prev, panels):
        whole = last - 1
    tiles = (n + TILE_ROWS - 1) // TILE_ROWS
    i = 0
    for t in range(tiles):
        rows = n // tiles + (1 if t < n % tiles else 0)
        for block in range(first, whole):
            dW_tile(rows, (at(dW, i * ld + block * LANES), at(dZ, LANES * i), at(A_prev_T, block * LANES * LANES),
                           scale, keep, ld, panels, panel_stride(n), panel_stride(n_prev)))  # fmt: skip
        i += rows
    if whole < last:
        for k in range(whole * LANES, n_prev):
            _rows_dot(at(dW, k), ld, dZ, at(A_prev, LANES * k), 0, n, panels, panel_stride(n_prev), scale, keep)


@kernel
def db(db, dZ, n, panels, scale, keep):
    """Equation 3: db = keep·db + scale·Σ_samples dZ; scale is 1/m.

    db (n,), dZ [panels][n][16]
    """
    _rows_dot(db, 1, dZ, dZ, 1, n, panels, 0, scale, keep)


@kernel
def _rows_dot(out, stride, dZ, a, ones, n, panels, a_stride, scale, keep):
    """out[stride·r] = keep·out[stride·r] + scale·Σ_{p, s} dZ[p][r][s]·a[p][s], or ·1 with ones"""
    sums = lanes_on_stack()
    for i in range(0, n, LANES):
        dot_tile(LANES, (sums, at(dZ, LANES * i), a, ones, panels, panel_stride(n), a_stride))
        for r in range(min(LANES, n - i)):
            value = scale * get(sums, r)
            if keep != np.float32(0.0):
                value += keep * get(out, (i + r) * stride)
            put(out, (i + r) * stride, value)


@kernel
def dA(dA_prev, W, dZ, A_prev, n, n_prev, panels, relu):
    """Equation 4: dA_prev = Wᵀ·dZ; with relu, equation 1 of the layer below too: only where A_prev > 0.

    dA_prev, A_prev [panels][n_prev][16], W (n, n_prev), dZ [panels][n][16]
    """
    ld = row_stride(n_prev)
    tiles = (n_prev + TILE_ROWS - 1) // TILE_ROWS
    k = 0
    for t in range(tiles):
        rows = n_prev // tiles + (1 if t < n_prev % tiles else 0)
        dA_tile(rows, (at(dA_prev, LANES * k), at(W, k), dZ, at(A_prev, LANES * k), relu, ld, n, panels,
                       panel_stride(n_prev), panel_stride(n)))  # fmt: skip
        k += rows


@kernel
def transpose(A_T, A, n, panels):
    """The blocks of 16 × 16 of A [panels][n][16], each transposed: what equation 2 reads."""
    for i in range(0, panels * panel_stride(n), LANES * LANES):
        transpose_block(A_T, i, A, i)
