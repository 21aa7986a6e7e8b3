"""How the scripts measure: what is compared takes turns in one process, in processes of few cores and threads."""

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import numpy as np
from cases import WORK, Case, random_data, rows_of
from peak import gflops

from fastprop import Activation, Network, set_num_threads
from fastprop.kernels.plan import flops_per_sample
from fastprop.optimizers import Optimizer

POOLS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
REST = 0.2  # seconds after NumPy's turn: OpenBLAS's threads spin for 0.1 s after their last product, on a core
TURNS = 4
SECONDS = 0.05  # about the time of one turn of each work

# ---- turns -----------------------------------------------------------------------------------------------------------


def medians(works: dict[str, Callable[[], object]], turns: int) -> dict[str, float]:
    """Return the median seconds of a call of each work, which take turns; the first turn, which compiles, is extra."""
    taken: dict[str, list[float]] = {name: [] for name in works}
    for turn in range(turns + 1):
        for name, work in works.items():
            start = time.perf_counter()
            work()
            if turn:
                taken[name].append(time.perf_counter() - start)
    return {name: float(np.median(seconds)) for name, seconds in taken.items()}


def in_turns(works: dict[str, Callable[[], object]], dtype: str = "float32") -> dict[str, float]:
    """Return the median seconds of each work, and as "peak" the FMA peak of a core in FLOP/s, measured in the turns."""
    peaks: list[float] = []
    seconds = medians({"peak": lambda: peaks.append(gflops(dtype=dtype) * 1e9), **works}, TURNS)
    return seconds | {"peak": float(np.median(peaks))}


def seconds_of(works: dict[str, Callable[[], object]], dtype: str = "float32") -> dict[str, float]:
    """Return the median seconds of one call of each work, and the peak in FLOP/s; a turn repeats a short work."""
    calls: dict[str, int] = {}
    turns: dict[str, Callable[[], object]] = {}

    def repeat(name: str) -> None:
        for _ in range(calls[name]):
            works[name]()

    for name, work in works.items():
        work()  # compiles
        start = time.perf_counter()
        work()
        calls[name] = max(1, int(SECONDS / (time.perf_counter() - start)))
        turns[name] = partial(repeat, name)
        if name.startswith("NumPy"):
            turns[f"after {name}"] = partial(time.sleep, REST)
    taken = in_turns(turns, dtype)
    return {name: taken[name] / count for name, count in calls.items()} | {"peak": taken["peak"]}


def epochs_of(case: Case, batch: int, optimizer: Optimizer, hidden: str | Activation = "relu",
              dtype: str = "float32") -> tuple[Callable[[], object], int]:  # fmt: skip
    """Return a function that fits a fresh network in about a fifth of a second, and the FLOPs of one call."""
    flops = flops_per_sample(case.sizes)
    rows = -(-max(rows_of(case, flops), batch) // batch) * batch
    epochs = max(1, round(WORK / flops / rows / 2))
    X, Y = (array.astype(dtype, copy=False) for array in random_data(case, rows))
    net = Network(case.sizes, hidden, case.output, rng=0, dtype=dtype)

    def fit() -> None:
        net.fit(X, Y, epochs=epochs, batch_size=batch, optimizer=optimizer, progress=False)

    return fit, rows * epochs * flops


# ---- cores and threads -----------------------------------------------------------------------------------------------


@contextmanager
def cores(n: int) -> Iterator[None]:
    """Limit processes that are started in this context to the first n of our cores, if the platform allows it."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    ours = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(ours)[:n])
    try:
        yield
    finally:
        os.sched_setaffinity(0, ours)


def environment(threads: int) -> dict[str, str]:
    """Return our environment with all thread pools set to a number of threads."""
    return {**os.environ, **dict.fromkeys(POOLS, str(threads))}


def use_one_thread() -> None:
    """Compute on one thread. NumPy's libraries read their number when they are imported, so the script starts again."""
    if not dict.fromkeys(POOLS, "1").items() <= os.environ.items():
        os.execve(sys.executable, [sys.executable, *sys.argv], environment(1))
    set_num_threads(1)
