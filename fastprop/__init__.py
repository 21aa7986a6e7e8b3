"""Dense neural networks, trained at the speed of the processor: the four equations of backpropagation as kernels."""

from .activations import Activation
from .health import Health, diagnose
from .io import Checkpoint
from .losses import Loss
from .network import Layer, Network
from .optimizers import SGD, Adagrad, Adam, AdamW, Optimizer, RMSprop
from .threads import get_num_threads, set_num_threads
from .training import History
from .versions import show_versions

__version__ = "0.1.0"

__all__ = [
    "SGD",
    "Activation",
    "Adagrad",
    "Adam",
    "AdamW",
    "Checkpoint",
    "Health",
    "History",
    "Layer",
    "Loss",
    "Network",
    "Optimizer",
    "RMSprop",
    "diagnose",
    "get_num_threads",
    "set_num_threads",
    "show_versions",
]
