"""Children by fork: whatever the parent's threads were doing, a child computes the same bits and hangs on no lock."""

import os

import pytest
from threading_layers import LAYERS, PARALLEL

ALONE_IN_THE_CHILD = {"omp": 1, "workqueue": 0, "tbb": 1}  # warnings
FORKING = (
    PARALLEL
    + """
import warnings
from fastprop.kernels import steps
launched = []
launch = steps.launch

class Steps:
    worker, launch_alone = steps.worker, steps.launch_alone
    launch = staticmethod(lambda *call: launched.append(call) or launch(*call))

fastprop.core.threads.steps = Steps
net = Network((20, 40, 5), output="softmax", rng=0)
net.fit(X, Y, epochs=2, optimizer=Adam())
expected, again = net.predict(X).tobytes(), trained(1)

def in_child():
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    launched.clear()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        right = net.predict(X).tobytes() == expected and trained(1) == again
    said = [str(w.message) for w in caught if "forked" in str(w.message)]
    alone = int(sys.argv[1])
    os._exit(0 if right and len(said) == alone and bool(launched) != bool(alone) else 3)

print([in_child() for _ in range(2)])
assert net.predict(X).tobytes() == expected and trained(1) == again  # the parent goes on
"""
)


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this platform")
@LAYERS
def test_a_child_of_a_process_that_trained_in_parallel(run_python, layer):
    """If Numba's threads stay in the parent, the child computes on one thread, warns once, and hangs on no lock; the
    workqueue layer starts new threads."""
    alone = ALONE_IN_THE_CHILD[layer]
    assert run_python(FORKING, alone, timeout=60, NUMBA_THREADING_LAYER=layer) == "[0, 0]\n"


FORKING_MANY = (
    PARALLEL
    + """
import warnings

def fit_many():
    nets = [Network((20, 40, 5), output="softmax", rng=i) for i in range(7)]
    fastprop.fit_many(nets, X, Y, epochs=3, batch_size=100, optimizer=Adam(), rng=0)
    return [net.parameters.tobytes() for net in nets]

expected = fit_many()

def in_child():
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        os._exit(0 if fit_many() == expected else 3)

print([in_child() for _ in range(2)])
"""
)


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this platform")
@LAYERS
def test_many_networks_in_a_child(run_python, layer):
    """They need none of the threads that stay in the parent: no layer hangs, and none warns."""
    assert run_python(FORKING_MANY, timeout=60, NUMBA_THREADING_LAYER=layer) == "[0, 0]\n"


FORKING_IN_THE_MIDDLE = (
    PARALLEL
    + """
import threading
trained(0)
stop = threading.Event()

def forever():
    while not stop.is_set():
        trained(0)

worker = threading.Thread(target=forever)
worker.start()
codes = []
for _ in range(10):
    child = os.fork()
    if not child:
        Network((20, 40, 5), output="softmax", rng=0).predict(X)
        os._exit(0)
    codes.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
stop.set()
worker.join()
print(codes)
"""
)


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this platform")
@LAYERS
def test_a_child_forked_while_another_thread_trains(run_python, layer):
    """The lock of the parallel region may be held at the fork, by a thread that the child does not have. (TBB says of
    its own accord that it could not join its threads.)"""
    said = run_python(FORKING_IN_THE_MIDDLE, timeout=60, NUMBA_THREADING_LAYER=layer)
    assert said.splitlines()[-1] == str([0] * 10)


FORKING_IN_A_FIT = (
    PARALLEL
    + """
import signal, threading
X, Y = np.tile(X, (1000, 1)), np.tile(Y, 1000)  # slices of 70 ms: the fit holds its engine at nearly every fork
net, optimizer = Network((20, 40, 5), output="softmax", rng=0), Adam()
training, stop = threading.Event(), threading.Event()

def look(steps, history):
    training.set()
    return stop.is_set()

fit = threading.Thread(target=lambda: net.fit(X, Y, epochs=10**6, batch_size=100, optimizer=optimizer,
                                              callbacks=[(1000, look)]))
fit.start()
training.wait()
codes = []
for _ in range(5):
    child = os.fork()
    if not child:
        signal.alarm(30)  # ends a child that hangs
        expected = net.loss(X[:100], Y[:100])
        J = net.train_step(X[:100], Y[:100], optimizer)
        net.fit(X[:1000], Y[:1000], epochs=1, optimizer=Adam())
        os._exit(0 if np.isclose(J, expected) and np.isfinite(net.parameters).all() else 3)
    codes.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
stop.set()
fit.join()
print(codes)
"""
)


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this platform")
@LAYERS
def test_a_child_trains_the_network_that_is_in_a_fit(run_python, layer):
    """The engine is in use by a thread that the child does not have: the child does not hang, and its step is right."""
    said = run_python(FORKING_IN_A_FIT, timeout=240, NUMBA_THREADING_LAYER=layer)
    assert said.splitlines()[-1] == str([0] * 5)


