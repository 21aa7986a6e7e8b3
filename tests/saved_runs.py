"""A small fit that tests save, load and resume, and the comparison of two networks to the last bit."""

import numpy as np

from fastprop import Network

SIZES, ROWS = (7, 33, 18, 3), 150


def data():
    rng = np.random.default_rng(5)
    return rng.standard_normal((ROWS, SIZES[0]), dtype=np.float32), rng.integers(0, SIZES[-1], ROWS)


def network(**settings):
    return Network(SIZES, "tanh", "softmax", rng=3, **{"dropout": 0.2, "l2": 1e-3, **settings})


def fit(net, epochs, optimizer=None, **settings):
    return net.fit(*data(), epochs=epochs, batch_size=32, optimizer=optimizer, progress=False, **settings)


def same(a, b):
    """Assert that two networks, their generators and their optimizers are the same to the last bit."""
    np.testing.assert_array_equal(a.parameters, b.parameters)
    assert a.generator.bit_generator.state == b.generator.bit_generator.state
    if a.optimizer is not None:
        assert repr(a.optimizer) == repr(b.optimizer)
        assert a.optimizer.steps == b.optimizer.steps
        np.testing.assert_array_equal(a.optimizer.moments, b.optimizer.moments)
    return True


def through_a_file(net, path, **settings):
    net.save(path)
    return Network.load(path, **settings)
