"""diagnose: its numbers against NumPy, each finding on a network with that fault, and no finding on healthy ones."""

import ast
import copy
import doctest
import inspect
import json
import math
import re

import numpy as np
import pytest
from marks import slow_but
from networks import AWKWARD, Case, bits, data, dense, names, network
from optimizers import OPTIMIZERS, each_optimizer

import fastprop
from fastprop import SGD, Activation, Adagrad, Adam, AdamW, Health, Network, RMSprop, diagnose, schedules
from fastprop.health import DEAD, LEAST_ROWS, Finding, Report
from fastprop.texts import plain

# Fits that learn nothing are what these tests are about.
pytestmark = pytest.mark.filterwarnings("ignore:after .* epochs the:RuntimeWarning")

M = 200


def rows(sizes, output="softmax", m=M, seed=0):
    return data(Case("health", sizes, "relu", output, m), seed=seed)


def kinds(report):
    return [finding.kind for finding in report.findings]


# ---- what is reported --------------------------------------------------------------------------------------------


def spread(values, per_sample):
    norm = np.linalg.norm(np.asarray(values, np.float64))
    return [norm / math.sqrt(len(values)) if per_sample else norm, np.min(values), np.max(values)]


@pytest.mark.parametrize("case", AWKWARD, ids=names(AWKWARD))
def test_norms_and_ranges_are_those_of_the_layers(case):
    net, (X, Y) = network(case, l2=0.01), data(case)
    report = diagnose(net, X, Y)
    net.forward(X)
    assert report.cost == pytest.approx(net.backward(Y), rel=1e-6)
    assert (report.rows, report.network) == (case.batch, repr(net))
    np.testing.assert_allclose(list(vars(report.X).values()), spread(X, True), rtol=1e-6)
    for l, (found, layer) in enumerate(zip(report.layers, net.layers, strict=True), start=1):
        assert (found.layer, found.n_prev, found.n) == (l, layer.n_prev, layer.n)
        assert found.activation == (*net.hidden, net.output)[l - 1]
        for name in ("W", "Z", "A", "dZ", "dW"):
            expected = spread(getattr(layer, name), per_sample=name in ("Z", "A", "dZ"))
            np.testing.assert_allclose(list(vars(getattr(found, name)).values()), expected, rtol=1e-5, err_msg=name)


def test_a_network_of_float64_has_the_report_of_the_same_in_float32():
    sizes = (7, 17, 5, 3)
    X, Y = rows(sizes)
    reports = []
    for dtype in ("float32", "float64"):
        net = Network(sizes, ("relu", "tanh"), "softmax", rng=0, dtype=dtype)
        reports.append(diagnose(net, X, Y, Adam(0.01)).to_dict())
    numbers = [re.findall(r"-?\d+\.?\d*(?:e-?\d+)?", str({**report, "network": ""})) for report in reports]
    np.testing.assert_allclose(*[np.array(found, float) for found in numbers], rtol=1e-4, atol=1e-6)
    assert len(numbers[0]) > 50


def test_inputs_are_reported_as_the_first_layer_sees_them():
    X = np.random.default_rng(0).integers(0, 256, (M, 5), dtype=np.uint8)
    report = diagnose(Network((5, 8, 1), scale=1 / 255, rng=0), X, np.ones(M))
    np.testing.assert_allclose(list(vars(report.X).values()), spread(X / 255, True), rtol=1e-6)
    assert kinds(report) == []


@pytest.mark.parametrize("hidden", ["relu", "leaky_relu", "elu", "gelu", "softplus", "identity"])
def test_dead_units_are_those_without_a_slope_for_any_sample(hidden):
    """5 of 20 units are far below 0 for all samples, and 3 for all but one."""
    net, (X, Y) = Network((6, 20, 3), hidden, "softmax", rng=0), rows((6, 20, 3))
    net.layers[0].b[:5] = -200
    net.layers[0].W[5:8], net.layers[0].b[5:8] = [[1e4, 0, 0, 0, 0, 0]], -1e4 * (np.sort(X[:, 0])[-2:].mean())
    expected = {"relu": 5 / 20, "elu": 5 / 20, "gelu": 5 / 20, "softplus": 5 / 20, "leaky_relu": 0, "identity": 0}
    report = diagnose(net, X, Y)
    assert report.layers[0].dead == expected[hidden]
    assert report.layers[0].saturated is None
    if hidden == "relu":
        net.forward(X)
        assert np.mean((net.layers[0].A == 0).all(axis=0)) == report.layers[0].dead


