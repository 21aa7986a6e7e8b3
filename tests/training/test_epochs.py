"""Epochs that one compiled call trains are those that Python ends one by one, bit for bit, with the same history."""

import gc
import time
import weakref

import numpy as np
import pytest
from networks import Case, bits, data, network
from optimizers import OPTIMIZERS, each_optimizer

import fastprop
from fastprop import SGD, Adam, Network, schedules
from fastprop.training import fit as fits
from fastprop.training import pace, samples

CASE = Case("epochs", (7, 20, 3), "relu", "softmax", 16)
EPOCHS = 7
# Whole and ragged batches, a batch of one sample, one batch of all rows, chunks of a batch, and no hidden layer.
CASES = (
    CASE,
    Case("ragged", (17, 33, 1), "tanh", "sigmoid", 33),
    Case("samples", (5, 9, 2), "relu", "identity", 1),
    Case("one-batch", (3, 8, 4), "sigmoid", "sigmoid", 100),
    Case("chunks", (6, 17, 3), "relu", "softmax", 700),
    Case("no-hidden", (3, 1), "relu", "identity", 17),
)
MEASURED = ("loss", "accuracy", "validation_loss", "validation_accuracy", "best_epoch", "running_loss")


def trained(case, make=lambda: Adam(0.01), ends_in_python=False, m=100, options=None, **arguments):
    """A network after a fit, and its history; a callback lets every epoch end in Python."""
    net, (X, Y) = network(case, **(options or {})), data(case, m)
    callbacks = [lambda epoch, history: False] if ends_in_python else []
    arguments = {"epochs": EPOCHS, "batch_size": case.batch, "rng": 3, "progress": False, **arguments}
    history = net.fit(X, Y, optimizer=make(), callbacks=callbacks, **arguments)
    return net, history


def assert_same(case, **arguments):
    """A fit is the same whether Python ends its epochs or compiled code does."""
    (one, first), (many, second) = (trained(case, ends_in_python=python, **arguments) for python in (True, False))
    assert bits(one.parameters) == bits(many.parameters)
    assert {name: getattr(first, name) for name in MEASURED} == {name: getattr(second, name) for name in MEASURED}
    assert len(second.seconds) == len(second.samples_per_second) == second.epochs
    assert one.optimizer.steps == many.optimizer.steps
    return second


@pytest.fixture
def calls(monkeypatch):
    """The numbers of steps of the compiled calls of fits."""
    made = []

    def train(self, *arguments, original=fits.Engine.train, **others):
        made.append(arguments[5][1] - arguments[5][0])
        return original(self, *arguments, **others)

    monkeypatch.setattr(fits.Engine, "train", train)
    return made


def test_one_call_trains_many_epochs(calls):
    _, history = trained(CASE, epochs=50)
    assert history.epochs == 50
    assert max(calls) > 7, "steps of an epoch"
    assert sum(calls) == 50 * 7


def test_the_time_of_each_epoch_is_measured_without_validation():
    """On one thread compiled code measures any number of rows; these take longer than an epoch of 7 steps by far."""
    fastprop.set_num_threads(1)
    large = data(CASE, 200_000, seed=1)
    trained(CASE, epochs=1)  # compiles
    started = time.perf_counter()
    _, history = trained(CASE, epochs=3, validation=large)
    elapsed = time.perf_counter() - started
    assert len(history.validation_loss) == len(history.seconds) == 3
    assert all(seconds > 0 for seconds in history.seconds)
    assert sum(history.seconds) < elapsed / 2


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
@pytest.mark.parametrize("shuffle", [True, False])
def test_on_all_kinds_of_batches(case, shuffle):
    assert_same(case, m=1500 if case.batch > 100 else 100, shuffle=shuffle)


@each_optimizer
def test_with_every_optimizer(name):
    assert_same(CASE, make=OPTIMIZERS[name].make)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_with_validation(case, dtype):
    history = assert_same(case, validation=data(case, 40, seed=1), options={"dtype": dtype})
    assert len(history.validation_loss) == EPOCHS
    assert len(history.validation_accuracy) == len(history.accuracy) == EPOCHS * network(case).architecture.classifies


