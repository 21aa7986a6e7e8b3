"""The limits of the speed: optimizers, batches, order of sums, widths, activations, phases, calls, loops, and others.

    python benchmarks/limits.py [TABLE ...]

prints the named tables, or all: optimizers, batches, order, widths, activations, phases, calls, loops, streams, dropin.
The figures of a row are medians, measured in turns in this one process, on one thread. Shares are of the FMA peak,
measured in the same turns.
"""

from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any
from unittest import mock

import numba
import numpy as np
from cases import LR, SHAPES, Case, named, random_data, rows_of
from measuring import epochs_of, seconds_of, use_one_thread
from reports import header, print_tables, row

from fastprop import SGD, Activation, Adam, Network, dropin, kernels, reference
from fastprop.activations import ACTIVATIONS, HIDDEN
from fastprop.kernels import plan, steps, vectors
from fastprop.kernels.plan import BACKWARD, FORWARD, LOSS, STEP, TRANSPOSE, flops_per_sample


def optimizers() -> list[str]:
    """Speed of Adam over that of plain SGD."""
    lines = header("shape", "SGD, share of the peak", "Adam, share of the peak", "Adam over SGD")
    for case in SHAPES:
        over = over_peak(case)
        lines.append(row(case.name, *(f"{100 / x:.0f}%" for x in over.values()), f"{over['SGD'] / over['Adam']:.2f}"))
    return lines


def over_peak(case: Case, dtype: str = "float32") -> dict[str, float]:
    """Return the time of epochs by SGD and by Adam over the time that their products would take at the FMA peak."""
    works = {optimizer.__name__: epochs_of(case, case.batch, optimizer(LR), dtype=dtype) for optimizer in (SGD, Adam)}
    seconds = seconds_of({name: fit for name, (fit, _) in works.items()}, dtype)
    return {name: seconds[name] * seconds["peak"] / flops for name, (_, flops) in works.items()}


def batches() -> list[str]:
    """Share of the peak at other batch sizes."""
    sizes = (1, 8, 16, 20, 96, 100, 112, 1000, 8192)
    lines = header("shape", *(f"B={batch}" for batch in sizes))
    for name in ("s", "mnist"):
        works = {batch: epochs_of(named(name), batch, SGD(LR)) for batch in sizes}
        seconds = seconds_of({str(batch): fit for batch, (fit, _) in works.items()})
        shares = (f"{100 * flops / seconds[str(batch)] / seconds['peak']:.0f}%" for batch, (_, flops) in works.items())
        lines.append(row(name, *shares))
    return lines


def order() -> list[str]:
    """Cost of summing a step in parts whose number does not depend on the threads: time at B=8192 over one part's."""
    several = (plan.MOST_PARTS, 2 * plan.MOST_PARTS)
    lines = header("shape", *(f"{parts} parts" for parts in several))
    for name in ("s", "digits", "mnist"):
        works = {}
        for parts in (1, *several):
            with mock.patch.object(plan, "MOST_PARTS", parts):
                works[str(parts)], _ = epochs_of(named(name), 8192, SGD(LR))
                works[str(parts)]()  # plans
        seconds = seconds_of(works)
        lines.append(row(name, *(f"{seconds[str(parts)] / seconds['1']:.2f}" for parts in several)))
    return lines


def step_of(width: int) -> Callable[[], object]:
    """Return a training step of a network with four equal widths on 128 samples."""
    case = Case(str(width), (width,) * 4, "relu", "identity", 128)
    X, Y = random_data(case, case.batch)
    net, optimizer = Network(case.sizes, rng=0), SGD(LR)
    return lambda: net.train_step(X, Y, optimizer)


def widths() -> list[str]:
    """Widths whose step takes longer than a step of the next multiple of 16."""
    slower = {}
    for whole in range(16, 145, 16):
        group = range(whole - 15, min(whole, 131))
        seconds = seconds_of({str(width): step_of(width) for width in (*group, whole)})
        ratios = {width: seconds[str(width)] / seconds[str(whole)] for width in group}
        slower |= {width: ratio for width, ratio in ratios.items() if ratio > 1}
    found = ", ".join(f"{width} ({ratio:.2f})" for width, ratio in slower.items())
    return [f"Widths 1…130, slower than the next multiple of 16: {found or 'none'}."]


