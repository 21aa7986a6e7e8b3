"""The accuracy of an epoch is the share of the predictions, each before its step, that are right."""

import json

import numpy as np
import pytest
from networks import Case, data, network, reference_parameters
from optimizers import OPTIMIZERS
from oracle import Trainer

import fastprop
from fastprop import SGD, Adam, EarlyStopping, Ensemble, Loss, Network, fit_many, reference
from fastprop.training import pace

# Whole and ragged batches, a single output, a batch of one sample, chunks and parts of a batch, and no hidden layer.
CASES = (
    Case("classes", (7, 20, 3), "relu", "softmax", 16),
    Case("ragged", (17, 33, 1), "tanh", "sigmoid", 33),
    Case("samples", (5, 9, 4), "relu", "softmax", 1),
    Case("chunks", (6, 17, 3), "relu", "softmax", 700),
    Case("no-hidden", (3, 1), "relu", "sigmoid", 17),
    Case("many-classes", (5, 100), "relu", "softmax", 48),
)
CLASSES, BINARY = CASES[:2]
EPOCHS = 4

each_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


def classes_of(Y):
    """The class of each row of Y, labels or a matrix."""
    Y = np.asarray(Y)
    return Y if Y.ndim == 1 else Y.argmax(axis=1) if Y.shape[1] > 1 else (Y[:, 0] > 0.5).astype(int)


def batches(m, size):
    return [slice(start, min(start + size, m)) for start in range(0, m, size)]


def by_numpy(net, case, X, Y, weights=None):
    """The accuracies of epochs of plain SGD in float64, by the reference."""
    trainer = Trainer(reference_parameters(net), case.hidden, case.output, OPTIMIZERS["sgd"])
    w = np.ones(len(X)) if weights is None else weights.astype(np.float64)
    result = []
    for _ in range(EPOCHS):
        right = 0.0
        for rows in batches(len(X), case.batch):
            columns = X[rows].T.astype(np.float64)
            Y_hat = reference.forward_propagation(columns, trainer.parameters, case.output, case.hidden)
            right += w[rows] @ (classes_of(Y_hat[f"A{len(net.layers)}"].T) == classes_of(Y[rows]))
            trainer.step(X[rows], Y[rows], None if weights is None else w[rows])
        result.append(right / w.sum())
    return result


def by_steps(net, X, Y, batch, weights=None, epochs=EPOCHS):
    """The accuracies of epochs of `train_step`, by the predictions before each."""
    optimizer, w, result = SGD(0.1), np.ones(len(X)) if weights is None else weights, []
    for _ in range(epochs):
        right = 0.0
        for rows in batches(len(X), batch):
            right += w[rows] @ (classes_of(net.predict(X[rows])) == classes_of(Y[rows]))
            net.train_step(X[rows], Y[rows], optimizer, None if weights is None else w[rows])
        result.append(right / w.sum())
    return result


def fit(net, X, Y, batch, **settings):
    """The history of a fit that keeps the rows in their order."""
    settings = {"epochs": EPOCHS, "optimizer": SGD(0.1), "shuffle": False, "progress": False} | settings
    return net.fit(X, Y, batch_size=batch, **settings)


@each_case
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("weighted", [False, True])
def test_each_epoch_has_the_accuracy_of_numpy(case, dtype, weighted):
    m = 1500 if case.batch > 100 else 110
    X, Y = data(case, m, dtype=dtype)
    weights = np.random.default_rng(1).uniform(0, 2, m).astype(dtype) if weighted else None
    net = network(case, dtype=dtype)
    expected = by_numpy(net, case, X, Y, weights)
    history = fit(net, X, Y, case.batch, optimizer=OPTIMIZERS["sgd"].make(), sample_weight=weights)
    assert history.accuracy == pytest.approx(expected, rel=1e-12)
    assert len(set(expected)) > 1


@each_case
def test_the_accuracy_does_not_depend_on_threads_and_slices(case, eager_threads, monkeypatch):
    m = 1500 if case.batch > 100 else 110
    (X, Y), weights = data(case, m), np.random.default_rng(1).uniform(0, 2, m)
    found = []
    for threads, seconds in ((1, 1.0), (2, 1.0), (2, 0.0)):
        fastprop.set_num_threads(threads)
        monkeypatch.setattr(pace, "SLICE_SECONDS", seconds)
        history = network(case).fit(X, Y, epochs=EPOCHS, batch_size=case.batch, sample_weight=weights, rng=0)
        found.append(history.accuracy)
    assert found[0] == found[1] == found[2]


TARGETS = {
    "one-hot rows": lambda Y, rng: np.eye(3)[Y],
    "probabilities": lambda Y, rng: rng.dirichlet(np.ones(3), len(Y)),
    "equal probabilities": lambda Y, rng: np.array([[0.5, 0.5, 0], [0, 0.5, 0.5], [0.5, 0, 0.5]])[Y],
}


