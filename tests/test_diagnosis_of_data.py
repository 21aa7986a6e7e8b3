"""diagnose, Health and the warnings of fit about X, Y and weights that no rate of learning can make up for."""

import re
import warnings

import numpy as np
import pytest

from fastprop import SGD, Adam, Health, Loss, Network, diagnose, scaling
from fastprop.scaling import LARGE_OFFSET, SMALL_TARGET

# Fits that learn nothing are what these tests are about.
pytestmark = pytest.mark.filterwarnings("ignore:after .* epochs the:RuntimeWarning")

M = 500


def normal(m=M, n=4, seed=0):
    return np.random.default_rng(seed).standard_normal((m, n))


def found(report):
    return {finding.kind: finding for finding in report.findings}


def about_X(X, **options):
    net = Network((X.shape[1], 16, 1), rng=0, **options)
    return found(diagnose(net, X, normal()[: len(X), 0]))


# ---- offsets -----------------------------------------------------------------------------------------------------


def test_timestamps_are_found_with_the_values_that_float32_keeps():
    """float32 has a value every 128 s at 1.7e9: 79 are left of 1.7e9 + 0 … 9,999 s."""
    X = normal(10_000)
    X[:, 2] = 1_700_000_000 + np.arange(10_000)
    assert len(np.unique(X[:, 2].astype(np.float32))) == 79
    finding = found(diagnose(Network((4, 16, 1), rng=0), X, X[:, 0]))["inputs far from 0"]
    assert finding.layers == (1,)
    assert finding.text == (
        "X[:, 2] has a mean of 1.7e+09 and a standard deviation of 2.89e+03; of its 10,000 different values float32 "
        "keeps 79."
    )
    assert finding.remedy.startswith("Subtract the mean in float64, before anything else: take (X - mean)/std")
    X = (X - X.mean(axis=0)) / X.std(axis=0)
    assert found(diagnose(Network((4, 16, 1), rng=0), X, X[:, 0])) == {}


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.longdouble])
def test_values_of_1_and_a_hundred_thousandth_are_found(dtype):
    text = about_X((1 + 1e-5 * normal()).astype(dtype))["inputs far from 0"].text
    assert re.match(r"X\[:, \d\] has a mean of 1 and a standard deviation of (9\.\d+e-06|1e-05|1\.\d+e-05);", text)
    assert text.endswith("3 other columns are like it.")


@pytest.mark.parametrize("dtype", [np.int64, np.uint64, np.float64])
def test_nanoseconds_are_found(dtype):
    """Of int64 the mean and spread are those of all its digits."""
    X = normal().astype(np.float64)
    whole = np.full((M, 4), 1_700_000_000_000_000_000, dtype) + (1e9 * (5 + X)).astype(dtype)
    report = diagnose(Network((4, 16, 1), rng=0), whole, X[:, 0])
    assert list(found(report)) == ["inputs far from 0", "not finite"]  # the squares overflow: the cause stands first
    assert "a mean of 1.7e+18 and a standard deviation of 9.38e+08;" in report.findings[0].text
    assert "of its 500 different values float32 keeps 1;" in report.findings[0].text


def test_the_column_of_a_frame_is_named():
    pd = pytest.importorskip("pandas", reason="frames are those of pandas")
    X = pd.DataFrame(normal(), columns=["a", "b", "year", "d"])
    X["year"] = 2000 + 5 * X["year"]
    X["up"] = X["a"] > 0
    assert about_X(X)["inputs far from 0"].text.startswith("column 'year' of X has a mean of 2000 and")
    X["year"] -= 2000
    X["d"] *= 100
    assert about_X(X)["inputs not scaled"].text.startswith("column 'd' of X has a root mean square of ")


