"""Whole passes over a plan: forward, backward, a step, an epoch; and how threads share them.

A step has two phases. Phase 1, over panels of samples: gather X and Y, forward, cost, and all dZ down to the first
layer. Phase 2, over columns of the weights: dW, db and the update. A batch too large for the cache is cut into chunks,
which go through both phases one by one; or where the weights are small, in *parts*: each a run of chunks that one
thread takes all the way to a gradient of their own, so that no activation leaves its core. Phase 2 adds the parts.

No sum is ever split between threads, so the number of threads cannot show in the result.

No phase counts on how many threads really run. Work is claimed: every item of every phase has a number, its
*ticket*, handed out in order; whoever draws one waits until all earlier phases are done, and does it. One thread
alone gets through, and a late one finds nothing left.
"""

import numpy as np
from numba import prange
from numba.core import types

from . import equations, vectors
from .jit import entry, kernel, routine, spliced
from .plan import (
    BACKWARD,
    COST,
    FORWARD,
    GRADIENTS,
    LOSS,
    OUTPUT,
    SHUFFLE,
    TRANSPOSE,
    UPDATE,
    UPDATES,
    WEIGHT,
    job_at,
    layer_at,
    padded,
    panel_stride,
    row_stride,
)  # fmt: skip
from .simd import (
    LANES,
    at,
    block_on_stack,
    call,
    call_float64,
    doubles,
    fetch_add,
    floats,
    get,
    indices,
    integers,
    load,
    load_first,
    pause,
    prefetch,
    put,
    read_acquire,
    splat,
    store,
    store_first,
    yield_core,
)  # fmt: skip
from .tiles import transpose_tile

SPINS = 200  # then yield: with two threads on one core, 20,000 spins cost 99.7% of the speed, 200 spins 80%


# ---- data in and out ---------------------------------------------------------------------------------------------


@kernel
def row_of(order, i):
    """The user's row that is the i-th of the epoch; `order` is an address, 0: as they stand."""
    return i if order == 0 else np.int64(get(indices(order), i))


# Shuffled rows miss the caches, so each row that is gathered asks for the first lines of one that will be, and the
# processor's own prefetcher goes on from there. 65,536 rows of 8 features: 3.28 µs a step of 32 without, 3.00 with;
# 64 or 128 rows ahead, or asking for Y too, gained no more; asking before the panel's own rows are read gained less or
# the same.
AHEAD_ROWS = 32
AHEAD_FLOATS = 128


