"""score, predict_classes and summary."""

import numpy as np
import pytest

from fastprop import Activation, Network

RNG = np.random.default_rng(0)
X = RNG.normal(size=(200, 4))
WEIGHTS = RNG.uniform(0, 2, 200)


def make(output, n, **settings):
    return Network((4, 8, n), output=output, rng=0, **settings)


@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_the_scores_are_those_of_scikit_learn(weights):
    metrics = pytest.importorskip("sklearn.metrics", reason="scikit-learn is not installed")
    three, two, labels, reals = make("softmax", 3), make("sigmoid", 1), make("sigmoid", 3), make("identity", 2)
    Y = RNG.integers(3, size=200)
    expected = metrics.accuracy_score(Y, three.predict_classes(X), sample_weight=weights)
    assert three.score(X, Y, weights) == pytest.approx(expected)
    assert three.score(X, np.eye(3)[Y], weights) == pytest.approx(expected)
    Y = RNG.integers(2, size=(200, 1))
    expected = metrics.accuracy_score(Y[:, 0], two.predict_classes(X), sample_weight=weights)
    assert two.score(X, Y, weights) == pytest.approx(expected)
    Y = RNG.integers(2, size=(200, 3))
    expected = metrics.accuracy_score(Y, labels.predict_classes(X), sample_weight=weights)
    assert labels.score(X, Y, weights) == pytest.approx(expected)
    Y = RNG.normal(size=(200, 2)) + 3
    expected = metrics.r2_score(Y, reals.predict(X), sample_weight=weights)
    assert reals.score(X, Y, weights) == pytest.approx(expected)


def test_r_squared_of_a_constant_and_of_what_is_right():
    net = make("identity", 2)
    Y = net.predict(X)
    assert net.score(X, Y) == 1
    assert net.score(X, np.broadcast_to(Y.mean(axis=0), Y.shape)) == 0
    zeros = Network((4, 2), init="zeros")
    assert zeros.score(X, np.zeros((200, 2))) == 1
    assert zeros.score(X, np.ones((200, 2))) == 0


def test_targets_that_are_not_known_do_not_count():
    net = make("identity", 2, missing=True)
    Y = net.predict(X) + RNG.normal(size=(200, 2))
    weights = np.ones((200, 2))
    weights[::3, 0] = 0
    gaps = np.where(weights > 0, Y, np.nan)
    assert net.score(X, gaps) == pytest.approx(make("identity", 2).score(X, Y, weights))
    none = np.column_stack([Y[:, 0], np.full(200, np.nan)])
    assert net.score(X, none) == pytest.approx(make("identity", 2).score(X, Y, np.eye(2)[np.zeros(200, int)]))
    labels = make("sigmoid", 2, missing=True)
    right = labels.predict_classes(X).astype(float)
    right[::3, 0] = np.nan
    assert labels.score(X, right) == 1


def test_classes_are_their_labels_if_the_network_has_any():
    net = make("softmax", 3)
    numbers = net.predict(X).argmax(axis=1)
    np.testing.assert_array_equal(net.predict_classes(X), numbers)
    net.classes = ["ant", "bee", "cat"]
    assert net.predict_classes(X).tolist() == [net.classes[number] for number in numbers]
    one = make("sigmoid", 1)
    np.testing.assert_array_equal(one.predict_classes(X), one.predict(X)[:, 0] > 0.5)
    one.classes = ["no", "yes"]
    assert set(one.predict_classes(X)) <= {"no", "yes"}
    assert make("sigmoid", 3).predict_classes(X).dtype == bool


@pytest.mark.parametrize("output", ["identity", "tanh"])
def test_reals_are_no_classes(output):
    with pytest.raises(ValueError, match=f"output is '{output}', which gives no classes. Use predict"):
        make(output, 1).predict_classes(X)


def test_the_summary_is_a_table_of_the_layers():
    net = Network((784, 256, 10), output="softmax", rng=0)
    head, *rows = net.summary().splitlines()
    assert head == repr(net)
    assert [row.split() for row in rows] == [
        ["layer", "inputs", "units", "activation", "parameters"],
        ["1", "784", "256", "relu", "200,960"],
        ["2", "256", "10", "softmax", "2,570"],
        ["all", "203,530"],
    ]
    assert str(net) == net.summary()


def test_the_summary_is_ascii():
    assert Network((2, 3, 1), hidden=Activation("größe", lambda z: z * z)).summary().isascii()
