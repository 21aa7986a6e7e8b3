"""Networks as arguments of a user's own @njit code: the bits of their methods, no reads out of bounds, no leaks."""

import copy
import gc
import os
import threading

import numba
import numpy as np
import pytest
from networks import SMALL, Case, assert_close, bits, data, names, network, tolerance
from numba.core.errors import TypingError
from numba.core.runtime import _nrt_python, rtsys
from optimizers import OPTIMIZERS

import fastprop
from fastprop import SGD, Activation, Adam, Loss, Network, kernels, schedules
from fastprop.kernels.networks import MOST_ROWS, NetworkType

DTYPES = ("float32", "float64")
UNSCHEDULED = [name for name, variant in OPTIMIZERS.items() if not callable(variant.settings["lr"])]
XS = Case("xs", (8, 32, 32, 1), "relu", "sigmoid", 32)
CLASSES = Case("classes", (17, 33, 5), "tanh", "softmax", 33)


@numba.njit(nogil=True)
def predictions(net, X, out):
    kernels.predict(net, X, out)


@numba.njit(nogil=True)
def cost(net, X, Y):
    return kernels.loss(net, X, Y)


@numba.njit(nogil=True)
def steps(net, X, Y, costs):
    for i in range(len(costs)):
        costs[i] = kernels.train_step(net, X, Y)


@numba.njit(nogil=True)
def back(net, X, dA, dX):
    kernels.backward(net, X, dA, dX)


def float_data(case, m, dtype):
    """X and Y of a network of a dtype, Y being labels for a softmax."""
    X, Y = data(case, m, dtype=dtype)
    return X, Y if Y.dtype == np.int64 else Y.astype(dtype)


# ---- the bits of the methods -------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", SMALL, ids=names(SMALL))
def test_predictions_have_the_bits_of_predict(case, dtype):
    net = network(case, dtype=dtype)
    for m in (1, 3, 17, 300, 1100):
        X = float_data(case, m, dtype)[0]
        out = np.full((m, case.sizes[-1]), np.nan, dtype)
        predictions(net, X, out)
        assert bits(out) == bits(net.predict(X)), m
    row = np.full(case.sizes[-1], np.nan, dtype)
    predictions(net, X[0], row)
    assert bits(row) == bits(net.predict(X[:1])[0])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", SMALL, ids=names(SMALL))
def test_the_cost_is_that_of_loss(case, dtype):
    """Its sum over the panels is taken in float64, in an order that depends on the engine."""
    net = network(case, l2=0.01, dtype=dtype)
    for m in (1, 3, 17, 300, 1100):
        X, Y = float_data(case, m, dtype)
        assert cost(net, X, Y) == pytest.approx(net.loss(X, Y), rel=1e-14)
    X, Y = float_data(case, 1, dtype)
    assert cost(net, X[0], Y if Y.ndim == 1 else Y[0]) == pytest.approx(net.loss(X, Y), rel=1e-14)


def check_steps(net, twin, batches, optimizer, other):
    """The steps of compiled code leave the parameters, moments and costs of the steps of `train_step`."""
    net.optimizer = optimizer
    for X, Y in batches:
        costs = np.empty(3)
        steps(net, X, Y, costs)
        assert costs.tolist() == [twin.train_step(X, Y, other) for _ in costs]
    assert bits(net.parameters, optimizer.moments) == bits(twin.parameters, other.moments)
    assert optimizer.steps == other.steps == 3 * len(batches)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", SMALL, ids=names(SMALL))
def test_training_has_the_bits_of_train_step(case, dtype):
    """Parameters, moments and costs, of one row, a few, more than a chunk, and enough for steps in parts."""
    fastprop.set_num_threads(1)
    batches = [float_data(case, m, dtype) for m in (17, 1, 300, 3, 256, 257, 5000)]
    check_steps(network(case, dtype=dtype), network(case, dtype=dtype), batches, Adam(0.01), Adam(0.01))


@pytest.mark.parametrize("name", UNSCHEDULED)
@pytest.mark.parametrize("options", [{}, {"l2": 0.01}, {"dropout": 0.3}], ids=["plain", "l2", "dropout"])
def test_training_with_every_optimizer(name, options):
    batches = [float_data(CLASSES, m, "float32") for m in (33, 1, 600)]
    nets = [network(CLASSES, **options) for _ in range(2)]
    check_steps(*nets, batches, OPTIMIZERS[name].make(), OPTIMIZERS[name].make())


