"""Files of networks: what goes in comes out, and a fit that is gone on with has the bits of one that never stopped."""

import json
import math
import os
import signal
import stat
import subprocess
import sys
import time
import warnings
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

import fastprop
from fastprop import SGD, Activation, Adagrad, Adam, AdamW, Checkpoint, Loss, Network, RMSprop, schedules

safetensors = pytest.importorskip("safetensors.numpy", reason="files need safetensors (extra save)")

SIZES, ROWS = (7, 33, 18, 3), 150
OPTIMIZERS = {
    "sgd": lambda: SGD(0.05),
    "momentum": lambda: SGD(0.05, momentum=0.9, nesterov=True, weight_decay=1e-3),
    "adam, clipped": lambda: Adam(0.01, clip_norm=0.5),
    "adamw, warm-up and cosine": lambda: AdamW(schedules.warm_up(20, schedules.cosine(0.01, 200))),
    "rmsprop, plateau": lambda: RMSprop(schedules.ReduceOnPlateau(0.01, patience=1)),
    "adagrad, one cycle": lambda: Adagrad(schedules.one_cycle(0.05, 150)),
    "sgd, steps": lambda: SGD(schedules.step(0.1, every=30, factor=0.5)),
    "sgd, exponential": lambda: SGD(schedules.exponential(0.1, half_life=50)),
}


def data():
    rng = np.random.default_rng(5)
    return rng.standard_normal((ROWS, SIZES[0]), dtype=np.float32), rng.integers(0, SIZES[-1], ROWS)


def network(**settings):
    return Network(SIZES, "tanh", "softmax", rng=3, **{"dropout": 0.2, "l2": 1e-3, **settings})


def fit(net, epochs, optimizer=None, **settings):
    return net.fit(*data(), epochs=epochs, batch_size=32, optimizer=optimizer, progress=False, **settings)


def same(a, b):
    """Whether two networks are alike to the last bit, and would go on alike."""
    np.testing.assert_array_equal(a.parameters, b.parameters)
    assert a.generator.bit_generator.state == b.generator.bit_generator.state
    if a.optimizer is not None:
        assert repr(a.optimizer) == repr(b.optimizer)
        assert a.optimizer.steps == b.optimizer.steps
        np.testing.assert_array_equal(a.optimizer.moments, b.optimizer.moments)
    return True


def through_a_file(net, path, **settings):
    net.save(path)
    return Network.load(path, **settings)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_fit_gone_on_with_has_the_bits_of_one_that_never_stopped(name, tmp_path):
    whole, parts = network(), network()
    expected = fit(whole, 20, OPTIMIZERS[name](), validation=0.2)
    fit(parts, 7, OPTIMIZERS[name](), validation=0.2)
    again = through_a_file(parts, tmp_path / "net.safetensors")
    assert same(parts, again)
    history = fit(again, 20, validation=0.2, resume=True)
    assert same(whole, again)
    assert (history.loss, history.validation_loss) == (expected.loss, expected.validation_loss)


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
def test_a_fit_is_gone_on_with_in_the_middle_of_an_epoch(steps, tmp_path):
    whole, parts = network(), network()
    expected = fit(whole, 6, Adam(0.01))
    fit(parts, 6, Adam(0.01), callbacks=[(steps, lambda done, history: True)])
    assert parts.optimizer.steps == steps
    again = through_a_file(parts, tmp_path / "net.safetensors")
    assert fit(again, 6, resume=True).loss == pytest.approx(expected.loss, rel=1e-12)
    assert same(whole, again)


def test_ctrl_c_ends_a_fit_that_can_be_gone_on_with(tmp_path):
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


def test_ctrl_c_at_any_moment_costs_no_bit(run_python):
    assert int(run_python(INTERRUPTED, 0)) > 1


@pytest.mark.parametrize("stop", [1, 3, 6])
def test_early_stopping_goes_on_with_its_patience_and_its_best(stop, tmp_path):
    """After the file the network holds the best parameters, and goes on from the last."""

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
    """The derivation's names, for whoever reads it without fastprop."""
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


