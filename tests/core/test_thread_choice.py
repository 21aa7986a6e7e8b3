"""The choice of the number of threads by the time that calls take."""

import numpy as np
import pytest
from networks import bits

from fastprop import Network
from fastprop.core import thread_choice, threads
from fastprop.core.thread_choice import Choice


def called(choice, calls, seconds, pause=0.0, start=0.0):
    """Return the number of threads of each call, which takes seconds(call, threads) and is followed by a pause."""
    taken, now = [], start
    for call in range(calls):
        taken.append(choice.next(2, 32, now))
        choice.learn(32, seconds(call, taken[-1]))
        now += seconds(call, taken[-1]) + pause
    return taken, now


def test_calls_that_wait_for_a_busy_core_run_on_one_thread():
    """Single calls, such as predict: a slow first call is ignored, and a trial of short calls takes a millisecond."""
    choice = Choice()
    busy, now = called(choice, 3000, lambda call, n: 0.5 if call == 0 else 150e-6 if n == 1 else 3.5e-3)
    assert set(busy[:5]) == {2}
    assert set(busy[80:300]) == {1}
    assert busy[300:].count(2) < 12  # tried again, ever more seldom
    accident = dict.fromkeys(range(4999, 30000, 5000), 0.005)
    idle, now = called(choice, 30000, lambda call, n: accident.get(call, 150e-6 if n == 1 else 80e-6), start=now)
    assert 1 in idle[-20000:]
    assert idle[-20000:].count(1) < 200
    busy, _ = called(choice, 100, lambda call, n: 150e-6 if n == 1 else 3.5e-3, start=now)  # the core is taken again
    assert set(busy[-85:]) == {1}


def test_calls_that_come_now_and_then():
    """The time between calls counts as well, or a wrong choice would last: five minutes hold ten seconds of work."""
    waking, _ = called(Choice(), 2000, lambda call, n: 5e-3 if n == 2 else 8e-3, pause=0.05)
    assert waking.count(2) > 1800
    busy, _ = called(Choice(), 2000, lambda call, n: 5e-3 if n == 1 else 8e-3, pause=0.05)
    assert busy.count(1) > 1800


def test_predict_finds_out_how_many_threads_are_the_fastest(monkeypatch):
    """The bits are the same for any number of threads."""
    if threads.get_num_threads() < 2:
        pytest.skip("one core has nothing to choose from")
    monkeypatch.setattr(thread_choice, "TRIAL_SECONDS", 0.0)
    monkeypatch.setattr(thread_choice, "TRIALS_APART", 0.0)
    net, used = Network((784, 256, 10), rng=0), []
    launch = threads.launch

    def noted(worker, job, n, *call):
        used.append(n)
        return launch(worker, job, n, *call)

    monkeypatch.setattr(threads, "launch", noted)
    X = np.random.default_rng(0).random((512, 784), np.float32)
    expected = bits(net.predict(X))
    for _ in range(50):
        assert bits(net.predict(X)) == expected
    assert {1, 2} <= set(used)
