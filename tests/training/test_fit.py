"""fit between the epochs: history, validation, early stopping, callbacks, progress, Ctrl-C and divergence."""

import builtins
import os
import pickle
import sys
import warnings

import numpy as np
import pytest
from networks import Case, bits, data, network

import fastprop
from fastprop import SGD, Adam, History, Network
from fastprop.training import pace as paces
from fastprop.training import samples

CASE = Case("fit", (7, 20, 3), "relu", "softmax", 16)


@pytest.fixture
def net():
    return network(CASE)


@pytest.fixture
def rows():
    return data(CASE, 100)


def held_out(m=40):
    return data(CASE, m, seed=1)


def test_batches_are_accumulated_to_one_as_many_times_as_large(rows):
    """Bit for bit, with the batch at the end of an epoch; what is no whole number from 1 on is refused."""
    nets = [network(CASE) for _ in range(2)]
    histories = [
        nets[0].fit(*rows, epochs=3, batch_size=8, accumulate=4, optimizer=Adam(0.01), rng=0),
        nets[1].fit(*rows, epochs=3, batch_size=32, optimizer=Adam(0.01), rng=0),
    ]
    assert bits(nets[0].parameters) == bits(nets[1].parameters)
    assert histories[0].loss == histories[1].loss
    assert nets[0].optimizer.steps == 3 * 4
    for wrong in (0, -1, 1.5, "2", None):
        with pytest.raises((ValueError, TypeError), match="accumulate"):
            nets[0].fit(*rows, epochs=1, accumulate=wrong)


# ---- history -----------------------------------------------------------------------------------------------------


def test_history_has_one_entry_an_epoch(net, rows):
    history = net.fit(*rows, epochs=4, batch_size=16)
    assert isinstance(history, History)
    assert history.epochs == len(history.loss) == len(history.seconds) == len(history.samples_per_second) == 4
    assert all(type(value) is float for value in (*history.loss, *history.seconds, *history.samples_per_second))
    assert history.validation_loss == history.validation_accuracy == []
    assert history.best_epoch is None
    assert not history.interrupted


def test_speed_is_samples_by_seconds(net, rows):
    history = net.fit(*rows, epochs=3, batch_size=16)
    for seconds, speed in zip(history.seconds, history.samples_per_second, strict=True):
        assert speed == pytest.approx(100 / seconds)


def test_loss_is_the_mean_over_samples_not_over_batches(net, rows):
    """If the steps are too small to change anything, it is the loss of all rows: a ragged batch counts for its rows."""
    expected = net.loss(*rows)
    history = net.fit(*rows, epochs=1, batch_size=48, optimizer=SGD(lr=1e-12))
    assert history.loss[0] == pytest.approx(expected, rel=1e-6)
    weights = np.random.default_rng(0).uniform(0, 3, 100)
    expected = net.loss(*rows, weights)
    history = net.fit(*rows, epochs=1, batch_size=48, optimizer=SGD(lr=1e-12), sample_weight=weights)
    assert history.loss[0] == pytest.approx(expected, rel=1e-6)


def test_a_batch_in_which_nothing_weighs_changes_nothing(rows):
    """If all weights of the second batch are 0, it makes no step, and nothing is divided by zero."""
    weights = np.ones(100)
    weights[50:] = 0
    one, other = network(CASE), network(CASE)
    one.fit(*rows, epochs=1, batch_size=50, shuffle=False, sample_weight=weights, optimizer=SGD(0.1))
    other.fit(rows[0][:50], rows[1][:50], epochs=1, batch_size=50, shuffle=False, optimizer=SGD(0.1))
    assert bits(one.parameters) == bits(other.parameters)


def test_it_learns():
    """Exclusive or, and a circle, are learned."""
    net = Network((2, 16, 1), output="sigmoid", rng=0)
    X = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
    net.fit(X, [0, 1, 1, 0], epochs=1000, optimizer=Adam(lr=0.01))
    assert net.predict(X).round().ravel().tolist() == [0, 1, 1, 0]
    X = np.random.default_rng(0).uniform(-1, 1, (2000, 2))
    Y = (np.hypot(*X.T) < 0.7).astype(int)
    net = Network((2, 32, 2), output="softmax", rng=0)
    history = net.fit(X[:1500], Y[:1500], epochs=40, optimizer=Adam(0.01), validation=(X[1500:], Y[1500:]))
    assert history.validation_accuracy[-1] > 0.97


