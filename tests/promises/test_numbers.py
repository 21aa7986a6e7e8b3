"""NaN and infinity: they are refused; with check_finite=False they give NaN, never a finite number."""

import pickle

import numpy as np
import pytest
from networks import bits

import fastprop
from fastprop import SGD, Activation, Adam, Network
from fastprop.activations import ACTIVATIONS, HIDDEN
from fastprop.losses import LOSSES

M, BAD = 37, 18  # rows, and the one that is bad: in a panel with others


@pytest.fixture
def rows():
    rng = np.random.default_rng(0)
    return rng.standard_normal((M, 5)).astype(np.float32), rng.standard_normal((M, 3)).astype(np.float32)


def with_value(array, row, column, value):
    changed = array.copy()
    changed[row, column] = value
    return changed


def test_a_refusal_names_the_first_row_and_column(rows):
    X, Y = rows
    net = Network((5, 8, 3), rng=0)
    for value in (np.nan, np.inf, -np.inf):
        with pytest.raises(ValueError, match=rf"^X\[3, 4\] is {value}; every value must be finite"):
            net.predict(with_value(with_value(X, 20, 0, value), 3, 4, value))
        with pytest.raises(ValueError, match=rf"^Y\[3, 1\] is {value}; every value must be finite"):
            net.loss(X, with_value(with_value(Y, 20, 0, value), 3, 1, value))


@pytest.mark.parametrize("hidden", HIDDEN)
@pytest.mark.parametrize("output", ["identity", "sigmoid", "softmax"])
def test_nan_in_a_row_is_nan_in_its_outputs_and_in_no_others(rows, hidden, output):
    X, _ = rows
    net = Network((5, 8, 17, 3), hidden, output, check_finite=False, rng=0)
    clean, bad = net.predict(X), with_value(X, BAD, 2, np.nan)
    for Y_hat in (net.predict(bad), net.forward(bad)):
        assert np.isnan(Y_hat[BAD]).all()
        assert bits(np.delete(Y_hat, BAD, 0)) == bits(np.delete(clean, BAD, 0))
    assert np.isnan(net.predict(bad[[BAD]])).all()


@pytest.mark.parametrize("hidden", HIDDEN)
@pytest.mark.parametrize("m", [M, 1])
def test_nan_in_a_row_is_nan_in_the_cost_and_in_every_gradient(rows, hidden, m):
    """Each weight's gradient is a sum over all samples, so one NaN makes it NaN."""
    X, Y = (a[-m:] for a in rows)
    net = Network((5, 8, 17, 3), hidden, check_finite=False, rng=0)
    net.forward(with_value(X, -1, 2, np.nan))
    assert np.isnan(net.backward(Y))
    for layer in net.layers:
        assert np.isnan(layer.dW).all()
        assert np.isnan(layer.db).all()
    net.forward(X)
    assert np.isfinite(net.backward(Y))
    assert np.isfinite(net.gradients).all(), "NaN of the batch before is left over"


@pytest.mark.parametrize(
    ("loss", "output"),
    [
        (loss, output)
        for loss in LOSSES
        for output in ("identity", "sigmoid", "softmax", "softplus")
        if LOSSES[loss].accepts(ACTIVATIONS[output])
    ],
)
def test_nan_in_a_row_is_nan_in_every_cost(rows, loss, output):
    X, _ = rows
    Y = np.eye(3, dtype=np.float32)[np.arange(M) % 3]
    net = Network((5, 8, 3), output=output, loss=loss, check_finite=False, rng=0)
    bad = with_value(X, BAD, 2, np.nan)
    assert np.isnan(net.loss(bad, Y))
    net.forward(bad)
    assert np.isnan(net.backward(Y))
    assert np.isnan(net.layers[-1].dZ[BAD]).all()
    assert np.isnan(net.layers[0].dW).all()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("loss", LOSSES)
