"""Training over MPI: what it gives on this machine, and by a model on networks of other speeds.

    mpiexec -n 2 python benchmarks/cluster.py measure [CASE ...] [--batch B ...]
    python benchmarks/cluster.py model [CASE ...] [--latency US --bandwidth GBITS] [--threads N]

`measure` lets one process on one thread, one process on as many threads as there are ranks, and the ranks take turns,
and prints samples/s, ratios, and the time of a step beside that of the model, for the latency and the bandwidth that it
measures between the ranks. Figures are medians.

`model` measures steps of one process, and computes from them the samples/s and the efficiency of 2 to 256 ranks, one on
each machine: its own samples/s over those of ranks that need not talk. A step takes the time of a rank's share of the
batch, and that of an Allreduce of n bytes between P ranks,

    2*log2(P)*latency + 2*(P - 1)/P*n/bandwidth,

which is that of Rabenseifner's algorithm without the additions (Thakur, Rabenseifner, Gropp 2005, Optimization of
collective communication operations in MPICH, table 1). With overlap, the gradients of each layer would travel while
those of the layers below it are computed, which fastprop does not do. The model knows nothing of congestion, of ranks
that are slower than others, or of several ranks behind one link.
"""

import argparse
import math
import time
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from cases import Case, named, random_data
from reports import header, row

from fastprop import Adam, Network, get_num_threads, set_num_threads
from fastprop.kernels.plan import flops_per_sample

TURNS = 3
ROWS = {"mnist": 16384, "wide": 8192, "xl": 2048}  # of an epoch: some tenths of a second, or a batch if that is more
SIDES = ("1 thread", "threads", "ranks", "apart")
RANKS = (2, 4, 8, 16, 32, 64, 128, 256)
SMALL, REPEATS = 64, 200  # numbers of a message that takes its latency, and how often it is sent
GOAL = 0.9


class Link(NamedTuple):
    """A network between machines, by figures of others: where they come from stands in `source`."""

    name: str
    latency: float  # seconds between two ranks, one way
    bandwidth: float  # bytes/s
    source: str


# TCP carries 1448 bytes in a frame that takes 1538 on the wire: 94% of the rate of the link.
TCP = 1448 / 1538 / 8
MEASURED_TCP = "latency: 16 us between ranks by TCP, https://github.com/open-mpi/ompi/issues/7861"
LINKS = (
    Link("10 GbE", 16e-6, 10e9 * TCP, f"{MEASURED_TCP}; bandwidth: 94% of the link, by the sizes of frames"),
    Link("25 GbE", 16e-6, 24e9 / 8, f"{MEASURED_TCP}; bandwidth: 24 Gbit/s, https://github.com/open-mpi/ompi/issues/6521"),
    Link("100 GbE", 16e-6, 42e9 / 8, f"{MEASURED_TCP}; bandwidth: 42 Gbit/s by TCP on one core, Cai et al. 2021, "
         "Understanding host network stack overheads, SIGCOMM"),
    Link("InfiniBand HDR", 1.2e-6, 192e9 / 8, "1.2 us and 192 Gbit/s, "
         "https://docs.azure.cn/en-us/virtual-machines/hbv3-performance"),
)  # fmt: skip


# ---- the model ---------------------------------------------------------------------------------------------------


def allreduce(ranks: int, size: float, link: Link) -> float:
    """Return the seconds of an Allreduce of `size` bytes."""
    return 2 * math.ceil(math.log2(ranks)) * link.latency + 2 * (ranks - 1) / ranks * size / link.bandwidth


def after_overlap(sizes: Sequence[int], ranks: int, step: float, link: Link) -> float:
    """Return the seconds by which the reductions of the layers end after the computation, at least those of the first.

    The layers' gradients are computed from the top, dW before dA, in times that go with their FLOPs.
    """
    second = step / flops_per_sample(tuple(sizes))  # of a FLOP of each sample
    products = [a * b for a, b in pairwise(sizes)]
    now = free = -second * (4 * sum(products) - 2 * products[0])  # the backward pass ends at 0
    for l in range(len(products) - 1, -1, -1):
        now += 2 * second * products[l]  # dW
        free = max(now, free) + allreduce(ranks, 4 * products[l], link)
        now += 2 * second * products[l] if l else 0.0  # dA
    return max(0.0, free)


