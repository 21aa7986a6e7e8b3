"""Damaged and hostile files: loading raises ValueError, or gives a network that works, in little memory."""

import json
import math
import os
import sys
import warnings
from contextlib import suppress

import numpy as np
import pytest
from saved_runs import data, fit, network, same

from fastprop import Adam, Checkpoint, Network, schedules

safetensors = pytest.importorskip("safetensors.numpy", reason="files need safetensors (extra save)")


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    """The bytes of a file with everything in it."""
    net = network(dropout=0.0)
    fit(net, 2, Adam(schedules.warm_up(5, schedules.cosine(0.01, 100))), validation=0.2, early_stopping=5)
    path = tmp_path_factory.mktemp("files") / "net.safetensors"
    net.save(path)
    return path.read_bytes()


def refused(path, content):
    """Whether loading a file raises ValueError, which says that the file is damaged; if not, the network works."""
    path.write_bytes(content)
    try:
        net = Network.load(path)
    except ValueError as error:
        said = str(error)
    else:
        said = ""
    if said:
        assert "or damaged" in said
        return True
    assert np.isfinite(net.parameters).all()
    X, _ = data()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a learning rate may have become huge
        for settings in ({"resume": True, "early_stopping": 5}, {}):
            with suppress(ValueError):  # not the fit that the file was saved in, or an output that is not of labels
                fit(net, net.fit_state.epoch + 1 if net.fit_state else 1, validation=0.2, **settings)
        net.predict(X)
    return False


def with_header(good, change):
    """The file with its header changed."""
    length = int.from_bytes(good[:8], "little")
    header = json.loads(good[8 : 8 + length])
    change(header)
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + good[8 + length :]


def with_metadata(good, part, change):
    def of_header(header):
        described = json.loads(header["__metadata__"][part])
        change(described)
        header["__metadata__"][part] = json.dumps(described)

    return with_header(good, of_header)


def test_a_file_truncated_anywhere_is_refused(good, tmp_path):
    stride = int(os.environ.get("FASTPROP_STRIDE", "37"))
    lengths = [*range(0, len(good), stride), *range(20), len(good) - 1]
    assert all(refused(tmp_path / "net", good[:length]) for length in lengths)


