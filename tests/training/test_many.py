"""Many networks in one call: each ends with the bits of a fit by itself, and has a course of its own."""

import copy
import gc
import itertools
import tracemalloc
import warnings
import weakref

import numpy as np
import pytest
from marks import slow_but
from networks import Case, bits, data
from optimizers import OPTIMIZERS

import fastprop
from fastprop import SGD, Adam, Checkpoint, Network, fit_many, schedules
from fastprop.core import threads as of_core
from fastprop.core.architecture import Architecture
from fastprop.core.engine import Engine
from fastprop.training import pace
from fastprop.training.many import MOST
from fastprop.training.progress import Progress

# Some of these fits end no better than a constant, and say so.
pytestmark = pytest.mark.filterwarnings("ignore:network .* epochs the:RuntimeWarning",
                                        "ignore:after .* epochs the:RuntimeWarning")  # fmt: skip
M, COUNT, SEED = 100, 5, 3
LABELS = Case("labels", (7, 20, 3), "relu", "softmax", 16)
NUMBERS = Case("numbers", (7, 20, 3), "tanh", "identity", 16)
LINEAR = Case("linear", (7, 20, 3), "relu", "identity", 16)
MEASURED = ("loss", "accuracy", "validation_loss", "validation_accuracy", "best_epoch", "running_loss", "interrupted")


def networks(case=LABELS, count=COUNT, **options):
    """Networks of a case from different seeds."""
    return [Network(case.sizes, case.hidden, case.output, rng=i, **options) for i in range(count)]


def mixed():
    """Networks that have only inputs and outputs in common."""
    return [
        Network((7, 20, 3), "relu", rng=0),
        Network((7, 3), rng=1),
        Network((7, 9, 33, 3), ("tanh", "gelu"), loss="huber", rng=2, dropout=0.3),
        Network((7, 17, 3), "sigmoid", rng=3, dtype="float64", l2=0.01),
        Network((7, 20, 3), "relu", rng=4, scale=0.5),
    ]


def of_network(value, i):
    """The argument of network i: its own of a list."""
    return value[i] if isinstance(value, list) else value


def course(net, history):
    """All that a fit does to a network, and its history without the times."""
    state = net.fit_state
    where = None if state is None else (state.seed, state.updates, state.epoch, state.step, state.cost, state.weight)
    return [
        *bits(net.parameters, net.optimizer.moments),
        net.optimizer.steps,
        repr(net.optimizer),
        str(net.generator.bit_generator.state),
        repr(where),
        *(repr(getattr(history, name)) for name in MEASURED),
        len(history.seconds),
        len(history.samples_per_second),
    ]


def assert_as_alone(make=networks, X=None, Y=None, threads=2, optimizer=lambda: Adam(0.01), **arguments):
    """Networks that are trained together end as those that are trained one by one, on one thread; the histories."""
    if X is None:
        X, Y = data(LABELS, M)
    arguments = {"epochs": 6, "batch_size": 16, **arguments}
    fastprop.set_num_threads(threads)
    together, apart = make(), make()
    histories = fit_many(together, X, Y, optimizer=optimizer(), rng=SEED, **arguments)
    fastprop.set_num_threads(1)
    children = np.random.SeedSequence(SEED).spawn(len(apart))
    for i, (net, child) in enumerate(zip(apart, children, strict=True)):
        own = {name: of_network(value, i) for name, value in arguments.items()}
        made, rng = of_network(optimizer(), i), np.random.default_rng(child)
        history = net.fit(of_network(X, i), of_network(Y, i), optimizer=made, rng=rng, **own)
        assert course(together[i], histories[i]) == course(net, history), f"network {i}"
    return histories


# ---- the bits of a fit by itself ---------------------------------------------------------------------------------


@pytest.mark.parametrize("threads", [1, 2, 8])
@pytest.mark.parametrize("name", slow_but(["sgd", "adam"], OPTIMIZERS))
def test_with_every_optimizer(name, threads):
    assert_as_alone(optimizer=OPTIMIZERS[name].make, threads=threads)


