"""Compilation: the one place for Numba's flags and for the cache.

There are three kinds of compiled function:

``kernel``
    Inlined into other compiled code or called by it. It is compiled with its caller and has no cache of its own. One
    that users call too is made by `public_kernel`, and its arguments have annotations.
``entry``
    Called from Python with a few scalars or arrays. Cached.
``routine``
    A C function with a fixed signature that other compiled code calls *by address*: the worker, an activation, a
    loss, an optimizer. It is compiled for an element, float32 or float64, when its address is first read, and cached.
    A new activation or optimizer therefore compiles nothing but itself.

Fast-math is off. The kernels state their fused multiply-adds and the order of their sums explicitly, so that its flags
would gain nothing, and without them infinities and NaN keep their meaning.
"""

import hashlib
import logging
import os
import pickle
import pkgutil
import stat
import sys
import tempfile
import time
import uuid
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import cache, cached_property, update_wrapper
from pathlib import Path
from types import CodeType
from typing import Any, ParamSpec, Protocol, TypeAlias, TypeVar

import llvmlite
import numba
import numba.extending
import numpy as np
from numba.core.caching import CompileResultCacheImpl, FunctionCache, _CacheLocator
from numba.core.ccallback import CFunc
from numba.core.compiler_lock import global_compiler_lock
from numba.core.serialize import dumps
from numba.core.sigutils import normalize_signature
from numba.misc.appdirs import AppDirs

from .interrupts import Held

DIGEST = hashlib.sha256().digest_size
DAY = 24 * 3600  # seconds
UNUSED = 30 * DAY  # seconds after which a file that no process has loaded is removed
FLAGS: dict[str, Any] = {"nogil": True, "error_model": "numpy"}

# An intrinsic is called without the first argument of its function; so a type checker takes it for anything.
intrinsic: Any = numba.extending.intrinsic

# The annotations of kernels that users call; Numba reads none of them.
Array: TypeAlias = np.ndarray
Real: TypeAlias = float | np.floating
Arguments = ParamSpec("Arguments")
Result_co = TypeVar("Result_co", covariant=True)


class PublicKernel(Protocol[Arguments, Result_co]):
    """A kernel as a user's type checker sees it: it is called in compiled code like the function that it is made of."""

    def __call__(self, *args: Arguments.args, **kwargs: Arguments.kwargs) -> Result_co:
        """Compute what the function does."""

    @property
    def py_func(self) -> Callable[Arguments, Result_co]:
        """The function in Python."""


def public_kernel(function: Callable[Arguments, Result_co]) -> PublicKernel[Arguments, Result_co]:
    """Compile `function`, whose arguments have annotations, as a kernel that users call too."""
    return kernel(function)


def kernel(function: Callable) -> Any:
    """Compile `function` as a part of the compiled code that calls it."""
    return _Kernel(function, FLAGS)


def inlined(function: Callable) -> Any:
    """Compile `function` into the body of its caller: for functions of vectors, which must stay in registers."""
    return _Kernel(function, {"forceinline": True, **FLAGS})


def entry(function: Callable | None = None, **flags: bool) -> Any:
    """Compile `function` for calls from Python, with a cache on disk; `flags` are added to FLAGS or replace them."""
    if function is None:
        return lambda f: entry(f, **flags)
    dispatcher = _dispatcher(function, {**FLAGS, **flags})
    dispatcher._cache = _Cache(function)
    return dispatcher


class _Kernel:
    """A function whose dispatcher Numba makes when compiled code first calls it, or Python.

    Code that is loaded from the cache needs none of the 170 dispatchers, which took 6 of 37 ms of the import (Zen 5).
    What only compiled code calls needs no wrappers for Python and for C: without them the first fit of 64-128-64-10
    compiles in 7.4 and 7.9 s of CPU time, with them in 10.5 (two runs and one).
    """

    def __init__(self, function: Callable, flags: dict[str, Any]):
        update_wrapper(self, function)
        self.py_func = function
        self._flags = flags

    @cached_property
    def _for_compiled_code(self) -> Any:
        return _dispatcher(self.py_func, {**self._flags, "no_cpython_wrapper": True, "no_cfunc_wrapper": True})

    @cached_property
    def _for_python(self) -> Any:
        return _dispatcher(self.py_func, self._flags)

    @property
    def _numba_type_(self) -> Any:
        return self._for_compiled_code._numba_type_

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        return self._for_python(*arguments, **named)


