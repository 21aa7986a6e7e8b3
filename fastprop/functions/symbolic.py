"""Symbolic tracing: a scalar Python function becomes an expression that is compiled into vector code.

The function is called with symbols in place of numbers, which record every operation on them. If the function branches
on a comparison, as in ``z if z > 0 else 0.1 * z``, it is called once for each outcome, and the two results are joined
by a select. So a function may use arithmetic, comparisons and the functions of `FUNCTIONS` and `COMPOSED`, from
:mod:`math` or from NumPy, and loops whose length does not depend on a symbol.
"""

import functools
import itertools
import math
import operator
import threading
import types
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

# Name in math: name in the kernels (fastprop/kernels/elementwise.py, functions.py, simd.py).
FUNCTIONS = {
    name: name
    for name in (
        "exp", "expm1", "log", "log1p", "tanh", "sqrt", "erf", "exp2", "log2", "log10", "cbrt", "sin", "cos", "tan",
        "asin", "acos", "atan", "atan2", "sinh", "cosh", "asinh", "acosh", "atanh", "hypot", "erfc", "gamma", "lgamma",
        "floor", "ceil", "trunc", "copysign", "fmod",
    )
} | {"fabs": "absolute", "rint": "nearest"}  # fmt: skip
# NumPy's name: the operator in the kernels.
_ARITHMETIC = {"add": "+", "subtract": "-", "multiply": "*", "divide": "/"}
COMPARISONS = {
    "less": "<", "greater": ">", "less_equal": "<=", "greater_equal": ">=", "equal": "==", "not_equal": "!=",
}  # fmt: skip
# NumPy's name, if it is another one.
_ALIASES = {
    "absolute": "fabs", "true_divide": "divide", "arcsin": "asin", "arccos": "acos", "arctan": "atan",
    "arctan2": "atan2", "arcsinh": "asinh", "arccosh": "acosh", "arctanh": "atanh",
}  # fmt: skip


def _elementwise(function: Callable[[float], float]) -> Callable[[Any], Any]:
    """Make a function of math one of arrays: infinity where it overflows, NaN where it is not defined."""

    def of(x: float) -> float:
        try:
            return function(x)
        except OverflowError:
            return math.inf
        except ValueError:
            return math.nan

    return np.vectorize(of, otypes=[float])


def _gamma(x: float) -> float:
    return math.copysign(math.inf, x) if x == 0 else math.gamma(x)


def _lgamma(x: float) -> float:
    return math.inf if x <= 0 and x == math.floor(x) else math.lgamma(x)


# Functions that NumPy does not have.
_EVALUATED: dict[str, Callable[..., Any]] = {
    "erf": _elementwise(math.erf), "erfc": _elementwise(math.erfc),
    "gamma": _elementwise(_gamma), "lgamma": _elementwise(_lgamma),
} | {ours: getattr(np, theirs) for theirs, ours in _ALIASES.items()}  # fmt: skip
MOST_PRODUCTS = 16  # the largest whole power that is expanded into products
MOST_BRANCHES = 64

_numbers: dict[tuple[Any, ...], int] = {}
_next_number = itertools.count()


