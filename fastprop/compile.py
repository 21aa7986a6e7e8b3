"""``python -m fastprop.compile``: compile kernels before they are needed, for images of containers and for clusters.

::

    python -m fastprop.compile 784 256 128 10   # all that networks of these widths call
    python -m fastprop.compile --all            # all that networks of any widths call
    python -m fastprop.compile --all --dtype float64
    python -m fastprop.compile --clear          # remove compiled code, as before an uninstallation

With widths, the tiles of these widths are compiled, all built-in activations and optimizers, and for each output the
loss that is paired with it and the way back from a given dA; with ``--all``, all tiles and all pairs of an output and a
loss. What is in the cache already is loaded. Other processes find the compiled code in NUMBA_CACHE_DIR if that is set,
else beside fastprop's sources, else in the user's cache folder; they need not be able to write there. The code is for
the processor it is compiled on: on a cluster of several kinds, run the command once on each, with the same folder.
NUMBA_CPU_NAME and NUMBA_CPU_FEATURES, set here and where it is used, choose a processor that all of them can stand for.
"""

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from .activations import ACTIVATIONS
from .core import threads
from .core.architecture import DTYPES
from .kernels import jit, steps
from .kernels.plan import FLOAT32
from .kernels.tiles import compile_tiles
from .losses import INNER_PRODUCT, LOSSES, default_for, loss_routine
from .network import Network
from .optimizers import OPTIMIZERS, SGD
from .training.many import fit_many


def warm(sizes: tuple[int, ...] | None = None, dtype: np.dtype = FLOAT32) -> None:
    """Compile what networks call, or load it from the cache.

    Parameters
    ----------
    sizes : tuple of int, optional
        Widths from the inputs to the outputs; None for any widths, and every pair of an output and a loss.
    dtype : numpy.dtype
        float32 or float64.
    """
    compile_tiles(sizes, dtype=dtype)
    for routine in _routines():
        routine.address(dtype)
    for activation in ACTIVATIONS.values():
        activation.kind(dtype)
        for loss in [INNER_PRODUCT, *([default_for(activation)] if sizes else LOSSES.values())]:
            if loss.accepts(activation):
                loss_routine(activation, loss).address(dtype)
    optimizers: dict[str, Any] = dict(OPTIMIZERS)
    for kind in optimizers.values():
        optimizer = kind()
        optimizer.prepare.address(dtype)
        optimizer.update.address(dtype)
    _call(dtype)


def _routines() -> Iterator[jit.Routine]:
    """Yield the routines of the kernels: phases, updates, activations and losses."""
    for name, module in sorted(sys.modules.items()):
        if name.startswith(f"{__package__}.kernels."):
            yield from (value for value in list(vars(module).values()) if isinstance(value, jit.Routine))


def _call(dtype: np.dtype) -> None:
    """Train and predict on all kinds of data, on one thread and on two, so that the functions called are compiled."""
    before = threads.get_num_threads()
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 200)
    Y = np.eye(3, dtype=dtype)[labels]
    weights = np.ones(200, dtype)
    try:
        for count, batch in ((1, 1), (1, 32), (2, 200)):
            threads.set_num_threads(count)
            for X in (rng.random((200, 5)).astype(dtype), rng.integers(0, 256, (200, 5), np.uint8)):
                for targets in (labels, Y):
                    net = Network((5, 300, 3), output="softmax", scale=1 / X.max(), dtype=dtype, rng=0)
                    net.fit(X, targets, epochs=1, batch_size=batch, sample_weight=weights, validation=0.2,
                            progress=False)  # fmt: skip
                    net.predict(X), net.predict(X[:1])
                    net.loss(X, targets)
                    net.forward(X), net.backward(targets)
            net = Network((5, 300, 3), scale=1 / 255, dtype=dtype, rng=0)
            net.fit(X, Y, epochs=1, batch_size=batch, optimizer=SGD(0.001), progress=False)
            net.train_step(X[:batch], Y[:batch], SGD(0.001))
            fit_many([net, Network((5, 300, 3), dtype=dtype, rng=1)], X, Y, epochs=1, progress=False)
    finally:
        threads.set_num_threads(before)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status, 1 if compiled code cannot be kept."""
    parser = argparse.ArgumentParser(prog="python -m fastprop.compile", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("sizes", metavar="width", nargs="*", type=int, help="widths of a network, such as 784 256 10")
    parser.add_argument("--dtype", default="float32", choices=[dtype.name for dtype in DTYPES], help="of the networks")
    parser.add_argument("--all", action="store_true", help="what networks of any widths call")
    parser.add_argument("--clear", action="store_true", help="remove compiled code from all folders, first")
    given = parser.parse_args(arguments)
    if (given.all and given.sizes) or not (given.all or given.sizes or given.clear):
        parser.error("give the widths of a network, or --all, or --clear alone")
    if given.sizes and (len(given.sizes) < 2 or min(given.sizes) < 1):
        parser.error("give at least two widths, from the inputs to the outputs, each at least 1")
    if given.clear:
        _clear()
    if not (given.all or given.sizes):
        return 0
    started = time.perf_counter()
    warm(None if given.all else tuple(given.sizes), np.dtype(given.dtype))
    folder = jit.writable_folder(steps.launch_alone)
    what = "networks of any widths" if given.all else "-".join(map(str, given.sizes))
    taken = time.perf_counter() - started
    print(f"compiled or loaded all for {what} of {given.dtype} in {taken:.1f} s, for {jit.cpu_name()}")
    if folder is None:
        print("cache: none, since no folder can be written; set NUMBA_CACHE_DIR to one that can")
        return 1
    files = jit.files_in(folder)
    print(f"cache: {folder}: {len(files)} files, {sum(path.stat().st_size for path in files) / 1e6:.1f} MB")
    return 0


def _clear() -> None:
    for folder in jit.folders_of(steps.launch_alone.py_func):
        files = jit.files_in(folder)
        for path in files:
            path.unlink(missing_ok=True)
        if files:
            print(f"removed {len(files)} files from {folder}")


if __name__ == "__main__":
    sys.exit(main())