def _dispatcher(function: Callable, flags: dict[str, Any]) -> Any:
    """Return Numba's dispatcher of `function`, which holds back signals while it compiles or loads machine code."""
    with _jit_enabled():
        dispatcher = numba.njit(**flags)(function)
    compile_or_load = dispatcher.compile

    def compile(signature: Any) -> Any:
        with compiling():
            return compile_or_load(signature)

    dispatcher.compile = compile
    return dispatcher


class Routine:
    """A C function, called by address from compiled code.

    Parameters
    ----------
    function : callable
    signature : callable
        Returns the function's Numba signature for an element, float32 or float64.

    Notes
    -----
    LLVM's first level of optimisation is enough, since the routines state their vectors and unroll their loops
    explicitly: they run as fast as at Numba's level 3, and compile in less time.
    """

    def __init__(self, function: Callable, signature: Callable[[Any], Any]):
        self._function = function
        self._signature = signature
        self._compiled: dict[np.dtype, Any] = {}  # the code lives as long as these
        self.__doc__ = function.__doc__
        self.__name__: str = function.__name__

    def address(self, dtype: Any) -> int:
        """Return the address of the machine code for an element; the first call compiles it or loads it."""
        dtype = np.dtype(dtype)
        if dtype not in self._compiled:
            with compiling():
                self._compile(dtype)
        return self._compiled[dtype].address

    def _compile(self, dtype: np.dtype) -> None:
        if dtype not in self._compiled:  # checked again under the lock: another thread may have compiled it
            signature = normalize_signature(self._signature(numba.from_dtype(dtype)))
            compiled = _Compiled(self._function, signature, {}, dict(FLAGS))
            compiled._cache = _Cache(self._function)
            with _lightly_optimised():  # until the address is read, since the whole is optimised only then
                compiled.compile()
                _ = compiled.address
            self._compiled[dtype] = compiled


@contextmanager
def compiling() -> Iterator[None]:
    """Hold Numba's lock, and hold back signals, while machine code is compiled or loaded.

    An exception from a signal handler in the middle of it would leave Numba's registries and LLVM's modules half
    written: later calls then failed, or crashed. The handlers run at the end of the block.
    """
    global _unsaved
    with Held(), global_compiler_lock:
        with _quiet_loggers():
            _accept_environment()
            with _jit_enabled():
                yield
        error, _unsaved = _unsaved, None
    if error is not None:
        _warn_unsaved(error)


@contextmanager
def _jit_enabled() -> Iterator[None]:
    """Ignore NUMBA_DISABLE_JIT=1, which is meant for the user's functions: intrinsics have no Python form."""
    before = numba.config.DISABLE_JIT
    numba.config.DISABLE_JIT = 0
    try:
        yield
    finally:
        numba.config.DISABLE_JIT = before


@contextmanager
def _quiet_loggers() -> Iterator[None]:
    """Raise the level of Numba's loggers to INFO: at DEBUG they write 6 MB while the kernels are compiled."""
    names = [name for name in logging.root.manager.loggerDict if name.startswith("numba.")]
    loggers = [logging.getLogger(name) for name in ("numba", *names)]
    levels = [(logger, logger.level) for logger in loggers if logger.getEffectiveLevel() < logging.INFO]
    for logger, _ in levels:
        logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        for logger, level in levels:
            logger.setLevel(level)


