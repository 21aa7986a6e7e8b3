"""
Averaged weights (EMA)
======================

Near the end of a training the parameters jump about the minimum. Their moving average lies nearer to it (Polyak and
Juditsky 1992). `net.parameters` is one flat array of all parameters, so that the average is one line, in a callback
that runs after every few steps.
"""

import matplotlib.pyplot as plt
import numpy as np

from fastprop import SGD, Network

rng = np.random.default_rng(0)
X = rng.uniform(-1, 1, (2000, 2))
Y = np.sin(3 * X[:, :1]) * np.cos(2 * X[:, 1:]) + rng.normal(scale=0.3, size=(2000, 1))
X_test = rng.uniform(-1, 1, (2000, 2))
Y_test = np.sin(3 * X_test[:, :1]) * np.cos(2 * X_test[:, 1:])


class Average:
    """A callback that averages the parameters exponentially, and measures network and average."""

    def __init__(self, decay):
        self.decay, self.measured = decay, []

    def begins(self, net):
        self.net, self.mean = net, net.parameters.copy()

    def __call__(self, steps, history):
        self.mean += (1 - self.decay) * (self.net.parameters - self.mean)
        if steps % 32 == 0:
            self.measured.append([steps, self.net.loss(X_test, Y_test), averaged(self).loss(X_test, Y_test)])


def averaged(average):
    """Return a network with the averaged parameters."""
    net = Network(average.net.sizes, hidden="tanh")
    net.parameters = average.mean
    return net


net, average = Network((2, 32, 32, 1), hidden="tanh", rng=0), Average(decay=0.98)
history = net.fit(X, Y, epochs=60, batch_size=32, optimizer=SGD(lr=0.3), callbacks=[(4, average)], rng=0)

# %%
steps, costs, means = np.array(average.measured).T
figure, axes = plt.subplots(figsize=(7, 3.5), layout="constrained")
axes.semilogy(steps, costs, color="#9ad0f5", label="the network")
axes.semilogy(steps, means, color="#0072b2", label="its averaged weights")
axes.set(xlabel="steps", ylabel="cost on held-out rows")
axes.legend(frameon=False)
print(f"network {np.mean(costs[-10:]):.4f}, average {np.mean(means[-10:]):.4f}")
assert np.mean(means[-10:]) < np.mean(costs[-10:])
