"""The optimizers: for each, a `prepare` routine that runs once per step and an `update` loop over the flat parameters.

`prepare` turns the optimizer's settings and this step's learning rate into the scalars `hyper`, which `update`
reads. `state` holds the moments, each `stride` floats after the previous one. `n` is a multiple of 16.
"""

from typing import Any

import numba.core.types as types
import numpy as np

from .jit import kernel, routine
from .simd import LANES, fma, get, load, put, sqrt, store


def PREPARE(element: types.Float) -> Any:
    """Return the signature of a `prepare` routine: (hyper, settings, lr, t)."""
    return types.void(types.CPointer(element), types.CPointer(types.float64), types.float64, types.int64)


def UPDATE(element: types.Float) -> Any:
    """Return the signature of an `update` routine: (theta, gradient, state, stride, hyper, n)."""
    pointer = types.CPointer(element)
    return types.void(pointer, pointer, pointer, types.int64, pointer, types.int64)


@routine(PREPARE)
def sgd_prepare(hyper, settings, lr, t):
    """hyper = lr, momentum, weight decay, and the factors of the gradient and of v in the step"""
    momentum = get(settings, 0)
    nesterov = get(settings, 1)
    weight_decay = get(settings, 2)
    put(hyper, 0, lr)
    put(hyper, 1, momentum)
    put(hyper, 2, weight_decay)
    put(hyper, 3, 1.0 if nesterov else 0.0)
    put(hyper, 4, momentum if nesterov else 1.0)


@routine(UPDATE)
def sgd_update(theta, gradient, state, stride, hyper, n):
    """g = dθ + weight_decay·θ; θ −= lr·g"""
    lr, weight_decay = get(hyper, 0), get(hyper, 2)
    for i in range(0, n, LANES):
        x = load(theta, i)
        g = fma(x, weight_decay, load(gradient, i))
        store(theta, i, fma(g, -lr, x))


@routine(UPDATE)
def momentum_update(theta, gradient, state, stride, hyper, n):
    """g = dθ + weight_decay·θ; v = momentum·v + g; θ −= lr·v, or with Nesterov θ −= lr·(g + momentum·v)"""
    lr, momentum, weight_decay = get(hyper, 0), get(hyper, 1), get(hyper, 2)
    of_g, of_v = get(hyper, 3), get(hyper, 4)
    for i in range(0, n, LANES):
        x = load(theta, i)
        g = fma(x, weight_decay, load(gradient, i))
        v = fma(load(state, i), momentum, g)
        store(state, i, v)
        store(theta, i, fma(fma(v, of_v, g * of_g), -lr, x))


@kernel
def adam_scalars(hyper, settings, lr, t):
    """hyper = the step lr/(1 − β₁ᵗ), 1/√(1 − β₂ᵗ), β₁, 1 − β₁, β₂, 1 − β₂, ε, lr·weight_decay"""
    beta_1, beta_2, epsilon = get(settings, 0), get(settings, 1), get(settings, 2)
    put(hyper, 0, lr / (1.0 - beta_1**t))
    put(hyper, 1, 1.0 / np.sqrt(1.0 - beta_2**t))
    put(hyper, 2, beta_1)
    put(hyper, 3, 1.0 - beta_1)
    put(hyper, 4, beta_2)
    put(hyper, 5, 1.0 - beta_2)
    put(hyper, 6, epsilon)
    put(hyper, 7, lr * get(settings, 3))


@routine(PREPARE)
def adam_prepare(hyper, settings, lr, t):
    """hyper = as in `adam_scalars`"""
    adam_scalars(hyper, settings, lr, t)


@routine(PREPARE)
def adam_hat_prepare(hyper, settings, lr, t):
    """hyper = as in `adam_scalars`, with ε = ε̂/√(1 − β₂ᵗ), for θ −= lr·√(1 − β₂ᵗ)/(1 − β₁ᵗ)·m/(√v + ε̂)"""
    adam_scalars(hyper, settings, lr, t)
    put(hyper, 6, get(settings, 2) / np.sqrt(1.0 - get(settings, 1) ** t))


@routine(UPDATE)
def adam_update(theta, gradient, state, stride, hyper, n):
    """m = β₁m + (1−β₁)g; v = β₂v + (1−β₂)g²; θ −= lr·m̂/(√v̂ + ε) + lr·weight_decay·θ, m̂ = m/(1−β₁ᵗ), v̂ = v/(1−β₂ᵗ)"""
    lr, of_root, decay = get(hyper, 0), get(hyper, 1), get(hyper, 7)
    beta_1, rest_1, beta_2, rest_2, epsilon = get(hyper, 2), get(hyper, 3), get(hyper, 4), get(hyper, 5), get(hyper, 6)
    for i in range(0, n, LANES):
        g, x = load(gradient, i), load(theta, i)
        m = fma(load(state, i), beta_1, g * rest_1)
        v = fma(load(state, stride + i), beta_2, g * rest_2 * g)
        store(state, i, m)
        store(state, stride + i, v)
        store(theta, i, fma(x, -decay, x) - m * lr / fma(sqrt(v), of_root, epsilon))


@routine(PREPARE)
def rmsprop_prepare(hyper, settings, lr, t):
    """hyper = lr, ρ, 1 − ρ, ε"""
    rho = get(settings, 0)
    put(hyper, 0, lr)
    put(hyper, 1, rho)
    put(hyper, 2, 1.0 - rho)
    put(hyper, 3, get(settings, 1))


@routine(UPDATE)
def rmsprop_update(theta, gradient, state, stride, hyper, n):
    """v = ρv + (1 − ρ)g²; θ −= lr·g/(√v + ε)"""
    lr, rho, rest, epsilon = get(hyper, 0), get(hyper, 1), get(hyper, 2), get(hyper, 3)
    for i in range(0, n, LANES):
        g = load(gradient, i)
        v = fma(load(state, i), rho, g * rest * g)
        store(state, i, v)
        store(theta, i, load(theta, i) - g * lr / (sqrt(v) + epsilon))


@routine(PREPARE)
def adagrad_prepare(hyper, settings, lr, t):
    """hyper = lr, ε"""
    put(hyper, 0, lr)
    put(hyper, 1, get(settings, 0))


@routine(UPDATE)
def adagrad_update(theta, gradient, state, stride, hyper, n):
    """v = v + g²; θ −= lr·g/(√v + ε)"""
    lr, epsilon = get(hyper, 0), get(hyper, 1)
    for i in range(0, n, LANES):
        g = load(gradient, i)
        v = fma(g, g, load(state, i))
        store(state, i, v)
        store(theta, i, load(theta, i) - g * lr / (sqrt(v) + epsilon))
