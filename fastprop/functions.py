"""What activations and losses have in common: checked when made, and compiled from expressions into routines."""

import hashlib
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .kernels import elementwise, simd
from .kernels.jit import Routine, routine
from .symbolic import Expression, trace

# Where a derivative is looked at: no round numbers, since a function may have kinks there.
POINTS = np.sort(np.concatenate([np.linspace(-4.03, 4.07, 37), np.linspace(0.013, 0.987, 13)]))
EPSILON, TOLERANCE = 1e-6, 1e-4


def expression_of(what: str, function: Any, arguments: Sequence[str]) -> Expression:
    """A scalar function as an expression, or an error that says which function and what is wrong with it."""
    if not callable(function):
        raise TypeError(f"{what} is {function!r}; it must be a function of {len(arguments)} numbers.")
    try:
        return trace(function, arguments)
    except (TypeError, ValueError) as error:
        raise type(error)(f"{what} cannot be compiled into the kernels: {error}") from error


def check_derivative(what: str, f: Callable[..., float], df: Callable[..., float], *others: float) -> None:
    """Hold df against central differences of f in its first argument; `others` are the rest.

    Raises
    ------
    ValueError
        If they differ, at the point where they differ most.
    """
    slopes, given, where = [], [], []
    for x in POINTS.tolist():
        try:
            slope = (f(x + EPSILON, *others) - f(x - EPSILON, *others)) / (2 * EPSILON)
            value = df(x, *others)
        except (ValueError, OverflowError, ZeroDivisionError):
            continue  # outside of its domain
        if math.isfinite(slope):
            slopes.append(slope)
            given.append(value)
            where.append(x)
    if len(where) < len(POINTS) // 5:
        raise ValueError(f"{what}: f is finite at {len(where)} of {len(POINTS)} points in [-4, 4]; there must be more.")
    errors = np.abs(np.subtract(given, slopes)) / np.maximum(1, np.abs(slopes))
    worst = int(np.argmax(np.where(np.isnan(errors), np.inf, errors)))
    if not errors[worst] <= TOLERANCE:
        at = ", ".join(f"{x:g}" for x in (where[worst], *others))
        raise ValueError(
            f"{what}: df({at}) is {given[worst]:.7g}, but the central difference of f there is {slopes[worst]:.7g}. "
            f"df must be the derivative of f{' by its first argument' if others else ''}."
        )


def compiled(name: str, signature: Any, source: str) -> Routine:
    """A routine of generated source, which names its function ``NAME``.

    It is kept in the cache like a routine of `kernels.elementwise`, under a name that the source determines.
    """
    name = f"{name}_{hashlib.sha256(source.encode()).hexdigest()[:16]}"
    names = {**vars(simd), **vars(elementwise)}
    exec(compile(source.replace("NAME", name), elementwise.__file__, "exec"), names)
    return routine(signature)(names[name])


def indented(lines: Sequence[str], depth: int) -> str:
    """Lines of a body, so many levels deep."""
    return "".join(f"{'    ' * depth}{line}\n" for line in lines)
