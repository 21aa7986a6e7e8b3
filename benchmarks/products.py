"""Where the time of a training step goes: every product of every layer by itself, on one thread.

    python benchmarks/products.py [--dtype float64] [SHAPE ...]

Each kernel is called on data that stay in the cache, in turns with `Network.fit` and with the FMA peak. Shares are of
the peak, by layer. On a core with a busy neighbour a process still reaches the peak, but its kernels are slower. So the
first table shows the medians of all turns, and the second those of quiet turns: the core executed about as many no-ops
per second as in its best moment, before and after the turn. Turns go on until each kernel has had QUIET of them, or for
PATIENCE. The last column is what is left of the peak if its multiply-adds read what those of a tile read.
"""

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import numba
import numpy as np
from cases import LR, NAMES, Case, named, random_data, rows_of
from peak import gflops, gflops_with_loads, nops_per_second
from reports import header, row, say

from fastprop import SGD, Network, kernels, set_num_threads
from fastprop.kernels import padded, panel_stride, row_stride
from fastprop.kernels.plan import LayerKind, Plan, flops_per_sample
from fastprop.kernels.simd import LANES

SECONDS = 0.02  # of a turn of each kernel
LEAST, QUIET = 15, 5  # turns, and quiet turns of each kernel
PATIENCE = 60.0  # seconds, after which a shape is left as it is
AS_EVER = 0.93  # of the most no-ops per second that were seen


@numba.njit(nogil=True)
def forwards(calls, Z, W, A_prev, b, n, n_prev, panels, block):
    for _ in range(calls):
        for p in range(0, panels, block):
            here, below = p * panel_stride(n), p * panel_stride(n_prev)
            kernels.forward(Z[here:], W, A_prev[below:], b, n, n_prev, min(block, panels - p), 0.0)


