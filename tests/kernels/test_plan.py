"""The plan: where every buffer stands, and how the work is cut. Integers only; what may depend on the threads does."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from panels import LANES, padded, panel_stride, row_stride

from fastprop.kernels import estimate
from fastprop.kernels import plan as plans
from fastprop.kernels.estimate import seconds, threads_for
from fastprop.kernels.plan import LayerKind, ParameterLayout, Plan, allocate, flops_per_sample

KINDS = {
    "identity": LayerKind(),
    "relu": LayerKind(1, 1, relu=True),
    "sigmoid": LayerKind(1, 1),
    "from Z": LayerKind(1, 1, from_Z=True),
}

widths = st.sampled_from([1, 3, 16, 17, 33, 100, 128, 300])
threads = st.sampled_from([1, 2, 3, 8, 64])


@st.composite
def networks(draw):
    """Sizes, the kinds of all layers, and a batch."""
    sizes = tuple(draw(st.lists(widths, min_size=2, max_size=5)))
    kinds = [KINDS[draw(st.sampled_from(sorted(KINDS)))] for _ in sizes[1:]]
    return sizes, kinds, draw(st.sampled_from([1, 15, 16, 17, 128, 511, 512, 513, 2000]))


def buffers(plan):
    """(name, start, length) of everything in the workspace that has a place of its own."""
    panels, layers = plan.chunk_panels, plan.layers
    found = [("A0", plan.A0, panels * panel_stride(plan.sizes[0])),
             ("Y", plan.Y_panels, panels * panel_stride(plan.sizes[-1])),
             ("weights", plan.weight_panels, panels * LANES)]  # fmt: skip
    if plan.train and layers[0]["A_prev_T"] >= 0:
        found.append(("A0_T", layers[0]["A_prev_T"], panels * panel_stride(plan.sizes[0])))
    for l, layer in enumerate(layers):
        last, size = l == len(layers) - 1, panels * panel_stride(layer["n"])
        found.append((f"Z{l}", layer["Z"], size))
        if layer["A"] != layer["Z"]:
            found.append((f"A{l}", layer["A"], size))
        if layer["A_T"] >= 0:
            found.append((f"A_T{l}", layer["A_T"], size))
        if plan.train or last:
            if layer["dZ"] != layer["Z"]:
                found.append((f"dZ{l}", layer["dZ"], size))
            if layer["dA"] != layer["dZ"]:
                found.append((f"dA{l}", layer["dA"], size))
    return found


@given(network=networks(), threads=threads, keep=st.booleans(), train=st.booleans())
def test_no_two_buffers_overlap_and_none_leaves_the_workspace(network, threads, keep, train):
    """Each starts at a whole vector; where one overwrote another, a gradient would be silently wrong."""
    plan = Plan(*network, threads, keep=keep, train=train)
    found = sorted(buffers(plan), key=lambda buffer: buffer[1])
    assert all(start % LANES == 0 for _, start, _ in found)
    for (name, start, length), (after, next_start, _) in pairwise(found):
        assert start + length <= next_start, f"{name} reaches into {after}"
    assert found[0][1] >= 0
    assert found[-1][1] + found[-1][2] <= plan.length


@given(network=networks(), keep=st.booleans())
def test_every_layer_reads_what_the_one_below_wrote(network, keep):
    plan = Plan(*network, 2, keep=keep)
    assert plan.layers[0]["A_prev"] == plan.A0
    for below, layer in pairwise(plan.layers):
        assert layer["n_prev"] == below["n"]
        assert layer["A_prev"] == below["A"]
        assert layer["A_prev_T"] == below["A_T"]
        assert layer["relu_prev"] == below["relu"]


@given(network=networks(), keep=st.booleans())
def test_equation_2_finds_what_it_reads(network, keep):
    """The transpose wherever a tile is used; and A_prev itself, not overwritten by dZ, wherever a dot product is."""
    plan = Plan(*network, 2, keep=keep)
    for layer in plan.layers:
        assert layer["A_prev_T"] >= 0 or layer["n"] == 1
    for below, layer in pairwise(plan.layers):
        if layer["n"] == 1 or layer["n_prev"] % LANES == 1:
            assert below["dZ"] != below["A"]


@given(network=networks())
def test_dZ_takes_the_place_of_A_only_where_a_relu_is_fused(network):
    """Any other derivative reads A after dA is written; and what is kept for the user stays apart."""
    for keep in (False, True):
        for layer in Plan(*network, 2, keep=keep).layers:
            assert layer["dZ"] != layer["Z"] or (layer["relu"] and not keep)


@given(network=networks())
def test_a_plan_that_keeps_keeps_everything(network):
    """Z beside A where there is an activation, dA beside dZ where there is a derivative, and the batch in one chunk."""
    sizes, kinds, batch = network
    plan = Plan(sizes, kinds, batch, 2, keep=True)
    assert plan.chunk_panels * LANES >= batch
    for kind, layer in zip(kinds, plan.layers, strict=True):
        assert not layer["relu"]
        assert (layer["A"] != layer["Z"]) == bool(kind.activation)
    for kind, layer in zip(kinds[:-1], plan.layers[:-1], strict=True):
        assert (layer["dA"] != layer["dZ"]) == bool(kind.derivative)


@given(network=networks(), threads=threads, keep=st.booleans(), train=st.booleans())
def test_nothing_that_changes_a_sum_depends_on_the_threads(network, threads, keep, train):
    """Chunks, blocks, offsets and what is fused are those of one thread; only groups and cuts may differ."""
    one, many = (Plan(*network, count, keep=keep, train=train) for count in (1, threads))
    assert (one.chunk_panels, one.block_panels, one.length) == (many.chunk_panels, many.block_panels, many.length)
    np.testing.assert_array_equal(one.layers, many.layers)


@given(network=networks(), threads=threads)
def test_the_cuts_cover_all_units_in_order(network, threads):
    """Phase 2's shares are as many as there are threads or units, none empty, of about equal work."""
    plan = Plan(*network, threads)
    sizes = plan.sizes
    blocks = [padded(n_prev) // LANES for n_prev in sizes[:-1]]
    assert plan.units == sum(blocks)
    assert [layer["first_unit"] for layer in plan.layers] == [sum(blocks[:l]) for l in range(len(blocks))]
    assert plan.items == min(threads, plan.units) == len(plan.cuts) - 1
    assert (plan.cuts[0], plan.cuts[-1]) == (0, plan.units)
    assert (np.diff(plan.cuts) >= 0).all()
    work = np.repeat(sizes[1:], blocks)
    shares = [work[first:last].sum() for first, last in pairwise(plan.cuts)]
    assert max(shares) <= work.sum() / plan.items + 2 * (max(work) + 1)


@given(network=networks(), threads=threads, draws=st.data())
def test_frozen_layers_are_no_work_and_change_nothing_else(network, threads, draws):
    """They have no units, no parameters and no transposes; memory and chunks stay, and so do the sums of all others."""
    whole, layers = Plan(*network, threads), range(len(network[1]))
    frozen = tuple(sorted(draws.draw(st.sets(st.sampled_from(layers), max_size=len(layers) - 1))))
    plan = Plan(*network, threads, frozen=frozen)
    assert plan.lowest == min(set(layers) - set(frozen))
    for l, (layer, before) in enumerate(zip(plan.layers, whole.layers, strict=True)):
        trained = 0 if l in frozen else plan.layout.b[l] + padded(layer["n"]) - plan.layout.W[l]
        assert (layer["units"], layer["trained"]) == ((before["units"], trained) if trained else (0, 0))
        assert layer["first_unit"] == plan.layers["units"][:l].sum()
        assert layer["first_trained"] == plan.layers["trained"][:l].sum()
        assert layer["A_prev_T"] == (-1 if l in frozen else before["A_prev_T"])
        assert layer["A_T"] == (-1 if l + 1 in frozen else before["A_T"])
        same = {*plan.layers.dtype.names} - {"units", "trained", "first_unit", "first_trained", "A_prev_T", "A_T"}
        assert all(layer[name] == before[name] for name in same)
    assert (plan.units, plan.n_trained) == (plan.layers["units"].sum(), plan.layers["trained"].sum())
    assert plan.items == min(threads, plan.units) == len(plan.cuts) - 1
    assert (plan.cuts[0], plan.cuts[-1]) == (0, plan.units)
    assert (np.diff(plan.cuts) >= 0).all()
    for name in ("length", "parts", "chunk_panels", "block_panels", "groups"):
        assert getattr(plan, name) == getattr(whole, name)


@given(network=networks(), threads=threads)
def test_the_groups_of_panels_are_no_more_than_there_are_panels(network, threads):
    plan = Plan(*network, threads)
    assert 1 <= plan.groups <= (plan.parts or min(threads, plan.chunk_panels))


@pytest.mark.parametrize(("width", "most"), [(5, plans.SMALL_CHUNK), (600, plans.LARGE_CHUNK)])
@pytest.mark.parametrize("batch", [1, 16, 17, 255, 256, 257, 511, 512, 513, 600, 2000, 100_000])
def test_chunks_are_bounded_and_even(width, most, batch):
    """So that the workspace of a full batch does not grow with it, and no thread gets a short last chunk alone."""
    plan = Plan((width, width, 2), [KINDS["relu"], KINDS["identity"]], batch, 2)
    samples = plan.chunk_panels * LANES
    chunks = -(-batch // samples)
    assert samples <= most
    assert chunks == -(-batch // most) or batch > most
    assert chunks * samples - batch < chunks * LANES
    assert plan.parts == (min(chunks, plans.MOST_PARTS) if chunks > 1 else 0)


@pytest.mark.parametrize(("n", "in_place"), [(plans.ROW_BLOCK, True), (plans.ROW_BLOCK + 1, False)])
def test_dZ_takes_the_place_of_A_only_where_equation_4_reads_A_once(n, in_place):
    """In blocks of rows, the first block's sums would stand where the last one looks for the mask."""
    plan = Plan((3, 20, n), [KINDS["relu"], KINDS["identity"]], 32, 1)
    assert (plan.layers[0]["dZ"] == plan.layers[0]["A"]) == in_place


def test_parts_need_room_and_are_for_training():
    """Where the gradient is larger than the activations of a chunk, chunks go one by one."""
    kinds = [KINDS["relu"], KINDS["identity"]]
    assert Plan((9, 9, 2), kinds, 2000, 2).parts
    assert not Plan((9, 9, 2), kinds, 2000, 2, train=False).parts
    assert not Plan((9, 9, 2), kinds, 2000, 2, keep=True).parts
    assert not Plan((4096, 4096, 2), kinds, 2000, 2).parts


@pytest.mark.parametrize("n", [*range(1, 600), 784, 1000, 1024, 2048, 4096])
def test_rows_of_W_never_fall_into_the_same_sets_of_the_cache(n):
    """Whole vectors, no less than n, and never a multiple of 128."""
    stride = plans.row_stride.py_func(n)
    assert stride >= n
    assert stride % LANES == 0
    assert stride % 128 != 0
    assert stride - n < 2 * LANES


@given(sizes=st.lists(widths, min_size=2, max_size=5))
def test_the_parameters_of_all_layers_fill_the_flat_buffer_once(sizes):
    """Every place is one layer's W, b or padding; W and b start at whole vectors."""
    layout = ParameterLayout.of(tuple(sizes))
    seen = np.zeros(layout.length, int)
    flat = np.zeros(layout.length, np.float32)
    for l, (n_prev, n) in enumerate(pairwise(sizes)):
        W, b = layout.views(flat, l)
        assert W.shape == (n, n_prev)
        assert b.shape == (n,)
        assert np.shares_memory(W, flat)
        assert np.shares_memory(b, flat)
        assert layout.W[l] % LANES == layout.b[l] % LANES == 0
        seen[layout.W[l] : layout.W[l] + n * row_stride(n_prev)] += 1
        seen[layout.b[l] : layout.b[l] + padded(n)] += 1
        W[:], b[:] = l + 1, -(l + 1)
    np.testing.assert_array_equal(seen, 1)
    real = [W.size + b.size for W, b in (layout.views(flat, l) for l in range(len(sizes) - 1))]
    assert np.count_nonzero(flat) == sum(real), "two layers share a place"


def test_flops_of_a_step():
    """6·Σ n_{l-1}·n_l − 2·n_0·n_1, on numbers worked out by hand."""
    assert flops_per_sample((3, 4, 2)) == 6 * (12 + 8) - 2 * 12
    assert flops_per_sample((5, 7)) == 4 * 35


# ---- how many threads --------------------------------------------------------------------------------------------


@given(
    sizes=st.lists(widths, min_size=2, max_size=4), batch=st.integers(1, 3000), available=threads, train=st.booleans()
)
def test_threads_are_the_fewest_that_are_about_the_fastest(sizes, batch, available, train):
    count = threads_for(tuple(sizes), batch, available, train=train)
    times = [seconds(tuple(sizes), batch, n, train=train) for n in range(1, available + 1)]
    assert times[count - 1] <= estimate.WORTH * min(times)
    assert all(time > estimate.WORTH * min(times) for time in times[: count - 1])


def test_small_work_is_not_shared_and_large_work_is():
    assert threads_for((8, 32, 32, 1), 32, 64) == 1
    assert threads_for((784, 1024, 1024, 10), 256, 2) == 2
    assert threads_for((784, 1024, 1024, 10), 256, 16) > 8
    assert threads_for((1024, 4096, 4096, 1024), 512, 64) > 32
    assert threads_for((64, 128, 64, 10), 1, 2, train=False) == 1
    assert threads_for((784, 1024, 1024, 10), 1, 2, train=False) == 2


@given(sizes=st.lists(widths, min_size=2, max_size=4), batch=st.integers(2, 3000), count=threads)
def test_the_expected_time_grows_with_the_work(sizes, batch, count):
    """A wider layer, a larger batch or a backward pass never takes less; n threads are at most n times as fast. (One
    sample, which stands in vectors and not in a panel, is estimated by itself.)"""
    sizes = tuple(sizes)
    time = seconds(sizes, batch, count)
    assert time > 0
    assert seconds((*sizes[:-1], sizes[-1] + 16), batch, count) >= time
    assert seconds(sizes, batch + 16 * count, count) >= time
    assert seconds(sizes, batch, count, train=False) <= time + estimate.LAUNCH
    assert time >= seconds(sizes, batch, 1) / count


@given(sizes=st.lists(widths, min_size=3, max_size=4), batch=st.integers(1, 3000), count=threads, last=st.booleans())
def test_a_frozen_layer_never_adds_to_the_expected_time(sizes, batch, count, last):
    sizes, frozen = tuple(sizes), (len(sizes) - 2,) if last else (0,)
    units = sum(padded(n) // LANES for l, n in enumerate(sizes[:-1]) if l not in frozen)
    if units % count == 0 or count == 1:  # else one thread may have more of the others' columns than before
        assert seconds(sizes, batch, count, frozen=frozen) <= seconds(sizes, batch, count) * (1 + 1e-12)
    assert seconds(sizes, batch, 1, train=False, frozen=frozen) <= seconds(sizes, batch, 1, frozen=frozen)


@pytest.mark.parametrize("length", [0, 1, 15, 16, 1000])
@pytest.mark.parametrize("dtype", [np.float32, np.int64, np.float64])
def test_memory_is_zero_and_aligned(length, dtype):
    a = allocate(length, dtype)
    assert a.shape == (length,)
    assert a.dtype == dtype
    assert not a.any()
    assert a.ctypes.data % 64 == 0 or not length
    assert a.flags.c_contiguous
    assert a.flags.writeable
