"""
Sparse text
===========

Counts of words are sparse: each text has a few of many thousand words. SciPy's CSR matrices are trained on as they are;
they are never made dense, and the first layer's products go over their entries only.
"""

import numpy as np
from sklearn.feature_extraction.text import HashingVectorizer

from fastprop import Adam, Network

# %%
# Sentences that are made up from the vocabulary of three subjects, with many words that say nothing:

rng = np.random.default_rng(0)
SUBJECTS = {
    "weather": "rain sun cloud storm wind snow fog warm cold degrees forecast umbrella",
    "cooking": "salt pan boil fry oven flour butter onion pepper recipe taste spoon",
    "sailing": "mast wind harbor rope anchor tide deck storm keel knot course crew",
}
FILLER = np.array([f"word{i}" for i in range(3000)])


def sentence(subject):
    """Return 15 words, of which about a fifth belong to the subject."""
    words = rng.choice(FILLER, 15)
    own = rng.random(15) < 0.2
    words[own] = rng.choice(SUBJECTS[subject].split(), own.sum())
    return " ".join(words)


names = list(SUBJECTS)
labels = rng.integers(3, size=4000)
texts = [sentence(names[label]) for label in labels]
print(texts[0])

# %%
# 2^16 columns, of which each row has about 15. As a dense matrix of float32 they would take a gigabyte.

X = HashingVectorizer(n_features=2**16, dtype=np.float32).transform(texts)
print(X.shape, f"{X.nnz:,} entries, {(X.data.nbytes + X.indices.nbytes) / 1e6:.1f} MB")

train, test = slice(0, 3000), slice(3000, None)
net = Network((2**16, 32, 3), output="softmax", rng=0)
history = net.fit(X[train], labels[train], epochs=5, batch_size=64, optimizer=Adam(lr=0.003), rng=0)
accuracy = np.mean(net.predict(X[test]).argmax(axis=1) == labels[test])
print(f"{accuracy:.1%} right in {sum(history.seconds):.1f} s")
assert accuracy > 0.7

# %%
# Of the rest, some are sentences without a single word of their subject, or with *wind* and *storm*, which two have in
# common.
