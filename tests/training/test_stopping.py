"""Early stopping on each monitor, with a least improvement, and metrics of the user's own."""

import math

import numpy as np
import pytest
from networks import bits

from fastprop import Adam, EarlyStopping, Network

RNG = np.random.default_rng(0)
X = RNG.normal(size=(300, 5))
LABELS = (X[:, 0] + 0.5 * RNG.normal(size=300) > 0).astype(int) + (X[:, 1] > 1)
HELD_OUT = X[200:], LABELS[200:]
CALLS_BETWEEN = [lambda *_: False]  # with which each epoch ends in Python


def errors(Y, Y_hat):
    return np.sum(Y_hat.argmax(axis=1) != Y)


def mean_largest(Y, Y_hat):
    return Y_hat.max(axis=1).mean()


def fit(stopping, epochs=60, callbacks=(), net=None, **settings):
    net = net or Network((5, 16, 3), output="softmax", rng=0)
    settings = {"validation": HELD_OUT, "optimizer": Adam(0.03), "batch_size": 32, "rng": 1} | settings
    return net, net.fit(
        X[:200], LABELS[:200], epochs=epochs, early_stopping=stopping, callbacks=callbacks, progress=False, **settings
    )


def monitored(history, name):
    return history.metrics[name] if name in history.metrics else getattr(history, name)


def expected_epochs(values, patience, min_delta, sign):
    """The number of epochs by then, and the best of them, by a loop over what was monitored."""
    best, at = math.inf, -1
    for epoch, value in enumerate(values):
        if sign * value < best - min_delta:
            best, at = sign * value, epoch
        if epoch - at >= patience:
            return epoch + 1, at
    return len(values), at


MONITORS = {
    "loss": (EarlyStopping(3, 0.005, "loss"), 1),
    "accuracy": (EarlyStopping(4, 0.001, "accuracy"), -1),
    "validation_loss": (EarlyStopping(3, 0.002), 1),
    "validation_accuracy": (EarlyStopping(4, 0.001, "validation_accuracy"), -1),
    "errors": (EarlyStopping(4, monitor=errors, mode="min"), 1),
    "mean_largest": (EarlyStopping(2, 0.01, "mean_largest", "max"), -1),
}


@pytest.mark.parametrize("name", MONITORS)
def test_a_fit_ends_after_its_patience_with_the_best_parameters(name):
    stopping, sign = MONITORS[name]
    metrics = {"mean_largest": mean_largest}
    _, whole = fit(None, metrics=metrics | {"errors": errors})
    count, best = expected_epochs(monitored(whole, name), stopping.patience, stopping.min_delta, sign)
    net, history = fit(stopping, metrics=metrics)
    assert 1 < count < 60
    assert (history.epochs, history.best_epoch) == (count, best)
    assert monitored(history, name) == monitored(whole, name)[:count]
    at_best, _ = fit(None, epochs=best + 1)
    assert bits(net.parameters) == bits(at_best.parameters)


@pytest.mark.parametrize("min_delta", [0.0, 1e-3, 0.05])
def test_compiled_epochs_stop_where_those_of_python_do(min_delta):
    stopping = EarlyStopping(3, min_delta)
    one, other = fit(stopping), fit(stopping, callbacks=CALLS_BETWEEN)
    assert bits(one[0].parameters) == bits(other[0].parameters)
    assert one[1].validation_loss == other[1].validation_loss
    assert one[1].best_epoch == other[1].best_epoch


def test_a_number_is_a_patience_with_the_validation_loss():
    one, other = fit(3), fit(EarlyStopping(3))
    assert bits(one[0].parameters) == bits(other[0].parameters)


def test_training_loss_and_accuracy_need_no_validation_data():
    for stopping in (EarlyStopping(2, 0.05, "loss"), EarlyStopping(2, 0.05, "accuracy")):
        _, history = fit(stopping, validation=None)
        assert history.epochs < 60
        assert not history.validation_loss


