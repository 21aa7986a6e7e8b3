"""fastprop.sklearn: scikit-learn's checks of estimators, the same results as scikit-learn's, and the extensions."""

import copy
import math
import pickle
import re
import warnings
from functools import partial

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="scikit-learn is not installed")

import scipy.optimize
import sklearn
from marks import slow_but
from networks import assert_close
from scipy.sparse import csc_array, csc_matrix, csr_array, csr_matrix
from sklearn import neural_network
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, make_multilabel_classification
from sklearn.ensemble import StackingClassifier, StackingRegressor
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.metrics import accuracy_score, d2_pinball_score, log_loss, mean_pinball_loss, r2_score
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import estimator_checks
from sklearn.utils._test_common.instance_generator import _construct_instances, _yield_instances_for_check
from sklearn.utils.class_weight import compute_sample_weight
from sklearn.utils.estimator_checks import parametrize_with_checks
from threadpoolctl import threadpool_info, threadpool_limits

import fastprop.sklearn
from fastprop import SGD, Activation, Adam, Loss, Network, diagnose
from fastprop.activations import HIDDEN
from fastprop.convert import to_onnx
from fastprop.core.engine import Engine
from fastprop.losses import quantile
from fastprop.sklearn import MLPClassifier, MLPRegressor
from fastprop.training.samples import r_squared

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
THEIRS = {MLPClassifier: neural_network.MLPClassifier, MLPRegressor: neural_network.MLPRegressor}
each_estimator = pytest.mark.parametrize("kind", THEIRS, ids=lambda kind: kind.__name__)


def blobs(m=230, classes=3, n=7):
    """Classes that overlap."""
    rng = np.random.default_rng(0)
    y = rng.integers(classes, size=m)
    return rng.normal(size=(m, n)) + np.eye(n)[y], y


def problem(name):
    """The kind of estimator, X and y."""
    X, y = blobs()
    Y = np.stack([X[:, 0] * X[:, 1], np.sin(X[:, 2])], axis=1)
    return {
        "classes": (MLPClassifier, X, y),
        "two classes": (MLPClassifier, X, np.array(["no", "yes"])[y % 2]),
        "labels": (MLPClassifier, X, (X[:, :3] > 0).astype(int)),
        "number": (MLPRegressor, X, Y[:, 0]),
        "numbers": (MLPRegressor, X, Y),
        "counts": (partial(MLPRegressor, "poisson"), X, np.floor(np.exp(Y[:, 1] + 0.5))),
        "pairs of counts": (partial(MLPRegressor, "poisson"), X, np.floor(np.exp(np.sin(X[:, 2:4]) + 0.5))),
    }[name]


PROBLEMS = ("classes", "two classes", "labels", "number", "numbers", "counts", "pairs of counts")
each_problem = pytest.mark.parametrize("name", slow_but(["classes", "numbers"], PROBLEMS))


def both(name, **settings):
    """fastprop's estimator for a problem and scikit-learn's, with the same settings, and the data."""
    make, X, y = problem(name)
    ours = make(**{"random_state": 0, **settings})
    kind = THEIRS[type(ours)]
    theirs = kind(**{key: value for key, value in ours.get_params().items() if key in kind().get_params()})
    return ours, theirs, X, y


# ---- scikit-learn's own checks ---------------------------------------------------------------------------------------


def of_fastprop(theirs):
    """fastprop's estimator with the settings of scikit-learn's."""
    return next(kind for kind, its in THEIRS.items() if type(theirs) is its)(**theirs.get_params())


@pytest.mark.slow
@parametrize_with_checks([MLPClassifier(), MLPRegressor()])
def test_scikit_learns_checks(estimator, check):
    """All of them pass with the defaults."""
    check(estimator)


@pytest.mark.slow
@parametrize_with_checks([of_fastprop(theirs) for kind in THEIRS.values() for theirs in _construct_instances(kind)])
def test_scikit_learns_checks_as_its_suite_has_them(estimator, check):
    """With the settings that it has there for its own estimators, of all checks and of single ones."""
    theirs = THEIRS[type(estimator)]
    settings = {name: value for name, value in estimator.get_params().items() if name in theirs().get_params()}
    for each in map(of_fastprop, _yield_instances_for_check(check, theirs(**settings))):
        check(each)


@each_estimator
@pytest.mark.parametrize("data", ["dense", "sparse"])
def test_weights_are_repetitions(kind, data):
    """scikit-learn's check, to 1e-7, of which a float64 that is rounded to float32 anywhere is not capable."""
    check = getattr(estimator_checks, f"check_sample_weight_equivalence_on_{data}_data")
    check(kind.__name__, kind())


# ---- what scikit-learn does ------------------------------------------------------------------------------------------

WITHIN = 1e-10  # of float64
WAYS = {
    "adam": {},
    "adam, a large epsilon": {"epsilon": 0.01, "beta_1": 0.5, "beta_2": 0.9},
    "sgd": {"solver": "sgd", "learning_rate_init": 0.05},
    "plain": {"solver": "sgd", "learning_rate_init": 0.05, "momentum": 0},
    "momentum": {"solver": "sgd", "learning_rate_init": 0.05, "nesterovs_momentum": False},
    "invscaling": {"solver": "sgd", "learning_rate": "invscaling", "learning_rate_init": 0.2, "power_t": 0.2},
    "adaptive": {
        "solver": "sgd", "learning_rate": "adaptive", "learning_rate_init": 0.1, "tol": 0.02, "n_iter_no_change": 1
    },
    "a momentum of 1": {"solver": "sgd", "learning_rate_init": 1e-4, "momentum": 1.0},
    "one batch": {"batch_size": 230},
    "auto": {"batch_size": "auto"},  # 200 and 30
    "no hidden layer": {"hidden_layer_sizes": ()},
    "two hidden layers": {"hidden_layer_sizes": (20, 10)},
    "logistic": {"activation": "logistic", "hidden_layer_sizes": 30},
    "relu": {"activation": "relu", "max_iter": 2},  # later, a rounding error may fall on another side of its kink
}  # fmt: skip


@each_problem
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("weighted", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["", "weighted"])
def test_the_same_steps_as_scikit_learn(name, way, weighted):
    """From the same weights, on the same batches (the last of 30 samples, the others of 50), with a heavy penalty: the
    same parameters after some epochs, and the same losses."""
    settings = {"alpha": 1.0, "batch_size": 50, "shuffle": False, "max_iter": 12, "activation": "tanh", **WAYS[way]}
    if name.endswith("counts") and "learning_rate_init" in settings:
        settings["learning_rate_init"] /= 5
    ours, theirs, X, y = both(name, **settings)
    weights = np.linspace(0.5, 1.5, len(y)) if weighted else None
    ours.fit(X, y, weights)
    theirs.fit(X, y, weights)
    for actual, expected in zip(ours.coefs_ + ours.intercepts_, theirs.coefs_ + theirs.intercepts_, strict=True):
        assert_close(actual, expected, WITHIN)
    np.testing.assert_allclose(ours.loss_curve_, theirs.loss_curve_, rtol=WITHIN)
    assert (ours.n_iter_, ours.t_) == (theirs.n_iter_, theirs.t_)


@pytest.mark.parametrize("name", [name for name in PROBLEMS if name != "numbers"])
@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_lbfgs_takes_the_steps_of_scikit_learn(name, activation):
    """In float64 the line searches see the same losses. Of "numbers" scikit-learn's loss is not its gradient's."""
    ours, theirs, X, y = both(name, solver="lbfgs", alpha=3.0, activation=activation, max_iter=10)
    ours.fit(X, y)
    theirs.fit(X, y)
    assert ours.loss_ == pytest.approx(theirs.loss_, rel=WITHIN)
    for actual, expected in zip(ours.coefs_ + ours.intercepts_, theirs.coefs_ + theirs.intercepts_, strict=True):
        assert_close(actual, expected, WITHIN)


@pytest.mark.parametrize("name", slow_but(["two classes"], PROBLEMS))
@pytest.mark.parametrize("weighted", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["", "weighted"])
def test_lbfgs_finds_what_scikit_learns_finds(name, weighted):
    ours, theirs, X, y = both(name, solver="lbfgs", alpha=3.0, activation="tanh", max_iter=1000, random_state=1)
    weights = np.linspace(0.5, 1.5, len(y)) if weighted else None
    ours.fit(X, y, weights)
    if name == "numbers":  # of which scikit-learn's loss is not what its gradient is of
        assert ours.score(X, y) > theirs.fit(X, y).score(X, y) - 0.02
        return
    theirs.fit(X, y, weights)
    assert ours.loss_ == pytest.approx(theirs.loss_, rel=0.05)
    assert ours.score(X, y, weights) == pytest.approx(theirs.score(X, y, weights), abs=0.04)


