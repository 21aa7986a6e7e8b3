"""The machine's FMA peak, the unit of all shares: independent chains of fused multiply-adds in registers."""

import time
from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from fastprop.kernels.jit import entry
from fastprop.kernels.simd import LANES, TILE_ROWS, VECTORS, constant, element_of, fmuladd
from fastprop.kernels.simd import total as total_of

# Enough chains to hide the latency of the multiply-add, and few enough to fit the registers: vectors of 16 float32, of
# which AVX-512 holds 32, AVX2 8 and SSE 4; half as many of float64.
CHAINS = {16: 12, 6: 5, 3: 2}[TILE_ROWS]
TURN = 8  # multiply-adds of each chain in one iteration of the loop


@intrinsic
def _chains(typingctx, like, turns):
    """Compute x ← x·a + b, `turns` × TURN times in each chain; return the sum, so that no chain is optimized away."""
    vector = VECTORS[element_of(like)]
    chains = chains_of(like.bitwidth // 8)

    def codegen(context, builder, sig, args):
        kind = context.get_value_type(vector)
        cells = [builder.alloca(kind) for _ in range(chains)]
        for i, cell in enumerate(cells):
            builder.store(constant(float(i), kind), cell)
        with cgutils.for_range(builder, args[1]):
            for _ in range(TURN):
                for cell in cells:
                    step = fmuladd(builder, builder.load(cell), constant(0.5, kind), constant(0.25, kind))
                    builder.store(step, cell)
        result: ir.Value = constant(0.0, kind)
        for cell in cells:
            result = builder.fadd(result, builder.load(cell))
        return result

    return vector(like, types.int64), codegen


@entry
def _run(like, turns):
    return total_of(_chains(like, turns))


def chains_of(size: int) -> int:
    """Return the number of chains for numbers of `size` bytes."""
    return max(CHAINS * 4 // size, 1)


def gflops(seconds: float = 0.05, dtype: Any = "float32") -> float:
    """Measure the GFLOP/s of one thread for about `seconds`."""
    like = np.dtype(dtype).type(0)
    flops_per_turn = chains_of(like.nbytes) * TURN * LANES * 2
    turns = int(seconds * 1e11 / flops_per_turn)
    _run(like, 1)
    start = time.perf_counter()
    _run(like, turns)
    return turns * flops_per_turn / (time.perf_counter() - start) / 1e9
