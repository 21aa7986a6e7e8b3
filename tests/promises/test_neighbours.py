"""A good neighbour in its process and on its machine: OpenMP, quotas, affinity, environment, loggers, other limits."""

import os
import sys
import threading

import pytest
from test_concurrency import PARALLEL, has_layer

import fastprop
from fastprop.core import cores, threads

OPENMP = (
    PARALLEL
    + """
import ctypes
from numba.np.ufunc import omppool
library = ctypes.CDLL(omppool.__file__)
library.omp_set_num_threads(3)
trained(0)
import numba
print(library.omp_get_max_threads(), numba.threading_layer())
"""
)


TWO_OPENMPS = (
    """
import ctypes, shutil, sys
ctypes.CDLL("libgomp.so.1")  # the one that Numba's layer is linked to
(path,) = {line.split()[-1] for line in open("/proc/self/maps") if "libgomp" in line}
other = ctypes.CDLL(shutil.copy(path, sys.argv[1]), ctypes.RTLD_GLOBAL)
"""
    + PARALLEL
    + """
other.omp_set_num_threads(3)
trained(0)
import numba
print(other.omp_get_max_threads(), numba.threading_layer())
"""
)


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="finds the library by Linux's list of mappings")
@pytest.mark.skipif(not has_layer("omp"), reason="Numba has no omp layer here")
def test_so_does_that_of_another_openmp(run_python, tmp_path):
    """PyTorch brings one of its own, whose symbols the process sees before those of the system's."""
    assert run_python(TWO_OPENMPS, tmp_path / "libgomp-other.so", NUMBA_THREADING_LAYER="omp") == "3 omp\n"


@pytest.mark.slow
@pytest.mark.skipif(not has_layer("omp"), reason="Numba has no omp layer here")
def test_the_number_of_openmp_threads_stays_as_it_was(run_python):
    assert run_python(OPENMP, NUMBA_THREADING_LAYER="omp") == "3 omp\n"


@pytest.mark.parametrize(
    ("lines", "files", "expected"),
    [
        ("0::/\n", {"cpu.max": "100000 100000"}, 1.0),
        ("0::/\n", {"cpu.max": "max 100000"}, None),
        ("0::/a/b\n", {"a/cpu.max": "150000 100000", "a/b/cpu.max": "max 100000"}, 1.5),
        ("0::/a/b\n", {"a/cpu.max": "150000 100000", "a/b/cpu.max": "400000 100000"}, 1.5),
        ("0::/not/seen/from/within\n", {"cpu.max": "50000 100000"}, 0.5),
        ("0::/../other\n", {"cpu.max": "200000 100000"}, 2.0),
        ("4:cpu,cpuacct:/d\n2:memory:/d\n", {"cpu,cpuacct/d/cpu.cfs_quota_us": "200000"}, 2.0),
        ("4:cpu,cpuacct:/d\n", {"cpu,cpuacct/d/cpu.cfs_quota_us": "-1"}, None),
        ("3:cpuacct:/d\n1:cpu:/docker/1\n", {"cpu/cpu.cfs_quota_us": "300000"}, 3.0),
        ("3:cpuset:/d\n", {"cpuset/d/cpu.cfs_quota_us": "100000"}, None),
        ("1:cpu:/\n0::/\n", {"unified/cpu.max": "100000 100000", "cpu/cpu.cfs_quota_us": "-1"}, 1.0),
        ("0::/\n", {}, None),
        ("0::/\n", {"cpu.max": "nonsense"}, None),
    ],
)
def test_the_quota_of_control_groups(tmp_path, lines, files, expected):
    """Of versions 1 and 2 and both at once, of the group and of those above it, seen from within a container or not."""
    (tmp_path / "list").write_text(lines)
    for name, text in files.items():
        path = tmp_path / "mounted" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        if "quota" in name:
            path.with_name("cpu.cfs_period_us").write_text("100000")
    assert cores.quota(tmp_path / "list", tmp_path / "mounted") == expected


def test_no_control_groups(tmp_path):
    assert cores.quota(tmp_path / "none", tmp_path) is None


