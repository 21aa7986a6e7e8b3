"""Many Python threads on every threading layer compute the bits of a single thread."""

import os
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from networks import SHAPES, Case, bits, data, network
from threading_layers import LAYERS, PARALLEL, has_layer

import fastprop
from fastprop import Adam, Network

DIGITS, MNIST = SHAPES[2:4]
WORKERS = 8


@pytest.fixture
def hasty():
    """Python changes threads as often as it can, also between two lines of one call."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


def train_one(seed):
    """Train a new network and return everything that it computes."""
    net = network(DIGITS, rng=seed)
    X, Y = data(DIGITS, 300, seed)
    net.fit(X, Y, epochs=3, optimizer=Adam(), rng=seed)
    net.forward(X)
    J = net.backward(Y)
    return bits(net.parameters, net.gradients, net.predict(X), np.array([J, net.loss(X, Y)]))


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize("threads", [1, 2])
def test_eight_threads_train_their_own_networks(threads):
    """With and without parallel regions: a call that finds Numba's threads busy runs on its own thread."""
    fastprop.set_num_threads(threads)
    serial = [train_one(seed) for seed in range(WORKERS)]
    with ThreadPoolExecutor(WORKERS) as pool:
        assert list(pool.map(train_one, range(WORKERS))) == serial


@pytest.mark.usefixtures("hasty")
def test_eight_threads_predict_with_one_network():
    """predict and loss change no state: 200 concurrent calls with batches of many sizes are all right."""
    net, (X, Y) = network(DIGITS), data(DIGITS, 700)
    counts = [1 + 37 * i % 700 for i in range(200)]
    serial = [(bits(net.predict(X[:m])), net.loss(X[:m], Y[:m])) for m in counts]
    with ThreadPoolExecutor(WORKERS) as pool:
        together = pool.map(lambda m: (bits(net.predict(X[:m])), net.loss(X[:m], Y[:m])), counts)
        assert list(together) == serial


@pytest.mark.usefixtures("hasty")
def test_eight_threads_on_one_network_break_nothing():
    """The result is undefined, but it is a trained network: no crash, no NaN, a lower cost."""
    net, (X, Y), optimizer = network(DIGITS), data(DIGITS, 700), Adam()

    def use(worker):
        for _ in range(10):
            net.train_step(X[: DIGITS.batch], Y[: DIGITS.batch], optimizer)
            net.forward(X[: 100 * worker + 1])
            net.predict(X)
            net.loss(X, Y)

    with ThreadPoolExecutor(WORKERS) as pool:
        list(pool.map(use, range(WORKERS)))
    assert np.isfinite(net.parameters).all()
    assert net.loss(X[: DIGITS.batch], Y[: DIGITS.batch]) < network(DIGITS).loss(X[: DIGITS.batch], Y[: DIGITS.batch])


def test_predict_while_another_network_trains():
    net, (X, _) = network(DIGITS), data(DIGITS, 700)
    expected = bits(net.predict(X))
    with ThreadPoolExecutor(2) as pool:
        training = pool.submit(lambda: [train_one(0) for _ in range(5)])
        seen = [bits(net.predict(X))]
        while not training.done():
            seen.append(bits(net.predict(X)))
    assert all(each == expected for each in seen)
    assert all(each == training.result()[0] for each in training.result())


@pytest.mark.parametrize("other", ["anything", "a prediction"])
def test_a_prediction_lets_other_threads_run(other):
    """The interpreter's lock is free in the compiled call: another thread runs Python, or predicts, all the while.

    What it could do before and after the call is left out: that takes far less than a quarter of it.
    """
    fastprop.set_num_threads(1)
    net, X = network(MNIST), np.zeros((40_000, 784), np.uint8)  # some 0.4 s
    net.predict(X)
    work = {"anything": lambda: time.sleep(0.001), "a prediction": lambda: net.predict(X[:256])}[other]
    stop, seen = threading.Event(), []

    def repeat():
        while not stop.is_set():
            began = time.perf_counter()
            work()
            seen.append((began, time.perf_counter()))

    thread = threading.Thread(target=repeat)
    thread.start()
    began = time.perf_counter()
    net.predict(X)
    quarter = (time.perf_counter() - began) / 4
    stop.set()
    thread.join()
    assert sum(began + quarter < first and last < began + 3 * quarter for first, last in seen) > 10


@pytest.mark.skipif(os.environ.get("FASTPROP_QUIET") != "1", reason="FASTPROP_QUIET=1 says that two cores are idle")
def test_four_threads_predict_nearly_twice_as_fast_as_one():
    """Each call runs on one thread, so only concurrent calls use the second core: 1.7 times as fast in one round."""
    fastprop.set_num_threads(1)
    net, (X, _) = network(MNIST), data(MNIST, 1024)

    def ask(_):
        for _ in range(10):
            net.predict(X)

    def seconds(over):
        began = time.perf_counter()
        list(over(ask, range(4)))
        return time.perf_counter() - began

    with ThreadPoolExecutor(4) as pool:
        seconds(pool.map)  # compiles, and starts the threads
        assert any(seconds(map) >= 1.7 * seconds(pool.map) for _ in range(5))