def test_functions_of_ones_own_are_given_again(tmp_path):
    swish = Activation("swish", lambda z: z / (1 + math.exp(-z)), Activation.built_in["silu"].df)
    cube = Loss("cube", lambda y_hat, y: abs(y_hat - y) ** 3, lambda y_hat, y: 3 * (y_hat - y) * abs(y_hat - y))
    net, path = Network((3, 5, 2), swish, loss=cube, rng=0), tmp_path / "net.safetensors"
    again = through_a_file(net, path, functions=[swish, cube])
    assert again.architecture.hidden == net.architecture.hidden
    with pytest.raises(ValueError, match=r"it needs the Activation 'swish', whose code is not in the file"):
        Network.load(path)


def test_names_are_read_as_python_reads_them(tmp_path):
    """In their NFKC form, under which generated code is found: the ligature ﬁ is f and i, wide letters are letters."""
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


def test_a_network_that_was_trained_since_is_not_gone_on_with():
    net = network()
    fit(net, 1)
    net.partial_fit(*data())
    with pytest.raises(ValueError, match="was trained since the fit to resume"):
        fit(net, 2, resume=True)
    with pytest.raises(ValueError, match="Leave optimizer out"):
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
        ({}, "nothing to resume"),
        ({"validation": 0.2}, "fraction is 0.2; the fit to resume had 0"),
        ({"batch_size": 16}, "batch_size is 16; the fit to resume had 32"),
        ({"shuffle": False}, "shuffle is False"),
    ],
)
def test_only_the_same_fit_is_gone_on_with(settings, message):
    net = network()
    if settings:
        fit(net, 1)
    X, Y = data()
    with pytest.raises(ValueError, match=message):
        net.fit(X, Y, epochs=2, **{"batch_size": 32, **settings}, progress=False, resume=True)


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
        fit(net, 1, SGD(schedules.ReduceOnPlateau(0.1, factor=1e38, patience=1))),
        [net.optimizer.lr.observe(math.inf) for _ in range(9)],
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
    """In whatever state the network is; where it cannot be saved, a ValueError says so, and the good file stays.

    What a fit comes to by itself is saved.
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


def test_a_history_of_millions_of_epochs(tmp_path):
    """It is no part of the header, which may have 100 MB."""
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
    """A moment too: the fit goes on, and the file is that of the steps before."""
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


# ---- files that are replaced while they are needed -------------------------------------------------------------------

TRAIN = """
import sys
import numpy as np
from fastprop import Adam, Checkpoint, Network
rng = np.random.default_rng(0)
X, Y = rng.standard_normal((64, 5), dtype=np.float32), rng.standard_normal((64, 2), dtype=np.float32)
path, goes_on = sys.argv[1], sys.argv[2] == "True"
net = Network.load(path) if goes_on else Network((5, 17, 2), dropout=0.2, rng=0)
first = net.optimizer.steps + 1 if goes_on else 1
def begun(steps, history):
    if steps == first:
        print("begun", flush=True)
net.fit(X, Y, epochs=10**6, batch_size=16, optimizer=None if goes_on else Adam(), progress=False, resume=goes_on,
        callbacks=[Checkpoint(path, every=1), (1, begun)])
