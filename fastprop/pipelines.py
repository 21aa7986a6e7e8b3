"""Converters for skl2onnx, with which ``skl2onnx.to_onnx(pipeline, X[:1])`` takes the estimators of fastprop.sklearn.

:mod:`fastprop.sklearn` registers them when it is imported, if skl2onnx is imported already. If not, it leaves a finder
in ``sys.meta_path``, which does nothing but register them once skl2onnx is imported, and is gone then: skl2onnx itself
takes half a second to import, and few processes that train need it.
"""

import sys
from importlib.machinery import ModuleSpec, PathFinder
from typing import Any

import numpy as np

from .kernels.plan import FLOAT32, FLOAT64
from .onnx_graph import Graph
from .texts import warn

LIBRARY = "skl2onnx"


def register(classifier: type, regressor: type) -> None:
    """Register the converters with skl2onnx, now or when it is imported."""
    if LIBRARY in sys.modules:
        _register(classifier, regressor)
    else:
        sys.meta_path.insert(0, _Finder(classifier, regressor))


class _Finder:
    """Finds skl2onnx as Python does, and registers the converters when it has been imported."""

    def __init__(self, classifier: type, regressor: type):
        self.kinds = classifier, regressor

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        spec = PathFinder.find_spec(name, path, target) if name == LIBRARY else None
        if spec is None or spec.loader is None:
            return None
        loader: Any = spec.loader
        execute = loader.exec_module

        def exec_module(module: Any) -> None:
            execute(module)
            if module.__name__ == LIBRARY:  # the loader of a zip file is that of its other modules too
                del loader.exec_module
                self.register()

        loader.exec_module = exec_module
        return spec

    def register(self) -> None:
        """Register the converters; what is wrong with that must not make importing skl2onnx fail."""
        if self in sys.meta_path:
            sys.meta_path.remove(self)
        try:
            _register(*self.kinds)
        except Exception as error:
            warn(f"skl2onnx will not convert the estimators of fastprop.sklearn: {error}", stacklevel=2)


def _register(classifier: type, regressor: type) -> None:
    import skl2onnx

    options = {"zipmap": [True, False, "columns"], "output_class_labels": [False, True], "nocl": [True, False]}
    for kind, shapes, more in ((classifier, _shapes_of_classifier, options), (regressor, _shapes_of_regressor, None)):
        skl2onnx.update_registered_converter(kind, f"Fastprop{kind.__name__}", shapes, _convert, options=more)


def _shapes_of_classifier(operator: Any) -> None:
    from skl2onnx.common.shape_calculator import calculate_linear_classifier_output_shapes

    calculate_linear_classifier_output_shapes(operator)
    estimator = operator.raw_operator
    if estimator.out_activation_ == "logistic" and estimator.n_outputs_ > 1:  # each label has a column of its own
        operator.outputs[0].type.shape = [operator.inputs[0].get_first_dimension(), estimator.n_outputs_]


def _shapes_of_regressor(operator: Any) -> None:
    from skl2onnx.common.data_types import DoubleTensorType, FloatTensorType

    X = operator.inputs[0]
    kind = DoubleTensorType if isinstance(X.type, DoubleTensorType) else FloatTensorType
    operator.outputs[0].set_type(kind([X.get_first_dimension(), operator.raw_operator.n_outputs_]))


def _convert(scope: Any, operator: Any, container: Any) -> None:
    """Add the nodes and arrays of an estimator, which computes in float64 if its inputs are, and in float32 if not."""
    from skl2onnx.common.data_types import DoubleTensorType
    from skl2onnx.proto import onnx_proto

    double = isinstance(operator.inputs[0].type, DoubleTensorType)
    kinds = {np.dtype(np.int64): onnx_proto.TensorProto.INT64, np.dtype(object): onnx_proto.TensorProto.STRING}
    kinds |= {FLOAT32: onnx_proto.TensorProto.FLOAT, FLOAT64: onnx_proto.TensorProto.DOUBLE}
    dtype = FLOAT64 if double else FLOAT32
    graph, estimator = Graph(dtype), operator.raw_operator
    X = graph.node("Cast", ["input"], "X", to=kinds[dtype])
    classes = getattr(estimator, "classes_", None)
    if classes is not None and container.get_options(estimator, {"nocl": False})["nocl"]:
        classes = np.arange(len(classes))  # the labels are to be left out
    results = graph.add_estimator(estimator, estimator.network_, X, classes)
    names = {"input": operator.inputs[0].full_name}
    names |= {name: output.full_name for name, output in zip(results, operator.outputs, strict=True)}

    def unique(name: str) -> str:
        return names.get(name) or names.setdefault(name, scope.get_unique_variable_name(name))

    for name, values in graph.arrays.items():
        content = [text.encode() for text in values] if values.dtype == object else values.ravel()
        container.add_initializer(unique(name), kinds[values.dtype], values.shape, content)
    for kind, arguments, result, attributes in graph.nodes:
        name = scope.get_unique_operator_name(kind)
        container.add_node(kind, list(map(unique, arguments)), unique(result), name=name, **attributes)
