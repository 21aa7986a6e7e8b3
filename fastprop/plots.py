"""Pictures (extra ``plot``): learning curves, the gradient's flow, a confusion matrix, a decision boundary.

Each function returns a matplotlib Figure, which a notebook shows, and saves it where a path is given, in the format
that its suffix names. The colours are those of Okabe and Ito (2008), which people who see fewer can tell apart.
"""

import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from . import inputs, training
from .health import EXPLODING, USUAL_UPDATE, VANISHING, Report
from .network import Network
from .training import History

BLUE, VERMILION, GREEN, GREY = "#0072b2", "#d55e00", "#009e73", "#666666"
COLOURS = (BLUE, VERMILION, GREEN, "#cc79a7", "#e69f00", "#56b4e9", "#f0e442", "#000000")
MARKERS = "os^DvPX"  # 7 beside 8 colours: 56 classes differ
FEW_EPOCHS = 20  # whose points are marked
CLOSE = 0.08  # of an axis: names of lines that end so close together would overlap
FALL = 100  # of a loss, from where on its axis is logarithmic
MOST_NAMES = 12  # layers whose widths are written under the axis
A_ROW = 3  # findings of a title
LETTER = 0.085  # inches that a letter of a name is wide
ENTRIES = 20  # of a legend's column
MOST_COUNTS = 30  # classes whose counts can be read
GRID = 300  # points a side at which a boundary is looked for
TINT = 0.4  # of a class's colour where the network is certain of it


def _figure(width: float, height: float) -> Any:
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError:
        raise ModuleNotFoundError("plots need matplotlib. Install it with: pip install 'fastprop[plot]'") from None
    return Figure(figsize=(width, height), layout="constrained")


def _saved(figure: Any, path: str | os.PathLike[str] | None) -> Any:
    if path is not None:
        figure.savefig(path, dpi=150)
    return figure


def _line_axes(figure: Any, rows: int) -> Any:
    """Axes for lines, one above the other."""
    every = figure.subplots(rows, sharex=True, squeeze=False)[:, 0]
    for axes in every:
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.25)
        axes.yaxis.get_offset_text().set(ha="right")  # 1e6: above the ticks, beside whatever stands above the axes
    return every


def _lines(axes: Any, x: Sequence[int], lines: Sequence[tuple[str, Any, str]], marker: str) -> None:
    """One line or two, each with its name at its end; where they end close together, one above and one below."""
    for name, values, colour in lines:
        axes.plot(x, values, color=colour, marker=marker, markersize=4, label=name)
    axes.set_xlim(0.5, max(x, default=1) + 0.5)
    axes.autoscale_view(scalex=False)
    ends = []
    for name, values, colour in lines:
        shown = np.flatnonzero(np.isfinite(values))
        if shown.size:
            end = x[shown[-1]], values[shown[-1]]
            ends.append(((axes.transScale + axes.transLimits).transform(end)[1], end, name, colour))
    ends.sort(reverse=True)
    close = len(ends) == 2 and ends[0][0] - ends[1][0] < CLOSE
    for (_, end, name, colour), side in zip(ends, ("bottom", "top")):
        axes.annotate(name, end, (8, 0), textcoords="offset points", color=colour, va=side if close else "center")


def learning_curves(history: History, path: str | os.PathLike[str] | None = None) -> Any:
    """The losses over the epochs, and the accuracy below them where there is one.

    The losses' axis is logarithmic where they fall by more than a hundred times; a dotted line is the epoch whose
    parameters early stopping kept.

    Parameters
    ----------
    history : History
        Of :meth:`fastprop.Network.fit`.
    path : path-like, optional
        Where the picture is saved.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ModuleNotFoundError
        If matplotlib is not installed.
    TypeError
        If history is something else.
    """
    if not isinstance(history, History):
        raise TypeError(f"history is {history!r}; it must be a History, which fit returns.")
    figure = _figure(7, 6 if history.validation_accuracy else 4)
    from matplotlib.ticker import MaxNLocator, PercentFormatter

    every = _line_axes(figure, 2 if history.validation_accuracy else 1)
    epochs, marker = range(1, history.epochs + 1), "o" if history.epochs <= FEW_EPOCHS else ""
    lines = [("training", history.loss, BLUE), ("validation", history.validation_loss, VERMILION)]
    losses = [loss for loss in history.loss + history.validation_loss if np.isfinite(loss)]
    if losses and 0 < FALL * min(losses) < max(losses):
        every[0].set_yscale("log")
    _lines(every[0], epochs, [line for line in lines if line[1]], marker)
    every[0].set_ylabel("loss")
    if history.validation_accuracy:
        _lines(every[1], epochs, [("validation", history.validation_accuracy, VERMILION)], marker)
        every[1].set_ylabel("accuracy")
        every[1].yaxis.set_major_formatter(PercentFormatter(1))
    if history.best_epoch is not None:
        for axes in every:
            axes.axvline(history.best_epoch + 1, color=GREY, linewidth=1, linestyle=":")
        side = "left" if history.best_epoch < history.epochs / 2 else "right"
        every[0].annotate(f"kept: epoch {history.best_epoch + 1}", (history.best_epoch + 1, 1), (0, 3), color=GREY,
                          xycoords=("data", "axes fraction"), textcoords="offset points", ha=side)  # fmt: skip
    every[-1].set_xlabel("epoch")
    every[-1].xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    return _saved(figure, path)