@pytest.mark.slow
@pytest.mark.parametrize("mean", [0.1, 10.0, 1e4, 1e6])
def test_lbfgs_finds_the_rates_of_large_counts_and_of_small_ones(mean):
    """Of a million, the terms of the deviance are 10⁷ and what is left of them is 1; and on the way from a rate of 1
    the line search tries steps whose exponential float32 does not hold."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 3))
    y = rng.poisson(mean * np.exp(0.3 * X[:, 0]))
    model = MLPRegressor("poisson", (10,), "tanh", solver="lbfgs", max_iter=200, random_state=0)
    theirs = neural_network.MLPRegressor("poisson", (10,), "tanh", solver="lbfgs", max_iter=200, random_state=0)
    assert model.fit(X, y).loss_ < 2 * theirs.fit(X, y).loss_ + 0.2


@pytest.mark.slow
@each_estimator
def test_a_greater_tol_ends_lbfgs_sooner(kind):
    ends = [kind(solver="lbfgs", tol=tol, max_iter=1000, random_state=0).fit(X, y).n_iter_ for tol in (0.1, 0.01, 1e-4)]
    assert ends == sorted(set(ends))


@each_problem
@pytest.mark.parametrize("schedule", ["constant", "invscaling", "adaptive"])
def test_warm_starts_as_scikit_learns(name, schedule):
    """Three fits that end by themselves: each counts its epochs from 0, but not the epochs without an improvement."""
    ours, theirs, X, y = both(
        name, solver="sgd", learning_rate=schedule, learning_rate_init=0.01, activation="tanh", shuffle=False,
        warm_start=True, n_iter_no_change=2, tol=0.05,
    )  # fmt: skip
    found = []
    for estimator in (ours, theirs):
        found.append([])
        for _ in range(3):
            estimator.fit(X, y)
            found[-1].append((estimator.n_iter_, estimator.t_, estimator._no_improvement_count))
    assert found[0] == found[1]
    assert found[0][0][0] < 200
    np.testing.assert_allclose(ours.loss_curve_, theirs.loss_curve_, rtol=1e-4)


@each_problem
@pytest.mark.parametrize("schedule", ["constant", "invscaling", "adaptive"])
def test_partial_fit_as_scikit_learns(name, schedule):
    """Batches of all sizes: the same losses, and the same rates."""
    ours, theirs, X, y = both(
        name, solver="sgd", learning_rate=schedule, learning_rate_init=0.02, power_t=0.2, activation="tanh",
        shuffle=False, n_iter_no_change=2, tol=0.05,
    )  # fmt: skip
    ends = np.cumsum([50, 3, 147, 30])
    for estimator in (ours, theirs):
        classes = {"classes": range(3) if name == "labels" else np.unique(y)}
        first = classes if isinstance(ours, MLPClassifier) else {}
        for _ in range(5):
            for rows in np.split(np.arange(230), ends[:-1]):
                estimator.partial_fit(X[rows], y[rows], **first)
    np.testing.assert_allclose(ours.loss_curve_, theirs.loss_curve_, rtol=1e-4)
    assert (len(ours.loss_curve_), ours.t_) == (20, theirs.t_) == (20, 5 * 230)
    assert ours._optimizer.lr == pytest.approx(theirs._optimizer.learning_rate)
    assert (ours._optimizer.lr < 0.02) == (schedule != "constant")


@each_problem
def test_early_stopping_ends_as_scikit_learns(name):
    """With and without weights of the held-out rows, fits end after as many epochs, with the same scores."""
    ours, theirs, X, y = both(
        name, early_stopping=True, n_iter_no_change=2, tol=0.01, max_iter=100, shuffle=False, activation="tanh",
        learning_rate_init=0.01,
    )  # fmt: skip
    weights = np.linspace(0.5, 1.5, len(y))
    for estimator in (ours, theirs):
        estimator.fit(X, y, weights)
    assert ours.n_iter_ == theirs.n_iter_ < 100
    np.testing.assert_allclose(ours.validation_scores_, theirs.validation_scores_, rtol=1e-4)
    for actual, expected in zip(ours.coefs_, theirs.coefs_, strict=True):
        assert_close(actual, expected, 1e-4)


def described(estimator):
    """The kind and shape of each public attribute of a fitted estimator."""

    def of(value):
        if isinstance(value, list) and value and isinstance(value[0], np.ndarray):
            return [of(item) for item in value]
        return "text" if isinstance(value, str) else (np.asarray(value).dtype.kind, np.shape(value))

    found = {name: value for name, value in vars(estimator).items() if name.endswith("_") and name[0] != "_"}
    return {name: of(value) if value is not None else None for name, value in found.items()}


@each_problem
@pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])
@pytest.mark.parametrize("early", [False, True], ids=["", "early stopping"])
def test_the_same_attributes_as_scikit_learn(name, solver, early):
    """Names, kinds and shapes; with early stopping the same number of epochs, as the same rows are held out."""
    ours, theirs, X, y = both(name, solver=solver, early_stopping=early, shuffle=False, max_iter=15, tol=1e-3)
    for estimator in (ours, theirs):
        estimator.fit(X, y)
    expected = described(theirs)
    if solver != "lbfgs":
        expected |= {"stopped_": ("b", ()), "validation_loss_curve_": ("f", (ours.n_iter_,)) if early else None}
        assert ours.n_iter_ == theirs.n_iter_
        if early:
            assert ours.validation_scores_ == pytest.approx(theirs.validation_scores_, abs=0.05)
    assert described(ours) == expected
    for method in ("predict", "predict_proba", "predict_log_proba"):
        if hasattr(theirs, method):
            actual, wanted = getattr(ours, method)(X), getattr(theirs, method)(X)
            assert (actual.shape, actual.dtype) == (wanted.shape, wanted.dtype)


@each_estimator
def test_every_parameter_of_scikit_learn_with_its_default(kind):
    ours, theirs = kind().get_params(), THEIRS[kind]().get_params()
    assert {name: ours[name] for name in theirs} == theirs
    beyond = {"dropout": 0.0, "progress": False}
    if kind is MLPClassifier:
        beyond |= {"class_weight": None, "loss": "log_loss"}
    assert {name: value for name, value in ours.items() if name not in theirs} == beyond
    assert issubclass(kind, THEIRS[kind])


X, y = blobs()
FEW = {"max_iter": 2, "random_state": 0}
WRONG = {
    "a solver": (MLPClassifier, {"solver": "newton"}, lambda e: e.fit(X, y)),
    "alpha": (MLPClassifier, {"alpha": -1}, lambda e: e.fit(X, y)),
    "no units": (MLPClassifier, {"hidden_layer_sizes": (3, 0)}, lambda e: e.fit(X, y)),
    "rows": (MLPRegressor, FEW, lambda e: e.fit(X, y[:-1])),
    "features": (MLPRegressor, FEW, lambda e: e.fit(X, y).predict(X[:, 1:])),
    "not fitted": (MLPClassifier, FEW, lambda e: e.predict(X)),
    "NaN": (MLPClassifier, FEW, lambda e: e.fit(np.where(X > 2, np.nan, X), y)),
    "classes of the first call": (MLPClassifier, FEW, lambda e: e.partial_fit(X, y)),
    "classes of a later call": (
        MLPClassifier, FEW, lambda e: e.partial_fit(X, y, classes=[0, 1, 2]).partial_fit(X, y, classes=[0, 1])
    ),
    "an unknown class": (MLPClassifier, FEW, lambda e: e.partial_fit(X, y, classes=[0, 1, 2]).partial_fit(X, y + 1)),
    "other classes": (MLPClassifier, {**FEW, "warm_start": True}, lambda e: e.fit(X, y).fit(X, y % 2)),
    "partial_fit of lbfgs": (MLPClassifier, {"solver": "lbfgs"}, lambda e: e.partial_fit),
    "weights": (MLPRegressor, FEW, lambda e: e.fit(X, y, np.ones(3))),
    "a small validation set": (
        MLPRegressor, {**FEW, "early_stopping": True, "validation_fraction": 0.004}, lambda e: e.fit(X, y)
    ),
    "divergence": (
        MLPRegressor, {"solver": "sgd", "learning_rate_init": 1e9, "activation": "identity", "random_state": 0},
        lambda e: e.fit(X, y),
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", WRONG)
@pytest.mark.filterwarnings("ignore:(overflow|invalid value) encountered:RuntimeWarning")
def test_the_same_errors_as_scikit_learn(what):
    kind, settings, do = WRONG[what]
    with pytest.raises(Exception) as theirs:  # noqa: PT011
        do(THEIRS[kind](**settings))
    with pytest.raises(type(theirs.value), match=f"^{re.escape(str(theirs.value))}$"):
        do(kind(**settings))
    assert isinstance(theirs.value, ValueError | AttributeError | NotFittedError)


@each_estimator
@pytest.mark.parametrize(
    "settings",
    [
        {"max_iter": 2},
        {"max_iter": 2, "solver": "lbfgs"},
        {"max_fun": 3, "solver": "lbfgs"},
        {"max_iter": 2, "batch_size": 1000},
    ],
    ids=["epochs", "iterations", "evaluations", "batch"],
)
def test_the_same_warnings_as_scikit_learn(kind, settings):
    found = []
    for estimator in (kind(random_state=0, **settings), THEIRS[kind](random_state=0, **settings)):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            estimator.fit(X, y)
        assert caught[-1].filename == __file__ or estimator.solver == "lbfgs" or type(estimator) not in THEIRS
        found.append([(w.category, str(w.message)) for w in caught])
    assert found[0] == found[1]
    assert found[0][-1][0] is ConvergenceWarning


@each_estimator
@pytest.mark.parametrize("solver", ["lbfgs", "sgd", "adam"])
@pytest.mark.parametrize("size", [1e100, 1e150, 1e200, 1e300])
@pytest.mark.filterwarnings("ignore:(overflow|invalid value) encountered:RuntimeWarning")
def test_numbers_as_large_as_these_end_as_in_scikit_learn(kind, solver, size):
    """Both refuse them, or both keep finite parameters; lbfgs warns that it has not converged."""
    found = []
    for estimator in (kind, THEIRS[kind]):
        estimator = estimator(hidden_layer_sizes=(8,), solver=solver, random_state=0, max_iter=20)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", ConvergenceWarning)
            try:
                estimator.fit(size * X[:, :4].astype(float), y)
            except ValueError as error:
                found.append(str(error))
            else:
                assert all(np.isfinite(W).all() for W in (*estimator.coefs_, *estimator.intercepts_))
                assert solver != "lbfgs" or "lbfgs failed to converge" in str(caught[0].message)
                found.append("finite parameters")
    assert found[0] == found[1]
    assert solver != "lbfgs" or found[0] == "finite parameters"


@pytest.mark.parametrize("early", [False, True])
@pytest.mark.parametrize("schedule", ["constant", "adaptive"])
def test_it_prints_what_scikit_learn_prints(early, schedule, capsys):
    shown = []
    for estimator in both(
        "number", verbose=True, shuffle=False, early_stopping=early, solver="sgd", learning_rate=schedule, tol=0.5,
        max_iter=60, n_iter_no_change=2,
    )[:2]:  # fmt: skip
        estimator.fit(X, y.astype(float))
        shown.append(capsys.readouterr().out)
    numbers = re.compile(r"-?\d+\.\d{6,}")
    assert numbers.sub("#", shown[0]) == numbers.sub("#", shown[1])
    assert "Stopping." in shown[0]
    found = [[float(x) for x in numbers.findall(text)] for text in shown]
    np.testing.assert_allclose(found[0], found[1], rtol=1e-3, atol=1e-5)


def test_lbfgs_prints_its_losses(capsys):
    estimator = MLPRegressor(solver="lbfgs", verbose=True, max_iter=3, random_state=0).fit(X, y)
    losses = re.findall(r"Loss = (\d+\.\d{8})\n", capsys.readouterr().out)
    assert min(map(float, losses)) == pytest.approx(estimator.loss_, abs=1e-8)


@pytest.mark.parametrize(
    ("dtype", "size", "converged"),
    [("float32", 1e-6, True), ("float32", 1.0, False), ("float64", 1e-9, True), ("float64", 1e-6, False)],
)
def test_lbfgs_that_finds_nothing_lower(monkeypatch, dtype, size, converged):
    """It has converged if the gradient is as small as its dtype can tell; if not, it failed."""
    minimize = scipy.optimize.minimize

    def abnormal(*arguments, **options):
        result = minimize(*arguments, **options)
        result.status, result.jac[:] = 2, size
        return result

    monkeypatch.setattr(scipy.optimize, "minimize", abnormal)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        MLPClassifier(solver="lbfgs", random_state=0).fit(X.astype(dtype), y)
    assert [w.category for w in caught] == [ConvergenceWarning] * (not converged)


SETS = {
    "digits": (MLPClassifier, load_digits, {}),
    "breast cancer": (MLPClassifier, load_breast_cancer, {}),
    "diabetes": (MLPRegressor, load_diabetes, {"solver": "sgd", "learning_rate_init": 1e-4}),
    "diabetes, lbfgs": (MLPRegressor, load_diabetes, {"solver": "lbfgs", "alpha": 10.0, "hidden_layer_sizes": (10,)}),
}


@pytest.mark.slow
@pytest.mark.parametrize("data", SETS)
def test_scores_on_real_data_are_scikit_learns(data):
    """The mean of three seeds is within twice the largest difference between seeds, and 2%."""
    kind, load, settings = SETS[data]
    scores = {kind: [], THEIRS[kind]: []}
    for seed in range(3):
        X_train, X_test, y_train, y_test = train_test_split(*load(return_X_y=True), random_state=seed)
        for each, found in scores.items():
            pipeline = make_pipeline(StandardScaler(), each(random_state=seed, max_iter=40, **settings))
            found.append(pipeline.fit(X_train, y_train).score(X_test, y_test))
    ours, theirs = scores.values()
    assert abs(np.mean(ours) - np.mean(theirs)) < 2 * np.ptp(theirs) + 0.02


# ---- among scikit-learn's tools --------------------------------------------------------------------------------------


@pytest.mark.slow
@each_estimator
@pytest.mark.parametrize("settings", [{}, {"solver": "lbfgs"}, {"early_stopping": True}], ids=str)
@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, lambda e: pickle.loads(pickle.dumps(e))])
def test_copies_predict_and_go_on_as_the_original(kind, settings, again):
    estimator = kind(random_state=0, max_iter=5, **settings).fit(X, y)
    other = again(estimator)
    np.testing.assert_array_equal(other.predict(X), estimator.predict(X))
    if "solver" not in settings:
        for each in (other, estimator):
            for _ in range(3):
                each.partial_fit(X, y)
        for mine, its in zip(estimator.coefs_, other.coefs_, strict=True):
            np.testing.assert_array_equal(mine, its)
    other.coefs_[0][:] = 0
    assert np.any(estimator.coefs_[0])
    assert not hasattr(clone(estimator), "coefs_")


@pytest.mark.slow
@each_estimator
def test_a_grid_of_pipelines_on_two_processes(kind):
    pipeline = make_pipeline(StandardScaler(), kind(random_state=0, max_iter=5))
    name = kind.__name__.lower()
    grid = {f"{name}__hidden_layer_sizes": [(4,), (30,)], f"{name}__activation": ["relu", "gelu"]}
    search = GridSearchCV(pipeline, grid, n_jobs=2, cv=2, error_score="raise").fit(X, y)
    alone = GridSearchCV(pipeline, grid, cv=2).fit(X, y)
    np.testing.assert_array_equal(search.cv_results_["mean_test_score"], alone.cv_results_["mean_test_score"])
    np.testing.assert_array_equal(search.predict(X), alone.predict(X))


@pytest.mark.parametrize("classes", [["no", "yes"], [3, 5, 8]])
def test_scikit_learns_displays_take_the_estimators(classes):
    """Confusion matrices and decision boundaries; the former of the predictions of a network too."""
    pytest.importorskip("matplotlib", reason="displays need matplotlib (extra plot)")
    from matplotlib.figure import Figure
    from sklearn.inspection import DecisionBoundaryDisplay
    from sklearn.metrics import ConfusionMatrixDisplay, confusion_matrix

    rng = np.random.default_rng(0)
    X, y = rng.uniform(-1, 1, (90, 2)), np.array(classes)[np.arange(90) % len(classes)]
    estimator = MLPClassifier(8, max_iter=5, n_iter_no_change=5, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        estimator.fit(X, y)
    expected = confusion_matrix(y, estimator.predict(X))
    one, other, plane = Figure().subplots(3)
    given = ConfusionMatrixDisplay.from_estimator(estimator, X, y, ax=one)
    np.testing.assert_array_equal(given.confusion_matrix, expected)
    assert given.display_labels.tolist() == classes
    predictions = estimator.network_.predict_classes(X)
    given = ConfusionMatrixDisplay.from_predictions(y, predictions, ax=other)
    np.testing.assert_array_equal(given.confusion_matrix, expected)
    for method in ("predict", "predict_proba"):
        drawn = DecisionBoundaryDisplay.from_estimator(
            estimator, X, response_method=method, eps=0.1, grid_resolution=20, ax=plane
        )
        assert drawn.response.shape[:2] == (20, 20)


def test_a_validation_set_goes_through_a_pipeline():
    with sklearn.config_context(enable_metadata_routing=True):
        estimator = MLPClassifier(random_state=0, max_iter=3).set_fit_request(X_val=True, y_val=True)
        steps = [("scale", StandardScaler()), ("net", estimator)]
        pipeline = Pipeline(steps, transform_input=["X_val"])
        pipeline.fit(5 * X[:100], y[:100], X_val=5 * X[100:], y_val=y[100:])
    scaler = StandardScaler().fit(X[:100])
    alone = clone(estimator).fit(scaler.transform(X[:100]), y[:100], X_val=scaler.transform(X[100:]), y_val=y[100:])
    assert pipeline[-1].validation_loss_curve_ == pytest.approx(alone.validation_loss_curve_, rel=1e-4)


@each_estimator
def test_parameters_are_what_the_user_makes_them(kind):
    """Written in place or replaced, as in federated averaging, they are used for predictions and further training."""
    one, other = (kind(random_state=seed, max_iter=3).fit(X, y) for seed in (0, 1))
    for mine, its in zip(one.coefs_ + one.intercepts_, other.coefs_ + other.intercepts_, strict=True):
        mine[:] = its
    np.testing.assert_array_equal(one.predict(X), other.predict(X))
    third = kind(random_state=2, max_iter=3).fit(X, y)
    third.coefs_, third.intercepts_ = [W.copy() for W in other.coefs_], [b.copy() for b in other.intercepts_]
    np.testing.assert_array_equal(third.predict(X), other.predict(X))
    third.coefs_[0] = np.zeros_like(third.coefs_[0])
    third.partial_fit(X, y)
    assert np.abs(third.coefs_[0]).max() < 0.01


@each_estimator
def test_warm_start_goes_on_where_the_last_fit_ended(kind):
    warm = kind(random_state=0, max_iter=4, warm_start=True)
    for count in (1, 2):
        warm.fit(X, y)
        assert (warm.n_iter_, len(warm.loss_curve_), warm.t_) == (4, 4 * count, 4 * count * len(X))
    cold = kind(random_state=0, max_iter=4).fit(X, y)
    assert warm.loss_curve_[:4] == cold.loss_curve_
    assert warm.loss_curve_[4] < cold.loss_curve_[0]
    before = warm.loss_curve_[-1]
    assert warm.set_params(alpha=0.5, solver="lbfgs").fit(X, y).loss_ < before + 1


@each_estimator
def test_partial_fit_is_an_epoch_of_fit(kind):
    whole = kind(random_state=0, max_iter=5, shuffle=False, batch_size=64).fit(X, y)
    parts = clone(whole)
    for _ in range(5):
        parts.partial_fit(X, y, **({"classes": [0, 1, 2]} if kind is MLPClassifier else {}))
        assert parts.n_iter_ == 1
    assert parts.loss_curve_ == whole.loss_curve_
    for mine, its in zip(parts.coefs_ + parts.intercepts_, whole.coefs_ + whole.intercepts_, strict=True):
        np.testing.assert_array_equal(mine, its)


def test_partial_fit_of_a_stream():
    """Batches of any sizes, of which some lack a class."""
    estimator, start = MLPClassifier(random_state=0), 0
    for size in (50, 1, 7, 100, 72) * 10:
        rows = np.arange(start, start + size) % len(X)
        estimator.partial_fit(X[rows], y[rows], classes=[0, 1, 2])
        start += size
    assert estimator.t_ == start
    assert estimator.score(X, y) > 0.6


# ---- data ------------------------------------------------------------------------------------------------------------


@each_problem
@pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])
@pytest.mark.parametrize("form", [csr_matrix, csr_array, csc_array])
def test_sparse_data_are_fitted_as_dense_ones_to_rounding(name, solver, form):
    make, X, y = problem(name)
    X = np.where(X > 0.5, X, 0)
    early = name == "classes" and solver != "lbfgs"
    kept = make(random_state=0, solver=solver, max_iter=3, early_stopping=early, activation="tanh").fit(X, y)
    given = clone(kept).fit(form(X), y)
    np.testing.assert_allclose(given.coefs_[0], kept.coefs_[0], rtol=0, atol=WITHIN)
    np.testing.assert_allclose(predicted(given, form(X)), predicted(kept, X), rtol=0, atol=1e-8)
    np.testing.assert_array_equal(predicted(given, form(X))[:1], predicted(given, form(X[:1])))


@each_problem
@pytest.mark.parametrize("form", [csr_matrix, csc_array])
def test_sparse_data_are_fitted_as_by_scikit_learn(name, form):
    ours, theirs, X, y = both(name, max_iter=5, activation="tanh", shuffle=False)
    X = np.where(X > 0.5, X, 0)
    ours.fit(form(X), y), theirs.fit(form(X), y)
    np.testing.assert_allclose(ours.coefs_[0], theirs.coefs_[0], rtol=0, atol=WITHIN)
    np.testing.assert_allclose(ours.loss_curve_, theirs.loss_curve_, rtol=WITHIN)
    np.testing.assert_allclose(predicted(ours, form(X)), predicted(theirs, form(X)), rtol=0, atol=1e-8)


@each_problem
@pytest.mark.parametrize("form", [csr_matrix, csc_matrix])
def test_a_sparse_validation_set_is_measured_as_a_dense_one(name, form):
    make, X, y = problem(name)
    X = np.where(X > 0.5, X, 0)
    kept = make(early_stopping=True, **FEW).fit(X[:150], y[:150], X_val=X[150:], y_val=y[150:])
    given = clone(kept).fit(X[:150], y[:150], X_val=form(X[150:]), y_val=y[150:])
    np.testing.assert_allclose(given.validation_loss_curve_, kept.validation_loss_curve_, rtol=1e-10)
    np.testing.assert_allclose(given.validation_scores_, kept.validation_scores_, rtol=1e-10)
    np.testing.assert_array_equal(given.coefs_[0], kept.coefs_[0])


def dtypes(estimator):
    return {array.dtype.name for array in estimator.coefs_ + estimator.intercepts_}


def predicted(estimator, X):
    return (estimator.predict_proba if hasattr(estimator, "predict_proba") else estimator.predict)(X)


@each_problem
@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_float32_is_fitted_in_float32(name, solver):
    """The parameters of adam are scikit-learn's within float32. Those of lbfgs become float64 in scikit-learn alone."""
    ours, theirs, X, y = both(name, solver=solver, max_iter=5, activation="tanh", shuffle=False)
    X = X.astype(np.float32)
    ours.fit(X, y)
    theirs.fit(X, y)
    assert dtypes(ours) == {"float32"}
    assert dtypes(theirs) == {"float64" if solver == "lbfgs" else "float32"}
    assert predicted(ours, X).dtype == np.float32
    assert predicted(ours, X.astype(float)).dtype == np.float64
    assert_close(predicted(ours, X), predicted(theirs, X), 1e-4)
    if solver == "adam":
        for actual, expected in zip(ours.coefs_, theirs.coefs_, strict=True):
            assert_close(actual, expected, 1e-5)


