"""Networks and fitted estimators as nodes and arrays of ONNX, without the package onnx, for files and for skl2onnx."""

from typing import Any, NamedTuple

import numpy as np

from .activations import RESULT, SELU_ALPHA, SELU_SCALE, Activation, Z
from .core.model import Model
from .kernels.plan import FLOAT32

INT64 = 7  # TensorProto.INT64
# ONNX has these activations in float64, but ONNX Runtime 1.32 has not: the operators that compute the same, if there
# are any. An argument that is a tuple is another operator.
_EXPM1 = ("Sub", ("Exp", ("Min", Z, 0.0)), 1.0)  # of z < 0; otherwise 0
IN_FLOAT64: dict[str, tuple[tuple[Any, ...], ...]] = {
    "leaky_relu": (("Max", Z, ("Mul", Z, 0.01)),),
    "elu": (("Add", ("Relu", Z), _EXPM1),),
    "selu": (("Mul", ("Add", ("Relu", Z), ("Mul", _EXPM1, SELU_ALPHA)), SELU_SCALE),),
    "softplus": (("Add", ("Relu", Z), ("Log", ("Add", ("Exp", ("Neg", ("Abs", Z))), 1.0))),),
    "gelu": (),
}


class Node(NamedTuple):
    """An operator, the names of its arguments and of its result, and its attributes."""

    operator: str
    arguments: list[str]
    result: str
    attributes: dict[str, Any]


class Graph:
    """Nodes in the order in which they are computed, with the arrays that they take.

    Parameters
    ----------
    dtype : numpy.dtype
        In which it computes, float32 or float64.

    Attributes
    ----------
    nodes : list of Node
    arrays : dict
        By name; an array of text holds str.
    """

    def __init__(self, dtype: np.dtype):
        self.dtype = dtype
        self.nodes: list[Node] = []
        self._arrays: dict[str, np.ndarray] = {}
        self._constants: dict[float, str] = {}

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        return self._arrays | {name: np.array(value, self.dtype) for value, name in self._constants.items()}

    def node(self, operator: str, arguments: list[Any], result: str, **attributes: Any) -> str:
        """Add a node, after those of operators among its arguments, and return the name of its result.

        An argument is a name, a number, or a tuple of an operator and its arguments.
        """
        names = [self._argument(x, f"{result}_{i}") for i, x in enumerate(arguments, start=1)]
        self.nodes.append(Node(operator, names, result, attributes))
        return result

    def _argument(self, x: Any, result: str) -> str:
        if isinstance(x, tuple):
            return self.node(x[0], list(x[1:]), result)
        return x if isinstance(x, str) else self._constants.setdefault(x, f"c{len(self._constants) + 1}")

    def add_network(self, net: Model, X: str, Y_hat: str) -> str:
        """Add what `predict` computes of the rows X, as the result Y_hat."""
        A = self.node("Mul", [X, net.scale], "A0") if net.scale != 1 else X
        for l, (layer, activation) in enumerate(zip(net.layers, net.architecture.activations, strict=True), start=1):
            last = Y_hat if l == len(net.layers) else f"A{l}"
            lines = self._operators(activation)
            self._arrays[f"W{l}"], self._arrays[f"b{l}"] = (
                part.astype(self.dtype, copy=False) for part in (layer.W, layer.b)
            )
            A = of = self.node("Gemm", [A, f"W{l}", f"b{l}"], f"Z{l}" if lines else last, transB=1)
            for i, line in enumerate(lines, start=1):
                operator, *arguments = _given(line, **{Z: of, RESULT: A})
                A = self.node(operator, arguments, last if i == len(lines) else f"{last}_{i}")
        return A

    def _operators(self, activation: Activation) -> tuple[tuple[Any, ...], ...]:
        """Return the operators of an activation, each with its arguments."""
        name, lines = activation.name, activation.onnx
        if lines is None:
            raise ValueError(f"net has {activation!r}, a custom Activation, which ONNX does not have.")
        if self.dtype == FLOAT32 or name not in IN_FLOAT64:
            return lines
        if not IN_FLOAT64[name]:
            raise ValueError(
                f"net has {name} in float64, which ONNX Runtime cannot compute. Use gelu_tanh instead, or copy the "
                f"parameters to a network of float32 with the same settings: other.parameters[:] = net.parameters."
            )
        return IN_FLOAT64[name]

    def add_estimator(self, estimator: Any, net: Model, X: str, classes: Any) -> dict[str, Any]:
        """Add what a fitted estimator with the network `net` predicts of the rows X, as skl2onnx lays it out.

        `classes` are the labels of a classifier.

        Returns
        -------
        dict
            The width of each result by its name, None for one number or text a row. A classifier's are ``"label"`` and
            ``"probabilities"``, of both classes if there are two; a regressor's is ``"variable"``.
        """
        output, n = estimator.out_activation_, net.sizes[-1]
        if output == "exp":
            self.node("Exp", [self.add_network(net, X, "log_rate")], "variable")
        elif output == "identity":
            self.add_network(net, X, "variable")
        elif output == "logistic" and n == 1:
            p = self.add_network(net, X, "probability")
            self.node("Concat", [("Sub", 1.0, p), p], "probabilities", axis=1)
        else:
            self.add_network(net, X, "probabilities")
        if output in ("exp", "identity"):
            return {"variable": n}
        if output == "logistic" and n > 1:  # several labels, each of which a row has or has not
            self.node("Cast", [("Greater", "probabilities", 0.5)], "label", to=INT64)
            return {"label": n, "probabilities": n}
        self._arrays["classes"] = labels_of(classes)
        self.node("ArgMax", ["probabilities"], "index", axis=1, keepdims=0)
        self.node("Gather", ["classes", "index"], "label")
        return {"label": None, "probabilities": max(2, n)}


def _given(x: Any, **names: str) -> Any:
    """Return an argument with the names of Z and of the result before."""
    return (x[0], *(_given(each, **names) for each in x[1:])) if isinstance(x, tuple) else names.get(x, x)


def labels_of(classes: np.ndarray) -> np.ndarray:
    """Return classes as the labels that ONNX has: text (an array of str objects), or whole numbers of int64."""
    if all(isinstance(label, str) for label in classes):
        return np.array([str(label) for label in classes], object)
    with np.errstate(invalid="ignore"):
        whole = classes.astype(np.int64)
    if not np.array_equal(whole, classes):
        raise ValueError(
            f"classes_ is {classes!r}; ONNX has labels that are whole numbers or text. Fit on such labels instead: "
            f"classes, y = np.unique(y, return_inverse=True)."
        )
    return whole
