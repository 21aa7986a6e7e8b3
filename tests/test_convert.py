"""Conversion to PyTorch, ONNX and NumPy: they compute what `predict` does, and errors name what is not converted."""

import copy
import json
import math
import pickle
import re
import sys
import warnings
from collections import OrderedDict

import numpy as np
import pytest
from networks import SMALL, assert_close, bits, data, names, network

from fastprop import SGD, Activation, Adam, Loss, Network, convert
from fastprop.activations import ACTIVATIONS, HIDDEN, leaky_relu
from fastprop.convert import as_torch_module, from_sklearn, from_torch, to_onnx, to_torch

CUBE = Activation("cube", lambda z: z * z * z, lambda z: 3 * z * z)
TOLERANCE = 5e-6  # of the largest output: float32's rounding in two orders of summation
TOLERANCES = {"float32": TOLERANCE, "float64": 1e-13}
SPREADS = {1: TOLERANCE, 30: 2e-5}  # of X; where most units saturate, the outputs are those of Z of some hundreds
WIDTHS = (1, 3, 17, 33, 100)
each_case = pytest.mark.parametrize("case", SMALL, ids=names(SMALL))
each_dtype = pytest.mark.parametrize("dtype", TOLERANCES)
each_hidden = pytest.mark.parametrize("hidden", HIDDEN)
each_output = pytest.mark.parametrize("output", ACTIVATIONS)
each_depth = pytest.mark.parametrize("sizes", [WIDTHS[-1 - l :] for l in range(1, 5)] + [(*WIDTHS, *WIDTHS[::-1])])


@pytest.fixture
def torch():
    return pytest.importorskip("torch", reason="needs PyTorch (extra torch)")


@pytest.fixture
def nn(torch):
    return torch.nn


@pytest.fixture
def onnx():
    return pytest.importorskip("onnx", reason="needs onnx (extra onnx)")


@pytest.fixture
def run_onnx(onnx, tmp_path):
    """What onnxruntime computes of some rows with a network's file, after onnx's checker has found it well."""
    onnxruntime = pytest.importorskip("onnxruntime", reason="needs onnxruntime, which runs the files")

    def run(net, X):
        to_onnx(net, tmp_path / "net.onnx")
        onnx.checker.check_model(onnx.load(tmp_path / "net.onnx"), full_check=True)
        session = onnxruntime.InferenceSession(tmp_path / "net.onnx", providers=["CPUExecutionProvider"])
        (Y_hat,) = session.run(["Y_hat"], {"X": X})
        assert Y_hat.dtype == net.dtype
        return Y_hat

    return run


def outputs(module, X):
    """What a module computes of some rows."""
    import torch

    with torch.no_grad():
        return module(torch.from_numpy(X)).numpy()


def of(sizes, hidden="relu", output="identity", **settings):
    """A network whose biases matter."""
    net = Network(sizes, hidden, output, rng=1, **settings)
    for l, layer in enumerate(net.layers):
        layer.b[:] = np.random.default_rng(l).normal(0, 0.3, layer.n)
    return net


def rows(net, m=40, spread=1.0):
    return np.random.default_rng(2).normal(0, spread, (m, net.sizes[0])).astype(net.dtype)


def kinds(module):
    return [type(layer).__name__ for layer in module]


# ---- to PyTorch ------------------------------------------------------------------------------------------------------


@each_case
def test_a_module_has_the_outputs_of_its_network(case, torch):
    net, X = network(case), data(case)[0]
    assert_close(outputs(to_torch(net), X), net.predict(X), TOLERANCE)


@each_hidden
@each_output
def test_a_module_has_them_with_every_activation_and_output(hidden, output, torch):
    net = of((7, 18, 33, 4), hidden, output)
    for spread, tolerance in SPREADS.items():
        X = rows(net, spread=spread)
        assert_close(outputs(to_torch(net), X), net.predict(X), tolerance)


@pytest.mark.parametrize("activation", [name for name in ACTIVATIONS if name != "identity"])
def test_a_module_of_float64_has_them_too(activation, torch):
    """With every activation in all layers, and from bytes; converted to float32 it still scales as its weights are."""
    hidden = activation if activation in HIDDEN else "relu"
    net = of((7, 18, 4), hidden, activation, scale=1 / 255, dtype="float64")
    module = to_torch(net)
    X = np.random.default_rng(0).integers(0, 256, (50, 7), dtype=np.uint8)
    for given in (X, X.astype(np.float64)):
        assert outputs(module, given).dtype == np.float64
        assert_close(outputs(module, given), net.predict(X), 1e-13)
    assert {parameter.dtype for parameter in module.parameters()} == {torch.float64}
    assert_close(outputs(copy.deepcopy(module).float(), X), net.predict(X), TOLERANCE)
    assert same(net, from_torch(module), X)


@each_depth
@pytest.mark.parametrize("output", ["identity", "sigmoid"])
def test_a_module_has_them_at_every_depth_and_width(sizes, output, torch):
    net = of(sizes, "tanh", output)
    for m in (1, 47):
        X = rows(net, m)
        assert_close(outputs(to_torch(net), X), net.predict(X), TOLERANCE)


def test_a_module_is_made_of_what_pytorch_has(nn):
    """An identity has no module, a scale has one, and Dropout follows hidden layers only."""
    layers = kinds(to_torch(of((3, 5, 4, 6, 2), ("gelu_tanh", "identity", "selu"), "softmax")))
    assert layers == ["Linear", "GELU", "Linear", "Linear", "SELU", "Linear", "Softmax"]
    layers = kinds(to_torch(of((3, 5, 4, 2), ("relu", "identity"), dropout=0.3, scale=2)))
    assert layers == ["Scale", "Linear", "ReLU", "Dropout", "Linear", "Dropout", "Linear"]
    assert kinds(to_torch(of((3, 2), dropout=0.3))) == ["Linear"]


def test_a_module_is_ready_to_predict_and_its_dropout_to_train(torch):
    """It is in eval mode; in training mode 1 − p of the hidden units are kept, divided by 1 − p."""
    net = of((3, 1000, 1000), "sigmoid", dropout=0.4)
    X = rows(net, 20)
    module = to_torch(net)
    assert not any(layer.training for layer in module.modules())
    whole = outputs(module[:3], X)
    module.train()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        dropped = outputs(module[:3], X)
    kept = dropped != 0
    assert kept.mean() == pytest.approx(0.6, abs=0.02)
    np.testing.assert_allclose(dropped[kept], whole[kept] / np.float32(0.6), rtol=1e-6)


def test_a_module_has_its_own_memory_and_draws_no_random_numbers(torch):
    net = of((4, 5, 2))
    before, state = bits(net.parameters), torch.get_rng_state()
    module = to_torch(net)
    assert torch.equal(torch.get_rng_state(), state)
    with torch.no_grad():
        for parameter in module.parameters():
            assert parameter.requires_grad
            assert parameter.dtype == torch.float32
            parameter += 1
    assert bits(net.parameters) == before
    X = rows(net)
    Y_hat = outputs(module, X)
    net.parameters[:] = 0
    assert bits(outputs(module, X)) == bits(Y_hat)


def test_default_dtype_and_device_of_pytorch_do_not_show(torch):
    net = of((4, 5, 2), scale=0.5)
    X = rows(net)
    torch.set_default_dtype(torch.float64)
    try:
        with torch.device("meta"):
            module = to_torch(net)
        assert_close(outputs(module, X), net.predict(X), TOLERANCE)
    finally:
        torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("output", ["identity", "sigmoid", "softmax"])
