"""
A stream that drifts
====================

Rows arrive in batches of any size, each is seen once, and the rule changes with time. `partial_fit` makes one step on a
batch and continues with the optimizer of the step before. Each batch is predicted before it is learned from, so that
the error is an honest one (prequential evaluation; Gama et al. 2013).
"""

import copy

import matplotlib.pyplot as plt
import numpy as np

from fastprop import Adam, Network

BATCHES = 3000


def stream(rng):
    """Yield batches of 1 to 64 rows; the border between the classes turns by a right angle."""
    for i in range(BATCHES):
        X = rng.uniform(-1, 1, (rng.integers(1, 65), 2))
        turn = np.pi / 2 * i / BATCHES
        yield X, X[:, 1] * np.cos(turn) - X[:, 0] * np.sin(turn) > 0


net, errors = Network((2, 16, 16, 1), output="sigmoid", rng=0), []
frozen = net
for i, (X, Y) in enumerate(stream(np.random.default_rng(0))):
    errors.append([np.mean((each.predict(X)[:, 0] > 0.5) != Y) for each in (net, frozen)])
    net.partial_fit(X, Y, Adam(lr=0.003) if i == 0 else None)
    if i == BATCHES // 4:
        frozen = copy.deepcopy(net)  # this one stops learning

# %%
smooth = np.array([np.convolve(column, np.ones(100) / 100, "valid") for column in np.transpose(errors)])
figure, axes = plt.subplots(figsize=(7, 3.2), layout="constrained")
axes.plot(smooth[1], color="#d55e00", label="stopped after a quarter")
axes.plot(smooth[0], color="#0072b2", label="goes on learning")
axes.set(xlabel="batches", ylabel="share of wrong predictions")
axes.legend(frameon=False)
print(f"at the end {smooth[0, -1]:.1%} and {smooth[1, -1]:.1%} are wrong")
assert smooth[0, -1] < 0.05 < smooth[1, -1]
