"""The compiled half of fastprop, from vectors of 16 numbers (`simd`) to whole epochs (`steps`).

**A network in one's own compiled loop.** A :class:`fastprop.Network` is an argument of an `@njit` function, also with
``cache=True``, ``nogil=True`` or ``parallel=True``, and in it these functions take it: `predict`, `loss`, `train_step`
and `backward`. They are documented in `fastprop.kernels.networks`.

>>> @numba.njit
... def settle(net, x, steps):
...     for _ in range(steps):
...         kernels.predict(net, x, x)
>>> net, x = Network((2, 16, 2), hidden="tanh", rng=0), np.ones(2, np.float32)
>>> settle(net, x, 1000)

**The derivation's functions.** The forward pass, each of the four equations and the whole backward pass are plain
`@njit(nogil=True)` functions of flat arrays, all of float32 or all of float64, for training loops that fastprop does
not have:

- one layer: `forward`, `activate`, `dZ`, `dW`, `db`, `dA`, `transpose`, documented in `fastprop.kernels.equations`;
- a whole network, over the layers of a `Plan`: `forward_pass`, `backward_pass`, `gradients_pass`, and `gather` for the
  rows of X, documented in `fastprop.kernels.passes`.

Activations are stored in panels of 16 samples; `panel_stride`, `row_stride` and `padded` give the layout. `load`
compiles the register tiles that all kernels use, or loads them from the cache; call it once before parallel code that
calls kernels. README.md in this folder describes the layout, the loops and the job record.

A layer of 3 units and 5 inputs, for 16 samples, which fill one panel:

>>> n, n_prev, rng = 3, 5, np.random.default_rng(0)
>>> A_prev = np.zeros(kernels.panel_stride(n_prev), np.float32)
>>> A_prev.reshape(-1, 16)[:n_prev] = rng.random((n_prev, 16))  # features down, samples along
>>> W = np.zeros(n * kernels.row_stride(n_prev), np.float32)
>>> W.reshape(n, -1)[:, :n_prev] = rng.random((n, n_prev))  # rows, padded with zeros
>>> b, Z = np.zeros(kernels.padded(n), np.float32), np.empty(kernels.panel_stride(n), np.float32)
>>> @numba.njit(nogil=True)
... def layer(Z, W, A_prev, b, n, n_prev):
...     kernels.forward(Z, W, A_prev, b, n, n_prev, 1, -np.inf)  # one panel; the floor 0 would give max(Z, 0)
>>> layer(Z, W, A_prev, b, n, n_prev)
>>> np.allclose(Z.reshape(-1, 16)[:n], W.reshape(n, -1)[:, :n_prev] @ A_prev.reshape(-1, 16)[:n_prev])
True
"""

from .equations import activate, dA, db, dW, dZ, forward, transpose
from .networks import backward, loss, predict, train_step
from .passes import backward_pass, forward_pass, gather, gradients_pass
from .plan import Plan, padded, panel_stride, row_stride
from .tiles import compile_tiles as load

__all__ = [
    "Plan",
    "activate",
    "backward",
    "backward_pass",
    "dA",
    "dW",
    "dZ",
    "db",
    "forward",
    "forward_pass",
    "gather",
    "gradients_pass",
    "load",
    "loss",
    "padded",
    "panel_stride",
    "predict",
    "row_stride",
    "train_step",
    "transpose",
]
