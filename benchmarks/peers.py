"""The peers that fastprop is compared with, each in its best setting; compare_peers.py runs one per process.

    python benchmarks/peers.py PEER CASE OPTIMIZER THREADS DTYPE

prints one line of JSON: samples/s of each repetition, seconds of the first call, and the cost after one epoch. All
peers train in one dtype, float32 or float64, on the same rows with the same batches, cost and optimizer, and keep the
mean cost of each epoch.
"""

import importlib
import json
import sys
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from cases import LR, SHAPES, Case, random_data, rows_of

import fastprop
from fastprop import reference
from fastprop.kernels.plan import flops_per_sample
from fastprop.reference import Arrays

sys.path.append(str(Path(__file__).parent.parent / "scripts"))
import numpy_training

SIMPLECHAINS = Case("simplechains", (4, 32, 16, 4), "tanh", "identity", 10_000)
HIGGS = Case("higgs", (28, 300, 300, 300, 300, 300, 1), "tanh", "sigmoid", 100)
CASES = {case.name: case for case in (*SHAPES, SIMPLECHAINS, HIGGS)}
SECONDS = 0.3  # about the time of one repetition
REPETITIONS = 5
CHECK_FLOPS = 1e11  # at most, of the epoch that is compared with the reference in float64


class Peer(NamedTuple):
    """A peer: `epoch(n, shuffle)` trains for n epochs and waits for the end; `parameters()` returns the parameters."""

    epoch: Callable[[int, bool], None]
    parameters: Callable[[], Arrays]


def start(case: Case, dtype: str = "float32") -> Arrays:
    """Return the initial parameters of every peer, the same numbers in both dtypes."""
    parameters = reference.initialise_parameters(case.sizes, 0)
    return {name: value.astype(np.float32).astype(dtype) for name, value in parameters.items()}


def data(case: Case, n: int, dtype: str = "float32") -> tuple[np.ndarray, np.ndarray]:
    """Return random rows X and dense targets Y, the same numbers in both dtypes; for SimpleChains' case, matrices and
    their exponentials."""
    X, Y = random_data(case, n) if case != SIMPLECHAINS else _exponentials(n)
    return X.astype(dtype, copy=False), Y.astype(dtype, copy=False)


def _exponentials(n: int) -> tuple[np.ndarray, np.ndarray]:
    X = np.random.default_rng(0).standard_normal((n, 4), dtype=np.float32)
    values, vectors = np.linalg.eig(X.reshape(n, 2, 2).astype(np.complex128))
    exponentials = (vectors * np.exp(values)[:, None]) @ np.linalg.inv(vectors)
    return X, exponentials.real.reshape(n, 4).astype(np.float32)


def check_rows(case: Case) -> int:
    """Return the number of rows for the check: eight batches, or as many as `CHECK_FLOPS` allows, at least two."""
    return case.batch * min(8, max(2, int(CHECK_FLOPS / flops_per_sample(case.sizes) / case.batch)))


def cost_of(case: Case, parameters: Arrays, X: np.ndarray, Y: np.ndarray) -> float:
    """Return the cost of some parameters, by the reference in float64."""
    wide = {name: value.astype(np.float64) for name, value in parameters.items()}
    cache = reference.forward_propagation(X.T.astype(np.float64), wide, case.output, case.hidden)
    return reference.compute_cost(cache, Y.T.astype(np.float64), case.output)


