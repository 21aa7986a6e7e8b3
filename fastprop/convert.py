"""Networks to PyTorch and back, and to ONNX files (extras ``torch`` and ``onnx``).

What is converted is what `predict` computes: scale, W, b and the activations; with PyTorch dropout too. A module and
a model have no loss, penalty or optimizer.
"""

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from . import inputs, io
from .network import Network

if TYPE_CHECKING:
    from torch import nn

__all__ = ["from_torch", "to_onnx", "to_torch"]

# Activations as classes of torch.nn, with their settings: the first value of each is made, any of them is taken.
MODULES: dict[str, tuple[str, dict[str, tuple[Any, ...]]]] = {
    "relu": ("ReLU", {}),
    "leaky_relu": ("LeakyReLU", {"negative_slope": (0.01,)}),
    "elu": ("ELU", {"alpha": (1.0,)}),
    "selu": ("SELU", {}),
    "sigmoid": ("Sigmoid", {}),
    "tanh": ("Tanh", {}),
    "softplus": ("Softplus", {"beta": (1.0,), "threshold": (20.0,)}),  # beyond 20, z is the nearest float32
    "silu": ("SiLU", {}),
    "gelu": ("GELU", {"approximate": ("none",)}),
    "gelu_tanh": ("GELU", {"approximate": ("tanh",)}),
    "softmax": ("Softmax", {"dim": (1, -1, None)}),
}
OPSET = 13
MOST_BYTES = 2**31 - 2**20  # of parameters: protobuf's limit, less what surrounds them
# Activations in the operators of that opset, line by line: an operator and its arguments, which are Z, the result of
# the line before, and numbers. gelu is written as PyTorch exports it, which runtimes know and compute in one go.
Z, RESULT = "Z", "result"
OPERATORS: dict[str, tuple[tuple[Any, ...], ...]] = {
    "identity": (),
    "relu": (("Relu", Z),),
    "leaky_relu": (("LeakyRelu", Z),),
    "elu": (("Elu", Z),),
    "selu": (("Selu", Z),),
    "sigmoid": (("Sigmoid", Z),),
    "tanh": (("Tanh", Z),),
    "softplus": (("Softplus", Z),),
    "silu": (("Sigmoid", Z), ("Mul", Z, RESULT)),
    "gelu": (("Div", Z, math.sqrt(2)), ("Erf", RESULT), ("Add", RESULT, 1.0), ("Mul", Z, RESULT), ("Mul", RESULT, 0.5)),
    "gelu_tanh": (
        ("Mul", Z, Z), ("Mul", RESULT, 0.044715), ("Add", RESULT, 1.0), ("Mul", Z, RESULT),
        ("Mul", RESULT, math.sqrt(2 / math.pi)), ("Tanh", RESULT), ("Add", RESULT, 1.0), ("Mul", Z, RESULT),
        ("Mul", RESULT, 0.5),
    ),
    "softmax": (("Softmax", Z),),
}  # fmt: skip


def _torch() -> Any:
    try:
        import torch
    except ModuleNotFoundError:
        message = "to_torch and from_torch need PyTorch. Install it with: pip install 'fastprop[torch]'"
        raise ModuleNotFoundError(message) from None
    return torch


def _onnx() -> Any:
    try:
        import onnx
    except ModuleNotFoundError:
        message = "to_onnx needs onnx. Install it with: pip install 'fastprop[onnx]'"
        raise ModuleNotFoundError(message) from None
    return onnx


def _check(net: Any) -> None:
    """That it is a network of functions that others have too."""
    if not isinstance(net, Network):
        raise TypeError(f"net is {net!r}; it must be a Network.")
    for function in (*net._hidden, net._output, net._loss):
        if function.label is function:
            kind = type(function).__name__
            raise ValueError(
                f"net has {function!r}, one's own, which others do not have; only networks of built-in functions are "
                f"converted. Use one of {', '.join(function.built_in)} as its {kind}."
            )


# ---- PyTorch -----------------------------------------------------------------------------------------------------


@cache
def _scale_class() -> Any:
    """The module X·scale; made when asked for, since its base class is PyTorch's."""
    base: Any = _torch().nn.Module

    class Scale(base):
        """X·scale, of floats or bytes: how a network reads its rows."""

        def __init__(self, scale: float):
            super().__init__()
            self.scale = scale

        def forward(self, X: Any) -> Any:
            return X * self.scale

        def extra_repr(self) -> str:
            return f"{self.scale:g}"

        def __reduce__(self) -> Any:
            return _scale, (self.scale,), self.__dict__

    return Scale


def _scale(scale: float) -> Any:
    return _scale_class()(scale)


