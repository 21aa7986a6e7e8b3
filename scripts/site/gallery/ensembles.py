"""
Many networks, and how sure they are
====================================

`fit_many` trains networks side by side in one compiled call, each on one thread. An `Ensemble` predicts their mean, and
their spread says where they have nothing to go by (Lakshminarayanan et al. 2017, Simple and scalable predictive
uncertainty estimation using deep ensembles).
"""

import matplotlib.pyplot as plt
import numpy as np

from fastprop import Adam, Ensemble, Network, fit_many

rng = np.random.default_rng(0)
x = np.concatenate([rng.uniform(-2, -0.5, 40), rng.uniform(0.7, 2, 40)])[:, None]
y = np.sin(3 * x) + 0.3 * x + rng.normal(scale=0.1, size=x.shape)

ensemble = Ensemble([Network((1, 32, 32, 1), "tanh", rng=seed) for seed in range(20)])
ensemble.fit(x, y, epochs=800, batch_size=20, optimizer=Adam(lr=0.01), bootstrap=True, rng=0)

# %%
everywhere = np.linspace(-3, 3, 300)[:, None]
mean, spread = ensemble.predict(everywhere)[:, 0], ensemble.spread(everywhere)[:, 0]
figure, axes = plt.subplots(figsize=(7, 3.8), layout="constrained")
axes.fill_between(everywhere[:, 0], mean - 2 * spread, mean + 2 * spread, color="#9ad0f5", label="mean ± 2 spreads")
axes.plot(everywhere, mean, color="#0072b2")
axes.plot(x, y, ".", color="#d55e00", label="data")
axes.set_ylim(-4, 4)
axes.legend(frameon=False)

# %%
# The spread does not say how wrong the mean is: far from the data the networks err in the same way.
#
# **A search.** The networks of `fit_many` may differ in everything. Twelve settings, measured on held-out rows:

settings = [(n, lr) for n in (4, 16, 64) for lr in (0.001, 0.003, 0.01, 0.03)]
nets = [Network((1, n, n, 1), "tanh", rng=0) for n, _ in settings]
histories = fit_many(
    nets, x, y, epochs=500, batch_size=16, optimizer=[Adam(lr) for _, lr in settings], validation=0.25, rng=0
)
best = min(range(len(nets)), key=lambda i: min(histories[i].validation_loss))
print(f"the best of {len(nets)}: {settings[best][0]} units, lr {settings[best][1]}")
