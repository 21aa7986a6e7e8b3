"""The source's functions on dictionaries, computed by the kernels: a drop-in for :mod:`fastprop.reference`.

Same signatures, keys and shapes (samples are columns), and to float32 rounding the same values. Arrays may have any
real dtype and memory order; what comes back has the dtype that NumPy would have given it. Everything is computed in
float32.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from . import inputs
from .activations import ACTIVATIONS
from .engine import Engine, plan_for
from .kernels import elementwise, passes, updates
from .kernels.plan import BACKWARD, FORWARD, GRADIENTS, LOSS, OUTPUT, ParameterLayout, allocate
from .losses import PAIRED
from .reference import Arrays, initialise_parameters

__all__ = ["backpropagation", "compute_cost", "forward_propagation", "initialise_parameters", "update_parameters"]


def forward_propagation(X: Any, parameters: Mapping[str, Any], output: str = "softmax",
                        hidden: str | Sequence[str] = "relu") -> Arrays:  # fmt: skip
    """The cache of one forward pass: Z = W·A_prev + b, A = g(Z).

    Parameters
    ----------
    X : array_like of shape (n_0, m)
    parameters : dict
        {"W1": (n_1, n_0), "b1": (n_1, 1), …}
    output : {"softmax", "sigmoid", "identity"}
    hidden : {"relu", "sigmoid", "tanh", "identity"}, or a sequence with one for each hidden layer

    Returns
    -------
    dict
        {"A0": X, "Z1", "A1", …, "ZL", "AL"}, each (n_l, m)

    Raises
    ------
    ValueError, TypeError
        If a name, key, shape or value does not fit.
    """
    layers, sizes = _layers(parameters)
    columns = inputs.columns("X", X, sizes[0])
    bench = _Bench(sizes, hidden, inputs.choice("output", output, list(PAIRED)), columns.shape[1])
    bench.put_parameters(layers)
    bench.pack("A_prev", 0, columns, transposed=False)
    bench.run(FORWARD | OUTPUT)
    cache = {"A0": X}
    for l in range(1, len(sizes)):
        dtype = _dtype(parameters[f"W{l}"], cache[f"A{l - 1}"], parameters[f"b{l}"])
        cache[f"Z{l}"] = bench.unpack("Z", l - 1, dtype)
        cache[f"A{l}"] = bench.unpack("A", l - 1, dtype)
    return cache


def compute_cost(cache: Mapping[str, Any], Y: Any, output: str = "softmax") -> float:
    """The mean over the batch of the loss that is paired with the output, computed from Z.

    Parameters
    ----------
    cache : dict
        Of `forward_propagation`; its Z of the last layer is read.
    Y : array_like of shape (n_L, m)
    output : {"softmax", "sigmoid", "identity"}

    Returns
    -------
    float
        J, as :func:`fastprop.reference.compute_cost`.

    Raises
    ------
    ValueError, TypeError
        If a name, key, shape or value does not fit.
    """
    output = inputs.choice("output", output, list(PAIRED))
    last = f"Z{(len(_mapping('cache', cache)) - 1) // 2}"
    Z = inputs.float32(last, _entry("cache", cache, last))
    if Z.ndim != 2 or 0 in Z.shape:
        raise ValueError(f"cache[{last!r}] has shape {Z.shape}; it must be (n_L, m).")
    Y = inputs.columns("Y", Y, *Z.shape)
    bench = _Bench((1, len(Z)), (), output, Z.shape[1], loss=PAIRED[output].routine.address)
    bench.pack("Z", 0, Z, transposed=False)
    bench.put_targets(Y)
    return bench.run(LOSS)


def backpropagation(cache: Mapping[str, Any], Y: Any, parameters: Mapping[str, Any],
                    hidden: str | Sequence[str] = "relu") -> Arrays:  # fmt: skip
    """The four equations, from the cache of a forward pass.

    Parameters
    ----------
    cache : dict
        Of `forward_propagation`.
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
    layers, sizes = _layers(parameters)
    L = len(sizes) - 1
    given = [_entry("cache", cache, f"A{l}") for l in range(L + 1)]
    columns = [inputs.columns("A0", given[0], sizes[0])]
    m = columns[0].shape[1]
    columns += [inputs.columns(f"A{l}", given[l], sizes[l], m) for l in range(1, L + 1)]
    targets = inputs.columns("Y", Y, sizes[-1], m)
    # dZ = A_L − Y whatever the output: that of an identity output whose Z is A_L
    bench = _Bench(sizes, hidden, "identity", m, loss=elementwise.identity_mse.address)
    bench.put_parameters(layers)
    for l in range(L):
        bench.pack("A_prev", l, columns[l], transposed=True)
    bench.pack("Z", L - 1, columns[L], transposed=False)
    bench.put_targets(targets)
    bench.run(LOSS | BACKWARD | GRADIENTS)
    grads = {f"dZ{L}": bench.unpack("dZ", L - 1, _dtype(given[L], Y))}
    for l in range(L, 0, -1):
        if l < L:
            grads[f"dA{l}"] = bench.unpack("dA", l - 1, _dtype(parameters[f"W{l + 1}"], grads[f"dZ{l + 1}"]))
            grads[f"dZ{l}"] = bench.unpack("dZ", l - 1, _dtype(grads[f"dA{l}"], given[l]))
        dW, db = bench.gradients(l - 1)
        grads[f"dW{l}"] = dW.astype(_dtype(grads[f"dZ{l}"], given[l - 1]), order="C")
        grads[f"db{l}"] = db.astype(grads[f"dZ{l}"].dtype, order="C")
    return grads


