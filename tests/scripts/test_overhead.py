"""benchmarks/overhead.py prints its tables, here after very short turns. No speed is asserted."""

import math

import limits
import overhead
import pytest
import ratios
from cases import Case
from marks import slow_but

TINY = (Case("s", (5, 8, 3), "relu", "identity", 16), Case("digits", (9, 8, 3), "relu", "softmax", 16))
# Rows of each table: four fits; two shapes; three solvers and `partial_fit` on each of three sets of data; time
# of a fit and of predictions, and memory.
ROWS = {"fits": 4, "dropin": 2, "float64": 2, "estimators": 12, "sparse": 3}


@pytest.mark.parametrize("table", slow_but(["fits"], overhead.TABLES))
def test_every_table_is_printed(table, monkeypatch, capsys):
    """With figures that are numbers."""
    if table in ("estimators", "sparse"):
        pytest.importorskip("sklearn", reason="scikit-learn is not installed")
    monkeypatch.setattr(ratios, "TURNS", 1)
    for name, value in {"EPOCHS": 3, "SPARSE": ((200, 1000, 5, 2),), "SPARSE_TURNS": 1}.items():
        monkeypatch.setattr(overhead, name, value)
    for name, value in {"SECONDS": 1e-4, "REST": 0.0, "SHAPES": TINY}.items():
        monkeypatch.setattr(limits, name, value)
    monkeypatch.setattr("sys.argv", ["overhead.py", table])
    limits.print_tables("", overhead.TABLES)
    title, _, *lines = capsys.readouterr().out.strip().splitlines()
    assert title == overhead.TABLES[table].__doc__
    head, _, *rows = (line.strip("| ").split(" | ") for line in lines)
    assert len(rows) == ROWS[table]
    for cells in rows:
        assert len(cells) == len(head)
        figures = [cell.rstrip(" ×") for cell in cells[1:] if cell[0].isdigit()]
        assert len(figures) >= 3
        assert all(math.isfinite(float(figure)) for figure in figures)
