"""Dense neural networks, trained at the speed of the processor: the four equations of backpropagation as kernels."""

__distribution__ = "fastprop-cpu"  # before the imports: fastprop.distribution checks it

from .activations import Activation
from .core.model import Layer
from .core.threads import get_num_threads, set_num_threads
from .ensemble import Ensemble
from .health import Health, diagnose
from .losses import Loss
from .network import Network
from .optimizers import SGD, Adagrad, Adam, AdamW, Optimizer, RMSprop
from .training.files import Checkpoint
from .training.history import History
from .training.log import CSVLog
from .training.many import fit_many
from .training.stopping import EarlyStopping
from .versions import __version__ as __version__
from .versions import show_versions

__all__ = [
    "SGD",
    "Activation",
    "Adagrad",
    "Adam",
    "AdamW",
    "CSVLog",
    "Checkpoint",
    "EarlyStopping",
    "Ensemble",
    "Health",
    "History",
    "Layer",
    "Loss",
    "Network",
    "Optimizer",
    "RMSprop",
    "diagnose",
    "fit_many",
    "get_num_threads",
    "set_num_threads",
    "show_versions",
]
