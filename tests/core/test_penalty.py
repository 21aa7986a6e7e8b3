"""The L2 penalty in the cost and the gradients, and gradients clipped by their global norm."""

import numpy as np
import pytest
from networks import Case, assert_close, bits, data, dense, network, reference_forward, reference_parameters

import fastprop
from fastprop import SGD, Adam, Network, reference

CASES = (
    Case("batch", (5, 17, 33, 4), "tanh", "softmax", 21),
    Case("one sample", (5, 17, 33, 4), "relu", "identity", 1),
    Case("parts", (5, 9, 3), "relu", "softmax", 700),
    Case("runs", (100, 200, 3), "relu", "identity", 40),  # more parameters than a run has
)
each_case = pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])


def exact(net, X, Y, l2):
    """J and the gradients with the penalty, float64."""
    parameters, cache = reference_parameters(net), reference_forward(net, X)
    Y = dense(Y, net.sizes[-1]).T
    grads = reference.backpropagation(cache, Y, parameters, net.hidden)
    grads |= {f"dW{l}": grads[f"dW{l}"] + l2 * parameters[f"W{l}"] for l in range(1, len(net.sizes))}
    return reference.compute_cost(cache, Y, net.output) + reference.penalty(parameters, l2), grads


@each_case
def test_the_penalty_is_in_the_cost_and_in_the_gradients(case):
    net, (X, Y) = network(case, l2=0.3), data(case)
    J, grads = exact(net, X, Y, 0.3)
    assert net.loss(X, Y) == pytest.approx(J, rel=1e-5)
    net.forward(X)
    assert net.backward(Y) == pytest.approx(J, rel=1e-5)
    for l, layer in enumerate(net.layers, start=1):
        assert_close(layer.dW, grads[f"dW{l}"], what=f"dW{l}")
        assert_close(layer.db, grads[f"db{l}"][:, 0], what=f"db{l}")


@each_case
@pytest.mark.parametrize("clip", [None, 0.05])
def test_steps_with_a_penalty_and_a_limit(case, clip):
    """Plain SGD with a penalty: the cost before each step, and the parameters after it."""
    net, (X, Y), optimizer = network(case, l2=0.3), data(case), SGD(0.1, clip_norm=clip)
    for _ in range(5):
        J, grads = exact(net, X, Y, 0.3)
        norm = np.sqrt(sum(np.sum(grads[f"d{name}"] ** 2) for name in net.to_dict()))
        scale = min(1.0, clip / norm) if clip else 1.0
        expected = {name: value - 0.1 * scale * grads[f"d{name}"] for name, value in reference_parameters(net).items()}
        assert net.train_step(X, Y, optimizer) == pytest.approx(J, rel=1e-5)
        for name, value in net.to_dict().items():
            assert_close(value, expected[name], what=name)


def test_a_penalty_of_weighted_samples_in_batches():
    """The mean over an epoch has the penalty once, for any weights and batches."""
    case = CASES[0]
    net, (X, Y), weights = network(case, l2=0.3), data(case), np.linspace(0.1, 2, 21)
    without = network(case)
    extra = reference.penalty(reference_parameters(net), 0.3)
    assert net.loss(X, Y, weights) == pytest.approx(without.loss(X, Y, weights) + extra, rel=1e-5)
    history = net.fit(X, Y, epochs=1, batch_size=8, sample_weight=weights, optimizer=SGD(1e-12))
    assert history.loss[0] == pytest.approx(net.loss(X, Y, weights), rel=1e-5)


def test_the_gradient_check_knows_the_penalty():
    net, (X, Y) = network(CASES[0], l2=0.3), data(CASES[0])
    assert net.gradient_check(X, Y) < 1e-3


def test_a_limit_that_is_not_reached_changes_no_bit():
    net, other, (X, Y) = network(CASES[0]), network(CASES[0]), data(CASES[0])
    net.fit(X, Y, epochs=5, batch_size=8, optimizer=Adam(0.01, clip_norm=1e6), rng=0)
    other.fit(X, Y, epochs=5, batch_size=8, optimizer=Adam(0.01), rng=0)
    assert bits(net.parameters) == bits(other.parameters)


@pytest.mark.usefixtures("eager_threads")
@each_case
def test_on_any_number_of_threads(case):
    (X, Y), results = data(case, 2 * case.batch + 1), []
    for threads in (1, 2, 3, 33):
        fastprop.set_num_threads(threads)
        net = network(case, l2=0.1)
        loss = net.fit(X, Y, epochs=2, batch_size=case.batch, optimizer=Adam(0.01, clip_norm=0.1), rng=0).loss
        results.append((bits(net.parameters), loss))
    assert results[1:] == results[:1] * 3


def test_an_optimizer_with_a_limit_after_one_without():
    """No setting of one optimizer stays in the engine for the next optimizer."""
    case = CASES[0]
    (X, Y), free = data(case), SGD(0.1)
    net, other = network(case), network(case)
    net.train_step(X, Y, SGD(0.1, clip_norm=1e-9))
    net.parameters[:] = other.parameters
    for each in (net, other):
        each.train_step(X, Y, free if each is net else SGD(0.1))
    assert bits(net.parameters) == bits(other.parameters)


@pytest.mark.parametrize("make", [
    lambda: Network((2, 1), l2=-1), lambda: SGD(0.1, clip_norm=0), lambda: Adam(clip_norm=float("inf")),
])  # fmt: skip
def test_settings_out_of_their_range(make):
    with pytest.raises(ValueError, match="must be finite"):
        make()


def test_it_says_its_penalty():
    assert "loss='mse', l2=0.01): 3 parameters" in repr(Network((2, 1), l2=0.01))