@kernel
def gather(A, A_T, X, order, start, count, n, rows):
    """One panel of `count` ≤ 16 rows of X, in both forms; zero elsewhere.

    A [n][16], A_T (or None) its transposed blocks, X (rows, n)
    """
    block = block_on_stack()
    for k in range(0, n, LANES):
        real = min(LANES, n - k)
        form = block if A_T is None else at(A_T, k * LANES)
        for s in range(count):
            source = row_of(order, start + s) * n + k
            store(form, LANES * s, load(X, source) if real == LANES else load_first(X, source, real))
        for s in range(count, LANES):
            store(form, LANES * s, splat(0.0))
        transpose_tile(LANES, (at(A, k * LANES), form, 1))
    if order:
        for i in range(start + AHEAD_ROWS, min(start + AHEAD_ROWS + count, rows)):
            for k in range(0, min(n, AHEAD_FLOATS), LANES):
                prefetch(X, row_of(order, i) * n + k)


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
    pack_columns(floats(A), floats(source), n, m)
    if A_T:
        equations.transpose(floats(A_T), floats(A), n, (m + LANES - 1) // LANES)


@kernel
def pack_columns(A, columns, n, m):
    """The panels A [⌈m/16⌉][n][16] from `columns` (n, m)."""
    for p in range((m + LANES - 1) // LANES):
        pack_panel(at(A, p * panel_stride(n)), at(columns, p * LANES), n, m, m - p * LANES)


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
    space = np.empty((3 * n + 1) * LANES, np.float32)
    Z_panel, Y_panel, dZ, weight = (
        at(space, 0),
        at(space, n * LANES),
        at(space, 2 * n * LANES),
        at(space, 3 * n * LANES),
    )
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
    for p in range((m + LANES - 1) // LANES):
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
        put(Y, LANES * get(integers(labels), row_of(order, start + s)) + s, np.float32(1.0))


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
    total = 0.0
    for i in range(start, start + count):
        total += np.float64(get(floats(weights), row_of(order, i)))
    return total


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


# ---- passes over a plan ------------------------------------------------------------------------------------------


@kernel
def forward_pass(layers, n_layers, parameters, work, first, last, transposed, output):
    """Z = W·A_prev + b and A = g(Z) of every layer, for panels first…last of the workspace.

    The rows of X stand in the workspace already (:func:`gather`). With `transposed`, hidden activations get the
    second form that equation 2 reads. Without `output`, the last layer stops at Z, from which its loss is computed.
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
        if transposed and layer.A_T >= 0:
            equations.transpose(at(work, layer.A_T + here), A, n, panels)


@kernel
def backward_pass(layers, n_layers, parameters, work, first, last):
    """All dA and dZ below the output's dZ, for panels first…last: equations 4 and 1, layer by layer."""
    panels = last - first
    for l in range(n_layers - 1, 0, -1):
        layer, under = layer_at(layers, l), layer_at(layers, l - 1)
        n, n_prev = layer.n, layer.n_prev
        here, below = first * panel_stride(n), first * panel_stride(n_prev)
        dA, dZ = at(work, under.dA + below), at(work, under.dZ + below)
        Z, A = at(work, under.Z + below), at(work, under.A + below)
        equations.dA(dA, at(parameters, layer.W), at(work, layer.dZ + here), A, n, n_prev, panels, layer.relu_prev)
        if under.derivative:
            equations.dZ(dZ, dA, Z, A, under.derivative, n_prev, panels)


@kernel
def gradients_pass(layers, n_layers, gradients, work, panels, scale, keep):
    """All dW and db: equations 2 and 3; scale is 1/m, and keep = 1 adds to what is there."""
    for l in range(n_layers):
        layer = layer_at(layers, l)
        n, n_prev = layer.n, layer.n_prev
        dZ = at(work, layer.dZ)
        equations.dW(at(gradients, layer.W), dZ, at(work, layer.A_prev), at(work, layer.A_prev_T), n, n_prev, panels,
                     scale, keep, 0, (n_prev + LANES - 1) // LANES)  # fmt: skip
        equations.db(at(gradients, layer.b), dZ, n, panels, scale, keep)


# ---- the two phases of a step ------------------------------------------------------------------------------------

SHUFFLING, ONE, TWO = 0, 1, 2  # before the first step of an epoch, its order


@spliced
def phase_one(job, step, chunk, item, count, thread):
    """Item of `count`: some panels of a chunk; or in a plan of parts, some chunks with their gradients."""
    c0, c1 = chunk, chunk + 1
    work, part = floats(job.work), floats(job.parts)
    if job.parts:
        chunks = chunks_of(job, step)
        c0, c1 = item * chunks // count, (item + 1) * chunks // count
        work, part = at(work, job.work_stride * thread), at(part, job.part_stride * item)
    for c in range(c0, c1):
        _, size = chunk_of(job, step, c)
        panels = (size + LANES - 1) // LANES
        first, last = item * panels // count, (item + 1) * panels // count
        if job.parts:
            first, last = 0, panels
        chunk_pass(job, work, step, c, first, last)
        if job.parts and job.do & GRADIENTS:
            scale, keep = inverse(weight_of(job, step)), np.float32(0.0 if c == c0 else 1.0)
            gradients_pass(job.layers, job.n_layers, part, work, panels, scale, keep)


@spliced
def chunk_pass(job, work, step, chunk, first, last):
    """Panels first…last of a chunk: whatever `job.do` asks of X, forward, Ŷ, cost and dZ."""
    do, order = job.do, job.order
    start, size = chunk_of(job, step, chunk)
    if do & UPDATE and chunk == 0 and first == 0:
        t = get(doubles(job.totals), UPDATES) + 1.0
        put(doubles(job.totals), UPDATES, t)
        rate = get(doubles(job.rates), (step - job.first_step) * job.rate_stride)
        call(job.prepare, (floats(job.hyper), doubles(job.settings), rate, np.int64(t)))
    bottom, top = layer_at(job.layers, 0), layer_at(job.layers, job.n_layers - 1)
    n_0, n_L = bottom.n_prev, top.n
    if job.vectors:
        one_sample(job, work, start, bottom, top)
        return
    for p0 in range(first, last, job.block_panels):
        p1 = min(last, p0 + job.block_panels)
        if do & FORWARD:
            for p in range(p0, p1 if job.X else p0):  # without X the panels were filled by `pack`
                A, X = at(work, bottom.A_prev + p * panel_stride(n_0)), floats(job.X)
                count = min(LANES, size - p * LANES)
                if do & TRANSPOSE and bottom.A_prev_T >= 0:
                    A_T = at(work, bottom.A_prev_T + p * panel_stride(n_0))
                    gather(A, A_T, X, order, start + p * LANES, count, n_0, job.n_samples)
                else:
                    gather(A, None, X, order, start + p * LANES, count, n_0, job.n_samples)
            forward_pass(job.layers, job.n_layers, floats(job.parameters), work, p0, p1, do & TRANSPOSE, do & OUTPUT)
        if do & OUTPUT and job.Y_hat:
            for p in range(p0, p1):
                A = at(work, top.A + p * panel_stride(n_L))
                scatter(floats(job.Y_hat), A, start + p * LANES, min(LANES, size - p * LANES), n_L)
        if do & LOSS:
            for p in range(p0, p1):
                cost_of_panel(job, work, chunk, p, start + p * LANES, min(LANES, size - p * LANES), top.dZ, top.Z, n_L)
        if do & BACKWARD:
            backward_pass(job.layers, job.n_layers, floats(job.parameters), work, p0, p1)


@kernel
def one_sample(job, work, i, bottom, top):
    """The same in a plan of vectors, for the i-th row."""
    do, parameters = job.do, floats(job.parameters)
    if do & FORWARD:
        n_0 = bottom.n_prev
        vectors.copy_row(at(work, bottom.A_prev), floats(job.X), row_of(job.order, i) * n_0, n_0)
        vectors.forward_pass(job.layers, job.n_layers, parameters, work, job.Z_panel if do & OUTPUT else -1)
    if do & OUTPUT:
        for k in range(0, top.n, LANES):
            store_first(floats(job.Y_hat), i * top.n + k, load(work, top.A + k), top.n - k)
    if do & LOSS:
        vectors.spread(at(work, job.Z_panel), at(work, top.Z), top.n)
        cost_of_panel(job, work, 0, 0, i, 1, job.dZ_panel, job.Z_panel, top.n)
        vectors.collect(at(work, top.dZ), at(work, job.dZ_panel), top.n)
    if do & BACKWARD:
        vectors.backward_pass(job.layers, job.n_layers, parameters, work)


@kernel
def cost_of_panel(job, work, chunk, p, start, count, dZ, Z, n):
    """Cost and output dZ of one panel."""
    shift = p * panel_stride(n)
    Y, w = at(work, job.Y_panels + shift), at(work, job.weight_panels + p * LANES)
    if job.labels:
        one_hot(Y, job.labels, job.order, start, count, n)
    elif job.Y == 0:
        pass  # `pack` filled the panels
    elif n == 1:
        gather_column(Y, floats(job.Y), job.order, start, count)
    else:
        gather(Y, None, floats(job.Y), job.order, start, count, n, job.n_samples)
    gather_weights(w, job.weights, job.order, start, count)
    cost = call_float64(job.loss, (at(work, dZ + shift), at(work, Z + shift), Y, w, n))
    put(doubles(job.panel_costs), job.chunk_panels * chunk + p, cost)


@kernel
def chunk_of(job, step, chunk):
    """First sample of a chunk of a step, and how many it has."""
    start = step * job.batch + chunk * job.chunk_panels * LANES
    end = min(start + job.chunk_panels * LANES, (step + 1) * job.batch, job.n_samples)
    return start, end - start


@kernel
def chunks_of(job, step):
    """How many chunks a step has."""
    size = min(job.batch, job.n_samples - step * job.batch)
    return (size + job.chunk_panels * LANES - 1) // (job.chunk_panels * LANES)


@kernel
def samples_of(job, step):
    """How many samples a step has."""
    return min(job.batch, job.n_samples - step * job.batch)


@kernel
def weight_of(job, step):
    """m of a step: the number of its samples, or the sum of their weights."""
    return total_weight(job.weights, job.order, step * job.batch, samples_of(job, step))


@kernel
def inverse(m):
    """1/m; 0 where all weights of a batch are 0, so that it changes nothing."""
    return np.float32(1.0 / m) if m > 0.0 else np.float32(0.0)


@spliced
def phase_two(job, step, chunk, item, count):
    """Item of `count`: a run of columns of the weights, their dW, db and update; or in a plan of parts, their sum.

    Item 0 also adds up the cost.
    """
    do = job.do
    _, size = chunk_of(job, step, chunk)
    if job.parts:
        size = samples_of(job, step)
    panels = (size + LANES - 1) // LANES
    m = weight_of(job, step)
    if item == 0:
        totals, costs = doubles(job.totals), doubles(job.panel_costs)
        if chunk == 0:
            put(totals, WEIGHT, get(totals, WEIGHT) + m)
        cost = 0.0
        for p in range(panels):
            cost += get(costs, job.chunk_panels * chunk + p)
        put(totals, COST, get(totals, COST) + cost)
    if not do & GRADIENTS:
        return
    if job.parts:
        add_parts(job, step, item, count)
        return
    first, last = get(integers(job.cuts), item), get(integers(job.cuts), item + 1)
    scale = inverse(m)
    keep = np.float32(0.0) if chunk == 0 else np.float32(1.0)
    chunks = chunks_of(job, step)
    fused = do & UPDATE and job.fused and chunks == 1
    update = do & UPDATE and not fused and chunk == chunks - 1
    out = floats(job.parameters) if fused else floats(job.gradients)
    if fused:  # W −= (lr/m)·dZ·A_prevᵀ at once: no gradient is written
        scale, keep = -get(floats(job.hyper), 0) * scale, np.float32(1.0)
    for l in range(job.n_layers - 1, -1, -1):
        layer = layer_at(job.layers, l)
        blocks = (layer.n_prev + LANES - 1) // LANES
        c0, c1 = max(0, first - layer.first_unit), min(blocks, last - layer.first_unit)
        if c0 < c1:
            layer_gradients(job, layer, out, panels, scale, keep, c0, c1, update)


@kernel
def items_of(job, phase, step, chunk):
    """How many items a phase has: fixed by sizes, batch and the plan, whoever comes to do them."""
    if phase == ONE and job.parts:
        return min(job.groups, chunks_of(job, step))
    if phase == ONE:
        _, size = chunk_of(job, step, chunk)
        return min(job.groups, (size + LANES - 1) // LANES)
    if phase == TWO and job.do & GRADIENTS:
        return job.items
    return 1


@kernel
def add_parts(job, step, item, count):
    """One share of the parameters: the sum of the gradient's parts, in their order, and the update."""
    vectors_in_all, parts, out = job.part_stride // LANES, floats(job.parts), floats(job.gradients)
    start, end = item * vectors_in_all // count * LANES, (item + 1) * vectors_in_all // count * LANES
    for i in range(start, end, LANES):
        g = load(parts, i)
        for part in range(1, items_of(job, ONE, step, 0)):
            g = g + load(parts, job.part_stride * part + i)
        store(out, i, g)
    if job.do & UPDATE:
        update_run(job, start, end - start)


@spliced
def layer_gradients(job, layer, out, panels, scale, keep, c0, c1, update):
    """dW of the blocks c0…c1 of columns of one layer, db with the first, and the update of both."""
    work, n, n_prev = floats(job.work), layer.n, layer.n_prev
    dZ, A, A_T = at(work, layer.dZ), at(work, layer.A_prev), at(work, layer.A_prev_T)
    if job.vectors:
        vectors.dW(at(out, layer.W), dZ, A, n, n_prev, scale, keep, c0, c1)
    else:
        for block in range(c0, c1, layer.block_columns):
            end = min(c1, block + layer.block_columns)
            equations.dW(at(out, layer.W), dZ, A, A_T, n, n_prev, panels, scale, keep, block, end)
    if c0 == 0 and job.vectors:
        vectors.db(at(out, layer.b), dZ, n, scale, keep)
    elif c0 == 0:
        equations.db(at(out, layer.b), dZ, n, panels, scale, keep)
    if update:
        ld = row_stride(n_prev)
        if c0 == 0 and c1 * LANES >= n_prev:
            update_run(job, layer.W, n * ld)
        else:
            for i in range(n):
                update_run(job, layer.W + i * ld + c0 * LANES, (c1 - c0) * LANES)
        if c0 == 0:
            update_run(job, layer.b, padded(n))


@kernel
def update_run(job, start, count):
    """The optimiser's loop over `count` parameters from `start`."""
    call(job.update, (at(floats(job.parameters), start), at(floats(job.gradients), start),
                      at(floats(job.state), start), job.state_stride, floats(job.hyper), count))  # fmt: skip


# ---- sharing the work --------------------------------------------------------------------------------------------

NEXT, DONE = 0, 8  # places of the two counters in `job.tickets`, on cache lines of their own


@kernel
def wait(tickets, due):
    """Wait until the first `due` items are done."""
    spins = 0
    while read_acquire(tickets, DONE) < due:
        if spins < SPINS:
            spins += 1
            pause()
        else:
            yield_core()


@spliced
def do_item(job, phase, step, chunk, item, count, thread):
    """Item of `count` of a phase."""
    if phase == ONE:
        phase_one(job, step, chunk, item, count, thread)
    elif phase == TWO:
        phase_two(job, step, chunk, item, count)
    else:
        shuffle(indices(job.order), job.n_samples, job.seed, job.epoch)


@spliced
def do_phase(job, thread, ticket, before, phase, step, chunk, count):
    """Do what falls to this thread of a phase of `count` items, after the `before` of earlier phases; next ticket."""
    alone, tickets = job.threads == 1, integers(job.tickets)
    item = np.int64(0) if alone else ticket - before
    while item < count:
        if not alone:
            wait(tickets, before)
        do_item(job, phase, step, chunk, item, count, thread)
        if alone:
            item += 1
        else:
            fetch_add(tickets, DONE, 1)
            ticket = fetch_add(tickets, NEXT, 1)
            item = ticket - before
    return ticket


@routine(types.void(types.int64, types.int64))
def run(address, thread):
    """Do the job at `address`, from its first step to its last, together with whichever other threads came."""
    job = job_at(address, 0)
    ticket = np.int64(0)
    before = np.int64(0)
    if job.threads > 1:
        ticket = fetch_add(integers(job.tickets), NEXT, 1)
    end = TWO + 1 if job.do & LOSS else TWO
    for step in range(job.first_step, job.last_step):
        for chunk in range(1 if job.parts else chunks_of(job, step)):
            shuffles = job.do & SHUFFLE and step == 0 and chunk == 0
            for phase in range(SHUFFLING if shuffles else ONE, end):
                count = items_of(job, phase, step, chunk)
                ticket = do_phase(job, thread, ticket, before, phase, step, chunk, count)
                before += count


@kernel
def prepare_call(address, threads, do, n_samples, first_step, last_step, X, Y, labels, weights, order, Y_hat):
    """Write into the job at `address` what differs from call to call, and set its counters back."""
    job = job_at(address, 0)
    job.threads, job.do, job.n_samples, job.first_step, job.last_step = threads, do, n_samples, first_step, last_step
    job.X, job.Y, job.labels, job.weights, job.order, job.Y_hat = X, Y, labels, weights, order, Y_hat
    put(doubles(job.totals), COST, 0.0)
    put(doubles(job.totals), WEIGHT, 0.0)
    put(integers(job.tickets), NEXT, 0)
    put(integers(job.tickets), DONE, 0)


@kernel
def totals_of(address):
    """What grew in a call: the sum of the costs, and that of the sample weights."""
    totals = doubles(job_at(address, 0).totals)
    return get(totals, COST), get(totals, WEIGHT)


@entry
def launch_alone(worker, job, threads, do, n_samples, first_step, last_step, X, Y, labels, weights, order, Y_hat):
    """Run the worker on the calling thread, without the interpreter's lock."""
    prepare_call(job, threads, do, n_samples, first_step, last_step, X, Y, labels, weights, order, Y_hat)
    call(worker, (job, 0))
    return totals_of(job)


@entry(parallel=True)
def launch(worker, job, threads, do, n_samples, first_step, last_step, X, Y, labels, weights, order, Y_hat):
    """Run the worker on `threads` threads, or on as many as there are."""
    prepare_call(job, threads, do, n_samples, first_step, last_step, X, Y, labels, weights, order, Y_hat)
    for thread in prange(threads):
        call(worker, (job, thread))
    return totals_of(job)
