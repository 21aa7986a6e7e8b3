"""Ratios that hold on a noisy machine, because both sides of each are measured in turns in one process.

Shares are of the FMA peak; the FLOPs of a training step per sample are 6·Σ n_{l-1}·n_l − 2·n_0·n_1.

    python benchmarks/ratios.py xs digits

prints the figures of the named shapes as JSON.
"""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from cases import NAMES, WORK, Case, named, random_data, rows_of
from numba.core.runtime import _nrt_python, rtsys
from peak import gflops

from fastprop import SGD, Network, reference, set_num_threads
from fastprop.core.cores import available
from fastprop.kernels.plan import flops_per_sample

sys.path.append(str(Path(__file__).parent.parent / "scripts"))
from numpy_training import fit, sgd

REST = 0.2  # seconds after NumPy's turn: OpenBLAS's threads spin for 0.1 s after their last product, on a core
LR = 1e-3
TURNS = 4

Figures = dict[str, float]


def measure(case: Case) -> Figures:
    """Return ratios of medians over `TURNS` turns of NumPy, of fastprop on one and on all threads, and of the peak."""
    flops = flops_per_sample(case.sizes)
    rows = rows_of(case, flops)
    X, Y = random_data(case, rows)
    parameters = {k: v.astype(np.float32) for k, v in reference.initialise_parameters(case.sizes, 0).items()}
    net, optimizer = Network(case.sizes, output=case.output, rng=0), SGD(lr=LR)
    calls = max(1, rows // case.batch // 4)
    epochs = max(1, round(WORK / flops / rows))  # of fastprop, which trains xs on its 65,536 rows in 7 ms

    def numpy_epoch() -> None:
        fit(parameters, X, Y, output=case.output, epochs=1, batch_size=case.batch, update=sgd(LR),
            rng=np.random.default_rng(0))  # fmt: skip

    def rest() -> None:
        time.sleep(REST)

    def epoch(threads: int) -> None:
        set_num_threads(threads)
        net.fit(X, Y, epochs=epochs, batch_size=case.batch, optimizer=optimizer, progress=False)

    def forward() -> None:
        set_num_threads(1)
        for _ in range(calls):
            net.forward(X[: case.batch])

    def backward() -> None:
        for _ in range(calls):
            net.backward(Y[: case.batch])

    works = {
        "numpy": numpy_epoch,
        "rest": rest,
        "one": lambda: epoch(1),
        "all": lambda: epoch(available()),
        "forward": forward,
        "backward": backward,
    }
    seconds = in_turns(works)
    peak = seconds.pop("peak")
    fastest = min(seconds["one"], seconds["all"]) / epochs
    return {
        "peak": peak,
        "share of peak": epochs * rows * flops / seconds["one"] / peak,
        "share of peak, all threads": epochs * rows * flops / seconds["all"] / peak / available(),
        "all threads over one": seconds["one"] / seconds["all"],
        "over NumPy": seconds["numpy"] / fastest,
        "backward over forward": seconds["backward"] / seconds["forward"],
    }


def in_turns(works: dict[str, Callable[[], None]]) -> dict[str, float]:
    """Return the median seconds of each work and the peak in FLOP/s; the first turn, which compiles, does not count."""
    times: dict[str, list[float]] = {name: [] for name in works}
    peaks = []
    for turn in range(TURNS + 1):
        peaks.append(gflops() * 1e9)
        for name, work in works.items():
            start = time.perf_counter()
            work()
            if turn:
                times[name].append(time.perf_counter() - start)
    return {name: float(np.median(taken)) for name, taken in times.items()} | {"peak": float(np.median(peaks))}


class Speed:
    """All ratios of a shape, measured once for every revision."""

    params = NAMES
    param_names = ("shape",)
    timeout = 900

    def setup_cache(self) -> dict[str, Figures]:
        return {name: measure(named(name)) for name in NAMES}

    setup_cache.timeout = 900

    def track_share_of_peak(self, figures: dict[str, Figures], name: str) -> float:
        return figures[name]["share of peak"]

    def track_share_of_peak_all_threads(self, figures: dict[str, Figures], name: str) -> float:
        return figures[name]["share of peak, all threads"]

    def track_all_threads_over_one(self, figures: dict[str, Figures], name: str) -> float:
        return figures[name]["all threads over one"]

    def track_over_numpy(self, figures: dict[str, Figures], name: str) -> float:
        return figures[name]["over NumPy"]

    def track_backward_over_forward(self, figures: dict[str, Figures], name: str) -> float:
        return figures[name]["backward over forward"]

    track_share_of_peak.unit = track_share_of_peak_all_threads.unit = "of the FMA peak"
    track_all_threads_over_one.unit = track_over_numpy.unit = track_backward_over_forward.unit = "x"


class Gradients:
    """Deviations of gradients, so that a speed-up that breaks a gradient shows in the same table."""

    params = NAMES
    param_names = ("shape",)

    def track_largest_deviation(self, name: str) -> float:
        """Return the largest deviation from the reference in float64, over the largest gradient."""
        case = named(name)
        X, Y = random_data(case, min(case.batch, 128))
        net = Network(case.sizes, output=case.output, rng=0)
        net.forward(X)
        net.backward(Y)
        parameters = {k: v.astype(np.float64) for k, v in net.to_dict().items()}
        cache = reference.forward_propagation(X.T.astype(np.float64), parameters, case.output)
        exact = reference.backpropagation(cache, Y.T.astype(np.float64), parameters)
        worst = 0.0
        for l, layer in enumerate(net.layers, start=1):
            for ours, theirs in ((layer.dW, exact[f"dW{l}"]), (layer.db[:, None], exact[f"db{l}"])):
                worst = max(worst, float(np.abs(ours - theirs).max() / np.abs(theirs).max()))
        return worst

    track_largest_deviation.unit = "relative"


def allocations_per_step(train: Callable[[int], object], steps: int) -> float:
    """Return the blocks of memory that compiled code allocates in each step of `train(n)`, a training of n steps.

    This is the difference between trainings of 2·steps and of `steps` steps, over `steps`. It leaves out what a call
    takes whatever its number of steps: Numba allocates a block for every array that Python hands to a compiled
    function, and frees it when the function returns. The least of five counts is taken, since a disturbed machine may
    cut a training into more compiled calls, but never into fewer.
    """
    _nrt_python.memsys_enable_stats()

    def count(n: int) -> int:
        before = rtsys.get_allocation_stats().alloc
        train(n)
        return rtsys.get_allocation_stats().alloc - before

    train(2 * steps)  # compiles
    once, twice = (min(count(n) for _ in range(5)) for n in (steps, 2 * steps))
    return (twice - once) / steps


class Allocations:
    """Memory that training takes from one step or one call to the next; both figures are 0."""

    def track_per_step(self) -> float:
        """Blocks that compiled code allocates in each step of an epoch."""
        set_num_threads(1)
        case = named("digits")
        X, Y = random_data(case, 64 * case.batch)
        net, optimizer = Network(case.sizes, output=case.output, rng=0), SGD(lr=LR)

        def train(steps: int) -> None:
            rows = steps * case.batch
            net.fit(X[:rows], Y[:rows], epochs=1, batch_size=case.batch, optimizer=optimizer, progress=False)

        return allocations_per_step(train, 32)

    def track_kept_per_call(self) -> float:
        """Blocks that compiled code and Python keep after each of a hundred calls of `train_step`."""
        case = named("digits")
        X, Y = random_data(case, case.batch)
        net, optimizer = Network(case.sizes, output=case.output, rng=0), SGD(lr=LR)
        for _ in range(300):  # Python's own free lists fill up first
            net.train_step(X, Y, optimizer)
        _nrt_python.memsys_enable_stats()

        def kept() -> int:
            stats = rtsys.get_allocation_stats()
            return stats.alloc - stats.free + sys.getallocatedblocks()

        calls, before = 100, kept()
        for _ in range(calls):
            net.train_step(X, Y, optimizer)
        return float(max(0, kept() - before) // calls)

    track_per_step.unit = track_kept_per_call.unit = "blocks"


if __name__ == "__main__":
    print(json.dumps({name: measure(named(name)) for name in sys.argv[1:]}))
