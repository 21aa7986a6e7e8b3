"""Compilation: the one place for Numba's flags and for the cache.

There are three kinds of compiled function:

``kernel``
    Inlined into other compiled code or called by it. It is compiled with its caller and has no cache of its own.
``entry``
    Called from Python with a few scalars or arrays. Cached.
``routine``
    A C function with a fixed signature that other compiled code calls *by address*: the worker, an activation, a
    loss, an optimizer. It is compiled when its address is first read, and cached. A new activation or optimizer
    therefore compiles nothing but itself.

Fast-math is off. The kernels state their fused multiply-adds and the order of their sums explicitly, so that its flags
would gain nothing, and without them infinities and NaN keep their meaning.
"""

import glob
import hashlib
import os
import pickle
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

import numba
from numba.core.caching import FunctionCache, NullCache
from numba.core.ccallback import CFunc
from numba.core.compiler_lock import global_compiler_lock
from numba.core.serialize import dumps
from numba.core.sigutils import normalize_signature

DIGEST = hashlib.sha256().digest_size
FLAGS: dict[str, Any] = {"nogil": True, "error_model": "numpy"}


def kernel(function: Callable) -> Any:
    """Compile `function` as a part of the compiled code that calls it."""
    return numba.njit(**FLAGS)(function)


def inlined(function: Callable) -> Any:
    """Compile `function` into the body of its caller: for functions of vectors, which must stay in registers."""
    return numba.njit(forceinline=True, **FLAGS)(function)


def entry(function: Callable | None = None, **flags: bool) -> Any:
    """Compile `function` for calls from Python, with a cache on disk; `flags` are added to FLAGS or replace them."""
    if function is None:
        return lambda f: entry(f, **flags)
    dispatcher = numba.njit(**{**FLAGS, **flags})(function)
    dispatcher._cache = _cache_of(function)
    return dispatcher


class Routine:
    """A C function, called by address from compiled code.

    Attributes
    ----------
    address : int
        The address of the machine code. The first access compiles it or loads it from the cache.

    Notes
    -----
    LLVM's first level of optimisation is enough, since the routines state their vectors and unroll their loops
    explicitly: they run as fast as at Numba's level 3, and compile in less time.
    """

    def __init__(self, function: Callable, signature: Any):
        self._function = function
        self._signature = signature
        self._address: Any = None
        self.__doc__ = function.__doc__
        self.__name__ = function.__name__

    @property
    def address(self) -> int:
        if self._address is None:
            with global_compiler_lock:
                self._compile()
        return self._address

    def _compile(self) -> None:
        if self._address is None:  # checked again under the lock: another thread may have compiled it
            compiled = _Compiled(self._function, normalize_signature(self._signature), {}, dict(FLAGS))
            compiled._cache = _cache_of(self._function)
            with _lightly_optimised():  # until the address is read, since the whole is optimised only then
                compiled.compile()
                self._compiled, self._address = compiled, compiled.address  # the code lives as long as `compiled`


if hasattr(os, "register_at_fork"):
    # Only the forking thread continues in the child. Anything that another thread is compiling, loading or starting in
    # Numba during the fork would stay unfinished there, behind a lock that is never released. So a fork waits for it.
    os.register_at_fork(
        before=global_compiler_lock.acquire,
        after_in_parent=global_compiler_lock.release,
        after_in_child=global_compiler_lock.release,
    )


class _Compiled(CFunc):
    """Numba's C function, with a message to the user if it is not in the cache."""

    def _compile_uncached(self) -> Any:
        _announce()
        return super()._compile_uncached()


@cache
def _announce() -> None:
    """Print one line on a terminal or in a notebook: the first call compiles for ten seconds."""
    if is_watched():
        with suppress(OSError, ValueError, AttributeError):  # a stream that cannot be written to
            text = "fastprop: compiling its kernels for this processor (once; later runs load them) ..."
            print(text, file=sys.stderr, flush=True)


