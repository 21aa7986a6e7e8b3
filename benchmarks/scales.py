"""Find from which offset of X and which scale of Y a network no longer learns, and which zero weights keep it from it.

    python benchmarks/scales.py

It prints R2 on 500 held-out rows of networks (8, 64, 32, 1) after 200 epochs on 1,000 rows with batches of 32, the mean
over `--seeds` seeds: y = sin(2*x0) + x1*x2 of normal features, scaled to a mean of 0 and a standard deviation of 1. The
thresholds of ``fastprop/scaling.py`` come from it. About ten minutes on two cores.
"""

import argparse
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fastprop import SGD, Adam, Network

OPTIMIZERS: dict[str, Callable[[], Any]] = {
    "Adam(0.001)": lambda: Adam(0.001),
    "Adam(0.01)": lambda: Adam(0.01),
    "SGD(0.05)": lambda: SGD(0.05),
    "SGD(0.1)": lambda: SGD(0.1),
}
STDS = (0.01, 0.03, 0.1, 1, 3, 10, 30, 100, 1e3, 1e5)


def table(seed: int) -> tuple[np.ndarray, np.ndarray]:
    X = np.random.default_rng(seed).standard_normal((1500, 8))
    y = np.sin(2 * X[:, 0]) + X[:, 1] * X[:, 2]
    return X, (y - y.mean()) / y.std()


def r2(net: Network, X: np.ndarray, y: np.ndarray, optimizer: Any) -> float:
    """Train on the first 1,000 rows; return R² on the others, or NaN if training diverged."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        history = net.fit(X[:1000], y[:1000], epochs=200, batch_size=32, optimizer=optimizer)
    error = net.predict(X[1000:])[:, 0].astype(float) - y[1000:]
    return float(1 - np.mean(error**2) / np.var(y[1000:])) if np.isfinite(history.loss[-1]) else np.nan


def offset(r: float, columns: Any, seed: int, optimizer: Any) -> float:
    """Return R² with columns whose mean is r times their standard deviation, and whose root mean square is 1."""
    X, y = table(seed)
    X[:, columns] = (r + X[:, columns]) / np.sqrt(1 + r * r)
    return r2(Network((8, 64, 32, 1), rng=seed), X, y, optimizer)


def targets(mean: float, std: float, seed: int, optimizer: Any) -> float:
    X, y = table(seed)
    return r2(Network((8, 64, 32, 1), rng=seed), X, mean + std * y, optimizer)


def zeros(layers: Sequence[int], hidden: str, seed: int, optimizer: Any) -> float:
    """Return R² of a network that starts with W = 0 in some layers."""
    X, y = table(seed)
    net = Network((8, 64, 32, 1), hidden, rng=seed)
    for l in layers:
        net.layers[l - 1].W[:] = 0
    return r2(net, X, y, optimizer)


def show(what: str, cases: dict[str, Callable[[int, Any], float]], seeds: int) -> None:
    """Print a line for each optimizer, with a value for each case."""
    print(f"\n{what}")
    for name, make in OPTIMIZERS.items():
        values = (np.mean([run(seed, make()) for seed in range(seeds)]) for run in cases.values())
        print(f"  {name:<12}", *(f"{case}: {value:.2f}" for case, value in zip(cases, values)), sep="  ", flush=True)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=2, help="seeds of each case (%(default)s)")
    seeds = parser.parse_args(argv).seeds

    for what, columns in (("x₀", [0]), ("all columns", slice(None))):
        cases = {f"{r:g}": (lambda s, o, r=r, c=columns: offset(r, c, s, o)) for r in (0, 3, 10, 30, 100, 1e4)}
        show(f"|mean|/std of {what}", cases, seeds)
    show("std of y", {f"{std:g}": (lambda s, o, std=std: targets(0, std, s, o)) for std in STDS}, seeds)
    show("mean of y", {f"{m:g}": (lambda s, o, m=m: targets(m, 1, s, o)) for m in (10, 30, 100, 300)}, seeds)
    for hidden in ("relu", "tanh", "gelu"):
        every: tuple[tuple[int, ...], ...] = ((), (1,), (2,), (3,), (1, 2), (2, 3), (1, 2, 3))
        cases = {str(layers): (lambda s, o, l=layers, h=hidden: zeros(l, h, s, o)) for layers in every}
        show(f"layers of W = 0, {hidden}", cases, seeds)


if __name__ == "__main__":
    main()
