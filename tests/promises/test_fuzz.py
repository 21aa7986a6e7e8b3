"""Hostile arguments to every public function crash nothing and change nothing (see `fuzzing`)."""

import os

import pytest
from marks import slow_but


@pytest.mark.parametrize("examples", slow_but([50], [50, int(os.environ.get("FASTPROP_FUZZ", "250"))]))
def test_nothing_crashes_and_what_is_refused_changes_nothing(run_python, examples):
    """250 calls; FASTPROP_FUZZ=20000 makes 20,000. A crash ends the process, and so does a call that misbehaves."""
    for module in ("safetensors", "sklearn", "onnx"):
        pytest.importorskip(module)
    said = run_python(f"import fuzzing; fuzzing.main({examples})", timeout=3600)
    refused, accepted = map(int, said.split())
    assert refused + accepted == examples
    assert min(refused, accepted) > examples / 20, "one kind is hardly tried"
