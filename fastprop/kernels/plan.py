"""The layout of all memory and the division of the work, as integers only.

A :class:`Plan` is made from a network's sizes, a batch size and a number of threads. The plan decides; the passes
compute. Its decisions change the order of the sums, and so the bits of the results, only by `sizes` and `batch`, never
by `threads`.

The flat parameters hold, for each layer, W (row-major, with padded rows) and then b (padded); every part is a multiple
of 16 numbers. The workspace holds panels of 16 samples, [panel][feature padded to 16][16]: activations, their
transposes, dA and dZ.
"""

from dataclasses import dataclass
from functools import cache, cached_property
from itertools import pairwise
from typing import Any

import numpy as np
from numba.np.numpy_support import as_dtype

from . import estimate
from .jit import kernel, public_kernel
from .scan import address_of
from .simd import ELEMENTS, LANES, record_like, record_of

FLOAT32: np.dtype = np.dtype(np.float32)
FLOAT64: np.dtype = np.dtype(np.float64)

# ---- the layout, shared by Python and the kernels ----------------------------------------------------------------


@public_kernel
def padded(n: int) -> int:
    """Return n, rounded up to whole vectors."""
    return (n + LANES - 1) // LANES * LANES


@public_kernel
def row_stride(n_prev: int) -> int:
    """Return the number of places from one row of W to the next.

    It is a whole number of vectors and never a multiple of 128, because with such a stride all rows of a tile would
    fall into a few sets of the cache.
    """
    n = (n_prev + LANES - 1) // LANES * LANES
    return n + LANES if n % 128 == 0 else n


@public_kernel
def panel_stride(n: int) -> int:
    """Return the number of places from one panel of a layer of n units to the next."""
    return (n + LANES - 1) // LANES * LANES * LANES


@kernel
def panels_of(samples):
    """Return the number of panels that hold `samples` samples."""
    return (samples + LANES - 1) // LANES


@kernel
def chunk_of(panels, most):
    """Return the panels of a chunk, of at most `most`, if a batch is cut into as few chunks as there can be."""
    chunks = (panels + most - 1) // most
    return (panels + chunks - 1) // chunks


@kernel
def parts_of(panels, chunk_panels, n_parameters, length):
    """Return the number of parts of a step, 0 for none.

    With parts, no activation passes from core to core; but each part needs memory for a gradient, which may be as long
    as the workspace at most.
    """
    chunks = (panels + chunk_panels - 1) // chunk_panels
    return min(chunks, MOST_PARTS) if chunks > 1 and n_parameters <= length else 0


def by_dot(n: int, n_prev: int) -> bool:
    """Whether equation 2 reads A_prev itself, not only its transpose: for a single unit, or a single last column."""
    return n == 1 or n_prev % LANES == 1


@kernel
def packs_columns(n, panels, width):
    """Return whether equation 4 reads W through copies of the columns of its tiles.

    `width` is that of a tile in bytes, times the number of vectors that are multiplied by what is read. With AVX-512,
    copies slow it down: 1024 × 1024 over 256 samples on a Zen 5 has 71% of the peak with them, without 93.
    """
    return width < LINE and n >= PACKED_ROWS and panels >= PACKED_PANELS


@kernel
def row_block(size):
    """Return how many rows of W equation 4 takes at once; `size` is a number's bytes."""
    return ROW_BLOCK * 4 // size


LAYER = np.dtype(
    [
        (name, np.int64)
        for name in (
            "n", "n_prev",
            "W", "b",  # offsets in the flat parameters and gradients
            "A_prev", "A_prev_T", "Z", "A", "A_T", "dA", "dZ",  # offsets in the workspace; −1: there is no such buffer
            "activation", "derivative",  # addresses of routines; 0: fused into the tile, or none
            "relu", "relu_prev",  # whether this layer's activation, and that of the layer below, is a fused relu
            "shares", "shares_prev",  # number of work items of one sample's products with W and with Wᵀ
            "first_unit", "units",  # a unit of phase 2 is one block of 16 columns of dW, with all its rows
            "first_trained", "trained",  # how many parameters, with padding, are trained: below this layer, and of it
        )
    ]
)  # fmt: skip

