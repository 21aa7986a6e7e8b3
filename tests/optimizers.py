"""The table of optimizers that the test suites go through, each with its update in float64 NumPy; and schedules.

An update takes a parameter θ, its moments in the order of ``Optimizer.moments`` (which it writes), the gradient g, and
the number t of this step, counted from 1. It returns the new θ.
"""

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
from marks import slow_but

from fastprop import SGD, Adagrad, Adam, AdamW, Optimizer, RMSprop, schedules


def sgd(theta, moments, g, t, lr, momentum=0.0, nesterov=False, weight_decay=0.0):
    """v ← momentum·v + g;  θ ← θ − lr·v, or with Nesterov θ ← θ − lr·(g + momentum·v)"""
    g = g + weight_decay * theta
    if not momentum:
        return theta - lr * g
    moments[0] = momentum * moments[0] + g
    return theta - lr * (g + momentum * moments[0] if nesterov else moments[0])


def adam(theta, moments, g, t, lr=0.001, beta_1=0.9, beta_2=0.999, epsilon=1e-8):
    """Kingma and Ba 2015, Algorithm 1"""
    moments[0] = beta_1 * moments[0] + (1 - beta_1) * g
    moments[1] = beta_2 * moments[1] + (1 - beta_2) * g * g
    m_hat, v_hat = moments[0] / (1 - beta_1**t), moments[1] / (1 - beta_2**t)
    return theta - lr * m_hat / (np.sqrt(v_hat) + epsilon)


def adamw(theta, moments, g, t, lr=0.001, weight_decay=0.01, **settings):
    """Loshchilov and Hutter 2019, Algorithm 2, with the schedule in lr"""
    return adam(theta, moments, g, t, lr, **settings) - lr * weight_decay * theta


def rmsprop(theta, moments, g, t, lr=0.001, rho=0.99, epsilon=1e-8):
    """v ← ρv + (1 − ρ)g²;  θ ← θ − lr·g/(√v + ε)"""
    moments[0] = rho * moments[0] + (1 - rho) * g * g
    return theta - lr * g / (np.sqrt(moments[0]) + epsilon)


def adagrad(theta, moments, g, t, lr=0.01, epsilon=1e-10):
    """v ← v + g²;  θ ← θ − lr·g/(√v + ε)"""
    moments[0] = moments[0] + g * g
    return theta - lr * g / (np.sqrt(moments[0]) + epsilon)


class Variant(NamedTuple):
    """An optimizer with its settings, and its update in float64."""

    kind: type[Optimizer]
    update: Callable[..., np.ndarray]
    settings: dict[str, Any]

    def make(self, factor: float = 1.0) -> Optimizer:
        """Return a new optimizer, its learning rate multiplied by `factor`."""
        lr = self.settings["lr"]
        if factor != 1:
            lr = (lambda step: factor * self.settings["lr"](step)) if callable(lr) else factor * lr
        return self.kind(**{**self.settings, "lr": lr})


OPTIMIZERS = {
    "sgd": Variant(SGD, sgd, {"lr": 0.1}),
    "weight decay": Variant(SGD, sgd, {"lr": 0.1, "weight_decay": 0.01}),
    "momentum": Variant(SGD, sgd, {"lr": 0.03, "momentum": 0.9}),
    "nesterov": Variant(SGD, sgd, {"lr": 0.03, "momentum": 0.9, "nesterov": True, "weight_decay": 0.001}),
    "adam": Variant(Adam, adam, {"lr": 0.003}),
    "adam, other settings": Variant(Adam, adam, {"lr": 0.01, "beta_1": 0.7, "beta_2": 0.9, "epsilon": 1e-3}),
    "adamw": Variant(AdamW, adamw, {"lr": 0.003, "weight_decay": 0.1}),
    "rmsprop": Variant(RMSprop, rmsprop, {"lr": 0.001, "epsilon": 1e-4}),
    "rmsprop, other settings": Variant(RMSprop, rmsprop, {"lr": 0.003, "rho": 0.8, "epsilon": 1e-3}),
    "adagrad": Variant(Adagrad, adagrad, {"lr": 0.01, "epsilon": 1e-4}),
    "sgd, clipped": Variant(SGD, sgd, {"lr": 0.1, "clip_norm": 0.1}),
    # The trajectories of float32 and float64 fork if a relu's Z comes within rounding of 0. With a clip_norm of 0.05
    # this happens in 2 of 24 starts, by 2e-3, and the start in the test is one of the two; the others agree to 4e-7.
    "adam, clipped": Variant(Adam, adam, {"lr": 0.003, "clip_norm": 0.06, "epsilon": 1e-4}),
    "sgd, scheduled": Variant(SGD, sgd, {"lr": schedules.cosine(0.2, 150, 0.01)}),
    "adam, scheduled": Variant(Adam, adam, {"lr": schedules.exponential(0.003, half_life=50), "epsilon": 1e-4}),
}

BRIEF = ("sgd", "nesterov", "adam")  # with no moment, one and two
each_optimizer = pytest.mark.parametrize("name", OPTIMIZERS)
each_optimizer_slowly = pytest.mark.parametrize("name", slow_but(BRIEF, OPTIMIZERS))

# Settings of every schedule.
SCHEDULES: dict[str, dict[str, float]] = {
    "constant": {"lr": 0.3},
    "step": {"lr": 0.1, "every": 30, "factor": 0.3},
    "exponential": {"lr": 0.1, "half_life": 50.3},
    "cosine": {"lr": 0.07, "steps": 100, "final": 0.02},
    "warm_up": {"steps": 7, "then": 0.08},
    "one_cycle": {"lr": 0.05, "steps": 150, "warm": 0.3, "start": 25.0, "end": 1e4},
    "ReduceOnPlateau": {"lr": 0.07, "factor": 0.3, "patience": 1, "least": 1e-3, "threshold": 1e-3, "cooldown": 1},
}
COUNTS = ("patience", "cooldown")


def make_schedule(name, number=lambda value: value):
    """Return the schedule of that name, its settings converted by `number`, except counts of epochs, which are int."""
    settings = {key: value if key in COUNTS else number(value) for key, value in SCHEDULES[name].items()}
    return getattr(schedules, name)(**settings)


def all_settings(kind):
    """Return a valid value for every argument of an optimizer: those of the table, or the default."""
    settings = {name: parameter.default for name, parameter in inspect.signature(kind).parameters.items()}
    for variant in OPTIMIZERS.values():
        if variant.kind is kind:
            settings |= {name: value for name, value in variant.settings.items() if not callable(value)}
    return settings
