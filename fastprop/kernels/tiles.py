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

Each form is emitted once for every number of rows up to `TILE_ROWS`, as a function that is not inlined (inlining made
small shapes slower) and is called through a table. A tile of few rows keeps several sets of sums, because each step of
a chain of fused multiply-adds waits four cycles for the one before. The number of sets depends on the tile's rows
alone, so that the bits of a result never depend on how the work was shared. The table also has four other forms: `pack`
(a copy of the columns of W that a tile of `dA` reads), `dot` (products of rows), `row_sum` (a vector times W, for one
sample) and `transpose` (the form of A_prev that `dW` reads).
"""

import ctypes
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache, partial
from itertools import pairwise
from typing import Any, TypeAlias

import llvmlite.binding as llvm
import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from .interrupts import callback
from .jit import Routine, compiling, kernel, routine
from .plan import PACKED_STRIDE
from .simd import (
    F32,
    I64,
    LANES,
    TILE_ROWS,
    broadcast,
    constant,
    data_pointer,
    first_of,
    fmuladd,
    is_memory,
    load_masked,
    load_vector,
    pointer,
    row_sums,
    store_masked,
    store_vector,
    transpose,
    transpose_quads,
    two_quads,
    vector_of,
)

UNROLL = 4
DOT_ROWS = 1 << (TILE_ROWS.bit_length() - 1)  # rows of a `dot` tile: a divisor of 16, and so of a panel's rows

Value: TypeAlias = ir.Value
Builder: TypeAlias = ir.IRBuilder


def sets_of(rows: int) -> int:
    """Return the number of sets of sums of a tile: 1, 2 or 4, as many as fit the registers of a full tile."""
    return max(s for s in (1, 2, 4) if s == 1 or s * rows <= TILE_ROWS)


def _i64(value: int) -> ir.Constant:
    return ir.Constant(I64, value)


class _Sums:
    """The accumulators of one tile."""

    def __init__(self, builder: Builder, rows: int, lanes: int = LANES):
        self.builder = builder
        self.rows = rows
        self.lanes = lanes
        self.sets = sets_of(rows)
        self.cells = [[builder.alloca(vector_of(lanes)) for _ in range(rows)] for _ in range(self.sets)]

    def start(self, initial: Callable[[int], Value]) -> None:
        """Set the sums of row r to ``initial(r)``."""
        for s, cells in enumerate(self.cells):
            for r, cell in enumerate(cells):
                self.builder.store(initial(r) if s == 0 else constant(0.0, self.lanes), cell)

    def add(self, step: int, vector: Value, factors: Callable[[int], Value]) -> None:
        """Add `vector` times the row's factor, a scalar or a vector, to the sums of each row."""
        for r, cell in enumerate(self.cells[step % self.sets]):
            factor = factors(r)
            if factor.type == F32:
                factor = broadcast(self.builder, factor, self.lanes)
            self.builder.store(fmuladd(self.builder, factor, vector, self.builder.load(cell)), cell)

    def result(self, row: int) -> Value:
        """Return the sums of a row, all sets added."""
        parts = [self.builder.load(cells[row]) for cells in self.cells]
        while len(parts) > 1:
            half = len(parts) // 2
            parts = [self.builder.fadd(a, b) for a, b in zip(parts[:half], parts[half:], strict=True)]
        return parts[0]


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


def _emit_forward(builder: Builder, rows: int, arguments: list[Value]) -> None:
    """out[p][r][:] = max(b[r] + Σ_k W[r][k]·a[p][k][:], floor)"""
    out, w, a, b, floor, ld, steps, panels, out_stride, a_stride = arguments
    sums = _Sums(builder, rows)
    lowest = broadcast(builder, floor)
    w_rows = [_offset(builder, w, builder.mul(ld, _i64(r))) for r in range(rows)]
    with cgutils.for_range(builder, panels) as panel:
        source = _offset(builder, a, builder.mul(panel.index, a_stride))
        target = _offset(builder, out, builder.mul(panel.index, out_stride))
        sums.start(lambda r: broadcast(builder, builder.load(_offset(builder, b, _i64(r)))))

        def step_of(k: Value, step: int) -> None:
            vector = load_vector(builder, _offset(builder, source, builder.mul(k, _i64(LANES)), _i64(step * LANES)))
            sums.add(step, vector, lambda r: builder.load(_offset(builder, w_rows[r], k, _i64(step))))

        _unrolled(builder, steps, step_of)
        for r in range(rows):
            z = sums.result(r)
            # A select, so that NaN stays NaN.
            z = builder.select(builder.fcmp_ordered("<", z, lowest), lowest, z)
            store_vector(builder, z, _offset(builder, target, _i64(r * LANES)))


