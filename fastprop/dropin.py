"""The derivation's functions on dictionaries, computed by the kernels: a drop-in for :mod:`fastprop.reference`.

Signatures, keys and shapes are the same (samples are columns), and so are the values up to rounding. Arrays may have
any real dtype and memory order; results have the dtype that NumPy would have given them. A call computes in float64
where NumPy would, for any array of float64 or of integers, and in float32 otherwise.
"""

from collections.abc import Mapping, Sequence
from threading import local
from typing import Any

import numpy as np

from . import reference
from .activations import ACTIVATIONS, Activation
from .checks import choice, generator, number
from .core import arrays, threads
from .core.architecture import DTYPES, checked_hidden, checked_sizes
from .core.engine import Engine, plan_for
from .kernels import passes, updates
from .kernels.plan import BACKWARD, FLOAT32, FLOAT64, FORWARD, GRADIENTS, LOSS, OUTPUT, ParameterLayout, allocate
from .kernels.scan import address_of
from .losses import PAIRS, default_for, loss_routine
from .reference import Arrays

__all__ = ["backpropagation", "compute_cost", "forward_propagation", "initialise_parameters", "update_parameters"]


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
    dtype, narrow = _precision(X, *_values("parameters", parameters))
    layers, sizes = _layers(parameters, dtype)
    L, last = len(layers), ACTIVATIONS[choice("output", output, list(PAIRS))]
    columns = arrays.columns("X", X, dtype, sizes[0])
    bench = _Bench.take(sizes, checked_hidden(hidden, L - 1), last, columns.shape[1], dtype)
    bench.put_parameters(layers)
    bench.pack(0, "A_prev", columns)
    bench.execute(FORWARD | OUTPUT)
    cache = {"A0": X}
    for l in range(1, L + 1):
        cache[f"Z{l}"], cache[f"A{l}"] = bench.unpack(l - 1, "Z"), bench.unpack(l - 1, "A")
        if not narrow:
            dtype = _dtype(parameters[f"W{l}"], cache[f"A{l - 1}"], parameters[f"b{l}"])
            cache[f"Z{l}"], cache[f"A{l}"] = cache[f"Z{l}"].astype(dtype), cache[f"A{l}"].astype(dtype)
    bench.put_back()
    return cache


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
    paired = ACTIVATIONS[choice("output", output, list(PAIRS))]
    last = f"Z{(len(_mapping('cache', cache)) - 1) // 2}"
    Z = arrays.array(last, _entry("cache", cache, last))
    if Z.ndim != 2 or 0 in Z.shape:
        raise ValueError(f"cache[{last!r}] has shape {Z.shape}; it must be (n_L, m).")
    dtype, _ = _precision(Z, Y)
    Z = arrays.columns(last, Z, dtype, *Z.shape)
    Y = arrays.columns("Y", Y, dtype, *Z.shape)
    return passes.cost_of_columns(_paired(paired, dtype), Z, Y)


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
    L = len(_values("parameters", parameters)) // 2
    given = [_entry("cache", cache, f"A{l}") for l in range(L + 1)]
    dtype, narrow = _precision(Y, *given, *parameters.values())
    layers, sizes = _layers(parameters, dtype)
    columns = [arrays.columns("A0", given[0], dtype, sizes[0])]
    m = columns[0].shape[1]
    columns += [arrays.columns(f"A{l}", given[l], dtype, sizes[l], m) for l in range(1, L + 1)]
    targets = arrays.columns("Y", Y, dtype, sizes[-1], m)
    # dZ = A_L − Y for every paired output: the same as that of an identity output whose Z is A_L
    bench = _Bench.take(sizes, checked_hidden(hidden, L - 1), ACTIVATIONS["identity"], m, dtype)
    bench.put_parameters(layers)
    for l in range(L):
        bench.pack(l, "A_prev", columns[l], transposed=True)
    bench.pack(L - 1, "Z", columns[L])
    bench.pack_targets(targets)
    bench.execute(LOSS | BACKWARD | GRADIENTS)
    grads = {}
    for l in range(L, 0, -1):
        if l < L:
            grads[f"dA{l}"], grads[f"dZ{l}"] = bench.unpack(l - 1, "dA"), bench.unpack(l - 1, "dZ")
        else:
            grads[f"dZ{l}"] = bench.unpack(l - 1, "dZ")
        grads[f"dW{l}"], grads[f"db{l}"] = bench.gradients(l - 1)
        if not narrow:
            _widen(grads, l, L, given, Y, parameters)
    bench.put_back()
    return grads


