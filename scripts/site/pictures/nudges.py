"""Pictures of the derivation: how one nudge travels through a network, and what it touches in the matrices."""

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patches import FancyArrowPatch, Rectangle

from fastprop import reference

BLUE, ORANGE, GREY, LIGHT = "#0072b2", "#d55e00", "#666666", "#dddddd"
SIZES = (3, 4, 4, 2)
NUDGED = ("W1", 1, 2)  # the weight from input 3 to unit 2 of the first layer


def changes() -> list[np.ndarray]:
    """Return how much each layer's A changes, per unit of the nudge, for one sample."""
    parameters = reference.initialise_parameters(SIZES, rng=3)
    X = np.array([[0.9], [0.4], [1.2]])
    name, j, k = NUDGED
    nudged = {key: value.copy() for key, value in parameters.items()}
    nudged[name][j, k] += 1e-6
    before, after = (reference.forward_propagation(X, p, "identity", "tanh") for p in (parameters, nudged))
    return [(after[f"A{l}"] - before[f"A{l}"])[:, 0] / 1e-6 for l in range(len(SIZES))]


def through_the_network() -> None:
    """One weight is nudged: one unit changes, then all units of each later layer."""
    found = changes()
    most = max(np.abs(change).max() for change in found)
    axes = plt.figure(figsize=(8.5, 3.9), layout="constrained").add_subplot()
    place = [[(2.4 * l, (n - 1) / 2 - i) for i in range(n)] for l, n in enumerate(SIZES)]
    _, j, k = NUDGED
    for l in range(len(SIZES) - 1):
        for a, start in enumerate(place[l]):
            for b, end in enumerate(place[l + 1]):
                here = l == 0 and (b, a) == (j, k)
                touched = l > 0 and found[l][a] != 0
                color = ORANGE if here else BLUE if touched else LIGHT
                axes.plot(*zip(start, end), color=color, linewidth=3 if here else 1.2, zorder=2 if here else 1)
    for l, column in enumerate(place):
        for i, (x, y) in enumerate(column):
            share = abs(found[l][i]) / most
            face = (1 - share, 1 - 0.55 * share, 1 - 0.3 * share) if share else (1, 1, 1)
            axes.add_patch(plt.Circle((x, y), 0.3, facecolor=face, edgecolor=BLUE if share else GREY, zorder=3))
            if share:
                axes.text(x, y, f"{found[l][i]:+.2f}", ha="center", va="center", fontsize=8, zorder=4,
                          color="white" if share > 0.6 else "black")  # fmt: skip
    (x0, y0), (x1, y1) = place[0][k], place[1][j]
    axes.annotate(
        "this weight is nudged", (0.4 * x0 + 0.6 * x1, 0.4 * y0 + 0.6 * y1), (0.35, -1.95), color=ORANGE, ha="center",
        arrowprops={"arrowstyle": "->", "color": ORANGE},
    )  # fmt: skip
    titles = (
        "inputs",
        "layer 1:\none unit changes",
        "layer 2:\nall units change",
        "outputs:\nall change, and with them J",
    )
    for l, title in enumerate(titles):
        axes.text(2.4 * l, 2.05, title, ha="center", va="bottom", color=GREY)
    axes.set(xlim=(-0.6, 2.4 * 3 + 0.6), ylim=(-2.2, 2.9), aspect="equal")
    axes.axis("off")