def test_training_a_module_on_walks_the_path_of_its_network(output, torch):
    """Ten steps of SGD with the paired loss: the same parameters as of `train_step`."""
    net = of((5, 17, 4), "tanh", output, scale=0.25)
    module = to_torch(net)
    X = rows(net, 32, spread=4)
    Y = np.random.default_rng(3).integers(0, 2, (32, 4)).astype(np.float32)
    Y = Y.argmax(axis=1) if output == "softmax" else Y
    losses = {
        "identity": lambda Z, Y: ((Z - Y) ** 2).sum() / 2 / len(Z),
        "sigmoid": lambda Z, Y: torch.nn.functional.binary_cross_entropy_with_logits(Z, Y, reduction="sum") / len(Z),
        "softmax": torch.nn.functional.cross_entropy,
    }
    logits = module if output == "identity" else module[:-1]
    descent, optimizer = torch.optim.SGD(module.parameters(), lr=0.1), SGD(lr=0.1)
    for _ in range(10):
        descent.zero_grad()
        losses[output](logits(torch.from_numpy(X)), torch.from_numpy(Y)).backward()
        descent.step()
        net.train_step(X, Y, optimizer)
    trained = from_torch(module)
    assert trained.scale == net.scale
    assert_close(trained.parameters, net.parameters, 1e-5)


def test_bytes_are_scaled_as_the_network_scales_them(torch):
    net = of((9, 8, 3), output="softmax", scale=1 / 255)
    X = np.random.default_rng(0).integers(0, 256, (50, 9), dtype=np.uint8)
    module = to_torch(net)
    for given in (X, X.astype(np.float32)):
        assert_close(outputs(module, given), net.predict(X), TOLERANCE)
    assert repr(module[0]) == "Scale(0.00392157)"


def test_a_module_is_copied_saved_and_loaded(torch, tmp_path):
    net = of((9, 8, 3), scale=1 / 255, dropout=0.1)
    module, X = to_torch(net), rows(net, spread=100)
    torch.save(module, tmp_path / "module.pt")
    torch.save(module.state_dict(), tmp_path / "state.pt")
    other = to_torch(Network(net.sizes, rng=2, scale=1 / 255, dropout=0.1))
    other.load_state_dict(torch.load(tmp_path / "state.pt"))
    for again in (copy.deepcopy(module), torch.load(tmp_path / "module.pt", weights_only=False), other):
        assert bits(outputs(again, X)) == bits(outputs(module, X))
        assert bits(from_torch(again).predict(X)) == bits(net.predict(X))
        assert not again[0].training


# ---- from PyTorch ----------------------------------------------------------------------------------------------------


def same(net, again, X):
    """Whether a network has the settings of another, and its predictions to the bit."""
    for name in ("sizes", "hidden", "output", "loss_name", "dropout", "scale", "dtype"):
        assert getattr(again, name) == getattr(net, name)
    return bits(again.parameters, again.predict(X)) == bits(net.parameters, net.predict(X))


@each_case
def test_there_and_back_a_network_is_the_same(case, torch):
    net = network(case, dropout=0.2 if len(case.sizes) > 2 else 0, scale=0.3)
    assert same(net, from_torch(to_torch(net)), data(case)[0])


@each_hidden
@each_output
def test_there_and_back_every_activation_is_the_same(hidden, output, torch):
    net = of((7, 18, 33, 4), hidden, output)
    assert same(net, from_torch(to_torch(net)), rows(net))


@each_depth
def test_there_and_back_every_depth_and_width_is_the_same(sizes, torch):
    net = of(sizes, "tanh")
    assert same(net, from_torch(to_torch(net)), rows(net))


@pytest.mark.parametrize("activation", [name for name in HIDDEN if name != "identity"])
@pytest.mark.parametrize("depth", [0, 1, 3])
def test_a_module_that_pytorch_trained_predicts_the_same(activation, depth, torch):
    """Made and trained with PyTorch alone, with each of its activations; within 1e-6 of outputs of size 1."""
    kind, settings = ACTIVATIONS[activation].torch
    make = getattr(torch.nn, kind)
    layers, n = [], 6
    with torch.random.fork_rng():
        torch.manual_seed(4)
        for _ in range(depth):
            layers += [torch.nn.Linear(n, 17), make(**{name: values[0] for name, values in settings.items()})]
            n = 17
        module = torch.nn.Sequential(*layers, torch.nn.Linear(n, 3))
        X = torch.randn(200, 6)
        Y = torch.randint(3, (200,))
        optimizer = torch.optim.Adam(module.parameters(), lr=0.01)
        for _ in range(30):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(module(X), Y).backward()
            optimizer.step()
    net = from_torch(torch.nn.Sequential(module, torch.nn.Softmax(dim=1)))
    assert (net.output, net.loss_name) == ("softmax", "cross_entropy")
    expected = outputs(torch.nn.Sequential(module, torch.nn.Softmax(dim=1)), X.numpy())
    np.testing.assert_allclose(net.predict(X.numpy()), expected, rtol=0, atol=1e-6)


def test_a_network_from_a_module_has_its_own_memory_and_trains_on(torch):
    module = to_torch(of((6, 17, 3), output="softmax"))
    net, before = from_torch(module), [parameter.clone() for parameter in module.parameters()]
    X, Y = rows(net, 100), np.random.default_rng(0).integers(0, 3, 100)
    J = net.loss(X, Y)
    net.fit(X, Y, epochs=20, optimizer=Adam(0.01), progress=False)
    assert net.loss(X, Y) < J
    assert all(torch.equal(a, b) for a, b in zip(before, module.parameters(), strict=True))


def norm(nn, n, **settings):
    """A BatchNorm1d that has seen data and been trained."""
    rng, layer = np.random.default_rng(n), nn.BatchNorm1d(n, **settings)
    values = {"weight": rng.normal(1, 0.5, n), "bias": rng.normal(0, 0.5, n), "running_mean": rng.normal(0, 1, n),
              "running_var": rng.uniform(0.3, 3, n)}  # fmt: skip
    for name, value in values.items():
        if getattr(layer, name) is not None:
            getattr(layer, name).detach()[:] = nn.Parameter(getattr(layer, name).new_tensor(value))
    return layer


# What is no plain row of Linear layers and activations, and the modules that compute the same in eval mode.
FORMS = {
    "a single Linear": lambda nn: [nn.Linear(6, 3)],
    "inplace activations": lambda nn: [nn.Linear(6, 5), nn.ReLU(inplace=True), nn.Linear(5, 3), nn.SiLU(inplace=True)],
    "whole numbers as settings": lambda nn: [nn.Linear(6, 5), nn.ELU(1), nn.Linear(5, 3), nn.Softplus(1, 20)],
    "softmax over the last": lambda nn: [nn.Linear(6, 3), nn.Softmax(-1)],
    "Linear upon Linear": lambda nn: [nn.Linear(6, 5), nn.Linear(5, 4), nn.Linear(4, 3), nn.Tanh()],
    "Identity": lambda nn: [nn.Identity(), nn.Linear(6, 5), nn.Identity(), nn.Tanh(), nn.Linear(5, 3), nn.Identity()],
    "Flatten": lambda nn: [nn.Flatten(), nn.Linear(6, 5), nn.Flatten(), nn.Tanh(), nn.Linear(5, 3)],
    "Dropout": lambda nn: [nn.Linear(6, 5), nn.Tanh(), nn.Dropout(0.5), nn.Linear(5, 4), nn.Dropout(), nn.Linear(4, 3)],
    "Dropout of nothing": lambda nn: [nn.Dropout(0), nn.Linear(6, 5), nn.Dropout(0.0), nn.ReLU(), nn.Linear(5, 3)],
    "no bias": lambda nn: [nn.Linear(6, 5, bias=False), nn.Tanh(), nn.Linear(5, 3)],
    "Sequentials inside": lambda nn: [
        nn.Sequential(nn.Linear(6, 5), nn.Tanh()), nn.Sequential(), nn.Sequential(nn.Sequential(nn.Linear(5, 3)))
    ],
    "normalised": lambda nn: [nn.Linear(6, 5), norm(nn, 5), nn.Tanh(), nn.Linear(5, 3), norm(nn, 3)],
    "normalised without bias": lambda nn: [nn.Linear(6, 5, bias=False), norm(nn, 5, affine=False), nn.Linear(5, 3)],
    "normalised inputs": lambda nn: [nn.Flatten(), norm(nn, 6), nn.Linear(6, 5), nn.Sigmoid(), nn.Linear(5, 3)],
    "normalised activations": lambda nn: [
        nn.Linear(6, 5), nn.Tanh(), norm(nn, 5), nn.Linear(5, 4), nn.ReLU(), nn.Dropout(0), norm(nn, 4), nn.Linear(4, 3)
    ],
    "normalised twice": lambda nn: [
        norm(nn, 6), norm(nn, 6), nn.Linear(6, 5), norm(nn, 5), norm(nn, 5), nn.Tanh(), norm(nn, 5), norm(nn, 5),
        nn.Linear(5, 3), norm(nn, 3), nn.Softmax(1),
    ],
    "names": lambda nn: [
        nn.Sequential(OrderedDict(first=nn.Linear(6, 5), g=nn.GELU())),
        type("Head", (nn.Sequential,), {})(nn.Linear(5, 3)),
    ],
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_other_forms_of_modules_are_taken(form, nn):
    module = nn.Sequential(*FORMS[form](nn)).eval()
    net = from_torch(module)
    assert_close(net.predict(rows(net)), outputs(module, rows(net)), TOLERANCE)
    assert net.dropout == (0.5 if form == "Dropout" else 0)


@pytest.mark.parametrize("module_dtype", ["float64", "float32", "bfloat16"])
def test_a_normalisation_is_folded_to_the_last_digits(module_dtype, torch):
    """In the dtype of the module, and with the statistics of a training; in float64 to 1e-13."""
    nn = torch.nn
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = nn.Sequential(nn.BatchNorm1d(6), nn.Linear(6, 9), nn.BatchNorm1d(9), nn.Tanh(), nn.BatchNorm1d(9),
                               nn.Linear(9, 3))  # fmt: skip
        for _ in range(5):
            module(3 * torch.randn(50, 6) + 2)
    module = module.eval().to(getattr(torch, module_dtype))
    net = from_torch(module)
    assert net.dtype == ("float64" if module_dtype == "float64" else "float32")
    X = 3 * rows(net) + 2
    assert_close(net.predict(X), outputs(module.double(), X.astype(np.float64)), TOLERANCES[net.dtype.name])


@pytest.mark.parametrize(("name", "value"), [("running_var", -1.0), ("running_mean", math.nan), ("weight", math.inf)])
def test_a_normalisation_whose_numbers_are_none_is_told(name, value, nn):
    module = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2)).eval()
    getattr(module[1], name).detach()[1] = value
    with pytest.raises(ValueError, match=r"module\[1\]"):
        from_torch(module)