def test_metrics_are_those_of_the_validation_data():
    """After each epoch; the last ones are of the parameters that the network ends with."""
    net, history = fit(None, epochs=4, metrics={"errors": errors, "share": lambda Y, Y_hat: (Y_hat > 0.5).mean()})
    assert {name: len(values) for name, values in history.metrics.items()} == {"errors": 4, "share": 4}
    Y_hat = net.predict(HELD_OUT[0])
    assert history.metrics["errors"][-1] == errors(HELD_OUT[1], Y_hat)
    assert history.metrics["errors"][-1] == pytest.approx(100 * (1 - history.validation_accuracy[-1]))
    assert "errors=" in repr(history)
    assert "errors" in history._repr_html_()
    assert history.to_dict()["metrics"] == history.metrics
    without, _ = fit(None, epochs=4)
    assert bits(net.parameters) == bits(without.parameters)


def test_a_resumed_fit_goes_on_with_the_metrics(tmp_path):
    pytest.importorskip("safetensors", reason="files need safetensors (extra save)")
    stopping = EarlyStopping(8, monitor=errors, mode="min")
    expected, whole = fit(stopping)
    net, _ = fit(stopping, epochs=5)
    net.save(tmp_path / "net.safetensors")
    again = Network.load(tmp_path / "net.safetensors")
    again, history = fit(stopping, net=again, optimizer=None, resume=True)
    assert history.metrics == whole.metrics
    assert history.best_epoch == whole.best_epoch
    assert bits(again.parameters) == bits(expected.parameters)


REFUSED = {
    "patience": (lambda: EarlyStopping(0), ValueError, "patience is 0; it must be at least 1"),
    "delta": (lambda: EarlyStopping(1, -0.1), ValueError, "min_delta is -0.1; it must be finite, at least 0"),
    "mode of a function": (lambda: EarlyStopping(1, monitor=errors), ValueError, "mode is None; .* must be .min. or"),
    "mode": (lambda: EarlyStopping(1, mode="best"), ValueError, "mode is 'best'; it must be one of min, max"),
    "monitor": (lambda: EarlyStopping(1, monitor=3), TypeError, "monitor is 3; it must be a name or a function"),
    "unknown": (lambda: fit(EarlyStopping(1, monitor="f1", mode="max")), ValueError,
                "monitor is 'f1'; it must be one of loss, accuracy, validation_loss, validation_accuracy, or"),
    "no validation": (lambda: fit(3, validation=None), ValueError, "'validation_loss' needs validation data"),
    "metrics without": (lambda: fit(None, validation=None, metrics={"a": errors}), ValueError, "metrics need valid"),
    "metrics": (lambda: fit(None, metrics=[errors]), TypeError, "it must be a dictionary"),
    "a metric": (lambda: fit(None, metrics={"a": 3}), TypeError, "metrics has 'a': 3; it must hold"),
    "a name": (lambda: fit(None, metrics={"loss": errors}), ValueError, "'loss', which the history has already"),
    "the accuracy": (lambda: fit(None, metrics={"accuracy": errors}), ValueError, "'accuracy', which the history has"),
    "another of that name": (
        lambda: fit(EarlyStopping(1, monitor=errors, mode="min"), metrics={"errors": mean_largest}),
        ValueError, "metrics has 'errors', the name of the function that early stopping monitors",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused(name):
    call, error, message = REFUSED[name]
    with pytest.raises(error, match=message):
        call()


def test_an_accuracy_needs_classes():
    net = Network((5, 3), rng=0)
    before = net.parameters.copy()
    with pytest.raises(ValueError, match="'identity' outputs are no classes"):
        net.fit(X, X[:, :3], epochs=1, validation=0.2, early_stopping=EarlyStopping(3, monitor="validation_accuracy"))
    np.testing.assert_array_equal(net.parameters, before)
