"""What lies between a user and the kernels: small fits, new networks, the drop-in's functions, and the estimators.

    OPENBLAS_NUM_THREADS=1 python benchmarks/overhead.py [--threads 1]

Each figure is the median of turns in this one process, taken alternately with what it is compared with; NumPy has as
many threads as the variable says. Estimators are left out where scikit-learn is not installed.
"""

import argparse
import warnings
from collections.abc import Callable
from functools import partial
from types import ModuleType
from typing import Any

import numpy as np
from cases import SHAPES, Case, random_data
from compare_peers import header, row, say, times
from limits import seconds_of

from fastprop import SGD, Network, dropin, reference, set_num_threads

DROPIN_GOALS = {"xs": 3.0, "s": 3.0, "digits": 2.0, "mnist": 1.2, "wide": 1.1}  # times NumPy's speed
EPOCHS = 1000
CASE = Case("epochs", (8, 32, 32, 1), "relu", "sigmoid", 32)

Works = dict[str, Callable[[], object]]


def small_fits() -> Works:
    """Return fits of two steps an epoch, the same steps as one epoch, and a new network with its first fit."""
    X, Y = random_data(CASE, 64)
    many = tuple(np.tile(a, (EPOCHS, 1)) for a in (X, Y))
    net, optimizer = Network(CASE.sizes, output=CASE.output, rng=0), SGD(1e-3)
    batches = [(X[i : i + CASE.batch], Y[i : i + CASE.batch]) for i in range(0, 64, CASE.batch)]

    def fit(X: np.ndarray, Y: np.ndarray, epochs: int, **more: Any) -> object:
        return net.fit(X, Y, epochs=epochs, batch_size=CASE.batch, optimizer=optimizer, progress=False, **more)

    def new() -> object:
        made = Network(CASE.sizes, output=CASE.output, rng=0)
        return made.fit(X, Y, epochs=1, batch_size=CASE.batch, optimizer=SGD(1e-3), progress=False)

    return {
        "one epoch": lambda: fit(*many, 1),
        "epochs": lambda: fit(X, Y, EPOCHS),
        "epochs with validation": lambda: fit(X, Y, EPOCHS, validation=(X, Y)),
        "short fit": lambda: fit(X, Y, 1),
        "train steps": lambda: [net.train_step(*batch, optimizer) for batch in batches],
        "new": new,
    }


def table_of_fits() -> list[str]:
    """Return the table of small fits."""
    seconds = seconds_of(small_fits())
    two, many = "two train_steps", f"the {2 * EPOCHS:,} steps as one epoch"
    rows = [
        (f"{EPOCHS:,} epochs on 64 rows", "epochs", many, "one epoch", "1.2"),
        (f"{EPOCHS:,} epochs on 64 rows, validation on 64", "epochs with validation", many, "one epoch", "2.5"),
        ("fit of two steps", "short fit", two, "train steps", "3"),
    ]
    lines = header("what a user does", "ms", "beside", "ms", "times as long", "goal, at most")
    for title, name, other, beside, goal in rows:
        ratio = times(seconds[name] / seconds[beside])
        lines.append(row(title, f"{1e3 * seconds[name]:.3f}", other, f"{1e3 * seconds[beside]:.3f}", ratio, goal))
    lines.append(row("a new network and its first fit", f"{1e3 * seconds['new']:.3f}", "", "", "", "0.25 ms"))
    return lines


def script(module: ModuleType, case: Case, dtype: str) -> Callable[[], object]:
    """Return a training step by a module's four functions."""
    X, Y = (np.ascontiguousarray(a.T, dtype) for a in random_data(case, case.batch))
    made = reference.initialise_parameters(case.sizes, np.random.default_rng(0))
    parameters = {name: value.astype(dtype) for name, value in made.items()}

    def step() -> object:
        cache = module.forward_propagation(X, parameters, case.output)
        cost = module.compute_cost(cache, Y, case.output)
        gradients = module.backpropagation(cache, Y, parameters)
        return cost, module.update_parameters(parameters, gradients, 1e-3)

    return step


def table_of_dropin() -> list[str]:
    """Return the table of the drop-in's four functions together, beside the same lines in NumPy."""
    lines = header("four functions of fastprop.dropin", "dtype", "us", "NumPy, us", "speed over NumPy's", "goal")
    for case in (case for case in SHAPES if case.name in DROPIN_GOALS):
        for dtype in ("float32", "float64"):
            works = {"dropin": script(dropin, case, dtype), "NumPy": script(reference, case, dtype)}
            seconds = seconds_of(works)
            ours, numpys = seconds["dropin"], seconds["NumPy"]
            micro = (f"{1e6 * s:,.0f}" for s in (ours, numpys))
            lines.append(row(case.name, dtype, *micro, times(numpys / ours), times(DROPIN_GOALS[case.name])))
    return lines


def table_of_estimators() -> list[str]:
    """Return the table of estimators beside scikit-learn's."""
    from sklearn import neural_network
    from sklearn.datasets import load_breast_cancer, load_digits, load_iris
    from sklearn.exceptions import ConvergenceWarning

    from fastprop import sklearn

    lines = header("estimator", "data", "ms", "scikit-learn, ms", "speed over scikit-learn's", "goal")
    sets = {"iris": load_iris, "breast cancer": load_breast_cancer, "digits": load_digits}
    warnings.simplefilter("ignore", ConvergenceWarning)
    goals = {"adam": 5.0, "sgd": 5.0, "lbfgs": 2.0}
    for name, load in sets.items():
        X, y = load(return_X_y=True)
        X = (X - X.mean(axis=0)) / (X.std(axis=0) + 1e-9)
        for solver, goal in goals.items():
            settings = {"solver": solver, "random_state": 0, "max_iter": 20}
            ours, theirs = (m.MLPClassifier(**settings) for m in (sklearn, neural_network))
            works = {"ours": partial(ours.fit, X, y), "NumPy": partial(theirs.fit, X, y)}
            seconds = seconds_of(works)
            milli = (f"{1e3 * seconds[who]:.1f}" for who in works)
            lines.append(row(solver, name, *milli, times(seconds["NumPy"] / seconds["ours"]), times(goal)))
    X, y = load_iris(return_X_y=True)
    ours, theirs = (
        m.MLPClassifier(random_state=0).partial_fit(X, y, classes=[0, 1, 2]) for m in (sklearn, neural_network)
    )
    works = {"ours": partial(ours.partial_fit, X[:1], y[:1]), "NumPy": partial(theirs.partial_fit, X[:1], y[:1])}
    seconds = seconds_of(works)
    milli = (f"{1e3 * seconds[who]:.3f}" for who in works)
    lines.append(row("partial_fit of one row", "iris", *milli, times(seconds["NumPy"] / seconds["ours"]), times(3.3)))
    return lines


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    wanted = parser.parse_args()
    set_num_threads(wanted.threads)
    tables = [table_of_fits, table_of_dropin]
    try:
        import sklearn  # noqa: F401
    except ModuleNotFoundError:
        pass
    else:
        tables.append(table_of_estimators)
    for table in tables:
        say("\n".join([*table(), ""]))


if __name__ == "__main__":
    main()