def _emit_dA(builder: Builder, rows: int, arguments: list[Value]) -> None:
    """out[p][r][:] = Σ_i W[i][r]·dz[p][i][:], plus out[p][r][:] if onto ≠ 0; with relu ≠ 0, 0 where a[p][r][:] ≤ 0"""
    out, w, dz, a, relu, onto, ld, steps, panels, out_stride, dz_stride = arguments
    sums = _Sums(builder, rows)
    masked = builder.icmp_signed("!=", relu, _i64(0))
    fresh = builder.icmp_signed("==", onto, _i64(0))
    with cgutils.for_range(builder, panels) as panel:
        source = _offset(builder, dz, builder.mul(panel.index, dz_stride))
        shift = builder.mul(panel.index, out_stride)
        target = _offset(builder, out, shift)
        active = _offset(builder, a, shift)
        with builder.if_else(fresh) as (then, otherwise):
            with then:
                sums.start(lambda r: constant(0.0))
            with otherwise:
                sums.start(lambda r: load_vector(builder, _offset(builder, target, _i64(r * LANES))))

        def step_of(i: Value, step: int) -> None:
            vector = load_vector(builder, _offset(builder, source, builder.mul(i, _i64(LANES)), _i64(step * LANES)))
            row = _offset(builder, w, builder.mul(builder.add(i, _i64(step)), ld))
            sums.add(step, vector, lambda r: builder.load(_offset(builder, row, _i64(r))))

        _unrolled(builder, steps, step_of)
        with builder.if_else(masked) as (then, otherwise):
            with then:
                for r in range(rows):
                    activation = load_vector(builder, _offset(builder, active, _i64(r * LANES)))
                    live = builder.fcmp_unordered(">", activation, constant(0.0))  # unordered: NaN stays NaN
                    value = builder.select(live, sums.result(r), constant(0.0))
                    store_vector(builder, value, _offset(builder, target, _i64(r * LANES)))
            with otherwise:
                for r in range(rows):
                    store_vector(builder, sums.result(r), _offset(builder, target, _i64(r * LANES)))


def _emit_pack(builder: Builder, rows: int, arguments: list[Value]) -> None:
    """out[i][:rows] = W[i][:rows], whose rows are `ld` apart; those of `out` are `PACKED_STRIDE`"""
    out, w, ld, steps = arguments
    with cgutils.for_range(builder, steps) as step:
        source = _offset(builder, w, builder.mul(step.index, ld))
        target = _offset(builder, out, builder.mul(step.index, _i64(PACKED_STRIDE)))
        first = 0
        for lanes in (16, 8, 4, 2, 1):
            if rows & lanes:
                vector = load_vector(builder, _offset(builder, source, _i64(first)), lanes)
                store_vector(builder, vector, _offset(builder, target, _i64(first)))
                first += lanes


