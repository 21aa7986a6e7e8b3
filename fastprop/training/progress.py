"""The progress bar of a fit: tqdm's, if it is installed and somebody watches."""

import sys
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

from ..checks import flag
from ..distribution import missing
from ..kernels.jit import is_watched


class Progress:
    """A progress bar over samples, or nothing.

    A bar never ends a fit: where the stream cannot be written to, or is closed while the fit runs, there is no bar.

    Parameters
    ----------
    wanted : bool or None
        None shows a bar if tqdm is installed and the error stream is a terminal, or in a notebook (an IPython kernel).
    total : int
        The number of samples in all epochs.

    Raises
    ------
    ModuleNotFoundError
        If a bar is wanted and tqdm is not installed.
    """

    def __init__(self, wanted: bool | None, total: int):
        self._make: Any = None
        self._bar: Any = None
        wanted = None if wanted is None else flag("progress", wanted)
        if wanted is False or (wanted is None and not is_watched()):
            return
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # tqdm's, that its bar in notebooks is text without ipywidgets
                from tqdm.auto import tqdm
        except ModuleNotFoundError:
            if wanted:
                raise missing("progress", "progress=True needs") from None
            return
        self._make = partial(tqdm, total=total, unit=" samples", unit_scale=True, leave=True)

    def show(self) -> None:
        """Show the bar."""
        if self._make is not None and sys.stderr is not None:
            self._try(self._start)

    def add(self, samples: int) -> None:
        """Advance the bar."""
        if self._bar is not None:
            self._try(self._bar.update, samples)

    def say(self, text: Callable[[], str]) -> None:
        """Show a text behind the bar, which is made only if there is one."""
        if self._bar is not None:
            self._try(self._bar.set_postfix_str, text())

    def close(self) -> None:
        """Leave the bar as it is."""
        if self._bar is not None:
            self._try(self._bar.close)

    def _start(self) -> None:
        self._bar = self._make()

    def _try(self, act: Any, *arguments: Any) -> None:
        """Call a method of the bar; if the stream fails, go on without the bar."""
        try:
            act(*arguments)
        except Exception:  # closed, or the writer of another library, which may raise anything
            if self._bar is not None:
                self._bar.disable = True  # so that it does not write at its end either
            self._bar = None