class Expression(np.lib.mixins.NDArrayOperatorsMixin):
    """A number, an argument, or an operation on expressions.

    Attributes
    ----------
    op : str
    args : tuple
        Expressions; or a number, or the name of an argument.
    number : int
        Equal for two expressions if and only if they are the same.
    """

    __slots__ = ("args", "number", "op")
    op: str
    args: tuple[Any, ...]
    number: int

    def __init__(self, op: str, *args: Any):
        self.op, self.args = op, args
        key = (op, *(a.number if isinstance(a, Expression) else repr(a) for a in args))
        self.number = _numbers.setdefault(key, next(_next_number))

    # ---- operations that a function may apply: NumPy's mixin turns operators into the ufuncs below

    def __bool__(self) -> bool:
        if self.op not in COMPARISONS:
            return bool(self != 0.0)
        if _is_constant(self):
            return bool(self.evaluate())
        for condition, answer in _answers.given:
            if condition.number == self.number:
                return answer
        raise _Undecided(self)

    def __float__(self) -> float:
        raise _refusal("a symbol was passed to a function that does not take one")

    def __int__(self) -> int:
        return int(float(self))

    def __index__(self) -> int:
        return int(float(self))

    def __floor__(self) -> "Expression":
        return Expression("floor", self)

    def __ceil__(self) -> "Expression":
        return Expression("ceil", self)

    def __trunc__(self) -> "Expression":
        return Expression("trunc", self)

    def __round__(self, digits: int | None = None) -> "Expression":
        if digits:
            raise _refusal("round was called with a number of digits")
        return Expression("rint", self)

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        name = _ALIASES.get(ufunc.__name__, ufunc.__name__)
        if all(isinstance(out, Expression) for out in options.get("out", ())):
            options.pop("out", None)  # total += z binds the name to the result of this call
        if method == "__call__" and not options:
            if name in FUNCTIONS or name in _ARITHMETIC or name in COMPARISONS:
                return operation(name, *inputs)
            if name in _NUMPY:
                return _NUMPY[name](*inputs)
        raise _refusal(f"np.{ufunc.__name__} was called in a way that is not supported")

    def __array_function__(self, function: Any, types: Any, args: Any, options: Any) -> Any:
        if function in _ARRAY_FUNCTIONS and not options:
            return _ARRAY_FUNCTIONS[function](*args)
        raise _refusal(f"np.{function.__name__} was called in a way that is not supported")

    # ---- traversal and evaluation

    def nodes(self) -> "Iterator[Expression]":
        """Yield every distinct subexpression once, arguments before the operations on them."""
        seen: set[int] = set()

        def of(node: Expression) -> Iterator[Expression]:
            if node.number not in seen:
                seen.add(node.number)
                for a in node.args:
                    if isinstance(a, Expression):
                        yield from of(a)
                yield node

        yield from of(self)

    def evaluate(self, **arguments: Any) -> Any:
        """Compute the value in NumPy, with arrays in place of the arguments."""
        values: dict[int, Any] = {}
        with np.errstate(all="ignore"):  # both sides of a select are computed, and one of them is used
            for node in self.nodes():
                if node.op == "argument":
                    values[node.number] = arguments[node.args[0]]
                elif node.op == "number":
                    values[node.number] = node.args[0]
                else:
                    function = _EVALUATED.get(node.op) or getattr(np, node.op)
                    values[node.number] = function(*(values[a.number] for a in node.args))
        return values[self.number]


def _refusal(reason: str) -> TypeError:
    names = ", ".join(dict.fromkeys([*FUNCTIONS, *COMPOSED]))
    return TypeError(
        f"{reason}. What can be compiled is arithmetic, comparisons, abs, min, max and round, and from math or NumPy "
        f"{names}, and np.where, np.clip, np.maximum, np.minimum and np.sign."
    )


# ---- functions that are written with others ----------------------------------------------------------------------


def _larger(a: Any, b: Any) -> Expression:
    a, b = as_expression(a), as_expression(b)
    return choice(a < b, b, a)


def _smaller(a: Any, b: Any) -> Expression:
    a, b = as_expression(a), as_expression(b)
    return choice(a > b, b, a)


def _sign(a: Expression) -> Expression:
    return choice(a > 0, 1.0, choice(a < 0, -1.0, 0.0))


def _power(a: Any, b: Any) -> Expression:
    """Return a**b as products, as a square root, or by exp and log."""
    a, b = as_expression(a), as_expression(b)
    if a.op == "number":
        return Expression("exp", math.log(a.args[0]) * b)
    exponent = b.args[0] if b.op == "number" else math.nan
    if exponent == 0.5:
        return Expression("sqrt", a)
    if not abs(exponent) <= MOST_PRODUCTS or exponent != int(exponent):
        return Expression("exp", b * Expression("log", a))
    product: Any = 1.0
    for _ in range(abs(int(exponent))):
        product = product * a
    return as_expression(product if exponent >= 0 else 1.0 / product)


