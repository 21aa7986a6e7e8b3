"""The version of fastprop, and what a bug report needs."""

import platform

import numba
import numpy as np

from .core import cores, threads
from .distribution import NAME, conflict
from .kernels import jit, simd
from .kernels.steps import launch_alone
from .texts import printable

__version__ = "0.2.0"


def show_versions() -> None:
    """Print versions, processor, vector width, tile, threading layer and cache folder.

    If the distribution ``fastprop`` of another project is installed too, a line says what that means.
    """
    features = simd.cpu_features()
    width = 512 if features.get("avx512f") else 256 if features.get("avx") else 128
    try:
        layer = numba.threading_layer()
    except ValueError:
        layer = f"{numba.config.THREADING_LAYER} (not started)"
    rows = {
        "fastprop": f"{__version__} ({NAME})",
        "python": f"{platform.python_version()} ({platform.platform()})",
        "numpy": np.__version__,
        "numba": numba.__version__,
        "processor": jit.cpu_name(),
        "vectors": f"{width} bits, tiles of {simd.TILE_ROWS} rows",
        "threads": f"{threads.get_num_threads()} of {cores.available()}",
        "threading layer": layer,
        "cache": jit.cache_folder(launch_alone),
    }
    other = conflict()
    for name, value in (rows | ({"conflict": other} if other else {})).items():
        print(printable(f"{name:16} {value}"))
