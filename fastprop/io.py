"""Networks in files: one safetensors file holds a network, its optimizer, and where its fit stands.

Parameters stand as float32 tensors under the derivation's names, W1, b1, …; the optimizer's moments as moments.0.W1, …;
with early stopping the best parameters so far as best.W1, …, and those of the end, where the network went back to
the best, as last.W1, …. The history's lists are float64 tensors, history.loss, …: a header ends at 100 MB. All else is
JSON in the file's metadata. Nothing in a file is executed, and no memory is taken for what its header claims before the
claim is found true.
"""

import json
import math
import os
import re
import stat
from collections.abc import Mapping, Sequence
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from . import inputs, optimizers, schedules
from .activations import Activation
from .functions import Function
from .kernels.plan import ParameterLayout, allocate
from .losses import Loss
from .optimizers import Optimizer
from .training import Best, History, Run

if TYPE_CHECKING:
    from .network import Network

FORMAT, OLD_FORMAT = "fastprop 2", "fastprop 1"  # which had the history in its JSON
LISTS = tuple(name for name, value in vars(History()).items() if isinstance(value, list))
OPTIMIZERS = {kind.__name__: kind for kind in (optimizers.SGD, optimizers.Adam, optimizers.AdamW, optimizers.RMSprop,
                                               optimizers.Adagrad)}  # fmt: skip
SCHEDULES = ("constant", "step", "exponential", "cosine", "warm_up", "one_cycle")
GENERATORS = ("PCG64", "PCG64DXSM")  # whose state is whole numbers alone
MOST_DEPTH = 8  # of a schedule that is made of another
MOST_JSON = 2 * 10**7  # characters: read, lists in lists take nearly 30 times their text


def _safetensors() -> Any:
    try:
        import safetensors.numpy
    except ModuleNotFoundError:
        message = "files of networks need safetensors. Install it with: pip install 'fastprop[save]'"
        raise ModuleNotFoundError(message) from None
    return safetensors


# ---- writing -----------------------------------------------------------------------------------------------------


def save(network: "Network", path: str | os.PathLike[str]) -> None:
    """Write a network to a file; see :meth:`fastprop.Network.save`."""
    safetensors = _safetensors()
    run = _run_of(network)
    tensors, metadata = _tensors(network, run), _metadata(network, run)
    for name, values in tensors.items():
        if not name.startswith("history."):  # losses may be anything
            _check_finite(name, values)
    try:
        content = safetensors.numpy.save(tensors, metadata)
    except safetensors.SafetensorError as error:  # of so many layers or labels that a header cannot hold them
        raise ValueError(f"this network cannot be saved: {error}") from None
    _replace(Path(path), content)


class _NotFiniteError(ValueError):
    """That a tensor is not what files hold."""


def _check_finite(name: str, values: np.ndarray) -> None:
    """What holds of every tensor of parameters or moments, which may have overflowed."""
    if np.isnan(values).any() or (not name.startswith("moments.") and np.isinf(values).any()):
        raise _NotFiniteError(f"{name} holds NaN or infinity, which files of networks do not.")


def _run_of(network: "Network") -> Run | None:
    """Where the fit stands, unless it came to parameters that are not finite: like one that diverged, it is over."""
    run = network._run
    return None if run is None or (run.last is not None and not inputs.is_finite(run.last)) else run


