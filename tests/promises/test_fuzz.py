"""Hostile arguments to every public function crash nothing and change nothing (see `fuzzing`)."""

import os

import pytest

EXAMPLES = int(os.environ.get("FASTPROP_FUZZ", "250"))


@pytest.mark.slow
def test_nothing_crashes_and_what_is_refused_changes_nothing(run_python):
    """250 calls; FASTPROP_FUZZ=20000 makes 20,000. A crash ends the process, and so does a call that misbehaves."""
    for module in ("safetensors", "sklearn", "onnx"):
        pytest.importorskip(module)
    said = run_python(f"import fuzzing; fuzzing.main({EXAMPLES})", timeout=3600)
    refused, accepted = map(int, said.split())
    assert refused + accepted == EXAMPLES
    assert min(refused, accepted) > EXAMPLES / 20, "one kind is hardly tried"