EVERY = {
    "a penalty": {"make": lambda: networks(l2=0.01)},
    "dropout": {"make": lambda: networks(dropout=0.3)},
    "float64": {"make": lambda: networks(dtype="float64")},
    "networks of all kinds": {"make": mixed, "X": data(NUMBERS, M)[0], "Y": data(NUMBERS, M)[1]},
    "plateaus": {"optimizer": lambda: SGD(schedules.ReduceOnPlateau(0.5, patience=1)), "epochs": 20},
    "plateaus of validation": {
        "optimizer": lambda: Adam(schedules.ReduceOnPlateau(0.1, patience=1)), "epochs": 20, "validation": 0.2,
    },
    "clipping": {"optimizer": lambda: SGD(0.1, clip_norm=0.1)},
    "an optimizer each": {"optimizer": lambda: [SGD(0.1), Adam(), Adam(0.1), SGD(0.1, momentum=0.9), Adam()]},
    "weights": {"sample_weight": np.linspace(0, 2, M)},
    "weights of each": {"sample_weight": [np.linspace(0, i + 1, M) for i in range(COUNT)]},
    "weights of outputs": {
        "make": lambda: networks(NUMBERS), "X": data(NUMBERS, M)[0], "Y": data(NUMBERS, M)[1],
        "sample_weight": np.linspace(0, 2, 3 * M).reshape(M, 3),
    },
    "balanced classes": {"class_weight": "balanced"},
    "validation": {"validation": data(LABELS, 40, seed=1)},
    "validation of each": {"validation": [data(LABELS, 30 + i, seed=i) for i in range(COUNT)]},
    "a fraction": {"validation": 0.3},
    "early stopping": {"validation": data(LABELS, 40, seed=1), "early_stopping": 2, "epochs": 60},
    "early stopping on a fraction": {"validation": 0.2, "early_stopping": 3, "epochs": 60},
    "no shuffle": {"shuffle": False},
    "one sample": {"batch_size": 1},
    "one batch": {"batch_size": M},
    "a batch larger than the data": {"batch_size": 1000},
    "a ragged batch": {"batch_size": 37},
    "data of each": {
        "X": [data(LABELS, 50 + i, seed=i)[0] for i in range(COUNT)],
        "Y": [data(LABELS, 50 + i, seed=i)[1] for i in range(COUNT)],
    },
    "large batches": {"X": data(LABELS, 1000)[0], "Y": data(LABELS, 1000)[1], "batch_size": 300},
    "chunks": {"X": data(LABELS, 2000)[0], "Y": data(LABELS, 2000)[1], "batch_size": 700},
    "uint8": {"X": np.random.default_rng(0).integers(0, 256, (M, 7), np.uint8), "Y": data(LABELS, M)[1],
              "make": lambda: networks(scale=1 / 255)},
}  # fmt: skip


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("name", EVERY)
def test_with_every_kind_of(name, threads):
    histories = assert_as_alone(**EVERY[name], threads=threads)
    if name == "early stopping":
        assert len({history.epochs for history in histories}) > 1, "each stops at an epoch of its own"


@pytest.mark.parametrize("seconds", [0.0, 1e9])
@pytest.mark.parametrize("name", ["adam", "networks of all kinds", "early stopping", "plateaus of validation"])
def test_in_any_slices(name, seconds, monkeypatch):
    """One step of each network in a call, or all steps of all networks in one."""
    monkeypatch.setattr(pace, "SLICE_SECONDS", seconds)
    assert_as_alone(**EVERY.get(name, {}))


@pytest.mark.parametrize("rows", [100, 1000])
def test_with_a_sparse_X(rows):
    sparse = pytest.importorskip("scipy.sparse", reason="sparse matrices are those of SciPy")
    X, Y = data(LABELS, rows)
    X[np.random.default_rng(0).random(X.shape) > 0.3] = 0
    assert_as_alone(X=sparse.csr_array(X), Y=Y, validation=0.2, batch_size=300)


def test_frames_lists_and_other_forms_are_taken_as_arrays():
    """Of each, since a list that is not of arrays would be rows."""
    X, Y = data(LABELS, 20)
    assert_as_alone(X=[X.tolist() for _ in range(COUNT)], Y=[Y.tolist() for _ in range(COUNT)])
    assert_as_alone(X=X.astype(np.float16), Y=tuple(Y.tolist()))


