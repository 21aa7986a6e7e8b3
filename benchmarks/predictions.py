"""Predictions, from one row to 65,536: fastprop beside whichever of NumPy, PyTorch, JAX and onnxruntime is installed.

    python benchmarks/predictions.py [--shapes xs,s,…] [--batches 1,32,…] [--peers NumPy,…] [--threads 1,2]

All compute the same network on the same rows, from a NumPy array to a NumPy array, and each is first shown to compute
what the reference does in float64. Each has a process of its own, with no more cores than threads; all are alive
together and take turns. Figures are medians of the turns. Prints a table for each number of threads.
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
from compare_peers import (
    REST,
    about,
    chosen,
    cores,
    default_threads,
    environment,
    figure,
    header,
    plural,
    row,
    setting,
    threads_of,
    times,
)
from predictors import LARGE, PREDICTORS, flops

PREDICT, FORWARD = "fastprop predict", "fastprop forward"
PEERS = [name for name in PREDICTORS if name not in (PREDICT, FORWARD)]
BATCHES = "1,32,1024,65536"
TURNS = 7
TURNS_OF_LARGE = 3
MEMORY = 4.0  # GB for the rows of one process, at most
KEPT = 4.5  # times a peer's arrays is what forward keeps: Z, A, dZ, dA and A with rows and columns exchanged
TOLERANCE = 1e-4  # of the largest output: float32 errs by some 1e-6, products of bfloat16 or TF32 by 1e-3


# ---- measuring -------------------------------------------------------------------------------------------------------


class Process:
    """A predictor's process: started when it is first asked, and again where it has ended."""

    def __init__(self, name: str, threads: int):
        self.name, self.threads = name, threads
        self.running: subprocess.Popen | None = None

    def ask(self, case: Case, batch: int) -> dict[str, Any]:
        """Its answer, or why there is none."""
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
        """End it."""
        if self.running is not None:
            with self.running:
                self.running.kill()


def check(name: str, case: Case, batch: int, deviation: float) -> None:
    """End the program where a predictor's outputs are not the reference's."""
    if not deviation <= TOLERANCE:
        raise SystemExit(
            f"{name} computes something else: on {case.name}, B={batch}, its outputs are {deviation:.3g} of the "
            f"largest from the reference's; {TOLERANCE:g} is allowed."
        )


def gigabytes(name: str, case: Case, batch: int) -> float:
    """Of a predictor's rows and their activations; fastprop's predict has only rows and outputs.

    What was measured on 65,536 rows of digits: onnxruntime's arena takes 1.8 times this, forward 0.7, the others 1.0 to
    1.2 at their peak.
    """
    widths = case.sizes[:: len(case.sizes) - 1] if name == PREDICT else case.sizes
    return 4e-9 * batch * sum(widths) * (KEPT if name == FORWARD else 1)


def measure(processes: list[Process], case: Case, batch: int, versions: dict[str, str]) -> dict[str, float]:
    """Median seconds of a call of each, in turns; those that fail are left out and said so."""
    turns: dict[str, list[float]] = {}
    for turn in range(1 + (TURNS_OF_LARGE if flops(case, batch) > LARGE else TURNS)):  # in the first they are checked
        for process in processes:
            if turn and process.name not in turns:
                continue
            if process.threads > 1:
                time.sleep(REST)  # pools of threads spin on for a while after their last work, and take a core
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
    """The least time of a peer over predict's, and whose it is."""
    return min(((ratios[name], name) for name in PEERS if ratios.get(name, np.nan) > 0), default=(np.nan, ""))


def table(names: list[str], cells: list[tuple[Case, int]], threads: int, memory: float,
          versions: dict[str, str]) -> Iterator[str]:  # fmt: skip
    """The lines of the table of so many threads, each as soon as it is measured."""
    others = [name for name in names if name != PREDICT]
    yield f"{plural(threads)}: µs a call of predict, and the others' times over it\n"
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
    """The peers whose libraries are there."""
    return [name for name in PEERS if all(importlib.util.find_spec(module) for module in PREDICTORS[name][0])]


def batches_of(text: str) -> list[int]:
    """The whole numbers in a list with commas; ends the program for what is none."""
    for number in text.split(","):
        if not (number.isdecimal() and int(number)):
            raise SystemExit(f"there is no batch {number!r}; it takes whole numbers from 1 on, with commas.")
    return [int(number) for number in text.split(",")]


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", default=",".join(NAMES), help="names, with commas; all if not given")
    parser.add_argument("--batches", default=BATCHES, help=f"numbers of rows, with commas; {BATCHES} if not given")
    parser.add_argument("--peers", default=",".join(installed()), help="names, with commas; all that are installed")
    parser.add_argument("--threads", default=default_threads(), help="numbers of threads, with commas")
    parser.add_argument("--memory", type=float, default=MEMORY, help=f"GB for the rows of a process; {MEMORY:g}")
    wanted = parser.parse_args()
    cases = [named(name) for name in chosen(wanted.shapes, NAMES, "shape")]
    batches, threads = batches_of(wanted.batches), threads_of(wanted.threads)
    names = [PREDICT, *dict.fromkeys(chosen(wanted.peers, PEERS, "peer")), FORWARD]
    cells = [(case, batch) for case in cases for batch in batches]
    versions: dict[str, str] = {}
    for n in threads:
        for line in table(names, cells, n, wanted.memory, versions):
            print(line, flush=True)
        print()
    runs = [{"peer": name, "version": version} for name, version in versions.items()]
    print(about(setting("predictions.py") | {"runs": runs}))


if __name__ == "__main__":
    main()