FORMS = {
    "float64": np.float64,
    "float32": np.float32,
    "float16": np.float16,
    "int64": lambda X: np.rint(4 * X).astype(int),
    "uint8": lambda X: np.rint(4 * abs(X)).astype(np.uint8),
    "bool": lambda X: X > 0,
    "list": lambda X: X.tolist(),
    "csr of float32": lambda X: csr_array(X.astype(np.float32)),
    "csc of int64": lambda X: csc_array(np.rint(X).astype(int)),
}


@pytest.mark.parametrize("form", FORMS)
def test_all_dtypes_are_scikit_learns(form):
    """Those of the parameters, and of predictions for X of each dtype."""
    ours, theirs, X, y = both("number", max_iter=1)
    X = FORMS[form](X)
    for each in (ours, theirs):
        each.fit(X, y)
    assert dtypes(ours) == dtypes(theirs)
    for other in FORMS.values():
        assert ours.predict(other(problem("number")[1])).dtype == theirs.predict(other(problem("number")[1])).dtype


@each_estimator
@pytest.mark.parametrize("solver", ["adam", "sgd"])
@pytest.mark.parametrize(("first", "later"), [("float32", "float64"), ("float64", "float32")])
def test_later_fits_keep_the_dtype_of_the_first(kind, solver, first, later):
    """Of warm starts and of `partial_fit`, with scikit-learn's parameters, and those of an X of the first dtype."""
    few = {"solver": solver, "random_state": 0, "max_iter": 3, "shuffle": False, "activation": "tanh"}
    rows = X.astype(np.float32)
    ours, alone, theirs = (each(warm_start=True, **few) for each in (kind, kind, THEIRS[kind]))
    for each in (ours, theirs):
        each.fit(rows.astype(first), y).fit(rows.astype(later), y).partial_fit(rows.astype(later), y)
        assert dtypes(each) == {first}
    alone.fit(rows.astype(first), y).fit(rows.astype(first), y).partial_fit(rows.astype(first), y)
    for mine, its, expected in zip(ours.coefs_, alone.coefs_, theirs.coefs_, strict=True):
        np.testing.assert_array_equal(mine, its)
        assert_close(mine, expected, 1e-5)
    ours.set_params(warm_start=False).fit(rows.astype(later), y)
    assert dtypes(ours) == {later}
    ours.set_params(warm_start=True, solver="lbfgs").fit(rows.astype(first), y)
    assert dtypes(ours) == {later}


