"""fit: epochs in compiled code, and what happens between them."""

import math
import os
import signal
import threading
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from . import inputs
from .kernels import estimate, passes
from .kernels.scan import address_of
from .optimizers import SGD, Optimizer
from .progress import Progress
from .schedules import ReduceOnPlateau
from .threads import Choice

if TYPE_CHECKING:
    from .network import Network

SLICE_SECONDS = 0.07  # of compiled work between two looks at Python: the bar moves, and Ctrl-C works


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
    running_loss : float
        Mean cost of the running epoch so far, for callbacks between its steps.
    interrupted : bool
        Whether Ctrl-C ended the fit.
    """

    loss: list[float] = field(default_factory=list)
    validation_loss: list[float] = field(default_factory=list)
    validation_accuracy: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    samples_per_second: list[float] = field(default_factory=list)
    best_epoch: int | None = None
    running_loss: float = 0.0
    interrupted: bool = False

    @property
    def epochs(self) -> int:
        """Whole epochs trained."""
        return len(self.loss)

    def plot(self, path: str | os.PathLike[str] | None = None) -> Any:
        """The losses and the accuracy over the epochs, by :func:`fastprop.plots.learning_curves` (extra ``plot``)."""
        from . import plots

        return plots.learning_curves(self, path)


class _Pace:
    """How many steps to do at once, so that a slice lasts about `SLICE_SECONDS`, and on how many threads."""

    def __init__(self, sizes: tuple[int, ...], batch: int, choice: Choice):
        self.steps = self._clip(SLICE_SECONDS / 4 / estimate.seconds(sizes, batch, 1))
        self.choice = choice

    @staticmethod
    def _clip(steps: float) -> int:
        return int(min(max(steps, 1), 2**40))

    def next(self, most: int, now: float) -> tuple[int, int]:
        """Steps of the next slice, and on how many threads, where the plan's number is `most` and the time `now`."""
        trial = max(1, self.steps // 8)
        threads = self.choice.next(most, trial, now)
        return (self.steps if threads == self.choice.threads else trial), threads

    def learn(self, steps: int, threads: int, seconds: float) -> None:
        """What a slice took."""
        if threads == self.choice.threads and (steps >= self.steps or seconds > SLICE_SECONDS):
            self.steps = self._clip(steps * min(4.0, SLICE_SECONDS / max(seconds, 1e-6)))
        self.choice.learn(steps, seconds)


@dataclass
class Best:
    """Early stopping: the best parameters so far."""

    parameters: np.ndarray
    loss: float = math.inf
    epoch: int = -1

    def observe(self, epoch: int, loss: float, parameters: np.ndarray) -> None:
        """Keep what is better."""
        if loss < self.loss:
            self.loss, self.epoch = loss, epoch
            self.parameters[:] = parameters

    def is_old(self, epoch: int, patience: int) -> bool:
        """Whether nothing has been better for so many epochs."""
        return epoch - self.epoch >= patience


@dataclass
class Run:
    """Where a fit stands, between two batches: what it takes to go on with it, beside the network and its optimizer.

    Attributes
    ----------
    rows, batch_size, shuffle, fraction
        Of the call, `fraction` being the share of the rows that is held out; one that goes on must have the same.
    seed : int
        Of its shuffles, and of the rows that a fraction holds out.
    updates : int
        The optimizer's steps by then.
    epoch, step : int
        The next ones.
    cost, weight, seconds : float
        Sums over the steps of the running epoch.
    history : History
    best : Best or None
        With early stopping.
    last : ndarray or None
        The parameters at the end, where the network went back to the best.
    """

    rows: int
    batch_size: int
    shuffle: bool
    fraction: float
    seed: int
    updates: int = 0
    epoch: int = 0
    step: int = 0
    cost: float = 0.0
    weight: float = 0.0
    seconds: float = 0.0
    history: History = field(default_factory=History)
    best: Best | None = None
    last: np.ndarray | None = None

    def end_epoch(self, samples: int, measured: dict[str, float]) -> None:
        """Write the epoch into the history, and begin the next one."""
        history = self.history
        history.loss.append(_mean(self.cost, self.weight))
        history.seconds.append(self.seconds)
        history.samples_per_second.append(samples / max(self.seconds, 1e-9))
        for name, value in measured.items():
            getattr(history, name).append(value)
        self.epoch, self.step = self.epoch + 1, 0
        self.cost = self.weight = self.seconds = 0.0


def _to_resume(network: "Network", optimizer: Any, **asked: Any) -> Run:
    """The run to go on with, which must be of the same call, and the last thing that the network was trained by."""
    run, last = network._run, network._optimizer
    if run is None or last is None:
        raise ValueError("there is nothing to resume: this network was not in a fit, nor saved in one, or it diverged.")
    for name, value in asked.items():
        if value != getattr(run, name):
            raise ValueError(f"{name} is {value}; the fit to resume had {getattr(run, name)}. Give it the same.")
    if optimizer is not None and optimizer is not last:
        raise ValueError("resume=True goes on with the network's own optimizer, net.optimizer. Leave optimizer out.")
    if last.steps != run.updates:
        raise ValueError(
            f"the network was trained since the fit to resume: its optimizer made {last.steps} steps, "
            f"and {run.updates} by then."
        )
    return run


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Have Ctrl-C wait until what belongs together is done."""
    usual = signal.getsignal(signal.SIGINT) if threading.current_thread() is threading.main_thread() else None
    if not callable(usual):
        yield
        return
    came: list[tuple[int, Any]] = []
    signal.signal(signal.SIGINT, lambda number, frame: came.append((number, frame)))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, usual)
        if came:
            usual(*came[0])


def fit(network: "Network", X: Any, Y: Any, *, epochs: int, batch_size: int = 128,
        optimizer: Optimizer | None = None, shuffle: bool = True, sample_weight: Any = None, validation: Any = None,
        class_weight: Any = None, early_stopping: int | None = None, callbacks: Sequence[Any] = (),
        progress: bool | None = None, rng: int | np.random.Generator | None = None,
        resume: bool = False) -> History:  # fmt: skip
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
        None goes on with the network's last one; at first it is ``SGD(lr=0.1)``.
    shuffle : bool
        False keeps the rows in their order.
    sample_weight : array_like of shape (m,), optional
        Of each sample in the cost and in equations 2 and 3.
    class_weight : "balanced" or dict, optional
        A weight for each class, beside that of the sample: {class: weight}, or m/(classes · samples of the class).
        For labels, one-hot rows, or 0 and 1 of a single sigmoid.
    validation : (X, Y) or float, optional
        Measured after each epoch. A fraction holds out so many of the rows, drawn at random, of each class alike; the
        rows are copied for it.
    early_stopping : int, optional
        Stop after so many epochs without a lower validation loss, and go back to the best parameters.
    callbacks : sequence of callables, or of pairs (k, callable)
        A callable is called after each epoch with (epoch, history), one in a pair after every k steps with (steps so
        far, history), whose `running_loss` is the epoch's up to then; a true result ends the fit. One that has a method
        ``begins(network)`` is told when the fit begins, such as :class:`fastprop.Checkpoint`.
    progress : bool, optional
        A progress bar (extra ``progress``); None shows one on a terminal.
    rng : int, Generator, optional
        Of the shuffle; None goes on with the network's own.
    resume : bool
        Go on with the last fit, at the batch where it stopped or was saved, with the network's own optimizer: `epochs`
        counts from its beginning, and so does what is returned. With the same arguments the parameters have the bits
        of a fit that never stopped.

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
        If the cost is no longer finite; the fit ends before the step whose cost it is.

    Notes
    -----
    Ctrl-C ends the fit between two batches; the network is usable, and the history so far is returned.
    """
    X, Y = inputs.batch(X, Y, *network._ends)
    weights = _class_weights(class_weight, Y, network, inputs.weights(sample_weight, len(X)))
    epochs, batch_size = inputs.whole("epochs", epochs), inputs.whole("batch_size", batch_size)
    shuffle, fraction = inputs.flag("shuffle", shuffle), _fraction(validation, len(X))
    held_out = None if fraction else _validation(network, validation)
    patience = None if early_stopping is None else inputs.whole("early_stopping", early_stopping)
    if patience and held_out is None and not fraction:
        raise ValueError("early_stopping needs validation data. Pass validation=(X, Y) or a fraction too.")
    after_steps, after_epochs = inputs.callbacks("callbacks", callbacks)
    generator = network._rng if rng is None else inputs.generator(rng)
    m = len(X) - round(fraction * len(X))
    batch = min(batch_size, m)
    n_steps = -(-m // batch)
    asked: dict[str, Any] = {"rows": len(X), "batch_size": batch_size, "shuffle": shuffle, "fraction": fraction}
    run = _to_resume(network, optimizer, **asked) if inputs.flag("resume", resume) else None
    bar = Progress(progress, epochs * m)
    before = network._optimizer
    if optimizer is None:
        optimizer = before or SGD(lr=0.1)
    moments = network._moments_of(optimizer)
    try:
        _ = optimizer.rate  # a schedule of one's own may give what is none
        for callback in (*(call for _, call in after_steps), *after_epochs):
            if hasattr(callback, "begins"):
                callback.begins(network)
    except BaseException:
        network._optimizer = before
        raise

    run = run or Run(**asked, seed=int(generator.integers(2**62)), updates=optimizer.steps)
    if fraction:
        out, rest = _drawn(Y, fraction, np.random.default_rng(run.seed))
        held_out, X, Y = (X[out], Y[out]), X[rest], Y[rest]
        weights = None if weights is None else weights[rest]
    order = np.empty(m, np.uint32) if shuffle and n_steps > 1 else None  # one batch of all rows has no order
    if order is not None and run.step:
        passes.shuffled(address_of(order), m, run.seed, run.epoch)
    engine = network._engine_for_batch(batch)
    pace = _Pace(network.sizes, batch, engine.choice)
    engine.train(X, Y, weights, optimizer, moments, (0, 0))  # no step: compiles
    with _uninterrupted():
        network._run, history = run, run.history
        if run.last is not None:
            network.parameters[:], run.last = run.last, None
        best = run.best = (run.best or Best(network.parameters.copy())) if patience else None
    ends = best is not None and best.is_old(run.epoch - 1, patience or 0)
    history.interrupted = False
    bar.show()
    if resume:
        bar.add(run.epoch * m + min(run.step * batch, m))
    try:
        while run.epoch < epochs and not ends:
            while run.step < n_steps and not ends:
                engine, first = network._engine_for_batch(batch), run.step
                started = time.perf_counter()
                steps, threads = pace.next(engine.plan.threads, started)
                done_before = run.epoch * n_steps + first
                steps = min([steps, n_steps - first, *(k - done_before % k for k, _ in after_steps)])
                with _uninterrupted():
                    run.cost, run.weight = engine.train(
                        X, Y, weights, optimizer, moments, (first, first + steps), order, run.seed, run.epoch, threads,
                        (run.cost, run.weight),
                    )  # fmt: skip
                    seconds = time.perf_counter() - started
                    run.step += optimizer.steps - run.updates
                    run.updates, run.seconds = optimizer.steps, run.seconds + seconds
                pace.learn(steps, threads, seconds)
                bar.add(min(run.step * batch, m) - first * batch)
                history.running_loss = _mean(run.cost, run.weight)
                if not math.isfinite(run.cost):
                    ends = True
                elif after_steps:
                    ends = _ask([call for k, call in after_steps if (done_before + steps) % k == 0],
                                network, run, done_before + steps)  # fmt: skip
            diverged = not math.isfinite(run.cost)
            if run.step < n_steps and not diverged:
                break  # by a callback, within the epoch
            measured = _measure(network, *held_out) if held_out is not None else {}
            epoch, step = run.epoch, run.step
            with _uninterrupted():
                run.end_epoch(min(step * batch, m), measured)
                if isinstance(optimizer.lr, ReduceOnPlateau):
                    optimizer.lr.observe((history.validation_loss or history.loss)[-1])
                if best:
                    best.observe(epoch, history.validation_loss[-1], network.parameters)
                    ends = ends or best.is_old(epoch, patience or 0)
            bar.say(_summary(epoch, epochs, history))
            ends = _ask(after_epochs, network, run, epoch, diverged) or ends
            if diverged:
                warnings.warn(
                    f"the cost is {history.loss[-1]} in epoch {epoch + 1}, at step {step + 1} of {n_steps}: training "
                    f"diverged and was stopped before that step, with the parameters that it had come to. Lower the "
                    f"learning rate (lr is {optimizer.rate:g}) or scale X.",
                    RuntimeWarning,
                    stacklevel=3,
                )
    except KeyboardInterrupt:
        history.interrupted = True
    finally:
        bar.close()
        if best and best.epoch >= 0:
            run.last, history.best_epoch = network.parameters.copy(), best.epoch
            network.parameters[:] = best.parameters
    if not inputs.is_finite(network.parameters):
        warnings.warn(
            f"the parameters are no longer finite: the last step overflowed float32. Lower the learning rate (lr is "
            f"{optimizer.rate:g}) or scale X, and begin with another network, or one that was saved.",
            RuntimeWarning,
            stacklevel=3,
        )
    return history


def _ask(callbacks: Sequence[Any], network: "Network", run: Run, count: int, diverged: bool = False) -> bool:
    """Call them all; whether one says to stop. A callback that fits the network itself leaves this run as it is.

    What diverged is nothing to go on with.
    """
    answers = []
    for callback in callbacks:
        network._run = None if diverged else run
        answers.append(callback(count, run.history))
    network._run = None if diverged else run
    return any(answers)


def _mean(cost: float, weight: float) -> float:
    """The mean cost of what was trained on so far; 0 where none of it counts."""
    return cost / weight if weight else 0.0


def _fraction(validation: Any, m: int) -> float:
    """The share of the rows that is to be held out; 0 where validation is something else."""
    if not isinstance(validation, float):
        return 0.0
    if not 0 < validation < 1 or not 1 <= round(validation * m) < m:
        raise ValueError(f"validation is {validation} of {m} rows; a fraction must hold out a row and leave one.")
    return validation


def _classes(Y: np.ndarray) -> np.ndarray | None:
    """The class of each row: labels, one-hot rows, or a column of 0 and 1; None of other targets."""
    if Y.ndim == 1:
        return Y
    if not ((Y == 0) | (Y == 1)).all():
        return None
    if Y.shape[1] == 1:
        return Y[:, 0].astype(np.int64)
    return Y.argmax(axis=1) if (Y.sum(axis=1) == 1).all() else None


def _drawn(Y: np.ndarray, fraction: float, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Rows that are held out, and the others, each in order: the same share of every class, as nearly as it goes."""
    rows, classes = generator.permutation(len(Y)), _classes(Y)
    if classes is not None:
        rows = rows[np.argsort(classes[rows], kind="stable")]
    count = round(fraction * len(Y))
    places = (np.arange(count) * len(Y) + len(Y) // 2) // count  # evenly among the rows, sorted by class
    out = rows[places]
    return np.sort(out), np.setdiff1d(np.arange(len(Y)), out)


def _class_weights(value: Any, Y: np.ndarray, network: "Network", weights: np.ndarray | None) -> np.ndarray | None:
    """The samples' weights times those of their classes."""
    if value is None:
        return weights
    classes, n = _classes(Y), max(2, network.sizes[-1])
    if classes is None:
        raise ValueError("class_weight needs targets that are classes: labels, one-hot rows, or 0 and 1.")
    counts = np.bincount(classes, minlength=n)
    if isinstance(value, str) and value == "balanced":
        table = len(classes) / (np.count_nonzero(counts) * np.maximum(counts, 1))
    elif isinstance(value, Mapping):
        table = np.ones(n)
        for label, weight in value.items():
            if inputs.whole("a class of class_weight", label, least=0) >= n:
                raise ValueError(f"class_weight has the class {label}; those of this network are 0…{n - 1}.")
            table[label] = inputs.number(f"class_weight[{label}]", weight, least=0)
    else:
        raise TypeError(f'class_weight is {value!r}; it must be "balanced" or a dictionary {{class: weight}}.')
    return inputs.weights(table[classes] * (1 if weights is None else weights), len(classes))


def _validation(network: "Network", validation: Any) -> tuple[np.ndarray, np.ndarray] | None:
    if validation is None:
        return None
    if not isinstance(validation, tuple | list) or len(validation) != 2:
        raise TypeError("validation must be a pair (X, Y), or the fraction of the rows to hold out.")
    X = inputs.features(validation[0], network.sizes[0], network.check_finite, "validation X")
    return X, inputs.targets(validation[1], len(X), *network._ends[1:], "validation Y")


def tells_classes(network: "Network") -> bool:
    """Whether the output is of classes, so that there is an accuracy."""
    return network.output == "softmax" or (network.output == "sigmoid" and network.sizes[-1] == 1)


def accuracy(Y_hat: np.ndarray, Y: np.ndarray) -> float:
    """Share of samples whose class is right."""
    if Y_hat.shape[1] == 1:
        return float(np.mean((Y_hat > 0.5) == (Y > 0.5)))
    return float(np.mean(Y_hat.argmax(axis=1) == (Y if Y.ndim == 1 else Y.argmax(axis=1))))


def _measure(network: "Network", X: np.ndarray, Y: np.ndarray) -> dict[str, float]:
    """What the history says of held-out data."""
    measured = {"validation_loss": network._borrow(len(X), lambda engine: engine.loss(X, Y))}
    if tells_classes(network):
        Y_hat = network._borrow(len(X), lambda engine: engine.forward(X, transpose=False))
        measured["validation_accuracy"] = accuracy(Y_hat, Y)
    return measured


def _summary(epoch: int, epochs: int, history: History) -> str:
    parts = [f"epoch {epoch + 1}/{epochs}", f"loss {history.loss[-1]:.4f}"]
    if history.validation_accuracy:
        parts.append(f"validation accuracy {history.validation_accuracy[-1]:.2%}")
    elif history.validation_loss:
        parts.append(f"validation loss {history.validation_loss[-1]:.4f}")
    return ", ".join(parts)
