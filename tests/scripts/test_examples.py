"""The example scripts: each runs by itself, and what it shows holds."""

import math
import re
import runpy
import sys
from collections.abc import Callable
from importlib import util
from typing import Any

import numpy as np
import pytest
from processes import SCRIPTS

from fastprop import SGD, Network

Run = Callable[..., str]


@pytest.fixture
def run(monkeypatch, capsys, tmp_path) -> Run:
    """Run a script as a program, in an empty folder; what it prints."""
    monkeypatch.chdir(tmp_path)

    def run(name: str, *arguments: object) -> str:
        monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
        runpy.run_path(str(SCRIPTS / name), run_name="__main__")
        return capsys.readouterr().out

    return run


def functions(name: str) -> dict[str, Any]:
    return runpy.run_path(str(SCRIPTS / name))


def percentages(text: str) -> list[float]:
    return [float(number) for number in re.findall(r"([\d.]+)%", text)]


# ---- the spiral --------------------------------------------------------------------------------------------------


def test_spiral(run, tmp_path):
    """The hidden layers make the difference, early stopping ended the training, and both pictures are there."""
    pytest.importorskip("matplotlib", reason="plots need matplotlib (extra plot)")
    out = run("spiral.py", "--hidden", 32, 32, "--folder", "pictures/of it")
    accuracy, linear, best = percentages(out)
    assert linear < 65 < 95 < accuracy
    assert best == pytest.approx(99.1, abs=0.05)
    epochs, lowest = (int(re.search(pattern, out)[1]) for pattern in (r"for (\d+) epochs", r"epoch (\d+),"))
    assert epochs == lowest + 30
    pictures = sorted((tmp_path / "pictures" / "of it").iterdir())
    assert [path.name for path in pictures] == ["spiral_boundary.png", "spiral_curves.png"]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in pictures)


@pytest.mark.parametrize("noise", [0.2, 0.4, 0.8])
def test_the_best_accuracy_on_the_spiral_is_that_of_the_nearest_arm(noise):
    module = functions("spiral.py")
    X, Y = module["spiral"](100_000, noise, np.random.default_rng(0))
    turned = np.arctan2(X[:, 1], X[:, 0]) - module["TURN"] * np.hypot(*X.T)
    nearest = np.round(turned / (2 * math.pi / 3)) % 3
    assert np.mean(nearest == Y) == pytest.approx(math.erf(math.pi / 3 / noise / math.sqrt(2)), abs=0.005)


# ---- the pendulum ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [0, 1])
def test_control(run, seed):
    """The network, which has no sensor for the speed, swings less than twice as far as the law that it learned from,
    in the compiled loop and in Python alike."""
    lines = run("control.py", "--steps", 100_000, "--seed", seed).splitlines()[1:]
    degrees = {line[:36].strip(): float(line[36:].split()[0]) for line in lines}
    law = degrees.pop("law, compiled")
    assert len(degrees) >= 2
    assert all(law < angle < 2 * law for angle in degrees.values())


# ---- the ensemble ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [0, 1])
def test_uncertainty(run, tmp_path, seed):
    """The networks agree among the data, and differ in the gap and beyond; the picture is there."""
    pytest.importorskip("matplotlib", reason="plots need matplotlib (extra plot)")
    lines = run("uncertainty.py", "--networks", 15, "--epochs", 800, "--seed", seed).splitlines()
    among, gap, beyond = ([float(number) for number in line.split()[-2:]] for line in lines[2:5])
    assert among[0] < 0.15
    assert min(gap[1], beyond[1]) > 3 * among[1]
    assert (tmp_path / "uncertainty.png").read_bytes().startswith(b"\x89PNG")


# ---- the table ---------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_regression(run, monkeypatch, seed):
    """The scaled network is better than least squares, which is better than the network without scaling; `diagnose`
    finds the reason, and nothing after the remedy, which the training rows alone give."""
    given, fit = [], Network.fit
    monkeypatch.setattr(Network, "fit", lambda net, X, y, **options: given.append((X, y)) or fit(net, X, y, **options))
    out = run("regression.py", "--rows", 3000, "--hidden", 32, 32, "--seed", seed)
    before, after = out.split("The table scaled")
    assert "inputs not scaled" in before
    assert "Nothing is found wrong." not in before
    assert "Nothing is found wrong." in after
    table = after.split("R^2 on 600 rows that were held out\n")[1]
    r2 = {line[:28].strip(): float(line[28:]) for line in table.splitlines()}
    assert r2["network, table as it is"] < r2["least squares"] < r2["network, table scaled"] - 0.1
    assert 0.9 < r2["network, table scaled"] < r2["formula, without the noise"] < 0.98
    for rows in given[1]:
        assert len(rows) == 2400
        np.testing.assert_allclose(rows.mean(axis=0), 0, atol=1e-9)
        np.testing.assert_allclose(rows.std(axis=0), 1, rtol=1e-9)


