"""Learning-rate schedules: the learning rate of each step, for an optimizer's `lr`.

A schedule is any callable step → rate; the first step has number 0. The schedules of this module also take an array of
steps, so that their cost beside the steps is negligible. Any other callable is called from Python for every step.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from .checks import number, whole
from .kernels.scan import FLOAT32_MAX

Schedule = Callable[[Any], Any]
MOST_DEPTH = 8  # of a stored schedule that contains another


class Vectorized:
    """A schedule that takes an array of steps.

    Attributes
    ----------
    name : str
        That of the function which makes it.
    settings : dict
        The arguments of that function.
    """

    def __init__(self, name: str, function: Schedule, **settings: Any):
        self.name: str = name
        self.settings: dict[str, Any] = settings
        self._function = function

    def __call__(self, step: Any) -> Any:
        return self._function(np.asarray(step, np.float64))[()]

    def __reduce__(self) -> Any:
        return made, (self.name, self.settings)

    def __repr__(self) -> str:
        return f"{self.name}({', '.join(f'{k}={v!a}' for k, v in self.settings.items())})"


def made(name: str, settings: dict[str, Any]) -> Schedule:
    """Make a schedule of :data:`SCHEDULES` from its name and settings."""
    return SCHEDULES[name](**settings)


def rates(lr: float | Schedule, first: int, count: int) -> np.ndarray:
    """Return the learning rates of `count` steps from step `first`, in float64.

    Raises
    ------
    ValueError
        If one of them is negative, or not finite in float32.
    """
    steps = np.arange(first, first + count)
    if not callable(lr):
        return np.full(count, float(lr))
    values = lr(steps) if isinstance(lr, Vectorized | ReduceOnPlateau) else [float(lr(int(step))) for step in steps]
    values = np.array(np.broadcast_to(values, count), np.float64)
    wrong = ~((values >= 0) & (values <= FLOAT32_MAX))
    if wrong.any():
        i = int(wrong.argmax())
        raise ValueError(
            f"the schedule {lr!r} gives {values[i]} at step {steps[i]}; rates are finite and at least 0, in float32."
        )
    return values


def _python_number(name: str, value: Any, **bounds: float) -> Any:
    """Return a setting as a Python number.

    NumPy would compute with a float32 setting in float32, but after saving and loading the same setting in float64.
    """
    result = number(name, value, **bounds)
    return value if type(value) is int else result


# ---- schedules of the step number --------------------------------------------------------------------------------


def constant(lr: float) -> Schedule:
    """The same rate for all steps.

    Parameters
    ----------
    lr : float
        Above 0, as in all schedules.
    """
    lr = _python_number("lr", lr, above=0)
    return Vectorized("constant", lambda step: lr + 0 * step, lr=lr)


def step(lr: float, every: int, factor: float = 0.1) -> Schedule:
    """lr·factor^⌊step/every⌋

    Parameters
    ----------
    lr : float
    every : float
        The number of steps between two changes, above 0.
    factor : float
        Above 0 and at most 1.
    """
    lr = _python_number("lr", lr, above=0)
    every = _python_number("every", every, above=0)
    factor = _python_number("factor", factor, above=0, most=1)
    return Vectorized("step", lambda step: lr * factor ** (step // every), lr=lr, every=every, factor=factor)


def exponential(lr: float, half_life: float) -> Schedule:
    """lr·2^(−step/half_life)

    Parameters
    ----------
    lr : float
    half_life : float
        The number of steps in which the rate is halved, above 0.
    """
    lr = _python_number("lr", lr, above=0)
    half_life = _python_number("half_life", half_life, above=0)
    return Vectorized("exponential", lambda step: lr * 0.5 ** (step / half_life), lr=lr, half_life=half_life)


def cosine(lr: float, steps: int, final: float = 0.0) -> Schedule:
    """Half a cosine from lr to `final` over `steps` steps, and `final` afterwards (Loshchilov and Hutter 2017).

    Parameters
    ----------
    lr : float
    steps : float
        Above 0.
    final : float
        At least 0.
    """
    lr = _python_number("lr", lr, above=0)
    steps = _python_number("steps", steps, above=0)
    final = _python_number("final", final, least=0)

    def rate(step: Any) -> Any:
        return final + (lr - final) * (1 + np.cos(np.pi * np.minimum(step, steps) / steps)) / 2

    return Vectorized("cosine", rate, lr=lr, steps=steps, final=final)


def warm_up(steps: int, then: float | Schedule) -> Schedule:
    """A linear increase over `steps` steps, followed by a rate or by another schedule, which then starts at step 0.

    Parameters
    ----------
    steps : float
        Above 0.
    then : float or callable
        A rate above 0, or a schedule.
    """
    steps = _python_number("steps", steps, above=0)
    if not callable(then):
        then = _python_number("then", then, above=0)
    later: Any = then if callable(then) else constant(then)

    def rate(step: Any) -> Any:
        after = later(np.maximum(step - steps, 0))
        return np.where(step < steps, later(np.zeros_like(step)) * (step + 1) / steps, after)

    if isinstance(later, Vectorized):
        return Vectorized("warm_up", rate, steps=steps, then=then)
    return lambda step: later(0) * (step + 1) / steps if step < steps else later(step - steps)


def one_cycle(lr: float, steps: int, warm: float = 0.3, start: float = 25.0, end: float = 1e4) -> Schedule:
    """Half cosines from lr/start up to lr in the first share `warm` of the steps, then down to lr/(start·end).

    Smith and Topin 2019; the form of PyTorch's OneCycleLR.

    Parameters
    ----------
    lr : float
        The highest rate.
    steps : float
        Above 0.
    warm : float
        Above 0 and at most 1.
    start, end : float
        At least 1.
    """
    lr = _python_number("lr", lr, above=0)
    steps = _python_number("steps", steps, above=0)
    warm = _python_number("warm", warm, above=0, most=1)
    start = _python_number("start", start, least=1)
    end = _python_number("end", end, least=1)
    top = max(warm * steps - 1, 1e-9)
    rest = max(steps - 1 - top, 1e-9)

    def rate(step: Any) -> Any:
        up = lr / start + (lr - lr / start) * (1 - np.cos(np.pi * np.clip(step / top, 0, 1))) / 2
        low = lr / start / end
        down = low + (lr - low) * (1 + np.cos(np.pi * np.clip((step - top) / rest, 0, 1))) / 2
        return np.where(step <= top, up, down)

    return Vectorized("one_cycle", rate, lr=lr, steps=steps, warm=warm, start=start, end=end)


SCHEDULES: dict[str, Callable[..., Schedule]] = {
    function.__name__: function for function in (constant, step, exponential, cosine, warm_up, one_cycle)
}


# ---- a schedule of the loss --------------------------------------------------------------------------------------


class ReduceOnPlateau:
    """A rate that is multiplied by `factor` whenever the loss has not improved for `patience` epochs.

    After each epoch, `fit` passes it the loss on the validation data, or without such data the training loss.

    Parameters
    ----------
    lr : float
        The first rate, above 0.
    factor : float
        Above 0 and below 1.
    patience : int
        At least 1.
    least : float
        The lower bound of the rate, at least 0.
    threshold : float
        The least improvement that counts, as a share of the best loss; in [0, 1). The default is PyTorch's.
    cooldown : int
        The number of epochs after a reduction that are not counted, at least 0.

    Raises
    ------
    ValueError, TypeError
        If a value is out of its range, or of the wrong type.
    """

    def __init__(
        self,
        lr: float,
        factor: float = 0.1,
        patience: int = 10,
        least: float = 0.0,
        threshold: float = 1e-4,
        cooldown: int = 0,
    ):
        self.rate: float = _python_number("lr", lr, above=0)
        self.factor: float = _python_number("factor", factor, above=0, below=1)
        self.patience: int = whole("patience", patience)
        self.least: float = _python_number("least", least, least=0)
        self.threshold: float = _python_number("threshold", threshold, least=0, below=1)
        self.cooldown: int = whole("cooldown", cooldown, least=0)
        self.best: float = np.inf
        self.waited: int = 0
        self.cooling: int = 0  # epochs that are still not counted

    def __call__(self, step: Any) -> Any:
        return self.rate

    def observe(self, loss: float) -> None:
        """Take an epoch's loss into account."""
        improved = loss < self.best and (np.isinf(self.best) or self.best - loss > self.threshold * abs(self.best))
        if improved:
            self.best, self.waited = loss, 0
        if self.cooling:
            self.cooling, self.waited = self.cooling - 1, 0
        elif not improved:
            self.waited += 1
        if self.waited >= self.patience:
            self.rate = max(self.rate * self.factor, min(self.least, self.rate))
            self.waited, self.cooling = 0, self.cooldown

    @property
    def epochs_left(self) -> int:
        """After how many epochs the rate may change at the earliest."""
        return self.cooling + self.patience - (0 if self.cooling else self.waited)

    def __repr__(self) -> str:
        return f"ReduceOnPlateau(lr={self.rate:g}, factor={self.factor:g}, patience={self.patience})"


