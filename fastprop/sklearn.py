"""MLPClassifier and MLPRegressor: scikit-learn's estimators, trained by fastprop (extra ``sklearn``).

They are subclasses of the classes in :mod:`sklearn.neural_network`, with the same parameters, attributes, warnings and
errors, and start from the same weights for the same `random_state`; it suffices to change the import. Beyond
scikit-learn they have `class_weight`, `dropout`, `progress`, all activations of fastprop, a validation set (`X_val`,
`y_val`), the curve of its loss (`validation_loss_curve_`), early stopping in `partial_fit`, and a `sample_weight` for
each output or label.

Differences:

- The network computes in the dtype of X, float32 or float64, as scikit-learn's does, but with lbfgs too: there
  scikit-learn's parameters become float64. A `warm_start` or `partial_fit` keeps the dtype of the first fit.
- `coefs_` and `intercepts_` are views of the network's parameters: they may be written in place, or be replaced, by
  arrays that are converted to the dtype of the fit.
- The loss takes probabilities as they are, whereas scikit-learn clips them to [ε, 1 − ε]: saturated outputs that are
  wrong cost more.
- A sparse X is read as CSR and is not made dense; the sums over its entries are in another order than those of a dense
  one, so that both agree to rounding.
- Sample weights above 1e30 or below 1e-30 are divided by their mean. Targets of a Poisson regression must not be
  negative.
- A loss that is no longer finite ends the training at once; with early stopping the last validation score is NaN then,
  and the parameters are the best ones, or of a regression in its first epoch those from which it began.
- `loss` may be any of :mod:`fastprop.losses`, and several quantiles of y are the outputs of one network.
- For a regression with several outputs, lbfgs minimizes the sum of their squared errors and not their mean; the
  gradients are those of the sum in both libraries.
- ``MLPRegressor(solver="lbfgs")`` has no `partial_fit`; scikit-learn's has one by an oversight.
- `partial_fit` with early stopping holds out `validation_fraction` of each call's rows, at least 2, unless there is an
  `X_val`, which is the better measure on a stream.

A fitted estimator has its network as `network_`, and :func:`fastprop.convert.to_onnx`,
:func:`fastprop.convert.to_torch` and :func:`fastprop.diagnose` take the estimator itself. Where skl2onnx is installed,
``skl2onnx.to_onnx`` converts pipelines with these estimators: importing this module registers the converters
(:mod:`fastprop.pipelines`).
"""

import copy
import math
import os
import threading
from dataclasses import replace
from functools import cache, partial
from numbers import Integral, Real
from typing import Any, NamedTuple

import numpy as np

from .distribution import missing

try:
    import scipy.optimize
    import scipy.sparse
    from scipy.special import expit, softmax
    from sklearn import neural_network
    from sklearn.base import _fit_context, is_classifier
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.metrics import d2_pinball_score
    from sklearn.model_selection import train_test_split
    from sklearn.preprocessing import LabelBinarizer
    from sklearn.utils import check_array, check_random_state, column_or_1d
    from sklearn.utils._param_validation import Interval, StrOptions
    from sklearn.utils.class_weight import compute_class_weight, compute_sample_weight
    from sklearn.utils.metaestimators import available_if
    from sklearn.utils.multiclass import _check_partial_fit_first_call, type_of_target, unique_labels
    from sklearn.utils.optimize import _check_optimize_result
    from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data
    from threadpoolctl import ThreadpoolController
except ModuleNotFoundError:
    raise missing("sklearn", "fastprop.sklearn needs") from None

from . import pipelines
from .activations import HIDDEN, Activation
from .core import arrays
from .core.engine import Engine
from .core.engines import Engines
from .core.sparse import is_sparse
from .fitted import classes_of
from .kernels import updates
from .kernels.plan import FLOAT32
from .kernels.scan import FLOAT32_MAX
from .losses import LOSSES, Loss
from .network import Network
from .optimizers import SGD, Adam, Optimizer
from .texts import warn
from .training.history import History
from .training.samples import r_squared

__all__ = ["MLPClassifier", "MLPRegressor"]


def _deviance(z: float, y: float) -> float:
    if y <= 0:
        return math.exp(z)
    d = z - math.log(max(y, 1e-30))
    return y * (math.expm1(d) - d)


# y log(y/ŷ) − y + ŷ with ŷ = eᶻ, in a form without cancellation: for a count of a million the terms are 10⁷, and their
# sum may be 1. fastprop's "poisson" consists of the terms that depend on z.
DEVIANCE = Loss("half_poisson_deviance", _deviance, lambda z, y: math.exp(z) - y)
# By scikit-learn's name of the output: the network's output and loss, and the function from Z to predictions. The loss
# is another one if an estimator's `loss` is a Loss, or one of LOSS_NAMES.
LOSS_NAMES = ("mae", "huber")
OUTPUTS: dict[str, tuple[str, str | Loss, Any]] = {
    "identity": ("identity", "mse", lambda Z: Z),
    "exp": ("identity", DEVIANCE, np.exp),
    "logistic": ("sigmoid", "binary_crossentropy", expit),
    "softmax": ("softmax", "cross_entropy", partial(softmax, axis=1)),
}
LEAST_RATE = 1e-30  # so that a rate, and a velocity in units of it, stay in the range of float32
SEEDS = 2**31 - 1
FLOATS = (np.float64, np.float32)  # the dtypes of X that are kept
ABNORMAL = 2  # the status of an L-BFGS whose line search finds nothing lower
NOT_FINITE = (
    "Solver produced non-finite parameter weights. The input data may contain large values and need to be preprocessed."
)


class _Engines(Engines):
    """Engines whose costs are scikit-learn's losses, and whose predictions are Z of the output layer.

    The penalty is l2/(2m)·Σ W² of each batch, and none in the loss of held-out data. A squared error is the mean over
    the outputs, while the gradients are those of the sum.
    """

    def make(self, batch: int, *, train: bool = True, **options: Any) -> Engine:
        engine = super().make(batch, train=train, **options)
        engine.set_cost(self.architecture.l2 if train else 0.0, self.share, by_samples=train)
        if not train:
            engine.stop_at_Z()
        return engine

    @property
    def share(self) -> float:
        """The factor of each output's error in the loss: of squared errors the mean over the outputs is taken."""
        return 1 / self.architecture.sizes[-1] if self.architecture.loss.name == "mse" else 1.0


