"""Train a network on the digits beside this script, or on other data.

    python scripts/train.py
    python scripts/train.py --data mnist/
    python scripts/train.py --data wine.csv --target quality --hidden 64 64 --epochs 100

The script ends with the predictions for held-out samples, the file of the parameters, and the speed beside the same
training in NumPy. A target of whole numbers or text is a classification; one with fractions is a regression.
"""

import argparse
import importlib.util
import math
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import numpy_training
from datasets import DataError, Dataset, Split, load, split

from fastprop import SGD, Adam, History, Network, Optimizer, get_num_threads, set_num_threads
from fastprop.texts import printable

DIGITS = Path(__file__).parent / "data" / "digits.npz"
ROUNDS, SAMPLES = 5, 20_000  # of the comparison with NumPy: each round trains on about 20,000 samples
REST = 0.2  # seconds before each of its runs: OpenBLAS's threads spin for about 0.1 after NumPy's last product
LARGEST_TABLE = 20  # classes: a larger confusion table does not fit a screen

# name: learning rate, fastprop's optimizer, NumPy's update
RULES: dict[str, tuple[float, Callable[[float], Optimizer], Callable[[float], numpy_training.Update]]] = {
    "sgd": (0.1, SGD, numpy_training.sgd),
    "momentum": (0.05, partial(SGD, momentum=0.9), numpy_training.momentum),
    "adam": (0.002, Adam, numpy_training.adam),
}


def say(text: str) -> None:
    """Print a text: names of classes, columns and files may hold characters that the output cannot encode."""
    print(printable(text), flush=True)


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--data", type=Path, default=DIGITS, help="a folder with MNIST's IDX files, an .npz (X, y) or a .csv")
    add("--target", metavar="COLUMN", help="the column of a .csv to predict")
    add("--test-share", type=_share, metavar="SHARE", help="share to hold out: 0.1 of the digits, 0.2 of other data")
    add("--hidden", type=_whole, nargs="*", default=[256, 128], metavar="UNITS", help="hidden layers (256 128)")
    add("--epochs", type=_whole, default=20, help="(%(default)s)")
    add("--batch-size", type=_whole, default=64, help="(%(default)s)")
    add("--optimizer", choices=RULES, default="adam", help="(%(default)s)")
    add("--lr", type=_positive, help=", ".join(f"{rate:g} with {name}" for name, (rate, *_) in RULES.items()))
    add("--seed", type=partial(_whole, least=0), default=0, help="seed of the split, the weights and the order (0)")
    add("--threads", type=_whole, help="at most, in fastprop; NumPy reads OPENBLAS_NUM_THREADS or the like")
    add("--save", type=Path, metavar="PATH", help="file for the parameters (fastprop-NAME.npz)")
    add("--no-compare", action="store_true", help="skip the comparison with NumPy")
    return parser.parse_args(argv)


def _whole(text: str, least: int = 1) -> int:
    if not text.isdecimal() or int(text) < least:
        raise argparse.ArgumentTypeError(f"{text!r} must be a whole number, at least {least}")
    return int(text)


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} must be above 0")
    return value


def _share(text: str) -> float:
    value = _positive(text)
    if value >= 1:
        raise argparse.ArgumentTypeError(f"{text!r} must be below 1")
    return value


def read(args: argparse.Namespace) -> tuple[Dataset, Split]:
    """Read the data that the options name, and split it."""
    data = load(args.data, args.target)
    if data.n_test and args.test_share:
        raise DataError(f"{args.data}: has a test set of its own (t10k); leave out --test-share.")
    share = args.test_share or (0.1 if args.data == DIGITS else 0.2)
    return data, split(data, share, np.random.default_rng(args.seed))


