"""Symbolic differentiation of traced functions, node by node: the chain rule."""

import math
from collections.abc import Callable
from typing import Any

from .symbolic import COMPARISONS, Expression, as_expression, choice, operation

# The derivative of each function of one argument, of the argument a and the value f; 0 for steps.
_SLOPES: dict[str, Callable[[Any, Any], Any]] = {
    "exp": lambda a, f: f,
    "expm1": lambda a, f: operation("exp", a),
    "exp2": lambda a, f: math.log(2) * f,
    "log": lambda a, f: 1.0 / a,
    "log1p": lambda a, f: 1.0 / (1.0 + a),
    "log2": lambda a, f: 1.0 / (math.log(2) * a),
    "log10": lambda a, f: 1.0 / (math.log(10) * a),
    "tanh": lambda a, f: 1.0 - f * f,
    "sqrt": lambda a, f: 0.5 / f,
    "cbrt": lambda a, f: 1.0 / (3.0 * f * f),
    "erf": lambda a, f: 2 / math.sqrt(math.pi) * operation("exp", 0.0 - a * a),
    "erfc": lambda a, f: -2 / math.sqrt(math.pi) * operation("exp", 0.0 - a * a),
    "sin": lambda a, f: operation("cos", a),
    "cos": lambda a, f: 0.0 - operation("sin", a),
    "tan": lambda a, f: 1.0 + f * f,
    "asin": lambda a, f: 1.0 / operation("sqrt", (1.0 - a) * (1.0 + a)),
    "acos": lambda a, f: -1.0 / operation("sqrt", (1.0 - a) * (1.0 + a)),
    "atan": lambda a, f: 1.0 / (1.0 + a * a),
    "sinh": lambda a, f: operation("cosh", a),
    "cosh": lambda a, f: operation("sinh", a),
    "asinh": lambda a, f: 1.0 / operation("hypot", a, 1.0),
    "acosh": lambda a, f: 1.0 / operation("sqrt", (a - 1.0) * (a + 1.0)),
    "atanh": lambda a, f: 1.0 / ((1.0 - a) * (1.0 + a)),
    "fabs": lambda a, f: choice(a > 0.0, 1.0, choice(a < 0.0, -1.0, 0.0)),
    **dict.fromkeys(("floor", "ceil", "trunc", "rint"), lambda a, f: 0.0),
}


# Functions of two arguments a and b, of which f is the value and da, db are the derivatives.
_RULES: dict[str, Callable[..., Any]] = {
    "add": lambda a, b, f, da, db: _plus(da, db),
    "subtract": lambda a, b, f, da, db: _plus(da, _times(-1.0, db)),
    "multiply": lambda a, b, f, da, db: _plus(_times(da, b), _times(a, db)),
    "divide": lambda a, b, f, da, db: _over(_plus(da, _times(-1.0, _times(f, db))), b),
    "atan2": lambda a, b, f, da, db: _over(_plus(_times(b, da), _times(-1.0, _times(a, db))), a * a + b * b),
    "hypot": lambda a, b, f, da, db: choice(f > 0.0, _over(_plus(_times(a, da), _times(b, db)), f), 0.0),
    "copysign": lambda a, b, f, da, db: _times(da, operation("copysign", 1.0, a) * operation("copysign", 1.0, b)),
    "fmod": lambda a, b, f, da, db: _plus(da, _times(-1.0, _times(operation("trunc", a / b), db))),
}


def derivative(expression: Expression, argument: str) -> Expression:
    """Return the derivative of an expression by one of its arguments.

    Where a function has a kink, it is that of one side, and where it has a step, 0.

    Raises
    ------
    TypeError
        If the expression has gamma or lgamma of the argument, whose derivatives are no functions that are compiled.
    """
    slopes: dict[int, Any] = {}
    for node in expression.nodes():
        slopes[node.number] = _slope(node, argument, slopes)
    return as_expression(slopes[expression.number])


def _slope(node: Expression, argument: str, slopes: dict[int, Any]) -> Any:
    """Return the derivative of a node, whose arguments' derivatives are known; the number 0 if it does not change."""
    if node.op == "argument":
        return 1.0 if node.args[0] == argument else 0.0
    if node.op == "where":
        condition, a, b = node.args
        return choice(condition, slopes[a.number], slopes[b.number])
    inner = [slopes[a.number] for a in node.args if isinstance(a, Expression)]
    if node.op in COMPARISONS or all(_is(0.0, da) for da in inner):
        return 0.0
    if node.op in _RULES:
        return _RULES[node.op](*node.args, node, *inner)
    (a,), (da,) = node.args, inner
    if node.op == "log1p" and a.op == "exp":  # dv/(1 + 1/e^v), in which nothing overflows
        return _over(slopes[a.args[0].number], 1.0 + 1.0 / a)
    if node.op not in _SLOPES:
        raise TypeError(f"the derivative of {node.op} cannot be compiled. Give df.")
    return _times(_SLOPES[node.op](a, node), da)


def _is(value: float, a: Any) -> bool:
    """Return whether a number, or an expression that is one, has this value."""
    number = a.args[0] if isinstance(a, Expression) and a.op == "number" else a
    return not isinstance(number, Expression) and number == value


def _plus(a: Any, b: Any) -> Any:
    return b if _is(0.0, a) else a if _is(0.0, b) else a + b


def _times(a: Any, b: Any) -> Any:
    if _is(0.0, a) or _is(0.0, b):
        return 0.0
    return b if _is(1.0, a) else a if _is(1.0, b) else a * b


def _over(a: Any, b: Any) -> Any:
    return 0.0 if _is(0.0, a) else a / b
