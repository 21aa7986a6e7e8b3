"""Times of single kernels: the equations of one layer, the gather of a batch, each optimizer's update."""

import numpy as np
from numba import njit

from fastprop import SGD, Adam
from fastprop.kernels import dA, db, dW, dZ, forward, gather, load, padded, panel_stride, row_stride, transpose
from fastprop.kernels.elementwise import relu_derivative
from fastprop.kernels.plan import allocate
from fastprop.kernels.simd import LANES, at, call
from fastprop.optimizers import Optimizer

PANELS = 8  # a batch of 128


class Equation:
    """The forward step and each equation of a layer of `n` units on `n_prev`, over a batch of 128."""

    params = (["forward", "dZ", "dW", "db", "dA", "transpose"], [(32, 8), (256, 784)])
    param_names = ("kernel", "(n, n_prev)")
    repeat = (5, 20, 1.0)
    rounds = 1

    def setup(self, name: str, size: tuple[int, int]) -> None:
        load()
        n, n_prev = size
        rng = np.random.default_rng(0)

        def random(length: int) -> np.ndarray:
            a = allocate(length, np.float32)
            a[:] = rng.standard_normal(length)
            return a

        W, dW_out = (random(n * row_stride(n_prev)) for _ in range(2))
        b, db_out = (random(padded(n)) for _ in range(2))
        Z, A, dZ_out, dA_in = (random(PANELS * panel_stride(n)) for _ in range(4))
        A_prev, A_prev_T, dA_out = (random(PANELS * panel_stride(n_prev)) for _ in range(3))
        scale, none = np.float32(1 / 128), np.float32(0)
        self.call, *self.arguments = {
            "forward": (forward, Z, W, A_prev, b, n, n_prev, PANELS, none),
            "dZ": (dZ, dZ_out, dA_in, Z, A, relu_derivative.address("float32"), n, PANELS),
            "dW": (dW, dW_out, dZ_out, A_prev, A_prev_T, n, n_prev, PANELS, scale, none, 0, -(-n_prev // LANES)),
            "db": (db, db_out, dZ_out, n, PANELS, scale, none),
            "dA": (dA, dA_out, W, dZ_out, A_prev, n, n_prev, PANELS, 1),
            "transpose": (transpose, A_prev_T, A_prev, n_prev, PANELS),
        }[name]
        self.time_kernel(name, size)  # compiles

    def time_kernel(self, name: str, size: tuple[int, int]) -> None:
        self.call(*self.arguments)


@njit
def _gather_rows(A, A_T, X, order, n, rows):
    for start in range(0, rows, LANES):
        gather(A, A_T, X, order, start, LANES, n)


class Gather:
    """Gather 128 shuffled rows of 784 features into the panels of a batch, from float32 or from unscaled uint8."""

    params = (["float32", "uint8"],)
    param_names = ("dtype",)
    repeat = (5, 20, 1.0)
    rounds = 1

    def setup(self, dtype: str) -> None:
        load()
        self.n = n = 784
        self.X = np.random.default_rng(0).integers(0, 256, (1024, n)).astype(dtype)
        self.order = np.random.default_rng(1).permutation(1024).astype(np.uint32)
        self.A, self.A_T = (allocate(panel_stride(n), np.float32) for _ in range(2))
        self.time_gather(dtype)

    def time_gather(self, dtype: str) -> None:
        _gather_rows(self.A, self.A_T, self.X.reshape(-1), self.order.ctypes.data, self.n, 128)


@njit
def _update(update, parameters, gradients, state, stride, hyper, count):
    call(update, (at(parameters, 0), at(gradients, 0), at(state, 0), stride, at(hyper, 0), count))


OPTIMIZERS: dict[str, Optimizer] = {
    "SGD": SGD(lr=1e-3),
    "momentum": SGD(lr=1e-3, momentum=0.9),
    "Nesterov": SGD(lr=1e-3, momentum=0.9, nesterov=True),
    "Adam": Adam(),
}


class Update:
    """The optimizer's loop over all parameters of the digits and the mnist case."""

    params = (list(OPTIMIZERS), [16_384, 262_144])
    param_names = ("optimizer", "parameters")
    repeat = (5, 20, 1.0)
    rounds = 1

    def setup(self, name: str, count: int) -> None:
        self.update = OPTIMIZERS[name].update.address("float32")
        rng = np.random.default_rng(0)
        self.parameters, self.gradients = (rng.standard_normal(count).astype(np.float32) for _ in range(2))
        self.state = np.zeros(2 * count, np.float32)
        self.hyper = np.full(16, 1e-3, np.float32)
        self.time_update(name, count)

    def time_update(self, name: str, count: int) -> None:
        _update(self.update, self.parameters, self.gradients, self.state, count, self.hyper, count)
