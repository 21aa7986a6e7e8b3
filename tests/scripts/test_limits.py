"""benchmarks/limits.py prints its tables, here after very short turns. No speed is asserted."""

import math

import limits
import measuring
import pytest
import reports
from cases import Case
from marks import slow_but

TINY = (Case("s", (5, 8, 3), "relu", "identity", 16), Case("digits", (9, 8, 3), "relu", "softmax", 16))


@pytest.fixture
def short(monkeypatch):
    """Small networks, one turn of one call each, no rest."""
    for name, value in {"TURNS": 1, "SECONDS": 1e-4, "REST": 0.0, "WORK": 1e5}.items():
        monkeypatch.setattr(measuring, name, value)
    monkeypatch.setattr(limits, "SHAPES", TINY)
    monkeypatch.setattr(limits, "named", lambda name: TINY[0]._replace(output="sigmoid"))
    for module in (limits, measuring):
        monkeypatch.setattr(module, "rows_of", lambda case, flops: 32)
    monkeypatch.setattr("sys.argv", ["limits.py"])


@pytest.mark.usefixtures("short")
@pytest.mark.parametrize("table", slow_but(["optimizers", "phases", "calls"], limits.TABLES))
def test_every_table_is_printed(table, monkeypatch, capsys):
    """A row for each shape, batch or activation, and figures that are numbers."""
    monkeypatch.setattr("sys.argv", ["limits.py", table])
    reports.print_tables("", limits.TABLES)
    title, _, *lines = capsys.readouterr().out.strip().splitlines()
    assert title == limits.TABLES[table].__doc__
    if table == "widths":
        assert lines[0].startswith("Widths 1…130")
        return
    head, _, *rows = (line.strip("| ").split(" | ") for line in lines)
    assert len(rows) == (3 if table in ("order", "streams") else 2)
    for cells in rows:
        assert len(cells) == len(head)
        assert all(math.isfinite(float(cell.rstrip("%"))) for cell in cells[1:])


@pytest.mark.usefixtures("short")
def test_an_unknown_table_is_named(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["limits.py", "speed"])
    with pytest.raises(SystemExit):
        reports.print_tables("", limits.TABLES)
    assert "there is no table 'speed'; there are optimizers, batches" in capsys.readouterr().err


def test_a_call_costs_little_more_than_its_compiled_part(monkeypatch):
    """train_step on the smallest shape takes about 95 empty compiled calls besides the compiled step."""
    monkeypatch.setattr(measuring, "SECONDS", 0.01)
    for line in limits.calls()[2:]:
        _, train_step, _, compiled, empty = (float(cell) for cell in line.strip("| ").split(" | "))
        assert train_step - compiled < 250 * empty
