"""benchmarks/suite: what asv finds is measured, and lower is better in all of it. No speed is asserted."""

import ast
import graphlib
import importlib
import inspect
import itertools
import json
import math
import pkgutil
import re

import limits
import many
import measuring
import numba
import numpy as np
import overhead
import pytest
import ratios
import suite
from cases import NAMES, Case
from marks import slow_but
from processes import BENCHMARKS

TINY = {name: Case(name, (6, 8, 3), "relu", "identity", 16) for name in NAMES}
MODULES = [importlib.import_module(f"suite.{module.name}") for module in pkgutil.iter_modules(suite.__path__)]
CLASSES = {
    f"{module.__name__.removeprefix('suite.')}.{name}": cls
    for module in MODULES
    for name, cls in vars(module).items()
    if inspect.isclass(cls) and cls.__module__ == module.__name__
}
SUMMARIZED = [name for name, cls in CLASSES.items() if hasattr(cls, "setup_cache")]


def methods(cls, kind):
    return {name: value for name, value in vars(cls).items() if name.startswith(f"{kind}_")}


# ---- what asv finds --------------------------------------------------------------------------------------------------


def test_the_suite_imports_only_scripts_that_measure_something_for_it(run_python):
    """asv imports all modules of its folder: not those that compare libraries, or need extras."""
    found = run_python("""
import importlib, pkgutil, sys, suite
from pathlib import Path
for module in pkgutil.iter_modules(suite.__path__):
    importlib.import_module(f"suite.{module.name}")
files = {name: Path(getattr(module, "__file__", None) or "") for name, module in sys.modules.items()}
print(*sorted(name for name, file in files.items() if file.parent == Path(suite.__file__).parents[1]))
""")
    assert found.split() == ["cases", "limits", "many", "measuring", "overhead", "peak", "ratios", "reports"]


def test_every_class_measures_and_says_in_which_unit():
    """asv finds imported classes too: the suite imports none that it would run twice."""
    for name, cls in CLASSES.items():
        found = [methods(cls, kind) for kind in ("time", "track", "peakmem")]
        assert any(found), name
        assert cls.__doc__, name
        assert all(track.unit for track in found[1].values()), name
    for module in MODULES:
        imported = [cls for cls in vars(module).values() if inspect.isclass(cls) and cls.__module__ != module.__name__]
        assert not any(methods(cls, kind) for cls in imported for kind in ("time", "track", "peakmem"))


def test_every_benchmark_has_a_threshold_for_a_noisy_machine():
    """Without one asv takes 5%; where several match, it takes the largest."""
    thresholds = json.loads((BENCHMARKS / "asv.conf.json").read_text("utf-8"))["regressions_thresholds"]
    names = [f"{name}.{each}" for name, cls in CLASSES.items() for kind in ("time", "track", "peakmem")
             for each in methods(cls, kind)]  # fmt: skip
    for name in names:
        assert any(re.match(pattern, name) for pattern in thresholds), name
    for pattern in thresholds:
        assert any(re.match(pattern, name) for name in names), pattern


def imported_by(path):
    """The modules of benchmarks/ that a file imports, at its top or within a function."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        names = [node.module] if isinstance(node, ast.ImportFrom) else []
        names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        yield from (name for name in names if (BENCHMARKS / f"{name}.py").exists())


def test_imports_of_the_scripts_run_one_way():
    graph = {path.stem: set(imported_by(path)) for path in BENCHMARKS.glob("*.py")}
    assert graph["compare_peers"] >= {"measuring", "reports", "peers"}
    order = list(graphlib.TopologicalSorter(graph).static_order())  # raises a CycleError if there is a circle
    assert sorted(order) == sorted(graph)


# ---- what asv measures -----------------------------------------------------------------------------------------------


@pytest.fixture
def short(monkeypatch):
    """Small networks, one turn of one call each, no rest."""
    sparse = (200, 1000, 5, 2)
    for module, values in {
        measuring: {"TURNS": 1, "SECONDS": 1e-4, "REST": 0.0, "WORK": 1e5},
        ratios: {"REST": 0.0, "WORK": 1e5},
        overhead: {"EPOCHS": 3, "SPARSE": (sparse, sparse)},
        many: {"TURNS": 1, "NETWORKS": 3, "ROWS": 64, "EPOCHS": 1, "TINY": 3, "TINY_EPOCHS": 2},
        importlib.import_module("suite.overhead"): {"SPARSE": (sparse, sparse)},
    }.items():
        for name, value in values.items():
            monkeypatch.setattr(module, name, value)
    for module in (limits, measuring, ratios):
        monkeypatch.setattr(module, "rows_of", lambda case, flops: 32)
    for module in ("speed", "overhead"):
        monkeypatch.setattr(importlib.import_module(f"suite.{module}"), "named", TINY.__getitem__)


@pytest.mark.usefixtures("short")
@pytest.mark.parametrize("name", slow_but(["overhead.Fits", "speed.Epochs", "many.Many"], SUMMARIZED))
def test_every_ratio_is_measured(name):
    if name == "overhead.Estimators":
        pytest.importorskip("sklearn", reason="scikit-learn is not installed")
    cls = CLASSES[name]
    instance = cls()
    figures = instance.setup_cache()
    params = cls.params if isinstance(cls.params[0], list) else [cls.params]
    for track, values in itertools.product(methods(cls, "track"), itertools.product(*params)):
        assert 0 < getattr(instance, track)(figures, *values) < math.inf, (track, values)


def test_a_slower_fastprop_raises_every_ratio(monkeypatch):
    """Both NumPy and the peak stay as they are."""
    ours = ("one", "all", "forward", "backward")

    def measured(**slower):
        seconds = {name: slower.get(name, 1.0) for name in (*ours, "numpy", "rest")}
        monkeypatch.setattr(ratios, "in_turns", lambda works: {**seconds, "peak": 1e11})
        return ratios.measure(TINY["xs"])

    before = measured()
    raised = {name: {key for key, x in measured(**{name: 2.0}).items() if x > before[key]} for name in ours}
    assert raised["all"] == {"all threads", "all threads over one"}
    assert raised["one"] == {"one thread", "over NumPy"}
    assert (raised["forward"], raised["backward"]) == ({"forward"}, {"backward"})
    assert measured(numpy=2.0)["over NumPy"] == before["over NumPy"] / 2
    assert before["one thread"] == pytest.approx(1e11 / ratios.WORK, rel=0.01)


# ---- allocations -----------------------------------------------------------------------------------------------------


@numba.njit
def _array_in_each_step(steps, given):
    total = given[0]
    for i in range(steps):
        total += np.full(i % 7 + 1, 0.5)[i % 2 - 1]
    return total


def test_an_allocation_in_each_step_is_counted_and_those_of_a_call_are_not():
    count = importlib.import_module("suite.allocations").allocations_per_step
    assert count(lambda steps: _array_in_each_step(steps, np.zeros(1)), 32) == 1


def test_training_allocates_nothing_from_step_to_step_and_keeps_nothing_from_call_to_call():
    allocations = CLASSES["allocations.Allocations"]()
    assert allocations.track_per_step() == 0
    assert allocations.track_kept_per_call() == 0
