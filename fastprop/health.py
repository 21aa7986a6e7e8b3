"""Diagnosis of a network: what the passes and a step do in each layer, what is wrong there, and the remedy."""

import copy
import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, ClassVar

import numpy as np

from . import plots, scaling
from .activations import Activation
from .checks import whole
from .core.model import Layer, Model
from .fitted import network_of, targets_of
from .kernels.scan import FLOAT32_MAX
from .losses import PAIRS, is_paired
from .optimizers import Optimizer
from .texts import aligned, html_table, html_text, plain

# The thresholds of the findings; those of X and Y are in `scaling`. Sources are in the Notes of `diagnose`. The
# measurements are of networks of up to 12 hidden layers on scikit-learn's digits, scaled to 0 … 1, after 20 epochs with
# batches of 64; those that learn reach accuracies of 0.85 to 0.93.
USUAL_UPDATE = 1e-3
HIGH_UPDATE = 0.1  # Adam(0.01) starts at 0.07 and learns; Adam(0.03) starts at 0.2, and half of a layer dies
LOW_UPDATE = 1e-5  # the accuracy stays as before training, with SGD and with Adam; at 1e-4 it begins to rise
LOW_GRADIENT = 1e-3  # ‖dW‖/‖W‖ of untrained networks is 0.05 to 0.5; that of trained ones falls below this
DEAD = 0.5  # networks that learn have at most 0.31, and 0.45 on scikit-learn's diabetes; with Adam(0.1) 0.88
LEAST_ROWS = 30  # a unit that is on for one sample in ten is 0 for all of them with a probability of 0.9³⁰ = 0.04
SATURATED = 0.5  # tanh networks that learn well have 0.43, those that learn less 0.7 and more
END = 0.01  # of the range from its end: there the slope is below 1/25 of its maximum
EXPLODING = 1e3  # networks that learn have up to 21, and 160 with the targets of diabetes unscaled, up to 346
VANISHING = 1e-2  # three layers of sigmoids have 0.02, and learn only with Adam; six have 2e-4, and hardly learn
WRONG = 0.1  # it is 0.03 of the unseen digits after 300 epochs


class _Shown:
    """The repr of a dataclass, in ASCII."""

    def __repr__(self) -> str:
        values = (f"{field.name}={getattr(self, field.name)!r}" for field in fields(self))  # type: ignore[arg-type]
        return plain(f"{type(self).__name__}({', '.join(values)})")


@dataclass(frozen=True)
class Spread:
    """The size of an array.

    Attributes
    ----------
    norm : float
        √Σx² for W and dW; √(Σx²/m) for X, Z, A and dZ, the root mean square of the samples' norms, which does not
        depend on the number of samples.
    least, greatest : float
    """

    norm: float
    least: float
    greatest: float


