"""The package as it is installed: what its import does and needs, and which machine code is compiled when."""

import ast
import doctest
import importlib
import inspect
import json
import math
import sys
import tomllib

import numba
import numpy as np
import pytest
from processes import PACKAGE

import fastprop
from fastprop import convert, dropin, reference
from fastprop.kernels import elementwise, equations, jit, passes, simd, steps, tiles, updates

SOURCES = sorted(PACKAGE.rglob("*.py"))


def names(paths):
    return [str(path.relative_to(PACKAGE)) for path in paths]


ALL = """
import sys
import fastprop, fastprop.dropin, fastprop.reference
from fastprop.kernels import tiles
from fastprop.kernels.jit import Routine
from numba.core.dispatcher import Dispatcher

found = {id(value): (name, value) for module_name, module in sorted(sys.modules.items())
         if module_name.split(".")[0] == "fastprop"
         for name, value in vars(module).items() if isinstance(value, (Routine, Dispatcher))}
assert len(found) > 40, len(found)
found |= {group: ("{}_{}".format(*group), tiles.tiles_of(*group)) for group in tiles.groups()}
"""
COMPILED = """
print([name for name, value in found.values()
       if (value._compiled if isinstance(value, Routine) else value.overloads)])
"""


def test_importing_compiles_nothing(run_python):
    assert run_python(ALL + COMPILED) == "[]\n"


FITS = """
import json
import numpy as np
from fastprop import SGD, Adam, Network
from numba.core.caching import FunctionCache

def compiled():
    routines = {(name, "") for name, value in found.values() if isinstance(value, Routine) and value._compiled}
    entries = [pair for pair in found.values() if isinstance(getattr(pair[1], "_cache", None), FunctionCache)]
    return routines | {(name, str(types)) for name, value in entries for types in value.overloads}

def fit(sizes=(16, 64, 48, 12), hidden="relu", output="identity", batch=32, optimizer="SGD(0.01)", threads=1):
    before = compiled()
    fastprop.set_num_threads(threads)
    m = 2 * batch + 5
    X, Y = np.ones((m, sizes[0]), np.float32), np.ones((m, sizes[-1]), np.float32)
    Y = np.ones(m, np.int64) if output == "softmax" else Y
    Network(sizes, hidden, output).fit(X, Y, epochs=2, batch_size=batch, optimizer=eval(optimizer))
    return sorted({name for name, types in compiled() - before})

print(json.dumps([fit(**options) for options in json.loads(sys.argv[1])]))
"""
# What a fit is given in place of the first one's, in this order in one process; and what is compiled for it, or loaded.
NEW = {
    "first": (
        {},
        "worker panels_of_chunk columns_of_chunk end_of_epoch gather_reals relu_activation relu_derivative "
        "identity_mse sgd_prepare sgd_update launch_alone address_of both_fit first_outside",
    ),
    "architecture": ({"sizes": (784, 250, 33, 16, 1)}, ""),
    "architecture without hidden layers": ({"sizes": (1, 3)}, ""),
    "batch": ({"batch": 100}, ""),
    "batch and architecture": ({"batch": 7, "sizes": (64, 9, 9)}, ""),
    "width that ends in half a vector": ({"sizes": (20, 8, 1)}, ""),
    "batch in parts": ({"batch": 2000}, "part_of_step sum_of_parts"),
    "batch of one sample": ({"batch": 1}, "pass_of_sample columns_of_sample"),
    "threads": ({"threads": 2, "sizes": (64, 256, 16), "batch": 128}, "launch"),
    "Adam": ({"optimizer": "Adam()"}, "adam_prepare adam_update"),
    "momentum": ({"optimizer": "SGD(0.01, momentum=0.9)"}, "momentum_update"),
    "weight decay": ({"optimizer": "SGD(0.01, weight_decay=0.1)"}, ""),
    "tanh": ({"hidden": "tanh"}, "tanh_activation tanh_derivative"),
    "sigmoid": ({"hidden": "sigmoid"}, "sigmoid_activation sigmoid_derivative"),
    "identity": ({"hidden": "identity"}, ""),
    "output": ({"output": "sigmoid"}, "sigmoid_binary_crossentropy"),
    "output of classes": (
        {"output": "softmax"},
        "softmax_activation softmax_cross_entropy weight_right fits first_label_outside",
    ),
    "all of it": (
        {"sizes": (3, 5, 7, 2), "hidden": "tanh", "output": "softmax", "batch": 900, "optimizer": "Adam()"},
        "",
    ),
}


