"""The derivation for one sample: the columns of its matrices are vectors, and every product is a matrix by a vector.

In a panel, one sample would cost the work of 16. Here each product reads W once, and little else, so that a step takes
as long as W takes to come from memory: it is read three times and, with the update, written once. Threads share the
rows of a large W in `forward`, and its columns in the rest. A share consists of whole tiles, so that it has the same
bits as the whole.

Z, A, dA and dZ are stored as vectors, padded to 16. Their padding may hold any finite value, since the padding of W
holds zeros. The output's Z is copied into a panel for the activation or the loss, whose routines take panels only.
"""

from .jit import kernel
from .plan import COLUMNS, padded, row_stride
from .simd import LANES, at, call, dot_rows, fma, get, load, load_first_as, put, store, store_first
from .tiles import dot_tile, row_sum_tile

# Rows of W that are read side by side. 784-1024-1024-10: 94 and 98 µs per prediction in two runs; with 4 rows 102 and
# 131, with 16 rows 109 and 123; NumPy 107 to 136.
MOST_ROWS = 8


@kernel
def next_power(left, most):
    """Return the largest power of two that is at most `left` and at most `most`, itself a power of two."""
    power = most
    while power > left:
        power //= 2
    return power


@kernel
def forward(Z, W, A_prev, b, n, n_prev):
    """Compute Z = W·A_prev + b.

    Z (n,), W (n, n_prev), A_prev (n_prev,), b (n,)
    """
    ld = row_stride(n_prev)
    for i in range(0, n, LANES):
        store(Z, i, load(b, i))
    i = 0
    while i < n:
        rows = next_power(n - i, min(MOST_ROWS, dot_rows(W)))
        dot_tile(rows, (at(Z, i), at(W, i * ld), A_prev, 1.0, 1.0, rows, ld, padded(n_prev) // LANES, LANES, LANES))
        i += rows


@kernel
def dA(dA_prev, W, dZ, n, n_prev, ld):
    """Compute dA_prev = Wᵀ·dZ (equation 4).

    dA_prev (n_prev,), W (n, n_prev) in rows of `ld` numbers, dZ (n,)
    """
    k = 0
    blocks = padded(n_prev) // LANES
    while k < blocks:
        width = next_power(blocks - k, dot_rows(W))
        row_sum_tile(width, (at(dA_prev, LANES * k), at(W, LANES * k), dZ, ld, n))
        k += width


@kernel
def dW(dW, dZ, A_prev, n, n_prev, alpha, beta, first, last):
    """Compute dW = β·dW + α·dZ·A_prevᵀ (equation 2) for the blocks first…last of 16 columns; β is 0 or 1.

    dW (n, n_prev), dZ (n,), A_prev (n_prev,)
    """
    ld = row_stride(n_prev)
    start = first * LANES
    end = min(last * LANES, n_prev)
    whole = start + max(0, end - start) // LANES * LANES
    for i in range(n):
        row = at(dW, i * ld)
        s = alpha * get(dZ, i)
        if beta == 0.0:
            for k in range(start, whole, LANES):
                store(row, k, load(A_prev, k) * s)
            if whole < end:
                store_first(row, whole, load(A_prev, whole) * s, end - whole)
        else:
            for k in range(start, whole, LANES):
                store(row, k, fma(load(A_prev, k), s, load(row, k)))
            if whole < end:
                store_first(row, whole, fma(load(A_prev, whole), s, load(row, whole)), end - whole)


@kernel
def db(db, dZ, n, alpha, beta):
    """Compute db = β·db + α·dZ (equation 3); β is 0 or 1.

    db, dZ (n,)
    """
    for i in range(0, n, LANES):
        change = load(dZ, i) * alpha
        store_first(db, i, change if beta == 0.0 else load(db, i) + change, n - i)


@kernel
def copy_row(A, X, start, n, scale):
    """Compute A (n,) = scale·X[start:start + n], zero in its padding; X has the element of A, or is uint8."""
    for k in range(0, n, LANES):
        store(A, k, load_first_as(A, X, start + k, n - k) * scale)


@kernel
def copy_out(out, a, n, scale):
    """Compute out (n,) = scale·a, whose padding is not written."""
    for k in range(0, n, LANES):
        store_first(out, k, load(a, k) * scale, n - k)


@kernel
def spread(panel, a, n):
    """Copy the sample to the first place of a panel [n][16]."""
    for i in range(n):
        put(panel, LANES * i, get(a, i))


@kernel
def collect(a, panel, n):
    """Copy the sample from the first place of a panel [n][16]."""
    for i in range(n):
        put(a, i, get(panel, LANES * i))


@kernel
def share(units, item, count, width, length):
    """Return the first place of share `item` of `count` and the one after its last, in units of `width` places."""
    return item * units // count * width, min((item + 1) * units // count * width, length)


@kernel
def forward_share(layer, parameters, work, item, count, hidden):
    """Compute Z = W·A_prev + b, and of a hidden layer A = g(Z), for a share of the units."""
    n, n_prev = layer.n, layer.n_prev
    i, end = share((n + LANES - 1) // LANES, item, count, LANES, n)
    W = at(parameters, layer.W + i * row_stride(n_prev))
    b = at(parameters, layer.b + i)
    Z = at(work, layer.Z + i)
    forward(Z, W, at(work, layer.A_prev), b, end - i, n_prev)
    if hidden and layer.activation:
        call(layer.activation, (at(work, layer.A + i), Z, padded(end - i) // LANES))


@kernel
def backward_share(layer, under, parameters, work, item, count):
    """Compute dA and dZ (equations 4 and 1) of a share of the units below a layer."""
    n, n_prev = layer.n, layer.n_prev
    k, end = share((n_prev + COLUMNS - 1) // COLUMNS, item, count, COLUMNS, n_prev)
    dA_prev = at(work, under.dA + k)
    dA(dA_prev, at(parameters, layer.W + k), at(work, layer.dZ), n, end - k, row_stride(n_prev))
    if under.derivative:
        Z, A, dZ = at(work, under.Z + k), at(work, under.A + k), at(work, under.dZ + k)
        call(under.derivative, (dZ, dA_prev, Z, A, padded(end - k) // LANES))
