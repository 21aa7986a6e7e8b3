"""The derivation in plain NumPy, line by line, in any float dtype: the oracle of every test.

Samples are columns, as in the source: X is (n_0, m), W⁽ˡ⁾ (n_l, n_{l-1}), b⁽ˡ⁾ (n_l, 1). Parameters, cache and
gradients are dictionaries: ``parameters["W1"]``, ``cache["A0"]``, ``grads["dZ2"]``.
"""

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

Arrays = dict[str, np.ndarray]


def relu(Z: np.ndarray, deriv: bool = False) -> np.ndarray:
    """max(Z, 0), or with `deriv` its derivative, which at 0 is taken to be 0."""
    return (Z > 0).astype(Z.dtype) if deriv else np.maximum(Z, 0)


def sigmoid(Z: np.ndarray, deriv: bool = False) -> np.ndarray:
    """1/(1 + e⁻ᶻ), or its derivative. Written with e^(−|Z|), which cannot overflow."""
    small = np.exp(-np.abs(Z))
    A = np.where(Z < 0, small, 1) / (1 + small)
    return A * (1 - A) if deriv else A


def tanh(Z: np.ndarray, deriv: bool = False) -> np.ndarray:
    """tanh Z, or its derivative."""
    A = np.tanh(Z)
    return 1 - A * A if deriv else A


def identity(Z: np.ndarray, deriv: bool = False) -> np.ndarray:
    """Z, or its derivative."""
    return np.ones_like(Z) if deriv else Z


def leaky_relu(Z: np.ndarray, deriv: bool = False, slope: float = 0.01) -> np.ndarray:
    """Z above 0, slope·Z below; or its derivative. ``"leaky_relu(0.2)"`` is the one with a slope of 0.2."""
    return np.where(Z > 0, 1, slope).astype(Z.dtype) if deriv else np.where(Z > 0, Z, slope * Z)


def elu(Z: np.ndarray, deriv: bool = False) -> np.ndarray:
    """Z above 0, e^Z − 1 below; or its derivative."""
    low = np.minimum(Z, 0)
    return np.where(Z > 0, 1, np.exp(low)) if deriv else np.where(Z > 0, Z, np.expm1(low))


def selu(Z: np.ndarray, deriv: bool = False) -> np.ndarray:
    """1.0507·Z above 0, 1.0507·1.6733·(e^Z − 1) below; or its derivative (Klambauer et al. 2017)."""
    scale, alpha, low = 1.0507009873554805, 1.6732632423543772, np.minimum(Z, 0)
    return scale * (np.where(Z > 0, 1, alpha * np.exp(low)) if deriv else np.where(Z > 0, Z, alpha * np.expm1(low)))


def softplus(Z: np.ndarray, deriv: bool = False) -> np.ndarray:
    """log(1 + e^Z), or its derivative."""
    return sigmoid(Z) if deriv else np.logaddexp(0, Z)


def silu(Z: np.ndarray, deriv: bool = False) -> np.ndarray:
    """Z/(1 + e^−Z), or its derivative."""
    S = sigmoid(Z)
    return S + Z * S * (1 - S) if deriv else Z * S


def gelu(Z: np.ndarray, deriv: bool = False) -> np.ndarray:
    """Z·Φ(Z), Φ being the distribution function of the normal distribution; or its derivative."""
    Phi = (1 + np.vectorize(math.erf, otypes=[Z.dtype])(Z / math.sqrt(2))) / 2
    return Phi + Z * np.exp(-Z * Z / 2) / math.sqrt(2 * math.pi) if deriv else Z * Phi


def gelu_tanh(Z: np.ndarray, deriv: bool = False) -> np.ndarray:
    """Z/2·(1 + tanh(√(2/π)·(Z + 0.044715·Z³))), or its derivative."""
    root = math.sqrt(2 / math.pi)
    T = np.tanh(root * (Z + 0.044715 * Z**3))
    return (1 + T + Z * (1 - T * T) * root * (1 + 0.134145 * Z * Z)) / 2 if deriv else Z * (1 + T) / 2