def test_the_network_keeps_no_held_out_rows():
    net, (X, Y), (X_held_out, Y_held_out) = network(CASE), data(CASE, 100), data(CASE, 40, seed=1)
    net.fit(X, Y, epochs=2, validation=(X_held_out, Y_held_out), progress=False)
    kept = weakref.ref(X_held_out), weakref.ref(Y_held_out)
    del X_held_out, Y_held_out
    gc.collect()
    assert [reference() for reference in kept] == [None, None]


def test_with_validation_of_weighted_samples_and_a_fraction():
    weights = np.random.default_rng(0).uniform(0, 2, 40).astype(np.float32)
    assert_same(CASE, validation=(*data(CASE, 40, seed=1), weights))
    assert_same(CASE, validation=0.2)


def test_with_dropout_penalty_clipping_and_weights():
    weights = np.random.default_rng(0).uniform(0, 2, 100).astype(np.float32)
    assert_same(CASE, options={"dropout": 0.3, "l2": 0.01}, make=lambda: Adam(0.01, clip_norm=0.5),
                sample_weight=weights, validation=0.2)  # fmt: skip


@pytest.mark.parametrize("patience", [1, 2, 5])
def test_with_early_stopping(patience):
    """The rate is too high, so that the loss on held-out samples rises soon."""
    history = assert_same(CASE, make=lambda: Adam(0.1), epochs=60, early_stopping=patience, validation=0.3)
    assert history.epochs == history.best_epoch + patience + 1 < 60


@pytest.mark.parametrize("validation", [None, 0.3])
@pytest.mark.parametrize("cooldown", [0, 2])
def test_with_a_rate_that_falls_on_a_plateau(validation, cooldown):
    rates = []

    def make():
        lr = schedules.ReduceOnPlateau(0.1, factor=0.5, patience=2, cooldown=cooldown, threshold=0.05)
        rates.append(lr)
        return SGD(lr)

    assert_same(CASE, make=make, epochs=60, validation=validation)
    assert rates[0].rate == rates[1].rate < 0.1


def test_with_a_schedule():
    assert_same(CASE, make=lambda: SGD(schedules.cosine(0.1, 40)))


@pytest.mark.parametrize("seconds", [0.0, 1e-4])
def test_in_calls_that_end_within_an_epoch(monkeypatch, seconds):
    monkeypatch.setattr(pace, "SLICE_SECONDS", seconds)
    assert_same(CASE, validation=0.2, m=1000)


class Patient:
    """A callback that may be called late, and that ends the fit after some epochs."""

    def __init__(self, last):
        self.last, self.told = last, []

    @property
    def epochs_left(self):
        return self.last - len(self.told)

    def __call__(self, epoch, history):
        self.told.append((epoch, history.loss[epoch]))
        return len(self.told) == self.last


def test_a_callback_that_may_be_called_late_hears_of_every_epoch(calls):
    """One call trains all epochs up to the one after which the callback may end the fit, and no further."""
    net, (X, Y), patient, other = network(CASE), data(CASE, 100), Patient(9), Patient(20)
    history = net.fit(X, Y, epochs=50, batch_size=16, optimizer=Adam(0.01), rng=3, callbacks=[patient, other],
                      progress=False)  # fmt: skip
    assert patient.told == other.told == list(enumerate(history.loss))
    assert (history.epochs, sum(calls)) == (9, 9 * 7)
    assert max(calls) > 7, "steps of an epoch"
    one, first = trained(CASE, epochs=9, ends_in_python=True)
    assert bits(one.parameters) == bits(net.parameters)
    assert first.loss == history.loss


