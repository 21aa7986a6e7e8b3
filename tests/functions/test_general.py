"""Any activation with any loss, built in or custom, against NumPy and central differences."""

import copy
import math
import pickle
from itertools import product

import numpy as np
import pytest
from networks import cache_of, dense, reference_forward, reference_parameters

from fastprop import SGD, Activation, Loss, Network, losses, reference
from fastprop.activations import ACTIVATIONS, HIDDEN
from fastprop.functions.symbolic import MOST_BRANCHES, Lines, trace
from fastprop.gradcheck import numerical_gradients
from fastprop.losses import LOSSES, PAIRS

PAIRINGS = [
    (output, loss) for output, loss in product(ACTIVATIONS, LOSSES) if LOSSES[loss].accepts(ACTIVATIONS[output])
]


def mish(z):
    return z * math.tanh(math.log1p(math.exp(z)))


def mish_slope(z):
    t = math.tanh(math.log1p(math.exp(z)))
    return t + z * (1 - t * t) / (1 + math.exp(-z))


def logcosh(y_hat, y):
    return abs(y_hat - y) + math.log1p(math.exp(-2 * abs(y_hat - y))) - math.log(2)


def logcosh_slope(y_hat, y):
    return math.tanh(y_hat - y)


def samples(output, m=21, n_0=5, n=4, seed=0):
    rng = np.random.default_rng(seed)
    X, Y = rng.standard_normal((m, n_0)).astype(np.float32), rng.uniform(0.05, 0.95, (m, n))
    return X, (Y / Y.sum(axis=1, keepdims=True) if output == "softmax" else Y).astype(np.float32)


def network(hidden, output, loss, sizes=(5, 7, 4)):
    net = Network(sizes, hidden, output, loss, rng=1)
    for l, layer in enumerate(net.layers):
        layer.b[:] = np.random.default_rng(l).normal(0, 0.2, layer.n)
    return net


def largest_error(net, grads):
    """Return the largest error of the gradients, relative to the largest gradient of the same array."""
    return max(
        float(np.abs(ours - grads[name]).max() / np.abs(grads[name]).max())
        for l, layer in enumerate(net.layers, start=1)
        for name, ours in ((f"dW{l}", layer.dW), (f"db{l}", layer.db[:, None]))
    )


# ---- built in ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("output", "loss"), PAIRINGS)
def test_any_loss_of_any_output(output, loss):
    """Cost and gradients against the formulas in NumPy, and those against central differences, in float64.

    A binary cross-entropy of an output that reaches 0 or 1 is cut off there, and has derivatives of 10⁵ beside it.
    """
    net, (X, Y) = network("tanh", output, loss), samples(output)
    net.forward(X)
    J = net.backward(Y)
    parameters, Y = reference_parameters(net), Y.T.astype(np.float64)
    cache = reference_forward(net, X)
    assert pytest.approx(reference.general_cost(cache, Y, output, loss), rel=1e-5) == J
    grads = reference.backward(reference.general_dZ(cache, Y, output, loss), cache, parameters, "tanh")
    near_the_edge = loss in ("binary_crossentropy", "cross_entropy") and (output, loss) not in PAIRS.items()
    assert largest_error(net, grads) < (1e-3 if near_the_edge else 5e-6)
    numerical = numerical_gradients(
        parameters, X.T.astype(np.float64), Y, output=output, hidden="tanh", loss=loss, epsilon=1e-7
    )
    for name, gradient in numerical.items():
        np.testing.assert_allclose(grads[name], gradient, rtol=1e-3, atol=1e-5 * max(1, np.abs(gradient).max()))


@pytest.mark.filterwarnings("ignore:after .* epochs the:RuntimeWarning")  # sigmoids learn next to nothing in 30
@pytest.mark.parametrize("hidden", HIDDEN)
def test_hidden_layers_of_any_activation(hidden):
    """Z, A and gradients of 17 and 33 units, in a batch with a ragged panel; and training goes the same way."""
    net, (X, Y) = network(hidden, "identity", None, (5, 17, 33, 4)), samples("identity", 37)
    net.forward(X)
    net.backward(Y)
    exact, ours = reference_forward(net, X), cache_of(net, X)
    for name, value in exact.items():
        np.testing.assert_allclose(ours[name], value, rtol=1e-5, atol=3e-6, err_msg=name)
    grads = reference.backpropagation(exact, dense(Y, 4).T, reference_parameters(net), hidden)
    assert largest_error(net, grads) < 5e-6
    before = net.loss(X, Y)
    net.fit(X, Y, epochs=30, batch_size=10, optimizer=SGD(0.05), progress=False)
    assert net.loss(X, Y) < before


