"""The machine's FMA peak, the unit of all shares: independent chains of fused multiply-adds in registers."""

import time

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from fastprop.kernels.jit import entry
from fastprop.kernels.simd import LANES, TILE_ROWS, VECTOR, constant, fmuladd, vector
from fastprop.kernels.simd import total as total_of

# Enough chains to hide the latency of the multiply-add, and few enough to fit the registers: vectors of 16 floats, of
# which AVX-512 holds 32, AVX2 8 and SSE 4.
CHAINS = {16: 12, 6: 5, 3: 2}[TILE_ROWS]
TURN = 8  # multiply-adds of each chain in one iteration of the loop


@intrinsic
def _chains(typingctx, turns):
    """Compute x ← x·a + b, `turns` × TURN times in each chain; return the sum, so that no chain is optimized away."""

    def codegen(context, builder, sig, args):
        cells = [builder.alloca(VECTOR) for _ in range(CHAINS)]
        for i, cell in enumerate(cells):
            builder.store(constant(float(i)), cell)
        with cgutils.for_range(builder, args[0]):
            for _ in range(TURN):
                for cell in cells:
                    builder.store(fmuladd(builder, builder.load(cell), constant(0.5), constant(0.25)), cell)
        result: ir.Value = constant(0.0)
        for cell in cells:
            result = builder.fadd(result, builder.load(cell))
        return result

    return vector(types.int64), codegen


@entry
def _run(turns):
    return total_of(_chains(turns))


def gflops(seconds: float = 0.05) -> float:
    """Measure the GFLOP/s of one thread for about `seconds`."""
    flops_per_turn = CHAINS * TURN * LANES * 2
    turns = int(seconds * 1e11 / flops_per_turn)
    _run(1)
    start = time.perf_counter()
    _run(turns)
    return turns * flops_per_turn / (time.perf_counter() - start) / 1e9
