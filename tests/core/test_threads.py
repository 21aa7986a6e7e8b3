"""Prepared jobs are each done once, by any thread."""

import threading

import numpy as np
import pytest
from networks import SHAPES, data, network

from fastprop.core import threads
from fastprop.kernels.plan import COST, WEIGHT

DIGITS = SHAPES[2]


@pytest.fixture
def jobs():
    """Seven losses of different rows as prepared jobs, and the losses as :meth:`Network.loss` computes them."""
    net, (X, Y) = network(DIGITS), data(DIGITS, 100)
    counts = range(90, 97)
    engines = [net.engines.make(100, train=False) for _ in counts]
    for m, engine in zip(counts, engines, strict=True):
        engine.prepare_measure(X[:m], Y[:m], None, accuracy=False)
    return engines, [net.loss(X[:m], Y[:m]) for m in counts]


def addresses(engines):
    return np.array([engine.address for engine in engines], np.int64)


def losses(engines):
    return [engine._totals[COST] / engine._totals[WEIGHT] for engine in engines]


@pytest.mark.parametrize("count", [1, 2, 5, 30])
def test_each_job_is_done_once(jobs, count):
    """A job that was done twice would have the sums of two runs."""
    engines, expected = jobs
    for _ in range(50):
        for engine in engines:
            engine._totals[[COST, WEIGHT]] = 0
        with threads.doing(addresses(engines), count):
            pass
        assert losses(engines) == expected
    assert threading.active_count() == 1


def test_where_no_thread_can_be_started_the_calling_one_does_all_jobs(jobs, monkeypatch):
    def refuse(self):
        raise RuntimeError("can't start new thread")

    engines, expected = jobs
    monkeypatch.setattr(threading.Thread, "start", refuse)
    with threads.doing(addresses(engines), 3):
        pass
    assert losses(engines) == expected


def test_all_jobs_are_done_when_an_error_leaves_the_block(jobs):
    engines, expected = jobs
    with pytest.raises(ZeroDivisionError), threads.doing(addresses(engines), 3):
        raise ZeroDivisionError
    assert losses(engines) == expected


def test_there_may_be_no_jobs():
    with threads.doing(np.zeros(0, np.int64), 3):
        pass