def test_logarithms_of_a_softmax_are_those_of_the_predictions(nn):
    module = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3), nn.LogSoftmax(-1))
    net = from_torch(module)
    assert (net.output, net.loss_name) == ("softmax", "cross_entropy")
    assert_close(np.log(net.predict(rows(net))), outputs(module, rows(net)), TOLERANCE)


SLOPES = (0.2, 0.0, 1.5, -0.5, 1, 1e-30)


@each_dtype
@pytest.mark.parametrize("slope", SLOPES)
def test_a_leaky_relu_has_any_slope(slope, dtype, torch):
    """There and back, with the slope in the name."""
    nn = torch.nn
    module = nn.Sequential(nn.Linear(6, 5), nn.LeakyReLU(slope), nn.Linear(5, 3), nn.LeakyReLU(slope))
    net = from_torch(module.to(getattr(torch, dtype)))
    assert net.hidden == (f"leaky_relu({float(slope)!r})",)
    assert_close(net.predict(rows(net)), outputs(module, rows(net)), TOLERANCES[dtype])
    assert same(net, from_torch(to_torch(net)), rows(net))


def test_flattened_images_are_the_rows_of_the_network(nn):
    module = nn.Sequential(nn.Flatten(), nn.Linear(2 * 3 * 4, 5), nn.ReLU())
    X = np.random.default_rng(0).standard_normal((7, 2, 3, 4)).astype(np.float32)
    assert_close(from_torch(module).predict(X.reshape(len(X), -1)), outputs(module, X), TOLERANCE)


def test_a_softmax_that_does_not_say_over_what_is_one_over_the_features(nn):
    module = nn.Sequential(nn.Linear(6, 3), nn.Softmax())
    net = from_torch(module)
    with pytest.warns(UserWarning, match="Implicit dimension"):
        expected = outputs(module, rows(net))
    assert_close(net.predict(rows(net)), expected, TOLERANCE)


@pytest.mark.parametrize("dtypes", [
    ("float64", "float64"), ("float32", "float64"), ("float64", "float16"), ("float32", "float16"),
    ("float16", "float16"), ("bfloat16", "bfloat16"),
])  # fmt: skip
def test_weights_of_other_floats_are_taken(dtypes, torch):
    """In float64 if there are any of them."""
    module = torch.nn.Sequential(torch.nn.Linear(6, 5), torch.nn.Tanh(), torch.nn.Linear(5, 3, bias=False))
    for layer, dtype in zip((module[0], module[2]), dtypes):
        layer.to(getattr(torch, dtype))
    net = from_torch(module)
    assert net.dtype == ("float64" if "float64" in dtypes else "float32")
    expected = outputs(module.double(), rows(net).astype(np.float64))
    assert_close(net.predict(rows(net)), expected, TOLERANCES[net.dtype.name])


def test_no_bias_is_one_of_zero(nn):
    assert not from_torch(nn.Sequential(nn.Linear(6, 5, bias=False))).layers[0].b.any()


