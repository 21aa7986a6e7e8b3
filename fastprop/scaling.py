"""Scales and offsets of the data: which X and Y a network and an optimizer of usual learning rates can work with.

:func:`fastprop.diagnose` reports what is found here, and the warnings of ``fit`` say what to scale.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from .core import arrays, forms
from .core.architecture import Architecture
from .core.sparse import Features, SparseRows

# The measurements of inputs are of networks of up to 12 hidden layers on scikit-learn's digits, scaled to 0 … 1, after
# 20 epochs with batches of 64; those that learn reach accuracies of 0.85 to 0.93.
LARGE_INPUT = 10.0  # SGD(0.1) learns pixels in 0 … 10; in 0 … 16 half of a layer dies, in 0 … 30 nothing is learned
SMALL_INPUT = 0.01  # in 0 … 0.1 it reaches an accuracy of 0.79, in 0 … 0.01 of 0.31
# The measurements of offsets and targets are R² on 500 held-out rows of networks (8, 64, 32, 1) after 200 epochs on
# 1,000 rows with batches of 32: y = sin 2x₀ + x₁·x₂ of normal features, scaled. With means of 0 and variances of 1,
# Adam(0.001), Adam(0.01) and SGD(0.05) reach 0.85, 0.94 and 0.82; without x₀ about 0.37 is left. All of them come from
# benchmarks/scales.py.
LARGE_OFFSET = 10.0
# |mean|/std of a column whose root mean square is 1. All columns at 3: 0.87, 0.95 and 0.75; at 10: 0.60, 0.86 and 0.58;
# at 30: 0.09, 0 and 0. x₀ alone at 3: 0.46, 0.85 and 0.55; at 10, where most of x₀ is lost: 0.47, 0.44 and 0.51.
LEAST_KEPT = 0.5  # of the different values of a column: with fewer most rows look like another one
LARGE_TARGET = 10.0
# SGD(0.1) learns a std of 3 (0.92), not of 10; SGD(0.05) learns 10 (0.93) and diverges at 30. Means of 30, 100 and 300
# with a std of 1 leave Adam(0.001) 0.79, 0.24 and below 0, and SGD(0.05) diverges with all three.
SMALL_TARGET = 0.05  # a std of 0.1 leaves them 0.46, 0.90 and 0.47; 0.03: −0.90, 0.71 and 0.12; 0.01: −12, 0.50, −0.38
EXPLAINED = 0.5  # networks that explain half of the variance have learned to work with their targets
SOME_ROWS = 10_000  # the largest number of rows, evenly spaced, that are examined
SOME_VALUES = 2**24  # the same in values


class Remark(NamedTuple):
    """What is wrong with the data, and the remedy.

    Attributes
    ----------
    text, remedy : str
    factor : str
        The argument of a network that scales X, such as ``"scale=1/255"``, if that is the remedy.
    """

    text: str
    remedy: str
    factor: str = ""


@dataclass(frozen=True)
class Rows:
    """X and Y as the kernels read them, and what their scales are like as the user gave them.

    Attributes
    ----------
    X, Y : ndarray
    offset : Remark or None
        What is wrong with columns of X that lie far from 0.
    unscaled : Remark or None
        What is wrong with the size of the other columns.
    """

    X: np.ndarray
    Y: np.ndarray
    offset: Remark | None
    unscaled: Remark | None
    _given: Any
    _targets: np.ndarray

    @classmethod
    def of(cls, architecture: Architecture, X: Any, Y: Any) -> "Rows":
        """Check X and Y, and examine the scale of X.

        Raises
        ------
        ValueError, TypeError
            If X or Y does not fit.
        """
        rows = architecture.check_batch(X, Y)
        columns = Columns(X, rows[0])
        targets = arrays.array("Y", Y)
        unscaled = _unscaled(rows[0], architecture.scale, columns)
        if targets.size < rows[1].size:  # one column for all outputs
            targets = np.repeat(targets.reshape(-1, 1), rows[1].shape[1], axis=1)
        return cls(*rows, columns.remark(), unscaled, Y, targets.reshape(rows[1].shape))

    def targets(self, architecture: Architecture, Y_hat: np.ndarray) -> Remark | None:
        """Return what is wrong with the scale of Y, unless the outputs Ŷ of the network already have that scale."""
        if not _in_units_of_outputs(architecture, self.Y):
            return None
        mean, std = _mean_and_std(self._targets)
        error, _ = _mean_and_std((_some(self._targets) - _some(Y_hat)) ** 2)
        large = np.maximum(np.abs(mean), std)
        wrong = ((large > LARGE_TARGET) | (std < SMALL_TARGET)) & (std > 0) & (error > (1 - EXPLAINED) * std**2)
        if not wrong.any():
            return None
        worst = int(np.where(wrong, np.maximum(large, 1 / np.where(std > 0, std, 1)), 0).argmax())
        name = "Y" if len(std) == 1 else forms.column("Y", self._given, worst)
        outputs = Y_hat[:, worst]
        return Remark(
            f"{name} has a mean of {mean[worst]:.3g} and a standard deviation of {std[worst]:.3g}; those of the "
            f"outputs are {outputs.mean(dtype=float):.3g} and {outputs.std(dtype=float):.3g}.",
            _remedy_of_targets(architecture),
        )


class Columns:
    """The means and spreads of the columns of X, as it was given, and the digits that the network drops.

    Attributes
    ----------
    mean, std : ndarray of shape (n,), float64
    offset : ndarray of shape (n,), float64
        |mean|/std; 0 for a column with at most two values.
    lost : dict of int to (int, int)
        The columns of which the network's dtype keeps less than half of the different values: how many there are, and
        are kept.
    """

    def __init__(self, given: Any, X: np.ndarray):
        """Examine X, as the kernels read it; `given` is the same as the user passed it."""
        self.given: Any = given
        self.dtype: np.dtype = X.dtype
        values = _some(arrays.array("X", given), as_float64=False)
        mean, std = _mean_and_std(values)
        self.mean: np.ndarray = mean
        self.std: np.ndarray = std
        self.offset: np.ndarray = np.divide(
            np.abs(self.mean), self.std, out=np.zeros(len(self.std)), where=self.std > 0
        )
        for j in np.flatnonzero(self.offset > LARGE_OFFSET):
            if len(np.unique(values[:, j])) <= 2:  # 0 and 1 for what nearly all rows have
                self.offset[j] = 0
        kept = values.dtype == X.dtype or np.can_cast(values.dtype, np.float32)
        self.lost: dict[int, tuple[int, int]] = {} if kept else _lost(values, _some(X, as_float64=False))

    @property
    def far(self) -> np.ndarray:
        """The columns whose mean has to be subtracted, the farthest first."""
        lost = np.isin(np.arange(len(self.offset)), list(self.lost))
        found = np.flatnonzero((self.offset > LARGE_OFFSET) | lost)
        return found[np.argsort(-self.offset[found], kind="stable")]

    def remark(self) -> Remark | None:
        """Return what is wrong with columns that lie far from 0."""
        if not len(self.far):
            return None
        j, others = int(self.far[0]), len(self.far) - 1
        text = (
            f"{forms.column('X', self.given, j)} has a mean of {self.mean[j]:.4g} and a standard deviation of "
            f"{self.std[j]:.3g}"
        )
        if j in self.lost:
            count, kept = self.lost[j]
            text += f"; of its {count:,} different values {self.dtype.name} keeps {kept:,}"
        if others:
            text += f"; {others} other column{'s are' if others > 1 else ' is'} like it"
        centre = "mean" if self.offset[j] > LARGE_OFFSET else "median"
        return Remark(text + ".", f"Subtract the {centre} in float64, before anything else: take (X - {centre})/std.")


def _lost(values: np.ndarray, X: np.ndarray) -> dict[int, tuple[int, int]]:
    """Return the columns of which X keeps less than half of the distinct values, with both counts.

    An offset does that, or values that lie close together beside a few that lie far away.
    """
    found = {}
    for j in range(values.shape[1]):
        given, kept = len(np.unique(values[:, j])), len(np.unique(X[:, j]))
        if kept < LEAST_KEPT * given:
            found[j] = given, kept
    return found


def _unscaled(X: np.ndarray, scale: float, columns: Columns) -> Remark | None:
    """Return what is wrong with the size of X, apart from columns that lie far from 0."""
    sizes = scale * np.sqrt(np.einsum("ij,ij->j", X, X, dtype=np.float64) / len(X))
    sizes[columns.far] = 0
    worst, largest = int(sizes.argmax()), scale * max(-float(X.min()), float(X.max()))
    name = forms.column("X", columns.given, worst)
    if largest == 0:
        return Remark("all of X is 0.", "Look at how X is read: there is nothing to learn from.")
    if sizes[worst] > LARGE_INPUT:
        text = f"{name} has a root mean square of {sizes[worst]:.3g}; it should be about 1."
    elif largest < SMALL_INPUT:
        text = f"the largest |x| is {largest:.3g}; features should have a root mean square of about 1."
    else:
        return None
    factor = _factor(X, columns)
    return Remark(text, _remedy_of_inputs(X, columns, factor), factor)


def _factor(X: np.ndarray, columns: Columns) -> str:
    """Return the argument of a network that scales pixels; an empty string for other data."""
    if X.dtype != np.uint8 and not _are_pixels(X, columns.std):
        return ""
    top = float(X.max())
    return "scale=1/255" if 127 < top <= 255 else f"scale=1/{top:.0f}"


def _remedy_of_inputs(X: np.ndarray, columns: Columns, factor: str) -> str:
    """Return how X is scaled: pixels by a factor, other columns each by its mean and standard deviation."""
    if X.dtype == np.uint8:
        return f"X is uint8: make the network with {factor}."
    if factor:
        return f"All of X are whole numbers in 0 … {X.max():.0f}, like pixels: make the network with {factor}."
    constant = np.flatnonzero(columns.std == 0)
    remedy = "Take (X - mean)/std instead, with the mean and std of each column of the training data."
    if len(constant):
        remedy += f" Leave out columns whose std is 0, such as {forms.column('X', columns.given, int(constant[0]))}."
    return remedy


def _are_pixels(X: np.ndarray, std: np.ndarray) -> bool:
    """Return whether X are whole numbers from 0 to at most 255, of which most columns reach half of the largest."""
    X = _some(X, as_float64=False)
    top = X.max(axis=0)[std > 0]
    if not len(top) or X.min() != 0 or not 1 < top.max() <= 255 or (np.floor(X) != X).any():
        return False
    return bool(np.median(top) >= top.max() / 2)


# ---- targets -----------------------------------------------------------------------------------------------------


def _in_units_of_outputs(architecture: Architecture, Y: np.ndarray) -> bool:
    """Return whether outputs without bounds should equal Y: at ŷ = y the loss has a slope of 0, unlike Poisson's."""
    if Y.ndim == 1 or architecture.output.span is not None:
        return False
    known = np.nan_to_num(Y)
    return not architecture.loss(known, known, deriv=True).any()


