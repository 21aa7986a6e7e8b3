"""The drop-in's calls: NumPy arrays, whose columns are samples, into panels, through the worker, and out again.

Python gives a tuple of arrays by its address, and a *table*: a row of int64 for each of the arrays. :func:`look` reads
their headers, whose layout is a part of NumPy's C interface, and writes their addresses into the table; it tells
whether they have the dtype and shape that the table asks for. So a call costs as much for ten arrays as for one.
"""

import numpy as np

from .jit import entry, kernel
from .passes import gather_weights
from .plan import panel_stride, panels_of, row_stride
from .simd import (
    LANES,
    at,
    bytes_at,
    call,
    call_float64,
    fma,
    get,
    indices,
    integers,
    load,
    load_first,
    put,
    real,
    reals,
    size_of,
    splat,
    store,
    store_first,
    total,
)
from .steps import prepare_call
from .tiles import transpose_tile

# The fields of a row: the shape, which `look` compares or, of any KIND of ANY, writes; the address, which it writes;
# what the array is; and the addresses of its place in the engine's memory and of its transposed form, 0 for none.
ROWS, COLUMNS, ADDRESS, KIND, PLACE, PLACE_T = range(6)
FIELDS = 6
# Panels of samples; a matrix of rows of `row_stride` places; a column (n, 1) in n places; an array of any shape.
SAMPLES, MATRIX, VECTOR, ANY = range(4)
# The fields of row 0: the number of arrays, the size of a Python object's header, the place of a tuple's first item,
# the address of the type ndarray, and NumPy's number of the dtype.
COUNT, HEADER, ITEMS, TYPE, DTYPE = range(5)
# Offsets in NumPy's headers, after that of a Python object: of an array, and of its dtype.
DATA, N_DIMENSIONS, DIMENSIONS, DESCRIPTOR, ARRAY_FLAGS = 0, 8, 16, 40, 48
BYTE_ORDER, TYPE_NUMBER = 10, 12
C_CONTIGUOUS = 1
NATIVE = ord("=")


@kernel
def word(address):
    """Return the int64 at an address."""
    return get(integers(address), 0)


@kernel
def is_matrix(array, table):
    """Return whether the object at an address is a C-contiguous ndarray of two dimensions and the table's dtype."""
    header = array + get(table, HEADER)
    if word(header - 8) != get(table, TYPE):
        return False
    dtype = word(header + DESCRIPTOR) + get(table, HEADER)
    return (
        get(indices(dtype + TYPE_NUMBER), 0) == get(table, DTYPE)
        and get(bytes_at(dtype + BYTE_ORDER), 0) == NATIVE
        and get(indices(header + N_DIMENSIONS), 0) == 2
        and get(indices(header + ARRAY_FLAGS), 0) & C_CONTIGUOUS != 0
    )


@kernel
def look_at(array, row, table):
    """Write an array's address, and of ANY its shape, into its row; return whether it is what the row asks for."""
    if not is_matrix(array, table):
        return False
    header = array + get(table, HEADER)
    shape = integers(word(header + DIMENSIONS))
    put(row, ADDRESS, word(header + DATA))
    if get(row, KIND) == ANY:
        put(row, ROWS, get(shape, 0))
        put(row, COLUMNS, get(shape, 1))
    return get(row, ROWS) == get(shape, 0) and get(row, COLUMNS) == get(shape, 1)


@kernel
def look_at_all(arrays, table):
    """Look at each array of the tuple at an address."""
    for i in range(get(table, COUNT)):
        if not look_at(word(arrays + get(table, ITEMS) + 8 * i), at(table, (i + 1) * FIELDS), table):
            return False
    return True


@entry(nogil=False)
def look(arrays, table):
    """Look at a tuple of arrays, both given by their addresses; return whether all are what the table asks for.

    It holds the interpreter's lock, so that no array is changed meanwhile; the caller holds the tuple.
    """
    return look_at_all(arrays, integers(table))


@entry(nogil=False)
def look_twice(arrays, table, others, other_table):
    """Look at two tuples."""
    return look_at_all(arrays, integers(table)) and look_at_all(others, integers(other_table))


# ---- in and out --------------------------------------------------------------------------------------------------


@kernel
def samples_in(A, A_T, source, n, m):
    """Fill panels from `source` (n, m), and with A_T (an address, or 0) their transposes; return 0, or NaN: not finite.

    It goes by 16 features, whose rows of `source` are then read as a whole.
    """
    zero = splat(source, 0.0)
    for k in range(0, n, LANES):
        some = min(LANES, n - k)
        for p in range(panels_of(m)):
            place = p * panel_stride(n) + k * LANES
            count = m - p * LANES
            for i in range(some):
                where = (k + i) * m + p * LANES
                v = load(source, where) if count >= LANES else load_first(source, where, count)
                zero = fma(v, 0.0, zero)
                store(A, place + LANES * i, v)
            if A_T:
                transpose_tile(LANES, (at(reals(source, A_T), place), at(A, place), 1))
    return total(zero)


@kernel
def samples_out(out, A, n, m):
    """Write panels to `out` (n, m)."""
    for k in range(0, n, LANES):
        for p in range(panels_of(m)):
            panel = at(A, p * panel_stride(n))
            count = m - p * LANES
            for i in range(k, min(k + LANES, n)):
                if count >= LANES:
                    store(out, i * m + p * LANES, load(panel, LANES * i))
                else:
                    store_first(out, i * m + p * LANES, load(panel, LANES * i), count)


