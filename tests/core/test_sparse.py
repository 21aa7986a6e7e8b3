"""A sparse X (CSR) gives what the same X gives as an array, to rounding, and what the reference gives in float64.

SciPy's matrices are used throughout; fastprop itself knows them by their attributes.
"""

import tracemalloc
from types import SimpleNamespace

import numpy as np
import pytest
from networks import (
    AWKWARD,
    Case,
    assert_close,
    bits,
    data,
    dense,
    names,
    network,
    reference_forward,
    reference_parameters,
    tolerance,
    weighted_gradients,
)
from optimizers import OPTIMIZERS, each_optimizer, each_optimizer_slowly

import fastprop
from fastprop import SGD, Adam, Network, reference
from fastprop.core import sparse as rows_of_csr
from fastprop.core.sparse import SparseRows
from fastprop.kernels.plan import SPARSE_CHUNK

sparse = pytest.importorskip("scipy.sparse", reason="sparse matrices are those of SciPy")

WIDE = Case("wide", (5000, 100, 17, 5), "tanh", "softmax", 40)  # strips of columns, digits, a W beyond the cache
CASES = (*AWKWARD, WIDE)
each_case = pytest.mark.parametrize("case", CASES, ids=names(CASES))
each_dtype = pytest.mark.parametrize("dtype", ["float32", "float64"])


def sparse_data(case, m=None, seed=0, dtype="float32", density=0.2):
    """X with rows and columns without entries, the same as CSR, and Y."""
    X, Y = data(case, m, seed, dtype)
    rng = np.random.default_rng(seed + 1)
    X[rng.random(X.shape) > min(density, 100 / X.shape[1])] = 0
    X[1::7] = 0
    return X, sparse.csr_array(X), Y


def gradients(net, S, Y, weights=None):
    """All dW and db, as a step of Adam leaves them, before which they are NaN where a step writes."""
    for layer in net.layers:
        layer.dW[:], layer.db[:] = np.nan, np.nan
    before = net.parameters.copy()
    J = net.train_step(S, Y, Adam(1e-3), weights)
    net.parameters[:] = before
    return J, {
        f"{name}{l}": a for l, layer in enumerate(net.layers, 1) for name, a in (("dW", layer.dW), ("db", layer.db))
    }


# ---- the same numbers ------------------------------------------------------------------------------------------------


@each_case
@each_dtype
def test_predictions_cost_and_gradients_are_those_of_the_reference(case, dtype):
    """Rows of one batch, whole and ragged panels, with and without weights."""
    net = network(case, dtype=dtype)
    near = tolerance(np.dtype(dtype))
    for m in sorted({1, 16, case.batch}):
        X, S, Y = sparse_data(case, m, dtype=dtype)
        cache, columns = reference_forward(net, X), dense(Y, net.sizes[-1]).T
        assert_close(net.predict(S), cache[f"A{len(net.layers)}"].T, near, "Ŷ")
        for weights in (None, np.linspace(0.5, 2, m)):
            J = reference.general_cost(cache, columns, net.output, net.loss_name, weights)
            grads = weighted_gradients(cache, columns, reference_parameters(net), net.hidden, weights)
            assert net.loss(S, Y, weights) == pytest.approx(J, rel=near, abs=near)
            cost, found = gradients(net, S, Y, weights)
            assert cost == pytest.approx(J, rel=near, abs=near)
            for name, a in found.items():
                assert_close(a.reshape(grads[name].shape), grads[name], 2 * near, name)


@pytest.mark.parametrize("case", [AWKWARD[3], AWKWARD[5], WIDE], ids=lambda case: case.name)
def test_gradients_are_central_differences_in_float64(case):
    """Of weights of columns with and without entries, in the first and the last rows of W, and of biases."""
    net, (X, S, Y) = network(case, dtype="float64"), sparse_data(case, 19, dtype="float64")
    _, found = gradients(net, S, Y)
    layer, rng = net.layers[0], np.random.default_rng(0)
    used = np.flatnonzero((X != 0).any(axis=0))
    columns = {0, X.shape[1] - 1, *rng.choice(used, min(5, len(used)), replace=False)}
    places = [(layer.W, found["dW1"], (i, k)) for i in {0, layer.n - 1} for k in columns]
    places += [(layer.b, found["db1"], (i,)) for i in {0, layer.n - 1}]
    for parameter, gradient, place in places:
        before = parameter[place]
        costs = []
        for step in (1e-6, -1e-6):
            parameter[place] = before + step
            costs.append(net.loss(S, Y))
        parameter[place] = before
        assert gradient[place] == pytest.approx((costs[0] - costs[1]) / 2e-6, rel=1e-6, abs=1e-9)