@each_estimator
def test_parameters_that_are_replaced_are_converted_to_the_dtype_of_the_fit(kind):
    """Such as by averages in float64; the optimizer goes on, also from a pickle."""
    estimator = kind(random_state=0, max_iter=3).fit(X.astype(np.float32), y)
    expected = copy.deepcopy(estimator).partial_fit(X, y)
    estimator.coefs_ = [W.astype(float) for W in estimator.coefs_]
    for each in (pickle.loads(pickle.dumps(estimator)), estimator):
        each.partial_fit(X, y)
        assert dtypes(each) == {"float32"}
        np.testing.assert_array_equal(each.coefs_[0], expected.coefs_[0])


@each_estimator
@pytest.mark.parametrize("early", [False, True], ids=["", "early stopping"])
def test_the_names_of_a_data_frame(kind, early):
    """They are kept; data with the same names are taken without a warning, others are refused."""
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    names = [f"x{i}" for i in range(7)]
    frame = pandas.DataFrame(X, columns=names)
    other = frame[names[::-1]]
    estimator = kind(early_stopping=early, **FEW)
    plain = clone(estimator).fit(X[:150], y[:150], X_val=X[150:], y_val=y[150:])
    estimator.fit(frame[:150], y[:150], X_val=frame[150:], y_val=y[150:])
    assert [*estimator.feature_names_in_] == names
    assert not hasattr(plain, "feature_names_in_")
    assert estimator.validation_loss_curve_ == plain.validation_loss_curve_
    np.testing.assert_array_equal(estimator.predict(frame), plain.predict(X))
    estimator.score(frame, y)
    estimator.partial_fit(frame, y, X_val=frame, y_val=y)
    for do in (
        lambda: estimator.predict(other),
        lambda: estimator.partial_fit(other, y),
        lambda: estimator.partial_fit(frame, y, X_val=other, y_val=y),
        lambda: clone(estimator).fit(frame, y, X_val=other, y_val=y),
    ):
        with pytest.raises(ValueError, match="The feature names should match those that were passed during fit"):
            do()
    with pytest.warns(UserWarning, match="X does not have valid feature names"):
        estimator.predict(X)


@each_estimator
@pytest.mark.parametrize("settings", [{}, {"early_stopping": True, "n_iter_no_change": 1}], ids=str)
def test_scikit_learns_check_of_names(kind, settings):
    """scikit-learn's suite runs it apart from the other checks; here with early stopping too."""
    pytest.importorskip("pandas", reason="pandas is not installed")
    estimator_checks.check_dataframe_column_names_consistency(kind.__name__, kind(**settings))


@each_estimator
def test_a_row_is_predicted_alike_by_itself_and_among_others(kind):
    for rows in (X, X.astype(np.float32)):
        estimator = kind(random_state=0, max_iter=3).fit(rows, y)
        np.testing.assert_array_equal(predicted(estimator, rows[3:4]), predicted(estimator, rows)[3:4])


def test_probabilities_are_of_float64():
    """They sum to 1 in float64, and a probability near 1 differs from 1."""
    estimator = MLPClassifier(random_state=0, solver="lbfgs", max_iter=500, alpha=0).fit(X, y)
    P = estimator.predict_proba(100 * X)
    np.testing.assert_allclose(P.sum(axis=1), 1, atol=1e-15)
    assert np.isfinite(log_loss(y, P))
    two = MLPClassifier(random_state=0).fit(X, y % 2)
    two.coefs_[1][:] *= 4
    P = two.predict_proba(X)
    assert 0 < P.min() < 1e-8
    np.testing.assert_allclose(np.exp(two.predict_log_proba(X)), P)


def test_many_labels_at_once():
    X, Y = make_multilabel_classification(n_samples=400, n_features=20, n_classes=5, random_state=0)
    scores = [kind(random_state=0).fit(X, Y).score(X, Y) for kind in (MLPClassifier, neural_network.MLPClassifier)]
    assert scores[0] == pytest.approx(scores[1], abs=0.05)
    streamed = MLPClassifier(random_state=0, early_stopping=True, learning_rate_init=0.01)
    for _ in range(30):
        streamed.partial_fit(X, Y, classes=range(5))
    assert streamed.best_validation_score_ == max(streamed.validation_scores_) > 0.2


def test_counts_are_not_negative():
    with pytest.raises(ValueError, match="y has negative values, down to -1"):
        MLPRegressor("poisson").fit(X, y - 1)
    with pytest.raises(ValueError, match="y_val has negative values, down to -1"):
        MLPRegressor("poisson").fit(X, y, X_val=X, y_val=y - 1)
    assert MLPRegressor("poisson", random_state=0, max_iter=5).fit(X, y).predict(X).min() > 0


@pytest.mark.parametrize("name", ["two classes", "labels"])
def test_probabilities_are_not_clipped_in_the_loss(name):
    """A saturated and wrong output costs −z; scikit-learn limits it to −log ε = 36."""
    losses = []
    for estimator in both(name, solver="sgd", learning_rate_init=1e-12, warm_start=True, max_iter=1, alpha=0)[:2]:
        _, X, y = problem(name)
        estimator.fit(X, y)
        estimator.coefs_ = [np.zeros_like(W) for W in estimator.coefs_]
        estimator.intercepts_[-1][:] = -100
        losses.append(estimator.fit(X, y).loss_ / np.mean(np.sum(estimator._label_binarizer.transform(y), axis=1)))
    assert losses == pytest.approx([100, -np.log(np.finfo(float).eps)], rel=1e-3)


def test_where_the_exponential_overflows():
    """eᶻ of a Poisson regression is infinite at z > 88 in float32, at z > 709 in float64; a fit there is an error."""
    for dtype, most in (("float32", 89.0), ("float64", 710.0)):
        rows = X.astype(dtype)
        estimator = MLPRegressor("poisson", warm_start=True, **FEW).fit(rows, y)
        estimator.coefs_ = [np.zeros_like(W) for W in estimator.coefs_]
        estimator.intercepts_[-1][:] = most
        with np.errstate(over="ignore"):
            assert np.isinf(estimator.predict(rows)).all()
            np.testing.assert_allclose(estimator.predict(X), np.exp(most))
        with pytest.raises(ValueError, match="Solver produced non-finite"):
            estimator.fit(rows, y)


@each_estimator
@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
@pytest.mark.parametrize("weight", [np.inf, -1.0])
def test_weights_that_are_refused(kind, solver, weight):
    with pytest.raises(ValueError, match=r"sample_weight.*(infinity|none may be negative)"):
        kind(solver=solver, **FEW).fit(X, y, np.where(y == 0, weight, 1.0))


@each_estimator
@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
@pytest.mark.parametrize("factor", [1e-35, 1e35])
def test_a_factor_of_all_weights_changes_nothing(kind, solver, factor):
    weights = np.where(y == 0, 0.5, 1.5)
    one, other = (kind(solver=solver, **FEW).fit(X, y, w) for w in (weights / weights.mean(), factor * weights))
    for ours, theirs in zip(one.coefs_, other.coefs_):
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-4)


@each_estimator
def test_lbfgs_has_no_partial_fit(kind):
    assert not hasattr(kind(solver="lbfgs"), "partial_fit")


def test_partial_fit_with_early_stopping_needs_rows_to_hold_out():
    with pytest.raises(ValueError, match="The validation set is too small"):
        MLPRegressor(early_stopping=True).partial_fit(X[:10], y[:10])
    MLPRegressor(early_stopping=True).partial_fit(X[:11], y[:11])
    MLPRegressor(early_stopping=True).partial_fit(X[:1], y[:1], X_val=X, y_val=y)


def test_the_score_that_is_watched_is_that_of_score():
    for name in PROBLEMS:
        make, X, y = problem(name)
        weights = np.linspace(0, 1, 130)
        estimator = make(random_state=0, max_iter=1, early_stopping=True)
        estimator.fit(X[:100], y[:100], X_val=X[100:], y_val=y[100:], sample_weight_val=weights)
        score = accuracy_score if make is MLPClassifier else r2_score
        expected = score(y[100:], estimator.predict(X[100:]), sample_weight=weights)
        assert estimator.validation_scores_ == [pytest.approx(expected, abs=1e-5)]


@pytest.mark.parametrize("constant", [False, True])
def test_the_score_of_targets_that_do_not_vary(constant):
    """One column is constant, and is predicted exactly or not."""
    Y = np.array([[1.0, 2.0], [1.0, 5.0], [1.0, 3.0]])
    Y_hat = Y + 0.1 * np.array([[not constant, 1], [0, -1], [0, 1]])
    assert r_squared(Y, Y_hat, None) == pytest.approx(r2_score(Y, Y_hat))


# ---- beyond scikit-learn ---------------------------------------------------------------------------------------------


@each_problem
def test_a_given_validation_set(name):
    """Its loss is measured after each epoch, and early stopping holds nothing else out."""
    make, X, y = problem(name)
    rest = {"X_val": X[180:], "y_val": y[180:]}
    watched = make(random_state=0, max_iter=6).fit(X[:180], y[:180], **rest)
    plain = make(random_state=0, max_iter=6).fit(X[:180], y[:180])
    assert watched.loss_curve_ == plain.loss_curve_
    assert (len(watched.validation_loss_curve_), watched.validation_scores_) == (6, None)
    assert plain.validation_loss_curve_ is None
    early = clone(watched).set_params(early_stopping=True).fit(X[:180], y[:180], **rest)
    assert early.t_ == 6 * 180
    assert early.validation_loss_curve_ == watched.validation_loss_curve_
    assert early.score(X[180:], y[180:]) == pytest.approx(max(early.validation_scores_), abs=1e-5)
    silent = clone(watched).set_params(alpha=0.0).fit(X[180:], y[180:], X_val=X[180:], y_val=y[180:])
    again = clone(silent).set_params(solver="sgd", learning_rate_init=1e-12, max_iter=1, warm_start=True)
    again.fit(X[180:], y[180:])
    assert silent.validation_loss_curve_[-1] < silent.loss_curve_[-1] < again.loss_curve_[-1]


