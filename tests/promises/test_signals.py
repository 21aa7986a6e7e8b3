"""Whatever signal arrives while a network trains, and whenever: what its handler saves goes on with the same bits."""

import os
import signal
import threading

import pytest
from marks import slow_but

from fastprop.kernels.interrupts import Held

pytest.importorskip("safetensors", reason="files of networks need the extra save")

TRAIN = """
import os, signal, sys, threading, time
import numpy as np
from fastprop import Adam, Network
name, folder, times = sys.argv[1], sys.argv[2], int(sys.argv[3])
number = getattr(signal, name)
rng = np.random.default_rng(5)
X, Y = rng.standard_normal((3000, 7), dtype=np.float32), rng.integers(0, 3, 3000)
def network():
    return Network((7, 33, 18, 3), "tanh", "softmax", rng=3, dropout=0.2)
settings = dict(epochs=12, batch_size=8, validation=0.2, early_stopping=20, progress=False)
whole = network()
started = time.perf_counter()
whole.fit(X, Y, optimizer=Adam(0.01), **settings)
network().fit(X, Y, optimizer=Adam(0.01), **settings)  # compiled
seconds = (time.perf_counter() - started) / 2
draws = np.random.default_rng(int(sys.argv[4]))
"""
SAVE = """
saved = []
def save(number, frame):
    path = f"{folder}/{len(saved)}.safetensors"
    net.save(path)
    saved.append(path)
signal.signal(number, save)
"""
SAVES = (
    TRAIN
    + SAVE
    + """
while len(saved) < times:
    net = network()
    before = len(saved)
    timer = threading.Timer(draws.uniform(0.1, 0.9) * seconds, lambda: os.kill(os.getpid(), number))
    timer.start()
    net.fit(X, Y, optimizer=Adam(0.01), **settings)
    timer.join()
    assert np.array_equal(net.parameters, whole.parameters)
    if len(saved) > before and Network.load(saved[-1]).fit_state is None:
        saved.pop()  # before the fit began, or after it ended
right = 0
for path in saved:
    again = Network.load(path)
    again.fit(X, Y, resume=True, **settings)
    right += np.array_equal(again.parameters, whole.parameters) and again.optimizer.steps == whole.optimizer.steps
print(right, len(saved))
"""
)
EXITS = (
    TRAIN
    + """
def leave(number, frame):
    raise SystemExit(3)
signal.signal(number, leave)
right = tried = 0
while tried < times:
    net = network()
    timer = threading.Timer(draws.uniform(0.1, 0.9) * seconds, lambda: os.kill(os.getpid(), number))
    try:
        timer.start()
        net.fit(X, Y, optimizer=Adam(0.01), **settings)
        timer.join()
        time.sleep(0.001)
    except SystemExit:
        timer.join()
    if net.fit_state is None:
        continue
    tried += 1
    net.save(f"{folder}/net.safetensors")
    again = Network.load(f"{folder}/net.safetensors")
    again.fit(X, Y, resume=True, **settings)
    right += np.array_equal(again.parameters, whole.parameters) and again.optimizer.steps == whole.optimizer.steps
print(right, tried)
"""
)
STEPS = (
    TRAIN
    + SAVE
    + """
net, optimizer = network(), Adam(0.01)
def send():
    for sent in range(times):
        time.sleep(draws.uniform(0.001, 0.01))
        os.kill(os.getpid(), number)
        while len(saved) <= sent:
            time.sleep(0.001)
thread = threading.Thread(target=send)
thread.start()
i = 0
while len(saved) < times:
    net.train_step(X[i % 3000 : i % 3000 + 8], Y[i % 3000 : i % 3000 + 8], optimizer)
    i += 8
thread.join()
signal.signal(number, signal.SIG_IGN)
files = [Network.load(path) for path in saved[:times]]
by_steps, again, optimizer = {}, network(), Adam(0.01)
for i in range(files[-1].optimizer.steps):
    again.train_step(X[8 * i % 3000 : 8 * i % 3000 + 8], Y[8 * i % 3000 : 8 * i % 3000 + 8], optimizer)
    by_steps[i + 1] = again.parameters.copy(), optimizer.moments.copy()
right = sum(np.array_equal(file.parameters, by_steps[file.optimizer.steps][0])
            and np.array_equal(file.optimizer.moments, by_steps[file.optimizer.steps][1]) for file in files)
print(right, len(files))
"""
)
MANY = (
    TRAIN
    + """
from fastprop import Ensemble, fit_many
settings.update(epochs=60, early_stopping=1000)  # several slices each
def networks():
    return [Network((7, 33, 18, 3), "tanh", "softmax", rng=i, dropout=0.2 * (i % 2)) for i in range(5)]
whole = networks()
started = time.perf_counter()
fit_many(whole, X, Y, optimizer=Adam(0.01), rng=0, **settings)
seconds = time.perf_counter() - started
saved = []
def save(number, frame):
    path = f"{folder}/{len(saved)}.safetensors"
    Ensemble(nets).save(path)
    saved.append(path)
"""
)
SAVES_MANY = (
    MANY
    + """
signal.signal(number, save)
while len(saved) < times:
    nets = networks()
    before = len(saved)
    timer = threading.Timer(draws.uniform(0.1, 0.9) * seconds, lambda: os.kill(os.getpid(), number))
    timer.start()
    fit_many(nets, X, Y, optimizer=Adam(0.01), rng=0, **settings)
    timer.join()
    assert all(np.array_equal(net.parameters, other.parameters) for net, other in zip(nets, whole))
    if len(saved) > before and not all(net.fit_state for net in Ensemble.load(saved[-1]).networks):
        saved.pop()  # before the fits began
right = 0
for path in saved:
    again = Ensemble.load(path).networks
    fit_many(again, X, Y, resume=True, **settings)
    right += all(np.array_equal(net.parameters, other.parameters) for net, other in zip(again, whole))
print(right, len(saved))
"""
)
INTERRUPTS_MANY = (
    MANY
    + """
signal.signal(signal.SIGINT, signal.default_int_handler)  # a child of a background job would ignore it
right = tried = 0
while tried < times:
    nets = networks()
    timer = threading.Timer(draws.uniform(0.1, 0.9) * seconds, lambda: os.kill(os.getpid(), signal.SIGINT))
    try:
        timer.start()
        histories = fit_many(nets, X, Y, optimizer=Adam(0.01), rng=0, **settings)
        timer.join()
        time.sleep(0.001)
    except KeyboardInterrupt:  # before the fits began, or after they ended
        timer.join()
        continue
    ended = [history.epochs == settings["epochs"] for history in histories]
    if all(ended):
        continue
    tried += 1
    assert [history.interrupted for history in histories] == [not each for each in ended]
    assert threading.active_count() == 1
    Ensemble(nets).predict(X)
    fit_many(nets, X, Y, resume=True, **settings)
    right += all(np.array_equal(net.parameters, other.parameters) for net, other in zip(nets, whole))
print(right, tried)
"""
)
NAMES = [name for name in ("SIGTERM", "SIGUSR1", "SIGALRM") if hasattr(signal, name)]
TIMES = int(os.environ.get("FASTPROP_SIGNALS", 6))


