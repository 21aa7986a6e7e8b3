"""Optimisers: hyper-parameters, and the moments over the flat parameters.

The loops themselves are in :mod:`fastprop.kernels.updates`.
"""

import inspect
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np

from . import schedules
from .inputs import flag, number
from .kernels import updates
from .kernels.jit import Routine
from .kernels.plan import allocate

Rate = float | Callable[[int], float]


def _fixed(name: str) -> property:
    """A hyper-parameter that is set once: moments and routines were chosen by it."""
    return property(lambda self: getattr(self, f"_{name}"))


class Optimizer:
    """What every optimiser is: settings, a prepared step, an update, and moments of one network's parameters.

    The moments belong to the first network that the optimiser trains, and stay with it from call to call; for another
    network make another optimiser.

    Attributes
    ----------
    lr : float or callable
        The learning rate, or a schedule, step → rate (:mod:`fastprop.schedules`); may be set.
    rate : float
        The learning rate of the next step.
    clip_norm : float or None
        The most that the norm of all gradients together may be.
    steps : int
        Updates made so far.
    moments : ndarray of shape (n_moments, length) or None
        In the layout of ``net.parameters``; None before the first step.
    """

    clip_norm = _fixed("clip_norm")

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

    def __init__(self, lr: Rate, clip_norm: float | None, *settings: float):
        if type(self) is Optimizer:
            raise TypeError("Optimizer is what all optimizers have in common. Use one of them, such as SGD or Adam.")
        self.lr = lr
        self._clip_norm = None if clip_norm is None else number("clip_norm", clip_norm, above=0)
        self.steps = 0
        self._settings = np.array([*settings, 0.0])
        self._moments: np.ndarray | None = None
        self._owner: Any = None

    @property
    def lr(self) -> Rate:
        return self._lr

    @lr.setter
    def lr(self, value: Rate) -> None:
        self._lr: Any = value if callable(value) else number("lr", value, above=0)
        self.scheduled = callable(value)

    @property
    def rate(self) -> float:
        return float(self.rates(1)[0])

    def rates(self, count: int) -> np.ndarray:
        """The learning rates of the next steps, float64."""
        return schedules.rates(self.lr, self.steps, count)

    @property
    def moments(self) -> np.ndarray | None:
        return self._moments

    def bind(self, network: Any, length: int) -> np.ndarray:
        """The moments for the `length` parameters of a network, made on first use."""
        moments = self._moments
        if moments is not None and self._owner is not None and self._owner() is network:
            return moments
        if moments is not None and self.n_moments and self.steps:
            if self._owner is not None or moments.shape[1] != length:
                raise ValueError(
                    f"this {type(self).__name__} holds the moments of another network. "
                    f"Make one optimizer for each network that you train."
                )
        elif moments is None or self._owner is not None or (self.n_moments and moments.shape[1] != length):
            # new, or another network's: a copy goes on with its steps
            self.steps = 0
            self._moments = moments = allocate(self.n_moments * length).reshape(self.n_moments, length)
        self._owner = weakref.ref(network)
        return moments

    def settings(self) -> dict[str, Any]:
        """What it was made with, beside lr."""
        return {name: getattr(self, name) for name in inspect.signature(type(self)).parameters if name != "lr"}

    def __repr__(self) -> str:
        given = {"lr": self.lr, **self.settings()}
        shown = (f"{k}={v:g}" if isinstance(v, float) else f"{k}={v!r}" for k, v in given.items() if v is not None)
        return f"{type(self).__name__}({', '.join(shown)})"

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
    lr : float or callable
        Learning rate, above 0, or a schedule.
    momentum : float
        In [0, 1).
    nesterov : bool
        Needs a momentum above 0.
    weight_decay : float
        At least 0; applies to weights and biases alike.
    clip_norm : float, optional
        Gradients whose norm, all of them together, is larger are scaled down to it (Pascanu et al. 2013).

    Raises
    ------
    ValueError, TypeError
        For a value out of its range, or of the wrong kind.
    """

    prepare = updates.sgd_prepare
    momentum, nesterov, weight_decay = _fixed("momentum"), _fixed("nesterov"), _fixed("weight_decay")

    def __init__(self, lr: Rate = 0.1, momentum: float = 0.0, nesterov: bool = False, weight_decay: float = 0.0,
                 clip_norm: float | None = None):  # fmt: skip
        self._momentum = number("momentum", momentum, least=0, below=1)
        self._weight_decay = number("weight_decay", weight_decay, least=0)
        self._nesterov = flag("nesterov", nesterov)
        if self.nesterov and not self.momentum:
            raise ValueError("nesterov=True with momentum=0 does nothing. Give a momentum above 0, such as 0.9.")
        super().__init__(lr, clip_norm, self.momentum, self.nesterov, self.weight_decay)

    @property
    def n_moments(self) -> int:
        """The velocity, where there is a momentum."""
        return 1 if self.momentum else 0

    @property
    def plain(self) -> bool:
        """Whether there is neither momentum nor weight decay, and nothing is clipped."""
        return not self.momentum and not self.weight_decay and self.clip_norm is None

    @property
    def update(self) -> Routine:
        """The compiled loop, with or without momentum."""
        return updates.momentum_update if self.momentum else updates.sgd_update


class Adam(Optimizer):
    """Adam (Kingma and Ba 2015).

    m ← β₁m + (1 − β₁)g;  v ← β₂v + (1 − β₂)g²;  θ ← θ − lr·m̂/(√v̂ + ε),
    with m̂ = m/(1 − β₁ᵗ), v̂ = v/(1 − β₂ᵗ).

    Parameters
    ----------
    lr : float or callable
        Learning rate, above 0, or a schedule.
    beta_1, beta_2 : float
        In [0, 1).
    epsilon : float
        At least 1e-37, so that it is not 0 in float32.
    clip_norm : float, optional
        As of :class:`SGD`.

    Raises
    ------
    ValueError, TypeError
        For a value out of its range, or of the wrong kind.
    """

    n_moments = 2
    prepare = updates.adam_prepare
    update = updates.adam_update
    beta_1, beta_2, epsilon = _fixed("beta_1"), _fixed("beta_2"), _fixed("epsilon")
    _weight_decay = 0.0  # AdamW's

    def __init__(self, lr: Rate = 0.001, beta_1: float = 0.9, beta_2: float = 0.999, epsilon: float = 1e-8,
                 clip_norm: float | None = None):  # fmt: skip
        self._beta_1 = number("beta_1", beta_1, least=0, below=1)
        self._beta_2 = number("beta_2", beta_2, least=0, below=1)
        self._epsilon = number("epsilon", epsilon, least=1e-37)
        super().__init__(lr, clip_norm, self.beta_1, self.beta_2, self.epsilon, self._weight_decay)


class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019).

    Adam's step, and θ ← θ − lr·weight_decay·θ: the decay does not pass through the moments.

    Parameters
    ----------
    lr, beta_1, beta_2, epsilon, clip_norm
        As of :class:`Adam`.
    weight_decay : float
        At least 0; applies to weights and biases alike.

    Raises
    ------
    ValueError, TypeError
        As of :class:`Adam`.
    """

    weight_decay = _fixed("weight_decay")

    def __init__(self, lr: Rate = 0.001, beta_1: float = 0.9, beta_2: float = 0.999, epsilon: float = 1e-8,
                 weight_decay: float = 0.01, clip_norm: float | None = None):  # fmt: skip
        self._weight_decay = number("weight_decay", weight_decay, least=0)
        super().__init__(lr, beta_1, beta_2, epsilon, clip_norm)


