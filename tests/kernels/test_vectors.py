"""Each kernel of `fastprop.kernels.vectors`, one sample's products, against the formula in float64, guards around."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from networks import Case, assert_close, data, network, reference_parameters
from panels import Guarded, assert_within, bound, pack_W, padded, row_stride, unpack_W

from fastprop import SGD, reference
from fastprop.kernels import vectors

widths = st.sampled_from((1, 3, 6, 10, 16, 17, 33, 100, 200, 273))
dtypes = st.sampled_from((np.float32, np.float64))
factors = st.sampled_from([1.0, 1 / 3, -0.01])


def normal(dtype, *shape, seed=0):
    return np.random.default_rng([seed, *shape]).standard_normal(shape).astype(dtype)


def vector(a, padding=0.0):
    """`a`, padded to 16 with what the padding of an activation may hold."""
    flat = np.full(padded(len(a)), padding, a.dtype)
    flat[: len(a)] = a
    return flat


@given(dtype=dtypes, n=widths, n_prev=widths)
def test_forward_is_W_a_plus_b(dtype, n, n_prev):
    W, a, b = normal(dtype, n, n_prev), normal(dtype, n_prev, seed=1), normal(dtype, n, seed=2)
    Z = Guarded(np.zeros(padded(n), dtype))
    vectors.forward(Z.array, Guarded(pack_W(W)).array, vector(a, 0.5), vector(b), n, n_prev)
    exact = W.astype(np.float64) @ a + b
    sizes = np.abs(W).astype(np.float64) @ np.abs(a) + np.abs(b)
    assert_within(Z.check()[:n].astype(np.float64), exact, bound(n_prev + 1, sizes, dtype))


@given(dtype=dtypes, n=widths, n_prev=widths)
def test_dA_is_W_transposed_dZ(dtype, n, n_prev):
    """Equation 4; where W has no column, dA is zero."""
    W, dZ = normal(dtype, n, n_prev), normal(dtype, n, seed=1)
    dA = Guarded(np.zeros(padded(n_prev), dtype))
    vectors.dA(dA.array, pack_W(W), vector(dZ), n, n_prev, row_stride(n_prev))
    exact = W.T.astype(np.float64) @ dZ
    sizes = np.abs(W).T.astype(np.float64) @ np.abs(dZ)
    assert_within(dA.check()[:n_prev].astype(np.float64), exact, bound(n, sizes, dtype))
    assert (dA.array[n_prev:] == 0).all()


@given(dtype=dtypes, n=widths, n_prev=widths, alpha=factors, beta=st.sampled_from([0.0, 1.0]), cut=st.integers(0, 20))
def test_dW_is_the_outer_product_in_shares_of_columns(dtype, n, n_prev, alpha, beta, cut):
    """Equation 2, as one thread does it or two; the padding of W is not written, whatever that of A holds."""
    a, dZ, old = normal(dtype, n_prev, seed=1), normal(dtype, n, seed=2), normal(dtype, n, n_prev, seed=3)
    blocks = padded(n_prev) // 16
    alpha, beta, cut = dtype(alpha), dtype(beta), min(cut, blocks)
    dW = Guarded(pack_W(old) if beta else np.full(n * row_stride(n_prev), np.nan, dtype))
    outside = dW.array.reshape(n, -1)[:, n_prev:].copy()
    for first, last in ((0, cut), (cut, blocks)):
        vectors.dW(dW.array, vector(dZ), vector(a, 0.5), n, n_prev, alpha, beta, first, last)
    np.testing.assert_array_equal(dW.check().reshape(n, -1)[:, n_prev:], outside)
    change = float(alpha) * np.outer(dZ.astype(np.float64), a)
    exact = change + (old if beta else 0.0)
    assert_within(
        unpack_W(dW.array, n, n_prev), exact, bound(2, np.abs(change) + (np.abs(old) if beta else 0.0), dtype)
    )


@given(dtype=dtypes, n=widths, alpha=factors, beta=st.sampled_from([0.0, 1.0]))
def test_db_is_dZ(dtype, n, alpha, beta):
    """Equation 3."""
    dZ, old, alpha = normal(dtype, n, seed=1), normal(dtype, n, seed=2), dtype(alpha)
    db = Guarded(vector(old) if beta else np.full(padded(n), np.nan, dtype))
    vectors.db(db.array, vector(dZ), n, alpha, dtype(beta))
    change = float(alpha) * dZ.astype(np.float64)
    sizes = np.abs(change) + (np.abs(old) if beta else 0.0)
    assert_within(db.check()[:n].astype(np.float64), change + (old if beta else 0.0), bound(2, sizes, dtype))


@pytest.mark.parametrize("output", ["identity", "sigmoid", "softmax"])
@pytest.mark.parametrize("hidden", ["relu", "tanh", "sigmoid", "identity"])
def test_training_on_one_sample_at_a_time_is_the_reference(hidden, output):
    """30 steps of fit with batches of one, widths that pad, every activation: the parameters of the derivation."""
    case = Case("one", (19, 33, 17, 3), hidden, output, 30)
    net, (X, Y) = network(case), data(case)
    parameters = reference_parameters(net)
    dense = np.eye(3)[Y] if output == "softmax" else Y.astype(np.float64)
    net.fit(X, Y, epochs=1, batch_size=1, optimizer=SGD(0.01), shuffle=False, progress=False)
    for x, y in zip(X.astype(np.float64), dense):
        cache = reference.forward_propagation(x[:, None], parameters, output, hidden)
        grads = reference.backpropagation(cache, y[:, None], parameters, hidden)
        parameters = reference.update_parameters(parameters, grads, 0.01)
    for name, value in net.to_dict().items():
        assert_close(value, parameters[name], what=name)
    assert net.engines.last.plan.vectors
    for l, layer in enumerate(net.layers):
        W = net.parameters[net.architecture.layout.W[l] :][: layer.n * row_stride(layer.n_prev)].reshape(layer.n, -1)
        assert (W[:, layer.n_prev :] == 0).all(), "the padding of W must stay zero"


@pytest.mark.parametrize("hidden", ["relu", "tanh"])
def test_what_one_sample_leaves_to_look_at(hidden):
    """Z, A, dZ, dA and the gradients after forward and backward of a single row."""
    case = Case("look", (19, 33, 17, 3), hidden, "softmax", 1)
    net, (X, Y) = network(case), data(case)
    parameters = reference_parameters(net)
    Y_hat = net.forward(X)
    net.backward(Y)
    cache = reference.forward_propagation(X.T.astype(np.float64), parameters, "softmax", hidden)
    grads = reference.backpropagation(cache, np.eye(3)[Y].T, parameters, hidden)
    assert_close(Y_hat, cache["A3"].T)
    for l, layer in enumerate(net.layers, start=1):
        assert_close(layer.Z, cache[f"Z{l}"].T, what=f"Z{l}")
        assert_close(layer.A, cache[f"A{l}"].T, what=f"A{l}")
        assert_close(layer.dZ, grads[f"dZ{l}"].T, what=f"dZ{l}")
        assert_close(layer.dW, grads[f"dW{l}"], what=f"dW{l}")
        assert_close(layer.db, grads[f"db{l}"].ravel(), what=f"db{l}")
        if l < 3:
            assert_close(layer.dA, grads[f"dA{l}"].T, what=f"dA{l}")
