"""The samples of a fit: weights of classes, rows that are held out, and what is measured on them."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from ..checks import number, whole
from ..core import arrays
from ..core.architecture import Architecture
from ..core.model import Model


def class_weights(
    value: Any, Y: np.ndarray, architecture: Architecture, weights: np.ndarray | None
) -> np.ndarray | None:
    """Return the weights of the samples multiplied by those of their classes."""
    if value is None:
        return weights
    classes, n = arrays.classes_of(Y), architecture.n_classes
    if classes is None:
        raise ValueError("class_weight needs targets that are classes: labels, one-hot rows, or 0 and 1.")
    counts = np.bincount(classes, minlength=n)
    if isinstance(value, str) and value == "balanced":
        table = len(classes) / (np.count_nonzero(counts) * np.maximum(counts, 1))
    elif isinstance(value, Mapping):
        table = np.ones(n)
        for label, weight in value.items():
            if whole("a class of class_weight", label, least=0) >= n:
                raise ValueError(f"class_weight has the class {label}; those of this network are 0 to {n - 1}.")
            table[label] = number(f"class_weight[{label}]", weight, least=0)
    else:
        raise TypeError(f'class_weight is {value!r}; it must be "balanced" or a dictionary {{class: weight}}.')
    return arrays.weights(table[classes] * (1 if weights is None else weights), len(classes))


class HeldOut(NamedTuple):
    """Samples that are measured and not trained on."""

    X: np.ndarray
    Y: np.ndarray
    weights: np.ndarray | None = None


def n_held_out(validation: Any, m: int, weights: np.ndarray | None) -> int:
    """Return the number of rows that a fraction holds out; 0 if `validation` is not a fraction.

    Rows whose weight is 0 are not among them: nothing could be measured on them.
    """
    if not isinstance(validation, float):
        return 0
    rows = m if weights is None else np.count_nonzero(weights)
    count = round(validation * rows)
    if not 0 < validation < 1 or not 1 <= count < rows:
        counted = "rows" if rows == m else "rows with a weight above 0"
        raise ValueError(
            f"validation is {validation} of {rows} {counted}; a fraction must hold out a row and leave one."
        )
    return count


def validation_data(validation: Any, architecture: Architecture) -> HeldOut | None:
    """Return the validation data that the user gave, checked."""
    if validation is None:
        return None
    if not isinstance(validation, tuple | list) or len(validation) not in (2, 3):
        raise TypeError(
            "validation must be a pair (X, Y), a triple (X, Y, sample_weight), or the fraction of the rows to hold out."
        )
    X = architecture.check_features(validation[0], "validation X")
    Y = architecture.check_targets(validation[1], len(X), "validation Y")
    weights = arrays.weights(validation[2], len(X), "validation sample_weight") if len(validation) == 3 else None
    return HeldOut(X, Y, weights)


def split(
    Y: np.ndarray, count: int, generator: np.random.Generator, weights: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Draw the rows that are held out; return them and the others, each in order.

    The same share of every class is held out, as nearly as possible, and no row whose weight is 0.
    """
    rows, classes = generator.permutation(len(Y)), arrays.classes_of(Y)
    if weights is not None:
        rows = rows[weights[rows] > 0]
    if classes is not None:
        rows = rows[np.argsort(classes[rows], kind="stable")]
    # evenly spaced among the rows, sorted by class
    held_out = rows[(np.arange(count) * len(rows) + len(rows) // 2) // count]
    return np.sort(held_out), np.setdiff1d(np.arange(len(Y)), held_out)


def constant_cost(Y: np.ndarray, weights: np.ndarray | None, architecture: Architecture) -> float:
    """Return the cost of the best constant prediction, without the penalty; NaN for a loss that has no formula here."""
    loss = architecture.loss.label
    if Y.ndim == 1:
        counts = np.bincount(Y, weights, minlength=architecture.sizes[-1])
        mean = counts / counts.sum()
    else:
        mean = np.average(Y, axis=0, weights=weights).astype(np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        if loss == "mse":
            squares = mean if Y.ndim == 1 else np.average(np.square(Y, dtype=np.float64), axis=0, weights=weights)
            return float(np.sum(squares - mean**2)) / 2
        if loss == "binary_crossentropy":
            return float(-np.nansum(mean * np.log(mean)) - np.nansum((1 - mean) * np.log1p(-mean)))
        if loss == "cross_entropy":
            return float(-np.nansum(mean * np.log(mean)))
        if loss == "poisson":
            return float(np.sum(mean) - np.nansum(mean * np.log(mean)))
    return np.nan


def accuracy(Y_hat: np.ndarray, Y: np.ndarray, weights: np.ndarray | None = None) -> float:
    """Return the share of samples whose class is predicted right, by weight."""
    if Y_hat.shape[1] == 1:
        right = ((Y_hat > 0.5) == (Y > 0.5))[:, 0]
    else:
        right = Y_hat.argmax(axis=1) == (Y if Y.ndim == 1 else Y.argmax(axis=1))
    return float(np.average(right, weights=weights))


def measure(model: Model, held_out: HeldOut) -> dict[str, float]:
    """Measure held-out data, by the names of the history's lists."""
    X, Y, weights = held_out
    with model.engines.lend(len(X)) as engine:
        measured = {"validation_loss": engine.loss(X, Y, weights)}
    if model.architecture.classifies:
        with model.engines.lend(len(X)) as engine:
            Y_hat = engine.forward(X, transpose=False)
        measured["validation_accuracy"] = accuracy(Y_hat, Y, weights)
    return measured
