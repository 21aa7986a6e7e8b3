"""Pictures of how the kernels work: a panel, a row of weights, a register tile in each product, and a step."""

from typing import Any

import matplotlib.pyplot as plt
from matplotlib.patches import Rectangle

BLUE, ORANGE, GREEN, GREY, PALE = "#0072b2", "#d55e00", "#009e73", "#666666", "#f2f2f2"


def _grid(axes: Any, left: float, top: float, rows: int, columns: int, face: Any, edge: str = "#999999") -> None:
    """Draw cells downwards from `top`; `face` is a color, or a function of row and column."""
    for i in range(rows):
        for j in range(columns):
            color = face(i, j) if callable(face) else face
            axes.add_patch(Rectangle((left + j, top - i - 1), 1, 1, facecolor=color, edgecolor=edge, linewidth=0.6))


def _finish(axes: Any, width: float, low: float, high: float) -> None:
    axes.set(xlim=(-0.5, width), ylim=(low, high), aspect="equal")
    axes.axis("off")


def panel() -> None:
    """A batch of 40 samples of 5 units: three panels."""
    axes = plt.figure(figsize=(9, 4.6), layout="constrained").add_subplot()
    for p in range(3):
        left = 18.5 * p
        last = 16 if p < 2 else 8  # samples in the panel

        def face(i: int, j: int, last: int = last) -> str:
            return "#ffffff" if i >= 5 else PALE if j >= last else "#9ad0f5"

        _grid(axes, left, 0, 16, 16, face)
        first = 16 * p
        axes.text(left + 8, 1.9, f"panel {p}", ha="center", weight="bold")
        end = first + last - 1
        axes.text(left + last / 2, 0.5, f"samples {first} … {end}", ha="center", color=GREY, fontsize=9)
    axes.text(-0.4, -2.5, "5 units ", ha="right", va="center", fontsize=9, color=BLUE)
    axes.text(-0.4, -10.5, "padding:\nzeros ", ha="right", va="center", fontsize=9, color=GREY)
    axes.text(37 + 12, -2.5, "no samples:\nweight 0", ha="center", va="center", fontsize=8, color=GREY)
    axes.add_patch(Rectangle((0, -3), 16, 1, fill=False, edgecolor=ORANGE, linewidth=2))
    axes.text(8, -17.3, "one row = one unit of 16 samples = one vector", ha="center", color=ORANGE, fontsize=9)
    axes.annotate("", (8, -3), (8, -16.9), arrowprops={"arrowstyle": "->", "color": ORANGE})
    axes.set(xlim=(-6.5, 54), ylim=(-18.5, 3.2), aspect="equal")
    axes.axis("off")


ROWS, STEPS = 6, 9  # of the tile that is drawn, as with AVX2


def _tile(left_name: str, left_rows: str, top_name: str, sums: str, along: str) -> None:
    """Draw a register tile: a column of scalars times a row of 16 lanes, added to the sums."""
    axes = plt.figure(figsize=(9, 5.2), layout="constrained").add_subplot()
    now = 3
    _grid(axes, 0, 0, ROWS, STEPS, lambda i, j: "#f4c7a8" if j == now else "white")
    axes.text(STEPS / 2, -ROWS - 0.9, f"{left_name}: {left_rows}", ha="center", va="top", fontsize=9)
    _grid(axes, STEPS + 3, STEPS + 2, STEPS, 16, lambda i, j: "#9ad0f5" if i == now else "white")
    axes.text(STEPS + 3 + 8, STEPS + 2.5, top_name, ha="center", fontsize=9)
    _grid(axes, STEPS + 3, 0, ROWS, 16, "#b8e0d2")
    axes.text(STEPS + 3 + 8, -ROWS - 0.9, sums, ha="center", va="top", fontsize=9, color=GREEN)
    axes.annotate("one vector,\nloaded once", (STEPS + 3, STEPS + 2 - now - 0.5), (STEPS - 6, STEPS - 1), fontsize=9,
                  color=BLUE, ha="center", va="center", arrowprops={"arrowstyle": "->", "color": BLUE})  # fmt: skip
    axes.annotate("6 scalars, each broadcast\nto all lanes", (now + 0.5, 0), (2.6, 3.6), fontsize=9, color=ORANGE,
                  ha="center", va="center", arrowprops={"arrowstyle": "->", "color": ORANGE})  # fmt: skip
    axes.text(STEPS + 19.6, STEPS / 2 + 2, f"{along}\n↓", ha="left", va="center", fontsize=9, color=GREY)
    axes.set(xlim=(-0.8, STEPS + 27), ylim=(-ROWS - 3.4, STEPS + 4), aspect="equal")
    axes.axis("off")


def forward_tile() -> None:
    """Z = W·A_prev: the lanes are samples."""
    _tile("W", "6 of its rows", "a panel of A_prev: 16 samples", "6 units of Z for 16 samples:\nsums in registers",
          "n_prev steps:\nunits of the\nlayer below")  # fmt: skip


def dW_tile() -> None:
    """dW = dZ·A_prevᵀ: the lanes are columns of dW."""
    _tile("dZ", "6 of its units", "a panel of A_prev, transposed: 16 units",
          "6 rows and 16 columns of dW:\nsums in registers", "16 steps a panel:\nsamples")  # fmt: skip


def step() -> None:
    """The phases of a step, and how threads claim the items."""
    axes = plt.figure(figsize=(9, 3.4), layout="constrained").add_subplot()
    phases = (
        ("phase 1: shared by samples", BLUE, [2.0, 2.0, 2.0, 2.0],
         "gather rows of X into panels, forward pass,\ncost, backward pass down to dZ of layer 1"),
        ("phase 2: shared by columns of the weights", GREEN, [1.6, 1.6, 1.6, 1.6, 1.6, 1.2],
         "dW and db of some columns,\nthen the update of these parameters"),
    )  # fmt: skip
    left, ends = 0.0, []
    for title, color, items, text in phases:
        ready = [left, left]
        for i, length in enumerate(items):
            t = 0 if ready[0] <= ready[1] else 1
            axes.add_patch(Rectangle((ready[t], -t), length - 0.06, 0.8, facecolor=color, alpha=0.35, edgecolor=color))
            axes.text(ready[t] + length / 2, 0.4 - t, str(i), ha="center", va="center")
            ready[t] += length + (0.15 if t else 0)  # the second thread is a little slower
        axes.text(left, 1.55, title, color=color, weight="bold")
        axes.text(left, -2.3, text, color=GREY, fontsize=9)
        left = max(ready) + 0.25
        ends.append(left - 0.13)
    for x in ends:
        axes.plot((x, x), (-1.2, 1.2), ":", color=GREY)
    axes.text(ends[0], 1.25, "all items done", ha="center", fontsize=8, color=GREY)
    axes.text(ends[1], 1.25, "next chunk, or step", ha="center", fontsize=8, color=GREY)
    for t in range(2):
        axes.text(-0.15, 0.4 - t, f"thread {t}", ha="right", va="center", fontsize=9)
    axes.set(xlim=(-1.3, left + 0.7), ylim=(-2.6, 2))
    axes.axis("off")
