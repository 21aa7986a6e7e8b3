"""Files of networks: loading restores what was saved, and a resumed fit has the bits of one that never stopped."""

import copy
import math
import os
import pickle
import warnings

import numpy as np
import pytest
from optimizers import OPTIMIZERS, SCHEDULES, each_optimizer, make_schedule
from saved_runs import ROWS, SIZES, data, fit, network, same, through_a_file

from fastprop import SGD, Activation, Adam, AdamW, Checkpoint, Loss, Network, schedules

# The labels are random: some of these fits end no better than a constant, and say so.
pytestmark = pytest.mark.filterwarnings("ignore:after .* epochs the:RuntimeWarning")

safetensors = pytest.importorskip("safetensors.numpy", reason="files need safetensors (extra save)")


def assert_resumes(make, path):
    """A fit that is saved after 7 of 20 epochs and resumed from the file is the fit that ran through, bit for bit."""
    whole, parts = network(), network()
    expected = fit(whole, 20, make(), validation=0.2)
    fit(parts, 7, make(), validation=0.2)
    again = through_a_file(parts, path)
    assert same(parts, again)
    history = fit(again, 20, validation=0.2, resume=True)
    assert same(whole, again)
    assert (history.loss, history.validation_loss) == (expected.loss, expected.validation_loss)


@each_optimizer
def test_a_resumed_fit_has_the_bits_of_one_that_never_stopped(name, tmp_path):
    assert_resumes(OPTIMIZERS[name].make, tmp_path / "net.safetensors")


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_resumed_schedule_has_the_bits_of_one_that_never_stopped(name, tmp_path):
    """For each schedule; in a warm-up followed by a cosine as well."""
    rates = [lambda: make_schedule(name)]
    if name == "warm_up":
        rates.append(lambda: schedules.warm_up(20, schedules.cosine(0.01, 200)))
    for lr in rates:
        for kind in (SGD, AdamW):
            assert_resumes(lambda lr=lr, kind=kind: kind(lr()), tmp_path / "net.safetensors")


@pytest.mark.parametrize("again", ["a file", "a pickle", "a deep copy"])
def test_a_resumed_fit_of_float64_has_the_bits_of_one_that_never_stopped(again, tmp_path):
    """From the best parameters and the last, and from the moments, all of float64."""
    settings = {"validation": 0.2, "early_stopping": 15}
    whole, parts = network(dtype="float64"), network(dtype="float64")
    fit(whole, 12, Adam(0.03), **settings)
    fit(parts, 7, Adam(0.03), **settings)
    other = {
        "a file": lambda: through_a_file(parts, tmp_path / "net.safetensors"),
        "a pickle": lambda: pickle.loads(pickle.dumps(parts)),
        "a deep copy": lambda: copy.deepcopy(parts),
    }[again]()
    assert repr(other) == repr(parts)
    for values in (other.parameters, other.optimizer.moments, other.fit_state.best.parameters, other.fit_state.last):
        assert values.dtype == np.float64
    assert same(parts, other)
    fit(other, 12, resume=True, **settings)
    assert same(whole, other)
    if again == "a file":
        tensors = safetensors.load_file(tmp_path / "net.safetensors")
        assert {values.dtype.name for values in tensors.values()} == {"float64"}


def test_moments_of_the_other_dtype_are_refused():
    """Of a copy of an optimizer, which a network of its own dtype would adopt."""
    net, other = network(), network(dtype="float64")
    net.partial_fit(*data())
    before = other.parameters.copy()
    with pytest.raises(ValueError, match="holds the moments of another network"):
        other.partial_fit(*data(), optimizer=copy.deepcopy(net.optimizer))
    np.testing.assert_array_equal(other.parameters, before)
    network(dtype="float32").partial_fit(*data(), optimizer=copy.deepcopy(net.optimizer))


