"""fastprop.dropin against fastprop.reference: the same keys, shapes, dtypes and values. One script runs on both."""

import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from networks import SMALL, assert_close, bits, names

from fastprop import dropin, reference

FUNCTIONS = ("initialise_parameters", "forward_propagation", "compute_cost", "backpropagation",
             "general_backpropagation", "update_parameters")  # fmt: skip
each_case = pytest.mark.parametrize("case", SMALL, ids=names(SMALL))


def columns(case, dtype=np.float64, seed=0):
    """Parameters, X and Y of a case; samples are columns."""
    rng = np.random.default_rng(seed)
    parameters = reference.initialise_parameters(case.sizes, rng=seed)
    for name, value in parameters.items():
        if name[0] == "b":
            value += rng.normal(0, 0.1, value.shape)
    n, m = case.sizes[-1], case.batch
    X = rng.standard_normal((case.sizes[0], m))
    Y = {
        "softmax": lambda: np.eye(n)[rng.integers(n, size=m)].T,
        "sigmoid": lambda: rng.integers(2, size=(n, m)),
        "identity": lambda: rng.standard_normal((n, m)),
    }[case.output]()
    return {k: v.astype(dtype) for k, v in parameters.items()}, X.astype(dtype), Y.astype(dtype)


def all_of_it(module, case, parameters, X, Y, lr=0.1):
    """Everything that a step of a script computes: the cache, J, the gradients, the new parameters; and the gradients
    from a given dA, which Y stands for here."""
    cache = module.forward_propagation(X, parameters, output=case.output, hidden=case.hidden)
    J = module.compute_cost(cache, Y, output=case.output)
    # the same cache for both: a Z near 0 may round to the other side of relu's corner
    exact = reference.forward_propagation(X, parameters, output=case.output, hidden=case.hidden)
    grads = module.backpropagation(exact, Y, parameters, hidden=case.hidden)
    general = module.general_backpropagation(exact, Y, parameters, output=case.output, hidden=case.hidden)
    return cache, J, grads, module.update_parameters(parameters, grads, lr), general


def assert_alike(ours, theirs, tolerance=2e-5):
    """The same keys in the same order, and arrays of the same shape, dtype and, to rounding, value."""
    assert list(ours) == list(theirs)
    for name, value in theirs.items():
        assert isinstance(ours[name], np.ndarray)
        assert ours[name].dtype == value.dtype, f"{name} is {ours[name].dtype}, NumPy gives {value.dtype}"
        assert_close(ours[name], value, tolerance, name)


def check(case, parameters, X, Y):
    wide = {a.dtype for a in (*parameters.values(), X, Y)} == {np.dtype(np.float64)}
    tolerance = 1e-12 if wide else 2e-5
    ours, theirs = (all_of_it(module, case, parameters, X, Y) for module in (dropin, reference))
    for i in (0, 2, 3, 4):
        assert_alike(ours[i], theirs[i], tolerance)
    assert isinstance(ours[1], float)
    assert ours[1] == pytest.approx(theirs[1], rel=tolerance, abs=tolerance / 200)


@each_case
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_every_function_is_the_references(case, dtype):
    check(case, *columns(case, dtype))


@each_case
def test_fortran_ordered_and_strided_arrays(case):
    parameters, X, Y = columns(case)
    fortran = {name: np.asfortranarray(value) for name, value in parameters.items()}
    check(case, fortran, np.asfortranarray(X), np.asfortranarray(Y))
    check(case, {name: np.repeat(v, 2, axis=1)[:, ::2] for name, v in parameters.items()}, X[:, ::-1], Y[::-1])


@each_case
@pytest.mark.parametrize("m", [1, 2, 16, 600])
def test_any_number_of_samples(case, m):
    check(case._replace(batch=m), *columns(case._replace(batch=m)))


@pytest.mark.parametrize("hidden", sorted(reference.HIDDEN))
def test_every_activation(hidden):
    """Those too whose derivative reads Z, which backpropagation takes from the cache, also of an engine used before."""
    case = SMALL[0]._replace(sizes=(5, 8, 7, 3), hidden=hidden, output="softmax", batch=20)
    for seed in (0, 1):
        check(case, *columns(case, seed=seed))


