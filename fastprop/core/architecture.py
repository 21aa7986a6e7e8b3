"""Architecture: everything that a network is made with, checked, except its initial weights."""

import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np

from ..activations import ACTIVATIONS, HIDDEN, Activation
from ..checks import choice, flag, number, whole
from ..functions.function import find
from ..kernels import scan
from ..kernels.plan import FLOAT32, FLOAT64, ParameterLayout
from ..losses import LOSSES, Loss
from ..losses import default_for as paired_loss
from . import arrays, forms, sparse, weights
from .sparse import Features
from .weights import Weights

DTYPES = (FLOAT32, FLOAT64)


@dataclass(frozen=True)
class Architecture:
    """The settings of a network; see :class:`fastprop.Network`.

    Attributes
    ----------
    sizes : tuple of int
    hidden : tuple of Activation
        One for each hidden layer.
    output : Activation
    loss : Loss
    l2, scale : float
    dropout : float
        The probability that a hidden unit is dropped in a training step.
    dropout_seed : int
        The seed of these draws.
    check_finite, missing : bool
    dtype : numpy.dtype
        Of the parameters and of all that is computed from them: float32 or float64.
    frozen : tuple of int
        The layers, counted from 0 and in their order, that training leaves as they are.
    """

    sizes: tuple[int, ...]
    hidden: tuple[Activation, ...]
    output: Activation
    loss: Loss
    l2: float = 0.0
    dropout: float = 0.0
    dropout_seed: int = 0
    scale: float = 1.0
    check_finite: bool = True
    missing: bool = False
    dtype: np.dtype = FLOAT32
    frozen: tuple[int, ...] = ()

    @classmethod
    def checked(
        cls,
        sizes: Any,
        hidden: Any = "relu",
        output: Any = "identity",
        loss: Any = None,
        *,
        l2: Any = 0.0,
        dropout: Any = 0.0,
        dropout_seed: int = 0,
        scale: Any = 1.0,
        check_finite: Any = True,
        missing: Any = False,
        dtype: Any = FLOAT32,
        frozen: Any = (),
    ) -> "Architecture":
        """Validate the arguments of a network.

        Raises
        ------
        ValueError, TypeError
            If a value is out of range, or of the wrong type.
        """
        dtype = checked_dtype(dtype)
        sizes = checked_sizes(sizes, dtype)
        hidden = checked_hidden(hidden, len(sizes) - 2)
        output = checked_activation("output", output, list(ACTIVATIONS))
        if output is ACTIVATIONS["softmax"] and sizes[-1] < 2:
            raise ValueError('a softmax of one output is always 1; use output="sigmoid" for two classes.')
        loss = paired_loss(output) if loss is None else checked_loss(loss)
        if len(loss.levels) > 1 and len(loss.levels) != sizes[-1]:
            raise ValueError(
                f"loss is {loss.name!r}, of {len(loss.levels)} quantiles, one for each output; sizes[-1] is "
                f"{sizes[-1]}. Give the network as many outputs as quantiles."
            )
        if flag("missing", missing) and output is ACTIVATIONS["softmax"]:
            raise ValueError(
                "missing is True and output is 'softmax', whose outputs have one loss together: a row is known or not. "
                "Leave missing out, and drop the rows that are not known or give them a sample_weight of 0."
            )
        return cls(
            sizes,
            hidden,
            output,
            loss,
            number("l2", l2, least=0),
            number("dropout", dropout, least=0, below=1),
            dropout_seed,
            number("scale", scale, least=1e-37),
            flag("check_finite", check_finite),
            flag("missing", missing),
            dtype,
            checked_frozen(frozen, len(sizes) - 1),
        )

    @cached_property
    def layout(self) -> ParameterLayout:
        """Where each layer's W and b are in the flat parameters."""
        return ParameterLayout.of(self.sizes)

    @property
    def but_for_the_seed(self) -> tuple[Any, ...]:
        """All that the networks of one engine have in common: the settings without the seed of dropout."""
        return (
            self.sizes, self.hidden, self.output, self.loss, self.l2, self.dropout, self.scale, self.check_finite,
            self.missing, self.dtype, self.frozen,
        )  # fmt: skip

    @property
    def activations(self) -> tuple[Activation, ...]:
        """The activation of each layer, the output's last."""
        return (*self.hidden, self.output)

    @property
    def n_parameters(self) -> int:
        """The number of parameters, without the padding."""
        return sum((n_prev + 1) * n for n_prev, n in pairwise(self.sizes))

    @property
    def n_frozen(self) -> int:
        """The number of these that belong to frozen layers."""
        return sum((self.sizes[l] + 1) * self.sizes[l + 1] for l in self.frozen)

    @property
    def all_frozen(self) -> bool:
        """Whether there is no layer that training would change."""
        return len(self.frozen) == len(self.sizes) - 1

    def check_trainable(self) -> None:
        """Refuse to train a network whose layers are all frozen."""
        if self.all_frozen:
            raise ValueError(
                f"trainable is False for all {len(self.frozen)} layers; to train the network, it must be True for at "
                f"least one. Set net.layers[-1].trainable = True, or that of another layer."
            )

    @property
    def n_classes(self) -> int:
        """The number of classes that the outputs stand for, if they are classes: one output stands for two."""
        return max(2, self.sizes[-1])

    @property
    def n_weighted(self) -> int:
        """The number of outputs that may have weights of their own: none of a softmax, which have one loss together."""
        return 0 if self.output.label == "softmax" else self.sizes[-1]

    @property
    def multilabel(self) -> bool:
        """Whether the outputs are several labels, each of which a sample has or has not."""
        return self.output.label == "sigmoid" and self.sizes[-1] > 1

    @property
    def classifies(self) -> bool:
        """Whether the outputs are classes, so that predictions have an accuracy."""
        return self.output.label == "softmax" or (self.output.label == "sigmoid" and self.sizes[-1] == 1)

    @cached_property
    def targets(self) -> arrays.Targets:
        """Which targets the output and the loss take."""
        if self.output.label == "softmax":
            return arrays.Targets(self.sizes[-1], 0, 1, True, "a softmax", classes=True, dtype=self.dtype)
        low, high = self.loss.targets
        return arrays.Targets(
            self.sizes[-1], low, high, False, self.loss.name, self.classifies, self.missing, self.dtype,
            repeated=len(self.loss.levels) > 1,
        )  # fmt: skip

    @cached_property
    def _fast_batch(self) -> tuple[int, int, float, float] | None:
        """(n_0, n_L, low, high) of X and Y that one compiled check can accept; None if Y may be labels."""
        targets, most = self.targets, arrays.MOST[self.dtype]
        if targets.distributions:
            return None
        return self.sizes[0], targets.n, max(targets.low, -most), min(targets.high, most)

    def check_features(self, X: Any, name: str = "X") -> np.ndarray:
        """Return X as the kernels read it, of shape (m, n_0)."""
        return arrays.features(X, self.sizes[0], self.dtype, self.check_finite, name)

    def check_rows(self, X: Any, name: str = "X") -> Features:
        """Return X as :meth:`check_features` does, or the rows of a sparse X."""
        if sparse.is_csr(X):
            return sparse.features(X, self.sizes[0], self.dtype, self.check_finite, name)
        forms.refuse_other_sparse(name, X)
        return self.check_features(X, name)

    def check_targets(self, Y: Any, m: int, name: str = "Y") -> np.ndarray:
        """Return Y as the kernels read it, of shape (m, n_L), or labels of shape (m,)."""
        return self.targets.check(Y, m, self.check_finite, name)

    def check_dA(self, dA: Any, m: int) -> np.ndarray:
        """Return ∂J/∂Ŷ as the kernels read it, of shape (m, n_L)."""
        given, n = arrays.reals("dA", dA, self.dtype), self.sizes[-1]
        if given.shape != (m, n) and not (n == 1 and given.shape == (m,)):
            raise ValueError(
                f"dA has shape {given.shape}; the last forward pass had {m} rows, so it must be ({m}, {n}), the "
                f"derivative of your J by each output."
            )
        return given.reshape(m, n)

    def check_weights(
        self, sample_weight: Any, Y: np.ndarray, name: str = "sample_weight", of: str = "Y"
    ) -> Weights | None:
        """Return the weights of checked targets, in which a target that is not known has weight 0."""
        if sample_weight is None and not self.missing:
            return None
        given = weights.checked(sample_weight, len(Y), self.n_weighted, self.dtype, name)
        return weights.of_known(given, Y, of) if self.missing else given

    def check_batch(self, X: Any, Y: Any) -> tuple[np.ndarray, np.ndarray]:
        """Return X and Y as the kernels read them; one compiled check if they already are so."""
        if self._fit_at_once(X, Y):
            return X, Y
        X = self.check_features(X)
        return X, self.check_targets(Y, len(X))

    def check_samples(self, X: Any, Y: Any) -> tuple[Features, np.ndarray]:
        """Return X and Y as :meth:`check_batch` does, or the rows of a sparse X and Y."""
        if self._fit_at_once(X, Y):
            return X, Y
        rows = self.check_rows(X)
        return rows, self.check_targets(Y, len(rows))

    def _fit_at_once(self, X: Any, Y: Any) -> bool:
        """Return whether X and Y already are as the kernels read them, by one compiled check; False if unsure."""
        fast = self._fast_batch
        if fast and arrays.is_matrix(X, self.dtype) and arrays.is_matrix(Y, self.dtype):
            n_0, n_L, low, high = fast
            return bool(scan.both_fit(X, n_0, Y, n_L, low, high))
        return False


