"""The machine's FMA peak, the unit of all our figures: independent chains of fused multiply-adds in registers."""

import time

import numpy as np

from fastprop.kernels.jit import entry
from fastprop.kernels.simd import LANES, fma, splat, total

CHAINS = 8


@entry
def _chains(n):
    a, b = splat(1.0), splat(0.5)
    c0, c1, c2, c3 = splat(0.0), splat(1.0), splat(2.0), splat(3.0)
    c4, c5, c6, c7 = splat(4.0), splat(5.0), splat(6.0), splat(7.0)
    for _ in range(n):
        c0, c1, c2, c3 = fma(c0, a, b), fma(c1, a, b), fma(c2, a, b), fma(c3, a, b)
        c4, c5, c6, c7 = fma(c4, a, b), fma(c5, a, b), fma(c6, a, b), fma(c7, a, b)
    return total(c0 + c1 + c2 + c3 + c4 + c5 + c6 + c7)


def gflops(seconds: float = 0.05) -> float:
    """GFLOP/s of one thread, measured now for about `seconds`."""
    n = int(seconds * 1e11 / (CHAINS * LANES * 2))
    _chains(1)
    start = time.perf_counter()
    _chains(n)
    return n * CHAINS * LANES * 2 / (time.perf_counter() - start) / 1e9


def median_gflops(repeats: int = 5) -> float:
    return float(np.median([gflops() for _ in range(repeats)]))
