"""The cores that this process may use: its affinity, the CPU quota of its container, OMP_NUM_THREADS and Numba."""

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from time import monotonic

import numba

LOOK_AGAIN = 1.0  # seconds for which the affinity counts as unchanged
READ_AGAIN = 30.0  # seconds for which the quota does, since it takes several files
CGROUPS = Path("/sys/fs/cgroup")
CGROUPS_OF_PROCESS = Path("/proc/self/cgroup")

_available: int | None = None
_part: float | None = None  # of the affinity, if other processes share it
_processes = 1  # that share the quota
_looked = 0.0
_quota: float | None = None
_read = -READ_AGAIN


def available() -> int:
    """Return the number of cores that this process may use, looked at again from time to time.

    It is the least of the affinity, the CPU quota rounded down, OMP_NUM_THREADS (unless NUMBA_NUM_THREADS is set) and
    Numba's number of threads, and at least 1. Affinity and quota are shared with the processes of :func:`divide`.

    A thread beyond the quota would be stopped for most of each period of 0.1 s, while the others wait for it: with a
    quota of one core, the slowest 1% of predictions of 8 ms took 58 ms on two threads, and 9 ms on one.
    """
    global _available, _looked, _quota, _read
    now = monotonic()
    if _available is None or now - _looked > LOOK_AGAIN:
        _looked = now
        if now - _read >= READ_AGAIN:
            _read = now
            _quota = quota(CGROUPS_OF_PROCESS, CGROUPS)
        _available = max(1, min(_bounds(_quota)))
    return _available


def forget() -> None:
    """Look again at the next call."""
    global _available, _read
    _available = None
    _read = -READ_AGAIN


def affinity() -> list[int]:
    """Return the numbers of the cores that the system lets this process run on."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else [*range(os.cpu_count() or 1)]


def divide(affinities: Sequence[Sequence[int]], own: int) -> None:
    """Use, from now on, only this process's share of the cores that it has in common with others of its machine.

    Parameters
    ----------
    affinities : sequence of sequence of int
        The :func:`affinity` of each process, this one among them.
    own : int
        The place of that of this process.
    """
    global _part, _processes
    users = Counter(core for each in affinities for core in each)
    _part, _processes = float(sum(Fraction(1, users[core]) for core in affinities[own])), len(affinities)
    forget()


def _bounds(share: float | None) -> Iterator[int]:
    yield len(affinity())
    yield numba.config.NUMBA_NUM_THREADS
    if _part is not None:
        yield int(_part)
    if share is not None:
        yield int(share / _processes)
    if "NUMBA_NUM_THREADS" not in os.environ:
        with suppress(ValueError):  # it is not set, or is no number
            yield int(os.environ.get("OMP_NUM_THREADS", "").split(",")[0])  # "4,2": of the outermost parallel region


def quota(of_process: Path, cgroups: Path) -> float | None:
    """Return the number of cores to which Linux's control groups (version 1 or 2) limit this process, or None.

    Parameters
    ----------
    of_process : Path
        The list of the process's groups, /proc/self/cgroup.
    cgroups : Path
        Where the groups are mounted, /sys/fs/cgroup.
    """
    try:
        lines = of_process.read_text().splitlines()
    except OSError:  # not Linux
        return None
    shares = []
    for line in lines:  # "0::/path" of version 2, "4:cpu,cpuacct:/path" of version 1
        _, controllers, path = line.split(":", 2)
        if not controllers or "cpu" in controllers.split(","):
            for mounted in [controllers, "cpu"] if controllers else ["", "unified"]:
                shares += [_share(cgroups / mounted / part) for part in _upwards(path)]
    return min((share for share in shares if share), default=None)


def _upwards(path: str) -> Iterator[str]:
    """Yield a group's path and those of its parents; a container may see its own group as the root."""
    parts = [part for part in path.split("/") if part and part != ".."]
    for length in range(len(parts), -1, -1):
        yield "/".join(parts[:length])


def _share(group: Path) -> float | None:
    """Return the quota of one group, in cores."""
    with suppress(OSError, ValueError):  # no such file, or "max"
        limit, period = (group / "cpu.max").read_text().split()
        return int(limit) / int(period)
    with suppress(OSError, ValueError):
        limit, period = ((group / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
        if int(limit) > 0:  # -1: no limit
            return int(limit) / int(period)
    return None
