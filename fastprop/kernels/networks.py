"""Networks in a user's compiled code: a Numba type, and the functions `predict`, `loss`, `train_step` and `backward`.

In compiled code a network is the address of its *record*, which Python makes when the network is passed to compiled
code for the first time (:mod:`fastprop.core.record`). The record names jobs that are ready to run and the routines that
run them. A user's function contains checks of shapes and calls by address, so that it compiles fast, and no address, so
that it may be cached.
"""

from typing import Any

import llvmlite.ir as ir
import numba.core.types as types
import numpy as np
from numba.core import cgutils
from numba.core.errors import NumbaTypeError
from numba.core.imputils import lower_constant
from numba.extending import NativeValue, box, models, register_model, unbox
from numba.np.numpy_support import as_dtype

from .jit import Array, intrinsic, kernel, public_kernel, routine, source_stamp
from .plan import (
    BACKWARD,
    FORWARD,
    GRADIENTS,
    LOSS,
    OUTPUT,
    STEP,
    TRANSPOSE,
    chunk_of,
    job_at,
    panels_of,
    parts_of,
)
from .simd import (
    ELEMENTS,
    I64,
    call,
    call_float64,
    fetch_add,
    get,
    integers,
    put,
    read_acquire,
    reals,
    record_like,
    yield_core,
)
from .steps import PHASE_TWO, call_totals, prepare_call, stages_in_step, work_items

MOST_ROWS = 2**24  # of a step: there is a place for the cost of each of their panels
FLAG = 8  # places from one flag to the next, which is on a cache line of its own
# Whether there can be training steps, or what stands in the way.
READY, NO_OPTIMIZER, SCHEDULE, MISSING, ALL_FROZEN = range(5)

_NETWORK = [
    (name, np.int64)
    for name in (
        "object",  # the address of Python's object
        "n_0", "n_L",
        "takes_labels",  # whether Y may be labels
        "ready",  # see READY …
        "evaluate", "train", "back",  # addresses of the routines below
        "slots", "taken",  # how many calls can evaluate at once, and for each a flag, whether its jobs are taken
        "jobs",  # for each of these the addresses of two jobs, for one row and for several
        "training",  # a flag, whether the jobs that train are taken
        "job_of_row", "job_of_rows",  # the addresses of those that make steps; 0: one row is trained as several are
        "back_of_row", "back_of_rows",  # of those that go back from dA, to the gradients of all layers, frozen or not
        "most_panels", "length",  # of those for rows: the panels of a chunk, at most, and the places of a panel
        "panels_of_chunk", "columns_of_chunk",  # the phases of its steps
        "parts", "part_of_step", "sum_of_parts",  # memory and phases of its steps in parts
        "inputs",  # the phase that computes dX
        "loss", "inner_product",  # routines of the loss, and of Σ dA∗Ŷ
        "penalized",  # the address of an int64: whether the gradients have that of the penalty
    )
]  # fmt: skip
NETWORK_FIELDS = {name: i for i, (name, _) in enumerate(_NETWORK)}
NETWORK: dict[Any, np.dtype] = {element: np.dtype([*_NETWORK, ("element", as_dtype(element))]) for element in ELEMENTS}
network_at: Any = record_like(NETWORK)


# ---- the type ----------------------------------------------------------------------------------------------------


class NetworkType(types.Type):
    """Numba's type of a network of an element.

    Numba caches a user's function under the types of its arguments. So the stamp of the kernels' sources is a part of
    the type: another version of fastprop, whose record may differ, compiles the function again.
    """

    def __init__(self, element: types.Float) -> None:
        self.element: types.Float = element
        self.stamp: str = source_stamp()
        super().__init__(name=f"Network({element})")

    @property
    def key(self) -> tuple[types.Float, str]:
        return self.element, self.stamp


@register_model(NetworkType)
class _NetworkModel(models.PrimitiveModel):
    def __init__(self, dmm: Any, fe_type: Any) -> None:
        super().__init__(dmm, fe_type, I64)


@unbox(NetworkType)
def _unbox(typ: Any, network: Any, c: Any) -> NativeValue:
    """Read the address of a network's record, which is made or brought up to date."""
    address = cgutils.alloca_once_value(c.builder, ir.Constant(I64, 0))
    number = c.pyapi.object_getattr_string(network, "record_address")
    with c.builder.if_then(cgutils.is_not_null(c.builder, number)):
        c.builder.store(c.pyapi.long_as_longlong(number), address)
        c.pyapi.decref(number)
    return NativeValue(c.builder.load(address), is_error=c.pyapi.c_api_error())


@box(NetworkType)
def _box(typ: Any, address: ir.Value, c: Any) -> ir.Value:
    """Return Python's network."""
    place = c.builder.inttoptr(address, I64.as_pointer())
    network = c.builder.inttoptr(c.builder.load(place), c.pyapi.pyobj)
    c.pyapi.incref(network)
    return network


