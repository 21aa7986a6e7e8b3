"""
One network, many processes
===========================

`fit(comm=MPI.COMM_WORLD)` trains one network by all processes of an MPI job, on one machine or on many. Each process
passes the rows that it has, and one Allreduce in each step sums the gradients. This needs the extra ``mpi`` and an MPI
library::

    pip install mpi4py mpich

The page shows one process. The same file, started by ``mpiexec``, is trained by as many as are asked for::

    mpiexec -n 2 python many_processes.py
"""

import numpy as np
from mpi4py import MPI
from sklearn.datasets import load_digits

from fastprop import Adam, Network

comm = MPI.COMM_WORLD
rank, size = comm.Get_rank(), comm.Get_size()

# %%
# Every process takes other rows. Here they are picked from an array that all have; where the data are large, each
# process reads its own part only, as ``scripts/distributed.py`` does.

X, y = load_digits(return_X_y=True)
X = X / 16
train, test = np.arange(rank, 1500, size), np.arange(1500 + rank, len(X), size)

# %%
# `batch_size` is that of all processes together: of each batch a process takes the share that its rows have in all.
# The losses, the held-out accuracy and early stopping are of the rows of all. Only the order differs, since each
# process shuffles its own rows.

net = Network((64, 128, 10), hidden="relu", output="softmax", rng=0)
history = net.fit(
    X[train], y[train], epochs=20, batch_size=100, optimizer=Adam(lr=0.002), validation=(X[test], y[test]),
    early_stopping=5, comm=comm, progress=False,
)  # fmt: skip

# %%
# The processes begin with the weights of rank 0, and have the same bits after every step: one of them can save the
# network, or say how it went.

same = all(parameters == net.parameters.tobytes() for parameters in comm.allgather(net.parameters.tobytes()))
assert same
if rank == 0:
    print(f"{size} process(es), {history.epochs} epochs")
    print(f"accuracy on held-out rows: {100 * history.validation_accuracy[-1]:.1f}%")

# %%
# A `Checkpoint` writes on rank 0 alone; other callbacks are called on every rank. An error, Ctrl-C or early stopping
# ends the fit on all of them at the same step. On the cores of one machine, threads do the same without a second
# process: processes are for several machines. The README says how much faster they are.
