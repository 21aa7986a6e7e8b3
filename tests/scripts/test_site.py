"""The documentation site: its examples hold, it names everything public, and the built pages lead nowhere that is not.

The pages are built only where the extra ``docs`` is installed.
"""

import doctest
import importlib
import importlib.util
import inspect
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from processes import PACKAGE, ROOT, environment

import fastprop
from fastprop import convert, dropin, gradcheck, health, initializers, kernels, plots, reference, schedules

SITE = ROOT / "scripts" / "site"
PAGES = sorted(path.name for path in SITE.glob("*.rst") if ">>>" in path.read_text("utf-8"))


@pytest.mark.parametrize("page", PAGES)
def test_the_examples_of_a_page_hold(page):
    assert PAGES == ["derivation.rst", "index.rst", "kernels.rst"]
    found = doctest.testfile(str(SITE / page), module_relative=False, encoding="utf-8")
    assert found.attempted > 5
    assert found.failed == 0


# ---- the reference ---------------------------------------------------------------------------------------------------


def documented() -> dict[str, Any]:
    """Return the names that the page lists, and what they name."""
    found, module = {}, "fastprop"
    for line in (SITE / "api.rst").read_text("utf-8").splitlines():
        if directive := re.fullmatch(r"\.\. (?:currentmodule|automodule):: (\S+)", line):
            module = directive[1]
        elif (name := re.fullmatch(r"   ([A-Za-z_.]+)", line)) and (module != "fastprop.sklearn" or has("sklearn")):
            *parents, last = f"{module}.{name[1]}".split(".")
            found[f"{module}.{name[1]}"] = getattr(importlib.import_module(".".join(parents)), last)
    return found


def has(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


def defined(module: ModuleType) -> dict[str, Any]:
    """Return the public functions and classes that a module defines."""
    return {
        name: value
        for name, value in vars(module).items()
        if not name.startswith("_")
        and (inspect.isfunction(value) or inspect.isclass(value))
        and value.__module__ == module.__name__
    }


def public() -> dict[str, Any]:
    """Return all public names, and what they name."""
    modules = [fastprop, convert, dropin, kernels]
    if has("sklearn"):
        modules.append(importlib.import_module("fastprop.sklearn"))
    found = {f"{module.__name__}.{name}": getattr(module, name) for module in modules for name in module.__all__}
    for module in (reference, plots, gradcheck, health):
        found |= {f"{module.__name__}.{name}": value for name, value in defined(module).items()}
    for table in (schedules.SCHEDULES, initializers.INITIALIZERS):
        found |= {f"{value.__module__}.{name}": value for name, value in table.items()}
    return found | {"fastprop.schedules.ReduceOnPlateau": schedules.ReduceOnPlateau}


def test_every_public_name_is_in_the_reference():
    listed = {id(value) for value in documented().values()}
    assert len(public()) > 90
    assert [name for name, value in public().items() if id(value) not in listed] == []


# ---- the built pages -------------------------------------------------------------------------------------------------


class Page(HTMLParser):
    """The anchors of a page, what it links to, and what it loads."""

    def __init__(self, path: Path):
        super().__init__()
        self.anchors, self.links, self.loaded = set(), [], []
        self.formulas = 0
        self.text = path.read_text("utf-8")
        self.feed(self.text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        given = dict(attributes)
        self.anchors |= {given[name] for name in ("id", "name") if given.get(name)}
        self.formulas += tag == "math"
        if tag == "a" and given.get("href"):
            self.links.append(given["href"])
        elif tag == "link" and given.get("rel") in ("stylesheet", "icon", "preload"):
            self.loaded.append(given["href"])
        elif given.get("src"):
            self.loaded.append(given["src"])


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> dict[Path, Page]:
    """Build the site from a copy of its sources, without a warning; its pages."""
    for package in ("sphinx", "pydata_sphinx_theme", "numpydoc", "sphinx_gallery", "myst_parser", "sklearn"):
        pytest.importorskip(package, reason="the site needs the extra docs")
    root = tmp_path_factory.mktemp("site")
    made = shutil.ignore_patterns("__pycache__", "generated", "recipes")
    shutil.copytree(SITE, root / "scripts" / "site", ignore=made)
    shutil.copytree(PACKAGE, root / "fastprop", ignore=shutil.ignore_patterns("__pycache__"))
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", root / "scripts" / "site", root / "html"]
    environ = environment(PYTHONSAFEPATH="1")  # the package that is tested, not the copy of its sources
    done = subprocess.run(command, cwd=root, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return {path: Page(path) for path in sorted((root / "html").rglob("*.html")) if "_static" not in path.parts}


@pytest.mark.slow
def test_no_link_of_the_site_is_broken(built):
    assert len(built) > 100
    broken = []
    for path, page in built.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if target.is_dir():
                target = target / "index.html"
            anchors = built[target].anchors if target in built else set()
            if not target.exists() or (parts.fragment and unquote(parts.fragment) not in anchors):
                broken.append((path.name, link))
    assert broken == []


@pytest.mark.slow
def test_the_site_loads_nothing_from_the_network_and_lacks_no_picture(built):
    for path, page in built.items():
        for source in page.loaded:
            parts = urlsplit(source)
            assert not parts.scheme, (path.name, source)
            assert not parts.netloc, (path.name, source)
            assert (path.parent / unquote(parts.path)).stat().st_size > 0


@pytest.mark.slow
def test_formulas_and_pictures_are_there(built):
    pages = {path.name: page for path, page in built.items()}
    derivation, kernels_page = pages["derivation.html"], pages["kernels.html"]
    assert derivation.formulas > 50
    assert sum(source.endswith(".svg") for source in derivation.loaded) == 6
    assert sum(source.endswith(".svg") for source in kernels_page.loaded) == 4
    for name, page in pages.items():
        assert "<merror" not in page.text, name
        assert "system-message" not in page.text, name


@pytest.mark.slow
def test_every_documented_name_has_its_place(built):
    anchors = set().union(*(page.anchors for page in built.values()))
    assert [name for name in documented() if name not in anchors] == []