@pytest.mark.parametrize("kind", TARGETS)
def test_the_class_of_a_target_is_the_first_of_the_greatest(kind):
    X, Y = data(CLASSES, 110)
    Y = TARGETS[kind](Y, np.random.default_rng(2)).astype(np.float32)
    history = fit(network(CLASSES), X, Y, 16)
    assert history.accuracy == pytest.approx(by_steps(network(CLASSES), X, Y, 16), rel=1e-12)


LOSSES = ("mse", "mae", "binary_crossentropy", Loss("brier", lambda y_hat, y: (y_hat - y) ** 2, probabilities=True))


@pytest.mark.parametrize("loss", LOSSES, ids=str)
@pytest.mark.parametrize("case", [CLASSES, BINARY], ids=lambda case: case.name)
def test_with_any_loss(case, loss):
    X, Y = data(case, 110)
    history = fit(network(case, loss=loss), X, Y, case.batch)
    assert history.accuracy == pytest.approx(by_steps(network(case, loss=loss), X, Y, case.batch), rel=1e-12)


def test_targets_that_are_not_known_do_not_count():
    X, Y = data(BINARY, 110)
    Y[::3] = np.nan
    history = fit(network(BINARY, missing=True), X, Y, 33)
    known = np.isfinite(Y[:, 0])
    expected = by_steps(network(BINARY, missing=True), X, Y, 33, known.astype(np.float32))
    assert history.accuracy == pytest.approx(expected, rel=1e-12)


def test_weights_of_classes_count():
    X, Y = data(CLASSES, 110)
    table = {0: 0.0, 1: 3.0, 2: 0.5}
    history = fit(network(CLASSES), X, Y, 16, class_weight=table)
    expected = by_steps(network(CLASSES), X, Y, 16, np.vectorize(table.get)(Y))
    assert history.accuracy == pytest.approx(expected, rel=1e-6)


def test_bytes_of_a_file_and_a_sparse_matrix(tmp_path):
    """Files larger than memory are arrays of bytes that the system reads as they are needed."""
    sparse = pytest.importorskip("scipy.sparse")
    rng = np.random.default_rng(0)
    X = (rng.integers(256, size=(110, 7)) * (rng.random((110, 7)) < 0.5)).astype(np.uint8)
    Y = data(CLASSES, 110)[1]
    expected = by_steps(network(CLASSES, scale=1 / 255), X.astype(np.float32), Y, 16)
    X.tofile(tmp_path / "rows")
    for rows in (X, np.memmap(tmp_path / "rows", np.uint8, "r", shape=X.shape), sparse.csr_array(X)):
        assert fit(network(CLASSES, scale=1 / 255), rows, Y, 16).accuracy == pytest.approx(expected, rel=1e-12)


def test_all_right_is_exactly_1_and_all_wrong_0():
    """Also by weights whose sum depends on the order."""
    X, _ = data(CLASSES, 1000)
    weights = np.random.default_rng(0).uniform(0, 1, 1000)
    net = network(CLASSES)
    for labels, share in ((net.predict(X).argmax(axis=1), 1.0), ((net.predict(X).argmax(axis=1) + 1) % 3, 0.0)):
        history = fit(net, X, labels, 1000, epochs=1, optimizer=SGD(1e-30), sample_weight=weights)
        assert history.accuracy == [share]


@pytest.mark.parametrize(("n", "output"), [(1, "identity"), (3, "identity"), (3, "sigmoid"), (1, "tanh")])
def test_what_are_no_classes_has_no_accuracy(n, output):
    """As in validation: several sigmoids are labels that a sample has or has not."""
    X = data(CLASSES, 60)[0]
    net = Network((7, n), output=output, rng=0)
    history = net.fit(X, np.abs(X[:, :n]) < 0.5, epochs=3, validation=0.2)
    assert history.accuracy == history.validation_accuracy == []
    with pytest.raises(ValueError, match="outputs are no classes"):
        net.fit(X, np.zeros((60, n)), epochs=1, early_stopping=EarlyStopping(3, monitor="accuracy"))


def test_dropped_units_are_part_of_the_prediction():
    """As they are of the loss: the predictions are those whose errors are learnt from."""
    X, Y = data(CLASSES, 2000)
    Y = network(CLASSES, rng=5).predict(X).argmax(axis=1)
    whole, dropped = network(CLASSES, rng=5), network(CLASSES, rng=5, dropout=0.5)
    assert fit(whole, X, Y, 2000, epochs=1).accuracy == [1.0]
    assert 0.4 < fit(dropped, X, Y, 2000, epochs=1).accuracy[0] < 0.95


