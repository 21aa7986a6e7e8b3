"""Notebooks: figures and tables that show themselves, the bar and the announcement, and plots on given axes."""

import copy
import io
import json
import pickle
import sys
import types

import numpy as np
import pytest
from marks import slow_but
from networks import Case, data, network

from fastprop import SGD, Activation, History, Network, diagnose, plots
from fastprop.health import Finding
from fastprop.kernels import jit
from fastprop.training.progress import Progress

CASE = Case("notebook", (2, 8, 3), "relu", "softmax", 60)
PNG = b"\x89PNG"


def fitted(**options):
    net, (X, Y) = network(CASE), data(CASE)
    return net, net.fit(X, Y, epochs=3, **options)


# ---- in a line ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("history", "line"),
    [
        (History(), "History(epochs=0)"),
        (History(loss=[2.0, 0.123456]), "History(epochs=2, loss=0.1235)"),
        (History(loss=[float("nan")], interrupted=True), "History(epochs=1, loss=nan, interrupted=True)"),
        (
            History(loss=[2.0, 1.0], validation_loss=[2.5, 1.5], validation_accuracy=[0.25, 0.975], best_epoch=1),
            "History(epochs=2, loss=1, validation_loss=1.5, validation_accuracy=0.975, best_epoch=1)",
        ),
    ],
)
def test_a_history_is_one_line(history, line):
    assert repr(history) == str(history) == line


def test_a_history_of_many_epochs_is_as_short():
    assert len(repr(History(loss=[0.5] * 10_000, seconds=[0.1] * 10_000))) < 40


def test_a_history_as_a_dictionary():
    _, history = fitted(validation=0.2, early_stopping=2)
    found = history.to_dict()
    assert found == vars(history)
    assert json.loads(json.dumps(found)) == found
    assert History(**found) == history
    found["loss"].append(0.0)
    assert history.epochs == 3


# ---- tables ------------------------------------------------------------------------------------------------------


def cells(html):
    """The rows of all tables; every element is closed."""
    import xml.etree.ElementTree as ElementTree

    root = ElementTree.fromstring(f"<div>{html}</div>")
    return [["".join(cell.itertext()) for cell in row] for row in root.iter("tr")]


def test_a_network_is_a_table_of_its_layers():
    net = Network((784, 128, 10), output="softmax", rng=0)
    assert cells(net._repr_html_()) == [
        ["layer", "inputs", "units", "activation", "parameters"],
        ["1", "784", "128", "relu", "100,480"],
        ["2", "128", "10", "softmax", "1,290"],
        ["all", "", "", "", "101,770"],
    ]
    assert "101,770 parameters" in net._repr_html_()


def test_a_history_is_a_table_of_some_epochs():
    loss = np.linspace(1, 0.1, 200).tolist()
    head, *rows = cells(History(loss=loss, validation_loss=loss, best_epoch=123)._repr_html_())
    assert head == ["epoch", "loss", "validation loss"]
    assert len(rows) == 11
    assert [rows[0][0], rows[-1][0]] == ["0", "199"]
    assert ["123 (best)", f"{loss[123]:.4g}", f"{loss[123]:.4g}"] in rows
    assert cells(History()._repr_html_()) == []
    assert [row[0] for row in cells(History(loss=[1.0, 0.5, 0.2])._repr_html_())] == ["epoch", "0", "1", "2"]


def test_a_report_is_its_tables_and_findings():
    net, (X, Y) = network(CASE), data(CASE)
    report = diagnose(net, 1000 * X, Y, SGD(0.1))
    html = report._repr_html_()
    table = cells(html)
    assert table[0] == ["layer", "‖W‖", "‖Z‖", "‖A‖", "‖dZ‖", "‖dW‖", "update", "dead", "saturated"]
    assert table[2][:2] == ["1: 2 → 8 relu", f"{report.layers[0].W.norm:.3g}"]
    assert len(table) == 2 * (2 + len(report.layers))
    assert html.count("Remedy") == len(report.findings) > 0
    assert "Nothing is found wrong." in diagnose(net, X, Y)._repr_html_()


def test_what_is_shown_is_escaped_and_ascii():
    """A name or a text cannot break out of its cell."""
    sigma = Activation("σ", lambda z: z, lambda z: 1.0)
    net = Network((2, 8, 1), hidden=sigma, rng=0)
    report = diagnose(net, np.ones((4, 2)), np.ones(4))
    evil = Finding("<script>", (1,), "a < b & ‖c‖", "<b>")
    object.__setattr__(report, "findings", (evil,))
    for html in (net._repr_html_(), report._repr_html_()):
        assert html.isascii()
        assert any("σ" in cell for row in cells(html) for cell in row)
    assert "<script>" not in report._repr_html_()


# ---- figures -----------------------------------------------------------------------------------------------------


@pytest.fixture
def matplotlib():
    return pytest.importorskip("matplotlib", reason="plots need matplotlib (extra plot)")


