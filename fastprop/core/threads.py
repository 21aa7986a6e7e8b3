"""The number of threads, and the one function through which parallel code is entered."""

import os
import threading
from contextlib import suppress

import numba

from ..checks import whole
from ..kernels import steps
from ..texts import warn

SURVIVE_FORK = ("workqueue",)  # the threading layers of Numba that start their threads anew in a forked child

_chosen: int | None = None
_available: int | None = None
_worker = 0
_parallel = threading.Lock()
_serial = False  # whether this is a forked child, without the threads of its parent
_warned = False


def available() -> int:
    """Return the number of cores that this process may use, at most Numba's number of threads; determined once."""
    global _available
    if _available is None:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        _available = min(cores, numba.config.NUMBA_NUM_THREADS)
    return _available


def get_num_threads() -> int:
    """Return the most threads that a call may use.

    Returns
    -------
    int
        The argument of :func:`set_num_threads`, or the number of cores. A call uses fewer threads if its work is too
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


def _compiled_worker() -> int:
    """Return the address of the worker, which is compiled or loaded from the cache now."""
    global _worker
    _worker = steps.worker.address
    return _worker


def launch(job: int, threads: int, *call: int) -> tuple[float, float]:
    """Run the job at an address on up to `threads` threads; `call` are the other arguments of :func:`steps.launch`.

    Only one parallel region runs at a time, because Numba's workqueue layer aborts the process if two Python threads
    enter one. A call that finds it taken does its work alone, with the same result; so does a forked child, which does
    not have its parent's threads.
    """
    worker = _worker or _compiled_worker()
    if threads > 1 and _serial:
        _warn_serial()
    elif threads > 1 and _parallel.acquire(blocking=False):
        try:
            return steps.launch(worker, job, threads, *call)
        finally:
            _parallel.release()
    return steps.launch_alone(worker, job, threads, *call)


def _after_fork() -> None:
    global _available, _parallel, _serial
    _available = None
    _parallel = threading.Lock()
    with suppress(ValueError):  # no layer is loaded, nor was one being loaded at the fork: see kernels/jit.py
        _serial = _serial or numba.threading_layer() not in SURVIVE_FORK


def _warn_serial() -> None:
    """Tell the user of a forked child, once, why it uses one core."""
    global _warned
    if not _warned:
        _warned = True
        warn(
            "this process was forked from one that had computed on several threads, which a fork does not copy: "
            "fastprop computes on one thread here, with the same results. Start processes by spawn, or set "
            "NUMBA_THREADING_LAYER=workqueue, whose threads start anew.",
            RuntimeWarning,
            stacklevel=2,
        )


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
