"""The samples of a fit: weights of classes, rows that are held out, and what is measured on them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any, NamedTuple

import numpy as np

from ..checks import number, whole
from ..core import arrays, weights
from ..core.architecture import Architecture
from ..core.engines import Engines
from ..core.sparse import Features, is_sparse
from ..core.weights import Weights
from ..kernels import passes
from ..kernels.scan import address_of


def class_weights(value: Any, Y: np.ndarray, architecture: Architecture, given: Weights | None) -> Weights | None:
    """Return the weights of the samples, or of their outputs, multiplied by those of their classes."""
    if value is None:
        return given
    if is_balanced(value):
        value = balanced(class_counts(Y, architecture), architecture)
    if architecture.multilabel and not isinstance(value, Mapping):
        factor = _weights_of_labels(value, Y)
    else:
        factor = _weights_of_classes(value, Y, architecture.n_classes)
    product = factor if given is None else given.times(factor)
    name = "sample_weight * class_weight"
    result = weights.checked(product, len(Y), architecture.n_weighted, architecture.dtype, name)
    return result and replace(result, normalized=result.normalized or (given is not None and given.normalized))


def _weights_of_classes(value: Any, Y: np.ndarray, n: int) -> np.ndarray:
    """Return the weight of each row's class, one of n."""
    return _table("class_weight", value, n)[_classes(Y)]


def _weights_of_labels(value: Any, Y: np.ndarray) -> np.ndarray:
    """Return the weight of each label of each row: that of class 1 if the row has the label, otherwise of class 0.

    A label that is not known also gets the weight of class 0; the weights it is multiplied by are 0.
    """
    n, has = Y.shape[1], Y == 1
    if not (has | (Y == 0) | np.isnan(Y)).all():
        raise ValueError("class_weight needs labels that are 0 or 1.")
    if isinstance(value, list | tuple):
        if len(value) != n:
            raise ValueError(f"class_weight has {len(value)} dictionaries; this network has {n} labels. Give as many.")
        tables = [_table(f"class_weight[{i}]", each, 2) for i, each in enumerate(value)]
    else:
        raise TypeError(
            f'class_weight is {value!r}; for several labels it must be "balanced" or a list of one dictionary '
            f"{{0: weight, 1: weight}} for each of them."
        )
    without, with_it = np.transpose(tables)
    return np.where(has, with_it, without)


def _classes(Y: np.ndarray) -> np.ndarray:
    """Return the class of each row."""
    classes = arrays.classes_of(Y)
    if classes is None:
        raise ValueError("class_weight needs targets that are classes: labels, one-hot rows, or 0 and 1.")
    return classes


def is_balanced(value: Any) -> bool:
    """Return whether a class_weight is "balanced"."""
    return isinstance(value, str) and value == "balanced"


def class_counts(Y: np.ndarray, architecture: Architecture) -> np.ndarray:
    """Return the number of rows of each class, of shape (1, n); for several labels (n_L, 2), without and with each."""
    if architecture.multilabel:
        return np.stack([np.sum(Y == 0, axis=0), np.sum(Y == 1, axis=0)], axis=1)
    return np.bincount(_classes(Y), minlength=architecture.n_classes)[None]


def balanced(counts: np.ndarray, architecture: Architecture) -> Any:
    """Return the class_weight that makes the sums of the weights of all classes equal, from :func:`class_counts`."""
    present = np.maximum(1, np.count_nonzero(counts, axis=1, keepdims=True))
    tables = counts.sum(axis=1, keepdims=True) / (present * np.maximum(counts, 1))
    listed = [dict(enumerate(table)) for table in tables.tolist()]
    return listed if architecture.multilabel else listed[0]


def _table(name: str, value: Any, n: int) -> np.ndarray:
    """Return the weight of each class from {class: weight}, in which classes of weight 1 may be left out."""
    if not isinstance(value, Mapping):
        raise TypeError(f'{name} is {value!r}; it must be "balanced" or a dictionary {{class: weight}}.')
    table = np.ones(n)
    for label, weight in value.items():
        if whole(f"a class of {name}", label, least=0) >= n:
            raise ValueError(f"{name} has the class {label}; those of this network are 0 to {n - 1}.")
        table[label] = number(f"{name}[{label}]", weight, least=0)
    return table


class HeldOut(NamedTuple):
    """Samples that are measured and not trained on."""

    X: Features
    Y: np.ndarray
    weights: Weights | None = None