# Layers of modules that are not taken, and what the error says: first the layer, by its index and class.
MISPLACED = ", stands where a network has none"
BAD = {
    "convolution": (lambda nn: [nn.Conv2d(1, 8, 3), nn.Flatten(), nn.Linear(8, 2)], ["module[0], Conv2d(1, 8, kernel"]),
    "normalisation": (lambda nn: [nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2)], ["module[1], BatchNorm1d(4, "]),
    "the first of two": (lambda nn: [nn.Linear(3, 4), nn.PReLU(), nn.LayerNorm(4)], ["module[1], PReLU(", "none that"]),
    "deep inside": (
        lambda nn: [nn.Linear(3, 4), nn.Sequential(nn.ReLU(), nn.Sequential(nn.Hardtanh()))],
        ["module[1][1][0], Hardtanh("],
    ),
    "a slope that is no number": (
        lambda nn: [nn.Linear(3, 4), nn.LeakyReLU(math.nan)],
        ["slope is nan; it must be finite"],
    ),
    "another alpha": (lambda nn: [nn.Linear(3, 4), nn.ELU(0.5)], ["module[1], ELU(alpha=0.5)", "ELU(alpha=1.0)"]),
    "another beta": (lambda nn: [nn.Linear(3, 4), nn.Softplus(2)], ["module[1], Softplus(beta=2", "Softplus(beta=1.0"]),
    "softmax over the rows": (lambda nn: [nn.Linear(3, 4), nn.Softmax(0)], ["module[1], Softmax(dim=0)", "(dim=1)"]),
    "log of softmax over the rows": (
        lambda nn: [nn.Linear(3, 4), nn.LogSoftmax(0)],
        ["module[1], LogSoftmax(dim=0)", "LogSoftmax(dim=1)"],
    ),
    "log of softmax inside": (
        lambda nn: [nn.Linear(3, 4), nn.LogSoftmax(1), nn.Linear(4, 2)],
        ["module[1], LogSoftmax(dim=1)" + MISPLACED],
    ),
    "normalised by each batch": (
        lambda nn: [nn.Linear(3, 4), nn.BatchNorm1d(4, track_running_stats=False).eval()],
        ["module[1], BatchNorm1d(4, ", "mean and variance of each batch", "module.eval()"],
    ),
    "normalised widths": (
        lambda nn: [nn.Linear(3, 4), nn.BatchNorm1d(5).eval()],
        ["module[1], BatchNorm1d(5, ", "takes 5 features; the Linear before gives 4."],
    ),
    "widths behind a normalisation": (
        lambda nn: [nn.BatchNorm1d(5).eval(), nn.Linear(3, 4)],
        ["module[1], Linear(in_features=3, ", "takes 3 features; the BatchNorm1d before gives 5."],
    ),
    "normalised outputs": (
        lambda nn: [nn.Linear(3, 4), nn.Tanh(), nn.BatchNorm1d(4).eval()],
        ["module[2], BatchNorm1d(4, ", MISPLACED],
    ),
    "normalised, and no Linear behind": (lambda nn: [nn.BatchNorm1d(4).eval()], ["module[0], BatchNorm1d(4, "]),
    "normalised before the activation": (
        lambda nn: [nn.Linear(3, 4), nn.Dropout(0.2), nn.BatchNorm1d(4).eval(), nn.ReLU(), nn.Linear(4, 2)],
        ["module[3], ReLU()" + MISPLACED],
    ),
    "normalised before the scale": (
        lambda nn: [nn.BatchNorm1d(3).eval(), to_torch(of((3, 2), scale=0.5))[0], nn.Linear(3, 2)],
        ["module[1], Scale(0.5)" + MISPLACED],
    ),
    "flattened otherwise": (lambda nn: [nn.Flatten(0), nn.Linear(3, 4)], ["module[0], Flatten(start_dim=0"]),
    "own class": (lambda nn: [nn.Linear(3, 4), type("Mine", (nn.ReLU,), {})()], ["module[1], Mine(), is none that"]),
    "own forward": (
        lambda nn: [type("Mine", (nn.Sequential,), {"forward": lambda self, X: X})(nn.Linear(3, 4))],
        ["module[0], Mine(), is none that a network has"],
    ),
    "widths": (
        lambda nn: [nn.Linear(3, 4), nn.ReLU(), nn.Linear(5, 2)],
        ["module[2], Linear(in_features=5, ", "takes 5 features; the Linear before gives 4."],
    ),
    "activation first": (lambda nn: [nn.Tanh(), nn.Linear(3, 4)], ["module[0], Tanh()" + MISPLACED]),
    "two activations": (lambda nn: [nn.Linear(3, 4), nn.ReLU(), nn.Tanh()], ["module[2], Tanh()" + MISPLACED]),
    "softmax inside": (
        lambda nn: [nn.Linear(3, 4), nn.Softmax(1), nn.Linear(4, 2)],
        ["module[1], Softmax(dim=1)" + MISPLACED],
    ),
    "dropped inputs": (lambda nn: [nn.Dropout(0.2), nn.Linear(3, 4)], ["module[0], Dropout(p=0.2, ", MISPLACED]),
    "dropped outputs": (
        lambda nn: [nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2), nn.Dropout(0.2)],
        ["module[3], Dropout(p=0.2, ", MISPLACED],
    ),
    "dropped twice": (
        lambda nn: [nn.Linear(3, 4), nn.Dropout(0.2), nn.Dropout(0.3), nn.Linear(4, 2)],
        ["module[2], Dropout(p=0.3, ", MISPLACED],
    ),
    "dropped before the activation": (
        lambda nn: [nn.Linear(3, 4), nn.Dropout(0.2), nn.ReLU(), nn.Linear(4, 2)],
        ["module[2], ReLU()" + MISPLACED],
    ),
    "dropped here and not there": (
        lambda nn: [nn.Linear(3, 4), nn.Linear(4, 4), nn.Dropout(0.2), nn.Linear(4, 2)],
        ["module[2], Dropout(p=0.2, ", "is not behind every hidden layer with the same p", "take Dropout out"],
    ),
    "dropped more here than there": (
        lambda nn: [nn.Linear(3, 4), nn.Dropout(0.2), nn.Linear(4, 4), nn.Dropout(0.3), nn.Linear(4, 2)],
        ["module[1], Dropout(p=0.2, ", "is not behind every hidden layer with the same p", "Change p"],
    ),
    "all dropped": (lambda nn: [nn.Linear(3, 4), nn.Dropout(1.0)], ["p of module[1] (Dropout) is 1.0", "below 1"]),
    "scaled inside": (
        lambda nn: [nn.Linear(3, 4), to_torch(of((3, 2), scale=0.5))[0]],
        ["module[1], Scale(0.5)" + MISPLACED],
    ),
    "softmax of one": (
        lambda nn: [nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 1), nn.Softmax(1)],
        ["module[3], Softmax(dim=1), is a softmax of one output, which is always 1"],
    ),
    "softmax of one, and the next": (lambda nn: [nn.Linear(3, 1), nn.Softmax(1), nn.Tanh()], ["module[1], Softmax("]),
    "nothing": (lambda nn: [], ["module has no Linear layer"]),
    "nothing but shape": (lambda nn: [nn.Flatten(), nn.Identity()], ["module has no Linear layer"]),
}


@pytest.mark.parametrize("what", BAD)
def test_a_module_that_is_not_taken_is_told_by_its_first_bad_layer(what, nn):
    make, parts = BAD[what]
    with pytest.raises(ValueError, match=re.escape(parts[0])) as raised:
        from_torch(nn.Sequential(*make(nn)))
    assert all(part in str(raised.value) for part in parts)


# What a call of a module does beside its forward; each is done to the layer that is told.
HOOKED = {
    "pruned": lambda nn, layer: nn.utils.prune.l1_unstructured(layer, "weight", 0.5),
    "pruned twice": lambda nn, layer: [nn.utils.prune.l1_unstructured(layer, "weight", 0.3) for _ in range(2)],
    "normed, by a hook": lambda nn, layer: nn.utils.weight_norm(layer),
    "spectral, by a hook": lambda nn, layer: nn.utils.spectral_norm(layer),
    "normed, parametrized": lambda nn, layer: nn.utils.parametrizations.weight_norm(layer),
    "spectral, parametrized": lambda nn, layer: nn.utils.parametrizations.spectral_norm(layer),
    "a hook": lambda nn, layer: layer.register_forward_hook(lambda layer, arguments, A: 2 * A),
    "a hook before": lambda nn, layer: layer.register_forward_pre_hook(lambda layer, arguments: None),
    "a hook of keywords": lambda nn, layer: layer.register_forward_hook(lambda *_: None, with_kwargs=True),
}
SAID = {"pruned": "(L1Unstructured)", "pruned twice": "(PruningContainer)", "normed, by a hook": "(WeightNorm)",
        "normed, parametrized": "parametrizations (weight)", "a hook": "(<lambda>)"}  # fmt: skip


@pytest.mark.parametrize("how", HOOKED)
@pytest.mark.filterwarnings("ignore:.*weight_norm. is deprecated:FutureWarning")
def test_a_layer_that_computes_more_than_its_class_is_named(how, nn):
    """A hook may change outputs or recompute the weight, so that the stored weight is that of the previous call."""
    import torch.nn.utils.prune  # noqa: F401

    module = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Sequential(nn.Linear(4, 2)), nn.BatchNorm1d(2))
    HOOKED[how](nn, module[2][0])
    what = r"module\[2\]\[0\], (Parametrized)?Linear\(in_features=4, .*\), has (forward hooks|parametrizations) "
    with pytest.raises(ValueError, match=what) as raised:
        from_torch(module)
    assert SAID.get(how, "") in str(raised.value)


@pytest.mark.parametrize("place", ["module", "module[1]", "module[2]", "module[4]"])
def test_hooks_are_found_wherever_they_are(place, nn):
    """Hooks of the module itself, of an inner one, of a skipped one, and of an activation."""
    module = nn.Sequential(nn.Linear(3, 4), nn.Sequential(nn.Tanh()), nn.Identity(), nn.Linear(4, 2), nn.ReLU())
    layer = module if place == "module" else module[int(place[-2])]
    layer.register_forward_hook(lambda layer, arguments, A: 2 * A)
    with pytest.raises(ValueError, match=rf"^{re.escape(place)}, {type(layer).__name__}\(.*\), has forward hooks"):
        from_torch(module)


def test_parametrizations_of_the_module_itself_are_refused(nn):
    module = nn.Sequential(nn.Linear(3, 4))
    module.register_parameter("gain", nn.Parameter(module[0].bias.detach().clone()))
    nn.utils.parametrize.register_parametrization(module, "gain", nn.Identity())
    with pytest.raises(ValueError, match=r"module, ParametrizedSequential\(\), has parametrizations \(gain\)"):
        from_torch(module)


