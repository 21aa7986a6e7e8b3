"""The same seed gives the same bits on any number of threads, in any slices, in copies and in pickles."""

import copy
import itertools
import pickle

import numpy as np
import pytest
from networks import SHAPES, Case, bits, data, names, network
from optimizers import OPTIMIZERS, each_optimizer, each_optimizer_slowly

import fastprop
from fastprop import SGD, Adam, Network
from fastprop.core.engine import plan_for
from fastprop.kernels import plan as plan_module
from fastprop.kernels.passes import shuffle
from fastprop.kernels.plan import JOB_FIELDS, LayerKind
from fastprop.training import pace
from fastprop.training.progress import Progress

# What threads share differently: many panels and few columns, the reverse, ragged ones, several chunks.
SHARED = (
    *SHAPES[1:4],
    Case("awkward", (33, 17, 100, 3), ("tanh", "relu"), "softmax", 77),
    Case("one-column", (1, 3, 1), "sigmoid", "sigmoid", 200),
    Case("chunks", (20, 40, 5), "relu", "identity", 1300),
)
LARGE = Case("large", (20, 513, 520, 5), "relu", "identity", 1100)  # chunks, blocks and runs of rows of a large W


def train_and_look(case, threads, optimizer, **options):
    """Return everything that a network computes on a number of threads."""
    fastprop.set_num_threads(threads)
    m = 2 * case.batch + 5
    net, (X, Y) = network(case, **options), data(case, m)
    weights = np.linspace(0.5, 2, m)
    history = net.fit(X, Y, epochs=2, batch_size=case.batch, optimizer=optimizer, rng=3, sample_weight=weights)
    J = net.train_step(X, Y, optimizer)
    Y_hat = net.forward(X)
    costs = [*history.loss, J, net.backward(Y), net.loss(X, Y)]
    shown = [getattr(layer, name) for layer in net.layers for name in ("Z", "A", "dZ")]
    from_Y = net.gradients.copy(), net.dX
    net.backward(dA=Y_hat)
    net.step(optimizer)
    of_step = net.gradients, net.dX, net.jacobian(X[:100]), net.parameters
    return bits(*of_step, *from_Y, Y_hat, net.predict(X), np.array(costs), *shown)


@pytest.mark.usefixtures("eager_threads")
@pytest.mark.parametrize("case", SHARED, ids=names(SHARED))
@pytest.mark.parametrize(
    "options", [pytest.param({}, marks=pytest.mark.slow), {"dropout": 0.3, "l2": 0.01}], ids=["plain", "dropout"]
)
@each_optimizer_slowly
def test_on_any_number_of_threads(case, options, name):
    """1, 2, 3, 8 and 33 threads, on however many cores there are: no sum is split, so no bit differs."""
    one = train_and_look(case, 1, OPTIMIZERS[name].make(0.1), **options)
    for threads in (2, 3, 8, 33):
        assert train_and_look(case, threads, OPTIMIZERS[name].make(0.1), **options) == one, f"{threads} threads"


@pytest.mark.slow
@pytest.mark.usefixtures("eager_threads")
@pytest.mark.parametrize(("name", "options"), [("sgd", {}), ("adamw", {"dropout": 0.3, "l2": 0.01})])
def test_on_any_number_of_threads_with_a_large_W(name, options):
    """The same for two optimizers only, since it takes ten times as long."""
    one = train_and_look(LARGE, 1, OPTIMIZERS[name].make(0.1), **options)
    for threads in (2, 3, 8, 33):
        assert train_and_look(LARGE, threads, OPTIMIZERS[name].make(0.1), **options) == one, f"{threads} threads"


def test_the_cases_take_every_path_of_the_planner(plan_constant):
    """Each choice of layout and of shares in the plan is made by some of the cases above, and not by others."""
    plans = [
        plan_for(case.sizes, [a.kind(np.dtype(np.float32)) for a in network(case).architecture.activations], case.batch)
        for case in (*SHARED, LARGE)
    ]
    plan_constant("MOST_PARTS", 0)
    case = SHARED[-1]
    plans.append(
        plan_for(
            case.sizes,
            [a.kind(np.dtype(np.float32)) for a in network(case).architecture.hidden] + [LayerKind()],
            case.batch,
        )
    )
    layers = [layer for plan in plans for layer in plan.layers]
    taken = {
        "parts": [plan.parts > 0 for plan in plans],
        "chunks without parts": [not plan.parts and 16 * plan.chunk_panels < plan.batch for plan in plans],
        "columns without a transpose": [plan_module.by_dot(int(l["n"]), int(l["n_prev"])) for l in layers],
        "half tiles": [2 <= l["n_prev"] % 16 <= 8 and l["n"] > 1 for l in layers],
        "fused relu": [bool(l["relu"]) for l in layers],
        "dA in place of A": [l["dZ"] == l["Z"] for l in layers],
        "activation apart": [bool(l["activation"]) for l in layers],
        "a ragged last panel": [plan.batch % 16 > 0 for plan in plans],
        "a large W": [4 * l["n"] * l["n_prev"] > plan_module.SMALL_WEIGHTS for l in layers],
        "equation 4 in runs": [l["n"] > plan_module.ROW_BLOCK for l in layers],
        "relu with dZ apart": [bool(l["relu"]) and l["dZ"] != l["Z"] for l in layers],
        "rows of dW in blocks": [l["n"] > plan_module.ROWS_TOGETHER for l in layers],
    }
    assert {path for path, seen in taken.items() if len(set(seen)) < 2} == set()


