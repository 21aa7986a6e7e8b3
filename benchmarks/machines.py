"""Measure fastprop on more cores, beside other processes, and on processors with fewer features.

    python benchmarks/machines.py [threads] [crowd] [askers] [processors]

prints the named tables, or all.
"""

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from cases import LR, NAMES, SHAPES, Case, named, random_data
from measuring import POOLS, cores, environment, epochs_of, in_turns, seconds_of
from numba.core.codegen import get_host_cpu_features
from reports import header, print_tables, row

from fastprop import SGD, Network, set_num_threads
from fastprop.core.cores import available
from fastprop.kernels import estimate
from fastprop.kernels.plan import flops_per_sample

COUNTS = (1, 2, 4, 8, 16, 64)
ROUNDS = 3
CROWD = ("s", "digits", "mnist", "wide")
CROWD_SECONDS = 2.0  # of training in each process
ASKERS, ROWS_OF_CALL = 4, (32, 1024)
FLOPS_OF_ASKER = 2 * 10**9  # about 20 ms of each thread

# Processors without some features of this one: LLVM's name, parts of the names of those features, OpenBLAS's name.
PROCESSORS = {
    "AVX2": ("haswell", ("avx512", "avx10", "evex"), "Haswell"),
    "AVX, no FMA": ("sandybridge", ("avx512", "avx10", "evex", "avx2", "fma", "f16c", "xop"), "Sandybridge"),
    "SSE": ("nehalem", ("avx", "evex", "fma", "f16c", "xop", "vaes", "vpclmul"), "Nehalem"),
}


def environment_of(processor: str) -> dict[str, str]:
    """Return the environment variables with which Numba and OpenBLAS compute as on that processor."""
    cpu, left_out, blas = PROCESSORS[processor]
    features = ",".join(
        "-" + feature[1:] if any(text in feature for text in left_out) else feature
        for feature in get_host_cpu_features().split(",")
    )
    return {"NUMBA_CPU_NAME": cpu, "NUMBA_CPU_FEATURES": features, "OPENBLAS_CORETYPE": blas}


def step_of(case: Case, threads: int) -> tuple[float, float]:
    """Return the median seconds of a step of a fit on `threads` threads, and the peak of a core in FLOP/s, in turns."""
    fit, flops = epochs_of(case, case.batch, SGD(LR))
    set_num_threads(threads)
    found = in_turns({"fit": fit})
    return found["fit"] / (flops / flops_per_sample(case.sizes) / case.batch), found["peak"]


def threads() -> list[str]:
    """Speed over that of one thread: expected by the plan (kernels/estimate.py), and measured on available cores."""
    lines = header("shape", "threads chosen of 64", *(f"{count}" for count in COUNTS), "µs a step: expected, measured")
    for case in SHAPES:
        expected = {count: estimate.seconds(case.sizes, case.batch, count) for count in COUNTS}
        measured = {count: step_of(case, count) for count in COUNTS if count <= available()}
        cells = []
        for count in COUNTS:
            chosen = estimate.threads_for(case.sizes, case.batch, count)
            cell = f"{expected[1] / estimate.seconds(case.sizes, case.batch, chosen):.2f}"
            cells.append(f"{cell} ({measured[1][0] / measured[count][0]:.2f})" if count in measured else cell)
        alone, peak = measured[1]
        times = f"{1e6 * expected[1] * estimate.PEAK / peak:,.1f}, {1e6 * alone:,.1f}"
        lines.append(row(case.name, estimate.threads_for(case.sizes, case.batch, 64), *cells, times))
    return [
        *lines,
        "",
        "Expected speed over that of one thread, on the threads that the plan chooses; in brackets the measured one.",
    ]


WORKER = """
import sys, time
sys.path.insert(0, sys.argv[1])
from cases import LR, named
from fastprop import SGD, set_num_threads
from fastprop.kernels.plan import flops_per_sample
from measuring import epochs_of
case, seconds = named(sys.argv[2]), float(sys.argv[3])
set_num_threads(int(sys.argv[4]) if len(sys.argv) > 4 else None)
fit, flops = epochs_of(case, case.batch, SGD(LR))
fit()
print("ready", flush=True)
sys.stdin.readline()
fits, began = 0, time.perf_counter()
while time.perf_counter() - began < seconds:
    fit()
    fits += 1
print(fits * flops / flops_per_sample(case.sizes) / (time.perf_counter() - began))
"""


