"""Many networks at once: `fit_many` beside one long fit, threads of Python, and JAX's vmap.

    python benchmarks/many.py [TABLE ...]

prints the named tables, or all: shared, tiny, joblib, readme. The sides of a table take turns in this one process;
figures are medians. `readme` also writes its table into the README. JAX is left out where it is not installed; `joblib`
needs scikit-learn.
"""

import importlib.util
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np
from cases import named
from measuring import medians
from reports import header, print_tables, row, setting, times, write_between

from fastprop import SGD, Network, fit_many, get_num_threads, set_num_threads

TURNS = 7
LR = 0.1
NETWORKS, ROWS, EPOCHS = 64, 2048, 10
TINY, TINY_ROWS, TINY_EPOCHS = 1000, 150, 100


def on(threads: int, work: Callable[[], object]) -> Callable[[], object]:
    """Return `work` with at most that many threads."""

    def run() -> None:
        before = get_num_threads()
        set_num_threads(threads)
        try:
            work()
        finally:
            set_num_threads(before)

    return run


def data(rows: int, n_0: int) -> tuple[np.ndarray, np.ndarray]:
    """Return rows of two classes that can be learned, since a fit that learns nothing looks for the reason."""
    X = np.random.default_rng(0).standard_normal((rows, n_0), np.float32)
    return X, (X[:, :1] > 0).astype(np.float32)


def nets(count: int, sizes: tuple[int, ...]) -> list[Network]:
    """Return new networks, a sigmoid each."""
    return [Network(sizes, output="sigmoid", rng=i) for i in range(count)]


def together(networks: list[Network], X: np.ndarray, Y: np.ndarray, epochs: int) -> Callable[[], object]:
    """Return a function that trains them by `fit_many`."""
    return lambda: fit_many(networks, X, Y, epochs=epochs, batch_size=32, optimizer=SGD(LR), progress=False, rng=0)


def one_by_one(
    networks: list[Network], X: np.ndarray, Y: np.ndarray, epochs: int, workers: int
) -> Callable[[], object]:
    """Return a function that trains them by `fit`, in threads of Python."""

    def fit(net: Network) -> object:
        return net.fit(X, Y, epochs=epochs, batch_size=32, optimizer=SGD(LR), progress=False, rng=0)

    def run() -> None:
        with ThreadPoolExecutor(workers) as pool:
            list(pool.map(fit, networks))

    return run


def by_vmap(count: int, sizes: tuple[int, ...], X: np.ndarray, Y: np.ndarray, epochs: int) -> Callable[[], object]:
    """Return a function that trains them by JAX: the gradient under vmap, the steps of all epochs under scan."""
    import jax
    import jax.numpy as jnp

    def cost(parameters: Any, X: Any, Y: Any) -> Any:
        A = X
        for W, b in parameters[:-1]:
            A = jax.nn.relu(A @ W + b)
        W, b = parameters[-1]
        Z = A @ W + b
        return jnp.mean(jnp.maximum(Z, 0) - Z * Y + jnp.log1p(jnp.exp(-jnp.abs(Z))))

    def step(parameters: Any, batch: Any) -> Any:
        J, gradients = jax.vmap(jax.value_and_grad(cost))(parameters, X[batch], Y[batch])
        return jax.tree.map(lambda p, g: p - LR * g, parameters, gradients), J

    rng = np.random.default_rng(0)
    start = [
        (jnp.asarray(rng.normal(size=(count, a, b)).astype(np.float32) / a**0.5), jnp.zeros((count, 1, b)))
        for a, b in zip(sizes[:-1], sizes[1:], strict=True)
    ]
    train = jax.jit(lambda parameters, order: jax.lax.scan(step, parameters, order))
    X, Y = jnp.asarray(X), jnp.asarray(Y)
    steps = len(X) // 32

    def run() -> None:
        order = [rng.permuted(np.tile(np.arange(len(X)), (count, 1)), axis=1) for _ in range(epochs)]
        shuffled = np.concatenate([rows[:, : steps * 32].reshape(count, steps, 32) for rows in order], axis=1)
        jax.block_until_ready(train(start, jnp.asarray(shuffled.swapaxes(0, 1))))

    return run