def test_without_an_optimizer_each_continues_with_its_last():
    assert_as_alone(optimizer=lambda: None)
    nets, (X, Y) = networks(), data(LABELS, M)
    fit_many(nets, X, Y, epochs=1)
    before = [net.optimizer for net in nets]
    fit_many(nets, X, Y, epochs=2, batch_size=128)
    assert [net.optimizer is optimizer for net, optimizer in zip(nets, before, strict=True)] == [True] * COUNT
    assert {optimizer.steps for optimizer in before} == {3}


def test_each_network_gets_an_optimizer_of_its_own():
    """The one that is given stays as it is, also if it has trained already; so does its schedule."""
    (X, Y), optimizer = data(LABELS, M), Adam(schedules.ReduceOnPlateau(0.1, patience=1))
    Network((7, 20, 3), output="softmax").fit(X, Y, epochs=1, optimizer=optimizer)
    steps, moments, rate = optimizer.steps, bits(optimizer.moments), optimizer.rate
    nets = networks()
    fit_many(nets, X, Y, epochs=20, optimizer=optimizer)
    assert len({id(net.optimizer) for net in nets} | {id(optimizer)}) == COUNT + 1
    assert {net.optimizer.steps for net in nets} == {20}
    assert len({id(net.optimizer.lr) for net in nets} | {id(optimizer.lr)}) == COUNT + 1
    assert (optimizer.steps, bits(optimizer.moments), optimizer.rate) == (steps, moments, rate)


# ---- seeds -------------------------------------------------------------------------------------------------------


def trained(rng, count=COUNT):
    nets = networks(count=count)
    fit_many(nets, *data(LABELS, M), epochs=2, batch_size=16, rng=rng)
    return [bits(net.parameters) for net in nets]


def test_a_seed_gives_each_network_shuffles_of_its_own():
    assert trained(5) == trained(np.int64(5)) == trained(np.random.default_rng(5))
    assert trained(5) != trained(6)
    generators = [np.random.default_rng(child) for child in np.random.SeedSequence(5).spawn(COUNT)]
    assert trained(generators) == trained(5)
    assert trained(5, COUNT - 1) == trained(5)[:-1], "a seed is that of a network, however many there are"
    assert trained([1, None, 2, None, 3]) != trained([1, None, 2, None, 4])
    source = np.random.default_rng(5)
    assert trained(source) != trained(source), "a generator goes on"


def test_without_a_seed_each_network_continues_with_its_own():
    nets, others, (X, Y) = networks(), networks(), data(LABELS, M)
    for _ in range(2):
        fit_many(nets, X, Y, epochs=1, batch_size=16)
        for net in others:
            net.fit(X, Y, epochs=1, batch_size=16)
    assert [bits(net.parameters) for net in nets] == [bits(net.parameters) for net in others]


# ---- the course of each ------------------------------------------------------------------------------------------


def test_one_that_diverges_ends_alone_with_a_warning_that_names_it():
    """The others go on as if it were not there."""
    X, Y = data(NUMBERS, M)
    optimizers = [SGD(1e-3), SGD(1e3), SGD(1e-3), SGD(1e4)]
    nets = networks(LINEAR, 4)
    with pytest.warns(RuntimeWarning, match="training diverged") as caught:
        histories = fit_many(nets, X, Y, epochs=9, batch_size=16, optimizer=optimizers, rng=0)
    said = [str(warning.message) for warning in caught if "diverged" in str(warning.message)]
    assert [text[:11] for text in said] == ["network 1: ", "network 3: "]
    assert all(warning.filename == __file__ for warning in caught)
    assert [history.epochs == 9 for history in histories] == [True, False, True, False]
    assert [net.fit_state is None for net in nets] == [False, True, False, True]
    assert all(np.isfinite(net.parameters).all() for net in nets)
    children = np.random.SeedSequence(0).spawn(4)
    other = networks(LINEAR, 4)[2]
    other.fit(X, Y, epochs=9, batch_size=16, optimizer=SGD(1e-3), rng=np.random.default_rng(children[2]))
    assert bits(other.parameters) == bits(nets[2].parameters)