def _replace(path: Path, content: bytes) -> None:
    """Write a file so that there is the old one or the new one at any moment, also if the machine stops."""
    partial = path.with_name(f".{path.name}.{os.urandom(4).hex()}.partial")
    try:
        with open(partial, "xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except OSError as error:
        message = f"{error.strerror}; what was there before is as it was"
        raise OSError(error.errno, message, os.fspath(path)) from None
    finally:
        with suppress(OSError):
            partial.unlink()
    with suppress(OSError):  # not every system opens folders
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _tensors(network: "Network", run: Run | None) -> dict[str, np.ndarray]:
    layout, optimizer = network._layout, network._optimizer
    tensors = _named(layout, "", network.parameters)
    if optimizer is not None and optimizer.moments is not None:
        for i, moment in enumerate(optimizer.moments):
            tensors |= _named(layout, f"moments.{i}.", moment)
    if run is not None and run.best is not None:
        tensors |= _named(layout, "best.", run.best.parameters)
    if run is not None and run.last is not None:
        tensors |= _named(layout, "last.", run.last)
    if run is not None:
        tensors |= {f"history.{name}": np.fromiter(getattr(run.history, name), np.float64) for name in LISTS}
    return tensors


def _named(layout: ParameterLayout, prefix: str, flat: np.ndarray) -> dict[str, np.ndarray]:
    """The parts of a flat buffer, by name."""
    return {
        f"{prefix}{kind}{l + 1}": np.ascontiguousarray(part)
        for l in range(len(layout.sizes) - 1)
        for kind, part in zip("Wb", layout.views(flat, l))
    }


def _metadata(network: "Network", run: Run | None) -> dict[str, str]:
    """All but the tensors, which can be read again: what is loaded is held against the same rules."""
    optimizer = network._optimizer
    if optimizer is not None and OPTIMIZERS.get(type(optimizer).__name__) is not type(optimizer):
        raise ValueError(f"the optimizer {optimizer!r} is none of fastprop's, and is not saved.")
    described = {
        "network": {
            "sizes": network.sizes, "hidden": [g.name for g in network._hidden], "output": network._output.name,
            "loss": network.loss_name, "l2": network.l2, "dropout": network._dropout, "scale": network.scale,
            "check_finite": network.check_finite,
            "generator": _state_of(network._rng), "classes": network.classes,
        },
        "optimizer": None if optimizer is None else {
            "kind": type(optimizer).__name__, "settings": optimizer.settings(), "lr": _rate_of(optimizer.lr),
            "steps": optimizer.steps,
        },
        "fit": None if run is None else {
            **{name: getattr(run, name) for name in RUN},
            "history": {name: value for name, value in vars(run.history).items() if name not in LISTS},
            "best": run.best and {"loss": run.best.loss, "epoch": run.best.epoch},
            "last": run.last is not None,
        },
    }  # fmt: skip
    metadata = {"format": FORMAT} | {name: json.dumps(value, default=_plain) for name, value in described.items()}
    try:
        _parts(metadata)
        if run is not None:
            _check_lengths(run)
    except (ValueError, TypeError) as error:
        raise ValueError(f"this network cannot be saved: {error}") from None
    return metadata


def _plain(value: Any) -> Any:
    """NumPy's numbers as Python's."""
    if isinstance(value, np.generic):
        return value.item()
    raise ValueError(f"{value!r} cannot be saved.")


RUN = ("rows", "batch_size", "shuffle", "fraction", "seed", "updates", "epoch", "step", "cost", "weight", "seconds")


def _state_of(generator: np.random.Generator) -> dict[str, Any]:
    state = dict(generator.bit_generator.state)
    if state["bit_generator"] not in GENERATORS:
        raise ValueError(f"the network's rng is {state['bit_generator']}; only {' or '.join(GENERATORS)} can be saved.")
    return state


def _rate_of(lr: Any) -> Any:
    """A learning rate as JSON."""
    if type(lr) is schedules.ReduceOnPlateau:
        return {"schedule": "ReduceOnPlateau", **vars(lr)}
    if isinstance(lr, schedules._Vectorised):
        settings = {name: _rate_of(value) for name, value in lr._settings.items()}
        return {"schedule": lr._name, "settings": settings}
    if callable(lr):
        raise ValueError(f"the schedule {lr!r} is a function, which is not saved. Use one of fastprop.schedules.")
    return lr


# ---- reading -----------------------------------------------------------------------------------------------------


def load(path: str | os.PathLike[str], functions: Sequence[Activation | Loss] = ()) -> "Network":
    """A network from a file; see :meth:`fastprop.Network.load`."""
    safetensors = _safetensors()
    path, functions = Path(path), list(functions)
    if not stat.S_ISREG(path.stat().st_mode):
        raise ValueError(f"{os.fspath(path)!r} is no file.")
    try:
        with safetensors.safe_open(path, "numpy") as file:
            return _network(file, functions)
    except (ValueError, TypeError, KeyError, IndexError, OverflowError, RecursionError, AttributeError) as error:
        raise ValueError(f"{os.fspath(path)!r} is not a network's file, or damaged: {error}") from error
    except safetensors.SafetensorError as error:
        raise ValueError(f"{os.fspath(path)!r} is not a safetensors file, or damaged: {error}") from None


def _network(file: Any, functions: Sequence[Activation | Loss]) -> "Network":
    from .network import Network

    metadata = file.metadata() or {}
    described, optimizer, run = _parts(metadata)
    n_moments = 0 if optimizer is None else optimizer.n_moments
    prefixes = ["", *(f"moments.{i}." for i in range(n_moments))]
    prefixes += ["best."] * bool(run and run.best) + ["last."] * bool(run and run.last is not None)
    lists = LISTS if run is not None and metadata["format"] == FORMAT else ()
    _check_shapes(file, described["sizes"], prefixes, lists)
    network = Network(
        described["sizes"], [_function(Activation, name, functions) for name in described["hidden"]],
        _function(Activation, described["output"], functions), _function(Loss, described["loss"], functions),
        init="zeros", l2=described["l2"], scale=described["scale"],
        check_finite=described["check_finite"], rng=described["generator"],
    )  # fmt: skip
    network._dropout, network.classes = described["dropout"], described["classes"]
    _read(file, "", network._layout, network.parameters)
    if optimizer is not None:
        length = network._layout.length
        moments = allocate(n_moments * length).reshape(n_moments, length)
        for i, moment in enumerate(moments):
            _read(file, f"moments.{i}.", network._layout, moment)
        optimizer._moments = moments
        optimizer.bind(network, length)
        network._optimizer = optimizer
    if run is not None:
        if run.best:
            run.best.parameters = _flat(file, "best.", network._layout)
        if run.last is not None:
            run.last = _flat(file, "last.", network._layout)
        for name in lists:
            setattr(run.history, name, file.get_tensor(f"history.{name}").tolist())
        _check_lengths(run)
        network._run = run
    return network


def _parts(metadata: Mapping[str, str]) -> tuple[dict[str, Any], Optimizer | None, Run | None]:
    """What the metadata says of the network, its optimizer and its fit, checked, without what stands in tensors."""
    if metadata.get("format") not in (FORMAT, OLD_FORMAT):
        raise ValueError(f"its format is {metadata.get('format')!r}, and not {FORMAT!r}.")
    texts = [metadata[name] for name in ("network", "optimizer", "fit")]
    if sum(map(len, texts)) > MOST_JSON:
        raise ValueError(f"its metadata has more than {MOST_JSON} characters.")
    described, optimizer, run = map(json.loads, texts)
    sizes = tuple(_whole("sizes", n, 1) for n in described["sizes"])
    dropout, seed = described["dropout"]
    described |= {
        "sizes": sizes, "generator": _generator(described["generator"]),
        "dropout": (inputs.number("dropout", dropout, least=0, below=1), _whole("seed", seed, 0, 2**62)),
        "classes": inputs.classes("classes", described["classes"], max(2, sizes[-1])),
    }  # fmt: skip
    lists = metadata["format"] == OLD_FORMAT
    return described, None if optimizer is None else _optimizer(optimizer), None if run is None else _run(run, lists)


def _check_lengths(run: Run) -> None:
    """That the history's lists are as long as the fit, or shorter, those of validation that came later."""
    for name in LISTS:
        length = len(getattr(run.history, name))
        if length > run.epoch or (length < run.epoch and not name.startswith("validation")):
            raise ValueError(f"history.{name} has {length} values; its fit stands at epoch {run.epoch}.")


def _check_shapes(file: Any, sizes: tuple[int, ...], prefixes: list[str], lists: Sequence[str]) -> None:
    """That the file has the tensors of these sizes, all of them and no others."""
    found = set(file.keys())
    if len(found) != 2 * (len(sizes) - 1) * len(prefixes) + len(lists):
        raise ValueError(f"it has {len(found)} tensors; sizes of {len(sizes)} widths need another number.")
    shapes = {
        f"{prefix}{kind}{l}": shape
        for prefix in prefixes
        for l, (n_prev, n) in enumerate(pairwise(sizes), start=1)
        for kind, shape in (("W", [n, n_prev]), ("b", [n]))
    }
    expected = {*shapes, *(f"history.{name}" for name in lists)}
    if found != expected:
        missing, unknown = sorted(expected - found), sorted(found - expected)
        raise ValueError(f"tensors are missing: {missing[:5]}, or unknown: {unknown[:5]}.")
    for name, shape in shapes.items():
        part = file.get_slice(name)
        if list(part.get_shape()) != shape or part.get_dtype() != "F32":
            raise ValueError(f"{name} is {part.get_dtype()} {part.get_shape()}; sizes {sizes} need F32 {shape}.")
    for name in lists:
        part = file.get_slice(f"history.{name}")
        dtype, shape = part.get_dtype(), part.get_shape()
        if len(shape) != 1 or dtype != "F64":
            raise ValueError(f"history.{name} is {dtype} {shape}; it must be F64 of one dimension.")


def _read(file: Any, prefix: str, layout: ParameterLayout, flat: np.ndarray) -> None:
    """The parts of a flat buffer, from their tensors."""
    for l in range(len(layout.sizes) - 1):
        for kind, part in zip("Wb", layout.views(flat, l)):
            name = f"{prefix}{kind}{l + 1}"
            values = file.get_tensor(name)
            _check_finite(name, values)
            part[...] = values


def _flat(file: Any, prefix: str, layout: ParameterLayout) -> np.ndarray:
    flat = allocate(layout.length)
    _read(file, prefix, layout, flat)
    return flat


def _whole(name: str, value: Any, least: int, most: int = 2**53) -> int:
    return inputs.whole(name, value, least, most)


def _any_number(name: str, value: Any) -> float:
    if type(value) not in (int, float):
        raise ValueError(f"{name} is {value!r}; it must be a number.")
    return value


def _number(name: str, value: Any, finite: bool = True) -> float:
    if math.isnan(_any_number(name, value)) or (finite and math.isinf(value)):
        raise ValueError(f"{name} is {value!r}; it must be a finite number.")
    return value


def _function(kind: type[Function], name: Any, functions: Sequence[Any]) -> Any:
    for function in functions:
        if type(function) is kind and function.name == name:
            return function  # of one's own
    if name not in kind.built_in:
        raise ValueError(
            f"it needs the {kind.__name__} {name!r}, whose code is not in the file. Pass functions=[…] with it."
        )
    return name


def _generator(state: dict[str, Any]) -> np.random.Generator:
    if state["bit_generator"] not in GENERATORS:
        raise ValueError(f"its generator is {state['bit_generator']!r}; it must be {' or '.join(GENERATORS)}.")
    if not state["state"]["inc"] % 2:
        raise ValueError("its generator's increment is even, which no generator's is.")
    bits = getattr(np.random, state["bit_generator"])()
    bits.state = state
    return np.random.Generator(bits)


def _optimizer(described: dict[str, Any]) -> Optimizer:
    """The optimizer, without its moments."""
    if described["kind"] not in OPTIMIZERS:
        raise ValueError(f"its optimizer is {described['kind']!r}; it must be one of {', '.join(OPTIMIZERS)}.")
    optimizer = OPTIMIZERS[described["kind"]](lr=_schedule(described["lr"]), **described["settings"])
    optimizer.steps = _whole("steps", described["steps"], 0, 2**48)
    return optimizer


def _schedule(described: Any, depth: int = 0) -> Any:
    if not isinstance(described, Mapping):
        return described
    name = described["schedule"]
    if name == "ReduceOnPlateau":
        given: dict[str, Any] = {key: _number(key, described[key]) for key in ("factor", "least", "patience")}
        plateau = schedules.ReduceOnPlateau(1.0, **given)
        plateau.rate = inputs.number("rate", _number("rate", described["rate"]), least=0)  # 0: it fell below all floats
        plateau.best = _number("best", described["best"], finite=False)
        plateau.waited = _whole("waited", described["waited"], 0)
        return plateau
    if depth > MOST_DEPTH:
        raise ValueError(f"it has more than {MOST_DEPTH} schedules in schedules.")
    if name not in SCHEDULES:
        raise ValueError(f"its schedule is {name!r}; it must be one of {', '.join(SCHEDULES)}, or ReduceOnPlateau.")
    settings = {key: _schedule(value, depth + 1) for key, value in described["settings"].items()}
    return schedules._made(name, settings)


def _run(described: dict[str, Any], lists: bool) -> Run:
    """Where the fit stands, without its best and last parameters: they are empty where the file has them.

    `lists` tells whether the history's are in here.
    """
    run = Run(
        rows=_whole("rows", described["rows"], 1), batch_size=inputs.whole("batch_size", described["batch_size"]),
        shuffle=inputs.flag("shuffle", described["shuffle"]),
        fraction=inputs.number("fraction", described["fraction"], least=0, below=1),
        seed=_whole("seed", described["seed"], 0, 2**62), updates=_whole("updates", described["updates"], 0),
        epoch=_whole("epoch", described["epoch"], 0), step=_whole("step", described["step"], 0),
        cost=_number("cost", described["cost"]), weight=_number("weight", described["weight"]),
        seconds=_number("seconds", described["seconds"]),
    )  # fmt: skip
    run.history = _history(described["history"], lists)
    if run.step > -(-run.rows // run.batch_size):
        raise ValueError(f"its fit stands at step {run.step} of epoch {run.epoch}, which it cannot.")
    if described["best"]:
        loss, epoch = described["best"]["loss"], described["best"]["epoch"]
        run.best = Best(np.empty(0), _number("loss", loss, finite=False), _whole("epoch", epoch, -1, run.epoch - 1))
    run.last = np.empty(0) if described["last"] else None
    return run


def _history(described: dict[str, Any], lists: bool) -> History:
    history = History()
    if set(described) != set(vars(history)) - (set() if lists else set(LISTS)):
        raise ValueError(f"its history has {sorted(described)}.")
    for name in LISTS if lists else ():
        setattr(history, name, [_any_number(f"history.{name}", x) for x in described[name]])
    history.best_epoch = None if described["best_epoch"] is None else _whole("best_epoch", described["best_epoch"], 0)
    history.running_loss = _any_number("running_loss", described["running_loss"])
    history.interrupted = inputs.flag("interrupted", described["interrupted"])
    return history


# ---- while training ----------------------------------------------------------------------------------------------


class Checkpoint:
    """A callback of ``fit`` that saves the network as it trains, so that a killed process loses little.

    Parameters
    ----------
    path : path-like
        One file, which is replaced each time: it is the last state or the one before, and whole, at any moment. It
        belongs to one process. What a killed one leaves beside it, ``.NAME.….partial``, is removed when the next
        fit begins.
    every : int, optional
        Steps from one file to the next; None saves after each epoch. What is saved are the parameters of that moment,
        those of the best epoch beside them; the end of a fit is not, unless it falls on such a step: call
        ``net.save`` then. Parameters and moments that are not finite are not saved, nor is a fit that diverged: the
        last file is from before.

    Raises
    ------
    ModuleNotFoundError
        If safetensors is not installed (extra ``save``).
    OSError
        When the fit begins, if the folder cannot be written to; while it trains, if the disk is full. The last file
        stays.

    Examples
    --------
    >>> net.fit(X, Y, epochs=100, callbacks=[Checkpoint("run.safetensors", every=1000)])  # doctest: +SKIP

    and in another process, after this one was killed:

    >>> net = Network.load("run.safetensors")  # doctest: +SKIP
    >>> net.fit(X, Y, epochs=100, callbacks=[Checkpoint("run.safetensors", every=1000)], resume=True)  # doctest: +SKIP
    """

    def __init__(self, path: str | os.PathLike[str], every: int | None = None):
        _safetensors()
        self.path = Path(path)
        self.every = None if every is None else inputs.whole("every", every)
        self._network: Network | None = None

    def begins(self, network: "Network") -> None:
        """Find out before the first step whether the network can be saved there."""
        _metadata(network, None)
        if self.path.is_dir():
            raise IsADirectoryError(f"{self.path} is a folder; a checkpoint is a file.")
        partial = re.compile(re.escape(f".{self.path.name}.") + r"[0-9a-f]{8}\.partial")
        try:
            for left in self.path.parent.iterdir():
                if partial.fullmatch(left.name):
                    left.unlink(missing_ok=True)
            probe = self.path.with_name(f".{self.path.name}.probe.partial")
            probe.touch()
            probe.unlink()
        except OSError as error:
            message = f"{error.strerror}; a checkpoint needs a folder that can be written to"
            raise OSError(error.errno, message, os.fspath(self.path)) from None
        self._network = network

    def __call__(self, count: int, history: History) -> None:
        assert self._network is not None
        if self._network._run is None:  # it diverged
            return
        with suppress(_NotFiniteError):
            save(self._network, self.path)

    def __repr__(self) -> str:
        return f"Checkpoint({str(self.path)!r}, every={self.every})"
