"""Schedules: their rates at chosen steps, one by one and as an array, and errors for wrong settings."""

import math
import pickle

import numpy as np
import pytest
from optimizers import SCHEDULES, make_schedule

from fastprop import SGD, Adam, Network, schedules

# schedule, steps, rates worked out by hand
RATES = {
    "constant": (schedules.constant(0.3), [0, 10**9], [0.3, 0.3]),
    "step": (schedules.step(0.8, every=10, factor=0.5), [0, 9, 10, 35], [0.8, 0.8, 0.4, 0.1]),
    "exponential": (schedules.exponential(0.8, half_life=5), [0, 5, 15], [0.8, 0.4, 0.1]),
    "cosine": (schedules.cosine(1, 100, final=0.2), [0, 50, 100, 500], [1, 0.6, 0.2, 0.2]),
    "warm_up": (schedules.warm_up(4, 0.8), [0, 1, 3, 4, 99], [0.2, 0.4, 0.8, 0.8, 0.8]),
    "warm_up, then": (
        schedules.warm_up(4, schedules.step(0.8, every=10)), [0, 3, 4, 13, 14], [0.2, 0.8, 0.8, 0.8, 0.08],
    ),
    "warm_up, then a function": (schedules.warm_up(2, lambda step: 1 / (1 + step)), [0, 1, 2, 3], [0.5, 1, 1, 0.5]),
    "one_cycle": (
        schedules.one_cycle(1, 101, warm=0.21 / 1.01, start=10, end=100), [0, 10, 20, 60, 100],
        [0.1, 0.55, 1, 0.5005, 0.001],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", RATES)
def test_rates(name):
    schedule, steps, expected = RATES[name]
    assert [schedule(step) for step in steps] == pytest.approx(expected)
    first, last = steps[0], min(steps[-1], 1000)
    np.testing.assert_allclose(
        schedules.rates(schedule, first, last - first), [schedule(step) for step in range(first, last)]
    )


def later(schedule):
    """A schedule that depends on the loss, after three epochs, the second and third without progress."""
    if isinstance(schedule, schedules.ReduceOnPlateau):
        for loss in (1, 1, 1):
            schedule.observe(loss)
    return schedule


@pytest.mark.parametrize("number", [np.float32, np.float16, lambda value: np.array(value, np.float32)])
@pytest.mark.parametrize("name", SCHEDULES)
def test_rates_are_float64_whatever_the_settings(name, number):
    """A float32 setting computes as its value in float64, which is what files hold, so that the rates are the same."""
    given = later(make_schedule(name, number))
    expected = later(make_schedule(name, lambda value: float(number(value))))
    assert repr(given) == repr(expected)
    np.testing.assert_array_equal(schedules.rates(given, 0, 200), schedules.rates(expected, 0, 200))


def test_a_cycle_is_pytorchs():
    torch = pytest.importorskip("torch")
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=1)
    theirs = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.7, total_steps=83, cycle_momentum=False)
    rates = []
    for _ in range(83):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        theirs.step()
    np.testing.assert_allclose(schedules.rates(schedules.one_cycle(0.7, 83), 0, 83), rates, rtol=1e-9)


def test_a_plateau_lowers_the_rate():
    lr = schedules.ReduceOnPlateau(0.8, factor=0.5, patience=2, least=0.3)
    seen = []
    for loss in (3, 2, 2, 2, 1, 1, 1, 1, 1):
        lr.observe(loss)
        seen.append(lr(0))
    assert seen == [0.8, 0.8, 0.8, 0.4, 0.4, 0.4, 0.3, 0.3, 0.3]


def test_fit_tells_the_plateau_each_epochs_loss():
    """The loss on the validation data, if there are any."""
    net, X = Network((2, 1), rng=0), np.ones((8, 2))
    optimizer = SGD(schedules.ReduceOnPlateau(0.5, factor=0.1, patience=1))
    net.fit(X, np.ones(8), epochs=1, optimizer=optimizer, validation=(X, np.zeros(8)), progress=False)
    assert optimizer.rate == 0.5
    net.fit(X, 50 * np.ones(8), epochs=2, optimizer=optimizer, validation=(X, np.zeros(8)), progress=False)
    assert optimizer.rate == pytest.approx(0.5 * 0.1**2)


def test_the_rate_goes_on_over_fits_and_steps():
    X, Y, optimizer = np.ones((10, 2)), np.ones(10), SGD(lambda step: 1 / (1 + step))
    net = Network((2, 1), rng=0)
    net.fit(X, Y, epochs=2, batch_size=4, optimizer=optimizer, progress=False)
    assert (optimizer.steps, optimizer.rate) == (6, pytest.approx(1 / 7))
    net.train_step(X, Y, optimizer)
    assert optimizer.rate == pytest.approx(1 / 8)
    optimizer.lr = 0.25
    assert optimizer.rate == 0.25


@pytest.mark.parametrize("value", [-0.1, math.nan, math.inf])
def test_a_schedule_that_gives_no_rate_raises_before_anything_changes(value):
    net, optimizer = Network((2, 1), rng=0), Adam(lambda step: value)
    before = net.parameters.copy()
    with pytest.raises(ValueError, match=r"gives .* at step 0; rates are finite and at least 0"):
        net.train_step(np.ones((3, 2)), np.ones(3), optimizer)
    np.testing.assert_array_equal(net.parameters, before)


@pytest.mark.parametrize("make", [
    lambda: schedules.cosine(0, 10), lambda: schedules.step(0.1, 0), lambda: schedules.exponential(0.1, -1),
    lambda: schedules.warm_up(0, 0.1),
    lambda: schedules.warm_up(3, -1.0),
])  # fmt: skip
def test_settings_out_of_their_range(make):
    with pytest.raises(ValueError, match="must be finite, above 0"):
        make()


@pytest.mark.parametrize("least", [math.nan, math.inf, -math.inf])
def test_a_least_rate_that_is_no_number(least):
    with pytest.raises(ValueError, match=r"least is .*; it must be finite"):
        schedules.ReduceOnPlateau(0.1, least=least)


def test_a_schedule_says_what_it_is():
    assert repr(schedules.cosine(0.1, 500)) == "cosine(lr=0.1, steps=500, final=0.0)"
    assert "lr=cosine(lr=0.1" in repr(SGD(schedules.cosine(0.1, 500)))


def test_a_copy_goes_on_with_the_schedule():
    """This holds for plain SGD too, which has no moments. With another network the schedule starts anew."""
    X, Y, optimizer = np.ones((10, 2)), np.ones(10), SGD(schedules.step(1, every=2))
    net = Network((2, 1), rng=0)
    net.fit(X, Y, epochs=3, optimizer=optimizer, progress=False)
    net_again, again = pickle.loads(pickle.dumps((net, optimizer)))
    net_again.train_step(X, Y, again)
    assert again.steps == 4
    Network((2, 1)).train_step(X, Y, optimizer)
    assert optimizer.steps == 1


@pytest.mark.parametrize("name", [name for name in RATES if "function" not in name])
def test_schedules_can_be_pickled(name):
    schedule, steps, _ = RATES[name]
    again = pickle.loads(pickle.dumps(schedule))
    assert repr(again) == repr(schedule)
    assert [again(step) for step in steps] == [schedule(step) for step in steps]


def test_a_plateau_can_be_pickled():
    again = pickle.loads(pickle.dumps(SGD(schedules.ReduceOnPlateau(0.5))))
    assert again.rate == 0.5