_JOB = [
        (name, np.int64)
        for name in (
            "do",  # the parts of a step to do, see FORWARD … SHUFFLE below
            "layers", "n_layers", "vectors",
            "lowest", "n_trained",  # the lowest layer that is trained, and the parameters of all that are
            "parameters", "gradients", "state", "state_stride", "work",
            "X", "Y", "labels", "weights", "output_weights", "order", "Y_hat",  # the user's data; 0: none
            "phase_one", "phase_two", "squares", "late_update",  # addresses of routines
            "Y_panels", "weight_panels", "Z_panel", "dZ_panel",  # offsets in the workspace; the last two with vectors
            "panel_costs", "panel_rights",  # float64, one per panel of a chunk
            "updates",  # float64, the number of updates that the optimizer has made
            "totals",  # float64, see COST … COST_SCALE
            "late",  # float64, for clipping and penalty, see MAX_NORM, L2, SUMS; 0: neither
            "by_samples",  # whether each step is a mean of its own, see `weight_in_mean` and `step_l2` in steps.py
            "divisor",  # a number that sums of gradients are divided by instead of m; 0: m
            "n_samples", "batch", "first_step", "last_step",
            "n_steps",  # of an epoch; 0: the call does not go past one
            "end_of_epoch", "records",  # the routine, and float64, a record of each epoch, see EPOCH_LOSS …
            "validation", "worker",  # the job that measures held-out samples after each epoch (0: none), and its worker
            "best",  # the best parameters so far, by that measure; 0: they are not wanted
            "chunk_panels", "block_panels", "groups", "items", "cuts",
            "parts", "part_stride", "work_stride",  # gradients of the parts of a step; 0: a plan without parts
            "threads", "tickets",
            "drop_seed", "drop_threshold",  # dropout: a unit is kept if its 32-bit draw is below the threshold; 0: none
            "gather", "uint8",  # the routine that reads rows of X, and whether X is uint8
            "sparse_forward", "sparse_dW",  # routines of the first layer's products with a sparse X; 0: X is dense
            "rows",  # offset in the workspace, for these routines: 16 units of each sample, for each thread
            "entries", "most_entries",  # memory of each thread for entries of a sparse X, and for how many of them
            "unchecked",  # whether X may hold NaN and infinity
            "dX", "dA0",  # where `steps.inputs_of_chunk` writes rows, and memory of each thread for a block of panels
            "loss", "weight_right", "update", "prepare", "settings", "hyper", "rates", "rate_stride", "fused",
            "seed", "epoch",
        )
]  # fmt: skip
JOB_FIELDS = {name: i for i, (name, _) in enumerate(_JOB)}
# The record of a job in each element. Its last field holds nothing: its type is the element, which kernels ask for.
JOB: dict[Any, np.dtype] = {element: np.dtype([*_JOB, ("element", as_dtype(element))]) for element in ELEMENTS}

layer_at: Any = record_of(LAYER)
job_at: Any = record_like(JOB)

# The parts of a job: FORWARD from X (with the transposes that GRADIENTS reads: TRANSPOSE), OUTPUT of Ŷ, LOSS with the
# output's dZ, BACKWARD to the other dZ, GRADIENTS, UPDATE; SHUFFLE before the first step of an epoch; DROP of hidden
# units; ACCURACY, with LOSS, to count right predictions.
FORWARD, TRANSPOSE, OUTPUT, LOSS, BACKWARD, GRADIENTS, UPDATE, SHUFFLE, DROP, ACCURACY = (1 << i for i in range(10))
STEP = FORWARD | TRANSPOSE | LOSS | BACKWARD | GRADIENTS | UPDATE | DROP

# ---- the small arrays that a job points to -----------------------------------------------------------------------
#
# The job record itself is only read while it runs, so that its cache lines stay in the cache of every thread. The
# values that change are in these arrays.

# `totals`, float64: the sum of the costs, that of the sample weights, and that of the weights of the samples whose
# class was predicted right, so far; the factor that X is multiplied by; the number of updates before the call; the
# values of the three sums, and the seconds of the epoch, before the call; the factor of the cost, which is applied
# without the penalty and after the derivative; the number of updates before step 0 of the epoch; the time at which the
# epoch began, if measurements had taken none; the seconds of the epoch by the end of the call; the cost of held-out
# samples below which the parameters are better, and by how much it lies below the least one; and the seconds of a job
# that was claimed, from its beginning to its end.
(COST, WEIGHT, RIGHT, SCALE, UPDATES_BEFORE, COST_BEFORE, WEIGHT_BEFORE, RIGHT_BEFORE, SECONDS_BEFORE, COST_SCALE,
 UPDATES_BEFORE_EPOCH, STARTED, SECONDS, LEAST_COST, MIN_DELTA, ELAPSED) = range(16)  # fmt: skip
