"""Every number of a schedule has its range checked, and ReduceOnPlateau counts improvements as PyTorch does."""

import numpy as np
import pytest

from fastprop import SGD, Network, schedules

WRONG = {
    "constant, lr 0": (lambda: schedules.constant(0), r"lr is 0; it must be finite, above 0"),
    "step, factor 2": (lambda: schedules.step(0.1, 10, factor=2), r"factor is 2; .* above 0 and at most 1"),
    "step, every 0": (lambda: schedules.step(0.1, 0), r"every is 0"),
    "exponential": (lambda: schedules.exponential(0.1, -1), r"half_life is -1"),
    "cosine, final": (lambda: schedules.cosine(0.1, 10, final=-0.1), r"final is -0\.1; .* at least 0"),
    "cosine, steps": (lambda: schedules.cosine(0.1, 0), r"steps is 0"),
    "warm up": (lambda: schedules.warm_up(10, -0.1), r"then is -0\.1"),
    "one cycle, warm": (lambda: schedules.one_cycle(0.1, 10, warm=1.5), r"warm is 1\.5; .* at most 1"),
    "one cycle, start": (lambda: schedules.one_cycle(0.1, 10, start=0.5), r"start is 0\.5; .* at least 1"),
    "one cycle, end": (lambda: schedules.one_cycle(0.1, 10, end=0.5), r"end is 0\.5; .* at least 1"),
    "plateau, factor 2": (lambda: schedules.ReduceOnPlateau(0.1, factor=2), r"factor is 2; .* above 0 and below 1"),
    "plateau, factor 1": (lambda: schedules.ReduceOnPlateau(0.1, factor=1), r"factor is 1"),
    "plateau, least": (lambda: schedules.ReduceOnPlateau(0.1, least=-1), r"least is -1; .* at least 0"),
    "plateau, patience": (lambda: schedules.ReduceOnPlateau(0.1, patience=0), r"patience is 0; it must be at least 1"),
    "plateau, threshold": (lambda: schedules.ReduceOnPlateau(0.1, threshold=1), r"threshold is 1; .* below 1"),
    "plateau, cooldown": (lambda: schedules.ReduceOnPlateau(0.1, cooldown=-1), r"cooldown is -1"),
}


@pytest.mark.parametrize(("make", "message"), WRONG.values(), ids=WRONG)
def test_a_number_out_of_range_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("value", [1.5, "3", None, True])
def test_a_patience_is_a_whole_number(value):
    with pytest.raises(TypeError, match="patience is"):
        schedules.ReduceOnPlateau(0.1, patience=value)


def rates(plateau, losses):
    """The rate after each loss."""
    found = []
    for loss in losses:
        plateau.observe(loss)
        found.append(plateau(0))
    return found


def torch_rates(losses, lr, factor, patience, threshold, cooldown):
    """What torch.optim.lr_scheduler.ReduceLROnPlateau does (mode "min", threshold_mode "rel"), for positive losses.

    Its patience is ours − 1.
    """
    best, bad, cooling, found = np.inf, 0, 0, []
    for loss in losses:
        if loss < best * (1 - threshold):
            best, bad = loss, 0
        else:
            bad += 1
        if cooling:
            cooling, bad = cooling - 1, 0
        if bad > patience - 1:
            lr, bad, cooling = lr * factor, 0, cooldown
        found.append(lr)
    return found


@pytest.mark.parametrize("cooldown", [0, 1, 3])
@pytest.mark.parametrize("patience", [1, 2, 4])
@pytest.mark.parametrize("threshold", [0.0, 1e-4, 0.05])
def test_the_rates_are_those_of_pytorch(threshold, patience, cooldown):
    rng = np.random.default_rng(0)
    losses = np.exp(-0.02 * np.arange(200)) * rng.uniform(0.9, 1.1, 200)
    ours = schedules.ReduceOnPlateau(0.1, 0.5, patience, threshold=threshold, cooldown=cooldown)
    assert rates(ours, losses) == torch_rates(losses, 0.1, 0.5, patience, threshold, cooldown)


def test_a_loss_that_falls_by_next_to_nothing_reduces_the_rate():
    falling = 1 - 1e-9 * np.arange(30)
    assert rates(schedules.ReduceOnPlateau(0.1, patience=10), falling)[-1] < 0.1
    assert rates(schedules.ReduceOnPlateau(0.1, patience=10, threshold=0), falling)[-1] == 0.1


def test_a_negative_loss_improves_by_falling():
    """A Poisson loss may be negative; there PyTorch's best·(1 − threshold) counts a loss that rises."""
    better = -5.0 - 0.01 * np.arange(30)
    assert rates(schedules.ReduceOnPlateau(0.1, patience=3), better)[-1] == 0.1
    assert rates(schedules.ReduceOnPlateau(0.1, patience=3), np.full(30, -5.0))[-1] < 0.1
    assert rates(schedules.ReduceOnPlateau(0.1, patience=3), -5.0 + 1e-5 * np.arange(30))[-1] < 0.1


def test_a_file_from_before_the_threshold_goes_on_without_one():
    """Every improvement counted then, and a patience might be 3.0."""
    before = {"schedule": "ReduceOnPlateau", "rate": 0.05, "factor": 0.5, "patience": 3.0, "least": 0.0}
    plateau = schedules.restored({**before, "best": 1.0, "waited": 2})
    assert (plateau.threshold, plateau.cooldown, plateau.patience, plateau.waited) == (0.0, 0, 3, 2)
    plateau.observe(1 - 1e-12)
    assert (plateau.waited, plateau.rate) == (0, 0.05)


def test_threshold_and_cooldown_survive_a_file(tmp_path):
    pytest.importorskip("safetensors", reason="files of networks need the extra save")
    X, Y = np.random.default_rng(0).random((40, 3)), np.zeros((40, 1))
    make = lambda: schedules.ReduceOnPlateau(0.1, 0.5, 1, threshold=0.3, cooldown=2)  # noqa: E731
    whole, part = Network((3, 5, 1), rng=0), Network((3, 5, 1), rng=0)
    whole.fit(X, Y, epochs=12, optimizer=SGD(make()))
    part.fit(X, Y, epochs=5, optimizer=SGD(make()))
    part.save(tmp_path / "net.safetensors")
    part = Network.load(tmp_path / "net.safetensors")
    part.fit(X, Y, epochs=12, resume=True)
    assert vars(part.optimizer.lr) == vars(whole.optimizer.lr)
    assert whole.optimizer.lr.rate < 0.1
    np.testing.assert_array_equal(part.parameters, whole.parameters)
