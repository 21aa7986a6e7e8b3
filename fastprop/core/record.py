"""Record: what compiled code of the user's knows of a network (:mod:`fastprop.kernels.networks`)."""

import os
from typing import Any
from weakref import WeakSet

import numba
import numpy as np

from ..kernels import networks
from ..kernels.networks import FLAG, MISSING, MOST_ROWS, NETWORK_FIELDS, NO_OPTIMIZER, READY, SCHEDULE
from ..kernels.plan import JOB_FIELDS, MOST_PARTS, allocate, most_panels
from ..kernels.scan import address_of
from ..kernels.simd import LANES
from ..kernels.steps import inputs_of_chunk, part_of_step, sum_of_parts
from ..optimizers import Optimizer
from .engines import PREDICT_BATCH, Engines


class Record:
    """The record of a network, with engines of its own, which no call from Python uses.

    Predictions and losses may come from as many threads at once as Numba has: each of them takes a pair of engines, for
    one row and for several. Training steps take turns. All memory is allocated here, for the largest call; the system
    provides those of its pages that are used.

    Parameters
    ----------
    network : Model
        Whose address the record holds.
    engines : Engines
        Those that make engines for one thread.
    penalized : ndarray of int64
        Where `backward` writes that it has not added the penalty to the gradients.

    Attributes
    ----------
    address : int
    """

    def __init__(self, network: Any, engines: Engines, penalized: np.ndarray):
        net, slots = engines.architecture, numba.config.NUMBA_NUM_THREADS
        self._missing = net.missing
        self._evaluating = [engines.make(batch, train=False) for _ in range(slots) for batch in (1, PREDICT_BATCH)]
        self._of_rows = engines.make(most_panels(net.sizes, net.dtype) * LANES)
        self._of_row = None if net.dropout else engines.make(1)
        self._training = [engine for engine in (self._of_rows, self._of_row) if engine]
        self._jobs = np.array([engine.address for engine in self._evaluating])
        self._flags = allocate(FLAG * (slots + 1), np.int64)  # the last one is that of training
        self._parts = self._reserve()
        self._record = allocate(len(NETWORK_FIELDS) + 1, np.int64)  # one more, as in a job's record
        self.address: int = address_of(self._record)
        self._penalized = penalized  # referenced here, because the record holds its address
        self._write(network, engines, slots)
        _records.add(self)

    def _reserve(self) -> np.ndarray:
        """Let steps have up to MOST_ROWS rows, and compute dX; return the memory for parts."""
        plan = self._of_rows.plan
        length = plan.layout.length if plan.layout.length <= plan.length else 0  # else there are never any
        self._panel_costs = allocate(MOST_ROWS // LANES, np.float64)
        self._of_rows.job[JOB_FIELDS["panel_costs"]] = address_of(self._panel_costs)
        for engine in self._training:
            engine.job[JOB_FIELDS["unchecked"]] = True
            engine.reserve_dX()
        return allocate(MOST_PARTS * length, plan.dtype)

    def _write(self, network: Any, engines: Engines, slots: int) -> None:
        """Fill in the record."""
        net, plan, of_rows = engines.architecture, self._of_rows.plan, self._of_rows.job
        routines = {
            "evaluate": networks.evaluate, "train": networks.train, "back": networks.back,
            "part_of_step": part_of_step, "sum_of_parts": sum_of_parts, "inputs": inputs_of_chunk,
        }  # fmt: skip
        fields = {
            "object": id(network),
            "n_0": net.sizes[0],
            "n_L": net.sizes[-1],
            "takes_labels": net.targets.distributions,
            "slots": slots,
            "taken": address_of(self._flags),
            "jobs": address_of(self._jobs),
            "training": address_of(self._flags[FLAG * slots :]),
            "job_of_row": self._of_row.address if self._of_row else 0,
            "job_of_rows": self._of_rows.address,
            "most_panels": plan.chunk_panels,
            "length": plan.length // plan.chunk_panels,
            "panels_of_chunk": of_rows[JOB_FIELDS["phase_one"]],
            "columns_of_chunk": of_rows[JOB_FIELDS["phase_two"]],
            "parts": address_of(self._parts),
            "loss": of_rows[JOB_FIELDS["loss"]],
            "inner_product": engines.inner_product,
            "penalized": address_of(self._penalized),
            **{name: routine.address(net.dtype) for name, routine in routines.items()},
        }
        for name, value in fields.items():
            self._record[NETWORK_FIELDS[name]] = value

    def train_with(self, optimizer: Optimizer | None, moments: np.ndarray | None) -> None:
        """Let the next steps be made by an optimizer, or by none."""
        ready = READY
        if self._missing:
            ready = MISSING
        elif optimizer is None or moments is None:
            ready = NO_OPTIMIZER
        elif optimizer.scheduled:
            ready = SCHEDULE
        else:
            for engine in self._training:
                engine.use(optimizer, moments)
        self._record[NETWORK_FIELDS["ready"]] = ready

    def free(self) -> None:
        """Let no jobs be taken: in a forked child, which does not have the threads that had taken them."""
        self._flags[:] = 0


_records: WeakSet[Record] = WeakSet()


def _after_fork() -> None:
    for record in _records:
        record.free()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
