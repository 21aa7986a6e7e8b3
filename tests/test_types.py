"""The types that a user's type checker sees."""

import json
import re
import subprocess
import sys

import pytest
from processes import PACKAGE, environment

pytestmark = pytest.mark.slow
USE = """
from fastprop import SGD, Adam, AdamW, Checkpoint, Network, RMSprop, kernels
net = Network((2, 3, 1))
layer = net.layers[0]
"""
ARRAY, ACTIVATION = "ndarray", "str | Activation"
SEEN = {
    "net.layers": "list[Layer]",
    "net.sizes": "tuple[int, ...]",
    "net.hidden": f"tuple[{ACTIVATION}, ...]",
    "net.output": ACTIVATION,
    "net.loss_name": "str",
    "net.l2": "float",
    "net.missing": "bool",
    "net.dtype": "dtype[Any]",
    "net.n_parameters": "int",
    "net.optimizer": "Optimizer | None",
    "net.parameters": ARRAY,
    "net.predict([[0, 1]])": ARRAY,
    "net.fit([[0, 1]], [1], epochs=1)": "History",
    "net.backward([[1]])": "float",
    "net.dX": ARRAY,
    **{f"layer.{name}": ARRAY for name in ("W", "b", "dW", "db", "Z", "A", "dZ", "dA")},
    "layer.n": "int",
    "layer.activation": "Activation",
    "SGD().momentum": "float",
    "SGD().nesterov": "bool",
    "Adam().beta_1": "float",
    "AdamW().weight_decay": "float",
    "RMSprop().clip_norm": "float | None",
    "Checkpoint('a').every": "int | None",
    "kernels.padded(5)": "int",
    "kernels.loss(net, net.parameters, net.parameters)": "float",
}


def test_what_a_user_reads_has_a_type(tmp_path):
    """By mypy, without a setting of this repository."""
    pytest.importorskip("mypy")
    (tmp_path / "use.py").write_text(USE + "".join(f"reveal_type({expression})\n" for expression in SEEN))
    command = [sys.executable, "-m", "mypy", "--config-file=", "--follow-imports=silent", "--ignore-missing-imports"]
    done = subprocess.run(
        [*command, "--cache-dir", tmp_path / "cache", "use.py"], cwd=tmp_path, capture_output=True, text=True,
        env=environment(MYPYPATH=str(PACKAGE.parent)), check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    found = re.findall(r'Revealed type is "(.*)"', done.stdout)
    shown = [re.sub(r"\b(?:\w+\.)+(?=\w)|\?", "", text) for text in found]
    shown = [re.sub(r"ndarray\[.*\]", "ndarray", text) for text in shown]  # NumPy's versions write it differently
    shown = [re.sub(r"Union\[(.*), (.*)\]", r"\1 | \2", text) for text in shown]
    assert dict(zip(SEEN, shown, strict=True)) == SEEN


def test_nearly_all_of_the_package_is_typed(tmp_path):
    """By pyright. What is left are classes whose bases are those of libraries that have no types.

    To pyright, a type of such a library is known if its module is imported by ``import a.b as b``.
    """
    pytest.importorskip("pyright")
    command = [sys.executable, "-m", "pyright", "--pythonpath", sys.executable, "--verifytypes", "fastprop"]
    done = subprocess.run(
        [*command, "--ignoreexternal", "--outputjson"], cwd=tmp_path, env=environment(), capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    found = json.loads(done.stdout)["typeCompleteness"]
    # An attribute without a type makes its class partly unknown, and all that has the class: only the former are shown.
    missing = [
        f"{symbol['name']}: {each['message']}"
        for symbol in found["symbols"] for each in symbol["diagnostics"] if "partially" not in each["message"]
    ]  # fmt: skip
    assert found["completenessScore"] >= 0.98, "\n".join(missing)
