"""Files of networks: one safetensors file holds a network, its optimizer, and where its fit stands.

Parameters are tensors of the network's dtype under the derivation's names, W1, b1, …; the optimizer's moments are
moments.0.W1, …; with early stopping the best parameters so far are best.W1, …, and the last ones, if the network went
back to the best, last.W1, …. The history's lists are float64 tensors, history.loss, …, since a header may have at most
100 MB. All else is JSON in the file's metadata. Nothing in a file is executed, and no memory is allocated for what a
header claims before the claim is checked.
"""

import json
import math
import os
import re
import stat
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from .. import schedules
from ..activations import Activation
from ..checks import flag, number, whole
from ..core import arrays
from ..core.architecture import Architecture, checked_classes, checked_dtype
from ..core.model import Model
from ..distribution import missing
from ..functions.function import Function, find
from ..kernels.plan import ParameterLayout, allocate
from ..losses import Loss
from ..optimizers import OPTIMIZERS, Optimizer
from .history import Best, FitState, History

FORMAT = "fastprop 2"
FORMAT_OF_MANY = "fastprop ensemble 1"
OLD_FORMAT = "fastprop 1"  # which had the history's lists in its JSON
# The fields of a file. They are written out, so that a new attribute of a class cannot change the format.
FIT_FIELDS = (
    "rows", "batch_size", "shuffle", "fraction", "bootstrap", "shares", "seed", "updates", "epoch", "step", "cost",
    "weight", "seconds",
)  # fmt: skip
HISTORY_LISTS = ("loss", "validation_loss", "validation_accuracy", "seconds", "samples_per_second")
HISTORY_VALUES = ("best_epoch", "running_loss", "interrupted")
GENERATORS = ("PCG64", "PCG64DXSM")  # whose state consists of integers only
MOST_JSON = 2 * 10**7  # characters: parsed, nested lists take nearly 30 times their text

AnyModel = TypeVar("AnyModel", bound=Model)
Made = TypeVar("Made")


def _safetensors() -> Any:
    try:
        import safetensors.numpy
    except ModuleNotFoundError:
        raise missing("save", "files of networks need") from None
    return safetensors


# ---- writing -----------------------------------------------------------------------------------------------------


def save(model: Model, path: str | os.PathLike[str]) -> None:
    """Write a network to a file; see :meth:`fastprop.Network.save`."""
    _write(path, *_described(model), "this network")


def save_many(models: Sequence[Model], path: str | os.PathLike[str]) -> None:
    """Write networks to one file: all that a file of network i would hold, with the prefix ``i.``."""
    tensors: dict[str, np.ndarray] = {}
    metadata = {"format": FORMAT_OF_MANY}
    for i, model in enumerate(models):
        try:
            described = _described(model)
        except ValueError as error:
            raise ValueError(f"network {i}: {error}") from error
        tensors |= {f"{i}.{name}": values for name, values in described[0].items()}
        metadata |= {f"{i}.{name}": text for name, text in described[1].items()}
    _check_json(metadata.values(), "this ensemble cannot be saved: its")
    _write(path, tensors, metadata, "this ensemble")


