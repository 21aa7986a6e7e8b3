"""
Quickstart
==========

Train a network on handwritten digits, look at how it went, use it, and save it.

Install fastprop with ``pip install 'fastprop-cpu[progress,plot,save]'``. It needs Python 3.11 or later, NumPy and
Numba. The first fit on a machine compiles for some ten seconds; later processes load what was compiled.
"""

import numpy as np
from sklearn.datasets import load_digits

from fastprop import Adam, Network, diagnose

# %%
# **The data.** X has a row for each sample and a column for each feature. For classes, Y may be their numbers. Inputs
# should be about as large as 1, so we divide the grey values by the largest one. The last 400 digits are held out.

digits = load_digits()
X, Y = digits.data / 16, digits.target
X_train, Y_train, X_test, Y_test = X[:-400], Y[:-400], X[-400:], Y[-400:]
print(X_train.shape, Y_train.shape)

# %%
# **The network.** 64 inputs, two hidden layers, 10 outputs. A softmax makes the outputs probabilities, and its paired
# loss is the cross entropy. `rng` is the seed: the same seed gives the same network, to the last bit, on any number of
# threads.

net = Network((64, 128, 64, 10), hidden="relu", output="softmax", rng=0)
print(net)

# %%
# **The training.** 20% of the rows are held out to measure the loss after each epoch. The fit ends when it has not
# fallen for ten epochs, and goes back to the best parameters.

history = net.fit(
    X_train, Y_train, epochs=100, batch_size=64, optimizer=Adam(lr=0.001), validation=0.2, early_stopping=10
)
print(history)
figure = history.plot()

# %%
# **Predictions.** `predict` gives the probabilities, a row for each sample.

probabilities = net.predict(X_test)
accuracy = net.score(X_test, Y_test)
print(f"{accuracy:.1%} of the {len(X_test)} digits that it never saw are right")
assert accuracy > 0.9

# %%
# **Is anything wrong?** `diagnose` looks at inputs, layers, gradients and the step, and names what stands in the way of
# learning, each with a remedy.

print(diagnose(net, X_train, Y_train))

# %%
# **Saving.** One file holds the network, its optimizer and where its training stands.

net.save("digits.safetensors")
again = Network.load("digits.safetensors")
print(np.array_equal(again.predict(X_test), probabilities))

# %%
# From here: the other recipes, :doc:`how the equations are derived </derivation>`, or :doc:`the questions that are
# asked first </faq>`.
