"""Activations: A = g(Z) and equation 1's g′, by the name a user gives."""

from dataclasses import dataclass

from .kernels import elementwise
from .kernels.jit import Routine
from .kernels.plan import LayerKind


@dataclass(frozen=True)
class Activation:
    """An activation that is built in.

    Attributes
    ----------
    name : str
    activation, derivative : Routine or None
        The compiled A = g(Z) and dZ = dA ∗ g′(Z); None where they would only copy, or, for softmax, which is an
        output alone, where there is none.
    fused : bool
        Whether the tiles compute it themselves (relu, a maximum and a mask).
    """

    name: str
    activation: Routine | None
    derivative: Routine | None
    fused: bool = False

    def kind(self) -> LayerKind:
        """What the plan needs to know; compiles the routines."""
        activation = self.activation.address if self.activation else 0
        derivative = self.derivative.address if self.derivative else 0
        return LayerKind(activation, derivative, relu=self.fused)


ACTIVATIONS = {
    a.name: a
    for a in (
        Activation("identity", None, None),
        Activation("relu", elementwise.relu_activation, elementwise.relu_derivative, fused=True),
        Activation("sigmoid", elementwise.sigmoid_activation, elementwise.sigmoid_derivative),
        Activation("tanh", elementwise.tanh_activation, elementwise.tanh_derivative),
        Activation("softmax", elementwise.softmax_activation, None),
    )
}
HIDDEN = ("relu", "sigmoid", "tanh", "identity")
