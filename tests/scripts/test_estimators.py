"""benchmarks/estimators.py prints its table, for its own data and for files. No speed is asserted."""

import math

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="scikit-learn is not installed")
import estimators
from test_scripts import images, write_idx


@pytest.fixture
def run(monkeypatch, capsys):
    """The script with some arguments, quickly: the cells of its table."""
    monkeypatch.setattr(estimators, "REST", 0.0)
    monkeypatch.setattr(estimators, "WAYS", {"adam": {"max_iter": 3}, "lbfgs": {"solver": "lbfgs", "max_iter": 3}})

    def run(*arguments):
        monkeypatch.setattr("sys.argv", ["estimators.py", "--seeds", "2", *map(str, arguments)])
        estimators.main()
        lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("|")]
        return [[cell.strip() for cell in line.strip("|").split("|")] for line in [lines[0], *lines[2:]]]

    return run


@pytest.mark.slow
def test_a_row_for_each_data_set_and_solver(run, tmp_path):
    write_idx(tmp_path, "train", *images(np.random.default_rng(0), 200))
    head, *rows = run("--mnist", tmp_path, "--ways", "adam,lbfgs")
    sizes = ("digits 1,797 × 64", "breast cancer 569 × 30", "diabetes 442 × 10", "mnist 200 × 20")
    assert [cells[:2] for cells in rows] == [[name, way] for name in sizes for way in ("adam", "lbfgs")]
    for cells in rows:
        assert len(cells) == len(head)
        for cell in cells[2:5]:
            mean, deviation = map(float, cell.split(" ± "))
            assert math.isfinite(mean)
            assert deviation >= 0
        assert cells[5] in ("yes", "**no**")
        assert cells[6] == "3 / 3"
        assert all(float(cell) > 0 for cell in cells[7:9])


@pytest.mark.parametrize(
    ("ours", "expected"),
    [
        ([1.05, 0.55, 0.9], ("+0.0333 ± 0.1481", "yes")),
        ([0.9, 0.8, 0.8], ("+0.0333 ± 0.0333", "yes")),
        ([0.7, 0.6, 0.71], ("-0.1300 ± 0.0351", "**no**")),
        ([0.8, 0.8, 0.8], ("+0.0000 ± 0.0000", "yes")),
        ([0.9], ("+0.1000", "?")),
    ],
)
def test_a_difference_is_noise_within_two_standard_errors(ours, expected):
    """The standard error is that of the mean over the seeds; a single seed has none."""
    assert estimators.difference(np.stack([ours, np.full(len(ours), 0.8)], axis=1)) == expected


def test_what_is_not_there_is_named(run, tmp_path):
    assert len(run("--data", "diabetes", "--ways", "adam")) == 2
    with pytest.raises(SystemExit, match="there is no data set 'mnist'"):
        run("--data", "mnist")
    with pytest.raises(SystemExit, match="there is no way 'newton'"):
        run("--ways", "newton")
    with pytest.raises(SystemExit, match="train-images-idx3-ubyte"):
        run("--mnist", tmp_path, "--data", "mnist")
