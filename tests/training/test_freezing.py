"""Frozen layers: training leaves their W and b bit for bit alone, and trains the others as it should."""

import copy
import pickle
import warnings

import numba
import numpy as np
import pytest
from networks import Case, assert_close, bits, data, network, reference_parameters
from optimizers import OPTIMIZERS, Variant, adam, adamw, each_optimizer, sgd
from oracle import Trainer

import fastprop
from fastprop import SGD, Adam, AdamW, Checkpoint, EarlyStopping, Ensemble, Network, diagnose, fit_many, kernels

pytestmark = pytest.mark.filterwarnings("ignore:.*after .* epochs the:RuntimeWarning")

CASE = Case("four layers", (10, 33, 17, 20, 4), ("tanh", "relu", "sigmoid"), "softmax", 32)
NUMBERS = Case("numbers", (7, 20, 9, 3), "relu", "identity", 16)
SETS = [(0,), (1,), (3,), (0, 1), (0, 2), (1, 2, 3)]
M = 110
NEAR = {"float32": 2e-4, "float64": 1e-9}
each_set = pytest.mark.parametrize("frozen", SETS, ids=str)
each_dtype = pytest.mark.parametrize("dtype", NEAR)


def freeze(net, *layers):
    """Freeze these layers, counted from 0, and return the network."""
    for l, layer in enumerate(net.layers):
        layer.trainable = l not in layers
    return net


def of_layer(net, l):
    """The bits of a layer's parameters."""
    return bits(net.layers[l].W, net.layers[l].b)


def layers_of(net):
    return [of_layer(net, l) for l in range(len(net.layers))]


def moved(net, before):
    """The layers whose bits changed."""
    return tuple(l for l, (now, then) in enumerate(zip(layers_of(net), before, strict=True)) if now != then)


def others(net, frozen):
    return tuple(l for l in range(len(net.layers)) if l not in frozen)


def batches(size, m=M):
    return [slice(start, start + size) for start in range(0, m, size)]


def check_the_path(net, trainer, X, Y, optimizer, frozen, size, epochs, near, weights=None):
    """A fit has the costs of the trainer and comes to its parameters, and leaves the frozen ones alone."""
    before = layers_of(net)
    given = {"epochs": epochs, "batch_size": size, "shuffle": False, "sample_weight": weights}
    history = net.fit(X, Y, optimizer=optimizer, **given)
    losses = []
    for _ in range(epochs):
        costs = [trainer.step(X[r], Y[r], None if weights is None else weights[r]) for r in batches(size, len(X))]
        losses.append(sum(J * len(X[r]) for J, r in zip(costs, batches(size, len(X)))) / len(X))
    if weights is None:
        assert_close(history.loss, losses, near, "loss of each epoch")
    for name, value in net.to_dict().items():
        assert_close(value, trainer.parameters[name], near, name)
    assert moved(net, before) == others(net, frozen)


# ---- the steps of NumPy ------------------------------------------------------------------------------------------


@each_dtype
@each_set
@each_optimizer
def test_fit_walks_the_path_of_numpy(name, frozen, dtype):
    """From a start at which no relu's Z comes within rounding of 0 on the way: there float32 and float64 fork."""
    net, (X, Y) = freeze(network(CASE, rng=1, dtype=dtype), *frozen), data(CASE, M, dtype=dtype)
    trainer = Trainer(reference_parameters(net), CASE.hidden, CASE.output, OPTIMIZERS[name], frozen=frozen)
    check_the_path(net, trainer, X, Y, OPTIMIZERS[name].make(), frozen, 32, 10, NEAR[dtype])


@each_dtype
@each_set
def test_penalty_decay_and_clipping_are_those_of_numpy(frozen, dtype):
    """The cost counts the penalty of all layers, the norm the gradients of those that are trained."""
    for kind, update in ((SGD, sgd), (AdamW, adamw)):
        variant = Variant(kind, update, {"lr": 0.01, "weight_decay": 0.05, "clip_norm": 0.3})
        net, (X, Y) = freeze(network(CASE, dtype=dtype, l2=0.1), *frozen), data(CASE, M, dtype=dtype)
        trainer = Trainer(reference_parameters(net), CASE.hidden, CASE.output, variant, 0.1, frozen)
        check_the_path(net, trainer, X, Y, variant.make(), frozen, 32, 10, NEAR[dtype])


