"""
Label smoothing
===============

Targets of 0 and 1 drive a softmax to be ever more certain. Smoothed targets (Szegedy et al. 2016, Rethinking the
inception architecture) give the right class a little less than 1, and the others the rest. There is no option for it,
since Y may be any probabilities: they are one line of NumPy.
"""

import numpy as np
from sklearn.datasets import load_digits

from fastprop import Adam, Network

X, labels = load_digits(return_X_y=True)
X /= 16
labels = np.where(np.random.default_rng(0).random(len(labels)) < 0.1, 0, labels)  # a tenth of the labels is wrong
train, test = slice(0, 1200), slice(1200, None)
true = load_digits().target[test]

for smoothing in (0, 0.1, 0.3):
    Y = np.eye(10)[labels] * (1 - smoothing) + smoothing / 10
    net = Network((64, 64, 10), output="softmax", rng=0)
    net.fit(X[train], Y[train], epochs=60, optimizer=Adam(lr=0.003), rng=0)
    P = net.predict(X[test])
    certainty, right = P.max(axis=1).mean(), np.mean(P.argmax(axis=1) == true)
    print(f"smoothing {smoothing:3}: mean certainty {certainty:.1%}, {right:.1%} right")

# %%
# Without smoothing the network learns the wrong labels by heart and is certain of it. The certainty of its predictions
# falls with smoothing, as it should.
