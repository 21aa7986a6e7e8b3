"""Validation of the user's data, called from Python before any kernel reads the data."""

import numpy as np

from .jit import entry, kernel
from .simd import LANES, get, integers, load, reals, splat, total, typed, where

FLOAT32_MAX = float(np.finfo(np.float32).max)
FLOAT64_MAX = float(np.finfo(np.float64).max)
MOST = typed(FLOAT32_MAX, FLOAT64_MAX)
MOST_SAMPLES = 2**32 - 1  # the order of an epoch is uint32


@entry(nogil=False)
def address_of(a):
    """Return the address of an array's data, in a tenth of the time of ``a.ctypes.data``."""
    return a.ctypes.data


@entry
def fits(X, n):
    """Whether the matrix X has at least one row, and all rows have n finite numbers."""
    return _fits(X, n, -MOST(X), MOST(X))


@entry
def both_fit(X, n_0, Y, n_L, low, high):
    """Whether matrices X and Y have equally many rows, X of n_0 finite numbers, Y of n_L numbers within [low, high]."""
    return len(X) == len(Y) and _fits(X, n_0, -MOST(X), MOST(X)) and _fits(Y, n_L, low, high)


@kernel
def _fits(a, n, low, high):
    if not 0 < len(a) <= MOST_SAMPLES or a.shape[1] != n:
        return False
    return _first_outside(reals(a, a.ctypes.data), a.size, low, high) < 0


@entry
def first_outside(like, address, count, low, high):
    """Return the index of the first of `count` numbers outside [low, high], or −1; NaN counts as outside."""
    return _first_outside(reals(like, address), count, low, high)


@kernel
def _first_outside(a, count, low, high):
    block = 64 * LANES
    for start in range(0, count, block):
        end = min(start + block, count)
        whole = start + (end - start) // LANES * LANES
        outside = splat(a, 0.0)
        for i in range(start, whole, LANES):
            x = load(a, i)
            outside = outside + where(x >= low, where(x <= high, 0.0, 1.0), 1.0)
        found = total(outside) != 0.0
        for i in range(start if found else whole, end):
            if not low <= get(a, i) <= high:
                return i
    return -1


@entry
def first_label_outside(address, count, n):
    """Return the index of the first of `count` int64 that is not a class 0…n − 1, or −1."""
    labels = integers(address)
    for i in range(count):
        if not 0 <= get(labels, i) < n:
            return i
    return -1


@entry
def first_not_summing_to_one(like, address, rows, n, tolerance, finite):
    """Return the first of `rows` rows of n numbers whose sum differs from 1 by more than the tolerance, or −1.

    Without `finite`, a sum that is NaN or infinite is accepted.
    """
    a = reals(like, address)
    for row in range(rows):
        s = 0.0
        for i in range(row * n, row * n + n):
            s += np.float64(get(a, i))
        if not abs(s - 1.0) <= tolerance and (finite or np.isfinite(s)):
            return row
    return -1
