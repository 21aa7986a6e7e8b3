"""The operations on vectors and on raw memory that all kernels stand on, one by one."""

import sys

import numba
import numpy as np
import pytest
from panels import GUARD, LANES

from fastprop.kernels import simd, tiles
from fastprop.kernels.simd import (
    absolute,
    at,
    doubles,
    exponent,
    fetch_add,
    fma,
    get,
    integers,
    load,
    load_first,
    mantissa,
    nearest,
    power_of_two,
    put,
    reals,
    splat,
    sqrt,
    store,
    store_first,
    total,
    where,
)
from fastprop.kernels.tiles import next_rows


def normal(*shape, seed=0):
    return np.random.default_rng([seed, *shape]).standard_normal(shape).astype(np.float32)


def unary(function):
    """A function of one vector, on 16 floats."""

    @numba.njit
    def apply(out, x):
        store(out, 0, function(load(x, 0)))

    def run(x):
        out = np.full(LANES, np.nan, np.float32)
        apply(out, np.asarray(x, np.float32))
        return out

    return run


def test_arithmetic_is_numpys():
    """+ − · / of vectors and of vectors with numbers, bit for bit; a float64 number is rounded to float32 first."""

    @numba.njit
    def all_of_them(out, a, b):
        x, y = load(a, 0), load(b, 0)
        for i, v in enumerate((x + y, x - y, x * y, x / y, x + 0.1, 0.1 - x, x * 0.1, 1 / x)):
            store(out, LANES * i, v)

    a, b, tenth = normal(LANES), normal(LANES, seed=1), np.float32(0.1)
    out = np.empty((8, LANES), np.float32)
    all_of_them(out.reshape(-1), a, b)
    expected = [a + b, a - b, a * b, a / b, a + tenth, tenth - a, a * tenth, 1 / a]
    np.testing.assert_array_equal(out, np.array(expected, np.float32))


def test_fma_multiplies_and_adds():
    """To one rounding or two, whichever the processor has."""

    @numba.njit
    def run(out, a, b, c):
        store(out, 0, fma(load(a, 0), load(b, 0), load(c, 0)))

    a, b, c = (normal(LANES, seed=s) for s in range(3))
    out = np.empty(LANES, np.float32)
    run(out, a, b, c)
    exact = a.astype(np.float64) * b + c
    assert (np.abs(out - exact) <= np.spacing(np.abs(a * b) + np.abs(c))).all()


def test_where_with_every_comparison_and_nan():
    """A comparison with NaN does not hold, so that the second is taken."""

    @numba.njit
    def run(out, a, b):
        x, y = load(a, 0), load(b, 0)
        for i, condition in enumerate((x < y, x > y, x <= y, x >= y)):
            store(out, LANES * i, where(condition, 1.0, 0.0))
        store(out, 4 * LANES, where(x < y, x, y))

    a, b = normal(LANES), normal(LANES, seed=1)
    a[:3], b[1:4] = (np.nan, np.nan, 0.5), (np.nan, 0.5, np.nan)
    b[4:8] = a[4:8]
    out = np.empty((5, LANES), np.float32)
    run(out.reshape(-1), a, b)
    np.testing.assert_array_equal(out, np.array([a < b, a > b, a <= b, a >= b, np.where(a < b, a, b)], np.float32))


def test_splat_is_sixteen_times_the_number():
    @numba.njit
    def run(out, x):
        store(out, 0, splat(out, x))

    out = np.zeros(LANES, np.float32)
    run(out, 0.1)
    np.testing.assert_array_equal(out, np.full(LANES, np.float32(0.1)))


def test_sqrt_absolute_nearest():
    x = np.array([0, -0.0, 0.25, 2, 1e-40, 3e38, np.inf, np.nan, 0.5, 1.5, 2.5, -2.5, 1e10, 8388609, 7, -7], np.float32)
    with np.errstate(invalid="ignore"):
        np.testing.assert_array_equal(unary(sqrt)(x), np.sqrt(x))
    np.testing.assert_array_equal(unary(absolute)(x), np.abs(x))
    np.testing.assert_array_equal(unary(nearest)(x), np.rint(x))
    assert np.isnan(unary(absolute)(np.full(LANES, np.nan))).all()


