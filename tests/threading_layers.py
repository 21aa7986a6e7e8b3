"""Numba's threading layers, and the beginning of the scripts that train on two threads in a process of their own."""

import importlib

import pytest


def has_layer(name):
    """Whether Numba can load a threading layer here."""
    try:
        importlib.import_module(f"numba.np.ufunc.{name}pool" if name != "workqueue" else "numba.np.ufunc.workqueue")
    except ImportError:
        return False
    return True


LAYERS = pytest.mark.parametrize(
    "layer",
    [
        pytest.param(name, marks=pytest.mark.skipif(not has_layer(name), reason=f"Numba has no {name} layer here"))
        for name in ("omp", "workqueue", "tbb")
    ],
)
PARALLEL = """
import os, sys
import numpy as np
import fastprop
from fastprop import Adam, Network
from fastprop.kernels import estimate

estimate.threads_for = lambda sizes, batch, available, size=4, train=True, frozen=(): available
fastprop.set_num_threads(2)
rng = np.random.default_rng(0)
X, Y = rng.standard_normal((300, 20), dtype=np.float32), rng.integers(5, size=300)

def trained(seed):
    net = Network((20, 40, 5), output="softmax", rng=seed)
    net.fit(X, Y, epochs=3, batch_size=100, optimizer=Adam())
    return net.parameters.tobytes()
"""
