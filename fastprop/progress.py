"""The progress bar of a fit: tqdm's, where it is installed and somebody looks."""

import sys
from functools import partial
from typing import Any

from .inputs import flag


class Progress:
    """A bar over samples, or nothing.

    Parameters
    ----------
    wanted : bool or None
        None: show it where tqdm is installed and the error stream is a terminal.
    total : int
        Samples in all epochs.

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
        if self._make is not None:
            self._bar = self._make()

    def add(self, samples: int) -> None:
        if self._bar is not None:
            self._bar.update(samples)

    def say(self, text: str) -> None:
        if self._bar is not None:
            self._bar.set_postfix_str(text)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()
