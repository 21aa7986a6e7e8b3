"""Functions without df: f is differentiated symbolically."""

import math
import pickle

import numpy as np
import pytest

from fastprop import SGD, Activation, Loss, Network
from fastprop.functions.derivative import derivative
from fastprop.functions.function import EPSILON, POINTS
from fastprop.functions.symbolic import FUNCTIONS, trace

# Functions of z that together use every operation.
CASES = {
    "arithmetic": lambda z: (z * z - 3 * z + 1) / (z * z + 2) - z,
    "powers": lambda z: (1 + z * z) ** 0.5 + z**3 + z**-2 + 2.0**z + abs(z) ** 1.7,
    "branches": lambda z: z if z > 0 else 0.1 * z if z > -2 else z * z,
    "larger": lambda z: max(z, 0.1) * min(z, 2.1),
    "exponentials": lambda z: math.exp(z) + math.exp2(z) + math.expm1(z),
    "logarithms": lambda z: math.log(z + 5) + math.log2(z + 5) + math.log10(z + 5) + math.log1p(z + 5),
    "softplus": lambda z: math.log1p(math.exp(z)) + math.log1p(math.exp(2 - 3 * z)),
    "roots": lambda z: math.sqrt(z + 5) + math.cbrt(z),
    "normal": lambda z: math.erf(z) + math.erfc(z / 2),
    "circle": lambda z: math.sin(z) * math.cos(2 * z) + math.tan(z / 5),
    "arcs": lambda z: math.asin(z / 5) * math.acos(z / 5) + math.atan(z) + math.atan2(z, 1 + z * z),
    "hyperbola": lambda z: math.sinh(z) + math.cosh(2 * z) + math.tanh(z),
    "areas": lambda z: math.asinh(z) + math.acosh(z + 6) + math.atanh(z / 5),
    "distances": lambda z: math.hypot(z, 2, z * z) + math.fabs(z),
    "steps": lambda z: z * math.floor(z) + math.ceil(z) + math.trunc(z) + round(z),
    "rests": lambda z: math.fmod(z, 0.7) + math.remainder(z, 0.9) + z % 0.31,
    "signs": lambda z: math.copysign(z, -1) * math.copysign(2, z),
}


@pytest.mark.parametrize("name", CASES)
def test_the_derivative_is_that_of_central_differences(name):
    f, points = CASES[name], POINTS + 0.0031  # where no case has a kink
    numeric = [(f(x + EPSILON) - f(x - EPSILON)) / (2 * EPSILON) for x in points.tolist()]
    slope = derivative(trace(f, ("z",)), "z").evaluate(z=points)
    np.testing.assert_allclose(np.broadcast_to(slope, points.shape), numeric, rtol=1e-6, atol=1e-6)


def test_the_cases_use_every_function_that_has_a_derivative():
    used = {node.op for f in CASES.values() for node in trace(f, ("z",)).nodes()}
    assert set(FUNCTIONS) - used == {"gamma", "lgamma"}


def test_by_one_of_two_arguments():
    product = trace(lambda y_hat, y: y_hat * y_hat * y + math.exp(y), ("y_hat", "y"))
    assert derivative(product, "y_hat").evaluate(y_hat=3.0, y=2.0) == 12
    assert derivative(product, "y").evaluate(y_hat=3.0, y=0.0) == 10


def test_a_constant_has_the_derivative_0():
    assert derivative(trace(lambda z: 3.0, ("z",)), "z").evaluate(z=1.0) == 0


def test_nothing_overflows_in_the_derivative_of_softplus():
    slope = derivative(trace(lambda z: math.log1p(math.exp(z)), ("z",)), "z")
    for dtype in (np.float32, np.float64):
        assert slope.evaluate(z=np.array([-1e4, 1e4], dtype)).tolist() == [0, 1]


def test_what_has_no_derivative_that_can_be_compiled_needs_df():
    with pytest.raises(TypeError, match=r"the derivative of gamma cannot be compiled\. Give df"):
        Activation("factorial", lambda z: math.gamma(abs(z) + 1))


def test_a_derivative_that_overflows_where_f_does_not_needs_df():
    with pytest.raises(ValueError, match="at 100 f is finite, but its derivative overflows"):
        Activation("logistic", lambda z: 1 - 1 / (1 + math.exp(z)))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_networks_train_without_df(dtype):
    """An activation and a loss without df have the gradients of those with df, to rounding."""
    nets = []
    for df_of_g, df_of_loss in ((None, None), (lambda z: 1 - math.tanh(z) ** 2, lambda y_hat, y: 4 * (y_hat - y) ** 3)):
        bent = Activation("bent", math.tanh if df_of_g is None else lambda z: math.tanh(z), df_of_g)
        quartic = Loss("quartic", lambda y_hat, y: (y_hat - y) ** 4, df_of_loss)
        nets.append(Network((5, 9, 2), hidden=bent, output=bent, loss=quartic, dtype=dtype, rng=0))
    rng = np.random.default_rng(0)
    X, Y = rng.standard_normal((20, 5)), rng.standard_normal((20, 2))
    for net in nets:
        assert net.gradient_check(X, Y) < 1e-2
        for _ in range(10):
            net.train_step(X, Y, net.optimizer or SGD(0.05))
    np.testing.assert_allclose(nets[0].parameters, nets[1].parameters, rtol=1e-5, atol=1e-6)


# ---- losses of probabilities -------------------------------------------------------------------------------------


def focal(y_hat, y):
    """Lin et al. 2017, with γ = 1.5: not defined beyond (0, 1), where (1 − ŷ)^1.5 is complex."""
    return -y * (1 - y_hat) ** 1.5 * math.log(y_hat) - (1 - y) * y_hat**1.5 * math.log(1 - y_hat)


def test_a_loss_of_probabilities_is_checked_where_probabilities_are():
    loss = Loss("focal", focal, probabilities=True)
    net = Network((4, 8, 1), output="sigmoid", loss=loss, rng=0)
    rng = np.random.default_rng(0)
    assert net.gradient_check(rng.standard_normal((30, 4)), rng.integers(2, size=30)) < 1e-2
    with pytest.raises(ValueError, match="one of probabilities"):
        Network((4, 8, 1), loss=loss)


def test_a_loss_that_is_flat_beyond_the_probabilities():
    """Its df need not be flat there."""
    f, df = lambda y_hat, y: -y * math.log(min(max(y_hat, 1e-6), 1.0)), lambda y_hat, y: -y / y_hat
    with pytest.raises(ValueError, match="df must be the derivative"):
        Loss("surprise", f, df)
    assert Loss("surprise", f, df, probabilities=True).accepts(Activation.built_in["softmax"])


def test_a_pickled_loss_still_takes_probabilities():
    loss = pickle.loads(pickle.dumps(Loss("focal", focal, probabilities=True)))
    assert loss.outputs == ("sigmoid", "softmax")
    assert pickle.loads(pickle.dumps(Loss.built_in["cross_entropy"])) is Loss.built_in["cross_entropy"]
