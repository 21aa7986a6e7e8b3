"""Signals are held back while Python must not run their handlers: while steps are booked, or code is compiled."""

import _signal  # type: ignore[import-not-found]
import dis
import sys
import threading
import time
from _signal import NSIG, SIGINT, getsignal, signal  # those of `signal` take 6 to 9 µs, these 0.5 (Zen 3)
from collections import deque
from collections.abc import Callable
from functools import cache, partial
from types import CodeType, FrameType, FunctionType, TracebackType
from typing import Any


class Held:
    """Hold back every signal with a Python handler until the end of the block, then run the handlers in order.

    Python runs handlers in the main thread only, so there is nothing to hold back in any other.
    """

    def __init__(self) -> None:
        self._replaced: list[tuple[int, Any]] = []
        self._received: list[tuple[Any, int, Any]] = []

    @property
    def received(self) -> bool:
        """Whether a signal has been received that is held back."""
        return bool(self._received)

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
            self.deliver()

    def _restore(self) -> None:
        try:
            for number, handler in self._replaced:
                signal(number, handler)
        except BaseException:  # from a handler that has just been restored
            self._restore()
            raise

    def deliver(self) -> None:
        """Run the handlers of the signals received so far, also if one of them raises."""
        if self._received:
            handler, number, frame = self._received.pop(0)
            try:
                handler(number, frame)
            finally:
                self.deliver()


# ---- callbacks of compiled code ----------------------------------------------------------------------------------
#
# An exception in a callback that compiled code calls is printed and then lost, and the callback's work is not done. So
# no signal handler may run in one: not while the callback works, nor when it begins (a signal may have arrived while
# compiled code ran), nor when it ends. A thread raises the signals again as soon as the callback has returned; the
# main thread then runs their handlers when it is back in Python.

RESUMED_AFTER_AWAIT = 3  # an argument of the instruction RESUME; that of a function's start is 0

_postponed: deque[int] = deque()


class _Postponed(Held):
    """Hold back signals, and let them be raised again later."""

    def deliver(self) -> None:
        _postponed.extend(number for _, number, _ in self._received)
        self._received = []


def callback(work: Callable[..., None]) -> Callable[..., None]:
    """Return a function that does `work` and in which no signal handler runs, for calls from compiled code."""

    def run(*arguments: Any) -> None:
        done = False
        failure = None
        while True:
            try:
                with _Postponed():
                    if not done:
                        done = True
                        try:
                            work(*arguments)
                        except BaseException as error:  # not from a signal, since these are held back
                            failure = error
                if _postponed:
                    threading.Thread(target=_raise_again, args=(run.__code__,), daemon=True).start()
                break
            except BaseException as error:  # from a handler that ran before or after signals were held back
                signal(SIGINT, partial(_raise, error, getsignal(SIGINT)))
                _postponed.append(SIGINT)
        if failure is not None:
            raise failure

    assert isinstance(run, FunctionType)
    run.__code__ = _started_without_handlers(run.__code__)
    return run


@cache
def _started_without_handlers(code: CodeType) -> CodeType:
    """Return a function's code, changed so that Python runs no signal handler before its first line.

    RESUME is the first instruction of a function. It runs pending handlers unless its argument says that a coroutine
    continues after an await. If there is no such instruction, the code is returned as it is.
    """
    for instruction in dis.get_instructions(code):
        if instruction.opname == "RESUME" and instruction.arg == 0:
            changed = bytearray(code.co_code)
            changed[instruction.offset + 1] = RESUMED_AFTER_AWAIT
            return code.replace(co_code=bytes(changed))
    return code


def _raise(error: BaseException, handler: Any, number: int, frame: FrameType | None) -> None:
    """Put back a signal's handler, and raise the exception of a handler that ran too early."""
    signal(SIGINT, handler)
    raise error


def _raise_again(code: CodeType) -> None:
    """Raise the postponed signals when the main thread is in no callback any more."""
    while _runs(code):
        time.sleep(0.001)
    main = threading.main_thread().ident
    while _postponed:
        number = _postponed.popleft()
        if hasattr(_signal, "pthread_kill"):  # so that it also ends a system call of the main thread
            _signal.pthread_kill(main, number)
        else:
            _signal.raise_signal(number)


def _runs(code: CodeType) -> bool:
    frame = sys._current_frames().get(threading.main_thread().ident or 0)
    while frame is not None and frame.f_code is not code:
        frame = frame.f_back
    return frame is not None
