"""The schema of files is written out: what is added to the classes that a file describes does not change it."""

from dataclasses import dataclass, field

import numpy as np
import pytest

from fastprop import Adam, History, Network, schedules
from fastprop.training import files
from fastprop.training.history import FitState

pytest.importorskip("safetensors", reason="files of networks need the extra save")


@dataclass
class LongerHistory(History):
    """A History of a later version, with another list and another value."""

    learning_rate: list[float] = field(default_factory=list)
    host: str = "unknown"


@dataclass
class LongerFitState(FitState):
    """A FitState of a later version."""

    retries: int = 3


def trained():
    rng = np.random.default_rng(0)
    net = Network((5, 17, 2), rng=0)
    X, Y = rng.random((60, 5)), rng.random((60, 2))
    net.fit(X, Y, epochs=3, batch_size=16, optimizer=Adam(schedules.cosine(0.01, 20)), validation=0.2, early_stopping=5)
    return net


def test_a_new_field_of_history_or_fit_state_breaks_no_file(tmp_path, monkeypatch):
    """A file of today loads with the classes of tomorrow, and what they write is the same file."""
    net = trained()
    net.save(tmp_path / "before.safetensors")
    monkeypatch.setattr(files, "History", LongerHistory)
    monkeypatch.setattr(files, "FitState", LongerFitState)
    again = Network.load(tmp_path / "before.safetensors")
    assert again.fit_state.history.host == "unknown"
    assert again.fit_state.retries == 3
    assert again.fit_state.history.loss == net.fit_state.history.loss
    again.save(tmp_path / "after.safetensors")
    assert contents(tmp_path / "after.safetensors") == contents(tmp_path / "before.safetensors")


def contents(path):
    from safetensors import safe_open

    with safe_open(path, "numpy") as file:
        return {name: file.get_tensor(name).tobytes() for name in file.keys()}, file.metadata()  # noqa: SIM118


def test_every_field_of_today_is_in_the_schema():
    """What a class has now is stored, or it would be lost by saving and loading."""
    of_others = {"metrics", "loss_name"}  # written by themselves, and the network's
    assert {*files.HISTORY_LISTS, *files.HISTORY_VALUES, *of_others} == set(vars(History()))
    stored_apart = {"history", "best", "last"}
    assert {*files.FIT_FIELDS, *stored_apart} == set(FitState.__dataclass_fields__)