def test_power_of_two_is_exact_over_its_range():
    run = unary(power_of_two)
    for low in range(-126, 127 + 1, LANES):
        n = np.minimum(np.arange(low, low + LANES), 127)
        np.testing.assert_array_equal(run(n), np.ldexp(np.float32(1), n))


def test_exponent_and_mantissa_take_a_number_apart():
    """a = m·2ᵉ with m in [√½, √2), exactly, from the smallest normal float32 to the largest."""
    tiny, largest = np.finfo(np.float32).tiny, np.finfo(np.float32).max
    root = np.float32(0.5) ** np.float32(0.5)
    special = np.array([tiny, largest, 1, 2, 0.5, root, np.nextafter(root, np.float32(0)), 2 * root], np.float32)
    x = np.concatenate([special, np.exp2(np.linspace(-126, 127, 1000 * LANES - 8)).astype(np.float32)])
    exponents, mantissas = unary(exponent), unary(mantissa)
    for part in x.reshape(-1, LANES):
        e, m = exponents(part), mantissas(part)
        np.testing.assert_array_equal(np.ldexp(m.astype(np.float64), e.astype(int)), part.astype(np.float64))
        assert ((m >= root) & (m < 2 * root)).all()


def test_total_adds_all_lanes():
    @numba.njit
    def run(x):
        return total(load(x, 0))

    x = 2.0 ** np.arange(LANES, dtype=np.float32)  # every lane is a bit of the sum: none can be missing or twice
    assert run(x) == 2**LANES - 1
    y = normal(LANES)
    assert abs(run(y) - y.astype(np.float64).sum()) <= 4 * np.spacing(np.abs(y).sum())
    assert run.nopython_signatures[0].return_type == numba.float32


@pytest.mark.parametrize("count", range(LANES + 1))
def test_load_first_and_store_first_keep_to_their_count(count):
    @numba.njit
    def run(whole, some, a, i, count):
        v = load_first(a, i, count)
        store(whole, 0, v)
        store_first(some, i, v + 1.0, count)

    a = normal(40)
    whole, some = np.full(LANES, GUARD, np.float32), np.full(40, GUARD, np.float32)
    run(whole, some, a, 7, count)
    np.testing.assert_array_equal(whole, np.where(np.arange(LANES) < count, a[7 : 7 + LANES], 0))
    np.testing.assert_array_equal(some[7 : 7 + count], a[7 : 7 + count] + np.float32(1))
    assert (np.delete(some, np.arange(7, 7 + count)) == GUARD).all()


AT_THE_EDGE = """
import ctypes, mmap
import numba, numpy as np
from fastprop.kernels.simd import load_first, reals, store_first

@numba.njit
def copy_first(like, out, a, count):
    store_first(reals(like, out), 0, load_first(reals(like, a), 0, count), count)

page = mmap.PAGESIZE
memory = mmap.mmap(-1, 2 * page)
start = ctypes.addressof(ctypes.c_char.from_buffer(memory))
assert ctypes.CDLL(None).mprotect(ctypes.c_void_p(start + page), page, 0) == 0  # no access to the second page
for dtype in (np.float32, np.float64):
    for count in range(17):
        edge = start + page - np.dtype(dtype).itemsize * count
        values = np.arange(1, 17, dtype=dtype)
        copy_first(dtype(0), edge, values.ctypes.data, count)
        out = np.zeros(16, dtype)
        copy_first(dtype(0), out.ctypes.data, edge, count)
        assert (out[:count] == values[:count]).all() and not out[count:].any()
print("untouched")
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="mprotect is of POSIX")
def test_load_first_and_store_first_do_not_touch_the_next_page(run_python):
    """Values that end at the end of a page, the next one forbidden: one byte too many ends the process."""
    assert run_python(AT_THE_EDGE) == "untouched\n"


CHECKED = """
import numba
import numpy as np
from fastprop.kernels.simd import get, load, load_first, put, splat, store, store_first