@pytest.mark.parametrize("lr", [
    lambda: schedules.one_cycle(np.float32(0.05), 150), lambda: schedules.cosine(np.float32(0.05), np.int8(100)),
    lambda: schedules.ReduceOnPlateau(np.float32(0.05), factor=np.float32(0.3), patience=1),
])  # fmt: skip
def test_settings_of_other_types_give_the_same_rates_from_a_file(lr, tmp_path):
    net = network()
    net.partial_fit(*data(), SGD(lr()))
    again = through_a_file(net, tmp_path / "net.safetensors")
    for schedule in (net.optimizer.lr, again.optimizer.lr):
        if isinstance(schedule, schedules.ReduceOnPlateau):
            schedule.observe(1.0)
            schedule.observe(1.0)
    np.testing.assert_array_equal(again.optimizer.rates(200), net.optimizer.rates(200))


@pytest.mark.slow
def test_in_a_new_process_too(tmp_path, run_python):
    whole, parts, path = network(), network(), tmp_path / "net.safetensors"
    fit(whole, 20, Adam(0.01))
    fit(parts, 7, Adam(0.01))
    parts.save(path)
    script = """
import sys
import numpy as np
from fastprop import Network
rng = np.random.default_rng(5)
X, Y = rng.standard_normal((150, 7), dtype=np.float32), rng.integers(0, 3, 150)
net = Network.load(sys.argv[1])
net.fit(X, Y, epochs=20, batch_size=32, progress=False, resume=True)
net.save(sys.argv[1])
"""
    run_python(script, path)
    assert same(whole, Network.load(path))


@pytest.mark.parametrize("steps", [1, 2, 4, 5, 7, 13])
def test_a_fit_is_resumed_in_the_middle_of_an_epoch(steps, tmp_path):
    whole, parts = network(), network()
    expected = fit(whole, 6, Adam(0.01))
    fit(parts, 6, Adam(0.01), callbacks=[(steps, lambda done, history: True)])
    assert parts.optimizer.steps == steps
    again = through_a_file(parts, tmp_path / "net.safetensors")
    assert fit(again, 6, resume=True).loss == pytest.approx(expected.loss, rel=1e-12)
    assert same(whole, again)


def test_a_fit_that_ctrl_c_ended_can_be_resumed(tmp_path):
    def interrupt(steps, history):
        if steps == 9:
            raise KeyboardInterrupt

    whole, parts = network(), network()
    fit(whole, 6, Adam(0.01))
    assert fit(parts, 6, Adam(0.01), callbacks=[(1, interrupt)]).interrupted
    assert not fit(parts, 6, resume=True).interrupted
    assert same(whole, parts)


INTERRUPTED = """
import os, signal, sys, threading, time
import numpy as np
from fastprop import Adam, Network
signal.signal(signal.SIGINT, signal.default_int_handler)  # a child of a background job would ignore it
rng = np.random.default_rng(5)
X, Y = rng.standard_normal((3000, 7), dtype=np.float32), rng.integers(0, 3, 3000)
def network():
    return Network((7, 33, 18, 3), "tanh", "softmax", rng=3, dropout=0.2)
def fit(net, **settings):
    return net.fit(X, Y, epochs=200, batch_size=8, validation=0.2, progress=False, **settings)
whole, parts, draws = network(), network(), np.random.default_rng(int(sys.argv[1]))
expected = fit(whole, optimizer=Adam(0.01))
history, times = None, 0
while history is None or history.interrupted:
    timer = threading.Timer(draws.uniform(0.003, 0.03), lambda: os.kill(os.getpid(), signal.SIGINT))
    try:
        timer.start()
        history = fit(parts, **({"optimizer": Adam(0.01)} if parts.fit_state is None else {"resume": True}))
        timer.cancel()
        timer.join()
    except KeyboardInterrupt:  # before the first step, or after the last
        pass
    times += 1
assert np.array_equal(whole.parameters, parts.parameters)
assert (history.loss, history.validation_loss) == (expected.loss, expected.validation_loss)
print(times)
"""


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="there, os.kill ends the process")
def test_ctrl_c_at_any_moment_costs_no_bit(run_python):
    assert int(run_python(INTERRUPTED, 0)) > 1


@pytest.mark.parametrize("stop", [1, 3, 6])
def test_early_stopping_goes_on_with_its_patience_and_its_best(stop, tmp_path):
    """The loaded network holds the best parameters, and resumes from the last."""

    def run(net, epochs, **settings):
        return fit(net, epochs, validation=0.3, early_stopping=4, **settings)

    whole, parts = network(dropout=0.0), network(dropout=0.0)
    expected = run(whole, 60, optimizer=Adam(0.03))
    assert stop < expected.epochs < 60
    run(parts, stop, optimizer=Adam(0.03))
    again = through_a_file(parts, tmp_path / "net.safetensors")
    history = run(again, 60, resume=True)
    assert (history.validation_loss, history.best_epoch) == (expected.validation_loss, expected.best_epoch)
    assert same(whole, again)