"""


def train_here(net, epochs, **settings):
    """As `TRAIN` does."""
    rng = np.random.default_rng(0)
    X, Y = rng.standard_normal((64, 5), dtype=np.float32), rng.standard_normal((64, 2), dtype=np.float32)
    return net.fit(X, Y, epochs=epochs, batch_size=16, progress=False, **settings)


def killed(path, after, goes_on=False):
    """A process that saves after every batch, killed so long after it has begun; the network in its file."""
    environment = {**os.environ, "PYTHONPATH": str(Path(fastprop.__file__).parents[1])}
    child = subprocess.Popen(
        [sys.executable, "-c", TRAIN, str(path), str(goes_on)], stdout=subprocess.PIPE, env=environment
    )
    assert child.stdout.readline() == b"begun\n"
    time.sleep(after)
    child.send_signal(signal.SIGKILL)
    child.communicate()
    return Network.load(path)


def test_a_killed_process_leaves_a_whole_file(tmp_path):
    """Killed at random moments while it saves after every batch: what is there is a state that was saved."""
    kills, path = int(os.environ.get("FASTPROP_KILLS", "6")), tmp_path / "net.safetensors"
    rng, known = np.random.default_rng(0), {}
    for _ in range(kills):
        net = killed(path, rng.uniform(0, 0.3))
        steps = net.optimizer.steps
        assert steps == net.fit_state.epoch * 4 + net.fit_state.step >= 1
        known[steps] = net.parameters.copy()
    # every state is that of a fit that went so far without a pause
    net = Network((5, 17, 2), dropout=0.2, rng=0)

    def compare(steps, history):
        if steps in known:
            np.testing.assert_array_equal(net.parameters, known.pop(steps))
        return not known

    train_here(net, 10**6, optimizer=Adam(), callbacks=[(1, compare)])
    assert not known
    Checkpoint(path).begins(net)
    assert [file.name for file in tmp_path.iterdir()] == ["net.safetensors"]  # what the killed ones left is gone


def test_going_on_after_kills_has_the_bits_of_a_fit_that_was_never_killed(tmp_path):
    """Each process goes on from the file of the one that was killed before it."""
    path, rng = tmp_path / "net.safetensors", np.random.default_rng(1)
    steps = []
    for kill in range(3):
        again = killed(path, rng.uniform(0, 0.3), goes_on=kill > 0)
        steps.append(again.optimizer.steps)
    assert steps == sorted(set(steps))
    whole, epochs = Network((5, 17, 2), dropout=0.2, rng=0), again.fit_state.epoch + 3
    expected = train_here(whole, epochs, optimizer=Adam())
    history = train_here(again, epochs, resume=True)
    assert same(whole, again)
    assert history.loss == pytest.approx(expected.loss, rel=1e-12)  # sums of slices, which time decides


CRASHES = """
import io, os, signal, sys
from pathlib import Path
import numpy as np
from fastprop import Adam, Network
path = Path(sys.argv[1])
rng = np.random.default_rng(0)
X, Y = rng.standard_normal((64, 5), dtype=np.float32), rng.standard_normal((64, 2), dtype=np.float32)
net = Network((5, 17, 2), dropout=0.2, rng=0)
def trained():
    net.fit(X, Y, epochs=1, batch_size=16, optimizer=net.optimizer or Adam(), progress=False)
    net.save(path)
    return path.read_bytes(), state(net)
def state(net):
    optimizer = net.optimizer
    return net.parameters.tobytes(), optimizer.moments.tobytes(), optimizer.steps, net.generator.bit_generator.state
def is_of_the_system(function):
    return (getattr(function, "__module__", "") in (os.open.__module__, open.__module__)
            or isinstance(getattr(function, "__self__", None), io.IOBase))
(before, old), (_, new) = trained(), trained()
k = 0
while True:
    path.write_bytes(before)
    child = os.fork()
    if not child:
        left = k
        def look(frame, event, function):
            global left
            if event in ("c_call", "c_return") and is_of_the_system(function):
                if not left:
                    print(event, function.__name__, end=" ", flush=True)
                    os.kill(os.getpid(), signal.SIGKILL)
                left -= 1
        sys.setprofile(look)
        net.save(path)
        sys.setprofile(None)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    found = state(Network.load(path))
    assert found in (old, new)
    if not os.WIFSIGNALED(status):
        assert status == 0 and found == new
        break
    print("new" if found == new else "old")
    k += 1
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_crash_at_any_call_of_the_system_leaves_the_old_file_or_the_new_one(tmp_path, run_python):
    """A process is killed before and after each that a save makes: parameters, moments and generator are of one."""
    lines = [line.split() for line in run_python(CRASHES, tmp_path / "net.safetensors").splitlines()]
    calls = [(event, name) for event, name, _ in lines]
    states = [state for *_, state in lines]
    for name in ("open", "write", "fsync", "replace"):
        assert {("c_call", name), ("c_return", name)} <= set(calls)
    renamed = calls.index(("c_return", "replace"))
    assert states == ["old"] * renamed + ["new"] * (len(states) - renamed)


