"""The table of networks that the tests go through, and their comparison with the reference in float64.

Samples are rows in a Network and columns in the reference; everything here that is given to the reference is float64.
"""

import numpy as np
import pytest
from cases import SHAPES, Case

import fastprop
from fastprop import reference

# Widths that fill no vector and no tile (1, 3, 17, 33, 100), every activation, no hidden layer, batches of 1 and of
# a sample more or less than whole panels.
AWKWARD = (
    Case("one-one", (1, 1), "relu", "identity", 1),
    Case("no-hidden", (17, 3), "relu", "softmax", 31),
    Case("ones", (1, 1, 1, 1), "tanh", "sigmoid", 5),
    Case("threes", (3, 3, 3), "relu", "identity", 17),
    Case("seventeens", (17, 17, 17), "sigmoid", "softmax", 33),
    Case("thirtythree", (33, 33, 100, 3), "tanh", "identity", 15),
    Case("hundred", (100, 100, 1), "relu", "sigmoid", 47),
    Case("mixed", (3, 17, 33, 100, 17), ("relu", "tanh", "sigmoid"), "softmax", 65),
    Case("linear", (33, 1, 17, 33), ("identity", "relu"), "identity", 16),
    Case("many-sigmoids", (17, 100, 33), "tanh", "sigmoid", 100),
)

SMALL_SHAPES = SHAPES[:5]  # xl takes seconds a step, and nothing in it is not in "wide"
CASES = AWKWARD + SMALL_SHAPES
SMALL = AWKWARD + SHAPES[:3]


def names(cases):
    """For the ids of a parametrised test."""
    return [case.name for case in cases]


def network(case, rng=0, **options):
    """The network of a case, its biases moved away from zero so that they matter."""
    net = fastprop.Network(case.sizes, case.hidden, case.output, rng=rng, **options)
    for l, layer in enumerate(net.layers):
        layer.b[:] = np.random.default_rng(l).normal(0, 0.1, layer.n)
    return net


def data(case, m=None, seed=0, dtype="float32"):
    """X, and Y of the kind that the output wants: labels for softmax, 0 and 1 for sigmoid, numbers for identity."""
    rng = np.random.default_rng(seed)
    m, n = case.batch if m is None else m, case.sizes[-1]
    X = rng.standard_normal((m, case.sizes[0])).astype(dtype)
    if case.output == "softmax":
        return X, rng.integers(n, size=m)
    if case.output == "sigmoid":
        return X, rng.integers(2, size=(m, n)).astype(dtype)
    return X, rng.standard_normal((m, n)).astype(dtype)


def dense(Y, n):
    """Y (m, n) in float64: labels as one-hot rows."""
    Y = np.asarray(Y)
    return np.eye(n)[Y] if Y.ndim == 1 and Y.dtype.kind in "iu" else Y.reshape(-1, n).astype(np.float64)


def reference_parameters(net):
    """The network's parameters as the source's dictionary, float64."""
    return {name: value.astype(np.float64) for name, value in net.to_dict().items()}


def reference_forward(net, X):
    """The reference's cache for rows X, float64."""
    columns = np.asarray(X, np.float64).T
    return reference.forward_propagation(columns, reference_parameters(net), net.output, net.hidden)


def cache_of(net, X):
    """The cache that the network itself holds after forward(X), as the reference's dictionary, float64."""
    cache = {"A0": np.asarray(X, np.float64).T}
    for l, layer in enumerate(net.layers, start=1):
        cache[f"Z{l}"], cache[f"A{l}"] = layer.Z.T.astype(np.float64), layer.A.T.astype(np.float64)
    return cache


def weighted_gradients(cache, Y, parameters, hidden, weights=None):
    """The reference's gradients with weights (m,) or (n_L, m): dZ_L = w·(Ŷ − Y), and 1/m becomes 1/(Σw/n_L)."""
    if weights is None:
        return reference.backpropagation(cache, Y, parameters, hidden)
    L, m = len(parameters) // 2, Y.shape[1]
    Y_hat = cache[f"A{L}"]
    grads = reference.backpropagation(cache, Y_hat - weights * (Y_hat - Y), parameters, hidden)
    share = m / np.mean(np.broadcast_to(weights, Y.shape), axis=0).sum()
    return {name: value * share if name[1] in "Wb" else value for name, value in grads.items()}


def assert_close(actual, expected, tolerance=2e-5, what=""):
    """No element further from its expected value than `tolerance` times the largest of them all.

    A sum of n float32 products errs by the size of its terms, not of the sum, so that what nearly cancels cannot be
    held to its own size.
    """
    actual, expected = np.asarray(actual, np.float64), np.asarray(expected, np.float64)
    assert actual.shape == expected.shape, f"{what}: shape {actual.shape}, expected {expected.shape}"
    error = float(np.max(np.abs(actual - expected), initial=0.0))
    scale = float(np.max(np.abs(expected), initial=0.0))
    assert error <= tolerance * scale + min(1e-12, 1e-7 * tolerance), (
        f"{what}: off by {error:.3g}, the largest being {scale:.3g}"
    )


def tolerance(dtype):
    """How far a pass may be from the reference's in float64, relative to the largest value of an array."""
    return 1e-12 if dtype == np.float64 else 2e-5


def check_forward(net, X):
    """Ŷ, and every layer's Z and A, are the reference's."""
    cache, near = reference_forward(net, X), tolerance(net.dtype)
    Y_hat = net.forward(X)
    assert Y_hat.dtype == net.dtype
    assert_close(Y_hat, cache[f"A{len(net.layers)}"].T, near, "Ŷ")
    for l, layer in enumerate(net.layers, start=1):
        assert_close(layer.Z, cache[f"Z{l}"].T, near, f"Z{l}")
        assert_close(layer.A, cache[f"A{l}"].T, near, f"A{l}")


def check_backward(net, X, Y, weights=None):
    """J, every layer's dZ, dA, dW and db, and dX are the reference's from the same cache. After `forward(X)`."""
    cache, columns = cache_of(net, X), dense(Y, net.sizes[-1]).T
    w = None if weights is None else np.transpose(weights).astype(np.float64)
    grads = weighted_gradients(cache, columns, reference_parameters(net), net.hidden, w)
    J = net.backward(Y, weights)
    assert isinstance(J, float)
    near = tolerance(net.dtype)
    expected = reference.general_cost(cache, columns, net.output, net.loss_name, w)
    assert pytest.approx(expected, rel=near / 2, abs=near / 200) == J
    for l, layer in enumerate(net.layers, start=1):
        assert_close(layer.dZ, grads[f"dZ{l}"].T, near, f"dZ{l}")
        assert_close(layer.dW, grads[f"dW{l}"], near, f"dW{l}")
        assert_close(layer.db, grads[f"db{l}"].ravel(), near, f"db{l}")
        if l < len(net.layers):
            assert_close(layer.dA, grads[f"dA{l}"].T, near, f"dA{l}")
    assert_close(net.dX, (reference_parameters(net)["W1"].T @ grads["dZ1"]).T, near, "dX")


def bits(*arrays):
    """The bytes of some arrays, to compare bit for bit."""
    return [np.ascontiguousarray(a).tobytes() for a in arrays]
