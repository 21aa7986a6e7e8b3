"""History and FitState: what a fit did, and where it stands."""

import math
import os
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from .. import plots
from ..texts import html_table, html_text

ROWS = 10  # epochs of a history that a notebook shows


@dataclass(repr=False)
class History:
    """What a fit did, epoch by epoch, in plain lists; shown as one line, and by a notebook as a table.

    Attributes
    ----------
    loss : list of float
        The mean cost J of each epoch over its samples, each taken before the step that used it.
    accuracy : list of float
        If the targets are classes: the share of each epoch's samples, by weight, whose class was predicted right, each
        before the step that used it, and with the hidden units that the step dropped.
    validation_loss, validation_accuracy : list of float
        After each epoch, if validation data was given; the accuracy if the targets are classes.
    seconds : list of float
        The duration of each epoch's training, without validation.
    samples_per_second : list of float
    metrics : dict of str to list of float
        After each epoch, what the `metrics` of the fit gave, by their names.
    best_epoch : int or None
        With early stopping: the epoch (from 0) whose parameters the network has now.
    running_loss : float
        The mean cost of the current epoch so far, for callbacks between its steps.
    interrupted : bool
        Whether Ctrl-C ended the fit.
    loss_name : str
        That of the network.
    """

    loss: list[float] = field(default_factory=list)
    accuracy: list[float] = field(default_factory=list)
    validation_loss: list[float] = field(default_factory=list)
    validation_accuracy: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    samples_per_second: list[float] = field(default_factory=list)
    metrics: dict[str, list[float]] = field(default_factory=dict)
    best_epoch: int | None = None
    running_loss: float = 0.0
    interrupted: bool = False
    loss_name: str = ""

    @property
    def epochs(self) -> int:
        """The number of whole epochs trained."""
        return len(self.loss)

    def lists(self) -> dict[str, list[float]]:
        """Return the losses, the accuracies and the metrics, by their names."""
        names = ("loss", "accuracy", "validation_loss", "validation_accuracy")
        return {name: getattr(self, name) for name in names} | self.metrics

    def to_dict(self) -> dict[str, Any]:
        """Return the attributes as a dictionary of copied lists and numbers, which :mod:`json` can write."""
        return asdict(self)

    def plot(self, path: str | os.PathLike[str] | None = None, ax: Any = None) -> Any:
        """Plot losses and accuracies over the epochs with :func:`fastprop.plots.learning_curves` (extra ``plot``)."""
        return plots.learning_curves(self, path, ax)

    def __repr__(self) -> str:
        last = {name: f"{values[-1]:.4g}" for name, values in self.lists().items() if values}
        if self.best_epoch is not None:
            last["best_epoch"] = str(self.best_epoch)
        if self.interrupted:
            last["interrupted"] = "True"
        return f"History({', '.join(f'{name}={value}' for name, value in {'epochs': self.epochs, **last}.items())})"

    def _repr_html_(self) -> str:
        """Return a table of at most 11 epochs as HTML: the first, the last, the best, and some between them."""
        columns = {name: values for name, values in {**self.lists(), "seconds": self.seconds}.items() if values}
        shown = {round(epoch) for epoch in np.linspace(0, self.epochs - 1, min(ROWS, self.epochs))}
        shown |= {self.best_epoch} & {*range(self.epochs)}
        rows = [
            [f"{epoch} (best)" if epoch == self.best_epoch else str(epoch)]
            + [
                f"{values[epoch - self.epochs]:.4g}" if epoch >= self.epochs - len(values) else ""
                for values in columns.values()
            ]
            for epoch in sorted(shown)
        ]
        head = ["epoch", *(name.replace("_", " ") for name in columns)]
        return html_text(repr(self)) + (html_table([head, *rows]) if rows else "")


@dataclass
class Best:
    """The best parameters so far, for early stopping, and their loss, or their score times −1."""

    parameters: np.ndarray
    loss: float = math.inf
    epoch: int = -1

    def observe(self, epoch: int, loss: float, min_delta: float, parameters: np.ndarray | None = None) -> None:
        """Take over an epoch if its loss is lower by more than `min_delta`.

        Its parameters are copied too, unless compiled code has done so.
        """
        if loss < self.loss - min_delta:
            self.loss, self.epoch = loss, epoch
            if parameters is not None:
                self.parameters[:] = parameters

    def is_old(self, epoch: int, patience: int) -> bool:
        """Return whether no epoch has been better for `patience` epochs."""
        return epoch - self.epoch >= patience

    def epochs_left(self, epoch: int, patience: int) -> int:
        """Return after how many epochs, the first of them number `epoch`, this may be old at the earliest."""
        return max(1, self.epoch + patience - epoch + 1)


@dataclass
class FitState:
    """Where a fit stands between two batches: what it takes to resume it, beside the network and its optimizer.

    Attributes
    ----------
    rows, batch_size, shuffle, fraction, bootstrap
        Arguments of the fit, `fraction` being the share of the rows that is held out, and `bootstrap` whether the rows
        are drawn with replacement; a fit that resumes must have the same.
    shares : list of int
        The rows of each of the processes that train together; empty for one process.
    seed : int
        The seed of the shuffles, and of the draws of rows.
    updates : int
        The number of steps of the optimizer by then.
    epoch, step : int
        The next ones.
    cost, weight, right, seconds : float
        Sums over the steps of the current epoch: `right` is that of the weights of the samples whose class was
        predicted right, NaN if the first of these steps did not count it.
    history : History
    best : Best or None
        With early stopping.
    last : ndarray or None
        The last parameters, if the network went back to the best.
    """

    rows: int
    batch_size: int
    shuffle: bool
    fraction: float
    seed: int
    bootstrap: bool = False
    shares: list[int] = field(default_factory=list)
    updates: int = 0
    epoch: int = 0
    step: int = 0
    cost: float = 0.0
    weight: float = 0.0
    right: float = 0.0
    seconds: float = 0.0
    history: History = field(default_factory=History)
    best: Best | None = None
    last: np.ndarray | None = None

    @property
    def diverged(self) -> bool:
        """Whether the cost is no longer finite."""
        return not math.isfinite(self.cost)

    @property
    def mean_cost(self) -> float:
        """The mean cost of the current epoch so far; 0 if all its samples have a weight of 0."""
        return self.cost / self.weight if self.weight else 0.0

    @property
    def accuracy(self) -> float:
        """The share of right predictions in the current epoch so far, if the targets are classes."""
        return min(self.right, self.weight) / self.weight if self.weight else 0.0

    def count(self, updates: int) -> None:
        """Count the steps that the optimizer has made since the last call."""
        self.step += updates - self.updates
        self.updates = updates

    def share_anew(self, shares: list[int]) -> None:
        """Begin the epoch again, with the rows in other shares."""
        self.shares, self.step = shares, 0
        self.cost = self.weight = self.right = self.seconds = 0.0

    def end_epochs(self, lists: dict[str, list[float]], metrics: dict[str, list[float]]) -> None:
        """Write epochs into the history, by the names of its lists and of the metrics, and begin the next one."""
        for name, values in lists.items():
            getattr(self.history, name).extend(values)
        for name, values in metrics.items():
            self.history.metrics.setdefault(name, []).extend(values)
        self.epoch, self.step = self.epoch + len(lists["loss"]), 0
        self.cost = self.weight = self.right = self.seconds = 0.0