@pytest.mark.skipif(os.name != "posix", reason="folders are not opened elsewhere")
def test_what_is_renamed_is_on_the_disk(tmp_path, monkeypatch):
    """The file, beside the one that it replaces, before that, and the folder after it."""
    path, calls, fsync, replace = tmp_path / "net.safetensors", [], os.fsync, os.replace

    def synced(number):
        size = os.fstat(number).st_size
        calls.append("folder" if stat.S_ISDIR(os.fstat(number).st_mode) else f"file of {size}")
        fsync(number)

    def replaced(source, target):
        assert Path(source).parent == Path(target).parent == tmp_path
        calls.append(f"replaced by {os.stat(source).st_size}")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", replaced)
    network().save(path)
    size = path.stat().st_size
    assert calls == [f"file of {size}", f"replaced by {size}", "folder"]


def test_a_full_disk_leaves_the_last_good_file(tmp_path, run_python):
    """A limit on the size of files stands for the disk."""
    path = tmp_path / "net.safetensors"
    network().save(path)
    good = path.read_bytes()
    script = """
import resource, signal, sys
from fastprop import Network
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    Network((7, 33, 18, 3)).save(sys.argv[1])
except OSError as error:
    print(error)
"""
    said = run_python(script, path)
    assert "File too large; what was there before is as it was" in said
    assert path.read_bytes() == good
    assert len(list(tmp_path.iterdir())) == 1


def test_a_disk_that_becomes_full_ends_a_fit_and_leaves_the_last_checkpoint(tmp_path, run_python):
    """The fourth of the checkpoints does not fit any more."""
    path = tmp_path / "net.safetensors"
    script = """
import resource, signal, sys
from pathlib import Path
import numpy as np
from fastprop import Adam, Checkpoint, Network
path = Path(sys.argv[1])
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
def full(steps, history):
    if steps == 3:
        path.with_name("third").write_bytes(path.read_bytes())
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    Network((7, 33, 18, 3), rng=0).fit(np.ones((100, 7)), np.ones((100, 3)), epochs=9, batch_size=32, optimizer=Adam(),
                                       progress=False, callbacks=[Checkpoint(path, every=1), (1, full)])
except OSError as error:
    print(error)
"""
    said = run_python(script, path)
    assert f"File too large; what was there before is as it was: {str(path)!r}" in said
    assert path.read_bytes() == (tmp_path / "third").read_bytes()
    assert Network.load(path).optimizer.steps == 3
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.skipif(os.name != "posix", reason="folders have no such permissions elsewhere")
def test_a_folder_that_cannot_be_written_to_keeps_the_last_good_file(tmp_path, run_python):
    """Root gives up its rights first. A `fit` says it before it begins, or where the folder has changed since then."""
    path = tmp_path / "net.safetensors"
    network().save(path)
    good = path.read_bytes()
    script = """
import ctypes, sys
from pathlib import Path
import numpy as np
from fastprop import Checkpoint, Network
path, system = Path(sys.argv[1]), ctypes.CDLL(None)
if hasattr(system, "capset"):
    assert system.capset((ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()) == 0
net = Network((7, 33, 18, 3), rng=0)
def fit(*callbacks):
    net.fit(np.ones((100, 7)), np.ones((100, 3)), epochs=2, progress=False, callbacks=callbacks)
def closed(epoch, history):
    path.parent.chmod(0o500)
for call in (lambda: fit(closed, Checkpoint(path)), lambda: net.save(path), lambda: fit(Checkpoint(path))):
    try:
        call()
    except PermissionError as error:
        print(error)
"""
    try:
        said = run_python(script, path).splitlines()
    finally:
        tmp_path.chmod(0o700)
    assert len(said) == 3
    assert all(line.startswith("[Errno 13] Permission denied; ") and repr(str(path)) in line for line in said)
    assert "what was there before is as it was" in said[0]
    assert "what was there before is as it was" in said[1]
    assert "a checkpoint needs a folder that can be written to" in said[2]
    assert path.read_bytes() == good
    assert len(list(tmp_path.iterdir())) == 1


# ---- hostile files ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    """The bytes of a file with everything in it."""
    net = network(dropout=0.0)
    fit(net, 2, Adam(schedules.warm_up(5, schedules.cosine(0.01, 100))), validation=0.2, early_stopping=5)
    path = tmp_path_factory.mktemp("files") / "net.safetensors"
    net.save(path)
    return path.read_bytes()


