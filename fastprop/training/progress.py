"""The progress bar of a fit: tqdm's, if it is installed and the error stream is a terminal."""

import sys
from functools import partial
from typing import Any

from ..checks import flag


class Progress:
    """A progress bar over samples, or nothing.

    Parameters
    ----------
    wanted : bool or None
        None shows a bar if tqdm is installed and the error stream is a terminal.
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
        if wanted is False or (wanted is None and not sys.stderr.isatty()):
            return
        try:
            from tqdm.auto import tqdm
        except ModuleNotFoundError:
            if wanted:
                raise ModuleNotFoundError(
                    "progress=True needs tqdm. Install it with: pip install 'fastprop[progress]'"
                ) from None
            return
        self._make = partial(tqdm, total=total, unit=" samples", unit_scale=True, leave=True)

    def show(self) -> None:
        """Show the bar."""
        if self._make is not None:
            self._bar = self._make()

    def add(self, samples: int) -> None:
        """Advance the bar."""
        if self._bar is not None:
            self._bar.update(samples)

    def say(self, text: str) -> None:
        """Show a text behind the bar."""
        if self._bar is not None:
            self._bar.set_postfix_str(text)

    def close(self) -> None:
        """Leave the bar as it is."""
        if self._bar is not None:
            self._bar.close()
