"""One training step in two phases, and how threads share it.

Phase 1 is shared by panels of samples: gather X and Y, forward, cost, and all dZ down to the first layer that is
trained. Phase 2 is shared by columns of the weights: dW, db and the update. Frozen layers have no part in it. A batch
too large for the cache is cut into chunks, which go through both phases one by one. If the weights are small, it is cut
into *parts* instead: a part is a run of chunks that one thread takes all the way to a gradient of their own, so that no
activation leaves its core; phase 2 then adds the parts. A batch of one sample has phases of its own, on vectors, and
goes through them in stages, layer by layer.

No sum is ever split between threads, so the number of threads cannot change the result.

No phase relies on the number of threads that really run. Threads claim their work: every work item of every phase has
a number, its *ticket*, and tickets are handed out in order. A thread that gets a ticket waits until all earlier phases
are done, and then does the item. A single thread gets through alone, and a late one finds nothing left to do.

The phases are routines, which the worker calls by address. If they were linked into the worker, they would be optimised
once more (12 s to compile instead of 7); and those for parts and for vectors are compiled only when they are needed.
"""

from typing import Any

import numba.core.types as types
import numpy as np
from numba import prange

from . import equations, vectors
from .jit import Routine, entry, kernel, routine
from .passes import (
    backward_pass,
    forward_pass,
    gather,
    gather_column,
    gather_weights,
    gradients_pass,
    one_hot,
    random_bits,
    scatter,
    share_right,
    shuffle,
    total_weight,
    zero_of,
)
from .plan import (
    ACCURACY,
    BACKWARD,
    COLUMN_BLOCK,
    COST,
    COST_BEFORE,
    COST_SCALE,
    DONE,
    DROP,
    ELAPSED,
    EPOCH_ACCURACY,
    EPOCH_LOSS,
    EPOCH_SECONDS,
    EPOCH_SPEED,
    FORWARD,
    GRADIENTS,
    HELD_OUT_ACCURACY,
    HELD_OUT_COST,
    L2,
    LEARNING_RATE,
    LEAST_COST,
    LOSS,
    MAX_NORM,
    MIN_DELTA,
    NEXT,
    OUTPUT,
    RECORD_LENGTH,
    RIGHT,
    RIGHT_BEFORE,
    SCALE,
    SECONDS,
    SECONDS_BEFORE,
    SHUFFLE,
    SQUARES_BLOCK,
    STARTED,
    STOPPED,
    SUMS,
    TRANSPOSE,
    UPDATE,
    UPDATES_BEFORE,
    UPDATES_BEFORE_EPOCH,
    WEIGHT,
    WEIGHT_BEFORE,
    Plan,
    job_at,
    layer_at,
    padded,
    panel_stride,
    panels_of,
    row_stride,
)
from .prefetch import RECORD, row_of, start_prefetch
from .simd import (
    LANES,
    address_at,
    at,
    bytes_at,
    call,
    call_float64,
    clock,
    doubles,
    fetch_add,
    fma,
    get,
    indices,
    integers,
    load,
    on_stack,
    pause,
    put,
    read_acquire,
    real,
    reals,
    splat,
    store,
    store_first,
    total,
    yield_core,
)

LEAST_SECONDS = 1e-9  # of an epoch, for its speed
SPINS = 200  # then yield: with two threads on one core, 20,000 spins cost 99.7% of the speed, 200 spins 80%
# The phases of a step; SHUFFLING is done before the first step of an epoch, and END_OF_EPOCH after the last.
SHUFFLING, PHASE_ONE, PHASE_TWO, SQUARES, LATE, END_OF_EPOCH = range(6)
# Scales gradients whose squares overflow: the sum of SQUARES_BLOCK squares of the largest float32 stays finite. Those
# of float64 stay infinite, as no wider type can hold them.
UNIT = 2.0**-70


def PHASE(element: types.Float) -> Any:
    """Return the signature of a phase: (job, step, chunk, item, count, thread), where job points to the record."""
    return types.void(types.CPointer(element), *[types.int64] * 5)


# ---- what the phases share ---------------------------------------------------------------------------------------


@kernel
def samples_in_step(job, step):
    """Return the number of samples of a step."""
    return min(job.batch, job.n_samples - step * job.batch)


@kernel
def chunk_range(job, step, chunk):
    """Return the first sample of a chunk of a step, and the number of its samples."""
    first = chunk * job.chunk_panels * LANES
    return step * job.batch + first, min(job.chunk_panels * LANES, samples_in_step(job, step) - first)


@kernel
def n_chunks(job, step):
    """Return the number of chunks of a step."""
    return (samples_in_step(job, step) + job.chunk_panels * LANES - 1) // (job.chunk_panels * LANES)


@kernel
def step_weight(job, step):
    """Return m of a step: the number of its samples, or the sum of their weights."""
    return total_weight(job, job.weights, job.order, step * job.batch, samples_in_step(job, step))


@kernel
def inverse(job, m):
    """Return 1/m, or 0 if all weights of a batch are 0, so that the batch changes nothing; or 1/divisor."""
    if job.divisor:
        return real(job, 1.0 / np.float64(job.divisor))
    return real(job, 1.0 / m) if m > 0.0 else real(job, 0.0)


