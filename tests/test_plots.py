"""The plots: lines, names, ticks and counts against the data, and errors for data that cannot be drawn."""

import dataclasses
import io
import itertools
import sys

import numpy as np
import pytest
from marks import slow_but
from networks import Case, data, network

from fastprop import SGD, Adam, History, Network, diagnose, plots
from fastprop.health import EXPLODING, VANISHING, Finding, Spread

pytest.importorskip("matplotlib", reason="plots need matplotlib (extra plot)")
from matplotlib.text import Text

PNG = b"\x89PNG"


def line(axes, name):
    """The data of the line of that name."""
    (found,) = (line for line in axes.lines if line.get_label() == name)
    return found.get_xdata().tolist(), found.get_ydata().tolist()


def words(axes):
    return [text.get_text() for text in axes.texts]


# ---- learning curves ---------------------------------------------------------------------------------------------


def test_learning_curves_are_the_history(tmp_path):
    """Losses above, accuracies below, the kept epoch through both."""
    history = History(loss=[2.0, 1.0, 0.5], accuracy=[0.1, 0.8, 0.9], validation_loss=[2.1, 1.2, 1.3],
                      validation_accuracy=[0.2, 0.7, 0.6], best_epoch=1)  # fmt: skip
    figure = plots.learning_curves(history, tmp_path / "curves.png")
    losses, accuracy = figure.axes
    assert line(losses, "training") == ([1, 2, 3], history.loss)
    assert line(losses, "validation") == ([1, 2, 3], history.validation_loss)
    assert line(accuracy, "training") == ([1, 2, 3], history.accuracy)
    assert line(accuracy, "validation") == ([1, 2, 3], history.validation_accuracy)
    assert (losses.get_ylabel(), accuracy.get_ylabel(), accuracy.get_xlabel()) == ("loss", "accuracy", "epoch")
    assert words(losses) == ["validation", "training", "kept: epoch 2"]
    assert words(accuracy) == ["training", "validation"]
    for axes in (losses, accuracy):
        assert axes.lines[-1].get_xdata() == [2, 2]
    assert losses.get_yscale() == "linear"
    assert all(text.get_text().endswith("%") for text in accuracy.get_yticklabels())
    assert (tmp_path / "curves.png").read_bytes().startswith(PNG)


def test_without_validation_there_is_one_line():
    figure = plots.learning_curves(History(loss=[2.0, 1.0]))
    (axes,) = figure.axes
    assert line(axes, "training") == ([1, 2], [2.0, 1.0])
    assert words(axes) == ["training"]
    assert axes.get_xlabel() == "epoch"
    _, accuracy = plots.learning_curves(History(loss=[2.0, 1.0], accuracy=[0.5, 0.75])).axes
    assert line(accuracy, "training") == ([1, 2], [0.5, 0.75])
    assert words(accuracy) == ["training"]


def test_what_began_later_is_drawn_at_its_epochs():
    """As in a fit that was resumed with validation data."""
    figure = plots.learning_curves(History(loss=[3.0, 2.0, 1.0], accuracy=[0.5], validation_loss=[2.5, 1.5]))
    for axes, name, values in ((0, "validation", [np.nan, 2.5, 1.5]), (1, "training", [np.nan, np.nan, 0.5])):
        x, y = line(figure.axes[axes], name)
        assert x == [1, 2, 3]
        np.testing.assert_array_equal(y, values)


def test_the_names_stand_apart_at_the_ends_of_the_lines():
    """If both lines end in one point, one label is above it and one below."""
    figure = plots.learning_curves(History(loss=[2.0, 1.0], validation_loss=[2.0, 1.0]))
    figure.draw_without_rendering()
    lower, upper = sorted((text.get_window_extent() for text in figure.axes[0].texts), key=lambda box: box.y0)
    assert lower.y1 <= upper.y0
    assert {text.get_color() for text in figure.axes[0].texts} == {plots.BLUE, plots.VERMILION}


@pytest.mark.parametrize(("loss", "scale"), [([1.0, 0.06], "linear"), ([0.9, 0.015], "log"), ([1.0, -0.1], "linear"),
                                             ([1.0, 0.0], "linear"), ([1.0, 0.005, np.nan], "log")])  # fmt: skip
def test_a_loss_that_falls_far_is_drawn_on_a_logarithmic_axis(loss, scale):
    figure = plots.learning_curves(History(loss=loss))
    figure.draw_without_rendering()
    assert figure.axes[0].get_yscale() == scale


