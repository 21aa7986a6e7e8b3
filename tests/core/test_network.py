"""Network's passes against the reference in float64: the table of cases, and random architectures.

The backward pass is compared with the reference's from the network's *own* Z and A: a Z of 1e-8 may have the other
sign in float64, and then the two would rightly differ.
"""

import contextlib
import copy
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from networks import (
    CASES,
    SMALL,
    Case,
    assert_close,
    bits,
    check_backward,
    check_forward,
    data,
    dense,
    names,
    network,
    reference_forward,
    tolerance,
)

import fastprop
from fastprop import SGD, Adam, Network, reference

each_case = pytest.mark.parametrize("case", CASES, ids=names(CASES))
each_small_case = pytest.mark.parametrize("case", SMALL, ids=names(SMALL))


each_dtype = pytest.mark.parametrize("dtype", ["float32", "float64"])


@each_dtype
@each_case
def test_forward_and_backward(case, dtype):
    net, (X, Y) = network(case, dtype=dtype), data(case, dtype=dtype)
    check_forward(net, X)
    check_backward(net, X, Y)


@st.composite
def random_cases(draw):
    sizes = tuple(draw(st.lists(st.integers(1, 40), min_size=2, max_size=5)))
    hidden = tuple(draw(st.sampled_from(["relu", "sigmoid", "tanh", "identity"])) for _ in sizes[1:-1])
    outputs = ["identity", "sigmoid", "softmax"] if sizes[-1] > 1 else ["identity", "sigmoid"]
    return Case("random", sizes, hidden, draw(st.sampled_from(outputs)), draw(st.integers(1, 70)))


@given(
    case=random_cases(),
    seed=st.integers(0, 1000),
    weighted=st.booleans(),
    dtype=st.sampled_from(["float32", "float64"]),
)
def test_random_architectures(case, seed, weighted, dtype):
    net, (X, Y) = network(case, rng=seed, dtype=dtype), data(case, seed=seed, dtype=dtype)
    weights = np.random.default_rng(seed).uniform(0.1, 3, case.batch).astype(dtype) if weighted else None
    check_forward(net, X)
    check_backward(net, X, Y, weights)


@each_dtype
@pytest.mark.parametrize("m", [511, 513, 2000])
def test_batches_of_more_than_one_chunk(m, dtype):
    """Batch sizes around the borders of chunks of 512, for the passes and for the training step."""
    case = Case("chunks", (9, 33, 5), "tanh", "softmax", m)
    net, (X, Y) = network(case, dtype=dtype), data(case, dtype=dtype)
    check_forward(net, X)
    check_backward(net, X, Y)
    before, gradients = net.parameters.copy(), net.gradients.copy()
    net.train_step(X, Y, SGD(lr=0.5))
    assert_close(
        before - net.parameters,
        0.5 * gradients,
        5 * tolerance(net.dtype),
        "a step of one learning rate times the gradients",
    )


@each_small_case
def test_loss_predict_and_train_step_agree_with_forward_and_backward(case):
    """Five calls give the same Ŷ bit for bit, and the same J to rounding."""
    net, (X, Y) = network(case), data(case)
    Y_hat = net.forward(X)
    J = net.backward(Y)
    assert bits(net.predict(X)) == bits(Y_hat)
    assert net.loss(X, Y) == pytest.approx(J, rel=1e-6, abs=1e-9)
    before, gradients = net.parameters.copy(), net.gradients.copy()
    assert net.train_step(X, Y, SGD(lr=0.1)) == pytest.approx(J, rel=1e-6, abs=1e-9)
    assert_close(net.parameters, before - np.float32(0.1) * gradients, 1e-6, "θ − lr·dθ")