def build(args: argparse.Namespace, data: Dataset) -> tuple[Network, Optimizer]:
    """Return an untrained network for the data, and its optimizer."""
    output = "softmax" if data.classes else "identity"
    sizes = (data.X.shape[1], *args.hidden, len(data.classes) or 1)
    try:
        network = Network(sizes, output=output, rng=args.seed)
    except ValueError as error:
        raise DataError(f"--hidden: {error}") from None
    rate, optimizer, _ = RULES[args.optimizer]
    return network, optimizer(args.lr or rate)


def fit(network: Network, optimizer: Optimizer, parts: Split, args: argparse.Namespace) -> History:
    """Train, with a progress bar on a terminal and with about ten lines elsewhere."""
    bar = sys.stderr is not None and sys.stderr.isatty() and importlib.util.find_spec("tqdm") is not None

    def line(epoch: int, history: History) -> None:
        if (epoch + 1) % max(1, args.epochs // 10) == 0 or epoch + 1 == args.epochs:
            held_out = (
                f"validation accuracy {history.validation_accuracy[-1]:.2%}"
                if history.validation_accuracy
                else f"validation loss {history.validation_loss[-1]:.4f}"
            )
            rate = history.samples_per_second[-1]
            say(f"epoch {epoch + 1}/{args.epochs}, loss {history.loss[-1]:.4f}, {held_out}, {rate:,.0f} samples/s")

    return network.fit(
        parts.X_train, parts.Y_train, epochs=args.epochs, batch_size=args.batch_size, optimizer=optimizer,
        validation=(parts.X_test, parts.Y_test), progress=bar, callbacks=() if bar else (line,),
    )  # fmt: skip


def confusion(Y: np.ndarray, predicted: np.ndarray, classes: Sequence[str]) -> str:
    """Return the confusion table: rows are true classes, columns are predicted ones.

    If there are more than `LARGEST_TABLE` classes, it is a list of the ten most frequent mistakes.
    """
    table = np.zeros((len(classes), len(classes)), int)
    np.add.at(table, (Y, predicted), 1)
    if len(classes) > LARGEST_TABLE:
        np.fill_diagonal(table, 0)
        worst = [np.unravel_index(i, table.shape) for i in table.argsort(axis=None)[::-1][:10]]
        mistakes = [f"{classes[i]} taken for {classes[j]}: {table[i, j]}" for i, j in worst if table[i, j]]
        return "\n".join(["the commonest mistakes:", *(mistakes or ["none"])])
    cells = [["true \\ predicted", *classes], *([name, *map(str, row)] for name, row in zip(classes, table))]
    widths = [max(map(len, column)) for column in zip(*cells)]
    return "\n".join("  ".join(cell.rjust(width) for cell, width in zip(row, widths)) for row in cells)


def evaluate(network: Network, parts: Split, classes: Sequence[str]) -> tuple[float, str]:
    """Return the accuracy, or R² of a regression, on the held-out part, and a text about it."""
    Y, Y_hat = parts.Y_test, network.predict(parts.X_test)
    if classes:
        predicted = Y_hat.argmax(axis=1)
        accuracy = float(np.mean(predicted == Y))
        return accuracy, f"{confusion(Y, predicted, classes)}\nheld-out accuracy {accuracy:.2%} of {len(Y):,}"
    spread = float(np.sum((Y - Y.mean()) ** 2))
    r2 = 1 - float(np.sum((Y - Y_hat) ** 2)) / spread if spread else math.nan
    return r2, f"held-out R^2 {r2:.4f} over {len(Y):,}"


def unscaled(network: Network, parts: Split) -> dict[str, Any]:
    """Return the parameters with the scaling folded into the outer layers: they take and give unscaled values."""
    parameters = {name: value.astype(np.float64) for name, value in network.to_dict().items()}
    shift, scale = parts.x_scaling
    parameters["W1"] /= scale
    parameters["b1"] -= parameters["W1"] @ shift[:, None]
    if parts.y_scaling:
        last = len(network.layers)
        parameters[f"W{last}"] *= parts.y_scaling.scale
        parameters[f"b{last}"] = parameters[f"b{last}"] * parts.y_scaling.scale + parts.y_scaling.shift
    return {name: value.astype(np.float32) for name, value in parameters.items()}


def compare(args: argparse.Namespace, data: Dataset, parts: Split) -> str:
    """Compare the samples/s of fastprop and of NumPy: the same training in float32, from the start, in turns."""
    X, Y = parts.X_train[:SAMPLES], parts.Y_train[:SAMPLES]
    targets = np.eye(len(data.classes), dtype=np.float32)[Y] if data.classes else Y
    work: dict[str, Any] = {"epochs": max(1, round(SAMPLES / len(X))), "batch_size": args.batch_size}
    seconds: dict[str, list[float]] = {"fastprop": [], "NumPy": []}
    for _ in range(ROUNDS):
        network, optimizer = build(args, data)
        parameters, update = network.to_dict(), RULES[args.optimizer][2](optimizer.rate)
        time.sleep(REST)
        started = time.perf_counter()
        if network.fit(X, Y, optimizer=optimizer, progress=False, **work).interrupted:
            raise KeyboardInterrupt
        seconds["fastprop"].append(time.perf_counter() - started)
        time.sleep(REST)
        started = time.perf_counter()
        numpy_training.fit(
            parameters,
            X,
            targets,
            output=str(network.output),
            update=update,
            rng=np.random.default_rng(args.seed),
            **work,
        )
        seconds["NumPy"].append(time.perf_counter() - started)
    ours, numpys = (work["epochs"] * len(X) / median(values) for values in seconds.values())
    return (
        f"the same training, medians of {ROUNDS} alternating runs of {work['epochs']} epochs in float32:\n"
        f"  fastprop {ours:>12,.0f} samples/s, on up to {get_num_threads()} threads\n"
        f"  NumPy    {numpys:>12,.0f} samples/s\n"
        f"  {ours / numpys:.1f} times as fast"
    )


def destination(args: argparse.Namespace, data: Dataset) -> Path:
    """Return the file for the parameters, checked before the work begins."""
    path: Path = args.save or Path(f"fastprop-{data.name}.npz")
    if path.is_dir() or not path.absolute().parent.is_dir():
        raise DataError(f"{path}: cannot be saved to; --save takes a file in a folder that exists.")
    if path.resolve() == args.data.resolve():
        raise DataError(f"{path}: is the data itself. Save to another file.")
    return path


def run(args: argparse.Namespace) -> None:
    """Read, train, evaluate, save, compare."""
    data, parts = read(args)
    path = destination(args, data)
    set_num_threads(args.threads)
    task = f"{len(data.classes)} classes" if data.classes else "a regression"
    say(f"{data.name}: {len(parts.X_train):,} samples to train on, {len(parts.X_test):,} held out; "
        f"{data.X.shape[1]} features, {task}")  # fmt: skip
    network, optimizer = build(args, data)
    say(f"{network}\n{optimizer}, batches of {args.batch_size}")
    history = fit(network, optimizer, parts, args)
    if history.interrupted:
        say(f"interrupted after {history.epochs} of {args.epochs} epochs; this is what was learnt so far")
    say(evaluate(network, parts, data.classes)[1])
    with path.open("wb") as file:
        np.savez(file, **unscaled(network, parts))
    say(f'saved to {path}; Network.from_dict(np.load("{path}"), output="{network.output}") takes unscaled features')
    if not args.no_compare and not history.interrupted:
        say(compare(args, data, parts))


def main(argv: Sequence[str] | None = None) -> int:
    """Return the exit code: 2 for data that cannot be used, 1 for a training that diverged."""
    args = parse(argv)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", RuntimeWarning)  # raised by fit if its cost is no longer finite
            run(args)
    except DataError as error:
        print(f"train.py: {error}", file=sys.stderr)
        return 2
    except RuntimeWarning as warning:
        print(f"train.py: {warning}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("train.py: interrupted", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
