"""When a fit ends before its last epoch: early stopping (Prechelt 1998), and the metrics that it may watch."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ..checks import choice, number, whole

Metric = Callable[[Any, Any], float]  # of (Y, Y_hat)

MODES = {"loss": "min", "accuracy": "max", "validation_loss": "min", "validation_accuracy": "max"}


@dataclass(frozen=True)
class EarlyStopping:
    """End a fit after `patience` epochs in which `monitor` was not better, and return to the best parameters.

    Parameters
    ----------
    patience : int
        At least 1.
    min_delta : float
        An epoch is better than the best one only if it is so by more than this; at least 0.
    monitor : str or callable
        ``"loss"`` or ``"accuracy"``, which are those of the training and need no validation data,
        ``"validation_loss"``, ``"validation_accuracy"``, the name of one of the `metrics` of
        :meth:`fastprop.Network.fit`, or a function (Y, Y_hat) → number of the validation data, such as a score of
        scikit-learn on rounded predictions.
    mode : {"min", "max"}, optional
        Whether less or more is better; None knows it for losses and accuracies, and must be given for a metric or a
        function.

    Raises
    ------
    ValueError, TypeError
        If a value is out of its range, or of the wrong type.
    """

    patience: int
    min_delta: float = 0.0
    monitor: str | Metric = "validation_loss"
    mode: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "patience", whole("patience", self.patience))
        object.__setattr__(self, "min_delta", number("min_delta", self.min_delta, least=0))
        if not isinstance(self.monitor, str) and not callable(self.monitor):
            raise TypeError(f"monitor is {self.monitor!r}; it must be a name or a function of (Y, Y_hat).")
        mode = self.mode
        if mode is None:
            mode = MODES.get(self.monitor) if isinstance(self.monitor, str) else None
        if mode is None:
            raise ValueError(f'mode is None; for monitor={self.monitor!r} it must be "min" or "max".')
        object.__setattr__(self, "mode", choice("mode", mode, ["min", "max"]))

    @property
    def name(self) -> str:
        """The name of what is monitored, in the history's lists or in its metrics."""
        return self.monitor if isinstance(self.monitor, str) else name_of(self.monitor)

    def signed(self, values: list[float]) -> list[float]:
        """Return monitored values so that less is better."""
        return [-value for value in values] if self.mode == "max" else values


def name_of(function: Metric) -> str:
    """Return the name of a function in the history's metrics."""
    return getattr(function, "__name__", type(function).__name__)


def checked(early_stopping: Any) -> EarlyStopping | None:
    """Return the early stopping that an argument stands for: a number is the patience with the validation loss."""
    if early_stopping is None or isinstance(early_stopping, EarlyStopping):
        return early_stopping
    return EarlyStopping(whole("early_stopping", early_stopping))


def checked_metrics(metrics: Any, stopping: EarlyStopping | None) -> dict[str, Metric]:
    """Return the metrics by their names, with the function that early stopping monitors."""
    if not isinstance(metrics, Mapping):
        raise TypeError(f"metrics is {metrics!r}; it must be a dictionary, name: function of (Y, Y_hat).")
    for name, function in metrics.items():
        if not isinstance(name, str) or not callable(function):
            raise TypeError(f"metrics has {name!r}: {function!r}; it must hold name: function of (Y, Y_hat).")
        if name in MODES:
            raise ValueError(f"metrics has {name!r}, which the history has already. Give it another name.")
    result = dict(metrics)
    if stopping is not None and not isinstance(stopping.monitor, str):
        result.setdefault(stopping.name, stopping.monitor)
        if result[stopping.name] is not stopping.monitor:
            raise ValueError(f"metrics has {stopping.name!r}, the name of the function that early stopping monitors.")
    elif stopping is not None and stopping.name not in (*MODES, *result):
        names = ", ".join((*MODES, *result))
        raise ValueError(f"monitor is {stopping.monitor!r}; it must be one of {names}, or a function of (Y, Y_hat).")
    return result
