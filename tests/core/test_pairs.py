"""Losses of probabilities are refused for outputs that give none, with the remedy."""

import numpy as np
import pytest

from fastprop import Activation, Network
from fastprop.activations import ACTIVATIONS, HIDDEN
from fastprop.losses import LOSSES

TAKEN = {"binary_crossentropy": {"sigmoid", "softmax"}, "cross_entropy": {"softmax"}}


@pytest.mark.parametrize("output", ACTIVATIONS)
@pytest.mark.parametrize("loss", LOSSES)
def test_a_pair_is_made_or_refused(loss, output):
    if output in TAKEN.get(loss, ACTIVATIONS):
        assert Network((4, 8, 3), output=output, loss=loss).loss_name == loss
        return
    with pytest.raises(ValueError, match=rf"loss is '{loss}' and output is '{output}'; .*output=\"softmax\""):
        Network((4, 8, 3), output=output, loss=loss)


@pytest.mark.parametrize("loss", TAKEN)
def test_a_custom_output_is_not_judged(loss):
    own = Activation("own", lambda z: 0.5 + 0.1 * z, lambda z: 0.1)
    assert Network((4, 8, 3), output=own, loss=loss).loss_name == loss


def test_from_dict_refuses_them_too():
    parameters = Network((4, 3), rng=0).to_dict()
    with pytest.raises(ValueError, match="loss is 'cross_entropy'"):
        Network.from_dict(parameters, loss="cross_entropy")


@pytest.mark.parametrize("loss", LOSSES)
def test_a_loss_that_takes_any_output_has_a_minimum_wherever_the_outputs_lie(loss):
    """A loss of probabilities has none for some targets: beyond 1 it falls on, or is flat."""
    y_hat = np.linspace(-50, 50, 2001)
    values = [LOSSES[loss](y_hat, np.full(len(y_hat), y)) for y in (0.5, 1.0)]
    has_minimum = all(min(v[0], v[-1]) > v[1:-1].min() for v in values)
    assert has_minimum == (LOSSES[loss].outputs is None)


@pytest.mark.parametrize("output", [name for name in HIDDEN if name != "softmax"])
def test_labels_for_another_output_say_what_they_need(output):
    net = Network((4, 3), output=output, loss="mse")
    with pytest.raises(ValueError, match=r'it must be \(5, 3\)\. Integer labels need output="softmax"'):
        net.loss(np.ones((5, 4)), np.arange(5) % 3)