def _described(model: Model) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Return the tensors and the metadata of a network, checked."""
    state = _state_to_save(model)
    tensors, metadata = _tensors(model, state), _metadata(model, state)
    for name, values in tensors.items():
        if not name.startswith("history."):  # losses may be anything
            _check_finite(name, values)
    return tensors, metadata


def _write(path: str | os.PathLike[str], tensors: dict[str, np.ndarray], metadata: dict[str, str], what: str) -> None:
    safetensors = _safetensors()
    try:
        content = safetensors.numpy.save(tensors, metadata)
    except safetensors.SafetensorError as error:  # the header cannot hold that many layers or labels
        raise ValueError(f"{what} cannot be saved: {error}") from None
    replace_file(Path(path), content)


def _check_json(texts: Iterable[str], whose: str = "its") -> None:
    if sum(map(len, texts)) > MOST_JSON:
        raise ValueError(f"{whose} metadata has more than {MOST_JSON} characters.")


class _NotFiniteError(ValueError):
    """A tensor holds NaN or infinity."""


def _check_finite(name: str, values: np.ndarray) -> None:
    """Check a tensor of parameters, or of moments, which may have overflowed to infinity."""
    if np.isnan(values).any() or (not name.startswith("moments.") and np.isinf(values).any()):
        raise _NotFiniteError(f"{name} holds NaN or infinity, which files of networks do not.")


def _state_to_save(model: Model) -> FitState | None:
    """Return where the fit stands; None if it came to parameters that are not finite, as if it had diverged."""
    state = model.fit_state
    return None if state is None or (state.last is not None and not arrays.is_finite(state.last)) else state


def replace_file(path: Path, content: bytes) -> None:
    """Write a file atomically: at any moment there is the old one or the new one, even if the machine stops."""
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
    with suppress(OSError):  # not every system can open folders
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _tensors(model: Model, state: FitState | None) -> dict[str, np.ndarray]:
    layout, optimizer = model.architecture.layout, model.optimizer
    tensors = _named(layout, "", model.parameters)
    if optimizer is not None and optimizer.moments is not None:
        for i, moment in enumerate(optimizer.moments):
            tensors |= _named(layout, f"moments.{i}.", moment)
    if state is not None and state.best is not None:
        tensors |= _named(layout, "best.", state.best.parameters)
    if state is not None and state.last is not None:
        tensors |= _named(layout, "last.", state.last)
    if state is not None:
        for name in HISTORY_LISTS:
            tensors[f"history.{name}"] = np.fromiter(getattr(state.history, name), np.float64)
    return tensors


def _named(layout: ParameterLayout, prefix: str, flat: np.ndarray) -> dict[str, np.ndarray]:
    """Return the parts of a flat buffer by name."""
    return {
        f"{prefix}{kind}{l + 1}": np.ascontiguousarray(part)
        for l in range(len(layout.sizes) - 1)
        for kind, part in zip("Wb", layout.views(flat, l))
    }


def _metadata(model: Model, state: FitState | None) -> dict[str, str]:
    """Describe everything but the tensors, and check that the description can be read again."""
    net, optimizer = model.architecture, model.optimizer
    if optimizer is not None and OPTIMIZERS.get(type(optimizer).__name__) is not type(optimizer):
        raise ValueError(f"the optimizer {optimizer!r} is none of fastprop's, and is not saved.")
    described = {
        "network": {
            "sizes": net.sizes,
            "hidden": [activation.name for activation in net.hidden],
            "output": net.output.name,
            "loss": net.loss.name,
            "l2": net.l2,
            "dropout": (net.dropout, net.dropout_seed),
            "scale": net.scale,
            "check_finite": net.check_finite,
            "missing": net.missing,
            "dtype": net.dtype.name,
            "frozen": net.frozen,
            "generator": _generator_state(model.generator),
            "classes": model.classes,
        },
        "optimizer": None if optimizer is None else _described_optimizer(optimizer),
        "fit": None if state is None else _described_fit(state),
    }
    metadata = {"format": FORMAT} | {name: json.dumps(value, default=_plain) for name, value in described.items()}
    try:
        _Contents.of(metadata)
        if state is not None:
            _check_lengths(state)
    except (ValueError, TypeError) as error:
        raise ValueError(f"this network cannot be saved: {error}") from None
    return metadata


def _described_optimizer(optimizer: Optimizer) -> dict[str, Any]:
    return {
        "kind": type(optimizer).__name__,
        "settings": optimizer.settings(),
        "lr": schedules.described(optimizer.lr),
        "steps": optimizer.steps,
    }


def _described_fit(state: FitState) -> dict[str, Any]:
    return {
        **{name: getattr(state, name) for name in FIT_FIELDS},
        "history": {name: getattr(state.history, name) for name in (*HISTORY_VALUES, "metrics")},
        "best": state.best and {"loss": state.best.loss, "epoch": state.best.epoch},
        "last": state.last is not None,
    }


def _plain(value: Any) -> Any:
    """Return a NumPy scalar as a Python number."""
    if isinstance(value, np.generic):
        return value.item()
    raise ValueError(f"{value!r} cannot be saved.")


def _generator_state(generator: np.random.Generator) -> dict[str, Any]:
    state = dict(generator.bit_generator.state)
    if state["bit_generator"] not in GENERATORS:
        raise ValueError(f"the network's rng is {state['bit_generator']}; only {' or '.join(GENERATORS)} can be saved.")
    return state


# ---- reading -----------------------------------------------------------------------------------------------------


def load(kind: type[AnyModel], path: str | os.PathLike[str], functions: Sequence[Activation | Loss] = ()) -> AnyModel:
    """Return a network of class `kind` from a file; see :meth:`fastprop.Network.load`."""
    given = list(functions)
    return _read_from(path, lambda file: _model(kind, file, given), "a network's file")


def load_many(
    kind: type[AnyModel],
    path: str | os.PathLike[str],
    functions: Sequence[Activation | Loss],
    make: Callable[[list[AnyModel]], Made],
) -> Made:
    """Return what `make` makes of the networks of class `kind` in a file."""
    given = list(functions)

    def read(file: Any) -> Made:
        return make([_model(kind, part, given) for part in _parts(file)])

    return _read_from(path, read, "an ensemble's file")


def _read_from(path: str | os.PathLike[str], read: Callable[[Any], Made], what: str) -> Made:
    """Return what `read` makes of an open file; whatever is wrong with the file is a ValueError."""
    safetensors = _safetensors()
    path = Path(path)
    if not stat.S_ISREG(path.stat().st_mode):
        raise ValueError(f"{os.fspath(path)!r} is no file.")
    try:
        with safetensors.safe_open(path, "numpy") as file:
            return read(file)
    except (ValueError, TypeError, KeyError, IndexError, OverflowError, RecursionError, AttributeError) as error:
        raise ValueError(f"{os.fspath(path)!r} is not {what}, or damaged: {error}") from error
    except safetensors.SafetensorError as error:
        raise ValueError(f"{os.fspath(path)!r} is not a safetensors file, or damaged: {error}") from None


class _Part:
    """The part of a file that belongs to one network, which is read as a file of this network."""

    def __init__(self, file: Any, prefix: str):
        self._file, self._prefix = file, prefix
        self._names: list[str] = []
        self._metadata = {"format": FORMAT}

    def metadata(self) -> dict[str, str]:
        return self._metadata

    def keys(self) -> list[str]:
        return self._names

    def get_slice(self, name: str) -> Any:
        return self._file.get_slice(self._prefix + name)

    def get_tensor(self, name: str) -> Any:
        return self._file.get_tensor(self._prefix + name)

    def add(self, name: str, text: str | None) -> None:
        """Add the name of a tensor, or of a text of the metadata with this text."""
        if text is None:
            self._names.append(name)
        else:
            self._metadata[name] = text


def _parts(file: Any) -> list[_Part]:
    """Return the parts of a file of many networks, in their order."""
    metadata = dict(file.metadata() or {})
    if metadata.pop("format", None) != FORMAT_OF_MANY:
        raise ValueError(f"its format is not {FORMAT_OF_MANY!r}.")
    _check_json(metadata.values())
    parts: dict[str, _Part] = {}
    for whole_name, text in (*metadata.items(), *dict.fromkeys(file.keys()).items()):
        number_of, dot, name = whole_name.partition(".")
        if number_of not in parts:
            parts[number_of] = _Part(file, number_of + dot)
        parts[number_of].add(name, text)
    if set(parts) != {str(i) for i in range(len(parts))}:
        raise ValueError("its networks are not numbered from 0 on.")
    return [parts[str(i)] for i in range(len(parts))]


@dataclass
class _Contents:
    """What the metadata of a file says, checked; the arrays are still empty."""

    settings: dict[str, Any]  # of the architecture, its functions by name
    generator: np.random.Generator
    classes: list[Any] | None
    optimizer: Optimizer | None
    state: FitState | None
    lists: tuple[str, ...]  # of the history, which are tensors

    @classmethod
    def of(cls, metadata: Mapping[str, str]) -> "_Contents":
        if metadata.get("format") not in (FORMAT, OLD_FORMAT):
            raise ValueError(f"its format is {metadata.get('format')!r}, and not {FORMAT!r}.")
        texts = [metadata[name] for name in ("network", "optimizer", "fit")]
        _check_json(texts)
        network, optimizer, fit = map(json.loads, texts)
        sizes = tuple(_whole("sizes", n, 1) for n in network["sizes"])
        dropout, seed = network["dropout"]
        settings = {
            "sizes": sizes,
            "dropout": number("dropout", dropout, least=0, below=1),
            "dropout_seed": _whole("seed", seed, 0, 2**62),
            **{name: network[name] for name in ("hidden", "output", "loss", "l2", "scale", "check_finite")},
            "missing": network.get("missing", False),  # files of 0.1.0 have neither
            "dtype": checked_dtype(network.get("dtype", "float32")),
            "frozen": network.get("frozen", []),  # files before frozen layers have none
        }
        old = metadata["format"] == OLD_FORMAT
        return cls(
            settings,
            _generator(network["generator"]),
            checked_classes("classes", network["classes"], max(2, sizes[-1])),
            None if optimizer is None else _optimizer(optimizer),
            None if fit is None else _fit_state(fit, old),
            HISTORY_LISTS if fit is not None and not old else (),
        )

    def prefixes(self) -> list[str]:
        """Return the prefixes of the tensors that have the shapes of the parameters."""
        n_moments = 0 if self.optimizer is None else self.optimizer.n_moments
        result = ["", *(f"moments.{i}." for i in range(n_moments))]
        if self.state is not None and self.state.best:
            result.append("best.")
        if self.state is not None and self.state.last is not None:
            result.append("last.")
        return result


def _model(kind: type[AnyModel], file: Any, functions: Sequence[Activation | Loss]) -> AnyModel:
    contents = _Contents.of(file.metadata() or {})
    settings = contents.settings
    _check_shapes(file, settings["sizes"], settings["dtype"], contents.prefixes(), contents.lists)
    settings["hidden"] = [_function(Activation, name, functions) for name in settings["hidden"]]
    settings["output"] = _function(Activation, settings["output"], functions)
    settings["loss"] = _function(Loss, settings["loss"], functions)
    architecture = Architecture.checked(**settings)
    model = kind.of(architecture, contents.generator, _flat(file, "", architecture))
    model.classes = contents.classes
    if contents.optimizer is not None:
        _restore_moments(contents.optimizer, file, architecture)
        model.bind(contents.optimizer)
    if contents.state is not None:
        model.fit_state = _with_arrays(contents.state, file, architecture, contents.lists)
    return model


def _restore_moments(optimizer: Optimizer, file: Any, net: Architecture) -> None:
    layout = net.layout
    moments = allocate(optimizer.n_moments * layout.length, net.dtype).reshape(optimizer.n_moments, layout.length)
    for i, moment in enumerate(moments):
        _read(file, f"moments.{i}.", layout, moment)
    optimizer.restore(moments, optimizer.steps)


def _with_arrays(state: FitState, file: Any, net: Architecture, lists: Sequence[str]) -> FitState:
    """Read the arrays of a fit: its best and last parameters, and its history."""
    if state.best:
        state.best.parameters = _flat(file, "best.", net)
    if state.last is not None:
        state.last = _flat(file, "last.", net)
    for name in lists:
        setattr(state.history, name, file.get_tensor(f"history.{name}").tolist())
    state.history.loss_name = net.loss.name
    _check_lengths(state)
    return state


def _check_lengths(state: FitState) -> None:
    """Check that the history's lists are as long as the fit, or shorter if validation began later."""
    for name in HISTORY_LISTS:
        length = len(getattr(state.history, name))
        if length > state.epoch or (length < state.epoch and not name.startswith("validation")):
            raise ValueError(f"history.{name} has {length} values; its fit stands at epoch {state.epoch}.")
    for name, values in state.history.metrics.items():
        if len(values) > state.epoch:
            raise ValueError(f"history.metrics.{name} has {len(values)} values; its fit stands at epoch {state.epoch}.")