def test_units_of_a_custom_activation_can_be_dead():
    capped = Activation("capped", lambda z: min(max(z, 0.0), 6.0), lambda z: 1.0 if 0 < z < 6 else 0.0)
    net = Network((6, 10, 3), capped, "softmax", rng=0)
    net.layers[0].b[:] = [-100] * 3 + [100] * 4 + [0] * 3
    assert diagnose(net, *rows((6, 10, 3))).layers[0].dead == 0.7


@pytest.mark.parametrize(("hidden", "low"), [("sigmoid", 0), ("tanh", -1)])
def test_saturated_are_values_near_an_end_of_the_range(hidden, low):
    net, (X, Y) = Network((6, 20, 3), hidden, "softmax", rng=0), rows((6, 20, 3))
    net.layers[0].W[:] *= 6
    net.forward(X)
    A, margin = net.layers[0].A, 0.01 * (1 - low)
    share = np.mean(np.minimum(A - low, 1 - A) < margin)
    assert 0.05 < share < 0.95
    report = diagnose(net, X, Y)
    assert report.layers[0].saturated == share
    assert report.layers[0].dead is None


@pytest.mark.parametrize("output", ["softmax", "sigmoid"])
def test_outputs_are_saturated_where_they_are_certain_and_wrong(output):
    net, (X, Y) = Network((6, 4), output=output, rng=0), rows((6, 4), output)
    net.layers[0].W[:] *= 8
    Y_hat, Y_dense = net.predict(X), dense(Y, 4)
    if output == "softmax":
        expected = np.mean((Y_hat.max(axis=1) > 0.99) & (Y_hat.argmax(axis=1) != Y))
    else:
        expected = np.mean(((Y_hat > 0.99) & (Y_dense == 0)) | ((Y_hat < 0.01) & (Y_dense == 1)))
    assert 0.05 < expected < 0.95
    assert diagnose(net, X, Y).layers[0].saturated == expected


def test_what_is_certain_and_right_is_not_saturated():
    """An output that is certain and right is not saturated, nor are 1,000 outputs with probabilities near 0."""
    net, (X, _) = Network((6, 4), output="softmax", rng=0), rows((6, 4))
    net.layers[0].W[:] *= 100
    assert diagnose(net, X, net.predict(X).argmax(axis=1)).layers[0].saturated == 0
    assert diagnose(Network((6, 1000), output="softmax", rng=0), *rows((6, 1000))).layers[0].saturated == 0


# ---- the update --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("trained", [False, True])
@each_optimizer
def test_the_update_is_the_optimizers_next_step(name, trained):
    """‖ΔW‖/‖W‖ by the optimizer's formula in float64, from its moments if it has made steps."""
    net, (X, Y) = Network((6, 20, 3), "tanh", "softmax", l2=0.01, rng=0), rows((6, 20, 3))
    variant, optimizer = OPTIMIZERS[name], OPTIMIZERS[name].make()
    if trained:
        net.fit(X, Y, epochs=3, batch_size=16, optimizer=optimizer)
        report = diagnose(net, X, Y)
    else:
        report = diagnose(net, X, Y, optimizer)
    net.forward(X)
    net.backward(Y)
    moments = optimizer.moments if trained else np.zeros((2, len(net.parameters)))
    settings = {**optimizer.settings(), "lr": optimizer.rate}
    clip_norm = settings.pop("clip_norm") or math.inf
    scale = min(1.0, clip_norm / np.linalg.norm(net.gradients.astype(np.float64)))
    for l, (found, layer) in enumerate(zip(report.layers, net.layers)):
        W, g = (values.astype(np.float64) for values in (layer.W, layer.dW))
        its = [net.architecture.layout.views(moment, l)[0].astype(np.float64) for moment in moments]
        new_W = variant.update(W, its, scale * g, optimizer.steps + 1, **settings)
        expected = np.linalg.norm(new_W - W) / np.linalg.norm(W)
        assert found.update == pytest.approx(expected, rel=1e-3)
    assert report.optimizer == repr(optimizer)
    assert report.rate == optimizer.rate
    net.train_step(X, Y, optimizer)
    assert report.cost_after == net.loss(X, Y)


