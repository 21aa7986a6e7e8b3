"""A plan with its workspace and its job record: what stands between the arrays of Python and the worker."""

import os
import threading
from collections import defaultdict
from time import perf_counter
from typing import Any
from weakref import WeakSet

import numpy as np

from . import threads as pool
from .kernels import estimate
from .kernels.passes import gather_floats, gather_uint8
from .kernels.plan import (
    BACKWARD,
    COST_BEFORE,
    COST_SCALE,
    FORWARD,
    GRADIENTS,
    JOB,
    L2,
    LOSS,
    MAX_NORM,
    N_HYPER,
    N_TICKETS,
    N_TOTALS,
    OUTPUT,
    SCALE,
    SHUFFLE,
    STEP,
    TRANSPOSE,
    UPDATE,
    UPDATES,
    WEIGHT_BEFORE,
    LayerKind,
    Plan,
    allocate,
    late_length,
    panel_stride,
    panels_of,
)  # fmt: skip
from .kernels.scan import address_of
from .kernels.simd import LANES
from .kernels.steps import late_update, phases, squares_of_blocks
from .kernels.tiles import compile_tiles
from .optimizers import Optimizer


class Engine:
    """One workspace and the work that is done in it, one call at a time.

    Parameters
    ----------
    plan : Plan
    parameters, gradients : ndarray
        The network's flat buffers.
    loss : int
        Address of the loss routine.
    l2 : float
        Factor of the penalty ½ Σ W².
    scale : float
        What X is multiplied by as it is read.
    dropout : (float, int)
        The probability that a hidden unit is dropped in a step, and the seed of the draws.
    checked : bool
        Whether X is known to be finite; if not, it is looked at with the cost.

    Attributes
    ----------
    rows : int
        Whose activations the workspace holds, for :meth:`backward`; 0 for none.
    has_gradients : bool
        Whether it holds their dZ and dA too.
    nbytes : int
        Of the workspace.
    choice : Choice
        Of a fit's threads; fits of a tenth of a second learn from those before.
    """

    def __init__(self, plan: Plan, parameters: np.ndarray, gradients: np.ndarray, loss: int, l2: float = 0.0,
                 scale: float = 1.0, dropout: tuple[float, int] = (0.0, 0), checked: bool = True):  # fmt: skip
        self.plan = plan
        self.available = pool.get_num_threads()  # when the work was shared out; 0: not to be used again
        self.rows, self.has_gradients, self._l2 = 0, False, l2
        self._lock = threading.Lock()
        self.work = allocate(plan.length * (plan.threads if plan.parts else 1))
        self._parts = allocate(plan.parts * plan.layout.length)
        self._panel_costs = allocate(-(-plan.batch // LANES) + plan.chunk_panels, np.float64)
        self._totals = allocate(N_TOTALS, np.float64)
        self._tickets = allocate(N_TICKETS, np.int64)
        self._hyper = allocate(N_HYPER)
        self._rate = allocate(1, np.float64)
        self._rates: np.ndarray | None = None
        self._trains_with: np.ndarray | None = None
        self.nbytes = self.work.nbytes + self._parts.nbytes
        self.choice = pool.Choice()
        self._choices: defaultdict[tuple[int, int], pool.Choice] = defaultdict(pool.Choice)
        self._held = (parameters, gradients)  # the job holds their addresses
        self._record = np.zeros(1, JOB)
        self.job = self._record[0]
        self._where = self._record.ctypes.data
        one, two = phases(plan)
        compile_tiles(plan.sizes, plan.vectors)
        self._set(
            layers=plan.layers, n_layers=len(plan.layers), vectors=plan.vectors,
            parameters=parameters, gradients=gradients, work=self.work,
            phase_one=one.address, phase_two=two.address,
            Y_panels=plan.Y_panels, weight_panels=plan.weight_panels, Z_panel=plan.Z_panel, dZ_panel=plan.dZ_panel,
            panel_costs=self._panel_costs,
            totals=self._totals, batch=plan.batch, chunk_panels=plan.chunk_panels, block_panels=plan.block_panels,
            groups=plan.groups, items=plan.items, cuts=plan.cuts, tickets=self._tickets, loss=loss,
            parts=self._parts if plan.parts else 0, part_stride=plan.layout.length, work_stride=plan.length,
            hyper=self._hyper, rates=self._rate,
        )  # fmt: skip
        self._limit(None)
        self._totals[SCALE], self._totals[COST_SCALE] = scale, 1.0
        rate, seed = dropout
        self._set(drop_seed=seed, drop_threshold=min(max(round((1 - rate) * 2**32), 1), 2**32 - 1) if rate else 0)
        self._set(unchecked=not checked)
        self._read(np.dtype(np.float32))
        _engines.add(self)

    def _read(self, dtype: np.dtype) -> None:
        """Have the rows of X read as float32, or as bytes."""
        self._dtype = dtype
        uint8 = dtype == np.uint8
        self._set(gather=(gather_uint8 if uint8 else gather_floats).address, uint8=uint8)

    def _limit(self, clip_norm: float | None) -> None:
        """Have the gradients clipped, and the cost penalised, where either is wanted."""
        if clip_norm is None and not self._l2:
            self._set(late=0)
            return
        self._late = allocate(late_length(self.plan.layout.length), np.float64)
        self._late[MAX_NORM] = np.inf if clip_norm is None else clip_norm
        self._late[L2] = self._l2
        self._set(late=self._late, squares=squares_of_blocks.address, late_update=late_update.address)

    def set_cost(self, l2: float, scale: float, by_samples: bool) -> None:
        """Have J be another than the network's: `scale` times its cost, whose gradients stay, and another penalty.

        With `by_samples` a step is a mean for itself: its penalty is l2/2m·Σ W², and in the mean over several it counts
        by the number of its samples, whatever they weigh.
        """
        self._l2 = l2
        self._totals[COST_SCALE] = scale
        self._set(by_samples=by_samples)
        self._limit(None)

    def _set(self, **fields: Any) -> None:
        """Fields of the job; of an array its address."""
        for name, value in fields.items():
            self.job[name] = value.ctypes.data if isinstance(value, np.ndarray) else value

    def run(self, do: int, m: int, first_step: int, last_step: int, X: np.ndarray | None = None,
            Y: np.ndarray | None = None, weights: np.ndarray | None = None, order: np.ndarray | None = None,
            Y_hat: np.ndarray | None = None, threads: int | None = None) -> tuple[float, float]:  # fmt: skip
        """Do the parts `do` of the steps first…last over m rows of the user's arrays; the sums of costs and weights.

        Without `threads`, on as many as were the fastest in calls of its kind, on about as many rows.
        """
        if X is not None and X.dtype is not self._dtype:
            self._read(X.dtype)
        labels = Y is not None and Y.dtype == np.int64
        targets = 0 if Y is None else address_of(Y)
        choice = None
        if threads is None:
            threads = self.plan.threads_for(m)
            if threads > 1 and last_step > first_step:
                choice = self._choices[do, m.bit_length()]
                started = perf_counter()
                threads = choice.next(threads, m, started)
        sums = pool.run(
            self._where, threads, do, m, first_step, last_step,
            0 if X is None else address_of(X), 0 if labels else targets, targets if labels else 0,
            0 if weights is None else address_of(weights), 0 if order is None else address_of(order),
            0 if Y_hat is None else address_of(Y_hat),
        )  # fmt: skip
        if choice is not None:
            choice.learn(m, perf_counter() - started)
        return sums

    def forward(self, X: np.ndarray, transpose: bool) -> np.ndarray:
        """Ŷ of all rows; with `transpose`, ready for a backward pass."""
        m = len(X)
        Y_hat = np.empty((m, self.plan.sizes[-1]), np.float32)
        with self._lock:
            self.run(FORWARD | OUTPUT | (TRANSPOSE if transpose else 0), m, 0, self._steps(m), X, Y_hat=Y_hat)
            self.rows, self.has_gradients = m, False
        return Y_hat

    def backward(self, Y: np.ndarray, weights: np.ndarray | None) -> float:
        """J, and the gradients, from the activations of the last forward pass; one row of Y for each of its rows."""
        with self._lock:
            cost, weight = self.run(LOSS | BACKWARD | GRADIENTS, self.rows, 0, 1, None, Y, weights)
            self.has_gradients = True
            return cost / weight

    def loss(self, X: np.ndarray, Y: np.ndarray, weights: np.ndarray | None = None) -> float:
        """J, and nothing else."""
        with self._lock:
            cost, weight = self.run(FORWARD | LOSS, len(X), 0, self._steps(len(X)), X, Y, weights)
            return cost / weight

    def _steps(self, m: int) -> int:
        return -(-m // self.plan.batch)

    def train(self, X: np.ndarray, Y: np.ndarray, weights: np.ndarray | None, optimizer: Optimizer,
              moments: np.ndarray, steps: tuple[int, int] = (0, 1), order: np.ndarray | None = None,
              seed: int = 0, epoch: int = 0, threads: int | None = None,
              sums: tuple[float, float] | None = None) -> tuple[float, float]:  # fmt: skip
        """Some steps of an epoch over X; `sums`, if given, and the sums of their costs and of their weights.

        With `order`, step 0 begins by shuffling the rows into it, as `seed` and `epoch` say. On as many threads as the
        plan has, or on `threads` of them.
        """
        with self._lock:
            if self._trains_with is not moments:  # every optimiser has moments of its own, if of no length
                self._set(
                    state=moments, state_stride=moments.shape[1], settings=optimizer._settings,
                    update=optimizer.update.address, prepare=optimizer.prepare.address,
                    fused=optimizer.plain and not self._l2,
                )  # fmt: skip
                self._limit(optimizer.clip_norm)
                self._trains_with, self._settings = moments, optimizer._settings  # held: the job has their addresses
            do = STEP
            if order is not None:
                do |= SHUFFLE
                self._set(seed=seed, epoch=epoch)
            if optimizer.scheduled:
                self._rates = optimizer.rates(steps[1] - steps[0])  # held: the job has their address
                self._set(rates=self._rates, rate_stride=1)
            else:
                if self._rates is not None:  # the optimiser before had a schedule
                    self._rates = None
                    self._set(rates=self._rate, rate_stride=0)
                self._rate[0] = optimizer._lr  # a number then
            self._totals[UPDATES] = optimizer.steps
            if sums is not None:
                self._totals[COST_BEFORE], self._totals[WEIGHT_BEFORE] = sums
            try:
                return self.run(do, len(X), *steps, X, Y, weights, order, threads=threads)
            finally:  # Ctrl-C may come when the steps are done
                optimizer.steps = int(self._totals[UPDATES])
                if sums is not None:
                    self._totals[COST_BEFORE] = self._totals[WEIGHT_BEFORE] = 0.0

    def gradients(self, X: np.ndarray, Y: np.ndarray, weights: np.ndarray | None) -> float:
        """J, and the gradients, of all rows, which are one batch; nothing is dropped."""
        with self._lock:
            cost, weight = self.run(STEP & ~UPDATE, len(X), 0, 1, X, Y, weights)
            return cost / weight

    def let_go(self, moments: np.ndarray | None) -> None:
        """Hold no moments of an optimiser but these."""
        if self._trains_with is not moments:
            self._trains_with = None  # the job is set up again before the next step

    def panels(self, offset: int, n: int, m: int) -> np.ndarray:
        """A copy, (m, n), of what stands in panels, or in a vector, at `offset` of the workspace."""
        if self.plan.vectors:
            return self.work[offset : offset + n].reshape(1, n).copy()
        stride = panel_stride.py_func(n)
        count = panels_of.py_func(m)
        block = self.work[offset : offset + count * stride].reshape(count, stride // LANES, LANES)
        return np.ascontiguousarray(block[:, :n].transpose(0, 2, 1).reshape(count * LANES, n)[:m])


def plan_for(sizes: tuple[int, ...], kinds: list[LayerKind], batch: int, *, keep: bool = False,
             train: bool = True, vectors: bool = True) -> Plan:  # fmt: skip
    """A plan for a batch, on as many threads as its work can use; with `vectors`, one sample stands in vectors."""
    count = estimate.threads_for(sizes, batch, pool.get_num_threads(), train=train)
    return Plan(sizes, kinds, batch, count, keep=keep, train=train, vectors=vectors and batch == 1)


_engines: WeakSet[Engine] = WeakSet()


def _after_fork() -> None:
    """Have no engine that a thread of the parent was using, and may have left in the middle of a change, used again.

    The networks make others; one that keeps a forward pass is still asked for it.
    """
    for engine in _engines:
        engine._lock = threading.Lock()
        engine.available = 0


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
