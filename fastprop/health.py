"""A network's health: what the two passes and a step make of each layer, what is wrong there, and the remedy."""

import copy
import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from . import inputs
from .activations import Activation
from .losses import PAIRS, is_paired
from .network import Layer, Network
from .optimizers import Optimizer
from .training import History

# Where a finding begins. Sources are in the Notes of `diagnose`; measured were networks of up to 12 hidden layers, on
# scikit-learn's digits in 0 … 1, after 20 epochs of batches of 64: those that learn come to accuracies of 0.85 to 0.93.
LARGE_INPUT = 10.0  # SGD(0.1) learns pixels in 0 … 10; in 0 … 16 it kills half of a layer, in 0 … 30 it learns nothing
SMALL_INPUT = 0.01  # in 0 … 0.1 it comes to 0.79, in 0 … 0.01 to 0.31
USUAL_UPDATE = 1e-3
HIGH_UPDATE = 0.1  # Adam(0.01) begins with 0.07 and learns, Adam(0.03) with 0.2 and loses half of a layer
LOW_UPDATE = 1e-5  # an accuracy as before training, with SGD and with Adam; at 1e-4 it begins to rise
LOW_GRADIENT = 1e-3  # ‖dW‖/‖W‖ of untrained networks is 0.05 to 0.5, that of trained ones falls below this
DEAD = 0.5  # networks that learn come to 0.31 at most, and 0.45 on scikit-learn's diabetes; Adam(0.1) to 0.88
LEAST_ROWS = 30  # with them, a unit that is on for a sample in ten is 0 for all with a probability of 0.9³⁰ = 0.04
SATURATED = 0.5  # tanh networks that learn well come to 0.43, those that learn less to 0.7 and more
END = 0.01  # of the range: there a slope is below 1/25 of its greatest
EXPLODING = 1e3  # networks that learn come to 21, and 160 with diabetes' targets as they are, up to 346
VANISHING = 1e-2  # three layers of sigmoids have 0.02, and learn with Adam alone; six 2e-4, and learn little with it
WRONG = 0.1  # 0.03 of the unseen digits after 300 epochs

RANGES = {"sigmoid": (0.0, 1.0), "tanh": (-1.0, 1.0), "softmax": (0.0, 1.0)}


@dataclass(frozen=True)
class Spread:
    """The size of an array.

    Attributes
    ----------
    norm : float
        Of W and dW √Σx²; of X, Z, A and dZ √(Σx²/m), the root mean square of the samples' norms, which does not depend
        on how many samples there are.
    least, greatest : float
    """

    norm: float
    least: float
    greatest: float


@dataclass(frozen=True)
class LayerHealth:
    """One layer.

    Attributes
    ----------
    layer : int
        From 1 to L, as in the derivation.
    n_prev, n : int
    activation : str
    W, Z, A, dZ, dW : Spread
    dead : float or None
        Share of the units whose g′(Z) is 0 for every sample, with relu those whose A is: their dZ is 0, whatever dA is.
        None for a sigmoid, tanh or softmax.
    saturated : float or None
        For a sigmoid, tanh or softmax alone: share of A within a hundredth of an end of the range. In the output layer
        those count that are further than half the range from their targets, since a right answer may be certain; of
        a softmax, samples that are given a wrong class with more than 0.99.
    update : float or None
        ‖ΔW‖/‖W‖ of the optimizer's next step; None where there is no optimizer, or W is 0.
    """

    layer: int
    n_prev: int
    n: int
    activation: str
    W: Spread
    Z: Spread
    A: Spread
    dZ: Spread
    dW: Spread
    dead: float | None
    saturated: float | None
    update: float | None = None