@pytest.mark.usefixtures("eager_threads")
def test_on_any_number_of_threads_in_chunks_without_parts(plan_constant):
    """If the gradients are too large for parts, the threads share every chunk."""
    plan_constant("MOST_PARTS", 0)
    case = SHARED[-1]
    one = train_and_look(case, 1, Adam(0.003))
    for threads in (2, 3, 33):
        assert train_and_look(case, threads, Adam(0.003)) == one, f"{threads} threads"


@pytest.mark.usefixtures("eager_threads")
@pytest.mark.parametrize("output", ["identity", "softmax"])
def test_one_sample_on_any_number_of_threads(plan_constant, output):
    """The threads share each layer's rows, and in the backward pass its columns, of which some layers have few."""
    plan_constant("SHARED_WEIGHTS", 1)
    case = Case("one", (300, 530, 47, 1000, 17), ("relu", "tanh", "sigmoid"), output, 1)
    one = train_and_look(case, 1, Adam(0.003))
    for threads in (2, 3, 8, 33):
        assert train_and_look(case, threads, Adam(0.003)) == one, f"{threads} threads"


def test_on_any_number_of_threads_as_they_are_chosen():
    """Small work is not forced onto many threads here: this is what a user gets."""
    case = SHAPES[2]
    one = train_and_look(case, 1, SGD(0.1))
    for threads in (2, 3, 8, None):
        assert train_and_look(case, threads, SGD(0.1)) == one


@pytest.mark.usefixtures("eager_threads")
def test_the_threads_are_really_more_than_one():
    """The tests above would pass if all work ran on one thread; the plan does share it."""
    case = SHARED[0]
    net, (X, Y) = network(case), data(case)
    for threads in (3, 2):
        fastprop.set_num_threads(threads)
        net.train_step(X, Y, SGD(0.1))
        assert net.engines.last.plan.threads == threads
        assert net.engines.last.job[JOB_FIELDS["threads"]] == threads


def test_threads_may_change_between_two_calls():
    """The network plans its work again, and continues with the same bits."""
    case = SHAPES[2]
    net, other, (X, Y) = network(case), network(case), data(case)
    a, b = Adam(), Adam()
    for threads in (1, 2, 3, 1):
        fastprop.set_num_threads(threads)
        net.train_step(X, Y, a)
        net.forward(X)
    fastprop.set_num_threads(1)
    for _ in range(4):
        other.train_step(X, Y, b)
    assert bits(net.parameters) == bits(other.parameters)


def test_set_num_threads_is_what_get_num_threads_says():
    default = fastprop.get_num_threads()
    assert default >= 1
    for n in (1, 3, 1024):
        fastprop.set_num_threads(n)
        assert fastprop.get_num_threads() == n
    fastprop.set_num_threads(None)
    assert fastprop.get_num_threads() == default


# ---- seeds and orders --------------------------------------------------------------------------------------------


def test_the_same_seed_is_the_same_network_and_another_is_another():
    def trained(rng):
        net = Network((7, 20, 3), output="softmax", rng=rng)
        X, Y = data(Case("seeds", (7, 20, 3), "relu", "softmax", 100))
        net.fit(X, Y, epochs=2, batch_size=16)  # the shuffle too comes from the network's generator
        return bits(net.parameters)

    assert trained(5) == trained(5) == trained(np.random.default_rng(5)) == trained(np.int64(5))
    assert trained(5) != trained(6)
    assert trained(None) != trained(None)


def test_two_fits_shuffle_differently_and_a_seed_repeats_one():
    case = Case("orders", (7, 20, 3), "relu", "softmax", 16)
    X, Y = data(case, 100)

    def after(first, second):
        net = network(case)
        net.fit(X, Y, epochs=1, batch_size=16, rng=first, optimizer=SGD(1e-3))
        net.parameters[:] = network(case).parameters
        net.fit(X, Y, epochs=1, batch_size=16, rng=second, optimizer=SGD(1e-3))
        return bits(net.parameters)

    assert after(1, 2) == after(9, 2)
    assert after(1, 2) != after(1, 3)
    assert after(None, None) == after(None, None)
    net = network(case)
    generator = np.random.default_rng(0)
    orders = [net.fit(X, Y, epochs=1, batch_size=16, rng=generator).loss for _ in range(2)]
    assert orders[0] != orders[1], "a generator goes on"


