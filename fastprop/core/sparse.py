"""Rows of a sparse X: CSR as SciPy has it, checked once, in the form that the kernels read.

SciPy is never imported: its matrices and arrays are recognized by their attributes.
"""

import reprlib
from typing import Any

import numpy as np

from ..kernels.scan import address_of
from . import arrays

MOST_FEATURES = 2**32  # a column is kept as uint32


class SparseRows:
    """The rows of a sparse X, checked.

    Parameters
    ----------
    shape : (int, int)
    ends : ndarray of int64, of shape (m + 1,)
        Where the entries of each row begin, and those of the last one end. It must not be the user's own array: the
        kernels rely on it.
    columns : ndarray of uint32
        The column of each entry; the kernels skip those beyond the shape.
    values : ndarray of float32 or float64
        The value of each entry.

    Attributes
    ----------
    shape : (int, int)
    dtype : numpy.dtype
        Of the values.
    addresses : ndarray of int64
        What the kernels read: the addresses of the three arrays.
    """

    def __init__(self, shape: tuple[int, int], ends: np.ndarray, columns: np.ndarray, values: np.ndarray):
        self.shape: tuple[int, int] = shape
        self.dtype: np.dtype = values.dtype
        self.ends: np.ndarray = ends
        self.columns: np.ndarray = columns
        self.values: np.ndarray = values
        self.addresses: np.ndarray = np.array([address_of(a) for a in (ends, columns, values)], np.int64)
        self._most: tuple[int, int] | None = None

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: np.ndarray) -> "SparseRows":
        """Return a copy of some rows, by their numbers."""
        counts = np.diff(self.ends)[rows]
        ends = np.concatenate([[0], np.cumsum(counts)])
        entries = np.repeat(self.ends[rows] - ends[:-1], counts) + np.arange(ends[-1])
        return SparseRows((len(rows), self.shape[1]), ends, self.columns[entries], self.values[entries])

    def most_entries(self, rows: int) -> int:
        """Return the largest number of entries that so many different rows have together; at least 1."""
        if self._most is None or self._most[0] != rows:
            counts, m = np.diff(self.ends), len(self)
            largest = counts if rows >= m else np.partition(counts, m - rows)[m - rows :]
            self._most = rows, max(1, int(largest.sum()))
        return self._most[1]


Features = np.ndarray | SparseRows


def is_sparse(X: Features) -> bool:
    """Return whether a checked X is sparse."""
    return isinstance(X, SparseRows)


def is_csr(X: Any) -> bool:
    """Return whether a value is a sparse matrix or array in CSR form, or rows of one that were checked."""
    kind = getattr(X, "format", None) if type(X) is not np.ndarray else None
    return isinstance(X, SparseRows) or (isinstance(kind, str) and kind == "csr" and hasattr(X, "indptr"))


def features(X: Any, n: int, dtype: np.dtype, finite: bool = True, name: str = "X") -> SparseRows:
    """Return the rows of a CSR matrix of shape (m, n) with m ≥ 1, the values as a dtype; with `finite`, NaN is refused.

    Entries may stand in any order within their rows, and several of the same place are added. An array is copied only
    if it has to be converted, except the row pointers.

    Raises
    ------
    ValueError, TypeError
        If the shape does not fit, or one of the three arrays breaks a rule of CSR.
    """
    if isinstance(X, SparseRows) and X.shape[1] == n and X.dtype == dtype:
        return X
    shape = tuple(X.shape)
    arrays.check_shape(name, shape, n)
    if n > MOST_FEATURES:
        raise ValueError(f"{name} has {n} features; a sparse {name} may have at most {MOST_FEATURES}.")
    ends = _row_pointers(name, X.indptr, shape[0])
    count = int(ends[-1])
    columns, values = _vector(name, "indices", X.indices, "iu"), _vector(name, "data", X.data, "fiub")
    if count > min(len(columns), len(values)):
        raise ValueError(
            f"{name}.indptr ends at {count}, and {name}.indices has {len(columns)} and {name}.data {len(values)} "
            f"entries; both need as many as indptr says. {_REMEDY.format(name=name)}"
        )
    columns = _columns(name, columns[:count], n)
    return SparseRows((shape[0], n), ends, columns, _values(name, values[:count], dtype, finite, ends, columns))


_REMEDY = "Make it anew with scipy.sparse.csr_array, whose {name}.check_format() tells what is wrong."


def _vector(name: str, part: str, value: Any, kinds: str) -> np.ndarray:
    """Return one of the three arrays, if it is a vector of numbers of these kinds."""
    if not isinstance(value, np.ndarray) or value.ndim != 1 or value.dtype.kind not in kinds:
        what = f"{value.dtype} of shape {value.shape}" if isinstance(value, np.ndarray) else type(value).__name__
        numbers = "integers" if kinds == "iu" else "real numbers"
        raise TypeError(f"{name}.{part} is {what}; it must be a vector of {numbers}. {_REMEDY.format(name=name)}")
    return value


def _row_pointers(name: str, value: Any, m: int) -> np.ndarray:
    """Return a copy of the row pointers."""
    given = _vector(name, "indptr", value, "iu")
    ends = np.array(given, np.int64)
    if len(ends) != m + 1 or ends[0] != 0 or (np.diff(ends) < 0).any():
        raise ValueError(
            f"{name}.indptr is {reprlib.repr(given.tolist())}; of {m} rows it holds {m + 1} numbers from 0 on, none of "
            f"which is less than the one before. {_REMEDY.format(name=name)}"
        )
    return ends


def _columns(name: str, given: np.ndarray, n: int) -> np.ndarray:
    """Return the column of each entry as uint32."""
    if len(given) and not (given.min() >= 0 and given.max() < n):
        i = int(((given < 0) | (given >= n)).argmax())
        raise ValueError(
            f"{name}.indices[{i}] is {given[i]}; the columns of {name} are 0 to {n - 1}. {_REMEDY.format(name=name)}"
        )
    given = np.ascontiguousarray(given)
    return given.view(np.uint32) if given.dtype in (np.int32, np.uint32) else given.astype(np.uint32)


def _values(
    name: str, given: np.ndarray, dtype: np.dtype, finite: bool, ends: np.ndarray, columns: np.ndarray
) -> np.ndarray:
    """Return the value of each entry as a dtype."""
    with np.errstate(over="ignore"):
        values = np.ascontiguousarray(given, dtype)
    if finite and not arrays.is_finite(values):
        i = int((~np.isfinite(values)).argmax())
        row = int(np.searchsorted(ends, i, side="right")) - 1
        raise ValueError(arrays.not_finite(f"{name}[{row}, {columns[i]}]", name, given[i], dtype))
    return values
