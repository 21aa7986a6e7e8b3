"""Argument validation of numbers, choices, flags and generators.

Every message names the value, the rule and the remedy. Arrays are checked in :mod:`fastprop.core.arrays`.
"""

import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from .kernels.scan import FLOAT32_MAX


def number(
    name: str,
    value: Any,
    *,
    above: float | None = None,
    least: float | None = None,
    below: float | None = None,
    most: float | None = None,
) -> float:
    """Return `value` as a float that lies within its bounds and within the range of float32."""
    if isinstance(value, bool | np.bool_ | str | bytes | np.complexfloating):
        raise TypeError(f"{name} is {value!r}; it must be a number.")
    try:
        result = float(value)
    except (TypeError, ValueError, OverflowError):
        raise TypeError(f"{name} is {value!r}; it must be a number.") from None
    rules = [
        ("above", above, operator.gt),
        ("at least", least, operator.ge),
        ("below", below, operator.lt),
        ("at most", most, operator.le),
    ]
    bounds = [(text, bound, holds) for text, bound, holds in rules if bound is not None]
    if not abs(result) <= FLOAT32_MAX or not all(holds(result, bound) for _, bound, holds in bounds):
        rule = " and ".join(f"{text} {bound:g}" for text, bound, _ in bounds)
        finite = "finite in float32" if FLOAT32_MAX < abs(result) < np.inf else "finite"
        raise ValueError(f"{name} is {value!r}; it must be {finite}{', ' + rule if rule else ''}.")
    return result


def whole(name: str, value: Any, least: int = 1, most: int | None = None) -> int:
    """Return `value` as an integer within its bounds."""
    if isinstance(value, bool | np.bool_):
        raise TypeError(f"{name} is {value!r}; it must be a whole number.")
    try:
        result = operator.index(value)
    except TypeError:
        raise TypeError(f"{name} is {value!r}; it must be a whole number.") from None
    if result < least or (most is not None and result > most):
        upper = f" and at most {most}" if most is not None else ""
        raise ValueError(f"{name} is {result}; it must be at least {least}{upper}.")
    return result


def flag(name: str, value: Any) -> bool:
    """Return `value`, which must be True or False."""
    if not isinstance(value, bool | np.bool_):
        raise TypeError(f"{name} is {value!r}; it must be True or False.")
    return bool(value)


def choice(name: str, value: Any, among: Sequence[str], other: str = "") -> str:
    """Return `value`, which must be one of the names in `among`; `other` describes what else is accepted elsewhere."""
    if not isinstance(value, str):
        raise TypeError(f"{name} is {value!r}; it must be one of {', '.join(among)}{other and f', or {other}'}.")
    if value not in among:
        raise ValueError(f"{name} is {value!r}; it must be one of {', '.join(among)}.")
    return value


def generator(rng: Any) -> np.random.Generator:
    """Return `rng` itself if it is a generator, or a new one from a seed or from None."""
    if isinstance(rng, np.random.Generator):
        return rng
    if rng is None:
        return np.random.default_rng()
    try:
        return np.random.default_rng(whole("rng", rng, least=0))
    except TypeError:
        raise TypeError(f"rng is {rng!r}; it must be a seed (a whole number), a numpy Generator, or None.") from None