@pytest.mark.parametrize("parts", [64, 2, 0])
@each_set
def test_weights_chunks_and_parts_walk_it_too(frozen, parts, plan_constant):
    plan_constant("MOST_PARTS", parts)
    for variant in (Variant(SGD, sgd, {"lr": 0.1}), Variant(Adam, adam, {"lr": 0.003, "clip_norm": 0.06})):
        net, (X, Y) = freeze(network(CASE), *frozen), data(CASE, 1000)
        weights = np.random.default_rng(0).uniform(0, 2, 1000).astype(np.float32)
        trainer = Trainer(reference_parameters(net), CASE.hidden, CASE.output, variant, frozen=frozen)
        check_the_path(net, trainer, X, Y, variant.make(), frozen, 700, 8, NEAR["float32"], weights)
        assert net.engines.last.plan.parts == min(parts, 3)


@each_set
def test_single_rows_walk_it_too(frozen):
    """On vectors, layer by layer."""
    variant = Variant(Adam, adam, {"lr": 0.003, "epsilon": 1e-4})
    net, (X, Y) = freeze(network(CASE, dtype="float64"), *frozen), data(CASE, 20, dtype="float64")
    trainer = Trainer(reference_parameters(net), CASE.hidden, CASE.output, variant, frozen=frozen)
    check_the_path(net, trainer, X, Y, variant.make(), frozen, 1, 2, 1e-9)
    assert net.engines.last.plan.vectors


# ---- the bits of other ways to the same --------------------------------------------------------------------------


@pytest.mark.parametrize("m", [1, 33, 700])
@pytest.mark.parametrize("options", [{}, {"l2": 0.1}, {"dropout": 0.3}], ids=["plain", "l2", "dropout"])
@each_set
def test_the_first_step_of_the_others_has_the_bits_of_a_step_without(frozen, options, m):
    X, Y = data(CASE, m)
    for make in (lambda: SGD(0.1), lambda: SGD(0.1, 0.9), lambda: Adam(0.01)):
        net, free = freeze(network(CASE, **options), *frozen), network(CASE, **options)
        before = layers_of(net)
        assert net.train_step(X, Y, make()) == free.train_step(X, Y, make())
        assert moved(net, before) == others(net, frozen)
        for l in others(net, frozen):
            assert of_layer(net, l) == of_layer(free, l)


@each_dtype
@each_optimizer
def test_layers_above_frozen_ones_are_a_network_on_their_outputs(name, dtype):
    """Bit for bit: its X are the A of the highest frozen layer."""
    net, (X, Y) = freeze(network(CASE, dtype=dtype), 0, 1), data(CASE, M, dtype=dtype)
    upper = Network(CASE.sizes[2:], CASE.hidden[2:], CASE.output, dtype=dtype)
    for layer, source in zip(upper.layers, net.layers[2:], strict=True):
        layer.W, layer.b = source.W, source.b
    net.forward(X)
    features = net.layers[1].A
    given = {"epochs": 5, "batch_size": 32, "rng": 0}
    history = net.fit(X, Y, optimizer=OPTIMIZERS[name].make(), **given)
    expected = upper.fit(features, Y, optimizer=OPTIMIZERS[name].make(), **given)
    assert history.loss == expected.loss
    assert layers_of(net)[2:] == layers_of(upper)