def test_an_offset_is_found_from_ten_standard_deviations():
    for offset, is_found in ((0.9 * LARGE_OFFSET, False), (1.1 * LARGE_OFFSET, True), (-1.1 * LARGE_OFFSET, True)):
        X = normal()
        X[:, 1] = (X[:, 1] + offset) / LARGE_OFFSET
        assert ("inputs far from 0" in about_X(X)) == is_found


@pytest.mark.parametrize("optimizer", [lambda: Adam(0.01), lambda: SGD(0.05)])
def test_what_is_found_does_not_learn_and_its_remedy_does(optimizer):
    """R² of y = sin 2x₀ + x₁·x₂ on held-out rows: 0 with an offset of 30 standard deviations, at least 0.7 without."""
    X = normal(1500, 8)
    y = np.sin(2 * X[:, 0]) + X[:, 1] * X[:, 2]
    y /= y.std()
    for given, learns in ((30 + X, False), (X, True)):
        given = given / np.sqrt(np.mean(given**2))
        net = Network((8, 64, 32, 1), rng=0)
        assert ("inputs far from 0" in found(diagnose(net, given[:1000], y[:1000]))) != learns
        net.fit(given[:1000], y[:1000], epochs=200, batch_size=32, optimizer=optimizer())
        error = np.mean((net.predict(given[1000:])[:, 0] - y[1000:]) ** 2) / y[1000:].var()
        assert (error < 0.3) == learns
        assert (error > 0.8) != learns


def test_values_that_lie_close_together_beside_others_are_found():
    """Timestamps with a 0 for those that are missing: the offset is small, and still float32 takes them for equal."""
    X = normal()
    X[:, 3] = 1.7e9 + np.arange(M)
    X[::10, 3] = 0
    finding = about_X(X)["inputs far from 0"]
    assert "of its 451 different values float32 keeps 6" in finding.text
    assert "Subtract the median" in finding.remedy


def test_what_float64_keeps_is_not_lost():
    """Of the numbers of the last test. Of nanoseconds as int64 it drops digits too: it has a value every 256."""
    X = normal()
    X[:, 3] = 1.7e9 + np.arange(M)
    X[::10, 3] = 0
    assert "of its 451 different values float32 keeps 6" in about_X(X)["inputs far from 0"].text
    assert "inputs far from 0" not in about_X(X, dtype="float64")
    whole = np.full((M, 4), 1_700_000_000_000_000_000) + np.arange(4 * M).reshape(M, 4)
    assert "of its 500 different values float64 keeps 9;" in about_X(whole, dtype="float64")["inputs far from 0"].text


@pytest.mark.parametrize("name", ["constant", "ones", "a rare zero", "a rare zero of uint8", "ids", "float64 in 0 … 1"])
def test_columns_without_harm_are_not_reported(name):
    rng = np.random.default_rng(0)
    X = normal()
    if name in ("constant", "ones"):
        X[:, 1] = 0.1 if name == "constant" else 1
    elif name.startswith("a rare zero"):
        X[:, 1] = 1
        X[17, 1] = 0  # one of 500: the mean is 22 times the standard deviation
        X = X > -9 if name.endswith("uint8") else X
    elif name == "ids":
        X[:, 1] = rng.permutation(10 * M)[:M] / (10 * M)
    else:
        X = rng.random((M, 4))
    assert "inputs far from 0" not in about_X(X)


def test_health_looks_at_X_as_it_was_given():
    """In float32 half of these columns are constant; and what was changed since the fit began does not count."""
    X, y = 1 + 1e-9 * normal(), normal()[:, 0]
    health = Health(X, y)
    net = Network((4, 16, 1), rng=0)
    net.fit(X, y, epochs=2, optimizer=Adam(), callbacks=[health])
    assert [next(iter(found(report))) for _, report in health.records] == ["inputs far from 0"] * 2
    assert health.records[-1][1] == diagnose(net, X, y)