def drawings():
    """Each plot, as a function of ax."""
    net, history = fitted(validation=0.2, early_stopping=3)
    X, Y = data(CASE)
    report = diagnose(net, X, Y, SGD(0.1))
    return {
        "learning_curves": lambda **options: plots.learning_curves(history, **options),
        "history.plot": lambda **options: history.plot(**options),
        "gradient_flow": lambda **options: plots.gradient_flow(report, **options),
        "report.plot": lambda **options: report.plot(**options),
    }


NAMES = ("learning_curves", "history.plot", "gradient_flow", "report.plot")


@pytest.mark.parametrize("name", slow_but(["history.plot"], NAMES))
def test_a_figure_shows_itself_and_can_be_copied(name, matplotlib):
    figure = drawings()[name]()
    assert figure._repr_png_().startswith(PNG)
    for again in (pickle.loads(pickle.dumps(figure)), copy.deepcopy(figure)):
        again.axes[0].set_visible(False)  # of the copy, which draws itself and not the first one
        assert again._repr_png_() != figure._repr_png_() == figure._repr_png_()


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_plot_is_drawn_on_the_axes_that_are_given(name, matplotlib, tmp_path):
    from matplotlib.figure import Figure

    draw = drawings()[name]
    figure = Figure(layout="constrained", figsize=(12, 8))
    places = figure.subplots(2, 2)
    given = places[:, 0]
    assert draw(ax=given, path=tmp_path / "all.png") is figure
    assert (tmp_path / "all.png").read_bytes().startswith(PNG)
    for own, axes in zip(draw().axes, given, strict=True):
        assert axes.get_ylabel() == own.get_ylabel()
        assert axes.get_xlabel() == own.get_xlabel()
        assert [text.get_text() for text in axes.texts] == [text.get_text() for text in own.texts]
        assert len(axes.lines) == len(own.lines)
        for line, other in zip(axes.lines, own.lines):
            np.testing.assert_array_equal(line.get_xydata(), other.get_xydata())
    for untouched in np.ravel(places[:, 1]):
        assert not untouched.has_data()


@pytest.mark.parametrize("name", NAMES)
def test_a_single_axes_takes_the_upper_panel(name, matplotlib):
    from matplotlib.figure import Figure

    draw = drawings()[name]
    axes = Figure().subplots()
    draw(ax=axes)
    upper = draw().axes[0]
    assert axes.get_ylabel() == upper.get_ylabel()
    assert axes.get_xlabel()
    assert len(axes.lines) == len(upper.lines)


def test_without_an_accuracy_the_second_axes_stays_empty(matplotlib):
    from matplotlib.figure import Figure

    upper, lower = Figure().subplots(2)
    plots.learning_curves(History(loss=[2.0, 1.0]), ax=(upper, lower))
    assert upper.has_data()
    assert not lower.has_data()


def test_the_axes_of_a_subfigure_give_the_whole_figure(matplotlib, tmp_path):
    from matplotlib.figure import Figure

    figure = Figure(layout="constrained")
    left, _ = figure.subfigures(1, 2)
    assert drawings()["learning_curves"](ax=left.subplots(), path=tmp_path / "part.png") is figure


@pytest.mark.parametrize("name", NAMES)
def test_other_things_than_axes_are_refused(name, matplotlib):
    from matplotlib.figure import Figure

    figure = Figure()
    wrong = [(TypeError, figure), (TypeError, []), (TypeError, [None]), (TypeError, "ax"), (TypeError, 1),
             (ValueError, figure.subplots(3))]  # fmt: skip
    for error, ax in wrong:
        with pytest.raises(error, match=r"ax (is|has)"):
            drawings()[name](ax=ax)


# ---- an IPython kernel -------------------------------------------------------------------------------------------


def ipython(**attributes):
    """What stands for IPython and its shell, which in a kernel has the attribute `kernel`."""
    return types.SimpleNamespace(get_ipython=lambda: types.SimpleNamespace(**attributes))


@pytest.mark.parametrize(
    ("module", "watched"),
    [(ipython(kernel=object()), True), (ipython(), False), (types.SimpleNamespace(get_ipython=lambda: None), False),
     (types.SimpleNamespace(), False), (None, False)],
)  # fmt: skip
def test_a_kernel_is_watched(module, watched, monkeypatch):
    """Its error stream is no terminal."""
    monkeypatch.setitem(sys.modules, "IPython", module)
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    assert jit.is_watched() is watched
    monkeypatch.setattr(jit, "_announced", False)
    jit._announce("folder")
    assert ("compiling its kernels" in sys.stderr.getvalue()) is watched


def test_a_terminal_of_ipython_is_none_of_its_kernels():
    pytest.importorskip("IPython", reason="needs IPython (extra test)")
    from IPython.terminal.interactiveshell import TerminalInteractiveShell

    assert not hasattr(TerminalInteractiveShell, "kernel")


