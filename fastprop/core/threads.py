"""The number of threads, and the one function through which parallel code is entered."""

import ctypes
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import numba
import numpy as np

from ..checks import whole
from ..kernels import steps
from ..kernels.jit import compiling
from ..kernels.plan import N_TICKETS
from ..kernels.scan import address_of
from ..texts import warn
from . import cores

SURVIVE_FORK = ("workqueue",)  # the threading layers of Numba that start their threads anew in a forked child

_chosen: int | None = None
_parallel = threading.Lock()
_started = False  # whether Numba's threads run, and OpenMP's number of threads is what it was
_refused = False  # whether this process can start no threads
_serial = False  # whether this is a forked child, without the threads of its parent
_warned = False


def get_num_threads() -> int:
    """Return the most threads that a call may use.

    Returns
    -------
    int
        The argument of :func:`set_num_threads`, or the number of cores: those of the process's affinity, at most its
        CPU quota (``docker --cpus``) rounded down, and at most OMP_NUM_THREADS or NUMBA_NUM_THREADS if one is set.
        The affinity is looked at again every second, the quota every half minute. A call uses fewer threads if its
        work is too little to share; the result has the same bits whatever the number.
    """
    return cores.available() if _chosen is None else _chosen


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

    Notes
    -----
    Numba has up to three threading layers. Its `workqueue`, which is used where neither OpenMP nor TBB can be loaded,
    ends the process if two Python threads run parallel code at the same time. fastprop never enters it twice, but it
    cannot know of a ``prange`` of the user's in another thread. In such a program, either choose another layer
    (NUMBA_THREADING_LAYER=omp or tbb), or call ``set_num_threads(1)``, or hold a lock of your own around your parallel
    functions and fastprop's calls.
    """
    global _chosen
    _chosen = None if n is None else whole("n", n, least=1, most=1024)


def launch(worker: int, job: int, threads: int, *call: int) -> tuple[float, float]:
    """Run a worker, given by its address, on the job at an address, on up to `threads` threads.

    `call` are the other arguments of :func:`steps.launch`.

    Only one parallel region runs at a time, because Numba's workqueue layer aborts the process if two Python threads
    enter one. A call that finds it taken does its work alone, with the same result; so does a forked child, which does
    not have its parent's threads, and a process that may not start threads.
    """
    if threads > 1 and _serial:
        _warn_serial()
    elif threads > 1 and _parallel.acquire(blocking=False):
        try:
            if _started or _start():
                return steps.launch(worker, job, threads, *call)
        finally:
            _parallel.release()
    return steps.launch_alone(worker, job, threads, *call)


@contextmanager
def doing(jobs: np.ndarray, n: int) -> Iterator[None]:
    """Do prepared jobs, given by their addresses, each on one of up to `n` threads, which claim them in order.

    The threads are Python's own, without the interpreter's lock, and do the jobs while the block runs on the calling
    thread; at its end the calling thread does those that are left, and waits for the others. So they need none of
    Numba's threading layers, and may run in a forked child.
    """
    tickets = np.zeros(N_TICKETS, np.int64)
    call = address_of(jobs), len(jobs), address_of(tickets)
    helpers: list[threading.Thread] = []
    try:
        with suppress(RuntimeError):  # the process can start no more threads: the calling thread does all jobs
            for _ in range(min(n, len(jobs)) - 1):
                helper = threading.Thread(target=steps.do_jobs, args=call)
                helper.start()
                helpers.append(helper)
        yield
    finally:
        steps.do_jobs(*call)
        for helper in helpers:
            helper.join()


def _start() -> bool:
    """Start Numba's threads, and return whether that was possible.

    Numba also sets the number of threads of OpenMP, and so that of PyTorch and others in this process; it is set back.
    """
    global _started, _refused
    if _refused:
        return False
    with compiling():  # Numba's lock, and no signal handlers
        if not _running() and not _can_start(numba.config.NUMBA_NUM_THREADS):
            _refused = True
        else:
            before = [(library, library.omp_get_max_threads()) for library in _openmp()]
            numba.np.ufunc.parallel._launch_threads()
            for library, count in before:
                if library.omp_get_max_threads() != count:
                    library.omp_set_num_threads(count)
            _started = True
    if _refused:
        warn(
            "this process can start no more threads (see `ulimit -u`, or the pids limit of its container): fastprop "
            "computes on one thread, with the same results.",
            RuntimeWarning,
            stacklevel=3,
        )
    return _started


def _running() -> bool:
    """Return whether Numba's threads have been started, by fastprop or others."""
    try:
        numba.threading_layer()
    except ValueError:
        return False
    return True


def _can_start(count: int) -> bool:
    """Return whether `count` more threads can be started: where they cannot, Numba would hang or end the process."""
    end = threading.Event()
    started = []
    try:
        for _ in range(count):
            thread = threading.Thread(target=end.wait, daemon=True)
            thread.start()
            started.append(thread)
    except RuntimeError:  # can't start new thread
        return False
    finally:
        end.set()
        for thread in started:
            thread.join()
    return True


def _openmp() -> list[Any]:
    """Return the OpenMP libraries whose number of threads Numba may set.

    These are the one that its layer is linked to, and the first one whose symbols the whole process sees, which the
    loader prefers: PyTorch brings one of its own.
    """
    if str(numba.config.THREADING_LAYER).lower() in ("workqueue", "tbb"):
        return []
    found = []
    with suppress(ImportError, OSError, TypeError):  # TypeError: Windows has no name for the whole process
        from numba.np.ufunc import omppool

        for name in (omppool.__file__, None):
            library = ctypes.CDLL(name)  # also finds the functions of the libraries that it is linked to
            with suppress(AttributeError):
                library.omp_get_max_threads, library.omp_set_num_threads  # noqa: B018
                found.append(library)
    return found


def _after_fork() -> None:
    global _parallel, _serial
    cores.forget()
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
