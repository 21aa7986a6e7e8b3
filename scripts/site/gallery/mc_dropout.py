"""
Monte-Carlo dropout
===================

A network that was trained with dropout can be asked many times, each time with other units dropped; the spread of its
answers is an estimate of how sure it is (Gal and Ghahramani 2016, Dropout as a Bayesian approximation). `predict` drops
nothing. But to drop a unit is to multiply its column of the next W by 0, and those that stay by 1/(1 − rate), so that a
network with dropped units is a network again.
"""

import copy

import matplotlib.pyplot as plt
import numpy as np

from fastprop import Adam, Network

rng = np.random.default_rng(0)
x = np.concatenate([rng.uniform(-2, -0.5, 100), rng.uniform(0.7, 2, 100)])[:, None]
y = np.sin(3 * x) + 0.3 * x + rng.normal(scale=0.1, size=x.shape)

RATE = 0.1
net = Network((1, 64, 64, 1), dropout=RATE, rng=0)
net.fit(x, y, epochs=1000, batch_size=50, optimizer=Adam(lr=0.003), rng=0)


def samples(net, X, count, rng):
    """Return predictions of shape (count, m, n_L), each with other units dropped."""
    thinned, results = copy.deepcopy(net), []
    for _ in range(count):
        for layer, whole in zip(thinned.layers[1:], net.layers[1:], strict=True):
            kept = rng.random(layer.n_prev) >= RATE
            layer.W[:] = whole.W * kept / (1 - RATE)
        results.append(thinned.predict(X))
    return np.array(results)


# %%
everywhere = np.linspace(-3.5, 3.5, 300)[:, None]
draws = samples(net, everywhere, 200, rng)[:, :, 0]
mean, spread = draws.mean(axis=0), draws.std(axis=0)
figure, axes = plt.subplots(figsize=(7, 3.8), layout="constrained")
axes.fill_between(everywhere[:, 0], mean - 2 * spread, mean + 2 * spread, color="#9ad0f5")
axes.plot(everywhere, draws[:5].T, color="#666666", linewidth=0.4)
axes.plot(everywhere, mean, color="#0072b2")
axes.plot(x, y, ".", color="#d55e00")
axes.set_ylim(-4, 4)