@pytest.mark.parametrize("hidden", HIDDEN)
def test_one_sample_has_the_gradients_that_it_has_among_others(hidden):
    """A single sample is computed by the routines of the panels."""
    net, (X, Y) = network(hidden, "softplus", "huber", (5, 17, 4)), samples("identity", 1)
    net.forward(X)
    J, one = net.backward(Y), net.gradients.copy()
    net.forward(np.repeat(X, 3, axis=0))
    assert pytest.approx(net.backward(np.repeat(Y, 3, axis=0)), rel=1e-4) == J
    np.testing.assert_allclose(one, net.gradients, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", HIDDEN)
def test_an_activation_in_numpy_is_the_references(name):
    """Value and derivative of the compiled expression in float64, also at large |z|."""
    Z = np.concatenate([np.linspace(-30, 30, 999), [-1e-9, 1e-9]])
    for deriv in (False, True):
        ours, theirs = ACTIVATIONS[name](Z, deriv=deriv), reference.HIDDEN[name](Z, deriv=deriv)
        np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("output", ["softmax", "gelu"])
def test_sample_weights_of_a_general_loss(output, weighted):
    """A weight of 0 leaves a sample out, one of 2 counts it twice."""
    net, (X, Y) = network("tanh", output, "mae"), samples(output, 20)
    weights = np.repeat([0.0, 1.0, 2.0, 1.0], 5)
    rows = np.repeat(np.arange(20), weights.astype(int))
    net.forward(X)
    J, gradients = net.backward(Y, sample_weight=weights), net.gradients.copy()
    net.forward(X[rows])
    assert pytest.approx(net.backward(Y[rows]), rel=1e-5) == J
    np.testing.assert_allclose(net.gradients, gradients, rtol=1e-3, atol=1e-6)


def test_labels_train_a_softmax_with_any_loss():
    X, labels = samples("softmax")[0], np.arange(21) % 4
    one, other = (network("relu", "softmax", "mse") for _ in range(2))
    for net, Y in ((one, labels), (other, np.eye(4)[labels])):
        net.fit(X, Y, epochs=3, batch_size=8, rng=0, progress=False)
    np.testing.assert_array_equal(one.parameters, other.parameters)


@pytest.mark.parametrize("output", ACTIVATIONS)
def test_the_loss_that_an_output_gets(output):
    net = Network((3, 4), output=output)
    assert net.loss_name == PAIRS.get(output, "mse")
    assert losses.is_paired(net.architecture.output, net.architecture.loss) == (output in PAIRS)


def test_targets_are_checked_by_the_loss():
    X = np.ones((2, 3))
    for output, loss, Y, message in (
        ("sigmoid", "binary_crossentropy", [[0.5], [1.5]], r"Y\[1, 0\] is 1.5"),
        ("identity", "poisson", [[2.0], [-1.0]], r"Y\[1, 0\] is -1"),
    ):
        with pytest.raises(ValueError, match=message):
            Network((3, 1), output=output, loss=loss).loss(X, Y)
    assert Network((3, 1), output="sigmoid", loss="mse").loss(X, [[-3.0], [7.0]]) > 0


# ---- custom functions --------------------------------------------------------------------------------------------


def test_a_custom_activation_and_loss():
    """Against NumPy in float64, in hidden and output layers, and with a softmax; and they learn."""
    own, loss = Activation("mish", mish, mish_slope), Loss("logcosh", logcosh, logcosh_slope)
    for output in (own, "identity", "softmax"):
        net, (X, Y) = network((own, "relu"), output, loss, (5, 17, 9, 4)), samples(output)
        assert net.gradient_check(X, Y) < 1e-3
        np.testing.assert_allclose(net.forward(X), reference_forward(net, X)["A3"].T, rtol=1e-5, atol=1e-6)
        before = net.loss(X, Y)
        net.fit(X, Y, epochs=50, batch_size=8, optimizer=SGD(0.1), progress=False)
        assert net.loss(X, Y) < before


@pytest.mark.parametrize("name", ["relu", "sigmoid", "tanh"])
def test_a_copy_of_a_built_in_one_learns_the_same(name):
    """The handwritten routines and the ones compiled from the expression agree."""
    built_in = ACTIVATIONS[name]
    own = Activation(f"my_{name}", built_in.f, built_in.df)
    one, other = (network(g, "identity", None, (5, 17, 4)) for g in (name, own))
    other.parameters[:] = one.parameters  # a relu starts otherwise
    X, Y = samples("identity", 100)
    for net in (one, other):
        net.fit(X, Y, epochs=5, batch_size=16, optimizer=SGD(0.1), shuffle=False, progress=False)
    np.testing.assert_allclose(other.parameters, one.parameters, rtol=1e-4, atol=1e-6)


def test_copies_and_pickles_keep_custom_functions():
    net = network(Activation("mish", mish, mish_slope), "identity", Loss("logcosh", logcosh, logcosh_slope))
    X, Y = samples("identity")
    for again in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        assert repr(again) == repr(net)
        assert again.loss(X, Y) == net.loss(X, Y)


def endless(z):
    while z > 0:
        z = z - 1
    return z


WRONG = {
    "another derivative": (
        lambda: Activation("square", lambda z: z * z, lambda z: z), ValueError,
        r"square: df\(-4.03\) is -4.03, but the central difference of f there is -8.06",
    ),
    "a derivative wrong on one side": (
        lambda: Activation("leak", lambda z: z if z > 0 else 0.1 * z, lambda z: 1.0 if z > 0 else 0.2), ValueError,
        r"leak: df\(-.*\) is 0.2, but the central difference of f there is 0.1",
    ),
    "a derivative by y": (
        lambda: Loss("squared", lambda y_hat, y: (y_hat - y) ** 2, lambda y_hat, y: 2 * (y - y_hat)), ValueError,
        r"squared: df\(.*\) is .* must be the derivative of f by its first argument",
    ),
    "a function of the kernels' not": (
        lambda: Activation("g", math.ulp, lambda z: z), TypeError,
        r"f of g cannot be compiled into the kernels: .*exp, expm1, log",
    ),
    "text": (lambda: Activation("g", lambda z: "z", lambda z: z), TypeError, r"it returned a str; it must return a"),
    "no function": (lambda: Activation("g", None, None), TypeError, r"f of g is None; it must be a function of 1"),
    "two arguments": (lambda: Activation("g", lambda a, b: a, lambda z: z), TypeError, r"f of g cannot be compiled"),
    "a name that is built in": (lambda: Activation("relu", mish, mish_slope), ValueError, r"'relu', which is built in"),
    "a loss's name": (lambda: Loss("mse", logcosh, logcosh_slope), ValueError, r"'mse', which is built in"),
    "no name": (lambda: Activation("a b", mish, mish_slope), ValueError, r"name is 'a b'; it must be a valid Python"),
    "nowhere finite": (
        lambda: Activation("g", lambda z: math.log(z - 9), lambda z: 1 / (z - 9)), ValueError, r"finite at 0 of 50",
    ),
    "too many cases": (
        lambda: Activation("g", lambda z: sum(1.0 for i in range(9) if z * i > i * i), lambda z: 0.0), ValueError,
        rf"it has more than {MOST_BRANCHES} cases",
    ),
    "a loop without an end": (
        lambda: Activation("g", endless, lambda z: 1.0), ValueError, r"branches more than 64 times",
    ),
    "an unknown activation": (lambda: Network((2, 2, 2), hidden="rellu"), ValueError, r"hidden is 'rellu'; it must be"),
    "an unknown loss": (lambda: Network((2, 2), loss="l2"), ValueError, r"loss is 'l2'; it must be one of mse, mae"),
    "a hidden softmax": (lambda: Network((2, 2, 2), hidden="softmax"), ValueError, r"hidden is 'softmax'"),
    "a number for a loss": (lambda: Network((2, 2), loss=2), TypeError, r"loss is 2; .* or a Loss"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_what_cannot_be_is_said_when_it_is_made(case):
    make, error, message = WRONG[case]
    with pytest.raises(error, match=message):
        make()


# ---- from functions to expressions -------------------------------------------------------------------------------


def steps(z):
    """A loop, early returns, and a function within."""

    def clipped(x, limit=2.0):
        if x > limit:
            return limit
        return -limit if x < -limit else x

    total = 0.0
    for i in range(1, 4):
        total += clipped(i * z) / i
    return 0.5 if z == 0 else total


FUNCTIONS = {
    "polynomial": lambda z: 3 * z**3 - z**2 / 2 + z**-2 - +z,
    "powers": lambda z: 2**z + abs(z) ** 0.5 + abs(z) ** 1.5,
    "branches": lambda z: -1.0 if z < -1 else (z if z <= 1 else 1.0),
    "minimum and maximum": lambda z: min(max(z, -0.5), 0.5) + max(z, 0.1 * z, -1),
    "and, or": lambda z: 1.0 if z > 1 or (z < 0 and z > -1) else 2.0,
    "math": lambda z: math.exp(-z * z) + math.erf(z) + math.sqrt(math.fabs(z)) + math.log(1 + z * z) + math.pow(z, 2),
    "numpy": lambda z: np.where(z > 0, np.exp(-z), np.expm1(z)) + np.maximum(z, 0) - np.minimum(z, 1) + np.square(z),
    "more of numpy": lambda z: np.float64(2) * np.tanh(z) + np.sign(z) + np.reciprocal(1 + np.abs(z)) - np.negative(z),
    "a loop": steps,
    "a constant": lambda z: 2.5,
    "functions within": lambda z: sum((lambda x: math.exp(-x * x))(z + i) for i in range(3)),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_traced_function_is_the_function(name):
    """At points on both sides of every comparison."""
    function, points = FUNCTIONS[name], np.array([-2.5, -1.5, -1.0, -0.6, -0.3, 0.2, 0.4, 0.9, 1.0, 1.3, 3.0])
    expression = trace(function, ("z",))
    expected = [float(function(z)) for z in points.tolist()]
    np.testing.assert_allclose(expression.evaluate(z=points) * np.ones(len(points)), expected, rtol=1e-12)


def test_alike_parts_are_computed_once():
    lines = Lines(z="z")
    lines.name_of(trace(lambda z: math.exp(z) / (1 + math.exp(z)) + math.exp(z), ("z",)))
    assert sum("exp" in line for line in lines.lines) == 1
