"""Compare predictions of fastprop, NumPy, scikit-learn, PyTorch, JAX and onnxruntime, from one row to 65,536.

    python benchmarks/predictions.py [--shapes xs,s,...] [--batches 1,32,...] [--peers NumPy,...] [--threads 1,2]

All libraries compute the same network on the same rows, from a NumPy array to a NumPy array. The outputs of each are
checked against the reference in float64. Each library has its own process, with no more cores than threads; all
processes are alive together and take turns. Figures are medians of the turns. The script prints a table for each number
of threads. A library that is not installed is left out.
"""

import argparse
import importlib.util
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from typing import Any

import numpy as np
import predictors
from cases import NAMES, Case, named
from measuring import REST, cores, environment
from predictors import LARGE, PREDICTORS, flops
from reports import (
    about,
    chosen,
    default_threads,
    figure,
    header,
    plural,
    row,
    say,
    setting,
    threads_of,
    times,
)

PREDICT, FORWARD = "fastprop predict", "fastprop forward"
PEERS = [name for name in PREDICTORS if name not in (PREDICT, FORWARD)]
BATCHES = "1,32,1024,65536"
TURNS = 7
TURNS_OF_LARGE = 3
MEMORY = 4.0  # GB for the rows of one process, at most
KEPT = 4.5  # forward keeps this many times a peer's arrays: Z, A, dZ, dA and the transpose of A
TOLERANCE = 1e-4  # of the largest output: float32 errs by about 1e-6, products of bfloat16 or TF32 by 1e-3


# ---- measuring -------------------------------------------------------------------------------------------------------


class Process:
    """A predictor's process, which is started at the first question, and again if it has ended."""

    def __init__(self, name: str, threads: int):
        self.name, self.threads = name, threads
        self.running: subprocess.Popen | None = None

    def ask(self, case: Case, batch: int) -> dict[str, Any]:
        """Return the process's answer, or the reason why there is none."""
        if self.running is None or self.running.poll() is not None:
            self.close()
            with cores(self.threads):
                self.running = subprocess.Popen(
                    [sys.executable, predictors.__file__, self.name, str(self.threads)], env=environment(self.threads),
                    stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
                )  # fmt: skip
        assert self.running.stdin is not None
        assert self.running.stdout is not None
        print(case.name, batch, file=self.running.stdin, flush=True)
        line = self.running.stdout.readline()
        return json.loads(line) if line else {"failed": f"ended with {self.running.wait()}"}

    def close(self) -> None:
        """End the process."""
        if self.running is not None:
            with self.running:
                self.running.kill()


def check(name: str, case: Case, batch: int, deviation: float) -> None:
    """End the program if a predictor's outputs are not the reference's."""
    if not deviation <= TOLERANCE:
        raise SystemExit(
            f"{name} computes something else: on {case.name}, B={batch}, its outputs are {deviation:.3g} of the "
            f"largest from the reference's; {TOLERANCE:g} is allowed."
        )


def gigabytes(name: str, case: Case, batch: int) -> float:
    """Return the gigabytes of a predictor's rows and activations; fastprop's predict holds only rows and outputs.

    Measured peaks on 65,536 rows of digits: onnxruntime's arena takes 1.8 times this, forward 0.7 times, the others 1.0
    to 1.2 times.
    """
    widths = case.sizes[:: len(case.sizes) - 1] if name == PREDICT else case.sizes
    return 4e-9 * batch * sum(widths) * (KEPT if name == FORWARD else 1)


def measure(processes: list[Process], case: Case, batch: int, versions: dict[str, str]) -> dict[str, float]:
    """Return the median seconds of a call of each process, in turns; a failed one is reported and left out."""
    turns: dict[str, list[float]] = {}
    for turn in range(1 + (TURNS_OF_LARGE if flops(case, batch) > LARGE else TURNS)):  # the first checks the outputs
        for process in processes:
            if turn and process.name not in turns:
                continue
            if process.threads > 1:
                time.sleep(REST)  # threads of other libraries spin for a while after their last work, on a core
            answer = process.ask(case, batch)
            if "failed" in answer:
                where = f"{case.name}, B={batch}, {plural(process.threads)}"
                print(f"{where}: {process.name} {answer['failed']}", file=sys.stderr)
                turns.pop(process.name, None)
            elif turn:
                turns[process.name].append(answer["seconds"])
            else:
                check(process.name, case, batch, answer["deviation"])
                turns[process.name] = []
                versions[process.name] = answer["version"]
    return {name: float(np.median(taken)) for name, taken in turns.items()}


