"""Diagnose why a network does not learn, apply the remedy to a second one, and watch its health during training.

    python scripts/diagnosis.py
    python scripts/diagnosis.py --lr 1 --picture pictures/flow.png

The networks learn handwritten digits, the first with a learning rate that is far too high. `diagnose` reports this
before the first step, and the damage after the last one. The second network starts again with the rate at which a step
changes W by a thousandth. `Health` diagnoses both after every epoch. The picture shows the gradient on its path back
through the layers of the first network; it needs matplotlib (pip install matplotlib).
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fastprop import Adam, Health, Network, diagnose
from fastprop.texts import printable

DIGITS = Path(__file__).parent / "data" / "digits.npz"


def train(net: Network, lr: float, X: np.ndarray, Y: np.ndarray, epochs: int) -> None:
    """Train a network; print the findings after each quarter of the epochs, and the final accuracy."""
    health = Health(X[:500], Y[:500])
    net.fit(X[:1500], Y[:1500], epochs=epochs, batch_size=64, optimizer=Adam(lr), callbacks=[health])
    print(f"Adam({lr:.2g})\nepoch    cost  found")
    for epoch, report in health.records[:: max(1, epochs // 4)] + health.records[-1:]:
        print(f"{epoch + 1:>5}  {report.cost:>6.3f}  {', '.join(f.kind for f in report.findings) or 'nothing'}")
    right = np.mean(net.predict(X[1500:]).argmax(axis=1) == Y[1500:])
    print(f"accuracy on {len(X) - 1500} held-out digits {right:.1%}\n")


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lr", type=float, default=0.3, help="learning rate of the first network (%(default)s)")
    parser.add_argument("--epochs", type=int, default=60, help="epochs of each network (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the weights (%(default)s)")
    parser.add_argument("--picture", type=Path, default=Path("diagnosis.png"), help="file of the picture (%(default)s)")
    args = parser.parse_args(argv)

    with np.load(DIGITS) as file:
        X, Y = file["X"], file["y"]
    first, second = (Network((64, 64, 32, 10), output="softmax", scale=1 / 16, rng=args.seed) for _ in range(2))
    before = diagnose(first, X[:500], Y[:500], Adam(args.lr))
    print(f"{before}\n")
    train(first, args.lr, X, Y, args.epochs)
    after = diagnose(first, X[:500], Y[:500])
    print(f"{after}\n")
    train(second, args.lr * 0.001 / max(layer.update or 0 for layer in before.layers), X, Y, args.epochs)

    args.picture.parent.mkdir(parents=True, exist_ok=True)
    after.plot(args.picture)
    print(printable(f"saved {args.picture}"))


if __name__ == "__main__":
    main()