def test_of_many_rows_some_are_examined(monkeypatch):
    X = normal(4000)
    X[:, 2] += 1000
    whole = diagnose(Network((4, 16, 1), rng=0), X, X[:, 0])
    monkeypatch.setattr(scaling, "SOME_ROWS", 100)
    assert list(found(diagnose(Network((4, 16, 1), rng=0), X, X[:, 0]))) == list(found(whole)) == ["inputs far from 0"]


def test_values_that_are_not_finite_end_the_examination():
    X = normal()
    X[3, 1] = np.nan
    report = diagnose(Network((4, 16, 1), rng=0, check_finite=False), X, X[:, 0])
    assert list(found(report)) == ["not finite"]


# ---- the scale of X ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("top", "factor"), [(16, "1/16"), (255, "1/255"), (250, "1/255"), (64, "1/64")])
@pytest.mark.parametrize("dtype", [np.uint8, np.float64, np.int64])
def test_whole_numbers_from_0_get_the_scale_of_their_largest(top, factor, dtype):
    """scikit-learn's digits lie in 0 … 16, where 1/255 leaves a largest input of 0.06."""
    X = np.random.default_rng(0).integers(0, top + 1, (M, 64)).astype(dtype)
    X[:, 5] = 0  # a pixel that is always black: (X - mean)/std would be NaN
    X[0, 0] = top
    finding = about_X(2 * X if top == 8 else X, scale=2.0 if top == 16 else 1.0)["inputs not scaled"]
    assert f"make the network with scale={factor}." in finding.remedy
    assert ("uint8" in finding.remedy) == (dtype == np.uint8)
    assert "inputs not scaled" not in about_X(X, scale=1 / top)


def test_uint8_that_is_scaled_too_far_is_told_its_own_scale():
    X = np.random.default_rng(0).integers(0, 2, (M, 8), dtype=np.uint8)
    assert "scale=1/1." in about_X(X, scale=1 / 255)["inputs not scaled"].remedy
    assert about_X(X) == {}


def test_columns_without_spread_are_left_out_of_the_remedy():
    """(X - mean)/std of a constant column is NaN."""
    X = 100 * normal()
    assert "Leave out" not in about_X(X)["inputs not scaled"].remedy
    X[:, 2] = 7
    assert "Leave out columns whose std is 0, such as X[:, 2]." in about_X(X)["inputs not scaled"].remedy


def test_an_X_of_zeros_is_named():
    finding = about_X(np.zeros((M, 4)))["inputs not scaled"]
    assert finding.text == "all of X is 0."


# ---- targets -----------------------------------------------------------------------------------------------------


def prices(m=M):
    X = normal(m)
    return X, 200_000 + 50_000 * np.tanh(X[:, 0] + X[:, 1])


@pytest.mark.parametrize("loss", ["mse", "mae", "huber"])
@pytest.mark.parametrize("optimizer", [None, Adam(), SGD(0.1)])
def test_prices_are_found(loss, optimizer):
    X, y = prices()
    report = diagnose(Network((4, 16, 1), loss=loss, rng=0), X, y, optimizer)
    finding = report.findings[0]
    assert (finding.kind, finding.layers) == ("targets not scaled", (2,))
    assert re.match(
        r"Y has a mean of 1\.98e\+05 and a standard deviation of 3\.\d+e\+04; those of the outputs are ", finding.text
    )
    assert "Scale Y: train on (Y - mean)/std" in finding.remedy
    assert "TransformedTargetRegressor" in finding.remedy
    y = (y - y.mean()) / y.std()
    assert found(diagnose(Network((4, 16, 1), loss=loss, rng=0), X, y, Adam())) == {}


def test_the_remedy_learns_what_the_prices_do_not():
    X, y = prices(1000)
    y_mean, y_std = y.mean(), y.std()
    net = Network((4, 32, 1), rng=0)
    net.fit(X, y, epochs=50, optimizer=Adam())
    assert np.mean((net.predict(X)[:, 0] - y) ** 2) > 5 * y_std**2
    assert "targets not scaled" in found(diagnose(net, X, y))
    net = Network((4, 32, 1), rng=0)
    net.fit(X, (y - y_mean) / y_std, epochs=50, optimizer=Adam(0.01))
    assert np.mean((net.predict(X)[:, 0] * y_std + y_mean - y) ** 2) < 0.05 * y_std**2