def _log(a: Any, base: Any = None) -> Any:
    return operation("log", a) if base is None else operation("log", a) / operation("log", base)


def _hypot(*sides: Any) -> Any:
    return functools.reduce(lambda a, b: operation("hypot", a, b), sides) if len(sides) > 1 else abs(sides[0])


def _remainder(a: Any, b: Any) -> Expression:
    """Return a − b·n for the integer n nearest to a/b, the even one of two: IEEE 754's remainder."""
    divisor = abs(as_expression(b))
    rest = operation("fmod", abs(as_expression(a)), divisor + divisor)
    once = rest - divisor
    nearer = choice(rest + rest > divisor, choice(once + once >= divisor, once - divisor, once), rest)
    return choice(as_expression(a) < 0, 0.0 - nearer, nearer)


def _modulo(a: Any, b: Any) -> Expression:
    """Return a − b·⌊a/b⌋, Python's a % b."""
    rest, divisor = operation("fmod", a, b), as_expression(b)
    shifted = choice(divisor < 0, choice(rest > 0, rest + divisor, rest), choice(rest < 0, rest + divisor, rest))
    return choice(shifted == 0, operation("copysign", 0.0, b), shifted)


def _quotient(a: Any, b: Any) -> Expression:
    return operation("rint", (as_expression(a) - _modulo(a, b)) / b)


def _modf(a: Any) -> tuple[Any, Any]:
    return a - operation("trunc", a), operation("trunc", a)


def _logaddexp(a: Any, b: Any) -> Expression:
    return _larger(a, b) + operation("log1p", operation("exp", 0.0 - abs(as_expression(a) - b)))


def _sinc(a: Any) -> Expression:
    x = math.pi * as_expression(a)
    return choice(x == 0, 1.0, operation("sin", x) / x)


def _and(a: Any, b: Any) -> Expression:
    return choice(a, choice(b, 1.0, 0.0), 0.0) != 0.0


def _or(a: Any, b: Any) -> Expression:
    return choice(a, 1.0, choice(b, 1.0, 0.0)) != 0.0


def _not(a: Any) -> Expression:
    return choice(a, 0.0, 1.0) != 0.0


# Name in math: the function, on symbols and numbers.
COMPOSED: dict[str, Callable[..., Any]] = {
    "pow": operator.pow,
    "log": _log,
    "hypot": _hypot,
    "dist": lambda p, q: _hypot(*(a - b for a, b in zip(p, q, strict=True))),
    "remainder": _remainder,
    "modf": _modf,
    "ldexp": lambda a, n: a * (operation("exp2", n) if isinstance(n, Expression) else 2.0**n),
    "fma": lambda a, b, c: a * b + c,
    "fsum": sum,
    "sumprod": lambda p, q: sum(a * b for a, b in zip(p, q, strict=True)),
    "prod": lambda factors, start=1: functools.reduce(operator.mul, factors, start),
    "degrees": lambda a: a * (180 / math.pi),
    "radians": lambda a: a * (math.pi / 180),
    "isnan": lambda a: a != a,
    "isinf": lambda a: abs(a) == math.inf,
    "isfinite": lambda a: abs(a) < math.inf,
}
# Other ufuncs of NumPy, written with the operations above. NumPy's remainder is Python's %, unlike that of math.
_NUMPY: dict[str, Callable[..., Any]] = {
    "negative": lambda a: 0.0 - a,
    "positive": lambda a: a,
    "square": lambda a: a * a,
    "reciprocal": lambda a: 1.0 / a,
    "power": _power,
    "float_power": _power,
    "maximum": _larger,
    "minimum": _smaller,
    "sign": _sign,
    "remainder": _modulo,
    "floor_divide": _quotient,
    "divmod": lambda a, b: (_quotient(a, b), _modulo(a, b)),
    "rad2deg": COMPOSED["degrees"],
    "deg2rad": COMPOSED["radians"],
    "logaddexp": _logaddexp,
    "heaviside": lambda a, at_zero: choice(a > 0, 1.0, choice(a < 0, 0.0, choice(a == 0, at_zero, a))),
    "signbit": lambda a: operation("copysign", 1.0, a) < 0,
    "logical_and": _and,
    "logical_or": _or,
    "logical_not": _not,
    "bitwise_and": _and,
    "bitwise_or": _or,
    "invert": _not,
    **{name: COMPOSED[name] for name in ("modf", "ldexp", "degrees", "radians", "isnan", "isinf", "isfinite")},
}
# Functions of NumPy that are not ufuncs.
_ARRAY_FUNCTIONS: dict[Any, Callable[..., Any]] = {
    np.where: lambda condition, a, b: choice(condition, a, b),
    np.clip: lambda a, low, high: _smaller(_larger(a, low), high),
    np.round: round,
    np.around: round,
    np.sinc: _sinc,
}