def to_torch(net: Network) -> "nn.Sequential":
    """A network as a PyTorch module with the same outputs (extra ``torch``).

    Parameters
    ----------
    net : Network
        Of activations and a loss that are built in.

    Returns
    -------
    module : torch.nn.Sequential
        For each layer a Linear, its activation, unless that is the identity, and after hidden layers Dropout, if the
        network has it. A scale other than 1 is a module of fastprop's own before them all, ``Scale``, which takes
        bytes too. In eval mode, on the CPU, float32; its parameters are copies, and can be trained. Outputs are those
        of ``net.predict``, after the softmax or sigmoid, to float32's rounding.

    Raises
    ------
    ModuleNotFoundError
        If PyTorch is not installed.
    ValueError
        If an activation or the loss is one's own.
    TypeError
        If net is no network.

    Notes
    -----
    The module has no loss. To train it on, ``module[:-1]`` has the outputs before the softmax or sigmoid, which
    ``CrossEntropyLoss`` and ``BCEWithLogitsLoss`` take.

    Examples
    --------
    >>> to_torch(Network((64, 128, 10), output="softmax"))  # doctest: +SKIP
    Sequential(
      (0): Linear(in_features=64, out_features=128, bias=True)
      (1): ReLU()
      (2): Linear(in_features=128, out_features=10, bias=True)
      (3): Softmax(dim=1)
    )
    """
    _check(net)
    torch = _torch()
    modules = [] if net.scale == 1 else [_scale(net.scale)]
    for layer, activation in zip(net.layers, (*net.hidden, net.output), strict=True):
        linear = torch.nn.Linear(layer.n_prev, layer.n, device="meta")  # which draws no random weights
        linear.weight, linear.bias = (torch.nn.Parameter(torch.from_numpy(part.copy())) for part in (layer.W, layer.b))
        modules.append(linear)
        if activation != "identity":
            kind, settings = MODULES[activation]
            modules.append(getattr(torch.nn, kind)(**{name: values[0] for name, values in settings.items()}))
        if net.dropout:
            modules.append(torch.nn.Dropout(net.dropout))
    if net.dropout:
        modules.pop()  # outputs are not dropped
    return torch.nn.Sequential(*modules).eval()


@dataclass
class _Dense:
    """A Linear of a module, with the activation and the Dropout behind it; `…_at` is what an error calls them."""

    W: np.ndarray
    b: np.ndarray
    activation: str = "identity"
    activation_at: str = ""
    dropout: float = 0.0
    dropout_at: str = ""


def from_torch(module: "nn.Module") -> Network:
    """A network with the outputs of a PyTorch module (extra ``torch``).

    Parameters
    ----------
    module : torch.nn.Sequential
        Of Linear layers, each followed by at most one activation: ReLU, LeakyReLU, ELU, SELU, Sigmoid, Tanh,
        Softplus, SiLU or GELU with PyTorch's default settings, or GELU with ``approximate="tanh"``; at the end also
        Softmax over the features. Hidden layers may have Dropout behind the activation, all of them with the same p,
        which becomes the network's. A Sequential inside it counts as its layers; Identity, ``Flatten()`` and
        ``Dropout(0)`` are passed over: where the module flattens, the network takes ``X.reshape(len(X), -1)``.

    Returns
    -------
    net : Network
        With copies of the weights, in float32 whatever their dtype and device were, and the loss that is paired with
        its output. A Linear without bias has biases of zero, which training moves.

    Raises
    ------
    ModuleNotFoundError
        If PyTorch is not installed.
    ValueError
        If a layer is none of these, stands elsewhere, takes another width than the one before it gives, has weights
        that are not finite, or has hooks or parametrizations, which compute more than its class does (pruning, a
        weight or spectral norm): the first such layer is named by its index and its class.
    TypeError
        If module is no Sequential, or has complex weights.

    Notes
    -----
    A classifier that was trained with ``CrossEntropyLoss`` ends in a Linear, and ``CrossEntropyLoss`` applies the
    softmax. ``from_torch(nn.Sequential(module, nn.Softmax(dim=1)))`` has it as its output, and the loss with it.

    Examples
    --------
    >>> module = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10), nn.Softmax(dim=1))  # doctest: +SKIP
    >>> from_torch(module)  # doctest: +SKIP
    Network((64, 128, 10), hidden='relu', output='softmax', loss='cross_entropy'): 9,610 parameters
    """
    if not _is_sequential(module):
        raise TypeError(
            f"module is a {type(module).__name__}; it must be an nn.Sequential, without a forward of its own. If it "
            f"holds one, pass that."
        )
    scale, layers = _layers_of(module)
    if not layers:
        raise ValueError("module has no Linear layer; it must have at least one.")
    *hidden, output = layers
    net = Network(
        [layers[0].W.shape[1], *(len(layer.b) for layer in layers)], [layer.activation for layer in hidden],
        output.activation, init="zeros", dropout=_dropout_of(hidden, output), scale=scale,
    )  # fmt: skip
    for to, layer in zip(net.layers, layers, strict=True):
        to.W[:], to.b[:] = layer.W, layer.b
    return net