def is_watched() -> bool:
    """Return whether the error stream is read as it is written: on a terminal, or in a notebook (an IPython kernel)."""
    get_ipython = getattr(sys.modules.get("IPython"), "get_ipython", None)
    try:
        return hasattr(get_ipython and get_ipython(), "kernel") or bool(sys.stderr.isatty())
    except Exception:  # None, closed, or the writer of another library, which may raise anything
        return False


@contextmanager
def _lightly_optimised() -> Iterator[None]:
    """Use LLVM's first level of optimisation; the caller holds the lock, so that nothing else is compiled meanwhile."""
    before = numba.config.OPT
    numba.config.OPT = type(before)(min(before, 1))
    try:
        yield
    finally:
        numba.config.OPT = before


def routine(signature: Any) -> Callable[[Callable], Routine]:
    """Return a decorator that makes a function a :class:`Routine` of the given Numba signature."""
    return lambda function: Routine(function, signature)


@cache
def source_stamp() -> str:
    """Return a digest of every source that goes into the machine code.

    Numba's stamp covers only the file of the cached function: after an edit of a kernel that the function inlines, the
    cached code would be stale.
    """
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    digest.update(repr((numba.__version__, numba.core.config.BOUNDSCHECK)).encode())
    return digest.hexdigest()


class _Files:
    """The compiled forms of one function: a file for each signature and processor, named by a digest of them.

    Numba numbers its files consecutively and keeps an index: two processes that start with an empty folder, on two
    kinds of processor, may give the same number to two files. A file here begins with a digest of the rest of the file,
    so that a damaged file is compiled again. Files of other sources of fastprop, or of another Numba, are deleted.
    """

    def __init__(self, folder: str, base: str):
        self._folder, self._start = Path(folder), f"{base}.{source_stamp()[:16]}."
        self._base = base

    def _path(self, key: Any) -> Path:
        return self._folder / f"{self._start}{hashlib.sha256(repr(key).encode()).hexdigest()[:16]}.nbc"

    def load(self, key: Any) -> Any:
        """Return what was saved under a key, or None."""
        try:
            found = self._path(key).read_bytes()
        except OSError:
            return None
        digest = found[:DIGEST]
        data = found[DIGEST:]
        return pickle.loads(data) if hashlib.sha256(data).digest() == digest else None

    def save(self, key: Any, value: Any) -> None:
        """Save a value under a key, in one atomic step, since other processes may save or load it at the same time."""
        data = dumps(value)
        path = self._path(key)
        part = path.with_suffix(f".{uuid.uuid4().hex}")
        try:
            part.write_bytes(hashlib.sha256(data).digest() + data)
            os.replace(part, path)
        finally:
            part.unlink(missing_ok=True)
        for other in self._folder.glob(f"{glob.escape(self._base)}.*.nbc"):
            if not other.name.startswith(self._start):
                other.unlink(missing_ok=True)


class _Cache(FunctionCache):
    """Numba's cache of a function, keyed on all kernel sources, in the files of :class:`_Files`."""

    def __init__(self, function: Callable):
        super().__init__(function)
        self._cache_file = _Files(self._cache_path, self._impl.filename_base)

    def save_overload(self, sig: Any, data: Any) -> None:
        with suppress(OSError):  # the disk is full, or the folder is gone: the next process compiles it again
            super().save_overload(sig, data)


def _cache_of(function: Callable) -> Any:
    """Return the file cache of `function`, or one that saves nothing if no folder can be written."""
    if not os.path.exists(function.__code__.co_filename):
        return NullCache()
    try:
        return _Cache(function)
    except RuntimeError:  # "cannot cache function: no locator available"
        return NullCache()


def cpu_name() -> str:
    """Return the name of the processor that Numba compiles for."""
    import llvmlite.binding as llvm

    return numba.config.CPU_NAME or llvm.get_host_cpu_name()


def cache_folder(function: Any) -> str:
    """Return the folder of an entry's compiled code."""
    return function._cache.cache_path or "none: no folder can be written"
