"""Weights: how much each sample, or each output of each sample, counts in the cost."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..kernels.plan import FLOAT64
from ..kernels.scan import address_of
from . import arrays

LEAST, MOST = 1e-30, 1e30  # weights within are taken as they are


@dataclass(frozen=True)
class Weights:
    """The weights of some rows.

    With a weight for each output, the cost is J = Σ w·ℓ / (Σ w/n_L), so that a weight that all outputs of a row share
    is the weight of the row.

    Attributes
    ----------
    samples : ndarray of shape (m,), of the network's dtype
        The weight of each row, which is the mean over its outputs.
    outputs : ndarray of shape (m, n_L), of the network's dtype, or None
        The weight of each output; None if all outputs of a row have the weight of the row.
    normalized : bool
        Whether they were divided by their mean.
    """

    samples: np.ndarray
    outputs: np.ndarray | None = None
    normalized: bool = False

    @classmethod
    def of(cls, values: np.ndarray, normalized: bool = False) -> "Weights":
        """Return contiguous numbers of shape (m,), (m, 1) or (m, n_L) as weights."""
        if values.ndim == 1 or values.shape[1] == 1:
            return cls(values.reshape(-1), normalized=normalized)
        return cls(values.mean(axis=1, dtype=np.float64).astype(values.dtype), values, normalized)

    @property
    def values(self) -> np.ndarray:
        """The weights of the outputs if they have any of their own, otherwise those of the samples."""
        return self.samples if self.outputs is None else self.outputs

    def rows(self, which: np.ndarray) -> "Weights":
        """Return the weights of some rows."""
        return Weights(self.samples[which], None if self.outputs is None else self.outputs[which])

    def times(self, factor: np.ndarray) -> np.ndarray:
        """Return the product with a factor for each sample, or for each output of each sample."""
        if self.outputs is not None and factor.ndim == 1:
            return self.outputs * factor[:, None]
        return factor * (self.samples[:, None] if factor.ndim > self.values.ndim else self.values)


def checked(sample_weight: Any, m: int, n: int, dtype: np.dtype, name: str = "sample_weight") -> Weights | None:
    """Return sample_weight of shape (m,), or (m, n), n being the number of outputs that may have weights of their own.

    No weight may be negative, and at least one must be positive. The cost is a mean by weight, so that a factor of all
    weights does not change it: weights that are too large or too small for their sums to stay in the range of float32,
    such as inverse variances may be, are divided by their mean.
    """
    if sample_weight is None:
        return None
    known = type(sample_weight) is np.ndarray and sample_weight.dtype == dtype
    w = arrays.reals(name, sample_weight, dtype if known else FLOAT64)
    if w.shape != (m,) and (w.shape != (m, n) or not n):
        other = f" or ({m}, {n}), one for each output" if n > 1 else ""
        softmax = " The outputs of a softmax have one loss together." if not n and w.ndim == 2 else ""
        raise ValueError(
            f"{name} has shape {w.shape}; it must be ({m},), one weight for each row of X{other}.{softmax}"
        )
    if w.min() < 0 or w.max() <= 0:
        raise ValueError(f"{name} lies in [{w.min():g}, {w.max():g}]; none may be negative, and not all 0.")
    extreme = bool(((w > 0) & ((w < LEAST) | (w > MOST))).any())
    if extreme:
        w = _normalized(w)
    return Weights.of(w.astype(dtype, copy=False), extreme)


def _normalized(w: np.ndarray) -> np.ndarray:
    """Return weights over the mean of those above 0, with which the cost stays what it is, in float64.

    A weight below 1e-30 of that mean becomes 0.
    """
    w = w / np.float64(w.max())
    w /= w[w > 0].mean()
    w[w < LEAST] = 0
    return w


def of_known(weights: Weights | None, Y: np.ndarray, name: str = "Y") -> Weights | None:
    """Return the weights with 0 for targets that are NaN.

    Raises
    ------
    ValueError
        If nothing is left that counts.
    """
    unknown = np.isnan(Y)
    if not unknown.any():
        return weights
    values = np.ones(Y.shape, Y.dtype)
    if weights is not None:
        values *= weights.values.reshape(len(Y), -1)
    values[unknown] = 0
    if not values.any():
        raise ValueError(f"{name} has no known target with a weight above 0; at least one must be a number.")
    return Weights.of(values)


def addresses(Y: np.ndarray | None, given: Weights | None) -> tuple[int, int, int, int]:
    """Return the addresses of targets, labels, and the weights of samples and of outputs; 0 for what there is not."""
    where = 0 if Y is None else address_of(Y)
    targets, labels = (0, where) if Y is not None and Y.dtype == np.int64 else (where, 0)
    samples = 0 if given is None else address_of(given.samples)
    outputs = 0 if given is None or given.outputs is None else address_of(given.outputs)
    return targets, labels, samples, outputs
