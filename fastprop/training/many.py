"""fit_many: many networks at once, each on one thread."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import numpy as np

from ..checks import generator
from ..core import threads
from ..core.engines import EnginePool
from ..core.model import Model
from ..core.thread_choice import Choice
from ..kernels.interrupts import Held
from ..optimizers import Optimizer
from ..texts import warn
from . import pace
from .fit import Callbacks, Course, Fit, checked_callbacks
from .history import History
from .progress import Progress
from .samples import Given
from .stopping import EarlyStopping, Metric

AnyModel = TypeVar("AnyModel", bound=Model)
Numbered = deque[tuple[int, Fit]]  # fits, with the numbers of their networks

MOST_WARNINGS = 10  # that are shown as a whole
MOST = 8  # networks of a group for each thread; there are two groups, and each network has a workspace of its own


def fit_many(
    networks: Iterable[Model],
    X: Any,
    Y: Any,
    *,
    epochs: int,
    batch_size: int = 128,
    optimizer: Optimizer | Sequence[Optimizer] | None = None,
    shuffle: bool = True,
    sample_weight: Any = None,
    class_weight: Any = None,
    validation: Any = None,
    early_stopping: int | EarlyStopping | None = None,
    metrics: Mapping[str, Metric] | None = None,
    callbacks: Sequence[Sequence[Any]] = (),
    progress: bool | None = None,
    rng: Any = None,
    resume: bool = False,
    bootstrap: bool = False,
) -> list[History]:
    """Train many networks, each on one thread, in compiled calls that train many of them.

    Each network ends with the bits of ``network.fit(…)`` with the same arguments, on any number of threads. Networks
    may differ in everything: sizes, activations, losses, dtypes, penalties, dropout. Data that all have in common are
    checked and converted once, and are not copied.

    Parameters
    ----------
    networks : sequence of Network
        All different.
    X, Y, sample_weight, validation
        As in :meth:`fastprop.Network.fit`, for all networks; or a *list* with one for each network. A list never is
        the data itself: give rows as an array, and a pair of validation data as a tuple.
    optimizer : Optimizer, list of Optimizer or None
        One, of which each network gets a copy without moments; or a list with one for each network. None continues
        with each network's last optimizer; the first one is ``Adam()``.
    epochs, batch_size, shuffle, class_weight, early_stopping, metrics, resume
        As in :meth:`fastprop.Network.fit`, for all networks.
    callbacks : sequence, optional
        For each network a sequence as in :meth:`fastprop.Network.fit`.
    progress : bool, optional
        Whether to show one progress bar for all networks; see :meth:`fastprop.Network.fit`.
    rng : int, Generator, list or None
        The source of the shuffles: a seed, so that network i has the generator
        ``np.random.default_rng(np.random.SeedSequence(seed).spawn(len(networks))[i])``; a generator, which spawns them
        likewise; or a list with a seed, a generator or None for each network. None continues with each network's own.

    bootstrap : bool
        Whether each network is trained on as many rows as there are, drawn with replacement by its generator (Efron
        1979). A row counts by how often it was drawn, times its weight; it is not copied.

    Returns
    -------
    list of History
        One for each network.

    Raises
    ------
    ValueError, TypeError
        If anything does not fit; errors that concern one network begin with its number. All networks are unchanged
        then.

    Warns
    -----
    RuntimeWarning
        What :meth:`fastprop.Network.fit` warns of, with the number of the network; after ten warnings, one with the
        numbers of all other networks. If the cost of a network is no longer finite, its fit ends alone.

    Notes
    -----
    Ctrl-C ends all fits, each between two batches; the networks are usable, and the histories so far are returned,
    with `interrupted` True for those that had not ended.

    Memory beyond that of the networks is taken only for those that are trained at the time: as many as keep all threads
    busy for about 70 ms, at most 16 for each thread.

    Examples
    --------
    >>> X = np.linspace(-1, 1, 200)[:, None]
    >>> nets = [Network((1, n, 1), "tanh", rng=n) for n in (2, 4, 8, 16)]
    >>> histories = fit_many(nets, X, np.sin(3 * X), epochs=200, optimizer=Adam(0.01), validation=0.2, rng=0)
    >>> best = min(nets, key=lambda net: net.loss(X, np.sin(3 * X)))
    """
    models = checked_networks(networks, Model)
    course = Course.checked(epochs, batch_size, shuffle, early_stopping, resume, metrics, bootstrap)
    data = _Data(X, Y, sample_weight, class_weight, validation, len(models))
    fits = _fits(models, data, course, _checked_callbacks(callbacks, len(models)))
    del data  # each fit has its own part, and is dropped when it has ended
    optimizers, sources = _optimizers(optimizer, len(models)), _sources(rng, models)
    bar = Progress(progress, sum(fit.samples for _, fit in fits))
    _begin(fits, optimizers, sources)
    histories = [fit.history for _, fit in fits]
    together = _Together(fits, bar)
    together.run()
    for text in _warnings(sorted(together.warnings)):
        warn(text, RuntimeWarning, stacklevel=2)
    return histories


def _warnings(found: list[tuple[int, str]]) -> list[str]:
    """Return the first of the warnings, with the numbers of their networks, and if there are more, one for the rest."""
    texts = [f"network {i}: {text}" for i, text in found[:MOST_WARNINGS]]
    rest = sorted({i for i, _ in found[MOST_WARNINGS:]})
    if rest:
        texts.append(f"{len(rest)} more networks ended with such a warning: {', '.join(map(str, rest))}.")
    return texts


# ---- the arguments -----------------------------------------------------------------------------------------------


@contextmanager
def _naming(i: int) -> Iterator[None]:
    """Let the errors of the block begin with the number of a network."""
    try:
        yield
    except (ValueError, TypeError) as error:
        if type(error) in (ValueError, TypeError):
            error.args = (f"network {i}: {error}",)
        raise


def checked_networks(networks: Any, kind: type[AnyModel]) -> list[AnyModel]:
    """Return a list of at least one network of class `kind`, all different."""
    if isinstance(networks, str | Model) or not isinstance(networks, Iterable):
        raise TypeError(f"networks is {networks!r}; it must be a list of networks.")
    models = list(networks)
    for i, model in enumerate(models):
        if not isinstance(model, kind):
            raise TypeError(f"networks[{i}] is {model!r}; it must be a Network.")
    if not models:
        raise ValueError("networks is empty; give at least one network.")
    first: dict[int, int] = {}
    for i, model in enumerate(models):
        if first.setdefault(id(model), i) != i:
            raise ValueError(f"networks[{i}] is networks[{first[id(model)]}]; give each network once, or a copy of it.")
    return models


def _one_for_each(name: str, value: Any, count: int, remedy: str) -> list[Any]:
    """Return a value for each network: of a list one each, otherwise the same for all."""
    if not isinstance(value, list):
        return [value] * count
    if len(value) != count:
        raise ValueError(
            f"{name} is a list of {len(value)}; a list holds one for each network, and there are {count}. {remedy}"
        )
    return value


class _Data:
    """The data of all networks, checked and converted once for all networks that take them in the same form."""

    def __init__(self, X: Any, Y: Any, sample_weight: Any, class_weight: Any, validation: Any, count: int):
        given = {"X": X, "Y": Y, "sample_weight": sample_weight}
        lists = [_one_for_each(name, a, count, f"Give np.array({name}) for all.") for name, a in given.items()]
        lists.append(_one_for_each("validation", validation, count, "Give a tuple (X, Y) for all."))
        self._given = list(zip(*lists, strict=True))
        self._class_weight = class_weight
        self._rows: dict[tuple, Any] = {}
        self._checked: dict[tuple, Given] = {}

    def of(self, i: int, model: Model) -> Given:
        """Return the data of network i."""
        net, (X, Y, sample_weight, validation) = model.architecture, self._given[i]
        form = net.sizes[0], net.dtype, net.check_finite
        key = (*map(id, self._given[i]), *form, net.sizes[-1], net.output, net.loss, net.missing)
        if key not in self._checked:
            rows = (id(X), *form)
            if rows not in self._rows:
                self._rows[rows] = net.check_rows(X)
            X = self._rows[rows]
            self._checked[key] = Given.checked(net, X, Y, sample_weight, self._class_weight, validation)
        return self._checked[key]


def _fits(models: Sequence[Model], data: _Data, course: Course, callbacks: Sequence[Callbacks]) -> Numbered:
    fits: Numbered = deque()
    for i, model in enumerate(models):
        with _naming(i):
            fits.append((i, Fit(model, data.of(i, model), course, callbacks[i])))
    return fits


def _checked_callbacks(value: Any, count: int) -> list[Callbacks]:
    if isinstance(value, tuple | list) and not value:
        return [([], [])] * count
    if not isinstance(value, tuple | list) or len(value) != count:
        raise ValueError(
            f"callbacks is {value!r}; for {count} networks it must hold {count} sequences, one for each network."
        )
    return [checked_callbacks(f"callbacks[{i}]", each) for i, each in enumerate(value)]


def _optimizers(value: Any, count: int) -> Iterator[Any]:
    """Yield the optimizer of each network; None for its last one."""
    each = _one_for_each("optimizer", value, count, "Give one optimizer for all.")
    if each is not value:
        return (one.fresh() if isinstance(one, Optimizer) else one for one in each)
    given = [id(one) for one in each if one is not None]
    if len(set(given)) < len(given):
        raise ValueError("optimizer holds an optimizer twice; give one for all, of which each network gets a copy.")
    return iter(each)


def _sources(rng: Any, models: Sequence[Model]) -> Callable[[], list[np.random.Generator]]:
    """Return a function that makes the generator of each network, after all else was checked."""
    if isinstance(rng, list):
        each = _one_for_each("rng", rng, len(models), "Give one seed for all.")
        sources = [model.generator if one is None else generator(one) for one, model in zip(each, models, strict=True)]
        return lambda: sources
    if rng is None:
        return lambda: [model.generator for model in models]
    source = generator(rng)
    return lambda: list(source.spawn(len(models)))


def _begin(fits: Numbered, optimizers: Iterator[Any], sources: Callable[[], list[np.random.Generator]]) -> None:
    """Bind all optimizers and begin all fits; if one refuses, nothing is changed."""
    bound: list[Fit] = []
    try:
        for (i, fit), optimizer in zip(fits, optimizers, strict=True):
            with _naming(i):
                fit.bind(optimizer)
            bound.append(fit)
        made = sources()
    except BaseException:
        for fit in bound:
            fit.unbind()
        raise
    for (_, fit), source in zip(fits, made, strict=True):
        fit.begin(source)


# ---- the course --------------------------------------------------------------------------------------------------


class _Together:
    """Fits that run together: in their order, as many at a time as keep all threads busy for a slice.

    There are two groups of fits. While threads train a slice of each fit of one group, Python books the slices of the
    other, finishes its fits, starts others, and prepares the next slices. If there are callbacks, which may look at any
    network, there is only one group, and they are called while no network is being trained.

    Parameters
    ----------
    waiting : deque of (int, Fit)
        The fits, with the numbers of their networks; they are taken out, so that each is freed when it has ended.
    bar : Progress

    Attributes
    ----------
    warnings : list of (int, str)
        Those of the fits that have ended.
    """

    def __init__(self, waiting: Numbered, bar: Progress):
        self.bar = bar
        self.warnings: list[tuple[int, str]] = []
        self._count = len(waiting)
        self._waiting = waiting
        self._running: Numbered = deque()
        self._asks = any(fit.after_steps or fit.after_epochs for _, fit in waiting)
        self._threads = threads.get_num_threads()
        self._pool = EnginePool(alone=True)
        self._paces: dict[tuple, pace.Pace] = {}

    def run(self) -> None:
        """Run all fits, until each has ended, or Ctrl-C ends them all.

        No signal handler, and no callback, runs while a network is in the middle of a step.
        """
        running, waiting = self._running, self._waiting
        try:
            with self._training([]):  # compiled, or loaded from the cache
                pass
            self.bar.show()
            while waiting or running:
                if self._asks:
                    with Held():
                        group = self._train_one_group()
                    self._settle(group)
                else:
                    with Held() as held:
                        self._train_two_groups(held)
        except KeyboardInterrupt:
            for _, fit in (*running, *waiting):
                fit.history.interrupted = fit.goes_on
            self._finish(list(running))
        finally:
            self.bar.close()
            for _, fit in running:
                fit.end()

    def _train_one_group(self) -> list[tuple[int, Fit]]:
        """Train a slice of each running fit, and book it; return these fits."""
        group = self._prepared(list(self._running))
        with self._training(group):
            pass
        self._book(group)
        return group

    def _train_two_groups(self, held: Held) -> None:
        """Train slices of the fits until all have ended, or a signal is received; all slices are booked then."""
        group = self._prepared(list(self._running))  # some run already if a signal was received
        trained: list[tuple[int, Fit]] = []
        while True:
            if len(group) < self._threads:  # too few to keep all threads busy
                group, trained = group + self._next(trained, held), []
            if not group:
                return
            with self._training(group):
                prepared = self._next(trained, held)
            group, trained = prepared, group

    def _next(self, trained: list[tuple[int, Fit]], held: Held) -> list[tuple[int, Fit]]:
        """Book the slices of fits that were trained; return the fits whose next slices are prepared."""
        self._book(trained)
        self._settle(trained)
        return [] if held.received else self._prepared([each for each in trained if each[1].goes_on])

    @contextmanager
    def _training(self, group: list[tuple[int, Fit]]) -> Iterator[None]:
        """Train the prepared slices of a group on all threads; the calling one runs the block first."""
        jobs = np.array([fit.job for _, fit in group], np.int64)
        with threads.doing(jobs, self._threads):
            yield

    def _prepared(self, group: list[tuple[int, Fit]]) -> list[tuple[int, Fit]]:
        """Prepare the next slice of each fit of a group, to which others are added if threads would be idle."""
        for _, fit in group:
            fit.aim()
        waiting, running, count = self._waiting, self._running, self._threads
        work = sum(fit.ahead for _, fit in running)
        while waiting and (len(running) < count or (work < count * pace.SLICE_SECONDS and len(group) < count * MOST)):
            each = waiting.popleft()
            running.append(each)
            fit = each[1]
            fit.start(self._pool.take(fit.model.engines), self._pace_of)
            self.bar.add(fit.samples_done())
            fit.end_epoch_if_due()
            if fit.goes_on:
                fit.aim()
                work += fit.ahead
                group.append(each)
            else:
                self._finish([each])
        for _, fit in group:
            fit.prepare_slice()
        return group

    def _pace_of(self, sizes: tuple[int, ...], batch: int, choice: Choice, *more: Any) -> pace.Pace:
        """Return one pace for all fits of the same sizes and batch, so that each learns from those before."""
        return self._paces.setdefault((sizes, batch, *more), pace.Pace(sizes, batch, choice, *more))

    def _book(self, trained: list[tuple[int, Fit]]) -> None:
        """Write what the slices have done into the histories."""
        before = sum(fit.samples_done() for _, fit in trained)
        for fit, ended in [(fit, fit.book_slice()) for _, fit in trained]:
            fit.ask_late(ended)
        self.bar.add(sum(fit.samples_done() for _, fit in trained) - before)

    def _settle(self, trained: list[tuple[int, Fit]]) -> None:
        """Do what is due after a slice, and finish the fits that have ended."""
        for _, fit in trained:
            fit.ask_after_steps()
            fit.end_epoch_if_due()
        self._finish([each for each in trained if not each[1].goes_on])

    def _finish(self, ended: list[tuple[int, Fit]]) -> None:
        for each in ended:
            i, fit = each
            fit.end()
            fit.judge()
            self.warnings += ((i, text) for text in fit.warnings)
            if fit.started:
                self._pool.give(fit.engines)
            self._running.remove(each)
        left = len(self._waiting) + len(self._running)
        self.bar.say(lambda: f"{self._count - left}/{self._count} networks")
