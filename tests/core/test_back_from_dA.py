"""Back from any ∂J/∂Ŷ: `backward(dA=…)`, `dX`, `jacobian` and `step`, against derivatives in float64.

The derivatives are PyTorch's (autograd through `to_torch`) where it is installed, and central differences of the
reference where it is not.
"""

import copy
import importlib.util
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from networks import Case, assert_close, bits, cache_of, data, network, reference_parameters
from optimizers import OPTIMIZERS

from fastprop import SGD, Activation, Adam, Network, convert, reference, set_num_threads
from fastprop.activations import ACTIVATIONS, HIDDEN

TORCH = importlib.util.find_spec("torch") is not None
BATCHES = (1, 3, 17, 300)
# How far from the derivatives, relative to the largest of an array; central differences have rounding errors.
NEAR = {"float32": 2e-5, "float64": 1e-10 if TORCH else 2e-7}
each_dtype = pytest.mark.parametrize("dtype", NEAR)


def of(sizes, hidden="tanh", output="identity", **settings):
    """A network whose biases matter, with any output."""
    net = Network(sizes, hidden, output, "mse", rng=1, **settings)
    for l, layer in enumerate(net.layers):
        layer.b[:] = np.random.default_rng(l).normal(0, 0.3, layer.n)
    return net


def rows(net, m, seed=2):
    """X, and ∂J/∂Ŷ, in the network's dtype."""
    rng = np.random.default_rng(seed)
    return tuple(rng.standard_normal((m, n)).astype(net.dtype) for n in (net.sizes[0], net.sizes[-1]))


def derivatives(net, X, G):
    """Of Σ G∗Ŷ in float64, by W1, b1, … and, last, by X."""
    built_in = all(function.label is not function for function in net.architecture.activations)
    return (autograd if TORCH and built_in else differences)(net, X.astype(np.float64), G.astype(np.float64))


def autograd(net, X, G):
    import torch

    exact = Network(net.sizes, net.hidden, net.output, "mse", scale=net.scale, dtype="float64")
    for to, layer in zip(exact.layers, net.layers, strict=True):
        to.W[:], to.b[:] = layer.W, layer.b
    module, X = convert.to_torch(exact), torch.from_numpy(X).requires_grad_()
    (torch.from_numpy(G) * module(X)).sum().backward()
    return [theta.grad.numpy() for theta in (*module.parameters(), X)]


def differences(net, X, G, epsilon=1e-5):
    parameters, columns = reference_parameters(net), X.T.copy()

    def each():
        cache = reference.forward_propagation(net.scale * columns, parameters, net.output, net.hidden)
        return G.T * cache[f"A{len(net.layers)}"]

    def central(flat, i):
        value = np.copy(flat[i])
        flat[i] = value + epsilon
        above = each()
        flat[i] = value - epsilon
        below = each()
        flat[i] = value
        return (above - below) / (2 * epsilon)

    found = [
        np.array([central(theta.reshape(-1), i).sum() for i in range(theta.size)]).reshape(theta.shape)
        for theta in parameters.values()
    ]
    of_X = [central(columns, k).sum(axis=0) for k in range(len(columns))]  # a sample's outputs depend on its row alone
    return [*found, np.transpose(of_X)]


def check(net, X, G):
    """The gradients by all parameters and by X."""
    near = NEAR[net.dtype.name]
    net.forward(X)
    assert net.backward(dA=G) is None
    *expected, of_X = derivatives(net, X, G)
    found = [gradient for layer in net.layers for gradient in (layer.dW, layer.db)]
    for i, (ours, theirs) in enumerate(zip(found, expected, strict=True)):
        assert_close(ours, theirs.reshape(ours.shape), near, f"d{'Wb'[i % 2]}{i // 2 + 1}")
    assert net.dX.dtype == net.dtype
    assert net.dX.flags.c_contiguous
    assert_close(net.dX, of_X, near, "dX")


# ---- against derivatives -----------------------------------------------------------------------------------------


@each_dtype
@pytest.mark.parametrize("output", ACTIVATIONS)
@pytest.mark.parametrize("hidden", HIDDEN)
def test_the_gradients_from_any_dA(hidden, output, dtype):
    """Of every activation with every output, which are compared for one sample, and for panels that are not full."""
    net = of((5, 7, 6, 3), hidden, output, dtype=dtype)
    for m in BATCHES:
        check(net, *rows(net, m))


