"""How many threads, and the one door through which parallel code is entered."""

import os
import threading

import numba

from .inputs import whole
from .kernels import steps

_chosen: int | None = None
_available: int | None = None
_worker = 0
_parallel = threading.Lock()
_parallel_was_used = False
_serial = False


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
    _worker = steps.run.address
    return _worker


def run(job: int, threads: int, *call: int) -> tuple[float, float]:
    """Do the job at an address on up to `threads` threads; `call` is the rest of what :func:`steps.launch` takes.

    One parallel region at a time: Numba's workqueue layer aborts the process when two Python threads enter one. Who
    finds it taken does the work alone, with the same result; so does a forked child, whose pool stayed behind.
    """
    global _parallel_was_used
    worker = _worker or _load()
    if threads > 1 and not _serial and _parallel.acquire(blocking=False):
        try:
            _parallel_was_used = True
            return steps.launch(worker, job, threads, *call)
        finally:
            _parallel.release()
    return steps.launch_alone(worker, job, threads, *call)


def _after_fork() -> None:
    global _available, _parallel, _serial
    _available = None
    _parallel = threading.Lock()
    _serial = _serial or _parallel_was_used


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
