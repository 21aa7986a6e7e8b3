"""Network: a dense neural network, with its training, files and dictionaries."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from . import gradcheck
from .activations import Activation
from .checks import choice, generator
from .core import arrays
from .core.architecture import Architecture, check_pair, checked_dtype
from .core.model import Model
from .core.sparse import is_sparse
from .initializers import INITIALIZERS, Initializer
from .kernels.plan import allocate
from .losses import Loss
from .optimizers import Optimizer
from .training import files, ranks
from .training import fit as training
from .training.history import History
from .training.samples import score
from .training.stopping import EarlyStopping, Metric


class Network(Model):
    """A dense neural network: Z⁽ˡ⁾ = W⁽ˡ⁾·A⁽ˡ⁻¹⁾ + b⁽ˡ⁾, A⁽ˡ⁾ = g(Z⁽ˡ⁾).

    Parameters
    ----------
    sizes : sequence of int
        (n_0, …, n_L): inputs, hidden layers, outputs.
    hidden : str, Activation or sequence of them
        For all hidden layers, or one for each: a name of :mod:`fastprop.activations`, such as ``"relu"``, ``"tanh"``
        or ``"gelu"``, or a custom activation.
    output : str or Activation
        Likewise, or ``"softmax"``.
    loss : str, Loss or None
        A name of :mod:`fastprop.losses`, or a custom loss. None takes the loss that is paired with the output:
        ``"mse"`` with an identity, ``"binary_crossentropy"`` with a sigmoid, ``"cross_entropy"`` with a softmax, and
        ``"mse"`` with others. A loss of probabilities needs an output of probabilities.
    init : str, callable or None
        A name of :mod:`fastprop.initializers`, or a callable (n, n_prev, rng) → W; None takes the default of each
        layer's activation: He for relu and its relatives, LeCun for selu, Glorot for others. Biases start at zero.
    l2 : float
        λ of the penalty λ/2·Σ W² in the cost, which adds λ·W to dW; biases are not penalized (ridge regression, Hoerl
        and Kennard 1970). The cost counts the W of frozen layers too, which it does not move.
    dropout : float
        The probability, in [0, 1), that a hidden unit is 0 for a sample in a training step; the others are divided by
        1 − dropout (Srivastava et al. 2014). Which units are dropped depends only on rng, the optimizer's step, the
        layer, the unit and the sample. Only `fit`, `train_step` and `partial_fit` drop units.
    scale : float
        The factor by which X is multiplied as it is read, such as 1/255 for images of uint8; at least 1e-37, so that
        it is not 0 in float32. X of uint8 stays uint8 in memory, a quarter of the size of float32.
    check_finite : bool
        Whether NaN and infinity in X and Y are refused. If not, they make the cost and the gradients NaN, whatever the
        weights of their samples. No step is made on such gradients: `fit` ends there, with a warning.
    missing : bool
        Whether NaN in Y stands for a target that is not known: it counts for nothing, in training and in the cost. Not
        for a softmax.
    dtype : {"float32", "float64"}
        Of the parameters, the gradients, and of all that is computed. X, Y and weights of another dtype are converted
        once. float64 has 53 bits for 24 and takes about twice the time and the memory.
    rng : int, numpy.random.Generator or None
        The source of the weights and the shuffles; the same seed gives the same network.

    Attributes
    ----------
    sizes, hidden, output, loss_name, l2, dropout, scale, check_finite, missing, dtype
        The settings of the network; they cannot be changed.
    parameters, gradients : ndarray of the network's dtype
        Flat, contiguous, 64-byte-aligned, of one common layout: for each layer W, row by row, then b, each padded with
        zeros. They may be written in place.
    optimizer : Optimizer or None
        The optimizer of the last step. It may be assigned, as for steps in compiled code
        (:func:`fastprop.kernels.train_step`).
    classes : list of str or int, or None
        The labels of the classes that the outputs stand for, which are saved with the network.
    n_parameters : int
        The number of parameters, without the padding.
    layers : list of Layer
        ``layers[l].trainable = False`` freezes a layer, see :class:`fastprop.Layer`.
    architecture, generator, engines, fit_state, record_address
        For the package itself: the settings together, the generator of the shuffles, the workspaces, where the last
        fit stands, and what compiled code knows of the network.

    Raises
    ------
    ValueError, TypeError
        If a value is out of range, or of the wrong type.

    Examples
    --------
    >>> net = Network((2, 16, 1), output="sigmoid", rng=0)
    >>> X = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
    >>> history = net.fit(X, X[:, 0] ^ X[:, 1], epochs=1000, optimizer=Adam(lr=0.01))
    >>> net.predict(X).round().ravel()
    array([0., 1., 1., 0.], dtype=float32)
    """

    def __init__(
        self,
        sizes: Sequence[int],
        hidden: str | Activation | Sequence[str | Activation] = "relu",
        output: str | Activation = "identity",
        loss: str | Loss | None = None,
        *,
        init: str | Initializer | None = None,
        l2: float = 0.0,
        dropout: float = 0.0,
        scale: float = 1.0,
        check_finite: bool = True,
        missing: bool = False,
        dtype: Any = "float32",
        rng: int | np.random.Generator | None = None,
    ):
        architecture = Architecture.checked(
            sizes, hidden, output, loss, l2=l2, dropout=dropout, scale=scale, check_finite=check_finite,
            missing=missing, dtype=dtype,
        )  # fmt: skip
        check_pair(architecture.output, architecture.loss)
        initializers = _checked_init(init, architecture)
        source = generator(rng)
        parameters = _initial_parameters(architecture, initializers, source)
        if architecture.dropout:
            architecture = replace(architecture, dropout_seed=int(source.integers(2**62)))
        super().__init__(architecture, source, parameters)

    def fit(
        self,
        X: Any,
        Y: Any,
        *,
        epochs: int,
        batch_size: int = 128,
        optimizer: Optimizer | None = None,
        shuffle: bool = True,
        sample_weight: Any = None,
        class_weight: Any = None,
        validation: Any = None,
        early_stopping: int | EarlyStopping | None = None,
        metrics: Mapping[str, Metric] | None = None,
        callbacks: Sequence[Any] = (),
        progress: bool | None = None,
        rng: int | np.random.Generator | None = None,
        resume: bool = False,
        accumulate: int = 1,
        comm: Any = None,
    ) -> History:
        """Train for some epochs, each in compiled code.

        Each epoch draws the rows in a new random order, cuts them into batches, the last of which may be smaller, and
        makes a step of the optimizer on each: gather, forward pass, cost, the four equations and the update.

        Parameters
        ----------
        X : array_like or CSR matrix of shape (m, n_0)
            C-contiguous and of the network's dtype, it is used as it is; anything else is converted once: other dtypes,
            lists, frames of pandas or polars whose columns are bool, numbers or nullable, and objects that hold
            numbers. A sparse matrix or array of SciPy in CSR form is never made dense: the first layer's products go
            over its entries, in any order within a row, and several of the same place are added. The results are those
            of the dense X to rounding. `predict`, `loss`, `train_step`, `partial_fit` and `validation` take it too.
        Y : array_like of shape (m, n_L), or integer labels (m,) for a softmax
        epochs, batch_size : int
        optimizer : Optimizer, optional
            None continues with the network's last optimizer; the first one is ``Adam()``.
        shuffle : bool
            False keeps the rows in their order.
        sample_weight : array_like of shape (m,) or (m, n_L), optional
            The weight of each sample in the cost and in equations 2 and 3, whose m becomes the sum of the weights; or
            the weight of each output of each sample, except for a softmax: a sample's weight in m is then their mean.
            The cost is a mean by weight: a factor of all weights does not change it, so that those of which one is
            above 1e30 or below 1e-30 are divided by their mean.
        class_weight : "balanced", dict or list of dict, optional
            A weight for each class, which multiplies those of the samples: {class: weight}, or
            m/(classes · samples of the class). For labels, one-hot rows, or 0 and 1 of a single sigmoid. For several
            sigmoids, which are labels that a sample has or has not, "balanced" or a list of one {0: …, 1: …} for each
            label gives each output a weight of its own.
        validation : (X, Y), (X, Y, sample_weight) or float, optional
            Held-out data, measured after each epoch. A fraction holds out that share of the rows, drawn at random with
            the same share of each class, except rows whose weight is 0; they keep their weights (`sample_weight` times
            `class_weight`). The rows are copied for it.
        early_stopping : int or EarlyStopping, optional
            Stop after this number of epochs without a lower validation loss, and return to the best parameters. For
            another measure, or a least improvement, see :class:`fastprop.EarlyStopping`.
        metrics : dict of str to callable, optional
            Functions (Y, Y_hat) → number of the validation data, called after each epoch, whose results
            ``history.metrics`` holds by their names. Y is as it was given, or converted: labels or a matrix; Y_hat is
            what :meth:`predict` returns.
        callbacks : sequence of callables, or of pairs (k, callable)
            A callable is called after each epoch with (epoch, history), one in a pair after every k steps with (steps
            so far, history), whose `running_loss` is that of the epoch so far; a true result ends the fit. If a
            callback has a method ``begins(network)``, it is called when the fit begins; see
            :class:`fastprop.Checkpoint`.
        progress : bool, optional
            Whether to show a progress bar (extra ``progress``); None shows one on a terminal and in
            a notebook.
        rng : int, Generator, optional
            The source of the shuffles; None continues with the network's own.
        resume : bool
            Continue the last fit at the batch where it stopped or was saved, with the network's own optimizer, whose
            settings one that is given must have; `epochs` and the returned history count from its beginning. With the
            same arguments the parameters have the bits of a fit that never stopped. A network that was never trained
            begins, so that the same line starts a fit and goes on with it.
        accumulate : int
            The number of batches whose gradients are summed for one step of the optimizer: the same as a batch that
            many times as large.
        comm : mpi4py.MPI.Intracomm, optional
            A communicator, such as ``MPI.COMM_WORLD``, whose processes train the network together (extra ``mpi``): each
            calls `fit` with the same network and settings, and with rows of its own. See Notes.

        Returns
        -------
        History

        Raises
        ------
        ValueError, TypeError
            If anything does not fit, on any rank of `comm`. The network is unchanged then.
        RuntimeError
            If something else was raised on another rank, whose number the message gives; or if the parameters of a rank
            differ from those of the others at the end of an epoch.

        Warns
        -----
        RuntimeWarning
            If the cost is no longer finite; the fit ends before that step, and the warning says what to scale. If the
            cost after ten epochs or more is no better than that of predicting the mean of Y for every row.

        Notes
        -----
        Ctrl-C ends the fit between two batches; the network is usable, and the history so far is returned.

        Layers whose `trainable` is False keep their bits (:class:`fastprop.Layer`). A callback may change which layers
        these are, with effect from the next step on. If all layers are frozen, ValueError is raised.

        With `comm`, `batch_size` is that of all ranks together, of which each takes the share that its rows have in all
        rows. One Allreduce in each step sums gradients, weights and costs, so that the parameters have the same bits on
        all ranks at every step, and those of one process with all rows to rounding, if the batches are the same. A fit
        begins with the parameters, the moments and the seeds of rank 0. Each rank shuffles its own rows, drops units by
        draws of its own, and holds out a fraction of its own rows, or is given some of the held-out data; "balanced"
        counts the classes of all rows; a metric is the mean of those of the ranks, by the weights of their held-out
        rows. The history and all decisions are the same on every rank. Callbacks are called
        on every rank, `Checkpoint` saves and the progress bar and warnings are shown on rank 0; whatever ends the fit
        on one rank, a callback, an exception or Ctrl-C, ends it on all before the next step. A fit is resumed with its
        bits if the rows are in the same shares as before, and from the beginning of the epoch otherwise, with a
        warning. The ranks on a machine share its cores from then on. There is no warning of a constant prediction.
        """
        arguments: dict[str, Any] = {
            "epochs": epochs,
            "batch_size": batch_size,
            "optimizer": optimizer,
            "shuffle": shuffle,
            "sample_weight": sample_weight,
            "class_weight": class_weight,
            "validation": validation,
            "early_stopping": early_stopping,
            "metrics": metrics,
            "callbacks": callbacks,
            "progress": progress,
            "rng": rng,
            "resume": resume,
            "accumulate": accumulate,
        }
        if ranks.several(comm):
            return ranks.fit(self, comm, X, Y, **arguments)
        return training.fit(self, X, Y, **arguments)

    def score(self, X: Any, Y: Any, sample_weight: Any = None) -> float:
        """Return how good the predictions are: the accuracy for classes, otherwise R².

        Parameters
        ----------
        X, Y, sample_weight
            As in :meth:`fit`.

        Returns
        -------
        float
            For a softmax and for a single sigmoid the share of samples whose class is predicted right, for several
            sigmoids that of samples whose labels all are, by weight; otherwise the mean over the outputs of
            R² = 1 − Σ w·(Y − Ŷ)² / Σ w·(Y − Ȳ)², which is at most 1, and 0 for predictions of the mean Ȳ. These are
            the scores of scikit-learn's classifiers and regressors.

        Raises
        ------
        ValueError, TypeError
            If anything does not fit.
        """
        X, Y = self.architecture.check_samples(X, Y)
        weights = self.architecture.check_weights(sample_weight, Y)
        with self.engines.lend(len(X), is_sparse(X)) as engine:
            Y_hat = engine.forward(X, transpose=False)
        return score(self.architecture, Y_hat, Y, weights)

    def predict_classes(self, X: Any) -> np.ndarray:
        """Return the class of each row of X: its label in `classes`, or its number if the network has no labels.

        :meth:`predict` returns the probabilities.

        Parameters
        ----------
        X : array_like or CSR matrix of shape (m, n_0)
            See :meth:`fit`.

        Returns
        -------
        ndarray of shape (m,), or of bool (m, n_L)
            The class of the largest output of a softmax; whether a single sigmoid is above 0.5, as class 0 or 1; of
            several sigmoids, whether each label is there.

        Raises
        ------
        ValueError, TypeError
            If X does not fit, or the outputs are no classes.
        """
        net = self.architecture
        if not net.classifies and not net.multilabel:
            raise ValueError(
                f"output is {net.output.label!r}, which gives no classes. Use predict, or a network with "
                f'output="softmax" or "sigmoid".'
            )
        Y_hat = self.predict(X)
        if net.multilabel:
            return Y_hat > 0.5
        numbers = Y_hat.argmax(axis=1) if net.sizes[-1] > 1 else (Y_hat[:, 0] > 0.5).astype(np.int64)
        return numbers if self.classes is None else np.asarray(self.classes)[numbers]

    def gradient_check(self, X: Any, Y: Any, epsilon: float = 1e-6, most: int | None = None) -> gradcheck.GradientCheck:
        """Return the largest relative error of the gradients; see :func:`fastprop.gradcheck.gradient_check`."""
        return gradcheck.gradient_check(self, X, Y, epsilon=epsilon, most=most)

    # ---- the derivation's dictionaries ---------------------------------------------------------------------------

    @classmethod
    def from_dict(
        cls,
        parameters: Mapping[str, Any],
        hidden: str | Activation | Sequence[str | Activation] = "relu",
        output: str | Activation = "identity",
        loss: str | Loss | None = None,
        *,
        dtype: Any = "float32",
        rng: int | np.random.Generator | None = None,
    ) -> "Network":
        """Make a network from the derivation's parameters.

        Parameters
        ----------
        parameters : mapping
            {"W1": (n_1, n_0), "b1": (n_1, 1) or (n_1,), …}.
        hidden, output, loss, rng, dtype
            See :class:`Network`.

        Raises
        ------
        ValueError, TypeError
            If a key is missing or unknown, if a shape does not follow from the one before, or if a value is not finite.
        """
        dtype = checked_dtype(dtype)
        pairs = arrays.parameters(parameters, dtype)
        sizes = [pairs[0][0].shape[1], *(len(b) for _, b in pairs)]
        network = cls(sizes, hidden, output, loss, init="zeros", dtype=dtype, rng=rng)
        for layer, (W, b) in zip(network.layers, pairs, strict=True):
            layer.W[:] = W
            layer.b[:] = b.reshape(-1)
        return network

    # ---- files ---------------------------------------------------------------------------------------------------

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the network to one safetensors file (extra ``save``).

        The file holds its settings, parameters and generator, its last optimizer with moments, step and schedule, and
        where its last fit stands, so that ``Network.load(path).fit(…, resume=True)`` continues with the bits of a fit
        that was never interrupted. The file is replaced atomically: after a crash it is the old one or the new one.

        Any reader of safetensors can open it, such as ``safetensors.numpy.load_file`` and
        ``safetensors.torch.load_file``: it has tensors of the network's dtype, ``W1`` of shape (n_1, n_0), ``b1`` of
        shape (n_1,), … ``WL``, ``bL``, in the layout of PyTorch's ``Linear(n_0, n_1)``. Of the same shapes are the
        optimizer's moments, ``moments.0.W1``, …, and, of a fit with early stopping, the best parameters, ``best.W1``,
        …, and the last, ``last.W1``, …. The history's lists are float64 tensors, ``history.loss``, …. All else is JSON
        in the metadata.

        Parameters
        ----------
        path : path-like
            In an existing folder.

        Raises
        ------
        ModuleNotFoundError
            If safetensors is not installed.
        ValueError
            If the learning rate is a custom function, the generator is not NumPy's PCG64, or a parameter is not finite:
            whatever :meth:`load` would refuse.
        OSError
            If the file cannot be written, for example because the disk is full; an existing file stays as it was.
        """
        files.save(self, path)

    @classmethod
    def load(cls, path: str | os.PathLike[str], functions: Sequence[Activation | Loss] = ()) -> "Network":
        """Return the network of a file that :meth:`save` wrote.

        Parameters
        ----------
        path : path-like
        functions : sequence of Activation and Loss
            The custom functions of the network: files hold no code.

        Raises
        ------
        ModuleNotFoundError
            If safetensors is not installed.
        OSError
            If there is no file, or it cannot be read.
        ValueError
            If the file is damaged, is not a network's, holds NaN or infinity, or needs a function that is not given.
        """
        return files.load(cls, path, functions)


def _checked_init(init: Any, architecture: Architecture) -> list[Initializer]:
    """Return the initializer of each layer."""
    if init is None:
        return [INITIALIZERS[activation.init] for activation in architecture.activations]
    if not callable(init):
        init = INITIALIZERS[choice("init", init, list(INITIALIZERS))]
    return [init] * len(architecture.activations)


def _initial_parameters(
    architecture: Architecture, initializers: list[Initializer], source: np.random.Generator
) -> np.ndarray:
    """Draw the initial weights, layer by layer."""
    layout = architecture.layout
    parameters = allocate(layout.length, architecture.dtype)
    for l, initialize in enumerate(initializers):
        here, _ = layout.views(parameters, l)
        n, n_prev = here.shape
        W = arrays.reals("init(n, n_prev, rng)", initialize(n, n_prev, source), architecture.dtype)
        if W.shape != here.shape:
            raise ValueError(f"init gave weights of shape {W.shape}; this layer needs {here.shape}.")
        here[:] = W
    return parameters
