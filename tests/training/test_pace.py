"""The pace of a fit: how long its slices last, and on how many threads each runs."""

import pytest
from networks import Case, data, network

from fastprop.core.thread_choice import Choice
from fastprop.training import fit as fits
from fastprop.training import pace as paces
from fastprop.training.pace import Pace


def paced(speed, most, slices, sizes=(64, 64, 64)):
    """Return the number of threads and the seconds of each slice, `speed(threads)` being in steps per second."""
    pace, chosen, now = Pace(sizes, 64, Choice(), 4), [], 0.0
    for _ in range(slices):
        steps, threads = pace.next(most, now)
        chosen.append((threads, steps / speed(threads)))
        pace.learn(steps, threads, chosen[-1][1], chosen[-1][1])
        now += chosen[-1][1]
    return chosen


def test_on_idle_cores_all_threads_are_used_but_for_short_trials():
    chosen = paced(lambda threads: 1e4 * threads, 4, 200)
    assert chosen[0][0] == chosen[-1][0] == 4
    seconds = sum(taken for _, taken in chosen)
    assert sum(taken for threads, taken in chosen if threads != 4) < 0.03 * seconds


def test_where_other_processes_have_the_cores_fewer_threads_are_used():
    """They are found within one trial for each halving, and left again when the cores are idle."""
    assert paced(lambda threads: 1e4 / threads, 4, 100)[-1][0] == 1
    busy = iter([True] * 50 + [False] * 100)
    chosen = paced(lambda threads: 1e4 / threads if next(busy, False) else 1e4 * threads, 2, 150)
    assert 1 in [threads for threads, _ in chosen[:40]]
    assert [threads for threads, _ in chosen[-20:]].count(2) > 15


def test_short_fits_learn_from_those_before(monkeypatch):
    """Fits of 20 ms each are too short for a trial; on busy cores they learn together."""
    case, now, used = Case("short", (3, 20, 2), "relu", "identity", 16), 0.0, []
    choice = network(case).engines.training(16).fit_choices[16]
    for _ in range(60):
        pace = Pace((64, 64, 64), 64, choice, 4)
        for _ in range(4):
            steps, threads = pace.next(2, now)
            steps = min(steps, 50 // threads)
            taken = steps * 1e-4 * threads
            pace.learn(steps, threads, taken, taken)
            now += taken
        used.append(threads)
    assert used[0] == 2
    assert used[-20:].count(1) > 15, used
    net, (X, Y), choices = network(case), data(case, 50), []
    monkeypatch.setattr(fits, "Pace", lambda *arguments: choices.append(arguments[2]) or Pace(*arguments))
    for batch in (16, 16, 8):
        net.fit(X, Y, epochs=1, batch_size=batch, progress=False)
    assert choices[0] is choices[1]
    assert choices[2] is not choices[1]


def test_few_long_steps_are_not_spent_on_trials():
    """A fit of three steps of half a second, or of thirty, stays on the threads that the plan chose."""
    large = (4096, 4096, 4096)
    assert {threads for threads, _ in paced(lambda threads: 2, 2, 30, large)} == {2}
    assert {threads for threads, _ in paced(lambda threads: 2, 2, 100, large)} == {1, 2}


def test_one_thread_is_never_tried_beside():
    assert {threads for threads, _ in paced(lambda threads: 1e4, 1, 50)} == {1}


def test_a_slice_lasts_as_long_as_python_may_wait():
    assert paced(lambda threads: 1e5, 1, 20)[-1][1] == pytest.approx(paces.SLICE_SECONDS, rel=0.01)
