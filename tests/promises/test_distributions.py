"""What is uploaded: an sdist and a wheel that install into fresh environments, and tests that run from the sdist."""

import email
import os
import re
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest
from processes import ROOT

import fastprop

pytestmark = pytest.mark.slow
PART = ("tests/test_imports.py", "tests/test_initializers.py", "tests/kernels/test_plan.py")


def run(*command, cwd: Path, **variables: str) -> str:
    """Run a command, without this checkout on the path; its output."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "COV"))}
    done = subprocess.run(
        list(map(str, command)), cwd=cwd, env={**kept, **variables}, capture_output=True, text=True, check=False,
        timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def tracked() -> list[str]:
    """The repository's files."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a checkout")
    return run("git", "ls-files", cwd=ROOT).splitlines()


@pytest.fixture(scope="module")
def built(tmp_path_factory, tracked) -> tuple[Path, Path]:
    """Build an sdist of a clean copy of the repository, and a wheel from the sdist."""
    pytest.importorskip("hatchling", reason="distributions are built by hatchling")
    pytest.importorskip("hatch_fancy_pypi_readme", reason="their description is written by hatch-fancy-pypi-readme")
    pytest.importorskip("build", reason="distributions are built by the package build")
    clean, made = tmp_path_factory.mktemp("clean"), tmp_path_factory.mktemp("dist")
    for name in tracked:
        if (ROOT / name).exists():
            (clean / name).parent.mkdir(parents=True, exist_ok=True)
            (clean / name).write_bytes((ROOT / name).read_bytes())
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", made, cwd=clean)
    (sdist,), (wheel,) = made.glob("*.tar.gz"), made.glob("*.whl")
    return sdist, wheel


def test_the_sdist_holds_every_file_of_the_repository(built, tracked):
    with tarfile.open(built[0]) as archive:
        held = {name.partition("/")[2] for name in archive.getnames()}
    assert sorted({name for name in tracked if (ROOT / name).exists()} - held) == []


def test_the_wheel_holds_the_package_alone(built, tracked):
    with zipfile.ZipFile(built[1]) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
    package = {name for name in tracked if name.startswith("fastprop/") and (ROOT / name).exists()}
    assert held == package - {"fastprop/CHANGELOG.md"}


def test_the_description_has_no_relative_links_and_pictures(built):
    """A package index shows the README, but not the files beside it."""
    with zipfile.ZipFile(built[1]) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        metadata = email.message_from_bytes(archive.read(name))
    description, readme = metadata.get_payload(), (ROOT / "README.md").read_text("utf-8")
    assert metadata["Description-Content-Type"] == "text/markdown"
    relative = re.compile(r"\]\((?!https?:|#)")
    assert relative.search(readme)
    assert not relative.search(description)
    assert "`fit(comm=MPI.COMM_WORLD)`" in description
    headings = re.compile(r"^#+ .*", re.MULTILINE)
    assert headings.findall(description) == headings.findall(readme)


@pytest.mark.parametrize("which", [0, 1], ids=["sdist", "wheel"])
def test_a_fresh_environment_runs_tests_of_the_sdist(built, which, tmp_path):
    """The environment has the dependencies of this one; the package is the one that was installed."""
    venv.create(tmp_path / "env", symlinks=os.name != "nt", with_pip=False)
    bin_folder = tmp_path / "env" / ("Scripts" if os.name == "nt" else "bin")
    python = bin_folder / ("python.exe" if os.name == "nt" else "python")
    site = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=tmp_path).strip())
    outside = [path for path in map(Path, sys.path) if path.name in ("site-packages", "dist-packages")]
    run(
        sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation", "--no-index",
        "--target", site, built[which], cwd=tmp_path,
    )  # fmt: skip
    (site / "dependencies.pth").write_text("\n".join(map(str, outside)) + "\n")
    with tarfile.open(built[0]) as archive:
        archive.extractall(tmp_path, filter="data")
    (sources,) = tmp_path.glob("fastprop_cpu-*")
    shutil.rmtree(sources / "fastprop")
    where = run(python, "-P", "-c", "import fastprop; print(fastprop.__version__, fastprop.__file__)", cwd=sources)
    assert where.split()[0] == fastprop.__version__
    assert Path(where.split()[1]).is_relative_to(site)
    assert "[100%]" in run(python, "-P", "-m", "pytest", "-q", "-n", "0", *PART, cwd=sources)
