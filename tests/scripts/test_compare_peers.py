"""benchmarks/compare_peers.py: all peers learn the same, and its tables are right. No speed is asserted."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import compare_peers
import numpy as np
import peers
import pytest
import reports
from marks import slow_but
from processes import BENCHMARKS, environment

SLOW = "PyTorch compiled"  # seconds for each case: one will do


def command(*arguments: object, folder: Path | None = None) -> subprocess.CompletedProcess:
    """Run the script; `folder` is searched for modules before all others."""
    folders = [] if folder is None else [folder]
    return subprocess.run(
        [sys.executable, BENCHMARKS / "compare_peers.py", *map(str, arguments)],
        capture_output=True, text=True, timeout=120, check=False, env=environment(*folders),
    )  # fmt: skip


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


# ---- the same thing is learnt ----------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("default")  # what other libraries warn of themselves is theirs
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("case", slow_but(["xs", "s"], ["xs", "s", "digits", "simplechains", "higgs"]))
@pytest.mark.parametrize("name", peers.PEERS)
def test_every_peer_learns_what_the_reference_learns(name, case, optimizer):
    module, make = peers.PEERS[name]
    if importlib.util.find_spec(module) is None:
        pytest.skip(f"{module} is not installed")
    if name == SLOW and (case, optimizer) not in (("s", "sgd"), ("digits", "adam")):
        pytest.skip("it compiles for seconds; s with sgd and digits with adam are enough")
    cost = peers.cost_after_an_epoch(make, peers.CASES[case], optimizer, 1)
    compare_peers.check(name, peers.CASES[case], optimizer, cost)


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_a_peer_that_learns_something_else_is_named_with_both_costs(monkeypatch, optimizer):
    case = peers.CASES["digits"]
    expected = compare_peers.expected_costs(case, optimizer)
    monkeypatch.setattr(peers, "LR", 1.01 * peers.LR)
    cost = peers.cost_after_an_epoch(peers.fastprop_fit, case, optimizer, 1)
    with pytest.raises(SystemExit) as ended:
        compare_peers.check("fastprop", case, optimizer, cost)
    message = str(ended.value)
    assert all(part in message for part in ("fastprop", "digits", optimizer, f"{cost:.9g}", f"{expected[1]:.9g}"))


def test_a_cost_that_is_not_a_number_is_found():
    with pytest.raises(SystemExit, match="NumPy learns something else"):
        compare_peers.check("NumPy", peers.CASES["xs"], "sgd", np.nan)


def test_simplechains_targets_are_matrix_exponentials():
    X, Y = peers.data(peers.SIMPLECHAINS, 5)
    for x, y in zip(X.reshape(5, 2, 2).astype(float), Y.reshape(5, 2, 2)):
        squared = np.eye(2) + x / 2**20
        for _ in range(20):
            squared = squared @ squared
        np.testing.assert_allclose(y, squared, rtol=1e-3, atol=1e-4)


# ---- tables, JSON and chart ------------------------------------------------------------------------------------------


def canned() -> dict:
    """Two peers, two shapes, one and two threads, two rounds; NumPy fails on s."""
    runs = []
    for case, optimizer in (("xs", "sgd"), ("s", "sgd"), ("simplechains", "adam"), ("higgs", "sgd")):
        for threads in (1, 2):
            for round_ in range(2):
                where = {"case": case, "optimizer": optimizer, "threads": threads}
                found = {"first_call_seconds": 0.5 + round_, "cost": 1.0, "version": "1.2"}
                speeds = [4e6 * threads * (1 + 0.1 * round_)] * 3
                runs.append({"peer": "fastprop", **where, "samples_per_second": speeds, "peak_flops": [1e11], **found})
                slow = {"failed": "MemoryError"} if case == "s" else {"samples_per_second": [1e6], **found}
                runs.append({"peer": "NumPy", **where, "peak_flops": [], **slow})
    machine = {"date": "2026-01-01", "machine": "znver4", "versions": {"Python": "3.11"}, "command": "python x"}
    return {**machine, "runs": runs}


def test_the_table_has_medians_spreads_shares_and_the_best_peer():
    results = compare_peers.Results(canned())
    lines = compare_peers.speed_table(results, results.shapes("sgd"))
    assert len(lines) == 2 + 4
    assert {line.count("|") for line in lines} == {7}
    flops = 6 * (8 * 32 + 32 * 32 + 32) - 2 * 8 * 32
    share = f"{4.2e6 * flops / 1e11:.0%}"
    assert cells(lines[2]) == ["xs 8-32-32-1 sigmoid, B=32", "1", "**4,200 (4,000–4,400)**", share, "1,000",
                               "4.20 × NumPy"]  # fmt: skip
    assert cells(lines[3])[1:4] == ["2", "**8,400 (8,000–8,800)**", share]
    assert cells(lines[4])[4:] == ["–", "–"]


def test_the_report_has_first_calls_and_the_published_cases_beside_what_was_published():
    text = compare_peers.report(compare_peers.Results(canned()))
    assert "| xs | 1 | 1.00 (0.500–1.50) | 1.00 (0.500–1.50) |" in text
    assert "| 1 | 2,381 (1.00 ×) | 10,000 (4.20 ×) |" in text
    assert "AMD EPYC 7513: SimpleChains 72 µs, PyTorch 7,000 µs (close to 100 ×)" in text
    assert "| 1 | 23.8 (1.00 ×) | 100 (4.20 ×) |\n| 2 |" in text
    assert "OpenNN published, which is not measured here: 1.55 times PyTorch's speed" in text
    assert "fastprop 1.2, NumPy 1.2, Python 3.11; `python x`" in text


def test_the_readme_keeps_what_is_outside_of_the_marks(monkeypatch, tmp_path):
    path = tmp_path / "README.md"
    path.write_text(f"before\n{compare_peers.START}\nold\n{compare_peers.END}\nafter\n")
    monkeypatch.setattr(reports, "README", path)
    for _ in range(2):
        compare_peers.into_readme(compare_peers.Results(canned()))
        text = path.read_text()
        assert text.startswith(f"before\n{compare_peers.START}\nThousands of samples/s")
        assert text.endswith(f"</details>\n{compare_peers.END}\nafter\n")
        assert "old" not in text


def test_the_readme_shows_the_most_threads_and_folds_the_other_rows(monkeypatch, tmp_path):
    """Every row of the report is there, once."""
    path = tmp_path / "README.md"
    path.write_text(f"{compare_peers.START}{compare_peers.END}")
    monkeypatch.setattr(reports, "README", path)
    results = compare_peers.Results(canned())
    compare_peers.into_readme(results)
    shown, folded = path.read_text().split("<details>\n")
    assert "znver4, 2026-01-01." in shown
    first_cells = [[cells(line)[:2] for line in part.splitlines() if line.startswith("| ")] for part in (shown, folded)]
    xs, s = (reports.label(peers.CASES[name]) for name in ("xs", "s"))
    simplechains = [["threads", "fastprop"], ["1", "2,381 (1.00 ×)"], ["2", "1,190 (1.00 ×)"]]
    higgs = [["threads", "fastprop"], ["1", "23.8 (1.00 ×)"], ["2", "11.9 (1.00 ×)"]]
    assert first_cells == [
        [["shape", "threads"], [xs, "2"]],
        [["shape", "threads"], [xs, "1"], [s, "1"], [s, "2"], *simplechains, *higgs],
    ]
    rows = set(compare_peers.speed_table(results, results.shapes("sgd")))
    assert rows <= set(path.read_text().splitlines())
    assert reports.about(results.content) in folded


def test_the_tables_of_the_readme_are_those_of_the_figures_beside_the_script(monkeypatch, tmp_path):
    """Nothing between the marks was written by hand."""
    path, readme = tmp_path / "README.md", reports.README.read_text(encoding="utf-8")
    path.write_text(readme, encoding="utf-8")
    monkeypatch.setattr(reports, "README", path)
    figures = json.loads((BENCHMARKS / "peers.json").read_text())
    compare_peers.into_readme(compare_peers.Results(figures))
    assert path.read_text(encoding="utf-8") == readme


@pytest.mark.slow
def test_from_json_draws_again_and_measures_nothing(tmp_path):
    pytest.importorskip("matplotlib")
    (tmp_path / "old.json").write_text(json.dumps(canned()))
    done = command("--from-json", tmp_path / "old.json", "--out", tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert done.stdout == compare_peers.report(compare_peers.Results(canned()))
    assert json.loads((tmp_path / "peers.json").read_text()) == canned()
    assert (tmp_path / "peers.svg").read_text().startswith("<?xml")


def test_without_matplotlib_the_extra_is_named(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(SystemExit, match=r"pip install matplotlib .*fastprop-cpu\[plot\]"):
        compare_peers.chart(compare_peers.Results(canned()), tmp_path / "peers.svg")


# ---- the command -----------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_command_measures_and_a_peer_that_fails_leaves_the_others(tmp_path):
    """scikit-learn is hidden by a package that does not import."""
    pytest.importorskip("matplotlib")
    (tmp_path / "sklearn").mkdir()
    (tmp_path / "sklearn" / "__init__.py").write_text("raise ImportError('no BLAS')")
    out = tmp_path / "out"
    arguments = ("--shapes", "xs", "--rounds", 1, "--threads", 1, "--out", out)
    done = command("--peers", "fastprop,NumPy,scikit-learn", *arguments, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert len(done.stderr.splitlines()) == 3
    line = cells(next(line for line in done.stdout.splitlines() if line.startswith("| xs 8-32-32-1")))
    assert line[1] == "1"
    assert line[3].endswith("%")
    assert line[5] == "–"
    assert line[6].endswith("× NumPy")
    runs = {run["peer"]: run for run in json.loads((out / "peers.json").read_text())["runs"]}
    assert runs["scikit-learn"]["failed"] == "ImportError: no BLAS"
    for peer in ("fastprop", "NumPy"):
        assert len(runs[peer]["samples_per_second"]) == peers.REPETITIONS
        assert min(runs[peer]["samples_per_second"]) > 0 < runs[peer]["first_call_seconds"]
    assert (out / "peers.svg").exists()


def test_what_was_measured_is_kept_where_a_run_ends_early(monkeypatch, tmp_path):
    answers = iter([{"failed": "MemoryError"}])

    def run(*arguments):
        for answer in answers:
            return answer
        raise KeyboardInterrupt

    monkeypatch.setattr(compare_peers, "run", run)
    monkeypatch.setattr(sys, "argv", ["compare_peers.py", "--shapes", "xs", "--threads", "1", "--out", str(tmp_path)])
    with pytest.raises(KeyboardInterrupt):
        compare_peers.main()
    assert [run["failed"] for run in json.loads((tmp_path / "peers.json").read_text())["runs"]] == ["MemoryError"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "known"),
    [(("--shapes", "xs,huge"), "xs, s, digits"), (("--peers", "Caffe"), "fastprop, NumPy"), (("--threads", "0"), "1")],
)
def test_an_unknown_name_ends_with_one_line_that_lists_the_known(arguments, known, tmp_path):
    done = command(*arguments, "--out", tmp_path)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert repr(arguments[1].split(",")[-1]) in done.stderr
    assert known in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize(("option", "value"), [("--rounds", "0"), ("--from-json", "no-such.json")])
def test_a_value_that_cannot_be_is_named_in_one_line(option, value, tmp_path):
    done = command(option, value, "--out", tmp_path)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert value in done.stderr
    assert list(tmp_path.iterdir()) == []