def _layers_of(module: Any) -> tuple[float, list[_Dense]]:
    """The scale and the layers of a Sequential, or an error that names the first module that does not belong."""
    nn = _torch().nn
    scale = 1.0
    layers: list[_Dense] = []
    for where, layer in _modules_of(module, "module"):
        what = _what(where, layer)
        kind, activation, last = type(layer), _activation_of(layer), layers[-1] if layers else None
        if kind is nn.Linear:
            dense = _Dense(_values(f"{where}.weight", layer.weight), np.zeros(layer.out_features, np.float32))
            if layer.bias is not None:
                dense.b = _values(f"{where}.bias", layer.bias)
            if last and last.activation == "softmax":
                raise _misplaced(last.activation_at)
            if last and len(last.b) != layer.in_features:
                raise ValueError(f"{what} takes {layer.in_features} features; the Linear before gives {len(last.b)}.")
            layers.append(dense)
        elif activation is not None:
            if not last or last.activation_at or last.dropout_at:
                raise _misplaced(what)
            if activation == "softmax" and len(last.b) == 1:
                raise ValueError(f"{what} is a softmax of one output, which is always 1; use Sigmoid instead.")
            last.activation, last.activation_at = activation, what
        elif kind is nn.Dropout:
            if p := inputs.number(f"p of {where} (Dropout)", layer.p, least=0, below=1):
                if not last or last.dropout_at:
                    raise _misplaced(what)
                last.dropout, last.dropout_at = p, what
        elif kind is _scale_class():
            if last:
                raise _misplaced(what)
            scale *= layer.scale
        elif kind is not nn.Identity and (kind is not nn.Flatten or (layer.start_dim, layer.end_dim) != (1, -1)):
            raise ValueError(f"{what} is none that a network has, which are {_known()}.")
    return scale, layers


def _dropout_of(hidden: list[_Dense], output: _Dense) -> float:
    """The one probability with which all hidden units are dropped."""
    if output.dropout_at:
        raise _misplaced(output.dropout_at)
    rates = {layer.dropout for layer in hidden} or {0.0}
    if len(rates) > 1:
        first = next(layer.dropout_at for layer in hidden if layer.dropout_at)
        raise ValueError(
            f"{first} is not behind every hidden layer with the same p; a network drops the units of all of them with "
            f"one probability. Change p, or take Dropout out, which leaves predictions as they are."
        )
    return rates.pop()


def _is_sequential(module: Any) -> bool:
    sequential = _torch().nn.Sequential
    return isinstance(module, sequential) and type(module).forward is sequential.forward


def _modules_of(module: Any, where: str) -> Iterator[tuple[str, Any]]:
    """The layers of a Sequential and of those inside it, in order, each with its place: ``module[2][0]``."""
    _check_calls(module, where)
    for i, layer in enumerate(module):
        place = f"{where}[{i}]"
        if _is_sequential(layer):
            yield from _modules_of(layer, place)
        else:
            _check_calls(layer, place)
            yield place, layer


def _what(where: str, layer: Any) -> str:
    return f"{where}, {type(layer).__name__}({layer.extra_repr()}),"


def _check_calls(layer: Any, where: str) -> None:
    """That a call of a module is its forward alone, on weights that stand in it."""
    if hooks := [*layer._forward_pre_hooks.values(), *layer._forward_hooks.values()]:
        names = ", ".join(getattr(hook, "__name__", type(hook).__name__) for hook in hooks)
        raise ValueError(
            f"{_what(where, layer)} has forward hooks ({names}), whose work is not converted. Take them off, those of "
            f"torch.nn.utils by prune.remove, remove_weight_norm or remove_spectral_norm."
        )
    if _torch().nn.utils.parametrize.is_parametrized(layer):
        names = ", ".join(layer.parametrizations)
        raise ValueError(
            f"{_what(where, layer)} has parametrizations ({names}), which are not converted. Take them off with "
            f"torch.nn.utils.parametrize.remove_parametrizations."
        )


