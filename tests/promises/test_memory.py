"""Memory: float32 throughout, aligned, and nothing is allocated from one step to the next."""

import gc
import json
import os
import re
import sys
import tracemalloc
import weakref

import numpy as np
import pytest
from marks import slow_but
from networks import CASES, SHAPES, data, names, network
from numba.core import types
from numba.core.registry import cpu_target
from optimizers import OPTIMIZERS, each_optimizer_slowly

import fastprop
from fastprop import Adam, Network, losses
from fastprop.activations import ACTIVATIONS
from fastprop.kernels import elementwise, jit, networks, passes, sparse, steps, tiles
from fastprop.kernels.jit import Routine

ALLOCATORS = (b"NRT_Allocate", b"NRT_MemInfo_alloc_aligned", b"malloc", b"calloc", b"realloc")
LIBM = (b"expf", b"logf", b"tanhf", b"fmaf", b"powf", b"exp", b"log", b"tanh", b"fma")


@pytest.mark.parametrize("case", CASES, ids=names(CASES))
def test_every_array_is_float32_aligned_and_contiguous(case):
    net, (X, Y) = network(case), data(case)
    optimizer = Adam()
    Y_hat = net.forward(X)
    net.backward(Y)
    net.train_step(X, Y, optimizer)
    for flat in (net.parameters, net.gradients, optimizer.moments, net.engines.last.work, net.engines.kept.work):
        assert flat.dtype == np.float32
        assert flat.flags.c_contiguous
        assert flat.ctypes.data % 64 == 0
    shown = [getattr(layer, name) for layer in net.layers for name in ("W", "b", "dW", "db", "Z", "A", "dZ")]
    for a in (Y_hat, net.predict(X), *shown, *net.to_dict().values()):
        assert a.dtype == np.float32
    for a in (Y_hat, net.predict(X)):
        assert a.flags.c_contiguous


@each_optimizer_slowly
def test_a_step_allocates_no_array(name):
    """A hundred steps on a batch of 400 KB: less than 10 KB of Python's and NumPy's memory at any time.

    The least of three counts is taken, as other threads of this process, those of the test runner, allocate too.
    """
    case = SHAPES[3]
    net, (X, Y), optimizer = network(case), data(case), OPTIMIZERS[name].make()

    def allocated(steps):
        before, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        for _ in range(steps):
            net.train_step(X, Y, optimizer)
        return tracemalloc.get_traced_memory()[1] - before

    tracemalloc.start()
    try:
        allocated(300)  # Python's own free lists fill up first
        least = min(allocated(100) for _ in range(3))
    finally:
        tracemalloc.stop()
    assert least < 10_000


def test_an_epoch_allocates_the_order_and_no_more():
    """A fit of 100,000 rows allocates four bytes per row for its order, and nothing that grows with steps or epochs."""
    case = SHAPES[0]
    net, (X, Y) = network(case), data(case, 100_000)
    net.fit(X, Y, epochs=1, batch_size=32)
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        net.fit(X, Y, epochs=3, batch_size=32)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak - before < 4 * len(X) + 50_000


def test_the_fit_of_a_float32_array_does_not_copy_it():
    X = np.zeros((100_000, 64), np.float32)
    net = fastprop.Network((64, 4, 1), rng=0)
    net.fit(X[:200], np.zeros(200), epochs=1)
    tracemalloc.start()
    try:
        net.fit(X, np.zeros((len(X), 1), np.float32), epochs=1)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < X.nbytes / 4


PEAK = """
import gc, json, sys
import numpy as np
import fastprop

def memory(field):
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith(field))

def peak(sizes, m, batch, optimizer):
    gc.collect()
    before = memory("VmRSS:")
    X, Y = np.ones((m, sizes[0]), np.float32), np.ones((m, sizes[-1]), np.float32)
    net = fastprop.Network(sizes, rng=0)
    with open("/proc/self/clear_refs", "w") as peaks:
        peaks.write("5")  # the peak of the process is what it has now: making weights takes them in float64
    net.fit(X, Y, epochs=2, batch_size=batch, optimizer=optimizer)
    return memory("VmHWM:") - before, net.parameters.nbytes

fastprop.set_num_threads(int(sys.argv[1]))
for batch in (128, 2048):  # whole chunks and parts: all code that will be needed is loaded now
    for optimizer in (fastprop.SGD(1e-6), fastprop.Adam()):
        peak((64, 64, 10), 3000, batch, optimizer)
cases = [(*case, fastprop.SGD(1e-6) if name == "sgd" else fastprop.Adam()) for *case, name in json.loads(sys.argv[2])]
print(json.dumps([peak(*case) for case in cases]))
"""
WIDE = (512, 2048, 2048, 10)  # 21 MB of parameters
OF_FIT = {  # sizes, rows, batch, optimizer, samples in panels, arrays of the size of the parameters
    "parameters": (WIDE, 256, 128, "adam", 128, 4),
    "parameters without gradients": (WIDE, 256, 128, "sgd", 128, 1),
    "data": ((64, 32, 1), 300_000, 128, "adam", 128, 4),
    "batch in 16 parts": ((64, 256, 256, 10), 10_000, 4096, "adam", 256, 4 + 16),  # 256 samples for each thread
}