class _Network(Network):
    """An estimator's network."""

    engines_type = _Engines
    warns_of_a_constant = False  # as scikit-learn


class _SGD(SGD):
    """SGD with the attribute by which users of scikit-learn read the present learning rate."""

    learning_rate = property(lambda self: self.lr)


class _Adam(Adam):
    """Adam with ε added to √v before the bias correction, as in scikit-learn: ε̂ of section 2 of Kingma and Ba."""

    prepare = updates.adam_hat_prepare


def _as_public(optimizer: Optimizer) -> Optimizer:
    """Return a copy of an estimator's optimizer as one that files know, with its settings and moments."""
    kind = Adam if isinstance(optimizer, _Adam) else SGD
    copied, public = copy.copy(optimizer), kind(optimizer.lr, **optimizer.settings())
    if copied.moments is not None:
        public.restore(copied.moments, copied.steps)
    return public


class _Seeded(np.random.RandomState):
    """A generator that an estimator made from its seed, and no user has."""


class _Rows(NamedTuple):
    """Samples in the form that the network takes."""

    X: Any
    Y: np.ndarray
    weights: np.ndarray | None


def _by_rows(X: Any) -> Any:
    """Return a sparse X as CSR, and any other X as it is."""
    return X.tocsr() if scipy.sparse.issparse(X) else X


@cache
def _blas() -> ThreadpoolController:
    """Return the BLAS libraries of this process; to look for them takes milliseconds."""
    return ThreadpoolController().select(user_api="blas")


class _OneBlasThread:
    """A context in which BLAS computes on one thread, also if several Python threads are in it.

    L-BFGS calls BLAS between two passes of the network, and the threads of each spin while the other computes. The last
    thread to leave sets back the number of threads that the first one found.
    """

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Begin anew, in a forked child: a thread of the parent may have been in it."""
        self._lock, self._entered = threading.Lock(), 0

    def __enter__(self) -> None:
        with self._lock:
            if not self._entered:
                self._limit = _blas().limit(limits=1)
            self._entered += 1

    def __exit__(self, *error: object) -> None:
        with self._lock:
            self._entered -= 1
            if not self._entered:
                self._limit.restore_original_limits()


ONE_BLAS_THREAD = _OneBlasThread()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=ONE_BLAS_THREAD.forget)


class _AfterEpoch:
    """A callback of `fit` that does what scikit-learn does at the end of an epoch; it may be called late."""

    def __init__(self, estimator: Any, net: _Network, rows: _Rows, held_out: _Rows | None):
        self.estimator, self.net, self.rows, self.held_out = estimator, net, rows, held_out
        self.schedule = estimator.learning_rate if estimator.solver == "sgd" else "constant"
        self.stopped = False

    @property
    def epochs_left(self) -> float:
        """After how many epochs training may end, or the rate change, at the earliest; 1 if each is measured here."""
        estimator = self.estimator
        if self.held_out is not None or self.schedule == "invscaling":
            return 1
        return max(1, estimator.n_iter_no_change + 1 - estimator._no_improvement_count)

    def __call__(self, epoch: int, history: History) -> bool:
        estimator, J = self.estimator, history.loss[epoch]
        # Parameters that are no longer finite stay so, and nearly always make the next cost NaN, which ends the call.
        was_last = epoch + 1 == history.epochs
        diverged = not (np.isfinite(J) and (not was_last or arrays.is_finite(self.net.parameters)))
        if diverged and estimator._best is None:
            raise ValueError(NOT_FINITE)
        estimator.n_iter_ += 1
        estimator.t_ += len(self.rows.Y)
        estimator.loss_ = J
        estimator.loss_curve_.append(estimator.loss_)
        if estimator.verbose:
            print(f"Iteration {estimator.n_iter_}, loss = {estimator.loss_:.8f}")
        self._validate(diverged)
        if diverged:
            return True  # to go back to the best parameters; `fit` warns of the divergence
        self._count()
        self.stopped = self._end()
        return self.stopped

    def _validate(self, diverged: bool) -> None:
        """Measure the loss of the validation set, and with early stopping its score: NaN if the training diverged."""
        estimator, net, held_out = self.estimator, self.net, self.held_out
        if held_out is None:
            return
        curve = estimator.validation_loss_curve_ = estimator.validation_loss_curve_ or []
        curve.append(np.nan if diverged else net.loss(*held_out))
        if not estimator.early_stopping:
            return
        score = np.nan if diverged else estimator._score_of(net.predict(held_out.X), held_out.Y, held_out.weights)
        estimator.validation_scores_.append(score)
        if estimator.verbose:
            print(f"Validation score: {score:f}")

    def _count(self) -> None:
        """Count the epochs without an improvement by `tol`, and record the best loss or score."""
        estimator = self.estimator
        if estimator.early_stopping:
            score = estimator.validation_scores_[-1]
            worse = score < estimator.best_validation_score_ + estimator.tol
            if score > estimator.best_validation_score_:
                estimator.best_validation_score_ = score
                estimator._best = self.net.parameters.copy()
        else:
            loss = estimator.loss_
            worse = loss > estimator.best_loss_ - estimator.tol
            estimator.best_loss_ = min(estimator.best_loss_, loss)
        estimator._no_improvement_count = estimator._no_improvement_count + 1 if worse else 0

    def _end(self) -> bool:
        """Set the next learning rate; return whether training ends."""
        estimator, schedule, rate = self.estimator, self.schedule, self.estimator._optimizer.lr
        if schedule == "invscaling":
            self._set_rate(estimator.learning_rate_init / (estimator.t_ + 1) ** estimator.power_t)
        if estimator._no_improvement_count <= estimator.n_iter_no_change:
            return False
        what = "Validation score" if estimator.early_stopping else "Training loss"
        said = (
            f"{what} did not improve more than tol={estimator.tol:f} for {estimator.n_iter_no_change} "
            f"consecutive epochs."
        )
        ends = schedule != "adaptive" or rate <= 1e-6
        if schedule != "adaptive":
            said += " Stopping."
        elif ends:
            said += " Learning rate too small. Stopping."
        else:
            self._set_rate(rate / 5)
            estimator._no_improvement_count = 0
            said += f" Setting learning rate to {rate / 5:f}"
        if estimator.verbose:
            print(said)
        return ends

    def _set_rate(self, rate: float) -> None:
        """Set another learning rate, and rescale the velocity: scikit-learn's contains the rate and does not change."""
        optimizer, rate = self.estimator._optimizer, max(rate, LEAST_RATE)
        optimizer.moments[:] *= optimizer.lr / rate
        optimizer.lr = rate


