"""Engines: which engine serves which batch, and how long it is kept."""

from types import TracebackType

import numpy as np

from ..losses import loss_routine
from .architecture import Architecture
from .engine import Engine, plan_for

PREDICT_BATCH = 512  # rows that pass through the layers together, so that their activations stay in the cache
# The training engines of the last few batch sizes are kept, for streams of batches whose sizes recur: making one takes
# about 100 µs, longer than a step of a small network. They are kept as long as their workspaces take at most MOST_BYTES
# together; beyond that size, making one is cheap beside its steps.
MOST_ENGINES = 4
MOST_BYTES = 2**26


class Engines:
    """The engines of one network.

    Parameters
    ----------
    architecture : Architecture
    parameters, gradients : ndarray
        The network's flat buffers.

    Attributes
    ----------
    last : Engine or None
        The training engine of the last batch size.
    recent : dict of int to Engine
        This and earlier training engines by batch size, the latest last.
    kept : Engine or None
        The engine that holds the cache of the last forward pass.
    idle : (list of Engine, list of Engine)
        Engines for predictions and losses of many rows and of one row. Each is taken out while it is used, so that
        two threads never share one.
    """

    def __init__(self, architecture: Architecture, parameters: np.ndarray, gradients: np.ndarray):
        self.architecture = architecture
        self._buffers = parameters, gradients
        self.last: Engine | None = None
        self.recent: dict[int, Engine] = {}
        self.kept: Engine | None = None
        self.idle: tuple[list[Engine], list[Engine]] = ([], [])

    def make(self, batch: int, *, keep: bool = False, train: bool = True) -> Engine:
        """Make an engine for a batch; with `keep` it keeps Z, A, dZ and dA, without `train` it has no gradients."""
        net = self.architecture
        drops = bool(net.dropout) and train and not keep
        kinds = [activation.kind(from_Z=drops) for activation in net.activations]
        return Engine(
            plan_for(net.sizes, kinds, batch, keep=keep, train=train, vectors=not drops),
            *self._buffers,
            loss_routine(net.output, net.loss).address,
            l2=net.l2,
            scale=net.scale,
            dropout=net.dropout,
            dropout_seed=net.dropout_seed,
            check_finite=net.check_finite,
        )

    def training(self, batch: int) -> Engine:
        """Return the training engine for a batch size."""
        last = self.last
        if last is None or last.plan.batch != batch or last.is_stale():
            last = self.last = self._another(batch)
        return last

    def _another(self, batch: int) -> Engine:
        """Return the training engine for another batch size than the last, and make it the latest."""
        engine = self.recent.pop(batch, None)
        if engine is None or engine.is_stale():
            engine = self.make(batch)
            for oldest in list(self.recent):
                nbytes = engine.nbytes + sum(other.nbytes for other in self.recent.values())
                if len(self.recent) < MOST_ENGINES and nbytes <= MOST_BYTES:
                    break
                self.recent.pop(oldest, None)
        moments = None if self.last is None else self.last.moments
        for other in list(self.recent.values()):
            other.release(moments)
        self.recent[batch] = engine
        return engine

    def keeping(self, m: int) -> Engine:
        """Return the engine that keeps the cache of a forward pass over m rows."""
        if self.kept is None or self.kept.plan.batch != m or self.kept.is_stale():
            self.kept = None  # its memory is released before the next is allocated
            self.kept = self.make(m, keep=True)
        return self.kept

    def lend(self, m: int) -> "Loan":
        """Lend an engine for a prediction or a loss of m rows, as a context manager."""
        batch, idle = min(m, PREDICT_BATCH), self.idle[m == 1]
        try:
            engine = idle.pop()
        except IndexError:
            engine = None
        if engine is None or engine.plan.batch < batch or engine.is_stale():
            engine = self.make(batch, train=False)
        return Loan(engine, idle)


class Loan:
    """An engine that no other thread uses, until the end of the `with` block."""

    __slots__ = ("_engine", "_idle")

    def __init__(self, engine: Engine, idle: list[Engine]):
        self._engine, self._idle = engine, idle

    def __enter__(self) -> Engine:
        return self._engine

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._idle.append(self._engine)