def step_time(sizes: Sequence[int], ranks: int, step: float, link: Link, overlap: bool) -> float:
    """Return the seconds of a step of all ranks, from those of a rank that computes its share."""
    if overlap:
        return step + after_overlap(sizes, ranks, step, link)
    return step + allreduce(ranks, 4 * sum((a + 1) * b for a, b in pairwise(sizes)), link)


def batch_of_goal(
    sizes: Sequence[int], ranks: int, step_of: Callable[[float], float], link: Link, overlap: bool
) -> float:
    """Return the batch of all ranks from which the efficiency is at least GOAL."""
    low, high = 1.0, 2.0**24
    while high / low > 1.01:
        middle = math.sqrt(low * high)
        step = step_of(middle)
        low, high = (low, middle) if step >= GOAL * step_time(sizes, ranks, step, link, overlap) else (middle, high)
    return high * ranks


# ---- measurements ------------------------------------------------------------------------------------------------


def fit_seconds(net: Network, optimizer: Adam, X: np.ndarray, Y: np.ndarray, batch: int, comm: Any = None) -> float:
    """Return the mean seconds of a step of an epoch."""
    history = net.fit(X, Y, epochs=1, batch_size=batch, optimizer=optimizer, progress=False, comm=comm)
    rows = len(X) if comm is None else comm.allreduce(len(X))
    return history.seconds[0] / math.ceil(rows / batch)


def line_of_steps(case: Case) -> Callable[[float], float]:
    """Return the seconds of a step by the batch: a line through those of 256 and 2048 samples, measured here."""
    net, optimizer = network(case), Adam(1e-4)
    X, Y = random_data(case, 4096)
    seconds = {
        batch: float(np.median([fit_seconds(net, optimizer, X, Y, batch) for _ in range(TURNS + 1)][1:]))
        for batch in (256, 2048)
    }
    slope = (seconds[2048] - seconds[256]) / (2048 - 256)
    return lambda batch: max(seconds[256] - slope * 256, 0.0) + slope * batch


def network(case: Case) -> Network:
    return Network(case.sizes, case.hidden, case.output, rng=0)


def quietly(comm: Any) -> None:
    """Wait for the other ranks without taking their cores, as MPI's own Barrier would."""
    request = comm.Ibarrier()
    while not request.Test():
        time.sleep(0.002)


def link_here(comm: Any, size: int) -> Link:
    """Return the latency and the bandwidth by which the model gives the Allreduce that is measured here."""
    from mpi4py import MPI

    medians = []
    for count in (SMALL, size):
        values, taken = np.ones(count, np.float32), []
        for _ in range(REPEATS if count == SMALL else 20):
            comm.Barrier()
            begun = time.perf_counter()
            comm.Allreduce(MPI.IN_PLACE, values)
            taken.append(time.perf_counter() - begun)
            values[:] = 1
        medians.append(comm.allreduce(float(np.median(taken)), MPI.MAX))
    ranks = comm.size
    bandwidth = 2 * (ranks - 1) / ranks * 4 * size / (medians[1] - medians[0])
    return Link("here", medians[0] / (2 * math.ceil(math.log2(ranks))), bandwidth, "measured")