# ---- the table -------------------------------------------------------------------------------------------------------


def best(ratios: dict[str, float]) -> tuple[float, str]:
    """Return the least time of a peer over that of predict, and the peer's name."""
    return min(((ratios[name], name) for name in PEERS if ratios.get(name, np.nan) > 0), default=(np.nan, ""))


def table(names: list[str], cells: list[tuple[Case, int]], threads: int, memory: float,
          versions: dict[str, str]) -> Iterator[str]:  # fmt: skip
    """Yield the lines of the table for a number of threads, each as soon as it is measured."""
    others = [name for name in names if name != PREDICT]
    yield f"{plural(threads)}: µs per call of predict, and the times of the others over it\n"
    yield from header("shape", "B", f"{PREDICT}, µs", *others, "ahead of all")
    ahead, left_out, compared = [], [], 0
    with ExitStack() as stack:
        processes = [stack.enter_context(closing(Process(name, threads))) for name in names]
        for case, batch in cells:
            needs = {name: gigabytes(name, case, batch) for name in names}
            too_large = [f"{name} ({need:.1f} GB)" for name, need in needs.items() if need > memory]
            if too_large:
                left_out.append(f"{case.name} B={batch}: {', '.join(too_large)}")
            seconds = measure([p for p in processes if needs[p.name] <= memory], case, batch, versions)
            ours = seconds.get(PREDICT, np.nan)
            ratios = {name: taken / ours for name, taken in seconds.items()}
            least, peer = best(ratios)
            compared += bool(peer)
            if least < 1:
                ahead.append(f"{case.name} B={batch} ({times(least)} {peer})")
            found = (times(ratios.get(name, np.nan)) for name in others)
            yield row(case.name, f"{batch:,}", figure(1e6 * ours), *found, f"{times(least)} {peer}".rstrip())
    yield f"\nA peer is ahead in {len(ahead)} of {compared} cells{': ' if ahead else ''}{', '.join(ahead)}."
    if left_out:
        yield f"\nLeft out, as a process would need more than {memory:g} GB: {'; '.join(left_out)}."


# ---- the command -----------------------------------------------------------------------------------------------------


def installed() -> list[str]:
    """Return the peers whose libraries are installed."""
    return [name for name in PEERS if all(importlib.util.find_spec(module) for module in PREDICTORS[name][0])]


def batches_of(text: str) -> list[int]:
    """Return the numbers of a comma-separated list; end the program if one is not a whole number from 1 on."""
    for number in text.split(","):
        if not (number.isdecimal() and int(number)):
            raise SystemExit(f"there is no batch {number!r}; it takes whole numbers from 1 on, with commas.")
    return [int(number) for number in text.split(",")]


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", default=",".join(NAMES), help="comma-separated names (all)")
    parser.add_argument("--batches", default=BATCHES, help="comma-separated numbers of rows (%(default)s)")
    parser.add_argument("--peers", default=",".join(installed()), help="comma-separated names (all that are installed)")
    parser.add_argument("--threads", default=default_threads(), help="comma-separated numbers of threads (%(default)s)")
    parser.add_argument("--memory", type=float, default=MEMORY, help="GB for the rows of a process (%(default)s)")
    wanted = parser.parse_args()
    cases = [named(name) for name in chosen(wanted.shapes, NAMES, "shape")]
    batches, threads = batches_of(wanted.batches), threads_of(wanted.threads)
    names = [PREDICT, *dict.fromkeys(chosen(wanted.peers, PEERS, "peer")), FORWARD]
    cells = [(case, batch) for case in cases for batch in batches]
    versions: dict[str, str] = {}
    for n in threads:
        for line in table(names, cells, n, wanted.memory, versions):
            say(line)
        print()
    runs = [{"peer": name, "version": version} for name, version in versions.items()]
    say(about(setting("predictions.py") | {"runs": runs}))


if __name__ == "__main__":
    main()