@each_optimizer
def test_fit_is_a_loop_of_train_steps_bit_for_bit(name):
    X, Y = data(CASE, M)
    fitted, stepped, learning = (freeze(network(CASE, l2=0.01), 0, 2) for _ in range(3))
    fitted.fit(X, Y, epochs=3, batch_size=32, optimizer=OPTIMIZERS[name].make(), shuffle=False)
    optimizer, streaming = OPTIMIZERS[name].make(), OPTIMIZERS[name].make()
    for rows in batches(32) * 3:
        stepped.train_step(X[rows], Y[rows], optimizer)
        learning.partial_fit(X[rows], Y[rows], streaming)
    assert layers_of(fitted) == layers_of(stepped) == layers_of(learning)
    again = freeze(network(CASE, l2=0.01), 0, 2)
    again.fit(X, Y, epochs=3, batch_size=8, accumulate=4, optimizer=OPTIMIZERS[name].make(), shuffle=False)
    assert layers_of(again) == layers_of(fitted)


@each_dtype
@pytest.mark.parametrize("m", [1, 17, 256])
@each_optimizer
def test_a_step_by_itself_has_the_bits_of_a_training_step(name, m, dtype):
    """`backward` gives the gradients of all layers, and `step` takes those of the others: plain SGD's to rounding."""
    (X, Y), free = data(CASE, m, dtype=dtype), network(CASE, l2=0.1, dtype=dtype)
    together, apart = (freeze(network(CASE, l2=0.1, dtype=dtype), 0, 2) for _ in range(2))
    optimizer, other, before = OPTIMIZERS[name].make(), OPTIMIZERS[name].make(), layers_of(apart)
    free.forward(X)
    free.backward(Y)
    for i in range(3):
        together.train_step(X, Y, optimizer)
        apart.forward(X)
        apart.backward(Y)
        if i == 0:
            assert bits(apart.gradients, apart.dX) == bits(free.gradients, free.dX)
        apart.step(other)
    assert moved(apart, before) == (1, 3)
    assert bits(apart.parameters, other.moments) == bits(together.parameters, optimizer.moments)


def test_backward_from_dA_has_the_gradients_of_all_layers():
    free, net, (X, Y) = network(NUMBERS), freeze(network(NUMBERS), 0, 1), data(NUMBERS)
    for each in (free, net):
        each.forward(X)
        each.backward(dA=Y)
    assert bits(net.gradients, net.dX, net.jacobian(X)) == bits(free.gradients, free.dX, free.jacobian(X))
    assert net.gradient_check(X, Y) < 1e-2


def test_gradients_of_frozen_layers_count_for_nothing_in_a_step():
    """Neither in the norm that is clipped, nor if they are not finite."""
    found = []
    for value in (0.0, 1e6, np.nan):
        net = freeze(network(NUMBERS), 1)
        net.gradients[:] = 0.5
        net.layers[1].dW[:] = value
        net.step(SGD(0.1, clip_norm=1.0))
        found.append(bits(net.parameters))
    assert found[0] == found[1] == found[2]
    net.layers[0].dW[0, 0] = np.nan
    with pytest.raises(ValueError, match=r"gradients\[0\] is nan"):
        net.step(SGD(0.1))


def test_steps_of_frozen_layers_leave_their_gradients_and_moments_alone():
    net, (X, Y), optimizer = freeze(network(NUMBERS), 1), data(NUMBERS), Adam()
    net.layers[1].dW[:] = 7
    net.train_step(X, Y, optimizer)
    assert (net.layers[1].dW == 7).all()
    layout = net.architecture.layout
    assert [bool(layout.views(optimizer.moments[0], l)[0].any()) for l in range(3)] == [True, False, True]


@pytest.mark.usefixtures("eager_threads")
@pytest.mark.parametrize("batch", [1, 32, 700])
@each_set
def test_on_any_number_of_threads(frozen, batch, plan_constant):
    plan_constant("SHARED_WEIGHTS", 1)
    (X, Y), found = data(CASE, 900 if batch > 32 else 70), []
    for threads in (1, 2, 3, 8):
        fastprop.set_num_threads(threads)
        for l2, clip_norm in ((0.0, None), (0.1, 0.05)):
            net = freeze(network(CASE, l2=l2, dropout=l2), *frozen)
            before = layers_of(net)
            loss = net.fit(X, Y, epochs=2, batch_size=batch, optimizer=Adam(0.01, clip_norm=clip_norm), rng=0).loss
            net.forward(X)
            net.backward(Y)
            net.step(net.optimizer)
            assert moved(net, before) == others(net, frozen)
            found.append((layers_of(net), loss))
    assert found[2:] == found[:2] * 3


