"""Calls of every public function with hostile arguments, all memory between fences, for a process of its own.

    python tests/fuzzing.py EXAMPLES

An example calls one function with good arguments, of which one or more are exchanged for hostile ones. It may be
refused with a ValueError or TypeError (or what the function documents), and then nothing may have changed. Or it may
be accepted, and then the network and the result of the call must still compute and train. Anything else is an error.
"""

import contextlib
import faulthandler
import math
import os
import sys
import tempfile
import warnings
from pathlib import Path

import hypothesis
import numpy as np
from fences import Fences
from hypothesis import strategies as st
from optimizers import SCHEDULES, all_settings

import fastprop
from fastprop import (
    SGD,
    Activation,
    Adam,
    Checkpoint,
    CSVLog,
    EarlyStopping,
    Ensemble,
    Health,
    Loss,
    Network,
    Optimizer,
    convert,
    dropin,
    fit_many,
    schedules,
)  # fmt: skip
from fastprop.activations import ACTIVATIONS, leaky_relu
from fastprop.initializers import INITIALIZERS
from fastprop.losses import LOSSES, quantile
from fastprop.optimizers import OPTIMIZERS
from fastprop.sklearn import MLPClassifier, MLPRegressor

M = 12
FENCES = Fences(behind=True)


# ---- hostile values ----------------------------------------------------------------------------------------------


class UsersOwnError(Exception):
    """An error of the user's own object, which is passed on as it is."""


class Impostor:
    """Claims to be an array, and raises."""

    def __array__(self, *args, **kwargs):
        raise UsersOwnError("no array")


class Short:
    """A sequence that has fewer items than it says."""

    def __len__(self):
        return 12

    def __getitem__(self, i):
        if i > 2:
            raise IndexError(i)
        return 3


class Text(str):
    """A string of a class of its own."""


def unaligned(shape):
    raw = np.zeros(4 * math.prod(shape) + 1, np.uint8)
    return raw[1:].view(np.float32).reshape(shape)


def read_only(a):
    a.flags.writeable = False
    return a


DTYPES = ("?", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f2", "f4", "f8", "g", ">f4", ">f8", ">i8", "c8", "O",
          "U3", "S2", "M8[s]", "m8[s]", "V4")  # fmt: skip
SHAPES = ((), (0,), (1,), (M,), (5,), (0, 5), (M, 0), (1, 5), (M, 5), (M, 3), (M, 1), (5, M), (3, M), (M + 1, 5),
          (M, 5, 1), (1, 1), (8, 5), (3, 8), (2, 0, 5))  # fmt: skip
PLAIN = (
    None, True, False, 0, 1, -1, 2, 3, M, 2**31, 2**32, 2**53, 2**63, -(2**63), 10**30, 0.0, -0.0, 0.5, 1.0, 1.5, -1e-9,
    1e-300, 1e39, 1e308, math.nan, math.inf, -math.inf, 1j, "", "relu", "softmax", "mse", "\0", "é" * 1000, b"relu",
    Text("relu"), [], (), {}, set(), [[]], [None], [1, [2]], {"W1": 1}, object(), type, len, lambda *a: a, Ellipsis,
    NotImplemented, np.float32("nan"), np.float64(1e39), np.int64(-1), np.uint64(2**64 - 1), np.bool_(True),
    np.array(3), np.array(None), np.ma.masked_array(np.ones((M, 5)), np.eye(M, 5)), np.matrix(np.ones((M, 5))),
    Impostor(), Short(), range(3), iter(()), SGD, Adam, memoryview(b"abcd"), slice(3), ACTIVATIONS["tanh"],
    LOSSES["mae"],
)  # fmt: skip