def test_the_loss_of_a_validation_set_is_the_loss_without_its_penalty():
    for name in PROBLEMS:
        make, X, y = problem(name)
        weights = np.linspace(0.5, 1.5, len(y))
        still = {"solver": "sgd", "learning_rate_init": 1e-12, "max_iter": 1, "random_state": 0, "batch_size": 230}
        one = make(alpha=0.0, **still).fit(X, y, weights, X_val=X, y_val=y, sample_weight_val=weights)
        assert one.validation_loss_curve_ == pytest.approx(one.loss_curve_, rel=1e-5)
        other = make(alpha=10.0, **still).fit(X, y, weights, X_val=X, y_val=y, sample_weight_val=weights)
        assert other.validation_loss_curve_ == pytest.approx(one.loss_curve_, rel=1e-5)
        assert other.loss_ > one.loss_


@pytest.mark.parametrize(
    ("settings", "given", "message"),
    [
        ({}, {"X_val": X}, "y_val was not provided"),
        ({}, {"y_val": y}, "X_val was not provided"),
        ({}, {"sample_weight_val": y}, "X_val was not provided"),
        ({}, {"X_val": X, "y_val": y + 1}, r"`y_val` has classes not in `self.classes_`: \[3\]"),
        ({}, {"X_val": X[:, 1:], "y_val": y}, "X has 6 features"),
        ({}, {"X_val": X, "y_val": y[1:]}, "inconsistent numbers of samples"),
        ({}, {"X_val": X, "y_val": y, "sample_weight_val": [1]}, "sample_weight.shape"),
        ({"solver": "lbfgs"}, {"X_val": X, "y_val": y}, "for the solvers sgd and adam"),
        ({"dropout": 1.0}, {}, "'dropout' parameter"),
        ({"activation": "softmax"}, {}, "'activation' parameter"),
        ({"class_weight": "even"}, {}, "'class_weight' parameter"),
        ({"progress": "yes"}, {}, "'progress' parameter"),
        ({}, {"sample_weight": y - 1.0}, "none may be negative"),
    ],
    ids=str,
)
def test_what_is_wrong_with_it(settings, given, message):
    with pytest.raises(ValueError, match=message):
        MLPClassifier(**settings).fit(X, y, **given)


@each_estimator
def test_partial_fit_with_early_stopping_is_fit_with_early_stopping(kind):
    """With the same validation set: after every call the estimator is the best so far, the next call goes on from where
    the last one came to, and the end comes when `fit`'s does."""
    X_train, X_val, y_train, y_val = X[:150], X[150:], y[:150], y[150:]
    settings = {"random_state": 0, "shuffle": False, "early_stopping": True, "n_iter_no_change": 3, "tol": 1e-3,
                "learning_rate_init": 0.02}  # fmt: skip
    whole = kind(max_iter=400, **settings).fit(X_train, y_train, X_val=X_val, y_val=y_val)
    parts, calls = kind(**settings), 0
    first = {"classes": [0, 1, 2]} if kind is MLPClassifier else {}
    while not getattr(parts, "stopped_", False):
        parts.partial_fit(X_train, y_train, **first, X_val=X_val, y_val=y_val)
        calls += 1
        best = parts.score(X_val, y_val)
        assert best == pytest.approx(max(parts.validation_scores_), abs=1e-5)
        if calls == 5:
            parts = pickle.loads(pickle.dumps(parts))
    assert 5 < calls == whole.n_iter_ < 400
    assert parts.validation_scores_ == whole.validation_scores_
    assert parts.validation_loss_curve_ == whole.validation_loss_curve_
    for mine, its in zip(parts.coefs_, whole.coefs_, strict=True):
        np.testing.assert_array_equal(mine, its)
    parts.partial_fit(X_train, y_train, X_val=X_val, y_val=y_val)
    assert len(parts.loss_curve_) == calls
    parts.fit(X_train, y_train)
    assert not parts.stopped_
    parts.partial_fit(X_train, y_train)
    assert not parts.stopped_


def test_partial_fit_holds_out_the_same_rows_of_the_same_data(monkeypatch):
    """Otherwise it would sooner or later be trained on all of them."""
    seen = []
    split = fastprop.sklearn.train_test_split
    monkeypatch.setattr(
        fastprop.sklearn, "train_test_split", lambda *arrays, **how: seen.append(split(*arrays, **how)) or seen[-1]
    )
    estimator = MLPClassifier(early_stopping=True, validation_fraction=0.2)
    for _ in range(3):
        estimator.partial_fit(X, y, classes=[0, 1, 2])
    for later in seen[1:]:
        np.testing.assert_array_equal(later[1], seen[0][1])
    assert estimator.t_ == 3 * len(seen[0][0]) == 3 * 184


def test_parameters_that_are_written_are_what_early_stopping_goes_on_from():
    estimator = MLPRegressor(early_stopping=True, random_state=0, solver="sgd", learning_rate_init=1e-12)
    for _ in range(3):
        estimator.partial_fit(X, y)
    estimator.coefs_[0][:] = 0.5
    estimator.partial_fit(X, y)
    assert estimator._last.max() == pytest.approx(0.5)


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_class_weights_are_weights_of_samples(solver):
    settings = {"solver": solver, "random_state": 0, "max_iter": 5}
    weights = np.linspace(0.5, 1.5, len(y))
    labels = np.array(["a", "b", "c"])[y]
    for given, of_samples in (
        ({"a": 2, "c": 0.5}, np.array([2, 1, 0.5])[y]),
        ("balanced", compute_sample_weight("balanced", y)),
    ):
        ours = MLPClassifier(class_weight=given, **settings).fit(X, labels, weights)
        same = MLPClassifier(**settings).fit(X, labels, weights * of_samples)
        np.testing.assert_array_equal(ours.predict_proba(X), same.predict_proba(X))
    Y = np.stack([y == 0, y == 1], axis=1).astype(int)
    given = [{0: 1, 1: 3}, {0: 2, 1: 1}]
    table = np.stack([np.where(y == 0, 3, 1), np.where(y == 1, 1, 2)], axis=1)
    ours = MLPClassifier(class_weight=given, **settings).fit(X, Y, weights)
    same = MLPClassifier(**settings).fit(X, Y, table * weights[:, None])
    np.testing.assert_array_equal(ours.predict_proba(X), same.predict_proba(X))


def test_rare_labels_do_not_multiply():
    """The weights of a row's labels stay those of the labels: no output of any row weighs more than its own."""
    rng = np.random.default_rng(0)
    Y = (rng.random((2000, 5)) < 0.05).astype(int)
    rows = rng.standard_normal((2000, 4)) + Y[:, :4]
    settings = {"hidden_layer_sizes": 16, "max_iter": 3, "random_state": 0}
    balanced = MLPClassifier(class_weight="balanced", **settings).fit(rows, Y)
    weights = np.column_stack([compute_sample_weight("balanced", column) for column in Y.T])
    assert weights.max() < 15
    same = MLPClassifier(**settings).fit(rows, Y, weights)
    np.testing.assert_array_equal(balanced.coefs_[0], same.coefs_[0])


@pytest.mark.parametrize("value", [{0: 1, 1: 2}, [{0: 1}], "evenly"])
def test_class_weights_of_labels_that_are_refused(value):
    Y = np.stack([y == 0, y == 1], axis=1).astype(int)
    with pytest.raises(ValueError, match="class_weight"):
        MLPClassifier(class_weight=value, **FEW).fit(X, Y)


@pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])
@each_estimator
def test_weights_of_single_outputs(kind, solver):
    """A weight of 0 hides a target or label; equal weights of a row are the weight of the row."""
    rng = np.random.default_rng(0)
    Y = np.stack([y == 0, y == 1], axis=1).astype(int) if kind is MLPClassifier else np.stack([X[:, 0], X[:, 1]], 1)
    weights = rng.uniform(0.5, 2, Y.shape) * (rng.random(Y.shape) > 0.3)
    settings = {"solver": solver, "random_state": 0, "max_iter": 5, "hidden_layer_sizes": 8}
    hidden = np.where(weights > 0, Y, 1 - Y)
    one, other = (kind(**settings).fit(X, given, weights) for given in (Y, hidden))
    np.testing.assert_array_equal(one.coefs_[0], other.coefs_[0])
    assert one.loss_ == other.loss_
    rows = rng.uniform(0.5, 2, len(Y))
    one = kind(**settings).fit(X, Y, rows)
    other = kind(**settings).fit(X, Y, np.stack([rows, rows], axis=1))
    np.testing.assert_allclose(one.coefs_[0], other.coefs_[0], atol=1e-5)
    assert one.loss_ == pytest.approx(other.loss_, rel=1e-5)


@each_estimator
def test_early_stopping_scores_by_the_weights_of_single_outputs(kind):
    """Targets of weight 0 may be anything in the rows held out too, and in a validation set of the user's."""
    Y = np.stack([y == 0, y == 1], axis=1).astype(int) if kind is MLPClassifier else np.stack([X[:, 0], X[:, 1]], 1)
    weights = (np.random.default_rng(0).random(Y.shape) > 0.3).astype(float)
    weights[:, 1] = 0
    hidden = np.where(weights > 0, Y, 1 - Y)
    settings = {"early_stopping": True, "random_state": 0, "max_iter": 5, "hidden_layer_sizes": 8}
    for validation in ((None, None, None), (X[:40], Y[:40], weights[:40])):
        given = dict(zip(("X_val", "y_val", "sample_weight_val"), validation))
        one = kind(**settings).fit(X, Y, weights, **given)
        other = kind(**settings).fit(X, hidden, weights, **given)
        assert one.validation_loss_curve_ == other.validation_loss_curve_
        if kind is MLPRegressor:
            assert one.validation_scores_ == other.validation_scores_
            assert np.isfinite(one.validation_scores_).all()


def test_weights_of_single_outputs_that_are_refused():
    Y = np.stack([X[:, 0], X[:, 1]], axis=1)
    with pytest.raises(ValueError, match=r"sample_weight has shape \(\d+, 3\); it must be"):
        MLPRegressor(**FEW).fit(X, Y, np.ones((len(X), 3)))
    with pytest.raises(ValueError, match=r"sample_weight has shape .* outputs of a softmax have one loss together"):
        MLPClassifier(**FEW).fit(X, y, np.ones((len(X), 3)))
    with pytest.raises(ValueError, match="Input sample_weight contains NaN"):
        MLPRegressor(**FEW).fit(X, Y, np.full(Y.shape, np.nan))