@lower_constant(NetworkType)
def _constant(context: Any, builder: Any, typ: Any, network: Any) -> None:
    raise NumbaTypeError(
        "a network is a global or a closure of compiled code, which would freeze it. Pass it as an argument."
    )


@intrinsic
def record_of_network(typingctx, network):
    """Return a network's record, as a pointer to elements."""
    if not isinstance(network, NetworkType):
        raise NumbaTypeError(f"net is {network}; it must be a fastprop.Network.")

    def codegen(context, builder, sig, args):
        return builder.inttoptr(args[0], context.get_value_type(sig.return_type))

    return types.CPointer(network.element)(network), codegen


# ---- arguments ---------------------------------------------------------------------------------------------------


def _address(context: Any, builder: ir.IRBuilder, a: types.Array, value: ir.Value) -> ir.Value:
    return builder.ptrtoint(context.make_array(a)(context, builder, value).data, I64)


def _check(record: types.CPointer, a: types.Type, written: bool = False) -> None:
    """Raise a TypeError, while a function is compiled, if an argument cannot be read, or written, as it is."""
    element = record.dtype
    if not (isinstance(a, types.Array) and a.dtype == element and a.layout == "C" and a.ndim in (1, 2)):
        raise NumbaTypeError(
            f"an argument is {a}; a network of {element} takes C-contiguous arrays of {element}, of one or two "
            f"dimensions. Use np.ascontiguousarray(a).astype(np.{element})."
        )
    if written and not a.mutable:
        raise NumbaTypeError(f"a result is to be written to {a}, which is read-only.")


@intrinsic
def input_address(typingctx, record, a):
    """Return the address of an array (m, n) or (n,) of the record's element."""
    _check(record, a)
    return types.int64(record, a), lambda context, builder, sig, args: _address(context, builder, a, args[1])


@intrinsic
def output_address(typingctx, record, a):
    """Return the same of an array to be written."""
    _check(record, a, written=True)
    return types.int64(record, a), lambda context, builder, sig, args: _address(context, builder, a, args[1])


@intrinsic
def target_addresses(typingctx, record, Y):
    """Return the address of Y, and that of int64 labels (m,): one of them is 0."""
    labels = isinstance(Y, types.Array) and Y.dtype == types.int64 and Y.layout == "C" and Y.ndim == 1
    if not labels:
        _check(record, Y)

    def codegen(context, builder, sig, args):
        pair = [ir.Constant(I64, 0), _address(context, builder, Y, args[1])]
        return context.make_tuple(builder, sig.return_type, pair if labels else reversed(pair))

    return types.UniTuple(types.int64, 2)(record, Y), codegen


@kernel
def has_shape(a, m, n):
    """Return whether an array is of shape (m, n), or for a single row of shape (n,)."""
    if a.ndim == 1:
        return m == 1 and a.size == n
    return a.shape[0] == m and a.shape[1] == n


@kernel
def rows_of(network, X):
    """Return m of X, of shape (m, n_0) or (n_0,)."""
    m = np.int64(1) if X.ndim == 1 else np.int64(X.shape[0])
    if not (m > 0 and has_shape(X, m, network.n_0)):
        raise ValueError("X must have the shape (m, n_0), with m >= 1, or (n_0,); n_0 is the network's sizes[0].")
    return m


@kernel
def check_targets(network, Y, labels, m):
    """Check the shape of Y, or the labels at an address."""
    if labels:
        if not network.takes_labels:
            raise ValueError("Y holds int64 labels; only a network with output='softmax' takes them.")
        if Y.size != m:
            raise ValueError("Y holds int64 labels; their number must be that of the rows of X.")
        for i in range(m):
            if not 0 <= get(integers(labels), i) < network.n_L:
                raise ValueError("a label of Y is not one of 0 ... n_L - 1; n_L is the network's sizes[-1].")
    elif not (has_shape(Y, m, network.n_L) or (Y.ndim == 1 and Y.size == m and network.n_L == 1)):
        raise ValueError("Y must have the shape (m, n_L), or int64 labels (m,); n_L is the network's sizes[-1].")


# ---- the functions -----------------------------------------------------------------------------------------------


