"""partial_fit makes the steps of train_step on a stream of batches of any sizes, and keeps few engines for it."""

import copy
import gc
import itertools
import pickle
import tracemalloc
import weakref

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import Case, bits, data, network

import fastprop
from fastprop import SGD, Adam
from fastprop.core.engines import Engines

CASE = Case("stream", (8, 32, 32, 1), "relu", "sigmoid", 32)
SIZES = (32, 7, 32, 1, 300, 7, 1, 16, 300, 64, 32, 32, 5)  # a batch of one and chunks among them; more than are kept


def batches(sizes=SIZES, case=CASE):
    """Batches of these sizes, all of other rows."""
    return [data(case, m, seed) for seed, m in enumerate(sizes)]


@pytest.fixture
def made(monkeypatch):
    """The batch sizes of the training engines that were made."""
    sizes, make = [], Engines.make

    def counted(self, batch, **options):
        sizes.append(batch)
        return make(self, batch, **options)

    monkeypatch.setattr(Engines, "make", counted)
    return sizes


@pytest.mark.parametrize("make", [lambda: SGD(0.1), lambda: SGD(0.1, momentum=0.9, clip_norm=0.1), Adam])
@pytest.mark.parametrize("output", ["sigmoid", "softmax"])
def test_a_stream_has_the_bits_of_steps_that_each_have_an_engine_of_their_own(make, output):
    """With the optimizer given at every step, or at the first alone; with weights at every third."""
    case = Case("stream", (8, 32, 3), "tanh", output, 32)
    every, first, steps = network(case), network(case), network(case)
    optimizers = [make() for _ in range(3)]
    for i, (X, Y) in enumerate(batches(case=case)):
        weights = None if i % 3 else np.linspace(0.5, 1, len(X))
        steps.engines.last, steps.engines.kinds = steps.engines.make(len(X)), {}
        J = steps.train_step(X, Y, optimizers[0], weights)
        assert every.partial_fit(X, Y, optimizers[1], weights) == J
        assert first.partial_fit(X, Y, None if i else optimizers[2], sample_weight=weights) == J
    assert bits(every.parameters) == bits(first.parameters) == bits(steps.parameters)


def test_without_an_optimizer_it_is_the_last_one():
    """It is Adam() at first; then the optimizer of the last step, in partial_fit, train_step or fit."""
    one, other, sgd, adam, slow = network(CASE), network(CASE), Adam(), Adam(), SGD(0.01, momentum=0.5)
    X, Y = data(CASE)
    for net, used in ((one, (None, Adam(), None, SGD(0.01, momentum=0.5))), (other, (sgd, adam, adam, slow))):
        net.partial_fit(X, Y, used[0])
        net.train_step(X, Y, used[1])
        net.partial_fit(X, Y, used[2])
        net.fit(X, Y, epochs=1, optimizer=used[3])
        net.partial_fit(X, Y, None if net is one else slow)
        net.fit(X, Y, epochs=2, optimizer=None if net is one else slow)
    assert bits(one.parameters) == bits(other.parameters)
    assert one.optimizer.steps == other.optimizer.steps == 4


def test_sizes_that_take_turns_make_an_engine_once(made):
    """So do the ragged end of a stream, and a fit between its batches."""
    net = network(CASE)
    stream = itertools.cycle(batches((32, 7, 1)))
    for X, Y in itertools.islice(stream, 30):
        net.partial_fit(X, Y)
    net.fit(*data(CASE, 64), epochs=2, batch_size=32)
    assert made == [32, 1]


def test_another_number_of_threads_is_heeded_by_every_engine(made, eager_threads):
    """It is planned anew, and gives the same bits."""
    net, one = network(CASE), network(CASE)
    stream = batches((32, 48, 32, 48, 32, 48))
    for threads, (X, Y) in zip((1, 1, 2, 1, 2, 2), stream):
        fastprop.set_num_threads(threads)
        net.partial_fit(X, Y)
        assert net.engines.last.plan.threads == threads
    assert made == [32, 64, 32, 64, 32, 64]  # one engine, made anew for another number of threads
    fastprop.set_num_threads(1)
    for X, Y in stream:
        one.partial_fit(X, Y)
    assert bits(net.parameters) == bits(one.parameters)