def test_the_update_follows_the_schedule_and_the_clipping():
    net, (X, Y) = Network((6, 20, 3), output="softmax", rng=0), rows((6, 20, 3))
    fixed = diagnose(net, X, Y, SGD(0.1)).layers[0].update
    net.fit(X, Y, epochs=1, batch_size=M, optimizer=SGD(lambda step: 1e-9 * 1e8**step))
    report = diagnose(net, X, Y)  # the first step changed nothing to speak of
    assert report.rate == pytest.approx(0.1)
    assert report.layers[0].update == pytest.approx(fixed, rel=1e-3)
    net.forward(X)
    net.backward(Y)
    norm = np.linalg.norm(net.gradients)
    clipped = diagnose(net, X, Y, SGD(0.1, clip_norm=norm / 4)).layers[0].update
    assert clipped == pytest.approx(fixed / 4, rel=1e-3)


def test_without_an_optimizer_there_is_no_update():
    report = diagnose(Network((6, 20, 3), output="softmax", rng=0), *rows((6, 20, 3)))
    assert (report.optimizer, report.rate, report.cost_after) == (None, None, None)
    assert [l.update for l in report.layers] == [None, None]


def test_weights_of_zero_have_no_ratio():
    """A logistic regression that starts at zero gives no finding."""
    net = Network((6, 3), output="softmax", init="zeros")
    report = diagnose(net, *rows((6, 3)), SGD(0.1))
    assert report.layers[0].update is None
    assert kinds(report) == []


# ---- the sick ----------------------------------------------------------------------------------------------------


def normal(size):
    """Weights of so large a standard deviation."""
    return lambda n, n_prev, rng: size * rng.standard_normal((n, n_prev))


def uint8_inputs():
    rng = np.random.default_rng(0)
    return Network((6, 20, 3), output="softmax", rng=0), rng.integers(0, 256, (M, 6), dtype=np.uint8), rows((6, 3))[1]


def scaled(factors):
    net, (X, Y) = Network((6, 20, 3), output="softmax", rng=0), rows((6, 3))
    return net, X * np.array(factors), Y


def offset(seconds):
    net, (X, Y) = Network((6, 20, 3), output="softmax", rng=0), rows((6, 3))
    return net, X.astype(float) + seconds * np.eye(6)[2], Y


def prices():
    net, (X, Y) = Network((6, 20, 1), rng=0), rows((6, 1), "identity")
    return net, X, 200_000 + 50_000 * Y


def built(sizes, hidden="relu", output="softmax", biases=(), **options):
    """A network, some of its biases {layer: b}, and rows for it."""
    net = Network(sizes, hidden, output, rng=0, **options)
    for layer, b in dict(biases).items():
        net.layers[layer - 1].b[:] = b
    return net, *rows(sizes, output)


def lost(value):
    net, X, Y = built((6, 20, 3))
    net.layers[1].W[1, 3] = value
    return net, X, Y


def beyond():
    net, X, _ = built((6, 20, 2), output="tanh")
    net.fit(X, 50 + X[:, :2], epochs=20, optimizer=SGD(0.01))
    return net, X, 50 + X[:, :2]