@each_dtype
@pytest.mark.parametrize("m", BATCHES)
@pytest.mark.parametrize(
    "sizes", [(1, 1), (1, 1, 1), (5, 1, 3), (1, 4, 2), (40, 1, 17), (17, 3), (33, 100, 20), (16, 16, 16)], ids=str
)
def test_the_gradients_of_awkward_widths(sizes, m, dtype):
    """First layers of one unit, one input, no hidden layer; panels of more than one vector."""
    net = of(sizes, "tanh", "sigmoid", dtype=dtype)
    check(net, *rows(net, m))


@each_dtype
def test_the_gradients_of_wide_layers(dtype):
    """W of more rows than equation 4 takes at once, and more panels than a block of the workspace."""
    net = of((300, 600, 4), "tanh", dtype=dtype)
    if TORCH:
        check(net, *rows(net, 300))
    X, G = rows(net, 300)
    net.forward(X)
    net.backward(dA=G)
    assert_close(net.dX, net.layers[0].dZ.astype(np.float64) @ net.layers[0].W.astype(np.float64), NEAR[dtype], "dX")


@pytest.mark.parametrize("output", ["identity", "softmax"])
def test_dropout_has_no_part_in_it(output):
    """The passes forward and back of a network with dropout are those of one without."""
    plain, drops = of((5, 20, 3), output=output), of((5, 20, 3), output=output, dropout=0.5)
    drops.parameters[:] = plain.parameters
    X, G = rows(plain, 17)
    for net in (plain, drops):
        net.forward(X)
        net.backward(dA=G)
    assert bits(drops.gradients, drops.dX, drops.jacobian(X)) == bits(plain.gradients, plain.dX, plain.jacobian(X))


@each_dtype
def test_dX_is_by_the_users_X(dtype):
    """With a scale, the network reads scale·X, whose factor the derivative has; X may be of uint8."""
    net = of((5, 7, 3), scale=1 / 16, dtype=dtype)
    X, G = rows(net, 17)
    check(net, 16 * X, G)
    bytes_of_X = np.arange(85, dtype=np.uint8).reshape(17, 5)
    check(net, bytes_of_X, G)
    assert_close(net.jacobian(bytes_of_X), net.jacobian(bytes_of_X.astype(dtype)), 0)


def test_an_output_of_ones_own():
    net = Network((5, 7, 3), output=Activation("cube", lambda z: z * z * z / 3, lambda z: z * z), rng=0)
    exact, (X, G) = reference_parameters(net), rows(net, 17)
    net.forward(X)
    net.backward(dA=G)
    Z = reference.forward_propagation(X.T.astype(np.float64), exact, "identity", "relu")["Z2"]
    assert_close(net.layers[-1].dZ, (G.T * Z * Z).T)


# ---- what it is beside backward(Y) -------------------------------------------------------------------------------

EACH_PAIR = pytest.mark.parametrize("output", ["identity", "sigmoid", "softmax"])


@each_dtype
@EACH_PAIR
def test_the_derivative_of_the_loss_gives_the_gradients_of_the_loss(output, dtype):
    """With dA = ∂J/∂Ŷ of the paired loss, backward(dA=…) gives what backward(Y) gives, but for its factor m in dZ."""
    case = Case("pairs", (7, 20, 4), "tanh", output, 21)
    net, (X, Y) = network(case, dtype=dtype), data(case, dtype=dtype)
    Y = np.eye(4, dtype=dtype)[Y] if output == "softmax" else Y
    Y_hat = net.forward(X)
    net.backward(Y)
    gradients, dX = net.gradients.copy(), net.dX
    of_loss = {
        "identity": lambda: Y_hat - Y,
        "sigmoid": lambda: (Y_hat - Y) / (Y_hat * (1 - Y_hat)),
        "softmax": lambda: -Y / Y_hat,
    }[output]
    net.backward(dA=of_loss() / len(X))
    assert_close(net.gradients, gradients, NEAR[dtype], "gradients")
    assert_close(len(X) * net.dX, dX, NEAR[dtype], "dX")


def test_dX_of_a_loss_is_each_samples_own_with_its_weight():
    """After backward(Y, weights) a row of dX is the weight times the derivative of the row's own loss."""
    net = of((5, 7, 3), output="softmax")
    X, Y = rows(net, 21)[0], np.arange(21) % 3
    weights = np.linspace(0.5, 2, 21)
    net.forward(X)
    net.backward(Y, weights)
    together = net.dX
    for i in (0, 20):
        net.forward(X[i : i + 1])
        net.backward(Y[i : i + 1])
        assert_close(together[i : i + 1], weights[i] * net.dX.astype(np.float64))