def operation(name: str, *args: Any) -> Expression:
    """Return an operation on expressions and numbers; one on numbers alone is computed."""
    result = Expression(name, *map(as_expression, args))
    return as_expression(result.evaluate()) if _is_constant(result) and name not in COMPARISONS else result


def _is_constant(operation: Expression) -> bool:
    return all(isinstance(a, Expression) and a.op == "number" for a in operation.args)


def as_expression(value: Any) -> Expression:
    """Return a number or an expression as an expression of numbers: a comparison becomes 1 or 0."""
    if not isinstance(value, Expression):
        return Expression("number", float(value))
    return choice(value, 1.0, 0.0) if value.op in COMPARISONS else value


def choice(condition: Any, a: Any, b: Any) -> Expression:
    """Return a where the condition, a comparison or a number, is true, b elsewhere."""
    a, b = as_expression(a), as_expression(b)
    if a.number == b.number:
        return a
    if not isinstance(condition, Expression):
        return a if condition else b
    if condition.op not in COMPARISONS:
        condition = condition != 0.0
    if _is_constant(condition):
        return a if condition else b
    return Expression("where", condition, a, b)


class _Undecided(BaseException):
    """The traced function branches on a comparison whose outcome has not been chosen yet."""

    def __init__(self, condition: Expression):
        self.condition = condition


class _Answers(threading.local):
    """The outcomes chosen so far for the comparisons on which the traced function branches."""

    def __init__(self) -> None:
        self.given: list[tuple[Expression, bool]] = []


_answers = _Answers()


def trace(function: Callable[..., Any], arguments: Sequence[str]) -> Expression:
    """Return the expression that a function computes from symbols of these names.

    Raises
    ------
    TypeError
        If the function does anything that cannot be compiled into the kernels.
    ValueError
        If it has too many branches.
    """
    symbols = [Expression("argument", name) for name in arguments]
    traced = _with_traced_functions(function, {})
    leaves = 0

    def explore() -> Expression:
        nonlocal leaves
        if len(_answers.given) > MOST_BRANCHES:
            raise ValueError(f"it branches more than {MOST_BRANCHES} times in a row. Is there a loop?")
        try:
            result = traced(*symbols)
        except _Undecided as undecided:
            condition = undecided.condition
        else:
            leaves += 1
            if leaves > MOST_BRANCHES:
                raise ValueError(f"it has more than {MOST_BRANCHES} cases. Write it with fewer comparisons.")
            if not isinstance(result, Expression | int | float | np.number):
                raise TypeError(f"it returned a {type(result).__name__}; it must return a number.")
            return as_expression(result)
        results = []
        for answer in (True, False):
            _answers.given.append((condition, answer))
            try:
                results.append(explore())
            finally:
                _answers.given.pop()
        return choice(condition, *results)

    return explore()


