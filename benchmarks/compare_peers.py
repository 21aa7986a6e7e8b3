"""Compare the training speed of fastprop with other libraries; make the README's table and chart.

    python benchmarks/compare_peers.py [--shapes xs,s,...] [--peers NumPy,...] [--threads 1,2] [--readme]
    python benchmarks/compare_peers.py --dtype float64

The others are NumPy, scikit-learn, PyTorch, JAX and TensorFlow. All train the same network from the same start, on the
same rows, with the same batches, cost and optimizer. The cost of each after one epoch is checked against the reference
in float64. Each library runs in its own processes, which take turns, with no more cores than threads. A library that is
not installed is left out. The script prints tables and writes peers.json, with every figure, and peers.svg; in float64
peers-float64.json and peers-float64.svg.
"""

import argparse
import importlib.util
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import peers
from cases import SHAPES
from measuring import REST, cores, environment
from peers import CASES, PEERS
from reports import (
    about,
    chosen,
    default_threads,
    figure,
    header,
    label,
    plural,
    row,
    say,
    setting,
    threads_of,
    times,
    write_between,
)

from fastprop.distribution import missing
from fastprop.kernels.plan import flops_per_sample

HERE = Path(__file__).parent
START, END = "<!-- speed -->", "<!-- /speed -->"
SHOWN = ("xs", "digits", "mnist", "xl")  # the README's rows, at the largest number of threads; the others are folded
TIMEOUT = 900  # seconds
# Relative to the decrease of the cost in the epoch: it finds a learning rate that is wrong by 0.2 %. Float32 errs by at
# most 3e-5, and scikit-learn's Adam, which adds ε to √v and not to √v̂, by 1.5e-4.
TOLERANCE = 1e-3
COLORS = {
    "fastprop": "#d55e00", "NumPy": "#bbbbbb", "scikit-learn": "#777777", "PyTorch eager": "#9ad0f5",
    "PyTorch compiled": "#0072b2", "JAX step": "#8fd9c0", "JAX scan": "#009e73", "TensorFlow": "#e6ab02",
}  # fmt: skip


# Our optimizer and case → what the case is, and what another library published of it.
PUBLISHED = {
    ("adam", "simplechains"): (
        "SimpleChains.jl's case (4-32-16-4 tanh, 10,000 samples as one batch, Adam)",
        # julialang.org/blog/2022/04/simple-chains
        "The announcement (April 2022, all cores) printed: Intel i9-10980XE: SimpleChains 41 µs, PyTorch 1,525 µs "
        "(over 35 ×); AMD EPYC 7513: SimpleChains 72 µs, PyTorch 7,000 µs (close to 100 ×).",
    ),
    ("sgd", "higgs"): (
        "OpenNN's case (28-300-300-300-300-300-1 tanh, batches of 100, plain SGD)",
        # www.opennn.net/blog/higgs-cpu-opennn-pytorch and, for the optimizer, …/blog/higgs-opennn-and-pytorch
        "OpenNN published, which is not measured here: 1.55 times PyTorch's speed, 72,000 and 46,000 samples/s, on 16 "
        "threads of an Intel i9-12900K (SGD with momentum and weight decay, PyTorch 2.6).",
    ),
}


# ---- measuring -------------------------------------------------------------------------------------------------------


@cache
def expected_costs(case: peers.Case, optimizer: str) -> tuple[float, float]:
    """Return the cost before and after the epoch of the check, by the reference in float64."""
    X, Y = peers.data(case, peers.check_rows(case))
    parameters = {name: value.astype(np.float64) for name, value in peers.start(case).items()}
    peer = peers.numpy_reference(case, optimizer, parameters, X.astype(np.float64), Y.astype(np.float64), 1)
    peer.epoch(1, False)
    return peers.cost_of(case, parameters, X, Y), peers.cost_of(case, peer.parameters(), X, Y)


def check(name: str, case: peers.Case, optimizer: str, cost: float) -> None:
    """End the program if a peer's cost after one epoch is not the reference's."""
    before, after = expected_costs(case, optimizer)
    if not abs(cost - after) <= TOLERANCE * abs(before - after):
        raise SystemExit(
            f"{name} learns something else: after one epoch of {case.name} with {optimizer} its cost is {cost:.9g}, "
            f"the reference's {after:.9g} (before: {before:.9g})."
        )