def test_a_callback_beside_one_that_may_be_called_late_has_each_epoch_end_in_python(calls):
    net, (X, Y), patient, seen = network(CASE), data(CASE, 100), Patient(9), []
    net.fit(X, Y, epochs=50, batch_size=16, progress=False,
            callbacks=[patient, lambda epoch, history: seen.append(history.epochs)])  # fmt: skip
    assert seen == [*range(1, 10)]
    assert max(calls) <= 7


@pytest.mark.parametrize("seconds", [0.0, 0.07])
def test_a_callback_that_may_be_called_late_hears_of_divergence_once(monkeypatch, seconds):
    """After the epochs before it, in calls of many epochs and in calls that end within one."""
    monkeypatch.setattr(pace, "SLICE_SECONDS", seconds)
    net, (X, Y), patient = network(CASE), data(CASE, 100), Patient(50)
    with pytest.warns(RuntimeWarning, match="diverged"):
        history = net.fit(X, Y, epochs=50, batch_size=16, optimizer=SGD(1e20), callbacks=[patient], progress=False)
    assert [epoch for epoch, _ in patient.told] == [*range(history.epochs)]
    np.testing.assert_equal([loss for _, loss in patient.told], history.loss)
    assert not np.isfinite(history.loss[-1])


def test_divergence_ends_the_call_at_its_step():
    with pytest.warns(RuntimeWarning, match="diverged") as first:
        python = trained(CASE, make=lambda: SGD(1e20), ends_in_python=True, epochs=40)
    with pytest.warns(RuntimeWarning, match="diverged") as second:
        compiled = trained(CASE, make=lambda: SGD(1e20), epochs=40)
    assert [str(warning.message) for warning in first] == [str(warning.message) for warning in second]
    assert bits(python[0].parameters) == bits(compiled[0].parameters)
    np.testing.assert_equal(python[1].loss, compiled[1].loss)
    assert python[1].accuracy == compiled[1].accuracy


def test_a_callback_that_trains_takes_no_step_from_the_next_epoch(monkeypatch):
    """Also where an epoch takes several calls."""
    monkeypatch.setattr(pace, "SLICE_SECONDS", 0.0)
    net, (X, Y), optimizer = network(CASE), data(CASE, 100), Adam()
    net.fit(X, Y, epochs=3, batch_size=16, optimizer=optimizer, progress=False,
            callbacks=[lambda epoch, history: net.train_step(X[:16], Y[:16], optimizer) < 0])  # fmt: skip
    assert optimizer.steps == 3 * 7 + 3


@pytest.mark.parametrize("n", [1, 2, 5])
@pytest.mark.parametrize("weighted", [False, True])
def test_accuracy_is_the_weighted_share_of_right_classes(n, weighted):
    rng = np.random.default_rng(0)
    net = Network((3, n), output="sigmoid" if n == 1 else "softmax", rng=0)
    X, weights = rng.standard_normal((50, 3)).astype(np.float32), rng.uniform(0, 2, 50).astype(np.float32)
    Y = rng.integers(2, size=(50, 1)) if n == 1 else rng.integers(n, size=50)
    given = net.architecture.check_weights(weights if weighted else None, net.architecture.check_targets(Y, 50))
    Y_hat = net.predict(X)
    right = (Y_hat > 0.5) == Y if n == 1 else Y_hat.argmax(axis=1) == Y
    expected = np.average(right.reshape(-1), weights=weights if weighted else None)
    targets = net.architecture.check_targets(Y, 50)
    assert samples.accuracy(Y_hat, targets, given) == pytest.approx(expected, rel=1e-12)
    if n > 1:
        assert samples.accuracy(Y_hat, np.eye(n, dtype=np.float32)[Y], given) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("row", [[3.0, 1.0, 3.0], [1.0, 2.0, 2.0], [-1.0, -1.0, -1.0], [-5.0, -7.0, -1.0]])
def test_of_equal_outputs_the_first_is_the_class(row):
    Y_hat = np.array([row], np.float32)
    for label in range(3):
        assert samples.accuracy(Y_hat, np.array([label])) == (label == np.argmax(row))
