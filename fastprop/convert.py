"""Conversion of networks to PyTorch and back, to ONNX files, and from scikit-learn's (extras ``torch``, ``onnx``).

:func:`as_torch_module` converts nothing: it makes a network a part of a PyTorch model. Of the others:
Converted is what `predict` computes, in the network's dtype: scale, W, b and the activations, and for PyTorch also
dropout. Modules and models have no loss, penalty or optimizer. The PyTorch module and the ONNX operators of each
activation stand in :mod:`fastprop.activations`. :func:`to_torch` and :func:`to_onnx` take fitted estimators of
:mod:`fastprop.sklearn` too.
"""

import copy
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .activations import ACTIVATIONS, Activation, leaky_relu
from .checks import number
from .core.arrays import reals
from .core.model import Model
from .distribution import missing
from .fitted import classes_of, network_of
from .kernels.plan import FLOAT32
from .network import Network
from .onnx_graph import Graph
from .training.files import replace_file
from .versions import __version__

if TYPE_CHECKING:
    from torch import nn

__all__ = ["as_torch_module", "from_sklearn", "from_torch", "to_onnx", "to_torch"]

OPSET = 13
MOST_BYTES = 2**31 - 2**20  # of parameters: protobuf's limit, less the rest of the model
# The settings of PyTorch's modules that are others in float64.
TORCH_FLOAT64 = {"softplus": {"threshold": 40.0}}  # beyond, z is the nearest float64
# Of a scikit-learn MLP, by its out_activation_: the output and the loss.
OUTPUTS = {
    "identity": ("identity", "mse"),
    "exp": ("identity", "poisson"),
    "logistic": ("sigmoid", "binary_crossentropy"),
    "softmax": ("softmax", "cross_entropy"),
}


def _torch() -> Any:
    try:
        import torch
    except ModuleNotFoundError:
        raise missing("torch", "to_torch, from_torch and as_torch_module need") from None
    return torch


def _onnx() -> Any:
    try:
        import onnx
    except ModuleNotFoundError:
        raise missing("onnx", "to_onnx needs") from None
    return onnx


def _checked(given: Any) -> Model:
    """Return a network, or that of a fitted estimator, which has built-in functions alone."""
    net = network_of(given)
    for function in (*net.architecture.activations, net.architecture.loss):
        if function.label is function:
            kind = type(function).__name__
            raise ValueError(
                f"net has {function!r}, a custom {kind}, which others do not have; only networks of built-in functions "
                f"are converted. Use one of {', '.join(function.built_in)} as its {kind}."
            )
    return net


# ---- PyTorch -----------------------------------------------------------------------------------------------------


@cache
def _scale_class() -> Any:
    """Return the class of the module X·scale, which is made on demand, since its base class is PyTorch's."""
    torch = _torch()
    base: Any = torch.nn.Module

    class Scale(base):
        """X·scale, for X of the module's dtype or uint8: how a network reads its rows."""

        def __init__(self, scale: float, dtype: Any):
            super().__init__()
            self.scale = scale
            like = torch.empty(0, dtype=dtype, device="cpu")  # of the dtype that the module is converted to
            self.register_buffer("like", like, persistent=False)

        def forward(self, X: Any) -> Any:
            return X.to(self.like.dtype) * self.scale

        def extra_repr(self) -> str:
            return f"{self.scale:g}"

        def __reduce__(self) -> Any:
            return _scale, (self.scale, self.like.dtype), self.__dict__

    return Scale


def _scale(scale: float, dtype: Any) -> Any:
    return _scale_class()(scale, dtype)