@dataclass(frozen=True)
class Finding:
    """Something that is wrong.

    Attributes
    ----------
    kind : str
        ``"not finite"``, ``"inputs not scaled"``, ``"learning rate too high"``, ``"learning rate too low"``,
        ``"dead units"``, ``"saturated units"``, ``"exploding gradients"``, ``"vanishing gradients"`` or
        ``"saturated output"``.
    layers : tuple of int
        Where, from 1 to L.
    text, remedy : str
    """

    kind: str
    layers: tuple[int, ...]
    text: str
    remedy: str


@dataclass(frozen=True, repr=False)
class Report:
    """What :func:`diagnose` finds; ``print(report)`` shows it.

    Attributes
    ----------
    network : str
    rows : int
        Samples that it was looked at with.
    cost, cost_after : float
        On these samples, before and after the optimizer's next step on them; the latter None without an optimizer.
    optimizer : str or None
    rate : float or None
        The learning rate of that step.
    X : Spread
        Of the inputs, times the network's `scale`.
    layers : tuple of LayerHealth
    findings : tuple of Finding
        Causes before effects; empty where all is well.
    """

    network: str
    rows: int
    cost: float
    cost_after: float | None
    optimizer: str | None
    rate: float | None
    X: Spread
    layers: tuple[LayerHealth, ...]
    findings: tuple[Finding, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The same as dictionaries, tuples, text and numbers, such as :mod:`json` takes."""
        return asdict(self)

    def plot(self, path: str | os.PathLike[str] | None = None) -> Any:
        """The gradient's flow through the layers, by :func:`fastprop.plots.gradient_flow` (extra ``plot``)."""
        from . import plots

        return plots.gradient_flow(self, path)

    def __repr__(self) -> str:
        return f"Report({', '.join(finding.kind for finding in self.findings) or 'no finding'})"

    def __str__(self) -> str:
        after = "" if self.cost_after is None else f", and {self.cost_after:.4g} after a step of {self.optimizer}"
        sizes = [["layer", "‖W‖", "‖Z‖", "‖A‖", "‖dZ‖", "‖dW‖", "‖ΔW‖/‖W‖", "dead", "saturated"],
                 ["X", "", "", f"{self.X.norm:.3g}", *[""] * 5]]  # fmt: skip
        ranges = [["from … to", "W", "Z", "A", "dZ", "dW"], ["X", "", "", _range(self.X), "", ""]]
        for l in self.layers:
            spreads = (l.W, l.Z, l.A, l.dZ, l.dW)
            update = "" if l.update is None else f"{l.update:.1e}"
            shares = ("" if share is None else f"{share:.0%}" for share in (l.dead, l.saturated))
            name = f"{l.layer}: {l.n_prev} → {l.n} {l.activation}"
            sizes.append([name, *(f"{spread.norm:.3g}" for spread in spreads), update, *shares])
            ranges.append([str(l.layer), *map(_range, spreads)])
        found = [f"{i}. {finding.kind}: {finding.text}\n   Remedy: {finding.remedy}"
                 for i, finding in enumerate(self.findings, start=1)]  # fmt: skip
        return "\n".join([
            self.network, f"{self.rows} rows: the cost is {self.cost:.4g}{after}", "", *_aligned(sizes), "",
            *_aligned(ranges), "", *(found or ["Nothing is found wrong."]),
        ])  # fmt: skip


def diagnose(net: Network, X: Any, Y: Any, optimizer: Optimizer | None = None) -> Report:
    """Look into each layer of a network, and say what is wrong and what helps.

    A forward and a backward pass give Z, A, dZ and dW, a step of the optimizer the update. All of it happens in a copy:
    nothing of the network, its gradients, its last forward pass, its generator, its optimizer or its fit changes.

    Parameters
    ----------
    net : Network
    X : array_like of shape (m, n_0)
        Some hundred rows, drawn at random from those that it is trained on. With fewer than 30 nothing is said of dead
        units: one that is on for a sample in ten is off in 29 by chance once in twenty times.
    Y : array_like of shape (m, n_L), or integer labels (m,) for a softmax
    optimizer : Optimizer, optional
        None takes ``net.optimizer``. A network that was not trained yet has none: then nothing is said of the learning
        rate, unless the optimizer that it is to be trained with is given here.

    Returns
    -------
    Report

    Raises
    ------
    ValueError, TypeError
        If X or Y does not fit, or the optimizer is another network's.

    Notes
    -----
    The ratio of update to weight, ‖ΔW‖/‖W‖, is measured: the copy makes the step that the optimizer would make next on
    these rows, with its moments, schedule, clipping and weight decay and with the network's penalty and dropout, and
    ΔW is what it changed. A step of ``fit`` has a batch of them alone, whose gradient is noisier and mostly larger.

    What is found:

    - *inputs not scaled*: the root mean square of a feature is above 10, or no |x| is above 0.01. Inputs should have
      means near 0 and variances of about 1 (LeCun et al. 1998, Efficient BackProp, section 4.3).
    - *learning rate too high*: the step changes a W by more than a tenth, where a thousandth is usual (Karpathy 2015,
      CS231n, Neural Networks Part 3), and does not lower the cost of the very rows that it is made for.
    - *learning rate too low*: the step changes no W by more than 1e-5 of it, although a gradient has more than 1e-3 of
      its W. Schedules are not judged so: they may be low on purpose.
    - *dead units*: more than half of a layer, as too high a learning rate leaves them (CS231n, Part 1).
    - *saturated units*: more than half of a hidden layer's A lie at an end of the range.
    - *exploding* and *vanishing gradients*: ‖dZ‖ of a layer is above a thousand times, or below a hundredth of, that of
      the output. Where weights start well it is about the same in all layers (Glorot and Bengio 2010, He et al. 2015).
    - *saturated output*: more than a tenth of the outputs are certain and wrong.
    - *not finite*: the cost, or a value in some layer; nothing else is looked for then.

    Examples
    --------
    >>> net, rng = Network((3, 8, 1), rng=0), np.random.default_rng(0)
    >>> X = 1000 * rng.standard_normal((200, 3))
    >>> diagnose(net, X, X.sum(axis=1) > 0)
    Report(inputs not scaled)
    """
    if not isinstance(net, Network):
        raise TypeError(f"net is {net!r}; it must be a Network.")
    X, Y = inputs.batch(X, Y, *net._ends)
    twin = copy.deepcopy(net)
    optimizer = net.optimizer if optimizer is None else optimizer
    its = None if optimizer is None else _lent(optimizer, net, twin)
    twin.forward(X)
    cost = twin.backward(Y)
    dense = Y if Y.ndim == 2 else np.eye(net.sizes[-1], dtype=np.float32)[Y]
    with np.errstate(all="ignore"):  # what is not finite shows
        report = Report(
            repr(net), len(X), cost, None, None if its is None else repr(optimizer), None if its is None else its.rate,
            _spread(X, len(X), net.scale), tuple(_layer(twin, layer, dense) for layer in twin.layers),
        )  # fmt: skip
        lost = _lost(report)
        if its is not None and not lost:
            twin.train_step(X, Y, its)
            updates = [_norm(after.W - layer.W) for layer, after in zip(net.layers, twin.layers)]
            layers = (replace(l, update=update / l.W.norm if l.W.norm else None)
                      for l, update in zip(report.layers, updates))  # fmt: skip
            report = replace(report, cost_after=twin.loss(X, Y), layers=tuple(layers))
    return replace(report, findings=tuple(_findings(net, X, dense, its, report, lost)))


def _lent(optimizer: Any, net: Network, twin: Network) -> Optimizer:
    """A copy of a network's optimizer, or of a new one, for a step of its twin."""
    its, owner = copy.copy(optimizer), getattr(optimizer, "_owner", None)
    if owner is not None and owner() is not net:
        its._owner = owner  # and not to be lent
    twin._moments_of(its)
    return its


# ---- what there is -----------------------------------------------------------------------------------------------


def _layer(network: Network, layer: Layer, Y: np.ndarray) -> LayerHealth:
    activation = (*network._hidden, network._output)[layer._index]
    Z, A, m = layer.Z, layer.A, len(Y)
    is_output = layer._index == len(network.sizes) - 2
    bounded = activation.name in RANGES
    return LayerHealth(
        layer._index + 1, layer.n_prev, layer.n, activation.name,
        W=_spread(layer.W), Z=_spread(Z, m), A=_spread(A, m), dZ=_spread(layer.dZ, m), dW=_spread(layer.dW),
        dead=None if bounded else float(np.mean(~activation(Z, deriv=True).any(axis=0))),
        saturated=_saturated(activation, A, Y if is_output else None) if bounded else None,
    )  # fmt: skip


def _norm(values: np.ndarray) -> float:
    """√Σx², summed in float64, where no square of a float32 overflows."""
    return math.sqrt(np.einsum("ij,ij->", values, values, dtype=np.float64))


def _spread(values: np.ndarray, m: int = 1, scale: float = 1.0) -> Spread:
    return Spread(scale * _norm(values) / math.sqrt(m), scale * float(values.min()), scale * float(values.max()))


def _saturated(activation: Activation, A: np.ndarray, Y: np.ndarray | None) -> float:
    """Share of A at an end of the range; with targets, of what is wrong besides."""
    low, high = RANGES[activation.name]
    margin = END * (high - low)
    if activation.name == "softmax":
        assert Y is not None  # a softmax is the output
        rows, top = np.arange(len(A)), A.argmax(axis=1)
        return float(np.mean((A[rows, top] > high - margin) & (Y[rows, top] < 0.5)))
    at_end = np.minimum(A - low, high - A) < margin
    if Y is not None:
        at_end &= np.abs(A - Y) > (high - low) / 2
    return float(np.mean(at_end))


def _lost(report: Report) -> str:
    """What is not finite, the first in the order of the passes; empty where all is."""
    forward = [(l, name) for l in report.layers for name in ("W", "Z", "A")]
    backward = [(l, name) for l in reversed(report.layers) for name in ("dZ", "dW")]
    places = (
        f"{name} of layer {l.layer}" for l, name in forward + backward if not math.isfinite(getattr(l, name).norm)
    )
    if not math.isfinite(report.X.norm):
        return "X"
    return next(places, "" if math.isfinite(report.cost) else "the cost")


# ---- what is wrong -----------------------------------------------------------------------------------------------


def _findings(net: Network, X: np.ndarray, Y: np.ndarray, optimizer: Optimizer | None, report: Report,
              lost: str) -> Iterator[Finding]:  # fmt: skip
    if lost:
        rate = "" if report.rate is None else f" (lr is {report.rate:g})"
        yield Finding(
            "not finite", (), f"the first that is not finite is {lost}; the cost is {report.cost:g}.",
            f"Begin anew, or from a checkpoint, with a lower learning rate{rate} and scaled X.",
        )  # fmt: skip
        return
    yield from _of_inputs(X, net.scale)
    if optimizer is not None:
        yield from _of_rate(optimizer, report)
    yield from _of_units(report)
    yield from _of_flow(report.layers)
    yield from _of_output(net, Y, report.layers[-1])


def _of_inputs(X: np.ndarray, scale: float) -> Iterator[Finding]:
    sizes = scale * np.sqrt(np.einsum("ij,ij->j", X, X, dtype=np.float64) / len(X))
    worst, largest = int(sizes.argmax()), scale * max(-float(X.min()), float(X.max()))
    if sizes[worst] > LARGE_INPUT:
        text = f"X[:, {worst}] has a root mean square of {sizes[worst]:.3g}; it should be about 1."
    elif largest < SMALL_INPUT:
        text = f"the largest |x| is {largest:.3g}; features should have a root mean square of about 1."
    else:
        return
    remedy = "Take (X - mean)/std instead, with the mean and std of each column of the training data."
    if X.dtype == np.uint8:
        remedy = "X has bytes: make the network with scale=1/255."
    yield Finding("inputs not scaled", (1,), text, remedy)


def _of_rate(optimizer: Optimizer, report: Report) -> Iterator[Finding]:
    assert report.rate is not None
    assert report.cost_after is not None
    judged = [(l, l.update) for l in report.layers if l.update is not None]
    largest = max((update for _, update in judged), default=0.0)
    step = f"a step of {type(optimizer).__name__} with lr {report.rate:g} changes"
    if largest > HIGH_UPDATE and not report.cost_after < report.cost:
        layers = tuple(l.layer for l, update in judged if update > HIGH_UPDATE)
        lr = report.rate * USUAL_UPDATE / min(largest, inputs.FLOAT32_MAX)
        yield Finding(
            "learning rate too high", layers,
            f"{step} W of {_named(layers)} by up to {largest:.2g} of its norm, and the cost of the rows that it is "
            f"made for goes from {report.cost:.4g} to {report.cost_after:.4g}.",
            f"Lower the learning rate, to about {lr:.1g}, with which a step changes W by a thousandth.",
        )  # fmt: skip
    if largest < LOW_UPDATE and not optimizer.scheduled and any(l.dW.norm > LOW_GRADIENT * l.W.norm for l, _ in judged):
        yield Finding(
            "learning rate too low", tuple(l.layer for l, _ in judged),
            f"{step} no W by more than {largest:.2g} of its norm, although the gradients are not small.",
            "Raise the learning rate tenfold, and again, until a step changes W by about a thousandth.",
        )  # fmt: skip


def _of_units(report: Report) -> Iterator[Finding]:
    L = len(report.layers)
    dead = {l.layer: l.dead for l in report.layers if l.dead is not None and l.dead > DEAD}
    if dead and report.rows >= LEAST_ROWS:
        other = 'output="softplus"' if min(dead) == L else 'hidden="leaky_relu"'
        yield Finding(
            "dead units", tuple(dead),
            f"{_shares(dead)} of the units have a slope of 0 for all {report.rows} rows: no gradient passes them.",
            f"Such units rarely come back: begin anew, with a lower learning rate and scaled X, or with {other}, "
            f"whose slope is never 0.",
        )  # fmt: skip
    saturated = {
        l.layer: l.saturated for l in report.layers[:-1] if l.saturated is not None and l.saturated > SATURATED
    }
    if saturated:
        yield Finding(
            "saturated units", tuple(saturated),
            f"{_shares(saturated)} of A lie at an end of the activation's range, where its slope is near 0.",
            'Scale X, start from smaller weights (init=None suits the activation), lower the learning rate, or use '
            'hidden="relu".',
        )  # fmt: skip


def _of_flow(layers: tuple[LayerHealth, ...]) -> Iterator[Finding]:
    last = layers[-1].dZ.norm
    exploding = {l.layer: l.dZ.norm for l in layers if l.dZ.norm > EXPLODING * last}
    vanishing = {l.layer: l.dZ.norm for l in layers if l.dZ.norm < VANISHING * last}
    if exploding:
        yield Finding(
            "exploding gradients", tuple(exploding),
            f"‖dZ‖ grows on its way back from {last:.2g} in layer {len(layers)} to {max(exploding.values()):.2g}, in "
            f"{_named([*exploding])}.",
            "Start from smaller weights (init=None suits the activation), scale X and Y, and clip the gradients "
            "(clip_norm of the optimizer).",
        )  # fmt: skip
    if vanishing and not any(l.dead == 1 or (l.saturated or 0) > SATURATED for l in layers[:-1]):  # that would be why
        remedy = "Start from larger weights (init=None suits the activation), or use fewer layers."
        if any(l.activation == "sigmoid" for l in layers[:-1]):
            remedy = 'Use hidden="relu" or "tanh", since the slope of a sigmoid is at most 1/4, or fewer layers.'
        yield Finding(
            "vanishing gradients", tuple(vanishing),
            f"‖dZ‖ falls on its way back from {last:.2g} in layer {len(layers)} to {min(vanishing.values()):.2g}, in "
            f"{_named([*vanishing])}.",
            remedy,
        )  # fmt: skip


def _of_output(net: Network, Y: np.ndarray, last: LayerHealth) -> Iterator[Finding]:
    if last.saturated is None or last.saturated <= WRONG:
        return
    low, high = RANGES[last.activation]
    if Y.min() < low or Y.max() > high:
        remedy = f'Scale Y into {low:g} … {high:g}, or use output="identity".'
    elif last.activation in PAIRS and not is_paired(net._output, net._loss):
        remedy = (
            f'Use loss="{PAIRS[last.activation]}", the pair of a {last.activation}: its dZ, Ŷ - Y, does not vanish.'
        )
    else:
        remedy = "Scale X, start from smaller weights (init=None suits the activation), or lower the learning rate."
    yield Finding(
        "saturated output", (last.layer,),
        f"{last.saturated:.0%} of the outputs are certain and wrong: within a hundredth of an end of "
        f"{low:g} … {high:g} and far from their targets.",
        remedy,
    )  # fmt: skip


# ---- in words ----------------------------------------------------------------------------------------------------


def _named(layers: Sequence[int]) -> str:
    first, last = layers[0], layers[-1]
    if len(layers) == 1:
        return f"layer {first}"
    if len(layers) > 2 and last - first == len(layers) - 1:
        return f"layers {first} to {last}"
    return f"layers {', '.join(map(str, layers[:-1]))} and {last}"


def _shares(shares: dict[int, float]) -> str:
    least, greatest = (f"{share:.0%}" for share in (min(shares.values()), max(shares.values())))
    return f"in {_named([*shares])}, {least if least == greatest else f'{least} to {greatest}'}"


def _range(spread: Spread) -> str:
    return f"{spread.least:.2g} … {spread.greatest:.2g}"


def _aligned(rows: list[list[str]]) -> list[str]:
    """Lines of a table, its first column to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join([row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:]))]).rstrip()
        for row in rows
    ]


# ---- while training ----------------------------------------------------------------------------------------------


class Health:
    """A callback of ``fit`` that keeps what :func:`diagnose` finds as the network trains.

    Parameters
    ----------
    X, Y
        As of :func:`diagnose`.
    every : int, optional
        Steps from one report to the next; None makes one after each epoch.

    Attributes
    ----------
    records : list of (int, Report)
        With `every` the steps made so far, without it the epoch (from 0), and the report of that moment, of all fits
        that it was given to.

    Raises
    ------
    ValueError, TypeError
        When the fit begins, if X or Y does not fit the network.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> X, net = rng.standard_normal((200, 3)), Network((3, 8, 1), rng=0)
    >>> health = Health(X, X.sum(axis=1))
    >>> history = net.fit(X, X.sum(axis=1), epochs=2, callbacks=[health])
    >>> health.records
    [(0, Report(no finding)), (1, Report(no finding))]
    """

    def __init__(self, X: Any, Y: Any, every: int | None = None):
        self.records: list[tuple[int, Report]] = []
        self.every = None if every is None else inputs.whole("every", every)
        self._given = X, Y
        self._network: Network | None = None

    def begins(self, network: Network) -> None:
        """Find out before the first step whether X and Y fit the network."""
        X, Y = self._given
        self._rows, self._network = inputs.batch(X, Y, *network._ends), network

    def __call__(self, count: int, history: History) -> None:
        assert self._network is not None
        self.records.append((count, diagnose(self._network, *self._rows)))

    def __repr__(self) -> str:
        return f"Health({len(self.records)} reports, every={self.every})"
