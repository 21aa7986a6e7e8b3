"""CSVLog: the file has the history of the fit, and of the fit before it if it is resumed."""

import csv

import numpy as np
import pytest

from fastprop import Adam, CSVLog, Network

RNG = np.random.default_rng(0)
X = RNG.normal(size=(100, 5))
LABELS = (X[:, 0] > 0).astype(int)


def read(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def numbers(path, name):
    return [float(row[name]) for row in read(path)]


@pytest.mark.parametrize("more", [[], [lambda *_: False]], ids=["compiled epochs", "epochs in Python"])
def test_each_epoch_is_a_row(more, tmp_path):
    net, path = Network((5, 8, 2), output="softmax", rng=0), tmp_path / "fit.csv"
    path.write_text("what was there before\n")
    history = net.fit(X, LABELS, epochs=7, validation=0.2, callbacks=[CSVLog(path), *more])
    assert list(read(path)[0]) == ["epoch", "loss", "accuracy", "validation_loss", "validation_accuracy", "seconds"]
    assert numbers(path, "epoch") == [1, 2, 3, 4, 5, 6, 7]
    for name in ("loss", "accuracy", "validation_loss", "validation_accuracy", "seconds"):
        assert numbers(path, name) == getattr(history, name)


def test_a_resumed_fit_has_all_epochs_and_all_that_is_measured(tmp_path):
    net, path = Network((5, 8, 2), output="softmax", rng=0), tmp_path / "fit.csv"
    net.fit(X, LABELS, epochs=3, callbacks=[CSVLog(path)], optimizer=Adam())
    path.unlink()
    held_out, metrics = (X, LABELS), {"zeros": lambda Y, Y_hat: np.sum(Y_hat < 0.1)}
    history = net.fit(
        X, LABELS, epochs=5, validation=held_out, metrics=metrics, callbacks=[CSVLog(path)], resume=True
    )  # fmt: skip
    assert numbers(path, "loss") == history.loss
    assert [row["validation_loss"] for row in read(path)] == ["", "", "", *map(str, history.validation_loss)]
    assert [row["zeros"] for row in read(path)][:3] == ["", "", ""]
    assert numbers(path, "epoch") == [1, 2, 3, 4, 5]


def test_one_log_may_serve_two_fits(tmp_path):
    log = CSVLog(tmp_path / "fit.csv")
    for epochs in (4, 2):
        Network((5, 1), rng=0).fit(X, LABELS[:, None], epochs=epochs, callbacks=[log])
        assert numbers(log.path, "epoch") == [*range(1, epochs + 1)]


def test_a_file_that_cannot_be_written_is_found_before_the_fit(tmp_path):
    net = Network((5, 1), rng=0)
    before = net.parameters.copy()
    with pytest.raises(OSError, match="nowhere"):
        net.fit(X, LABELS[:, None], epochs=2, callbacks=[CSVLog(tmp_path / "nowhere" / "fit.csv")])
    np.testing.assert_array_equal(net.parameters, before)