@kernel
def copy_rows(out, source, rows, n, out_stride, stride):
    """Copy rows of n numbers; return 0, or NaN if not all are finite."""
    zero = splat(source, 0.0)
    whole = n // LANES * LANES
    for r in range(rows):
        to, of = at(out, r * out_stride), at(source, r * stride)
        for k in range(0, whole, LANES):
            v = load(of, k)
            zero = fma(v, 0.0, zero)
            store(to, k, v)
        if whole < n:
            v = load_first(of, whole, n - whole)
            zero = fma(v, 0.0, zero)
            store_first(to, whole, v, n - whole)
    return total(zero)


@kernel
def bring_in(like, table):
    """Copy all arrays of a table to their places; return whether all numbers are finite."""
    zero = real(like, 0.0)
    for i in range(get(table, COUNT)):
        row = at(table, (i + 1) * FIELDS)
        n, m = get(row, ROWS), get(row, COLUMNS)
        place, source = reals(like, get(row, PLACE)), reals(like, get(row, ADDRESS))
        if get(row, KIND) == SAMPLES:
            zero += samples_in(place, get(row, PLACE_T), source, n, m)
        elif get(row, KIND) == VECTOR:
            zero += copy_rows(place, source, 1, n, 0, 0)
        else:
            zero += copy_rows(place, source, n, m, row_stride(m), m)
    return zero == 0.0


@kernel
def bring_out(like, table):
    """Copy to all arrays of a table from their places."""
    for i in range(get(table, COUNT)):
        row = at(table, (i + 1) * FIELDS)
        n, m = get(row, ROWS), get(row, COLUMNS)
        place, out = reals(like, get(row, PLACE)), reals(like, get(row, ADDRESS))
        if get(row, KIND) == SAMPLES:
            samples_out(out, place, n, m)
        elif get(row, KIND) == VECTOR:
            copy_rows(out, place, 1, n, 0, 0)
        else:
            copy_rows(out, place, n, m, m, row_stride(m))


@entry
def transfer_in(like, table):
    """Copy all arrays of the table at an address to their places; return whether all numbers are finite."""
    return bring_in(like, integers(table))


@entry
def transfer_out(like, table):
    """Copy to all arrays of the table at an address from their places."""
    bring_out(like, integers(table))


@entry
def transfer_and_work(like, table, out_table, worker, job, do, m):
    """Copy arrays in, run the worker on this thread, and copy arrays out; return False if not all are finite."""
    if not bring_in(like, integers(table)):
        return False
    prepare_call(job, 1, do, m, 0, 1, 0, 0, 0, 0, 0, 0, 0)
    call(worker, (job, 0))
    bring_out(like, integers(out_table))
    return True


# ---- the cost and the update -------------------------------------------------------------------------------------


@kernel
def same_shape(a, b):
    """Return whether two rows of a table have the same shape."""
    return get(a, ROWS) == get(b, ROWS) and get(a, COLUMNS) == get(b, COLUMNS)


@entry
def cost_of_columns(like, table, loss):
    """Return J of Z and Y, the arrays of the table, by the loss routine at an address, and whether it could.

    It cannot if they differ in shape, are empty or not finite.
    """
    rows = integers(table)
    of_Z, of_Y = at(rows, FIELDS), at(rows, 2 * FIELDS)
    n, m = get(of_Z, ROWS), get(of_Z, COLUMNS)
    if not same_shape(of_Z, of_Y) or n == 0 or m == 0:
        return 0.0, False
    panel = n * LANES
    memory = np.empty((3 * panel + LANES) * size_of(like), np.uint8)
    space = reals(like, memory.ctypes.data)
    Z_panel, Y_panel, dZ, weight = at(space, 0), at(space, panel), at(space, 2 * panel), at(space, 3 * panel)
    Z, Y = reals(like, get(of_Z, ADDRESS)), reals(like, get(of_Y, ADDRESS))
    zero = splat(space, 0.0)
    cost = 0.0
    for start in range(0, m, LANES):
        count = min(LANES, m - start)
        for i in range(n):
            z, y = load_first(Z, i * m + start, count), load_first(Y, i * m + start, count)
            zero = fma(z, 0.0, fma(y, 0.0, zero))
            store(Z_panel, LANES * i, z)
            store(Y_panel, LANES * i, y)
        gather_weights(weight, 0, 0, start, count)
        cost += call_float64(loss, (dZ, Z_panel, Y_panel, weight, n, 0))
    return cost / m, total(zero) == 0.0 and memory.size > 0  # its last use: until here it must not be released


@entry
def descend(like, table, count, lr):
    """Compute θ − lr·dθ of `count` arrays; the table holds all θ, then all dθ, then all results.

    Return whether θ and dθ have the same shapes and are finite. If not, the results are undefined.
    """
    rows = integers(table)
    step = -real(like, lr)
    zero = splat(like, 0.0)
    for i in range(1, count + 1):
        theta, gradient, out = at(rows, i * FIELDS), at(rows, (i + count) * FIELDS), at(rows, (i + 2 * count) * FIELDS)
        if not (same_shape(theta, gradient) and same_shape(theta, out)):
            return False
        x, g = reals(like, get(theta, ADDRESS)), reals(like, get(gradient, ADDRESS))
        y = reals(like, get(out, ADDRESS))
        n = get(theta, ROWS) * get(theta, COLUMNS)
        whole = n // LANES * LANES
        for k in range(0, whole, LANES):
            v, w = load(g, k), load(x, k)
            zero = fma(v, 0.0, fma(w, 0.0, zero))  # NaN for NaN and infinity
            store(y, k, fma(v, step, w))
        if whole < n:
            v, w = load_first(g, whole, n - whole), load_first(x, whole, n - whole)
            zero = fma(v, 0.0, fma(w, 0.0, zero))
            store_first(y, whole, fma(v, step, w), n - whole)
    return total(zero) == 0.0
