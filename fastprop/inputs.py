"""The door: every public call's arguments, checked and converted once. What passes here is safe for the kernels.

Every message says the value, the rule and the remedy.
"""

import operator
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from .activations import ACTIVATIONS, HIDDEN, Activation
from .kernels import scan
from .kernels.scan import FLOAT32_MAX, MOST_SAMPLES
from .losses import LOSSES, Loss

FLOAT32 = np.dtype(np.float32)
FINITE = (-FLOAT32_MAX, FLOAT32_MAX)


def is_finite(a: np.ndarray) -> bool:
    """Whether a contiguous float32 array holds neither NaN nor infinity; allocates no temporary of its length."""
    return bool(scan.first_outside(scan.address_of(a), a.size, *FINITE) < 0)


def number(name: str, value: Any, *, above: float | None = None, least: float | None = None,
           below: float | None = None) -> float:  # fmt: skip
    """A float within its bounds, and within those of float32, in which it will be computed with."""
    if isinstance(value, bool | np.bool_ | str | bytes | np.complexfloating):
        raise TypeError(f"{name} is {value!r}; it must be a number.")
    try:
        result = float(value)
    except (TypeError, ValueError, OverflowError):
        raise TypeError(f"{name} is {value!r}; it must be a number.") from None
    rules = [("above", above, operator.gt), ("at least", least, operator.ge), ("below", below, operator.lt)]
    bounds = [(text, bound, holds) for text, bound, holds in rules if bound is not None]
    if not abs(result) <= FLOAT32_MAX or not all(holds(result, bound) for _, bound, holds in bounds):
        rule = " and ".join(f"{text} {bound:g}" for text, bound, _ in bounds)
        finite = "finite in float32" if FLOAT32_MAX < abs(result) < np.inf else "finite"
        raise ValueError(f"{name} is {value!r}; it must be {finite}{', ' + rule if rule else ''}.")
    return result


def whole(name: str, value: Any, least: int = 1, most: int | None = None) -> int:
    """An integer within its bounds."""
    if isinstance(value, bool | np.bool_):
        raise TypeError(f"{name} is {value!r}; it must be a whole number.")
    try:
        result = operator.index(value)
    except TypeError:
        raise TypeError(f"{name} is {value!r}; it must be a whole number.") from None
    if result < least or (most is not None and result > most):
        upper = f" and at most {most}" if most is not None else ""
        raise ValueError(f"{name} is {result}; it must be at least {least}{upper}.")
    return result


def sizes(value: Any) -> tuple[int, ...]:
    """(n_0, …, n_L), each at least 1, with parameters that fit the machine's memory."""
    value = value.tolist() if isinstance(value, np.ndarray) else value
    if isinstance(value, str | bytes) or not isinstance(value, Sequence):
        raise TypeError(f"sizes is {value!r}; it must be a sequence of layer widths, such as (64, 128, 10).")
    if len(value) < 2:
        raise ValueError(f"sizes is {tuple(value)}; it needs at least two widths: the inputs and the outputs.")
    result = tuple(whole(f"sizes[{i}]", n) for i, n in enumerate(value))
    # parameters and gradients in float32, and the first weights in float64
    needed = sum((a + 32) * b for a, b in zip(result[:-1], result[1:], strict=True)) * 16
    if needed > _memory():
        raise ValueError(
            f"sizes is {result}: to make this network takes {needed / 2**30:.3g} GiB, and this machine has "
            f"{_memory() / 2**30:.3g} GiB. Use narrower layers."
        )
    return result