def _check_shapes(
    file: Any, sizes: tuple[int, ...], dtype: np.dtype, prefixes: list[str], lists: Sequence[str]
) -> None:
    """Check that the file has exactly the tensors of these sizes, and of this dtype."""
    number_kind = f"F{8 * dtype.itemsize}"
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
        found_dtype, found_shape = part.get_dtype(), list(part.get_shape())
        if (found_dtype, found_shape) != (number_kind, shape):
            raise ValueError(f"{name} is {found_dtype} {found_shape}; sizes {sizes} need {number_kind} {shape}.")
    for name in lists:
        part = file.get_slice(f"history.{name}")
        dtype, shape = part.get_dtype(), part.get_shape()
        if len(shape) != 1 or dtype != "F64":
            raise ValueError(f"history.{name} is {dtype} {shape}; it must be F64 of one dimension.")


def _read(file: Any, prefix: str, layout: ParameterLayout, flat: np.ndarray) -> None:
    """Read the parts of a flat buffer from their tensors."""
    for l in range(len(layout.sizes) - 1):
        for kind, part in zip("Wb", layout.views(flat, l)):
            name = f"{prefix}{kind}{l + 1}"
            values = file.get_tensor(name)
            _check_finite(name, values)
            part[...] = values


def _flat(file: Any, prefix: str, net: Architecture) -> np.ndarray:
    flat = allocate(net.layout.length, net.dtype)
    _read(file, prefix, net.layout, flat)
    return flat


