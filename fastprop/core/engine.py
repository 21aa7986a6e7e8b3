"""Engine: a plan with its workspace and its job record, between the arrays of Python and the worker."""

import os
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from time import perf_counter
from typing import Any, NamedTuple
from weakref import WeakSet

import numpy as np

from ..kernels import estimate
from ..kernels.passes import gather_reals, gather_uint8
from ..kernels.plan import (
    BACKWARD,
    COST,
    COST_BEFORE,
    COST_SCALE,
    DROP,
    ELAPSED,
    FLOAT32,
    FORWARD,
    GRADIENTS,
    JOB_FIELDS,
    L2,
    LEAST_COST,
    LOSS,
    MAX_NORM,
    MIN_DELTA,
    N_HYPER,
    N_TICKETS,
    N_TOTALS,
    OUTPUT,
    RECORD_LENGTH,
    SCALE,
    SECONDS,
    SECONDS_BEFORE,
    SHUFFLE,
    STEP,
    TRANSPOSE,
    UPDATE,
    WEIGHT,
    LayerKind,
    Plan,
    allocate,
    late_length,
    panel_stride,
    panels_of,
)
from ..kernels.scan import address_of
from ..kernels.simd import LANES
from ..kernels.sparse import COUNTS, sparse_dW, sparse_forward
from ..kernels.steps import (
    end_of_epoch,
    inputs_of_chunk,
    late_update,
    phases,
    prepare,
    squares_of_blocks,
    start_of_update,
    update_of_parameters,
    worker,
)
from ..kernels.tiles import compile_tiles
from ..optimizers import Optimizer
from . import threads
from .sparse import Features, SparseRows
from .thread_choice import Choice
from .weights import Weights, addresses

BEFORE = slice(COST_BEFORE, SECONDS_BEFORE + 1)  # of `totals`


class Epochs:
    """The epochs that one call of :meth:`Engine.train` may end, and what is known of each afterwards.

    Parameters
    ----------
    n_steps : int
        Steps in an epoch.
    count : int
        The most epochs that the call may end.
    validation : Engine or None
        An engine that was prepared by :meth:`Engine.prepare_measure`; it is run after each epoch.
    best : ndarray or None
        Where the parameters are copied to whenever that cost is less than `least_cost` by more than `min_delta`.
    least_cost, min_delta : float

    Attributes
    ----------
    records : ndarray of shape (count, RECORD_LENGTH)
        See ``plan.EPOCH_LOSS``.
    seconds : float
        Those of the epoch that was not ended.
    """

    def __init__(
        self,
        n_steps: int,
        count: int,
        validation: "Engine | None" = None,
        best: np.ndarray | None = None,
        least_cost: float = np.inf,
        min_delta: float = 0.0,
    ):
        self.n_steps: int = n_steps
        self.validation: Engine | None = validation
        self.best: np.ndarray | None = best
        self.least_cost: float = least_cost
        self.min_delta: float = min_delta
        self.records: np.ndarray = np.empty((count, RECORD_LENGTH))
        self.seconds: float = 0.0


class Task(NamedTuple):
    """Steps to train: the arguments of :meth:`Engine.train`."""

    X: Features
    Y: np.ndarray
    weights: Weights | None
    optimizer: Optimizer
    moments: np.ndarray
    steps: tuple[int, int]
    order: np.ndarray | None
    seed: int
    epoch: int
    sums: tuple[float, float, float]
    epochs: Epochs | None


