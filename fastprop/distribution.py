"""The distribution ``fastprop-cpu``: its extras, and the other distribution whose import name is ``fastprop``.

On the Python Package Index the name ``fastprop`` belongs to another project, a predictor of molecular properties. Both
install a package ``fastprop``, so an environment can hold only one of them: each overwrites the other's
``__init__.py``. If theirs was installed last, `import fastprop` gives their package, and the modules of ours that are
imported under it raise here. If ours was installed last, it works until the other one is uninstalled, and
:func:`fastprop.show_versions` says so. Importing fastprop does not search for other distributions, which takes time.
"""

import sys

NAME = "fastprop-cpu"
OTHER = "fastprop"
REMEDY = f"Keep one of them: pip uninstall {OTHER} {NAME}, then pip install {NAME}."
# extra: the package's name in a sentence, and the requirement that pip installs
EXTRAS = {
    "mpi": ("mpi4py", "mpi4py"),
    "onnx": ("onnx", "onnx"),
    "plot": ("matplotlib", "matplotlib"),
    "progress": ("tqdm", "tqdm"),
    "save": ("safetensors", "safetensors"),
    "sklearn": ("scikit-learn 1.7 or later", "'scikit-learn>=1.7'"),
    "torch": ("PyTorch", "torch"),
}


def missing(extra: str, purpose: str) -> ModuleNotFoundError:
    """Return the error of a missing extra; `purpose` begins its message, for example "plots need"."""
    name, requirement = EXTRAS[extra]
    return ModuleNotFoundError(
        f"{purpose} {name}. Install it with: pip install {requirement} (extra {extra}: pip install '{NAME}[{extra}]')"
    )


def conflict() -> str:
    """Return a sentence about the other distribution if it is installed too, otherwise an empty string."""
    from importlib import metadata  # here, because its import takes some milliseconds

    try:
        version = metadata.version(OTHER)
    except metadata.PackageNotFoundError:
        return ""
    return f"the distribution {OTHER} {version} is installed too; both have a package named fastprop. {REMEDY}"


def check_package() -> None:
    """Check that the package which this module is imported under is ours.

    Raises
    ------
    ImportError
        If its ``__init__.py`` is that of another distribution.
    """
    package = sys.modules[__package__ or ""]
    if getattr(package, "__distribution__", None) != NAME:
        raise ImportError(
            f"the package fastprop at {getattr(package, '__file__', None)} is not that of {NAME}, to which this module "
            f"belongs: another distribution was installed over it. {REMEDY}"
        )


check_package()