def test_class_weights_of_a_stream():
    """A dictionary may name classes that a batch lacks; "balanced" needs all samples."""
    one, other = MLPClassifier(random_state=0, class_weight={0: 2, 2: 3}), MLPClassifier(random_state=0)
    for rows in (y != 2, y != 0, y == 1):
        one.partial_fit(X[rows], y[rows], classes=[0, 1, 2])
        other.partial_fit(X[rows], y[rows], np.array([2, 1, 3])[y[rows]], classes=[0, 1, 2])
    np.testing.assert_array_equal(one.coefs_[0], other.coefs_[0])
    with pytest.raises(ValueError, match="class_weight='balanced' needs all samples"):
        MLPClassifier(class_weight="balanced").partial_fit(X, y, classes=[0, 1, 2])


MISH = Activation(
    "of_these_tests", lambda z: z * np.tanh(np.log1p(np.exp(z))),
    lambda z: np.tanh(np.log1p(np.exp(z))) + z * (1 - np.tanh(np.log1p(np.exp(z))) ** 2) / (1 + np.exp(-z)),
)  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("activation", [*HIDDEN, MISH], ids=str)
def test_every_activation_of_fastprop(activation):
    estimator = MLPClassifier(activation=activation, random_state=0, max_iter=60).fit(X, y)
    assert estimator.loss_curve_[-1] < 0.9 * estimator.loss_curve_[0]
    assert clone(estimator).activation == activation
    np.testing.assert_array_equal(clone(estimator).fit(X, y).predict_proba(X), estimator.predict_proba(X))


def test_the_sigmoid_is_the_logistic_function():
    one, other = (MLPClassifier(activation=name, **FEW).fit(X, y) for name in ("sigmoid", "logistic"))
    np.testing.assert_array_equal(one.coefs_[0], other.coefs_[0])


@each_estimator
def test_dropout_is_of_training_alone(kind):
    with_it = kind(dropout=0.5, random_state=0, max_iter=20).fit(X, y)
    without = kind(random_state=0, max_iter=20).fit(X, y)
    assert with_it.loss_ > without.loss_
    np.testing.assert_array_equal(with_it.predict(X), with_it.predict(X))
    np.testing.assert_array_equal(with_it.coefs_[0], clone(with_it).fit(X, y).coefs_[0])
    other = clone(with_it).set_params(random_state=1).fit(X, y)
    assert np.any(other.coefs_[0] != with_it.coefs_[0])


def test_a_progress_bar(capsys):
    pytest.importorskip("tqdm", reason="tqdm is not installed")
    MLPRegressor(progress=True, **FEW).fit(X, y)
    assert "460/460" in capsys.readouterr().err
    MLPRegressor(progress=True, **FEW).partial_fit(X, y)
    MLPRegressor(**FEW).fit(X, y)
    assert capsys.readouterr().err == ""


# ---- ends ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_divergence_with_early_stopping_keeps_the_best(dtype):
    rows = X.astype(dtype)
    estimator = MLPRegressor(
        solver="sgd", learning_rate_init=0.05, activation="identity", early_stopping=True, random_state=0
    )
    best = estimator.partial_fit(rows, y).coefs_[0].copy()
    estimator._optimizer.lr = 1e38
    with pytest.warns(RuntimeWarning, match="training diverged"):
        estimator.partial_fit(rows, y).partial_fit(rows, y)
    np.testing.assert_array_equal(estimator.coefs_[0], best)


@pytest.mark.parametrize("solver", ["sgd", "adam", "lbfgs"])
@pytest.mark.parametrize(("kind", "early"), [(MLPClassifier, False), (MLPClassifier, True), (MLPRegressor, False)])
def test_parameters_that_are_not_finite_are_an_error(kind, solver, early, monkeypatch):
    """Also those of the very last step, which no loss is measured after: `fit`'s and `partial_fit`'s.

    A regression with early stopping goes back to where it began instead (below).
    """
    minimize = scipy.optimize.minimize

    def to_infinity(*arguments, **options):
        result = minimize(*arguments, **options)
        result.x[:] = np.inf
        return result

    monkeypatch.setattr(scipy.optimize, "minimize", to_infinity)
    estimator = kind(solver=solver, learning_rate_init=1e300, early_stopping=early, max_iter=1, random_state=0)
    few = (1e3 * X[:150]).astype(np.float32), y[:150]  # one batch, of which a step in float64 would stay finite
    with pytest.raises(ValueError, match="Solver produced non-finite parameter weights"):
        estimator.fit(*few)
    if solver != "lbfgs":
        with pytest.raises(ValueError, match="Solver produced non-finite parameter weights"):
            clone(estimator).partial_fit(*few, **({"classes": [0, 1, 2]} if kind is MLPClassifier else {}))


def test_ctrl_c_ends_a_fit(monkeypatch):
    def interrupt(self, diverged):
        if self.estimator.n_iter_ == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(fastprop.sklearn._AfterEpoch, "_validate", interrupt)
    with pytest.warns(UserWarning, match=r"Training interrupted by user\."):
        estimator = MLPClassifier(random_state=0).fit(X, y)
    assert estimator.predict(X).shape == y.shape
    assert estimator.n_iter_ == 3


def test_a_rate_that_vanishes_is_no_error():
    """The velocity continues, as scikit-learn's does."""
    ours, theirs, X, y = both("number", solver="sgd", learning_rate="invscaling", power_t=40, max_iter=5, shuffle=False)
    assert ours.fit(X, y).loss_curve_ == pytest.approx(theirs.fit(X, y).loss_curve_, rel=1e-5)


def test_without_scikit_learn_it_says_what_to_install(run_python):
    code = """
import sys
sys.modules["sklearn"] = None
try:
    import fastprop.sklearn
except ModuleNotFoundError as error:
    print(error)
"""
    said = (
        "fastprop.sklearn needs scikit-learn 1.7 or later. Install it with: pip install 'scikit-learn>=1.7' "
        "(extra sklearn: pip install 'fastprop-cpu[sklearn]')\n"
    )
    assert run_python(code) == said


@each_estimator
def test_it_is_documented(kind):
    """Every parameter and attribute by its name, and the examples hold."""
    import doctest

    fitted = kind(early_stopping=True, **FEW).fit(X, y)
    names = [*kind().get_params(), *(name for name in described(fitted) if name != "classes_")]
    assert [name for name in names if not re.search(rf"\b{name}\b", kind.__doc__)] == []
    assert all(getattr(kind, name).__doc__ for name in ("fit", "partial_fit", "predict", "score"))
    (example,) = doctest.DocTestFinder(recurse=False).find(kind, globs={"np": np, kind.__name__: kind})
    assert doctest.DocTestRunner().run(example).failed == 0


# ---- what is left out around compiled code ---------------------------------------------------------------------------

LATE = {
    "adam": {}, "a short patience": {"tol": 0.05, "n_iter_no_change": 2}, "no patience": {"n_iter_no_change": np.inf},
    "sgd": {"solver": "sgd"},
    "adaptive": {
        "solver": "sgd", "learning_rate": "adaptive", "learning_rate_init": 0.1, "tol": 0.02, "n_iter_no_change": 1
    },
    "dropout": {"alpha": 1.0, "dropout": 0.2}, "verbose": {"verbose": True},
    "divergence": {"solver": "sgd", "learning_rate_init": 1e30},
}  # fmt: skip


def course(make, X, y):
    """The attributes after a fit and a second one with a warm start, as text and bytes, and the error of either."""
    estimator = make(hidden_layer_sizes=20, max_iter=60, batch_size=50, random_state=0, warm_start=True)
    error = ""
    try:
        estimator.fit(X, y).fit(X, y)
    except ValueError as raised:
        error = str(raised)
    bits = [array.tobytes() for array in (*estimator.coefs_, *estimator.intercepts_)]
    others = {name: repr(value) for name, value in vars(estimator).items() if name.endswith(("_", "_count"))}
    return error, bits, others


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@each_problem
@pytest.mark.parametrize("way", LATE)
def test_epochs_that_compiled_code_ends_are_those_that_python_ends(name, way, monkeypatch, capsys):
    """The same bits, attributes, output and errors; without a validation set calls train more than one epoch."""
    make, X, y = problem(name)
    calls = []

    def train(self, *arguments, original=Engine.train, **options):
        calls.append(arguments[5][1])
        return original(self, *arguments, **options)

    monkeypatch.setattr(Engine, "train", train)
    many, said = course(partial(make, **LATE[way]), X, y), capsys.readouterr().out
    assert max(calls) > 5, "steps of an epoch"
    calls.clear()
    monkeypatch.setattr(fastprop.sklearn._AfterEpoch, "epochs_left", 1)
    assert course(partial(make, **LATE[way]), X, y) == many
    assert capsys.readouterr().out == said
    assert bool(said) == (way == "verbose")
    assert max(calls) <= 5


