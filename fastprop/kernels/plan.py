"""Where everything stands: sizes, offsets and shares of the work, as integers only.

A :class:`Plan` is made from a network's sizes, a batch and a number of threads. It decides; the passes compute. What
it decides changes the order of the sums, and so the bits, only by `sizes` and `batch`, never by `threads`.

The flat parameters hold, per layer, W (row-major, rows padded) then b (padded), every part a multiple of 16 floats.
The workspace holds panels of 16 samples, [panel][feature padded to 16][16]: activations, their transposes, dZ.
"""

from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np

from . import estimate
from .jit import kernel
from .simd import LANES, record_of

# ---- the layout, shared by Python and the kernels ----------------------------------------------------------------


@kernel
def padded(n):
    """n, rounded up to whole vectors."""
    return (n + LANES - 1) // LANES * LANES


@kernel
def row_stride(n_prev):
    """Floats from one row of W to the next: whole vectors, and never a multiple of 128, where the rows of a tile
    would all fall into a few sets of the cache."""
    n = (n_prev + LANES - 1) // LANES * LANES
    return n + LANES if n % 128 == 0 else n


@kernel
def panel_stride(n):
    """Floats from one panel of a layer of n to the next."""
    return (n + LANES - 1) // LANES * LANES * LANES


@kernel
def panels_of(samples):
    """How many panels hold so many samples."""
    return (samples + LANES - 1) // LANES


def by_dot(n: int, n_prev: int) -> bool:
    """Whether equation 2 reads A_prev itself, not only its transpose: for a single unit, or a single last column."""
    return n == 1 or n_prev % LANES == 1


LAYER = np.dtype(
    [
        (name, np.int64)
        for name in (
            "n", "n_prev",
            "W", "b",  # offsets in the flat parameters and gradients
            "A_prev", "A_prev_T", "Z", "A", "A_T", "dA", "dZ",  # offsets in the workspace; −1: not wanted
            "activation", "derivative",  # addresses of routines; 0: fused into the tile, or none
            "relu", "relu_prev",  # whether this layer's, and the one's below, is a relu fused into the tiles
            "shares", "shares_prev",  # of one sample's products with W and Wᵀ
            "first_unit",  # a unit of phase 2 is one block of 16 columns of dW, and all rows
        )
    ]
)  # fmt: skip

JOB = np.dtype(
    [
        (name, np.int64)
        for name in (
            "do",  # which of the parts below, see DO
            "layers", "n_layers", "vectors",
            "parameters", "gradients", "state", "state_stride", "work",
            "X", "Y", "labels", "weights", "order", "Y_hat",  # the user's data; 0: none
            "phase_one", "phase_two", "squares", "late_update",  # addresses of routines
            "Y_panels", "weight_panels", "Z_panel", "dZ_panel",  # offsets in the workspace; the last two with vectors
            "panel_costs",  # float64, one per panel of a chunk
            "totals",  # float64, see COST
            "late",  # float64, for clipping and penalty, see steps.py; 0: neither
            "by_samples",  # whether a step is a mean for itself, see `counts_of` and `factor_of_penalty` in steps.py
            "n_samples", "batch", "first_step", "last_step",
            "chunk_panels", "block_panels", "groups", "items", "cuts",
            "parts", "part_stride", "work_stride",  # gradients of the parts of a step; 0: a plan without
            "threads", "tickets",
            "drop_seed", "drop_keeps",  # dropout: of 2³² draws, how many keep a unit; 0: all
            "gather", "octets",  # the routine that reads rows of X, and whether they are bytes
            "unchecked",  # whether X may hold NaN and infinity
            "loss", "update", "prepare", "settings", "hyper", "rates", "rate_stride", "fused",
            "seed", "epoch",
        )
    ]
)  # fmt: skip
# The job itself is only read while it runs, so that its cache lines stay with every thread. What grows is in `totals`:
# the sum of the costs, that of the sample weights, and the updates made so far; and what each of them was before.
# SCALE is what X is multiplied by, and COST_SCALE what the cost is, without its penalty and after its derivative.
COST, WEIGHT, UPDATES, SCALE, UPDATES_BEFORE, COST_BEFORE, WEIGHT_BEFORE, COST_SCALE = range(8)

layer_at = record_of(LAYER)
job_at = record_of(JOB)

# What a job does: FORWARD from X (with the transposes that GRADIENTS reads: TRANSPOSE), OUTPUT of Ŷ, LOSS with the
# output's dZ, BACKWARD to the other dZ, GRADIENTS, UPDATE; SHUFFLE before the first step of an epoch.
FORWARD, TRANSPOSE, OUTPUT, LOSS, BACKWARD, GRADIENTS, UPDATE, SHUFFLE = (1 << i for i in range(8))
STEP = FORWARD | TRANSPOSE | LOSS | BACKWARD | GRADIENTS | UPDATE


