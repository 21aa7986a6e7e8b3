"""Argument validation of arrays: they are checked and converted once, here; the kernels check nothing.

Every message names the value, the rule and the remedy. Arrays that already are C-contiguous and of the network's dtype
pass through one compiled check of shape and values and are not copied.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..kernels import scan
from ..kernels.plan import FLOAT32, FLOAT64
from ..kernels.scan import FLOAT32_MAX, FLOAT64_MAX, MOST_SAMPLES
from . import forms

# The largest finite number of each dtype of a network, and a number that tells it to compiled functions of addresses.
MOST: dict[np.dtype, float] = {FLOAT32: FLOAT32_MAX, FLOAT64: FLOAT64_MAX}
LIKE: dict[np.dtype, Any] = {FLOAT32: np.float32(0), FLOAT64: np.float64(0)}


def is_finite(a: np.ndarray) -> bool:
    """Return whether a contiguous array of floats holds neither NaN nor infinity, without allocating a temporary."""
    most = MOST[a.dtype]
    return bool(scan.first_outside(LIKE[a.dtype], scan.address_of(a), a.size, -most, most) < 0)


def array(name: str, value: Any, remedy: str = forms.NUMBERS) -> np.ndarray:
    """Return any array_like, series or frame as a real numeric array; `remedy` says what to do with text."""
    if type(value) is np.ndarray and value.dtype.kind in "fiub":
        return value
    return forms.numbers(name, value, remedy)


def is_matrix(value: Any, dtype: np.dtype) -> bool:
    """Return whether a value is a C-contiguous matrix of a dtype, which the kernels read as it is."""
    return type(value) is np.ndarray and value.dtype == dtype and value.ndim == 2 and value.flags.c_contiguous


def _reals(
    name: str,
    value: np.ndarray,
    dtype: np.dtype,
    low: float = -np.inf,
    high: float = np.inf,
    who: str = "",
    finite: bool = True,
    given: Any = None,
    missing: bool | None = None,
) -> np.ndarray:
    """Return `value` as C-contiguous numbers within [low, high], the range of `who`; without a copy if possible.

    Without `finite`, NaN and infinity are accepted, with `missing` NaN; None says that NaN has no meaning. `given` is
    what `value` was made from: if it is a frame, errors name its column.
    """
    result = value
    most = MOST[dtype]
    low, high = max(low, -most), min(high, most)
    if value.dtype != dtype or not value.flags.c_contiguous:
        with np.errstate(over="ignore"):
            result = np.ascontiguousarray(value, dtype=dtype).reshape(value.shape)
    where = scan.first_outside(LIKE[dtype], scan.address_of(result), result.size, low, high)
    if where >= 0 and (missing or not finite):
        outside = (result < low) | (result > high)  # NaN is neither
        if not finite:
            outside &= np.isfinite(result)
        where = int(outside.argmax()) if outside.any() else -1
    if where >= 0:
        index = np.unravel_index(where, result.shape)
        place = f"{name}[{', '.join(str(i) for i in index)}]"
        if forms.is_frame(given):
            place += f" (column {list(given.columns)[int(index[1])]!r})"
        x = value[index]
        if np.isfinite(result[index]):
            raise ValueError(f"{place} is {x:g}; {who} lie between {low:g} and {high:g}.")
        unknown = missing is False and np.isnan(x)
        hint = " For targets that are not known, make the network with missing=True." if unknown else ""
        raise ValueError(not_finite(place, name, x, dtype, hint))
    return result


def reals(name: str, value: Any, dtype: np.dtype = FLOAT32) -> np.ndarray:
    """Return any real array as finite C-contiguous numbers of a dtype."""
    return _reals(name, array(name, value), dtype)


def columns(name: str, value: Any, dtype: np.dtype, n: int, m: int | None = None) -> np.ndarray:
    """Return an array of the drop-in functions as C-contiguous (n, m) of a dtype: samples are columns."""
    if (
        is_matrix(value, dtype)
        and len(value) == n
        and scan.fits(value, value.shape[1] if m is None else m)
        and value.size
    ):
        return value
    given = array(name, value)
    if given.ndim != 2 or given.shape[0] != n or given.shape[1] < 1 or (m is not None and given.shape[1] != m):
        raise ValueError(
            f"{name} has shape {given.shape}; it must be ({n}, {'m' if m is None else m}), one column per sample."
        )
    return _reals(name, given, dtype)


def features(X: Any, n: int, dtype: np.dtype, finite: bool = True, name: str = "X") -> np.ndarray:
    """Return X, of shape (m, n) with m ≥ 1, C-contiguous and of a dtype or uint8; with `finite`, NaN is refused."""
    if is_matrix(X, dtype) and scan.fits(X, n):
        return X
    given, X = X, array(name, X, forms.CATEGORIES)
    check_shape(name, X.shape, n, _as_matrix(name, given, n) if X.ndim == 1 else "")
    return np.ascontiguousarray(X) if X.dtype == np.uint8 else _reals(name, X, dtype, finite=finite, given=given)


def check_shape(name: str, shape: tuple[int, ...], n: int, hint: str = "") -> None:
    """Raise a ValueError if X is not of shape (m, n) with m ≥ 1; `hint` is added if it has not two dimensions."""
    if len(shape) != 2:
        raise ValueError(f"{name} has shape {shape}; it must be (m, {n}), one row per sample.{hint and f' {hint}'}")
    if shape[1] != n:
        raise ValueError(
            f"{name} has {shape[1]} features; this network takes {n} (sizes[0]). Pass an array of shape (m, {n})."
        )
    if not 1 <= shape[0] <= MOST_SAMPLES:
        raise ValueError(f"{name} has {shape[0]} rows; it needs at least one, and at most {MOST_SAMPLES}.")


def not_finite(place: str, name: str, x: Any, dtype: np.dtype, hint: str = "") -> str:
    """Return a message about a value of `name` that is not finite, or that is beyond the range of a dtype."""
    if not np.isfinite(x):
        return f"{place} is {x}; every value must be finite. Drop or fill such rows first.{hint}"
    return f"{place} is {x:g}, beyond the range of {dtype.name} ({MOST[dtype]:.2g}). Scale {name} down."


def _as_matrix(name: str, given: Any, n: int) -> str:
    """Return how a one-dimensional X becomes a matrix."""
    variable = name.split()[-1]
    if not isinstance(given, np.ndarray):
        variable = f"np.asarray({variable})"
    return f"For one {'feature' if n == 1 else 'sample'} use {variable}.reshape({'-1, 1' if n == 1 else '1, -1'})."


@dataclass(frozen=True)
class Targets:
    """The targets that an output layer takes.

    Attributes
    ----------
    n : int
        Outputs.
    low, high : float
        The range of the targets.
    distributions : bool
        Whether rows are distributions over classes, so that integer labels (m,) are accepted too.
    name : str
        For error messages: what these are targets of.
    classes : bool
        Whether the outputs stand for classes, so that text has to be numbered.
    missing : bool or None
        Whether NaN stands for a target that is not known; None if there can be none.
    dtype : numpy.dtype
    repeated : bool
        Whether one column is the target of each output.
    """

    n: int
    low: float
    high: float
    distributions: bool
    name: str
    classes: bool = False
    missing: bool | None = None
    dtype: np.dtype = FLOAT32
    repeated: bool = False

    def check(self, Y: Any, m: int, finite: bool = True, name: str = "Y") -> np.ndarray:
        """Return Y as C-contiguous (m, n) of the dtype, or as int64 labels (m,)."""
        given, Y = Y, array(name, Y, forms.CLASSES if self.classes else forms.NUMBERS)
        n = self.n
        if Y.shape[:1] != (m,):
            raise ValueError(
                f"{name} has {Y.shape[0] if Y.ndim else 'no'} rows; X has {m}. Give one target for each row."
            )
        if self.distributions and Y.ndim == 1:
            return _labels(name, Y, n)
        if (n == 1 or self.repeated) and Y.ndim == 1:
            Y = Y.reshape(m, 1)
        if self.repeated and Y.shape == (m, 1):
            Y = np.repeat(Y, n, axis=1)
        if Y.shape != (m, n):
            labels = not self.distributions and Y.ndim == 1 and Y.dtype.kind in "iu"
            hint = ' Integer labels need output="softmax".' if labels else ""
            hint = f" Or ({m},), the target of each output." if self.repeated else hint
            other = self._labels_instead(name, Y)
            raise ValueError(f"{name} has shape {Y.shape}; it must be ({m}, {n}){other}.{hint}")
        of = f"targets of {self.name}"
        Y = _reals(name, Y, self.dtype, self.low, self.high, of, finite, given, self.missing)
        if self.distributions:
            row = scan.first_not_summing_to_one(LIKE[self.dtype], scan.address_of(Y), m, n, 1e-3, finite)
            if row >= 0:
                raise ValueError(
                    f"row {row} of {name} sums to {Y[row].sum():g}; targets of {self.name} are distributions and sum "
                    f"to 1. Divide each row by its sum, or pass integer labels."
                )
        return Y

    def _labels_instead(self, name: str, Y: np.ndarray) -> str:
        """Return the end of an error message: whether labels are accepted too, and how to turn a column into labels."""
        if not self.distributions:
            return ""
        ravel = f": use np.ravel({name.split()[-1]})" if Y.shape == (len(Y), 1) else ""
        return f" or integer labels of shape ({len(Y)},){ravel}"


def _labels(name: str, Y: np.ndarray, n: int) -> np.ndarray:
    if Y.dtype.kind not in "iu":
        raise _no_labels(name, Y, n)
    labels = np.ascontiguousarray(Y, dtype=np.int64)  # a uint64 beyond the range of int64 becomes negative
    row = scan.first_label_outside(scan.address_of(labels), labels.size, n)
    if row >= 0:
        raise ValueError(
            f"{name}[{row}] is {Y[row]}; labels of this network are 0 to {n - 1} (sizes[-1] is {n}). If there are {n} "
            f"classes with other numbers, use classes, Y = np.unique(Y, return_inverse=True)."
        )
    return labels


def _no_labels(name: str, Y: np.ndarray, n: int) -> Exception:
    """Return the error about labels that are no integers; astype(int) is its remedy only if it changes no label."""
    missing = ~np.isfinite(Y)
    if missing.any():
        row = int(missing.argmax())
        return ValueError(f"{name}[{row}] is {Y[row]}; every label must be known. Drop or fill such rows first.")
    broken = np.floor(Y) != Y
    if broken.any():
        row = int(broken.argmax())
        return TypeError(
            f"{name}[{row}] is {Y[row]}, and {name} has shape {Y.shape} and dtype {Y.dtype}; class labels must be "
            f'integers. If these are numbers to predict, make the network with output="identity".'
        )
    return TypeError(
        f"{name} has shape {Y.shape} and dtype {Y.dtype}; class labels must be integers. Use "
        f"np.asarray({name.split()[-1]}).astype(int), or pass one-hot rows of shape (m, {n})."
    )


def classes_of(Y: np.ndarray) -> np.ndarray | None:
    """Return the class of each row of labels, of one-hot rows, or of a column of 0 and 1; None for other targets."""
    if Y.ndim == 1:
        return Y
    if not ((Y == 0) | (Y == 1)).all():
        return None
    if Y.shape[1] == 1:
        return Y[:, 0].astype(np.int64)
    return Y.argmax(axis=1) if (Y.sum(axis=1) == 1).all() else None


def parameters(value: Any, dtype: np.dtype = FLOAT32) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return (W, b) of each layer in a dtype, b as (n,) or (n, 1), from the derivation's dictionary."""
    most = MOST[dtype]
    layers: list[tuple[np.ndarray, np.ndarray]] = []
    n_prev = 0
    for l in range(1, len(value) // 2 + 1) if type(value) is dict else ():
        W, b = value.get(f"W{l}"), value.get(f"b{l}")
        if not (is_matrix(W, dtype) and is_matrix(b, dtype) and W.size):
            break
        if not scan.both_fit(W, n_prev or W.shape[1], b, 1, -most, most):
            break
        layers.append((W, b))
        n_prev = len(b)
    return layers if layers and 2 * len(layers) == len(value) else _parameters(value, dtype)


def _parameters(value: Any, dtype: np.dtype) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return the same from any mapping of any arrays."""
    if not isinstance(value, Mapping):
        raise TypeError(f"parameters is a {type(value).__name__}; it must be a dictionary with W1, b1, W2, b2, ...")
    L = len(value) // 2
    expected = [f"{kind}{l}" for l in range(1, L + 1) for kind in "Wb"]
    if not L or set(value) != set(expected):
        raise ValueError(
            f"parameters has the keys {sorted(map(str, value))}; it must have W1, b1, ... WL, bL and no more."
        )
    layers: list[tuple[np.ndarray, np.ndarray]] = []
    for l in range(1, L + 1):
        W, b = array(f"W{l}", value[f"W{l}"]), array(f"b{l}", value[f"b{l}"])
        if W.ndim != 2 or 0 in W.shape:
            raise ValueError(f"W{l} has shape {W.shape}; it must be (n_{l}, n_{l - 1}).")
        if layers and W.shape[1] != len(layers[-1][1]):
            raise ValueError(f"W{l} has {W.shape[1]} columns; layer {l - 1} has {len(layers[-1][1])} units.")
        if b.shape not in ((W.shape[0], 1), (W.shape[0],)):
            raise ValueError(f"b{l} has shape {b.shape}; W{l} has {W.shape[0]} rows, so it must be ({W.shape[0]}, 1).")
        layers.append((_reals(f"W{l}", W, dtype), _reals(f"b{l}", b, dtype)))
    return layers
