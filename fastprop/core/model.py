"""Model: the parameters of a dense network, and the passes over them."""

import copy
from dataclasses import replace
from typing import Any, ClassVar, Self, overload

import numpy as np
from numba import from_dtype

from ..activations import Activation
from ..checks import flag
from ..kernels.jit import compiling
from ..kernels.networks import NetworkType
from ..kernels.plan import allocate
from ..optimizers import Adam, Optimizer
from ..texts import aligned, html_table, html_text, plain
from . import arrays
from .architecture import Architecture, checked_classes
from .engine import Engine
from .engines import Engines
from .record import Record
from .sparse import is_sparse


class Layer:
    """The arrays of one layer; `net.layers[l]` with l = 0 for the derivation's layer 1.

    Attributes
    ----------
    W, b, dW, db : ndarray of shape (n, n_prev), (n,)
        Writable views of the network's flat buffers.
    Z, A, dZ, dA : ndarray of shape (m, n)
        Copies of the results of the last :meth:`Network.forward` and :meth:`Network.backward`, made on access. The
        output layer has no dA: its loss gives dZ directly, or dA is given.
    index : int
        l.
    trainable : bool
        Whether training changes W and b: `fit` in all its forms, `fit_many`, `train_step`, `partial_fit`, `step`, and
        steps in compiled code. It may be assigned; False freezes the layer.
    activation : Activation

    Notes
    -----
    The W and b of a frozen layer keep their bits, whatever the optimizer, its weight decay and the penalty. Their
    gradients are not computed in training, and are not part of the norm that is clipped; those of the layers below are,
    unless all of these are frozen too: then the backward pass ends above them, and a step takes less time. The cost is
    the same function as without frozen layers: the penalty l2 counts all weights. `backward` computes the gradients of
    all layers, frozen or not. Moments of the optimizer that belong to a frozen layer stay as they are; its units are
    dropped like others.

    A change takes effect with the next step, also in a callback of a fit; for steps in compiled code, when the network
    is next passed to it. It is part of copies, pickles and saved files. A network whose layers are all frozen predicts,
    but raises ValueError if it is to be trained.

    Examples
    --------
    New output weights on layers that were trained before:

    >>> net = Network((64, 32, 16, 10), output="softmax", rng=0)
    >>> for layer in net.layers[:-1]:
    ...     layer.trainable = False
    >>> net
    Network((64, 32, 16, 10), hidden='relu', output='softmax', loss='cross_entropy'): 2,778 parameters, 2,608 frozen
    """

    def __init__(self, model: "Model", index: int):
        layout = model.architecture.layout
        self._model = model
        self.index: int = index
        self.n_prev: int = layout.sizes[index]
        self.n: int = layout.sizes[index + 1]
        self._W, self._b = layout.views(model.parameters, index)
        self._dW, self._db = layout.views(model.gradients, index)

    # The views may be assigned to in place: ``layer.W -= step`` works.

    @property
    def W(self) -> np.ndarray:
        return self._W

    @W.setter
    def W(self, values: Any) -> None:
        self._W[...] = values

    @property
    def b(self) -> np.ndarray:
        return self._b

    @b.setter
    def b(self, values: Any) -> None:
        self._b[...] = values

    @property
    def dW(self) -> np.ndarray:
        return self._dW

    @dW.setter
    def dW(self, values: Any) -> None:
        self._dW[...] = values

    @property
    def db(self) -> np.ndarray:
        return self._db

    @db.setter
    def db(self, values: Any) -> None:
        self._db[...] = values

    @property
    def Z(self) -> np.ndarray:
        return self._model.cached("Z", self.index)

    @property
    def A(self) -> np.ndarray:
        return self._model.cached("A", self.index)

    @property
    def dZ(self) -> np.ndarray:
        return self._model.cached("dZ", self.index)

    @property
    def dA(self) -> np.ndarray:
        return self._model.cached("dA", self.index)

    @property
    def activation(self) -> Activation:
        return self._model.architecture.activations[self.index]

    @property
    def trainable(self) -> bool:
        return self.index not in self._model.architecture.frozen

    @trainable.setter
    def trainable(self, value: bool) -> None:
        self._model.freeze(self.index, not flag("trainable", value))

    def __repr__(self) -> str:
        return f"Layer({self.n_prev} -> {self.n}{'' if self.trainable else ', trainable=False'})"


