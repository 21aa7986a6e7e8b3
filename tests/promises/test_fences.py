"""No kernel reads or writes beside a buffer: all buffers, the user's too, lie between pages that end the process."""

import pytest
from marks import slow_but

FENCED = """
import sys
from types import SimpleNamespace
import numpy as np
import fastprop
from fastprop import Network, dropin
from fastprop.kernels import estimate
from fences import Fences
from networks import AWKWARD, SHAPES, data
from optimizers import OPTIMIZERS

fences = Fences(behind=sys.argv[1] == "behind")
fences.stand_in("fastprop")
VARIANTS = [lambda variant=variant: variant.make(0.1) for variant in OPTIMIZERS.values()]
OPTIONS = ({}, {"l2": 0.01}, {"dropout": 0.3}, {"scale": 0.1})
counted = 0


def csr(X):
    # with an entry in the last row and column
    kept = np.random.default_rng(0).random(X.shape) < 0.3
    kept[-1, -1] = True
    arrays = {"indptr": np.append(0, np.cumsum(kept.sum(axis=1))), "indices": np.nonzero(kept)[1], "data": X[kept]}
    arrays["indices"] = arrays["indices"].astype(np.int32)
    return SimpleNamespace(format="csr", shape=X.shape, **{name: fences.copy(a) for name, a in arrays.items()})


def use(case, m, batch, make, options):
    global counted
    dtype = ("float32", "float64")[counted // 2 % 2]
    X, Y = map(fences.copy, data(case, m, dtype=dtype))
    n = case.sizes[-1]
    by_output = counted % 2 and n > 1 and case.output != "softmax"
    weights = np.linspace(0.5, 1, m * n, dtype=dtype).reshape(m, n)
    weights = fences.copy(weights if by_output else weights[:, 0])
    net, optimizer = Network(case.sizes, case.hidden, case.output, dtype=dtype, rng=0, **options), make()
    fence = min(m, batch)
    net.fit(X, Y, epochs=2, batch_size=batch, optimizer=optimizer, sample_weight=weights, rng=0)
    net.train_step(X[-fence:], Y[-fence:], optimizer)
    net.train_step(X[-1:], Y[-1:], optimizer)
    net.predict(fences.copy((X * 10).astype(np.uint8)))
    others = [net, Network(case.sizes, case.hidden, case.output, dtype=dtype, rng=1)]
    validation = (X, Y) if m % 2 else None
    fastprop.fit_many(others, X, Y, epochs=2, batch_size=batch, sample_weight=weights, validation=validation)
    fastprop.Ensemble(others).predict(X)
    S = csr(X)
    net.fit(S, Y, epochs=1, batch_size=batch, optimizer=optimizer, sample_weight=weights, rng=0)
    net.predict(S)
    net.loss(S, Y, weights)
    for rows in {1, m}:
        net.forward(X[-rows:])
        net.backward(Y[-rows:], weights[-rows:])
        net.predict(X[-rows:])
        net.loss(X[-rows:], Y[-rows:], weights[-rows:])
        shown = [net.dX, net.jacobian(X[-rows:])]
        net.backward(dA=fences.copy(net.predict(X[-rows:])))
        shown.append(net.dX)
        net.step(optimizer)
    shown += [getattr(layer, name) for layer in net.layers for name in ("Z", "A", "dZ")]
    assert all(np.isfinite(a).all() for a in (net.parameters, net.gradients, *shown))
    fences.check()
    fences.forget()
    counted += 1


def use_dropin(case, m):
    X = fences.copy(np.ascontiguousarray(data(case, m)[0].T))
    parameters = {name: fences.copy(a) for name, a in dropin.initialise_parameters(case.sizes, 0).items()}
    hidden = case.hidden
    Y = fences.copy(np.eye(case.sizes[-1], dtype=np.float32)[:, np.arange(m) % case.sizes[-1]])
    cache = {name: fences.copy(a) for name, a in
             dropin.forward_propagation(X, parameters, case.output, hidden).items()}
    assert np.isfinite(dropin.compute_cost(cache, Y, case.output))
    grads = {name: fences.copy(a) for name, a in dropin.backpropagation(cache, Y, parameters, hidden).items()}
    dropin.general_backpropagation(cache, Y, parameters, case.output, hidden)
    dropin.update_parameters(parameters, grads, 0.1)
    fences.check()
    fences.forget()


for threads in (1, 3):
    fastprop.set_num_threads(threads)
    if threads > 1:
        estimate.threads_for = lambda sizes, batch, available, size=4, train=True, frozen=(): available
    for i, case in enumerate((*AWKWARD, *SHAPES[:3])[: int(sys.argv[2])]):
        for j, (m, batch) in enumerate(((1, 1), (15, 16), (33, 16), (130, 100), (1300, 1300))):
            use(case, m, batch, VARIANTS[(i + j) % len(VARIANTS)], OPTIONS[(i + 2 * j) % len(OPTIONS)])
            if case.output != "softmax" or case.sizes[-1] > 1:
                use_dropin(case, m)
print(counted)
"""
READ = """
import numpy as np
from fences import Fences
from fastprop.kernels import scan

a = Fences(behind=True).copy(np.ones(40, np.float32))
print(scan.first_outside(np.float32(0), a.ctypes.data, 40, 0.0, 2.0), flush=True)
scan.first_outside(np.float32(0), a.ctypes.data, 41, 0.0, 2.0)
print("went on")
"""


@pytest.mark.parametrize(("side", "cases"), slow_but([("behind", 2)], [("behind", 2), ("before", 7), ("behind", 13)]))
def test_nothing_reads_or_writes_beyond_a_buffer(run_python, side, cases):
    """Awkward shapes, every optimizer and option, batches of one, ragged, and of several chunks, on one and on three
    threads; parameters, gradients, moments, workspace, dense and sparse rows, targets, weights of samples or of
    outputs, and the drop-in's dictionaries."""
    assert run_python(FENCED, side, cases) == f"{2 * 5 * cases}\n"


@pytest.mark.slow
def test_the_fence_is_there(run_python):
    """The test above would pass without fences: reading one float too many ends the process."""
    with pytest.raises(AssertionError, match=r"^ended with -(11|7):\n *-1\n"):
        run_python(READ)
