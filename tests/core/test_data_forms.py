"""Data as people have it: what is taken has the bits of float32, and what is refused is named, with a remedy."""

import datetime
import subprocess
import sys
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest

from fastprop import Adam, Health, Network, diagnose, dropin
from fastprop.core import arrays, forms
from fastprop.kernels.plan import FLOAT32

pd = pytest.importorskip("pandas", reason="frames are those of pandas")
WHOLE = np.random.default_rng(0).integers(0, 2, (12, 3))
X = WHOLE.astype(np.float32)


class Columns:
    """A frame as polars has it: columns by name, without `items` and without NumPy's dtypes."""

    def __init__(self, **columns):
        self._columns = {name: np.asarray(values) for name, values in columns.items()}
        self.columns, self.dtypes = list(columns), ["Float64"] * len(columns)

    def __getitem__(self, name):
        return memoryview(self._columns[name]) if self._columns[name].dtype.kind in "fi" else Column(self, name)

    def __len__(self):
        return len(next(iter(self._columns.values())))

    def to_dummies(self):
        raise NotImplementedError


class Column:
    """A column without `astype`."""

    def __init__(self, frame, name):
        self._values, self.dtype = frame._columns[name], "String"

    def __array__(self, dtype=None, copy=None):
        return self._values


def frame(*dtypes):
    return pd.DataFrame({f"c{j}": pd.Series(WHOLE[:, j]).astype(dtype) for j, dtype in enumerate(dtypes)})


TAKEN = {
    "bool and numbers": lambda: frame("bool", "float64", "int8"),
    "dummies": lambda: pd.concat([frame("float32", "int64"), pd.get_dummies(pd.Series(WHOLE[:, 2]))[1]], axis=1),
    "bool alone": lambda: frame("bool", "bool", "bool"),
    "nullable": lambda: frame("Int64", "Float64", "boolean"),
    "nullable and unsigned": lambda: frame("UInt8", "Float32", "boolean"),
    "categories that are numbers": lambda: frame("category", "int64", "float64"),
    "sparse columns": lambda: frame(pd.SparseDtype("int64", 0), "float64", "bool"),
    "objects in columns": lambda: frame("object", "object", "float64"),
    "equal names": lambda: frame("bool", "float64", "int64").set_axis(["a", "a", "b"], axis=1),
    "an array of objects": lambda: WHOLE.astype(object),
    "an array of bool and numbers": lambda: np.array([[bool(a), int(b), float(c)] for a, b, c in WHOLE], dtype=object),
    "fractions and decimals": lambda: [[Fraction(int(a)), Decimal(int(b)), np.float16(c)] for a, b, c in WHOLE],
    "rows of a frame": lambda: frame("bool", "float64", "int64").to_numpy(),
    "another library's frame": lambda: Columns(a=WHOLE[:, 0], b=WHOLE[:, 1] > 0, c=WHOLE[:, 2].astype(float)),
}


@pytest.mark.parametrize("form", TAKEN)
def test_what_scikit_learn_takes_has_the_bits_of_float32(form):
    y = X.sum(axis=1)
    results = []
    for given in (X, TAKEN[form]()):
        net = Network((3, 8, 1), rng=0)
        history = net.fit(given, y, epochs=2, batch_size=5, validation=(given, y), optimizer=Adam())
        results.append((net.predict(given).tobytes(), history.loss, history.validation_loss, diagnose(net, given, y)))
    assert results[0] == results[1]


@pytest.mark.parametrize(
    "form",
    [list, lambda y: pd.Series(y), lambda y: pd.Series(y, dtype="Int64"), lambda y: pd.array(y, dtype="UInt8"),
     lambda y: y.astype(object), lambda y: pd.Series(y, dtype="category"), lambda y: pd.Index(y)],
)  # fmt: skip
def test_labels_of_every_form(form):
    y = WHOLE[:, 0] + WHOLE[:, 1]
    net = Network((3, 8, 3), output="softmax", rng=0)
    assert net.loss(X, form(y)) == net.loss(X, y)


