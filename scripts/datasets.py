"""Read data sets from IDX folders in MNIST's format, .npz and .csv files; check, split and scale them.

Every file is checked while it is read. If it cannot be used, a :class:`DataError` names the file, the line if there is
one, the rule and the remedy.
"""

import csv
import gzip
import math
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np


class DataError(Exception):
    """The reason why a file cannot be used."""


@dataclass(frozen=True)
class Dataset:
    """Samples with the values of their file.

    Attributes
    ----------
    name : str
    X : ndarray of shape (m, n)
    Y : ndarray of shape (m,)
        Indices into `classes`, int64; or for a regression the values, float64.
    classes : tuple of str
        In sorted order; empty for a regression.
    n_test : int
        The number of rows at the end that are the data's own test set; 0 if there is none.
    """

    name: str
    X: np.ndarray
    Y: np.ndarray
    classes: tuple[str, ...]
    n_test: int = 0


class Scaling(NamedTuple):
    """x ↦ (x − shift) / scale, by column."""

    shift: np.ndarray
    scale: np.ndarray

    def __call__(self, X: np.ndarray) -> np.ndarray:
        return ((X - self.shift) / self.scale).astype(np.float32)

    @classmethod
    def of(cls, X: np.ndarray) -> "Scaling":
        """Scale uint8 by its largest value, so that pixels are 0 to 1; other dtypes by mean and standard deviation."""
        if X.dtype == np.uint8:
            return cls(np.zeros(X.shape[1], np.float32), np.full(X.shape[1], max(int(X.max()), 1), np.float32))
        std = X.std(axis=0, dtype=np.float64)
        return cls(X.mean(axis=0, dtype=np.float64), np.where(X.max(axis=0) > X.min(axis=0), std, 1))


@dataclass(frozen=True)
class Split:
    """A data set in two parts, both scaled by the statistics of the training part.

    Attributes
    ----------
    X_train, X_test : ndarray of shape (m, n), float32
    Y_train, Y_test : ndarray
        Class indices, int64 (m,); or for a regression scaled values, float32 (m, 1).
    x_scaling, y_scaling : Scaling
        The scaling of the features and, in a regression, of the target.
    """

    X_train: np.ndarray
    Y_train: np.ndarray
    X_test: np.ndarray
    Y_test: np.ndarray
    x_scaling: Scaling
    y_scaling: Scaling | None


def split(data: Dataset, share: float, rng: np.random.Generator) -> Split:
    """Hold out a random share of the rows, or the data's own test set.

    Raises
    ------
    DataError
        If there are too few rows to leave at least one in each part.
    """
    m = len(data.X)
    n_test = data.n_test or round(share * m)
    if not 0 < n_test < m:
        raise DataError(f"{data.name} has {m} rows; holding out {share:g} of them leaves a part empty. Give more rows.")
    order = np.arange(m) if data.n_test else rng.permutation(m)
    train, test = order[: m - n_test], order[m - n_test :]
    x_scaling = Scaling.of(data.X[train])
    Y, y_scaling = data.Y, None
    if not data.classes:
        y_scaling = Scaling.of(Y[train, None])
        Y = y_scaling(Y[:, None])
    return Split(x_scaling(data.X[train]), Y[train], x_scaling(data.X[test]), Y[test], x_scaling, y_scaling)


def load(path: Path, target: str | None = None) -> Dataset:
    """Read a data set.

    Parameters
    ----------
    path : Path
        A folder with MNIST's IDX files, an .npz with X and y, or a .csv whose first line names the columns.
    target : str, optional
        The column of a .csv to predict.

    Raises
    ------
    DataError
        If the data cannot be used.
    """
    readable = path.is_dir() or path.suffix.lower() in (".npz", ".csv")
    if not path.exists():
        raise DataError(f"{path}: there is no such file or folder.")
    if not readable:
        raise DataError(f"{path}: must be a folder of IDX files, an .npz or a .csv.")
    if (path.suffix.lower() == ".csv") != (target is not None):
        raise DataError(f"{path}: --target COLUMN says what to predict from a .csv, and is for a .csv alone.")
    try:
        if path.is_dir():
            return _load_idx(path)
        if path.stat().st_size == 0:
            raise DataError(f"{path}: the file is empty.")
        return _load_npz(path) if target is None else _load_csv(path, target)
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}.") from None