def run(name: str, case: peers.Case, optimizer: str, threads: int, dtype: str) -> dict[str, Any]:
    """Measure a peer in a fresh process; return its figures, or the reason why it failed."""
    command = [sys.executable, peers.__file__, name, case.name, optimizer, str(threads), dtype]
    time.sleep(REST)
    with cores(threads):
        try:
            done = subprocess.run(
                command, env=environment(threads), capture_output=True, text=True, timeout=TIMEOUT, check=False
            )
        except subprocess.TimeoutExpired:
            return {"failed": f"took more than {TIMEOUT} s"}
    if done.returncode:
        return {"failed": (done.stderr.strip().splitlines() or [f"ended with {done.returncode}"])[-1]}
    return json.loads(done.stdout.splitlines()[-1])


def measure(
    jobs: list[tuple[str, peers.Case, int]], names: list[str], rounds: int, dtype: str
) -> Iterator[dict[str, Any]]:
    """Yield every run of every job (optimizer, case, threads); the peers take turns."""
    for (optimizer, case, threads), round_, name in product(jobs, range(rounds), names):
        found = run(name, case, optimizer, threads, dtype)
        speed = figure(np.median(found["samples_per_second"])) + "/s" if "cost" in found else found["failed"]
        print(f"{optimizer}, {case.name}, {plural(threads)}, round {round_ + 1}: {name} {speed}", file=sys.stderr)
        if "cost" in found:
            check(name, case, optimizer, found["cost"])
        yield {"peer": name, "case": case.name, "optimizer": optimizer, "threads": threads, **found}


# ---- results ---------------------------------------------------------------------------------------------------------


class Results:
    """The content of peers.json, and figures that are computed from it; NaN if a peer failed."""

    def __init__(self, content: dict[str, Any]):
        self.content, self.runs = content, content["runs"]
        self.peers = list(dict.fromkeys(run["peer"] for run in self.runs))
        self.jobs = list(dict.fromkeys((run["optimizer"], run["case"], run["threads"]) for run in self.runs))

    def shapes(self, optimizer: str) -> list[tuple]:
        """Return the jobs on the six shapes with an optimizer, without the published cases."""
        return [job for job in self.jobs if job[0] == optimizer and job[:2] not in PUBLISHED]

    def of(self, job: tuple, peer: str, key: str) -> tuple[float, float, float]:
        """Return the median of a figure over all repetitions, and the least and the greatest median of a round."""
        rounds = [
            np.atleast_1d(run[key])
            for run in self.runs
            if (run["optimizer"], run["case"], run["threads"], run["peer"]) == (*job, peer) and key in run
        ] or [np.array([np.nan])]
        medians = [float(np.median(values)) for values in rounds]
        return float(np.median(np.concatenate(rounds))), min(medians), max(medians)

    def speed(self, job: tuple, peer: str) -> float:
        """Return the median samples/s."""
        return self.of(job, peer, "samples_per_second")[0]

    def share(self, job: tuple, peer: str) -> float:
        """Return GFLOP/s over the FMA peak of as many threads, measured in fastprop's processes, in percent."""
        peak = self.of(job, "fastprop", "peak_flops")[0] * job[2]
        return 100 * self.speed(job, peer) * flops_per_sample(CASES[job[1]].sizes) / peak

    def best(self, job: tuple) -> str:
        """Return the ratio of fastprop's speed to that of the fastest peer, and the peer's name."""
        speeds = [(self.speed(job, peer), peer) for peer in self.peers if peer != "fastprop"]
        speed, peer = max((pair for pair in speeds if pair[0] > 0), default=(np.nan, ""))
        return f"{times(self.speed(job, 'fastprop') / speed)} {peer}".rstrip()


def spread(values: tuple[float, float, float], scale: float = 1.0) -> str:
    """Format a median, with the least and the greatest if they differ."""
    middle, least, greatest = (figure(value * scale) for value in values)
    return middle if least == greatest else f"{middle} ({least}–{greatest})"


# ---- tables and chart ------------------------------------------------------------------------------------------------