def test_a_target_that_is_not_finite_gives_no_finite_cost(rows, loss, value):
    """Targets beyond the range of their output are refused all the same."""
    X, _ = rows
    output = {"cross_entropy": "softmax", "binary_crossentropy": "sigmoid"}.get(loss, "softplus")
    Y = np.eye(3, dtype=np.float32)[np.arange(M) % 3]
    net = Network((5, 8, 3), output=output, loss=loss, check_finite=False, rng=0)
    assert np.isfinite(net.loss(X, Y))
    assert not np.isfinite(net.loss(X, with_value(Y, BAD, 1, value)))
    if output != "softplus":
        with pytest.raises(ValueError, match=r"Y\[3, 1\] is 2; targets of (a softmax|binary_crossentropy lie)"):
            net.loss(X, with_value(with_value(Y, 20, 0, value), 3, 1, 2))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_step_on_them_changes_nothing_and_fit_ends(rows, value):
    X, Y = rows
    bad = with_value(X, BAD, 2, value)
    net, optimizer = Network((5, 8, 3), check_finite=False, rng=0), Adam()
    net.train_step(X, Y, optimizer)
    before = bits(net.parameters, optimizer.moments)
    assert not np.isfinite(net.train_step(bad, Y, optimizer))
    with pytest.warns(RuntimeWarning, match=r"the cost is (nan|inf) in epoch 1, at step 2 of 3: training diverged"):
        net.fit(np.vstack([X[:16], bad[16:32], X[:5]]), Y[: 16 + 16 + 5], epochs=9, batch_size=16, shuffle=False,
                optimizer=SGD(1e-3))  # fmt: skip
    assert np.isfinite(net.parameters).all()
    assert bits(net.parameters, optimizer.moments)[1:] == before[1:]


@pytest.mark.parametrize("m", [M, 1])
@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("hidden", ["tanh", "relu"])
def test_no_step_is_made_on_what_only_a_gradient_would_tell(rows, hidden, value, m):
    """dW is NaN although the cost is finite: after a tanh of infinity, and after 0·NaN in a sample of weight 0."""
    X, Y = (a[:m] for a in rows)
    bad, weights = with_value(X, -1, 2, value), np.ones(m)
    net = Network((5, 8, 3), hidden, check_finite=False, rng=0)
    for weights[-1] in (1, 0) if m > 1 else (1,):
        before = bits(net.parameters)
        assert np.isnan(net.train_step(bad, Y, SGD(0.1), weights))
        assert bits(net.parameters) == before


def test_a_target_of_a_sample_that_weighs_nothing_does_not_count(rows):
    X, Y = rows
    net, weights = Network((5, 8, 3), check_finite=False, rng=0), np.ones(M)
    weights[BAD] = 0
    assert net.train_step(X, with_value(Y, BAD, 1, np.nan), SGD(0.1), weights) > 0
    assert np.isfinite(net.parameters).all()


@pytest.mark.parametrize("size", [1e17, 1e20, 1e30])
def test_a_gradient_whose_square_float32_does_not_hold_is_clipped(size):
    """W moves by lr·clip_norm for any norm of the gradient."""
    net = Network((1, 1), init="zeros", rng=0)
    net.train_step([[size]], [[-1.0]], SGD(0.1, clip_norm=2.0))
    assert net.layers[0].W[0, 0] == pytest.approx(-0.2, rel=1e-6)


def test_a_gradient_that_float32_does_not_hold_is_no_step():
    net = Network((1, 1), init="zeros", rng=0)
    with pytest.warns(RuntimeWarning, match="the cost is nan in epoch 1, at step 1 of 1: training diverged"):
        net.fit([[1e30]], [[1e18]], epochs=1, optimizer=SGD(0.1, clip_norm=2.0))
    assert not net.parameters.any()


@pytest.mark.parametrize(("dtype", "size"), [("float32", 1e3), ("float64", 1e150)])
def test_parameters_that_overflow_are_told(rows, dtype, size):
    """The cost of the last step was finite; the cost of the next step would not be."""
    X, Y = rows
    with pytest.warns(RuntimeWarning, match=f"the parameters are no longer finite: the last step overflowed {dtype}"):
        Network((5, 8, 3), rng=0, dtype=dtype).fit(size * X.astype(dtype), Y, epochs=1, optimizer=SGD(3e38))