def _dataset(path: Path, X: np.ndarray, y: np.ndarray, n_test: int = 0) -> Dataset:
    """Return a classification if y is text or whole numbers, else a regression."""
    if len(X) != len(y):
        raise DataError(f"{path}: X has {len(X)} rows and y has {len(y)}; there must be one target for each row.")
    if X.size == 0:
        raise DataError(f"{path}: X has shape {X.shape}; there must be at least one row and one feature.")
    if np.all(y == y[0]):
        raise DataError(f"{path}: every target is {y[0]}; there must be at least two classes or values to learn.")
    name, X = path.resolve().stem, X.reshape(len(X), -1)
    if y.dtype.kind == "f" and np.any(y != np.floor(y)):
        return Dataset(name, X, y.astype(np.float64), (), n_test)
    classes, Y = np.unique(y, return_inverse=True)
    return Dataset(name, X, Y, tuple(str(int(c) if y.dtype.kind == "f" else c) for c in classes), n_test)


# ---- IDX, the format of MNIST: two zeros, the type, the number of dimensions, the dimensions, the bytes --------------


def read_idx(path: Path, dimensions: int) -> np.ndarray:
    """Read an IDX file of uint8, gzipped or not.

    Raises
    ------
    DataError
        If the file is damaged, of another type, or has another number of dimensions.
    """
    raw = path.read_bytes()
    if raw[:2] == b"\x1f\x8b":
        try:
            raw = gzip.decompress(raw)
        except (OSError, EOFError, zlib.error):
            raise DataError(f"{path}: the gzip stream is damaged or cut short. Fetch the file again.") from None
    magic, start = bytes((0, 0, 8, dimensions)), 4 + 4 * dimensions
    if raw[:4] != magic:
        raise DataError(
            f"{path}: begins with {raw[:4].hex(' ') or 'nothing'}; "
            f"an IDX file of bytes in {dimensions} dimensions begins with {magic.hex(' ')}."
        )
    shape = tuple(int(n) for n in np.frombuffer(raw[4:start].ljust(start - 4, b"\0"), ">u4"))
    if len(raw) != start + math.prod(shape):
        raise DataError(
            f"{path}: has {len(raw):,} bytes; its header says {shape}, which takes {start + math.prod(shape):,}. "
            f"Fetch the file again."
        )
    return np.frombuffer(raw, np.uint8, offset=start).reshape(shape)


def _read_pair(folder: Path, part: str) -> tuple[np.ndarray, np.ndarray] | None:
    """Return the images and labels of one part, or None if neither file exists."""
    found = {}
    for name, dimensions in ((f"{part}-images-idx3-ubyte", 3), (f"{part}-labels-idx1-ubyte", 1)):
        found[name] = [(path, dimensions) for path in (folder / name, folder / f"{name}.gz") if path.is_file()]
    if not any(found.values()):
        return None
    for name, paths in found.items():
        if not paths:
            raise DataError(f"{folder}: there is no {name} (or {name}.gz); images and labels must be there in pairs.")
    (images, X), (labels, y) = ((paths[0][0], read_idx(*paths[0])) for paths in found.values())
    if len(X) != len(y):
        raise DataError(f"{images}: has {len(X)} images, and {labels.name} has {len(y)} labels; they must be as many.")
    return X, y


