"""benchmarks/machines.py prints its tables, here of tiny networks. No speed is asserted."""

import machines
import measuring
import pytest
import reports
from cases import Case

TINY = (Case("s", (5, 8, 3), "relu", "identity", 16), Case("digits", (9, 8, 3), "relu", "softmax", 16))


@pytest.fixture
def rows_of_table(monkeypatch, capsys):
    """The cells of a table, whose title is its function's docstring."""

    def rows(name):
        monkeypatch.setattr("sys.argv", ["machines.py", name])
        reports.print_tables("", machines.TABLES)
        title, _, head, _, *lines = capsys.readouterr().out.strip().splitlines()
        assert title == machines.TABLES[name].__doc__
        cells = [line.strip("| ").split(" | ") for line in (head, *lines) if line.startswith("|")]
        assert {len(row) for row in cells} == {len(cells[0])}
        return cells[1:]

    return rows


def test_expected_and_measured_speed_on_more_threads(rows_of_table, monkeypatch):
    for module, name, value in (
        (measuring, "TURNS", 1),
        (machines, "SHAPES", TINY),
        (measuring, "WORK", 1e5),
        (measuring, "rows_of", lambda case, flops: 32),
    ):
        monkeypatch.setattr(module, name, value)
    rows = rows_of_table("threads")
    assert [row[0] for row in rows] == ["s", "digits"]
    for row in rows:
        assert row[2] == "1.00 (1.00)"
        assert [float(cell.split()[0]) for cell in row[4:-1]] == [1.0] * 4  # networks so small run on one thread


@pytest.mark.slow
def test_processes_side_by_side(rows_of_table, monkeypatch):
    """Three workloads of real processes, for a moment."""
    monkeypatch.setattr(machines, "ROUNDS", 1)
    monkeypatch.setattr(machines, "CROWD_SECONDS", 0.01)
    monkeypatch.setattr(machines, "CROWD", ("s",))
    (row,) = rows_of_table("crowd")
    assert row[0] == "s"
    assert all(float(cell) > 0 for cell in row[1:])


def test_python_threads_that_ask_one_network(rows_of_table, monkeypatch):
    monkeypatch.setattr(measuring, "TURNS", 1)
    monkeypatch.setattr(measuring, "SECONDS", 1e-3)
    monkeypatch.setattr(machines, "CROWD", ("s",))
    monkeypatch.setattr(machines, "ROWS_OF_CALL", (8,))
    monkeypatch.setattr(machines, "FLOPS_OF_ASKER", 1)
    (row,) = rows_of_table("askers")
    assert row[:2] == ["s", "8"]
    assert float(row[2]) > 0


@pytest.mark.parametrize("processor", machines.PROCESSORS)
def test_processors_leave_features_out(processor):
    """The features are only left out: none is on that this processor does not have."""
    features = machines.environment_of(processor)["NUMBA_CPU_FEATURES"].split(",")
    here = machines.get_host_cpu_features().split(",")
    assert len(features) == len(here)
    assert {feature for feature in features if feature[0] == "+"} < set(here)
    assert not any(feature.startswith("+avx512") for feature in features)
