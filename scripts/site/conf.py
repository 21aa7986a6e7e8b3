"""Sphinx's settings of the documentation site.

    pip install -e '.[docs]' && sphinx-build -W --keep-going scripts/site build/site

The build needs no network, and neither do the pages: formulas become MathML, which browsers show by themselves, and
scripts and fonts of the theme lie beside the pages.
"""

import importlib
import sys
from pathlib import Path
from typing import Any

from docutils import nodes
from docutils.utils.math import latex2mathml, unichar2tex

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE / "pictures")]

import fastprop  # noqa: E402

project, author = "fastprop", "The fastprop developers"
copyright = author
version = release = fastprop.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "numpydoc",
    "matplotlib.sphinxext.plot_directive",
    "myst_parser",
    "sphinx_gallery.gen_gallery",
]
templates_path = ["_templates"]
exclude_patterns = ["gallery", "pictures", "README.md"]
default_role = "code"  # as the docstrings mean it
nitpicky = False

html_theme = "pydata_sphinx_theme"
html_title = "fastprop"
html_theme_options = {
    "navbar_align": "left",
    "navbar_end": ["theme-switcher"],
    "header_links_before_dropdown": 6,
    "secondary_sidebar_items": ["page-toc"],
    "show_prev_next": True,
    "footer_start": ["copyright"],
    "footer_end": [],
}
html_static_path = ["static"]
html_css_files = ["site.css"]
html_show_sourcelink = False
html_sidebars: dict[str, list[str]] = {
    page: [] for page in ("index", "derivation", "kernels", "coming", "faq", "layout", "changelog")
}

autosummary_generate = True
autodoc_typehints = "none"  # the docstrings say the types
autodoc_member_order = "bysource"
numpydoc_show_class_members = False  # the templates list them
myst_heading_anchors = 3

plot_formats = [("svg", 100)]
plot_html_show_formats = plot_html_show_source_link = False
plot_rcparams = {"svg.fonttype": "path", "figure.facecolor": "white", "font.size": 10}
plot_apply_rcparams = True


def can_be_imported(module: str) -> bool:
    """Return whether a module is installed, and the libraries that it loads."""
    try:
        importlib.import_module(module)
    except (ImportError, RuntimeError):  # the latter from mpi4py without an MPI library
        return False
    return True


# What needs an extra that may not be installed is shown, but not run.
RUN_ONLY_WITH = {"other_formats": ("torch", "onnx", "onnxruntime"), "many_processes": ("mpi4py.MPI",)}
NOT_RUN = [name for name, needed in RUN_ONLY_WITH.items() if not all(map(can_be_imported, needed))]

sphinx_gallery_conf = {
    "examples_dirs": ["gallery"],
    "gallery_dirs": ["recipes"],
    "filename_pattern": rf"[\\/](?!({'|'.join(NOT_RUN) or '-'})\.py)\w+\.py$",
    "within_subsection_order": "recipe_order.RecipeOrder",
    "download_all_examples": False,
    "show_memory": False,
    "show_signature": False,
    "min_reported_time": 1e9,
    "write_computation_times": False,
    "remove_config_comments": True,
    "capture_repr": (),
    "reset_modules": ("matplotlib",),
}


# ---- formulas --------------------------------------------------------------------------------------------------------


def mathml(self: Any, node: Any, block: bool) -> None:
    """Write a formula as MathML."""
    tex = node.astext().translate(unichar2tex.uni2tex_table)
    text = latex2mathml.tex2mathml(tex, as_block=block)
    self.body.append(f'<div class="formula">{text}</div>\n' if block else text)
    raise nodes.SkipNode


def setup(app: Any) -> None:
    app.add_html_math_renderer(
        "mathml",
        (lambda self, node: mathml(self, node, False), None),
        (lambda self, node: mathml(self, node, True), None),
    )


html_math_renderer = "mathml"