@dataclass(frozen=True)
class LayerKind:
    """What the plan needs to know of a layer's activation."""

    activation: int = 0  # address of A = g(Z); 0: identity
    derivative: int = 0  # address of dZ = dA ∗ g′(Z); 0: identity
    relu: bool = False
    from_Z: bool = False  # whether g′ reads Z, so that Z must be kept


@dataclass(frozen=True)
class ParameterLayout:
    """Offsets of W and b of each layer in the flat parameters, in floats, and their whole length."""

    sizes: tuple[int, ...]
    W: tuple[int, ...]
    b: tuple[int, ...]
    length: int

    @classmethod
    def of(cls, sizes: tuple[int, ...]) -> "ParameterLayout":
        W, b, end = [], [], 0
        for n_prev, n in zip(sizes[:-1], sizes[1:], strict=True):
            W.append(end)
            end += n * row_stride.py_func(n_prev)
            b.append(end)
            end += padded.py_func(n)
        return cls(sizes, tuple(W), tuple(b), end)

    def views(self, flat: np.ndarray, l: int) -> tuple[np.ndarray, np.ndarray]:
        """W (n, n_prev) and b (n,) of layer l, as views of a flat buffer."""
        n_prev, n = self.sizes[l : l + 2]
        W, b, ld = self.W[l], self.b[l], row_stride.py_func(n_prev)
        return flat[W : W + n * ld].reshape(n, ld)[:, :n_prev], flat[b : b + n]


# Sizes that the shares of work are cut to; see the comments where they are used.
SMALL_WEIGHTS = 2**18  # floats of a W that is read from the cache: 1 MB
# W is read once for each chunk of samples, and once for each block of panels within it: long ones where W is large,
# short ones where the activations are. 17-64-64-6 at B=1000 on two threads: 83% of the peak, 76 with chunks of 512.
SMALL_CHUNK, LARGE_CHUNK = 256, 512
SMALL_BLOCK, LARGE_BLOCK = 128, 256
# Parts of a step over thousands of samples. Their number must not depend on the threads, or the threads would show in
# the bits. What 16 cost over a single part, at B=8192 on one thread of a Zen 4, medians of eight runs of
# `benchmarks/limits.py order`: 17-64-64-6 0% (in 32 parts 2), 64-128-64-10 4% (7.5), 784-256-128-10 1.5% (5). Single
# runs gave from −7 to 19%.
MOST_PARTS = 16
# Rows of W that equation 4 takes at once, for it reads 16 columns of each: 4096 × 4096 over 512 samples at 87% of the
# peak, all rows at once 65 to 83%.
ROW_BLOCK = 512
# Panels and blocks of columns that equation 2 takes at once: as many rows of dZ and A_prev as the nearest cache holds,
# and runs of W of 2 KB. 4096 × 4096 over 512 samples at 89% of the peak; all panels at once in runs of 512 bytes 77%.
PANEL_BLOCK, COLUMN_BLOCK = 8, 32
# Rows of dW whose tiles follow each other on one block of A_prev_T, which stays in the nearest cache; their dZ, a good
# third of what a tile of 6 rows would read of A_prev_T, in the next one. Beside 1: with AVX2 2 to 8% faster, with
# AVX-512 wide and xl 1%. All rows: mnist 2% faster, but xl 5% slower, whose rows are pages apart.
ROWS_TOGETHER = 256
# Of one sample: threads share W from so many floats on, its columns in runs of so many.
SHARED_WEIGHTS, COLUMNS = 2**17, 256


