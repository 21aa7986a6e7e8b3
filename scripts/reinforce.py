"""Let a policy learn to balance a pole on a cart, and draw how long it stays up.

    python scripts/reinforce.py
    python scripts/reinforce.py --iterations 40 --carts 64 --picture pole.png

The task is that of Barto, Sutton and Anderson (1983, Neuronlike adaptive elements that can solve difficult learning
control problems): a cart on a track is pushed to the left or to the right fifty times a second, and an episode ends
when the pole falls or the cart leaves the track. Nobody says which push was right. The policy, a network whose output
is the logit of a push to the right, is made to take those pushes more often after which the pole stayed up for longer
than in the other episodes at that time (REINFORCE with a baseline; Williams 1992). This is no loss of targets, and its
weights have both signs: `forward`, `backward(dA=...)` and `step` are the whole of it. The picture needs matplotlib
(pip install matplotlib).
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fastprop import Adam, Network
from fastprop.texts import printable

STEP, LONGEST = 0.02, 500  # seconds between two pushes, and pushes in an episode at most
DISCOUNT = 0.99  # of the reward of the next push
SCALES = np.array([2.4, 2.0, 0.21, 2.0])  # of position, speed, angle and its speed, so that the inputs are about 1


def pushed(state: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Return the next states (carts, 4): position, speed, angle and angular speed, in m, rad and s."""
    _, v, angle, turning = state.T
    sine, cosine = np.sin(angle), np.cos(angle)
    # A force of 10 N; 1 kg of cart and 0.1 kg of pole, whose middle is 0.5 m up; no friction.
    push = (np.where(right, 10.0, -10.0) + 0.05 * turning**2 * sine) / 1.1
    spin = (9.8 * sine - cosine * push) / (0.5 * (4 / 3 - 0.1 * cosine**2 / 1.1))
    return state + STEP * np.column_stack([v, push - 0.05 * spin * cosine / 1.1, turning, spin])


def episodes(policy: Network, carts: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Let all carts run until each has failed; return states (time, carts, 4), pushes to the right, and who is up."""
    state, up = rng.uniform(-0.05, 0.05, (carts, 4)), np.ones(carts, bool)
    states: list[np.ndarray] = []
    pushes: list[np.ndarray] = []
    ups: list[np.ndarray] = []
    while up.any() and len(states) < LONGEST:
        right = rng.random(carts) < probability(policy.predict(state / SCALES)[:, 0])
        for record, now in ((states, state), (pushes, right), (ups, up)):
            record.append(now)
        state = np.where(up[:, None], pushed(state, right), state)
        up = up & (abs(state[:, 0]) < 2.4) & (abs(state[:, 2]) < 0.21)
    return np.array(states), np.array(pushes), np.array(ups)


def probability(logit: np.ndarray) -> np.ndarray:
    """Return 1/(1 + e^-z)."""
    return 1 / (1 + np.exp(-logit))


def advantages(up: np.ndarray) -> np.ndarray:
    """Return how much better it went on after each push than for the other carts that were up at that time."""
    to_come = np.zeros(up.shape)
    for t in range(len(up) - 1, -1, -1):
        to_come[t] = up[t] * (1 + DISCOUNT * (to_come[t + 1] if t + 1 < len(up) else 0))
    better = np.where(up, to_come - to_come.sum(axis=1, keepdims=True) / up.sum(axis=1, keepdims=True), 0)
    return better / (better[up].std() + 1e-9)


def learn(policy: Network, optimizer: Adam, states: np.ndarray, right: np.ndarray, up: np.ndarray) -> None:
    """Go one step up the gradient of the mean of advantage * log(probability of the push)."""
    p = probability(policy.forward(states[up] / SCALES)[:, 0])
    dA = (p - right[up]) * advantages(up)[up] / up.sum()  # of the negative, by the logit
    policy.backward(dA=dA)
    policy.step(optimizer)


def draw(seconds: Sequence[float], carts: int, path: Path) -> None:
    """Plot the mean length of the episodes of each iteration.

    Raises
    ------
    ModuleNotFoundError
        If matplotlib is not installed.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.add_subplot(xlabel=f"iteration, of {carts} episodes", ylabel="mean time that the pole stays up (s)")
    axes.plot(range(1, len(seconds) + 1), seconds, color="#0072b2")
    axes.axhline(STEP * LONGEST, linestyle=":", color="#666666")
    axes.annotate("the longest episode", (1, STEP * LONGEST), (0, -12), textcoords="offset points", color="#666666")
    axes.set_title("REINFORCE learns to balance a pole on a cart")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)
    axes.set_ylim(0, 1.05 * STEP * LONGEST)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--iterations", type=int, default=60, help="steps of the optimizer (%(default)s)")
    parser.add_argument("--carts", type=int, default=64, help="episodes per step, all at once (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="seed of weights, starts and pushes (%(default)s)")
    parser.add_argument("--picture", type=Path, default=Path("reinforce.png"), help="file of the picture (%(default)s)")
    args = parser.parse_args(argv)

    rng = np.random.default_rng(args.seed)
    policy, optimizer = Network((4, 32, 1), hidden="tanh", rng=args.seed), Adam(lr=0.01)
    seconds: list[float] = []
    print("iteration  mean time up")
    for i in range(1, args.iterations + 1):
        states, right, up = episodes(policy, args.carts, rng)
        seconds.append(STEP * up.sum(axis=0).mean())
        learn(policy, optimizer, states, right, up)
        if i == 1 or i % 10 == 0:
            print(f"{i:>9}  {seconds[-1]:>10.2f} s", flush=True)
    try:
        draw(seconds, args.carts, args.picture)
    except ModuleNotFoundError:
        print("no picture: pip install matplotlib")
    else:
        print(printable(f"saved {args.picture}"))


if __name__ == "__main__":
    main()