DEEP = (6, *[32] * 8, 3)
# Of each: the network and rows, an optimizer, what is found, in which layers, and with which remedy.
SICK = {
    "bytes": (uint8_inputs, None, "inputs not scaled", (1,), r"scale=1/255"),
    "a feature in thousands": (lambda: scaled([1, 1, 1, 1e3, 1, 1]), None, "inputs not scaled", (1,),
                               r"\(X - mean\)/std"),
    "features of thousandths": (lambda: scaled([1e-3] * 6), None, "inputs not scaled", (1,), r"\(X - mean\)/std"),
    "timestamps": (lambda: offset(1.7e9), None, "inputs far from 0", (1,), r"Subtract the mean in float64"),
    "targets of 200,000": (prices, None, "targets not scaled", (2,), r"Scale Y: train on \(Y - mean\)/std"),
    "zeros": (lambda: built((6, 20, 20, 3), init="zeros"), None, "zero weights", (1, 2, 3), r"Start from random"),
    "ones": (lambda: built((6, 20, 3), init=lambda n, n_prev, rng: np.full((n, n_prev), 0.1)), None, "identical units",
             (1,), r"Start from random weights"),
    "SGD(100)": (lambda: built((6, 20, 3)), SGD(100), "learning rate too high", (1, 2), r"Lower the learning rate, to"),
    "Adam(1)": (lambda: built((6, 20, 3)), Adam(1), "learning rate too high", (1, 2), r"Lower the learning rate, to"),
    "momentum": (lambda: built((6, 20, 3), "tanh", "identity"), SGD(10, momentum=0.9), "learning rate too high", (1, 2),
                 r"Lower the learning rate, to"),
    "SGD(1e-6)": (lambda: built((6, 20, 3)), SGD(1e-6), "learning rate too low", (1, 2), r"Raise the learning rate"),
    "Adam(1e-9)": (lambda: built((6, 20, 3)), Adam(1e-9), "learning rate too low", (1, 2), r"Raise the learning rate"),
    "a dead layer": (lambda: built((6, 20, 20, 3), biases={2: -50}), None, "dead units", (2,), r"leaky_relu"),
    "most of a layer dead": (lambda: built((6, 20, 3), biases={1: [-50] * 11 + [0] * 9}), None, "dead units", (1,),
                             r"start again with a lower learning rate"),
    "dead gelu": (lambda: built((6, 20, 20, 3), "gelu", biases={1: -50, 2: -50}), None, "dead units", (1, 2),
                  r"leaky_relu"),
    "a dead output": (lambda: built((6, 20, 3), output="relu", biases={2: -50}), None, "dead units", (2,), r"softplus"),
    "large weights of tanh": (lambda: built((6, 20, 20, 3), "tanh", init=normal(5)), None, "saturated units", (1, 2),
                              r"start from smaller weights"),
    "biases of sigmoid": (lambda: built((6, 20, 20, 3), "sigmoid", biases={1: 20}), None, "saturated units", (1,),
                          r"start from smaller weights"),
    "large weights": (lambda: built(DEEP, output="identity", init=normal(1)), None, "exploding gradients",
                      (1, 2, 3), r"Start from smaller weights"),
    "eight sigmoids": (lambda: built(DEEP, "sigmoid"), None, "vanishing gradients", (1, 2, 3, 4), r'"relu" or "tanh"'),
    "small weights": (lambda: built(DEEP, "tanh", init=normal(0.02)), None, "vanishing gradients", (1, 2, 3, 4, 5),
                      r"larger weights"),
    "a certain softmax": (lambda: built((6, 3), init=normal(50)), None, "saturated output", (1,), r"smaller weights"),
    "a certain sigmoid": (lambda: built((6, 1), output="sigmoid", init=normal(50)), None, "saturated output", (1,),
                          r"smaller weights"),
    "a sigmoid with mse": (lambda: built((6, 20, 1), output="sigmoid", loss="mse", biases={2: 20}), None,
                           "saturated output", (2,), r'loss="binary_crossentropy", the pair of a sigmoid'),
    "tanh and targets beyond it": (beyond, None, "saturated output", (2,), r"Scale Y into -1 … 1"),
    "NaN": (lambda: lost(np.nan), SGD(7), "not finite", (), r"Start again.*lower learning rate \(lr is 7\)"),
    "infinity": (lambda: lost(np.inf), None, "not finite", (), r"Start again"),
}  # fmt: skip


@pytest.mark.parametrize("name", SICK)
def test_a_sick_network_is_found_so_with_its_remedy(name):
    make, optimizer, kind, layers, remedy = SICK[name]
    report = diagnose(*make(), copy.deepcopy(optimizer))
    found = {finding.kind: finding for finding in report.findings}
    assert kind in found
    assert set(layers) <= set(found[kind].layers) if len(layers) > 2 else found[kind].layers == layers
    assert re.search(remedy, found[kind].remedy)
    assert plain(f"{kind}: {found[kind].text}") in str(report)
    assert plain(f"Remedy: {found[kind].remedy}") in str(report)


def test_every_kind_of_finding_is_among_the_sick():
    """The kinds are those that the code makes a Finding of; its docstring lists them too."""
    calls = [node for node in ast.walk(ast.parse(inspect.getsource(fastprop.health))) if isinstance(node, ast.Call)]
    made = {ast.literal_eval(call.args[0]) for call in calls if ast.unparse(call.func) == "Finding"}
    assert made == {kind for _, _, kind, *_ in SICK.values()}
    assert made == set(re.findall(r'``"(.+?)"``', Finding.__doc__))