def to_torch(net: Any) -> "nn.Sequential":
    """Convert a network to a PyTorch module with the same outputs (extra ``torch``).

    Parameters
    ----------
    net : Network or fitted estimator of fastprop.sklearn
        With built-in activations and a built-in loss. An estimator's module is that of its `network_`: of a classifier
        it gives probabilities, of ``loss="poisson"`` the logarithm of the rate.

    Returns
    -------
    module : torch.nn.Sequential
        For each layer a Linear and its activation, unless that is the identity, and after hidden layers Dropout, if the
        network has it. A scale other than 1 becomes a module ``Scale`` of fastprop before them all, which also takes
        uint8. The module is in eval mode, on the CPU, in the network's dtype: that of a float64 network takes X of
        ``torch.double``. Its parameters are copies, and can be trained; those of frozen layers have ``requires_grad``
        False. The outputs are those of ``net.predict``, after the softmax or sigmoid, up to rounding.

    Raises
    ------
    ModuleNotFoundError
        If PyTorch is not installed.
    ValueError
        If an activation or the loss is a custom function.
    TypeError
        If net is no network and no estimator.

    Notes
    -----
    The module has no loss. To continue training, ``module[:-1]`` returns the outputs before the softmax or sigmoid,
    which ``CrossEntropyLoss`` and ``BCEWithLogitsLoss`` take.

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
    net = _checked(net)
    torch = _torch()
    modules = [] if net.scale == 1 else [_scale(net.scale, getattr(torch, net.dtype.name))]
    for layer, activation in zip(net.layers, net.architecture.activations, strict=True):
        linear = torch.nn.Linear(layer.n_prev, layer.n, device="meta")  # which draws no random weights
        linear.weight, linear.bias = (
            torch.nn.Parameter(torch.from_numpy(part.copy()), layer.trainable) for part in (layer.W, layer.b)
        )
        modules.append(linear)
        if activation.name != "identity":
            modules.append(_module_of(activation, net.dtype))
        if net.dropout:
            modules.append(torch.nn.Dropout(net.dropout))
    if net.dropout:
        modules.pop()  # the outputs have no dropout
    return torch.nn.Sequential(*modules).eval()


def _module_of(activation: Activation, dtype: np.dtype) -> Any:
    """Return the module of an activation."""
    assert activation.torch is not None, f"{activation.name} has no PyTorch module"
    kind, settings = activation.torch
    own = {} if dtype == FLOAT32 else TORCH_FLOAT64.get(activation.name, {})
    return getattr(_torch().nn, kind)(**{name: values[0] for name, values in settings.items()} | own)


@dataclass
class _Dense:
    """A Linear of a module, with the activation and the Dropout behind it; errors name them by `…_at`."""

    W: np.ndarray
    b: np.ndarray
    trainable: bool = True
    activation: str = "identity"
    activation_at: str = ""
    dropout: float = 0.0
    dropout_at: str = ""


def from_torch(module: "nn.Module") -> Network:
    """Convert a PyTorch module to a network with the same outputs (extra ``torch``).

    Parameters
    ----------
    module : torch.nn.Sequential
        Linear layers, each followed by at most one activation: LeakyReLU of any slope, ReLU, ELU, SELU, Sigmoid, Tanh,
        Softplus, SiLU or GELU with PyTorch's default settings, or GELU with ``approximate="tanh"``; at the end also
        Softmax or LogSoftmax over the features. Hidden layers may have Dropout behind the activation, all of them with
        the same p, which becomes the network's. BatchNorm1d in eval mode is folded into the weights of the Linear
        before it, or, behind an activation or at the front, into those of the Linear that follows. A Sequential inside
        it counts as its layers; Identity, ``Flatten()`` and ``Dropout(0)`` are passed over: where the module flattens,
        the network takes ``X.reshape(len(X), -1)``.

    Returns
    -------
    net : Network
        With copies of the weights, and the loss that is paired with its output. It is of float64 if any of the weights
        or biases is, and of float32 if they are float32, float16 or bfloat16. A Linear without bias has biases of zero,
        which training moves. A Linear of which no parameter has ``requires_grad`` becomes a frozen layer. Of a
        LogSoftmax its predictions are the probabilities, and not their logarithms.

    Raises
    ------
    ModuleNotFoundError
        If PyTorch is not installed.
    ValueError
        If a layer is none of these, stands elsewhere, takes another width than the one before it returns, has weights
        that are not finite, is a BatchNorm1d in training mode, which computes with each batch's mean, or has hooks or
        parametrizations, which compute more than its class does (pruning, a weight or spectral norm). The error names
        the first such layer by its index and its class.
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
    scale, layers = _Reading().of(module)
    if not layers:
        raise ValueError("module has no Linear layer; it must have at least one.")
    *hidden, output = layers
    net = Network(
        [layers[0].W.shape[1], *(len(layer.b) for layer in layers)],
        [layer.activation for layer in hidden],
        output.activation,
        init="zeros",
        dropout=_dropout_of(hidden, output),
        scale=scale,
        dtype=np.result_type(*(part for layer in layers for part in (layer.W, layer.b))),
    )
    for to, layer in zip(net.layers, layers, strict=True):
        to.W[:], to.b[:] = layer.W, layer.b
        to.trainable = layer.trainable
    return net


