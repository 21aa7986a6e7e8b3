"""Data as people have it: frames, series, nullable columns and objects that hold numbers, as arrays of numbers.

pandas, polars and SciPy are never imported: their objects are recognized by their attributes. Every error names what
the data are, the column (in a frame by its name) and the remedy.
"""

import reprlib
from collections.abc import Iterable, Iterator, Mapping
from datetime import date, timedelta
from decimal import Decimal
from numbers import Real
from typing import Any, NamedTuple

import numpy as np

NUMBERS = "Give numbers."
CATEGORIES = "For categories make a column of 0 and 1 for each of them, as pd.get_dummies does for a frame."
CLASSES = (
    "For classes use classes, {name} = np.unique({name}, return_inverse=True); net.classes = classes keeps their names."
)
DUMMIES = "For categories use {dummies}, which makes a column of 0 and 1 for each of them."
MORE_CLASSES = "For classes use np.searchsorted(classes, {name}), with the sorted classes of the training data."


class Place(NamedTuple):
    """Where values come from, for error messages.

    Attributes
    ----------
    subject : str
        Such as ``"X"`` or ``"column 'age' of X"``.
    name : str
        How the values are written in Python as an array or series, such as ``"X"`` or ``"X['age']"``.
    dtype : Any
        The dtype that the user sees.
    remedy : str
        What to do if the values are text that holds no numbers.
    """

    subject: str
    name: str
    dtype: Any
    remedy: str

    def refused(self, what: str, remedy: str) -> TypeError:
        return TypeError(f"{self.subject} has dtype {self.dtype}: {what}. {remedy}")

    def value(self, index: tuple[int, ...]) -> str:
        """Return how one value is named, such as ``"X[3, 1]"`` or, in a column, ``"row 3"``."""
        if self.subject.startswith("column "):
            return f"row {index[0]}"
        return f"{self.subject}[{', '.join(map(str, index))}]" if index else self.subject


# ---- from anything to an array -----------------------------------------------------------------------------------


def numbers(name: str, value: Any, remedy: str = NUMBERS) -> np.ndarray:
    """Return any array_like, series or frame as an array of real numbers.

    Parameters
    ----------
    name : str
        The argument, for error messages.
    value : Any
    remedy : str
        What to do with text that holds no numbers: `NUMBERS`, `CATEGORIES` or `CLASSES`.

    Raises
    ------
    ValueError, TypeError
        If it holds anything else, such as text or dates, or is no array at all.
    """
    _refuse_what_is_no_array(name, value)
    variable = name.split()[-1]  # X of "validation X"
    if remedy == CLASSES and variable != name:
        remedy = MORE_CLASSES
    remedy = remedy.format(name=variable)
    if is_frame(value):
        return _of_frame(name, variable, value, remedy)
    try:
        result = np.asarray(value)
    except ValueError:
        if hasattr(value, "__array__"):
            raise
        raise ValueError(f"{name} has rows of different lengths; give a rectangular array.") from None
    if result.ndim == 0 and result.dtype.kind in "OUS":
        raise TypeError(_no_array(name, variable, value))
    dtype = getattr(value, "dtype", result.dtype)
    return _numeric(
        result, Place(name, variable if hasattr(value, "astype") else f"np.array({variable})", dtype, remedy)
    )


def is_frame(value: Any) -> bool:
    """Return whether a value is a table with named columns, as of pandas or polars."""
    return not isinstance(value, np.ndarray) and hasattr(value, "columns") and hasattr(value, "dtypes")


def column(name: str, value: Any, index: int) -> str:
    """Return the name of a column for a message: ``"column 'age' of X"`` of a frame, ``"X[:, 3]"`` of an array."""
    return f"column {list(value.columns)[index]!r} of {name}" if is_frame(value) else f"{name}[:, {index}]"


def _columns(frame: Any) -> Iterator[tuple[Any, Any]]:
    """Yield the label and the values of each column; labels of pandas may occur twice."""
    return frame.items() if hasattr(frame, "items") else ((label, frame[label]) for label in frame.columns)


