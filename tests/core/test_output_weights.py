"""Weights of single outputs, sample_weight of shape (m, n_L), and targets that are not known (missing=True)."""

import numpy as np
import pytest
from networks import SMALL, assert_close, bits, check_backward, data, names, network, reference_forward

from fastprop import SGD, Adam, Loss, Network, diagnose, reference
from fastprop.gradcheck import gradient_check

SEVERAL = [case for case in SMALL if case.output != "softmax" and case.sizes[-1] > 1]
RNG = np.random.default_rng(0)
X = RNG.standard_normal((300, 6)).astype(np.float32)
Y = np.stack([X[:, 0] * X[:, 1], np.sin(X[:, 2]), X[:, 3] - X[:, 4]], axis=1)
LABELS = (Y > [0.9, 0.5, -1.0]).astype(np.float32)
WEIGHTS = np.where(RNG.random(Y.shape) < 0.3, 0, RNG.uniform(0.2, 3, Y.shape)).astype(np.float32)
UNKNOWN = RNG.random(Y.shape) < 0.4
WITH_GAPS = np.where(UNKNOWN, np.nan, Y)
LOGCOSH = Loss("logcosh_of_these_tests", lambda a, b: np.log(np.cosh(a - b)), lambda a, b: np.tanh(a - b))


def random_weights(m, n, seed=0):
    """Some of them 0, and those of the first row all 0 if there are others."""
    rng = np.random.default_rng(seed)
    weights = np.where(rng.random((m, n)) < 0.3, 0, rng.uniform(0.1, 5, (m, n))).astype(np.float32)
    weights[0] = 0 if m > 1 else 1
    weights[-1, 0] = 2
    return weights


# ---- the equations -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("m", [None, 1, 17])
@pytest.mark.parametrize("case", SEVERAL, ids=names(SEVERAL))
def test_gradients_are_the_reference_s(case, m):
    net = network(case)
    inputs, targets = data(case, m)
    net.forward(inputs)
    check_backward(net, inputs, targets, random_weights(*targets.shape))


@pytest.mark.parametrize(
    ("output", "loss"),
    [("identity", "mae"), ("identity", "huber"), ("tanh", "mse"), ("sigmoid", "mse"), ("identity", LOGCOSH)],
)
def test_other_losses(output, loss):
    """The cost and dZ of the general path: dZ is w times that without weights."""
    net = Network((6, 17, 3), "tanh", output, loss, rng=0)
    net.forward(X)
    net.backward(Y)
    dZ = net.layers[-1].dZ
    cost = net.backward(Y, WEIGHTS)
    assert_close(net.layers[-1].dZ, WEIGHTS * dZ, 1e-6)
    losses = reference.LOSSES.get(loss, lambda a, b: np.log(np.cosh(a - b)))
    expected = reference.general_cost(reference_forward(net, X), Y.T, output, losses, WEIGHTS.T)
    assert cost == pytest.approx(expected, rel=1e-5)
    assert net.loss(X, Y, WEIGHTS) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("case", SEVERAL, ids=names(SEVERAL))
def test_equal_weights_of_all_outputs_are_the_weight_of_the_row(case):
    """With the same bits of the parameters, over several steps."""
    inputs, targets = data(case, 70)
    rows = np.random.default_rng(0).uniform(0.1, 3, 70).astype(np.float32)
    one, other = network(case), network(case)
    options = {"epochs": 2, "batch_size": 32, "progress": False}
    one.fit(inputs, targets, optimizer=Adam(), sample_weight=rows, **options)
    other.fit(inputs, targets, optimizer=Adam(), sample_weight=np.repeat(rows[:, None], case.sizes[-1], 1), **options)
    np.testing.assert_array_equal(one.parameters, other.parameters)


@pytest.mark.parametrize("m", [1, 16, 300, 3000])
def test_a_weight_of_zero_hides_what_is_there(m):
    """Whatever Y holds where the weight is 0, the bits are the same: in chunks, in parts and for one sample."""
    inputs, targets = np.resize(X, (m, 6)), np.resize(Y, (m, 3))
    weights = random_weights(m, 3)
    weights[0, 1] = 0
    nets = [Network((6, 33, 3), rng=0) for _ in range(2)]
    for net, there in zip(nets, (0.0, 1e30)):
        for _ in range(3):
            net.train_step(inputs, np.where(weights > 0, targets, there), SGD(0.1), weights)
    np.testing.assert_array_equal(nets[0].parameters, nets[1].parameters)