def test_callbacks_see_the_accuracy_of_the_epoch_so_far():
    X, Y = data(CLASSES, 110)
    net, seen = network(CLASSES), []
    calls = [(1, lambda step, history: seen.append((net.fit_state.accuracy, list(history.accuracy))))]
    history = fit(net, X, Y, 16, epochs=2, callbacks=calls)
    assert [len(before) for _, before in seen] == [0] * 7 + [1] * 7
    assert [seen[6][0], seen[13][0]] == history.accuracy
    first = np.mean(network(CLASSES).predict(X[:16]).argmax(axis=1) == Y[:16])
    assert seen[0][0] == first


def test_steps_between_two_fits_do_not_count():
    X, Y = data(CLASSES, 110)
    one, other = network(CLASSES), network(CLASSES)
    expected = by_steps(one, X, Y, 16, epochs=2)
    fit(other, X, Y, 16, epochs=1)
    before = other.parameters.copy()
    other.partial_fit(X, Y)
    other.parameters[:] = before
    assert fit(other, X, Y, 16, epochs=1).accuracy == pytest.approx(expected[1:], rel=1e-12)


def test_many_networks_and_ensembles_have_the_accuracies_of_fits_by_themselves():
    X, Y = data(CLASSES, 110)
    settings = {"epochs": EPOCHS, "batch_size": 16, "shuffle": False, "optimizer": SGD(0.1)}
    nets = [network(CLASSES, rng=i) for i in range(4)]
    expected = [pytest.approx(by_steps(network(CLASSES, rng=i), X, Y, 16), rel=1e-12) for i in range(4)]
    assert [history.accuracy for history in fit_many(nets, X, Y, **settings)] == expected
    ensemble = Ensemble([network(CLASSES, rng=i) for i in range(4)])
    assert [history.accuracy for history in ensemble.fit(X, Y, **settings)] == expected


def test_a_fit_that_diverges_ends_with_an_accuracy():
    X, Y = data(CLASSES, 110)
    with pytest.warns(RuntimeWarning, match="diverged"):
        history = fit(network(CLASSES), 1e18 * X, Y, 16, epochs=20, optimizer=SGD(1e18))
    assert len(history.accuracy) == history.epochs
    assert all(0 <= accuracy <= 1 for accuracy in history.accuracy)


# ---- files -------------------------------------------------------------------------------------------------------


def saved_in_an_epoch(path):
    """A file of a fit that stands at step 3 of its third epoch."""
    X, Y = data(CLASSES, 110)
    net = network(CLASSES)
    net.fit(X, Y, epochs=6, batch_size=16, optimizer=Adam(0.01), rng=0, callbacks=[(17, lambda *_: True)])
    net.save(path)
    return X, Y


def test_a_resumed_epoch_counts_its_first_steps(tmp_path):
    pytest.importorskip("safetensors", reason="files need safetensors (extra save)")
    X, Y = saved_in_an_epoch(tmp_path / "net")
    history = Network.load(tmp_path / "net").fit(X, Y, epochs=6, batch_size=16, resume=True)
    expected = network(CLASSES).fit(X, Y, epochs=6, batch_size=16, optimizer=Adam(0.01), rng=0)
    assert history.accuracy == expected.accuracy


def without_accuracy(path):
    """Make a file what it was before there were accuracies."""
    import safetensors.numpy

    content = path.read_bytes()
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])["__metadata__"]
    described = json.loads(header["fit"])
    del described["right"]
    tensors = {name: a for name, a in safetensors.numpy.load(content).items() if name != "history.accuracy"}
    path.write_bytes(safetensors.numpy.save(tensors, header | {"fit": json.dumps(described)}))


def test_a_file_without_accuracies_is_resumed(tmp_path):
    """The accuracy of the epoch that it stands in is not known; those after it are."""
    pytest.importorskip("safetensors", reason="files need safetensors (extra save)")
    path = tmp_path / "net"
    X, Y = saved_in_an_epoch(path)
    without_accuracy(path)
    net = Network.load(path)
    net.save(path)  # in the form of today, and NaN for what is not known
    expected = network(CLASSES).fit(X, Y, epochs=6, batch_size=16, optimizer=Adam(0.01), rng=0)
    for again in (net, Network.load(path)):
        history = again.fit(X, Y, epochs=6, batch_size=16, resume=True)
        assert history.loss == expected.loss
        np.testing.assert_array_equal(history.accuracy, [np.nan, *expected.accuracy[3:]])
        table = history._repr_html_()
        assert f"{expected.accuracy[-1]:.4g}" in table
        again.save(path)
        assert Network.load(path).fit_state.history.accuracy[1:] == expected.accuracy[3:]
