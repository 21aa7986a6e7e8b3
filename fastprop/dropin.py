"""The derivation's functions on dictionaries, computed by the kernels: a drop-in for :mod:`fastprop.reference`.

Signatures, keys and shapes are the same (samples are columns), and so are the values up to rounding. Arrays may have
any real dtype and memory order; results have the dtype that NumPy would have given them. A call computes in float64
where NumPy would, for any array of float64 or of integers, and in float32 otherwise. C-contiguous arrays that are all
float32, or all float64, are read where they are; others are converted first.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import cache as stored
from operator import itemgetter
from threading import local
from typing import Any

import numpy as np

from . import reference
from .activations import ACTIVATIONS, Activation
from .checks import choice, generator, number
from .core import arrays, threads
from .core.architecture import DTYPES, checked_hidden, checked_sizes
from .core.engine import Engine, plan_for
from .kernels import transfers
from .kernels.plan import BACKWARD, FLOAT32, FLOAT64, FORWARD, GRADIENTS, LOSS, OUTPUT, ParameterLayout, allocate
from .kernels.scan import FLOAT32_MAX, address_of
from .kernels.transfers import ANY, MATRIX, SAMPLES, VECTOR
from .losses import PAIRS, default_for, loss_routine
from .reference import Arrays

__all__ = [
    "backpropagation",
    "compute_cost",
    "forward_propagation",
    "general_backpropagation",
    "initialise_parameters",
    "update_parameters",
]


def initialise_parameters(sizes: Sequence[int], rng: Any = None) -> Arrays:
    """W⁽ˡ⁾ normal with variance 2/n_{l-1} (He et al. 2015), b⁽ˡ⁾ zero; float64.

    Parameters
    ----------
    sizes : sequence of int
        (n_0, …, n_L).
    rng : int, numpy.random.Generator or None

    Returns
    -------
    dict
        {"W1": (n_1, n_0), "b1": (n_1, 1), …}

    Raises
    ------
    ValueError, TypeError
        If a width or the seed is invalid.
    """
    return reference.initialise_parameters(checked_sizes(sizes), generator(rng))


def forward_propagation(
    X: Any, parameters: Mapping[str, Any], output: str = "softmax", hidden: str | Sequence[str] = "relu"
) -> Arrays:
    """Run one forward pass, Z = W·A_prev + b and A = g(Z), and return its cache.

    Parameters
    ----------
    X : array_like of shape (n_0, m)
    parameters : dict
        {"W1": (n_1, n_0), "b1": (n_1, 1), …}
    output : {"softmax", "sigmoid", "identity"}
    hidden : name of :mod:`fastprop.activations`, or Activation, or a sequence with one for each hidden layer

    Returns
    -------
    dict
        {"A0": X, "Z1", "A1", …, "ZL", "AL"}, each (n_l, m)

    Raises
    ------
    ValueError, TypeError
        If a name, key, shape or value does not fit.
    """
    found = _forward_as_given(X, parameters, output, hidden)
    if found is not None:
        return found
    dtype, narrow = _precision(X, *_values("parameters", parameters))
    layers, sizes = _layers(parameters, dtype)
    L, last = len(layers), ACTIVATIONS[choice("output", output, list(PAIRS))]
    columns = arrays.columns("X", X, dtype, sizes[0])
    bench = _Forward.take(sizes, checked_hidden(hidden, L - 1), last, columns.shape[1], dtype)
    cache = bench.computed(X, (columns, *_flat(layers)), dtype)
    for l in range(1, L + 1) if not narrow else ():
        dtype = _dtype(parameters[f"W{l}"], cache[f"A{l - 1}"], parameters[f"b{l}"])
        cache[f"Z{l}"], cache[f"A{l}"] = cache[f"Z{l}"].astype(dtype), cache[f"A{l}"].astype(dtype)
    return cache


def _forward_as_given(X: Any, parameters: Any, output: Any, hidden: Any) -> Arrays | None:
    """Compute the cache from arrays that need no conversion; None if something is not as it must be for that."""
    if type(X) is not np.ndarray or type(parameters) is not dict or type(output) is not str or output not in PAIRS:
        return None
    found = _sizes_as_given(parameters)
    if found is None or X.ndim != 2 or X.dtype not in DTYPES or not X.size:
        return None
    given, sizes = found
    bench = _Forward.take(sizes, _hidden_as_given(hidden, len(sizes) - 2), ACTIVATIONS[output], X.shape[1], X.dtype)
    return bench.run(X, (X, *given))


def compute_cost(cache: Mapping[str, Any], Y: Any, output: str = "softmax") -> float:
    """Compute the mean over the batch of the loss that is paired with the output, from Z.

    Parameters
    ----------
    cache : dict
        The result of `forward_propagation`; its Z of the last layer is read.
    Y : array_like of shape (n_L, m)
    output : {"softmax", "sigmoid", "identity"}

    Returns
    -------
    float
        J, as in :func:`fastprop.reference.compute_cost`.

    Raises
    ------
    ValueError, TypeError
        If a name, key, shape or value does not fit.
    """
    if type(cache) is dict and type(output) is str and output in PAIRS:
        Z = cache.get(f"Z{(len(cache) - 1) // 2}")
        if type(Z) is np.ndarray and Z.dtype in DTYPES:
            cost = _cost(Z, Y, ACTIVATIONS[output], Z.dtype)
            if cost is not None:
                return cost
    paired = ACTIVATIONS[choice("output", output, list(PAIRS))]
    last = f"Z{(len(_mapping('cache', cache)) - 1) // 2}"
    Z = arrays.array(last, _entry("cache", cache, last))
    if Z.ndim != 2 or 0 in Z.shape:
        raise ValueError(f"cache[{last!r}] has shape {Z.shape}; it must be (n_L, m).")
    dtype, _ = _precision(Z, Y)
    Z = arrays.columns(last, Z, dtype, *Z.shape)
    Y = arrays.columns("Y", Y, dtype, *Z.shape)
    cost = _cost(_plain(Z, dtype), _plain(Y, dtype), paired, dtype)
    if cost is None:
        raise RuntimeError("arrays were changed by another thread during the call")
    return cost


def _cost(Z: np.ndarray, Y: Any, output: Activation, dtype: np.dtype) -> float | None:
    """Return J of two matrices of a dtype; None if they are not, or are not finite, or differ in shape."""
    table = _Table.take(dtype, 2)
    given = (Z, Y)
    cost, valid = 0.0, False
    if transfers.look(id(given), table.address):
        cost, valid = transfers.cost_of_columns(arrays.LIKE[dtype], table.address, _paired(output, dtype))
    table.put_back()
    return cost if valid else None


def backpropagation(
    cache: Mapping[str, Any], Y: Any, parameters: Mapping[str, Any], hidden: str | Sequence[str] = "relu"
) -> Arrays:
    """Compute the four equations from the cache of a forward pass.

    Parameters
    ----------
    cache : dict
        The result of `forward_propagation`.
    Y : array_like of shape (n_L, m)
    parameters : dict
        {"W1": (n_1, n_0), "b1": (n_1, 1), …}
    hidden : as in `forward_propagation`

    Returns
    -------
    dict
        {"dZL", "dWL", "dbL", "dA(L-1)", "dZ(L-1)", …, "dW1", "db1"}; dZL = AL − Y

    Raises
    ------
    ValueError, TypeError
        If a name, key, shape or value does not fit.
    """
    found = _backward_as_given(cache, Y, parameters, hidden)
    if found is not None:
        return found
    L = len(_values("parameters", parameters)) // 2
    given = [_entry("cache", cache, f"A{l}") for l in range(L + 1)]
    dtype, narrow = _precision(Y, *given, *parameters.values())
    layers, sizes = _layers(parameters, dtype)
    columns = [arrays.columns("A0", given[0], dtype, sizes[0])]
    m = columns[0].shape[1]
    columns += [arrays.columns(f"A{l}", given[l], dtype, sizes[l], m) for l in range(1, L + 1)]
    targets = arrays.columns("Y", Y, dtype, sizes[-1], m)
    bench = _Backward.take(sizes, checked_hidden(hidden, L - 1), _IDENTITY, m, dtype)
    columns += [arrays.columns(Z, _entry("cache", cache, Z), dtype, sizes[int(Z[1:])], m) for Z in bench.Z_names]
    grads = bench.computed(None, (*columns, targets, *_flat(layers)), dtype)
    for l in range(L, 0, -1) if not narrow else ():
        _widen(grads, l, L, given, Y, parameters)
    return grads


def _backward_as_given(cache: Any, Y: Any, parameters: Any, hidden: Any) -> Arrays | None:
    """Compute the gradients from arrays that need no conversion; None if something is not as it must be for that."""
    if type(Y) is not np.ndarray or type(parameters) is not dict or type(cache) is not dict:
        return None
    found = _sizes_as_given(parameters)
    if found is None or Y.ndim != 2 or Y.dtype not in DTYPES or not Y.size:
        return None
    given, sizes = found
    bench = _Backward.take(sizes, _hidden_as_given(hidden, len(sizes) - 2), _IDENTITY, Y.shape[1], Y.dtype)
    try:
        found_in_cache = [cache[name] for name in bench.cache_names]
    except KeyError:
        bench.put_back()
        return None
    return bench.run(None, (*found_in_cache, Y, *given))


def _widen(grads: Arrays, l: int, L: int, given: list[Any], Y: Any, parameters: Mapping[str, Any]) -> None:
    """Convert the arrays of layer l to the dtypes that NumPy would have given them."""
    if l < L:
        grads[f"dA{l}"] = grads[f"dA{l}"].astype(_dtype(parameters[f"W{l + 1}"], grads[f"dZ{l + 1}"]))
        grads[f"dZ{l}"] = grads[f"dZ{l}"].astype(_dtype(grads[f"dA{l}"], given[l]))
    else:
        grads[f"dZ{l}"] = grads[f"dZ{l}"].astype(_dtype(given[l], Y))
    grads[f"dW{l}"] = grads[f"dW{l}"].astype(_dtype(grads[f"dZ{l}"], given[l - 1]))
    grads[f"db{l}"] = grads[f"db{l}"].astype(grads[f"dZ{l}"].dtype)


def general_backpropagation(
    cache: Mapping[str, Any],
    dA: Any,
    parameters: Mapping[str, Any],
    output: str = "softmax",
    hidden: str | Sequence[str] = "relu",
) -> Arrays:
    """Compute the four equations from any dA of the output, and the gradient of X.

    Parameters
    ----------
    cache : dict
        The result of `forward_propagation`.
    dA : array_like of shape (n_L, m)
        The derivative of each sample's own loss by its outputs; J is their mean.
    parameters : dict
        {"W1": (n_1, n_0), "b1": (n_1, 1), …}
    output, hidden : as in `forward_propagation`

    Returns
    -------
    dict
        As that of `backpropagation`, and "dA0" = W1ᵀ·dZ1, of shape (n_0, m), which has no 1/m.

    Raises
    ------
    ValueError, TypeError
        If a name, key, shape or value does not fit.
    """
    choice("output", output, list(PAIRS))
    L = len(_values("parameters", parameters)) // 2
    last = f"A{L}"
    Z, A = (arrays.array(name, _entry("cache", cache, name)) for name in (f"Z{L}", last))
    if A.ndim != 2 or 0 in A.shape:
        raise ValueError(f"cache[{last!r}] has shape {A.shape}; it must be (n_L, m).")
    dtype = _dtype(A if output == "softmax" else Z, dA)
    Z, A, dA = (
        arrays.columns(name, value, _computed_in(dtype), *A.shape)
        for name, value in ((f"Z{L}", Z), (last, A), ("dA", dA))
    )
    dZ = reference.output_dZ({"A0": A, "Z1": Z, "A1": A}, dA, output).astype(dtype, copy=False)
    # The bits of dZ are those of A − Y with A = 0, Y = −dZ.
    grads = backpropagation({**cache, last: np.zeros_like(dZ)}, -dZ, parameters, hidden)
    W1 = np.asarray(parameters["W1"], _dtype(parameters["W1"]))
    return {**grads, "dA0": np.dot(W1.T, grads["dZ1"])}


def update_parameters(parameters: Mapping[str, Any], grads: Mapping[str, Any], learning_rate: float) -> Arrays:
    """Gradient descent: W − learning_rate·dW, b − learning_rate·db.

    Parameters
    ----------
    parameters, grads : dict
        {"W1", "b1", …} and at least {"dW1", "db1", …}, of the same shapes; other names are allowed too.
    learning_rate : float

    Returns
    -------
    dict
        New arrays.

    Raises
    ------
    ValueError, TypeError
        If a key, shape or value does not fit.
    """
    plain = type(learning_rate) is float and abs(learning_rate) <= FLOAT32_MAX
    rate = learning_rate if plain else number("learning_rate", learning_rate)
    if type(parameters) is dict and type(grads) is dict and (plain or _is_narrow(learning_rate)):
        gradients = [grads.get(f"d{name}") for name in parameters]
        updated = _descended([*parameters.values()], gradients, rate)
        if updated is not None:
            return dict(zip(parameters, updated))
    return {
        name: _updated(name, theta, _entry("grads", grads, f"d{name}"), learning_rate, rate)
        for name, theta in _mapping("parameters", parameters).items()
    }


def _updated(name: str, theta: Any, gradient: Any, learning_rate: Any, rate: float) -> np.ndarray:
    """Update one array of any dtype and layout."""
    dtype = _dtype(theta, gradient, learning_rate)
    compute = _computed_in(dtype)
    checked_theta, checked_gradient = arrays.reals(name, theta, compute), arrays.reals(f"d{name}", gradient, compute)
    if checked_gradient.shape != checked_theta.shape:
        raise ValueError(
            f"d{name} has shape {checked_gradient.shape}; {name} has {checked_theta.shape}. They must be the same."
        )
    if dtype not in DTYPES:  # half or extended precision, whose rounding is NumPy's
        return (np.asarray(theta) - learning_rate * np.asarray(gradient)).astype(dtype, copy=False)
    flat = [_plain(a, compute).reshape(-1, 1) for a in (checked_theta, checked_gradient)]
    updated = _descended(flat[:1], flat[1:], rate)
    if updated is None:
        raise RuntimeError("arrays were changed by another thread during the call")
    return updated[0].reshape(checked_theta.shape)


def _descended(thetas: list[Any], gradients: list[Any], rate: float) -> list[np.ndarray] | None:
    """Return θ − rate·dθ of matrices of one dtype; None if they are not, or are not finite, or differ in shape."""
    if set(map(type, thetas)) != {np.ndarray} or (dtype := thetas[0].dtype) not in DTYPES:
        return None
    empty = np.empty
    out = [empty(theta.shape, dtype) for theta in thetas]
    given = (*thetas, *gradients, *out)
    table = _Table.take(dtype, len(given))
    like = arrays.LIKE[dtype]
    valid = transfers.look(id(given), table.address) and transfers.descend(like, table.address, len(thetas), rate)
    table.put_back()
    return out if valid else None


@stored
def _paired(output: Activation, dtype: np.dtype) -> int:
    """Return the address of the loss routine that is paired with an output."""
    return loss_routine(output, default_for(output)).address(dtype)


def _is_narrow(x: Any) -> bool:
    """Return whether the product of a float32 array with this number is float32 in NumPy."""
    return isinstance(x, int | float | np.float32) and not isinstance(x, np.float64)


class _Bench:
    """An engine that keeps the whole cache, with the tables of the arrays that go into it and come out of it.

    It is stored for the next call with the same sizes, since making one costs more than a call on a small network: a
    few in each Python thread, and none of more than 64 MB.
    """

    do = 0

    @classmethod
    def take(
        cls, sizes: tuple[int, ...], hidden: tuple[Activation, ...], output: Activation, m: int, dtype: np.dtype
    ) -> Any:
        """Return a bench that is not in use."""
        key = (cls, sizes, hidden, output, m, dtype, threads.get_num_threads())
        return _kept.benches.pop(key, None) or cls(key)

    def put_back(self) -> None:
        """Store the bench for a later call."""
        benches = _kept.benches
        if self.nbytes <= 2**26:
            benches[self.key] = self
        if len(benches) > 4:
            del benches[next(iter(benches))]  # the one that was stored first

    def __init__(self, key: tuple[Any, ...]):
        self.key = key
        _, self.sizes, hidden, output, m, dtype, _ = key
        self.layout = ParameterLayout.of(self.sizes)
        self.m, self.L = m, len(self.sizes) - 1
        self._like = arrays.LIKE[dtype]
        self.dtype = FLOAT32 if dtype == FLOAT32 else FLOAT64
        self._parameters, self._gradients = (allocate(self.layout.length, dtype) for _ in range(2))
        self.kinds = [activation.kind(dtype) for activation in (*hidden, output)]
        batch = max(m, 2)  # so that a single sample too is in a panel
        plan = plan_for(self.sizes, self.kinds, batch, keep=True, dtype=dtype)
        self.engine = Engine(plan, self._parameters, self._gradients, _paired(output, self.dtype))
        self.nbytes = self.engine.work.nbytes + 2 * self._parameters.nbytes
        self._alone = plan.threads == 1
        self._names: list[str] = []
        self._shapes: list[tuple[int, int]] = []
        self._table, self._out_table = _Table(self.dtype, self._given()), _Table(self.dtype, self._results())

    def _given(self) -> list[tuple[int, ...]]:
        """Return the rows of the table of the arrays that go in."""
        raise NotImplementedError

    def _results(self) -> list[tuple[int, ...]]:
        """Return the rows of the table of the arrays that come out, and note their names and shapes."""
        raise NotImplementedError

    def _place(self, l: int, name: str) -> int:
        """Return the address of a buffer of layer l, counted from 0; 0 if there is none."""
        return self._at(int(self.engine.plan.layers[l][name]))

    def _at(self, offset: int) -> int:
        return address_of(self.engine.work) + offset * self.dtype.itemsize if offset >= 0 else 0

    def _samples(self, n: int, place: int, place_T: int = 0) -> tuple[int, ...]:
        return (n, self.m, 0, SAMPLES, place, place_T)

    def _of_layers(self, flat: np.ndarray) -> list[list[tuple[int, ...]]]:
        """Return the rows of W and b of each layer in a flat buffer."""
        start, size, layout = address_of(flat), self.dtype.itemsize, self.layout
        return [
            [
                (self.sizes[l + 1], self.sizes[l], 0, MATRIX, start + size * layout.W[l], 0),
                (self.sizes[l + 1], 1, 0, VECTOR, start + size * layout.b[l], 0),
            ]
            for l in range(self.L)
        ]

    def _note(self, name: str, row: tuple[int, ...]) -> tuple[int, ...]:
        self._names.append(name)
        self._shapes.append((row[0], row[1]))
        return row

    def run(self, first: Any, given: tuple[Any, ...]) -> Arrays | None:
        """Return the named results, after `first` as "A0" if it is given; None if an array is not what it must be."""
        dtype = self.dtype
        out = tuple([np.empty(shape, dtype) for shape in self._shapes])
        table, out_table = self._table.address, self._out_table.address
        done = transfers.look_twice(id(given), table, id(out), out_table)
        if done and self._alone:
            engine = self.engine
            done = transfers.transfer_and_work(
                self._like, table, out_table, engine.worker, engine.address, self.do, self.m
            )
        elif done and transfers.transfer_in(self._like, table):
            self.engine.execute(self.do, self.m, 0, 1)
            transfers.transfer_out(self._like, out_table)
        else:
            done = False
        self.put_back()
        if not done:
            return None
        results = {} if first is None else {"A0": first}
        results.update(zip(self._names, out))
        return results

    def computed(self, first: Any, given: tuple[np.ndarray, ...], dtype: np.dtype) -> Arrays:
        """Do what :meth:`run` does, with arrays that were checked."""
        results = self.run(first, tuple([_plain(a, dtype) for a in given]))
        if results is None:
            raise RuntimeError("arrays were changed by another thread during the call")
        return results


class _Forward(_Bench):
    """Takes X, W1, b1, …; gives Z1, A1, …"""

    do = FORWARD | OUTPUT

    def _given(self) -> list[tuple[int, ...]]:
        bottom = self._samples(self.sizes[0], self._place(0, "A_prev"))
        return [bottom, *(row for rows in self._of_layers(self._parameters) for row in rows)]

    def _results(self) -> list[tuple[int, ...]]:
        return [
            self._note(f"{name}{l + 1}", self._samples(self.sizes[l + 1], self._place(l, name)))
            for l in range(self.L)
            for name in "ZA"
        ]


class _Backward(_Bench):
    """Takes A0, …, AL, those Z that a derivative reads, Y, W1, b1, …; gives dZL, dWL, …

    dZ = A_L − Y for every paired output: the same as that of an identity output whose Z is A_L.
    """

    do = LOSS | BACKWARD | GRADIENTS

    def _given(self) -> list[tuple[int, ...]]:
        L, sizes = self.L, self.sizes
        read = [l for l in range(L - 1) if self.kinds[l].from_Z]
        self.Z_names = [f"Z{l + 1}" for l in read]
        self.cache_names = [*(f"A{l}" for l in range(L + 1)), *self.Z_names]
        return [
            *(self._samples(sizes[l], self._place(l, "A_prev"), self._place(l, "A_prev_T")) for l in range(L)),
            self._samples(sizes[L], self._place(L - 1, "Z")),
            *(self._samples(sizes[l + 1], self._place(l, "Z")) for l in read),
            self._samples(sizes[L], self._at(self.engine.plan.Y_panels)),
            *(row for rows in self._of_layers(self._parameters) for row in rows),
        ]

    def _results(self) -> list[tuple[int, ...]]:
        gradients, rows = self._of_layers(self._gradients), []
        for l in range(self.L - 1, -1, -1):
            names = ("dA", "dZ") if l < self.L - 1 else ("dZ",)
            for name in names:
                rows.append(self._note(f"{name}{l + 1}", self._samples(self.sizes[l + 1], self._place(l, name))))
            rows += [self._note(f"{name}{l + 1}", row) for name, row in zip(("dW", "db"), gradients[l])]
        return rows


class _Table:
    """A table of :mod:`.kernels.transfers`: what is asked of the arrays of a tuple, and where they are."""

    def __init__(self, dtype: np.dtype, rows: list[tuple[int, ...]]):
        self._key = dtype, len(rows)
        about = (len(rows), object.__basicsize__, tuple.__basicsize__, id(np.ndarray), dtype.num, 0)
        self._rows = np.array([about, *rows], np.int64)
        self.address = address_of(self._rows)

    @classmethod
    def take(cls, dtype: np.dtype, count: int) -> "_Table":
        """Return a table of arrays of any shape, which is not in use."""
        return _kept.tables.pop((dtype, count), None) or cls(dtype, [(0, 0, 0, ANY, 0, 0)] * count)

    def put_back(self) -> None:
        """Store the table for a later call."""
        tables = _kept.tables
        tables[self._key] = self
        if len(tables) > 8:
            del tables[next(iter(tables))]


class _Kept(local):
    """The stored benches and tables of each Python thread."""

    def __init__(self) -> None:
        self.benches: dict[tuple[Any, ...], _Bench] = {}
        self.tables: dict[tuple[np.dtype, int], _Table] = {}


_kept = _Kept()
_IDENTITY = ACTIVATIONS["identity"]


def _precision(*operands: Any) -> tuple[np.dtype, bool]:
    """Return the dtype to compute in, and whether all operands are arrays of it, so that every result is one."""
    for dtype in DTYPES:
        if all(type(a) is np.ndarray and a.dtype == dtype for a in operands):
            return dtype, True
    return _computed_in(_dtype(*operands)), False


def _computed_in(dtype: np.dtype) -> np.dtype:
    """Return the dtype in which results of a dtype are computed."""
    return FLOAT32 if dtype.itemsize <= FLOAT32.itemsize else FLOAT64


def _dtype(*operands: Any) -> np.dtype:
    """Return the dtype of NumPy's arithmetic: a float64 operand widens, a plain Python number does not.

    For what NumPy cannot compute with it is float64: the validation that follows says what is wrong.
    """
    try:
        dtype = np.result_type(*(a if isinstance(a, int | float) else np.asarray(a).dtype for a in operands))
    except (TypeError, ValueError):
        return FLOAT64
    return dtype if dtype.kind == "f" else np.dtype(np.float64)


def _layers(parameters: Any, dtype: np.dtype) -> tuple[list[tuple[np.ndarray, np.ndarray]], tuple[int, ...]]:
    layers = arrays.parameters(parameters, dtype)
    return layers, (layers[0][0].shape[1], *(len(b) for _, b in layers))


def _flat(layers: list[tuple[np.ndarray, np.ndarray]]) -> list[np.ndarray]:
    """Return W1, b1, W2, …, each b as (n, 1)."""
    return [a for W, b in layers for a in (W, b.reshape(-1, 1))]


def _plain(a: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Return an array as one of the class ndarray, C-contiguous and of a dtype; a copy only if it is not."""
    return np.asarray(a, dtype, order="C")


