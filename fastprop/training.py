"""fit: epochs in compiled code, and what happens between them."""

import math
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from . import inputs
from .kernels import estimate
from .optimizers import SGD, Optimizer
from .progress import Progress
from .schedules import ReduceOnPlateau

if TYPE_CHECKING:
    from .network import Network

SLICE_SECONDS = 0.07  # of compiled work between two looks at Python: the bar moves, and Ctrl-C works
TRIAL = 16  # slices, of which one, an eighth as long, tries another number of threads
GAIN = 1.1  # what it must be faster by


@dataclass
class History:
    """What a fit did, epoch by epoch, in plain lists.

    Attributes
    ----------
    loss : list of float
        Mean cost J of each epoch over its samples, each taken before the step that used it.
    validation_loss, validation_accuracy : list of float
        After each epoch, where validation data was given; accuracy where the targets are classes.
    seconds : list of float
        Duration of each epoch's training, validation apart.
    samples_per_second : list of float
    best_epoch : int or None
        With early stopping: the epoch (from 0) whose parameters the network holds now.
    interrupted : bool
        Whether Ctrl-C ended the fit.
    """

    loss: list[float] = field(default_factory=list)
    validation_loss: list[float] = field(default_factory=list)
    validation_accuracy: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    samples_per_second: list[float] = field(default_factory=list)
    best_epoch: int | None = None
    interrupted: bool = False

    @property
    def epochs(self) -> int:
        """Whole epochs trained."""
        return len(self.loss)