def fitted(case, X, Y, optimizer, options=None, **settings):
    """The parameters after a fit in float64, and its history."""
    net = network(case, dtype="float64", **(options or {}))
    history = net.fit(X, Y, optimizer=optimizer, rng=3, progress=False, **{"epochs": 6, "batch_size": 16, **settings})
    return net, history


@each_optimizer
@pytest.mark.parametrize("options", [{}, {"dropout": 0.3, "l2": 0.01}, {"scale": 0.25}], ids=str)
def test_trajectories_are_those_of_the_dense_data(name, options):
    """Sixty shuffled steps, the last of each epoch of a single row, with weights, on all optimizers and options."""
    case = Case("trajectory", (50, 33, 17, 3), "tanh", "softmax", 16)
    X, S, Y = sparse_data(case, 145, dtype="float64")
    kept, given = (
        fitted(case, rows, Y, OPTIMIZERS[name].make(0.1), options, sample_weight=np.linspace(0, 2, len(Y)))
        for rows in (X, S)
    )
    np.testing.assert_allclose(given[1].loss, kept[1].loss, rtol=1e-9)
    assert_close(given[0].parameters, kept[0].parameters, 1e-8)
    assert_close(given[0].gradients, kept[0].gradients, 1e-8)


@each_case
@each_optimizer_slowly
def test_fits_of_awkward_widths_are_those_of_the_dense_data(case, name):
    """Plain SGD, whose update is fused, among them. Of a gradient near 0, Adam's first steps are arbitrary."""
    X, S, Y = sparse_data(case, 2 * case.batch + 3, dtype="float64")
    optimizers = [SGD(0.01), SGD(0.01, momentum=0.9)] if name == "sgd" else [OPTIMIZERS[name].make(0.01)]
    for optimizer in optimizers:
        kept, given = (
            fitted(case, rows, Y, type(optimizer)(**settings(optimizer)), batch_size=case.batch, epochs=2)
            for rows in (X, S)
        )
        np.testing.assert_allclose(given[1].loss, kept[1].loss, rtol=1e-5)
        assert_close(given[0].parameters, kept[0].parameters, 1e-3 if name != "sgd" else 1e-10)


def settings(optimizer):
    return {"lr": optimizer.lr, **({"momentum": optimizer.momentum} if isinstance(optimizer, SGD) else {})}


@pytest.mark.parametrize(
    ("sizes", "m"), [((40, 17, 2), 700), ((3000, 100, 2), SPARSE_CHUNK + 500)], ids=["small W", "large W"]
)
@pytest.mark.parametrize("make", [lambda: SGD(0.1), lambda: SGD(0.1, momentum=0.5), lambda: SGD(0.1, clip_norm=0.1)])
def test_a_batch_of_several_chunks(sizes, m, make):
    """Gradients are added up from chunk to chunk, and the update follows the last."""
    case = Case("chunks", sizes, "tanh", "identity", m)
    X, S, Y = sparse_data(case, dtype="float64", density=0.01)
    kept, given = (fitted(case, rows, Y, make(), batch_size=m, epochs=2)[0] for rows in (X, S))
    engine = given.engines.last
    assert engine.plan.sparse
    assert engine.plan.chunk_panels * 16 < m
    assert_close(given.parameters, kept.parameters, 1e-11)
    assert_close(given.predict(S), kept.predict(X), 1e-11)
    assert given.loss(S, Y) == pytest.approx(kept.loss(X, Y), rel=1e-11)


