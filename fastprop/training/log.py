"""CSVLog: the history of a fit as a file that grows with it."""

import csv
import os
import sys
from pathlib import Path
from typing import Any

from .history import History


class CSVLog:
    """A callback of ``fit`` that writes each epoch as a row of a CSV file, for spreadsheets, pandas and plots.

    The columns are the epoch, from 1, the losses, the accuracies and the metrics that the history has, and the seconds.
    The file of a fit that is resumed also has the epochs before.

    Parameters
    ----------
    path : path-like
        An existing file is replaced when the first epoch ends.

    Raises
    ------
    OSError
        When the fit begins, if the file cannot be written.

    Examples
    --------
    >>> net.fit(X, Y, epochs=100, callbacks=[CSVLog("fit.csv")])  # doctest: +SKIP
    """

    on_first_rank = True  # of the processes of a fit over MPI
    epochs_left: int = sys.maxsize  # it never ends a fit: it is called for many epochs after a compiled call

    def __init__(self, path: str | os.PathLike[str]):
        self.path: Path = Path(path)
        self._columns: list[str] = []

    def begins(self, model: Any) -> None:
        """Check that the file can be written."""
        self._columns = []
        with self.path.open("a"):
            pass

    def __call__(self, epoch: int, history: History) -> None:
        values = {**history.lists(), "seconds": history.seconds}
        first = epoch
        if not self._columns:
            first, self._columns = 0, [name for name in values if values[name]]
        with self.path.open("a" if first else "w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            if not first:
                writer.writerow(["epoch", *self._columns])
            for i in range(first, epoch + 1):
                # measured from a later epoch on, if the fit was resumed with validation data
                missing = {name: history.epochs - len(values[name]) for name in self._columns}
                row = [values[name][i - missing[name]] if i >= missing[name] else "" for name in self._columns]
                writer.writerow([i + 1, *row])

    def __repr__(self) -> str:
        return f"CSVLog({str(self.path)!a})"
