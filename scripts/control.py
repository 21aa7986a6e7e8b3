"""Keep a pendulum upright by a network inside a compiled simulation, a million steps long.

    python scripts/control.py
    python scripts/control.py --steps 10000000

A motor balances a pendulum against random pushes. Its control law knows angle and speed. The network has to do without
a sensor for the speed: it learns from the last four measured angles and torques which torque the law would choose. Then
it controls the pendulum itself, in a loop that Numba compiles as a whole. The script prints how far the pendulum
swings under law and network, and the time of a step: of the law and the network in compiled loops, and of the network
in a loop of Python, by `Network.predict` and, where it is installed, by PyTorch.
"""

import argparse
import importlib.util
import time
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
from numba import njit

from fastprop import Adam, Network, convert, kernels

STEP = 0.01  # seconds
STRONGEST = 6.0  # torque of the motor, per unit of inertia
PUSH, SENSOR = 0.03, 0.001  # standard deviations, of the pushes and of the sensor's error in radians
IN_PYTHON = 20_000  # steps of the slow loops


@njit
def law(angle, speed):
    """Return the torque that the control law chooses."""
    return min(max(-30 * angle - 6 * speed, -STRONGEST), STRONGEST)


@njit
def swing(state, torque, rng):
    """Let the pendulum, (angle from upright, speed), swing for one step."""
    state[1] += STEP * (9.8 * np.sin(state[0]) + torque) + PUSH * rng.standard_normal()
    state[0] += STEP * state[1]


@njit
def measure(seen, state, rng):
    """Put a new measurement before the last three; `seen` holds four angles and then four torques, the latest first."""
    seen[1:4] = seen[0:3].copy()
    seen[0] = state[0] + SENSOR * rng.standard_normal()


@njit
def act(seen, state, torque, rng):
    """Apply a torque for one step, and put it before the last three."""
    torque = min(max(torque, -STRONGEST), STRONGEST)
    seen[5:8] = seen[4:7].copy()
    seen[4] = torque
    swing(state, torque, rng)


@njit
def examples(steps, rng):
    """Let the law control the pendulum, with random torques added; return what was seen, and the law's torques."""
    state, seen = np.zeros(2), np.zeros(8, np.float32)
    X, Y = np.empty((steps, 8), np.float32), np.empty((steps, 1), np.float32)
    for i in range(steps):
        measure(seen, state, rng)
        X[i] = seen
        Y[i, 0] = law(state[0], state[1])
        act(seen, state, Y[i, 0] + rng.standard_normal(), rng)
    return X, Y


@njit
def under_law(steps, rng):
    """Return the root mean square of the angle, in radians, under the control law."""
    state, seen, squares = np.zeros(2), np.zeros(8, np.float32), 0.0
    for _ in range(steps):
        measure(seen, state, rng)
        act(seen, state, law(state[0], state[1]), rng)
        squares += state[0] ** 2
    return np.sqrt(squares / steps)


@njit
def under_network(net, steps, rng):
    """Return the root mean square of the angle, in radians, under a network: no Python between the steps."""
    state, seen, squares = np.zeros(2), np.zeros(8, np.float32), 0.0
    torque = np.empty(1, np.float32)
    for _ in range(steps):
        measure(seen, state, rng)
        kernels.predict(net, seen, torque)
        act(seen, state, torque[0], rng)
        squares += state[0] ** 2
    return np.sqrt(squares / steps)


def in_python(predict: Callable[[np.ndarray], float], steps: int, rng: np.random.Generator) -> float:
    """Do the same in a loop of Python."""
    state, seen, squares = np.zeros(2), np.zeros(8, np.float32), 0.0
    for _ in range(steps):
        measure(seen, state, rng)
        act(seen, state, predict(seen), rng)
        squares += state[0] ** 2
    return float(np.sqrt(squares / steps))


def in_torch(net: Network) -> Callable[[np.ndarray], float]:
    """Return a function that computes the network's torque by PyTorch."""
    import torch

    torch.set_num_threads(1)
    module = convert.to_torch(net)

    def predict(seen: np.ndarray) -> float:
        with torch.inference_mode():
            return float(module(torch.from_numpy(seen[None])))

    return predict


def show(name: str, steps: int, run: Callable[[int, np.random.Generator], float]) -> None:
    """Run a loop, after a short one that compiles it, and print a line."""
    run(10, np.random.default_rng(0))
    started = time.perf_counter()
    angle = run(steps, np.random.default_rng(1))
    seconds = time.perf_counter() - started
    print(f"{name:36} {np.degrees(angle):7.2f} {1e6 * seconds / steps:10.2f}")


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=1_000_000, help="of the compiled simulations (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the examples and the weights (%(default)s)")
    args = parser.parse_args(argv)
    few = min(args.steps, IN_PYTHON)

    X, Y = examples(100_000, np.random.default_rng(args.seed))
    net = Network((8, 32, 32, 1), rng=args.seed)
    mean, scale = X.mean(axis=0), X.std(axis=0)
    net.fit((X - mean) / scale, Y, epochs=10, optimizer=Adam(lr=0.003))
    first = net.layers[0]  # from here on the network scales its inputs itself
    first.W /= scale
    first.b -= first.W @ mean

    def by_predict(seen: np.ndarray) -> float:
        return float(net.predict(seen[None])[0, 0])

    print(f"{'':36} {'degrees':>7} {'us a step':>10}")
    show("law, compiled", args.steps, under_law)
    show("network, compiled", args.steps, partial(under_network, net))
    show("network, Python and Network.predict", few, partial(in_python, by_predict))
    if importlib.util.find_spec("torch"):
        show("network, Python and PyTorch", few, partial(in_python, in_torch(net)))


if __name__ == "__main__":
    main()
