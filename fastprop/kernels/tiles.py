"""The register tile: the micro-kernel of all three matrix products.

A tile is `rows` × 16 sums, which stay in registers while the summed index runs: one vector is loaded, and for each row
one scalar is broadcast and multiplied into that row's accumulator. The forms differ in what is broadcast and what is
the vector:

=========  =================================  ==========================  =====================
form       out[row][lane]                     broadcast                   vector
=========  =================================  ==========================  =====================
`forward`  Z = W·A_prev + b, or max(Z, floor) W, along a row              A_prev, 16 samples
`dA`       dA_prev = Wᵀ·dZ, masked            W, down a column            dZ, 16 samples
`dW`       β·out + α·dZ·A_prevᵀ               dZ, sample by sample        A_prev, 16 features
`half`     the same, of 8 columns             dZ, sample by sample        A_prev, 8 features
=========  =================================  ==========================  =====================

Activations are stored in *panels* of 16 samples, [panel][feature][16], so that the lanes of `forward` and `dA` are
samples, and a tile goes over all `panels` while its rows of W stay in the L1 cache.

`half` is for the last block of columns if it has 2 to 8 of them (dW of 32 × 8 over 32 samples on Zen 4: 258 ns, padded
to 16 columns 325 ns). A single last column is computed with `dot`.

Each form is emitted once for every number of rows up to that of a whole tile, as a function that is not inlined
(inlining made small shapes slower) and is called through a table. A tile of few rows keeps several sets of sums,
because each step of a chain of fused multiply-adds waits four cycles for the one before. The number of sets depends on
the tile's rows alone, so that the bits of a result never depend on how the work was shared. The table also has four
other forms: `pack` (a copy of the columns of W that a tile of `dA` reads), `dot` (products of rows), `row_sum` (a
vector times W, for one sample) and `transpose` (the form of A_prev that `dW` reads).
"""

import ctypes
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache, partial
from itertools import pairwise
from typing import Any, TypeAlias

import llvmlite.binding as llvm
import llvmlite.ir as ir
import numba.core.types as types
import numpy as np
from numba import from_dtype
from numba.core import cgutils
from numba.np.numpy_support import as_dtype

from .interrupts import callback
from .jit import Routine, compiling, intrinsic, kernel, routine
from .plan import FLOAT32
from .simd import (
    ELEMENTS,
    F32,
    F64,
    I32,
    I64,
    LANES,
    QUAD_ROWS,
    TILE_ROWS,
    WIDE,
    broadcast,
    constant,
    data_pointer,
    element_of,
    first_of,
    fmuladd,
    intrinsic_call,
    is_memory,
    load_masked,
    load_quads,
    load_vector,
    row_sums,
    rows_of_dot,
    rows_of_tile,
    shuffle,
    store_masked,
    store_vector,
    sums_of_tile,
    transpose,
    transpose_quads,
    vector_of,
    vectors_at_once,
)

UNROLL = 4

Value: TypeAlias = ir.Value
Builder: TypeAlias = ir.IRBuilder


def sets_of(rows: int, most: int) -> int:
    """Return the number of sets of sums of a tile: 1, 2 or 4, as many as fit the registers of a tile of `most` rows."""
    return max(s for s in (1, 2, 4) if s == 1 or s * rows <= most)


def _i64(value: int) -> ir.Constant:
    return ir.Constant(I64, value)


