"""Networks that predict together: their mean, each, their spread; bootstrap; files."""

import copy
import json
import pickle
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from networks import Case, bits, data, network
from optimizers import OPTIMIZERS

import fastprop
from fastprop import SGD, Activation, Adam, Ensemble, Loss, Network
from fastprop.core.engine import Engine

pytestmark = pytest.mark.filterwarnings("ignore:.*after .* epochs the:RuntimeWarning")
LABELS = Case("labels", (7, 20, 3), "relu", "softmax", 16)
NUMBERS = Case("numbers", (7, 20, 3), "tanh", "identity", 16)
M, COUNT = 100, 4


def networks(case=NUMBERS, count=COUNT, **options):
    return [network(case, rng=i, **options) for i in range(count)]


def mixed():
    """Networks of one face with other hidden layers, losses and dtypes."""
    return [
        Network((7, 20, 3), "relu", rng=0),
        Network((7, 3), rng=1),
        Network((7, 9, 33, 3), ("tanh", "gelu"), loss="huber", rng=2, dropout=0.3),
        Network((7, 17, 3), "sigmoid", rng=3, dtype="float64"),
        Network((7, 20, 3), "relu", rng=4, scale=0.5),
        Network((7, 20, 3), "relu", rng=5),
    ]


# ---- predictions -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rows", [1, 2, 17, 300, 1100])
@pytest.mark.parametrize("make", [networks, mixed, lambda: networks(LABELS), lambda: networks(dtype="float64")],
                         ids=["alike", "mixed", "classes", "float64"])  # fmt: skip
@pytest.mark.parametrize("threads", [1, 2])
def test_mean_each_and_spread_are_those_of_the_networks(make, rows, threads):
    fastprop.set_num_threads(threads)
    nets, (X, _) = make(), data(NUMBERS, rows)
    ensemble = Ensemble(nets)
    each = np.stack([net.predict(X) for net in nets])
    assert bits(ensemble.predict_each(X)) == bits(each)
    for found, expected in (
        (ensemble.predict(X), each.mean(axis=0, dtype=np.float64)),
        (ensemble.spread(X), each.std(axis=0, dtype=np.float64)),
    ):
        assert found.shape == (rows, 3)
        assert found.dtype == each.dtype
        np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_the_spread_is_exact_where_it_is_small():
    """A millionth of the mean: a difference of squares would lose it."""
    nets = networks(dtype="float64")
    for i, net in enumerate(nets):
        net.parameters[:] = 0
        net.layers[-1].b[:] = 1e3 * (1 + 1e-6 * i)
    spread = Ensemble(nets).spread(np.zeros((5, 7)))
    np.testing.assert_allclose(spread, np.std([0, 1e-3, 2e-3, 3e-3]), rtol=1e-9)


def test_probabilities_are_averaged():
    P = Ensemble(networks(LABELS)).predict(data(LABELS, 50)[0])
    np.testing.assert_allclose(P.sum(axis=1), 1, rtol=1e-6)


def test_a_sparse_X_and_other_forms_of_X():
    sparse = pytest.importorskip("scipy.sparse", reason="sparse matrices are those of SciPy")
    ensemble, (X, _) = Ensemble(mixed()), data(NUMBERS, 40)
    X[X < 0] = 0
    for form in (sparse.csr_array(X), X.tolist(), X.astype(np.float64)):
        np.testing.assert_allclose(ensemble.predict(form), ensemble.predict(X), rtol=1e-4, atol=1e-6)


def test_one_engine_serves_all_networks_of_an_architecture(monkeypatch):
    """Also where dropout has other seeds; and the networks' own engines are left alone."""
    made = []
    original = Engine.__init__
    monkeypatch.setattr(Engine, "__init__", lambda self, *a, **b: made.append(self) or original(self, *a, **b))
    nets = [*networks(count=20, dropout=0.1), *networks(LABELS._replace(output="identity"), count=20)]
    Ensemble(nets).predict(data(NUMBERS, 50)[0])
    assert len(made) == 2
    assert all(engine not in net.engines.idle[0] for engine in made for net in nets)


