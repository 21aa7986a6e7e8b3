"""Optimisers: hyper-parameters, and the moments over the flat parameters.

The loops themselves are in :mod:`fastprop.kernels.updates`.
"""

import weakref
from typing import Any

import numpy as np

from .inputs import flag, number
from .kernels import updates
from .kernels.jit import Routine
from .kernels.plan import allocate


def _fixed(name: str) -> property:
    """A hyper-parameter that is set once: moments and routines were chosen by it."""
    return property(lambda self: getattr(self, f"_{name}"))


class Optimizer:
    """What every optimiser is: settings, a prepared step, an update, and moments of one network's parameters.

    The moments belong to the first network that the optimiser trains, and stay with it from call to call; for another
    network make another optimiser.

    Attributes
    ----------
    lr : float
        The learning rate; may be set.
    steps : int
        Updates made so far.
    moments : ndarray of shape (n_moments, length) or None
        In the layout of ``net.parameters``; None before the first step.
    """

    @property
    def n_moments(self) -> int:
        """How many moments there are of each parameter."""
        return 0

    @property
    def plain(self) -> bool:
        """Whether the update is W −= lr·dW and no more, which the tile of dW does itself."""
        return False

    @property
    def prepare(self) -> Routine:
        """The compiled preparation of a step."""
        raise NotImplementedError

    @property
    def update(self) -> Routine:
        """The compiled loop over the parameters."""
        raise NotImplementedError

    def __init__(self, lr: float, *settings: float):
        if type(self) is Optimizer:
            raise TypeError("Optimizer is what all optimizers have in common. Use one of them, such as SGD or Adam.")
        self.lr = lr
        self.steps = 0
        self._settings = np.array([*settings, 0.0])
        self._moments: np.ndarray | None = None
        self._owner: Any = None

    @property
    def lr(self) -> float:
        return self._lr

    @lr.setter
    def lr(self, value: float) -> None:
        self._lr = number("lr", value, above=0)

    @property
    def moments(self) -> np.ndarray | None:
        return self._moments

    def bind(self, network: Any, length: int) -> np.ndarray:
        """The moments for the `length` parameters of a network, made on first use."""
        moments = self._moments
        if moments is not None and self._owner is not None and self._owner() is network:
            return moments
        if moments is not None and self.n_moments:
            if self._owner is not None or moments.shape[1] != length:
                raise ValueError(
                    f"this {type(self).__name__} holds the moments of another network. "
                    f"Make one optimizer for each network that you train."
                )
        else:
            self.steps = 0
            self._moments = moments = allocate(self.n_moments * length).reshape(self.n_moments, length)
        self._owner = weakref.ref(network)
        return moments

    def __getstate__(self) -> dict[str, Any]:
        """For pickles and copies: the moments go along, and belong to the next network of their length."""
        return {**self.__dict__, "_owner": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if self._moments is not None:
            self._moments = allocate(self._moments.size).reshape(self._moments.shape)
            self._moments[:] = state["_moments"]


class SGD(Optimizer):
    """Stochastic gradient descent.

    g = dθ + weight_decay·θ;  v ← momentum·v + g;  θ ← θ − lr·v,  or with Nesterov's look-ahead
    θ ← θ − lr·(g + momentum·v). Sutskever et al. 2013; the form of PyTorch.

    Parameters
    ----------
    lr : float
        Learning rate, above 0.
    momentum : float
        In [0, 1).
    nesterov : bool
        Needs a momentum above 0.
    weight_decay : float
        At least 0; applies to weights and biases alike.

    Raises
    ------
    ValueError, TypeError
        For a value out of its range, or of the wrong kind.
    """

    prepare = updates.sgd_prepare
    momentum, nesterov, weight_decay = _fixed("momentum"), _fixed("nesterov"), _fixed("weight_decay")

    def __init__(self, lr: float = 0.1, momentum: float = 0.0, nesterov: bool = False, weight_decay: float = 0.0):
        self._momentum = number("momentum", momentum, least=0, below=1)
        self._weight_decay = number("weight_decay", weight_decay, least=0)
        self._nesterov = flag("nesterov", nesterov)
        if self.nesterov and not self.momentum:
            raise ValueError("nesterov=True with momentum=0 does nothing. Give a momentum above 0, such as 0.9.")
        super().__init__(lr, self.momentum, self.nesterov, self.weight_decay)

    @property
    def n_moments(self) -> int:
        """The velocity, where there is a momentum."""
        return 1 if self.momentum else 0

    @property
    def plain(self) -> bool:
        """Whether there is neither momentum nor weight decay."""
        return not self.momentum and not self.weight_decay

    @property
    def update(self) -> Routine:
        """The compiled loop, with or without momentum."""
        return updates.momentum_update if self.momentum else updates.sgd_update

    def __repr__(self) -> str:
        return (
            f"SGD(lr={self.lr:g}, momentum={self.momentum:g}, nesterov={self.nesterov}, "
            f"weight_decay={self.weight_decay:g})"
        )


class Adam(Optimizer):
    """Adam (Kingma and Ba 2015).

    m ← β₁m + (1 − β₁)g;  v ← β₂v + (1 − β₂)g²;  θ ← θ − lr·m̂/(√v̂ + ε),
    with m̂ = m/(1 − β₁ᵗ), v̂ = v/(1 − β₂ᵗ).

    Parameters
    ----------
    lr : float
        Learning rate, above 0.
    beta_1, beta_2 : float
        In [0, 1).
    epsilon : float
        At least 1e-37, so that it is not 0 in float32.

    Raises
    ------
    ValueError, TypeError
        For a value out of its range, or of the wrong kind.
    """

    n_moments = 2
    prepare = updates.adam_prepare
    update = updates.adam_update
    beta_1, beta_2, epsilon = _fixed("beta_1"), _fixed("beta_2"), _fixed("epsilon")

    def __init__(self, lr: float = 0.001, beta_1: float = 0.9, beta_2: float = 0.999, epsilon: float = 1e-8):
        self._beta_1 = number("beta_1", beta_1, least=0, below=1)
        self._beta_2 = number("beta_2", beta_2, least=0, below=1)
        self._epsilon = number("epsilon", epsilon, least=1e-37)
        super().__init__(lr, self.beta_1, self.beta_2, self.epsilon)

    def __repr__(self) -> str:
        return f"Adam(lr={self.lr:g}, beta_1={self.beta_1:g}, beta_2={self.beta_2:g}, epsilon={self.epsilon:g})"
