"""The loss of quantiles: one for each output, in every pass, and what it learns."""

import numpy as np
import pytest
from networks import assert_close, reference_forward, reference_parameters
from scipy.sparse import csr_array

from fastprop import Adam, Ensemble, Network, diagnose, fit_many, reference
from fastprop.losses import quantile

LEVELS = (0.1, 0.5, 0.9)
DTYPES = {"float32": 5e-6, "float64": 1e-13}
OUTPUTS = ("identity", "softmax", "tanh")
each_dtype = pytest.mark.parametrize("dtype", DTYPES)


def network(output="identity", dtype="float64", levels=LEVELS, n=3, **settings):
    net = Network((5, 7, n), "tanh", output, quantile(levels), dtype=dtype, rng=1, **settings)
    for l, layer in enumerate(net.layers):
        layer.b[:] = np.random.default_rng(l).normal(0, 0.2, layer.n)
    return net


def samples(m=37, n=3, distributions=False):
    """A ragged panel, some targets above Y_hat and some below."""
    rng = np.random.default_rng(0)
    Y = rng.uniform(0.05, 0.95, (m, n)) if distributions else rng.normal(0, 1, (m, n))
    return rng.standard_normal((m, 5)), Y / Y.sum(axis=1, keepdims=True) if distributions else Y


def pinball(Y_hat, Y, levels=LEVELS):
    """The loss as the paper has it, of each output of rows."""
    E = Y - Y_hat
    return np.maximum(np.multiply(levels, E), np.subtract(levels, 1) * E)


@each_dtype
@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize("levels", [LEVELS, [0.8]], ids=["each", "one for all"])
def test_cost_and_gradients_are_the_oracles(output, levels, dtype):
    net, (X, Y) = network(output, dtype, levels), samples(distributions=output == "softmax")
    Y_hat = net.forward(X)
    J = net.backward(Y)
    assert pytest.approx(pinball(Y_hat, Y, levels).sum(axis=1).mean(), rel=1e-5) == J
    cache, Y_columns = reference_forward(net, X), Y.T
    dZ = reference.general_dZ(cache, Y_columns, output, net.loss_name)
    grads = reference.backward(dZ, cache, reference_parameters(net), "tanh")
    for l, layer in enumerate(net.layers, start=1):
        assert_close(layer.dW, grads[f"dW{l}"], DTYPES[dtype])
        assert_close(layer.db, grads[f"db{l}"][:, 0], DTYPES[dtype])


@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize("levels", [LEVELS, [0.8]], ids=["each", "one for all"])
def test_gradients_are_those_of_central_differences(output, levels):
    X, Y = samples(distributions=output == "softmax")
    assert network(output, levels=levels).gradient_check(X, Y) < 1e-6


def test_the_loss_in_numpy_is_the_papers():
    _, Y = samples()
    Y_hat, loss = np.zeros_like(Y), quantile(LEVELS)
    np.testing.assert_array_equal(loss(Y_hat, Y), pinball(Y_hat, Y))
    slopes = loss(Y_hat[:3], np.array([[-1.0], [0.0], [1.0]]) + Y_hat[:3], deriv=True)
    np.testing.assert_allclose(slopes, [[0.9, 0.5, 0.1], [0, 0, 0], [-0.1, -0.5, -0.9]])


@each_dtype
def test_each_output_keeps_its_quantile_with_weights_of_its_own(dtype):
    """With a weight for each output the loss is computed output by output."""
    net, (X, Y) = network(dtype=dtype), samples()
    w = np.random.default_rng(1).uniform(0, 2, Y.shape)
    Y_hat = net.forward(X)
    expected = (w * pinball(Y_hat, Y)).sum() / (w.sum() / 3)
    assert net.backward(Y, sample_weight=w) == pytest.approx(expected, rel=1e-5)
    one_by_one = net.gradients.copy()
    net.forward(X)
    net.backward(Y, sample_weight=np.ones_like(Y))
    of_ones = net.gradients.copy()
    net.forward(X)
    net.backward(Y)
    assert_close(net.gradients, of_ones.astype(np.float64), DTYPES[dtype])
    assert np.abs(one_by_one - of_ones).max() > 1e-3


