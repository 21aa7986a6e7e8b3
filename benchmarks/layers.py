"""Times of the kernels by themselves: the equations of one layer, the gather of a batch, each optimiser's update."""

import numpy as np
from numba import njit

from fastprop import SGD, Adam, Network
from fastprop.kernels import dA, db, dW, dZ, forward, gather, load, padded, panel_stride, row_stride, transpose
from fastprop.kernels.elementwise import relu_derivative
from fastprop.kernels.plan import allocate
from fastprop.kernels.simd import LANES, at, call
from fastprop.optimizers import Optimizer

PANELS = 8  # a batch of 128


class Layer:
    """Each equation of a layer of `n` units on `n_prev`, over a batch of 128."""

    params = ([(32, 8), (64, 17), (128, 64), (256, 784), (1024, 1024)],)
    param_names = ("n, n_prev",)
    repeat = (5, 20, 1.0)
    rounds = 1

    def setup(self, size: tuple[int, int]) -> None:
        load()
        n, n_prev = self.n, self.n_prev = size
        rng = np.random.default_rng(0)

        def random(length: int) -> np.ndarray:
            a = allocate(length)
            a[:] = rng.standard_normal(length)
            return a

        self.W, self.dW_, self.b, self.db_ = (random(k) for k in (n * row_stride(n_prev),) * 2 + (padded(n),) * 2)
        self.Z, self.A, self.dZ_, self.dA_ = (random(PANELS * panel_stride(n)) for _ in range(4))
        self.A_prev, self.A_prev_T, self.dA_prev = (random(PANELS * panel_stride(n_prev)) for _ in range(3))
        self.derivative = relu_derivative.address
        for kernel in (self.time_forward, self.time_dZ, self.time_dW, self.time_db, self.time_dA, self.time_transpose):
            kernel(size)  # compiles

    def time_forward(self, size: tuple[int, int]) -> None:
        forward(self.Z, self.W, self.A_prev, self.b, self.n, self.n_prev, PANELS, np.float32(0))

    def time_dZ(self, size: tuple[int, int]) -> None:
        dZ(self.dZ_, self.dA_, self.Z, self.A, self.derivative, self.n, PANELS)

    def time_dW(self, size: tuple[int, int]) -> None:
        blocks = -(-self.n_prev // LANES)
        dW(self.dW_, self.dZ_, self.A_prev, self.A_prev_T, self.n, self.n_prev, PANELS, np.float32(1 / 128),
           np.float32(0), 0, blocks)  # fmt: skip

    def time_db(self, size: tuple[int, int]) -> None:
        db(self.db_, self.dZ_, self.n, PANELS, np.float32(1 / 128), np.float32(0))

    def time_dA(self, size: tuple[int, int]) -> None:
        dA(self.dA_prev, self.W, self.dZ_, self.A_prev, self.n, self.n_prev, PANELS, 1)

    def time_transpose(self, size: tuple[int, int]) -> None:
        transpose(self.A_prev_T, self.A_prev, self.n_prev, PANELS)


@njit
def _gather_rows(A, A_T, X, order, n, rows):
    for start in range(0, rows, LANES):
        gather(A, A_T, X, order, start, LANES, n, rows)


class Gather:
    """128 shuffled rows of 784 features into the panels of a batch; uint8 is converted at the door before."""

    params = ["float32", "uint8"]
    param_names = ("dtype",)
    rounds = 1

    def setup(self, dtype: str) -> None:
        load()
        self.n = n = 784
        self.X = np.random.default_rng(0).integers(0, 256, (1024, n)).astype(dtype)
        self.order = np.random.default_rng(1).permutation(1024).astype(np.uint32)
        self.A, self.A_T = allocate(panel_stride(n)), allocate(panel_stride(n))
        self.net = Network((n, 1), rng=0)
        self.time_gather(dtype)

    def time_gather(self, dtype: str) -> None:
        from fastprop import inputs

        X = inputs.features(self.X, self.n, "X")
        _gather_rows(self.A, self.A_T, X.reshape(-1), self.order.ctypes.data, self.n, 128)


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
    """The optimiser's loop over all parameters of the digits and the mnist case."""

    params = (list(OPTIMIZERS), [16_384, 262_144])
    param_names = ("optimizer", "parameters")
    repeat = (5, 20, 1.0)
    rounds = 1

    def setup(self, name: str, count: int) -> None:
        self.update = OPTIMIZERS[name].update.address
        rng = np.random.default_rng(0)
        self.parameters, self.gradients = (rng.standard_normal(count).astype(np.float32) for _ in range(2))
        self.state = np.zeros(2 * count, np.float32)
        self.hyper = np.full(16, 1e-3, np.float32)
        self.time_update(name, count)

    def time_update(self, name: str, count: int) -> None:
        _update(self.update, self.parameters, self.gradients, self.state, count, self.hyper, count)
