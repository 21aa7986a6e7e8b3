"""200 training steps of every optimizer against float64 NumPy, from the same start on the same batches."""

import numpy as np
import pytest
from networks import Case, assert_close, bits, data, network, reference_parameters
from optimizers import OPTIMIZERS, Variant, adam, each_optimizer, each_optimizer_slowly, sgd
from oracle import Trainer

from fastprop import SGD, Adam
from fastprop.kernels.passes import shuffle

NETWORKS = (
    Case("relu-softmax", (10, 33, 17, 4), "relu", "softmax", 32),
    Case("tanh-identity", (3, 17, 6), "tanh", "identity", 24),
    Case("sigmoid-sigmoid", (17, 20, 1), "sigmoid", "sigmoid", 16),
)
M = 110  # no multiple of any batch: the last one of each epoch is ragged
STEPS = 200

each_network = pytest.mark.parametrize("case", NETWORKS, ids=[case.name for case in NETWORKS])


def learnable(case, dtype="float32"):
    """Data with something to learn: targets from a network of another start."""
    X, _ = data(case, M, dtype=dtype)
    teacher = network(case, rng=99, dtype=dtype)
    Y = teacher.predict(3 * X)
    if case.output == "softmax":
        return X, Y.argmax(axis=1)
    return X, (Y > 0.5).astype(dtype) if case.output == "sigmoid" else Y


def batches(case, m=M):
    return [slice(start, min(start + case.batch, m)) for start in range(0, m, case.batch)]


def assert_same_parameters(net, parameters, tolerance=2e-4):
    for name, value in net.to_dict().items():
        assert_close(value, parameters[name], tolerance, name)