def _memory() -> int:
    """Bytes of memory that this machine has; where it does not tell, a bound that keeps sizes in range."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return 2**40


def generator(rng: Any) -> np.random.Generator:
    """A generator from a seed, from a generator (itself), or from None."""
    if isinstance(rng, np.random.Generator):
        return rng
    if rng is None:
        return np.random.default_rng()
    try:
        return np.random.default_rng(whole("rng", rng, least=0))
    except TypeError:
        raise TypeError(f"rng is {rng!r}; it must be a seed (a whole number), a numpy Generator, or None.") from None


def classes(name: str, value: Any, n: int) -> list[str | int] | None:
    """Labels of n classes, all different, or None."""
    if value is None:
        return None
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise TypeError(f"{name} is {value!r}; it must be a list of {n} labels.")
    result = [item.item() if isinstance(item, np.generic) else item for item in value]
    if len(result) != n or len(set(result)) != n or not all(type(item) in (str, int) for item in result):
        raise ValueError(f"{name} is {result!r}; it must be {n} different labels, whole numbers or text.")
    return result


def choice(name: str, value: Any, among: Sequence[str], other: str = "") -> str:
    """One of a few names; `other` is what else it may have been."""
    if not isinstance(value, str):
        raise TypeError(f"{name} is {value!r}; it must be one of {', '.join(among)}{other and f', or {other}'}.")
    if value not in among:
        raise ValueError(f"{name} is {value!r}; it must be one of {', '.join(among)}.")
    return value


def activation(name: str, value: Any, among: Sequence[str]) -> Activation:
    """One that is built in, by its name, or one's own."""
    if isinstance(value, Activation) and value.label is value:
        return value
    label = value.label if isinstance(value, Activation) else value
    return ACTIVATIONS[choice(name, label, among, "an Activation")]


def hidden(value: Any, count: int) -> tuple[Activation, ...]:
    """The activation of each hidden layer, from one for all or one for each."""
    if isinstance(value, str | Activation):
        return (activation("hidden", value, HIDDEN),) * count
    if not isinstance(value, Sequence) or isinstance(value, bytes):
        raise TypeError(f"hidden is {value!r}; it must be a name or an Activation, or one for each hidden layer.")
    if len(value) != count:
        raise ValueError(f"hidden has {len(value)} names; these sizes have {count} hidden layers. Give as many.")
    return tuple(activation(f"hidden[{i}]", one, HIDDEN) for i, one in enumerate(value))


def loss(value: Any) -> Loss:
    """One that is built in, by its name, or one's own."""
    return value if isinstance(value, Loss) else LOSSES[choice("loss", value, list(LOSSES), "a Loss")]


def array(name: str, value: Any) -> np.ndarray:
    """A real numeric array of whatever the user has."""
    result = value
    if type(value) is not np.ndarray:
        if isinstance(value, np.ma.MaskedArray):
            raise TypeError(
                f"{name} is a masked array, whose mask would be ignored. Use {name}.filled(value) or drop rows."
            )
        try:
            result = np.asarray(value)
        except ValueError:
            raise ValueError(f"{name} has rows of different lengths; give a rectangular array.") from None
    if result.dtype.kind not in "fiub":
        raise TypeError(f"{name} has dtype {result.dtype}; give an array of real numbers (float32 is not copied).")
    return result


def is_float32(value: Any) -> bool:
    """Whether a value is what the kernels read, a matrix of C-contiguous float32: if so, one look decides."""
    return type(value) is np.ndarray and value.dtype == FLOAT32 and value.ndim == 2 and value.flags.c_contiguous


def _float32(name: str, value: np.ndarray, low: float = -FLOAT32_MAX, high: float = FLOAT32_MAX,
             who: str = "", finite: bool = True) -> np.ndarray:  # fmt: skip
    """`value` as C-contiguous float32, finite and within [low, high], the bounds of `who`; itself if it is that.

    Without `finite`, NaN and infinity may be among them.
    """
    result = value
    if value.dtype != np.float32 or not value.flags.c_contiguous:
        with np.errstate(over="ignore"):
            result = np.ascontiguousarray(value, dtype=np.float32).reshape(value.shape)
    where = scan.first_outside(scan.address_of(result), result.size, low, high)
    if where >= 0 and not finite:
        outside = np.isfinite(result) & ((result < low) | (result > high))
        where = int(outside.argmax()) if outside.any() else -1
    if where >= 0:
        index = np.unravel_index(where, result.shape)
        place = f"{name}[{', '.join(str(i) for i in index)}]"
        given = value[index]
        if not np.isfinite(given):
            raise ValueError(f"{place} is {given}; every value must be finite. Drop or fill such rows first.")
        if np.isfinite(result[index]):
            raise ValueError(f"{place} is {given:g}; {who} lie between {low:g} and {high:g}.")
        raise ValueError(f"{place} is {given:g}, beyond the range of float32 (3.4e38). Scale {name} down.")
    return result


