"""benchmarks/many.py prints its tables, here of few and short fits. No speed is asserted."""

import re

import many
import pytest
import reports


@pytest.fixture
def short(monkeypatch, tmp_path):
    """Let all fits be short, and the README be a copy; return its path."""
    few = {"TURNS": 1, "NETWORKS": 3, "ROWS": 64, "EPOCHS": 1, "TINY": 3, "TINY_EPOCHS": 2}
    for name, value in few.items():
        monkeypatch.setattr(many, name, value)
    path = tmp_path / "README.md"
    path.write_text(reports.README.read_text(encoding="utf-8"), encoding="utf-8")
    monkeypatch.setattr(reports, "README", path)
    return path


@pytest.mark.parametrize(("table", "rows"), [("shared", 4), ("tiny", 1)])
def test_every_table_is_printed(table, rows, short, monkeypatch, capsys):
    """With figures above 0; the side of JAX is there if it is installed."""
    monkeypatch.setattr("sys.argv", ["many.py", table])
    reports.print_tables("", many.TABLES)
    title, _, head, _, *lines = capsys.readouterr().out.strip().splitlines()
    assert title == many.TABLES[table].__doc__
    assert len(lines) >= rows
    for line in lines:
        assert line.count("|") == head.count("|")
        assert all(float(figure) > 0 for figure in re.findall(r"\| ([\d.]+)", line)[-1:])


@pytest.mark.slow
def test_the_backends_of_joblib_are_measured(short):
    pytest.importorskip("sklearn", reason="scikit-learn is not installed")
    lines = many.joblib()
    assert [line.split(" | ")[0].strip("| ") for line in lines[2:]] == [
        "sequential", "threading", "loky, its processes running",
    ]  # fmt: skip


@pytest.mark.slow
def test_the_readme_shows_the_table_and_keeps_what_is_outside_of_the_marks(short):
    marked = "<!-- many -->.*<!-- /many -->"
    before = short.read_text(encoding="utf-8")
    lines = many.readme()
    after = short.read_text(encoding="utf-8")
    assert all(line in after for line in lines)
    assert re.sub(marked, "", after, flags=re.DOTALL) == re.sub(marked, "", before, flags=re.DOTALL)