def _whole(name: str, value: Any, least: int, most: int = 2**53) -> int:
    return whole(name, value, least, most)


def _any_number(name: str, value: Any) -> float:
    if type(value) not in (int, float):
        raise ValueError(f"{name} is {value!r}; it must be a number.")
    return value


def _number(name: str, value: Any, finite: bool = True) -> float:
    if math.isnan(_any_number(name, value)) or (finite and math.isinf(value)):
        raise ValueError(f"{name} is {value!r}; it must be a finite number.")
    return value


def _function(kind: type[Function], name: Any, functions: Sequence[Any]) -> Any:
    """Return the custom function of that name, or the name of a built-in one."""
    for function in functions:
        if type(function) is kind and function.name == name:
            return function
    if find(kind, name) is None:
        raise ValueError(
            f"it needs the {kind.__name__} {name!r}, whose code is not in the file. Pass functions=[...] with it."
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
    """Return the optimizer, without its moments."""
    if described["kind"] not in OPTIMIZERS:
        raise ValueError(f"its optimizer is {described['kind']!r}; it must be one of {', '.join(OPTIMIZERS)}.")
    optimizer = OPTIMIZERS[described["kind"]](lr=schedules.restored(described["lr"]), **described["settings"])
    optimizer.steps = _whole("steps", described["steps"], 0, 2**48)
    return optimizer


def _fit_state(described: dict[str, Any], old: bool) -> FitState:
    """Return where the fit stands, with empty arrays in the place of its best and last parameters.

    In the `old` format the history's lists are part of the description.
    """
    state = FitState(
        rows=_whole("rows", described["rows"], 1),
        batch_size=whole("batch_size", described["batch_size"]),
        shuffle=flag("shuffle", described["shuffle"]),
        fraction=number("fraction", described["fraction"], least=0, below=1),
        seed=_whole("seed", described["seed"], 0, 2**62),
        bootstrap=flag("bootstrap", described.get("bootstrap", False)),  # files before ensembles have none
        shares=[_whole("shares", share, 1) for share in described.get("shares", [])],
        updates=_whole("updates", described["updates"], 0),
        epoch=_whole("epoch", described["epoch"], 0),
        step=_whole("step", described["step"], 0),
        cost=_number("cost", described["cost"]),
        weight=_number("weight", described["weight"]),
        seconds=_number("seconds", described["seconds"]),
        history=_history(described["history"], old),
    )
    if state.shares and sum(state.shares) != state.rows:
        raise ValueError(f"its fit had {state.rows} rows, in shares of {state.shares}.")
    if state.step > -(-state.rows // state.batch_size):
        raise ValueError(f"its fit stands at step {state.step} of epoch {state.epoch}, which it cannot.")
    if described["best"]:
        loss, epoch = described["best"]["loss"], described["best"]["epoch"]
        loss, epoch = _number("loss", loss, finite=False), _whole("epoch", epoch, -1, state.epoch - 1)
        state.best = Best(np.empty(0), loss, epoch)
    state.last = np.empty(0) if flag("last", described["last"]) else None
    return state


def _metrics(described: Any) -> dict[str, list[float]]:
    if not isinstance(described, dict) or not all(isinstance(values, list) for values in described.values()):
        raise ValueError(f"its history has the metrics {described!r}; they must be lists of numbers, by names.")
    return {name: [_any_number(f"history.metrics.{name}", x) for x in values] for name, values in described.items()}


def _history(described: dict[str, Any], old: bool) -> History:
    if set(described) - {"metrics"} != {*HISTORY_VALUES, *(HISTORY_LISTS if old else ())}:
        raise ValueError(f"its history has {sorted(described)}.")
    best_epoch = described["best_epoch"]
    history = History(
        best_epoch=None if best_epoch is None else _whole("best_epoch", best_epoch, 0),
        running_loss=_any_number("running_loss", described["running_loss"]),
        interrupted=flag("interrupted", described["interrupted"]),
        metrics=_metrics(described.get("metrics", {})),  # files before metrics have none
    )
    for name in HISTORY_LISTS if old else ():
        setattr(history, name, [_any_number(f"history.{name}", x) for x in described[name]])
    return history


# ---- while training ----------------------------------------------------------------------------------------------


class Checkpoint:
    """A callback of ``fit`` that saves the network while it trains, so that a killed process loses little.

    Parameters
    ----------
    path : path-like
        One file, which is replaced each time; at any moment it is whole, and holds the last state or the one before.
        It must not be shared between processes. A temporary file that a killed process leaves beside it,
        ``.NAME.….partial``, is removed when the next fit begins.
    every : int, optional
        The number of steps between two saves; None saves after each epoch. Saved are the current parameters, beside
        those of the best epoch. The end of a fit is saved only if it falls on such a step: call ``net.save`` then.
        Parameters and moments that are not finite are not saved, nor is a fit that diverged, so that the file is from
        before.

    Raises
    ------
    ModuleNotFoundError
        If safetensors is not installed (extra ``save``).
    OSError
        When the fit begins, if the folder cannot be written to; during training, for example if the disk is full. The
        last file stays.

    Examples
    --------
    >>> net.fit(X, Y, epochs=100, callbacks=[Checkpoint("run.safetensors", every=1000)])  # doctest: +SKIP

    In another process, after this one was killed:

    >>> net = Network.load("run.safetensors")  # doctest: +SKIP
    >>> net.fit(X, Y, epochs=100, callbacks=[Checkpoint("run.safetensors", every=1000)], resume=True)  # doctest: +SKIP
    """

    def __init__(self, path: str | os.PathLike[str], every: int | None = None):
        _safetensors()
        self.path: Path = Path(path)
        self.on_first_rank = True
        self.every: int | None = None if every is None else whole("every", every)
        self._model: Model | None = None

    def begins(self, model: Model) -> None:
        """Check before the first step that the network can be saved to this path."""
        _metadata(model, None)
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
        self._model = model

    def __call__(self, count: int, history: History) -> None:
        assert self._model is not None
        if self._model.fit_state is None:  # the fit diverged
            return
        with suppress(_NotFiniteError):
            save(self._model, self.path)

    def __repr__(self) -> str:
        return f"Checkpoint({str(self.path)!a}, every={self.every})"
