"""The script that trains on several processes: every process reads its own rows, and their speed is told."""

import gzip
import re

import numpy as np
import pytest
from mpi_jobs import needs_mpi, run_job
from processes import SCRIPTS


@needs_mpi
def test_the_digits_are_learned_by_two_processes():
    said = run_job(2, SCRIPTS / "distributed.py", "--epochs", 15)
    line = re.search(r"15 epochs in .* accuracy ([\d.]+)% on held-out rows, ([\d,]+) samples/s of all processes", said)
    assert line, said
    assert float(line[1]) > 90
    assert said.count("samples/s of all") == 1


@needs_mpi
def test_two_processes_run_the_recipe_of_the_site():
    pytest.importorskip("sklearn", reason="the recipe's digits are scikit-learn's")
    said = run_job(2, SCRIPTS / "site" / "gallery" / "many_processes.py")
    assert "2 process(es), " in said
    assert float(re.search(r"accuracy on held-out rows: ([\d.]+)%", said)[1]) > 85


@needs_mpi
def test_what_one_process_cannot_read_ends_all(tmp_path):
    """The file ends before the rows of the second process; the first would wait for it."""
    rng = np.random.default_rng(0)
    X, y = rng.integers(0, 256, (40, 4, 3), np.uint8), rng.integers(0, 10, 40).astype(np.uint8)
    for name, values, rows in (("images-idx3", X, 30), ("labels-idx1", y, 40)):
        content = idx_header(values) + values[:rows].tobytes()
        (tmp_path / f"train-{name}-ubyte.gz").write_bytes(gzip.compress(content))
    said = run_job(2, SCRIPTS / "distributed.py", "--data", tmp_path, fails=True)
    assert "the file is cut short" in said
    assert "Traceback" not in said


def idx_header(values):
    return bytes((0, 0, 8, values.ndim)) + np.array(values.shape, ">u4").tobytes()


READ = """
import runpy, sys
from pathlib import Path
import mpi4py
mpi4py.rc.initialize = False
import numpy as np
script, path, folder = sys.argv[1:]
read = runpy.run_path(script)["read"]
for rank in range(3):
    X, y = read(Path(path), rank, 3)
    np.savez(Path(folder, f"rows{rank}.npz"), X=X, y=y)
"""


@needs_mpi
@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("kind", ["idx", "npz"])
def test_the_rows_of_all_processes_are_those_of_the_file(kind, zipped, run_python, tmp_path):
    rng = np.random.default_rng(0)
    X, y = rng.integers(0, 256, (23, 4, 3), np.uint8), rng.integers(0, 10, 23).astype(np.uint8)
    path = tmp_path if kind == "idx" else tmp_path / "data.npz"
    if kind == "npz":
        (np.savez_compressed if zipped else np.savez)(path, X=X, y=y)
    else:
        for name, values in (("images-idx3", X), ("labels-idx1", y)):
            content = idx_header(values) + values.tobytes()
            end = ".gz" if zipped else ""
            (tmp_path / f"train-{name}-ubyte{end}").write_bytes(gzip.compress(content) if zipped else content)
    run_python(READ, SCRIPTS / "distributed.py", path, tmp_path, folder=SCRIPTS)
    parts = [np.load(tmp_path / f"rows{rank}.npz") for rank in range(3)]
    np.testing.assert_array_equal(np.concatenate([part["X"] for part in parts]), X.reshape(23, 12))
    np.testing.assert_array_equal(np.concatenate([part["y"] for part in parts]), y)
    assert [len(part["y"]) for part in parts] == [7, 8, 8]