@dataclass
class Given:
    """The data of a fit, checked.

    Attributes
    ----------
    architecture : Architecture
        Of the network, or of one of the networks that this is the data of.
    X : Features
    Y : ndarray
    weights : Weights or None
    held_out : HeldOut or None
        Samples that are measured and not trained on.
    fraction : float
        The share of the rows that is still to be held out; 0 for none.
    n_held_out : int
        The number of these rows.
    """

    architecture: Architecture
    X: Features
    Y: np.ndarray
    weights: Weights | None
    held_out: HeldOut | None
    fraction: float = 0.0
    n_held_out: int = 0

    @classmethod
    def checked(
        cls, architecture: Architecture, X: Any, Y: Any, sample_weight: Any, class_weight: Any, validation: Any
    ) -> "Given":
        """Check the arguments of :meth:`fastprop.Network.fit` of these names."""
        X, Y = architecture.check_samples(X, Y)
        given = class_weights(class_weight, Y, architecture, architecture.check_weights(sample_weight, Y))
        count = _count_held_out(validation, len(X), given)
        if count:
            return cls(architecture, X, Y, given, None, validation, count)
        return cls(architecture, X, Y, given, _validation_data(validation, architecture))

    def of_fit(self, seed: int, bootstrap: bool) -> "Given":
        """Return the data of the fit with a seed: this, or with rows that are drawn for it."""
        if not (self.n_held_out or bootstrap):
            return self
        X, Y, given, held_out, source = self.X, self.Y, self.weights, self.held_out, np.random.default_rng(seed)
        if self.n_held_out:
            out, rest = split(Y, self.n_held_out, source, None if given is None else given.samples)
            held_out = HeldOut(X[out], Y[out], given and given.rows(out))
            X, Y, given = X[rest], Y[rest], given and given.rows(rest)
        if bootstrap:
            given = drawn(given, len(X), self.architecture.dtype, source)
        return Given(self.architecture, X, Y, given, held_out)

    @cached_property
    def constant_cost(self) -> float:
        """The cost of the best constant prediction, see :func:`constant_cost`."""
        return constant_cost(self.Y, self.weights, self.architecture)


def drawn(given: Weights | None, m: int, dtype: np.dtype, source: np.random.Generator) -> Weights:
    """Return the weights of m rows after a draw with replacement: how often each was drawn, times its weight.

    As many rows are drawn as have a weight above 0, and from these (bootstrap, Efron 1979).
    """
    rows = np.arange(m) if given is None else np.flatnonzero(given.samples)
    counts = np.bincount(rows[source.integers(len(rows), size=len(rows))], minlength=m).astype(dtype)
    return Weights(counts) if given is None else Weights.of(given.times(counts))


def _count_held_out(validation: Any, m: int, given: Weights | None) -> int:
    """Return the number of rows that a fraction holds out; 0 if `validation` is not a fraction.

    Rows whose weight is 0 are not among them: nothing could be measured on them.
    """
    if not isinstance(validation, float):
        return 0
    rows = m if given is None else np.count_nonzero(given.samples)
    count = round(validation * rows)
    if not 0 < validation < 1 or not 1 <= count < rows:
        counted = "rows" if rows == m else "rows with a weight above 0"
        raise ValueError(
            f"validation is {validation} of {rows} {counted}; a fraction must hold out a row and leave one."
        )
    return count


def _validation_data(validation: Any, architecture: Architecture) -> HeldOut | None:
    """Return the validation data that the user gave, checked."""
    if validation is None:
        return None
    if not isinstance(validation, tuple | list) or len(validation) not in (2, 3):
        raise TypeError(
            "validation must be a pair (X, Y), a triple (X, Y, sample_weight), or the fraction of the rows to hold out."
        )
    X = architecture.check_rows(validation[0], "validation X")
    Y = architecture.check_targets(validation[1], len(X), "validation Y")
    sample_weight = validation[2] if len(validation) == 3 else None
    return HeldOut(X, Y, architecture.check_weights(sample_weight, Y, "validation sample_weight", "validation Y"))