def test_targets_that_are_not_known_count_for_nothing():
    net, (X, Y) = network(missing=True), samples()
    holes = np.where(np.random.default_rng(2).random(Y.shape) < 0.3, np.nan, Y)
    known = ~np.isnan(holes)
    expected = (known * pinball(net.predict(X), Y)).sum() / (known.sum() / 3)
    assert net.loss(X, holes) == pytest.approx(expected)
    assert net.gradient_check(X, holes) < 1e-6


def test_one_column_is_the_target_of_each_output():
    net, (X, Y) = network(), samples()
    y = Y[:, 0]
    whole = np.repeat(y[:, None], 3, axis=1)
    for given in (y, y[:, None], list(y), whole):
        assert net.loss(X, given) == net.loss(X, whole)
    validated = net.fit(X, y, epochs=2, validation=(X, y), progress=False)
    assert len(validated.validation_loss) == 2
    assert network(missing=True).loss(X, np.where(y > 1, np.nan, y)) > 0
    with pytest.raises(ValueError, match=r"Y has shape \(37, 2\); it must be \(37, 3\)"):
        net.loss(X, Y[:, :2])


def test_a_sparse_x_and_several_networks_have_the_same_costs():
    X, Y = samples()
    sparse = np.where(np.abs(X) > 0.7, X, 0)
    assert network().loss(csr_array(sparse), Y) == pytest.approx(network().loss(sparse, Y))
    both = [network(), network(levels=0.3)]
    histories = fit_many(both, X, Y, epochs=3)
    alone = network(levels=0.3)
    assert alone.fit(X, Y, epochs=3, rng=None, progress=False).loss[0] == pytest.approx(histories[1].loss[0], rel=0.1)
    Ensemble([network(), network()]).fit(X, Y[:, 0], epochs=2)


def test_it_learns_the_quantiles_of_a_distribution():
    """Biases alone, of a skewed distribution of 4,000 numbers; and a spread that depends on x is found."""
    rng = np.random.default_rng(0)
    y = rng.exponential(size=4000)
    net = Network((1, 3), loss=quantile(LEVELS), rng=0)
    net.fit(np.zeros((4000, 1)), y, epochs=200, optimizer=Adam(0.01), progress=False)
    assert_close(net.predict([[0.0]])[0], np.quantile(y, LEVELS), 0.05)
    x = rng.uniform(-1, 1, (4000, 1))
    y = (0.1 + (x[:, 0] > 0)) * rng.standard_normal(4000)
    net = Network((1, 32, 3), loss="quantile(0.1, 0.5, 0.9)", rng=0)
    for lr in (0.01, 0.001):
        net.fit(x, y, epochs=60, optimizer=Adam(lr), progress=False)
    below = np.mean(y[:, None] < net.predict(x), axis=0)
    assert_close(below, np.array(LEVELS), 0.05)
    narrow, wide = np.diff(net.predict([[-0.5], [0.5]])[:, [0, 2]], axis=1)
    assert wide > 5 * narrow


def test_diagnose_knows_its_targets():
    """That they are in the units of the outputs: at ŷ = y the slope is 0."""
    X, Y = samples(200)
    assert diagnose(network(), X, Y).findings == ()
    assert [finding.kind for finding in diagnose(network(), X, 1000 + Y[:, 0]).findings] == ["targets not scaled"]


@pytest.mark.parametrize(
    ("quantiles", "error", "match"),
    [
        ([], ValueError, "quantiles is empty"),
        ([0.1, 1.0], ValueError, r"quantiles\[1\] is 1\.0; it must be finite, above 0 and below 1"),
        (0.0, ValueError, r"quantiles\[0\] is 0\.0"),
        ([np.nan], ValueError, r"quantiles\[0\] is nan"),
        ("0.5", TypeError, r"quantiles\[0\] is '0\.5'; it must be a number"),
        ([[0.1, 0.9]], TypeError, r"quantiles\[0\] is "),
        (None, TypeError, r"quantiles\[0\] is None"),
    ],
)
def test_what_is_no_quantile_is_refused(quantiles, error, match):
    with pytest.raises(error, match=match):
        quantile(quantiles)


def test_as_many_outputs_as_quantiles_are_needed():
    with pytest.raises(ValueError, match=r"of 3 quantiles, one for each output; sizes\[-1\] is 1\."):
        Network((4, 8, 1), loss=quantile(LEVELS))
    assert quantile(np.array(LEVELS)) is quantile(list(LEVELS)) is network().architecture.loss
