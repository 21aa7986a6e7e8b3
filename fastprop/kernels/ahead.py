"""Rows asked of the memory before they are needed, a few at a time, while something else is computed.

Shuffled rows miss the caches, and a processor that is asked for many lines at once drops the requests for which it
has no place left (Zen 4: of 128 at once most; of 2 to 16 at once next to none). So the rows of the next step are asked
for between the tiles of equation 2 of this one. Share of the peak over 65,536 shuffled rows, asked for as they are
gathered, and so; and over rows in order: 8-32-32-1 54, 59, 62%; 17-64-64-6 73, 78, 84%; 64-128-64-10 79, 83, 88%.
"""

import numpy as np

from .jit import kernel
from .plan import layer_at, padded
from .simd import LANES, get, indices, octets, prefetch, record_of

AHEAD = np.dtype(
    [
        (name, np.int64)
        for name in (
            "next", "end",  # places in the order of the rows to ask for
            "count",  # how many at once
            "order", "X", "Y",  # addresses
            "X_row", "Y_row",  # bytes from one row to the next
            "X_reach", "Y_reach",  # bytes that the loads of a row span
        )
    ]
)  # fmt: skip
ahead_at = record_of(AHEAD)

LINE = 64  # bytes
AT_ONCE = 20  # lines; 16 leaves rows of the smallest networks out, 24 took from 64-128-64-10 what is gained
LINES_OF_ROW = 8  # the processor's own prefetcher goes on from there


@kernel
def row_of(order, i):
    """The user's row that is the i-th of the epoch; `order` is an address, 0: as they stand."""
    return i if order == 0 else np.int64(get(indices(order), i))


@kernel
def look_ahead(ahead, job, first, last):
    """Write down at the address `ahead` what :func:`ask` is to ask for: the rows first…last of the epoch."""
    rows, n_0, n_L = ahead_at(ahead, 0), layer_at(job.layers, 0).n_prev, layer_at(job.layers, job.n_layers - 1).n
    rows.next, rows.end = first, last
    rows.order, rows.X, rows.Y = job.order, job.X, job.labels or job.Y
    rows.X_row, rows.X_reach = (n_0, padded(n_0)) if job.octets else (4 * n_0, reach(n_0))
    rows.Y_row, rows.Y_reach = (8, 4) if job.labels else (4 * n_L, reach(n_L))
    rows.count = max(1, AT_ONCE // (lines_of(rows.X_reach) + lines_of(rows.Y_reach)))


@kernel
def reach(n):
    """Bytes that the loads of n floats span: a lone one, or whole vectors and one of :func:`.simd.load_narrow`."""
    left = n % LANES
    narrow = 0 if left == 0 else 4 if left <= 4 else 8 if left <= 8 else LANES
    return 4 if n == 1 else 4 * (n - left + narrow)


@kernel
def lines_of(reach):
    """How many lines so many bytes touch at most, or the first of them; they begin at a multiple of 4 bytes."""
    return min((reach + 2 * LINE - 5) // LINE, LINES_OF_ROW)


@kernel
def ask_row(row, reach):
    """Ask for the lines of a row at an address. They are as many for each row, so that no branch is mispredicted."""
    for line in range(lines_of(reach)):
        prefetch(octets(row), min(line * LINE, reach - 1), 0)


@kernel
def ask(ahead):
    """Ask for the next few rows; `ahead` is an address, 0: there are none."""
    if ahead == 0:
        return
    rows = ahead_at(ahead, 0)
    end = min(rows.next + rows.count, rows.end)
    for place in range(rows.next, end):
        i = row_of(rows.order, place)
        ask_row(rows.X + i * rows.X_row, rows.X_reach)
        ask_row(rows.Y + i * rows.Y_row, rows.Y_reach)
    rows.next = end
