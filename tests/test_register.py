"""Everything that is registered in the package is in the tables of the tests and of the docstrings."""

import inspect
import re

import optimizers
import pytest
import test_initializers
import test_optimizers
import test_schedules

import fastprop
from fastprop import Optimizer, activations, losses, reference, schedules
from fastprop.activations import ACTIVATIONS
from fastprop.initializers import INITIALIZERS
from fastprop.losses import LOSSES
from fastprop.optimizers import OPTIMIZERS

each_optimizer = pytest.mark.parametrize("name", OPTIMIZERS)
each_activation = pytest.mark.parametrize("name", ACTIVATIONS)
each_loss = pytest.mark.parametrize("name", LOSSES)
ALL_SCHEDULES = {*schedules.SCHEDULES, "ReduceOnPlateau"}


def test_every_optimizer_is_registered_and_public():
    defined = {
        name: kind
        for name, kind in inspect.getmembers(fastprop.optimizers, inspect.isclass)
        if issubclass(kind, Optimizer) and kind is not Optimizer and not name.startswith("_")
    }
    assert defined == OPTIMIZERS
    assert set(OPTIMIZERS) <= set(fastprop.__all__)


@each_optimizer
def test_every_optimizer_is_in_the_table_of_the_suites(name):
    """The table feeds the tests of trajectories, bits, resuming, diagnosis, fences, memory and hostile arguments."""
    variants = [variant for variant in optimizers.OPTIMIZERS.values() if variant.kind is OPTIMIZERS[name]]
    assert variants, f"{name} is missing from OPTIMIZERS of tests/optimizers.py"


@each_optimizer
def test_every_setting_of_an_optimizer_is_varied(name):
    """Some variant sets each setting to another value than its default; some have a clip_norm, some a schedule."""
    defaults = {key: value.default for key, value in inspect.signature(OPTIMIZERS[name]).parameters.items()}
    varied = {
        key
        for variant in optimizers.OPTIMIZERS.values()
        if issubclass(OPTIMIZERS[name], variant.kind)
        for key, value in variant.settings.items()
        if value != defaults.get(key)
    }
    assert set(defaults) - varied <= {"lr", "clip_norm"}
    every = optimizers.OPTIMIZERS.values()
    assert any("clip_norm" in variant.settings for variant in every)
    assert any(callable(variant.settings["lr"]) for variant in every)


@each_optimizer
def test_every_optimizer_is_compared_with_that_of_pytorch(name):
    assert OPTIMIZERS[name] in {kind for kind, _ in test_optimizers.AS_IN_PYTORCH.values()}


def test_every_schedule_is_in_the_tables_of_schedules():
    """`SCHEDULES` feeds the tests of files, of settings in float32 and of hostile arguments."""
    assert set(optimizers.SCHEDULES) == ALL_SCHEDULES
    rated = {name.split(",")[0] for name in test_schedules.RATES}
    assert rated == set(schedules.SCHEDULES)  # ReduceOnPlateau, which depends on the loss, has tests of its own


@each_activation
def test_every_activation_has_an_initializer_and_a_reference(name):
    assert ACTIVATIONS[name].init in INITIALIZERS
    assert callable(reference.OUTPUT[name])
    assert reference.OUTPUT[name].__name__ == name
    assert (name in reference.HIDDEN) == (name in activations.HIDDEN)


@each_activation
def test_every_activation_has_its_forms_in_onnx_and_pytorch(name):
    assert ACTIVATIONS[name].onnx is not None
    assert (ACTIVATIONS[name].torch is not None) == (name != "identity")


@each_loss
def test_every_loss_has_a_range_of_targets_and_a_reference(name):
    low, high = LOSSES[name].targets
    assert low < high
    assert reference.LOSSES[name].__name__ == name


def test_the_reference_has_nothing_else():
    assert set(reference.OUTPUT) == set(ACTIVATIONS)
    assert set(reference.LOSSES) == set(LOSSES)


def test_every_initializer_has_its_variance():
    assert set(test_initializers.VARIANCE) == set(INITIALIZERS)


@pytest.mark.parametrize(("module", "register"), [(activations, ACTIVATIONS), (losses, LOSSES)])
def test_the_docstrings_table_names_all(module, register):
    """The first column of the table, in the order of the register."""
    assert re.findall(r"^``(\w+)``", module.__doc__, re.MULTILINE) == list(register)