def test_many_that_diverge_do_not_flood_the_user():
    """Ten of them have a warning each, and one more warning has the numbers of the others."""
    nets = networks(LINEAR, 13)
    rates = [1e-3, *12 * (1e4,)]
    with pytest.warns(RuntimeWarning, match="network") as caught:
        fit_many(nets, *data(NUMBERS, M), epochs=2, batch_size=16, optimizer=[SGD(lr) for lr in rates])
    *whole, last = (str(warning.message) for warning in caught)
    assert [text.partition(":")[0] for text in whole] == [f"network {i}" for i in range(1, 11)]
    assert last == "2 more networks ended with such a warning: 11, 12."


def test_one_that_is_no_better_than_a_constant_is_named():
    X, _ = data(NUMBERS, M)
    nets = networks(NUMBERS, 3)
    with pytest.warns(RuntimeWarning, match="network 1: after 10 epochs the mse is .* no better than") as caught:
        fit_many(nets, X, X[:, :3], epochs=10, batch_size=16, optimizer=[Adam(0.01), SGD(1e-12), Adam(0.01)])
    assert len(caught) == 1


def test_callbacks_of_each_network():
    """After steps and after epochs, with the history of its own network; a true result ends this network's fit."""
    seen, (X, Y), nets = [], data(LABELS, M), networks(count=3)
    callbacks = [
        [lambda epoch, history: seen.append((0, epoch, history))],
        [],
        [(4, lambda step, history: seen.append((2, step, history)) or step == 8)],
    ]
    histories = fit_many(nets, X, Y, epochs=3, batch_size=16, callbacks=callbacks, rng=0)
    assert [history.epochs for history in histories] == [3, 3, 1]
    assert [call[:2] for call in seen if call[0] == 0] == [(0, 0), (0, 1), (0, 2)]
    assert [call[:2] for call in seen if call[0] == 2] == [(2, 4), (2, 8)]
    assert all(history is histories[i] for i, _, history in seen)


def test_callbacks_do_not_change_what_is_learnt():
    quiet, nosy, (X, Y) = networks(), networks(), data(LABELS, M)

    def look(net):
        net.predict(X)
        net.forward(X[:9])
        net.loss(X, Y)
        copy.deepcopy(net).fit(X, Y, epochs=1)

    callbacks = [[lambda *_, net=net: look(net), (3, lambda *_, net=net: look(net))] for net in nosy]
    fit_many(quiet, X, Y, epochs=3, batch_size=16, validation=0.2, rng=0)
    fit_many(nosy, X, Y, epochs=3, batch_size=16, validation=0.2, rng=0, callbacks=callbacks)
    assert [bits(net.parameters) for net in quiet] == [bits(net.parameters) for net in nosy]


def test_an_error_in_a_callback_comes_out_and_all_networks_go_on():
    def callback(epoch, history):
        raise LookupError("mine")

    nets, others, (X, Y) = networks(), networks(), data(LABELS, M)
    settings = {"epochs": 4, "batch_size": 16, "rng": 0, "validation": 0.2, "early_stopping": 9}
    with pytest.raises(LookupError, match="mine"):
        fit_many(nets, X, Y, callbacks=[[callback] if i == 2 else [] for i in range(COUNT)], **settings)
    assert all(net.optimizer.steps == net.fit_state.updates for net in nets)
    fit_many(nets, X, Y, resume=True, **settings)
    fit_many(others, X, Y, **settings)
    assert [bits(net.parameters) for net in nets] == [bits(net.parameters) for net in others]


