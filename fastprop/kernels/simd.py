"""Vectors of 16 numbers, operations on them, and raw memory, as Numba intrinsics: the lowest level of the kernels.

The numbers are float32 or float64, the *element* of a vector, of an array, of a pointer, and of a network. Functions
that cannot tell it from what they compute with take something that has it as their first argument, `like`. So the
kernels are written once, and compiled for each element that is used.

The width is the same on every processor: a vector of float32 is one register with AVX-512, two with AVX2, and four with
SSE and on 64-bit Arm; one of float64 is twice as many; LLVM splits it. Only the number of rows of a register tile
(`tile_rows`) depends on the processor.

Every function that takes memory `a` takes a flat array or a pointer. So the kernels built on them can be called with
arrays from a user's compiled code, and with pointers from fastprop's. Bounds of arrays are checked if Numba's
BOUNDSCHECK is set.
"""

import operator
import sys
from collections.abc import Callable, Sequence
from typing import Any

import llvmlite.binding as llvm
import llvmlite.ir as ir
import numba.core.types as types
import numpy as np
from numba import from_dtype
from numba.core import cgutils
from numba.extending import lower_builtin, models, register_model, type_callable

from .jit import intrinsic

LANES = 16
BLOCK = LANES * LANES  # numbers of a block that is transposed at once
ELEMENTS: tuple[types.Float, ...] = (types.float32, types.float64)

F32: ir.Type = ir.FloatType()
F64: ir.Type = ir.DoubleType()
I32: ir.IntType = ir.IntType(32)
I64: ir.IntType = ir.IntType(64)
BIT: ir.IntType = ir.IntType(1)
IVECTOR: ir.VectorType = ir.VectorType(I32, LANES)
BYTES: ir.VectorType = ir.VectorType(ir.IntType(8), LANES)
BITS: ir.VectorType = ir.VectorType(BIT, LANES)


class VectorType(types.Type):
    """Numba's type of a vector of 16 numbers."""

    def __init__(self, element: types.Float) -> None:
        self.element: types.Float = element
        super().__init__(name=f"{element}x16")


class MaskType(types.Type):
    """Numba's type of a comparison of two vectors."""

    def __init__(self, element: types.Float) -> None:
        self.element: types.Float = element
        super().__init__(name=f"mask_of_{element}x16")


VECTORS: dict[types.Float, VectorType] = {element: VectorType(element) for element in ELEMENTS}


@register_model(VectorType)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, dmm: Any, fe_type: Any) -> None:
        super().__init__(dmm, fe_type, vector_of(_real(fe_type.element)))


@register_model(MaskType)
class _MaskModel(models.PrimitiveModel):
    def __init__(self, dmm: Any, fe_type: Any) -> None:
        super().__init__(dmm, fe_type, BITS)


def cpu_features() -> dict[str, bool]:
    """Return the processor features that Numba compiles for: the host's, or those of ``NUMBA_CPU_FEATURES``."""
    from numba.core import config
    from numba.core.codegen import get_host_cpu_features

    text = get_host_cpu_features() if config.CPU_FEATURES is None else config.CPU_FEATURES
    return {f[1:]: f.startswith("+") for f in text.split(",") if f}


def tile_rows(features: dict[str, bool], machine: str) -> int:
    """Return the rows of the tile of float32: its accumulators, one vector and one broadcast must fit the registers.

    AVX-512 has 32 registers of 16 floats: 8 rows of two registers (`WIDE`). AVX2 has 16 registers of 8 floats: 6 rows
    of two registers (7 rows spill, to a sixth of the speed). 64-bit Arm has 32 registers of 4 floats: 5 rows of four
    registers (not run; of 6 rows, LLVM's code for Neoverse N1 and Apple M1 spills 12 to 28 vectors in the inner loops
    of forward and dW, of 5 rows none). SSE has 16 registers of 4 floats: 3 rows.
    """
    if features.get("avx512f"):
        return 8
    if features.get("avx"):
        return 6
    if machine in ("aarch64", "arm64"):
        return 5
    return 3


def _machine() -> str:
    return llvm.get_process_triple().split("-")[0]


# A tile of `dA` has as many rows, which are columns of W, for both elements. Without AVX-512, that of float64 has 8
# lanes in return, since a copy of six columns costs little more than one of three. Equation 4 of 256 × 784 in blocks
# of 64 samples on a Zen 3: 58% of the peak, and with three columns 51.
TILE_ROWS = tile_rows(cpu_features(), _machine())
WIDE = bool(cpu_features().get("avx512f"))  # whether a register holds a vector of float32


def rows_of_tile(element: types.Float) -> int:
    """Return the rows of the register tile of an element.

    A vector of float64 is twice as many registers. With AVX-512 its tile has as many rows, but half as many vectors
    (`vectors_at_once`), otherwise half as many rows.
    """
    return TILE_ROWS if WIDE or element == types.float32 else TILE_ROWS // 2


def vectors_at_once(element: types.Float) -> int:
    """Return the number of vectors that a tile multiplies by each broadcast, in forward and equations 2 and 4.

    A processor loads two registers in a cycle, and does two multiply-adds. Where a vector is one register, 16 rows of
    it would need 17 loads for 16 multiply-adds; 8 rows of two need 10. Forward of 1024 × 1024 over 256 samples on a
    Zen 5 has 94 to 96% of the peak so, 80 to 83 with 16 rows of one vector, as much with 10 rows of two, 88 with 8 of
    three, 91 with 14 of two, and 62 with 12 of two.
    """
    return 2 if WIDE and element == types.float32 else 1


def sums_of_tile(element: types.Float) -> int:
    """Return the number of vectors of sums that a full tile has."""
    return vectors_at_once(element) * rows_of_tile(element)