@pytest.mark.filterwarnings("ignore:.*weight_norm. is deprecated:FutureWarning")
def test_a_module_without_its_hooks_is_taken(nn):
    """Each of the four ways in the error removes the hooks; weights and outputs are then what the hooks computed."""
    from torch.nn.utils import prune

    module = nn.Sequential(nn.Linear(6, 5), nn.Linear(5, 5), nn.Linear(5, 4), nn.Linear(4, 3)).eval()
    prune.l1_unstructured(module[0], "weight", 0.5)
    nn.utils.weight_norm(module[1])
    nn.utils.spectral_norm(module[2])
    nn.utils.parametrizations.weight_norm(module[3])
    X = np.random.default_rng(0).standard_normal((20, 6)).astype(np.float32)
    expected = outputs(module, X)
    prune.remove(module[0], "weight")
    nn.utils.remove_weight_norm(module[1])
    nn.utils.remove_spectral_norm(module[2])
    nn.utils.parametrize.remove_parametrizations(module[3], "weight")
    net = from_torch(module)
    assert np.mean(net.layers[0].W == 0) == 0.5
    assert_close(net.predict(X), expected, TOLERANCE)


@pytest.mark.parametrize(("value", "said"), [(math.nan, "is nan"), (math.inf, "is inf")])
@pytest.mark.parametrize(("name", "index"), [("weight", (1, 2)), ("bias", (1,))])
def test_weights_that_are_not_finite_are_told_by_their_place(value, said, name, index, torch):
    module = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2))
    with torch.no_grad():
        getattr(module[2], name)[index] = value
    with pytest.raises(ValueError, match=rf"module\[2\]\.{name}\[{', '.join(map(str, index))}\] .*{said}"):
        from_torch(module)


def test_complex_weights_are_refused(torch):
    with pytest.raises(TypeError, match=r"module\[0\]\.weight has dtype complex64"):
        from_torch(torch.nn.Sequential(torch.nn.Linear(3, 4, dtype=torch.complex64)))


def test_what_is_no_sequential_is_refused(nn):
    class Mine(nn.Sequential):
        def forward(self, X):
            return super().forward(X) + X

    for module in (nn.Linear(3, 2), Mine(nn.Linear(3, 3)), nn.ModuleList([nn.Linear(3, 2)]), Network((3, 2)), None):
        with pytest.raises(TypeError, match=f"module is a {type(module).__name__}; it must be an nn.Sequential"):
            from_torch(module)


# ---- inside a PyTorch model ------------------------------------------------------------------------------------------


def tensor(net, m=7):
    import torch

    return torch.from_numpy(rows(net, m)).requires_grad_()


def shared(module):
    """Whether the module's parameters are its network's memory."""
    values = [value for layer in module.net.layers for value in (layer.W, layer.b)]
    parameters = [parameter.detach().numpy() for parameter in module.parameters()]
    return len(values) == len(parameters) and all(map(np.shares_memory, values, parameters))


@each_hidden
@each_output
def test_the_gradients_of_an_inner_network_are_right(hidden, output, torch):
    """By torch's own check: central differences in float64, by X and by every parameter."""
    module = as_torch_module(of((4, 6, 5, 3), hidden, output, dtype="float64"))
    X = tensor(module.net)
    assert torch.autograd.gradcheck(lambda X, *parameters: module(X), (X, *module.parameters()))


@pytest.mark.parametrize(
    "net",
    [lambda: of((1, 1), dtype="float64"), lambda: of((4, 6, 3), scale=0.3, l2=0.1, dtype="float64"),
     lambda: of((4, 5, 3), output=CUBE, dtype="float64")],
    ids=["one unit", "scale and penalty", "custom"],
)  # fmt: skip
@pytest.mark.parametrize("m", [1, 17])
def test_the_gradients_of_other_inner_networks_are_right(net, m, torch):
    module = as_torch_module(net())
    assert torch.autograd.gradcheck(lambda X, *parameters: module(X), (tensor(module.net, m), *module.parameters()))


def test_an_inner_network_may_pass_several_times_before_it_goes_back(torch):
    """Twice in one graph, with a pass of the network itself between: the activations are computed again."""
    module = as_torch_module(of((4, 6, 3), "tanh", dtype="float64"))
    others = tensor(module.net, 5).detach()

    def twice(X, *parameters):
        first, second = module(X), module(2 * X)
        module.net.forward(others)
        return first * second

    assert torch.autograd.gradcheck(twice, (tensor(module.net), *module.parameters()))


@each_dtype
def test_a_model_with_an_inner_network_trains_as_one_of_pytorch(dtype, torch):
    """30 steps of Adam, layer for layer the same model: the same losses, which fall, and the same parameters."""
    nn, (X, Y) = torch.nn, (torch.from_numpy(rows(of((n, 1), dtype=dtype), 64)) for n in (5, 1))
    torch.manual_seed(0)
    first, last = (nn.Linear(*sizes, dtype=X.dtype) for sizes in ((5, 6), (4, 1)))
    net = of((6, 20, 4), "relu", "tanh", dtype=dtype)
    models = [
        nn.Sequential(copy.deepcopy(first), nn.Tanh(), inner, copy.deepcopy(last))
        for inner in (as_torch_module(net), to_torch(net))
    ]
    losses = []
    for model in models:
        optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
        for _ in range(30):
            loss = ((model(X) - Y) ** 2).mean()
            losses.append(loss.item())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    ours, theirs = losses[:30], losses[30:]
    np.testing.assert_allclose(ours, theirs, rtol=1e-4 if dtype == "float32" else 1e-10)
    assert ours[-1] < 0.8 * ours[0]
    for one, other in zip(*(model.parameters() for model in models), strict=True):
        assert_close(one.detach().numpy(), other.detach().numpy(), 1e-3 if dtype == "float32" else 1e-9)
    assert shared(models[0][2])
    assert models[0][2].net is net
    assert_close(net.predict(rows(net)), outputs(to_torch(net), rows(net)), TOLERANCES[dtype])


def test_an_inner_network_keeps_its_padding_zero(torch):
    """What PyTorch's optimizers write is W and b; the rest of the flat parameters stays as it is."""
    module = as_torch_module(of((5, 7, 3)))
    optimizer = torch.optim.AdamW(module.parameters(), weight_decay=0.1)
    for _ in range(3):
        module(tensor(module.net)).square().sum().backward()
        optimizer.step()
    padding = module.net.parameters.copy()
    for l in range(2):
        for values in module.net.architecture.layout.views(padding, l):
            values[:] = 0
    assert not padding.any()


def test_without_gradients_an_inner_network_predicts(torch):
    """In no_grad, and where nothing needs a gradient: the cache of the network's last pass is left alone."""
    module = as_torch_module(of((5, 7, 3)))
    X = tensor(module.net)
    with torch.no_grad():
        assert bits(module(X).numpy()) == bits(module.net.predict(X.detach().numpy()))
    module.requires_grad_(False)
    assert not module(X.detach()).requires_grad
    assert module.net.engines.kept is None


def test_frozen_layers_have_parameters_without_gradients_and_back(nn):
    """In modules that are made of them; and a Linear of which no parameter is trained becomes a frozen layer."""
    net = of((5, 7, 6, 3))
    net.layers[0].trainable = net.layers[2].trainable = False
    frozen = [False, True, False]
    module, inner = to_torch(net), as_torch_module(net)
    linears = [layer for layer in module if isinstance(layer, nn.Linear)]
    assert [(l.weight.requires_grad, l.bias.requires_grad) for l in linears] == [(own, own) for own in frozen]
    assert [parameter.requires_grad for parameter in inner.parameters()] == [own for own in frozen for _ in "Wb"]
    assert [layer.trainable for layer in from_torch(module).layers] == frozen
    linears[0].bias.requires_grad_(True)
    linears[2].bias = None
    assert [layer.trainable for layer in from_torch(module).layers] == [True, True, False]
    assert all(layer.trainable for layer in from_torch(module.requires_grad_(True)).layers)