def test_columns_up_to_22_bits():
    """More digits than one pass sorts by; the last column is used."""
    n, m = 2**21 + 5, 33
    rng = np.random.default_rng(0)
    columns = np.sort(rng.integers(0, n, (m, 9)), axis=1)
    columns[:, -1] = n - 1
    S = sparse.csr_array((rng.standard_normal(9 * m), columns.ravel(), np.arange(0, 9 * m + 1, 9)), shape=(m, n))
    net, Y = Network((n, 2), rng=0, dtype="float64"), np.ones((m, 2))
    W = net.layers[0].W.copy()
    assert_close(net.predict(S), S @ W.T, 1e-12)
    net.train_step(S, Y, SGD(0.5))
    np.testing.assert_allclose(net.layers[0].W, W - 0.5 * ((S @ W.T - Y).T @ S) / m, rtol=0, atol=1e-12)


# ---- rows without entries, single rows, streams ------------------------------------------------------------------


@each_dtype
def test_an_X_without_entries(dtype):
    """Predictions are those of the biases, and only biases learn."""
    case = Case("zeros", (33, 17, 3), "tanh", "identity", 20)
    X, Y = np.zeros((20, 33), dtype), data(case, dtype=dtype)[1]
    S = sparse.csr_array(X)
    kept, given = network(case, dtype=dtype), network(case, dtype=dtype)
    before = given.layers[0].W.copy()
    assert_close(given.predict(S), kept.predict(X), 1e-6)
    for net, rows in ((kept, X), (given, S)):
        net.fit(rows, Y, epochs=3, batch_size=7, optimizer=SGD(0.1), rng=0)
    np.testing.assert_array_equal(given.layers[0].W, before)
    assert_close(given.parameters, kept.parameters, 1e-6)


def test_a_stream_of_sparse_batches_of_all_sizes():
    case = Case("stream", (60, 33, 3), "relu", "softmax", 1)
    kept, given = network(case, dtype="float64"), network(case, dtype="float64")
    for i, m in enumerate((1, 17, 1, 300, 2, 64, 700, 1)):
        X, S, Y = sparse_data(case, m, seed=i, dtype="float64")
        assert given.partial_fit(S, Y) == pytest.approx(kept.partial_fit(X, Y), rel=1e-9)
        assert given.loss(S[:1], Y[:1]) == pytest.approx(kept.loss(X[:1], Y[:1]), rel=1e-9)
    assert_close(given.parameters, kept.parameters, 1e-6)


def test_dense_and_sparse_rows_in_turns():
    """One network takes both, each with engines of its own and with the moments of one optimizer."""
    case = Case("turns", (60, 33, 3), "tanh", "softmax", 32)
    X, S, Y = sparse_data(case, dtype="float64")
    kept, given = network(case, dtype="float64"), network(case, dtype="float64")
    for rows in (X, S, S, X, S):
        assert given.partial_fit(rows, Y) == pytest.approx(kept.partial_fit(X, Y), rel=1e-9)
        assert_close(given.predict(rows), kept.predict(X), 1e-9)
        given.fit(X, Y, epochs=1, validation=(rows, Y), rng=0), kept.fit(X, Y, epochs=1, validation=(X, Y), rng=0)
    assert_close(given.parameters, kept.parameters, 1e-8)


@pytest.mark.parametrize("callbacks", [[], [lambda epoch, history: False]], ids=["compiled", "Python"])
@pytest.mark.parametrize("kind", ["fraction", "sparse", "dense"])
def test_held_out_rows(kind, callbacks):
    """The same rows are held out, and measured as dense ones are, in compiled code and between two epochs."""
    case = Case("held out", (50, 17, 3), "tanh", "softmax", 16)
    X, S, Y = sparse_data(case, 120, dtype="float64")
    results = []
    for rows in (X, S):
        out = {"fraction": 0.25, "sparse": (rows[80:], Y[80:]), "dense": (X[80:], Y[80:], np.linspace(1, 2, 40))}[kind]
        results.append(
            fitted(
                case, rows, Y, Adam(), validation=out, early_stopping=2, callbacks=callbacks, class_weight="balanced"
            )
        )
    (kept, expected), (given, history) = results
    np.testing.assert_allclose(history.validation_loss, expected.validation_loss, rtol=1e-9)
    assert history.validation_accuracy == expected.validation_accuracy
    assert_close(given.parameters, kept.parameters, 1e-7)


