"""Settings and fixtures of all tests: the same random cases in every run, and the default number of threads."""

import os
import subprocess
import sys

import hypothesis
import pytest
from processes import BENCHMARKS, TESTS, environment

import fastprop
from fastprop.core.engine import shared_plan
from fastprop.kernels import estimate, plan

# OpenMP's threads sleep while they wait: as many workers as cores share the cores, and each may have as many threads.
# Three files of tests of threads: 37 s on two cores, 46 with threads that spin. It is read when OpenMP is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# The same examples in every run, and no deadline: the first example of a test may have to compile.
hypothesis.settings.register_profile("fastprop", deadline=None, derandomize=True, max_examples=80)
hypothesis.settings.load_profile("fastprop")


@pytest.fixture(autouse=True)
def _default_threads():
    """Whatever a test sets, the next one starts with the default number of threads."""
    yield
    fastprop.set_num_threads(None)


@pytest.fixture
def eager_threads(monkeypatch):
    """Share out even the smallest work among threads, so that small networks too run on as many as are set."""
    monkeypatch.setattr(
        estimate, "threads_for", lambda sizes, batch, available, size=4, train=True, frozen=(): available
    )


@pytest.fixture
def plan_constant(monkeypatch):
    """Change a constant of the planner for one test: `plan_constant(name, value)`; plans made before are forgotten."""

    def change(name, value):
        monkeypatch.setattr(plan, name, value)
        shared_plan.cache_clear()

    yield change
    shared_plan.cache_clear()


@pytest.fixture
def run_python():
    """Run a script in an interpreter of its own; its output, after it has ended well.

    `folder` is searched for modules before all others; the tests' helpers can be imported.
    """

    def run(script, *arguments, folder=None, timeout=240, **variables):
        folders = [TESTS, BENCHMARKS] if folder is None else [folder, TESTS, BENCHMARKS]
        variables = {"PYTHONSAFEPATH": "1", **variables}  # not the folder that the tests are run in
        done = subprocess.run(
            [sys.executable, "-c", script, *map(str, arguments)],
            env=environment(*folders, **variables), capture_output=True, text=True, timeout=timeout, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"ended with {done.returncode}:\n{done.stdout}\n{done.stderr}"
        return done.stdout

    return run