class Model:
    """What :class:`fastprop.Network` is built on: an architecture, its flat buffers, and one step of training.

    Parameters
    ----------
    architecture : Architecture
    generator : numpy.random.Generator
        For the shuffles.
    parameters : ndarray
        Flat, in the layout of the architecture.

    Attributes
    ----------
    engines : Engines
    fit_state : FitState or None
        Where the last fit stands (:mod:`fastprop.training.history`).
    """

    engines_type: ClassVar[type[Engines]] = Engines
    warns_of_a_constant: ClassVar[bool] = True  # whether a fit warns if it is no better than a constant prediction

    def __init__(self, architecture: Architecture, generator: np.random.Generator, parameters: np.ndarray):
        self.architecture: Architecture = architecture
        self.generator: np.random.Generator = generator
        self.fit_state: Any = None
        self.n_parameters: int = architecture.n_parameters
        self._parameters = parameters
        self._gradients = allocate(architecture.layout.length, architecture.dtype)
        self._penalized = np.zeros(1, np.int64)  # whether the last backward pass has added the penalty to the gradients
        self._optimizer: Optimizer | None = None
        self._classes: list[str | int] | None = None
        self._record: Record | None = None
        self.engines: Engines = self.engines_type(architecture, self._parameters, self._gradients)

    @classmethod
    def of(cls, architecture: Architecture, generator: np.random.Generator, parameters: np.ndarray) -> Self:
        """Make a network of this class from checked parts, without drawing initial weights."""
        model = cls.__new__(cls)
        Model.__init__(model, architecture, generator, parameters)
        return model

    # Made on access: if they were stored, network and layers would refer to each other, and their memory would be kept
    # until Python's garbage collector ran.
    @property
    def layers(self) -> list[Layer]:
        return [Layer(self, l) for l in range(len(self.sizes) - 1)]

    @property
    def sizes(self) -> tuple[int, ...]:
        return self.architecture.sizes

    @property
    def hidden(self) -> tuple[str | Activation, ...]:
        return tuple(activation.label for activation in self.architecture.hidden)

    @property
    def output(self) -> str | Activation:
        return self.architecture.output.label

    @property
    def loss_name(self) -> str:
        return self.architecture.loss.name

    @property
    def l2(self) -> float:
        return self.architecture.l2

    @property
    def dropout(self) -> float:
        return self.architecture.dropout

    @property
    def scale(self) -> float:
        return self.architecture.scale

    @property
    def dtype(self) -> np.dtype:
        return self.architecture.dtype

    @property
    def check_finite(self) -> bool:
        return self.architecture.check_finite

    @property
    def missing(self) -> bool:
        return self.architecture.missing

    @property
    def optimizer(self) -> Optimizer | None:
        return self._optimizer

    @optimizer.setter
    def optimizer(self, value: Any) -> None:
        if value is None:
            self._optimizer = None
        else:
            self.bind(value)

    @property
    def classes(self) -> "list[str | int] | None":
        return self._classes

    @classes.setter
    def classes(self, values: Any) -> None:
        self._classes = checked_classes("classes", values, self.architecture.n_classes)

    @property
    def parameters(self) -> np.ndarray:
        return self._parameters

    @parameters.setter
    def parameters(self, values: Any) -> None:  # so that `net.parameters -= step` works; the buffer stays the same
        self._parameters[:] = values

    @property
    def gradients(self) -> np.ndarray:
        return self._gradients

    @gradients.setter
    def gradients(self, values: Any) -> None:
        self._gradients[:] = values

    def __repr__(self) -> str:
        hidden = self.hidden[0] if len(set(self.hidden)) == 1 else self.hidden
        given = {
            "l2": (self.l2, 0),
            "dropout": (self.dropout, 0),
            "scale": (self.scale, 1),
            "check_finite": (self.check_finite, True),
            "missing": (self.missing, False),
        }
        others = "".join(f", {name}={value:g}" for name, (value, default) in given.items() if value != default)
        others += f", dtype={self.dtype.name!r}" if self.dtype != np.float32 else ""
        loss, frozen = self.architecture.loss.label, self.architecture.n_frozen
        return (
            f"Network({self.sizes}, hidden={hidden!a}, output={self.output!a}, loss={loss!a}{others}): "
            f"{self.n_parameters:,} parameters{f', {frozen:,} frozen' if frozen else ''}"
        )

    def summary(self) -> str:
        """Return a table of the layers as text, which ``str(net)`` and ``print(net)`` show too."""
        return plain("\n".join([repr(self), *aligned(self._table())]))

    __str__ = summary

    def _repr_html_(self) -> str:
        """Return a table of the layers as HTML, which notebooks display."""
        return html_text(repr(self)) + html_table(self._table())

    def _table(self) -> list[list[str]]:
        rows = [["layer", "inputs", "units", "activation", "parameters"]]
        rows += (
            [str(l.index + 1), f"{l.n_prev:,}", f"{l.n:,}", l.activation.name, f"{l.W.size + l.b.size:,}"]
            for l in self.layers
        )
        rows.append(["all", "", "", "", f"{self.n_parameters:,}"])
        if frozen := self.architecture.n_frozen:
            marks = ["trainable", *("yes" if l.trainable else "no" for l in self.layers), ""]
            rows = [[*row, mark] for row, mark in zip(rows, marks, strict=True)]
            counts = {"trainable": self.n_parameters - frozen, "frozen": frozen}
            rows += ([name, "", "", "", f"{count:,}", ""] for name, count in counts.items())
        return rows

    # ---- passes --------------------------------------------------------------------------------------------------

    def forward(self, X: Any) -> np.ndarray:
        """Run the forward pass and keep its cache for :meth:`backward` and for the layers' Z and A.

        Parameters
        ----------
        X : array_like of shape (m, n_0)

        Returns
        -------
        Y_hat : ndarray of shape (m, n_L), of the network's dtype

        Raises
        ------
        ValueError, TypeError
            If X has another width or is not finite, real and two-dimensional.
        """
        X = self.architecture.check_features(X)
        return self.engines.keeping(len(X)).forward(X, transpose=True)

    @overload
    def backward(self, Y: Any, sample_weight: Any = None) -> float: ...

    @overload
    def backward(self, *, dA: Any) -> None: ...

    def backward(self, Y: Any = None, sample_weight: Any = None, *, dA: Any = None) -> float | None:
        """Run the backward pass: the four equations, from the cache of the last forward pass, into `gradients`.

        Parameters
        ----------
        Y : array_like of shape (m, n_L), or integer labels (m,) for a softmax
        sample_weight : array_like of shape (m,) or (m, n_L), optional
            The weight of each sample, or of each output of each sample, see :meth:`Network.fit`.
        dA : array_like of shape (m, n_L), instead of Y
            ∂J/∂Ŷ of any J: the pass then goes back from there. `gradients` become those of Σ dA∗Ŷ, which is the
            vector–Jacobian product: they are sums over the samples, without the 1/m of equations 2 and 3, and without
            the network's penalty.

        Returns
        -------
        J : float or None
            The cost; None with dA.

        Raises
        ------
        RuntimeError
            If there was no forward pass.
        ValueError, TypeError
            If Y or dA does not fit X and the output, or if not exactly one of them is given.

        Examples
        --------
        The gradients of a loss of one's own over the whole batch, here the variance of the outputs:

        >>> net, X = Network((3, 8, 1), rng=0), np.random.default_rng(0).random((32, 3))
        >>> Y_hat = net.forward(X)
        >>> net.backward(dA=2 / len(X) * (Y_hat - Y_hat.mean()))
        >>> net.step(SGD(lr=0.1))
        """
        engine = self.engines.kept
        if engine is None or not engine.rows:
            raise RuntimeError("there is no forward pass to go back through. Call forward(X) first.")
        if (Y is None) == (dA is None):
            state = "Y is None, and so is dA" if Y is None else "Y and dA are both given"
            raise TypeError(f"{state}; give one of them.")
        if dA is not None:
            if sample_weight is not None:
                raise ValueError("sample_weight is given with dA, which has no 1/m. Multiply the rows of dA by it.")
            engine.backward_from(self.architecture.check_dA(dA, engine.rows), self.engines.inner_product)
            self._penalized[0] = False
            return None
        Y = self.architecture.check_targets(Y, engine.rows)
        weights = self.architecture.check_weights(sample_weight, Y)
        cost = engine.backward(Y, weights)
        self._penalized[0] = True
        return cost

    @property
    def dX(self) -> np.ndarray:
        """dA⁽⁰⁾ = scale·W⁽¹⁾ᵀ·dZ⁽¹⁾ of the last backward pass (equation 4), of shape (m, n_0): the gradient of X.

        As every layer's dA, it is of each sample's own loss, times its weight but without 1/m; after
        ``backward(dA=G)`` it is of Σ G∗Ŷ. It is computed when it is asked for, from W⁽¹⁾ as it is then.

        Raises
        ------
        RuntimeError
            If there was no backward pass.
        """
        return self._passed_back("dX").dX()

    def jacobian(self, X: Any) -> np.ndarray:
        """Compute ∂Ŷ/∂X, of shape (m, n_L, n_0) and the network's dtype, by one pass forward and one back per output.

        It leaves the gradients and the cache of :meth:`forward` as they are, and may be called from several threads at
        once, like :meth:`predict`.

        Parameters
        ----------
        X : array_like of shape (m, n_0)

        Raises
        ------
        ValueError, TypeError
            If X has another width or is not finite, real and two-dimensional.
        """
        X = self.architecture.check_features(X)
        with self.engines.lend(len(X), keep=True) as engine:
            return engine.jacobian(X, self.engines.inner_product)

    def loss(self, X: Any, Y: Any, sample_weight: Any = None) -> float:
        """Compute the cost J on X and Y; nothing is kept.

        Parameters, shapes and errors are those of :meth:`predict` and :meth:`backward`.
        """
        X, Y = self.architecture.check_samples(X, Y)
        weights = self.architecture.check_weights(sample_weight, Y)
        with self.engines.lend(len(X), is_sparse(X)) as engine:
            return engine.loss(X, Y, weights)

    def predict(self, X: Any) -> np.ndarray:
        """Compute Ŷ of X, of shape (m, n_L) and the network's dtype; may be called from several threads at once.

        The result for a row has the same bits whatever rows stand beside it, with one exception: a single row of an
        array is computed as a matrix-vector product, which sums in another order, and may differ in the last bits.

        Parameters
        ----------
        X : array_like or CSR matrix of shape (m, n_0)
            See :meth:`Network.fit`.

        Raises
        ------
        ValueError, TypeError
            If X has another width or is not finite, real and two-dimensional, or is no valid CSR.
        """
        X = self.architecture.check_rows(X)
        with self.engines.lend(len(X), is_sparse(X)) as engine:
            return engine.forward(X, transpose=False)

    def train_step(self, X: Any, Y: Any, optimizer: Optimizer, sample_weight: Any = None) -> float:
        """Train one step on one batch: forward, backward and update in one compiled call.

        Parameters
        ----------
        X : array_like or CSR matrix of shape (m, n_0)
            See :meth:`Network.fit`.
        Y : array_like of shape (m, n_L), or integer labels (m,) for a softmax
        optimizer : Optimizer
        sample_weight : array_like of shape (m,) or (m, n_L), optional

        Returns
        -------
        J : float
            The cost before the step.

        Raises
        ------
        ValueError, TypeError
            If X, Y or the weights do not fit, the optimizer belongs to another network, or all layers are frozen.
            Nothing is changed then.

        Notes
        -----
        A step whose cost is not finite changes nothing.

        Plain SGD updates W while dW is summed and stores no gradient: `gradients` are those of :meth:`backward` only.
        Train a network from one Python thread at a time; only `predict` and `loss` may be called from several.
        """
        self.architecture.check_trainable()
        X, Y = self.architecture.check_samples(X, Y)
        weights = self.architecture.check_weights(sample_weight, Y)
        before, moments = self._optimizer, self.bind(optimizer)
        try:
            engine = self.engines.training(len(X), is_sparse(X))
            cost, weight = engine.train(X, Y, weights, optimizer, moments)
        except Exception:
            self._optimizer = before
            raise
        return cost / weight

    def step(self, optimizer: Optimizer | None = None) -> None:
        """Update the parameters from whatever stands in `gradients`, which stay as they are.

        The optimizer clips them as in a fit. The gradient of the network's penalty l2 is added to them, unless the last
        backward pass was ``backward(Y)``, which has added it already. Those of frozen layers count for nothing.

        Parameters
        ----------
        optimizer : Optimizer, optional
            None continues with the network's last optimizer; the first one is ``Adam()``.

        Raises
        ------
        ValueError, TypeError
            If a gradient, the norm to which they are clipped, or the penalty is not finite, if the optimizer belongs to
            another network, or if all layers are frozen. Nothing is changed then.

        Notes
        -----
        After ``forward(X)`` and ``backward(Y)`` the parameters get the bits of ``train_step(X, Y, optimizer)`` without
        dropout. With plain SGD, whose update is fused there, and for more than 256 rows, which are summed there in
        chunks, they are equal to rounding.

        Examples
        --------
        Two batches that do not fit the memory together:

        >>> net, (X, Y) = Network((3, 8, 1), rng=0), np.random.default_rng(0).random((2, 32, 3))
        >>> total = np.zeros_like(net.gradients)
        >>> for part in (slice(0, 16), slice(16, 32)):
        ...     Y_hat, cost = net.forward(X[part]), net.backward(Y[part, :1])
        ...     total += net.gradients / 2
        >>> net.gradients = total
        >>> net.step(Adam())
        """
        self.architecture.check_trainable()
        if optimizer is None:
            optimizer = self._optimizer or Adam()
        gradients = self._gradients
        gradients[self.architecture.layout.padding] = 0
        if not arrays.is_finite(gradients) and (where := self._first_not_finite(gradients)) is not None:
            raise ValueError(
                f"gradients[{where}] is {gradients[where]}; every gradient must be finite. Look for NaN and infinity "
                f"in the parameters, and in what the gradients were computed from."
            )
        before, moments = self._optimizer, self.bind(optimizer)
        try:
            penalty = self.engines.updating().update(optimizer, moments, 0.0 if self._penalized[0] else self.l2)
            if not np.isfinite(penalty):
                raise ValueError(
                    "the norm of the gradients, or the penalty of the weights, is beyond the range of "
                    f"{self.dtype.name}. Scale the gradients down, or look for weights that have grown too large."
                )
        except Exception:
            self._optimizer = before
            raise

    def partial_fit(self, X: Any, Y: Any, optimizer: Optimizer | None = None, sample_weight: Any = None) -> float:
        """Train one step on the next batch of a stream: :meth:`train_step` with the optimizer of the step before.

        Parameters
        ----------
        X, Y, sample_weight
            See :meth:`train_step`. Batches may differ in size.
        optimizer : Optimizer, optional
            None continues with the network's last optimizer; the first one is ``Adam()``. Copies and pickles of
            the network continue with a copy of it.

        Returns
        -------
        J : float
            The cost before the step.

        Raises
        ------
        ValueError, TypeError
            See :meth:`train_step`. Nothing is changed then.

        Examples
        --------
        >>> net, rng = Network((3, 8, 1), rng=0), np.random.default_rng(0)
        >>> stream = (rng.random((m, 3)) for m in (32, 32, 32, 5))
        >>> costs = [net.partial_fit(X, X.sum(axis=1)) for X in stream]
        """
        if optimizer is None:
            optimizer = self._optimizer or Adam()
        return self.train_step(X, Y, optimizer, sample_weight)

    def to_dict(self) -> dict[str, np.ndarray]:
        """Return copies of the parameters as in the derivation: {"W1": (n_1, n_0), "b1": (n_1, 1), …}."""
        result = {}
        for l, layer in enumerate(self.layers, start=1):
            result[f"W{l}"] = layer.W.copy()
            result[f"b{l}"] = layer.b.reshape(-1, 1).copy()
        return result

    # ---- for the package itself ----------------------------------------------------------------------------------

    def bind(self, optimizer: Any) -> np.ndarray:
        """Make an optimizer the network's own, and return its moments.

        Raises
        ------
        TypeError, ValueError
            If it is no optimizer, or belongs to another network.
        """
        if not isinstance(optimizer, Optimizer):
            raise TypeError(f"optimizer is {optimizer!r}; it must be an optimizer, such as SGD(lr=0.1) or Adam().")
        moments = optimizer.bind(self, self.architecture.layout.length, self.architecture.dtype)
        self._optimizer = optimizer
        return moments

    def rebind(self, optimizer: Optimizer | None) -> None:
        """Go back to an earlier optimizer of this network, or to none."""
        self._optimizer = optimizer

    def _first_not_finite(self, gradients: np.ndarray) -> int | None:
        """Return the place of the first gradient that is not finite, of the layers that are trained; None for none."""
        lost = ~np.isfinite(gradients)
        for l in self.architecture.frozen:
            for part in self.architecture.layout.views(lost, l):
                part[:] = False
        return int(lost.argmax()) if lost.any() else None

    def freeze(self, index: int, frozen: bool) -> None:
        """Let training leave a layer as it is, or train it again."""
        others = {*self.architecture.frozen} - {index}
        self.architecture = replace(self.architecture, frozen=tuple(sorted(others | ({index} if frozen else set()))))
        self.engines.freeze(self.architecture.frozen)

    def penalty(self) -> float:
        """Return λ/2·Σ W², the part of the cost that penalizes the weights."""
        if not self.l2:
            return 0.0
        return self.l2 / 2 * sum(float(np.sum(np.square(layer.W, dtype=np.float64))) for layer in self.layers)

    def _passed(self, name: str) -> Engine:
        """Return the engine that keeps a forward pass; an error names what is not there."""
        engine = self.engines.kept
        if engine is None or not engine.rows:
            raise RuntimeError(f"there is no {name} yet. Call forward(X) first.")
        return engine

    def _passed_back(self, name: str) -> Engine:
        """Return the engine that keeps a forward and a backward pass; an error names what is not there."""
        engine = self._passed(name)
        if not engine.has_gradients:
            raise RuntimeError(f"there is no {name} yet. Call backward(Y) after forward(X).")
        return engine

    def cached(self, name: str, index: int) -> np.ndarray:
        """Return a copy of one layer's Z, A, dZ or dA."""
        engine = self._passed(name)
        if name in ("dZ", "dA"):
            self._passed_back(name)
        if name == "dA" and index == len(self.sizes) - 2:
            raise AttributeError("the output layer has no dA: its loss gives dZ directly.")
        layer = engine.plan.layers[index]
        return engine.panels(int(layer[name]), int(layer["n"]), engine.rows)

    @property
    def _numba_type_(self) -> NetworkType:
        """The type of the network as an argument of compiled code (:mod:`fastprop.kernels.networks`)."""
        return NetworkType(from_dtype(self.dtype))

    @property
    def record_address(self) -> int:
        """The address of the record that compiled code reads, with the optimizer as it is now."""
        if self._record is None:
            with compiling():  # so that two threads do not make two
                if self._record is None:
                    buffers = self._parameters, self._gradients
                    engines = self.engines_type(self.architecture, *buffers, alone=True)
                    self._record = Record(self, engines, self._penalized)
        optimizer = self._optimizer
        self._record.train_with(self.architecture, optimizer, None if optimizer is None else self.bind(optimizer))
        return self._record.address

    # ---- copies and pickles: with new buffers and engines, because engines hold addresses ------------------------

    def __getstate__(self) -> dict[str, Any]:
        return {
            "architecture": self.architecture,
            "generator": self.generator,
            "parameters": self.parameters.copy(),
            "optimizer": self._optimizer,
            "classes": self._classes,
            "fit_state": self.fit_state,
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        architecture, optimizer = state["architecture"], state["optimizer"]
        parameters = allocate(architecture.layout.length, architecture.dtype)
        parameters[:] = state["parameters"]
        Model.__init__(self, architecture, state["generator"], parameters)
        self._classes = state["classes"]
        self.fit_state = copy.deepcopy(state["fit_state"])
        # copy.copy passes the original optimizer, which stays with its network
        self._optimizer = copy.deepcopy(optimizer) if optimizer and optimizer.owner else optimizer