def test_a_sparse_X():
    sparse = pytest.importorskip("scipy.sparse")
    (X, Y) = data(CASE, M)
    X = X * (np.random.default_rng(0).random(X.shape) < 0.3)
    for frozen in SETS:
        for optimizer in (SGD(0.1), Adam(0.01)):
            dense, net = (freeze(network(CASE, dtype="float64"), *frozen) for _ in range(2))
            before = layers_of(net)
            dense.fit(X, Y, epochs=3, batch_size=32, optimizer=optimizer.fresh(), rng=0)
            net.fit(sparse.csr_array(X), Y, epochs=3, batch_size=32, optimizer=optimizer.fresh(), rng=0)
            assert moved(net, before) == others(net, frozen)
            assert_close(net.parameters, dense.parameters, 1e-9)


# ---- many networks -----------------------------------------------------------------------------------------------


def test_fit_many_has_the_bits_of_each_fit():
    """Also where networks take turns with the same engines, of which some freeze other layers."""
    X, Y = data(CASE, M)
    sets = [(), (0,), (1,), (), (0, 1), (0,)] * 4
    many, alone = ([freeze(network(CASE, l2=0.01, rng=i), *frozen) for i, frozen in enumerate(sets)] for _ in range(2))
    before = [layers_of(net) for net in many]
    given = {"epochs": 4, "batch_size": 32, "validation": 0.2, "early_stopping": 2}
    histories = fit_many(many, X, Y, optimizer=Adam(0.01), rng=[*range(len(sets))], **given)
    for i, net in enumerate(alone):
        assert net.fit(X, Y, optimizer=Adam(0.01), rng=i, **given).loss == histories[i].loss
        assert layers_of(net) == layers_of(many[i])
        assert moved(net, before[i]) == others(net, sets[i])


def test_an_ensemble_keeps_frozen_layers(tmp_path):
    pytest.importorskip("safetensors", reason="files need safetensors (extra save)")
    X, Y = data(NUMBERS, M)
    ensemble = Ensemble([freeze(network(NUMBERS, rng=i), i) for i in range(3)])
    before = [layers_of(net) for net in ensemble.networks]
    ensemble.save(tmp_path / "ensemble")
    for each in (ensemble, Ensemble.load(tmp_path / "ensemble")):
        each.fit(X, Y, epochs=1, rng=0)
        assert [moved(net, then) for net, then in zip(each.networks, before)] == [(1, 2), (0, 2), (0, 1)]


# ---- compiled loops ----------------------------------------------------------------------------------------------


@numba.njit
def steps(net, X, Y, count):
    J = 0.0
    for _ in range(count):
        J = kernels.train_step(net, X, Y)
    return J


@numba.njit
def back(net, X, dA, dX):
    kernels.backward(net, X, dA, dX)


@each_dtype
@pytest.mark.parametrize("options", [{}, {"l2": 0.1}, {"dropout": 0.3}], ids=["plain", "l2", "dropout"])
def test_compiled_steps_have_the_bits_of_train_step(options, dtype):
    """On one row, some, and parts; whichever layers are frozen, one after the other, and none again."""
    fastprop.set_num_threads(1)
    for make in (lambda: SGD(0.1), lambda: Adam(0.01, clip_norm=0.1)):
        net, twin = network(CASE, dtype=dtype, **options), network(CASE, dtype=dtype, **options)
        net.optimizer, optimizer = make(), make()
        for frozen in (*SETS, (), (0, 1)):
            freeze(net, *frozen)
            freeze(twin, *frozen)
            before = layers_of(net)
            for m in (33, 1, 700):
                X, Y = data(CASE, m, dtype=dtype)
                J = steps(net, X, Y, 2)
                assert [twin.train_step(X, Y, optimizer) for _ in range(2)][1] == J
            assert moved(net, before) == others(net, frozen)
            assert layers_of(net) == layers_of(twin)
    for m in (33, 1):
        X, _ = data(CASE, m, dtype=dtype)
        dA, dX = np.ones((m, 4), dtype), np.empty_like(X)
        back(net, X, dA, dX)
        twin.forward(X)
        twin.backward(dA=dA)
        if "dropout" not in options:
            assert bits(net.gradients, dX) == bits(twin.gradients, twin.dX)