# ---- checks of the single settings -------------------------------------------------------------------------------


def checked_dtype(value: Any) -> np.dtype:
    """Return float32 or float64."""
    if value is not None:  # which NumPy takes for float64
        with suppress(TypeError, ValueError, SyntaxError, OverflowError):
            dtype = np.dtype(value)
            if dtype in DTYPES:
                return DTYPES[DTYPES.index(dtype)]
    raise ValueError(f'dtype is {value!r}; it must be "float32" or "float64".')


def checked_sizes(value: Any, dtype: np.dtype = FLOAT32) -> tuple[int, ...]:
    """Return (n_0, …, n_L), each at least 1, for which the parameters fit into the machine's memory."""
    value = value.tolist() if isinstance(value, np.ndarray) else value
    if isinstance(value, str | bytes) or not isinstance(value, Sequence):
        raise TypeError(f"sizes is {value!r}; it must be a sequence of layer widths, such as (64, 128, 10).")
    if len(value) < 2:
        raise ValueError(f"sizes is {tuple(value)}; it needs at least two widths: the inputs and the outputs.")
    result = tuple(whole(f"sizes[{i}]", n) for i, n in enumerate(value))
    # parameters and gradients, and the initial weights in float64
    needed = sum((a + 32) * b for a, b in pairwise(result)) * (2 * dtype.itemsize + 8)
    if needed > _memory():
        raise ValueError(
            f"sizes is {result}: to make this network takes {needed / 2**30:.3g} GiB, and this machine has "
            f"{_memory() / 2**30:.3g} GiB. Use narrower layers."
        )
    return result