def test_frozen_parameters_of_an_inner_network(torch):
    """X has its gradient, and only the parameters that want one have theirs."""
    module = as_torch_module(of((5, 7, 3)))
    module.W1.requires_grad_(False)
    X = tensor(module.net)
    module(X).sum().backward()
    assert module.W1.grad is None
    assert_close(X.grad.numpy(), module.net.jacobian(X.detach().numpy()).sum(axis=1).astype(np.float64))
    assert_close(module.b1.grad.numpy(), module.net.layers[0].db.astype(np.float64))
    assert not np.shares_memory(module.b1.grad.numpy(), module.net.gradients)
    pixels = torch.arange(35, dtype=torch.uint8).reshape(7, 5)
    assert_close(module(pixels).detach().numpy(), module.net.predict(pixels.numpy()).astype(np.float64))


def test_parameters_written_between_the_passes_are_noticed(torch):
    """By PyTorch, as for its own modules."""
    module = as_torch_module(of((5, 7, 3)))
    loss = module(tensor(module.net)).sum()
    with torch.no_grad():
        module.W1 += 1
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_a_second_derivative_of_an_inner_network_is_refused(torch):
    module = as_torch_module(of((5, 7, 3), "tanh"))
    X = tensor(module.net)
    (gradient,) = torch.autograd.grad(module(X).square().sum(), X, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()


@pytest.mark.parametrize("how", ["copied", "pickled"])
def test_copies_of_an_inner_network_have_a_network_of_their_own(how, torch):
    """With the same parameters, the same ones of them frozen, in the same mode, and trained apart from it."""
    module = as_torch_module(of((5, 7, 3), "tanh")).eval()
    module.b1.requires_grad_(False)
    other = copy.deepcopy(module) if how == "copied" else pickle.loads(pickle.dumps(module))
    assert other.net is not module.net
    assert shared(other)
    assert not other.training
    X = rows(module.net)
    assert bits(outputs(other, X)) == bits(outputs(module, X))
    assert [p.requires_grad for p in other.parameters()] == [p.requires_grad for p in module.parameters()]
    before = bits(module.net.parameters)
    optimizer = torch.optim.SGD(other.parameters(), lr=0.1)
    other(torch.from_numpy(X)).sum().backward()
    optimizer.step()
    assert bits(module.net.parameters) == before
    assert bits(outputs(other, X)) == bits(other.net.predict(X)) != bits(outputs(module, X))


def test_a_model_that_is_copied_with_its_optimizer_trains_its_copy(torch):
    model = torch.nn.Sequential(as_torch_module(of((5, 7, 3), "tanh")))
    model_2, optimizer = copy.deepcopy((model, torch.optim.SGD(model.parameters(), lr=0.1)))
    before, before_2 = bits(model[0].net.parameters), bits(model_2[0].net.parameters)
    model_2(tensor(model[0].net)).sum().backward()
    optimizer.step()
    assert bits(model[0].net.parameters) == before
    assert bits(model_2[0].net.parameters) != before_2


def test_the_state_of_an_inner_network_is_saved_and_loaded(torch, tmp_path):
    """By the names W1, b1, …, into the network's own memory."""
    module, other = as_torch_module(of((5, 7, 3))), as_torch_module(Network((5, 7, 3), rng=5))
    torch.save(module.state_dict(), tmp_path / "state.pt")
    state = torch.load(tmp_path / "state.pt")
    assert list(state) == ["W1", "b1", "W2", "b2"]
    other.load_state_dict(state)
    assert bits(other.net.parameters) == bits(module.net.parameters)
    other.load_state_dict(state, assign=True)
    with pytest.raises(RuntimeError, match="no longer the network's memory"):
        other(tensor(module.net))


@pytest.mark.parametrize(
    "move", [lambda m: m.double(), lambda m: m.half(), lambda m: m.to("meta"), lambda m: m.to_empty(device="meta")]
)
def test_an_inner_network_cannot_be_moved(move, torch):
    """Nor converted: its parameters would be others. What changes nothing is allowed."""
    module = as_torch_module(of((5, 7, 3)))
    model = torch.nn.Sequential(module).float().cpu().to(torch.float32)
    for each in (model, module):
        with pytest.raises(TypeError, match="cannot be moved or converted: its parameters are the memory of a network"):
            move(each)
    assert shared(module)
    module(tensor(module.net)).sum().backward()


@pytest.mark.parametrize(
    ("X", "message"),
    [
        (lambda torch, X: X.double(), r"tensor of torch\.float64 on cpu; .* torch\.float32"),
        (lambda torch, X: X.half(), r"tensor of torch\.float16"),
        (lambda torch, X: X.to("meta"), "on meta"),
        (lambda torch, X: X.to_sparse(), "dense"),
        (lambda torch, X: X.detach().numpy(), "X is a ndarray; it must be a tensor"),
        (lambda torch, X: X[:, :4], "X has 4 features; this network takes 5"),
        (lambda torch, X: X[0], r"X has shape \(5,\)"),
        (lambda torch, X: X * np.nan, r"X\[0, 0\] is nan"),
    ],
)
def test_what_an_inner_network_does_not_take_is_refused(X, message, torch):
    module = as_torch_module(of((5, 7, 3)))
    with pytest.raises((TypeError, ValueError), match=message):
        module(X(torch, tensor(module.net)))


def test_an_inner_network_has_no_dropout(torch):
    with pytest.raises(ValueError, match=r"net has dropout=0\.2.*nn\.Dropout"):
        as_torch_module(of((5, 7, 3), dropout=0.2))


# ---- to ONNX ---------------------------------------------------------------------------------------------------------


@each_case
def test_onnxruntime_computes_what_predict_does(case, run_onnx):
    net, X = network(case), data(case)[0]
    assert_close(run_onnx(net, X), net.predict(X), TOLERANCE)


@pytest.mark.slow
@each_hidden
@each_output
def test_onnxruntime_does_with_every_activation_and_output(hidden, output, run_onnx):
    net = of((7, 18, 33, 4), hidden, output)
    for spread, tolerance in SPREADS.items():
        X = rows(net, spread=spread)
        assert_close(run_onnx(net, X), net.predict(X), tolerance)


@each_depth
def test_onnxruntime_does_at_every_depth_and_width(sizes, run_onnx):
    net = of(sizes, "tanh", "sigmoid")
    for m in (1, 47):
        assert_close(run_onnx(net, rows(net, m)), net.predict(rows(net, m)), TOLERANCE)


@each_dtype
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_onnxruntime_does_for_every_z(activation, dtype, run_onnx):
    """The activation from large negative to large positive z is within rounding of 1 + |z|."""
    if (activation, dtype) == ("gelu", "float64"):
        return  # which is refused
    net = Network((2, 2), output=activation, init=lambda n, n_prev, rng: np.eye(n), dtype=dtype)
    z = np.concatenate([np.linspace(-12, 12, 2001), [-1e30, -1e4, -100, -0.0, 0.0, 100, 1e4, 1e30]])
    X = np.stack([z, -z], axis=1).astype(dtype)
    within = {"float32": 1e-6, "float64": 1e-15}[dtype]
    assert np.all(np.abs(run_onnx(net, X) - net.predict(X)) <= within * (1 + np.abs(X)))


@each_dtype
@pytest.mark.parametrize("slope", SLOPES)
def test_onnxruntime_does_with_any_slope_of_a_leaky_relu(slope, dtype, run_onnx):
    net = of((9, 8, 3), f"leaky_relu({slope})", leaky_relu(slope), dtype=dtype)
    assert_close(run_onnx(net, rows(net)), net.predict(rows(net)), TOLERANCES[dtype])


def test_the_classes_of_a_network_stand_in_the_metadata(onnx, tmp_path):
    for classes in (["cat", "dög", "emu"], [7, 1, 3], None):
        net = of((9, 8, 3), output="softmax")
        net.classes = classes
        to_onnx(net, tmp_path / "net.onnx")
        found = {entry.key: json.loads(entry.value) for entry in onnx.load(tmp_path / "net.onnx").metadata_props}
        assert found == ({"classes": classes} if classes else {})


@each_dtype
def test_the_file_scales_and_drops_nothing(dtype, run_onnx):
    net = of((9, 8, 3), "selu", output="softmax", scale=1 / 255, dropout=0.5, dtype=dtype)
    X = np.random.default_rng(0).integers(0, 256, (50, 9), dtype=np.uint8)
    assert_close(run_onnx(net, X.astype(dtype)), net.predict(X), TOLERANCES[dtype])


def test_a_gelu_of_float64_is_refused(onnx, tmp_path):
    """onnxruntime has no erf of float64: what is said helps."""
    net = of((9, 8, 3), "gelu", dtype="float64")
    with pytest.raises(ValueError, match=r"net has gelu in float64, which .* cannot compute\. Use gelu_tanh"):
        to_onnx(net, tmp_path / "net.onnx")
    assert not list(tmp_path.iterdir())
    other = of((9, 8, 3), "gelu")
    other.parameters[:] = net.parameters
    to_onnx(other, tmp_path / "net.onnx")
    assert_close(other.predict(rows(net)), net.predict(rows(net)), TOLERANCE)


def test_the_file_says_what_it_is(onnx, tmp_path):
    """Opset and IR version as documented, a batch of any size, the derivation's names."""
    net = of((9, 8, 3), "gelu", "softmax", scale=0.5)
    to_onnx(net, tmp_path / "net.onnx")
    model = onnx.load(tmp_path / "net.onnx")
    onnx.checker.check_model(model, full_check=True)
    assert [(opset.domain, opset.version) for opset in model.opset_import] == [("", 13)]
    assert "opset 13 and IR version 7" in to_onnx.__doc__
    assert (model.ir_version, model.producer_name) == (7, "fastprop")
    ends = {
        end.name: [axis.dim_param or axis.dim_value for axis in end.type.tensor_type.shape.dim]
        for end in (*model.graph.input, *model.graph.output)
    }
    assert ends == {"X": ["m", 9], "Y_hat": ["m", 3]}
    arrays = {array.name: onnx.numpy_helper.to_array(array) for array in model.graph.initializer}
    for l, layer in enumerate(net.layers, start=1):
        assert bits(arrays[f"W{l}"], arrays[f"b{l}"]) == bits(layer.W, layer.b)
        assert arrays[f"W{l}"].shape == layer.W.shape
    operators = [node.op_type for node in model.graph.node]
    assert operators == ["Mul", "Gemm", "Div", "Erf", "Add", "Mul", "Mul", "Gemm", "Softmax"]


def test_no_node_is_there_for_an_identity(onnx, tmp_path):
    to_onnx(of((9, 8, 3), "identity"), tmp_path / "net.onnx")
    assert [node.op_type for node in onnx.load(tmp_path / "net.onnx").graph.node] == ["Gemm", "Gemm"]


def test_the_file_is_replaced_at_once_or_left(onnx, tmp_path, monkeypatch):
    path = tmp_path / "net.onnx"
    to_onnx(of((3, 2)), path)
    to_onnx(of((3, 5, 2)), str(path))
    written = path.read_bytes()
    assert [file.name for file in tmp_path.iterdir()] == ["net.onnx"]
    monkeypatch.setattr(convert, "MOST_BYTES", 30)
    with pytest.raises(ValueError, match="net has 8 parameters of float32; an ONNX file holds at most 7"):
        to_onnx(of((3, 2)), path)
    with pytest.raises(ValueError, match="net has 4 parameters of float64; an ONNX file holds at most 3"):
        to_onnx(of((3, 1), dtype="float64"), path)
    with pytest.raises(FileNotFoundError):
        to_onnx(of((3, 1)), tmp_path / "nowhere" / "net.onnx")
    assert path.read_bytes() == written


def test_onnx_needs_no_pytorch(onnx, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "torch", None)
    to_onnx(of((3, 5, 2)), tmp_path / "net.onnx")
    onnx.checker.check_model(onnx.load(tmp_path / "net.onnx"), full_check=True)


# ---- estimators ------------------------------------------------------------------------------------------------------

# Targets, and the kind of estimator that fits them.
TARGETS = {
    "text": ("MLPClassifier", lambda X: np.array(["ant", "bee", "cöw"])[np.digitize(X[:, 0], [-0.5, 0.5])]),
    "two of text": ("MLPClassifier", lambda X: np.array(["no", "yes"], object)[(X[:, 0] > 0).astype(int)]),
    "whole numbers": ("MLPClassifier", lambda X: np.array([30, -2, 7])[np.digitize(X[:, 0], [-0.5, 0.5])]),
    "two of numbers": ("MLPClassifier", lambda X: np.array([1.0, 5.0])[(X[:, 0] > 0).astype(int)]),
    "truth": ("MLPClassifier", lambda X: X[:, 0] > 0),
    "labels": ("MLPClassifier", lambda X: (X[:, :3] > 0).astype(int)),
    "one number": ("MLPRegressor", lambda X: X[:, 0] * X[:, 1]),
    "numbers": ("MLPRegressor", lambda X: X[:, :2] ** 2),
    "counts": ("MLPRegressor", lambda X: np.floor(np.exp(X[:, 0]))),
}
each_target = pytest.mark.parametrize("target", TARGETS)


def fitted(target, dtype="float64", theirs=False, **settings):
    """An estimator of fastprop or of scikit-learn that was fitted for a few epochs, and X."""
    pytest.importorskip("sklearn", reason="needs scikit-learn (extra sklearn)")
    import sklearn.neural_network

    import fastprop.sklearn

    kind, make = TARGETS[target]
    X = np.random.default_rng(0).standard_normal((90, 5)).astype(dtype)
    settings = {"hidden_layer_sizes": (17, 6), "random_state": 0, "max_iter": 4, **settings}
    if target == "counts":
        settings["loss"] = "poisson"
    estimator = getattr(sklearn.neural_network if theirs else fastprop.sklearn, kind)(**settings)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return estimator.fit(X, make(X)), X


@each_target
@each_dtype
def test_an_estimator_in_onnx_predicts_labels_and_probabilities(target, dtype, onnx, tmp_path):
    """By skl2onnx's names and shapes, the labels of text or whole numbers, in the dtype of the fit."""
    onnxruntime = pytest.importorskip("onnxruntime", reason="needs onnxruntime, which runs the files")
    estimator, X = fitted(target, dtype, activation="gelu_tanh")
    to_onnx(estimator, tmp_path / "net.onnx")
    onnx.checker.check_model(onnx.load(tmp_path / "net.onnx"), full_check=True)
    session = onnxruntime.InferenceSession(tmp_path / "net.onnx", providers=["CPUExecutionProvider"])
    found = dict(zip([output.name for output in session.get_outputs()], session.run(None, {"X": X}), strict=True))
    if TARGETS[target][0] == "MLPRegressor":
        expected = estimator.predict(X).reshape(len(X), -1)
        assert found["variable"].dtype == dtype
        assert_close(found.pop("variable"), expected, TOLERANCES[dtype])
    else:
        probabilities = found.pop("probabilities")
        assert probabilities.dtype == dtype
        assert_close(probabilities, estimator.predict_proba(X), TOLERANCES[dtype])
        assert found.pop("label").tolist() == estimator.predict(X).tolist()
    assert not found


def test_labels_that_onnx_does_not_have_are_told(onnx, tmp_path):
    estimator, _ = fitted("text")
    estimator.classes_ = np.array([0.5, 1.0, 2.0])
    with pytest.raises(ValueError, match=r"classes_ is array\(\[0\.5, .* whole numbers or text\. Fit on such labels"):
        to_onnx(estimator, tmp_path / "net.onnx")


@each_target
def test_an_estimator_in_pytorch_gives_its_probabilities(target, torch):
    estimator, X = fitted(target)
    found = outputs(to_torch(estimator), X)
    assert found.dtype == np.float64
    assert_close(found, estimator.network_.predict(X), 1e-13)
    if target == "text":
        assert_close(found, estimator.predict_proba(X), 1e-13)


@each_target
@each_dtype
@pytest.mark.parametrize("activation", ["relu", "tanh", "logistic", "identity"])
@pytest.mark.parametrize("theirs", [True, False], ids=["scikit-learn's", "fastprop's"])
def test_a_network_from_an_mlp_predicts_as_it_does(target, dtype, activation, theirs):
    estimator, X = fitted(target, dtype, theirs, activation=activation)
    net = from_sklearn(estimator)
    kind, Y_hat = TARGETS[target][0], net.predict(X)
    assert net.dtype == dtype
    if kind == "MLPRegressor":
        Y_hat = np.exp(Y_hat) if target == "counts" else Y_hat
        assert_close(Y_hat, estimator.predict(X).reshape(Y_hat.shape).astype(np.float64), TOLERANCES[dtype])
        assert net.loss_name == ("poisson" if target == "counts" else "mse")
        return
    probabilities = estimator.predict_proba(X).astype(np.float64)
    assert_close(Y_hat, probabilities[:, -1:] if Y_hat.shape[1] == 1 else probabilities, TOLERANCES[dtype])
    labels = estimator.classes_.tolist()
    assert net.classes == (labels if target in ("text", "two of text", "whole numbers") else None)


def test_a_network_from_an_mlp_has_its_own_memory_and_trains_on():
    estimator, X = fitted("numbers", theirs=True, solver="lbfgs")
    net, before = from_sklearn(estimator), [W.copy() for W in estimator.coefs_]
    J = net.loss(X, X[:, :2] ** 2)
    net.fit(X, X[:, :2] ** 2, epochs=20, optimizer=Adam(0.01), progress=False)
    assert net.loss(X, X[:, :2] ** 2) < J
    assert all(map(np.array_equal, estimator.coefs_, before))


@pytest.mark.parametrize("mlp", [None, np.eye(3), "not fitted", "another"])
def test_what_is_no_fitted_mlp_is_refused(mlp):
    pytest.importorskip("sklearn", reason="needs scikit-learn (extra sklearn)")
    from sklearn.linear_model import LogisticRegression
    from sklearn.neural_network import MLPClassifier

    mlp = (
        {"not fitted": MLPClassifier(), "another": LogisticRegression()}.get(mlp, mlp) if isinstance(mlp, str) else mlp
    )
    with pytest.raises(TypeError, match="it must be a fitted MLPClassifier or MLPRegressor of scikit-learn"):
        from_sklearn(mlp)


@pytest.mark.parametrize("to", [to_torch, lambda net: to_onnx(net, "never.onnx")], ids=["to_torch", "to_onnx"])
def test_an_estimator_that_is_not_fitted_is_told_so(to):
    pytest.importorskip("sklearn", reason="needs scikit-learn (extra sklearn)")
    from sklearn.exceptions import NotFittedError

    from fastprop.sklearn import MLPClassifier

    with pytest.raises(NotFittedError, match="This MLPClassifier instance is not fitted yet"):
        to(MLPClassifier())


# ---- what is not converted -------------------------------------------------------------------------------------------

CONVERSIONS = {"to_torch": to_torch, "to_onnx": lambda net: to_onnx(net, "never.onnx")}
each_conversion = pytest.mark.parametrize("to", CONVERSIONS.values(), ids=CONVERSIONS)
FOURTH = Loss("fourth", lambda y_hat, y: (y_hat - y) ** 4, lambda y_hat, y: 4 * (y_hat - y) ** 3)


@each_conversion
@pytest.mark.parametrize(
    ("net", "message"),
    [
        (Network((3, 4, 5, 2), ("tanh", CUBE)), r"net has Activation\('cube'\), a custom Activation.* identity, relu"),
        (Network((3, 4, 2), output=CUBE), r"net has Activation\('cube'\)"),
        (Network((3, 4, 2), loss=FOURTH), r"net has Loss\('fourth'\), a custom Loss.* mse, mae.* as its Loss"),
    ],
    ids=["hidden", "output", "loss"],
)
def test_custom_functions_are_named(to, net, message):
    with pytest.raises(ValueError, match=message):
        to(net)


@pytest.mark.parametrize("to", [*CONVERSIONS.values(), as_torch_module], ids=[*CONVERSIONS, "as_torch_module"])
@pytest.mark.parametrize("net", [None, {"W1": np.eye(3)}, np.eye(3)], ids=["None", "dict", "array"])
def test_what_is_no_network_is_refused(to, net):
    with pytest.raises(TypeError, match="it must be a Network"):
        to(net)


@pytest.mark.parametrize(
    ("library", "call"),
    [
        ("torch", lambda: to_torch(of((3, 2)))),
        ("torch", lambda: from_torch(None)),
        ("torch", lambda: as_torch_module(of((3, 2)))),
        ("onnx", lambda: to_onnx(of((3, 2)), "never.onnx")),
    ],
    ids=["to_torch", "from_torch", "as_torch_module", "to_onnx"],
)
def test_without_its_library_the_extra_is_named(library, call, monkeypatch):
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(ModuleNotFoundError, match=rf"pip install 'fastprop-cpu\[{library}\]'"):
        call()


# ---- files of networks -----------------------------------------------------------------------------------------------


@pytest.fixture
def saved(tmp_path):
    """A network that was trained with early stopping, and its file."""
    pytest.importorskip("safetensors", reason="files need safetensors (extra save)")
    net = of((7, 33, 18, 3), "gelu", "softmax")
    X, Y = rows(net, 60), np.random.default_rng(0).integers(0, 3, 60)
    net.fit(X, Y, epochs=12, optimizer=Adam(0.03), validation=0.3, early_stopping=3, progress=False, rng=0)
    net.save(tmp_path / "net.safetensors")
    return net, tmp_path / "net.safetensors"


def test_numpy_opens_a_saved_network(saved):
    """W1, b1, … of float32 without padding, from which NumPy computes the outputs; the moments have the same shapes."""
    from safetensors.numpy import load_file

    net, path = saved
    tensors = load_file(path)
    assert tensors.pop("history.loss").tolist() == net.fit_state.history.loss
    for name in [name for name in tensors if name.startswith("history.")]:
        assert tensors.pop(name).dtype == np.float64
    parameters = [f"{kind}{l}" for l in (1, 2, 3) for kind in "Wb"]
    assert set(tensors) == {f"{prefix}{name}" for prefix in ("", "moments.0.", "moments.1.", "best.", "last.")
                            for name in parameters}  # fmt: skip
    for l, (n_prev, n) in enumerate([(7, 33), (33, 18), (18, 3)], start=1):
        for prefix in ("", "moments.0.", "moments.1.", "best.", "last."):
            W, b = tensors[f"{prefix}W{l}"], tensors[f"{prefix}b{l}"]
            assert (W.shape, W.dtype, b.shape, b.dtype) == ((n, n_prev), np.float32, (n,), np.float32)
    A = X = rows(net)
    for l, g in enumerate((*net.hidden, net.output), start=1):
        Z = A.astype(np.float64) @ tensors[f"W{l}"].T + tensors[f"b{l}"]
        A = np.exp(Z) / np.exp(Z).sum(axis=1, keepdims=True) if g == "softmax" else ACTIVATIONS[g](Z)
    assert_close(net.predict(X), A, TOLERANCE)


def test_pytorch_opens_a_saved_network(saved, torch):
    """Each tensor is what Linear has as its weight or bias."""
    from safetensors.torch import load_file

    net, path = saved
    tensors = load_file(path)
    nn = torch.nn
    module = nn.Sequential(nn.Linear(7, 33), nn.GELU(), nn.Linear(33, 18), nn.GELU(), nn.Linear(18, 3), nn.Softmax(1))
    named = {}
    for l, place in enumerate((0, 2, 4), start=1):
        named |= {f"{place}.weight": tensors[f"W{l}"], f"{place}.bias": tensors[f"b{l}"]}
    module.load_state_dict(named)
    assert_close(outputs(module, rows(net)), net.predict(rows(net)), TOLERANCE)
    assert bits(outputs(module, rows(net))) == bits(outputs(to_torch(net), rows(net)))