# ---- the property ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [0, 1, None, "False", 0.0, [], np.array([True]), float("nan")])
def test_what_is_no_bool_is_refused(value):
    net = freeze(network(CASE), 1)
    with pytest.raises(TypeError, match=r"trainable is .*; it must be True or False\."):
        net.layers[0].trainable = value
    assert [layer.trainable for layer in net.layers] == [True, False, True, True]


def test_layers_are_trainable_unless_they_are_frozen():
    net = network(CASE)
    assert all(layer.trainable is True for layer in net.layers)
    net.layers[2].trainable = np.bool_(False)
    assert [layer.trainable for layer in net.layers] == [True, True, False, True]
    net.layers[2].trainable = True
    assert [layer.trainable for layer in net.layers] == [True] * 4


def test_freezing_shows_in_texts():
    net = Network((784, 256, 128, 10), output="softmax")
    shown, text = repr(net), net.summary()
    assert shown.endswith(": 235,146 parameters")
    assert "trainable" not in text
    assert repr(freeze(net, 0, 1)) == shown + ", 233,856 frozen"
    assert repr(net.layers[:3]) == (
        "[Layer(784 -> 256, trainable=False), Layer(256 -> 128, trainable=False), Layer(128 -> 10)]"
    )
    lines = [line.split() for line in net.summary().splitlines()[1:]]
    assert lines[0][-1] == "trainable"
    assert [line[-1] for line in lines[1:4]] == ["no", "no", "yes"]
    assert lines[4:] == [["all", "235,146"], ["trainable", "1,290"], ["frozen", "233,856"]]
    assert "<td" in net._repr_html_()
    freeze(net)
    assert (repr(net), net.summary()) == (shown, text)


def test_frozen_layers_may_be_written():
    net = freeze(network(CASE), 0)
    net.layers[0].W[:] = 1
    net.parameters *= 2
    assert (net.layers[0].W == 2).all()


def test_freezing_between_calls_keeps_the_forward_pass_and_the_optimizer():
    net, (X, Y), optimizer = network(NUMBERS), data(NUMBERS), Adam()
    net.train_step(X, Y, optimizer)
    net.forward(X)
    freeze(net, 0)
    net.backward(Y)
    net.step()
    before = layers_of(net)
    net.partial_fit(X, Y)
    assert (optimizer.steps, moved(net, before)) == (3, (1, 2))
    freeze(net)
    net.partial_fit(X, Y)
    assert moved(net, before) == (0, 1, 2)


# ---- none left to train ------------------------------------------------------------------------------------------

WAYS = {
    "fit": lambda net, X, Y: net.fit(X, Y, epochs=1),
    "fit_many": lambda net, X, Y: fit_many([network(NUMBERS), net], X, Y, epochs=1),
    "train_step": lambda net, X, Y: net.train_step(X, Y, Adam()),
    "partial_fit": lambda net, X, Y: net.partial_fit(X, Y),
    "step": lambda net, X, Y: net.step(),
    "resume": lambda net, X, Y: net.fit(X, Y, epochs=9, resume=True),
}


