"""Network: the parameters of a dense network, and the passes over them."""

import copy
import os
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from . import gradcheck, inputs, io, threads, training
from .activations import ACTIVATIONS, Activation
from .engine import Engine, plan_for
from .initializers import INITIALIZERS, Initializer, default_for
from .kernels.plan import ParameterLayout, allocate
from .losses import LOSSES, Loss, routine_of
from .losses import default_for as paired_loss
from .optimizers import SGD, Optimizer

PREDICT_BATCH = 512  # rows that pass through the layers together, so that their activations stay in the cache
# Training engines of the last batch sizes, for streams that come back to them: to make one takes some 100 µs, longer
# than a step of a small network; where their workspaces exceed these bytes, it is little beside their steps.
MOST_ENGINES, MOST_BYTES = 4, 2**26


def _writable(name: str) -> property:
    """A view that may be written and assigned to, in place: ``layer.W -= step`` works."""

    def get(self: Any) -> np.ndarray:
        return getattr(self, name)

    def set(self: Any, values: Any) -> None:
        getattr(self, name)[...] = values

    return property(get, set)


class Layer:
    """One layer's arrays; `net.layers[l]` with l = 0 for the source's layer 1.

    Attributes
    ----------
    W, b, dW, db : ndarray of shape (n, n_prev), (n,)
        Writable views of the network's flat buffers.
    Z, A, dZ, dA : ndarray of shape (m, n)
        Copies, made when asked for, of what the last :meth:`Network.forward` and :meth:`Network.backward` left. The
        output layer has no dA: its loss gives dZ directly.
    """

    def __init__(self, network: "Network", index: int):
        self._network, self._index = network, index
        layout = network._layout
        self.n_prev, self.n = layout.sizes[index : index + 2]
        self._W, self._b = layout.views(network.parameters, index)
        self._dW, self._db = layout.views(network.gradients, index)

    W = _writable("_W")
    b = _writable("_b")
    dW = _writable("_dW")
    db = _writable("_db")
    Z = property(lambda self: self._network._kept("Z", self._index))
    A = property(lambda self: self._network._kept("A", self._index))
    dZ = property(lambda self: self._network._kept("dZ", self._index))
    dA = property(lambda self: self._network._kept("dA", self._index))

    def __repr__(self) -> str:
        return f"Layer({self.n_prev} → {self.n})"