def split(
    Y: np.ndarray, count: int, generator: np.random.Generator, row_weights: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Draw the rows that are held out; return them and the others, each in order.

    The same share of every class is held out, as nearly as possible, and no row whose weight is 0.
    """
    rows, classes = generator.permutation(len(Y)), arrays.classes_of(Y)
    if row_weights is not None:
        rows = rows[row_weights[rows] > 0]
    if classes is not None:
        rows = rows[np.argsort(classes[rows], kind="stable")]
    # evenly spaced among the rows, sorted by class
    held_out = rows[(np.arange(count) * len(rows) + len(rows) // 2) // count]
    return np.sort(held_out), np.setdiff1d(np.arange(len(Y)), held_out)


def constant_cost(Y: np.ndarray, given: Weights | None, architecture: Architecture) -> float:
    """Return the cost of the best constant prediction, without the penalty; NaN for a loss that has no formula here."""
    loss, share = architecture.loss.label, np.ones(1)
    values = None if given is None else given.values
    if Y.ndim == 1:
        counts = np.bincount(Y, values, minlength=architecture.sizes[-1])
        mean = square = counts / counts.sum()
    else:
        if given is not None:
            Y = np.where(given.values.reshape(len(Y), -1) > 0, Y, 0)  # what does not count may be NaN
        if given is not None and given.outputs is not None:
            share = given.outputs.mean(axis=0, dtype=np.float64) / given.samples.mean(dtype=np.float64)
            values = np.where(share > 0, given.outputs, 1)
        mean = np.average(Y, axis=0, weights=values).astype(np.float64)
        square = np.average(np.square(Y, dtype=np.float64), axis=0, weights=values)
    with np.errstate(divide="ignore", invalid="ignore"):
        costs = {
            "mse": (square - mean**2) / 2,
            "binary_crossentropy": -np.nan_to_num(mean * np.log(mean)) - np.nan_to_num((1 - mean) * np.log1p(-mean)),
            "cross_entropy": -np.nan_to_num(mean * np.log(mean)),
            "poisson": mean - np.nan_to_num(mean * np.log(mean)),
        }
    return float(np.sum(share * costs[loss])) if loss in costs else np.nan


def accuracy(Y_hat: np.ndarray, Y: np.ndarray, given: Weights | None = None) -> float:
    """Return the share of samples whose class is predicted right, by weight."""
    like, where = arrays.LIKE[Y_hat.dtype], weights.addresses(Y, given)[:3]
    return passes.accuracy(like, address_of(Y_hat), *where, *Y_hat.shape)


def score(net: Architecture, Y_hat: np.ndarray, Y: np.ndarray, given: Weights | None = None) -> float:
    """Return what :meth:`fastprop.Network.score` does, of predictions."""
    if net.classifies:
        return accuracy(Y_hat, Y, given)
    w = np.ones((1, 1)) if given is None else given.values.reshape(len(Y), -1).astype(np.float64)
    if net.multilabel:
        right = (((Y_hat > 0.5) == (Y > 0.5)) | (w == 0)).all(axis=1)
        return float(np.average(right, weights=None if given is None else given.samples))
    w = np.broadcast_to(w, Y.shape)
    return r_squared(np.where(w > 0, Y, 0).astype(np.float64), Y_hat, w)  # what does not count may be NaN


def r_squared(Y: np.ndarray, Y_hat: np.ndarray, weights: np.ndarray | None) -> float:
    """Compute scikit-learn's r2_score without its checks, which take longer than an epoch of a small network."""
    if weights is not None and weights.ndim == 2:  # an output without any weight has no R²
        known = weights.sum(axis=0) > 0
        Y, Y_hat, weights = Y[:, known], Y_hat[:, known], weights[:, known]
    average = partial(np.average, axis=0, weights=weights)
    total = average((Y - average(Y)) ** 2)
    with np.errstate(over="ignore", invalid="ignore"):  # as a training diverges
        residual = average((Y - Y_hat) ** 2)
    varies = total > 0
    return float(np.mean(np.where(varies, 1 - residual / np.where(varies, total, 1), residual == 0)))


def measure(
    engines: Engines, held_out: HeldOut, metrics: Mapping[str, Callable[[Any, Any], float]]
) -> tuple[dict[str, float], dict[str, float]]:
    """Measure held-out data on a network's engines; return it by the names of the history's lists, and the metrics."""
    X, Y, given = held_out
    with engines.lend(len(X), is_sparse(X)) as engine:
        measured = {"validation_loss": engine.loss(X, Y, given)}
        if engines.architecture.classifies or metrics:
            Y_hat = engine.forward(X, transpose=False)
    if engines.architecture.classifies:
        measured["validation_accuracy"] = accuracy(Y_hat, Y, given)
    return measured, {name: float(metric(Y, Y_hat)) for name, metric in metrics.items()}