def test_resumed_fits_have_the_bits_of_those_that_never_stopped(tmp_path):
    """Some are resumed from files, all after different numbers of epochs; one has ended, and one has not begun."""
    pytest.importorskip("safetensors", reason="files need safetensors (extra save)")
    settings = {"batch_size": 16, "validation": 0.2, "early_stopping": 30}
    (X, Y), whole, parts = data(LABELS, M), networks(), networks()
    expected = fit_many(whole, X, Y, epochs=9, rng=0, **settings)
    children = np.random.SeedSequence(0).spawn(COUNT)
    for net, child, epochs in zip(parts, children, (1, 3, 9, 5, 2), strict=True):
        stop = [(3, lambda step, history: step == 3)] if epochs == 1 else []
        net.fit(X, Y, epochs=epochs, rng=np.random.default_rng(child), callbacks=stop, **settings)
    for i in (0, 3):
        parts[i].save(tmp_path / "net")
        parts[i] = Network.load(tmp_path / "net")
    histories = fit_many(parts, X, Y, epochs=9, resume=True, **settings)
    assert [bits(net.parameters) for net in parts] == [bits(net.parameters) for net in whole]
    assert [history.loss for history in histories] == [history.loss for history in expected]


def test_checkpoints_of_each_network(tmp_path):
    pytest.importorskip("safetensors", reason="files need safetensors (extra save)")
    nets, (X, Y) = networks(count=3), data(LABELS, M)
    callbacks = [[Checkpoint(tmp_path / str(i), every=2 if i else None)] for i in range(3)]
    fit_many(nets, X, Y, epochs=2, batch_size=16, callbacks=callbacks)
    for i, steps in enumerate((14, 14, 14)):
        assert Network.load(tmp_path / str(i)).optimizer.steps == steps


# ---- how it is done ----------------------------------------------------------------------------------------------


@pytest.fixture
def launches(monkeypatch):
    """The number of networks, and of threads, of each group that is trained."""
    seen = []

    def doing(jobs, n, original=of_core.doing):
        if len(jobs):  # a call without jobs compiles, or loads the code
            seen.append((len(jobs), n))
        return original(jobs, n)

    monkeypatch.setattr(of_core, "doing", doing)
    return seen


def test_short_fits_are_trained_to_their_end_in_few_calls(launches):
    """A hundred networks in groups of 16, on two threads; each is in one group."""
    fastprop.set_num_threads(2)
    nets, (X, Y) = networks(count=100), data(LABELS, M)
    fit_many(nets, X, Y, epochs=2, batch_size=16)
    assert launches == [(16, 2)] * 6 + [(4, 2)]


def test_long_fits_are_trained_as_many_at_a_time_as_there_are_threads(launches, monkeypatch):
    monkeypatch.setattr(pace, "SLICE_SECONDS", 0.0)
    fastprop.set_num_threads(2)
    fit_many(networks(), *data(LABELS, M), epochs=2, batch_size=16)
    assert max(launches) == (2, 2)
    assert min(launches) == (1, 2), "the last one is alone"


@pytest.mark.filterwarnings("ignore:.* more networks ended with such a warning:RuntimeWarning")
@pytest.mark.parametrize("validation", [None, 0.2, data(LABELS, 50)])
def test_a_thousand_networks_do_not_need_a_thousand_workspaces(validation, monkeypatch):
    """There are as many engines as networks that are trained at a time, and none is left."""
    made, alive = [], []
    original = Engine.__init__

    def init(self, *arguments, **options):
        made.append(weakref.ref(self))
        alive.append(sum(engine() is not None for engine in made))
        original(self, *arguments, **options)

    monkeypatch.setattr(Engine, "__init__", init)
    fastprop.set_num_threads(2)
    nets, (X, Y) = networks(Case("tiny", (7, 4, 3), "relu", "softmax", 16), 1000), data(LABELS, M)
    fit_many(nets, X, Y, epochs=11, batch_size=32, validation=validation)
    at_a_time = 2 * 2 * MOST  # two groups, on two threads
    # One that trains and one that measures for each; and one for the cost of a fit that has learned nothing.
    assert max(alive) <= 2 * at_a_time + 1
    assert len(made) <= 3 * at_a_time
    gc.collect()
    assert not any(engine() for engine in made)
    assert {net.optimizer.steps for net in nets} == {11 * (4 if validation != 0.2 else 3)}