def speed_table(results: Results, jobs: list[tuple]) -> list[str]:
    """Return the lines of a table of some jobs, in thousands of samples/s."""
    others = [peer for peer in results.peers if peer != "fastprop"]
    lines = header("shape", "threads", "fastprop", "share of the peak", *others, "over the best peer")
    for job in jobs:
        ours, *theirs = (spread(results.of(job, peer, "samples_per_second"), 1e-3) for peer in ("fastprop", *others))
        share = f"{results.share(job, 'fastprop'):.0f}%".replace("nan%", "–")
        lines.append(row(label(CASES[job[1]]), job[2], f"**{ours}**", share, *theirs, results.best(job)))
    return lines


def first_call_table(results: Results, optimizer: str) -> list[str]:
    """Return the lines of a table of the seconds of the first call."""
    lines = header("shape", "threads", *results.peers)
    for job in results.shapes(optimizer):
        found = (spread(results.of(job, peer, "first_call_seconds")) for peer in results.peers)
        lines.append(row(job[1], job[2], *found))
    return lines


def published_lines(results: Results) -> list[str]:
    """Return the microseconds per step on each measured case that others published, and what they published."""
    lines = []
    for key, (title, published) in PUBLISHED.items():
        jobs = [job for job in results.jobs if job[:2] == key]
        if not jobs:
            continue
        lines += [f"{title}, µs a step and times fastprop's:", "", *header("threads", *results.peers)]
        for job in jobs:
            steps = {peer: 1e6 * CASES[job[1]].batch / results.speed(job, peer) for peer in results.peers}
            ratios = {peer: times(step / steps["fastprop"]) for peer, step in steps.items()}
            lines.append(row(job[2], *(f"{figure(steps[peer])} ({ratios[peer]})" for peer in results.peers)))
        lines += ["", published, ""]
    return lines


def report(results: Results) -> str:
    """Return all tables in Markdown."""
    sections = [about(results.content)]
    for optimizer in ("sgd", "adam"):
        if not results.shapes(optimizer):
            continue
        sections += [
            f"{optimizer}: thousands of samples/s, median (least–greatest median of a round)",
            "\n".join(speed_table(results, results.shapes(optimizer))),
            "first call in a new process, seconds: make the network and train one batch; a library may load compiled "
            "code that it keeps on disk",
            "\n".join(first_call_table(results, optimizer)),
        ]
    return "\n\n".join([*sections, "\n".join(published_lines(results))]).rstrip() + "\n"


def chart(results: Results, path: Path) -> None:
    """Draw bars of the share of the FMA peak: a group for each shape, a panel for each number of threads."""
    try:
        import matplotlib
        from matplotlib.figure import Figure
    except ImportError as error:
        raise SystemExit(str(missing("plot", f"there is no chart ({error}); it needs"))) from error
    jobs = results.shapes(results.jobs[0][0])
    if not jobs:
        return  # only published cases were measured
    panels = list(dict.fromkeys(job[2] for job in jobs))
    drawing = Figure(figsize=(10, 2.6 * len(panels) + 0.8), layout="constrained")
    axes = drawing.subplots(len(panels), squeeze=False, sharex=True)[:, 0]
    width = 0.86 / len(results.peers)
    for threads, ax in zip(panels, axes):
        shapes = [job for job in jobs if job[2] == threads]
        for i, peer in enumerate(results.peers):
            at = np.arange(len(shapes)) + (i - (len(results.peers) - 1) / 2) * width
            shares = [results.share(job, peer) for job in shapes]
            bars = ax.bar(at, shares, 0.92 * width, color=COLORS[peer], label=peer)
            if peer == "fastprop":
                ax.bar_label(bars, fmt="%.0f", fontsize=8, color=COLORS[peer], weight="bold")
        ax.axhline(100, color="black", linewidth=1)
        ax.text(1, 101, "FMA peak", transform=ax.get_yaxis_transform(), ha="right", va="bottom", fontsize=8)
        ax.set(ylim=(0, 112), ylabel="% of the FMA peak")
        ax.set_xticks(range(len(shapes)), [job[1] for job in shapes])
        ax.set_title(plural(threads), loc="left", fontsize=10)
        ax.spines[["top", "right"]].set_visible(False)
    handles, names = axes[0].get_legend_handles_labels()
    drawing.legend(handles, names, loc="outside upper center", ncols=len(names), frameon=False, fontsize=9)
    with matplotlib.rc_context({"svg.hashsalt": "fastprop"}):  # the same figures give the same file
        drawing.savefig(path, metadata={"Date": None}, facecolor="white")