def test_arrays_of_another_byte_order_or_class_or_process():
    """They are converted, or read as they are: what a kernel reads is not decided by the dtype's identity."""
    case = SMALL[0]._replace(sizes=(5, 8, 3), hidden="relu", output="softmax", batch=20)
    parameters, X, Y = columns(case)
    expected = all_of_it(dropin, case, parameters, X, Y)
    for form in (
        lambda a: a.astype(a.dtype.newbyteorder()),
        lambda a: a.view(np.matrix),
        lambda a: pickle.loads(pickle.dumps(a)),
        lambda a: a.view(np.dtype(a.dtype, metadata={"unit": "m"})),
    ):
        cache = dropin.forward_propagation(form(X), {name: form(a) for name, a in parameters.items()}, case.output)
        for name in ("Z1", "A1", "Z2", "A2"):
            assert_close(cache[name], expected[0][name], 1e-12, name)
        assert dropin.compute_cost(cache, form(Y)) == pytest.approx(expected[1], rel=1e-12)


def test_several_threads_call_at_once():
    """Each has an engine of its own, so that the results are those of one thread."""
    case = SMALL[0]._replace(sizes=(5, 8, 3), hidden="relu", output="softmax", batch=20)
    given = [columns(case, np.float32, seed) for seed in range(4)]

    def steps(one):
        return [bits(*all_of_it(dropin, case, *one)[2].values()) for _ in range(50)]

    expected = [steps(one)[0] for one in given]
    with ThreadPoolExecutor(4) as pool:
        for found, wanted in zip(pool.map(steps, given), expected, strict=True):
            assert all(one == wanted for one in found)


@st.composite
def architectures(draw):
    sizes = tuple(draw(st.lists(st.integers(1, 40), min_size=2, max_size=5)))
    hidden = draw(st.sampled_from(["relu", "sigmoid", "tanh", "identity"]))
    if draw(st.booleans()):
        hidden = tuple(draw(st.sampled_from(["relu", "sigmoid", "tanh", "identity"])) for _ in sizes[1:-1])
    outputs = ["identity", "sigmoid", "softmax"]
    return SMALL[0]._replace(
        sizes=sizes, hidden=hidden, output=draw(st.sampled_from(outputs)), batch=draw(st.integers(1, 70))
    )


@given(case=architectures(), seed=st.integers(0, 1000), dtype=st.sampled_from([np.float32, np.float64]))
def test_random_architectures(case, seed, dtype):
    check(case, *columns(case, dtype, seed))


# ---- dtypes ------------------------------------------------------------------------------------------------------

MIXED = SMALL[4]._replace(output="softmax")
DTYPES = (np.float32, np.float64)


@pytest.mark.parametrize("of_X", DTYPES)
@pytest.mark.parametrize("of_parameters", DTYPES)
@pytest.mark.parametrize("of_Y", DTYPES)
def test_mixed_dtypes_come_out_as_numpy_has_them(of_X, of_parameters, of_Y):
    parameters, X, Y = columns(MIXED)
    check(MIXED, {k: v.astype(of_parameters) for k, v in parameters.items()}, X.astype(of_X), Y.astype(of_Y))


@pytest.mark.parametrize("of_Y", [np.int64, np.uint8, bool])
@pytest.mark.parametrize("dtype", DTYPES)
def test_whole_numbers_and_booleans_as_targets(of_Y, dtype):
    parameters, X, Y = columns(MIXED, dtype)
    check(MIXED, parameters, X, Y.astype(of_Y))


@pytest.mark.parametrize("of_X", [np.int64, np.uint8, np.int16])
@pytest.mark.parametrize("dtype", DTYPES)
def test_whole_numbers_as_X(of_X, dtype):
    parameters, X, Y = columns(MIXED, dtype)
    check(MIXED, parameters, np.abs(4 * X).astype(of_X), Y)


def test_half_precision_comes_out_as_half():
    """They agree to half precision: the reference rounds at every step, fastprop at the end."""
    case = SMALL[1]
    parameters, X, Y = columns(case, np.float16)
    ours, theirs = (all_of_it(module, case, parameters, X, Y) for module in (dropin, reference))
    for i in (0, 2, 3, 4):
        assert_alike(ours[i], theirs[i], 5e-3)