TARGETS = {
    "integers": np.array([3, 1, 2, 3, 1, 2, 2]), "bytes": np.array([3, 1, 2, 3, 1, 2, 2], np.uint8),
    "two integers": np.array([5, 1, 5, 1, 1, 1, 5]), "bool": np.array([True, False] * 4)[:7],
    "text": np.array(list("cabbabc")), "two words": np.array(["no", "yes"] * 4)[:7], "one class": np.array([4] * 7),
    "float": np.array([3.0, 1, 2, 3, 1, 2, 2]), "objects": np.array(list("cabbabc"), object),
    "a column": np.array([[3], [1], [2], [3], [1], [2], [2]]), "a list": [3, 1, 2, 3, 1, 2, 2],
    "labels": np.array([[0, 1], [1, 1], [1, 0], [0, 0], [1, 1], [0, 1], [1, 0]]),
    "many": np.arange(30),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("targets", TARGETS)
@pytest.mark.parametrize("dtype", [np.float64, np.float32, int])
@pytest.mark.parametrize("incremental", [False, True])
def test_plain_arrays_are_validated_as_by_scikit_learn(targets, dtype, incremental):
    """The same X, targets, classes, attributes and types, for all rows and then for some of them."""
    y = TARGETS[targets]
    X = np.random.default_rng(0).integers(9, size=(len(y), 3)).astype(dtype)
    ours, theirs = MLPClassifier(), neural_network.MLPClassifier()
    for rows in (slice(None), slice(1), slice(1, 3)) if incremental else (slice(None), slice(1, 3)):
        fits = rows != slice(None) and incremental
        results = [each._validate_input(X[rows], y[rows], fits, not fits) for each in (ours, theirs)]
        for actual, expected in zip(*results, strict=True):
            assert (actual.dtype, actual.shape) == (expected.dtype, expected.shape)
            np.testing.assert_array_equal(actual, expected)
        assert ours.n_features_in_ == theirs.n_features_in_
        np.testing.assert_array_equal(ours.classes_, theirs.classes_)
        assert ours.classes_.dtype == theirs.classes_.dtype
        assert ours._label_binarizer.y_type_ == theirs._label_binarizer.y_type_
        back = [
            each._label_binarizer.inverse_transform(Y) for each, (_, Y) in zip((ours, theirs), results, strict=True)
        ]
        np.testing.assert_array_equal(*back)


def refusal(estimator, X, y, incremental):
    """What `_validate_input` raises or warns of for samples after it saw those of `blobs`, as text."""
    estimator._validate_input(*blobs(), False, True)
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        try:
            estimator._validate_input(X, y, incremental, not incremental)
        except ValueError as error:
            return str(error)
    return [str(warning.message) for warning in warned]


@pytest.mark.parametrize(
    ("X", "y", "incremental", "settings"),
    [
        (blobs()[0], np.full(230, 3), True, {}),
        (blobs()[0], np.full(230, -1), True, {}),
        (blobs()[0], np.array(["0"] * 230), True, {}),
        (blobs()[0], blobs(classes=2)[1], False, {"warm_start": True}),
        (blobs()[0], blobs(classes=2)[1], True, {"warm_start": True}),
        (blobs()[0], blobs(classes=4)[1], False, {"warm_start": True}),
        (blobs()[0][:, :6], blobs()[1], True, {}),
        (blobs()[0] * np.inf, blobs()[1], False, {}),
        (np.where(blobs()[0] > 2, np.nan, blobs()[0]), blobs()[1], True, {}),
        (blobs()[0][:9], blobs()[1], False, {}),
        (blobs()[0][:0], blobs()[1][:0], False, {}),
        (blobs()[0], blobs()[1] + 0.5, False, {}),
    ],
)
def test_what_is_wrong_with_arrays_is_said_as_by_scikit_learn(X, y, incremental, settings):
    theirs, ours = (refusal(kind(**settings), X, y, incremental) for kind in (THEIRS[MLPClassifier], MLPClassifier))
    assert theirs, "something is wrong with them"
    assert ours == theirs


def test_names_of_features_are_checked_after_a_fit_with_names():
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    X, y = blobs()
    model = MLPClassifier(**FEW).fit(pandas.DataFrame(X, columns=list("abcdefg")), y)
    with pytest.warns(UserWarning, match="feature names"):
        model.partial_fit(X, y)
    assert not hasattr(model.fit(X, y), "feature_names_in_")


def test_a_sum_that_overflows_is_finite_all_the_same():
    X = np.full((8, 2), 3e38, np.float32)
    X_checked, _ = MLPClassifier()._validate_input(X, np.array([0, 1] * 4), False, True)
    assert X_checked is X


@each_estimator
def test_a_seed_is_that_of_every_call_and_a_generator_goes_on(kind):
    """An estimator seeds a generator of its own anew, and never one that the user gave before."""
    X, y = blobs()
    model, source = kind(max_iter=2, random_state=0), np.random.RandomState(5)
    first, second = (model.fit(X, y).coefs_[0].copy() for _ in range(2))
    np.testing.assert_array_equal(first, second)
    model.set_params(random_state=source).fit(X, y)
    before = source.get_state()[2]
    np.testing.assert_array_equal(model.set_params(random_state=0).fit(X, y).coefs_[0], first)
    assert source.get_state()[2] == before
    assert (copy.deepcopy(model).fit(X, y).coefs_[0] == first).all()


def blas_threads():
    """The numbers of threads of the BLAS libraries."""
    return {library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"}


def test_blas_has_one_thread_while_lbfgs_runs(monkeypatch):
    """And the number that it had before afterwards, also if the fit ends with an error."""
    X, y = blobs()
    seen = []

    def minimize(*arguments, original=scipy.optimize.minimize, **options):
        seen.append(blas_threads())
        if len(seen) > 1:
            raise RuntimeError("no minimum")
        return original(*arguments, **options)

    monkeypatch.setattr(scipy.optimize, "minimize", minimize)
    with threadpool_limits(2, "blas"):
        before = blas_threads()
        MLPClassifier(solver="lbfgs", max_iter=3).fit(X, y)
        assert blas_threads() == before
        with pytest.raises(RuntimeError, match="no minimum"):
            MLPClassifier(solver="lbfgs", max_iter=3).fit(X, y)
        assert blas_threads() == before
    assert seen == [{1}, {1}]


def test_blas_gets_its_threads_back_from_the_last_of_two_fits_at_once():
    one = fastprop.sklearn.ONE_BLAS_THREAD
    with threadpool_limits(2, "blas"):
        before = blas_threads()
        one.__enter__()
        one.__enter__()
        one.__exit__()
        assert blas_threads() == {1}
        one.__exit__()
        assert blas_threads() == before


# ---- the network of an estimator -------------------------------------------------------------------------------------


def expected_of_network(estimator, X):
    """What `network_` gives for X."""
    if isinstance(estimator, MLPRegressor):
        Y = estimator.predict(X).reshape(len(X), -1)
        return np.log(Y) if estimator.loss == "poisson" else Y
    P = estimator.predict_proba(X)
    return P[:, 1:] if estimator.n_outputs_ == 1 else P


@each_problem
@pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])
def test_the_network_of_an_estimator_predicts_as_it_does(name, solver):
    """It shares the parameters, and has the labels, the loss, and a copy of the optimizer."""
    make, X, y = problem(name)
    estimator = make(solver=solver, max_iter=3, random_state=0, alpha=1.0, dropout=0.2).fit(X, y)
    net = estimator.network_
    assert type(net) is Network
    assert_close(net.predict(X), expected_of_network(estimator, X), 1e-13)
    assert net.classes == {"classes": [0, 1, 2], "two classes": ["no", "yes"]}.get(name)
    assert (net.l2, net.dropout, net.dtype) == (0, 0.2, np.float64)
    net.parameters[:] *= 0.5
    assert_close(net.predict(X), expected_of_network(estimator, X), 1e-13)
    assert np.shares_memory(net.parameters, estimator.coefs_[0])
    kind = {"adam": Adam, "sgd": SGD, "lbfgs": type(None)}[solver]
    assert type(net.optimizer) is kind
    if solver != "lbfgs":
        assert net.optimizer.steps == 3 * 2 == estimator._optimizer.steps
        assert net.optimizer is not estimator._optimizer


def test_the_network_of_an_estimator_trains_and_is_saved(tmp_path):
    """And the estimator predicts with what it has learned; its own optimizer stays as it was."""
    pytest.importorskip("safetensors", reason="files need safetensors (extra save)")
    estimator = MLPClassifier(max_iter=3, random_state=0).fit(X, y)
    net, before, steps = estimator.network_, estimator.score(X, y), estimator._optimizer.steps
    net.fit(X, y, epochs=300, progress=False)
    assert estimator.score(X, y) > before
    assert estimator._optimizer.steps == steps
    net.save(tmp_path / "net.safetensors")
    again = Network.load(tmp_path / "net.safetensors")
    assert again.classes == [0, 1, 2]
    assert (again.predict(X) == net.predict(X)).all()


def test_the_network_follows_its_estimator():
    """New coefficients, another fit, copies and pickles."""
    estimator = MLPRegressor(max_iter=3, random_state=0).fit(X, y)
    estimator.coefs_ = [0.5 * W for W in estimator.coefs_]
    for each in (
        estimator,
        copy.deepcopy(estimator),
        pickle.loads(pickle.dumps(estimator)),
        clone(estimator).fit(X, y),
    ):
        assert_close(each.network_.predict(X)[:, 0], each.predict(X), 1e-13)


@each_estimator
def test_without_a_fit_there_is_no_network(kind):
    assert not hasattr(kind(), "network_")
    with pytest.raises(NotFittedError):
        kind().network_  # noqa: B018


@pytest.mark.parametrize("name", PROBLEMS)
def test_an_estimator_is_diagnosed_with_its_own_targets(name):
    """Labels as they are, and with the next step of its optimizer."""
    make, X, y = problem(name)
    estimator = make(max_iter=30, random_state=0, learning_rate_init=0.01).fit(X, y)
    report = diagnose(estimator, X, y)
    assert report.optimizer == repr(estimator.network_.optimizer)
    assert all(layer.update for layer in report.layers)
    if name != "counts":
        assert report.findings == ()
    as_column = diagnose(estimator, X, y.reshape(len(y), -1))
    assert as_column.cost == report.cost
    with pytest.raises(ValueError, match="Y has the class 'maybe'; those of the estimator are"):
        diagnose(MLPClassifier(max_iter=1).fit(X, problem("two classes")[2]), X, ["maybe"] * len(X))


# ---- other losses ----------------------------------------------------------------------------------------------------


def log_cosh(y_hat, y):
    return abs(y_hat - y) + math.log1p(math.exp(-2 * abs(y_hat - y)))


def log_cosh_slope(y_hat, y):
    return math.tanh(y_hat - y)


LOG_COSH = Loss("log_cosh", log_cosh, log_cosh_slope)
LEVELS = (0.1, 0.5, 0.9)
FOCAL = Loss(
    "focal", lambda p, y: -y * (1 - p) ** 2 * math.log(p) - (1 - y) * p**2 * math.log(1 - p), probabilities=True
)
OTHERS = {
    "mae": ("mae", "numbers"), "huber": ("huber", "number"), "a Loss": (LOG_COSH, "numbers"),
    "quantiles of one": (quantile(LEVELS), "number"), "a quantile of each": (quantile([0.2, 0.7]), "numbers"),
    "one quantile of all": (quantile(0.8), "numbers"),
}  # fmt: skip
each_other = pytest.mark.parametrize("what", OTHERS)


@each_other
@pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_regressor_minimizes_other_losses(what, solver, dtype):
    """Its loss falls, and is that of its network, which has no penalty."""
    loss, name = OTHERS[what]
    _, X, y = problem(name)
    settings = {"hidden_layer_sizes": (20,), "activation": "tanh", "alpha": 0.0, "solver": solver, "random_state": 0}
    first, last = (MLPRegressor(loss, max_iter=k, learning_rate_init=0.01, **settings).fit(X.astype(dtype), y)
                   for k in (1, 60))  # fmt: skip
    assert last.loss_ < first.loss_
    assert last.network_.loss_name == (loss if isinstance(loss, str) else loss.name)
    assert last.predict(X).shape == ((len(X), 3) if what == "quantiles of one" else y.shape)
    assert last.coefs_[0].dtype == dtype
    if solver == "lbfgs":
        assert last.network_.loss(X, y) == pytest.approx(last.loss_, rel=1e-5)


@each_other
def test_its_steps_are_those_of_its_network(what):
    """One epoch of plain gradient descent in batches, beside that of `Network.fit`."""
    loss, name = OTHERS[what]
    _, X, y = problem(name)
    model = MLPRegressor(loss, (20,), "tanh", alpha=0.0, solver="sgd", momentum=0, learning_rate_init=0.05,
                         batch_size=50, shuffle=False, max_iter=1, random_state=0).fit(X, y)  # fmt: skip
    net = copy.deepcopy(model.network_)
    model.partial_fit(X, y)
    history = net.fit(X, y, epochs=1, batch_size=50, shuffle=False, optimizer=SGD(0.05), progress=False)
    assert_close(model.network_.parameters, net.parameters, 1e-12)
    assert model.loss_ == pytest.approx(history.loss[0], rel=1e-12)


@each_other
def test_other_losses_in_a_search_a_pipeline_and_a_pickle(what):
    loss, name = OTHERS[what]
    _, X, y = problem(name)
    model = make_pipeline(StandardScaler(), MLPRegressor(loss, max_iter=5, random_state=0, early_stopping=True))
    model = pickle.loads(pickle.dumps(clone(model))).fit(X, y)
    assert (pickle.loads(pickle.dumps(model)).predict(X) == model.predict(X)).all()
    search = GridSearchCV(MLPRegressor(max_iter=3, random_state=0), {"loss": ["squared_error", loss]}, cv=2).fit(X, y)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert repr(model[-1].get_params()["loss"]) == repr(loss)


