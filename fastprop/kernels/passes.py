"""Transfer of data into and out of panels, and whole passes over a plan: forward, backward, gradients."""

from typing import Any

import numba.core.types as types
import numpy as np

from . import equations
from .jit import Array, Real, entry, kernel, public_kernel, routine
from .plan import layer_at, panel_stride
from .prefetch import row_of
from .simd import (
    BLOCK,
    LANES,
    at,
    bytes_at,
    drop_lanes,
    fma,
    get,
    indices,
    integers,
    load,
    load_as,
    load_first_as,
    on_stack,
    put,
    real,
    reals,
    splat,
    store,
    store_first,
    total,
    where,
    wide,
)
from .tiles import transpose_tile


def GATHER(element: types.Float) -> Any:
    """Return the signature of a gather routine: (A, A_T, X, order, start, count, n, scale)."""
    return types.void(types.CPointer(element), *[types.int64] * 6, element)


# ---- data in and out ---------------------------------------------------------------------------------------------


@public_kernel
def gather(
    A: Array, A_T: Array | None, X: Array, order: int, start: int, count: int, n: int, scale: Real = 1.0
) -> None:
    """Fill one panel, and its transpose, with `count` ≤ 16 rows of X times `scale`; zero elsewhere.

    A [n][16], A_T its transposed blocks or None, X (n_samples, n) of A's element or uint8. The rows are start… of the
    epoch (:func:`.prefetch.row_of`).
    """
    block = on_stack(A, BLOCK)
    for k in range(0, n, LANES):
        some = min(LANES, n - k)
        form = block if A_T is None else at(A_T, k * LANES)
        for s in range(count):
            source = row_of(order, start + s) * n + k
            row = load_as(A, X, source) if some == LANES else load_first_as(A, X, source, some)
            store(form, LANES * s, row * scale)
        for s in range(count, LANES):
            store(form, LANES * s, splat(A, 0.0))
        transpose_tile(LANES, (at(A, k * LANES), form, 1))


@kernel
def gather_forms(A, A_T, X, order, start, count, n, scale):
    """Do what :func:`gather` does, with A_T given as an address, 0 if it is not needed."""
    if A_T:
        gather(A, reals(A, A_T), X, order, start, count, n, scale)
    else:
        gather(A, None, X, order, start, count, n, scale)


@routine(GATHER)
def gather_reals(A, A_T, X, order, start, count, n, scale):
    """Fill one panel with rows of an X of its element."""
    gather_forms(A, A_T, reals(A, X), order, start, count, n, scale)


@routine(GATHER)
def gather_uint8(A, A_T, X, order, start, count, n, scale):
    """Fill one panel with rows of a uint8 X."""
    gather_forms(A, A_T, bytes_at(X), order, start, count, n, scale)


@kernel
def gather_column(A, X, order, start, count):
    """Fill one panel with `count` rows of a single column, as :func:`gather` does, but without transposes."""
    store(A, 0, splat(A, 0.0))
    for s in range(count):
        put(A, s, get(X, row_of(order, start + s)))


@kernel
def scatter(out, A, start, count, n, scale=1.0):
    """Write `scale` times the panel A [n][16] to the rows start…start + count of `out` (samples, n)."""
    block = on_stack(A, BLOCK)
    for k in range(0, n, LANES):
        transpose_tile(LANES, (block, at(A, k * LANES), 1))
        for s in range(count):
            store_first(out, (start + s) * n + k, load(block, LANES * s) * scale, min(LANES, n - k))


@kernel
def one_hot(Y, labels, order, start, count, n):
    """Fill one panel [n][16] with the one-hot form of `count` class labels; `labels` is an address."""
    for i in range(n):
        store(Y, LANES * i, splat(Y, 0.0))
    for s in range(count):
        label = get(integers(labels), row_of(order, start + s))
        if 0 <= label < n:  # true when they were validated, but the user may write there while the network trains
            put(Y, LANES * label + s, 1.0)


@kernel
def zero_of(a, count):
    """Return 0, or NaN if there is a NaN or an infinity among `count` vectors."""
    zero = splat(a, 0.0)
    for i in range(0, count * LANES, LANES):
        zero = fma(load(a, i), 0.0, zero)
    return np.float64(total(zero))


@kernel
def gather_weights(w, weights, order, start, count):
    """Fill one panel [16] of sample weights; `weights` is an address, 0 if all are 1. Places without a sample get 0."""
    store(w, 0, splat(w, 0.0))
    if weights == 0:
        store_first(w, 0, splat(w, 1.0), count)
    else:
        for s in range(count):
            put(w, s, get(reals(w, weights), row_of(order, start + s)))


