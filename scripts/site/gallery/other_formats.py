"""
PyTorch, ONNX and plain NumPy
=============================

A trained network goes to other programs, and networks come from PyTorch. This needs the extras ``torch`` and ``onnx``.
"""

import numpy as np
import onnxruntime
import torch

from fastprop import Adam, Network
from fastprop.convert import as_torch_module, from_torch, to_onnx, to_torch

rng = np.random.default_rng(0)
X = rng.uniform(-1, 1, (500, 4)).astype(np.float32)
Y = (X.prod(axis=1) > 0).astype(int)
net = Network((4, 32, 32, 2), hidden="gelu", output="softmax", rng=0)
net.fit(X, Y, epochs=200, optimizer=Adam(lr=0.003))
P = net.predict(X)

# %%
# **PyTorch.** A `torch.nn.Sequential`, and back:

module = to_torch(net)
print(module)
print(f"differs by {np.abs(module(torch.from_numpy(X)).detach().numpy() - P).max():.1e}")
again = from_torch(module)
print(np.array_equal(again.predict(X), P))

# %%
# **Within a PyTorch model.** The module computes by fastprop's kernels and has its gradients; its parameters are the
# memory of the network itself.

layer = as_torch_module(Network((4, 32, 1), hidden="tanh", rng=0))
model = torch.nn.Sequential(layer, torch.nn.Sigmoid())
optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
x, y = torch.from_numpy(X), torch.from_numpy(Y[:, None].astype(np.float32))
for _ in range(300):
    optimizer.zero_grad()
    loss = torch.nn.functional.binary_cross_entropy(model(x), y)
    loss.backward()
    optimizer.step()
print(f"cost {loss.item():.3f}")

# %%
# **ONNX**, for onnxruntime and everything else that reads it:

to_onnx(net, "net.onnx")
session = onnxruntime.InferenceSession("net.onnx")
(result,) = session.run(None, {session.get_inputs()[0].name: X})
print(f"differs by {np.abs(result - P).max():.1e}")

# %%
# **Plain NumPy**, with the derivation's dictionary:

from fastprop import reference  # noqa: E402

cache = reference.forward_propagation(X.T, net.to_dict(), output="softmax", hidden="gelu")
print(f"differs by {np.abs(cache['A3'].T - P).max():.1e}")