def test_the_points_of_a_short_fit_are_marked():
    """A line of one point would be invisible, so it has a marker."""
    for epochs, marker in ((1, "o"), (plots.FEW_EPOCHS, "o"), (plots.FEW_EPOCHS + 1, "")):
        axes = plots.learning_curves(History(loss=[1.0] * epochs)).axes[0]
        assert axes.lines[0].get_marker() == marker
        axes.figure.draw_without_rendering()
        ticks = [x for x in axes.get_xticks() if axes.get_xlim()[0] <= x <= axes.get_xlim()[1]]
        assert ticks == [round(x) for x in ticks]


@pytest.mark.parametrize("loss", [[], [np.nan], [1.0, np.inf]])
def test_a_fit_that_came_to_nothing_can_be_drawn(loss):
    plots.learning_curves(History(loss=loss)).draw_without_rendering()


def test_history_plot_is_the_same_picture():
    case = Case("plot", (4, 8, 3), "relu", "softmax", 16)
    net, (X, Y) = network(case), data(case, 60)
    history = net.fit(X, Y, epochs=3, validation=0.2)
    axes, again = plots.learning_curves(history).axes, history.plot().axes
    for name in ("training", "validation"):
        assert line(axes[0], name) == line(again[0], name)
    assert axes[0].get_ylabel() == "cross_entropy"


# ---- gradient flow -----------------------------------------------------------------------------------------------


def report(optimizer=None, sizes=(6, 20, 10, 3), dead=False):
    case = Case("plot", sizes, "relu", "softmax", 100)
    net = network(case)
    if dead:
        net.layers[1].b[:] = -100
    return diagnose(net, *data(case), optimizer)


def test_the_gradients_flow_is_that_of_the_report(tmp_path):
    found = report(SGD(0.1))
    figure = plots.gradient_flow(found, tmp_path / "flow.png")
    above, below = figure.axes
    assert line(above, "‖dZ‖") == ([1, 2, 3], [l.dZ.norm for l in found.layers])
    assert line(below, "‖dW‖/‖W‖") == ([1, 2, 3], [l.dW.norm / l.W.norm for l in found.layers])
    assert line(below, "‖ΔW‖/‖W‖") == ([1, 2, 3], [l.update for l in found.layers])
    assert above.get_yscale() == below.get_yscale() == "log"
    assert [text.get_text() for text in below.get_xticklabels()] == ["1\n6 → 20\nrelu", "2\n20 → 10\nrelu",
                                                                     "3\n10 → 3\nsoftmax"]  # fmt: skip
    assert above.get_title() == "nothing is found wrong"
    assert {"exploding above", "vanishing below", "‖dZ‖"} == set(words(above))
    assert {"‖dW‖/‖W‖", "‖ΔW‖/‖W‖"} == set(words(below))
    assert below.get_title(loc="left") == "dotted: the usual update, 0.001"
    assert [1e-3, 1e-3] in [np.asarray(line.get_ydata()).tolist() for line in below.lines]
    last = found.layers[-1].dZ.norm
    assert {EXPLODING * last, VANISHING * last} <= {y for line in above.lines for y in np.atleast_1d(line.get_ydata())}
    assert (tmp_path / "flow.png").read_bytes().startswith(PNG)


def test_without_an_optimizer_no_update_is_drawn():
    below = plots.gradient_flow(report()).axes[1]
    assert words(below) == ["‖dW‖/‖W‖"]
    assert below.get_title(loc="left") == ""


def test_a_gradient_of_zero_is_a_cross_at_the_bottom_and_the_title_says_why():
    figure = plots.gradient_flow(report(SGD(0.1), dead=True))
    figure.draw_without_rendering()
    above, below = figure.axes
    (zeros,) = (line for line in above.lines if line.get_marker() == "x")
    assert (zeros.get_xdata().tolist(), zeros.get_ydata().tolist()) == ([1, 2], [0, 0])
    np.testing.assert_array_equal(np.isnan(line(above, "‖dZ‖")[1]), [True, True, False])
    assert above.get_title() == "dead units"
    left, right = (line.get_xdata() for line in below.lines if line.get_marker() in ("x", "+"))
    np.testing.assert_allclose((left + right) / 2, [1, 2, 3])
    assert (left < right).all(), "side by side"
    assert not below.get_yticks().size, "there is nothing to read on the axis"
    assert above.get_yticks().size
    assert words(below) == ["‖dW‖/‖W‖ is 0", "‖ΔW‖/‖W‖ is 0"]