def activations() -> list[str]:
    """Time of a step with other hidden activations over that with relu; of custom ones over the built-in ones."""
    others, copied = [name for name in HIDDEN if name != "relu"], ("relu", "tanh", "sigmoid")
    lines = header("shape", *others, *(f"custom {name}" for name in copied))
    for case in SHAPES:
        custom = {name: Activation(f"custom_{name}", ACTIVATIONS[name].f, ACTIVATIONS[name].df) for name in copied}
        works = {name: epochs_of(case, case.batch, SGD(LR), name)[0] for name in HIDDEN}
        works |= {f"custom {name}": epochs_of(case, case.batch, SGD(LR), g)[0] for name, g in custom.items()}
        seconds = seconds_of(works)
        ratios = [seconds[g] / seconds["relu"] for g in others]
        ratios += [seconds[f"custom {name}"] / seconds[name] for name in copied]
        lines.append(row(case.name, *(f"{ratio:.2f}" for ratio in ratios)))
    return lines


def phases() -> list[str]:
    """Shares of the time of a step, repeated on one batch: differences between steps that end early."""
    lines = header("shape", "a step, µs", "gather, forward", "cost, dZ of the output", "backward", "dW, db, update")
    for case in SHAPES:
        X, Y = random_data(case, case.batch)
        net = Network(case.sizes, output=case.output, rng=0)
        net.train_step(X, Y, SGD(LR))
        engine, do, works = net.engines.last, 0, {}
        assert engine is not None
        for name, part in (("forward", FORWARD | TRANSPOSE), ("cost", LOSS), ("backward", BACKWARD), ("all", STEP)):
            do |= part
            works[name] = partial(engine.execute, do, case.batch, 0, 1, X, Y)
        seconds = seconds_of(works)
        ends = [0.0, *(seconds[name] for name in works)]
        shares = (f"{100 * (end - start) / seconds['all']:.0f}%" for start, end in pairwise(ends))
        lines.append(row(case.name, f"{1e6 * seconds['all']:,.1f}", *shares))
    return lines


@numba.njit
def nothing() -> int:
    """An empty compiled call."""
    return 0


def calls() -> list[str]:
    """Microseconds of one call on xs, with argument validation."""
    lines = header("batch", "train_step", "predict", "the step's compiled call", "an empty compiled call")
    case = named("xs")
    for batch in (1, 32):
        X, Y = random_data(case, batch)
        net, optimizer = Network(case.sizes, output=case.output, rng=0), SGD(LR)
        net.train_step(X, Y, optimizer)
        engine = net.engines.last
        assert engine is not None
        data = (X.ctypes.data, Y.ctypes.data, 0, 0, 0, 0, 0)
        call = (steps.worker.address("float32"), engine.address, 1, STEP, batch, 0, 1, *data)
        works = {
            "train_step": lambda net=net, X=X, Y=Y, optimizer=optimizer: net.train_step(X, Y, optimizer),
            "predict": lambda net=net, X=X: net.predict(X),
            "compiled": lambda call=call: steps.launch_alone(*call),
            "empty": nothing,
        }
        seconds = seconds_of(works)
        lines.append(row(batch, *(f"{1e6 * seconds[name]:.2f}" for name in works)))
    return lines


@numba.njit
def predictions(net: Any, X: np.ndarray, out: np.ndarray) -> None:
    """Predict row by row in compiled code."""
    for i in range(len(X)):
        kernels.predict(net, X[i], out[i])


@numba.njit
def products(layers: np.ndarray, parameters: np.ndarray, work: np.ndarray, count: int) -> None:
    """Do nothing but the forward step of each layer, for one row, many times."""
    for _ in range(count):
        for l in range(len(layers)):
            vectors.forward_share(layers[l], parameters, work, 0, 1, l < len(layers) - 1)


@numba.njit
def training(net: Any, X: np.ndarray, Y: np.ndarray, batch: int) -> None:
    """Train on batch after batch in compiled code."""
    for start in range(0, len(X), batch):
        kernels.train_step(net, X[start : start + batch], Y[start : start + batch])


def loops() -> list[str]:
    """Microseconds in a user's compiled loop: of a prediction of one row, and of a step, beside the least."""
    lines = header("shape", "predict, one row", "its products alone", "train_step", "a step of fit")
    for case in SHAPES[:3]:
        lines.append(row(case.name, *(f"{1e6 * seconds:.2f}" for seconds in loop_seconds(case))))
    return lines