@kernel
def gradient_target(job, fused, m, chunk):
    """Return the memory that equations 2 and 3 write, and their α and β.

    If the update is fused, it is the parameters: W −= (lr/m)·dZ·A_prevᵀ at once, and no gradient is written.
    """
    if fused:
        return reals(job, job.parameters), -get(reals(job, job.hyper), LEARNING_RATE) * inverse(job, m), real(job, 1.0)
    return reals(job, job.gradients), inverse(job, m), real(job, 0.0 if chunk == 0 else 1.0)


@kernel
def start_prefetch_after_chunk(prefetch_record, job, step, chunk, item, count):
    """Start the prefetch of one work item's share of the rows that the next chunk reads; return the record."""
    start, size = chunk_range(job, step, chunk)
    start += size
    size = min(size, job.n_samples - start)
    start_prefetch(prefetch_record, job, start + item * size // count, start + (item + 1) * size // count)
    return prefetch_record


@kernel
def prepare_update(job):
    """Count a step and let the optimizer prepare it, before anything else of the step is done."""
    before = get(doubles(job.updates), 0)
    t = before + 1.0
    put(doubles(job.updates), 0, t)
    rate = get(doubles(job.rates), np.int64(before - get(doubles(job.totals), UPDATES_BEFORE)) * job.rate_stride)
    call(job.prepare, (reals(job, job.hyper), doubles(job.settings), rate, np.int64(t)))


@kernel
def weight_in_mean(job, step, m):
    """Return the weight of a step in the mean over several: m, or `by_samples` the number of its samples."""
    return np.float64(samples_in_step(job, step)) if job.by_samples and m > 0.0 else m


@kernel
def sum_of_panels(values, first, panels):
    """Return the sum of the values of some panels; `values` is an address."""
    result = 0.0
    for p in range(first, first + panels):
        result += get(doubles(values), p)
    return result


@kernel
def add_cost(job, step, m, first, panels):
    """Add the costs of some panels of a step, and what is right of them, to the totals.

    With the step's first panel, its weight is added too.
    """
    totals = doubles(job.totals)
    cost = sum_of_panels(job.panel_costs, first, panels)
    right = sum_of_panels(job.panel_rights, first, panels) if job.do & ACCURACY else 0.0
    weight = weight_in_mean(job, step, m)
    if job.by_samples and m > 0.0:
        cost *= weight / m
        right *= weight / m
    put(totals, COST, get(totals, COST) + cost * get(totals, COST_SCALE))
    put(totals, RIGHT, get(totals, RIGHT) + right)
    if first == 0:
        put(totals, WEIGHT, get(totals, WEIGHT) + weight)


@kernel
def dropout_key(job, step):
    """Return the random bits of a step: a function of the seed and of the optimizer's number of steps."""
    t = get(doubles(job.totals), UPDATES_BEFORE_EPOCH) + np.float64(step)
    bits, _ = random_bits(np.uint64(job.drop_seed) + np.uint64(np.int64(t)))
    return bits


@kernel
def cost_by_outputs(job, start, count, dZ, Z, Y, w, n):
    """Compute the cost and dZ of one panel, output by output, each with weights of its own.

    The loss of each output must not depend on the others. The weights are gathered in the place of dZ.
    """
    gather(dZ, None, reals(job, job.output_weights), job.order, start, count, n)
    cost = 0.0
    for i in range(n):
        row = LANES * i
        store(w, 0, load(dZ, row))
        cost += call_float64(job.loss, (at(dZ, row), at(Z, row), at(Y, row), w, 1, i))
    return cost


@kernel
def panel_cost(job, work, chunk, p, start, count, dZ, Z, n, zero):
    """Compute the cost and the output's dZ of one panel, and if asked for the weight of what is right.

    `zero` is added to the cost: 0, or NaN if X is not finite, since the tanh of infinity is finite, but dW is not; nor
    is 0·NaN of a sample of weight 0.
    """
    shift = p * panel_stride(n)
    Y = at(work, job.Y_panels + shift)
    w = at(work, job.weight_panels + p * LANES)
    if job.labels:
        one_hot(Y, job.labels, job.order, start, count, n)
    elif job.Y == 0:
        pass  # the caller has filled the panels (`transfers.bring_in`)
    elif n == 1:
        gather_column(Y, reals(job, job.Y), job.order, start, count)
    else:
        gather(Y, None, reals(job, job.Y), job.order, start, count, n)
    if job.output_weights:
        cost = cost_by_outputs(job, start, count, at(work, dZ + shift), at(work, Z + shift), Y, w, n)
    else:
        gather_weights(w, job.weights, job.order, start, count)
        cost = call_float64(job.loss, (at(work, dZ + shift), at(work, Z + shift), Y, w, n, 0))
    put(doubles(job.panel_costs), job.chunk_panels * chunk + p, cost + zero)
    if job.do & ACCURACY:
        right = call_float64(job.weight_right, (at(work, Z + shift), Y, w, n))
        put(doubles(job.panel_rights), job.chunk_panels * chunk + p, right)


@kernel
def chunk_pass(address, job, work, step, chunk, first, last, thread):
    """Do for panels first…last of a chunk what `job.do` asks for: gather X, forward, Ŷ, cost and dZ."""
    do = job.do
    order = job.order
    layers, n_layers = job.layers, job.n_layers
    parameters = reals(job, job.parameters)
    start, size = chunk_range(job, step, chunk)
    bottom = layer_at(layers, 0)
    top = layer_at(layers, n_layers - 1)
    threshold = job.drop_threshold if do & DROP else np.int64(0)
    key = dropout_key(job, step)
    sample = job.chunk_panels * LANES * chunk
    n_0 = bottom.n_prev
    n_L = top.n
    scale = real(job, get(doubles(job.totals), SCALE))
    gathers = job.X and not job.sparse_forward  # without X, the caller has filled the panels
    for p0 in range(first, last, job.block_panels):
        p1 = min(last, p0 + job.block_panels)
        zero = 0.0
        if do & FORWARD:
            if job.sparse_forward:
                zero = call_float64(job.sparse_forward, (address, step, chunk, p0, p1, thread))
            for p in range(p0, p1 if gathers else p0):
                shift = p * panel_stride(n_0)
                count = min(LANES, size - p * LANES)
                A_T = np.int64(0)
                if do & TRANSPOSE and bottom.A_prev_T >= 0:
                    A_T = address_at(work, bottom.A_prev_T + shift)
                A = at(work, bottom.A_prev + shift)
                call(job.gather, (A, A_T, job.X, order, start + p * LANES, count, n_0, scale))
            transposed, s0 = do & TRANSPOSE, sample + p0 * LANES
            output = do & OUTPUT and not do & LOSS  # with a loss, which reads Z, the output follows below
            has_Z = job.sparse_forward != 0
            forward_pass(layers, n_layers, parameters, work, p0, p1, transposed, output, key, s0, threshold, has_Z)
        if do & LOSS:
            for p in range(p0, p1):
                count = min(LANES, size - p * LANES)
                if job.unchecked and not job.sparse_forward:
                    zero = zero_of(at(work, bottom.A_prev + p * panel_stride(n_0)), n_0)
                panel_cost(job, work, chunk, p, start + p * LANES, count, top.dZ, top.Z, n_L, zero)
        if do & OUTPUT:
            if do & LOSS and top.activation:
                shift = p0 * panel_stride(n_L)
                equations.activate(at(work, top.A + shift), at(work, top.Z + shift), top.activation, n_L, p1 - p0)
            for p in range(p0, p1 if job.Y_hat else p0):
                A = at(work, top.A + p * panel_stride(n_L))
                scatter(reals(job, job.Y_hat), A, start + p * LANES, min(LANES, size - p * LANES), n_L)
        if do & BACKWARD:
            backward_pass(layers, n_layers, parameters, work, p0, p1, key, sample + p0 * LANES, threshold, job.lowest)


# ---- a chunk, shared by its panels and then by columns of the weights -------------------------------------------


@routine(PHASE)
def panels_of_chunk(address, step, chunk, item, count, thread):
    """Phase 1: some panels of a chunk."""
    job = job_at(address)
    if job.do & UPDATE and chunk == 0 and item == 0:
        prepare_update(job)
    panels = panels_of(chunk_range(job, step, chunk)[1])
    first, last = item * panels // count, (item + 1) * panels // count
    chunk_pass(address, job, reals(job, job.work), step, chunk, first, last, thread)


@routine(PHASE)
def columns_of_chunk(address, step, chunk, item, count, thread):
    """Phase 2: dW, db and the update of some columns of the weights; the first work item adds up the cost."""
    job = job_at(address)
    work = reals(job, job.work)
    do = job.do
    chunks = n_chunks(job, step)
    m = step_weight(job, step)
    panels = panels_of(chunk_range(job, step, chunk)[1])
    if item == 0:
        add_cost(job, step, m, job.chunk_panels * chunk, panels)
    if not do & GRADIENTS:
        return
    fused = is_fused(job, chunks)
    updates = updates_columns(job, chunk, chunks)
    out, alpha, beta = gradient_target(job, fused, m, chunk)
    record = np.int64(0)
    if not job.sparse_forward:
        record = start_prefetch_after_chunk(address_at(on_stack(job, RECORD), 0), job, step, chunk, item, count)
    for l in range(job.n_layers - 1, -1, -1):
        layer = layer_at(job.layers, l)
        c0, c1 = item_columns(job, layer, item)
        dW, dZ = at(out, layer.W), at(work, layer.dZ)
        A, A_T = at(work, layer.A_prev), at(work, layer.A_prev_T)
        if l == 0 and job.sparse_dW:
            call(job.sparse_dW, (address, step, chunk, item, count, thread))
        else:
            for block in range(c0, c1, COLUMN_BLOCK):  # loop 5 of equation 2: columns, `COLUMN_BLOCK` blocks at once
                end = min(c1, block + COLUMN_BLOCK)
                equations.dW(dW, dZ, A, A_T, layer.n, layer.n_prev, panels, alpha, beta, block, end, record)
            if updates:
                update_columns(job, layer, c0, c1)
        if c0 == 0 and c0 < c1:
            equations.db(at(out, layer.b), dZ, layer.n, panels, alpha, beta)
            if updates:
                update_range(job, layer.b, padded(layer.n))


@kernel
def is_fused(job, chunks):
    """Return whether equation 2 of a step of that many chunks updates the weights at once."""
    return job.do & UPDATE and job.fused and chunks == 1


@kernel
def updates_columns(job, chunk, chunks):
    """Return whether the weights are updated in phase 2 of a chunk, once their gradients are complete."""
    return job.do & UPDATE and not is_fused(job, chunks) and not job.late and chunk == chunks - 1


@kernel
def item_columns(job, layer, item):
    """Return the first block of 16 columns of a layer's W that belongs to a work item, and the one after the last.

    Of a frozen layer none does.
    """
    first, last = get(integers(job.cuts), item), get(integers(job.cuts), item + 1)
    return max(0, first - layer.first_unit), min(layer.units, last - layer.first_unit)


@kernel
def update_columns(job, layer, c0, c1):
    """Apply the optimizer's update to some columns of a layer's W."""
    ld = row_stride(layer.n_prev)
    if c0 == 0 and c1 * LANES >= layer.n_prev:
        update_range(job, layer.W, layer.n * ld)
    elif c0 < c1:
        for i in range(layer.n):
            update_range(job, layer.W + i * ld + c0 * LANES, (c1 - c0) * LANES)


@kernel
def trained_range(job, item, count):
    """Return the first of the parameters of a work item and the one after its last; they are whole vectors.

    They are numbered without those of frozen layers, see :func:`places_of`.
    """
    n = job.n_trained // LANES
    return item * n // count * LANES, (item + 1) * n // count * LANES


@kernel
def places_of(layer, start, end):
    """Return where, of the parameters start…end without those of frozen layers, a layer's own begin and end."""
    shift = layer.W - layer.first_trained
    return max(start, layer.first_trained) + shift, min(end, layer.first_trained + layer.trained) + shift


@kernel
def update_range(job, start, count):
    """Call the optimizer's loop for `count` parameters from `start` on."""
    parameters = at(reals(job, job.parameters), start)
    gradients = at(reals(job, job.gradients), start)
    state = at(reals(job, job.state), start)
    call(job.update, (parameters, gradients, state, job.state_stride, reals(job, job.hyper), count))


# ---- a step in parts, each of which is done by one thread -------------------------------------------------------


@routine(PHASE)
def part_of_step(address, step, chunk, item, count, thread):
    """Phase 1: some chunks, with the sum of their samples' gradients, which phase 2 divides by m."""
    job = job_at(address)
    if job.do & UPDATE and item == 0:
        prepare_update(job)
    work = at(reals(job, job.work), job.work_stride * thread)
    part = at(reals(job, job.parts), job.part_stride * item)
    chunks = n_chunks(job, step)
    first = item * chunks // count
    for c in range(first, (item + 1) * chunks // count):
        panels = panels_of(chunk_range(job, step, c)[1])
        chunk_pass(address, job, work, step, c, 0, panels, thread)
        if job.do & GRADIENTS:
            beta = real(job, 0.0 if c == first else 1.0)
            record = start_prefetch_after_chunk(address_at(on_stack(job, RECORD), 0), job, step, c, 0, 1)
            gradients_pass(job.layers, job.n_layers, part, work, panels, real(job, 1.0), beta, record)


@routine(PHASE)
def sum_of_parts(address, step, chunk, item, count, thread):
    """Phase 2: for some of the parameters, 1/m times the sum of the parts, added in their order, and the update."""
    job = job_at(address)
    m = step_weight(job, step)
    if item == 0:
        add_cost(job, step, m, 0, panels_of(samples_in_step(job, step)))
    if not job.do & GRADIENTS:
        return
    alpha = inverse(job, m)
    parts = reals(job, job.parts)
    gradients = reals(job, job.gradients)
    start, end = trained_range(job, item, count)
    for l in range(job.n_layers):
        first, last = places_of(layer_at(job.layers, l), start, end)
        for i in range(first, last, LANES):
            g = load(parts, i)
            for part in range(1, min(job.groups, n_chunks(job, step))):
                g = g + load(parts, job.part_stride * part + i)
            store(gradients, i, g * alpha)
        if job.do & UPDATE and not job.late and first < last:
            update_range(job, first, last - first)


# ---- one sample --------------------------------------------------------------------------------------------------


@routine(PHASE)
def pass_of_sample(address, step, stage, item, count, thread):
    """Phase 1 on vectors: forward layer by layer, the output, and back; each layer is a stage, which threads share."""
    job = job_at(address)
    do = job.do
    work = reals(job, job.work)
    parameters = reals(job, job.parameters)
    if stage > job.n_layers:
        l = 2 * job.n_layers - stage
        vectors.backward_share(layer_at(job.layers, l), layer_at(job.layers, l - 1), parameters, work, item, count)
    elif stage == job.n_layers:
        output_of_sample(job, step)
    else:
        layer = layer_at(job.layers, stage)
        if stage == 0:
            if do & UPDATE and item == 0:
                prepare_update(job)
            # Every work item copies the row: they write the same values, and the copy needs no stage of its own.
            A = at(work, layer.A_prev)
            n_0 = layer.n_prev
            scale = real(job, get(doubles(job.totals), SCALE))
            if job.uint8:
                vectors.copy_row(A, bytes_at(job.X), row_of(job.order, step) * n_0, n_0, scale)
            else:
                vectors.copy_row(A, reals(job, job.X), row_of(job.order, step) * n_0, n_0, scale)
        vectors.forward_share(layer, parameters, work, item, count, stage < job.n_layers - 1)


@kernel
def output_of_sample(job, step):
    """Compute Ŷ, the cost and the output's dZ of one sample, as far as `job.do` asks for them."""
    do = job.do
    work = reals(job, job.work)
    top = layer_at(job.layers, job.n_layers - 1)
    n = top.n
    panel = at(work, job.Z_panel)
    vectors.spread(panel, at(work, top.Z), n)
    if do & LOSS:
        bottom = layer_at(job.layers, 0)
        zero = zero_of(at(work, bottom.A_prev), padded(bottom.n_prev) // LANES) if job.unchecked else 0.0
        panel_cost(job, work, 0, 0, step, 1, job.dZ_panel, job.Z_panel, n, zero)
        vectors.collect(at(work, top.dZ), at(work, job.dZ_panel), n)
    if do & OUTPUT:
        if top.activation:
            call(top.activation, (panel, panel, n))
            vectors.collect(at(work, top.A), panel, n)
        for k in range(0, n, LANES):
            store_first(reals(job, job.Y_hat), step * n + k, load(work, top.A + k), n - k)


@routine(PHASE)
def columns_of_sample(address, step, stage, item, count, thread):
    """Phase 2 on vectors: dW, db and the update of some columns of the weights."""
    job = job_at(address)
    work = reals(job, job.work)
    do = job.do
    m = step_weight(job, step)
    if item == 0:
        add_cost(job, step, m, 0, 1)
    if not do & GRADIENTS:
        return
    updates = updates_columns(job, 0, 1)
    out, alpha, beta = gradient_target(job, is_fused(job, 1), m, 0)
    for l in range(job.n_layers - 1, -1, -1):
        layer = layer_at(job.layers, l)
        c0, c1 = item_columns(job, layer, item)
        if c0 >= c1:
            continue
        dZ, A = at(work, layer.dZ), at(work, layer.A_prev)
        vectors.dW(at(out, layer.W), dZ, A, layer.n, layer.n_prev, alpha, beta, c0, c1)
        if updates:
            update_columns(job, layer, c0, c1)
        if c0 == 0:
            vectors.db(at(out, layer.b), dZ, layer.n, alpha, beta)
            if updates:
                update_range(job, layer.b, padded(layer.n))


def phases(plan: Plan) -> tuple[Routine, Routine]:
    """Return the routines of the two phases of a plan's steps."""
    if plan.vectors:
        return pass_of_sample, columns_of_sample
    return (part_of_step, sum_of_parts) if plan.parts else (panels_of_chunk, columns_of_chunk)


# ---- the gradient of X, as a job whose phase 1 this is ------------------------------------------------------------


@routine(PHASE)
def inputs_of_chunk(address, step, chunk, item, count, thread):
    """Compute dX = scale·W⁽¹⁾ᵀ·dZ⁽¹⁾, equation 4 of the first layer, for some panels of a chunk, into rows at `dX`."""
    job = job_at(address)
    work = reals(job, job.work)
    bottom = layer_at(job.layers, 0)
    n, n_0 = bottom.n, bottom.n_prev
    W, dX = at(reals(job, job.parameters), bottom.W), reals(job, job.dX)
    block = min(job.block_panels, job.chunk_panels)
    dA0 = at(reals(job, job.dA0), thread * block * panel_stride(n_0))
    scale = real(job, get(doubles(job.totals), SCALE))
    if job.vectors:
        vectors.dA(dA0, W, at(work, bottom.dZ), n, n_0, row_stride(n_0))
        vectors.copy_out(dX, dA0, n_0, scale)
        return
    start, size = chunk_range(job, step, chunk)
    panels = panels_of(size)
    last = (item + 1) * panels // count
    for p0 in range(item * panels // count, last, block):
        p1 = min(last, p0 + block)
        equations.dA(dA0, W, at(work, bottom.dZ + p0 * panel_stride(n)), dA0, n, n_0, p1 - p0, 0)
        for p in range(p0, p1):
            panel = at(dA0, (p - p0) * panel_stride(n_0))
            scatter(dX, panel, start + p * LANES, min(LANES, size - p * LANES), n_0, scale)


# ---- an update by itself, as a job whose phases these are; clipping and penalty follow as in a step ---------------


@routine(PHASE)
def start_of_update(address, step, chunk, item, count, thread):
    """Phase 1: count the step, and let the optimizer prepare it."""
    prepare_update(job_at(address))


@routine(PHASE)
def update_of_parameters(address, step, chunk, item, count, thread):
    """Phase 2: update some of the parameters from the gradients as they are."""
    job = job_at(address)
    start, end = trained_range(job, item, count)
    for l in range(0 if job.late else job.n_layers):
        first, last = places_of(layer_at(job.layers, l), start, end)
        if first < last:
            update_range(job, first, last - first)


# ---- clipping and penalty: they need the norm of all gradients and the squares of all weights ---------------------
#
# Two more phases after the last chunk of a step. `plan.MAX_NORM` tells what `job.late` holds. Frozen layers have no
# part in the norm; their weights are in the penalty, which is a part of the cost, but it does not move them.


@kernel
def parameter_range(job, item, count):
    """Return the first parameter of a work item and the one after its last; they are whole blocks."""
    blocks = (job.part_stride + SQUARES_BLOCK - 1) // SQUARES_BLOCK
    return item * blocks // count * SQUARES_BLOCK, min((item + 1) * blocks // count * SQUARES_BLOCK, job.part_stride)


@kernel
def step_l2(job, step):
    """Return λ of the penalty λ/2·Σ W² of a step: l2, or l2/m if each step is a mean of its own (`by_samples`)."""
    l2 = get(doubles(job.late), L2)
    return l2 * np.float64(inverse(job, step_weight(job, step))) if job.by_samples else l2


@kernel
def add_penalty(job, l2, start, end):
    """Compute dW += l2·W for the weights start…end, except frozen ones; return Σ W² of all of them."""
    parameters = reals(job, job.parameters)
    gradients = reals(job, job.gradients)
    squares = splat(job, 0.0)
    for l in range(job.n_layers):
        layer = layer_at(job.layers, l)
        adds = job.do & GRADIENTS != 0 and layer.trained > 0
        for i in range(max(start, layer.W), min(end, layer.W + layer.n * row_stride(layer.n_prev)), LANES):
            w = load(parameters, i)
            squares = fma(w, w, squares)
            if adds:
                store(gradients, i, fma(w, l2, load(gradients, i)))
    return np.float64(total(squares))


@kernel
def squared_norm(job, start, end, unit):
    """Return Σ (unit·dθ)² of the parameters start…end that are trained."""
    gradients = reals(job, job.gradients)
    squares = splat(job, 0.0)
    for l in range(job.n_layers):
        layer = layer_at(job.layers, l)
        for i in range(max(start, layer.W), min(end, layer.W + layer.trained), LANES):
            g = load(gradients, i) * unit
            squares = fma(g, g, squares)
    return np.float64(total(squares))


@routine(PHASE)
def squares_of_blocks(address, step, chunk, item, count, thread):
    """Add the gradient of the penalty, then compute Σ dθ² and Σ W² of each block; a sum that is not needed is 0."""
    job = job_at(address)
    late = doubles(job.late)
    clips = get(late, MAX_NORM) < np.inf
    l2 = step_l2(job, step)
    start, end = parameter_range(job, item, count)
    for first in range(start, end, SQUARES_BLOCK):
        last = min(first + SQUARES_BLOCK, end)
        place = SUMS + 2 * (first // SQUARES_BLOCK)
        put(late, place + 1, add_penalty(job, real(job, l2), first, last) if l2 > 0.0 else 0.0)
        norm = squared_norm(job, first, last, 1.0) if clips else 0.0
        if norm == np.inf:  # in float32: once more, in a unit in which it is finite
            norm = squared_norm(job, first, last, UNIT) / UNIT**2
        put(late, place, norm)


@routine(PHASE)
def late_update(address, step, chunk, item, count, thread):
    """Compute J += l2/2·Σ W², scale the gradients by max_norm/√Σ dθ² if that is below 1, and apply the update."""
    job = job_at(address)
    gradients = reals(job, job.gradients)
    late = doubles(job.late)
    totals = doubles(job.totals)
    of_gradients, of_weights = 0.0, 0.0
    for block in range((job.part_stride + SQUARES_BLOCK - 1) // SQUARES_BLOCK):
        of_gradients += get(late, SUMS + 2 * block)
        of_weights += get(late, SUMS + 2 * block + 1)
    penalty = 0.5 * step_l2(job, step) * of_weights
    if not np.isfinite(of_gradients):
        penalty = np.nan  # no step can be made; the job stops as if the cost were not finite
    if item == 0:
        put(totals, COST, get(totals, COST) + weight_in_mean(job, step, step_weight(job, step)) * penalty)
    if not job.do & UPDATE:
        return
    if not np.isfinite(penalty):
        if item == 0:
            stop(job)
        return
    clips = get(late, MAX_NORM) * get(late, MAX_NORM) < of_gradients
    scale = real(job, get(late, MAX_NORM) / np.sqrt(of_gradients) if clips else 1.0)
    start, end = trained_range(job, item, count)
    for l in range(job.n_layers):
        first, last = places_of(layer_at(job.layers, l), start, end)
        for i in range(first, last if clips else first, LANES):
            store(gradients, i, load(gradients, i) * scale)
        if first < last:
            update_range(job, first, last - first)


# ---- sharing the work --------------------------------------------------------------------------------------------


@kernel
def wait(tickets, due):
    """Wait until the first `due` work items are done."""
    spins = 0
    while read_acquire(tickets, DONE) < due:
        if spins < SPINS:
            spins += 1
            pause()
        else:
            yield_core()


@kernel
def stages_in_step(job, step):
    """Return how many times a step goes through its phases.

    Once for each chunk, once for each stage of one sample, or once for all parts.
    """
    if job.vectors:
        return 2 * job.n_layers - job.lowest if job.do & BACKWARD else job.n_layers + 1
    return 1 if job.parts else n_chunks(job, step)


@kernel
def work_items_of_stage(job, stage):
    """Return the number of work items of a stage of one sample."""
    if stage < job.n_layers:
        return layer_at(job.layers, stage).shares if job.do & FORWARD else 0
    return layer_at(job.layers, 2 * job.n_layers - stage).shares_prev if stage > job.n_layers else 1


@kernel
def work_items(job, phase, step, chunk):
    """Return the number of work items of a phase.

    It depends on sizes, batch and the plan alone, not on the threads that come to do them.
    """
    last = chunk == stages_in_step(job, step) - 1
    if phase >= SQUARES:
        return job.items if last else 0
    if job.vectors:
        if phase == PHASE_ONE:
            return work_items_of_stage(job, chunk)
        return (job.items if job.do & GRADIENTS else 1) if last else 0
    if phase == PHASE_ONE and job.parts:
        return min(job.groups, n_chunks(job, step))
    if phase == PHASE_ONE:
        return min(job.groups, panels_of(chunk_range(job, step, chunk)[1]))
    if phase == PHASE_TWO and job.do & GRADIENTS:
        return job.items
    return 1


@kernel
def cost_range(job, step, chunk):
    """Return the first of the panel costs of a chunk, of all parts or of one sample, and the one after the last."""
    if job.vectors:
        return np.int64(0), np.int64(1)
    if job.parts:
        return np.int64(0), panels_of(samples_in_step(job, step))
    first = chunk * job.chunk_panels
    return first, first + panels_of(chunk_range(job, step, chunk)[1])


@kernel
def sum_of_costs(job, step, chunk):
    """Return the sum of the panel costs of :func:`cost_range`."""
    first, last = cost_range(job, step, chunk)
    return sum_of_panels(job.panel_costs, first, last - first)


@kernel
def stop(job):
    """Subtract the step from the count of updates, and skip everything that follows."""
    put(doubles(job.updates), 0, get(doubles(job.updates), 0) - 1.0)
    put(integers(job.tickets), STOPPED, 1)


@kernel
def phase_routine(job, phase):
    """Return the address of a phase's routine."""
    if phase == END_OF_EPOCH:
        return job.end_of_epoch
    if phase >= SQUARES:
        return job.squares if phase == SQUARES else job.late_update
    return job.phase_one if phase == PHASE_ONE else job.phase_two


@kernel
def do_item(address, job, phase, step, chunk, item, count, thread):
    """Do work item `item` of `count` of a phase; for SHUFFLING and END_OF_EPOCH, `step` is the number of the epoch.

    A step whose cost is not finite updates nothing, and nothing is done after it.
    """
    if get(integers(job.tickets), STOPPED):
        pass
    elif phase == SHUFFLING:
        shuffle(indices(job.order), job.n_samples, job.seed, step)
    elif phase == PHASE_TWO and job.do & UPDATE and not np.isfinite(sum_of_costs(job, step, chunk)):
        if item == 0:
            first, last = cost_range(job, step, chunk)
            add_cost(job, step, step_weight(job, step), first, last - first)
            stop(job)
    else:
        call(phase_routine(job, phase), (address, step, chunk, item, count, thread))


@kernel
def do_phase(address, job, thread, ticket, before, phase, step, chunk, count):
    """Do this thread's work items of a phase of `count` items; return its next ticket.

    `before` is the number of work items of all earlier phases, which must be done first.
    """
    alone = job.threads == 1
    tickets = integers(job.tickets)
    item = np.int64(0) if alone else ticket - before
    while item < count:
        if not alone:
            wait(tickets, before)
        do_item(address, job, phase, step, chunk, item, count, thread)
        if alone:
            item += 1
        else:
            fetch_add(tickets, DONE, 1)
            ticket = fetch_add(tickets, NEXT, 1)
            item = ticket - before
    return ticket


@routine(lambda element: types.void(types.CPointer(element), types.int64))
def worker(address, thread):
    """Do the job at `address` from its first step to its last, together with the other threads that have come."""
    job = job_at(address)
    ticket = np.int64(0)
    before = np.int64(0)
    if job.threads > 1:
        ticket = fetch_add(integers(job.tickets), NEXT, 1)
    end = PHASE_TWO
    if job.do & LOSS:
        end = LATE + 1 if job.late else PHASE_TWO + 1
    step, epoch = job.first_step, job.epoch
    for _ in range(job.first_step, job.last_step):
        if step == 0 and job.do & SHUFFLE:
            ticket = do_phase(address, job, thread, ticket, before, SHUFFLING, epoch, 0, 1)
            before += 1
        for chunk in range(stages_in_step(job, step)):
            for phase in range(PHASE_ONE, end):
                count = work_items(job, phase, step, chunk)
                ticket = do_phase(address, job, thread, ticket, before, phase, step, chunk, count)
                before += count
        step += 1
        if step == job.n_steps:
            ticket = do_phase(address, job, thread, ticket, before, END_OF_EPOCH, epoch, 0, 1)
            before += 1
            step, epoch = 0, epoch + 1


# ---- the end of an epoch -----------------------------------------------------------------------------------------


@routine(PHASE)
def end_of_epoch(address, epoch, chunk, item, count, thread):
    """Record an epoch, measure held-out samples, and keep the parameters if these are the best so far."""
    job = job_at(address)
    totals = doubles(job.totals)
    record = at(doubles(job.records), RECORD_LENGTH * (epoch - job.epoch))
    weight, seconds = get(totals, WEIGHT), clock() - get(totals, STARTED)
    put(record, EPOCH_LOSS, get(totals, COST) / weight if weight != 0.0 else 0.0)
    # min: RIGHT is added up in another order, and may exceed WEIGHT by its rounding
    put(record, EPOCH_ACCURACY, min(get(totals, RIGHT), weight) / weight if weight != 0.0 else 0.0)
    put(record, EPOCH_SECONDS, seconds)
    put(record, EPOCH_SPEED, np.float64(job.n_samples) / max(seconds, LEAST_SECONDS))
    put(totals, COST, 0.0)
    put(totals, WEIGHT, 0.0)
    put(totals, RIGHT, 0.0)
    put(totals, UPDATES_BEFORE_EPOCH, get(doubles(job.updates), 0))
    if job.validation:
        measure(job, record)
        if job.best and get(record, HELD_OUT_COST) < get(totals, LEAST_COST):
            put(totals, LEAST_COST, get(record, HELD_OUT_COST) - get(totals, MIN_DELTA))
            for i in range(0, job.part_stride, LANES):
                store(reals(job, job.best), i, load(reals(job, job.parameters), i))
    put(totals, STARTED, clock())


@kernel
def measure(job, record):
    """Compute the cost of the held-out samples and the share of right predictions, on this thread alone."""
    address = reals(job, job.validation)
    held_out = job_at(address)
    reset(held_out)
    call(job.worker, (address, 0))
    put(record, HELD_OUT_COST, get(doubles(held_out.totals), COST) / get(doubles(held_out.totals), WEIGHT))
    if held_out.do & OUTPUT:
        n = layer_at(held_out.layers, held_out.n_layers - 1).n
        Y_hat, m = reals(job, held_out.Y_hat), held_out.n_samples
        share = share_right(Y_hat, held_out.Y, held_out.labels, held_out.weights, m, n)
        put(record, HELD_OUT_ACCURACY, share)


# ---- calls -------------------------------------------------------------------------------------------------------


@kernel
def reset(job):
    """Set the counters and sums of a job to their values before a call."""
    totals, tickets = doubles(job.totals), integers(job.tickets)
    updates = get(doubles(job.updates), 0)
    put(totals, COST, get(totals, COST_BEFORE))
    put(totals, WEIGHT, get(totals, WEIGHT_BEFORE))
    put(totals, RIGHT, get(totals, RIGHT_BEFORE))
    put(totals, UPDATES_BEFORE, updates)
    put(totals, UPDATES_BEFORE_EPOCH, updates - np.float64(job.first_step))
    put(tickets, NEXT, 0)
    put(tickets, DONE, 0)
    put(tickets, STOPPED, 0)


@kernel
def start_clock(totals, now):
    """Let the clock of the epoch go on from the seconds before the call."""
    put(totals, STARTED, now - get(totals, SECONDS_BEFORE))


@kernel
def prepare_call(address, threads, do, m, first, last, X, Y, labels, weights, output_weights, order, Y_hat):
    """Write the arguments of a call, for the steps first…last over m rows, into the job; reset its counters."""
    job = job_at(address)
    job.threads, job.do, job.n_samples, job.first_step, job.last_step = threads, do, m, first, last
    job.X, job.Y, job.labels, job.order, job.Y_hat = X, Y, labels, order, Y_hat
    job.weights, job.output_weights = weights, output_weights
    reset(job)
    if job.n_steps:
        start_clock(doubles(job.totals), clock())


@kernel
def call_totals(address):
    """Return the sum of the costs and the sum of the sample weights after a call."""
    job = job_at(address)
    totals = doubles(job.totals)
    if job.n_steps:
        put(totals, SECONDS, clock() - get(totals, STARTED))
    return get(totals, COST), get(totals, WEIGHT)


@entry
def prepare(job, do, m, first, last, X, Y, labels, weights, output_weights, order, Y_hat):
    """Write the arguments of a call on one thread into a job that another worker, or `do_jobs`, will start."""
    prepare_call(job, 1, do, m, first, last, X, Y, labels, weights, output_weights, order, Y_hat)


@entry
def launch_alone(worker_address, job, threads, do, m, first, last, X, Y, labels, weights, output_weights, order, Y_hat):
    """Run the worker, given by its address, on the calling thread, without the interpreter's lock."""
    prepare_call(job, threads, do, m, first, last, X, Y, labels, weights, output_weights, order, Y_hat)
    call(worker_address, (job, 0))
    return call_totals(job)


@entry(parallel=True)
def launch(worker_address, job, threads, do, m, first, last, X, Y, labels, weights, output_weights, order, Y_hat):
    """Run the worker, given by its address, on `threads` threads, or on as many as there are."""
    prepare_call(job, threads, do, m, first, last, X, Y, labels, weights, output_weights, order, Y_hat)
    for thread in prange(threads):
        call(worker_address, (job, thread))
    return call_totals(job)


# ---- many jobs, each done by one of several threads --------------------------------------------------------------


@entry
def do_jobs(jobs, count, tickets):
    """Claim prepared jobs, in the order of the list of their addresses, and do each alone, until none is left."""
    i = fetch_add(integers(tickets), NEXT, 1)
    while i < count:
        address = get(integers(jobs), i)
        job = job_at(address)
        totals = doubles(job.totals)
        began = clock()
        start_clock(totals, began)
        call(job.worker, (address, 0))
        ended = clock()
        put(totals, SECONDS, ended - get(totals, STARTED))
        put(totals, ELAPSED, ended - began)
        i = fetch_add(integers(tickets), NEXT, 1)