def shared() -> list[str]:
    """Million samples/s of 64 networks 8-32-32-1 on the same 2,048 rows, 10 epochs of batches of 32, plain SGD."""
    lines = header("side", "million samples/s", "fit_many on two threads over it")
    speeds = shared_speeds()
    for name, speed in speeds.items():
        lines.append(row(name, f"{speed / 1e6:.2f}", times(speeds["fit_many, 2 threads"] / speed)))
    return lines


def shared_speeds() -> dict[str, float]:
    """Measure the sides of that table."""
    case = named("xs")
    X, Y = data(ROWS, case.sizes[0])
    networks, single = nets(NETWORKS, case.sizes), nets(1, case.sizes)[0]
    works: dict[str, Callable[[], object]] = {
        "one network, one long fit, 1 thread": on(1, one_by_one([single], X, Y, NETWORKS * EPOCHS, 1)),
        "fit_many, 1 thread": on(1, together(networks, X, Y, EPOCHS)),
        "fit_many, 2 threads": on(2, together(networks, X, Y, EPOCHS)),
        "fit in two threads of Python": on(1, one_by_one(networks, X, Y, EPOCHS, 2)),
    }
    if importlib.util.find_spec("jax"):
        works["JAX, vmap under scan, 2 threads"] = by_vmap(NETWORKS, case.sizes, X, Y, EPOCHS)
    return {name: NETWORKS * EPOCHS * ROWS / seconds for name, seconds in medians(works, TURNS).items()}


def tiny() -> list[str]:
    """Seconds of 1,000 networks 4-8-1 on 150 rows, 100 epochs in batches of 32; and of these steps in one long fit."""
    threads, (many, long) = get_num_threads(), tiny_seconds()
    lines = header("fit_many", "threads", "one long fit, 1 thread", "over the arithmetic on all threads")
    return [*lines, row(f"{many:.3f}", threads, f"{long:.3f}", times(many * threads / long))]


def tiny_seconds() -> tuple[float, float]:
    """Measure the two sides of that table."""
    X, Y = data(TINY_ROWS, 4)
    networks, single = nets(TINY, (4, 8, 1)), nets(1, (4, 8, 1))[0]
    seconds = medians(
        {
            "fit_many": together(networks, X, Y, TINY_EPOCHS),
            "one long fit": on(1, one_by_one([single], X, Y, TINY * TINY_EPOCHS, 1)),
        },
        TURNS,
    )
    return seconds["fit_many"], seconds["one long fit"]


def joblib() -> list[str]:
    """Seconds of a cross-validation of MLPClassifier on the digits, 8 folds of 20 epochs, by joblib's backends."""
    from joblib import parallel_backend
    from sklearn.datasets import load_digits
    from sklearn.model_selection import cross_val_score

    from fastprop.sklearn import MLPClassifier

    warnings.simplefilter("ignore")  # that 20 epochs are few
    X, y = load_digits(return_X_y=True)
    X = (X / 16).astype(np.float32)

    def validate(backend: str) -> None:
        with parallel_backend(backend, n_jobs=2):
            cross_val_score(MLPClassifier((64,), max_iter=20, random_state=0), X, y, cv=8)

    seconds = medians(
        {
            "sequential": partial(validate, "sequential"),
            "threading": partial(validate, "threading"),
            "loky, its processes running": partial(validate, "loky"),
        },
        TURNS,
    )
    lines = header("backend, 2 jobs", "seconds", "threading over it")
    return [
        *lines,
        *(row(name, f"{taken:.3f}", times(taken / seconds["threading"])) for name, taken in seconds.items()),
    ]


def readme() -> list[str]:
    """Million samples/s of 64 networks 8-32-32-1 on the same 2,048 rows, 10 epochs of batches of 32, plain SGD."""
    lines = shared()
    where = setting("many.py readme")
    write_between(
        "<!-- many -->", "<!-- /many -->", [f"{readme.__doc__} {where['machine']}, {where['date']}.", "", *lines]
    )
    return lines


TABLES = {"shared": shared, "tiny": tiny, "joblib": joblib, "readme": readme}


if __name__ == "__main__":
    print_tables(__doc__, TABLES)
