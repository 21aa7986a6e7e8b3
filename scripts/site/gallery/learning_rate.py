"""
Find a learning rate
====================

A learning rate that is too low wastes epochs, and one that is too high diverges. A sweep over one or two epochs shows
the range: let the rate grow with every step, and plot the cost against it (Smith 2017, Cyclical learning rates for
training neural networks).
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits

from fastprop import SGD, Network

X, Y = load_digits(return_X_y=True)
X /= 16

# %%
# The rate of an optimizer may be any function of the step. Here it grows from 1e-4 to 100 in 150 steps. `train_step`
# makes one step and returns the cost before it. A cost that is no longer finite changes nothing, and ends the sweep.

STEPS, LOW, HIGH = 150, 1e-4, 1e2
rates = LOW * (HIGH / LOW) ** (np.arange(STEPS) / STEPS)
net, rng = Network((64, 64, 10), output="softmax", rng=0), np.random.default_rng(0)
optimizer, costs = SGD(lr=lambda step: float(rates[min(step, STEPS - 1)])), []
for _ in range(STEPS):
    rows = rng.choice(len(X), 64, replace=False)
    costs.append(net.train_step(X[rows], Y[rows], optimizer))
    if not costs[-1] < 4 * costs[0]:
        break

# %%
# Smoothed over some steps, the cost stays level, falls, and explodes. A good rate lies where it falls, well before its
# lowest point: a third of the rate there is a common choice.

smooth = np.convolve(costs, np.ones(9) / 9, mode="valid")
middle = rates[4 : 4 + len(smooth)]
chosen = middle[smooth.argmin()] / 3

figure, axes = plt.subplots(figsize=(7, 3.5), layout="constrained")
axes.semilogx(rates[: len(costs)], costs, ".", color="#9ad0f5", label="cost of a batch")
axes.semilogx(middle, smooth, color="#0072b2", label="mean of 9")
axes.axvline(chosen, color="#d55e00", linestyle=":", label=f"chosen: {chosen:.2g}")
axes.set(xlabel="learning rate", ylabel="cost", ylim=(0, 2 * costs[0]))
axes.legend(frameon=False)

# %%
# A fit of ten epochs with this rate, and with one that is a hundred times lower:

for lr in (chosen, chosen / 100):
    net = Network((64, 64, 10), output="softmax", rng=0)
    history = net.fit(X, Y, epochs=10, batch_size=64, optimizer=SGD(lr=lr), rng=0)
    print(f"lr={lr:.2g}: the cost fell to {history.loss[-1]:.3f}")
