"""The compiled half of fastprop, from 16 floats (`simd`) to a whole epoch (`passes`); and kernels for one's own loops.

The forward pass, each of the four equations and the whole backward pass are plain `@njit(nogil=True)` functions over
flat float32 arrays, and may be called from a user's own compiled code:

- one layer: `forward`, `activate`, `dZ`, `dW`, `db`, `dA`, `transpose`, documented in `fastprop.kernels.equations`;
- a whole network, over the layers of a `Plan`: `forward_pass`, `backward_pass`, `gradients_pass`, and `gather` for the
  rows of X, documented in `fastprop.kernels.passes`.

Activations stand in panels of 16 samples; `panel_stride`, `row_stride` and `padded` tell the layout. `load` compiles
the tiles under all of them, or takes them from the cache; call it once before parallel code of your own.
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