@public_kernel
def predict(net: Any, X: Array, out: Array) -> None:
    """Write the predictions of X to `out`, in compiled code; from as many threads at once as there are.

    Parameters
    ----------
    net : fastprop.Network
        An argument of the compiled function.
    X : ndarray of shape (m, n_0) or (n_0,)
        C-contiguous and of the network's dtype, like all arrays of these functions.
    out : ndarray of shape (m, n_L) or (n_L,)

    Raises
    ------
    ValueError
        If the shapes do not fit.
    TypeError
        While the function is compiled: if an array has another dtype or is not known to be C-contiguous.

    Notes
    -----
    The results have the bits of :meth:`fastprop.Network.predict`, but values are not checked: NaN in X gives NaN.
    """
    record = record_of_network(net)
    network = network_at(record)
    source, place = input_address(record, X), output_address(record, out)
    m = rows_of(network, X)
    if not has_shape(out, m, network.n_L):
        raise ValueError("out must have the shape (m, n_L), or (n_L,) for one row; n_L is the network's sizes[-1].")
    call_float64(network.evaluate, (record, np.int64(FORWARD | OUTPUT), m, source, np.int64(0), np.int64(0), place))


@public_kernel
def loss(net: Any, X: Array, Y: Array) -> float:
    """Return the cost J on X and Y, in compiled code; from as many threads at once as there are.

    Parameters
    ----------
    net : fastprop.Network
    X : ndarray of shape (m, n_0) or (n_0,)
    Y : ndarray of shape (m, n_L) or (n_L,), or int64 labels (m,) for a softmax

    Raises
    ------
    ValueError, TypeError
        See :func:`predict`. If a label is out of range, or if the network was made with ``missing=True``.

    Notes
    -----
    The result has the bits of :meth:`fastprop.Network.loss`; NaN in X or Y makes it NaN.
    """
    record = record_of_network(net)
    network = network_at(record)
    source, (Y_place, labels) = input_address(record, X), target_addresses(record, Y)
    m = rows_of(network, X)
    check_targets(network, Y, labels, m)
    if network.ready == MISSING:
        raise ValueError("the network has missing=True, and compiled code knows no missing targets.")
    return call_float64(network.evaluate, (record, np.int64(FORWARD | LOSS), m, source, Y_place, labels, np.int64(0)))


@public_kernel
def train_step(net: Any, X: Array, Y: Array) -> float:
    """Train one step on one batch, in compiled code: forward, backward, and an update by ``net.optimizer``.

    Parameters
    ----------
    net : fastprop.Network
        Its optimizer is set before: ``net.optimizer = Adam(1e-3)``.
    X : ndarray of shape (m, n_0) or (n_0,)
        At most 2²⁴ rows.
    Y : ndarray of shape (m, n_L) or (n_L,), or int64 labels (m,) for a softmax

    Returns
    -------
    J : float
        The cost before the step. If it is not finite, nothing is changed.

    Raises
    ------
    ValueError, TypeError
        See :func:`loss`. If the network has no optimizer, or one whose learning rate is a schedule, which is a function
        of Python, or if all its layers are frozen.

    Notes
    -----
    The result has the bits of :meth:`fastprop.Network.train_step`. Threads that train the same network take turns. The
    layers that are frozen (:attr:`fastprop.Layer.trainable`) are those of the moment at which the network was passed to
    compiled code.
    """
    record = record_of_network(net)
    network = network_at(record)
    source, (Y_place, labels) = input_address(record, X), target_addresses(record, Y)
    m = rows_of(network, X)
    if m > MOST_ROWS:
        raise ValueError("X has more than 2**24 rows. Train on some of them at a time.")
    check_targets(network, Y, labels, m)
    if network.ready != READY:
        if network.ready == NO_OPTIMIZER:
            raise ValueError("the network has no optimizer. Set it before the call: net.optimizer = Adam(1e-3).")
        if network.ready == SCHEDULE:
            raise ValueError(
                "the learning rate is a schedule, which compiled code cannot call. Set net.optimizer.lr to a number "
                "between the calls."
            )
        if network.ready == ALL_FROZEN:
            raise ValueError(
                "every layer of the network is frozen; a step needs one that is not. Set net.layers[-1].trainable = "
                "True, or that of another layer, between the calls."
            )
        raise ValueError("the network has missing=True, and compiled code knows no missing targets.")
    return call_float64(network.train, (record, m, source, Y_place, labels))


@public_kernel
def backward(net: Any, X: Array, dA: Array, dX: Array | None) -> None:
    """Go forward on X and back from dA = ∂J/∂Ŷ, in compiled code: into the network's gradients, and into dX.

    Parameters
    ----------
    net : fastprop.Network
    X : ndarray of shape (m, n_0) or (n_0,)
        At most 2²⁴ rows.
    dA : ndarray of shape (m, n_L) or (n_L,)
    dX : ndarray of shape (m, n_0) or (n_0,), or None
        Where ∂J/∂X is written.

    Raises
    ------
    ValueError, TypeError
        See :func:`predict`.

    Notes
    -----
    The results are those of ``net.forward(X)`` and ``net.backward(dA=dA)``: with their bits for up to 256 rows, and to
    rounding for more rows, which go through the layers in chunks, or with dropout. Threads that go back through the
    same network take turns.
    """
    record = record_of_network(net)
    network = network_at(record)
    source, given = input_address(record, X), input_address(record, dA)
    m = rows_of(network, X)
    if m > MOST_ROWS:
        raise ValueError("X has more than 2**24 rows. Go back through some of them at a time.")
    if not has_shape(dA, m, network.n_L):
        raise ValueError("dA must have the shape (m, n_L), or (n_L,) for one row; n_L is the network's sizes[-1].")
    place = np.int64(0)
    if dX is not None:
        place = output_address(record, dX)
        if not has_shape(dX, m, network.n_0):
            raise ValueError("dX must have the shape of X, or be None.")
    call(network.back, (record, m, source, given, place))


