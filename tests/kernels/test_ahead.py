"""What is asked of the memory before it is read: which rows, and which lines of them."""

import numpy as np
import pytest
from numba import njit

from fastprop import SGD, Network, set_num_threads
from fastprop.kernels import steps
from fastprop.kernels.ahead import AHEAD, LINE, LINES_OF_ROW, ask, lines_of, look_ahead, reach
from fastprop.kernels.plan import job_at


@njit
def rows_after(ahead, job, step, chunk, item, count):
    steps.rows_after(ahead, job_at(job, 0), step, chunk, item, count)


@njit
def ask_on(ahead):
    ask(ahead)


@pytest.fixture
def trained():
    """An engine after a fit of 100 rows in batches of 32, on one thread."""
    set_num_threads(1)
    rng = np.random.default_rng(0)
    net = Network((5, 17, 3), rng=0)
    net.fit(rng.standard_normal((100, 5)), rng.standard_normal((100, 3)), epochs=1, batch_size=32, optimizer=SGD(0.1))
    return net.engines.last


@pytest.mark.parametrize("count", [1, 2, 3, 7])
@pytest.mark.parametrize(("step", "start", "end"), [(0, 32, 64), (1, 64, 96), (2, 96, 100), (3, 100, 100)])
def test_the_items_of_a_phase_ask_for_all_rows_of_the_next_step(trained, count, step, start, end):
    ahead, rows = np.zeros(1, AHEAD), []
    for item in range(count):
        rows_after(ahead.ctypes.data, trained.address, step, 0, item, count)
        calls = 0
        while ahead["next"][0] < ahead["end"][0]:
            before = int(ahead["next"][0])
            ask_on(ahead.ctypes.data)
            rows += range(before, int(ahead["next"][0]))
            calls += 1
            assert calls <= 32
    assert rows == list(range(start, end))


@pytest.mark.parametrize("n", [1, 3, 8, 10, 16, 17, 33, 64, 100])
@pytest.mark.parametrize("offset", range(0, LINE, 4))
def test_every_line_that_a_row_stands_on_is_asked_for(n, offset):
    """Beginning anywhere in a line: all, or as many as are asked for of one row at most."""
    span = reach.py_func(n)
    assert span >= 4 * n
    last = span if n > 1 else 4
    asked = {(offset + min(line * LINE, span - 1)) // LINE for line in range(lines_of.py_func(span))}
    touched = set(range(offset // LINE, (offset + last - 1) // LINE + 1))
    assert touched <= asked or len(asked) == LINES_OF_ROW


def test_nothing_is_asked_for_without_an_address():
    ask_on(0)


def test_bytes_and_labels_have_rows_of_their_own_length():
    set_num_threads(1)
    rng = np.random.default_rng(0)
    net = Network((20, 5, 3), output="softmax", rng=0)
    X, Y = rng.integers(0, 256, (64, 20)).astype(np.uint8), rng.integers(0, 3, 64)
    net.fit(X, Y, epochs=1, batch_size=32)
    ahead = np.zeros(1, AHEAD)

    @njit
    def look(ahead, job):
        look_ahead(ahead, job_at(job, 0), 0, 1)

    look(ahead.ctypes.data, net.engines.last.address)
    assert (ahead["X_row"][0], ahead["X_reach"][0], ahead["Y_row"][0]) == (20, 32, 8)
