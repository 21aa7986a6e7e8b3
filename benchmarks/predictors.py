"""The predictors that predictions.py compares, each library in its best setting; it runs one per process.

    python benchmarks/predictors.py PREDICTOR THREADS

reads lines "SHAPE BATCH" and answers each with a line of JSON. The first line of a shape and batch makes the network;
the answer is the deviation of its outputs from the reference's. Each further line is a timed turn of calls. All compute
from a NumPy array to a NumPy array; relu is the hidden activation of all shapes.
"""

import importlib
import json
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
from cases import Case, named
from peers import data, layers, start

import fastprop
from fastprop import reference
from fastprop.reference import Arrays

Predict = Callable[[np.ndarray], np.ndarray]

SECONDS = 0.05  # about the time of a turn
LARGE = 5e10  # FLOPs; a call of more takes longer than a turn on any machine
CHECKED = 64  # rows, spread over the batch


def parameters_of(case: Case) -> Arrays:
    """Return the initial parameters of the training peers, with random biases, so that missing biases are found."""
    rng = np.random.default_rng(1)
    biases = {f"b{l}": rng.standard_normal((n, 1), dtype=np.float32) for l, n in enumerate(case.sizes[1:], start=1)}
    return start(case) | biases


def flops(case: Case, batch: int) -> int:
    """Return the FLOPs of a forward pass."""
    return 2 * batch * sum(a * b for a, b in zip(case.sizes, case.sizes[1:]))


def deviation(case: Case, parameters: Arrays, X: np.ndarray, Y_hat: np.ndarray) -> float:
    """Return the largest difference from the reference's outputs in float64 over the largest output, on some rows."""
    if (Y_hat.shape, Y_hat.dtype) != ((len(X), case.sizes[-1]), np.float32):
        return np.inf
    rows = np.unique(np.linspace(0, len(X) - 1, CHECKED).astype(int))
    wide = {name: value.astype(np.float64) for name, value in parameters.items()}
    cache = reference.forward_propagation(X[rows].T.astype(np.float64), wide, case.output, case.hidden)
    exact = cache[f"A{len(case.sizes) - 1}"].T
    return float(np.abs(Y_hat[rows] - exact).max() / np.abs(exact).max())


# ---- the predictors --------------------------------------------------------------------------------------------------


def fastprop_network(method: str, case: Case, parameters: Arrays, threads: int) -> Predict:
    """Return a method of Network."""
    fastprop.set_num_threads(threads)
    return getattr(fastprop.Network.from_dict(parameters, case.hidden, case.output), method)


def numpy_out(case: Case, parameters: Arrays, threads: int) -> Predict:
    """Return X @ W.T + b, row-major, with one buffer per layer, made once for a batch size."""
    theta, buffers = layers(parameters), [np.empty((0, n), np.float32) for n in case.sizes[1:]]

    def predict(X: np.ndarray) -> np.ndarray:
        if len(buffers[0]) != len(X):
            buffers[:] = [np.empty((len(X), n), np.float32) for n in case.sizes[1:]]
        A = X
        for (W, b), Z in zip(theta, buffers):
            np.matmul(A, W.T, out=Z)
            Z += b
            A = Z if Z is buffers[-1] else np.maximum(Z, 0, out=Z)
        if case.output == "sigmoid":
            np.exp(np.negative(A, out=A), out=A)
            A += 1
            np.reciprocal(A, out=A)
        elif case.output == "softmax":
            A -= A.max(axis=1, keepdims=True)
            np.exp(A, out=A)
            A /= A.sum(axis=1, keepdims=True)
        return A

    return predict


def scikit_learn(case: Case, parameters: Arrays, threads: int) -> Predict:
    """Return `predict` of MLPRegressor or `predict_proba` of MLPClassifier, whose one step sets what they need."""
    from sklearn.neural_network import MLPClassifier, MLPRegressor

    n = case.sizes[-1]
    base, classes = (MLPRegressor, {}) if case.output == "identity" else (MLPClassifier, {"classes": range(max(2, n))})
    model = base(hidden_layer_sizes=case.sizes[1:-1], activation=case.hidden)
    X = np.zeros((2, case.sizes[0]), np.float32)
    model.partial_fit(X, [0, 1] if classes else np.zeros((2, n), np.float32), **classes)
    model.coefs_, model.intercepts_ = [list(arrays) for arrays in zip(*((W.T, b) for W, b in layers(parameters)))]
    if case.output == "identity":
        return model.predict
    return lambda X: model.predict_proba(X)[:, -n:]  # one output: of two classes, the probability of the second