def _activation_of(layer: Any) -> str | None:
    """Which activation a module is, if any."""
    nn = _torch().nn
    for name, (kind, settings) in MODULES.items():
        if type(layer) is getattr(nn, kind) and all(getattr(layer, key) in given for key, given in settings.items()):
            return name
    return None


def _known() -> str:
    """The modules that are taken."""
    activations = (
        f"{kind}({', '.join(f'{key}={values[0]!r}' for key, values in settings.items())})"
        for kind, settings in MODULES.values()
    )
    return f"Linear, {', '.join(activations)}, Dropout, Identity and Flatten()"


def _misplaced(what: str) -> ValueError:
    return ValueError(
        f"{what} stands where a network has none: behind each Linear comes at most one activation, behind that of a "
        f"hidden layer at most one Dropout, and Softmax behind the last Linear alone."
    )


def _values(name: str, tensor: Any) -> np.ndarray:
    """A parameter as float32, finite."""
    torch = _torch()
    dtype = torch.promote_types(tensor.dtype, torch.float32)  # NumPy has no bfloat16
    return inputs.float32(name, tensor.detach().cpu().to(dtype).numpy())


# ---- ONNX --------------------------------------------------------------------------------------------------------


def to_onnx(net: Network, path: str | os.PathLike[str]) -> None:
    """Write a network to an ONNX file, of opset 13 and IR version 7 (extra ``onnx``).

    Parameters
    ----------
    net : Network
        Of activations and a loss that are built in.
    path : path-like
        In a folder that is there; the file is replaced at once.

    Raises
    ------
    ModuleNotFoundError
        If onnx is not installed.
    ValueError
        If an activation or the loss is one's own, or there are more parameters than fit in the 2 GB of an ONNX file.
    TypeError
        If net is no network.
    OSError
        If the file cannot be written; what was there before stays.

    Notes
    -----
    The model's input is ``X``, float32 of shape (m, n_0) for any m, which is multiplied by the network's scale in the
    model; its output is ``Y_hat``, (m, n_L), that of ``net.predict`` to float32's rounding. The weights are
    initializers ``W1``, ``b1``, …. Each layer is a Gemm and its activation; silu, gelu and gelu_tanh, which later
    opsets have, are made of smaller operators, so that older runtimes read the file too.

    Examples
    --------
    >>> to_onnx(net, "net.onnx")  # doctest: +SKIP
    >>> onnxruntime.InferenceSession("net.onnx").run(["Y_hat"], {"X": X})[0]  # doctest: +SKIP
    """
    _check(net)
    onnx = _onnx()
    if 4 * net.n_parameters > MOST_BYTES:
        raise ValueError(f"net has {net.n_parameters:,} parameters; an ONNX file holds at most {MOST_BYTES // 4:,}.")
    io._replace(Path(path), _model(onnx, net).SerializeToString())


def _model(onnx: Any, net: Network) -> Any:
    """The network as a ModelProto."""
    from . import __version__

    make, nodes, A = onnx.helper, [], "X"
    arrays: dict[str, np.ndarray] = {}
    constants: dict[float, str] = {}

    def node(operator: str, arguments: list[Any], result: str, **attributes: Any) -> str:
        """Add a node, and the numbers among its arguments as constants; its result."""
        names = [x if isinstance(x, str) else constants.setdefault(x, f"c{len(constants) + 1}") for x in arguments]
        nodes.append(make.make_node(operator, names, [result], **attributes))
        return result

    if net.scale != 1:
        A = node("Mul", [A, net.scale], "A0")
    for l, (layer, activation) in enumerate(zip(net.layers, (*net.hidden, net.output), strict=True), start=1):
        last = "Y_hat" if l == len(net.layers) else f"A{l}"
        lines = OPERATORS[activation]
        arrays[f"W{l}"], arrays[f"b{l}"] = layer.W, layer.b
        A = of = node("Gemm", [A, f"W{l}", f"b{l}"], f"Z{l}" if lines else last, transB=1)
        for i, (operator, *arguments) in enumerate(lines, start=1):
            given = [{Z: of, RESULT: A}.get(x, x) for x in arguments]
            A = node(operator, given, last if i == len(lines) else f"{last}_{i}")
    arrays |= {name: np.array(value, np.float32) for value, name in constants.items()}
    ends = (
        [make.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["m", n])]
        for name, n in (("X", net.sizes[0]), ("Y_hat", net.sizes[-1]))
    )
    initializers = [onnx.numpy_helper.from_array(values, name) for name, values in arrays.items()]
    graph = make.make_graph(nodes, "fastprop", *ends, initializers)
    return make.make_model_gen_version(
        graph, opset_imports=[make.make_opsetid("", OPSET)], producer_name="fastprop", producer_version=__version__
    )