# ---- validation --------------------------------------------------------------------------------------------------


def test_validation_is_the_loss_and_the_accuracy_after_each_epoch(net, rows):
    X, Y = held_out()
    seen = []
    history = net.fit(*rows, epochs=3, batch_size=16, validation=(X, Y),
                      callbacks=[lambda epoch, history: seen.append((net.loss(X, Y), net.predict(X)))])  # fmt: skip
    assert history.validation_loss == [loss for loss, _ in seen]
    assert history.validation_accuracy == [np.mean(Y_hat.argmax(axis=1) == Y) for _, Y_hat in seen]


@pytest.mark.parametrize(("outputs", "output"), [(3, "softmax"), (1, "sigmoid"), (1, "identity"), (2, "sigmoid")])
def test_accuracy_is_there_where_the_targets_are_classes(outputs, output):
    case = Case("accuracy", (7, outputs), "relu", output, 16)
    net, (X, Y) = network(case), data(case, 50)
    history = net.fit(X, Y, epochs=1, validation=(X, Y))
    if output == "softmax":
        assert history.validation_accuracy == [np.mean(net.predict(X).argmax(axis=1) == Y)]
    elif outputs == 1 and output == "sigmoid":
        assert history.validation_accuracy == [np.mean((net.predict(X) > 0.5) == Y)]
    else:
        assert history.validation_accuracy == []
    assert len(history.validation_loss) == 1


def test_validation_changes_no_bit(rows):
    one, other = network(CASE), network(CASE)
    one.fit(*rows, epochs=3, rng=0)
    other.fit(*rows, epochs=3, rng=0, validation=held_out())
    assert bits(one.parameters) == bits(other.parameters)


# ---- early stopping ----------------------------------------------------------------------------------------------


def overfit(patience, **options):
    """Few rows of random labels and a fast optimizer: the validation loss soon rises."""
    net, kept = network(CASE), []
    history = net.fit(*data(CASE, 30), epochs=200, batch_size=16, optimizer=Adam(0.03), validation=held_out(), rng=0,
                      early_stopping=patience, callbacks=[lambda *_: kept.append(net.parameters.copy())],
                      **options)  # fmt: skip
    return net, history, kept


@pytest.mark.parametrize("patience", [1, 5])
def test_early_stopping_goes_back_to_the_best_parameters(patience):
    net, history, kept = overfit(patience)
    best = int(np.argmin(history.validation_loss))
    assert history.best_epoch == best
    assert history.epochs == best + patience + 1 < 200
    assert bits(net.parameters) == bits(kept[best])
    assert net.loss(*held_out()) == history.validation_loss[best]


def test_early_stopping_that_never_fires_keeps_the_best_too():
    net, history, kept = overfit(1000)
    assert history.epochs == 200
    assert history.best_epoch == int(np.argmin(history.validation_loss)) < 199
    assert bits(net.parameters) == bits(kept[history.best_epoch])


def test_ctrl_c_with_early_stopping_goes_back_too():
    net, kept = network(CASE), []

    def callback(epoch, history):
        kept.append(net.parameters.copy())
        if epoch == 30:
            raise KeyboardInterrupt

    history = net.fit(*data(CASE, 30), epochs=200, batch_size=16, optimizer=Adam(0.03), validation=held_out(), rng=0,
                      early_stopping=1000, callbacks=[callback])  # fmt: skip
    assert history.interrupted
    assert history.best_epoch < 30
    assert bits(net.parameters) == bits(kept[history.best_epoch])


# ---- a fraction held out, and weights of classes -----------------------------------------------------------------