@numba.njit(nogil=True)
def dWs(calls, dW, dZ, A_prev, A_prev_T, n, n_prev, panels):
    for _ in range(calls):
        kernels.dW(dW, dZ, A_prev, A_prev_T, n, n_prev, panels, 1e-9, 1.0, 0, -(-n_prev // LANES))


@numba.njit(nogil=True)
def dAs(calls, dA_prev, W, dZ, A_prev, n, n_prev, panels, block):
    for _ in range(calls):
        for p in range(0, panels, block):
            here, below = p * panel_stride(n), p * panel_stride(n_prev)
            kernels.dA(dA_prev[below:], W, dZ[here:], A_prev[below:], n, n_prev, min(block, panels - p), 1)


@numba.njit(nogil=True)
def others(calls, A_T, A, db, n, panels):
    for _ in range(calls):
        kernels.transpose(A_T, A, n, panels)
        kernels.db(db, A, n, panels, 1e-9, 1.0)


@numba.njit(nogil=True)
def gathers(calls, A, A_T, X, n, panels):
    for _ in range(calls):
        for p in range(panels):
            at = p * panel_stride(n)
            kernels.gather(A[at:], A_T[at:], X, 0, p * LANES, LANES, n)


def works_of(case: Case, dtype: str) -> dict[str, Callable[[int], object]]:
    """Return, by name, a function that does one product of a step a number of times."""
    panels, works = case.batch // LANES, {}
    kinds = [LayerKind()] * (len(case.sizes) - 1)
    block = Plan(case.sizes, kinds, case.batch, 1, dtype=np.dtype(dtype)).block_panels  # as in a step
    kernels.load(case.sizes, dtype=dtype)

    def reals(length: int) -> np.ndarray:
        return np.random.default_rng(length).standard_normal(length).astype(dtype)

    for l, (n_prev, n) in enumerate(pairwise(case.sizes), start=1):
        A_prev, A, dZ = (reals(panels * panel_stride(k)) for k in (n_prev, n, n))
        W, b, T_prev, T = reals(n * row_stride(n_prev)), reals(padded(n)), A_prev.copy(), A.copy()
        of_layer = {"n": n, "n_prev": n_prev, "panels": panels}
        works[f"forward {l}"] = partial(forwards, Z=A, W=W, A_prev=A_prev, b=b, block=block, **of_layer)
        works[f"dW {l}"] = partial(dWs, dW=W.copy(), dZ=dZ, A_prev=A_prev, A_prev_T=T_prev, **of_layer)
        works[f"others {l}"] = partial(others, A_T=T, A=A, db=b, n=n, panels=panels)
        if l > 1:
            works[f"dA {l}"] = partial(dAs, dA_prev=T_prev.copy(), W=W, dZ=dZ, A_prev=A_prev, block=block, **of_layer)
        else:
            X = reals(case.batch * n_prev)
            works["gather"] = partial(gathers, A=A_prev, A_T=T_prev, X=X, n=n_prev, panels=panels)
    return works


class Turns:
    """What one kernel's turns took: the seconds of each, and the no-ops per second around it."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.nops: list[float] = []

    def take(self, work: Callable[[int], object], count: int, steps: int = 1) -> None:
        """Do the work `count` times, of which each is so many steps."""
        before = nops_per_second()
        start = time.perf_counter()
        work(count)
        self.seconds.append((time.perf_counter() - start) / count / steps)
        self.nops.append(min(before, nops_per_second()))

    def quiet(self, most: float) -> list[float]:
        """Return the seconds of the turns around which the no-ops per second were near `most`."""
        return [s for s, nops in zip(self.seconds, self.nops, strict=True) if nops >= AS_EVER * most]


@dataclass
class Found:
    """The turns of a shape's kernels and of `fit`, the two ceilings in FLOP/s of each turn, and when all this began."""

    turns: dict[str, Turns]
    peaks: list[float]
    with_loads: list[float]
    started: float

    def most(self) -> float:
        """Return the most no-ops per second."""
        return max(max(turns.nops) for turns in self.turns.values())

    def quiet(self) -> dict[str, float]:
        """Return the median seconds of the quiet turns, NaN of a kernel that had none."""
        found = {name: turns.quiet(self.most()) for name, turns in self.turns.items()}
        return {name: float(np.median(taken)) if taken else np.nan for name, taken in found.items()}

    def medians(self) -> dict[str, float]:
        """Return the median seconds of all turns."""
        return {name: float(np.median(turns.seconds)) for name, turns in self.turns.items()}

    def goes_on(self) -> bool:
        """Whether more turns are needed."""
        if len(self.peaks) < LEAST:
            return True
        quiet = min(len(turns.quiet(self.most())) for turns in self.turns.values())
        return quiet < QUIET and time.perf_counter() - self.started < PATIENCE


def measure(case: Case, dtype: str) -> Found:
    """Measure a step's products and a step of `fit`, in turns."""
    rows = rows_of(case, flops_per_sample(case.sizes))
    X, Y = (a.astype(dtype) for a in random_data(case, rows))
    net, optimizer = Network(case.sizes, output=case.output, dtype=dtype, rng=0), SGD(LR)
    works = works_of(case, dtype)
    works["fit"] = lambda epochs: net.fit(
        X, Y, epochs=epochs, batch_size=case.batch, optimizer=optimizer, progress=False
    )
    steps = dict.fromkeys(works, 1) | {"fit": rows // case.batch}
    counts = {}
    for name, work in works.items():
        work(1)  # compiles
        start = time.perf_counter()
        work(1)
        counts[name] = max(1, int(SECONDS / (time.perf_counter() - start)))
    found = Found({name: Turns() for name in works}, [], [], time.perf_counter())
    while found.goes_on():
        found.peaks.append(1e9 * gflops(SECONDS, dtype))
        found.with_loads.append(1e9 * gflops_with_loads(SECONDS, dtype))
        for name, work in works.items():
            found.turns[name].take(work, counts[name], steps[name])
    return found


def share(value: float) -> str:
    """Return a share in percent."""
    return "–" if np.isnan(value) else f"{value:.0%}"


def line(case: Case, seconds: dict[str, float], found: Found) -> str:
    """Return the row of a shape."""
    peak = float(np.median(found.peaks))
    flops = {f"{l}": 2 * case.batch * a * b for l, (a, b) in enumerate(pairwise(case.sizes), start=1)}
    ideal = flops_per_sample(case.sizes) * case.batch / peak

    def shares(kind: str) -> str:
        values = (flops[name.split()[1]] / peak / value for name, value in seconds.items() if name.startswith(kind))
        return ", ".join(map(share, values))

    rest = sum(value for name, value in seconds.items() if name.startswith("others"))
    every = sum(value for name, value in seconds.items() if name != "fit")
    micro = (f"{1e6 * value:,.2f}".replace("nan", "–") for value in (ideal, every, seconds["fit"]))
    ceiling = float(np.median(found.with_loads)) / peak
    return row(case.name, *micro, share(ideal / seconds["fit"]), shares("forward"), shares("dW"), shares("dA"),
               share(rest / ideal), share(seconds["gather"] / ideal), share(ceiling))  # fmt: skip


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shapes", metavar="SHAPE", nargs="*", default=NAMES, help="names (all)")
    parser.add_argument("--dtype", default="float32", choices=["float32", "float64"])
    wanted = parser.parse_args()
    set_num_threads(1)
    head = header("shape", "ideal, us", "kernels, us", "fit, us", "fit, share of the peak", "forward", "dW", "dA",
                  "transposes and db, of ideal", "gather, of ideal", "second ceiling (all turns)")  # fmt: skip
    found = {case: measure(case, wanted.dtype) for case in map(named, wanted.shapes)}
    titles: list[tuple[str, Callable[[Found], dict[str, float]]]] = [
        ("All turns", Found.medians), ("Quiet turns", Found.quiet)
    ]  # fmt: skip
    for title, of in titles:
        lines = [line(case, of(taken), taken) for case, taken in found.items()]
        say("\n".join([f"{title}, medians, {wanted.dtype}, one thread\n", *head, *lines, ""]))


if __name__ == "__main__":
    main()
