"""The samples of a fit: weights of classes, rows that are held out, and what is measured on them."""

from collections.abc import Mapping
from typing import Any

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


def held_out_fraction(validation: Any, m: int) -> float:
    """Return the share of the rows that is held out; 0 if `validation` is not a fraction."""
    if not isinstance(validation, float):
        return 0.0
    if not 0 < validation < 1 or not 1 <= round(validation * m) < m:
        raise ValueError(f"validation is {validation} of {m} rows; a fraction must hold out a row and leave one.")
    return validation


def validation_pair(validation: Any, architecture: Architecture) -> tuple[np.ndarray, np.ndarray] | None:
    """Return X and Y of the validation data that the user gave, checked."""
    if validation is None:
        return None
    if not isinstance(validation, tuple | list) or len(validation) != 2:
        raise TypeError("validation must be a pair (X, Y), or the fraction of the rows to hold out.")
    X = architecture.check_features(validation[0], "validation X")
    return X, architecture.check_targets(validation[1], len(X), "validation Y")


def split(Y: np.ndarray, fraction: float, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Draw the rows that are held out; return them and the others, each in order.

    The same share of every class is held out, as nearly as possible.
    """
    rows, classes = generator.permutation(len(Y)), arrays.classes_of(Y)
    if classes is not None:
        rows = rows[np.argsort(classes[rows], kind="stable")]
    count = round(fraction * len(Y))
    places = (np.arange(count) * len(Y) + len(Y) // 2) // count  # evenly spaced among the rows, sorted by class
    held_out = rows[places]
    return np.sort(held_out), np.setdiff1d(np.arange(len(Y)), held_out)


def accuracy(Y_hat: np.ndarray, Y: np.ndarray) -> float:
    """Return the share of samples whose class is predicted right."""
    if Y_hat.shape[1] == 1:
        return float(np.mean((Y_hat > 0.5) == (Y > 0.5)))
    return float(np.mean(Y_hat.argmax(axis=1) == (Y if Y.ndim == 1 else Y.argmax(axis=1))))


def measure(model: Model, X: np.ndarray, Y: np.ndarray) -> dict[str, float]:
    """Measure held-out data, by the names of the history's lists."""
    with model.engines.lend(len(X)) as engine:
        measured = {"validation_loss": engine.loss(X, Y)}
    if model.architecture.classifies:
        with model.engines.lend(len(X)) as engine:
            Y_hat = engine.forward(X, transpose=False)
        measured["validation_accuracy"] = accuracy(Y_hat, Y)
    return measured
