"""Training over MPI: what holds on the ranks is in ``on_ranks.py``, which these tests start with mpiexec.

Each run has a time limit: a rank that waits for another for ever is a failure.
"""

import os
import random
import signal
import time
from pathlib import Path

import numpy as np
import pytest
from mpi_jobs import SECONDS, needs_mpi, run_job, started
from processes import TESTS

from fastprop import Network

PROGRAM = TESTS / "on_ranks.py"


def on_ranks(size, names, *arguments):
    """Run functions of `on_ranks.py` to their end."""
    said = run_job(size, PROGRAM, names, size, *arguments)
    assert said.count(" s\n") == len(names.split(",")), said


@needs_mpi
def test_one_rank_has_the_bits_of_no_communicator():
    on_ranks(1, "alone")


@needs_mpi
@pytest.mark.parametrize("size", [2, pytest.param(3, marks=pytest.mark.slow), pytest.param(4, marks=pytest.mark.slow)])
def test_ranks_come_to_the_result_of_one_process(size):
    """For equal and unequal shares, a rank with one row, all kinds of weights, labels, penalties, clipping, dropout."""
    on_ranks(size, "equality,batches,held_out,dropout,parts_of_a_batch,freezing")


@needs_mpi
@pytest.mark.parametrize("size", [3, pytest.param(4, marks=pytest.mark.slow)])
def test_ranks_have_the_same_bits_and_decide_the_same(size):
    """After each step, whatever happens on one of them; and they use no more cores than there are."""
    on_ranks(size, "bits,sums,start,difference,decisions,raises,invalid,threads,interrupts")


@needs_mpi
def test_a_fit_goes_on_from_the_checkpoint_of_rank_0(tmp_path):
    pytest.importorskip("safetensors", reason="files need safetensors (extra save)")
    on_ranks(3, "resumed,other_shares", tmp_path / "net.safetensors")


@needs_mpi
@pytest.mark.slow
def test_a_killed_rank_ends_the_job_and_the_last_checkpoint_loads(tmp_path):
    """The processes of the other ranks end too. FASTPROP_KILLS sets how many."""
    pytest.importorskip("safetensors", reason="files need safetensors (extra save)")
    moments, kills = random.Random(3), int(os.environ.get("FASTPROP_KILLS", "2"))
    for kill in range(kills):
        path = tmp_path / f"{kill}.safetensors"
        pids = Path(f"{path}.pids")
        process = started(2, PROGRAM, "endless", 2, path)
        try:
            deadline = time.monotonic() + SECONDS
            while not path.exists():
                assert process.poll() is None, process.communicate()[0]
                assert time.monotonic() < deadline
                time.sleep(0.01)
            time.sleep(moments.random() * 0.3)
            ranks_of_job = [*map(int, pids.read_text().split())]
            os.kill(moments.choice(ranks_of_job), signal.SIGKILL)
            process.communicate(timeout=60)
        finally:
            process.kill()
        assert process.returncode != 0
        deadline = time.monotonic() + 30
        while any(runs(pid) for pid in ranks_of_job):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        net = Network.load(path)
        assert np.isfinite(net.parameters).all()
        assert net.fit_state.shares == [110, 221]


def runs(pid):
    """Whether a process is there and is no zombie, on Linux; elsewhere, whether it is there."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    stat = Path(f"/proc/{pid}/stat")
    try:
        return stat.read_text().rpartition(")")[2].split()[0] != "Z" if stat.exists() else True
    except OSError:
        return False


# ---- without MPI -------------------------------------------------------------------------------------------------


def test_without_a_communicator_nothing_of_mpi_is_imported(run_python):
    script = """
import sys, numpy as np, fastprop
fastprop.Network((3, 4, 1), rng=0).fit(np.ones((8, 3)), np.ones(8), epochs=1)
print([name for name in sys.modules if "mpi4py" in name])
"""
    assert run_python(script) == "[]\n"


@pytest.mark.parametrize("comm", ["world", 3, object()])
def test_what_is_no_communicator_is_refused(comm):
    """With the remedy, and what to install."""
    net = Network((3, 4, 1), rng=0)
    with pytest.raises(TypeError, match=r"must be a communicator of mpi4py, such as .* pip install mpi4py"):
        net.fit(np.ones((8, 3)), np.ones(8), epochs=1, comm=comm)
