"""What activations and losses are: functions with a derivative, checked when made, compiled from expressions."""

import hashlib
import math
import unicodedata
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any, ClassVar, Self

import numpy as np

from .kernels import elementwise, simd
from .kernels.jit import Routine, routine
from .symbolic import Expression, trace

# Where a derivative is looked at: no round numbers, since a function may have kinks there.
POINTS = np.sort(np.concatenate([np.linspace(-4.03, 4.07, 37), np.linspace(0.013, 0.987, 13)]))
EPSILON, TOLERANCE = 1e-6, 1e-4


class Function:
    """A scalar function of a name and its derivative by its first argument; what it is of, the subclass says.

    Those that are built in are found by their names: in errors, in pickles, and in the settings of a network.
    """

    arguments: ClassVar[tuple[str, ...]]
    others: ClassVar[tuple[tuple[float, ...], ...]]  # values of the arguments after the first, to check df with
    example: ClassVar[str]  # of a name
    built_in: ClassVar[dict[str, Any]]

    def __init__(self, name: str, f: Callable[..., float], df: Callable[..., float]):
        if not isinstance(name, str) or not name.isidentifier():
            raise ValueError(f"name is {name!r}; it must be a name as Python's are, such as {self.example!r}.")
        name = unicodedata.normalize("NFKC", name)  # as Python reads names: a ligature ﬁ is f and i
        if name in self.built_in:
            raise ValueError(f"name is {name!r}, which is built in. Choose another.")
        self.name, self.f, self.df = name, f, df
        self.value, self.slope  # noqa: B018 (that both can be compiled)
        for others in self.others:
            check_derivative(name, f, df, *others)

    @classmethod
    def add(cls, name: str, f: Any, df: Any) -> Self:
        """Build one in."""
        function = cls.built_in[name] = cls.__new__(cls)
        function.name, function.f, function.df = name, f, df
        return function

    @property
    def label(self) -> "str | Self":
        """The name of one that is built in; another itself."""
        return self.name if self.built_in.get(self.name) is self else self

    @cached_property
    def value(self) -> Expression:
        """f as an expression of its arguments."""
        return expression_of(f"f of {self.name}", self.f, self.arguments)

    @cached_property
    def slope(self) -> Expression:
        """df as an expression of its arguments."""
        return expression_of(f"df of {self.name}", self.df, self.arguments)

    def __call__(self, *arrays: np.ndarray, deriv: bool = False) -> np.ndarray:
        """The function of each element, or with `deriv` its derivative, in NumPy and any float dtype."""
        values = (self.slope if deriv else self.value).evaluate(**dict(zip(self.arguments, arrays, strict=True)))
        return np.broadcast_to(values, np.shape(arrays[0])).astype(np.asarray(arrays[0]).dtype)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r})"

    def __deepcopy__(self, memo: Any) -> Self:
        return self  # nothing in it changes

    def __reduce__(self) -> Any:
        if self.label is self:
            return type(self), (self.name, self.f, self.df)
        return _find, (type(self), self.name)


def _find(kind: type[Function], name: str) -> Function:
    return kind.built_in[name]


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
