"""The kernels as they are on other processors: this one with its wider vectors left out."""

import platform
from pathlib import Path

import pytest
from numba.core.codegen import get_host_cpu_features

# What each leaves out, and the rows of its register tile. The second has no fused multiply-add either.
PROCESSORS = {
    "avx2": ("haswell", ("avx512", "avx10", "evex"), 6),
    "sse": ("nehalem", ("avx", "evex", "fma", "f16c", "xop", "vaes", "vpclmul"), 3),
}
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
@pytest.mark.parametrize("name", PROCESSORS)
def test_on_another_processor(run_python, name):
    """Every small case against the reference, with the tile that such a processor gets."""
    cpu, left_out, rows = PROCESSORS[name]
    features = ",".join(
        "-" + feature[1:] if any(text in feature for text in left_out) else feature
        for feature in get_host_cpu_features().split(",")
    )
    here = str(Path(__file__).parent)
    assert run_python(CHECKS, folder=here, NUMBA_CPU_NAME=cpu, NUMBA_CPU_FEATURES=features) == f"{rows}\n"
