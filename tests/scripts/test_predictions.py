"""benchmarks/predictions.py: all predictors compute the same, and its table is right. No speed is asserted."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np
import predictions
import predictors
import pytest
from cases import named
from processes import BENCHMARKS, environment

TINY = ("--shapes", "xs", "--batches", "1", "--threads", "1")


def command(*arguments: object, folder: Path | None = None) -> subprocess.CompletedProcess:
    """Run the script; `folder` is searched for modules before all others."""
    folders = [] if folder is None else [folder]
    return subprocess.run(
        [sys.executable, BENCHMARKS / "predictions.py", *map(str, arguments)],
        capture_output=True, text=True, timeout=120, check=False, env=environment(*folders),
    )  # fmt: skip


def rows(output: str) -> list[list[str]]:
    """The cells of the table's lines, without the one below its head."""
    lines = [line for line in output.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in [lines[0], *lines[2:]]]


# ---- the same is computed --------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("default")  # what other libraries warn of themselves is theirs
@pytest.mark.parametrize("shape", ["xs", "s", "digits"])
@pytest.mark.parametrize("name", predictors.PREDICTORS)
def test_every_predictor_computes_what_the_reference_does(name, shape):
    modules, make = predictors.PREDICTORS[name]
    for module in modules:
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"{module} is not installed")
    case = named(shape)
    parameters = predictors.parameters_of(case)
    predict = make(case, parameters, 1)
    for batch in (1, 33):
        X = predictors.data(case, batch)[0]
        for _ in range(2):
            predictions.check(name, case, batch, predictors.deviation(case, parameters, X, predict(X)))


def test_what_is_computed_otherwise_is_found():
    case = named("digits")
    parameters = predictors.parameters_of(case)
    X = predictors.data(case, 100)[0]
    Y_hat = predictors.numpy_out(case, parameters, 1)(X)
    without = predictors.numpy_out(case, predictors.start(case), 1)(X)  # biases of zero
    for other in (without, Y_hat[:-1], Y_hat.astype(float), Y_hat * np.nan, Y_hat + np.float32(1e-3)):
        with pytest.raises(SystemExit, match="NumPy computes something else: on digits, B=100"):
            predictions.check("NumPy", case, 100, predictors.deviation(case, parameters, X, other))


@pytest.mark.parametrize(("large", "enough"), [(0, lambda calls: calls == 1), (1e99, lambda calls: calls > 1)])
def test_a_turn_is_of_many_calls_or_of_one_large_one(monkeypatch, large, enough):
    called = []

    def make(case, parameters, threads):
        predict = predictors.numpy_out(case, parameters, threads)
        return lambda X: called.append(len(X)) or predict(X)

    monkeypatch.setattr(predictors, "LARGE", large)
    monkeypatch.setattr(predictors, "SECONDS", 0.01)
    monkeypatch.setitem(predictors.PREDICTORS, "counted", (("numpy",), make))
    turns = predictors.answers("counted", named("xs"), 7, 1)
    assert next(turns)["deviation"] < predictions.TOLERANCE
    if large == 0:
        assert called == [7]  # checked, not timed before
    called.clear()
    assert next(turns)["seconds"] > 0
    assert enough(len(called))
    assert set(called) == {7}


# ---- the table -------------------------------------------------------------------------------------------------------


def test_the_cells_where_a_peer_is_ahead_are_counted_and_named(monkeypatch):
    names = [predictions.PREDICT, "NumPy", "JAX", predictions.FORWARD]
    canned = iter([(1e-5, 2e-5, 1.5e-5, 5e-6), (1e-3, 8e-4, 9e-4, 1e-3), (1e-3, 2e-3), ()])
    monkeypatch.setattr(predictions, "measure", lambda *arguments: dict(zip(names, next(canned))))
    cells = [(named("xs"), 1), (named("xs"), 1024), (named("xl"), 1), (named("xl"), 65536)]
    *lines, ahead, left_out = predictions.table(names, cells, 2, 4, {})
    assert lines[0].startswith("2 threads: ")
    assert rows("\n".join(lines)) == [
        ["shape", "B", "fastprop predict, µs", "NumPy", "JAX", "fastprop forward", "ahead of all"],
        ["xs", "1", "10.0", "2.00 ×", "1.50 ×", "0.500 ×", "1.50 × JAX"],
        ["xs", "1,024", "1,000", "0.800 ×", "0.900 ×", "1.00 ×", "0.800 × NumPy"],
        ["xl", "1", "1,000", "2.00 ×", "–", "–", "2.00 × NumPy"],
        ["xl", "65,536", "–", "–", "–", "–", "–"],
    ]
    assert ahead == "\nA peer is ahead in 1 of 3 cells: xs B=1024 (0.800 × NumPy)."
    assert left_out.endswith("more than 4 GB: xl B=65536: fastprop forward (12.1 GB).")


# ---- the command -----------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_command_measures_what_is_chosen():
    peers = predictions.installed()
    done = command(*TINY, "--peers", ",".join(peers))
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    head, cells = rows(done.stdout)
    assert head == ["shape", "B", "fastprop predict, µs", *peers, "fastprop forward", "ahead of all"]
    assert cells[:2] == ["xs", "1"]
    assert float(cells[2].replace(",", "")) > 0
    assert all(float(cell.removesuffix(" ×")) > 0 for cell in cells[3:-1])
    assert cells[-1].split(" × ")[1] in peers
    assert "of 1 cells" in done.stdout
    assert "python benchmarks/predictions.py --shapes xs" in done.stdout.splitlines()[-1]


@pytest.mark.slow
def test_a_peer_that_computes_something_else_ends_the_program(tmp_path):
    """An onnxruntime whose outputs are all zero."""
    (tmp_path / "onnx.py").write_text(
        "from unittest.mock import MagicMock\nhelper = numpy_helper = TensorProto = MagicMock()\n"
    )
    (tmp_path / "onnxruntime.py").write_text(
        "import numpy as np\nfrom unittest.mock import MagicMock as SessionOptions\n__version__ = '0'\n"
        "class InferenceSession:\n    def __init__(self, *arguments, **named):\n        pass\n"
        "    def run(self, names, feeds):\n        return [np.zeros((len(feeds['X']), 1), np.float32)]\n"
    )
    done = command(*TINY, "--peers", "onnxruntime", folder=tmp_path)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert "onnxruntime computes something else: on xs, B=1" in done.stderr


@pytest.mark.slow
def test_a_peer_that_fails_or_dies_leaves_the_others(tmp_path):
    (tmp_path / "torch.py").write_text("raise ImportError('no MKL')")
    (tmp_path / "jax.py").write_text("import os\nos._exit(3)")
    done = command(*TINY, "--peers", "NumPy,PyTorch,JAX", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines() == [
        "xs, B=1, 1 thread: PyTorch ImportError: no MKL", "xs, B=1, 1 thread: JAX ended with 3"
    ]  # fmt: skip
    cells = rows(done.stdout)[1]
    assert cells[4:6] == ["–", "–"]
    assert cells[-1].endswith("× NumPy")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "known"),
    [
        (("--shapes", "xs,huge"), "xs, s, digits"),
        (("--peers", "Caffe"), "NumPy, scikit-learn, PyTorch"),
        (("--threads", "0"), "1"),
        (("--batches", "1,0"), "from 1 on"),
    ],
)
def test_an_unknown_value_ends_with_one_line_that_tells_the_known(arguments, known):
    done = command(*arguments)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert repr(arguments[1].split(",")[-1]) in done.stderr
    assert known in done.stderr
