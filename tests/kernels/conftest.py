"""Marks as slow the tests of the kernels that compile much or start processes."""

import pytest

SLOW = {
    "test_the_sums_of_a_tile_stay_in_registers",
    "test_the_whole_passes_from_ones_own_code",
    "test_what_lies_beyond_an_array_is_refused_where_numba_checks_bounds",
}


def pytest_collection_modifyitems(items):
    for item in items:
        if getattr(item, "originalname", None) in SLOW:
            item.add_marker(pytest.mark.slow)
