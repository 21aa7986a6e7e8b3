"""What lies between a user and the kernels: small fits, new networks, the drop-in's functions, and the estimators.

    python benchmarks/overhead.py [TABLE ...]

prints the named tables, or all: fits, dropin, float64, estimators. The figures of a row are medians, measured in turns
in this one process, on one thread. The estimators need scikit-learn.
"""

import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from cases import named, random_data
from compare_peers import header, row, times
from limits import dropin_functions, print_tables, seconds_of, use_one_thread
from ratios import LR

from fastprop import SGD, Network

EPOCHS = 1000
SOLVERS = ("adam", "sgd", "lbfgs")


def fits() -> list[str]:
    """Fits on 64 rows of xs, two steps an epoch, beside the same steps in another form."""
    case = named("xs")
    X, Y = random_data(case, 2 * case.batch)
    many = [np.tile(a, (EPOCHS, 1)) for a in (X, Y)]
    batches = [(X[i : i + case.batch], Y[i : i + case.batch]) for i in (0, case.batch)]
    net, optimizer = Network(case.sizes, output=case.output, rng=0), SGD(LR)

    def fit(X: np.ndarray, Y: np.ndarray, epochs: int, **more: Any) -> object:
        return net.fit(X, Y, epochs=epochs, batch_size=case.batch, optimizer=optimizer, progress=False, **more)

    def new() -> object:
        made = Network(case.sizes, output=case.output, rng=0)
        return made.fit(X, Y, epochs=1, batch_size=case.batch, optimizer=SGD(LR), progress=False)

    works: dict[str, Callable[[], object]] = {
        "epochs": lambda: fit(X, Y, EPOCHS),
        "epochs with validation": lambda: fit(X, Y, EPOCHS, validation=(X, Y)),
        "the same steps as one epoch": lambda: fit(*many, 1),
        "one epoch": lambda: fit(X, Y, 1),
        "a new network and one epoch": new,
        "two train_steps": lambda: [net.train_step(*batch, optimizer) for batch in batches],
    }
    seconds = seconds_of(works)
    lines = header("fit", "ms", "beside", "ms", "times as long")
    for beside, names in {"the same steps as one epoch": list(works)[:2], "two train_steps": list(works)[3:5]}.items():
        for name in names:
            ratio = times(seconds[name] / seconds[beside])
            lines.append(row(name, f"{1e3 * seconds[name]:.3f}", beside, f"{1e3 * seconds[beside]:.3f}", ratio))
    return lines


def float64() -> list[str]:
    """Time of the reference over that of the drop-in function, both in float64 on one thread."""
    return dropin_functions("float64")


def estimators() -> list[str]:
    """Milliseconds of `MLPClassifier`: a fit of at most 20 epochs or iterations, and `partial_fit` of one row."""
    from estimators import SETS
    from sklearn import neural_network
    from sklearn.datasets import load_iris
    from sklearn.exceptions import ConvergenceWarning

    from fastprop import sklearn

    warnings.simplefilter("ignore", ConvergenceWarning)
    lines = header("call", "data", "fastprop", "scikit-learn", "over scikit-learn")

    def compare(call: str, data: str, calls: list[Callable[[], object]]) -> None:
        # `seconds_of` rests after the turn of a name that begins with "NumPy": OpenBLAS's threads spin for a while
        seconds = seconds_of(dict(zip(("fastprop", "NumPy"), calls, strict=True)))
        ours, theirs = seconds["fastprop"], seconds["NumPy"]
        lines.append(row(call, data, f"{1e3 * ours:.3f}", f"{1e3 * theirs:.3f}", times(theirs / ours)))

    modules = (sklearn, neural_network)
    for data, load in {"iris": load_iris, **SETS}.items():
        X, y = load(return_X_y=True)
        if y.dtype.kind != "i":
            continue
        X = (X - X.mean(axis=0)) / (X.std(axis=0) + 1e-9)
        for solver in SOLVERS:
            found = [m.MLPClassifier(solver=solver, random_state=0, max_iter=20) for m in modules]
            compare(f"fit by {solver}", data, [partial(estimator.fit, X, y) for estimator in found])
        found = [m.MLPClassifier(random_state=0).partial_fit(X, y, classes=np.unique(y)) for m in modules]
        compare("partial_fit", data, [partial(estimator.partial_fit, X[:1], y[:1]) for estimator in found])
    return lines


TABLES = {"fits": fits, "dropin": dropin_functions, "float64": float64, "estimators": estimators}


if __name__ == "__main__":
    use_one_thread()
    print_tables(__doc__, TABLES)