def _sizes_as_given(parameters: dict[str, Any]) -> tuple[tuple[Any, ...], tuple[int, ...]] | None:
    """Return W1, b1, W2, … and (n_0, …, n_L), as far as they can be read; None if they cannot."""
    L = len(parameters) // 2
    if not L or len(parameters) != 2 * L:
        return None
    try:
        given = _of_layers(L)(parameters)
    except KeyError:
        return None
    weights = given[::2]
    for W in weights:
        if type(W) is not np.ndarray or W.ndim != 2 or not W.size:
            return None
    return given, (weights[0].shape[1], *[len(W) for W in weights])


@stored
def _of_layers(L: int) -> Callable[[Any], tuple[Any, ...]]:
    """Return a function of parameters that returns W1, b1, W2, …, of L layers."""
    return itemgetter(*(f"{kind}{l}" for l in range(1, L + 1) for kind in "Wb"))


def _hidden_as_given(hidden: Any, count: int) -> tuple[Activation, ...]:
    """Return the activation of each hidden layer."""
    return _hidden_of_name(hidden, count) if type(hidden) is str else checked_hidden(hidden, count)


@stored
def _hidden_of_name(hidden: str, count: int) -> tuple[Activation, ...]:
    return checked_hidden(hidden, count)


def _mapping(name: str, value: Any) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise TypeError(f"{name} is a {type(value).__name__}; it must be a dictionary.")
    return value


def _values(name: str, value: Any) -> list[Any]:
    return list(_mapping(name, value).values())


def _entry(name: str, mapping: Any, key: str) -> Any:
    if key not in _mapping(name, mapping):
        raise ValueError(f"{name} has no {key!r}; it has {sorted(map(str, mapping))}.")
    return mapping[key]
