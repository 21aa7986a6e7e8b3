"""What the tests of training over MPI do on each rank: ``mpiexec -n 3 python -m mpi4py on_ranks.py equality 3``.

A failed assertion on a rank ends the job, with the traceback.
"""

import contextlib
import hashlib
import json
import os
import random
import signal
import sys
import threading
import time
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
from mpi4py import MPI

from fastprop import SGD, Adam, Checkpoint, Network, get_num_threads, schedules
from fastprop.core.cores import affinity
from fastprop.training.ranks import RanksFit

COMM = MPI.COMM_WORLD
RANK, SIZE = COMM.rank, COMM.size
GOOD = {"epochs": 3, "batch_size": 16}
TOLERANCE = {"float32": 2e-5, "float64": 1e-12}  # of parameters of about 1 after eight steps


def data(m, kind="labels", seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(m, 12))
    if kind == "labels":
        return X, rng.integers(0, 4, m)
    if kind == "multilabel":
        return X, (rng.random((m, 4)) < 0.3) * 1.0
    return X, np.tanh(X[:, :4])


def network(kind="labels", **settings):
    output = {"labels": "softmax", "multilabel": "sigmoid", "numbers": "identity"}[kind]
    return Network((12, 24, 20, 4), "tanh", output, rng=0, **settings)