@pytest.mark.skipif(os.name == "nt", reason="there, os.kill ends the process")
@pytest.mark.parametrize(
    "script", slow_but([SAVES], [SAVES, EXITS, STEPS]), ids=["the handler saves", "the handler exits", "single steps"]
)
@pytest.mark.parametrize("name", slow_but(NAMES[:1], NAMES))
def test_a_signal_at_any_moment_costs_no_bit(name, script, run_python, tmp_path):
    """FASTPROP_SIGNALS=100 tries 100 random moments of each kind (default 6)."""
    right, tried = map(int, run_python(script, name, tmp_path, TIMES, 0, timeout=1200).split())
    assert right == tried == TIMES


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="there, os.kill ends the process")
@pytest.mark.parametrize("script", [SAVES_MANY, INTERRUPTS_MANY], ids=["the handler saves", "Ctrl-C"])
def test_a_signal_while_many_networks_train_costs_no_bit(script, run_python, tmp_path):
    """What a handler saves of all of them, and what Ctrl-C leaves, goes on with the bits of fits that never stopped."""
    right, tried = map(int, run_python(script, "SIGTERM", tmp_path, TIMES, 0, timeout=1200).split())
    assert right == tried == TIMES


@pytest.fixture
def handlers():
    """Put back what stood for these signals."""
    numbers = [getattr(signal, name) for name in (*NAMES, "SIGINT")]
    before = [signal.getsignal(number) for number in numbers]
    yield
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)


@pytest.mark.usefixtures("handlers")
def test_handlers_run_after_the_block_and_in_order():
    ran = []
    for name in NAMES:
        signal.signal(getattr(signal, name), lambda number, frame: ran.append(signal.Signals(number).name))
    expected = [signal.getsignal(getattr(signal, name)) for name in NAMES]
    with Held():
        for name in reversed(NAMES):
            signal.raise_signal(getattr(signal, name))
        assert ran == []
    assert ran == NAMES[::-1]
    assert [signal.getsignal(getattr(signal, name)) for name in NAMES] == expected


@pytest.mark.usefixtures("handlers")
def test_every_handler_runs_although_one_raises():
    ran = []
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, lambda number, frame: ran.append(number))
    held = Held()
    held.__enter__()
    signal.raise_signal(signal.SIGINT)
    signal.raise_signal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt):
        held.__exit__(None, None, None)
    assert ran == [signal.SIGTERM]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.usefixtures("handlers")
def test_blocks_nest():
    ran = []
    signal.signal(signal.SIGTERM, lambda number, frame: ran.append(number))
    with Held():
        with Held():
            signal.raise_signal(signal.SIGTERM)
        assert ran == []
    assert ran == [signal.SIGTERM]


def test_in_another_thread_nothing_is_held_back():
    found = []
    thread = threading.Thread(target=lambda: found.append(Held().__enter__()._replaced))
    thread.start()
    thread.join()
    assert found == [[]]