def test_a_fit_that_stopped_is_resumed_with_the_same_bits():
    case = Case("resumed", (50, 17, 3), "relu", "softmax", 16)
    _, S, Y = sparse_data(case, 100)
    whole, parts = network(case), network(case)
    whole.fit(S, Y, epochs=6, batch_size=16, rng=1)
    parts.fit(S, Y, epochs=6, batch_size=16, rng=1, callbacks=[(10, lambda step, history: True)])
    parts.fit(S, Y, epochs=6, batch_size=16, resume=True)
    assert bits(parts.parameters) == bits(whole.parameters)


# ---- bits ------------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("eager_threads")
@pytest.mark.parametrize(
    "case", [*AWKWARD[-4:], WIDE, Case("chunks", (400, 40, 5), "relu", "identity", 1300)], ids=lambda c: c.name
)
@pytest.mark.parametrize("options", [{}, {"dropout": 0.3, "l2": 0.01}], ids=["plain", "dropout"])
@pytest.mark.parametrize("make", [lambda: SGD(0.01), Adam], ids=["fused", "adam"])
def test_the_same_bits_on_any_number_of_threads(case, options, make):
    _, S, Y = sparse_data(case, 2 * case.batch + 5)
    found = []
    for threads in (1, 2, 3, 8):
        fastprop.set_num_threads(threads)
        net = network(case, **options)
        history = net.fit(S, Y, epochs=2, batch_size=case.batch, optimizer=make(), rng=3, progress=False)
        found.append(bits(net.parameters, net.predict(S), np.array([*history.loss, net.loss(S, Y)])))
    assert found.count(found[0]) == 4


@each_case
def test_a_row_has_the_same_bits_whatever_rows_stand_beside_it(case):
    net, (_, S, _) = network(case), sparse_data(case, 40)
    Y_hat = net.predict(S)
    for rows in (slice(0, 1), slice(3, 40), slice(7, 24), slice(39, 40)):
        np.testing.assert_array_equal(net.predict(S[rows]), Y_hat[rows])


# ---- forms of CSR ----------------------------------------------------------------------------------------------------

FORMS = {
    "matrix": sparse.csr_matrix,
    "float64": lambda X: sparse.csr_array(X.astype(np.float64)),
    "integers": lambda X: sparse.csr_array(X.astype(np.int16)),
    "uint8": lambda X: sparse.csr_array(X.astype(np.uint8)),
    "int64 indices": lambda X: with_arrays(X, indices=np.int64, indptr=np.int64),
    "int64 row pointers": lambda X: with_arrays(X, indptr=np.int64),
    "uint16 indices": lambda X: with_arrays(X, indices=np.uint16),
    "other bytes": lambda X: with_arrays(X, indices=lambda a: a.astype(">i4"), data=lambda a: a.astype(">f4")),
    "strided": lambda X: with_arrays(X, indices=lambda a: np.repeat(a, 2)[::2], data=lambda a: np.repeat(a, 3)[::3]),
    "read-only": lambda X: with_arrays(X, indices=read_only, data=read_only, indptr=read_only),
    "room for more": lambda X: with_arrays(X, indices=lambda a: np.append(a, -5), data=lambda a: np.append(a, np.nan)),
    "no SciPy": lambda X: with_arrays(X),
}  # fmt: skip


def with_arrays(X, **changes):
    """CSR as an object of another library, with changed arrays."""
    S = sparse.csr_array(X)
    parts = {name: changes.get(name, np.array)(getattr(S, name)) for name in ("indptr", "indices", "data")}
    return SimpleNamespace(format="csr", shape=S.shape, **parts)