def test_eight_threads_predict_with_one_ensemble():
    ensemble, (X, _) = Ensemble(mixed()), data(NUMBERS, 300)
    counts = [1 + 37 * i % 300 for i in range(100)]
    serial = [bits(ensemble.predict(X[:m]), ensemble.spread(X[:m])) for m in counts]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda m: bits(ensemble.predict(X[:m]), ensemble.spread(X[:m])), counts)) == serial


def test_what_is_refused_in_a_prediction():
    ensemble = Ensemble(networks())
    with pytest.raises(ValueError, match="X has 6 features; this network takes 7"):
        ensemble.predict(np.zeros((3, 6)))
    with pytest.raises(ValueError, match=r"X\[0, 0\] is nan"):
        ensemble.spread(np.full((3, 7), np.nan))


# ---- training ----------------------------------------------------------------------------------------------------


def test_fit_is_fit_many():
    one, other, (X, Y) = networks(), networks(), data(NUMBERS, M)
    settings = {
        "epochs": 5,
        "batch_size": 16,
        "optimizer": Adam(0.01),
        "validation": 0.2,
        "early_stopping": 2,
        "rng": 0,
    }
    histories = Ensemble(one).fit(X, Y, **settings)
    expected = fastprop.fit_many(other, X, Y, **settings)
    assert [bits(net.parameters) for net in one] == [bits(net.parameters) for net in other]
    assert [history.loss for history in histories] == [history.loss for history in expected]


WEIGHTS = {
    "none": None,
    "of samples": np.linspace(0.5, 2, M),
    "of some": np.where(np.arange(M) % 3, 1.0, 0.0),
    "of outputs": np.linspace(0, 2, 3 * M).reshape(M, 3),
}


@pytest.mark.parametrize("validation", [None, 0.2])
@pytest.mark.parametrize("weights", WEIGHTS)
def test_bootstrap_rows_are_weights_that_the_seed_of_the_fit_draws(weights, validation):
    """Counts of draws with replacement, from rows with a weight above 0 that are not held out, times the weights."""
    nets, others, (X, Y), given = networks(), networks(), data(NUMBERS, M), WEIGHTS[weights]
    settings = {"epochs": 3, "batch_size": 16, "validation": validation}
    Ensemble(nets).fit(X, Y, rng=5, bootstrap=True, sample_weight=given, **settings)
    for net, other, child in zip(nets, others, np.random.SeedSequence(5).spawn(COUNT), strict=True):
        seed = int(np.random.default_rng(child).integers(2**62))
        assert net.fit_state.seed == seed
        source = np.random.default_rng(seed)
        w = np.ones(M) if given is None else given
        rows = np.flatnonzero(w.reshape(M, -1).any(axis=1))
        trained = np.arange(M)
        if validation:
            out = fastprop.training.samples.split(Y, round(0.2 * len(rows)), source, w.reshape(M, -1).mean(axis=1))[0]
            trained = np.setdiff1d(trained, out)
            rows = np.flatnonzero(np.isin(trained, rows))
        counts = np.bincount(rows[source.integers(len(rows), size=len(rows))], minlength=len(trained))
        assert counts.sum() == len(rows)
        held_out = (X[out], Y[out], None if given is None else w[out]) if validation else None
        drawn = (w.astype(np.float32)[trained].T * counts.astype(np.float32)).T
        other.fit(X[trained], Y[trained], rng=np.random.default_rng(child), sample_weight=drawn,
                  **{**settings, "validation": held_out})  # fmt: skip
        assert bits(net.parameters) == bits(other.parameters)


