"""Engines: which engine serves which batch, and how long it is kept."""

from collections import defaultdict
from dataclasses import replace
from itertools import chain
from types import TracebackType

import numpy as np

from ..kernels.plan import SMALL_CHUNK as ONE_CHUNK
from ..kernels.plan import SPARSE_CHUNK, LayerKind
from ..kernels.simd import LANES
from ..losses import INNER_PRODUCT, loss_routine
from .architecture import Architecture
from .engine import Engine, plan_for

PREDICT_BATCH = 512  # rows that pass through the layers together, so that their activations stay in the cache


class Engines:
    """The engines of one network.

    Parameters
    ----------
    architecture : Architecture
    parameters, gradients : ndarray
        The network's flat buffers.
    alone : bool
        Whether each call runs on one thread.

    Attributes
    ----------
    last : Engine or None
        The training engine that was used last.
    kinds : dict of str to Engine
        The training engines: for a "sample", for batches that are one "chunk", and for batches of more "chunks"; for
        rows of a sparse X those of a "sparse chunk", and "sparse chunks".
    kept : Engine or None
        The engine that holds the cache of the last forward pass.
    idle : tuple of list of Engine
        Engines for predictions and losses of many rows, of one row, and of rows of a sparse X; for Jacobians of many
        rows, and of one row. Each is taken out while it is used, so that two threads never share one.
    """

    def __init__(
        self, architecture: Architecture, parameters: np.ndarray, gradients: np.ndarray, *, alone: bool = False
    ):
        self.architecture: Architecture = architecture
        self._buffers = parameters, gradients
        self._alone = alone
        self.last: Engine | None = None
        self.kinds: dict[str, Engine] = {}
        self.kept: Engine | None = None
        self.idle: tuple[list[Engine], ...] = ([], [], [], [], [])

    def make(
        self,
        batch: int,
        *,
        keep: bool = False,
        train: bool = True,
        sparse: bool = False,
        frozen: tuple[int, ...] = (),
    ) -> Engine:
        """Make an engine for a batch; with `keep` it keeps Z, A, dZ and dA, without `train` it has no gradients.

        With `sparse` its X are :class:`.sparse.SparseRows`, otherwise arrays. It computes no gradients of the layers
        `frozen`, and leaves them as they are.
        """
        net = self.architecture
        drops = bool(net.dropout) and train and not keep
        kinds = [activation.kind(net.dtype, from_Z=drops) for activation in net.activations]
        return Engine(
            plan_for(
                net.sizes, kinds, batch, keep=keep, train=train, vectors=not drops, dtype=net.dtype, sparse=sparse,
                frozen=frozen, alone=self._alone,
            ),
            *self._buffers,
            loss_routine(net.output, net.loss).address(net.dtype),
            l2=net.l2,
            scale=net.scale,
            dropout=net.dropout,
            dropout_seed=net.dropout_seed,
            check_finite=net.check_finite,
            alone=self._alone,
        )  # fmt: skip

    def serve(self, others: "Engines") -> None:
        """Compute for the network of other engines from now on, which differs in nothing but the seed of dropout."""
        self.architecture, self._buffers = others.architecture, others._buffers
        for engine in (*self.kinds.values(), *chain(*self.idle)):
            engine.serve(*self._buffers, self.architecture.dropout_seed)

    def freeze(self, frozen: tuple[int, ...]) -> None:
        """Leave these layers as they are in all steps from now on, and train all others."""
        if frozen != self.architecture.frozen:
            self.architecture = replace(self.architecture, frozen=frozen)
            self.last = None
            self.kinds.clear()

    @property
    def inner_product(self) -> int:
        """The address of the loss routine that goes back from a given ∂J/∂Ŷ."""
        return loss_routine(self.architecture.output, INNER_PRODUCT).address(self.architecture.dtype)

    def training(self, batch: int, sparse: bool = False) -> Engine:
        """Return the training engine whose steps have `batch` samples each, of a dense or a sparse X."""
        engine = self.last
        if engine is None or not _serves(engine, batch, sparse):
            engine = self.last = self._another(batch, sparse)
        if engine.batch != batch:
            engine.set_batch(batch)
        return engine

    def _another(self, batch: int, sparse: bool) -> Engine:
        """Return the training engine for a batch that the last one does not serve, and make it if there is none."""
        kind = "sample" if batch == 1 and not sparse else "chunk" if batch <= ONE_CHUNK else "chunks"
        capacity = max(LANES, 1 << (batch - 1).bit_length()) if kind == "chunk" else batch
        kind = f"sparse {kind}" if sparse else kind
        moments = None if self.last is None else self.last.moments
        for other in list(self.kinds.values()):
            other.release(moments)
        engine = self.kinds.get(kind)
        if engine is None or not _serves(engine, batch, sparse):
            self.kinds.pop(kind, None)  # its memory is released before the next is allocated
            engine = None
            engine = self.kinds[kind] = self.make(capacity, sparse=sparse, frozen=self.architecture.frozen)
        return engine

    def keeping(self, m: int) -> Engine:
        """Return the engine that keeps the cache of a forward pass over m rows."""
        engine = self.kept
        if engine is None or engine.plan.batch != m or engine.is_stale():
            self.kept = engine = None  # its memory is released before the next is allocated
            engine = self.kept = self.make(m, keep=True)
        return engine

    def updating(self) -> Engine:
        """Return the engine that makes updates by themselves, on as many threads as its parameters can use."""
        engine = self.kinds.get("update")
        if engine is None or engine.is_stale():
            net = self.architecture
            kinds = [LayerKind()] * len(net.activations)
            plan = plan_for(net.sizes, kinds, 1, vectors=False, dtype=net.dtype, frozen=net.frozen)
            engine = self.kinds["update"] = Engine(plan, *self._buffers, 0)
        return engine

    def lend(self, m: int, sparse: bool = False, keep: bool = False) -> "Loan":
        """Lend an engine for a prediction or a loss of m rows of a dense or sparse X, as a context manager.

        With `keep`, it is one that can go back to a dense X, for a Jacobian.
        """
        batch = min(m, SPARSE_CHUNK if sparse else PREDICT_BATCH)
        idle = self.idle[2 if sparse else (m == 1) + 3 * keep]
        try:
            engine = idle.pop()
        except IndexError:
            engine = None
        if engine is None or engine.plan.batch < batch or engine.is_stale():
            engine = self.make(batch, keep=keep, train=keep, sparse=sparse)
        return Loan(engine, idle)