def _emit_dW(builder: Builder, rows: int, arguments: list[Value], lanes: int = LANES) -> None:
    """out[r][:] = β·out[r][:] + α·Σ_{p,s} dz[p][r][s]·a[p][s][:]; with β = 0, out is not read"""
    out, dz, a, alpha, beta, ld, panels, dz_stride, a_stride = arguments
    sums = _Sums(builder, rows, lanes)
    sums.start(lambda r: constant(0.0, lanes))
    with cgutils.for_range(builder, panels) as panel:
        scalars = _offset(builder, dz, builder.mul(panel.index, dz_stride))
        vectors = _offset(builder, a, builder.mul(panel.index, a_stride))

        def step_of(s: Value, step: int) -> None:
            address = _offset(builder, vectors, builder.mul(s, _i64(LANES)), _i64(step * LANES))
            sample = _offset(builder, scalars, s)
            vector = load_vector(builder, address, lanes)
            sums.add(step, vector, lambda r: builder.load(_offset(builder, sample, _i64(r * LANES + step))))

        _unrolled(builder, _i64(LANES), step_of)
    alphas = broadcast(builder, alpha, lanes)
    betas = broadcast(builder, beta, lanes)
    targets = [_offset(builder, out, builder.mul(ld, _i64(r))) for r in range(rows)]
    with builder.if_else(builder.fcmp_ordered("==", beta, ir.Constant(F32, 0.0))) as (fresh, onto):
        with fresh:
            for r in range(rows):
                store_vector(builder, builder.fmul(alphas, sums.result(r)), targets[r])
        with onto:
            for r in range(rows):
                old = builder.fmul(betas, load_vector(builder, targets[r], lanes))
                store_vector(builder, fmuladd(builder, alphas, sums.result(r), old), targets[r])


def _emit_dot(builder: Builder, rows: int, arguments: list[Value]) -> None:
    """out[r] = β·out[r] + α·Σ_{p,s} rows[p][r][s]·a[p][s], for the first `count` rows; with β = 0, out is not read"""
    out, source, a, alpha, beta, count, ld, panels, row_stride, a_stride = arguments
    sums = _Sums(builder, rows)
    sums.start(lambda r: constant(0.0))
    source_rows = [_offset(builder, source, builder.mul(ld, _i64(r))) for r in range(rows)]

    def step_of(p: Value, step: int) -> None:
        panel = builder.add(p, _i64(step))
        shift = builder.mul(panel, row_stride)
        factor = load_vector(builder, _offset(builder, a, builder.mul(panel, a_stride)))
        sums.add(step, factor, lambda r: load_vector(builder, _offset(builder, source_rows[r], shift)))

    _unrolled(builder, panels, step_of)
    totals = builder.fmul(broadcast(builder, alpha), row_sums(builder, [sums.result(r) for r in range(rows)]))
    fresh = builder.fcmp_ordered("==", beta, ir.Constant(F32, 0.0))

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
    sums = _Sums(builder, blocks)
    sums.start(lambda c: constant(0.0))

    def step_of(i: Value, step: int) -> None:
        factor = broadcast(builder, builder.load(_offset(builder, s, i, _i64(step))))
        row = _offset(builder, w, builder.mul(builder.add(i, _i64(step)), ld))
        sums.add(step, factor, lambda c: load_vector(builder, _offset(builder, row, _i64(c * LANES))))

    _unrolled(builder, count, step_of)
    for c in range(blocks):
        store_vector(builder, sums.result(c), _offset(builder, out, _i64(c * LANES)))


def _emit_transpose(builder: Builder, _: int, arguments: list[Value]) -> None:
    """out[block] = a[block]ᵀ, for consecutive blocks of 16 × 16"""
    out, a, blocks = arguments
    with cgutils.for_range(builder, blocks) as block:
        shift = builder.mul(block.index, _i64(LANES * LANES))
        source, target = _offset(builder, a, shift), _offset(builder, out, shift)
        (_transpose_whole if TILE_ROWS == LANES else _transpose_by_quads)(builder, source, target)


def _transpose_whole(builder: Builder, source: Value, target: Value) -> None:
    """Transpose 16 × 16 floats, all of them in registers."""
    rows = [load_vector(builder, _offset(builder, source, _i64(r * LANES))) for r in range(LANES)]
    for r, row in enumerate(transpose(builder, rows)):
        store_vector(builder, row, _offset(builder, target, _i64(r * LANES)))


