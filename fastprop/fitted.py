"""What takes a network or a fitted estimator of :mod:`fastprop.sklearn`, which is not imported for it."""

from typing import Any

import numpy as np

from .core.model import Model


def network_of(net: Any) -> Model:
    """Return a network, or the `network_` of a fitted estimator.

    Raises
    ------
    TypeError
        If it is neither.
    sklearn.exceptions.NotFittedError
        If the estimator is not fitted.
    """
    network = net.network_ if hasattr(type(net), "network_") else net
    if not isinstance(network, Model):
        raise TypeError(f"net is {net!r}; it must be a Network, or a fitted estimator of fastprop.sklearn.")
    return network


def classes_of(estimator: Any) -> list[str | int] | None:
    """Return the labels of a fitted classifier as a network has them, or None if they are no whole numbers or text."""
    classes = getattr(estimator, "classes_", None)
    if classes is None or (estimator.out_activation_ == "logistic" and estimator.n_outputs_ > 1):
        return None
    labels = [str(label) if isinstance(label, str) else label for label in np.asarray(classes).tolist()]
    return labels if all(type(label) in (str, int) for label in labels) else None


def targets_of(net: Any, Y: Any) -> Any:
    """Return the targets that an estimator was given as those of its network: classes as their numbers.

    Raises
    ------
    ValueError
        If a class is not among those of the estimator.
    """
    classes, given = getattr(net, "classes_", None), np.asarray(Y)
    if classes is None or (given.ndim > 1 and given.shape[1:] != (1,)):
        return Y
    given = given.reshape(-1)
    if len(unknown := np.setdiff1d(given, classes)):
        raise ValueError(f"Y has the class {unknown.tolist()[0]!r}; those of the estimator are {classes.tolist()}.")
    return np.searchsorted(classes, given)