def _remedy_of_targets(architecture: Architecture) -> str:
    how = "train on (Y - mean)/std, with the mean and std of the training data, and take prediction*std + mean"
    if architecture.output.label != "identity":
        how = f'with output="identity" {how}; with this output, which may have no negative values, divide Y by its std'
    return f"Scale Y: {how}. For estimators, scikit-learn's TransformedTargetRegressor does both."


# ---- for the warnings of a fit -----------------------------------------------------------------------------------


def advice(architecture: Architecture, X: Features, Y: np.ndarray) -> str:
    """Return what to scale so that a fit does not diverge, such as ``" or scale Y: (Y - mean)/std"``, or nothing."""
    with np.errstate(all="ignore"):  # X and Y may hold what is not finite
        what = _advice_on_rows(X, architecture.scale) if isinstance(X, SparseRows) else _advice_on_X(X, architecture)
        if _in_units_of_outputs(architecture, Y) and np.abs(_mean_and_std(Y)).max() > LARGE_TARGET:
            what.append("scale Y: (Y - mean)/std")
    return "".join(f" or {item}" for item in what)


def _advice_on_X(X: np.ndarray, architecture: Architecture) -> list[str]:
    columns = Columns(X, X)
    remark = _unscaled(X, architecture.scale, columns)
    if remark and remark.factor:
        return [f"make the network with {remark.factor}"]
    return ["scale X: (X - mean)/std of each column"] if remark or len(columns.far) else []


def _advice_on_rows(X: SparseRows, scale: float) -> list[str]:
    """Return what to do about a column of a sparse X that is too large; a mean cannot be subtracted from it."""
    squares = np.bincount(X.columns, np.square(X.values, dtype=np.float64), X.shape[1])
    large = len(squares) and scale * np.sqrt(squares.max() / len(X)) > LARGE_INPUT
    return ["scale X: divide each column by its largest |x|"] if large else []


# ---- rows --------------------------------------------------------------------------------------------------------


def _some(a: np.ndarray, as_float64: bool = True) -> np.ndarray:
    """Return some rows of a matrix, evenly spaced, or all if they are few."""
    most = max(1, min(SOME_ROWS, SOME_VALUES // max(1, a.shape[1])))
    rows = a[:: -(-len(a) // most)]
    return rows.astype(np.float64) if as_float64 else rows


def _mean_and_std(a: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean and the standard deviation of the values of each column that are finite, in float64."""
    values = _some(a)
    if not np.isfinite(values).all():
        masked = np.ma.masked_invalid(values)
        return masked.mean(axis=0).filled(0.0), masked.std(axis=0).filled(0.0)
    return values.mean(axis=0), values.std(axis=0)