def test_bootstrap_changes_nothing_else_and_is_resumed_with_the_same_rows(tmp_path):
    pytest.importorskip("safetensors", reason="files need safetensors (extra save)")
    whole, parts, plain, (X, Y) = networks(), networks(), networks(), data(NUMBERS, M)
    settings = {"batch_size": 16, "optimizer": Adam(0.01), "rng": 0}
    Ensemble(whole).fit(X, Y, epochs=6, bootstrap=True, **settings)
    Ensemble(plain).fit(X, Y, epochs=6, **settings)
    Ensemble(parts).fit(X, Y, epochs=2, bootstrap=True, **settings)
    Ensemble(parts).save(tmp_path / "some")
    again = Ensemble.load(tmp_path / "some")
    with pytest.raises(ValueError, match="network 0: bootstrap is False; the fit to resume had True"):
        again.fit(X, Y, epochs=6, batch_size=16, resume=True)
    again.fit(X, Y, epochs=6, bootstrap=True, batch_size=16, resume=True)
    assert [bits(net.parameters) for net in again.networks] == [bits(net.parameters) for net in whole]
    assert not any(bits(a.parameters) == bits(b.parameters) for a, b in zip(whole, plain, strict=True))


# ---- what an ensemble is -----------------------------------------------------------------------------------------


def test_it_shows_its_networks():
    nets = networks()
    ensemble = Ensemble(iter(nets))
    assert ensemble.networks == tuple(nets)
    assert len(ensemble) == COUNT
    assert repr(ensemble) == "Ensemble(4 networks, 7 -> 3): 892 parameters"


@pytest.mark.parametrize(
    ("others", "match"),
    [
        ([Network((6, 20, 3))], r"networks\[1\] has inputs 6, and networks\[0\] has 7"),
        ([Network((7, 20, 2))], r"networks\[1\] has outputs 2"),
        ([Network((7, 9, 3)), Network((7, 20, 3), output="softmax")], r"networks\[2\] has output 'softmax'"),
        ([3], r"networks\[1\] is 3; it must be a Network"),
    ],
)
def test_networks_of_another_face_are_refused(others, match):
    with pytest.raises((ValueError, TypeError), match=match):
        Ensemble([Network((7, 20, 3)), *others])


def test_other_classes_are_refused():
    nets = networks(LABELS)
    for net in nets:
        net.classes = ["a", "b", "c"]
    nets[2].classes = ["b", "a", "c"]
    with pytest.raises(ValueError, match=r"networks\[2\] has classes \['b', 'a', 'c'\]"):
        Ensemble(nets)


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda value: pickle.loads(pickle.dumps(value))])
def test_a_copy_is_apart(duplicate):
    ensemble, (X, Y) = Ensemble(networks()), data(NUMBERS, M)
    twin = duplicate(ensemble)
    expected = bits(twin.predict(X))
    assert expected == bits(ensemble.predict(X))
    ensemble.fit(X, Y, epochs=1)
    assert bits(twin.predict(X)) == expected


# ---- files -------------------------------------------------------------------------------------------------------


@pytest.fixture
def path(tmp_path):
    pytest.importorskip("safetensors", reason="files need safetensors (extra save)")
    return tmp_path / "ensemble.safetensors"


