"""A look at the user's data before any kernel trusts it."""

import numpy as np

from .jit import entry
from .simd import LANES, floats, get, load, splat, total


@entry
def first_nonfinite(address, count):
    """Index of the first NaN or infinity among `count` float32, or −1."""
    a = floats(address)
    block = 64 * LANES
    for start in range(0, count, block):
        end = min(start + block, count)
        whole = start + (end - start) // LANES * LANES
        zero = splat(0.0)
        for i in range(start, whole, LANES):
            zero = zero + load(a, i) * 0.0  # NaN for both
        found = total(zero) != np.float32(0.0)
        for i in range(start if found else whole, end):
            if not np.isfinite(get(a, i)):
                return i
    return -1
