"""Compare the speed of two revisions, so that noise of the machine does not decide.

    python scripts/check_speed.py BASE [HEAD] [--shapes xs,s,digits,mnist] [--rounds 5] [--turns 15] [--threads 1]

BASE and HEAD are revisions of this repository; HEAD defaults to the working tree. Each trains the same networks in its
own process. The two processes take turns of about a tenth of a second, so that a disturbance slows both. A round is one
such pair of processes; its figure is the median over its turns of HEAD's speed over BASE's. The exit code is 1 only if
the figures of all rounds are below 0.9: the whole spread, not its median.
"""

import argparse
import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import NoReturn

ROOT = Path(__file__).parent.parent
sys.path.append(str(ROOT / "benchmarks"))
from cases import NAMES, named, random_data, rows_of  # noqa: E402

SLOWER = 0.9
WORKING_TREE = "."
Turn = Callable[[], float]


def fail(message: str) -> NoReturn:
    """Print one line and end with exit code 2."""
    print(f"check_speed: {message}", file=sys.stderr)
    sys.exit(2)


# ---- the process that is measured --------------------------------------------------------------------------------


def worker(tree: str, shape: str, threads: int) -> None:
    """Train for one epoch at every line on stdin, and answer with the samples/s."""
    import fastprop
    from fastprop.kernels.plan import flops_per_sample

    if Path(tree) not in Path(fastprop.__file__).parents:
        fail(f"fastprop was imported from {fastprop.__file__}, not from {tree}.")
    fastprop.set_num_threads(threads)
    case = named(shape)
    X, Y = random_data(case, rows_of(case, flops_per_sample(case.sizes)))
    net, optimizer = fastprop.Network(case.sizes, output=case.output, rng=0), fastprop.SGD(lr=1e-3)

    def epoch() -> float:
        start = time.perf_counter()
        net.fit(X, Y, epochs=1, batch_size=case.batch, optimizer=optimizer, progress=False)
        return len(X) / (time.perf_counter() - start)

    epoch()  # compiles
    for _ in sys.stdin:
        print(epoch(), flush=True)


# ---- the process that measures -----------------------------------------------------------------------------------


@contextlib.contextmanager
def tree_of(revision: str) -> Iterator[Path]:
    """Provide a folder with the files of a revision."""
    if revision == WORKING_TREE:
        yield ROOT
        return
    with tempfile.TemporaryDirectory(prefix="check-speed-") as folder:
        archive = subprocess.run(["git", "-C", ROOT, "archive", revision, "fastprop"], capture_output=True)
        if archive.returncode:
            fail(f"{revision} is no revision of this repository with a folder fastprop/.")
        subprocess.run(["tar", "-x", "-C", folder], input=archive.stdout, check=True)
        yield Path(folder)


@contextlib.contextmanager
def training(tree: Path, shape: str, threads: int) -> Iterator[Turn]:
    """Start a process that trains with the tree's fastprop; provide a function that runs one turn, in samples/s."""
    process = subprocess.Popen(
        [sys.executable, __file__, "--worker", str(tree), shape, str(threads)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(tree)},
    )  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None
    stdin, stdout = process.stdin, process.stdout

    def turn() -> float:
        stdin.write("\n")
        stdin.flush()
        answer = stdout.readline()
        if not answer:
            fail(f"training {shape} with the fastprop of {tree} failed; its message is above.")
        return float(answer)

    try:
        yield turn
    finally:
        process.kill()
        process.communicate()


def ratio(base: Turn, head: Turn, turns: int) -> tuple[float, float, float]:
    """Return the median speeds of both and the median of their ratio over some turns, with alternating order."""
    speeds = []
    base(), head()  # the first turn after the start does not count
    for i in range(turns):
        first, second = (base, head) if i % 2 else (head, base)
        a, b = first(), second()
        speeds.append((a, b) if i % 2 else (b, a))
    return median(b for b, _ in speeds), median(h for _, h in speeds), median(h / b for b, h in speeds)


def is_slower(ratios: list[float]) -> bool:
    """Whether every ratio is more than 10% below 1."""
    return max(ratios) < SLOWER


def row(shape: str, rounds: list[tuple[float, float, float]]) -> str:
    """Return one shape's line of the table."""
    ratios = [r for _, _, r in rounds]
    verdict = "slower" if is_slower(ratios) else "faster" if min(ratios) > 1 / SLOWER else "within noise or 10%"
    base, head = (median(speeds) for speeds in list(zip(*rounds))[:2])
    spread = f"{median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f})"
    return f"{shape:8}{base:>14,.0f}{head:>14,.0f}   {spread:24}{verdict}"


def main() -> None:
    if sys.argv[1:2] == ["--worker"]:
        return worker(sys.argv[2], sys.argv[3], int(sys.argv[4]))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("base", metavar="BASE", help="a revision")
    parser.add_argument("head", metavar="HEAD", nargs="?", default=WORKING_TREE, help="a revision (the working tree)")
    parser.add_argument("--shapes", default="xs,s,digits,mnist", help=f"of {', '.join(NAMES)} (%(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="pairs of processes for each shape (%(default)s)")
    parser.add_argument("--turns", type=int, default=15, help="turns of each process (%(default)s)")
    parser.add_argument("--threads", type=int, default=1, help="threads of each process (%(default)s)")
    options = parser.parse_args()
    shapes = options.shapes.split(",")
    for shape in shapes:
        if shape not in NAMES:
            parser.error(f"{shape!r} is no shape. Known are {', '.join(NAMES)}.")
    if min(options.rounds, options.turns, options.threads) < 1:
        parser.error("--rounds, --turns and --threads take whole numbers from 1 on.")

    slower = []
    with tree_of(options.base) as base_tree, tree_of(options.head) as head_tree:
        print(f"{'shape':8}{'BASE':>14}{'HEAD':>14}   {'HEAD over BASE':24}")
        for shape in shapes:
            rounds = []
            for _ in range(options.rounds):
                with (
                    training(base_tree, shape, options.threads) as base,
                    training(head_tree, shape, options.threads) as head,
                ):
                    rounds.append(ratio(base, head, options.turns))
            print(row(shape, rounds), flush=True)
            if is_slower([r for _, _, r in rounds]):
                slower.append(shape)
    if slower:
        sys.exit(f"HEAD is more than 10% slower on {', '.join(slower)}, in every round.")


if __name__ == "__main__":
    main()