def test_quantiles_are_scored_by_d2():
    """1 for the quantiles themselves, 0 for those of all y; also with early stopping and weights."""
    _, X, y = problem("number")
    weights = np.linspace(0.5, 1.5, len(y))
    model = MLPRegressor(quantile(LEVELS), max_iter=50, random_state=0, learning_rate_init=0.01, early_stopping=True)
    model.fit(X, y, weights)
    for w in (None, weights):
        each = [d2_pinball_score(y, y_hat, alpha=q, sample_weight=w) for y_hat, q in zip(model.predict(X).T, LEVELS)]
        assert model.score(X, y, w) == pytest.approx(np.mean(each))
    assert 0.2 < model.score(X, y) < 1
    assert model.best_validation_score_ == max(model.validation_scores_)
    _, X_out, _, y_out, _, w_out = train_test_split(X, y, weights, random_state=np.random.RandomState(0), test_size=0.1)
    model = MLPRegressor(quantile(LEVELS), max_iter=1, random_state=0, early_stopping=True)
    model.fit(X, y, X_val=X_out, y_val=y_out, sample_weight_val=w_out)
    assert model.validation_scores_[0] == pytest.approx(model.score(X_out, y_out, w_out))
    losses = [
        mean_pinball_loss(y_out, y_hat, alpha=q, sample_weight=w_out)
        for y_hat, q in zip(model.predict(X_out).T, LEVELS)
    ]
    assert model.validation_loss_curve_[0] == pytest.approx(sum(losses))


def test_quantiles_cover_their_share_of_y():
    _, X, y = problem("number")
    model = MLPRegressor(quantile(LEVELS), (50,), alpha=0.0, max_iter=800, random_state=0, tol=0, n_iter_no_change=800)
    below = np.mean(y[:, None] < model.fit(X, y).predict(X), axis=0)
    assert_close(below, np.array(LEVELS), 0.08)


@pytest.mark.parametrize("name", ["classes", "two classes", "labels"])
def test_a_classifier_minimizes_a_custom_loss(name):
    """The focal loss, of probabilities."""
    _, X, y = problem(name)
    model = MLPClassifier(loss=FOCAL, max_iter=100, random_state=0, alpha=0.0).fit(X, y)
    assert model.loss_curve_[-1] < 0.7 * model.loss_curve_[0]
    assert model.network_.loss_name == "focal"
    assert model.score(X, y) > 0.6
    with pytest.raises(ValueError, match="a custom Loss"):
        to_onnx(model, "never.onnx")


@pytest.mark.parametrize(
    ("estimator", "match"),
    [
        (MLPRegressor("pinball"), "The 'loss' parameter of MLPRegressor must be a str among"),
        (MLPClassifier(loss="mae"), "The 'loss' parameter of MLPClassifier must be a str among"),
        (MLPRegressor(FOCAL), "loss is 'focal' and output is 'identity'; this loss is one of probabilities"),
        (MLPRegressor(quantile(LEVELS)), "y has 2 columns; loss is 'quantile.*', which takes one, or 3"),
    ],
)
def test_losses_that_do_not_fit_are_refused(estimator, match):
    _, X, y = problem("numbers" if isinstance(estimator, MLPRegressor) else "classes")
    with pytest.raises(ValueError, match=match):
        estimator.fit(X, y)


# ---- what scikit-learn's users expect --------------------------------------------------------------------------------

# Of scikit-learn's own tests of its estimators, those that look into private methods which fastprop's do not have, or
# refuse early stopping in partial_fit, which fastprop's have.
NOT_OURS = ("test_fit", "test_gradient", "test_mlp_partial_fit_after_fit")
SUITE = """
import os, pytest, sys, sklearn.neural_network, fastprop.sklearn
for kind in (fastprop.sklearn.MLPClassifier, fastprop.sklearn.MLPRegressor):
    setattr(sklearn.neural_network, kind.__name__, kind)
pytest.importorskip("sklearn.neural_network.tests.test_mlp")
chosen = " and ".join(f"not {name}" for name in sys.argv[1:])
options = ["-q", "-c", os.devnull, "-p", "no:cacheprovider", "-p", "no:xdist", "-k", chosen, "-W", "ignore"]
sys.exit(pytest.main([*options, "--pyargs", "sklearn.neural_network.tests.test_mlp"]))
"""


@pytest.mark.slow
def test_scikit_learns_own_tests_pass(run_python, tmp_path, monkeypatch):
    """Its file of tests, with these estimators in the place of its own."""
    monkeypatch.chdir(tmp_path)
    said = run_python(SUITE, *NOT_OURS)
    assert int(re.search(r"(\d+) passed", said)[1]) > 40
    assert "failed" not in said


DIVERGING = {"solver": "sgd", "activation": "identity", "learning_rate_init": 1.0, "max_iter": 30, "random_state": 0,
             "shuffle": False}  # fmt: skip
HUGE = np.finfo(np.float64).max


@pytest.mark.parametrize("after", ["some epochs", "none"])
@pytest.mark.parametrize("given", [False, True], ids=["held out", "validation set"])
@pytest.mark.filterwarnings("ignore:the cost is:RuntimeWarning")
@pytest.mark.filterwarnings("ignore:(overflow|invalid value|divide by zero) encountered:RuntimeWarning")
def test_a_regression_that_diverges_with_early_stopping_ends_well(after, given):
    """Without an exception, the last score NaN, and with the parameters that scikit-learn's has then."""
    data = X if after == "some epochs" else X * 1e300
    ours, theirs = (kind(early_stopping=True, **DIVERGING) for kind in (MLPRegressor, neural_network.MLPRegressor))
    ours.fit(data, y, **({"X_val": data, "y_val": y} if given else {}))
    theirs.fit(data, y)
    assert np.isnan(ours.validation_scores_[-1])
    assert type(ours.validation_scores_[-1]) is float
    assert len(ours.validation_scores_) == len(ours.loss_curve_) == len(ours.validation_loss_curve_) == ours.n_iter_
    assert all(np.isfinite(W).all() for W in ours.coefs_)
    if not given:
        assert ours.best_validation_score_ == pytest.approx(theirs.best_validation_score_)
        for actual, expected in zip(ours.coefs_ + ours.intercepts_, theirs.coefs_ + theirs.intercepts_, strict=True):
            assert_close(actual, expected, WITHIN)


@pytest.mark.filterwarnings("ignore:(overflow|invalid value|divide by zero) encountered:RuntimeWarning")
@pytest.mark.parametrize("solver", ["adam", "sgd"])
def test_a_regression_of_the_largest_numbers_says_so(solver):
    data = HUGE * np.random.RandomState(0).uniform(size=(10, 2))
    for kind in (MLPRegressor, neural_network.MLPRegressor):
        with pytest.raises(ValueError, match="Solver produced non-finite parameter weights"):
            kind(solver=solver, random_state=0).fit(data, np.arange(10.0))


@each_estimator
@pytest.mark.parametrize("schedule", ["constant", "invscaling", "adaptive"])
def test_the_learning_rate_of_sgd_is_read_as_scikit_learns(kind, schedule):
    ours, theirs = (
        each(solver="sgd", learning_rate=schedule, learning_rate_init=0.02, tol=0.1, n_iter_no_change=2, max_iter=20,
             shuffle=False, random_state=0).fit(X, y)
        for each in (kind, THEIRS[kind])
    )  # fmt: skip
    assert ours._optimizer.learning_rate == pytest.approx(theirs._optimizer.learning_rate)
    assert pickle.loads(pickle.dumps(ours))._optimizer.learning_rate == ours._optimizer.learning_rate


@pytest.fixture
def frame():
    """X and y as pandas has them, with another index for y."""
    pandas = pytest.importorskip("pandas", reason="needs pandas")
    columns = [f"x{j}" for j in range(X.shape[1])]
    return pandas.DataFrame(X, columns=columns), pandas.Series(y, index=1000 + np.arange(len(y)))


@each_estimator
def test_frames_and_series_are_taken(kind, frame):
    """With the results of arrays, the names of the columns, and scikit-learn's error for others."""
    data, target = frame
    weights = target * 0.5 + 1.0
    settings = {"max_iter": 3, "random_state": 0, "early_stopping": True}
    model = kind(**settings).fit(data, target, weights)
    other = kind(**settings).fit(X, y, weights.to_numpy())
    assert (model.predict(data) == other.predict(X)).all()
    assert model.score(data, target, weights) == other.score(X, y, weights.to_numpy())
    assert model.feature_names_in_.tolist() == data.columns.tolist()
    with pytest.raises(ValueError, match="The feature names should match those that were passed during fit"):
        model.predict(data.rename(columns={"x0": "z"}))
    model.fit(data[:150], target[:150], X_val=data[150:], y_val=target[150:], sample_weight_val=weights[150:])
    other.fit(X[:150], y[:150], X_val=X[150:], y_val=y[150:], sample_weight_val=weights.to_numpy()[150:])
    assert model.validation_loss_curve_ == other.validation_loss_curve_


@each_estimator
def test_what_a_transformer_puts_out_is_taken(kind, frame):
    """Frames, by `set_output`, with their names; and stacked estimators put frames out themselves."""
    data, target = frame
    model = make_pipeline(StandardScaler(), kind(max_iter=3, random_state=0)).set_output(transform="pandas")
    model.fit(data, target)
    assert model[-1].feature_names_in_.tolist() == data.columns.tolist()
    of_arrays = make_pipeline(*map(clone, model)).fit(X, y)
    assert (model.predict(data).round(9) == of_arrays.predict(X).round(9)).all()
    stack = {MLPClassifier: StackingClassifier, MLPRegressor: StackingRegressor}[kind]
    stacked = stack([("one", kind(max_iter=2, random_state=0))], kind(max_iter=2), cv=2).set_output(transform="pandas")
    assert len(stacked.fit(data, target).transform(data).columns) == (3 if kind is MLPClassifier else 1)


@each_estimator
def test_metadata_is_routed(kind):
    """Weights and validation sets reach `fit` through a pipeline and a search."""
    weights = np.linspace(0.5, 1.5, len(y))
    with sklearn.config_context(enable_metadata_routing=True):
        model = kind(max_iter=3, random_state=0)
        model.set_fit_request(sample_weight=True, X_val=True, y_val=True).set_score_request(sample_weight=True)
        routed = make_pipeline(model).fit(X, y, sample_weight=weights, X_val=X, y_val=y)[-1]
        direct = clone(model).fit(X, y, weights, X_val=X, y_val=y)
        assert routed.validation_loss_curve_ == direct.validation_loss_curve_
        assert (routed.coefs_[0] == direct.coefs_[0]).all()
        model.set_fit_request(X_val=None, y_val=None)
        search = GridSearchCV(model, {"alpha": [0.1, 1]}, cv=2).fit(X, y, sample_weight=weights)
        plain = GridSearchCV(clone(model), {"alpha": [0.1, 1]}, cv=2).fit(X, y)
    scores = [each.cv_results_["mean_test_score"] for each in (search, plain)]
    assert not np.array_equal(*scores)