def _transpose_by_quads(builder: Builder, source: Value, target: Value) -> None:
    """Transpose 16 × 16 floats, 8 × 4 at once: all of them do not fit 16 registers.

    With AVX2, 116 of the 287 instructions of `_transpose_whole` would touch the stack; these are 169, and none does.
    """
    for r in range(0, LANES, 8):
        for c in range(0, LANES, 4):
            places = [_offset(builder, source, _i64((r + i) * LANES + c)) for i in range(8)]
            quads = [two_quads(builder, *places[i::4]) for i in range(4)]
            for i, column in enumerate(transpose_quads(builder, quads)):
                store_vector(builder, column, _offset(builder, target, _i64((c + i) * LANES + r)))


_POINTER, _INT, _FLOAT = pointer, types.int64, types.float32
_EVERY = range(1, TILE_ROWS + 1)
_POWERS = [1 << i for i in range(DOT_ROWS.bit_length())]
_OF_DW = [_POINTER] * 3 + [_FLOAT] * 2 + [_INT] * 4


@kernel
def next_rows(left):
    """Return the rows of the next tile if `left` remain: a full tile, but the last two share them (17 is 9 + 8)."""
    if left >= 2 * TILE_ROWS:
        return TILE_ROWS
    return (left + 1) // 2 if left > TILE_ROWS else left


# For each form: the function that emits it, the numbers of rows, and the types of its parameters.
_FORMS: dict[str, tuple[Callable[[Builder, int, list[Value]], None], Iterable[int], list[types.Type]]] = {
    "forward": (_emit_forward, _EVERY, [_POINTER] * 4 + [_FLOAT] + [_INT] * 5),
    "dA": (_emit_dA, _EVERY, [_POINTER] * 4 + [_INT] * 7),
    "pack": (_emit_pack, _EVERY, [_POINTER] * 2 + [_INT] * 2),
    "dW": (_emit_dW, _EVERY, _OF_DW),
    "half": (partial(_emit_dW, lanes=8), _EVERY, _OF_DW),
    "dot": (_emit_dot, _POWERS, [_POINTER] * 3 + [_FLOAT] * 2 + [_INT] * 5),
    "row_sum": (_emit_row_sum, _POWERS, [_POINTER] * 3 + [_INT] * 2),
    "transpose": (_emit_transpose, [LANES], [_POINTER] * 2 + [_INT]),
}

# ---- the table of tiles ------------------------------------------------------------------------------------------
#
# Tiles are compiled separately, in groups of one number of rows, and called through a table of their addresses, which
# compiled code finds by a symbol. When they were linked into every kernel that calls them, they were optimised again at
# each level of calls: 25 s to compile the worker. Only the groups that a network's widths need are compiled: one for
# the full tile, and one or two for the remaining rows of a width. Each entry of the table first holds a stub that
# compiles its group, so that a user's cached function may be the first to call a tile.

_GROUPS = {
    "products": ("forward", "dA", "dW", "pack"),
    "half": ("half",),
    "sums": ("dot", "row_sum"),
    "turn": ("transpose",),
}
_PLACES = LANES + 1  # entries of each form, indexed by the number of rows
_SYMBOL = "fastprop_tiles"
_table = np.zeros(len(_FORMS) * _PLACES, np.int64)


def _place(form: str, rows: int) -> int:
    return list(_FORMS).index(form) * _PLACES + rows


@intrinsic(prefer_literal=True)
def _write_addresses(typingctx, table, group, rows):
    """Emit a group's tiles of `rows` rows, and write their addresses to the table."""
    forms = list(_GROUPS.values())[group.literal_value]
    count = rows.literal_value

    def codegen(context, builder, sig, args):
        for form in forms:
            emit, _, parameters = _FORMS[form]
            c_type = ir.FunctionType(ir.VoidType(), [context.get_value_type(p) for p in parameters])
            function = ir.Function(builder.module, c_type, f"fastprop_tile_{form}_{count}")
            function.linkage = "internal"
            function.attributes.add("nounwind")
            inside = ir.IRBuilder(function.append_basic_block("entry"))
            emit(inside, count, list(function.args))
            inside.ret_void()
            place = builder.gep(args[0], [_i64(_place(form, count))])
            builder.store(builder.ptrtoint(function, I64), place)
        return context.get_dummy_value()

    return types.void(table, group, rows), codegen


