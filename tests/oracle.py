"""A training loop in float64 NumPy: the reference's gradients and the updates of `optimizers`."""

import numpy as np
from networks import dense, weighted_gradients

from fastprop import reference


class Trainer:
    """Parameters in float64, with the moments of a variant of `optimizers.OPTIMIZERS`, whose `lr` may be set.

    The layers `frozen`, counted from 0, stay as they are; the penalty l2 counts their weights too.
    """

    def __init__(self, parameters, hidden, output, variant, l2=0.0, frozen=()):
        self.l2 = l2
        self.trained = [name for name in parameters if int(name[1:]) - 1 not in frozen]
        self.parameters, self.hidden, self.output = parameters, hidden, output
        self.lr = variant.settings["lr"]
        self._update = variant.update
        self._settings = {name: value for name, value in variant.settings.items() if name not in ("lr", "clip_norm")}
        self._clip_norm = variant.settings.get("clip_norm")
        self._moments = {name: [np.zeros_like(theta), np.zeros_like(theta)] for name, theta in parameters.items()}
        self._t = 0

    def step(self, X, Y, weights=None):
        """Make one step on rows X, Y, and return the cost before it."""
        Y = dense(Y, len(self.parameters[f"b{len(self.parameters) // 2}"])).T
        cache = reference.forward_propagation(X.T.astype(np.float64), self.parameters, self.output, self.hidden)
        grads = weighted_gradients(cache, Y, self.parameters, self.hidden, weights)
        J = reference.compute_cost(cache, Y, self.output) + reference.penalty(self.parameters, self.l2)
        grads |= {f"d{W}": grads[f"d{W}"] + self.l2 * self.parameters[W] for W in self.parameters if W[0] == "W"}
        norm = np.sqrt(sum(np.sum(grads["d" + name] ** 2) for name in self.trained))
        scale = min(1.0, self._clip_norm / norm) if self._clip_norm else 1.0
        lr = self.lr(self._t) if callable(self.lr) else self.lr
        self._t += 1
        self.parameters = self.parameters | {
            name: self._update(
                self.parameters[name], self._moments[name], scale * grads["d" + name], self._t, lr, **self._settings
            )
            for name in self.trained
        }
        return J
