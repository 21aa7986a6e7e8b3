"""Compare fastprop.sklearn's estimators with scikit-learn's: scores over ten seeds, and seconds of a fit.

    python benchmarks/estimators.py [--data digits,...] [--ways adam,...] [--seeds 10] [--mnist FOLDER]

Both train in turns with the same settings, from the same weights, on the same three quarters of the rows, which the
seed draws. The score, accuracy or R^2, is that of the remaining rows. Features, and the target of a regression, are
scaled by their means and standard deviations, uint8 by 255. FOLDER holds MNIST's IDX files, plain or gzipped; without
it, MNIST is left out. The script prints a table: scores are means +- standard deviations, seconds are medians.
"""

import argparse
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import sklearn
from reports import about, chosen, figure, header, row, say, setting, times
from sklearn import neural_network
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split

import fastprop
from fastprop.sklearn import MLPClassifier, MLPRegressor

sys.path.append(str(Path(__file__).parent.parent / "scripts"))
import datasets

WAYS: dict[str, dict[str, Any]] = {
    "adam": {},
    "early stopping": {"early_stopping": True},
    "sgd": {"solver": "sgd", "learning_rate_init": 0.02},
    "lbfgs": {"solver": "lbfgs", "alpha": 1.0},
}
SETS = {"digits": load_digits, "breast cancer": load_breast_cancer, "diabetes": load_diabetes}
REST = 0.3  # seconds before each fit: threads of other libraries spin for a while after their last work, on a core


def read(name: str, mnist: Path | None) -> tuple[np.ndarray, np.ndarray]:
    """Return X and y; y of whole numbers means classes."""
    if name != "mnist":
        X, y = SETS[name](return_X_y=True)
        return X, y if name == "diabetes" else y.astype(int)
    assert mnist is not None
    try:
        data = datasets.load(mnist)
    except datasets.DataError as error:
        raise SystemExit(str(error)) from None
    return data.X, data.Y


def parts(X: np.ndarray, y: np.ndarray, seed: int) -> tuple[np.ndarray, ...]:
    """Split X and y into a training and a test part, both scaled by the statistics of the training part."""
    X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=seed)
    scaling = datasets.Scaling.of(X_train)
    if y.dtype.kind == "f":
        of_y = datasets.Scaling.of(y_train[:, None])
        y_train, y_test = (of_y(values[:, None])[:, 0].astype(float) for values in (y_train, y_test))
    return *(scaling(rows).astype(np.float64) for rows in (X_train, X_test)), y_train, y_test


def compare(X: np.ndarray, y: np.ndarray, settings: dict[str, Any], seeds: int) -> np.ndarray:
    """Return (seeds, 2, 3): score, seconds and epochs of fastprop's and of scikit-learn's estimator."""
    kinds = (
        (MLPRegressor, neural_network.MLPRegressor)
        if y.dtype.kind == "f"
        else (MLPClassifier, neural_network.MLPClassifier)
    )
    found = np.empty((seeds, 2, 3))
    for seed in range(seeds):
        X_train, X_test, y_train, y_test = parts(X, y, seed)
        if seed == 0:  # compiles, or loads the cache
            kinds[0](random_state=0, **{**settings, "max_iter": 2}).fit(X_train, y_train)
        for which in (0, 1) if seed % 2 else (1, 0):
            estimator = kinds[which](random_state=seed, **settings)
            time.sleep(REST)
            start = time.perf_counter()
            estimator.fit(X_train, y_train)
            seconds = time.perf_counter() - start
            found[seed, which] = estimator.score(X_test, y_test), seconds, estimator.n_iter_
    return found


def difference(scores: np.ndarray) -> tuple[str, str]:
    """Return the mean difference of scores (seeds, 2) ± its standard error, and whether it is noise.

    It is noise if it is at most two standard errors from 0.
    """
    pairs = scores[:, 0] - scores[:, 1]
    if len(pairs) == 1:
        return f"{pairs[0]:+.4f}", "?"
    mean, error = pairs.mean(), pairs.std(ddof=1) / np.sqrt(len(pairs))
    return f"{mean:+.4f} ± {error:.4f}", "yes" if abs(mean) <= 2 * error else "**no**"


def table(names: list[str], ways: list[str], seeds: int, mnist: Path | None) -> Iterator[str]:
    """Yield the lines of the table, each as soon as it is measured."""
    yield from header(
        "data", "solver", "score of fastprop", "score of scikit-learn", "difference", "noise?", "epochs",
        "fit of fastprop, s", "fit of scikit-learn, s", "over scikit-learn",
    )  # fmt: skip
    for name in names:
        X, y = read(name, mnist)
        for way in ways:
            found = compare(X, y, WAYS[way], seeds)
            scores, seconds, epochs = np.moveaxis(found, 2, 0)
            spread = [f"{mean:.4f} ± {sd:.4f}" for mean, sd in zip(scores.mean(axis=0), scores.std(axis=0))]
            taken = np.median(seconds, axis=0)
            yield row(
                f"{name} {X.shape[0]:,} × {X.shape[1]}", way, *spread, *difference(scores),
                " / ".join(f"{n:.0f}" for n in np.median(epochs, axis=0)), figure(taken[0]), figure(taken[1]),
                times(taken[1] / taken[0]),
            )  # fmt: skip


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", help="comma-separated names (all)")
    parser.add_argument("--ways", default=",".join(WAYS), help="comma-separated names (%(default)s)")
    parser.add_argument("--seeds", type=int, default=10, help="number of seeds (%(default)s)")
    parser.add_argument("--mnist", type=Path, metavar="FOLDER", help="folder with MNIST's IDX files")
    wanted = parser.parse_args()
    known = [*SETS, *(["mnist"] if wanted.mnist else [])]
    names = chosen(wanted.data or ",".join(known), known, "data set")
    ways = chosen(wanted.ways, list(WAYS), "way")
    warnings.simplefilter("ignore", ConvergenceWarning)
    for line in table(names, ways, wanted.seeds, wanted.mnist):
        say(line)
    say("\nA difference is the mean ± its standard error over pairs with the same seed; noise is at most two errors.")
    print("Epochs are medians.\n")
    versions = {"fastprop": fastprop.__version__, "scikit-learn": sklearn.__version__, "NumPy": np.__version__}
    runs = [{"peer": name, "version": version} for name, version in versions.items()]
    say(about(setting("estimators.py") | {"runs": runs}))


if __name__ == "__main__":
    main()