def turns(comm: Any, case: Case, batch: int) -> dict[str, float]:
    """Return the median seconds of a step by sides, which take turns; the ranks apart make steps of their shares."""
    rows = max(ROWS.get(case.name, 8192), batch)
    X, Y = random_data(case, rows)
    mine = slice(rows * comm.rank // comm.size, rows * (comm.rank + 1) // comm.size)
    nets = {side: (network(case), Adam(1e-4)) for side in SIDES}
    taken: dict[str, list[float]] = {side: [] for side in SIDES}
    for _ in range(TURNS + 1):
        for side, (net, optimizer) in nets.items():
            quietly(comm)
            set_num_threads({"1 thread": 1, "threads": comm.size}.get(side))
            if side == "ranks":
                taken[side].append(fit_seconds(net, optimizer, X[mine], Y[mine], batch, comm))
            elif side == "apart":
                taken[side].append(fit_seconds(net, optimizer, X[mine], Y[mine], batch // comm.size))
            elif comm.rank == 0:
                taken[side].append(fit_seconds(net, optimizer, X, Y, batch))
            else:
                taken[side].append(0.0)
    return {side: max(comm.allgather(float(np.median(seconds[1:])))) for side, seconds in taken.items()}


# ---- tables ------------------------------------------------------------------------------------------------------


def measured(cases: list[str], batches: list[int]) -> None:
    """Print the table of `measure`."""
    from mpi4py import MPI

    comm, lines = MPI.COMM_WORLD, []
    threads = comm.size
    for name in cases:
        case = named(name)
        link = link_here(comm, network(case).parameters.size)
        for batch in batches:
            seconds = turns(comm, case, batch)
            speeds = [f"{batch / seconds[side]:,.0f}" for side in SIDES[:3]]
            ratios = [f"{seconds[side] / seconds['ranks']:.2f}" for side in SIDES[:2]]
            model = step_time(case.sizes, threads, seconds["apart"], link, False)
            steps = [f"{1e3 * s:.1f}" for s in (seconds["1 thread"], seconds["ranks"], model)]
            lines.append(row(name, f"{batch:,}", *speeds, *ratios, *steps))
        lines.append(f"latency {link.latency * 1e6:.1f} us, bandwidth {link.bandwidth / 1e9:.2f} GB/s for {name}")
    if comm.rank == 0:
        head = ["case", "batch", "1 thread, samples/s", f"{threads} threads", f"{threads} ranks", "over 1 thread"]
        print("\n".join(header(*head, f"over {threads} threads", "step of 1 thread, ms", "of the ranks", "model")))
        print("\n".join(lines), flush=True)


def modelled(cases: list[str], links: Sequence[Link]) -> None:
    """Print the tables of `model`."""
    print(f"A model, from steps on {get_num_threads()} threads of this machine; in brackets with overlap.")
    for link in links:
        print(f"{link.name}: {link.latency * 1e6:g} us, {link.bandwidth * 8e-9:.3g} Gbit/s ({link.source})")
    for name in cases:
        case = named(name)
        step_of = line_of_steps(case)
        for link in links:
            print(f"\n{name}, {link.name}\n")
            print("\n".join(header("ranks", *(f"{b} samples for each" for b in (128, 1024)), "batch for 90%")))
            for ranks in RANKS:
                cells = []
                for own in (128, 1024):
                    step = step_of(own)
                    plain, hidden = (step_time(case.sizes, ranks, step, link, overlap) for overlap in (False, True))
                    share = f"{step / plain:.0%} ({step / hidden:.0%})"
                    cells.append(f"{own * ranks / plain:,.0f}/s, {share}")
                goals = (batch_of_goal(case.sizes, ranks, step_of, link, overlap) for overlap in (False, True))
                print(row(ranks, *cells, "{:,.0f} ({:,.0f})".format(*goals)))


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("measure", "model"))
    parser.add_argument("cases", nargs="*", default=["mnist", "wide", "xl"], metavar="CASE")
    parser.add_argument("--batch", type=int, nargs="+", default=[512, 2048, 8192], help="of all ranks together")
    parser.add_argument("--latency", type=float, help="microseconds between two ranks, one way")
    parser.add_argument("--bandwidth", type=float, help="Gbit/s of a rank")
    parser.add_argument("--threads", type=int, help="of a rank, in the model")
    args = parser.parse_args(argv)
    if (args.latency is None) != (args.bandwidth is None):
        parser.error("give --latency and --bandwidth together")
    if args.what == "measure":
        measured(args.cases, args.batch)
    else:
        set_num_threads(args.threads)
        given = args.latency is not None
        own = Link("as given", args.latency * 1e-6, args.bandwidth / 8 * 1e9, "given") if given else None
        modelled(args.cases, [own] if own else LINKS)


if __name__ == "__main__":
    main()