class RMSprop(Optimizer):
    """RMSprop (Tieleman and Hinton 2012; the form of PyTorch).

    v ← ρ·v + (1 − ρ)·g²;  θ ← θ − lr·g/(√v + ε)

    Parameters
    ----------
    lr : float or callable
        Learning rate, above 0, or a schedule.
    rho : float
        In [0, 1).
    epsilon : float
        At least 1e-37, so that it is not 0 in float32.
    clip_norm : float, optional
        As of :class:`SGD`.

    Raises
    ------
    ValueError, TypeError
        For a value out of its range, or of the wrong kind.
    """

    n_moments = 1
    prepare = updates.rmsprop_prepare
    update = updates.rmsprop_update
    rho, epsilon = _fixed("rho"), _fixed("epsilon")

    def __init__(self, lr: Rate = 0.001, rho: float = 0.99, epsilon: float = 1e-8, clip_norm: float | None = None):
        self._rho = number("rho", rho, least=0, below=1)
        self._epsilon = number("epsilon", epsilon, least=1e-37)
        super().__init__(lr, clip_norm, self.rho, self.epsilon)


class Adagrad(Optimizer):
    """Adagrad (Duchi, Hazan and Singer 2011).

    v ← v + g²;  θ ← θ − lr·g/(√v + ε)

    Parameters
    ----------
    lr : float or callable
        Learning rate, above 0, or a schedule.
    epsilon : float
        At least 1e-37, so that it is not 0 in float32.
    clip_norm : float, optional
        As of :class:`SGD`.

    Raises
    ------
    ValueError, TypeError
        For a value out of its range, or of the wrong kind.
    """

    n_moments = 1
    prepare = updates.adagrad_prepare
    update = updates.adagrad_update
    epsilon = _fixed("epsilon")

    def __init__(self, lr: Rate = 0.01, epsilon: float = 1e-10, clip_norm: float | None = None):
        self._epsilon = number("epsilon", epsilon, least=1e-37)
        super().__init__(lr, clip_norm, self.epsilon)
