"""Conversion of arrays: the kernels see float32 for any layout and dtype, and the user's array is unchanged."""

import numpy as np
import pytest
from networks import Case, bits, data, network

from fastprop import SGD
from fastprop.core import arrays
from fastprop.core.architecture import Architecture

M = 37
each_dtype = pytest.mark.parametrize("dtype", ["float32", "float64"])
CASE = Case("inputs", (5, 8, 3), "relu", "softmax", M)
NUMBERS = Case("inputs", (5, 8, 3), "relu", "identity", M)
WHOLE = np.random.default_rng(0).integers(0, 100, (M, 5))  # values that every dtype below holds exactly


def strided(a):
    """Every second row and column of a larger array that holds NaN elsewhere."""
    larger = np.full((2 * a.shape[0], 3 * a.shape[1]), np.nan, a.dtype)
    larger[::2, ::3] = a
    return larger[::2, ::3]


def misaligned(a):
    """An array whose data starts at an odd address."""
    raw = np.zeros(a.nbytes + 1, np.uint8)
    result = raw[1:].view(a.dtype).reshape(a.shape)
    result[:] = a
    assert not result.flags.aligned
    return result


def read_only(a):
    a = a.copy()
    a.flags.writeable = False
    return a


class Convertible:
    """What pandas, PyTorch and others hand over: an object with __array__."""

    def __init__(self, a):
        self._a = a

    def __array__(self, dtype=None, copy=None):
        return self._a if dtype is None else self._a.astype(dtype)


