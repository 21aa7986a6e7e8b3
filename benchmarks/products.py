"""Where the time of a training step goes: every product of every layer by itself, on one thread.

    python benchmarks/products.py [--dtype float64] [SHAPE ...]

Each kernel is called on data that stay in the cache, in turns with `Network.fit` and with the FMA peak. Shares are of
the peak, by layer. A processor whose core is shared has slow moments, in which the peak is what it was and kernels are
slower: the first table is of medians, the second of the best turns.
"""

import argparse
import time
from collections.abc import Callable
from functools import partial
from itertools import pairwise

import numba
import numpy as np
from cases import NAMES, Case, named, random_data, rows_of
from compare_peers import header, row, say
from peak import gflops
from ratios import LR

from fastprop import SGD, Network, kernels, set_num_threads
from fastprop.kernels import padded, panel_stride, row_stride
from fastprop.kernels.plan import flops_per_sample
from fastprop.kernels.simd import LANES

SECONDS, TURNS = 0.02, 15  # of a turn of each kernel
Times = dict[str, list[float]]


@numba.njit(nogil=True)
def forwards(calls, Z, W, A_prev, b, n, n_prev, panels):
    for _ in range(calls):
        kernels.forward(Z, W, A_prev, b, n, n_prev, panels, 0.0)


@numba.njit(nogil=True)
def dWs(calls, dW, dZ, A_prev, A_prev_T, n, n_prev, panels):
    for _ in range(calls):
        kernels.dW(dW, dZ, A_prev, A_prev_T, n, n_prev, panels, 1e-9, 1.0, 0, -(-n_prev // LANES))


@numba.njit(nogil=True)
def dAs(calls, dA_prev, W, dZ, A_prev, n, n_prev, panels):
    for _ in range(calls):
        kernels.dA(dA_prev, W, dZ, A_prev, n, n_prev, panels, 1)


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
    kernels.load(case.sizes, dtype=dtype)

    def reals(length: int) -> np.ndarray:
        return np.random.default_rng(length).standard_normal(length).astype(dtype)

    for l, (n_prev, n) in enumerate(pairwise(case.sizes), start=1):
        A_prev, A, dZ = (reals(panels * panel_stride(k)) for k in (n_prev, n, n))
        W, b, T_prev, T = reals(n * row_stride(n_prev)), reals(padded(n)), A_prev.copy(), A.copy()
        of_layer = {"n": n, "n_prev": n_prev, "panels": panels}
        works[f"forward {l}"] = partial(forwards, Z=A, W=W, A_prev=A_prev, b=b, **of_layer)
        works[f"dW {l}"] = partial(dWs, dW=W.copy(), dZ=dZ, A_prev=A_prev, A_prev_T=T_prev, **of_layer)
        works[f"others {l}"] = partial(others, A_T=T, A=A, db=b, n=n, panels=panels)
        if l > 1:
            works[f"dA {l}"] = partial(dAs, dA_prev=T_prev.copy(), W=W, dZ=dZ, A_prev=A_prev, **of_layer)
        else:
            X = reals(case.batch * n_prev)
            works["gather"] = partial(gathers, A=A_prev, A_T=T_prev, X=X, n=n_prev, panels=panels)
    return works


def measure(case: Case, dtype: str) -> tuple[Times, list[float]]:
    """Return the seconds of a step's products and of a step of `fit` in each turn, and the peaks in FLOP/s."""
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
    times: Times = {name: [] for name in works}
    peaks = []
    for _ in range(TURNS):
        peaks.append(1e9 * gflops(SECONDS, dtype))
        for name, work in works.items():
            start = time.perf_counter()
            work(counts[name])
            times[name].append((time.perf_counter() - start) / counts[name] / steps[name])
    return times, peaks


def line(case: Case, seconds: dict[str, float], peak: float) -> str:
    """Return the row of a shape."""
    flops = {f"{l}": 2 * case.batch * a * b for l, (a, b) in enumerate(pairwise(case.sizes), start=1)}
    ideal = flops_per_sample(case.sizes) * case.batch / peak

    def shares(kind: str) -> str:
        found = (flops[name.split()[1]] / peak / value for name, value in seconds.items() if name.startswith(kind))
        return ", ".join(f"{share:.0%}" for share in found)

    rest = sum(value for name, value in seconds.items() if name.startswith("others"))
    every = sum(value for name, value in seconds.items() if name != "fit")
    micro = (f"{1e6 * value:,.2f}" for value in (ideal, every, seconds["fit"]))
    return row(case.name, *micro, f"{ideal / seconds['fit']:.0%}", shares("forward"), shares("dW"), shares("dA"),
               f"{rest / ideal:.0%}", f"{seconds['gather'] / ideal:.0%}")  # fmt: skip


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shapes", metavar="SHAPE", nargs="*", default=NAMES, help="names (all)")
    parser.add_argument("--dtype", default="float32", choices=["float32", "float64"])
    wanted = parser.parse_args()
    set_num_threads(1)
    head = header("shape", "ideal, us", "kernels, us", "fit, us", "fit, share of the peak", "forward", "dW", "dA",
                  "transposes and db, of ideal", "gather, of ideal")  # fmt: skip
    found = {case: measure(case, wanted.dtype) for case in map(named, wanted.shapes)}
    for title, of in (("Medians", np.median), ("The best turns", np.min)):
        lines = [
            line(case, {name: float(of(taken)) for name, taken in times.items()}, float(np.median(peaks)))
            for case, (times, peaks) in found.items()
        ]
        say("\n".join([f"{title}, {wanted.dtype}, one thread\n", *head, *lines, ""]))


if __name__ == "__main__":
    main()
