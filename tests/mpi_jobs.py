"""Jobs of several processes, which tests start with mpiexec."""

import shutil
import signal
import subprocess
import sys
import sysconfig
from importlib.util import find_spec

import pytest
from processes import TESTS, environment

SECONDS = 240  # for what takes a few, and the compilation of all kernels on a machine without a cache
MPIEXEC = shutil.which("mpiexec", path=sysconfig.get_path("scripts")) or shutil.which("mpiexec")
# Open MPI runs for root, and with more ranks than cores, only if it is told to.
OPEN_MPI = {
    **{f"{name}_ALLOW_RUN_AS_ROOT{end}": "1" for name in ("OMPI", "PRTE") for end in ("", "_CONFIRM")},
    "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe",
}

needs_mpi = pytest.mark.skipif(
    find_spec("mpi4py") is None or MPIEXEC is None,
    reason="training over MPI needs mpi4py and mpiexec: pip install mpi4py mpich",
)


def started(size, program, *arguments, **variables):
    """Start a program on `size` ranks; an exception on one of them ends the job."""
    command = [MPIEXEC, "-n", size, sys.executable, "-m", "mpi4py", program, *arguments]
    variables = environment(TESTS, **OPEN_MPI, **variables)
    return subprocess.Popen(
        [*map(str, command)], env=variables, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def run_job(size, program, *arguments, fails=False):
    """Run a program on `size` ranks to its end; what they print. If they do not end, the test fails."""
    process = started(size, program, *arguments)
    try:
        said, _ = process.communicate(timeout=SECONDS)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGTERM)
        said, _ = process.communicate(timeout=30)
        pytest.fail(f"{program} on {size} ranks did not end:\n{said}")
    assert (process.returncode != 0) == fails, said
    return said
