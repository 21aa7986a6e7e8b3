"""Train a classifier on several processes over MPI, each of which reads only its own rows.

    pip install mpi4py mpich
    mpiexec -n 2 python scripts/distributed.py
    mpiexec -n 2 python scripts/distributed.py --data mnist/ --hidden 1024 1024 --batch-size 2048

The data are MNIST's IDX files, an .npz with X and y (classes from 0), or the digits beside this script. On a cluster,
mpiexec or srun starts the same command on all machines, which see the same files.
"""

import argparse
import gzip
import math
import sys
import time
import traceback
import zipfile
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any

import numpy as np
from datasets import DataError
from mpi4py import MPI

from fastprop import Adam, Network, get_num_threads
from fastprop.texts import printable

DIGITS = Path(__file__).parent / "data" / "digits.npz"


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--data", type=Path, default=DIGITS, help="a folder with MNIST's IDX files, or an .npz (X, y)")
    add("--hidden", type=int, nargs="*", default=[128, 64], metavar="UNITS", help="hidden layers (128 64)")
    add("--epochs", type=int, default=20, help="(%(default)s)")
    add("--batch-size", type=int, default=128, help="of all processes together (%(default)s)")
    add("--lr", type=float, default=0.002, help="of Adam (%(default)s)")
    add("--seed", type=int, default=0, help="seed of the weights, the held-out rows and the order (0)")
    return parser.parse_args(argv)


# ---- the rows of one process -------------------------------------------------------------------------------------


def share(m: int, rank: int, size: int) -> slice:
    """Return the rows of a rank among m."""
    if m < size:
        raise DataError(f"there are {m} rows for {size} processes; each needs one at least.")
    return slice(m * rank // size, m * (rank + 1) // size)


def read(path: Path, rank: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows of X and y of a rank, without those of the others."""
    if path.is_dir():
        X, y = (_idx(path, f"train-{name}-ubyte", rank, size) for name in ("images-idx3", "labels-idx1"))
        return X, y
    if not zipfile.is_zipfile(path):
        raise DataError(f"{path}: must be a folder of IDX files or an .npz with X and y.")
    with zipfile.ZipFile(path) as archive:
        if not {"X.npy", "y.npy"} <= set(archive.namelist()):
            raise DataError(f"{path}: must hold X and y.")
        X, y = (_npy(archive, name, rank, size) for name in ("X.npy", "y.npy"))
        return X, y


def _idx(folder: Path, name: str, rank: int, size: int) -> np.ndarray:
    """Map a rank's rows of an IDX file into memory, or read them from a gzipped one."""
    plain, zipped = folder / name, folder / f"{name}.gz"
    if not plain.is_file() and not zipped.is_file():
        raise DataError(f"{folder}: there is no {name}, plain or .gz.")
    with plain.open("rb") if plain.is_file() else gzip.open(zipped) as file:
        dimensions = file.read(4)[3]
        shape = tuple(np.frombuffer(file.read(4 * dimensions), ">u4").tolist())
        rows = share(shape[0], rank, size)
        if plain.is_file():
            mapped = np.memmap(plain, np.uint8, "r", 4 + 4 * dimensions, shape)
            return mapped[rows].reshape(rows.stop - rows.start, -1) if dimensions > 1 else mapped[rows]
        return _part(file, np.dtype(np.uint8), shape, rows)


def _npy(archive: zipfile.ZipFile, name: str, rank: int, size: int) -> np.ndarray:
    """Read a rank's rows of an array of an .npz."""
    with archive.open(name) as file:
        np.lib.format.read_magic(file)
        shape, fortran, dtype = np.lib.format.read_array_header_1_0(file)
        if fortran or dtype.hasobject:
            raise DataError(f"{name}: is {dtype} in order {'F' if fortran else 'C'}; it must be numbers in order C.")
        return _part(file, dtype, shape, share(shape[0], rank, size))


def _part(file: IO[bytes] | Any, dtype: np.dtype, shape: tuple[int, ...], rows: slice) -> np.ndarray:
    """Read rows from a stream that stands at the first row."""
    row = dtype.itemsize * math.prod(shape[1:])
    file.seek(row * rows.start, 1)
    content = file.read(row * (rows.stop - rows.start))
    if len(content) < row * (rows.stop - rows.start):
        raise DataError("the file is cut short. Fetch it again.")
    values = np.frombuffer(content, dtype)
    return values.reshape(-1, math.prod(shape[1:])) if len(shape) > 1 else values


# ---- the run -----------------------------------------------------------------------------------------------------


def main(argv: Sequence[str] | None = None) -> None:
    args, comm = parse(argv), MPI.COMM_WORLD
    X, y = read(args.data, comm.rank, comm.size)
    classes = 1 + comm.allreduce(int(y.max()), MPI.MAX)
    largest = comm.allreduce(float(X.max()), MPI.MAX)
    net = Network((X.shape[1], *args.hidden, classes), output="softmax", scale=1 / largest, rng=args.seed)
    if comm.rank == 0:
        print(f"{net}, on {comm.size} processes", flush=True)
    begun = time.perf_counter()
    history = net.fit(
        X,
        y.astype(np.int64),
        epochs=args.epochs,
        batch_size=args.batch_size,
        optimizer=Adam(args.lr),
        validation=0.1,
        progress=find_spec("tqdm") is not None,
        comm=comm,
    )
    threads = comm.allreduce(get_num_threads())
    if comm.rank == 0:
        print(
            f"{history.epochs} epochs in {time.perf_counter() - begun:.1f} s on {threads} threads in all: "
            f"loss {history.loss[-1]:.4f}, accuracy {history.validation_accuracy[-1]:.2%} on held-out rows, "
            f"{np.median(history.samples_per_second):,.0f} samples/s of all processes",
            flush=True,
        )


if __name__ == "__main__":
    try:
        main()
    except Exception as error:  # on one process: the others must not wait for it
        if isinstance(error, DataError | OSError):
            print(printable(str(error)), file=sys.stderr, flush=True)
        else:
            traceback.print_exc()
        MPI.COMM_WORLD.Abort(1)
