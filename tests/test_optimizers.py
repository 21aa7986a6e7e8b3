"""Every optimizer against PyTorch's: 100 steps from the same start on the same batches.

PyTorch's trajectories are stored, in float64, by torch_trajectories.py, so that only the check of the file needs it.
"""

import json

import numpy as np
import pytest
import torch_trajectories
from networks import assert_close

from fastprop import SGD, Adagrad, Adam, AdamW, Network, RMSprop, schedules

# The settings of torch_trajectories.SETTINGS, by fastprop's names.
AS_IN_PYTORCH = {
    "sgd": (SGD, {"lr": 0.1}),
    "momentum": (SGD, {"lr": 0.03, "momentum": 0.9}),
    "nesterov": (SGD, {"lr": 0.03, "momentum": 0.9, "nesterov": True, "weight_decay": 0.01}),
    "rmsprop": (RMSprop, {"lr": 0.003}),
    "rmsprop, own settings": (RMSprop, {"lr": 0.01, "rho": 0.8, "epsilon": 0.1}),
    "adagrad": (Adagrad, {"lr": 0.05}),
    "adagrad, own settings": (Adagrad, {"lr": 0.1, "epsilon": 0.1}),
    "adam": (Adam, {"lr": 0.01}),
    "adam, own settings": (Adam, {"lr": 0.03, "beta_1": 0.7, "beta_2": 0.9, "epsilon": 0.1}),
    "adamw": (AdamW, {"lr": 0.01, "weight_decay": 0.1}),
    "sgd, clipped": (SGD, {"lr": 0.1, "clip_norm": 3.0}),
    "adam, clipped": (Adam, {"lr": 0.01, "epsilon": 0.1, "clip_norm": 3.0}),
    "sgd, one cycle": (SGD, {"lr": schedules.one_cycle(0.2, 100)}),
    "adam, cosine": (Adam, {"lr": schedules.cosine(0.02, 100, 0.002)}),
}
TOLERANCE = {1: 3e-7, 10: 6e-7, 100: 2e-6}  # of the largest parameter: float32's rounding, which adds up

each_optimizer = pytest.mark.parametrize("name", AS_IN_PYTORCH)


def stored(name):
    return {int(step): values for step, values in json.loads(torch_trajectories.PATH.read_text())[name].items()}


@each_optimizer
def test_train_step_walks_the_path_of_pytorch(name):
    """After 1, 10 and 100 steps the parameters are PyTorch's, to float32's rounding."""
    make, settings = AS_IN_PYTORCH[name]
    X, Y, parameters = torch_trajectories.start()
    net, optimizer, path = Network.from_dict(parameters, "tanh", "identity"), make(**settings), stored(name)
    for step, rows in enumerate(torch_trajectories.batches(), start=1):
        net.train_step(X[rows], Y[rows], optimizer)
        if step in path:
            actual = torch_trajectories.flat(net.to_dict())
            assert_close(actual, path.pop(step), TOLERANCE[step], f"after step {step}")
    assert not path, "steps that are stored and were not made"


@each_optimizer
def test_the_stored_path_is_what_pytorch_says(name):
    """The file is what the script writes with the PyTorch that is installed."""
    pytest.importorskip("torch", reason="needs PyTorch, which made the stored trajectories: pip install torch")
    path = torch_trajectories.trajectory(torch_trajectories.SETTINGS[name])
    expected = stored(name)
    assert path.keys() == expected.keys()
    for step, values in path.items():
        np.testing.assert_allclose(values, expected[step], rtol=1e-7, atol=1e-9, err_msg=f"after step {step}")


def test_every_setting_is_compared():
    """The script's settings, those stored and those compared are the same, so that none is left out."""
    names = list(json.loads(torch_trajectories.PATH.read_text()))
    assert names == list(AS_IN_PYTORCH) == list(torch_trajectories.SETTINGS)