def test_the_layers_are_named_shortly():
    (finding,) = diagnose(*SICK["eight sigmoids"][0]()).findings
    assert finding.text.endswith("in layers 1 to 5.")
    (finding,) = diagnose(*built((6, 20, 20, 20, 3), ("relu", "tanh", "relu"), biases={1: -50, 3: -50})).findings
    assert finding.text.startswith("in layers 1 and 3, 100% of the units")


def test_the_causes_stand_before_their_effects():
    """Unscaled uint8 inputs: with a learning rate for scaled inputs the step overshoots."""
    assert kinds(diagnose(*uint8_inputs(), SGD(0.1)))[:2] == ["inputs not scaled", "learning rate too high"]


def test_the_rate_that_is_recommended_is_found_well():
    for name in ("SGD(100)", "Adam(1)", "momentum"):
        make, optimizer, *_ = SICK[name]
        (finding,) = (f for f in diagnose(*make(), copy.deepcopy(optimizer)).findings if f.kind.startswith("learning"))
        again = copy.deepcopy(optimizer)
        again.lr = float(re.search(r"to about ([\d.e-]+),", finding.remedy)[1])
        assert kinds(diagnose(*make(), again)) == []


def test_the_first_that_is_not_finite_is_named():
    """The report names the first array in the order of the passes, or the cost if only the cost overflows."""
    net, X, Y = lost(np.nan)
    report = diagnose(net, X, Y)
    assert "the first that is not finite is W of layer 2;" in report.findings[0].text
    assert (report.cost_after, report.layers[1].update) == (None, None)
    net, X, Y = built((6, 20, 3), biases={1: np.inf})
    assert "the first that is not finite is Z of layer 1;" in diagnose(net, X, Y).findings[0].text
    net, X, Y = built((2, 1), output="identity", init=lambda n, n_prev, rng: np.full((n, n_prev), 1e25))
    assert diagnose(net, X, Y).findings[0].text == "the first that is not finite is the cost; the cost is inf."


def test_a_fit_that_diverged_is_found_so():
    net, X, Y = built((6, 20, 3), output="identity")
    with pytest.warns(RuntimeWarning, match="diverged"):
        net.fit(X, Y, epochs=50, batch_size=20, optimizer=SGD(50))
    assert kinds(diagnose(net, X, Y)) == ["not finite"]


def test_a_rate_that_a_schedule_lowers_is_not_too_low():
    net, X, Y = built((6, 20, 3))
    net.fit(X, Y, epochs=5, batch_size=20, optimizer=Adam(schedules.cosine(0.01, 50)))
    report = diagnose(net, X, Y)
    assert (report.rate, report.layers[0].update) == (0, 0)
    assert kinds(report) == []


def test_of_few_rows_no_unit_is_called_dead():
    """In one row half of the units are 0."""
    net, X, Y = built((6, 40, 3), biases={1: -1})
    assert diagnose(net, X[:1], Y[:1]).layers[0].dead > DEAD
    for m, found in ((1, []), (LEAST_ROWS - 1, []), (LEAST_ROWS, ["dead units"])):
        net.layers[0].b[:] = -50
        assert kinds(diagnose(net, X[:m], Y[:m])) == found


# ---- the healthy -------------------------------------------------------------------------------------------------


def digits():
    """scikit-learn's digits in 0 … 1, or something like them."""
    try:
        from sklearn.datasets import load_digits
    except ModuleNotFoundError:
        rng = np.random.default_rng(0)
        centres = rng.random((10, 64)) > 0.6
        Y = rng.integers(10, size=1797)
        return np.clip(0.7 * centres[Y] + 0.3 * rng.standard_normal((1797, 64)), 0, 1).astype(np.float32), Y
    X, Y = load_digits(return_X_y=True)
    return (X / 16).astype(np.float32), Y