# ---- the stream --------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_stream(run, tmp_path):
    """The error falls and stays low, that of the copy rises; the saved network is the one of the end."""
    pytest.importorskip("safetensors", reason="files need safetensors (extra save)")
    out = run("stream.py", "--batches", 2000, "--every", 250, "--save", "run.safetensors").splitlines()
    errors = np.array([percentages(line) for line in out[1:-1]])
    assert [line.split()[0] for line in out[1:-1]] == [f"{250 * i:,}" for i in range(1, 9)]
    learning, stopped = errors.T
    assert learning[0] > 10 > 5 > max(learning[2:])
    assert np.array_equal(learning[:2], stopped[:2])
    assert np.all(np.diff(stopped[2:]) > 0)
    assert stopped[-1] > 30

    assert out[-1] == "saved to run.safetensors"
    net = Network.load("run.safetensors")
    assert net.optimizer is not None
    assert net.optimizer.steps == 2000
    batches = list(functions("stream.py")["stream"](2000, np.random.default_rng(1)))
    X, Y = (np.concatenate(arrays) for arrays in zip(*batches[-50:], strict=True))
    assert functions("stream.py")["wrong"](net, X, Y) < 0.05 * len(X)
    net.partial_fit(X, Y)
    assert net.optimizer.steps == 2001


def test_stream_predicts_nothing_that_it_has_seen(run, monkeypatch):
    """What makes the error an honest one."""
    seen, predicted, predict, partial_fit = set(), [], Network.predict, Network.partial_fit

    def recorded_predict(net, X):
        predicted.append(X.tobytes())
        assert predicted[-1] not in seen
        return predict(net, X)

    def recorded_partial_fit(net, X, Y, optimizer):
        seen.add(X.tobytes())
        return partial_fit(net, X, Y, optimizer)

    monkeypatch.setattr(Network, "predict", recorded_predict)
    monkeypatch.setattr(Network, "partial_fit", recorded_partial_fit)
    run("stream.py", "--batches", 40, "--every", 20)
    assert seen == set(predicted)
    assert len(seen) == 40


def test_stream_without_safetensors(run, tmp_path, monkeypatch):
    monkeypatch.setattr(util, "find_spec", lambda name: None)
    out = run("stream.py", "--batches", 40, "--every", 20)
    assert out.splitlines()[-1] == "not saved: pip install safetensors"
    assert not list(tmp_path.iterdir())


# ---- the pole on the cart ----------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_reinforce(run, tmp_path, seed):
    """The pole falls within a second at first, and stays up for eight at the end; the picture is there."""
    pytest.importorskip("matplotlib", reason="the picture needs matplotlib (extra plot)")
    lines = run("reinforce.py", "--iterations", 50, "--seed", seed, "--picture", "pictures/of it.png").splitlines()
    table = [line.split() for line in lines[1:-1]]
    assert [int(iteration) for iteration, *_ in table] == [1, 10, 20, 30, 40, 50]
    seconds = [float(row[1]) for row in table]
    assert seconds[0] < 1 < 8 < min(seconds[-2:])
    assert lines[-1] == "saved pictures/of it.png"
    assert (tmp_path / "pictures" / "of it.png").read_bytes().startswith(b"\x89PNG")