class _Sums:
    """The accumulators of one tile, whose results are written to `out`.

    A whole tile has `most` rows. Sums of 16 float64 with AVX or on 64-bit Arm are four parts of four lanes, each with a
    vector of its own. Three rows are 12 registers of AVX2; with the broadcasts of the rows and one part of a vector
    they are 16, all there are.
    """

    def __init__(self, builder: Builder, out: Value, rows: int, most: int, lanes: int = LANES):
        real = out.type.pointee
        self.builder = builder
        self.rows = rows
        self.parts = 4 if real == F64 and lanes == LANES and TILE_ROWS == 6 else 1
        self.vector = vector_of(real, lanes // self.parts)
        self.sets = sets_of(rows, most)
        self.cells = [
            [[cgutils.alloca_once(builder, self.vector) for _ in range(self.parts)] for _ in range(rows)]
            for _ in range(self.sets)
        ]

    def start(self, initial: Callable[[int], Value] | None = None) -> None:
        """Set the sums of row r to ``initial(r)``, a number or the address of a vector, or to 0."""
        zero = constant(0.0, self.vector)
        for s, rows in enumerate(self.cells):
            for r, parts in enumerate(rows):
                values = self._parts(initial(r)) if initial and s == 0 else [zero] * self.parts
                for value, cell in zip(values, parts, strict=True):
                    self.builder.store(value, cell)

    def add(self, step: int, vector: Value, factors: Callable[[int], Value]) -> None:
        """Add `vector` times the row's factor to the sums of each row; each is a number or the address of a vector."""
        rows = self.cells[step % self.sets]
        if self.parts == 1:
            (value,) = self._parts(vector)
            for r, (cell,) in enumerate(rows):
                (factor,) = self._parts(factors(r))
                self._multiply_add(factor, value, cell)
            return
        factors_of_rows = [self._parts(factors(r)) for r in range(self.rows)]
        for p, value in enumerate(self._parts(vector)):
            for factor, cells in zip(factors_of_rows, rows, strict=True):
                self._multiply_add(factor[p], value, cells[p])

    def add_to_row(self, step: int, row: int, factor: Value, vector: Value) -> None:
        """Add `vector` times `factor`, two vectors of 16, to the sums of one row."""
        self._multiply_add(factor, vector, self.cells[step % self.sets][row][0])

    def _multiply_add(self, factor: Value, vector: Value, cell: Value) -> None:
        self.builder.store(fmuladd(self.builder, factor, vector, self.builder.load(cell)), cell)

    def _parts(self, value: Value) -> list[Value]:
        """Return the parts of a vector that is broadcast from a number or loaded from an address."""
        lanes = self.vector.count
        if isinstance(value.type, ir.PointerType):
            addresses = [_offset(self.builder, value, _i64(p * lanes)) for p in range(self.parts)]
            return [load_vector(self.builder, address, lanes) for address in addresses]
        return [broadcast(self.builder, value, lanes)] * self.parts

    def result(self, row: int) -> Value:
        """Return the sums of a row, all sets added."""
        parts = [self._sum([self.builder.load(rows[row][p]) for rows in self.cells]) for p in range(self.parts)]
        while len(parts) > 1:
            lanes = list(range(2 * parts[0].type.count))
            parts = [shuffle(self.builder, a, b, lanes) for a, b in zip(parts[::2], parts[1::2], strict=True)]
        return parts[0]

    def _sum(self, values: list[Value]) -> Value:
        """Return the sum of the vectors of the sets."""
        while len(values) > 1:
            half = len(values) // 2
            values = [self.builder.fadd(a, b) for a, b in zip(values[:half], values[half:], strict=True)]
        return values[0]


def _offset(builder: Builder, address: Value, *terms: Value) -> Value:
    for term in terms:
        address = builder.gep(address, [term], inbounds=True)
    return address


def _unrolled(builder: Builder, count: Value, body: Callable[[Value, int], None]) -> None:
    """Emit a loop of `count` steps, `UNROLL` in each turn; ``body(first, step)`` emits step number first + step."""
    whole = builder.and_(count, _i64(-UNROLL))
    with cgutils.for_range_slice(builder, _i64(0), whole, _i64(UNROLL), I64) as (first, _):
        for step in range(UNROLL):
            body(first, step)
    with cgutils.for_range_slice(builder, whole, count, _i64(1), I64) as (first, _):
        body(first, 0)


def _together(builder: Builder, count: Value, at_once: int, body: Callable[[list[Value]], None]) -> None:
    """Emit a loop over `count` vectors, `at_once` in each turn, and then one; ``body(indices)`` emits a turn."""

    def loop(start: Value, end: Value, step: int) -> None:
        with cgutils.for_range_slice(builder, start, end, _i64(step), I64) as (first, _):
            body([builder.add(first, _i64(i)) for i in range(step)])

    whole = builder.sub(count, builder.urem(count, _i64(at_once)))
    loop(_i64(0), whole, at_once)
    if at_once > 1:
        loop(whole, count, 1)


def _add(builder: Builder, sums: list[_Sums], step: int, vectors: list[Value], factors: Callable[[int], Value]) -> None:
    """Add each vector times the row's factor, a number, to each sums' row."""
    if len(sums) == 1:
        sums[0].add(step, vectors[0], factors)
        return
    values = [load_vector(builder, vector, LANES) for vector in vectors]
    for r in range(sums[0].rows):  # by rows, so that one broadcast is in a register at a time
        factor = broadcast(builder, factors(r))
        for each, value in zip(sums, values, strict=True):
            each.add_to_row(step, r, factor, value)


def _type_of(out: Value) -> types.Float:
    return types.float32 if out.type.pointee == F32 else types.float64


def _emit_prefetch(builder: Builder, address: Value) -> None:
    """Prefetch a cache line for reading, into the L2; any address is safe."""
    raw = builder.bitcast(address, ir.IntType(8).as_pointer())
    reading, level, data = (ir.Constant(I32, value) for value in (0, 2, 1))
    intrinsic_call(builder, "llvm.prefetch.p0", ir.VoidType(), raw, reading, level, data)


def _emit_forward(builder: Builder, rows: int, arguments: list[Value]) -> None:
    """out[p][r][:] = max(b[r] + Σ_k W[r][k]·a[p][k][:], floor)

    With AVX2, panel p prefetches row p of the next tile's W. In quiet turns on a Zen 3, 1024 × 256 over 128 samples has
    93% of the peak, without it 89; 1024 × 1024 over 64 samples of float64 82%, without it 72.
    """
    out, w, a, b, floor, ld, steps, panels, out_stride, a_stride = arguments
    lowest = broadcast(builder, floor)
    w_rows = [_offset(builder, w, builder.mul(ld, _i64(r))) for r in range(rows)]

    def tile(indices: list[Value]) -> None:
        sums = [_Sums(builder, out, rows, rows_of_tile(_type_of(out))) for _ in indices]
        sources = [_offset(builder, a, builder.mul(index, a_stride)) for index in indices]
        next_row = _offset(builder, w, builder.mul(ld, builder.add(indices[0], _i64(rows))))
        for each in sums:
            each.start(lambda r: builder.load(_offset(builder, b, _i64(r))))

        def step_of(k: Value, step: int) -> None:
            if step == 1 and not WIDE:  # once in a turn; not measured with AVX-512
                _emit_prefetch(builder, _offset(builder, next_row, k))
            shift = builder.mul(k, _i64(LANES))
            vectors = [_offset(builder, source, shift, _i64(step * LANES)) for source in sources]
            _add(builder, sums, step, vectors, lambda r: builder.load(_offset(builder, w_rows[r], k, _i64(step))))

        _unrolled(builder, steps, step_of)
        for index, each in zip(indices, sums, strict=True):
            target = _offset(builder, out, builder.mul(index, out_stride))
            for r in range(rows):
                z = each.result(r)
                # A select, so that NaN stays NaN.
                z = builder.select(builder.fcmp_ordered("<", z, lowest), lowest, z)
                store_vector(builder, z, _offset(builder, target, _i64(r * LANES)))

    _together(builder, panels, vectors_at_once(_type_of(out)), tile)


def _emit_dA(builder: Builder, rows: int, arguments: list[Value]) -> None:
    """out[p][r][:] = Σ_i W[i][r]·dz[p][i][:], plus out[p][r][:] if onto ≠ 0; with relu ≠ 0, 0 where a[p][r][:] ≤ 0

    Where a tile of float64 has 8 lanes (see `TILE_ROWS`), the halves of a panel follow each other.
    """
    out, w, dz, a, relu, onto, ld, steps, panels, out_stride, dz_stride = arguments
    lanes = LANES if rows_of_tile(_type_of(out)) == TILE_ROWS else LANES // 2
    halves = _i64(LANES // lanes)
    masked = builder.icmp_signed("!=", relu, _i64(0))
    fresh = builder.icmp_signed("==", onto, _i64(0))

    def tile(indices: list[Value]) -> None:
        sums = [_Sums(builder, out, rows, TILE_ROWS, lanes) for _ in indices]
        panel_of = [builder.udiv(half, halves) for half in indices]
        firsts = [builder.mul(builder.urem(half, halves), _i64(lanes)) for half in indices]
        places = list(zip(panel_of, firsts, strict=True))
        sources = [_offset(builder, dz, builder.mul(panel, dz_stride), first) for panel, first in places]
        targets = [_offset(builder, out, builder.mul(panel, out_stride), first) for panel, first in places]
        active = [_offset(builder, a, builder.mul(panel, out_stride), first) for panel, first in places]
        with builder.if_else(fresh) as (then, otherwise):
            with then:
                for each in sums:
                    each.start()
            with otherwise:
                for each, target in zip(sums, targets, strict=True):
                    each.start([_offset(builder, target, _i64(r * LANES)) for r in range(rows)].__getitem__)

        def step_of(i: Value, step: int) -> None:
            shift = builder.mul(i, _i64(LANES))
            vectors = [_offset(builder, source, shift, _i64(step * LANES)) for source in sources]
            row = _offset(builder, w, builder.mul(builder.add(i, _i64(step)), ld))
            _add(builder, sums, step, vectors, lambda r: builder.load(_offset(builder, row, _i64(r))))

        _unrolled(builder, steps, step_of)
        with builder.if_else(masked) as (then, otherwise):
            with then:
                for each, target, activations in zip(sums, targets, active, strict=True):
                    for r in range(rows):
                        activation = load_vector(builder, _offset(builder, activations, _i64(r * LANES)), lanes)
                        zero = constant(0.0, activation.type)
                        live = builder.fcmp_unordered(">", activation, zero)  # unordered: NaN stays NaN
                        value = builder.select(live, each.result(r), zero)
                        store_vector(builder, value, _offset(builder, target, _i64(r * LANES)))
            with otherwise:
                for each, target in zip(sums, targets, strict=True):
                    for r in range(rows):
                        store_vector(builder, each.result(r), _offset(builder, target, _i64(r * LANES)))

    _together(builder, builder.mul(panels, halves), vectors_at_once(_type_of(out)), tile)


def _emit_pack(builder: Builder, rows: int, arguments: list[Value]) -> None:
    """out[i][:rows] = W[i][:rows], whose rows are `ld` apart; those of `out` are `stride` apart

    The next line of each row, which a later tile reads, is prefetched: equation 4 of 1024 × 1024 over 256 samples on a
    Zen 3, quiet turns, 76% of the peak, without it 73.
    """
    out, w, ld, stride, steps = arguments
    line = _i64(LANES if out.type.pointee == F32 else LANES // 2)
    with cgutils.for_range(builder, steps) as step:
        source = _offset(builder, w, builder.mul(step.index, ld))
        target = _offset(builder, out, builder.mul(step.index, stride))
        _emit_prefetch(builder, _offset(builder, source, line))
        first = 0
        for lanes in (16, 8, 4, 2, 1):
            if rows & lanes:
                vector = load_vector(builder, _offset(builder, source, _i64(first)), lanes)
                store_vector(builder, vector, _offset(builder, target, _i64(first)))
                first += lanes


def _emit_dW(builder: Builder, rows: int, arguments: list[Value], lanes: int = LANES) -> None:
    """out[r][c][:] = β·out[r][c][:] + α·Σ_{p,s} dz[p][r][s]·a[p][c][s][:] for adjacent blocks c of 16 columns

    With β = 0, out is not read. Of fewer lanes, there is only one block.
    """
    out, dz, a, alpha, beta, ld, panels, dz_stride, a_stride, blocks = arguments
    alphas, betas = broadcast(builder, alpha, lanes), broadcast(builder, beta, lanes)
    fresh = builder.fcmp_ordered("==", beta, ir.Constant(beta.type, 0.0))

    def tile(indices: list[Value]) -> None:
        sums = [_Sums(builder, out, rows, rows_of_tile(_type_of(out)), lanes) for _ in indices]
        for each in sums:
            each.start()
        with cgutils.for_range(builder, panels) as panel:
            scalars = _offset(builder, dz, builder.mul(panel.index, dz_stride))
            here = _offset(builder, a, builder.mul(panel.index, a_stride))
            sources = [_offset(builder, here, builder.mul(index, _i64(LANES * LANES))) for index in indices]

            def step_of(s: Value, step: int) -> None:
                shift = builder.mul(s, _i64(LANES))
                vectors = [_offset(builder, source, shift, _i64(step * LANES)) for source in sources]
                sample = _offset(builder, scalars, s, _i64(step))
                _add(builder, sums, step, vectors, lambda r: builder.load(_offset(builder, sample, _i64(r * LANES))))

            _unrolled(builder, _i64(LANES), step_of)
        places = [_offset(builder, out, builder.mul(index, _i64(LANES))) for index in indices]
        targets = [
            (each.result(r), _offset(builder, place, builder.mul(ld, _i64(r))))
            for each, place in zip(sums, places, strict=True)
            for r in range(rows)
        ]
        with builder.if_else(fresh) as (then, otherwise):
            with then:
                for result, target in targets:
                    store_vector(builder, builder.fmul(alphas, result), target)
            with otherwise:
                for result, target in targets:
                    old = builder.fmul(betas, load_vector(builder, target, lanes))
                    store_vector(builder, fmuladd(builder, alphas, result, old), target)

    _together(builder, blocks, vectors_at_once(_type_of(out)) if lanes == LANES else 1, tile)


def _emit_dot(builder: Builder, rows: int, arguments: list[Value]) -> None:
    """out[r] = β·out[r] + α·Σ_{p,s} rows[p][r][s]·a[p][s], for the first `count` rows; with β = 0, out is not read"""
    out, source, a, alpha, beta, count, ld, panels, row_stride, a_stride = arguments
    sums = _Sums(builder, out, rows, sums_of_tile(_type_of(out)))
    sums.start()
    source_rows = [_offset(builder, source, builder.mul(ld, _i64(r))) for r in range(rows)]

    def step_of(p: Value, step: int) -> None:
        panel = builder.add(p, _i64(step))
        shift = builder.mul(panel, row_stride)
        factor = _offset(builder, a, builder.mul(panel, a_stride))
        sums.add(step, factor, lambda r: _offset(builder, source_rows[r], shift))

    _unrolled(builder, panels, step_of)
    totals = builder.fmul(broadcast(builder, alpha), row_sums(builder, [sums.result(r) for r in range(rows)]))
    fresh = builder.fcmp_ordered("==", beta, ir.Constant(beta.type, 0.0))

    def added(old: Value, new: Value) -> Value:
        return builder.select(fresh, new, fmuladd(builder, broadcast(builder, beta, new.type.count), old, new))

    with builder.if_else(builder.icmp_signed("==", count, _i64(rows))) as (whole, some):
        with whole:
            narrow = first_of(builder, totals, rows)
            store_vector(builder, added(load_vector(builder, out, rows), narrow), out)
        with some:  # masks, which AVX2 is slow with
            store_masked(builder, added(load_masked(builder, out, count), totals), out, count)


def _emit_row_sum(builder: Builder, blocks: int, arguments: list[Value]) -> None:
    """out[c][:] = Σ_i s[i]·w[i][c][:], for `blocks` adjacent vectors"""
    out, w, s, ld, count = arguments
    sums = _Sums(builder, out, blocks, sums_of_tile(_type_of(out)))
    sums.start()

    def step_of(i: Value, step: int) -> None:
        factor = builder.load(_offset(builder, s, i, _i64(step)))
        row = _offset(builder, w, builder.mul(builder.add(i, _i64(step)), ld))
        sums.add(step, factor, lambda c: _offset(builder, row, _i64(c * LANES)))

    _unrolled(builder, count, step_of)
    for c in range(blocks):
        store_vector(builder, sums.result(c), _offset(builder, out, _i64(c * LANES)))


def _emit_transpose(builder: Builder, _: int, arguments: list[Value]) -> None:
    """out[block] = a[block]ᵀ, for consecutive blocks of 16 × 16"""
    out, a, blocks = arguments
    with cgutils.for_range(builder, blocks) as block:
        shift = builder.mul(block.index, _i64(LANES * LANES))
        source, target = _offset(builder, a, shift), _offset(builder, out, shift)
        whole = out.type.pointee == F32 and WIDE
        (_transpose_whole if whole else _transpose_by_quads)(builder, source, target)


def _transpose_whole(builder: Builder, source: Value, target: Value) -> None:
    """Transpose 16 × 16 floats, all of them in registers."""
    rows = [load_vector(builder, _offset(builder, source, _i64(r * LANES))) for r in range(LANES)]
    for r, row in enumerate(transpose(builder, rows)):
        store_vector(builder, row, _offset(builder, target, _i64(r * LANES)))


def _transpose_by_quads(builder: Builder, source: Value, target: Value) -> None:
    """Transpose 16 × 16 numbers, 8 × 4 float32 or 4 × 4 float64 at once: all of them do not fit the registers.

    With AVX2, 116 of the 287 instructions of `_transpose_whole` would touch the stack; these are 169, and none does.
    """
    at_once = QUAD_ROWS[source.type.pointee]
    for r in range(0, LANES, at_once):
        for c in range(0, LANES, 4):
            places = [_offset(builder, source, _i64((r + i) * LANES + c)) for i in range(at_once)]
            quads = [load_quads(builder, places[i::4]) for i in range(4)]
            for i, column in enumerate(transpose_quads(builder, quads)):
                store_vector(builder, column, _offset(builder, target, _i64((c + i) * LANES + r)))


@kernel
def next_rows(left, most):
    """Return the rows of the next tile if `left` remain: `most`, but the last two tiles share them (17 is 9 + 8)."""
    if left >= 2 * most:
        return most
    return (left + 1) // 2 if left > most else left


# For each form: the function that emits it, and its parameters: pointers (p), numbers (x) and integers (i).
_FORMS: dict[str, tuple[Callable[[Builder, int, list[Value]], None], str]] = {
    "forward": (_emit_forward, "ppppxiiiii"),
    "dA": (_emit_dA, "ppppiiiiiii"),
    "pack": (_emit_pack, "ppiii"),
    "dW": (_emit_dW, "pppxxiiiii"),
    "half": (partial(_emit_dW, lanes=8), "pppxxiiiii"),
    "dot": (_emit_dot, "pppxxiiiii"),
    "row_sum": (_emit_row_sum, "pppii"),
    "transpose": (_emit_transpose, "ppi"),
}


def _parameters(form: str, element: types.Float) -> list[types.Type]:
    """Return the types of a form's parameters."""
    kinds = {"p": types.CPointer(element), "x": element, "i": types.int64}
    return [kinds[letter] for letter in _FORMS[form][1]]


def _powers(element: types.Float) -> list[int]:
    return [1 << i for i in range(rows_of_dot(element).bit_length())]


def _rows_of(form: str, element: types.Float) -> Iterable[int]:
    """Return the numbers of rows of a form's tiles."""
    if form == "transpose":
        return [LANES]
    if form in _GROUPS["sums"]:
        return _powers(element)
    return range(1, (TILE_ROWS if form in ("dA", "pack") else rows_of_tile(element)) + 1)


# ---- the table of tiles ------------------------------------------------------------------------------------------
#
# Tiles are compiled separately, in groups of one number of rows, and called through a table of their addresses, which
# compiled code finds by a symbol. When they were linked into every kernel that calls them, they were optimised again at
# each level of calls: 25 s to compile the worker. Only the groups that a network's widths need are compiled: one for
# the full tile, and one or two for the remaining rows of a width. Each entry of the table first holds a stub that
# compiles its group, so that a user's cached function may be the first to call a tile. Each element has a table.

_GROUPS = {
    "products": ("forward", "dA", "dW", "pack"),
    "half": ("half",),
    "sums": ("dot", "row_sum"),
    "turn": ("transpose",),
}
_PLACES = LANES + 1  # entries of each form, indexed by the number of rows
_tables = {element: np.zeros(len(_FORMS) * _PLACES, np.int64) for element in ELEMENTS}


def _symbol(element: types.Float) -> str:
    return f"fastprop_tiles_{element}"


def _place(form: str, rows: int) -> int:
    return list(_FORMS).index(form) * _PLACES + rows


@intrinsic(prefer_literal=True)
def _write_addresses(typingctx, like, table, group, rows):
    """Emit a group's tiles of `rows` rows, and write their addresses to the table."""
    forms = list(_GROUPS.values())[group.literal_value]
    count = rows.literal_value
    element = element_of(like)

    def codegen(context, builder, sig, args):
        for form in (form for form in forms if count in _rows_of(form, element)):
            parameters = [context.get_value_type(p) for p in _parameters(form, element)]
            function = ir.Function(
                builder.module, ir.FunctionType(ir.VoidType(), parameters), f"fastprop_tile_{form}_{count}"
            )
            function.linkage = "internal"
            function.attributes.add("nounwind")
            inside = ir.IRBuilder(function.append_basic_block("entry"))
            _FORMS[form][0](inside, count, list(function.args))
            inside.ret_void()
            place = builder.gep(args[1], [_i64(_place(form, count))])
            builder.store(builder.ptrtoint(function, I64), place)
        return context.get_dummy_value()

    return types.void(like, table, group, rows), codegen


@cache
def tiles_of(group: str, rows: int) -> Routine:
    """Return the routine (table, x) that writes the addresses of a group's tiles to the table of x's type."""
    index = list(_GROUPS).index(group)

    def tiles(table, x):
        _write_addresses(x, table, index, rows)

    tiles.__name__ = f"{group}_{rows}"
    return routine(lambda element: types.void(types.CPointer(types.int64), element))(tiles)


@cache
def _compile_group(group: str, rows: int, element: types.Float) -> None:
    with compiling():
        address = tiles_of(group, rows).address(as_dtype(element))
        ctypes.CFUNCTYPE(None, ctypes.c_void_p, _NAMES[element])(address)(_tables[element].ctypes.data, 0.0)


def groups(sizes: Sequence[int] | None = None, vectors: bool = True, dtype: Any = FLOAT32) -> list[tuple[str, int]]:
    """Return the groups of tiles, with their rows, that layers of these widths call; None: all.

    With `vectors`, those for one sample are included.
    """
    element = from_dtype(np.dtype(dtype))
    most = rows_of_tile(element)
    counts, half = set(_rows_of("dA", element)), set(_rows_of("half", element))
    if sizes is not None:
        counts = {rows for n in sizes for form_rows in (most, TILE_ROWS) for rows in _split(n, form_rows)}
        ends_half = [n for n_prev, n in pairwise(sizes) if n > 1 and 2 <= n_prev % LANES <= LANES // 2]
        half = {rows for n in ends_half for rows in _split(n, most)}
    sums = _powers(element) if vectors else [rows_of_dot(element)]
    return [
        *(("products", rows) for rows in sorted(counts)),
        *(("half", rows) for rows in sorted(half)),
        *(("sums", rows) for rows in sums),
        ("turn", LANES),
    ]


def _split(n: int, most: int) -> Iterator[int]:
    while n:
        rows = next_rows.py_func(n, most)
        yield rows
        n -= rows


@cache
def compile_tiles(sizes: tuple[int, ...] | None = None, vectors: bool = True, dtype: Any = FLOAT32) -> None:
    """Compile the tiles of :func:`groups` for float32 or float64, or load them from the cache."""
    for group, rows in groups(sizes, vectors, dtype):
        _compile_group(group, rows, from_dtype(np.dtype(dtype)))


_NAMES = {types.float32: ctypes.c_float, types.float64: ctypes.c_double}


def _stub(group: str, form: str, rows: int, element: types.Float) -> Any:
    """Return a C function that compiles its group and then calls the tile in whose place it was."""
    kinds = {"p": ctypes.c_void_p, "x": _NAMES[element], "i": ctypes.c_int64}
    c_type = ctypes.CFUNCTYPE(None, *(kinds[letter] for letter in _FORMS[form][1]))

    def stub(*arguments: Any) -> None:
        _compile_group(group, rows, element)
        c_type(int(_tables[element][_place(form, rows)]))(*arguments)

    return c_type(callback(stub))


_stubs = {
    (element, _place(form, rows)): _stub(group, form, rows, element)
    for element in ELEMENTS
    for group, forms in _GROUPS.items()
    for form in forms
    for rows in _rows_of(form, element)
}
for (_element, _index), _function in _stubs.items():
    _tables[_element][_index] = ctypes.cast(_function, ctypes.c_void_p).value or 0
for _element, _table in _tables.items():
    llvm.add_symbol(_symbol(_element), _table.ctypes.data)


def _tile(form: str) -> Any:
    @intrinsic
    def tile(typingctx, rows, arguments):
        elements = {element_of(a) for a in arguments if is_memory(a)}
        if len(elements) != 1 or None in elements:
            return None  # a tile of one element would read memory of another as its own
        element = elements.pop()
        parameters = _parameters(form, element)

        def codegen(context, builder, sig, args):
            values = []
            for i, (have, want) in enumerate(zip(arguments, parameters, strict=True)):
                value = builder.extract_value(args[1], i)
                values.append(
                    data_pointer(context, builder, have, value)
                    if is_memory(have)
                    else context.cast(builder, value, have, want)
                )
            name, known = _symbol(element), builder.module.globals
            table_type = ir.ArrayType(I64, len(_tables[element]))
            table = known[name] if name in known else cgutils.add_global_variable(builder.module, table_type, name)
            index = builder.add(args[0], _i64(_place(form, 0)))
            address = builder.load(builder.gep(table, [_i64(0), index]))
            c_type = ir.FunctionType(ir.VoidType(), [v.type for v in values])
            builder.call(builder.inttoptr(address, c_type.as_pointer()), values)
            return context.get_dummy_value()

        return types.void(types.int64, arguments), codegen

    return tile


forward_tile: Any = _tile("forward")
dA_tile: Any = _tile("dA")
dW_tile: Any = _tile("dW")
half_tile: Any = _tile("half")
dot_tile: Any = _tile("dot")
pack_tile: Any = _tile("pack")
row_sum_tile: Any = _tile("row_sum")
transpose_tile: Any = _tile("transpose")
