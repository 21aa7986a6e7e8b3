"""The kernels as they are on other processors: this one with its wider vectors left out."""

import platform
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
from machines import environment_of

ROWS = {"AVX2": 6, "AVX, no FMA": 6, "SSE": 3}  # of the register tile
CHECKS = """
from networks import SMALL, data, network
from fastprop import Adam
from fastprop.kernels import simd
from test_network import check_backward, check_forward

for case in SMALL:
    net, (X, Y) = network(case), data(case)
    check_forward(net, X)
    check_backward(net, X, Y)
    net.fit(X, Y, epochs=2, batch_size=16, optimizer=Adam())
    check_forward(net, X)
print(simd.TILE_ROWS)
"""


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="features of x86 are left out")
@pytest.mark.parametrize("name", ROWS)
def test_on_another_processor(run_python, name):
    """Every small case against the reference, with the tile that such a processor gets."""
    here = str(Path(__file__).parent)
    assert run_python(CHECKS, folder=here, **environment_of(name)) == f"{ROWS[name]}\n"
