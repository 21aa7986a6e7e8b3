"""The cache of compiled kernels is never stale, never for another processor, and never a reason to fail."""

import importlib.util
import io
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from machines import environment_of
from processes import PACKAGE, environment

from fastprop.kernels import jit

KERNELS = sorted((PACKAGE / "kernels").glob("*.py"))


@pytest.fixture
def copied(tmp_path):
    """A copy of the package, without its cache."""
    shutil.copytree(PACKAGE, tmp_path / "fastprop", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path / "fastprop"


def stamp_of(package):
    """What `source_stamp` says in a copy of the package, in this process."""
    importlib.invalidate_caches()
    spec = importlib.util.spec_from_file_location("fastprop.kernels.copied_jit", package / "kernels" / "jit.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.source_stamp()


def test_an_edit_of_any_kernel_source_changes_the_stamp(copied):
    """Numba's own stamp covers the file of the cached function alone, not of those that it inlines."""
    assert stamp_of(copied) == jit.source_stamp()
    seen = {stamp_of(copied)}
    for path in sorted((copied / "kernels").glob("*.py")):
        path.write_text(path.read_text("utf-8") + "# edited\n", "utf-8")
        seen.add(stamp_of(copied))
    assert len(seen) == 1 + len(KERNELS)
    (copied / "kernels" / "another.py").write_text("", "utf-8")
    assert stamp_of(copied) not in seen


FOUND = """
import numpy as np
from fastprop.kernels import scan

X = np.zeros(100, np.float32)
X[70] = np.nan
print(scan.first_outside(X[0], X.ctypes.data, 100, -1.0, 1.0), sum(scan.first_outside.stats.cache_hits.values()))
"""


@pytest.mark.slow
def test_an_edit_is_compiled_and_runs_although_the_cached_function_is_in_another_file(copied, run_python):
    """A function is compiled, then loaded from the cache; after an edit in simd.py it is compiled again, as edited."""
    where = {"folder": copied.parent, "NUMBA_CACHE_DIR": str(copied.parent / "cache")}
    assert run_python(FOUND, **where) == "70 0\n"
    assert run_python(FOUND, **where) == "70 1\n"
    source = copied / "kernels" / "simd.py"
    text = source.read_text("utf-8")
    before = "return builder.load(_element(context, builder, a, args))\n\n    return a.dtype("
    assert text.count(before) == 1, "this test edits `get`, and no longer finds it"
    after = before.replace("args", "(args[0], builder.add(args[1], args[1].type(1)))")
    source.write_text(text.replace(before, after), "utf-8")  # get(a, i) now reads a[i + 1]
    assert run_python(FOUND, **where) == "69 0\n"
    assert run_python(FOUND, **where) == "69 1\n"


class Terminal(io.StringIO):
    """A screen."""

    def isatty(self):
        return True


@pytest.mark.parametrize("screen", [Terminal, io.StringIO], ids=["terminal", "file"])
def test_compiling_is_announced_once_where_somebody_looks(screen, monkeypatch, tmp_path):
    """There is no message if the code comes from the cache, no second one, and none in a log file."""
    name = f"of_a_user_{screen.__name__}"
    (tmp_path / f"{name}.py").write_text("def first():\n    pass\n\n\ndef second():\n    pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    mine = importlib.import_module(name)
    monkeypatch.setattr(sys, "stderr", screen())
    monkeypatch.setattr(jit, "_announced", False)
    for function in (mine.first, mine.second):
        assert jit.routine(lambda _: "void()")(function).address("float32")
    said = sys.stderr.getvalue()
    assert said.count("\n") == said.count("compiling its kernels") == (screen is Terminal)
    monkeypatch.setattr(jit, "_announced", False)
    assert jit.routine(lambda _: "void()")(mine.first).address("float32")
    assert sys.stderr.getvalue() == said


NOWHERE = {
    "HOME": os.devnull + "/home", "XDG_CACHE_HOME": os.devnull + "/cache", "NUMBA_CACHE_DIR": "",
    "PYTHONWARNINGS": "ignore::RuntimeWarning",
}  # fmt: skip
NO_TEMPORARY = "import tempfile\ntempfile.tempdir = '/dev/null/temporary'\n"


@pytest.mark.slow
def test_without_a_home_and_beside_sources_that_cannot_be_written_it_still_runs(copied, run_python):
    """Nor a temporary folder: compiled anew each time. (A file stands where the folder would be made.)"""
    (copied / "kernels" / "__pycache__").write_text("")
    for _ in range(2):
        assert run_python(NO_TEMPORARY + FOUND, folder=copied.parent, **NOWHERE) == "70 0\n"


@pytest.mark.slow
def test_sources_that_cannot_be_written_are_cached_in_the_users_folder(copied, run_python, tmp_path):
    (copied / "kernels" / "__pycache__").write_text("")
    where = {"folder": copied.parent, "NUMBA_CACHE_DIR": "", "XDG_CACHE_HOME": str(tmp_path / "cache")}
    assert run_python(FOUND, **where) == "70 0\n"
    assert run_python(FOUND, **where) == "70 1\n"
    assert list((tmp_path / "cache").rglob("*first_outside*"))


@pytest.fixture
def cached(copied, run_python, tmp_path):
    """Where the one compiled function of `FOUND` is, and what runs it."""
    where = {"folder": copied.parent, "NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    assert run_python(FOUND, **where) == "70 0\n"
    (file,) = [path for path in (tmp_path / "cache").rglob("*.nbc") if "first_outside" in path.name]
    return file, lambda **environment: run_python(FOUND, **{**where, **environment})


@pytest.mark.slow
def test_a_damaged_file_is_compiled_anew(cached):
    """The file is emptied, truncated, overwritten, or has a single bit of its machine code changed."""
    file, run = cached
    whole = file.read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 4
    for damaged in (b"", whole[:-1], b"\0" * len(whole), bytes(flipped)):
        file.write_bytes(damaged)
        assert run() == "70 0\n"
        assert run() == "70 1\n"


@pytest.mark.slow
def test_a_folder_that_cannot_be_written_to_any_more(cached):
    """Here a folder has the file's name: what is compiled is saved in the next folder."""
    file, run = cached
    file.unlink()
    file.mkdir()
    assert run() == "70 0\n"
    assert run() == "70 1\n"


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Linux alone has a full device")
def test_a_full_disk(cached, monkeypatch):
    """Writing fails as on a full disk, and leaves no file behind."""
    file, _ = cached
    write_bytes = Path.write_bytes
    monkeypatch.setattr(Path, "write_bytes", lambda self, data: write_bytes(Path("/dev/full"), data))
    files = jit._Files(lambda: [str(file.parent)], "base")
    with pytest.raises(OSError, match="No space"):
        files.save("key", 1)
    assert files.load("key") is None
    assert [path.name for path in file.parent.iterdir() if "base" in path.name] == []


@pytest.mark.slow
def test_files_of_other_processors_stay(cached):
    """One folder on a network, for machines of two kinds."""
    _, run = cached
    other = environment_of("SSE")
    assert run(**other) == "70 0\n"
    assert run(**other) == run() == "70 1\n"


def test_two_writers_of_one_file_and_its_readers(tmp_path):
    """Eight threads save and load the same key: each load is of a whole value, and no part is left over."""
    from concurrent.futures import ThreadPoolExecutor

    files = jit._Files(lambda: [str(tmp_path)], "base")

    def use(worker):
        for i in range(50):
            files.save("key", [worker] * (1000 * (i % 3 + 1)))
            found = files.load("key")
            assert len(set(found)) == 1
            assert len(found) % 1000 == 0
        return True

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(use, range(8)))
    assert len(list(tmp_path.iterdir())) == 1


TRAINED = """
import hashlib
import numpy as np
from fastprop import Adam, Network
from fastprop.kernels import steps
X = np.random.default_rng(0).random((64, 7), np.float32)
net = Network((7, 9, 3), output="softmax", rng=0)
net.fit(X, np.arange(64) % 3, epochs=2, batch_size=16, optimizer=Adam())
print(hashlib.sha256(net.parameters.tobytes() + net.predict(X).tobytes()).hexdigest())
"""


@pytest.mark.slow
def test_a_network_is_trained_where_no_folder_can_be_written_to(copied, run_python, tmp_path):
    """With no home, read-only sources, and a read-only cache folder or none, training gives the same bits."""
    (copied / "kernels" / "__pycache__").write_text("")
    said = run_python(NO_TEMPORARY + FOUND + "print(scan.first_outside._cache.folder)", folder=copied.parent, **NOWHERE)
    assert said == "70 0\nNone\n"
    folder = tmp_path / "read-only"
    folder.mkdir(mode=0o555)
    if os.access(folder, os.W_OK):
        folder = Path("/proc/self")  # for root, whom no mode stops
    where = {**NOWHERE, "NUMBA_CACHE_DIR": str(folder)}
    said = run_python(
        NO_TEMPORARY
        + TRAINED
        + "print(steps.launch_alone._cache.folder, *(each._cache.folder for each in steps.worker._compiled.values()))",
        folder=copied.parent,
        **where,
    )
    digest, folders = said.splitlines()
    assert digest == run_python(TRAINED).strip()
    assert folders == "None None"


@pytest.mark.slow
def test_cold_processes_started_at_once(copied, tmp_path):
    """Processes that fill the same empty folder at once all succeed, with the same bits."""
    count = int(os.environ.get("FASTPROP_COLD", "2"))
    variables = environment(copied.parent, PYTHONSAFEPATH="1", NUMBA_CACHE_DIR=str(tmp_path / "c"))
    started = [
        subprocess.Popen([sys.executable, "-c", TRAINED], env=variables, stdout=subprocess.PIPE, text=True)
        for _ in range(count)
    ]
    said = [process.communicate(timeout=600)[0] for process in started]
    assert [process.returncode for process in started] == [0] * count
    assert len(set(said)) == 1
    assert len(said[0]) == 65