class _Pace:
    """How many steps to do at once, so that a slice lasts about `SLICE_SECONDS`, and on how many threads.

    The plan's number of threads is the best on idle cores. Where others compute too, a thread that has to wait for its
    core keeps all waiting in each phase: with a second process on two cores, 17-64-64-6 trained at half the speed of
    one thread. So now and then a short slice on half or twice as many threads is tried; the result has the same bits.
    """

    def __init__(self, sizes: tuple[int, ...], batch: int):
        self.steps = self._clip(SLICE_SECONDS / 4 / estimate.seconds(sizes, batch, 1))
        self.most = self.threads = self.slices = 0
        self.per_step: dict[int, float] = {}  # seconds, by threads

    @staticmethod
    def _clip(steps: float) -> int:
        return int(min(max(steps, 1), 2**40))

    def next(self, most: int) -> tuple[int, int]:
        """Steps of the next slice, and on how many threads, where the plan's number is `most`."""
        if most != self.most:
            self.most = self.threads = most
            self.slices = 0
        self.slices += 1
        if most > 1 and self.slices % TRIAL == 2:
            others = sorted({max(1, self.threads // 2), min(2 * self.threads, most)} - {self.threads})
            return max(1, self.steps // 8), others[self.slices // TRIAL % len(others)]
        return self.steps, self.threads

    def learn(self, steps: int, threads: int, seconds: float) -> None:
        """What a slice took."""
        self.per_step[threads] = seconds / steps
        if threads != self.threads:
            if GAIN * self.per_step[threads] < self.per_step[self.threads]:
                self.threads = threads
        elif steps >= self.steps or seconds > SLICE_SECONDS:
            self.steps = self._clip(steps * min(4.0, SLICE_SECONDS / max(seconds, 1e-6)))


class _BestSoFar:
    """Early stopping: the best parameters, and how long nothing has been better."""

    def __init__(self, network: "Network", patience: int):
        self.network, self.patience = network, patience
        self.loss, self.epoch, self.parameters = math.inf, -1, network.parameters.copy()

    def stops(self, epoch: int, loss: float) -> bool:
        if loss < self.loss:
            self.loss, self.epoch = loss, epoch
            self.parameters[:] = self.network.parameters
        return epoch - self.epoch >= self.patience

    def restore(self) -> int | None:
        if self.epoch < 0:
            return None
        self.network.parameters[:] = self.parameters
        return self.epoch


def fit(network: "Network", X: Any, Y: Any, *, epochs: int, batch_size: int = 128,
        optimizer: Optimizer | None = None, shuffle: bool = True, sample_weight: Any = None, validation: Any = None,
        early_stopping: int | None = None, callbacks: Sequence[Callable[[int, History], Any]] = (),
        progress: bool | None = None, rng: int | np.random.Generator | None = None) -> History:  # fmt: skip
    """Train a network for some epochs.

    Each epoch draws the rows in a new random order, cuts it into batches (a ragged last one is used too), and takes a
    step of the optimizer on each: gather, forward, cost, the four equations and the update, all in compiled code.

    Parameters
    ----------
    X : array_like of shape (m, n_0)
        C-contiguous float32 is used as it is; anything else is converted once.
    Y : array_like of shape (m, n_L), or integer labels (m,) for a softmax
    epochs, batch_size : int
    optimizer : Optimizer, optional
        ``SGD(lr=0.1)`` if none is given.
    shuffle : bool
        False keeps the rows in their order.
    sample_weight : array_like of shape (m,), optional
        Of each sample in the cost and in equations 2 and 3.
    validation : (X, Y), optional
        Measured after each epoch.
    early_stopping : int, optional
        Stop after so many epochs without a lower validation loss, and go back to the best parameters.
    callbacks : sequence of callables
        Each is called after each epoch with (epoch, history); a true result ends the fit.
    progress : bool, optional
        A progress bar (extra ``progress``); None shows one on a terminal.
    rng : int, Generator, optional
        Of the shuffle; None goes on with the network's own.

    Returns
    -------
    History

    Raises
    ------
    ValueError, TypeError
        If anything does not fit. The network is unchanged then.

    Warns
    -----
    RuntimeWarning
        If the cost is no longer finite; the fit ends there.

    Notes
    -----
    Ctrl-C ends the fit between two batches; the network is usable, and the history so far is returned.
    """
    X, Y = inputs.batch(X, Y, *network._ends)
    weights = inputs.weights(sample_weight, len(X))
    epochs, batch = inputs.whole("epochs", epochs), min(inputs.whole("batch_size", batch_size), len(X))
    shuffle, held_out = inputs.flag("shuffle", shuffle), _validation(network, validation)
    if early_stopping is not None:
        early_stopping = inputs.whole("early_stopping", early_stopping)
        if held_out is None:
            raise ValueError("early_stopping needs validation data. Pass validation=(X, Y) too.")
    callbacks = inputs.callables("callbacks", callbacks)
    generator = network._rng if rng is None else inputs.generator(rng)
    optimizer = SGD(lr=0.1) if optimizer is None else optimizer
    moments = network._moments_of(optimizer)

    shuffle = shuffle and batch < len(X)  # one batch of all rows has no order
    order = np.empty(len(X), np.uint32) if shuffle else None
    seed = int(generator.integers(2**62)) if shuffle else 0
    n_steps = -(-len(X) // batch)
    history, pace = History(), _Pace(network.sizes, batch)
    best = _BestSoFar(network, early_stopping) if early_stopping else None
    bar = Progress(progress, epochs * len(X))
    network._engine_for_batch(batch).train(X, Y, weights, optimizer, moments, (0, 0))  # no step: compiles
    bar.show()
    try:
        for epoch in range(epochs):
            cost = weight = seconds = 0.0
            step = 0
            while step < n_steps:
                engine = network._engine_for_batch(batch)
                steps, threads = pace.next(engine.plan.threads)
                last = min(n_steps, step + steps)
                started = time.perf_counter()
                done = engine.train(X, Y, weights, optimizer, moments, (step, last), order, seed, epoch, threads)
                taken = time.perf_counter() - started
                pace.learn(last - step, threads, taken)
                cost, weight, seconds = cost + done[0], weight + done[1], seconds + taken
                bar.add(min(last * batch, len(X)) - step * batch)
                step = last
                if not math.isfinite(cost):
                    break
            history.loss.append(cost / weight)
            history.seconds.append(seconds)
            history.samples_per_second.append(min(step * batch, len(X)) / seconds)
            if held_out is not None:
                _measure(network, held_out, history)
            if isinstance(optimizer.lr, ReduceOnPlateau):
                optimizer.lr.observe((history.validation_loss or history.loss)[-1])
            bar.say(_summary(epoch, epochs, history))
            wants_to_stop = [callback(epoch, history) for callback in callbacks]
            if not math.isfinite(cost):
                warnings.warn(
                    f"the cost is {cost} in epoch {epoch + 1}, at or before step {step} of {n_steps}: training "
                    f"diverged and was stopped. Lower the learning rate (lr is {optimizer.rate:g}) or scale X.",
                    RuntimeWarning,
                    stacklevel=3,
                )
                break
            if (best and best.stops(epoch, history.validation_loss[-1])) or any(wants_to_stop):
                break
    except KeyboardInterrupt:
        history.interrupted = True
    finally:
        bar.close()
        if best:
            history.best_epoch = best.restore()
    return history


def _validation(network: "Network", validation: Any) -> tuple[np.ndarray, np.ndarray] | None:
    if validation is None:
        return None
    if not isinstance(validation, tuple | list) or len(validation) != 2:
        raise TypeError("validation must be a pair (X, Y).")
    X = inputs.features(validation[0], network.sizes[0], "validation X")
    return X, inputs.targets(validation[1], len(X), *network._ends[1:], "validation Y")


def accuracy(network: "Network", Y_hat: np.ndarray, Y: np.ndarray) -> float | None:
    """Share of samples whose class is right; None where the targets are not classes."""
    if network.output == "softmax":
        return float(np.mean(Y_hat.argmax(axis=1) == (Y if Y.ndim == 1 else Y.argmax(axis=1))))
    if network.output == "sigmoid" and network.sizes[-1] == 1:
        return float(np.mean((Y_hat > 0.5) == (Y > 0.5)))
    return None


def _measure(network: "Network", held_out: tuple[np.ndarray, np.ndarray], history: History) -> None:
    X, Y = held_out
    history.validation_loss.append(network._borrow(len(X), lambda engine: engine.loss(X, Y)))
    share = accuracy(network, network._borrow(len(X), lambda engine: engine.forward(X, transpose=False)), Y)
    if share is not None:
        history.validation_accuracy.append(share)


def _summary(epoch: int, epochs: int, history: History) -> str:
    parts = [f"epoch {epoch + 1}/{epochs}", f"loss {history.loss[-1]:.4f}"]
    if history.validation_accuracy:
        parts.append(f"validation accuracy {history.validation_accuracy[-1]:.2%}")
    elif history.validation_loss:
        parts.append(f"validation loss {history.validation_loss[-1]:.4f}")
    return ", ".join(parts)