def _memory() -> int:
    """Return the machine's memory in bytes; on systems that do not report it, a bound that keeps sizes in range."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return 2**40


def checked_activation(name: str, value: Any, among: Sequence[str]) -> Activation:
    """Return a built-in activation by its name, or a custom one as it is."""
    if isinstance(value, Activation) and value.label is value:
        return value
    label = value.label if isinstance(value, Activation) else value
    known = find(Activation, label)
    return known if known and known.numbers else ACTIVATIONS[choice(name, label, among, "an Activation")]


def checked_hidden(value: Any, count: int) -> tuple[Activation, ...]:
    """Return the activation of each hidden layer, from one for all layers or one for each."""
    if isinstance(value, str | Activation):
        return (checked_activation("hidden", value, HIDDEN),) * count
    if not isinstance(value, Sequence) or isinstance(value, bytes):
        raise TypeError(f"hidden is {value!r}; it must be a name or an Activation, or one for each hidden layer.")
    if len(value) != count:
        raise ValueError(f"hidden has {len(value)} names; these sizes have {count} hidden layers. Give as many.")
    return tuple(checked_activation(f"hidden[{i}]", one, HIDDEN) for i, one in enumerate(value))


def checked_frozen(value: Any, count: int) -> tuple[int, ...]:
    """Return the numbers of layers, each once and in their order, of a network of `count` layers."""
    if isinstance(value, str | bytes) or not isinstance(value, Sequence):
        raise TypeError(f"frozen is {value!r}; it must be a list of layers, counted from 0.")
    result = tuple(whole(f"frozen[{i}]", l, 0, count - 1) for i, l in enumerate(value))
    if any(l >= following for l, following in pairwise(result)):
        raise ValueError(f"frozen is {result}; it must name each layer once, and in their order.")
    return result


def checked_loss(value: Any) -> Loss:
    """Return a built-in loss by its name, or a custom one as it is."""
    known = value if isinstance(value, Loss) else find(Loss, value)
    return known or LOSSES[choice("loss", value, list(LOSSES), "a Loss")]


def check_pair(output: Activation, loss: Loss) -> None:
    """Refuse a loss of probabilities for an output that is none."""
    if not loss.accepts(output):
        remedy = " or ".join(f'output="{name}"' for name in loss.outputs or ())
        raise ValueError(
            f"loss is {loss.name!r} and output is {output.label!r}; this loss is one of probabilities, which such an "
            f"output does not give. Use {remedy}, or leave the loss out, which takes the one paired with the output."
        )


def checked_classes(name: str, value: Any, n: int) -> list[str | int] | None:
    """Return the labels of n classes, all different, or None."""
    if value is None:
        return None
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise TypeError(f"{name} is {value!r}; it must be a list of {n} labels.")
    result = [item.item() if isinstance(item, np.generic) else item for item in value]
    if len(result) != n or len(set(result)) != n or not all(type(item) in (str, int) for item in result):
        raise ValueError(f"{name} is {result!r}; it must be {n} different labels, whole numbers or text.")
    return result
