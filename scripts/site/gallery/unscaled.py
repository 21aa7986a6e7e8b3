"""
Targets and inputs that are not scaled
======================================

House prices are numbers like 300,000, and their inputs may be years and square feet. A network begins with outputs of
about 1 and learns in small steps, so that it takes very long to get there. `fit` warns of it, `diagnose` says why, and
the remedy is to scale both, and to scale the predictions back.
"""

import warnings

import numpy as np

from fastprop import Adam, Network, diagnose

rng = np.random.default_rng(0)
years, area = rng.uniform(1900, 2020, 1000), rng.uniform(500, 3000, 1000)
X = np.column_stack([years, area])
y = 50_000 + 120 * area + 900 * (years - 1900) + rng.normal(scale=10_000, size=1000)
train, test = slice(0, 800), slice(800, None)


def r2(y_hat):
    """Return the share of the variance that is explained."""
    return 1 - np.sum((y_hat - y[test]) ** 2) / np.sum((y[test] - y[test].mean()) ** 2)


# %%
# As they are:

net = Network((2, 32, 1), rng=0)
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    net.fit(X[train], y[train], epochs=50, optimizer=Adam(lr=0.003), rng=0)
for warning in caught:
    print(warning.message)
print(f"R2 = {r2(net.predict(X[test])[:, 0]):.3f}")

# %%
print(diagnose(Network((2, 32, 1), rng=0), X[train], y[train], Adam(lr=0.003)))

# %%
# Scaled by mean and standard deviation of the training rows; the test rows are scaled by the same numbers.

mean, scale = X[train].mean(axis=0), X[train].std(axis=0)
y_mean, y_scale = y[train].mean(), y[train].std()

net = Network((2, 32, 1), rng=0)
net.fit((X[train] - mean) / scale, (y[train] - y_mean) / y_scale, epochs=50, optimizer=Adam(lr=0.003), rng=0)
predicted = y_mean + y_scale * net.predict((X[test] - mean) / scale)[:, 0]
print(f"R2 = {r2(predicted):.3f}")
assert r2(predicted) > 0.95

# %%
# The scaling of the inputs can be put into the first layer, so that whoever uses the network need not know it:
# W·(x − mean)/scale + b is (W/scale)·x + (b − (W/scale)·mean). Likewise the last layer takes that of the targets.

first, last = net.layers[0], net.layers[-1]
first.W /= scale
first.b -= first.W @ mean
last.W *= y_scale
last.b *= y_scale
last.b += y_mean
print(f"R2 = {r2(net.predict(X[test])[:, 0]):.3f}, from X as it is")
