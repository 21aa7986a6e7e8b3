"""skl2onnx converts pipelines with fastprop's estimators in them, whichever of the two is imported first."""

import json

import numpy as np
import pytest
from networks import assert_close

pytest.importorskip("skl2onnx", reason="needs skl2onnx, which converts pipelines")
pytest.importorskip("onnxruntime", reason="needs onnxruntime, which runs the files")

import onnxruntime
import skl2onnx
from sklearn import neural_network
from sklearn.ensemble import VotingClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from fastprop import Activation
from fastprop.activations import HIDDEN, leaky_relu
from fastprop.losses import quantile
from fastprop.sklearn import MLPClassifier, MLPRegressor

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]
TOLERANCES = {"float32": 5e-6, "float64": 1e-13}
each_dtype = pytest.mark.parametrize("dtype", TOLERANCES)
X = np.random.default_rng(0).normal(3, 2, (90, 5))
THIRD = np.digitize(X[:, 0], [2, 4])
CLASSES = {
    "text": np.array(["ant", "bee", "cow"])[THIRD],
    "two of text": np.array(["no", "yes"])[THIRD // 2],
    "whole numbers": np.array([30, -2, 7])[THIRD],
    "truth": THIRD == 1,
    "labels": (X[:, :3] > 3).astype(int),
}
NUMBERS = {"one": X[:, 0] * X[:, 1], "two": X[:, :2] ** 2, "counts": np.floor(np.abs(X[:, 0]))}
each_classes = pytest.mark.parametrize("classes", CLASSES)


def converted(model, dtype, **options):
    """What the converted model gives for X, by the names of its outputs."""
    given = X.astype(dtype)
    file = skl2onnx.to_onnx(model, given[:1], options={id(model): options} if options else None)
    session = onnxruntime.InferenceSession(file.SerializeToString(), providers=["CPUExecutionProvider"])
    return dict(zip([output.name for output in session.get_outputs()], session.run(None, {"X": given}), strict=True))


def pipeline(estimator, y):
    """A scaler and an estimator, fitted; in float64, as scikit-learn's users mostly fit."""
    return make_pipeline(StandardScaler(), estimator.set_params(max_iter=4, random_state=0)).fit(X, y)


def exact(dtype):
    """X as the converted model sees it."""
    return X.astype(dtype).astype(np.float64)


@each_dtype
@each_classes
def test_a_pipeline_predicts_its_labels_and_probabilities(classes, dtype):
    """Fitted in float64, converted for inputs of either dtype."""
    model = pipeline(MLPClassifier(), CLASSES[classes])
    found = converted_without_maps(model, dtype)
    assert list(found) == ["label", "probabilities"]
    assert found["probabilities"].dtype == dtype
    assert_close(found["probabilities"], model.predict_proba(exact(dtype)), TOLERANCES[dtype])
    assert found["label"].tolist() == model.predict(X).tolist()


def converted_without_maps(model, dtype):
    given = X.astype(dtype)
    file = skl2onnx.to_onnx(model, given[:1], options={"zipmap": False})
    session = onnxruntime.InferenceSession(file.SerializeToString(), providers=["CPUExecutionProvider"])
    shapes = [output.shape[1:] for output in session.get_outputs()]
    found = dict(zip([output.name for output in session.get_outputs()], session.run(None, {"X": given}), strict=True))
    assert shapes == [list(values.shape[1:]) for values in found.values()]
    return found


@each_classes
@pytest.mark.parametrize("zipmap", [True, "columns"])
def test_the_outputs_are_those_of_scikit_learns_own(classes, zipmap):
    """Names, kinds and keys of maps, which the default are."""
    forms = []
    for kind in (MLPClassifier, neural_network.MLPClassifier):
        estimator = kind(max_iter=4, random_state=0).fit(X, CLASSES[classes])
        found = converted(estimator, "float32", zipmap=zipmap)
        forms.append({name: sorted(v[0]) if isinstance(v[0], dict) else v.dtype for name, v in found.items()})
    assert forms[0] == forms[1]


def test_without_labels_they_are_numbers():
    """The options that skl2onnx has for all classifiers."""
    estimator = MLPClassifier(max_iter=4, random_state=0).fit(X, CLASSES["text"])
    found = converted(estimator, "float32", zipmap=False, nocl=True)
    assert found["label"].tolist() == np.searchsorted(estimator.classes_, estimator.predict(X)).tolist()
    found = converted(estimator, "float32", zipmap=False, output_class_labels=True)
    assert found["class_labels"].tolist() == ["ant", "bee", "cow"]


@each_dtype
@pytest.mark.parametrize("numbers", NUMBERS)
def test_a_regression_predicts_all_its_outputs(numbers, dtype):
    loss = "poisson" if numbers == "counts" else "squared_error"
    model = pipeline(MLPRegressor(loss), NUMBERS[numbers])
    found = converted(model, dtype)
    expected = model.predict(exact(dtype)).reshape(len(X), -1)
    assert_close(found.pop("variable"), expected, TOLERANCES[dtype])
    assert not found


@pytest.mark.parametrize("activation", HIDDEN)
def test_every_activation_is_converted(activation):
    model = pipeline(MLPRegressor(activation=activation, dropout=0.1), NUMBERS["one"])
    found = converted(model, "float32")["variable"][:, 0]
    assert_close(found, model.predict(exact("float32")), 5e-6)


def test_custom_activations_are_named_and_other_slopes_are_converted():
    model = pipeline(MLPRegressor(activation=leaky_relu(0.2)), NUMBERS["one"])
    found = converted(model, "float32")["variable"][:, 0]
    assert_close(found, model.predict(exact("float32")), 5e-6)
    model = pipeline(MLPRegressor(activation=Activation("cube", lambda z: z * z * z)), NUMBERS["one"])
    with pytest.raises(ValueError, match=r"net has Activation\('cube'\), a custom Activation, which ONNX"):
        converted(model, "float32")


@pytest.mark.parametrize("opset", [11, 13, 18])
def test_other_opsets_have_the_same_operators(opset):
    model = pipeline(MLPClassifier(activation="gelu_tanh"), CLASSES["text"])
    given = X.astype(np.float32)
    file = skl2onnx.to_onnx(model, given[:1], options={"zipmap": False}, target_opset={"": opset, "ai.onnx.ml": 1})
    session = onnxruntime.InferenceSession(file.SerializeToString(), providers=["CPUExecutionProvider"])
    _, probabilities = session.run(None, {"X": given})
    assert_close(probabilities, model.predict_proba(exact("float32")), 5e-6)


def test_an_estimator_of_quantiles_has_them_all():
    model = pipeline(MLPRegressor(quantile([0.1, 0.5, 0.9])), NUMBERS["one"])
    assert_close(converted(model, "float64")["variable"], model.predict(X), 1e-13)


def test_an_ensemble_of_them_is_converted():
    """Of two networks in one graph, whose names must differ."""
    parts = [(str(seed), MLPClassifier((8,), max_iter=4, random_state=seed)) for seed in range(2)]
    model = VotingClassifier(parts, voting="soft", flatten_transform=False).fit(X, CLASSES["text"])
    found = converted(model, "float32", zipmap=False)
    assert_close(found["probabilities"], model.predict_proba(exact("float32")), 5e-6)


ORDERS = {
    "skl2onnx first": "import skl2onnx, fastprop.sklearn",
    "fastprop first": "import fastprop.sklearn, skl2onnx",
    "found before it is imported": "import fastprop.sklearn, importlib.util\n"
    "assert importlib.util.find_spec('skl2onnx').name == 'skl2onnx'\nimport skl2onnx",
    "a part of it first": "import fastprop.sklearn\nfrom skl2onnx.common import data_types\nimport skl2onnx",
}
CONVERT = """
import json, sys, warnings
warnings.simplefilter("ignore")
before = set(sys.meta_path)
{imports}
import numpy as np
X = np.arange(12.0, dtype=np.float32).reshape(6, 2)
net = fastprop.sklearn.MLPClassifier(max_iter=2).fit(X, [0, 1] * 3)
model = skl2onnx.to_onnx(net, X)
print(json.dumps([[output.name for output in model.graph.output], set(sys.meta_path) <= before]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("order", ORDERS)
def test_whichever_is_imported_first(order, run_python):
    """The converters are there, and nothing of it is left in sys.meta_path."""
    names, clean = json.loads(run_python(CONVERT.format(imports=ORDERS[order])))
    assert names == ["output_label", "output_probability"]
    assert clean


def test_importing_the_estimators_does_not_import_skl2onnx(run_python):
    assert run_python("import sys, fastprop.sklearn; print('skl2onnx' in sys.modules, 'onnx' in sys.modules)") == (
        "False False\n"
    )


BROKEN = """
import sys, warnings
import fastprop.sklearn
from fastprop import pipelines
def fail(*kinds):
    raise AttributeError("no such function")
pipelines._register = fail
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    import skl2onnx
print([str(w.message) for w in caught if "fastprop" in str(w.message)])
"""


@pytest.mark.slow
def test_a_registration_that_fails_does_not_break_skl2onnx(run_python):
    assert run_python(BROKEN) == (
        "['skl2onnx will not convert the estimators of fastprop.sklearn: no such function']\n"
    )