@pytest.mark.parametrize("wide", ["W1", "b2", "W3"])
def test_one_wide_parameter_widens_what_comes_after_it(wide):
    """If only one layer is float64, NumPy's arrays are float32 before it and float64 from there on."""
    case = MIXED._replace(sizes=(6, 5, 4, 3), hidden="tanh")
    parameters, X, Y = columns(case, np.float32)
    parameters[wide] = parameters[wide].astype(np.float64)
    ours, theirs = (dropin.forward_propagation(X, parameters), reference.forward_propagation(X, parameters))
    assert {k: v.dtype for k, v in ours.items()} == {k: v.dtype for k, v in theirs.items()}
    ours, theirs = (m.backpropagation(theirs, Y, parameters, "tanh") for m in (dropin, reference))
    assert {k: v.dtype for k, v in ours.items()} == {k: v.dtype for k, v in theirs.items()}


@pytest.mark.parametrize("rate", [0.1, 1, np.float32(0.1), np.float64(0.1), np.array(0.1)])
@pytest.mark.parametrize("dtype", DTYPES)
def test_the_learning_rate_may_be_any_number(rate, dtype):
    """This holds also if its dtype widens NumPy's result."""
    parameters, X, Y = columns(MIXED, dtype)
    grads = all_of_it(reference, MIXED, parameters, X, Y)[2]
    assert_alike(
        dropin.update_parameters(parameters, grads, rate), reference.update_parameters(parameters, grads, rate)
    )


@pytest.mark.parametrize("dtype", DTYPES)
def test_an_update_takes_any_names(dtype):
    """As in the reference, only a gradient of the same shape is required."""
    parameters = {"scale": np.arange(20, dtype=dtype).reshape(4, 5), "b": np.ones(3, dtype)}
    grads = {f"d{name}": value + 1 for name, value in parameters.items()}
    assert_alike(dropin.update_parameters(parameters, grads, 0.5), reference.update_parameters(parameters, grads, 0.5))


def test_a_float64_update_keeps_its_digits():
    """A step of 1e-12 is lost in float32; float64 parameters must move by it."""
    parameters, X, Y = columns(MIXED)
    grads = all_of_it(reference, MIXED, parameters, X, Y)[2]
    updated = dropin.update_parameters(parameters, grads, 1e-12)
    for name, value in parameters.items():
        np.testing.assert_array_max_ulp(updated[name], value - 1e-12 * grads["d" + name], 1)
        assert (updated[name] != value).any(), name


# ---- what a script counts on -------------------------------------------------------------------------------------


@each_case
def test_nothing_that_is_given_is_changed(case):
    parameters, X, Y = columns(case, np.float32)
    cache = dropin.forward_propagation(X, parameters, case.output, case.hidden)
    grads = dropin.general_backpropagation(cache, Y, parameters, case.output, case.hidden)
    given = [*parameters.values(), X, Y, *cache.values(), *grads.values()]
    before = bits(*given)
    dropin.forward_propagation(X, parameters, case.output, case.hidden)
    dropin.compute_cost(cache, Y, case.output)
    dropin.backpropagation(cache, Y, parameters, case.hidden)
    updated = dropin.update_parameters(parameters, grads, 0.1)
    assert bits(*given) == before
    assert not any(np.shares_memory(updated[name], parameters[name]) for name in parameters)


def test_results_are_the_callers_own():
    """Arrays of one call share no memory with each other, and the next call does not overwrite them."""
    parameters, X, Y = columns(MIXED, np.float32)
    cache = dropin.forward_propagation(X, parameters)
    grads = dropin.backpropagation(cache, Y, parameters)
    assert cache["A0"] is X
    arrays = [v for name, v in (*cache.items(), *grads.items()) if name != "A0"]
    assert all(a.flags.writeable and a.flags.c_contiguous for a in arrays)
    assert not any(np.shares_memory(a, b) for i, a in enumerate(arrays) for b in arrays[:i])
    before = bits(*arrays)
    dropin.backpropagation(dropin.forward_propagation(2 * X, parameters), Y, parameters)
    assert bits(*arrays) == before


