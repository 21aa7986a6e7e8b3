"""
Activations and losses of one's own
===================================

An activation or a loss is a scalar Python function. It is differentiated symbolically, checked against central
differences, and compiled into the kernels like the built-in ones.
"""

import math

import numpy as np

from fastprop import Activation, Adam, Loss, Network

mish = Activation("mish", lambda z: z * math.tanh(math.log1p(math.exp(z))))

# %%
# The quantile loss is asymmetric: with q = 0.9 an output that is too low costs nine times as much as one that is too
# high, and so the network learns the value that nine in ten targets stay below.


def quantile(q):
    """Return the loss whose minimum is the quantile q."""
    return Loss(f"quantile_{100 * q:.0f}", lambda y_hat, y: max(q * (y - y_hat), (q - 1) * (y - y_hat)))


rng = np.random.default_rng(0)
X = rng.uniform(-1, 1, (3000, 1))
Y = np.sin(3 * X) + rng.normal(size=X.shape) * (0.1 + 0.3 * np.abs(X))

nets = {}
for q in (0.1, 0.5, 0.9):
    nets[q] = Network((1, 32, 32, 1), hidden=mish, loss=quantile(q), rng=0)
    nets[q].fit(X, Y, epochs=60, optimizer=Adam(lr=0.003), rng=0)
    print(f"q = {q}: {np.mean(nets[q].predict(X) > Y):.1%} of the targets are below")

# %%
import matplotlib.pyplot as plt  # noqa: E402

x = np.linspace(-1, 1, 200)[:, None]
figure, axes = plt.subplots(figsize=(7, 3.5), layout="constrained")
axes.plot(X[::4], Y[::4], ".", markersize=3, color="#bbbbbb")
for q, net in nets.items():
    axes.plot(x, net.predict(x), label=f"quantile {q}")
axes.legend(frameon=False)

# %%
# A wrong derivative is refused when the function is made:

try:
    Activation("wrong", lambda z: z * z, lambda z: z)
except ValueError as error:
    print(error)

# %%
# Files hold no code, so that `Network.load` is given custom functions again: ``Network.load(path, functions=[mish])``.