@st.composite
def arrays(draw):
    shape, dtype = draw(st.sampled_from(SHAPES)), draw(st.sampled_from(DTYPES))
    kind = np.dtype(dtype).kind
    if kind in "fc" and draw(st.booleans()):
        value = draw(st.sampled_from([0.0, 1.0, -1.0, math.nan, math.inf, 1e-45, 6e4, 1e38]))
        a = np.full(shape, 0.5).astype(dtype)
        if a.size:
            with np.errstate(all="ignore"):
                a.flat[draw(st.integers(0, a.size - 1))] = value
    elif kind in "iub":
        info = (0, 1) if kind == "b" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
        a = np.full(shape, draw(st.sampled_from([0, 1, 2, *info])), dtype)
    else:
        a = np.zeros(shape, dtype)
    layout = draw(
        st.sampled_from(["C", "F", "T", "reversed", "strided", "broadcast", "read-only", "unaligned", "fenced"])
    )
    if layout == "F":
        return np.asfortranarray(a)
    if layout == "T":
        return a.T
    if layout == "reversed":
        return a[::-1] if a.ndim else a
    if layout == "strided":
        return np.repeat(a, 2, axis=-1)[..., ::2] if a.ndim else a
    if layout == "broadcast":
        return np.broadcast_to(a.ravel()[0], shape) if a.size else a
    if layout == "read-only":
        return read_only(a.copy())
    if layout == "unaligned":
        return unaligned(shape)
    return FENCES.copy(a) if kind in "fiub" else a


ANYTHING = st.one_of(st.sampled_from(PLAIN), arrays())
SMALL_NUMBERS = st.one_of(
    st.sampled_from([v for v in PLAIN if not isinstance(v, int) or abs(v) <= 3]),
    arrays().filter(lambda a: a.size > 1 or a.dtype.kind not in "iu" or np.all(np.abs(a.astype(float)) < 100)),
)


# ---- what is called ----------------------------------------------------------------------------------------------


class Bench:
    """Good networks and arguments, made anew for each example."""

    def __init__(self):
        rng = np.random.default_rng(0)
        self.X = FENCES.copy(rng.standard_normal((M, 5)).astype(np.float32))
        self.Y = FENCES.copy(rng.standard_normal((M, 3)).astype(np.float32))
        self.labels = FENCES.copy(rng.integers(3, size=M))
        self.weights = FENCES.copy(np.linspace(0.5, 1, M, dtype=np.float32))
        self.gaps = FENCES.copy(np.where(self.Y > 1, np.nan, self.Y))
        self.output_weights = FENCES.copy(np.linspace(0, 1, 3 * M, dtype=np.float32).reshape(M, 3))
        self.nets = {
            "identity": Network((5, 8, 3), rng=0),
            "softmax": Network((5, 8, 3), "tanh", "softmax", rng=0, dropout=0.2),
            "unchecked": Network((5, 8, 3), "sigmoid", "softmax", rng=0, check_finite=False),
            "missing": Network((5, 8, 3), output="sigmoid", loss="mse", rng=0, missing=True),
        }
        self.optimizers = {name: Adam() for name in self.nets}
        for name, net in self.nets.items():
            net.train_step(self.X, self.targets(name), self.optimizers[name])
            net.forward(self.X)
        self.parameters = dropin.initialise_parameters((5, 8, 3), 0)
        self.columns = np.ascontiguousarray(self.X.T)
        self.one_hot = np.eye(3, dtype=np.float32)[:, self.labels]
        self.cache = dropin.forward_propagation(self.columns, self.parameters)
        self.grads = dropin.backpropagation(self.cache, self.one_hot, self.parameters)

    def targets(self, name):
        return {"identity": self.Y, "missing": self.gaps}.get(name, self.labels)

    def state(self):
        """All that a refused call must leave as it was."""
        found = [a.tobytes() for a in (self.X, self.Y, self.gaps, self.labels, self.weights, self.output_weights)]
        for dictionary in (self.parameters, self.cache, self.grads):
            found += [(name, value.tobytes()) for name, value in dictionary.items()]
        for name, net in self.nets.items():
            optimizer = self.optimizers[name]
            found += [net.parameters.tobytes(), net.gradients.tobytes(), repr(net.generator.bit_generator.state)]
            found += [optimizer.steps, optimizer.moments.tobytes(), repr(optimizer), net.classes]
            found += [id(net.fit_state), net.optimizer is optimizer, optimizer.owner() is net]
            found += [layer.trainable for layer in net.layers]
            found += [a.tobytes() for layer in net.layers for a in (layer.Z, layer.A)]
        return [*found, fastprop.get_num_threads()]

    def go_on(self):
        """The networks compute, and train."""
        for name, net in self.nets.items():
            assert net.predict(self.X).shape == (M, 3)
            with contextlib.suppress(ValueError):  # gradients may be set to anything
                net.step(self.optimizers[name])
            net.train_step(self.X, self.targets(name), self.optimizers[name])
            net.fit(self.X, self.targets(name), epochs=1, batch_size=5)


