"""Train a network, hand it to PyTorch, onnxruntime and plain NumPy, and show that all of them predict the same.

    python scripts/exchange.py
    python scripts/exchange.py --folder models

The network learns handwritten digits from uint8 pixels, which it scales itself. The script prints the largest
differences from the probabilities of `net.predict`. They are below 1e-6: float32 rounds the same sums differently in
another order.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fastprop import Adam, Network
from fastprop.convert import from_torch, to_onnx, to_torch


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path(), help="folder for the two files (the current folder)")
    folder = parser.parse_args(argv).folder
    folder.mkdir(parents=True, exist_ok=True)
    with np.load(Path(__file__).parent / "data" / "digits.npz") as digits:
        X, Y = digits["X"], digits["y"]
    net = Network((64, 64, 10), output="softmax", scale=1 / 16, rng=0)
    net.fit(X, Y, epochs=20, batch_size=64, optimizer=Adam(0.002))
    Y_hat = net.predict(X)
    try:
        import torch

        module = to_torch(net)
        print(f"PyTorch      {np.abs(module(torch.from_numpy(X)).detach().numpy() - Y_hat).max():.1e}")
        print(f"from_torch   {np.abs(from_torch(module).predict(X) - Y_hat).max():.1e}")
    except ModuleNotFoundError:
        print("PyTorch      is not installed: pip install torch")
    try:
        from onnxruntime import InferenceSession

        to_onnx(net, folder / "exchange.onnx")
        (P,) = InferenceSession(folder / "exchange.onnx").run(["Y_hat"], {"X": X.astype(np.float32)})
        print(f"onnxruntime  {np.abs(P - Y_hat).max():.1e}")
    except ModuleNotFoundError:
        print("onnxruntime  or onnx is not installed: pip install onnx onnxruntime")
    try:
        from safetensors.numpy import load_file

        net.save(folder / "exchange.safetensors")
        file = load_file(folder / "exchange.safetensors")
        A1 = np.maximum(0, X.astype(np.float32) / 16 @ file["W1"].T + file["b1"])
        Z2 = A1 @ file["W2"].T + file["b2"]
        exp_Z2 = np.exp(Z2 - Z2.max(axis=1, keepdims=True))
        print(f"NumPy        {np.abs(exp_Z2 / exp_Z2.sum(axis=1, keepdims=True) - Y_hat).max():.1e}")
    except ModuleNotFoundError:
        print("NumPy        safetensors is not installed: pip install safetensors")


if __name__ == "__main__":
    main()