def test_data_in_common_are_checked_and_converted_once_and_held_once(monkeypatch):
    """Two kinds of networks and two dtypes take X in two forms, and Y in three; no copy of 4 MB is made for each."""
    checks = []
    original = Architecture.check_rows
    monkeypatch.setattr(
        Architecture, "check_rows", lambda self, X, name="X": checks.append(name) or original(self, X, name)
    )
    X = np.random.default_rng(0).random((100_000, 10))
    Y = X[:, :1]
    nets = [Network((10, 4, 1), rng=i) for i in range(10)] + [
        Network((10, 4, 1), loss="huber", rng=i) for i in range(10)
    ]
    nets += [Network((10, 4, 1), dtype="float64", rng=i) for i in range(5)]
    fit_many(nets, X[:100], Y[:100], epochs=1)  # compiled, which takes memory too
    checks.clear()
    tracemalloc.start()
    try:
        fit_many(nets, X, Y, epochs=1, batch_size=1000, shuffle=False)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len([name for name in checks if name == "X"]) <= 2 + 3, "once each, and once more for each kind of Y"
    assert peak < 2 * X.nbytes


def test_the_rows_of_a_fraction_and_the_order_exist_only_while_a_network_is_trained():
    """Twelve networks hold out rows of their own, of 8 MB; two are trained at a time, since each takes some slices."""
    fastprop.set_num_threads(2)
    X = np.random.default_rng(0).random((200_000, 10), np.float32)
    nets = [Network((10, 64, 64, 1), rng=i) for i in range(12)]
    fit_many(nets[:1], X[:100], X[:100, :1], epochs=1)
    tracemalloc.start()
    try:
        fit_many(nets, X, X[:, :1], epochs=5, batch_size=1000, validation=0.1)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 8 * X.nbytes


# ---- the bar -----------------------------------------------------------------------------------------------------


def test_one_bar_shows_all(monkeypatch):
    made, added, said = [], [], []

    class Watched(Progress):
        def __init__(self, wanted, total):
            super().__init__(False, total)
            made.append(total)

        def add(self, samples):
            added.append(samples)

        def say(self, text):
            said.append(text())

    monkeypatch.setattr("fastprop.training.many.Progress", Watched)
    fit_many(networks(), *data(LABELS, M), epochs=3, batch_size=16, validation=0.2)
    assert made == [COUNT * 3 * 80]
    assert sum(added) == COUNT * 3 * 80
    assert said[-1] == "5/5 networks"


def test_the_bar_is_tqdm_and_asked_for(capsys):
    pytest.importorskip("tqdm")
    fit_many(networks(), *data(LABELS, M), epochs=3, batch_size=16, progress=True)
    shown = capsys.readouterr().err
    assert "5/5 networks" in shown
    assert "100%" in shown


# ---- errors ------------------------------------------------------------------------------------------------------