@pytest.mark.parametrize("rate", [1e39, 1e300])
def test_rates_that_float32_does_not_hold_are_refused(rows, rate):
    X, Y = rows
    net = Network((5, 8, 3), rng=0)
    with pytest.raises(ValueError, match=r"lr is .*; it must be finite in float32"):
        SGD(rate)
    with pytest.raises(ValueError, match="at step 0; rates are finite and at least 0, in float32"):
        net.train_step(X, Y, SGD(lambda step: rate))
    for scale in (rate, 1 / rate):
        with pytest.raises(ValueError, match=r"scale is .*; it must be finite.*, at least 1e-37"):
            Network((5, 8, 3), scale=scale)


def test_what_is_finite_has_the_same_bits_either_way(rows):
    X, Y = rows
    nets = [Network((5, 8, 3), check_finite=check, rng=0) for check in (True, False)]
    for net in nets:
        net.fit(X, Y, epochs=3, batch_size=16, validation=0.2)
    assert bits(nets[0].parameters) == bits(nets[1].parameters)


def test_it_is_kept_by_copies_and_shown(rows):
    net = Network((5, 3), check_finite=False, rng=0)
    assert "check_finite=0" in repr(net)
    assert "check_finite" not in repr(Network((5, 3)))
    assert pickle.loads(pickle.dumps(net)).check_finite is False
    with pytest.raises(TypeError, match="check_finite is 'no'; it must be True or False"):
        Network((5, 3), check_finite="no")


def test_a_file_keeps_it(tmp_path):
    pytest.importorskip("safetensors")
    for check in (True, False):
        Network((5, 3), check_finite=check, rng=0).save(tmp_path / "net")
        assert fastprop.Network.load(tmp_path / "net").check_finite is check


def test_diagnose_names_them(rows):
    X, Y = rows
    report = fastprop.diagnose(Network((5, 8, 3), check_finite=False, rng=0), with_value(X, BAD, 2, np.nan), Y)
    assert [finding.kind for finding in report.findings] == ["not finite"]
    assert "the first that is not finite is X" in report.findings[0].text


# ---- the extremes ------------------------------------------------------------------------------------------------


def cost_of(output, loss, z, y):
    """The cost of one sample whose Z are given, by a network without hidden layers."""
    z = np.atleast_1d(np.asarray(z, np.float32))
    net = Network((1, len(z)), output=output, loss=loss, init="zeros", rng=0)
    net.layers[0].b[:] = z
    return net.loss(np.zeros((1, 1)), np.atleast_2d(np.asarray(y, np.float32)))


LEAST = 3e-45  # of what float32 holds, two steps: "relative" to there
TINY, SMALLEST = np.finfo(np.float32).tiny, np.finfo(np.float32).smallest_subnormal


@pytest.mark.parametrize("z", [0, 1e-30, TINY, SMALLEST, 1, 20, 88, 104, 1e4])
@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("y", [0, 1, 0.25])
def test_binary_cross_entropy_at_the_extremes(z, sign, y):
    """log(1 + e⁻ᶻ) and similar costs as in float64, with a small relative error down to e⁻⁸⁸."""
    z = float(np.float32(sign * z))
    exact = max(z, 0) - z * y + np.log1p(np.exp(-abs(z)))
    if y in (0, 1):  # without the cancelling of z − z
        right = z if y else -z
        exact = np.log1p(np.exp(-right)) if right > 0 else -right + np.log1p(np.exp(right))
    assert cost_of("sigmoid", "binary_crossentropy", z, y) == pytest.approx(exact, rel=1e-6, abs=LEAST)


