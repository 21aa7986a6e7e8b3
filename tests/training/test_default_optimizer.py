"""Without an optimizer, Adam trains; and a fit that is no better than a constant prediction says so."""

import warnings

import numpy as np
import pytest

from fastprop import SGD, Adam, Network
from fastprop.core.architecture import Architecture
from fastprop.training.samples import constant_cost

RNG = np.random.default_rng(0)


def test_the_first_optimizer_is_adam():
    X, Y = RNG.random((40, 3)), RNG.random((40, 1))
    nets = [Network((3, 5, 1), rng=0) for _ in range(4)]
    nets[0].fit(X, Y, epochs=2, rng=0)
    nets[1].fit(X, Y, epochs=2, rng=0, optimizer=Adam())
    nets[2].partial_fit(X, Y)
    nets[3].partial_fit(X, Y, Adam())
    for net in nets:
        assert repr(net.optimizer) == repr(Adam())
    np.testing.assert_array_equal(nets[0].parameters, nets[1].parameters)
    np.testing.assert_array_equal(nets[2].parameters, nets[3].parameters)
    other = Network((3, 5, 1), rng=0)
    other.partial_fit(X, Y, SGD(0.1))
    assert repr(other.optimizer) == repr(SGD(0.1))
    other.partial_fit(X, Y)
    assert other.optimizer.steps == 2


@pytest.mark.parametrize("weights", [None, np.linspace(0, 2, 60)])
@pytest.mark.parametrize(
    ("options", "Y"),
    [
        ({}, RNG.standard_normal((60, 2)) + 3),
        ({"output": "sigmoid"}, RNG.random((60, 2))),
        ({"output": "sigmoid"}, np.repeat([[0.0, 1.0]], 60, axis=0)),
        ({"output": "softmax"}, RNG.integers(0, 2, 60)),
        ({"output": "softmax"}, RNG.dirichlet([1, 1], 60)),
        ({"output": "softmax", "loss": "mse"}, RNG.integers(0, 2, 60)),
        ({"loss": "poisson"}, RNG.poisson(3.0, (60, 2))),
    ],
)
def test_the_best_constant_has_the_least_cost(options, Y, weights):
    """The formula, against the least cost of a network whose inputs are all 0, trained until it stands."""
    architecture = Architecture.checked((1, 2), **options)
    checked = architecture.check_targets(Y, 60)
    expected = constant_cost(checked, architecture.check_weights(weights, checked), architecture)
    net = Network((1, 2), rng=0, **options)
    net.warns_of_a_constant = False
    net.fit(np.zeros((60, 1)), Y, epochs=3000, batch_size=60, sample_weight=weights, optimizer=Adam(0.03))
    J = net.loss(np.zeros((60, 1)), Y, weights)
    assert pytest.approx(expected, rel=1e-3, abs=1e-2) == J
    assert expected - 1e-5 <= J


def test_a_fit_that_learns_nothing_says_what_to_type():
    """Features of very different sizes, as people have them, with a rate that is too low for them."""
    X = RNG.random((200, 3)) * [1e-4, 1e-4, 1e-4]
    Y = X.sum(axis=1) > 1.5e-4
    net = Network((3, 8, 1), output="sigmoid", rng=0)
    with pytest.warns(
        RuntimeWarning, match=r"no better than .* mean of Y .* print\(fastprop.diagnose\(net, X, Y\)\)"
    ) as said:
        net.fit(X, Y, epochs=10, optimizer=SGD(1e-3))
    assert len(said) == 1
    assert said[0].filename == __file__


@pytest.mark.parametrize("options", [{"epochs": 9}, {"epochs": 200, "optimizer": Adam(0.05)}])
def test_a_short_fit_or_one_that_learns_says_nothing(options):
    X = RNG.random((200, 3))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Network((3, 8, 1), output="sigmoid", rng=0).fit(X, X.sum(axis=1) > 1.5, **options)


def test_the_penalty_does_not_count():
    """A strong penalty makes the cost larger than that of a constant, though the network has learnt."""
    X = RNG.standard_normal((200, 3))
    Y = (X[:, :1] > 0).astype(float)
    net = Network((3, 8, 1), rng=0, l2=0.02)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        net.fit(X, Y, epochs=100, optimizer=Adam(0.01))
    assert net.penalty() == pytest.approx(0.01 * sum(np.sum(layer.W**2) for layer in net.layers), rel=1e-6)
