"""The gradient check: what it leaves out, what it names, and that nothing wrong slips through."""

import copy
import doctest
import json
import math
import pickle

import numpy as np
import pytest

from fastprop import Activation, Network, gradcheck
from fastprop.gradcheck import GradientCheck, gradient_check, numerical_gradients

X = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
Y = X[:, 0] ^ X[:, 1]
BIASES = tuple(f"b1[{i}]" for i in range(16))


def xor(hidden="relu", **options):
    return Network((2, 16, 1), hidden, "sigmoid", rng=0, **options)


@pytest.mark.parametrize("hidden", ["relu", "leaky_relu", "selu"])
def test_of_the_first_example_the_kinks_alone_are_left_out(hidden):
    """With X = (0, 0) and b = 0 each Z is 0, which only b moves."""
    found = xor(hidden).gradient_check(X, Y)
    assert found < 1e-4
    assert found.skipped == BIASES


@pytest.mark.parametrize("hidden", ["elu", "tanh", "gelu", "softplus", "identity"])
@pytest.mark.parametrize("epsilon", [1e-7, 1e-6, 1e-4, 1e-3])
def test_of_a_smooth_cost_nothing_is_left_out(hidden, epsilon):
    """A curvature is no kink, whatever ε is. elu has a kink in its slope, so its differences err by about ε."""
    found = xor(hidden).gradient_check(X, Y, epsilon=epsilon)
    assert found.skipped == ()
    assert found < (1e-3 if hidden != "elu" else 1e-3 + 20 * epsilon)


def test_kinks_beside_the_parameter_are_found_too():
    """Z = 3e-7 of one sample: b is moved through the kink by −ε, not by −ε/10; W as x = 0.5 is by −5e-7."""
    net = Network((1, 1, 1), rng=0)
    net.layers[0].W[:], net.layers[0].b[:] = 1, -0.5 + 2**-22
    x = np.array([[0.5], [2.0]])
    found = net.gradient_check(x, np.ones(2))
    assert set(found.skipped) == {"W1[0, 0]", "b1[0]"}
    net.layers[0].b[:] = -0.4
    assert net.gradient_check(x, np.ones(2)).skipped == ()


def test_kinks_of_losses_and_of_custom_activations_are_found():
    net = Network((1, 1), loss="mae", init="zeros")
    found = net.gradient_check([[1.0], [3.0]], [0.0, 5.0])
    assert found.skipped == ("W1[0, 0]", "b1[0]")
    capped = Activation("capped", lambda z: min(max(z, 0.0), 6.0), lambda z: 1.0 if 0 < z < 6 else 0.0)
    net = Network((1, 1, 1), capped, rng=0)
    net.layers[0].W[:], net.layers[0].b[:] = 2, 0
    assert "b1[0]" in net.gradient_check([[3.0], [1.0]], [1.0, 0.0]).skipped
    assert net.gradient_check([[2.0], [1.0]], [1.0, 0.0]).skipped == ()


@pytest.mark.parametrize("hidden", ["relu", "tanh", "gelu", "softplus", "identity"])
def test_gradients_of_float64_are_right_to_eight_digits(hidden):
    rng = np.random.default_rng(0)
    net = Network((5, 9, 3), hidden, "softmax", l2=0.1, rng=0, dtype="float64")
    found = net.gradient_check(rng.standard_normal((50, 5)), rng.integers(3, size=50))
    assert found < 1e-8
    assert found.skipped == ()


def test_of_float64_smaller_kinks_are_found():
    """b's slope jumps by a millionth, which is within the rounding of float32, and within no rounding of float64."""
    x, y = [[2.0], [0.5]], [0.5, -1e-6]
    for dtype in ("float32", "float64"):
        net = Network((1, 1, 1), init="zeros", dtype=dtype)
        for layer, b in zip(net.layers, (-0.5, 0.0)):
            layer.W[:], layer.b[:] = 1, b
        found = net.gradient_check(x, y)
        assert ("b1[0]" in found.skipped) == (dtype == "float64")
        assert found < (1e-4 if dtype == "float32" else 1e-8)