def test_what_is_not_finite_can_be_drawn():
    net = Network((6, 20, 3), output="softmax", rng=0)
    net.parameters[:] = np.nan
    X, Y = data(Case("plot", (6, 3), "relu", "softmax", 50))
    figure = diagnose(net, X, Y).plot()
    figure.draw_without_rendering()
    assert figure.axes[0].get_title() == "not finite"


def test_many_layers_are_numbered():
    figure = plots.gradient_flow(report(sizes=(6, *[8] * 20, 3)))
    figure.draw_without_rendering()
    below = figure.axes[1]
    ticks = [x for x in below.get_xticks() if below.get_xlim()[0] <= x <= below.get_xlim()[1]]
    assert len(ticks) > 3
    assert ticks == [round(x) for x in ticks]
    assert not any("→" in text.get_text() for text in below.get_xticklabels())


# ---- what can be read --------------------------------------------------------------------------------------------


def drawn(figure):
    """The texts that a figure is rendered with, and the boxes that they fill; no ticks beyond the end of an axis."""
    shown, draw = {}, Text.draw

    def recorded(text, renderer):
        draw(text, renderer)
        if text.get_visible() and text.get_text().strip():
            shown[text] = text.get_text(), text.get_window_extent(renderer)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Text, "draw", recorded)
        figure.savefig(io.BytesIO(), format="png", dpi=figure.dpi)
    return list(shown.values())


def unreadable(figure):
    """What leaves the figure, and which texts lie upon one another, by more than half a pixel."""
    shown, (width, height) = drawn(figure), figure.bbox.size
    outside = [name for name, box in shown if min(box.x0, box.y0) < 0 or box.x1 > width or box.y1 > height]
    upon = [
        (one, other)
        for (one, a), (other, b) in itertools.combinations(shown, 2)
        if min(a.x1, b.x1) - max(a.x0, b.x0) > 0.5 and min(a.y1, b.y1) - max(a.y0, b.y0) > 0.5
    ]
    return outside + upon


def curves(epochs=40, unit=1.0, above=0.0, accuracy=True, **rest):
    """Plot a fit whose validation loss ends `above` the training loss."""
    loss = unit * (0.5 + np.exp(-np.arange(epochs) / 8))
    accuracies = np.linspace(0.4, 0.97, epochs).tolist() if accuracy else []
    history = History(loss.tolist(), accuracies[::-1], (loss + unit * above).tolist(), accuracies, **rest)
    return plots.learning_curves(history)


def flow(findings=(), **norms):
    """Plot a report with these findings, and with the given norms of dZ, dW and updates."""
    found = report(SGD(0.1), (6, 20, 20, 3))
    norms = {"dZ": [1, 1, 1], "dW": [1, 1, 1], "update": [0.1] * 3, **norms}
    layers = (
        dataclasses.replace(layer, W=Spread(1, 0, 1), dZ=Spread(dZ, 0, 1), dW=Spread(dW, 0, 1), update=update)
        for layer, dZ, dW, update in zip(found.layers, norms["dZ"], norms["dW"], norms["update"])
    )
    findings = tuple(Finding(kind, (1,), "", "") for kind in findings)
    return dataclasses.replace(found, layers=tuple(layers), findings=findings).plot()


KINDS = ("inputs not scaled", "learning rate too high", "dead units", "saturated units", "exploding gradients",
         "vanishing gradients", "saturated output")  # fmt: skip
