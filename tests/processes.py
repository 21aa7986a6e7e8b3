"""Where the repository's folders are, and the environment of a process that a test starts."""

import os
from pathlib import Path

import fastprop

PACKAGE = Path(fastprop.__file__).parent
ROOT = Path(__file__).parents[1]
SCRIPTS, BENCHMARKS, TESTS = ROOT / "scripts", ROOT / "benchmarks", ROOT / "tests"


def environment(*folders, **variables):
    """The variables of a child process, which imports modules from `folders` before all others."""
    paths = [*map(str, folders), str(PACKAGE.parent), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths)), **variables}
