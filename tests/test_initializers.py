"""Initializers: the mean and the variance of each, and the default of each activation."""

import numpy as np
import pytest

from fastprop import Activation, Network
from fastprop.activations import ACTIVATIONS
from fastprop.initializers import INITIALIZERS

VARIANCE = {
    "he": lambda n, n_prev: 2 / n_prev,
    "he_uniform": lambda n, n_prev: 2 / n_prev,
    "glorot": lambda n, n_prev: 2 / (n_prev + n),
    "glorot_normal": lambda n, n_prev: 2 / (n_prev + n),
    "lecun": lambda n, n_prev: 1 / n_prev,
    "orthogonal": lambda n, n_prev: 1 / max(n, n_prev),
    "zeros": lambda n, n_prev: 0,
}


@pytest.mark.parametrize("shape", [(300, 200), (200, 300)])
@pytest.mark.parametrize("name", INITIALIZERS)
def test_mean_and_variance(name, shape):
    """The mean and variance of 60,000 weights are within four standard errors of those of the table."""
    W = INITIALIZERS[name](*shape, np.random.default_rng(0))
    variance = VARIANCE[name](*shape)
    assert W.shape == shape
    assert abs(W.mean()) <= 4 * np.sqrt(variance / W.size)
    assert abs(W.var() - variance) <= 4 * variance * np.sqrt(2 / W.size)


@pytest.mark.parametrize("name", ["he_uniform", "glorot"])
def test_the_uniform_ones_have_limits(name):
    W = INITIALIZERS[name](300, 200, np.random.default_rng(0))
    limit = np.sqrt(3 * VARIANCE[name](300, 200))
    assert 0.99 * limit < np.abs(W).max() <= limit


@pytest.mark.parametrize("shape", [(1, 1), (3, 17), (17, 3), (33, 33)])
def test_orthogonal_rows_or_columns(shape):
    W = INITIALIZERS["orthogonal"](*shape, np.random.default_rng(0))
    small = W @ W.T if shape[0] <= shape[1] else W.T @ W
    np.testing.assert_allclose(small, np.eye(min(shape)), atol=1e-12)


def test_orthogonal_matrices_are_as_often_reflections_as_rotations():
    """They are uniformly distributed; the factorization alone would favor one kind."""
    rng = np.random.default_rng(0)
    determinants = [np.linalg.det(INITIALIZERS["orthogonal"](3, 3, rng)) for _ in range(400)]
    assert 140 < sum(d > 0 for d in determinants) < 260


@pytest.mark.parametrize("name", [*INITIALIZERS, None])
def test_a_network_starts_as_it_is_told(name):
    """By name, or by default each layer as suits its activation. The same seed draws the same weights."""
    net, again = (Network((30, 40, 20), "selu", "softmax", init=name, rng=5) for _ in range(2))
    rng = np.random.default_rng(5)
    for layer, default in zip(net.layers, ("lecun", "glorot"), strict=True):
        W = INITIALIZERS[name or default](layer.n, layer.n_prev, rng).astype(np.float32)
        np.testing.assert_array_equal(layer.W, W)
        assert not layer.b.any()
    np.testing.assert_array_equal(net.parameters, again.parameters)


def test_what_suits_an_activation():
    mine = Activation("mine", lambda z: 2 * z, lambda z: 2.0)
    chosen = {name: activation.init for name, activation in {**ACTIVATIONS, "mine": mine}.items()}
    relu_like = dict.fromkeys(("relu", "leaky_relu", "elu", "silu", "gelu", "gelu_tanh"), "he")
    others = dict.fromkeys(("identity", "sigmoid", "tanh", "softplus", "softmax", "mine"), "glorot")
    assert chosen == {**relu_like, **others, "selu": "lecun"}


def test_a_callable_for_a_custom_activation():
    own = Activation("own", lambda z: 2 * z, lambda z: 2.0)
    net = Network((3, 4, 2), own, init=lambda n, n_prev, rng: np.full((n, n_prev), n))
    assert [set(layer.W.ravel()) for layer in net.layers] == [{4.0}, {2.0}]
