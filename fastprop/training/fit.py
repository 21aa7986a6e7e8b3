"""fit: epochs in compiled code, and what happens between them."""

import time
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np

from .. import scaling
from ..checks import flag, generator, whole
from ..core import arrays
from ..core.engine import Engine, Epochs
from ..core.model import Model
from ..core.sparse import is_sparse
from ..kernels import passes
from ..kernels.interrupts import Held
from ..kernels.plan import EPOCH_COST, EPOCH_SECONDS, EPOCH_WEIGHT, HELD_OUT_ACCURACY, HELD_OUT_COST
from ..kernels.scan import address_of
from ..optimizers import Adam, Optimizer
from ..schedules import ReduceOnPlateau
from ..texts import warn
from . import samples
from .history import Best, FitState, History
from .pace import Pace
from .progress import Progress

CONSTANT_EPOCHS = 10  # after which a fit should be better than a constant prediction


def fit(model: Model, X: Any, Y: Any, *, optimizer: Any, progress: Any, rng: Any, resume: Any, **asked: Any) -> History:
    """Train a network for some epochs; see :meth:`fastprop.Network.fit`, which calls this."""
    job = Fit(model, X, Y, **asked)
    job.begin(optimizer, progress, rng, flag("resume", resume))
    history = job.run()
    for text in job.warnings:
        warn(text, RuntimeWarning, stacklevel=3)
    return history