def _accept_environment() -> None:
    """Make Numba ignore a number of threads that was put into the environment after its threads were started.

    Numba reads the environment whenever it compiles, and raises RuntimeError if NUMBA_NUM_THREADS has changed by then.
    """
    try:
        numba.config.reload_config()
    except RuntimeError:
        given = os.environ["NUMBA_NUM_THREADS"]
        os.environ["NUMBA_NUM_THREADS"] = str(numba.config.NUMBA_NUM_THREADS)
        try:
            numba.config.reload_config()
        finally:
            os.environ["NUMBA_NUM_THREADS"] = given
        numba.config._env_reloader.old_environ["NUMBA_NUM_THREADS"] = given


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
        _announce(self._cache.folder)
        return super()._compile_uncached()


_announced = False
_unsaved: OSError | None = None  # why compiled code could not be written, until the user is told
_warned = False


def _announce(folder: str | None) -> None:
    """Print one line on a terminal or in a notebook: the first call compiles for ten seconds."""
    global _announced
    if not _announced and is_watched():
        _announced = True
        kept = "once; later runs load them"
        if folder is None:
            kept = "in every run: no folder can be written; set NUMBA_CACHE_DIR to one that can"
        elif _is_temporary(folder):
            kept = f"kept in {folder}; NUMBA_CACHE_DIR names a folder that lasts"
        with suppress(OSError, ValueError, AttributeError):  # a stream that cannot be written to
            print(f"fastprop: compiling its kernels for this processor ({kept}) ...", file=sys.stderr, flush=True)


def _warn_unsaved(error: OSError) -> None:
    """Warn once that compiled code cannot be kept."""
    global _warned
    if not _warned:
        _warned = True
        warnings.warn(
            f"compiled kernels cannot be kept, so every process compiles them again, for some ten seconds ({error}). "
            "Set the environment variable NUMBA_CACHE_DIR to a folder that can be written.",
            RuntimeWarning,
            stacklevel=4,
        )


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


def routine(signature: Callable[[Any], Any]) -> Callable[[Callable], Routine]:
    """Return a decorator that makes a function a :class:`Routine`; the signature is a function of the element."""
    return lambda function: Routine(function, signature)


@cache
def source_stamp() -> str:
    """Return a digest of every source that goes into the machine code.

    Numba's stamp covers only the file of the cached function: after an edit of a kernel that the function inlines, the
    cached code would be stale. The sources are read by their loaders, as they are imported, from a folder, a zip file
    or a frozen application.
    """
    digest = hashlib.sha256()
    for name, content in _sources():
        digest.update(name.encode() + b"\0" + content)
    return digest.hexdigest()


def _sources() -> Iterator[tuple[str, bytes]]:
    """Yield name and content of each module of this folder, or if they cannot be read, those of the executable."""
    found = False
    folder = os.path.dirname(__file__)
    finder: Any = pkgutil.get_importer(folder)
    names = sorted(info.name for info in pkgutil.iter_modules([folder]))
    for name in ["__init__", *names] if names else []:
        spec = finder.find_spec(name)
        if spec is not None and spec.loader is not None:
            found = True
            try:
                yield name, spec.loader.get_data(spec.origin)
            except (OSError, AttributeError):  # a frozen application has the code alone
                yield name, code_digest(spec.loader.get_code(spec.name))
    if not found:
        about = os.stat(sys.executable)
        yield sys.executable, repr((about.st_size, about.st_mtime_ns)).encode()


def code_digest(code: CodeType) -> bytes:
    """Return a digest of a code object, with its constants and those of the functions in it."""
    digest = hashlib.sha256(repr((code.co_code, code.co_names, code.co_varnames, code.co_freevars)).encode())
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            digest.update(code_digest(constant))
        else:
            digest.update(repr(sorted(map(repr, constant)) if isinstance(constant, frozenset) else constant).encode())
    return digest.digest()


def _settings() -> tuple:
    """Return versions and settings that the machine code depends on."""
    config = numba.config
    return numba.__version__, llvmlite.__version__, config.BOUNDSCHECK, str(config.OPT), config.DEBUGINFO_DEFAULT


