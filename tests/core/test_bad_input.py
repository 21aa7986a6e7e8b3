"""Bad input to every public function raises the right error, with a message that says what to do, and changes nothing.

Each line of the table has a call, its error, and a pattern of the message.
"""

import math

import numpy as np
import pytest
from networks import Case, bits, data, network

import fastprop
from fastprop import SGD, Adam, Network, dropin

M = 12
NETWORKS = {
    "softmax": Case("bad", (5, 8, 3), "relu", "softmax", M),
    "sigmoid": Case("bad", (5, 8, 1), "tanh", "sigmoid", M),
    "identity": Case("bad", (5, 8, 2), "relu", "identity", M),
}
HUGE = 10**9


class Bench:
    """A network of each output after a forward and a backward pass, good data, and the drop-in's dictionaries."""

    def __init__(self):
        self.nets = {name: network(case) for name, case in NETWORKS.items()}
        self.X, self.labels = data(NETWORKS["softmax"])
        self.yes_no = data(NETWORKS["sigmoid"])[1]
        self.numbers = data(NETWORKS["identity"])[1]
        for name, net in self.nets.items():
            net.forward(self.X)
            net.backward({"softmax": self.labels, "sigmoid": self.yes_no, "identity": self.numbers}[name])
        self.net, self.sigmoid, self.identity = self.nets.values()
        self.sgd, self.adam = SGD(0.1), Adam()
        self.parameters = dropin.initialise_parameters((5, 8, 3), rng=0)
        self.columns = self.X.T
        self.one_hot = np.eye(3)[self.labels].T
        self.cache = dropin.forward_propagation(self.columns, self.parameters)
        self.grads = dropin.backpropagation(self.cache, self.one_hot, self.parameters)

    def with_value(self, array, place, value, dtype=np.float32):
        changed = np.array(array, dtype)
        changed[place] = value
        return changed

    def but(self, dictionary, **changes):
        """The dictionary with some entries changed; None takes one out."""
        return {k: v for k, v in {**dictionary, **changes}.items() if v is not None}

    def fit(self, X=None, Y=None, **options):
        options.setdefault("epochs", 1)
        return self.net.fit(self.X if X is None else X, self.labels if Y is None else Y, **options)

    def bits(self):
        return [bits(net.parameters, net.gradients) for net in self.nets.values()] + [
            bits(*self.parameters.values(), *self.cache.values(), *self.grads.values())
        ]