def test_weights_are_followed_over_a_trajectory():
    """Twenty steps on batches of 50 and a ragged last one, against the derivation in float64."""
    net = Network((6, 17, 3), "tanh", rng=0)
    parameters = {name: value.astype(np.float64) for name, value in net.to_dict().items()}
    net.fit(X[:230], Y[:230], epochs=4, batch_size=50, optimizer=SGD(0.1), sample_weight=WEIGHTS[:230], shuffle=False)
    for _ in range(4):
        for first in range(0, 230, 50):
            rows = slice(first, min(first + 50, 230))
            cache = reference.forward_propagation(X[rows].T, parameters, "identity", "tanh")
            w = WEIGHTS[rows].T.astype(np.float64)
            grads = reference.backward(w * (cache["A2"] - Y[rows].T), cache, parameters, "tanh")
            share = w.shape[1] / (w.sum() / 3)
            parameters = {name: value - 0.1 * share * grads["d" + name] for name, value in parameters.items()}
    for name, value in net.to_dict().items():
        assert_close(value, parameters[name], 1e-5, name)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("factor", [1e35, 1e-35, 1e300, 1e-300])
@pytest.mark.parametrize("weights", [WEIGHTS[:, 0], WEIGHTS], ids=["of rows", "of outputs"])
def test_a_factor_of_all_weights_changes_nothing(weights, factor, dtype):
    """Inverse variances may be of any size: the cost and the steps are those of the weights over their mean."""
    nets = [Network((6, 17, 3), "tanh", rng=0, dtype=dtype) for _ in range(2)]
    expected = nets[0].loss(X, Y, weights)
    for net, given in zip(nets, (weights / weights[weights > 0].mean(), factor * weights.astype(np.float64))):
        assert net.loss(X, Y, given) == pytest.approx(expected, rel=1e-6)
        net.fit(X, Y, epochs=2, batch_size=50, optimizer=SGD(0.1), sample_weight=given, rng=0)
        net.train_step(X, Y, net.optimizer, given)
    np.testing.assert_allclose(*(net.parameters for net in nets), rtol=1e-5, atol=1e-6)


def test_a_weight_far_below_the_others_counts_for_nothing():
    net = Network((6, 17, 3), rng=0)
    assert net.loss(X[:2], Y[:2], [1e200, 1e100]) == net.loss(X[:2], Y[:2], [1, 0])


# ---- targets that are not known ----------------------------------------------------------------------------------


@pytest.mark.parametrize("check_finite", [True, False])
@pytest.mark.parametrize("weights", [None, WEIGHTS[:, 0] + 1, WEIGHTS + 1], ids=["no weights", "of rows", "of outputs"])
def test_nan_is_a_weight_of_zero(weights, check_finite):
    gaps = Network((6, 17, 3), missing=True, check_finite=check_finite, rng=0)
    zeros = Network((6, 17, 3), rng=0)
    w = np.ones(Y.shape) if weights is None else np.broadcast_to(weights.reshape(300, -1), Y.shape)
    w = np.where(UNKNOWN, 0, w)
    assert gaps.loss(X, WITH_GAPS, weights) == zeros.loss(X, Y, w)
    options = {"epochs": 3, "batch_size": 64, "optimizer": Adam(), "progress": False, "validation": 0.2}
    history = gaps.fit(X, WITH_GAPS, sample_weight=weights, **options)
    expected = zeros.fit(X, Y, sample_weight=w, **options | {"optimizer": Adam()})
    assert history.loss == expected.loss
    assert history.validation_loss == expected.validation_loss
    assert bits(gaps.parameters) == bits(zeros.parameters)
    assert gaps.partial_fit(X, WITH_GAPS, sample_weight=weights) == zeros.partial_fit(X, Y, sample_weight=w)


def test_outputs_are_learned_from_the_rows_that_know_them():
    net = Network((6, 64, 3), missing=True, rng=0)
    net.fit(X, WITH_GAPS, epochs=200, batch_size=32, optimizer=Adam(0.01), progress=False)
    error = np.mean((net.predict(X) - Y)[UNKNOWN] ** 2)
    assert error < 0.2 * np.mean(Y[UNKNOWN] ** 2)


def test_one_output_and_frames_with_gaps():
    """A row without its only target counts for nothing; None and pd.NA are gaps too."""
    pd = pytest.importorskip("pandas", reason="needs pandas")
    y = np.where(UNKNOWN[:, 0], np.nan, Y[:, 0])
    net = Network((6, 17, 1), missing=True, rng=0)
    expected = Network((6, 17, 1), rng=0).loss(X[~UNKNOWN[:, 0]], Y[~UNKNOWN[:, 0], 0])
    objects = [None if np.isnan(value) else value for value in y]
    for given in (y, y[:, None], objects, pd.Series(y).astype("Float64"), pd.DataFrame({"y": y})):
        assert net.loss(X, given) == pytest.approx(expected, rel=1e-6)