class Network:
    """A dense neural network: Z⁽ˡ⁾ = W⁽ˡ⁾·A⁽ˡ⁻¹⁾ + b⁽ˡ⁾, A⁽ˡ⁾ = g(Z⁽ˡ⁾).

    Parameters
    ----------
    sizes : sequence of int
        (n_0, …, n_L): inputs, hidden layers, outputs.
    hidden : str, Activation or sequence of them
        For all hidden layers, or one for each: a name of :mod:`fastprop.activations`, such as ``"relu"``, ``"tanh"``
        or ``"gelu"``, or one's own.
    output : str or Activation
        Likewise, or ``"softmax"``.
    loss : str, Loss or None
        A name of :mod:`fastprop.losses`, or one's own. None takes the loss paired with the output: ``"mse"`` with an
        identity, ``"binary_crossentropy"`` with a sigmoid, ``"cross_entropy"`` with a softmax, ``"mse"`` with others.
    init : str, callable or None
        A name of :mod:`fastprop.initializers`, or a callable (n, n_prev, rng) → W; None takes what suits the layer's
        activation: He for relu and its relatives, LeCun for selu, Glorot elsewhere. Biases start at zero.
    l2 : float
        λ of the penalty λ/2·Σ W² in the cost, which adds λ·W to dW; biases are free (ridge regression's, Hoerl and
        Kennard 1970).
    dropout : float
        Probability, in [0, 1), that a hidden unit is 0 for a sample in a training step; the others are divided by
        1 − dropout (Srivastava et al. 2014). What is dropped follows from rng, the optimizer's step, layer, unit and
        sample alone. Only `fit`, `train_step` and `partial_fit` drop anything.
    scale : float
        What X is multiplied by as it is read, such as 1/255 for the bytes of an image; at least 1e-37, so that it is
        not 0 in float32. X of uint8 stays as it is in memory, a quarter of float32.
    check_finite : bool
        Whether NaN and infinity in X and Y are refused. If not, what follows from them is NaN: a cost, whatever such a
        sample weighs, and the gradients. No step is made on them: `fit` ends there, with a warning.
    rng : int, numpy.random.Generator or None
        Where the weights and the shuffles come from; the same seed gives the same network.

    Attributes
    ----------
    sizes, hidden, output, loss_name, l2, dropout, scale, check_finite
        What it was made with; they cannot be changed.
    parameters, gradients : ndarray of float32
        Flat, contiguous, 64-byte-aligned, of one common layout: per layer W, row by row, then b, each padded with
        zeros. They may be written in place.
    optimizer : Optimizer or None
        That of the last step.
    classes : list of str or int, or None
        What the outputs stand for, to be written down and saved with the network.
    n_parameters : int
        The real ones, without the padding.
    layers : list of Layer

    Raises
    ------
    ValueError, TypeError
        For a value that is out of range, or of the wrong kind.

    Examples
    --------
    >>> net = Network((2, 16, 1), output="sigmoid", rng=0)
    >>> X = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
    >>> history = net.fit(X, X[:, 0] ^ X[:, 1], epochs=1000, optimizer=Adam(lr=0.01))
    >>> net.predict(X).round().ravel()
    array([0., 1., 1., 0.], dtype=float32)
    """

    def __init__(self, sizes: Sequence[int], hidden: str | Activation | Sequence[str | Activation] = "relu",
                 output: str | Activation = "identity", loss: str | Loss | None = None, *,
                 init: str | Initializer | None = None, l2: float = 0.0, dropout: float = 0.0, scale: float = 1.0,
                 check_finite: bool = True, rng: int | np.random.Generator | None = None):  # fmt: skip
        self._layout = ParameterLayout.of(inputs.sizes(sizes))
        self._hidden = inputs.hidden(hidden, len(self.sizes) - 2)
        self._output = inputs.activation("output", output, list(ACTIVATIONS))
        if self.output == "softmax" and self.sizes[-1] < 2:
            raise ValueError('a softmax of one output is always 1; use output="sigmoid" for two classes.')
        self._loss = paired_loss(self._output) if loss is None else inputs.loss(loss)
        self._l2 = inputs.number("l2", l2, least=0)
        self._scale = inputs.number("scale", scale, least=1e-37)
        self._check_finite = inputs.flag("check_finite", check_finite)
        dropout = inputs.number("dropout", dropout, least=0, below=1)
        self._dropout = 0.0, 0
        initializers = self._checked_init(init)
        self._rng = inputs.generator(rng)
        self._classes: list[str | int] | None = None
        self._build()
        for layer, initialize in zip(self.layers, initializers, strict=True):
            W = inputs.float32("init(n, n_prev, rng)", initialize(layer.n, layer.n_prev, self._rng))
            if W.shape != layer.W.shape:
                raise ValueError(f"init gave weights of shape {W.shape}; this layer needs {layer.W.shape}.")
            layer.W[:] = W
        if dropout:
            self._dropout = dropout, int(self._rng.integers(2**62))

    def _targets(self) -> str:
        """What kind the targets are of: classes of a softmax, shares of 1, counts, or any numbers."""
        if self.output == "softmax":
            return "softmax"
        if self._loss is LOSSES["binary_crossentropy"]:
            return "sigmoid"
        return "poisson" if self._loss is LOSSES["poisson"] else "identity"

    def _checked_init(self, init: Any) -> list[Initializer]:
        if init is None:
            return [default_for(activation.name) for activation in (*self._hidden, self._output)]
        if not callable(init):
            init = INITIALIZERS[inputs.choice("init", init, list(INITIALIZERS))]
        return [init] * (len(self.sizes) - 1)

    def _build(self) -> None:
        """Allocate the flat buffers and lay the views over them."""
        self._parameters = allocate(self._layout.length)
        self._gradients = allocate(self._layout.length)
        self.n_parameters = sum((n_prev + 1) * n for n_prev, n in pairwise(self.sizes))
        # what the door asks of X and Y
        self._ends = (self.sizes[0], self.sizes[-1], self._targets(), self._check_finite)
        self._training: Engine | None = None  # of the last batch size
        self._engines: dict[int, Engine] = {}  # and of some before it, by batch size, the latest last
        self._optimizer: Optimizer | None = None  # the last
        self._run: training.Run | None = None  # where the last fit stands
        self._cache: Engine | None = None  # of the last forward pass
        # For predict and loss, of many rows and of one: taken and put back, so that threads never share one.
        self._idle: tuple[list[Engine], list[Engine]] = ([], [])

    # Made when asked for: kept, network and layers would hold each other, and with them the memory, until Python's
    # collector of cycles came by.
    layers = property(lambda self: [Layer(self, l) for l in range(len(self.sizes) - 1)])
    sizes = property(lambda self: self._layout.sizes)
    hidden = property(lambda self: tuple(activation.label for activation in self._hidden))
    output = property(lambda self: self._output.label)
    loss_name = property(lambda self: self._loss.name)
    optimizer = property(lambda self: self._optimizer)
    l2 = property(lambda self: self._l2)
    dropout = property(lambda self: self._dropout[0])
    scale = property(lambda self: self._scale)
    check_finite = property(lambda self: self._check_finite)

    @property
    def classes(self) -> "list[str | int] | None":
        return self._classes

    @classes.setter
    def classes(self, values: Any) -> None:
        self._classes = inputs.classes("classes", values, max(2, self.sizes[-1]))

    @property
    def parameters(self) -> np.ndarray:
        return self._parameters

    @parameters.setter
    def parameters(self, values: Any) -> None:  # so that `net.parameters -= step` works; the buffer stays
        self._parameters[:] = values

    @property
    def gradients(self) -> np.ndarray:
        return self._gradients

    @gradients.setter
    def gradients(self, values: Any) -> None:
        self._gradients[:] = values

    def __repr__(self) -> str:
        hidden = self.hidden[0] if len(set(self.hidden)) == 1 else self.hidden
        given = {"l2": (self.l2, 0), "dropout": (self.dropout, 0), "scale": (self.scale, 1),
                 "check_finite": (self.check_finite, True)}  # fmt: skip
        others = "".join(f", {name}={value:g}" for name, (value, default) in given.items() if value != default)
        return (
            f"Network({self.sizes}, hidden={hidden!r}, output={self.output!r}, loss={self._loss.label!r}{others}): "
            f"{self.n_parameters:,} parameters"
        )

    # ---- passes --------------------------------------------------------------------------------------------------

    def forward(self, X: Any) -> np.ndarray:
        """The forward pass, its cache kept for :meth:`backward` and for the layers' Z and A.

        Parameters
        ----------
        X : array_like of shape (m, n_0)

        Returns
        -------
        Y_hat : ndarray of shape (m, n_L), float32

        Raises
        ------
        ValueError, TypeError
            If X has another width or is not finite, real and two-dimensional.
        """
        X = inputs.features(X, self.sizes[0], self._check_finite)
        engine = self._cache
        if engine is None or engine.plan.batch != len(X) or self._stale(engine):
            self._cache = None  # its memory first
            engine = self._engine(len(X), keep=True)
        Y_hat = engine.forward(X, transpose=True)
        self._cache = engine
        return Y_hat

    def backward(self, Y: Any, sample_weight: Any = None) -> float:
        """The backward pass: the four equations, from the cache of the last forward pass, into `gradients`.

        Parameters
        ----------
        Y : array_like of shape (m, n_L), or integer labels (m,) for a softmax
        sample_weight : array_like of shape (m,), optional
            The 1/m of equations 2 and 3 becomes one over their sum.

        Returns
        -------
        J : float
            The cost.

        Raises
        ------
        RuntimeError
            If there was no forward pass.
        ValueError, TypeError
            If Y does not fit X and the output.
        """
        engine = self._cache
        if engine is None:
            raise RuntimeError("there is no forward pass to go back through. Call forward(X) first.")
        Y = inputs.targets(Y, engine.rows, *self._ends[1:])
        weights = inputs.weights(sample_weight, engine.rows)
        return engine.backward(Y, weights)

    def loss(self, X: Any, Y: Any, sample_weight: Any = None) -> float:
        """The cost J on X and Y; keeps nothing. Parameters, shapes and errors as in `forward` and `backward`."""
        X, Y = inputs.batch(X, Y, *self._ends)
        weights = inputs.weights(sample_weight, len(X))
        return self._borrow(len(X), lambda engine: engine.loss(X, Y, weights))

    def predict(self, X: Any) -> np.ndarray:
        """Ŷ of X, (m, n_L) float32. Touches no state of the network; may be called from many threads.

        A row has the same bits whatever rows stand beside it; by itself it is summed in another order (a product of a
        matrix by a vector) and may differ in the last bits.
        """
        X = inputs.features(X, self.sizes[0], self._check_finite)
        return self._borrow(len(X), lambda engine: engine.forward(X, transpose=False))

    def train_step(self, X: Any, Y: Any, optimizer: Optimizer, sample_weight: Any = None) -> float:
        """One step on one batch: forward, backward and update in one compiled call.

        Parameters
        ----------
        X : array_like of shape (m, n_0)
        Y : array_like of shape (m, n_L), or integer labels (m,) for a softmax
        optimizer : Optimizer
        sample_weight : array_like of shape (m,), optional

        Returns
        -------
        J : float
            The cost before the step.

        Raises
        ------
        ValueError, TypeError
            If X, Y or the weights do not fit, or the optimizer is another network's. Nothing is changed then.

        Notes
        -----
        A step whose cost is not finite changes nothing.

        Plain SGD updates W as dW is summed and writes no gradient: `gradients` are those of :meth:`backward` alone.
        Train a network from one Python thread at a time; only `predict` and `loss` are made for many.
        """
        X, Y = inputs.batch(X, Y, *self._ends)
        weights = None if sample_weight is None else inputs.weights(sample_weight, len(X))
        before, moments = self._optimizer, self._moments_of(optimizer)
        try:
            cost, weight = self._engine_for_batch(len(X)).train(X, Y, weights, optimizer, moments)
        except Exception:
            self._optimizer = before
            raise
        return cost / weight

    def partial_fit(self, X: Any, Y: Any, optimizer: Optimizer | None = None, sample_weight: Any = None) -> float:
        """One step on the next batch of a stream: :meth:`train_step` with the optimizer of the step before.

        Parameters
        ----------
        X, Y, sample_weight
            As of :meth:`train_step`. Batches may differ in size: the last four sizes are kept ready, of up to 64 MB
            together.
        optimizer : Optimizer, optional
            None goes on with the network's last one; at first it is ``SGD(lr=0.1)``. Copies and pickles of the network
            go on with a copy of it.

        Returns
        -------
        J : float
            The cost before the step.

        Raises
        ------
        ValueError, TypeError
            As of :meth:`train_step`. Nothing is changed then.

        Examples
        --------
        >>> net, rng = Network((3, 8, 1), rng=0), np.random.default_rng(0)
        >>> stream = (rng.random((m, 3)) for m in (32, 32, 32, 5))
        >>> costs = [net.partial_fit(X, X.sum(axis=1)) for X in stream]
        """
        if optimizer is None:
            optimizer = self._optimizer or SGD(lr=0.1)
        return self.train_step(X, Y, optimizer, sample_weight)

    def fit(self, X: Any, Y: Any, *, epochs: int, batch_size: int = 128, optimizer: Optimizer | None = None,
            shuffle: bool = True, sample_weight: Any = None, class_weight: Any = None, validation: Any = None,
            early_stopping: int | None = None, callbacks: Sequence[Any] = (), progress: bool | None = None,
            rng: int | np.random.Generator | None = None, resume: bool = False) -> "training.History":  # fmt: skip
        """Train for some epochs, each in compiled code; see :func:`fastprop.training.fit`, which this calls."""
        return training.fit(
            self, X, Y, epochs=epochs, batch_size=batch_size, optimizer=optimizer, shuffle=shuffle,
            sample_weight=sample_weight, class_weight=class_weight, validation=validation,
            early_stopping=early_stopping, callbacks=callbacks, progress=progress, rng=rng,
            resume=resume,
        )  # fmt: skip

    def gradient_check(self, X: Any, Y: Any, epsilon: float = 1e-6, most: int | None = None) -> float:
        """Largest relative error of the gradients against central differences; see :mod:`fastprop.gradcheck`."""
        return gradcheck.gradient_check(self, X, Y, epsilon=epsilon, most=most)

    # ---- the source's dictionaries -------------------------------------------------------------------------------

    def to_dict(self) -> dict[str, np.ndarray]:
        """The source's parameters: {"W1": (n_1, n_0), "b1": (n_1, 1), …}, as copies."""
        return {
            name: value
            for l, layer in enumerate(self.layers, start=1)
            for name, value in ((f"W{l}", layer.W.copy()), (f"b{l}", layer.b.reshape(-1, 1).copy()))
        }

    @classmethod
    def from_dict(cls, parameters: Mapping[str, Any], hidden: str | Activation | Sequence[str | Activation] = "relu",
                  output: str | Activation = "identity", loss: str | Loss | None = None, *,
                  rng: int | np.random.Generator | None = None) -> "Network":  # fmt: skip
        """A network with the source's parameters.

        Parameters
        ----------
        parameters : mapping
            {"W1": (n_1, n_0), "b1": (n_1, 1) or (n_1,), …}.
        hidden, output, loss, rng
            As of :class:`Network`.

        Raises
        ------
        ValueError, TypeError
            If a key is missing or unknown, or a shape does not follow from the one before, or a value is not finite.
        """
        arrays = inputs.parameters(parameters)
        network = cls([arrays[0][0].shape[1], *(len(b) for _, b in arrays)], hidden, output, loss, init="zeros",
                      rng=rng)  # fmt: skip
        for layer, (W, b) in zip(network.layers, arrays, strict=True):
            layer.W[:], layer.b[:] = W, b.reshape(-1)
        return network

    # ---- files ---------------------------------------------------------------------------------------------------

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write all that the network is to one safetensors file (extra ``save``).

        Its settings, parameters and generator, its last optimizer with moments, step and schedule, and where its last
        fit stands, so that ``Network.load(path).fit(…, resume=True)`` goes on with the bits of a fit that was never
        interrupted. The file is replaced at once: after a crash it is the old one or the new one.

        Any reader of safetensors opens it, such as ``safetensors.numpy.load_file`` and ``safetensors.torch.load_file``:
        float32 tensors ``W1`` of shape (n_1, n_0), ``b1`` of shape (n_1,), … ``WL``, ``bL``, as PyTorch's
        ``Linear(n_0, n_1)`` has its weight and bias. Of the same shapes are the optimizer's moments, ``moments.0.W1``,
        …, and, of a fit with early stopping, the best parameters, ``best.W1``, …, and the last, ``last.W1``, …. The
        history's lists are float64 tensors, ``history.loss``, …. All else is JSON in the metadata.

        Parameters
        ----------
        path : path-like
            In a folder that is there.

        Raises
        ------
        ModuleNotFoundError
            If safetensors is not installed.
        ValueError
            If the learning rate is a function of one's own, the generator none of NumPy's PCG64, or a parameter not
            finite: whatever :meth:`load` would refuse.
        OSError
            If the file cannot be written, as where the disk is full; what was there before stays.
        """
        io.save(self, path)

    @classmethod
    def load(cls, path: str | os.PathLike[str], functions: Sequence[Activation | Loss] = ()) -> "Network":
        """The network of a file that :meth:`save` wrote.

        Parameters
        ----------
        path : path-like
        functions : sequence of Activation and Loss
            Those of the network that are one's own: files hold no code.

        Raises
        ------
        ModuleNotFoundError
            If safetensors is not installed.
        OSError
            If there is no file, or it cannot be read.
        ValueError
            If the file is damaged, or no network's, or holds NaN or infinity, or needs a function that is not given.
        """
        return io.load(path, functions)

    # ---- copies and pickles: buffers anew, for the engines hold addresses ----------------------------------------

    def __getstate__(self) -> dict[str, Any]:
        names = (
            "_layout",
            "_hidden",
            "_output",
            "_loss",
            "_l2",
            "_dropout",
            "_scale",
            "_check_finite",
            "_rng",
            "_classes",
            "_optimizer",
            "_run",
        )
        return {**{name: getattr(self, name) for name in names}, "parameters": self.parameters.copy()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        flat, optimizer, run = (state.pop(name) for name in ("parameters", "_optimizer", "_run"))
        self.__dict__.update(state)
        self._build()
        self._run = copy.deepcopy(run)
        self.parameters[:] = flat
        # copy.copy hands over the optimizer itself, which stays with its network
        self._optimizer = copy.deepcopy(optimizer) if optimizer and optimizer._owner else optimizer

    # ---- engines -------------------------------------------------------------------------------------------------

    def _engine(self, batch: int, *, keep: bool = False, train: bool = True) -> Engine:
        drops = bool(self._dropout[0]) and train and not keep
        kinds = [activation.kind(from_Z=drops) for activation in (*self._hidden, self._output)]
        plan = plan_for(self.sizes, kinds, batch, keep=keep, train=train, vectors=not drops)
        return Engine(
            plan, self.parameters, self.gradients, routine_of(self._output, self._loss).address, self._l2, self._scale,
            self._dropout, self._check_finite,
        )  # fmt: skip

    @staticmethod
    def _stale(engine: Engine) -> bool:
        """Whether `set_num_threads` was called since the engine's work was shared out."""
        return engine.available != threads.get_num_threads()

    def _moments_of(self, optimizer: Any) -> np.ndarray:
        if not isinstance(optimizer, Optimizer):
            raise TypeError(f"optimizer is {optimizer!r}; it must be an optimizer, such as SGD(lr=0.1) or Adam().")
        moments = optimizer.bind(self, self._layout.length)
        self._optimizer = optimizer
        return moments

    def _engine_for_batch(self, batch: int) -> Engine:
        """The training engine for a batch size."""
        if self._training is None or self._training.plan.batch != batch or self._stale(self._training):
            self._training = self._another_engine(batch)
        return self._training

    def _another_engine(self, batch: int) -> Engine:
        """The training engine for another batch size than the last: one that was kept, or a new one."""
        engines, last = self._engines, self._training
        engine = engines.pop(batch, None)
        if engine is None or self._stale(engine):
            engine = self._engine(batch)
            for oldest in list(engines):
                if len(engines) < MOST_ENGINES and sum(e.nbytes for e in (engine, *engines.values())) <= MOST_BYTES:
                    break
                engines.pop(oldest, None)
        moments = None if last is None else last._trains_with
        for other in list(engines.values()):
            other.let_go(moments)
        engines[batch] = engine
        return engine

    def _borrow(self, m: int, work: Callable[[Engine], Any]) -> Any:
        """Do something with an engine that no other thread is using."""
        batch, idle = min(m, PREDICT_BATCH), self._idle[m == 1]
        try:
            engine = idle.pop()
        except IndexError:
            engine = None
        if engine is None or engine.plan.batch < batch or self._stale(engine):
            engine = self._engine(batch, train=False)
        try:
            return work(engine)
        finally:
            idle.append(engine)

    def _kept(self, name: str, index: int) -> np.ndarray:
        """A copy of one layer's Z, A, dZ or dA."""
        engine = self._cache
        if engine is None:
            raise RuntimeError(f"there is no {name} yet. Call forward(X) first.")
        if name in ("dZ", "dA") and not engine.has_gradients:
            raise RuntimeError(f"there is no {name} yet. Call backward(Y) after forward(X).")
        if name == "dA" and index == len(self.sizes) - 2:
            raise AttributeError("the output layer has no dA: its loss gives dZ directly.")
        layer = engine.plan.layers[index]
        return engine.panels(int(layer[name]), int(layer["n"]), engine.rows)