@pytest.mark.parametrize(("dtype", "near"), [("float32", 2e-4), ("float64", 1e-9)])
@each_network
@each_optimizer
def test_fit_walks_the_path_of_numpy(name, case, dtype, near):
    """200 steps and more: the same loss in every epoch, and the same parameters at the end."""
    net, (X, Y) = network(case, dtype=dtype), learnable(case, dtype)
    trainer = Trainer(reference_parameters(net), case.hidden, case.output, OPTIMIZERS[name])
    epochs = -(-STEPS // len(batches(case)))
    history = net.fit(X, Y, epochs=epochs, batch_size=case.batch, optimizer=OPTIMIZERS[name].make(), shuffle=False)
    losses = []
    for _ in range(epochs):
        costs = [(trainer.step(X[rows], Y[rows]), len(X[rows])) for rows in batches(case)]
        losses.append(sum(J * m for J, m in costs) / M)
    assert_close(history.loss, losses, near / 2, "loss of each epoch")
    assert_same_parameters(net, trainer.parameters, near)
    assert history.loss[-1] < history.loss[0], "nothing was learnt: the test would prove little"


@each_network
@each_optimizer_slowly
def test_train_step_walks_the_path_of_numpy(name, case):
    net, (X, Y), optimizer = network(case), learnable(case), OPTIMIZERS[name].make()
    trainer = Trainer(reference_parameters(net), case.hidden, case.output, OPTIMIZERS[name])
    for step in range(STEPS):
        rows = batches(case)[step % len(batches(case))]
        assert net.train_step(X[rows], Y[rows], optimizer) == pytest.approx(trainer.step(X[rows], Y[rows]), abs=2e-4)
    assert_same_parameters(net, trainer.parameters)
    assert optimizer.steps == STEPS


@pytest.mark.filterwarnings("ignore:after .* epochs the:RuntimeWarning")  # a clip_norm of 0.1 learns little in 20
@each_optimizer_slowly
@pytest.mark.parametrize("parts", [64, 2, 0])
def test_weights_and_chunks_walk_it_too(name, parts, plan_constant):
    """Batches of 700 weighted samples, in three chunks each: with as many parts as chunks, with two, and with none."""
    plan_constant("MOST_PARTS", parts)
    case = Case("chunks", (6, 17, 3), "tanh", "softmax", 700)
    net, (X, Y) = network(case), data(case, 1000)
    weights = np.random.default_rng(0).uniform(0, 2, 1000).astype(np.float32)
    trainer = Trainer(reference_parameters(net), case.hidden, case.output, OPTIMIZERS[name])
    net.fit(X, Y, epochs=20, batch_size=700, optimizer=OPTIMIZERS[name].make(), shuffle=False, sample_weight=weights)
    assert net.engines.last.plan.parts == min(parts, 3)
    for _ in range(20):
        for rows in batches(case, 1000):
            trainer.step(X[rows], Y[rows], weights[rows])
    assert_same_parameters(net, trainer.parameters)


@each_optimizer
@each_network
def test_fit_is_a_loop_of_train_steps_bit_for_bit(name, case):
    X, Y = learnable(case)
    fitted, stepped, optimizer = network(case), network(case), OPTIMIZERS[name].make()
    history = fitted.fit(X, Y, epochs=3, batch_size=case.batch, optimizer=OPTIMIZERS[name].make(), shuffle=False)
    for epoch in range(3):
        costs = [stepped.train_step(X[rows], Y[rows], optimizer) * len(X[rows]) for rows in batches(case)]
        assert history.loss[epoch] == pytest.approx(sum(costs) / M, rel=1e-12)
    assert bits(fitted.parameters) == bits(stepped.parameters)


@each_network
def test_fit_shuffles_by_the_order_of_the_kernel(case):
    """With a seed, an epoch is the loop of train steps over the rows in the order that `shuffle` gives."""
    X, Y = learnable(case)
    fitted, stepped, optimizer = network(case), network(case), SGD(0.1)
    fitted.fit(X, Y, epochs=2, batch_size=case.batch, optimizer=SGD(0.1), rng=5)
    seed, order = int(np.random.default_rng(5).integers(2**62)), np.empty(M, np.uint32)
    for epoch in range(2):
        shuffle(order, M, seed, epoch)
        for rows in batches(case):
            stepped.train_step(X[order[rows]], Y[order[rows]], optimizer)
    assert bits(fitted.parameters) == bits(stepped.parameters)


def test_weights_and_labels_are_shuffled_with_their_rows():
    case = NETWORKS[0]
    X, Y = learnable(case)
    weights = np.random.default_rng(0).uniform(0.5, 2, M).astype(np.float32)
    fitted, stepped, optimizer = network(case), network(case), Adam()
    fitted.fit(X, Y, epochs=1, batch_size=32, optimizer=Adam(), rng=5, sample_weight=weights)
    seed, order = int(np.random.default_rng(5).integers(2**62)), np.empty(M, np.uint32)
    shuffle(order, M, seed, 0)
    for rows in batches(case):
        stepped.train_step(X[order[rows]], Y[order[rows]], optimizer, weights[order[rows]])
    assert bits(fitted.parameters) == bits(stepped.parameters)


@pytest.mark.parametrize("batch_size", [M, M + 1, 10**9])
def test_a_batch_larger_than_the_data_is_the_data(batch_size):
    case = NETWORKS[0]
    X, Y = learnable(case)
    fitted, stepped, optimizer = network(case), network(case), SGD(0.1)
    fitted.fit(X, Y, epochs=3, batch_size=batch_size, optimizer=SGD(0.1), shuffle=False)
    for _ in range(3):
        stepped.train_step(X, Y, optimizer)
    assert bits(fitted.parameters) == bits(stepped.parameters)


def test_the_learning_rate_may_be_set_between_steps():
    case = NETWORKS[1]
    net, (X, Y), optimizer = network(case), learnable(case), SGD(0.1, momentum=0.9)
    variant = Variant(SGD, sgd, {"lr": 0.1, "momentum": 0.9})
    trainer = Trainer(reference_parameters(net), case.hidden, case.output, variant)
    for lr in (0.1, 0.01, 0.05):
        optimizer.lr = trainer.lr = lr
        net.train_step(X, Y, optimizer)
        trainer.step(X, Y)
    assert_same_parameters(net, trainer.parameters, 1e-5)


def test_the_learning_rate_may_be_any_function_of_the_step():
    case = NETWORKS[0]
    variant = Variant(Adam, adam, {"lr": lambda step: 0.003 / (1 + step / 50)})
    net, (X, Y) = network(case), learnable(case)
    trainer = Trainer(reference_parameters(net), case.hidden, case.output, variant)
    net.fit(X, Y, epochs=50, batch_size=case.batch, optimizer=variant.make(), shuffle=False)
    for _ in range(50):
        for rows in batches(case):
            trainer.step(X[rows], Y[rows])
    assert_same_parameters(net, trainer.parameters)


def test_the_optimizers_state_goes_on_from_fit_to_fit():
    """Two fits of one optimizer are one fit: the moments and the count of steps stay."""
    case = NETWORKS[0]
    X, Y = learnable(case)
    once, twice, optimizer = network(case), network(case), Adam()
    once.fit(X, Y, epochs=4, optimizer=Adam(), shuffle=False)
    for _ in range(2):
        twice.fit(X, Y, epochs=2, optimizer=optimizer, shuffle=False)
    assert bits(once.parameters) == bits(twice.parameters)
    assert optimizer.moments.shape == (2, len(twice.parameters))


def test_no_optimizer_is_adam():
    case = NETWORKS[0]
    X, Y = learnable(case)
    one, other = network(case), network(case)
    one.fit(X, Y, epochs=2, shuffle=False)
    other.fit(X, Y, epochs=2, shuffle=False, optimizer=Adam())
    assert bits(one.parameters) == bits(other.parameters)