def test_what_a_file_holds(tmp_path):
    """The file has the derivation's names, so that it can be read without fastprop."""
    net, path = network(scale=0.5), tmp_path / "net.safetensors"
    net.classes = ["cat", "dog", 7]
    fit(net, 2, Adam())
    again = through_a_file(net, path)
    tensors = safetensors.load_file(path)
    assert {"W1", "b1", "W3", "b3", "moments.0.W2", "moments.1.b3"} <= set(tensors)
    for name, value in net.to_dict().items():
        np.testing.assert_array_equal(tensors[name], value.reshape(tensors[name].shape))
    assert (again.sizes, again.hidden, again.output, again.loss_name) == (
        SIZES,
        ("tanh",) * 2,
        "softmax",
        "cross_entropy",
    )
    assert (again.l2, again.dropout, again.scale, again.classes) == (1e-3, 0.2, 0.5, ["cat", "dog", 7])
    assert repr(net) == repr(again)
    assert not list(tmp_path.glob("*partial*"))


def test_custom_functions_are_passed_to_load(tmp_path):
    swish = Activation("swish", lambda z: z / (1 + math.exp(-z)), Activation.built_in["silu"].df)
    cube = Loss("cube", lambda y_hat, y: abs(y_hat - y) ** 3, lambda y_hat, y: 3 * (y_hat - y) * abs(y_hat - y))
    net, path = Network((3, 5, 2), swish, loss=cube, rng=0), tmp_path / "net.safetensors"
    again = through_a_file(net, path, functions=[swish, cube])
    assert again.architecture.hidden == net.architecture.hidden
    with pytest.raises(ValueError, match=r"it needs the Activation 'swish', whose code is not in the file"):
        Network.load(path)


def test_names_are_read_as_python_reads_them(tmp_path):
    """Names are compared in their NFKC form, as Python does: the ligature ﬁ is f and i, wide letters are letters."""
    fix = Activation("ﬁx", lambda z: z / (1 + math.exp(-z)), Activation.built_in["silu"].df)
    waffle = Loss("waﬄe", lambda y_hat, y: 0.5 * (y_hat - y) ** 2, lambda y_hat, y: y_hat - y)
    assert (fix.name, waffle.name) == ("fix", "waffle")
    net, X = Network((3, 5, 2), fix, loss=waffle, rng=0), np.ones((4, 3), np.float32)
    net.partial_fit(X, np.ones((4, 2)))
    again = through_a_file(net, tmp_path / "net.safetensors", functions=[fix, waffle])
    np.testing.assert_array_equal(again.predict(X), net.predict(X))
    for kind, name in (Activation, "ｒelu"), (Loss, "ｍse"):
        with pytest.raises(ValueError, match="which is built in"):
            kind(name, lambda *z: z[0], lambda *z: 1.0)


def test_what_cannot_be_saved_is_said_before_the_fit(tmp_path):
    net = network()
    before = net.parameters.copy()
    with pytest.raises(ValueError, match="is a function, which is not saved"):
        fit(net, 2, SGD(lambda step: 0.1), callbacks=[Checkpoint(tmp_path / "net.safetensors")])
    with pytest.raises(ValueError, match="rng is MT19937"):
        Network((3, 2), rng=np.random.Generator(np.random.MT19937(0))).save(tmp_path / "net.safetensors")
    with pytest.raises(FileNotFoundError):
        fit(net, 2, SGD(0.1), callbacks=[Checkpoint(tmp_path / "nowhere" / "net.safetensors")])
    np.testing.assert_array_equal(net.parameters, before)
    assert not list(tmp_path.iterdir())


def test_a_network_that_was_trained_since_is_not_resumed():
    net = network()
    fit(net, 1)
    net.partial_fit(*data())
    with pytest.raises(ValueError, match="was trained since the fit to resume"):
        fit(net, 2, resume=True)
    with pytest.raises(ValueError, match="was trained since the fit to resume"):
        fit(net, 2, Adam(), resume=True)