@pytest.fixture
def eight(monkeypatch):
    """A process that may use eight cores."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)
    monkeypatch.setattr(threads.numba.config, "NUMBA_NUM_THREADS", 8)
    for name in ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(cores, "quota", lambda *_: None)
    cores.forget()
    yield monkeypatch
    cores.forget()


@pytest.mark.parametrize(("quota", "expected"), [(None, 8), (1.0, 1), (0.5, 1), (2.9, 2), (64.0, 8)])
def test_a_quota_bounds_the_number_of_threads(eight, quota, expected):
    eight.setattr(cores, "quota", lambda *_: quota)
    assert fastprop.get_num_threads() == expected
    fastprop.set_num_threads(5)
    assert fastprop.get_num_threads() == 5


@pytest.mark.parametrize(("value", "expected"), [("1", 1), ("3,2", 3), ("nonsense", 8), ("", 8), ("99", 8), ("0", 1)])
def test_omp_num_threads_counts_where_the_user_chose_nothing(eight, value, expected):
    eight.setenv("OMP_NUM_THREADS", value)
    assert fastprop.get_num_threads() == expected
    eight.setenv("NUMBA_NUM_THREADS", "8")
    cores.forget()
    assert fastprop.get_num_threads() == 8


def test_the_affinity_is_looked_at_again(eight):
    """After a second, and not at every call."""
    looked = []
    eight.setattr(os, "sched_getaffinity", lambda pid: looked.append(pid) or {0, 1, 2}, raising=False)
    now = [100.0]
    eight.setattr(cores, "monotonic", lambda: now[0])
    assert [fastprop.get_num_threads() for _ in range(100)] == [3] * 100
    assert len(looked) == 1
    eight.setattr(os, "sched_getaffinity", lambda pid: {0}, raising=False)
    now[0] += 1.1
    assert fastprop.get_num_threads() == 1


LATE = (
    PARALLEL
    + """
alone = trained(0)
os.environ["NUMBA_NUM_THREADS"] = sys.argv[1]
from fastprop import RMSprop
net = Network((20, 40, 5), "gelu", output="softmax", rng=0)  # compiles what is not in the cache
net.fit(X, Y, epochs=1, batch_size=100, optimizer=RMSprop())
print(trained(0) == alone, os.environ["NUMBA_NUM_THREADS"])
"""
)


@pytest.mark.slow
@pytest.mark.parametrize("count", ["1", "7"])
def test_a_number_of_threads_that_comes_late_into_the_environment(run_python, tmp_path, count):
    code = LATE.replace("import os, sys", "import os, sys\nimport fastprop.kernels.jit as jit", 1).replace(
        "os.environ[", "jit._Cache.load_overload = lambda *_: None\nos.environ[", 1
    )
    assert run_python(code, count) == f"True {count}\n"


LOGGED = """
import io, logging
stream = io.StringIO()
logging.basicConfig(level=logging.DEBUG, stream=stream)
logging.getLogger("numba.core.ssa").setLevel(logging.DEBUG)
import numpy as np
from fastprop.kernels import jit, scan
jit._Cache.load_overload = lambda *_: None
X = np.zeros(100, np.float32)
scan.first_outside(X[0], X.ctypes.data, 100, -1.0, 1.0)
print(stream.getvalue().count("\\n"), logging.getLogger("numba").level, logging.getLogger("numba.core.ssa").level)
import numba
numba.njit(lambda x: x + 1)(1)
print(len(stream.getvalue()) > 100)
"""


@pytest.mark.slow
def test_numbas_loggers_are_quiet_only_while_kernels_are_compiled(run_python):
    assert run_python(LOGGED) == "0 0 10\nTrue\n"


COMPILED_ANEW = """
import numba
import numpy as np
from fastprop.kernels import scan
X = np.zeros(100, np.float32)
print(scan.first_outside(X[0], X.ctypes.data, 100, 1.0, 2.0), numba.njit(lambda x: x + 1).__class__.__name__)
"""


@pytest.mark.slow
def test_numba_disable_jit_is_for_the_users_functions(run_python, tmp_path):
    """Kernels are compiled and loaded as ever, and a user's function stays one of Python."""
    assert run_python(PARALLEL + "print(trained(0) == trained(0))", NUMBA_DISABLE_JIT="1") == "True\n"
    variables = {"NUMBA_DISABLE_JIT": "1", "NUMBA_CACHE_DIR": str(tmp_path)}
    assert run_python(COMPILED_ANEW, **variables) == "0 function\n"


NO_THREADS = (
    PARALLEL
    + """
import threading, warnings
start = threading.Thread.start

def refused(self):
    raise RuntimeError("can't start new thread")

threading.Thread.start = refused
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    few = trained(0), trained(0)
print([str(w.message)[:38] for w in caught])
threading.Thread.start = start
fastprop.set_num_threads(1)
print(few == (trained(0), trained(0)))
"""
)


@pytest.mark.slow
def test_where_no_thread_can_be_started_one_computes(run_python):
    """As beyond a container's limit of pids, where Numba's workqueue would hang and GNU OpenMP end the process."""
    assert run_python(NO_THREADS, timeout=120) == "['this process can start no more threads']\nTrue\n"


def test_trying_leaves_no_threads_behind():
    before = threading.active_count()
    assert threads._can_start(4)
    assert threading.active_count() == before