def same(net, other):
    """Whether two networks are the same in all that a file holds."""
    a, b = net.fit_state, other.fit_state
    return (
        bits(net.parameters) == bits(other.parameters)
        and repr(net) == repr(other)
        and repr(net.optimizer) == repr(other.optimizer)
        and str(net.generator.bit_generator.state) == str(other.generator.bit_generator.state)
        and (a is b is None or (a.history == b.history and (a.seed, a.epoch, a.step) == (b.seed, b.epoch, b.step)))
        and (net.optimizer is None or bits(net.optimizer.moments) == bits(other.optimizer.moments))
    )


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "nesterov"])
def test_a_file_holds_all(path, optimizer):
    """Of trained networks and of one that was not; resumed, they have the bits of those that never stopped."""
    nets, whole, (X, Y) = mixed(), mixed(), data(NUMBERS, M)
    settings = {"batch_size": 16, "validation": 0.2, "early_stopping": 30}
    make = OPTIMIZERS[optimizer].make
    fastprop.fit_many(whole, X, Y, epochs=6, optimizer=make(0.1), rng=0, **settings)
    fastprop.fit_many(nets, X, Y, epochs=2, optimizer=make(0.1), rng=0, **settings)
    untrained = Network((7, 3), rng=9)
    Ensemble([*nets, untrained]).save(path)
    *again, other = Ensemble.load(path).networks
    assert all(same(net, loaded) for net, loaded in zip([*nets, untrained], [*again, other], strict=True))
    fastprop.fit_many(again, X, Y, epochs=6, resume=True, **settings)
    assert [bits(net.parameters) for net in again] == [bits(net.parameters) for net in whole]


def test_custom_functions_are_given_on_load(path):
    mine, loss = (
        Activation("mine", lambda z: 2 * z, lambda z: 2.0),
        Loss("ours", lambda p, y: (p - y) ** 2, lambda p, y: 2 * (p - y)),
    )
    nets = [Network((7, 5, 3), mine, loss=loss, rng=i) for i in range(3)]
    Ensemble(nets).save(path)
    assert len(Ensemble.load(path, functions=[mine, loss])) == 3
    with pytest.raises(ValueError, match="it needs the Activation 'mine'"):
        Ensemble.load(path)


def test_its_tensors_open_elsewhere(path):
    nets = networks()
    Ensemble(nets).save(path)
    tensors = pytest.importorskip("safetensors.numpy").load_file(path)
    for i, net in enumerate(nets):
        np.testing.assert_array_equal(tensors[f"{i}.W2"], net.layers[1].W)


def test_files_of_networks_and_of_ensembles_are_not_confused(path):
    nets = networks()
    nets[0].save(path)
    with pytest.raises(ValueError, match="is not an ensemble's file, or damaged: its format is not 'fastprop ensemble"):
        Ensemble.load(path)
    Ensemble(nets).save(path)
    with pytest.raises(ValueError, match="is not a network's file, or damaged: its format is 'fastprop ensemble 1'"):
        Network.load(path)


def test_a_network_that_cannot_be_saved_is_named_and_the_file_stays(path):
    nets = networks()
    ensemble = Ensemble(nets)
    ensemble.save(path)
    before = path.read_bytes()
    nets[2].layers[0].W[1, 2] = np.nan
    with pytest.raises(ValueError, match="network 2: W1 holds NaN"):
        ensemble.save(path)
    nets[2].layers[0].W[1, 2] = 0
    nets[1].train_step(*data(NUMBERS, 5), SGD(lambda step: 0.1))
    with pytest.raises(ValueError, match=r"network 1: .*is a function, which is not saved"):
        ensemble.save(path)
    nets[1].train_step(*data(NUMBERS, 5), SGD(0.1))
    with pytest.raises(OSError, match="No such file"):
        ensemble.save(path.parent / "nowhere" / "file")
    assert path.read_bytes() == before


def test_too_much_metadata_is_not_saved(path, monkeypatch):
    monkeypatch.setattr("fastprop.training.files.MOST_JSON", 1000)
    with pytest.raises(ValueError, match="this ensemble cannot be saved: its metadata has more than 1000 characters"):
        Ensemble(networks()).save(path)


def test_a_thousand_networks_in_one_file(path):
    nets = [Network((4, 8, 1), rng=i) for i in range(1000)]
    Ensemble(nets).save(path)
    again = Ensemble.load(path)
    assert [bits(net.parameters) for net in again.networks] == [bits(net.parameters) for net in nets]


def with_header(content, change):
    """The file with its header changed."""
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    change(header)
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + content[8 + length :]


