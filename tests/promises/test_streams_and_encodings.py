"""Standard streams that are None, closed or incomplete, and outputs of ASCII: nothing that is shown ends a program."""

import ast
import dataclasses
import importlib
import io
import json
import math
import os
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from marks import slow_but

import fastprop
from fastprop import (
    SGD,
    Activation,
    Adam,
    Checkpoint,
    CSVLog,
    Ensemble,
    Health,
    History,
    Loss,
    Network,
    diagnose,
    schedules,
    texts,
)
from fastprop.health import Finding, Spread
from fastprop.kernels import jit
from fastprop.optimizers import OPTIMIZERS
from fastprop.training.progress import Progress

PACKAGE = Path(fastprop.__file__).parent
ROOT = next((folder for folder in Path(__file__).parents if (folder / "pyproject.toml").exists()), PACKAGE.parent)
SCRIPTS, BENCHMARKS = ROOT / "scripts", ROOT / "benchmarks"
SOURCES = sorted(PACKAGE.rglob("*.py"))
PROGRAMS = [path for folder in (SCRIPTS, BENCHMARKS) for path in sorted(folder.glob("*.py"))]

# ---- streams that are none ---------------------------------------------------------------------------------------


class Log:
    """A writer without isatty."""

    def write(self, text):
        return len(text)


class Rude(io.StringIO):
    def isatty(self):
        raise NotImplementedError("no terminal here")


class Broken(io.StringIO):
    """A terminal that went away."""

    def isatty(self):
        return True

    def write(self, text):
        raise OSError(5, "Input/output error")


class Closing(io.StringIO):
    """A terminal that is closed while the fit runs."""

    left = 5

    def isatty(self):
        return True

    def write(self, text):
        self.left -= 1
        if self.left < 0:
            raise ValueError("I/O operation on closed file")
        return super().write(text)


def closed():
    stream = io.StringIO()
    stream.close()
    return stream


def ascii_only():
    return io.TextIOWrapper(io.BytesIO(), encoding="ascii")


STREAMS = {"None": lambda: None, "closed": closed, "object": object, "Log": Log, "Rude": Rude, "Broken": Broken,
           "Closing": Closing, "ascii": ascii_only}  # fmt: skip


def data(m=200):
    X = np.random.default_rng(0).standard_normal((m, 3))
    return X, X.sum(axis=1)


@pytest.mark.parametrize("progress", [None, True])
@pytest.mark.parametrize("name", STREAMS)
def test_a_fit_needs_no_error_stream(name, progress, monkeypatch):
    """The result is that of a fit whose stream works."""
    if progress:
        pytest.importorskip("tqdm", reason="a progress bar needs tqdm (extra progress)")
    nets = [Network((3, 8, 1), rng=0) for _ in range(2)]
    nets[0].fit(*data(), epochs=3, progress=False)
    monkeypatch.setattr(sys, "stderr", STREAMS[name]())
    history = nets[1].fit(*data(), epochs=3, validation=data(20), progress=progress)
    monkeypatch.undo()
    assert history.epochs == 3
    np.testing.assert_array_equal(nets[0].parameters, nets[1].parameters)


@pytest.mark.parametrize("name", STREAMS)
def test_a_line_that_announces_needs_no_error_stream(name, monkeypatch):
    monkeypatch.setattr(sys, "stderr", STREAMS[name]())
    monkeypatch.setattr(jit, "_announced", False)
    jit._announce("folder")
    assert jit.is_watched() is (name in ("Broken", "Closing"))


def test_the_line_that_announces_is_ascii(monkeypatch):
    class Terminal(io.TextIOWrapper):
        def isatty(self):
            return True

    monkeypatch.setattr(sys, "stderr", Terminal(io.BytesIO(), encoding="ascii"))
    monkeypatch.setattr(jit, "_announced", False)
    jit._announce("folder")
    said = sys.stderr.buffer.getvalue()
    monkeypatch.undo()
    assert b"compiling its kernels" in said


def test_a_bar_that_lost_its_stream_is_left_alone(monkeypatch):
    pytest.importorskip("tqdm", reason="a progress bar needs tqdm (extra progress)")
    stream = Closing()
    monkeypatch.setattr(sys, "stderr", stream)
    bar = Progress(None, 100)
    bar.show()
    assert stream.getvalue()
    stream.left = 0
    for act in (lambda: bar.add(50), lambda: bar.say(lambda: "loss 0.1"), lambda: bar.add(50), bar.close):
        act()