@pytest.mark.parametrize("dtype", ["Int64", "Float64", "boolean", "object", "bool"])
def test_targets_and_weights_of_every_form(dtype):
    net, y, weights = Network((3, 8, 1), rng=0), WHOLE[:, 0], WHOLE[:, 1] + 1
    expected = net.loss(X, y, weights)
    assert net.loss(X, pd.Series(y).astype(dtype), pd.Series(weights, dtype="Int64")) == expected
    assert net.loss(X, pd.DataFrame({"y": pd.Series(y).astype(dtype)}), weights.astype(object)) == expected


def test_the_dropin_takes_objects_too():
    parameters = dropin.initialise_parameters((3, 8, 1), rng=0)
    given = [dropin.forward_propagation(columns, parameters)["Z2"] for columns in (X.T, WHOLE.T.astype(object))]
    np.testing.assert_array_equal(*given)


def test_a_numeric_frame_is_not_taken_apart(monkeypatch):
    """Frames whose columns have one dtype, or a common one, are converted at once."""
    monkeypatch.setattr(forms, "_columns", None)
    for dtypes in (("float32",) * 3, ("int64", "float32", "float64"), ("bool",) * 3):
        np.testing.assert_array_equal(arrays.features(frame(*dtypes), 3, FLOAT32), X)


def test_an_array_of_numbers_is_never_looked_at_as_objects(monkeypatch):
    monkeypatch.setattr(forms, "numbers", None)
    for dtype in ("f4", "f8", "i8", "u1", "?"):
        assert arrays.features(WHOLE.astype(dtype), 3, FLOAT32).shape == (12, 3)


# ---- what is missing ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("missing", [None, pd.NA, np.nan, float("nan")])
def test_missing_values_are_named_by_row_and_column(missing):
    objects = WHOLE.astype(object)
    objects[7, 1] = missing
    net = Network((3, 8, 1), rng=0)
    with pytest.raises(ValueError, match=r"X\[7, 1\] is nan; every value must be finite"):
        net.predict(objects)
    with pytest.raises(ValueError, match=r"X\[7, 1\] \(column 'b'\) is nan; every value must be finite"):
        net.predict(pd.DataFrame(objects, columns=["a", "b", "c"]))


@pytest.mark.parametrize("dtype", ["Int64", "Float64", "boolean"])
def test_a_missing_value_of_a_nullable_column_is_named(dtype):
    given = frame(dtype, "float64", "bool")
    given.iloc[4, 0] = pd.NA
    net = Network((3, 8, 1), rng=0)
    with pytest.raises(ValueError, match=r"X\[4, 0\] \(column 'c0'\) is nan"):
        net.predict(given)
    with pytest.raises(ValueError, match=r"Y\[4, 0\] is nan"):
        net.loss(X, given["c0"])
    unchecked = Network((3, 8, 1), rng=0, check_finite=False)
    assert np.isnan(unchecked.predict(given)[4, 0])
    assert np.isfinite(unchecked.predict(given)[[0, 5]]).all()


def test_a_missing_label_is_named():
    """It must not become a class: NaN as an integer is any number."""
    labels = pd.Series([0, 1, None] * 4, dtype="Int64")
    net = Network((3, 3), output="softmax")
    with pytest.raises(ValueError, match=r"Y\[2\] is nan; every label must be known"):
        net.loss(X, labels)
    with pytest.raises(ValueError, match=r"Y\[1\] is nan; every label"):
        net.loss(X, [0.0, np.nan] * 6)


# ---- what is refused ---------------------------------------------------------------------------------------------


def with_column(values):
    return pd.DataFrame({"age": np.arange(12.0), "ok": WHOLE[:, 1] > 0, "it": values})


