"""Plots (extra ``plot``): learning curves and gradient flow.

Each function returns a matplotlib Figure, which displays itself in a notebook, and saves it if a path is given, in the
format of its suffix. With `ax` a plot is drawn on axes of an existing figure, which is returned as it is: a sequence of
two axes, the upper panel first; on a single one only the upper panel is drawn. The colours are those of Okabe and Ito
(2008), which colour-blind people can tell apart.

Confusion matrices and decision boundaries are drawn by :class:`sklearn.metrics.ConfusionMatrixDisplay` and
:class:`sklearn.inspection.DecisionBoundaryDisplay`, of the estimators of :mod:`fastprop.sklearn` or of predictions of a
network, as a recipe shows.
"""

import io
import os
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from .distribution import missing

BLUE, VERMILION, GREY = "#0072b2", "#d55e00", "#666666"
PANELS = 2  # of a plot, at most
FEW_EPOCHS = 20  # up to which each epoch is marked
CLOSE = 0.08  # of an axis: the names of lines that end closer together would overlap
BESIDE = 0.03  # of the distance of two layers: how far a cross is moved to the side
FALL = 20  # if a loss falls by this factor, its axis is logarithmic
MOST_NAMES = 12  # layers up to which their widths are written under the axis
A_ROW = 3  # findings in a row of the title


def _figure(width: float, height: float) -> Any:
    """Return an empty figure that a notebook displays, also without ``%matplotlib inline``."""
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError:
        raise missing("plot", "plots need") from None
    figure: Any = Figure(figsize=(width, height), layout="constrained")
    figure._repr_png_ = partial(_png, figure)  # IPython calls it
    return figure


def _png(figure: Any) -> bytes:
    """Return a figure as a PNG file."""
    file = io.BytesIO()
    figure.savefig(file, format="png")
    return file.getvalue()


def _given(ax: Any) -> list[Any]:
    """Return the axes of an existing figure that a plot is drawn on."""
    try:
        from matplotlib.axes import Axes
    except ModuleNotFoundError:
        raise missing("plot", "plots need") from None
    every = list(np.ravel(np.asarray(ax, dtype=object)))
    if not every or not all(isinstance(axes, Axes) for axes in every):
        raise TypeError(f"ax is {ax!r}; it must be an Axes of matplotlib, or a sequence of at most {PANELS}.")
    if len(every) > PANELS:
        raise ValueError(f"ax has {len(every)} axes; this plot takes one, or a sequence of at most {PANELS}.")
    return every


def _finished(axes: Any, path: str | os.PathLike[str] | None) -> Any:
    """Return the figure of some axes, saved if a path is given."""
    figure = axes.figure.figure  # of a subfigure: the whole figure
    if path is not None:
        figure.savefig(path, dpi=150)
    return figure


def _line_axes(ax: Any, rows: int, size: tuple[float, float]) -> Any:
    """Return axes for lines, one above the other: those given, or those of a figure of this size."""
    every = _figure(*size).subplots(rows, sharex=True, squeeze=False)[:, 0] if ax is None else _given(ax)[:rows]
    for axes in every:
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.25)
        axes.yaxis.get_offset_text().set(ha="right")  # such as 1e6: above the ticks, beside a title above the axes
    return every


def _lines(axes: Any, x: Sequence[int], lines: Sequence[tuple[str, Any, str]], marker: str) -> None:
    """Draw one or two lines, each with its name at its end; if the ends are close, one name above and one below."""
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


def learning_curves(history: Any, path: str | os.PathLike[str] | None = None, ax: Any = None) -> Any:
    """Plot the losses over the epochs, and below them the accuracies if there are any.

    The axis of the losses is logarithmic if they fall by more than a factor of twenty. A dotted line marks the epoch
    whose parameters early stopping kept.

    Parameters
    ----------
    history : History
        The result of :meth:`fastprop.Network.fit`.
    path : path-like, optional
        Where the figure is saved.
    ax : Axes or sequence of two Axes, optional
        Where to draw: the losses and the accuracies, if there are any. A single Axes takes the first panel only.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ModuleNotFoundError
        If matplotlib is not installed.
    TypeError, ValueError
        If history is something else, or ax holds other things than Axes or too many.
    """
    if not hasattr(history, "validation_accuracy"):
        raise TypeError(f"history is {history!r}; it must be a History, which fit returns.")
    rows = 2 if history.accuracy or history.validation_accuracy else 1
    every = _line_axes(ax, rows, (7, 2 + 2 * rows))
    from matplotlib.ticker import MaxNLocator, PercentFormatter

    losses = [loss for loss in history.loss + history.validation_loss if np.isfinite(loss)]
    if losses and 0 < FALL * min(losses) < max(losses):
        every[0].set_yscale("log")
    _draw_epochs(every[0], history, history.loss, history.validation_loss)
    every[0].set_ylabel(history.loss_name or "loss")
    for axes in every[1:]:
        _draw_epochs(axes, history, history.accuracy, history.validation_accuracy)
        axes.set_ylabel("accuracy")
        axes.yaxis.set_major_formatter(PercentFormatter(1))
    if history.best_epoch is not None:
        _mark_kept(every, history.best_epoch, history.epochs)
    every[-1].set_xlabel("epoch")
    every[-1].xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    return _finished(every[0], path)


def _draw_epochs(axes: Any, history: Any, training: list[float], validation: list[float]) -> None:
    """Draw what was measured in the last epochs of a history, or in all of them."""
    lines = [
        (name, [np.nan] * (history.epochs - len(values)) + values, colour)
        for name, values, colour in (("training", training, BLUE), ("validation", validation, VERMILION))
        if values
    ]
    _lines(axes, range(1, history.epochs + 1), lines, "o" if history.epochs <= FEW_EPOCHS else "")


