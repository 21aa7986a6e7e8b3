"""How many threads, and the one door through which parallel code is entered."""

import math
import os
import threading
import warnings
from contextlib import suppress

import numba

from .inputs import whole
from .kernels import steps

SURVIVE_FORK = ("workqueue",)  # layers of Numba that start their threads anew in a forked child
TRIAL = 1e-3  # seconds, at least, of a trial of another number of threads: many short calls, or one that is longer
TRIALS_APART = 50  # times what a trial takes pass until the next, and twice as long each time that it changes nothing,
TRIAL_SECONDS = 1.0  # up to so long, where that is more;
WORK_APART = 10  # and, where the work has pauses, so many times what a trial takes are spent on work
WAKING = 0.02  # seconds: a first call that is shorter does not count, as Linux may take 10 ms to part woken threads
GAIN = 1.1  # what it must be faster by
WORSE = 1.5  # times as long as before is worth a trial

_chosen: int | None = None
_available: int | None = None
_worker = 0
_parallel = threading.Lock()
_serial = False  # in a child of fork, without the threads of its parent
_said = False


def available() -> int:
    """Cores that this process may use, as far as Numba's pool reaches; asked once, not at every call."""
    global _available
    if _available is None:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        _available = min(cores, numba.config.NUMBA_NUM_THREADS)
    return _available


def get_num_threads() -> int:
    """The most threads that a call may use.

    Returns
    -------
    int
        What :func:`set_num_threads` was given, or the number of cores. A call uses fewer where its work is too
        little to share; the result has the same bits whatever the number.
    """
    return available() if _chosen is None else _chosen


def set_num_threads(n: int | None) -> None:
    """Set the most threads that a call may use.

    Parameters
    ----------
    n : int or None
        At least 1; None for the number of cores.

    Raises
    ------
    ValueError, TypeError
        If n is not a whole number from 1 to 1024.
    """
    global _chosen
    _chosen = None if n is None else whole("n", n, least=1, most=1024)


def _load() -> int:
    """The address of the worker, which is compiled or taken from the cache now."""
    global _worker
    _worker = steps.worker.address
    return _worker


def run(job: int, threads: int, *call: int) -> tuple[float, float]:
    """Do the job at an address on up to `threads` threads; `call` is the rest of what :func:`steps.launch` takes.

    One parallel region at a time: Numba's workqueue layer aborts the process when two Python threads enter one. Who
    finds it taken does the work alone, with the same result; so does a forked child, whose pool stayed behind.
    """
    worker = _worker or _load()
    if threads > 1 and _serial:
        _say_serial()
    elif threads > 1 and _parallel.acquire(blocking=False):
        try:
            return steps.launch(worker, job, threads, *call)
        finally:
            _parallel.release()
    return steps.launch_alone(worker, job, threads, *call)


class Choice:
    """On how many threads to do work that comes again and again.

    The plan's number of threads is the best on idle cores. Where others compute too, a thread that has to wait for its
    core keeps all waiting: with a second process on two cores, 17-64-64-6 trained at half the speed of one thread, and
    a prediction took 3.5 ms instead of 0.15. So half or twice as many threads are tried: soon after the start and after
    each change, now and then, and when the work takes longer than before. The result has the same bits.

    Attributes
    ----------
    threads : int
        The number that was the fastest of those that were tried.
    """

    def __init__(self) -> None:
        self.most = self.threads = 0

    def _begin(self, most: int, now: float) -> None:
        self.most = self.threads = self._now = self._awake = most
        self._trials = self._tried = 0  # how many; and the threads of the one that is still to be compared, or 0
        self._started = self._last = now  # when the work began that is done now; and when the last trial was over
        self._since = self._apart = 0.0  # seconds of work since that, and of time that must pass until the next
        self._usual, self._slow = math.inf, 0  # seconds per unit since then, and how often in a row it took longer
        self._per_unit: dict[int, float] = {}  # seconds, by threads
        self._seconds = self._units = 0.0  # of work on `_now` threads that is not yet in `_per_unit`

    def next(self, most: int, units: float, now: float) -> int:
        """How many threads to take now, at so many seconds, of at most `most`, for no less than so much work at once.

        It is a trial where the answer is not `threads`.
        """
        if most != self.most:
            self._begin(most, now)
        trial = max(TRIAL, units * self._per_unit.get(self.threads, math.inf))
        due = now - self._last > max(self._apart, TRIALS_APART * trial) and self._since > WORK_APART * trial
        if most > 1 and (due or self._slow > 1) and self._now == self.threads and not self._tried:
            others = sorted({max(1, self.threads // 2), min(2 * self.threads, most)} - {self.threads})
            self._trials += 1
            self._now = others[self._trials % len(others)]
            self._seconds = self._units = 0.0
        self._started = now
        return self._now

    def learn(self, units: float, seconds: float) -> None:
        """That so much work took so long on the threads of the last :meth:`next`."""
        if self._now not in self._per_unit:  # code is loaded, if not compiled, in the first call
            self._per_unit[self._now] = math.inf
            return
        if self._now != self._awake and seconds < WAKING:
            self._awake = self._now
            return
        self._units += units
        self._seconds += seconds
        if self._seconds < TRIAL:
            return
        before, taken = self._per_unit[self._now], self._seconds / self._units
        self._per_unit[self._now] = taken
        self._since += self._seconds
        self._seconds = self._units = 0.0
        if self._now != self.threads:
            self._tried, self._now = self._now, self.threads
        elif self._tried:  # compared with before and after: the first calls after a pause are slow on any number
            now = self._started + seconds
            self._apart = min(2 * (now - self._last), TRIAL_SECONDS)
            if GAIN * self._per_unit[self._tried] < min(before, taken):
                self.threads = self._now = self._tried
                self._apart = 0.0
            self._tried, self._since, self._last = 0, 0.0, now
            self._usual, self._slow = self._per_unit[self.threads], 0
        elif taken < WORSE * self._usual:
            self._usual, self._slow = min(taken, self._usual), 0
        else:
            self._slow += 1  # once may be an accident


def _after_fork() -> None:
    global _available, _parallel, _serial
    _available = None
    _parallel = threading.Lock()
    with suppress(ValueError):  # none is loaded, nor was one being loaded at the fork: see kernels/jit.py
        _serial = _serial or numba.threading_layer() not in SURVIVE_FORK


def _say_serial() -> None:
    """Tell the user of a forked child, once, why it uses one core."""
    global _said
    if not _said:
        _said = True
        warnings.warn(
            "this process was forked from one that had computed on several threads, which stayed there: fastprop "
            "computes on one thread here, with the same results. Start processes by spawn, or set "
            "NUMBA_THREADING_LAYER=workqueue, whose threads start anew.",
            RuntimeWarning,
            stacklevel=2,
        )


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