@cache
def tiles_of(group: str, rows: int) -> Routine:
    """Return the routine that writes the addresses of a group's tiles to the table."""
    index = list(_GROUPS).index(group)

    def tiles(table):
        _write_addresses(table, index, rows)

    tiles.__name__ = f"{group}_{rows}"
    return routine(types.void(types.CPointer(types.int64)))(tiles)


@cache
def _compile_group(group: str, rows: int) -> None:
    with compiling():
        ctypes.CFUNCTYPE(None, ctypes.c_void_p)(tiles_of(group, rows).address)(_table.ctypes.data)


def groups(sizes: Sequence[int] | None = None, vectors: bool = True) -> list[tuple[str, int]]:
    """Return the groups of tiles, with their rows, that layers of these widths call; None: all.

    With `vectors`, those for one sample are included.
    """
    counts: set[int] = set(_EVERY)
    half = counts
    if sizes is not None:
        counts = {rows for n in sizes for rows in _split(n)}
        ends_half = [n for n_prev, n in pairwise(sizes) if n > 1 and 2 <= n_prev % LANES <= LANES // 2]
        half = {rows for n in ends_half for rows in _split(n)}
    sums = _POWERS if vectors else [DOT_ROWS]
    return [
        *(("products", rows) for rows in sorted(counts)),
        *(("half", rows) for rows in sorted(half)),
        *(("sums", rows) for rows in sums),
        ("turn", LANES),
    ]


def _split(n: int) -> Iterator[int]:
    while n:
        rows = next_rows.py_func(n)
        yield rows
        n -= rows


@cache
def compile_tiles(sizes: tuple[int, ...] | None = None, vectors: bool = True) -> None:
    """Compile the tiles of :func:`groups`, or load them from the cache."""
    for group, rows in groups(sizes, vectors):
        _compile_group(group, rows)


def _stub(group: str, form: str, rows: int) -> Any:
    """Return a C function that compiles its group and then calls the tile in whose place it was."""
    names = {_POINTER: ctypes.c_void_p, _INT: ctypes.c_int64, _FLOAT: ctypes.c_float}
    c_type = ctypes.CFUNCTYPE(None, *(names[p] for p in _FORMS[form][2]))

    def stub(*arguments: Any) -> None:
        _compile_group(group, rows)
        c_type(int(_table[_place(form, rows)]))(*arguments)

    return c_type(callback(stub))


_stubs = {
    _place(form, rows): _stub(group, form, rows)
    for group, forms in _GROUPS.items()
    for form in forms
    for rows in _FORMS[form][1]
}
for _index, _function in _stubs.items():
    _table[_index] = ctypes.cast(_function, ctypes.c_void_p).value or 0
llvm.add_symbol(_SYMBOL, _table.ctypes.data)


def _tile(form: str) -> Any:
    parameters = _FORMS[form][2]

    @intrinsic
    def tile(typingctx, rows, arguments):
        def codegen(context, builder, sig, args):
            values = []
            for i, (have, want) in enumerate(zip(arguments, parameters, strict=True)):
                value = builder.extract_value(args[1], i)
                values.append(
                    data_pointer(context, builder, have, value)
                    if is_memory(have)
                    else context.cast(builder, value, have, want)
                )
            table = (
                cgutils.add_global_variable(builder.module, ir.ArrayType(I64, len(_table)), _SYMBOL)
                if _SYMBOL not in builder.module.globals
                else builder.module.globals[_SYMBOL]
            )
            index = builder.add(args[0], _i64(_place(form, 0)))
            address = builder.load(builder.gep(table, [_i64(0), index]))
            c_type = ir.FunctionType(ir.VoidType(), [v.type for v in values])
            builder.call(builder.inttoptr(address, c_type.as_pointer()), values)
            return context.get_dummy_value()

        return types.void(types.int64, arguments), codegen

    return tile


forward_tile = _tile("forward")
dA_tile = _tile("dA")
dW_tile = _tile("dW")
half_tile = _tile("half")
dot_tile = _tile("dot")
pack_tile = _tile("pack")
row_sum_tile = _tile("row_sum")
transpose_tile = _tile("transpose")