def read_only(a):
    a = a.copy()
    a.flags.writeable = False
    return a


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_csr(form):
    case = Case("forms", (40, 17, 3), "relu", "softmax", 16)
    X, Y = np.random.default_rng(0).integers(0, 9, (50, 40)).astype(np.float32), data(case, 50)[1]
    X[X < 7] = 0
    net, same = network(case), network(case)
    S = FORMS[form](X)
    assert bits(net.predict(S)) == bits(same.predict(sparse.csr_array(X)))
    net.fit(S, Y, epochs=2, batch_size=16, rng=0), same.fit(sparse.csr_array(X), Y, epochs=2, batch_size=16, rng=0)
    assert bits(net.parameters) == bits(same.parameters)


@each_dtype
def test_entries_in_any_order_and_several_of_one_place(dtype):
    """Entries of the same place are added, as SciPy does; the order of different ones changes nothing."""
    case = Case("order", (40, 17, 3), "tanh", "identity", 20)
    X, S, Y = sparse_data(case, dtype=dtype, density=0.5)
    rng = np.random.default_rng(0)
    order = np.concatenate([rng.permutation(np.arange(a, b)) for a, b in zip(S.indptr[:-1], S.indptr[1:])])
    turned = sparse.csr_array((S.data[order], S.indices[order], S.indptr), shape=S.shape)
    halves = sparse.csr_array((np.repeat(S.data / 2, 2), np.repeat(S.indices, 2), 2 * S.indptr), shape=S.shape)
    assert not turned.has_sorted_indices
    expected = network(case, dtype=dtype)
    expected.train_step(S, Y, SGD(0.1))
    for form, same in ((turned, bits), (halves, lambda a: None)):
        net = network(case, dtype=dtype)
        net.train_step(form, Y, SGD(0.1))
        assert same(net.parameters) == same(expected.parameters)
        assert_close(net.parameters, expected.parameters, tolerance(net.dtype))
        assert_close(net.predict(form), expected.predict(X), tolerance(net.dtype))


# ---- what is refused -------------------------------------------------------------------------------------------------


def changed(**arrays):
    """A CSR of three rows and five columns, with other arrays."""
    parts = {"indptr": [0, 2, 2, 4], "indices": [0, 3, 1, 4], "data": [1.0, 2.0, 3.0, 4.0], "shape": (3, 5)}
    parts |= arrays
    return SimpleNamespace(
        format="csr", **{name: a if isinstance(a, tuple | str) else np.array(a) for name, a in parts.items()}
    )


REFUSED = {
    "columns beyond": (changed(indices=[0, 3, 1, 5]), ValueError, r"X\.indices\[3\] is 5; the columns of X are 0 to 4"),
    "columns below": (changed(indices=[0, -1, 1, 4]), ValueError, r"X\.indices\[1\] is -1; .*check_format"),
    "huge columns": (changed(indices=[0, 2**40, 1, 4]), ValueError, r"X\.indices\[1\] is 1099511627776"),
    "falling pointers": (changed(indptr=[0, 3, 2, 4]), ValueError, r"X\.indptr is \[0, 3, 2, 4\]; of 3 rows"),
    "negative pointers": (changed(indptr=[-1, 2, 2, 4]), ValueError, r"numbers from 0 on, none of which is less"),
    "pointers from 1": (changed(indptr=[1, 2, 2, 4]), ValueError, "from 0 on"),
    "huge pointers": (changed(indptr=np.array([0, 2, 2, 2**64 - 1], np.uint64)), ValueError, "from 0 on"),
    "too few pointers": (changed(indptr=[0, 2, 4]), ValueError, "it holds 4 numbers"),
    "no pointers": (changed(indptr=np.zeros(0, int)), ValueError, r"X\.indptr is \[\]"),
    "pointers beyond": (changed(indptr=[0, 2, 2, 5]), ValueError, r"ends at 5, and X\.indices has 4 and X\.data 4"),
    "too few columns": (changed(indices=[0, 3, 1]), ValueError, r"X\.indices has 3 and X\.data 4"),
    "too few values": (changed(data=[1.0, 2.0]), ValueError, r"X\.indices has 4 and X\.data 2"),
    "numbers as columns": (changed(indices=[0.0, 3, 1, 4]), TypeError, r"X\.indices is float64 of shape \(4,\)"),
    "a list": (changed(data="1234"), TypeError, r"X\.data is str; it must be a vector of real numbers"),
    "complex": (changed(data=[1j, 2, 3, 4]), TypeError, r"X\.data is complex128"),
    "text": (changed(data=["a", "b", "c", "d"]), TypeError, r"X\.data is <U1 of shape"),
    "a matrix of values": (changed(data=[[1.0, 2, 3, 4]]), TypeError, r"of shape \(1, 4\)"),
    "NaN": (changed(data=[1, 2, np.nan, 4]), ValueError, r"X\[2, 1\] is nan; every value must be finite"),
    "infinity": (changed(data=[1, np.inf, 3, 4]), ValueError, r"X\[0, 3\] is inf"),
    "too large": (changed(data=[1, 1e200, 3, 4]), ValueError, r"X\[0, 3\] is 1e\+200, beyond the range of float32"),
    "too wide": (changed(shape=(3, 6)), ValueError, r"X has 6 features; this network takes 5"),
    "no rows": (changed(shape=(0, 5), indptr=[0]), ValueError, r"X has 0 rows"),
    "a vector": (changed(shape=(5,)), ValueError, r"X has shape \(5,\); it must be \(m, 5\)"),
}  # fmt: skip


