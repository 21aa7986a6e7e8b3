"""The machine code of the tiles: their sums stay in registers while their loops run."""

import platform
import re

import pytest
from machines import environment_of
from panels import TILE_ROWS_OF as OTHERS

from fastprop.kernels import simd, tiles

ROWS = {"this": simd.TILE_ROWS, "AVX2": OTHERS["AVX2"]}  # of a full tile
COMPILE = """
from fastprop.kernels import jit, tiles
jit._Files.load = lambda files, key: None  # no cache: what is loaded from one is not dumped
for dtype in ("float32", "float64"):
    print(dtype)
    [tiles.tiles_of(*group).address(dtype) for group in tiles.groups(dtype=dtype)]
"""


def tiles_in(assembly):
    """The lines of each tile, by its form and its number of rows."""
    found, lines = {}, []
    for line in assembly.splitlines():
        if symbol := re.match(r"(?!\.?L)([^\s:]+):", line):
            lines = []
            if tile := re.fullmatch(r"_?fastprop_tile_([a-zA-Z_]+)_(\d+)", symbol[1]):
                found[tile[1], int(tile[2])] = lines
        lines.append(line.split("#")[0].strip())
    return found


def inner_loops(lines):
    """The lines from a label to the last jump back to it, wherever there is no such loop within."""
    labels = {label[1]: i for i, line in enumerate(lines) if (label := re.match(r"(\.?LBB\w+):", line))}
    loops = {}
    for i, line in enumerate(lines):
        jump = re.match(r"j\w+\s+(\.?LBB\w+)", line)
        if jump and labels[jump[1]] < i:
            loops[labels[jump[1]]] = i
    return [
        lines[first : last + 1]
        for first, last in loops.items()
        if not any(first <= a and b <= last and (first, last) != (a, b) for a, b in loops.items())
    ]


def fmas(loop):
    """How many fused multiply-adds of vectors a loop has."""
    return sum(re.match(r"vfn?m(add|sub)\d+p[sd]\s", line) is not None for line in loop)


def spills(lines, loop):
    """The instructions of a loop that write a vector to memory, or read one from the stack."""
    framed = any(re.match(r"movq\s+%rsp, %rbp", line) for line in lines)
    stack = r"\(%r[sb]p" if framed else r"\(%rsp"  # without a frame, rbp is a register like any other
    vectors = [line for line in loop if re.search(r"%[xyz]mm\d", line)]
    return [line for line in vectors if re.search(r"\)(\s*\{%k\d\})?$", line) or re.search(stack, line)]


def faults(form, rows, lines, width, lanes_of_dA, at_once):
    """What is wrong with a tile, where a register holds `width` numbers; products have `at_once` vectors of a row."""
    lanes = {"half": tiles.LANES // 2, "dA": lanes_of_dA}.get(form, tiles.LANES)
    sums = rows * max(1, lanes // width)
    loops = [loop for loop in inner_loops(lines) if fmas(loop)]
    counts = [fmas(loop) for loop in loops]
    found = [spilt for loop in loops for spilt in spills(lines, loop)]
    most = sums * (at_once if form in ("forward", "dA", "dW") else 1)
    if any(count % sums for count in counts) or all(count % (tiles.UNROLL * most) for count in counts):
        found.append(f"loops of {counts} multiply-adds into {sums} registers of sums")
    return found


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="reads the assembly of x86-64")
@pytest.mark.skipif(not simd.cpu_features().get("fma"), reason="this processor has no fused multiply-add")
@pytest.mark.parametrize("name", ROWS)
def test_the_sums_of_a_tile_stay_in_registers(run_python, tmp_path, name):
    """In the inner loops of every tile no vector is written to memory, none is read from the stack, and there is one
    fused multiply-add for each register of sums in each step, `UNROLL` steps in a turn: of 8 rows on AVX-512, where a
    row is two vectors, 64, of 6 rows on AVX2, where a row is two registers, 48. (LLVM may unroll a loop further, and
    does for few rows.)

    Whole numbers, such as the address of a row, may come from the stack. Of the forms that sum nothing, the transposes
    of AVX2 keep their vectors in registers too.
    """
    variables = {} if name == "this" else environment_of(name)
    wide = name == "this" and simd.WIDE
    width = 64 if wide else 32  # of a register, in bytes
    assembly = run_python(COMPILE, NUMBA_CACHE_DIR=str(tmp_path), NUMBA_DUMP_ASSEMBLY="1", **variables)
    single, double = assembly.removeprefix("float32\n").split("\nfloat64\n")
    most = ROWS[name]
    of_double, lanes_of_dA = (most, 16) if wide else (most // 2, 8)
    assert wrong_tiles(tiles_in(single), most, (most, 16), width // 4, 2 if wide else 1, blocks=not wide) == {}
    assert wrong_tiles(tiles_in(double), of_double, (most, lanes_of_dA), width // 8, 1, blocks=True) == {}


def wrong_tiles(found, most, dA, width, at_once, blocks):
    """The faults of the tiles of one element, of up to `most` rows; with `blocks`, of its transpose too.

    `dA` are the rows and the lanes of that form.
    """
    turned = found.pop(("transpose", tiles.LANES))
    assert not blocks or not any(re.search(r"\(%rsp.*%[xyz]mm|%[xyz]mm.*\(%rsp", line) for line in turned)
    every, of_dA = range(1, most + 1), range(1, dA[0] + 1)
    for rows in of_dA:
        found.pop(("pack", rows))
    powers = [rows for rows in range(1, at_once * most + 1) if rows & (rows - 1) == 0]
    wanted = {(form, rows) for form in ("forward", "dW", "half") for rows in every} | {("dA", rows) for rows in of_dA}
    assert found.keys() == wanted | {(form, rows) for form in ("dot", "row_sum") for rows in powers}
    wrong = {
        f"{form} {rows}": faults(form, rows, lines, width, dA[1], at_once) for (form, rows), lines in found.items()
    }
    return {tile: faults for tile, faults in wrong.items() if faults}