class _Files:
    """The compiled forms of one function: a file for each signature, processor and version, named by a digest of them.

    Numba numbers its files consecutively and keeps an index: two processes that start with an empty folder, on two
    kinds of processor, may give the same number to two files. A file here begins with a digest of its key and of the
    rest of the file, so that a damaged file, or one that was renamed, is compiled again. Files that no process has
    loaded for 30 days are removed, whatever version wrote them: two environments may share a folder.

    Parameters
    ----------
    folders : callable
        Returns the folders, which are searched in this order; the first that can be written is written to.
    base : str
        The beginning of the files' names.
    """

    def __init__(self, folders: Callable[[], Iterable[str]], base: str):
        self._folders = folders
        self._base = base

    def _name(self, key: Any) -> str:
        return f"{self._base}.{hashlib.sha256(repr(key).encode()).hexdigest()[:16]}.nbc"

    def _digest(self, key: Any, data: bytes) -> bytes:
        return hashlib.sha256(repr((self._base, key)).encode() + b"\0" + data).digest()

    def load(self, key: Any) -> Any:
        """Return what was saved under a key, or None."""
        for folder in self._folders():
            path = Path(folder, self._name(key))
            try:
                found = path.read_bytes()
            except OSError:
                continue
            digest = found[:DIGEST]
            data = found[DIGEST:]
            if self._digest(key, data) == digest:
                with suppress(OSError):  # a folder that can only be read
                    if time.time() - path.stat().st_mtime > DAY:
                        os.utime(path)
                return pickle.loads(data)
        return None

    def save(self, key: Any, value: Any) -> None:
        """Save a value under a key, in one atomic step, since other processes may save or load it at the same time.

        Raises
        ------
        OSError
            If none of the folders can be written.
        """
        data = dumps(value)
        error = OSError("no folder is known")
        for folder in self._folders():
            try:
                self._write(Path(folder, self._name(key)), self._digest(key, data) + data)
                _remove_old(folder)
                return
            except OSError as e:
                error = e
        raise error

    def _write(self, path: Path, content: bytes) -> None:
        _make(str(path.parent))
        part = path.with_suffix(f".{uuid.uuid4().hex}.part")
        try:
            part.write_bytes(content)
            os.replace(part, path)
        finally:
            with suppress(OSError):
                part.unlink(missing_ok=True)


@cache
def _remove_old(folder: str) -> None:
    """Remove compiled code that was not used for 30 days, and what a process that was killed has left unfinished."""
    for path in files_in(folder):
        with suppress(OSError):  # another process removes it too
            unused = time.time() - path.stat().st_mtime
            if unused > (DAY if path.suffix == ".part" else UNUSED):
                path.unlink()


def files_in(folder: str) -> list[Path]:
    """Return the files of compiled code in a folder."""
    return [path for path in Path(folder).glob("fastprop-*") if path.suffix in (".nbc", ".part")]


def folders_of(function: Callable) -> Iterator[str]:
    """Yield the folders of a function's compiled code, in the order of Numba's rules.

    They are NUMBA_CACHE_DIR, `__pycache__` beside the source, the user's cache folder, and at last a temporary folder.
    """
    file = function.__code__.co_filename
    subpath = _CacheLocator.get_suitable_cache_subpath
    if getattr(numba.config, "CACHE_LOCATOR_CLASSES", ""):
        with suppress(RuntimeError):  # no locator available
            yield CompileResultCacheImpl(function).locator.get_cache_path()
    if getattr(sys, "frozen", False) and not os.path.isabs(file):
        file = os.path.join(os.path.dirname(os.path.abspath(sys.executable)), file)
    beside = os.path.isfile(file)
    if not beside and function.__globals__.get("__spec__") is None:
        return  # a function that was made by exec
    if numba.config.CACHE_DIR:
        yield os.path.join(numba.config.CACHE_DIR, subpath(file))
    if beside:
        yield os.path.join(os.path.dirname(file), "__pycache__")
    yield os.path.join(AppDirs(appname="numba", appauthor=False).user_cache_dir, subpath(file))
    temporary = _temporary_folder()
    if temporary:
        yield os.path.join(temporary, subpath(file))