class _Estimator:
    """The common part of both estimators, which precedes scikit-learn's classes in the order of inheritance."""

    _dtype = FLOAT32  # of the network; every first fit sets it

    # ---- the network ---------------------------------------------------------------------------------------------

    def _initialize(self: Any, sizes: list[int], dtype: np.dtype) -> None:
        """Reset the estimator, and draw the initial parameters as scikit-learn does, from the same generator."""
        for name in ("loss_curve_", "_optimizer", "_held_out_seed"):
            vars(self).pop(name, None)
        self._dtype = dtype
        self.n_iter_ = self.t_ = 0
        self.n_layers_, self.n_outputs_ = len(sizes), sizes[-1]
        if is_classifier(self):
            self.out_activation_ = "softmax" if self._label_binarizer.y_type_ == "multiclass" else "logistic"
        else:
            self.out_activation_ = "exp" if self.loss == "poisson" else "identity"
        self.coefs_, self.intercepts_ = [], []
        for n_prev, n in zip(sizes[:-1], sizes[1:], strict=True):
            bound = np.sqrt((2 if self.activation in ("logistic", "sigmoid") else 6) / (n_prev + n))
            self.coefs_.append(self._random_state.uniform(-bound, bound, (n_prev, n)).astype(dtype, copy=False))
            self.intercepts_.append(self._random_state.uniform(-bound, bound, n).astype(dtype, copy=False))

    def _networked(self: Any, seed: int = 0) -> _Network:
        """Return the network whose parameters are coefs_ and intercepts_, in the dtype of the fit.

        It is a new one, with `seed` for its dropout, if they or its settings were replaced.
        """
        output, loss, _ = OUTPUTS[self.out_activation_]
        loss = self.loss if self._has_own_loss else loss
        settings = (self.activation, self.out_activation_, loss, self.alpha, self.dropout, self._dtype)
        arrays = (*self.coefs_, *self.intercepts_)
        net, views, before = getattr(self, "_network", (None, (), ()))
        if net and before == settings and len(views) == len(arrays) and all(a is b for a, b in zip(arrays, views)):
            return net
        hidden = "sigmoid" if self.activation == "logistic" else self.activation
        net = _Network(
            [len(self.coefs_[0]), *(len(b) for b in self.intercepts_)], hidden, output, loss, init="zeros",
            l2=self.alpha, dropout=self.dropout, dtype=self._dtype, rng=seed,
        )  # fmt: skip
        layers = net.layers
        for layer, W, b in zip(layers, self.coefs_, self.intercepts_, strict=True):
            layer.W[:], layer.b[:] = W.T, b
        self.coefs_, self.intercepts_ = [layer.W.T for layer in layers], [layer.b for layer in layers]
        self._network = net, (*self.coefs_, *self.intercepts_), settings
        if hasattr(self, "_optimizer"):
            self._optimizer = copy.copy(self._optimizer)  # a copy, whose moments can be bound to the new network
        return net

    @property
    def network_(self: Any) -> Network:
        """The fitted network, which shares its parameters with the estimator: what changes them changes both.

        It gives what `predict_proba` does, of two classes the probability of the second, or the predictions of a
        regression, with ``loss="poisson"`` their logarithms. `classes` are the labels if they are whole numbers or
        text. Its optimizer is a copy of the estimator's as it is now. It has no penalty, since scikit-learn's depends
        on the size of a batch. Each access makes a new one.
        """
        check_is_fitted(self)
        inner = self._networked()
        architecture = replace(inner.architecture, l2=0.0)
        if self.out_activation_ == "exp":  # whose loss has terms that do not depend on Z
            architecture = replace(architecture, loss=LOSSES["poisson"])
        net = Network.of(architecture, inner.generator, inner.parameters)
        net.classes = classes_of(self)
        if hasattr(self, "_optimizer"):
            net.optimizer = _as_public(self._optimizer)
        return net

    def __getstate__(self) -> dict[str, Any]:
        state: Any = super().__getstate__()
        return {name: value for name, value in state.items() if name != "_network"}

    def __setstate__(self: Any, state: dict[str, Any]) -> None:
        super().__setstate__(state)  # type: ignore[misc]
        if hasattr(self, "coefs_"):
            self._networked()

    def _forward_pass_fast(self: Any, X: Any, check_input: bool = True) -> np.ndarray:
        """Return the predictions of all outputs, in the dtype of X and the parameters together."""
        if check_input:
            X = validate_data(self, X, accept_sparse=["csr", "csc"], reset=False)
        net = self._networked()
        Z = _Z(net, _by_rows(X))
        return OUTPUTS[self.out_activation_][2](Z.astype(np.result_type(X.dtype, net.dtype), copy=False))

    # ---- the loss ------------------------------------------------------------------------------------------------

    @property
    def _has_own_loss(self: Any) -> bool:
        """Whether the loss is one that scikit-learn's estimators do not have."""
        return isinstance(self.loss, Loss) or self.loss in LOSS_NAMES

    @property
    def _quantiles(self: Any) -> tuple[float, ...]:
        """The quantiles that the loss is of, one for each output or one for all."""
        return self.loss.levels if isinstance(self.loss, Loss) and not is_classifier(self) else ()

    def _columns(self: Any, y: np.ndarray, name: str = "y") -> np.ndarray:
        """Return the targets of each output: of several quantiles of one number, each has that number as its target."""
        Y = y.reshape(-1, 1) if y.ndim == 1 else y
        n = len(self._quantiles)
        if n > 1 and Y.shape[1] not in (1, n):
            raise ValueError(f"{name} has {Y.shape[1]} columns; loss is {self.loss.name!r}, which takes one, or {n}.")
        return np.repeat(Y, n, axis=1) if n > 1 and Y.shape[1] == 1 else Y

    # ---- training ------------------------------------------------------------------------------------------------

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self: Any, X: Any, y: Any, sample_weight: Any = None, *, X_val: Any = None, y_val: Any = None,
            sample_weight_val: Any = None) -> Any:  # fmt: skip
        """Train on all of X and y.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Classes, rows of 0 and 1 (multilabel), or in a regression numbers.
        sample_weight : array-like of shape (n_samples,) or (n_samples, n_outputs), optional
            The weight of each sample, or of each number or label of a sample, 0 where it is not known.
        X_val, y_val, sample_weight_val : as X, y and sample_weight, optional
            A validation set. The solvers sgd and adam measure its loss after each epoch (`validation_loss_curve_`), and
            with `early_stopping` its score, instead of holding out a share of X.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If an argument does not fit, or the parameters are no longer finite.

        Warns
        -----
        ConvergenceWarning
            If `max_iter` is reached before convergence.
        """
        return self._train(X, y, sample_weight, (X_val, y_val, sample_weight_val))

    def _train(self: Any, X: Any, y: Any, sample_weight: Any, validation: tuple[Any, Any, Any],
               incremental: bool = False) -> Any:  # fmt: skip
        hidden = self.hidden_layer_sizes
        hidden = list(hidden) if hasattr(hidden, "__iter__") else [hidden]
        if any(n <= 0 for n in hidden):
            raise ValueError(f"hidden_layer_sizes must be > 0, got {hidden}.")
        first = not hasattr(self, "coefs_") or (not self.warm_start and not incremental)
        X, y = self._validate_input(X, y, incremental, reset=first)
        Y = self._columns(y)
        weights = _weights(sample_weight, X, Y)
        self._check_counts("y", Y)
        held_out = self._validated(*validation)
        self._random_state = self._generator()
        if first:
            self._initialize([X.shape[1], *hidden, Y.shape[1]], X.dtype)
        if self.solver == "lbfgs":
            self._minimize(self._rows(X, Y, self._class_weighted(Y, weights, incremental)))
        else:
            self._descend(X, Y, weights, held_out, incremental)
        if not arrays.is_finite(self._networked().parameters):
            raise ValueError(NOT_FINITE)
        return self

    def _validate_input(self: Any, X: Any, y: Any, incremental: bool, reset: bool) -> tuple[Any, np.ndarray]:
        """Return X and y as scikit-learn does, y of a classifier in the form of its LabelBinarizer.

        Its checks take longer than an epoch of a few rows. Data that they would return as they are do not need them.
        """
        if self._is_plain(X, y, reset):
            targets = self._one_hot(y, incremental) if is_classifier(self) else y
            if targets is not None:
                self.n_features_in_ = X.shape[1]
                return X, targets
        return super()._validate_input(X, y, incremental, reset)  # type: ignore[misc]

    def _is_plain(self: Any, X: Any, y: Any, reset: bool) -> bool:
        """Return whether X and y are finite arrays of numbers, or y of text, with which nothing is wrong."""
        return (
            type(X) is type(y) is np.ndarray and X.ndim == 2 and y.ndim == 1 and len(X) == len(y) and X.size > 0
            and X.dtype in FLOATS and y.dtype.kind in ("biuU" if is_classifier(self) else "iuf")
            and not hasattr(self, "feature_names_in_") and (reset or X.shape[1] == self.n_features_in_)
            and _is_finite(X) and (y.dtype.kind != "f" or _is_finite(y))
        )  # fmt: skip

    def _one_hot(self: Any, y: np.ndarray, incremental: bool) -> np.ndarray | None:
        """Return the labels in y as LabelBinarizer does, or None if scikit-learn has something to say about them."""
        labels, index = np.unique(y, return_inverse=True)
        if len(y) > 20 and 2 * len(labels) > len(y):
            return None  # of so many some versions warn
        if not hasattr(self, "classes_") or not (self.warm_start or incremental):
            self._label_binarizer, self.classes_ = _binarizer(labels), labels
        classes, binarizer = self.classes_, self._label_binarizer
        where = np.searchsorted(classes, labels)
        known = binarizer.y_type_ in ("binary", "multiclass") and classes.dtype.kind == labels.dtype.kind
        if not (known and where[-1] < len(classes) and (classes[where] == labels).all()):
            return None
        if self.warm_start and len(labels) < len(classes):
            return None
        index = where[index]
        return index[:, None] > 0 if binarizer.y_type_ == "binary" else index[:, None] == np.arange(len(classes))

    def _generator(self: Any) -> np.random.RandomState:
        """Return what check_random_state does, for a seed the generator of the last call: a new one takes 200 µs."""
        seed, last = self.random_state, getattr(self, "_random_state", None)
        if not isinstance(seed, Integral):
            return check_random_state(seed)
        if not isinstance(last, _Seeded):
            return _Seeded(int(seed))
        last.seed(int(seed))
        return last

    def _check_counts(self: Any, name: str, y: np.ndarray) -> None:
        if self.loss == "poisson" and y.min() < 0:
            raise ValueError(f"{name} has negative values, down to {y.min():g}; loss='poisson' takes none.")

    def _rows(self: Any, X: Any, Y: np.ndarray, weights: np.ndarray | None) -> _Rows:
        return _Rows(_by_rows(X), Y.argmax(axis=1) if self.out_activation_ == "softmax" else Y, weights)

    def _validated(self: Any, X: Any, y: Any, weights: Any) -> tuple[Any, np.ndarray, np.ndarray | None] | None:
        """Return the validation set that the user gave, checked, with y as `_validate_input` returns it."""
        if X is None and y is None and weights is None:
            return None
        for name, value in (("X_val", X), ("y_val", y)):
            if value is None:
                raise ValueError(f"{name} was not provided, but another part of the validation set is. Pass both.")
        if self.solver == "lbfgs":
            raise ValueError("X_val and y_val are for the solvers sgd and adam; lbfgs measures none. Leave them out.")
        X, y = validate_data(
            self, X, y, accept_sparse=["csr", "csc"], multi_output=True, y_numeric=not is_classifier(self),
            dtype=FLOATS, reset=False,
        )  # fmt: skip
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        if is_classifier(self):
            unknown = np.setdiff1d(unique_labels(y), self.classes_)
            if len(unknown):
                raise ValueError(f"`y_val` has classes not in `self.classes_`: {unknown}. They are {self.classes_}.")
            y = self._label_binarizer.transform(y).astype(bool)
        self._check_counts("y_val", y)
        Y = self._columns(y, "y_val")
        return X, Y, _weights(weights, X, Y)

    def _hold_out(self: Any, X: Any, Y: np.ndarray, weights: np.ndarray | None, incremental: bool) -> tuple[Any, Any]:
        """Return X, Y and weights to train on, and those held out, drawn as scikit-learn draws them.

        `partial_fit` draws the same rows in every call, so that a row of the same data is always held out or never.
        """
        state = self._random_state
        if incremental:
            state = vars(self).setdefault("_held_out_seed", int(state.randint(SEEDS)))
        arrays = (X, Y) if weights is None else (X, Y, weights)
        parts = train_test_split(
            *arrays, random_state=state, test_size=self.validation_fraction,
            stratify=Y if is_classifier(self) and self.n_outputs_ == 1 and not incremental else None,
        )  # fmt: skip
        if len(parts[3]) < 2:
            raise ValueError(
                "The validation set is too small. Increase 'validation_fraction' or the size of your dataset."
            )
        none = [] if weights is not None else [None]
        return (*parts[::2], *none), (*parts[1::2], *none)

    def _class_weighted(self: Any, Y: np.ndarray, weights: np.ndarray | None, incremental: bool) -> np.ndarray | None:
        """Return the weights of the samples multiplied by those of their classes."""
        given = getattr(self, "class_weight", None)
        if given is None:
            return weights
        if incremental and isinstance(given, str):
            raise ValueError(
                "class_weight='balanced' needs all samples at once, which partial_fit does not have. Pass a dictionary "
                "{class: weight}, such as sklearn.utils.class_weight.compute_class_weight returns."
            )
        if self._label_binarizer.y_type_.startswith("multilabel"):
            of_classes = _weights_of_labels(given, Y.astype(int))
            weights = weights[:, None] if weights is not None and weights.ndim == 1 else weights
        else:
            index = Y.argmax(axis=1) if Y.shape[1] > 1 else Y[:, 0].astype(int)
            if isinstance(given, dict):
                of_classes = compute_class_weight(given, classes=self.classes_, y=self.classes_)[index]
            else:
                of_classes = compute_sample_weight(given, self.classes_[index])
        return of_classes if weights is None else of_classes * weights

    def _watch(self: Any, incremental: bool) -> None:
        """Set up the record of losses, or with early stopping of scores: the last call's, or a new one."""
        if not hasattr(self, "loss_curve_"):
            self.loss_curve_: list[float] = []
            self.validation_loss_curve_ = None
        elif self.early_stopping == (self.validation_scores_ is not None):
            if self.early_stopping and incremental and self._last is None:
                self._no_improvement_count = 0  # the count was that of an earlier `fit`
            return
        self._no_improvement_count, self._best, self._last, self.stopped_ = 0, None, None, False
        if self.early_stopping:
            self.validation_scores_: list[float] | None = []
            self.best_validation_score_, self.best_loss_ = -np.inf, None
        else:
            self.validation_scores_, self.best_validation_score_, self.best_loss_ = None, None, np.inf

    def _descend(self: Any, X: Any, Y: np.ndarray, weights: np.ndarray | None, held_out: Any,
                 incremental: bool) -> None:  # fmt: skip
        """Train epochs of sgd or adam; in `partial_fit` one epoch."""
        self._watch(incremental)
        if incremental and self.stopped_:
            return
        if self.early_stopping and held_out is None:
            (X, Y, weights), held_out = self._hold_out(X, Y, weights, incremental)
        rows = self._rows(X, Y, self._class_weighted(Y, weights, incremental))
        batch = self._batch(len(Y))
        seed = int(self._random_state.randint(SEEDS))
        net = self._networked(seed)
        if not incremental or not hasattr(self, "_optimizer"):
            self._optimizer = self._new_optimizer()
        if incremental and self._last is not None and np.array_equal(net.parameters, self._best):
            net.parameters[:] = self._last  # where the last call ended, before it went back to the best
        if self.early_stopping and self._best is None and not is_classifier(self):  # to go back to, as scikit-learn
            self._best = net.parameters.copy()
        if held_out is not None:
            out = self._rows(*held_out)
            X_out, Y_out = net.architecture.check_samples(out.X, out.Y)
            held_out = _Rows(X_out, Y_out, out.weights)
        self.n_iter_ = 0
        after = _AfterEpoch(self, net, rows, held_out)
        history = net.fit(
            rows.X, rows.Y, epochs=1 if incremental else self.max_iter, batch_size=batch, optimizer=self._optimizer,
            shuffle=self.shuffle, sample_weight=rows.weights, callbacks=[after],
            progress=self.progress and not incremental, rng=seed,
        )  # fmt: skip
        if history.interrupted:
            warn("Training interrupted by user.", UserWarning, stacklevel=5)
        elif self.n_iter_ == self.max_iter and not after.stopped and not incremental:
            warn(
                f"Stochastic Optimizer: Maximum iterations ({self.max_iter}) reached and the optimization hasn't "
                f"converged yet.",
                ConvergenceWarning,
                stacklevel=5,
            )
        self.stopped_, self._last = False, None
        if self.early_stopping and incremental:
            self.stopped_, self._last = after.stopped, net.parameters.copy()
        if self.early_stopping and self._best is not None:
            net.parameters[:] = self._best

    def _batch(self: Any, m: int) -> int:
        """Return the number of samples in a step, out of m."""
        if self.batch_size == "auto":
            return min(200, m)
        if self.batch_size > m:
            message = "Got `batch_size` less than 1 or larger than sample size. It is going to be clipped"
            warn(message, UserWarning, stacklevel=6)
        return min(self.batch_size, m)

    def _new_optimizer(self: Any) -> Optimizer:
        rate = min(self.learning_rate_init, FLOAT32_MAX)
        if self.solver == "adam":
            return _Adam(rate, self.beta_1, self.beta_2, self.epsilon)
        momentum = min(self.momentum, np.nextafter(1, 0))  # fastprop requires a momentum below 1
        return _SGD(rate, momentum, bool(self.nesterovs_momentum and momentum))

    def _minimize(self: Any, rows: _Rows) -> None:
        """Run lbfgs on the parameters without their padding, which would make its vectors up to 16 times as long."""
        net = self._networked()
        used = _places(net)
        X, Y = net.architecture.check_samples(rows.X, rows.Y)
        weights = net.architecture.check_weights(rows.weights, Y)
        engine = net.engines.make(len(X), sparse=is_sparse(X))
        engine.set_cost(self.alpha, 1.0, by_samples=True)  # the cost whose gradients are computed
        lowest, uphill = np.inf, np.zeros(0)

        def cost(parameters: np.ndarray) -> tuple[float, np.ndarray]:
            nonlocal lowest, uphill
            net.parameters[used] = parameters
            J = engine.gradients(X, Y, weights)
            if self.verbose:
                print(f"Loss = {J:.8f}")
            gradient = net.gradients[used].astype(np.float64, copy=False)
            if not np.isfinite(parameters).all():
                return np.nan, gradient  # the squares of a gradient overflowed; the search goes back, and has failed
            if not (np.isfinite(J) and np.isfinite(gradient).all()) and len(uphill):
                return 2 * abs(lowest) + 1, -uphill  # a wall, since the line search would end at NaN
            if lowest > J:
                lowest, uphill = J, gradient
            return J, gradient

        with ONE_BLAS_THREAD:
            result = scipy.optimize.minimize(
                cost, net.parameters[used].astype(np.float64), method="L-BFGS-B", jac=True,
                options={"maxfun": self.max_fun, "maxiter": self.max_iter, "gtol": self.tol},
            )  # fmt: skip
        # With a relative error ε the loss cannot resolve gradients below about √ε: the minimum is reached.
        resolved = np.sqrt(np.finfo(net.dtype).eps) * max(1.0, result.fun)
        if result.status == ABNORMAL and np.abs(result.jac).max() <= resolved:
            result.status = 0
        self.n_iter_ = _check_optimize_result("lbfgs", result, self.max_iter)
        net.parameters[used] = result.x
        engine.set_cost(self.alpha, net.engines.share, by_samples=True)
        self.loss_ = engine.gradients(X, Y, weights)

    # ---- losses and scores ---------------------------------------------------------------------------------------

    def _score_of(self: Any, Z: np.ndarray, Y: np.ndarray, weights: np.ndarray | None) -> float:
        """Return the `score`: the accuracy, counting a sample if all its labels are right, or R²."""
        if not is_classifier(self):
            Y_hat = OUTPUTS[self.out_activation_][2](Z.astype(np.float64))
            if self._quantiles:
                return self._d2(Y, Y_hat, weights)
            return r_squared(Y.astype(np.float64), Y_hat, weights) if np.isfinite(Y_hat).all() else np.nan
        right = Z.argmax(axis=1) == Y if self.out_activation_ == "softmax" else ((Z > 0) == (Y > 0)).all(axis=1)
        return float(
            np.average(right, weights=weights if weights is None or weights.ndim == 1 else weights.mean(axis=1))
        )