def use(made):
    """Use the result of a call: a network, a function, an optimizer or a checkpoint."""
    if isinstance(made, Network):
        X, n = np.ones((3, made.sizes[0]), np.float32), made.sizes[-1]
        assert made.predict(X).shape == (3, n)
        made.train_step(X, np.zeros(3, int) if made.output == "softmax" else np.zeros((3, n)), SGD(0.1))
    elif isinstance(made, Activation | Loss):
        n = len(getattr(made, "levels", ()))
        use(Network((5, 8, n if n > 1 else 3), **{"loss" if isinstance(made, Loss) else "hidden": made}))
    elif isinstance(made, Optimizer):
        net = Network((5, 8, 3), rng=0)
        with contextlib.suppress(*(ALLOWED if made.scheduled else ())):  # a schedule may be any function
            for _ in range(2):
                net.train_step(np.ones((3, 5)), np.ones((3, 3)), made)
    elif isinstance(made, Ensemble):
        assert made.predict(np.ones((3, made.networks[0].sizes[0]), np.float32)).shape[0] == 3
    elif isinstance(made, EarlyStopping):
        Network((5, 8, 3)).fit(np.ones((3, 5)), np.ones((3, 3)), epochs=1, early_stopping=made)
    elif isinstance(made, Checkpoint | CSVLog):
        Network((5, 8, 3)).fit(np.ones((3, 5)), np.ones((3, 3)), epochs=1, callbacks=[made])


NETS = ("identity", "softmax", "unchecked", "missing")
METHODS = ("forward", "backward", "loss", "predict", "train_step", "partial_fit", "fit", "gradient_check", "jacobian",
           "step", "score", "predict_classes")  # fmt: skip
COSTLY = {
    "epochs",
    "most",
    "early_stopping",
    "patience",
    "max_iter",
    "max_fun",
}  # a valid 2⁵³ of these would take for ever
TOO_LARGE = {"sizes", "n", "n_prev", "hidden_layer_sizes"}  # and of these would be granted gigabytes


def arguments_of(bench, method, name):
    """Good ones, by name."""
    X, Y, optimizer = bench.X, bench.targets(name), bench.optimizers[name]
    weights = bench.output_weights if name == "missing" else bench.weights
    both = {"X": X, "Y": Y, "sample_weight": weights}
    return {
        "forward": {"X": X},
        "predict": {"X": X},
        "backward": {"Y": Y, "sample_weight": weights},
        "loss": both,
        "train_step": {**both, "optimizer": optimizer},
        "partial_fit": {**both, "optimizer": optimizer},
        "fit": {**both, "epochs": 2, "batch_size": 5, "optimizer": optimizer, "shuffle": True, "class_weight": None,
                "validation": (X, Y), "early_stopping": None, "metrics": None, "callbacks": (), "progress": False,
                "rng": 0, "resume": False, "accumulate": 2, "comm": None},
        "gradient_check": {"X": X, "Y": Y, "epsilon": 1e-6, "most": 3},
        "jacobian": {"X": X},
        "score": both,
        "predict_classes": {"X": X},
        "step": {"optimizer": optimizer},
    }[method]  # fmt: skip


def set_layer(net, index, name, value):
    setattr(net.layers[index], name, value)


def ask(kind, X, y, X_new, sample_weight, **settings):
    """An estimator is trained and asked."""
    estimator = kind(**settings)
    estimator.fit(X, y, sample_weight=sample_weight)
    return estimator.predict(X_new)


ESTIMATOR = {"hidden_layer_sizes": (4,), "activation": "relu", "solver": "adam", "alpha": 1e-4, "batch_size": 5,
             "learning_rate": "constant", "learning_rate_init": 0.01, "power_t": 0.5, "max_iter": 2, "shuffle": True,
             "random_state": 0, "tol": 1e-4, "momentum": 0.9, "early_stopping": False, "validation_fraction": 0.3,
             "beta_1": 0.9, "epsilon": 1e-8, "n_iter_no_change": 2, "max_fun": 5}  # fmt: skip