# ---- what the record's addresses stand for -----------------------------------------------------------------------


@kernel
def take(flags, count):
    """Take the first of some flags that is free, and return its number."""
    while True:
        for i in range(count):
            if read_acquire(flags, FLAG * i) == 0:
                if fetch_add(flags, FLAG * i, 1) == 0:
                    return i
                fetch_add(flags, FLAG * i, -1)
        yield_core()


@kernel
def give_back(flags, i):
    """Give a flag back."""
    fetch_add(flags, FLAG * i, -1)


@routine(lambda element: types.float64(types.CPointer(element), *[types.int64] * 6))
def evaluate(record, do, m, X, Y, labels, Y_hat):
    """Compute Ŷ or J, as `do` asks, by jobs that no other thread uses; return J."""
    network = network_at(record)
    flags = integers(network.taken)
    slot = take(flags, network.slots)
    address = get(integers(network.jobs), 2 * slot + (m > 1))
    job = job_at(reals(record, address))
    prepare_call(reals(record, address), 1, do, m, 0, (m + job.batch - 1) // job.batch, X, Y, labels, 0, 0, 0, Y_hat)
    call(job.worker, (reals(record, address), 0))
    cost, weight = call_totals(reals(record, address))
    give_back(flags, slot)
    return cost / weight


@kernel
def job_of(record, m, trains):
    """Return the address of the job that trains on m rows, divided as :class:`.plan.Plan` does, or that only goes back.

    The latter is never divided into parts.
    """
    network = network_at(record)
    of_row = network.job_of_row if trains else network.back_of_row
    of_rows = network.job_of_rows if trains else network.back_of_rows
    if m == 1 and of_row:
        return of_row
    job = job_at(reals(record, of_rows))
    panels, most = panels_of(m), network.most_panels
    job.batch = m
    job.chunk_panels = most if panels <= most else chunk_of(panels, most)
    n_parts = parts_of(panels, job.chunk_panels, job.part_stride, job.chunk_panels * network.length)
    if trains and n_parts:
        job.parts, job.groups = network.parts, n_parts
        job.phase_one, job.phase_two = network.part_of_step, network.sum_of_parts
    else:
        job.parts, job.groups = 0, 1
        job.phase_one, job.phase_two = network.panels_of_chunk, network.columns_of_chunk
    return of_rows


@routine(lambda element: types.float64(types.CPointer(element), *[types.int64] * 4))
def train(record, m, X, Y, labels):
    """Make a step, and return J."""
    network = network_at(record)
    flag = integers(network.training)
    take(flag, 1)
    address = reals(record, job_of(record, m, True))
    prepare_call(address, 1, STEP, m, 0, 1, X, Y, labels, 0, 0, 0, 0)
    call(job_at(address).worker, (address, 0))
    cost, weight = call_totals(address)
    give_back(flag, 0)
    return cost / weight


@routine(lambda element: types.void(types.CPointer(element), *[types.int64] * 4))
def back(record, m, X, dA, dX):
    """Compute the gradients of Σ dA∗Ŷ, and dX unless it is 0; the phases are those of a step, and the one for dX."""
    network = network_at(record)
    flag = integers(network.training)
    take(flag, 1)
    address = reals(record, job_of(record, m, False))
    job = job_at(address)
    late = job.late
    job.loss, job.divisor, job.late, job.dX = network.inner_product, 1, 0, dX
    do = FORWARD | TRANSPOSE | LOSS | BACKWARD | GRADIENTS
    prepare_call(address, 1, do, m, 0, 1, X, dA, 0, 0, 0, 0, 0)
    stages = stages_in_step(job, 0)
    for stage in range(stages):
        call(job.phase_one, (address, 0, stage, 0, 1, 0))
        if work_items(job, PHASE_TWO, 0, stage):  # all stages but the last of one row have one phase
            if dX:
                call(network.inputs, (address, 0, stage, 0, 1, 0))
            call(job.phase_two, (address, 0, stage, 0, 1, 0))
    job.loss, job.divisor, job.late, job.dX = network.loss, 0, late, 0
    put(integers(network.penalized), 0, 0)
    give_back(flag, 0)
