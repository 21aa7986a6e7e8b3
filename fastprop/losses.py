"""Losses, each paired with the output activation for which dZ = Ŷ − Y.

The cost J is the mean over the batch of a sample's loss:

- ``"mse"``: ½ Σ (ŷ − y)², with an identity output; dJ/dŷ = ŷ − y.
- ``"binary_crossentropy"``: −Σ y log ŷ + (1 − y) log(1 − ŷ), with a sigmoid; dJ/dŷ = (ŷ − y)/(ŷ(1 − ŷ)).
- ``"cross_entropy"``: −Σ y log ŷ, with a softmax; dJ/dŷ = −y/ŷ.

All are computed from Z, and so never overflow.
"""

from dataclasses import dataclass

from .kernels import elementwise
from .kernels.jit import Routine


@dataclass(frozen=True)
class Loss:
    """A loss with the output that it is paired with.

    Attributes
    ----------
    name, output : str
    routine : Routine
        The compiled cost and dZ = Ŷ − Y of one panel.
    """

    name: str
    output: str
    routine: Routine


PAIRED = {
    loss.output: loss
    for loss in (
        Loss("mse", "identity", elementwise.identity_mse),
        Loss("binary_crossentropy", "sigmoid", elementwise.sigmoid_binary_crossentropy),
        Loss("cross_entropy", "softmax", elementwise.softmax_cross_entropy),
    )
}
