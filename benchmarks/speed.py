"""Training speed on six shapes, beside the NumPy reference in the same process: the table of the README.

    python benchmarks/speed.py [--shapes xs,s,…] [--repeats 7] [--readme]

Whole epochs of `Network.fit`, shuffled, the cost computed, plain SGD; fastprop at one thread and at all, and the
reference, whose BLAS takes all of them too, take turns, and the medians are printed. The unit is the share of
the FMA peak, measured between the turns: FLOPs of a step per sample are 6·Σ n_{l-1}·n_l − 2·n_0·n_1.
"""

import argparse
import platform
import sys
import time
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path

import numba
import numpy as np
from cases import SHAPES, Case
from peak import gflops

import fastprop
from fastprop import SGD, Network, reference, set_num_threads
from fastprop.kernels.jit import cpu_name
from fastprop.kernels.plan import flops_per_sample
from fastprop.threads import available

sys.path.append(str(Path(__file__).parent.parent / "scripts"))
import numpy_training

README = Path(__file__).parent.parent / "README.md"
START, END = "<!-- speed -->", "<!-- /speed -->"
REST = 0.2  # seconds before each turn: OpenBLAS's threads spin for 0.1 after its last product, and take a core
SECONDS = 0.3  # of work in each turn, about
MOST_ROWS = 2**16  # of data: several megabytes, as much as the small cases have in practice
LR = 1e-3


def data(shape: Case, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Random rows X and dense targets Y, float32."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n, shape.sizes[0]), dtype=np.float32)
    n_out = shape.sizes[-1]
    if shape.output == "identity":
        return X, rng.standard_normal((n, n_out), dtype=np.float32)
    if shape.output == "sigmoid":
        return X, rng.integers(0, 2, (n, n_out)).astype(np.float32)
    return X, np.eye(n_out, dtype=np.float32)[rng.integers(0, n_out, n)]


def numpy_epochs(shape: Case, X: np.ndarray, Y: np.ndarray, epochs: int) -> Callable[[], None]:
    parameters = reference.initialise_parameters(shape.sizes, 0)
    parameters = {name: value.astype(np.float32) for name, value in parameters.items()}
    rng = np.random.default_rng(0)

    def train() -> None:
        nonlocal parameters
        parameters, _ = numpy_training.fit(parameters, X, Y, output=shape.output, epochs=epochs,
                                           batch_size=shape.batch, update=numpy_training.sgd(LR), rng=rng)  # fmt: skip

    return train


def fastprop_epochs(shape: Case, X: np.ndarray, Y: np.ndarray, epochs: int, threads: int) -> Callable[[], None]:
    net, optimizer = Network(shape.sizes, output=shape.output, rng=0), SGD(lr=LR)

    def train() -> None:
        set_num_threads(threads)
        net.fit(X, Y, epochs=epochs, batch_size=shape.batch, optimizer=optimizer, progress=False)

    return train


def seconds(work: Callable[[], None]) -> float:
    time.sleep(REST)
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def measure(shape: Case, repeats: int) -> tuple[list[float], float]:
    """Median samples/s of NumPy and of fastprop at one thread and at all, and the peak of one thread in FLOP/s."""
    steps = SECONDS * 3e10 / flops_per_sample(shape.sizes) / shape.batch
    rows = min(MOST_ROWS, max(2, round(steps)) * shape.batch)
    X, Y = data(shape, rows)
    epochs = [max(1, round(steps * shape.batch / rows)) * times for times in (1, 3, 3)]
    works = [numpy_epochs(shape, X, Y, epochs[0])]
    works += [fastprop_epochs(shape, X, Y, n, t) for n, t in zip(epochs[1:], (1, available()), strict=True)]
    for work in works:
        work()
    times: list[list[float]] = [[] for _ in works]
    peaks = []
    for _ in range(repeats):
        peaks.append(gflops() * 1e9)
        for work, taken in zip(works, times, strict=True):
            taken.append(seconds(work))
    return [n * rows / float(np.median(t)) for n, t in zip(epochs, times, strict=True)], float(np.median(peaks))


def table(wanted: list[str], repeats: int) -> Iterator[str]:
    """The lines of the table, each as soon as it is measured."""
    cores = available()
    yield (
        f"{date.today()}, {cpu_name()}, {cores} cores, {platform.system()}; fastprop {fastprop.__version__}, Numba "
        f"{numba.__version__}, NumPy {np.__version__}, Python {platform.python_version()}; medians of {repeats} turns."
    )
    yield ""
    yield (
        f"| shape | 1 thread, samples/s | share of peak | {cores} threads, samples/s | share of {cores} × peak "
        f"| over 1 thread | NumPy, samples/s | over NumPy |"
    )
    yield "|---" * 8 + "|"
    for shape in (shape for shape in SHAPES if shape.name in wanted):
        (numpy, one, many), peak = measure(shape, repeats)
        flops = flops_per_sample(shape.sizes)
        label = f"{shape.name} {'-'.join(map(str, shape.sizes))} {shape.output}, B={shape.batch}"
        yield (
            f"| {label} | {one:,.0f} | {one * flops / peak:.0%} | {many:,.0f} | {many * flops / peak / cores:.0%} "
            f"| {many / one:.2f} × | {numpy:,.0f} | {many / numpy:.1f} × |"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", default=",".join(shape.name for shape in SHAPES), help="names, with commas")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--readme", action="store_true", help="put the table into the README")
    options = parser.parse_args()
    lines = []
    for line in table(options.shapes.split(","), options.repeats):
        print(line, flush=True)
        lines.append(line)
    if options.readme:
        before, rest = README.read_text().split(START)
        README.write_text(START.join([before, "\n" + "\n".join(lines) + "\n" + END + rest.split(END)[1]]))


if __name__ == "__main__":
    main()
