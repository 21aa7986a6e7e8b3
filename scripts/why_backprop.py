"""Why backpropagation: the cost of a gradient by nudging every parameter, and by one backward pass.

    python scripts/why_backprop.py

Nudging moves one parameter a little and measures the change of J, (J(theta + eps) - J(theta - eps)) / (2 eps), in
two forward passes for every parameter. Backpropagation computes all derivatives in one forward and one backward pass.
The script measures both on networks of growing width, in units of forward passes. If nudging all of a network's
parameters would take too long, only some of them are nudged and the time is extrapolated; a ~ in the table marks it.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from fastprop import Network, set_num_threads
from fastprop.plots import BLUE, GREY, VERMILION
from fastprop.texts import printable

INPUTS, CLASSES, BATCH = 16, 4, 512
EPSILON = 1e-3  # a larger nudge crosses more kinks of relu; a smaller one is lost in the rounding of float32
TOLERANCE = 0.01  # of the relative difference between the two gradients, for that reason
ROUNDS = 5  # passes and nudges are measured in turns, so that a disturbance meets both
PASSES_SECONDS, NUDGES_SECONDS = 0.4, 2.0  # about the most time that one network takes

Place = tuple[np.ndarray, np.ndarray, Any]  # one parameter: its array, that of its gradient, and its index in both


@dataclass
class Measurement:
    """Seconds of a forward pass, of a backward pass, and of nudging all parameters of one network."""

    parameters: int
    forward: float
    backward: float
    nudging: float
    sampled: bool
    difference: float  # ‖nudged − backpropagated‖ / ‖backpropagated‖

    @property
    def backpropagation(self) -> float:
        return self.forward + self.backward


def choose(network: Network, count: int, rng: np.random.Generator) -> list[Place]:
    """Draw `count` of the parameters at random; all, if there are no more."""
    pairs = [pair for layer in network.layers for pair in ((layer.W, layer.dW), (layer.b, layer.db))]
    ends = np.cumsum([theta.size for theta, _ in pairs])
    places = []
    for k in rng.choice(ends[-1], min(count, ends[-1]), replace=False):
        i = int(np.searchsorted(ends, k, side="right"))
        theta, gradient = pairs[i]
        places.append((theta, gradient, np.unravel_index(k - ends[i] + theta.size, theta.shape)))
    return places


def nudge(network: Network, X: np.ndarray, Y: np.ndarray, theta: np.ndarray, at: Any) -> float:
    """Return dJ/dθ of one parameter by central differences."""
    kept = theta[at]
    high, low = kept + EPSILON, kept - EPSILON
    theta[at] = high
    J_high = network.loss(X, Y)
    theta[at] = low
    J_low = network.loss(X, Y)
    theta[at] = kept
    return (J_high - J_low) / (float(high) - float(low))


def passes(network: Network, X: np.ndarray, Y: np.ndarray) -> tuple[float, float]:
    """Return the seconds of a forward pass and of the backward pass after it."""
    started = time.perf_counter()
    network.forward(X)
    between = time.perf_counter()
    network.backward(Y)
    return between - started, time.perf_counter() - between


def measure(width: int) -> Measurement:
    """Measure both ways to the gradient of a network with two hidden layers of this width."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((BATCH, INPUTS), dtype=np.float32)
    Y = rng.integers(CLASSES, size=BATCH)
    network = Network((INPUTS, width, width, CLASSES), output="softmax", rng=rng)
    network.loss(X, Y)  # the first calls compile and allocate
    passes(network, X, Y)

    both = min(sum(passes(network, X, Y)) for _ in range(3))
    repeats = min(100, max(3, int(PASSES_SECONDS / ROUNDS / both)))
    places = choose(network, max(ROUNDS, int(NUDGES_SECONDS / both)), rng)
    times, differences, nudging = [], [], []
    for some in (places[first::ROUNDS] for first in range(ROUNDS)):
        times += [passes(network, X, Y) for _ in range(repeats)]
        started = time.perf_counter()
        slopes = [nudge(network, X, Y, theta, at) for theta, _, at in some]
        nudging.append((time.perf_counter() - started) / len(some))
        differences += [slope - float(gradient[at]) for slope, (_, gradient, at) in zip(slopes, some, strict=True)]
    exact = [gradient[at] for _, gradient, at in places]
    forward, backward = (median(column) for column in zip(*times, strict=True))
    return Measurement(
        parameters=network.n_parameters, forward=forward, backward=backward,
        nudging=median(nudging) * network.n_parameters, sampled=len(places) < network.n_parameters,
        difference=float(np.linalg.norm(differences) / np.linalg.norm(exact)),
    )  # fmt: skip


