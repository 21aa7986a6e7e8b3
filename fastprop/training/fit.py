"""fit: epochs in compiled code, and what happens between them."""

import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import scaling
from ..checks import flag, generator, whole
from ..core import arrays
from ..core.engine import Engine, Epochs, Task
from ..core.engines import Engines
from ..core.model import Model
from ..core.sparse import is_sparse
from ..kernels import passes
from ..kernels.interrupts import Held
from ..kernels.scan import address_of
from ..kernels.steps import LEAST_SECONDS
from ..optimizers import Adam, Optimizer
from ..schedules import ReduceOnPlateau
from ..texts import warn
from . import stopping as stops
from .history import Best, FitState, History
from .pace import SLICE_SECONDS, Pace
from .progress import Progress
from .samples import Given, HeldOut, measure
from .stopping import EarlyStopping, Metric

# The lists of a history by the columns of records of epochs.
RECORDED = ("loss", "accuracy", "seconds", "samples_per_second", "validation_loss", "validation_accuracy")
CONSTANT_EPOCHS = 10  # after which a fit should be better than a constant prediction


def fit(
    model: Model,
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
    """Train a network for some epochs; see :meth:`fastprop.Network.fit`, which calls this."""
    data = Given.checked(model.architecture, X, Y, sample_weight, class_weight, validation)
    job = Fit(model, data, Course.checked(**course), checked_callbacks("callbacks", callbacks))
    source = model.generator if rng is None else generator(rng)
    bar = Progress(progress, job.samples)
    job.bind(optimizer)
    job.begin(source)
    history = job.run(bar)
    for text in job.warnings:
        warn(text, RuntimeWarning, stacklevel=3)
    return history


@dataclass(frozen=True)
class Course:
    """How a fit goes through its data: the arguments of :meth:`fastprop.Network.fit` of these names, checked."""

    epochs: int
    batch_size: int
    shuffle: bool
    stopping: EarlyStopping | None
    resume: bool
    metrics: dict[str, Metric]
    bootstrap: bool = False  # whether the rows are drawn with replacement, see :meth:`.samples.Given.drawn`

    @classmethod
    def checked(
        cls,
        epochs: Any,
        batch_size: Any,
        shuffle: Any,
        early_stopping: Any,
        resume: Any,
        metrics: Any,
        bootstrap: Any = False,
        accumulate: Any = 1,
    ) -> "Course":
        """Check the arguments; the sum of the gradients of some batches is that of one batch as many times as large."""
        stopping = stops.checked(early_stopping)
        return cls(
            whole("epochs", epochs),
            whole("batch_size", batch_size) * whole("accumulate", accumulate),
            flag("shuffle", shuffle),
            stopping,
            flag("resume", resume),
            stops.checked_metrics({} if metrics is None else metrics, stopping),
            flag("bootstrap", bootstrap),
        )


Callbacks = tuple[list[tuple[int, Any]], list[Any]]  # pairs (k, what to call after k steps), and what after each epoch


class Fit:
    """One fit of one network: its arguments, checked, and its course.

    A fit is bound to its optimizer, begins, and runs: by itself (:meth:`run`), or together with others
    (:mod:`.many`). Only while it runs does it hold engines, the order of its rows, and rows that are drawn for it.

    A fit is a sequence of slices, and a slice a run of steps in one compiled call, which goes on from epoch to epoch
    where nothing needs Python between them. A callback that has `epochs_left`, the number of epochs after which it may
    change something or end the fit at the earliest, is called for all of these after a slice, in their order: the
    history then already contains the later ones, and the network has the last parameters.
    """

    model: Model
    given: Given
    course: Course
    stopping: EarlyStopping | None
    after_steps: list[tuple[int, Any]]
    after_epochs: list[Any]
    calls_late: bool
    shares: list[int]
    rows: int
    own: int
    own_batch: int
    batch: int
    n_steps: int
    samples: int
    started: bool
    ended: bool
    over: bool
    # from `bind` and `begin` on
    resumed: FitState | None
    optimizer_before: Optimizer | None
    optimizer: Optimizer
    moments: np.ndarray
    state: FitState
    history: History
    # from `start` on
    lent: ExitStack
    data: Given
    order: np.ndarray | None
    goes_past_epochs: bool
    pace: Pace
    # of a slice, see `aim` and `prepare_slice`
    steps: int
    ahead: float
    task: Task
    job: int

    def __init__(self, model: Model, given: Given, course: Course, callbacks: Callbacks):
        """Check what the arguments have to do with each other; nothing is changed."""
        model.architecture.check_trainable()
        self.model, self.given, self.course = model, given, course
        self.shares = []  # the rows of each process, if there are several
        self.stopping = course.stopping
        self._check_validation()
        self.after_steps, self.after_epochs = callbacks
        self.calls_late = not self.after_steps and all(hasattr(call, "epochs_left") for call in self.after_epochs)
        self.rows = len(given.X)
        self.own = len(given.X) - given.n_held_out
        self.divide(self.own)
        self.own_batch = self.batch
        self.started = self.ended = self.over = False
        self.validation: Engine | None = None
        self.warnings: list[str] = []

    def _check_validation(self) -> None:
        """Refuse what needs held-out data, or their accuracy, without them."""
        stopping, metrics = self.stopping, self.course.metrics
        monitored = "loss" if stopping is None else stopping.name
        of_training = monitored in ("loss", "accuracy")
        if self.given.held_out is None and not self.given.n_held_out and (metrics or not of_training):
            what = "metrics need" if of_training else f"early_stopping on {monitored!r} needs"
            raise ValueError(f"{what} validation data. Pass validation=(X, Y) or a fraction too.")
        if monitored in ("accuracy", "validation_accuracy") and not self.model.architecture.classifies:
            raise ValueError(
                f"early_stopping is on the accuracy; {self.model.output!r} outputs are no classes. Use another monitor."
            )

    def divide(self, m: int) -> None:
        """Divide the m rows that are trained on into the batches of an epoch."""
        self.m = m
        self.batch = min(self.course.batch_size, m)
        self.n_steps = -(-m // self.batch)
        self.samples = self.course.epochs * m

    # ---- begin ---------------------------------------------------------------------------------------------------

    def bind(self, optimizer: Any) -> None:
        """Bind the optimizer and announce the fit to the callbacks; if one of them refuses, nothing is changed."""
        model = self.model
        self.resumed = self._state_to_resume(optimizer) if self.course.resume else None
        self.optimizer_before = model.optimizer
        if optimizer is None or self.resumed is not None:
            optimizer = model.optimizer or Adam()
        self.moments = model.bind(optimizer)
        self.optimizer = optimizer
        try:
            _ = optimizer.rate  # raises if a custom schedule returns no valid rate
            for callback in (*(call for _, call in self.after_steps), *self.after_epochs):
                if hasattr(callback, "begins"):
                    callback.begins(model)
        except BaseException:
            self.unbind()
            raise

    def unbind(self) -> None:
        """Give the network back the optimizer that it had before."""
        self.model.rebind(self.optimizer_before)

    def begin(self, source: np.random.Generator) -> None:
        """Make this the network's fit; `source` is that of its seed."""
        self.state = self.resumed or FitState(
            **self._arguments(),
            shares=self.shares,
            seed=int(source.integers(2**62)),
            updates=self.optimizer.steps,
        )
        if self.state.shares != self.shares:
            self.warnings.append(
                f"the fit to resume had its rows in {_processes(self.state.shares)}, and this one has them in "
                f"{_processes(self.shares)}: it goes on from the beginning of epoch {self.state.epoch + 1}, with other "
                f"batches than a fit that never stopped."
            )
            self.state.share_anew(self.shares)
        self.history = self.state.history
        self.history.interrupted, self.history.loss_name = False, self.model.loss_name
        self.model.fit_state = self.state

    def _arguments(self) -> dict[str, Any]:
        """Return the arguments that a fit which resumes must have in common with the first."""
        return {
            "rows": self.rows,
            "batch_size": self.course.batch_size,
            "shuffle": self.course.shuffle,
            "fraction": self.given.fraction,
            "bootstrap": self.course.bootstrap,
        }

    def _state_to_resume(self, optimizer: Any) -> FitState | None:
        """Return the state of the last fit, whose arguments must be these; None for a network that never trained."""
        state, last = self.model.fit_state, self.model.optimizer
        if state is None and (last is None or not last.steps):
            return None
        if state is None or last is None:
            raise ValueError(
                "there is nothing to resume: this network was trained, but not in a fit, nor saved in one, or it "
                "diverged. Leave resume out to begin with the parameters that it has."
            )
        for name, value in self._arguments().items():
            if value != getattr(state, name):
                raise ValueError(f"{name} is {value}; the fit to resume had {getattr(state, name)}. Give it the same.")
        if optimizer is not None and optimizer is not last and not last.is_like(optimizer):
            raise ValueError(
                f"optimizer is {optimizer!r}; the fit to resume has {last!r}. Give one with the same settings, or none."
            )
        if last.steps != state.updates:
            raise ValueError(
                f"the network was trained since the fit to resume: its optimizer made {last.steps} steps, "
                f"and {state.updates} by then."
            )
        return state

    # ---- the course ----------------------------------------------------------------------------------------------

    def run(self, bar: Progress) -> History:
        """Train the epochs, until a callback, early stopping, divergence or Ctrl-C ends them."""
        state = self.state
        try:
            self.start(self.model.engines)
            self.prepare()
            bar.show()
            if done := self.samples_done():
                bar.add(done)
            while self.goes_on:
                before, epoch = self.samples_done(), state.epoch
                if state.step < self.n_steps:
                    self.advance()
                self.end_epoch_if_due()
                bar.add(self.samples_done() - before)
                if state.epoch > epoch:
                    bar.say(self._summary)
        except KeyboardInterrupt:
            self.history.interrupted = True
        finally:
            bar.close()
            self.end()
        self.judge()
        return self.history

    def prepare(self) -> None:
        """Compile what the steps need, or load it from the cache."""
        if self.engine().moments is not self.moments:
            self.engine().train(*self._task(0))

    @property
    def goes_on(self) -> bool:
        """Whether there are epochs to train."""
        return self.state.epoch < self.course.epochs and not self.ended

    def start(self, engines: Engines, pace_of: Callable[..., Pace] | None = None) -> None:
        """Take what a fit needs while it runs, at the parameters that a fit to be resumed came to.

        Parameters
        ----------
        engines : Engines
            Those of the network, or others that serve it.
        pace_of : callable, optional
            Returns the pace, from the arguments of :class:`Pace`; None makes one.
        """
        state = self.state
        self._engines, self.lent = engines, ExitStack()
        self.data = self.given.of_fit(self.seed, self.course.bootstrap)
        held_out = self.data.held_out
        shuffles = self.course.shuffle and self.n_steps > 1
        self.order = np.empty(self.own, np.uint32) if shuffles else None
        if self.order is not None and state.step:
            passes.shuffled(address_of(self.order), self.own, self.seed, state.epoch)
        if self.stopping or state.best or state.last is not None:
            with Held():
                self._take_over()
        self.started = True
        measured = 0.0
        if held_out is not None and self.calls_late and not self.course.metrics:
            self.validation = self._measuring_engine(held_out)
            measured = len(held_out.X) / self.n_steps
        # Compiled code goes on from epoch to epoch if no callback is due between them, and if it measures the held-out
        # data, if there are any, and all that is monitored. Otherwise each epoch ends in Python.
        compiled = self.calls_late and not self.course.metrics
        if self.stopping and self.stopping.name != "validation_loss":
            compiled = False
        self.goes_past_epochs = compiled and (held_out is None or self.validation is not None)
        net, choice = self.model.architecture, self.engine().fit_choices[self.own_batch]
        self.pace = (pace_of or Pace)(net.sizes, self.own_batch, choice, net.dtype.itemsize, measured, net.frozen)

    @property
    def seed(self) -> int:
        """The seed of the draws from the rows."""
        return self.state.seed

    def _take_over(self) -> None:
        """Go back to the last parameters of a fit to be resumed, and keep the best."""
        state, parameters = self.state, self.model.parameters
        if state.last is not None:
            parameters[:] = state.last
            state.last = None
        state.best = (state.best or Best(parameters.copy())) if self.stopping else None
        if state.best and self.stopping:
            self.ended = state.best.is_old(state.epoch - 1, self.stopping.patience)
        self.started = True

    def _measuring_engine(self, held_out: HeldOut) -> Engine | None:
        """Return an engine that measures the held-out data between epochs, on one thread; None if that takes more."""
        rows = len(held_out.X)
        engine = self.lent.enter_context(self.engines.lend(rows, is_sparse(held_out.X)))
        if engine.plan.threads_for(rows) > 1:
            self.lent.close()
            return None
        engine.prepare_measure(*held_out, accuracy=self.model.architecture.classifies)
        return engine

    def judge(self) -> None:
        """Collect the warnings about a fit that has ended."""
        if not self.started:
            return
        self.warn_of_a_constant()
        if not arrays.is_finite(self.model.parameters):
            self.warnings.append(
                f"the parameters are no longer finite: the last step overflowed {self.model.dtype.name}. "
                f"{self._remedy()}, and begin with another network, or one that was saved."
            )

    def warn_of_a_constant(self) -> None:
        """Warn if the fit ended no better than the best constant prediction, the mean of Y."""
        loss, history = self.model.architecture.loss, self.history
        if not self.model.warns_of_a_constant or history.epochs < CONSTANT_EPOCHS or self.state.diverged:
            return
        data, constant, penalty = self.data, self.data.constant_cost, self.model.penalty()
        if not history.loss[-1] - penalty >= constant > 0:
            return
        # Steps with a high rate, and dropout, make an epoch's cost higher than that of its last parameters.
        with self.engines.lend(len(data.X), is_sparse(data.X)) as engine:
            cost = engine.loss(data.X, data.Y, data.weights) - penalty
        if cost >= constant:
            self.warnings.append(
                f"after {history.epochs} epochs the {loss.name} is {cost:.4g}, no better than {constant:.4g}, that of "
                f"predicting the mean of Y for every row. To see why, print(fastprop.diagnose(net, X, Y))."
            )

    def end_epoch_if_due(self) -> None:
        """End an epoch in Python, or the one that diverged: measure the held-out data, and ask the callbacks."""
        state, diverged = self.state, self.state.diverged
        epoch, step = state.epoch, state.step
        if step < self.n_steps and not diverged:
            return
        measured, metrics = self.measure()
        speed = self.samples_in(step) / max(state.seconds, LEAST_SECONDS)
        of_epoch = {"loss": state.mean_cost, "seconds": state.seconds, "samples_per_second": speed, **measured}
        if self.model.architecture.classifies:
            of_epoch["accuracy"] = state.accuracy
        with Held():
            self._end_epochs(*({name: [value] for name, value in each.items()} for each in (of_epoch, metrics)))
        self.ended = self.ask(self.after_epochs, epoch, diverged) or self.ended
        if diverged:
            self.warnings.append(
                f"the cost is {self.history.loss[-1]} in epoch {epoch + 1}, at step {step + 1} of {self.n_steps}: "
                f"training diverged and was stopped before that step, with the parameters that it had come to. "
                f"{self._remedy()}."
            )

    def measure(self) -> tuple[dict[str, float], dict[str, float]]:
        """Measure the held-out data, if there are any, by the names of the history's lists, and the metrics."""
        held_out = self.data.held_out
        return measure(self.engines, held_out, self.course.metrics) if held_out else ({}, {})

    def _remedy(self) -> str:
        """Return what helps against divergence: a lower learning rate, or scaled data if X or Y is not scaled."""
        advice = scaling.advice(self.model.architecture, self.data.X, self.data.Y)
        return f"Lower the learning rate (lr is {self.optimizer.rate:g}){advice}"

    def advance(self) -> None:
        """Train some steps in compiled code, then return to Python for the bar, Ctrl-C and the callbacks."""
        engine, started = self.engine(), time.perf_counter()
        steps, threads = self.pace.next(engine.plan.threads_for(self.batch), started)
        steps = min(steps, self._steps_ahead())
        with Held():
            task = self._task(steps)
            sums = *engine.train(*task, n_threads=threads), engine.right
            elapsed = time.perf_counter() - started
            seconds, ended = self._book(sums, task.epochs, elapsed)
            self.ask_late(ended)
        self.pace.learn(steps, threads, seconds, elapsed)
        self.ask_after_steps()

    def aim(self) -> None:
        """Choose the `steps` of the next slice, on one thread, and estimate `ahead`, the seconds of it and the next."""
        steps, _ = self.pace.next(1, time.perf_counter())
        ahead = self._steps_ahead()
        self.steps = min(steps, ahead)
        self.ahead = min(ahead * self.pace.step, SLICE_SECONDS)

    def prepare_slice(self) -> None:
        """Prepare the steps that :meth:`aim` chose as the job at the address `job`."""
        self.task = self._task(self.steps)
        self.job = self.engine().prepare_train(self.task)

    def book_slice(self) -> range:
        """Write what that job has done into the state and the history; return the epochs that it ended."""
        engine = self.engine()
        cost, weight, elapsed = engine.trained(self.task)
        seconds, ended = self._book((cost, weight, engine.right), self.task.epochs, elapsed)
        del self.task
        self.pace.learn(self.steps, 1, seconds, elapsed)
        return ended

    @property
    def engines(self) -> Engines:
        """Those that serve the network, with the layers frozen that are so now: a callback may have changed that."""
        self._engines.freeze(self.model.architecture.frozen)
        return self._engines

    def engine(self) -> Engine:
        """Return the engine of the steps."""
        self.model.architecture.check_trainable()
        return self.engines.training(self.own_batch, is_sparse(self.data.X))

    def _steps_ahead(self) -> int:
        """Return how many steps compiled code may train before Python has to decide something."""
        done = self._steps_done()
        ahead = self._epochs_ahead() * self.n_steps - self.state.step
        return min([ahead, *(k - done % k for k, _ in self.after_steps)])

    def _task(self, steps: int) -> Task:
        """Return the next steps as the arguments of `Engine.train`."""
        data, state = self.data, self.state
        state.updates = self.optimizer.steps  # a callback may have trained the network too
        epochs = self._epochs_of(state.step + steps) if steps and self.goes_past_epochs else None
        return Task(
            data.X, data.Y, data.weights, self.optimizer, self.moments, (state.step, state.step + steps), self.order,
            state.seed, state.epoch, (state.cost, state.weight, state.right, state.seconds), epochs,
        )  # fmt: skip

    def _epochs_ahead(self) -> int:
        """Return how many epochs compiled code may train before Python has to decide something."""
        if not self.goes_past_epochs:
            return 1
        state, lr = self.state, self.optimizer.lr
        ahead = self.course.epochs - state.epoch
        if isinstance(lr, ReduceOnPlateau):
            ahead = min(ahead, lr.epochs_left)
        if state.best and self.stopping:
            ahead = min(ahead, state.best.epochs_left(state.epoch, self.stopping.patience))
        return min([ahead, *(call.epochs_left for call in self.after_epochs)])

    def _epochs_of(self, last: int) -> Epochs:
        """Return what a call needs that may go past the end of an epoch, up to step `last` from that of this epoch."""
        best, stopping, count = self.state.best, self.stopping, last // self.n_steps
        if best is None or stopping is None:
            return Epochs(self.n_steps, count, self.validation)
        return Epochs(self.n_steps, count, self.validation, best.parameters, best.loss, stopping.min_delta)

    def _book(self, sums: tuple[float, float, float], epochs: Epochs | None, seconds: float) -> tuple[float, range]:
        """Write what a call has done into the state and the history.

        Divergence may have ended it early: its optimizer counts the steps. `seconds` is the duration of the call.

        Returns
        -------
        float
            The seconds that its training took.
        range
            The epochs that it ended.
        """
        state, first = self.state, self.state.epoch
        state.count(self.optimizer.steps)
        if epochs is not None:
            n_ended, step = divmod(state.step, self.n_steps)
            seconds = epochs.seconds - state.seconds + (self._book_epochs(epochs.records[:n_ended]) if n_ended else 0)
            state.step, state.seconds = step, epochs.seconds
        else:
            state.seconds += seconds
        state.cost, state.weight, state.right = sums
        nothing_since = state.epoch > first and not state.step and not state.diverged
        self.history.running_loss = self.history.loss[-1] if nothing_since else state.mean_cost
        return seconds, range(first, state.epoch)

    def _book_epochs(self, records: np.ndarray) -> float:
        """Write epochs into the history that compiled code has ended; return the seconds that their training took."""
        lists = {
            name: values.tolist()
            for name, values in zip(RECORDED, records.T, strict=False)
            if (self.validation or "validation" not in name)
            and (self.model.architecture.classifies or "accuracy" not in name)
        }
        self._end_epochs(lists, None)
        return sum(lists["seconds"])

    def samples_in(self, steps: int) -> int:
        """Return the number of samples in the first `steps` steps of an epoch."""
        return min(steps * self.batch, self.m)

    def _steps_done(self) -> int:
        return self.state.epoch * self.n_steps + self.state.step

    def samples_done(self) -> int:
        """Return the number of samples that were trained on, those of earlier epochs included."""
        return self.state.epoch * self.m + self.samples_in(self.state.step)

    def _end_epochs(self, lists: dict[str, list[float]], metrics: dict[str, list[float]] | None) -> None:
        """Write epochs into the history; reduce the rate on a plateau; compare with the best parameters.

        `metrics` are None if compiled code has ended the epochs, and copied the best parameters.
        """
        state, first, lr, stopping = self.state, self.state.epoch, self.optimizer.lr, self.stopping
        state.end_epochs(lists, metrics or {})
        measured = lists.get("validation_loss", lists["loss"])
        if isinstance(lr, ReduceOnPlateau):
            for loss in measured:
                lr.observe(loss)
        if state.best and stopping:
            parameters = None if metrics is None else self.model.parameters
            for epoch, value in enumerate(stopping.signed({**lists, **(metrics or {})}[stopping.name]), first):
                state.best.observe(epoch, value, stopping.min_delta, parameters)
            self.ended = self.ended or state.best.is_old(state.epoch - 1, stopping.patience)

    def ask_late(self, ended: range) -> None:
        """Call the callbacks that are called for epochs that compiled code has ended."""
        for epoch in ended if self.after_epochs else ():
            self.ended = self.ask(self.after_epochs, epoch) or self.ended

    def ask_after_steps(self) -> None:
        """Call the callbacks that are due after these steps; a fit that diverged ends."""
        done = self._steps_done()
        if self.state.diverged:
            self.ended = True
        elif self.after_steps:
            self.ended = self.ask([call for k, call in self.after_steps if done % k == 0], done)

    def ask(self, callbacks: Sequence[Any], count: int, diverged: bool = False) -> bool:
        """Call the callbacks, and return whether one of them ends the fit.

        A callback may fit the network itself, which leaves this fit as it is. A fit that diverged cannot be resumed.
        """
        answers = []
        for callback in callbacks:
            self.model.fit_state = None if diverged else self.state
            answers.append(callback(count, self.history))
        self.model.fit_state = None if diverged else self.state
        return any(answers)

    def _summary(self) -> str:
        """Return the last epoch in a few words."""
        history = self.history
        parts = [f"epoch {history.epochs}/{self.course.epochs}", f"loss {history.loss[-1]:.4f}"]
        if history.accuracy:
            parts.append(f"accuracy {history.accuracy[-1]:.2%}")
        if history.validation_accuracy:
            parts.append(f"validation accuracy {history.validation_accuracy[-1]:.2%}")
        elif history.validation_loss:
            parts.append(f"validation loss {history.validation_loss[-1]:.4f}")
        parts += (f"{name} {values[-1]:.4g}" for name, values in history.metrics.items() if values)
        return ", ".join(parts)

    def end(self) -> None:
        """With early stopping, go back to the best parameters; if that was done, do nothing."""
        if not self.started or self.over:
            return
        if self.validation is not None:
            self.validation.forget_measure()
            self.validation = None
        self.lent.close()
        state, parameters = self.state, self.model.parameters
        if state.best and state.best.epoch >= 0:
            with Held():
                state.last = parameters.copy()
                self.history.best_epoch = state.best.epoch
                parameters[:] = state.best.parameters
                self.over = True


def _processes(shares: Sequence[int]) -> str:
    """Return how the rows are shared out, in words."""
    return f"{len(shares)} processes ({', '.join(map(str, shares))})" if shares else "one process"


def checked_callbacks(name: str, value: Any) -> tuple[list[tuple[int, Any]], list[Any]]:
    """Return pairs (k, what to call after every k steps), and what to call after each epoch."""
    if not isinstance(value, Iterable) or isinstance(value, str):
        raise TypeError(f"{name} is {value!r}; it must be a sequence of functions, or of pairs (k, function).")
    after_steps, after_epochs = [], []
    for i, item in enumerate(value):
        k, call = item if isinstance(item, tuple) and len(item) == 2 else (getattr(item, "every", None), item)
        if not callable(call):
            raise TypeError(f"{name}[{i}] is {item!r}; it must be callable, or a pair (k, callable).")
        if k is None:
            after_epochs.append(call)
        else:
            after_steps.append((whole(f"k of {name}[{i}]", k), call))
    return after_steps, after_epochs