# ---- learning rates in files -------------------------------------------------------------------------------------

PLATEAU_SETTINGS = ("factor", "patience", "least", "threshold", "cooldown")
PLATEAU_STATE = ("rate", "best", "waited", "cooling")
# Of files before these settings existed: every improvement counted, and there was no cooldown.
PLATEAU_BEFORE: dict[str, float] = {"threshold": 0.0, "cooldown": 0, "cooling": 0}


def described(lr: Any) -> Any:
    """Return a learning rate or a schedule of this module as numbers, strings and dictionaries.

    Raises
    ------
    ValueError
        If it is any other callable, whose code cannot be stored.
    """
    if type(lr) is ReduceOnPlateau:
        fields = PLATEAU_STATE + PLATEAU_SETTINGS
        return {"schedule": "ReduceOnPlateau", **{name: getattr(lr, name) for name in fields}}
    if isinstance(lr, Vectorized):
        return {
            "schedule": lr.name,
            "settings": {name: described(value) for name, value in lr.settings.items()},
        }
    if callable(lr):
        raise ValueError(f"the schedule {lr!r} is a function, which is not saved. Use one of fastprop.schedules.")
    return lr


def same(one: Any, other: Any) -> bool:
    """Return whether two learning rates or schedules have the same settings, wherever plateaus have brought them."""
    if type(one) is type(other) is ReduceOnPlateau:
        return all(getattr(one, name) == getattr(other, name) for name in PLATEAU_SETTINGS)
    if isinstance(one, Vectorized) and isinstance(other, Vectorized):
        settings = one.settings.keys() | other.settings.keys()
        return one.name == other.name and all(same(one.settings.get(k), other.settings.get(k)) for k in settings)
    return bool(one == other)