def gradient_flow(report: Report, path: str | os.PathLike[str] | None = None) -> Any:
    """What comes back through the layers: ‖dZ‖ above; below the gradient and the update of W, as shares of its norm.

    Dashed lines show from where on :func:`fastprop.diagnose` speaks of exploding and vanishing gradients, a dotted one
    the usual update. A cross at the bottom is a 0, for which a logarithmic axis has no place.

    Parameters
    ----------
    report : Report
        Of :func:`fastprop.diagnose`.
    path : path-like, optional
        Where the picture is saved.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ModuleNotFoundError
        If matplotlib is not installed.
    TypeError
        If report is something else.
    """
    if not isinstance(report, Report):
        raise TypeError(f"report is {report!r}; it must be a Report, which diagnose returns.")
    layers = report.layers
    x = [l.layer for l in layers]
    named = len(x) <= MOST_NAMES
    figure = _figure(max(7.0, 1.1 * len(x)) if named else 7.0, 6)
    from matplotlib.ticker import MaxNLocator

    above, below = _line_axes(figure, 2)
    last = layers[-1].dZ.norm
    if 0 < last < np.inf:
        _guide(above, "exploding above", EXPLODING * last, "bottom")
        _guide(above, "vanishing below", VANISHING * last, "top")
    _logarithmic(above, x, [("‖dZ‖", [l.dZ.norm for l in layers], BLUE)])
    lines = [("‖dW‖/‖W‖", [l.dW.norm / l.W.norm if l.W.norm else np.nan for l in layers], BLUE)]
    if report.cost_after is not None:
        lines.append(("‖ΔW‖/‖W‖", [np.nan if l.update is None else l.update for l in layers], VERMILION))
        below.axhline(USUAL_UPDATE, color=VERMILION, linewidth=1, linestyle=":")
        below.set_title("dotted: the usual update", loc="left", color=VERMILION, fontsize="small")
    _logarithmic(below, x, lines)
    kinds = [finding.kind for finding in report.findings]
    rows = ["; ".join(kinds[i : i + A_ROW]) for i in range(0, len(kinds), A_ROW)]
    above.set_title(";\n".join(rows) or "nothing is found wrong")
    above.set_ylabel("‖dZ‖ of a sample")
    below.set(ylabel="share of ‖W‖", xlabel="layer; the gradient comes from the right")
    if named:
        below.set_xticks(x, [f"{l.layer}\n{l.n_prev} → {l.n}\n{l.activation}" for l in layers], fontsize="small")
    else:
        below.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    return _saved(figure, path)


def _logarithmic(axes: Any, x: Sequence[int], lines: Sequence[tuple[str, Sequence[float], str]]) -> None:
    """Lines on a logarithmic axis; zeros are crosses below it."""
    axes.set_yscale("log")
    _lines(axes, x, [(name, np.where(np.greater(values, 0), values, np.nan), colour) for name, values, colour in lines],
           marker="o")  # fmt: skip
    for i, (name, values, colour) in enumerate(lines):
        zeros = [layer for layer, value in zip(x, values) if value == 0]
        if zeros:
            axes.plot(zeros, [0.0] * len(zeros), "x+"[i], color=colour, markersize=8, clip_on=False,
                      transform=axes.get_xaxis_transform())  # fmt: skip
        if len(zeros) == len(x):
            axes.annotate(f"{name} is 0", (1, 0), (0, 6 + 14 * i), xycoords="axes fraction", ha="right",
                          textcoords="offset points", color=colour)  # fmt: skip


def _guide(axes: Any, name: str, y: float, side: str) -> None:
    """A dashed line, its name beyond its end, where no other line goes."""
    axes.axhline(y, color=GREY, linewidth=1, linestyle="--")
    axes.annotate(name, (1, y), (4, 0), xycoords=("axes fraction", "data"), textcoords="offset points", color=GREY,
                  fontsize="small", va=side)  # fmt: skip