X_DIGITS, Y_DIGITS = digits()
HEALTHY = {
    "relu": ((64, 128, 64, 10), "relu", {}),
    "relu, momentum": ((64, 128, 10), "relu", {"optimizer": lambda: SGD(0.05, momentum=0.9)}),
    "relu, Adam": ((64, 128, 64, 10), "relu", {"optimizer": lambda: Adam(0.001)}),
    "relu, Adam, dropout": ((64, 256, 128, 10), "relu", {"optimizer": lambda: Adam(0.002), "dropout": 0.3}),
    "relu, five layers": ((64, 64, 64, 64, 64, 64, 10), "relu", {"optimizer": lambda: Adam(0.001)}),
    "relu, wide": ((64, 1024, 10), "relu", {"optimizer": lambda: Adam(0.001), "l2": 1e-4}),
    "leaky_relu": ((64, 64, 32, 10), "leaky_relu", {}),
    "elu": ((64, 64, 32, 10), "elu", {"optimizer": lambda: RMSprop(0.001)}),
    "selu": ((64, 64, 64, 64, 10), "selu", {"optimizer": lambda: AdamW(0.001)}),
    "gelu": ((64, 64, 32, 10), "gelu", {"optimizer": lambda: Adam(0.002)}),
    "silu": ((64, 64, 32, 10), "silu", {"optimizer": lambda: Adam(schedules.one_cycle(0.005, 290))}),
    "softplus": ((64, 64, 10), "softplus", {}),
    "tanh": ((64, 64, 32, 10), "tanh", {"optimizer": lambda: Adagrad(0.01)}),
    "tanh, five layers": ((64, 64, 64, 64, 64, 64, 10), "tanh", {}),
    "sigmoid": ((64, 64, 10), "sigmoid", {"optimizer": lambda: Adam(0.003)}),
    "two sigmoids": ((64, 64, 64, 10), "sigmoid", {"optimizer": lambda: Adam(0.003)}),
    "mixed": ((64, 64, 64, 64, 10), ("relu", "tanh", "sigmoid"), {}),
    "a softmax alone": ((64, 10), "relu", {}),
}


@pytest.mark.parametrize("name", slow_but(["a softmax alone"], HEALTHY))
def test_of_a_healthy_network_nothing_is_found_before_or_after_training(name):
    sizes, hidden, options = HEALTHY[name]
    options = dict(options)
    optimizer = options.pop("optimizer", SGD)()
    for seed in range(3):
        net = Network(sizes, hidden, "softmax", rng=seed, **options)
        its = copy.deepcopy(optimizer)
        assert kinds(diagnose(net, X_DIGITS[:500], Y_DIGITS[:500], its)) == []
        health = Health(X_DIGITS[:500], Y_DIGITS[:500])
        net.fit(X_DIGITS[:1500], Y_DIGITS[:1500], epochs=15, batch_size=64, optimizer=its, callbacks=[health])
        assert {epoch: kinds(report) for epoch, report in health.records if report.findings} == {}
        assert kinds(diagnose(net, X_DIGITS[1500:], Y_DIGITS[1500:])) == []  # what it has not seen
        assert np.mean(net.predict(X_DIGITS[1500:]).argmax(axis=1) == Y_DIGITS[1500:]) > 0.8


@pytest.mark.parametrize(
    ("output", "loss"), [("identity", None), ("identity", "huber"), ("sigmoid", None), ("tanh", None)]
)
def test_of_a_healthy_regression_nothing_is_found(output, loss):
    X = np.random.default_rng(0).standard_normal((1000, 8))
    Y = 1 / (1 + np.exp(-X[:, 0] * X[:, 1])) if output == "sigmoid" else np.tanh(X[:, 0] * X[:, 1])
    for optimizer in (SGD(0.05), Adam(0.003)):
        net = Network((8, 64, 32, 1), output=output, loss=loss, rng=0)
        assert kinds(diagnose(net, X, Y, optimizer)) == []
        net.fit(X, Y, epochs=30, batch_size=32, optimizer=optimizer)
        assert kinds(diagnose(net, X, Y)) == []


@pytest.mark.parametrize("case", [c for c in AWKWARD if c.sizes != (1, 1, 1, 1)], ids=lambda case: case.name)
def test_of_awkward_shapes_as_they_start_nothing_is_found(case):
    for optimizer in (SGD(0.03), Adam(0.001)):
        assert kinds(diagnose(Network(case.sizes, case.hidden, case.output, rng=0), *data(case, M), optimizer)) == []


# ---- what it is shown as -----------------------------------------------------------------------------------------


def test_the_dict_holds_everything_and_is_json():
    net, X, Y = built((6, 20, 3), biases={1: -50})
    report = diagnose(net, X, Y, Adam())
    found = report.to_dict()
    assert json.loads(json.dumps(found))["cost"] == report.cost
    assert list(found) == list(vars(report))
    assert found["layers"][1]["dW"] == vars(report.layers[1].dW)
    assert found["findings"][0] == {**vars(report.findings[0])}
    assert found["findings"][0]["kind"] == "dead units"