PICTURES = {
    "curves": lambda: curves(best_epoch=30),
    "curves of one epoch": lambda: curves(1, best_epoch=0),
    "curves without validation": lambda: plots.learning_curves(History(loss=[0.3, 0.2])),
    "curves of no epoch": lambda: plots.learning_curves(History(loss=[])),
    "curves on a logarithmic axis": lambda: plots.learning_curves(History(loss=np.logspace(0, -9, 300).tolist())),
    "curves of millions, the first kept": lambda: curves(unit=1e7, above=1, best_epoch=0),
    "curves of millions, the third kept": lambda: curves(unit=1e7, above=1, best_epoch=2),
    "curves that hardly fall": lambda: plots.learning_curves(History(loss=[0.693147, 0.6931469], best_epoch=1)),
    "curves of many epochs": lambda: curves(100_000, best_epoch=99_000),
    **{f"curves {gap} apart": lambda gap=gap: curves(2, above=gap, best_epoch=1) for gap in (0, 0.02, 0.05, 0.1, 0.2)},
    "flow": lambda: report(SGD(0.1)).plot(),
    "flow without updates": lambda: report().plot(),
    "flow of zeros": lambda: report(SGD(0.1), dead=True).plot(),
    "flow through one layer": lambda: report(SGD(0.1), (6, 3)).plot(),
    "flow through as many as are named": lambda: report(SGD(0.1), (784, *[1024] * (plots.MOST_NAMES - 1), 3)).plot(),
    "flow through more": lambda: report(SGD(0.1), (6, *[8] * 20, 3)).plot(),
    "flow that explodes": lambda: flow(KINDS[:5], dZ=[1e38, 10, 1]),
    "flow that vanishes": lambda: flow(KINDS[3:6], dZ=[1e-38, 0.1, 1]),
    **{f"flow with {n} findings": lambda n=n: flow(KINDS[:n]) for n in range(1, 8)},
    **{f"flow, {gap} apart": lambda gap=gap: flow(update=[1e-3, 1, 10**-gap]) for gap in (0, 0.1, 0.2, 0.3, 0.5)},
}


@pytest.mark.parametrize("name", slow_but(["curves", "flow"], PICTURES))
def test_all_that_is_written_can_be_read(name):
    """Every text is inside the figure, and no two texts of any axes overlap."""
    assert unreadable(PICTURES[name]()) == []


def test_what_cannot_be_read_would_be_found():
    figure = curves()
    for x, text in ((0.4, "under"), (0.41, "upon"), (0.97, "far away")):
        figure.text(x, 0.4, text).set_in_layout(False)
    assert unreadable(figure) == ["far away", ("under", "upon")]


# ---- colours -----------------------------------------------------------------------------------------------------


def test_the_colours_can_be_told_apart_by_those_who_see_fewer():
    """Neighbors differ in lightness or hue also for deuteranopes and protanopes (Viénot et al. 1999)."""
    from matplotlib.colors import to_rgb

    to_lms = np.array([[17.8824, 43.5161, 4.11935], [3.45565, 27.1554, 3.86714], [0.0299566, 0.184309, 1.46709]])
    seen_by = {
        "deuteranopes": np.array([[1, 0, 0], [0.494207, 0, 1.24827], [0, 0, 1]]),
        "protanopes": np.array([[0, 2.02344, -2.52581], [0, 1, 0], [0, 0, 1]]),
    }
    linear = np.array([to_rgb(colour) for colour in (plots.BLUE, plots.VERMILION)]) ** 2.2
    for kind, projection in seen_by.items():
        seen = np.clip(linear @ (np.linalg.inv(to_lms) @ projection @ to_lms).T, 0, 1) ** (1 / 2.2)
        distances = np.linalg.norm(seen[:, None] - seen[None], axis=-1) + np.eye(len(seen))
        assert distances.min() > 0.1, kind


# ---- bad input ---------------------------------------------------------------------------------------------------

CASE = Case("plot", (2, 8, 3), "relu", "softmax", 20)
BAD = {
    "no history": (lambda net, X, Y: plots.learning_curves([1.0]), TypeError, r"history is \[1.0\]; it must be"),
    "no report": (lambda net, X, Y: plots.gradient_flow(net), TypeError, r"it must be a Report, which diagnose"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_refused(name, tmp_path):
    call, error, message = BAD[name]
    with pytest.raises(error, match=message):
        call(network(CASE), *data(CASE))


def test_a_path_that_cannot_be_written_to_says_so(tmp_path):
    with pytest.raises(FileNotFoundError):
        plots.learning_curves(History(loss=[1.0]), tmp_path / "no" / "curves.png")


def test_without_matplotlib_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    net, (X, Y) = network(CASE), data(CASE)
    for draw in (
        lambda: plots.learning_curves(History(loss=[1.0])), lambda: diagnose(net, X, Y, Adam()).plot(),
    ):  # fmt: skip
        with pytest.raises(ModuleNotFoundError, match=r"plots need matplotlib.*fastprop-cpu\[plot\]"):
            draw()