# In a process without NumPy's turns: after the rest that follows them, fits of a tenth of a second start slowly.
SHARES = """
import json, sys
sys.path.insert(0, sys.argv[1])
from cases import named
from fastprop.kernels.plan import flops_per_sample
from machines import step_of
found = {}
for name in sys.argv[2:]:
    case = named(name)
    seconds, peak = step_of(case, 1)
    found[name] = case.batch * flops_per_sample(case.sizes) / seconds / peak, peak
print(json.dumps(found))
"""


def together(name: str, processes: int, *threads: int) -> float:
    """Return the total samples per second of some processes that train at the same time."""
    command = [sys.executable, "-c", WORKER, str(Path(__file__).parent), name, str(CROWD_SECONDS), *map(str, threads)]
    variables = {key: value for key, value in os.environ.items() if key not in POOLS}
    crowd = [
        subprocess.Popen(command, env=variables, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(processes)
    ]
    for process in crowd:
        assert process.stdout is not None
        process.stdout.readline()  # ready
    for process in crowd:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    return sum(float(process.communicate()[0]) for process in crowd)


def crowd() -> list[str]:
    """Samples per second of all processes together, over those of one process on all cores."""
    lines = header("shape", "one thread", "four processes", "eight threads")
    for name in CROWD:
        ways = {"alone": (1,), "one": (1, 1), "four": (4,), "eight": (1, 8)}
        speeds: dict[str, list[float]] = {way: [] for way in ways}
        for _ in range(ROUNDS):
            for way, arguments in ways.items():
                speeds[way].append(together(name, *arguments))
        medians = {way: float(np.median(taken)) for way, taken in speeds.items()}
        lines.append(row(name, *(f"{medians[way] / medians['alone']:.2f}" for way in ("one", "four", "eight"))))
    return lines


def askers() -> list[str]:
    """Speed of four Python threads that call `predict` of one network, over that of one; each call on one thread."""
    lines = header("shape", "rows a call", "four over one")
    set_num_threads(1)
    with ThreadPoolExecutor(ASKERS) as pool:
        for name, rows in product(CROWD, ROWS_OF_CALL):
            case = named(name)
            net, (X, _) = Network(case.sizes, output=case.output, rng=0), random_data(case, rows)
            calls = -(-FLOPS_OF_ASKER // (rows * 2 * net.parameters.size))

            def ask(_: int, net: Network = net, X: np.ndarray = X, calls: int = calls) -> None:
                for _ in range(calls):
                    net.predict(X)

            found = seconds_of(
                {
                    "one": lambda ask=ask: list(map(ask, range(ASKERS))),
                    "four": lambda ask=ask: list(pool.map(ask, range(ASKERS))),
                }
            )
            lines.append(row(name, rows, f"{found['one'] / found['four']:.2f}"))
    return lines


def alone(processor: str, *command: str) -> dict[str, Any]:
    """Return the JSON that a program prints on one core, as on a processor."""
    variables = environment(1) | environment_of(processor)
    with cores(1):
        done = subprocess.run([sys.executable, *command], env=variables, check=True, capture_output=True, text=True)
    return json.loads(done.stdout)


def processors() -> list[str]:
    """Share of the peak on one thread without some CPU features, and speed over NumPy's on the same processor."""
    lines = header("processor", "the peak, GFLOP/s", *NAMES, "over NumPy, in that order")
    folder = Path(__file__).parent
    for processor in PROCESSORS:
        found = alone(processor, "-c", SHARES, str(folder), *NAMES)
        beside = alone(processor, str(folder / "ratios.py"), *NAMES)
        lines.append(
            row(
                processor,
                f"{np.median([peak for _, peak in found.values()]) / 1e9:.0f}",
                *(f"{100 * share:.0f}%" for share, _ in found.values()),
                ", ".join(f"{1 / beside[name]['over NumPy']:.2f}" for name in NAMES),
            )
        )
    return lines


TABLES = {"threads": threads, "crowd": crowd, "askers": askers, "processors": processors}


if __name__ == "__main__":
    print_tables(__doc__, TABLES)