def refused(path, content):
    """Whether loading a file raises ValueError, which says that the file is damaged; if not, the ensemble works."""
    path.write_bytes(content)
    try:
        ensemble = Ensemble.load(path)
    except ValueError as error:
        said = str(error)
    else:
        said = ""
    if said:
        assert "or damaged" in said
        return True
    X, Y = data(NUMBERS, 20)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert ensemble.predict(X).shape == (20, 3)
        ensemble.fit(X, Y, epochs=1)
    return False


@pytest.fixture
def good(path):
    ensemble = Ensemble(networks(count=3))
    ensemble.fit(*data(NUMBERS, M), epochs=2, optimizer=Adam(0.01), validation=0.2, early_stopping=5, bootstrap=True)
    ensemble.save(path)
    return path.read_bytes()


def test_a_file_truncated_anywhere_is_refused(good, path):
    assert all(refused(path, good[:length]) for length in (*range(0, len(good), 997), *range(20), len(good) - 1))


def rename(old, new):
    return lambda header: header.update({new: header.pop(old)})


def in_metadata(change):
    return lambda header: change(header["__metadata__"])


HOSTILE = {
    "a network is missing": lambda header: [header.pop(name) for name in list(header) if name.startswith("1.")],
    "a tensor is missing": lambda header: header.pop("1.W1"),
    "a tensor of another": rename("1.W1", "0.W9"),
    "a tensor of none": rename("1.W1", "7.W1"),
    "a tensor without a number": rename("1.W1", "W1"),
    "a number with a sign": rename("1.W1", "-1.W1"),
    "a number with a zero": rename("1.W1", "01.W1"),
    "a description is missing": in_metadata(lambda texts: texts.pop("2.network")),
    "a description of none": in_metadata(lambda texts: texts.update({"99999999999999999999.network": "{}"})),
    "no format": in_metadata(lambda texts: texts.pop("format")),
    "another format": in_metadata(lambda texts: texts.update(format="fastprop ensemble 2")),
    "a format of a network": in_metadata(lambda texts: texts.update(format="fastprop 2")),
    "no metadata": lambda header: header.pop("__metadata__"),
    "other sizes": in_metadata(
        lambda texts: texts.update({"1.network": texts["1.network"].replace("[7, 20, 3]", "[7, 20, 4]")})
    ),
    "bootstrap is no flag": in_metadata(
        lambda texts: texts.update({"1.fit": texts["1.fit"].replace('"bootstrap": true', '"bootstrap": 3')})
    ),
    "text instead of JSON": in_metadata(lambda texts: texts.update({"0.fit": "]"})),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_is_refused(name, good, path):
    assert refused(path, with_header(good, HOSTILE[name]))


def test_a_file_without_bootstrap_is_read(good, path):
    """As those of networks that were saved before there were ensembles."""

    def change(texts):
        texts["1.fit"] = texts["1.fit"].replace('"bootstrap": true, ', "")

    path.write_bytes(with_header(good, in_metadata(change)))
    assert [net.fit_state.bootstrap for net in Ensemble.load(path).networks] == [True, False, True]


@pytest.mark.slow
def test_flipped_bits_are_refused_or_harmless(good, path):
    rng, outcomes = np.random.default_rng(0), set()
    for place in rng.integers(0, 8 * len(good), 300):
        content = bytearray(good)
        content[place // 8] ^= 1 << place % 8
        outcomes.add(refused(path, bytes(content)))
    assert outcomes == {True, False}


def test_an_ensemble_that_does_not_fit_together_is_no_ensembles_file(path):
    """Each part is a good network, but they have other outputs."""
    nets = networks()
    ensemble = Ensemble(nets)
    ensemble.networks = (*nets, Network((7, 9, 2)))
    ensemble.save(path)
    with pytest.raises(ValueError, match=r"or damaged: networks\[4\] has outputs 2"):
        Ensemble.load(path)