DATE = datetime.date(2020, 1, 31)
REFUSED = {
    "text": (lambda: with_column(["Rome"] * 12), r"column 'it' of X has dtype \w+: row 0 is 'Rome', text\."
             r" For categories use pd\.get_dummies\(X\)"),
    "text that is not the first": (lambda: with_column([1.5] * 11 + ["n/a"]), r"column 'it' of X has dtype object: "
                                   r"row 11 is 'n/a', text\. For categories use pd\.get_dummies"),
    "text of numbers": (lambda: with_column(["3.5"] * 12), r"column 'it' of X.*row 0 is '3\.5', a number as text\. "
                        r"Use X\['it'\]\.astype\(float\)"),
    "categories": (lambda: with_column(pd.Categorical(["a"] * 12)), r"column 'it' of X has dtype category.*'a', text"),
    "dates": (lambda: with_column(pd.to_datetime(["2020-01-31"] * 12)), r"column 'it' of X has dtype datetime64.*"
              r"it holds dates\..*\(X\['it'\] - X\['it'\]\.min\(\)\) / np\.timedelta64"),
    "dates of a zone": (lambda: with_column(pd.to_datetime(["2020-01-31"] * 12).tz_localize("UTC")), r"it holds dates"),
    "durations": (lambda: with_column(pd.to_timedelta([1] * 12, unit="s")), r"it holds durations\. "
                  r"Use X\['it'\] / np\.timedelta64"),
    "lists": (lambda: with_column([[1, 2]] * 12), r"column 'it' of X.*row 0 is itself a list\. Use np\.stack"),
    "complex numbers": (lambda: with_column([1j] * 12), r"column 'it' of X has dtype complex128: it holds complex"),
    "periods": (lambda: with_column(pd.period_range("2020", periods=12, freq="D")), r"'it'.*no real number"),
    "a column of another library": (lambda: Columns(a=np.ones(12), b=np.array(["u"] * 12), c=np.ones(12)),
                                    r"column 'b' of X has dtype String: row 0 is 'u', text.*X\.to_dummies\(\)"),
    "numbers of another library": (lambda: Columns(a=np.ones(12), b=np.array(["1"] * 12), c=np.ones(12)),
                                   r"Use X\['b'\]\.to_numpy\(\)\.astype\(float\)"),
    "a list of text": (lambda: [["1", "2", "3"]], r"X has dtype <U1: X\[0, 0\] is '1', a number as text\. "
                       r"Use np\.array\(X\)\.astype\(float\)"),
    "numbers and text": (lambda: [[1, "b", 3]], r"X has dtype <U\d+: X\[0, 1\] is 'b', text\. For categories"),
    "an array of bytes": (lambda: np.full((2, 3), b"7"), r"X has dtype \|S1: X\[0, 0\] is b'7', a number as text"),
    "objects with text": (lambda: np.array([[1, 2, "x"]], object), r"X has dtype object: X\[0, 2\] is 'x', text"),
    "objects with dates": (lambda: np.array([[DATE, 1, 2]], object), r"it holds dates\..*astype\('datetime64"),
    "an array of dates": (lambda: np.zeros((2, 3), "M8[s]"), r"X has dtype datetime64\[s\]: it holds dates"),
    "objects that are durations": (lambda: np.array([[np.timedelta64(1, "s"), 1, 2]], object), r"it holds durations"),
    "objects that are complex": (lambda: np.array([[1j, 1, 2]], object), r"X\[0, 0\] is 1j, no real number"),
    "records": (lambda: np.zeros((2, 3), [("a", "f4")]), r"it holds records\. Use .*structured_to_unstructured"),
    "another dtype": (lambda: np.zeros((2, 3), "V2"), r"Use X\.astype\(np\.float32\)"),
    "a series of lists": (lambda: pd.Series([[1.0, 2.0, 3.0]] * 4), r"X\[0\] is itself a list\. Use np\.stack\(list"),
    "a generator": (lambda: (row for row in X), r"X is a generator, which has no length\. Use np\.array\(list\(X\)\)"),
    "a map": (lambda: map(list, X), r"X is a map, which has no length\. Use np\.array\(list\(X\)\)"),
    "a set": (lambda: {1, 2, 3}, r"X is a set, .*Use np\.array\(list\(X\)\)"),
    "a view of a dictionary": (lambda: {0: X[0]}.values(), r"X is a dict_values, .*Use np\.array\(list\(X\)\)"),
    "a dictionary": (lambda: {"a": X[:, 0]}, r"X is a dict\..*np\.column_stack\(list\(X\.values\(\)\)\)"),
    "the name of a file": (lambda: "data.csv", r"X is 'data\.csv', text\. Read the file first"),
    "None": (lambda: None, r"X is None; give an array of real numbers"),
    "masked rows": (lambda: [np.ma.masked_less(row, 0.5) for row in X], r"X is a masked array, whose mask would be"),
}  # fmt: skip