def restored(description: Any, depth: int = 0) -> Any:
    """Return the learning rate or schedule of a description by :func:`described`, which may come from any file.

    Raises
    ------
    ValueError, TypeError, KeyError
        If it is not the description of a schedule.
    """
    if not isinstance(description, Mapping):
        return description
    name = description["schedule"]
    if name == "ReduceOnPlateau":
        return _restored_plateau(description)
    if depth > MOST_DEPTH:
        raise ValueError(f"it has more than {MOST_DEPTH} schedules in schedules.")
    if name not in SCHEDULES:
        raise ValueError(f"its schedule is {name!r}; it must be one of {', '.join(SCHEDULES)}, or ReduceOnPlateau.")
    return made(name, {key: restored(value, depth + 1) for key, value in description["settings"].items()})


def _restored_plateau(description: Mapping[str, Any]) -> ReduceOnPlateau:
    given = PLATEAU_BEFORE | dict(description)
    if type(given["patience"]) is float and given["patience"].is_integer():  # which was accepted once
        given["patience"] = int(given["patience"])
    settings: dict[str, Any] = {name: given[name] for name in PLATEAU_SETTINGS}
    plateau = ReduceOnPlateau(1.0, **settings)
    plateau.rate = number("rate", given["rate"], least=0)  # 0 if it fell below all floats
    plateau.best = given["best"]
    if type(plateau.best) not in (int, float) or math.isnan(plateau.best):
        raise ValueError(f"best is {plateau.best!r}; it must be a number.")
    plateau.waited = whole("waited", given["waited"], 0, 2**53)
    plateau.cooling = whole("cooling", given["cooling"], 0, 2**53)
    return plateau