def calls(bench, folder):
    """By name: what is called, its good arguments, and what it may raise besides ValueError and TypeError."""
    (folder / "good").unlink(missing_ok=True)
    net = bench.nets["identity"]
    found = {
        f"{name}.{method}": (getattr(bench.nets[name], method), arguments_of(bench, method, name), ())
        for name in NETS
        for method in METHODS
    }
    for name in NETS:
        found[f"{name}.backward(dA)"] = (lambda dA, one=bench.nets[name]: one.backward(dA=dA)), {"dA": bench.Y}, ()
    found |= {
        "Network": (Network, {"sizes": (5, 8, 3), "hidden": "relu", "output": "identity", "loss": None, "init": None,
                              "l2": 0.0, "dropout": 0.0, "scale": 1.0, "check_finite": True, "missing": False,
                              "rng": 0}, ()),
        "from_dict": (Network.from_dict, {"parameters": net.to_dict(), "hidden": "relu", "output": "identity",
                                          "loss": None, "rng": 0}, ()),
        "fit_many": (fit_many, {
            "networks": [net, bench.nets["unchecked"]], "X": bench.X, "Y": [bench.Y, bench.labels], "epochs": 2,
            "batch_size": 5, "optimizer": SGD(0.01), "shuffle": True, "sample_weight": bench.weights,
            "class_weight": None, "validation": None, "early_stopping": None, "metrics": None, "callbacks": (),
            "progress": False, "rng": 0, "resume": False, "bootstrap": True}, ()),
        "Ensemble": (Ensemble, {"networks": [net, Network((5, 3), rng=0)]}, ()),
        "save": (net.save, {"path": folder / "good"}, (OSError,)),
        "load": (Network.load, {"path": folder / "good", "functions": ()}, (OSError,)),
        "Checkpoint": (Checkpoint, {"path": folder / "good", "every": 1}, (OSError,)),
        "CSVLog": (CSVLog, {"path": folder / "log.csv"}, (OSError,)),
        "EarlyStopping": (EarlyStopping, {"patience": 1, "min_delta": 0.0, "monitor": "loss", "mode": "min"}, ()),
        "classes": (lambda values: setattr(net, "classes", values), {"values": ["a", "b", "c"]}, ()),
        "gradients": (lambda values: setattr(net, "gradients", values), {"values": net.gradients}, ()),
        "parameters": (lambda values: setattr(net, "parameters", values), {"values": net.parameters}, ()),
        "layer": (set_layer, {"net": net, "index": 0, "name": "W", "value": net.layers[0].W},
                  (IndexError, AttributeError)),
        "trainable": (set_layer, {"net": net, "index": 0, "name": "trainable", "value": True},
                      (IndexError, AttributeError)),
        "diagnose": (fastprop.diagnose, {"net": net, "X": bench.X, "Y": bench.Y,
                                         "optimizer": bench.optimizers["identity"]}, ()),
        "Health": (lambda X, Y, every: net.fit(bench.X, bench.Y, epochs=1, callbacks=[Health(X, Y, every)]),
                   {"X": bench.X, "Y": bench.Y, "every": None}, ()),
        "Activation": (Activation, {"name": "mine", "f": lambda z: 2 * z, "df": lambda z: 2.0}, (UsersOwnError,)),
        "Loss": (Loss, {"name": "mine", "f": lambda y_hat, y: y_hat - y, "df": lambda y_hat, y: 1.0}, ()),
        "leaky_relu": (leaky_relu, {"slope": 0.2}, ()),
        "quantile": (quantile, {"quantiles": [0.1, 0.5]}, ()),
        "from_sklearn": (convert.from_sklearn, {"mlp": fastprop.sklearn.MLPClassifier()}, ()),
        "set_num_threads": (fastprop.set_num_threads, {"n": 1}, ()),
        "initialise_parameters": (dropin.initialise_parameters, {"sizes": (5, 8, 3), "rng": 0}, ()),
        "forward_propagation": (dropin.forward_propagation, {"X": bench.columns, "parameters": bench.parameters,
                                                             "output": "softmax", "hidden": "relu"}, ()),
        "compute_cost": (dropin.compute_cost, {"cache": bench.cache, "Y": bench.one_hot, "output": "softmax"}, ()),
        "backpropagation": (dropin.backpropagation, {"cache": bench.cache, "Y": bench.one_hot,
                                                     "parameters": bench.parameters, "hidden": "relu"}, ()),
        "general_backpropagation": (dropin.general_backpropagation, {
            "cache": bench.cache, "dA": bench.one_hot, "parameters": bench.parameters, "output": "softmax",
            "hidden": "relu"}, ()),
        "update_parameters": (dropin.update_parameters, {"parameters": bench.parameters, "grads": bench.grads,
                                                         "learning_rate": 0.1}, ()),
        "to_onnx": (convert.to_onnx, {"net": net, "path": folder / "net.onnx"}, (OSError,)),
        "MLPClassifier": (ask, {"kind": MLPClassifier, "X": bench.X, "y": bench.labels, "X_new": bench.X,
                                     "sample_weight": None, **ESTIMATOR}, ()),
        "MLPRegressor": (ask, {"kind": MLPRegressor, "X": bench.X, "y": bench.Y, "X_new": bench.X,
                                    "sample_weight": bench.weights, **ESTIMATOR}, ()),
    }  # fmt: skip
    for name, parameters in (("forward_propagation", "parameters"), ("backpropagation", "cache"),
                             ("general_backpropagation", "cache"),
                             ("compute_cost", "cache"), ("update_parameters", "grads")):  # fmt: skip
        function, good, may_raise = found[name]
        for key in good[parameters]:  # one entry of a dictionary exchanged

            def call(value, function=function, good=good, parameters=parameters, key=key):
                return function(**{**good, parameters: {**good[parameters], key: value}})

            found[f"{name}[{key}]"] = call, {"value": good[parameters][key]}, may_raise
    for name, kind in OPTIMIZERS.items():
        found[name] = kind, {**all_settings(kind), "clip_norm": None}, ()
    for name, good in SCHEDULES.items():

        def scheduled(name=name, **settings):
            optimizer = SGD(getattr(schedules, name)(**settings))
            net = Network((5, 8, 3), rng=0)
            for _ in range(3):
                net.train_step(bench.X, bench.Y, optimizer)

        found[f"schedules.{name}"] = scheduled, good, (ZeroDivisionError, OverflowError)
    for name, initialize in INITIALIZERS.items():
        found[f"initializers.{name}"] = (
            initialize,
            {"n": 3, "n_prev": 5, "rng": np.random.default_rng(0)},
            (AttributeError, IndexError, OverflowError, ZeroDivisionError, MemoryError),
        )
    return found


