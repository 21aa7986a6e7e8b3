"""What lies between a user and the kernels: small fits, new networks, the drop-in's functions, and the estimators.

    python benchmarks/overhead.py [TABLE ...]

prints the named tables, or all: fits, dropin, float64, estimators, sparse, readme. The figures of a row are medians,
measured in turns on one thread, and in this one process except those of `sparse`. `estimators` and `sparse` need
scikit-learn, and `sparse` a POSIX system. `readme` also writes its table into the README.
"""

import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
from cases import LR, SHAPES, named, random_data
from limits import dropin_functions, dropin_ratios
from measuring import seconds_of, use_one_thread
from reports import header, label, print_tables, row, setting, times, write_between

from fastprop import SGD, Network

EPOCHS = 1000
SOLVERS = ("adam", "sgd", "lbfgs")
SPARSE = ((3000, 2**18, 100, 5), (20_000, 50_000, 32, 5))  # rows, features, units and epochs
ENTRIES = 60  # of each row
SPARSE_TURNS = 3


# A name, its seconds, and the name and the seconds of what stands beside it.
Comparison = tuple[str, float, str, float]


def fits() -> list[str]:
    """Fits on 64 rows of xs, two steps an epoch, beside the same steps in another form."""
    lines = header("fit", "ms", "beside", "ms", "times as long")
    for name, taken, beside, besides in compare_fits():
        lines.append(row(name, f"{1e3 * taken:.3f}", beside, f"{1e3 * besides:.3f}", times(taken / besides)))
    return lines


def compare_fits() -> Iterator[Comparison]:
    """Measure the fits of the table."""
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
    for beside, names in {"the same steps as one epoch": list(works)[:2], "two train_steps": list(works)[3:5]}.items():
        for name in names:
            yield name, seconds[name], beside, seconds[beside]


def float64() -> list[str]:
    """Time of the reference over that of the drop-in function, both in float64 on one thread."""
    return dropin_functions("float64")


def estimators() -> list[str]:
    """Milliseconds of `MLPClassifier`: a fit of at most 20 epochs or iterations, and `partial_fit` of one row."""
    from estimators import SETS
    from sklearn.datasets import load_iris

    lines = header("call", "data", "fastprop", "scikit-learn", "over scikit-learn")
    for data, load in {"iris": load_iris, **SETS}.items():
        X, y = load(return_X_y=True)
        for call, ours, _, theirs in compare_estimators(X, y) if y.dtype.kind == "i" else ():
            lines.append(row(call, data, f"{1e3 * ours:.3f}", f"{1e3 * theirs:.3f}", times(theirs / ours)))
    return lines


def compare_estimators(X: np.ndarray, y: np.ndarray) -> Iterator[Comparison]:
    """Measure the calls of the table on some data."""
    from sklearn import neural_network
    from sklearn.exceptions import ConvergenceWarning

    from fastprop import sklearn

    warnings.simplefilter("ignore", ConvergenceWarning)

    def compare(call: str, calls: list[Callable[[], object]]) -> Comparison:
        # `seconds_of` rests after the turn of a name that begins with "NumPy": OpenBLAS's threads spin for a while
        seconds = seconds_of(dict(zip(("fastprop", "NumPy"), calls, strict=True)))
        return call, seconds["fastprop"], "scikit-learn", seconds["NumPy"]

    modules = (sklearn, neural_network)
    X = (X - X.mean(axis=0)) / (X.std(axis=0) + 1e-9)
    for solver in SOLVERS:
        found = [m.MLPClassifier(solver=solver, random_state=0, max_iter=20) for m in modules]
        yield compare(f"fit by {solver}", [partial(estimator.fit, X, y) for estimator in found])
    found = [m.MLPClassifier(random_state=0).partial_fit(X, y, classes=np.unique(y)) for m in modules]
    yield compare("partial_fit", [partial(estimator.partial_fit, X[:1], y[:1]) for estimator in found])


FIT_SPARSE = """
import resource, sys, time, warnings
from importlib import import_module
import numpy as np
from scipy.sparse import csr_array

def peak():
    try:
        with open("/proc/self/status") as status:
            return next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) / 2**10
    except FileNotFoundError:  # not on Linux, where this would be the peak of the parent process, if that is larger
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2 ** (20 if sys.platform == "darwin" else 10)

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
        for what, mine, _, other in compare_sparse(sizes, SPARSE_TURNS):
            lines.append(row(*map(str, sizes), what, f"{mine:.3f}", f"{other:.3f}", times(other / max(mine, 1e-3))))
    return lines


def compare_sparse(sizes: tuple[int, ...], count: int) -> Iterator[Comparison]:
    """Measure a row of the table; the last of the three is megabytes, not seconds."""
    found: dict[str, list[list[float]]] = {"fastprop.sklearn": [], "sklearn.neural_network": []}
    for _ in range(count):
        for module, turns in found.items():
            command = [sys.executable, "-c", FIT_SPARSE, module, *map(str, (*sizes, ENTRIES))]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            turns.append([float(word) for word in done.stdout.split()])
    (*ours, our_loss), (*theirs, their_loss) = (np.median(turns, axis=0) for turns in found.values())
    assert abs(our_loss - their_loss) < 0.1 * their_loss, "the two learn different things"
    for what, mine, other in zip(("fit, s", "predict_proba, s", "peak, MB"), ours, theirs, strict=True):
        yield what, mine, "scikit-learn", other


def readme() -> list[str]:
    """Speed of the drop-in's four functions, all together, over that of the same lines in NumPy, on one thread."""
    dtypes = ("float32", "float64")
    lines = header("shape", *dtypes)
    for case in SHAPES:
        lines.append(row(label(case), *(times(dropin_ratios(case, dtype)["all"]) for dtype in dtypes)))
    where = setting("overhead.py readme")
    title = f"{readme.__doc__} {where['machine']}, {where['date']}."
    write_between("<!-- dropin -->", "<!-- /dropin -->", [title, "", *lines])
    return lines


TABLES = {
    "fits": fits,
    "dropin": dropin_functions,
    "float64": float64,
    "estimators": estimators,
    "sparse": sparse,
    "readme": readme,
}


if __name__ == "__main__":
    use_one_thread()
    print_tables(__doc__, TABLES)
