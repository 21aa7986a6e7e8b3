"""scripts/train.py, make_digits.py and why_backprop.py, run as a user runs them."""

import gzip
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import datasets
import numpy as np
import numpy_training
import pytest
import train
from processes import ROOT, SCRIPTS, environment

from fastprop import Network

MNIST = ROOT.parent / "shared" / "data" / "mnist"
QUICK = ("--epochs", "3", "--no-compare")


def run(script: str, *arguments: object, cwd: Path) -> subprocess.CompletedProcess:
    command = [sys.executable, SCRIPTS / script, *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, env=environment(), capture_output=True, text=True, timeout=120)


def blobs(rng: np.random.Generator, m: int = 150) -> tuple[np.ndarray, np.ndarray]:
    """Three classes that anything can tell apart, on scales that differ."""
    y = rng.permutation(m) % 3
    X = np.eye(3)[y] + rng.normal(scale=0.1, size=(m, 3))
    return X * (1, 1000, 0.01) + (0, 5000, -3), y


def write_csv(path: Path, names: str, *columns: np.ndarray) -> None:
    rows = [",".join(map(str, row)) for row in zip(*columns, strict=True)]
    path.write_text("\n".join([names, *rows]) + "\n", encoding="utf-8")


def idx(array: np.ndarray) -> bytes:
    return bytes((0, 0, 8, array.ndim)) + np.array(array.shape, ">u4").tobytes() + array.tobytes()


def images(rng: np.random.Generator, m: int) -> tuple[np.ndarray, np.ndarray]:
    """Images of 4 × 5 pixels with one bright row, which is the label."""
    y = (rng.permutation(m) % 4).astype(np.uint8)
    X = rng.integers(60, size=(m, 4, 5), dtype=np.uint8)
    X[np.arange(m), y] += 180
    return X, y


def write_idx(folder: Path, part: str, X: np.ndarray, y: np.ndarray, *, zipped: bool = False) -> None:
    folder.mkdir(exist_ok=True)
    for name, array in ((f"{part}-images-idx3-ubyte", X), (f"{part}-labels-idx1-ubyte", y)):
        if zipped:
            (folder / f"{name}.gz").write_bytes(gzip.compress(idx(array)))
        else:
            (folder / name).write_bytes(idx(array))


# ---- what train.py does with good data -------------------------------------------------------------------------------