def _of_frame(name: str, variable: str, frame: Any, remedy: str) -> np.ndarray:
    """Return a frame as one array: at once if its columns have a common numeric dtype, else column by column."""
    dtypes = [dtype if isinstance(dtype, np.dtype) else None for dtype in frame.dtypes]
    if dtypes and (all(d is not None and d.kind in "fiu" for d in dtypes) or all(d == np.bool_ for d in dtypes)):
        return np.asarray(frame)
    if remedy == CATEGORIES:
        polars = hasattr(frame, "to_dummies")
        remedy = DUMMIES.format(dummies=f"{variable}.to_dummies()" if polars else f"pd.get_dummies({variable})")
    columns = []
    for label, values in _columns(frame):
        written = f"{variable}[{label!r}]" + ("" if hasattr(values, "astype") else ".to_numpy()")
        place = Place(f"column {label!r} of {name}", written, getattr(values, "dtype", "object"), remedy)
        columns.append(_numeric(np.asarray(values), place))
    return np.column_stack(columns) if columns else np.empty((len(frame), 0))


def refuse_other_sparse(name: str, value: Any) -> None:
    """Refuse a sparse matrix or array that is not in the form CSR."""
    if hasattr(value, "tocsr"):
        kind, variable = type(value).__name__, name.split()[-1]
        raise TypeError(
            f"{name} is a {kind}; of a sparse {variable} the rows are read, as CSR stores them. Use {variable}.tocsr()."
        )


# ---- what is no array --------------------------------------------------------------------------------------------


def _refuse_what_is_no_array(name: str, value: Any) -> None:
    """Refuse values that NumPy would convert to an array that does not hold their numbers."""
    kind, variable = type(value).__name__, name.split()[-1]
    rows = value if isinstance(value, list | tuple) and value and isinstance(value[0], np.ndarray) else ()
    if isinstance(value, np.ma.MaskedArray) or any(isinstance(row, np.ma.MaskedArray) for row in rows):
        raise TypeError(
            f"{name} is a masked array, whose mask would be ignored. Use {variable}.filled(value) or drop rows."
        )
    if hasattr(value, "toarray"):
        raise TypeError(
            f"{name} is a {kind}, which is sparse. Use {variable}.toarray(), or train on some rows at a time."
        )
    if hasattr(value, "__next__"):
        raise TypeError(f"{name} is a {kind}, which has no length. Use np.array(list({variable})).")


def _no_array(name: str, variable: str, value: Any) -> str:
    """Return a message about a value that NumPy takes for a single object."""
    kind = type(value).__name__
    if isinstance(value, str | bytes) or hasattr(value, "__fspath__"):
        return f"{name} is {_short(value)}, text. Read the file first, such as with np.loadtxt, and give the array."
    if isinstance(value, Mapping):
        return f"{name} is a {kind}. If its values are columns, use np.column_stack(list({variable}.values()))."
    if isinstance(value, Iterable):
        return f"{name} is a {kind}, which has no rows by number. Use np.array(list({variable}))."
    return f"{name} is {_short(value)}; give an array of real numbers."


def _short(value: Any) -> str:
    """Return the repr of a value, shortened, or its type if it has none."""
    try:
        return reprlib.repr(value)
    except Exception:
        return f"a {type(value).__name__}"


# ---- what holds no numbers ---------------------------------------------------------------------------------------


def _numeric(a: np.ndarray, place: Place) -> np.ndarray:
    """Return an array as one of real numbers."""
    kind = a.dtype.kind
    if kind in "fiub":
        return a
    if kind == "O":
        return _of_objects(a, place)
    if kind in "UST":
        raise _text(a, place)
    if kind == "M":
        raise _dates(place)
    if kind == "m":
        raise place.refused("it holds durations", f"Use {place.name} / np.timedelta64(1, 's'), in seconds.")
    if kind == "c":
        raise place.refused("it holds complex numbers", f"Use {place.name}.real and {place.name}.imag.")
    if a.dtype.names:
        raise place.refused("it holds records", f"Use numpy.lib.recfunctions.structured_to_unstructured({place.name}).")
    raise place.refused("NumPy has no numbers of this kind", f"Use {place.name}.astype(np.float32).")


