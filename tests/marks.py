"""The mark of single parameters of a test as slow."""

import pytest


def slow_but(fast, values):
    """Return the values for ``parametrize``, those that are not in `fast` marked as slow."""
    return [
        value
        if value in fast
        else pytest.param(*(value if isinstance(value, tuple) else (value,)), marks=pytest.mark.slow)
        for value in values
    ]