@pytest.mark.parametrize("one_hot", [False, True])
def test_a_fraction_is_held_out_of_every_class_alike(one_hot):
    """A quarter of 200, 100 and 20 rows of the classes, for any seed. Every row is in exactly one of the parts."""
    labels = np.repeat([0, 1, 2], [200, 100, 20])
    Y = np.eye(3)[labels] if one_hot else labels
    for seed in range(5):
        out, rest = samples.split(Y, round(0.25 * len(Y)), np.random.default_rng(seed))
        assert np.abs(np.bincount(labels[out]) - [50, 25, 5]).max() <= 1
        np.testing.assert_array_equal(np.sort(np.concatenate([out, rest])), np.arange(320))
    again, other = (samples.split(Y, round(0.25 * len(Y)), np.random.default_rng(seed))[0] for seed in (0, 1))
    assert not np.array_equal(again, other)


def test_a_fraction_of_other_targets_is_drawn_at_random():
    out, rest = samples.split(np.linspace(0, 1, 100)[:, None], 30, np.random.default_rng(0))
    assert (len(out), len(rest)) == (30, 70)
    assert not np.array_equal(np.diff(out), np.full(29, out[1] - out[0]))


def test_fit_measures_what_it_holds_out_and_trains_on_the_rest(rows):
    X, Y = rows
    net, other = network(CASE), network(CASE)
    history = net.fit(X, Y, epochs=3, batch_size=16, validation=0.2, rng=5)
    seed = int(np.random.default_rng(5).integers(2**62))  # of the fit, for both its draws
    out, rest = samples.split(Y, round(0.2 * len(Y)), np.random.default_rng(seed))
    expected = other.fit(X[rest], Y[rest], epochs=3, batch_size=16, validation=(X[out], Y[out]), rng=5)
    assert history.validation_loss == expected.validation_loss
    assert history.loss == expected.loss
    assert bits(net.parameters) == bits(other.parameters)


@pytest.mark.parametrize("one_hot", [False, True])
def test_class_weights_are_sample_weights(rows, one_hot):
    X, labels = rows[0], np.repeat([0, 1, 2], [70, 20, 10])
    Y, beside = np.eye(3)[labels] if one_hot else labels, np.linspace(0.5, 1, 100)
    by_class = {0: 0.5, 2: 3}
    for class_weight, sample_weight, weights in (
        ("balanced", None, np.array([100 / 3 / 70, 100 / 3 / 20, 100 / 3 / 10])[labels]),
        (by_class, None, np.array([0.5, 1, 3])[labels]),
        (by_class, beside, np.array([0.5, 1, 3])[labels] * beside),
    ):
        one, other = network(CASE), network(CASE)
        one.fit(X, Y, epochs=2, rng=0, class_weight=class_weight, sample_weight=sample_weight)
        other.fit(X, Y, epochs=2, rng=0, sample_weight=weights)
        np.testing.assert_allclose(one.parameters, other.parameters, rtol=1e-6, atol=1e-7)


def test_class_weights_need_classes():
    net = Network((2, 1))
    with pytest.raises(ValueError, match="class_weight needs targets that are classes"):
        net.fit(np.ones((4, 2)), np.linspace(0, 1, 4), epochs=1, class_weight="balanced")


# ---- a picture ---------------------------------------------------------------------------------------------------


def test_the_history_can_be_seen(net, rows, tmp_path):
    """The figure has the losses of every epoch as lines, and is saved to the given path."""
    pytest.importorskip("matplotlib")
    history = net.fit(*rows, epochs=4, validation=held_out(), early_stopping=3)
    figure = history.plot(tmp_path / "history.png")
    losses, accuracy = figure.axes
    assert losses.lines[0].get_ydata().tolist() == history.loss
    assert losses.lines[1].get_ydata().tolist() == history.validation_loss
    assert accuracy.lines[0].get_ydata().tolist() == history.accuracy
    assert accuracy.lines[1].get_ydata().tolist() == history.validation_accuracy
    assert (tmp_path / "history.png").read_bytes().startswith(b"\x89PNG")


def test_without_matplotlib_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ModuleNotFoundError, match=r"plots need matplotlib.*fastprop-cpu\[plot\]"):
        History(loss=[1.0]).plot()


