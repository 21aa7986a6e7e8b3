"""Learn from a stream whose rule drifts, one batch after another, each of which is seen once.

    python scripts/stream.py
    python scripts/stream.py --batches 20000 --every 1000 --save run.safetensors

Each batch is predicted before the network learns from it, so that all predictions are of new rows and the share of
wrong ones is an honest error (prequential evaluation; Gama et al. 2013, On evaluating stream learning
algorithms). The second column is the error of a copy that stops learning after a quarter of the stream: the rule, a
curve that divides a plane, turns by a right angle from the first batch to the last. At every line the network is saved
with its optimizer, so that `Network.load(path).partial_fit(X, Y)` continues with the stream
(pip install safetensors).
"""

import argparse
import copy
import importlib.util
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from fastprop import Adam, Network
from fastprop.texts import printable


def stream(batches: int, rng: np.random.Generator) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield batches of 1 to 64 rows: X (m, 2), and the side of the curve on which each row lies."""
    for i in range(batches):
        X = rng.uniform(-1, 1, (rng.integers(1, 65), 2))
        turn = np.pi / 2 * i / batches
        along, across = X[:, 0] * np.cos(turn) + X[:, 1] * np.sin(turn), X[:, 1] * np.cos(turn) - X[:, 0] * np.sin(turn)
        yield X, across > 0.5 * np.sin(4 * along)


def wrong(net: Network, X: np.ndarray, Y: np.ndarray) -> int:
    """Return the number of rows for which the other class is predicted."""
    return int(np.sum((net.predict(X)[:, 0] > 0.5) != Y))


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batches", type=int, default=6000, help="batches of the stream (%(default)s)")
    parser.add_argument("--every", type=int, default=500, help="batches per line of output (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the stream and the weights (%(default)s)")
    parser.add_argument("--save", type=Path, default=Path("stream.safetensors"), help="file (%(default)s)")
    args = parser.parse_args(argv)
    saves = importlib.util.find_spec("safetensors") is not None

    rng = np.random.default_rng(args.seed)
    net, optimizer = Network((2, 32, 32, 1), output="sigmoid", rng=args.seed), Adam(lr=0.003)
    stopped = net
    rows = errors = errors_stopped = 0
    print("batches   error  of the copy")
    for i, (X, Y) in enumerate(stream(args.batches, rng), start=1):
        rows += len(X)
        errors += wrong(net, X, Y)
        errors_stopped += wrong(stopped, X, Y)
        net.partial_fit(X, Y, optimizer)
        if i == args.batches // 4:
            stopped = copy.deepcopy(net)
        if i % args.every == 0:
            print(f"{i:>7,}  {errors / rows:>6.1%}  {errors_stopped / rows:>11.1%}", flush=True)
            rows = errors = errors_stopped = 0
            if saves:
                net.save(args.save)
    print(printable(f"saved to {args.save}") if saves else "not saved: pip install safetensors")


if __name__ == "__main__":
    main()
