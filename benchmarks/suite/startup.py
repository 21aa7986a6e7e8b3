"""Start-up times: import, and the first fit with a cold and with a warm cache."""

import os
import subprocess
import sys
import tempfile

FIRST_FIT = """
import numpy as np
from fastprop import Network
Network((64, 128, 64, 10), output="softmax", rng=0).fit(np.zeros((256, 64)), np.zeros(256, int), epochs=1)
"""


def run_python(code: str, **environment: str) -> None:
    """Run code in a fresh interpreter."""
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, **environment})


class Startup:
    """Seconds of a whole process; the lower bound of all is an interpreter that imports only Numba."""

    number = 1
    warmup_time = 0
    rounds = 1
    timeout = 600

    def setup(self) -> None:
        run_python(FIRST_FIT)  # fills the cache

    def time_import_numba(self) -> None:
        run_python("import numba")

    def time_import(self) -> None:
        run_python("import fastprop")

    def time_first_fit_warm(self) -> None:
        run_python(FIRST_FIT)

    def time_first_fit_cold(self) -> None:
        with tempfile.TemporaryDirectory() as empty:
            run_python(FIRST_FIT, NUMBA_CACHE_DIR=empty)

    time_import_numba.repeat = time_import.repeat = time_first_fit_warm.repeat = 5
    time_first_fit_cold.repeat = 2