@pytest.mark.slow
@pytest.mark.skipif(not os.access("/proc/self/clear_refs", os.W_OK), reason="Linux alone tells and resets the peak")
@pytest.mark.parametrize("threads", [1, 2])
def test_the_peak_of_fit_is_data_parameters_and_the_panels_of_a_batch(run_python, threads):
    """What the process holds at most, beyond what it held before the data and the network were there: the data; four
    bytes a row of its order; parameters, gradients and Adam's two moments (plain SGD writes no gradients, and memory
    that nothing writes to is not held); and of every layer A, its transpose and dZ, for one batch. Of a batch of
    thousands there is a chunk at a time for each thread, and a gradient for each part: together less than its panels.

    Besides a megabyte: for Python's own objects, and because the kernel counts the pages of each thread in lots.
    """
    cases = json.dumps([case[:4] for case in OF_FIT.values()])
    measured = json.loads(run_python(PEAK, threads, cases, MALLOC_MMAP_THRESHOLD_="65536"))  # what is freed is gone
    beyond = {}
    for (name, case), (peak, parameters) in zip(OF_FIT.items(), measured, strict=True):
        sizes, m, batch, _, samples, times = case
        data, order = 4 * m * (sizes[0] + sizes[-1]), 4 * m
        panels = 3 * 4 * sum(-(-n // 16) * 16 for n in sizes) * samples * (1 if samples == batch else threads)
        beyond[name] = peak - data - order - panels - times * parameters
    assert {name: excess for name, excess in beyond.items() if excess > 1_000_000} == {}


LONG = """
import gc, json
import numpy as np
from fastprop import Adam, Network

def peak():
    gc.collect()
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM:"))

rng = np.random.default_rng(0)
X, Y = rng.random((20_000, 32), np.float32), rng.integers(10, size=20_000)
net, optimizer = Network((32, 64, 10), output="softmax", rng=0), Adam()
after = lambda epoch, history: net.predict(X[:1000]) is None
fit = lambda epochs: net.fit(X, Y, epochs=epochs, optimizer=optimizer, validation=0.1, callbacks=[after],
                             early_stopping=1000, progress=False)

def use(epochs):
    fit(epochs)
    for m in range(1, 200, 7):  # batches of many sizes, as a stream has them
        net.partial_fit(X[:m], Y[:m])
        net.forward(X[:m])
    return peak()

use(1)  # loads all code, and takes what a second fit does
print(json.dumps([use(9), use(90)]))
"""


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Linux alone tells the peak of a process")
def test_a_hundred_epochs_take_no_more_memory_than_ten(run_python):
    """With a held-out fraction, a callback that predicts, early stopping, and batches of many sizes between: the peak
    of the process grows by less than 1%."""
    first, last = json.loads(run_python(LONG))
    assert last < 1.01 * first


FROM_A_FILE = """
import resource, sys
import numpy as np
import fastprop
from fastprop import SGD, Network

def size():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmSize:"))

def use(wide, narrow, labelled, X, Y, labels):
    for validation in (None, (X[:1000], Y[:1000])):
        wide.fit(X, Y, epochs=1, batch_size=128, optimizer=SGD(1e-3), validation=validation)
    wide.fit(X, Y, epochs=1, batch_size=len(X), shuffle=False)
    costs = [wide.train_step(X, Y, SGD(1e-3)), wide.train_step(X[100:300], Y[100:300], SGD(1e-3)), wide.loss(X, Y)]
    labelled.fit(X, labels, epochs=1)
    assert len(narrow.predict(X)) == len(X)
    assert np.isfinite([*costs, labelled.loss(X, labels)]).all()

X, Y = (np.memmap(name, np.float32, "r").reshape(-1, 16) for name in sys.argv[1:3])
labels = np.memmap(sys.argv[3], np.int64, "r")
nets = Network((16, 4, 16), rng=0), Network((16, 4, 1), rng=0), Network((16, 4, 3), output="softmax", rng=0)
use(*nets, X[:5000], Y[:5000], labels[:5000])  # all code is loaded, and the threads have started
cap = size() + 12_000_000
resource.setrlimit(resource.RLIMIT_AS, (cap, cap))
use(*nets, X, Y, labels)
try:
    nets[1].predict(X[:, ::-1])
except MemoryError:
    print("a copy is seen")
"""


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Linux alone caps the address space of a process")
def test_a_file_is_trained_on_without_being_loaded(run_python, tmp_path):
    """Files of 77 MB, and 10 of labels, mapped by ``np.memmap``, in a process that may take 12 MB beyond them.

    A fit (5 MB for its order), a step, a loss and a prediction (5 MB) of all rows leave them where they are: in pages
    that the system reads when they are looked at, and may drop again. That the cap sees a copy is shown by columns in
    another order; it is larger than the 64 MB that malloc reserves for each thread.
    """
    for name, row in (("X", 64), ("Y", 64), ("labels", 8)):
        with open(tmp_path / name, "wb") as file:
            file.truncate(1_200_000 * row)  # zeros that take no room on the disk
    assert "a copy is seen" in run_python(FROM_A_FILE, *(tmp_path / name for name in ("X", "Y", "labels")))


def symbols(routine, dtype):
    """The names in the object file of a compiled routine, which Numba's cache holds (it cannot show cached code)."""
    assert routine.address(dtype)
    compiled = routine._compiled[np.dtype(dtype)]
    cache = compiled._cache
    if cache.folder is None:
        pytest.skip("no folder to cache in")
    with jit._lightly_optimised():  # as it was compiled: the key has LLVM's level in it
        key = cache._index_key(compiled._sig, cpu_target.target_context.codegen())
    (_, kind, (code, _)), *_ = cache._cache_file.load(key)
    assert kind == "object"
    return set(re.findall(rb"(?<=\0)_?([A-Za-z]\w+)(?=\0)", code))


ROUTINES = [
    steps.worker, steps.panels_of_chunk, steps.columns_of_chunk, steps.part_of_step, steps.sum_of_parts,
    steps.pass_of_sample, steps.columns_of_sample,
    steps.squares_of_blocks, steps.late_update, steps.start_of_update, steps.update_of_parameters,
    steps.inputs_of_chunk, passes.gather_reals, passes.gather_uint8,
    sparse.sparse_forward, sparse.sparse_dW,
    networks.evaluate, networks.train, networks.back,
    *{variant.make().update: None for variant in OPTIMIZERS.values()},
    elementwise.sigmoid_activation, elementwise.tanh_activation, elementwise.softmax_activation,
    elementwise.identity_mse, elementwise.sigmoid_binary_crossentropy, elementwise.softmax_cross_entropy,
    *ACTIVATIONS["gelu"].generated, losses.loss_routine(ACTIVATIONS["softmax"], losses.LOSSES["poisson"]),
    losses.loss_routine(ACTIVATIONS["softmax"], losses.INNER_PRODUCT),
    losses.loss_routine(ACTIVATIONS["identity"], losses.quantile([0.1, 0.5, 0.9])),
    *(tiles.tiles_of(group, rows) for group, rows in tiles.groups()),
]  # fmt: skip


@pytest.mark.parametrize("dtype", slow_but(["float32"], ["float32", "float64"]))
@pytest.mark.parametrize("routine", ROUTINES, ids=[routine.__name__ for routine in ROUTINES])
def test_compiled_code_calls_no_allocator_and_no_libm(routine, dtype):
    """Nothing is allocated between the first and the last step of an epoch; no vector is split for calls of expf."""
    assert not symbols(routine, dtype) & {*ALLOCATORS, *LIBM}


def test_an_allocation_and_an_expf_would_be_found():
    """The same search in a routine that makes an array and takes its exponential finds both."""

    def allocates(n):
        return np.exp(np.ones(n, np.float32))[0]

    found = symbols(Routine(allocates, lambda element: element(types.int64)), "float32")
    assert found & set(ALLOCATORS)
    assert found & set(LIBM)


def test_a_network_that_is_let_go_frees_its_memory_at_once():
    """It does not wait for the collector of cycles, even after training and after its layers were read."""
    gc.disable()
    try:
        net, optimizer = Network((5, 4, 3), rng=0), Adam()
        net.fit(np.ones((40, 5)), np.ones((40, 3)), epochs=2, optimizer=optimizer, progress=False)
        net.forward(np.ones((4, 5)))
        net.backward(np.ones((4, 3)))
        kept = [weakref.ref(a) for a in (net, net.parameters, net.engines.last.work, net.engines.kept.work)]
        assert net.layers[0].W.shape == (4, 5)
        del net
        assert [ref() for ref in kept] == [None] * 4
    finally:
        gc.enable()