def rows_of_dot(element: types.Float) -> int:
    """Return the rows of a `dot` tile: a divisor of 16, and so of a panel's rows."""
    return 1 << (sums_of_tile(element).bit_length() - 1)


# ---- elements ----------------------------------------------------------------------------------------------------


def element_of(a: types.Type) -> Any:
    """Return the element of a Numba type: a number's, a vector's, that of memory or of a job record; None if none."""
    if isinstance(a, types.Record):
        return a.typeof("element") if "element" in a.fields else None
    if isinstance(a, types.Array | types.CPointer):
        a = a.dtype
    element = a.element if isinstance(a, VectorType) else a
    return element if element in ELEMENTS else None


def _of_element(result: Callable[[types.Float], types.Type], value: Callable[[types.Float], Any] | None = None) -> Any:
    """Return a function (like) whose value is a constant that the element decides."""

    @intrinsic
    def function(typingctx, like):
        element = element_of(like)
        if element is None:
            return None

        def codegen(context, builder, sig, args):
            return context.get_constant(sig.return_type, value(element))

        return result(element)(like), codegen

    return function


def typed(single: float, double: float) -> Any:
    """Return a function (like) that returns one of two constants, as the element is float32 or float64."""
    return _of_element(lambda element: element, lambda element: single if element == types.float32 else double)


at_once: Any = _of_element(lambda _: types.int64, vectors_at_once)
most_rows: Any = _of_element(lambda _: types.int64, rows_of_tile)
dot_rows: Any = _of_element(lambda _: types.int64, rows_of_dot)
size_of: Any = _of_element(lambda _: types.int64, lambda element: element.bitwidth // 8)


@intrinsic
def real(typingctx, like, x):
    """Return the number x as an element."""
    element = element_of(like)
    if element is None or not isinstance(x, types.Number):
        return None
    return element(like, element), lambda context, builder, sig, args: args[1]


def polynomial(single: Sequence[float], double: Sequence[float]) -> Any:
    """Return a function that evaluates a polynomial at a vector by Horner's rule.

    The coefficients, the highest first, are `single` for a vector of float32 and `double` for one of float64.
    """

    @intrinsic
    def function(typingctx, x):
        if x not in VECTORS.values():
            return None
        coefficients = single if x.element == types.float32 else double

        def codegen(context, builder, sig, args):
            p = constant(coefficients[0], args[0].type)
            for c in coefficients[1:]:
                p = fmuladd(builder, p, args[0], constant(c, args[0].type))
            return p

        return x(x), codegen

    return function


def by_element(single: Any, double: Any, doc: str) -> Any:
    """Return a function of one or two vectors that is one of two inlined functions, as they are float32 or float64.

    It serves where the element decides more than constants; only the function that is used is compiled.
    """

    def chosen(typingctx: Any, *args: types.Type) -> Any:
        element = element_of(args[0])
        if element is None:
            return None
        function = typingctx.resolve_value_type(single if element == types.float32 else double)
        signature = function.get_call_type(typingctx, args, {})

        def codegen(context, builder, sig, values):
            return context.get_function(function, signature)(builder, values)

        return signature, codegen

    if single.py_func.__code__.co_argcount == 1:

        @intrinsic
        def function(typingctx, a):
            return chosen(typingctx, a)
    else:

        @intrinsic
        def function(typingctx, a, b):
            return chosen(typingctx, a, b)

    function.__doc__ = doc
    return function


# ---- LLVM instructions --------------------------------------------------------------------------------------------


def _real(element: types.Float) -> ir.Type:
    """Return LLVM's type of an element."""
    return F32 if element == types.float32 else F64


def vector_of(real: ir.Type, lanes: int = LANES) -> ir.VectorType:
    """Return LLVM's type of a vector of `lanes` numbers."""
    return ir.VectorType(real, lanes)


def size(real: ir.Type) -> int:
    """Return the bytes of a number of an LLVM type."""
    return 4 if real == F32 else 8


def _suffix(vector: ir.VectorType) -> str:
    """Return the suffix of LLVM's intrinsics of a vector."""
    return f"v{vector.count}f{8 * size(vector.element)}"


def number(value: float, real: ir.Type) -> float:
    """Return a number rounded to an LLVM type, as LLVM requires it of a constant."""
    return float(np.float32(value)) if real == F32 else float(value)


def constant(value: float, vector: ir.VectorType) -> ir.Constant:
    """Return a constant vector whose lanes are all `value`."""
    return ir.Constant(vector, [number(value, vector.element)] * vector.count)


def integers_like(vector: ir.VectorType) -> ir.VectorType:
    """Return LLVM's type of the bits of a vector."""
    return ir.VectorType(ir.IntType(8 * size(vector.element)), vector.count)


def intrinsic_call(builder: ir.IRBuilder, name: str, result: ir.Type, *args: ir.Value) -> ir.Value:
    """Emit a call of a function by its symbol: an intrinsic of LLVM, or one of the C library."""
    function = cgutils.get_or_insert_function(builder.module, ir.FunctionType(result, [a.type for a in args]), name)
    return builder.call(function, args)


def fmuladd(builder: ir.IRBuilder, a: ir.Value, b: ir.Value, c: ir.Value) -> ir.Value:
    """Emit a·b + c: one instruction if the processor has it. (`llvm.fma` without it is a library call, 70 × slower.)"""
    return intrinsic_call(builder, f"llvm.fmuladd.{_suffix(c.type)}", c.type, a, b, c)


def broadcast(builder: ir.IRBuilder, scalar: ir.Value, lanes: int = LANES) -> ir.Value:
    """Emit a vector whose lanes are all `scalar`."""
    undefined = ir.Constant(ir.VectorType(scalar.type, lanes), ir.Undefined)
    one = builder.insert_element(undefined, scalar, ir.Constant(I32, 0))
    return builder.shuffle_vector(one, undefined, ir.Constant(ir.VectorType(I32, lanes), [0] * lanes))


def load_vector(builder: ir.IRBuilder, address: ir.Value, lanes: int = LANES) -> ir.Value:
    """Emit a load that assumes the alignment of a number: on aligned data an unaligned load costs nothing."""
    real = address.type.pointee
    return builder.load(builder.bitcast(address, vector_of(real, lanes).as_pointer()), align=size(real))


def store_vector(builder: ir.IRBuilder, value: ir.Value, address: ir.Value) -> None:
    """Emit a store, which assumes the alignment of a number."""
    builder.store(value, builder.bitcast(address, value.type.as_pointer()), align=size(value.type.element))


def load_masked(builder: ir.IRBuilder, address: ir.Value, count: ir.Value, lanes: int = LANES) -> ir.Value:
    """Emit a load of the first `count` of `lanes` numbers, zero beyond; nothing beyond is read."""
    vector = vector_of(address.type.pointee, lanes)
    place = builder.bitcast(address, vector.as_pointer())
    alignment = ir.Constant(I32, size(vector.element))
    active = first_lanes(builder, count, lanes)
    name = f"llvm.masked.load.{_suffix(vector)}.p0"
    return intrinsic_call(builder, name, vector, place, alignment, active, constant(0.0, vector))


def load_narrow(builder: ir.IRBuilder, address: ir.Value, count: ir.Value) -> ir.Value:
    """Emit a load of the first `count` numbers, zero beyond, by the narrowest load of 4, 8 or 16 that holds them.

    A load waits for each cache line that it spans, even if its mask leaves nothing of the line. (64 shuffled rows of 17
    floats, prefetched: 1.1 µs with loads of 16, 0.5 with these.)
    """
    vector = vector_of(address.type.pointee)
    result = cgutils.alloca_once(builder, vector)

    def load(lanes: int) -> None:
        if lanes == LANES:
            builder.store(load_masked(builder, address, count), result)
            return
        with builder.if_else(builder.icmp_signed("<=", count, ir.Constant(I64, lanes))) as (fits, otherwise):
            with fits:
                part = load_masked(builder, address, count, lanes)
                places = [min(i, lanes) for i in range(LANES)]
                builder.store(shuffle(builder, part, constant(0.0, part.type), places), result)
            with otherwise:
                load(2 * lanes)

    load(4)
    return builder.load(result)


def load_masked_bytes(builder: ir.IRBuilder, address: ir.Value, count: ir.Value) -> ir.Value:
    """Emit a load of the first `count` of 16 bytes, zero beyond; nothing beyond is read."""
    place = builder.bitcast(address, BYTES.as_pointer())
    alignment = ir.Constant(I32, 1)
    active = first_lanes(builder, count)
    zeros = ir.Constant(BYTES, [0] * LANES)
    return intrinsic_call(builder, "llvm.masked.load.v16i8.p0", BYTES, place, alignment, active, zeros)


def store_masked(builder: ir.IRBuilder, value: ir.Value, address: ir.Value, count: ir.Value) -> None:
    """Emit a store of the first `count` lanes; nothing beyond is written."""
    place = builder.bitcast(address, value.type.as_pointer())
    alignment = ir.Constant(I32, size(value.type.element))
    active = first_lanes(builder, count, value.type.count)
    name = f"llvm.masked.store.{_suffix(value.type)}.p0"
    intrinsic_call(builder, name, ir.VoidType(), value, place, alignment, active)


def first_lanes(builder: ir.IRBuilder, count: ir.Value, lanes: int = LANES) -> ir.Value:
    """Emit the mask of the first `count` of `lanes` lanes."""
    counts = broadcast(builder, builder.trunc(count, I32), lanes)
    return builder.icmp_signed("<", ir.Constant(ir.VectorType(I32, lanes), list(range(lanes))), counts)


def shuffle(builder: ir.IRBuilder, a: ir.Value, b: ir.Value, lanes: list[int]) -> ir.Value:
    """Emit the vector of the given lanes of a and b; those of b are numbered on from the last of a."""
    return builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(I32, len(lanes)), lanes))


