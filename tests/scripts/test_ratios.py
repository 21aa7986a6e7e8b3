"""benchmarks/ratios.py counts the allocations of a step. No speed is asserted."""

import numba
import numpy as np
import ratios


@numba.njit
def _array_in_each_step(steps, given):
    total = given[0]
    for i in range(steps):
        total += np.full(i % 7 + 1, 0.5)[i % 2 - 1]
    return total


def test_an_allocation_in_each_step_is_counted_and_those_of_a_call_are_not():
    assert ratios.allocations_per_step(lambda steps: _array_in_each_step(steps, np.zeros(1)), 32) == 1


def test_training_allocates_nothing_from_step_to_step_and_keeps_nothing_from_call_to_call():
    assert ratios.Allocations().track_per_step() == 0
    assert ratios.Allocations().track_kept_per_call() == 0