@cache
def _temporary_folder() -> str:
    """Return a temporary folder that only this user can write, or "" if there is none.

    Compiled code that another user could have written must not be loaded.
    """
    user = os.getuid() if hasattr(os, "getuid") else None
    try:
        folder = os.path.join(tempfile.gettempdir(), "fastprop" if user is None else f"fastprop-{user}")
        about = os.lstat(folder)
    except FileNotFoundError as error:
        return "" if error.filename is None else folder  # without a file name: no temporary folder can be written
    except OSError:
        return ""
    private = user is None or (about.st_uid == user and not about.st_mode & 0o022)
    return folder if stat.S_ISDIR(about.st_mode) and private else ""


def _is_temporary(folder: str) -> bool:
    temporary = _temporary_folder()
    return bool(temporary) and folder.startswith(temporary)


def _make(folder: str) -> None:
    if _is_temporary(folder):
        with suppress(FileExistsError):
            os.mkdir(_temporary_folder(), mode=0o700)
    os.makedirs(folder, exist_ok=True)


@cache
def _first_writable(folders: tuple[str, ...]) -> str | None:
    """Return the first folder in which a file can be made."""
    for folder in folders:
        with suppress(OSError):
            _make(folder)
            tempfile.TemporaryFile(dir=folder).close()
            return folder
    return None


class _Implementation(CompileResultCacheImpl):
    """How Numba turns a compiled function into data, without its search for a folder that can be written."""

    def __init__(self, function: Callable):
        self._lineno = function.__code__.co_firstlineno
        self._locator: Any = self
        self._py_file = function.__code__.co_filename
        name = f"{Path(self._py_file).stem}.{function.__qualname__}".replace("<", "").replace(">", "")
        self._filename_base = f"fastprop-{name}.{sys.implementation.cache_tag}"


class _Cache(FunctionCache):
    """Numba's cache of a function, keyed on all kernel sources, in the files of :class:`_Files`.

    No folder is looked at before compiled code is loaded or saved.
    """

    def __init__(self, function: Callable):
        self._name = repr(function)
        self._py_func = function
        self._impl = _Implementation(function)
        self.enable()

    @property
    def _cache_file(self) -> _Files:
        return _Files(lambda: folders_of(self._py_func), self._impl.filename_base)

    @property
    def folder(self) -> str | None:
        """The folder that compiled code is written to, or None."""
        return _first_writable(tuple(folders_of(self._py_func)))

    @property
    def cache_path(self) -> str | None:
        return self.folder

    def _index_key(self, sig: Any, codegen: Any) -> tuple:
        code = code_digest(self._py_func.__code__).hex()
        return (*super()._index_key(sig, codegen), code, source_stamp(), _settings())

    def save_overload(self, sig: Any, data: Any) -> None:
        global _unsaved
        if self._enabled and self._impl.check_cachable(data):
            key = self._index_key(sig, data.codegen)
            try:
                self._cache_file.save(key, self._impl.reduce(data))
            except OSError as error:  # the disk is full, or no folder can be written: the next process compiles again
                _unsaved = error


source_stamp()  # now, before the sources can change


def cpu_name() -> str:
    """Return the name of the processor that Numba compiles for."""
    import llvmlite.binding as llvm

    return numba.config.CPU_NAME or llvm.get_host_cpu_name()


def writable_folder(function: Any) -> str | None:
    """Return the folder that an entry's compiled code is written to, or None."""
    return function._cache.folder


def cache_folder(function: Any) -> str:
    """Return the folder that an entry's compiled code is written to, in words if there is none."""
    return writable_folder(function) or "none: no folder can be written"
