"""Symbolic tracing: a scalar Python function becomes an expression that is compiled into vector code.

The function is called with symbols in place of numbers, which record every operation on them. If the function branches
on a comparison, as in ``z if z > 0 else 0.1 * z``, it is called once for each outcome, and the two results are joined
by a select. So a function may use arithmetic, comparisons and the functions of `FUNCTIONS`, from :mod:`math` or from
NumPy, and loops whose length does not depend on a symbol.
"""

import itertools
import math
import threading
import types
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

# Name in math and in NumPy: name in the kernels (fastprop/kernels/elementwise.py, simd.py).
FUNCTIONS = {name: name for name in ("exp", "expm1", "log", "log1p", "tanh", "sqrt", "erf")} | {"fabs": "absolute"}
# NumPy's name: the operator in the kernels.
_ARITHMETIC = {"add": "+", "subtract": "-", "multiply": "*", "divide": "/"}
_COMPARISONS = {
    "less": "<", "greater": ">", "less_equal": "<=", "greater_equal": ">=", "equal": "==", "not_equal": "!=",
}  # fmt: skip
_ALIASES = {"absolute": "fabs", "true_divide": "divide"}
_erf = np.vectorize(math.erf, otypes=[float])
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
        if self.op not in _COMPARISONS:
            return bool(self != 0.0)
        for condition, answer in _answers.given:
            if condition.number == self.number:
                return answer
        raise _Undecided(self)

    def __float__(self) -> float:
        raise TypeError(
            "a symbol was passed to a function that does not take one. What can be compiled is arithmetic, "
            f"comparisons, abs, min and max, and from math or NumPy {', '.join(FUNCTIONS)} and where."
        )

    __int__ = __index__ = __float__

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        name = _ALIASES.get(ufunc.__name__, ufunc.__name__)
        if all(isinstance(out, Expression) for out in options.get("out", ())):
            options.pop("out", None)  # total += z binds the name to the result of this call
        if method == "__call__" and not options:
            if name in FUNCTIONS:
                return Expression(name, *inputs)
            if name in _ARITHMETIC or name in _COMPARISONS:
                return Expression(name, *map(_as_expression, inputs))
            if name in _NUMPY:
                return _NUMPY[name](*inputs)
        return self.__float__()

    def __array_function__(self, function: Any, types: Any, args: Any, options: Any) -> Any:
        if function is np.where and len(args) == 3:
            return _choice(_as_expression(args[0]), *map(_as_expression, args[1:]))
        return self.__float__()

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
                    function = _erf if node.op == "erf" else getattr(np, node.op)
                    values[node.number] = function(*(values[a.number] for a in node.args))
        return values[self.number]


def _larger(a: Any, b: Any) -> Expression:
    a, b = _as_expression(a), _as_expression(b)
    return _choice(a < b, b, a)


def _smaller(a: Any, b: Any) -> Expression:
    a, b = _as_expression(a), _as_expression(b)
    return _choice(a > b, b, a)


def _sign(a: Expression) -> Expression:
    return _choice(a > 0, _as_expression(1.0), _choice(a < 0, _as_expression(-1.0), _as_expression(0.0)))


def _power(a: Any, b: Any) -> Expression:
    """Return a**b as products, as a square root, or by exp and log."""
    a, b = _as_expression(a), _as_expression(b)
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
    return _as_expression(product if exponent >= 0 else 1.0 / product)


# Other ufuncs of NumPy, written with the operations above.
_NUMPY: dict[str, Callable[..., Expression]] = {
    "negative": lambda a: 0.0 - a,
    "positive": lambda a: a,
    "square": lambda a: a * a,
    "reciprocal": lambda a: 1.0 / a,
    "power": _power,
    "maximum": _larger,
    "minimum": _smaller,
    "sign": _sign,
}


def _as_expression(value: Any) -> Expression:
    return value if isinstance(value, Expression) else Expression("number", float(value))


def _choice(condition: Expression, a: Expression, b: Expression) -> Expression:
    if a.number == b.number:
        return a
    if condition.op not in _COMPARISONS:
        condition = condition != 0.0
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
            return _as_expression(result)
        results = []
        for answer in (True, False):
            _answers.given.append((condition, answer))
            try:
                results.append(explore())
            finally:
                _answers.given.pop()
        return _choice(condition, *results)

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
    copy = types.FunctionType(function.__code__, names, function.__name__, function.__defaults__, cells or None)
    copy.__kwdefaults__ = function.__kwdefaults__
    done[id(function)] = copy
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
    name = getattr(value, "__name__", None)
    if name in FUNCTIONS and value is getattr(math, name, None):
        return getattr(_Math(), name)
    if isinstance(getattr(value, "py_func", value), types.FunctionType):
        return _with_traced_functions(value, done)
    return value


class _Math:
    """A stand-in for the module math that also accepts symbols."""

    def __getattr__(self, name: str) -> Any:
        original = getattr(math, name)
        if name == "pow":
            return lambda a, b: a**b
        if name not in FUNCTIONS:
            return original

        def function(a: Any) -> Any:
            return Expression(name, a) if isinstance(a, Expression) else original(a)

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
            if node.number not in self._names and node.op not in _COMPARISONS:
                self._names[node.number] = self._write(node)
        return self._names[expression.number]

    def _write(self, node: Expression) -> str:
        if node.op == "number":
            return repr(node.args[0]).replace("inf", "np.inf").replace("nan", "np.nan")
        if node.op == "where":
            code = self._choice(node.args[0], *(self._names[arg.number] for arg in node.args[1:]))
        else:
            a = [self._names[arg.number] for arg in node.args]
            code = f"{FUNCTIONS[node.op]}({a[0]})" if node.op in FUNCTIONS else f"{a[0]} {_ARITHMETIC[node.op]} {a[1]}"
        self.lines.append(f"t{len(self.lines)} = {code}")
        return f"t{len(self.lines) - 1}"

    def _choice(self, condition: Expression, a: str, b: str) -> str:
        x, y = (self._names[arg.number] for arg in condition.args)
        if condition.op == "equal":
            return f"where({x} <= {y}, where({x} >= {y}, {a}, {b}), {b})"
        if condition.op == "not_equal":
            return f"where({x} <= {y}, where({x} >= {y}, {b}, {a}), {a})"
        return f"where({x} {_COMPARISONS[condition.op]} {y}, {a}, {b})"
