"""The common base of activations and losses: a scalar function with its derivative, checked and compiled."""

import hashlib
import math
import re
import unicodedata
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any, ClassVar, Self

import numpy as np

from ..kernels import elementwise, functions, simd
from ..kernels.jit import Routine, routine
from .derivative import derivative
from .symbolic import Expression, trace

# Points at which a derivative is checked. None of them is a round number, since functions often have kinks there.
POINTS = np.sort(np.concatenate([np.linspace(-4.03, 4.07, 37), np.linspace(0.013, 0.987, 13)]))
FAR = np.array([-1e3, -100, -10, 10, 100, 1e3], np.float32)
EPSILON, TOLERANCE = 1e-6, 1e-4


class Function:
    """A named scalar function and its derivative by its first argument.

    Built-in functions are identified by their names: in errors, in pickles, and in the settings of a network.
    """

    arguments: ClassVar[tuple[str, ...]]
    others: ClassVar[tuple[tuple[float, ...], ...]]  # values of the arguments after the first, at which df is checked
    example: ClassVar[str]  # a name for an error message
    built_in: ClassVar[dict[str, Any]]

    points: np.ndarray = POINTS  # of the first argument, at which the derivative is checked
    far: np.ndarray = FAR  # where it must not overflow

    def __init__(self, name: str, f: Callable[..., float], df: Callable[..., float] | None = None):
        if not isinstance(name, str) or not name.isidentifier():
            raise ValueError(f"name is {name!r}; it must be a valid Python identifier, such as {self.example!r}.")
        name = unicodedata.normalize("NFKC", name)  # Python normalizes identifiers so: the ligature ﬁ becomes f and i
        if name in self.built_in:
            raise ValueError(f"name is {name!r}, which is built in. Choose another.")
        self.name: str = name
        self.f: Callable[..., float] = f
        self.df: Callable[..., float] | None = df
        self.value, self.slope  # noqa: B018 (raises if one of them cannot be compiled)
        for others in self.others:
            check_derivative(name, f, df or self._slope_at, *others, points=self.points)
        if df is None:
            self._check_far()

    @classmethod
    def unchecked(cls, name: str, f: Any, df: Any, **attributes: Any) -> Self:
        """Make a function whose df is known to be right; `attributes` replace the defaults of the class."""
        function = cls.__new__(cls)
        vars(function).update(name=name, f=f, df=df, **attributes)
        return function

    @classmethod
    def add(cls, name: str, f: Any, df: Any, **attributes: Any) -> None:
        """Register a built-in function, as :meth:`unchecked` makes it."""
        cls.built_in[name] = cls.unchecked(name, f, df, **attributes)

    @property
    def label(self) -> "str | Self":
        """The name of a built-in function; a custom function itself."""
        return self.name if self.built_in.get(self.name) is self else self

    @cached_property
    def value(self) -> Expression:
        """f as an expression of its arguments."""
        return expression_of(f"f of {self.name}", self.f, self.arguments)

    @cached_property
    def slope(self) -> Expression:
        """df as an expression of its arguments; without df, f differentiated symbolically."""
        if self.df is not None:
            return expression_of(f"df of {self.name}", self.df, self.arguments)
        try:
            return derivative(self.value, self.arguments[0])
        except TypeError as error:
            raise TypeError(f"{self.name}: {error}") from error

    def _slope_at(self, *values: float) -> float:
        return float(self.slope.evaluate(**dict(zip(self.arguments, values, strict=True))))

    def _check_far(self) -> None:
        """Raise a ValueError if the derivative of f, in float32, is not finite at a distant point where f is."""
        for others in self.others:
            arguments = dict(zip(self.arguments, (self.far, *map(np.float32, others)), strict=True))
            f, df = (np.broadcast_to(e.evaluate(**arguments), self.far.shape) for e in (self.value, self.slope))
            for x in self.far[np.isfinite(f) & ~np.isfinite(df)]:
                raise ValueError(
                    f"{self.name}: at {x:g} f is finite, but its derivative overflows as it follows from f. Give df in "
                    f"a form that does not overflow."
                )

    def __call__(self, *arrays: np.ndarray, deriv: bool = False) -> np.ndarray:
        """Evaluate the function, or with `deriv` its derivative, on each element in NumPy, in any float dtype."""
        values = (self.slope if deriv else self.value).evaluate(**dict(zip(self.arguments, arrays, strict=True)))
        return np.broadcast_to(values, np.shape(arrays[0])).astype(np.asarray(arrays[0]).dtype)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!a})"

    def __deepcopy__(self, memo: Any) -> Self:
        return self  # functions are immutable

    def __reduce__(self) -> Any:
        if self.label is self:
            return type(self), (self.name, self.f, self.df)
        return find, (type(self), self.name)