def test_a_network_that_has_come_to_its_targets_is_well():
    X = normal(1000)
    y = 100 * X[:, 0]
    net = Network((4, 32, 1), rng=0)
    assert "targets not scaled" in found(diagnose(net, X, y))
    net.fit(X, y, epochs=100, optimizer=Adam(0.01))
    assert np.mean((net.predict(X)[:, 0] - y) ** 2) < 0.1 * y.var()
    assert "targets not scaled" not in found(diagnose(net, X, y))


def test_small_targets_are_found():
    X = normal()
    for std, is_found in ((SMALL_TARGET / 2, True), (2 * SMALL_TARGET, False)):
        report = diagnose(Network((4, 16, 1), rng=0), X, std * np.sign(X[:, 0]))
        assert ("targets not scaled" in found(report)) == is_found


def test_the_worst_of_several_outputs_is_named():
    X, y = prices()
    Y = np.stack([X[:, 0], y, 0 * y], axis=1)
    assert found(diagnose(Network((4, 16, 3), rng=0), X, Y))["targets not scaled"].text.startswith("Y[:, 1] has a mean")
    pd = pytest.importorskip("pandas", reason="frames are those of pandas")
    Y = pd.DataFrame(Y, columns=["x", "price", "none"])
    text = found(diagnose(Network((4, 16, 3), rng=0), X, Y))["targets not scaled"].text
    assert text.startswith("column 'price' of Y has a mean of 1.98e+05")


def test_targets_that_have_the_units_of_something_else_are_not_judged():
    """Counts of a Poisson loss, of which the output is the logarithm; bounded outputs, which have their own finding."""
    X = normal()
    counts = np.random.default_rng(0).poisson(100, M)
    assert "targets not scaled" not in found(diagnose(Network((4, 16, 1), loss="poisson", rng=0), X, counts))
    for output in ("tanh", "sigmoid"):
        net = Network((4, 16, 1), output=output, loss="mse", rng=0)
        assert "targets not scaled" not in found(diagnose(net, X, 50 + X[:, 0]))
    assert found(diagnose(Network((4, 16, 3), output="softmax", rng=0), X, np.arange(M) % 3)) == {}
    assert "targets not scaled" not in found(diagnose(Network((4, 16, 1), rng=0), X, np.full(M, 100.0)))  # no spread


def test_custom_losses_of_differences_are_judged():
    cauchy = Loss("cauchy", lambda y_hat, y: 0.5 * (y_hat - y) ** 2 / (1 + abs(y_hat - y)),
                  lambda y_hat, y: (y_hat - y) * (1 + 0.5 * abs(y_hat - y)) / (1 + abs(y_hat - y)) ** 2)  # fmt: skip
    assert "targets not scaled" in found(diagnose(Network((4, 16, 1), loss=cauchy, rng=0), *prices()))


def test_outputs_without_negative_values_get_another_remedy():
    remedy = found(diagnose(Network((4, 16, 1), output="softplus", rng=0), *prices()))["targets not scaled"].remedy
    assert 'output="identity"' in remedy
    assert "divide Y by its std" in remedy


# ---- the warnings of fit -----------------------------------------------------------------------------------------


def warning_of(X, Y, optimizer=None, **options):
    net = Network((X.shape[1], 16, 1), rng=0, **options)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        net.fit(X, Y, epochs=50, optimizer=optimizer or SGD(0.1))
    (warning,) = caught
    return str(warning.message)