@dataclass
class _Affine:
    """A BatchNorm1d in eval mode, or several one after the other: x·factor + shift of each feature, in float64."""

    factor: np.ndarray
    shift: np.ndarray
    at: str

    @classmethod
    def of(cls, where: str, norm: Any) -> "_Affine":
        what = _what(where, norm)
        if norm.training or norm.running_mean is None:
            raise ValueError(
                f"{what} computes with the mean and variance of each batch, which a network does not. Train it with "
                f"track_running_stats=True, and call module.eval()."
            )
        mean, variance = _values(f"{where}.running_mean", norm.running_mean), norm.running_var
        with np.errstate(all="ignore"):
            factor = 1 / np.sqrt(_values(f"{where}.running_var", variance).astype(np.float64) + norm.eps)
            factor = factor if norm.weight is None else factor * _values(f"{where}.weight", norm.weight)
            shift = -mean * factor + (0 if norm.bias is None else _values(f"{where}.bias", norm.bias))
        if not (np.isfinite(factor).all() and np.isfinite(shift).all()):
            raise ValueError(f"{what} has a running_var that is negative, or too near 0 to be divided by.")
        return cls(factor, shift, what)

    def then(self, other: "_Affine") -> "_Affine":
        return _Affine(self.factor * other.factor, self.shift * other.factor + other.shift, self.at)

    def fold_into(self, dense: _Dense, before: bool = False) -> None:
        """Change a Linear so that it computes this too, on its outputs, or `before` it on its inputs."""
        dtype, W, b = dense.W.dtype, dense.W.astype(np.float64), dense.b.astype(np.float64)
        if before:
            W, b = W * self.factor, b + W @ self.shift
        else:
            W, b = W * self.factor[:, None], b * self.factor + self.shift
        dense.W, dense.b = (reals(f"{self.at} folded into a Linear", part, dtype) for part in (W, b))


class _Reading:
    """The layers of a Sequential as they are read; an error names the first module that does not belong."""

    def __init__(self) -> None:
        self.scale = 1.0
        self.layers: list[_Dense] = []
        self.pending: _Affine | None = None  # what comes before the next Linear

    @property
    def last(self) -> _Dense | None:
        return self.layers[-1] if self.layers else None

    def of(self, module: Any) -> tuple[float, list[_Dense]]:
        """Return the scale and the layers of a Sequential."""
        nn = _torch().nn
        for where, layer in _modules_of(module, "module"):
            kind, activation = type(layer), _activation_of(layer)
            if kind is nn.Linear:
                self._add_linear(where, layer)
            elif kind is nn.BatchNorm1d:
                self._add_norm(where, layer)
            elif activation is not None:
                self._add_activation(_what(where, layer), activation)
            elif kind is nn.Dropout:
                self._add_dropout(where, layer)
            elif kind is _scale_class():
                if self.last or self.pending:
                    raise _misplaced(_what(where, layer))
                self.scale *= layer.scale
            elif kind is not nn.Identity and (kind is not nn.Flatten or (layer.start_dim, layer.end_dim) != (1, -1)):
                raise ValueError(f"{_what(where, layer)} is none that a network has, which are {_known()}.")
        if self.pending:
            raise _misplaced(self.pending.at)
        return self.scale, self.layers

    def _check_width(self, what: str, n: int) -> None:
        """Check that a module takes the features that the one before gives."""
        given = len(self.pending.shift) if self.pending else len(self.last.b) if self.last else n
        if given != n:
            before = "BatchNorm1d" if self.pending else "Linear"
            raise ValueError(f"{what} takes {n} features; the {before} before gives {given}.")

    def _add_linear(self, where: str, linear: Any) -> None:
        dense = _Dense(_values(f"{where}.weight", linear.weight), np.zeros(linear.out_features, np.float32))
        if linear.bias is not None:
            dense.b = _values(f"{where}.bias", linear.bias)
        dense.trainable = any(parameter.requires_grad for parameter in linear.parameters())
        if self.last and self.last.activation == "softmax":
            raise _misplaced(self.last.activation_at)
        self._check_width(_what(where, linear), linear.in_features)
        if self.pending:
            self.pending.fold_into(dense, before=True)
            self.pending = None
        self.layers.append(dense)

    def _add_norm(self, where: str, norm: Any) -> None:
        affine, last = _Affine.of(where, norm), self.last
        self._check_width(affine.at, norm.num_features)
        if last and not last.activation_at and not last.dropout_at:
            affine.fold_into(last)
        else:
            self.pending = self.pending.then(affine) if self.pending else affine

    def _add_activation(self, what: str, activation: str) -> None:
        last = self.last
        if not last or last.activation_at or last.dropout_at:
            raise _misplaced(what)
        if activation == "softmax" and len(last.b) == 1:
            raise ValueError(f"{what} is a softmax of one output, which is always 1; use Sigmoid instead.")
        last.activation, last.activation_at = activation, what

    def _add_dropout(self, where: str, dropout: Any) -> None:
        p = number(f"p of {where} (Dropout)", dropout.p, least=0, below=1)
        if p:
            if not self.last or self.last.dropout_at:
                raise _misplaced(_what(where, dropout))
            self.last.dropout, self.last.dropout_at = p, _what(where, dropout)


