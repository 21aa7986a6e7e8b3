"""The cache as people install it: read-only images, zip files, shared checkouts, old files, no folder at all."""

import os
import shutil
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest
from test_cache import FOUND, NO_TEMPORARY, NOWHERE, PACKAGE

from fastprop.kernels import jit

pytestmark = pytest.mark.slow


@pytest.fixture
def copied(tmp_path):
    """A copy of the package, without its cache."""
    shutil.copytree(PACKAGE, tmp_path / "fastprop", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path / "fastprop"


READ_ONLY = """
import os, tempfile
from pathlib import Path

def refused(*arguments, **settings):
    raise PermissionError(13, "read-only")

os.makedirs = Path.mkdir = Path.write_bytes = tempfile.TemporaryFile = os.utime = refused
"""


def test_a_warm_cache_that_cannot_be_written_is_read(copied, run_python, tmp_path):
    """An image whose cache was warmed by its maker, and that another user runs."""
    where = {"folder": copied.parent, "NUMBA_CACHE_DIR": "", "XDG_CACHE_HOME": str(tmp_path / "user")}
    assert run_python(FOUND, **where) == "70 0\n"
    assert list((copied / "kernels" / "__pycache__").glob("fastprop-*"))
    assert run_python(READ_ONLY + FOUND, **where) == "70 1\n"


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="no users on this platform")
@pytest.mark.skipif(hasattr(os, "getuid") and os.getuid() != 0, reason="only root can become another user")
def test_another_user_reads_it_too(copied, tmp_path):
    """With real permissions: what is missing there is kept in a folder of that user."""
    home = tmp_path / "home"
    home.mkdir()
    os.chown(home, 65534, 65534)
    for folder in (tmp_path, *tmp_path.parents[:3]):
        if not os.stat(folder).st_mode & 0o005:
            pytest.skip("another user cannot enter the folder of this test")
    environment = {
        **os.environ, "PYTHONSAFEPATH": "1", "PYTHONPATH": str(tmp_path), "NUMBA_CACHE_DIR": "", "HOME": str(home),
    }  # fmt: skip
    environment.pop("XDG_CACHE_HOME", None)

    def run(code, **settings):
        done = subprocess.run(
            [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False, **settings
        )
        if "Permission denied" in done.stderr and "python" in done.stderr.splitlines()[-1]:
            pytest.skip("another user cannot run this interpreter")
        assert done.returncode == 0, done.stderr
        return done.stdout

    try:
        subprocess.run([sys.executable, "-c", "import numba"], user=65534, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("another user cannot run this interpreter")
    run(FOUND)
    assert run(FOUND, user=65534, group=65534) == "70 1\n"
    for path in (copied / "kernels" / "__pycache__").glob("fastprop-*"):
        path.unlink()
    assert run(FOUND, user=65534, group=65534) == "70 0\n"
    assert run(FOUND, user=65534, group=65534) == "70 1\n"
    assert list(home.rglob("fastprop-*"))


def test_without_a_home_a_temporary_folder_of_this_user_is_used(copied, run_python, tmp_path):
    (copied / "kernels" / "__pycache__").write_text("")
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    where = {**NOWHERE, "folder": copied.parent, "TMPDIR": str(temporary)}
    assert run_python(FOUND, **where) == "70 0\n"
    assert run_python(FOUND, **where) == "70 1\n"
    (folder,) = temporary.iterdir()
    if hasattr(os, "getuid"):
        assert folder.stat().st_mode & 0o777 == 0o700
        folder.chmod(0o777)  # what others may have written is not loaded
        assert run_python(FOUND, **where) == "70 0\n"


def test_one_warning_names_the_variable_where_nothing_can_be_kept(copied, run_python):
    (copied / "kernels" / "__pycache__").write_text("")
    code = (
        NO_TEMPORARY
        + """
import warnings
from fastprop.kernels import scan
import numpy as np
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    X = np.zeros(100, np.float32)
    scan.first_outside(X[0], X.ctypes.data, 100, -1.0, 1.0)
    scan.address_of(X)
    said = [str(w.message) for w in caught]
print(len(said), "NUMBA_CACHE_DIR" in said[0])
"""
    )
    assert run_python(code, folder=copied.parent, **{**NOWHERE, "PYTHONWARNINGS": ""}) == "1 True\n"


def test_the_line_on_a_terminal_says_once_only_if_it_is_true(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    temporary = jit._temporary_folder()
    said = {}
    for name, folder in {"kept": str(tmp_path / "x"), "none": None, "temporary": os.path.join(temporary, "x")}.items():
        monkeypatch.setattr(jit, "_announced", False)
        jit._announce(folder)
        jit._announce(folder)
        said[name] = capsys.readouterr().err
    assert all(line.count("\n") == 1 for line in said.values())
    assert "once" in said["kept"]
    assert "once" not in said["none"] + said["temporary"]
    assert "NUMBA_CACHE_DIR" in said["none"]


@pytest.mark.parametrize("name", ["packages.zip", "application.pyz"])
def test_a_zip_file_is_cached(copied, run_python, tmp_path, name):
    """In NUMBA_CACHE_DIR or the user's folder; another version of a kernel in the zip file is another stamp."""
    archive = tmp_path / name
    stamp = "from fastprop.kernels import jit\nprint(jit.source_stamp())"

    def pack():
        with zipfile.ZipFile(archive, "w") as file:
            for path in copied.rglob("*.py"):
                file.write(path, path.relative_to(tmp_path))

    pack()
    for setting in ("NUMBA_CACHE_DIR", "XDG_CACHE_HOME"):
        where = {"NUMBA_CACHE_DIR": "", setting: str(tmp_path / setting), "folder": archive}
        assert run_python(FOUND, **where) == "70 0\n"
        assert run_python(FOUND, **where) == "70 1\n"
        assert list((tmp_path / setting).rglob("*first_outside*"))
    before = run_python(stamp, folder=archive)
    shutil.rmtree(copied / "kernels" / "__pycache__", ignore_errors=True)
    assert before == run_python(stamp, folder=tmp_path)
    scan = copied / "kernels" / "scan.py"
    scan.write_text(scan.read_text("utf-8") + "# edited\n", "utf-8")
    pack()
    assert run_python(stamp, folder=archive) != before


FROZEN = """
import importlib.abc, importlib.machinery, sys

class Loader(importlib.abc.InspectLoader):  # as PyInstaller's: code objects whose file names are relative
    def __init__(self, path):
        self.path = path
    def get_source(self, name):
        return None
    def get_code(self, name):
        with open(f"{ROOT}/{self.path}", encoding="utf-8") as file:
            return compile(file.read(), self.path, "exec")
    def get_filename(self, name):
        return f"/nowhere/{self.path}c"
    def is_package(self, name):
        return self.path.endswith("__init__.py")

class Finder(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        import os
        if name.split(".")[0] != "fastprop":
            return None
        for end in ("/__init__.py", ".py"):
            relative = name.replace(".", "/") + end
            if os.path.isfile(f"{ROOT}/{relative}"):
                spec = importlib.machinery.ModuleSpec(name, Loader(relative), origin=f"/nowhere/{relative}c",
                                                      is_package=end == "/__init__.py")
                spec.has_location = True
                return spec

ROOT = sys.argv[1]
sys.meta_path.insert(0, Finder())
sys.frozen = True
"""


def test_a_frozen_application_is_cached(copied, run_python, tmp_path):
    """Without sources: from the executable's stamp, in the user's folder, from whatever folder it is started."""
    where = {"NUMBA_CACHE_DIR": "", "XDG_CACHE_HOME": str(tmp_path / "cache")}
    assert run_python(FROZEN + FOUND, copied.parent, **where) == "70 0\n"
    assert run_python(FROZEN + "import os\nos.chdir('/')\n" + FOUND, copied.parent, **where) == "70 1\n"


OTHER = "import numba\nnumba.__version__ = '0.0.1'\n"


def test_environments_with_different_versions_of_numba_share_a_folder(copied, run_python, tmp_path):
    """Neither removes the other's code, nor loads it."""
    where = {"folder": copied.parent, "NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    assert run_python(FOUND, **where) == "70 0\n"
    assert run_python(OTHER + FOUND, **where) == "70 0\n"
    assert run_python(OTHER + FOUND, **where) == run_python(FOUND, **where) == "70 1\n"


def files_of(folder):
    return jit._Files(lambda: [str(folder)], "fastprop-base")


def age(path, days):
    then = time.time() - days * jit.DAY
    os.utime(path, (then, then))


def test_files_that_were_not_used_for_a_month_are_removed(tmp_path):
    """Whatever version they are of; and what a process that was killed has left after a day. No other files."""
    files = files_of(tmp_path)
    names = ["fastprop-a.nbc", "fastprop-b.nbc", "fastprop-c.1.part", "fastprop-d.2.part", "of-the-user.nbc", "x.pyc"]
    for name, days in zip(names, [31, 29, 2, 0.5, 400, 400], strict=True):
        (tmp_path / name).write_text("")
        age(tmp_path / name, days)
    jit._remove_old.cache_clear()
    files.save("key", 1)
    left = {path.name for path in tmp_path.iterdir()}
    assert left - {path.name for path in tmp_path.glob("fastprop-base.*")} == set(names) - {names[0], names[2]}


def test_loading_a_file_counts_as_using_it(tmp_path):
    files = files_of(tmp_path)
    files.save("key", 1)
    (path,) = tmp_path.iterdir()
    age(path, 29)
    assert files.load("key") == 1
    assert time.time() - path.stat().st_mtime < jit.DAY


def test_two_files_that_were_swapped_are_not_loaded(tmp_path):
    """The digest covers the key: signature, processor, versions and code."""
    files = files_of(tmp_path)
    files.save("one", 1)
    files.save("two", 2)
    assert (files.load("one"), files.load("two")) == (1, 2)
    one, two = (tmp_path / files._name(key) for key in ("one", "two"))
    content = one.read_bytes()
    one.write_bytes(two.read_bytes())
    two.write_bytes(content)
    assert files.load("one") is None
    assert files.load("two") is None


def test_file_names_hold_no_line_numbers(copied, run_python, tmp_path):
    """The names of an upgrade's files differ in the digest alone."""
    where = {"folder": copied.parent, "NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    run_python(FOUND, **where)
    source = copied / "kernels" / "scan.py"
    source.write_text("# a line\n" + source.read_text("utf-8"), "utf-8")
    run_python(FOUND, **where)
    names = [path.name.split(".")[:3] for path in Path(tmp_path / "cache").rglob("*first_outside*")]
    assert len(names) == 2
    assert names[0] == names[1] == ["fastprop-scan", "first_outside", sys.implementation.cache_tag]


def test_code_of_the_same_instructions_with_other_constants_has_another_key():
    assert jit.code_digest((lambda x: x + 1000).__code__) != jit.code_digest((lambda x: x + 2000).__code__)
    assert jit.code_digest((lambda x: x + 1000).__code__) == jit.code_digest((lambda x: x + 1000).__code__)