def float32(name: str, value: Any) -> np.ndarray:
    """Any real array as C-contiguous float32, finite."""
    return _float32(name, array(name, value))


def columns(name: str, value: Any, n: int, m: int | None = None) -> np.ndarray:
    """An array of the drop-in functions as C-contiguous float32 (n, m): samples are columns."""
    if is_float32(value) and len(value) == n and scan.fits(value, value.shape[1] if m is None else m) and value.size:
        return value
    given = array(name, value)
    if given.ndim != 2 or given.shape[0] != n or given.shape[1] < 1 or (m is not None and given.shape[1] != m):
        raise ValueError(
            f"{name} has shape {given.shape}; it must be ({n}, {'m' if m is None else m}), one column per sample."
        )
    return _float32(name, given)


def features(X: Any, n: int, finite: bool = True, name: str = "X") -> np.ndarray:
    """X as C-contiguous float32, or uint8 if it is that, of shape (m, n), m ≥ 1; finite, if that is wanted."""
    if is_float32(X) and scan.fits(X, n):
        return X
    X = array(name, X)
    if X.ndim != 2:
        hint = f" For one sample use {name}.reshape(1, -1)." if X.ndim == 1 else ""
        raise ValueError(f"{name} has shape {X.shape}; it must be (m, {n}), one row per sample.{hint}")
    if X.shape[1] != n:
        raise ValueError(
            f"{name} has {X.shape[1]} features; this network takes {n} (sizes[0]). Pass an array of shape (m, {n})."
        )
    if not 1 <= X.shape[0] <= MOST_SAMPLES:
        raise ValueError(f"{name} has {X.shape[0]} rows; it needs at least one, and at most {MOST_SAMPLES}.")
    return np.ascontiguousarray(X) if X.dtype == np.uint8 else _float32(name, X, finite=finite)


