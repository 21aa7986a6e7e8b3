"""Training loops in float64 NumPy: the reference's gradients, and every optimiser written out step by step."""

import numpy as np
from networks import dense, weighted_gradients

from fastprop import reference


def sgd(theta, state, g, t, lr, momentum=0.0, nesterov=False, weight_decay=0.0):
    """v ← momentum·v + g;  θ ← θ − lr·v, or with Nesterov θ ← θ − lr·(g + momentum·v)"""
    g = g + weight_decay * theta
    if not momentum:
        return theta - lr * g
    state["v"] = momentum * state.get("v", 0) + g
    return theta - lr * (g + momentum * state["v"] if nesterov else state["v"])


def adam(theta, state, g, t, lr=0.001, beta_1=0.9, beta_2=0.999, epsilon=1e-8):
    """Kingma and Ba 2015, Algorithm 1"""
    state["m"] = beta_1 * state.get("m", 0) + (1 - beta_1) * g
    state["v"] = beta_2 * state.get("v", 0) + (1 - beta_2) * g * g
    m_hat, v_hat = state["m"] / (1 - beta_1**t), state["v"] / (1 - beta_2**t)
    return theta - lr * m_hat / (np.sqrt(v_hat) + epsilon)


def adamw(theta, state, g, t, lr=0.001, weight_decay=0.01, **settings):
    """Loshchilov and Hutter 2019, Algorithm 2, with the schedule in lr"""
    return adam(theta, state, g, t, lr, **settings) - lr * weight_decay * theta


def rmsprop(theta, state, g, t, lr=0.001, rho=0.99, epsilon=1e-8):
    """v ← ρv + (1 − ρ)g²;  θ ← θ − lr·g/(√v + ε)"""
    state["v"] = rho * state.get("v", 0) + (1 - rho) * g * g
    return theta - lr * g / (np.sqrt(state["v"]) + epsilon)


def adagrad(theta, state, g, t, lr=0.01, epsilon=1e-10):
    """v ← v + g²;  θ ← θ − lr·g/(√v + ε)"""
    state["v"] = state.get("v", 0) + g * g
    return theta - lr * g / (np.sqrt(state["v"]) + epsilon)


class Trainer:
    """Parameters in float64, and one optimiser's state for each."""

    def __init__(self, parameters, hidden, output, update, clip_norm=None, lr=None, **settings):
        """`lr` may be a schedule, step → rate; gradients whose norm is above `clip_norm` are scaled down to it."""
        self.parameters, self.hidden, self.output = parameters, hidden, output
        self._update, self._settings, self._lr, self._clip = update, settings, lr, clip_norm
        self._state = {name: {} for name in parameters}
        self._t = 0

    def step(self, X, Y, weights=None):
        """One step on rows X, Y; the cost before it."""
        Y = dense(Y, len(self.parameters[f"b{len(self.parameters) // 2}"])).T
        cache = reference.forward_propagation(X.T.astype(np.float64), self.parameters, self.output, self.hidden)
        grads = weighted_gradients(cache, Y, self.parameters, self.hidden, weights)
        norm = np.sqrt(sum(np.sum(grads["d" + name] ** 2) for name in self.parameters))
        scale = min(1.0, self._clip / norm) if self._clip else 1.0
        if self._lr is not None:
            self._settings["lr"] = self._lr(self._t) if callable(self._lr) else self._lr
        self._t += 1
        self.parameters = {
            name: self._update(theta, self._state[name], scale * grads["d" + name], self._t, **self._settings)
            for name, theta in self.parameters.items()
        }
        return reference.compute_cost(cache, Y, self.output)