def test_of_float64_smaller_errors_are_found(monkeypatch):
    net = xor("tanh", dtype="float64")
    backward = net.backward

    def wrong(targets):
        backward(targets)
        net.layers[0].dW[7, 1] *= 1 + 1e-5

    monkeypatch.setattr(net, "backward", wrong)
    found = net.gradient_check(X, Y)
    assert (found.worst, float(found)) == ("W1[7, 1]", pytest.approx(1e-5, rel=0.1))


def test_a_wrong_gradient_is_named_with_both_values(monkeypatch):
    net = xor("tanh")
    right = net.gradient_check(X, Y)
    backward = net.backward

    def wrong(targets):
        backward(targets)
        net.layers[0].dW[7, 1] *= 1.25
        net.layers[1].db[0] *= 1.01

    monkeypatch.setattr(net, "backward", wrong)
    found = net.gradient_check(X, Y)
    assert right < 1e-4 < 0.15 < found
    assert found.worst == "W1[7, 1]"
    assert found.analytic == pytest.approx(1.25 * found.numerical, rel=1e-4)
    assert found == pytest.approx(0.2, rel=1e-3)
    assert found.numerical == numerical_gradients(
        net.to_dict(), X.T.astype(float), Y[None].astype(float), output="sigmoid", hidden="tanh"
    )["dW1"][7, 1]  # fmt: skip


def test_a_wrong_bias_is_named_by_its_unit(monkeypatch):
    net = xor("tanh")
    backward = net.backward
    monkeypatch.setattr(net, "backward", lambda Y: (backward(Y), net.layers[0].db.__setitem__(5, 9.0)))
    assert net.gradient_check(X, Y).worst == "b1[5]"


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_gradients_that_are_not_finite_are_not_hidden(monkeypatch, value):
    """max() of Python loses a NaN that does not stand first; and one at a kink is not left out."""
    for hidden, place, name in (("tanh", (3, 1), "W1[3, 1]"), ("relu", (0, 0), "W1[0, 0]")):
        net = xor(hidden)
        backward = net.backward

        def wrong(Y, net=net, backward=backward, place=place):
            backward(Y)
            net.layers[0].dW[place] = value

        monkeypatch.setattr(net, "backward", wrong)
        with np.errstate(invalid="ignore"):
            found = net.gradient_check(X, Y)
        assert math.isnan(found)
        assert found.worst == name
        assert not found < 1e-3
    net = xor()
    backward = net.backward
    monkeypatch.setattr(net, "backward", lambda Y: (backward(Y), net.layers[0].db.__setitem__(2, np.nan)))
    found = net.gradient_check(X, Y)
    assert (math.isnan(found), found.worst) == (True, "b1[2]")


def test_if_all_is_left_out_the_result_is_no_success():
    found = Network((1, 1), loss="mae", init="zeros").gradient_check([[1.0]], [0.0])
    assert math.isnan(found)
    assert (found.worst, len(found.skipped)) == (None, 2)


def test_the_rounding_of_a_large_cost_is_no_error():
    """The cost is 2e10: differences of 1e-6 resolve gradients of 4, and the gradients themselves are right to 1e-6."""
    x = np.random.default_rng(0).standard_normal((200, 8))
    net = Network((8, 32, 32, 1), rng=0)
    assert net.gradient_check(x, 2e5 * x[:, 0]) < 1e-3
    assert net.gradient_check(x, x[:, 0]) < 1e-3


def test_the_result_is_a_float_with_more_to_say():
    found = xor().gradient_check(X, Y)
    assert isinstance(found, float)
    assert found == float(found)
    assert f"{found:.1e}" == f"{float(found):.1e}"
    assert json.loads(json.dumps(found)) == found
    assert repr(found).startswith(f"GradientCheck({float(found):.3g}, worst='W")
    assert str(found).endswith("skipped=16)")
    for again in (pickle.loads(pickle.dumps(found)), copy.copy(found), copy.deepcopy(found)):
        assert type(again) is GradientCheck
        assert (again, vars(again)) == (found, vars(found))


def test_only_the_drawn_parameters_are_checked_or_left_out():
    found = xor().gradient_check(X, Y, most=3)
    assert len(found.skipped) == 3
    assert set(found.skipped) < set(BIASES)


def test_the_docstring_example_holds():
    (example,) = doctest.DocTestFinder(recurse=False).find(
        gradient_check, globs={"np": np, "Network": Network, "gradient_check": gradcheck.gradient_check}
    )
    assert doctest.DocTestRunner().run(example) == (0, 3)