def batch(X: Any, Y: Any, n_0: int, n_L: int, output: str, finite: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """X and Y as of :func:`features` and :func:`targets`; in one compiled look, where they are what they must be."""
    if output != "softmax" and is_float32(X) and is_float32(Y) and scan.both_fit(X, n_0, Y, n_L, *_bounds(output)):
        return X, Y
    X = features(X, n_0, finite)
    return X, targets(Y, len(X), n_L, output, finite)


def _bounds(output: str) -> tuple[float, float]:
    """Between which the targets of an output lie."""
    return {"identity": FINITE, "poisson": (0.0, FINITE[1])}.get(output, (0.0, 1.0))


def targets(Y: Any, m: int, n: int, output: str, finite: bool = True, name: str = "Y") -> np.ndarray:
    """Y as C-contiguous float32 (m, n), or for softmax as int64 labels (m,)."""
    Y = array(name, Y)
    if Y.shape[:1] != (m,):
        raise ValueError(f"{name} has {Y.shape[0] if Y.ndim else 'no'} rows; X has {m}. Give one target for each row.")
    if output == "softmax" and Y.ndim == 1:
        return _labels(name, Y, n)
    if n == 1 and Y.ndim == 1:
        Y = Y.reshape(m, 1)
    if Y.shape != (m, n):
        other = f" or integer labels of shape ({m},)" if output == "softmax" else ""
        raise ValueError(f"{name} has shape {Y.shape}; it must be ({m}, {n}){other}.")
    Y = _float32(name, Y, *_bounds(output), f"targets of a {output}", finite)
    if output == "softmax":
        row = scan.first_not_summing_to_one(scan.address_of(Y), m, n, 1e-3, finite)
        if row >= 0:
            raise ValueError(
                f"row {row} of {name} sums to {Y[row].sum():g}; targets of a softmax are distributions and sum to 1. "
                f"Divide each row by its sum, or pass integer labels."
            )
    return Y


def _labels(name: str, Y: np.ndarray, n: int) -> np.ndarray:
    if Y.dtype.kind not in "iu":
        raise TypeError(
            f"{name} has shape {Y.shape} and dtype {Y.dtype}; class labels must be integers. Use {name}.astype(int), "
            f"or pass one-hot rows of shape (m, {n})."
        )
    labels = np.ascontiguousarray(Y, dtype=np.int64)  # beyond its range a uint64 becomes negative
    row = scan.first_label_outside(scan.address_of(labels), labels.size, n)
    if row >= 0:
        raise ValueError(f"{name}[{row}] is {Y[row]}; labels of this network are 0…{n - 1} (sizes[-1] is {n}).")
    return labels


def weights(sample_weight: Any, m: int) -> np.ndarray | None:
    """sample_weight as float32 (m,), none negative, not all zero."""
    if sample_weight is None:
        return None
    w = array("sample_weight", sample_weight)
    if w.shape != (m,):
        raise ValueError(f"sample_weight has shape {w.shape}; it must be ({m},), one weight for each row of X.")
    w = _float32("sample_weight", w)
    if w.min() < 0 or w.max() <= 0:
        raise ValueError(f"sample_weight lies in [{w.min():g}, {w.max():g}]; none may be negative, and not all 0.")
    extreme = (w > 0) & ((w < 1e-30) | (w > 1e30))
    if extreme.any():
        row = int(extreme.argmax())
        raise ValueError(
            f"sample_weight[{row}] is {w[row]:g}; weights are 0 or between 1e-30 and 1e30, so that their sums stay in "
            f"the range of float32. Use 0 for samples that should not count."
        )
    return w


def parameters(value: Any) -> list[tuple[np.ndarray, np.ndarray]]:
    """(W, b) of each layer, float32, b as (n,) or (n, 1), from the source's dictionary."""
    layers: list[tuple[np.ndarray, np.ndarray]] = []
    n_prev = 0
    for l in range(1, len(value) // 2 + 1) if type(value) is dict else ():
        W, b = value.get(f"W{l}"), value.get(f"b{l}")
        if not (is_float32(W) and is_float32(b) and scan.both_fit(W, n_prev or W.shape[1], b, 1, *FINITE) and W.size):
            break
        layers.append((W, b))
        n_prev = len(b)
    return layers if layers and 2 * len(layers) == len(value) else _parameters(value)


def _parameters(value: Any) -> list[tuple[np.ndarray, np.ndarray]]:
    """The same from any mapping of any arrays."""
    if not isinstance(value, Mapping):
        raise TypeError(f"parameters is a {type(value).__name__}; it must be a dictionary with W1, b1, W2, b2, …")
    L = len(value) // 2
    expected = [f"{kind}{l}" for l in range(1, L + 1) for kind in "Wb"]
    if not L or set(value) != set(expected):
        raise ValueError(
            f"parameters has the keys {sorted(map(str, value))}; it must have W1, b1, … WL, bL and no more."
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
        layers.append((_float32(f"W{l}", W), _float32(f"b{l}", b)))
    return layers


def flag(name: str, value: Any) -> bool:
    """True or False."""
    if not isinstance(value, bool | np.bool_):
        raise TypeError(f"{name} is {value!r}; it must be True or False.")
    return bool(value)


def callbacks(name: str, value: Any) -> tuple[list[tuple[int, Any]], list[Any]]:
    """Pairs (k, what to call every k steps), and what to call after each epoch."""
    if not isinstance(value, Iterable) or isinstance(value, str):
        raise TypeError(f"{name} is {value!r}; it must be a sequence of functions, or of pairs (k, function).")
    after_steps, after_epochs = [], []
    for i, item in enumerate(value):
        k, call = item if isinstance(item, tuple) and len(item) == 2 else (getattr(item, "every", None), item)
        if not callable(call):
            raise TypeError(f"{name}[{i}] is {item!r}; it must be callable, or a pair (k, callable).")
        if k is None:
            after_epochs.append(call)
        else:
            after_steps.append((whole(f"k of {name}[{i}]", k), call))
    return after_steps, after_epochs