def softmax(Z: np.ndarray) -> np.ndarray:
    """e^Z / Σ e^Z over each column, the maximum subtracted first."""
    E = np.exp(Z - Z.max(axis=0, keepdims=True))
    return E / E.sum(axis=0, keepdims=True)


HIDDEN = {
    g.__name__: g for g in (relu, sigmoid, tanh, identity, leaky_relu, elu, selu, softplus, silu, gelu, gelu_tanh)
}
OUTPUT: dict[str, Any] = {**HIDDEN, "softmax": softmax}
LEAST = 1e-7  # the least probability of which the logarithm is taken


def mse(Y_hat: np.ndarray, Y: np.ndarray, deriv: bool = False) -> np.ndarray:
    """½ (ŷ − y)² of each output, or its derivative by ŷ, like all losses below."""
    return Y_hat - Y if deriv else (Y_hat - Y) ** 2 / 2


def mae(Y_hat: np.ndarray, Y: np.ndarray, deriv: bool = False) -> np.ndarray:
    """``|ŷ − y|``"""
    return np.sign(Y_hat - Y) if deriv else np.abs(Y_hat - Y)


def huber(Y_hat: np.ndarray, Y: np.ndarray, deriv: bool = False) -> np.ndarray:
    """½ (ŷ − y)² up to a distance of 1, ``|ŷ − y| − ½`` beyond"""
    E = Y_hat - Y
    return np.clip(E, -1, 1) if deriv else np.where(np.abs(E) <= 1, E * E / 2, np.abs(E) - 0.5)


def binary_crossentropy(Y_hat: np.ndarray, Y: np.ndarray, deriv: bool = False) -> np.ndarray:
    """−y log ŷ − (1 − y) log(1 − ŷ), ŷ kept in [LEAST, 1 − LEAST]"""
    P = np.clip(Y_hat, LEAST, 1 - LEAST)
    return (P - Y) / (P * (1 - P)) * (Y_hat == P) if deriv else -Y * np.log(P) - (1 - Y) * np.log(1 - P)


def cross_entropy(Y_hat: np.ndarray, Y: np.ndarray, deriv: bool = False) -> np.ndarray:
    """−y log ŷ, ŷ kept at LEAST or above"""
    P = np.maximum(Y_hat, LEAST)
    return -Y / P * (Y_hat > LEAST) if deriv else -Y * np.log(P)


def poisson(Y_hat: np.ndarray, Y: np.ndarray, deriv: bool = False) -> np.ndarray:
    """e^ŷ − y·ŷ, ŷ being the logarithm of a rate"""
    return np.exp(Y_hat) - Y if deriv else np.exp(Y_hat) - Y * Y_hat


def quantile(*quantiles: float) -> Any:
    """The pinball loss max(q·(y − ŷ), (q − 1)·(y − ŷ)) of one quantile q for each output, or for all outputs"""
    q = np.array(quantiles)[:, None]

    def loss(Y_hat: np.ndarray, Y: np.ndarray, deriv: bool = False) -> np.ndarray:
        E = Y - Y_hat
        return np.where(E > 0, -q, np.where(E < 0, 1 - q, E)) if deriv else np.maximum(q * E, (q - 1) * E)

    return loss


LOSSES = {loss.__name__: loss for loss in (mse, mae, huber, binary_crossentropy, cross_entropy, poisson)}
PAIRS = {"identity": "mse", "sigmoid": "binary_crossentropy", "softmax": "cross_entropy"}


FAMILIES: dict[str, Any] = {"leaky_relu": lambda slope: partial(leaky_relu, slope=slope), "quantile": quantile}


