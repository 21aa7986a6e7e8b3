"""The kernels' layout in plain NumPy: panels of 16 samples, padded rows of W, and arrays between guards."""

import numpy as np

LANES = 16
TILE_ROWS_OF = {"AVX2": 6, "AVX, no FMA": 6, "SSE": 3}  # the rows of the register tile on other processors
GUARD = np.float32(12345.0)


def padded(n):
    return -(-n // LANES) * LANES


def row_stride(n_prev):
    stride = padded(n_prev)
    return stride + LANES if stride % 128 == 0 else stride


def panel_stride(n):
    return padded(n) * LANES


def pack(A):
    """(m, n) → the flat panels [⌈m/16⌉][n, padded][16] of the same dtype, zero beyond n and m."""
    m, n = A.shape
    full = np.zeros((padded(m), padded(n)), A.dtype)
    full[:m, :n] = A
    return np.ascontiguousarray(full.reshape(-1, LANES, padded(n)).transpose(0, 2, 1)).reshape(-1)


def unpack(flat, m, n):
    """The inverse of `pack`."""
    rows = flat.reshape(-1, padded(n), LANES).transpose(0, 2, 1).reshape(-1, padded(n))
    return rows[:m, :n].astype(np.float64)


def outside(flat, m, n):
    """What stands in the places of the panels that belong to no feature or no sample."""
    block = flat.reshape(-1, padded(n), LANES).copy()
    rows = block.transpose(0, 2, 1).reshape(-1, padded(n))
    return np.concatenate([rows[m:].ravel(), rows[:m, n:].ravel()])


def transposed_blocks(flat, n):
    """Each 16 × 16 block of panels [panel][feature][sample] as [sample][feature]."""
    return np.ascontiguousarray(flat.reshape(-1, padded(n) // LANES, LANES, LANES).swapaxes(2, 3)).reshape(-1)


def pack_W(W):
    """(n, n_prev) → flat rows of `row_stride(n_prev)`, of the same dtype."""
    flat = np.zeros((len(W), row_stride(W.shape[1])), W.dtype)
    flat[:, : W.shape[1]] = W
    return flat.reshape(-1)


def unpack_W(flat, n, n_prev):
    return flat.reshape(n, row_stride(n_prev))[:, :n_prev].astype(np.float64)


class Guarded:
    """A flat array with guards before and behind it; `check` says whether they still stand."""

    def __init__(self, content):
        self._whole = np.full(len(content) + 8 * LANES, GUARD, content.dtype)
        self.array = self._whole[4 * LANES : -4 * LANES]
        self.array[:] = content

    def check(self):
        assert (self._whole[: 4 * LANES] == GUARD).all(), "written before the array"
        assert (self._whole[-4 * LANES :] == GUARD).all(), "written behind the array"
        return self.array


def bound(terms, magnitude, dtype=np.float32):
    """How far a sum of `terms` products may be from NumPy's in float64, `magnitude` being the sum of their sizes.

    The textbook bound (Higham 2002, section 3.1), for any order of the sum; two roundings more for α and β. In float64
    NumPy's sum may be as far from the exact one.
    """
    rounding = np.finfo(dtype).eps / (1 if dtype == np.float64 else 2)
    return (terms + 3) * rounding * magnitude * 1.01 + 1e-37


def assert_within(actual, exact, limit):
    assert actual.shape == exact.shape
    excess = np.abs(actual - exact) - limit
    assert (excess <= 0).all(), (
        f"off by {excess.max():.3g} more than rounding at {np.unravel_index(excess.argmax(), excess.shape)}"
    )
