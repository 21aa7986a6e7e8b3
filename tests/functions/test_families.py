"""Built-in functions with numbers of their own, which are known by names such as ``"leaky_relu(0.2)"``."""

import copy
import pickle

import numpy as np
import pytest
from networks import bits

from fastprop import Activation, Network, reference
from fastprop.activations import ACTIVATIONS, leaky_relu
from fastprop.functions.function import find
from fastprop.losses import Loss, quantile

MEMBERS = {
    "leaky_relu(0.2)": leaky_relu(0.2),
    "leaky_relu(-1.5)": leaky_relu(-1.5),
    "leaky_relu(1e-05)": leaky_relu(1e-5),
    "quantile(0.1, 0.5, 0.9)": quantile([0.1, 0.5, 0.9]),
    "quantile(0.7)": quantile(0.7),
}
each_member = pytest.mark.parametrize("name", MEMBERS)


def network(name, dtype="float32"):
    """A network with a member of a family in it."""
    if isinstance(MEMBERS[name], Activation):
        return Network((4, 7, 3), name, MEMBERS[name], dtype=dtype, rng=0)
    return Network((4, 7, 3), "tanh", loss=name, dtype=dtype, rng=0)


def data(m=40):
    rng = np.random.default_rng(0)
    return rng.standard_normal((m, 4)), rng.standard_normal((m, 3))


@each_member
def test_a_member_is_found_by_its_name(name):
    """The same object each time, however the numbers are written."""
    function = MEMBERS[name]
    kind = type(function)
    assert (function.name, function.label) == (name, name)
    assert find(kind, name) is find(kind, name.replace("(", "( ").replace(",", " ,")) is function
    assert pickle.loads(pickle.dumps(function)) is function
    assert copy.deepcopy(function) is function
    assert repr(function) == f"{kind.__name__}({name!r})"


@each_member
def test_its_gradients_are_right(name):
    """Against central differences of the reference, in float64."""
    net, (X, Y) = network(name, "float64"), data()
    assert net.gradient_check(X, Y) < 1e-6


@each_member
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_network_with_it_is_trained_saved_and_loaded(name, dtype, tmp_path):
    """A file needs no functions; the loaded network has the same settings and bits, and trains on with them."""
    pytest.importorskip("safetensors", reason="files need safetensors (extra save)")
    net, (X, Y) = network(name, dtype), data()
    before = net.loss(X, Y)
    net.fit(X, Y, epochs=5, progress=False)
    assert net.loss(X, Y) < before
    net.save(tmp_path / "net.safetensors")
    again = Network.load(tmp_path / "net.safetensors")
    assert repr(again) == repr(net)
    assert name in repr(net)
    for each in (again, pickle.loads(pickle.dumps(net)), copy.deepcopy(net)):
        each.fit(X, Y, epochs=8, resume=True, progress=False)
        assert each.architecture.activations == net.architecture.activations
        assert each.architecture.loss is net.architecture.loss
    net.fit(X, Y, epochs=8, resume=True, progress=False)
    assert bits(again.parameters) == bits(net.parameters)


@pytest.mark.parametrize(
    "name",
    ["leaky_relu()", "leaky_relu(nan)", "leaky_relu(1e40)", "leaky_relu(0.1, 0.2)", "leaky_relu(0.1", "relu(0.1)",
     "leaky_relu(x)", "elu(0.5)", "(0.1)", "leaky_relu(0.1)(0.2)"],
)  # fmt: skip
def test_a_name_that_is_none_is_refused(name):
    assert find(Activation, name) is None
    with pytest.raises(ValueError, match="it must be one of identity, relu"):
        Network((3, 4, 1), hidden=name)


def test_a_slope_that_is_none_is_refused():
    for slope, error in ((np.nan, ValueError), (1e40, ValueError), ("0.1", TypeError), (None, TypeError)):
        with pytest.raises(error, match="slope is"):
            leaky_relu(slope)


def test_the_slope_of_the_built_in_one_gives_it():
    assert leaky_relu(0.01) is ACTIVATIONS["leaky_relu"]
    assert leaky_relu(np.float64(0.2)) is leaky_relu(0.2)
    assert leaky_relu(-0.0).name == "leaky_relu(0.0)"


@pytest.mark.parametrize("slope", [0.2, -1.5, 3.0])
def test_a_leaky_relu_in_numpy_is_the_references(slope):
    Z = np.linspace(-5, 5, 101)
    for deriv in (False, True):
        ours = leaky_relu(slope)(Z, deriv=deriv)
        np.testing.assert_array_equal(ours, reference.named(reference.OUTPUT, f"leaky_relu({slope})")(Z, deriv))


def test_every_family_is_among_the_members_and_in_the_reference():
    families = {name for kind in (Activation, Loss) for name in kind.families}
    assert families == {name.partition("(")[0] for name in MEMBERS} == set(reference.FAMILIES)
