"""``python -m fastprop.compile``: what it compiles is all that later processes need."""

import os
import shutil
import subprocess
import sys

import pytest
from test_cache import PACKAGE

from fastprop import compile as warming

pytestmark = pytest.mark.slow

FIT = """
import sys
import numpy as np
import fastprop
from fastprop import Adam, Network
from fastprop.kernels import jit

missed = []
save = jit._Cache.save_overload
jit._Cache.save_overload = lambda self, sig, data: missed.append(self._py_func.__qualname__) or save(self, sig, data)
rng = np.random.default_rng(0)
X, labels = rng.random((200, 21)).astype(sys.argv[1]), rng.integers(0, 3, 200)
for threads in (1, 2):
    fastprop.set_num_threads(threads)
    for hidden, batch in (("relu", 32), ("tanh", 1), ("gelu", 200)):
        net = Network((21, 35, 3), hidden, "softmax", dtype=sys.argv[1], rng=0)
        net.fit(X, labels, epochs=2, batch_size=batch, optimizer=Adam(), validation=0.2, progress=False)
        net.predict(X), net.predict(X[:1]), net.loss(X, labels)
        for rows in (X, X[:1]):
            net.backward(dA=net.forward(rows))
            net.dX, net.jacobian(rows), net.step(Adam(clip_norm=0.1))
    fastprop.fit_many([net, Network((21, 35, 3), output="softmax", dtype=sys.argv[1])], X, labels, epochs=2)
print(missed)
"""


def test_after_it_a_fit_compiles_nothing(run_python, tmp_path):
    """Of float64, which takes the way of float32 and one argument more."""
    dtype = "float64"
    where = {"NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    code = "import sys\nfrom fastprop.compile import main\nsys.exit(main(sys.argv[1:]))"
    said = run_python(code, 21, 35, 3, "--dtype", dtype, timeout=900, **where)
    assert f"compiled or loaded all for 21-35-3 of {dtype}" in said
    assert str(tmp_path / "cache") in said
    assert run_python(FIT, dtype, **where) == "[]\n"


def run(*arguments, **environment):
    return subprocess.run(
        [sys.executable, "-m", "fastprop.compile", *arguments],
        env={**os.environ, "PYTHONSAFEPATH": "1", "PYTHONPATH": str(PACKAGE.parent), **environment},
        capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("arguments", [(), ("3",), ("3", "0"), ("--all", "3", "4"), ("x", "3")])
def test_wrong_arguments_are_refused_with_the_usage(arguments):
    done = run(*arguments)
    assert done.returncode == 2
    assert done.stderr.startswith("usage: python -m fastprop.compile")


def test_clear_removes_compiled_code_and_nothing_else(tmp_path):
    shutil.copytree(PACKAGE, tmp_path / "fastprop", ignore=shutil.ignore_patterns("__pycache__"))
    folder = tmp_path / "fastprop" / "kernels" / "__pycache__"
    folder.mkdir()
    for name in ("fastprop-a.nbc", "fastprop-b.0.part", "of-the-user.nbc"):
        (folder / name).write_text("")
    where = {"PYTHONPATH": str(tmp_path), "NUMBA_CACHE_DIR": "", "XDG_CACHE_HOME": str(tmp_path / "cache")}
    done = run("--clear", **where)
    assert done.returncode == 0, done.stderr
    assert f"removed 2 files from {folder}" in done.stdout
    assert [path.name for path in folder.iterdir() if path.suffix != ".pyc"] == ["of-the-user.nbc"]


def test_where_nothing_can_be_kept_it_says_so_and_fails(monkeypatch, capsys):
    monkeypatch.setattr(warming, "warm", lambda sizes, dtype: None)
    monkeypatch.setattr(warming.jit, "writable_folder", lambda function: None)
    assert warming.main(["3", "4"]) == 1
    assert "NUMBA_CACHE_DIR" in capsys.readouterr().out


def test_all_is_of_any_widths(monkeypatch, capsys):
    asked = []
    monkeypatch.setattr(warming, "warm", lambda sizes, dtype: asked.append((sizes, dtype.name)))
    assert warming.main(["--all"]) == 0
    assert warming.main(["3", "4", "--dtype", "float64"]) == 0
    assert asked == [(None, "float32"), ((3, 4), "float64")]
    assert "networks of any widths" in capsys.readouterr().out
