"""Signals are held back while Python must not run their handlers."""

import threading
from _signal import NSIG, getsignal, signal  # type: ignore[import-not-found]  # those of `signal` take 7 µs, these 0.5
from types import TracebackType
from typing import Any


class Held:
    """Hold back every signal with a Python handler until the end of the block, then run the handlers in order.

    Python runs handlers in the main thread only, so there is nothing to hold back in any other.
    """

    def __init__(self) -> None:
        self._replaced: list[tuple[int, Any]] = []
        self._received: list[tuple[Any, int, Any]] = []

    def __enter__(self) -> "Held":
        if threading.current_thread() is threading.main_thread():
            try:
                for number in range(1, NSIG):
                    handler = getsignal(number)
                    if callable(handler):
                        self._replaced.append((number, handler))
                        signal(number, self._record)
            except BaseException:  # from the handler of a signal that was not yet held back
                self._restore()
                raise
        return self

    def _record(self, number: int, frame: Any) -> None:
        handler = next(handler for held, handler in self._replaced if held == number)
        self._received.append((handler, number, frame))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            self._restore()
        finally:
            self._deliver()

    def _restore(self) -> None:
        try:
            for number, handler in self._replaced:
                signal(number, handler)
        except BaseException:  # from a handler that has just been restored
            self._restore()
            raise

    def _deliver(self) -> None:
        """Run the handlers of the signals received, also if one of them raises."""
        if self._received:
            handler, number, frame = self._received.pop(0)
            try:
                handler(number, frame)
            finally:
                self._deliver()