def _widen(grads: Arrays, l: int, L: int, given: list[Any], Y: Any, parameters: Mapping[str, Any]) -> None:
    """Convert the arrays of layer l to the dtypes that NumPy would have given them."""
    if l < L:
        grads[f"dA{l}"] = grads[f"dA{l}"].astype(_dtype(parameters[f"W{l + 1}"], grads[f"dZ{l + 1}"]))
        grads[f"dZ{l}"] = grads[f"dZ{l}"].astype(_dtype(grads[f"dA{l}"], given[l]))
    else:
        grads[f"dZ{l}"] = grads[f"dZ{l}"].astype(_dtype(given[l], Y))
    grads[f"dW{l}"] = grads[f"dW{l}"].astype(_dtype(grads[f"dZ{l}"], given[l - 1]))
    grads[f"db{l}"] = grads[f"db{l}"].astype(grads[f"dZ{l}"].dtype)


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
    rate = number("learning_rate", learning_rate)
    if type(parameters) is dict and type(grads) is dict and _is_narrow(learning_rate):
        updated = {}
        for name, theta in parameters.items():
            gradient = grads.get(f"d{name}")
            if not any(arrays.is_matrix(theta, dtype) and arrays.is_matrix(gradient, dtype) for dtype in DTYPES):
                break
            updated[name] = out = np.empty_like(theta)
            if not updates.descend(out, theta, gradient, rate):
                break
        else:
            return updated
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
    out = np.empty(checked_theta.shape, compute)
    updates.descend(out.reshape(-1, 1), checked_theta.reshape(-1, 1), checked_gradient.reshape(-1, 1), rate)
    return out


def _paired(output: Activation, dtype: np.dtype) -> int:
    """Return the address of the loss routine that is paired with an output."""
    return loss_routine(output, default_for(output)).address(dtype)


def _is_narrow(x: Any) -> bool:
    """Return whether the product of a float32 array with this number is float32 in NumPy."""
    return isinstance(x, int | float | np.float32) and not isinstance(x, np.float64)


class _Bench:
    """An engine that keeps the whole cache, with conversions of columns into its panels and back.

    It is stored for the next call with the same sizes, since making one costs more than a call on a small network: a
    few in each Python thread, and none of more than 64 MB.
    """

    @classmethod
    def take(
        cls, sizes: tuple[int, ...], hidden: tuple[Activation, ...], output: Activation, m: int, dtype: np.dtype
    ) -> "_Bench":
        """Return a bench that is not in use."""
        key = (sizes, hidden, output, m, dtype, threads.get_num_threads())
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
        sizes, hidden, output, m, dtype, _ = key
        layout = ParameterLayout.of(sizes)
        self.m, L = m, len(sizes) - 1
        self._like = arrays.LIKE[dtype]
        parameters, gradients = allocate(layout.length, dtype), allocate(layout.length, dtype)
        kinds = [activation.kind(dtype) for activation in (*hidden, output)]
        batch = max(m, 2)  # so that a single sample too is in a panel, for `pack`
        plan = plan_for(sizes, kinds, batch, keep=True, dtype=dtype)
        self.engine = Engine(plan, parameters, gradients, _paired(output, dtype))
        self.nbytes = self.engine.work.nbytes + 2 * parameters.nbytes
        self._parameters = [layout.views(parameters, l) for l in range(L)]
        self._gradients = [layout.views(gradients, l) for l in range(L)]
        start = address_of(self.engine.work)
        names = ("A_prev", "A_prev_T", "Z", "A", "dZ", "dA")
        size = dtype.itemsize
        self._where = [
            {name: start + size * int(layer[name]) if layer[name] >= 0 else 0 for name in names}
            for layer in plan.layers
        ]
        self._Y = start + size * plan.Y_panels

    def put_parameters(self, layers: list[tuple[np.ndarray, np.ndarray]]) -> None:
        for (W_here, b_here), (W, b) in zip(self._parameters, layers):
            W_here[:], b_here[:] = W, b.reshape(-1)

    def gradients(self, l: int) -> tuple[np.ndarray, np.ndarray]:
        dW, db = self._gradients[l]
        return dW.copy(), db[:, None].copy()

    def pack(self, l: int, name: str, columns: np.ndarray, transposed: bool = False) -> None:
        where = self._where[l]
        A_T = where["A_prev_T"] if transposed else 0
        passes.pack(self._like, where[name], A_T, address_of(columns), *columns.shape)

    def pack_targets(self, Y: np.ndarray) -> None:
        passes.pack(self._like, self._Y, 0, address_of(Y), *Y.shape)

    def unpack(self, l: int, name: str) -> np.ndarray:
        out = np.empty((self.key[0][l + 1], self.m), self.engine.plan.dtype)
        passes.unpack(out, self._where[l][name])
        return out

    def execute(self, do: int) -> None:
        self.engine.execute(do, self.m, 0, 1)


class _Kept(local):
    """The stored benches of each Python thread."""

    def __init__(self) -> None:
        self.benches: dict[tuple[Any, ...], _Bench] = {}


_kept = _Kept()


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
