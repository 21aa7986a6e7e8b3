"""How long a step should take on so many threads: what the number of threads is chosen by.

Phase 1 is shared by panels, phase 2 by columns of the weights (see :mod:`.steps`). Beside its share of the work, each
thread waits for the others between the phases, and reads what they wrote from their caches: the weights in phase 1,
the activations in phase 2. On very many threads phase 1 ends in having no more panels to share.

The figures are fitted to one machine (Zen 4, two cores), where ``benchmarks/machines.py threads`` prints what they
expect beside what is measured; past two cores they could not be checked. A machine that computes and communicates at
another speed but in the same proportion chooses alike.
"""

from collections.abc import Sequence
from functools import cache
from itertools import pairwise

from .simd import LANES

PEAK = 1.15e11  # FLOP/s of a core
NEAR, FAR = 0.95, 0.87  # of the peak, in products whose W does or does not fit the cache of one core
CACHE = 2**18  # floats
VECTOR = 7e-9  # seconds to gather, activate, mask and transpose 16 samples of one unit
STREAM = 6e10  # bytes of W that a core reads in a second, or where they exceed all caches
FROM_MEMORY = 2e10
LARGEST_CACHE = 2**23  # floats
HANDOVER = 1e-6  # seconds that two threads wait for each other at the end of a phase, and half as long for each more
EXCHANGE = 2.4e10  # bytes that a core reads in a second from the caches of others
LAUNCH = 2.5e-6  # seconds to wake the other threads for a single call; a fit does it once for thousands of steps
WORTH = 1.05  # more threads must be at least so much faster


def seconds(sizes: Sequence[int], batch: int, threads: int, *, train: bool = True) -> float:
    """Expected time of a training step, or without `train` of a forward pass.

    Parameters
    ----------
    sizes : (n_0, …, n_L)
    batch : samples in a step
    threads : how many share it, one on each core
    """
    products = [a * b for a, b in pairwise(sizes)]
    if batch == 1:
        return _seconds_of_sample(sum(products), len(products), threads, train)
    panels, columns = -(-batch // LANES), sum(-(-n // LANES) for n in sizes[:-1])
    first = -(-panels // threads) / panels  # the largest share of each phase
    second = -(-columns // threads) / columns
    each = [2 * batch * n / PEAK / (NEAR if n <= CACHE else FAR) for n in products]
    once, dA = sum(each), sum(each[1:])
    read = 4 * sum(products) / STREAM
    time = first * ((once + (dA if train else 0)) + panels * sum(sizes) * VECTOR) + (2 if train else 1) * read
    if train:
        time += second * (once + read)
    if threads > 1:
        others = 1 - 1 / threads
        if train:
            written = sum(products) + batch * (sum(sizes[1:]) + sum(sizes[:-1]) / threads)
            time += HANDOVER * threads + 4 * others * written / EXCHANGE
        else:
            time += LAUNCH + HANDOVER * threads / 2
    return time


def _seconds_of_sample(weights: int, layers: int, threads: int, train: bool) -> float:
    """Each layer is shared; the time is that of reading W, or of reading it three times and writing it once."""
    bandwidth = STREAM if weights <= LARGEST_CACHE else FROM_MEMORY
    time = (4 if train else 1) * 4 * weights / bandwidth / threads
    if threads > 1:
        time += (LAUNCH if not train else 0) + (2 if train else 1) * layers * HANDOVER * threads / 2
        if train:  # by rows and then by columns: what one thread wrote the other reads
            time += 4 * min(weights, LARGEST_CACHE) * (1 - 1 / threads) / EXCHANGE
    return time


@cache
def threads_for(sizes: tuple[int, ...], batch: int, available: int, *, train: bool = True) -> int:
    """The fewest threads, of those available, that are expected to be about as fast as any number."""
    times = [seconds(sizes, batch, threads, train=train) for threads in range(1, available + 1)]
    return 1 + next(i for i, time in enumerate(times) if time <= WORTH * min(times))