def _of_objects(a: np.ndarray, place: Place) -> np.ndarray:
    """Return an array of Python's objects as numbers, if all of them are numbers or missing (None, pd.NA)."""
    objects = a.ravel().tolist()
    types = set(map(type, objects))
    strange = {kind for kind in types if not (_is_number(kind) or _is_missing(kind))}
    if strange:
        raise _strange(a, next(i for i, item in enumerate(objects) if type(item) in strange), place)
    if any(map(_is_missing, types)):
        objects = [np.nan if _is_missing(type(item)) else item for item in objects]
    elif types and all(issubclass(kind, bool | np.bool_) for kind in types):
        return a.astype(bool)
    try:
        if all(issubclass(kind, int | np.integer | np.bool_) for kind in types) and not any(map(_is_missing, types)):
            return _whole(objects).reshape(a.shape)
        return np.array([float(item) for item in objects]).reshape(a.shape)
    except OverflowError:
        i = next(i for i, item in enumerate(objects) if _overflows(item))
        raise ValueError(
            f"{_named(a, i, place)} is {_short(objects[i])}, beyond the range of float64 (1.8e308). Scale it down."
        ) from None


def _whole(objects: list[Any]) -> np.ndarray:
    """Return whole numbers as int64, or as float64 if one is beyond its range."""
    try:
        return np.array(objects, dtype=np.int64)
    except OverflowError:
        return np.array([float(item) for item in objects])


def _overflows(number: Any) -> bool:
    try:
        float(number)
    except OverflowError:
        return True
    return False


def _is_number(kind: type) -> bool:
    return issubclass(kind, Real | np.bool_ | Decimal) and not issubclass(kind, np.timedelta64)


def _is_missing(kind: type) -> bool:
    return kind is type(None) or kind.__name__ == "NAType"


def _named(a: np.ndarray, i: int, place: Place) -> str:
    """Return the name of the value at a flat index."""
    return place.value(tuple(map(int, np.unravel_index(i, a.shape))))


def _strange(a: np.ndarray, i: int, place: Place) -> TypeError:
    """Return the error about an object that is neither a number nor missing."""
    item = a.ravel().tolist()[i]
    if isinstance(item, str | bytes):
        return _text(a, place)
    if isinstance(item, date | np.datetime64):
        return _dates(place)
    if isinstance(item, timedelta | np.timedelta64):
        return place.refused("it holds durations", f"Use {place.name} / np.timedelta64(1, 's'), in seconds.")
    if isinstance(item, list | tuple | np.ndarray) or hasattr(item, "__array__"):
        return place.refused(
            f"{_named(a, i, place)} is itself a {type(item).__name__}",
            f"Use np.stack(list({place.name})), if all have the same length.",
        )
    return place.refused(f"{_named(a, i, place)} is {_short(item)}, no real number", NUMBERS)


def _text(a: np.ndarray, place: Place) -> TypeError:
    """Return the error about text: what to do depends on whether all of it can be read as numbers."""
    objects = a.ravel().tolist()
    texts = [i for i, item in enumerate(objects) if isinstance(item, str | bytes)]
    i = next((i for i in texts if not _reads_as_number(objects[i])), None)
    if i is not None:
        return place.refused(f"{_named(a, i, place)} is {_short(objects[i])}, text", place.remedy)
    if not texts:
        return place.refused("it is empty", NUMBERS)
    remedy = place.remedy if "np." in place.remedy else f"Use {place.name}.astype(float)."
    return place.refused(f"{_named(a, texts[0], place)} is {_short(objects[texts[0]])}, a number as text", remedy)


def _reads_as_number(text: str | bytes) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _dates(place: Place) -> TypeError:
    dates = place.name if place.dtype != object else f"{place.name}.astype('datetime64[s]')"
    return place.refused(
        "it holds dates", f"Use numbers near 0, such as days: ({dates} - {dates}.min()) / np.timedelta64(1, 'D')."
    )
