"""The kernels called from a user's own @njit code: no Python between the steps."""

import numba
import numpy as np
import pytest
from networks import Case, assert_close, cache_of, data, dense, network, reference_parameters
from panels import LANES, pack, pack_W, padded, panel_stride, transposed_blocks, unpack, unpack_W

from fastprop import kernels, reference
from fastprop.activations import ACTIVATIONS
from fastprop.kernels import Plan, elementwise


@numba.njit(nogil=True)
def train(
    W1, b1, W2, b2, A0, A0_T, A1, A1_T, A2, Y, dZ1, dZ2, dW1, db1, dW2, db2, routines, sizes, panels, m, lr, steps
):  # fmt: skip
    """Gradient descent on a network of two layers, sigmoid and identity, written by a user on the equations alone."""
    n_0, n_1, n_2 = sizes
    sigmoid, derivative = routines
    alpha, beta, floor = 1 / m, 0.0, -np.inf
    for _ in range(steps):
        kernels.forward(A1, W1, A0, b1, n_1, n_0, panels, floor)
        kernels.activate(A1, A1, sigmoid, n_1, panels)
        kernels.transpose(A1_T, A1, n_1, panels)
        kernels.forward(A2, W2, A1, b2, n_2, n_1, panels, floor)
        for i in range(len(dZ2)):
            dZ2[i] = A2[i] - Y[i]
        for p in range(panels):
            for i in range(n_2):
                for s in range(LANES):
                    if p * LANES + s >= m:
                        dZ2[(p * ((n_2 + 15) // 16 * 16) + i) * LANES + s] = 0
        kernels.dA(dZ1, W2, dZ2, A1, n_2, n_1, panels, 0)
        kernels.dZ(dZ1, dZ1, A1, A1, derivative, n_1, panels)
        kernels.dW(dW2, dZ2, A1, A1_T, n_2, n_1, panels, alpha, beta, 0, (n_1 + 15) // 16)
        kernels.db(db2, dZ2, n_2, panels, alpha, beta)
        kernels.dW(dW1, dZ1, A0, A0_T, n_1, n_0, panels, alpha, beta, 0, (n_0 + 15) // 16)
        kernels.db(db1, dZ1, n_1, panels, alpha, beta)
        for theta, gradient in ((W1, dW1), (b1, db1), (W2, dW2), (b2, db2)):
            for i in range(len(theta)):
                theta[i] -= lr * gradient[i]


@pytest.mark.slow
@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 2e-5), ("float64", 1e-13)])
def test_a_training_loop_of_ones_own_on_the_equations(dtype, tolerance):
    """40 steps of a user's compiled loop are 40 steps of the reference."""
    sizes, m, lr, steps = (7, 33, 3), 21, 0.3, 40
    rng = np.random.default_rng(0)
    X, Y = rng.standard_normal((m, sizes[0])), rng.standard_normal((m, sizes[2]))
    parameters = reference.initialise_parameters(sizes, rng=1)
    W1, b1, W2, b2 = (pack_W(theta) if name[0] == "W" else theta.ravel() for name, theta in parameters.items())
    W1, b1, W2, b2, A0, targets = (a.astype(dtype) for a in (W1, b1, W2, b2, pack(X), pack(Y)))
    panels = -(-m // LANES)
    A1, A2 = (np.zeros(panels * panel_stride(n), dtype) for n in sizes[1:])
    routines = elementwise.sigmoid_activation.address(dtype), elementwise.sigmoid_derivative.address(dtype)
    train(W1, b1, W2, b2, A0, transposed_blocks(A0, sizes[0]), A1, np.zeros_like(A1), A2, targets, np.zeros_like(A1),
          np.zeros_like(A2), np.zeros_like(W1), np.zeros_like(b1), np.zeros_like(W2), np.zeros_like(b2), routines,
          sizes, panels, m, lr, steps)  # fmt: skip
    for _ in range(steps):
        cache = reference.forward_propagation(X.T, parameters, "identity", "sigmoid")
        grads = reference.backpropagation(cache, Y.T, parameters, "sigmoid")
        parameters = reference.update_parameters(parameters, grads, lr)
    assert_close(unpack_W(W1, 33, 7), parameters["W1"], tolerance, what="W1")
    assert_close(unpack_W(W2, 3, 33), parameters["W2"], tolerance, what="W2")
    assert_close(b1, parameters["b1"].ravel(), tolerance, what="b1")
    assert_close(b2, parameters["b2"].ravel(), tolerance, what="b2")


@numba.njit(nogil=True)
def whole_passes(layers, parameters, gradients, work, Y, panels, m):
    """Forward, the output's dZ, backward, gradients: the whole passes, over a plan's records."""
    kernels.forward_pass(layers, len(layers), parameters, work, 0, panels, True, True)
    top = layers[len(layers) - 1]
    for i in range(len(Y)):
        work[top.dZ + i] = work[top.A + i] - Y[i]
    kernels.backward_pass(layers, len(layers), parameters, work, 0, panels)
    kernels.gradients_pass(layers, len(layers), gradients, work, panels, np.float32(1 / m), np.float32(0))


def test_the_whole_passes_from_ones_own_code():
    """forward_pass, backward_pass and gradients_pass give the network's own Ŷ and, to rounding, its gradients."""
    case = Case("own", (10, 33, 17, 3), ("relu", "tanh"), "identity", 48)  # whole panels: no sample is missing
    net, (X, Y) = network(case), data(case)
    plan = Plan(
        case.sizes, [ACTIVATIONS[name].kind(np.dtype(np.float32)) for name in (*net.hidden, net.output)], case.batch, 1
    )
    work, gradients = np.zeros(plan.length, np.float32), np.zeros_like(net.parameters)
    A0, panels = pack(X), case.batch // LANES
    bottom = plan.layers[0]
    work[bottom["A_prev"] :][: len(A0)] = A0
    work[bottom["A_prev_T"] :][: len(A0)] = transposed_blocks(A0, case.sizes[0])
    whole_passes(plan.layers, net.parameters, gradients, work, pack(Y), panels, case.batch)

    Y_hat = net.forward(X)
    top = work[plan.layers[-1]["A"] :][: panels * padded(3) * LANES]
    np.testing.assert_array_equal(unpack(top, case.batch, 3), Y_hat)
    net.backward(Y)
    np.testing.assert_array_equal(gradients, net.gradients)
    grads = reference.backpropagation(cache_of(net, X), dense(Y, 3).T, reference_parameters(net), net.hidden)
    for l in range(3):
        dW, _ = plan.layout.views(gradients, l)
        assert_close(dW, grads[f"dW{l + 1}"], what=f"dW{l + 1}")