@pytest.mark.parametrize("clip_norm", [1e-3, 1e3])
def test_training_with_clipping(clip_norm):
    batches = [float_data(XS, m, "float32") for m in (32, 1, 700)]
    check_steps(network(XS), network(XS), batches, SGD(0.1, clip_norm=clip_norm), SGD(0.1, clip_norm=clip_norm))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", SMALL, ids=names(SMALL))
def test_backward_has_the_bits_of_the_method(case, dtype):
    """Gradients and dX; beyond 256 rows, whose sums are taken in chunks, they are equal to rounding."""
    net, twin = network(case, dtype=dtype, l2=0.1), network(case, dtype=dtype, l2=0.1)
    for m in (1, 3, 17, 256, 300, 1100):
        X = float_data(case, m, dtype)[0]
        G = np.random.default_rng(m).standard_normal((m, case.sizes[-1])).astype(dtype)
        dX = np.full_like(X, np.nan)
        back(net, X, G, dX)
        twin.forward(X)
        twin.backward(dA=G)
        if m <= 256:
            assert bits(net.gradients, dX) == bits(twin.gradients, twin.dX), m
        else:
            near = tolerance(net.dtype)
            assert_close(net.gradients, twin.gradients, near)
            assert_close(dX, twin.dX, near)
        net.gradients = 0
        back(net, X, G, None)
        assert_close(net.gradients, twin.gradients, tolerance(net.dtype))


def test_backward_leaves_training_as_it_was():
    net, twin = network(XS, l2=0.01), network(XS, l2=0.01)
    X, Y = float_data(XS, 32, "float32")
    net.optimizer, other, costs = Adam(0.01), Adam(0.01), np.empty(1)
    for _ in range(3):
        back(net, X, Y, np.empty_like(X))
        steps(net, X, Y, costs)
        twin.train_step(X, Y, other)
    assert bits(net.parameters) == bits(twin.parameters)


def test_a_step_after_backward_adds_the_penalty():
    """As after the method, whose gradients have none of it."""
    net, twin = network(XS, l2=0.1), network(XS, l2=0.1)
    X, Y = float_data(XS, 32, "float32")
    for each in (net, twin):
        each.forward(X)
        each.backward(Y)  # whose gradients have it
    back(net, X, Y, None)
    net.step(Adam())
    twin.forward(X)
    twin.backward(dA=Y)
    twin.step(Adam())
    assert bits(net.parameters) == bits(twin.parameters)


def test_ones_own_activation_and_loss():
    bent = Activation("bent", lambda z: z + z / (1 + z * z), lambda z: 1 + (1 - z * z) / (1 + z * z) ** 2)
    quartic = Loss("quartic", lambda y_hat, y: (y_hat - y) ** 4, lambda y_hat, y: 4 * (y_hat - y) ** 3)
    nets = [Network((5, 9, 2), hidden=bent, output=bent, loss=quartic, rng=0) for _ in range(2)]
    rng = np.random.default_rng(0)
    X, Y = (rng.standard_normal((20, n)).astype("float32") for n in (5, 2))
    check_steps(*nets, [(X, Y)], SGD(0.01), SGD(0.01))
    assert cost(nets[0], X, Y) == pytest.approx(nets[1].loss(X, Y), rel=1e-14)


def test_the_scale_of_X():
    nets = [network(XS, scale=1 / 255) for _ in range(2)]
    X, Y = float_data(XS, 20, "float32")
    X *= 255
    check_steps(*nets, [(X, Y)], SGD(0.1), SGD(0.1))
    dX = np.empty_like(X)
    back(nets[0], X, Y, dX)
    nets[1].forward(X)
    nets[1].backward(dA=Y)
    assert bits(dX) == bits(nets[1].dX)


def test_the_functions_may_be_called_from_python_too():
    net = network(XS)
    X, out = data(XS)[0], np.empty((32, 1), np.float32)
    kernels.predict(net, X, out)
    assert bits(out) == bits(net.predict(X))


# ---- the optimizer -----------------------------------------------------------------------------------------------


def test_the_optimizer_may_be_assigned():
    net, adam = network(XS), Adam(0.01)
    net.optimizer = adam
    assert net.optimizer is adam
    with pytest.raises(TypeError, match="it must be an optimizer"):
        net.optimizer = "adam"
    adam.steps = 1
    with pytest.raises(ValueError, match="moments of another network"):
        network(XS).optimizer = adam
    assert net.optimizer is adam
    net.optimizer = None
    assert net.optimizer is None


