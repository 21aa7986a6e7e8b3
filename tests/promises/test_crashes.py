"""Saving is atomic: after a kill, a crash or an error, the file is the old one or the new one."""

import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from processes import environment
from saved_runs import network, same

from fastprop import Adam, Checkpoint, Network

# The data are random: some of these fits end no better than a constant, and say so.
pytestmark = pytest.mark.filterwarnings("ignore:after .* epochs the:RuntimeWarning")

pytest.importorskip("safetensors", reason="files need safetensors (extra save)")

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
    """Train as `TRAIN` does."""
    rng = np.random.default_rng(0)
    X, Y = rng.standard_normal((64, 5), dtype=np.float32), rng.standard_normal((64, 2), dtype=np.float32)
    return net.fit(X, Y, epochs=epochs, batch_size=16, progress=False, **settings)


def killed(path, after, goes_on=False):
    """Kill a process that saves after every batch, `after` seconds after it began; return the network in its file."""
    child = subprocess.Popen(
        [sys.executable, "-c", TRAIN, str(path), str(goes_on)], stdout=subprocess.PIPE, env=environment()
    )
    assert child.stdout.readline() == b"begun\n"
    time.sleep(after)
    child.kill()
    child.communicate()
    return Network.load(path)


@pytest.mark.slow
def test_a_killed_process_leaves_a_whole_file(tmp_path):
    """A process is killed at random moments while it saves after every batch: the file holds a state that was saved."""
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


@pytest.mark.slow
def test_resuming_after_kills_has_the_bits_of_a_fit_that_was_never_killed(tmp_path):
    """Each process resumes from the file of the one that was killed before it."""
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


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_crash_at_any_call_of_the_system_leaves_the_old_file_or_the_new_one(tmp_path, run_python):
    """A process is killed before and after each system call of a save: the file is the old one or the new one."""
    lines = [line.split() for line in run_python(CRASHES, tmp_path / "net.safetensors").splitlines()]
    calls = [(event, name) for event, name, _ in lines]
    states = [state for *_, state in lines]
    for name in ("open", "write", "fsync", "replace"):
        assert {("c_call", name), ("c_return", name)} <= set(calls)
    renamed = calls.index(("c_return", "replace"))
    assert states == ["old"] * renamed + ["new"] * (len(states) - renamed)


@pytest.mark.skipif(os.name != "posix", reason="folders are not opened elsewhere")
def test_what_is_renamed_is_on_the_disk(tmp_path, monkeypatch):
    """The new file, in the same folder, is synced before it replaces the old one, and the folder after that."""
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


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGXFSZ"), reason="files have no limit on this platform")
def test_a_full_disk_leaves_the_last_good_file(tmp_path, run_python):
    """A limit on the size of files stands for the full disk."""
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


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGXFSZ"), reason="files have no limit on this platform")
def test_a_disk_that_becomes_full_ends_a_fit_and_leaves_the_last_checkpoint(tmp_path, run_python):
    """The fourth checkpoint does not fit on the disk."""
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


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="folders have no such permissions elsewhere")
def test_a_folder_that_cannot_be_written_to_keeps_the_last_good_file(tmp_path, run_python):
    """Root drops its rights first. A fit raises before it begins, or when the folder has changed since then."""
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