DIVERGES = """
import sys, io
import numpy as np
from fastprop import SGD, Network
X = np.ones((50, 3))
{stream}
history = Network((3, 8, 1), rng=0).fit(X, X.sum(axis=1), epochs=50, batch_size=50, optimizer=SGD(1e30))
sys.stdout.write(str(0 < history.epochs < 50))
sys.stderr = None  # which Python flushes at its end
"""


NO_STREAM = ["sys.stderr = None", "sys.stderr.close()", "sys.stderr = object()", ""]


@pytest.mark.parametrize("stream", slow_but(NO_STREAM[:1], NO_STREAM))
def test_a_warning_needs_no_error_stream(stream, run_python):
    """Python's own warnings raise ValueError where the stream is closed; the history would be lost."""
    assert run_python(DIVERGES.format(stream=stream)) == "True"


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="closes the file descriptors with a shell")
def test_a_process_without_standard_streams():
    code = (
        "import sys, numpy as np, fastprop; X = np.ones((50, 3)); assert sys.stderr is sys.stdout is None;"
        "net = fastprop.Network((3, 8, 1), rng=0); history = net.fit(X, X.sum(axis=1), epochs=2);"
        "fastprop.show_versions(); print(fastprop.diagnose(net, X, X.sum(axis=1)));"
        "sys.exit(7 if history.epochs == 2 else 1)"
    )
    environment = {**os.environ, "PYTHONPATH": str(PACKAGE.parent)}
    command = ["sh", "-c", 'exec "$0" -c "$1" >&- 2>&-', sys.executable, code]
    assert subprocess.run(command, env=environment, timeout=240, check=False).returncode == 7


def test_a_warning_that_is_made_an_error_stays_one():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(UserWarning, match="so it is"):
            texts.warn("so it is", UserWarning)


def test_a_warning_names_the_line_of_its_caller():
    with pytest.warns(RuntimeWarning, match="so it is") as seen:
        texts.warn("so it is")
    assert seen[0].filename == __file__


# ---- what str and repr give --------------------------------------------------------------------------------------

SIGMA = Activation("σ", lambda z: 1 / (1 + math.exp(-z)), lambda z: math.exp(-z) / (1 + math.exp(-z)) ** 2)
COST = Loss("größe", lambda y_hat, y: (y_hat - y) ** 2, lambda y_hat, y: 2 * (y_hat - y))


class Größe(SGD):
    """An optimizer whose name is not ASCII."""


def custom_schedule(step):
    return 0.1


custom_schedule.__qualname__ = custom_schedule.__name__ = "größer"


def report():
    net = Network((3, 20, 20, 1), hidden=SIGMA, loss=COST, rng=0)
    net.layers[1].b[:] = 50
    found = diagnose(net, *data(), SGD(0.1))
    finding = Finding("exploding gradients", (1,), "‖dZ‖ grows from 1 … 2: Ŷ - Y → é", "größer")
    return dataclasses.replace(found, findings=(*found.findings, finding))


def shown():
    """Objects of every class of the package that defines how it is shown."""
    found = report()
    net = Network((3, 8, 2), hidden=SIGMA, loss=COST, rng=0)
    yield from (found, found.layers[0], found.findings[-1], Spread(1.0, 0.0, 1.0), net, net.layers[0], SIGMA, COST)
    yield from (
        net.architecture,
        History(loss=[0.5], best_epoch=0),
        Health(*data(5)),
        Checkpoint("größe/ñ.safetensors"),
        CSVLog("größe/ñ.csv"),
        net.gradient_check(data(5)[0], np.ones((5, 2))),
        Ensemble([net]),
    )
    yield from (optimizer() for optimizer in OPTIMIZERS.values())
    yield from (Größe(0.1), Adam(lr=custom_schedule), schedules.ReduceOnPlateau(0.1))
    yield from (schedules.cosine(0.1, 10), schedules.warm_up(10, custom_schedule))


def test_what_str_and_repr_give_is_ascii():
    for value in shown():
        for text in (str(value), repr(value)):
            assert text.isascii(), text