# ---- callbacks ---------------------------------------------------------------------------------------------------


def test_callbacks_are_called_in_order_with_epoch_and_history(net, rows):
    calls = []
    history = net.fit(*rows, epochs=2, callbacks=[lambda e, h: calls.append(("a", e, h.epochs, h)),
                                                  lambda e, h: calls.append(("b", e, h.epochs, h))])  # fmt: skip
    assert [call[:3] for call in calls] == [("a", 0, 1), ("b", 0, 1), ("a", 1, 2), ("b", 1, 2)]
    assert all(call[3] is history for call in calls)


def test_a_true_result_ends_the_fit_after_all_callbacks(net, rows):
    calls = []
    history = net.fit(*rows, epochs=50, callbacks=[lambda e, h: e == 3, lambda e, h: calls.append(e)])
    assert history.epochs == 4
    assert calls == [0, 1, 2, 3]
    assert not history.interrupted


def test_a_pair_is_called_every_so_many_steps(net, rows):
    """Callbacks every few steps count across epochs, beside those after each epoch, and see the mean cost so far."""
    calls = []
    history = net.fit(*rows, epochs=3, batch_size=10, shuffle=False, callbacks=[
        (4, lambda step, h: calls.append((step, h.epochs, h.running_loss))), lambda e, h: calls.append(e),
        (15, lambda step, h: calls.append(-step)),
    ])  # fmt: skip
    assert [call if isinstance(call, int) else call[:2] for call in calls] == [
        (4, 0), (8, 0), 0, (12, 1), -15, (16, 1), (20, 1), 1, (24, 2), (28, 2), -30, 2,
    ]  # fmt: skip
    assert calls[6][2] == pytest.approx(history.loss[1])
    assert calls[8][2] != calls[6][2]


def test_pairs_do_not_change_what_is_learnt(rows):
    one, other = network(CASE), network(CASE)
    one.fit(*rows, epochs=3, batch_size=10, rng=0)
    other.fit(*rows, epochs=3, batch_size=10, rng=0, callbacks=[(1, lambda *_: None), (7, lambda *_: None)])
    assert bits(one.parameters) == bits(other.parameters)


def test_batches_that_do_not_count(net, rows):
    """If the first batches have weights of 0, there is no mean yet, and nothing is divided by zero."""
    seen, weights = [], np.repeat([0.0, 1.0], [60, 40])
    net.fit(*rows, epochs=1, batch_size=20, shuffle=False, sample_weight=weights,
            callbacks=[(1, lambda step, h: seen.append(h.running_loss))])  # fmt: skip
    assert seen[:3] == [0.0] * 3
    assert seen[3] > 0
    assert net.fit(*rows, epochs=1, batch_size=20, shuffle=False, sample_weight=weights,
                   callbacks=[(1, lambda *_: True)]).running_loss == 0.0  # fmt: skip


def test_a_true_result_of_a_pair_ends_the_fit_within_its_epoch(net, rows):
    history = net.fit(*rows, epochs=50, batch_size=10, callbacks=[(13, lambda step, h: True)])
    assert history.epochs == 1  # the second was not whole
    assert net.optimizer.steps == 13
    assert net.engines.last.batch == 10


def test_an_error_in_a_callback_comes_out_and_the_network_goes_on(net, rows):
    def callback(epoch, history):
        raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        net.fit(*rows, epochs=5, callbacks=[callback])
    assert np.isfinite(net.parameters).all()
    assert net.fit(*rows, epochs=1).epochs == 1