class Plan:
    """The layout of one workspace and the shares of one network's work.

    Parameters
    ----------
    sizes : (n_0, …, n_L)
    kinds : the activation of each layer
    batch : samples in a step
    threads : how many threads may share the work
    keep : keep Z, A, dA and dZ of every layer of the whole batch apart, for the user to look at
    train : whether there is a backward pass; without, only Ŷ and the cost can be asked for
    vectors : keep the one sample of a batch of 1 in vectors (see :mod:`.vectors`) and not in a panel
    """

    def __init__(self, sizes: tuple[int, ...], kinds: list[LayerKind], batch: int, threads: int, *,
                 keep: bool = False, train: bool = True, vectors: bool = False):  # fmt: skip
        self.sizes, self.batch, self.keep, self.train, self.vectors = sizes, batch, keep, train, vectors
        self.threads = threads
        self.layout = ParameterLayout.of(sizes)
        batch_panels = -(-batch // LANES)
        small = max(a * b for a, b in zip(sizes[:-1], sizes[1:])) <= SMALL_WEIGHTS
        self.block_panels = (SMALL_BLOCK if small else LARGE_BLOCK) // LANES
        # Full batches of thousands go in chunks through the whole pass, so that a chunk's activations stay in cache.
        chunks = 1 if keep else -(-batch_panels * LANES // (SMALL_CHUNK if small else LARGE_CHUNK))
        self.chunk_panels = -(-batch_panels // chunks)
        self._place(kinds)
        # In parts, no activation passes from core to core; but each part needs room for a gradient.
        self.parts = min(chunks, MOST_PARTS) if train and chunks > 1 and self.layout.length <= self.length else 0
        self._share()

    def _place(self, kinds: list[LayerKind]) -> None:
        """Give every buffer its offset in the workspace."""
        sizes, panels = self.sizes, self.chunk_panels
        self.length = 0

        def take_panels(n: int) -> int:
            start = self.length
            self.length += panels * panel_stride.py_func(n)
            return start

        def take_vector(n: int) -> int:
            start = self.length
            self.length += padded.py_func(n)
            return start

        take = take_vector if self.vectors else take_panels

        L = len(sizes) - 1
        self.layers = layers = np.zeros(L, LAYER)
        self.A0 = below = take(sizes[0])
        below_T = take(sizes[0]) if self._transposes(1) else -1
        unit = 0
        for l, layer in enumerate(layers):
            n_prev, n, kind, last = sizes[l], sizes[l + 1], kinds[l], l == L - 1
            layer["n_prev"], layer["n"] = n_prev, n
            layer["W"], layer["b"] = self.layout.W[l], self.layout.b[l]
            layer["A_prev"], layer["A_prev_T"] = below, below_T
            fused = kind.relu and not self.keep and not self.vectors
            layer["relu"] = fused
            layer["relu_prev"] = layers[l - 1]["relu"] if l else 0
            layer["activation"] = 0 if fused else kind.activation
            layer["derivative"] = 0 if fused or last else kind.derivative
            layer["Z"] = take(n)
            apart = layer["activation"] and (self.keep or kind.from_Z)
            layer["A"] = below = take(n) if apart else layer["Z"]
            layer["A_T"] = below_T = take(n) if not last and self._transposes(l + 2) else -1
            if fused and not last and not by_dot(sizes[l + 2], n) and sizes[l + 2] <= ROW_BLOCK:
                layer["dZ"] = layer["Z"]  # dA is masked where A stood, which no one reads again
            elif self.train or last:
                layer["dZ"] = take(n)
            if self.train or last:
                layer["dA"] = take(n) if self.keep and layer["derivative"] else layer["dZ"]
            shares = self.threads if self.vectors and n * n_prev >= SHARED_WEIGHTS else 1
            layer["shares"] = min(shares, -(-n // LANES))
            layer["shares_prev"] = min(shares, -(-n_prev // COLUMNS))
            layer["first_unit"] = unit
            unit += -(-n_prev // LANES)
        self.units = unit
        self.Y_panels = take_panels(sizes[-1])
        self.Z_panel, self.dZ_panel = (take_panels(sizes[-1]) if self.vectors else -1 for _ in range(2))
        self.weight_panels = self.length
        self.length += panels * LANES

    def _transposes(self, l: int) -> bool:
        """Whether equation 2 of layer l of the source reads the transposed A_prev."""
        return self.train and not self.vectors and self.sizes[l] > 1

    def _share(self) -> None:
        """Cut phase 1 into groups of panels, and phase 2 into runs of units of about equal work."""
        self.groups = self.parts or min(self.threads, self.chunk_panels)
        cost = np.repeat(
            [int(layer["n"]) + 1 for layer in self.layers], [-(-int(layer["n_prev"]) // LANES) for layer in self.layers]
        )
        ends = np.concatenate([[0], np.cumsum(cost)])
        self.items = min(self.threads, self.units)
        wanted = ends[-1] * np.arange(self.items + 1) / self.items
        self.cuts = np.searchsorted(ends, wanted - 0.5 * cost.min()).astype(np.int64)
        self.cuts[0], self.cuts[-1] = 0, self.units

    def threads_for(self, m: int) -> int:
        """How many threads share a call on m rows."""
        return self.threads if m >= self.batch else estimate.threads_for(self.sizes, m, self.threads, train=self.train)


@cache
def flops_per_sample(sizes: tuple[int, ...]) -> int:
    """Of one training step: 6·Σ n_{l-1}·n_l − 2·n_0·n_1 (dA of the input is not computed)."""
    products = [a * b for a, b in pairwise(sizes)]
    return 6 * sum(products) - 2 * products[0]


def allocate(length: int, dtype: Any = np.float32) -> np.ndarray:
    """Zeros, aligned to 64 bytes."""
    size = np.dtype(dtype).itemsize
    raw = np.zeros(length * size + 64, np.uint8)
    start = -raw.ctypes.data % 64
    return raw[start : start + length * size].view(dtype)