def into_readme(results: Results) -> None:
    """Write the README's tables between its marks: plain SGD and the published cases, all but four rows folded."""
    jobs = results.shapes("sgd")
    most = max((threads for _, _, threads in jobs), default=1)
    shown = [job for job in jobs if job[1] in SHOWN and job[2] == most]
    folded = [job for job in jobs if job not in shown]
    content = results.content
    lines = [
        "Thousands of samples/s with plain SGD: medians, and the least and the greatest median where there are several "
        f"processes. {content['machine']}, {content['date']}.",
        "",
        *speed_table(results, shown),
        "",
        "<details>",
        "<summary>The other shapes and numbers of threads, cases that others published, and the versions</summary>",
        "",
        *speed_table(results, folded),
        "",
        *published_lines(results),
        about(content),
        "",
        "</details>",
    ]
    write_between(START, END, lines)


# ---- the command -----------------------------------------------------------------------------------------------------


def installed() -> list[str]:
    """Return the peers whose library is installed."""
    return [name for name, (module, _) in PEERS.items() if importlib.util.find_spec(module)]


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", default=",".join(CASES), help="comma-separated names (all)")
    parser.add_argument("--peers", default=",".join(installed()), help="comma-separated names (all that are installed)")
    parser.add_argument("--threads", default=default_threads(), help="comma-separated numbers of threads (%(default)s)")
    parser.add_argument("--optimizers", default="sgd", help="sgd, adam or both, comma-separated (%(default)s)")
    parser.add_argument("--dtype", default="float32", choices=["float32", "float64"], help="of all (%(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="processes of each peer on each case (%(default)s)")
    parser.add_argument("--out", type=Path, default=HERE, help="folder of peers.json and peers.svg")
    parser.add_argument("--from-json", type=Path, metavar="FILE", help="use these figures; measure nothing")
    parser.add_argument("--readme", action="store_true", help="write the table of sgd into the README")
    return parser.parse_args()


def measured(wanted: argparse.Namespace, path: Path) -> dict[str, Any]:
    """Measure the wanted cases; return the content of peers.json, which is written even if the run ends early."""
    cases = [CASES[name] for name in chosen(wanted.shapes, list(CASES), "shape")]
    names = list(dict.fromkeys(["fastprop", *chosen(wanted.peers, list(PEERS), "peer")]))
    optimizers = chosen(wanted.optimizers, ["sgd", "adam"], "optimizer")
    threads = threads_of(wanted.threads)
    published = [(optimizer, CASES[name]) for optimizer, name in PUBLISHED if CASES[name] in cases]
    shapes = [case for case in cases if case in SHAPES]
    jobs = [*product(optimizers, shapes, threads), *((*pair, n) for pair in published for n in threads)]
    content = setting("compare_peers.py") | {"runs": []}
    try:
        for found in measure(jobs, names, wanted.rounds, wanted.dtype):
            content["runs"].append(found)
    finally:
        write(content, path)
    return content


def write(content: dict[str, Any], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def main() -> None:
    """Measure, or read earlier figures, and write tables and chart."""
    wanted = options()
    name = "peers" if wanted.dtype == "float32" else f"peers-{wanted.dtype}"
    path = wanted.out / f"{name}.json"
    if wanted.rounds < 1:
        raise SystemExit(f"--rounds is {wanted.rounds}; it must be a whole number, at least 1.")
    if wanted.readme and wanted.dtype != "float32":
        raise SystemExit("the README's table is of float32; leave out --readme or --dtype.")
    if wanted.from_json and not wanted.from_json.is_file():
        raise SystemExit(f"there is no file {wanted.from_json}. Give the peers.json of an earlier run.")
    if wanted.from_json:
        content = json.loads(wanted.from_json.read_text(encoding="utf-8"))
        write(content, path)
    else:
        content = measured(wanted, path)
    results = Results(content)
    say(report(results).rstrip("\n"))
    if wanted.readme:
        into_readme(results)
    chart(results, wanted.out / f"{name}.svg")


if __name__ == "__main__":
    main()
