"""What the README says can be run, runs."""

import doctest
import re
from pathlib import Path

import numpy as np
import pytest

import fastprop

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def test_the_smallest_example_learns_what_its_comment_says():
    names: dict[str, object] = {}
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    exec(code, names)
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


@pytest.mark.parametrize("path", sorted(set(re.findall(r"`((?:scripts|benchmarks|fastprop)/[\w/]+\.py)", README))))
def test_every_file_that_it_names_exists(path):
    assert (ROOT / path).exists()