def named(register: Mapping[str, Any], name: Any) -> Any:
    """Return the function of a name in a register, of a name with numbers, or the function itself."""
    if callable(name) or name in register:
        return name if callable(name) else register[name]
    family, _, numbers = name.partition("(")
    return FAMILIES[family](*map(float, numbers.rstrip(")").split(",")))


def _hidden(hidden: Any, L: int) -> list[Any]:
    """Return g of each hidden layer, given by name or as a function g(Z, deriv=False)."""
    names = [hidden] * (L - 1) if isinstance(hidden, str) or callable(hidden) else list(hidden)
    return [named(HIDDEN, name) for name in names]


def initialise_parameters(sizes: Sequence[int], rng: Any = None) -> Arrays:
    """W⁽ˡ⁾ normal with variance 2/n_{l-1} (He et al. 2015), b⁽ˡ⁾ zero; float64."""
    rng = np.random.default_rng(rng)
    parameters = {}
    for l in range(1, len(sizes)):
        parameters["W" + str(l)] = rng.standard_normal((sizes[l], sizes[l - 1])) * np.sqrt(2 / sizes[l - 1])
        parameters["b" + str(l)] = np.zeros((sizes[l], 1))
    return parameters


def forward_propagation(
    X: np.ndarray, parameters: Mapping[str, np.ndarray], output: str = "softmax", hidden: str | Sequence[str] = "relu"
) -> Arrays:
    """The cache {"A0": X, "Z1", "A1", …, "ZL", "AL"}: Z = W·A_prev + b, A = g(Z)."""
    L = len(parameters) // 2
    g = [*_hidden(hidden, L), named(OUTPUT, output)]
    cache = {"A0": X}
    for l in range(1, L + 1):
        cache["Z" + str(l)] = np.dot(parameters["W" + str(l)], cache["A" + str(l - 1)]) + parameters["b" + str(l)]
        cache["A" + str(l)] = g[l - 1](cache["Z" + str(l)])
    return cache


def compute_cost(cache: Mapping[str, np.ndarray], Y: np.ndarray, output: str = "softmax") -> float:
    """The mean over the batch of the loss that is paired with the output, from Z, so that it never overflows.

    identity: ½ Σ (ŷ − y)². sigmoid: −Σ y log ŷ + (1 − y) log(1 − ŷ). softmax: −Σ y log ŷ.
    """
    return float(np.sum(_paired_losses(cache, Y, output)) / Y.shape[1])