def test_a_fit_that_diverges_says_what_to_scale():
    X, y = prices()
    assert warning_of(X, y).endswith("Lower the learning rate (lr is 0.1) or scale Y: (Y - mean)/std.")
    assert warning_of(1000 * X, X[:, 0]).endswith("(lr is 0.1) or scale X: (X - mean)/std of each column.")
    text = warning_of(1000 * X, y)
    assert text.endswith("or scale X: (X - mean)/std of each column or scale Y: (Y - mean)/std.")
    assert warning_of(X, X[:, 0], SGD(50)).endswith("Lower the learning rate (lr is 50).")
    pixels = np.random.default_rng(0).integers(0, 256, (M, 64), dtype=np.uint8)
    assert warning_of(pixels, X[:, 0], SGD(10)).endswith("or make the network with scale=1/255.")
    assert warning_of(pixels, X[:, 0], SGD(50), scale=1 / 255).endswith("(lr is 50).")


def test_a_network_that_diverged_is_told_what_to_scale():
    X, y = prices()
    net = Network((4, 16, 1), rng=0)
    net.parameters[:] = np.nan
    (finding,) = diagnose(net, X, y).findings
    assert finding.remedy.endswith("with a lower learning rate or scale Y: (Y - mean)/std.")


# ---- weights -----------------------------------------------------------------------------------------------------


def zeroed(layers, hidden="relu"):
    net = Network((4, 16, 12, 3), hidden, "softmax", rng=0)
    for layer in layers:
        net.layers[layer - 1].W[:] = 0
    return net


ZEROS = {
    "all": ("relu", (1, 2, 3), True), "all, tanh": ("tanh", (1, 2, 3), True), "two": ("tanh", (1, 2), True),
    "the last two": ("gelu", (2, 3), True), "the first": ("relu", (1,), True), "the second": ("relu", (2,), True),
    "the first, tanh": ("tanh", (1,), False), "the output's": ("relu", (3,), False), "none": ("relu", (), False),
}  # fmt: skip


@pytest.mark.parametrize("name", ZEROS)
def test_zero_weights_are_found_where_they_keep_a_network_from_learning(name):
    """Against the training itself: only where they are found does the cost stay that of a constant prediction."""
    hidden, layers, is_found = ZEROS[name]
    X = normal()
    Y = (X[:, 0] > 0) + (X[:, 1] > 0).astype(int)
    net = zeroed(layers, hidden)
    report = diagnose(net, X, Y, Adam(0.01))
    if is_found:
        assert list(found(report)) == ["zero weights"]
        assert report.findings[0].layers == layers
    else:
        assert found(report) == {}
    constant = -sum(share * np.log(share) for share in np.bincount(Y) / M)
    cost = net.fit(X, Y, epochs=60, batch_size=32, optimizer=Adam(0.01)).loss[-1]
    assert (cost > 0.98 * constant) == is_found
    assert (cost < 0.3 * constant) != is_found


def test_units_that_are_all_alike_are_found_and_stay_alike():
    net = Network((4, 16, 12, 3), "tanh", "softmax", init=lambda n, n_prev, rng: np.full((n, n_prev), 0.1))
    X = normal()
    Y = (X[:, 0] > 0) + (X[:, 1] > 0).astype(int)
    assert found(diagnose(net, X, Y))["identical units"].layers == (1, 2)
    net.fit(X, Y, epochs=10, optimizer=Adam(0.01))
    np.testing.assert_allclose(net.layers[0].W, net.layers[0].W[:1].repeat(16, axis=0), rtol=1e-3)
    net = Network((4, 16, 12, 3), "tanh", "softmax", rng=0)
    net.layers[0].W[:] = 0.1
    assert "identical units" not in found(diagnose(net, X, Y))  # the second layer tells them apart


def test_a_logistic_regression_may_start_at_zero():
    X = normal()
    assert found(diagnose(Network((4, 3), output="softmax", init="zeros"), X, np.arange(M) % 3)) == {}