@pytest.mark.parametrize("m", [1, 2, 15, 16, 17, 511, 512, 513, 1500])
def test_predict_of_any_number_of_rows(m):
    """A row's Ŷ has the same bits beside any other rows; alone it has the same value to rounding."""
    case = Case("rows", (7, 33, 4), "relu", "softmax", m)
    net, (X, _) = network(case), data(case)
    together = net.predict(X)
    assert together.shape == (m, 4)
    assert_close(together, reference_forward(net, X)["A2"].T)
    for i in {0, m // 2, m - 1}:
        pair = net.predict(np.stack([X[i], X[0]]))
        assert m == 1 or bits(pair[:1]) == bits(together[i : i + 1])
        assert_close(net.predict(X[i : i + 1]), pair[:1].astype(np.float64))


def test_predict_and_loss_leave_the_cache_and_the_gradients_alone():
    case = Case("state", (7, 33, 4), "relu", "softmax", 20)
    net, (X, Y) = network(case), data(case)
    net.forward(X)
    net.backward(Y)
    before = bits(net.gradients, net.parameters, *(getattr(layer, n) for layer in net.layers for n in ("Z", "A", "dZ")))
    net.predict(X[:3] + 1)
    net.loss(X[:5] + 1, Y[:5])
    after = bits(net.gradients, net.parameters, *(getattr(layer, n) for layer in net.layers for n in ("Z", "A", "dZ")))
    assert after == before


@each_dtype
@pytest.mark.parametrize("output", ["identity", "sigmoid", "softmax"])
@pytest.mark.parametrize("hidden", ["relu", "sigmoid", "tanh", "identity", ("relu", "tanh")])
def test_gradients_against_central_differences(hidden, output, dtype):
    """In float64, for every parameter of every pair of activations: the four equations themselves.

    The largest error is that of gradients a thousand times smaller than their neighbours: 2e-4 at most here in float32.
    """
    case = Case("check", (5, 9, 8, 3), hidden, output, 12)
    net, (X, Y) = network(case, dtype=dtype), data(case, dtype=dtype)
    assert net.gradient_check(X, Y) < (5e-4 if dtype == "float32" else 1e-6)


def test_the_gradient_check_sees_a_wrong_gradient(monkeypatch):
    """The check can fail: it finds a dW that is off by a hundredth."""
    case = Case("check", (5, 9, 3), "tanh", "softmax", 12)
    net, (X, Y) = network(case), data(case)
    backward = net.backward

    def wrong(targets):
        backward(targets)
        net.layers[0].dW[2, 1] *= 1.01

    monkeypatch.setattr(net, "backward", wrong)
    assert net.gradient_check(X, Y) > 5e-3


def test_the_gradient_check_of_some_parameters_alone():
    case = Case("check", (30, 40, 3), "tanh", "softmax", 12)
    net, (X, Y) = network(case), data(case)
    assert net.gradient_check(X, Y, most=5) < 5e-4


# ---- weights of samples ------------------------------------------------------------------------------------------


@each_small_case
def test_whole_weights_are_repeated_rows(case):
    """A sample of weight 3 is the same sample three times: in the cost, the gradients and the step."""
    X, Y = data(case)
    weights = np.random.default_rng(3).integers(0, 4, case.batch)
    weights[0] = 2
    one, repeated = network(case), network(case)
    one.forward(X)
    J = one.backward(Y, weights)
    X_again, Y_again = np.repeat(X, weights, axis=0), np.repeat(Y, weights, axis=0)
    repeated.forward(X_again)
    assert repeated.backward(Y_again) == pytest.approx(J, rel=1e-5)
    assert_close(one.gradients, repeated.gradients)
    assert one.loss(X, Y, weights) == pytest.approx(repeated.loss(X_again, Y_again), rel=1e-5)
    J = one.train_step(X, Y, SGD(lr=0.1), weights)
    assert repeated.train_step(X_again, Y_again, SGD(lr=0.1)) == pytest.approx(J, rel=1e-5)
    assert_close(one.parameters, repeated.parameters)


def test_samples_of_no_weight_do_not_count():
    """The bits do not depend on what such rows hold."""
    case = Case("weights", (7, 33, 4), "relu", "softmax", 40)
    X, Y = data(case)
    weights = np.ones(40)
    weights[::3] = 0
    other_X, other_Y = X.copy(), Y.copy()
    other_X[::3], other_Y[::3] = 100, 0
    one, other = network(case), network(case)
    for net, rows, targets in ((one, X, Y), (other, other_X, other_Y)):
        net.forward(rows)
        net.backward(targets, weights)
    assert bits(one.gradients) == bits(other.gradients)


def test_a_sample_of_no_weight_may_even_overflow():
    """X near the largest float32 gives an infinite Z; with weight 0 it changes no parameter."""
    net = Network((2, 1), rng=0)
    net.layers[0].W[:] = 1
    X, Y = np.array([[1, 2], [3e38, 3e38]], np.float32), np.zeros((2, 1))
    alone = Network.from_dict(net.to_dict())
    net.train_step(X, Y, SGD(lr=0.1), [1, 0])
    alone.train_step(X[:1], Y[:1], SGD(lr=0.1))
    assert np.isfinite(net.parameters).all()
    assert_close(net.parameters, alone.parameters)


@pytest.mark.parametrize("factor", [1e-20, 1e-3, 1e3, 1e20])
def test_only_the_ratios_of_weights_matter(factor):
    case = Case("weights", (7, 33, 4), "tanh", "softmax", 40)
    net, (X, Y) = network(case), data(case)
    weights = np.random.default_rng(0).uniform(0.5, 2, 40)
    net.forward(X)
    J = net.backward(Y, weights)
    gradients = net.gradients.copy()
    assert net.backward(Y, weights * factor) == pytest.approx(J, rel=1e-5)
    assert_close(net.gradients, gradients)


@pytest.mark.parametrize("size", [1e-40, 3e38])
def test_weights_at_the_ends_of_float32_are_refused_or_right(size):
    """1/Σw or w·dZ beyond float32 raises an error, and does not make the parameters NaN."""
    case = Case("weights", (7, 33, 4), "tanh", "softmax", 12)
    net, plain, (X, Y) = network(case), network(case), data(case)
    plain.train_step(X, Y, SGD(0.1))
    try:
        net.train_step(X, Y, SGD(0.1), np.full(12, size))
    except ValueError:
        return
    assert_close(net.parameters, plain.parameters, 1e-3)


# ---- targets -----------------------------------------------------------------------------------------------------


def test_labels_are_one_hot_rows():
    """Bit for bit, in every call that takes targets."""
    case = Case("labels", (7, 33, 4), "relu", "softmax", 40)
    X, labels = data(case)
    rows = dense(labels, 4)
    one, other = network(case), network(case)
    for net, Y in ((one, labels), (other, rows)):
        net.forward(X)
        net.J = [net.backward(Y), net.loss(X, Y), net.train_step(X, Y, SGD(lr=0.1))]
    assert one.J == other.J
    assert bits(one.gradients, one.parameters) == bits(other.gradients, other.parameters)


def test_distributions_as_targets_of_a_softmax():
    case = Case("soft", (7, 33, 4), "relu", "softmax", 40)
    net, (X, _) = network(case), data(case)
    Y = np.random.default_rng(0).dirichlet(np.ones(4), 40).astype(np.float32)
    net.forward(X)
    check_backward(net, X, Y)


def test_targets_of_one_output_may_be_flat():
    for output in ("identity", "sigmoid"):
        case = Case("flat", (7, 5, 1), "relu", output, 20)
        net, (X, Y) = network(case), data(case)
        assert net.loss(X, Y.ravel()) == net.loss(X, Y)


# ---- parameters --------------------------------------------------------------------------------------------------


@each_small_case
def test_layers_are_views_of_the_flat_buffers(case):
    """Shapes, sharing, and that every real parameter is one layer's."""
    net = network(case)
    assert [(layer.n_prev, layer.n) for layer in net.layers] == list(zip(case.sizes[:-1], case.sizes[1:], strict=True))
    for layer in net.layers:
        for W, b, flat in ((layer.W, layer.b, net.parameters), (layer.dW, layer.db, net.gradients)):
            assert W.shape == (layer.n, layer.n_prev)
            assert b.shape == (layer.n,)
            assert np.shares_memory(W, flat)
            assert np.shares_memory(b, flat)
    assert net.n_parameters == sum((n_prev + 1) * n for n_prev, n in zip(case.sizes[:-1], case.sizes[1:], strict=True))
    net.parameters[:] = 0
    for layer in net.layers:
        layer.W[:], layer.b[:] = 1, 1
    assert net.parameters.sum() == net.n_parameters


@each_small_case
def test_padding_stays_zero_through_training(case):
    """Rows of W are padded; steps of every kind of optimizer write zeros there."""
    for optimizer in (SGD(0.01), SGD(0.01, momentum=0.9, weight_decay=0.01), fastprop.Adam(0.01)):
        net, (X, Y) = network(case), data(case)
        net.fit(X, Y, epochs=2, batch_size=max(1, case.batch // 2), optimizer=optimizer, rng=0)
        net.forward(X)
        net.backward(Y)
        for flat in (net.parameters, net.gradients):
            padding = flat.copy()
            for l in range(len(net.layers)):
                W, b = net.architecture.layout.views(padding, l)
                W[:], b[:] = 0, 0
            assert not padding.any()


def test_what_is_written_through_a_view_is_seen_by_the_passes():
    case = Case("views", (3, 5, 2), "relu", "identity", 8)
    net, (X, _) = network(case), data(case)
    net.predict(X)
    net.layers[0].W[1, 2], net.layers[1].b[0] = 7, -3
    assert_close(net.predict(X), reference_forward(net, X)["A2"].T)
    net.parameters[:] = 0
    net.layers[1].b[:] = 1, 2
    np.testing.assert_array_equal(net.predict(X), np.tile([1, 2], (8, 1)))


def test_what_a_layer_shows_is_a_copy():
    """Writing to Z, A, dZ or dA does not change the network."""
    case = Case("copies", (3, 5, 2), "relu", "identity", 8)
    net, (X, Y) = network(case), data(case)
    net.forward(X)
    net.backward(Y)
    for name in ("Z", "A", "dZ", "dA"):
        before = getattr(net.layers[0], name).copy()
        getattr(net.layers[0], name)[:] = 99
        np.testing.assert_array_equal(getattr(net.layers[0], name), before)


@pytest.mark.parametrize("name", ["parameters", "gradients"])
def test_the_buffers_cannot_be_taken_away(name):
    """The kernels hold their addresses: an assignment is refused, or copied into the buffer."""
    net = Network((3, 2), rng=0)
    before = getattr(net, name)
    with contextlib.suppress(AttributeError):
        setattr(net, name, np.ones_like(before))
    assert getattr(net, name).ctypes.data == before.ctypes.data
    assert np.shares_memory(net.layers[0].W, net.parameters)
    assert np.shares_memory(net.layers[0].dW, net.gradients)


def test_a_step_written_by_hand_in_place():
    """`net.parameters -= …` and `layer.W -= …` write to the buffers in place."""
    case = Case("by hand", (3, 5, 2), "tanh", "identity", 8)
    flat, layered, stepped, (X, Y) = network(case), network(case), network(case), data(case)
    stepped.train_step(X, Y, SGD(0.1))
    for net in (flat, layered):
        net.forward(X)
        net.backward(Y)
    flat.parameters -= np.float32(0.1) * flat.gradients
    for layer in layered.layers:
        layer.W -= np.float32(0.1) * layer.dW
        layer.b -= np.float32(0.1) * layer.db
    assert_close(flat.parameters, stepped.parameters, 1e-6)
    assert_close(layered.parameters, stepped.parameters, 1e-6)


def test_what_has_not_been_computed_is_said_to_be_missing():
    case = Case("missing", (3, 5, 2), "relu", "identity", 8)
    net, (X, Y) = network(case), data(case)
    with pytest.raises(RuntimeError, match=r"no Z yet\. Call forward"):
        _ = net.layers[0].Z
    net.forward(X)
    with pytest.raises(RuntimeError, match=r"no dZ yet\. Call backward"):
        _ = net.layers[0].dZ
    net.backward(Y)
    with pytest.raises(AttributeError, match="output layer has no dA"):
        _ = net.layers[1].dA
    net.forward(X)
    with pytest.raises(RuntimeError, match=r"no dZ yet"):
        _ = net.layers[0].dZ


def test_dictionaries_there_and_back():
    """to_dict gives the source's names and shapes as copies; from_dict gives the same network, bit for bit."""
    for case in SMALL:
        net, (X, _) = network(case), data(case)
        parameters = net.to_dict()
        assert list(parameters) == [f"{kind}{l}" for l in range(1, len(case.sizes)) for kind in "Wb"]
        assert all(parameters[f"b{l}"].shape == (n, 1) for l, n in enumerate(case.sizes) if l)
        again = Network.from_dict(parameters, case.hidden, case.output)
        assert again.sizes == net.sizes
        assert bits(again.parameters, again.predict(X)) == bits(net.parameters, net.predict(X))
        for value in parameters.values():
            value[:] = 0
        assert bits(again.parameters) == bits(net.parameters)
        flat = {name: value.ravel() if name[0] == "b" else value for name, value in net.to_dict().items()}
        assert bits(Network.from_dict(flat, case.hidden, case.output).parameters) == bits(net.parameters)


# ---- starts ------------------------------------------------------------------------------------------------------


def test_he_and_glorot_have_their_variance_and_biases_start_at_zero():
    net = Network((400, 300, 200), hidden="relu", output="identity", rng=0)
    hidden, output = net.layers
    assert hidden.W.std() == pytest.approx(np.sqrt(2 / 400), rel=0.02)
    limit = np.sqrt(6 / (300 + 200))
    assert np.abs(output.W).max() <= limit
    assert output.W.std() == pytest.approx(limit / np.sqrt(3), rel=0.02)
    assert not hidden.b.any()
    assert not output.b.any()


@pytest.mark.parametrize("init", ["he", "glorot", "zeros", lambda n, n_prev, rng: np.full((n, n_prev), n + n_prev)])
def test_the_init_that_is_asked_for_is_used(init):
    net = Network((40, 30, 20), hidden="tanh", init=init, rng=0)
    expected = {"he": np.sqrt(2 / 40), "glorot": np.sqrt(2 / 70), "zeros": 0}
    if callable(init):
        assert (net.layers[1].W == 50).all()
    else:
        assert net.layers[0].W.std() == pytest.approx(expected[init], rel=0.05)


def test_the_repr_says_what_the_network_is():
    text = repr(Network((3, 5, 2), hidden=("tanh",), output="softmax"))
    assert "(3, 5, 2)" in text
    assert "tanh" in text
    assert "softmax" in text
    assert "32 parameters" in text


def test_the_reference_itself_against_central_differences():
    """The reference's backpropagation against central differences of its own cost, in float64."""
    from fastprop.gradcheck import numerical_gradients

    rng = np.random.default_rng(0)
    for hidden in ("relu", "sigmoid", "tanh", "identity", ("relu", "tanh")):
        for output in ("identity", "sigmoid", "softmax"):
            parameters = reference.initialise_parameters((4, 6, 5, 3), rng=1)
            for l in (1, 2, 3):
                parameters[f"b{l}"] += rng.normal(0, 0.1, parameters[f"b{l}"].shape)
            X, Y = rng.standard_normal((4, 7)), np.eye(3)[rng.integers(3, size=7)].T
            cache = reference.forward_propagation(X, parameters, output, hidden)
            grads = reference.backpropagation(cache, Y, parameters, hidden)
            numerical = numerical_gradients(parameters, X, Y, output=output, hidden=hidden)
            for name, value in numerical.items():
                np.testing.assert_allclose(grads[name], value, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("make", [Adam, lambda: SGD(0.1, momentum=0.9)])
def test_a_copy_of_a_network_and_its_optimizer_goes_on_alike(make):
    """Copied or pickled together after some steps, they take the same next steps, bit for bit."""
    case = SMALL[-1]
    net, (X, Y) = network(case), data(case)
    optimizer = make()
    net.train_step(X, Y, optimizer)
    copies = [copy.deepcopy((net, optimizer)), pickle.loads(pickle.dumps((net, optimizer)))]
    net.train_step(X, Y, optimizer)
    for other, others in copies:
        other.train_step(X, Y, others)
        assert others.steps == 2
        assert bits(other.parameters) == bits(net.parameters)


def test_moments_of_another_length_are_refused():
    case = SMALL[-1]
    net, (X, Y) = network(case), data(case)
    optimizer = Adam()
    net.train_step(X, Y, optimizer)
    moved = copy.deepcopy(optimizer)
    with pytest.raises(ValueError, match="moments of another network"):
        Network((1, 1)).train_step([[0.0]], [0.0], moved)
