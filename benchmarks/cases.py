"""The six networks of all measurements and of many tests, from tiny to large, and their data."""

from typing import NamedTuple

import numpy as np


class Case(NamedTuple):
    """A network and its batch size."""

    name: str
    sizes: tuple[int, ...]
    hidden: str | tuple[str, ...]
    output: str
    batch: int


SHAPES = (
    Case("xs", (8, 32, 32, 1), "relu", "sigmoid", 32),
    Case("s", (17, 64, 64, 6), "relu", "identity", 64),
    Case("digits", (64, 128, 64, 10), "relu", "softmax", 128),
    Case("mnist", (784, 256, 128, 10), "relu", "softmax", 128),
    Case("wide", (784, 1024, 1024, 10), "relu", "softmax", 256),
    Case("xl", (1024, 4096, 4096, 1024), "relu", "identity", 512),
)
NAMES = [case.name for case in SHAPES]
LR = 1e-3


def named(name: str) -> Case:
    """Return the case of a name."""
    return SHAPES[NAMES.index(name)]


MOST_ROWS = 2**16  # several megabytes, a usual size of data for the small cases
WORK = 9e9  # FLOPs of an epoch: 0.1 s on a core of 90 GFLOP/s


def rows_of(case: Case, flops_per_sample: int, least: int = 1) -> int:
    """Return the rows of as many whole batches as take about a tenth of a second; of at least `least` batches."""
    steps = int(WORK / flops_per_sample / case.batch)
    return min(MOST_ROWS // case.batch, max(least, steps)) * case.batch


def random_data(case: Case, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Return random rows X and dense targets Y, float32; classes are one-hot."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n, case.sizes[0]), dtype=np.float32)
    n_out = case.sizes[-1]
    if case.output == "identity":
        return X, rng.standard_normal((n, n_out), dtype=np.float32)
    if case.output == "sigmoid":
        return X, rng.integers(0, 2, (n, n_out)).astype(np.float32)
    return X, np.eye(n_out, dtype=np.float32)[rng.integers(0, n_out, n)]