def test_one_engine_serves_all_batches_of_a_chunk(made):
    """It grows by powers of two; one sample and batches of more chunks have engines of their own."""
    net = network(CASE)
    for X, Y in batches((5, 16, 2, 33, 64, 40, 1, 3, 1, 250, 256, 2, 300, 3, 300, 1)):
        net.partial_fit(X, Y)
    assert made == [16, 64, 1, 256, 300]
    assert {kind: engine.plan.batch for kind, engine in net.engines.kinds.items()} == {
        "chunk": 256,
        "sample": 1,
        "chunks": 300,
    }


@settings(max_examples=30)
@given(
    sizes=st.lists(st.integers(1, 300), min_size=2, max_size=6),
    widths=st.lists(st.sampled_from([1, 3, 17, 33]), min_size=2, max_size=4),
    dropout=st.sampled_from([0.0, 0.3]),
    threads=st.integers(1, 3),
)
def test_a_larger_engine_gives_the_bits_of_one_for_the_size(sizes, widths, dropout, threads):
    fastprop.set_num_threads(threads)
    one, each = (fastprop.Network(widths, "tanh", dropout=dropout, rng=0) for _ in range(2))
    adam, other, rng = Adam(0.01), Adam(0.01), np.random.default_rng(0)
    for m in sizes:
        X, Y = rng.random((m, widths[0])), rng.random((m, widths[-1]))
        each.engines.last, each.engines.kinds = each.engines.make(m), {}
        assert one.train_step(X, Y, adam) == each.train_step(X, Y, other)
    assert bits(one.parameters) == bits(each.parameters)


def test_engines_that_are_kept_hold_no_moments_of_earlier_optimizers():
    """Neither does the network, once partial_fit has another optimizer."""
    gc.disable()
    try:
        net, moments = network(CASE), []
        for (X, Y), optimizer in zip(batches((32, 7, 16, 32, 7)), [Adam(), Adam(), Adam(), SGD(0.1), SGD(0.1)]):
            net.partial_fit(X, Y, optimizer)
            moments.append(weakref.ref(optimizer.moments))
        del optimizer
        assert [ref() is None for ref in moments[:3]] == [True] * 3
        kept = [weakref.ref(a) for a in (net, *(engine.work for engine in net.engines.kinds.values()))]
        del net
        assert [ref() for ref in kept] == [None] * 2
    finally:
        gc.enable()


def test_a_stream_of_alternating_sizes_allocates_no_array():
    net, stream = network(CASE), batches((32, 500, 1))
    tracemalloc.start()
    try:
        for _ in range(100):
            for X, Y in stream:
                net.partial_fit(X, Y)
        before, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        for _ in range(30):
            for X, Y in stream:
                net.partial_fit(X, Y)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak - before < 10_000


def test_a_refused_batch_changes_nothing():
    """The parameters, and the optimizer of the stream, stay."""
    net, other = network(CASE), network(CASE)
    X, Y = data(CASE)
    for n in (net, other):
        n.partial_fit(X, Y, SGD(0.1, momentum=0.9))
    before = bits(net.parameters, net.gradients)
    taken = Adam()
    network(CASE).partial_fit(X, Y, taken)
    for bad in ((X * np.nan, Y, Adam()), (X, Y + 7, Adam()), (X, Y, Adam(), -np.ones(len(X))), (X, Y, "adam"),
                (X, Y, taken)):  # fmt: skip
        with pytest.raises((ValueError, TypeError)):
            net.partial_fit(*bad)
        assert bits(net.parameters, net.gradients) == before
    assert net.partial_fit(X, Y) == other.partial_fit(X, Y)
    assert bits(net.parameters) == bits(other.parameters)


@pytest.mark.parametrize("of", [copy.copy, copy.deepcopy, lambda net: pickle.loads(pickle.dumps(net))])
def test_a_copy_goes_on_alike(of):
    """With a copied optimizer, neither network changes the other."""
    net = network(CASE)
    stream = batches()
    for X, Y in stream[:5]:
        net.partial_fit(X, Y, Adam() if net.optimizer is None else None)
    other = of(net)
    for each in (net, other):
        for X, Y in stream[5:]:
            each.partial_fit(X, Y)
    assert bits(net.parameters) == bits(other.parameters)
    assert not np.shares_memory(net.parameters, other.parameters)


def test_a_network_and_its_optimizer_are_copied_together():
    """The copied network continues with the copied optimizer."""
    net, optimizer = network(CASE), Adam()
    net.partial_fit(*data(CASE), optimizer)
    other, its = copy.deepcopy((net, optimizer))
    other.partial_fit(*data(CASE))
    assert (optimizer.steps, its.steps) == (1, 2)