def confusion_matrix(net: Network, X: Any, Y: Any, path: str | os.PathLike[str] | None = None) -> Any:
    """How many samples of each class (rows) a network takes for which (columns), coloured by the share of the row.

    Parameters
    ----------
    net : Network
        Whose output is of classes: a softmax, or one sigmoid. ``net.classes`` are their names.
    X : array_like of shape (m, n_0)
    Y : array_like
        Of classes: integer labels (m,), one-hot rows, or 0 and 1 for a sigmoid.
    path : path-like, optional
        Where the picture is saved.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ModuleNotFoundError
        If matplotlib is not installed.
    ValueError, TypeError
        If X or Y does not fit, or there are no classes.
    """
    X, classes, names = _of_classes(net, X, Y)
    n = len(names)
    counts = np.zeros((n, n), int)
    np.add.at(counts, (classes, _probabilities(net, X).argmax(axis=1)), 1)
    shares = counts / np.maximum(1, counts.sum(axis=1, keepdims=True))
    side, longest = min(max(4.0, 2.5 + 0.45 * n), 11), max(map(len, names)) if n <= MOST_COUNTS else 2
    upright, room = n * longest > 8 * side, LETTER * longest
    figure = _figure(side + 0.8 + room, side + upright * room)
    axes = figure.add_subplot(xlabel="predicted class", ylabel="true class")
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    figure.colorbar(image, label="share of the true class", shrink=0.8)
    if n <= MOST_COUNTS:
        size = min(10.0, 200 / n, 100 * (side - 1) / n / len(str(counts.max())))  # a digit is 0.64 as wide
        for row, column in zip(*counts.nonzero()):
            colour = "white" if shares[row, column] > 0.65 else "black"
            axes.text(column, row, str(counts[row, column]), color=colour, ha="center", va="center",
                      fontsize=size)  # fmt: skip
        axes.set_xticks(range(n), names, rotation=90 if upright else 0)
        axes.set_yticks(range(n), names)
    axes.set_title(f"{np.trace(counts) / len(X):.1%} of {len(X):,} are right")
    return _saved(figure, path)


def decision_boundary(net: Network, X: Any, Y: Any, path: str | os.PathLike[str] | None = None) -> Any:
    """Which class a network of two inputs chooses where, deeper where it is more certain, and the samples on it.

    Parameters
    ----------
    net : Network
        Of two inputs, and an output of classes: a softmax, or one sigmoid. ``net.classes`` are their names.
    X : array_like of shape (m, 2)
    Y : array_like
        Of classes: integer labels (m,), one-hot rows, or 0 and 1 for a sigmoid.
    path : path-like, optional
        Where the picture is saved.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ModuleNotFoundError
        If matplotlib is not installed.
    ValueError, TypeError
        If the network has other inputs or no classes, or X or Y does not fit.
    """
    if isinstance(net, Network) and net.sizes[0] != 2:
        raise ValueError(f"this network has {net.sizes[0]} inputs (sizes[0]); a boundary is drawn in a plane, of 2.")
    X, classes, names = _of_classes(net, X, Y)
    columns = -(-len(names) // ENTRIES)
    figure = _figure(5.8 + columns * (0.6 + LETTER * max(map(len, names))), 5)
    from matplotlib.colors import to_rgb

    axes = figure.add_subplot(xlabel="X[:, 0]", ylabel="X[:, 1]")
    low, high = X.min(axis=0).astype(float), X.max(axis=0).astype(float)
    margin = np.where(high > low, 0.05 * (high - low), 0.5)
    x, y = (np.linspace(*ends, GRID) for ends in zip(low - margin, high + margin))
    P = _probabilities(net, np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)).reshape(GRID, GRID, len(names))
    colours = np.array([to_rgb(COLOURS[k % len(COLOURS)]) for k in range(len(names))])
    tint = TINT * P.max(axis=-1, keepdims=True)
    axes.imshow(tint * colours[P.argmax(axis=-1)] + 1 - tint, extent=(x[0], x[-1], y[0], y[-1]), origin="lower",
                aspect="auto", interpolation="nearest")  # fmt: skip
    for k, name in enumerate(names):
        lead = P[:, :, k] - np.delete(P, k, axis=-1).max(axis=-1)
        if lead.min() < 0 < lead.max():
            axes.contour(x, y, lead, levels=[0], colors="black", linewidths=0.8)
        axes.scatter(*X[classes == k].T, s=np.clip(8000 / len(X), 10, 36), color=COLOURS[k % len(COLOURS)],
                     marker=MARKERS[k % len(MARKERS)], edgecolors="black", linewidths=0.4, label=name)  # fmt: skip
    legend = axes.legend(title="class", loc="upper left", bbox_to_anchor=(1, 1), frameon=False, ncols=columns)
    for handle in legend.legend_handles:
        handle.set_sizes([36])
    return _saved(figure, path)


def _of_classes(net: Any, X: Any, Y: Any) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """X, the class of each row, and the names of the classes."""
    if not isinstance(net, Network):
        raise TypeError(f"net is {net!r}; it must be a Network.")
    if not training.tells_classes(net):
        raise ValueError(
            f"this network has {net.sizes[-1]} outputs of {net.output}, which are no classes. It takes a softmax, or "
            f"one sigmoid."
        )
    X, Y = inputs.batch(X, Y, *net._ends[:3])
    classes = training._classes(Y)
    if classes is None:
        raise ValueError("Y has shares of classes; give labels, one-hot rows, or 0 and 1.")
    return X, classes, [str(name) for name in net.classes or range(max(2, net.sizes[-1]))]


def _probabilities(net: Network, X: np.ndarray) -> np.ndarray:
    """Of each class, also where the network has one output for two."""
    Y_hat = net.predict(X)
    return np.hstack([1 - Y_hat, Y_hat]) if Y_hat.shape[1] == 1 else Y_hat