def _mark_kept(every: Any, best_epoch: int, epochs: int) -> None:
    """Draw a dotted line at the epoch whose parameters were kept, with its name above the first axes."""
    for axes in every:
        axes.axvline(best_epoch + 1, color=GREY, linewidth=1, linestyle=":")
    every[0].annotate(
        f"kept: epoch {best_epoch + 1}",
        (best_epoch + 1, 1),
        (0, 3),
        color=GREY,
        xycoords=("data", "axes fraction"),
        textcoords="offset points",
        ha="left" if best_epoch < epochs / 2 else "right",
    )


def gradient_flow(report: Any, path: str | os.PathLike[str] | None = None, ax: Any = None) -> Any:
    """Plot the gradients by layer: ‖dZ‖ above, and below the gradient and the update of W as shares of its norm.

    Dashed lines mark the thresholds beyond which :func:`fastprop.diagnose` reports exploding and vanishing gradients, a
    dotted line the usual update. A cross at the bottom is a 0, which a logarithmic axis cannot show.

    Parameters
    ----------
    report : Report
        The result of :func:`fastprop.diagnose`.
    path : path-like, optional
        Where the figure is saved.
    ax : Axes or sequence of two Axes, optional
        Where to draw: the norms of dZ and the shares of the norm of W. A single Axes takes the first panel only.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ModuleNotFoundError
        If matplotlib is not installed.
    TypeError, ValueError
        If report is something else, or ax holds other things than Axes or too many.
    """
    if not hasattr(report, "findings"):
        raise TypeError(f"report is {report!r}; it must be a Report, which diagnose returns.")
    layers = report.layers
    x = [l.layer for l in layers]
    named = len(x) <= MOST_NAMES
    every = _line_axes(ax, 2, (max(7.0, 1.1 * len(x)) if named else 7.0, 6))
    from matplotlib.ticker import MaxNLocator

    above = every[0]
    last = layers[-1].dZ.norm
    if 0 < last < np.inf:
        _guide(above, "exploding above", report.exploding * last, "bottom")
        _guide(above, "vanishing below", report.vanishing * last, "top")
    _logarithmic(above, x, [("‖dZ‖", [l.dZ.norm for l in layers], BLUE)])
    kinds = [finding.kind for finding in report.findings]
    rows = ["; ".join(kinds[i : i + A_ROW]) for i in range(0, len(kinds), A_ROW)]
    above.set_title(";\n".join(rows) or "nothing is found wrong")
    above.set_ylabel("‖dZ‖ of a sample")
    for axes in every[1:]:
        _draw_shares(axes, report, x)
    every[-1].set_xlabel("layer; the gradient comes from the right")
    if named:
        every[-1].set_xticks(x, [f"{l.layer}\n{l.n_prev} → {l.n}\n{l.activation}" for l in layers], fontsize="small")
    else:
        every[-1].xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    return _finished(above, path)


def _draw_shares(axes: Any, report: Any, x: Sequence[int]) -> None:
    """Draw the gradient and the update of each W as shares of its norm."""
    layers = report.layers
    lines = [("‖dW‖/‖W‖", [l.dW.norm / l.W.norm if l.W.norm else np.nan for l in layers], BLUE)]
    if report.cost_after is not None:
        lines.append(("‖ΔW‖/‖W‖", [np.nan if l.update is None else l.update for l in layers], VERMILION))
        axes.axhline(report.usual_update, color=VERMILION, linewidth=1, linestyle=":")
        axes.set_title(
            f"dotted: the usual update, {report.usual_update:g}", loc="left", color=VERMILION, fontsize="small"
        )
    _logarithmic(axes, x, lines)
    axes.set_ylabel("share of ‖W‖")


def _logarithmic(axes: Any, x: Sequence[int], lines: Sequence[tuple[str, Sequence[float], str]]) -> None:
    """Draw lines on a logarithmic axis; zeros are crosses at its bottom, those of two lines side by side.

    If there is nothing else, the axis has no numbers.
    """
    axes.set_yscale("log")
    _lines(
        axes,
        x,
        [(name, np.where(np.greater(values, 0), values, np.nan), colour) for name, values, colour in lines],
        marker="o",
    )
    for i, (name, values, colour) in enumerate(lines):
        zeros = [layer for layer, value in zip(x, values) if value == 0]
        if zeros:
            axes.plot(
                np.add(zeros, BESIDE * (2 * i - len(lines) + 1)),
                [0.0] * len(zeros),
                "x+"[i],
                color=colour,
                markersize=8,
                clip_on=False,
                transform=axes.get_xaxis_transform(),
            )
        if len(zeros) == len(x):
            axes.annotate(
                f"{name} is 0",
                (1, 0),
                (0, 6 + 14 * i),
                xycoords="axes fraction",
                ha="right",
                textcoords="offset points",
                color=colour,
            )
    if not any(value > 0 for _, values, _ in lines for value in values):
        axes.set_yticks([])
        axes.set_yticks([], minor=True)


def _guide(axes: Any, name: str, y: float, side: str) -> None:
    """Draw a dashed line with its name beyond its end, where no other line goes."""
    axes.axhline(y, color=GREY, linewidth=1, linestyle="--")
    axes.annotate(
        name,
        (1, y),
        (4, 0),
        xycoords=("axes fraction", "data"),
        textcoords="offset points",
        color=GREY,
        fontsize="small",
        va=side,
    )
