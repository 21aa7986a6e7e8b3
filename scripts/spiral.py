"""Classify the three arms of a spiral, which no straight lines separate, and draw the network's decision boundary.

    python scripts/spiral.py
    python scripts/spiral.py --noise 0.5 --hidden 200 200 --folder pictures

A fifth of the training points is held out. When the loss on them has not fallen for 30 epochs, training ends and
restores the parameters with the lowest loss. The script prints the accuracy on new points, beside that of a network
without hidden layers and the best that the noise allows. The two pictures, the decision boundary and the learning
curves, need matplotlib (pip install matplotlib).
"""

import argparse
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fastprop import Adam, History, Network, plots
from fastprop.texts import printable

TURN = 4.0  # radians, from the centre to the end of an arm
COLOURS = ("#0072b2", "#d55e00", "#009e73")  # of the arms


def spiral(m: int, noise: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return points (m, 2) on three arms around the origin, and the arm of each; `noise` is that of the angles."""
    arm = rng.integers(3, size=m)
    radius = rng.random(m)
    angle = TURN * radius + 2 * math.pi / 3 * arm + rng.normal(scale=noise, size=m)
    return radius[:, None] * np.column_stack([np.cos(angle), np.sin(angle)]), arm


def train(hidden: Sequence[int], X: np.ndarray, Y: np.ndarray, seed: int) -> tuple[Network, History]:
    """Train a network with these hidden layers until the loss on held-out rows falls no more."""
    net = Network((2, *hidden, 3), output="softmax", rng=seed)
    history = net.fit(X, Y, epochs=1000, batch_size=64, optimizer=Adam(lr=0.002), validation=0.2, early_stopping=30)
    return net, history


def accuracy(net: Network, X: np.ndarray, Y: np.ndarray) -> float:
    """Return the share of rows whose class is predicted."""
    return float(np.mean(net.predict(X).argmax(axis=1) == Y))


def draw_boundary(net: Network, X: np.ndarray, Y: np.ndarray, path: Path) -> None:
    """Draw the region of the plane that the network gives to each arm, and the points on it."""
    from matplotlib.colors import ListedColormap
    from matplotlib.figure import Figure

    x = np.linspace(-1.1, 1.1, 300)
    plane = np.stack(np.meshgrid(x, x), axis=-1)
    found = net.predict_classes(plane.reshape(-1, 2)).reshape(300, 300)
    figure = Figure(figsize=(5, 5), layout="constrained")
    axes = figure.add_subplot()
    axes.pcolormesh(x, x, found, cmap=ListedColormap(COLOURS), vmin=0, vmax=2, alpha=0.4)
    axes.scatter(X[:, 0], X[:, 1], s=10, c=np.array(COLOURS)[Y], edgecolors="black", linewidths=0.3)
    figure.savefig(path, dpi=150)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--noise", type=float, default=0.4, help="of the points' angles, in radians (%(default)s)")
    parser.add_argument("--hidden", type=int, nargs="+", default=[64, 64], metavar="UNITS", help="layers (64 64)")
    parser.add_argument("--seed", type=int, default=0, help="seed of points, weights and order (%(default)s)")
    parser.add_argument("--folder", type=Path, default=Path(), help="folder for the pictures (the current folder)")
    args = parser.parse_args(argv)

    rng = np.random.default_rng(args.seed)
    X_train, Y_train = spiral(1500, args.noise, rng)
    X_test, Y_test = spiral(1000, args.noise, rng)

    net, history = train(args.hidden, X_train, Y_train, args.seed)
    lowest = np.argmin(history.validation_loss) + 1
    print(f"{net}\ntrained for {history.epochs} epochs; restored epoch {lowest}, which had the lowest validation loss")
    linear, _ = train([], X_train, Y_train, args.seed)
    best = math.erf(math.pi / 3 / args.noise / math.sqrt(2))  # the probability that a point is nearest to its own arm
    print(f"accuracy on {len(X_test):,} new points {accuracy(net, X_test, Y_test):.1%}; "
          f"without hidden layers {accuracy(linear, X_test, Y_test):.1%}, at best {best:.1%}")  # fmt: skip

    args.folder.mkdir(parents=True, exist_ok=True)
    boundary, curves = args.folder / "spiral_boundary.png", args.folder / "spiral_curves.png"
    draw_boundary(net, X_test, Y_test, boundary)
    plots.learning_curves(history, curves)
    print(printable(f"saved {boundary} and {curves}"))


if __name__ == "__main__":
    main()