@pytest.mark.slow
@pytest.mark.skipif(steps.launch._cache.folder is None, reason="no folder to cache in")
def test_a_new_architecture_batch_or_optimizer_compiles_no_more_than_its_own_part(run_python):
    """Phases and worker once; then for another architecture the tiles of its widths, for another batch nothing, and for
    an optimizer, an activation or a loss only itself. What comes from the cache counts as what is compiled."""
    options = json.dumps([given for given, _ in NEW.values()])
    found = dict(zip(NEW, json.loads(run_python(ALL + FITS, options)), strict=True))
    seen = set()
    for name, (given, wanted) in NEW.items():
        groups = {*tiles.groups(given.get("sizes", (16, 64, 48, 12)), given.get("batch") == 1)} - seen
        assert found[name] == sorted([*wanted.split(), *(f"{group}_{rows}" for group, rows in groups)]), name
        seen |= groups


def test_a_network_asks_only_for_the_tiles_of_its_widths():
    full = simd.TILE_ROWS
    wide = 240  # whole tiles on every processor (8, 6, 5 or 3 rows) and whole vectors, so that no half ones are needed
    assert tiles.groups((wide, 2 * wide), False) == [
        ("products", full), ("sums", simd.rows_of_dot(simd.ELEMENTS[0])), ("turn", 16),
    ]  # fmt: skip
    assert [group for group in tiles.groups((2, 3, 1), False) if group[0] == "half"] == [("half", 3)]
    assert ("half", 1) not in tiles.groups((20, 1)), "a single unit sums by the dot tile"
    assert len(tiles.groups()) > 2 * full


def test_importing_does_not_import_what_only_extras_have(run_python):
    shown = "print({'tqdm', 'matplotlib', 'sklearn', 'scipy', 'safetensors', 'torch', 'onnx'} & set(sys.modules))"
    code = f"import sys, fastprop, fastprop.convert, fastprop.dropin; {shown}"
    before = f"import sys, numba, numpy; {shown}"
    assert run_python(code) == run_python(before)


WITHOUT_POSIX = """
import ctypes, importlib, os, pkgutil, signal, sys
import _signal
import numba, numpy as np, numba.np.ufunc.parallel
for module in (os, signal, _signal):
    for name in ("sched_getaffinity register_at_fork fork getuid geteuid getpgid killpg setsid chown fchmod "
                 "pthread_kill pthread_sigmask sigwait setitimer SIGKILL SIGHUP SIGUSR1 SIGALRM").split():
        vars(module).pop(name, None)
for name in "fcntl grp pwd resource syslog termios tty pty readline".split():
    sys.modules[name] = None
load, open_file = ctypes.CDLL.__init__, os.open
def load_named(self, name, *arguments, **options):
    if name is None:
        raise TypeError("on Windows, the whole process has no name")
    load(self, name, *arguments, **options)
def open_no_folder(path, *arguments, **options):
    if os.path.isdir(path):
        raise PermissionError(13, "on Windows, folders cannot be opened")
    return open_file(path, *arguments, **options)
ctypes.CDLL.__init__, os.open = load_named, open_no_folder
import fastprop
fastprop.set_num_threads(2)
X = np.ones((300, 4), np.float32)
net = fastprop.Network((4, 128, 2), rng=0)
history = net.fit(X, X[:, :2], epochs=3)
if importlib.util.find_spec("safetensors"):
    net.save(sys.argv[1])
    assert np.array_equal(fastprop.Network.load(sys.argv[1]).parameters, net.parameters)
fastprop.show_versions()
for module in pkgutil.walk_packages(fastprop.__path__, "fastprop."):
    if module.name != "fastprop.sklearn":
        importlib.import_module(module.name)
"""


def test_it_works_without_what_only_posix_has(run_python, tmp_path):
    """As far as Linux can show it: without functions, signals and modules that Windows has not, it is imported, trains
    on two threads, saves and loads."""
    assert "fastprop" in run_python(WITHOUT_POSIX, tmp_path / "net.safetensors")


