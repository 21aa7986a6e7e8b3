"""Memory that training takes from one step or one call to the next."""

import sys
from collections.abc import Callable

from cases import LR, named, random_data
from numba.core.runtime import _nrt_python, rtsys

from fastprop import SGD, Network, set_num_threads


def allocations_per_step(train: Callable[[int], object], steps: int) -> float:
    """Return the blocks of memory that compiled code allocates in each step of `train(n)`, a training of n steps.

    This is the difference between trainings of 2·steps and of `steps` steps, over `steps`. It leaves out what a call
    takes whatever its number of steps: Numba allocates a block for every array that Python hands to a compiled
    function, and frees it when the function returns. The least of five counts is taken, since a disturbed machine may
    cut a training into more compiled calls, but never into fewer.
    """
    _nrt_python.memsys_enable_stats()

    def count(n: int) -> int:
        before = rtsys.get_allocation_stats().alloc
        train(n)
        return rtsys.get_allocation_stats().alloc - before

    train(2 * steps)  # compiles
    once, twice = (min(count(n) for _ in range(5)) for n in (steps, 2 * steps))
    return (twice - once) / steps


class Allocations:
    """Memory that training takes from one step or one call to the next; both figures are 0."""

    def track_per_step(self) -> float:
        """Blocks that compiled code allocates in each step of an epoch."""
        set_num_threads(1)
        case = named("digits")
        X, Y = random_data(case, 64 * case.batch)
        net, optimizer = Network(case.sizes, output=case.output, rng=0), SGD(lr=LR)

        def train(steps: int) -> None:
            rows = steps * case.batch
            net.fit(X[:rows], Y[:rows], epochs=1, batch_size=case.batch, optimizer=optimizer, progress=False)

        return allocations_per_step(train, 32)

    def track_kept_per_call(self) -> float:
        """Blocks that compiled code and Python keep after each call of `train_step`: the least of five counts."""
        case = named("digits")
        X, Y = random_data(case, case.batch)
        net, optimizer = Network(case.sizes, output=case.output, rng=0), SGD(lr=LR)
        for _ in range(300):  # Python's own free lists fill up first
            net.train_step(X, Y, optimizer)
        _nrt_python.memsys_enable_stats()

        def kept() -> int:
            stats = rtsys.get_allocation_stats()
            return stats.alloc - stats.free + sys.getallocatedblocks()

        def kept_by(calls: int) -> int:
            before = kept()
            for _ in range(calls):
                net.train_step(X, Y, optimizer)
            return max(0, kept() - before) // calls

        # A leak is in every count; in one of five, thousands of blocks may be Python's and Numba's own.
        return float(min(kept_by(100) for _ in range(5)))

    track_per_step.unit = track_kept_per_call.unit = "blocks"
