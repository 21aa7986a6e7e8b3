"""The order of the package: imports run one way, and no module uses another module's private names."""

import ast

import pytest
from processes import PACKAGE

SOURCES = {
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts): ast.parse(path.read_text("utf-8"))
    for path in sorted(PACKAGE.rglob("*.py"))
}
# Every module, the lowest first. A module may import those above it in this list, at its top, within its functions, or
# for a type checker alone.
LADDER = """
kernels.interrupts
kernels.jit kernels.simd kernels.estimate kernels.scan kernels.plan kernels.prefetch kernels.tiles kernels.elementwise
kernels.functions kernels.updates kernels.equations kernels.vectors kernels.passes kernels.steps
kernels.sparse kernels.transfers kernels.networks kernels.__init__
checks texts distribution
functions.__init__ functions.symbolic functions.derivative functions.function activations losses initializers
schedules optimizers
core.__init__ core.thread_choice core.cores core.threads core.forms core.arrays core.sparse core.weights
core.architecture core.engine core.engines core.record core.model
fitted reference scaling gradcheck plots health
training.__init__ training.stopping training.samples training.history training.progress training.pace training.fit
training.many training.ranks training.files training.log
network ensemble
versions dropin onnx_graph convert pipelines sklearn compile
__init__
"""
ORDER = LADDER.split()


def imported(name, tree):
    """The modules of the package that a module imports, wherever the statement stands."""
    package = name.split(".")[:-1]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            assert not any(alias.name.split(".")[0] == "fastprop" for alias in node.names), "imports are relative"
        elif isinstance(node, ast.ImportFrom) and node.level:
            base = package[: len(package) - node.level + 1] + (node.module.split(".") if node.module else [])
            for alias in node.names:
                whole = ".".join([*base, alias.name])
                yield (
                    whole
                    if whole in SOURCES
                    else ".".join(base)
                    if ".".join(base) in SOURCES
                    else ".".join([*base, "__init__"])
                )


def test_the_order_names_every_module_once():
    assert sorted(ORDER) == sorted(SOURCES)


@pytest.mark.parametrize("name", SOURCES)
def test_a_module_imports_only_modules_below_it(name):
    for other in imported(name, SOURCES[name]):
        assert ORDER.index(other) < ORDER.index(name), f"{name} imports {other}, which stands above it"


def private(name):
    return name.startswith("_") and not (name.startswith("__") and name.endswith("__"))


def defined(tree):
    """The private names that a module defines: functions, classes, variables, and attributes that it assigns."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.id if isinstance(node, ast.Name) else node.attr
        elif isinstance(node, ast.Assign) and any(getattr(t, "id", "") == "__slots__" for t in node.targets):
            yield from ast.literal_eval(node.value)


PRIVATE = {name: {each for each in defined(tree) if private(each)} for name, tree in SOURCES.items()}


@pytest.mark.parametrize("name", SOURCES)
def test_a_module_uses_no_private_name_of_another(name):
    """Private names of other libraries are not counted: of Numba's cache, of scikit-learn's classes."""
    others = set().union(*(names for other, names in PRIVATE.items() if other != name)) - PRIVATE[name]
    for node in ast.walk(SOURCES[name]):
        if isinstance(node, ast.Attribute):
            assert node.attr not in others, f"line {node.lineno} of {name}: {ast.unparse(node)}"
        elif isinstance(node, ast.ImportFrom) and node.level:
            for alias in node.names:
                assert not private(alias.name), f"line {node.lineno} of {name} imports {alias.name}"


def test_the_check_of_imports_would_find_one(monkeypatch):
    """A module that climbs is found at its top, in a function and under TYPE_CHECKING."""
    for source in (
        "from .network import Network",
        "def f():\n    from .network import Network",
        "if TYPE_CHECKING:\n    from .network import Network",
        "from . import network",
    ):
        assert list(imported("checks", ast.parse(source))) == ["network"]
    assert list(imported("core.arrays", ast.parse("from ..kernels import scan"))) == ["kernels.scan"]
    assert list(imported("core.arrays", ast.parse("from ..kernels import forward"))) == ["kernels.__init__"]