def _is_finite(a: np.ndarray) -> bool:
    """Return whether all numbers are finite; False too if their sum overflows."""
    with np.errstate(over="ignore", invalid="ignore"):
        return bool(np.isfinite(a.sum()))


def _binarizer(labels: np.ndarray) -> LabelBinarizer:
    """Return a LabelBinarizer as its `fit` leaves it for samples with these labels, which are in order."""
    binarizer = LabelBinarizer()
    binarizer.y_type_ = "multiclass" if len(labels) > 2 else "binary"
    binarizer.classes_, binarizer.sparse_input_ = labels, False
    return binarizer


def _weights(sample_weight: Any, X: Any, Y: np.ndarray) -> np.ndarray | None:
    """Return the weights of the samples, or of the numbers or labels of each of them, in the form of an array."""
    if sample_weight is None:
        return None
    if np.asarray(sample_weight).ndim != 2:
        return _check_sample_weight(sample_weight, X)
    return check_array(sample_weight, dtype=FLOATS, input_name="sample_weight")


def _weights_of_labels(given: Any, Y: np.ndarray) -> np.ndarray:
    """Return the weight of each label of each sample, from its classes 0 and 1."""
    n = Y.shape[1]
    if not isinstance(given, str) and not (isinstance(given, list) and len(given) == n):
        raise ValueError(
            f"class_weight is {given!r}; for {n} labels it must be 'balanced' or a list of {n} dictionaries "
            f"{{0: weight, 1: weight}}."
        )
    each = [given] * n if isinstance(given, str) else given
    return np.column_stack([compute_sample_weight(one, y) for one, y in zip(each, Y.T, strict=True)])