X, Y = data(LABELS, M)
FINE = {"X": X, "Y": Y, "epochs": 1}
NOT_FINITE = np.where(np.arange(7) == 3, np.nan, X)
REFUSED = {
    "no list": (lambda nets: {"networks": nets[0]}, TypeError, "networks is Network"),
    "text": (lambda nets: {"networks": "net"}, TypeError, "it must be a list of networks"),
    "no network": (lambda nets: {"networks": [*nets, 3]}, TypeError, r"networks\[5\] is 3; it must be a Network"),
    "none": (lambda nets: {"networks": []}, ValueError, "networks is empty; give at least one"),
    "twice": (lambda nets: {"networks": [*nets, nets[2]]}, ValueError, r"networks\[5\] is networks\[2\]"),
    "rows of X as a list": (lambda nets: {"X": X.tolist()}, ValueError, r"X is a list of 100; .* Give np.array\(X\)"),
    "too few": (lambda nets: {"X": [X] * 4}, ValueError, "X is a list of 4; a list holds one for each network, and"),
    "labels as a list": (lambda nets: {"Y": Y.tolist()}, ValueError, "Y is a list of 100"),
    "weights": (lambda nets: {"sample_weight": [1.0] * M}, ValueError, "sample_weight is a list of 100"),
    "validation": (lambda nets: {"validation": [X, Y]}, ValueError, r"validation is a list of 2; .* Give a tuple"),
    "X of one": (lambda nets: {"X": [X, X, NOT_FINITE, X, X]}, ValueError, r"network 2: X\[0, 3\] is nan"),
    "Y of one": (lambda nets: {"Y": [Y, Y, Y, Y[:-1], Y]}, ValueError, "network 3: Y has 99 rows; X has 100"),
    "weights of one": (
        lambda nets: {"sample_weight": [None, None, None, None, -np.ones(M)]}, ValueError,
        "network 4: sample_weight lies",
    ),
    "validation of one": (lambda nets: {"validation": [None, 2, None, None, None]}, TypeError, "network 1: validation"),
    "patience": (lambda nets: {"early_stopping": 3}, ValueError, "network 0: .*'validation_loss' needs valid"),
    "epochs": (lambda nets: {"epochs": 0}, ValueError, "epochs is 0"),
    "batch": (lambda nets: {"batch_size": 0.5}, TypeError, "batch_size is 0.5"),
    "an optimizer": (lambda nets: {"optimizer": 3}, TypeError, "network 0: optimizer is 3"),
    "optimizers": (lambda nets: {"optimizer": [SGD()] * 3}, ValueError, "optimizer is a list of 3"),
    "one optimizer twice": (lambda nets: {"optimizer": [SGD()] * 5}, ValueError, "optimizer holds an optimizer twice"),
    "an optimizer of another": (
        lambda nets: {"optimizer": [Adam(), Adam(), Adam(), nets[0].optimizer, Adam()]}, ValueError,
        "network 3: this Adam holds the moments of another network",
    ),
    "a schedule": (
        lambda nets: {"optimizer": [Adam(), Adam(), SGD(lambda step: -1.0), Adam(), Adam()]}, ValueError,
        "network 2: .* at least 0",
    ),
    "a seed": (lambda nets: {"rng": "now"}, TypeError, "rng is 'now'"),
    "seeds": (lambda nets: {"rng": [1, 2]}, ValueError, "rng is a list of 2"),
    "one of the seeds": (lambda nets: {"rng": [1, 2, 3, -4, 5]}, ValueError, "rng is -4"),
    "a generator without children": (
        lambda nets: {"rng": np.random.Generator(np.random.PCG64(NoChildren()))}, TypeError, "spawn",
    ),
    "callbacks for all": (lambda nets: {"callbacks": [print]}, ValueError, "for 5 networks it must hold 5 sequences"),
    "callbacks": (lambda nets: {"callbacks": [[], [], [3], [], []]}, TypeError, r"callbacks\[2\]\[0\] is 3"),
    "a callback that refuses": (
        lambda nets: {"callbacks": [[], [], [], [Refuses()], []]}, LookupError, "I will not",
    ),
    "nothing to resume": (lambda nets: {"resume": True, "batch_size": 7}, ValueError, "network 0: batch_size is 7"),
    "progress": (lambda nets: {"progress": 3}, TypeError, "progress is 3"),
}  # fmt: skip


class NoChildren(np.random.bit_generator.ISeedSequence):
    """A source of seeds that cannot spawn others."""

    def generate_state(self, n_words, dtype=np.uint32):
        return np.arange(n_words).astype(dtype)


class Refuses:
    """A callback that is asked, and says no."""

    def begins(self, network):
        raise LookupError("I will not")

    def __call__(self, epoch, history):
        raise AssertionError


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused_changes_nothing(name):
    change, error, match = REFUSED[name]
    nets = networks()
    fit_many(nets, X, Y, epochs=1)
    before = [course(net, net.fit_state.history) for net in nets]
    optimizers, states = [net.optimizer for net in nets], [net.fit_state for net in nets]
    arguments = {"networks": nets, **FINE, **change(nets)}
    with pytest.raises(error, match=match):
        fit_many(arguments.pop("networks"), arguments.pop("X"), arguments.pop("Y"), **arguments)
    assert [course(net, net.fit_state.history) for net in nets] == before
    assert all(net.optimizer is optimizer for net, optimizer in zip(nets, optimizers, strict=True))
    assert all(net.fit_state is state for net, state in zip(nets, states, strict=True))


def test_no_warning_where_all_is_well():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit_many(networks(), X, Y, epochs=3)


def test_networks_in_any_sequence():
    for form in (tuple, iter, lambda nets: itertools.chain(nets)):
        nets = networks()
        assert len(fit_many(form(nets), X, Y, epochs=1)) == COUNT