def update_parameters(parameters: Mapping[str, Any], grads: Mapping[str, Any], learning_rate: float) -> Arrays:
    """Gradient descent: W − learning_rate·dW, b − learning_rate·db.

    Parameters
    ----------
    parameters, grads : dict
        {"W1", "b1", …} and at least {"dW1", "db1", …}, of the same shapes.
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
    rate = inputs.number("learning_rate", learning_rate)
    layers, _ = _layers(parameters)
    updated = {}
    for l, arrays in enumerate(layers, start=1):
        for kind, theta in zip("Wb", arrays, strict=True):
            name = f"{kind}{l}"
            shape, given = np.shape(parameters[name]), _entry("grads", grads, f"d{name}")
            gradient = inputs.float32(f"d{name}", given)
            if gradient.shape != shape:
                raise ValueError(f"d{name} has shape {gradient.shape}; {name} has {shape}. They must be the same.")
            dtype = _dtype(parameters[name], given, learning_rate)
            if dtype == np.float32:
                updated[name] = np.empty(shape, np.float32)
                updates.descend(updated[name].ctypes.data, theta.ctypes.data, gradient.ctypes.data, rate, theta.size)
            else:  # a float64 parameter keeps the digits that a small step needs
                updated[name] = (parameters[name] - learning_rate * np.asarray(given)).astype(dtype, copy=False)
    return updated


class _Bench:
    """A plan that keeps everything, its engine, and the ways in and out of its panels."""

    def __init__(self, sizes: tuple[int, ...], hidden: Any, output: str, m: int, loss: int = 0):
        names = inputs.hidden(hidden, len(sizes) - 2)
        self.m, self.layout = m, ParameterLayout.of(sizes)
        self.parameters, self.gradient = allocate(self.layout.length), allocate(self.layout.length)
        self._targets: np.ndarray | None = None
        kinds = [ACTIVATIONS[name].kind() for name in (*names, output)]
        plan = plan_for(sizes, kinds, max(m, 2), keep=True)  # one sample too stands in a panel, for `pack`
        self.engine = Engine(plan, self.parameters, self.gradient, loss)

    def put_parameters(self, layers: list[tuple[np.ndarray, np.ndarray]]) -> None:
        for l, (W, b) in enumerate(layers):
            W_view, b_view = self.layout.views(self.parameters, l)
            W_view[:], b_view[:] = W, b

    def gradients(self, l: int) -> tuple[np.ndarray, np.ndarray]:
        dW, db = self.layout.views(self.gradient, l)
        return dW, db[:, None]

    def _at(self, offset: int) -> int:
        return self.engine.work.ctypes.data + 4 * offset

    def pack(self, name: str, l: int, columns: np.ndarray, transposed: bool) -> None:
        layer = self.engine.plan.layers[l]
        passes.pack(
            self._at(int(layer[name])),
            self._at(int(layer["A_prev_T"])),
            columns.ctypes.data,
            *columns.shape,
            transposed and layer["A_prev_T"] >= 0,
        )

    def unpack(self, name: str, l: int, dtype: Any) -> np.ndarray:
        layer = self.engine.plan.layers[l]
        out = np.empty((int(layer["n"]), self.m), np.float32)
        passes.unpack(out.ctypes.data, self._at(int(layer[name])), *out.shape)
        return out.astype(dtype, copy=False)

    def put_targets(self, Y: np.ndarray) -> None:
        self._targets = np.ascontiguousarray(Y.T)

    def run(self, do: int) -> float:
        """Some parts of a pass; J, where LOSS is one of them."""
        cost, weight = self.engine.run(do, self.m, 0, 1, Y=self._targets)
        return cost / weight if do & LOSS else 0.0


def _dtype(*operands: Any) -> np.dtype:
    """What NumPy's arithmetic gives: a float64 operand widens, a plain Python number does not."""
    dtype = np.result_type(*(a if isinstance(a, int | float) else np.asarray(a).dtype for a in operands))
    return dtype if dtype.kind == "f" else np.dtype(np.float64)


def _layers(parameters: Any) -> tuple[list[tuple[np.ndarray, np.ndarray]], tuple[int, ...]]:
    layers = inputs.parameters(parameters)
    return layers, (layers[0][0].shape[1], *(len(b) for _, b in layers))


def _mapping(name: str, value: Any) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise TypeError(f"{name} is a {type(value).__name__}; it must be a dictionary.")
    return value


def _entry(name: str, mapping: Any, key: str) -> Any:
    if key not in _mapping(name, mapping):
        raise ValueError(f"{name} has no {key!r}; it has {sorted(map(str, mapping))}.")
    return mapping[key]