def _in_quads(low: list[int], high: list[int]) -> tuple[list[int], list[int]]:
    return [4 * q + j for q in range(4) for j in low], [4 * q + j for q in range(4) for j in high]


def _of_quads(low: list[int], high: list[int]) -> tuple[list[int], list[int]]:
    return [4 * q + j for q in low for j in range(4)], [4 * q + j for q in high for j in range(4)]


# Four ways to exchange halves of two vectors: floats within quads, pairs within quads, then quads, twice.
_EXCHANGES = (
    _in_quads([0, 16, 1, 17], [2, 18, 3, 19]),
    _in_quads([0, 1, 16, 17], [2, 3, 18, 19]),
    _of_quads([0, 2, 4, 6], [1, 3, 5, 7]),
    _of_quads([0, 2, 4, 6], [1, 3, 5, 7]),
)


def transpose(builder: ir.IRBuilder, rows: list[ir.Value]) -> list[ir.Value]:
    """Emit the transpose of 16 vectors of 16 in registers: 64 shuffles."""
    rows = list(rows)
    for step, (low, high) in zip((1, 2, 4, 8), _EXCHANGES, strict=True):
        for i in range(LANES):
            if not i & step:
                a, b = rows[i], rows[i + step]
                rows[i], rows[i + step] = shuffle(builder, a, b, low), shuffle(builder, a, b, high)
    return [rows[4 * (i // 4) + (0, 2, 1, 3)[i % 4]] for i in range(LANES)]


def first_of(builder: ir.IRBuilder, value: ir.Value, lanes: int) -> ir.Value:
    """Emit a vector of the first lanes of a vector."""
    return shuffle(builder, value, value, list(range(lanes)))


# Rows of a block of four columns that `transpose_quads` takes.
QUAD_ROWS: dict[ir.Type, int] = {F32: 8, F64: 4}


def load_quads(builder: ir.IRBuilder, addresses: list[ir.Value]) -> ir.Value:
    """Emit a vector of four numbers at each of one or two addresses."""
    first, *others = (load_vector(builder, address, 4) for address in addresses)
    return shuffle(builder, first, others[0], list(range(8))) if others else first


def transpose_quads(builder: ir.IRBuilder, rows: list[ir.Value]) -> list[ir.Value]:
    """Emit the transposes of the 4 × 4 float32 in the low and in the high halves of 4 vectors of 8, or that of 4 × 4
    float64: 8 shuffles, each of which is one instruction of AVX.
    """

    def both(low: list[int]) -> list[int]:
        return [*low, *(lane + 4 for lane in low)]

    a, b, c, d = rows
    if a.type.element == F32:  # within 128 bits
        first, second = (both([0, 8, 1, 9]), both([2, 10, 3, 11])), (both([0, 1, 8, 9]), both([2, 3, 10, 11]))
    else:  # within 128 bits, then halves
        first, second = ([0, 4, 2, 6], [1, 5, 3, 7]), ([0, 1, 4, 5], [2, 3, 6, 7])
    ab, cd = ([shuffle(builder, *pair, lanes) for lanes in first] for pair in ((a, b), (c, d)))
    columns = [shuffle(builder, x, y, lanes) for x, y in zip(ab, cd, strict=True) for lanes in second]
    return columns if a.type.element == F32 else [columns[i] for i in (0, 2, 1, 3)]


def row_sums(builder: ir.IRBuilder, rows: list[ir.Value]) -> ir.Value:
    """Emit one vector of the sums of the lanes of up to 16 vectors: 30 shuffles, half as many as a transpose first."""
    rows = rows + [constant(0.0, rows[0].type)] * (LANES - len(rows))
    for low, high in _EXCHANGES:
        pairs = zip(rows[::2], rows[1::2], strict=True)
        rows = [builder.fadd(shuffle(builder, a, b, low), shuffle(builder, a, b, high)) for a, b in pairs]
    return rows[0]


# ---- memory ------------------------------------------------------------------------------------------------------


def is_memory(a: types.Type) -> bool:
    """Whether a Numba type is memory: a pointer, or a flat contiguous array."""
    return isinstance(a, types.CPointer) or (isinstance(a, types.Array) and a.ndim == 1 and a.layout == "C")


def data_pointer(context: Any, builder: ir.IRBuilder, a: types.Type, value: ir.Value) -> ir.Value:
    """Return the pointer to the data of a value whose type is memory."""
    if isinstance(a, types.Array):
        return context.make_array(a)(context, builder, value).data
    return value


def _element(context: Any, builder: ir.IRBuilder, a: types.Type, args: Any, width: ir.Value | int = 1) -> ir.Value:
    """Emit the address of ``a[i]``; if bounds are checked, an IndexError unless an array has `width` elements there."""
    if isinstance(a, types.Array) and context.enable_boundscheck:
        end = builder.add(args[1], I64(width) if isinstance(width, int) else width)
        size = context.make_array(a)(context, builder, args[0]).nitems
        before = builder.icmp_signed("<", args[1], I64(0))
        beyond = builder.icmp_signed(">", end, size)
        with cgutils.if_unlikely(builder, builder.or_(before, beyond)):
            context.call_conv.return_user_exc(builder, IndexError, ("index is out of bounds",))
    return builder.gep(data_pointer(context, builder, a, args[0]), [args[1]])


@intrinsic
def at(typingctx, a, i):
    """Return the address of ``a[i]``, as a pointer."""
    if not (is_memory(a) and isinstance(i, types.Integer)):
        return None
    element = a.dtype

    def codegen(context, builder, sig, args):
        return builder.gep(data_pointer(context, builder, a, args[0]), [args[1]])

    return types.CPointer(element)(a, types.intp), codegen


@intrinsic
def address_at(typingctx, a, i):
    """Return the address of ``a[i]``, as an integer."""
    if not (is_memory(a) and isinstance(i, types.Integer)):
        return None

    def codegen(context, builder, sig, args):
        return builder.ptrtoint(builder.gep(data_pointer(context, builder, a, args[0]), [args[1]]), I64)

    return types.int64(a, types.intp), codegen


def _as_element(builder: ir.IRBuilder, value: ir.Value, element: types.Float) -> ir.Value:
    """Emit the conversion of a vector of bytes to numbers."""
    return builder.uitofp(value, vector_of(_real(element))) if value.type == BYTES else value


def _can_load(a: types.Type, element: Any) -> bool:
    """Whether memory holds elements, or bytes, which become elements when they are loaded."""
    return element is not None and is_memory(a) and a.dtype in (element, types.uint8)


@intrinsic
def load_as(typingctx, like, a, i):
    """Return the vector ``a[i:i+16]``; uint8 is converted to the element of `like`."""
    element = element_of(like)
    if not (_can_load(a, element) and isinstance(i, types.Integer)):
        return None

    def codegen(context, builder, sig, args):
        address = _element(context, builder, a, args[1:], LANES)
        if a.dtype == types.uint8:
            return _as_element(builder, builder.load(builder.bitcast(address, BYTES.as_pointer()), align=1), element)
        return load_vector(builder, address)

    return VECTORS[element](like, a, types.intp), codegen


@intrinsic
def load_first_as(typingctx, like, a, i, count):
    """Return the vector ``a[i:i+count]``, zero beyond, where nothing is read; uint8 is converted as by `load_as`."""
    element = element_of(like)
    if not _can_load(a, element):
        return None

    def codegen(context, builder, sig, args):
        address = _element(context, builder, a, args[1:], args[3])
        if a.dtype == types.uint8:
            return _as_element(builder, load_masked_bytes(builder, address, args[3]), element)
        return load_narrow(builder, address, args[3])

    return VECTORS[element](like, a, types.intp, types.intp), codegen


@intrinsic
def load(typingctx, a, i):
    """Return the vector ``a[i:i+16]``."""
    if not (_can_load(a, element_of(a)) and isinstance(i, types.Integer)):
        return None

    def codegen(context, builder, sig, args):
        return load_vector(builder, _element(context, builder, a, args, LANES))

    return VECTORS[a.dtype](a, types.intp), codegen


@intrinsic
def load_first(typingctx, a, i, count):
    """Return the vector ``a[i:i+count]``, zero beyond; nothing beyond is read."""
    if not _can_load(a, element_of(a)):
        return None

    def codegen(context, builder, sig, args):
        return load_narrow(builder, _element(context, builder, a, args, args[2]), args[2])

    return VECTORS[a.dtype](a, types.intp, types.intp), codegen


@intrinsic
def store(typingctx, a, i, v):
    """``a[i:i+16] = v``."""
    if not (is_memory(a) and v == VECTORS.get(a.dtype)):
        return None

    def codegen(context, builder, sig, args):
        store_vector(builder, args[2], _element(context, builder, a, args, LANES))
        return context.get_dummy_value()

    return types.void(a, types.intp, v), codegen


@intrinsic
def store_first(typingctx, a, i, v, count):
    """``a[i:i+count] = v[:count]``; nothing beyond is written."""
    if not (is_memory(a) and v == VECTORS.get(a.dtype)):
        return None

    def codegen(context, builder, sig, args):
        store_masked(builder, args[2], _element(context, builder, a, args, args[3]), args[3])
        return context.get_dummy_value()

    return types.void(a, types.intp, v, types.intp), codegen


def _lane_index(builder: ir.IRBuilder, args: Any, lane: int) -> ir.Value:
    """Emit the index of a lane of a column: args are memory, the index of lane 0 and the stride."""
    return builder.add(args[1], builder.mul(args[2], I64(lane)))


@intrinsic
def load_column(typingctx, a, i, stride):
    """Return the vector of ``a[i]``, ``a[i + stride]``, …, ``a[i + 15·stride]``."""
    element = element_of(a)
    if element is None or not is_memory(a):
        return None

    def codegen(context, builder, sig, args):
        result = ir.Constant(vector_of(_real(element)), ir.Undefined)
        for lane in range(LANES):
            address = _element(context, builder, a, (args[0], _lane_index(builder, args, lane)))
            result = builder.insert_element(result, builder.load(address), I32(lane))
        return result

    return VECTORS[element](a, types.intp, types.intp), codegen


@intrinsic
def store_column(typingctx, a, i, stride, v):
    """Store the lanes of v to ``a[i]``, ``a[i + stride]``, …, ``a[i + 15·stride]``."""
    if not (is_memory(a) and v == VECTORS.get(a.dtype)):
        return None

    def codegen(context, builder, sig, args):
        for lane in range(LANES):
            address = _element(context, builder, a, (args[0], _lane_index(builder, args, lane)))
            builder.store(builder.extract_element(args[3], I32(lane)), address)
        return context.get_dummy_value()

    return types.void(a, types.intp, types.intp, v), codegen


@intrinsic
def get(typingctx, a, i):
    """Return the scalar ``a[i]``."""
    if not is_memory(a):
        return None

    def codegen(context, builder, sig, args):
        return builder.load(_element(context, builder, a, args))

    return a.dtype(a, types.intp), codegen


@intrinsic
def put(typingctx, a, i, x):
    """``a[i] = x``."""
    if not is_memory(a):
        return None
    element = a.dtype

    def codegen(context, builder, sig, args):
        builder.store(args[2], _element(context, builder, a, args))
        return context.get_dummy_value()

    return types.void(a, types.intp, element), codegen


@intrinsic(prefer_literal=True)
def prefetch(typingctx, a, i, for_writing):
    """Prefetch the cache line of ``a[i]``, with ``for_writing = 1`` to write to it; any address is safe."""
    if not (is_memory(a) and isinstance(for_writing, types.IntegerLiteral)):
        return None

    def codegen(context, builder, sig, args):
        address = builder.gep(data_pointer(context, builder, a, args[0]), [args[1]])
        raw = builder.bitcast(address, ir.IntType(8).as_pointer())
        mode = ir.Constant(I32, for_writing.literal_value)
        locality = ir.Constant(I32, 3)  # keep it in all caches
        data = ir.Constant(I32, 1)  # not instructions
        intrinsic_call(builder, "llvm.prefetch.p0", ir.VoidType(), raw, mode, locality, data)
        return context.get_dummy_value()

    return types.void(a, types.intp, for_writing), codegen


def _pointer_to(element: types.Type) -> Any:
    @intrinsic
    def convert(typingctx, address):
        if not isinstance(address, types.Integer):
            return None

        def codegen(context, builder, sig, args):
            return builder.inttoptr(args[0], context.get_value_type(types.CPointer(element)))

        return types.CPointer(element)(types.intp), codegen

    return convert


doubles: Any = _pointer_to(types.float64)
integers: Any = _pointer_to(types.int64)
indices: Any = _pointer_to(types.uint32)
bytes_at: Any = _pointer_to(types.uint8)


@intrinsic
def reals(typingctx, like, address):
    """Return a pointer to elements at an address."""
    element = element_of(like)
    if element is None or not isinstance(address, types.Integer):
        return None

    def codegen(context, builder, sig, args):
        return builder.inttoptr(args[1], _real(element).as_pointer())

    return types.CPointer(element)(like, types.intp), codegen


@intrinsic(prefer_literal=True)
def on_stack(typingctx, like, count):
    """Return a pointer to `count` elements, a constant, on the stack; they hold anything."""
    element = element_of(like)
    if element is None or not isinstance(count, types.IntegerLiteral):
        return None

    def codegen(context, builder, sig, args):
        with builder.goto_entry_block():  # once, and without the zeros that `cgutils.alloca_once` writes
            block = builder.alloca(ir.ArrayType(_real(element), count.literal_value))
        return builder.bitcast(block, _real(element).as_pointer())

    return types.CPointer(element)(like, count), codegen


def _call_by_address(result: types.Type) -> Any:
    @intrinsic
    def call(typingctx, address, args):
        if not isinstance(args, types.BaseTuple):
            return None
        parameters = tuple(types.unliteral(a) for a in args)

        def codegen(context, builder, sig, values):
            unpacked = [
                context.cast(builder, builder.extract_value(values[1], i), a, p)
                for i, (a, p) in enumerate(zip(args, parameters, strict=True))
            ]
            c_result = context.get_value_type(result) if result != types.void else ir.VoidType()
            c_type = ir.FunctionType(c_result, [context.get_value_type(p) for p in parameters])
            returned = builder.call(builder.inttoptr(values[0], c_type.as_pointer()), unpacked)
            return context.get_dummy_value() if result == types.void else returned

        return result(types.intp, args), codegen

    return call


call: Any = _call_by_address(types.void)
call_float64: Any = _call_by_address(types.float64)


# ---- threads -----------------------------------------------------------------------------------------------------


@intrinsic
def fetch_add(typingctx, a, i, amount):
    """Add atomically to the int64 ``a[i]``; return the value before."""

    def codegen(context, builder, sig, args):
        target = builder.gep(data_pointer(context, builder, a, args[0]), [args[1]])
        return builder.atomic_rmw("add", target, args[2], "acq_rel")

    return types.int64(a, types.intp, types.int64), codegen


@intrinsic
def read_acquire(typingctx, a, i):
    """Return the int64 ``a[i]``; everything written before it is visible to this thread."""

    def codegen(context, builder, sig, args):
        return builder.load_atomic(builder.gep(data_pointer(context, builder, a, args[0]), [args[1]]), "acquire", 8)

    return types.int64(a, types.intp), codegen


@intrinsic
def pause(typingctx):
    """Tell the core that this is a spin loop."""

    def codegen(context, builder, sig, args):
        if _machine() in ("x86_64", "i686"):
            intrinsic_call(builder, "llvm.x86.sse2.pause", ir.VoidType())
        return context.get_dummy_value()

    return types.void(), codegen


@intrinsic
def yield_core(typingctx):
    """Yield the core to another thread."""

    def codegen(context, builder, sig, args):
        name = "SwitchToThread" if sys.platform == "win32" else "sched_yield"
        intrinsic_call(builder, name, I32)
        return context.get_dummy_value()

    return types.void(), codegen


@intrinsic
def clock(typingctx):
    """Return the seconds of a clock as float64; only differences have a meaning."""

    def codegen(context, builder, sig, args):
        windows = sys.platform == "win32"
        with builder.goto_entry_block():
            now = builder.alloca(ir.ArrayType(I64, 2))  # a `timespec`, or a `FILETIME` in the first word
        words = [builder.gep(now, [ir.Constant(I32, 0), ir.Constant(I32, i)]) for i in range(2)]
        if windows:
            intrinsic_call(builder, "GetSystemTimePreciseAsFileTime", ir.VoidType(), words[0])
            return builder.fmul(builder.sitofp(builder.load(words[0]), F64), ir.Constant(F64, 1e-7))
        which = ir.Constant(I32, 6 if sys.platform == "darwin" else 1)  # CLOCK_MONOTONIC
        intrinsic_call(builder, "clock_gettime", I32, which, words[0])
        whole, nano = (builder.sitofp(builder.load(word), F64) for word in words)
        return builder.fadd(whole, builder.fmul(nano, ir.Constant(F64, 1e-9)))

    return types.float64(), codegen


# ---- arithmetic on vectors ---------------------------------------------------------------------------------------


def _as_vector(context: Any, builder: ir.IRBuilder, t: types.Type, value: ir.Value, kind: VectorType) -> ir.Value:
    return value if t == kind else broadcast(builder, context.cast(builder, value, t, kind.element))


def _kind(*arguments: types.Type) -> Any:
    """Return the vector type of arguments that are vectors of one kind or numbers; None if they are anything else."""
    kinds = {a for a in arguments if isinstance(a, VectorType)}
    others = [a for a in arguments if not isinstance(a, VectorType)]
    return kinds.pop() if len(kinds) == 1 and all(isinstance(a, types.Number) for a in others) else None


def _register_binary(op: Any, emit: Any, kind: VectorType, result: types.Type) -> None:
    @type_callable(op)
    def typer_of(context):
        def typer(a, b):
            if _kind(a, b) == kind:
                return result

        return typer

    for pair in ((kind, kind), (kind, types.Number), (types.Number, kind)):

        @lower_builtin(op, *pair)
        def lower(context, builder, sig, args):
            a, b = (_as_vector(context, builder, t, v, kind) for t, v in zip(sig.args, args, strict=True))
            return emit(builder, a, b)


for _real_type, _vector in VECTORS.items():
    for _op, _emit in (
        (operator.add, ir.IRBuilder.fadd),
        (operator.sub, ir.IRBuilder.fsub),
        (operator.mul, ir.IRBuilder.fmul),
        (operator.truediv, ir.IRBuilder.fdiv),
    ):
        _register_binary(_op, _emit, _vector, _vector)
    for _op, _symbol in ((operator.lt, "<"), (operator.gt, ">"), (operator.le, "<="), (operator.ge, ">=")):
        _register_binary(
            _op, lambda builder, a, b, s=_symbol: builder.fcmp_ordered(s, a, b), _vector, MaskType(_real_type)
        )


@intrinsic
def splat(typingctx, like, x):
    """Return a vector of 16 copies of x, as elements."""
    element = element_of(like)
    if element is None or not isinstance(x, types.Number):
        return None

    def codegen(context, builder, sig, args):
        return broadcast(builder, args[1])

    return VECTORS[element](like, element), codegen


@intrinsic
def fma(typingctx, a, b, c):
    """Return a·b + c; each is a vector or a number."""
    kind = _kind(a, b, c)
    if kind is None:
        return None

    def codegen(context, builder, sig, args):
        terms = (_as_vector(context, builder, t, v, kind) for t, v in zip(sig.args, args, strict=True))
        return fmuladd(builder, *terms)

    return kind(a, b, c), codegen


@intrinsic
def where(typingctx, condition, a, b):
    """Return a where the condition is true, b elsewhere. A comparison with NaN is false."""
    if not isinstance(condition, MaskType):
        return None
    kind = VECTORS[condition.element]
    if not all(t == kind or isinstance(t, types.Number) for t in (a, b)):
        return None

    def codegen(context, builder, sig, args):
        x, y = (_as_vector(context, builder, t, v, kind) for t, v in zip(sig.args[1:], args[1:], strict=True))
        return builder.select(args[0], x, y)

    return kind(condition, a, b), codegen


@intrinsic
def wide(typingctx, a):
    """Return a vector in float64."""
    if not isinstance(a, VectorType):
        return None

    def codegen(context, builder, sig, args):
        return args[0] if a.element == types.float64 else builder.fpext(args[0], vector_of(F64))

    return VECTORS[types.float64](a), codegen


@intrinsic
def narrow(typingctx, like, a):
    """Return a vector of float64 rounded to the element."""
    element = element_of(like)
    if element is None or a != VECTORS[types.float64]:
        return None

    def codegen(context, builder, sig, args):
        return args[1] if element == types.float64 else builder.fptrunc(args[1], vector_of(F32))

    return VECTORS[element](like, a), codegen


def _unary(name: str, doc: str) -> Any:
    @intrinsic
    def function(typingctx, a):
        if not isinstance(a, VectorType):
            return None

        def codegen(context, builder, sig, args):
            return intrinsic_call(builder, f"llvm.{name}.{_suffix(args[0].type)}", args[0].type, args[0])

        return a(a), codegen

    function.__doc__ = doc
    return function


sqrt: Any = _unary("sqrt", "√a.")
absolute: Any = _unary("fabs", "|a|.")
nearest: Any = _unary("rint", "The nearest integer, the even one of two.")
floor: Any = _unary("floor", "The largest integer that is at most a.")
ceil: Any = _unary("ceil", "The least integer that is at least a.")
trunc: Any = _unary("trunc", "The integer part of a.")


@intrinsic
def copysign(typingctx, a, b):
    """Return |a| with the sign bit of b."""
    if not isinstance(a, VectorType) or b != a:
        return None

    def codegen(context, builder, sig, args):
        return intrinsic_call(builder, f"llvm.copysign.{_suffix(args[0].type)}", args[0].type, *args)

    return a(a, a), codegen


@intrinsic
def remainder(typingctx, a, b):
    """Return a − b·trunc(a/b), with the sign of a: a call of the C library's fmod for each lane."""
    if not isinstance(a, VectorType) or b != a:
        return None
    return a(a, a), lambda context, builder, sig, args: builder.frem(*args)


def lanewise(symbol: str) -> Any:
    """Return a function of float64 vectors that calls a C function of one float64 for each lane.

    The symbol must be one that Numba knows on every platform, as those of its own library, which begin with "numba_".
    """

    @intrinsic
    def function(typingctx, a):
        if a != VECTORS[types.float64]:
            return None

        def codegen(context, builder, sig, args):
            result = ir.Constant(args[0].type, ir.Undefined)
            for lane in range(LANES):
                x = builder.extract_element(args[0], ir.Constant(I32, lane))
                result = builder.insert_element(result, intrinsic_call(builder, symbol, F64, x), ir.Constant(I32, lane))
            return result

        return a(a), codegen

    return function


MANTISSA_BITS: dict[ir.Type, int] = {F32: 23, F64: 52}
BIAS: dict[ir.Type, int] = {F32: 127, F64: 1023}


def _integers(value: int, vector: ir.VectorType) -> ir.Constant:
    """Return a constant vector of integers as wide as a vector's numbers."""
    return ir.Constant(integers_like(vector), [value] * vector.count)


def _bits(value: float, vector: ir.VectorType) -> int:
    """Return the bits of a number, as an integer."""
    if vector.element == F32:
        return int(np.float32(value).view(np.int32))
    return int(np.float64(value).view(np.int64))


@intrinsic
def power_of_two(typingctx, n):
    """Return 2ⁿ for integers n in [-126, 127], or in [-1022, 1023] of float64, built from its bits."""
    if not isinstance(n, VectorType):
        return None

    def codegen(context, builder, sig, args):
        kind = args[0].type
        bits, bias = MANTISSA_BITS[kind.element], BIAS[kind.element]
        # n + 1.5·2²³ has n in its lowest bits; a conversion to integer would be undefined for NaN
        shifter = 1.5 * 2.0**bits
        shifted = builder.bitcast(builder.fadd(args[0], constant(shifter, kind)), integers_like(kind))
        biased = builder.add(shifted, _integers(bias - _bits(shifter, kind), kind))
        return builder.bitcast(builder.shl(biased, _integers(bits, kind)), kind)

    return n(n), codegen


@intrinsic
def exponent(typingctx, a):
    """Return the integer e of a = m·2ᵉ with m in [√½, √2), for normal a > 0."""
    if not isinstance(a, VectorType):
        return None

    def codegen(context, builder, sig, args):
        return builder.sitofp(_exponent(builder, args[0]), args[0].type)

    return a(a), codegen


@intrinsic
def mantissa(typingctx, a):
    """Return the m of a = m·2ᵉ; see :func:`exponent`."""
    if not isinstance(a, VectorType):
        return None

    def codegen(context, builder, sig, args):
        kind = args[0].type
        shifted = builder.shl(_exponent(builder, args[0]), _integers(MANTISSA_BITS[kind.element], kind))
        bits = builder.bitcast(args[0], integers_like(kind))
        return builder.bitcast(builder.sub(bits, shifted), kind)

    return a(a), codegen


def _exponent(builder: ir.IRBuilder, a: ir.Value) -> ir.Value:
    kind = a.type
    beyond = builder.sub(builder.bitcast(a, integers_like(kind)), _integers(_bits(0.5**0.5, kind), kind))
    return builder.ashr(beyond, _integers(MANTISSA_BITS[kind.element], kind))


@intrinsic
def total(typingctx, a):
    """Return the sum of the 16 lanes, added pairwise, as an element."""
    if not isinstance(a, VectorType):
        return None

    def codegen(context, builder, sig, args):
        v = args[0]
        for width in (8, 4, 2, 1):
            v = builder.fadd(v, shuffle(builder, v, v, [(i + width) % LANES for i in range(LANES)]))
        return builder.extract_element(v, ir.Constant(I32, 0))

    return a.element(a), codegen


# ---- random bits -------------------------------------------------------------------------------------------------


def _mixed(builder: ir.IRBuilder, x: ir.Value) -> ir.Value:
    """Mix the 32 bits of each lane of x, so that each bit depends on all (the constants are those of lowbias32)."""
    for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B), (16, 1)):
        x = builder.xor(x, builder.lshr(x, ir.Constant(IVECTOR, [shift] * LANES)))
        x = builder.mul(x, ir.Constant(IVECTOR, [factor] * LANES))
    return x


@intrinsic
def drop_lanes(typingctx, v, bits, sample, threshold, scale):
    """Return v·scale in the lanes whose 32-bit draw is below `threshold`, 0 in the others.

    The lanes are 16 samples from number `sample` on. A draw is a function of the 64 `bits` and of the sample's number.
    """
    if not isinstance(v, VectorType):
        return None
    kind = v

    def codegen(context, builder, sig, args):
        v, bits, sample, threshold, scale = args

        def in_every_lane(value: ir.Value) -> ir.Value:
            first = builder.insert_element(
                ir.Constant(IVECTOR, ir.Undefined), builder.trunc(value, I32), ir.Constant(I32, 0)
            )
            return builder.shuffle_vector(first, first, ir.Constant(IVECTOR, [0] * LANES))

        low, high = in_every_lane(bits), in_every_lane(builder.lshr(bits, ir.Constant(I64, 32)))
        x = builder.add(in_every_lane(sample), ir.Constant(IVECTOR, list(range(LANES))))
        x = _mixed(builder, builder.add(_mixed(builder, builder.xor(x, low)), high))
        chosen = builder.icmp_unsigned("<", x, in_every_lane(threshold))
        return builder.select(chosen, builder.fmul(v, broadcast(builder, scale)), constant(0.0, v.type))

    return kind(kind, types.uint64, types.int64, types.int64, kind.element), codegen


# ---- records -----------------------------------------------------------------------------------------------------


def record_of(dtype: np.dtype) -> Any:
    """Return a function (where, i) of the i-th record of `dtype` at `where`, an address or an array of that dtype."""
    record = from_dtype(dtype)

    @intrinsic
    def record_at(typingctx, where, i):
        is_array = isinstance(where, types.Array) and where.dtype == record
        if not (is_array or isinstance(where, types.Integer)):
            return None

        def codegen(context, builder, sig, args):
            start = builder.ptrtoint(data_pointer(context, builder, where, args[0]), I64) if is_array else args[0]
            address = builder.add(start, builder.mul(args[1], ir.Constant(I64, dtype.itemsize)))
            return builder.inttoptr(address, context.get_value_type(record))

        return record(where if is_array else types.intp, types.intp), codegen

    return record_at


def record_like(dtypes: dict[types.Float, np.dtype]) -> Any:
    """Return a function (where) of the record at a pointer to elements, which has the dtype of that element.

    At an integer address, it is taken for that of float32: the fields that are not of the element are the same.
    """
    records = {element: from_dtype(dtype) for element, dtype in dtypes.items()}

    @intrinsic
    def record_at(typingctx, where):
        if isinstance(where, types.Integer):
            record = records[types.float32]
        elif isinstance(where, types.CPointer) and where.dtype in records:
            record = records[where.dtype]
        else:
            return None

        def codegen(context, builder, sig, args):
            convert = builder.inttoptr if isinstance(where, types.Integer) else builder.bitcast
            return convert(args[0], context.get_value_type(record))

        return record(where), codegen

    return record_at