@pytest.mark.parametrize("m", [1, 21])
def test_a_pass_from_dA_changes_no_later_pass(m):
    """backward(Y) before and after it has the same bits, with the penalty that the pass from dA has not."""
    case = Case("after", (7, 20, 4), "relu", "softmax", m)
    net, (X, Y) = network(case, l2=0.1), data(case)
    plain = network(case)
    G = rows(net, m)[1]
    for each in (net, plain):
        each.forward(X)
    before = net.backward(Y), bits(net.gradients, net.dX)
    for each in (net, plain):
        each.backward(dA=G)
    assert bits(net.gradients) == bits(plain.gradients)
    assert (net.backward(Y), bits(net.gradients, net.dX)) == before


def test_what_the_layers_show_after_it():
    """Z and A of the forward pass, and dZ and dA of the pass from dA; the output's dA is the user's own."""
    net = of((5, 7, 6, 3), "relu", "softmax")
    X, G = rows(net, 17)
    net.forward(X)
    before = bits(*(value for layer in net.layers for value in (layer.Z, layer.A)))
    net.backward(dA=G)
    assert bits(*(value for layer in net.layers for value in (layer.Z, layer.A))) == before
    cache, parameters = cache_of(net, X), reference_parameters(net)
    grads = reference.general_backpropagation(cache, G.T.astype(np.float64), parameters, hidden="relu")
    for l, layer in enumerate(net.layers, start=1):
        assert_close(layer.dZ, grads[f"dZ{l}"].T)
        assert_close(layer.dW, len(X) * grads[f"dW{l}"])
        assert_close(layer.db, len(X) * grads[f"db{l}"].ravel())
        if l < 3:
            assert_close(layer.dA, grads[f"dA{l}"].T)
    assert_close(net.dX, grads["dA0"].T)
    with pytest.raises(AttributeError, match="output layer has no dA"):
        _ = net.layers[-1].dA


# ---- what is refused ---------------------------------------------------------------------------------------------


def test_there_must_be_a_forward_pass():
    net = of((5, 7, 3))
    X, G = rows(net, 17)
    with pytest.raises(RuntimeError, match=r"no forward pass to go back through\. Call forward\(X\) first"):
        net.backward(dA=G)
    with pytest.raises(RuntimeError, match=r"no dX yet\. Call forward\(X\) first"):
        _ = net.dX
    net.forward(X)
    with pytest.raises(RuntimeError, match=r"no dX yet\. Call backward\(Y\) after forward\(X\)"):
        _ = net.dX
    net.backward(dA=G)
    assert net.dX.shape == X.shape
    net.forward(X)
    with pytest.raises(RuntimeError, match="no dX yet"):
        _ = net.dX


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "Y is None, and so is dA; give one"),
        ({"Y": np.ones((17, 3)), "dA": np.ones((17, 3))}, "Y and dA are both given"),
        ({"dA": np.ones((17, 3)), "sample_weight": np.ones(17)}, r"sample_weight is given with dA.*Multiply the rows"),
        ({"dA": np.ones((16, 3))}, r"dA has shape \(16, 3\); .* must be \(17, 3\)"),
        ({"dA": np.ones((17, 4))}, r"dA has shape \(17, 4\); .* must be \(17, 3\)"),
        ({"dA": np.ones((3, 17))}, r"dA has shape \(3, 17\)"),
        ({"dA": np.ones(17)}, r"dA has shape \(17,\)"),
        ({"dA": np.ones((17, 3, 1))}, r"dA has shape \(17, 3, 1\)"),
        ({"dA": 1.0}, r"dA has shape \(\)"),
        ({"dA": np.full((17, 3), np.nan)}, r"dA\[0, 0\] is nan; every value must be finite"),
        ({"dA": np.full((17, 3), np.inf)}, r"dA\[0, 0\] is inf"),
        ({"dA": np.full((17, 3), 1e39)}, r"dA\[0, 0\] is 1e\+39, beyond the range of float32"),
        ({"dA": np.ones((17, 3), complex)}, "dA"),
        ({"dA": "gradient"}, "dA"),
    ],
)
def test_what_is_no_dA_is_refused(given, message):
    """Before anything changes."""
    net = of((5, 7, 3))
    X, G = rows(net, 17)
    net.forward(X)
    net.backward(dA=G)
    before = bits(net.gradients, net.dX)
    with pytest.raises((ValueError, TypeError), match=message):
        net.backward(**given)
    assert bits(net.gradients, net.dX) == before