@pytest.mark.parametrize("n", [1, 2, 3, 17, 1000, 100_000])
def test_an_order_is_a_permutation_and_every_epoch_has_its_own(n):
    orders = []
    for epoch in range(3):
        order = np.full(n, 2**32 - 1, np.uint32)
        shuffle(order, n, 12345, epoch)
        np.testing.assert_array_equal(np.sort(order), np.arange(n))
        orders.append(order)
    for a, b in itertools.combinations(orders, 2):
        assert n < 10 or (a == b).mean() < 0.5
    again = np.empty(n, np.uint32)
    shuffle(again, n, 12345, 1)
    np.testing.assert_array_equal(again, orders[1])


def test_all_orders_are_equally_likely():
    """24,000 epochs of four rows: each of the 24 orders about a thousand times, in a χ² test at 1 in 10⁵."""
    counts, order = {}, np.empty(4, np.uint32)
    for epoch in range(24_000):
        shuffle(order, 4, 7, epoch)
        counts[order.tobytes()] = counts.get(order.tobytes(), 0) + 1
    assert len(counts) == 24
    assert sum((count - 1000) ** 2 / 1000 for count in counts.values()) < 66  # χ² of 23 degrees of freedom


def test_the_first_place_is_fair_in_a_long_order_too():
    """For 20,000 consecutive seeds, the first of 100 rows is uniformly distributed, in a χ² test of ten bins."""
    first, order = np.zeros(10), np.empty(100, np.uint32)
    for seed in range(20_000):
        shuffle(order, 100, seed, 0)
        first[order[0] // 10] += 1
    assert ((first - 2000) ** 2 / 2000).sum() < 38  # χ² of 9 degrees of freedom at 1 in 10⁵


# ---- slices ------------------------------------------------------------------------------------------------------


@each_optimizer
def test_in_any_slices(monkeypatch, name):
    """One step at a time, a few, or the whole epoch in one call: the parameters have the same bits."""
    case = Case("slices", (7, 20, 3), "relu", "softmax", 16)
    X, Y = data(case, 333)
    results, histories = [], []
    for seconds in (0.0, 1e-4, 1e9):
        monkeypatch.setattr(pace, "SLICE_SECONDS", seconds)
        net = network(case)
        histories.append(net.fit(X, Y, epochs=3, batch_size=16, optimizer=OPTIMIZERS[name].make(0.1), rng=0).loss)
        results.append(bits(net.parameters))
    assert results[0] == results[1] == results[2]
    np.testing.assert_allclose(histories[0], histories[2], rtol=1e-12)


def test_the_slices_are_what_they_are_taken_for(monkeypatch):
    """The test above sees slices of one step, and an epoch in one slice."""
    case = Case("slices", (7, 20, 3), "relu", "softmax", 16)
    X, Y = data(case, 333)
    for seconds, expected in ((0.0, 21), (1e9, 1)):
        monkeypatch.setattr(pace, "SLICE_SECONDS", seconds)
        net, added = network(case), []
        monkeypatch.setattr(Progress, "add", lambda self, samples, added=added: added.append(samples))
        net.fit(X, Y, epochs=1, batch_size=16)
        assert len(added) == expected
        assert sum(added) == 333


# ---- copies ------------------------------------------------------------------------------------------------------


def through_pickle(value):
    return pickle.loads(pickle.dumps(value))


@pytest.mark.parametrize("duplicate", [copy.deepcopy, copy.copy, through_pickle], ids=["deepcopy", "copy", "pickle"])
@pytest.mark.parametrize("used", [False, True])
def test_a_copy_is_the_same_network_and_apart_from_it(duplicate, used):
    """Same parameters, same generator, buffers of its own; also of a network that has engines already."""
    case = Case("copies", (7, 20, 3), ("tanh",), "softmax", 16)
    net, (X, Y) = network(case), data(case, 100)
    if used:
        net.fit(X, Y, epochs=1)
        net.forward(X)
        net.backward(Y)
    twin = duplicate(net)
    assert repr(twin) == repr(net)
    assert bits(twin.parameters, twin.predict(X)) == bits(net.parameters, net.predict(X))
    assert not np.shares_memory(twin.parameters, net.parameters)
    assert all(np.shares_memory(layer.W, twin.parameters) for layer in twin.layers)
    before = bits(net.parameters)
    twin.fit(X, Y, epochs=2, batch_size=16)
    assert bits(net.parameters) == before
    if duplicate is not copy.copy:  # a shallow copy has the generator itself
        net.fit(X, Y, epochs=2, batch_size=16)
        assert bits(twin.parameters) == bits(net.parameters)