def _with_traced_functions(function: Any, done: dict[int, Any]) -> Any:
    """Copy a function with those of :mod:`math` replaced by symbolic ones, also in the functions that it calls."""
    function = getattr(function, "py_func", function)  # the Python function behind a Numba-compiled one
    if id(function) in done:
        return done[id(function)]
    if not isinstance(function, types.FunctionType):
        return _replacement(function, done)
    names = dict(function.__globals__)
    cells = tuple(types.CellType() for _ in function.__closure__ or ())
    copy = types.FunctionType(function.__code__, names, function.__name__, None, cells or None)
    done[id(function)] = copy
    copy.__defaults__ = tuple(_replacement(value, done) for value in function.__defaults__ or ())
    copy.__kwdefaults__ = {name: _replacement(value, done) for name, value in (function.__kwdefaults__ or {}).items()}
    for name in _names_in(function.__code__):
        if name in names:
            names[name] = _replacement(names[name], done)
    for cell, original in zip(cells, function.__closure__ or (), strict=True):
        cell.cell_contents = _replacement(original.cell_contents, done)
    return copy


def _names_in(code: types.CodeType) -> set[str]:
    """Return the names that a function and the functions nested in it look up."""
    within = (_names_in(constant) for constant in code.co_consts if isinstance(constant, types.CodeType))
    return set(code.co_names).union(*within)


def _replacement(value: Any, done: dict[int, Any]) -> Any:
    if value is math:
        return _Math()
    name = getattr(value, "__name__", "")
    if isinstance(value, types.BuiltinFunctionType) and value is getattr(math, name, None):
        return getattr(_Math(), name)
    if isinstance(getattr(value, "py_func", value), types.FunctionType):
        return _with_traced_functions(value, done)
    return value


class _Math:
    """A stand-in for the module math that also accepts symbols."""

    def __getattr__(self, name: str) -> Any:
        original = getattr(math, name)
        if not callable(original):
            return original

        def function(*args: Any, **options: Any) -> Any:
            args = tuple(list(a) if isinstance(a, Iterator) else a for a in args)
            within = itertools.chain(*(a if isinstance(a, list | tuple) else (a,) for a in args))
            if not any(isinstance(a, Expression) for a in within):
                return original(*args, **options)
            if name in COMPOSED:
                return COMPOSED[name](*args, **options)
            if name in FUNCTIONS:
                return operation(name, *args)
            raise _refusal(f"math.{name} is not supported")

        return function


class Lines:
    """Generated source lines that compute expressions on vectors, each common subexpression once."""

    def __init__(self, **arguments: str):
        self._names = {Expression("argument", name).number: code for name, code in arguments.items()}
        self.lines: list[str] = []

    def let(self, name: str, code: str) -> None:
        """Use a piece of code as the value of the named argument."""
        self._names[Expression("argument", name).number] = code

    def name_of(self, expression: Expression) -> str:
        """Append the lines that `expression` needs, and return the name of its value."""
        for node in expression.nodes():
            if node.number not in self._names and node.op not in COMPARISONS:
                self._names[node.number] = self._write(node)
        return self._names[expression.number]

    def _write(self, node: Expression) -> str:
        if node.op == "number":
            return repr(node.args[0]).replace("inf", "np.inf").replace("nan", "np.nan")
        if node.op == "where":
            code = self._select(node.args[0], *(self._names[arg.number] for arg in node.args[1:]))
        else:
            a = [self._names[arg.number] for arg in node.args]
            if node.op in FUNCTIONS:
                a = [
                    f"splat(Z, {code})" if arg.op == "number" else code for arg, code in zip(node.args, a, strict=True)
                ]
                code = f"{FUNCTIONS[node.op]}({', '.join(a)})"
            else:
                code = f"{a[0]} {_ARITHMETIC[node.op]} {a[1]}"
        self.lines.append(f"t{len(self.lines)} = {code}")
        return f"t{len(self.lines) - 1}"

    def _select(self, condition: Expression, a: str, b: str) -> str:
        x, y = (self._names[arg.number] for arg in condition.args)
        if condition.op == "equal":
            return f"where({x} <= {y}, where({x} >= {y}, {a}, {b}), {b})"
        if condition.op == "not_equal":
            return f"where({x} <= {y}, where({x} >= {y}, {b}, {a}), {a})"
        return f"where({x} {COMPARISONS[condition.op]} {y}, {a}, {b})"
