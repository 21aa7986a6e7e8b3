"""Software prefetch: which rows are prefetched before they are read, and which lines of them."""

import numpy as np
import pytest
from numba import njit

from fastprop import SGD, Network, set_num_threads
from fastprop.kernels import steps
from fastprop.kernels.plan import job_at
from fastprop.kernels.prefetch import LINE, LINES_OF_ROW, PREFETCH, lines_of, prefetch_next, reach, start_prefetch


@njit
def start_after_chunk(record, job, step, chunk, item, count):
    steps.start_prefetch_after_chunk(record, job_at(job), step, chunk, item, count)


@njit
def start(record, job, first, last):
    start_prefetch(record, job_at(job), first, last)


@njit
def next_rows(record):
    prefetch_next(record)


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
def test_the_items_of_a_phase_prefetch_all_rows_of_the_next_step(trained, count, step, start, end):
    record, rows = np.zeros(1, PREFETCH), []
    for item in range(count):
        start_after_chunk(record.ctypes.data, trained.address, step, 0, item, count)
        calls = 0
        while record["next"][0] < record["end"][0]:
            before = int(record["next"][0])
            next_rows(record.ctypes.data)
            rows += range(before, int(record["next"][0]))
            calls += 1
            assert calls <= 32
    assert rows == list(range(start, end))


@pytest.mark.parametrize("n", [1, 3, 8, 10, 16, 17, 33, 64, 100, 113, 116, 150, 784])
@pytest.mark.parametrize("size", [4, 8])
def test_every_line_of_a_row_is_prefetched(n, size):
    """Wherever in a line the row begins: all its lines, or the first `LINES_OF_ROW` of them, and no other line."""
    span = reach.py_func(n, size)
    assert span >= size * n
    for offset in range(0, LINE, size):
        prefetched = {(offset + min(line * LINE, span - 1)) // LINE for line in range(lines_of.py_func(span))}
        touched = range(offset // LINE, (offset + span - 1) // LINE + 1)
        assert prefetched == set(touched[:LINES_OF_ROW]), offset


def test_without_rows_nothing_is_prefetched():
    """An address of 0 is not read, and a record of no rows stays as it is."""
    next_rows(0)
    record = np.zeros(1, PREFETCH)
    next_rows(record.ctypes.data)
    assert record == np.zeros(1, PREFETCH)


def test_uint8_and_labels_have_rows_of_another_length():
    set_num_threads(1)
    rng = np.random.default_rng(0)
    net = Network((20, 5, 3), output="softmax", rng=0)
    X, Y = rng.integers(0, 256, (64, 20)).astype(np.uint8), rng.integers(0, 3, 64)
    net.fit(X, Y, epochs=1, batch_size=32)
    record = np.zeros(1, PREFETCH)
    start(record.ctypes.data, net.engines.last.address, 0, 1)
    assert (record["X_stride"][0], record["X_reach"][0], record["Y_stride"][0]) == (20, 32, 8)
