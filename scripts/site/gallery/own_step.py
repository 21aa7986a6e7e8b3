"""
A loop of one's own
===================

`fit` covers most trainings. Where it does not, its parts can be called one by one.
"""

import numpy as np

from fastprop import SGD, Adam, Network

rng = np.random.default_rng(0)
X = rng.uniform(-1, 1, (512, 3))
Y = np.sin(2 * X).sum(axis=1, keepdims=True)

# %%
# **One call for a step.** `train_step` runs the forward pass, the four equations and the update in one compiled call,
# and returns the cost. You choose the batches.

net, optimizer = Network((3, 32, 1), hidden="tanh", rng=0), Adam(lr=0.01)
for _ in range(300):
    rows = rng.choice(len(X), 64)
    J = net.train_step(X[rows], Y[rows], optimizer)
print(f"cost {J:.4f}")

# %%
# **Forward, backward, step.** Between `backward` and `step` the gradients can be read and changed. Here the first layer
# learns at a tenth of the rate of the others: `net.layers[0].dW` is a view into `net.gradients`.

net, sgd = Network((3, 32, 1), hidden="tanh", rng=0), SGD(lr=0.1)
for _ in range(300):
    net.forward(X)
    J = net.backward(Y)
    net.layers[0].dW *= 0.1
    net.layers[0].db *= 0.1
    net.step(sgd)
print(f"cost {J:.4f}")

# %%
# **Your own update.** Parameters and gradients are flat arrays of one layout, and may be written in place. This is
# gradient descent with a step of a fixed length:

net = Network((3, 32, 1), hidden="tanh", rng=0)
for _ in range(300):
    net.forward(X)
    J = net.backward(Y)
    net.parameters -= 0.03 * net.gradients / np.linalg.norm(net.gradients)
print(f"cost {J:.4f}")

# %%
# **Any cost.** `backward(dA=G)` goes back from the derivative of *any* J by the outputs. Here J is the negative
# correlation of outputs and targets over the whole batch, which is no sum over the rows.

net, optimizer = Network((3, 32, 1), hidden="tanh", rng=0), Adam(lr=0.03)
y = Y - Y.mean()
for _ in range(300):
    Y_hat = net.forward(X)
    a = Y_hat - Y_hat.mean()
    length = np.linalg.norm(a) * np.linalg.norm(y)
    r = np.sum(a * y) / length
    net.backward(dA=-(y / length - r * a / np.sum(a * a)))
    net.step(optimizer)
print(f"correlation {r:.4f}")
assert r > 0.95

# %%
# **Back to the inputs.** After a backward pass `net.dX` is ∂J/∂X, and `net.jacobian(X)` all of ∂Ŷ/∂X.

print(net.dX.shape, net.jacobian(X[:5]).shape)