def test_the_text_has_a_line_for_each_layer_and_fits_a_screen():
    net, X, Y = built((6, 20, 20, 3), ("relu", "tanh"))
    report = diagnose(net, X, Y, SGD(0.1))
    lines = str(report).splitlines()
    assert lines[0] == repr(net)
    assert lines[1] == (f"200 rows: the cost is {report.cost:.4g}, and {report.cost_after:.4g} after a step of "
                        f"{SGD(0.1)!r}")  # fmt: skip
    first, second = report.layers[:2]
    (line,) = (line for line in lines if line.startswith("1: 6 -> 20 relu"))
    sizes = [f"{s.norm:.3g}" for s in (first.W, first.Z, first.A, first.dZ, first.dW)]
    assert line.split()[5:] == [*sizes, f"{first.update:.1e}", f"{first.dead:.0%}"]
    (line,) = (line for line in lines if line.startswith("2: 20 -> 20 tanh"))
    assert line.split()[-1] == f"{second.saturated:.0%}"
    assert f"{first.W.least:.2g} to {first.W.greatest:.2g}" in str(report)
    assert lines[-1] == "Nothing is found wrong."
    assert max(map(len, lines)) <= 120
    assert repr(report) == "Report(no finding)"
    assert repr(diagnose(*uint8_inputs())) == "Report(inputs not scaled, saturated output)"


def test_the_report_is_drawn():
    pytest.importorskip("matplotlib", reason="plots need matplotlib (extra plot)")
    report = diagnose(*built((6, 20, 3)))
    (line,) = (line for line in report.plot().axes[0].lines if line.get_label() == "‖dZ‖")
    assert line.get_ydata().tolist() == [l.dZ.norm for l in report.layers]


# ---- nothing changes ---------------------------------------------------------------------------------------------


def state(net):
    """All that could be changed of a network and its optimizer."""
    layers = [bits(l.W, l.b, l.dW, l.db, l.Z, l.A, l.dZ) for l in net.layers]
    engine, optimizer = net.engines.kept, net.optimizer
    return (
        bits(net.parameters, net.gradients), layers, bits(net.layers[0].dA), engine.rows, engine.has_gradients,
        net.generator.bit_generator.state, optimizer.steps, repr(optimizer), bits(optimizer.moments),
        optimizer.owner() is net, repr(net.fit_state),
        [id(e) for e in (net.engines.kept, net.engines.last, *net.engines.idle[0])],
    )  # fmt: skip


@pytest.mark.parametrize("make", [SGD, Adam, lambda: SGD(schedules.ReduceOnPlateau(0.1), momentum=0.9)])
def test_nothing_of_the_network_changes(make):
    net, X, Y = built((6, 20, 3), "tanh", dropout=0.2)
    net.fit(X, Y, epochs=2, batch_size=32, optimizer=make(), validation=0.2, early_stopping=5)
    net.forward(X[:50])
    net.backward(Y[:50])
    before, X_before, Y_before = state(net), X.copy(), Y.copy()
    report = diagnose(net, X, Y)
    assert state(net) == before
    other = make()
    assert diagnose(net, X, Y, other).layers[0].update > 0
    assert state(net) == before
    assert (other.steps, other.moments, other.owner) == (0, None, None)
    np.testing.assert_array_equal(X, X_before)
    np.testing.assert_array_equal(Y, Y_before)
    assert diagnose(net, X, Y) == report


@pytest.mark.parametrize("every", [None, 1, 7])
def test_a_fit_that_is_watched_has_the_bits_of_one_that_is_not(every):
    options = {"epochs": 4, "batch_size": 32, "validation": 0.2, "early_stopping": 3, "rng": 1}
    (one, X, Y), (other, *_) = (built((6, 20, 3), dropout=0.2) for _ in range(2))
    histories = [one.fit(X, Y, optimizer=Adam(0.01), **options),
                 other.fit(X, Y, optimizer=Adam(0.01), callbacks=[Health(X, Y, every=every)], **options)]  # fmt: skip
    assert histories[0].loss == histories[1].loss
    assert histories[0].validation_loss == histories[1].validation_loss
    assert bits(one.parameters, one.optimizer.moments) == bits(other.parameters, other.optimizer.moments)


# ---- while training ----------------------------------------------------------------------------------------------


