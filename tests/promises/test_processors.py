"""The kernels as compiled for other processors: this one without its wider vectors."""

import platform

import numpy as np
import pytest
from machines import environment_of
from marks import slow_but
from numba.core.codegen import get_host_cpu_features
from panels import TILE_ROWS_OF, assert_within, bound

CHECKS = """
import sys
from networks import SMALL, check_backward, check_forward, data, network
from fastprop import Adam
from fastprop.kernels import simd

for dtype in sys.argv[1:]:
    for case in SMALL:
        net, (X, Y) = network(case, dtype=dtype), data(case, dtype=dtype)
        check_forward(net, X)
        check_backward(net, X, Y)
        net.fit(X, Y, epochs=2, batch_size=16, optimizer=Adam())
        check_forward(net, X)
print(simd.TILE_ROWS)
"""


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="features of x86 are left out")
@pytest.mark.parametrize("name", slow_but(["AVX2"], TILE_ROWS_OF))
def test_on_another_processor(run_python, name):
    """Every small case against the reference, with the register tile of such a processor."""
    if environment_of(name)["NUMBA_CPU_FEATURES"] == get_host_cpu_features():
        pytest.skip("this processor is of that kind, so that all tests run as on it")
    dtypes = ["float32"] if name == "AVX, no FMA" else ["float32", "float64"]  # without FMA is SSE too
    assert run_python(CHECKS, *dtypes, **environment_of(name)) == f"{TILE_ROWS_OF[name]}\n"


SUMS = """
import sys
import numpy as np
from fastprop import Network
rng = np.random.default_rng(0)
m, n, n_prev = 300, 33, 517
X, Y = (rng.standard_normal((m, k)).astype(np.float32) for k in (n_prev, n))
net = Network((n_prev, n), rng=0)
Z = net.forward(X)
net.backward(Y)
layer = net.layers[0]
np.savez(sys.argv[1], X=X, W=layer.W, Z=Z, dZ=layer.dZ, dW=layer.dW)
"""


@pytest.mark.slow
@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="features of x86 are left out")
def test_what_processors_differ_by(run_python, tmp_path):
    """Other tiles sum in another order, and round products where there is no fused multiply-add: two processors differ
    by less than twice what either may be from the exact sum, which is γ·Σ|terms|."""
    found = {}
    for name, variables in {"this": {}, "SSE": environment_of("SSE")}.items():
        run_python(SUMS, tmp_path / "sums.npz", **variables)
        found[name] = dict(np.load(tmp_path / "sums.npz"))
    here = found.pop("this")
    X, W, dZ = (here[name].astype(float) for name in ("X", "W", "dZ"))
    m, n_prev = X.shape
    limits = bound(n_prev, abs(X) @ abs(W.T)), bound(m, abs(dZ.T) @ abs(X) / m)
    assert_within(here["Z"], X @ W.T, limits[0])
    assert_within(here["dW"], dZ.T @ X / m, limits[1])
    for there in found.values():
        assert_within(there["Z"], here["Z"], 2 * limits[0])
        assert_within(there["dZ"], here["dZ"], 2 * limits[0])
        assert_within(there["dW"], dZ.T @ X / m, limits[1] + 2 * limits[0].max(axis=0)[:, None] * abs(X).mean(axis=0))
    assert any((there["Z"] != here["Z"]).any() for there in found.values()), "so they do not differ at all"