def imported_at_the_top(path):
    """Top-level packages that a module imports when it is imported: not inside functions, nor for type checkers."""

    def of(body):
        for node in body:
            if isinstance(node, ast.Import):
                yield from (alias.name.split(".")[0] for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                yield node.module.split(".")[0]
            elif isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
                yield from of(node.orelse)
            elif not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield from of(ast.iter_child_nodes(node))

    return set(of(ast.parse(path.read_text("utf-8")).body))


@pytest.mark.parametrize("path", SOURCES, ids=names(SOURCES))
def test_a_module_imports_only_what_is_declared(path):
    """NumPy and Numba (with llvmlite, which is Numba's own half); all else is an extra, imported where it is used.

    `fastprop.sklearn` is imported where it is used, and its classes are subclasses of scikit-learn's.
    """
    foreign = imported_at_the_top(path) - set(sys.stdlib_module_names)
    extra = {"sklearn", "scipy", "threadpoolctl"} if path.name == "sklearn.py" else set()
    assert foreign <= {"numba", "numpy", "llvmlite"} | extra


def test_the_declared_dependencies_are_numba_and_numpy():
    pyproject = PACKAGE.parent / "pyproject.toml"
    if not pyproject.exists():
        pytest.skip("installed without its sources")
    project = tomllib.loads(pyproject.read_text("utf-8"))["project"]
    assert sorted(d.split(">")[0].split("=")[0].strip() for d in project["dependencies"]) == ["numba", "numpy"]
    assert project["version"] == fastprop.__version__
    assert "tqdm" in project["optional-dependencies"]["progress"]


def test_every_public_name_is_there_and_documented():
    for module in (fastprop, convert, dropin):
        assert len(set(module.__all__)) == len(module.__all__)
        for name in module.__all__:
            assert inspect.getdoc(getattr(module, name)), f"{module.__name__}.{name} has no docstring"
    shown = {n for n, v in vars(fastprop).items() if not n.startswith("_") and not inspect.ismodule(v)}
    assert shown == set(fastprop.__all__)


CLASSES = [getattr(fastprop, name) for name in fastprop.__all__ if inspect.isclass(getattr(fastprop, name))]


@pytest.mark.parametrize("cls", CLASSES)
def test_every_public_method_and_attribute_is_documented(cls):
    """Methods have docstrings; properties have one, or are in the Attributes of their class."""
    for name, member in inspect.getmembers(cls):
        if name.startswith("_"):
            continue
        if isinstance(member, property):
            words = " ".join(inspect.getdoc(c) or "" for c in cls.__mro__)
            assert member.__doc__ or name in words, f"{cls.__name__}.{name} is not documented"
        elif callable(member):
            assert member.__doc__, f"{cls.__name__}.{name} has no docstring"


def test_every_module_is_documented():
    for path in SOURCES:
        assert ast.get_docstring(ast.parse(path.read_text("utf-8"))), f"{path.name} has no docstring"


@pytest.mark.parametrize("module", [equations, passes, elementwise, updates, tiles], ids=lambda m: m.__name__)
def test_every_kernel_that_a_user_may_call_is_documented(module):
    for name, value in vars(module).items():
        compiled = isinstance(value, jit.Routine) or hasattr(value, "py_func")
        if compiled and not name.startswith("_") and name != "do_item":
            assert value.__doc__, f"{module.__name__}.{name} has no docstring"


WITH_EXAMPLES = [
    ".".join(("fastprop", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__")
    for path in SOURCES
    if ">>> " in path.read_text("utf-8")
]


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")  # the estimators' examples are short
@pytest.mark.parametrize("name", WITH_EXAMPLES)
def test_the_docstring_examples_hold(name):
    """All examples of all docstrings, which assume `import numpy as np` and the public names."""
    if name.endswith(".sklearn"):
        pytest.importorskip("sklearn")
    module = importlib.import_module(name)
    names = {**vars(fastprop), "np": np, "numba": numba, "math": math, "kernels": fastprop.kernels, **vars(module)}
    examples = [test for test in doctest.DocTestFinder().find(module, globs=names) if test.examples]
    assert examples
    for example in examples:
        assert doctest.DocTestRunner().run(example).failed == 0, example.name


def test_it_is_typed():
    assert (PACKAGE / "py.typed").exists()
    for function in (fastprop.Network.__init__, fastprop.Network.fit, fastprop.SGD.__init__, reference.compute_cost):
        hints = {p.name for p in inspect.signature(function).parameters.values() if p.annotation is p.empty}
        assert hints <= {"self"}


def test_show_versions_names_what_a_bug_report_needs(capsys):
    fastprop.show_versions()
    shown = capsys.readouterr().out
    for text in (fastprop.__version__, numba.__version__, np.__version__, jit.cpu_name(), "threads", "cache"):
        assert text in shown