@pytest.mark.slow
def test_train_needs_no_arguments(tmp_path):
    result = run("train.py", "--epochs", 6, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    lines = result.stdout.splitlines()
    assert lines[0] == "digits: 1,617 samples to train on, 180 held out; 64 features, 10 classes"
    assert sum(line.startswith("epoch ") for line in lines) == 6
    assert any(line.split() == ["true", "\\", "predicted", *"0123456789"] for line in lines)
    assert any(line.split()[:1] == ["NumPy"] and "samples/s" in line for line in lines)
    assert lines[-1].endswith("times as fast")


@pytest.mark.slow
def test_saved_parameters_take_the_data_as_it_is(tmp_path):
    X, y = blobs(np.random.default_rng(0))
    np.savez(tmp_path / "blobs.npz", X=X, y=y)
    result = run("train.py", "--data", "blobs.npz", "--save", "net.npz", *QUICK, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    with np.load(tmp_path / "net.npz") as parameters:
        network = Network.from_dict(parameters, output="softmax")
    assert np.mean(network.predict(X).argmax(axis=1) == y) > 0.97


@pytest.mark.slow
@pytest.mark.parametrize("names", [("a", "b", "c"), ("7", "-2", "10")], ids=["text", "whole numbers"])
def test_csv_classification(tmp_path, names):
    X, y = blobs(np.random.default_rng(1))
    write_csv(tmp_path / "blobs.csv", "size,kind,weight,height", X[:, 0], np.array(names)[y], *X[:, 1:].T)
    result = run("train.py", "--data", "blobs.csv", "--target", "kind", "--optimizer", "momentum", *QUICK, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    header = next(line for line in result.stdout.splitlines() if line.startswith("true"))
    assert header.split()[3:] == (sorted(names) if names[0] == "a" else ["-2", "7", "10"])
    assert "held-out accuracy 100.00% of 30" in result.stdout
    assert (tmp_path / "fastprop-blobs.npz").exists()


@pytest.mark.slow
def test_csv_regression(tmp_path):
    rng = np.random.default_rng(2)
    X = rng.normal(size=(300, 3)) * (1, 100, 1e-3)
    y = 5000 + 100 * (X @ (1, 0.02, 500))
    write_csv(tmp_path / "prices.csv", "a,b,c,price", *X.T, y)
    result = run("train.py", "--data", "prices.csv", "--target", "price", "--epochs", 40, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "3 features, a regression" in result.stdout
    assert "validation loss" in result.stdout
    r2 = float(result.stdout.split("held-out R^2 ")[1].split()[0])
    assert r2 > 0.98
    with np.load(tmp_path / "fastprop-prices.npz") as parameters:
        y_hat = Network.from_dict(parameters, output="identity").predict(X)[:, 0]
    assert np.sum((y_hat - y) ** 2) < 0.02 * np.sum((y - y.mean()) ** 2)


@pytest.mark.parametrize("zipped", [False, True], ids=["plain", "gzipped"])
@pytest.mark.parametrize("parts", [("train", "t10k"), ("t10k",), ("train",)], ids=["both", "t10k", "train"])
def test_idx_folder(tmp_path, parts, zipped):
    rng = np.random.default_rng(3)
    for part, m in zip(parts, (200, 60), strict=False):
        write_idx(tmp_path / "rows", part, *images(rng, m), zipped=zipped)
    args = train.parse(["--data", str(tmp_path / "rows"), "--epochs", "6"])
    data, split = train.read(args)
    assert (len(split.X_train), len(split.X_test)) == ((200, 60) if len(parts) == 2 else (160, 40))
    assert data.X.shape[1:] == (20,)
    assert 0.9 < split.X_train.max() <= 1
    assert train.main(["--data", str(args.data), "--save", str(tmp_path / "net.npz"), *QUICK]) == 0
    assert accuracy(args) > 0.95


def test_two_seeds_hold_out_different_samples():
    splits = [train.read(train.parse(["--seed", seed]))[1] for seed in "001"]
    assert np.array_equal(splits[0].X_test, splits[1].X_test)
    assert not np.array_equal(splits[0].X_test, splits[2].X_test)


def test_scaling():
    by_ink = datasets.Scaling.of(np.array([[0, 8], [4, 16]], np.uint8))
    np.testing.assert_array_equal(by_ink(np.array([[4, 16]], np.uint8)), [[0.25, 1]])
    X = np.array([[0.1, 1, True], [0.1, 3, False], [0.1, 5, True]])
    scaled = datasets.Scaling.of(X)(X)
    np.testing.assert_allclose(scaled[:, 0], 0, atol=1e-7)  # a constant column tells nothing, and does no harm
    np.testing.assert_allclose(scaled[:, 1:].mean(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(scaled[:, 1:].std(axis=0), 1, atol=1e-6)


def test_confusion_of_many_classes_is_a_list_of_mistakes():
    Y = np.arange(30)
    text = train.confusion(Y, np.where(Y == 7, 8, Y), [f"c{i}" for i in Y])
    assert text.splitlines() == ["the commonest mistakes:", "c7 taken for c8: 1"]


@pytest.mark.parametrize("name", train.RULES)
def test_numpy_does_the_same_training(name):
    """The comparison compares like with like: the same parameters after the same steps, and the same costs."""
    args = train.parse(["--optimizer", name, "--hidden", "24", "16", "--batch-size", "100"])
    data, parts = train.read(args)
    X, Y = parts.X_train[:350], parts.Y_train[:350]
    network, optimizer = train.build(args, data)
    expected, costs = numpy_training.fit(
        network.to_dict(), X, np.eye(10, dtype=np.float32)[Y], output="softmax", epochs=3, batch_size=100,
        update=train.RULES[name][2](optimizer.lr),
    )  # fmt: skip
    history = network.fit(X, Y, epochs=3, batch_size=100, optimizer=optimizer, shuffle=False, progress=False)
    np.testing.assert_allclose(history.loss, costs, rtol=1e-5)
    for key, value in network.to_dict().items():
        assert expected[key].dtype == np.float32
        np.testing.assert_allclose(value, expected[key], atol=2e-5)


# ---- what it says of bad data ----------------------------------------------------------------------------------------

Damage = Callable[[Path], object]


def csv(text: str) -> Damage:
    return lambda folder: (folder / "d.csv").write_text(text, encoding="utf-8")


def npz(**arrays: np.ndarray) -> Damage:
    return lambda folder: np.savez(folder / "d.npz", **arrays)


def damaged_idx(damage: Damage) -> Damage:
    def make(folder: Path) -> None:
        write_idx(folder / "d", "t10k", *images(np.random.default_rng(0), 30))
        damage(folder / "d")

    return make


def rewrite(name: str, change: Callable[[bytes], bytes]) -> Damage:
    return damaged_idx(lambda folder: (folder / name).write_bytes(change((folder / name).read_bytes())))


IMAGES, LABELS = "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"
ROWS, TARGETS = np.zeros((4, 2)), np.array([0, 1, 0, 1])
BAD = {  # what is written, the arguments, what the message says
    "no such path": (lambda folder: None, ["nowhere.csv"], ["nowhere.csv", "no such file or folder"]),
    "unknown kind": (lambda f: (f / "d.txt").write_text("x"), ["d.txt"], ["d.txt", "an .npz or a .csv"]),
    "empty csv": (csv(""), ["d.csv", "--target", "y"], ["d.csv", "empty"]),
    "header only": (csv("a,y\n"), ["d.csv", "--target", "y"], ["d.csv", "no rows"]),
    "no target": (csv("a,y\n1,2\n"), ["d.csv"], ["d.csv", "--target COLUMN"]),
    "absent target": (csv("a,y\n1,2\n"), ["d.csv", "--target", "z"], ["d.csv, line 1", "'z'", "a, y"]),
    "target twice": (csv("a,y,y\n1,2,3\n"), ["d.csv", "--target", "y"], ["d.csv, line 1", "2 columns"]),
    "only a target": (csv("y\n1\n2\n"), ["d.csv", "--target", "y"], ["d.csv", "at least one row and one feature"]),
    "ragged": (csv("a,y\n1,2\n\n1,2,3\n"), ["d.csv", "--target", "y"], ["d.csv, line 4", "3 cells", "2"]),
    "text": (csv("a,y\n1,2\ntall,3\n"), ["d.csv", "--target", "y"], ["d.csv, line 3", "'a' is 'tall'", "number"]),
    "empty cell": (csv("a,y\n,2\n1,3\n"), ["d.csv", "--target", "y"], ["d.csv, line 2", "'a' is ''", "number"]),
    "infinity": (csv("a,y\n1,2\ninf,3\n"), ["d.csv", "--target", "y"], ["d.csv, line 3", "'inf'", "finite"]),
    "text in numbers": (csv("a,y\n1,.5\n1,n/a\n"), ["d.csv", "--target", "y"], ["d.csv, line 3", "'n/a'", "number"]),
    "empty target": (csv("a,y\n1,red\n1,\n"), ["d.csv", "--target", "y"], ["d.csv, line 3", "a class"]),
    "one class": (csv("a,y\n1,red\n1,red\n"), ["d.csv", "--target", "y"], ["d.csv", "red", "two classes"]),
    "too few rows": (csv("a,y\n1,2\n1,3\n"), ["d.csv", "--target", "y"], ["2 rows", "leaves a part empty"]),
    "not text": (lambda f: (f / "d.csv").write_bytes(b"a,y\n\xff\xfe,1\n"), ["d.csv", "--target", "y"], ["UTF-8"]),
    "empty npz": (lambda f: (f / "d.npz").write_bytes(b""), ["d.npz"], ["d.npz", "empty"]),
    "not an npz": (lambda f: (f / "d.npz").write_bytes(b"PK??"), ["d.npz"], ["d.npz", "np.savez"]),
    "BOM only": (csv("\ufeff"), ["d.csv", "--target", "y"], ["d.csv, line 1", "no columns"]),
    "npz without X": (npz(x=ROWS, y=TARGETS), ["d.npz"], ["d.npz", "holds x, y", "X and y"]),
    "npz without y": (npz(X=ROWS), ["d.npz"], ["d.npz", "holds X;", "X and y"]),
    "npz of objects": (npz(X=ROWS, y=np.array([None, 1, 2, 3])), ["d.npz"], ["d.npz", "cannot be read"]),
    "npz X of text": (npz(X=ROWS.astype(str), y=TARGETS), ["d.npz"], ["d.npz", "X is <U32 (4, 2)"]),
    "npz lengths": (npz(X=ROWS, y=TARGETS[:3]), ["d.npz"], ["d.npz", "4 rows", "has 3"]),
    "npz NaN": (npz(X=np.full((4, 2), np.nan), y=TARGETS), ["d.npz"], ["d.npz", "row 0 of X", "finite"]),
    "target of npz": (npz(X=ROWS, y=TARGETS), ["d.npz", "--target", "y"], ["d.npz", ".csv alone"]),
    "no IDX files": (lambda f: (f / "d").mkdir(), ["d"], ["d:", "train-images-idx3-ubyte"]),
    "no labels": (damaged_idx(lambda f: (f / LABELS).unlink()), ["d"], ["d:", f"no {LABELS}", "pairs"]),
    "no images": (damaged_idx(lambda f: (f / IMAGES).unlink()), ["d"], ["d:", f"no {IMAGES}", "pairs"]),
    "cut short": (rewrite(IMAGES, lambda raw: raw[:-7]), ["d"], [IMAGES, "609 bytes", "(30, 4, 5)", "616"]),
    "cut in the header": (rewrite(IMAGES, lambda raw: raw[:9]), ["d"], [IMAGES, "9 bytes"]),
    "cut gzip": (rewrite(IMAGES, lambda raw: gzip.compress(raw)[:-20]), ["d"], [IMAGES, "gzip", "cut short"]),
    "too long": (rewrite(LABELS, lambda raw: raw + b"\0"), ["d"], [LABELS, "39 bytes", "(30,)", "38"]),
    "empty IDX": (rewrite(LABELS, lambda raw: b""), ["d"], [LABELS, "nothing"]),
    "wrong magic": (
        rewrite(LABELS, lambda raw: b"\0\0\x0d\1" + raw[4:]),
        ["d"],
        [LABELS, "00 00 0d 01", "00 00 08 01"],
    ),
    "wrong rank": (rewrite(IMAGES, lambda raw: b"\0\0\x08\1" + raw[4:]), ["d"], [IMAGES, "3 dimensions"]),
    "fewer labels": (rewrite(LABELS, lambda raw: idx(np.zeros(29, np.uint8))), ["d"], ["30 images", "29 labels"]),
    "two sizes": (
        damaged_idx(lambda f: write_idx(f, "train", np.zeros((9, 3, 3), np.uint8), np.zeros(9, np.uint8))),
        ["d"],
        ["(3, 3)", "(4, 5)", "one size"],
    ),
    "share of a set with a test set": (
        damaged_idx(lambda f: write_idx(f, "train", *images(np.random.default_rng(0), 30))),
        ["d", "--test-share", "0.3"],
        ["d:", "leave out --test-share"],
    ),
    "nowhere to save": (npz(X=ROWS, y=TARGETS), ["d.npz", "--save", "no/net.npz"], ["no", "net.npz", "exists"]),
    "too wide": (
        npz(X=ROWS, y=TARGETS),
        ["d.npz", "--hidden", "999999999", "99999"],
        ["--hidden: ", "GiB", "narrower"],
    ),
    "save over the data": (npz(X=ROWS, y=TARGETS), ["d.npz", "--save", "d.npz"], ["d.npz", "another file"]),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_data_is_one_line_and_exit_code_2(tmp_path, monkeypatch, capsys, case):
    make, arguments, says = BAD[case]
    make(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert train.main(["--data", *arguments]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert error.startswith("train.py: ")
    for text in says:
        assert text in error


def test_bad_data_from_the_command_line(tmp_path):
    (tmp_path / "d.csv").write_text("a,y\n1,2\n1,2,3\n")
    result = run("train.py", "--data", "d.csv", "--target", "y", cwd=tmp_path)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr == "train.py: d.csv, line 3: has 3 cells; the header names 2, and every row must match it.\n"


@pytest.mark.parametrize(
    "options",
    [
        ["--hidden", "0"], ["--epochs", "0"], ["--epochs", "2.5"], ["--batch-size", "-1"], ["--lr", "0"],
        ["--lr", "nan"], ["--lr", "fast"], ["--seed", "-1"], ["--test-share", "1"], ["--optimizer", "best"],
    ],
    ids=" ".join,
)  # fmt: skip
def test_bad_options(options, capsys):
    with pytest.raises(SystemExit, match="2"):
        train.parse(options)
    assert options[0] in capsys.readouterr().err.splitlines()[-1]


def test_divergence_is_told_and_not_saved(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert train.main(["--optimizer", "sgd", "--lr", "1e30", "--epochs", "2"]) == 1
    error = capsys.readouterr().err
    assert error.startswith("train.py: the cost is")
    assert error.count("\n") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT to send to a process")
def test_ctrl_c_ends_cleanly_and_saves(tmp_path):
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a child of a background job would ignore it
    try:
        process = subprocess.Popen(
            [sys.executable, SCRIPTS / "train.py", "--epochs", "1000000"], cwd=tmp_path,
            env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
    finally:
        signal.signal(signal.SIGINT, before)
    assert process.stdout is not None
    while not process.stdout.readline().startswith("Adam"):  # the last line before the training
        assert process.poll() is None
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")
    assert "interrupted after" in out
    assert "held-out accuracy" in out
    with np.load(tmp_path / "fastprop-digits.npz") as parameters:
        assert set(parameters) == {"W1", "b1", "W2", "b2", "W3", "b3"}


# ---- accuracy --------------------------------------------------------------------------------------------------------


def accuracy(args) -> float:
    """Held-out accuracy of a training with the script's options."""
    data, parts = train.read(args)
    network, optimizer = train.build(args, data)
    train.fit(network, optimizer, parts, args)
    return train.evaluate(network, parts, data.classes)[0]


@pytest.mark.slow
def test_digits_accuracy():
    assert np.mean([accuracy(train.parse(["--seed", str(seed)])) for seed in range(5)]) >= 0.97


@pytest.mark.slow
@pytest.mark.skipif(not MNIST.is_dir(), reason="the test images of MNIST are not there: ../shared/data/mnist")
def test_mnist_accuracy():
    runs = [train.parse(["--data", str(MNIST), "--seed", str(seed)]) for seed in range(2)]
    assert np.mean([accuracy(args) for args in runs]) >= 0.945


# ---- the other scripts -----------------------------------------------------------------------------------------------


def test_digits_are_those_of_scikit_learn():
    sklearn_datasets = pytest.importorskip("sklearn.datasets")
    digits = sklearn_datasets.load_digits()
    data = datasets.load(train.DIGITS)
    np.testing.assert_array_equal(data.X, digits.data)
    np.testing.assert_array_equal(data.Y, digits.target)
    assert train.DIGITS.stat().st_size < 100_000


def test_make_digits_names_what_is_missing(tmp_path):
    (tmp_path / "sklearn.py").write_text("raise ModuleNotFoundError\n")
    command = [sys.executable, "-c", "import runpy, sys; runpy.run_path(sys.argv[1], run_name='__main__')"]
    result = subprocess.run(
        [*command, SCRIPTS / "make_digits.py"], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert result.returncode == 2
    assert result.stderr == "make_digits.py needs scikit-learn. Install it with: pip install scikit-learn\n"


@pytest.mark.slow
def test_why_backprop(tmp_path):
    pytest.importorskip("matplotlib")
    result = run("why_backprop.py", "--widths", 4, 16, "--plot", "why.png", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    rows = [line.split() for line in result.stdout.splitlines()[2:4]]
    assert [row[0] for row in rows] == ["108", "612"]
    assert all(float(row[-1].rstrip("%")) < 1 for row in rows)
    assert (tmp_path / "why.png").read_bytes()[:4] == b"\x89PNG"


@pytest.mark.slow
def test_why_backprop_without_matplotlib(tmp_path):
    (tmp_path / "matplotlib.py").write_text("raise ModuleNotFoundError\n")
    result = subprocess.run(
        [sys.executable, SCRIPTS / "why_backprop.py", "--widths", "4"],
        cwd=tmp_path, env=environment(tmp_path), capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert result.returncode == 0
    assert result.stdout.splitlines()[-1].split()[0] == "108"
    assert result.stderr == "the plot needs matplotlib. Install it with: pip install matplotlib\n"