def test_a_callback_may_look_at_the_network_with_everything_it_has(rows):
    """forward, backward, predict, loss, gradient_check, pickle: none of them changes a bit of the fit."""
    quiet, nosy, optimizer = network(CASE), network(CASE), Adam()

    def callback(epoch, history):
        X, Y = data(CASE, 11 + 600 * epoch, seed=epoch)
        nosy.forward(X)
        nosy.backward(Y)
        nosy.predict(X[:5])
        nosy.loss(X, Y)
        nosy.gradient_check(X[:3], Y[:3], most=1)
        pickle.loads(pickle.dumps(nosy)).fit(X, Y, epochs=1)
        fastprop.set_num_threads(1 + epoch)

    quiet.fit(*rows, epochs=4, batch_size=16, optimizer=Adam(), rng=0)
    nosy.fit(*rows, epochs=4, batch_size=16, optimizer=optimizer, rng=0, callbacks=[callback])
    assert bits(quiet.parameters) == bits(nosy.parameters)


@pytest.mark.parametrize("size", [1, 16, 100, 600])
def test_a_callback_may_train_the_network_itself(rows, size):
    """Steps of any batch size with the same optimizer, between two epochs, act as if they were between two fits."""
    inside, outside = network(CASE), network(CASE)
    first, second = Adam(), Adam()
    X, Y = data(CASE, size, seed=3)
    inside.fit(*rows, epochs=3, batch_size=16, optimizer=first, shuffle=False,
               callbacks=[lambda e, h: inside.train_step(X, Y, first) < 0])  # fmt: skip
    for _ in range(3):
        outside.fit(*rows, epochs=1, batch_size=16, optimizer=second, shuffle=False)
        outside.train_step(X, Y, second)
    assert bits(inside.parameters) == bits(outside.parameters)
    assert first.steps == second.steps


def test_a_callback_may_fit_the_network_itself(rows):
    inside, outside = network(CASE), network(CASE)
    first, second = Adam(), Adam()

    def callback(epoch, history):
        inside.fit(*held_out(), epochs=1, optimizer=first, shuffle=False)

    inside.fit(*rows, epochs=2, batch_size=16, optimizer=first, shuffle=False, callbacks=[callback])
    for _ in range(2):
        outside.fit(*rows, epochs=1, batch_size=16, optimizer=second, shuffle=False)
        outside.fit(*held_out(), epochs=1, optimizer=second, shuffle=False)
    assert bits(inside.parameters) == bits(outside.parameters)


def test_a_callback_may_change_the_learning_rate(rows):
    inside, outside = network(CASE), network(CASE)
    first, second = SGD(0.1), SGD(0.1)

    def halve(epoch, history):
        first.lr /= 2

    inside.fit(*rows, epochs=3, batch_size=16, optimizer=first, shuffle=False, callbacks=[halve])
    for _ in range(3):
        outside.fit(*rows, epochs=1, batch_size=16, optimizer=second, shuffle=False)
        second.lr /= 2
    assert bits(inside.parameters) == bits(outside.parameters)


# ---- progress ----------------------------------------------------------------------------------------------------