def test_an_early_stopping_that_has_ended_stays_ended(tmp_path):
    net = network(dropout=0.0)
    history = fit(net, 60, Adam(0.03), validation=0.3, early_stopping=2)
    before, epochs = net.parameters.copy(), history.epochs
    again = through_a_file(net, tmp_path / "net.safetensors")
    assert fit(again, 60, validation=0.3, early_stopping=2, resume=True).epochs == epochs < 60
    np.testing.assert_array_equal(again.parameters, before)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"validation": 0.2}, "fraction is 0.2; the fit to resume had 0"),
        ({"batch_size": 16}, "batch_size is 16; the fit to resume had 32"),
        ({"shuffle": False}, "shuffle is False"),
    ],
)
def test_only_the_same_fit_is_resumed(settings, message):
    net, (X, Y) = network(), data()
    fit(net, 1)
    with pytest.raises(ValueError, match=message):
        net.fit(X, Y, epochs=2, **{"batch_size": 32, **settings}, progress=False, resume=True)


def test_what_was_not_trained_in_a_fit_is_not_resumed():
    net, (X, Y) = network(), data()
    net.train_step(X, Y, SGD(0.1))
    with pytest.raises(ValueError, match=r"nothing to resume: .* trained, but not in a fit"):
        fit(net, 2, resume=True)


RATES = {
    "number": lambda: 0.01,
    "schedule": lambda: schedules.warm_up(3, schedules.cosine(0.1, 40)),
    "plateau": lambda: schedules.ReduceOnPlateau(0.1, patience=2),
}


@pytest.mark.parametrize("rate", RATES)
def test_one_line_starts_a_fit_and_goes_on_with_it(rate, tmp_path):
    """A script that is killed and run again: each time it loads the file, if there is one, and fits with resume."""
    expected, path = network(), tmp_path / "net.safetensors"
    fit(expected, 6, Adam(RATES[rate](), clip_norm=1.0))
    for epochs in (2, 4, 6):
        net = Network.load(path) if path.exists() else network()
        history = fit(net, epochs, Adam(RATES[rate](), clip_norm=1.0), resume=True)
        assert history.epochs == epochs
        net.save(path)
    np.testing.assert_array_equal(net.parameters, expected.parameters)


@pytest.mark.parametrize(
    "other", [Adam(0.02), Adam(0.01, beta_1=0.8), SGD(0.01), Adam(schedules.step(0.01, 5)), "adam"], ids=str
)
def test_another_optimizer_does_not_resume(other):
    net = network()
    fit(net, 1, Adam(0.01))
    with pytest.raises(ValueError, match=r"the fit to resume has Adam\(lr=0\.01"):
        fit(net, 2, other, resume=True)


@pytest.mark.parametrize("lr", [schedules.step(0.1, 5), schedules.step(0.1, 5, 0.2), schedules.constant(0.1), 0.1])
def test_schedules_are_the_same_if_their_settings_are(lr):
    assert schedules.same(lr, copy.deepcopy(lr))
    others = [schedules.step(0.1, 6), schedules.constant(0.2), 0.2, lambda step: 0.1, schedules.ReduceOnPlateau(0.1)]
    assert not any(schedules.same(lr, other) for other in others)


# ---- what is saved can be loaded -------------------------------------------------------------------------------------


def deep():
    """A schedule of ten others, one in the other."""
    lr = 0.1
    for _ in range(10):
        lr = schedules.warm_up(2, lr)
    return lr


def spoil(values):
    values[0] = np.nan


def early_stopping_at_infinity(net):
    """The last parameters are not finite, and the network has gone back to those before."""
    optimizer = Adam()
    X, Y = data()
    net.fit(X, Y, epochs=9, batch_size=ROWS, optimizer=optimizer, validation=0.2, early_stopping=1, progress=False,
            callbacks=[lambda epoch, history: setattr(optimizer, "lr", 3e38)])  # fmt: skip
    assert not np.isfinite(net.fit_state.last).all()