def _Z(net: _Network, X: Any) -> np.ndarray:
    """Return Z of the output layer; a single row has the same bits as among other rows."""
    alone = not scipy.sparse.issparse(X) and len(X) == 1
    return net.predict(np.repeat(X, 2, axis=0))[:1] if alone else net.predict(X)


def _places(net: _Network) -> np.ndarray:
    """Return the indices of the weights and biases in the flat parameters; all others are padding."""
    used = np.zeros(net.parameters.shape, bool)
    for l in range(len(net.sizes) - 1):
        for view in net.architecture.layout.views(used, l):
            view[:] = True
    return np.flatnonzero(used)


def _constraints(parent: Any, **others: Any) -> dict[str, list[Any]]:
    """Return scikit-learn's rules for the parameters, with those of the additional parameters."""
    names = {"logistic", *HIDDEN}
    return {
        **parent._parameter_constraints,
        "activation": [StrOptions(names), Activation],
        "dropout": [Interval(Real, 0, 1, closed="left")],
        "progress": ["boolean"],
        **others,
    }


class MLPClassifier(_Estimator, neural_network.MLPClassifier):
    """scikit-learn's MLPClassifier, trained by fastprop: a network that minimizes the cross entropy.

    Parameters
    ----------
    hidden_layer_sizes : int or sequence of int
        Units of each hidden layer.
    activation : str or Activation
        The activation of the hidden layers: ``"relu"``, ``"tanh"``, ``"logistic"``, ``"identity"``, another name of
        :mod:`fastprop.activations`, or a custom one.
    solver : {"adam", "sgd", "lbfgs"}
    alpha : float
        The factor of the penalty alpha/(2m)·Σ W², m being the samples of a batch, or the sum of their weights.
    batch_size : int or "auto"
        ``"auto"`` is 200, or all samples if they are fewer.
    learning_rate : {"constant", "invscaling", "adaptive"}
        For sgd: the rate is constant; or after each epoch becomes ``learning_rate_init/(t_ + 1)^power_t``; or is
        divided by 5 whenever training would end, until it is 1e-6.
    learning_rate_init, power_t : float
    max_iter : int
        The largest number of epochs, or with lbfgs of iterations.
    shuffle : bool
        Whether each epoch takes the samples in a new random order.
    random_state : int, RandomState or None
        The source of the initial weights, the samples held out, their order, and dropout.
    tol, n_iter_no_change : float, int
        Training ends when the loss has not fallen, or with early stopping the score not risen, by `tol` for more than
        `n_iter_no_change` epochs. With lbfgs, `tol` is the largest gradient at the end.
    verbose : bool
        Whether to print each epoch's loss.
    warm_start : bool
        Whether `fit` continues from the last parameters.
    momentum, nesterovs_momentum : float, bool
        For sgd.
    early_stopping : bool
        Whether to hold out a share of the samples, or take `X_val`, measure the accuracy on it, and keep the parameters
        with the best. This includes `partial_fit`: after each call the estimator has the best parameters so far, while
        the next call continues from where the last one ended; after more than `n_iter_no_change` calls without an
        improvement, `stopped_` is True, and further calls do nothing.
    validation_fraction : float
        The share held out.
    beta_1, beta_2, epsilon : float
        For adam.
    max_fun : int
        For lbfgs: the largest number of evaluations of the loss.
    class_weight : dict, list of dict, "balanced" or None
        Weights of the classes in the loss that is minimized, which multiply those of the samples:
        {class: weight}, or n_samples/(n_classes · samples of the class). For a multilabel problem "balanced", or one
        {0: …, 1: …} for each label, are weights of the labels and not of the samples.
    dropout : float
        The probability, in [0, 1), that a hidden unit is dropped in a step of sgd or adam.
    progress : bool
        Whether `fit` shows a progress bar (extra ``progress``).
    loss : "log_loss" or Loss
        The cross entropy, or a loss of the probabilities of the classes, of two classes of that of the second, such as
        a custom one.

    Attributes
    ----------
    classes_ : ndarray, or list of ndarray
    coefs_, intercepts_ : list of ndarray
        W of each layer, (n_prev, n), and its b: views of the network's parameters, in the dtype of X, float32 or
        float64.
    loss_, best_loss_ : float
        The last loss and the least; the least is None with early stopping.
    loss_curve_ : list of float
        The loss of each epoch.
    validation_loss_curve_ : list of float or None
        The loss of each epoch on the validation set, if there is one, without the penalty.
    validation_scores_, best_validation_score_ : list of float, float; or None
        With early stopping.
    stopped_ : bool
        Whether `partial_fit` with early stopping has ended.
    network_ : Network
        The fitted network, which shares the parameters.
    n_features_in_, feature_names_in_, n_layers_, n_outputs_, out_activation_, n_iter_, t_
        The same as scikit-learn's.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> X, y = load_digits(return_X_y=True)
    >>> MLPClassifier(random_state=0, max_iter=100).fit(X / 16, y).score(X / 16, y) > 0.95
    True
    """

    _parameter_constraints = _constraints(
        neural_network.MLPClassifier, class_weight=[dict, list, StrOptions({"balanced"}), None],
        loss=[StrOptions({"log_loss"}), Loss],
    )  # fmt: skip

    def __init__(self, hidden_layer_sizes: Any = (100,), activation: Any = "relu", *, solver: str = "adam",
                 alpha: float = 0.0001, batch_size: Any = "auto", learning_rate: str = "constant",
                 learning_rate_init: float = 0.001, power_t: float = 0.5, max_iter: int = 200, shuffle: bool = True,
                 random_state: Any = None, tol: float = 1e-4, verbose: Any = False, warm_start: bool = False,
                 momentum: float = 0.9, nesterovs_momentum: bool = True, early_stopping: bool = False,
                 validation_fraction: float = 0.1, beta_1: float = 0.9, beta_2: float = 0.999, epsilon: float = 1e-8,
                 n_iter_no_change: float = 10, max_fun: int = 15000, class_weight: Any = None, dropout: float = 0.0,
                 progress: bool = False, loss: Any = "log_loss"):  # fmt: skip
        super().__init__(
            hidden_layer_sizes=hidden_layer_sizes, activation=activation, solver=solver, alpha=alpha,
            batch_size=batch_size, learning_rate=learning_rate, learning_rate_init=learning_rate_init, power_t=power_t,
            max_iter=max_iter, shuffle=shuffle, random_state=random_state, tol=tol, verbose=verbose,
            warm_start=warm_start, momentum=momentum, nesterovs_momentum=nesterovs_momentum,
            early_stopping=early_stopping, validation_fraction=validation_fraction, beta_1=beta_1, beta_2=beta_2,
            epsilon=epsilon, n_iter_no_change=n_iter_no_change, max_fun=max_fun,
        )  # fmt: skip
        self.class_weight = class_weight
        self.dropout = dropout
        self.progress = progress
        self.loss = loss

    @available_if(lambda estimator: estimator._check_solver())
    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None, classes: Any = None, *, X_val: Any = None,
                    y_val: Any = None, sample_weight_val: Any = None) -> Any:  # fmt: skip
        """Train for one epoch on some samples.

        Parameters
        ----------
        X, y, sample_weight, X_val, y_val, sample_weight_val
            See :meth:`fit`. With `early_stopping` and no validation set, a share of each call's samples is held out,
            the same rows if the samples are the same.
        classes : array-like, optional
            All classes that will ever occur; required in the first call.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            See :meth:`fit`.
        """
        if _check_partial_fit_first_call(self, classes):
            multilabel = type_of_target(y).startswith("multilabel")
            self._label_binarizer = LabelBinarizer().fit(y if multilabel else classes)
        return self._train(X, y, sample_weight, (X_val, y_val, sample_weight_val), incremental=True)