def test_any_form_of_dA():
    """Lists, other dtypes and memory orders; and (m,) for a single output, as Y may be."""
    net = of((5, 7, 3))
    X, G = rows(net, 17)
    G = np.round(4 * G)
    found = []
    for form in (G, G.tolist(), np.asfortranarray(G), G.astype(np.int8), np.repeat(G, 2, axis=1)[:, ::2]):
        net.forward(X)
        net.backward(dA=form)
        found.append(bits(net.gradients))
    assert all(one == found[0] for one in found)
    one = of((5, 7, 1))
    one.forward(X)
    one.backward(dA=G[:, 0])
    flat = bits(one.gradients)
    one.backward(dA=G[:, :1])
    assert bits(one.gradients) == flat


# ---- the Jacobian ------------------------------------------------------------------------------------------------


@each_dtype
@pytest.mark.parametrize("output", ["identity", "sigmoid", "softmax", "gelu"])
@pytest.mark.parametrize("hidden", ["relu", "tanh", "silu"])
def test_the_jacobian(hidden, output, dtype):
    """Each of its rows is the derivative of one output; and it is what backward(dA=…) and dX give, to the bit."""
    net = of((5, 7, 6, 3), hidden, output, dtype=dtype)
    for m in BATCHES:
        X, _ = rows(net, m)
        J = net.jacobian(X)
        assert (J.shape, J.dtype) == ((m, 3, 5), net.dtype)
        for k in range(3):
            G = np.zeros((m, 3), dtype)
            G[:, k] = 1
            assert_close(J[:, k], derivatives(net, X, G)[-1], NEAR[dtype], f"output {k}")
            net.forward(X)
            net.backward(dA=G)
            assert bits(J[:, k]) == bits(net.dX)


@pytest.mark.parametrize("m", [511, 513, 1500])
def test_the_jacobian_of_many_rows_is_that_of_each(m):
    """In runs of hundreds of rows, and in any order."""
    net = of((5, 7, 3), "relu", "softmax")
    X, _ = rows(net, m)
    J = net.jacobian(X)
    assert bits(net.jacobian(X[::-1])[::-1]) == bits(J)
    assert_close(J[-1:], net.jacobian(X[-1:]).astype(np.float64))


def test_the_jacobian_leaves_everything_as_it_is():
    net = of((5, 7, 3), "relu", "softmax")
    X, G = rows(net, 17)
    net.forward(X)
    net.backward(dA=G)

    def state():
        shown = [getattr(layer, name) for layer in net.layers for name in ("Z", "A", "dZ", "dW", "db")]
        return bits(net.parameters, net.gradients, net.dX, *shown)

    before = state()
    net.jacobian(X[::-1])
    net.jacobian(X[:1])
    assert state() == before
    with pytest.raises(ValueError, match="X has 4 features"):
        net.jacobian(X[:, :4])
    assert state() == before


def test_several_threads_ask_for_the_jacobian_at_once():
    net = of((5, 7, 3), "relu", "softmax")
    parts = [rows(net, m, seed=m)[0] for m in (1, 3, 17, 300) * 5]
    expected = [bits(net.jacobian(X)) for X in parts]
    with ThreadPoolExecutor(4) as pool:
        assert [bits(J) for J in pool.map(net.jacobian, parts)] == expected


def test_what_has_no_dense_rows_has_no_jacobian():
    sparse = pytest.importorskip("scipy.sparse", reason="needs SciPy")
    net = of((5, 7, 3))
    for method in (net.forward, net.jacobian):
        with pytest.raises(TypeError, match="sparse"):
            method(sparse.csr_array(np.eye(5)))


# ---- steps -------------------------------------------------------------------------------------------------------


def stepped(net, optimizer, X, Y, steps=3):
    """Forward, backward and step, some times."""
    for _ in range(steps):
        net.forward(X)
        net.backward(Y)
        net.step(optimizer)