def test_a_bar_is_asked_for_in_a_kernel(monkeypatch):
    pytest.importorskip("tqdm", reason="a progress bar needs tqdm (extra progress)")
    made = []
    monkeypatch.setattr("tqdm.auto.tqdm", lambda **options: made.append(options))
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    Progress(None, 100).show()
    assert not made
    monkeypatch.setitem(sys.modules, "IPython", ipython(kernel=object()))
    Progress(None, 100).show()
    assert [options["total"] for options in made] == [100]


# ---- a notebook, executed ----------------------------------------------------------------------------------------

CELLS = [
    "import numpy as np\nfrom fastprop import SGD, History, Network, diagnose\nfrom fastprop.kernels import jit",
    "X = np.random.default_rng(0).standard_normal((300, 2))\nY = (X[:, 0] > 0).astype(int) + (X[:, 1] > 0)\n"
    "net = Network((2, 8, 3), output='softmax', rng=0)\nnet",
    "net.fit(X, Y, epochs=3, validation=0.2)",
    "net.fit(X, Y, epochs=3, progress=False)",
    "net.fit(X, Y, epochs=3, validation=0.2, progress=False).plot()",
    "diagnose(net, X, Y, SGD(0.1))",
    "diagnose(net, X, Y, SGD(0.1)).plot()",
    "import of_a_user\nassert jit.routine(lambda _: 'void()')(of_a_user.nothing).address('float32')",
    "import sys\nassert not {'matplotlib.pyplot', 'matplotlib_inline.backend_inline'} & set(sys.modules)",
]
EXECUTE = """
import json, sys, warnings
warnings.simplefilter("ignore")
import nbformat
from nbclient import NotebookClient
from nbconvert import HTMLExporter

notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in json.loads(sys.argv[1])])
NotebookClient(notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": sys.argv[2]}}).execute()
html, _ = HTMLExporter().from_notebook_node(notebook)
print(json.dumps([[cell.outputs for cell in notebook.cells], html]))
"""


@pytest.fixture(scope="module")
def executed(tmp_path_factory):
    """The outputs of the cells of a notebook in a kernel without %matplotlib inline, and the notebook as HTML."""
    for library in ("ipykernel", "nbclient", "nbconvert", "matplotlib", "tqdm"):
        pytest.importorskip(library, reason=f"a notebook is executed with {library} (extra test)")
    import os
    import subprocess
    from pathlib import Path

    import fastprop

    folder = tmp_path_factory.mktemp("notebook")
    (folder / "of_a_user.py").write_text("def nothing():\n    pass\n")
    paths = [str(Path(fastprop.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    homes = {name: str(folder / name) for name in ("IPYTHONDIR", "JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR")}
    variables = {**os.environ, **homes, "PYTHONPATH": os.pathsep.join(filter(None, paths)), "PYTHONSAFEPATH": ""}
    done = subprocess.run(
        [sys.executable, "-c", EXECUTE, json.dumps(CELLS), folder],
        cwd=folder, env=variables, capture_output=True, text=True, timeout=400, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    outputs, html = json.loads(done.stdout)
    return dict(zip(CELLS, outputs)), html


def output(executed, end):
    """The data of what the last line of a cell shows, and what the cell writes to the error stream."""
    (outputs,) = (outputs for cell, outputs in executed[0].items() if cell.endswith(end))
    shown = [each["data"] for each in outputs if each["output_type"] == "execute_result"]
    said = "".join(each["text"] for each in outputs if each.get("name") == "stderr")
    return (shown or [{}])[0], said


@pytest.mark.slow
@pytest.mark.parametrize("end", [").plot()", "SGD(0.1)).plot()"])
def test_a_notebook_shows_figures(executed, end):
    import base64

    end = "progress=False).plot()" if end == ").plot()" else end
    assert base64.b64decode(output(executed, end)[0]["image/png"]).startswith(PNG)


@pytest.mark.slow
def test_a_notebook_shows_tables(executed):
    for end, column in (("\nnet", "activation"), ("epochs=3, progress=False)", "seconds"), ("Y, SGD(0.1))", "dead")):
        shown, _ = output(executed, end)
        assert column in {cell for row in cells(shown["text/html"]) for cell in row}


@pytest.mark.slow
def test_a_notebook_shows_a_bar_and_one_line_of_history(executed):
    shown, said = output(executed, "epochs=3, validation=0.2)")
    assert "\n" not in shown["text/plain"]
    assert shown["text/plain"].startswith("History(epochs=3, loss=")
    assert "epoch 3/3" in said
    assert "TqdmWarning" not in said
    assert output(executed, "epochs=3, progress=False)")[1] == ""


@pytest.mark.slow
def test_a_notebook_says_that_kernels_are_compiled(executed):
    """If it was not said in the cells before, which find their kernels in the cache."""
    said = "".join(output(executed, cell)[1] for cell in executed[0])
    assert said.count("compiling its kernels") == 1


@pytest.mark.slow
def test_a_notebook_becomes_html(executed):
    _, html = executed
    assert html.count("data:image/png;base64") >= 2
    assert "<th style=" in html
