"""Data into panels and out of them, and whole passes over a plan: forward, backward, gradients."""

import numpy as np
from numba.core import types

from . import equations
from .jit import entry, kernel, routine
from .plan import layer_at, panel_stride, panels_of
from .prefetch import row_of
from .simd import (
    LANES,
    at,
    block_on_stack,
    bytes_at,
    call_float64,
    drop_lanes,
    floats,
    fma,
    get,
    indices,
    integers,
    load,
    load_first,
    pointer,
    put,
    splat,
    store,
    store_first,
    total,
)  # fmt: skip
from .tiles import transpose_tile

GATHER = types.void(pointer, *[types.int64] * 6, types.float32)

# ---- data in and out ---------------------------------------------------------------------------------------------


@kernel
def gather(A, A_T, X, order, start, count, n, scale=1.0):
    """One panel of `count` ≤ 16 rows of X, times `scale`, in both forms; zero elsewhere.

    A [n][16], A_T (or None) its transposed blocks, X (n_samples, n) of float32 or bytes
    """
    block = block_on_stack()
    for k in range(0, n, LANES):
        real = min(LANES, n - k)
        form = block if A_T is None else at(A_T, k * LANES)
        for s in range(count):
            source = row_of(order, start + s) * n + k
            store(form, LANES * s, (load(X, source) if real == LANES else load_first(X, source, real)) * scale)
        for s in range(count, LANES):
            store(form, LANES * s, splat(0.0))
        transpose_tile(LANES, (at(A, k * LANES), form, 1))


@kernel
def gather_forms(A, A_T, X, order, start, count, n, scale):
    """What :func:`gather` does, A_T being an address, 0: not wanted."""
    if A_T:
        gather(A, floats(A_T), X, order, start, count, n, scale)
    else:
        gather(A, None, X, order, start, count, n, scale)


@routine(GATHER)
def gather_floats(A, A_T, X, order, start, count, n, scale):
    """One panel of X in float32."""
    gather_forms(A, A_T, floats(X), order, start, count, n, scale)


@routine(GATHER)
def gather_uint8(A, A_T, X, order, start, count, n, scale):
    """One panel of X in bytes."""
    gather_forms(A, A_T, bytes_at(X), order, start, count, n, scale)


@kernel
def gather_column(A, X, order, start, count):
    """One panel of `count` rows of a single column: what :func:`gather` does, without the blocks."""
    store(A, 0, splat(0.0))
    for s in range(count):
        put(A, s, get(X, row_of(order, start + s)))


@kernel
def scatter(out, A, start, count, n):
    """The rows start… of `out` (samples, n) from the panel A [n][16]."""
    block = block_on_stack()
    for k in range(0, n, LANES):
        transpose_tile(LANES, (block, at(A, k * LANES), 1))
        for s in range(count):
            store_first(out, (start + s) * n + k, load(block, LANES * s), min(LANES, n - k))


@entry
def pack(A, A_T, source, n, m):
    """The panels A [⌈m/16⌉][n][16], and A_T where it is not 0, from `source` (n, m): samples as columns. Addresses."""
    panels = panels_of(m)
    for p in range(panels):
        pack_panel(at(floats(A), p * panel_stride(n)), at(floats(source), p * LANES), n, m, m - p * LANES)
    if A_T:
        equations.transpose(floats(A_T), floats(A), n, panels)


@kernel
def pack_panel(A, columns, n, m, count):
    """One panel [n][16] from the first `count` of `columns`, m apart."""
    if count >= LANES:
        for i in range(n):
            store(A, LANES * i, load(columns, i * m))
    else:
        for i in range(n):
            store(A, LANES * i, load_first(columns, i * m, count))


@entry
def cost_of_columns(loss, Z, Y, n, m):
    """J of Z and Y (n, m), samples as columns, by the loss routine at an address. Addresses."""
    panel = n * LANES
    space = np.empty(3 * panel + LANES, np.float32)
    Z_panel, Y_panel, dZ, weight = at(space, 0), at(space, panel), at(space, 2 * panel), at(space, 3 * panel)
    cost = 0.0
    for start in range(0, m, LANES):
        count = min(LANES, m - start)
        pack_panel(Z_panel, at(floats(Z), start), n, m, count)
        pack_panel(Y_panel, at(floats(Y), start), n, m, count)
        gather_weights(weight, 0, 0, start, count)
        cost += call_float64(loss, (dZ, Z_panel, Y_panel, weight, n))
    return cost / m


@entry
def unpack(out, A, n, m):
    """`out` (n, m), samples as columns, from the panels A [⌈m/16⌉][n][16]. Addresses."""
    columns, panels = floats(out), floats(A)
    for p in range(panels_of(m)):
        panel, start, count = at(panels, p * panel_stride(n)), p * LANES, m - p * LANES
        if count >= LANES:
            for i in range(n):
                store(columns, i * m + start, load(panel, LANES * i))
        else:
            for i in range(n):
                store_first(columns, i * m + start, load(panel, LANES * i), count)


@kernel
def one_hot(Y, labels, order, start, count, n):
    """One panel [n][16] of `count` class labels; `labels` is an address."""
    for i in range(n):
        store(Y, LANES * i, splat(0.0))
    for s in range(count):
        label = get(integers(labels), row_of(order, start + s))
        if 0 <= label < n:  # they were, but they are the user's, who may write there while the network trains
            put(Y, LANES * label + s, np.float32(1.0))