class Engine:
    """One workspace and the work that is done in it, one call at a time.

    Parameters
    ----------
    plan : Plan
    parameters, gradients : ndarray
        The network's flat buffers.
    loss : int
        The address of the loss routine.
    l2 : float
        The factor of the penalty ½ Σ W².
    scale : float
        The factor by which X is multiplied as it is read.
    dropout : float
        The probability that a hidden unit is dropped in a step.
    dropout_seed : int
        The seed of these draws.
    check_finite : bool
        Whether X was checked to be finite before; if not, a step checks it together with the cost.
    alone : bool
        Whether the plan is for one thread, whatever the number of threads that calls may use.

    Attributes
    ----------
    job : ndarray of int64
        The job record, whose fields ``plan.JOB_FIELDS`` numbers.
    rows : int
        The number of rows whose activations the workspace holds for :meth:`backward`; 0 for none.
    has_gradients : bool
        Whether it holds their dZ and dA too.
    passes : int
        The number of forward passes so far: while it stays the same, the activations do.
    moments : ndarray or None
        Those of the optimizer that trained last; the job record holds their address.
    batch : int
        The number of samples of a training step.
    fit_choices : dict of int to Choice
        The number of threads for steps of a fit, by batch size, kept so that short fits learn from earlier ones.
    """

    def __init__(
        self,
        plan: Plan,
        parameters: np.ndarray,
        gradients: np.ndarray,
        loss: int,
        *,
        l2: float = 0.0,
        scale: float = 1.0,
        dropout: float = 0.0,
        dropout_seed: int = 0,
        check_finite: bool = True,
        alone: bool = False,
    ):
        self.plan: Plan = plan
        self.rows: int = 0
        self.has_gradients: bool = False
        self.passes: int = 0
        self.moments: np.ndarray | None = None
        self.batch: int = plan.batch
        self.fit_choices: defaultdict[int, Choice] = defaultdict(Choice)
        self._choices: defaultdict[tuple[int, int], Choice] = defaultdict(Choice)
        self._alone = alone
        self._available = self._threads()  # at the time of the plan; 0: the engine must not be used again
        self._l2 = l2
        self._lock = threading.Lock()
        self._buffers = (parameters, gradients)  # referenced here, because the job record holds their addresses
        self._allocate()
        self._write_job(loss)
        self._limit(None)
        self._totals[SCALE], self._totals[COST_SCALE] = scale, 1.0
        self._set(unchecked=not check_finite)
        threshold = min(max(round((1 - dropout) * 2**32), 1), 2**32 - 1) if dropout else 0
        self._set(drop_seed=dropout_seed, drop_threshold=threshold)
        if plan.sparse:
            self._read_sparse()
        else:
            self._read(plan.dtype)
        _engines.add(self)

    def _allocate(self) -> None:
        """Allocate the workspace and the small arrays that the job record points to."""
        plan = self.plan
        self.work: np.ndarray = allocate(plan.length * (plan.threads if plan.parts else 1), plan.dtype)
        self._parts = allocate(plan.parts * plan.layout.length, plan.dtype)
        self._panel_costs = allocate(-(-plan.batch // LANES) + plan.chunk_panels, np.float64)
        self._totals = allocate(N_TOTALS, np.float64)
        self._tickets = allocate(N_TICKETS, np.int64)
        self._hyper = allocate(N_HYPER, plan.dtype)
        self._rate = allocate(1, np.float64)
        self._no_updates = allocate(1, np.float64)
        self._dA0: np.ndarray | None = None
        self._own_gradients: np.ndarray | None = None
        self._rates: np.ndarray | None = None

    def _write_job(self, loss: int) -> None:
        """Fill in the fields of the job record that stay the same from call to call."""
        plan = self.plan
        parameters, gradients = self._buffers
        # One more than there are fields: only the type of the last one is used.
        self.job: np.ndarray = np.zeros(len(JOB_FIELDS) + 1, np.int64)
        self.address: int = address_of(self.job)
        one, two = phases(plan)
        compile_tiles(plan.sizes, plan.vectors, plan.dtype)
        self.worker: int = worker.address(plan.dtype)
        self._set(
            layers=plan.layers_address,
            n_layers=len(plan.layers),
            lowest=plan.lowest,
            n_trained=plan.n_trained,
            vectors=plan.vectors,
            parameters=parameters,
            gradients=gradients,
            work=self.work,
            phase_one=one.address(plan.dtype),
            phase_two=two.address(plan.dtype),
            loss=loss,
            Y_panels=plan.Y_panels,
            weight_panels=plan.weight_panels,
            Z_panel=plan.Z_panel,
            dZ_panel=plan.dZ_panel,
            panel_costs=self._panel_costs,
            totals=self._totals,
            batch=plan.batch,
            chunk_panels=plan.chunk_panels,
            block_panels=plan.block_panels,
            groups=plan.groups,
            items=plan.items,
            cuts=plan.cuts,
            tickets=self._tickets,
            parts=self._parts if plan.parts else 0,
            part_stride=plan.layout.length,
            work_stride=plan.length,
            hyper=self._hyper,
            rates=self._rate,
            updates=self._no_updates,
            worker=self.worker,
        )

    def _read(self, dtype: np.dtype) -> None:
        """Read the rows of X as numbers of the network's dtype, or as uint8."""
        self._dtype = dtype
        uint8 = dtype == np.uint8
        self._set(gather=(gather_uint8 if uint8 else gather_reals).address(self.plan.dtype), uint8=uint8)

    def _read_sparse(self) -> None:
        """Read the rows of X as those of a sparse matrix."""
        dtype = self.plan.dtype
        self._most_entries = 0
        self._set(sparse_forward=sparse_forward.address(dtype), sparse_dW=sparse_dW.address(dtype), rows=self.plan.rows)

    def _place(self, X: Features | None) -> int:
        """Return the address of X, 0 for none, and prepare to read it."""
        if X is None:
            return 0
        if isinstance(X, SparseRows):
            self._reserve(X.most_entries(self.plan.chunk_panels * LANES))
            return address_of(X.addresses)
        if X.dtype is not self._dtype:
            self._read(X.dtype)
        return address_of(X)

    def _reserve(self, count: int) -> None:
        """Allocate memory, for each thread, for that many entries of a sparse X."""
        if count <= self._most_entries:
            return
        most = self._most_entries = 1 << (count - 1).bit_length()
        self._entries = np.zeros(0, np.int64)  # its memory is released before the next is allocated
        self._entries = allocate(self.plan.threads * (COUNTS + 4 * most), np.int64)
        self._set(entries=self._entries, most_entries=most)

    def _limit(self, clip_norm: float | None) -> None:
        """Clip the gradients and penalize the cost, if either is asked for."""
        if clip_norm is None and not self._l2:
            self._set(late=0)
            return
        self._late = allocate(late_length(self.plan.layout.length), np.float64)
        self._late[MAX_NORM] = np.inf if clip_norm is None else clip_norm
        self._late[L2] = self._l2
        squares, update = (routine.address(self.plan.dtype) for routine in (squares_of_blocks, late_update))
        self._set(late=self._late, squares=squares, late_update=update)

    def stop_at_Z(self) -> None:
        """Let Ŷ be Z of the output layer."""
        self._layers = self.plan.layers.copy()
        self._layers[-1]["activation"] = 0
        self._set(layers=self._layers.ctypes.data)

    def set_cost(self, l2: float, scale: float, by_samples: bool) -> None:
        """Change J to `scale` times the network's cost, whose gradients stay the same, plus another penalty.

        With `by_samples` each step has a mean of its own: its penalty is l2/2m·Σ W², and in the mean over several steps
        it counts by the number of its samples, whatever their weights.
        """
        self._l2 = l2
        self._totals[COST_SCALE] = scale
        self._set(by_samples=by_samples)
        self._limit(None)

    def _set(self, **fields: Any) -> None:
        """Set fields of the job record; the value of an array is its address."""
        job = self.job
        for name, value in fields.items():
            job[JOB_FIELDS[name]] = address_of(value) if isinstance(value, np.ndarray) else value

    def set_batch(self, batch: int) -> None:
        """Set the number of samples of a step, at most that of the plan."""
        self.batch = batch
        self._set(batch=batch)

    def is_stale(self) -> bool:
        """Return whether the number of threads was changed since the work was shared out."""
        return self._available != self._threads()

    def _threads(self) -> int:
        return 1 if self._alone else threads.get_num_threads()

    def serve(self, parameters: np.ndarray, gradients: np.ndarray, dropout_seed: int) -> None:
        """Compute with the buffers of another network from now on, which differs in nothing but the seed of dropout."""
        self._buffers = parameters, gradients
        self.moments = None  # the optimizer's fields are written anew before the next step
        self._set(parameters=parameters, gradients=gradients, drop_seed=dropout_seed)

    def execute(
        self,
        do: int,
        m: int,
        first_step: int,
        last_step: int,
        X: Features | None = None,
        Y: np.ndarray | None = None,
        weights: Weights | None = None,
        order: np.ndarray | None = None,
        Y_hat: np.ndarray | None = None,
        n_threads: int | None = None,
    ) -> tuple[float, float]:
        """Do the parts `do` of the steps first…last over m rows of the user's arrays.

        Without `n_threads`, the call runs on the number of threads that was the fastest in similar calls.

        Returns
        -------
        cost, weight : float
            The sums of the costs and of the sample weights.
        """
        place = self._place(X)
        choice = None
        if n_threads is None:
            n_threads = self.plan.threads_for(m)
            if n_threads > 1 and last_step > first_step:
                choice = self._choices[do, m.bit_length()]
                started = perf_counter()
                n_threads = choice.next(n_threads, m, started)
        sums = threads.launch(
            self.worker, self.address, n_threads, do, m, first_step, last_step,
            place, *addresses(Y, weights),
            0 if order is None else address_of(order), 0 if Y_hat is None else address_of(Y_hat),
        )  # fmt: skip
        if choice is not None:
            choice.learn(m, perf_counter() - started)
        return sums

    def forward(self, X: Features, transpose: bool) -> np.ndarray:
        """Compute Ŷ of all rows; with `transpose`, store the transposed activations that a backward pass reads."""
        m = len(X)
        Y_hat = np.empty((m, self.plan.sizes[-1]), self.plan.dtype)
        with self._lock:
            self.passes += 1
            self.execute(FORWARD | OUTPUT | (TRANSPOSE if transpose else 0), m, 0, self._steps(m), X, Y_hat=Y_hat)
            self.rows, self.has_gradients = m, False
        return Y_hat

    def backward(self, Y: np.ndarray, weights: Weights | None) -> float:
        """Compute J and the gradients from the activations of the last forward pass; Y has one row for each of them."""
        with self._lock:
            cost, weight = self.execute(LOSS | BACKWARD | GRADIENTS, self.rows, 0, 1, None, Y, weights)
            self.has_gradients = True
            return cost / weight

    def backward_from(self, dA: np.ndarray, loss: int, do: int = LOSS | BACKWARD | GRADIENTS) -> None:
        """Compute the gradients of Σ dA∗Ŷ, without penalty, from the activations of the last forward pass.

        `loss` is the address of the output's routine with ``losses.INNER_PRODUCT``.
        """
        with self._lock:
            with self._changed(loss=loss, divisor=1, late=0):
                self.execute(do, self.rows, 0, 1, None, dA)
            self.has_gradients = True

    def jacobian(self, X: np.ndarray, loss: int) -> np.ndarray:
        """Compute ∂Ŷ/∂X, of shape (m, n_L, n_0), in runs of the plan's batch; `loss` as in :meth:`backward_from`."""
        n_0, n_L = self.plan.sizes[0], self.plan.sizes[-1]
        J = np.empty((len(X), n_L, n_0), self.plan.dtype)
        for start in range(0, len(X), self.plan.batch):
            run = slice(start, start + self.plan.batch)
            dA = np.zeros_like(self.forward(X[run], transpose=False))
            for k in range(n_L):
                dA[:, k - 1], dA[:, k] = 0, 1
                self.backward_from(dA, loss, LOSS | BACKWARD)
                J[run, k] = self.dX()
        return J

    def reserve_dX(self) -> None:
        """Allocate memory, for each thread, for the gradients of some panels of X."""
        if self._dA0 is None:
            panels = self.plan.threads * min(self.plan.block_panels, self.plan.chunk_panels)
            self._dA0 = allocate(panels * panel_stride.py_func(self.plan.sizes[0]), self.plan.dtype)
            self._set(dA0=self._dA0)

    def dX(self) -> np.ndarray:
        """Compute the gradient of X of the last backward pass: scale·W⁽¹⁾ᵀ·dZ⁽¹⁾."""
        dX = np.empty((self.rows, self.plan.sizes[0]), self.plan.dtype)
        with self._lock:
            self.reserve_dX()
            with self._changed(phase_one=inputs_of_chunk.address(self.plan.dtype), dX=dX):
                self.execute(0, self.rows, 0, 1)
        return dX

    @contextmanager
    def _changed(self, **fields: Any) -> Iterator[None]:
        """Set fields of the job record for the calls of the block."""
        before = self.job.copy()
        try:
            self._set(**fields)
            yield
        finally:
            self.job[:] = before

    def loss(self, X: Features, Y: np.ndarray, weights: Weights | None = None) -> float:
        """Compute J only."""
        with self._lock:
            cost, weight = self.execute(FORWARD | LOSS, len(X), 0, self._steps(len(X)), X, Y, weights)
            return cost / weight

    def _steps(self, m: int) -> int:
        return -(-m // self.plan.batch)

    def prepare_measure(self, X: Features, Y: np.ndarray, weights: Weights | None, accuracy: bool) -> None:
        """Prepare J, and the share of right predictions, of these rows for the calls of another engine's `train`."""
        place = self._place(X)
        m = len(X)
        Y_hat = np.empty((m, self.plan.sizes[-1]), self.plan.dtype) if accuracy else None
        self._measured: Any = X, Y, weights, Y_hat  # referenced here, because the job record holds their addresses
        do = FORWARD | LOSS | (0 if Y_hat is None else OUTPUT)
        where = 0 if Y_hat is None else address_of(Y_hat)
        prepare(self.address, do, m, 0, self._steps(m), place, *addresses(Y, weights), 0, where)

    def forget_measure(self) -> None:
        """Drop the references to the rows of :meth:`prepare_measure`."""
        self._measured = None

    def train(
        self,
        X: Features,
        Y: np.ndarray,
        weights: Weights | None,
        optimizer: Optimizer,
        moments: np.ndarray,
        steps: tuple[int, int] = (0, 1),
        order: np.ndarray | None = None,
        seed: int = 0,
        epoch: int = 0,
        sums: tuple[float, float, float] | None = None,
        epochs: Epochs | None = None,
        n_threads: int | None = None,
    ) -> tuple[float, float]:
        """Train the steps first…last of an epoch over X; with `epochs`, go on with the next epochs as far as `last`.

        With `order`, step 0 first shuffles the row numbers into it, by `seed` and `epoch`. The steps run on as many
        threads as the plan has, or on `n_threads`.

        Returns
        -------
        cost, weight : float
            The first two of `sums`, if given, plus the sums of the costs and of the sample weights of these steps; of
            those of the last epoch, if the call ended others. The third is the seconds of the epoch before the call.
        """
        with self._lock:
            do = self._begin_training(optimizer, moments, steps, order, seed, epoch, sums, epochs)
            try:
                return self.execute(do, len(X), *steps, X, Y, weights, order, n_threads=n_threads)
            finally:
                self._end_training(sums, epochs)

    def prepare_train(self, task: Task) -> int:
        """Prepare what :meth:`train` does; return the job's address, for `threads.doing`."""
        do, place = self._begin_training(*task[3:]), self._place(task.X)
        order = 0 if task.order is None else address_of(task.order)
        prepare(self.address, do, len(task.X), *task.steps, place, *addresses(task.Y, task.weights), order, 0)
        return self.address

    def trained(self, task: Task) -> tuple[float, float, float]:
        """Return what :meth:`train` does, and the seconds that the job took, after the call that did it."""
        self._end_training(task.sums, task.epochs)
        totals = self._totals.tolist()
        return totals[COST], totals[WEIGHT], totals[ELAPSED]

    def _begin_training(
        self,
        optimizer: Optimizer,
        moments: np.ndarray,
        steps: tuple[int, int],
        order: np.ndarray | None,
        seed: int,
        epoch: int,
        sums: tuple[float, float, float] | None,
        epochs: Epochs | None,
    ) -> int:
        """Write into the job what a training needs besides the arguments of a call; return the parts to do."""
        self.use(optimizer, moments, steps[1] - steps[0])
        do = STEP
        if order is not None:
            do |= SHUFFLE
            self._set(seed=seed, epoch=epoch)
        if sums is not None:
            self._totals[BEFORE] = sums
        if epochs is not None:
            self._go_past_epochs(epochs)
        return do

    def _end_training(self, sums: tuple[float, float, float] | None, epochs: Epochs | None) -> None:
        """Let the next call begin at zero, and end with its last step."""
        if sums is not None:
            self._totals[BEFORE] = 0.0
        if epochs is not None:
            self._set(n_steps=0)
            epochs.seconds = float(self._totals[SECONDS])

    def part_of_step(
        self,
        X: Features,
        Y: np.ndarray,
        weights: Weights | None,
        optimizer: Optimizer,
        moments: np.ndarray,
        rows: np.ndarray,
        m: int,
    ) -> tuple[float, float]:
        """Compute the part that some rows of X have in the gradients of a batch of m rows, for the next step.

        Units are dropped as in that step of the optimizer, which is not made; a penalty is not added.

        Parameters
        ----------
        rows : ndarray of uint32
            Numbers of rows of X, at most as many as the plan's batch.

        Returns
        -------
        cost, weight : float
            The sums of the costs and of the weights of these rows.
        """
        with self._lock:
            self.use(optimizer, moments)
            self._place(X)  # which changes fields for later calls too, before others are changed for this one
            with self._changed(divisor=m, late=0):
                return self.execute(STEP & ~UPDATE, len(rows), 0, 1, X, Y, weights, rows)

    def update(self, optimizer: Optimizer, moments: np.ndarray, l2: float) -> float:
        """Make one step from the gradients as they are, plus those of a penalty; they are not changed.

        Return the penalty. If it, or the sum of the squares of the gradients, is not finite, no step is made, and what
        is returned is not finite.
        """
        gradients = self._buffers[1]
        with self._lock:
            if self.moments is not moments or self._l2 != l2:
                self._l2 = l2
                self._train_with(optimizer, moments)
                late = l2 or optimizer.clip_norm is not None  # then they are added to and scaled in place
                self._own_gradients = allocate(len(gradients), self.plan.dtype) if late else None
                self._set(
                    phase_one=start_of_update.address(self.plan.dtype),
                    phase_two=update_of_parameters.address(self.plan.dtype),
                    gradients=self._own_gradients if late else gradients,
                )
            if self._own_gradients is not None:
                self._own_gradients[:] = gradients
            self._set_rates(optimizer, 1)
            return self.execute(LOSS | GRADIENTS | UPDATE, 1, 0, 1)[0]

    def _set_rates(self, optimizer: Optimizer, count: int) -> None:
        """Give the job record the learning rates of the next steps."""
        if optimizer.scheduled:
            self._rates = optimizer.rates(count)
            self._set(rates=self._rates, rate_stride=1)
        else:
            if self._rates is not None:  # the previous optimizer had a schedule
                self._rates = None
                self._set(rates=self._rate, rate_stride=0)
            self._rate[0] = optimizer.lr

    def _go_past_epochs(self, epochs: Epochs) -> None:
        """Let the next call go on after the end of an epoch."""
        self._totals[LEAST_COST], self._totals[MIN_DELTA] = epochs.least_cost - epochs.min_delta, epochs.min_delta
        self._set(
            n_steps=epochs.n_steps,
            end_of_epoch=end_of_epoch.address(self.plan.dtype),
            records=epochs.records,
            validation=0 if epochs.validation is None else epochs.validation.address,
            best=0 if epochs.best is None else epochs.best,
        )

    def use(self, optimizer: Optimizer, moments: np.ndarray, steps: int = 1) -> None:
        """Let the next steps be made by an optimizer, whose learning rates may be those of as many steps."""
        if self.moments is not moments:  # each optimizer has moments of its own, if only of length 0
            self._train_with(optimizer, moments)
        self._set_rates(optimizer, steps)

    def _train_with(self, optimizer: Optimizer, moments: np.ndarray) -> None:
        """Point the job record to an optimizer's routines, moments and hyperparameters."""
        self._set(
            state=moments,
            state_stride=moments.shape[1],
            settings=optimizer.scalars,
            updates=optimizer.count,
            update=optimizer.update.address(self.plan.dtype),
            prepare=optimizer.prepare.address(self.plan.dtype),
            fused=optimizer.plain and not self._l2,
        )
        self._limit(optimizer.clip_norm)
        self.moments = moments
        self._referenced = optimizer.scalars, optimizer.count  # because the job record holds their addresses

    def gradients(self, X: Features, Y: np.ndarray, weights: Weights | None) -> float:
        """Compute J and the gradients of all rows as one batch, without dropout."""
        with self._lock:
            cost, weight = self.execute(STEP & ~(UPDATE | DROP), len(X), 0, 1, X, Y, weights)
            return cost / weight

    def release(self, moments: np.ndarray | None) -> None:
        """Drop the reference to the moments of any optimizer but these."""
        if self.moments is not moments:
            self.moments = None  # the job record is written anew before the next step

    def panels(self, offset: int, n: int, m: int) -> np.ndarray:
        """Return a copy, of shape (m, n), of the panels or of the vector at `offset` of the workspace."""
        if self.plan.vectors:
            return self.work[offset : offset + n].reshape(1, n).copy()
        stride = panel_stride.py_func(n)
        count = panels_of.py_func(m)
        block = self.work[offset : offset + count * stride].reshape(count, stride // LANES, LANES)
        return np.ascontiguousarray(block[:, :n].transpose(0, 2, 1).reshape(count * LANES, n)[:m])

    def retire(self) -> None:
        """Never use the engine again in a forked child: a thread of the parent may have been in the middle of a call.

        The network then makes another one; an engine that holds a forward pass still returns its cache.
        """
        self._lock = threading.Lock()
        self._available = 0


def plan_for(
    sizes: tuple[int, ...],
    kinds: list[LayerKind],
    batch: int,
    *,
    keep: bool = False,
    train: bool = True,
    vectors: bool = True,
    dtype: np.dtype = FLOAT32,
    sparse: bool = False,
    frozen: tuple[int, ...] = (),
    alone: bool = False,
) -> Plan:
    """Plan for a batch; with `vectors`, a batch of 1 is stored in vectors.

    The plan is for as many threads as the work can use, or for one.
    """
    count = 1
    if not alone:
        available = threads.get_num_threads()
        count = estimate.threads_for(sizes, batch, available, dtype.itemsize, train=train, frozen=frozen)
    vectors = vectors and batch == 1 and not sparse
    return shared_plan(sizes, tuple(kinds), batch, count, keep, train, vectors, dtype, sparse, frozen)


@lru_cache(64)  # a plan of 8-32-32-1 takes 116 µs, the rest of its engine 50 (Zen 3, medians)
def shared_plan(
    sizes: tuple[int, ...],
    kinds: tuple[LayerKind, ...],
    batch: int,
    count: int,
    keep: bool,
    train: bool,
    vectors: bool,
    dtype: np.dtype,
    sparse: bool,
    frozen: tuple[int, ...],
) -> Plan:
    """Return the plan that all engines with these arguments have in common; nothing in it is ever changed."""
    return Plan(
        sizes, list(kinds), batch, count, keep=keep, train=train, vectors=vectors, dtype=dtype, sparse=sparse,
        frozen=frozen,
    )  # fmt: skip


_engines: WeakSet[Engine] = WeakSet()


def _after_fork() -> None:
    for engine in _engines:
        engine.retire()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
