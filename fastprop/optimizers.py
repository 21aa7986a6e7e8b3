"""Optimizers: their hyperparameters, and their moments over the flat parameters.

The update loops themselves are in :mod:`fastprop.kernels.updates`.
"""

import copy
import inspect
import weakref
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

from . import schedules
from .checks import flag, number
from .kernels import updates
from .kernels.jit import Routine
from .kernels.plan import allocate
from .texts import plain

Rate: TypeAlias = float | Callable[[int], float]


class Optimizer:
    """The base class: hyperparameters, two compiled routines, and the moments of one network's parameters.

    The moments belong to the first network that the optimizer trains and persist from call to call. Make another
    optimizer for another network.

    Attributes
    ----------
    lr : float or callable
        The learning rate, or a schedule, step → rate (:mod:`fastprop.schedules`); may be set.
    rate : float
        The learning rate of the next step.
    clip_norm : float or None
        The largest norm of all gradients together; larger gradients are scaled down to it.
    steps : int
        The number of updates made so far.
    moments : ndarray of shape (n_moments, length) or None
        In the layout of ``net.parameters``; None before the first step.
    owner : weakref or None
        The network that the moments belong to; None before the first step, and in a copy.
    scheduled : bool
        Whether the learning rate is a schedule.
    count : ndarray of float64
        `steps` as the kernels count them: they write it while they change the parameters, so that both agree at any
        moment at which Python runs.
    scalars : ndarray of float64
        The hyperparameters as `prepare` reads them.
    """

    @property
    def clip_norm(self) -> float | None:
        return self._clip_norm

    @property
    def n_moments(self) -> int:
        """The number of moments per parameter."""
        return 0

    @property
    def plain(self) -> bool:
        """Whether the update is W −= lr·dW alone, which the register tile of dW performs itself."""
        return False

    @property
    def prepare(self) -> Routine:
        """The routine that prepares a step."""
        raise NotImplementedError

    @property
    def update(self) -> Routine:
        """The routine that updates the parameters in one loop."""
        raise NotImplementedError

    def __init__(self, lr: Rate, clip_norm: float | None, *settings: float):
        if type(self) is Optimizer:
            raise TypeError("Optimizer is the base class of all optimizers. Use one of them, such as SGD or Adam.")
        self.lr = lr
        self._clip_norm = None if clip_norm is None else number("clip_norm", clip_norm, above=0)
        self.count: np.ndarray = allocate(1, np.float64)
        self.scalars: np.ndarray = np.array([*settings, 0.0])
        self.owner: Any = None
        self._moments: np.ndarray | None = None

    @property
    def steps(self) -> int:
        return int(self.count[0])

    @steps.setter
    def steps(self, value: int) -> None:
        self.count[0] = value

    @property
    def lr(self) -> Rate:
        return self._lr

    @lr.setter
    def lr(self, value: Rate) -> None:
        self._lr: Any = value if callable(value) else number("lr", value, above=0)
        self.scheduled: bool = callable(value)

    @property
    def rate(self) -> float:
        return float(self.rates(1)[0]) if self.scheduled else self._lr

    def rates(self, count: int) -> np.ndarray:
        """Return the learning rates of the next `count` steps, in float64."""
        return schedules.rates(self.lr, self.steps, count)

    @property
    def moments(self) -> np.ndarray | None:
        return self._moments

    def bind(self, network: Any, length: int, dtype: np.dtype) -> np.ndarray:
        """Return the moments, of a dtype, for the `length` parameters of a network, which then belong to it.

        If they belong to this network already, they are returned as they are. If this is a copy, or comes from a pickle
        or a file, its moments and its count of steps are continued. Otherwise new moments are made.

        Raises
        ------
        ValueError
            If the moments belong to another network.
        """
        moments = self._moments
        if moments is not None and self.owner is not None and self.owner() is network:
            return moments
        fits = moments is not None and (not self.n_moments or (moments.shape[1], moments.dtype) == (length, dtype))
        adopted = fits and self.owner is None
        if not adopted:
            if moments is not None and self.n_moments and self.steps:
                raise ValueError(
                    f"this {type(self).__name__} holds the moments of another network. "
                    f"Make one optimizer for each network that you train."
                )
            self.restore(allocate(self.n_moments * length, dtype).reshape(self.n_moments, length), steps=0)
        self.owner = weakref.ref(network)
        assert self._moments is not None
        return self._moments

    def restore(self, moments: np.ndarray, steps: int) -> None:
        """Continue from given moments, of shape (n_moments, length), after `steps` updates."""
        self._moments = moments
        self.steps = steps

    def fresh(self) -> "Optimizer":
        """Return an optimizer with these settings, without moments, which made no step; a schedule is copied."""
        other = type(self).__new__(type(self))
        lr = copy.deepcopy(self._lr) if self.scheduled else self._lr
        vars(other).update(vars(self), owner=None, _moments=None, count=allocate(1, np.float64), _lr=lr)
        return other

    def settings(self) -> dict[str, Any]:
        """Return the arguments that it was made with, except lr."""
        return {name: getattr(self, name) for name in inspect.signature(type(self)).parameters if name != "lr"}

    def is_like(self, other: Any) -> bool:
        """Return whether another optimizer was made with the same arguments; the rate may have fallen on a plateau."""
        return type(other) is type(self) and schedules.same(self.lr, other.lr) and self.settings() == other.settings()

    def __repr__(self) -> str:
        given = {"lr": self.lr, **self.settings()}
        shown = (f"{k}={v:g}" if isinstance(v, float) else f"{k}={v!a}" for k, v in given.items() if v is not None)
        return plain(f"{type(self).__name__}({', '.join(shown)})")

    def __getstate__(self) -> dict[str, Any]:
        """Return the state for pickles and copies, whose moments will belong to the next network of their length."""
        return {**self.__dict__, "owner": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.count = allocate(1, np.float64)
        self.steps = int(state["count"][0])
        if self._moments is not None:
            self._moments = allocate(self._moments.size, self._moments.dtype).reshape(self._moments.shape)
            self._moments[:] = state["_moments"]


class SGD(Optimizer):
    """Stochastic gradient descent.

    g = dθ + weight_decay·θ;  v ← momentum·v + g;  θ ← θ − lr·v,  or with Nesterov's look-ahead
    θ ← θ − lr·(g + momentum·v). Sutskever et al. 2013; the form of PyTorch.

    Parameters
    ----------
    lr : float or callable
        The learning rate, above 0, or a schedule (:mod:`fastprop.schedules`).
    momentum : float
        In [0, 1).
    nesterov : bool
        Requires a momentum above 0.
    weight_decay : float
        At least 0; applies to weights and biases alike.
    clip_norm : float, optional
        If the norm of all gradients together is larger, they are scaled down to it (Pascanu et al. 2013).

    Raises
    ------
    ValueError, TypeError
        If a value is out of its range, or of the wrong type.
    """

    @property
    def prepare(self) -> Routine:
        return updates.sgd_prepare

    @property
    def momentum(self) -> float:
        return self._momentum

    @property
    def nesterov(self) -> bool:
        return self._nesterov

    @property
    def weight_decay(self) -> float:
        return self._weight_decay

    def __init__(
        self,
        lr: Rate = 0.1,
        momentum: float = 0.0,
        nesterov: bool = False,
        weight_decay: float = 0.0,
        clip_norm: float | None = None,
    ):
        self._momentum = number("momentum", momentum, least=0, below=1)
        self._weight_decay = number("weight_decay", weight_decay, least=0)
        self._nesterov = flag("nesterov", nesterov)
        if self.nesterov and not self.momentum:
            raise ValueError("nesterov=True with momentum=0 does nothing. Give a momentum above 0, such as 0.9.")
        super().__init__(lr, clip_norm, self.momentum, self.nesterov, self.weight_decay)

    @property
    def n_moments(self) -> int:
        """1 for the velocity if there is a momentum, else 0."""
        return 1 if self.momentum else 0

    @property
    def plain(self) -> bool:
        """Whether there is neither momentum nor weight decay, and nothing is clipped."""
        return not self.momentum and not self.weight_decay and self.clip_norm is None

    @property
    def update(self) -> Routine:
        """The update loop, with or without momentum."""
        return updates.momentum_update if self.momentum else updates.sgd_update


class Adam(Optimizer):
    """Adam (Kingma and Ba 2015).

    m ← β₁m + (1 − β₁)g;  v ← β₂v + (1 − β₂)g²;  θ ← θ − lr·m̂/(√v̂ + ε),
    with m̂ = m/(1 − β₁ᵗ), v̂ = v/(1 − β₂ᵗ).

    Parameters
    ----------
    lr : float or callable
        The learning rate, above 0, or a schedule (:mod:`fastprop.schedules`).
    beta_1, beta_2 : float
        In [0, 1).
    epsilon : float
        At least 1e-37, so that it is not 0 in float32.
    clip_norm : float, optional
        See :class:`SGD`.

    Raises
    ------
    ValueError, TypeError
        If a value is out of its range, or of the wrong type.
    """

    _weight_decay: float = 0.0  # set by AdamW

    @property
    def n_moments(self) -> int:
        return 2

    @property
    def prepare(self) -> Routine:
        return updates.adam_prepare

    @property
    def update(self) -> Routine:
        return updates.adam_update

    @property
    def beta_1(self) -> float:
        return self._beta_1

    @property
    def beta_2(self) -> float:
        return self._beta_2

    @property
    def epsilon(self) -> float:
        return self._epsilon

    def __init__(
        self,
        lr: Rate = 0.001,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        clip_norm: float | None = None,
    ):
        self._beta_1 = number("beta_1", beta_1, least=0, below=1)
        self._beta_2 = number("beta_2", beta_2, least=0, below=1)
        self._epsilon = number("epsilon", epsilon, least=1e-37)
        super().__init__(lr, clip_norm, self.beta_1, self.beta_2, self.epsilon, self._weight_decay)


class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019).

    Adam's step, and θ ← θ − lr·weight_decay·θ: the decay bypasses the moments.

    Parameters
    ----------
    lr, beta_1, beta_2, epsilon, clip_norm
        See :class:`Adam`.
    weight_decay : float
        At least 0; applies to weights and biases alike.

    Raises
    ------
    ValueError, TypeError
        If a value is out of its range, or of the wrong type.
    """

    @property
    def weight_decay(self) -> float:
        return self._weight_decay

    def __init__(
        self,
        lr: Rate = 0.001,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        weight_decay: float = 0.01,
        clip_norm: float | None = None,
    ):
        self._weight_decay = number("weight_decay", weight_decay, least=0)
        super().__init__(lr, beta_1, beta_2, epsilon, clip_norm)


class RMSprop(Optimizer):
    """RMSprop (Tieleman and Hinton 2012; the form of PyTorch).

    v ← ρ·v + (1 − ρ)·g²;  θ ← θ − lr·g/(√v + ε)

    Parameters
    ----------
    lr : float or callable
        The learning rate, above 0, or a schedule (:mod:`fastprop.schedules`).
    rho : float
        In [0, 1).
    epsilon : float
        At least 1e-37, so that it is not 0 in float32.
    clip_norm : float, optional
        See :class:`SGD`.

    Raises
    ------
    ValueError, TypeError
        If a value is out of its range, or of the wrong type.
    """

    @property
    def n_moments(self) -> int:
        return 1

    @property
    def prepare(self) -> Routine:
        return updates.rmsprop_prepare

    @property
    def update(self) -> Routine:
        return updates.rmsprop_update

    @property
    def rho(self) -> float:
        return self._rho

    @property
    def epsilon(self) -> float:
        return self._epsilon

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
        The learning rate, above 0, or a schedule (:mod:`fastprop.schedules`).
    epsilon : float
        At least 1e-37, so that it is not 0 in float32.
    clip_norm : float, optional
        See :class:`SGD`.

    Raises
    ------
    ValueError, TypeError
        If a value is out of its range, or of the wrong type.
    """

    @property
    def n_moments(self) -> int:
        return 1

    @property
    def prepare(self) -> Routine:
        return updates.adagrad_prepare

    @property
    def update(self) -> Routine:
        return updates.adagrad_update

    @property
    def epsilon(self) -> float:
        return self._epsilon

    def __init__(self, lr: Rate = 0.01, epsilon: float = 1e-10, clip_norm: float | None = None):
        self._epsilon = number("epsilon", epsilon, least=1e-37)
        super().__init__(lr, clip_norm, self.epsilon)


# The optimizers by name, for files and tests.
OPTIMIZERS: dict[str, type[Optimizer]] = {kind.__name__: kind for kind in (SGD, Adam, AdamW, RMSprop, Adagrad)}