def test_reinforce_without_matplotlib(run, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    out = run("reinforce.py", "--iterations", 1, "--carts", 3)
    assert out.splitlines()[-1] == "no picture: pip install matplotlib"
    assert not list(tmp_path.iterdir())


def test_reinforce_goes_up_the_gradient_of_the_policy():
    """Its gradients are central differences of −Σ advantage·log π/rows; the advantages of each time have a mean of 0,
    and a cart that is down has none."""
    module, rng = functions("reinforce.py"), np.random.default_rng(0)
    net = Network((4, 5, 1), "tanh", dtype="float64", rng=0)
    states, right, up = module["episodes"](net, 7, rng)
    better = module["advantages"](up)
    assert np.array_equal(up, np.logical_and.accumulate(up))
    assert not better[~up].any()
    np.testing.assert_allclose(better.sum(axis=1), 0, atol=1e-9)

    def objective():
        p = module["probability"](net.predict(states[up] / module["SCALES"])[:, 0])
        return -np.mean(better[up] * np.log(np.where(right[up], p, 1 - p)))

    before = net.parameters.copy()
    module["learn"](net, SGD(1e-3), states, right, up)
    net.parameters = before
    for layer in net.layers:
        for theta, gradient in ((layer.W, layer.dW), (layer.b, layer.db)):
            for place in np.ndindex(theta.shape):
                value, costs = theta[place], []
                for theta[place] in (value + 1e-6, value - 1e-6):
                    costs.append(objective())
                theta[place] = value
                assert gradient[place] == pytest.approx((costs[0] - costs[1]) / 2e-6, rel=1e-5, abs=1e-8)


def test_the_cart_moves_as_in_the_literature():
    """One push of 10 N for 0.02 s from rest: the speeds that the equations of Barto, Sutton and Anderson give."""
    pushed = functions("reinforce.py")["pushed"](np.zeros((2, 4)), np.array([True, False]))
    np.testing.assert_allclose(pushed, [[0, 0.1951, 0, -0.2927], [0, -0.1951, 0, 0.2927]], atol=5e-5)


# ---- the pipeline ------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_pipeline(run):
    """Each of the four settings is tried, and the best is as good on rows that had no part in the search."""
    pytest.importorskip("sklearn", reason="fastprop.sklearn needs scikit-learn (extra sklearn)")
    first, *tried, last = run("pipeline.py", "--folds", 2).splitlines()
    assert first == "accuracy in 2 folds of 1,347 rows"
    assert len({line.split("%")[1] for line in tried}) == 4
    assert all(percentages(line)[0] > 94 for line in tried)
    assert min(percentages(last)) > 94


# ---- the exchange ------------------------------------------------------------------------------------------------

ONES = ("PyTorch", "from_torch", "onnxruntime", "NumPy")


def test_exchange(run, tmp_path):
    """Everybody predicts the same, and a network that comes back from PyTorch to the bit; both files are there."""
    for library in ("torch", "onnx", "onnxruntime", "safetensors"):
        pytest.importorskip(library)
    lines = [line.split() for line in run("exchange.py", "--folder", "models/of it").splitlines()]
    assert [name for name, _ in lines] == [*ONES]
    differences = {name: float(number) for name, number in lines}
    assert differences.pop("from_torch") == 0
    assert all(0 < difference < 2e-6 for difference in differences.values())
    files = sorted((tmp_path / "models" / "of it").iterdir())
    assert [path.name for path in files] == ["exchange.onnx", "exchange.safetensors"]
    with np.load(SCRIPTS / "data" / "digits.npz") as digits:
        X, Y = digits["X"], digits["y"]
    assert np.mean(Network.load(files[1]).predict(X).argmax(axis=1) == Y) > 0.95


@pytest.mark.parametrize(
    ("absent", "said"),
    [("torch", "PyTorch      is not installed: pip install torch"),
     ("onnx", "onnxruntime  or onnx is not installed: pip install onnx onnxruntime"),
     ("onnxruntime", "onnxruntime  or onnx is not installed: pip install onnx onnxruntime"),
     ("safetensors", "NumPy        safetensors is not installed: pip install safetensors")],
)  # fmt: skip
def test_exchange_goes_on_without_a_library(run, monkeypatch, absent, said):
    """Whichever is absent, what installs it is named, and the others have their lines."""
    for module in (absent, f"{absent}.numpy"):
        monkeypatch.setitem(sys.modules, module, None)
    lines = run("exchange.py").splitlines()
    assert said in lines
    expected = [one for one in ONES if one != "from_torch" or util.find_spec("torch")]
    assert [line.split()[0] for line in lines] == expected


def test_exchange_with_nothing_installed(run, monkeypatch, tmp_path):
    for library in ("torch", "onnx", "onnxruntime", "safetensors", "safetensors.numpy"):
        monkeypatch.setitem(sys.modules, library, None)
    lines = run("exchange.py").splitlines()
    assert len(lines) == 3
    assert all("is not installed: pip install " in line for line in lines)
    assert not list(tmp_path.iterdir())


# ---- the diagnosis -----------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:after 40 epochs the:RuntimeWarning")  # the sick network says so itself
@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_diagnosis(run, tmp_path, seed):
    """The first network learns little and is found sick before, during and after; the second is well, and learns."""
    pytest.importorskip("matplotlib", reason="plots need matplotlib (extra plot)")
    out = run("diagnosis.py", "--seed", seed, "--epochs", 40, "--picture", "pictures/of it/flow.png")
    before, first, after, second, saved = re.split(r"\n\n(?=Network|Adam|saved)", out)
    assert "1. learning rate too high" in before
    assert "1. dead units" in after
    rate = float(re.search(r"Lower the learning rate, to about ([\d.]+),", before)[1])
    assert float(re.match(r"Adam\((.*)\)", first)[1]) == 0.3
    assert float(re.match(r"Adam\((.*)\)", second)[1]) == pytest.approx(rate, rel=0.1)
    tables = [[re.split("  +", line.strip()) for line in part.splitlines()[2:-1]] for part in (first, second)]
    for table in tables:
        assert [int(epoch) for epoch, *_ in table] == [1, 11, 21, 31, 40]
    assert all("dead units" in found for *_, found in tables[0])
    assert all(found == "nothing" for *_, found in tables[1])
    costs = [float(cost) for _, cost, _ in tables[1]]
    assert costs == sorted(costs, reverse=True)
    assert percentages(first)[0] < 40 < 85 < percentages(second)[0]
    assert saved == "saved pictures/of it/flow.png\n"
    assert (tmp_path / "pictures" / "of it" / "flow.png").read_bytes().startswith(b"\x89PNG")
