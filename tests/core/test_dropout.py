"""Inverted dropout: which units are dropped depends on the seed, the step, the layer and the element alone."""

import copy

import numba
import numpy as np
import pytest
from networks import bits, dense, reference_parameters
from panels import LANES, panel_stride

import fastprop
from fastprop import SGD, Adam, Network, reference
from fastprop.kernels.passes import drop, random_bits

MASK = 0xFFFFFFFF


@numba.njit
def dropped(a, n, panels, key, layer, sample, threshold):
    drop(a, n, panels, key, layer, sample, threshold)


@numba.njit
def draws(state, count):
    found = np.empty(count, np.uint64)
    for i in range(count):
        found[i], state = random_bits(state)
    return found


def mixed(x):
    for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B), (16, 1)):
        x = ((x ^ (x >> shift)) * factor) & MASK
    return x


def mask_of(seed, t, layer, n, m, rate):
    """The factors of n units and m samples, (n, m), written out in Python's integers."""
    threshold = min(round((1 - rate) * 2**32), MASK)
    key = int(draws(np.uint64(seed + t), 1)[0])
    rows = draws(draws(np.uint64((key + layer) % 2**64), 1)[0], n)
    samples = np.arange(m).astype(object)
    factors = np.zeros((n, m))
    for i, row in enumerate(rows):
        low, high = int(row) & MASK, int(row) >> 32
        x = np.array([mixed((mixed(int(s) ^ low) + high) & MASK) for s in samples])
        factors[i] = (x < threshold) * (2**32 / threshold)
    return factors


