"""The first layer's products with a sparse X, which is read as it is stored: CSR, the entries of one row after another.

The entries of some samples are sorted by their columns. Then both products go through W, 16 rows of it at once, from
the first column that has entries to the last one, and read no other columns. Vectors run along the 16 rows: for each
entry x of sample s in column k, forward is Z[s] += x·W[:, k], and equation 2 is dW[:, k] += x·dZ[s]. A sum of forward
is in the order of the columns, one of equation 2 in the order of the samples, whatever samples are computed together.

There are no panels of X then. The first layer's Z and dZ are panels, as those of all other layers.
"""

from typing import Any

import numba.core.types as types
import numpy as np

from .jit import kernel, routine
from .passes import floor_of
from .plan import SCALE, job_at, layer_at, panel_stride, panels_of, row_stride
from .prefetch import row_of
from .simd import (
    BLOCK,
    LANES,
    at,
    doubles,
    fma,
    get,
    indices,
    integers,
    load,
    load_column,
    on_stack,
    put,
    real,
    reals,
    splat,
    store,
    store_column,
    where,
)
from .steps import (
    PHASE,
    chunk_range,
    gradient_target,
    is_fused,
    item_columns,
    n_chunks,
    step_weight,
    update_range,
    updates_columns,
)
from .tiles import transpose_tile

DIGIT = 11  # bits, at most, by which entries are sorted at once
COUNTS = 1 << DIGIT
COLUMN = 32  # an entry's key is its column, and in the bits below its sample
SAMPLES = (1 << COLUMN) - 1
# Columns of 16 rows of dW that stay in the cache from equation 2 to the update. A step of Adam on 200 samples with 60
# entries each, 2^18-100-1 on one thread of a Zen 3, medians of two processes: 53 and 54 ms; with strips of 512 columns
# 80 and 90, of 8192 64 and 63, with all columns at once 66 and 78.
STRIP = 2048


def FORWARD(element: types.Float) -> Any:
    """Return the signature of `sparse_forward`: (job, step, chunk, first, last, thread)."""
    return types.float64(types.CPointer(element), *[types.int64] * 5)


# ---- the entries of some samples ---------------------------------------------------------------------------------


@kernel
def sorted_entries(job, thread, start, count, first, last):
    """Sort the entries of `count` samples, from number `start` of the epoch on, in the columns first…last.

    Their order is that of their columns, and within a column of their samples. An index is compared with the columns
    here, although it was validated: the user may write there while the network trains.

    Returns
    -------
    keys, values, n, zero
        The keys and the values, times the scale of X; their number; and 0, or NaN if one of them is not finite.
    """
    most = job.most_entries
    space = job.entries + 8 * thread * (COUNTS + 4 * most)
    keys, other_keys = integers(space + 8 * COUNTS), integers(space + 8 * (COUNTS + most))
    values = reals(job, space + 8 * (COUNTS + 2 * most))
    other_values = reals(job, space + 8 * (COUNTS + 3 * most))
    X = integers(job.X)
    rows, columns, data = integers(get(X, 0)), indices(get(X, 1)), reals(job, get(X, 2))
    scale = real(job, get(doubles(job.totals), SCALE))
    n, zero = np.int64(0), 0.0
    for s in range(count):
        row = row_of(job.order, start + s)
        for i in range(get(rows, row), get(rows, row + 1)):
            k = np.int64(get(columns, i))
            if first <= k < last:
                x = get(data, i) * scale
                zero += np.float64(x) * 0.0
                put(keys, n, k << COLUMN | s)
                put(values, n, x)
                n += 1
    bits = bits_of(last - 1)
    passes = (bits + DIGIT - 1) // DIGIT
    for i in range(passes):
        width = (bits + passes - 1) // passes
        sort_by_digit(other_keys, other_values, keys, values, integers(space), n, COLUMN + i * width, width)
        keys, other_keys = other_keys, keys
        values, other_values = other_values, values
    return keys, values, n, zero


@kernel
def bits_of(k):
    """Return the number of bits of an integer."""
    bits = np.int64(0)
    while k >> bits:
        bits += 1
    return bits


@kernel
def sort_by_digit(out_keys, out_values, keys, values, counts, n, shift, width):
    """Sort n entries by `width` bits of their keys, from bit `shift` on; those equal in them keep their order."""
    mask = (1 << width) - 1
    for digit in range(mask + 1):
        put(counts, digit, 0)
    for e in range(n):
        digit = get(keys, e) >> shift & mask
        put(counts, digit, get(counts, digit) + 1)
    place = np.int64(0)
    for digit in range(mask + 1):
        count = get(counts, digit)
        put(counts, digit, place)
        place += count
    for e in range(n):
        digit = get(keys, e) >> shift & mask
        place = get(counts, digit)
        put(counts, digit, place + 1)
        put(out_keys, place, get(keys, e))
        put(out_values, place, get(values, e))


# ---- columns of 16 rows, or of the last ones ---------------------------------------------------------------------


@kernel
def column_of(W, k, ld, rows):
    """Return column k of up to 16 rows of W, and 0 beyond."""
    if rows == LANES:
        return load_column(W, k, ld)
    column = on_stack(W, LANES)
    store(column, 0, splat(W, 0.0))
    for r in range(rows):
        put(column, r, get(W, r * ld + k))
    return load(column, 0)