def _dropout_of(hidden: list[_Dense], output: _Dense) -> float:
    """Return the one probability with which all hidden units are dropped."""
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
    """Yield the layers of a Sequential and of those inside it, in order, each with its place: ``module[2][0]``."""
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
    """Check that a call of a module only runs its forward, on weights that it holds itself."""
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
    """Return the name of the activation that a module is, if any; of a LogSoftmax that of the probabilities."""
    nn = _torch().nn
    if type(layer) is nn.LeakyReLU:
        return leaky_relu(layer.negative_slope).name
    if type(layer) is nn.LogSoftmax:
        return "softmax" if layer.dim in (1, -1, None) else None
    for name, kind, settings in _modules():
        if type(layer) is getattr(nn, kind) and all(getattr(layer, key) in given for key, given in settings.items()):
            return name
    return None


def _modules() -> list[tuple[str, str, dict[str, tuple[Any, ...]]]]:
    """Return the activations that PyTorch has: name, class in torch.nn, and settings."""
    return [(name, *function.torch) for name, function in ACTIVATIONS.items() if function.torch]


def _known() -> str:
    """Return the modules that are accepted, for an error."""
    activations = (
        f"{kind}({', '.join(f'{key}={values[0]!r}' for key, values in settings.items())})"
        for _, kind, settings in _modules()
    )
    return f"Linear, {', '.join(activations)}, LogSoftmax(dim=1), BatchNorm1d, Dropout, Identity and Flatten()"


def _misplaced(what: str) -> ValueError:
    return ValueError(
        f"{what} stands where a network has none: behind each Linear comes at most one activation, behind that of a "
        f"hidden layer at most one Dropout, and Softmax behind the last Linear alone."
    )


def _values(name: str, tensor: Any) -> np.ndarray:
    """Return a parameter as finite numbers, of float64 if it is, otherwise of float32."""
    torch = _torch()
    dtype = torch.promote_types(tensor.dtype, torch.float32)  # NumPy has no bfloat16
    values = tensor.detach().cpu().to(dtype).numpy()
    return reals(name, values, values.dtype)


# ---- a network inside a PyTorch model ----------------------------------------------------------------------------