def panels_of(n, m, threshold, key=7, layer=1, sample=0):
    count = -(-m // LANES)
    a = np.ones(count * panel_stride(n), np.float32)
    dropped(a, n, count, np.uint64(key), layer, sample, threshold)
    blocks = a.reshape(count, -1, LANES)[:, :n]
    return blocks.transpose(1, 0, 2).reshape(n, -1)[:, :m]


# ---- the draws ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_as_many_are_dropped_as_asked_for(rate):
    """The share of 200 units and 5,000 samples, of each unit and of each sample; the mean stays 1."""
    a = panels_of(200, 5000, round((1 - rate) * 2**32))
    gone = a == 0
    sigma = np.sqrt(rate * (1 - rate))
    assert abs(gone.mean() - rate) < 4 * sigma / 1000
    assert np.abs(gone.mean(axis=0) - rate).max() < 5.5 * sigma / np.sqrt(200)
    assert np.abs(gone.mean(axis=1) - rate).max() < 5.5 * sigma / np.sqrt(5000)
    np.testing.assert_allclose(a[~gone], 1 / (1 - rate), rtol=1e-6)


def test_units_samples_layers_and_keys_do_not_go_together():
    """Correlations between neighbours of each kind, of 10⁶ draws: within five standard errors of 0."""
    threshold = 2**31
    a, other, layer = (panels_of(200, 5000, threshold, *key) - 1 for key in ((7, 1), (8, 1), (7, 2)))
    for x, y in (
        (a[1:], a[:-1]), (a[:, 1:], a[:, :-1]), (a[2:], a[:-2]), (a[:, LANES:], a[:, :-LANES]), (a, other), (a, layer),
    ):  # fmt: skip
        assert abs((x * y).mean()) < 5 / np.sqrt(x.size)


def test_a_draw_is_of_its_sample_wherever_its_panel_stands():
    whole, part = panels_of(9, 160, 2**31), panels_of(9, 64, 2**31, sample=96)
    np.testing.assert_array_equal(whole[:, 96:], part)


# ---- training ----------------------------------------------------------------------------------------------------


def exact_step(net, X, Y, t, lr):
    """The parameters after a step of plain SGD with the masks written out, float64; and J."""
    parameters, rate, seed = reference_parameters(net), net.dropout, net.architecture.dropout_seed
    L, Y = len(net.sizes) - 1, dense(Y, net.sizes[-1]).T
    g = reference._hidden(net.hidden, L)
    cache, masks = {"A0": X.T.astype(np.float64)}, {}
    for l in range(1, L + 1):
        cache[f"Z{l}"] = parameters[f"W{l}"] @ cache[f"A{l - 1}"] + parameters[f"b{l}"]
        if l < L:
            masks[l] = mask_of(seed, t, l - 1, net.sizes[l], len(X), rate)
            cache[f"A{l}"] = g[l - 1](cache[f"Z{l}"]) * masks[l]
        else:
            cache[f"A{l}"] = reference.OUTPUT[net.output](cache[f"Z{l}"])
    J, dZ = reference.compute_cost(cache, Y, net.output), cache[f"A{L}"] - Y
    for l in range(L, 0, -1):
        grads = dZ @ cache[f"A{l - 1}"].T / len(X), dZ.mean(axis=1, keepdims=True)
        if l > 1:
            dA = parameters[f"W{l}"].T @ dZ * masks[l - 1]
            dZ = dA * g[l - 2](cache[f"Z{l - 1}"], deriv=True)
        parameters[f"W{l}"] = parameters[f"W{l}"] - lr * grads[0]
        parameters[f"b{l}"] = parameters[f"b{l}"] - lr * grads[1]
    return J, parameters


@pytest.mark.parametrize("batch", [1, 21, 700])
@pytest.mark.parametrize("hidden", ["relu", "tanh", "sigmoid", "gelu", "identity"])
def test_steps_with_the_masks_written_out(hidden, batch):
    """One sample, a ragged panel, and parts; the draws depend on the optimizer's step."""
    rng = np.random.default_rng(0)
    X, Y = rng.standard_normal((batch, 5)).astype(np.float32), rng.integers(4, size=batch)
    net, optimizer = Network((5, 17, 33, 4), hidden, "softmax", dropout=0.4, rng=1), SGD(0.1)
    for t in range(3):
        J, expected = exact_step(net, X, Y, t, 0.1)
        assert net.train_step(X, Y, optimizer) == pytest.approx(J, rel=1e-5)
        for name, value in net.to_dict().items():
            np.testing.assert_allclose(value, expected[name], rtol=1e-4, atol=2e-6, err_msg=name)


@pytest.mark.usefixtures("eager_threads")
@pytest.mark.parametrize("batch", [1, 50, 700])
def test_on_any_number_of_threads(batch):
    rng, results = np.random.default_rng(0), []
    X, Y = rng.standard_normal((1500 if batch > 1 else 40, 20)), rng.integers(4, size=1500 if batch > 1 else 40)
    for threads in (1, 2, 3, 33):
        fastprop.set_num_threads(threads)
        net = Network((20, 40, 30, 4), ("relu", "tanh"), "softmax", dropout=0.5, rng=1)
        results.append((net.fit(X, Y, epochs=2, batch_size=batch, optimizer=Adam(), rng=0).loss, bits(net.parameters)))
    assert results[1:] == results[:1] * 3


def test_only_training_drops():
    rng = np.random.default_rng(0)
    X, Y = rng.standard_normal((30, 5)).astype(np.float32), rng.standard_normal((30, 2)).astype(np.float32)
    net = Network((5, 9, 2), "tanh", dropout=0.5, rng=1)
    net.train_step(X, Y, SGD(0.1))
    plain = Network.from_dict(net.to_dict(), "tanh")
    assert bits(net.predict(X), net.forward(X)) == bits(plain.predict(X), plain.forward(X))
    assert net.loss(X, Y) == pytest.approx(plain.loss(X, Y), rel=1e-6)
    assert net.backward(Y) == pytest.approx(plain.backward(Y), rel=1e-6)
    assert net.gradient_check(X, Y) < 1e-3


def test_the_draws_go_on_in_copies_and_differ_between_seeds():
    X, Y = np.ones((30, 5)), np.ones((30, 2))
    net, optimizer = Network((5, 9, 2), dropout=0.5, rng=1), SGD(0.1)
    net.train_step(X, Y, optimizer)
    again, other = copy.deepcopy((net, optimizer)), Network((5, 9, 2), dropout=0.5, rng=2)
    assert net.train_step(X, Y, optimizer) == again[0].train_step(X, Y, again[1])
    assert bits(net.parameters) == bits(again[0].parameters)
    assert net.architecture.dropout_seed != other.architecture.dropout_seed


def test_it_keeps_a_network_from_learning_by_heart():
    """Trained on noise, the training cost stays higher with dropout than without."""
    rng = np.random.default_rng(0)
    X, Y = rng.standard_normal((60, 10)), rng.integers(2, size=60)
    costs = []
    for dropout in (0.0, 0.5):
        net = Network((10, 64, 2), output="softmax", dropout=dropout, rng=1)
        net.fit(X, Y, epochs=200, batch_size=20, optimizer=Adam(0.01), rng=0)
        costs.append(net.loss(X, Y))
    assert costs[1] > 2 * costs[0]


@pytest.mark.parametrize("value", [1, -0.1, float("nan")])
def test_probabilities_out_of_their_range(value):
    with pytest.raises(ValueError, match="dropout is"):
        Network((2, 2, 1), dropout=value)


def test_without_dropout_the_generator_draws_what_it_drew():
    """A network without dropout has the weights and the shuffles that it had before there was dropout."""
    net, rng = Network((3, 4, 2), rng=5), np.random.default_rng(5)
    for layer in net.layers[:1]:
        np.testing.assert_array_equal(layer.W, (rng.standard_normal((4, 3)) * np.sqrt(2 / 3)).astype(np.float32))
    assert "dropout=0.25" in repr(Network((3, 4, 2), dropout=0.25))


def test_a_probability_next_to_1_drops():
    """With a threshold of 1, one draw in 2³² keeps a unit: W1 gets no gradient, and the output only its bias."""
    net = Network((3, 8, 2), dropout=1 - 1e-10, rng=0)
    before = net.layers[0].W.copy()
    net.train_step(np.ones((20, 3)), np.ones((20, 2)), SGD(0.1))
    np.testing.assert_array_equal(net.layers[0].W, before)
    assert net.layers[1].b.all()