@each_dtype
@pytest.mark.parametrize("m", [1, 17, 128, 256])
@pytest.mark.parametrize("l2", [0.0, 0.1])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_step_has_the_bits_of_a_training_step(name, l2, m, dtype):
    """Parameters, moments and the count of steps; those of plain SGD, whose update is a part of equation 2, to
    rounding."""
    case = Case("steps", (7, 20, 4), "relu", "softmax", m)
    (X, Y), found = data(case, dtype=dtype), []
    for how in ("together", "apart"):
        net, optimizer = network(case, l2=l2, dtype=dtype), OPTIMIZERS[name].make()
        if how == "apart":
            stepped(net, optimizer, X, Y)
        else:
            for _ in range(3):
                net.train_step(X, Y, optimizer)
        assert (optimizer.steps, net.optimizer) == (3, optimizer)
        found.append((net.parameters, optimizer.moments))
    (together, moments), (apart, moments_apart) = found
    assert_close(apart, together, NEAR[dtype] / 10)
    if not (OPTIMIZERS[name].make().plain and not l2):
        assert bits(apart, moments_apart) == bits(together, moments)


@each_dtype
@pytest.mark.parametrize("m", [300, 2000])
def test_a_step_on_a_large_batch_is_a_training_step_to_rounding(m, dtype):
    """train_step sums batches of more than 256 rows in chunks."""
    case = Case("chunks", (7, 20, 4), "tanh", "identity", m)
    together, apart, (X, Y) = network(case, dtype=dtype), network(case, dtype=dtype), data(case, dtype=dtype)
    for _ in range(3):
        together.train_step(X, Y, SGD(0.1, momentum=0.5) if together.optimizer is None else together.optimizer)
    stepped(apart, SGD(0.1, momentum=0.5), X, Y)
    assert_close(apart.parameters, together.parameters, NEAR[dtype] / 10)


@each_dtype
@pytest.mark.parametrize("l2", [0.0, 0.1])
@pytest.mark.parametrize("name", ["sgd", "adam", "sgd, clipped"])
def test_gradients_of_two_batches_are_those_of_both_together(name, l2, dtype):
    """Accumulated from backward(dA=…), to which the step adds the penalty, and from backward(Y), which adds it."""
    case = Case("two", (7, 20, 4), "tanh", "identity", 32)
    X, Y = data(case, dtype=dtype)
    nets = [network(case, l2=l2, dtype=dtype) for _ in range(3)]
    whole, from_Y, from_dA = nets
    for net in nets:
        total = 0
        for part in (slice(0, 32),) if net is whole else (slice(0, 16), slice(16, 32)):
            Y_hat = net.forward(X[part])
            if net is from_dA:
                net.backward(dA=(Y_hat - Y[part]) / 32)
                total = total + net.gradients
            else:
                net.backward(Y[part])
                total = total + net.gradients * (len(X[part]) / 32)
        net.gradients = total
        net.step(OPTIMIZERS[name].make())
    assert_close(from_Y.parameters, whole.parameters, NEAR[dtype])
    assert_close(from_dA.parameters, whole.parameters, NEAR[dtype])


def test_gradients_that_were_written_by_hand_are_taken():
    """Each layer with a rate of its own, and no network's loss anywhere."""
    net = of((5, 7, 3))
    before = net.to_dict()
    net.gradients = 0
    net.layers[0].dW[:], net.layers[1].db[:] = 1, 10
    net.step(SGD(0.5))
    np.testing.assert_array_equal(net.layers[0].W, before["W1"] - np.float32(0.5))
    np.testing.assert_array_equal(net.layers[0].b, before["b1"].ravel())
    np.testing.assert_array_equal(net.layers[1].W, before["W2"])
    np.testing.assert_array_equal(net.layers[1].b, before["b2"].ravel() - 5)


def test_the_padding_of_the_parameters_stays_zero():
    """Whatever is written between the gradients, such as noise that is added to the flat array."""
    net = of((5, 7, 3))
    rng = np.random.default_rng(0)
    for optimizer in (SGD(0.1), Adam(), SGD(0.1, clip_norm=1.0)):
        net.gradients = rng.standard_normal(net.gradients.size)
        net.step(optimizer)
    padding = net.parameters.copy()
    for l in range(2):
        for values in net.architecture.layout.views(padding, l):
            values[:] = 0
    assert not padding.any()


def test_the_penalty_is_added_once():
    """By backward(Y) or by the step: whatever stands in the gradients, W moves by lr·l2·W once for each step."""
    net = of((5, 7, 3), l2=0.5)
    W = net.layers[0].W.copy()
    net.gradients = 0
    net.step(SGD(0.25))
    assert_close(net.layers[0].W, 0.875 * W.astype(np.float64), 1e-6)
    W = net.layers[0].W.copy()
    X, G = rows(net, 17)
    net.forward(X)
    net.backward(net.predict(X))  # no error, so that the gradients are those of the penalty alone
    net.step(SGD(0.25))
    assert_close(net.layers[0].W, 0.875 * W.astype(np.float64), 1e-5)
    W = net.layers[0].W.copy()
    net.forward(X)
    net.backward(dA=0 * G)
    net.step(SGD(0.25))
    assert_close(net.layers[0].W, 0.875 * W.astype(np.float64), 1e-6)