def _load_idx(folder: Path) -> Dataset:
    pairs = [pair for part in ("train", "t10k") if (pair := _read_pair(folder, part))]
    if not pairs:
        raise DataError(f"{folder}: there is no train-images-idx3-ubyte and no t10k-images-idx3-ubyte, plain or .gz.")
    if pairs[0][0].shape[1:] != pairs[-1][0].shape[1:]:
        raise DataError(
            f"{folder}: images to train on are {pairs[0][0].shape[1:]} and those to test {pairs[-1][0].shape[1:]}; "
            f"they must be of one size."
        )
    X, y = (np.concatenate(arrays) for arrays in zip(*pairs, strict=True))
    return _dataset(folder, X, y, n_test=len(pairs[1][1]) if len(pairs) == 2 else 0)


# ---- NPZ ------------------------------------------------------------------------------------------------------------


def _load_npz(path: Path) -> Dataset:
    if not zipfile.is_zipfile(path):
        raise DataError(f"{path}: is not an .npz archive. Make one with np.savez(path, X=X, y=y).")
    try:
        with np.load(path, allow_pickle=False) as archive:
            if not {"X", "y"} <= set(archive.files):
                raise DataError(f"{path}: holds {', '.join(archive.files) or 'nothing'}; it must hold X and y.")
            X, y = archive["X"], archive["y"]
    except (ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(f"{path}: cannot be read: {error}") from None
    if X.ndim < 2 or X.dtype.kind not in "fiub":
        raise DataError(f"{path}: X is {X.dtype} {X.shape}; it must be real numbers, one row for each sample.")
    if y.ndim != 1 or y.dtype.kind not in "fiubUS":
        raise DataError(f"{path}: y is {y.dtype} {y.shape}; it must be one number or text for each sample.")
    for name, values in (("X", X), ("y", y)):
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            row = int(np.argwhere(~np.isfinite(values))[0][0])
            raise DataError(f"{path}: row {row} of {name} has a value that is not finite. Drop or fill such rows.")
    return _dataset(path, X, y)


# ---- CSV ------------------------------------------------------------------------------------------------------------


def _number(cell: str) -> float | None:
    """Return a cell as a finite number, or None."""
    try:
        value = float(cell)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _load_csv(path: Path, target: str) -> Dataset:
    X: list[list[float]] = []
    cells: list[tuple[int, str]] = []  # of the target, with their line numbers
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file)
            header = [name.strip() for name in next(reader, [])]
            if header.count(target) != 1:
                raise DataError(
                    f"{path}, line 1: {header.count(target) or 'no'} columns are named {target!r}; "
                    f"--target takes one of {', '.join(header)}."
                )
            for row in reader:
                if row:
                    X.append(_features(f"{path}, line {reader.line_num}", header, row, target))
                    cells.append((reader.line_num, row[header.index(target)].strip()))
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: is not a CSV file in UTF-8: {error}.") from None
    if not cells:
        raise DataError(f"{path}: there are no rows below the header.")
    return _dataset(path, np.array(X), _target(path, target, cells))


def _features(where: str, header: list[str], row: list[str], target: str) -> list[float]:
    if len(row) != len(header):
        raise DataError(f"{where}: has {len(row)} cells; the header names {len(header)}, and every row must match it.")
    values = []
    for name, cell in zip(header, row, strict=True):
        if name != target:
            value = _number(cell)
            if value is None:
                raise DataError(f"{where}: column {name!r} is {cell!r}; every feature must be a finite number.")
            values.append(value)
    return values


def _target(path: Path, name: str, cells: list[tuple[int, str]]) -> np.ndarray:
    """Return the target as numbers, or as text if no cell is a number."""
    numbers = [_number(cell) for _, cell in cells]
    numeric = any(number is not None for number in numbers)
    for (line, cell), number in zip(cells, numbers, strict=True):
        if not cell or (numeric and number is None):
            rule = "other lines have a number there, so every line must" if numeric else "every row must have a class"
            raise DataError(f"{path}, line {line}: the target {name!r} is {cell!r}; {rule}.")
    return np.array(numbers if numeric else [cell for _, cell in cells])