# What takes nothing (History and Layer are made by others), and what is for modules of PyTorch.
NOT_CALLED = {"History", "Layer", "Optimizer", "get_num_threads", "show_versions", "as_torch_module", "from_torch",
              "to_torch"}  # fmt: skip
ALLOWED = (ValueError, TypeError, UsersOwnError)


def example(data, folder):
    """One call, and what follows."""
    fastprop.set_num_threads(2)
    FENCES.forget()
    bench = Bench()
    table = calls(bench, folder)
    name = data.draw(st.sampled_from(sorted(table)), "function")
    function, good, may_raise = table[name]
    if name == "load":
        bench.nets["identity"].save(folder / "good")
    changed = data.draw(st.lists(st.sampled_from(sorted(good)), min_size=1, max_size=3, unique=True), "arguments")
    hostile = {
        key: data.draw(SMALL_NUMBERS if key in COSTLY | TOO_LARGE else ANYTHING, key)
        for key in changed
    }  # fmt: skip
    before = bench.state()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            made = function(**{**good, **hostile})
    except (*ALLOWED, *may_raise) as error:
        outcome, said = "refused", str(error)
    else:
        outcome, said = "accepted", ""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            use(made)
    if outcome == "refused":
        assert said, "an error without a word"
        assert bench.state() == before, f"{name} was refused, and something changed: {said}"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        bench.go_on()
    FENCES.check()
    return outcome


def main(examples, seed=0):
    """Run the examples, and print how many were refused and how many accepted."""
    faulthandler.enable()
    called = {name.split(".")[-1] for name in calls(Bench(), Path(tempfile.gettempdir()))}
    public = {*fastprop.__all__, *dropin.__all__, *convert.__all__, *fastprop.sklearn.__all__}
    assert public - called == NOT_CALLED, "a public name that is not called"
    FENCES.stand_in("fastprop")
    counts = {"refused": 0, "accepted": 0}
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)

        @hypothesis.seed(seed)
        @hypothesis.settings(
            max_examples=examples,
            deadline=None,
            database=None,
            derandomize=False,
            suppress_health_check=list(hypothesis.HealthCheck),
            phases=[hypothesis.Phase.generate],
        )
        @hypothesis.given(st.data())
        def run(data):
            counts[example(data, Path(folder))] += 1

        run()
        os.chdir("/")
    print(counts["refused"], counts["accepted"])


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
