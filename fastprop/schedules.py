"""Schedules: the learning rate of each step, for an optimiser's `lr`.

A schedule is any callable step → rate; the first step has number 0. Those that are made here take an array of steps
as well, and so cost nothing beside the steps; of another callable each rate is asked for in Python.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from .inputs import FLOAT32_MAX, number

Schedule = Callable[[Any], Any]


class _Vectorised:
    """A schedule that takes an array of steps."""

    def __init__(self, name: str, function: Schedule, **settings: Any):
        self._name, self._function, self._settings = name, function, settings

    def __call__(self, step: Any) -> Any:
        return self._function(np.asarray(step, np.float64))[()]

    def __reduce__(self) -> Any:
        return _made, (self._name, self._settings)

    def __repr__(self) -> str:
        return f"{self._name}({', '.join(f'{k}={v!r}' for k, v in self._settings.items())})"


def _made(name: str, settings: dict[str, Any]) -> Schedule:
    """A schedule from its pickle."""
    return globals()[name](**settings)


def rates(lr: float | Schedule, first: int, count: int) -> np.ndarray:
    """The rates of `count` steps from `first` on, float64.

    Raises
    ------
    ValueError
        If one is negative, or not finite in float32.
    """
    steps = np.arange(first, first + count)
    if not callable(lr):
        return np.full(count, float(lr))
    values = lr(steps) if isinstance(lr, _Vectorised | ReduceOnPlateau) else [float(lr(int(step))) for step in steps]
    values = np.array(np.broadcast_to(values, count), np.float64)
    wrong = ~((values >= 0) & (values <= FLOAT32_MAX))
    if wrong.any():
        i = int(wrong.argmax())
        raise ValueError(
            f"the schedule {lr!r} gives {values[i]} at step {steps[i]}; rates are finite and at least 0, in float32."
        )
    return values


def _own(name: str, value: Any, **bounds: float) -> Any:
    """A setting as a Python number: a float32 would be computed with in float32, but in float64 after a file."""
    result = number(name, value, **bounds)
    return value if type(value) is int else result


def _positive(**values: float) -> list[Any]:
    return [_own(name, value, above=0) for name, value in values.items()]


def constant(lr: float) -> Schedule:
    """The same rate for ever."""
    (lr,) = _positive(lr=lr)
    return _Vectorised("constant", lambda step: lr + 0 * step, lr=lr)


def step(lr: float, every: int, factor: float = 0.1) -> Schedule:
    """lr·factor^⌊step/every⌋"""
    lr, every, factor = _positive(lr=lr, every=every, factor=factor)
    return _Vectorised("step", lambda step: lr * factor ** (step // every), lr=lr, every=every, factor=factor)


def exponential(lr: float, half_life: float) -> Schedule:
    """lr·2^(−step/half_life)"""
    lr, half_life = _positive(lr=lr, half_life=half_life)
    return _Vectorised("exponential", lambda step: lr * 0.5 ** (step / half_life), lr=lr, half_life=half_life)


def cosine(lr: float, steps: int, final: float = 0.0) -> Schedule:
    """Half a cosine from lr to `final` in so many steps, and `final` from then on (Loshchilov and Hutter 2017)."""
    lr, steps = _positive(lr=lr, steps=steps)
    final = _own("final", final, least=0)

    def rate(step: Any) -> Any:
        return final + (lr - final) * (1 + np.cos(np.pi * np.minimum(step, steps) / steps)) / 2

    return _Vectorised("cosine", rate, lr=lr, steps=steps, final=final)


def warm_up(steps: int, then: float | Schedule) -> Schedule:
    """Linearly up in so many steps, and then another schedule, whose step 0 follows, or a rate."""
    (steps,) = _positive(steps=steps)
    if not callable(then):
        (then,) = _positive(then=then)
    later = then if callable(then) else constant(then)

    def rate(step: Any) -> Any:
        after = later(np.maximum(step - steps, 0))
        return np.where(step < steps, later(np.zeros_like(step)) * (step + 1) / steps, after)

    if isinstance(later, _Vectorised):
        return _Vectorised("warm_up", rate, steps=steps, then=then)
    return lambda step: later(0) * (step + 1) / steps if step < steps else later(step - steps)


def one_cycle(lr: float, steps: int, warm: float = 0.3, start: float = 25.0, end: float = 1e4) -> Schedule:
    """By half cosines from lr/start up to lr in the first share `warm` of the steps, then down to lr/(start·end).

    Smith and Topin 2019; the form of PyTorch's OneCycleLR.
    """
    lr, steps, warm, start, end = _positive(lr=lr, steps=steps, warm=warm, start=start, end=end)
    top = max(warm * steps - 1, 1e-9)
    rest = max(steps - 1 - top, 1e-9)

    def rate(step: Any) -> Any:
        up = lr / start + (lr - lr / start) * (1 - np.cos(np.pi * np.clip(step / top, 0, 1))) / 2
        low = lr / start / end
        down = low + (lr - low) * (1 + np.cos(np.pi * np.clip((step - top) / rest, 0, 1))) / 2
        return np.where(step <= top, up, down)

    return _Vectorised("one_cycle", rate, lr=lr, steps=steps, warm=warm, start=start, end=end)


class ReduceOnPlateau:
    """A rate that is multiplied by `factor` whenever the loss has not fallen for `patience` epochs.

    `fit` tells it each epoch's loss: that of the validation data, where there are any.

    Parameters
    ----------
    lr : float
        The first rate.
    factor : float
    patience : int
    least : float
        Rates do not fall below it.
    """

    def __init__(self, lr: float, factor: float = 0.1, patience: int = 10, least: float = 0.0):
        self.rate, self.factor, self.patience = _positive(lr=lr, factor=factor, patience=patience)
        self.least = _own("least", least)
        self.best, self.waited = np.inf, 0

    def __call__(self, step: Any) -> Any:
        return self.rate

    def observe(self, loss: float) -> None:
        """An epoch's loss."""
        if loss < self.best:
            self.best, self.waited = loss, 0
            return
        self.waited += 1
        if self.waited >= self.patience:
            self.rate, self.waited = max(self.rate * self.factor, min(self.least, self.rate)), 0

    def __repr__(self) -> str:
        return f"ReduceOnPlateau(lr={self.rate:g}, factor={self.factor:g}, patience={self.patience})"