@pytest.mark.parametrize("form", REFUSED)
def test_what_is_no_csr_is_refused_before_anything_changes(form):
    X, kind, message = REFUSED[form]
    net, m = Network((5, 4, 1), rng=0), X.shape[0]
    good, Y = changed(), np.ones((3, 1))
    net.fit(good, Y, epochs=1, rng=0)
    before, state, optimizer = bits(net.parameters), net.fit_state, net.optimizer
    calls = [
        net.predict,
        lambda X: net.loss(X, np.ones((m, 1))),
        lambda X: net.partial_fit(X, np.ones((m, 1))),
        lambda X: net.train_step(X, np.ones((m, 1)), SGD(0.1)),
        lambda X: net.fit(X, np.ones((m, 1)), epochs=1, optimizer=SGD(0.1)),
    ]
    for call in calls:
        with pytest.raises(kind, match=message):
            call(X)
    with pytest.raises(kind, match="validation X"):
        net.fit(good, Y, epochs=1, validation=(X, np.ones((m, 1))))
    assert (bits(net.parameters), net.fit_state, net.optimizer) == (before, state, optimizer)


def test_targets_and_weights_are_compared_with_the_rows():
    net, S = Network((5, 4, 1), rng=0), changed()
    with pytest.raises(ValueError, match="Y has 2 rows; X has 3"):
        net.loss(S, np.ones((2, 1)))
    with pytest.raises(ValueError, match=r"sample_weight has shape \(2,\)"):
        net.fit(S, np.ones((3, 1)), epochs=1, sample_weight=np.ones(2))


def test_arrays_that_are_changed_while_they_are_used_harm_nothing():
    """The kernels rely on a copy of the row pointers, and skip columns beyond the width: as if there were no entry."""
    net, S, Y = Network((5, 4, 1), rng=0), changed(), np.ones((3, 1), np.float32)
    rows = net.architecture.check_rows(S)
    kept = net.predict(rows)
    S.indptr[:] = 2**62
    assert bits(net.predict(rows)) == bits(kept)
    for wrong in (-1, 5, 2**31 - 1, -(2**31)):
        other = changed(indices=np.array([0, 3, 1, 4], np.int32))
        rows = net.architecture.check_rows(other)
        other.indices[1] = wrong
        without = changed(indptr=[0, 1, 1, 3], indices=[0, 1, 4], data=[1.0, 3.0, 4.0])
        assert bits(net.predict(rows)) == bits(net.predict(without))
        for optimizer in (SGD(0.1), Adam()):
            net.fit(rows, Y, epochs=2, batch_size=2, optimizer=optimizer, rng=0)
    assert np.isfinite(net.parameters).all()