@dataclass(frozen=True, repr=False)
class LayerHealth(_Shown):
    """The state of one layer.

    Attributes
    ----------
    layer : int
        From 1 to L, as in the derivation.
    n_prev, n : int
    activation : str
    W, Z, A, dZ, dW : Spread
    dead : float or None
        The share of the units whose g′(Z) is 0 for every sample, so that their dZ is 0 whatever dA is. None for a
        sigmoid, tanh or softmax.
    saturated : float or None
        For a sigmoid, tanh or softmax only: the share of A within a hundredth of an end of the range. In the output
        layer only those count that are further than half the range from their targets, since a right answer may be
        certain; with a softmax, samples with a probability above 0.99 for a wrong class.
    update : float or None
        ‖ΔW‖/‖W‖ of the optimizer's next step; None if there is no optimizer, the layer is frozen, or W is 0.
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


@dataclass(frozen=True, repr=False)
class Finding(_Shown):
    """A problem in a network; ``print(finding)`` shows it in ASCII.

    Attributes
    ----------
    kind : str
        ``"not finite"``, ``"inputs far from 0"``, ``"inputs not scaled"``, ``"targets not scaled"``,
        ``"zero weights"``, ``"identical units"``, ``"learning rate too high"``, ``"learning rate too low"``,
        ``"dead units"``, ``"saturated units"``, ``"exploding gradients"``, ``"vanishing gradients"`` or
        ``"saturated output"``.
    layers : tuple of int
        The layers concerned, from 1 to L: 1 for inputs, L for targets.
    text, remedy : str
    """

    kind: str
    layers: tuple[int, ...]
    text: str
    remedy: str

    def __str__(self) -> str:
        return plain(f"{self.kind}: {self.text}\n   Remedy: {self.remedy}")


@dataclass(frozen=True, repr=False)
class Report:
    """The result of :func:`diagnose`; ``print(report)`` shows it as tables in ASCII, and a notebook as HTML.

    Attributes
    ----------
    network : str
    rows : int
        The number of samples examined.
    cost, cost_after : float
        On these samples, before and after the optimizer's next step on them; the latter is None without an optimizer,
        or if all layers are frozen.
    optimizer : str or None
    rate : float or None
        The learning rate of that step.
    X : Spread
        The inputs, times the network's `scale`.
    layers : tuple of LayerHealth
    findings : tuple of Finding
        Causes before effects; empty if nothing is wrong.
    usual_update, exploding, vanishing : float
        The usual ‖ΔW‖/‖W‖, and the shares of the output's ‖dZ‖ beyond which gradients explode or vanish.
    """

    usual_update: ClassVar[float] = USUAL_UPDATE
    exploding: ClassVar[float] = EXPLODING
    vanishing: ClassVar[float] = VANISHING

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
        """Return the report as dictionaries, tuples, strings and numbers, which :mod:`json` can write."""
        return asdict(self)

    def plot(self, path: str | os.PathLike[str] | None = None, ax: Any = None) -> Any:
        """Plot the gradients of the layers with :func:`fastprop.plots.gradient_flow` (extra ``plot``)."""
        return plots.gradient_flow(self, path, ax)

    def __repr__(self) -> str:
        return f"Report({', '.join(finding.kind for finding in self.findings) or 'no finding'})"

    def __str__(self) -> str:
        lines = [self.network, self._summary()]
        for table in (self._sizes(), self._ranges()):
            lines += ["", *aligned(table)]
        found = [f"{i}. {finding}" for i, finding in enumerate(self.findings, start=1)]
        return plain("\n".join([*lines, "", *(found or ["Nothing is found wrong."])]))

    def _repr_html_(self) -> str:
        """Return the tables and the findings as HTML, which notebooks display."""
        parts = [html_text(self.network), html_text(self._summary())]
        parts += [html_table(self._sizes()), html_table(self._ranges())]
        for i, finding in enumerate(self.findings, start=1):
            parts += [
                html_text(f"{i}. {finding.kind}: {finding.text}"),
                html_text(f"Remedy: {finding.remedy}", "blockquote"),
            ]
        return "".join([*parts, *([] if self.findings else [html_text("Nothing is found wrong.")])])

    def _summary(self) -> str:
        after = "" if self.cost_after is None else f", and {self.cost_after:.4g} after a step of {self.optimizer}"
        return f"{self.rows} rows: the cost is {self.cost:.4g}{after}"

    def _sizes(self) -> list[list[str]]:
        """Return the table of the norms and shares."""
        rows = [
            ["layer", "‖W‖", "‖Z‖", "‖A‖", "‖dZ‖", "‖dW‖", "update", "dead", "saturated"],
            ["X", "", "", f"{self.X.norm:.3g}", *[""] * 5],
        ]
        for l in self.layers:
            norms = (f"{spread.norm:.3g}" for spread in (l.W, l.Z, l.A, l.dZ, l.dW))
            update = "" if l.update is None else f"{l.update:.1e}"
            shares = ("" if share is None else f"{share:.0%}" for share in (l.dead, l.saturated))
            rows.append([f"{l.layer}: {l.n_prev} → {l.n} {l.activation}", *norms, update, *shares])
        return rows

    def _ranges(self) -> list[list[str]]:
        """Return the table of the least and the greatest values."""
        rows = [["range", "W", "Z", "A", "dZ", "dW"], ["X", "", "", _range(self.X), "", ""]]
        rows += ([str(l.layer), *map(_range, (l.W, l.Z, l.A, l.dZ, l.dW))] for l in self.layers)
        return rows


def diagnose(net: Any, X: Any, Y: Any, optimizer: Optimizer | None = None) -> Report:
    """Examine each layer of a network, and report what is wrong and what helps.

    A forward and a backward pass give Z, A, dZ and dW, and a step of the optimizer gives the update. Everything runs on
    a copy: the network, its gradients, its last forward pass, its generator, its optimizer and its fit do not change.

    Parameters
    ----------
    net : Network or fitted estimator of fastprop.sklearn
    X : array_like of shape (m, n_0)
        Some hundred rows, drawn at random from those that it is trained on. With fewer than 30 rows dead units are not
        reported: a unit that is on for one sample in ten is off in 29 of them by chance once in twenty times.
    Y : array_like of shape (m, n_L), or integer labels (m,) for a softmax; for an estimator y, as in its fit
    optimizer : Optimizer, optional
        None takes ``net.optimizer``. A network that was not trained yet has none; then the learning rate is not
        examined, unless the optimizer that will train it is given here.

    Returns
    -------
    Report

    Raises
    ------
    ValueError, TypeError
        If X or Y does not fit, or the optimizer belongs to another network.

    Notes
    -----
    The ratio of update to weight, ‖ΔW‖/‖W‖, is measured: the copy makes the step that the optimizer would make next on
    these rows, with its moments, schedule, clipping and weight decay and with the network's penalty and dropout, and
    ΔW is the change. A step of ``fit`` sees only one batch, whose gradient is noisier and mostly larger.

    The findings:

    - *inputs far from 0*: the mean of a feature is above ten times its standard deviation, or the network's dtype
      keeps less than half of its different values, as float32 does of timestamps in seconds since 1970 (1.7e9) or of
      values of 1 ± 1e-5. X is examined as it was given, with all the digits of float64 or int64.
    - *inputs not scaled*: the root mean square of a feature is above 10, or no ``|x|`` is above 0.01. Inputs should
      have means near 0 and variances of about 1 (LeCun et al. 1998, Efficient BackProp, section 4.3).
    - *targets not scaled*: an output without bounds has a loss such as mse, mae or huber, the mean or standard
      deviation of its targets is above 10, or the latter below 0.05, and the network does not explain half of their
      variance.
    - *zero weights*: all weights of a layer are 0, so that no gradient passes it, or of several layers. An output
      layer alone may start at 0.
    - *identical units*: all units of a layer have the same weights going in and out, and keep them in all steps.
    - *learning rate too high*: the step changes a W by more than a tenth, where a thousandth is usual (Karpathy 2015,
      CS231n, Neural Networks Part 3), and does not lower the cost of the very rows that it is computed from.
    - *learning rate too low*: the step changes no W by more than 1e-5 of it, although a gradient has more than 1e-3 of
      its W. Schedules are exempt: they may be low on purpose.
    - *dead units*: more than half of a layer, as too high a learning rate leaves them (CS231n, Part 1).
    - *saturated units*: more than half of a hidden layer's A lie at an end of the range.
    - *exploding* and *vanishing gradients*: ‖dZ‖ of a layer is above a thousand times, or below a hundredth of, that of
      the output. With good initial weights it is about the same in all layers (Glorot and Bengio 2010, He et al. 2015).
    - *saturated output*: more than a tenth of the outputs are certain and wrong.
    - *not finite*: the cost, or a value in some layer; only X and Y are examined besides.

    Examples
    --------
    >>> net, rng = Network((3, 8, 1), rng=0), np.random.default_rng(0)
    >>> X = 1000 * rng.standard_normal((200, 3))
    >>> diagnose(net, X, X.sum(axis=1) > 0)
    Report(inputs not scaled)
    """
    net, Y = network_of(net), targets_of(net, Y)
    return _report(net, scaling.Rows.of(net.architecture, X, Y), optimizer)


def _report(net: Model, rows: scaling.Rows, optimizer: Optimizer | None = None) -> Report:
    """Do the work of :func:`diagnose`, on rows that are checked."""
    X, Y = rows.X, rows.Y
    twin = copy.deepcopy(net)
    optimizer = net.optimizer if optimizer is None else optimizer
    its = None if optimizer is None or net.architecture.all_frozen else _copy_for(twin, optimizer, net)
    Y_hat = twin.forward(X)
    cost = twin.backward(Y)
    dense = _dense(Y, net.sizes[-1])
    with np.errstate(all="ignore"):  # values that are not finite are reported
        report = Report(
            repr(net),
            len(X),
            cost,
            None,
            None if its is None else repr(optimizer),
            None if its is None else its.rate,
            _spread(X, len(X), net.scale),
            tuple(_layer(twin, layer, dense) for layer in twin.layers),
        )
        lost = _first_not_finite(report)
        if its is not None and not lost:
            twin.train_step(X, Y, its)
            updates = [
                _norm(after.W - layer.W) if layer.trainable else None for layer, after in zip(net.layers, twin.layers)
            ]
            layers = (
                l if update is None or not l.W.norm else replace(l, update=update / l.W.norm)
                for l, update in zip(report.layers, updates)
            )
            report = replace(report, cost_after=twin.loss(X, Y), layers=tuple(layers))
        return replace(report, findings=tuple(_findings(net, rows, Y_hat, its, report, lost)))


def _copy_for(twin: Model, optimizer: Any, net: Model) -> Optimizer:
    """Return a copy of the optimizer for a step of a copy of its network."""
    its, owner = copy.copy(optimizer), getattr(optimizer, "owner", None)
    if owner is not None and owner() is not net:
        its.owner = owner  # so that the optimizer of another network is refused
    twin.bind(its)
    return its


def _dense(Y: np.ndarray, n: int) -> np.ndarray:
    """Return targets as rows of n numbers."""
    return Y if Y.ndim == 2 else np.eye(n, dtype=np.float32)[Y]


# ---- the state of the layers -------------------------------------------------------------------------------------


def _layer(model: Model, layer: Layer, Y: np.ndarray) -> LayerHealth:
    activation, m = layer.activation, len(Y)
    Z, A = layer.Z, layer.A
    is_output = layer.index == len(model.sizes) - 2
    dead = saturated = None
    if activation.span is None:
        dead = float(np.mean(~activation(Z, deriv=True).any(axis=0)))
    else:
        saturated = _saturated(activation, A, Y if is_output else None)
    return LayerHealth(
        layer.index + 1,
        layer.n_prev,
        layer.n,
        activation.name,
        W=_spread(layer.W),
        Z=_spread(Z, m),
        A=_spread(A, m),
        dZ=_spread(layer.dZ, m),
        dW=_spread(layer.dW),
        dead=dead,
        saturated=saturated,
    )


def _norm(values: np.ndarray) -> float:
    """Return √Σx², summed in float64, in which no square of a float32 overflows, and one of a float64 beyond 1e154."""
    return math.sqrt(np.einsum("ij,ij->", values, values, dtype=np.float64))


def _spread(values: np.ndarray, m: int = 1, scale: float = 1.0) -> Spread:
    return Spread(scale * _norm(values) / math.sqrt(m), scale * float(values.min()), scale * float(values.max()))


def _saturated(activation: Activation, A: np.ndarray, Y: np.ndarray | None) -> float:
    """Return the share of A at an end of the range; with targets, the share that is also wrong."""
    assert activation.span is not None
    low, high = activation.span
    margin = END * (high - low)
    if activation.label == "softmax":
        assert Y is not None  # a softmax is always the output
        rows, top = np.arange(len(A)), A.argmax(axis=1)
        return float(np.mean((A[rows, top] > high - margin) & (Y[rows, top] < 0.5)))
    at_end = np.minimum(A - low, high - A) < margin
    if Y is not None:
        at_end &= np.abs(A - Y) > (high - low) / 2
    return float(np.mean(at_end))


def _first_not_finite(report: Report) -> str:
    """Return the first value that is not finite, in the order of the passes; an empty string if all are finite."""
    forward = [(l, name) for l in report.layers for name in ("W", "Z", "A")]
    backward = [(l, name) for l in reversed(report.layers) for name in ("dZ", "dW")]
    places = (
        f"{name} of layer {l.layer}" for l, name in forward + backward if not math.isfinite(getattr(l, name).norm)
    )
    if not math.isfinite(report.X.norm):
        return "X"
    return next(places, "" if math.isfinite(report.cost) else "the cost")


# ---- the findings ------------------------------------------------------------------------------------------------


def _findings(
    net: Model, rows: scaling.Rows, Y_hat: np.ndarray, optimizer: Optimizer | None, report: Report, lost: str
) -> Iterator[Finding]:
    yield from _data_findings(net, rows, Y_hat)
    if lost:
        rate = "" if report.rate is None else f" (lr is {report.rate:g})"
        yield Finding(
            "not finite",
            (),
            f"the first that is not finite is {lost}; the cost is {report.cost:g}.",
            f"Start again, or from a checkpoint, with a lower learning rate{rate}"
            f"{scaling.advice(net.architecture, rows.X, rows.Y)}.",
        )
        return
    yield from _weight_findings(net, report)
    if optimizer is not None:
        yield from _rate_findings(optimizer, report)
    yield from _unit_findings(report)
    yield from _gradient_findings(report.layers)
    yield from _output_findings(net, _dense(rows.Y, net.sizes[-1]), report.layers[-1])


def _data_findings(net: Model, rows: scaling.Rows, Y_hat: np.ndarray) -> Iterator[Finding]:
    if offset := rows.offset:
        yield Finding("inputs far from 0", (1,), offset.text, offset.remedy)
    if unscaled := rows.unscaled:
        yield Finding("inputs not scaled", (1,), unscaled.text, unscaled.remedy)
    if targets := rows.targets(net.architecture, Y_hat):
        yield Finding("targets not scaled", (len(net.sizes) - 1,), targets.text, targets.remedy)


def _weight_findings(net: Model, report: Report) -> Iterator[Finding]:
    """Find weights that no step can tell apart.

    By benchmarks/scales.py, with one hidden W of 0 relu learns nothing (R² = 0), while tanh and gelu reach 0.90 to
    0.99, as without (0.91 to 0.97); with two W of 0 none of them learns; with the output's W of 0 alone all learn.
    """
    if len(report.layers) < 2:
        return  # a single layer learns from any weights
    zero = [l for l in report.layers if l.W.norm == 0]
    if len(zero) > 1 or any(l.dead == 1 for l in zero[:1] if l.layer < len(report.layers)):
        layers = tuple(l.layer for l in zero)
        yield Finding(
            "zero weights",
            layers,
            f"W of {_named(layers)} is 0 everywhere: no gradient passes, and no step changes that.",
            "Start from random weights: init=None suits the activation. Only biases may start at 0.",
        )
        return
    same = tuple(l.index + 1 for l, following in zip(net.layers, net.layers[1:]) if _are_identical(l, following))
    if same:
        yield Finding(
            "identical units",
            same,
            f"all units of {_named(same)} have the same weights, so they compute the same and get the same gradients.",
            "Start from random weights: init=None suits the activation.",
        )


def _are_identical(layer: Layer, following: Layer) -> bool:
    """Return whether the units of a layer have the same weights and biases, and the next layer weighs them alike."""
    if layer.n < 2 or not layer.W.any():
        return False
    pairs = [(layer.W, layer.W[:1]), (layer.b, layer.b[:1]), (following.W, following.W[:, :1])]
    return all(np.array_equal(values, np.broadcast_to(first, values.shape)) for values, first in pairs)


def _rate_findings(optimizer: Optimizer, report: Report) -> Iterator[Finding]:
    assert report.rate is not None
    assert report.cost_after is not None
    judged = [(l, l.update) for l in report.layers if l.update is not None]
    largest = max((update for _, update in judged), default=0.0)
    step = f"a step of {type(optimizer).__name__} with lr {report.rate:g} changes"
    if largest > HIGH_UPDATE and not report.cost_after < report.cost:
        layers = tuple(l.layer for l, update in judged if update > HIGH_UPDATE)
        lr = report.rate * USUAL_UPDATE / min(largest, FLOAT32_MAX)
        yield Finding(
            "learning rate too high",
            layers,
            f"{step} W of {_named(layers)} by up to {largest:.2g} of its norm, and the cost of the rows that it is "
            f"computed from goes from {report.cost:.4g} to {report.cost_after:.4g}.",
            f"Lower the learning rate, to about {lr:.1g}, with which a step changes W by a thousandth.",
        )
    if largest < LOW_UPDATE and not optimizer.scheduled and any(l.dW.norm > LOW_GRADIENT * l.W.norm for l, _ in judged):
        yield Finding(
            "learning rate too low",
            tuple(l.layer for l, _ in judged),
            f"{step} no W by more than {largest:.2g} of its norm, although the gradients are not small.",
            "Raise the learning rate tenfold, and again, until a step changes W by about a thousandth.",
        )


def _unit_findings(report: Report) -> Iterator[Finding]:
    L = len(report.layers)
    dead = {l.layer: l.dead for l in report.layers if l.dead is not None and l.dead > DEAD}
    if dead and report.rows >= LEAST_ROWS and all(l.W.norm > 0 for l in report.layers):  # W = 0 would be why
        other = 'output="softplus"' if min(dead) == L else 'hidden="leaky_relu"'
        yield Finding(
            "dead units",
            tuple(dead),
            f"{_shares(dead)} of the units have a slope of 0 for all {report.rows} rows: no gradient passes them.",
            f"Such units rarely come back: start again with a lower learning rate and scaled X and Y, or with "
            f"{other}, whose slope is never 0.",
        )
    saturated = {
        l.layer: l.saturated for l in report.layers[:-1] if l.saturated is not None and l.saturated > SATURATED
    }
    if saturated:
        yield Finding(
            "saturated units",
            tuple(saturated),
            f"{_shares(saturated)} of A lie at an end of the activation's range, where its slope is near 0.",
            "Scale X, start from smaller weights (init=None suits the activation), lower the learning rate, or use "
            'hidden="relu".',
        )


def _gradient_findings(layers: tuple[LayerHealth, ...]) -> Iterator[Finding]:
    last = layers[-1].dZ.norm
    exploding = {l.layer: l.dZ.norm for l in layers if l.dZ.norm > EXPLODING * last}
    vanishing = {l.layer: l.dZ.norm for l in layers if l.dZ.norm < VANISHING * last}
    if exploding:
        yield Finding(
            "exploding gradients",
            tuple(exploding),
            f"‖dZ‖ grows backwards from {last:.2g} in layer {len(layers)} to {max(exploding.values()):.2g}, in "
            f"{_named([*exploding])}.",
            "Start from smaller weights (init=None suits the activation), scale X and Y, and clip the gradients "
            "(clip_norm of the optimizer).",
        )
    why = any(l.dead == 1 or (l.saturated or 0) > SATURATED for l in layers[:-1]) or any(l.W.norm == 0 for l in layers)
    if vanishing and not why:
        remedy = "Start from larger weights (init=None suits the activation), or use fewer layers."
        if any(l.activation == "sigmoid" for l in layers[:-1]):
            remedy = 'Use hidden="relu" or "tanh", since the slope of a sigmoid is at most 1/4, or fewer layers.'
        yield Finding(
            "vanishing gradients",
            tuple(vanishing),
            f"‖dZ‖ falls backwards from {last:.2g} in layer {len(layers)} to {min(vanishing.values()):.2g}, in "
            f"{_named([*vanishing])}.",
            remedy,
        )


def _output_findings(net: Model, Y: np.ndarray, last: LayerHealth) -> Iterator[Finding]:
    if last.saturated is None or last.saturated <= WRONG:
        return
    output = net.architecture.output
    assert output.span is not None
    low, high = output.span
    if np.fmin.reduce(Y, axis=None) < low or np.fmax.reduce(Y, axis=None) > high:  # a target that is NaN is not known
        remedy = f'Scale Y into {low:g} … {high:g}, or use output="identity".'
    elif last.activation in PAIRS and not is_paired(output, net.architecture.loss):
        remedy = (
            f'Use loss="{PAIRS[last.activation]}", the pair of a {last.activation}: its dZ, Ŷ - Y, does not vanish.'
        )
    else:
        remedy = "Scale X, start from smaller weights (init=None suits the activation), or lower the learning rate."
    yield Finding(
        "saturated output",
        (last.layer,),
        f"{last.saturated:.0%} of the outputs are certain and wrong: within a hundredth of an end of "
        f"{low:g} … {high:g} and far from their targets.",
        remedy,
    )


# ---- text --------------------------------------------------------------------------------------------------------


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
    return f"{spread.least:.2g} to {spread.greatest:.2g}"


# ---- while training ----------------------------------------------------------------------------------------------


class Health:
    """A callback of ``fit`` that collects reports of :func:`diagnose` while the network trains.

    Parameters
    ----------
    X, Y
        See :func:`diagnose`.
    every : int, optional
        The number of steps between two reports; None makes one after each epoch.

    Attributes
    ----------
    records : list of (int, Report)
        The steps so far, or without `every` the epoch (from 0), and the report of that moment, of all fits that the
        callback was used in.

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
        self.every: int | None = None if every is None else whole("every", every)
        self._given = X, Y
        self._model: Model | None = None

    def begins(self, model: Model) -> None:
        """Check before the first step that X and Y fit the network."""
        self._rows = scaling.Rows.of(model.architecture, *self._given)
        self._model = model

    def __call__(self, count: int, history: Any) -> None:
        assert self._model is not None
        self.records.append((count, _report(self._model, self._rows)))

    def __repr__(self) -> str:
        return f"Health({len(self.records)} reports, every={self.every})"