def test_what_changes_between_calls_counts_in_the_next():
    """Another learning rate, another optimizer, parameters written in place, and steps of the method in between."""
    net, twin = network(XS), network(XS)
    X, Y = float_data(XS, 32, "float32")
    ours, others, costs = [Adam(0.01), SGD(0.1)], [Adam(0.01), SGD(0.1)], np.empty(2)
    for optimizer, other in zip(ours, others, strict=True):
        net.optimizer = optimizer
        for lr in (0.01, 0.02):
            optimizer.lr = other.lr = lr
            steps(net, X, Y, costs)
            net.train_step(X, Y, optimizer)
            for _ in range(3):
                twin.train_step(X, Y, other)
            net.layers[0].W *= 0.5
            twin.layers[0].W *= 0.5
    assert bits(net.parameters) == bits(twin.parameters)


@pytest.mark.parametrize(
    ("optimizer", "options", "message"),
    [
        (None, {}, "has no optimizer"),
        (Adam(schedules.cosine(0.1, 10)), {}, "is a schedule"),
        (Adam(), {"missing": True}, "missing=True"),
    ],
)
def test_what_stands_in_the_way_of_a_step(optimizer, options, message):
    net = network(XS, **options)
    net.optimizer = optimizer
    before = net.parameters.copy()
    X, Y = float_data(XS, 3, "float32")
    with pytest.raises(ValueError, match=message):
        steps(net, X, Y, np.empty(1))
    predictions(net, X, np.empty((3, 1), np.float32))
    assert bits(net.parameters) == bits(before)