def shared() -> None:
    """Two weights of different layers: what follows the second one follows both."""
    axes = plt.figure(figsize=(8.5, 2.5), layout="constrained").add_subplot()
    names = ["$W^{(1)}$", "$A^{(1)}$", "$A^{(2)}$", "$A^{(3)}$", "$\\cdots$", "$A^{(L)}$", "$J$"]
    for i, name in enumerate(names):
        axes.text(1.5 * i, 0, name, ha="center", va="center", fontsize=14)
        if i:
            color = BLUE if i >= 3 else ORANGE
            axes.add_patch(FancyArrowPatch((1.5 * i - 1.1, 0), (1.5 * i - 0.4, 0), arrowstyle="-|>", color=color,
                                           mutation_scale=14, linewidth=1.8))  # fmt: skip
    axes.text(2.0, -1.05, "$W^{(2)}$", ha="center", va="center", fontsize=14)
    axes.add_patch(FancyArrowPatch((2.25, -0.85), (2.85, -0.25), arrowstyle="-|>", color=ORANGE, mutation_scale=14,
                                   linewidth=1.8))  # fmt: skip
    axes.annotate("", (3.0, 0.45), (9.2, 0.45), arrowprops={"arrowstyle": "-", "color": BLUE})
    axes.text(6.1, 0.6, "the same for both: compute it once, from the right", ha="center", color=BLUE)
    axes.set(xlim=(-0.6, 9.6), ylim=(-1.5, 1.1))
    axes.axis("off")


def _matrix(axes: Any, left: float, rows: int, columns: int, name: str, marked: Any = (), color: str = BLUE) -> float:
    """Draw a matrix with some cells marked, beginning at `left`; return its right end."""
    low = -rows / 2
    for i in range(rows):
        for j in range(columns):
            here = (i, j) in marked
            axes.add_patch(Rectangle((left + j, low + rows - 1 - i), 1, 1, facecolor=color if here else "white",
                                     edgecolor=GREY, linewidth=0.8))  # fmt: skip
    axes.text(left + columns / 2, low + rows + 0.35, name, ha="center", va="bottom")
    return left + columns


def _picture(*parts: Any) -> None:
    """Draw matrices and signs from left to right: (rows, columns, name, marked cells, color), or text."""
    axes = plt.figure(figsize=(8.5, 2.9), layout="constrained").add_subplot()
    right = 0.0
    for part in parts:
        if isinstance(part, str):
            axes.text(right + 1.3, 0, part, ha="center", va="center", fontsize=13, color=GREY)
            right += 2.6
        else:
            right = _matrix(axes, right, *part)
    axes.set(xlim=(-0.5, right + 0.5), ylim=(-3.2, 3.4), aspect="equal")
    axes.axis("off")


M, N, N_PREV = 6, 4, 3  # samples, units, units of the layer before
I, J, K = 4, 1, 2  # the sample, the unit, the unit of the layer before


def equation_1() -> None:
    """One element of Z touches the same element of A."""
    _picture((N, M, "a nudge of one $Z_{ji}$", {(J, I)}, ORANGE), "$g$\n→", (N, M, "changes one $A_{ji}$", {(J, I)}))


def equation_2() -> None:
    """One weight touches a row of Z: its unit, in all samples."""
    row = {(J, i) for i in range(M)}
    _picture(
        (N, N_PREV, "a nudge of one $W_{jk}$", {(J, K)}, ORANGE),
        "·",
        (N_PREV, M, "times row $k$ of $A_{prev}$", {(K, i) for i in range(M)}, "#9ad0f5"),
        "→",
        (N, M, "changes row $j$ of $Z$", row),
    )


def equation_3() -> None:
    """One bias touches the same row of Z."""
    row = {(J, i) for i in range(M)}
    _picture((N, 1, "a nudge of one $b_j$", {(J, 0)}, ORANGE), "+\n→", (N, M, "changes row $j$ of $Z$", row))


def equation_4() -> None:
    """One activation touches a column of Z: all units of the next layer, in its own sample."""
    _picture(
        (N, N_PREV, "column $k$ of $W$", {(j, K) for j in range(N)}, "#9ad0f5"),
        "·",
        (N_PREV, M, "a nudge of one $A_{prev,ki}$", {(K, I)}, ORANGE),
        "→",
        (N, M, "changes column $i$ of $Z$", {(j, I) for j in range(N)}),
    )