@kernel
def total_weight(like, weights, order, start, count):
    """Return m: the number of samples, or the sum of their weights, which are numbers like `like`."""
    if weights == 0:
        return np.float64(count)
    m = 0.0
    for i in range(start, start + count):
        m += np.float64(get(reals(like, weights), row_of(order, i)))
    return m


@kernel
def random_bits(state):
    """Return the next 64 bits of splitmix64 (Steele, Lea, Flood 2014) and the next state."""
    state = state + np.uint64(0x9E3779B97F4A7C15)
    z = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31)), state


@kernel
def shuffle(order, n, seed, epoch):
    """Write the order of one epoch, uint32: Fisher–Yates on 0…n−1, a function of seed and epoch alone."""
    for i in range(n):
        put(order, i, np.uint32(i))
    key, _ = random_bits(np.uint64(epoch))
    state = np.uint64(seed) ^ key
    for i in range(n - 1, 0, -1):
        bits, state = random_bits(state)
        j = np.int64(((bits >> np.uint64(32)) * np.uint64(i + 1)) >> np.uint64(32))
        a, b = get(order, i), get(order, j)
        put(order, i, b)
        put(order, j, a)


@entry
def shuffled(order, n, seed, epoch):
    """Write the order of an epoch to an address."""
    shuffle(indices(order), n, seed, epoch)


# ---- right predictions -------------------------------------------------------------------------------------------


@kernel
def is_right(Y_hat, Y, labels, i, n):
    """Return whether the class of row i of Ŷ is that of its label, or of its row of Y; 0 for no array."""
    row = at(Y_hat, i * n)
    if n == 1:
        return (get(row, 0) > 0.5) == (get(reals(Y_hat, Y), i) > 0.5)
    label = get(integers(labels), i) if labels else greatest(at(reals(Y_hat, Y), i * n), n)
    return greatest(row, n) == label


@kernel
def greatest(row, n):
    """Return the place of the greatest of n numbers, the first of those that are equal."""
    best = np.int64(0)
    for k in range(1, n):
        if get(row, k) > get(row, best):
            best = np.int64(k)
    return best


@routine(lambda element: types.float64(*[types.CPointer(element)] * 3, types.int64))
def weight_right(Z, Y, weight, n):
    """Return the sum of the weights of a panel's samples whose class is predicted right, as :func:`is_right` tells.

    Z, Y [n][16], weight [16]. Z of a softmax is in the order of Ŷ, and a sigmoid is above 0.5 where Z is above 0.
    """
    z, y = load(Z, 0), load(Y, 0)
    if n == 1:
        right = where(z > 0.0, where(y > 0.5, 1.0, 0.0), where(y > 0.5, 0.0, 1.0))
        return total(wide(load(weight, 0) * right))
    right = splat(Z, 1.0)  # whether the greatest of the outputs so far, and of the targets so far, are the same ones
    greatest_z, greatest_y = z, y
    for i in range(1, n):
        z, y = load(Z, LANES * i), load(Y, LANES * i)
        right = where(z > greatest_z, where(y > greatest_y, 1.0, 0.0), where(y > greatest_y, 0.0, right))
        greatest_z = where(z > greatest_z, z, greatest_z)
        greatest_y = where(y > greatest_y, y, greatest_y)
    return total(wide(load(weight, 0) * right))


@kernel
def share_right(Y_hat, Y, labels, weights, m, n):
    """Return the share of m samples whose class is predicted right, by weight; all but Ŷ are addresses, 0 for none.

    Ŷ (m, n), Y (m, n) or labels (m,), weights (m,). With a single output, class 1 is above 0.5.
    """
    right, total = 0.0, 0.0
    for i in range(m):
        w = np.float64(get(reals(Y_hat, weights), i)) if weights else 1.0
        total += w
        if is_right(Y_hat, Y, labels, i, n):
            right += w
    return right / total


@entry
def accuracy(like, Y_hat, Y, labels, weights, m, n):
    """Return :func:`share_right` of Ŷ at an address, whose element is that of `like`."""
    return share_right(reals(like, Y_hat), Y, labels, weights, m, n)


# ---- passes over a plan ------------------------------------------------------------------------------------------


