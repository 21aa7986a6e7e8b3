"""Times over what stands beside them, which hold on a noisy machine: both are measured in turns in one process.

    python benchmarks/ratios.py xs digits

prints the figures of the named shapes as JSON; lower is better. The FLOPs of a training step per sample are
6·Σ n_{l-1}·n_l − 2·n_0·n_1, of which the forward pass takes 2·Σ n_{l-1}·n_l.
"""

import json
import sys
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
from cases import LR, WORK, Case, named, random_data, rows_of
from measuring import REST, in_turns

from fastprop import SGD, Network, reference, set_num_threads
from fastprop.core.cores import available
from fastprop.kernels.plan import flops_per_sample

sys.path.append(str(Path(__file__).parent.parent / "scripts"))
from numpy_training import fit, sgd

Figures = dict[str, float]


def measure(case: Case) -> Figures:
    """Return ratios of medians over turns of NumPy, of fastprop on one and on all threads, and of the peak."""
    flops = flops_per_sample(case.sizes)
    rows = rows_of(case, flops)
    X, Y = random_data(case, rows)
    parameters = {k: v.astype(np.float32) for k, v in reference.initialise_parameters(case.sizes, 0).items()}
    net, optimizer = Network(case.sizes, output=case.output, rng=0), SGD(lr=LR)
    calls = max(1, rows // case.batch // 4)
    epochs = max(1, round(WORK / flops / rows))  # of fastprop, which trains xs on its 65,536 rows in 7 ms

    def numpy_epoch() -> None:
        fit(parameters, X, Y, output=case.output, epochs=1, batch_size=case.batch, update=sgd(LR),
            rng=np.random.default_rng(0))  # fmt: skip

    def epoch(threads: int) -> None:
        set_num_threads(threads)
        net.fit(X, Y, epochs=epochs, batch_size=case.batch, optimizer=optimizer, progress=False)

    def forward() -> None:
        set_num_threads(1)
        for _ in range(calls):
            net.forward(X[: case.batch])

    def backward() -> None:
        for _ in range(calls):
            net.backward(Y[: case.batch])

    seconds = in_turns(
        {
            "numpy": numpy_epoch,
            "rest": lambda: time.sleep(REST),
            "one": lambda: epoch(1),
            "all": lambda: epoch(available()),
            "forward": forward,
            "backward": backward,
        }
    )
    second = seconds["peak"]  # FLOPs at the speed of the peak
    of_forward = 2 * sum(a * b for a, b in pairwise(case.sizes))
    return {
        "one thread": seconds["one"] * second / (epochs * rows * flops),
        "all threads": seconds["all"] * second * available() / (epochs * rows * flops),
        "all threads over one": seconds["all"] / seconds["one"],
        "over NumPy": seconds["one"] / epochs / seconds["numpy"],
        "forward": seconds["forward"] * second / (calls * case.batch * of_forward),
        "backward": seconds["backward"] * second / (calls * case.batch * (flops - of_forward)),
    }


if __name__ == "__main__":
    print(json.dumps({name: measure(named(name)) for name in sys.argv[1:]}))