def test_a_batch_without_a_known_target_changes_nothing_in_a_fit():
    gaps = WITH_GAPS.copy()
    gaps[:64] = np.nan
    net, other = (Network((6, 17, 3), missing=True, rng=0) for _ in range(2))
    options = {"epochs": 1, "batch_size": 64, "shuffle": False, "progress": False}
    net.fit(X, gaps, optimizer=SGD(0.1), **options)
    other.fit(X[64:], gaps[64:], optimizer=SGD(0.1), **options)
    np.testing.assert_array_equal(net.parameters, other.parameters)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (np.full(Y.shape, np.nan), r"Y has no known target with a weight above 0"),
        (np.where(UNKNOWN, np.inf, Y), r"Y\[0, \d\] is inf; every value must be finite"),
        (np.where(UNKNOWN, 1e39, Y.astype(float)), r"beyond the range of float32"),
    ],
)
def test_targets_that_are_refused(given, message):
    net = Network((6, 17, 3), missing=True, rng=0)
    before = bits(net.parameters)
    with pytest.raises(ValueError, match=message):
        net.fit(X, given, epochs=1)
    with pytest.raises(ValueError, match=message):
        net.train_step(X, given, SGD(0.1))
    assert bits(net.parameters) == before


def test_nan_is_refused_with_the_remedy():
    with pytest.raises(
        ValueError, match=r"Y\[\d, \d\] is nan; .* For targets that are not known, make .* missing=True"
    ):
        Network((6, 17, 3)).fit(X, WITH_GAPS, epochs=1)
    with pytest.raises(ValueError, match=r"X\[0, 0\] is nan; .* Drop or fill such rows first\.$"):
        Network((6, 17, 3)).loss(np.full_like(X, np.nan), Y)
    with pytest.raises(ValueError, match=r"missing is True and output is 'softmax'.* sample_weight of 0"):
        Network((6, 17, 3), output="softmax", missing=True)
    with pytest.raises(TypeError, match="missing is 'yes'; it must be True or False"):
        Network((6, 17, 3), missing="yes")


def test_gradients_with_gaps_are_checked():
    net = Network((6, 5, 3), "tanh", missing=True, rng=0)
    assert gradient_check(net, X[:20], WITH_GAPS[:20]) < 1e-4
    sigmoids = Network((6, 5, 3), "tanh", "sigmoid", missing=True, rng=0)
    assert gradient_check(sigmoids, X[:20], np.where(UNKNOWN, np.nan, LABELS)[:20]) < 1e-4


def test_the_diagnosis_looks_at_known_targets():
    net = Network((6, 17, 3), missing=True, rng=0)
    net.fit(X, WITH_GAPS, epochs=5, progress=False)
    assert "not finite" not in str(diagnose(net, X, WITH_GAPS))
    found = str(diagnose(Network((6, 17, 3), missing=True, rng=0), X, WITH_GAPS * [1, 1, 1000]))
    assert "Y[:, 2] has a mean of" in found


def test_missing_is_saved_and_shown(tmp_path):
    pytest.importorskip("safetensors", reason="files of networks need the extra save")
    net = Network((6, 17, 3), missing=True, rng=0)
    net.save(tmp_path / "net")
    assert Network.load(tmp_path / "net").missing is True
    assert "missing=1" in repr(net)
    assert "missing" not in repr(Network((6, 17, 3)))


# ---- in a fit ----------------------------------------------------------------------------------------------------


def test_held_out_rows_are_measured_with_the_weights_of_their_outputs():
    net = Network((6, 17, 3), rng=0)
    history = net.fit(X, Y, epochs=2, progress=False, validation=(X[:50], Y[:50], WEIGHTS[:50]))
    assert history.validation_loss[-1] == pytest.approx(net.loss(X[:50], Y[:50], WEIGHTS[:50]), rel=1e-6)
    gaps = Network((6, 17, 3), missing=True, rng=0)
    history = gaps.fit(X, Y, epochs=2, progress=False, validation=(X[:50], WITH_GAPS[:50]))
    assert history.validation_loss[-1] == pytest.approx(gaps.loss(X[:50], WITH_GAPS[:50]), rel=1e-6)


def test_a_resumed_fit_has_the_bits_of_one_that_never_stopped():
    options = {"batch_size": 32, "progress": False, "validation": 0.2, "sample_weight": WEIGHTS}
    whole, part = (Network((6, 17, 3), missing=True, rng=0) for _ in range(2))
    whole.fit(X, WITH_GAPS, epochs=5, **options)
    part.fit(X, WITH_GAPS, epochs=2, **options)
    part.fit(X, WITH_GAPS, epochs=5, resume=True, **options)
    np.testing.assert_array_equal(part.parameters, whole.parameters)