@kernel
def add_to_column(dW, k, ld, rows, v, alpha):
    """Compute dW[:, k] += α·v for up to 16 rows of dW."""
    if rows == LANES:
        store_column(dW, k, ld, fma(v, alpha, load_column(dW, k, ld)))
        return
    column = on_stack(dW, LANES)
    store(column, 0, v * alpha)
    for r in range(rows):
        put(dW, r * ld + k, get(dW, r * ld + k) + get(column, r))


# ---- the products ------------------------------------------------------------------------------------------------


@routine(FORWARD)
def sparse_forward(address, step, chunk, first, last, thread):
    """Compute the first layer's Z = W·X + b, or max(Z, 0), for panels first…last of a chunk.

    Returns 0, or NaN if X is not finite.
    """
    job = job_at(address)
    layer = layer_at(job.layers, 0)
    n, ld = layer.n, row_stride(layer.n_prev)
    start, size = chunk_range(job, step, chunk)
    count = min(size - first * LANES, (last - first) * LANES)
    keys, values, n_entries, zero = sorted_entries(job, thread, start + first * LANES, count, 0, layer.n_prev)
    work, parameters = reals(job, job.work), reals(job, job.parameters)
    sums = at(work, job.rows + thread * job.chunk_panels * BLOCK)
    for i in range(0, n, LANES):
        rows = min(LANES, n - i)
        W, b = at(parameters, layer.W + i * ld), at(parameters, layer.b + i)
        for s in range((last - first) * LANES):
            store(sums, s * LANES, load(b, 0))
        add_columns(sums, W, keys, values, n_entries, ld, rows)
        for p in range(first, last):
            Z = at(work, layer.Z + p * panel_stride(n) + i * LANES)
            finish_panel(Z, at(sums, (p - first) * BLOCK), rows, real(job, floor_of(layer)))
    return zero


@kernel
def add_columns(sums, W, keys, values, n, ld, rows):
    """Compute sums[s] += x·W[:, k] for n entries x, each of its sample s and column k; sums [samples][16]."""
    e = np.int64(0)
    while e < n:
        k = get(keys, e) >> COLUMN
        w = column_of(W, k, ld, rows)
        while e < n and get(keys, e) >> COLUMN == k:
            s = LANES * (get(keys, e) & SAMPLES)
            store(sums, s, fma(w, get(values, e), load(sums, s)))
            e += 1


@kernel
def finish_panel(Z, sums, rows, floor):
    """Write the rows of one panel Z [rows][16] from their sums [16][16], at least `floor`; NaN stays NaN."""
    block = on_stack(Z, BLOCK)
    transpose_tile(LANES, (block, sums, 1))
    for r in range(rows):
        z = load(block, r * LANES)
        store(Z, r * LANES, where(z < floor, floor, z))


@routine(PHASE)
def sparse_dW(address, step, chunk, item, count, thread):
    """Compute the first layer's dW of a work item's columns, and apply the update that is not fused.

    Columns without entries have a dW of 0. If the update is fused, they need no work.
    """
    job = job_at(address)
    layer = layer_at(job.layers, 0)
    n, ld = layer.n, row_stride(layer.n_prev)
    c0, c1 = item_columns(job, layer, item)
    if c0 >= c1:
        return
    chunks = n_chunks(job, step)
    out, alpha, beta = gradient_target(job, is_fused(job, chunks), step_weight(job, step), chunk)
    updates = updates_columns(job, chunk, chunks)
    start, size = chunk_range(job, step, chunk)
    end = min(c1 * LANES, layer.n_prev)
    keys, values, n_entries, _ = sorted_entries(job, thread, start, size, c0 * LANES, end)
    work = reals(job, job.work)
    samples = at(work, job.rows + thread * job.chunk_panels * BLOCK)
    for i in range(0, n, LANES):
        rows = min(LANES, n - i)
        dW = at(out, layer.W + i * ld)
        for p in range(panels_of(size)):
            dZ = at(work, layer.dZ + p * panel_stride(n) + i * LANES)
            transpose_tile(LANES, (at(samples, p * BLOCK), dZ, 1))
        e = np.int64(0)
        for k in range(c0 * LANES, c1 * LANES, STRIP):
            last = min(k + STRIP, c1 * LANES)
            if beta == 0.0:
                clear_rows(at(dW, k), last - k, ld, rows)
            e = add_gradients(dW, samples, keys, values, e, n_entries, last, ld, rows, alpha)
            for r in range(rows if updates else 0):
                update_range(job, layer.W + (i + r) * ld + k, last - k)


@kernel
def clear_rows(dW, count, ld, rows):
    """Write zeros to the first `count` columns of some rows."""
    for r in range(rows):
        for k in range(0, count, LANES):
            store(dW, r * ld + k, splat(dW, 0.0))


@kernel
def add_gradients(dW, samples, keys, values, e, n, last, ld, rows, alpha):
    """Compute dW[:, k] += α·Σ x·samples[s] for the entries x from entry e to column `last`; return the next entry."""
    while e < n and get(keys, e) >> COLUMN < last:
        k = get(keys, e) >> COLUMN
        total = splat(dW, 0.0)
        while e < n and get(keys, e) >> COLUMN == k:
            total = fma(load(samples, LANES * (get(keys, e) & SAMPLES)), get(values, e), total)
            e += 1
        add_to_column(dW, k, ld, rows, total, alpha)
    return e
