"""
A network in a compiled loop
============================

A simulation that asks a network in every step is slow from Python: the call takes longer than the network. A `Network`
is a Numba type, so that a loop of your own can be compiled as a whole, with predictions and training steps in it.
"""

import time

import numba
import numpy as np

from fastprop import Adam, Network, kernels

net = Network((4, 32, 32, 2), hidden="tanh", rng=0)


@numba.njit
def simulate(net, x, force, steps):
    """Move a point by the force that the network gives at its place."""
    for _ in range(steps):
        kernels.predict(net, x, force)
        x[2:] += 0.01 * (force - x[:2])
        x[:2] += 0.01 * x[2:]


def in_python(net, x, steps):
    for _ in range(steps):
        force = net.predict(x[None])[0]
        x[2:] += 0.01 * (force - x[:2])
        x[:2] += 0.01 * x[2:]


start, force = np.array([1, 0, 0, 0.5], np.float32), np.empty(2, np.float32)
simulate(net, start.copy(), force, 1)  # compiles
for name, steps, run in (("compiled", 200_000, lambda x, n: simulate(net, x, force, n)),
                         ("Python", 5_000, lambda x, n: in_python(net, x, n))):  # fmt: skip
    x = start.copy()
    begun = time.perf_counter()
    run(x, steps)
    print(f"{name:9} {1e6 * (time.perf_counter() - begun) / steps:6.2f} us a step")

# %%
# Training works in there too. `net.optimizer` is set before, and each step continues its moments. This network learns
# the position after a hundred steps while the simulation runs, from batches of 32 starting points:

model = Network((4, 32, 2), hidden="tanh", rng=1)
model.optimizer = Adam(lr=0.003)


@numba.njit
def learn(model, net, batches, rng):
    """Train the model on what the simulation does."""
    X, Y, force = np.empty((32, 4), np.float32), np.empty((32, 2), np.float32), np.empty(2, np.float32)
    J = 0.0
    for _ in range(batches):
        for i in range(32):
            for k in range(4):
                X[i, k] = rng.uniform(-1, 1)
            x = X[i].copy()
            simulate(net, x, force, 100)
            Y[i] = x[:2]
        J = kernels.train_step(model, X, Y)
    return J


rng = np.random.default_rng(0)
first, last = learn(model, net, 1, rng), learn(model, net, 400, rng)
print(f"the cost fell from {first:.3f} to {last:.5f}")

# %%
# Nothing is allocated from step to step by the network, shapes that do not fit raise ``ValueError`` there too, and
# ``nogil=True``, ``cache=True`` and ``parallel=True`` work as for arrays.