class MLPRegressor(_Estimator, neural_network.MLPRegressor):
    """scikit-learn's MLPRegressor, trained by fastprop: a network that minimizes squared errors or another loss.

    Parameters
    ----------
    loss : {"squared_error", "poisson", "mae", "huber"} or Loss
        ½ Σ (ŷ − y)²; y log(y/ŷ) − y + ŷ with ŷ = eᶻ, for counts; or a loss of :mod:`fastprop.losses`, which is summed
        over the outputs: one of these names, a custom one, or ``quantile([0.1, 0.5, 0.9])``, with which there is an
        output for each quantile of y. Its `score` is then 1 − (the loss)/(that of the quantiles of y), the mean D² over
        the quantiles (:func:`sklearn.metrics.d2_pinball_score`).
    hidden_layer_sizes, activation, solver, alpha, batch_size, learning_rate, learning_rate_init, power_t, max_iter, \
    shuffle, random_state, tol, verbose, warm_start, momentum, nesterovs_momentum, early_stopping, \
    validation_fraction, beta_1, beta_2, epsilon, n_iter_no_change, max_fun, dropout, progress
        See :class:`MLPClassifier`; early stopping measures R², of quantiles D².

    Attributes
    ----------
    coefs_, intercepts_, loss_, best_loss_, loss_curve_, validation_loss_curve_, validation_scores_, \
    best_validation_score_, stopped_, network_, n_features_in_, feature_names_in_, n_layers_, n_outputs_, \
    out_activation_, n_iter_, t_
        See :class:`MLPClassifier`.

    Examples
    --------
    >>> X = np.random.default_rng(0).random((1000, 2))
    >>> MLPRegressor(random_state=0, solver="lbfgs").fit(X, X[:, 0] * X[:, 1]).score(X, X[:, 0] * X[:, 1]) > 0.99
    True

    Targets that are not about 1 in size are scaled for the training, and predictions scaled back:

    >>> from sklearn.compose import TransformedTargetRegressor
    >>> from sklearn.preprocessing import StandardScaler
    >>> price = 200_000 + 50_000 * X[:, 0]
    >>> MLPRegressor(random_state=0, max_iter=20, n_iter_no_change=20, tol=0).fit(X, price).score(X, price) > 0
    False
    >>> scaled = TransformedTargetRegressor(MLPRegressor(random_state=0), transformer=StandardScaler())
    >>> scaled.fit(X, price).score(X, price) > 0.99
    True
    """

    _parameter_constraints = _constraints(
        neural_network.MLPRegressor, loss=[StrOptions({"squared_error", "poisson", *LOSS_NAMES}), Loss]
    )

    def __init__(self, loss: Any = "squared_error", hidden_layer_sizes: Any = (100,), activation: Any = "relu", *,
                 solver: str = "adam", alpha: float = 0.0001, batch_size: Any = "auto", learning_rate: str = "constant",
                 learning_rate_init: float = 0.001, power_t: float = 0.5, max_iter: int = 200, shuffle: bool = True,
                 random_state: Any = None, tol: float = 1e-4, verbose: Any = False, warm_start: bool = False,
                 momentum: float = 0.9, nesterovs_momentum: bool = True, early_stopping: bool = False,
                 validation_fraction: float = 0.1, beta_1: float = 0.9, beta_2: float = 0.999, epsilon: float = 1e-8,
                 n_iter_no_change: float = 10, max_fun: int = 15000, dropout: float = 0.0,
                 progress: bool = False):  # fmt: skip
        super().__init__(
            loss=loss, hidden_layer_sizes=hidden_layer_sizes, activation=activation, solver=solver, alpha=alpha,
            batch_size=batch_size, learning_rate=learning_rate, learning_rate_init=learning_rate_init, power_t=power_t,
            max_iter=max_iter, shuffle=shuffle, random_state=random_state, tol=tol, verbose=verbose,
            warm_start=warm_start, momentum=momentum, nesterovs_momentum=nesterovs_momentum,
            early_stopping=early_stopping, validation_fraction=validation_fraction, beta_1=beta_1, beta_2=beta_2,
            epsilon=epsilon, n_iter_no_change=n_iter_no_change, max_fun=max_fun,
        )  # fmt: skip
        self.dropout = dropout
        self.progress = progress

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Return R² of the predictions, or for a loss of quantiles the mean of their D².

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
        sample_weight : array-like of shape (n_samples,), optional

        Returns
        -------
        float
        """
        if not self._quantiles:
            return super().score(X, y, sample_weight)
        Y_hat = self.predict(X)
        return self._d2(self._columns(np.asarray(y)), Y_hat.reshape(len(Y_hat), -1), sample_weight)

    def _d2(self, Y: np.ndarray, Y_hat: np.ndarray, weights: Any) -> float:
        """Return the mean over the outputs of D²; NaN if a prediction is not finite."""
        if not np.isfinite(Y_hat).all():
            return np.nan
        by_output = np.ndim(weights) == 2
        levels = np.broadcast_to(self._quantiles, Y.shape[1])
        return float(np.mean([
            d2_pinball_score(y, y_hat, alpha=level, sample_weight=weights[:, j] if by_output else weights)
            for j, (y, y_hat, level) in enumerate(zip(Y.T, Y_hat.T, levels, strict=True))
        ]))  # fmt: skip

    @available_if(lambda estimator: estimator._check_solver())
    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None, *, X_val: Any = None, y_val: Any = None,
                    sample_weight_val: Any = None) -> Any:  # fmt: skip
        """Train for one epoch on some samples; see :meth:`MLPClassifier.partial_fit`."""
        return self._train(X, y, sample_weight, (X_val, y_val, sample_weight_val), incremental=True)


pipelines.register(MLPClassifier, MLPRegressor)