def refused(path, content):
    """That loading a file ends in a ValueError which says so, or gives a network that works."""
    path.write_bytes(content)
    try:
        net = Network.load(path)
    except ValueError as error:
        return "or damaged" in str(error)
    assert np.isfinite(net.parameters).all()
    X, _ = data()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a learning rate may have become huge
        for settings in ({"resume": True, "early_stopping": 5}, {}):
            with suppress(ValueError):  # not the fit that the file was saved in, or an output that is not of labels
                fit(net, net.fit_state.epoch + 1 if net.fit_state else 1, validation=0.2, **settings)
        net.predict(X)
    return False


def with_header(good, change):
    """The file with its header changed."""
    length = int.from_bytes(good[:8], "little")
    header = json.loads(good[8 : 8 + length])
    change(header)
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + good[8 + length :]


def with_metadata(good, part, change):
    def of_header(header):
        described = json.loads(header["__metadata__"][part])
        change(described)
        header["__metadata__"][part] = json.dumps(described)

    return with_header(good, of_header)


def test_a_file_truncated_anywhere_is_refused(good, tmp_path):
    stride = int(os.environ.get("FASTPROP_STRIDE", "37"))
    lengths = [*range(0, len(good), stride), *range(20), len(good) - 1]
    assert all(refused(tmp_path / "net", good[:length]) for length in lengths)