def test_a_bar_that_is_asked_for_without_tqdm_names_the_extra(net, rows, monkeypatch):
    load = builtins.__import__

    def without_tqdm(name, *arguments, **options):
        if name.split(".")[0] == "tqdm":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return load(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", without_tqdm)
    before = bits(net.parameters)
    with pytest.raises(ModuleNotFoundError, match=r"progress=True needs tqdm.*fastprop-cpu\[progress\]"):
        net.fit(*rows, epochs=1, progress=True)
    assert bits(net.parameters) == before
    assert net.fit(*rows, epochs=1, progress=None).epochs == 1
    assert net.fit(*rows, epochs=1, progress=False).epochs == 1


def test_a_bar_shows_the_samples_and_the_loss(net, rows, capsys):
    pytest.importorskip("tqdm")
    history = net.fit(*rows, epochs=3, batch_size=16, progress=True, validation=held_out())
    shown = capsys.readouterr().err
    assert "300/300" in shown
    assert f"loss {history.loss[-1]:.4f}" in shown
    assert "epoch 3/3" in shown
    assert f", accuracy {history.accuracy[-1]:.2%}, validation accuracy {history.validation_accuracy[-1]:.2%}" in shown


def test_nobody_looking_sees_no_bar(net, rows, capsys):
    net.fit(*rows, epochs=1)
    net.fit(*rows, epochs=1, progress=False)
    assert capsys.readouterr().err == ""


# ---- Ctrl-C ------------------------------------------------------------------------------------------------------


def test_ctrl_c_between_epochs_returns_the_history(net, rows):
    def callback(epoch, history):
        if epoch == 2:
            raise KeyboardInterrupt

    history = net.fit(*rows, epochs=100, batch_size=16, callbacks=[callback])
    assert history.interrupted
    assert history.epochs == 3
    assert np.isfinite(net.predict(rows[0])).all()
    assert net.fit(*rows, epochs=2).epochs == 2


INTERRUPTED = """
import os, signal, sys, threading
import numpy as np
from fastprop import SGD, Network

signal.signal(signal.SIGINT, signal.default_int_handler)  # a child of a background job would ignore it
epochs, m, batch = map(int, sys.argv[1:])
net = Network((8, 64, 64, 1), output="sigmoid", rng=0)
rng = np.random.default_rng(0)
X, Y = rng.standard_normal((m, 8), dtype=np.float32), rng.integers(2, size=m)
net.fit(X[:100], Y[:100], epochs=1, batch_size=batch)
threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
history = net.fit(X, Y, epochs=epochs, batch_size=batch, optimizer=SGD(1e-3))
assert history.interrupted
assert history.epochs < epochs
assert len(history.loss) == len(history.seconds) == len(history.samples_per_second)
assert np.isfinite(net.predict(X[:100])).all()
assert net.fit(X[:100], Y[:100], epochs=2).epochs == 2
print("goes on")
"""


@pytest.mark.skipif(os.name == "nt", reason="there, os.kill ends the process")
@pytest.mark.parametrize(
    ("epochs", "m", "batch"),
    [(1_000_000, 1000, 100), pytest.param(1, 3_000_000, 1, marks=pytest.mark.slow)],
    ids=["many epochs", "one long epoch"],
)
def test_a_real_ctrl_c_ends_the_fit_before_its_time(run_python, epochs, m, batch):
    """An epoch that would take ten seconds is left in the middle, between two slices."""
    assert run_python(INTERRUPTED, epochs, m, batch) == "goes on\n"


# ---- divergence --------------------------------------------------------------------------------------------------


def test_divergence_is_said_and_ends_the_fit():
    case = Case("diverges", (3, 20, 2), "relu", "identity", 16)
    net, (X, Y) = network(case), data(case, 200)
    with pytest.warns(RuntimeWarning, match=r"was stopped before that step.* Lower the learning rate") as caught:
        history = net.fit(100 * X, Y, epochs=1000, batch_size=16, optimizer=SGD(lr=10))
    assert history.epochs < 1000
    assert not np.isfinite(history.loss[-1])
    assert not history.interrupted
    assert caught[0].filename == __file__, "the warning points to the line that called fit"


def test_a_fit_that_diverged_is_not_saved(tmp_path):
    """The last checkpoint is from before the divergence, and the fit cannot be resumed."""
    case, path = Case("diverges", (3, 20, 2), "relu", "identity", 16), tmp_path / "net"
    net, (X, Y), optimizer = network(case), data(case, 200), SGD(lr=0.01)

    def raise_the_rate(epoch, history):
        optimizer.lr = 1e6 if epoch == 2 else optimizer.lr

    with pytest.warns(RuntimeWarning, match="diverged"):
        history = net.fit(X, Y, epochs=9, batch_size=16, optimizer=optimizer,
                          callbacks=[raise_the_rate, fastprop.Checkpoint(path)])  # fmt: skip
    assert len(history.loss) == 4
    assert Network.load(path).fit_state.history.loss == history.loss[:3]
    with pytest.raises(ValueError, match="there is nothing to resume"):
        net.fit(X, Y, epochs=9, batch_size=16, resume=True)


def test_labels_that_are_written_to_while_it_trains_are_safe():
    """Labels are read from the user's array without a copy; labels that become invalid belong to no class."""
    case = Case("labels", (3, 20, 5), "relu", "softmax", 16)
    (X, _), labels = data(case, 200), np.arange(200) % 5
    for value in (5, -1, 10**9, -(2**63)):

        def spoil(steps, history, value=value):
            labels[:] = value

        network(case).fit(X, labels, epochs=2, batch_size=16, callbacks=[(1, spoil)])
        labels[:] = 0


def test_a_fit_that_is_refused_leaves_optimizer_and_network(tmp_path):
    """An optimizer that made no step belongs to no network."""
    case = Case("refused", (3, 20, 2), "relu", "identity", 16)
    net, other, (X, Y) = network(case), Network((3, 9, 2), rng=1), data(case, 50)
    net.fit(X, Y, epochs=1)
    run, optimizer, state = net.fit_state, net.optimizer, net.generator.bit_generator.state
    adam = Adam()
    with pytest.raises(OSError, match="nowhere"):
        net.fit(X, Y, epochs=1, optimizer=adam, callbacks=[fastprop.Checkpoint(tmp_path / "nowhere" / "net")])
    for call in (net.fit, net.train_step):
        with pytest.raises(ValueError, match="rates are finite and at least 0"):
            call(X, Y, optimizer=SGD(lambda step: -1.0), **({"epochs": 1} if call == net.fit else {}))
    assert net.fit_state is run
    assert net.optimizer is optimizer
    assert net.generator.bit_generator.state == state
    other.fit(X, Y, epochs=1, optimizer=adam)
    with pytest.raises(ValueError, match="holds the moments of another network"):
        net.fit(X, Y, epochs=1, optimizer=adam)


def test_divergence_with_early_stopping_goes_back_to_the_best():
    case = Case("diverges", (3, 20, 2), "relu", "identity", 16)
    net, (X, Y), optimizer = network(case), data(case, 200), SGD(lr=0.01)

    def raise_the_rate(epoch, history):
        optimizer.lr = 1e6 if epoch == 2 else optimizer.lr

    with pytest.warns(RuntimeWarning, match="diverged"):
        history = net.fit(X, Y, epochs=100, batch_size=16, optimizer=optimizer, validation=(X, Y), early_stopping=50,
                          callbacks=[raise_the_rate])  # fmt: skip
    assert history.best_epoch == 2
    assert net.loss(X, Y) == history.validation_loss[2]


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("batch", [1, 16, 40, 700], ids=["one sample", "panels", "ragged", "parts"])
@pytest.mark.parametrize(
    "make",
    [lambda: SGD(lr=30.0), lambda: SGD(30.0, momentum=0.5), lambda: SGD(30.0, clip_norm=1e30), lambda: Adam(1e12)],
    ids=["sgd", "momentum", "clipped", "adam"],
)
def test_divergence_leaves_the_parameters_of_the_step_before(make, batch, threads, eager_threads):
    """The step whose cost is not finite changes nothing, and is the one that the warning names."""
    fastprop.set_num_threads(threads)
    net, (X, Y) = Network((3, 20, 2), rng=0), data(Case("diverges", (3, 20, 2), "relu", "identity", 16), 700)
    optimizer, after = make(), {}

    def keep(steps, history):
        after[steps] = net.parameters.copy()

    with pytest.warns(RuntimeWarning, match="diverged") as caught:
        history = net.fit(X, Y, epochs=1000, batch_size=batch, optimizer=optimizer, callbacks=[(1, keep)])
    per_epoch = -(-700 // batch)
    epoch, step = divmod(optimizer.steps, per_epoch)
    assert f"in epoch {epoch + 1}, at step {step + 1} of {per_epoch}" in str(caught[0].message)
    assert history.epochs == epoch + 1
    assert not np.isfinite(history.loss[-1])
    assert max(after) == optimizer.steps
    assert np.isfinite(net.parameters).all()
    np.testing.assert_array_equal(net.parameters, after[optimizer.steps])


@pytest.mark.parametrize(
    ("sizes", "batch", "settings"),
    [
        ((3, 20, 2), 16, {}),
        ((3, 20, 2), 700, {}),
        ((3, 20, 2), 16, {"dropout": 0.5}),
        ((3, 20, 2), 16, {"l2": 1.0}),
        ((2000, 2000, 2), 700, {}),
    ],
    ids=["panels", "parts", "dropout", "l2", "chunks"],
)
def test_divergence_within_a_slice_ends_it_there(sizes, batch, settings, monkeypatch):
    """All steps of an epoch in one compiled call, or each in its own, end the same."""
    X, Y = data(Case("diverges", sizes, "relu", "identity", 16), 700)
    ends = []
    for seconds in (0.0, 1e9):
        monkeypatch.setattr(paces, "SLICE_SECONDS", seconds)
        net, optimizer = Network(sizes, rng=0, **settings), SGD(lr=30.0)
        with pytest.warns(RuntimeWarning, match="diverged") as caught:
            history = net.fit(X, Y, epochs=1000, batch_size=batch, optimizer=optimizer)
        ends.append((bits(net.parameters), optimizer.steps, str(caught[0].message), history.epochs))
        assert np.isfinite(net.parameters).all()
    assert ends[0] == ends[1]


def test_a_step_whose_cost_is_not_finite_changes_nothing():
    net, optimizer = Network((3, 20, 2), rng=0), Adam()
    X, Y = data(Case("diverges", (3, 20, 2), "relu", "identity", 16), 16)
    net.train_step(X, Y, optimizer)
    before, moments = net.parameters.copy(), optimizer.moments.copy()
    assert not np.isfinite(net.train_step(1e30 * X, Y, optimizer))
    np.testing.assert_array_equal(net.parameters, before)
    np.testing.assert_array_equal(optimizer.moments, moments)
    assert optimizer.steps == 1
    assert np.isfinite(net.train_step(X, Y, optimizer))
    assert optimizer.steps == 2


def test_no_warning_where_all_is_well(net, rows):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        net.fit(*rows, epochs=3)


# ---- optimizers --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [Adam, lambda: SGD(0.1, momentum=0.9)], ids=["adam", "momentum"])
def test_an_optimizer_with_moments_belongs_to_one_network(make, rows):
    optimizer, first, second = make(), network(CASE), network(CASE)
    first.fit(*rows, epochs=1, optimizer=optimizer)
    moments, before = optimizer.moments.copy(), bits(second.parameters)
    for call in (
        lambda: second.fit(*rows, epochs=1, optimizer=optimizer),
        lambda: second.train_step(*rows, optimizer),
    ):
        with pytest.raises(ValueError, match=r"holds the moments of another network\. Make one"):
            call()
    assert bits(second.parameters) == before
    assert bits(optimizer.moments) == bits(moments)
    first.fit(*rows, epochs=1, optimizer=optimizer)  # its own may go on


def test_an_optimizer_of_a_network_that_is_gone_is_not_another_ones(rows):
    """A new network at the same address must not inherit the moments."""
    optimizer = Adam()
    network(CASE).train_step(*rows, optimizer)
    with pytest.raises(ValueError, match="another network"):
        network(CASE).train_step(*rows, optimizer)


def test_plain_sgd_may_train_any_network(rows):
    optimizer = SGD(0.1)
    one, other, alone = network(CASE), network(CASE, rng=1), network(CASE, rng=1)
    one.train_step(*rows, optimizer)
    other.train_step(*rows, optimizer)
    alone.train_step(*rows, SGD(0.1))
    assert bits(other.parameters) == bits(alone.parameters)


def test_plain_sgd_writes_no_gradient(net, rows):
    """`gradients` are those of backward only, as the documentation of train_step says."""
    net.forward(rows[0])
    net.backward(rows[1])
    before = bits(net.gradients)
    net.train_step(*rows, SGD(0.1))
    net.fit(*rows, epochs=1)
    assert bits(net.gradients) == before


@pytest.mark.parametrize("make", [SGD, Adam, lambda: SGD(0.1, 0.9, True, 0.01)])
def test_an_optimizer_shows_its_settings(make):
    optimizer = make()
    assert repr(optimizer).startswith(f"{type(optimizer).__name__}(lr={optimizer.lr:g}, ")
    assert optimizer.steps == 0
    assert optimizer.moments is None