def test_clipping_counts_all_gradients():
    net = of((5, 7, 3))
    before = net.parameters.copy()
    for layer in net.layers:
        layer.dW[:], layer.db[:] = 3, -3
    net.step(SGD(1.0, clip_norm=0.5))
    assert np.linalg.norm((net.parameters - before).astype(np.float64)) == pytest.approx(0.5, rel=1e-5)


def test_a_step_goes_on_with_the_last_optimizer():
    """The first is Adam(), as in `partial_fit`; and so with a copy of the network."""
    net = of((5, 7, 3))
    net.gradients = 1
    net.step()
    assert repr(net.optimizer) == repr(Adam())
    assert net.optimizer.steps == 1
    other = copy.deepcopy(net)
    other.gradients = 1
    for each in (net, other):
        each.step()
    assert other.optimizer.steps == 2
    assert bits(other.parameters, other.optimizer.moments) == bits(net.parameters, net.optimizer.moments)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("optimizer", [SGD(0.1), Adam(), Adam(clip_norm=1.0)], ids=repr)
def test_gradients_that_are_not_finite_are_refused(optimizer, value):
    """Before anything changes, and before the network has the optimizer."""
    net, optimizer = of((5, 7, 3), l2=0.1), copy.deepcopy(optimizer)
    for layer in net.layers:
        layer.dW[:], layer.db[:] = 1, 1
    net.layers[1].dW[2, 3] = value
    before = bits(net.parameters, net.gradients)
    with pytest.raises(ValueError, match=r"gradients.* is (nan|-?inf)"):
        net.step(optimizer)
    assert bits(net.parameters, net.gradients) == before
    assert (optimizer.steps, net.optimizer) == (0, None)


@each_dtype
def test_gradients_whose_norm_is_beyond_the_dtype(dtype):
    """Of float32 they are clipped all the same; of float64 no sum of squares can hold them, and they are refused."""
    net = of((5, 7, 3), dtype=dtype)
    for layer in net.layers:
        layer.dW[:], layer.db[:] = (1e38, 1e38) if dtype == "float32" else (1e300, 1e300)
    before, gradients = net.parameters.copy(), net.gradients.copy()
    optimizer = SGD(1.0, clip_norm=0.5)
    if dtype == "float32":
        net.step(optimizer)
        assert np.linalg.norm((net.parameters - before).astype(np.float64)) == pytest.approx(0.5, rel=1e-5)
    else:
        with pytest.raises(ValueError, match="norm"):
            net.step(optimizer)
        assert bits(net.parameters, net.gradients) == bits(before, gradients)
        assert optimizer.steps == 0


def test_a_step_of_what_is_no_optimizer_is_refused():
    net, other = of((5, 7, 3)), of((5, 7, 3))
    net.gradients = other.gradients = 1
    optimizer = Adam()
    other.step(optimizer)
    before = bits(net.parameters)
    for bad in ("adam", SGD, 0.1):
        with pytest.raises(TypeError, match="it must be an optimizer"):
            net.step(bad)
    with pytest.raises(ValueError, match="moments of another network"):
        net.step(optimizer)
    assert bits(net.parameters) == before
    assert net.optimizer is None


# ---- threads -----------------------------------------------------------------------------------------------------


@each_dtype
@pytest.mark.parametrize("m", [1, 300])
@pytest.mark.parametrize("name", ["sgd", "adam", "sgd, clipped"])
def test_the_bits_do_not_depend_on_the_threads(name, m, dtype, eager_threads):
    """Gradients, dX, the Jacobian, and parameters after steps, on one thread, two and seven."""
    found = []
    for threads in (1, 2, 7):
        set_num_threads(threads)
        net = of((40, 130, 60, 3), "relu", "softmax", l2=0.01, dtype=dtype)
        X, G = rows(net, m)
        optimizer = OPTIMIZERS[name].make()
        for _ in range(3):
            net.forward(X)
            net.backward(dA=G)
            dX = net.dX
            net.step(optimizer)
        found.append(bits(net.gradients, dX, net.jacobian(X), net.parameters))
    assert found[0] == found[1] == found[2]