@cache
def _inner_classes() -> tuple[Any, Any]:
    """Return the classes of a network's pass in PyTorch's graph and of its module, which are made on demand."""
    torch = _torch()
    function: Any = torch.autograd.Function
    base: Any = torch.nn.Module

    class NetworkFunction(function):
        """Ŷ of X and the parameters; back from ∂J/∂Ŷ to ∂J/∂X and ∂J/∂θ."""

        @staticmethod
        def forward(context: Any, module: Any, X: Any, *parameters: Any) -> Any:
            net = module.net
            Y_hat = net.forward(X.detach().numpy())
            context.net, context.kept, context.passes = net, net.engines.kept, net.engines.kept.passes
            context.save_for_backward(X, *parameters)  # which notices if they are written before the pass back
            return torch.from_numpy(Y_hat)

        @staticmethod
        @torch.autograd.function.once_differentiable
        def backward(context: Any, dA: Any) -> Any:
            X, net, kept = context.saved_tensors[0], context.net, context.net.engines.kept
            if kept is not context.kept or kept.passes != context.passes:  # another pass has replaced its activations
                net.forward(X.detach().numpy())
            net.backward(dA=dA.numpy())
            needs_X, *needs = context.needs_input_grad[1:]
            gradients = [gradient for layer in net.layers for gradient in (layer.dW, layer.db)]
            return (
                None,
                torch.from_numpy(net.dX) if needs_X else None,
                *(torch.from_numpy(g.copy()) if wanted else None for g, wanted in zip(gradients, needs, strict=True)),
            )

    class NetworkModule(base):
        """A network as a module: its parameters W1, b1, … are the network's own memory."""

        def __init__(self, net: Network, trained: tuple[bool, ...] | None = None):
            super().__init__()
            self.net = net
            values = [value for layer in net.layers for value in (layer.W, layer.b)]
            trained = trained or tuple(layer.trainable for layer in net.layers for _ in "Wb")
            for i, value in enumerate(values):
                parameter = torch.nn.Parameter(torch.from_numpy(value), trained[i])
                self.register_parameter(f"{'Wb'[i % 2]}{i // 2 + 1}", parameter)
            self._places = [parameter.data_ptr() for parameter in self.parameters()]

        def forward(self, X: Any) -> Any:
            parameters = list(self.parameters())
            self._check(X, parameters)
            if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in (X, *parameters)):
                return NetworkFunction.apply(self, X, *parameters)
            return torch.from_numpy(self.net.predict(X.detach().numpy()))

        def _check(self, X: Any, parameters: list[Any]) -> None:
            dtypes = getattr(torch, self.net.dtype.name), torch.uint8
            if not isinstance(X, torch.Tensor):
                raise TypeError(f"X is a {type(X).__name__}; it must be a tensor.")
            if X.dtype not in dtypes or X.device.type != "cpu" or X.layout != torch.strided:
                raise TypeError(
                    f"X is a tensor of {X.dtype} on {X.device}; this network takes dense ones of {dtypes[0]} or "
                    f"torch.uint8 on the CPU. Convert X, or make the network with another dtype."
                )
            if [parameter.data_ptr() for parameter in parameters] != self._places:
                raise RuntimeError(
                    "the module's parameters are no longer the network's memory. Write them in place, for example "
                    "load_state_dict without assign, or make another module: as_torch_module(net)."
                )

        def _apply(self, function: Any, recurse: bool = True) -> Any:
            if any(function(p.data).data_ptr() != place for p, place in zip(self.parameters(), self._places)):
                raise TypeError(
                    f"the module cannot be moved or converted: its parameters are the memory of a network of "
                    f"{self.net.dtype.name} on the CPU. Make the network with another dtype, or use to_torch."
                )
            return super()._apply(function, recurse)

        def extra_repr(self) -> str:
            return repr(self.net)

        def __reduce__(self) -> Any:
            trained = tuple(parameter.requires_grad for parameter in self.parameters())
            rest = {name: value for name, value in vars(self).items() if name not in ("_parameters", "_places", "net")}
            return _inner_module, (self.net, trained), rest

        def __deepcopy__(self, memo: Any) -> Any:
            made, arguments, rest = self.__reduce__()
            other = made(*copy.deepcopy(arguments, memo))
            for parameter, own in zip(self.parameters(), other.parameters()):
                memo[id(parameter)] = own  # of which an optimizer that is copied with the module is one
            other.__setstate__(copy.deepcopy(rest, memo))
            return other

    return NetworkFunction, NetworkModule


