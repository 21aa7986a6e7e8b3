"""Arrays between fences: pages that end the process when they are read or written, and canaries beside the array."""

import ctypes
import importlib
import mmap

import numpy as np

PAGE = mmap.PAGESIZE
CANARY = 0xA5
PROT_NONE = 0
_mprotect = ctypes.CDLL(None, use_errno=True).mprotect
_mprotect.argtypes = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int


class Fences:
    """Allocates arrays that begin right behind one fence, or end right before the other.

    Parameters
    ----------
    behind : bool
        Whether an array ends at the fence behind it (but for its alignment), or begins at the one before it.
    alignment : int
        In bytes, of the arrays of :meth:`zeros`.
    """

    def __init__(self, behind, alignment=64):
        self.behind, self.alignment = behind, alignment
        self._made = []

    def zeros(self, length, dtype=np.float32):
        """Replace `fastprop.kernels.plan.allocate`."""
        return self._array(length, np.dtype(dtype), self.alignment)

    def stand_in(self, package):
        """Replace the allocators of a package's modules, so that all memory of the kernels is between fences."""
        for name in ("network", "core.model", "core.engine", "optimizers", "dropin", "training.files"):
            importlib.import_module(f"{package}.{name}").allocate = self.zeros
        for name in ("core.engine", "core.arrays", "training.fit", "training.samples", "dropin"):
            importlib.import_module(f"{package}.{name}").np = _NumPy(self)

    def copy(self, a):
        """Return a copy, as a user's array, at an address aligned to its dtype only."""
        out = self._array(a.size, a.dtype, a.dtype.itemsize).reshape(a.shape)
        out[...] = a
        return out

    def _array(self, length, dtype, alignment):
        nbytes = length * dtype.itemsize
        inside = -(-nbytes // PAGE) * PAGE
        memory = mmap.mmap(-1, inside + 2 * PAGE)
        whole = np.frombuffer(memory, np.uint8)
        for fence in (0, PAGE + inside):
            if _mprotect(whole.ctypes.data + fence, PAGE, PROT_NONE):
                raise OSError(ctypes.get_errno(), "mprotect")
        between = whole[PAGE : PAGE + inside]
        between[:] = CANARY
        start = (inside - nbytes) // alignment * alignment if self.behind else 0
        self._made.append((between, start, start + nbytes))
        out = between[start : start + nbytes].view(dtype)
        out[:] = 0
        return out

    def check(self):
        """Assert that nothing was written beside any array."""
        for between, start, end in self._made:
            assert (between[:start] == CANARY).all(), "written before an array"
            assert (between[end:] == CANARY).all(), "written behind an array"

    def forget(self):
        """Release all arrays that nothing else holds."""
        self._made.clear()


class _NumPy:
    """NumPy, but for the arrays that are made to be filled: outputs, orders, copies of a user's rows."""

    def __init__(self, fences):
        self._fences = fences

    def __getattr__(self, name):
        return getattr(np, name)

    def empty(self, shape, dtype=np.float64):
        dtype = np.dtype(dtype)
        return self._fences._array(int(np.prod(shape)), dtype, dtype.itemsize).reshape(shape)

    def empty_like(self, a):
        return self.empty(a.shape, a.dtype)

    def ascontiguousarray(self, a, dtype=None):
        out = np.ascontiguousarray(a, dtype)
        return self._fences.copy(out) if out.dtype.kind in "fiu" else out
