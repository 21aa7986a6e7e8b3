"""Estimate of the time of a step on a given number of threads, from which the number of threads is chosen.

Phase 1 is shared by panels, phase 2 by columns of the weights (see :mod:`.steps`). In addition to its share of the
work, each thread waits for the others between the phases, and reads from their caches what they wrote: the weights in
phase 1, the activations in phase 2. With very many threads, there are not enough panels to share in phase 1.

The constants are fitted to one machine (Zen 4, two cores), where ``benchmarks/machines.py threads`` prints the
estimates next to measured times; they could not be checked beyond two cores. On a machine that computes and
communicates at other speeds but in the same proportion, the choice is the same.
"""

from functools import cache
from itertools import pairwise

from .simd import LANES

PEAK = 1.15e11  # FLOP/s of a core
NEAR, FAR = 0.95, 0.87  # share of the peak of products whose W does, or does not, fit the cache of one core
CACHE = 2**20  # bytes
VECTOR = 7e-9  # seconds to gather, activate, mask and transpose 16 samples of one unit
STREAM = 6e10  # bytes/s of W that a core reads from the caches
FROM_MEMORY = 2e10  # bytes/s if W exceeds all caches
LARGEST_CACHE = 2**25  # bytes
HANDOVER = 1e-6  # seconds that two threads wait for each other at the end of a phase; half as long for each further one
EXCHANGE = 2.4e10  # bytes/s that a core reads from the caches of other cores
LAUNCH = 2.5e-6  # seconds to wake the other threads for a single call; a fit does it once for thousands of steps
WORTH = 1.05  # more threads must be faster by at least this factor


@cache
def seconds(
    sizes: tuple[int, ...],
    batch: int,
    threads: int,
    size: int = 4,
    *,
    train: bool = True,
    frozen: tuple[int, ...] = (),
) -> float:
    """Return the expected time of a training step, or without `train` of a forward pass.

    Parameters
    ----------
    sizes : tuple of int
        (n_0, …, n_L).
    batch : int
        Number of samples in a step.
    threads : int
        Number of threads that share the step, each on a core of its own.
    size : int
        Bytes of a number: 4 for float32, 8 for float64, of which a core computes half as many per second.
    train : bool
        Whether there is a backward pass and an update.
    frozen : tuple of int
        The layers, counted from 0, that have no part in equation 2 and the update.

    Returns
    -------
    float
        Seconds.
    """
    products = [a * b for a, b in pairwise(sizes)]
    trained = [l for l in range(len(products)) if l not in frozen]
    lowest = trained[0]  # where the backward pass ends
    weights = sum(products[l] for l in trained)
    read = sum(products) + (sum(products[lowest:]) if train else 0)
    if batch == 1:
        moved = read + (2 * weights if train else 0)
        return _seconds_of_sample(sum(products), moved, len(products), threads, size, train)
    panels = -(-batch // LANES)
    columns = sum(-(-sizes[l] // LANES) for l in trained)
    first = -(-panels // threads) / panels  # the largest share of each phase
    second = -(-columns // threads) / columns
    wide = size / 4
    each = [2 * batch * n * wide / PEAK / (NEAR if n * size <= CACHE else FAR) for n in products]
    forward = sum(each)
    dA = sum(each[lowest + 1 :])
    dW = sum(each[l] for l in trained)
    time = first * ((forward + (dA if train else 0)) + panels * sum(sizes) * VECTOR * wide) + size * read / STREAM
    if train:
        time += second * (dW + size * weights / STREAM)
    if threads > 1:
        others = 1 - 1 / threads
        if train:
            written = weights + batch * (sum(sizes[1:]) + sum(sizes[:-1]) / threads)
            time += HANDOVER * threads + size * others * written / EXCHANGE
        else:
            time += LAUNCH + HANDOVER * threads / 2
    return time


def _seconds_of_sample(weights: int, moved: int, layers: int, threads: int, size: int, train: bool) -> float:
    """Return the time for one sample: that of reading W, or in training of reading it three times and writing it once.

    There are `weights` numbers in all W, and `moved` is how many are read or written. Threads share each layer.
    """
    bandwidth = STREAM if weights * size <= LARGEST_CACHE else FROM_MEMORY
    time = size * moved / bandwidth / threads
    if threads > 1:
        time += (LAUNCH if not train else 0) + (2 if train else 1) * layers * HANDOVER * threads / 2
        if train:  # shared by rows and then by columns, so that each thread reads what the others wrote
            time += min(size * weights, LARGEST_CACHE) * (1 - 1 / threads) / EXCHANGE
    return time


@cache
def threads_for(
    sizes: tuple[int, ...],
    batch: int,
    available: int,
    size: int = 4,
    *,
    train: bool = True,
    frozen: tuple[int, ...] = (),
) -> int:
    """Return the smallest number of threads, at most `available`, that is expected to be about as fast as any other."""
    times = [seconds(sizes, batch, threads, size, train=train, frozen=frozen) for threads in range(1, available + 1)]
    return 1 + next(i for i, time in enumerate(times) if time <= WORTH * min(times))
