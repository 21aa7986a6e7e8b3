"""A plan with its workspace and its job record: what stands between the arrays of Python and the worker."""

import threading
from typing import Any

import numpy as np

from . import threads
from .kernels.plan import (
    BACKWARD,
    COST,
    FORWARD,
    GRADIENTS,
    JOB,
    LOSS,
    OUTPUT,
    SHUFFLE,
    STEP,
    TRANSPOSE,
    UPDATES,
    WEIGHT,
    LayerKind,
    Plan,
    allocate,
    panel_stride,
    threads_for,
)  # fmt: skip
from .optimizers import Optimizer


def address(a: np.ndarray | None) -> int:
    """Where an array's data is; 0 for none."""
    return 0 if a is None else a.ctypes.data


class Engine:
    """One workspace and the work that is done in it, one call at a time.

    Parameters
    ----------
    plan : Plan
    parameters, gradients : ndarray
        The network's flat buffers.
    loss : int
        Address of the loss routine.

    Attributes
    ----------
    rows : int
        Whose activations the workspace holds, for :meth:`backward`; 0 for none.
    has_gradients : bool
        Whether it holds their dZ and dA too.
    """

    def __init__(self, plan: Plan, parameters: np.ndarray, gradients: np.ndarray, loss: int):
        self.plan = plan
        self.available = threads.get_num_threads()  # when the work was shared out
        self.rows, self.has_gradients = 0, False
        self._lock = threading.Lock()
        self.work = allocate(plan.length)
        self._panel_costs = np.zeros(plan.chunk_panels)
        self._totals = allocate(8, np.float64)
        self._tickets = allocate(16, np.int64)
        self._hyper = np.zeros(16, np.float32)
        self._rate = np.zeros(1)
        self._held = (parameters, gradients)  # the job holds their addresses
        self._record = np.zeros(1, JOB)
        self.job = self._record[0]
        self._where = self._record.ctypes.data
        self._set(
            layers=address(plan.layers), n_layers=len(plan.layers), parameters=address(parameters),
            gradients=address(gradients), work=address(self.work), Y_panels=plan.Y_panels,
            weight_panels=plan.weight_panels, panel_costs=address(self._panel_costs),
            totals=address(self._totals), batch=plan.batch,
            chunk_panels=plan.chunk_panels, block_panels=plan.block_panels, groups=plan.groups, items=plan.items,
            cuts=address(plan.cuts), tickets=address(self._tickets), loss=loss,
            hyper=address(self._hyper), rates=address(self._rate),
        )  # fmt: skip

    def _set(self, **fields: Any) -> None:
        for name, value in fields.items():
            self.job[name] = value

    def run(self, do: int, m: int, first_step: int, last_step: int) -> None:
        """Do the parts `do` of the steps first…last over m rows."""
        plan = self.plan
        count = plan.threads if m >= plan.batch else threads_for(plan.sizes, m, plan.threads, train=plan.train)
        self._set(
            do=do, n_samples=m, first_step=first_step, last_step=last_step, threads=count,
        )  # fmt: skip
        self._totals[:UPDATES] = 0.0
        self._tickets[:] = 0
        threads.run(self._where, count)

    def set_data(self, X: np.ndarray | None, Y: np.ndarray | None, weights: np.ndarray | None = None,
                 order: np.ndarray | None = None, Y_hat: np.ndarray | None = None) -> None:  # fmt: skip
        """The user's arrays that the next run reads and writes."""
        labels = Y is not None and Y.dtype == np.int64
        self._set(
            X=address(X), Y=0 if labels else address(Y), labels=address(Y) if labels else 0, weights=address(weights),
            order=address(order), Y_hat=address(Y_hat),
        )  # fmt: skip

    @property
    def mean_cost(self) -> float:
        """J over the samples of the last run."""
        return float(self._totals[COST] / self._totals[WEIGHT])

    def forward(self, X: np.ndarray, transpose: bool) -> np.ndarray:
        """Ŷ of all rows; with `transpose`, ready for a backward pass."""
        m = len(X)
        Y_hat = np.empty((m, self.plan.sizes[-1]), np.float32)
        with self._lock:
            self.set_data(X, None, Y_hat=Y_hat)
            self.run(FORWARD | OUTPUT | (TRANSPOSE if transpose else 0), m, 0, -(-m // self.plan.batch))
            self.rows, self.has_gradients = m, False
        return Y_hat

    def backward(self, Y: np.ndarray, weights: np.ndarray | None) -> float:
        """J, and the gradients, from the activations of the last forward pass; one row of Y for each of its rows."""
        with self._lock:
            self.set_data(None, Y, weights)
            self.run(LOSS | BACKWARD | GRADIENTS, self.rows, 0, 1)
            self.has_gradients = True
            return self.mean_cost

    def loss(self, X: np.ndarray, Y: np.ndarray, weights: np.ndarray | None = None) -> float:
        """J, and nothing else."""
        with self._lock:
            self.set_data(X, Y, weights)
            self.run(FORWARD | LOSS, len(X), 0, -(-len(X) // self.plan.batch))
            return self.mean_cost

    def train(self, X: np.ndarray, Y: np.ndarray, weights: np.ndarray | None, optimizer: Optimizer,
              moments: np.ndarray, steps: tuple[int, int] = (0, 1), order: np.ndarray | None = None,
              seed: int = 0, epoch: int = 0) -> tuple[float, float]:  # fmt: skip
        """Some steps of an epoch over X; the sum of their costs and of their weights.

        With `order`, step 0 begins by shuffling the rows into it, as `seed` and `epoch` say. Every address is set
        anew in every call, so that nothing that happens between two calls can leave one that is no longer valid.
        """
        with self._lock:
            self._rate[0] = optimizer.lr
            self._set(
                state=address(moments), state_stride=moments.shape[1], settings=address(optimizer._settings),
                update=optimizer.update.address, prepare=optimizer.prepare.address, fused=optimizer.plain,
                seed=seed, epoch=epoch,
            )  # fmt: skip
            self._totals[UPDATES] = optimizer.steps
            self.set_data(X, Y, weights, order)
            try:
                self.run(STEP | (SHUFFLE if order is not None else 0), len(X), *steps)
            finally:
                optimizer.steps = int(self._totals[UPDATES])
            return float(self._totals[COST]), float(self._totals[WEIGHT])

    def panels(self, offset: int, n: int, m: int) -> np.ndarray:
        """A copy, (m, n), of what stands in panels at `offset` of the workspace."""
        stride = panel_stride.py_func(n)
        count = -(-m // 16)
        block = self.work[offset : offset + count * stride].reshape(count, stride // 16, 16)
        return np.ascontiguousarray(block[:, :n].transpose(0, 2, 1).reshape(count * 16, n)[:m])


def plan_for(sizes: tuple[int, ...], kinds: list[LayerKind], batch: int, *, keep: bool = False,
             train: bool = True) -> Plan:  # fmt: skip
    """A plan for a batch, on as many threads as its work can use."""
    count = threads_for(sizes, batch, threads.get_num_threads(), train=train)
    return Plan(sizes, kinds, batch, count, keep=keep, train=train)
