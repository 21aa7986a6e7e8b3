"""Record: what compiled code of the user's knows of a network (:mod:`fastprop.kernels.networks`)."""

import os
from typing import Any
from weakref import WeakSet

import numba
import numpy as np

from ..kernels import networks
from ..kernels.networks import ALL_FROZEN, FLAG, MISSING, MOST_ROWS, NETWORK_FIELDS, NO_OPTIMIZER, READY, SCHEDULE
from ..kernels.plan import JOB_FIELDS, MOST_PARTS, allocate, most_panels
from ..kernels.scan import address_of
from ..kernels.simd import LANES
from ..kernels.steps import inputs_of_chunk, part_of_step, sum_of_parts
from ..optimizers import Optimizer
from .architecture import Architecture
from .engine import Engine
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
        self._engines = engines
        self._evaluating = [engines.make(batch, train=False) for _ in range(slots) for batch in (1, PREDICT_BATCH)]
        self._most_rows = most_panels(net.sizes, net.dtype) * LANES
        self._panel_costs = allocate(MOST_ROWS // LANES, np.float64)
        self._of_rows, self._of_row = self._pair()
        # Those that make steps, by the frozen layers. They are kept, since another thread may be in the middle of one.
        none_frozen: tuple[int, ...] = ()
        self._training = {none_frozen: (self._of_rows, self._of_row)}
        self._jobs = np.array([engine.address for engine in self._evaluating])
        self._flags = allocate(FLAG * (slots + 1), np.int64)  # the last one is that of training
        self._parts = self._reserve()
        self._record = allocate(len(NETWORK_FIELDS) + 1, np.int64)  # one more, as in a job's record
        self.address: int = address_of(self._record)
        self._penalized = penalized  # referenced here, because the record holds its address
        self._write(network, engines, slots)
        _records.add(self)

    def _pair(self, frozen: tuple[int, ...] = ()) -> tuple[Engine, Engine | None]:
        """Make the engines for steps of up to MOST_ROWS rows, and of one row if it is not trained as several are."""
        of_rows = self._engines.make(self._most_rows, frozen=frozen)
        of_row = None if self._engines.architecture.dropout else self._engines.make(1, frozen=frozen)
        of_rows.job[JOB_FIELDS["panel_costs"]] = address_of(self._panel_costs)
        for engine in filter(None, (of_rows, of_row)):
            engine.job[JOB_FIELDS["unchecked"]] = True
        return of_rows, of_row

    def _reserve(self) -> np.ndarray:
        """Let a pass back compute dX; return the memory for parts."""
        for engine in filter(None, (self._of_rows, self._of_row)):
            engine.reserve_dX()
        plan = self._of_rows.plan
        length = plan.layout.length if plan.layout.length <= plan.length else 0  # else there are never any
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
            "back_of_row": self._of_row.address if self._of_row else 0,
            "back_of_rows": self._of_rows.address,
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

    def train_with(self, net: Architecture, optimizer: Optimizer | None, moments: np.ndarray | None) -> None:
        """Let the next steps be made by an optimizer, or by none, on the layers that are not frozen now."""
        ready = READY
        if net.missing:
            ready = MISSING
        elif net.all_frozen:
            ready = ALL_FROZEN
        elif optimizer is None or moments is None:
            ready = NO_OPTIMIZER
        elif optimizer.scheduled:
            ready = SCHEDULE
        else:
            if net.frozen not in self._training:
                self._training.setdefault(net.frozen, self._pair(net.frozen))  # unless another thread was first
            of_rows, of_row = self._training[net.frozen]
            for engine in filter(None, (of_rows, of_row)):
                engine.use(optimizer, moments)
            self._record[NETWORK_FIELDS["job_of_rows"]] = of_rows.address
            self._record[NETWORK_FIELDS["job_of_row"]] = of_row.address if of_row else 0
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