def test_a_constant_is_judged_by_the_weights(recwarn):
    """A network that can only predict a constant is warned of, with the cost of the best constant for these weights."""
    expected = sum(
        np.sum(w) * np.average((y - np.average(y, weights=w)) ** 2, weights=w) / 2 for w, y in zip(WEIGHTS.T, Y.T)
    ) / (np.sum(WEIGHTS) / 3)
    net = Network((6, 17, 3), missing=True, rng=0)
    net.fit(np.zeros_like(X), np.where(WEIGHTS > 0, Y, np.nan), epochs=20, sample_weight=WEIGHTS, progress=False)
    assert f"no better than {expected:.4g}, that of predicting the mean" in str(recwarn[0].message)


# ---- weights of labels -------------------------------------------------------------------------------------------


def test_class_weights_of_several_labels_belong_to_the_labels():
    counts = LABELS.sum(axis=0)
    balanced = np.where(LABELS == 1, 300 / (2 * counts), 300 / (2 * (300 - counts)))
    given = [{1: 3.0}, {0: 2.0, 1: 0.5}, {}]
    table = np.where(LABELS == 1, [3, 0.5, 1], [1, 2, 1])
    for class_weight, expected in (("balanced", balanced), (given, table)):
        for weights in (None, WEIGHTS[:, 0] + 1, WEIGHTS):
            one, other = (Network((6, 17, 3), output="sigmoid", rng=0) for _ in range(2))
            factor = 1 if weights is None else weights.reshape(300, -1)
            options = {"epochs": 2, "progress": False, "validation": 0.2}
            mine = one.fit(X, LABELS, class_weight=class_weight, sample_weight=weights, **options)
            same = other.fit(X, LABELS, sample_weight=expected * factor, **options)
            assert mine.validation_loss == pytest.approx(same.validation_loss, rel=1e-6)
            assert_close(one.parameters, other.parameters, 1e-6)


def test_labels_that_are_not_known_are_in_no_class():
    gaps = np.where(UNKNOWN, np.nan, LABELS)
    known = np.sum(~UNKNOWN, axis=0)
    counts = np.nansum(gaps, axis=0)
    balanced = np.where(UNKNOWN, 0, np.where(gaps == 1, known / (2 * counts), known / (2 * (known - counts))))
    one, other = (Network((6, 17, 3), output="sigmoid", missing=missing, rng=0) for missing in (True, False))
    one.fit(X, gaps, epochs=2, class_weight="balanced", progress=False)
    other.fit(X, LABELS, epochs=2, sample_weight=balanced, progress=False)
    assert_close(one.parameters, other.parameters, 1e-6)


@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        ([{1: 2.0}], ValueError, r"class_weight has 1 dictionaries; this network has 3 labels"),
        ([{2: 2.0}, {}, {}], ValueError, r"class_weight\[0\] has the class 2; those of this network are 0 to 1"),
        ([{1: -2.0}, {}, {}], ValueError, r"class_weight\[0\]\[1\] is -2"),
        ([1, 2, 3], TypeError, r"class_weight\[0\] is 1; it must be"),
        ("even", TypeError, r"class_weight is 'even'; for several labels it must be \"balanced\" or a list"),
    ],
)
def test_class_weights_of_labels_that_are_refused(value, error, message):
    net = Network((6, 17, 3), output="sigmoid", rng=0)
    with pytest.raises(error, match=message):
        net.fit(X, LABELS, epochs=1, class_weight=value)
    with pytest.raises(ValueError, match="class_weight needs labels that are 0 or 1"):
        net.fit(X, np.clip(Y, 0, 1), epochs=1, class_weight="balanced")


@pytest.mark.parametrize(
    ("net", "weights", "message"),
    [
        (
            Network((6, 17, 3)),
            np.ones((300, 2)),
            r"has shape \(300, 2\); it must be \(300,\), .* or \(300, 3\), one for",
        ),
        (Network((6, 17, 3)), WEIGHTS - 1, r"none may be negative"),
        (Network((6, 17, 3)), np.full((300, 3), np.inf), r"sample_weight\[0, 0\] is inf"),
        (Network((6, 3), output="softmax"), WEIGHTS, r"it must be \(300,\), .* outputs of a softmax have one loss"),
    ],
)
def test_weights_that_are_refused(net, weights, message):
    targets = np.eye(3)[RNG.integers(3, size=300)] if net.output == "softmax" else Y
    with pytest.raises(ValueError, match=message):
        net.loss(X, targets, weights)