def layers(parameters: Arrays) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return (W, b) of each layer, b as a vector."""
    return [(parameters[f"W{l}"], parameters[f"b{l}"].ravel()) for l in range(1, len(parameters) // 2 + 1)]


def named(W: list[np.ndarray], b: list[np.ndarray]) -> Arrays:
    """Return the reference's dictionary from each layer's W, and its b as a vector."""
    pairs = enumerate(zip(W, b), start=1)
    return {name: value for l, (W_l, b_l) in pairs for name, value in ((f"W{l}", W_l), (f"b{l}", b_l[:, None]))}


def labels(Y: np.ndarray) -> np.ndarray:
    """Return the classes of one-hot rows."""
    return Y.argmax(axis=1)


# ---- the peers -------------------------------------------------------------------------------------------------------


def fastprop_fit(case: Case, optimizer: str, parameters: Arrays, X: np.ndarray, Y: np.ndarray, threads: int) -> Peer:
    """Train by Network.fit."""
    net = fastprop.Network.from_dict(parameters, case.hidden, case.output, dtype=X.dtype, rng=0)
    update = {"sgd": fastprop.SGD, "adam": fastprop.Adam}[optimizer](lr=LR)
    fastprop.set_num_threads(threads)

    def epoch(n: int, shuffle: bool) -> None:
        net.fit(X, Y, epochs=n, batch_size=case.batch, optimizer=update, shuffle=shuffle, progress=False)

    return Peer(epoch, net.to_dict)


def numpy_reference(case: Case, optimizer: str, parameters: Arrays, X: np.ndarray, Y: np.ndarray, threads: int) -> Peer:
    """Train by fastprop.reference, in the dtype of the parameters."""
    update = {"sgd": numpy_training.sgd, "adam": numpy_training.adam}[optimizer](LR)
    rng = np.random.default_rng(0)

    def epoch(n: int, shuffle: bool) -> None:
        nonlocal parameters
        parameters, _ = numpy_training.fit(
            parameters, X, Y, hidden=case.hidden, output=case.output, epochs=n, batch_size=case.batch, update=update,
            rng=rng if shuffle else None,
        )  # fmt: skip

    return Peer(epoch, lambda: parameters)


def scikit_learn(case: Case, optimizer: str, parameters: Arrays, X: np.ndarray, Y: np.ndarray, threads: int) -> Peer:
    """Train by MLPRegressor or MLPClassifier without penalty, momentum or early stopping; `fit` continues."""
    import sklearn
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.neural_network import MLPClassifier, MLPRegressor

    base = MLPRegressor if case.output == "identity" else MLPClassifier

    class FromStart(base):  # type: ignore[misc, valid-type]
        def _initialize(self, *arguments: Any) -> None:
            super()._initialize(*arguments)
            self.coefs_ = [np.ascontiguousarray(W.T) for W, _ in layers(parameters)]
            self.intercepts_ = [b.copy() for _, b in layers(parameters)]

    model = FromStart(
        hidden_layer_sizes=case.sizes[1:-1], activation=case.hidden, solver=optimizer, learning_rate_init=LR, alpha=0,
        batch_size=case.batch, momentum=0, nesterovs_momentum=False, tol=0, n_iter_no_change=np.inf, warm_start=True,
        random_state=np.random.RandomState(0),
    )  # fmt: skip
    y = {"identity": lambda: Y, "sigmoid": Y.ravel, "softmax": lambda: labels(Y)}[case.output]()

    def epoch(n: int, shuffle: bool) -> None:
        model.set_params(max_iter=n, shuffle=shuffle)
        unchecked = sklearn.config_context(assume_finite=True, skip_parameter_validation=True)
        with unchecked, warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(X, y)

    return Peer(epoch, lambda: named([W.T for W in model.coefs_], model.intercepts_))


def _torch_cost(case: Case) -> Callable[[list, Any, Any], Any]:
    """Return the cost of a batch as plain PyTorch functions: on xs an eager step takes 239 µs, with nn.Modules 256."""
    import torch
    from torch.nn import functional

    g = {"relu": torch.relu, "tanh": torch.tanh}[str(case.hidden)]

    def cost(theta: list, x: Any, y: Any) -> Any:
        for W, b in zip(theta[:-2:2], theta[1:-2:2]):
            x = g(functional.linear(x, W, b))
        Z = functional.linear(x, *theta[-2:])
        if case.output == "softmax":
            return functional.cross_entropy(Z, y)
        if case.output == "sigmoid":
            return functional.binary_cross_entropy_with_logits(Z, y, reduction="sum") / case.batch
        return functional.mse_loss(Z, y, reduction="sum") / (2 * case.batch)

    return cost


def _torch_eager(optimizer: str, theta: list, cost: Callable, batch_of: Callable) -> Callable:
    """Return a step by autograd and a fused optimizer.

    Gathering each batch is as fast as permuting all rows once an epoch.
    """
    import torch

    for tensor in theta:
        tensor.requires_grad_()
    update = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}[optimizer](theta, lr=LR, fused=True)

    def step(rows: Any) -> Any:
        update.zero_grad(set_to_none=True)
        J = cost(theta, *batch_of(rows))
        J.backward()
        update.step()
        return J.detach()

    return step


def _torch_compiled(optimizer: str, theta: list, cost: Callable, batch_of: Callable) -> Callable:
    """Return the whole step, gather to update, as one compiled graph in a C++ wrapper; the update is fused into loops.

    A step on xs takes 75 µs on one thread; 98 without cpp_wrapper; 420 if only the cost is compiled, beside the fused
    optimizer; 580 if the step calls backward(). With max_autotune it is as fast, or slower (wide, 2 threads).
    """
    import torch

    torch.compiler.reset()  # otherwise PyTorch refuses the ninth step that a process compiles
    m, v = ([torch.zeros_like(tensor) for tensor in theta] for _ in range(2))
    t = torch.zeros((), dtype=theta[0].dtype)

    def step(rows: Any) -> Any:
        gradients, J = torch.func.grad_and_value(cost)(theta, *batch_of(rows))
        if optimizer == "adam":
            t.add_(1)
        for p, g, m_, v_ in zip(theta, gradients, m, v):
            if optimizer == "sgd":
                p.sub_(g, alpha=LR)
            else:
                m_.mul_(0.9).add_(g, alpha=0.1)
                v_.mul_(0.999).addcmul_(g, g, value=0.001)
                p.sub_(LR * m_ / (1 - 0.9**t) / ((v_ / (1 - 0.999**t)).sqrt() + 1e-8))
        return J

    return torch.no_grad()(torch.compile(step, fullgraph=True, dynamic=False, options={"cpp_wrapper": True}))


def pytorch(step_of: Callable, case: Case, optimizer: str, parameters: Arrays, X: np.ndarray, Y: np.ndarray,
            threads: int) -> Peer:  # fmt: skip
    """Train by PyTorch with the eager or the compiled step, rows → cost."""
    import torch

    torch.set_num_threads(threads)
    theta = [torch.tensor(array) for layer in layers(parameters) for array in layer]
    X_all, Y_all = torch.from_numpy(X), torch.from_numpy(labels(Y) if case.output == "softmax" else Y)
    full_batch = len(X) == case.batch
    costs = []

    def batch_of(rows: Any) -> tuple[Any, Any]:
        return (X_all, Y_all) if full_batch else (X_all.index_select(0, rows), Y_all.index_select(0, rows))

    step = step_of(optimizer, theta, _torch_cost(case), batch_of)

    def epoch(n: int, shuffle: bool) -> None:
        for _ in range(n):
            order = torch.randperm(len(X)) if shuffle else torch.arange(len(X))
            costs.append(float(torch.stack([step(rows) for rows in order.split(case.batch)]).mean()))

    return Peer(epoch, lambda: named(*([p.detach().numpy() for p in theta[i::2]] for i in (0, 1))))


def _jax_step(case: Case, optimizer: str) -> Callable[[Any, Any, Any], tuple[Any, Any]]:
    """Return a step in JAX, not yet compiled: (state, x, y) → (state, cost); the state is ([(W, b), …], m, v, t)."""
    import jax
    from jax import numpy as jnp

    g = {"relu": jax.nn.relu, "tanh": jnp.tanh}[str(case.hidden)]

    def cost(theta: Any, x: Any, y: Any) -> Any:
        for W, b in theta[:-1]:
            x = g(x @ W + b)
        Z = x @ theta[-1][0] + theta[-1][1]
        if case.output == "softmax":
            losses = -y * jax.nn.log_softmax(Z)
        elif case.output == "sigmoid":
            losses = jnp.maximum(Z, 0) - Z * y + jnp.log1p(jnp.exp(-jnp.abs(Z)))
        else:
            losses = (Z - y) ** 2 / 2
        return losses.sum() / case.batch

    def step(state: Any, x: Any, y: Any) -> tuple[Any, Any]:
        theta, m, v, t = state
        J, gradients = jax.value_and_grad(cost)(theta, x, y)
        if optimizer == "sgd":
            return (jax.tree.map(lambda p, g: p - LR * g, theta, gradients), m, v, t), J
        t = t + 1
        m = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, m, gradients)
        v = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, v, gradients)
        change = jax.tree.map(lambda m, v: m / (1 - 0.9**t) / (jnp.sqrt(v / (1 - 0.999**t)) + 1e-8), m, v)
        return (jax.tree.map(lambda p, c: p - LR * c, theta, change), m, v, t), J

    return step


def _jax_by_steps(step: Callable) -> Callable:
    """Return an epoch of jitted steps, with the state and the sum of the costs donated.

    A step on xs takes 31 µs; 52 with a list of the costs.
    """
    import jax
    from jax import numpy as jnp

    def add(carried: Any, X: Any, Y: Any, order: Any, i: Any) -> Any:
        state, J = step(carried[0], X, Y, order[i])
        return state, carried[1] + J

    compiled = jax.jit(add, donate_argnums=0)

    def epoch(state: Any, X: Any, Y: Any, order: np.ndarray) -> tuple[Any, Any]:
        carried, rows = (state, jnp.zeros(())), jnp.asarray(order)
        for i in range(len(order)):
            carried = compiled(carried, X, Y, rows, i)
        return carried[0], carried[1] / len(order)

    return epoch


def _jax_by_scan(step: Callable) -> Callable:
    """Return a whole epoch as one jitted call, with the steps under lax.scan and the state donated."""
    import jax

    def epoch(state: Any, X: Any, Y: Any, order: Any) -> tuple[Any, Any]:
        state, costs = jax.lax.scan(lambda state, rows: step(state, X, Y, rows), state, order)
        return state, costs.mean()

    return jax.jit(epoch, donate_argnums=0)


def jax_peer(epoch_of: Callable, case: Case, optimizer: str, parameters: Arrays, X: np.ndarray, Y: np.ndarray,
             threads: int) -> Peer:  # fmt: skip
    """Train by JAX with an epoch, (state, X, Y, order) → (state, mean cost), in steps or under scan.

    NumPy draws the order: jax.random.permutation sorts, which takes 13 µs a batch on xs, beside 10 for everything else.
    None of seven XLA flags, unrolling of the scan or permuting all rows once an epoch made it more than 5 % faster.
    """
    import jax
    from jax import numpy as jnp

    jax.config.update("jax_enable_x64", X.dtype == np.float64)
    theta = [(jnp.array(W.T), jnp.array(b)) for W, b in layers(parameters)]
    moments = [[] if optimizer == "sgd" else jax.tree.map(jnp.zeros_like, theta) for _ in range(2)]
    state: Any = (theta, *moments, jnp.zeros(()))
    X_all, Y_all, step = jnp.array(X), jnp.array(Y), _jax_step(case, optimizer)
    rng, costs = np.random.default_rng(0), []

    def step_on_rows(state: Any, X: Any, Y: Any, rows: Any) -> tuple[Any, Any]:
        return step(state, X, Y) if len(X) == case.batch else step(state, X[rows], Y[rows])

    run = epoch_of(step_on_rows)

    def epoch(n: int, shuffle: bool) -> None:
        nonlocal state
        for _ in range(n):
            order = (rng.permutation(len(X)) if shuffle else np.arange(len(X))).astype(np.int32)
            state, J = run(state, X_all, Y_all, order.reshape(-1, case.batch))
            costs.append(J)
        jax.block_until_ready((state, costs[-1]))

    return Peer(epoch, lambda: named([np.asarray(W).T for W, _ in state[0]], [np.asarray(b) for _, b in state[0]]))


def tensorflow(case: Case, optimizer: str, parameters: Arrays, X: np.ndarray, Y: np.ndarray, threads: int) -> Peer:
    """Train by TensorFlow, the whole epoch as one function that XLA compiles, the state of its loop in tensors.

    NumPy draws the order. Permuting all rows once an epoch is as fast on one thread, and slower on two (xs).
    """
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(threads)
    g = {"relu": tf.nn.relu, "tanh": tf.tanh}[str(case.hidden)]
    theta = [tf.constant(array) for W, b in layers(parameters) for array in (W.T, b)]
    zeros = [] if optimizer == "sgd" else [tf.zeros_like(p) for p in theta]
    state: Any = (theta, zeros, list(zeros), tf.zeros((), X.dtype))
    X_all, Y_all, rng, costs = tf.constant(X), tf.constant(Y), np.random.default_rng(0), []

    def cost(theta: list, x: Any, y: Any) -> Any:
        for W, b in zip(theta[:-2:2], theta[1:-2:2]):
            x = g(x @ W + b)
        Z = x @ theta[-2] + theta[-1]
        if case.output == "softmax":
            losses = tf.nn.softmax_cross_entropy_with_logits(y, Z)
        elif case.output == "sigmoid":
            losses = tf.nn.sigmoid_cross_entropy_with_logits(y, Z)
        else:
            losses = (Z - y) ** 2 / 2
        return tf.reduce_sum(losses) / case.batch

    def step(i: Any, order: Any, state: Any, total: Any) -> tuple[Any, ...]:
        theta, m, v, t = state
        batch = (X_all, Y_all) if len(X) == case.batch else (tf.gather(X_all, order[i]), tf.gather(Y_all, order[i]))
        with tf.GradientTape() as tape:
            tape.watch(theta)
            J = cost(theta, *batch)
        changes = tape.gradient(J, theta)
        if optimizer == "adam":
            t += 1
            m = [0.9 * a + 0.1 * g for a, g in zip(m, changes)]
            v = [0.999 * a + 0.001 * g * g for a, g in zip(v, changes)]
            changes = [a / (1 - 0.9**t) / (tf.sqrt(b / (1 - 0.999**t)) + 1e-8) for a, b in zip(m, v)]
        theta = [p - LR * change for p, change in zip(theta, changes)]
        return i + 1, order, (theta, m, v, t), total + J

    @tf.function(jit_compile=True)
    def run(order: Any, state: Any) -> tuple[Any, Any]:
        start = (tf.constant(0), order, state, tf.zeros((), X.dtype))
        *_, state, total = tf.while_loop(lambda i, *_: i < len(order), step, start)
        return state, total / len(order)

    def epoch(n: int, shuffle: bool) -> None:
        nonlocal state
        for _ in range(n):
            order = (rng.permutation(len(X)) if shuffle else np.arange(len(X))).astype(np.int32)
            state, J = run(tf.constant(order.reshape(-1, case.batch)), state)
            costs.append(float(J))

    return Peer(epoch, lambda: named([W.numpy().T for W in state[0][::2]], [b.numpy() for b in state[0][1::2]]))


# Name → the module that the peer needs, and the function (case, optimizer, parameters, X, Y, threads) → Peer.
PEERS: dict[str, tuple[str, Callable[..., Peer]]] = {
    "fastprop": ("fastprop", fastprop_fit),
    "NumPy": ("numpy", numpy_reference),
    "scikit-learn": ("sklearn", scikit_learn),
    "PyTorch eager": ("torch", partial(pytorch, _torch_eager)),
    "PyTorch compiled": ("torch", partial(pytorch, _torch_compiled)),
    "JAX step": ("jax", partial(jax_peer, _jax_by_steps)),
    "JAX scan": ("jax", partial(jax_peer, _jax_by_scan)),
    "TensorFlow": ("tensorflow", tensorflow),
}


# ---- the work of one process -----------------------------------------------------------------------------------------


def cost_after_an_epoch(
    make: Callable[..., Peer], case: Case, optimizer: str, threads: int, dtype: str = "float32"
) -> float:
    """Return the cost on the rows of the check after one epoch on them, unshuffled."""
    X, Y = data(case, check_rows(case), dtype)
    peer = make(case, optimizer, start(case, dtype), X, Y, threads)
    peer.epoch(1, False)
    return cost_of(case, peer.parameters(), X, Y)


def seconds(peer: Peer, epochs: int, shuffle: bool) -> float:
    """Return the seconds of some epochs."""
    started = time.perf_counter()
    peer.epoch(epochs, shuffle)
    return time.perf_counter() - started


def speeds(peer: Peer, rows: int, shuffle: bool, between: Callable[[], None]) -> list[float]:
    """Return the samples/s of each repetition of about `SECONDS`; `between` is called before each."""
    peer.epoch(1, shuffle)
    epochs = 1
    while (taken := seconds(peer, epochs, shuffle)) < SECONDS / 2:
        epochs = int(np.ceil(epochs * min(10, SECONDS / taken)))
    found = []
    for _ in range(REPETITIONS):
        between()
        found.append(epochs * rows / seconds(peer, epochs, shuffle))
    return found


def measure(name: str, case: Case, optimizer: str, threads: int, dtype: str) -> dict[str, Any]:
    """All that one process finds out about a peer."""
    module, make = PEERS[name]
    version = importlib.import_module(module).__version__
    shuffle = case != SIMPLECHAINS  # the announcement's steps take all rows, unshuffled
    rows = case.batch if case == SIMPLECHAINS else rows_of(case, flops_per_sample(case.sizes), least=2)
    X, Y = data(case, rows, dtype)
    peaks: list[float] = []

    def measure_peak() -> None:
        from peak import gflops

        peaks.append(gflops(dtype=dtype) * 1e9)

    parameters = start(case, dtype)
    started = time.perf_counter()
    make(case, optimizer, parameters, X[: case.batch], Y[: case.batch], threads).epoch(1, shuffle)
    first_call = time.perf_counter() - started
    peer = make(case, optimizer, parameters, X, Y, threads)
    return {
        "samples_per_second": speeds(peer, len(X), shuffle, measure_peak if name == "fastprop" else lambda: None),
        "first_call_seconds": first_call,
        "cost": cost_after_an_epoch(make, case, optimizer, threads, dtype),
        "peak_flops": peaks,
        "version": version,
    }


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1], CASES[sys.argv[2]], sys.argv[3], int(sys.argv[4]), sys.argv[5])))
