"""The distribution fastprop-cpu: its extras, what an error says to install, and the other project of the same name."""

import importlib
import re
import shutil
import sys
import tomllib
from pathlib import Path

import pytest
from marks import slow_but

import fastprop
from fastprop import convert, distribution

PACKAGE = Path(fastprop.__file__).parent
ROOT = next((folder for folder in Path(__file__).parents if (folder / "pyproject.toml").exists()), PACKAGE.parent)
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
TEXTS = [path for pattern in ("*.md", ".github/*.md", "fastprop/**/*.md", "scripts/*.md", "benchmarks/*.md",
                              "fastprop/**/*.py", "scripts/*.py", "benchmarks/*.py", "benchmarks/suite/*.py",
                              "pyproject.toml")
         for path in ROOT.glob(pattern)]  # fmt: skip


def test_the_name_is_not_that_of_the_other_project():
    assert PROJECT["name"] == distribution.NAME == fastprop.__distribution__ == "fastprop-cpu"
    assert PROJECT["version"] == fastprop.__version__
    assert PROJECT["optional-dependencies"]["dev"][0] == "fastprop-cpu[test,lint]"


def test_every_extra_of_the_package_installs_what_its_error_names():
    """A requirement such as scikit-learn>=1.7 is quoted, since a shell would write to a file."""
    extras = PROJECT["optional-dependencies"]
    assert set(distribution.EXTRAS) == set(extras) - {"test", "lint", "docs", "peers", "dev"}
    for extra, (name, requirement) in distribution.EXTRAS.items():
        assert [requirement.strip("'")] == extras[extra]
        assert requirement.startswith("'") == (">" in requirement)
        assert str(distribution.missing(extra, "this needs")) == (
            f"this needs {name}. Install it with: pip install {requirement} "
            f"(extra {extra}: pip install 'fastprop-cpu[{extra}]')"
        )


def test_no_text_recommends_the_other_project():
    assert len(TEXTS) > 60
    for path in TEXTS:
        found = re.findall(r"pip install [^\n]*?fastprop(?!-cpu)\b[^\n]*", path.read_text("utf-8"))
        assert not found, f"{path}: {found}"


@pytest.mark.parametrize(
    ("extra", "modules", "call"),
    [
        ("save", ("safetensors", "safetensors.numpy"), "fastprop.Network((2, 1)).save('no.safetensors')"),
        ("progress", ("tqdm", "tqdm.auto"), "fastprop.Network((2, 1)).fit([[1, 2]], [[3]], epochs=1, progress=True)"),
        ("plot", ("matplotlib", "matplotlib.figure"), "fastprop.History(loss=[1.0]).plot()"),
        ("plot", ("matplotlib", "matplotlib.axes"), "fastprop.History(loss=[1.0]).plot(ax=1)"),
        ("torch", ("torch",), "convert.to_torch(fastprop.Network((2, 1)))"),
        ("onnx", ("onnx",), "convert.to_onnx(fastprop.Network((2, 1)), 'no.onnx')"),
        ("sklearn", ("sklearn", "scipy.optimize"), "importlib.import_module('fastprop.sklearn')"),
    ],
)
def test_an_extra_that_is_missing_is_named_with_its_requirement(extra, modules, call, monkeypatch):
    for module in modules:
        monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.delitem(sys.modules, "fastprop.sklearn", raising=False)
    with pytest.raises(ModuleNotFoundError) as caught:
        eval(call, {"fastprop": fastprop, "convert": convert, "importlib": importlib})
    message = str(caught.value)
    assert message.isascii()
    assert (
        f"pip install {distribution.EXTRAS[extra][1]} (extra {extra}: pip install 'fastprop-cpu[{extra}]')" in message
    )


# ---- the other project -------------------------------------------------------------------------------------------


@pytest.fixture
def theirs(tmp_path):
    """A folder where the other project was installed over this one: its __init__.py, and all other modules of ours."""
    shutil.copytree(PACKAGE, tmp_path / "fastprop", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "fastprop" / "__init__.py").write_text("__version__ = '1.1.1'\n")
    return tmp_path


CAUGHT = """
import importlib, sys
try:
    importlib.import_module(sys.argv[1])
except ImportError as error:
    print(error)
"""


@pytest.mark.parametrize("module", slow_but(["network"], ["network", "sklearn", "convert", "plots", "health"]))
def test_modules_under_the_package_of_the_other_project_say_so(module, theirs, run_python):
    found = run_python(CAUGHT, f"fastprop.{module}", folder=theirs)
    assert f"the package fastprop at {theirs / 'fastprop' / '__init__.py'} is not that of fastprop-cpu" in found
    assert "pip uninstall fastprop fastprop-cpu, then pip install fastprop-cpu." in found


def test_a_copy_of_this_package_is_ours(theirs, run_python):
    shutil.copy(PACKAGE / "__init__.py", theirs / "fastprop")
    assert run_python("import fastprop; print(fastprop.__file__)", folder=theirs).startswith(str(theirs))


def test_show_versions_says_that_both_are_installed(tmp_path, monkeypatch, capsys):
    folder = tmp_path / "fastprop-1.1.1.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: fastprop\nVersion: 1.1.1\n")
    monkeypatch.syspath_prepend(tmp_path)
    fastprop.show_versions()
    said = " ".join(capsys.readouterr().out.split())
    assert "conflict the distribution fastprop 1.1.1 is installed too" in said
    assert "pip uninstall fastprop fastprop-cpu, then pip install fastprop-cpu." in said


def test_this_distribution_alone_is_no_conflict(tmp_path, monkeypatch, capsys):
    folder = tmp_path / "fastprop_cpu-0.1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: fastprop-cpu\nVersion: 0.1.0\n")
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    assert distribution.conflict() == ""
    fastprop.show_versions()
    assert "conflict" not in capsys.readouterr().out


def test_importing_does_not_search_for_distributions(run_python):
    """A search reads every folder of sys.path. Numba may import the module, but nothing calls it."""
    code = """
import importlib.metadata
def refuse(*arguments, **options):
    raise AssertionError("searched")
importlib.metadata.distribution = importlib.metadata.Distribution.from_name = refuse
import fastprop
print("imported")
"""
    assert run_python(code) == "imported\n"