def _serves(engine: Engine, batch: int, sparse: bool) -> bool:
    """Return whether a training engine can make steps of a batch size, of a dense or sparse X.

    Up to `ONE_CHUNK` samples go through the layers at once, in sums that do not depend on how many more there is room
    for. So one engine serves all such batches, with the bits of an engine of their own. On streams whose batches vary
    from 2 to 64 rows, a step of 17-64-64-6 took 359 and 533 µs in two runs with an engine for each size, and takes 30
    to 47 µs in five (``benchmarks/limits.py streams`` on one thread of a Zen 3 with other work beside it).
    """
    capacity, plan = engine.plan.batch, engine.plan
    fits = batch == capacity or ((sparse or batch > 1) and batch < capacity <= ONE_CHUNK)
    return fits and plan.sparse == sparse and not engine.is_stale()


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


class EnginePool:
    """Engines that networks use in turn, so that a thousand networks do not need a thousand workspaces.

    Parameters
    ----------
    alone : bool
        Whether each call runs on one thread.
    """

    def __init__(self, *, alone: bool):
        self._alone = alone
        self._idle: defaultdict[tuple, list[Engines]] = defaultdict(list)

    def take(self, own: Engines) -> Engines:
        """Return engines that compute for the network to which `own` belong, and that no other network uses."""
        idle = self._idle[self._kind(own)]
        if not idle:
            return type(own)(own.architecture, *own._buffers, alone=self._alone)
        engines = idle.pop()
        engines.serve(own)
        return engines

    def give(self, engines: Engines) -> None:
        """Take engines back."""
        self._idle[self._kind(engines)].append(engines)

    @staticmethod
    def _kind(engines: Engines) -> tuple:
        return type(engines), engines.architecture.but_for_the_seed