@pytest.mark.parametrize("where", ["X", "Y"])
@pytest.mark.parametrize("m", [1, 5, 700])
def test_a_cost_that_is_not_finite_changes_nothing(where, m):
    net = network(XS)
    net.optimizer = optimizer = Adam()
    before, costs = net.parameters.copy(), np.empty(1)
    X, Y = float_data(XS, m, "float32")
    (X if where == "X" else Y)[m // 2] = np.nan
    steps(net, X, Y, costs)
    assert np.isnan(costs[0])
    assert np.isnan(cost(net, X, Y))
    assert optimizer.steps == 0
    assert bits(net.parameters) == bits(before)


# ---- what does not fit -------------------------------------------------------------------------------------------


@numba.njit
def all_of(net, X, Y, out, dX):
    """Call one function after the other, so that shapes alone decide which of them raises."""
    kernels.predict(net, X, out)
    kernels.loss(net, X, Y)
    kernels.train_step(net, X, Y)
    kernels.backward(net, X, out, dX)


def floats(*shape):
    return np.zeros(shape, np.float32)


@pytest.mark.parametrize(
    ("X", "Y", "out", "dX", "message"),
    [
        (floats(4, 16), floats(4, 5), floats(4, 5), floats(4, 17), "X must have the shape"),
        (floats(0, 17), floats(0, 5), floats(0, 5), floats(0, 17), "X must have the shape"),
        (floats(16), floats(5), floats(5), floats(17), "X must have the shape"),
        (floats(4, 17), floats(4, 5), floats(3, 5), floats(4, 17), "out must have the shape"),
        (floats(4, 17), floats(4, 5), floats(4, 4), floats(4, 17), "out must have the shape"),
        (floats(4, 17), floats(4, 5), floats(20), floats(4, 17), "out must have the shape"),
        (floats(4, 17), floats(3, 5), floats(4, 5), floats(4, 17), "Y must have the shape"),
        (floats(4, 17), floats(4, 6), floats(4, 5), floats(4, 17), "Y must have the shape"),
        (floats(4, 17), floats(20), floats(4, 5), floats(4, 17), "Y must have the shape"),
        (floats(4, 17), np.zeros(3, np.int64), floats(4, 5), floats(4, 17), "their number"),
        (floats(4, 17), np.full(4, 5), floats(4, 5), floats(4, 17), "a label of Y"),
        (floats(4, 17), np.full(4, -1), floats(4, 5), floats(4, 17), "a label of Y"),
        (floats(4, 17), np.zeros(4, np.int64), floats(4, 5), floats(4, 16), "dX must have the shape"),
        (floats(4, 17), np.zeros(4, np.int64), floats(4, 5), floats(3, 17), "dX must have the shape"),
    ],
)
def test_shapes_that_do_not_fit_raise(X, Y, out, dX, message):
    net = network(CLASSES)
    net.optimizer = SGD(0.1)
    with pytest.raises(ValueError, match=message):
        all_of(net, X, Y, out, dX)


def test_labels_for_a_network_that_takes_none():
    with pytest.raises(ValueError, match="only a network with output='softmax'"):
        cost(network(XS), floats(3, 8), np.zeros(3, np.int64))


def test_dA_that_does_not_fit():
    with pytest.raises(ValueError, match="dA must have the shape"):
        back(network(XS), floats(3, 8), floats(3, 2), None)


def test_more_rows_than_a_step_may_have():
    """An array of 2²⁴ + 1 rows that is one row in memory would not be contiguous: this one is of a single column."""
    net = Network((1, 1), rng=0)
    net.optimizer = SGD(0.1)
    X = np.zeros((MOST_ROWS + 1, 1), np.float32)
    with pytest.raises(ValueError, match=r"more than 2\*\*24 rows"):
        steps(net, X, X, np.empty(1))
    with pytest.raises(ValueError, match=r"more than 2\*\*24 rows"):
        back(net, X, X, None)


@pytest.mark.parametrize(
    ("X", "out", "message"),
    [
        (np.zeros((4, 8)), floats(4, 1), "takes C-contiguous arrays of float32"),
        (floats(8, 4).T, floats(4, 1), "takes C-contiguous arrays of float32"),
        (floats(8, 8)[::2], floats(4, 1), "takes C-contiguous arrays of float32"),
        (floats(4, 8), floats(4, 2)[:, :1], "takes C-contiguous arrays of float32"),
        (floats(2, 4, 8), floats(4, 1), "takes C-contiguous arrays of float32"),
        (3.0, floats(4, 1), "takes C-contiguous arrays of float32"),
        (floats(4, 8), np.broadcast_to(floats(4, 1), (4, 1)), "read-only"),
    ],
)
def test_arrays_that_cannot_be_read_or_written_do_not_compile(X, out, message):
    with pytest.raises(TypingError, match=message):
        predictions(network(XS), X, out)


def test_what_is_no_network_does_not_compile():
    with pytest.raises(TypingError, match=r"must be a fastprop\.Network"):
        predictions(3, floats(4, 8), floats(4, 1))


def test_a_network_is_an_argument_and_not_a_global():
    net = network(XS)

    @numba.njit
    def closure(X, out):
        kernels.predict(net, X, out)

    with pytest.raises(Exception, match="Pass it as an argument"):
        closure(floats(4, 8), floats(4, 1))


# ---- threads -----------------------------------------------------------------------------------------------------


@numba.njit(parallel=True)
def predictions_in_parallel(net, X, out):
    for i in numba.prange(len(X)):
        kernels.predict(net, X[i], out[i])


@numba.njit(parallel=True)
def steps_in_parallel(nets, X, Y, count):
    for i in numba.prange(len(nets)):
        for _ in range(count):
            kernels.train_step(nets[i], X, Y)


def test_predictions_of_one_network_in_a_prange():
    net = network(XS)
    X = data(XS, 20000)[0]
    out = np.full((len(X), 1), np.nan, np.float32)
    predictions_in_parallel(net, X, out)
    expected = np.concatenate([net.predict(X[i : i + 1]) for i in range(0, len(X), 97)])
    assert bits(out[::97]) == bits(expected)


def test_one_network_for_each_thread_of_a_prange():
    nets, twins = (tuple(network(XS, rng=i) for i in range(5)) for _ in range(2))
    X, Y = float_data(XS, 32, "float32")
    for net in nets:
        net.optimizer = Adam(0.01)
    steps_in_parallel(nets, X, Y, 50)
    for net, twin in zip(nets, twins, strict=True):
        other = Adam(0.01)
        for _ in range(50):
            twin.train_step(X, Y, other)
        assert bits(net.parameters) == bits(twin.parameters)


def test_predictions_from_more_python_threads_than_numba_has():
    net = network(XS)
    X = data(XS, 64)[0]
    expected, results = net.predict(X), []

    def work():
        out = np.empty((len(X), 1), np.float32)
        for _ in range(200):
            predictions(net, X, out)
            results.append(bits(out) == bits(expected))

    workers = [threading.Thread(target=work) for _ in range(2 * numba.config.NUMBA_NUM_THREADS + 1)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(results) == 200 * len(workers)
    assert all(results)


def test_threads_that_train_the_same_network_take_turns():
    """All of their steps are made, one after the other."""
    net, twin = network(XS), network(XS)
    X, Y = float_data(XS, 32, "float32")
    net.optimizer, other = SGD(0.1), SGD(0.1)
    workers = [threading.Thread(target=steps, args=(net, X, Y, np.empty(50))) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    for _ in range(150):
        twin.train_step(X, Y, other)
    assert bits(net.parameters) == bits(twin.parameters)


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this platform")
def test_a_forked_child_takes_what_a_thread_of_its_parent_had_taken(run_python):
    assert run_python(FORKING, timeout=120) == "0\n"


FORKING = """
import os, threading, numpy as np, numba
from fastprop import Network, SGD, kernels
net = Network((8, 32, 1), rng=0)
net.optimizer = SGD(0.1)
X, Y, out = np.ones((200, 8), np.float32), np.ones((200, 1), np.float32), np.empty((200, 1), np.float32)

@numba.njit(nogil=True)
def work(net, X, Y, out, count):
    for _ in range(count):
        kernels.predict(net, X, out)
        kernels.train_step(net, X, Y)

work(net, X, Y, out, 1)
thread = threading.Thread(target=work, args=(net, X, Y, out, 100000))
thread.start()
children = []
for _ in range(20):
    child = os.fork()
    if not child:
        work(net, X, Y, out, 3)
        os._exit(0)
    children.append(child)
print(max(os.waitpid(child, 0)[1] for child in children))
os._exit(0)
"""


# ---- memory, copies and caches -----------------------------------------------------------------------------------


@numba.njit
def many(net, X, Y, out, count):
    for _ in range(count):
        kernels.predict(net, X, out)
        kernels.train_step(net, X, Y)
        kernels.backward(net, X, Y, None)


def test_a_million_calls_allocate_nothing():
    net = Network((1, 1), rng=0)
    net.optimizer = SGD(1e-3)
    X, out = np.ones((1, 1), np.float32), np.empty((1, 1), np.float32)
    many(net, X, X, out, 1)
    _nrt_python.memsys_enable_stats()
    try:
        made = []
        for count in (1, 1_000_000):
            before = rtsys.get_allocation_stats()
            many(net, X, X, out, count)
            after = rtsys.get_allocation_stats()
            made.append((after.alloc - before.alloc, after.free - before.free))
    finally:
        _nrt_python.memsys_disable_stats()
    assert made[0] == made[1]  # those of the array arguments


def test_a_network_that_is_not_used_any_more_is_freed():
    net = network(XS)
    predictions(net, *(floats(4, n) for n in (8, 1)))
    gone = threading.Event()
    numba_record = net.record_address
    assert numba_record

    class Sentinel:
        def __del__(self):
            gone.set()

    net.sentinel = Sentinel()
    del net
    gc.collect()
    assert gone.is_set()


def test_a_copy_has_a_record_of_its_own():
    net = network(XS)
    X, out = data(XS)[0], np.empty((32, 1), np.float32)
    predictions(net, X, out)
    other = copy.deepcopy(net)
    other.layers[0].W *= 0.5
    predictions(other, X, out)
    assert bits(out) == bits(other.predict(X))
    predictions(net, X, out)
    assert bits(out) == bits(net.predict(X))


def test_a_function_may_return_a_network():
    @numba.njit
    def same(net):
        return net

    net = network(XS)
    assert same(net) is net


CACHED = """
import sys, numpy as np
import module
from fastprop import Adam, Network
net = Network((8, 32, 1), rng=int(sys.argv[1]))
net.optimizer = Adam(0.01)
X = np.ones((5, 8), np.float32)
print(module.trained(net, X, X[:, :1].copy()) == net.loss(X, X[:, :1]), sum(module.trained.stats.cache_hits.values()))
"""
MODULE = """
import numba
from fastprop import kernels

@numba.njit(cache=True)
def trained(net, X, Y):
    for _ in range(10):
        kernels.train_step(net, X, Y)
    return kernels.loss(net, X, Y)
"""


@pytest.mark.slow
def test_a_cached_function_works_in_a_second_process(run_python, tmp_path):
    """On another network, whose memory is elsewhere."""
    (tmp_path / "module.py").write_text(MODULE)
    assert run_python(CACHED, 0, folder=tmp_path) == "True 0\n"
    assert run_python(CACHED, 1, folder=tmp_path) == "True 1\n"


def test_another_version_of_the_kernels_is_another_type(monkeypatch):
    """A user's cached function has the layout of the record in it, so it must not be found by another version."""
    before = NetworkType(numba.float32)
    assert before == NetworkType(numba.float32) != NetworkType(numba.float64)
    monkeypatch.setattr(fastprop.kernels.networks, "source_stamp", lambda: "another")
    assert before != NetworkType(numba.float32)
