"""X of dtype uint8, read and scaled by the gather: the bits of the same rows in float32, a quarter of the memory."""

import tracemalloc

import numpy as np
import pytest
from networks import bits

from fastprop import SGD, Adam, Network
from fastprop.core import arrays

SCALE = np.float32(1 / 255)


def images(m, n, seed=0):
    """Bytes of all values, and labels."""
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (m, n), dtype=np.uint8), rng.integers(0, 3, m)


def network(n, **options):
    return Network((n, 17, 3), output="softmax", rng=0, **options)


@pytest.mark.parametrize("n", [1, 3, 16, 17, 33, 64, 100])
@pytest.mark.parametrize("batch", [1, 7, 16, 300])
def test_bytes_learn_what_their_floats_learn(n, batch):
    """Bit for bit: shuffled, weighted, in ragged panels, in parts, and one sample at a time."""
    X, Y = images(611, n)
    weights = np.random.default_rng(1).uniform(0, 2, len(X))
    results = []
    for rows, scale in ((X, SCALE), (X * SCALE, 1.0)):
        net, optimizer = network(n, scale=scale), Adam(0.01)
        loss = net.fit(rows, Y, epochs=2, batch_size=batch, optimizer=optimizer, sample_weight=weights, rng=3).loss
        J = net.train_step(rows[:5], Y[:5], optimizer)
        net.forward(rows[:20])
        results.append((loss, J, net.backward(Y[:20]), bits(net.predict(rows), net.gradients), net.loss(rows, Y)))
    assert results[0] == results[1]


def test_without_a_scale_bytes_are_their_values():
    X, Y = images(40, 9)
    net = network(9)
    assert bits(net.predict(X)) == bits(net.predict(X.astype(np.float32)))
    assert net.loss(X, Y) == net.loss(X.astype(int), Y)


def test_a_network_takes_both_by_turns():
    """One engine reads floats and bytes as they come."""
    X, Y = images(40, 9)
    net, other, one, two = network(9, scale=SCALE), network(9, scale=SCALE), SGD(0.1), SGD(0.1)
    for rows in (X, X.astype(np.float32), X.astype(np.int64), X):
        net.train_step(rows, Y, one)
        other.train_step(X, Y, two)
    assert bits(net.parameters) == bits(other.parameters)


def test_a_scale_of_floats():
    X, Y = np.random.default_rng(0).normal(0, 50, (30, 9)), images(30, 9)[1]
    net = network(9, scale=0.02)
    assert net.gradient_check(X, Y) < 1e-3
    np.testing.assert_allclose(net.predict(X), network(9).predict(0.02 * X), rtol=1e-5)


@pytest.mark.slow
def test_the_last_row_ends_where_the_memory_does(run_python):
    """A row of 17 bytes at the end of a page before one that must not be read."""
    script = """
import ctypes, mmap
import numpy as np
from fastprop import Network
page = mmap.PAGESIZE
memory = mmap.mmap(-1, 2 * page)
start = ctypes.addressof(ctypes.c_char.from_buffer(memory))
assert ctypes.CDLL(None).mprotect(ctypes.c_void_p(start + page), page, 0) == 0
X = np.frombuffer((ctypes.c_uint8 * (17 * 33)).from_address(start + page - 17 * 33), np.uint8).reshape(33, 17)
net = Network((17, 5, 2), rng=0)
print(net.predict(X).shape, net.predict(X[-1:]).shape)
"""
    pytest.importorskip("resource", reason="mprotect is asked for as on Unix")
    assert run_python(script) == "(33, 2) (1, 2)\n"


def test_bytes_stay_where_they_are():
    """Argument validation passes uint8 on, and a fit makes no floats of it."""
    X, Y = images(20_000, 100)
    assert arrays.features(X, 100, np.dtype(np.float32)) is X
    assert arrays.features(np.asfortranarray(X), 100, np.dtype(np.float32)).dtype == np.uint8
    net = network(100, scale=SCALE)
    net.fit(X[:300], Y[:300], epochs=1)
    tracemalloc.start()
    net.fit(X, Y, epochs=1, progress=False)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < X.nbytes, "a copy in float32 would be four times as much"


def test_a_scale_of_nothing():
    with pytest.raises(ValueError, match=r"scale is 0; it must be finite, at least 1e-37"):
        network(9, scale=0)
    assert "scale=0.5" in repr(network(9, scale=0.5))