@pytest.mark.parametrize("weight", [1.0, 0.0])
def test_what_is_not_finite_ends_a_fit_of_unchecked_data(weight):
    """As with dense rows: whatever the weight of the sample, and whatever the activation does with infinity."""
    for value in (np.nan, np.inf, -np.inf):
        for hidden in ("relu", "tanh"):
            net = Network((5, 4, 1), hidden, check_finite=False, rng=0)
            S, Y = changed(data=[1, value, 3, 4]), np.ones((3, 1))
            before = bits(net.parameters)
            assert np.isnan(net.loss(S, Y, [weight, 1, 1]))
            with pytest.warns(RuntimeWarning, match="training diverged"):
                net.fit(S, Y, epochs=2, sample_weight=[weight, 1, 1])
            assert bits(net.parameters) == before


def test_a_divergence_names_the_scale_of_sparse_columns():
    S, Y = changed(data=[1e3, 2e3, 1e3, 4e3]), np.ones((3, 1))
    with pytest.warns(RuntimeWarning, match=r"or scale X: divide each column by its largest \|x\|"):
        Network((5, 40, 1), rng=0).fit(S, Y, epochs=400, optimizer=SGD(10.0))


def test_scipy_is_not_imported(run_python):
    """A CSR of another library, or of SciPy imported by someone else, is known by its attributes."""
    script = """
import sys
from types import SimpleNamespace
import numpy as np
from fastprop import Network
S = SimpleNamespace(format="csr", shape=(2, 3), indptr=np.array([0, 1, 2]), indices=np.array([2, 0]), data=np.ones(2))
net = Network((3, 4, 1), rng=0)
net.fit(S, np.ones(2), epochs=2), net.predict(S)
print("scipy.sparse" in sys.modules)
"""
    assert run_python(script) == "False\n"


def test_dense_data_compile_nothing_of_the_sparse_products(run_python):
    script = """
import numpy as np
from fastprop import Network
from fastprop.kernels import sparse
net, X = Network((3, 4, 1), rng=0), np.ones((40, 3))
net.fit(X, np.ones(40), epochs=2, batch_size=16), net.predict(X), net.partial_fit(X[:1], np.ones(1))
print(len(sparse.sparse_forward._compiled), len(sparse.sparse_dW._compiled))
"""
    assert run_python(script) == "0 0\n"


# ---- memory ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"l2": 1e-4}])
def test_memory_stays_within_the_data_the_parameters_and_a_batch(options):
    """4,000 rows of 2^16 features, 1 GB as float32: a fit, with Adam's moments, and predictions take 30 MB."""
    n, m, count = 2**16, 4000, 20
    rng = np.random.default_rng(0)
    S = sparse.csr_array(
        (np.ones(m * count, np.float32), rng.integers(0, n, m * count), np.arange(0, m * count + 1, count)),
        shape=(m, n),
    )
    Y, net = rng.integers(0, 2, m), Network((n, 16, 1), output="sigmoid", rng=0, **options)
    tracemalloc.start()
    try:
        net.fit(S, Y, epochs=1, batch_size=200, validation=0.1)
        net.predict(S), net.loss(S, Y), net.partial_fit(S[:50], Y[:50])
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    parameters = 4 * net.parameters.size
    assert peak < 2 * parameters + 20_000_000  # the moments; the gradients were there before


def test_steps_allocate_no_array():
    case = Case("steps", (300, 33, 3), "relu", "softmax", 64)
    net, (_, S, Y), optimizer = network(case), sparse_data(case), Adam()
    rows, labels = net.architecture.check_samples(S, Y)
    for _ in range(300):
        net.train_step(rows, labels, optimizer)
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for _ in range(100):
            net.train_step(rows, labels, optimizer)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak - before < 10_000


def test_rows_are_selected_as_an_array_does_it():
    case = Case("rows", (30, 2), "relu", "identity", 50)
    X, S, _ = sparse_data(case)
    rows = rows_of_csr.features(S, 30, np.dtype(np.float32))
    for which in ([3, 0, 49], [1], [1, 8, 15], np.arange(50), [5, 5]):
        found = rows[np.array(which)]
        assert isinstance(found, SparseRows)
        made = sparse.csr_array((found.values, found.columns.astype(np.int32), found.ends), shape=found.shape)
        np.testing.assert_array_equal(made.toarray(), X[which])
    counts = np.sort(np.diff(S.indptr))
    for m in (1, 7, 50, 60):
        assert rows.most_entries(m) == counts[::-1][:m].sum()