CASES = {
    # ---- Network ----
    "dtype none": (lambda t: Network((5, 3), dtype=None), ValueError, r'dtype is None; it must be "float32" or "fl'),
    "a half dtype": (lambda t: Network((5, 3), dtype="float16"), ValueError, r"dtype is 'float16'; it must be"),
    "a big-endian dtype": (lambda t: Network((5, 3), dtype=">f8"), ValueError, r"dtype is '>f8'; it must be"),
    "a dtype unknown": (lambda t: Network((5, 3), dtype="double64"), ValueError, r"dtype is 'double64'; it must be"),
    "a dtype of a bracket": (lambda t: Network((5, 3), dtype="("), ValueError, r"dtype is '\('; it must be"),
    "a dtype of bits": (lambda t: Network((5, 3), dtype=64), ValueError, r"dtype is 64; it must be"),
    "from_dict of int32": (
        lambda t: Network.from_dict(t.net.to_dict(), dtype="int32"), ValueError, r"dtype is 'int32'; it must be"
    ),
    "sizes of one": (lambda t: Network((5,)), ValueError, r"needs at least two widths"),
    "sizes of none": (lambda t: Network(()), ValueError, r"needs at least two widths"),
    "sizes a number": (lambda t: Network(5), TypeError, r"sizes is 5; it must be a sequence"),
    "sizes a string": (lambda t: Network("532"), TypeError, r"sizes is '532'; it must be a sequence"),
    "sizes none": (lambda t: Network(None), TypeError, r"sizes is None; it must be a sequence"),
    "sizes a set": (lambda t: Network({5, 3}), TypeError, r"must be a sequence"),
    "a size of zero": (lambda t: Network((5, 0, 3)), ValueError, r"sizes\[1\] is 0; it must be at least 1"),
    "a negative size": (lambda t: Network((5, -8, 3)), ValueError, r"sizes\[1\] is -8; it must be at least 1"),
    "a size of 2.5": (lambda t: Network((5, 2.5, 3)), TypeError, r"sizes\[1\] is 2\.5; it must be a whole number"),
    "a size of 8.0": (lambda t: Network((5, 8.0, 3)), TypeError, r"sizes\[1\] is 8\.0; it must be a whole number"),
    "a bool size": (lambda t: Network((5, True, 3)), TypeError, r"sizes\[1\] is True; it must be a whole number"),
    "a string size": (lambda t: Network((5, "8", 3)), TypeError, r"sizes\[1\] is '8'; it must be a whole number"),
    "a nested size": (lambda t: Network((5, (8, 3))), TypeError, r"sizes\[1\] is \(8, 3\); it must be a whole number"),
    "float array sizes": (lambda t: Network(np.array([5.0, 3.0])), TypeError, r"sizes\[0\] .* whole number"),
    "2-D sizes": (lambda t: Network(np.ones((2, 2), int)), TypeError, r"sizes"),
    "0-d sizes": (lambda t: Network(np.array(5)), TypeError, r"sizes .* must be a sequence"),
    "huge sizes": (lambda t: Network((HUGE, HUGE)), ValueError, r"to make this network takes .* GiB.*Use narrower"),
    "one huge size": (lambda t: Network((1, 10**12)), ValueError, r"to make this network takes .* GiB.*Use narrower"),
    "sizes beyond int64": (lambda t: Network((10**30, 3)), ValueError, r"to make this network takes"),
    "an unknown hidden": (lambda t: Network((5, 8, 3), "rellu"), ValueError, r"hidden is 'rellu'; it must be"),
    "softmax as hidden": (lambda t: Network((5, 8, 3), "softmax"), ValueError, r"hidden is 'softmax'; it must be one"),
    "hidden of nobody": (lambda t: Network((5, 3), "rellu"), ValueError, r"hidden is 'rellu'"),
    "hidden none": (lambda t: Network((5, 8, 3), None), TypeError, r"hidden is None; it must be a name"),
    "hidden a number": (lambda t: Network((5, 8, 3), 1), TypeError, r"hidden is 1; it must be a name"),
    "too many hidden": (lambda t: Network((5, 8, 3), ("relu",) * 2), ValueError, r"has 2 names; .* 1 hidden layers"),
    "too few hidden": (lambda t: Network((5, 8, 3), ()), ValueError, r"has 0 names; .* 1 hidden layers"),
    "one hidden a number": (lambda t: Network((5, 8, 3), (3,)), TypeError, r"hidden\[0\] is 3; it must be one of"),
    "one unknown hidden": (lambda t: Network((5, 8, 3), ("elo",)), ValueError, r"hidden\[0\] is 'elo'; it must be one"),
    "an unknown output": (lambda t: Network((5, 3), output="sofmax"), ValueError, r"output is 'sofmax'; it must be"),
    "output none": (lambda t: Network((5, 3), output=None), TypeError, r"output is None; it must be one of"),
    "softmax of one": (lambda t: Network((5, 1), output="softmax"), ValueError, r"softmax of one output.*sigmoid"),
    "an unknown loss": (lambda t: Network((5, 3), loss="l2"), ValueError, r"loss is 'l2'; it must be one of"),
    "loss a number": (lambda t: Network((5, 3), loss=2), TypeError, r"loss is 2; it must be one of"),
    "an unknown init": (lambda t: Network((5, 3), init="xavier"), ValueError, r"init is 'xavier'; it must be one of"),
    "init a number": (lambda t: Network((5, 3), init=0), TypeError, r"init is 0; it must be one of he"),
    "init of another shape": (lambda t: Network((5, 3), init=lambda n, p, rng: np.zeros((p, n))), ValueError,
                              r"init gave weights of shape \(5, 3\); this layer needs \(3, 5\)"),
    "init of strings": (lambda t: Network((5, 3), init=lambda n, p, rng: [["a"] * p] * n), TypeError, r"init.*dtype"),
    "init of NaN": (lambda t: Network((5, 3), init=lambda n, p, rng: np.full((n, p), np.nan)), ValueError,
                    r"init.*must be finite"),
    "rng a string": (lambda t: Network((5, 3), rng="0"), TypeError, r"rng is '0'; it must be a seed"),
    "a negative seed": (lambda t: Network((5, 3), rng=-1), ValueError, r"rng is -1; it must be at least 0"),
    "rng a float": (lambda t: Network((5, 3), rng=1.5), TypeError, r"rng is 1\.5; it must be a seed"),
    "rng a RandomState": (lambda t: Network((5, 3), rng=np.random.RandomState(0)), TypeError, r"must be a seed"),
    # ---- X, in forward ----
    "X too wide": (lambda t: t.net.forward(t.X.repeat(2, axis=1)), ValueError,
                   r"X has 10 features; this network takes 5 \(sizes\[0\]\)\. Pass an array of shape \(m, 5\)"),
    "X too narrow": (lambda t: t.net.forward(t.X[:, :4]), ValueError, r"X has 4 features; this network takes 5"),
    "X of columns": (lambda t: t.net.forward(t.X.T), ValueError, r"X has 12 features; this network takes 5"),
    "X of one sample": (lambda t: t.net.forward(t.X[0]), ValueError, r"one row per sample.*X\.reshape\(1, -1\)"),
    "X of three dimensions": (lambda t: t.net.forward(t.X[None]), ValueError, r"X has shape \(1, 12, 5\); it must be"),
    "X a number": (lambda t: t.net.forward(3.0), ValueError, r"X has shape \(\); it must be \(m, 5\)"),
    "X of no rows": (lambda t: t.net.forward(t.X[:0]), ValueError, r"X has 0 rows; it needs at least one"),
    "X an empty list": (lambda t: t.net.forward([]), ValueError, r"X has shape \(0,\); it must be \(m, 5\)"),
    "X none": (lambda t: t.net.forward(None), TypeError, r"X is None; give an array of real numbers"),
    "X of objects": (lambda t: t.net.forward(t.with_value(t.X, (2, 1), len, object)), TypeError,
                     r"X has dtype object: X\[2, 1\] is <built-in function len>, no real number"),
    "X of strings": (lambda t: t.net.forward(t.X.astype(str)), TypeError, r"X has dtype <U"),
    "X masked": (lambda t: t.net.forward(np.ma.masked_less(t.X, 0)), TypeError, r"X is a masked array"),
    "hidden bytes": (lambda t: Network((2, 3, 3, 1), hidden=b"re"), TypeError, r"hidden is b're'"),
    "X complex": (lambda t: t.net.forward(t.X.astype(complex)), TypeError, r"X has dtype complex128"),
    "X of dates": (lambda t: t.net.forward(np.zeros((M, 5), "datetime64[s]")), TypeError, r"X has dtype datetime64"),
    "X a record": (lambda t: t.net.forward(np.zeros((M, 5), [("a", "f4")])), TypeError, r"X has dtype \[\('a'"),
    "X ragged": (lambda t: t.net.forward([[1, 2, 3, 4, 5], [1, 2]]), ValueError, r"X has rows of different lengths"),
    "X a dictionary": (lambda t: t.net.forward({"X": t.X}), TypeError, r"X is a dict\..*np\.column_stack"),
    "NaN in X": (lambda t: t.net.forward(t.with_value(t.X, (7, 3), np.nan)), ValueError,
                 r"X\[7, 3\] is nan; every value must be finite"),
    "infinity in X": (lambda t: t.net.forward(t.with_value(t.X, (11, 4), -np.inf)), ValueError, r"X\[11, 4\] is -inf"),
    "NaN in a float64 X": (lambda t: t.net.forward(t.with_value(t.X, (0, 0), np.nan, float)), ValueError,
                           r"X\[0, 0\] is nan"),
    "NaN in a Fortran-ordered X": (lambda t: t.net.forward(np.asfortranarray(t.with_value(t.X, (7, 3), np.nan))),
                                   ValueError, r"X\[7, 3\] is nan"),
    "X beyond float32": (lambda t: t.net.forward(t.with_value(t.X, (2, 1), 1e39, float)), ValueError,
                         r"X\[2, 1\] is 1e\+39, beyond the range of float32"),
    "X a huge whole number": (lambda t: t.net.forward([[10**400] * 5]), ValueError,
                              r"X\[0, 0\] is 1000.*beyond the range of float64"),
    # ---- targets, in backward and loss ----
    "labels too few": (lambda t: t.net.backward(t.labels[:-1]), ValueError, r"Y has 11 rows; X has 12"),
    "labels too many": (lambda t: t.net.backward(np.append(t.labels, 0)), ValueError, r"Y has 13 rows; X has 12"),
    "a label too large": (lambda t: t.net.backward(t.with_value(t.labels, 4, 3, int)), ValueError,
                          r"Y\[4\] is 3; labels of this network are 0 to 2"),
    "a negative label": (lambda t: t.net.backward(t.with_value(t.labels, 9, -1, int)), ValueError, r"Y\[9\] is -1"),
    "a label of 2⁶⁴ − 1": (lambda t: t.net.backward(t.with_value(t.labels, 0, 2**64 - 1, np.uint64)), ValueError,
                           r"Y\[0\] is 18446744073709551615"),
    "float labels": (lambda t: t.net.backward(t.labels.astype(float)), TypeError, r"labels must be integers"),
    "bool labels": (lambda t: t.net.backward(t.labels > 0), TypeError, r"labels must be integers"),
    "labels as a column": (lambda t: t.net.backward(t.labels[:, None]), ValueError,
                           r"Y has shape \(12, 1\); it must be \(12, 3\) or integer labels"),
    "labels as strings": (lambda t: t.net.backward(t.labels.astype(str)), TypeError, r"Y has dtype <U"),
    "labels of objects": (lambda t: t.net.backward(t.with_value(t.labels, 3, "b", object)), TypeError,
                          r"Y has dtype object: Y\[3\] is 'b', text.*np\.unique\(Y, return_inverse=True\)"),
    "one-hot columns": (lambda t: t.net.backward(t.one_hot), ValueError, r"Y has 3 rows; X has 12"),
    "rows that sum to two": (lambda t: t.net.backward(2 * t.one_hot.T / 3 + 0.2), ValueError,
                             r"row 0 of Y sums to 1\.2.*sum to 1"),
    "a negative probability": (lambda t: t.net.backward(t.with_value(t.one_hot.T, (3, 1), -0.5)), ValueError,
                               r"Y\[3, 1\] is -0\.5; targets of a softmax lie between 0 and 1"),
    "a probability of 2": (lambda t: t.sigmoid.backward(t.with_value(t.yes_no, (5, 0), 2)), ValueError,
                           r"Y\[5, 0\] is 2; targets of binary_crossentropy lie between 0 and 1"),
    "NaN in labels of a sigmoid": (lambda t: t.sigmoid.backward(t.with_value(t.yes_no, (5, 0), np.nan)), ValueError,
                                   r"Y\[5, 0\] is nan"),
    "NaN in Y": (lambda t: t.identity.backward(t.with_value(t.numbers, (6, 1), np.nan)), ValueError,
                 r"Y\[6, 1\] is nan"),
    "infinity in Y": (lambda t: t.identity.backward(t.with_value(t.numbers, (6, 1), np.inf)), ValueError,
                      r"Y\[6, 1\] is inf"),
    "Y too wide": (lambda t: t.identity.backward(t.X), ValueError, r"Y has shape \(12, 5\); it must be \(12, 2\)"),
    "Y flat": (lambda t: t.identity.backward(t.numbers[:, 0]), ValueError, r"Y has shape \(12,\); it must be \(12"),
    "Y a number": (lambda t: t.identity.backward(1.0), ValueError, r"Y has no rows; X has 12"),
    "Y none": (lambda t: t.identity.backward(None), TypeError, r"Y is None"),
    "Y ragged": (lambda t: t.identity.backward([[1, 2]] * 11 + [[1]]), ValueError, r"Y has rows of different lengths"),
    "Y complex": (lambda t: t.identity.backward(t.numbers * 1j), TypeError, r"Y has dtype complex"),
    "backward before forward": (lambda t: Network((5, 3)).backward(np.zeros((M, 3))), RuntimeError,
                                r"no forward pass to go back through\. Call forward\(X\) first"),
    "loss of another X": (lambda t: t.net.loss(t.X[:, :2], t.labels), ValueError, r"X has 2 features"),
    "loss of too few labels": (lambda t: t.net.loss(t.X, t.labels[:3]), ValueError, r"Y has 3 rows; X has 12"),
    "loss of NaN": (lambda t: t.net.loss(t.with_value(t.X, (1, 1), np.nan), t.labels), ValueError, r"X\[1, 1\] is nan"),
    # ---- weights ----
    "weights too few": (lambda t: t.net.backward(t.labels, np.ones(11)), ValueError,
                        r"sample_weight has shape \(11,\); it must be \(12,\)"),
    "weights as a column": (lambda t: t.net.backward(t.labels, np.ones((M, 1))), ValueError, r"has shape \(12, 1\)"),
    "one weight for all": (lambda t: t.net.backward(t.labels, 2.0), ValueError, r"sample_weight has shape \(\)"),
    "a negative weight": (lambda t: t.net.backward(t.labels, t.with_value(np.ones(M), 3, -1)), ValueError,
                          r"sample_weight lies in \[-1, 1\]; none may be negative"),
    "weights all zero": (lambda t: t.net.backward(t.labels, np.zeros(M)), ValueError, r"and not all 0"),
    "a weight of NaN": (lambda t: t.net.backward(t.labels, t.with_value(np.ones(M), 3, np.nan)), ValueError,
                        r"sample_weight\[3\] is nan"),
    "weights of strings": (lambda t: t.net.backward(t.labels, ["1"] * M), TypeError, r"sample_weight has dtype <U"),
    # ---- predict ----
    "predict of another width": (lambda t: t.net.predict(t.X[:, :3]), ValueError, r"X has 3 features"),
    "predict of one sample": (lambda t: t.net.predict(t.X[0]), ValueError, r"X\.reshape\(1, -1\)"),
    "predict of NaN": (lambda t: t.net.predict(t.with_value(t.X, (3, 2), np.nan)), ValueError, r"X\[3, 2\] is nan"),
    "predict of nothing": (lambda t: t.net.predict(np.zeros((0, 5))), ValueError, r"X has 0 rows"),
    "predict of strings": (lambda t: t.net.predict([["a"] * 5]), TypeError, r"X has dtype <U1"),
    # ---- train_step ----
    "a step on another width": (lambda t: t.net.train_step(t.X[:, :3], t.labels, t.sgd), ValueError, r"X has 3 fea"),
    "a step on NaN": (lambda t: t.net.train_step(t.with_value(t.X, (3, 2), np.nan), t.labels, t.sgd), ValueError,
                      r"X\[3, 2\] is nan"),
    "a step to a bad label": (lambda t: t.net.train_step(t.X, t.with_value(t.labels, 2, 7, int), t.adam), ValueError,
                              r"Y\[2\] is 7"),
    "a step without an optimizer": (lambda t: t.net.train_step(t.X, t.labels, None), TypeError,
                                    r"optimizer is None; it must be an optimizer"),
    "a step with a name": (lambda t: t.net.train_step(t.X, t.labels, "adam"), TypeError, r"optimizer is 'adam'"),
    "a step with a class": (lambda t: t.net.train_step(t.X, t.labels, Adam), TypeError, r"optimizer is <class"),
    "a step with a number": (lambda t: t.net.train_step(t.X, t.labels, 0.1), TypeError, r"optimizer is 0\.1"),
    "a step with the base class": (lambda t: t.net.train_step(t.X, t.labels, fastprop.Optimizer(0.1)), TypeError,
                                   r"[Oo]ptimizer"),
    "a step with bad weights": (lambda t: t.net.train_step(t.X, t.labels, t.sgd, -np.ones(M)), ValueError,
                                r"sample_weight lies in"),
    # ---- partial_fit ----
    "a stream of another width": (lambda t: t.net.partial_fit(t.X[:, :3], t.labels), ValueError, r"X has 3 features"),
    "a stream to a bad label": (lambda t: t.net.partial_fit(t.X, t.labels + 9), ValueError, r"Y\[0\] is"),
    "a stream of weights alone": (lambda t: t.net.partial_fit(t.X, t.labels, np.ones(M)), TypeError, r"optimizer is"),
    "a stream with bad weights": (lambda t: t.net.partial_fit(t.X, t.labels, None, -np.ones(M)), ValueError,
                                  r"sample_weight lies in"),
    # ---- fit ----
    "fit on another width": (lambda t: t.fit(t.X[:, :3]), ValueError, r"X has 3 features"),
    "fit on NaN": (lambda t: t.fit(t.with_value(t.X, (3, 2), np.nan)), ValueError, r"X\[3, 2\] is nan"),
    "fit on nothing": (lambda t: t.fit(t.X[:0], t.labels[:0]), ValueError, r"X has 0 rows"),
    "fit to a bad label": (lambda t: t.fit(Y=t.with_value(t.labels, 2, 7, int)), ValueError, r"Y\[2\] is 7"),
    "fit to too few labels": (lambda t: t.fit(Y=t.labels[:4]), ValueError, r"Y has 4 rows; X has 12"),
    "no epochs": (lambda t: t.net.fit(t.X, t.labels), TypeError, r"epochs"),
    "zero epochs": (lambda t: t.fit(epochs=0), ValueError, r"epochs is 0; it must be at least 1"),
    "negative epochs": (lambda t: t.fit(epochs=-3), ValueError, r"epochs is -3; it must be at least 1"),
    "half an epoch": (lambda t: t.fit(epochs=0.5), TypeError, r"epochs is 0\.5; it must be a whole number"),
    "epochs a bool": (lambda t: t.fit(epochs=True), TypeError, r"epochs is True; it must be a whole number"),
    "epochs a string": (lambda t: t.fit(epochs="10"), TypeError, r"epochs is '10'; it must be a whole number"),
    "epochs none": (lambda t: t.fit(epochs=None), TypeError, r"epochs is None; it must be a whole number"),
    "batches of nothing": (lambda t: t.fit(batch_size=0), ValueError, r"batch_size is 0; it must be at least 1"),
    "negative batches": (lambda t: t.fit(batch_size=-1), ValueError, r"batch_size is -1; it must be at least 1"),
    "batch_size a float": (lambda t: t.fit(batch_size=32.0), TypeError, r"batch_size is 32\.0; it must be a whole"),
    "batch_size none": (lambda t: t.fit(batch_size=None), TypeError, r"batch_size is None; it must be a whole"),
    "fit with a name": (lambda t: t.fit(optimizer="sgd"), TypeError, r"optimizer is 'sgd'; it must be an optimizer"),
    "fit with a class": (lambda t: t.fit(optimizer=SGD), TypeError, r"optimizer is <class"),
    "fit with the base class": (lambda t: t.fit(optimizer=fastprop.Optimizer(0.1)), TypeError, r"[Oo]ptimizer"),
    "shuffle a number": (lambda t: t.fit(shuffle=1), TypeError, r"shuffle is 1; it must be True or False"),
    "shuffle a string": (lambda t: t.fit(shuffle="no"), TypeError, r"shuffle is 'no'; it must be True or False"),
    "shuffle none": (lambda t: t.fit(shuffle=None), TypeError, r"shuffle is None; it must be True or False"),
    "fit with too few weights": (lambda t: t.fit(sample_weight=np.ones(3)), ValueError, r"sample_weight has shape"),
    "fit with weights of NaN": (lambda t: t.fit(sample_weight=np.full(M, np.nan)), ValueError, r"sample_weight\[0\]"),
    "validation of one": (lambda t: t.fit(validation=(t.X,)), TypeError, r"validation must be a pair"),
    "validation an array": (lambda t: t.fit(validation=t.X), TypeError, r"validation must be a pair"),
    "validation of all": (lambda t: t.fit(validation=1.0), ValueError, r"must hold out a row and leave one"),
    "validation of none": (lambda t: t.fit(validation=-0.1), ValueError, r"must hold out a row and leave one"),
    "validation a number": (lambda t: t.fit(validation=3), TypeError, r"must be a pair \(X, Y\), .*or the fraction"),
    "a pair without a function": (lambda t: t.fit(callbacks=[(3, None)]), TypeError, r"callbacks\[0\] is \(3, None\)"),
    "every zero steps": (lambda t: t.fit(callbacks=[(0, print)]), ValueError, r"k of callbacks\[0\] is 0"),
    "a class that is none": (lambda t: t.fit(class_weight={3: 1.0}), ValueError, r"has the class 3; .* are 0 to 2"),
    "a negative class weight": (lambda t: t.fit(class_weight={0: -1}), ValueError, r"class_weight\[0\] is -1"),
    "all classes without weight": (lambda t: t.fit(class_weight={0: 0, 1: 0, 2: 0}), ValueError, r"not all 0"),
    "class weights of nobody": (lambda t: t.fit(class_weight="balance"), TypeError, r"it must be \"balanced\" or"),
    "validation of another width": (lambda t: t.fit(validation=(t.X[:, :2], t.labels)), ValueError,
                                    r"validation X has 2 features"),
    "validation of NaN": (lambda t: t.fit(validation=(t.with_value(t.X, (0, 1), np.nan), t.labels)), ValueError,
                          r"validation X\[0, 1\] is nan"),
    "validation of too few labels": (lambda t: t.fit(validation=(t.X, t.labels[:2])), ValueError,
                                     r"validation Y has 2 rows; .*X has 12"),
    "validation of a bad label": (lambda t: t.fit(validation=(t.X, t.labels + 9)), ValueError, r"validation Y\[0\] is"),
    "early stopping on nothing": (lambda t: t.fit(early_stopping=3), ValueError, r"'validation_loss' needs valid"),
    "a patience of zero": (lambda t: t.fit(early_stopping=0, validation=(t.X, t.labels)), ValueError,
                           r"early_stopping is 0; it must be at least 1"),
    "a patience of True": (lambda t: t.fit(early_stopping=True, validation=(t.X, t.labels)), TypeError,
                           r"early_stopping is True; it must be a whole number"),
    "callbacks a function": (lambda t: t.fit(callbacks=print), TypeError, r"callbacks is .* must be a sequence"),
    "callbacks a number": (lambda t: t.fit(callbacks=3), TypeError, r"callbacks is 3; it must be a sequence"),
    "a callback that is none": (lambda t: t.fit(callbacks=[print, None]), TypeError, r"callbacks\[1\] is None"),
    "progress a string": (lambda t: t.fit(progress="no"), TypeError, r"progress is 'no'"),
    "fit with a bad seed": (lambda t: t.fit(rng="seed"), TypeError, r"rng is 'seed'; it must be a seed"),
    "fit with a negative seed": (lambda t: t.fit(rng=-5), ValueError, r"rng is -5; it must be at least 0"),
    # ---- gradient_check ----
    "a nudge of zero": (lambda t: t.net.gradient_check(t.X, t.labels, epsilon=0), ValueError, r"epsilon is 0; .*above"),
    "a nudge of NaN": (lambda t: t.net.gradient_check(t.X, t.labels, epsilon=math.nan), ValueError, r"epsilon is nan"),
    "a nudge of None": (lambda t: t.net.gradient_check(t.X, t.labels, epsilon=None), TypeError, r"epsilon is None"),
    "a look at nothing": (lambda t: t.net.gradient_check(t.X, t.labels, most=0), ValueError, r"most is 0; it must be"),
    "a check of another width": (lambda t: t.net.gradient_check(t.X[:, :2], t.labels), ValueError, r"X has 2 features"),
    "a check of bad labels": (lambda t: t.net.gradient_check(t.X, t.labels + 5), ValueError, r"Y\[0\] is"),
    # ---- from_dict ----
    "parameters a list": (lambda t: Network.from_dict([1, 2]), TypeError, r"parameters is a list; it must be a dict"),
    "parameters of nothing": (lambda t: Network.from_dict({}), ValueError, r"it must have W1, b1"),
    "no b2": (lambda t: Network.from_dict(t.but(t.parameters, b2=None)), ValueError, r"has the keys \['W1', 'W2'"),
    "no layer 1": (lambda t: Network.from_dict(t.but(t.parameters, W1=None, b1=None)), ValueError, r"it must have W1"),
    "one key too many": (lambda t: Network.from_dict({**t.parameters, "lr": 1}), ValueError, r"and no more"),
    "W1 flat": (lambda t: Network.from_dict(t.but(t.parameters, W1=np.ones(40))), ValueError,
                r"W1 has shape \(40,\); it must be \(n_1, n_0\)"),
    "W1 of no rows": (lambda t: Network.from_dict(t.but(t.parameters, W1=np.ones((0, 5)))), ValueError, r"W1 has"),
    "W2 that does not follow": (lambda t: Network.from_dict(t.but(t.parameters, W2=np.ones((3, 9)))), ValueError,
                                r"W2 has 9 columns; layer 1 has 8 units"),
    "b1 of another length": (lambda t: Network.from_dict(t.but(t.parameters, b1=np.ones(7))), ValueError,
                             r"b1 has shape \(7,\); W1 has 8 rows"),
    "b1 as a row": (lambda t: Network.from_dict(t.but(t.parameters, b1=np.ones((1, 8)))), ValueError, r"b1 has shape"),
    "NaN in W2": (lambda t: Network.from_dict(t.but(t.parameters, W2=np.full((3, 8), np.nan))), ValueError,
                  r"W2\[0, 0\] is nan"),
    "W1 of strings": (lambda t: Network.from_dict(t.but(t.parameters, W1=[["a"]])), TypeError, r"W1 has dtype <U1"),
    "a softmax of one, from a dictionary": (
        lambda t: Network.from_dict({"W1": np.ones((1, 2)), "b1": np.ones(1)}, output="softmax"), ValueError,
        r"a softmax of one output"),
    # ---- threads, optimizers ----
    "no threads": (lambda t: fastprop.set_num_threads(0), ValueError, r"n is 0; it must be at least 1 and at most"),
    "negative threads": (lambda t: fastprop.set_num_threads(-2), ValueError, r"n is -2; it must be at least 1"),
    "very many threads": (lambda t: fastprop.set_num_threads(10**6), ValueError, r"at most 1024"),
    "threads a float": (lambda t: fastprop.set_num_threads(2.0), TypeError, r"n is 2\.0; it must be a whole number"),
    "threads a bool": (lambda t: fastprop.set_num_threads(True), TypeError, r"n is True; it must be a whole number"),
    "threads a string": (lambda t: fastprop.set_num_threads("2"), TypeError, r"n is '2'; it must be a whole number"),
    "lr of zero": (lambda t: SGD(0), ValueError, r"lr is 0; it must be finite, above 0"),
    "a negative lr": (lambda t: Adam(-0.1), ValueError, r"lr is -0\.1; it must be finite, above 0"),
    "lr of infinity": (lambda t: SGD(math.inf), ValueError, r"lr is inf; it must be finite"),
    "lr of NaN": (lambda t: Adam(math.nan), ValueError, r"lr is nan; it must be finite"),
    "lr a string": (lambda t: SGD("0.1"), TypeError, r"lr is '0\.1'; it must be a number"),
    "lr none": (lambda t: SGD(None), TypeError, r"lr is None; it must be a number"),
    "lr a bool": (lambda t: SGD(True), TypeError, r"lr is True; it must be a number"),
    "lr a list": (lambda t: SGD([0.1]), TypeError, r"lr is \[0\.1\]; it must be a number"),
    "lr an array": (lambda t: SGD(np.array([0.1, 0.2])), TypeError, r"lr is .*; it must be a number"),
    "lr a NumPy complex": (lambda t: SGD(np.complex64(0.1)), TypeError, r"lr is .*; it must be a number"),
    "lr complex": (lambda t: SGD(1j), TypeError, r"lr is 1j; it must be a number"),
    "lr beyond float": (lambda t: SGD(10**400), (TypeError, ValueError), r"lr is"),
    "lr set to a bad value": (lambda t: setattr(t.sgd, "lr", -1), ValueError, r"lr is -1; it must be finite"),
    "momentum of one": (lambda t: SGD(0.1, momentum=1), ValueError, r"momentum is 1; .*at least 0 and below 1"),
    "negative momentum": (lambda t: SGD(0.1, momentum=-0.5), ValueError, r"momentum is -0\.5"),
    "nesterov of nothing": (lambda t: SGD(0.1, nesterov=True), ValueError, r"nesterov=True with momentum=0"),
    "nesterov a number": (lambda t: SGD(0.1, 0.9, nesterov=1), TypeError, r"nesterov is 1; it must be True or False"),
    "negative decay": (lambda t: SGD(0.1, weight_decay=-1e-4), ValueError, r"weight_decay is -0\.0001"),
    "beta_1 of one": (lambda t: Adam(beta_1=1.0), ValueError, r"beta_1 is 1\.0; .*below 1"),
    "beta_2 above one": (lambda t: Adam(beta_2=1.5), ValueError, r"beta_2 is 1\.5; .*below 1"),
    "epsilon of zero": (lambda t: Adam(epsilon=0.0), ValueError, r"epsilon is 0\.0; .*at least 1e-37"),
    # ---- dropin ----
    "dropin: rows": (lambda t: dropin.forward_propagation(t.X, t.parameters), ValueError,
                     r"X has shape \(12, 5\); it must be \(5, m\), one column per sample"),
    "dropin: no samples": (lambda t: dropin.forward_propagation(np.ones((5, 0)), t.parameters), ValueError,
                           r"X has shape \(5, 0\)"),
    "dropin: one sample flat": (lambda t: dropin.forward_propagation(np.ones(5), t.parameters), ValueError,
                                r"X has shape \(5,\); it must be \(5, m\)"),
    "dropin: NaN in X": (lambda t: dropin.forward_propagation(t.with_value(t.columns, (2, 7), np.nan), t.parameters),
                         ValueError, r"X\[2, 7\] is nan"),
    "dropin: X of objects": (
        lambda t: dropin.forward_propagation(t.with_value(t.columns, (0, 0), [1], object), t.parameters), TypeError,
        r"X has dtype object: X\[0, 0\] is itself a list"),
    "dropin: an unknown output": (lambda t: dropin.forward_propagation(t.columns, t.parameters, "relu"), ValueError,
                                  r"output is 'relu'; it must be one of"),
    "dropin: output none": (lambda t: dropin.forward_propagation(t.columns, t.parameters, None), TypeError,
                            r"output is None; it must be one of"),
    "dropin: an unknown hidden": (lambda t: dropin.forward_propagation(t.columns, t.parameters, "softmax", "elo"),
                                  ValueError, r"hidden is 'elo'; it must be one of"),
    "dropin: too many hidden": (lambda t: dropin.forward_propagation(t.columns, t.parameters, hidden=["relu"] * 2),
                                ValueError, r"hidden has 2 names; these sizes have 1 hidden layers"),
    "dropin: hidden none": (lambda t: dropin.forward_propagation(t.columns, t.parameters, hidden=None), TypeError,
                            r"hidden is None"),
    "dropin: hidden a number": (lambda t: dropin.backpropagation(t.cache, t.one_hot, t.parameters, hidden=3), TypeError,
                                r"hidden is 3"),
    "dropin: no parameters": (lambda t: dropin.forward_propagation(t.columns, None), TypeError,
                              r"parameters is a NoneType; it must be a dictionary"),
    "dropin: no W2": (lambda t: dropin.forward_propagation(t.columns, t.but(t.parameters, W2=None)), ValueError,
                      r"parameters has the keys"),
    "dropin: W2 that does not follow": (
        lambda t: dropin.forward_propagation(t.columns, t.but(t.parameters, W2=np.ones((3, 9)))), ValueError,
        r"W2 has 9 columns; layer 1 has 8 units"),
    "dropin: the cost of a list": (lambda t: dropin.compute_cost([1], t.one_hot), TypeError, r"cache is a list"),
    "dropin: the cost of nothing": (lambda t: dropin.compute_cost({}, t.one_hot), ValueError, r"cache has no 'Z"),
    "dropin: the cost without Z2": (lambda t: dropin.compute_cost(t.but(t.cache, Z2=None, A2=None, A0=None), t.one_hot),
                                    ValueError, r"it must be|cache has no"),
    "dropin: the cost of other targets": (lambda t: dropin.compute_cost(t.cache, t.one_hot.T), ValueError,
                                          r"Y has shape \(12, 3\); it must be \(3, 12\)"),
    "dropin: the cost of labels": (lambda t: dropin.compute_cost(t.cache, t.labels), ValueError, r"Y has shape"),
    "dropin: the cost of NaN": (lambda t: dropin.compute_cost(t.cache, t.one_hot * np.nan), ValueError,
                                r"Y\[0, 0\] is nan"),
    "dropin: the cost of another output": (lambda t: dropin.compute_cost(t.cache, t.one_hot, "tanh"), ValueError,
                                           r"output is 'tanh'; it must be one of"),
    "dropin: back with a list": (lambda t: dropin.backpropagation([1], t.one_hot, t.parameters), TypeError,
                                 r"cache is a list; it must be a dictionary"),
    "dropin: back without A1": (lambda t: dropin.backpropagation(t.but(t.cache, A1=None), t.one_hot, t.parameters),
                                ValueError, r"cache has no 'A1'"),
    "dropin: back with other targets": (lambda t: dropin.backpropagation(t.cache, t.one_hot[:2], t.parameters),
                                        ValueError, r"Y has shape \(2, 12\); it must be \(3, 12\)"),
    "dropin: back with a wrong A1": (
        lambda t: dropin.backpropagation(t.but(t.cache, A1=np.ones((7, 12))), t.one_hot, t.parameters), ValueError,
        r"A1 has shape \(7, 12\); it must be \(8, 12\)"),
    "dropin: back with a short A1": (
        lambda t: dropin.backpropagation(t.but(t.cache, A1=np.ones((8, 3))), t.one_hot, t.parameters), ValueError,
        r"A1 has shape \(8, 3\); it must be \(8, 12\)"),
    "dropin: back with NaN": (
        lambda t: dropin.backpropagation(t.but(t.cache, A1=t.with_value(t.cache["A1"], (1, 2), np.nan)), t.one_hot,
                                         t.parameters), ValueError, r"A1\[1, 2\] is nan"),
    "dropin: an update without dW1": (
        lambda t: dropin.update_parameters(t.parameters, t.but(t.grads, dW1=None), 0.1), ValueError,
        r"grads has no 'dW1'"),
    "dropin: an update of another shape": (
        lambda t: dropin.update_parameters(t.parameters, t.but(t.grads, db2=np.ones(3)), 0.1), ValueError,
        r"db2 has shape \(3,\); b2 has \(3, 1\)"),
    "dropin: an update by NaN": (
        lambda t: dropin.update_parameters(t.parameters, t.but(t.grads, db2=np.full((3, 1), np.nan)), 0.1), ValueError,
        r"db2\[0, 0\] is nan"),
    "dropin: a rate of NaN": (lambda t: dropin.update_parameters(t.parameters, t.grads, math.nan), ValueError,
                              r"learning_rate is nan; it must be finite"),
    "dropin: a rate as a string": (lambda t: dropin.update_parameters(t.parameters, t.grads, "0.1"), TypeError,
                                   r"learning_rate is '0\.1'; it must be a number"),
    "dropin: a list of gradients": (lambda t: dropin.update_parameters(t.parameters, [1], 0.1), TypeError,
                                    r"grads is a list; it must be a dictionary"),
}  # fmt: skip