def _paired_losses(cache: Mapping[str, np.ndarray], Y: np.ndarray, output: str) -> np.ndarray:
    """The loss of each output of each sample."""
    Z = cache["Z" + str((len(cache) - 1) // 2)]
    if output == "identity":
        return (Z - Y) ** 2 / 2
    if output == "sigmoid":
        return np.maximum(Z, 0) - Z * Y + np.log1p(np.exp(-np.abs(Z)))
    shifted = Z - Z.max(axis=0, keepdims=True)
    return Y * (np.log(np.exp(shifted).sum(axis=0, keepdims=True)) - shifted)


def backpropagation(
    cache: Mapping[str, np.ndarray],
    Y: np.ndarray,
    parameters: Mapping[str, np.ndarray],
    hidden: str | Sequence[str] = "relu",
) -> Arrays:
    """The four equations: {"dZL", "dWL", "dbL", "dA(L-1)", "dZ(L-1)", …, "dW1", "db1"}."""
    L = len(parameters) // 2
    return backward(cache["A" + str(L)] - Y, cache, parameters, hidden)


def general_backpropagation(
    cache: Mapping[str, np.ndarray],
    dA: np.ndarray,
    parameters: Mapping[str, np.ndarray],
    output: str = "softmax",
    hidden: str | Sequence[str] = "relu",
) -> Arrays:
    """The four equations from any dA of the output, and equation 4 once more: {"dZL", "dWL", …, "db1", "dA0"}.

    dA is the derivative of each sample's own loss, of which J is the mean: dW and db have the factor 1/m, dA0 has not.
    """
    grads = backward(output_dZ(cache, dA, output), cache, parameters, hidden)
    return {**grads, "dA0": np.dot(parameters["W1"].T, grads["dZ1"])}


def general_cost(
    cache: Mapping[str, np.ndarray], Y: np.ndarray, output: Any, loss: Any, weights: np.ndarray | None = None
) -> float:
    """The mean over the batch of any loss with any output, given by names or as functions like those above.

    `weights`, of shape (m,) or (n_L, m), makes it Σ w·ℓ / (Σ w/n_L); where w is 0, Y may be NaN.
    """
    if (output, loss) in PAIRS.items():
        losses = _paired_losses(cache, Y, output)
    else:
        losses = named(LOSSES, loss)(cache["A" + str((len(cache) - 1) // 2)], Y)
    w = np.broadcast_to(1.0 if weights is None else weights, losses.shape)
    return float(np.sum(np.where(w > 0, w * losses, 0)) / (np.sum(w) / len(Y)))


def penalty(parameters: Mapping[str, np.ndarray], l2: float) -> float:
    """l2/2·Σ W², which adds l2·W to each dW."""
    return l2 / 2 * sum(float(np.sum(theta**2)) for name, theta in parameters.items() if name.startswith("W"))


def general_dZ(cache: Mapping[str, np.ndarray], Y: np.ndarray, output: Any, loss: Any) -> np.ndarray:
    """Equation 1 at the output, for any loss: from its derivative, or of a pair Ŷ − Y."""
    A = cache["A" + str((len(cache) - 1) // 2)]
    if (output, loss) in PAIRS.items():
        return A - Y
    return output_dZ(cache, named(LOSSES, loss)(A, Y, deriv=True), output)


def output_dZ(cache: Mapping[str, np.ndarray], dA: np.ndarray, output: Any) -> np.ndarray:
    """Equation 1 at the output, from any ∂J/∂A: dZ = dA ∗ g′(Z); for a softmax, its Jacobian times dA."""
    L = (len(cache) - 1) // 2
    Z, A = cache["Z" + str(L)], cache["A" + str(L)]
    if output == "softmax":
        return A * (dA - np.sum(A * dA, axis=0, keepdims=True))
    return np.multiply(dA, named(OUTPUT, output)(Z, deriv=True))


def backward(
    dZ: np.ndarray,
    cache: Mapping[str, np.ndarray],
    parameters: Mapping[str, np.ndarray],
    hidden: str | Sequence[str] = "relu",
) -> Arrays:
    """The four equations, from dZ of the output backwards."""
    L = len(parameters) // 2
    m = dZ.shape[1]
    g = _hidden(hidden, L)
    grads = {"dZ" + str(L): dZ}
    grads["dW" + str(L)] = (1 / m) * np.dot(grads["dZ" + str(L)], cache["A" + str(L - 1)].T)
    grads["db" + str(L)] = (1 / m) * np.sum(grads["dZ" + str(L)], axis=1, keepdims=True)
    for l in range(L - 1, 0, -1):
        grads["dA" + str(l)] = np.dot(parameters["W" + str(l + 1)].T, grads["dZ" + str(l + 1)])
        grads["dZ" + str(l)] = np.multiply(grads["dA" + str(l)], g[l - 1](cache["Z" + str(l)], deriv=True))
        grads["dW" + str(l)] = (1 / m) * np.dot(grads["dZ" + str(l)], cache["A" + str(l - 1)].T)
        grads["db" + str(l)] = (1 / m) * np.sum(grads["dZ" + str(l)], axis=1, keepdims=True)
    return grads


def update_parameters(
    parameters: Mapping[str, np.ndarray], grads: Mapping[str, np.ndarray], learning_rate: float
) -> Arrays:
    """Gradient descent: W − learning_rate·dW, b − learning_rate·db, as new arrays."""
    return {name: theta - learning_rate * grads["d" + name] for name, theta in parameters.items()}