@pytest.mark.parametrize("form", REFUSED)
def test_what_is_refused_is_named_with_a_remedy(form):
    make, message = REFUSED[form]
    net = Network((3, 8, 1), rng=0)
    before = net.parameters.copy()
    for call in (net.predict, net.forward, lambda X: net.fit(X, np.ones(12), epochs=1), lambda X: diagnose(net, X, X)):
        with pytest.raises(TypeError, match=message):
            call(make())
    with pytest.raises(TypeError, match="validation X"):
        net.fit(X, np.ones(12), epochs=1, validation=(make(), np.ones(12)))
    np.testing.assert_array_equal(net.parameters, before)


def test_a_sparse_matrix_that_is_not_read_is_refused_with_the_conversion():
    """CSR is read by `predict`, `loss`, `fit` and `train_step` alone (test_sparse.py)."""
    sparse = pytest.importorskip("scipy.sparse", reason="sparse matrices are those of SciPy")
    net = Network((3, 8, 1), rng=0)
    for kind in (sparse.coo_array, sparse.csc_matrix):
        with pytest.raises(TypeError, match=rf"X is a {kind.__name__}; .* Use X\.tocsr\(\)"):
            net.predict(kind(X))
        with pytest.raises(TypeError, match=r"validation X is a .* Use X\.tocsr\(\)"):
            net.fit(X, np.ones(12), epochs=1, validation=(kind(X), np.ones(12)))
    for call in (net.forward, lambda X: diagnose(net, X, np.ones(12)), lambda X: net.gradient_check(X, np.ones(12))):
        with pytest.raises(TypeError, match=r"X is a csr_matrix, which is sparse\. Use X\.toarray\(\)"):
            call(sparse.csr_matrix(X))
    with pytest.raises(TypeError, match=r"Y is a csr_matrix, which is sparse\. Use Y\.toarray\(\)"):
        net.loss(X, sparse.csr_matrix(np.ones((12, 1))))


@pytest.mark.parametrize("form", [list, np.array, pd.Series, pd.Categorical, lambda y: np.array(y, object)])
def test_text_labels_are_numbered_as_the_error_says(form):
    names = form(["cat", "dog", "eel"] * 4)
    net = Network((3, 8, 3), output="softmax", rng=0)
    with pytest.raises(
        TypeError, match=r"Y\[0\] is 'cat', text\. .*np\.unique\(Y, return_inverse=True\); net\.classes"
    ):
        net.fit(X, names, epochs=1)
    net.classes, Y = np.unique(names, return_inverse=True)
    net.fit(X, Y, epochs=1)
    assert net.classes == ["cat", "dog", "eel"]
    with pytest.raises(TypeError, match=r"validation Y\[0\] is 'cat', text\. .*np\.searchsorted\(classes, Y\)"):
        net.fit(X, Y, epochs=1, validation=(X, names))
    np.testing.assert_array_equal(np.searchsorted(net.classes, names), Y)


def test_text_of_two_classes_and_of_numbers():
    with pytest.raises(TypeError, match=r"Y\[0\] is 'no', text\. For classes use .*np\.unique"):
        Network((3, 1), output="sigmoid").fit(X, ["no", "yes"] * 6, epochs=1)
    with pytest.raises(TypeError, match=r"Y\[0\] is '1', a number as text\. Use np\.array\(Y\)\.astype\(float\)"):
        Network((3, 1)).fit(X, ["1", "2"] * 6, epochs=1)
    with pytest.raises(TypeError, match=r"Y\[0\] is '0', a number as text\. For classes use .*np\.unique"):
        Network((3, 3), output="softmax").fit(X, ["0", "2"] * 6, epochs=1)


