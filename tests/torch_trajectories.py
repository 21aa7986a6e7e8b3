"""Makes torch_trajectories.json, PyTorch's parameters in 100 steps, for the comparison in test_optimizers.py.

    python tests/torch_trajectories.py

Needs PyTorch, and nothing of fastprop. A small network is trained in float64, once for each of SETTINGS; the file has
its parameters after steps 1, 10 and 100, flat in the order W1, b1, W2, b2, to 9 digits. Start and data are not
stored: they are made from the raw bits of PCG64, which NumPy promises never to change, and are exact in float32.
"""

import json
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

PATH = Path(__file__).with_suffix(".json")
SIZES = (4, 7, 3)
ROWS, BATCH = 24, 8  # batches in turn, so that the gradients do not fade
STEPS = (1, 10, 100)


class Setting(NamedTuple):
    """An optimizer of torch.optim with its arguments, a `max_norm`, and a schedule of torch.optim.lr_scheduler."""

    optimizer: str
    arguments: dict[str, Any]
    max_norm: float | None = None
    schedule: tuple[str, dict[str, Any]] | None = None


# RMSprop, Adagrad and Adam with PyTorch's own epsilon, and with one that is felt, so that its place shows.
SETTINGS = {
    "sgd": Setting("SGD", {"lr": 0.1}),
    "momentum": Setting("SGD", {"lr": 0.03, "momentum": 0.9}),
    "nesterov": Setting("SGD", {"lr": 0.03, "momentum": 0.9, "nesterov": True, "weight_decay": 0.01}),
    "rmsprop": Setting("RMSprop", {"lr": 0.003}),
    "rmsprop, own settings": Setting("RMSprop", {"lr": 0.01, "alpha": 0.8, "eps": 0.1}),
    "adagrad": Setting("Adagrad", {"lr": 0.05}),
    "adagrad, own settings": Setting("Adagrad", {"lr": 0.1, "eps": 0.1}),
    "adam": Setting("Adam", {"lr": 0.01}),
    "adam, own settings": Setting("Adam", {"lr": 0.03, "betas": (0.7, 0.9), "eps": 0.1}),
    "adamw": Setting("AdamW", {"lr": 0.01, "weight_decay": 0.1}),
    "sgd, clipped": Setting("SGD", {"lr": 0.1}, 3.0),
    "adam, clipped": Setting("Adam", {"lr": 0.01, "eps": 0.1}, 3.0),
    "sgd, one cycle": Setting(
        "SGD", {"lr": 0.2}, None, ("OneCycleLR", {"max_lr": 0.2, "total_steps": 100, "cycle_momentum": False})
    ),
    "adam, cosine": Setting("Adam", {"lr": 0.02}, None, ("CosineAnnealingLR", {"T_max": 100, "eta_min": 0.002})),
}


def start() -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """X and Y as rows, and the first parameters: W1 (7, 4), b1 (7, 1), …; float32."""
    bits = np.random.PCG64(0)

    def uniform(*shape: int) -> np.ndarray:  # in [−1, 1), multiples of 2⁻²³
        raw = bits.random_raw(int(np.prod(shape))) >> np.uint64(40)
        return (raw / 2.0**23 - 1).astype(np.float32).reshape(shape)

    X = 2 * uniform(ROWS, SIZES[0])
    Y = X[:, :-1] * X[:, 1:] + uniform(ROWS, SIZES[-1])
    parameters = {}
    for l, (n_in, n_out) in enumerate(zip(SIZES, SIZES[1:]), start=1):
        parameters[f"W{l}"], parameters[f"b{l}"] = uniform(n_out, n_in), uniform(n_out, 1) / 4
    return X, Y, parameters


def batches() -> list[slice]:
    """The rows of each step."""
    return [slice(i % ROWS, i % ROWS + BATCH) for i in range(0, STEPS[-1] * BATCH, BATCH)]


def flat(parameters: dict[str, np.ndarray]) -> np.ndarray:
    return np.concatenate([np.ravel(value) for value in parameters.values()])


def trajectory(setting: Setting) -> dict[int, np.ndarray]:
    """The parameters after each of STEPS, by PyTorch in float64."""
    import torch

    X, Y, first = start()
    X, Y = (torch.from_numpy(values.astype(np.float64)) for values in (X, Y))
    parameters = [torch.from_numpy(values.astype(np.float64)).requires_grad_() for values in first.values()]
    W1, b1, W2, b2 = parameters
    optimizer = getattr(torch.optim, setting.optimizer)(parameters, **setting.arguments)
    schedule = None
    if setting.schedule is not None:
        name, arguments = setting.schedule
        schedule = getattr(torch.optim.lr_scheduler, name)(optimizer, **arguments)
    path = {}
    for step, rows in enumerate(batches(), start=1):
        optimizer.zero_grad()
        Y_hat = torch.tanh(X[rows] @ W1.T + b1.T) @ W2.T + b2.T
        (((Y_hat - Y[rows]) ** 2).sum() / (2 * BATCH)).backward()
        if setting.max_norm is not None:
            torch.nn.utils.clip_grad_norm_(parameters, setting.max_norm)
        optimizer.step()
        if schedule is not None and step < STEPS[-1]:
            schedule.step()
        if step in STEPS:
            path[step] = np.concatenate([value.detach().numpy().ravel() for value in parameters])
    return path


def main() -> int:
    """Write the file, a line for each setting and step."""
    try:
        import torch  # noqa: F401
    except ModuleNotFoundError:
        print("torch_trajectories.py needs PyTorch. Install it with: pip install torch", file=sys.stderr)
        return 2
    settings = []
    for name, setting in SETTINGS.items():
        path = {step: [float(f"{x:.9g}") for x in values] for step, values in trajectory(setting).items()}
        lines = (f'"{step}": {json.dumps(values, separators=(",", ":"))}' for step, values in path.items())
        settings.append(f"{json.dumps(name)}: {{\n" + ",\n".join(lines) + "\n}")
    PATH.write_text("{\n" + ",\n".join(settings) + "\n}\n")
    print(f"wrote {PATH}: {len(settings)} settings, {PATH.stat().st_size:,} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
