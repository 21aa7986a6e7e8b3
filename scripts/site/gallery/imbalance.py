"""
Rare classes
============

If 3% of the rows are of the class that matters, a network that never names it is right in 97% of all cases. Weights of
the classes make each of them count for as much as the other.
"""

import numpy as np

from fastprop import Adam, Network

rng = np.random.default_rng(0)
m = 6000
Y = (rng.random(m) < 0.03).astype(int)
X = rng.standard_normal((m, 4)) + 1.2 * Y[:, None]
train, test = slice(0, 4000), slice(4000, None)


def report(name, net):
    """Print how many of the rare rows are found, and how many of the found ones are rare."""
    p = net.predict(X[test])[:, 0]
    found, rare = p > 0.5, Y[test] == 1
    print(
        f"{name:20} accuracy {np.mean(found == rare):.1%}, found {np.mean(found[rare]):4.0%} of the rare rows; "
        f"{np.mean(rare[found]):4.0%} of what it found is rare; mean probability {p.mean():.1%}"
    )


for class_weight in (None, {0: 1, 1: 5}, "balanced"):
    net = Network((4, 32, 1), output="sigmoid", l2=1e-3, rng=0)
    net.fit(X[train], Y[train], epochs=30, optimizer=Adam(lr=0.003), class_weight=class_weight, rng=0)
    report(str(class_weight), net)

# %%
# What is gained in one column is lost in another: weights move the border between the classes. They also change what
# the output means. Without weights it is the probability of the rare class, 3% on average; with them it no longer is.
# If probabilities are needed, train without weights and choose another threshold than one half:

net = Network((4, 32, 1), output="sigmoid", l2=1e-3, rng=0)
net.fit(X[train], Y[train], epochs=30, optimizer=Adam(lr=0.003), rng=0)
p, rare = net.predict(X[test])[:, 0], Y[test] == 1
for threshold in (0.5, 0.2, 0.05, 0.03):
    found = p > threshold
    print(f"above {threshold:4}: found {np.mean(found[rare]):4.0%}, of which {np.mean(rare[found]):4.0%} are rare")

# %%
# Several labels that a row may have take ``"balanced"`` or a list of one dictionary for each label, and `sample_weight`
# of shape (m, n_L) weighs every output of every row by itself.
