"""Software prefetch of the rows of the next step, a few at a time, while equation 2 of this step is computed.

Shuffled rows miss the caches, and a processor that gets many prefetches at once drops those for which it has no place
left (Zen 4: most of 128 at once, next to none of 2 to 16 at once). So the rows of the next step are prefetched between
the tiles of equation 2 of this one. Share of the peak over 65,536 shuffled rows that are prefetched as they are
gathered; over shuffled rows that are prefetched a step ahead; and over rows in order: 8-32-32-1 54, 59, 62%; 17-64-64-6
73, 78, 84%; 64-128-64-10 79, 83, 88%.
"""

from typing import Any

import numpy as np

from .jit import kernel
from .plan import LINE, layer_at, padded
from .simd import LANES, bytes_at, get, indices, prefetch, record_of, size_of

PREFETCH = np.dtype(
    [
        (name, np.int64)
        for name in (
            "next", "end",  # the rows that are still to be prefetched, as places in the order of the epoch
            "count",  # rows at once
            "order", "X", "Y",  # addresses
            "X_stride", "Y_stride",  # bytes from one row to the next
            "X_reach", "Y_reach",  # bytes that the loads of one row span
        )
    ]
)  # fmt: skip
prefetch_at: Any = record_of(PREFETCH)
RECORD = PREFETCH.itemsize // 4  # numbers of memory for a record, or twice as many

LINES_AT_ONCE = 20  # with 16, rows of the smallest networks are left out; with 24, 64-128-64-10 gains nothing
LINES_OF_ROW = 8  # at most; the hardware prefetcher continues from there


@kernel
def row_of(order, i):
    """Return the row of the user's X that is the i-th of the epoch; `order` is an address, 0 if they are in order."""
    return i if order == 0 else np.int64(get(indices(order), i))


@kernel
def start_prefetch(record, job, first, last):
    """Write into the record at an address that the rows first…last of the epoch are to be prefetched."""
    rows = prefetch_at(record, 0)
    n_0 = layer_at(job.layers, 0).n_prev
    n_L = layer_at(job.layers, job.n_layers - 1).n
    rows.next, rows.end = first, last
    rows.order, rows.X, rows.Y = job.order, job.X, job.labels or job.Y
    size = size_of(job)
    rows.X_stride, rows.X_reach = (n_0, padded(n_0)) if job.uint8 else (size * n_0, reach(n_0, size))
    rows.Y_stride, rows.Y_reach = (8, 4) if job.labels else (size * n_L, reach(n_L, size))
    rows.count = max(1, LINES_AT_ONCE // (lines_of(rows.X_reach) + lines_of(rows.Y_reach)))


@kernel
def reach(n, size):
    """Return the number of bytes that the loads of a row of n numbers of `size` bytes span.

    A single number is loaded as a scalar; a longer row as whole vectors and one narrow load
    (:func:`.simd.load_narrow`).
    """
    left = n % LANES
    narrow = 0 if left == 0 else 4 if left <= 4 else 8 if left <= 8 else LANES
    return size if n == 1 else size * (n - left + narrow)


@kernel
def lines_of(reach):
    """Return the number of cache lines to prefetch of a row that spans `reach` bytes.

    It is the largest number of lines that such a row touches, since it begins at a multiple of 4 bytes, but at most
    `LINES_OF_ROW`.
    """
    return min((reach + 2 * LINE - 5) // LINE, LINES_OF_ROW)


@kernel
def prefetch_row(row, reach):
    """Prefetch the lines of the row at an address; their number is the same for each row, so that the branch of the
    loop is never mispredicted."""
    for line in range(lines_of(reach)):
        prefetch(bytes_at(row), min(line * LINE, reach - 1), 0)


@kernel
def prefetch_next(record):
    """Prefetch the next few rows; `record` is an address, 0 if there is nothing to prefetch."""
    if record == 0:
        return
    rows = prefetch_at(record, 0)
    end = min(rows.next + rows.count, rows.end)
    for place in range(rows.next, end):
        i = row_of(rows.order, place)
        prefetch_row(rows.X + i * rows.X_stride, rows.X_reach)
        prefetch_row(rows.Y + i * rows.Y_stride, rows.Y_reach)
    rows.next = end