FORKING_IN_THE_FIRST_CALLS = (
    PARALLEL
    + """
import signal, threading, time
sys.unraisablehook = lambda what: os._exit(4)  # what a hook of fork raises
Network((20, 40, 5))  # NumPy imports parts of itself when they are first used, under locks of Python
called = threading.Thread(target=trained, args=(0,))
called.start()
children = []
while called.is_alive():
    child = os.fork()
    if not child:
        signal.alarm(60)  # ends a child that hangs
        trained(0)
        os._exit(0)
    children.append(child)
    time.sleep(0.05)
called.join()
codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
print(set(codes))
"""
)


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this platform")
@LAYERS
def test_a_child_forked_in_the_first_calls(run_python, layer):
    """Another thread loads compiled code, or starts Numba's threads, and holds locks."""
    run_python(PARALLEL + "trained(0)", NUMBA_THREADING_LAYER=layer)  # fills the cache
    said = run_python(FORKING_IN_THE_FIRST_CALLS, NUMBA_THREADING_LAYER=layer)
    assert said.splitlines()[-1] == "{0}"


COMPILING = """
import os, signal, threading
from numba.core.compiler_lock import global_compiler_lock
from fastprop.kernels import jit

def first(x):
    for i in range(10):
        x = x * i + 1 if x % 3 else x - i
    return x

def second(x):
    return x + 1

compiled = threading.Thread(target=lambda: jit.Routine(first, lambda _: "int64(int64)").address("float32"))
compiled.start()
while compiled.is_alive() and global_compiler_lock._lock.acquire(blocking=False):
    global_compiler_lock._lock.release()
child = os.fork()
if not child:
    signal.alarm(60)  # ends a child that hangs
    os._exit(0 if jit.Routine(second, lambda _: "int64(int64)").address("float32") else 3)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
compiled.join()
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this platform")
def test_a_child_forked_while_another_thread_compiles(run_python):
    """The child can compile: no lock of fastprop, Numba or LLVM stays locked."""
    assert run_python(COMPILING) == "0\n"


NOT_BY_FASTPROP = (
    PARALLEL
    + """
import numba, warnings

@numba.njit(parallel=True)
def of_the_user(n):
    total = 0
    for i in numba.prange(n):
        total += i
    return total

of_the_user(1000)
child = os.fork()
if not child:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        trained(0)
    os._exit(len([w for w in caught if "forked" in str(w.message)]))
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
)


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this platform")
@LAYERS
def test_a_child_of_a_process_that_computed_in_parallel_without_fastprop(run_python, layer):
    """Numba's threads stay in the parent as well; GNU OpenMP would end a child that uses them."""
    assert run_python(NOT_BY_FASTPROP, timeout=60, NUMBA_THREADING_LAYER=layer) == f"{ALONE_IN_THE_CHILD[layer]}\n"


POOLS = (
    PARALLEL
    + """
import multiprocessing, warnings
warnings.simplefilter("ignore", RuntimeWarning)  # the child of an OpenMP process computes alone, and says so
expected = [trained(seed) for seed in range(4)]
with multiprocessing.get_context("fork").Pool(2) as pool:
    print(pool.map(trained, range(4)) == expected)
"""
)


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this platform")
@LAYERS
def test_the_pool_of_multiprocessing(run_python, layer):
    """By fork, as on Linux up to Python 3.13, of a process that has trained."""
    assert run_python(POOLS, timeout=60, NUMBA_THREADING_LAYER=layer) == "True\n"