def test_the_defaults_and_the_signatures_are_the_references():
    import inspect

    for name in FUNCTIONS:
        ours, theirs = (inspect.signature(getattr(module, name)).parameters for module in (dropin, reference))
        assert list(ours) == list(theirs)
        assert [p.default for p in ours.values()] == [p.default for p in theirs.values()]
    assert set(dropin.__all__) == set(FUNCTIONS)


def test_plain_lists_do_too():
    """What NumPy's functions would have taken, as nested lists."""
    W, b, X, Y = [[1.0, 2.0], [3.0, 4.0]], [[0.5], [-0.5]], [[1.0, 0.0, 1.0], [0.0, 1.0, 1.0]], [[1, 0, 0], [0, 1, 1]]
    ours = dropin.forward_propagation(X, {"W1": W, "b1": b})
    theirs = reference.forward_propagation(np.array(X), {"W1": np.array(W), "b1": np.array(b)})
    assert_close(ours["A1"], theirs["A1"])
    assert dropin.compute_cost(ours, Y) == pytest.approx(reference.compute_cost(theirs, np.array(Y)), rel=1e-6)


def test_an_activation_of_extreme_values():
    """Z of ±1e4 overflows neither in Ŷ nor in the cost."""
    for output in ("softmax", "sigmoid"):
        parameters = {"W1": 1e4 * np.eye(3), "b1": np.zeros((3, 1))}
        X, Y = np.array([[1.0, -1, 1], [-1, 1, -1], [0, 0, 0]]), np.eye(3)
        ours, theirs = (m.forward_propagation(X, parameters, output) for m in (dropin, reference))
        assert_close(ours["A1"], theirs["A1"])
        costs = [m.compute_cost(theirs, Y, output) for m in (dropin, reference)]
        assert costs[0] == pytest.approx(costs[1], rel=1e-6)


SCRIPT = """
import numpy as np
from fastprop.reference import (
    backpropagation, compute_cost, forward_propagation, initialise_parameters, update_parameters
)

rng = np.random.default_rng(0)
labels = rng.integers(3, size=90)
X = (rng.standard_normal((2, 90)) + 2 * np.array([np.cos(2 * labels), np.sin(2 * labels)])).astype(dtype)
Y = np.eye(3)[labels].T.astype(dtype)
parameters = {k: v.astype(dtype) for k, v in initialise_parameters((2, 16, 3), rng=1).items()}
costs = []
for step in range(50):
    cache = forward_propagation(X, parameters, output="softmax")
    costs.append(compute_cost(cache, Y))
    grads = backpropagation(cache, Y, parameters)
    parameters = update_parameters(parameters, grads, 0.5)
accuracy = np.mean(forward_propagation(X, parameters)["A2"].argmax(axis=0) == labels)
"""


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_training_script_with_its_import_swapped(dtype):
    """50 steps, line for line the same script: the same costs, parameters and dtypes, and it has learnt."""
    theirs, ours = {"dtype": dtype}, {"dtype": dtype}
    exec(SCRIPT, theirs)
    exec(SCRIPT.replace("fastprop.reference", "fastprop.dropin"), ours)
    assert ours["forward_propagation"] is dropin.forward_propagation
    near = 1e-11 if dtype == np.float64 else 1e-3
    np.testing.assert_allclose(ours["costs"], theirs["costs"], rtol=near / 10)
    assert_alike(ours["parameters"], theirs["parameters"], near)
    assert theirs["costs"][-1] < 0.5 * theirs["costs"][0]
    assert ours["accuracy"] == pytest.approx(theirs["accuracy"], abs=0.02)


@pytest.mark.skipif(np.finfo(np.longdouble).nmant <= 52, reason="this platform has no extended precision")
def test_an_update_in_extended_precision_keeps_its_digits():
    updated = dropin.update_parameters({"w": np.ones(3, np.longdouble)}, {"dw": np.ones(3, np.longdouble)}, 1e-18)
    assert (updated["w"] != 1).all()


@pytest.mark.parametrize(
    ("X", "message"), [(np.array([["2020"]], "M8[D]"), "it holds dates"), ([[1, 2], [3]], "rows of different lengths")]
)
def test_what_has_no_dtype_of_numbers_is_refused_by_name(X, message):
    with pytest.raises((TypeError, ValueError), match=rf"^X .*{message}"):
        dropin.forward_propagation(X, dropin.initialise_parameters((2, 3), 0))