@pytest.fixture(scope="module")
def bench():
    return Bench()


@pytest.mark.parametrize("name", CASES)
def test_bad_input(bench, name):
    call, error, message = CASES[name]
    before = bench.bits()
    with pytest.raises(error, match=message) as caught:
        call(bench)
    if isinstance(error, type):
        assert type(caught.value) is error
    assert bench.bits() == before, "something was changed"
    assert bench.sgd.steps == bench.adam.steps == 0


def test_after_errors_a_network_trains_as_if_they_had_not_been():
    """Generator, engines and moments are unchanged as well: a fit gives the same bits."""
    clean, bench, (X, Y) = network(NETWORKS["softmax"]), Bench(), data(NETWORKS["softmax"])
    for name in (
        "fit on NaN",
        "zero epochs",
        "a patience of zero",
        "a step to a bad label",
        "X too wide",
        "lr of zero",
    ):
        call, error, _ = CASES[name]
        with pytest.raises(error):
            call(bench)
    for net, optimizer in ((clean, Adam()), (bench.net, bench.adam)):
        net.fit(X, Y, epochs=3, batch_size=5, optimizer=optimizer)
    assert bits(bench.net.parameters) == bits(clean.parameters)


def test_a_refused_forward_keeps_the_cache_of_the_last_good_one():
    net, (X, Y) = network(NETWORKS["softmax"]), data(NETWORKS["softmax"])
    net.forward(X)
    J = net.backward(Y)
    with pytest.raises(ValueError, match="features"):
        net.forward(X[:, :2])
    assert net.backward(Y) == J