@pytest.mark.parametrize("z", [[0, 0, 0], [1e4, 0, -1e4], [-1e4, -1e4, -1e4], [1e4, 1e4, 0], [88, 0, -104],
                               [10, 0, 0], [15, 0, 0], [17, 0, 0], [40, 1, 39.5], [80, -7, 0], [3, 3, 2.9999998],
                               [SMALLEST, TINY, -SMALLEST], [1e38, -1e38, 0]])  # fmt: skip
@pytest.mark.parametrize("y", [[1, 0, 0], [0, 1, 0], [0, 0, 1], [0.5, 0.25, 0.25]])
def test_cross_entropy_at_the_extremes(z, y):
    """Σ y·(log Σ eᶻ − z) as in float64, with a small relative error down to e⁻⁸⁸."""
    z64, y64 = np.asarray(z, np.float32).astype(float), np.asarray(y, float)
    *others, top = sorted(z64)
    exact = float(np.sum(y64 * (top - z64 + np.log1p(np.exp(np.array(others) - top).sum()))))
    assert cost_of("softmax", "cross_entropy", z, y) == pytest.approx(exact, rel=1e-6, abs=LEAST)


@pytest.mark.parametrize("z", [0, TINY, SMALLEST, 1e-10, 1e4, 1e18])
def test_squared_error_at_the_extremes(z):
    exact = 0.5 * float(np.float32(z)) ** 2
    assert cost_of("identity", "mse", z, 0) == pytest.approx(exact, rel=1e-6, abs=LEAST)


@pytest.mark.parametrize("z", [0, TINY, SMALLEST, 1e-10, 0.75, -1, 20, 88, -88, -1e4, 1e18, -1e38])
@pytest.mark.parametrize("y", [0, 2])
def test_other_losses_at_the_extremes(z, y):
    z = float(np.float32(z))
    error = abs(z - y)
    assert cost_of("identity", "mae", z, y) == pytest.approx(error, rel=1e-6, abs=LEAST)
    huber = 0.5 * error**2 if error <= 1 else error - 0.5
    assert cost_of("identity", "huber", z, y) == pytest.approx(huber, rel=1e-6, abs=LEAST)
    if z < 89:
        assert cost_of("identity", "poisson", z, y) == pytest.approx(np.exp(z) - y * z, rel=1e-6, abs=LEAST)


@pytest.mark.parametrize("z", [[1e4, 0, -1e4], [-1e4, -1e4, -1e4], [88, 0, -104], [1e38, -1e38, 0]])
def test_squared_errors_of_probabilities_at_the_extremes(z):
    """Outputs with unpaired losses: ŷ is 0, 1 or e⁻⁸⁸ in float32, and nothing overflows."""
    y, z64 = np.array([1.0, 0.0, 0.0]), np.asarray(z, np.float32).astype(float)
    softmax = np.exp(z64 - z64.max()) / np.exp(z64 - z64.max()).sum()
    sigmoid = 1 / (1 + np.exp(np.minimum(-z64, 700)))
    for output, p in (("softmax", softmax), ("sigmoid", sigmoid)):
        exact = 0.5 * np.sum((p - y) ** 2)
        assert cost_of(output, "mse", z, y) == pytest.approx(exact, rel=1e-6, abs=LEAST), output


@pytest.mark.parametrize("loss", ["binary_crossentropy", "cross_entropy"])
@pytest.mark.parametrize("p", [0, SMALLEST, TINY, 1e-7, 0.5, 1 - 2**-24, 1])
@pytest.mark.parametrize("y", [0, 1])
def test_a_loss_of_probabilities_at_their_ends(loss, p, y):
    """Outputs of a custom activation may be 0 and 1: they are clipped by 1e-7, as documented, so that J is finite."""
    p = float(np.float32(p))
    kept = max(p, 1e-7) if loss == "cross_entropy" else min(max(p, 1e-7), 1 - 1e-7)
    exact = -y * np.log(kept) - (0 if loss == "cross_entropy" else (1 - y) * np.log(1 - kept))
    same = Activation("same", lambda z: z, lambda z: 1.0)
    assert cost_of(same, loss, p, y) == pytest.approx(exact, rel=1e-6, abs=2e-7)