@pytest.mark.parametrize(
    ("labels", "error", "message"),
    [
        (np.array([0.0, 1.0] * 6), TypeError, r"must be integers\. Use np\.asarray\(Y\)\.astype\(int\)"),
        (np.array([0.0, 1.5] * 6), TypeError, r"Y\[1\] is 1\.5, .*output=\"identity\""),
        (
            np.array([5, 7] * 6),
            ValueError,
            r"Y\[0\] is 5; labels of this network are 0 to 2 .*np\.unique\(Y, return",
        ),
        (WHOLE[:, :1], ValueError, r"or integer labels of shape \(12,\): use np\.ravel\(Y\)"),
    ],
)
def test_labels_that_are_none_come_with_the_right_remedy(labels, error, message):
    """astype(int) is advised only if it changes no label."""
    with pytest.raises(error, match=message):
        Network((3, 3), output="softmax").fit(X, labels, epochs=1)


def test_one_dimension_becomes_two_as_the_error_says():
    one, three = Network((1, 4, 1), rng=0), Network((3, 4, 1), rng=0)
    with pytest.raises(ValueError, match=r"For one feature use X\.reshape\(-1, 1\)"):
        one.predict(X[:, 0])
    with pytest.raises(ValueError, match=r"For one sample use X\.reshape\(1, -1\)"):
        three.predict(X[0])
    with pytest.raises(ValueError, match=r"For one feature use np\.asarray\(X\)\.reshape\(-1, 1\)"):
        one.predict(pd.Series(X[:, 0]))
    assert one.predict(np.asarray(pd.Series(X[:, 0])).reshape(-1, 1)).shape == (12, 1)


def test_numbers_beyond_float32_are_refused_wherever_they_stand():
    net = Network((3, 8, 1), rng=0)
    for value, dtype in ((10**400, "float64"), (10**30 * 10**10, "float32"), (Decimal("1e39"), "float32")):
        with pytest.raises(ValueError, match=rf"X\[0, 2\] is .*beyond the range of {dtype}"):
            net.predict(np.array([[0, 1.5, value]], dtype=object))
    assert np.isfinite(net.predict(np.array([[0, 1.5, 10**30]], dtype=object))).all()
    with pytest.raises(ValueError, match=r"Y\[1\] is -1; labels"):
        Network((3, 3), output="softmax").loss(X[:2], np.array([0, -1], object))
    with pytest.raises(TypeError, match=r"class labels must be integers"):
        Network((3, 3), output="softmax").loss(X[:2], np.array([0, 2**64], object))


def test_a_frame_without_columns_or_rows():
    net = Network((3, 8, 1), rng=0)
    with pytest.raises(ValueError, match=r"X has 0 features; this network takes 3"):
        net.predict(pd.DataFrame(index=range(4)))
    with pytest.raises(ValueError, match=r"X has 0 rows"):
        net.predict(frame("bool", "float64", "Int64")[:0])


def test_a_callback_takes_frames():
    given, y = TAKEN["nullable"](), pd.Series(WHOLE[:, 0], dtype="Int64")
    net = Network((3, 8, 1), rng=0)
    health = Health(given, y)
    net.fit(given, y, epochs=2, callbacks=[health])
    assert [report.rows for _, report in health.records] == [12, 12]


@pytest.mark.slow
def test_neither_pandas_nor_scipy_is_imported():
    code = """
import sys, fastprop, numpy as np
try:
    fastprop.Network((3, 1)).predict([["a", "b", "c"]])
except TypeError as error:
    print("get_dummies" in str(error), {"pandas", "scipy.sparse", "polars"} & set(sys.modules))
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout == "True set()\n"