def test_the_callback_keeps_a_report_of_each_epoch_or_every_so_many_steps():
    (net, X, Y), reports = built((6, 20, 3)), []
    by_epoch, by_step = Health(X, Y), Health(X, Y, every=5)
    net.fit(X, Y, epochs=3, batch_size=50, callbacks=[
        by_epoch, by_step, lambda *_: reports.append(diagnose(net, X, Y))])  # fmt: skip
    assert [epoch for epoch, _ in by_epoch.records] == [0, 1, 2]
    assert [steps for steps, _ in by_step.records] == [5, 10]
    assert [report for _, report in by_epoch.records] == reports
    assert all(isinstance(report, Report) for _, report in by_step.records)
    assert repr(by_step) == "Health(2 reports, every=5)"
    assert len({report.cost for report in reports}) == 3


def test_the_callback_never_ends_a_fit_and_sees_it_diverge():
    net, X, Y = built((6, 20, 3), output="identity")
    health = Health(X, Y)
    with pytest.warns(RuntimeWarning, match="diverged"):
        history = net.fit(X, Y, epochs=50, batch_size=20, optimizer=SGD(50), callbacks=[health])
    assert len(health.records) == history.epochs
    assert kinds(health.records[-1][1]) == ["not finite"]


def test_the_callback_goes_on_when_a_fit_is_resumed():
    net, X, Y = built((6, 20, 3))
    health = Health(X, Y)
    net.fit(X, Y, epochs=2, callbacks=[health])
    net.fit(X, Y, epochs=4, callbacks=[health], resume=True)
    assert [epoch for epoch, _ in health.records] == [0, 1, 2, 3]


# ---- bad input ---------------------------------------------------------------------------------------------------


def of_another():
    other, X, Y = built((6, 20, 3))
    other.fit(X, Y, epochs=1, optimizer=Adam())
    return other.optimizer


BAD = {
    "no network": (lambda net, X, Y: diagnose(X, X, Y), TypeError, r"it must be a Network"),
    "X too wide": (lambda net, X, Y: diagnose(net, np.ones((M, 7)), Y), ValueError, r"X has 7 features.*takes 6"),
    "X not finite": (lambda net, X, Y: diagnose(net, X * np.nan, Y), ValueError, r"X\[0, 0\] is nan"),
    "no rows": (lambda net, X, Y: diagnose(net, X[:0], Y[:0]), ValueError, r"X has 0 rows"),
    "Y too short": (lambda net, X, Y: diagnose(net, X, Y[:-1]), ValueError, r"Y has 199 rows; X has 200"),
    "Y out of range": (lambda net, X, Y: diagnose(net, X, Y + 1), ValueError, r"labels of this network are 0 to 2"),
    "optimizer a name": (lambda net, X, Y: diagnose(net, X, Y, "adam"), TypeError, r"optimizer is 'adam'; it must be"),
    "another's optimizer": (lambda net, X, Y: diagnose(net, X, Y, of_another()), ValueError, r"of another network"),
    "every of zero": (lambda net, X, Y: Health(X, Y, every=0), ValueError, r"every is 0; it must be at least 1"),
    "every a float": (lambda net, X, Y: Health(X, Y, every=1.5), TypeError, r"every is 1.5; it must be a whole number"),
    "Health of other rows": (lambda net, X, Y: net.fit(X, Y, epochs=1, callbacks=[Health(X[:, :3], Y)]), ValueError,
                             r"X has 3 features; this network takes 6"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_refused_and_changes_nothing(name):
    call, error, message = BAD[name]
    net, X, Y = built((6, 20, 3))
    net.forward(X)
    net.backward(Y)
    before = bits(net.parameters, net.gradients)
    with pytest.raises(error, match=message):
        call(net, X, Y)
    assert bits(net.parameters, net.gradients) == before
    assert net.optimizer is None


def test_the_docstring_examples_hold():
    names = {**vars(fastprop), "np": np}
    examples = [test for object in (diagnose, Health) for test in doctest.DocTestFinder().find(object, globs=names)]
    assert sum(bool(test.examples) for test in examples) == 2
    for test in examples:
        assert doctest.DocTestRunner().run(test).failed == 0


@pytest.mark.slow
def test_it_is_public_and_needs_no_extra(run_python):
    code = """
import numpy as np
from fastprop import Network, diagnose
import sys
X = np.random.default_rng(0).standard_normal((50, 3))
print(diagnose(Network((3, 8, 1), rng=0), X, X.sum(axis=1)).findings, {"matplotlib", "sklearn"} & set(sys.modules))
"""
    assert run_python(code) == "() set()\n"
