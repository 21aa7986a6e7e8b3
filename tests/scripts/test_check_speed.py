"""scripts/check_speed.py compares two revisions: here stand-ins for fastprop that take a known time."""

import subprocess
import sys

import check_speed
import pytest
from processes import SCRIPTS

SCRIPT = SCRIPTS / "check_speed.py"

STAND_IN = """
import time

class SGD:
    def __init__(self, lr): pass

class Network:
    def __init__(self, sizes, output, rng): pass
    def fit(self, X, Y, **options): time.sleep({seconds})

def set_num_threads(n): pass
"""


def tree(folder, seconds):
    """Make a folder with a fastprop whose epoch takes `seconds`."""
    plan = folder / "fastprop" / "kernels" / "plan.py"
    plan.parent.mkdir(parents=True)
    plan.write_text("def flops_per_sample(sizes): return 7360\n")
    (folder / "fastprop" / "__init__.py").write_text(STAND_IN.format(seconds=seconds))
    return folder


def measure(base, head):
    with check_speed.training(base, "xs", 1) as a, check_speed.training(head, "xs", 1) as b:
        return check_speed.ratio(a, b, 3)


@pytest.mark.slow
def test_a_slow_head_is_found_and_a_fast_one_let_pass(tmp_path):
    quick, slow = tree(tmp_path / "quick", 0.005), tree(tmp_path / "slow", 0.05)
    assert check_speed.is_slower([measure(quick, slow)[2]])
    assert not check_speed.is_slower([measure(slow, quick)[2]])


@pytest.mark.parametrize(
    ("ratios", "slower"), [([0.85, 0.88, 0.89], True), ([0.5, 0.6, 0.91], False), ([1.2, 1.1], False), ([0.9], False)]
)
def test_only_a_whole_spread_beyond_ten_percent_counts(ratios, slower):
    assert check_speed.is_slower(ratios) == slower
    assert check_speed.row("xs", [(1.0, r, r) for r in ratios]).endswith("slower") == slower


def test_a_tree_that_cannot_be_trained_is_one_line(tmp_path, capfd):
    broken = tree(tmp_path, 0)
    (broken / "fastprop" / "__init__.py").write_text("raise RuntimeError('no such luck')\n")
    with check_speed.training(broken, "xs", 1) as turn, pytest.raises(SystemExit) as error:
        turn()
    assert error.value.code == 2
    assert "no such luck" in capfd.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["no-such-revision"], "no-such-revision is no revision"),
        (["HEAD", "--shapes", "giant"], "'giant' is no shape. Known are xs,"),
        (["HEAD", "--rounds", "0"], "whole numbers from 1 on"),
    ],
)
def test_bad_arguments(arguments, says):
    done = subprocess.run([sys.executable, SCRIPT, *arguments], capture_output=True, text=True)
    assert done.returncode == 2
    assert says in done.stderr
    assert "Traceback" not in done.stderr