@kernel
def zero_of(a, count):
    """0, or NaN where NaN or infinity is among so many vectors."""
    zero = splat(0.0)
    for i in range(0, count * LANES, LANES):
        zero = fma(load(a, i), 0.0, zero)
    return np.float64(total(zero))


@kernel
def gather_weights(w, weights, order, start, count):
    """One panel of sample weights, [16]; `weights` is an address, 0: all 1. Places with no sample get 0."""
    store(w, 0, splat(0.0))
    if weights == 0:
        store_first(w, 0, splat(1.0), count)
    else:
        for s in range(count):
            put(w, s, get(floats(weights), row_of(order, start + s)))


@kernel
def total_weight(weights, order, start, count):
    """m: the number of samples, or the sum of their weights."""
    if weights == 0:
        return np.float64(count)
    m = 0.0
    for i in range(start, start + count):
        m += np.float64(get(floats(weights), row_of(order, i)))
    return m


@kernel
def random_bits(state):
    """The next 64 bits of splitmix64 (Steele, Lea, Flood 2014) and the next state."""
    state = state + np.uint64(0x9E3779B97F4A7C15)
    z = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31)), state


@kernel
def shuffle(order, n, seed, epoch):
    """Order of one epoch, uint32: Fisher–Yates on 0…n−1, a function of seed and epoch alone."""
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
    """The order of an epoch, written to an address."""
    shuffle(indices(order), n, seed, epoch)


# ---- passes over a plan ------------------------------------------------------------------------------------------


@kernel
def drop(a, n, panels, key, layer, sample, threshold):
    """Dropout of a layer's panels, of samples from `sample` on: a·2³²/threshold, or 0 with probability 1 − threshold/2³².

    What is dropped is a function of key, layer, unit and sample alone (Srivastava et al. 2014, inverted).
    """
    state, _ = random_bits(key + np.uint64(layer))
    scale = np.float32(4294967296.0 / threshold)
    for i in range(n):
        bits, state = random_bits(state)
        for p in range(panels):
            place = p * panel_stride(n) + i * LANES
            store(a, place, drop_lanes(load(a, place), bits, sample + p * LANES, threshold, scale))


@kernel
def forward_pass(layers, n_layers, parameters, work, first, last, transposed, output, key=0, sample=0, threshold=0):
    """Z = W·A_prev + b and A = g(Z) of every layer, for panels first…last of the workspace.

    The rows of X stand in the workspace already (:func:`gather`). With `transposed`, hidden activations get the
    second form that equation 2 reads. Without `output`, the last layer stops at Z, from which its loss is computed.
    With `threshold` above 0, hidden activations are dropped as :func:`drop` says, panel `first` holding `sample`.
    """
    panels = last - first
    for l in range(n_layers):
        layer = layer_at(layers, l)
        n, n_prev = layer.n, layer.n_prev
        here, below = first * panel_stride(n), first * panel_stride(n_prev)
        Z, A = at(work, layer.Z + here), at(work, layer.A + here)
        floor = np.float32(0.0) if layer.relu else equations.NO_FLOOR
        equations.forward(Z, at(parameters, layer.W), at(work, layer.A_prev + below), at(parameters, layer.b),
                          n, n_prev, panels, floor)  # fmt: skip
        if layer.activation and (output or l < n_layers - 1):
            equations.activate(A, Z, layer.activation, n, panels)
        if threshold and l < n_layers - 1:
            drop(A, n, panels, key, l, sample, threshold)
        if transposed and layer.A_T >= 0:
            equations.transpose(at(work, layer.A_T + here), A, n, panels)


@kernel
def backward_pass(layers, n_layers, parameters, work, first, last, key=0, sample=0, threshold=0):
    """All dA and dZ below the output's dZ, for panels first…last: equations 4 and 1, layer by layer.

    With `threshold`, what the forward pass dropped passes nothing back.
    """
    panels = last - first
    for l in range(n_layers - 1, 0, -1):
        layer, under = layer_at(layers, l), layer_at(layers, l - 1)
        n, n_prev = layer.n, layer.n_prev
        here, below = first * panel_stride(n), first * panel_stride(n_prev)
        dA, dZ = at(work, under.dA + below), at(work, under.dZ + below)
        Z, A = at(work, under.Z + below), at(work, under.A + below)
        equations.dA(dA, at(parameters, layer.W), at(work, layer.dZ + here), A, n, n_prev, panels, layer.relu_prev)
        if threshold:
            drop(dA, n_prev, panels, key, l - 1, sample, threshold)
        if under.derivative:
            equations.dZ(dZ, dA, Z, A, under.derivative, n_prev, panels)


@kernel
def gradients_pass(layers, n_layers, gradients, work, panels, alpha, beta, prefetch_record=0):
    """All dW and db: equations 2 and 3; alpha is 1/m, and beta = 1 adds to what is there."""
    for l in range(n_layers):
        layer = layer_at(layers, l)
        n, n_prev = layer.n, layer.n_prev
        dZ = at(work, layer.dZ)
        equations.dW(at(gradients, layer.W), dZ, at(work, layer.A_prev), at(work, layer.A_prev_T), n, n_prev, panels,
                     alpha, beta, 0, (n_prev + LANES - 1) // LANES, prefetch_record)  # fmt: skip
        equations.db(at(gradients, layer.b), dZ, n, panels, alpha, beta)