functions_of = {
    16: (numba.njit(lambda a, i: store(a, 0, load(a, i))), numba.njit(lambda a, i: store(a, i, splat(a, 1.0)))),
    3: (numba.njit(lambda a, i: store(a, 0, load_first(a, i, 3))),
        numba.njit(lambda a, i: store_first(a, i, splat(a, 1.0), 3))),
    1: (numba.njit(lambda a, i: get(a, i)), numba.njit(lambda a, i: put(a, i, np.float32(1)))),
}
for width, functions in functions_of.items():
    for function in functions:
        for i in (-1, 0, 20 - width, 21 - width):
            try:
                function(np.zeros(20, np.float32), i)
                print(end=".")
            except IndexError:
                print(end="!")
"""


def test_what_lies_beyond_an_array_is_refused_where_numba_checks_bounds(run_python):
    """Before its first element and beyond its last one, and not within; so the kernel tests may run with it."""
    assert run_python(CHECKED, NUMBA_BOUNDSCHECK="1") == 6 * "!..!"


def test_at_get_put():
    @numba.njit
    def run(a, x, n):
        put(at(a, 2), 1, np.float32(get(a, 5) + 1))
        put(x, 1, 0.5)
        put(n, 0, np.int64(7))
        return get(at(at(a, 4), -4), 7)

    a, x, n = np.arange(8, dtype=np.float32), np.zeros(2), np.zeros(2, np.int64)
    assert run(a, x, n) == 7
    assert a.tolist() == [0, 1, 2, 6, 4, 5, 6, 7]
    assert x.tolist() == [0, 0.5]
    assert n.tolist() == [7, 0]


def test_addresses_become_pointers():
    @numba.njit
    def run(f, d, i):
        return get(reals(np.float32(0), f), 1), get(doubles(d), 1), get(integers(i), 1)

    f, d, i = np.array([1, 2.5], np.float32), np.array([1, 1e300]), np.array([1, -(2**40)])
    assert run(f.ctypes.data, d.ctypes.data, i.ctypes.data) == (2.5, 1e300, -(2**40))


def test_fetch_add_loses_nothing_between_threads():
    """Two threads and a hundred thousand additions each; every value is seen exactly once."""

    @numba.njit(parallel=True)
    def run(counter, seen, each):
        for thread in numba.prange(2):
            for _ in range(each):
                put(seen, fetch_add(counter, 0, 1), np.int64(thread + 1))

    counter, seen = np.zeros(1, np.int64), np.zeros(200_000, np.int64)
    run(counter, seen, 100_000)
    assert counter[0] == 200_000
    assert (seen > 0).all()


@pytest.mark.parametrize(
    ("features", "machine", "rows"),
    [
        ({"avx512f": True, "avx": True}, "x86_64", 8),
        ({"avx512f": False, "avx": True}, "x86_64", 6),
        ({"sse2": True}, "x86_64", 3),
        ({}, "x86_64", 3),
        ({"neon": True}, "aarch64", 5),
        ({"neon": True}, "arm64", 5),
    ],
)
def test_the_tile_has_as_many_rows_as_the_registers_hold(features, machine, rows):
    assert simd.tile_rows(features, machine) == rows


def test_this_process_compiles_for_the_tile_of_its_own_features():
    assert simd.tile_rows(simd.cpu_features(), simd._machine()) == simd.TILE_ROWS


@pytest.mark.parametrize("n", [*range(1, 70), 100, 784, 4096])
@pytest.mark.parametrize("element", simd.ELEMENTS)
def test_all_rows_are_tiled_and_none_by_a_needlessly_small_tile(n, element):
    """As few tiles as there can be, all full but the last two, which differ by one at most."""
    split, most = [], simd.rows_of_tile(element)
    while sum(split) < n:
        split.append(int(next_rows(n - sum(split), most)))
    assert sum(split) == n
    assert max(split) <= most
    assert len(split) == -(-n // most), "more tiles than needed"
    assert all(rows == most for rows in split[:-2])
    assert max(split[-2:]) - min(split[-2:]) <= 1


@pytest.mark.parametrize("rows", range(1, simd.TILE_ROWS + 1))
def test_a_tile_keeps_no_more_sums_than_the_registers_hold(rows):
    """And always at least one set; a tile of one row keeps several, where there is room."""
    sets = tiles.sets_of(rows, simd.TILE_ROWS)
    assert sets in (1, 2, 4)
    assert sets == 1 or sets * rows <= simd.TILE_ROWS
    assert sets == 4 or 2 * sets * rows > simd.TILE_ROWS