STATES = {
    "a plateau's rate of 0": lambda net: fit(net, 3300, SGD(schedules.ReduceOnPlateau(0.1, factor=1e-3)),
                                             callbacks=[lambda epoch, history: net.optimizer.lr.observe(math.inf)]),
    "a plateau's rate of infinity": lambda net: (
        fit(net, 1, SGD(schedules.ReduceOnPlateau(0.1))), setattr(net.optimizer.lr, "rate", math.inf),
    ),
    "last parameters that are not finite": early_stopping_at_infinity,
    "best parameters that are not finite": lambda net: (
        fit(net, 2, validation=0.2, early_stopping=5), spoil(net.fit_state.best.parameters),
    ),
    "a moment that is not a number": lambda net: (fit(net, 1, Adam()), spoil(net.optimizer.moments[1])),
    "parameters that are not finite": lambda net: spoil(net.parameters),
    "schedules in schedules": lambda net: fit(net, 1, SGD(deep())),
    "a batch size beyond all rows": lambda net: net.fit(*data(), epochs=1, batch_size=2**60, progress=False),
    "validation that came later": lambda net: (
        fit(net, 2, Adam()), fit(net, 3, validation=data(), resume=True),
    ),
    "a history that was added to": lambda net: (fit(net, 2), net.fit_state.history.loss.append(0.5)),
    "a history of text": lambda net: (fit(net, 2), net.fit_state.history.loss.__setitem__(0, "none")),
    "labels that were changed": lambda net: (setattr(net, "classes", list("abc")), net.classes.append(4)),
    "a cost that is not finite": lambda net: (fit(net, 1), setattr(net.fit_state, "cost", math.inf)),
    "labels beyond a header": lambda net: setattr(net, "classes", ["x" * 10**8, "y", "z"]),
}  # fmt: skip
COMES_BY_ITSELF = (
    "a plateau's rate of 0",
    "last parameters that are not finite",
    "a batch size beyond all rows",
    "validation that came later",
)


@pytest.mark.parametrize("name", STATES)
def test_what_is_saved_can_be_loaded(name, tmp_path):
    """For any state of the network, save writes a file that can be loaded, or raises ValueError and keeps the old file.

    States that a fit reaches by itself can be saved.
    """
    net, path = network(), tmp_path / "net.safetensors"
    net.save(path)
    good = path.read_bytes()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some of them diverge
        STATES[name](net)
    try:
        net.save(path)
    except ValueError:
        assert path.read_bytes() == good
        assert name not in COMES_BY_ITSELF
    else:
        assert same(net, Network.load(path))
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.slow
def test_a_history_of_millions_of_epochs(tmp_path):
    """The history is not in the header, whose length is limited to 100 MB."""
    net, epochs, rng = network(), 1_750_000, np.random.default_rng(0)
    fit(net, 1)
    for name in ("loss", "seconds", "samples_per_second"):
        setattr(net.fit_state.history, name, rng.standard_normal(epochs).tolist())
    net.fit_state.history.loss[7] = math.nan
    net.fit_state.epoch = epochs
    checkpoint = Checkpoint(tmp_path / "net.safetensors")
    history = fit(net, epochs + 1, callbacks=[checkpoint], resume=True)
    again = Network.load(checkpoint.path)
    assert same(net, again)
    for name, values in vars(history).items():
        np.testing.assert_array_equal(getattr(again.fit_state.history, name), values)


def test_a_checkpoint_leaves_out_what_is_not_finite(tmp_path):
    """If a moment is not finite, the fit continues, and the file is that of the steps before."""
    net, checkpoint = network(), Checkpoint(tmp_path / "net.safetensors", every=1)

    def spoiled(steps, history):
        if steps == 3:
            spoil(net.optimizer.moments[0])
        return steps == 4

    with pytest.warns(RuntimeWarning, match="the parameters are no longer finite"):
        fit(net, 2, Adam(), callbacks=[(1, spoiled), checkpoint])
    assert net.optimizer.steps == 4
    assert Network.load(checkpoint.path).optimizer.steps == 2


def test_a_schedule_that_cannot_be_loaded_is_said_before_the_fit(tmp_path):
    net = network()
    before = net.parameters.copy()
    with pytest.raises(ValueError, match="schedules in schedules"):
        fit(net, 1, SGD(deep()), callbacks=[Checkpoint(tmp_path / "net.safetensors")])
    np.testing.assert_array_equal(net.parameters, before)