def loop_seconds(case: Case) -> tuple[float, float, float, float]:
    """Return the seconds of a prediction in a loop, of its products alone, of a step there, and of one of fit."""
    X, Y = random_data(case, rows_of(case, flops_per_sample(case.sizes)))
    net = Network(case.sizes, output=case.output, rng=0)
    net.optimizer = SGD(LR)
    engine = net.engines.make(1, train=False)
    out = np.empty((len(X), case.sizes[-1]), np.float32)
    seconds = seconds_of(
        {
            "predict": lambda: predictions(net, X, out),
            "products": lambda: products(engine.plan.layers, net.parameters, engine.work, len(X)),
            "train_step": lambda: training(net, X, Y, case.batch),
            "fit": lambda: net.fit(X, Y, epochs=1, batch_size=case.batch, shuffle=False, progress=False),
        }
    )
    n, steps = len(X), len(X) // case.batch
    return seconds["predict"] / n, seconds["products"] / n, seconds["train_step"] / steps, seconds["fit"] / steps


def streams() -> list[str]:
    """Microseconds of a training step on batches of 2 to 64 rows, and on batches of their mean size."""
    lines = header("shape", "2 to 64 rows", "33 rows")
    for case in (named("xs"), named("s"), named("digits")):
        lines.append(row(case.name, *(f"{1e6 * seconds:.2f}" for seconds in stream_seconds(case, "train_step"))))
    return lines


def stream_seconds(case: Case, method: str) -> tuple[float, float]:
    """Return the seconds of a step by a method of Network, on batches of 2 to 64 rows and on those of 33 rows."""
    rows = np.random.default_rng(0).integers(2, 65, 200)
    works: dict[str, Callable[[], object]] = {}
    for name, counts in (("varying", rows), ("fixed", np.full(len(rows), 33))):
        net, optimizer = Network(case.sizes, output=case.output, rng=0), SGD(LR)
        step, batches = getattr(net, method), [random_data(case, int(m)) for m in counts]
        works[name] = lambda step=step, optimizer=optimizer, batches=batches: [
            step(X, Y, optimizer) for X, Y in batches
        ]
    seconds = seconds_of(works)
    return seconds["varying"] / len(rows), seconds["fixed"] / len(rows)


def dropin_functions(dtype: str = "float32") -> list[str]:
    """Time of the reference over that of the drop-in function, both in float32 on one thread."""
    lines = header("shape", "forward", "cost", "backward", "update", "all")
    for case in SHAPES:
        lines.append(row(case.name, *(f"{ratio:.2f}" for ratio in dropin_ratios(case, dtype).values())))
    return lines


def dropin_ratios(case: Case, dtype: str) -> dict[str, float]:
    """Return the reference's time over the drop-in's, for each of the four functions and for all together."""
    X, Y = (np.ascontiguousarray(a.T, dtype) for a in random_data(case, case.batch))
    start = {k: v.astype(dtype) for k, v in reference.initialise_parameters(case.sizes, 0).items()}
    works: dict[str, Callable[[], object]] = {}
    for who, module in (("", dropin), ("NumPy ", reference)):
        cache = module.forward_propagation(X, start, case.output)
        grads = module.backpropagation(cache, Y, start)
        works |= {
            f"{who}forward": lambda m=module: m.forward_propagation(X, start, case.output),
            f"{who}cost": lambda m=module, cache=cache: m.compute_cost(cache, Y, case.output),
            f"{who}backward": lambda m=module, cache=cache: m.backpropagation(cache, Y, start),
            f"{who}update": lambda m=module, grads=grads: m.update_parameters(start, grads, 0.01),
        }
    seconds = seconds_of(works)
    names = ("forward", "cost", "backward", "update")
    seconds |= {f"{who}all": sum(seconds[f"{who}{name}"] for name in names) for who in ("", "NumPy ")}
    return {name: seconds[f"NumPy {name}"] / seconds[name] for name in (*names, "all")}


TABLES = {
    "optimizers": optimizers,
    "batches": batches,
    "order": order,
    "widths": widths,
    "activations": activations,
    "phases": phases,
    "calls": calls,
    "loops": loops,
    "streams": streams,
    "dropin": dropin_functions,
}


if __name__ == "__main__":
    use_one_thread()
    print_tables(__doc__, TABLES)