@pytest.mark.slow
def test_flipped_bits_are_refused_or_harmless(good, tmp_path):
    """`refused` checks both outcomes. Both occur: most bits belong to numbers, and some to the header."""
    rng, outcomes = np.random.default_rng(0), set()
    for place in rng.integers(0, 8 * len(good), int(os.environ.get("FASTPROP_FLIPS", "300"))):
        content = bytearray(good)
        content[place // 8] ^= 1 << place % 8
        outcomes.add(refused(tmp_path / "net", bytes(content)))
    assert outcomes == {True, False}


def with_tensors(good, change):
    """The file with its tensors and its metadata changed."""
    length = int.from_bytes(good[:8], "little")
    tensors, metadata = safetensors.load(good), json.loads(good[8 : 8 + length])["__metadata__"]
    change(tensors, metadata)
    return safetensors.save(tensors, metadata)


HISTORIES = {
    "is not there": lambda values: None,
    "of float32": lambda values: values.astype(np.float32),
    "of whole numbers": lambda values: values.astype(np.int64),
    "of two dimensions": lambda values: values.reshape(1, -1),
    "of none": lambda values: np.array(values[0]),
    "too long": lambda values: np.append(values, 0.0),
    "too short": lambda values: values[1:],
    "empty": lambda values: values[:0],
}


@pytest.mark.parametrize("kind", HISTORIES)
@pytest.mark.parametrize("name", ["loss", "validation_loss", "validation_accuracy", "seconds", "samples_per_second"])
def test_a_hostile_history_is_refused(name, kind, good, tmp_path):
    """Only the validation history may be shorter: validation may have begun later."""

    def change(tensors, metadata):
        values = HISTORIES[kind](tensors.pop(f"history.{name}"))
        if values is not None:
            tensors[f"history.{name}"] = values

    shorter = name.startswith("validation") and kind in ("too short", "empty")
    assert refused(tmp_path / "net", with_tensors(good, change)) != shorter


def to_the_old_format(tensors, metadata):
    """Change a file to the old format, whose histories were JSON."""
    described = json.loads(metadata["fit"])
    for name in [name for name in tensors if name.startswith("history.")]:
        described["history"][name.removeprefix("history.")] = tensors.pop(name).tolist()
    metadata.update(format="fastprop 1", fit=json.dumps(described))


def test_a_file_of_the_old_format_is_resumed(tmp_path):
    parts, whole, path = network(), network(), tmp_path / "net.safetensors"
    expected = fit(whole, 6, Adam(0.01), validation=0.2)
    fit(parts, 4, Adam(0.01), validation=0.2)
    parts.save(path)
    path.write_bytes(with_tensors(path.read_bytes(), to_the_old_format))
    again = Network.load(path)
    history = fit(again, 6, validation=0.2, resume=True)
    assert (history.loss, history.validation_loss) == (expected.loss, expected.validation_loss)
    assert same(whole, again)


@pytest.mark.parametrize("value", [None, [], [1.0], [1.0, "x"], [1.0, None], [[1.0], [1.0]], {}, 7])
def test_a_hostile_history_of_the_old_format_is_refused(value, good, tmp_path):
    def change(tensors, metadata):
        to_the_old_format(tensors, metadata)
        described = json.loads(metadata["fit"])
        described["history"]["loss"] = value
        metadata["fit"] = json.dumps(described)

    assert refused(tmp_path / "net", with_tensors(good, change))


HEADERS = {
    "no format": lambda h: h["__metadata__"].pop("format"),
    "no metadata": lambda h: h.pop("__metadata__"),
    "another format": lambda h: h["__metadata__"].update(format="fastprop 999"),
    "no optimizer": lambda h: h["__metadata__"].pop("optimizer"),
    "no JSON": lambda h: h["__metadata__"].update(network="{"),
    "deep JSON": lambda h: h["__metadata__"].update(network="[" * 100_000),
    "JSON of another kind": lambda h: h["__metadata__"].update(network="[1, 2]"),
    "a missing tensor": lambda h: h.pop("W2"),
    "an unknown tensor": lambda h: h.update(W9=h["b1"]),
    "a transposed tensor": lambda h: h["W2"].update(shape=h["W2"]["shape"][::-1]),
    "another dtype": lambda h: h["W2"].update(dtype="I32"),
    "a huge shape": lambda h: h["W2"].update(shape=[10**18, 10**18]),
    "huge offsets": lambda h: h["W2"].update(data_offsets=[0, 10**18]),
    "overlapping tensors": lambda h: h["b3"].update(data_offsets=h["b2"]["data_offsets"]),
}


@pytest.mark.parametrize("name", HEADERS)
def test_a_hostile_header_is_refused(name, good, tmp_path):
    assert refused(tmp_path / "net", with_header(good, HEADERS[name]))


# The fields of which at least one of the values below is valid; the network works with those that are.
WITH_VALID_VALUES = {
    "network": {"l2", "scale", "frozen", "classes", "output", "check_finite", "generator.has_uint32",
                "generator.uinteger"},
    "optimizer": {"steps", "lr", "settings", "settings.beta_1", "settings.beta_2", "settings.epsilon",
                  "settings.clip_norm"},
    "fit": {"cost", "weight", "seconds", "last", "fraction", "seed", "updates", "step", "batch_size", "shuffle",
            "bootstrap", "shares", "history.running_loss", "history.best_epoch", "history.interrupted",
            "history.metrics", "best.loss", "best.epoch"},
}  # fmt: skip


@pytest.mark.parametrize("value", [-1, 0, 10**18, 1.5, None, "relu", [], {}, [[1]], True, math.nan, "x" * 10_000])
@pytest.mark.parametrize("part", WITH_VALID_VALUES)
def test_hostile_metadata_is_refused(part, value, good, tmp_path):
    """Each value of the JSON is replaced; what is accepted is in the range of its field."""
    length = int.from_bytes(good[:8], "little")
    described = json.loads(json.loads(good[8 : 8 + length])["__metadata__"][part])
    inner = [(key, name) for key, values in described.items() if isinstance(values, dict) for name in values]
    for path in [*((key,) for key in described), *inner]:

        def replace(content, path=path):
            for key in path[:-1]:
                content = content[key]
            content[path[-1]] = value

        was_refused = refused(tmp_path / "net", with_metadata(good, part, replace))
        assert was_refused or ".".join(path) in WITH_VALID_VALUES[part], path


@pytest.mark.parametrize("part", WITH_VALID_VALUES)
def test_metadata_with_a_field_missing_is_refused(part, good, tmp_path):
    """Except `missing`, `dtype` and `frozen` of the network, `bootstrap` and `shares` of the fit, of which older files
    lack some."""
    length = int.from_bytes(good[:8], "little")
    for key in {*json.loads(json.loads(good[8 : 8 + length])["__metadata__"][part])} - {
        "missing",
        "dtype",
        "frozen",
        "bootstrap",
        "shares",
    }:
        assert refused(tmp_path / "net", with_metadata(good, part, lambda content, key=key: content.pop(key))), key


@pytest.mark.parametrize("value", [1, 0, "yes", None, [], [True]])
@pytest.mark.parametrize("path", ["shuffle", "bootstrap", "last", "history.interrupted"])
def test_flags_are_true_or_false(value, path, good, tmp_path):
    def replace(content):
        *outer, last = path.split(".")
        for key in outer:
            content = content[key]
        content[last] = value

    assert refused(tmp_path / "net", with_metadata(good, "fit", replace))


def test_a_file_of_before_targets_could_be_missing(good, tmp_path):
    (tmp_path / "net").write_bytes(with_metadata(good, "network", lambda content: content.pop("missing")))
    assert Network.load(tmp_path / "net").missing is False


def test_a_file_of_before_there_was_float64(good, tmp_path):
    (tmp_path / "net").write_bytes(with_metadata(good, "network", lambda content: content.pop("dtype")))
    net = Network.load(tmp_path / "net")
    assert net.dtype == net.optimizer.moments.dtype == net.fit_state.best.parameters.dtype == np.float32


def test_a_file_of_before_layers_could_be_frozen(good, tmp_path):
    (tmp_path / "net").write_bytes(with_metadata(good, "network", lambda content: content.pop("frozen")))
    assert all(layer.trainable for layer in Network.load(tmp_path / "net").layers)


@pytest.mark.parametrize("frozen", [[3], [-1], [0, 0], [1, 0], [True], [0.0], ["0"], [None], "01", {"0": 1}, 0])
def test_hostile_frozen_layers_are_refused(frozen, good, tmp_path):
    content = with_metadata(good, "network", lambda content: content.update(frozen=frozen))
    assert refused(tmp_path / "net", content)
    with pytest.raises(ValueError, match="frozen"):
        Network.load(tmp_path / "net")


@pytest.fixture(scope="module")
def good64(tmp_path_factory):
    """The bytes of a file of float64, with optimizer and fit."""
    net = network(dtype="float64")
    fit(net, 1, Adam(), validation=0.2, early_stopping=5)
    path = tmp_path_factory.mktemp("files") / "net64.safetensors"
    net.save(path)
    return path.read_bytes()


DTYPES = {
    "of float32 that claims float64": (lambda network: network.update(dtype="float64"), "W1 is F32 .* need F64"),
    "of float64 that claims float32": (lambda network: network.update(dtype="float32"), "W1 is F64 .* need F32"),
    "of float64 that claims nothing": (lambda network: network.pop("dtype"), "W1 is F64 .* need F32"),
    "of float16": (lambda network: network.update(dtype="float16"), "dtype is 'float16'"),
    "of a bracket": (lambda network: network.update(dtype="("), r"dtype is '\('"),
}  # fmt: skip


@pytest.mark.parametrize("what", DTYPES)
def test_a_dtype_that_the_tensors_do_not_have_is_refused(what, good, good64, tmp_path):
    change, message = DTYPES[what]
    content = with_metadata(good64 if "of float64" in what else good, "network", change)
    assert refused(tmp_path / "net", content)
    with pytest.raises(ValueError, match=message):
        Network.load(tmp_path / "net")


@pytest.mark.parametrize("name", ["b2", "moments.1.W1", "best.W3"])
def test_a_tensor_of_the_other_dtype_is_refused(name, good, good64, tmp_path):
    for content, other in ((good, np.float64), (good64, np.float32)):

        def change(tensors, metadata, other=other):
            tensors[name] = tensors[name].astype(other)

        assert refused(tmp_path / "net", with_tensors(content, change))


def test_a_file_of_float64_is_truncated_to_no_network(good64, tmp_path):
    assert not refused(tmp_path / "net", good64)
    assert all(refused(tmp_path / "net", good64[:length]) for length in range(0, len(good64), 4001))


def test_sizes_that_the_tensors_do_not_have_are_refused(good, tmp_path):
    for sizes in ([10**18, 3], [10**9, 10**9], [7, 33, 18, 4], [7, 33, 3], [7, 33, 18, 3, 3], [], [7]):
        assert refused(tmp_path / "net", with_metadata(good, "network", lambda d, sizes=sizes: d.update(sizes=sizes)))


CAPPED = """
import resource, sys
from fastprop import Network
Network.load(sys.argv[1])
with open("/proc/self/status") as status:
    size = next(int(line.split()[1]) for line in status if line.startswith("VmSize:"))
resource.setrlimit(resource.RLIMIT_AS, ((size + 30 * 1024) * 1024,) * 2)
Network.load(sys.argv[1])
for path in sys.argv[2:]:
    try:
        Network.load(path)
    except ValueError as error:
        print(error)
"""


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Linux alone caps the address space of a process")
def test_no_memory_is_taken_for_what_a_header_claims(tmp_path, run_python):
    """A process limited to 30 MB more raises ValueError for files that claim to hold hundreds."""
    net, path = Network((4, 4)), tmp_path / "net.safetensors"
    net.partial_fit(np.ones((3, 4)), np.ones((3, 4)), Adam())
    net.fit(np.ones((3, 4)), np.ones((3, 4)), epochs=1, progress=False)
    net.save(path)
    content = path.read_bytes()
    files = [
        with_metadata(content, "network", lambda d, n=n: d.update(sizes=[n, n])) for n in (3000, 5000, 20_000, 10**7)
    ]
    files += [
        with_metadata(content, "network", lambda d: d.update(sizes=[4] * 10**5)),
        with_metadata(content, "fit", lambda d: d.update(epoch=10**9)),
        with_header(content, lambda h: h["history.loss"].update(shape=[10**9])),
        with_header(content, lambda h: h["W1"].update(shape=[5000, 5000])),
    ]
    paths = [tmp_path / str(i) for i in range(len(files))]
    for claiming, text in zip(paths, files):
        claiming.write_bytes(text)
    assert run_python(CAPPED, path, *paths).count("or damaged: ") == len(files)


MOST_HEADER = 10**8 - 1  # bytes; safetensors refuses longer ones


def described(network):
    """Return a header with this JSON of the network."""
    metadata = {"format": "fastprop 2", "network": network, "optimizer": "null", "fit": "null"}
    return '{"__metadata__":' + json.dumps(metadata) + "}"


LONG_HEADERS = {
    "spaces": lambda: "{",
    "brackets": lambda: '{"W1":' + "[" * (MOST_HEADER - 6),
    "brackets in the network's JSON": lambda: described("[" * (MOST_HEADER - 200)),
    "a label": lambda: described('{"classes":["' + "x" * (MOST_HEADER - 200) + '"]}'),
    "lists in the network's JSON": lambda: described("[" + "[]," * ((MOST_HEADER - 200) // 3) + "0]"),
    "sizes": lambda: described('{"sizes":[' + "7," * ((MOST_HEADER - 200) // 2) + "7]}"),
    "a million tensors": lambda: (
        described("{}")[:-1]
        + "".join(f',"{i:044d}":{{"dtype":"F32","shape":[0],"data_offsets":[0,0]}}' for i in range(980_000))
        + "}"
    ),
}

PEAK = """
import sys
from fastprop import Network
def memory(name):
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith(name)) * 1024
Network.load(sys.argv[1])
before = memory("VmRSS:")
try:
    Network.load(sys.argv[2])
except ValueError as error:
    print(str(error)[:200])
print(memory("VmHWM:") - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Linux alone tells the peak of a process")
@pytest.mark.parametrize("name", LONG_HEADERS)
def test_a_real_header_of_100_mb_is_refused_in_little_memory(name, good, tmp_path, run_python):
    """A million names take safetensors itself ten times the file; other headers take less."""
    small, path = tmp_path / "small", tmp_path / "long"
    small.write_bytes(good)
    text = LONG_HEADERS[name]().encode()
    assert len(text) <= MOST_HEADER
    text += b" " * (MOST_HEADER - len(text) - (name == "spaces")) + b"}" * (name == "spaces")
    path.write_bytes(MOST_HEADER.to_bytes(8, "little") + text)
    said, peak = run_python(PEAK, small, path).splitlines()
    path.unlink()
    assert "or damaged: " in said
    assert int(peak) < 12 * MOST_HEADER


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_parameters_that_are_not_finite_are_refused(value, good, tmp_path):
    length = int.from_bytes(good[:8], "little")
    start = 8 + length + json.loads(good[8 : 8 + length])["W2"]["data_offsets"][0]
    content = bytearray(good)
    content[start : start + 4] = np.float32(value).tobytes()
    path = tmp_path / "net"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="W2 holds NaN or infinity"):
        Network.load(path)


def test_a_header_that_claims_too_much_is_refused(good, tmp_path):
    for length in (10**8 + 1, 2**40, 2**63, 2**64 - 1):
        assert refused(tmp_path / "net", length.to_bytes(8, "little") + good[8:])


def test_files_that_are_not_there_or_no_files(tmp_path):
    with pytest.raises(FileNotFoundError):
        Network.load(tmp_path / "nothing")
    with pytest.raises((ValueError, OSError)):
        Network.load(tmp_path)
    assert refused(tmp_path / "empty", b"")
    assert refused(tmp_path / "pickle", b"\x80\x04\x95" + bytes(100))


def test_without_safetensors_the_extra_is_named(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "safetensors", None)
    monkeypatch.setitem(sys.modules, "safetensors.numpy", None)
    for call in (lambda: network().save(tmp_path / "net"), lambda: Network.load(tmp_path / "net"),
                 lambda: Checkpoint(tmp_path / "net")):  # fmt: skip
        with pytest.raises(ModuleNotFoundError, match=r"pip install 'fastprop-cpu\[save\]'"):
            call()