TOGETHER = (
    PARALLEL
    + """
from concurrent.futures import ThreadPoolExecutor
import numba
sys.setswitchinterval(1e-6)
shared = Network((20, 40, 5), output="softmax", rng=0)

def use(seed):
    seen = []
    for m in range(1, 300, 7):
        seen.append(shared.predict(X[:m]).tobytes())
        seen.append(shared.loss(X[:m], Y[:m]))
    return trained(seed), seen, trained(seed + 1)

serial = [use(seed) for seed in range(8)]
assert numba.threading_layer() == os.environ["NUMBA_THREADING_LAYER"]
with ThreadPoolExecutor(8) as pool:
    print(list(pool.map(use, range(8))) == serial)
"""
)


@pytest.mark.slow
@LAYERS
def test_eight_threads_in_parallel_regions_on_every_layer(run_python, layer):
    """They predict with one network and train their own. Numba's workqueue layer, which every system has, ends the
    process when two threads enter it at once."""
    assert run_python(TOGETHER, NUMBA_THREADING_LAYER=layer) == "True\n"


MANY = (
    PARALLEL
    + """
from concurrent.futures import ThreadPoolExecutor

def networks():
    return [Network((20, 40, 5), output="softmax", rng=i) for i in range(7)]

def fit_many(seed):
    nets = networks()
    fastprop.fit_many(nets, X, Y, epochs=3, batch_size=100, optimizer=Adam(), validation=0.2, rng=seed)
    return [net.parameters.tobytes() for net in nets]

children = np.random.SeedSequence(1).spawn(7)
expected = []
for net, child in zip(networks(), children):
    net.fit(X, Y, epochs=3, batch_size=100, optimizer=Adam(), validation=0.2, rng=np.random.default_rng(child))
    expected.append(net.parameters.tobytes())
with ThreadPoolExecutor(4) as pool:
    print(fit_many(1) == expected, list(pool.map(fit_many, [1] * 8)) == [expected] * 8)
"""
)


@pytest.mark.slow
@LAYERS
def test_many_networks_in_one_thread_and_in_four_on_every_layer(run_python, layer):
    assert run_python(MANY, NUMBA_THREADING_LAYER=layer) == "True True\n"


SAME_ON_EVERY_LAYER = (
    PARALLEL
    + """
import hashlib
X, Y = np.tile(X, (9, 1)), np.tile(Y, 9)
for batch in (100, 1300):  # panels of one chunk, and several chunks
    net = Network((20, 40, 5), output="softmax", dropout=0.3, rng=0)
    net.fit(X, Y, epochs=3, batch_size=batch, optimizer=Adam())
    print(hashlib.sha256(net.parameters.tobytes() + net.predict(X).tobytes()).hexdigest())
"""
)


@pytest.mark.slow
def test_the_same_bits_on_every_layer_and_in_every_run(run_python):
    """With dropout, in batches of one chunk and of several."""
    layers = [name for name in ("omp", "workqueue", "tbb") if has_layer(name)]
    said = [run_python(SAME_ON_EVERY_LAYER, NUMBA_THREADING_LAYER=name) for name in (*layers, layers[0])]
    assert len(set(said)) == 1


FEW_THREADS = (
    PARALLEL
    + """
fastprop.set_num_threads(1)
alone = trained(0)
fastprop.set_num_threads(8)
print(trained(0) == alone)
"""
)


@pytest.mark.slow
@pytest.mark.parametrize("limit", [{"NUMBA_NUM_THREADS": "1"}, {"OMP_THREAD_LIMIT": "1"}, {"NUMBA_NUM_THREADS": "8"}])
def test_fewer_or_more_threads_than_asked_for_run(run_python, limit):
    """No phase waits for a thread that never comes: eight are planned, and one runs, or eight run on two cores."""
    assert run_python(FEW_THREADS, timeout=60, **limit) == "True\n"


NESTED = (
    PARALLEL
    + """
import numba
from fastprop.kernels import steps

fastprop.set_num_threads(1)
alone = trained(0)
fastprop.set_num_threads(8)
launch = steps.launch

@numba.njit(parallel=True)
def nested(worker, job, threads, do, n, first, last, X, Y, labels, weights, output_weights, order, Y_hat):
    totals = np.zeros(2)
    for outer in numba.prange(1):
        totals[0], totals[1] = launch(
            worker, job, threads, do, n, first, last, X, Y, labels, weights, output_weights, order, Y_hat
        )
    return totals[0], totals[1]

class Steps:
    worker, launch_alone = steps.worker, steps.launch_alone
    launch = staticmethod(nested)

fastprop.core.threads.steps = Steps
print(trained(0) == alone)
"""
)


@pytest.mark.slow
def test_inside_another_parallel_region(run_python):
    """There the inner loop runs on one thread, although more were planned."""
    assert run_python(NESTED, timeout=60) == "True\n"


def test_networks_come_and_go():
    """Engines and buffers of deleted networks are freed: no reference cycle keeps them."""
    import gc
    import weakref

    net = Network((20, 40, 5), output="softmax", rng=0)
    X, Y = data(Case("gone", (20, 40, 5), "relu", "softmax", 30))
    net.fit(X, Y, epochs=1, optimizer=Adam())
    net.forward(X)
    seen = weakref.ref(net)
    del net
    gc.collect()
    assert seen() is None