N_TOTALS = 16

# `records`, float64: of each epoch that a call ends, the mean cost, the share of right predictions, the seconds of
# training and the samples per second, and of held-out samples the cost and the share of right predictions.
EPOCH_LOSS, EPOCH_ACCURACY, EPOCH_SECONDS, EPOCH_SPEED, HELD_OUT_COST, HELD_OUT_ACCURACY = range(6)
RECORD_LENGTH = 8

# `tickets`, int64: the next ticket, the number of work items done, and whether the job has stopped, each on a cache
# line of its own.
NEXT, DONE, STOPPED = 0, 8, 16
N_TICKETS = 24

# `hyper`, of the network's element: the scalars that an optimizer's `prepare` writes and its `update` reads (see
# :mod:`.updates`), at most 8. The first one of plain SGD, whose update may be fused into equation 2, is the learning
# rate.
LEARNING_RATE = 0
N_HYPER = 16

# `late`, float64: the largest norm that the gradients may have (infinity: any), the factor l2 of the penalty, and from
# SUMS on, for each block of SQUARES_BLOCK parameters, Σ dθ² and Σ W².
MAX_NORM, L2, SUMS = range(3)
SQUARES_BLOCK = 4096  # parameters whose squares one thread sums


def late_length(n_parameters: int) -> int:
    """Return the length of `late` for that many parameters."""
    return SUMS + 2 * -(-n_parameters // SQUARES_BLOCK)


# ---- the plan ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class LayerKind:
    """What the plan needs to know about a layer's activation."""

    activation: int = 0  # address of A = g(Z); 0: identity
    derivative: int = 0  # address of dZ = dA ∗ g′(Z); 0: identity
    relu: bool = False
    from_Z: bool = False  # whether g′ reads Z, so that Z must be kept


@dataclass(frozen=True)
class ParameterLayout:
    """Offsets of W and b of each layer in the flat parameters, and the length of all."""

    sizes: tuple[int, ...]
    W: tuple[int, ...]
    b: tuple[int, ...]
    length: int

    @classmethod
    def of(cls, sizes: tuple[int, ...]) -> "ParameterLayout":
        """Return the layout of a network of sizes (n_0, …, n_L)."""
        W, b, end = [], [], 0
        for n_prev, n in zip(sizes[:-1], sizes[1:], strict=True):
            W.append(end)
            end += n * row_stride.py_func(n_prev)
            b.append(end)
            end += padded.py_func(n)
        return cls(sizes, tuple(W), tuple(b), end)

    def views(self, flat: np.ndarray, l: int) -> tuple[np.ndarray, np.ndarray]:
        """Return W (n, n_prev) and b (n,) of layer l, as views of a flat buffer."""
        n_prev, n = self.sizes[l : l + 2]
        W, b, ld = self.W[l], self.b[l], row_stride.py_func(n_prev)
        return flat[W : W + n * ld].reshape(n, ld)[:, :n_prev], flat[b : b + n]

    @cached_property
    def padding(self) -> np.ndarray:
        """The places of a flat buffer that hold nothing."""
        used = np.zeros(self.length, bool)
        for l in range(len(self.W)):
            for part in self.views(used, l):
                part[:] = True
        return np.flatnonzero(~used)


# Block sizes. README.md in this folder shows the loops in which they appear.

# A W of at most this many bytes is read from the cache.
SMALL_WEIGHTS = 2**20
# W is read once for each chunk of samples in phase 2, and once for each block of panels within it in phase 1. Chunks
# are long if W is large, and short if the activations are. 17-64-64-6 at B=1000 on two threads: 83% of the peak, 76
# with chunks of 512.
SMALL_CHUNK, LARGE_CHUNK = 256, 512
# A quarter as many samples of float64, of which a tile reads four times as many bytes for the same sums; half as many
# if a W exceeds FAR_WEIGHTS bytes, since each block reads it from beyond the caches. Shares of the peak on a Zen 3, the
# best tenth of three runs with a quarter and with half as many: 784-1024-1024-10 75, 69, 75 and 73, 68, 71%;
# 1024-4096-4096-1024 67, 66, 62 and 71, 67, 68%.
FAR_WEIGHTS = 2**24
SMALL_BLOCK, LARGE_BLOCK = 128, 256
# Parts of a step over thousands of samples. Their number must not depend on the number of threads, which would
# otherwise change the bits of the result. Cost of 16 parts over a single part, at B=8192 on one thread of a Zen 4,
# medians of eight runs of `benchmarks/limits.py order`: 17-64-64-6 0% (in 32 parts 2), 64-128-64-10 4% (7.5),
# 784-256-128-10 1.5% (5). Single runs gave from −7 to 19%.
MOST_PARTS = 16
# Rows of W that equation 4 takes at once, since it reads 16 columns of each. 4096 × 4096 over 512 samples: 87% of the
# peak; with all rows at once 65 to 83%. Of float64 half as many.
ROW_BLOCK = 512
# A tile of less than 64 bytes of columns leaves some of each line of W to the next tile, and hundreds of lines do not
# stay in the L1 cache. So from PACKED_ROWS rows of W and PACKED_PANELS panels on, it reads a copy of its columns.
# Equation 4 of 1024 × 1024 over 256 samples on a Zen 3: 75% of the peak without the copy, 81 with it.
PACKED_ROWS, PACKED_PANELS = 128, 4
LINE = 64  # bytes of a cache line
PACKED_STRIDE = 8  # places from one row of the copy to the next
PACKED = ROW_BLOCK * PACKED_STRIDE  # places of a copy, at most
# Panels and blocks of columns that equation 2 takes at once: as many rows of dZ and A_prev as the L1 cache holds, and
# runs of 2 KB of the rows of dW. 4096 × 4096 over 512 samples: 89% of the peak; with all panels at once and runs of
# 512 bytes 77%. Of float64 half as many panels.
PANEL_BLOCK, COLUMN_BLOCK = 8, 32
# Rows of dW whose tiles follow each other on one block of A_prev_T, which stays in the L1 cache; their dZ, a good third
# of what a tile of 6 rows would read of A_prev_T, stays in the L2 cache. Compared with 1 row: with AVX2 2 to 8% faster,
# with AVX-512 wide and xl 1%. With all rows: mnist 2% faster, but xl, whose rows are pages apart, 5% slower.
ROWS_TOGETHER = 256
# Samples of a sparse X that go through the layers at once if a W exceeds SMALL_WEIGHTS, since a few hundred of them
# need most of a very wide first W already. Predictions of 3,000 rows with 60 entries each by 2^18-100-1, on one thread
# of a Zen 3, medians of nine turns: 36 ms; with 1024 samples at once 60, with 512 97.
SPARSE_CHUNK = 4096
# For one sample: threads share a W of at least SHARED_WEIGHTS floats, and share its columns in runs of COLUMNS.
SHARED_WEIGHTS, COLUMNS = 2**17, 256


def largest_weights(sizes: tuple[int, ...], dtype: np.dtype) -> int:
    """Return the bytes of the largest W."""
    return max(a * b for a, b in pairwise(sizes)) * dtype.itemsize


def most_panels(sizes: tuple[int, ...], dtype: np.dtype) -> int:
    """Return the most panels of a chunk."""
    return (SMALL_CHUNK if largest_weights(sizes, dtype) <= SMALL_WEIGHTS else LARGE_CHUNK) // LANES


class Plan:
    """The layout of one workspace and the division of one network's work.

    Parameters
    ----------
    sizes : tuple of int
        (n_0, …, n_L).
    kinds : list of LayerKind
        The activation of each layer.
    batch : int
        Number of samples in a step.
    threads : int
        Number of threads that may share the work.
    keep : bool
        Whether Z, A, dA and dZ of every layer and of the whole batch get memory of their own, for the user to look at.
    train : bool
        Whether there is a backward pass. Without it, only Ŷ and the cost can be computed.
    vectors : bool
        Whether the one sample of a batch of 1 is stored in vectors (see :mod:`.vectors`) and not in a panel.
    dtype : numpy.dtype
        The element, float32 or float64.
    sparse : bool
        Whether X is sparse, so that there are no panels of it (see :mod:`.sparse`).
    frozen : tuple of int
        The layers, counted from 0, that training leaves as they are. Their dW, db and update are no work items, and
        the backward pass ends at the lowest layer that is trained. The memory is divided as without them, so that the
        sums of the other layers are the same.
    """

    layout: ParameterLayout
    layers: np.ndarray
    cuts: np.ndarray
    block_panels: int
    chunk_panels: int
    parts: int
    layers_address: int
    length: int
    units: int
    lowest: int
    n_trained: int
    A0: int
    Y_panels: int
    Z_panel: int
    dZ_panel: int
    weight_panels: int
    rows: int
    groups: int
    items: int

    def __init__(self, sizes: tuple[int, ...], kinds: list[LayerKind], batch: int, threads: int, *,
                 keep: bool = False, train: bool = True, vectors: bool = False,
                 dtype: np.dtype = FLOAT32, sparse: bool = False, frozen: tuple[int, ...] = ()):  # fmt: skip
        self.sizes = sizes
        self.batch = batch
        self.threads = threads
        self.keep = keep
        self.train = train
        self.vectors = vectors
        self.dtype = dtype
        self.sparse = sparse
        self.frozen = frozen
        self.lowest = min({*range(len(kinds))}.difference(frozen))
        self.layout = ParameterLayout.of(sizes)
        batch_panels = -(-batch // LANES)
        largest = largest_weights(sizes, dtype)
        small = largest <= SMALL_WEIGHTS
        self.block_panels = (SMALL_BLOCK if small else LARGE_BLOCK) // LANES
        if dtype == FLOAT64:
            self.block_panels //= 2 if largest > FAR_WEIGHTS else 4
        most = most_panels(sizes, dtype)
        if sparse and not small:
            self.block_panels = most = SPARSE_CHUNK // LANES
        # A batch of thousands goes through the whole pass in chunks, so that a chunk's activations stay in the cache.
        self.chunk_panels = batch_panels if keep else chunk_of.py_func(batch_panels, most)
        self._place(kinds)
        self.parts = 0
        if train and not sparse:
            self.parts = parts_of.py_func(batch_panels, self.chunk_panels, self.layout.length, self.length)
        self._share()
        self.layers_address = self.layers.ctypes.data

    def _place(self, kinds: list[LayerKind]) -> None:
        """Give every buffer its offset in the workspace.

        Two buffers share memory if one of them is not read any more when the other is written:

        ========  ====================================================  ================================================
        shared    if                                                    because
        ========  ====================================================  ================================================
        A_prev    always, with A of the layer below (X for the first);  they are the same values
                  A_prev_T likewise with A_T
        A = Z     there is no activation routine (the identity, or a    the tile writes A instead of Z, or the routine
                  fused relu), or there is one, its derivative does     works in place, and Z is not read again
                  not read Z, and the plan does not `keep` Z
        dZ = Z    the relu is fused, so that A = Z; the layer is        equation 4 of the layer above reads A for the
                  hidden; the layer above takes all rows of W in one    last time, as the mask, in the tile that writes
                  block (`row_block`) and is not `by_dot`               dZ in its place; equation 2 reads A_T only
        dA = dZ   there is no derivative routine (see above, or the     the derivative routine works in place
                  output layer), or the plan does not `keep` dA
        ========  ====================================================  ================================================

        All other buffers have memory of their own.
        """
        self.length = 0
        self.layers = np.zeros(len(self.sizes) - 1, LAYER)
        self.A0 = below = -1 if self.sparse else self._take(self.sizes[0])
        below_T = self._take(self.sizes[0]) if self._transposes(1) else -1
        self.units = self.n_trained = 0
        for l, layer in enumerate(self.layers):
            layer["A_prev"] = below
            layer["A_prev_T"] = below_T
            self._describe(l, kinds[l])
            self._place_forward(l, kinds[l])
            self._place_backward(l)
            below = layer["A"]
            below_T = layer["A_T"]
        for l in self.frozen:  # nothing reads the transposes
            self.layers[l]["A_prev_T"] = -1
            if l:
                self.layers[l - 1]["A_T"] = -1
        n_L = self.sizes[-1]
        self.Y_panels = self._take_panels(n_L)
        self.Z_panel = self._take_panels(n_L) if self.vectors else -1
        self.dZ_panel = self._take_panels(n_L) if self.vectors else -1
        self.weight_panels = self.length
        self.length += self.chunk_panels * LANES
        self.rows = self.length
        self.length += self.threads * self.chunk_panels * LANES * LANES if self.sparse else 0

    def _describe(self, l: int, kind: LayerKind) -> None:
        """Set a layer's sizes, parameters, routines and shares."""
        layer = self.layers[l]
        n_prev, n = self.sizes[l : l + 2]
        layer["n_prev"] = n_prev
        layer["n"] = n
        layer["W"] = self.layout.W[l]
        layer["b"] = self.layout.b[l]
        fused = kind.relu and not self.keep and not self.vectors
        layer["relu"] = fused
        layer["relu_prev"] = self.layers[l - 1]["relu"] if l else 0
        layer["activation"] = 0 if fused else kind.activation
        layer["derivative"] = 0 if fused or self._is_output(l) else kind.derivative
        shares = self.threads if self.vectors and n * n_prev >= SHARED_WEIGHTS else 1
        layer["shares"] = min(shares, -(-n // LANES))
        layer["shares_prev"] = min(shares, -(-n_prev // COLUMNS))
        trains = l not in self.frozen
        layer["first_unit"], layer["first_trained"] = self.units, self.n_trained
        layer["units"] = -(-n_prev // LANES) if trains else 0
        layer["trained"] = self.layout.b[l] + padded.py_func(n) - self.layout.W[l] if trains else 0
        self.units += int(layer["units"])
        self.n_trained += int(layer["trained"])

    def _place_forward(self, l: int, kind: LayerKind) -> None:
        """Place a layer's Z, A and A_T."""
        layer = self.layers[l]
        n = self.sizes[l + 1]
        layer["Z"] = self._take(n)
        apart = layer["activation"] and (self.keep or kind.from_Z)
        layer["A"] = self._take(n) if apart else layer["Z"]
        layer["A_T"] = self._take(n) if not self._is_output(l) and self._transposes(l + 2) else -1

    def _place_backward(self, l: int) -> None:
        """Place a layer's dZ and dA."""
        layer = self.layers[l]
        n = self.sizes[l + 1]
        if layer["relu"] and self._is_masked_in_place(l):
            layer["dZ"] = layer["Z"]
        elif self.train or self._is_output(l):
            layer["dZ"] = self._take(n)
        if self.train or self._is_output(l):
            layer["dA"] = self._take(n) if self.keep and layer["derivative"] else layer["dZ"]

    def _is_masked_in_place(self, l: int) -> bool:
        """Whether the layer above a fused relu may write dZ in the place of A."""
        if self._is_output(l):
            return False
        n, n_above = self.sizes[l + 1 : l + 3]
        return not by_dot(n_above, n) and n_above <= row_block.py_func(self.dtype.itemsize)

    def _is_output(self, l: int) -> bool:
        return l == len(self.sizes) - 2

    def _transposes(self, l: int) -> bool:
        """Whether equation 2 of layer l, counted from 1 as in the derivation, reads the transposed A_prev."""
        return self.train and not self.vectors and self.sizes[l] > 1 and not (self.sparse and l == 1)

    def _take(self, n: int) -> int:
        """Take memory for n units of a chunk's samples, or of the one sample; return its offset."""
        if not self.vectors:
            return self._take_panels(n)
        start = self.length
        self.length += padded.py_func(n)
        return start

    def _take_panels(self, n: int) -> int:
        start = self.length
        self.length += self.chunk_panels * panel_stride.py_func(n)
        return start

    def _share(self) -> None:
        """Divide phase 1 into groups of panels, and phase 2 into runs of units of about equal work."""
        self.groups = self.parts or min(self.threads, self.chunk_panels)
        cost = np.repeat(self.layers["n"] + 1, self.layers["units"])
        ends = np.concatenate([[0], np.cumsum(cost)])
        self.items = min(self.threads, self.units)
        wanted = ends[-1] * np.arange(self.items + 1) / self.items
        self.cuts = np.searchsorted(ends, wanted - 0.5 * cost.min()).astype(np.int64)
        self.cuts[0], self.cuts[-1] = 0, self.units

    def threads_for(self, m: int) -> int:
        """Return the number of threads that share a call on m rows."""
        return (
            self.threads
            if m >= self.batch
            else estimate.threads_for(
                self.sizes, m, self.threads, self.dtype.itemsize, train=self.train, frozen=self.frozen
            )
        )


@cache
def flops_per_sample(sizes: tuple[int, ...]) -> int:
    """Return the FLOPs of one training step: 6·Σ n_{l-1}·n_l − 2·n_0·n_1 (dA of the input is not computed)."""
    products = [a * b for a, b in pairwise(sizes)]
    return 6 * sum(products) - 2 * products[0]


def allocate(length: int, dtype: Any) -> np.ndarray:
    """Return an array of zeros, aligned to 64 bytes."""
    size = np.dtype(dtype).itemsize
    raw = np.zeros(length * size + 64, np.uint8)
    start = -address_of(raw) % 64
    return raw[start : start + length * size].view(dtype)
