"""The README and the documents that it links to: their commands, examples and links hold."""

import doctest
import re
from pathlib import Path

import numba
import numpy as np
import pytest
from processes import ROOT

import fastprop
from fastprop import reference

README = (ROOT / "README.md").read_text(encoding="utf-8")
DOCUMENTS = (
    "README.md",
    ".github/CONTRIBUTING.md",
    "fastprop/CHANGELOG.md",
    "fastprop/kernels/README.md",
    "scripts/README.md",
    "benchmarks/README.md",
    "scripts/data/README.md",
)


def run_example(heading: str, **names: object) -> dict[str, object]:
    """Run the Python code below a heading; return its names."""
    code = re.search(r"```python\n(.*?)```", README.partition(f"{heading}\n")[2], re.DOTALL)
    assert code is not None
    assert code[1].count("\n") <= 10
    exec(code[1], names)
    return names


def test_a_loss_of_ones_own_finds_mean_and_spread():
    """The noise is four times as large on the right as on the left."""
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, (500, 1))
    y = np.sin(2 * x) + rng.normal(size=x.shape) * np.where(x > 0, 0.4, 0.1)
    names = run_example("## A loss of one's own", np=np, Network=fastprop.Network, Adam=fastprop.Adam, x=x, y=y)
    mean, log_variance = names["net"].predict([[-0.5], [0.5]]).T  # type: ignore[attr-defined]
    np.testing.assert_allclose(mean, np.sin([-1, 1]), atol=0.15)
    np.testing.assert_allclose(np.exp(log_variance / 2), [0.1, 0.4], rtol=0.25)


def test_an_ensemble_learns_the_smallest_example():
    names = run_example("## The smallest example")
    names |= run_example("## Many networks", **names, Ensemble=fastprop.Ensemble)
    predicted = names["ensemble"].predict(names["X"]).round()  # type: ignore[attr-defined]
    np.testing.assert_array_equal(predicted, [[0.0], [1.0], [1.0], [0.0]])


def test_a_network_runs_in_a_compiled_loop():
    """The state of the simulation comes to rest where it is the network's own output."""
    net = fastprop.Network((2, 16, 1), output="sigmoid", rng=0)
    names = run_example("## A network in a compiled loop", np=np, numba=numba, kernels=fastprop.kernels)
    x = np.zeros(2, np.float32)
    names["simulate"](net, x, 10_000)  # type: ignore[operator]
    np.testing.assert_allclose(x, net.predict([x])[0, 0], rtol=1e-4)


def test_the_smallest_example_learns_what_its_comment_says():
    names = run_example("## The smallest example")
    predicted = names["net"].predict(names["X"]).round()  # type: ignore[attr-defined]
    np.testing.assert_array_equal(predicted, [[0.0], [1.0], [1.0], [0.0]])


def test_the_docstring_of_network_shows_the_same():
    names = {"np": np, "Network": fastprop.Network, "Adam": fastprop.Adam}
    (example,) = doctest.DocTestFinder(recurse=False).find(fastprop.Network, globs=names)
    assert doctest.DocTestRunner().run(example) == (0, 4)


def test_the_commands_name_files_that_exist():
    commands = re.findall(r"^    (python3 -m venv .*)$", README, re.MULTILINE)
    assert len(commands) == 2
    assert commands[0].endswith("scripts/train.py")
    assert (ROOT / "scripts" / "train.py").exists()
    assert commands[1].endswith("-m pytest")


def links(text: str) -> list[tuple[str, str]]:
    """Return the label and the target of every link and picture."""
    return re.findall(r"\[([^\]]*)\]\(([^)\s]+)\)", text)


def paths(text: str) -> set[str]:
    """Return the files and folders of the repository that are named in code, from its root."""
    return set(re.findall(r"(?:`|`[^`\n]* )((?:scripts|benchmarks|fastprop|tests)/[\w/.]*\w\.(?:py|md))(?=[` ])", text))


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_link_and_every_file_that_a_document_names_exists(document):
    text = (ROOT / document).read_text(encoding="utf-8")
    folder = (ROOT / document).parent
    targets = [target for _, target in links(text) if not target.startswith(("http", "#"))]
    missing = [target for target in targets if not (folder / target.partition("#")[0]).exists()]
    missing += [path for path in paths(text) if not (ROOT / path).exists()]
    assert not missing
    headings = {
        re.sub(r"[^\w -]", "", line).strip().lower().replace(" ", "-") for line in re.findall(r"^#+ (.*)", text, re.M)
    }
    assert {target[1:] for _, target in links(text) if target.startswith("#")} <= headings


def test_a_link_whose_label_is_a_name_leads_to_the_module_that_defines_it():
    named = [(label.strip("`"), target) for label, target in links(README) if target.endswith(".py")]
    assert len(named) > 20
    for label, target in named:
        name = label.rpartition(".")[2]
        text = (ROOT / target).read_text(encoding="utf-8")
        assert Path(target).stem == name or target.endswith(label) or re.search(rf"\b{name}\b", text), (label, target)


def test_the_equations_are_each_a_kernel_and_a_line_of_the_reference():
    for kernel in ("forward", "dZ", "dW", "db", "dA"):
        assert f"[`{kernel}`](fastprop/kernels/equations.py)" in README
        assert re.search(
            rf"^def {kernel}\(", (ROOT / "fastprop/kernels/equations.py").read_text(encoding="utf-8"), re.M
        )
    for function in ("forward_propagation", "backward"):
        assert f"[`{function}`](fastprop/reference.py)" in README
        assert callable(getattr(reference, function))


def test_every_extra_of_the_readme_exists():
    table = README.partition("| task | call | extra |")[2].partition("\n\n")[0]
    named = {extra for row in table.splitlines() for extra in re.findall(r"`(\w+)`", row.rpartition(" | ")[2])}
    extras = re.search(
        r"\[project\.optional-dependencies\]\n(.*?)\n\n", (ROOT / "pyproject.toml").read_text(), re.DOTALL
    )
    assert named == {"progress", "save", "plot", "torch", "onnx", "sklearn", "mpi"}
    assert named < set(re.findall(r"^(\w+) =", extras[1], re.MULTILINE))


def test_every_benchmark_stands_in_the_table():
    """With its question, how long it takes, and what it needs; what others import stands below."""
    text = (ROOT / "benchmarks/README.md").read_text(encoding="utf-8")
    rows = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in text.splitlines() if line[:3] == "| ["]
    assert all(all(cells) and len(cells) == 4 for cells in rows)
    entries = {target: "".join(cells) for cells in rows for _, target in links(cells[0])}
    listed = {target for _, target in links(text)}
    for path in sorted((ROOT / "benchmarks").glob("*.py")):
        is_script = 'if __name__ == "__main__"' in path.read_text(encoding="utf-8")
        assert path.name in (entries if is_script else listed), path.name


def test_every_script_has_its_entry():
    entries = {target for _, target in links((ROOT / "scripts/README.md").read_text(encoding="utf-8"))}
    assert {path.name for path in (ROOT / "scripts").glob("*.py")} <= entries