@pytest.mark.parametrize("way", WAYS)
def test_without_a_layer_to_train_nothing_is_trained(way):
    """The error names value, rule and remedy, and nothing has changed."""
    net, (X, Y) = network(NUMBERS), data(NUMBERS)
    net.fit(X, Y, epochs=1)
    freeze(net, 0, 1, 2)
    net.forward(X)
    net.backward(Y)
    state = lambda: (bits(net.parameters, net.gradients, net.optimizer.moments), net.optimizer.steps,  # noqa: E731
                     id(net.optimizer), id(net.fit_state), net.generator.bit_generator.state)  # fmt: skip
    before = state()
    message = r"trainable is False for all 3 layers; .* must be True for at least one\. Set net\.layers"
    with pytest.raises(ValueError, match=f"^network 1: {message}" if way == "fit_many" else f"^{message}"):
        WAYS[way](net, X, Y)
    assert state() == before


def test_without_a_layer_to_train_a_compiled_step_is_refused_and_a_prediction_made():
    net, (X, Y) = freeze(network(NUMBERS), 0, 1, 2), data(NUMBERS)
    net.optimizer = Adam()
    with pytest.raises(ValueError, match="every layer of the network is frozen"):
        steps(net, X, Y, 1)
    dX = np.empty_like(X)
    back(net, X, Y, dX)
    net.forward(X)
    net.backward(dA=Y)
    assert bits(dX) == bits(net.dX)
    net.layers[0].trainable = True
    before = layers_of(net)
    steps(net, X, Y, 1)
    assert moved(net, before) == (0,)


def test_without_a_layer_to_train_all_else_works():
    free, net, (X, Y) = network(NUMBERS), freeze(network(NUMBERS), 0, 1, 2), data(NUMBERS)
    assert bits(net.predict(X), net.forward(X)) == bits(free.predict(X), free.forward(X))
    assert (net.loss(X, Y), net.backward(Y)) == (free.loss(X, Y), free.backward(Y))
    report = diagnose(net, X, Y, SGD(0.1))
    assert (report.cost_after, report.rate) == (None, None)
    assert f"{net.n_parameters:,} frozen" in repr(net)


# ---- during a fit ------------------------------------------------------------------------------------------------


def after(epoch, change):
    """A callback that does something after an epoch."""
    return lambda count, history: change() if count == epoch else None


@pytest.mark.parametrize("many", [False, True])
def test_a_callback_changes_it_from_the_next_step_on(many):
    """The bits are those of two fits, with the same order of rows."""
    X, Y = data(CASE, M)
    for first, then in (((0, 1), ()), ((), (0, 2)), ((3,), (0,))):
        net, twin = (freeze(network(CASE, l2=0.01), *first) for _ in range(2))
        calls, given = [after(1, lambda net=net, then=then: freeze(net, *then) and None)], {"shuffle": False}
        if many:
            fit_many([net], X, Y, epochs=4, callbacks=[calls], optimizer=Adam(0.01), batch_size=32, **given)
        else:
            net.fit(X, Y, epochs=4, callbacks=calls, optimizer=Adam(0.01), batch_size=32, **given)
        twin.fit(X, Y, epochs=2, optimizer=Adam(0.01), batch_size=32, **given)
        freeze(twin, *then).fit(X, Y, epochs=2, batch_size=32, **given)
        assert layers_of(net) == layers_of(twin)


def test_a_callback_between_steps_changes_it_at_once():
    X, Y = data(CASE, M)
    net, twin, optimizer = network(CASE), network(CASE), Adam(0.01)
    net.fit(X, Y, epochs=1, batch_size=32, shuffle=False, optimizer=Adam(0.01),
            callbacks=[(3, lambda *_: freeze(net, 0, 1) and None)])  # fmt: skip
    for i, rows in enumerate(batches(32)):
        freeze(twin, *((0, 1) if i == 3 else ())).train_step(X[rows], Y[rows], optimizer)
    assert layers_of(net) == layers_of(twin)


@pytest.mark.parametrize("many", [False, True])
def test_a_callback_that_freezes_all_ends_the_fit_with_an_error(many):
    net, (X, Y) = network(NUMBERS), data(NUMBERS)
    calls, found = [after(0, lambda: found.append(layers_of(freeze(net, 0, 1, 2))))], []
    train = (
        (lambda: fit_many([net], X, Y, epochs=3, callbacks=[calls]))
        if many
        else (lambda: net.fit(X, Y, epochs=3, callbacks=calls))
    )
    with pytest.raises(ValueError, match="trainable is False for all 3 layers"):
        train()
    assert layers_of(net) == found[0]
    freeze(net, 0).fit(X, Y, epochs=1)