def pytorch(case: Case, parameters: Arrays, threads: int) -> Predict:
    """Return a Sequential in inference mode, with relus in place."""
    import torch
    from torch import nn

    torch.set_num_threads(threads)
    model = nn.Sequential()
    for W, b in layers(parameters):
        linear = nn.Linear(W.shape[1], W.shape[0])
        linear.weight.data, linear.bias.data = torch.from_numpy(W), torch.from_numpy(b)
        model.extend([linear, nn.ReLU(inplace=True)])
    output = {"identity": nn.Identity, "sigmoid": nn.Sigmoid, "softmax": partial(nn.Softmax, dim=1)}[case.output]
    model[-1] = output()
    model.eval()

    @torch.inference_mode()
    def predict(X: np.ndarray) -> np.ndarray:
        return model(torch.from_numpy(X)).numpy()

    return predict


def jax_jit(case: Case, parameters: Arrays, threads: int) -> Predict:
    """Return a jitted function that holds the parameters; passing it the NumPy array is faster than any conversion."""
    import jax
    from jax import numpy as jnp

    theta = [(jnp.array(W.T), jnp.array(b)) for W, b in layers(parameters)]
    output = {"identity": lambda Z: Z, "sigmoid": jax.nn.sigmoid, "softmax": jax.nn.softmax}[case.output]

    @jax.jit
    def network(X: Any) -> Any:
        for W, b in theta[:-1]:
            X = jax.nn.relu(X @ W + b)
        return output(X @ theta[-1][0] + theta[-1][1])

    return lambda X: np.asarray(network(X))  # waits for the result


def onnx_model(case: Case, parameters: Arrays) -> bytes:
    """Return a model of Gemm and Relu for every layer, with Sigmoid or Softmax at the end."""
    from onnx import TensorProto, helper, numpy_helper

    nodes, arrays, A = [], [], "X"
    for l, (W, b) in enumerate(layers(parameters), start=1):
        arrays += [numpy_helper.from_array(W, f"W{l}"), numpy_helper.from_array(b, f"b{l}")]
        nodes.append(helper.make_node("Gemm", [A, f"W{l}", f"b{l}"], [f"Z{l}"], transB=1))
        g = "Relu" if l < len(case.sizes) - 1 else case.output.capitalize()
        A = f"A{l}"
        nodes.append(helper.make_node(g, [f"Z{l}"], [A]))
    ends = (
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["m", n])]
        for name, n in (("X", case.sizes[0]), (A, case.sizes[-1]))
    )
    graph = helper.make_graph(nodes, case.name, *ends, arrays)
    opset = helper.make_opsetid("", 13)
    return helper.make_model_gen_version(graph, opset_imports=[opset]).SerializeToString()


def onnxruntime(case: Case, parameters: Arrays, threads: int) -> Predict:
    """Return an InferenceSession on the CPU with all graph optimizations, which are the default."""
    import onnxruntime

    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(onnx_model(case, parameters), settings, providers=["CPUExecutionProvider"])
    return lambda X: session.run(None, {"X": X})[0]


# Name → the modules that the predictor needs, the first with the version; and the function (case, parameters, threads).
PREDICTORS: dict[str, tuple[tuple[str, ...], Callable[[Case, Arrays, int], Predict]]] = {
    "fastprop predict": (("fastprop",), partial(fastprop_network, "predict")),
    "NumPy": (("numpy",), numpy_out),
    "scikit-learn": (("sklearn",), scikit_learn),
    "PyTorch": (("torch",), pytorch),
    "JAX": (("jax",), jax_jit),
    "onnxruntime": (("onnxruntime", "onnx"), onnxruntime),
    "fastprop forward": (("fastprop",), partial(fastprop_network, "forward")),
}


# ---- the work of one process -----------------------------------------------------------------------------------------


def seconds(predict: Predict, X: np.ndarray, calls: int) -> float:
    """Return the seconds of some calls."""
    started = time.perf_counter()
    for _ in range(calls):
        predict(X)
    return time.perf_counter() - started


def answers(name: str, case: Case, batch: int, threads: int) -> Iterator[dict[str, Any]]:
    """Yield first the deviation from the reference, then the seconds of a call in each turn."""
    modules, make = PREDICTORS[name]
    version = importlib.import_module(modules[0]).__version__
    X, parameters = data(case, batch)[0], parameters_of(case)
    predict = make(case, parameters, threads)
    found = {"deviation": deviation(case, parameters, X, predict(X)), "version": version}
    calls = 1
    while flops(case, batch) < LARGE and (taken := seconds(predict, X, calls)) < SECONDS / 2:
        calls = int(np.ceil(calls * min(10, SECONDS / taken)))
    yield found
    while True:
        yield {"seconds": seconds(predict, X, calls) / calls}


def serve(name: str, threads: int) -> None:
    """Answer the lines of the standard input; the memory of one case is freed before the next."""
    asked, turns = "", None
    for line in sys.stdin:
        try:
            if turns is None or line != asked:
                asked, turns = line, None
                shape, batch = line.split()
                turns = answers(name, named(shape), int(batch), threads)
            answer = next(turns)
        except Exception as error:
            answer, turns = {"failed": f"{type(error).__name__}: {error}".splitlines()[0]}, None
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    serve(sys.argv[1], int(sys.argv[2]))
