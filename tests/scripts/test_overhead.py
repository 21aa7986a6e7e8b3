"""benchmarks/overhead.py prints its tables, here after very short turns. No speed is asserted."""

import math
import re

import limits
import measuring
import overhead
import pytest
import reports
from cases import Case
from marks import slow_but

TINY = (Case("s", (5, 8, 3), "relu", "identity", 16), Case("digits", (9, 8, 3), "relu", "softmax", 16))
# Rows of each table: four fits; two shapes; three solvers and `partial_fit` on each of three sets of data; time
# of a fit and of predictions, and memory; two shapes.
ROWS = {"fits": 4, "dropin": 2, "float64": 2, "estimators": 12, "sparse": 3, "readme": 2}


@pytest.fixture
def short(monkeypatch, tmp_path):
    """Let all turns be short, and the README be a copy; return its path."""
    for name, value in {"EPOCHS": 3, "SPARSE": 2 * ((200, 1000, 5, 2),), "SPARSE_TURNS": 1, "SHAPES": TINY}.items():
        monkeypatch.setattr(overhead, name, value)
    for name, value in {"TURNS": 1, "SECONDS": 1e-4, "REST": 0.0}.items():
        monkeypatch.setattr(measuring, name, value)
    monkeypatch.setattr(limits, "SHAPES", TINY)
    path = tmp_path / "README.md"
    path.write_text(reports.README.read_text(encoding="utf-8"), encoding="utf-8")
    monkeypatch.setattr(reports, "README", path)
    return path


@pytest.mark.parametrize("table", slow_but(["fits"], overhead.TABLES))
def test_every_table_is_printed(table, short, monkeypatch, capsys):
    """With figures that are numbers."""
    if table in ("estimators", "sparse"):
        pytest.importorskip("sklearn", reason="scikit-learn is not installed")
    if table == "sparse":
        pytest.importorskip("resource", reason="the system does not tell the peak of a process")
    monkeypatch.setattr(overhead, "SPARSE", overhead.SPARSE[:1])
    monkeypatch.setattr("sys.argv", ["overhead.py", table])
    reports.print_tables("", overhead.TABLES)
    title, _, *lines = capsys.readouterr().out.strip().splitlines()
    assert title == overhead.TABLES[table].__doc__
    head, _, *rows = (line.strip("| ").split(" | ") for line in lines)
    assert len(rows) == ROWS[table]
    for cells in rows:
        assert len(cells) == len(head)
        figures = [cell.rstrip(" ×") for cell in cells[1:] if cell[0].isdigit()]
        assert len(figures) >= 2
        assert all(math.isfinite(float(figure)) for figure in figures)


@pytest.mark.slow
def test_the_readme_shows_the_dropin_and_keeps_what_is_outside_of_the_marks(short):
    marked = "<!-- dropin -->.*<!-- /dropin -->"
    before = short.read_text(encoding="utf-8")
    lines = overhead.readme()
    after = short.read_text(encoding="utf-8")
    assert all(line in after for line in lines)
    assert re.sub(marked, "", after, flags=re.DOTALL) == re.sub(marked, "", before, flags=re.DOTALL)