def _inner_module(net: Network, trained: tuple[bool, ...] | None = None) -> Any:
    return _inner_classes()[1](net, trained)


def as_torch_module(net: Network) -> "nn.Module":
    """Make a network a module that computes, and is trained, inside a PyTorch model (extra ``torch``).

    Parameters
    ----------
    net : Network
        Without dropout. Its activations may be custom; its loss, penalty and optimizer have no part in this.

    Returns
    -------
    module : torch.nn.Module
        From X to Ŷ, tensors of the network's dtype on the CPU; X may be of ``torch.uint8`` too. Its parameters W1, b1,
        … are the network's own memory: what an optimizer of PyTorch does to them, the network has done to it, and
        ``module.net``, which is `net`, can predict, be saved and trained by itself at any time. Those of frozen layers
        have ``requires_grad`` False. Deep copies and pickles have a copy of the network.

    Raises
    ------
    ModuleNotFoundError
        If PyTorch is not installed.
    TypeError
        If net is no network.
    ValueError
        If it has dropout, which only its own training applies.

    Notes
    -----
    A pass back fills ``net.gradients``, and copies of them are the gradients of the parameters. Between a pass forward
    and the pass back through it, the network may make other passes: the activations are then computed once more. A
    second derivative raises PyTorch's error.

    Examples
    --------
    >>> inner = as_torch_module(Network((64, 128, 16), output="tanh"))  # doctest: +SKIP
    >>> model = nn.Sequential(nn.Linear(10, 64), nn.ReLU(), inner, nn.Linear(16, 1))  # doctest: +SKIP
    >>> optimizer = torch.optim.Adam(model.parameters())  # doctest: +SKIP
    """
    if not isinstance(net, Network):
        raise TypeError(f"net is {net!r}; it must be a Network.")
    _torch()  # raises if it is not there
    if net.dropout:
        raise ValueError(
            f"net has dropout={net.dropout:g}, which is applied in its own training only. Make it without, and put "
            f"nn.Dropout before or behind the module."
        )
    return _inner_module(net)


# ---- scikit-learn ------------------------------------------------------------------------------------------------


def from_sklearn(mlp: Any) -> Network:
    """Convert a fitted MLPClassifier or MLPRegressor of scikit-learn to a network with the same predictions.

    Parameters
    ----------
    mlp : sklearn.neural_network.MLPClassifier or MLPRegressor
        Fitted by scikit-learn, or by :mod:`fastprop.sklearn`, whose estimators have their network as `network_` too.

    Returns
    -------
    net : Network
        With copies of the weights, in their dtype, and the loss that they were fitted with. Of a classifier it gives
        the probabilities, of two classes that of the second, and `classes` are the labels if they are whole numbers or
        text. Of ``MLPRegressor(loss="poisson")`` it gives the logarithm of the predictions.

    Raises
    ------
    TypeError
        If it is no such estimator, or is not fitted.

    Examples
    --------
    >>> net = from_sklearn(MLPClassifier().fit(X, y))  # doctest: +SKIP
    >>> net.predict(X)  # what predict_proba gives  # doctest: +SKIP
    """
    if hasattr(type(mlp), "network_") and hasattr(mlp, "coefs_"):
        return copy.deepcopy(mlp.network_)
    coefs, out_activation = getattr(mlp, "coefs_", None), getattr(mlp, "out_activation_", None)
    if coefs is None or out_activation not in OUTPUTS:
        raise TypeError(f"mlp is {mlp!r}; it must be a fitted MLPClassifier or MLPRegressor of scikit-learn.")
    output, loss = OUTPUTS[out_activation]
    net = Network(
        [len(coefs[0]), *(len(b) for b in mlp.intercepts_)],
        "sigmoid" if mlp.activation == "logistic" else mlp.activation,
        output,
        loss,
        init="zeros",
        dtype=coefs[0].dtype,
    )
    for l, (layer, W, b) in enumerate(zip(net.layers, coefs, mlp.intercepts_, strict=True)):
        layer.W[:] = reals(f"coefs_[{l}]", W, net.dtype).T
        layer.b[:] = reals(f"intercepts_[{l}]", b, net.dtype)
    net.classes = classes_of(mlp)
    return net