def duration(seconds: float) -> str:
    """Return a time in a suitable unit."""
    for unit, size in (("h", 3600.0), ("min", 60.0), ("s", 1.0), ("ms", 1e-3)):
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds / 1e-6:.0f} us"


HEADER = f"""\
{"":>10}  {"one pass":>8}  {"the gradient by nudging":>25}  {"by backpropagation":>23}  {"":>8}  {"the two":>7}
{"parameters":>10}  {"forward":>8}  {"time":>11} {"in passes":>13}  {"time":>9} {"in passes":>13}  {"backward":>8}  \
{"differ":>7}"""


def row(m: Measurement) -> str:
    """Return one network's line of the table."""
    about = "~" if m.sampled else ""
    return (
        f"{m.parameters:>10,}  {duration(m.forward):>8}  {about + duration(m.nudging):>11} "
        f"{f'{about}{m.nudging / m.forward:,.0f}':>13}  {duration(m.backpropagation):>9} "
        f"{m.backpropagation / m.forward:>13.1f}  {m.backward / m.forward:>8.1f}  {m.difference:>7.1%}"
    )


def plot(measurements: Sequence[Measurement], path: Path) -> None:
    """Plot the cost of the gradient, in forward passes, against the number of parameters.

    Raises
    ------
    ModuleNotFoundError
        If matplotlib is not installed.
    """
    from matplotlib.figure import Figure

    P = np.array([m.parameters for m in measurements])
    nudging = np.array([m.nudging / m.forward for m in measurements])
    backpropagation = np.array([m.backpropagation / m.forward for m in measurements])
    sampled = np.array([m.sampled for m in measurements])
    figure = Figure(figsize=(8, 5.4), layout="constrained")
    axes = figure.add_subplot(xlabel="parameters of the network", ylabel="cost of one gradient, in forward passes")
    axes.loglog(P, 2 * P, ":", color=GREY, label="two for each parameter")
    axes.loglog(P, nudging, color=VERMILION, linewidth=1)
    axes.loglog(P[~sampled], nudging[~sampled], "o", color=VERMILION, label="nudging every parameter")
    if sampled.any():
        axes.loglog(P[sampled], nudging[sampled], "o", color=VERMILION, markerfacecolor="white",
                    label="nudging some of them, extrapolated")  # fmt: skip
    axes.loglog(P, backpropagation, "o-", color=BLUE, label="backpropagation: one pass forward, one back")
    last = measurements[-1]
    for height, seconds, color in (
        (nudging[-1], last.nudging, VERMILION),
        (backpropagation[-1], last.backpropagation, BLUE),
    ):
        axes.annotate(f"here {duration(seconds)}", (P[-1], height), (0, 10), textcoords="offset points",
                      ha="center", color=color, weight="bold")  # fmt: skip
    axes.margins(x=0.1)
    axes.set_ylim(1, 8 * nudging.max())
    axes.set_title("Backpropagation costs two or three forward passes for any number of parameters")
    axes.grid(alpha=0.3)
    axes.legend(loc="upper left", frameon=False)
    figure.savefig(path, dpi=150)


def _width(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} must be a whole number, at least 1")
    return int(text)


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table and save the plot; the exit code is 1 if the two gradients differ."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--widths", type=_width, nargs="+", default=[4 * 2**i for i in range(9)], help="widths of the hidden layers"
    )
    parser.add_argument("--plot", type=Path, default=Path("why_backprop.png"), help="file of the plot (%(default)s)")
    args = parser.parse_args(argv)
    if args.plot.is_dir() or not args.plot.absolute().parent.is_dir():
        parser.error(f"{args.plot}: cannot be saved to; --plot takes a file in a folder that exists")
    set_num_threads(1)  # the comparison is of work, not of how threads share it
    print(HEADER)
    measurements = []
    for width in args.widths:
        measurements.append(measure(width))
        print(row(measurements[-1]), flush=True)
    if max((m.difference for m in measurements if not m.sampled), default=0) > TOLERANCE:
        print(f"why_backprop.py: the two gradients differ by more than {TOLERANCE:.0%}", file=sys.stderr)
        return 1
    try:
        plot(measurements, args.plot)
    except ModuleNotFoundError:
        print("the plot needs matplotlib. Install it with: pip install matplotlib", file=sys.stderr)
        return 0
    print(printable(f"saved the plot to {args.plot}"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