def test_flipped_bits_are_refused_or_harmless(good, tmp_path):
    rng = np.random.default_rng(0)
    for place in rng.integers(0, 8 * len(good), int(os.environ.get("FASTPROP_FLIPS", "300"))):
        content = bytearray(good)
        content[place // 8] ^= 1 << place % 8
        refused(tmp_path / "net", bytes(content))


def with_tensors(good, change):
    """The file with its tensors and its metadata changed."""
    length = int.from_bytes(good[:8], "little")
    tensors, metadata = safetensors.load(good), json.loads(good[8 : 8 + length])["__metadata__"]
    change(tensors, metadata)
    return safetensors.save(tensors, metadata)


HISTORIES = {
    "is not there": lambda values: None,
    "of float32": lambda values: values.astype(np.float32),
    "of whole numbers": lambda values: values.astype(np.int64),
    "of two dimensions": lambda values: values.reshape(1, -1),
    "of none": lambda values: np.array(values[0]),
    "too long": lambda values: np.append(values, 0.0),
    "too short": lambda values: values[1:],
    "empty": lambda values: values[:0],
}


@pytest.mark.parametrize("kind", HISTORIES)
@pytest.mark.parametrize("name", ["loss", "validation_loss", "validation_accuracy", "seconds", "samples_per_second"])
def test_a_hostile_history_is_refused(name, kind, good, tmp_path):
    """Only that of validation may be shorter, which came later then."""

    def change(tensors, metadata):
        values = HISTORIES[kind](tensors.pop(f"history.{name}"))
        if values is not None:
            tensors[f"history.{name}"] = values

    shorter = name.startswith("validation") and kind in ("too short", "empty")
    assert refused(tmp_path / "net", with_tensors(good, change)) != shorter


def to_the_old_format(tensors, metadata):
    """Histories were JSON."""
    described = json.loads(metadata["fit"])
    for name in [name for name in tensors if name.startswith("history.")]:
        described["history"][name.removeprefix("history.")] = tensors.pop(name).tolist()
    metadata.update(format="fastprop 1", fit=json.dumps(described))


def test_a_file_of_the_old_format_is_gone_on_with(tmp_path):
    parts, whole, path = network(), network(), tmp_path / "net.safetensors"
    expected = fit(whole, 6, Adam(0.01), validation=0.2)
    fit(parts, 4, Adam(0.01), validation=0.2)
    parts.save(path)
    path.write_bytes(with_tensors(path.read_bytes(), to_the_old_format))
    again = Network.load(path)
    history = fit(again, 6, validation=0.2, resume=True)
    assert (history.loss, history.validation_loss) == (expected.loss, expected.validation_loss)
    assert same(whole, again)


@pytest.mark.parametrize("value", [None, [], [1.0], [1.0, "x"], [1.0, None], [[1.0], [1.0]], {}, 7])
def test_a_hostile_history_of_the_old_format_is_refused(value, good, tmp_path):
    def change(tensors, metadata):
        to_the_old_format(tensors, metadata)
        described = json.loads(metadata["fit"])
        described["history"]["loss"] = value
        metadata["fit"] = json.dumps(described)

    assert refused(tmp_path / "net", with_tensors(good, change))


HEADERS = {
    "no format": lambda h: h["__metadata__"].pop("format"),
    "no metadata": lambda h: h.pop("__metadata__"),
    "another format": lambda h: h["__metadata__"].update(format="fastprop 999"),
    "no optimizer": lambda h: h["__metadata__"].pop("optimizer"),
    "no JSON": lambda h: h["__metadata__"].update(network="{"),
    "deep JSON": lambda h: h["__metadata__"].update(network="[" * 100_000),
    "JSON of another kind": lambda h: h["__metadata__"].update(network="[1, 2]"),
    "a missing tensor": lambda h: h.pop("W2"),
    "an unknown tensor": lambda h: h.update(W9=h["b1"]),
    "a transposed tensor": lambda h: h["W2"].update(shape=h["W2"]["shape"][::-1]),
    "another dtype": lambda h: h["W2"].update(dtype="I32"),
    "a huge shape": lambda h: h["W2"].update(shape=[10**18, 10**18]),
    "huge offsets": lambda h: h["W2"].update(data_offsets=[0, 10**18]),
    "overlapping tensors": lambda h: h["b3"].update(data_offsets=h["b2"]["data_offsets"]),
}


@pytest.mark.parametrize("name", HEADERS)
def test_a_hostile_header_is_refused(name, good, tmp_path):
    assert refused(tmp_path / "net", with_header(good, HEADERS[name]))


@pytest.mark.parametrize("value", [-1, 0, 10**18, 1.5, None, "relu", [], {}, [[1]], True, math.nan, "x" * 10_000])
def test_hostile_metadata_is_refused(value, good, tmp_path):
    """Every value of the JSON, replaced."""
    for part in ("network", "optimizer", "fit"):
        length = int.from_bytes(good[:8], "little")
        described = json.loads(json.loads(good[8 : 8 + length])["__metadata__"][part])
        for key in described:
            refused(tmp_path / "net", with_metadata(good, part, lambda d, key=key: d.update({key: value})))
            refused(tmp_path / "net", with_metadata(good, part, lambda d, key=key: d.pop(key)))
            if isinstance(described[key], dict):
                for inner in described[key]:
                    refused(
                        tmp_path / "net",
                        with_metadata(good, part, lambda d, key=key, inner=inner: d[key].update({inner: value})),
                    )


def test_sizes_that_the_tensors_do_not_have_are_refused(good, tmp_path):
    for sizes in ([10**18, 3], [10**9, 10**9], [7, 33, 18, 4], [7, 33, 3], [7, 33, 18, 3, 3], [], [7]):
        assert refused(tmp_path / "net", with_metadata(good, "network", lambda d, sizes=sizes: d.update(sizes=sizes)))


CAPPED = """
import resource, sys
from fastprop import Network
Network.load(sys.argv[1])
with open("/proc/self/status") as status:
    size = next(int(line.split()[1]) for line in status if line.startswith("VmSize:"))
resource.setrlimit(resource.RLIMIT_AS, ((size + 30 * 1024) * 1024,) * 2)
Network.load(sys.argv[1])
for path in sys.argv[2:]:
    try:
        Network.load(path)
    except ValueError as error:
        print(error)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Linux alone caps the address space of a process")
def test_no_memory_is_taken_for_what_a_header_claims(tmp_path, run_python):
    """A process that may have 30 MB more refuses, in a ValueError, what claims to be of hundreds."""
    net, path = Network((4, 4)), tmp_path / "net.safetensors"
    net.partial_fit(np.ones((3, 4)), np.ones((3, 4)), Adam())
    net.fit(np.ones((3, 4)), np.ones((3, 4)), epochs=1, progress=False)
    net.save(path)
    content = path.read_bytes()
    files = [
        with_metadata(content, "network", lambda d, n=n: d.update(sizes=[n, n])) for n in (3000, 5000, 20_000, 10**7)
    ]
    files += [
        with_metadata(content, "network", lambda d: d.update(sizes=[4] * 10**5)),
        with_metadata(content, "fit", lambda d: d.update(epoch=10**9)),
        with_header(content, lambda h: h["history.loss"].update(shape=[10**9])),
        with_header(content, lambda h: h["W1"].update(shape=[5000, 5000])),
    ]
    paths = [tmp_path / str(i) for i in range(len(files))]
    for claiming, text in zip(paths, files):
        claiming.write_bytes(text)
    assert run_python(CAPPED, path, *paths).count("or damaged: ") == len(files)


MOST_HEADER = 10**8 - 1  # bytes; safetensors refuses longer ones


def described(network):
    """A header with this JSON of the network."""
    metadata = {"format": "fastprop 2", "network": network, "optimizer": "null", "fit": "null"}
    return '{"__metadata__":' + json.dumps(metadata) + "}"


LONG_HEADERS = {
    "spaces": lambda: "{",
    "brackets": lambda: '{"W1":' + "[" * (MOST_HEADER - 6),
    "brackets in the network's JSON": lambda: described("[" * (MOST_HEADER - 200)),
    "a label": lambda: described('{"classes":["' + "x" * (MOST_HEADER - 200) + '"]}'),
    "lists in the network's JSON": lambda: described("[" + "[]," * ((MOST_HEADER - 200) // 3) + "0]"),
    "sizes": lambda: described('{"sizes":[' + "7," * ((MOST_HEADER - 200) // 2) + "7]}"),
    "a million tensors": lambda: (
        described("{}")[:-1]
        + "".join(f',"{i:044d}":{{"dtype":"F32","shape":[0],"data_offsets":[0,0]}}' for i in range(980_000))
        + "}"
    ),
}

PEAK = """
import sys
from fastprop import Network
def memory(name):
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith(name)) * 1024
Network.load(sys.argv[1])
before = memory("VmRSS:")
try:
    Network.load(sys.argv[2])