FORMS = {
    "float64": lambda a: a.astype(np.float64),
    "float16": lambda a: a.astype(np.float16),
    "longdouble": lambda a: a.astype(np.longdouble),
    "int64": lambda a: a.astype(np.int64),
    "int8": lambda a: a.astype(np.int8),
    "uint8": lambda a: a.astype(np.uint8),
    "uint64": lambda a: a.astype(np.uint64),
    "big-endian": lambda a: a.astype(">f4"),
    "big-endian float64": lambda a: a.astype(">f8"),
    "Fortran order": np.asfortranarray,
    "float64 in Fortran order": lambda a: np.asfortranarray(a.astype(np.float64)),
    "strided": strided,
    "backwards": lambda a: a[::-1].copy()[::-1],
    "backwards along features": lambda a: a[:, ::-1].copy()[:, ::-1],
    "a transposed view": lambda a: a.T.copy().T,
    "misaligned": misaligned,
    "read-only": read_only,
    "a list of lists": lambda a: a.tolist(),
    "a list of rows": list,
    "a tuple of rows": lambda a: tuple(map(tuple, a)),
    "an array of a subclass": lambda a: a.view(np.recarray),
    "an object with __array__": lambda a: Convertible(a),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_X_is_as_good_as_float32(form):
    """The same bits in every call that takes X, and the given array unchanged."""
    plain = WHOLE.astype(np.float32)
    given = FORMS[form](plain)
    before = bits(np.asarray(given))
    results = []
    for X in (plain, given):
        net, (_, Y) = network(CASE), data(CASE)
        Y_hat = net.forward(X)
        costs = [net.backward(Y), net.loss(X, Y), net.train_step(X, Y, SGD(1e-4))]
        costs += net.fit(X, Y, epochs=2, batch_size=16, optimizer=SGD(1e-4), validation=(X, Y), rng=0).validation_loss
        results.append((bits(Y_hat, net.gradients, net.parameters, net.predict(X)), costs))
    assert results[0] == results[1]
    assert bits(np.asarray(given)) == before


def test_booleans_are_zeros_and_ones():
    net, X = network(CASE), WHOLE > 50
    assert bits(net.predict(X)) == bits(net.predict(X.astype(np.float32)))


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_Y_and_of_weights_is_as_good_as_float32(form):
    X, weights = data(NUMBERS)[0], WHOLE[:, 0].astype(np.float32) + 1
    plain = WHOLE[:, :3].astype(np.float32)
    results = []
    for Y, w in ((plain, weights), (FORMS[form](plain), np.asarray(FORMS[form](weights[:, None]))[:, 0])):
        net = network(NUMBERS)
        net.forward(X)
        results.append((net.backward(Y, w), net.loss(X, Y, w), bits(net.gradients)))
    assert results[0] == results[1]


@pytest.mark.parametrize(
    "dtype", [np.int8, np.uint8, np.int16, np.uint32, np.int64, np.uint64, ">i4", list, misaligned]
)
def test_every_kind_of_labels(dtype):
    X, Y = data(CASE)
    net = network(CASE)
    given = Y.tolist() if dtype is list else dtype(Y) if callable(dtype) and dtype is misaligned else Y.astype(dtype)
    assert net.loss(X, given) == net.loss(X, Y)
    assert net.loss(X[::2], np.asarray(given)[::2]) == net.loss(X[::2], Y[::2].copy())


@each_dtype
def test_an_array_of_the_networks_dtype_is_not_copied(dtype, tmp_path):
    """C-contiguous, it is not copied, writable or not; neither are rows of it, a mapped file, and labels of int64."""
    X, Y = data(CASE, dtype=dtype)
    mapped = np.memmap(tmp_path / "X", dtype, "w+", shape=X.shape)
    for given in (X, read_only(X), X[3:20], mapped):
        assert np.shares_memory(arrays.features(given, 5, np.dtype(dtype)), given)
    assert np.shares_memory(Architecture.checked((5, 8, 3), output="softmax").check_targets(Y, M), Y)
    numbers = data(NUMBERS, dtype=dtype)[1]
    assert np.shares_memory(Architecture.checked((5, 8, 3), dtype=dtype).check_targets(numbers, M), numbers)
    assert not np.shares_memory(arrays.features(np.asfortranarray(X), 5, np.dtype(dtype)), X)


@each_dtype
@pytest.mark.parametrize("form", ["float32", "float64", "Fortran order", "strided", "read-only", "int64"])
def test_what_comes_through_is_contiguous_and_of_the_networks_dtype(form, dtype):
    given = WHOLE.astype(np.float32) if form == "float32" else FORMS[form](WHOLE.astype(np.float32))
    X = arrays.features(given, 5, np.dtype(dtype))
    assert X.dtype == dtype
    assert X.flags.c_contiguous
    np.testing.assert_array_equal(X, WHOLE)


def test_training_does_not_write_to_the_users_arrays():
    X, Y = data(NUMBERS)
    weights = np.linspace(0.5, 1, M, dtype=np.float32)
    before = bits(X, Y, weights)
    for a in (X, Y, weights):
        a.flags.writeable = False
    net = network(NUMBERS)
    net.fit(X, Y, epochs=3, batch_size=8, sample_weight=weights, validation=(X, Y))
    net.forward(X)
    net.backward(Y, weights)
    net.train_step(X, Y, SGD(0.1), weights)
    assert bits(X, Y, weights) == before


def test_the_users_array_may_change_after_the_call():
    """forward keeps what it needs: backward does not look at X again."""
    X, Y = data(NUMBERS)
    one, other = network(NUMBERS), network(NUMBERS)
    for net in (one, other):
        net.forward(X)
        if net is other:
            X[:] = np.nan
        net.backward(Y)
    assert bits(one.gradients) == bits(other.gradients)


def test_results_are_the_callers_own():
    """What forward and predict return is not overwritten by the next call."""
    net, (X, _) = network(CASE), data(CASE)
    first, second = net.forward(X), net.predict(X)
    kept = bits(first, second)
    net.forward(X + 1)
    net.predict(X + 2)
    assert bits(first, second) == kept
    first[:] = 0
    assert bits(net.predict(X)) == bits(second)


@pytest.mark.parametrize("row", [0, 15, 16, 1023, 1024, 1500, 2044])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@each_dtype
def test_not_one_bad_value_gets_through(row, value, dtype):
    """At any place: at the ends, in the ragged rest, and in each block of the scan."""
    for width in (1, 3, 5, 16):
        X = np.zeros((2045, width), dtype)  # no whole number of vectors, but for the last width
        X[row, width - 1] = value
        with pytest.raises(ValueError, match=rf"X\[{row}, {width - 1}\] is"):
            arrays.features(X, width, np.dtype(dtype))


@each_dtype
def test_the_largest_and_the_smallest_values_get_through(dtype):
    limits = np.finfo(dtype)
    X = np.array([[limits.max, -limits.max, limits.smallest_subnormal, -0.0, 0.0]], dtype)
    assert arrays.features(X, 5, np.dtype(dtype)) is X
    assert arrays.features(np.tile(X, (1000, 1)), 5, np.dtype(dtype)).shape == (1000, 5)
