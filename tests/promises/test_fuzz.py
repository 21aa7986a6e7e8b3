"""Hostile arguments to every public function; see `fuzzing`."""

import os

import pytest


def test_nothing_crashes_and_what_is_refused_changes_nothing(run_python):
    """500 calls; ``FASTPROP_FUZZ=20000`` makes more. A crash ends the process, as does a call that misbehaves."""
    for module in ("safetensors", "sklearn", "onnx"):
        pytest.importorskip(module)
    examples = int(os.environ.get("FASTPROP_FUZZ", "500"))
    said = run_python(f"import fuzzing; fuzzing.main({examples})", timeout=3600)
    refused, accepted = map(int, said.split())
    assert refused + accepted == examples
    assert min(refused, accepted) > examples / 20, "one kind is hardly tried"