@kernel
def drop(a, n, panels, key, layer, sample, threshold):
    """Apply inverted dropout (Srivastava et al. 2014) to a layer's panels, whose first sample is number `sample`.

    A unit is kept if its 32-bit draw is below `threshold`: a becomes a·2³²/threshold, or 0 with probability
    1 − threshold/2³². The draw is a function of key, layer, unit and sample alone.
    """
    state, _ = random_bits(key + np.uint64(layer))
    scale = real(a, 4294967296.0 / threshold)
    for i in range(n):
        bits, state = random_bits(state)
        for p in range(panels):
            place = p * panel_stride(n) + i * LANES
            store(a, place, drop_lanes(load(a, place), bits, sample + p * LANES, threshold, scale))


@kernel
def floor_of(layer):
    """Return the least A of a layer: 0 if its activation is a fused relu."""
    return 0.0 if layer.relu else equations.NO_FLOOR


@public_kernel
def forward_pass(
    layers: Array | int, n_layers: int, parameters: Array, work: Array, first: int, last: int, transposed: int,
    output: int, key: int = 0, sample: int = 0, threshold: int = 0, has_Z: int = 0,
) -> None:  # fmt: skip
    """Compute Z = W·A_prev + b and A = g(Z) of every layer, for panels first…last of the workspace.

    The rows of X must be in the workspace (:func:`gather`). With `transposed`, hidden activations are also written in
    the transposed form that equation 2 reads. Without `output`, the last layer stops at Z, from which its loss is
    computed. With a `threshold` above 0, dropout is applied to hidden activations (:func:`drop`); the first sample of
    panel `first` is number `sample`. With `has_Z`, the workspace has Z of the first layer, or max(Z, 0), and not X.
    """
    panels = last - first
    for l in range(n_layers):
        layer = layer_at(layers, l)
        n, n_prev = layer.n, layer.n_prev
        here, below = first * panel_stride(n), first * panel_stride(n_prev)
        W, b = at(parameters, layer.W), at(parameters, layer.b)
        Z, A, A_prev = at(work, layer.Z + here), at(work, layer.A + here), at(work, layer.A_prev + below)
        if l > 0 or not has_Z:
            equations.forward(Z, W, A_prev, b, n, n_prev, panels, floor_of(layer))
        if layer.activation and (output or l < n_layers - 1):
            equations.activate(A, Z, layer.activation, n, panels)
        if threshold and l < n_layers - 1:
            drop(A, n, panels, key, l, sample, threshold)
        if transposed and layer.A_T >= 0:
            equations.transpose(at(work, layer.A_T + here), A, n, panels)


@public_kernel
def backward_pass(
    layers: Array | int, n_layers: int, parameters: Array, work: Array, first: int, last: int, key: int = 0,
    sample: int = 0, threshold: int = 0, lowest: int = 0,
) -> None:  # fmt: skip
    """Compute all dA and dZ below the output's dZ, for panels first…last: equations 4 and 1, layer by layer.

    With a `threshold` above 0, the units that the forward pass dropped pass nothing back. The last dZ is that of layer
    `lowest`.
    """
    panels = last - first
    for l in range(n_layers - 1, lowest, -1):
        layer, under = layer_at(layers, l), layer_at(layers, l - 1)
        n, n_prev = layer.n, layer.n_prev
        here, below = first * panel_stride(n), first * panel_stride(n_prev)
        dA = at(work, under.dA + below)
        dZ = at(work, under.dZ + below)
        Z = at(work, under.Z + below)
        A = at(work, under.A + below)
        equations.dA(dA, at(parameters, layer.W), at(work, layer.dZ + here), A, n, n_prev, panels, layer.relu_prev)
        if threshold:
            drop(dA, n_prev, panels, key, l - 1, sample, threshold)
        if under.derivative:
            equations.dZ(dZ, dA, Z, A, under.derivative, n_prev, panels)


@public_kernel
def gradients_pass(
    layers: Array | int, n_layers: int, gradients: Array, work: Array, panels: int, alpha: Real, beta: Real,
    prefetch_record: int = 0,
) -> None:  # fmt: skip
    """Compute the dW and db (equations 2 and 3) of all layers that are not frozen.

    α is 1/m, and β = 1 adds to the gradients that are there.
    """
    for l in range(n_layers):
        layer = layer_at(layers, l)
        if layer.trained == 0:
            continue
        n, n_prev, blocks = layer.n, layer.n_prev, layer.units
        dW, db, dZ = at(gradients, layer.W), at(gradients, layer.b), at(work, layer.dZ)
        A, A_T = at(work, layer.A_prev), at(work, layer.A_prev_T)
        equations.dW(dW, dZ, A, A_T, n, n_prev, panels, alpha, beta, 0, blocks, prefetch_record)
        equations.db(db, dZ, n, panels, alpha, beta)