class Fit:
    """One call of :meth:`fastprop.Network.fit`: its arguments, checked, and its course.

    A fit is a sequence of slices, and a slice a run of steps in one compiled call, which goes on from epoch to epoch
    where nothing needs Python between them. A callback that has `epochs_left`, the number of epochs after which it may
    change something or end the fit at the earliest, is called for all of these after a slice, in their order: the
    history then already contains the later ones, and the network has the last parameters.
    """

    def __init__(
        self,
        model: Model,
        X: Any,
        Y: Any,
        *,
        epochs: Any,
        batch_size: Any,
        shuffle: Any,
        sample_weight: Any,
        class_weight: Any,
        validation: Any,
        early_stopping: Any,
        callbacks: Any,
    ):
        """Check the arguments; nothing is changed."""
        net = model.architecture
        self.model = model
        self.X, self.Y = net.check_samples(X, Y)
        rows = len(self.X)
        self.weights = samples.class_weights(class_weight, self.Y, net, net.check_weights(sample_weight, self.Y))
        self.epochs = whole("epochs", epochs)
        self.batch_size = whole("batch_size", batch_size)
        self.shuffle = flag("shuffle", shuffle)
        n_held_out = samples.n_held_out(validation, rows, self.weights)
        self.fraction = validation if n_held_out else 0.0
        self.held_out = None if n_held_out else samples.validation_data(validation, net)
        self.patience = None if early_stopping is None else whole("early_stopping", early_stopping)
        if self.patience and self.held_out is None and not self.fraction:
            raise ValueError("early_stopping needs validation data. Pass validation=(X, Y) or a fraction too.")
        self.after_steps, self.after_epochs = checked_callbacks("callbacks", callbacks)
        self.calls_late = not self.after_steps and all(hasattr(call, "epochs_left") for call in self.after_epochs)
        self.m = rows - n_held_out
        self.batch = min(self.batch_size, self.m)
        self.n_steps = -(-self.m // self.batch)
        self.ended = False
        self.validation: Engine | None = None
        self.warnings: list[str] = []

    # ---- begin ---------------------------------------------------------------------------------------------------

    def begin(self, optimizer: Any, progress: Any, rng: Any, resume: bool) -> None:
        """Check the rest, bind the optimizer, and draw the rows that are held out."""
        model = self.model
        source = model.generator if rng is None else generator(rng)
        state = self._state_to_resume(optimizer) if resume else None
        self.bar = Progress(progress, self.epochs * self.m)
        self._bind(optimizer)
        self.state = state or FitState(
            **self._arguments(), seed=int(source.integers(2**62)), updates=self.optimizer.steps
        )
        self.history = self.state.history
        if self.fraction:
            self._hold_out()
        self.order = np.empty(self.m, np.uint32) if self.shuffle and self.n_steps > 1 else None  # else no order
        if self.order is not None and self.state.step:
            passes.shuffled(address_of(self.order), self.m, self.state.seed, self.state.epoch)
        with Held():
            self._take_over()

    def _arguments(self) -> dict[str, Any]:
        """Return the arguments that a fit which resumes must have in common with the first."""
        return {
            "rows": len(self.X),
            "batch_size": self.batch_size,
            "shuffle": self.shuffle,
            "fraction": self.fraction,
        }

    def _state_to_resume(self, optimizer: Any) -> FitState:
        """Return the state of the last fit, which must have had the same arguments and been the last training."""
        state, last = self.model.fit_state, self.model.optimizer
        if state is None or last is None:
            raise ValueError(
                "there is nothing to resume: this network was not in a fit, nor saved in one, or it diverged."
            )
        for name, value in self._arguments().items():
            if value != getattr(state, name):
                raise ValueError(f"{name} is {value}; the fit to resume had {getattr(state, name)}. Give it the same.")
        if optimizer is not None and optimizer is not last:
            raise ValueError(
                "resume=True goes on with the network's own optimizer, net.optimizer. Leave optimizer out."
            )
        if last.steps != state.updates:
            raise ValueError(
                f"the network was trained since the fit to resume: its optimizer made {last.steps} steps, "
                f"and {state.updates} by then."
            )
        return state

    def _bind(self, optimizer: Any) -> None:
        """Bind the optimizer and announce the fit to the callbacks; if one of them refuses, nothing is changed."""
        model = self.model
        before = model.optimizer
        if optimizer is None:
            optimizer = before or Adam()
        self.moments = model.bind(optimizer)
        self.optimizer: Optimizer = optimizer
        try:
            _ = optimizer.rate  # raises if a custom schedule returns no valid rate
            for callback in (*(call for _, call in self.after_steps), *self.after_epochs):
                if hasattr(callback, "begins"):
                    callback.begins(model)
        except BaseException:
            model.rebind(before)
            raise

    def _hold_out(self) -> None:
        """Draw the rows that are held out; the rest is trained on."""
        n_held_out = len(self.X) - self.m
        weights, source = self.weights, np.random.default_rng(self.state.seed)
        out, rest = samples.split(self.Y, n_held_out, source, None if weights is None else weights.samples)
        self.held_out = samples.HeldOut(self.X[out], self.Y[out], weights and weights.rows(out))
        self.X, self.Y, self.weights = self.X[rest], self.Y[rest], weights and weights.rows(rest)

    def _take_over(self) -> None:
        """Make this the network's fit, at the parameters that a fit to be resumed came to."""
        state, parameters = self.state, self.model.parameters
        self.model.fit_state = state
        if state.last is not None:
            parameters[:] = state.last
            state.last = None
        state.best = (state.best or Best(parameters.copy())) if self.patience else None
        if state.best:
            self.ended = state.best.is_old(state.epoch - 1, self.patience or 0)
        self.history.interrupted = False

    # ---- the course ----------------------------------------------------------------------------------------------

    def run(self) -> History:
        """Train the epochs, until a callback, early stopping, divergence or Ctrl-C ends them."""
        state = self.state
        try:
            with self._measuring_engine() as engine:
                self._compile(engine)
                while state.epoch < self.epochs and not self.ended:
                    if state.step < self.n_steps:
                        self.slice()
                    if state.step == self.n_steps or state.diverged:
                        self._finish_epoch()
        except KeyboardInterrupt:
            self.history.interrupted = True
        finally:
            self.end()
        self._warn_of_a_constant()
        if not arrays.is_finite(self.model.parameters):
            self.warnings.append(
                f"the parameters are no longer finite: the last step overflowed {self.model.dtype.name}. "
                f"{self._remedy()}, and begin with another network, or one that was saved."
            )
        return self.history

    def _measuring_engine(self) -> AbstractContextManager[Engine | None]:
        """Lend an engine that measures the held-out data between epochs: on one thread, if no callback is due."""
        if self.held_out is None or not self.calls_late:
            return nullcontext()
        engines, X = self.model.engines, self.held_out.X
        with engines.lend(len(X), is_sparse(X)) as engine:
            alone = engine.plan.threads_for(len(X)) == 1
        return engines.lend(len(X), is_sparse(X)) if alone else nullcontext()

    def _compile(self, validation: Engine | None) -> None:
        """Compile what the steps need, or load it from the cache, and show the bar.

        Compiled code goes on from epoch to epoch if no callback is due between them, and if it measures the held-out
        data, if there are any. Otherwise each epoch ends in Python.
        """
        training = self.model.engines.training(self.batch, is_sparse(self.X))
        if training.moments is not self.moments:
            training.train(self.X, self.Y, self.weights, self.optimizer, self.moments, (0, 0))  # without a step
        self.validation, rows = validation, 0
        if validation is not None and self.held_out is not None:
            rows = len(self.held_out.X)
            validation.prepare_measure(*self.held_out, accuracy=self.model.architecture.classifies)
        self.goes_past_epochs = self.calls_late and (self.held_out is None or validation is not None)
        size, choice = self.model.dtype.itemsize, training.fit_choices[self.batch]
        self.pace = Pace(self.model.sizes, self.batch, choice, size, rows / self.n_steps)
        self.bar.show()
        if done := self._samples_done():
            self.bar.add(done)

    def _warn_of_a_constant(self) -> None:
        """Warn if the fit ended no better than the best constant prediction, the mean of Y."""
        loss, history = self.model.architecture.loss, self.history
        if not self.model.warns_of_a_constant or history.epochs < CONSTANT_EPOCHS or self.state.diverged:
            return
        constant, penalty = samples.constant_cost(self.Y, self.weights, self.model.architecture), self.model.penalty()
        if not history.loss[-1] - penalty >= constant > 0:
            return
        # Steps with a high rate, and dropout, make an epoch's cost higher than that of its last parameters.
        with self.model.engines.lend(len(self.X), is_sparse(self.X)) as engine:
            cost = engine.loss(self.X, self.Y, self.weights) - penalty
        if cost >= constant:
            self.warnings.append(
                f"after {history.epochs} epochs the {loss.name} is {cost:.4g}, no better than {constant:.4g}, that of "
                f"predicting the mean of Y for every row. To see why, print(fastprop.diagnose(net, X, Y))."
            )

    def _finish_epoch(self) -> None:
        """End an epoch in Python, or the one that diverged: measure the held-out data, and ask the callbacks."""
        state, diverged = self.state, self.state.diverged
        measured = samples.measure(self.model, self.held_out) if self.held_out else {}
        epoch, step = state.epoch, state.step
        with Held():
            self._end_epoch(self._samples(step), measured, self.model.parameters)
        self.bar.say(self._summary)
        self.ended = self._ask(self.after_epochs, epoch, diverged) or self.ended
        if diverged:
            self.warnings.append(
                f"the cost is {self.history.loss[-1]} in epoch {epoch + 1}, at step {step + 1} of {self.n_steps}: "
                f"training diverged and was stopped before that step, with the parameters that it had come to. "
                f"{self._remedy()}."
            )

    def _remedy(self) -> str:
        """Return what helps against divergence: a lower learning rate, or scaled data if X or Y is not scaled."""
        advice = scaling.advice(self.model.architecture, self.X, self.Y)
        return f"Lower the learning rate (lr is {self.optimizer.rate:g}){advice}"

    def slice(self) -> None:
        """Train some steps in compiled code, then return to Python for the bar, Ctrl-C and the callbacks."""
        state, optimizer = self.state, self.optimizer
        epoch, first = state.epoch, state.step
        engine = self.model.engines.training(self.batch, is_sparse(self.X))
        started, before = time.perf_counter(), self._samples_done()
        steps, threads = self.pace.next(engine.plan.threads_for(self.batch), started)
        done = epoch * self.n_steps + first
        ahead = self._epochs_ahead() * self.n_steps - first
        steps = min([steps, ahead, *(k - done % k for k, _ in self.after_steps)])
        epochs = self._epochs_of(first + steps) if self.goes_past_epochs else None
        with Held():
            state.updates = optimizer.steps  # a callback may have trained the network too
            sums = engine.train(
                self.X, self.Y, self.weights, optimizer, self.moments, (first, first + steps), self.order, state.seed,
                epoch, threads, (state.cost, state.weight), epochs,
            )  # fmt: skip
            elapsed = time.perf_counter() - started
            seconds = self._book(sums, epochs, elapsed)
            for ended in range(epoch, state.epoch):
                self.ended = self._ask(self.after_epochs, ended) or self.ended
        self.pace.learn(steps, threads, seconds, elapsed)
        self.bar.add(self._samples_done() - before)
        if state.epoch > epoch:
            self.bar.say(self._summary)
        if state.diverged:
            self.ended = True
        elif self.after_steps:
            due = [call for k, call in self.after_steps if (done + steps) % k == 0]
            self.ended = self._ask(due, done + steps)

    def _epochs_ahead(self) -> int:
        """Return how many epochs compiled code may train before Python has to decide something."""
        if not self.goes_past_epochs:
            return 1
        state, lr = self.state, self.optimizer.lr
        ahead = self.epochs - state.epoch
        if isinstance(lr, ReduceOnPlateau):
            ahead = min(ahead, lr.epochs_left)
        if state.best:
            ahead = min(ahead, state.best.epochs_left(state.epoch, self.patience or 0))
        return min([ahead, *(call.epochs_left for call in self.after_epochs)])

    def _epochs_of(self, last: int) -> Epochs:
        """Return what a call needs that may go past the end of an epoch, up to step `last` from that of this epoch."""
        best, count = self.state.best, last // self.n_steps
        if best is None:
            return Epochs(self.n_steps, count, self.validation)
        return Epochs(self.n_steps, count, self.validation, best.parameters, best.loss)

    def _book(self, sums: tuple[float, float], epochs: Epochs | None, seconds: float) -> float:
        """Write what a call has done into the state and the history; return the seconds that its training took.

        Divergence may have ended it early: its optimizer counts the steps.
        """
        state, n_ended = self.state, 0
        state.count(self.optimizer.steps)
        if epochs is not None:
            n_ended, step = divmod(state.step, self.n_steps)
            records = epochs.records[:n_ended].tolist()
            for record in records:
                self._book_epoch(record)
            state.step = step
            seconds = epochs.seconds + sum(record[EPOCH_SECONDS] for record in records)
        state.seconds += seconds if epochs is None else epochs.seconds
        state.cost, state.weight = sums
        nothing_since = n_ended and not state.step and not state.diverged
        self.history.running_loss = self.history.loss[-1] if nothing_since else state.mean_cost
        return seconds

    def _book_epoch(self, record: list[float]) -> None:
        """Write an epoch into the history that compiled code has ended."""
        state, measured = self.state, {}
        state.cost, state.weight = record[EPOCH_COST], record[EPOCH_WEIGHT]
        state.seconds += record[EPOCH_SECONDS]
        if self.validation:
            measured["validation_loss"] = record[HELD_OUT_COST]
            if self.model.architecture.classifies:
                measured["validation_accuracy"] = record[HELD_OUT_ACCURACY]
        self._end_epoch(self.m, measured)

    def _samples(self, steps: int) -> int:
        """Return the number of samples in the first `steps` steps of an epoch."""
        return min(steps * self.batch, self.m)

    def _samples_done(self) -> int:
        return self.state.epoch * self.m + self._samples(self.state.step)

    def _end_epoch(self, n_samples: int, measured: dict[str, float], parameters: np.ndarray | None = None) -> None:
        """Write the epoch into the history; reduce the rate on a plateau; compare with the best parameters.

        Without `parameters`, compiled code has copied them.
        """
        state, epoch, lr = self.state, self.state.epoch, self.optimizer.lr
        state.end_epoch(n_samples, measured)
        if isinstance(lr, ReduceOnPlateau):
            lr.observe((self.history.validation_loss or self.history.loss)[-1])
        if state.best:
            state.best.observe(epoch, self.history.validation_loss[-1], parameters)
            self.ended = self.ended or state.best.is_old(epoch, self.patience or 0)

    def _ask(self, callbacks: Sequence[Any], count: int, diverged: bool = False) -> bool:
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
        parts = [f"epoch {history.epochs}/{self.epochs}", f"loss {history.loss[-1]:.4f}"]
        if history.validation_accuracy:
            parts.append(f"validation accuracy {history.validation_accuracy[-1]:.2%}")
        elif history.validation_loss:
            parts.append(f"validation loss {history.validation_loss[-1]:.4f}")
        return ", ".join(parts)

    def end(self) -> None:
        """Close the bar, and with early stopping go back to the best parameters."""
        self.bar.close()
        if self.validation is not None:
            self.validation.forget_measure()
        state, parameters = self.state, self.model.parameters
        if state.best and state.best.epoch >= 0:
            state.last = parameters.copy()
            self.history.best_epoch = state.best.epoch
            parameters[:] = state.best.parameters


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