def test_every_class_that_defines_how_it_is_shown_is_among_those():
    defined = set()
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.ClassDef):
                methods = {each.name for each in node.body if isinstance(each, ast.FunctionDef)}
                defined |= {node.name} if methods & {"__str__", "__repr__"} else set()
    seen = {cls.__name__ for value in shown() for cls in type(value).__mro__}
    assert defined <= seen


def test_the_report_is_ascii_and_its_dictionary_is_as_it_is():
    found = report()
    assert "|dZ| grows from 1 ... 2: Y_hat - Y -> \\xe9" in str(found)
    assert "1: 3 -> 20 " in str(found)
    assert str(found.findings[-1]) in str(found)
    assert found.to_dict() == dataclasses.asdict(found)
    assert found.to_dict()["findings"][-1]["text"] == "‖dZ‖ grows from 1 … 2: Ŷ - Y → é"
    assert json.loads(json.dumps(found.to_dict()))["layers"][0]["activation"] == "σ"


def literals(node):
    """The text of a statement, without the docstrings."""
    return [each.value for each in ast.walk(node) if isinstance(each, ast.Constant) and isinstance(each.value, str)]


@pytest.mark.parametrize("path", SOURCES, ids=[str(path.relative_to(PACKAGE)) for path in SOURCES])
def test_the_messages_of_errors_and_warnings_are_ascii(path):
    """print(error) ends a program where the output cannot encode it."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        call = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
        if isinstance(node, ast.Raise) or call.endswith(("warn", "print", "warnings.append")):
            for text in literals(node):
                assert text.isascii(), f"line {node.lineno}: {text}"


def test_plain_and_printable(monkeypatch):
    assert texts.plain("‖ΔW‖ → …, é") == "|\\u0394W| -> ..., \\xe9"
    for encoding, expected in (("utf-8", "é ‖"), ("cp1252", "\\xe9 |"), ("ascii", "\\xe9 |"), ("no such", "\\xe9 |")):
        monkeypatch.setattr(sys, "stdout", type("Stream", (), {"encoding": encoding}))
        found, cost = texts.printable("é ‖"), texts.printable("é")
        monkeypatch.undo()
        assert found == expected
        assert cost == ("é" if encoding in ("utf-8", "cp1252") else "\\xe9")
    monkeypatch.setattr(sys, "stdout", None)
    found = texts.printable("é")
    monkeypatch.undo()
    assert found == "é"


# ---- programs ----------------------------------------------------------------------------------------------------


def run(path, *arguments, cwd, encoding="ascii", **environment):
    """What a program prints on an output of this encoding, after it has ended well."""
    variables = {**os.environ, "PYTHONPATH": str(PACKAGE.parent), "PYTHONIOENCODING": encoding, **environment}
    command = [sys.executable, path, *map(str, arguments)]
    done = subprocess.run(command, cwd=cwd, env=variables, capture_output=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr.decode("utf-8", "replace")
    return done.stdout.decode(encoding)


RUNS = {
    "control.py": (("--steps", 2000), ""),
    "diagnosis.py": (("--epochs", 2, "--picture", "größe.png"), "matplotlib"),
    "exchange.py": (("--folder", "größe"), "onnx"),
    "pipeline.py": (("--folds", 2), "sklearn"),
    "regression.py": (("--rows", 500, "--hidden", 8), ""),
    "reinforce.py": (("--iterations", 1, "--carts", 4, "--picture", "größe.png"), "matplotlib"),
    "spiral.py": (("--hidden", 4, "--folder", "größe"), "matplotlib"),
    "stream.py": (("--batches", 40, "--every", 20, "--save", "größe.safetensors"), "safetensors"),
    "uncertainty.py": (("--networks", 2, "--epochs", 2, "--picture", "größe.png"), "matplotlib"),
    "why_backprop.py": (("--widths", 4, "--plot", "größe.png"), "matplotlib"),
}
OTHERS = {"train.py", "make_digits.py", "check_speed.py", "datasets.py", "numpy_training.py", "distributed.py"}


@pytest.mark.slow
@pytest.mark.parametrize("name", RUNS)
def test_a_script_prints_on_any_output(name, tmp_path):
    arguments, library = RUNS[name]
    if library:
        pytest.importorskip(library, reason=f"{name} needs {library}")
    assert run(SCRIPTS / name, *arguments, cwd=tmp_path)


@pytest.mark.slow
def test_train_prints_names_that_the_output_cannot_encode(tmp_path):
    rows = [f"{i % 7},{i % 3},{('blå', 'größer')[i % 2]}" for i in range(60)]
    (tmp_path / "größe.csv").write_text("\n".join(["a,b,farbe", *rows]) + "\n", encoding="utf-8")
    arguments = ("--data", "größe.csv", "--target", "farbe", "--hidden", 4, "--epochs", 2, "--no-compare")
    assert "gr\\xf6\\xdfer" in run(SCRIPTS / "train.py", *arguments, cwd=tmp_path)
    assert "größer" in run(SCRIPTS / "train.py", *arguments, cwd=tmp_path, encoding="utf-8")


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="closes the file descriptor with a shell")
def test_train_needs_no_error_stream(tmp_path):
    command = ["sh", "-c", 'exec "$0" "$@" 2>&-', sys.executable, SCRIPTS / "train.py", "--epochs", "1", "--no-compare"]
    environment = {**os.environ, "PYTHONPATH": str(PACKAGE.parent)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, timeout=240, check=False)
    assert done.returncode == 0
    assert b"held-out accuracy" in done.stdout


@pytest.mark.slow
def test_make_digits_prints_on_any_output(tmp_path):
    pytest.importorskip("sklearn", reason="make_digits.py needs scikit-learn")
    folder = tmp_path / "größe"
    folder.mkdir()
    shutil.copy(SCRIPTS / "make_digits.py", folder)
    assert run(folder / "make_digits.py", cwd=folder).startswith("wrote digits.npz: 1,797 digits")


def test_check_speed_prints_ascii(monkeypatch):
    monkeypatch.syspath_prepend(SCRIPTS)
    module = importlib.import_module("check_speed")
    assert module.row("xs", [(1.0, 1.1, 1.1), (1.0, 0.9, 0.9)]).isascii()


def test_every_script_is_among_those():
    assert {path.name for path in SCRIPTS.glob("*.py")} == {*RUNS} | OTHERS


@pytest.mark.slow
def test_a_benchmark_prints_its_table_on_any_output(tmp_path):
    """The table that is in the README, from the figures of an earlier run."""
    pytest.importorskip("matplotlib", reason="compare_peers.py draws a chart")
    arguments = ("--from-json", BENCHMARKS / "peers.json", "--out", tmp_path / "out")
    found = run(BENCHMARKS / "compare_peers.py", *arguments, cwd=tmp_path)
    assert " x JAX scan" in found
    assert " us a step" in found


def calls(tree, *names):
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and getattr(node.func, "attr", getattr(node.func, "id", "")) in names:
            yield node


@pytest.mark.parametrize("path", PROGRAMS, ids=[f"{path.parent.name}/{path.name}" for path in PROGRAMS])
def test_a_program_prints_ascii_or_what_the_output_can_encode(path):
    """Whatever is printed is ASCII or goes through `printable`, and so is all that --help shows."""
    tree = ast.parse(path.read_text("utf-8"))
    if any(ast.unparse(node).find("description=__doc__") >= 0 for node in calls(tree, "ArgumentParser")):
        assert ast.get_docstring(tree).isascii()
    for node in calls(tree, "print", "add_argument", "add", "error", "SystemExit"):
        for text in literals(node):
            assert text.isascii(), f"line {node.lineno}: {text}"


@pytest.mark.slow
def test_show_versions_prints_on_any_output(tmp_path, run_python):
    folder = tmp_path / "größe"
    for encoding, name in (("ascii", "gr\\xf6\\xdfe"), ("utf-8", "größe")):
        environment = {"NUMBA_CACHE_DIR": str(folder), "PYTHONIOENCODING": encoding}
        code = "import io, sys, fastprop; fastprop.show_versions()"
        variables = {**os.environ, "PYTHONPATH": str(PACKAGE.parent), **environment}
        done = subprocess.run([sys.executable, "-c", code], env=variables, capture_output=True, timeout=240, check=True)
        assert name in done.stdout.decode(encoding)