def find(kind: type[Function], name: str) -> Function:
    """Return a built-in function by its name; pickles refer to it so."""
    return kind.built_in[name]


def expression_of(what: str, function: Any, arguments: Sequence[str]) -> Expression:
    """Trace a scalar function to an expression; an error says which function cannot be traced and why."""
    if not callable(function):
        raise TypeError(f"{what} is {function!r}; it must be a function of {len(arguments)} numbers.")
    try:
        return trace(function, arguments)
    except (TypeError, ValueError) as error:
        raise type(error)(f"{what} cannot be compiled into the kernels: {error}") from error


def check_derivative(
    what: str, f: Callable[..., float], df: Callable[..., float], *others: float, points: np.ndarray = POINTS
) -> None:
    """Compare df with central differences of f by its first argument, at some points; `others` are the others.

    Raises
    ------
    ValueError
        If they differ; the message names the point at which they differ most.
    """
    slopes, given, where = [], [], []
    for x in points.tolist():
        try:
            slope = (f(x + EPSILON, *others) - f(x - EPSILON, *others)) / (2 * EPSILON)
            value = df(x, *others)
        except (ValueError, OverflowError, ZeroDivisionError):
            continue  # x lies outside the domain of f
        if not isinstance(slope, complex) and math.isfinite(slope):
            slopes.append(slope)
            given.append(value)
            where.append(x)
    if len(where) < len(points) // 5:
        span = f"[{points[0]:.0f}, {points[-1]:.0f}]"
        raise ValueError(f"{what}: f is finite at {len(where)} of {len(points)} points in {span}; there must be more.")
    errors = np.abs(np.subtract(given, slopes)) / np.maximum(1, np.abs(slopes))
    worst = int(np.argmax(np.where(np.isnan(errors), np.inf, errors)))
    if not errors[worst] <= TOLERANCE:
        at = ", ".join(f"{x:g}" for x in (where[worst], *others))
        raise ValueError(
            f"{what}: df({at}) is {given[worst]:.7g}, but the central difference of f there is {slopes[worst]:.7g}. "
            f"df must be the derivative of f{' by its first argument' if others else ''}."
        )


def compiled(name: str, signature: Any, template: str, **parts: str | list[str]) -> Routine:
    """Return a routine whose source is a template of :func:`filled`; the template calls its function ``NAME``.

    The source is compiled under the file name of `kernels.elementwise`, because Numba caches only functions whose file
    exists. The function's own name contains a digest of its source, so that a cached routine is never another one's.
    """
    source = filled(template, parts)
    name = f"{name}_{hashlib.sha256(source.encode()).hexdigest()[:16]}"
    names = {**vars(simd), **vars(elementwise), **vars(functions)}
    exec(compile(source.replace("NAME", name), elementwise.__file__, "exec"), names)
    return routine(signature)(names[name])


def filled(template: str, parts: dict[str, str | list[str]]) -> str:
    """Fill in a template: a word by its text, and a line that consists of one word by a list of lines."""
    lines = []
    for line in template.strip("\n").splitlines():
        part = parts.get(line.strip())
        if isinstance(part, list):
            indentation = line[: len(line) - len(line.lstrip())]
            lines += [indentation + inserted for inserted in part]
        else:
            lines.append(re.sub(r"\b[A-Z]{2,}\b", lambda word: str(parts.get(word[0], word[0])), line))
    return "\n".join(lines) + "\n"