def own(shares, *arrays):
    """The rows of this rank: an equal share, an unequal one, or one row on the last rank."""
    m = arrays[0].shape[0]
    if shares == "equal":
        cuts = [m * rank // SIZE for rank in range(SIZE + 1)]
    elif shares == "one row":
        cuts = [(m - 1) * rank // (SIZE - 1) for rank in range(SIZE)] + [m]
    else:
        parts = np.cumsum(range(SIZE + 1))
        cuts = (m * parts // parts[-1]).tolist()
    return [a[cuts[RANK] : cuts[RANK + 1]] for a in arrays]


def digest(net):
    return hashlib.sha256(net.parameters.tobytes()).hexdigest()


def the_same(value):
    """Assert that all ranks have the same value, and return it."""
    told = COMM.allgather(value)
    assert all(each == told[0] for each in told), told
    return value


def raised(call):
    """What a call raises on each rank, as text."""
    told = None
    try:
        call()
    except BaseException as error:
        told = f"{type(error).__name__}: {error}"
    return COMM.allgather(told)


# ---- the same arithmetic -----------------------------------------------------------------------------------------


def close_to_one_process(kind, shares, make, m=97, arrays=None, fitted=None, frozen=(), **settings):
    """With one batch of all rows in order, ranks come to the parameters and costs of one process to rounding.

    The layers `frozen` keep their bits.
    """
    X, Y = data(m, kind) if arrays is None else arrays
    given = fitted or {}
    rows = {name: own(shares, v)[0] if isinstance(v, np.ndarray) else v for name, v in given.items()}
    common = {"epochs": 8, "batch_size": 10 * m, "shuffle": False}
    for dtype, tolerance in TOLERANCE.items():
        net, alone, start = (network(kind, dtype=dtype, **settings) for _ in range(3))
        for l in frozen:
            net.layers[l].trainable = alone.layers[l].trainable = False
        history = net.fit(*own(shares, X, Y), optimizer=make(), comm=COMM, **rows, **common)
        expected = alone.fit(X, Y, optimizer=make(), **given, **common)
        where = f"{kind}, {shares}, {make()}, {dtype}, {settings}, {[*given]}"
        assert np.abs(net.parameters - alone.parameters).max() <= tolerance, where
        pairs = zip(net.layers, start.layers, strict=True)
        assert [l for l, (now, then) in enumerate(pairs) if np.array_equal(now.W, then.W)] == [*frozen], where
        np.testing.assert_allclose(history.loss, expected.loss, rtol=10 * tolerance, err_msg=where)
        if dtype == "float64":  # in float32 nearly equal outputs may be in another order
            np.testing.assert_allclose(history.accuracy, expected.accuracy, rtol=1e-12, err_msg=where)
        the_same((digest(net), history.to_dict()))


def equality():
    """One process, and ranks with equal and unequal shares: all kinds of data, weights, penalties and clipping."""
    rng = np.random.default_rng(1)
    weights, many = rng.random(97) * (rng.random(97) < 0.8), rng.random((97, 4))
    weights[[0, -1, 32, 33, 48]] = 1
    plain = lambda: SGD(0.1)  # noqa: E731
    for share in ("equal", "unequal", "one row"):
        for kind in ("labels", "numbers", "multilabel"):
            close_to_one_process(kind, share, plain)
        close_to_one_process("numbers", share, lambda: Adam(0.01, clip_norm=0.05), l2=0.01)
        fitted = {"sample_weight": weights, "class_weight": {0: 2.0, 2: 0.5}}
        close_to_one_process("labels", share, plain, fitted=fitted)
        for kind in ("labels", "multilabel"):
            close_to_one_process(kind, share, plain, fitted={"class_weight": "balanced"})
    close_to_one_process("numbers", "unequal", lambda: SGD(0.1, 0.9), fitted={"sample_weight": many}, l2=0.01)
    X, Y = data(97, "numbers")
    Y[::3, 1] = np.nan
    close_to_one_process("numbers", "unequal", plain, arrays=(X, Y), missing=True)
    X, Y = data(97)
    images = (np.abs(X) * 80).astype(np.uint8)
    close_to_one_process("labels", "unequal", plain, arrays=(images, Y), scale=1 / 255)
    close_to_one_process("labels", "unequal", plain, m=1200)  # a batch of several chunks
    for layers in ((0,), (1,), (0, 2)):
        close_to_one_process("numbers", "unequal", lambda: Adam(0.01, clip_norm=0.05), l2=0.01, frozen=layers)
        close_to_one_process("labels", "one row", plain, m=1200, frozen=layers)
    with contextlib.suppress(ModuleNotFoundError):
        from scipy.sparse import csr_array

        sparse = csr_array(images * (X > 0.5))
        close_to_one_process("labels", "unequal", plain, arrays=(sparse, Y), scale=1 / 255)


def batches():
    """Batches of the whole are made of each rank's next rows; accumulated ones are those of a larger batch."""
    part = 8
    X, Y = data(48 * SIZE)
    by_step = np.arange(48 * SIZE).reshape(SIZE, -1, part).transpose(1, 0, 2).ravel()  # by step, then by rank
    for settings in ({"batch_size": part * SIZE}, {"batch_size": part * SIZE // 2, "accumulate": 2}):
        net, alone = network(dtype="float64"), network(dtype="float64")
        given = {"epochs": 3, "shuffle": False}
        history = net.fit(*own("equal", X, Y), optimizer=Adam(0.01), comm=COMM, **given, **settings)
        expected = alone.fit(X[by_step], Y[by_step], optimizer=Adam(0.01), batch_size=part * SIZE, **given)
        np.testing.assert_allclose(net.parameters, alone.parameters, atol=1e-12)
        np.testing.assert_allclose(history.loss, expected.loss, rtol=1e-12)
        np.testing.assert_allclose(history.accuracy, expected.accuracy, rtol=1e-12)
        assert net.optimizer.steps == alone.optimizer.steps


def parts_of_a_batch():
    """A rank's parts of the batches of an epoch are its rows, each once; they differ by one row at most."""
    seen, part_of = [], RanksFit._part_of
    RanksFit._part_of = lambda self, rows: seen.append(rows.copy()) or part_of(self, rows)
    rows = own("one row", *data(97))
    network().fit(*rows, comm=COMM, epochs=1, batch_size=10)
    RanksFit._part_of = part_of
    del seen[0]  # that of the preparation
    assert sorted(np.concatenate(seen)) == [*range(len(rows[0]))]
    assert len(rows[0]) == 1 or np.ptp([len(each) for each in seen[:-1]]) <= 1


def freezing():
    """A callback freezes layers on all ranks from the next step on; ranks that freeze different ones are told so."""
    X = data(97)[0]

    def change(epoch, history):
        seen.append([layer.W.tobytes() for layer in net.layers])
        net.layers[0].trainable, net.layers[1].trainable = epoch >= 60, epoch < 1

    net, seen = network("numbers", l2=0.01), []
    given = {"epochs": 63, "batch_size": 48, "optimizer": Adam(0.01, clip_norm=1.0)}
    history = net.fit(*own("unequal", *data(97, "numbers")), comm=COMM, callbacks=[change], **given)
    the_same((digest(net), history.to_dict()))
    moved = [[a != b for a, b in zip(*pair)] for pair in zip(seen, seen[1:])]
    assert moved[0] == [False, True, True]  # after epoch 0
    assert all(each == [False, False, True] for each in moved[1:60])
    assert all(each == [True, False, True] for each in moved[61:])
    assert np.isfinite(net.parameters).all()
    for l in range(3):
        net.layers[l].trainable = l != RANK
    told = raised(lambda: net.fit(*own("unequal", X, X[:, :4]), comm=COMM, **GOOD))
    assert all("rank 1: the list of frozen layers, counted from 0, is [1], and [0] on rank 0" in t for t in told), told
    for layer in net.layers:
        layer.trainable = False
    told = raised(lambda: net.fit(*own("unequal", X, X[:, :4]), comm=COMM, **GOOD))
    assert all("trainable is False for all 3 layers" in each for each in told), told


def held_out():
    """What is measured on the held-out rows of all ranks is the mean over all of them."""
    more = data(31, seed=9)
    net, alone = network(dtype="float64", l2=0.01), network(dtype="float64", l2=0.01)
    metrics = {"distance": lambda Y, Y_hat: float(np.mean(1 - Y_hat[np.arange(len(Y)), Y]))}
    given = {"epochs": 3, "batch_size": 97, "shuffle": False, "metrics": metrics}
    rows, validation = own("unequal", *data(97)), tuple(own("unequal", *more))
    history = net.fit(*rows, optimizer=SGD(0.1), comm=COMM, validation=validation, **given)
    expected = alone.fit(*data(97), optimizer=SGD(0.1), validation=more, **given)
    np.testing.assert_allclose(history.validation_loss, expected.validation_loss, rtol=1e-12)
    np.testing.assert_allclose(history.validation_accuracy, expected.validation_accuracy, rtol=1e-12)
    np.testing.assert_allclose(history.metrics["distance"], expected.metrics["distance"], rtol=1e-12)


def dropout():
    """Units are dropped by draws of each rank's own, a function of seed, step and rank."""
    X, Y = data(40)
    nets = [network(dropout=0.5, dtype="float64") for _ in range(2)]
    for net in nets:
        net.fit(X, Y, epochs=4, batch_size=40 * SIZE, optimizer=SGD(0.1), shuffle=False, comm=COMM)
    assert the_same(digest(nets[0])) == digest(nets[1])
    # All ranks have the same rows, so a step is the mean of the steps of networks that drop by the seeds of the ranks.
    expected = network(dropout=0.5, dtype="float64")
    net, source = expected.architecture, np.random.default_rng(0)
    for step in range(4):
        ends = []
        for rank in range(SIZE):
            seed = int(np.random.SeedSequence((net.dropout_seed, rank)).generate_state(1, np.uint64)[0] >> 2)
            one = Network.of(replace(net, dropout_seed=seed), source, expected.parameters.copy())
            one.optimizer = SGD(0.1)
            one.optimizer.steps = step
            one.train_step(X, Y, one.optimizer)
            ends.append(one.parameters)
        assert not np.allclose(ends[0], ends[1])
        expected.parameters = np.mean(ends, axis=0)
    np.testing.assert_allclose(nets[0].parameters, expected.parameters, atol=1e-12)


def alone():
    """A communicator of one rank gives the bits of none."""
    X, Y = data(97)
    for settings in ({}, {"dropout": 0.3}, {"l2": 0.01}):
        ends = []
        for comm in (None, COMM, MPI.COMM_SELF):
            net = network(**settings)
            history = net.fit(X, Y, validation=0.2, early_stopping=5, optimizer=Adam(0.01), comm=comm, **GOOD)
            ends.append((digest(net), history.loss, history.validation_loss))
        assert ends[0] == ends[1] == ends[2]


# ---- the same bits -----------------------------------------------------------------------------------------------


class Counting(MPI.Intracomm):
    """A communicator that counts the calls of Allreduce, which must be in place."""

    calls = 0

    def Allreduce(self, sendbuf, *more):
        Counting.calls += 1
        assert sendbuf == MPI.IN_PLACE
        return super().Allreduce(sendbuf, *more)


def bits():
    """After each step all ranks have the same bits, in two runs the same; a step takes one Allreduce, in place."""
    rows = own("unequal", *data(331))
    given = {"epochs": 4, "batch_size": 32, "validation": 0.2, "comm": Counting(COMM)}
    for settings in ({}, {"dtype": "float64"}, {"dropout": 0.2, "l2": 0.001}):
        runs = []
        for _ in range(2):
            net, seen = network(**settings), []
            Counting.calls = 0
            note = (1, lambda steps, history, net=net, seen=seen: seen.append((digest(net), history.running_loss)))
            history = net.fit(*rows, optimizer=Adam(0.01, clip_norm=1.0), callbacks=[note], **given)
            assert Counting.calls == net.optimizer.steps == len(seen)
            runs.append(the_same((seen, history.loss, history.validation_loss)))
        assert runs[0] == runs[1]


def sums():
    """Allreduce gives all ranks the same bits, and in each call: of many lengths, of numbers far apart."""
    for dtype in ("float32", "float64"):
        for count in (1, 17, 1000, 10_007, 300_001, 2_000_003):
            rng = np.random.default_rng((RANK, count))
            values = (rng.normal(size=count) * 10.0 ** rng.integers(-6, 6, count)).astype(dtype)
            results = set()
            for _ in range(3):
                total = values.copy()
                COMM.Allreduce(MPI.IN_PLACE, total)
                results.add(the_same(hashlib.sha256(total.tobytes()).hexdigest()))
            assert len(results) == 1


def start():
    """Parameters and the optimizer's state are those of rank 0."""
    X, Y = data(96)
    net, optimizer = network(), Adam(0.01)
    if RANK == 0:
        net.fit(X, Y, optimizer=optimizer, **GOOD)
    else:
        net = Network((12, 24, 20, 4), "tanh", "softmax", rng=RANK)
    net.fit(*own("equal", X, Y), optimizer=optimizer, comm=COMM, **GOOD)
    the_same((digest(net), net.optimizer.steps, net.optimizer.moments.tobytes()))


def difference():
    """Parameters that differ on a rank at the end of an epoch are an error on all ranks that names it."""

    def spoil(epoch, history):
        if RANK == 1 and epoch == 1:
            net.parameters[0] += 1e-6

    net = network()
    told = raised(lambda: net.fit(*data(32), comm=COMM, callbacks=[spoil], epochs=9))
    assert all(each.startswith("RuntimeError: the parameters of rank 1 differ") for each in told), told
    assert "epoch 3" in told[0]


# ---- one decision ------------------------------------------------------------------------------------------------


def decisions():
    """Early stopping, a plateau, divergence and a callback end or change the fit of all ranks alike."""
    X, Y = data(97)
    rows = own("unequal", X, Y)
    net, given = network(), {"validation": 0.3, "early_stopping": 6, "epochs": 200, "batch_size": 20, "rng": 3}
    history = net.fit(*rows, comm=COMM, optimizer=Adam(schedules.ReduceOnPlateau(0.05, patience=2)), **given)
    assert history.best_epoch == history.epochs - 7
    assert history.epochs < 200
    the_same((digest(net), history.to_dict(), net.optimizer.rate))
    assert net.optimizer.rate < 0.05

    net = network("numbers")
    with warnings.catch_warnings(record=True) as shown:
        warnings.simplefilter("always")
        history = net.fit(*own("unequal", X, 1e3 * X[:, :4]), comm=COMM, epochs=50, optimizer=SGD(1e6))
    assert history.epochs < 50
    assert not np.isfinite(history.loss[-1])
    assert net.fit_state is None
    assert [("diverged" in str(each.message)) for each in shown] == [True] * (RANK == 0)
    the_same((digest(net), history.epochs))

    for k in (1, None):
        net, calls = network(), []
        stop = lambda n, history, calls=calls: calls.append(n) or (RANK == SIZE - 1 and len(calls) == 5)  # noqa: E731
        history = net.fit(*rows, comm=COMM, callbacks=[(k, stop) if k else stop], epochs=30, batch_size=20)
        assert len(calls) == 5
        the_same((digest(net), calls, history.to_dict()))


def interrupts():
    """Ctrl-C on one rank stops all at the same step, and the fit can go on; at many moments."""
    moments = random.Random(5)
    rows = own("unequal", *data(400))
    given = {"comm": COMM, "epochs": 3, "batch_size": 8}
    whole = network()
    whole.fit(*rows, rng=1, **given)

    def press(steps, history):
        if RANK == 1 and steps == 9:
            os.kill(os.getpid(), signal.SIGINT)

    net = network()
    history = net.fit(*rows, rng=1, callbacks=[(1, press)], **given)
    assert the_same(history.interrupted)
    assert the_same(net.optimizer.steps) == 9
    net.fit(*rows, resume=True, **given)
    assert the_same(digest(net)) == digest(whole)

    for _ in range(20):
        who, delay = moments.randrange(SIZE), moments.random() * 0.02

        def later(steps, history, who=who, delay=delay):
            """Press Ctrl-C a little after the first step."""
            if who == RANK and steps == 1:
                threading.Timer(delay, os.kill, (os.getpid(), signal.SIGINT)).start()

        net = network()
        history = net.fit(*rows, comm=COMM, epochs=10**6, batch_size=8, callbacks=[(1, later)])
        assert history.interrupted
        the_same((digest(net), history.to_dict()))


def raises():
    """An exception in a callback on one rank ends the fit on all, which say whose it was."""
    rows = own("unequal", *data(97))
    for error, others in (
        (ValueError("no"), "ValueError: rank 1: no"),
        (OSError("full"), "RuntimeError: rank 1 raised OSError: full"),
        (SystemExit(3), "RuntimeError: rank 1 raised SystemExit: 3"),
    ):
        own_text = others if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
        for k, when in ((1, 1), (1, 4), (None, 1), (None, 3)):  # the last step, and the last epoch, among them
            net, calls = network(), []

            def fail(count, history, calls=calls, when=when, error=error):
                calls.append(count)
                if RANK == 1 and len(calls) == when:
                    raise type(error)(*error.args)

            given = {"comm": COMM, "epochs": 3, "batch_size": 50, "callbacks": [(k, fail) if k else fail]}
            told = raised(lambda net=net, given=given: net.fit(*rows, **given))
            assert told == [own_text if rank == 1 else others for rank in range(SIZE)], told
            the_same((digest(net), len(calls)))


class Refuses:
    """A callback that refuses to begin."""

    def begins(self, net):
        raise OSError("no folder")

    def __call__(self, count, history):
        pass


def invalid():
    """What is invalid on one rank raises on all, names it, and changes nothing."""
    X, Y = (a[: 97 - 20 * RANK] for a in data(97))
    bad = X.copy()
    bad[3, 2] = np.nan
    cases = [
        ("ValueError: rank 1: ", {"X": bad}),
        ("ValueError: rank 1: ", {"X": X[:, :3]}),
        ("ValueError: rank 1: ", {"Y": Y[:-1]}),
        ("ValueError: rank 1: ", {"X": X[:0], "Y": Y[:0]}),
        ("TypeError: rank 1: ", {"epochs": "2"}),
        ("ValueError: rank 1: epochs is 4, and 3 on rank 0", {"epochs": 4}),
        ("ValueError: rank 1: batch_size is 17, and 16 on rank 0", {"batch_size": 17}),
        ("ValueError: rank 1: class_weight=", {"class_weight": "balanced"}),
        ("ValueError: rank 1: ", {"sample_weight": -np.ones(len(X))}),
        ("ValueError: rank 1: sample_weight has weights above 1e30", {"sample_weight": np.full(len(X), 1e35)}),
        ("ValueError: rank 1: validation data is True", {"validation": (X, Y)}),
        ("ValueError: rank 1: validation is 1.5", {"validation": 1.5}),
        ("ValueError: rank 1: early_stopping", {"early_stopping": 3}),
        ("ValueError: rank 1: resume is True", {"resume": True}),
        ("TypeError: rank 1: ", {"callbacks": [3]}),
        ("RuntimeError: rank 1 raised OSError: no folder", {"callbacks": [Refuses()]}),
        ("ValueError: rank 1: the optimizer is 'str'", {"optimizer": "adam"}),
        ("ValueError: rank 1: the optimizer is 'SGD'", {"optimizer": SGD(0.1)}),
        ("ValueError: rank 1: lr is 0.5", {"optimizer": Adam(0.5)}),
        ("TypeError: rank 1: ", {"rng": "seed"}),
        ("ValueError: rank 1: accumulate", {"accumulate": 0}),
    ]
    for text, changed in cases:
        net = network()
        state = lambda net=net: (digest(net), net.generator.bit_generator.state, net.optimizer, net.fit_state)  # noqa: E731
        before, given = state(), {"X": X, "Y": Y, **GOOD, **(changed if RANK == 1 else {})}
        told = raised(lambda given=given, net=net: net.fit(given.pop("X"), given.pop("Y"), comm=COMM, **given))
        assert told[0].startswith(text), (changed, told)
        assert told[1].startswith("OSError" if "OSError" in text else text), (changed, told)
        assert all(each in told[:2] for each in told), (changed, told)
        assert state() == before
    net = Network((12, 24, 4) if RANK == 1 else (12, 25, 4), rng=0)
    told = raised(lambda: net.fit(X, X[:, :4], comm=COMM, **GOOD))
    assert all("rank 1: a network of sizes is (12, 24, 4), and (12, 25, 4) on rank 0" in each for each in told), told
    for wrong in ("world", 3, MPI, MPI.COMM_NULL):
        told = raised(lambda wrong=wrong: network().fit(X, Y, comm=wrong, **GOOD))
        assert all(each.startswith("TypeError: comm is ") for each in told), told
    told = raised(lambda: network().fit(X, Y, comm=MPI.Intracomm(), **GOOD))
    assert all(each.startswith("ValueError: comm is null") for each in told), told


def threads():
    """Ranks on a machine share its cores."""
    network().fit(*data(97), comm=COMM, **GOOD)
    cores = set().union(*COMM.allgather(affinity()))
    assert sum(COMM.allgather(get_num_threads())) <= max(len(cores), SIZE)


# ---- files -------------------------------------------------------------------------------------------------------


def resumed(path):
    """A fit that goes on from a checkpoint of rank 0 has the bits of one that never stopped, in equal shares."""
    rows = own("unequal", *data(331))
    given = {"epochs": 6, "batch_size": 32, "validation": 0.2, "early_stopping": 4, "comm": COMM}
    by_steps, by_epochs = (7, lambda steps, history: steps > 15), lambda epoch, history: epoch == 2
    for every, end in ((7, by_steps), (None, by_epochs)):
        whole, parts = network(dropout=0.1), network(dropout=0.1)
        expected = whole.fit(*rows, optimizer=Adam(0.01), rng=1, **given)
        parts.fit(*rows, optimizer=Adam(0.01), rng=1, callbacks=[Checkpoint(path, every), end], **given)
        COMM.Barrier()
        again = Network.load(path)
        history = again.fit(*rows, resume=True, **given)
        assert the_same(digest(again)) == digest(whole)
        for name in ("loss", "accuracy", "validation_loss"):
            assert getattr(history, name) == getattr(expected, name)
        again.save(f"{path}.{RANK}")
        the_same(content(Path(f"{path}.{RANK}").read_bytes()))


def content(file):
    """The header of a safetensors file, which may name its parts in any order, and the hash of the rest."""
    end = 8 + int.from_bytes(file[:8], "little")
    return json.loads(file[8:end]), hashlib.sha256(file[end:]).hexdigest()


def other_shares(path):
    """A fit goes on with other shares from the beginning of its epoch, and says so; in one process too."""
    X, Y = data(331)
    given = {"epochs": 6, "batch_size": 32}
    end = (25, lambda *_: True)
    network().fit(*own("unequal", X, Y), comm=COMM, callbacks=[Checkpoint(path, 5), end], **given)
    COMM.Barrier()
    for comm in (COMM, None):
        again = Network.load(path)
        rows = (X, Y) if comm is None else own("equal", X, Y)
        with warnings.catch_warnings(record=True) as shown:
            warnings.simplefilter("always")
            history = again.fit(*rows, comm=comm, resume=True, **given)
        assert ["from the beginning of epoch 3" in str(w.message) for w in shown] == [True] * (not comm or RANK == 0)
        assert history.epochs == 6
        assert again.optimizer.steps == 25 + 4 * 11
        the_same(digest(again))


def endless(path):
    """Train until killed, and save after every step."""
    pids = COMM.gather(os.getpid())
    if RANK == 0:
        Path(f"{path}.pids").write_text(" ".join(map(str, pids)))
    rows = own("unequal", *data(331))
    network().fit(*rows, comm=COMM, epochs=10**9, batch_size=32, callbacks=[Checkpoint(path, 1)])


if __name__ == "__main__":
    names, size, *arguments = sys.argv[1:]
    assert int(size) == SIZE, f"{SIZE} processes for {size}: mpiexec is not that of mpi4py's MPI"
    for name in names.split(","):
        begun = time.perf_counter()
        globals()[name](*arguments)
        if RANK == 0:
            print(f"{name}: {time.perf_counter() - begun:.1f} s", flush=True)
