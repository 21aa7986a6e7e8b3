"""What lies between a user and the kernels: small fits, new networks, the drop-in's functions, and the estimators.

    python benchmarks/overhead.py [TABLE ...]

prints the named tables, or all: fits, dropin, float64, estimators, sparse. The figures of a row are medians, measured
in turns on one thread, and in this one process except those of `sparse`. The last two need scikit-learn.
"""

import subprocess
import sys
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
SPARSE = ((3000, 2**18, 100, 5), (20_000, 50_000, 32, 5))  # rows, features, units and epochs
ENTRIES = 60  # of each row
SPARSE_TURNS = 3


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


FIT_SPARSE = """
import resource, sys, time, warnings
from importlib import import_module
import numpy as np
from scipy.sparse import csr_array

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10

def seconds(call):
    started = time.perf_counter()
    call()
    return time.perf_counter() - started

def data(rows, features):
    rng = np.random.default_rng(0)
    columns = rng.integers(0, features, (rows, ENTRIES))
    values = rng.random(columns.size, np.float32)
    return csr_array((values, columns.ravel(), np.arange(0, columns.size + 1, ENTRIES)), (rows, features)), columns

warnings.simplefilter("ignore")
module, *sizes = sys.argv[1:]
rows, features, units, epochs, ENTRIES = map(int, sizes)
MLPClassifier = import_module(module).MLPClassifier
X, columns = data(300, 50)
MLPClassifier(units, max_iter=1).fit(X, columns[:, 0] % 2).predict(X)  # compiles, or loads the cache
X, columns = data(rows, features)
before = peak()
estimator = MLPClassifier(units, max_iter=epochs, random_state=0)
fit = seconds(lambda: estimator.fit(X, columns[:, 0] % 2))
predict = min(seconds(lambda: estimator.predict_proba(X)) for _ in range(5))
print(fit, predict, peak() - before, estimator.loss_)
"""


def sparse() -> list[str]:
    """`MLPClassifier` on sparse rows of 60 entries: seconds, and megabytes at the peak beyond the data."""
    lines = header("rows", "features", "units", "epochs", "of", "fastprop", "scikit-learn", "over scikit-learn")
    for sizes in SPARSE:
        found: dict[str, list[list[float]]] = {"fastprop.sklearn": [], "sklearn.neural_network": []}
        for _ in range(SPARSE_TURNS):
            for module, turns in found.items():
                command = [sys.executable, "-c", FIT_SPARSE, module, *map(str, (*sizes, ENTRIES))]
                done = subprocess.run(command, check=True, capture_output=True, text=True)
                turns.append([float(word) for word in done.stdout.split()])
        (*ours, our_loss), (*theirs, their_loss) = (np.median(turns, axis=0) for turns in found.values())
        assert abs(our_loss - their_loss) < 0.1 * their_loss, "the two learn different things"
        for what, mine, other in zip(("fit, s", "predict_proba, s", "peak, MB"), ours, theirs, strict=True):
            lines.append(row(*map(str, sizes), what, f"{mine:.3f}", f"{other:.3f}", times(other / max(mine, 1e-3))))
    return lines


TABLES = {"fits": fits, "dropin": dropin_functions, "float64": float64, "estimators": estimators, "sparse": sparse}


if __name__ == "__main__":
    use_one_thread()
    print_tables(__doc__, TABLES)
