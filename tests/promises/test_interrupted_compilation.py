"""Ctrl-C while kernels are compiled or loaded: KeyboardInterrupt or a finished fit, and the same bits afterwards."""

import ctypes
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import fastprop
from fastprop.kernels import jit
from fastprop.kernels.interrupts import callback

pytestmark = pytest.mark.slow

PACKAGE = Path(fastprop.__file__).parent
INTERRUPTED = """
import hashlib, os, random, signal, sys, threading
import numpy as np
from fastprop import Adam, Network
signal.signal(signal.SIGINT, signal.default_int_handler)  # a child of a background job would ignore it
draws, seconds = random.Random(int(sys.argv[1])), float(sys.argv[2])
rng = np.random.default_rng(5)
X, Y = rng.standard_normal((300, 7), dtype=np.float32), rng.integers(0, 3, 300)
fired = []

def interrupt():
    fired.append(True)
    os.kill(os.getpid(), signal.SIGINT)

times, ended = 0, False
while not ended:
    fired.clear()
    timer = threading.Timer(draws.uniform(0, seconds), interrupt)
    timer.start()
    try:
        net = Network((7, 33, 18, 3), "tanh", "softmax", rng=3)
        history = net.fit(X, Y, epochs=3, batch_size=8, validation=0.2, optimizer=Adam(0.01), progress=False)
        P = net.predict(X)
        timer.cancel()
        timer.join()
        assert history.interrupted == bool(fired), "Ctrl-C was swallowed"
        ended = not history.interrupted
    except KeyboardInterrupt:
        assert fired
    times += 1
    timer.cancel()
    timer.join()
print(times, hashlib.sha256(net.parameters.tobytes() + P.tobytes()).hexdigest())
"""


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no signals to a process of one's own on this platform")
def test_ctrl_c_while_kernels_are_compiled(tmp_path):
    """FASTPROP_INTERRUPTS=40 takes code out of the cache at random 40 times (default 1), after a first cold start."""
    shutil.copytree(PACKAGE, tmp_path / "fastprop", ignore=shutil.ignore_patterns("__pycache__"))
    environment = {
        **os.environ,
        "PYTHONSAFEPATH": "1",
        "PYTHONPATH": str(tmp_path),
        "NUMBA_CACHE_DIR": str(tmp_path / "cache"),
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
    }
    draws = random.Random(0)
    digests = set()
    for seed in range(1 + int(os.environ.get("FASTPROP_INTERRUPTS", "1"))):
        files = sorted((tmp_path / "cache").rglob("*.nbc"))
        for file in draws.sample(files, min(3, len(files))):
            file.unlink()
        done = subprocess.run(
            [sys.executable, "-c", INTERRUPTED, str(seed), "2.0" if files else "4.0"],
            env=environment, capture_output=True, text=True, timeout=900, check=False,
        )  # fmt: skip
        assert (done.returncode, done.stderr) == (0, "")
        times, digest = done.stdout.split()
        digests.add(digest)
        assert files or int(times) > 1
    assert len(digests) == 1


@pytest.fixture
def ctrl_c():
    """Python's own handler of SIGINT, and a function that interrupts this process after some seconds."""
    if os.name == "nt":
        pytest.skip("there, os.kill ends the process")
    before = signal.signal(signal.SIGINT, signal.default_int_handler)

    def after(seconds):
        timer = threading.Timer(seconds, os.kill, [os.getpid(), signal.SIGINT])
        timer.start()
        return timer

    yield after
    signal.signal(signal.SIGINT, before)


def test_a_signal_waits_until_the_routine_is_compiled(ctrl_c):
    reached = []

    def block():
        with jit.compiling():
            signal.raise_signal(signal.SIGINT)
            reached.append(True)

    with pytest.raises(KeyboardInterrupt):
        block()
    assert reached
    assert not jit.global_compiler_lock.is_locked()


def test_what_was_interrupted_is_compiled(ctrl_c, monkeypatch):
    """The address is there after KeyboardInterrupt, and the second access neither compiles nor raises."""
    compile_ = jit._Compiled.compile

    def interrupted(self):
        signal.raise_signal(signal.SIGINT)
        compile_(self)

    monkeypatch.setattr(jit._Compiled, "compile", interrupted)

    def one(x):
        return x + 1

    routine = jit.routine(lambda _: "int64(int64)")(one)
    with pytest.raises(KeyboardInterrupt):
        routine.address("float32")
    assert ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64)(routine.address("float32"))(41) == 42


def test_an_entry_too(ctrl_c, monkeypatch):
    def interrupted(self, sig, context):
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(jit._Cache, "load_overload", interrupted)

    @jit.entry
    def two(x):
        return x + 2

    with pytest.raises(KeyboardInterrupt):
        two(40)
    assert two(40) == 42
    assert len(two.overloads) == 1


def test_a_callback_of_compiled_code_never_loses_a_signal(ctrl_c):
    """The signal comes while the callback works, or before, or after: all its work is done, then KeyboardInterrupt."""
    import numba

    c_type = ctypes.CFUNCTYPE(None, ctypes.c_int64)
    done = []

    def work(i):
        time.sleep(0.0005)
        done.append(i)

    function = c_type(callback(work))
    compiled = c_type(ctypes.cast(function, ctypes.c_void_p).value)

    @numba.njit(nogil=True)
    def ten_times(f):
        total = 0.0
        for i in range(10):
            for j in range(20_000):
                total += j
            f(i)
        return total

    ten_times(compiled)
    draws = random.Random(1)
    for _ in range(50):
        done.clear()

        def interrupted():
            nonlocal timer
            timer = ctrl_c(draws.uniform(0.0001, 0.006))
            ten_times(compiled)
            for _ in range(1000):
                time.sleep(0.01)

        timer = None
        with pytest.raises(KeyboardInterrupt):
            interrupted()
        if timer is not None:
            timer.join()
        assert done in ([], list(range(10)))


def test_a_handler_that_exits_is_heard_after_a_callback():
    """The exception of a handler reaches the caller, with its value, and the handlers are what they were."""
    number = signal.SIGTERM

    def leave(number, frame):
        raise SystemExit(7)

    before = signal.signal(number, leave), signal.getsignal(signal.SIGINT)
    function = ctypes.CFUNCTYPE(None)(callback(lambda: signal.raise_signal(number)))
    try:
        with pytest.raises(SystemExit, match="7"):
            function() or time.sleep(10)
        assert signal.getsignal(number) is leave
        assert signal.getsignal(signal.SIGINT) is before[1]
    finally:
        signal.signal(number, before[0])


OF_THE_USER = """
import os, signal, sys, threading, time
import numba, numpy as np
from fastprop.kernels import tiles, transpose

signal.signal(signal.SIGINT, signal.default_int_handler)
compile_group = tiles._compile_group

def slow(*group):
    compile_group(*group)
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(0.01)

tiles._compile_group = slow

@numba.njit
def turned(out, a):
    tiles.transpose_tile(16, (out, a, 1))

turned.compile((numba.float32[::1], numba.float32[::1]))
a = np.arange(256, dtype=np.float32)
out = np.zeros(256, np.float32)
try:
    turned(out, a)
    time.sleep(10)
    print("swallowed")
except KeyboardInterrupt:
    print(np.array_equal(out.reshape(16, 16), a.reshape(16, 16).T))
"""


@pytest.mark.skipif(os.name == "nt", reason="there, os.kill ends the process")
def test_ctrl_c_while_a_users_compiled_code_compiles_its_tiles(run_python):
    assert run_python(OF_THE_USER) == "True\n"