# ---- ONNX --------------------------------------------------------------------------------------------------------


def to_onnx(net: Any, path: str | os.PathLike[str]) -> None:
    """Write a network or an estimator to an ONNX file, of opset 13 and IR version 7 (extra ``onnx``).

    Parameters
    ----------
    net : Network or fitted estimator of fastprop.sklearn
        With built-in activations and a built-in loss.
    path : path-like
        In an existing folder; the file is replaced atomically.

    Raises
    ------
    ModuleNotFoundError
        If onnx is not installed.
    ValueError
        If an activation or the loss is a custom function, if a network of float64 has a gelu, whose erf ONNX Runtime
        has in float32 only, if there are more parameters than the 2 GB of an ONNX file can hold, or if the classes of
        an estimator are neither whole numbers nor text.
    TypeError
        If net is no network and no estimator.
    OSError
        If the file cannot be written; an existing file stays as it was.

    Notes
    -----
    The model's input is ``X``, of the network's dtype (FLOAT or DOUBLE) and of shape (m, n_0) for any m, which the
    model multiplies by the network's scale; its output is ``Y_hat``, of that dtype and of shape (m, n_L), equal to
    ``net.predict`` up to rounding. The weights are initializers ``W1``, ``b1``, …. Each layer is a Gemm and its
    activation; silu, gelu and gelu_tanh, which later opsets have, are composed of smaller operators, so that older
    runtimes can read the file too, and so in float64 are leaky_relu, elu, selu and softplus. The network's `classes`
    stand in the metadata under ``classes``, as JSON.

    An estimator's model is laid out as skl2onnx's are without ZipMap. That of a classifier has the outputs ``label``,
    of shape (m,) and INT64 or STRING, and ``probabilities``, of shape (m, classes); with several labels both are
    (m, n). That of a regressor has the output ``variable``, (m, n). The dtype is that of the fit. To convert a pipeline
    with an estimator in it, use ``skl2onnx.to_onnx(pipeline, X[:1])``, to which :mod:`fastprop.sklearn` adds the
    converters.

    Examples
    --------
    >>> to_onnx(net, "net.onnx")  # doctest: +SKIP
    >>> onnxruntime.InferenceSession("net.onnx").run(["Y_hat"], {"X": X})[0]  # doctest: +SKIP
    """
    given, net = net, _checked(net)
    onnx = _onnx()
    if net.n_parameters > (most := MOST_BYTES // net.dtype.itemsize):
        raise ValueError(
            f"net has {net.n_parameters:,} parameters of {net.dtype.name}; an ONNX file holds at most {most:,}."
        )
    replace_file(Path(path), _model(onnx, given, net).SerializeToString())


def _model(onnx: Any, given: Any, net: Model) -> Any:
    """Return a network, or a fitted estimator with the network `net`, as a ModelProto."""
    graph, make = Graph(net.dtype), onnx.helper
    if given is net:
        results: dict[str, int | None] = {graph.add_network(net, "X", "Y_hat"): net.sizes[-1]}
    else:
        results = graph.add_estimator(given, net, "X", getattr(given, "classes_", None))
    kind = make.np_dtype_to_tensor_dtype(net.dtype)
    text = any(array.dtype == object for array in graph.arrays.values())
    labels = onnx.TensorProto.STRING if text else onnx.TensorProto.INT64
    ends = [
        make.make_tensor_value_info(name, labels if name == "label" else kind, ["m"] if n is None else ["m", n])
        for name, n in {"X": net.sizes[0], **results}.items()
    ]
    nodes = [make.make_node(operator, names, [result], **more) for operator, names, result, more in graph.nodes]
    initializers = [onnx.numpy_helper.from_array(values, name) for name, values in graph.arrays.items()]
    model = make.make_model_gen_version(
        make.make_graph(nodes, "fastprop", ends[:1], ends[1:], initializers),
        opset_imports=[make.make_opsetid("", OPSET)], producer_name="fastprop", producer_version=__version__,
    )  # fmt: skip
    if net.classes is not None:
        make.set_model_props(model, {"classes": json.dumps(net.classes)})
    return model