except ValueError as error:
    print(str(error)[:200])
print(memory("VmHWM:") - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Linux alone tells the peak of a process")
@pytest.mark.parametrize("name", LONG_HEADERS)
def test_a_real_header_of_100_mb_is_refused_in_little_memory(name, good, tmp_path, run_python):
    """In ten times the file where it has a million names, which are safetensors' own; less for other headers."""
    small, path = tmp_path / "small", tmp_path / "long"
    small.write_bytes(good)
    text = LONG_HEADERS[name]().encode()
    assert len(text) <= MOST_HEADER
    text += b" " * (MOST_HEADER - len(text) - (name == "spaces")) + b"}" * (name == "spaces")
    path.write_bytes(MOST_HEADER.to_bytes(8, "little") + text)
    said, peak = run_python(PEAK, small, path).splitlines()
    path.unlink()
    assert "or damaged: " in said
    assert int(peak) < 12 * MOST_HEADER


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_parameters_that_are_not_finite_are_refused(value, good, tmp_path):
    length = int.from_bytes(good[:8], "little")
    start = 8 + length + json.loads(good[8 : 8 + length])["W2"]["data_offsets"][0]
    content = bytearray(good)
    content[start : start + 4] = np.float32(value).tobytes()
    path = tmp_path / "net"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="W2 holds NaN or infinity"):
        Network.load(path)


def test_a_header_that_claims_too_much_is_refused(good, tmp_path):
    for length in (10**8 + 1, 2**40, 2**63, 2**64 - 1):
        assert refused(tmp_path / "net", length.to_bytes(8, "little") + good[8:])


def test_files_that_are_not_there_or_no_files(tmp_path):
    with pytest.raises(FileNotFoundError):
        Network.load(tmp_path / "nothing")
    with pytest.raises((ValueError, OSError)):
        Network.load(tmp_path)
    assert refused(tmp_path / "empty", b"")
    assert refused(tmp_path / "pickle", b"\x80\x04\x95" + bytes(100))


def test_without_safetensors_the_extra_is_named(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "safetensors", None)
    monkeypatch.setitem(sys.modules, "safetensors.numpy", None)
    for call in (lambda: network().save(tmp_path / "net"), lambda: Network.load(tmp_path / "net"),
                 lambda: Checkpoint(tmp_path / "net")):  # fmt: skip
        with pytest.raises(ModuleNotFoundError, match=r"pip install 'fastprop-cpu\[save\]'"):
            call()
