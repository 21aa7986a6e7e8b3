"""Held-out data is measured with its weights: those of a fraction's rows, and those of validation=(X, Y, w)."""

import numpy as np
import pytest

from fastprop import Adam, Network

RNG = np.random.default_rng(0)
X = RNG.standard_normal((400, 6)).astype(np.float32)
LABELS = (X[:, 0] + X[:, 1] > 0).astype(int)
MISLABELLED = np.where(np.arange(400) % 2, LABELS, 1 - LABELS)
WEIGHTS = (np.arange(400) % 2).astype(np.float32)  # the right half counts


def trained(Y=MISLABELLED, **options):
    net = Network((6, 16, 2), output="softmax", rng=0)
    return net, net.fit(X, Y, epochs=30, batch_size=32, optimizer=Adam(0.01), progress=False, **options)


def test_rows_that_do_not_count_do_not_stop_a_fit():
    net, history = trained(sample_weight=WEIGHTS, validation=0.25, early_stopping=5)
    assert history.validation_loss[-1] < 0.2
    assert max(history.validation_accuracy) > 0.97
    assert np.mean(net.predict(X).argmax(axis=1) == LABELS) > 0.97


@pytest.mark.parametrize("class_weight", [None, "balanced", {1: 5.0}])
def test_a_fraction_is_measured_with_the_weights_of_its_rows(class_weight):
    """The loss and accuracy after the last epoch, from the definition."""
    weights = RNG.uniform(0, 3, 400).astype(np.float32)
    net, history = trained(sample_weight=weights, class_weight=class_weight, validation=0.25)
    balanced = 400 / (2 * np.bincount(MISLABELLED))
    of_class = {None: np.ones(2), "balanced": balanced}.get(str(class_weight or "") or None, np.array([1.0, 5.0]))
    total = (weights * of_class[MISLABELLED]).astype(np.float32)
    out = held_out_rows(net, total)
    assert history.validation_loss[-1] == pytest.approx(net.loss(X[out], MISLABELLED[out], total[out]), rel=1e-6)
    right = net.predict(X[out]).argmax(axis=1) == MISLABELLED[out]
    assert history.validation_accuracy[-1] == pytest.approx(np.average(right, weights=total[out]))


def held_out_rows(net, weights):
    from fastprop.training import samples

    return samples.split(MISLABELLED, 100, np.random.default_rng(net.fit_state.seed), weights)[0]


def test_a_fraction_holds_out_no_row_without_weight():
    weights = np.where(np.arange(400) < 40, 1.0, 0.0)
    net, _ = trained(sample_weight=weights, validation=0.5)
    from fastprop.training import samples

    out, rest = samples.split(MISLABELLED, 20, np.random.default_rng(net.fit_state.seed), weights)
    assert (out < 40).all()
    assert len(out) == 20
    assert len(rest) == 380
    with pytest.raises(ValueError, match=r"validation is 0\.1 of 1 rows with a weight above 0; a fraction must hold"):
        trained(sample_weight=(np.arange(400) == 7).astype(float), validation=0.1)


def test_validation_data_may_have_weights():
    weights = RNG.uniform(0, 3, 100)
    net, history = trained(validation=(X[:100], LABELS[:100], weights))
    assert history.validation_loss[-1] == pytest.approx(net.loss(X[:100], LABELS[:100], weights), rel=1e-6)
    right = net.predict(X[:100]).argmax(axis=1) == LABELS[:100]
    assert history.validation_accuracy[-1] == pytest.approx(np.average(right, weights=weights), rel=1e-5)
    _, without = trained(validation=(X[:100], LABELS[:100], None))
    _, pair = trained(validation=(X[:100], LABELS[:100]))
    assert without.validation_loss == pair.validation_loss


@pytest.mark.parametrize("weights", [np.ones(99), -np.ones(100), np.zeros(100)])
def test_weights_of_validation_data_are_checked(weights):
    with pytest.raises(ValueError, match="validation sample_weight"):
        trained(validation=(X[:100], LABELS[:100], weights))


def test_without_weights_the_rows_are_those_of_before():
    """The same draw as without weights, and as with weights of 1."""
    _, plain = trained(validation=0.25)
    _, ones = trained(validation=0.25, sample_weight=np.ones(400))
    assert plain.validation_loss == ones.validation_loss


def test_a_resumed_fit_measures_the_same_rows():
    options = {"sample_weight": WEIGHTS, "validation": 0.25, "early_stopping": 50}
    whole, history = trained(**options)
    part = Network((6, 16, 2), output="softmax", rng=0)
    part.fit(X, MISLABELLED, epochs=7, batch_size=32, optimizer=Adam(0.01), progress=False, **options)
    again = part.fit(X, MISLABELLED, epochs=30, batch_size=32, progress=False, resume=True, **options)
    assert again.validation_loss == history.validation_loss
    np.testing.assert_array_equal(part.parameters, whole.parameters)