def test_early_stopping_returns_to_the_best_and_leaves_the_frozen():
    net, (X, Y) = freeze(network(CASE), 0), data(CASE, M)
    before = layers_of(net)
    given = {"validation": data(CASE, 40, seed=1), "batch_size": 32, "optimizer": Adam(0.05)}
    history = net.fit(X, Y, epochs=60, early_stopping=EarlyStopping(3), **given)
    assert history.best_epoch is not None
    assert history.best_epoch < history.epochs - 1
    assert moved(net, before) == (1, 2, 3)
    assert net.loss(*given["validation"]) == pytest.approx(min(history.validation_loss), rel=1e-6)


def test_a_fit_that_diverges_leaves_frozen_layers_alone():
    net, (X, Y) = freeze(network(NUMBERS), 0), data(NUMBERS, M)
    before = layers_of(net)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        net.fit(X, 1e3 * Y, epochs=50, batch_size=16, optimizer=SGD(100.0))
    assert net.fit_state is None
    assert of_layer(net, 0) == before[0]


# ---- copies and files --------------------------------------------------------------------------------------------

DUPLICATES = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "pickle": lambda net: pickle.loads(pickle.dumps(net)),
}


@pytest.mark.parametrize("how", DUPLICATES)
def test_a_copy_freezes_what_its_network_does_and_by_itself(how):
    net, (X, Y) = freeze(network(NUMBERS), 0, 1), data(NUMBERS)
    net.fit(X, Y, epochs=1)
    other = DUPLICATES[how](net)
    assert [layer.trainable for layer in other.layers] == [False, False, True]
    other.layers[0].trainable = True
    before = layers_of(net)
    for each, expected in ((net, (2,)), (other, (0, 2))):
        each.fit(X, Y, epochs=1)
        assert moved(each, before) == expected


def test_a_file_keeps_it_and_a_fit_is_resumed_with_its_bits(tmp_path):
    pytest.importorskip("safetensors", reason="files need safetensors (extra save)")
    X, Y = data(CASE, M)
    given = {"batch_size": 32, "validation": 0.2, "early_stopping": 20, "rng": 1}
    whole, parts = (freeze(network(CASE, dropout=0.1), 0, 2) for _ in range(2))
    before, path = layers_of(whole), tmp_path / "net.safetensors"
    expected = whole.fit(X, Y, epochs=6, optimizer=Adam(0.01), **given)
    parts.fit(X, Y, epochs=3, optimizer=Adam(0.01), callbacks=[Checkpoint(path)], **given)
    again = Network.load(path)
    assert [layer.trainable for layer in again.layers] == [False, True, False, True]
    assert again.fit(X, Y, epochs=6, resume=True, **given).loss == expected.loss
    assert layers_of(again) == layers_of(whole)
    assert moved(again, before) == (1, 3)


def test_a_file_of_a_network_all_frozen_predicts(tmp_path):
    pytest.importorskip("safetensors", reason="files need safetensors (extra save)")
    net, (X, _) = freeze(network(NUMBERS), 0, 1, 2), data(NUMBERS)
    net.save(tmp_path / "net")
    again = Network.load(tmp_path / "net")
    assert bits(again.predict(X)) == bits(net.predict(X))
    assert not any(layer.trainable for layer in again.layers)


# ---- diagnosis ---------------------------------------------------------------------------------------------------


def test_a_diagnosis_has_no_update_of_frozen_layers():
    net, (X, Y) = freeze(network(NUMBERS), 0), data(NUMBERS, M)
    report = diagnose(net, X, Y, SGD(0.01))
    assert [layer.update is None for layer in report.layers] == [True, False, False]
    assert all(layer.dW.norm > 0 for layer in report.layers)
    assert "learning rate too low" not in repr(report)
