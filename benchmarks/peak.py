"""What one core can do: the FMA peak, the unit of all shares; the same with the loads of a tile; and no-ops per second.

The peak is that of independent chains of fused multiply-adds in registers. A busy neighbour on the same physical core
hardly lowers it, but takes a good part of the core's instructions and loads, which the other two figures show.
"""

import time
from collections.abc import Callable
from functools import partial
from itertools import chain
from typing import Any

import llvmlite.binding as llvm
import numba
import numpy as np
from llvmlite import ir
from numba import from_dtype
from numba.core import cgutils, types
from numba.extending import intrinsic

from fastprop.kernels.simd import (
    LANES,
    TILE_ROWS,
    VECTORS,
    at,
    broadcast,
    constant,
    element_of,
    fmuladd,
    load_vector,
    rows_of_tile,
    sums_of_tile,
    vectors_at_once,
)
from fastprop.kernels.simd import total as total_of

# Enough chains to hide the latency of the multiply-add, and few enough to fit the registers: vectors of 16 float32, of
# which AVX-512 holds 32, AVX2 8, 64-bit Arm 8 and SSE 4; half as many of float64.
CHAINS = {8: 12, 6: 5, 5: 5, 3: 2}[TILE_ROWS]
REGISTER = {8: 64, 6: 32, 5: 16, 3: 16}[TILE_ROWS]  # bytes
TURN = 8  # multiply-adds of each chain in one iteration of the loop
NOPS = 64  # no-op instructions in one iteration of the loop

llvm.initialize_native_asmparser()  # for the no-ops


@intrinsic
def _chains(typingctx, like, turns):
    """Compute x ← x·a + b, `turns` × TURN times in each chain; return the sum, so that no chain is optimized away."""
    vector = VECTORS[element_of(like)]
    chains = chains_of(like.bitwidth // 8)

    def codegen(context, builder, sig, args):
        kind = context.get_value_type(vector)
        cells = [builder.alloca(kind) for _ in range(chains)]
        for i, cell in enumerate(cells):
            # No two lanes are equal, or LLVM may compute one register for several.
            builder.store(ir.Constant(kind, [float(LANES * i + lane) for lane in range(LANES)]), cell)
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


@intrinsic
def _tile(typingctx, memory, turns):
    """Compute x_r ← x_r + s_r·v in each row r of a full tile, TURN · `turns` times; v and s_r are read from `memory`.

    With AVX2 these are 12 multiply-adds and 8 loads of float32, from the nearest cache. Return a number that depends on
    all of them.
    """
    element = memory.dtype
    lanes = REGISTER * 8 // element.bitwidth
    rows, parts = rows_of_tile(element), vectors_at_once(element) * LANES // lanes

    def codegen(context, builder, sig, args):
        kind = ir.VectorType(context.get_value_type(element), lanes)
        cells = [[builder.alloca(kind) for _ in range(parts)] for _ in range(rows)]
        for cell in chain(*cells):
            builder.store(constant(0.0, kind), cell)
        with cgutils.for_range(builder, args[1]) as turn:
            # The place changes from turn to turn, or the loads would be made once, before the loop.
            place = builder.mul(builder.and_(turn.index, turn.index.type(1)), turn.index.type(LANES))
            for step in range(TURN):
                vector = builder.gep(args[0], [builder.add(place, place.type(LANES * step))])
                scalar = builder.gep(vector, [place.type(LANES * (TURN + 1))])
                vectors = [builder.gep(vector, [place.type(lanes * i)]) for i in range(parts)]
                scalars = [builder.gep(scalar, [place.type(r)]) for r in range(rows)]
                # By rows or by parts, whichever are more, so that the others stay in registers and fit.
                for r, i in sorted(np.ndindex(rows, parts), key=lambda place: place[rows < parts]):
                    s = broadcast(builder, builder.load(scalars[r]), lanes)
                    v = load_vector(builder, vectors[i], lanes)
                    builder.store(fmuladd(builder, s, v, builder.load(cells[r][i])), cells[r][i])
        total: ir.Value = constant(0.0, kind)
        for cell in chain(*cells):
            total = builder.fadd(total, builder.load(cell))
        return builder.extract_element(total, ir.Constant(ir.IntType(32), 0))

    return element(memory, types.int64), codegen


@intrinsic
def _nops(typingctx, turns):
    """Execute NOPS · `turns` no-op instructions."""

    def codegen(context, builder, sig, args):
        kind = ir.FunctionType(ir.VoidType(), [])
        with cgutils.for_range(builder, args[0]):
            builder.asm(kind, "\n".join(["nop"] * NOPS), "", [], side_effect=True)
        return context.get_dummy_value()

    return types.void(types.int64), codegen


@numba.njit(nogil=True)
def _run(like, turns):
    return total_of(_chains(like, turns))


@numba.njit(nogil=True)
def _run_tile(memory, turns):
    return _tile(at(memory, 0), turns)


@numba.njit(nogil=True)
def _run_nops(turns):
    _nops(turns)


def chains_of(size: int) -> int:
    """Return the number of chains for numbers of `size` bytes."""
    return -(-CHAINS * 4 // size)


def _rate(run: Callable[[int], object], turns: int) -> float:
    """Return the turns per second."""
    run(1)  # compiles
    start = time.perf_counter()
    run(turns)
    return turns / (time.perf_counter() - start)


def gflops(seconds: float = 0.05, dtype: Any = "float32") -> float:
    """Measure the peak of one thread in GFLOP/s, for about `seconds`."""
    like = np.dtype(dtype).type(0)
    flops = chains_of(like.nbytes) * TURN * LANES * 2
    return 1e-9 * flops * _rate(partial(_run, like), int(seconds * 1e11 / flops))


def gflops_with_loads(seconds: float = 0.05, dtype: Any = "float32") -> float:
    """Measure, in GFLOP/s, what is left of the peak if each step reads what a step of the matrix products reads."""
    memory = np.ones(2 * LANES * (TURN + 1), dtype)
    flops = sums_of_tile(from_dtype(memory.dtype)) * TURN * LANES * 2
    return 1e-9 * flops * _rate(partial(_run_tile, memory), int(seconds * 1e11 / flops))


def nops_per_second(seconds: float = 0.0005) -> float:
    """Measure the no-ops per second, for about `seconds`: a busy neighbour on the physical core lowers them."""
    return NOPS * _rate(_run_nops, int(seconds * 1e10 / NOPS))
