"""What the scripts of this folder print: figures, tables, the machine and the versions; and their command lines."""

import argparse
import os
import platform
import shlex
import sys
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import numba
import numpy as np
from cases import Case

from fastprop.core.cores import available
from fastprop.kernels.jit import cpu_name
from fastprop.texts import printable

README = Path(__file__).parents[1] / "README.md"

# ---- figures and tables ----------------------------------------------------------------------------------------------


def figure(x: float) -> str:
    """Format a number with three significant digits, or all digits before the point."""
    return "–" if x != x else f"{x:,.{max(0, 2 - int(np.floor(np.log10(abs(x) or 1))))}f}"


def times(ratio: float) -> str:
    return "–" if ratio != ratio else f"{ratio:.0f} ×" if ratio >= 10 else f"{figure(ratio)} ×"


def plural(threads: int) -> str:
    return f"{threads} thread{'s' * (threads > 1)}"


def label(case: Case) -> str:
    return f"{case.name} {'-'.join(map(str, case.sizes))} {case.output}, B={case.batch}"


def row(*cells: Any) -> str:
    return "| " + " | ".join(map(str, cells)) + " |"


def header(*cells: str) -> list[str]:
    return [row(*cells), "|" + "---|" * len(cells)]


def say(line: str) -> None:
    """Print a line or a text, in ASCII where the output cannot encode its symbols."""
    print(printable(line), flush=True)


def write_between(start: str, end: str, lines: list[str]) -> None:
    """Write lines between two marks of the README."""
    before, rest = README.read_text(encoding="utf-8").split(start)
    text = start.join([before, "\n" + "\n".join(lines) + "\n" + end + rest.split(end)[1]])
    README.write_text(text, encoding="utf-8")


# ---- where figures come from -----------------------------------------------------------------------------------------


def setting(script: str) -> dict[str, Any]:
    """Return the date, the machine, the versions and the command."""
    return {
        "date": str(date.today()),
        "machine": f"{cpu_name()}, {os.cpu_count()} cores, {platform.system()}",
        "versions": {"Numba": numba.__version__, "Python": platform.python_version()},
        "command": shlex.join(["python", f"benchmarks/{script}", *sys.argv[1:]]),
    }


def about(content: dict[str, Any]) -> str:
    """Return the date, the machine, the versions and the command in one line."""
    versions = {run["peer"].split()[0]: run["version"] for run in content["runs"] if "version" in run}
    listed = ", ".join(f"{name} {version}" for name, version in {**versions, **content["versions"]}.items())
    return f"{content['date']}, {content['machine']}; {listed}; `{content['command']}`."


# ---- command lines ---------------------------------------------------------------------------------------------------


def chosen(text: str, known: list[str], what: str) -> list[str]:
    """Return the names of a comma-separated list; end the program if one is unknown."""
    names = text.split(",")
    for name in names:
        if name not in known:
            raise SystemExit(f"there is no {what} {name!r}. Known: {', '.join(known)}.")
    return names


def default_threads() -> str:
    return "1,2" if available() > 1 else "1"


def threads_of(text: str) -> list[int]:
    """Return the numbers of a comma-separated list; end the program if one exceeds the cores of this machine."""
    return [int(n) for n in chosen(text, [str(n) for n in range(1, (os.cpu_count() or 1) + 1)], "number")]


def print_tables(description: str, tables: dict[str, Callable[[], list[str]]]) -> None:
    """Print the tables that the command line names, or all."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tables", nargs="*", metavar="TABLE", help=", ".join(tables))
    names = parser.parse_args().tables or list(tables)
    for name in names:
        if name not in tables:
            parser.error(f"there is no table {name!r}; there are {', '.join(tables)}")
    for name in names:
        say("\n".join([f"{tables[name].__doc__}\n", *tables[name](), ""]))
