"""The compiled half of fastprop, from vectors of 16 numbers (`simd`) to whole epochs (`steps`).

The forward pass, each of the four equations and the whole backward pass are plain `@njit(nogil=True)` functions of flat
arrays, all of float32 or all of float64. A user's compiled code can call them, for training loops that fastprop does
not have:

- one layer: `forward`, `activate`, `dZ`, `dW`, `db`, `dA`, `transpose`, documented in `fastprop.kernels.equations`;
- a whole network, over the layers of a `Plan`: `forward_pass`, `backward_pass`, `gradients_pass`, and `gather` for the
  rows of X, documented in `fastprop.kernels.passes`.

Activations are stored in panels of 16 samples; `panel_stride`, `row_stride` and `padded` give the layout. `load`
compiles the register tiles that all kernels use, or loads them from the cache; call it once before parallel code that
calls kernels. README.md in this folder describes the layout, the loops and the job record.
"""

from .equations import activate, dA, db, dW, dZ, forward, transpose
from .passes import backward_pass, forward_pass, gather, gradients_pass
from .plan import Plan, padded, panel_stride, row_stride
from .tiles import compile_tiles as load

__all__ = [
    "Plan",
    "activate",
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
    "padded",
    "panel_stride",
    "row_stride",
    "transpose",
]
